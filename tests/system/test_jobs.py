"""Jobs on real block devices: labels lead to disks; places are mounted only as long as needed."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble, Exit, ImageLocked
from rescue.core.progress import Silent
from rescue.image.keys import Passphrase, new_private_key, public_line, secret_line
from rescue.image.reader import Image
from rescue.jobs import runtime
from rescue.jobs.find import find_now
from rescue.jobs.held import held, looking
from rescue.jobs.model import Job, parse_job
from rescue.jobs.run import run_job

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Bench:
    """Three loop devices, each with a label of this test alone: a machine's disk, a store, keys."""

    machine: Path
    machine_label: str
    store: Path
    store_label: str
    keys: Path
    keys_label: str

    def job(self, action: str, more: str = "") -> Job:
        """A job over both."""
        source = f'source = {{ label = "{self.machine_label}" }}' if action == "capture" else ""
        place = f'image = {{ label = "{self.store_label}", path = "images/pc.rescue" }}'
        return parse_job(f'action = "{action}"\n{source}\n{place}\n{more}\n')


def command(*words: str | Path) -> str:
    """Run a tool; what it printed."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Both devices, read-only in the kernel as the rescue media have them."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    nodes: list[Path] = []
    labels: list[str] = []
    try:
        for name in ("machine", "store", "keys"):
            file, label = tmp_path / f"{name}.raw", f"t{secrets.token_hex(5)}"
            file.touch()
            os.truncate(file, 48 << 20)
            command("mkfs.ext4", "-q", "-L", label, file)
            node = Path(command("losetup", "--find", "--show", file))
            nodes.append(node)
            labels.append(label)
            command("blockdev", "--setro", node)
        yield Bench(nodes[0], labels[0], nodes[1], labels[1], nodes[2], labels[2])
    finally:
        for node in nodes:
            # The flag outlives the detaching: the next user of this loop device would have it.
            command("blockdev", "--setrw", node)
            command("losetup", "--detach", node)


def is_read_only(node: Path) -> bool:
    """The kernel's own flag."""
    return command("blockdev", "--getro", node) == "1"


def is_mounted(node: Path) -> bool:
    """Whether anything of it is mounted here."""
    return any(
        line.startswith(f"{node} ") for line in Path("/proc/mounts").read_text().splitlines()
    )


def read_store(bench: Bench, name: str) -> str:
    """A file of the store."""
    with held(bench.store, writable=False) as place:
        return place.file(name).read_text()


def test_capture_and_verify_leave_log_result_and_note(bench: Bench) -> None:
    silent = Silent()
    capture = bench.job("capture", "verify = true\nfilesystems = true")
    result = run_job(capture, find_now(capture), silent, medium="m1", again=False)
    assert result.exit is Exit.COMPLETE, result.lines
    assert result.last_line == "rescue job complete"
    assert any(line.startswith("safe to rely on: yes") for line in result.lines)
    assert is_read_only(bench.store), "the store is read-only again"
    assert not is_mounted(bench.store)

    kept = json.loads(read_store(bench, "images/pc.rescue.capture.json"))
    assert (kept["exit"], kept["action"], kept["job"]) == (0, "capture", capture.digest)
    assert kept["verify"]["safe_to_rely_on"] is True
    assert [one["result"] for one in kept["verify"]["filesystems"]] == ["whole"]
    assert "rescue job complete" in read_store(bench, "images/pc.rescue.capture.log")

    # Asked for by the same medium: not again. By another one: again, and refused by itself.
    again = run_job(capture, find_now(capture), silent, medium="m1", again=False)
    assert "ended with exit code 0" in again.earlier
    other = run_job(capture, find_now(capture), silent, medium="m2", again=False)
    assert other.exit is Exit.USAGE
    assert other.last_line == "rescue job failed: exit 2"
    assert any("exists already" in line for line in other.lines)

    verify = bench.job("verify", "deep = true")
    checked = run_job(verify, find_now(verify), silent)
    assert checked.exit is Exit.COMPLETE
    assert "safe to rely on: yes" in read_store(bench, "images/pc.rescue.verify.log")


def test_a_capture_that_was_stopped_goes_on(bench: Bench) -> None:
    capture = bench.job("capture")
    assert run_job(capture, find_now(capture), Silent()).exit is Exit.COMPLETE
    with held(bench.store, writable=True) as place:
        image = place.file("images/pc.rescue")
        os.truncate(image, image.stat().st_size - 100)
    result = run_job(capture, find_now(capture), Silent())
    assert result.exit is Exit.COMPLETE, result.lines
    assert "going on where it stopped" in read_store(bench, "images/pc.rescue.capture.log")
    verify = bench.job("verify", "deep = true")
    assert run_job(verify, find_now(verify), Silent()).exit is Exit.COMPLETE


def test_an_encrypted_image_is_made_checked_and_gone_on_with(bench: Bench) -> None:
    """Made for a public key; what opens it lies on another disk, which is only read."""
    key, other = new_private_key(), new_private_key()
    with held(bench.keys, writable=True) as place:
        place.file("pc.key").write_text(secret_line(key) + "\n")
        place.file("other.key").write_text(secret_line(other) + "\n")
    named = f'key_file = {{ label = "{bench.keys_label}", path = "pc.key" }}'
    sealed = f'recipients = ["{public_line(key)}"]'
    capture = bench.job("capture", f"{sealed}\n{named}\nverify = true")
    result = run_job(capture, find_now(capture), Silent())
    assert result.exit is Exit.COMPLETE, result.lines
    assert any(
        line.startswith("safe to rely on: yes, because every chunk") for line in result.lines
    )
    assert is_read_only(bench.keys)
    assert not is_mounted(bench.keys)
    with held(bench.store, writable=False) as place:
        with pytest.raises(ImageLocked):
            Image.open(place.file("images/pc.rescue"))
    kept = read_store(bench, "images/pc.rescue.capture.json")
    assert secret_line(key) not in kept + read_store(bench, "images/pc.rescue.capture.log")

    wrong = bench.job("verify", "deep = true\n" + named.replace("pc.key", "other.key"))
    assert run_job(wrong, find_now(wrong), Silent()).exit is Exit.LOCKED
    absent = bench.job("verify", "deep = true\n" + named.replace("pc.key", "absent.key"))
    failed = run_job(absent, find_now(absent), Silent())
    assert failed.exit is Exit.DISK
    assert any("absent.key" in line for line in failed.lines)

    with held(bench.store, writable=True) as place:
        image = place.file("images/pc.rescue")
        os.truncate(image, image.stat().st_size - 100)
    alone = bench.job("capture", sealed)
    refused = run_job(alone, find_now(alone), Silent())
    assert refused.exit is Exit.LOCKED, refused.lines
    assert refused.lines[1].startswith("hint: the job names what opens it")
    again = run_job(capture, find_now(capture), Silent())
    assert again.exit is Exit.COMPLETE, again.lines
    assert "going on where it stopped" in read_store(bench, "images/pc.rescue.capture.log")


def test_a_passphrase_in_a_file_encrypts_and_opens(bench: Bench) -> None:
    with held(bench.keys, writable=True) as place:
        place.file("words").write_text("correct horse\nbattery\n")
    named = f'passphrase_file = {{ label = "{bench.keys_label}", path = "words" }}'
    capture = bench.job("capture", named)
    assert run_job(capture, find_now(capture), Silent()).exit is Exit.COMPLETE
    with held(bench.store, writable=False) as place:
        path = place.file("images/pc.rescue")
        with Image.open(path, secrets=[Passphrase(b"correct horse")]) as image:
            assert image.header.sealed
    verify = bench.job("verify", f"filesystems = true\n{named}")
    checked = run_job(verify, find_now(verify), Silent())
    assert checked.exit is Exit.COMPLETE, checked.lines
    restore = parse_job(
        f'action = "restore"\ntarget = {{ label = "{bench.machine_label}" }}\n'
        f'image = {{ label = "{bench.store_label}", path = "images/pc.rescue" }}\n'
        f'erase = "nothing"\n{named}\n'
    )
    # Loop devices have no serial number that a job could name: their own path confirms them here.
    restore = replace(restore, erase=str(bench.machine))
    found, before = find_now(restore), bench.machine.read_bytes()
    command("blockdev", "--setrw", bench.machine)
    command("wipefs", "--quiet", "--all", "--force", bench.machine)
    assert run_job(restore, replace(found, keys=()), Silent()).exit is Exit.LOCKED
    assert bench.machine.read_bytes() != before
    done = run_job(restore, found, Silent())
    assert done.exit is Exit.COMPLETE, done.lines
    assert bench.machine.read_bytes() == before


def test_a_damaged_image_fails_the_job(bench: Bench) -> None:
    capture = bench.job("capture")
    assert run_job(capture, find_now(capture), Silent()).exit is Exit.COMPLETE
    with held(bench.store, writable=True) as place:
        with place.file("images/pc.rescue").open("r+b") as file:
            file.seek(10_000)
            byte = file.read(1)[0]
            file.seek(10_000)
            file.write(bytes([byte ^ 1]))
    verify = bench.job("verify", "deep = true")
    result = run_job(verify, find_now(verify), Silent())
    assert result.last_line == "rescue job failed: exit 20"
    assert json.loads(read_store(bench, "images/pc.rescue.verify.json"))["exit"] == 20


def test_reading_a_place_changes_nothing_on_it(bench: Bench, tmp_path: Path) -> None:
    before = (tmp_path / "store.raw").read_bytes()
    with held(bench.store, writable=False) as place:
        assert is_mounted(bench.store)
        assert is_read_only(bench.store)
        assert not os.access(place.root, os.W_OK)
    assert not is_mounted(bench.store)
    assert (tmp_path / "store.raw").read_bytes() == before


def test_what_cannot_be_mounted_says_so_and_stays_read_only(bench: Bench, tmp_path: Path) -> None:
    with (tmp_path / "store.raw").open("r+b") as file:
        file.seek(2048)  # the superblock stays: it is an ext4, whose groups make no sense
        file.write(b"\xff" * 6144)
    command("blockdev", "--flushbufs", bench.store)
    with (
        pytest.raises(DiskTrouble, match="cannot mount"),
        held(bench.store, writable=True),
    ):
        pass
    assert is_read_only(bench.store)
    assert not is_mounted(bench.store)


def test_the_command_says_what_it_would_do(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text(
        f'action = "capture"\nsource = {{ label = "{bench.machine_label}" }}\n'
        f'image = {{ label = "{bench.store_label}", path = "pc.rescue" }}\n'
    )
    words = [sys.executable, "-m", "rescue.cli.main", "job", "--dry-run", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert f"source: {bench.machine}" in done.stdout
    assert f"image on {bench.store} (ext4): pc.rescue" in done.stdout
    assert not is_mounted(bench.store)


def test_a_job_waits_for_a_look_and_lets_none_begin(bench: Bench) -> None:
    """Seen in CI: the shell on another console unmounted, and removed the folder, between a job's
    making it and its mounting there: "mount point does not exist", and no image was made."""
    stop, looks, trouble = threading.Event(), [0], list[str]()

    def look() -> None:
        while not stop.is_set():
            with looking() as allowed:
                if not allowed:
                    stop.wait(0.01)
                    continue
                try:
                    with held(bench.store, writable=False) as place:
                        list(place.root.iterdir())
                        looks[0] += 1
                except DiskTrouble as error:
                    trouble.append(error.message)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        capture = bench.job("capture")
        for number in range(8):
            seen = looks[0]
            result = run_job(capture, find_now(capture), Silent(), medium=f"m{number}", again=False)
            expected = Exit.COMPLETE if number == 0 else Exit.USAGE  # it exists already
            assert result.exit is expected, result.lines
            while looks[0] == seen and watcher.is_alive():
                stop.wait(0.01)
    finally:
        stop.set()
        watcher.join()
    assert trouble == []
    assert looks[0] >= 8
    assert not is_mounted(bench.store)
    assert is_read_only(bench.store)
