"""Chunks are decoded once while in use, ahead of readers in sequence; failures are no data."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from rescue.core.errors import ImageDamaged
from rescue.core.extent import Extent, ExtentMap
from rescue.image.header import CHUNK_SIZE
from rescue.view.store import CACHED, ImageStore

CHUNKS = 200


@dataclass
class FakeImage:
    """What a store needs of an image; counts what is decoded."""

    failed: tuple[Extent, ...] = ()
    missing: frozenset[int] = frozenset()
    damaged: frozenset[int] = frozenset()
    slow: float = 0.0
    decoded: list[int] = field(default_factory=list)
    size: int = CHUNKS * CHUNK_SIZE - 1000

    def __post_init__(self) -> None:
        self.manifest = SimpleNamespace(grid=CHUNKS, ledger=SimpleNamespace(failed=self.failed))
        self.index = SimpleNamespace(find=lambda n: None if n in self.missing else n)
        self.captured = ExtentMap.single(0, self.size)

    def chunk(self, number: int) -> bytes:
        self.decoded.append(number)
        time.sleep(self.slow)
        if number in self.damaged:
            raise ImageDamaged(f"chunk {number} does not decode")
        return bytes([number % 251]) * min(CHUNK_SIZE, self.size - number * CHUNK_SIZE)


def store_of(image: FakeImage, **more: Any) -> ImageStore:
    return ImageStore(image, threads=2, **more)  # type: ignore[arg-type]


def read(store: ImageStore, offset: int, length: int) -> bytes:
    return b"".join(store.read(offset, length))


def test_small_reads_decode_a_chunk_once() -> None:
    image = FakeImage()
    store = store_of(image)
    for at in (0, 4096, 500_000, 8192, 1_000_000, 4096):
        assert read(store, 50 * CHUNK_SIZE + at, 4096) == bytes([50]) * 4096
    assert image.decoded == [50]


def test_reads_across_chunks_and_at_the_end() -> None:
    image = FakeImage(missing=frozenset({8}))
    store = store_of(image)
    start = 7 * CHUNK_SIZE - 10
    wanted = bytes([6]) * 10 + bytes([7]) * CHUNK_SIZE + bytes(10)
    assert read(store, start, CHUNK_SIZE + 20) == wanted
    assert read(store, image.size - 5, 100) == bytes([(CHUNKS - 1) % 251]) * 5
    assert read(store, image.size, 100) == b""


def test_a_reader_in_sequence_finds_chunks_decoded_ahead() -> None:
    image = FakeImage()
    store = store_of(image)
    for number in range(40):
        for at in range(0, CHUNK_SIZE, CHUNK_SIZE // 8):
            read(store, number * CHUNK_SIZE + at, CHUNK_SIZE // 8)
    end = time.monotonic() + 5
    while len(image.decoded) < 52 and time.monotonic() < end:
        time.sleep(0.01)
    store.close()
    assert sorted(image.decoded) == list(range(52))  # each once, twelve ahead with two threads


def test_a_neighbour_by_chance_costs_two_chunks_and_not_a_dozen() -> None:
    image = FakeImage()
    store = store_of(image)
    for number in (30, 70, 71, 20):
        read(store, number * CHUNK_SIZE + 100, 4096)
    store.close()
    assert {20, 30, 70, 71} <= set(image.decoded) <= {20, 30, 70, 71, 72, 73}


def test_many_processors_do_not_push_each_other_out_of_the_cache() -> None:
    image = FakeImage()
    store = ImageStore(image, threads=64)  # type: ignore[arg-type]
    for number in range(CHUNKS):
        read(store, number * CHUNK_SIZE, CHUNK_SIZE)
    store.close()
    assert sorted(image.decoded) == list(range(CHUNKS))  # each once


def test_memory_is_bounded() -> None:
    store = store_of(FakeImage())
    for number in range(CHUNKS):
        read(store, number * CHUNK_SIZE, 1)
    store.close()
    assert len(store._ready) <= CACHED


def test_many_readers_of_one_chunk_wait_for_one_decoder() -> None:
    image = FakeImage(slow=0.1)
    store = store_of(image)
    threads = [threading.Thread(target=read, args=(store, 9 * CHUNK_SIZE, 10)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert image.decoded == [9]


def test_a_damaged_chunk_is_an_error_and_tried_again() -> None:
    heard: list[str] = []
    image = FakeImage(damaged=frozenset({3}))
    store = store_of(image, on_error=heard.append)
    for _ in range(2):
        with pytest.raises(OSError, match="chunk 3"):
            store.read(3 * CHUNK_SIZE, 10)
    assert heard == ["chunk 3 does not decode"] * 2
    assert read(store, 4 * CHUNK_SIZE, 1) == b"\x04"


def test_unreadable_sectors_are_no_data() -> None:
    image = FakeImage(failed=(Extent(CHUNK_SIZE + 512, 1024),))
    strict, lenient = store_of(image), store_of(image, strict=False)
    for offset, length in ((CHUNK_SIZE, 4096), (CHUNK_SIZE + 1535, 1), (0, 3 * CHUNK_SIZE)):
        with pytest.raises(OSError, match="could not be read"):
            strict.read(offset, length)
        assert len(read(lenient, offset, length)) == length
    assert len(read(strict, CHUNK_SIZE, 512)) == 512
    assert len(read(strict, CHUNK_SIZE + 1536, 512)) == 512
