"""The lock of packages: which version of each Debian package a base layer holds, and its hash.

No addresses: where packages come from is the machine's own configuration, and the hash says whether
they are the same. A lock pins every package by apt's preferences, before the first one is chosen,
and what was installed is compared with it afterwards: an archive that no longer has a version makes
the build fail, never another medium.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from builder.rootfs.packages import ARCHITECTURE, SUITE
from rescue.core.errors import ProgramFailed, UsageError, from_os_error

HEAD = f"# rescue-builder lock 1: {SUITE} {ARCHITECTURE}; package, version, SHA-256 of the .deb"
MAX_LOCK = 1 << 20
"""Some three hundred lines of a hundred bytes."""

_LINE = re.compile(r"([a-z0-9][a-z0-9+.-]+) ([A-Za-z0-9.+~:-]{1,200}) ([0-9a-f]{64})")
_HINT = "make the lock anew: rescue-builder lock FILE --update"


@dataclass(frozen=True, slots=True)
class Locked:
    """One package."""

    name: str
    version: str
    sha256: str


def load(path: Path) -> tuple[Locked, ...]:
    """Read a lock file.

    Raises:
        UsageError: it is none, or for another suite.
        DiskTrouble: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOCK + 1)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    lines = data[:MAX_LOCK].decode(errors="replace").splitlines()
    if len(data) > MAX_LOCK or not lines or lines[0] != HEAD:
        raise UsageError(f"{path} is not a lock of {SUITE} by this rescue-builder", hint=_HINT)
    found = []
    for number, line in enumerate(lines[1:], start=2):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(
                f"{path}, line {number}: not a package, a version and a SHA-256", hint=_HINT
            )
        found.append(Locked(match[1], match[2], match[3]))
    return tuple(found)


def render(packages: Iterable[Locked]) -> str:
    """The text of a lock file."""
    ordered = sorted(packages, key=lambda one: one.name)
    return "\n".join((HEAD, *(f"{p.name} {p.version} {p.sha256}" for p in ordered), ""))


def installed(listing: str) -> dict[str, str]:
    """Name to version, of a base layer's packages.txt."""
    pairs = (line.partition(" ") for line in listing.splitlines() if line)
    return {name.partition(":")[0]: version for name, _, version in pairs}


def differences(locked: Iterable[Locked], listing: str) -> tuple[str, ...]:
    """What is in a base layer and not in the lock, in words."""
    wanted = {one.name: one.version for one in locked}
    found = installed(listing)
    return tuple(
        f"{name} is {found.get(name, 'not there')}, and {wanted.get(name, 'not there')} in the lock"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    )


def preferences(locked: Iterable[Locked]) -> str:
    """apt_preferences(5) that let nothing be chosen but the locked versions."""
    stanzas = (
        f"Package: {one.name}\nPin: version {one.version}\nPin-Priority: 1001\n" for one in locked
    )
    return "\n".join(stanzas)


def of_base(listing: str, debs: Path) -> tuple[Locked, ...]:
    """The lock of a base layer, with the hashes of its kept .debs.

    Raises:
        ProgramFailed: a .deb was not kept.
        DiskTrouble: one cannot be read.
    """
    kept = _kept(debs)
    found = []
    for name, version in installed(listing).items():
        path = kept.get((name, version))
        if path is None:
            raise ProgramFailed(
                f"the .deb of {name} {version} is not among those that were kept",
                hint="rescue-builder lock --update builds the base layer anew, and keeps them",
            )
        found.append(Locked(name, version, _sha256(path)))
    return tuple(found)


def check_debs(locked: Iterable[Locked], debs: Path) -> None:
    """Compare every kept .deb with the lock.

    Raises:
        ProgramFailed: one differs or is missing.
    """
    kept = _kept(debs)
    for one in locked:
        path = kept.get((one.name, one.version))
        if path is None or _sha256(path) != one.sha256:
            what = "is not there" if path is None else "is another one than the lock's"
            raise ProgramFailed(f"the .deb of {one.name} {one.version} {what}", hint=_HINT)


def _kept(debs: Path) -> dict[tuple[str, str], Path]:
    """(name, version) to file: apt names it NAME_VERSION_ARCHITECTURE.deb, a colon as %3a."""
    found = {}
    for path in debs.glob("*.deb"):
        name, _, rest = path.name.partition("_")
        version, _, _ = rest.rpartition("_")
        found[name, unquote(version)] = path
    return found


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
