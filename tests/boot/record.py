"""What a tree of files is, written down so that the machine can compare itself with it.

Two lists, both with NUL between entries where names may hold anything: every entry with its type,
mode, owner, size and time as ``find -printf`` in the guest prints them; every regular file's
SHA-256 as ``sha256sum --check`` reads it.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

# Where a running system writes; each is left out with everything under it.
VOLATILE = (
    "./dev",
    "./proc",
    "./sys",
    "./run",
    "./tmp",
    "./lost+found",
    "./etc/machine-check",
    "./var/cache",
    "./var/lib/systemd",
    "./var/log",
    "./var/tmp",
)


@dataclass(slots=True)
class Record:
    """The lists of one tree, growing as entries are added."""

    entries: list[bytes] = field(default_factory=list)
    sums: list[bytes] = field(default_factory=list)

    def add_sum(self, path: str, digest: str) -> None:
        """One line for ``sha256sum --check``, escaped as it wants it."""
        name = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        escape = "\\" if name != path else ""
        self.sums.append(f"{escape}{digest}  {name}\n".encode())

    def entries_list(self) -> bytes:
        """Every entry, sorted by bytes, each ended by NUL."""
        return b"".join(entry + b"\0" for entry in sorted(self.entries))

    def sums_list(self) -> bytes:
        """The input of ``sha256sum --check``."""
        return b"".join(sorted(self.sums))


def canonical(name: str) -> str:
    """A name from a tar as ``find .`` prints it: "./etc", and "./" for the root itself."""
    name = name.strip("/")
    return "./" if name == "." else f"./{name.removeprefix('./')}"


def is_volatile(path: str) -> bool:
    """Whether a running system may change ``path`` ("./var/log/x")."""
    return any(path == left or path.startswith(f"{left}/") for left in VOLATILE)


def record_tar(tar: Path) -> Record:
    """The record of the tree that ``tar`` unpacks to, with modes, owners and times."""
    record = Record()
    digests: dict[str, tuple[tarfile.TarInfo, str]] = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            path = canonical(member.name)
            if path == "./" or is_volatile(path):
                continue
            owner = f"{member.mode:o} {member.uid} {member.gid}"
            if member.isdir():
                record.entries.append(f"d {owner} {path}".encode())
            elif member.issym():
                record.entries.append(f"l {path} -> {member.linkname}".encode())
            elif member.isfile() or member.islnk():
                if member.islnk():
                    first, digest = digests[canonical(member.linkname)]
                else:
                    content = archive.extractfile(member)
                    assert content is not None
                    first, digest = member, hashlib.sha256(content.read()).hexdigest()
                digests[path] = (first, digest)
                about = f"{first.mode:o} {first.uid} {first.gid} {first.size} {int(first.mtime)}"
                record.entries.append(f"f {about} {path}".encode())
                record.add_sum(path, digest)
            else:
                raise AssertionError(f"{path}: a {member.type!r} has no place in the machine")
    return record


def record_tree(root: Path) -> Record:
    """The record of the files under ``root``: types, sizes and content, for FAT and NTFS."""
    record = Record()
    for path in sorted(root.rglob("*")):
        name = f"./{path.relative_to(root)}"
        if path.is_dir():
            record.entries.append(f"d {name}".encode())
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            record.entries.append(f"f {path.stat().st_size} {name}".encode())
            record.add_sum(name, digest)
    return record
