"""Restore in its order: mark, copy, read back, resize, tables, head.

From the first write to the last the target's first sector says that it is half restored
(``marker``); the very last write puts the real one in its place, when everything else has reached
the disk. A restore that was cut off can neither be taken for a whole one nor started from, and the
same restore goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from blake3 import blake3

from rescue.core.errors import RescueError, from_os_error
from rescue.core.extent import Extent
from rescue.core.parallel import ordered, workers
from rescue.core.progress import Reporter
from rescue.devices.target import SafeTarget
from rescue.image.header import CHUNK_SIZE
from rescue.image.reader import Image
from rescue.restore import freespace, marker
from rescue.restore.marker import Marker
from rescue.restore.plan import RestorePlan
from rescue.restore.result import Options, RestoreResult
from rescue.restore.tables import Write
from rescue.restore.work import Piece, Prepared, prepare
from rescue.restore.writing import Done, Workers, batches, entries_of, pwrite

_CHECKPOINT_SECONDS = 10.0
_MAX_TOLD = 1000


def execute(
    plan: RestorePlan,
    image: Image,
    target: SafeTarget,
    reporter: Reporter,
    *,
    options: Options | None = None,
    prepared: Prepared | None = None,
) -> RestoreResult:
    """Restore as planned onto a target that was confirmed.

    Returns when everything has reached the disk (flushed). A damaged chunk is not written, the rest
    is, and the result says "incomplete"; the tables are then left away, as they are when something
    does not read back.

    Args:
        prepared: what the plan comes to, where volumes were shrunk for it; else it is worked out.

    Raises:
        DiskTrouble: the target failed or the image cannot be read.
        ProgramFailed: a filesystem could not be resized.
    """
    if target.size < plan.needed:
        raise RescueError("the target is smaller than planned")
    options = options or Options()
    if image.parts.one_by_one:
        options = replace(options, threads=1)  # several would ask for two discs at once
    return _Run(plan, image, target, reporter, options, prepared or prepare(plan, image)).run()


class _Run:
    """One restore under way."""

    def __init__(
        self,
        plan: RestorePlan,
        image: Image,
        target: SafeTarget,
        reporter: Reporter,
        options: Options,
        prepared: Prepared,
    ) -> None:
        self.plan, self.image, self.target, self.reporter = plan, image, target, reporter
        self.options, self.prepared = options, prepared
        self.started = monotonic()
        self.mark = plan.mark(image.image_id, image.root)
        self.before = self._found()
        # Programs or our own patches may have changed what was copied: all is compared then.
        again = self.before is not None and (self.before.resized or bool(prepared.patches))
        self.again = again
        compare = (options.compare or again) and not target.created
        self.workers = Workers(plan, prepared.moves, image, target, compare=compare)
        self.compare = compare
        # Past the cache a thread waits for the disk; others decode or hash meanwhile.
        self.threads = options.threads or workers() * (2 if target.io.able else 1)
        self.damaged: list[Extent] = []
        self.differing: list[Extent] = []
        self.covered = self.stored = self.compared = self.resumed = 0
        # Where the target was read and found right nothing was written, and once is enough.
        self.touched: set[int] = set()
        self.hashes: list[tuple[int, int, bytes]] = []

    def run(self) -> RestoreResult:
        """Everything in its order."""
        self.reporter.start("restore", self.plan.bytes + _bytes_of(self.prepared.pieces))
        self._mark_target()
        self._copy()
        for piece in self.prepared.pieces:
            self._copy_piece(piece)
        self.target.flush()
        self.reporter.finish()
        if self.damaged:
            return self._result(())
        if self.options.read_back:
            self._read_back()
        self._patch()
        if self.differing:
            return self._result(())
        words = self._after()
        self._finish()
        if not self.damaged and not self.differing:
            words.append(
                freespace.clear(
                    self.options.free, self.plan, self.prepared, self.target, self.reporter
                )
            )
        self.target.reread_partitions()
        return self._result((*self.prepared.notes, *filter(None, words)))

    def _found(self) -> Marker | None:
        """The mark of an earlier run of the same restore."""
        if self.mark is None or self.target.created:
            return None
        try:
            found = marker.parse(os.pread(self.target.fd, marker.SIZE, 0))
        except OSError as error:
            raise from_os_error(error, f"read {self.target.path}") from error
        if found is None or (found.image, found.plan) != (self.mark.image, self.mark.plan):
            return None
        return found

    def _mark_target(self) -> None:
        """Mark it, and take the old tables away."""
        if self.mark is None:
            return
        if self.before is not None:
            self.reporter.note(self._going_on(self.before))
            if not self.again:
                self.mark = self.before
        elif not self.target.created:
            # When only what differs is written, as little as makes the old tables void.
            span = min(self.plan.head if self.compare else CHUNK_SIZE, self.target.size)
            pwrite(self.target, bytes(span), 0)
            if self.target.size > 2 * CHUNK_SIZE:
                pwrite(self.target, bytes(span), self.target.size - span)
        self._write_mark()

    def _going_on(self, before: Marker) -> str:
        """What becomes of what an earlier run wrote."""
        words = "an earlier run was interrupted, this one"
        if self.again:
            return f"{words} goes on; filesystems were being changed, so all is compared"
        if not before.behind:
            return f"{words} begins again: that was in its first seconds"
        share = self._covered_before(before.behind) / max(1, self.plan.bytes)
        return f"{words} goes on at {share:.0%}"

    def _write_mark(self) -> None:
        assert self.mark is not None
        pwrite(self.target, self.mark.encode(), 0)
        self.target.flush()

    def _copy(self) -> None:
        """Every chunk but the last ones, with checkpoints."""
        behind = self.mark.behind if self.mark else 0
        entries = (
            e
            for e in entries_of(self.plan, self.image)
            if e.number not in self.plan.last and e.number >= behind
        )
        if behind:
            self.resumed = self._covered_before(behind)
            self.reporter.advance(self.resumed)
            self.covered += self.resumed
        noted = monotonic()
        for done in ordered(self.workers.write, batches(entries), threads=self.threads):
            self._note(done)
            if self.mark and not self.damaged and monotonic() - noted > _CHECKPOINT_SECONDS:
                self.target.flush()
                self.mark = replace(self.mark, behind=done.behind)
                self._write_mark()
                noted = monotonic()

    def _covered_before(self, behind: int) -> int:
        pieces = self.plan.written.within(0, min(self.image.size, behind * CHUNK_SIZE))
        last = sum(
            high - low
            for number in self.plan.last
            if number < behind
            for low, high in self.plan.written.within(
                number * CHUNK_SIZE, min(self.image.size, (number + 1) * CHUNK_SIZE)
            )
        )
        return sum(high - low for low, high in pieces) - last

    def _note(self, done: Done) -> None:
        for entry, message in done.damaged:
            start = entry.number * CHUNK_SIZE
            self.damaged.append(Extent(start, self.image.content_length(entry.number)))
            self.reporter.warn(f"{message}: not written")
        self.covered += done.covered
        self.stored += done.written
        self.touched.update(done.touched)
        self.reporter.advance(done.covered)

    def _put(self, offset: int, data: bytes) -> None:
        """Write bytes of our own making; their hash is kept to compare them with later."""
        if self.compare:
            try:
                if os.pread(self.target.fd, len(data), offset) == data:
                    return
            except OSError as error:
                raise from_os_error(error, f"read {self.target.path}") from error
        pwrite(self.target, data, offset)
        self.stored += len(data)

    def _copy_piece(self, piece: Piece) -> None:
        """A shrunk volume; what is read of the overlay is hashed, for reading it back."""
        for extent in piece.used:
            for at in range(extent.start, extent.end, CHUNK_SIZE):
                length = min(CHUNK_SIZE, extent.end - at)
                try:
                    data = os.pread(piece.fd, length, at)
                except OSError as error:
                    raise from_os_error(error, "read the overlay of a shrunk volume") from error
                if len(data) < length:
                    raise RescueError("the overlay of a shrunk volume ended too early")
                self._put(piece.target + at, data)
                self.hashes.append((piece.target + at, length, blake3(data).digest()))
                self.covered += length
                self.reporter.advance(length)

    def _read_back(self) -> None:
        """What the disk gives back, the cache dropped; before any program changed it."""
        entries = (
            e
            for e in entries_of(self.plan, self.image)
            if e.number not in self.plan.last and (not self.compare or e.number in self.touched)
        )
        copied = len(self.touched) * CHUNK_SIZE if self.compare else self.plan.bytes
        self.reporter.start("read back", copied + _bytes_of(self.prepared.pieces))
        for done in ordered(self.workers.read_back, batches(entries), threads=self.threads):
            self._differ(done.differing)
            self.compared += done.covered
            self.reporter.advance(done.covered)
        for offset, length, digest in self.hashes:
            if blake3(self._pread(length, offset)).digest() != digest:
                self._differ([Extent(offset, length)])
            self.compared += length
            self.reporter.advance(length)
        self.reporter.finish()

    def _patch(self, *, late: bool = False) -> None:
        """Write what was made anew over what was copied; ``late``: over the last chunks."""
        patches = [p for p in self.prepared.patches if _touches(p, self.plan.last) == late]
        if not patches or self.differing:
            return
        for offset, data in patches:
            self._put(offset, data)
        self.target.flush()
        for offset, data in patches if self.options.read_back else ():
            if self._pread(len(data), offset) != data:
                self._differ([Extent(offset, len(data))])

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self.target.fd, length, offset)
        except OSError as error:
            raise from_os_error(error, f"read {self.target.path}") from error

    def _differ(self, extents: Sequence[Extent]) -> None:
        for extent in extents:
            if len(self.differing) < _MAX_TOLD:
                self.reporter.warn(
                    f"{self.target.path} does not hold what was written to byte {extent.start:,}"
                )
            self.differing.append(extent)

    def _after(self) -> list[str]:
        """Resize what is to be resized, and what else programs change."""
        words: list[str] = []
        if self.prepared.after and self.mark:
            self.mark = replace(self.mark, resized=True)
            self._write_mark()
        for step in self.prepared.after:
            words += step.run(self.target, self.reporter)
        return words

    def _finish(self) -> None:
        """The tables; and when everything is on the disk the first sector, instead of the mark."""
        writes: list[Write] = list(self.prepared.tables.writes) if self.prepared.tables else []
        last = [e for e in entries_of(self.plan, self.image) if e.number in self.plan.last]
        for batch in batches(last):
            self._note(self.workers.write(batch))
        if self.damaged:
            return
        head = self.prepared.settle(self.prepared.head)
        if head:
            writes.append((marker.SIZE, head[marker.SIZE :]))
        in_order = self.prepared.tables is not None and self.prepared.tables.in_order
        if in_order:
            self.target.flush()
        for offset, data in writes:
            self._put(offset, data)
            if in_order:
                self.target.flush()
        self.target.flush()
        if self.options.read_back:
            for batch in batches(last):
                self._differ(self.workers.read_back(batch).differing)
            for offset, data in dict(writes).items():  # the last of several to one place
                if self._pread(len(data), offset) != data:
                    self._differ([Extent(offset, len(data))])
        self._patch(late=True)
        if self.differing or not head:
            return
        pwrite(self.target, head[: marker.SIZE], 0)
        self.stored += marker.SIZE
        self.target.flush()
        if self.options.read_back and self._pread(len(head), 0) != head:
            self._differ([Extent(0, len(head))])
            self._write_mark()

    def _result(self, words: Sequence[str]) -> RestoreResult:
        return RestoreResult(
            self.covered,
            tuple(self.damaged),
            self.plan.unreadable,
            monotonic() - self.started,
            self.stored,
            tuple(self.differing),
            self.compared,
            self.resumed,
            tuple(words),
        )


def _touches(patch: Write, chunks: frozenset[int]) -> bool:
    first, last = patch[0] // CHUNK_SIZE, (patch[0] + len(patch[1]) - 1) // CHUNK_SIZE
    return not chunks.isdisjoint(range(first, last + 1))


def _bytes_of(pieces: Sequence[Piece]) -> int:
    return sum(piece.used.total for piece in pieces)
