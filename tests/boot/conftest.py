"""Fixtures of the boot tests: the accelerator, the machine under test, the media, logs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.boot import accelerator as accelerators
from tests.boot import media
from tests.boot.debian import Base, ensure_base
from tests.boot.qemu import Accelerator
from tests.boot.under_test import UnderTest, ensure_machine

_LOGS = accelerators.LOGS


@pytest.fixture(scope="session")
def base() -> Base:
    """A Debian as a tar, with its kernel."""
    return ensure_base()


@pytest.fixture(scope="session")
def accelerator(base: Base, pytestconfig: pytest.Config) -> Accelerator:
    """What really runs guests on this host."""
    chosen = accelerators.choose(base.kernel, base.initrd)
    pytestconfig.stash[accelerators.CHOSEN] = chosen.name
    if hasattr(pytestconfig, "workeroutput"):
        pytestconfig.workeroutput["accelerator"] = chosen.name
    return chosen


@pytest.fixture(scope="session")
def machine(base: Base, accelerator: Accelerator) -> UnderTest:
    """The machine under test, installed and started once."""
    return ensure_machine(base, accelerator)


@pytest.fixture(scope="session")
def iso() -> Path:
    """The rescue ISO, built if it is missing or old."""
    return media.ensure_iso()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A directory for disks, emptied afterwards: pytest would keep gigabytes of them."""
    yield tmp_path
    for path in tmp_path.glob("*.*"):
        path.unlink(missing_ok=True)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Where to keep a guest's serial log: build/boot-logs/TEST-NAME.log."""
    test = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")
    return lambda name: _LOGS / f"{test}-{name}.log"
