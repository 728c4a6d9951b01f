"""Images of released formats are read, verified and restored by this version as on day one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rescue.cli.secrets import given
from rescue.core.progress import Silent
from rescue.devices.target import confirm
from rescue.image.keys import Secret
from rescue.image.reader import Image
from rescue.restore import pipeline
from rescue.restore.planning import plan_restore
from rescue.restore.result import Options
from rescue.verify.deep import verify_deep
from rescue.verify.stored import verify_stored
from tests.vectors import reader
from tests.vectors.library import Vector, lay_out, parse

HERE = Path(__file__).parent
FROZEN = HERE / "version-1"
ALL = parse((FROZEN / "expected.txt").read_text())
OPTIONS = {
    "passphrase": "--passphrase-file",
    "recovery": "--recovery-key-file",
    "recipient": "--key-file",
}


def secrets_of(key: str) -> list[Secret]:
    path = HERE / "keys" / key
    return given(
        path if key == "passphrase" else None,
        None,
        path if key == "recovery" else None,
        path if key == "recipient" else None,
    )


def test_the_files_are_the_frozen_ones() -> None:
    listed = dict(
        reversed(line.split()) for line in (FROZEN / "files.sha256").read_text().splitlines()
    )
    there = {path.name: path.read_bytes() for path in FROZEN.glob("*.xz")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in there.items()} == listed
    assert len(listed) > 20


@pytest.mark.parametrize("vector", ALL, ids=[vector.name for vector in ALL])
def test_restores(vector: Vector, tmp_path: Path) -> None:
    first = lay_out(vector, tmp_path, FROZEN)
    secrets = secrets_of(vector.key) if vector.key else []
    out = tmp_path / "restored"
    with Image.open(first, secrets=secrets) as image:
        plan = plan_restore(image, None)
        with confirm(out, erase=None, needed=plan.needed, keep=image.paths) as target:
            result = pipeline.execute(plan, image, target, Silent(), options=Options(threads=1))
    assert result.complete
    assert result.outcome == vector.expect.replace("success", "complete")
    assert hashlib.sha256(out.read_bytes()).hexdigest() == vector.content
    assert verify_deep(first, Silent(), secrets=secrets, threads=1).ok
    assert verify_stored(first, Silent(), threads=1).ok


@pytest.mark.parametrize("vector", ALL, ids=[vector.name for vector in ALL])
def test_second_reader(vector: Vector, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(lay_out(vector, tmp_path, FROZEN))]
    if vector.key:
        words += [OPTIONS[vector.key], str(HERE / "keys" / vector.key)]
    assert reader.main(words) == vector.code
    assert capsys.readouterr().out == f"{vector.content}\n"
