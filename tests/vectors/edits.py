"""The edits that turn a good vector into a bad one; vectors.txt is written in them.

Values are numbers, ``0x`` numbers, or ``hex:...`` bytes (``hex:00*32`` repeats). Records are named
by kind and counted from 0 in stream order. First come the edits of structures, after which every
length, seal, hash, table, directory and root is made right again:

    header FIELD VALUE          in both copies       header-copy 1|2 FIELD VALUE   in one
    slot N FIELD VALUE          of a key slot        footer FIELD VALUE
    record KIND N FIELD VALUE   of a record's header; "reseal 1" breaks the seal and "renumber N"
                                renumbers, both behind sealing and before hashing
    content KIND N AT BYTES     bytes in a content   u32|u64 KIND N AT VALUE       numbers there
    cut KIND N COUNT            shorten a content    grow KIND N BYTES             lengthen it
    payload KIND N BYTES        replace what is stored of it (before it is sealed)
    cut-payload KIND N KEEP     keep its first bytes
    base KIND N FIELD VALUE     of a difference: kind, stored, layer, zero, position, name
    frame KIND N window|size|dictionary|two|checksum   another zstd frame
    drop KIND N    twice KIND N    before KIND N KIND M
    entry N FIELD VALUE         of the first index record; "drop 0" takes the entry out
    json PATH VALUE             of the manifest      json-drop PATH
    json-text TEXT              instead of it

then the edits of files, which leave everything else as it is:

    flip header|footer|KIND N AT   one bit (AT is in bits)      end COUNT    cut off the end
    keep COUNT                     keep the first bytes         add BYTES    append
    remove NAME    rename A B    copy A B    empty NAME    take VECTOR A B
    on NAME        what follows is about this file
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import zstandard

from tests.vectors.draft import RECORD, Draft, Record, put

RAW = {"flip", "end", "keep", "add", "remove", "rename", "copy", "empty", "take", "on", "zero"}


def value_of(text: str) -> int | bytes:
    if not text.startswith("hex:"):
        return int(text, 0)
    digits, _, times = text.removeprefix("hex:").partition("*")
    return bytes.fromhex(digits) * int(times or 1)


def data_of(text: str) -> bytes:
    value = value_of(text)
    assert isinstance(value, bytes)
    return value


def apply(folder: Path, first: str, edits: list[str], library: Path) -> None:
    """Apply edits to the image in ``folder`` whose first file is ``first``."""
    name, draft = first, None
    for edit in edits:
        verb, *words = edit.split()
        if verb not in RAW:
            draft = draft or Draft((folder / name).read_bytes())
            structure(draft, verb, words)
            continue
        if draft is not None:
            (folder / name).write_bytes(draft.bytes())
            draft = None
        if verb == "on":
            name = words[0]
        else:
            files(folder, name, verb, words, library)
    if draft is not None:
        (folder / name).write_bytes(draft.bytes())


def structure(draft: Draft, verb: str, words: list[str]) -> None:
    """One edit of a structure."""
    if verb == "header":
        value = draft.id if words[1] == "own-id" else value_of(words[1])
        draft.header_field([0, 1], words[0], value)
    elif verb == "header-copy":
        draft.header_field([int(words[0]) - 1], words[1], value_of(words[2]))
    elif verb == "slot":
        draft.slot_field(int(words[0]), words[1], value_of(words[2]))
    elif verb == "footer":
        draft.footer[words[0]] = value_of(words[1])
    elif verb == "entry":
        draft.entry_field(0, int(words[0]), words[1], value_of(words[2]))
    elif verb == "json-text":
        draft.find("manifest", 0).set_content(" ".join(words).encode())
    elif verb in ("json", "json-drop"):
        edit_json(draft, verb, words)
    else:
        edit_record(draft, draft.find(words[0], int(words[1])), verb, words[2:])


def edit_json(draft: Draft, verb: str, words: list[str]) -> None:
    whole = draft.manifest()
    *path, last = words[0].split(".")
    place = whole
    for step in path:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if verb == "json-drop":
        del place[last]
    else:
        place[last] = json.loads(" ".join(words[1:]))
    draft.set_manifest(whole)


def edit_record(draft: Draft, record: Record, verb: str, words: list[str]) -> None:
    place = draft.records.index(record)
    if verb == "record":
        record.pinned[words[0]] = value_of(words[1])
        if words[0] == "flags":  # decides whether it is sealed
            put(record.head, RECORD, "flags", value_of(words[1]))
    elif verb in ("content", "u32", "u64"):
        at, value = int(words[0]), value_of(words[1])
        data = value if isinstance(value, bytes) else value.to_bytes(int(verb[1:]) // 8, "little")
        content = made(draft, record)
        record.set_content(content[:at] + data + content[at + len(data) :])
    elif verb == "cut":
        record.set_content(made(draft, record)[: -int(words[0])])
    elif verb == "grow":
        record.set_content(made(draft, record) + data_of(words[0]))
    elif verb == "payload":
        record.payload, record.made = data_of(words[0]), False
    elif verb == "cut-payload":
        record.payload = record.payload[: int(words[0])]
    elif verb == "base":
        record.payload = base(record.payload, words[0], value_of(words[1]))
    elif verb == "frame":
        record.payload, record.made = frame(record, words[0]), False
    elif verb == "drop":
        draft.records.remove(record)
    elif verb == "twice":
        again = Record(bytearray(record.head), record.payload, -1, 0)
        draft.records.insert(place + 1, again)
    elif verb == "before":
        draft.records.remove(record)
        draft.records.insert(draft.records.index(draft.find(words[0], int(words[1]))), record)
    else:
        raise AssertionError(f"no such edit: {verb}")


def base(payload: bytes, name: str, value: int | bytes) -> bytes:
    """A difference whose reference to its base has another value."""
    where, zero, position, digest = struct.unpack_from("<IIQ32s", payload)
    if isinstance(value, bytes):
        digest = value
    elif name == "zero":
        zero = value
    elif name == "position":
        position = value
    else:
        shift, mask = {"stored": (0, 0x3FFFFF), "kind": (22, 3), "layer": (24, 255)}[name]
        where = where & ~(mask << shift) | value << shift
    return struct.pack("<IIQ32s", where, zero, position, digest) + payload[48:]


def made(draft: Draft, record: Record) -> bytes:
    """The content of a record; of table and directory as they stand after the edits so far."""
    if record.kind in ("table", "directory") and record.made:
        draft.bytes()
    return record.content


def frame(record: Record, how: str) -> bytes:
    """Another zstd frame of the same content, or of one that is not."""
    content = record.content
    plain = zstandard.ZstdCompressor(write_checksum=False).compress(content)
    if how == "two":
        return plain + plain
    if how == "trailing":
        return plain + b"\0"
    if how == "skippable":
        return plain + struct.pack("<II", 0x184D2A50, 4) + b"skip"
    if how == "checksum":
        return zstandard.ZstdCompressor(write_checksum=True).compress(content)
    if how == "undeclared":
        return zstandard.ZstdCompressor(write_content_size=False).compress(content)
    if how == "larger":  # a bomb: declares and holds 64 MiB
        return zstandard.ZstdCompressor().compress(bytes(64 << 20))
    if how == "window":
        parameters = zstandard.ZstdCompressionParameters(window_log=25, write_content_size=False)
        coder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return coder.compress(content) + coder.flush()
    if how == "dictionary":
        samples = [content[at : at + 64] + bytes([at % 251]) * 8 for at in range(0, 6400, 64)]
        trained = zstandard.train_dictionary(1024, samples)
        return zstandard.ZstdCompressor(dict_data=trained).compress(content)
    if how == "short":
        return plain[:-3]
    if how == "lies":  # declares one byte less than it holds
        at = 5 if plain[4] & 0x20 else 6
        return plain[:at] + bytes([plain[at] - 1 & 255]) + plain[at + 1 :]
    raise AssertionError(f"no such frame: {how}")


def files(folder: Path, name: str, verb: str, words: list[str], library: Path) -> None:
    """One edit of files."""
    path = folder / name
    data = bytearray(path.read_bytes()) if path.exists() else bytearray()
    if verb == "flip":
        start = {"header": 0, "header-2": 4096, "footer": len(data) - 128}.get(words[0])
        if start is None:
            record = Draft(bytes(data)).find(words[0], int(words[1]))
            start = 8192 + record.was
        bit = int(words[-1])
        data[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
    elif verb == "zero":
        data[int(words[0]) : int(words[1])] = bytes(int(words[1]) - int(words[0]))
        path.write_bytes(data)
    elif verb == "end":
        path.write_bytes(data[: -int(words[0])])
    elif verb == "keep":
        path.write_bytes(data[: int(words[0])])
    elif verb == "add":
        path.write_bytes(data + data_of(words[0]))
    elif verb == "remove":
        (folder / words[0]).unlink()
    elif verb == "rename":
        (folder / words[0]).rename(folder / words[1])
    elif verb == "copy":
        (folder / words[1]).write_bytes((folder / words[0]).read_bytes())
    elif verb == "empty":
        (folder / words[0]).write_bytes(b"")
    elif verb == "take":
        from tests.vectors.library import unpack

        (folder / words[1]).write_bytes(unpack(library / f"{words[0]}.xz"))
