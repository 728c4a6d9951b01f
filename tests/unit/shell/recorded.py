"""Machines for the shell to stand in front of: recorded disks, images, tasks that only pretend."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rescue.core.errors import RescueError
from rescue.core.extent import Extent, ExtentMap
from rescue.devices.discover import parse_lsblk
from rescue.devices.model import Disk, Layout, Partition, Use
from rescue.image.manifest import Volume
from rescue.jobs import places
from rescue.jobs.places import Filesystem
from rescue.jobs.tasks import Task, TaskWish
from rescue.restore.bounds import Bounds, bounds_of
from rescue.shell.estimating import Estimate
from rescue.shell.facts import Found, MachineFacts, Sectors, Sight
from rescue.shell.settings import Settings

GIB = 1 << 30
FIXTURES = Path(__file__).parents[2] / "fixtures" / "lsblk"

MACHINE = Disk(
    Path("/dev/sda"), "block", 500 * GIB, 512, 512, model="Samsung SSD 870", serial="S4EVNX01"
)
STORE = Disk(Path("/dev/sdb"), "block", 2000 * GIB, 512, 512, model="Elements", serial="WX21A")
SMALL = Disk(Path("/dev/sdc"), "block", 64 * GIB, 512, 512, model="Flash", serial="FLASH01")
STICK = Disk(
    Path("/dev/sdd"),
    "block",
    16 * GIB,
    512,
    512,
    model="Stick",
    serial="STICK01",
    uses=(Use("boot medium", Path("/dev/sdd1"), "/run/live/medium"),),
)


def filesystem(
    node: str, disk: Disk, size: int, kind: str, label: str, mounted: str = ""
) -> Filesystem:
    point = Path(mounted) if mounted else None
    return Filesystem(Path(node), disk.path, size, kind, label, "", label, point)


EFI = filesystem("/dev/sda1", MACHINE, GIB, "vfat", "EFI")
WINDOWS = filesystem("/dev/sda2", MACHINE, 300 * GIB, "ntfs", "Windows")
DATA = filesystem("/dev/sda3", MACHINE, 150 * GIB, "ext4", "data")
KEEP = filesystem("/dev/sdb1", STORE, 2000 * GIB, "ext4", "STORE")
TINY = filesystem("/dev/sdc1", SMALL, 64 * GIB, "exfat", "FLASH")
LIVE = filesystem("/dev/sdd1", STICK, GIB, "iso9660", "RESCUE", "/run/live/medium")

PARTITIONS = (
    Partition(1, 1 << 20, GIB, "gpt", "c12a", "EFI"),
    Partition(2, (1 << 20) + GIB, 300 * GIB, "gpt", "ebd0", "Basic data"),
    Partition(3, (1 << 20) + 301 * GIB, 150 * GIB, "gpt", "0fc6", "data"),
)
LAYOUT = Layout("gpt", 512, 500 * GIB, "disk-id", PARTITIONS, ExtentMap())
VOLUMES = (
    Volume(1, PARTITIONS[0].extent, "vfat", "EFI", "u1", "partclone", 50 << 20, "clean"),
    Volume(2, PARTITIONS[1].extent, "ntfs", "Windows", "u2", "partclone", 90 * GIB, "clean"),
    Volume(3, PARTITIONS[2].extent, "ext4", "data", "u3", "partclone", 40 * GIB, "clean"),
)
IMAGE = Found(
    Path("/dev/sdb1"),
    "images/pc.rescue",
    "STORE (sdb1, Elements)",
    made="2026-11-20 18:23",
    machine="Dell XPS 13",
    machine_serial="DELL01",
    disk="500.0 GiB, Samsung SSD 870, serial S4EVNX01, GPT",
    disk_serial="S4EVNX01",
    disk_size=500 * GIB,
    stored=60 * GIB,
    outcome="complete",
    layout=LAYOUT,
    volumes=VOLUMES,
    id="a1" * 16,
)
OTHER = replace(
    IMAGE,
    path="images/laptop.rescue",
    made="2026-11-23 09:00",
    machine="Lenovo T14",
    machine_serial="LEN01",
    disk_serial="OTHER01",
    disk_size=32 * GIB,
    id="b2" * 16,
    layout=None,
    volumes=(replace(VOLUMES[1], partition=0, extent=Extent(0, 32 * GIB), captured=GIB),),
)
BROKEN = Found(
    Path("/dev/sdb1"), "images/torn.rescue", "STORE (sdb1, Elements)",
    why="cannot be used: its capture never finished",
)  # fmt: skip
LOCKED = Found(
    Path("/dev/sdb1"), "secret.rescue", "STORE (sdb1, Elements)",
    made="2026-11-22 10:00", locked=True, sealed=True,
)  # fmt: skip
PASSPHRASE = b"correct horse battery"
CLOSED = replace(VOLUMES[1], fs="BitLocker", label="", method="whole", captured=300 * GIB)
OPENED = replace(CLOSED, method="stack", captured=90 * GIB)
DELL = MachineFacts("Dell", "XPS 13", "DELL01", "uefi", 16 * GIB)


class World:
    """A machine that stands still, and remembers what it was told to start."""

    def __init__(
        self,
        disks: Sequence[Disk] = (MACHINE, STORE, SMALL, STICK),
        filesystems: Sequence[Filesystem] = (EFI, WINDOWS, DATA, KEEP, TINY, LIVE),
        images: Sequence[Found] = (BROKEN, OTHER, LOCKED, IMAGE),
        folder: Path = Path("/nowhere"),
    ) -> None:
        self.disks, self.filesystems = tuple(disks), tuple(filesystems)
        self.found = list(images)
        self.chosen = Settings()
        self.volumes = VOLUMES
        self.opened: tuple[Volume, ...] = ()
        self.failing = ""
        self.others: Sectors | None = None
        self.layouts: dict[Path, Layout] = {MACHINE.path: LAYOUT}
        self.room = {KEEP.node: 900 * GIB, TINY.node: 10 * GIB}
        self.there: set[str] = set()
        self.half: dict[Path, str] = {}
        self.started: list[TaskWish] = []
        self.refuse: RescueError | None = None
        self.running: list[Task] = []
        self.folder = folder

    def sight(self, *, settled: bool = False) -> Sight:
        return Sight(DELL, self.disks, self.filesystems)

    def images(self, *, wait: bool = False) -> Sequence[Found]:
        return list(self.found)

    def scan(self, sight: Sight) -> Iterator[str]:
        yield "Looking for images on STORE (sdb1, Elements) ..."

    def unlock(self, image: Found, passphrase: bytes) -> Found:
        if passphrase != PASSPHRASE:
            return image
        return replace(IMAGE, path=image.path, sealed=True)

    def bounds(self, image: Found, passphrase: bytes) -> Mapping[int, Bounds]:
        return {volume.partition: bounds_of(volume) for volume in image.volumes}

    def sectors(self, image: Found, passphrase: bytes, sector: int) -> Sectors:
        assert image.layout is None or sector != image.layout.sector_size
        return self.others or Sectors(self.bounds(image, passphrase))

    def layout(self, disk: Disk) -> Layout | None:
        return self.layouts.get(disk.path)

    def half_restored(self, disk: Disk) -> str | None:
        return self.half.get(disk.path)

    def estimate(self, disk: Disk, passphrase: bytes = b"") -> Estimate:
        if passphrase == PASSPHRASE and disk.path == MACHINE.path:
            return Estimate(2 << 20, self.opened or self.volumes, LAYOUT, failing=self.failing)
        if disk.path == MACHINE.path:
            return Estimate(2 << 20, self.volumes, LAYOUT, failing=self.failing)
        return Estimate(disk.size, (), None, "no partition table that is known")

    def free(self, filesystem: Filesystem, *, writable: bool) -> int:
        return self.room.get(filesystem.node, 100 * GIB)

    def exists(self, filesystem: Filesystem, path: str) -> bool:
        return path in self.there

    def settings(self) -> Settings:
        return self.chosen

    def start(self, wish: TaskWish) -> Task:
        if self.refuse is not None:
            raise self.refuse
        self.started.append(wish)
        task = task_of(self.folder, wish)
        self.running.insert(0, task)
        return task

    def tasks(self) -> Sequence[Task]:
        return self.running


def task_of(folder: Path, wish: TaskWish, *, alive: bool = True, exit: int | None = None) -> Task:
    """A task that was never started."""
    return Task(
        "20261124-120000-" + wish.verb, folder, wish.words, wish.title, wish.command(), 0.0, 0,
        alive, exit, None, {},
    )  # fmt: skip


def encrypted() -> World:
    """A machine whose second partition is closed; PASSPHRASE opens it."""
    world = World()
    world.volumes = (VOLUMES[0], CLOSED, VOLUMES[2])
    world.opened = (VOLUMES[0], OPENED, VOLUMES[2])
    return world


def crowded(disks: int = 24, images: int = 500) -> World:
    """A machine with many disks, made of a recorded one, and many images."""
    text = (FIXTURES / "server-raid.json").read_text()
    nodes = json.loads(text)["blockdevices"]
    many = []
    for number in range(disks):
        node = json.loads(json.dumps(nodes[number % len(nodes)]))
        many.append(_renamed(node, f"sd{chr(97 + number)}", f"SERIAL{number:02}"))
    listing = json.dumps({"blockdevices": many})
    found = [
        replace(IMAGE, path=f"images/pc-{n:03}.rescue", made=f"2026-{1 + n % 12:02}-01 10:00")
        for n in range(images)
    ]
    return World(parse_lsblk(listing), places.parse_lsblk(listing), found)


def _renamed(node: dict[str, object], name: str, serial: str) -> dict[str, object]:
    """A recorded disk under another name."""
    old = str(node["name"])
    text = json.dumps(node).replace(f'"{old}', f'"{name}').replace(f"/dev/{old}", f"/dev/{name}")
    renamed: dict[str, object] = json.loads(text)
    renamed["serial"] = serial
    return renamed
