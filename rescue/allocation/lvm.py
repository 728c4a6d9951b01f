"""Logical volumes of one physical volume, as LVM's own tool reports them from its metadata.

Nothing is activated and nothing is locked (``--readonly``): the metadata on the disk is read, and
where each volume lies is all that is wanted. Its configuration is given with the call, so that what
a machine allows or hides elsewhere (filters, a devices file, udev's view) has no say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescue.allocation.pieces import Piece, fault
from rescue.core import process
from rescue.core.errors import ProgramFailed
from rescue.core.extent import Extent

_FIELDS = (
    "vg_name,pe_start,vg_extent_size,pv_pe_count,pvseg_start,pvseg_size,segtype,"
    "lv_name,lv_size,lv_layout,lv_role,seg_start_pe"
)
# lvm.conf(5). The one node is given by name: a filter is a list of patterns between delimiters.
_CONFIG = (
    'devices{{filter=["a|^{node}$|","r|.*|"] global_filter=["a|.*|"] use_devicesfile=0 '
    'obtain_device_list_from_udev=0 external_device_info_source="none" scan_lvs=1 '
    "md_component_detection=0 multipath_component_detection=0}} "
    'log{{silent=0 verbose=0 syslog=0 file=""}} global{{event_activation=0}}'
)
_PRIVATE = "private"
_MOST_SEGMENTS = 100_000


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """One logical volume, as far as it lies on this physical volume.

    Attributes:
        size: bytes of the whole of it.
        odd: why what stands on the disk cannot be looked at as its content; empty where it can.
        hidden: a part of something else, which nobody gave a name.
        pieces: places on the physical volume, in bytes from its start.
    """

    name: str
    size: int
    odd: str
    hidden: bool
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PhysicalVolume:
    """What a physical volume holds.

    Attributes:
        extents: the bytes that are divided into extents; what lies beside them is metadata.
    """

    group: str
    extents: Extent
    volumes: tuple[LogicalVolume, ...]


def read(node: Path, size: int) -> PhysicalVolume:
    """Ask lvm about the physical volume at ``node``, a block device of ``size`` bytes.

    Raises:
        ProgramFailed: lvm is missing, or cannot make it out.
    """
    if not str(node).isascii() or any(c in '"|\\^$.*[]+?(){}' for c in str(node)):
        raise ProgramFailed(f"{node} is no name that lvm can be given")
    # Groups of another system, or shared by several, are passed over unless they are asked for.
    command = ["lvm", "pvs", "--readonly", "--foreign", "--shared"]
    command += ["--segments", "--reportformat", "json"]
    command += ["--units", "b", "--nosuffix", "--config", _CONFIG.format(node=node)]
    command += ["--options", _FIELDS, str(node)]
    done = process.run(command, check=False, env={"LVM_SUPPRESS_FD_WARNINGS": "1"})
    if done.status != 0:
        raise process.failure(done)
    return parse_report(done.text, size)


@dataclass(slots=True)
class _Growing:
    size: int
    odd: str
    hidden: bool
    pieces: list[Piece] = field(default_factory=list)


def parse_report(text: str, size: int) -> PhysicalVolume:
    """Parse the JSON of ``lvm pvs --segments``; pure.

    Raises:
        ProgramFailed: it is not what lvm prints, or does not fit into ``size`` bytes.
    """
    try:
        ((rows,),) = ([report["pvseg"]] for report in json.loads(text)["report"])
        if not 0 < len(rows) <= _MOST_SEGMENTS:
            raise ValueError("no segments, or too many")
        return _physical(rows, size)
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramFailed(f"lvm printed something unexpected: {error}") from error


def _physical(rows: list[Mapping[str, Any]], size: int) -> PhysicalVolume:
    """The physical volume of these segments."""
    group = str(rows[0]["vg_name"])
    if not group:
        raise ProgramFailed("this physical volume is in no group")
    unit, first, count = (
        int(rows[0][key]) for key in ("vg_extent_size", "pe_start", "pv_pe_count")
    )
    extents = Extent(first, unit * count)
    if unit <= 0 or unit % 512 or first < 0 or extents.end > size:
        raise ValueError(f"{count} extents of {unit} bytes from {first} of {size}")
    growing: dict[str, _Growing] = {}
    for row in rows:
        name = str(row["lv_name"])
        if not name:
            if str(row["segtype"]) != "free":
                raise ValueError("a segment has no name")
            continue
        volume = growing.setdefault(
            name, _Growing(int(row["lv_size"]), "", _PRIVATE in _roles(row))
        )
        volume.odd = volume.odd or _odd(row)
        place = first + unit * int(row["pvseg_start"])
        piece = Piece(unit * int(row["seg_start_pe"] or 0), unit * int(row["pvseg_size"]), place)
        volume.pieces.append(piece)
    every = [Piece(p.outer, p.length, p.outer) for v in growing.values() for p in v.pieces]
    if wrong := fault(every, size, extents):
        raise ValueError(f"of its volumes: {wrong}")
    volumes = []
    for name, one in sorted(growing.items(), key=lambda item: item[1].pieces[0].outer):
        # Of stripes and mirrors several pieces begin at the same extent.
        odd = one.odd or fault(one.pieces, one.size, extents)
        volumes.append(LogicalVolume(name, one.size, odd, one.hidden, tuple(one.pieces)))
    return PhysicalVolume(group, extents, tuple(volumes))


def _roles(row: Mapping[str, Any]) -> set[str]:
    return set(str(row["lv_role"]).split(","))


def _odd(row: Mapping[str, Any]) -> str:
    """Why a segment is no run of bytes whose own map says what is needed. lvs(8): lv_role."""
    roles, layout = _roles(row), str(row["lv_layout"])
    if _PRIVATE in roles:
        # The first chunk of a pool looks like a filesystem, and is not one.
        return "a part of a pool, a mirror or a cache"
    if "snapshot" in roles:
        return "a snapshot"
    if "origin" in roles:
        # The snapshot needs what was deleted here since.
        return "has a snapshot"
    if layout != "linear" or str(row["segtype"]) != "linear":
        return f"{layout.replace(',', ' ')}"
    return ""
