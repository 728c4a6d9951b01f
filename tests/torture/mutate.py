"""Ways to spoil bytes, values and whole images; the same seed always spoils the same way."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from blake3 import blake3

from rescue.image import codec, record
from rescue.image.container import Container
from rescue.image.footer import Footer, Item, encode_directory
from rescue.image.header import BODY_START
from rescue.image.record import HEADER_SIZE, Coding, Type

_NUMBERS = (
    *(0, 1, 2, 3, 7, 127, 255, 256, 4095, 65535, 1 << 20, (1 << 20) + 65, 1 << 24, (1 << 31) - 1),
    *(1 << 31, (1 << 32) - 1, 1 << 40, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
_TEXTS = ("", "x", "../..", "\0", "\ud800", "名前", "a" * 5000, "gpt", "msdos", "none")
_ODD: tuple[Any, ...] = (-1, -(1 << 63), 1.5, 1e300, True, False, None, 1 << 200)
_NESTED: tuple[Any, ...] = ([], {}, [[]], [None], {"start": 0}, [1, 2, 3])
_VALUES: tuple[Any, ...] = (*_NUMBERS, *_TEXTS, *_ODD, *_NESTED)


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to four changes: bits, bytes, numbers, holes, repeats, ends."""
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not spoiled:
            spoiled += rng.randbytes(rng.randrange(64))
            continue
        at = rng.randrange(len(spoiled))
        match rng.randrange(8):
            case 0:
                spoiled[at] ^= 1 << rng.randrange(8)
            case 1:
                spoiled[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2 | 3:
                form = rng.choice(("<H", "<I", "<Q", "<I"))
                size = struct.calcsize(form)
                at -= at % size
                if at + size <= len(spoiled):
                    limit = 1 << (8 * size)
                    struct.pack_into(form, spoiled, at, rng.choice(_NUMBERS) % limit)
            case 4:
                del spoiled[at:]
            case 5:
                del spoiled[at : at + rng.choice((1, 4, 8, 48, 512))]
            case 6:
                piece = bytes(spoiled[at : at + rng.choice((1, 4, 8, 48, 512))])
                spoiled[at:at] = piece * rng.choice((1, 1, 2, 50))
            case 7:
                end = min(len(spoiled), at + rng.choice((1, 4, 64, 4096)))
                spoiled[at:end] = rng.randbytes(end - at)
    return bytes(spoiled)


def spoil_same_size(rng: random.Random, data: bytes) -> bytes:
    """Changed bytes, none more or fewer."""
    spoiled = spoil_bytes(rng, data)[: len(data)]
    return spoiled + data[len(spoiled) :]


def spoil_json(rng: random.Random, data: bytes) -> bytes:
    """A JSON text with a value replaced, removed, doubled or made deep; sometimes spoiled bytes."""
    match rng.randrange(12):
        case 0:
            return spoil_bytes(rng, data)
        case 1:
            deep = rng.choice((50, 1000, 100_000))
            return b"[" * deep + b"]" * deep
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _spoil_value(rng, value)
    return json.dumps(value, ensure_ascii=True).encode()


def _spoil_value(rng: random.Random, value: Any) -> None:
    """Walk down to a random member and spoil it there."""
    while isinstance(value, dict | list) and value:
        key: Any = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        below = value[key]
        if isinstance(below, dict | list) and below and rng.random() < 0.75:
            value = below
            continue
        match rng.randrange(6):
            case 0:
                del value[key]
            case 1 if isinstance(value, list):
                value.extend(deepcopy(below) for _ in range(rng.choice((1, 2, 300))))
            case 2 if isinstance(below, int):
                value[key] = below + rng.choice((-1, 1, 512, -512, 1 << 20))
            case _:
                # A copy: what is spoiled next must not be the list that all cases choose from.
                value[key] = deepcopy(rng.choice(_VALUES))
        return


def forge(
    rng: random.Random, image: Path, target: Path, kind: Type, spoil: Callable[[bytes], bytes]
) -> None:
    """Write a copy of a (not split, not sealed) image with one record's content spoiled.

    Every hash and length is made to fit again, as somebody would who means harm: what is spoiled is
    found only by looking at what it says.
    """
    container = Container(image)
    try:
        first = container.items[0].position
        stream = container.parts.pread(0, container.parts.length)
        items: list[Item] = []
        totals = bytearray()
        out = bytearray()
        chosen = rng.choice(
            [i for i, item in enumerate(container.items) if item.type is kind] or [-1]
        )
        at = first
        for i, item in enumerate(container.items):
            if item.type is Type.TABLE:
                continue
            between = stream[at : item.position]  # chunks
            for total in _lengths(between):
                totals += struct.pack("<I", total)
            out += between
            at = item.position + item.total
            out_record = stream[item.position : at]
            if i == chosen:
                out_record = _record(item.type, spoil(container.content(item)), out_record[16:28])
            items.append(Item(item.type, len(out_record), len(out), out_record[32:64]))
            totals += struct.pack("<I", len(out_record))
            out += out_record
        table = bytes(totals) if kind is not Type.TABLE else spoil(bytes(totals))
        number = struct.pack("<QI", 0, 1)
        out_record = _record(Type.TABLE, table, number)
        items.append(Item(Type.TABLE, len(out_record), len(out), out_record[32:64]))
        out += out_record
        listing = encode_directory(container.footer.image_id, items)
        listing = spoil(listing) if kind is Type.DIRECTORY else listing
        directory = _record(Type.DIRECTORY, listing, number)
        footer = Footer(
            container.footer.image_id, container.footer.outcome, len(out), len(directory),
            len(out) + len(directory) + 128, directory[32:64],
        )  # fmt: skip
        head = image.read_bytes()[:BODY_START]
        target.write_bytes(head + bytes(out) + directory + footer.to_bytes())
    finally:
        container.close()


def _lengths(records: bytes) -> list[int]:
    found: list[int] = []
    at = 0
    while at < len(records):
        found.append(record.parse(records[at : at + HEADER_SIZE]).total)
        at += found[-1]
    return found


def _record(kind: Type, content: bytes, numbers: bytes) -> bytes:
    """A record with right hash and lengths; ``numbers`` are its number and segment as stored."""
    number, segment = struct.unpack("<QI", numbers)
    coding, payload = codec.compress(content, 1)
    head, payload = record.build(kind, Coding(coding), len(content), number, segment, payload)
    return head + payload


def rehash(block: bytes) -> bytes:
    """A block whose last 32 bytes are made the hash of those before."""
    return block[:-32] + blake3(block[:-32]).digest()
