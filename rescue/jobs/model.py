"""A job: a TOML file that says what to do without anybody at the keyboard.

    action = "capture"                       # or "verify", "restore"
    source = { serial = "S4EVNX0M123456" }   # or wwn = "...", or label = "..."
    image = { label = "STORE", path = "images/pc.rescue" }
    then = "poweroff"                        # or "shell", "reboot"

Disks are named by what stays with them: serial number, WWN, or the label of a filesystem or
partition on them; a name such as /dev/sda belongs to another disk after the next start. A restore
confirms what it erases by naming the target's serial number or WWN once more in ``erase``; how it
is to be done is said as on the command line: ``fit = "all"``, ``into = "free"``,
``leave_out = [5]``, ``new_identity = true``.

Parsing is strict: an unknown key is an error, because a misspelt option must not be left out.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, cast

from rescue.core.errors import UsageError
from rescue.restore.gaps import parse_into
from rescue.restore.layout import parse_fit

Action = Literal["capture", "verify", "restore"]
After = Literal["shell", "reboot", "poweroff"]

MAX_JOB = 64 << 10
"""Bytes; a real job has a few hundred."""
MAX_LEVEL = 19  # zstd's levels above it need far more memory to decode

_COMMON = {"action", "image", "then"}
_KEYS: dict[str, set[str]] = {
    "capture": _COMMON | {"source", "partitions", "level", "all_sectors", "verify", "filesystems"},
    "verify": _COMMON | {"deep", "filesystems"},
    "restore": _COMMON
    | {"target", "partitions", "erase", "fit", "into", "leave_out", "new_identity"},
}


@dataclass(frozen=True, slots=True)
class DiskName:
    """Which disk: ``by`` is "serial", "wwn" or "label"."""

    by: Literal["serial", "wwn", "label"]
    value: str

    def __str__(self) -> str:
        return f"the disk with {self.by} {self.value}"


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where the image is: the label of its filesystem ("medium": the boot medium) and the path."""

    label: str
    path: str

    def __str__(self) -> str:
        return f"{self.label}:{self.path}"


@dataclass(frozen=True, slots=True)
class How:
    """How a restore is to be done; each as the option of ``rescue restore`` takes it."""

    fit: str = ""
    into: str = ""
    leave_out: tuple[int, ...] = ()
    new_identity: bool = False

    def words(self) -> str:
        """In words, to stand behind what is done; empty where nothing is asked."""
        said = [
            f"into {self.into}" if self.into else "",
            f"made to fit ({self.fit})" if self.fit else "",
            f"without {', '.join(map(str, self.leave_out))}" if self.leave_out else "",
            "with new identifiers" if self.new_identity else "",
        ]
        return "".join(f", {one}" for one in said if one)


@dataclass(frozen=True, slots=True)
class Job:
    """A parsed job.

    Attributes:
        disk: the source of a capture, the target of a restore; None for verify.
        erase: the confirmed identity of the target, serial or WWN; empty but for restore.
        verify: check the new image deeply after a capture.
        filesystems: have its filesystems checked by their own checkers, too.
        how: of a restore.
        digest: SHA-256 of the job's text; what "the same job" means.
    """

    action: Action
    image: ImagePlace
    disk: DiskName | None
    then: After
    partitions: tuple[int, ...]
    level: int
    all_sectors: bool
    deep: bool
    verify: bool
    filesystems: bool
    erase: str
    how: How
    digest: str

    def lines(self) -> list[str]:
        """The job in words."""
        what = {
            "capture": f"make an image of {self.disk} at {self.image}",
            "verify": f"check the image {self.image}{self._how_deep()}",
            "restore": f"restore {self.image} to {self.disk}, erasing {self.erase}",
        }[self.action]
        some = (
            f", partitions {', '.join(map(str, self.partitions))} only" if self.partitions else ""
        )
        more = f", then check the image{self._how_deep()}" if self.verify else ""
        return [f"{what}{some}{self.how.words()}{more}", f"afterwards: {self.then}"]

    def _how_deep(self) -> str:
        if self.filesystems:
            return " deeply, and its filesystems"
        return " deeply" if self.deep or self.verify else ""


class _Reader:
    """A TOML table, with errors that name the job, the key and the line."""

    def __init__(self, values: Mapping[str, Any], text: str, name: str) -> None:
        self.values, self._text, self._name = values, text, name

    def error(self, key: str, message: str, hint: str = "") -> UsageError:
        for number, line in enumerate(self._text.splitlines(), 1):
            if re.search(rf"(^|[\s{{,.\"']){re.escape(key)}[\"']?\s*[=.\]]", line):
                return UsageError(f"{self._name}, line {number}: {message}", hint=hint)
        return UsageError(f"{self._name}: {message}", hint=hint)

    def only(self, allowed: set[str], where: str) -> None:
        for key in self.values:
            if key not in allowed:
                raise self.error(
                    key, f"unknown key {key!r} {where}", f"known keys: {', '.join(sorted(allowed))}"
                )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise UsageError(f"{self._name}: the key {key!r} is missing")
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.error(key, f"{key!r} must be a text")
        if len(value) > 1024 or any(ord(letter) < 32 for letter in value):
            raise self.error(key, f"{key!r} is too long or holds control characters")
        return value.strip()

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"{key!r} must be true or false")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"{key!r} must be a number from {low} to {high}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise self.error(key, f"{key!r} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def table(self, key: str) -> _Reader:
        value = self.values.get(key)
        if value is None:
            raise UsageError(f"{self._name}: the key {key!r} is missing")
        if not isinstance(value, dict):
            raise self.error(key, f"{key!r} must be a table in braces")
        return _Reader(value, self._text, self._name)

    def partitions(self, key: str = "partitions") -> tuple[int, ...]:
        value = self.values.get(key, [])
        if (
            not isinstance(value, list)
            or len(value) > 256
            or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in value)
        ):
            raise self.error(key, f"{key!r} must be a list of partition numbers")
        return tuple(dict.fromkeys(value))


def parse_job(text: str, *, name: str = "job") -> Job:
    """Parse a job.

    Args:
        name: what errors call it; the file's name.

    Raises:
        UsageError: it is no TOML, a key is unknown, missing or makes no sense.
    """
    if len(text) > MAX_JOB:
        raise UsageError(f"{name} is too long for a job", hint="a job is a small TOML file")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(
            f"{name} is not TOML: {str(error)[:1].lower()}{str(error)[1:]}",
            hint="docs/cli.md shows what a job looks like",
        ) from error
    reader = _Reader(values, text, name)
    action = reader.choice("action", tuple(_KEYS))
    reader.only(_KEYS[action], f"in a job that says {action}")
    verify, filesystems = reader.flag("verify"), reader.flag("filesystems")
    if filesystems and action == "capture" and not verify:
        raise reader.error("filesystems", "'filesystems' needs 'verify'", "add verify = true")
    return Job(
        action=cast(Action, action),
        image=_image_place(reader),
        disk=_disk_name(reader, {"capture": "source", "restore": "target"}.get(action)),
        then=cast(After, reader.choice("then", ("shell", "reboot", "poweroff"), "shell")),
        partitions=reader.partitions(),
        level=reader.number("level", 3, 1, MAX_LEVEL),
        all_sectors=reader.flag("all_sectors"),
        deep=reader.flag("deep"),
        verify=verify,
        filesystems=filesystems,
        erase=_erase(reader) if action == "restore" else "",
        how=_how(reader) if action == "restore" else How(),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _image_place(reader: _Reader) -> ImagePlace:
    table = reader.table("image")
    table.only({"label", "path"}, "in 'image'")
    path = table.text("path").lstrip("/")
    if not path or ".." in PurePosixPath(path).parts:
        raise reader.error("path", "'path' must lead to a file inside the filesystem")
    return ImagePlace(label=table.text("label"), path=path)


def _disk_name(reader: _Reader, key: str | None) -> DiskName | None:
    if key is None:
        return None
    table = reader.table(key)
    table.only({"serial", "wwn", "label"}, f"in {key!r}")
    if len(table.values) != 1:
        raise reader.error(key, f"{key!r} must have exactly one of serial, wwn and label")
    by = next(iter(table.values))
    return DiskName(by=cast(Literal["serial", "wwn", "label"], by), value=table.text(by))


def _how(reader: _Reader) -> How:
    """How to restore: the checks of ``rescue restore``, with the line."""
    fit, into = reader.text("fit", ""), str(reader.values.get("into", ""))
    if not isinstance(reader.values.get("into", ""), int):
        into = reader.text("into", "")
    for key, value, parse in (("fit", fit, parse_fit), ("into", into, parse_into)):
        try:
            parse(value or None)
        except UsageError as error:
            message = f"{key!r} makes no sense: {value!r}"
            raise reader.error(key, message, error.hint) from error
    left, new = reader.partitions("leave_out"), reader.flag("new_identity")
    chosen = bool(reader.partitions())
    wrong = [
        ("into", into and not chosen, "'into' needs 'partitions'"),
        ("fit", fit and chosen, "'fit' and 'partitions' exclude each other"),
        ("leave_out", left and chosen, "'leave_out' and 'partitions' exclude each other"),
        ("new_identity", new and chosen and not into, "with 'partitions' it needs 'into'"),
    ]
    for key, is_so, message in wrong:
        if is_so:
            raise reader.error(key, message, "docs/cli.md says what goes together")
    return How(fit, into, left, new)


def _erase(reader: _Reader) -> str:
    if "erase" not in reader.values:
        raise UsageError(
            "a restore job must say what it erases: the key 'erase' is missing",
            hint='erase = "..." names the serial number or WWN of the target',
        )
    erase = reader.text("erase")
    if erase.startswith("/"):
        raise reader.error("erase", "'erase' must be a serial number or WWN, not a path")
    return erase
