"""The work of ``rescue verify``: how far an image is proven, and the verdict.

Bytes first: what is damaged is not looked into. Then, where it is asked for, each filesystem by its
own checker, because a picture that is right to the byte may be of something broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rescue.core.errors import Exit
from rescue.core.progress import Reporter
from rescue.core.units import format_duration, format_size, plural
from rescue.jobs import summary
from rescue.jobs.work import Done

if TYPE_CHECKING:
    from rescue.image.keys import Secret
    from rescue.image.reader import Image
    from rescue.verify.report import Report
    from rescue.view.checking import Checked
    from rescue.view.rehearsal import Rehearsed


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """What is asked of a verification.

    Attributes:
        deep: decode every chunk and compare it with the hash of what was read.
        filesystems: have each filesystem checked by its own checker, besides ``deep``.
        start: start a machine from it and see whether its system runs, besides ``deep``.
        secrets: what opens an encrypted image; stored bytes need none.
        look_in: folders in which parents and parts may lie.
    """

    image: Path
    deep: bool = False
    filesystems: bool = False
    start: bool = False
    secrets: Sequence[Secret] = ()
    look_in: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """How far it is proven.

    Attributes:
        checked: its filesystems; None when nobody looked.
        rehearsed: its start; None when there was none.
    """

    report: Report
    checked: Sequence[Checked] | None = None
    rehearsed: Rehearsed | None = None

    @property
    def broken(self) -> list[Checked]:
        """Filesystems with errors."""
        return [one for one in self.checked or () if one.result == "errors"]


def verify(wish: VerifyWish, reporter: Reporter) -> Done:
    """Check an image as far as it is asked for.

    Raises:
        RescueError: it cannot be read at all, or was never finished.
    """
    from rescue.image.chain import read_header
    from rescue.image.reader import Image
    from rescue.verify.deep import verify_deep
    from rescue.verify.stored import verify_stored

    started = monotonic()
    check = verify_deep if wish.deep or wish.filesystems or wish.start else verify_stored
    report = check(wish.image, reporter, secrets=wish.secrets, look_in=wish.look_in)
    header = read_header(wish.image)
    if header is not None and header.sealed and not wish.secrets:
        return _verified(wish, None, Proof(report), monotonic() - started)
    proof = Proof(report)
    if (wish.filesystems or wish.start) and report.ok:
        proof = _look_inside(wish, report, reporter)
    with Image.open(wish.image, secrets=wish.secrets, look_in=wish.look_in) as opened:
        return _verified(wish, opened, proof, monotonic() - started)


def _look_inside(wish: VerifyWish, report: Report, reporter: Reporter) -> Proof:
    """What lies beyond the bytes, through a view."""
    from rescue.view.checking import check_volumes
    from rescue.view.opened import open_view
    from rescue.view.rehearsal import LIMIT, rehearse
    from rescue.view.sources import image_source, open_image
    from rescue.view.starting import as_it_was

    def opener(path: Path) -> Image:
        return open_image(path, secrets=wish.secrets, look_in=wish.look_in)

    # Sectors that could not be read are zeros to a checker: it judges what a restore would give.
    with image_source(wish.image, strict=False, opener=opener) as source:
        assert source.image is not None
        empty = {v.partition for v in source.image.manifest.volumes if v.method == "none"}
        with open_view(source, filesystems=False) as view:
            checked, rehearsed = None, None
            if wish.filesystems:
                checked = tuple(check_volumes(view, reporter, left_out=frozenset(empty)))
            if wish.start:
                rehearsed = rehearse(view, as_it_was(view), "auto", LIMIT, reporter)
            return Proof(report, checked, rehearsed)


def _listed(name: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Facts below each other; only the first one is named."""
    return [("" if i else name, one) for i, one in enumerate(words)]


def _verified(wish: VerifyWish, image: Image | None, proof: Proof, seconds: float) -> Done:
    """Report and verdict; without a key nothing is known of what an encrypted image holds."""
    report = proof.report
    hurt = [f"{one.what}: {one.where}" if one.where else one.what for one in report.damages]
    proven, unproven = _what_is_proven(wish, proof)
    lines = summary.facts(
        [
            ("image", f"{wish.image}, id {report.image_id}"),
            ("disk", summary.disk_of(image.manifest) if image else "not known without the key"),
            *(summary.ledger_pairs(image.manifest.ledger) if image else ()),
            *_listed("checked", proven),
            *_listed("not checked", unproven),
            ("took", format_duration(seconds)),
        ]
    )
    lines += [f"damaged: {line}" for line in summary.shortened(hurt, "places")]
    lines += [f"has errors: {_named(one)}" for one in proof.broken]
    if proof.rehearsed and not proof.rehearsed.started:
        lines += [f"its serial console: {line}" for line in proof.rehearsed.serial]
    status, verdict = _verdict(image, proof)
    because = verdict.split("because ", 1)[1]
    error = ""
    if status is Exit.DAMAGED:
        error = f"{wish.image} is damaged"
    elif status is Exit.UNSOUND:
        error = f"{wish.image} is what the disk was, but not proven to work"
    return Done(
        status,
        (*lines, f"safe to rely on: {verdict}"),
        {
            "action": "verify",
            "image": str(wish.image),
            "safe_to_rely_on": not status,
            "because": because,
            **report.to_json(),
            **({"filesystems": [c.to_json() for c in proof.checked]} if proof.checked else {}),
            **({"start": proof.rehearsed.to_json()} if proof.rehearsed else {}),
        },
        error=error,
    )


def _named(one: Checked) -> str:
    return f"{one.name}: {one.words}" if one.words else one.name


def _what_is_proven(wish: VerifyWish, proof: Proof) -> tuple[list[str], list[str]]:
    """What was checked and held, and what nobody looked at."""
    proven = [f"{format_size(proof.report.checked)} of stored bytes compared with their hashes"]
    unproven = []
    if proof.report.level == "deep":
        proven.append("every chunk decoded and compared with the hash of what was read")
    else:
        unproven.append("that every chunk decodes (rescue verify --deep)")
    if proof.checked is None:
        hint = "" if wish.filesystems else " (rescue verify --filesystems)"
        unproven.append(f"that its filesystems are whole{hint}")
    for one in proof.checked or ():
        if one.result == "whole":
            proven.append(f"{one.name} is whole" + (f", {one.words}" if one.words else ""))
        elif one.result == "unchecked":
            unproven.append(_named(one))
    if proof.rehearsed is None:
        hint = "" if wish.start else " (rescue verify --start)"
        unproven.append(f"that the machine starts from it{hint}")
    elif proof.rehearsed.started:
        proven.append(f"a machine was started from it: {proof.rehearsed.words}")
    return proven, unproven


def _verdict(image: Image | None, proof: Proof) -> tuple[Exit, str]:
    """Exit code, and what stands behind "safe to rely on"."""
    report = proof.report
    if not report.ok:
        places = plural(len(report.damages), "place")
        return Exit.DAMAGED, f"no, because the image is damaged in {places}"
    if proof.broken:
        names = ", ".join(one.name for one in proof.broken)
        return Exit.UNSOUND, (
            f"no, because there are errors in {names}; they were on the disk when it was captured: "
            "mend them there, then capture again"
        )
    if proof.rehearsed and not proof.rehearsed.started:
        return Exit.UNSOUND, (
            f"no, because a machine that was started from it did not come far: "
            f"{proof.rehearsed.words}; rescue boot shows it"
        )
    if report.outcome.name != "COMPLETE":
        lost = summary.failed_words(image.manifest.ledger) if image else "some sectors"
        return Exit.UNREADABLE, f"no, because {lost} could not be read; the rest is whole"
    if report.level != "deep":
        return Exit.COMPLETE, "yes, because every stored byte is as it was written"
    reasons = ["every chunk decodes to what was read"]
    if whole := sum(one.result == "whole" for one in proof.checked or ()):
        reasons.append(f"{plural(whole, 'filesystem is', 'filesystems are')} whole")
    if proof.rehearsed:
        reasons.append("its machine starts")
    return (
        Exit.COMPLETE,
        f"yes, because {', '.join(reasons[:-1])}{' and ' if reasons[1:] else ''}{reasons[-1]}",
    )
