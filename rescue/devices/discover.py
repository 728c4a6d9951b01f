"""What disks there are, and what uses them.

lsblk knows the tree (partitions, what is mounted or used as swap, what lies on top); /sys and /proc
add what it leaves out: serial numbers without udev, the other members of a mounted btrfs, the
boot medium, and plain files behind loop devices or used as swap.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rescue.core import process
from rescue.core.errors import DiskTrouble, from_os_error
from rescue.devices.blockio import Source
from rescue.devices.model import Disk, Use

_COLUMNS = (
    "NAME,KNAME,PATH,TYPE,SIZE,LOG-SEC,PHY-SEC,MODEL,VENDOR,SERIAL,WWN,TRAN,RM,RO,ROTA,"
    "MOUNTPOINTS,MAJ:MIN"
)
_SYS_BLOCK = Path("/sys/dev/block")
_LSBLK = ("lsblk", "--json", "--bytes", "--output", _COLUMNS)
# Memory that looks like a disk; never an imaging source or target.
_NOT_DISKS = ("zram", "ram", "nbd", "fd")
_LIVE_MEDIA = ("/run/live/medium", "/run/live/findiso", "/lib/live/mount/medium")


def list_disks() -> tuple[Disk, ...]:
    """Every disk of this machine with its uses, in the kernel's order.

    Raises:
        ProgramFailed: lsblk is missing or failed.
    """
    text = process.run(_LSBLK).text
    return tuple(_complete(disk) for disk in parse_lsblk(text))


def inspect(path: Path | str) -> Disk:
    """A block device, or a plain file that stands for a disk.

    Raises:
        DiskTrouble: missing, not readable, neither of the two, or of zero length.
    """
    named = Path(path)
    try:
        is_block = stat.S_ISBLK(named.stat().st_mode)
    except OSError as error:
        raise from_os_error(error, f"open {named}") from error
    return _inspect_block(named) if is_block else _inspect_file(named)


def _inspect_file(path: Path) -> Disk:
    """A plain file as a disk."""
    with Source(path) as source:
        return Disk(
            path=path,
            kind="file",
            size=source.size,
            sector_size=source.sector_size,
            physical_sector_size=source.physical_sector_size,
            transport="file",
            read_only=not os.access(path, os.W_OK),
            node_type="file",
            uses=tuple(_file_uses(path)),
        )


def _inspect_block(path: Path) -> Disk:
    """A block device, without opening it."""
    node = path.resolve()
    # lsblk fails, with nothing to say, for a device of zero length (an empty reader, a free loop).
    listed = process.run([*_LSBLK, str(node)], check=False)
    found = parse_lsblk(listed.text, all_types=True) if listed.status == 0 else ()
    if len(found) != 1 or found[0].size == 0:
        raise DiskTrouble(
            f"{path} has zero length", hint="name a disk that has a medium in it, or a file"
        )
    return _complete(replace(found[0], path=path), node)


def parse_lsblk(text: str, *, all_types: bool = False) -> tuple[Disk, ...]:
    """Disks in the JSON that lsblk prints; pure.

    Args:
        all_types: keep partitions, discs and what lies on disks too, when they are at the top.

    Raises:
        DiskTrouble: the text is not what lsblk prints.
    """
    try:
        nodes = json.loads(text)["blockdevices"]
        disks = [_disk(node) for node in nodes if all_types or _is_disk(node)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DiskTrouble(f"lsblk printed something unexpected: {error}") from error
    return tuple(disks)


def _is_disk(node: Mapping[str, Any]) -> bool:
    """Whether a top node of lsblk is a disk that a person would name."""
    name = str(node["kname"])
    stem = name.rstrip("0123456789")
    return bool(node["size"]) and stem not in _NOT_DISKS and not name.startswith("mtdblock")


def _disk(node: Mapping[str, Any]) -> Disk:
    """One node of lsblk with all that lies below it."""
    kind = _word(node, "type")
    vendor, model = _word(node, "vendor"), _word(node, "model").replace("_", " ")
    transport = _word(node, "tran")
    if not transport:
        kname = str(node["kname"])
        transport = "loop" if kind == "loop" else "virtio" if kname.startswith("vd") else ""
    # Virtio disks have a PCI id where others have a maker's name.
    told = model.casefold().startswith(vendor.casefold())
    if not told and not vendor.startswith("0x") and vendor.upper() not in ("ATA", "LINUX"):
        model = f"{vendor} {model}".strip()
    return Disk(
        path=Path(_word(node, "path")),
        kind="block",
        size=int(node["size"]),
        sector_size=int(node["log-sec"]),
        physical_sector_size=int(node["phy-sec"]),
        model=model,
        serial=_word(node, "serial"),
        wwn=_word(node, "wwn"),
        transport=transport,
        removable=bool(node["rm"]),
        read_only=bool(node["ro"]),
        rotational=bool(node["rota"]),
        node_type=kind,
        uses=tuple(dict.fromkeys(_uses(node))),
    )


def _word(node: Mapping[str, Any], key: str) -> str:
    """A text of lsblk without the padding that firmware adds; null is empty."""
    value = node.get(key)
    return "" if value is None else str(value).strip()


def _uses(node: Mapping[str, Any]) -> Iterator[Use]:
    """What lsblk shows as using the node or anything below it."""
    where = Path(_word(node, "path"))
    for point in node.get("mountpoints") or []:
        if point == "[SWAP]":
            yield Use("swap", where)
        elif point:
            yield Use("mounted", where, str(point))
    for child in node.get("children") or []:
        if child["type"] != "part":
            yield Use("holder", where, f"{_word(child, 'path')} ({_word(child, 'type')})")
        yield from _uses(child)


def _complete(disk: Disk, node: Path | None = None) -> Disk:
    """Add what lsblk leaves out: serial and WWN without udev, backing file, further uses."""
    node = node or disk.path
    try:
        system = _SYS_BLOCK / device_number(node)
        system = system.resolve(strict=True)
    except OSError:
        return disk
    uses = list(disk.uses)
    boot, members = boot_medium(), btrfs_members()
    for part in (system, *sorted(_partitions(system))):
        name = Path("/dev") / part.name.replace("!", "/")
        number = _read(part / "dev")
        if number in boot:
            uses.append(Use("boot medium", name, boot[number]))
        if number in members and not any(u.what == "mounted" and u.where == name for u in uses):
            uses.append(Use("mounted", name, members[number]))
        uses += [Use("loop device", name, loop) for loop in _loops_on(name)]
        known = {use.detail.split(" ")[0] for use in uses if use.what == "holder"}
        for holder in sorted(_children(part / "holders")):
            path = _mapper_path(holder)
            if str(path) not in known and f"/dev/{holder.name}" not in known:
                uses.append(Use("holder", name, str(path)))
    backing = _read(system / "loop" / "backing_file")
    return replace(
        disk,
        serial=disk.serial or serial_from_sysfs(system),
        wwn=disk.wwn or wwn_from_sysfs(system),
        uses=tuple(dict.fromkeys(uses)),
        backing=Path(backing) if backing else None,
    )


def serial_from_sysfs(system: Path) -> str:
    """Serial of the disk whose /sys directory this is, as the kernel itself knows it."""
    for name in ("serial", "device/serial"):
        if text := _read(system / name):
            return text
    try:
        page = (system / "device" / "vpd_pg80").read_bytes()
    except OSError:
        return ""
    # SPC-4, "Unit serial number VPD page": four bytes of header, then ASCII.
    return page[4:].decode("ascii", errors="replace").strip(" \0")


def wwn_from_sysfs(system: Path) -> str:
    """World-wide name in the form lsblk gives it, or empty.

    The kernel makes up an id from maker, model and serial ("t10.…") where a disk has no name.
    """
    text = _read(system / "wwid") or _read(system / "device" / "wwid")
    if text.startswith("naa."):
        return "0x" + text.removeprefix("naa.")
    return text if text.startswith(("eui.", "uuid.", "nvme.")) else ""


def device_number(path: Path) -> str:
    """``"8:0"`` of a block device node.

    Raises:
        OSError: it is missing or not a block device.
    """
    status = path.stat()
    if not stat.S_ISBLK(status.st_mode):
        raise OSError(f"{path} is not a block device")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _read(path: Path) -> str:
    """The text of a small file of /sys or /proc, or empty when there is none."""
    try:
        return path.read_text(errors="replace").strip(" \n\t\0")
    except OSError:
        return ""


def _children(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _partitions(system: Path) -> list[Path]:
    """/sys directories of the partitions of a disk."""
    return [child for child in _children(system) if (child / "partition").exists()]


def _mapper_path(holder: Path) -> Path:
    """The name people know: /dev/mapper/NAME of a device-mapper node, else /dev/NAME."""
    name = _read(holder / "dm" / "name")
    return Path("/dev/mapper") / name if name else Path("/dev") / holder.name


def mounts() -> tuple[tuple[str, str, str], ...]:
    """(device number, mount point, source) of everything mounted in this name space."""
    return tuple(_mount_table().values())


def mount_by_id(number: str) -> tuple[str, str, str] | None:
    """The same for one mount, by the id that the kernel gives it."""
    return _mount_table().get(number)


def _mount_table() -> dict[str, tuple[str, str, str]]:
    """Mount id to (device number, mount point, source)."""
    found = {}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        words = line.split(" ")
        # proc(5): optional fields end with a single hyphen, then type, source, options.
        if "-" in words[6:] and len(words) > (dash := words.index("-", 6)) + 2:
            found[words[0]] = (words[2], _unescape(words[4]), _unescape(words[dash + 2]))
    return found


def _unescape(text: str) -> str:
    """Undo the octal escapes of /proc/self/mountinfo (space, tab, newline, backslash)."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def boot_medium() -> dict[str, str]:
    """Device number to mount point of what this system was started from, when it is live media."""
    return {number: point for number, point, _ in mounts() if point in _LIVE_MEDIA}


def btrfs_members() -> dict[str, str]:
    """Device number to mount point for every member of a mounted btrfs.

    lsblk shows only the member that was named to mount; the others are just as much in use.
    """
    points: dict[str, str] = {}
    for number, point, source in mounts():
        if number.startswith("0:") and source.startswith("/dev/"):
            points.setdefault(Path(source).resolve().name, point)
    members: dict[str, str] = {}
    for system in _children(Path("/sys/fs/btrfs")):
        devices = _children(system / "devices")
        point = next((points[d.name] for d in devices if d.name in points), "a btrfs")
        members.update({_read(device / "dev"): point for device in devices})
    return members


def _loops_on(path: Path) -> Iterator[str]:
    """Loop devices that show this file or device."""
    try:
        status = path.stat()
    except OSError:
        return
    for system in sorted(Path("/sys/block").glob("loop*")):
        backing = _read(system / "loop" / "backing_file")
        if backing and _same_file(backing, status):
            yield f"/dev/{system.name}"


def _file_uses(path: Path) -> Iterator[Use]:
    """Uses of a plain file: behind a loop device (and what that is used for), or swap."""
    try:
        status = path.stat()
    except OSError as error:
        raise from_os_error(error, f"inspect {path}") from error
    for node in _loops_on(path):
        yield Use("loop device", path, node)
        for _, point, source in mounts():
            if source == node or source.startswith(node + "p"):
                yield Use("mounted", path, point)
    for line in _read(Path("/proc/swaps")).splitlines()[1:]:
        words = line.split()
        if words and _same_file(_unescape(words[0]), status):
            yield Use("swap", path)


def _same_file(path: str, status: os.stat_result) -> bool:
    """Whether ``path`` names the file or block device with this status."""
    try:
        other = Path(path).stat()
    except OSError:
        return False
    if stat.S_ISBLK(status.st_mode) or stat.S_ISBLK(other.st_mode):
        # Nodes in /dev may be doubled; what counts is the number.
        return stat.S_IFMT(status.st_mode) == stat.S_IFMT(other.st_mode) and (
            status.st_rdev == other.st_rdev
        )
    return os.path.samestat(other, status)
