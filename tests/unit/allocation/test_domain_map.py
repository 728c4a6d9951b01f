"""partclone's domain map and blkid's words: what is right is read, anything else is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.allocation.detect import Detected, parse_blkid
from rescue.allocation.partclone import blocks_of, last_words, parse_domain
from rescue.core.errors import ProgramFailed
from rescue.core.extent import ExtentMap

HEAD = b"""# Domain logfile created by unset_name v0.3.23
# Source: e.img
# Offset: 0x00000000
# current_pos  current_status
0x04000000     ?
#      pos        size  status
"""


def parse(body: bytes, size: int = 1 << 26, head: bytes = HEAD) -> ExtentMap:
    return parse_domain([head + body], size)


def test_a_map() -> None:
    body = b"0x00000000  0x00448400  +\n0x00448400  0x003B8000  ?\n0x00800400  0x00040800  +\n"
    assert parse(body) == ExtentMap.of([(0, 0x448400), (0x800400, 0x840C00)])


def test_touching_lines_become_one_extent() -> None:
    assert parse(b"0x0 0x1000 +\n0x1000 0x1000 +\n0x2000 0x0 +\n") == ExtentMap.of([(0, 0x2000)])


def test_nothing_used() -> None:
    assert not parse(b"0x0 0x1000 ?\n")
    assert not parse(b"")


def test_free_space_may_reach_behind_the_volume() -> None:
    assert parse(b"0x0 0x1000 +\n0x1000 0xFFFFFF000 ?\n") == ExtentMap.of([(0, 0x1000)])


@pytest.mark.parametrize(
    "body",
    [
        b"0x0 0x1000 *\n",
        b"0x0 0x1000\n",
        b"0x0 0x1000 + +\n",
        b"0 0x1000 +\n",
        b"0x0 -0x1000 +\n",
        b"0x0 0x11111111111111111 +\n",
        b"0x0 0x1000 +0x1000 0x1000 ?\n",
        b"0x2000 0x1000 +\n0x0 0x1000 +\n",
        b"0x0 0x2000 +\n0x1000 0x1000 +\n",
        b"0x0 0x4000001 +\n",
        b"\0\n",
        b"\n\n0x0 0x1000 +\n",
    ],
)
def test_a_malformed_map_is_refused(body: bytes) -> None:
    with pytest.raises(ProgramFailed):
        parse(body)


@pytest.mark.parametrize("head", [b"", b"# only comments\n", b"hello\n", b"0x0 0x0 0x0 ?\n"])
def test_a_map_without_its_heading_is_refused(head: bytes) -> None:
    with pytest.raises(ProgramFailed):
        parse(b"", head=head)


def test_blocks_end_at_lines_however_the_file_is_cut() -> None:
    body = b"".join(b"0x%X  0x100  %s\n" % (i * 256, b"+?"[i % 2 :][:1]) for i in range(90_000))
    blocks = list(blocks_of(io.BytesIO(HEAD + body)))
    assert len(blocks) > 1
    assert all(block.endswith(b"\n") for block in blocks)
    whole = parse_domain(blocks, 1 << 26)
    assert len(whole) == 45_000
    assert whole == parse(body)


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(ProgramFailed, match="too long"):
        list(blocks_of(io.BytesIO(b"0" * (4 << 20))))


@given(st.lists(st.tuples(st.integers(1, 1 << 30), st.booleans()), max_size=60))
def test_any_map_is_read_as_it_was_written(runs: list[tuple[int, bool]]) -> None:
    lines, pairs, at = [], [], 0
    for length, used in runs:
        lines.append(b"0x%08X  0x%08X  %s\n" % (at, length, b"+" if used else b"?"))
        if used:
            pairs.append((at, at + length))
        at += length
    assert parse(b"".join(lines), size=at) == ExtentMap.of(pairs)


@given(st.binary(max_size=300))
def test_no_bytes_give_another_exception(body: bytes) -> None:
    for head in (b"", HEAD):
        try:
            parse(body, head=head)
        except ProgramFailed:
            continue


def test_partclones_reason_is_found_in_its_talk() -> None:
    talk = (
        b"Partclone v0.3.23 http://partclone.org\n"
        b"Starting to map device (n.img) to domain log (m.txt)\n"
        b"Calculating bitmap... Please wait... \rextfsclone.c: no valid superblock.\n"
        b"Partclone fail, please check /dev/null !\n"
    )
    assert last_words(talk) == "extfsclone.c: no valid superblock"
    assert last_words(b"") == "it printed nothing"


def test_blkid() -> None:
    output = (
        b"ID_FS_LABEL=a_b\nID_FS_LABEL_ENC=a\\x20b\\x5c\\x22=\xc3\xa9\n"
        b"ID_FS_UUID=c7cc\nID_FS_UUID_ENC=c7cc\nID_FS_VERSION=1.0\nID_FS_TYPE=ext4\n"
    )
    assert parse_blkid(output) == Detected("ext4", 'a b\\"=é', "c7cc", "1.0")
    assert parse_blkid(b"") == Detected()
    assert parse_blkid(b"ID_PART_TABLE_TYPE=dos\n").fs == ""
    for bad in (b"no equals sign\n", b"A=b\n" * 100_000):
        with pytest.raises(ProgramFailed):
            parse_blkid(bad)


def test_the_programs_are_for_what_blkid_calls_them() -> None:
    from rescue.allocation.partclone import PROGRAMS

    assert all(Path(program).name.startswith("partclone.") for program in PROGRAMS.values())
    assert {"ext2", "ext3", "ext4", "vfat", "exfat", "ntfs", "btrfs", "xfs", "f2fs"} == set(
        PROGRAMS
    )
