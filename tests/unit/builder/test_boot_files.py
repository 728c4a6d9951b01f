"""The menu, the EFI partition's size, the early archive, the base layer's name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from builder import initrd
from builder.bootloader import esp, grub
from builder.recipe import Recipe
from builder.rootfs import base, packages
from builder.rootfs.variants import VARIANTS

PROJECT = Path(__file__).parents[3]


def menu(**changes: object) -> str:
    recipe = Recipe(**changes)  # type: ignore[arg-type]
    return grub.render(grub.menu_of(recipe, "/.disk/rescue-0123"))


def test_the_menu_offers_what_the_medium_promises() -> None:
    ids = re.findall(r"menuentry .* --id (\w+)", menu())
    assert ids == [
        "shell",
        "toram",
        "check",
        "serial",
        "installed",
        "firmware",
        "reboot",
        "halt",
    ]
    text = menu()
    assert "set default=0\n" in text
    assert "set timeout=3\n" in text


def test_both_consoles_are_in_every_way_to_the_shell() -> None:
    text = menu()
    for name in ("shell", "toram", "check"):
        line = text.split(f"--id {name} {{")[1].splitlines()[1]
        assert "console=tty0 console=ttyS0,115200n8" in line
    assert "rescue.check" in text.split("--id check {")[1].splitlines()[1]


def test_what_a_recipe_says_is_in_the_menu() -> None:
    text = menu(menu_title="Bench", menu_timeout=-1, kernel_arguments=("nomodeset", "x=1"))
    assert 'menuentry "Bench: restore shell"' in text
    assert "set timeout=-1\n" in text
    arguments = re.search(r'^set arguments="(.*)"$', text, re.MULTILINE)
    assert arguments is not None
    assert arguments[1].endswith("nomodeset x=1")
    assert arguments[1].startswith("boot=live ")


def test_braces_and_conditions_of_the_menu_are_closed() -> None:
    code = "\n".join(line.partition("#")[0] for line in menu().splitlines())
    assert len(re.findall(r"\{", code)) == len(re.findall(r"\}", code))
    for begin, end in (("if", "fi"), ("for", "done")):
        assert len(re.findall(rf"(?m)^\s*{begin} ", code)) == len(
            re.findall(rf"(?m)^\s*{end}$", code)
        )


def test_the_efi_partition_looks_for_its_own_medium() -> None:
    text = grub.render_esp(grub.menu_of(Recipe(), "/.disk/rescue-0123"))
    assert "search --no-floppy --set=root --file /.disk/rescue-0123\n" in text


def test_the_efi_image_is_whole_mib_with_room() -> None:
    size = esp.image_size({"a": bytes(3 << 20), "b": bytes(900 << 10)})
    assert size == 5 << 20


def test_the_early_archive_reads_back() -> None:
    data = initrd.cpio({"conf/uuid.conf": b"0123\n"})
    assert len(data) % 512 == 0
    entries, at = [], 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + length - 1].decode()
        at = -(-(at + 110 + length) // 4) * 4
        if name == "TRAILER!!!":
            break
        entries.append((name, mode, data[at : at + size]))
        at = -(-(at + size) // 4) * 4
    assert entries == [("conf", 0o040755, b""), ("conf/uuid.conf", 0o100644, b"0123\n")]


def test_the_base_layer_is_named_by_what_makes_it(tmp_path: Path) -> None:
    hooks = tmp_path / "etc/initramfs-tools/hooks"
    hooks.mkdir(parents=True)
    (tmp_path / "modes").write_text("")
    (tmp_path / "links").write_text("")

    def key(modules: tuple[str, ...] = ("linux",), **changes: object) -> str:
        return base.key_of(Recipe(**changes), tmp_path, modules)  # type: ignore[arg-type]

    first = key()
    assert first == key(menu_timeout=9, hostname="x")
    keys = {first, key(packages=("mc",)), key(compression=3), key(modules=("linux", "ls"))}
    keys |= {key(variant="standard"), key(variant="full"), key(locales=("de_DE.UTF-8",))}
    (hooks / "x").write_text("1")
    keys.add(key())
    (tmp_path / "modes").write_text("0755 etc/initramfs-tools/hooks/x\n")
    keys.add(key())
    (tmp_path / "links").write_text("etc/udev/rules.d/69-lvm.rules /dev/null\n")
    keys.add(key())
    assert len(keys) == 10


def test_the_reason_is_found_in_a_long_log() -> None:
    log = "I: x\nE: Unable to locate package nonesuch\nE: setup failed\n"
    assert base.first_error(log) == "Unable to locate package nonesuch"
    assert base.first_error("I: fine\n") == ""


def test_licences_stay_and_manuals_go() -> None:
    rules = packages.path_rules(Recipe())
    assert "path-exclude=/usr/share/man/*" in rules
    excluded = rules.index("path-exclude=/usr/share/doc/*")
    assert rules.index("path-include=/usr/share/doc/*/copyright") > excluded
    for variant in VARIANTS:
        names = packages.included(Recipe(variant=variant))
        assert len(set(names)) == len(names)


def test_a_recovery_job_is_an_entry_and_never_the_default() -> None:
    recipe = replace(grub.menu_of(Recipe(), "/x"), recovery=("pc.toml",))
    text = grub.render(recipe)
    ids = re.findall(r"menuentry .* --id (\w+)", text)
    assert ids[0] == "shell"
    assert "set default=0\n" in text
    assert "recovery1" in ids
    entry = text.split("--id recovery1 {")[1].splitlines()[1]
    assert entry.endswith("rescue.job=medium:rescue/recovery/pc.toml rescue.job.again=1")
    assert "recovery" not in grub.render(grub.menu_of(Recipe(), "/x"))


def test_another_grub_can_start_the_iso_from_a_file() -> None:
    assert 'findiso="findiso=$iso_path"' in grub.render_loopback()
    assert "linux /live/vmlinuz $arguments $findiso $@" in menu()
