"""Parts divided among discs: the order is kept, nothing is lost, nothing is too large."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import discs
from builder.bootloader import grub
from builder.discs import Part
from builder.recipe import Recipe
from rescue.core.errors import UsageError
from rescue.core.units import MIB
from rescue.jobs import discs as reading

SIZES = st.lists(st.integers(min_value=1, max_value=60 * MIB), min_size=1, max_size=40)


def parts_of(sizes: list[int]) -> list[Part]:
    return [
        Part(f"rescue/images/x.rescue.{number:03d}", Path(f"/x{number}"), size)
        for number, size in enumerate(sizes)
    ]


@given(SIZES, st.integers(min_value=0, max_value=200 * MIB))
def test_every_part_is_on_one_disc_in_order(sizes: list[int], first: int) -> None:
    parts = parts_of(sizes)
    other = 100 * MIB
    planned = discs.plan(parts, first, other)
    assert [part for disc in planned for part in disc] == parts
    for number, disc in enumerate(planned):
        used = sum(-(-part.size // 2048) * 2048 for part in disc)
        assert used <= (other if number else first)
        assert disc or number == 0


def test_the_first_disc_may_hold_nothing_but_the_system() -> None:
    planned = discs.plan(parts_of([5 * MIB]), 1 * MIB, 10 * MIB)
    assert [len(disc) for disc in planned] == [0, 1]


def test_what_fits_no_disc_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit a disc"):
        discs.plan(parts_of([11 * MIB]), 1 * MIB, 10 * MIB)
    with pytest.raises(UsageError, match="would take 100 discs"):
        discs.plan(parts_of([9 * MIB] * 100), 10 * MIB, 10 * MIB)
    with pytest.raises(UsageError, match="the system takes"):
        discs.room(100 * MIB, 200 * MIB)


def test_sizes_by_name_and_by_number() -> None:
    assert discs.parse_media_size("DVD") == 4_700_000_000
    assert discs.parse_media_size("700M") == 700 * MIB
    for text in ("", "big", "-1", "1M"):
        with pytest.raises(UsageError):
            discs.parse_media_size(text)


def test_parts_fill_discs_and_fit_a_file() -> None:
    assert discs.part_size(4_700_000_000, 220 * MIB, 1 << 32) == 280 * MIB
    assert discs.part_size(25_020_000_000, 220 * MIB, 1 << 30) == 1 << 30
    assert discs.part_size(230 * MIB, 220 * MIB, 1 << 30) == 6 * MIB


def test_names() -> None:
    assert discs.name_of(Path("a/pc.iso"), 1) == Path("a/pc.iso")
    assert discs.name_of(Path("a/pc.iso"), 12) == Path("a/pc-12.iso")
    assert discs.label_of(1) == "RESCUE"


@given(SIZES)
def test_what_the_builder_writes_the_medium_reads(sizes: list[int]) -> None:
    """Two programs, one list: the core cannot import the builder."""
    planned = discs.plan(parts_of(sizes), 50 * MIB, 100 * MIB)
    mark = discs.mark("0123456789abcdef", 1, len(planned)).decode()
    found = reading.parse(discs.listing(planned).decode(), mark)
    assert found.parts == tuple(tuple(part.path for part in disc) for disc in planned)
    assert (reading.LIST, reading.SET) == (discs.LIST, discs.SET)


def test_the_menu_frees_the_drive_of_a_set_and_of_nothing_else() -> None:
    from dataclasses import replace

    menu = replace(grub.menu_of(Recipe(), "/x"), recovery=("pc.toml",))
    assert "rescue.discs" not in grub.render(menu)
    text = grub.render(replace(menu, discs=3))
    assert text.count("rescue.job.again=1 toram rescue.discs=3\n}\n") == 1
