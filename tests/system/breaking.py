"""One wrong value in the structures of a filesystem: its files stay, its checker must find it.

Each takes the open disk (a file) and where its volume starts, or a loop device that shows the
volume.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from rescue.core.process import run


def fat32(fd: int, start: int) -> None:
    """A file's chain of clusters leads back into itself, in both tables."""
    boot = os.pread(fd, 512, start)
    (reserved,) = struct.unpack_from("<H", boot, 14)
    (sectors,) = struct.unpack_from("<I", boot, 36)
    for copy in range(2):
        at = start + (reserved + copy * sectors) * 512
        table = bytearray(os.pread(fd, sectors * 512, at))
        entries = memoryview(table).cast("I")
        number = next(n for n in range(100, len(entries)) if entries[n] & 0x0FFFFFFF == n + 1)
        entries[number] = number - 20
        os.pwrite(fd, table, at)


def ntfs(fd: int, start: int) -> None:
    """The record of a file that has clusters is marked as free, the clusters are not."""
    boot = os.pread(fd, 512, start)
    sector, cluster = struct.unpack_from("<HB", boot, 11)
    (first,) = struct.unpack_from("<Q", boot, 48)
    for number in range(64, 400):
        at = start + first * sector * cluster + number * 1024
        record = os.pread(fd, 1024, at)
        if record[:4] == b"FILE" and record[22] & 1 and _has_clusters(record):
            os.pwrite(fd, bytes([record[22] & ~1]), at + 22)
            return
    raise AssertionError("no file with clusters")


def _has_clusters(record: bytes) -> bool:
    """Whether the data of an MFT record is not resident."""
    (at,) = struct.unpack_from("<H", record, 20)
    while at < 1000:
        kind, length = struct.unpack_from("<II", record, at)
        if kind == 0xFFFFFFFF or not length:
            return False
        if kind == 0x80 and record[at + 8]:
            return True
        at += length
    return False


def exfat(fd: int, start: int) -> None:
    """The checksum of the first entry of the root folder is another one."""
    boot = os.pread(fd, 512, start)
    heap, _count, root = struct.unpack_from("<III", boot, 88)
    sector, cluster = 1 << boot[108], 1 << boot[108] << boot[109]
    at = start + heap * sector + (root - 2) * cluster
    folder = os.pread(fd, cluster, at)
    entry = next(n for n in range(0, cluster, 32) if folder[n] == 0x85)
    os.pwrite(fd, bytes(b ^ 0xFF for b in folder[entry + 2 : entry + 4]), at + entry + 2)


def f2fs(fd: int, start: int) -> None:
    """An inode counts more links than there are."""
    (main,) = struct.unpack_from("<I", os.pread(fd, 512, start + 1024), 92)
    for block in range(main, main + 4096):
        node = os.pread(fd, 4096, start + block * 4096)
        number, inode = struct.unpack_from("<II", node, 4072)
        if number == inode and 4 <= number < 400 and node[:2] in (b"\xa4\x81", b"\xed\x41"):
            os.pwrite(fd, struct.pack("<I", 77), start + block * 4096 + 12)
            return
    raise AssertionError("no inode")


def ext4(node: Path) -> None:
    """A file counts more links than there are."""
    run(["debugfs", "-w", "-R", "set_inode_field <12> links_count 9", node])


def xfs(node: Path) -> None:
    """The root folder counts more links than there are; its checksum is right."""
    told = run(["xfs_db", "-c", "sb 0", "-c", "p rootino", node]).text
    inode = f"inode {told.split('=')[1].strip()}"
    run(["xfs_db", "-x", "-c", inode, "-c", "write -d core.nlinkv2 77", node])


def btrfs(node: Path) -> None:
    """A leaf of the tree of files is damaged, in both of its copies."""
    tree = run(["btrfs", "inspect-internal", "dump-tree", "-t", "fs", node]).text
    leaf = next(line for line in tree.splitlines() if line.startswith("leaf")).split()[1]
    places = re.findall(r"physical (\d+)", run(["btrfs-map-logical", "-l", leaf, node]).text)
    fd = os.open(node, os.O_WRONLY)
    try:
        for place in places:
            os.pwrite(fd, b"\xff" * 8, int(place) + 200)
    finally:
        os.close(fd)
