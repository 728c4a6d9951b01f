"""A complete image as anybody can open it: footer, directory and record table, without a key.

What needs the key when the image is sealed (manifest, index, chunks) is in ``reader``.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rescue.core.errors import ImageDamaged, ImageIncomplete, ImageLocked
from rescue.image import codec, record
from rescue.image.footer import FOOTER_SIZE, Footer, Item, parse_directory, parse_footer
from rescue.image.header import Header
from rescue.image.partreader import Ask, PartReader
from rescue.image.record import CLEAR_TYPES, HEADER_SIZE, RecordHeader, Type
from rescue.image.seal import SALT_SIZE, Sealer

_SEGMENT = struct.Struct(f"<QQ{SALT_SIZE}s32s")
MAX_SEGMENTS = 65_536


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of records that one process wrote.

    Attributes:
        started: seconds since 1970.
        before: chunks that were indexed before it.
        salt, commitment: of its key; zeros when the image is not sealed.
    """

    started: int
    before: int
    salt: bytes = bytes(SALT_SIZE)
    commitment: bytes = bytes(32)

    def to_bytes(self) -> bytes:
        """Content of the segment record."""
        return _SEGMENT.pack(self.started, self.before, self.salt, self.commitment)


def parse_segment(content: bytes) -> Segment:
    """Parse a segment record's content.

    Raises:
        ImageDamaged: not what a writer writes.
    """
    if len(content) != _SEGMENT.size:
        raise ImageDamaged("a segment record has the wrong length")
    return Segment(*_SEGMENT.unpack(content))


class Container:
    """The parts of a complete image, with what tells where everything lies.

    Attributes:
        parts: the files, as one stream.
        footer: outcome and root.
        items: every record that is not a chunk, in stream order.
    """

    def __init__(self, path: Path, ask: Ask | None = None) -> None:
        """Open an image by its first (or only) file.

        Raises:
            DiskTrouble: it cannot be read.
            ImageDamaged, ImageUnsupported, ImageIncomplete: it cannot be used.
        """
        self.parts = PartReader(path, ask)
        try:
            self.footer = self._read_footer()
            self.items = self._read_directory()
        except BaseException:
            self.parts.close()
            raise
        self._sealers: dict[int, Sealer] = {}

    @property
    def header(self) -> Header:
        """Header of the first part."""
        return self.parts.header

    @property
    def path(self) -> Path:
        """The first (or only) file."""
        return self.parts.first

    def _read_footer(self) -> Footer:
        length = self.parts.length
        block = self.parts.pread(max(0, length - FOOTER_SIZE), min(FOOTER_SIZE, length))
        footer = parse_footer(block)
        if footer is None:
            raise ImageIncomplete(
                f"{self.path} is incomplete: its capture never finished, or its end is missing",
                hint="go on with: rescue capture --resume, or look for another image",
            )
        if footer.image_id != self.header.image_id:
            raise ImageDamaged("the end of the image belongs to another image")
        if footer.stream_length != length:
            raise ImageDamaged(
                f"the image is {length} bytes long, and its footer says {footer.stream_length}"
            )
        return footer

    def _read_directory(self) -> tuple[Item, ...]:
        footer = self.footer
        item = Item(Type.DIRECTORY, footer.directory_total, footer.directory_position, footer.root)
        _, payload = self.stored_record(item)
        return parse_directory(payload, footer)

    def stored_record(self, item: Item) -> tuple[RecordHeader, bytes]:
        """Header of a listed record and its payload, decoded where no key is needed.

        Raises:
            ImageDamaged: it is not as it was written.
        """
        block = memoryview(self.parts.pread(item.position, item.total))
        name = item.type.name.lower()
        head = record.parse(block)
        if head.total != item.total or head.type is not item.type or head.digest != item.digest:
            raise ImageDamaged(f"the {name} of the image is not where it should be")
        if not record.is_whole(block):
            raise ImageDamaged(f"the {name} of the image is damaged")
        if head.sealed != (self.header.sealed and head.type not in CLEAR_TYPES):
            raise ImageDamaged(f"the {name} of the image is not sealed as the header says")
        if head.sealed:
            return head, bytes(block)
        return head, codec.decompress(head.coding, block[HEADER_SIZE:], head.content)

    def unlock(self, master: bytes) -> None:
        """Derive the key of every segment from the master key.

        Raises:
            ImageLocked: it is not the key of this image.
            ImageDamaged: a segment record is damaged.
        """
        found = [item for item in self.items if item.type is Type.SEGMENT]
        if not 0 < len(found) <= MAX_SEGMENTS:
            raise ImageDamaged("the image has no segment, or more than it may have")
        for item in found:
            head, content = self.stored_record(item)
            segment = parse_segment(content)
            sealer = Sealer(master, self.header.image_id, head.segment, segment.salt)
            sealer.check(segment.commitment)
            self._sealers[head.segment] = sealer

    def payload(self, head: RecordHeader, block: bytes | memoryview) -> bytes | memoryview:
        """The payload of a whole record, opened where it is sealed.

        Raises:
            ImageDamaged: it is sealed where it should not be, or the reverse, or was changed.
            ImageLocked: no key was given.
        """
        if head.sealed != (self.header.sealed and head.type not in CLEAR_TYPES):
            raise ImageDamaged("a record is not sealed as the header says")
        stored = memoryview(block)[HEADER_SIZE:]
        if not head.sealed:
            return stored
        if not self._sealers:
            raise ImageLocked("the image is encrypted, and no key was given")
        sealer = self._sealers.get(head.segment)
        if sealer is None:
            raise ImageDamaged("a record belongs to a segment that the image does not have")
        return sealer.open(bytes(block[:32]), head.type, head.number, stored)

    def content(self, item: Item) -> bytes:
        """Content of a record that the directory lists.

        Raises:
            ImageDamaged: it is not what was written.
            ImageLocked: it is sealed, and no key was given.
        """
        head, content = self.stored_record(item)
        if not head.sealed:
            return content
        return codec.decompress(head.coding, self.payload(head, content), head.content)

    def contents(self, kind: Type) -> list[bytes]:
        """Contents of all records of a kind, in order."""
        return [self.content(item) for item in self.items if item.type is kind]

    @cached_property
    def table(self) -> array[int]:
        """Total length of each record, in stream order, up to the first table record."""
        totals = array("I")
        for content in self.contents(Type.TABLE):
            if len(content) % 4:
                raise ImageDamaged("the record table has the wrong length")
            totals.frombytes(content)
        first = next((i.position for i in self.items if i.type is Type.TABLE), None)
        if first is None or sum(totals) != first:
            raise ImageDamaged("the record table does not cover the image")
        return totals

    def close(self) -> None:
        """Close the files."""
        self.parts.close()
