"""What a resumed capture must find again, and what it finds of a stream that was cut."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.capture import resume as resuming
from rescue.capture.plan import CapturePlan, plan_all_sectors
from rescue.capture.resume import check_same, lost_since, plan_bytes, same_parent
from rescue.core.errors import ImageDamaged, ImageIncomplete, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.devices.model import Disk, Layout
from rescue.image import parts as parts_module
from rescue.image import writer as writer_module
from rescue.image.header import BODY_START, Header
from rescue.image.index import Index, Where
from rescue.image.partreader import PartReader
from rescue.image.reader import Image
from rescue.image.scan import unfinished
from rescue.image.writer import ImageWriter, Unfinished
from tests.unit.image.making import SIZE, encoded, write

LAYOUT = Layout("none", 512, SIZE, "", (), ExtentMap())


def planned(**more: object) -> CapturePlan:
    disk = replace(Disk(Path("/dev/x"), "block", SIZE, 512, 512, serial="S"), **more)
    return plan_all_sectors(disk, replace(LAYOUT, size=disk.size))


def begun(plan: CapturePlan) -> Unfinished:
    header = Header(image_id=bytes(16))
    return Unfinished(header, 0, Index(), array("I"), [], {}, 1, plan_bytes(plan))


def test_the_same_plan() -> None:
    check_same(planned(), begun(planned()))


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (planned(size=SIZE + 512), "another size"),
        (planned(serial="T"), "serial number"),
        (planned(wwn="5000"), "WWN"),
        (replace(planned(), layout=replace(LAYOUT, disk_id="other")), "partitions"),
        (replace(planned(), captured=ExtentMap.single(0, 512)), "written to since"),
        (replace(planned(), chosen=(1,)), "chosen"),
    ],
)
def test_another_plan(now: CapturePlan, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        check_same(now, begun(planned()))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"not json", b'{"size": 1}'])
def test_a_plan_that_is_none(content: bytes) -> None:
    found = begun(planned())
    found.plan = content
    with pytest.raises((UsageError, ImageDamaged)):
        check_same(planned(), found)


def test_another_parent() -> None:
    header = Header(image_id=bytes(16), parent_id=b"p" * 16, parent_root=b"r" * 32)
    same_parent(header, b"p" * 16, b"r" * 32)
    for wrong in ((b"q" * 16, b"r" * 32), (b"p" * 16, b"s" * 32), (bytes(16), bytes(32))):
        with pytest.raises(UsageError, match="another parent"):
            same_parent(header, *wrong)


def test_every_cut_is_gone_on_with(tmp_path: Path) -> None:
    """Wherever a stream is cut, what is found of it is what a checkpoint vouched for."""
    path = tmp_path / "x"
    write(path, checkpoint=True)
    data = path.read_bytes()
    last = 0
    for length in sorted({*range(BODY_START, len(data), 997), len(data) - 1, len(data) - 129}):
        path.write_bytes(data[:length])
        with PartReader(path) as parts:
            try:
                found = unfinished(parts, b"", lambda _done: None)
            except ImageDamaged as error:
                assert "before its first checkpoint" in error.message
                assert last == 0
                continue
        assert sum(found.totals) == found.position <= length - BODY_START
        assert found.position >= last, "more bytes, and less was found"
        assert all(
            entry.position + 64 + entry.stored <= found.position
            for entry in found.index.entries()
            if entry.where is not Where.ZERO
        )
        last = found.position
    assert len(found.index) == 5


def test_a_part_without_a_header_is_none(tmp_path: Path) -> None:
    """A capture that died before it wrote the header of a new part has not begun that part."""
    path = tmp_path / "x"
    writer = ImageWriter(path, b"{}", capacity=1 << 20)
    left = (1 << 20) - writer.stored
    writer._out.append((bytes(left),))
    writer._out.flush()
    writer.close()
    for content in (b"", bytes(100), bytes(BODY_START), bytes(BODY_START + 7)):
        (tmp_path / "x.002").write_bytes(content)
        with PartReader(path) as parts:
            assert parts.length == 1 << 20
        with pytest.raises(ImageIncomplete):
            Image.open(path)
    (tmp_path / "x.002").write_bytes(b"something else".ljust(BODY_START))
    with pytest.raises(ImageDamaged):
        PartReader(path)
    assert parts_module.part_path(path, 1).exists()


def test_two_writers(tmp_path: Path) -> None:
    """The second process that wants to write to an image is told so."""
    path = tmp_path / "x"
    writer = ImageWriter(path, b"{}")
    with PartReader(path) as parts:
        found = unfinished(parts, b"", lambda _done: None)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="another process"):
        resuming.go_on(path, found, b"")
    assert path.read_bytes() == before
    writer.close()
    resuming.go_on(path, found, b"").close()


def test_differences_are_not_shared_after_a_resume(tmp_path: Path) -> None:
    """A difference belongs to its own chunk, also when it was written before the kill."""
    writer = ImageWriter(tmp_path / "x", b"{}")
    content = b"content ".ljust(1 << 20, b"-")
    entry = writer.add(encoded(0, content))
    writer.index.append(replace(entry, number=1, where=Where.DELTA, digest=b"d" * 32))
    writer.add_zero(2, b"z" * 32)
    seen = writer_module._contents(writer.index)
    assert seen[entry.digest] == 0
    assert b"d" * 32 not in seen
    writer.close()


def test_what_was_lost_since() -> None:
    """Sectors that died after they were captured; what the image holds of them was read."""
    content = bytes(range(1, 256)) * 20 + bytes(20)
    content = (content[:1024] + bytes(512) + content[1536:])[:4096]
    start, at = 7 << 20, 1024

    def now(*failed: tuple[int, int], change: int = -1) -> memoryview:
        seen = bytearray(content)
        for low, length in failed:
            seen[low : low + length] = bytes(length)
        if change >= 0:
            seen[change] ^= 1
        return memoryview(bytes(seen))

    def lost(view: memoryview, *failed: tuple[int, int]) -> list[tuple[int, int]] | None:
        extents = [Extent(start + low, length) for low, length in failed]
        return lost_since(content, view, start, extents)

    assert lost(now((0, 512)), (0, 512)) == []
    # Zeros in the image: perhaps they were read, perhaps they stand for what could not be.
    both = ((512, 1536),)
    assert lost(now(*both), *both) == [(start + at, start + at + 512)]
    for changed in (600, 2050, 4095):
        assert lost(now((0, 512), change=changed), (0, 512)) is None
    # Readable where the image holds zeros, and not zeros: the source changed, or was bad before.
    assert lost(now((0, 512), change=at + 3), (0, 512)) is None
