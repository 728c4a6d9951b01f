"""zstd, strictly: one frame a record, declared size equal to the expected size, nothing behind it.

``max_output_size`` does not bound a frame that declares its own size (32,786 bytes became 1 GiB),
so the declared size is compared before anything is decoded.
"""

from __future__ import annotations

import threading

import zstandard

from rescue.core.errors import ImageDamaged
from rescue.image.record import Coding

DEFAULT_LEVEL = 3
# A frame that wants a larger window than this was not written by us: chunks are 1 MiB, the
# manifest 16 MiB at most.
MAX_WINDOW = 16 << 20

CHUNK = 1 << 20
# At level 3 zstd's own tables for 1 MiB (2^17 and 2^16 entries of 4 bytes, matches of 5) fill the
# second-level cache of most processors. A small second one with matches of 4 gives the same number
# of bytes in 1 to 3 % less time (docs/decisions/0005-codec.md).
_TUNED: dict[int, dict[str, int]] = {3: {"hash_log": 17, "chain_log": 13, "min_match": 4}}

_local = threading.local()


def compress(data: bytes | bytearray | memoryview, level: int) -> tuple[Coding, bytes]:
    """Encode with zstd, or keep as it is where that is not smaller."""
    key = f"c{level}"
    context: zstandard.ZstdCompressor | None = getattr(_local, key, None)
    if context is None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            source_size=CHUNK,
            write_checksum=False,
            write_content_size=True,
            write_dict_id=False,
            **_TUNED.get(level, {}),
        )
        context = zstandard.ZstdCompressor(compression_params=parameters)
        setattr(_local, key, context)
    frame = context.compress(data)
    if len(frame) < len(data):
        return Coding.ZSTD, frame
    return Coding.STORED, bytes(data)


def compress_delta(data: bytes | bytearray | memoryview, base: bytes, level: int) -> bytes:
    """Encode with ``base`` as what stands before the data: only what differs costs room.

    Below level 3 zstd does not search far enough back to find the base.
    """
    before = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        max(3, level),
        source_size=len(data),
        dict_size=len(base),
        write_checksum=False,
        write_content_size=True,
        write_dict_id=False,
    )
    frame: bytes = zstandard.ZstdCompressor(
        dict_data=before, compression_params=parameters
    ).compress(data)
    return frame


def decompress_delta(frame: bytes | memoryview, base: bytes, expected: int) -> bytes:
    """Decode what ``compress_delta`` made, to exactly ``expected`` bytes.

    Raises:
        ImageDamaged: it does not decode to that many bytes.
    """
    _check_frame(frame, expected)
    before = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    context = zstandard.ZstdDecompressor(dict_data=before, max_window_size=MAX_WINDOW)
    return _decode(context, frame, expected)


def _check_frame(frame: bytes | memoryview, expected: int) -> None:
    try:
        found = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise ImageDamaged("a record does not decode") from error
    if found.content_size != expected or found.dict_id or found.window_size > MAX_WINDOW:
        raise ImageDamaged("a record declares a size other than it should have")


def _decode(context: zstandard.ZstdDecompressor, frame: bytes | memoryview, expected: int) -> bytes:
    try:
        content: bytes = context.decompress(frame, max_output_size=expected, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ImageDamaged("a record does not decode") from error
    if len(content) != expected:
        raise ImageDamaged("a record decodes to the wrong length")
    return content


def decompress(coding: Coding, payload: bytes | memoryview, expected: int) -> bytes:
    """Decode a payload to exactly ``expected`` bytes.

    Raises:
        ImageDamaged: the payload does not decode to that many bytes.
    """
    if coding is Coding.STORED:
        if len(payload) != expected:
            raise ImageDamaged("a stored record has the wrong length")
        return bytes(payload)
    if coding is not Coding.ZSTD:
        raise ImageDamaged("a record is a difference that never is")
    _check_frame(payload, expected)
    context: zstandard.ZstdDecompressor | None = getattr(_local, "d", None)
    if context is None:
        context = _local.d = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    return _decode(context, payload, expected)
