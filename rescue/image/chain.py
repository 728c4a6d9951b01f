"""Chains: an incremental image, its parent, and so on down to the full one.

A parent is found by its image id among the files beside the child (or in folders that were named),
never by a file name that was read from an image. It must be complete and have the very root that
the child's header notes: a wrong, missing or changed parent is an error when the chain is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rescue.core.errors import ImageDamaged, ImageError, ImageIncomplete, RescueError
from rescue.image.container import Container
from rescue.image.header import BODY_START, MAGIC, Header, parse_header
from rescue.image.partreader import Ask

MAX_CHAIN = 256  # a layer has eight bits in the index


def read_header(path: Path) -> Header | None:
    """The header of a file, or None when it is not the first part of an image."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            block = os.pread(fd, BODY_START, 0)
        finally:
            os.close(fd)
        if MAGIC not in (block[:8], block[BODY_START // 2 : BODY_START // 2 + 8]):
            return None
        header, _ = parse_header(block)
    except (OSError, ImageError):
        return None
    return header if header.part == 0 else None


def images_in(folder: Path) -> Iterator[tuple[Path, Header]]:
    """The images (first parts) in a folder, by name; subfolders are not searched."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return
    for path in paths:
        if path.is_file():
            header = read_header(path)
            if header is not None:
                yield path, header


def find_image(image_id: bytes, folders: Sequence[Path]) -> list[Path]:
    """Every file with this image id in these folders."""
    return [
        path
        for folder in dict.fromkeys(folder.resolve() for folder in folders)
        for path, header in images_in(folder)
        if header.image_id == image_id
    ]


def open_chain(path: Path, look_in: Sequence[Path] = (), ask: Ask | None = None) -> list[Container]:
    """The image and its ancestors, itself first.

    Args:
        look_in: folders to search for parents besides the image's own.
        ask: asks a person for the next disc of a split image; None: nobody is there.

    Raises:
        ImageIncomplete: a parent is missing.
        ImageDamaged: a parent is not the one the child was made from.
        RescueError: the image itself cannot be opened.
    """
    chain = [Container(path, ask)]
    try:
        while chain[-1].header.incremental:
            if len(chain) == MAX_CHAIN:
                raise ImageDamaged(f"the chain is longer than {MAX_CHAIN} images")
            chain.append(_parent(chain[-1], [path.parent, *look_in]))
    except BaseException:
        close(chain)
        raise
    return chain


def _parent(child: Container, folders: Sequence[Path]) -> Container:
    wanted = child.header.parent_id
    problem: RescueError | None = None
    for path in find_image(wanted, folders):
        try:
            parent = Container(path)
        except RescueError as error:
            problem = error
            continue
        if parent.footer.root == child.header.parent_root:
            if parent.header.sealed == child.header.sealed:
                return parent
            problem = ImageDamaged(f"only one of {child.path} and its parent is encrypted")
        else:
            problem = ImageDamaged(
                f"{path} was changed after {child.path} was made from it",
                hint="look for the unchanged copy of it",
            )
        parent.close()
    if problem is not None:
        raise problem
    raise ImageIncomplete(
        f"the parent of {child.path} is missing (image id {wanted.hex()})",
        hint="put it into the same folder, or name its folder with --look-in",
    )


def close(chain: Sequence[Container]) -> None:
    """Close all."""
    for container in chain:
        container.close()
