"""Which images a prune keeps: made-up dates, clocks that lie, chains, files of others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.core.errors import DiskTrouble
from rescue.image.header import BODY_START, SPLIT, Header
from rescue.image.keys import new_private_key
from rescue.image.reader import Image
from rescue.upkeep import keyring
from rescue.upkeep.prune import (
    Kept,
    Policy,
    PrunePlan,
    carry_out,
    files_of,
    look,
    plan,
    series_of,
)
from tests.unit.image.making import write

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)  # a Sunday


def image(
    name: str, days_ago: float = 0.0, parent: str = "", series: str = "S1", problem: str = ""
) -> Kept:
    return Kept(
        Path(name),
        name.encode().ljust(16, b"-"),
        parent.encode().ljust(16, b"-") if parent else b"",
        int((NOON - timedelta(days=days_ago)).timestamp()),
        series,
        100,
        problem,
    )


def kept(images: list[Kept], **policy: int) -> dict[str, str]:
    planned = plan(images, Policy(**policy))
    assert {i.path.name for i, _ in planned.keep} | {i.path.name for i in planned.remove} == {
        i.path.name for i in images
    }
    assert len(planned.keep) + len(planned.remove) == len(images)
    return {i.path.name: reason for i, reason in planned.keep}


def test_days() -> None:
    images = [image(f"d{n}", n) for n in range(10)] + [image("morning", 2.2)]
    assert kept(images, daily=3) == {"d0": "newest", "d1": "daily", "d2": "daily"}


def test_days_without_an_image_do_not_count() -> None:
    images = [image("a", 0), image("b", 40), image("c", 41), image("d", 300)]
    assert set(kept(images, daily=3)) == {"a", "b", "c"}


def test_weeks_and_months() -> None:
    images = [image(f"d{n}", n) for n in range(100)]
    assert set(kept(images, weekly=3)) == {"d0", "d7", "d14"}  # Sundays: ISO weeks end there
    assert set(kept(images, monthly=3)) == {"d0", "d29", "d57"}  # 28 Feb, 31 Jan
    both = kept(images, daily=2, weekly=2, monthly=2)
    assert both == {
        "d0": "newest", "d1": "daily", "d7": "weekly", "d29": "monthly",
    }  # fmt: skip


def test_iso_weeks_at_the_turn_of_the_year() -> None:
    """1 January 2027 is in week 53 of 2026, with 31 December."""
    new_year = (datetime(2027, 1, 1, 12, tzinfo=UTC) - NOON).days
    images = [image("new", -new_year), image("eve", 1 - new_year)]
    assert set(kept(images, weekly=5)) == {"new"}
    assert set(kept(images, monthly=5)) == {"new", "eve"}


def test_each_disk_keeps_its_newest() -> None:
    images = [image("a", 400, series="S1"), image("b", 0, series="S2"), image("c", 1, series="S2")]
    assert set(kept(images, daily=1)) == {"a", "b"}


def test_parents_stay() -> None:
    images = [
        image("full", 30),
        image("one", 20, "full"),
        image("two", 10, "one"),
        image("side", 9, "full"),
        image("three", 1, "two"),
    ]
    assert kept(images, daily=1) == {
        "three": "newest",
        "two": "parent of three",
        "one": "parent of two",
        "full": "parent of one",
    }


def test_what_is_not_whole_stays_with_its_parents() -> None:
    images = [
        image("full", 30),
        image("half", 20, "full", problem="it is incomplete"),
        image("new", 0),
    ]
    assert kept(images, daily=1) == {
        "new": "newest",
        "half": "it is incomplete",
        "full": "parent of half",
    }


def test_a_clock_that_was_set_back() -> None:
    """A child is newer than its parent, whatever its date says."""
    images = [image("full", 0), image("child", 9000, "full"), image("grandchild", 5, "child")]
    assert kept(images, daily=1) == {
        "grandchild": "newest",
        "child": "parent of grandchild",
        "full": "parent of child",
    }


def test_images_of_the_same_second() -> None:
    images = [image("a"), image("b", 0, "a"), image("c", 0, "b")]
    assert set(kept(images, daily=1)) == {"a", "b", "c"}
    assert kept(images, daily=1)["c"] == "newest"


def test_a_ring_ends() -> None:
    images = [image("a", 1, "b"), image("b", 2, "a"), image("c", 3)]
    assert set(kept(images, daily=1)) == {"a", "b"}


@given(
    st.lists(st.tuples(st.integers(-1, 40), st.floats(0, 400), st.sampled_from("ST")), max_size=40),
    st.integers(0, 5), st.integers(0, 5), st.integers(0, 5),
)  # fmt: skip
def test_no_chain_is_ever_broken(
    made: list[tuple[int, float, str]], daily: int, weekly: int, monthly: int
) -> None:
    images = [
        image(f"i{n}", days, f"i{above}" if 0 <= above < n else "", series)
        for n, (above, days, series) in enumerate(made)
    ]
    planned = plan(images, Policy(daily, weekly, monthly))
    assert len(planned.keep) + len(planned.remove) == len(images)
    gone = {one.image_id for one in planned.remove}
    assert not [one for one, _ in planned.keep if one.parent_id in gone]
    for series in {one.series for one in images}:
        assert any(one.series == series for one, _ in planned.keep)


def test_children_go_before_their_parents(tmp_path: Path) -> None:
    """Whenever it stops, no image is left without its parent; the clock does not matter."""
    images = []
    for name, days, parent in (("a", 5, ""), ("b", 9, "a"), ("c", 9, "b"), ("d", 1, "a")):
        (tmp_path / name).write_bytes(b"x" * 10)
        images.append(replace(image(name, days, parent), path=tmp_path / name))
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()  # cannot be removed
    (tmp_path / "b" / "x").touch()
    with pytest.raises(DiskTrouble, match="cannot remove"):
        carry_out(PrunePlan((), tuple(images)))
    assert (tmp_path / "a").exists(), "the parent went before its child"
    assert not (tmp_path / "c").exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """``x.002`` belongs to ``x`` only when it says so itself."""
    whole = tmp_path / "x"
    write(whole)
    (tmp_path / "x.002").write_bytes(b"a person's own file")
    header = Header(image_id=bytes(16), part=1, capacity=1 << 20, critical=SPLIT)
    [found] = [one for one in look(tmp_path) if one.path == whole]
    assert found.files == (whole,)
    assert carry_out(PrunePlan((), (found,))) == found.size
    assert (tmp_path / "x.002").read_bytes() == b"a person's own file"
    own = Header(image_id=b"o" * 16, part=0, capacity=1 << 20, critical=SPLIT)
    first = tmp_path / "z"
    first.write_bytes(own.to_bytes() * 2)
    (tmp_path / "z.002").write_bytes(own.for_part(1).to_bytes() * 2)
    (tmp_path / "z.003").write_bytes(header.to_bytes() * 2 + bytes(9))
    (tmp_path / "z.004").write_bytes(bytes(BODY_START))
    assert list(files_of(first, own)) == [first, tmp_path / "z.002"]


def test_disks_without_a_serial_number_are_told_apart(tmp_path: Path) -> None:
    """/dev/sda of two machines are two disks: neither's newest image goes for the other's."""
    write(tmp_path / "x")
    with Image.open(tmp_path / "x") as opened:
        manifest = opened.manifest
    assert series_of(manifest) == "S"
    disk = {"serial": "", "wwn": "", "identity": "/dev/sda"}
    one = replace(manifest, disk=disk, layout={"disk_id": "A"}, machine={"serial": "1"})
    assert series_of(one) == series_of(replace(one, notes=("later",)))
    assert series_of(one) != series_of(replace(one, layout={"disk_id": "B"}))
    assert series_of(one) != series_of(replace(one, machine={"serial": "2"}))
    assert series_of(replace(one, disk={**disk, "wwn": "5000"})) == "5000"


def test_encrypted_images_of_unknown_disks_are_not_pooled(tmp_path: Path) -> None:
    key = new_private_key()
    for name in ("a", "b"):
        write(tmp_path / name, lock=keyring.new_lock(keyring.Access(recipients=(key.public,))))
    images = look(tmp_path)
    assert len({one.series for one in images}) == 2
    assert not plan(images, Policy(daily=1)).remove
    opened = look(tmp_path, [key])
    assert {one.series for one in opened} == {"S"}
    assert len(plan(opened, Policy(daily=1)).remove) == 1
