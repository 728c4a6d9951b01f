"""Sticks: places, the FAT with two halves, the order of the steps, which disks are taken."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from builder.iso import seal
from builder.usb import layout, plan, work
from builder.usb.fat import SECTOR, Fat
from builder.usb.layout import Stick
from builder.usb.payload import Payload
from rescue.core.errors import ImageDamaged, TargetRefused, UsageError
from rescue.core.extent import ExtentMap
from rescue.core.progress import Silent
from rescue.core.units import GIB, MIB
from rescue.devices.model import Disk, Layout, Partition

STICK = Stick(4 * GIB, 512 * MIB)
FILES = {"EFI/BOOT/BOOTX64.EFI": b"shim" * 400, "boot/grub/grub.cfg": b"set x=1\n"}


def payload(build: str = "one") -> Payload:
    core = bytearray(b"\x90" * 4000)
    core[SECTOR + 0x18 : SECTOR + 0x1C] = b"\xff\xff\xff\0"
    boot = bytes(440) + build.encode().ljust(70, b"\0") + b"\x55\xaa"
    return Payload(200 * MIB, build, boot, bytes(core), {"EFI/BOOT/BOOTX64.EFI": b"shim" * 400})


def table(stick: Stick) -> Layout:
    kinds = {"bios": "21", "esp": "c1", "linux": "0f", "data": "eb"}
    parts = tuple(
        Partition(number, one.start, one.length, "gpt", kinds[one.use], one.name)
        for number, one in enumerate(stick.partitions(shown=True), start=1)
    )
    return Layout("gpt", 512, stick.size, "id", parts, ExtentMap())


def test_partitions_are_aligned_and_do_not_overlap() -> None:
    end = 0
    for one in STICK.partitions(shown=True):
        assert one.start % MIB == one.length % MIB == 0
        assert one.start >= max(end, MIB)
        end = one.start + one.length
    assert end <= STICK.size - MIB
    assert STICK.core(1) + layout.CORE_AREA <= STICK.efi


def test_the_smallest_disk_has_room_for_its_data() -> None:
    for system in (100 * MIB, 300 * MIB, GIB):
        stick = Stick(layout.needed(system), layout.slot_for(system))
        assert stick.data_size >= layout.MIN_DATA
        assert stick.slot_size >= system


def test_a_stick_is_known_again_and_nothing_else_is() -> None:
    whole = table(STICK)
    assert layout.known(whole) == STICK
    without_data = Layout("gpt", 512, whole.size, "id", whole.partitions[:4], ExtentMap())
    assert layout.known(without_data) == STICK
    first, *rest = whole.partitions
    renamed = Partition(1, first.start, first.length, "gpt", "21", "other")
    assert layout.known(Layout("gpt", 512, whole.size, "id", (renamed, *rest), ExtentMap())) is None
    assert (
        layout.known(Layout("gpt", 512, whole.size, "id", whole.partitions[:3], ExtentMap()))
        is None
    )
    assert layout.known(Layout("none", 512, whole.size, "", (), ExtentMap())) is None


def test_the_halves_of_the_fat_share_no_sector() -> None:
    fat = Fat(64 * MIB)
    written: list[set[int]] = []
    for half in (0, 1):
        tree = fat.tree(half, FILES)
        sectors = {
            sector
            for at, data in tree.body
            for sector in range(at // SECTOR, -(-(at + len(data)) // SECTOR))
        }
        assert all(at % SECTOR == 0 for at, _ in tree.body)
        assert fat.root // SECTOR not in sectors
        assert tree.switch[0] == fat.root
        assert len(tree.switch[1]) == SECTOR
        assert fat.shown(tree.switch[1]) == half
        written.append(sectors)
    assert not written[0] & written[1]
    assert max(written[1]) < fat.sectors
    for at, data in fat.blank(1, 8192):
        assert at + len(data) <= fat.size


def test_a_root_directory_of_somebody_else_shows_nothing() -> None:
    fat = Fat(64 * MIB)
    root = bytearray(fat.tree(1, FILES).switch[1])
    struct.pack_into("<H", root, 32 + 26, 5)
    assert fat.shown(bytes(root)) is None
    assert fat.shown(bytes(SECTOR)) is None


@pytest.mark.parametrize("name", ["EFI/a-very-long-name.efi", "EFI/x.long", "EFI/.x", "EFI/a b"])
def test_names_that_fat_would_shorten_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a name"):
        Fat(64 * MIB).tree(0, {name: b""})


def test_what_does_not_fit_a_half_is_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        Fat(64 * MIB).tree(0, {"EFI/BIG.EFI": bytes(40 * MIB)})


@pytest.mark.parametrize("active", [0, 1])
def test_an_update_touches_nothing_that_is_in_use(active: int) -> None:
    """Until the switches nothing of the active system, and never the table or the data."""
    stick = STICK
    mbr = bytes(0x1B0) + struct.pack("<Q", stick.core(active) // SECTOR) + bytes(70) + b"\x55\xaa"
    steps = plan.update(stick, payload(), active, mbr)
    efi_active = [
        (stick.efi + at, len(data))
        for at, data in stick.fat.tree(active, payload().tree(active)).body
        if at >= stick.fat.root
    ]
    used = [
        (stick.core(active), layout.CORE_AREA),
        (stick.slot(active), stick.slot_size),
        *efi_active,
        (SECTOR, MIB - SECTOR),
        (stick.data, stick.size - stick.data),
    ]
    switched = False
    barrier = True
    for step in steps:
        if isinstance(step, plan.Barrier):
            barrier = True
            continue
        if step.switch if isinstance(step, plan.Put) else False:
            assert step.length == SECTOR
            assert barrier, "a switch shares its moment with another write"
            switched = True
        for start, length in used:
            assert step.at + step.length <= start or step.at >= start + length
        if step.at == 0 or step.at == stick.efi + stick.fat.root:
            assert isinstance(step, plan.Put)
            assert step.switch
        barrier = False
    assert switched
    # Every switch is followed by a barrier of its own, and all that matters is read back.
    for number, step in enumerate(steps):
        if isinstance(step, plan.Put) and step.switch:
            assert steps[number + 1] == plan.Barrier(compare=True)
            assert steps[number - 1] == plan.Barrier(compare=True)


def test_an_update_after_one_that_was_cut_between_its_switches() -> None:
    """BIOS already starts the new core image: the old one goes back into force first."""
    mbr = bytes(0x1B0) + struct.pack("<Q", STICK.core(1) // SECTOR) + bytes(70) + b"\x55\xaa"
    first = plan.update(STICK, payload(), 0, mbr)[0]
    assert isinstance(first, plan.Put)
    assert first.switch
    assert first.data[0x1B0:0x1B8] == struct.pack("<Q", STICK.core(0) // SECTOR)


def test_a_new_stick_gets_its_table_last() -> None:
    steps = plan.make(STICK, payload(), 7, ((0, b"x" * 512), (512, b"y" * 512)), ((0, 4096),))
    writes = [step for step in steps if not isinstance(step, plan.Barrier)]
    assert [step.at for step in writes[-2:]] == [512, 0]
    assert steps[-1] == plan.Barrier(compare=True)
    assert writes[0] == plan.Put(0, bytes(MIB))
    for step in writes:
        assert 0 <= step.at <= step.at + step.length <= STICK.size


def test_the_core_image_is_told_its_place_and_its_menus() -> None:
    core = payload().core_at(2048)
    assert core[0x1F4:0x1FC] == struct.pack("<Q", 2049)
    assert core[SECTOR + 0x1A] == layout.EFI_NUMBER - 1
    one = payload()
    with pytest.raises(ImageDamaged, match="BIOS boot image"):
        Payload(one.size, "", one.boot_code, b"\0" * 4000, {}).core_at(1)


def test_each_half_has_the_menu_of_its_own_system_first() -> None:
    assert b"for slot in gpt3 gpt4;" in payload().tree(0)["boot/grub/grub.cfg"]
    assert b"for slot in gpt4 gpt3;" in payload().tree(1)["boot/grub/grub.cfg"]


def disk(**values: object) -> Disk:
    standard = {"path": Path("/dev/sdx"), "kind": "block", "size": GIB, "sector_size": 512}
    return Disk(**{**standard, "physical_sector_size": 512, **values})  # type: ignore[arg-type]


def test_built_in_disks_are_not_taken() -> None:
    for taken in (disk(removable=True), disk(transport="usb"), disk(kind="file")):
        work.refuse_fixed(taken, allowed=False)
    for built_in in (disk(transport="sata"), disk(transport="nvme"), disk(node_type="loop")):
        with pytest.raises(TargetRefused, match="not removable"):
            work.refuse_fixed(built_in, allowed=False)
        work.refuse_fixed(built_in, allowed=True)


def test_a_seal_covers_everything_but_itself() -> None:
    data = bytearray(b"rescue" * 20000)

    def read(length: int, offset: int) -> bytes:
        return bytes(data[offset : offset + length])

    size, total = 100_000, len(data)
    made = seal.make(read, size, total, Silent())
    data[seal.PLACE : seal.PLACE + seal.LENGTH] = made.encode()
    assert seal.parse(read(seal.LENGTH, seal.PLACE)) == made
    assert seal.make(read, size, total, Silent()) == made
    for at in (
        0,
        32767,
        32768,
        seal.PLACE - 1,
        seal.PLACE + seal.LENGTH,
        size - 1,
        size,
        total - 1,
    ):
        data[at] ^= 1
        assert seal.make(read, size, total, Silent()) != made, at
        data[at] ^= 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" " * 512,
        b"rescue seal 1\nsize 1\ntotal 2\nsystem " + b"0" * 64 + b"\ntables " + b"0" * 64 + b"\n",
        b"rescue seal 2\nsize 99999\ntotal 99999\nsystem " + b"0" * 64 + b"\ntables x\n",
    ],
)
def test_what_is_no_seal(text: bytes) -> None:
    assert seal.parse(text.ljust(512)) is None
