"""A stock Debian live, to start beside ours: what live-build makes of its defaults, made by hand.

live-build itself wants root, a mirror of its own configuration and half an hour. The same parts are
put together here: every package of priority required, important and standard, with what they
recommend; Debian's kernel; live-boot, live-config and systemd as live-build's own list names them;
initramfs-tools as it comes; one squashfs with xz, live-build's default; GRUB with the same three
seconds as ours and live-build's kernel line (``boot=live components quiet``) plus the two consoles.
Left out, to its advantage: all firmware (live-build adds some 200 MB), "splash", the installer.

The release is that of our media, so that both have one kernel.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from builder.rootfs import mirrors
from builder.rootfs.packages import ARCHITECTURE, COMPONENTS, SUITE
from rescue.core import process
from rescue.core.process import run

LOGIN = r"login: "
"""What its serial line shows when a person may begin."""
_LIVE = ("linux-image-amd64", "live-boot", "live-config", "live-config-systemd", "systemd-sysv")
_FILES = ("vmlinuz", "initrd.img", "filesystem.squashfs")
_ARGUMENTS = "boot=live components quiet console=tty0 console=ttyS0,115200n8"
_MENU = f"""
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=3
menuentry "Debian live" {{
  linux /live/vmlinuz {_ARGUMENTS}
  initrd /live/initrd.img
}}
"""


def ensure(folder: Path) -> Path:
    """The ISO, made now unless it is kept in ``folder`` (five minutes)."""
    iso = folder / "stock.iso"
    if iso.exists():
        return iso
    tree = folder / "tree"
    if not (tree / "live" / "filesystem.squashfs").exists():
        _system(folder, tree / "live")
    menu = tree / "boot/grub/grub.cfg"
    menu.parent.mkdir(parents=True, exist_ok=True)
    menu.write_text(_MENU)
    partial = iso.with_suffix(".partial")
    run(["grub-mkrescue", "-o", partial, tree, "--", "-volid", "STOCK"], timeout=300)
    partial.rename(iso)
    shutil.rmtree(tree)
    return iso


def _system(folder: Path, live: Path) -> None:
    """Kernel, initial memory disk and root filesystem of the live system."""
    shutil.rmtree(folder, ignore_errors=True)
    live.mkdir(parents=True)
    options = ['APT::Install-Recommends "true"', *mirrors.host_proxy_options()]
    # What runs inside its namespace may write nowhere else: taken out by its own "download".
    hooks = [
        'mkdir "$1"/out && cp "$1"/boot/vmlinuz-* "$1"/out/vmlinuz',
        'cp "$1"/boot/initrd.img-* "$1"/out/initrd.img',
        'mksquashfs "$1" "$1"/out/filesystem.squashfs -comp xz -noappend -no-progress -quiet '
        '-wildcards -e out "boot/*" "proc/*" "sys/*" "dev/*" "run/*" "tmp/*" "var/cache/apt/*"',
        'chmod 644 "$1"/out/*',
        *(f"download /out/{name} {live / name}" for name in _FILES),
    ]
    run(
        [
            "mmdebstrap",
            "--mode=unshare" if _namespaces() else "--mode=root",
            "--variant=standard",
            "--format=null",
            f"--architectures={ARCHITECTURE}",
            f"--components={','.join(COMPONENTS)}",
            f"--include={','.join(_LIVE)}",
            *(f"--aptopt={option}" for option in options),
            *(f"--customize-hook={hook}" for hook in hooks),
            SUITE,
            "-",
            *mirrors.source_lines(mirrors.host_entries()),
        ],
        timeout=1200,
    )


def _namespaces() -> bool:
    return process.run(["unshare", "--user", "--map-root-user", "true"], check=False).status == 0


def main() -> int:
    """Make it, and say how long that took."""
    began = time.monotonic()
    iso = ensure(Path(__file__).parents[2] / "build" / "stock")
    print(f"{iso}: {iso.stat().st_size >> 20} MiB, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
