"""GRUB: what its BIOS image holds, and the menu, rendered from a template.

Under UEFI the menu runs in Debian's signed GRUB, which has its modules built in; the BIOS image is
made with the modules the same menu needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from builder.recipe import Colours, Recipe

_MODULES = """
biosdisk iso9660 part_gpt part_msdos normal configfile linux chain boot ntldr drivemap
probe regexp search search_fs_file search_label serial terminal terminfo test true echo
sleep reboot halt minicmd ls cat help fat ext2 loopback all_video gfxterm font keystatus
eval read tr extcmd
"""
BIOS_MODULES = tuple(_MODULES.split())

TEMPLATES = Path(__file__).parent.parent / "templates"

# Between errors systemd says nothing: on a slow machine it would animate lines over the shell.
QUIET = ("quiet", "systemd.show_status=error")
CONSOLES = ("console=tty0", "console=ttyS0,115200n8")
LIVE = (
    "boot=live",
    # Nothing on any disk is mounted, assembled, swapped on or kept.
    "nopersistence",
    "nofstab",
    "nonetworking",
    "noeject",
    "raid=noautodetect",
    "systemd.gpt_auto=0",
    "systemd.swap=0",
    # What costs a slow machine seconds and is no use to it: every new page filled with zeros first,
    # access rules that nobody wrote at each opening of a file, waiting for grace periods.
    "init_on_alloc=0",
    "lsm=landlock,lockdown,yama",
    "rcupdate.rcu_expedited=1",
)


@dataclass(frozen=True, slots=True)
class Menu:
    """What the template needs."""

    title: str
    timeout: int
    medium_file: str
    """A file that only this build of the medium has."""
    arguments: tuple[str, ...]
    """Kernel arguments of every entry."""
    colours: Colours = field(default_factory=Colours)
    recovery: tuple[str, ...] = ()
    """Job files of a recovery medium, each an entry; never started by themselves."""
    discs: int = 1
    """How many discs the medium is: with more, a recovery frees the drive first."""


def menu_of(recipe: Recipe, medium_file: str) -> Menu:
    """The menu of a recipe."""
    return Menu(
        recipe.menu_title,
        recipe.menu_timeout,
        medium_file,
        (*LIVE, *recipe.kernel_arguments),
        recipe.menu_colours,
    )


def render(menu: Menu) -> str:
    """The text of grub.cfg."""
    return render_file("grub.cfg.j2", menu=menu, quiet=" ".join(QUIET), consoles=" ".join(CONSOLES))


def render_esp(menu: Menu) -> str:
    """The text of the grub.cfg on the EFI system partition, which finds the medium itself.

    Debian's signed GRUB looks for /.disk/info, which any Debian medium has; this one looks for
    a file that no other medium has.
    """
    return render_file("esp.cfg.j2", menu=menu)


def render_loopback() -> str:
    """The text of loopback.cfg, for another GRUB that starts the ISO from within a file."""
    return render_file("loopback.cfg.j2")


def render_stick(slots: tuple[str, ...]) -> str:
    """The text of the grub.cfg on a stick's EFI partition: it tries ``slots`` ("gpt3") in order."""
    return render_file("stick.cfg.j2", slots=" ".join(slots))


def render_file(name: str, **values: object) -> str:
    """The text of a template."""
    # Imported here: `rescue-builder --help` needs no template engine.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return environment.get_template(name).render(**values)
