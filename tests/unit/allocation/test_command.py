"""What partclone is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rescue.allocation import partclone
from rescue.core.process import Finished

_MAP = b"# map\n0x0 ?\n# pos size status\n0x0 0x1000 +\n0x1000 0x1000 ?\n"


def test_it_does_not_sleep_after_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread for progress sleeps two seconds at a time unless it is told not to."""
    asked: list[list[str]] = []

    def run(command: Sequence[str | Path], **_options: Any) -> Finished:
        words = [str(word) for word in command]
        asked.append(words)
        Path(words[words.index("-o") + 1]).write_bytes(_MAP)
        return Finished(tuple(words), 0, b"", b"")

    monkeypatch.setattr(partclone.process, "run", run)
    assert list(partclone.used_extents(Path("v"), "ext4", 0x2000).pairs()) == [(0, 0x1000)]
    (words,) = asked
    assert words[:2] == ["partclone.ext4", "-D"]
    assert words[words.index("-f") + 1] == "0"
    assert "-q" in words  # else it would print without a pause
