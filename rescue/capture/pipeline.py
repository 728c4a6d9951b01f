"""Capture: workers read and encode chunks; one thread appends them in order.

The work is in C libraries that release the GIL; Python only hands batches around. The window of
batches in flight is bounded, and so is memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from rescue import __version__
from rescue.capture import resume as resuming
from rescue.capture.encode import Batch, Check, Encoder, zero_digests
from rescue.capture.level import Level
from rescue.capture.machine import this_machine
from rescue.capture.plan import CapturePlan
from rescue.capture.reading import ChunkReader
from rescue.core.errors import RescueError, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.parallel import ordered
from rescue.core.progress import Reporter
from rescue.core.units import format_size
from rescue.devices.blockio import Source
from rescue.devices.model import Disk
from rescue.image import codec
from rescue.image.footer import Outcome
from rescue.image.header import CHUNK_SIZE
from rescue.image.index import Entry
from rescue.image.keys import Secret
from rescue.image.manifest import Manifest
from rescue.image.reader import Image
from rescue.image.seal import namer_of
from rescue.image.writer import ImageWriter, Lock, Parent, Sealed

BATCH = 4  # chunks a worker takes at once


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """How to capture.

    Attributes:
        level: zstd level, 1 to 19; 0 chooses while it runs.
        threads: workers; 0 means one for each processor.
        check: which chunks are decoded and compared before they are appended.
        capacity: bytes in each part, or 0 for one file.
        lock: how a new chain is sealed; None for none, or what the parent has.
        parent: path of the image this one is the difference from.
        secrets: what opens the parent, or the image that is resumed.
        resume: go on with an incomplete image.
        retry: how often an unreadable sector is tried again.
        bad: places of the source that are known not to have been read (from a mapfile).
    """

    level: int = codec.DEFAULT_LEVEL
    threads: int = 0
    check: Check = Check.SAMPLE
    capacity: int = 0
    lock: Lock | None = None
    parent: Path | None = None
    secrets: Sequence[Secret] = ()
    resume: bool = False
    retry: int = 1
    bad: ExtentMap | None = None


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What a capture made; sizes in bytes."""

    outcome: Outcome
    image_id: str
    root: str
    stored_bytes: int
    content_bytes: int
    chunks: int
    unreadable: ExtentMap
    seconds: float
    manifest: Manifest


def execute(
    plan: CapturePlan, image: Path, options: CaptureOptions, reporter: Reporter
) -> CaptureResult:
    """Capture as planned.

    The image is complete only when this returns; after anything else it says "incomplete".

    Raises:
        UsageError: the image exists already, or cannot be resumed, or the parent does not fit.
        DiskTrouble: source or destination failed as a whole.
    """
    started = monotonic()
    began = _now()
    with ExitStack() as stack:
        source = stack.enter_context(Source(plan.disk.path))
        source.hold()
        if source.size != plan.disk.size:
            raise RescueError(f"{source.path} changed its size since it was looked at")
        parent = _open_parent(plan, options, reporter)
        if parent is not None:
            stack.enter_context(parent)
        reader = ChunkReader(
            source, plan.captured, source.data_extents(), retry=options.retry, bad=options.bad
        )
        stack.callback(reader.close)
        writer, failed = _writer(plan, image, options, parent, reader, reporter)
        stack.callback(writer.close)
        failed = failed.union(_run(plan, reader, writer, options, parent, reporter))
        manifest = _manifest(plan, writer, options, began, failed, parent)
        outcome = Outcome.UNREADABLE if failed else Outcome.COMPLETE
        sealed = writer.finish(manifest, plan.captured, outcome)
    reporter.finish()
    return _result(sealed, manifest, failed, monotonic() - started)


def _open_parent(plan: CapturePlan, options: CaptureOptions, reporter: Reporter) -> Image | None:
    """The parent with its chain; it must be of a disk of this size."""
    if options.parent is None:
        return None
    parent = Image.open(options.parent, secrets=options.secrets)
    try:
        if parent.size != plan.disk.size:
            raise UsageError(
                f"{options.parent} is of a disk of {format_size(parent.size)}, this one has "
                f"{format_size(plan.disk.size)}",
                hint="an incremental image needs a parent of the same disk",
            )
        if options.lock is not None and not parent.header.sealed:
            raise UsageError(
                "the parent is not encrypted, so its child cannot be",
                hint="make a full, encrypted image first",
            )
        if len(parent.chain) >= 256:
            raise UsageError(
                "the chain has 256 images already", hint="make a full image, or merge the chain"
            )
    except BaseException:
        parent.close()
        raise
    serial = str(parent.manifest.disk.get("serial", ""))
    if serial != plan.disk.serial:
        reporter.warn(f"the parent is of another disk (serial {serial or 'not known'})")
    return parent


def _writer(
    plan: CapturePlan,
    image: Path,
    options: CaptureOptions,
    parent: Image | None,
    reader: ChunkReader,
    reporter: Reporter,
) -> tuple[ImageWriter, ExtentMap]:
    """A writer at its beginning, or behind the last checkpoint of what is resumed."""
    above = Parent(parent.header.image_id, parent.footer.root) if parent else None
    if not options.resume:
        lock = options.lock
        if parent is not None and parent.header.sealed:
            lock = Lock(parent.master, parent.header.slots)
        writer = ImageWriter(
            image,
            resuming.plan_bytes(plan),
            capacity=options.capacity,
            lock=lock,
            parent=above,
        )
        return writer, ExtentMap()
    layers = len(parent.chain) + 1 if parent else 1
    found, master = resuming.read_unfinished(image, options.secrets, reporter, layers=layers)
    resuming.same_parent(
        found.header,
        above.image_id if above else bytes(16),
        above.root if above else bytes(32),
    )
    resuming.check_same(plan, found)
    with closing(resuming.Stored(image, found, master, parent)) as stored:
        failed = resuming.check_content(found, reader, namer_of(master), stored, reporter)
    return resuming.go_on(image, found, master), failed


def _batches(numbers: Iterator[int]) -> Iterator[list[int]]:
    while batch := list(islice(numbers, BATCH)):
        yield batch


def _run(
    plan: CapturePlan,
    reader: ChunkReader,
    writer: ImageWriter,
    options: CaptureOptions,
    parent: Image | None,
    reporter: Reporter,
) -> ExtentMap:
    """Read, encode and append everything that is left; returns what could not be read."""
    level = Level(options.level or codec.DEFAULT_LEVEL, auto=options.level == 0)
    namer = namer_of(writer.master)
    encoder = Encoder(
        reader=reader,
        size=plan.disk.size,
        level=level,
        check=options.check,
        namer=namer,
        segment=writer.segment,
        sealer=writer.sealer,
        seen=writer.seen,
        zeros=zero_digests(plan.disk.size, namer),
        parent=parent,
    )
    after = writer.index.numbers[-1] + 1 if len(writer.index) else 0
    rest = plan.captured.difference(ExtentMap.single(0, after * CHUNK_SIZE))
    failed: list[Extent] = []
    reporter.start("capture", plan.allocated)
    reporter.advance(plan.allocated - rest.total)
    for batch in ordered(
        encoder.batch, _batches(rest.numbers(CHUNK_SIZE)), threads=options.threads
    ):
        _append(batch, encoder, writer)
        failed += batch.failed
        for extent in batch.failed:
            reporter.warn(f"unreadable: {extent.length} bytes at {extent.start}")
        reporter.advance(batch.captured)
        writer.checkpoint()
        level.update(monotonic(), writer.seconds_writing)
    return ExtentMap.of((extent.start, extent.end) for extent in failed)


def _append(batch: Batch, encoder: Encoder, writer: ImageWriter) -> None:
    """Append in order."""
    for chunk in batch.chunks:
        same: Entry | None = batch.same.get(chunk.number)
        if chunk.digest == encoder.zeros[chunk.content]:
            writer.add_zero(chunk.number, chunk.digest)
        elif same is not None:
            writer.add_from_parent(same)
        else:
            writer.put(chunk)


def _manifest(
    plan: CapturePlan,
    writer: ImageWriter,
    options: CaptureOptions,
    began: str,
    failed: ExtentMap,
    parent: Image | None,
) -> Manifest:
    """What describes the image; the ledger must balance."""
    ledger = replace(
        plan.ledger, captured=plan.ledger.captured - failed.total, failed=tuple(failed)
    )
    if not ledger.balances:
        raise AssertionError("the ledger does not add up to the size of the disk")
    return Manifest(
        tool=f"rescue {__version__}",
        created=began,
        finished=_now(),
        machine=dict(this_machine()),
        disk=describe(plan.disk),
        layout=plan.layout.to_json(),
        volumes=plan.volumes,
        ledger=ledger,
        chunks=len(writer.index),
        level=options.level,
        chosen=plan.chosen,
        notes=plan.notes,
        chain=tuple(one.header.image_id.hex() for one in parent.chain) if parent else (),
    )


def describe(disk: Disk) -> dict[str, Any]:
    """A disk as the manifest keeps it."""
    return {
        "path": str(disk.path),
        "size": disk.size,
        "sector_size": disk.sector_size,
        "physical_sector_size": disk.physical_sector_size,
        "model": disk.model,
        "serial": disk.serial,
        "wwn": disk.wwn,
        "transport": disk.transport,
        "identity": disk.identity,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _result(sealed: Sealed, manifest: Manifest, failed: ExtentMap, seconds: float) -> CaptureResult:
    return CaptureResult(
        outcome=sealed.outcome,
        image_id=sealed.image_id.hex(),
        root=sealed.root.hex(),
        stored_bytes=sealed.stored,
        content_bytes=manifest.ledger.captured,
        chunks=manifest.chunks,
        unreadable=failed,
        seconds=seconds,
        manifest=manifest,
    )
