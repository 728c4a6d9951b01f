"""What all tests share: who needs root, who runs beside whom, what ran the virtual machines."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.boot.accelerator import CHOSEN, LOGS

# How long one example takes says nothing on a machine that does other work too.
settings.register_profile("rescue", deadline=None)
settings.load_profile("rescue")

_TOLD = 3000  # characters of a first failure that the summary repeats

# Started in the background of a script, this process ignores SIGINT, and so would every program
# that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Boot tests that come last, each by itself and the longest first: whichever worker has nothing else
# left takes one.
_LATE = tuple(
    f"tests/boot/test_{name}.py"
    for name in ("shell", "stick", "other_disks", "second_copy", "view")
)


def _turn(item: pytest.Item) -> int:
    """Machines first, then what needs no medium, then what does: it is built meanwhile."""
    for place, file in enumerate(_LATE):
        if item.nodeid.startswith(file):
            return 3 + place
    if item.nodeid.startswith("tests/boot/"):
        return 0
    return 2 if item.nodeid.startswith("tests/system/") else 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them in the order of their turns, and leave out what needs root when nobody is.

    That is never silent: pytest prints the reason.
    """
    items.sort(key=_turn)
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root (loop devices, mounts)"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Remove the disks that the tests of one file shared, once the last of them has run.

    A test's own directory goes with it, unless it failed (pyproject.toml); those that
    ``tmp_path_factory`` makes would stay to the end, and a whole run of them fills a disk.
    """
    yield
    if nextitem is not None and nextitem.path == item.path:
        return
    factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
    for path in factory.getbasetemp().iterdir():
        if path.is_dir() and not path.name.startswith(("test_", "popen-")):
            shutil.rmtree(path, ignore_errors=True)


def _guest_failed(report: pytest.TestReport) -> bool:
    """Whether it was the virtual machine that did not do what was waited for (tests/boot)."""
    return report.failed and "GuestFailed" in report.longreprtext


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test of a virtual machine once more when that failed, and say so, and why.

    Without KVM a kernel has been seen to stop without a word or to panic, about once in a hundred
    starts, where the same start passed the next time. What is found on the disks afterwards is no
    reason: only the guest gets a second try. The summary of warnings has what the first one said.
    """
    if item.get_closest_marker("boot") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    failed = next(filter(_guest_failed, reports), None)
    if failed is not None:
        why = failed.longreprtext[-_TOLD:]
        item.warn(pytest.PytestWarning(f"run a second time: {item.name}: {why}"))
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


class OneStartsMachines(LoadScopeScheduling):
    """With two workers (ci/test) one starts the virtual machines, the other does all the rest.

    Whoever is ready first then begins with the late ones. The tests of any other file stay
    together, because they share what they made.
    """

    def _split_scope(self, nodeid: str) -> str:
        """tests/boot is one scope, but for the late ones; every other file is one of its own."""
        file: str = nodeid.split("::", 1)[0]
        if file in _LATE:
            return nodeid
        return "boot" if file.startswith("tests/boot/") else file

    def _reschedule(self, node: Any) -> None:
        """One test ahead is enough, and all that a worker must have to run the one before it.

        By default it is two: minutes of machines, while the other worker has nothing to do.
        """
        if not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStartsMachines:
    """Hand out the tests as described there."""
    return OneStartsMachines(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist hands over what it chose."""
    chosen = getattr(node, "workeroutput", {}).get("accelerator")
    if chosen:
        node.config.stash[CHOSEN] = chosen


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what ran the guests: times mean nothing without it."""
    if name := config.stash.get(CHOSEN, ""):
        terminalreporter.write_line(f"virtual machines ran with {name}; serial logs: {LOGS}")
