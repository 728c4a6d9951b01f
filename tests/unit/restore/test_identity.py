"""New identifiers: which become which, and where old ones are found in what refers to them."""

from __future__ import annotations

import lzma
import random
import struct
import uuid
from dataclasses import replace

import pytest

from rescue.core.errors import ImageDamaged, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import MIB
from rescue.devices.model import Layout, Partition
from rescue.image.manifest import Volume
from rescue.restore import grubcore
from rescue.restore.grubcore import NoCore
from rescue.restore.identity import (
    Identity,
    edits,
    hive_edits,
    identity_of,
    new_identity,
    new_seed,
)
from rescue.restore.layout import Place
from rescue.restore.marker import Marker, parse

OLD = "75ab8b8b-94da-50f0-b592-997e3a889d36"
NEW = "f9e32937-aaa6-4692-a4d2-35879372a66c"
DISK = "eb5d3a82-4c05-50bc-aaa1-ca3427c98cc6"
PARTS = (
    Partition(1, MIB, MIB, "gpt", "t", uuid="bc9c86cf-12d5-55ea-b7cc-d590da351a3d"),
    Partition(2, 2 * MIB, MIB, "gpt", "t", uuid="3f5e71bf-d69b-5687-96d4-7ac7ce1df187"),
)
GPT = Layout("gpt", 512, 9 * MIB, DISK, PARTS, ExtentMap.of([(0, 512)]))
MBR = replace(
    GPT,
    label="msdos",
    disk_id="1234abcd",
    partitions=tuple(replace(p, kind="primary", uuid=f"1234abcd-{p.number:02x}") for p in PARTS),
)


def volume(number: int, fs: str, identifier: str) -> Volume:
    return Volume(number, Extent(number * MIB, MIB), fs, "", identifier, "partclone", MIB)


def test_every_identifier_becomes_another_and_one_seed_gives_the_same() -> None:
    volumes = [volume(1, "vfat", "5E5C-0DE1"), volume(2, "ext4", OLD)]
    one = new_identity(GPT, volumes, new_seed())
    assert new_identity(GPT, volumes, one.seed) == one
    other = new_identity(GPT, volumes, new_seed())
    old = {change.old for change in one.ids}
    assert len(old) == 5 and all(change.new for change in one.ids)
    assert not old & {change.new for change in one.ids}
    assert not {change.new for change in other.ids} & {change.new for change in one.ids}
    assert all(len(change.old) == len(change.new) for change in one.ids)


def test_an_mbr_has_a_signature_and_its_partitions_follow() -> None:
    one = new_identity(MBR, [volume(1, "ntfs", "5C7CD9C963F265C2")], "seed")
    disk, first, second, ntfs = one.ids
    assert len(disk.new) == 8 and int(disk.new, 16) >= 0
    assert (first.new, second.new) == (f"{disk.new}-01", f"{disk.new}-02")
    assert len(ntfs.new) == 16 and ntfs.new == ntfs.new.upper()


def test_chosen_partitions_get_new_ones_and_nothing_else_does() -> None:
    chosen = [volume(2, "swap", OLD)]
    into = identity_of(GPT, chosen, "seed", entries=False)
    assert [(one.what, one.partition) for one in into.ids] == [("filesystem", 2)]
    free = identity_of(GPT, chosen, "seed", entries=True)
    assert [(one.what, one.partition) for one in free.ids] == [("partition", 2), ("filesystem", 2)]
    assert set(free.ids) < set(new_identity(GPT, chosen, "seed").ids), "as for the whole disk"
    assert len(identity_of(MBR, chosen, "seed", entries=True).ids) == 1, "the target has its own"


def test_the_resume_device_of_an_initramfs_is_told_where_there_is_a_swap() -> None:
    for fs, told in (("swap", True), ("ext4", False)):
        lines = " ".join(new_identity(GPT, [volume(2, fs, OLD)], "seed").lines())
        assert ("of partition 2. Run update-initramfs -u" in lines) is told


@pytest.mark.parametrize("fs", ["crypto_LUKS", "LVM2_member", "f2fs", "zfs_member", ""])
def test_what_stays_says_why(fs: str) -> None:
    change = new_identity(GPT, [volume(1, fs, OLD)], "seed").ids[-1]
    assert not change.new and change.why and change.why in change.line()


@pytest.mark.parametrize(
    ("fs", "identifier"),
    [("ext4", "1-2"), ("vfat", OLD), ("vfat", "zzzz-zzzz"), ("ntfs", "5E5C-0DE1"), ("swap", "(.*")],
)
def test_a_description_that_makes_no_sense(fs: str, identifier: str) -> None:
    """An image may have been made by anybody."""
    assert not new_identity(GPT, [volume(1, fs, identifier)], "seed").ids[-1].new
    for layout in (replace(GPT, disk_id="none"), replace(MBR, disk_id=DISK),
                   replace(GPT, partitions=(replace(PARTS[0], uuid="x"),))):  # fmt: skip
        with pytest.raises(ImageDamaged):
            new_identity(layout, [], "seed")


def test_volumes_that_share_an_identifier_go_on_sharing_it() -> None:
    found = new_identity(GPT, [volume(1, "btrfs", OLD), volume(2, "btrfs", OLD)], "seed").ids[-2:]
    assert found[0].new == found[1].new != OLD


def test_a_disk_without_a_table_is_refused() -> None:
    with pytest.raises(UsageError, match="partition table"):
        new_identity(Layout("none", 512, MIB, "", (), ExtentMap()), [], "seed")


def applied(data: bytes, words: tuple[tuple[str, str], ...]) -> bytes:
    fresh = bytearray(data)
    for offset, text in edits(data, words):
        fresh[offset : offset + len(text)] = text
    return bytes(fresh)


def test_whole_words_only_and_letters_stay_as_large() -> None:
    words = ((OLD, NEW), ("5E5C-0DE1", "AAE4-DEB5"), ("1234abcd-01", "9876fedc-01"))
    text = f"""UUID={OLD} / ext4
/dev/disk/by-uuid/{OLD.upper()} 'gnulinux-simple-{OLD}'
UUID=5E5C-0DE1 /boot/efi vfat; uuid=5e5c-0de1; x5E5C-0DE1 a-5E5C-0DE1-b
{OLD}0 0{OLD} root=PARTUUID=1234abcd-01 1234abcd-011 1234abcd
"""
    expected = f"""UUID={NEW} / ext4
/dev/disk/by-uuid/{NEW.upper()} 'gnulinux-simple-{NEW}'
UUID=AAE4-DEB5 /boot/efi vfat; uuid=aae4-deb5; x5E5C-0DE1 a-5E5C-0DE1-b
{OLD}0 0{OLD} root=PARTUUID=9876fedc-01 1234abcd-011 1234abcd
"""
    assert applied(text.encode(), words).decode() == expected
    assert edits(b"nothing \xff\xfe here", words) == []


def test_digits_alone_say_nothing_about_letters() -> None:
    """A new one without letters to follow stands as its filesystem writes it."""
    words = (("12345678-05", "fc898444-05"), ("1234-5678", "AAE4-DEB5"))
    text = b"PARTUUID=12345678-05 / UUID=1234-5678 /boot/efi"
    assert applied(text, words) == b"PARTUUID=fc898444-05 / UUID=AAE4-DEB5 /boot/efi"


def hive(*devices: bytes) -> bytes:
    return b"regf" + bytes(60) + b"".join(b"vk" + device + b"\xff" * 6 for device in devices)


def in_hive(data: bytes, identity: Identity, places: tuple[Place, ...]) -> bytes:
    fresh = bytearray(data)
    for offset, new in hive_edits(data, identity, places):
        fresh[offset : offset + len(new)] = new
    return bytes(fresh)


def gpt_device(partition: str, disk: str) -> bytes:
    """A device of a boot configuration: kind 6, a partition of a disk with a GPT."""
    parts = (uuid.UUID(partition).bytes_le, struct.pack("<II", 0, 0), uuid.UUID(disk).bytes_le)
    return bytes(16) + struct.pack("<IIII", 6, 0, 0x48, 0) + b"".join(parts) + bytes(16)


def mbr_device(start: int, signature: int) -> bytes:
    known = struct.pack("<QQIII", start, 0, 0, 1, signature)
    return bytes(16) + struct.pack("<IIII", 6, 0, 0x48, 0) + known + bytes(28)


def test_windows_boot_configuration_follows() -> None:
    places = tuple(Place(p.number, p.extent, Extent(p.start + MIB, MIB), p.kind) for p in PARTS)
    one = new_identity(GPT, [], "seed")
    disk, first, _ = one.ids
    before = hive(gpt_device(first.old, disk.old), gpt_device(first.old, OLD))
    after = hive(gpt_device(first.new, disk.new), gpt_device(first.new, OLD))
    assert in_hive(before, one, places) == after
    assert hive_edits(before[4:], one, places) == []
    two = new_identity(MBR, [], "seed")
    old, new = 0x1234ABCD, int(two.ids[0].new, 16)
    before = hive(mbr_device(MIB, old), mbr_device(MIB, 77), mbr_device(5 * MIB, old))
    after = hive(mbr_device(2 * MIB, new), mbr_device(MIB, 77), mbr_device(5 * MIB, old))
    assert in_hive(before, two, places) == after


def core(content: bytes, sectors: int = 0) -> bytes:
    """A core as GRUB makes it: loader, decompressor, raw LZMA."""
    packed = lzma.compress(content, lzma.FORMAT_RAW, filters=[grubcore._LZMA])
    decompressor = bytearray(random.Random(1).randbytes(2848))
    struct.pack_into("<III", decompressor, 8, len(packed), len(content), 99)
    whole = bytes(512) + bytes(decompressor) + packed
    length = max(sectors * 512, -(-len(whole) // 512) * 512)
    fresh = bytearray(whole.ljust(length, b"R"))
    struct.pack_into("<QHH", fresh, 0x1F4, 2049, length // 512 - 1, 0x820)
    return bytes(fresh)


def kernel(identifier: str) -> bytes:
    text = random.Random(2).choices(b"abcdefgh", k=30_000)
    return bytes(text) + b"mimg" + f"search.fs_uuid {identifier} root\n".encode() + bytes(999)


def test_grubs_core_is_packed_again() -> None:
    before = core(kernel(OLD))
    after = grubcore.rewritten(before, ((OLD, NEW),), MIB)
    assert after is not None and grubcore.unpack(after).content == kernel(NEW)
    assert after[:0x1F4] == before[:0x1F4] and after[512:520] == before[512:520]
    assert struct.unpack_from("<I", after, 512 + 16) == (0,)  # no Reed-Solomon codes any more
    assert grubcore.sectors_of(after) * 512 == len(after)
    assert grubcore.rewritten(before, ((NEW, OLD),), MIB) is None
    # With codes behind it the core may keep its length; without room it must.
    longer = core(kernel(OLD), sectors=80)
    assert len(grubcore.rewritten(longer, ((OLD, NEW),), len(longer)) or b"") == len(longer)
    with pytest.raises(NoCore, match="no room"):
        grubcore.rewritten(before, ((OLD, NEW),), len(before) - 512)
    with pytest.raises(NoCore):
        grubcore.unpack(bytes(len(before)))
    with pytest.raises(NoCore):
        grubcore.unpack(random.Random(3).randbytes(9000))


def test_a_core_in_front_of_the_first_partition_lies_partly_in_the_head() -> None:
    whole = core(kernel(OLD))
    disk = bytearray(MIB)
    disk[0x180:0x185] = b"GRUB "
    struct.pack_into("<Q", disk, 0x5C, 1)
    disk[512 : 512 + len(whole)] = whole
    places = (Place(1, Extent(MIB, MIB), Extent(MIB, 2 * MIB), "primary"),)

    def read(offset: int, length: int) -> bytes:
        return bytes(disk[offset : offset + length])

    head, writes, note = grubcore.followed(read, read(0, 4096), places, 512, ((OLD, NEW),))
    assert note and len(head) == 4096
    fresh = bytearray(disk)
    fresh[:4096] = head
    for offset, data in writes:
        assert offset >= 4096
        fresh[offset : offset + len(data)] = data
    assert grubcore.unpack(bytes(fresh[512 : 512 + len(whole)])).content == kernel(NEW)
    assert fresh[:512] == disk[:512]
    # Among the files of a partition it is left alone: what lies behind it is somebody's.
    inside = (Place(1, Extent(512, MIB), Extent(512, MIB), "primary"),)
    known = grubcore.followed(read, read(0, 4096), inside, 512, ((OLD, NEW),), {1})
    assert known[:2] == (read(0, 4096), ()) and "among the files" in known[2]
    assert grubcore.followed(read, read(0, 4096), inside, 512, ((OLD, NEW),))[1]
    disk[0x180:0x185] = b"OTHER"
    assert grubcore.followed(read, read(0, 4096), places, 512, ((OLD, NEW),))[1:] == ((), "")


def test_the_mark_keeps_the_seed() -> None:
    mark = Marker("a" * 32, "b" * 64, 5, True, new_seed())
    assert parse(mark.encode()) == mark
    assert parse(replace(mark, seed="").encode()) == replace(mark, seed="")
