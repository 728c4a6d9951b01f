"""What makes a restored disk start under UEFI: planned from the image, done behind the copying.

The fallback path is filled in by mtools in a throw-away copy of the partition, before anything is
written; what that changed comes to the target as bytes over those that were copied, and is read
back with them. So no program writes to the target, no mount and no root is needed, and a partition
without room for it is known while the target is still as it was.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from rescue.core import process
from rescue.core.errors import ImageDamaged, ProgramFailed
from rescue.core.extent import Extent
from rescue.restore import blocklists, bootentries
from rescue.restore.esp import EspPlan, is_esp, is_program, survey
from rescue.restore.starting import Starting, entries_for
from rescue.view.fat import Fat
from rescue.view.nodes import FileNode, Folder, Node
from rescue.view.store import ImageStore

if TYPE_CHECKING:
    from rescue.devices.model import Disk, Layout
    from rescue.image.manifest import Volume
    from rescue.image.reader import Image
    from rescue.restore.plan import RestorePlan
    from rescue.restore.tables import Write
    from rescue.restore.work import Prepared

_DEEP = 8
_MANY = 10_000  # no firmware partition holds more; a damaged folder may
_STEP = 64 << 10
_PIECE = 1 << 20
# What is copied may be two loaders of some MiB, each counted once more for tables and folders.
_MOST = 256 << 20
# The tools look at nothing but the file that is named.
_ENVIRONMENT = {"MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1"}


def plan_starting(
    image: Image,
    plan: RestorePlan,
    disk: Disk | None,
    target_layout: Layout | None,
    into: int | None = None,
) -> Starting:
    """Look at every EFI system partition that is restored."""
    esps, entries = [], []
    layout = _layout_after(plan, target_layout)
    there = bootentries.read()
    for volume in _volumes(plan):
        number = into or volume.partition
        esp = _look(image, volume, number)
        esps.append(esp)
        partition = layout.partition(number)
        why_not = bootentries.why_not(disk)
        if partition is None or partition.kind != "gpt" or not partition.uuid:
            why_not = "firmware knows partitions by the GUIDs of a GPT"
        found = entries_for(esp, partition.uuid if partition else "", why_not, there)
        if found is not None:
            entries.append(found)
    return Starting(tuple(esps), tuple(entries), tuple(_grub(image, plan)))


def _grub(image: Image, plan: RestorePlan) -> Iterator[str]:
    """GRUB in a filesystem whose files may get other places."""
    try:
        found = blocklists.held(plan, image)
    except ImageDamaged:
        return
    if found is None:
        return
    name = f"BIOS: GRUB lies among the files of partition {found[0].number}, which may move"
    if found[1] in blocklists.KINDS:
        yield f"{name}; its list of sectors is made anew"
    else:
        yield (
            f"{name}; if it does not start, mount it from the rescue media, chroot into it and "
            "run grub-install"
        )


def _layout_after(plan: RestorePlan, target_layout: Layout | None) -> Layout:
    """How the target is divided when all is done."""
    if plan.arrangement is not None:
        return plan.arrangement.layout
    return target_layout if plan.chosen and target_layout is not None else plan.layout


def _volumes(plan: RestorePlan) -> Iterator[Volume]:
    """Volumes on EFI system partitions that are restored."""
    for volume in plan.volumes:
        partition = plan.layout.partition(volume.partition)
        if partition is None or not is_esp(partition) or volume.fs != "vfat":
            continue
        if volume.partition in plan.left_out:
            continue
        if not plan.chosen or volume.partition in plan.chosen:
            yield volume


def _look(image: Image, volume: Volume, number: int) -> EspPlan:
    """What is on the partition, read from the image."""
    store = ImageStore(image, threads=1)
    try:
        nodes = dict(_files(Fat(store, volume.extent).tree()))
        sizes = {path: node.size for path, node in nodes.items()}
        return survey(number, sizes, lambda path: is_program(_head(nodes[path])))
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return EspPlan(number, trouble=f"its filesystem cannot be read ({(words or '').lower()})")
    finally:
        store.close()


def _files(root: Folder) -> Iterator[tuple[str, FileNode]]:
    """Path and node of every file below EFI."""
    waiting: list[tuple[str, Node, int]] = [
        (os.fsdecode(name), node, 0)
        for name, node in root.entries().items()
        if name.lower() == b"efi"
    ]
    seen = 0
    while waiting and seen < _MANY:
        path, node, depth = waiting.pop()
        seen += 1
        if isinstance(node, FileNode):
            yield path, node
        elif isinstance(node, Folder) and depth < _DEEP:
            waiting += [
                (f"{path}/{os.fsdecode(name)}", child, depth + 1)
                for name, child in node.entries().items()
            ]


def _head(node: FileNode) -> bytes:
    return b"".join(bytes(piece) for piece in node.read(0, min(node.size, 4096)))


def repaired(image: Image, plan: RestorePlan, ready: Prepared) -> Prepared:
    """What will be written, with everything in it that makes it start."""
    if plan.starting is None:
        return ready
    return blocklists.followed(plan, image, filled(image, plan, ready))


def filled(image: Image, plan: RestorePlan, ready: Prepared) -> Prepared:
    """What will be written, with the fallback paths filled in.

    A partition that has no room for it, or a program that fails, is told and stops nothing.
    """
    if plan.starting is None:
        return ready
    by_number = {esp.partition: esp for esp in plan.starting.esps if esp.copies}
    for volume in _volumes(plan):
        place = plan.arrangement.place(volume.partition) if plan.arrangement else None
        new = place.new if place else volume.extent
        # With --into the number on the target is another one; there is a single partition then.
        esp = by_number.get(volume.partition) or next(iter(by_number.values()), None)
        if esp is None or (volume.partition not in by_number and len(plan.chosen) != 1):
            continue
        name = f"the fallback path of partition {esp.partition}"
        try:
            patches = _patches(image, plan, ready, volume.extent, new, esp)
            note = f"{name} was filled in with {esp.copies[0].source}"
            # Those of a FAT that was rebuilt are in what was compared, and come in one with these.
            others = [one for one in ready.patches if not _inside(one, new)]
            ready = replace(ready, patches=(*others, *patches))
        except (ProgramFailed, ImageDamaged) as error:
            note = f"{name} was not filled in: {error.message}"
        except OSError as error:
            note = f"{name} was not filled in: {(error.strerror or '').lower()}"
        ready = replace(ready, notes=(*ready.notes, note))
    return ready


def _patches(
    image: Image, plan: RestorePlan, ready: Prepared, old: Extent, new: Extent, esp: EspPlan
) -> list[Write]:
    """The bytes of the partition that the copies change, with their places on the target.

    Raises:
        ProgramFailed: mtools failed, or did not do what was asked.
        OSError: there is no room for the throw-away copy.
    """
    with tempfile.TemporaryDirectory(prefix="rescue-esp-") as folder:
        scratch = Path(folder) / "esp"
        with scratch.open("w+b") as file:
            os.truncate(scratch, new.length)
            _materialise(image, plan, ready, old, new, file.fileno())
            before = dict(_hashes(file.fileno(), new.length))
            for offset, data in ready.patches:
                if _inside((offset, data), new):
                    os.pwrite(file.fileno(), data, offset - new.start)
        _copy(scratch, esp)
        patches: list[Write] = []
        total = 0
        with scratch.open("rb") as file:
            for at, digest in _hashes(file.fileno(), new.length):
                if before.get(at) == digest:
                    continue
                data = os.pread(file.fileno(), min(_STEP, new.length - at), at)
                total += len(data)
                if total > _MOST:
                    raise ProgramFailed("the copies change more of the partition than they should")
                patches.append((new.start + at, data))
    return patches


def _materialise(
    image: Image, plan: RestorePlan, ready: Prepared, old: Extent, new: Extent, fd: int
) -> None:
    """The partition as it is copied to the target."""
    for low, high in plan.written.within(old.start, old.end):
        for start, end, to in ready.moves.cut(low, high):
            for at in range(start, end, _PIECE):
                data = image.read(at, min(_PIECE, end - at))
                os.pwrite(fd, data, to + at - start - new.start)


def _inside(patch: Write, place: Extent) -> bool:
    return place.start <= patch[0] and patch[0] + len(patch[1]) <= place.end


def _hashes(fd: int, length: int) -> Iterator[tuple[int, bytes]]:
    """Place and hash of each step that holds data; what was never written is passed over."""
    at = 0
    while at < length:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA) // _STEP * _STEP
        except OSError:  # ENXIO: nothing but a hole is left
            return
        yield at, blake3(os.pread(fd, _STEP, at)).digest()
        at += _STEP


def _copy(scratch: Path, esp: EspPlan) -> None:
    """Copy inside the partition, and see that the copies are what they are copies of."""
    process.require("mcopy", package="mtools")

    def tool(*words: str, check: bool = True) -> bytes:
        command = [words[0], "-i", str(scratch), *words[1:]]
        return process.run(command, check=check, env=_ENVIRONMENT, timeout=120).stdout

    tool("mmd", "-D", "s", "::/EFI/BOOT", check=False)  # it may be there
    for copy in esp.copies:
        source = tool("mtype", f"::/{copy.source}")
        tool("mcopy", "-o", f"::/{copy.source}", f"::/{copy.target}")
        if len(source) != copy.size or tool("mtype", f"::/{copy.target}") != source:
            raise ProgramFailed(f"the copy of {copy.source} is not like the original")


def make_entries(plan: RestorePlan, disk: Path) -> list[str]:
    """Make the boot entries that were planned; what was done, in words."""
    words = []
    for one in plan.starting.entries if plan.starting else ():
        if not one.why_not:
            words += bootentries.make(one.loaders, disk, one.guid, one.partition)
    return words
