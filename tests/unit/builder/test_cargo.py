"""What a recovery medium carries: images with their parts, jobs that fit them, and mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.cargo import MAX_JOB, Cargo
from rescue.core.errors import DiskTrouble, UsageError

JOB = """action = "restore"
image = { label = "medium", path = "rescue/images/pc.rescue" }
"""


def files(folder: Path) -> tuple[Path, Path]:
    image, job = folder / "pc.rescue", folder / "pc.toml"
    for name in ("pc.rescue", "pc.rescue.002", "pc.rescue.003", "pc.rescue.005"):
        (folder / name).write_bytes(b"x")
    job.write_text(JOB)
    return image, job


def test_images_bring_their_parts(tmp_path: Path) -> None:
    image, job = files(tmp_path)
    assert Cargo((image,), (job,)).content() == {
        "rescue/images/pc.rescue": image,
        "rescue/images/pc.rescue.002": tmp_path / "pc.rescue.002",
        "rescue/images/pc.rescue.003": tmp_path / "pc.rescue.003",
        "rescue/recovery/pc.toml": job,
    }
    assert Cargo().content() == {}


def test_mistakes(tmp_path: Path) -> None:
    image, job = files(tmp_path)
    with pytest.raises(UsageError, match="not among those that are included") as caught:
        Cargo((), (job,)).content()
    assert "add --include" in caught.value.hint
    with pytest.raises(UsageError, match="two files are to be"):
        Cargo((image, image), ()).content()
    with pytest.raises(DiskTrouble, match="there is no file"):
        Cargo((tmp_path / "gone",), ()).content()
    os.truncate(image, 5 << 30)
    with pytest.raises(UsageError, match="a file on a disc has at most") as caught:
        Cargo((image,), ()).content()
    assert "--part-size fat32" in caught.value.hint
    (tmp_path / "a b").write_text("")
    with pytest.raises(UsageError, match="cannot be an image's name"):
        Cargo((tmp_path / "a b",), ()).content()
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(UsageError, match="not a job file's name"):
        Cargo((), (tmp_path / "x.txt",)).content()
    for data in (b"action =", b"\xff\xfe"):
        job.write_bytes(data)
        with pytest.raises(UsageError, match="not a job"):
            Cargo((), (job,)).content()
    job.write_bytes(b"#" * (MAX_JOB + 1))
    with pytest.raises(UsageError, match="larger than a job"):
        Cargo((), (job,)).content()
