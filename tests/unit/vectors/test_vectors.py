"""Every vector through both readers: ours, and the one that was written from docs/format.md alone.

A good one gives the same disk in both. A bad one is refused by both with the same exit code; where
ours can read on (it does not look at what it does not need), what it reads is right, and a deep
verification tells.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import time
from pathlib import Path

import pytest

from rescue.cli.secrets import given
from rescue.core.errors import ImageDamaged, RescueError
from rescue.core.progress import Silent
from rescue.image.footer import Outcome
from rescue.image.keys import Secret
from rescue.image.reader import Image
from rescue.verify.deep import verify_deep
from rescue.verify.report import Report
from rescue.verify.stored import verify_stored
from tests.vectors import reader
from tests.vectors.draft import Draft
from tests.vectors.library import CODES, GOOD, KEYS, Vector, lay_out, unpack, vectors

ALL = vectors()
OPTIONS = {
    "passphrase": "--passphrase-file",
    "recovery": "--recovery-key-file",
    "recipient": "--key-file",
}
STEP = 1 << 20


def option_of(key: str) -> str:
    return OPTIONS[key.removesuffix("-wrong")]


def secrets_of(key: str) -> list[Secret]:
    """The same file as ``reader.py`` gets, read by our own code."""
    files = {
        option: KEYS / key if option == option_of(key) else None for option in OPTIONS.values()
    }
    return given(
        files["--passphrase-file"], None, files["--recovery-key-file"], files["--key-file"]
    )


def read_ours(path: Path, key: str) -> tuple[int, str]:
    """Exit code and SHA-256 of the disk (empty when refused), by ``Image``."""
    digest = hashlib.sha256()
    try:
        with Image.open(path, secrets=secrets_of(key) if key else []) as image:
            for at in range(0, image.size, STEP):
                digest.update(image.read(at, STEP))
            code = 3 if image.outcome is Outcome.UNREADABLE else 0
    except RescueError as error:
        check_words(error)
        return int(error.exit_code), ""
    return code, digest.hexdigest()


def check_words(error: RescueError) -> None:
    """One line, lower case, no period: something a person can read."""
    message = error.message
    assert message and "\n" not in message and not message.endswith(".")
    assert "Error" not in message and "Traceback" not in message


def verify_code(verify: object, path: Path, secrets: list[Secret]) -> int:
    """Exit code of a verification."""
    try:
        report: Report = verify(path, Silent(), secrets=secrets, threads=1)  # type: ignore[operator]
    except RescueError as error:
        check_words(error)
        return int(error.exit_code)
    if report.damages:
        return 20
    return 3 if report.outcome is Outcome.UNREADABLE else 0


@pytest.mark.parametrize("vector", ALL, ids=[vector.name for vector in ALL])
def test_second_reader(vector: Vector, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = lay_out(vector, tmp_path)
    out = tmp_path / "restored"
    words = [str(first), "--out", str(out)]
    if vector.key:
        words += [option_of(vector.key), str(KEYS / vector.key)]
    code = reader.main(words)
    said = capsys.readouterr()
    assert code == vector.code, said.err
    if vector.content:
        assert said.out == f"{vector.content}\n"
        assert hashlib.sha256(out.read_bytes()).hexdigest() == vector.content
        assert ("warning: one header" in said.err) == bool(vector.verify)
    else:
        assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


@pytest.mark.parametrize("vector", ALL, ids=[vector.name for vector in ALL])
def test_our_reader(vector: Vector, tmp_path: Path) -> None:
    first = lay_out(vector, tmp_path)
    code, content = read_ours(first, vector.key)
    secrets = secrets_of(vector.key) if vector.key else []
    deep = verify_code(verify_deep, first, secrets)
    stored = verify_code(verify_stored, first, [])
    if vector.content:
        assert (code, content) == (vector.code, vector.content)
    elif code in (0, 3):
        original = next(v for v in ALL if v.images == vector.images and v.content and not v.edits)
        assert content == original.content, "wrong bytes were passed off as the disk"
    else:
        assert code == vector.code
    assert deep == vector.verify_code
    if vector.is_raw:
        assert stored == vector.verify_code


def test_a_header_that_asks_for_4_tib_is_refused_at_once(tmp_path: Path) -> None:
    vector = next(v for v in ALL if v.name == "argon2-4-TiB")
    first = lay_out(vector, tmp_path)
    started = time.process_time()
    with pytest.raises(ImageDamaged, match="at most 1048576"):
        Image.open(first, secrets=secrets_of(vector.key))
    assert time.process_time() - started < 0.1


def test_the_second_reader_is_small_and_stands_alone() -> None:
    text = Path(reader.__file__).read_text()
    assert len(text.splitlines()) <= 300
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - sys.stdlib_module_names == {"blake3", "cryptography", "zstandard"}


def test_taken_apart_and_put_together_is_the_same(tmp_path: Path) -> None:
    for path in GOOD.glob("*.rescue.xz"):
        if path.name.startswith("split") or "stopped" in path.name:
            continue
        assert Draft(unpack(path)).bytes() == unpack(path)


def test_there_are_enough() -> None:
    bad = [vector for vector in ALL if not vector.content]
    assert len({vector.name for vector in ALL}) == len(ALL) >= 100
    assert {vector.expect for vector in ALL} == set(CODES), "an expectation that nothing tests"
    assert len(bad) > len(ALL) / 2
