"""What the verbs that look into images share: opening them, and their failures as JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescue.cli.console import put_json
from rescue.cli.secrets import for_image, given
from rescue.core.errors import RescueError

if TYPE_CHECKING:
    from rescue.image.reader import Image
    from rescue.view.sources import Opener


def opener(
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    recovery_key_file: Path | None,
    key_file: Path | None,
    look_in: list[Path] | None,
) -> Opener:
    """A function that opens an image with what was given, or asks the person for a passphrase."""
    secrets = given(passphrase_file, passphrase_fd, recovery_key_file, key_file)

    def open_one(path: Path) -> Image:
        from rescue.view.sources import open_image

        return open_image(path, secrets=for_image(path, secrets), look_in=look_in or ())

    return open_one


def failing_in_json(verb: Callable[..., int]) -> Callable[..., int]:
    """The verb; with --json its failure is an object on stdout, besides the line on stderr."""

    @functools.wraps(verb)
    def run(*words: Any, **options: Any) -> int:
        try:
            return verb(*words, **options)
        except RescueError as error:
            if options.get("json"):
                put_json({"error": error.message, "hint": error.hint, "exit": int(error.exit_code)})
            raise

    return run
