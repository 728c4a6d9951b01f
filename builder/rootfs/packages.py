"""Which Debian packages the rescue root holds, and which of their files it does without.

No package is installed because another merely recommends it: whatever is here is here on purpose.
"""

from __future__ import annotations

from builder.recipe import KERNEL_KEYBOARD, Recipe
from builder.rootfs.variants import VARIANTS

SUITE = "trixie"
ARCHITECTURE = "amd64"
COMPONENTS = ("main", "non-free-firmware")
PYTHON = "3.13"
"""The Python of SUITE, for which the wheels are chosen and compiled."""

KEYBOARD = ("console-setup", "keyboard-configuration", "xkb-data")
"""What makes a console keymap of an XKB layout; not on the medium afterwards."""
LOCALES = ("locales",)
"""What makes locales; not on the medium afterwards, either."""

SYSTEM = (
    "linux-image-amd64",
    "initramfs-tools",
    "live-boot",
    "live-boot-initramfs-tools",
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "python3",
    "python3-parted",
)

BOOTLOADERS = (
    "efibootmgr",
    "grub-common",
    "grub2-common",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "grub-efi-amd64-signed",
    "shim-signed",
)

FILESYSTEMS = (
    "partclone",
    "e2fsprogs",
    "ntfs-3g",
    "dosfstools",
    "mtools",
    "exfatprogs",
    "btrfs-progs",
    "xfsprogs",
    "f2fs-tools",
    "fuse3",
)

DISKS = (
    "cryptsetup",
    "lvm2",
    "mdadm",
    "dmsetup",
    "gdisk",
    "fdisk",
    "parted",
    "smartmontools",
    "nvme-cli",
    "gddrescue",
    "testdisk",
    "hdparm",
    "eject",
)

NETWORK = (
    "rsync",
    "openssh-client",
    "openssh-server",
    "openssh-sftp-server",
    "cifs-utils",
    "nfs-common",
    "sshfs",
    "iproute2",
    "iputils-ping",
)

HANDS = ("kbd", "console-data", "less", "nano", "pciutils", "usbutils", "zstd")

EVERYWHERE = SYSTEM + BOOTLOADERS + FILESYSTEMS + DISKS + NETWORK + HANDS

# dpkg's own rules: a pattern's * crosses slashes, the last match wins.
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/i18n/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
    "/usr/share/bash-completion/*",
    # 38 MB of ICU for one program that no one starts here: it looks for odd names on a mounted XFS.
    "/usr/sbin/xfs_scrub*",
    "/usr/lib/x86_64-linux-gnu/libicu*",
    # GRUB without its signature, and the one that looks for Debian's installer.
    "/usr/lib/grub/x86_64-efi/monolithic/*",
    "/usr/lib/grub/x86_64-efi-signed/grubnetx64-installer*",
    # No sound, radio, camera or sensor helps to bring a disk back.
    "/usr/lib/modules/*/kernel/sound/*",
    "/usr/lib/modules/*/kernel/drivers/media/*",
    "/usr/lib/modules/*/kernel/drivers/iio/*",
    "/usr/lib/modules/*/kernel/drivers/bluetooth/*",
    "/usr/lib/modules/*/kernel/drivers/net/wwan/*",
    "/usr/lib/modules/*/kernel/drivers/net/can/*",
    "/usr/lib/modules/*/kernel/drivers/accel/*",
    "/usr/lib/modules/*/kernel/net/bluetooth/*",
    # These blank the screen when their firmware is missing; the firmware's own framebuffer works.
    "/usr/lib/modules/*/kernel/drivers/gpu/drm/amd/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/drm/i915/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/drm/nouveau/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/drm/radeon/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/drm/xe/*",
    # The initramfs finds the medium and nothing else: no arrays, volumes or their benchmarks.
    "/usr/share/initramfs-tools/hooks/btrfs",
    "/usr/share/initramfs-tools/hooks/lvm2",
    "/usr/share/initramfs-tools/hooks/mdadm",
    "/usr/share/initramfs-tools/hooks/ntfs_3g",
    "/usr/share/initramfs-tools/hooks/xfs",
    "/usr/share/initramfs-tools/scripts/*/btrfs",
    "/usr/share/initramfs-tools/scripts/*/lvm2",
    "/usr/share/initramfs-tools/scripts/*/mdadm",
    "/usr/share/initramfs-tools/scripts/*/ntfs_3g",
    "/usr/share/initramfs-tools/scripts/*/resume",
    # Nothing there reads EFI variables, and its module is not there either; systemd mounts them.
    "/usr/share/initramfs-tools/scripts/init-top/00_mount_efivarfs",
    "/usr/lib/firmware/*",
)

_I18N = "/usr/share/i18n/*"
"""What localedef makes a locale of; the finishing script takes it away again."""


def included(recipe: Recipe) -> tuple[str, ...]:
    """Every package that is asked for; the finishing script takes out what only makes files."""
    return (
        *EVERYWHERE,
        *VARIANTS[recipe.variant].packages,
        *(KEYBOARD if recipe.keyboard != KERNEL_KEYBOARD else ()),
        *(LOCALES if made_locales(recipe) else ()),
        *recipe.packages,
    )


def made_locales(recipe: Recipe) -> tuple[str, ...]:
    """The locales that have to be made: C.UTF-8 comes with the C library."""
    return tuple(locale for locale in recipe.locales if locale != "C.UTF-8")


def path_rules(recipe: Recipe) -> tuple[str, ...]:
    """The lines of a dpkg configuration that leave files out."""
    variant = VARIANTS[recipe.variant]
    # dpkg makes no folder that a rule leaves out, so the one above a kept folder is kept too.
    firmware = sorted(
        {part for name in variant.firmware for part in (name.split("/")[0], f"{name}*")}
    )
    # Messages in the chosen languages: de_DE's are below de.
    languages = {locale.partition(".")[0] for locale in made_locales(recipe)}
    languages |= {language.partition("_")[0] for language in languages}
    kept = (
        "/usr/share/doc/*/copyright",
        *(f"/usr/lib/firmware/{name}" for name in firmware),
        *(f"/usr/share/locale/{language}/*" for language in sorted(languages)),
        *((_I18N,) if languages else ()),
    )
    return (
        *(f"path-exclude={pattern}" for pattern in (*_LEFT_OUT, *variant.left_out)),
        *(f"path-include={pattern}" for pattern in kept),
    )
