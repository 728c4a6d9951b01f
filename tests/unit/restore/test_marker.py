"""The mark of a half restored disk: read back as written, or not at all."""

from __future__ import annotations

from rescue.restore.marker import MAGIC, SIZE, Marker, is_marked, parse

MARK = Marker("a" * 32, "b" * 64, (1 << 32) - 1, True)


def test_round_trip() -> None:
    sector = MARK.encode()
    assert len(sector) == SIZE and sector[510:] == bytes(2)
    assert parse(sector) == MARK and is_marked(sector)
    assert sector.startswith(MAGIC) and b"HALF RESTORED" in sector


def test_a_damaged_mark_is_a_mark_without_a_message() -> None:
    sector = MARK.encode()
    for at in range(len(MAGIC), SIZE):
        hurt = sector[:at] + bytes([sector[at] ^ 1]) + sector[at + 1 :]
        assert is_marked(hurt) and parse(hurt) is None
    assert parse(b"") is None and parse(bytes(SIZE)) is None and not is_marked(bytes(SIZE))
