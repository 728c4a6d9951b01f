"""What a restore is going to do: which bytes, which last, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rescue.core.errors import ImageDamaged, TargetRefused, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB
from rescue.devices.model import Layout, Partition
from rescue.image.manifest import Volume
from rescue.restore.planning import plan_restore

SIZE = 100 * MIB
TABLES = ExtentMap.of([(0, 34 * 512), (SIZE - 33 * 512, SIZE)])
PARTS = (
    Partition(1, 2 * MIB, 20 * MIB, "gpt", "t"),
    Partition(2, 30 * MIB, 40 * MIB, "gpt", "t", name="root"),
)
LAYOUT = Layout("gpt", 512, SIZE, "guid", PARTS, TABLES)
CAPTURED = TABLES.union(
    ExtentMap.of([(2 * MIB, 5 * MIB), (31 * MIB, 33 * MIB), (80 * MIB, 81 * MIB)])
)


def image(failed: tuple[Extent, ...] = (), layout: Layout = LAYOUT) -> Any:
    volumes = tuple(
        Volume(p.number, p.extent, "ext4", "", "", "partclone", MIB) for p in layout.partitions
    )
    manifest = SimpleNamespace(
        layout=layout.to_json(), volumes=volumes, ledger=SimpleNamespace(failed=failed)
    )
    return SimpleNamespace(
        size=SIZE, captured=CAPTURED, manifest=manifest, read=lambda _at, length: bytes(length)
    )


def test_the_whole_disk_with_its_tables_last() -> None:
    plan = plan_restore(image(), None)
    assert plan.whole and plan.needed == SIZE
    assert plan.written == CAPTURED and plan.bytes == CAPTURED.total
    for extent in TABLES:
        assert {extent.start // MIB, (extent.end - 1) // MIB} <= plan.last
    assert plan.last.isdisjoint(range(2, 90))


@pytest.mark.parametrize("missing", [1, 512, MIB])
def test_a_target_that_is_too_small(missing: int) -> None:
    """The partitions end at 70 MiB, so a whole table is what a disk must have room for behind."""
    least = 70 * MIB + 33 * 512
    with pytest.raises(TargetRefused, match="too small"):
        plan_restore(image(), least - missing)
    plan = plan_restore(image(), least)
    assert plan.arrangement is not None and plan.arrangement.same and plan.needed == least


def test_a_larger_target_is_told() -> None:
    [note] = plan_restore(image(), SIZE + 5 * MIB).notes
    assert "5.0 MiB larger" in note and "second copy" in note


def test_sectors_of_the_same_size_change_nothing() -> None:
    assert plan_restore(image(), SIZE, target_sector_size=512) == plan_restore(image(), SIZE)


def ext_of(block: int, start: int = 30 * MIB, length: int = 40 * MIB) -> Any:
    """An image of one ext4 with such blocks, at such a place."""
    part = Partition(2, start, length, "gpt", "t", name="root")
    made = image((), Layout("gpt", 512, SIZE, "guid", (part,), TABLES))
    made.read = lambda at, length: (block // 2048).to_bytes(length, "little")
    return made


def test_a_filesystem_that_counts_in_whole_sectors_goes_as_it_is() -> None:
    plan = plan_restore(ext_of(4096), SIZE, target_sector_size=4096)
    assert plan.sector == 4096 and not plan.resizes and plan.head == 8192
    assert plan.digest("root") != plan_restore(ext_of(4096), SIZE).digest("root")


def test_a_filesystem_with_smaller_blocks_is_copied_by_files() -> None:
    plan = plan_restore(ext_of(1024), SIZE, target_sector_size=4096)
    assert [one.means for one in plan.resizes] == ["files"]
    left = plan_restore(ext_of(1024), SIZE, target_sector_size=4096, leave_out=[2])
    assert not left.resizes and not left.written.intersection(ExtentMap.single(30 * MIB, 40 * MIB))


@pytest.mark.parametrize(
    ("start", "why"), [(30 * MIB + 512, "middle of a sector"), (16384, "no room in front")]
)
def test_a_table_that_cannot_be_made_for_such_sectors(start: int, why: str) -> None:
    with pytest.raises(TargetRefused, match=why):
        plan_restore(ext_of(4096, start), SIZE, target_sector_size=4096)


def test_a_partition_becomes_whole_sectors_long() -> None:
    plan = plan_restore(ext_of(4096, length=40 * MIB + 512), SIZE, target_sector_size=4096)
    assert plan.arrangement is not None and not plan.resizes
    (place,) = plan.arrangement.places
    assert place.new.length == 40 * MIB + 4096


def test_what_cannot_be_looked_into_is_refused_with_its_name() -> None:
    other = image()
    other.manifest.volumes = tuple(replace(v, fs="crypto_LUKS") for v in other.manifest.volumes)
    with pytest.raises(TargetRefused, match="partition 1: crypto_LUKS cannot") as caught:
        plan_restore(other, SIZE, target_sector_size=4096)
    assert "--leave-out 1,2" in caught.value.hint
    assert plan_restore(other, SIZE, target_sector_size=4096, leave_out=[1, 2]).left_out == (1, 2)


def test_one_partition_touches_nothing_else() -> None:
    plan = plan_restore(image(), SIZE, [2], target_layout=LAYOUT)
    assert plan.chosen == (2,) and not plan.whole and not plan.last
    assert plan.written == ExtentMap.of([(31 * MIB, 33 * MIB)])
    assert plan.lost == ("partition 2 'root', 40.0 MiB",)


def test_one_partition_into_a_new_file_brings_the_tables() -> None:
    plan = plan_restore(image(), None, [1])
    assert not TABLES.difference(plan.written)
    assert not plan.written.within(30 * MIB, 70 * MIB)


@pytest.mark.parametrize(
    "there",
    [
        None,
        Layout("none", 512, SIZE, "", (), ExtentMap()),
        Layout("gpt", 512, SIZE, "guid", PARTS[:1], TABLES),
        Layout(
            "gpt", 512, SIZE, "guid", (Partition(2, 31 * MIB, 40 * MIB, "gpt", "t"),), TABLES
        ),
        Layout(
            "gpt", 512, SIZE, "guid", (Partition(2, 30 * MIB, 41 * MIB, "gpt", "t"),), TABLES
        ),
    ],
    ids=["no table", "none", "missing", "moved", "larger"],
)  # fmt: skip
def test_a_partition_goes_only_where_it_came_from(there: Layout | None) -> None:
    with pytest.raises(TargetRefused, match="no partition 2 at the place"):
        plan_restore(image(), SIZE, [2], target_layout=there)


def test_partitions_that_are_not_held() -> None:
    for wrong in ([3], [1, 9], [0]):
        with pytest.raises(UsageError, match="does not hold partition"):
            plan_restore(image(), SIZE, wrong, target_layout=LAYOUT)


def test_unreadable_bytes_are_told_where_they_matter() -> None:
    failed = (Extent(3 * MIB, 512), Extent(32 * MIB, 1024))
    plan = plan_restore(image(failed), None)
    assert plan.unreadable == failed
    assert any("1536 bytes could not be read" in note for note in plan.notes)
    plan = plan_restore(image(failed), SIZE, [2], target_layout=LAYOUT)
    assert plan.unreadable == failed[1:]
    assert plan.to_json()["unreadable"] == [{"start": 32 * MIB, "length": 1024}]


@pytest.mark.parametrize("wrong", [{}, {"label": "gpt"}, {**LAYOUT.to_json(), "size": 512}])
def test_a_layout_that_is_none(wrong: dict[str, Any]) -> None:
    one = image()
    one.manifest.layout = wrong
    with pytest.raises(ImageDamaged):
        plan_restore(one, None)
