"""What lvm reports, and what it must not be able to make us believe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rescue.allocation import lvm
from rescue.allocation.pieces import Piece
from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent
from rescue.core.units import MIB

UNIT = 4 * MIB
SIZE = 100 * UNIT + 2 * MIB


def row(at: int, count: int, name: str = "", **more: Any) -> dict[str, str]:
    """A segment as lvm 2.03.31 prints it."""
    values = {
        "vg_name": "vg0",
        "pe_start": MIB,
        "vg_extent_size": UNIT,
        "pv_pe_count": 100,
        "pvseg_start": at,
        "pvseg_size": count,
        "segtype": "linear" if name else "free",
        "lv_name": name,
        "lv_size": count * UNIT if name else "",
        "lv_layout": "linear" if name else "",
        "lv_role": "public" if name else "",
        "seg_start_pe": 0 if name else "",
    }
    return {key: str(value) for key, value in {**values, **more}.items()}


def parse(*rows: dict[str, str], size: int = SIZE) -> lvm.PhysicalVolume:
    return lvm.parse_report(json.dumps({"report": [{"pvseg": list(rows)}]}), size)


def test_volumes_and_free_extents() -> None:
    found = parse(
        row(0, 10, "swap"),
        row(10, 20, "root", lv_size=25 * UNIT),
        row(30, 60),
        row(90, 5, "root", lv_size=25 * UNIT, seg_start_pe=20),
        row(95, 5),
    )
    assert found.group == "vg0"
    assert found.extents == Extent(MIB, 100 * UNIT)
    swap, root = found.volumes
    assert swap.pieces == (Piece(0, 10 * UNIT, MIB),)
    assert (root.size, root.odd, root.hidden) == (25 * UNIT, "", False)
    assert root.pieces == (
        Piece(0, 20 * UNIT, MIB + 10 * UNIT),
        Piece(20 * UNIT, 5 * UNIT, MIB + 90 * UNIT),
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"lv_role": "private,thin,pool,data"}, "a part of a pool"),
        ({"lv_role": "private,pool,spare"}, "a part of a pool"),
        ({"lv_role": "public,snapshot,thicksnapshot"}, "a snapshot"),
        # A snapshot still needs what was deleted on its origin.
        ({"lv_role": "public,origin,thickorigin"}, "has a snapshot"),
        ({"lv_layout": "raid,raid1", "segtype": "raid1"}, "raid raid1"),
        ({"lv_layout": "striped", "segtype": "striped"}, "striped"),
        ({"lv_layout": "thin,pool", "segtype": "thin-pool"}, "thin pool"),
        ({"segtype": "error"}, "linear"),
    ],
)
def test_what_is_not_a_run_of_its_own_bytes(more: dict[str, str], why: str) -> None:
    (found,) = parse(row(0, 10, "data", **more)).volumes
    assert found.odd.startswith(why)
    assert found.hidden == ("private" in more.get("lv_role", ""))


def test_one_odd_segment_is_enough() -> None:
    rows = [row(0, 10, "data", lv_size=20 * UNIT)]
    rows.append(row(10, 10, "data", lv_size=20 * UNIT, segtype="mirror", seg_start_pe=10))
    (found,) = parse(*rows).volumes
    assert found.odd


def test_stripes_begin_at_the_same_extent() -> None:
    rows = [row(0, 10, "data", lv_size=20 * UNIT), row(10, 10, "data", lv_size=20 * UNIT)]
    (found,) = parse(*rows).volumes
    assert found.odd


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row(95, 10, "root")], "outside"),
        ([row(0, 10, "root"), row(5, 10, "home")], "the same"),
        ([row(0, 10, "root", vg_extent_size=0)], "extents of 0"),
        ([row(0, 10, "root", pv_pe_count=101)], "101 extents"),
        ([row(0, 10, "root", pe_start=-1)], "from -1"),
        ([row(0, 10, "root", pvseg_start="x")], "unexpected"),
        ([row(0, 0, "root")], "the same"),
        ([row(0, 10, vg_name="")], "in no group"),
        ([row(0, 10, "", segtype="linear")], "has no name"),
        ([{}], "unexpected"),
        ([], "no segments"),
    ],
)
def test_a_report_that_cannot_be(rows: list[dict[str, str]], why: str) -> None:
    with pytest.raises(ProgramFailed, match=why):
        parse(*rows)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"report":[]}', '{"report":[{"pvseg":1}]}'])
def test_no_report_at_all(text: str) -> None:
    with pytest.raises(ProgramFailed):
        lvm.parse_report(text, SIZE)


def test_a_name_that_is_a_pattern() -> None:
    with pytest.raises(ProgramFailed, match="no name that lvm can be given"):
        lvm.read(Path("/dev/mapper/a|b"), SIZE)
