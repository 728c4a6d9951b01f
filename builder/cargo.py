"""What a recovery medium carries on top of the system: images, and jobs that the menu offers.

An image lies in /rescue/images, where a job finds it under the label ``medium``. A job lies in
/rescue/recovery and not in /rescue/jobs, whose jobs run by themselves: it is started by choosing
its entry in the menu, which is the one confirmation. It names its target by serial number.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from builder.iso.tree import MAX_FILE
from rescue.core.errors import DiskTrouble, UsageError, from_os_error

IMAGES = "rescue/images"
JOBS = "rescue/recovery"
MAX_JOB = 1 << 20
"""A job is written by hand."""

_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,58}\.toml")


@dataclass(frozen=True, slots=True)
class Cargo:
    """Files of this host to carry."""

    images: tuple[Path, ...] = ()
    jobs: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the jobs, as the menu shows them."""
        return tuple(job.name for job in self.jobs)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each file of the images."""
        return tuple(_size_of(part) for image in self.images for part in _parts(image))

    @property
    def paths(self) -> frozenset[str]:
        """Where the files of the images lie on a medium."""
        return frozenset(f"{IMAGES}/{part.name}" for image in self.images for part in _parts(image))

    def is_split(self, image: Path) -> bool:
        """Whether one of the images has more than one file."""
        return len(_parts(image)) > 1

    def largest(self, image: Path) -> int:
        """Bytes of the largest file of one of the images."""
        return max(_size_of(part) for part in _parts(image))

    def content(self) -> dict[str, Path | bytes]:
        """Path on the medium to what lies there.

        Raises:
            UsageError: a name, a size or a job that cannot be on a medium.
            DiskTrouble: a file cannot be read.
        """
        found: dict[str, Path | bytes] = {}
        for image in self.images:
            if not _IMAGE_NAME.fullmatch(image.name):
                raise UsageError(
                    f"{image.name!r} cannot be an image's name on a medium",
                    hint="letters, digits, dots, - and _",
                )
            for part in _parts(image):
                _add(found, f"{IMAGES}/{part.name}", part, _size_of(part))
        for job in self.jobs:
            if not _JOB_NAME.fullmatch(job.name):
                raise UsageError(
                    f"{job.name!r} is not a job file's name", hint="letters, digits, then .toml"
                )
            if _size_of(job) > MAX_JOB:
                raise UsageError(f"{job} is larger than a job can be")
            _check_job(job, {f"{IMAGES}/{image.name}" for image in self.images})
            _add(found, f"{JOBS}/{job.name}", job, 0)
        return found


def _parts(image: Path) -> tuple[Path, ...]:
    """The image's file and, of a split one, the others beside it (docs/format.md, Parts)."""
    parts = [image]
    while (more := image.with_name(f"{image.name}.{len(parts) + 1:03d}")).is_file():
        parts.append(more)
    return tuple(parts)


def _add(found: dict[str, Path | bytes], path: str, source: Path, size: int) -> None:
    if path in found:
        raise UsageError(f"two files are to be {path} on the medium", hint="rename one of them")
    if size > MAX_FILE:
        raise UsageError(
            f"{source} is {size} bytes, and a file on a disc has at most {MAX_FILE}",
            hint=f"split it: rescue merge {source} parts/{source.name} --part-size fat32",
        )
    found[path] = source


def _size_of(path: Path) -> int:
    try:
        if not path.is_file():
            raise DiskTrouble(f"there is no file {path}")
        with path.open("rb"):
            return path.stat().st_size
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _check_job(job: Path, images: set[str]) -> None:
    """It is TOML, and an image that it wants from the medium is there.

    ``rescue job`` checks everything else, and stops at a screen that says what is wrong.
    """
    try:
        table = tomllib.loads(job.read_text())
    except OSError as error:
        raise from_os_error(error, f"read {job}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{job}: not a job: {error}", hint="see docs/cli.md, Job files") from error
    image = table.get("image")
    if isinstance(image, dict) and image.get("label") == "medium":
        wanted = str(image.get("path", "")).lstrip("/")
        if wanted not in images:
            raise UsageError(
                f"{job}: the image {wanted!r} is not among those that are included",
                hint=f"allowed: {', '.join(sorted(images)) or 'none: add --include IMAGE'}",
            )
