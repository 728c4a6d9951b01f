"""A copy with new identifiers: none in common with the original, and what names them follows."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.image.reader import Image
from rescue.restore.identity import new_identity
from rescue.restore.marker import SIZE, Marker, parse
from rescue.restore.planning import layout_of
from tests.system import volumes
from tests.system.test_fit import cut_out, parts, verify_table
from tests.system.test_round_trip import RESCUE, digest, rescue

pytestmark = [pytest.mark.root]

SIZES = {"fat32": 96, "ext4": 160, "xfs": 400, "btrfs": 256, "ntfs": 64, "exfat": 64, "swap": 32}


@dataclass(frozen=True)
class Machine:
    """A disk, its image, and the identifiers of its filesystems by kind."""

    disk: Path
    image: Path
    kinds: tuple[str, ...]
    ids: dict[str, str]


def identifier(volume: Path) -> str:
    return run(["blkid", "-p", "-s", "UUID", "-o", "value", volume]).text.strip()


def tables(disk: Path) -> set[str]:
    """Every identifier in the partition table, in small letters."""
    table = json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]
    return {table["id"].lower(), *(p["uuid"].lower() for p in table["partitions"] if "uuid" in p)}


def with_files(kind: str, volume: Path, folder: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a volume."""
    if kind == "fat32":
        tree = folder / "fat"
        tree.mkdir()
        fill(tree)
        run(["mcopy", "-s", "-Q", "-m", "-i", volume, *sorted(tree.iterdir()), "::"])
        return
    with volumes.mounted(volumes.KINDS[kind], volume, folder / "fill") as root:
        fill(root)


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def build(folder: Path, label: str, kinds: tuple[str, ...]) -> Machine:
    """A disk with an empty filesystem of each kind in it; ``fill_*`` makes them a system."""
    lines, at = [f"label: {label}"], MIB
    for number, kind in enumerate(kinds, 1):
        length = SIZES[kind] * MIB
        if label == "dos" and number == 4:
            rest = sum(SIZES[k] * MIB + MIB for k in kinds[3:])
            lines.append(f"start={at // 512}, size={rest // 512}, type=5")
        if label == "dos" and number >= 4:
            at += MIB
        sort = {"fat32": "U", "swap": "S"}.get(kind, "L") if label == "gpt" else "83"
        lines.append(f"start={at // 512}, size={length // 512}, type={sort}")
        at += length
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(at + 2 * MIB)
    run(["sfdisk", "--quiet", disk], input="\n".join(lines).encode())
    ids = {}
    for kind in kinds:
        volume = folder / f"{kind}.volume"
        with volume.open("wb") as file:
            file.truncate(SIZES[kind] * MIB)
        run([*(("mkswap",) if kind == "swap" else volumes.KINDS[kind].make), volume])
        ids[kind] = identifier(volume)
    return Machine(disk, folder / "machine.rescue", kinds, ids)


def finish(machine: Machine) -> Machine:
    """The volumes put into their places, and the image."""
    numbers = [n for n in parts(machine.disk) if n != 4 or "gpt" in table_kind(machine.disk)]
    for kind, number in zip(machine.kinds, sorted(numbers), strict=True):
        volume = machine.disk.parent / f"{kind}.volume"
        start = parts(machine.disk)[number][0] // MIB
        run(["dd", f"if={volume}", f"of={machine.disk}", "bs=1M", f"seek={start}",
             "conv=notrunc,sparse"])  # fmt: skip
        volume.unlink()
    rescue("capture", machine.disk, machine.image)
    return machine


def table_kind(disk: Path) -> str:
    return str(json.loads(run(["sfdisk", "--json", disk]).text)["partitiontable"]["label"])


def volume_of(machine: Machine, disk: Path, kind: str, folder: Path) -> Path:
    numbers = sorted(n for n in parts(disk) if n != 4 or table_kind(disk) == "gpt")
    number = numbers[machine.kinds.index(kind)]
    return cut_out(disk, parts(disk)[number], folder / f"{kind}.restored")


def hive(partition: str, disk: str) -> bytes:
    """The head of a registry hive and a device of Windows' boot configuration behind it."""
    names = [uuid.UUID(text).bytes_le for text in (partition, disk)]
    kind = struct.pack("<IIII", 6, 0, 0x48, 0)
    return b"regf" + bytes(508) + bytes(16) + kind + names[0] + bytes(8) + names[1] + bytes(700)


def test_nothing_is_in_common_and_files_follow(tmp_path: Path) -> None:
    """Each kind of filesystem; on a larger disk, XFS grown, what is free wiped."""
    kinds = ("fat32", "ext4", "xfs", "btrfs", "ntfs", "exfat", "swap")
    machine = build(tmp_path, "gpt", kinds)
    ids = machine.ids
    listed = json.loads(run(["sfdisk", "--json", machine.disk]).text)["partitiontable"]
    guids = [one["uuid"].lower() for one in listed["partitions"]]
    fstab = (
        f"UUID={ids['ext4']} / ext4\nUUID={ids['fat32']} /boot/efi vfat\nUUID={ids['xfs']} /x xfs\n"
        f"/dev/disk/by-uuid/{ids['btrfs']} /b btrfs\nPARTUUID={guids[6]} none swap\n"
        f"UUID={ids['swap']} none swap\nUUID={ids['ntfs']} /n ntfs\nUUID={ids['exfat']} /e exfat\n"
    )
    outside = tmp_path / "outside"
    outside.write_text(f"root=UUID={ids['ext4']}\n")
    files: dict[str, str | bytes] = {
        "etc/fstab": fstab,
        "etc/crypttab": f"swap UUID={ids['swap']} /dev/urandom swap\n",
        "etc/default/grub": f'GRUB_CMDLINE_LINUX="resume=UUID={ids["swap"]}"\n',
        "boot/grub/grub.cfg": f"search --fs-uuid --set=root {ids['ext4']}\nlinux root={guids[1]}\n",
        "boot/grub/grubenv": f"saved_entry=gnulinux-simple-{ids['ext4']}\n".ljust(1024, "#"),
        "home/notes": f"my disk is {ids['ext4']}\n",
    }

    def fill_root(root: Path) -> None:
        write(root, files)
        (root / "etc/fstab").chmod(0o640)
        (root / "etc/kernel").mkdir()
        (root / "etc/kernel/cmdline").symlink_to(outside)

    def fill_esp(root: Path) -> None:
        write(root, {
            "EFI/debian/grub.cfg": "#" * 4000 + f"\nsearch.fs_uuid {ids['ext4']} root\n",
            "EFI/Microsoft/Boot/BCD": hive(guids[0], listed["id"]),
            "loader/entries/a.conf": f"options root=UUID={ids['ext4']} resume=UUID={ids['swap']}\n",
            "big.bin": b"x" * 70_000,
        })  # fmt: skip

    def fill_btrfs(root: Path) -> None:
        run(["btrfs", "subvolume", "create", root / "@"])
        write(root / "@", {"etc/fstab": fstab, "data": b"y" * 3_000_000})

    with_files("ext4", tmp_path / "ext4.volume", tmp_path, fill_root)
    with_files("fat32", tmp_path / "fat32.volume", tmp_path, fill_esp)
    with_files("btrfs", tmp_path / "btrfs.volume", tmp_path, fill_btrfs)
    finish(machine)
    before = machine.image.read_bytes()
    back = tmp_path / "back.raw"
    with back.open("wb") as file:
        file.truncate(machine.disk.stat().st_size + 100 * MIB)
    done = rescue("restore", "--new-identity", "--fit", "3", "--wipe-free", machine.image, back,
                  "--erase", back, "--json")  # fmt: skip
    told = json.loads(done.stdout)["done"]
    assert machine.image.read_bytes() == before
    verify_table(back, "gpt")
    assert not tables(back) & tables(machine.disk)
    fresh = {}
    for kind in kinds:
        volume = volume_of(machine, back, kind, tmp_path)
        fresh[kind] = identifier(volume)
        assert fresh[kind] and fresh[kind] != ids[kind], kind
        assert len(fresh[kind]) == len(ids[kind])
        if kind != "swap":
            assert volumes.fault(volumes.KINDS[kind], volume) == "", kind
    assert len(set(fresh.values())) == len(kinds)
    new_table = json.loads(run(["sfdisk", "--json", back]).text)["partitiontable"]
    new_guids = [one["uuid"].lower() for one in new_table["partitions"]]

    def followed(text: str) -> str:
        for kind in kinds:
            text = text.replace(ids[kind], fresh[kind])
        for old, new in zip(guids, new_guids, strict=True):
            text = text.replace(old, new)
        return text

    with volumes.mounted(
        volumes.KINDS["ext4"], tmp_path / "ext4.restored", tmp_path / "look", read_only=True
    ) as root:
        for name, content in files.items():
            text = (root / name).read_text()
            assert text == (content if name == "home/notes" else followed(str(content))), name
            if name != "home/notes":
                assert any(re.match(rf"partition 2: {name}, \d identifier", line) for line in told)
        assert (root / "etc/fstab").stat().st_mode & 0o777 == 0o640
    assert outside.read_text() == f"root=UUID={ids['ext4']}\n"
    with volumes.mounted(
        volumes.KINDS["btrfs"], tmp_path / "btrfs.restored", tmp_path / "look", read_only=True
    ) as root:
        assert (root / "@/etc/fstab").read_text() == followed(fstab)
        assert (root / "@/data").read_bytes() == b"y" * 3_000_000

    def from_esp(name: str) -> bytes:
        return run(["mtype", "-i", tmp_path / "fat32.restored", f"::/{name}"]).stdout

    assert from_esp("EFI/debian/grub.cfg").decode().endswith(f"fs_uuid {fresh['ext4']} root\n")
    assert from_esp("EFI/Microsoft/Boot/BCD") == hive(new_guids[0], new_table["id"])
    assert from_esp("big.bin") == b"x" * 70_000
    assert fresh["swap"] in from_esp("loader/entries/a.conf").decode()


def test_an_mbr_with_windows_and_the_seed_of_an_interrupted_run(tmp_path: Path) -> None:
    """The signature, PARTUUIDs made of it, and devices of Windows' boot configuration."""
    machine = build(tmp_path, "dos", ("ntfs", "fat32", "swap", "ext4", "exfat"))
    signature = int(str(json.loads(
        run(["sfdisk", "--json", machine.disk]).text)["partitiontable"]["id"]), 16)  # fmt: skip

    def device(disk: int) -> bytes:
        known = struct.pack("<QQIII", MIB, 0, 0, 1, disk)
        return b"regf" + bytes(508) + struct.pack("<IIII", 6, 0, 0x48, 0) + known + bytes(600)

    def fstab(disk: int, swap: str) -> str:
        return f"PARTUUID={disk:08x}-05 / ext4\nUUID={swap} none swap\n"

    def fill_root(root: Path) -> None:
        write(root, {"etc/fstab": fstab(signature, machine.ids["swap"])})

    with_files("ntfs", tmp_path / "ntfs.volume", tmp_path,
               lambda root: write(root, {"Boot/BCD": device(signature)}))  # fmt: skip
    with_files("ext4", tmp_path / "ext4.volume", tmp_path, fill_root)
    finish(machine)
    back = tmp_path / "back.raw"
    shown = json.loads(rescue("show", "--json", machine.image).stdout)
    seed = "5eed" * 8
    with back.open("wb") as file:
        file.write(Marker(shown["image_id"], "another plan", seed=seed).encode())
        file.truncate(machine.disk.stat().st_size)
    words = ["restore", "--new-identity", machine.image, back, "--erase", back]
    plan = json.loads(rescue(*words, "--dry-run", "--json").stdout)["identity"]
    assert plan["seed"] == seed
    rescue(*words)
    verify_table(back, "dos")
    new = {(one["what"], one["partition"]): one["new"] for one in plan["ids"]}
    disk = int(new["disk", 0], 16)
    assert tables(back) == {f"0x{disk:08x}"} != tables(machine.disk)
    for kind, number in (("ntfs", 1), ("fat32", 2), ("swap", 3), ("ext4", 5), ("exfat", 6)):
        volume = volume_of(machine, back, kind, tmp_path)
        assert identifier(volume) == new["filesystem", number] != machine.ids[kind], kind
        if kind != "swap":
            assert volumes.fault(volumes.KINDS[kind], volume) == "", kind
    with volumes.mounted(
        volumes.KINDS["ntfs"], tmp_path / "ntfs.restored", tmp_path / "look", read_only=True
    ) as root:
        assert (root / "Boot/BCD").read_bytes() == device(disk)
    with volumes.mounted(
        volumes.KINDS["ext4"], tmp_path / "ext4.restored", tmp_path / "look", read_only=True
    ) as root:
        assert (root / "etc/fstab").read_text() == fstab(disk, new["filesystem", 3])
    kept = digest(back, 0, back.stat().st_size)
    assert "takes the place" in rescue(*words, "--partition", 1, ok=2).stderr
    assert digest(back, 0, back.stat().st_size) == kept


def test_killed_while_identifiers_change_and_run_again(tmp_path: Path) -> None:
    """The same command goes on with the same identifiers, from a copy that is whole again."""
    machine = build(tmp_path, "gpt", ("fat32", "ext4", "btrfs", "swap"))

    def fill(root: Path) -> None:
        write(root, {"etc/fstab": f"UUID={machine.ids['ext4']} / ext4\n", "data": b"z" * 9_000_000})

    with_files("ext4", tmp_path / "ext4.volume", tmp_path, fill)
    finish(machine)
    back = tmp_path / "back.raw"
    words = ["restore", "--new-identity", machine.image, back, "--erase", back]
    with back.open("wb") as file:
        file.truncate(machine.disk.stat().st_size)
    command = [str(RESCUE), *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("new identifier for the btrfs"):
                child.kill()
                break
    with back.open("rb") as file:
        mark = parse(file.read(SIZE))
    assert mark is not None and mark.seed and mark.resized
    done = rescue(*words)
    assert "goes on" in done.stderr and "outcome: complete" in done.stdout
    with Image.open(machine.image) as image:
        fresh = new_identity(layout_of(image), (), mark.seed)
    assert tables(back) == {one.new for one in fresh.ids}
    for kind in machine.kinds[:3]:
        volume = volume_of(machine, back, kind, tmp_path)
        assert volumes.fault(volumes.KINDS[kind], volume) == "", kind
        assert identifier(volume) != machine.ids[kind], kind


def test_the_core_of_a_real_grub(tmp_path: Path) -> None:
    """grub-mkimage's own core, rewritten, holds what grub-mkimage makes with the new UUID."""
    from rescue.restore import grubcore

    old, new = str(uuid.uuid4()), str(uuid.uuid4())
    cores = []
    for name in (old, new):
        config, core = tmp_path / "early.cfg", tmp_path / f"{name}.img"
        config.write_text(f"search.fs_uuid {name} root\nset prefix=($root)/boot/grub\n")
        run(["grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-c", config, "-o", core,
             "biosdisk", "part_gpt", "part_msdos", "ext2", "search_fs_uuid", "normal"])  # fmt: skip
        raw = bytearray(core.read_bytes())
        sectors = -(-len(raw) // 512)
        struct.pack_into("<QHH", raw, 0x1F4, 2049, sectors - 1, 0x820)
        cores.append(bytes(raw).ljust(sectors * 512, b"\0"))
    fresh = grubcore.rewritten(cores[0], ((old, new),), MIB)
    assert fresh is not None
    assert grubcore.unpack(fresh).content == grubcore.unpack(cores[1]).content
