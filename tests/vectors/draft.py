"""An image taken apart, so that one value in it can be made wrong and everything else kept right.

``Draft`` parses a whole, unsplit image into header, records and footer, opens what is sealed, and
puts it together again: lengths, positions, seals, the tables, the directory, hashes and the root
are made anew unless an edit pinned them. It is written from docs/format.md and imports nothing of
``rescue``: what makes the bad vectors must not share its faults.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MASTER = blake3(b"master key of the vectors").digest()
KINDS = ("segment", "chunk", "index", "map", "manifest", "table", "directory", "plan")
HEADER = {
    "version": ("<H", 8), "size": ("<H", 10), "critical": ("<I", 12), "informative": ("<I", 16),
    "generation": ("<I", 20), "id": ("16s", 24), "part": ("<I", 40), "chunk": ("<I", 44),
    "capacity": ("<Q", 48), "created": ("<Q", 56), "parent": ("16s", 64), "root": ("32s", 80),
    "zero": ("B", 112), "zero-behind-slots": ("B", 2816), "magic": ("8s", 0),
}  # fmt: skip
SLOT = {
    "kind": ("B", 0), "zero": ("B", 1), "memory": ("<I", 4), "passes": ("<I", 8),
    "lanes": ("<I", 12), "salt": ("32s", 16), "public": ("32s", 48), "nonce": ("12s", 80),
    "wrapped": ("48s", 92), "rest": ("B", 140),
}  # fmt: skip
RECORD = {
    "magic": ("4s", 0), "type": ("B", 4), "coding": ("B", 5), "flags": ("<H", 6),
    "stored": ("<I", 8), "content": ("<I", 12), "number": ("<Q", 16), "segment": ("<I", 24),
    "zero": ("<I", 28),
}  # fmt: skip
FOOTER = {
    "magic": ("8s", 0), "version": ("<H", 8), "outcome": ("B", 10), "zero": ("B", 11),
    "id": ("16s", 16), "position": ("<Q", 32), "total": ("<I", 40), "zero-2": ("<I", 44),
    "length": ("<Q", 48), "zero-3": ("<Q", 56), "root": ("32s", 64),
}  # fmt: skip


def put(
    block: bytearray, fields: dict[str, tuple[str, int]], name: str, value: int | bytes
) -> None:
    """Set one field."""
    form, at = fields[name]
    struct.pack_into(form, block, at, value)


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def name_of(content: bytes, *, sealed: bool) -> bytes:
    """What the index calls a content."""
    if not sealed:
        return blake3(content).digest()
    return blake3(content, key=hkdf(MASTER, bytes(32), b"rescue 1 content", 32)).digest()


@dataclass(eq=False)
class Record:
    """One record: its header without stored length and hash, its payload before sealing."""

    head: bytearray
    payload: bytes
    was: int  # position in the base, or -1
    length: int  # of its payload in the base, sealed as it was
    pinned: dict[str, int | bytes] = field(default_factory=dict)
    made: bool = True  # table and directory: made anew
    at: int = 0
    raw: bytes = b""

    @property
    def kind(self) -> str:
        return KINDS[self.head[4] - 1]

    @property
    def content(self) -> bytes:
        if self.head[5] == 0:
            return self.payload
        return zstandard.ZstdDecompressor().decompress(self.payload)

    def set_content(self, content: bytes) -> None:
        """Another content, coded as the record was; lengths follow."""
        self.payload = content
        if self.head[5]:
            self.payload = zstandard.ZstdCompressor(write_checksum=False).compress(content)
        put(self.head, RECORD, "content", len(content))
        self.made = False


class Draft:
    """A whole image in one file, in pieces."""

    def __init__(self, data: bytes) -> None:
        self.headers = [bytearray(data[:4096]), bytearray(data[4096:8192])]
        self.id = data[24:40]
        self.sealed = bool(data[12] & 1)
        self.outcome = data[-118]
        self.footer: dict[str, int | bytes] = {}
        self.keys: dict[int, AESGCM] = {}
        self.records: list[Record] = []
        body, at = data[8192:-128], 0
        while at < len(body):
            head = bytearray(body[at : at + 64])
            (stored,) = struct.unpack_from("<I", head, 8)
            record = Record(head, body[at + 64 : at + 64 + stored], at, stored)
            self._open(record)
            self.records.append(record)
            at += 64 + stored

    def _open(self, record: Record) -> None:
        (number, segment) = struct.unpack_from("<QI", record.head, 16)
        if record.kind == "segment" and self.sealed:
            info = b"rescue 1 segment" + self.id + struct.pack("<I", segment)
            material = hkdf(MASTER, record.content[16:48], info, 64)
            self.keys[segment] = AESGCM(material[:32])
        if record.head[6] & 1:
            nonce = struct.pack("<B3xQ", record.head[4], number)
            record.payload = self.keys[segment].decrypt(
                nonce, record.payload, bytes(record.head[:32]) + self.id
            )

    def find(self, kind: str, number: int) -> Record:
        """The record of a kind, counted from 0 in stream order."""
        return [record for record in self.records if record.kind == kind][number]

    def header_field(self, copies: list[int], name: str, value: int | bytes) -> None:
        for copy in copies:
            put(self.headers[copy], HEADER, name, value)

    def slot_field(self, number: int, name: str, value: int | bytes) -> None:
        for block in self.headers:
            form, at = SLOT[name]
            struct.pack_into(form, block, 256 + 160 * number + at, value)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.find("manifest", 0).content)
        return found

    def set_manifest(self, value: object) -> None:
        self.find("manifest", 0).set_content(json.dumps(value, separators=(",", ":")).encode())

    def entry_field(self, index: int, i: int, name: str, value: int | bytes) -> None:
        """Set a field of entry ``i`` of an index record."""
        record = self.find("index", index)
        content = bytearray(record.content)
        (n,) = struct.unpack_from("<I", content)
        (where,) = struct.unpack_from("<I", content, 4 + 4 * n + 4 * i)
        if isinstance(value, bytes):
            content[4 + 16 * n + 32 * i : 4 + 16 * n + 32 * i + 32] = value
        elif name == "drop":
            lengths = (4, 4, 8, 32)
            ends = [4 + n * sum(lengths[:k]) for k in range(5)]
            columns = [content[a:b] for a, b in pairwise(ends)]
            for column, length in zip(columns, lengths, strict=True):
                del column[i * length : (i + 1) * length]
            content = bytearray(struct.pack("<I", n - 1)) + b"".join(columns)
        elif name == "number":
            struct.pack_into("<I", content, 4 + 4 * i, value)
        elif name == "position":
            struct.pack_into("<Q", content, 4 + 8 * n + 8 * i, value)
        else:
            shift, mask = {"stored": (0, 0x3FFFFF), "kind": (22, 3), "layer": (24, 255)}[name]
            where = where & ~(mask << shift) | value << shift
            struct.pack_into("<I", content, 4 + 4 * n + 4 * i, where)
        record.set_content(bytes(content))

    def _follow(self) -> None:
        """Let the index follow chunk records that moved or changed their length."""
        chunks = {r.was: r for r in self.records if r.kind == "chunk" and r.was >= 0}
        if all(at == r.at and r.length == self._stored(r) for at, r in chunks.items()):
            return
        for record in (r for r in self.records if r.kind == "index" and r.made):
            content = bytearray(record.content)
            (n,) = struct.unpack_from("<I", content)
            for i in range(n):
                (at,) = struct.unpack_from("<Q", content, 4 + 8 * n + 8 * i)
                (where,) = struct.unpack_from("<I", content, 4 + 4 * n + 4 * i)
                if at in chunks and where >> 22 != 3 and where >> 24 == 0:
                    moved = chunks[at]
                    where = where & ~0x3FFFFF | self._stored(moved)
                    struct.pack_into("<Q", content, 4 + 8 * n + 8 * i, moved.at)
                    struct.pack_into("<I", content, 4 + 4 * n + 4 * i, where)
            record.set_content(bytes(content))

    @staticmethod
    def _stored(record: Record) -> int:
        return len(record.payload) + 16 * (record.head[6] & 1)

    def bytes(self) -> bytes:
        """The image put together."""
        at = 0
        for record in self.records:
            record.at = at
            at += 64 + self._stored(record)
        self._follow()
        self._tables()
        items: list[bytes] = []
        at = 0
        for record in self.records:
            if record.kind == "directory" and record.made:
                content = self.id + struct.pack("<I", len(items)) + b"".join(items)
                record.set_content(content)
                record.made = True
            record.at, record.raw = at, self._seal(record)
            if record.kind not in ("chunk", "directory"):
                item = struct.pack("<BxxxIQ", record.raw[4], len(record.raw), at)
                items.append(item + record.raw[32:64])
            at += len(record.raw)
        last = self.records[-1]
        foot = bytearray(128)
        values = {
            "magic": b"RESCUEnd", "version": 1, "outcome": self.outcome, "id": self.id,
            "position": last.at, "total": len(last.raw), "length": at + 128,
            "root": last.raw[32:64], **self.footer,
        }  # fmt: skip
        for name, value in values.items():
            put(foot, FOOTER, name, value)
        foot[96:] = blake3(foot[:96]).digest()
        for block in self.headers:
            block[4064:] = blake3(block[:4064]).digest()
        return b"".join((*self.headers, *(record.raw for record in self.records), foot))

    def _tables(self) -> None:
        tables = [record for record in self.records if record.kind == "table" and record.made]
        for table in tables:
            before = self.records[: self.records.index(table)]
            totals = [64 + self._stored(r) for r in before if r.kind != "table"]
            table.set_content(struct.pack(f"<{len(totals)}I", *totals))
            table.made = True

    def _seal(self, record: Record) -> bytes:
        head = bytearray(record.head)
        sealed = head[6] & 1
        put(head, RECORD, "stored", self._stored(record))
        pinned = dict(record.pinned)
        broken, renumbered = pinned.pop("reseal", 0), pinned.pop("renumber", None)
        for name, value in pinned.items():
            put(head, RECORD, name, value)
        payload = record.payload
        number, segment = struct.unpack_from("<QI", head, 16)
        if sealed:
            nonce = struct.pack("<B3xQ", head[4], number)
            key = self.keys.get(segment) or next(iter(self.keys.values()))
            payload = key.encrypt(nonce, payload, bytes(head[:32]) + self.id)
        if broken:
            payload = payload[:-1] + bytes([payload[-1] ^ 1])
        if renumbered is not None:
            put(head, RECORD, "number", renumbered)
        return bytes(head[:32]) + blake3(head[:32]).update(payload).digest() + payload
