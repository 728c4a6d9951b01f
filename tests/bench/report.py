"""docs/benchmarks.md and its chart, from the jobs that were run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.timing import Job

# Behind this line the page is written by hand, and kept.
BY_HAND = "## What stops the ones that are not met"

# What docs of the project promise: (words, which figure of which jobs, bound, "at least"?)
_TARGETS = (
    ("capture at level 3 against partclone, zstd -3", "partclone3", "ours3", 2.2),
    ("capture at level 1 against partclone, zstd -1", "partclone1", "ours1", 3.0),
    ("restore to a file against partclone.restore", "partclone-restore", "restore", 3.0),
    ("restore --changed-only, 1 % different, against a full one", "restore", "changed", 4.0),
    ("verify (stored bytes) against partclone.chkimg", "chkimg", "verify", 20.0),
    ("verify --deep against partclone.chkimg", "chkimg", "deep", 4.0),
    ("reading through the view against verify --deep", "deep", "view-sequence", 0.7),
    ("the same past the kernel's cache (O_DIRECT)", "deep", "view-direct", 0.7),
    ("incremental capture against the first", "ours3", "incremental", 4.0),
)


def _wall(one: Job, other: Job) -> float:
    return one.wall / other.wall


def _out(one: Job, other: Job) -> float:
    return one.out / other.out


def _percent(one: Job, other: Job) -> float:
    return 100 * one.out / other.out


def _share(job: Job) -> float:
    return 100 * job.out / job.whole


# (words, jobs, figure of them, bound, unit)
_LIMITS: tuple[tuple[str, tuple[str, ...], Callable[..., float], float, str], ...] = (
    ("size against partclone, zstd -3", ("ours3", "partclone3"), _out, 1.03, ""),
    ("capture against the bare limit, level 3", ("ours3", "bare3"), _wall, 1.25, ""),
    ("capture against the bare limit, level 1", ("ours1", "bare1"), _wall, 1.25, ""),
    ("the same at level 3 without the codec check", ("unchecked", "bare3"), _wall, 1.10, ""),
    ("incremental, 1 % rewritten: size", ("incremental", "ours3"), _percent, 2, " %"),
    ("incremental, 1 % scattered: size", ("scattered", "ours3"), _percent, 4, " %"),
    ("restore --changed-only: written of it", ("changed",), _share, 2, " %"),
    ("encryption on against off", ("sealed", "ours3"), _wall, 1.10, ""),
    ("peak memory, 1 TB disk", ("terabyte",), lambda job: job.memory / 1e6, 400, " MB"),
    ("peak memory, 1 TB in use", ("full-terabyte",), lambda job: job.memory / 1e6, 400, " MB"),
    ("rescue --help", ("help",), lambda job: job.wall, 0.25, " s"),
    ("rescue show", ("show",), lambda job: job.wall, 0.4, " s"),
)


def cpu() -> str:
    """The processor in words."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def table(jobs: dict[str, Job]) -> str:
    """Every job: seconds, bytes, processor, memory."""
    lines = [
        "| job | median s | min-max | processor s | MB written | peak MB of one process |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for job in jobs.values():
        lines.append(
            f"| {job.name} | {job.wall:.2f} | {job.spread} | {job.processor:.1f} | "
            f"{job.out / 1e6:,.1f} | {job.memory / 1e6:.0f} |"
        )
    return "\n".join(lines)


def ratios(jobs: dict[str, Job]) -> list[tuple[str, str, str, bool]]:
    """(what, measured, target, whether it is met)."""
    rows: list[tuple[str, str, str, bool]] = []
    for words, slow, fast, bound in _TARGETS:
        if slow not in jobs or fast not in jobs:
            continue
        ratio = jobs[slow].wall / jobs[fast].wall
        rows.append((words, f"{ratio:.2f} times as fast", f">= {bound}", ratio >= bound))

    def at_most(words: str, value: float, bound: float, unit: str = "") -> None:
        rows.append((words, f"{value:.3g}{unit}", f"<= {bound:g}{unit}", value <= bound))

    for words, needed, value, limit, unit in _LIMITS:
        if all(key in jobs for key in needed):
            at_most(words, value(*(jobs[key] for key in needed)), limit, unit)
    return rows


def write(docs: Path, jobs: dict[str, Job], used: int, rounds: int) -> None:
    """Write the report and its chart."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `ci/bench`; figures are whole processes, medians of "
        f"{rounds} rounds in which every job ran once, in an order of the round's own, warm cache.",
        "",
        f"* {datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} processors, "
        f"Linux {platform.release().split('-')[0]}",
        f"* corpus: {used / 1e9:.2f} GB used of an ext4 volume, real files of the machine",
        "* outputs are flushed to the disk; each source is read into memory before every run, and"
        " the volumes of other jobs are taken out of it",
        "* sizes, builds and starts of the media: [benchmarks-media.md](benchmarks-media.md)",
        "",
        "![seconds of each capture](benchmarks.svg)",
        "",
        "## Targets",
        "",
        "| what | measured | target | |",
        "|---|---:|---:|---|",
    ]
    for what, measured, target, met in ratios(jobs):
        lines.append(f"| {what} | {measured} | {target} | {'met' if met else '**not met**'} |")
    lines += ["", "## Every job", "", table(jobs), ""]
    docs.mkdir(parents=True, exist_ok=True)
    page = docs / "benchmarks.md"
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    if BY_HAND in before:
        lines.append(before[before.index(BY_HAND) :])
    page.write_text("\n".join(lines), encoding="utf-8")
    keys = ("ours1", "ours3", "sealed", "partclone1", "partclone3", "pigz", "qemu-img", "borg",
            "restic", "fsarchiver")  # fmt: skip
    (docs / "benchmarks.svg").write_text(chart([jobs[key] for key in keys if key in jobs]))
    print("\n".join(lines))


def chart(jobs: list[Job]) -> str:
    """Bars of seconds, ours dark."""
    width, left, row = 760, 320, 26
    longest = max(job.wall for job in jobs)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{row * len(jobs) + 20}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for i, job in enumerate(sorted(jobs, key=lambda one: one.wall)):
        y = 10 + row * i
        length = (width - left - 80) * job.wall / longest
        colour = "#1b5e8c" if job.name.startswith("rescue") else "#b8c4cc"
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{job.name}</text>')
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{length:.0f}" height="{row - 8}"'
            f' fill="{colour}"/>'
        )
        parts.append(f'<text x="{left + length + 6:.0f}" y="{y + 16}">{job.wall:.1f} s</text>')
    return "\n".join([*parts, "</svg>", ""])
