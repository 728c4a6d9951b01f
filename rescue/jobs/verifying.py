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


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """What is asked of a verification.

    Attributes:
        deep: decode every chunk and compare it with the hash of what was read.
        filesystems: have each filesystem checked by its own checker, besides ``deep``.
        secrets: what opens an encrypted image; stored bytes need none.
        look_in: folders in which parents and parts may lie.
    """

    image: Path
    deep: bool = False
    filesystems: bool = False
    secrets: Sequence[Secret] = ()
    look_in: Sequence[Path] = ()


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
    check = verify_deep if wish.deep or wish.filesystems else verify_stored
    report = check(wish.image, reporter, secrets=wish.secrets, look_in=wish.look_in)
    header = read_header(wish.image)
    if header is not None and header.sealed and not wish.secrets:
        return _verified(wish, None, report, None, monotonic() - started)
    checked: list[Checked] | None = None
    if wish.filesystems and report.ok:
        checked = _look_inside(wish, reporter)
    with Image.open(wish.image, secrets=wish.secrets, look_in=wish.look_in) as opened:
        return _verified(wish, opened, report, checked, monotonic() - started)


def _look_inside(wish: VerifyWish, reporter: Reporter) -> list[Checked]:
    from rescue.view.checking import check_volumes
    from rescue.view.opened import open_view
    from rescue.view.sources import image_source, open_image

    def opener(path: Path) -> Image:
        return open_image(path, secrets=wish.secrets, look_in=wish.look_in)

    # Sectors that could not be read are zeros to a checker: it judges what a restore would give.
    with image_source(wish.image, strict=False, opener=opener) as source:
        assert source.image is not None
        empty = {v.partition for v in source.image.manifest.volumes if v.method == "none"}
        with open_view(source, filesystems=False) as view:
            return list(check_volumes(view, reporter, left_out=frozenset(empty)))


def _listed(name: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Facts below each other; only the first one is named."""
    return [("" if i else name, one) for i, one in enumerate(words)]


def _verified(
    wish: VerifyWish,
    image: Image | None,
    report: Report,
    checked: Sequence[Checked] | None,
    seconds: float,
) -> Done:
    """Report and verdict; without a key nothing is known of what an encrypted image holds."""
    deep = report.level == "deep"
    hurt = [f"{one.what}: {one.where}" if one.where else one.what for one in report.damages]
    proven = [f"{format_size(report.checked)} of stored bytes compared with their hashes"]
    if deep:
        proven.append("every chunk decoded and compared with the hash of what was read")
    unproven = [] if deep else ["that every chunk decodes (rescue verify --deep)"]
    if checked is None:
        hint = "" if wish.filesystems else " (rescue verify --filesystems)"
        unproven.append(f"that its filesystems are whole{hint}")
    for one in checked or ():
        words = f": {one.words}" if one.words else ""
        if one.result == "whole":
            proven.append(f"{one.name} is whole" + (f", {one.words}" if one.words else ""))
        elif one.result == "unchecked":
            unproven.append(f"{one.name}{words}")
    unproven.append("that the machine starts from it (rescue boot shows it)")
    broken = [one for one in checked or () if one.result == "errors"]
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
    lines += [f"has errors: {one.name}" + (f": {one.words}" if one.words else "") for one in broken]
    status, verdict = _verdict(image, report, checked, broken)
    error = ""
    if status is Exit.DAMAGED:
        error = f"{wish.image} is damaged"
    elif status is Exit.UNSOUND:
        error = f"{wish.image} is of a disk with errors in {plural(len(broken), 'filesystem')}"
    return Done(
        status,
        (*lines, f"safe to rely on: {verdict}"),
        {
            "action": "verify",
            "image": str(wish.image),
            "safe_to_rely_on": not status,
            "because": verdict.split("because ", 1)[1],
            **report.to_json(),
            **({} if checked is None else {"filesystems": [one.to_json() for one in checked]}),
        },
        error=error,
    )


def _verdict(
    image: Image | None,
    report: Report,
    checked: Sequence[Checked] | None,
    broken: Sequence[Checked],
) -> tuple[Exit, str]:
    """Exit code, and what stands behind "safe to rely on"."""
    if not report.ok:
        places = plural(len(report.damages), "place")
        return Exit.DAMAGED, f"no, because the image is damaged in {places}"
    if broken:
        names = ", ".join(one.name for one in broken)
        return Exit.UNSOUND, (
            f"no, because there are errors in {names}; they were on the disk when it was captured: "
            "mend them there, then capture again"
        )
    if report.outcome.name != "COMPLETE":
        lost = summary.failed_words(image.manifest.ledger) if image else "some sectors"
        return Exit.UNREADABLE, f"no, because {lost} could not be read; the rest is whole"
    if report.level != "deep":
        return Exit.COMPLETE, "yes, because every stored byte is as it was written"
    whole = sum(one.result == "whole" for one in checked or ())
    if not whole:
        return Exit.COMPLETE, "yes, because every chunk decodes to what was read"
    named = "its filesystem is" if whole == 1 else f"{whole} filesystems are"
    return Exit.COMPLETE, f"yes, because every chunk decodes to what was read, and {named} whole"
