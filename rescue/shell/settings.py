"""What was chosen last, kept on the stick: how small an image is made, and where it is put.

Both are offered first the next time, nothing is chosen by itself. A place is known by the UUID of
its filesystem, so that it is the same disk, whatever it is called today.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rescue.core.errors import RescueError, from_os_error
from rescue.jobs.held import held
from rescue.jobs.remembered import FOLDER
from rescue.jobs.tasks import TaskWish
from rescue.shell.facts import Sight

KEPT = f"{FOLDER}/settings.json"
_MOST = 4096
_WORD = re.compile(r"[A-Za-z0-9_-]{0,64}")


@dataclass(frozen=True, slots=True)
class Settings:
    """The last choices; empty where there were none.

    Attributes:
        level: as ``rescue capture --level`` takes it.
        place: UUID of the filesystem that took the image.
    """

    level: str = ""
    place: str = ""


def parse(data: bytes) -> Settings:
    """What a file says; whatever is not as it must be counts as nothing."""
    try:
        found = json.loads(data[:_MOST])
    except ValueError:
        return Settings()
    words = found if isinstance(found, dict) else {}
    kept = {name: str(words.get(name, "")) for name in ("level", "place")}
    return Settings(**{name: word if _WORD.fullmatch(word) else "" for name, word in kept.items()})


def of_capture(wish: TaskWish, sight: Sight) -> Settings | None:
    """The choices that made a task; None when it is no capture of this shell."""
    words = wish.words
    if len(words) < 3 or words[0] != "capture" or "--level" not in words[:-1]:
        return None
    place = sight.filesystem(Path(words[2].partition(":")[0]))
    return Settings(words[words.index("--level") + 1], place.uuid if place else "")


def load(node: Path) -> Settings:
    """What the data partition ``node`` keeps; nothing when it cannot be read."""
    with suppress(RescueError, OSError), held(node, writable=False) as opened:
        with (opened.root / KEPT).open("rb") as file:
            return parse(file.read(_MOST + 1))
    return Settings()


def save(settings: Settings, root: Path) -> None:
    """Write them to a mounted data partition, when they are others.

    Raises:
        DiskTrouble: it cannot be written.
    """
    path = root / KEPT
    text = json.dumps(asdict(settings)) + "\n"
    try:
        if path.exists() and path.read_text(errors="replace") == text:
            return
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
