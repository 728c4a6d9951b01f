"""The machine under test: a GPT disk with a Debian that knows what it must look like.

    1  BIOS boot     GRUB's core
    2  ESP, FAT32    GRUB on the fallback path
    3  ext4          the root
    4  swap
    5  NTFS          files of awkward names and sizes
       free          a quarter of the disk in no partition

Everything is made in files; nothing is mounted but the NTFS (by FUSE, to fill it).
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.core.process import run
from tests.boot.bootcode import embed, make_core
from tests.boot.files import AWKWARD_EXT4, AWKWARD_NTFS, awkward, write_tree
from tests.boot.record import VOLATILE, Record, canonical, is_volatile, record_tar, record_tree

_OWN = Path(__file__).parent / "machine"
_MIB = 1 << 20
SIZE = 3 << 30
# What a machine that runs for a minute has no use for.
_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer")


@dataclass(frozen=True, slots=True)
class Place:
    """A partition: number, GPT type (sfdisk's word), name, start and length in bytes."""

    number: int
    kind: str
    name: str
    start: int
    length: int


BIOS_BOOT = Place(1, "21686148-6449-6E6F-744E-656564454649", "biosboot", 1 * _MIB, 1 * _MIB)
ESP = Place(2, "U", "esp", 2 * _MIB, 64 * _MIB)
ROOT = Place(3, "L", "root", 66 * _MIB, 1400 * _MIB)
SWAP = Place(4, "S", "swap", 1466 * _MIB, 256 * _MIB)
NTFS = Place(5, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "data", 1722 * _MIB, 500 * _MIB)

_SPACE = uuid.UUID("6f1c2f3e-4a0b-4a7e-9f5c-0d6f1f9a7b11")
_ROOT_ID = str(uuid.uuid5(_SPACE, "root"))
_SWAP_ID = str(uuid.uuid5(_SPACE, "swap"))
_ESP_ID = "5E5C-0DE1"


def assemble(base: Path, disk: Path, room: Path) -> str:
    """Make ``disk`` from the tar ``base``; ``room`` is an empty directory to work in.

    Returns:
        The proof: what the machine's recorded lists hash to.
    """
    with disk.open("wb") as file:
        file.truncate(SIZE)
    _partition(disk)
    core = room / "core.img"
    make_core(core, _ROOT_ID, room, efi=False)
    embed(disk, core.read_bytes(), BIOS_BOOT.start, BIOS_BOOT.length)
    lists = {"esp": _make_esp(disk, room)}
    ntfs_id, lists["ntfs"] = _make_ntfs(disk, room)
    _make_swap(disk, room)
    values = {"ROOT": _ROOT_ID, "SWAP": _SWAP_ID, "ESP": _ESP_ID, "NTFS": ntfs_id}
    return _make_root(base, disk, room, values, lists)


def _partition(disk: Path) -> None:
    lines = ["label: gpt", f"label-id: {uuid.uuid5(_SPACE, 'disk')}"]
    for place in (BIOS_BOOT, ESP, ROOT, SWAP, NTFS):
        where = f"start={place.start // 512}, size={place.length // 512}"
        identity = uuid.uuid5(_SPACE, f"partition {place.number}")
        lines.append(f'{where}, type={place.kind}, name="{place.name}", uuid={identity}')
    run(["sfdisk", "--quiet", disk], input="\n".join(lines).encode() + b"\n")


def _make_esp(disk: Path, room: Path) -> Record:
    volume = _empty(room / "esp.img", ESP.length)
    volume_id = _ESP_ID.replace("-", "")
    run(["mkfs.vfat", "-F", "32", "-s", "1", "-n", "ESP", "-i", volume_id, volume])
    tree = room / "esp"
    target = tree / "EFI" / "BOOT" / "BOOTX64.EFI"
    target.parent.mkdir(parents=True)
    make_core(target, _ROOT_ID, room, efi=True)
    (tree / "EFI" / "BOOT" / "A longer name than eight and three.txt").write_text("a file\n" * 999)
    run(["mcopy", "-s", "-m", "-i", volume, tree / "EFI", "::"])
    _place(volume, disk, ESP)
    return record_tree(tree)


def _make_ntfs(disk: Path, room: Path) -> tuple[str, Record]:
    volume = _empty(room / "ntfs.img", NTFS.length)
    run(["mkntfs", "--quick", "--force", "--label", "data", volume])
    with mounted_ntfs(volume, room / "ntfs") as root:
        write_tree(root, awkward(AWKWARD_NTFS))
        # Holes in the allocation: what was deleted must not be missed.
        (root / "photos" / "gone.bin").write_bytes(bytes(8 * _MIB))
        write_tree(root / "later", {"film.bin": b"later" * 999_999})
        (root / "photos" / "gone.bin").unlink()
        record = record_tree(root)
    volume_id = run(["blkid", "-p", "-s", "UUID", "-o", "value", volume]).text.strip()
    _place(volume, disk, NTFS)
    return volume_id, record


@contextmanager
def mounted_ntfs(volume: Path, where: Path) -> Iterator[Path]:
    """Mount a file that holds an NTFS, by FUSE."""
    where.mkdir(exist_ok=True)
    run(["ntfs-3g", volume, where])
    try:
        yield where
    finally:
        run(["umount", where])


def _make_swap(disk: Path, room: Path) -> None:
    volume = _empty(room / "swap.img", SWAP.length)
    run(["mkswap", "--uuid", _SWAP_ID, "--label", "swap", volume])
    _place(volume, disk, SWAP)


def _make_root(
    base: Path, disk: Path, room: Path, values: dict[str, str], lists: dict[str, Record]
) -> str:
    whole = room / "root.tar"
    extra = {
        "etc/fstab": _filled("fstab", values),
        "etc/hostname": b"machine-under-test\n",
        "etc/machine-id": uuid.uuid5(_SPACE, "machine").hex.encode() + b"\n",
        "boot/grub/grub.cfg": _filled("grub.cfg", values),
        "etc/systemd/system/machine-check.service": (_OWN / "machine-check.service").read_bytes(),
        "usr/local/sbin/machine-check": (_OWN / "machine-check").read_bytes(),
        **{f"home/{name}": data for name, data in awkward(AWKWARD_EXT4).items()},
    }
    _merge(base, whole, extra)
    lists["root"] = record_tar(whole)
    recorded = {"volatile": "\n".join(VOLATILE).encode() + b"\n"}
    with disk.open("rb") as file:
        file.seek(BIOS_BOOT.start)
        digest = hashlib.sha256(file.read(BIOS_BOOT.length)).hexdigest()
        recorded["biosboot"] = f"{digest}  -\n".encode()
    for name, record in lists.items():
        recorded[f"{name}.entries"] = record.entries_list()
        recorded[f"{name}.sums"] = record.sums_list()
    with tarfile.open(whole, "a", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(recorded):
            _add(archive, f"etc/machine-check/{name}", recorded[name])
    _unpack_into_ext4(whole, disk, room)
    return hashlib.sha256(b"".join(recorded[name] for name in sorted(recorded))).hexdigest()


def _merge(base: Path, whole: Path, extra: dict[str, bytes]) -> None:
    """``base`` without what a running system writes, and with ``extra``."""
    units, check = "etc/systemd/system", "machine-check.service"
    links = {
        f"{units}/graphical.target.wants/{check}": f"../{check}",
        **{f"{units}/{name}": "/dev/null" for name in _MASKED},
    }
    replaced = {f"./{name}" for name in (*extra, *links)}
    have: set[str] = set()
    with (
        tarfile.open(base) as old,
        tarfile.open(whole, "w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            path = canonical(member.name)
            if path in replaced or (is_volatile(path) and not member.isdir()):
                continue
            have.add(path)
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
        for name in ("boot/efi", "data", "etc/machine-check"):
            _add_directories(new, f"{name}/x", have)
        for name, data in extra.items():
            _add_directories(new, name, have)
            _add(new, name, data)
        for name, target in links.items():
            _add_directories(new, name, have)
            _add(new, name, b"", link=target)


def _add_directories(archive: tarfile.TarFile, name: str, have: set[str]) -> None:
    for parent in reversed(Path(name).parents):
        path = f"./{parent}"
        if path in have or str(parent) == ".":
            continue
        have.add(path)
        entry = _entry(str(parent), 0o755)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)


def _add(archive: tarfile.TarFile, name: str, data: bytes, *, link: str = "") -> None:
    entry = _entry(name, 0o755 if "/sbin/" in name else 0o640)
    if link:
        entry.type, entry.linkname = tarfile.SYMTYPE, link
    elif "/systemd/" in name or name.startswith("etc/"):
        entry.mode = 0o644
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f"./{name}")
    entry.mode, entry.mtime, entry.uname, entry.gname = mode, 1_700_000_000, "root", "root"
    return entry


def _unpack_into_ext4(whole: Path, disk: Path, room: Path) -> None:
    volume = _empty(room / "root.img", ROOT.length)
    tree = room / "root"
    tree.mkdir()
    # GRUB 2.06 reads no ext4 with a metadata_csum_seed or an orphan file.
    features = "^metadata_csum_seed,^orphan_file"
    script = (
        'tar -xpf "$1" -C "$2" --numeric-owner && '
        f'mkfs.ext4 -q -F -U {_ROOT_ID} -L root -O {features} -d "$2" "$3" ; '
        'status=$?; rm -rf "$2"; exit $status'
    )
    # An ordinary user becomes root of a namespace of its own, which is enough for owners.
    prefix = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto"]
    run([*prefix, "sh", "-c", script, "sh", whole, tree, volume])
    _place(volume, disk, ROOT)


def _filled(name: str, values: dict[str, str]) -> bytes:
    text = (_OWN / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    assert "@" not in text, f"{name} holds a word that nothing replaced"
    return text.encode()


def _empty(path: Path, length: int) -> Path:
    with path.open("wb") as file:
        file.truncate(length)
    return path


def _place(volume: Path, disk: Path, place: Place) -> None:
    """Copy ``volume`` to its place on the disk, leaving holes where it holds zeros."""
    with volume.open("rb") as source, disk.open("r+b") as target:
        assert volume.stat().st_size == place.length
        at = place.start
        while data := source.read(_MIB):
            if data.count(0) != len(data):
                target.seek(at)
                target.write(data)
            at += len(data)
    volume.unlink()
