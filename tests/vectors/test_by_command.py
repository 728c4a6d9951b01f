"""Every vector by the commands a person types: verify, verify --deep, restore.

The exit code that is expected, one error line, never a traceback; and a restore that says success
has written the disk that was captured.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.torture.calling import rescue
from tests.vectors.library import KEYS, Vector, lay_out, vectors

ALL = vectors()
OPTIONS = {
    "passphrase": "--passphrase-file",
    "recovery": "--recovery-key-file",
    "recipient": "--key-file",
}


def original(vector: Vector) -> str:
    """The disk of the good image that a vector was made of."""
    return next(v for v in ALL if v.images == vector.images and v.content and not v.edits).content


@pytest.mark.parametrize("vector", ALL, ids=[vector.name for vector in ALL])
def test_commands(vector: Vector, tmp_path: Path) -> None:
    first = lay_out(vector, tmp_path)
    secret: list[object] = []
    if vector.key:
        secret = [OPTIONS[vector.key.removesuffix("-wrong")], KEYS / vector.key]
    out = tmp_path / "restored"
    restored = rescue("restore", first, out, *secret)
    if vector.content:
        assert restored.status == vector.code
    else:
        assert restored.status in (0, 3, vector.code)
    if restored.status in (0, 3):
        content = vector.content or original(vector)
        assert hashlib.sha256(out.read_bytes()).hexdigest() == content
    assert rescue("verify", "--deep", first, *secret).status == vector.verify_code
    stored = rescue("verify", first)
    if vector.is_raw or vector.content:
        assert stored.status == vector.verify_code
