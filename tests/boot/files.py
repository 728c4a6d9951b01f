"""Files of awkward names and sizes, the same every time."""

from __future__ import annotations

import random
from pathlib import Path

_SIZES = (0, 1, 511, 512, 700, 1023, 4095, 4096, 4097, 65535, 65537, 1 << 20, (1 << 20) + 1)

# Legal on NTFS though Windows' own shell refuses some; a colon would name a stream.
AWKWARD_NTFS = (
    "Überraschung – Größe.txt",
    "日本語のファイル名.dat",
    "an owl 🦉 beyond the first plane.txt",
    "two  spaces   three",
    " a leading space",
    "trailing dots...",
    "a trailing space ",
    'question? star* <angles> |pipe| "quotes"',
    "dollar $HOME `tick` 'quote' ;semicolon &and",
    "percent %41 hash #1 [brackets] {braces} ~tilde",
    "con",
    "aux.txt",
    "-rf",
    "x" * 251 + ".end",
    "combining e\u0301 and composed \u00e9",
    "\u202eright to left",
)
# A Linux filesystem takes any byte but / and NUL.
AWKWARD_EXT4 = (
    *AWKWARD_NTFS,
    "new\nline",
    "back\\slash",
    "carriage\rreturn",
    "tab\there",
    "Case",
    "case",
)


def content(seed: str, size: int) -> bytes:
    """``size`` bytes that depend on ``seed`` only and do not compress."""
    return random.Random(seed).randbytes(size)


def awkward(names: tuple[str, ...]) -> dict[str, bytes]:
    """Relative path to content: each name as a file and as a directory's, every size."""
    found: dict[str, bytes] = {}
    for number, name in enumerate(names):
        found[name] = content(name, _SIZES[number % len(_SIZES)])
        found[f"in {number}/{name}/deep/{name}"] = content(f"deep {name}", 3000 + number)
    for size in _SIZES:
        found[f"sizes/{size} bytes"] = content(f"size {size}", size)
    for number in range(300):
        found[f"many/{number:04}.note"] = content(f"note {number}", 50 + number * 7)
    found["photos/film.bin"] = content("film", 24 << 20)
    found["text/log.txt"] = b"".join(
        b"line %d of a text that compresses\n" % n for n in range(40000)
    )
    return found


def write_tree(root: Path, files: dict[str, bytes]) -> None:
    """Write ``files`` under ``root``, making directories; a sparse file is added."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with (root / "sparse.disk").open("wb") as file:
        file.write(b"the first bytes")
        file.seek(48 << 20)
        file.write(b"the last bytes")
