"""The table of vectors, and how one of them becomes files."""

from __future__ import annotations

import lzma
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.vectors.edits import RAW, apply

HERE = Path(__file__).parent
GOOD = HERE / "good"
KEYS = HERE / "keys"
# What is expected, and the exit code that both readers end with.
CODES = {
    "success": 0,
    "success with unreadable sectors": 3,
    "wrong part": 2,
    "not an image": 20,
    "header damage": 20,
    "key slot damage": 20,
    "footer damage": 20,
    "directory damage": 20,
    "table damage": 20,
    "segment damage": 20,
    "record damage": 20,
    "index damage": 20,
    "map damage": 20,
    "manifest damage": 20,
    "seal damage": 20,
    "wrong parent": 20,
    "foreign part": 20,
    "over a limit": 20,
    "unsupported version": 21,
    "unsupported flag": 21,
    "unsupported key slot": 21,
    "incomplete": 22,
    "missing part": 22,
    "missing parent": 22,
    "no key": 23,
    "wrong key": 23,
}


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector as vectors.txt has it.

    Attributes:
        images: the good images it is made of: itself, then those that stand beside it.
        key: a file of ``keys``, or empty.
        expect: a key of ``CODES``.
        content: SHA-256 of the disk that a reader makes of it; of a refused one, empty.
        verify: what a verification finds, where that differs from what a reader finds.
    """

    name: str
    images: tuple[str, ...]
    edits: tuple[str, ...]
    key: str
    expect: str
    content: str
    verify: str

    @property
    def code(self) -> int:
        """The exit code."""
        return CODES[self.expect]

    @property
    def verify_code(self) -> int:
        """The exit code of a deep verification."""
        return CODES[self.verify or self.expect]

    @property
    def is_raw(self) -> bool:
        """Whether bytes were changed and no hash was made to fit."""
        return bool(self.edits) and all(edit.split()[0] in RAW for edit in self.edits)


def parse(text: str) -> list[Vector]:
    """The vectors of a table: stanzas of a name and indented ``word: value`` lines."""
    found: list[Vector] = []
    for stanza in text.split("\n\n"):
        lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        values: dict[str, list[str]] = {}
        for line in lines[1:]:
            word, _, value = line.strip().partition(": ")
            assert line.startswith("    ") and value, f"not a line of a vector: {line}"
            values.setdefault(word, []).append(value)
        expect, _, content = values["expect"][0].partition(", ")
        assert expect in CODES, expect
        found.append(
            Vector(
                name=lines[0],
                images=tuple(values["image"][0].split()),
                edits=tuple(values.get("edit", ())),
                key=values.get("key", [""])[0],
                expect=expect,
                content=content.removeprefix("sha256 "),
                verify=values.get("verify", [""])[0],
            )
        )
    return found


def vectors() -> list[Vector]:
    """All of vectors.txt."""
    return parse((HERE / "vectors.txt").read_text())


@cache
def unpack(path: Path) -> bytes:
    """A packed file."""
    return lzma.decompress(path.read_bytes())


def lay_out(vector: Vector, folder: Path, good: Path = GOOD) -> Path:
    """Make the files of a vector; returns the first file of its image."""
    for image in vector.images:
        for path in sorted(good.glob(f"{image}.rescue*.xz")):
            (folder / path.name.removesuffix(".xz")).write_bytes(unpack(path))
    first = f"{vector.images[0]}.rescue"
    apply(folder, first, list(vector.edits), good)
    return folder / first


def main(words: list[str]) -> int:
    """Make the files of one vector."""
    if len(words) != 2:
        print("usage: python -m tests.vectors.library NAME FOLDER", file=sys.stderr)
        return 2
    found = [vector for vector in vectors() if vector.name == words[0]]
    if not found:
        print(f"error: there is no vector {words[0]}", file=sys.stderr)
        return 2
    folder = Path(words[1])
    folder.mkdir(parents=True, exist_ok=True)
    print(lay_out(found[0], folder))
    print(f"expect: {found[0].expect}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
