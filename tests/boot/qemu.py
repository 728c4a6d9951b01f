"""What a virtual machine is made of, as a value, and the QEMU command line that value means.

``Machine`` and ``Drive`` are frozen; ``command()`` is pure but for the copy of the firmware's
variables it names. ``guest.Guest`` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

_OVMF = Path("/usr/share/OVMF")


class Firmware(StrEnum):
    """What starts the machine."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secureboot"

    @property
    def code(self) -> Path | None:
        """The firmware's code; None for QEMU's own SeaBIOS."""
        match self:
            case Firmware.BIOS:
                return None
            case Firmware.UEFI:
                return _OVMF / "OVMF_CODE_4M.fd"
            case Firmware.SECURE_BOOT:
                return _OVMF / "OVMF_CODE_4M.ms.fd"

    @property
    def variables(self) -> Path | None:
        """The firmware's variables as shipped; with Secure Boot they hold Microsoft's keys."""
        match self:
            case Firmware.BIOS:
                return None
            case Firmware.UEFI:
                return _OVMF / "OVMF_VARS_4M.fd"
            case Firmware.SECURE_BOOT:
                return _OVMF / "OVMF_VARS_4M.ms.fd"


class Interface(StrEnum):
    """How a drive is attached."""

    VIRTIO = "virtio"
    SATA = "sata"
    NVME = "nvme"
    USB = "usb"
    CDROM = "cdrom"


@dataclass(frozen=True, slots=True)
class Drive:
    """A file that is a drive of the machine.

    Args:
        serial: what the guest sees as the serial number (20 characters at most).
        snapshot: writes go to a temporary overlay, the file stays as it is.
        boot: position in the boot order, from 0; None is never booted from.
        sector: logical and physical sector in bytes (virtio only).
        rate: bytes that it takes in a second, for what must last a while; 0: no limit.
        write_log: an empty file in which every write and flush is recorded (blklogwrites).
    """

    file: Path
    interface: Interface = Interface.VIRTIO
    serial: str = ""
    read_only: bool = False
    snapshot: bool = False
    boot: int | None = None
    sector: int = 512
    rate: int = 0
    write_log: Path | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """A network to start from: QEMU's own DHCP and TFTP, and the host's servers at 10.0.2.2.

    Args:
        tftp: the folder that is served.
        file: what the firmware is told to load: a name in that folder, or an address for iPXE.
        ipxe: the card's ROM is iPXE's; else the firmware's own code starts.
    """

    tftp: Path
    file: str
    ipxe: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to start: firmware, memory in MiB, processors, drives.

    One processor is the rule: two guests at once, as ci/test runs them, were at their shells after
    71 s with one each and 83 s with two each (TCG, host with two). The tests that are about work on
    several processors say so.

    Args:
        nonce: the guest reads it as the product serial number (DMI), so that a token can be told
            from one that was printed by an earlier start.
        network: a card on a wire to nowhere.
        ssh: the port of this host that leads to the guest's port 22.
        wire: a card to start from.
        kernel: boot this kernel directly, with ``initrd`` and ``append``.
        incoming: begin with the state that a machine of the same kind was saved with.
    """

    firmware: Firmware = Firmware.BIOS
    drives: tuple[Drive, ...] = ()
    memory: int = 1024
    processors: int = 1
    nonce: str = ""
    network: bool = False
    ssh: int = 0
    wire: Wire | None = None
    reboots: bool = False
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    incoming: Path | None = None

    def with_drives(self, *drives: Drive) -> Machine:
        """The same machine with other drives."""
        return replace(self, drives=drives)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How guest code is run, and how much longer things take than they would with KVM."""

    name: str
    arguments: tuple[str, ...]
    patience: float = field(default=1.0)


KVM = Accelerator("kvm", ("-accel", "kvm", "-cpu", "host"), 1.0)
# Without -erms the guest clears pages by "rep stosb", which TCG runs byte by byte: userspace then
# takes fifty times as long. The translated code gets 256 MiB and is thrown away whole when they are
# full: with the 1 GiB of QEMU's own choice, 530,000 blocks translated in the initramfs are taken
# out one by one when its memory is used again, which was 23 s of the medium's 71 (QEMU 7.2).
TCG = Accelerator("tcg", ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,-erms"), 5.0)


def command(machine: Machine, accelerator: Accelerator, room: Path) -> list[str]:
    """The QEMU command line.

    Args:
        room: a directory with a short path, for the sockets, the variables and the serial log.
    """
    words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    words += accelerator.arguments
    words += ["-machine", "q35,smm=on" if machine.firmware is Firmware.SECURE_BOOT else "q35"]
    words += ["-m", str(machine.memory), "-smp", str(machine.processors)]
    words += ["-vga", "std", "-boot", "menu=off,strict=on"]
    words += ["-device", "virtio-rng-pci"]
    # The console socket waits for its reader: nothing printed is ever missed.
    socket = f"socket,id=console,path={room}/console,server=on,wait=on"
    words += ["-chardev", f"{socket},logfile={room}/serial.log", "-serial", "chardev:console"]
    words += ["-qmp", f"unix:{room}/qmp,server=on,wait=off"]
    if not machine.reboots:
        words += ["-no-reboot"]
    if machine.network:
        login = f",hostfwd=tcp:127.0.0.1:{machine.ssh}-:22" if machine.ssh else ""
        words += ["-netdev", f"user,id=net0,restrict=on{login}"]
        words += ["-device", "virtio-net-pci,netdev=net0,romfile="]
    if machine.wire is not None:
        wire = machine.wire
        words += ["-netdev", f"user,id=net0,tftp={wire.tftp},bootfile={wire.file}"]
        rom = "" if wire.ipxe else ",romfile="
        words += ["-device", f"virtio-net-pci,netdev=net0,bootindex=0{rom}"]
    if machine.nonce:
        words += ["-smbios", f"type=1,serial={machine.nonce}"]
    words += _firmware(machine.firmware, room)
    if any(drive.interface is Interface.USB for drive in machine.drives):
        words += ["-device", "qemu-xhci,id=xhci"]
    for number, drive in enumerate(machine.drives):
        words += _drive(number, drive)
    if machine.kernel is not None:
        words += ["-kernel", str(machine.kernel), "-append", machine.append]
    if machine.incoming is not None:
        words += ["-incoming", f"exec:cat {machine.incoming}"]
    if machine.initrd is not None:
        words += ["-initrd", str(machine.initrd)]
    return words


def _firmware(firmware: Firmware, room: Path) -> list[str]:
    if firmware.code is None:
        return []
    words = ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={firmware.code}"]
    words += ["-drive", f"if=pflash,unit=1,format=raw,file={room}/variables.fd"]
    if firmware is Firmware.SECURE_BOOT:
        # The guest's kernel must not be able to write the variables behind the firmware's back.
        words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    return words


def _drive(number: int, drive: Drive) -> list[str]:
    # q35 has six SATA ports of one drive each: the drive's own number is a free one.
    name = f"drive{number}"
    # cache=unsafe: a crash of the host is not what these tests are about, and flushes are slow.
    back = f"if=none,id={name},format=raw,cache=unsafe,file={drive.file}"
    if drive.write_log is not None:
        back = f"if=none,id={name},cache=writeback,driver=blklogwrites"
        for word, file in (("file", drive.file), ("log", drive.write_log)):
            back += f",{word}.driver=raw,{word}.file.driver=file,{word}.file.filename={file}"
    if drive.snapshot:
        back += ",snapshot=on"
    if drive.read_only or drive.interface is Interface.CDROM:
        back += ",readonly=on"
    if drive.rate:
        back += f",throttling.bps-write={drive.rate}"
    match drive.interface:
        case Interface.VIRTIO:
            front = f"virtio-blk-pci,drive={name}"
        case Interface.SATA:
            front = f"ide-hd,bus=ide.{number},drive={name}"
        case Interface.NVME:
            front = f"nvme,drive={name}"
        case Interface.USB:
            front = f"usb-storage,bus=xhci.0,removable=on,drive={name}"
        case Interface.CDROM:
            front = f"ide-cd,bus=ide.{number},drive={name}"
    front += f",id=dev-{name}"
    if drive.sector != 512:
        front += f",logical_block_size={drive.sector},physical_block_size={drive.sector}"
    if drive.serial:
        front += f",serial={drive.serial}"
    if drive.boot is not None:
        front += f",bootindex={drive.boot}"
    return ["-drive", back, "-device", front]
