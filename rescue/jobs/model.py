"""A job: a TOML file that says what to do without anybody at the keyboard.

    action = "capture"                       # or "verify", "restore"
    source = { serial = "S4EVNX0M123456" }   # or wwn = "...", or label = "..."
    image = { label = "STORE", path = "images/pc.rescue" }
    then = "poweroff"                        # or "shell", "reboot"

Disks are named by what stays with them: serial number, WWN, or the label of a filesystem or
partition on them; a name such as /dev/sda belongs to another disk after the next start. A restore
confirms what it erases by naming the target's serial number or WWN once more in ``erase``; how it
is to be done is said as on the command line: ``fit = "all"``, ``into = "free"``,
``leave_out = [5]``, ``new_identity = true``. An encrypted image is made for
``recipients``, and opened by what ``key_file = { label = "KEYS", path = "pc.key" }`` names.

Parsing is strict: an unknown key is an error, because a misspelt option must not be left out.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, cast

from rescue.core.errors import UsageError
from rescue.jobs.tables import TableReader
from rescue.restore.gaps import parse_into
from rescue.restore.layout import parse_fit

Action = Literal["capture", "verify", "restore"]
After = Literal["shell", "reboot", "poweroff"]

MAX_JOB = 64 << 10
"""Bytes; a real job has a few hundred."""
_MAX_RECIPIENTS = 15  # an image has 16 key slots, and one may be a passphrase's
MAX_LEVEL = 19  # zstd's levels above it need far more memory to decode

_COMMON = {"action", "image", "then"}
# Files that hold what opens an image; each as the option of the verbs takes it.
_SECRETS = ("passphrase_file", "recovery_key_file", "key_file")
_KEYS: dict[str, set[str]] = {
    "capture": _COMMON
    | {"source", "partitions", "level", "all_sectors", "verify", "filesystems"}
    | {"recipients", "passphrase_file", "key_file"},
    "verify": _COMMON | {"deep", "filesystems"} | set(_SECRETS),
    "restore": _COMMON
    | {"target", "partitions", "erase", "fit", "into", "leave_out", "new_identity"}
    | set(_SECRETS),
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
class SecretPlace:
    """Where what opens an image is kept; ``option`` says what it is."""

    option: str
    place: ImagePlace

    def __str__(self) -> str:
        return f"{self.option.removesuffix('_file').replace('_', ' ')} in {self.place}"


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
        recipients: public keys that a new image is encrypted for.
        secrets: where that is kept which opens the image, or encrypts a new one.
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
    recipients: tuple[str, ...]
    secrets: tuple[SecretPlace, ...]
    digest: str

    @property
    def encrypts(self) -> bool:
        """Whether it makes an encrypted image."""
        named = any(one.option == "passphrase_file" for one in self.secrets)
        return self.action == "capture" and (bool(self.recipients) or named)

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
        sealed = ", encrypted" if self.encrypts else ""
        more = f", then check the image{self._how_deep()}" if self.verify else ""
        return [f"{what}{some}{sealed}{self.how.words()}{more}", f"afterwards: {self.then}"]

    def _how_deep(self) -> str:
        if self.filesystems:
            return " deeply, and its filesystems"
        return " deeply" if self.deep or self.verify else ""


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
    reader = TableReader(values, text, name)
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
        recipients=_recipients(reader),
        secrets=_secrets(reader, action),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _image_place(reader: TableReader, key: str = "image") -> ImagePlace:
    table = reader.table(key)
    table.only({"label", "path"}, f"in {key!r}")
    path = table.text("path").lstrip("/")
    if not path or ".." in PurePosixPath(path).parts:
        raise reader.error("path", "'path' must lead to a file inside the filesystem")
    return ImagePlace(label=table.text("label"), path=path)


def _disk_name(reader: TableReader, key: str | None) -> DiskName | None:
    if key is None:
        return None
    table = reader.table(key)
    table.only({"serial", "wwn", "label"}, f"in {key!r}")
    if len(table.values) != 1:
        raise reader.error(key, f"{key!r} must have exactly one of serial, wwn and label")
    by = next(iter(table.values))
    return DiskName(by=cast(Literal["serial", "wwn", "label"], by), value=table.text(by))


def _how(reader: TableReader) -> How:
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


def _recipients(reader: TableReader) -> tuple[str, ...]:
    """Public keys, each looked at once, so that a mistake is known before anything begins."""
    value = reader.values.get("recipients", [])
    right = isinstance(value, list) and len(value) <= _MAX_RECIPIENTS
    if not right or not all(isinstance(one, str) for one in value):
        message = f"'recipients' must be a list of public keys, {_MAX_RECIPIENTS} at most"
        raise reader.error("recipients", message)
    from rescue.image.keys import parse_public

    for one in value:
        try:
            parse_public(one)
        except UsageError as error:
            raise reader.error("recipients", error.message, error.hint) from error
    return tuple(dict.fromkeys(value))


def _secrets(reader: TableReader, action: str) -> tuple[SecretPlace, ...]:
    named = [key for key in _SECRETS if key in reader.values]
    if action == "capture" and "key_file" in named and "recipients" not in reader.values:
        raise reader.error("key_file", "'key_file' needs 'recipients'", "they encrypt, it opens")
    if reader.values.get("recipients") and reader.values.get("verify") and not named:
        hint = "name the key_file of one of the 'recipients'"
        raise reader.error("verify", "'verify' needs what opens the image", hint)
    return tuple(SecretPlace(key, _image_place(reader, key)) for key in named)


def _erase(reader: TableReader) -> str:
    if "erase" not in reader.values:
        raise UsageError(
            "a restore job must say what it erases: the key 'erase' is missing",
            hint='erase = "..." names the serial number or WWN of the target',
        )
    erase = reader.text("erase")
    if erase.startswith("/"):
        raise reader.error("erase", "'erase' must be a serial number or WWN, not a path")
    return erase
