"""Used clusters by partclone, which writes them as a ddrescue domain map.

The map is text: comments, one status line, then `position size status` in hexadecimal, "+" for
used. A fragmented terabyte gives millions of lines, so the parser works on columns of a block of
lines at a time. It is strict: a map that is not exactly right must not decide what is captured.
"""

from __future__ import annotations

import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.core.extent import ExtentMap

# blkid's word to partclone's program.
PROGRAMS = {
    "ext2": "partclone.ext2",
    "ext3": "partclone.ext3",
    "ext4": "partclone.ext4",
    "vfat": "partclone.vfat",
    "exfat": "partclone.exfat",
    "ntfs": "partclone.ntfs",
    "btrfs": "partclone.btrfs",
    "xfs": "partclone.xfs",
    "f2fs": "partclone.f2fs",
}
_BLOCK = 1 << 20
_LINES = re.compile(rb"(?:0x[0-9A-Fa-f]{1,16}[ \t]+0x[0-9A-Fa-f]{1,16}[ \t]+[+?][ \t]*\n)*\Z")
_STATUS = re.compile(rb"0x[0-9A-Fa-f]{1,16}[ \t]+[?+]([ \t]+\d+)?[ \t]*\Z")
# What partclone says whatever happened.
_GENERAL = ("Partclone ", "Starting to ", "error exit")
_USEFUL = re.compile(r"[A-Za-z]{3}")


def used_extents(device: Path, fs: str, size: int) -> ExtentMap:
    """Extents of ``device`` that partclone calls used, from the device's first byte.

    Args:
        device: a block device or plain file that holds exactly one volume.
        fs: blkid's word for the filesystem; a key of ``PROGRAMS``.
        size: bytes of the volume; what the map says behind it is an error.

    Raises:
        ProgramFailed: partclone is missing or refuses this filesystem (its own words), or what
            it wrote is not a sound map.
    """
    with tempfile.TemporaryDirectory(prefix="rescue-map-") as folder:
        output = Path(folder) / "domain"
        # -C: a volume may be smaller than its partition. -L: it would write /var/log/partclone.log.
        # -f 0: its thread for progress sleeps two seconds at a time, and partclone waits for it
        # when the map is long done.
        command = [PROGRAMS[fs], "-D", "-C", "-q", "-f", "0", "-s", str(device.absolute())]
        command += ["-o", str(output), "-L", "/dev/null"]
        done = process.run(command, check=False, cwd=Path(folder))
        if done.status != 0:
            raise ProgramFailed(f"{PROGRAMS[fs]} refused: {last_words(done.stdout + done.stderr)}")
        try:
            with output.open("rb") as file:
                return parse_domain(blocks_of(file), size)
        except OSError as error:
            raise ProgramFailed(f"{PROGRAMS[fs]} wrote no map") from error


def last_words(output: bytes) -> str:
    """The line of partclone's talk that says why, without its general closing line."""
    lines = [
        " ".join(line.split()).rstrip(".!")
        for line in output.decode(errors="replace").replace("\r", "\n").splitlines()
        if _USEFUL.search(line)
    ]
    lines = [line.removeprefix("Calculating bitmap... Please wait... ") for line in lines]
    told = [line for line in lines if not line.startswith(_GENERAL)]
    return (told or lines or ["it printed nothing"])[-1][:200]


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """Blocks of about a mebibyte that end at line ends.

    Raises:
        ProgramFailed: a line has no end.
    """
    pending = b""
    while data := file.read(_BLOCK):
        cut = data.rfind(b"\n") + 1
        if cut == 0:
            pending += data
            if len(pending) > 2 * _BLOCK:
                raise ProgramFailed("a line of the domain map is too long")
            continue
        yield pending + data[:cut]
        pending = data[cut:]
    if pending:
        yield pending + b"\n"


def parse_domain(blocks: Iterable[bytes], size: int) -> ExtentMap:
    """Parse a domain map given as blocks of whole lines; pure.

    Raises:
        ProgramFailed: a line is malformed, extents are not ascending, or one ends behind ``size``.
    """
    starts, ends = array("Q"), array("Q")
    reached, heading = 0, True
    for block in blocks:
        body = block
        if heading:
            body, heading = _skip_heading(block)
        if not _LINES.match(body):
            raise ProgramFailed("the domain map has a line that is not position, size, status")
        words = body.split()
        places = [int(word, 16) for word in words[0::3]]
        lengths = [int(word, 16) for word in words[1::3]]
        for start, length, status in zip(places, lengths, words[2::3], strict=True):
            if start < reached:
                raise ProgramFailed("the domain map is not in ascending order")
            reached = start + length
            if status == b"+" and length:
                if reached > size:
                    raise ProgramFailed(
                        f"the domain map reaches to byte {reached} of a volume of {size} bytes",
                        hint="check the filesystem",
                    )
                if ends and ends[-1] == start:
                    ends[-1] = reached
                else:
                    starts.append(start)
                    ends.append(reached)
    if heading:
        raise ProgramFailed("the domain map is cut short")
    return ExtentMap(starts, ends)


def _skip_heading(block: bytes) -> tuple[bytes, bool]:
    """What follows comments and status line, and whether the status line is still to come."""
    at = 0
    while at < len(block):
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        line = block[at:end].strip()
        at = end + 1
        if not line or line.startswith(b"#"):
            continue
        if not _STATUS.match(line):
            raise ProgramFailed("the domain map has no status line")
        rest = block[at:]
        # One more comment names the columns.
        while rest.startswith(b"#"):
            rest = rest.partition(b"\n")[2]
        return rest, False
    return b"", True
