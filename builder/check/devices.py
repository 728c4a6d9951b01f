"""The machine's controllers and cards, from sysfs, against the drivers that a medium has.

Which driver takes a device is decided as udev does it: the device's modalias against the aliases
of the modules. Firmware is what those modules say they may ask for.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.check.findings import Finding, Level

_PCI = Path("sys/bus/pci/devices")
_INTEL = 0x8086
_RAID, _NVME, _SD = 0x0104, 0x0108, 0x0805
_WIRELESS = 0x0280
_BUILT_IN = (("pci:v00001AF4d*", "virtio_pci"),)
"""Debian's kernel has one driver of disks and cards built in that is bound by a PCI number."""


@dataclass(frozen=True, slots=True)
class Device:
    """A PCI device: its place, class (base and sub), vendor and device numbers, modalias."""

    place: str
    kind: int
    vendor: int
    device: int
    modalias: str

    @property
    def words(self) -> str:
        """For a person, as lspci names it."""
        return f"{self.place} [{self.vendor:04x}:{self.device:04x}]"


@dataclass(frozen=True, slots=True)
class Drivers:
    """What a medium has.

    Attributes:
        aliases: pattern and module, of all modules.
        firmware: names below /usr/lib/firmware.
        asks: the firmware that a module may ask for.
    """

    aliases: Sequence[tuple[str, str]]
    firmware: frozenset[str]
    asks: Callable[[str], tuple[str, ...]]

    def modules(self, modalias: str) -> tuple[str, ...]:
        """The modules for a device."""
        vendor = modalias[: len("pci:v00008086")]
        found = {
            module
            for pattern, module in self.aliases
            if pattern.startswith((vendor, "pci:v*")) and fnmatch.fnmatchcase(modalias, pattern)
        }
        return tuple(sorted(found))


def read(root: Path) -> tuple[Device, ...]:
    """The PCI devices; ``root``: of the machine's filesystem."""
    found = []
    for folder in sorted((root / _PCI).glob("*")):
        try:
            kind = int((folder / "class").read_text(), 16) >> 8
            vendor = int((folder / "vendor").read_text(), 16)
            device = int((folder / "device").read_text(), 16)
            alias = (folder / "modalias").read_text().strip()
        except (OSError, ValueError):
            continue
        found.append(Device(folder.name, kind, vendor, device, alias))
    return tuple(found)


def parse_aliases(text: str) -> list[tuple[str, str]]:
    """The PCI lines of ``modules.alias``."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and words[1].startswith("pci:"):
            found.append((words[1], words[2].replace("-", "_")))
    return found


def parse_builtin(text: str) -> list[tuple[str, str]]:
    """Aliases of what is in the kernel itself, which keeps none: by ``modules.builtin``."""
    names = {Path(line).stem for line in text.splitlines()}
    return [(pattern, module) for pattern, module in _BUILT_IN if module in names]


def parse_modinfo(module: bytes) -> tuple[str, ...]:
    """The firmware that an unpacked module names."""
    pieces = (piece for piece in module.split(b"\0") if piece.startswith(b"firmware="))
    return tuple(sorted({piece[9:].decode("utf-8", "replace") for piece in pieces}))


def judge(devices: Sequence[Device], drivers: Drivers) -> list[Finding]:
    """A finding for each controller of disks, network card and screen."""
    topics: Mapping[int, str] = {0x01: "storage", 0x02: "network", 0x03: "screen"}
    found = []
    for device in devices:
        topic = "storage" if device.kind == _SD else topics.get(device.kind >> 8, "")
        if topic == "screen":
            words = f"{device.words}: the firmware's own picture is used, without a driver"
            found.append(Finding(topic, Level.OK, words))
        elif topic:
            found.append(_judge(topic, device, drivers))
    if not any(one.topic == "storage" for one in found):
        words = "no controller of disks on PCI was seen"
        found.append(Finding("storage", Level.NOTE, words))
    return found


def _judge(topic: str, device: Device, drivers: Drivers) -> Finding:
    modules = drivers.modules(device.modalias)
    if not modules:
        return _without(topic, device)
    by = ", ".join(modules)
    raid = device.kind == _RAID and device.vendor == _INTEL
    if raid and "vmd" not in modules:
        words = f"{device.words}: in RAID mode (Intel RST), driver {by}; NVMe disks may be hidden"
        hint = "where disks are missing, choose AHCI instead of RST/RAID in the firmware's settings"
        return Finding(topic, Level.NOTE, words, hint)
    asked = {name for module in modules for name in drivers.asks(module)}
    if asked and not any(_there(name, drivers.firmware) for name in asked):
        words = f"{device.words}: driver {by}, but none of its firmware ({min(asked)}, …)"
        return Finding(topic, Level.NOTE, words, _package(asked))
    return Finding(topic, Level.OK, f"{device.words}: driver {by}")


def _without(topic: str, device: Device) -> Finding:
    if device.kind == _WIRELESS:
        words = f"{device.words}: Wi-Fi, for which the medium has no drivers"
        return Finding(topic, Level.NOTE, words, "use a cable, or a larger variant")
    level = Level.BAD if topic == "storage" else Level.NOTE
    return Finding(topic, level, f"{device.words}: the medium has no driver for it")


def _there(name: str, firmware: frozenset[str]) -> bool:
    return bool({name, f"{name}.xz", f"{name}.zst"} & firmware)


def _package(asked: set[str]) -> str:
    return f"add the Debian package with {min(asked)} to the recipe's packages"
