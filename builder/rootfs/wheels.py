"""The Python packages of the medium: locked by hash, chosen and compiled for its Python.

The host may run another Python, so pip is told which one to choose for, and the byte code is made
by the medium's own interpreter, taken out of the base layer and run in place.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from blake3 import blake3

from builder.rootfs.base import Base
from builder.rootfs.packages import PYTHON
from rescue.core import process
from rescue.core.errors import from_os_error
from rescue.core.progress import Reporter

_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def ensure(lock: Path, base: Base, cache: Path, reporter: Reporter) -> Path:
    """The folder of installed and compiled wheels of ``lock``, from the cache or made now.

    Raises:
        ProgramFailed: pip failed, for instance because a hash does not match.
        DiskTrouble: the lock cannot be read or the cache not written.
    """
    try:
        made_by = Path(__file__).read_bytes()
        key = blake3(lock.read_bytes() + PYTHON.encode() + made_by).hexdigest()[:16]
        folder = cache / f"wheels-{key}"
        if folder.is_dir():
            return folder
        partial = cache / f"wheels-{key}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        reporter.start("wheels for the medium, by pip", None)
        try:
            _install(lock, partial)
            compile_tree(partial, base, Path("/usr/local/lib") / f"python{PYTHON}/dist-packages")
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        reporter.finish()
        for other in cache.glob("wheels-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        raise from_os_error(error, f"write {cache}") from error
    return folder


def _install(lock: Path, target: Path) -> None:
    process.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "--target",
            target,
            "--python-version",
            PYTHON,
            "--implementation",
            "cp",
            *(word for platform in _PLATFORMS for word in ("--platform", platform)),
            "--only-binary=:all:",
            "--no-deps",
            "--no-compile",
            "--require-hashes",
            "--requirement",
            lock,
        ]
    )
    # Programs of the wheels start with this host's interpreter; nothing on the medium uses them.
    shutil.rmtree(target / "bin", ignore_errors=True)
    # The lists of installed files still name them, with sums that differ from host to host.
    for record in target.glob("*.dist-info/RECORD"):
        record.write_text(without_programs(record.read_text()))


def without_programs(record: str) -> str:
    """A wheel's RECORD without the programs that pip made for this host."""
    lines = record.splitlines(keepends=True)
    return "".join(line for line in lines if not re.match(r"(\.\./)*bin/", line))


def compile_tree(tree: Path, base: Base, installed: Path) -> None:
    """Byte code for every module under ``tree``, which will lie at ``installed`` on the medium.

    The byte code trusts itself and does not look at its source: on a squashfs both are for ever
    the same, and times of files differ from build to build.

    Raises:
        ProgramFailed: a module does not compile for the medium's Python.
    """
    home = runtime(base)
    process.run(
        [
            home / _LIBRARIES / "ld-linux-x86-64.so.2",
            "--library-path",
            home / _LIBRARIES,
            home / f"usr/bin/python{PYTHON}",
            "-s",
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
            "-s",
            tree,
            "-p",
            installed,
            tree,
        ],
        env={"PYTHONHOME": str(home / "usr"), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def runtime(base: Base) -> Path:
    """The medium's interpreter, unpacked beside the base layer."""
    home = base.folder / "python"
    if not (home / "usr/bin").is_dir():
        partial = base.folder / f"python.{os.getpid()}"
        partial.mkdir(exist_ok=True)
        archive = base.path("python.tar")
        process.run(["tar", "-C", partial, "--no-same-owner", "-xf", archive])
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
    return home
