"""The only place that starts a program.

As in mkosi's ``run.py``: arguments are lists, never a shell line; the environment is rebuilt (C
locale, so that output can be parsed); a failure is told once, with the command as ``shlex.join``
prints it and the program's own last words.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from rescue.core.errors import ProgramFailed
from rescue.core.programs import Finished as Finished
from rescue.core.programs import environment as environment
from rescue.core.programs import failure as failure
from rescue.core.programs import find as find
from rescue.core.programs import require as require


def run(
    command: Sequence[str | Path],
    *,
    check: bool = True,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    stdout: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run a program to its end and keep what it printed.

    Args:
        check: raise when the status is not 0.
        stdout: an open file that receives standard output instead of memory.
        timeout: seconds after which it is killed.
        pass_fds: open files that the program inherits under the same numbers.

    Raises:
        ProgramFailed: not installed, failed (with ``check``) or out of time.
    """
    words = tuple(str(word) for word in command)
    try:
        done = subprocess.run(
            words,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            cwd=cwd,
            timeout=timeout,
            check=False,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise ProgramFailed(
            f"the program {words[0]} is not installed", hint=f"install {words[0]} and try again"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{words[0]} did not finish in {timeout:.0f} s") from error
    result = Finished(words, done.returncode, done.stdout or b"", done.stderr or b"")
    if check and result.status != 0:
        raise failure(result)
    return result


def stream(
    command: Sequence[str | Path],
    on_line: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: IO[bytes] | None = None,
) -> Finished:
    """Run a program and hand each line it prints (both streams, as they come) to ``on_line``.

    For long steps that report progress. Carriage returns end a line too. The last 200 lines are
    kept for the error. On an exception (Ctrl-C included) the program is terminated first.

    Raises:
        ProgramFailed: it is not installed or its status is not 0.
    """
    words = tuple(str(word) for word in command)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(env),
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise ProgramFailed(
            f"the program {words[0]} is not installed", hint=f"install {words[0]} and try again"
        ) from error
    tail: list[str] = []

    def tell(lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                tail.append(text)
                del tail[:-200]
                on_line(text)

    assert child.stdout is not None
    try:
        pending = b""
        while data := child.stdout.read1(65536):  # type: ignore[attr-defined]
            if log is not None:
                log.write(data)
            *lines, pending = (pending + data).replace(b"\r", b"\n").split(b"\n")
            tell(lines)
        tell([pending])  # last words often lack the end of their line
        status = child.wait()
    except BaseException:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise
    result = Finished(words, status, b"", "\n".join(tail).encode())
    if status != 0:
        raise failure(result)
    return result


@contextmanager
def beside(
    command: Sequence[str | Path], ready: Callable[[], bool], *, seconds: float = 60
) -> Iterator[None]:
    """A program that works beside this one, from when it is ready until the block ends.

    It is expected to end by itself then, because what it serves is gone. The kernel kills it when
    the thread that started it dies, by whatever.

    The last process of a mount namespace unmounts what is there. One that serves a mount by FUSE
    would then wait for an answer of its own, for ever; so a second one stays until it is gone.

    Raises:
        ProgramFailed: it is not installed, or ended before it was ready, or never was.
    """
    words = ("setpriv", "--pdeathsig", "KILL", *(str(word) for word in command))
    reader, writer = os.pipe()  # at its end when every process that may write to it is gone
    with ExitStack() as stack:
        try:
            stays = subprocess.Popen(
                ("cat",), stdin=reader, stdout=subprocess.DEVNULL, env=environment()
            )
            stack.callback(stays.wait)
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(),
                pass_fds=(writer,),
            )
            stack.callback(_end, child)
        except FileNotFoundError as error:
            raise ProgramFailed(
                f"the program {words[0]} is not installed",
                hint=f"install {words[0]} and try again",
            ) from error
        finally:
            os.close(reader)
            os.close(writer)
        _wait_ready(child, words[3:], ready, seconds)
        yield
        with suppress(subprocess.TimeoutExpired):
            child.wait(30)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    if child.stderr is not None:
        child.stderr.close()


def _wait_ready(
    child: subprocess.Popen[bytes], words: tuple[str, ...], ready: Callable[[], bool], limit: float
) -> None:
    until = time.monotonic() + limit
    while not ready():
        if child.poll() is not None:
            assert child.stderr is not None
            raise failure(Finished(words, child.returncode, b"", child.stderr.read()))
        if time.monotonic() > until:
            raise ProgramFailed(f"{words[0]} is not ready after {limit:.0f} s")
        time.sleep(0.02)


def interact(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> int:
    """Run a program that talks to the person itself: it inherits the terminal.

    Ctrl-C belongs to the program while it runs; this process waits for what it does with it. The
    handler is a function and not SIG_IGN, which the child would inherit.

    Returns:
        Its exit status; 128 and the signal's number when a signal ended it, as shells say it.

    Raises:
        ProgramFailed: it is not installed or cannot be started.
    """
    words = tuple(str(word) for word in command)
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        child = subprocess.Popen(words, env=environment(env))
        status = child.wait()
    except OSError as error:
        raise ProgramFailed(
            f"the program {words[0]} cannot be started: {(error.strerror or '').lower()}",
            hint=f"install {words[0]} and try again",
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


class Child:
    """A program that runs beside this one."""

    def __init__(self, child: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._child, self._errors = child, errors

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def last_words(self) -> str:
        """The last line that it wrote to standard error so far; may be empty."""
        size = os.fstat(self._errors.fileno()).st_size
        data = os.pread(self._errors.fileno(), 4096, max(0, size - 4096))
        lines = data.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[Child]:
    """Run a program beside this one for as long as the block lasts; it is ended with the block.

    Standard output is thrown away. Ctrl-C does not reach it: the end of the block does.

    Raises:
        ProgramFailed: it is not installed or cannot be started.
    """
    words = tuple(str(word) for word in command)
    null = subprocess.DEVNULL
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(
                words,
                stdin=null,
                stdout=null,
                stderr=errors,
                env=environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(
                f"the program {words[0]} cannot be started: {(error.strerror or '').lower()}",
                hint=f"install {words[0]} and try again",
            ) from error
        try:
            yield Child(child, errors)
        finally:
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def detach(
    command: Sequence[str | Path],
    *,
    output: IO[bytes],
    errors: IO[bytes],
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start a program that outlives this one: in a session of its own, away from any terminal.

    Returns:
        Its process id. This process, while it lives, takes note of its end.

    Raises:
        ProgramFailed: it is not installed or cannot be started.
    """
    words = tuple(str(word) for word in command)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment(env),
            cwd="/",
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise ProgramFailed(
            f"the program {words[0]} cannot be started: {(error.strerror or '').lower()}",
            hint=f"install {words[0]} and try again",
        ) from error
    threading.Thread(target=child.wait, name="wait", daemon=True).start()
    return child.pid


def fork(work: Callable[[], None]) -> int:
    """Do ``work`` in a copy of this process that ends with it; the copy's process id.

    The copy has this one's memory (opened files, keys) and none of its threads. Nothing of it is
    cleaned up but what ``work`` itself does: no exception and no exit handler leaves it.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child
