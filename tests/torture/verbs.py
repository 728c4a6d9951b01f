"""Trials of the other verbs that write, for ``destination``: they too may fail at any call."""

from __future__ import annotations

import errno
import filecmp
import shutil
from pathlib import Path

from rescue.core import mapfile
from tests.torture.calling import Wrong, must, rescue
from tests.torture.destination import FULL, GONE, Bench, Trial, Tried


def trials(bench: Bench) -> dict[str, Trial]:
    """By name."""
    return {
        "resume": _resume(bench),
        "merge": _merge(bench),
        "keys": _keys(bench),
        "restore": _restore(bench),
        "salvage": _salvage(bench),
        "mapfile": _mapfile(bench),
    }


def _resume(bench: Bench) -> Trial:
    """Going on with an image that a full disk stopped in its middle."""
    half = bench.folder / "half"
    words: list[object] = ["capture", "--all-sectors", bench.disk, bench.image]
    bench.failing.run(words, 12, errno.ENOSPC, FULL)
    must(22, "show", bench.image)
    bench.image.rename(half)

    def prepare() -> None:
        shutil.copyfile(half, bench.image)
        bench.image.chmod(0o600)

    return bench.capture([*words, "--resume"], prepare)


def _merge(bench: Bench) -> Trial:
    """A chain of two into one image; what was begun is begun anew."""
    child = bench.store / "child"
    if not child.exists():
        must(0, "capture", "--all-sectors", "--parent", bench.store / "base", bench.disk, child)
        bench.remember()
    words: list[object] = ["merge", child, bench.image]

    def judge(tried: Tried, mode: int) -> None:
        if tried.called.status != 0 and bench.image.exists():
            shown = rescue("show", bench.image)
            if shown.status != 22 and not (shown.status == 0 and mode == GONE):
                raise Wrong(f"what is left is not called incomplete: status {shown.status}")
            bench.image.unlink()
        if not bench.image.exists():
            must(0, *words)
        bench.prove()

    return Trial(words, judge)


def _keys(bench: Bench) -> Trial:
    """Another key for a sealed image: whatever happens, the old key opens it."""
    sealed = bench.folder / "sealed"
    must(0, "capture", "--all-sectors", "--recipient", bench.public, bench.disk, sealed)
    words: list[object] = [
        "key", "add", bench.image, "--recipient", bench.public, "--key-file", bench.key,
    ]  # fmt: skip

    def judge(tried: Tried, _mode: int) -> None:
        must(0, "show", bench.image, "--key-file", bench.key)
        if tried.called.status:
            must(0, *words)
        listed = must(0, "key", "list", bench.image).out.splitlines()
        if len(listed) < 2:
            raise Wrong("the new key is not there")
        bench.prove()

    return Trial(words, judge, lambda: _copy(sealed, bench.image), 4)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _restore(bench: Bench) -> Trial:
    """A new file as the target: it is whole, or nobody says so."""
    image, target = bench.folder / "restored-from", bench.store / "target.raw"
    must(0, "capture", "--all-sectors", bench.disk, image)
    words: list[object] = ["restore", image, target]

    def judge(tried: Tried, _mode: int) -> None:
        if tried.called.status == 0:
            _same(target, bench)
        elif "safe" in tried.called.out or "outcome: complete" in tried.called.out:
            raise Wrong("a restore that failed speaks of success")
        target.unlink(missing_ok=True)
        must(0, *words)
        _same(target, bench)

    return Trial(words, judge, calls=4)


def _same(file: Path, bench: Bench) -> None:
    if not filecmp.cmp(file, bench.disk, shallow=False):
        raise Wrong(f"{file.name} is not the disk")


def _salvage(bench: Bench) -> Trial:
    """File and map of a salvage."""
    image, target = bench.folder / "salvaged-from", bench.store / "saved.raw"
    must(0, "capture", "--all-sectors", bench.disk, image)
    words: list[object] = ["salvage", image, target]

    def judge(tried: Tried, _mode: int) -> None:
        listed = target.with_name("saved.raw.map")
        if tried.called.status == 0:
            _same(target, bench)
            if mapfile.read(listed):
                raise Wrong("the map names what is not lost")
        for path in (target, listed):
            path.unlink(missing_ok=True)
        must(0, *words)
        _same(target, bench)

    return Trial(words, judge, calls=5)


def _mapfile(bench: Bench) -> Trial:
    """The image is elsewhere, and only the map cannot be written."""
    image, listed = bench.folder / "mapped", bench.store / "map"

    def prepare() -> None:
        image.unlink(missing_ok=True)

    def judge(tried: Tried, mode: int) -> None:
        must(0, "verify", image)
        if tried.called.status and listed.exists() and mode != GONE:
            # Only what fails behind the last byte (close) may leave it, and then it is whole.
            mapfile.read(listed)
            if not listed.read_text().endswith("  +\n"):
                raise Wrong("half a map was left, which the next capture would believe")
        if tried.called.status == 0 and mapfile.read(listed):
            raise Wrong("the map names what could be read")

    words: list[object] = ["capture", "--all-sectors", "--mapfile", listed, bench.disk, image]
    return Trial(words, judge, prepare, 3)
