"""What checkers print and end with, as recorded from each, and what is made of it."""

from __future__ import annotations

import pytest

from rescue.view.checkers import CHECKERS, Finding, why_unchecked

EXT_ERRORS = """e2fsck 1.47.0 (5-Feb-2023)
Pass 1: Checking inodes, blocks, and sizes
Pass 4: Checking reference counts
Inode 12 ref count is 9, should be 2.  Fix? no

it: ********** WARNING: Filesystem still has errors **********
"""
EXT_JOURNAL = """Warning: skipping journal recovery because doing a read-only filesystem check.
Pass 1: Checking inodes, blocks, and sizes
"""
XFS_ERRORS = """Cannot get host filesystem geometry.
Repair may fail if there is a sector size mismatch between
the image and the host filesystem.
Phase 1 - find and verify superblock...
        - agno = 0
No modify flag set, skipping phase 5
would have reset inode 128 nlinks from 77 to 9
"""
XFS_LOG = """Phase 2 - using internal log
ALERT: The filesystem has valuable metadata changes in a log which is being
ignored because the -n option was used.
"""
FAT_DIRTY = """fsck.fat 4.2 (2021-01-31)
Dirty bit is set. Fs was not properly unmounted and some data may be corrupt.
 Automatically removing dirty bit.

Leaving filesystem unchanged.
176 files, 29944/193550 clusters
"""
FAT_BACKUP = """fsck.fat 4.2 (2021-01-31)
There are differences between boot sector and its backup.
This is mostly harmless. Differences: (offset:original/backup)
  65:01/00, 71:4e/42
  Not automatically fixing this.
Free cluster summary wrong (163333 vs. really 163606)
  Auto-correcting.
it: 176 files, 29944/193550 clusters
"""
FAT_ERRORS = """fsck.fat 4.2 (2021-01-31)
/early 2
  Contains a free cluster (16563). Assuming EOF.
/early 2
  File size is 140000 bytes, cluster chain length is 512 bytes.
Leaving filesystem unchanged.
176 files, 29944/193550 clusters
"""
BTRFS_ERRORS = """[1/7] checking root items
checksum verify failed on 30441472 wanted 0x8f75ce47 found 0x54584209
ERROR: errors found in extent allocation tree or chunk allocation
"""
NTFS_ERRORS = """ntfsresize v2022.10.3 (libntfs-3g)
Checking filesystem consistency ...
Cluster accounting failed at 25370 (0x631a): extra cluster in $Bitmap
ERROR: Filesystem check failed! Totally 35 cluster accounting mismatches.
"""
EXFAT_ERRORS = """exfatprogs version : 1.2.0
ERROR: /: the checksum of a file is wrong at 0x203060. Delete (y/N)? n
it: corrupted. directories 15, files 161
"""
F2FS_WHOLE = """[FSCK] Unreachable nat entries                        [Ok..] [0x0]
[FSCK] SIT valid block bitmap checking                [Ok..]
"""
F2FS_ERRORS = """[FSCK] Unreachable nat entries                        [Ok..] [0x0]
[FSCK] Hard link checking for regular file           [Fail] [0x1]
"""


@pytest.mark.parametrize(
    ("fs", "status", "output", "finding"),
    [
        ("ext4", 0, "it: 12/64 files", Finding("whole")),
        ("ext4", 4, EXT_ERRORS, Finding("errors", "Inode 12 ref count is 9, should be 2")),
        ("ext3", 0, EXT_JOURNAL, Finding("journal")),
        ("ext4", 4, EXT_JOURNAL, Finding("journal")),
        ("ext2", 8, "e2fsck: Bad magic number", Finding("unknown", "e2fsck: Bad magic number")),
        ("xfs", 0, "Phase 7 - verify link counts...", Finding("whole")),
        ("xfs", 1, XFS_ERRORS, Finding("errors", "would have reset inode 128 nlinks from 77 to 9")),
        ("xfs", 1, XFS_LOG, Finding("journal")),
        ("xfs", 2, "", Finding("journal")),
        ("vfat", 0, "it: 176 files, 29944/193550 clusters", Finding("whole")),
        ("vfat", 1, FAT_DIRTY, Finding("whole", "marked as not unmounted in order")),
        ("vfat", 1, FAT_BACKUP, Finding("whole")),
        (
            "vfat", 1, FAT_ERRORS,
            Finding("errors", "/early 2: Contains a free cluster (16563). Assuming EOF."),
        ),
        ("vfat", 2, "Got 0 bytes instead of 512", Finding("unknown", "Got 0 bytes instead of 512")),
        ("vfat", 1, "/a\x1b[2J\n  Bad.", Finding("errors", "/a?[2J: Bad.")),
        ("btrfs", 0, "no error found", Finding("whole")),
        (
            "btrfs", 1, BTRFS_ERRORS,
            Finding("errors", "errors found in extent allocation tree or chunk allocation"),
        ),
        ("ntfs", 0, "", Finding("whole")),
        (
            "ntfs", 1, NTFS_ERRORS,
            Finding(
                "errors", "Cluster accounting failed at 25370 (0x631a): extra cluster in $Bitmap"
            ),
        ),
        ("exfat", 0, "it: clean. directories 15, files 161", Finding("whole")),
        (
            "exfat", 4, EXFAT_ERRORS,
            Finding("errors", "/: the checksum of a file is wrong at 0x203060"),
        ),
        ("exfat", 8, "failed to open: it", Finding("unknown", "failed to open: it")),
        ("f2fs", 0, F2FS_WHOLE, Finding("whole")),
        (
            "f2fs", 0, F2FS_ERRORS,
            Finding("errors", "[FSCK] Hard link checking for regular file [Fail] [0x1]"),
        ),
        ("f2fs", 255, "Error: Failed to open", Finding("unknown", "Error: Failed to open")),
        ("f2fs", 0, "", Finding("unknown")),
    ],
)  # fmt: skip
def test_what_a_checker_says(fs: str, status: int, output: str, finding: Finding) -> None:
    assert CHECKERS[fs].judge(status, output) == finding


def test_words_of_a_checker_stay_short() -> None:
    found = CHECKERS["ext4"].judge(4, "x" * 10_000)
    assert found.state == "errors"
    assert 0 < len(found.words) < 200


@pytest.mark.parametrize("fs", CHECKERS)
def test_what_has_a_checker_is_checked(fs: str) -> None:
    assert why_unchecked(fs) == ""


@pytest.mark.parametrize("fs", ["swap", "", "unknown", "crypto_LUKS", "zfs_member"])
def test_what_has_none_is_said(fs: str) -> None:
    assert why_unchecked(fs)
