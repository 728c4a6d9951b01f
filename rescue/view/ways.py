"""How each filesystem is looked into without changing a byte of it. Pure.

Every mount is read-only, nosuid, nodev and noexec: what is in an image is not trusted. A journal is
not replayed, or, where it must be, replayed into a throw-away overlay.
"""

from __future__ import annotations

from dataclasses import dataclass

SAFE = "ro,nosuid,nodev,noexec"


@dataclass(frozen=True, slots=True)
class Way:
    """How one kind of filesystem is mounted.

    Attributes:
        type: what ``mount -t`` is told; empty: the view serves it itself.
        options: beyond the safe ones, always.
        quiet: options that keep the journal as it is; left out on an overlay.
        program: a FUSE driver for kernels that lack this filesystem.
        program_options: for that driver.
        journal: has a journal that may have to be replayed.
    """

    type: str
    options: str = ""
    quiet: str = ""
    program: str = ""
    program_options: str = ""
    journal: bool = False


_EXT = Way("ext4", quiet="noload", journal=True)
_WAYS = {
    "vfat": Way(""),
    "ext2": Way("ext2"),
    "ext3": _EXT,
    "ext4": _EXT,
    # Two images of one machine have the same UUID.
    "xfs": Way("xfs", options="nouuid", quiet="norecovery", journal=True),
    "btrfs": Way("btrfs", quiet="rescue=nologreplay", journal=True),
    "f2fs": Way("f2fs", quiet="norecovery", journal=True),
    # With "permissions" modes and owners that a Unix wrote are seen; all else stays 0777.
    "ntfs": Way("ntfs3", program="ntfs-3g", program_options="norecover,permissions"),
    "exfat": Way("exfat", program="mount.exfat-fuse"),
    "hfs": Way("hfs"),
    "hfsplus": Way("hfsplus"),
    "iso9660": Way("iso9660"),
    "udf": Way("udf"),
    "squashfs": Way("squashfs"),
    "erofs": Way("erofs"),
    "minix": Way("minix"),
    "nilfs2": Way("nilfs2", quiet="norecovery", journal=True),
}


def way_to_see(fs: str) -> Way | None:
    """How a filesystem (blkid's word) is looked into; None: it is not."""
    return _WAYS.get(fs)


def why_not(fs: str) -> str:
    """Why a volume's content is not shown, in words."""
    if fs in ("swap", "swsuspend"):
        return "swap space holds no files"
    if fs == "crypto_LUKS":
        return "it is encrypted: open its raw file with cryptsetup"
    if fs == "BitLocker":
        return "it is encrypted: open its raw file with cryptsetup or dislocker"
    if fs == "LVM2_member":
        return "it holds logical volumes: attach disk.raw with losetup and activate them"
    if fs in ("linux_raid_member", "zfs_member", "bcache"):
        return f"it is one member of something larger ({fs})"
    return f"{fs} cannot be looked into" if fs not in ("", "unknown") else "no known filesystem"
