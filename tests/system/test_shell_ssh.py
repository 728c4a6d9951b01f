"""The restore shell over SSH, real client and real server: screens on a terminal, else lines.

The server is this test's own: loopback, a port, keys and a configuration that nobody else uses.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from rescue.core.process import run
from rescue.core.units import MIB
from rescue.jobs import runtime
from tests.boot.console import without_escapes

pytestmark = [pytest.mark.root]
RESCUE = Path(sys.executable).parent / "rescue"
PATIENCE = 60


@dataclass(frozen=True)
class Server:
    """An SSH server; ``words`` is the client's command line without the remote command."""

    words: tuple[str, ...]
    room: Path

    def remote(self, *words: str) -> str:
        """The remote command: the shell, with its runtime folder and process id in ``room``."""
        place = f"{runtime.VARIABLE}={self.room / 'run'}"
        line = " ".join(["exec", "env", place, str(RESCUE), "shell", *words])
        return f"echo $$ > {self.room / 'pid'}; {line}"

    def is_running(self) -> bool:
        """Whether the shell's process is there."""
        pid = (self.room / "pid").read_text().strip()
        return Path("/proc", pid).exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """Something to choose from, on whatever machine this runs."""
    file = tmp_path / "disk.raw"
    with file.open("wb") as made:
        made.truncate(8 * MIB)
    node = run(["losetup", "--find", "--show", file]).text.strip()
    yield node
    run(["losetup", "--detach", node], check=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """``sshd`` in the foreground, until the test has ended."""
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    # The server gives its helpers this empty folder as their "/"; nothing is ever in it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (tmp_path / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\nPidFile none\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\nAcceptEnv LANG TERM\n"
    )
    with (tmp_path / "sshd.log").open("wb") as log:
        running = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", tmp_path / "config"], stderr=log
        )
    key = (tmp_path / "host.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {key}")
    options = ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={tmp_path}/known")
    words = ["ssh", "-F", "none", "-i", str(tmp_path / "user"), "-p", str(port)]
    words += [word for option in options for word in ("-o", option)]
    try:
        _wait_for(port, running)
        yield Server((*words, "root@127.0.0.1"), tmp_path)
    finally:
        running.terminate()
        running.wait(10)


def _wait_for(port: int, running: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert running.poll() is None, "the server ended at once"
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


class Client:
    """A person at the other end, with a terminal of 80 by 25."""

    def __init__(self, server: Server, *words: str) -> None:
        # Not pexpect's own look-out: escape sequences stand between the words.
        self.child = pexpect.spawn(
            server.words[0],
            ["-tt", *server.words[1:], server.remote(*words)],
            dimensions=(25, 80),
            env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8"},
            timeout=PATIENCE,
        )
        self.raw = b""
        self._mark = 0

    def wait(self, words: str, seconds: float = PATIENCE) -> str:
        """Wait for words that are drawn after the last key."""
        end = time.monotonic() + seconds
        while words not in (text := self._text()):
            assert time.monotonic() < end, f"no {words!r} in {text[-2000:]}"
            with suppress(pexpect.TIMEOUT):
                self.raw += self.child.read_nonblocking(65536, timeout=0.2)
        return text

    def _text(self) -> str:
        return without_escapes(self.raw[self._mark :])[0].decode(errors="replace")

    def press(self, keys: str) -> None:
        """Press keys, as a terminal sends them; what was drawn so far counts no more."""
        self._mark = len(self.raw)
        self.child.send(keys)

    def wait_end(self) -> int:
        """The exit status, once the far end has ended."""
        self.child.expect(pexpect.EOF)
        self.raw += self.child.before or b""
        self.child.close()
        assert self.child.exitstatus is not None
        return int(self.child.exitstatus)


DOWN, ENTER, ESCAPE = "\x1b[B", "\r", "\x1b"


def test_the_screens_over_ssh_by_arrow_keys(server: Server, disk: str) -> None:
    """Into a flow, back out of it, and quit; the terminal is left as it was found."""
    person = Client(server)
    text = person.wait("Get files out")
    assert "Restore this machine" in text
    assert b"\x1b[?1049h" in person.raw  # the other screen of the terminal, so that nothing is lost
    person.press(DOWN)
    person.press(ENTER)
    person.wait("Of which disk?")
    text = person.wait(disk)
    assert "Make an image - step 1" in text
    person.press(ESCAPE)
    person.wait("Restore this machine")
    person.press("q")
    assert person.wait_end() == 0
    assert b"\x1b[?1049l" in person.raw
    assert person.raw.rindex(b"\x1b[?25h") > person.raw.index(b"\x1b[?25l")  # the cursor is back


def test_a_connection_that_breaks_leaves_no_shell_behind(server: Server) -> None:
    person = Client(server)
    person.wait("Restore this machine")
    assert server.is_running()
    person.child.kill(9)
    person.child.wait()
    end = time.monotonic() + PATIENCE
    while server.is_running():
        assert time.monotonic() < end, "the shell runs on without anybody"
        time.sleep(0.1)


def test_lines_over_ssh_without_a_terminal(server: Server, disk: str) -> None:
    """What a program or a screen reader gets: no escape sequence, an answer for each line."""
    done = subprocess.run(
        [server.words[0], "-T", *server.words[1:], server.remote("--plain")],
        input=b"2\n0\nnonsense\n\n",
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\x1b" not in said
    assert said.isascii()
    assert "Make an image - step 1: Of which disk?" in said
    assert disk in said
    assert '"nonsense" is none of these numbers.' in said
    assert said.count("Type a number and press Enter: ") == 3
