"""The virtual machine in which an image is started, as a value and as a QEMU command line. Pure.

The guest sees what the source was: its firmware, how its disk was attached, the disk's serial
number and sector size. It has no network unless that is asked for: a copy of a machine that talks
to the world as if it were the machine does harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rescue.core.errors import ProgramFailed, UsageError

Firmware = Literal["bios", "uefi"]
Accelerator = Literal["kvm", "tcg"]

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
# Where distributions put OVMF: code and the variables it starts with.
_OVMF = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
)
_UNPRINTABLE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Machine:
    """What to start.

    Attributes:
        memory: MiB.
        attached: "sata", "nvme" or "virtio".
        serial: of the disk, at most 20 letters.
        product: the machine's own serial number, which some programs look at.
        window: show the screen; else its serial line is the terminal.
        serial_log: a file that the serial line goes to instead of the terminal.
    """

    firmware: Firmware
    attached: str
    sector_size: int
    serial: str = ""
    product: str = ""
    memory: int = 2048
    processors: int = 2
    window: bool = False
    network: bool = False
    serial_log: Path | None = None


def firmware_of(
    machine: Mapping[str, Any], disk: Mapping[str, Any], layout: Mapping[str, Any], boot_code: bytes
) -> Firmware:
    """The firmware that started the source, from what its image says. Pure.

    Args:
        machine, disk, layout: of the manifest; their values are not trusted to be there.
        boot_code: the first 440 bytes of the disk.
    """
    # A plain file was captured on some other machine than the one it is the disk of.
    if disk.get("transport") != "file" and machine.get("firmware") in ("bios", "uefi"):
        return "uefi" if machine["firmware"] == "uefi" else "bios"
    listed = layout.get("partitions")
    parts = [p for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []
    types = {str(part.get("type", "")).lower() for part in parts}
    has_esp = ESP in types or "ef" in types
    if layout.get("label") == "gpt" and has_esp and BIOS_BOOT not in types:
        return "uefi"
    return "bios" if any(boot_code) or not has_esp else "uefi"


def attached_by(disk: Mapping[str, Any], sector_size: int) -> str:
    """How the disk is attached: as it was, or by what every system has a driver for."""
    transport = disk.get("transport")
    if transport in ("nvme", "virtio"):
        return str(transport)
    return "nvme" if sector_size != 512 else "sata"  # QEMU's SATA disks have 512-byte sectors


def safe_serial(value: object, longest: int = 20) -> str:
    """A serial number as QEMU's command line takes it."""
    return _UNPRINTABLE.sub("-", value)[:longest] if isinstance(value, str) else ""


def ovmf(exists: Sequence[tuple[str, str]] | None = None) -> tuple[Path, Path]:
    """Code and variables of the UEFI firmware on this host.

    Raises:
        ProgramFailed: there is none.
    """
    for code, variables in exists if exists is not None else _OVMF:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    raise ProgramFailed("there is no UEFI firmware for QEMU here", hint="install the package ovmf")


def check(machine: Machine) -> None:
    """Refuse what QEMU would refuse less clearly.

    Raises:
        UsageError: memory or processors out of bounds.
    """
    if not 64 <= machine.memory <= 1 << 20:
        raise UsageError("memory must be from 64M to 1T")
    if not 1 <= machine.processors <= 255:
        raise UsageError("processors must be from 1 to 255")


def command(
    machine: Machine,
    accelerator: Accelerator,
    overlay: Path,
    variables: Path,
    monitor: Path,
    helper: Path | None = None,
) -> list[str]:
    """The QEMU command line.

    Args:
        overlay: qcow2 on top of the view; all that is written goes there.
        variables: a throw-away copy of the UEFI firmware's variables.
        monitor: path of the socket QEMU makes for its machine protocol.
        helper: a folder that the guest sees as a small read-only FAT stick.
    """
    words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35"]
    if accelerator == "kvm":
        words += ["-accel", "kvm", "-cpu", "host"]
    else:
        # Without -erms the emulator loses most of its time to page clearing by "rep stosb"; and
        # with QEMU's own 1 GiB of translated code a third, to taking old code out block by block.
        words += ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,-erms"]
    words += ["-m", str(machine.memory), "-smp", str(machine.processors)]
    words += ["-vga", "std", "-device", "virtio-rng-pci"]
    words += ["-device", "qemu-xhci", "-device", "usb-kbd", "-device", "usb-tablet"]
    words += ["-qmp", f"unix:{monitor},server=on,wait=off"]
    if machine.serial_log:
        words += ["-display", "none", "-serial", f"file:{machine.serial_log}"]
    elif machine.window:
        words += ["-name", "rescue boot"]
    else:
        words += ["-display", "none", "-serial", "mon:stdio"]
    if machine.product:
        words += ["-smbios", f"type=1,serial={machine.product}"]
    if machine.network:
        words += ["-netdev", "user,id=net0", "-device", "e1000e,netdev=net0,romfile="]
    if machine.firmware == "uefi":
        code, _ = ovmf()
        words += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"]
        words += ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    words += ["-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,file={overlay}"]
    serial = machine.serial or ("rescue" if machine.attached == "nvme" else "")
    front = {"nvme": "nvme", "virtio": "virtio-blk-pci"}.get(machine.attached, "ide-hd")
    front += ",drive=disk,bootindex=0" + (f",serial={serial}" if serial else "")
    if machine.sector_size != 512 and machine.attached != "sata":
        size = machine.sector_size
        front += f",logical_block_size={size},physical_block_size={size}"
    words += ["-device", front]
    if helper is not None:
        words += ["-drive", f"if=none,id=helper,format=raw,readonly=on,file=fat:{helper}"]
        # OVMF looks only at devices in its boot order, so the stick stands there too.
        words += ["-device", "virtio-blk-pci,drive=helper,bootindex=1"]
    return words
