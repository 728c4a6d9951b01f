"""Unit tests start no process: what needs a real tool belongs in tests/system."""

from __future__ import annotations

import os
import subprocess
from typing import NoReturn

import pytest

_STARTERS = ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "execv", "execve")


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts a program fails the test that did it."""

    def refuse(*words: object, **_more: object) -> NoReturn:
        raise AssertionError(f"a unit test tried to start a process: {words[:2]}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in _STARTERS:
        monkeypatch.setattr(os, name, refuse)
