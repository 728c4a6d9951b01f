"""New identifiers put where they belong on a restored disk, and what refers to them changed too.

The steps run on the target, behind the copying and the resizing and under its mark: first every
filesystem's own identifier, then the files that name one. The tables and GRUB's core are made with
the new ones before anything is written (``restore.tables``, ``restore.grubcore``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rescue.core.errors import ProgramFailed, from_os_error
from rescue.core.extent import Extent, ExtentMap
from rescue.core.progress import Reporter
from rescue.core.units import plural
from rescue.devices import loop
from rescue.devices.target import SafeTarget
from rescue.restore import identity as identities
from rescue.restore import marker, setid
from rescue.restore.growing import private_mount
from rescue.restore.identity import Edit, Identity, NewId
from rescue.restore.layout import Place
from rescue.restore.plan import RestorePlan
from rescue.restore.work import After, told

if TYPE_CHECKING:
    from rescue.devices.model import Disk
    from rescue.image.manifest import Volume
    from rescue.image.reader import Image
    from rescue.jobs.trees import Tree

_MOUNTS = {
    "ext2": ("ext4", ""),
    "ext3": ("ext4", ""),
    "ext4": ("ext4", ""),
    "xfs": ("xfs", ""),
    "btrfs": ("btrfs", "subvolid=5"),  # all subvolumes, whichever is the default
    "ntfs": ("ntfs-3g", ""),
}


def seed_for(image: Image, disk: Disk | None) -> str:
    """The seed of an interrupted restore of this image to this target, else a new one.

    Raises:
        DiskTrouble: the target cannot be read.
    """
    if disk is None:
        return identities.new_seed()
    try:
        with disk.path.open("rb") as file:
            found = marker.parse(file.read(marker.SIZE))
    except OSError as error:
        raise from_os_error(error, f"read {disk.path}") from error
    if found is not None and found.image == image.image_id and found.seed:
        return found.seed
    return identities.new_seed()


def steps(plan: RestorePlan) -> tuple[After, ...]:
    """What is done on the target for new identifiers, in its order."""
    if plan.identity is None or plan.arrangement is None:
        return ()
    sector = plan.arrangement.layout.sector_size
    setting: list[After] = []
    following: list[After] = []
    for volume in plan.volumes:
        place = plan.arrangement.place(volume.partition)
        if place is None or volume.partition in plan.left_out:
            continue
        one = plan.identity.of("filesystem", volume.partition)
        if one is not None:
            setting.append(told(_words(one), _setter(place.new, one, sector)))
        # On a GPT Windows' boot configuration lies on the EFI system partition.
        looked_into = volume.fs != "ntfs" or plan.layout.label == "msdos"
        if looked_into and (volume.fs == "vfat" or volume.fs in _MOUNTS):
            following.append(After(_follower(plan, plan.identity, volume, place, sector)))
    return (*setting, *following)


def _words(one: NewId) -> str:
    return f"{one.kind} of partition {one.partition}: {one.old} became {one.new}"


def _setter(place: Extent, one: NewId, sector: int) -> Callable[[SafeTarget, Reporter], bool]:
    def run(target: SafeTarget, reporter: Reporter) -> bool:
        setid.change(target, place, one, sector, reporter)
        return True

    return run


def _follower(
    plan: RestorePlan, identity: Identity, volume: Volume, place: Place, sector: int
) -> Callable[[SafeTarget, Reporter], Sequence[str]]:
    # Loaded only where identifiers change: every restore looks into this module.
    from rescue.jobs.trees import IN_SUBVOLUMES, PATTERNS, matching

    places = plan.arrangement.places if plan.arrangement else ()
    patterns = (*PATTERNS, *IN_SUBVOLUMES) if volume.fs == "btrfs" else PATTERNS

    def run(target: SafeTarget, reporter: Reporter) -> Sequence[str]:
        name = f"partition {volume.partition}"
        reporter.start(f"files of {name} that name disks", None)
        words: list[str] = []
        with _opened(target, volume, place.new, sector) as tree:
            try:
                paths = tree if isinstance(tree, str) else list(matching(tree, patterns))
            except OSError as error:
                paths = f"its files cannot be looked into ({(error.strerror or '').lower()})"
            if isinstance(tree, str) or isinstance(paths, str):
                reporter.warn(f"{name}: {paths}")
                return [f"{name}: {paths}"]
            for path in paths:
                words += [f"{name}: {line}" for line in _followed(tree, path, identity, places)]
        reporter.finish()
        return words

    return run


def _followed(tree: Tree, path: str, identity: Identity, places: Sequence[Place]) -> Iterator[str]:
    """Change one file; what was done, and what was not, in words."""
    refused: list[str] = []

    def find(data: bytes) -> list[Edit]:
        if path.lower().rsplit("/", 1)[-1] == "bcd":
            found = identities.hive_edits(data, identity, places)
            if found and data[4:8] != data[8:12]:
                refused.append("a registry hive that was in use")
        else:
            found = identities.edits(data, identity.words)
            if found and _is_signed(data):
                refused.append("a signed program")
        return [] if refused else found

    try:
        count = tree.change(path, find)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ProgramFailed(
            f"cannot change {path}: {why}", hint="restore without --new-identity"
        ) from error
    if count:
        yield f"{path}, {plural(count, 'identifier')} changed"
    if refused:
        yield f"{path} holds old identifiers and is left as it is: {refused[0]}"


def _is_signed(data: bytes) -> bool:
    """Whether a program carries a signature, which a change would make void (PE/COFF, 3.4)."""
    if data[:2] != b"MZ" or len(data) < 512:
        return False
    at = int.from_bytes(data[60:64], "little")
    if data[at : at + 4] != b"PE\0\0":
        return False
    optional = at + 24
    wide = data[optional : optional + 2] == b"\x0b\x02"
    entry = optional + (112 if wide else 96) + 4 * 8
    return any(data[entry : entry + 8])


class _TargetStore:
    """What the target holds, as a view reads it."""

    def __init__(self, target: SafeTarget) -> None:
        self._target = target
        self.size = target.size
        self.data = ExtentMap.single(0, target.size)

    def read(self, offset: int, length: int) -> Sequence[bytes]:
        """The bytes there."""
        return (os.pread(self._target.fd, length, offset),)


@contextmanager
def _opened(target: SafeTarget, volume: Volume, place: Extent, sector: int) -> Iterator[Tree | str]:
    """The files of a volume on the target; or why they cannot be seen."""
    from rescue.jobs.trees import FatTree, MountedTree
    from rescue.view.fat import Fat

    if volume.fs == "vfat":
        try:
            fat = Fat(_TargetStore(target), place)
            root = fat.tree()
        except (OSError, ValueError) as error:
            yield f"its files cannot be looked into ({error})"
            return

        def write(offset: int, data: bytes) -> None:
            os.pwrite(target.fd, data, place.start + offset)

        yield FatTree(fat, root, write)
        target.flush()
        return
    kind, options = _MOUNTS[volume.fs]
    with ExitStack() as stack:
        node = stack.enter_context(loop.writable_part(target, place, sector))
        try:
            folder = stack.enter_context(private_mount(node, kind, options))
        except ProgramFailed as error:
            yield f"its files cannot be looked into ({error.message})"
            return
        yield MountedTree(folder)
