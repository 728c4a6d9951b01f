"""What a restore job says of how it is done reaches the restore, and what it says will be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble
from rescue.core.progress import Silent
from rescue.devices.model import Disk
from rescue.jobs import describe, run
from rescue.jobs.find import Found
from rescue.jobs.model import parse_job
from rescue.jobs.restoring import Prepared, RestoreWish
from tests.unit.jobs.test_job_model import PARTS, RESTORE, SECOND
from tests.unit.shell.recorded import KEEP, MACHINE, World

TARGET: Disk = replace(MACHINE, serial="SECOND01")


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ({"serial": "s4evnx01"}, True),
        ({"serial": "", "wwn": "0x5000"}, True),
        ({"serial": "ANOTHER", "wwn": "0x6000"}, False),
        ({"serial": "SECOND01"}, False),  # the target itself
        ({"serial": "", "wwn": ""}, False),
        ({}, False),
    ],
)
def test_the_disk_of_the_image_beside_the_target(of: dict[str, str], told: bool) -> None:
    target = replace(TARGET, path=Path("/dev/sdx"))
    first = replace(MACHINE, wwn="0x5000")
    nameless = replace(MACHINE, path=Path("/dev/sdy"), serial="", wwn="")
    note = describe.twin_note(of, target, [nameless, target, first])
    assert ("/dev/sda" in note and "--new-identity" in note) is told
    assert bool(note) is told


@pytest.mark.parametrize("text", [SECOND, PARTS, RESTORE])
def test_it_is_handed_on(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    wishes: list[RestoreWish] = []

    @contextmanager
    def prepare(wish: RestoreWish) -> Iterator[Prepared]:
        wishes.append(wish)
        raise DiskTrouble("far enough")
        yield

    monkeypatch.setattr(run, "prepare", prepare)
    job = parse_job(text)
    with pytest.raises(DiskTrouble, match="far enough"):
        run._work(job, Found(TARGET, KEEP, ()), Path("/mnt/pc.rescue"), Silent())
    (wish,) = wishes
    assert (wish.fit or "", wish.into or "") == (job.how.fit, job.how.into)
    assert (wish.leave_out, wish.new_identity) == (job.how.leave_out, job.how.new_identity)
    assert (wish.partitions, wish.erase) == (job.partitions, job.erase)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SECOND, "Windows"),
        (PARTS, "nothing; new partitions"),
        (PARTS.replace('"free@10G"', "5"), "what partition 5 of"),
        (PARTS.replace('into = "free@10G"\nnew_identity = true\n', ""), "what partition 3 of"),
    ],
)
def test_what_will_be_lost(text: str, said: str) -> None:
    lines = Found(TARGET, KEEP, World().filesystems).lines(parse_job(text), lost=True)
    lost = [line for line in lines if line.startswith("will be lost: ")]
    assert any(said in line for line in lost)
    assert ("Windows" in " ".join(lost)) is (text == SECOND)
