"""A passphrase is nowhere but where it was typed: no argument, environment, log, report or image.

And the keys of an image: added, removed, refused.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from blake3 import blake3

from rescue.image import slots
from rescue.image.header import HEADER_SIZE, SLOTS_AT
from rescue.image.slots import Cost
from tests.torture.calling import ROOT, Called, digest, make_disk, must

RESCUE = Path(sys.executable).parent / "rescue"
CANARY = "canary-Zq7vX2-pässword"
CHEAP = Cost(8 * 4, 1, 4)
# A bug in the middle of a capture, with the secrets of the process in its frames.
BUGGY = """
import sys
from rescue.cli import main
from rescue.capture import encode

def broken(*_words, **_more):
    raise RuntimeError("made by a test")

encode.Encoder.batch = broken
sys.argv[0] = "rescue"
main.main()
"""


def traces(text: str) -> list[bytes]:
    """What a secret looks like in bytes: as it is, and in the usual disguises."""
    raw = text.encode()
    encoded = [
        raw,
        text.encode("utf-16-le"),
        raw.hex().encode(),
        repr(raw).encode()[2:-1],
        json.dumps(text).encode()[1:-1],
        base64.b64encode(raw)[: len(raw) // 3 * 4],
    ]
    return [*encoded, raw[: len(raw) // 2], raw[::-1]]


def must_be_clean(data: bytes, where: object, *secrets: str) -> None:
    for secret in secrets or (CANARY,):
        for trace in traces(secret):
            assert trace not in data, f"a secret is in {where}"


@contextmanager
def watching() -> Iterator[list[int]]:
    """Looks at the arguments and environment of every process, again and again."""
    looked = [0]
    found: list[str] = []
    stop = threading.Event()
    ours = {str(os.getpid()), str(os.getppid())}

    def look() -> None:
        while not stop.is_set():
            for process in Path("/proc").iterdir():
                if not process.name.isdigit() or process.name in ours:
                    continue
                for name in ("cmdline", "environ"):
                    try:
                        data = (process / name).read_bytes()
                    except OSError:
                        continue
                    looked[0] += b"rescue" in data
                    if any(trace in data for trace in traces(CANARY)):
                        found.append(f"{process / name}")
            time.sleep(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looked
    finally:
        stop.set()
        thread.join()
    assert not found, found
    assert looked[0], "no process of the command was seen at all"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    make_disk(path, 24, 41)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret" / "passphrase"
    path.parent.mkdir()
    path.write_text(CANARY + "\n")
    return path


def call(*words: object, status: int = 0, fds: tuple[int, ...] = (), tmp: Path) -> Called:
    """The command in a process of its own; what it says must be clean."""
    done = subprocess.run(
        [RESCUE, *map(str, words)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        pass_fds=fds,
        env={**os.environ, "TMPDIR": str(tmp)},
    )
    must_be_clean(done.stdout, "stdout")
    must_be_clean(done.stderr, "stderr")
    assert done.returncode == status, done.stderr.decode()
    return Called(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_by_file_and_descriptor(disk: Path, secret: Path, tmp_path: Path) -> None:
    image, work = tmp_path / "x.rescue", tmp_path / "work"
    work.mkdir()
    with watching():
        words = ("capture", "--all-sectors", "--json", "--passphrase-file", secret, disk, image)
        made = call(*words, tmp=work)
        assert json.loads(made.out)["exit"] == 0
        reading, writing = os.pipe()
        os.write(writing, CANARY.encode())
        os.close(writing)
        shown = call("show", "--json", image, "--passphrase-fd", reading, fds=(reading,), tmp=work)
        os.close(reading)
        assert json.loads(shown.out)["manifest"]["disk"]["size"] == disk.stat().st_size
        call("restore", image, tmp_path / "back.raw", "--passphrase-file", secret, tmp=work)
    assert digest(tmp_path / "back.raw") == digest(disk)
    must_be_clean(image.read_bytes(), image)
    assert not list(work.iterdir()), "something was left in the folder for temporary files"

    wrong = tmp_path / "wrong"
    wrong.write_text(CANARY[:-1] + "!\n")
    called = call("show", image, "--passphrase-file", wrong, status=23, tmp=work)
    assert "no key slot" in called.err
    call("restore", image, tmp_path / "n", status=23, tmp=work)
    assert not (tmp_path / "n").exists()
    # Without a key the stored bytes are verified all the same.
    assert "yes" in call("verify", image, tmp=work).out


def test_at_the_terminal(disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "x.rescue"
    log = (tmp_path / "terminal.log").open("wb")
    with watching(), log:
        words = ["capture", "--all-sectors", "--encrypt", str(disk), str(image)]
        child = pexpect.spawn(str(RESCUE), words, timeout=120, logfile=None)
        child.logfile_read = log
        for question in ("passphrase: ", "once more: "):
            child.expect_exact(question)
            child.sendline(CANARY.encode())
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        child = pexpect.spawn(str(RESCUE), ["verify", "--deep", str(image)], timeout=120)
        child.logfile_read = log
        child.expect_exact("passphrase: ")
        child.sendline(CANARY.encode())
        child.expect_exact("safe to rely on: yes")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    must_be_clean((tmp_path / "terminal.log").read_bytes(), "what the terminal showed")
    must_be_clean(image.read_bytes(), image)


def test_two_different_answers(disk: Path, tmp_path: Path) -> None:
    words = ["capture", "--all-sectors", "--encrypt", str(disk), str(tmp_path / "x.rescue")]
    child = pexpect.spawn(str(RESCUE), words, timeout=120)
    child.expect_exact("passphrase: ")
    child.sendline(b"one")
    child.expect_exact("once more: ")
    child.sendline(b"other")
    child.expect_exact("the two passphrases differ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert not (tmp_path / "x.rescue").exists()


def test_in_a_report_of_a_bug(disk: Path, secret: Path, tmp_path: Path) -> None:
    work, image = tmp_path / "work", tmp_path / "x.rescue"
    work.mkdir()
    with watching():
        done = subprocess.run(
            [sys.executable, "-c", BUGGY, "capture", "--all-sectors", "--passphrase-file",
             str(secret), str(disk), str(image)],
            capture_output=True, cwd=ROOT, env={**os.environ, "TMPDIR": str(work)},
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    [report] = work.iterdir()
    data = report.read_bytes()
    assert b"made by a test" in data and b"Traceback" in data
    assert report.stat().st_mode & 0o777 == 0o600
    for where, content in (("report", data), ("stderr", done.stderr), ("stdout", done.stdout)):
        must_be_clean(content, where)
    must_be_clean(image.read_bytes(), image)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that cost nothing: what Argon2id costs by default, others test."""
    real = slots.for_passphrase
    monkeypatch.setattr(slots, "for_passphrase", lambda text, master: real(text, master, CHEAP))


@pytest.mark.usefixtures("cheap")
def test_keys_of_an_image(disk: Path, secret: Path, tmp_path: Path) -> None:
    image, key, new = tmp_path / "x.rescue", tmp_path / "my.key", tmp_path / "new"
    public = must(0, "key", "new", key).out.strip()
    assert key.stat().st_mode & 0o777 == 0o600
    must(2, "key", "new", key)  # never over another one
    must(0, "capture", "--all-sectors", "--recipient", public, disk, image)
    body = image.read_bytes()[2 * HEADER_SIZE :]
    by_key = ("--key-file", key)
    by_passphrase = ("--passphrase-file", secret)
    must(23, "show", image, *by_passphrase)
    must(23, "key", "add", image, "--new-passphrase-file", secret)
    must(2, "key", "remove", image, 1, *by_key)  # the only one
    must(0, "key", "add", image, "--new-passphrase-file", secret, *by_key)
    called = must(0, "key", "add", image, "--new-recovery-key", *by_passphrase)
    words = next(line for line in called.err.splitlines() if line.count("-") == 13).strip()
    new.write_text(words.lower().replace("-", " ") + "\n")
    listed = json.loads(must(0, "key", "list", "--json", image).out)["keys"]
    assert [one["kind"] for one in listed] == [
        "recipient (private key)", "passphrase", "recovery key",
    ]  # fmt: skip
    must(2, "key", "remove", image, 9, *by_key)
    must(0, "key", "remove", image, 1, "--recovery-key-file", new)
    must(23, "show", image, *by_key)
    for opening in (by_passphrase, ("--recovery-key-file", new)):
        must(0, "verify", "--deep", image, *opening)
    assert image.read_bytes()[2 * HEADER_SIZE :] == body, "more than the header was rewritten"
    must_be_clean(image.read_bytes(), image, CANARY, words, key.read_text().strip())
    must_be_clean((called.out + called.err).encode(), "key add")

    must(20, "key", "list", disk)
    plain = tmp_path / "plain.rescue"
    must(0, "capture", "--all-sectors", disk, plain)
    must(2, "key", "add", plain, "--new-passphrase-file", secret)


def test_sixteen_keys(disk: Path, tmp_path: Path) -> None:
    image, key = tmp_path / "x.rescue", tmp_path / "my.key"
    public = must(0, "key", "new", key).out.strip()
    must(0, "capture", "--all-sectors", *["--recipient", public] * 15, disk, image)
    must(0, "key", "add", image, "--recipient", public, "--key-file", key)
    before = digest(image)
    must(2, "key", "add", image, "--recipient", public, "--key-file", key)
    assert digest(image) == before
    must(2, "capture", "--all-sectors", *["--recipient", public] * 17, disk, tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_the_header_survives_a_torn_write(disk: Path, secret: Path, tmp_path: Path) -> None:
    """A key change that is cut off leaves one whole copy: the old keys or the new ones open it."""
    image, key = tmp_path / "x.rescue", tmp_path / "my.key"
    public = must(0, "key", "new", key).out.strip()
    must(0, "capture", "--all-sectors", "--recipient", public, disk, image)
    old = image.read_bytes()[: 2 * HEADER_SIZE]
    must(0, "key", "add", image, "--recipient", public, "--key-file", key)
    new = image.read_bytes()[: 2 * HEADER_SIZE]
    torn = (
        old[:HEADER_SIZE] + new[HEADER_SIZE : HEADER_SIZE + 700] + old[HEADER_SIZE + 700 :],
        old[:HEADER_SIZE] + new[HEADER_SIZE:],
        new[:700] + old[700:HEADER_SIZE] + new[HEADER_SIZE:],
    )
    for block, count in zip(torn, (1, 2, 2), strict=True):
        with image.open("r+b") as file:
            file.write(block)
        must(0, "show", image, "--key-file", key)
        listed = json.loads(must(0, "key", "list", "--json", image).out)["keys"]
        assert len(listed) == count


def test_a_header_that_asks_for_four_terabytes(disk: Path, tmp_path: Path) -> None:
    """Refused before anything is reserved, in less than 0.1 s."""
    image, key, secret = tmp_path / "x.rescue", tmp_path / "my.key", tmp_path / "secret"
    secret.write_text("whatever\n")
    public = must(0, "key", "new", key).out.strip()
    must(0, "capture", "--all-sectors", "--recipient", public, disk, image)
    data = bytearray(image.read_bytes())
    slot = bytearray(slots.for_passphrase(b"whatever", bytes(32), CHEAP).to_bytes())
    struct.pack_into("<III", slot, 4, 0xFFFFFFFF, 3, 4)  # in KiB: 1 KiB short of 4 TiB
    for at in (0, HEADER_SIZE):
        data[at + SLOTS_AT : at + SLOTS_AT + len(slot)] = slot
        head = bytes(data[at : at + HEADER_SIZE - 32])
        data[at + HEADER_SIZE - 32 : at + HEADER_SIZE] = blake3(head).digest()
    image.write_bytes(data)
    must(20, "show", image, "--passphrase-file", secret)  # what is imported late is there now
    for words in (
        ("show", image),
        ("verify", "--deep", image),
        ("restore", image, tmp_path / "n"),
        ("key", "add", image, "--recipient", public),
    ):
        best = 9.0
        for _ in range(5):  # the machine does other work too
            began = time.perf_counter()
            called = must(20, *words, "--passphrase-file", secret)
            best = min(best, time.perf_counter() - began)
        assert "asks for" in called.err and "KiB of memory" in called.err
        assert best < 0.1, (words, best)
    assert not (tmp_path / "n").exists()
