"""What an EFI system partition starts, and what is missing for firmware that knows nothing of it.

Firmware starts what its own boot entries name, and those stay in the machine that is gone. Without
an entry it starts one path only, the fallback (UEFI 2.10, 3.5.1.1). So a restored disk must have
something there, and a machine whose firmware can be written gets entries again. Pure: whoever reads
the partition says what is on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rescue.core.units import format_size
from rescue.devices.model import Partition

FALLBACK = "EFI/BOOT/BOOTX64.EFI"
_FOLDER = "EFI/BOOT"
_TYPES = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef")
# A loader has a few MiB; something else of that name is not copied.
_MOST = 64 << 20
_PE_MACHINE_X64 = 0x8664

# A loader, what it cannot do without, and what is taken along where it is there. The first that is
# found goes to the fallback path: a Linux loader starts a Windows beside it, not the reverse.
_SETS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("shimx64.efi", ("grubx64.efi",), ("mmx64.efi", "grub.cfg")),
    ("shim.efi", ("grub.efi",), ("mokmanager.efi", "grub.cfg")),
    ("grubx64.efi", (), ("grub.cfg",)),
    ("systemd-bootx64.efi", (), ()),
    ("bootmgfw.efi", (), ()),
)
# The only folders in which these two are what their names say.
_AT_HOME = {
    "bootmgfw.efi": "efi/microsoft/boot",
    "systemd-bootx64.efi": "efi/systemd",
}
_LABELS = {
    "efi/microsoft/boot": "Windows Boot Manager",
    "efi/systemd": "Linux Boot Manager",
}

State = Literal["there", "missing", "not a program"]


@dataclass(frozen=True, slots=True)
class Loader:
    """A loader in a folder of its own.

    Attributes:
        path: inside the partition, with slashes.
        label: what a boot entry for it is called.
        beside: what goes with it to the fallback path.
    """

    path: str
    label: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of the partition that is copied to another path of it."""

    source: str
    target: str
    size: int


@dataclass(frozen=True, slots=True)
class EspPlan:
    """What is there and what will be done.

    Attributes:
        partition: its number on the target.
        fallback: what stands on the fallback path.
        loaders: those that firmware can be told of, the first choice first.
        copies: files that fill the fallback path in; empty where nothing is to be done or can be.
        trouble: why the partition could not be looked at.
    """

    partition: int
    fallback: State = "missing"
    loaders: tuple[Loader, ...] = ()
    copies: tuple[Copy, ...] = ()
    trouble: str = ""

    def lines(self) -> list[str]:
        """In words."""
        name = f"partition {self.partition} (EFI)"
        if self.trouble:
            return [f"{name}: not looked at, {self.trouble}"]
        path = efi(FALLBACK)
        if self.fallback == "there":
            return [f"{name}: {path} is there"]
        if self.fallback == "not a program":
            return [f"{name}: {path} is no program for this kind of machine; it is left as it is"]
        if not self.copies:
            return [f"{name}: {path} is missing, and so is any loader that is known"]
        first, *others = self.copies
        size = format_size(sum(one.size for one in self.copies))
        also = f", with {', '.join(one.target.rsplit('/', 1)[1] for one in others)}" * bool(others)
        return [
            f"{name}: before, {path} is missing",
            f"{name}: after, it is a copy of {efi(first.source)}{also} ({size})",
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "partition": self.partition,
            "path": efi(FALLBACK),
            "before": "unknown" if self.trouble else self.fallback,
            "after": "there" if self.copies else "unknown" if self.trouble else self.fallback,
            "copies": [
                {"from": efi(one.source), "to": efi(one.target), "size": one.size}
                for one in self.copies
            ],
            "loaders": [efi(loader.path) for loader in self.loaders],
            "trouble": self.trouble,
        }


def efi(path: str) -> str:
    """A path as firmware writes it."""
    return "\\" + path.replace("/", "\\")


def is_esp(partition: Partition) -> bool:
    """Whether its type says that firmware looks into it."""
    return partition.kind != "extended" and partition.type_id in _TYPES


def is_program(head: bytes) -> bool:
    """Whether a file with these first bytes is a program for UEFI on x86-64 (PE/COFF)."""
    if head[:2] != b"MZ" or len(head) < 64:
        return False
    at = int.from_bytes(head[60:64], "little")
    if head[at : at + 4] != b"PE\0\0":
        return False
    return int.from_bytes(head[at + 4 : at + 6], "little") == _PE_MACHINE_X64


def survey(partition: int, files: Mapping[str, int], program: Callable[[str], bool]) -> EspPlan:
    """What is to be done about a partition with these files (path and size).

    Args:
        program: whether the file on this path is a program for this kind of machine.
    """
    known = {path.casefold(): path for path in files}

    def runs(path: str) -> bool:
        real = known.get(path.casefold())
        return real is not None and 0 < files[real] <= _MOST and program(real)

    loaders = tuple(_loaders(known, runs))
    there = known.get(FALLBACK.casefold())
    if there is not None and files[there] > 0:
        return EspPlan(partition, "there" if runs(FALLBACK) else "not a program", loaders)
    if not loaders:
        return EspPlan(partition)
    first = loaders[0]
    copies = [Copy(first.path, FALLBACK, files[first.path])]
    for path in first.beside:
        target = f"{_FOLDER}/{path.rsplit('/', 1)[1]}"
        # What stands there may be of another system; it is not written over.
        if target.casefold() not in known:
            copies.append(Copy(path, target, files[path]))
    return EspPlan(partition, "missing", loaders, tuple(copies))


def _loaders(known: Mapping[str, str], runs: Callable[[str], bool]) -> Iterable[Loader]:
    """Every folder's loader, in the order of preference."""
    folders = sorted({path.rsplit("/", 1)[0] for path in known if path.startswith("efi/")})
    used: set[str] = set()
    for name, needs, takes in _SETS:
        for folder in folders:
            path = f"{folder}/{name}"
            if folder == _FOLDER.casefold() or folder in used or not runs(path):
                continue
            if _AT_HOME.get(name, folder) != folder:
                continue
            if not all(runs(f"{folder}/{needed}") for needed in needs):
                continue
            used.add(folder)
            beside = [known[f"{folder}/{needed}"] for needed in needs]
            beside += [known[f"{folder}/{one}"] for one in takes if f"{folder}/{one}" in known]
            real = known[path]
            label = _LABELS.get(folder, real.split("/")[1])
            yield Loader(real, label, tuple(beside))
