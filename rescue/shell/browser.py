"""Looking into an image or a disk: folders, search, a look at the beginning of a text file.

Nothing is written to what is looked at: the view is read-only, and what the kernel must replay of
a journal goes to a throw-away overlay (see ``rescue.view``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rescue.core.errors import DiskTrouble, from_os_error
from rescue.image.keys import Passphrase
from rescue.image.reader import Image
from rescue.jobs.held import held
from rescue.view.browse import listing, locate, search
from rescue.view.entries import Entry, look, resolve
from rescue.view.opened import OpenView, open_view
from rescue.view.sources import any_source, open_image

MAX_ENTRIES = 20_000
MAX_HITS = 500
_PREVIEW = 16 << 10


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of a folder as it is shown.

    Attributes:
        path: ``VOLUME/PATH``, as ``rescue copy`` takes it.
        folder: whether it can be entered.
        why: why it cannot; for a volume whose files cannot be seen.
    """

    path: str
    name: str
    folder: bool
    size: int = 0
    time: int = 0
    about: str = ""
    why: str = ""


class Browser:
    """An open image or disk."""

    def __init__(self, view: OpenView, source: str) -> None:
        self._view = view
        self.source = source

    def rows(self, path: str) -> tuple[list[Row], list[str]]:
        """What is in a folder, folders first, and what could not be read.

        Raises:
            RescueError: it is not there or cannot be read.
        """
        if not path:
            return self._volumes(), []
        listed = listing(self._view, path, recursive=False)
        number = listed.volume.number
        rows = [_row(number, entry) for entry in listed.entries[:MAX_ENTRIES]]
        failed = list(listed.failed)
        if len(listed.entries) > MAX_ENTRIES:
            failed.append(f"only the first {MAX_ENTRIES:,} of {len(listed.entries):,} are shown")
        return sorted(rows, key=lambda row: (not row.folder, row.name.casefold())), failed

    def _volumes(self) -> list[Row]:
        return [
            Row(
                str(one.volume.number),
                one.volume.folder,
                one.root is not None,
                one.volume.extent.length,
                about=f'{one.volume.fs or "unknown"} "{one.volume.label}"',
                why="" if one.root is not None else one.why,
            )
            for one in self._view.mounted
        ]

    def search(self, pattern: str) -> tuple[list[Row], bool]:
        """Entries whose name holds ``pattern``, and whether these are all of them."""
        wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        failed: list[str] = []
        hits = search(self._view, wanted, any_case=True, failed=failed)
        found = list(islice(hits, MAX_HITS + 1))
        rows = [_hit(hit.volume.number, hit.entry) for hit in found[:MAX_HITS]]
        return rows, len(found) <= MAX_HITS

    def preview(self, path: str) -> list[str]:
        """The first lines of a text file, or why there are none."""
        mounted, inside = locate(self._view, path)
        assert mounted.root is not None
        target = resolve(mounted.root, inside, follow_last=True)
        entry = look(mounted.root, target)
        if entry.type != "file":
            return [f"This is a {entry.type}."]
        try:
            with (mounted.root / target).open("rb") as file:
                data = file.read(_PREVIEW)
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error
        if b"\0" in data:
            return [f"This is no text: {entry.size:,} bytes of data."]
        text = data.decode(errors="replace")
        lines = ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()]
        return lines or ["This file is empty."]


def _row(number: int, entry: Entry) -> Row:
    about = f"-> {entry.target}" if entry.type == "link" else ""
    name = entry.name
    return Row(
        f"{number}/{entry.path}", name, entry.type == "folder", entry.size, entry.time, about
    )


def _hit(number: int, entry: Entry) -> Row:
    return Row(
        f"{number}/{entry.path}",
        f"{number}/{entry.path}",
        entry.type == "folder",
        entry.size,
        entry.time,
    )


@contextmanager
def opened(source: str, passphrase: bytes = b"") -> Iterator[Browser]:
    """Open an image (``NODE:path`` or a path) or a disk for as long as the block lasts.

    Raises:
        RescueError: it cannot be opened or shown.
    """
    with ExitStack() as stack:
        path = Path(source)
        node, colon, inside = source.partition(":")
        if colon and node.startswith("/dev/"):
            path = stack.enter_context(held(Path(node), writable=False)).file(inside)

        def opener(path: Path) -> Image:
            return open_image(path, secrets=[Passphrase(passphrase)] if passphrase else ())

        if not path.exists():
            raise DiskTrouble(f"{source} is not there any more", hint="plug its disk in again")
        view = stack.enter_context(open_view(stack.enter_context(any_source(path, opener=opener))))
        yield Browser(view, source)
