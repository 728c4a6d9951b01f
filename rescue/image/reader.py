"""Reading an image: open it with its chain, then any byte of the disk by arithmetic."""

from __future__ import annotations

import struct
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rescue.core.errors import ImageDamaged
from rescue.core.extent import ExtentMap
from rescue.image import chain as chains
from rescue.image import codec, extents, record
from rescue.image.container import Container
from rescue.image.footer import Footer, Item, Outcome
from rescue.image.header import CHUNK_SIZE, Header
from rescue.image.index import Entry, Index, Where, pack, unpack
from rescue.image.keys import Secret, unlock
from rescue.image.manifest import Manifest, parse_manifest
from rescue.image.partreader import Ask, PartReader
from rescue.image.record import HEADER_SIZE, Coding, Type
from rescue.image.seal import namer_of

_CACHED_CHUNKS = 16
BASE = struct.Struct("<IIQ32s")
BASE_SIZE = BASE.size


class Image:
    """A complete image with its chain, open for reading. Safe for several threads.

    Attributes:
        chain: this image and its ancestors, itself first.
        master: the master key of the chain; empty when it is not sealed.
        namer: names chunk contents as this chain does.
        manifest: what the image says about itself.
        index: where its chunks lie.
    """

    def __init__(self, chain: list[Container], master: bytes = b"") -> None:
        """Take over an open, unlocked chain; use ``Image.open``."""
        self.chain = chain
        self.master = master
        self.namer = namer_of(self.master)
        self.manifest = self._read_manifest()
        self.index = self._read_index()
        self._captured: ExtentMap | None = None
        self._zero_names: set[bytes] = set()
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        secrets: Sequence[Secret] = (),
        look_in: Sequence[Path] = (),
        ask: Ask | None = None,
    ) -> Image:
        """Open an image by its first (or only) file.

        Args:
            secrets: what may open it when it is encrypted.
            look_in: folders to search for parents besides its own.
            ask: asks a person for the next disc of a split image; None: nobody is there.

        Raises:
            DiskTrouble: it cannot be read.
            ImageDamaged, ImageUnsupported, ImageIncomplete: it or a parent cannot be used.
            ImageLocked: it is encrypted, and no secret opens it.
        """
        chain = chains.open_chain(path, look_in, ask)
        try:
            return cls(chain, unlock_chain(chain, secrets))
        except BaseException:
            chains.close(chain)
            raise

    def ancestor(self, layer: int) -> Image:
        """The image ``layer`` steps down the chain; it shares this one's files."""
        return Image(self.chain[layer:], self.master)

    @property
    def container(self) -> Container:
        """This image without its ancestors."""
        return self.chain[0]

    @property
    def parts(self) -> PartReader:
        """The files of this image as one stream."""
        return self.container.parts

    @property
    def header(self) -> Header:
        """Header of the first part."""
        return self.container.header

    @property
    def footer(self) -> Footer:
        """Outcome and root."""
        return self.container.footer

    @property
    def items(self) -> tuple[Item, ...]:
        """Every record of this image that is not a chunk."""
        return self.container.items

    @property
    def path(self) -> Path:
        """The first (or only) file."""
        return self.container.path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of the image and of its ancestors."""
        return tuple(path for container in self.chain for path in container.parts.paths)

    @property
    def image_id(self) -> str:
        """32 hexadecimal digits."""
        return self.header.image_id.hex()

    @property
    def root(self) -> str:
        """What identifies the image's content, 64 hexadecimal digits."""
        return self.footer.root.hex()

    @property
    def outcome(self) -> Outcome:
        """Complete, or complete with unreadable sectors."""
        return self.footer.outcome

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.manifest.size

    @property
    def stored(self) -> int:
        """Bytes of the image's stream."""
        return self.parts.length

    def contents(self, kind: Type) -> list[bytes]:
        """Contents of all records of a kind, in order."""
        return self.container.contents(kind)

    def table(self) -> array[int]:
        """Total length of each record, in stream order, up to the first table record."""
        return self.container.table

    def _read_manifest(self) -> Manifest:
        found = self.contents(Type.MANIFEST)
        if len(found) != 1:
            raise ImageDamaged("the image does not have exactly one manifest")
        manifest = parse_manifest(found[0])
        if bool(manifest.ledger.failed) != (self.outcome is Outcome.UNREADABLE):
            raise ImageDamaged("footer and manifest differ on whether every sector was read")
        if manifest.chain != tuple(one.header.image_id.hex() for one in self.chain[1:]):
            raise ImageDamaged("the manifest names another chain than the headers")
        return manifest

    def _read_index(self) -> Index:
        index = Index()
        for content in self.contents(Type.INDEX):
            index.extend(content, chunks=self.manifest.grid, layers=len(self.chain))
        if len(index) != self.manifest.chunks:
            raise ImageDamaged("the index does not list as many chunks as the manifest")
        return index

    @property
    def captured(self) -> ExtentMap:
        """The bytes of the disk that the image holds."""
        if self._captured is None:
            captured = extents.decode(iter(self.contents(Type.MAP)), self.size)
            if array("I", captured.numbers(CHUNK_SIZE)) != self.index.numbers:
                raise ImageDamaged("the index does not list the chunks that were captured")
            self._captured = captured
        return self._captured

    def content_length(self, number: int) -> int:
        """Bytes of chunk ``number``: 1 MiB, but for the last one of a disk."""
        return min(CHUNK_SIZE, self.size - number * CHUNK_SIZE)

    def decode(self, entry: Entry, block: bytes | memoryview) -> bytes:
        """Content of a chunk from the bytes of its record, checked against the index.

        Raises:
            ImageDamaged: it is not the content that was captured.
        """
        content = self._decode(entry, block)
        if self.namer(content) != entry.digest:
            raise ImageDamaged(f"chunk {entry.number} does not hold what was captured")
        return content

    def _decode(self, entry: Entry, block: bytes | memoryview) -> bytes:
        coding, payload = self.coded(entry, block)
        expected = self.content_length(entry.number)
        if coding is not Coding.DELTA:
            return codec.decompress(coding, payload, expected)
        base = self.base_of(entry, payload)
        return codec.decompress_delta(payload[BASE_SIZE:], self.chunk(base), expected)

    def coded(self, entry: Entry, block: bytes | memoryview) -> tuple[Coding, memoryview]:
        """Coding and opened payload of the record that an entry points to.

        Raises:
            ImageDamaged: it is not that record.
        """
        head = record.parse(block)
        if (
            head.type is not Type.CHUNK
            or head.stored != entry.stored
            or int(head.coding) != int(entry.where)
            or head.content != self.content_length(entry.number)
        ):
            raise ImageDamaged(f"chunk {entry.number} is not where the index says")
        return head.coding, memoryview(self.chain[entry.layer].payload(head, block))

    def base_of(self, entry: Entry, payload: memoryview) -> Entry:
        """The chunk that a difference was taken from; it is never a difference itself.

        Raises:
            ImageDamaged: the reference is not one that a writer writes.
        """
        if len(payload) < BASE_SIZE:
            raise ImageDamaged("a difference is cut short")
        where, zero, position, digest = BASE.unpack_from(payload)
        base = unpack(entry.number, where, position, digest)
        layer = entry.layer + base.layer
        if (
            zero
            or base.layer == 0
            or layer >= len(self.chain)
            or base.where not in (Where.STORED, Where.ZSTD)
        ):
            raise ImageDamaged("a difference names a base that no writer names")
        return Entry(entry.number, base.where, base.stored, layer, position, digest)

    def chunk(self, entry: Entry) -> bytes:
        """Content of a chunk.

        Raises:
            ImageDamaged: it is not the content that was captured.
        """
        if entry.where is Where.ZERO:
            return self.zeros(entry)
        return self.decode(entry, self.block(entry))

    def zeros(self, entry: Entry) -> bytes:
        """Content of a chunk that the index calls all zeros, its name checked like any other.

        Raises:
            ImageDamaged: zeros are not what was captured.
        """
        content = bytes(self.content_length(entry.number))
        if entry.digest not in self._zero_names:
            if self.namer(content) != entry.digest:
                raise ImageDamaged(f"chunk {entry.number} does not hold what was captured")
            self._zero_names.add(entry.digest)
        return content

    def block(self, entry: Entry) -> bytes:
        """The bytes of an entry's record, as they are stored."""
        parts = self.chain[entry.layer].parts
        return parts.pread(entry.position, HEADER_SIZE + entry.stored)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the disk; what was not captured reads as zeros.

        Raises:
            ImageDamaged: a chunk under these bytes is damaged.
        """
        end = min(offset + length, self.size)
        pieces: list[bytes] = []
        at = offset
        while at < end:
            number, within = divmod(at, CHUNK_SIZE)
            count = min(end - at, CHUNK_SIZE - within)
            pieces.append(self._cached(number)[within : within + count])
            at += count
        return b"".join(pieces)

    def _cached(self, number: int) -> bytes:
        with self._lock:
            known = self._cache.get(number)
            if known is not None:
                self._cache.move_to_end(number)
                return known
        entry = self.index.find(number)
        if entry is not None:
            content = self.chunk(entry)
        else:
            _ = self.captured  # raises where the index leaves out what was captured
            content = bytes(self.content_length(number))
        with self._lock:
            self._cache[number] = content
            while len(self._cache) > _CACHED_CHUNKS:
                self._cache.popitem(last=False)
        return content

    def close(self) -> None:
        """Close the files."""
        chains.close(self.chain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def unlock_chain(chain: Sequence[Container], secrets: Sequence[Secret]) -> bytes:
    """Open every image of a sealed chain; its master key, or nothing when it is not sealed.

    Raises:
        ImageLocked: no secret opens it.
    """
    header = chain[0].header
    if not header.sealed:
        return b""
    master = unlock(header, secrets)
    for container in chain:
        container.unlock(master)
    return master


def pack_base(base: Entry) -> bytes:
    """The reference to the base before a difference; its layer counts from the writing image."""
    return BASE.pack(pack(base), 0, base.position, base.digest)
