"""The JSON form of a layout, which is part of the image format: exact, and strict when read."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.core.extent import ExtentMap
from rescue.devices.model import Layout, Partition

LAYOUT = Layout(
    label="gpt",
    sector_size=512,
    size=1 << 30,
    disk_id="c392c056-1da9-46a5-8b22-72f0a404ec83",
    partitions=(
        Partition(1, 1 << 20, 1 << 20, "gpt", "21686148-6449-6e6f-744e-656564454649", "boot"),
        Partition(2, 2 << 20, 64 << 20, "gpt", "0fc6-…", "wurzel ü", "dbe97b7e", ("required",)),
    ),
    table_extents=ExtentMap.of([(0, 17408), ((1 << 30) - 16896, 1 << 30)]),
    warnings=("not stored",),
)


def test_what_is_written_is_read() -> None:
    again = Layout.from_json(json.loads(json.dumps(LAYOUT.to_json())))
    assert again == LAYOUT
    assert again.warnings == ()
    assert again.partition(2) == LAYOUT.partitions[1]
    assert again.partition(3) is None


def put(*keys: object, value: object) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put("label", value="mac"),
        put("label", value=None),
        put("sector_size", value=0),
        put("sector_size", value=513),
        put("sector_size", value=True),
        put("size", value=-1),
        put("size", value=1 << 64),
        put("size", value=1 << 20),
        put("size", value="1073741824"),
        put("disk_id", value="x" * 1000),
        put("partitions", value={}),
        put("partitions", value=[{}] * 9000),
        put("partitions", 0, "number", value=2),
        put("partitions", 0, "start", value=3 << 20),
        put("partitions", 0, "kind", value="dynamic"),
        put("partitions", 0, "length", value=1 << 40),
        put("partitions", 0, "length", value=1.5),
        put("partitions", 0, "flags", value="required"),
        put("partitions", 0, "flags", value=[1]),
        put("partitions", 0, "colour", value="red"),
        put("partitions", 0, value=None),
        put("table_extents", value=[[0, 1, 2]]),
        put("table_extents", value=[[0, -1]]),
        put("table_extents", value=[[0, 1 << 40]]),
        put("table_extents", value="0-512"),
        put("extra", value=1),
        lambda data: data.pop("size"),
    ],
)
def test_anything_else_is_refused(change: Callable[[Any], None]) -> None:
    data = copy.deepcopy(LAYOUT.to_json())
    Layout.from_json(data)
    change(data)
    with pytest.raises(ValueError):
        Layout.from_json(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(LAYOUT.to_json())), json_values)
def test_no_json_gives_another_exception(key: str, value: object) -> None:
    data = LAYOUT.to_json()
    data[key] = value
    with contextlib.suppress(ValueError):
        Layout.from_json(data)
