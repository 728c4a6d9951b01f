"""A second reader of the image format, written from docs/format.md alone: simple, slow, strict.

    python tests/vectors/reader.py IMAGE [--out FILE] [--look-in DIR]
        [--passphrase-file F | --recovery-key-file F | --key-file F]

Restores the disk to FILE (sparse) and prints its SHA-256, or one ``error:`` line. Exit codes: 0, 3
with unreadable sectors, 2 usage, 10 file trouble, 20 damaged, 21 not supported, 22 incomplete, 23
locked. It has at most 300 lines, so that it can be read at one sitting."""

# fmt: off
import hashlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack, unpack_from

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf import argon2, hkdf
from zstandard import ZstdCompressionDict, ZstdDecompressor, ZstdError, get_frame_parameters

MIB = 1 << 20
SEGMENT, CHUNK, INDEX, MAP, MANIFEST, TABLE, DIRECTORY, PLAN = range(1, 9)
SECRETS = ("--passphrase-file", "--recovery-key-file", "--key-file")  # for slots of kind 1, 2, 3

class RefusedError(Exception):
    """The image is refused: exit code and why."""
def need(condition, why, code=20):
    if not condition:
        raise RefusedError(code, why)
def first_bytes(path):
    with open(path, "rb") as file:
        return file.read(8192)
def derive(secret, salt, info, length=32):
    return hkdf.HKDF(SHA256(), length, salt, info).derive(secret)
def written_key(text, prefix):  # base32 with three check bytes
    words = [word.removeprefix(prefix) for word in text.split() if word.startswith(prefix)]
    digits = str.maketrans("ILOJKMNPQRSTVWXYZ", "110IJKLMNOPQRSTUV")  # to those of int(…, 32)
    raw = int("".join(words).replace("-", "").upper().translate(digits), 32).to_bytes(35, "big")
    need(blake3(b"rescue key" + raw[:32]).digest()[:3] == raw[32:], "the key is mistyped", 2)
    return raw[:32]

class Header:  # of one part: the whole copy with the highest generation
    def __init__(self, path, absent=20):
        raw = first_bytes(path)
        copies = [c for c in (raw[:4096], raw[4096:]) if c[:8] == b"RESCUE\x1a\n"]
        copies = [c for c in copies if blake3(c[:4064]).digest() == c[4064:]]
        need(len(raw) == 8192 and any(raw), f"{path} has no header", absent)
        need(copies, f"both headers of {path} are damaged, or it is no image")
        if len(copies) < 2:
            print(f"warning: one header of {path} is damaged", file=sys.stderr)
        head = max(copies, key=lambda copy: unpack_from("<I", copy, 20))
        (version, size, flags, generation, self.id, self.part, chunk, self.capacity, self.parent,
         self.root) = unpack_from("<HHI4xI16sIIQ8x16s32s", head, 8)  # fmt: skip
        need(version == 1 and not flags & ~7, f"version {version}, flags {flags:#x}", 21)
        self.sealed, self.split, self.incremental = (bool(flags & bit) for bit in (1, 2, 4))
        fixed = (size, chunk, any(head[112:256] + head[2816:4064])) == (4096, MIB, False)
        right = self.capacity >= MIB if self.split else self.capacity + self.part == 0
        need(fixed and generation and right and self.part < 9999, "fields of the header")
        need(any(self.parent + self.root) == self.incremental, "parent fields")
        need(any(head[256:2816]) == (self.sealed and self.part == 0), "key slots")
        self.slots = [head[at : at + 160] for at in range(256, 2816, 160)]
        for slot in self.slots:
            kind, memory, passes, lanes = unpack_from("<BxxxIII", slot)
            need(kind < 4, f"key slot of kind {kind}", 21)
            need(not any(slot[1:4] + slot[140:]) and (kind or not any(slot)), "zeros of a key slot")
            need(kind == 3 or not any(slot[48:80]), "public key of a key slot")
            bounded = 8 * lanes <= memory <= MIB and 1 <= passes <= 16 and 1 <= lanes <= 16
            need(bounded if kind == 1 else not memory + passes + lanes, "cost of a key slot")

    def master(self, options):  # by the secret that was given
        given = [kind for kind in (1, 2, 3) if SECRETS[kind - 1] in options]
        text = Path(options[SECRETS[given[0] - 1]]).read_text("utf-8") if given else ""
        for slot in (slot for slot in self.slots if slot[0] in given):
            memory, passes, lanes, salt, public = unpack_from("<III32s32s", slot, 4)
            if slot[0] == 1:
                key = argon2.Argon2id(salt=salt, length=32, iterations=passes, memory_cost=memory,
                                      lanes=lanes).derive(text.splitlines()[0].encode())
            elif slot[0] == 2:
                key = derive(written_key(text, ""), salt, b"rescue 1 recovery")
            else:
                secret = written_key(text, "RESCUE-SECRET-KEY-")
                own, other = X25519PrivateKey.from_private_bytes(secret), X25519PublicKey
                info = b"rescue 1 recipient" + public + own.public_key().public_bytes_raw()
                key = derive(own.exchange(other.from_public_bytes(public)), salt, info)
            with suppress(InvalidTag):
                return AESGCM(key).decrypt(slot[80:92], slot[92:140], slot[:80])
        raise RefusedError(23, "the image is sealed, and no key that opens it was given")

class Image:  # one of a chain, every record of it checked
    def __init__(self, path, options, master=None):
        self.header, self.files = Header(path), [path]
        need(self.header.part == 0, "this is not the first part of an image", 2)
        self.id, self.capacity = self.header.id, self.header.capacity or 1 << 63
        count = len([*path.parent.glob(f"{path.name}.[0-9][0-9][0-9]*")]) * self.header.split
        self.files += [path.with_name(f"{path.name}.{k:03}") for k in range(2, count + 2)]
        need(all(file.exists() for file in self.files), "a part is missing", 22)
        parts = [self.header, *(Header(file, 22) for file in self.files[1:])]
        own = [(self.id, self.header.capacity, number) for number in range(len(parts))]
        sizes = [file.stat().st_size - 8192 for file in self.files]
        same = [(p.id, p.capacity, p.part) for p in parts] == own
        need(same and max(sizes) <= self.capacity, "a part belongs elsewhere, or is too long")
        last = next((k for k, size in enumerate(sizes) if size < self.capacity), len(sizes) - 1)
        self.length = sum(sizes[: last + 1])
        foot = self.read(max(0, self.length - 128), min(128, self.length))
        hashed = blake3(b"RESCUEnd" + foot[8:96]).digest() == foot[96:]
        need(foot[:8] == b"RESCUEnd" or hashed, "the capture never finished, or parts miss", 22)
        self.outcome, at, total, self.root = unpack_from("<10xB21xQI20x32s", foot)
        fields = (b"RESCUEnd", 1, self.outcome, self.id, at, total, self.length, self.root)
        need(foot[:96] == pack("<8sHB5x16sQI4xQ8x32s", *fields) and hashed, "the footer is damaged")
        right = self.outcome < 2 and at + total == self.length - 128
        need(right and last == len(sizes) - 1, "fields of the footer, or a part behind it")
        self.master = (master or self.header.master(options)) if self.header.sealed else None
        self.key = self.master and derive(self.master, bytes(32), b"rescue 1 content")
        self.keys, self.types, self.index, self.extents = {}, {}, {}, []
        self.contents = {kind: [] for kind in range(1, 9)}
        self.walk(self.length - 128)
        need(list(self.types)[-1] == at and self.hash == self.root, "the root is another")
        [self.read_index(content) for content in self.contents[INDEX]]
        [self.read_map(content) for content in self.contents[MAP]]
        self.read_manifest()

    def read(self, position, length):
        need(position + length <= self.length, "something reaches beyond the end of the stream")
        out = b""
        while len(out) < length:
            number, at = divmod(position + len(out), self.capacity)
            with open(self.files[number], "rb") as file:
                file.seek(8192 + at)
                out += file.read(min(length - len(out), self.capacity - at))
        return out

    def record(self, position):  # its fields and opened payload; its hash is checked
        raw = self.read(position, 64)
        (magic, kind, coding, flags, stored, size, number, segment, zero,
         self.hash) = unpack("<4sBBHIIQII32s", raw)  # fmt: skip
        need(magic == b"RRec" and 1 <= kind <= 8 and not zero, f"no record at {position}")
        limits = (MIB + 64, MIB) if kind == CHUNK else (16 * MIB, 16 * MIB)
        need(stored <= limits[0] and size <= limits[1], f"record at {position} is over a limit")
        payload = self.read(position + 64, stored)
        need(blake3(raw[:32] + payload).digest() == self.hash, f"record at {position} is damaged")
        need(coding < 2 or (coding == 2 and kind == CHUNK and self.header.incremental), "coding")
        sealed = self.header.sealed and kind not in (SEGMENT, TABLE, DIRECTORY)
        need(flags == sealed, f"flags of the record at {position}")
        if sealed:
            need(segment in self.keys, "a record of a segment that is not there")
            nonce, bound = pack("<B3xQ", kind, number), raw[:32] + self.id
            payload = AESGCM(self.keys[segment]).decrypt(nonce, payload, bound)
        return kind, coding, number, segment, size, payload, 64 + stored

    def walk(self, end):  # all records; hold table and directory against them
        position, order, lengths, items, contents = 0, "", bytearray(), b"", self.contents
        while position < end:
            kind, coding, number, segment, size, payload, total = self.record(position)
            order += str(kind)
            need(segment == order.count("1") <= 65536, f"segment of the record at {position}")
            ordinal = len(contents[kind]) if kind in (INDEX, MAP, TABLE) else 0
            need(kind == CHUNK or number == ordinal, f"number of the record at {position}")
            if kind != CHUNK:
                contents[kind].append(decode(coding, payload, size))
            if kind == SEGMENT:
                self.open_segment(contents[SEGMENT][-1], segment)
            item = pack("<BxxxIQ32s", kind, total, position, self.hash)
            items += item if kind not in (CHUNK, DIRECTORY) else b""
            lengths += b"" if "6" in order else pack("<I", total)
            self.types[position], position = kind, position + total
        need(position == end and re.fullmatch("18(2*3|1)*4+56+7", order), "order of the records")
        need(b"".join(contents[TABLE]) == lengths, "the tables do not list the records")
        need(max(map(len, contents[TABLE])) <= 4 * MIB and len(items) <= 48 * 65536, "a long list")
        expected = self.id + pack("<I", len(items) // 48) + items
        need(contents[DIRECTORY] == [expected], "the directory does not list the records")

    def open_segment(self, content, segment):
        need(len(content) == 80, "length of a segment")
        before, salt, commitment = unpack_from("<Q32s32s", content, 8)
        indexed = sum(int.from_bytes(index[:4], "little") for index in self.contents[INDEX])
        need(before == indexed and (self.master or not any(salt)), "count or salt of a segment")
        info = b"rescue 1 segment" + self.id + pack("<I", segment)
        material = derive(self.master, salt, info, 64) if self.master else bytes(64)
        need(material[32:] == commitment, "commitment of a segment", 23 if self.master else 20)
        self.keys[segment] = material[:32]

    def read_index(self, content):
        n = int.from_bytes(content[:4], "little")
        need(1 <= n <= 65536 and len(content) == 4 + 48 * n, "count of an index")
        for i in range(n):
            number, where = (unpack_from("<I", content, 4 + 4 * k)[0] for k in (i, n + i))
            (at,), name = unpack_from("<Q", content, 4 + 8 * (n + i)), 4 + 16 * n + 32 * i
            need(number > next(reversed(self.index), -1), "the index does not ascend")
            stored = where >> 22 & 3 < 3 and 1 <= where & 0x3FFFFF <= MIB + 64
            need(stored or (where, at) == (3 << 22, 0), "an entry of the index")
            self.index[number] = (where, at, content[name : name + 32])
    def read_map(self, content):
        n = int.from_bytes(content[:4], "little")
        need(n <= 524288 and len(content) == 4 + 16 * n, "count of a map")
        columns = unpack_from(f"<{2 * n}Q", content, 4)
        for gap, length in zip(columns[:n], columns[n:], strict=True):
            need(length and (gap or not self.extents), "gap or length of an extent")
            self.extents.append(((sum(self.extents[-1]) if self.extents else 0) + gap, length))

    def read_manifest(self):
        try:
            manifest = json.loads(self.contents[MANIFEST][0].decode("utf-8"))
            ledger, self.chain, chunks = (manifest[key] for key in ("ledger", "chain", "chunks"))
            self.size, captured, free = (ledger[key] for key in ("size", "captured", "free"))
            failed = [(e["start"], e["length"]) for e in ledger["failed"]]
            skipped = [(e["start"], e["length"]) for e in ledger["skipped"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RefusedError(20, "the manifest is not what it must be") from None
        numbers = (self.size, captured, free, *sum(failed + skipped, ()))
        need(all(type(n) is int and 0 <= n <= 1 << 52 for n in numbers) and self.size, "a number")
        inside = all(n and at + n <= self.size for at, n in failed + skipped + self.extents)
        mapped, lost, left = (sum(n for _, n in e) for e in (self.extents, failed, skipped))
        need(inside and captured + free + lost + left == self.size, "balance of the ledger")
        need(mapped == captured + lost, "the map and the ledger differ")
        need(bool(failed) == bool(self.outcome), "outcome of the footer")
        named = {at for where, at, _ in self.index.values() if where >> 24 == 0}
        need(named >= {at for at in self.types if self.types[at] == CHUNK}, "a chunk without entry")
        held = {k for at, n in self.extents for k in range(at // MIB, -(-(at + n) // MIB))}
        need(held == self.index.keys() and chunks == len(held), "the index and the map differ")

def decode(coding, payload, size, base=None):  # to exactly so many bytes
    if coding == 0:
        need(len(payload) == size, "length of stored content")
        return payload
    frame = get_frame_parameters(payload)
    need(frame.content_size == size and not frame.dict_id, "what a zstd frame declares")
    need(frame.window_size <= 16 * MIB, "window of a zstd frame")
    decoder = ZstdDecompressor(base and ZstdCompressionDict(base, dict_type=1)).decompressobj()
    content = decoder.decompress(payload)
    need(decoder.eof and not decoder.unused_data and len(content) == size, "end of a zstd frame")
    return content

def chunk_content(chain, layer, entry, size):  # by an entry of the index; its name is checked
    where, position, name = entry
    coding, layer, content, base = where >> 22 & 3, layer + (where >> 24), bytes(size), None
    if coding != 3:
        need(layer < len(chain), "a layer that is not in the chain")
        need(chain[layer].types.get(position) == CHUNK, "no chunk where the index says")
        _, actual, _, _, length, payload, total = chain[layer].record(position)
        same = (actual, length, total) == (coding, size, 64 + (where & 0x3FFFFF))
        need(same and len(payload) > 48 * (coding == 2), "a chunk is not as the index says")
        if coding == 2:
            where, zero, *below = unpack_from("<IIQ32s", payload)
            need(where >> 22 & 3 < 2 and where >> 24 and not zero, "base of a difference")
            base, payload = chunk_content(chain, layer, (where, *below), size), payload[48:]
        content = decode(min(coding, 1), payload, size, base)
    need(blake3(content, key=chain[0].key).digest() == name, "a chunk is not what was captured")
    return content

def open_chain(path, options):
    chain = [Image(path, options)]
    while chain[-1].header.incremental:
        child = chain[-1].header
        need(len(chain) < 256, "a chain of more than 256 images")
        folders = {path.parent, Path(options.get("--look-in", path.parent))}
        files = [file for folder in folders for file in folder.iterdir() if file.is_file()]
        heads, mark = {file: first_bytes(file) for file in files}, child.parent + bytes(4)
        same = [file for file, raw in heads.items() if mark in (raw[24:44], raw[4120:4140])]
        need(same, f"the parent {child.parent.hex()} is missing", 22)
        found = [i for f in same if (i := Image(f, options, chain[0].master)).root == child.root]
        need(found, f"the parent {child.parent.hex()} has another root")
        chain.append(found[0])
    same = len({(image.size, image.master) for image in chain}) == 1
    need(same and [i.id.hex() for i in chain[1:]] == chain[0].chain, "size, key or ids of a chain")
    return chain

def main(words):
    options = dict(zip(words[1::2], words[2::2], strict=False))
    try:
        need(len(words) % 2 and options.keys() <= {"--out", "--look-in", *SECRETS}, "usage", 2)
        chain, digest = open_chain(Path(words[0]), options), hashlib.sha256()
        index, disk = chain[0].index, chain[0].size
        with open(options.get("--out", "/dev/null"), "wb") as out:
            for number in range(-(-disk // MIB)):
                size, entry = min(MIB, disk - number * MIB), index.get(number)
                content = chunk_content(chain, 0, entry, size) if entry else bytes(size)
                digest.update(content)
                out.seek(number * MIB)
                out.write(content if any(content) else b"")
            if "--out" in options:
                out.truncate(disk)
        print(digest.hexdigest())
        return 3 if chain[0].outcome else 0
    except RefusedError as error:
        code, why = error.args
    except OSError as error:
        code, why = 10, f"{error.strerror}: {error.filename}"
    except (InvalidTag, ZstdError, ValueError):  # ValueError: a shared secret of zeros
        code, why = 20, "a seal or a zstd frame is broken"
    print(f"error: {why}", file=sys.stderr)
    return code

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
