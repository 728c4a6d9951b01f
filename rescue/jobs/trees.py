"""The files of a restored filesystem that name disks, found by name and changed in place.

What takes the place of an identifier has its length, so no file changes its size, owner, mode or
place on the disk. Symbolic links are never followed: they lead out of the filesystem, into this
system's own files. Letters' case does not matter in names, as on FAT and NTFS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from rescue.restore.identity import Edit
from rescue.view.fat import Fat, FatFile
from rescue.view.nodes import Folder

_SYSTEM = (
    "etc/fstab", "etc/crypttab", "etc/default/grub", "etc/default/grub.d/*", "etc/grub.d/*",
    "etc/kernel/cmdline", "etc/cmdline.d/*", "etc/initramfs-tools/conf.d/*",
    "etc/initramfs-tools/initramfs.conf", "etc/uswsusp.conf", "etc/suspend.conf",
    "etc/dracut.conf", "etc/dracut.conf.d/*", "etc/systemd/system/*.mount",
    "etc/systemd/system/*.swap",
)  # fmt: skip
_LOADERS = (
    "grub/*.cfg", "grub/grubenv", "grub/menu.lst", "grub/*/load.cfg", "grub/*/*.efi",
    "grub2/*.cfg", "grub2/grubenv", "grub2/*/load.cfg", "loader/*.conf", "loader/entries/*.conf",
    "extlinux/*.conf", "syslinux/*.cfg", "syslinux.cfg", "refind_linux.conf", "cmdline.txt",
    "efi/*/*.cfg", "efi/*/grubenv", "efi/*/*.conf", "efi/*/*.efi", "efi/microsoft/boot/bcd",
    "efi/microsoft/recovery/bcd", "bcd",
)  # fmt: skip
PATTERNS = tuple(
    tuple(pattern.split("/"))
    for pattern in (*_SYSTEM, *_LOADERS, *(f"boot/{pattern}" for pattern in _LOADERS))
)
"""Where identifiers are looked for, each name of a path as the shell would match it."""
IN_SUBVOLUMES = tuple(("*", *pattern) for pattern in PATTERNS)
"""The same below the folders of a btrfs's top, where systems have their root."""

_MOST = 64 << 20


class Tree(Protocol):
    """A filesystem's files."""

    def children(self, folder: str) -> dict[str, bool]:
        """Names in a folder ("" is the top), each with whether it is a folder; links left away."""

    def change(self, path: str, find: Callable[[bytes], list[Edit]]) -> int:
        """Make the changes that ``find`` wants in a file's content; how many there were."""


def matching(tree: Tree, patterns: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Paths of the files that a pattern names, each once."""
    yield from sorted(set(_below(tree, "", patterns)))


def _below(tree: Tree, folder: str, patterns: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not patterns:
        return
    for name, is_folder in tree.children(folder).items():
        path = f"{folder}/{name}" if folder else name
        fitting = [p for p in patterns if fnmatchcase(name.lower(), p[0])]
        if is_folder:
            yield from _below(tree, path, [p[1:] for p in fitting if len(p) > 1])
        elif any(len(p) == 1 for p in fitting):
            yield path


class MountedTree:
    """A filesystem that is mounted for writing, for nobody else."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def children(self, folder: str) -> dict[str, bool]:
        """As ``Tree``.

        Raises:
            OSError: it cannot be read.
        """
        found = {}
        with os.scandir(self._root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found[entry.name] = True
                elif entry.is_file(follow_symlinks=False):
                    found[entry.name] = False
        return found

    def change(self, path: str, find: Callable[[bytes], list[Edit]]) -> int:
        """As ``Tree``.

        Raises:
            OSError: it cannot be read or written.
        """
        whole = self._root / path
        fd = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            edits = find(os.pread(fd, size, 0)) if 0 < size <= _MOST else []
        finally:
            os.close(fd)
        if not edits:
            return 0
        fd = os.open(whole, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for offset, data in edits:
                os.pwrite(fd, data, offset)
        finally:
            os.close(fd)
        return len(edits)


@dataclass(frozen=True, slots=True)
class FatTree:
    """A FAT volume on the target: read and changed where its clusters lie, without a driver.

    Attributes:
        write: puts bytes to a place in the volume.
    """

    fat: Fat
    root: Folder
    write: Callable[[int, bytes], None]

    def _node(self, path: str) -> object:
        node: object = self.root
        for name in filter(None, path.split("/")):
            node = node.entries().get(os.fsencode(name)) if isinstance(node, Folder) else None
        return node

    def children(self, folder: str) -> dict[str, bool]:
        """As ``Tree``.

        Raises:
            OSError: it cannot be read.
        """
        node = self._node(folder)
        listed = node.entries() if isinstance(node, Folder) else {}
        return {os.fsdecode(name): isinstance(one, Folder) for name, one in listed.items()}

    def change(self, path: str, find: Callable[[bytes], list[Edit]]) -> int:
        """As ``Tree``.

        Raises:
            OSError: it cannot be read or written.
        """
        node = self._node(path)
        if not isinstance(node, FatFile) or not 0 < node.size <= _MOST:
            return 0
        edits = find(b"".join(bytes(piece) for piece in node.read(0, node.size)))
        runs = self.fat.runs(node.first, node.length) if edits else []
        for offset, data in edits:
            at = 0
            for run in runs:
                low, high = max(offset, at), min(offset + len(data), at + run.length)
                if low < high:
                    self.write(run.start + low - at, data[low - offset : high - offset])
                at += run.length
        return len(edits)
