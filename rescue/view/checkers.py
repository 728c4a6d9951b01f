"""How each filesystem's own checker is asked, and what its answer means. Pure.

Each is run so that it changes nothing, on the raw file of a partition in a view. Status and words
are read together: checkers differ in what they call an error (fsck.fat ends with 1 for a mark that
every unclean end leaves, fsck.f2fs ends with 0 whatever it found).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["whole", "errors", "journal", "unknown"]
_LONGEST = 160
# What a checker asks and answers by itself: "Fix? no", "Delete (y/N)? n".
_QUESTION = re.compile(r"[.\s]*\w+( \(y/N\))?\? no?$")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one run of a checker said.

    Attributes:
        state: "journal": only what its journal holds can be judged, once that is replayed;
            "unknown": the checker itself failed.
        words: its own telling line, or what a person should know; may be empty.
    """

    state: State
    words: str = ""


@dataclass(frozen=True, slots=True)
class Checker:
    """One checker.

    Attributes:
        command: before the path of the raw file.
        writes: it opens what it checks for writing though it is told not to write.
        replay: how a journal is replayed in a throw-away overlay: "program" (``replayer`` before
            the path), "mount" (mounted once, which needs root) or "" (it needs none).
    """

    command: tuple[str, ...]
    package: str
    judge: Callable[[int, str], Finding]
    writes: bool = False
    replay: Literal["", "program", "mount"] = ""
    replayer: tuple[str, ...] = ()


def telling(output: str, wanted: str = "") -> str:
    """The first line that says something, or the first that has ``wanted`` (a pattern) in it."""
    found = next((one for one in _lines(output) if re.search(wanted, one)), "")
    return _QUESTION.sub("", found)[:_LONGEST]


def _lines(output: str) -> list[str]:
    """Lines that say something; names in them come from a filesystem that may be hostile."""
    joined = (" ".join(line.split()) for line in output.splitlines())
    return ["".join(c if c.isprintable() else "?" for c in line) for line in joined if line]


def _ext(status: int, output: str) -> Finding:
    """e2fsck(8): 0 none, 4 errors left, 8 and more: it could not work."""
    if "skipping journal recovery" in output:
        return Finding("journal")
    if status == 0:
        return Finding("whole")
    # Its first lines are its version and the names of its passes.
    words = telling(output, r"^(?!e2fsck \d|Pass \d|Warning!)")
    return Finding("errors" if status & 4 else "unknown", words)


# Not the names of its phases, nor what it says of every plain file.
_XFS_SAYS = r"^(?!Phase|- |No modify|Cannot get host|Repair may fail|the image and the host)"


def _xfs(status: int, output: str) -> Finding:
    """xfs_repair(8) with -n: 0 none, 1 errors; a log with changes is told in words or by 2."""
    if status == 2 or "metadata changes in a log" in output:
        return Finding("journal")
    if status == 0:
        return Finding("whole")
    return Finding("errors", telling(output, _XFS_SAYS))


def _btrfs(status: int, output: str) -> Finding:
    if status == 0:
        return Finding("whole")
    return Finding("errors", telling(output, "^ERROR: ").removeprefix("ERROR: ") or telling(output))


def _ntfs(status: int, output: str) -> Finding:
    """ntfsresize checks that every cluster belongs to one file, and the map of clusters to them."""
    if status == 0:
        return Finding("whole")
    wanted = r"(?i)(error|corrupt|inconsisten|fail)"
    return Finding("errors", telling(output, wanted) or telling(output))


_FAT_HARMLESS = re.compile(
    r"^(fsck\.fat \d|Dirty bit is set|Automatically removing dirty bit"
    r"|There are differences between boot sector|This is mostly harmless"
    r"|[0-9a-f]+:[0-9a-f]+/[0-9a-f]+[0-9a-f:/, ]*$|Not automatically fixing this"
    r"|Free cluster summary|Auto-correcting|Leaving filesystem unchanged|\*\*\* Filesystem"
    r"|(.*: )?\d+ files, \d+/\d+ clusters)"
)


def _fat(status: int, output: str) -> Finding:
    """fsck.fat ends with 1 for harmless things, too: what it says decides."""
    serious = [one for one in _lines(output) if not _FAT_HARMLESS.match(one)]
    if status and serious:
        # The name of a file stands in a line of its own, before what is wrong with it.
        words = ": ".join(serious[:2]) if serious[0].startswith("/") else serious[0]
        return Finding("errors" if status == 1 else "unknown", words[:_LONGEST])
    if "Dirty bit is set" in output:
        return Finding("whole", "marked as not unmounted in order")
    return Finding("whole")


def _exfat(status: int, output: str) -> Finding:
    """fsck.exfat(8): 0 none, 1 and 4 errors, 8 and more: it could not work."""
    if status == 0:
        return Finding("whole")
    words = telling(output, r"(?i)(error|corrupt)").removeprefix("ERROR: ") or telling(output)
    return Finding("errors" if status & 5 else "unknown", words)


def _f2fs(status: int, output: str) -> Finding:
    """fsck.f2fs marks each of its results with [Ok..] or [Fail]."""
    if wrong := telling(output, r"\[(Fail|ASSERT|FIX)\]"):
        return Finding("errors", wrong)
    if status or "[FSCK]" not in output:
        return Finding("unknown", telling(output, r"(?i)(error|invalid|fail)") or telling(output))
    return Finding("whole")


_EXT = Checker(
    ("e2fsck", "-f", "-n"), "e2fsprogs", _ext,
    replay="program", replayer=("e2fsck", "-y", "-E", "journal_only"),
)  # fmt: skip
CHECKERS = {
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "xfs": Checker(("xfs_repair", "-n", "-f"), "xfsprogs", _xfs, replay="mount"),
    "btrfs": Checker(("btrfs", "check", "--readonly"), "btrfs-progs", _btrfs),
    "ntfs": Checker(("ntfsresize", "--info", "--force", "--no-progress-bar"), "ntfs-3g", _ntfs),
    "vfat": Checker(("fsck.fat", "-n"), "dosfstools", _fat),
    "exfat": Checker(("fsck.exfat", "-n"), "exfatprogs", _exfat),
    "f2fs": Checker(("fsck.f2fs", "--dry-run", "-f"), "f2fs-tools", _f2fs, writes=True),
}
"""By blkid's word for the filesystem."""

_NOTHING_TO_CHECK = ("swap", "swsuspend", "")


def why_unchecked(fs: str) -> str:
    """Why a volume is not checked though everything is installed; empty: it has a checker."""
    if fs in CHECKERS:
        return ""
    if fs in _NOTHING_TO_CHECK or fs == "unknown":
        return "holds no filesystem that is known"
    return f"there is no checker for {fs}"
