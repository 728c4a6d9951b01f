"""Every job of the benchmark, by a short key, in the order in which they run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench import corpus, timing
from tests.bench.timing import Job

ROOT = Path(__file__).resolve().parents[2]
RESCUE = ROOT / ".venv/bin/rescue"
PYTHON = ROOT / ".venv/bin/python"
# The share of the clusters or bytes that change before an incremental capture.
CHANGED = 0.01


class Bench:
    """All jobs; a corpus is made when the first job that reads it is chosen.

    Attributes:
        quick: those that a target is about, without the slow peers.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.out.mkdir(exist_ok=True)
        self.root = folder / "root.ext4"
        self.jobs: dict[str, Job] = {}
        self._makers: dict[Path, Callable[[], object]] = {
            self.root: lambda: corpus.ext4(folder, size),
            folder / "changed.ext4": lambda: corpus.changed(folder, self.root, CHANGED),
            folder / "scattered.ext4": lambda: corpus.scattered(folder, self.root, CHANGED),
            folder / "terabyte.ext4": lambda: corpus.terabyte(folder, self.root),
            folder / "data.ntfs": lambda: corpus.ntfs(folder, size // 4),
            folder / "noise.ext4": lambda: corpus.compressed(folder, size // 4),
        }
        self._captures()
        self._back()
        self._incremental()
        self._others()
        self.quick = tuple(self.jobs)
        self._peers()

    def choose(self, keys: Iterable[str]) -> dict[str, Job]:
        """These jobs and those whose outputs they read, in order; their corpora are made."""
        wanted = set(keys)
        for key in reversed(self.jobs):
            if key in wanted:
                wanted.update(self.jobs[key].needs)
        chosen = {key: job for key, job in self.jobs.items() if key in wanted}
        sources = {self.root, *(job.source for job in chosen.values())}
        for path, make in self._makers.items():
            if path in sources:
                make()
        return chosen

    def alone(self, job: Job) -> None:
        """Take out of the kernel's cache what other jobs read.

        Together it is most of a machine's memory: who writes next may have to make room, and who
        only reads has not.
        """
        for path in self._makers:
            if path != job.source and path.exists():
                corpus.chill(path)

    def _add(
        self,
        key: str,
        name: str,
        command: str,
        output: Path | None = None,
        *,
        source: Path | None = None,
        needs: tuple[str, ...] = (),
        keep: bool = False,
    ) -> Job:
        """A job; its output is removed before each run, and after it unless others read it."""
        job = Job(name, command, output, source or self.root, needs, keep)
        self.jobs[key] = job
        return job

    def _captures(self) -> None:
        out, root = self.out, self.root
        for level in (3, 1):
            image = out / f"ours{level}.rescue"
            self._add(f"ours{level}", f"rescue capture --level {level}",
                      f"{RESCUE} capture --level {level} {root} {image}",
                      image, keep=level == 3)  # fmt: skip
            packed = out / f"partclone{level}.zst"
            self._add(f"partclone{level}", f"partclone.ext4 -c, zstd -{level} -T0",
                      f"{_partclone(root)} | zstd -q -{level} -T0 -o {packed} && sync {packed}",
                      packed, keep=level == 3)  # fmt: skip
            self._add(f"bare{level}", f"bare limit: pread, zstd {level}",
                      f"{PYTHON} -m tests.bench.bare {root} {level}")  # fmt: skip
        image = out / "unchecked.rescue"
        self._add("unchecked", "the library's capture, level 3, codec check off",
                  f"{PYTHON} -m tests.bench.unchecked {root} {image}", image)  # fmt: skip
        key, sealed = out / "key", out / "sealed.rescue"
        job = self._add("sealed", "rescue capture --recipient (encrypted)",
                        f"{RESCUE} capture --recipient $(cat {key}.pub) {root} {sealed}",
                        sealed)  # fmt: skip
        job.before = functools.partial(
            corpus.sh, "sh", "-c", f"rm -f {key}; {RESCUE} key new {key} > {key}.pub"
        )

    def _back(self) -> None:
        out = self.out
        image, packed = out / "ours3.rescue", out / "partclone3.zst"
        self._add("restore", "rescue restore to a file", f"{RESCUE} restore {image} {out}/a.raw",
                  out / "a.raw", source=image, needs=("ours3",))  # fmt: skip
        self._add("restore-unread", "rescue restore --no-read-back to a file",
                  f"{RESCUE} restore --no-read-back {image} {out}/a.raw",
                  out / "a.raw", source=image, needs=("ours3",))  # fmt: skip
        self._add("partclone-restore", "zstd -dc, partclone.restore to a file, synced",
                  f"zstd -qdc {packed} | partclone.restore -s - -o {out}/b.raw -W -L /dev/null -C"
                  f" 2>/dev/null && sync {out}/b.raw",
                  out / "b.raw", source=packed, needs=("partclone3",))  # fmt: skip
        self._add("verify", "rescue verify (stored bytes)", f"{RESCUE} verify {image}",
                  source=image, needs=("ours3",))  # fmt: skip
        self._add("deep", "rescue verify --deep", f"{RESCUE} verify --deep {image}",
                  source=image, needs=("ours3",))  # fmt: skip
        self._changed(image)
        self._views(image)
        self._add("chkimg", "zstd -dc, partclone.chkimg",
                  f"zstd -qdc {packed} | partclone.chkimg -s - -L /dev/null 2>/dev/null",
                  source=packed, needs=("partclone3",))  # fmt: skip
        self._add("help", "rescue --help", f"{RESCUE} --help")
        self._add("show", "rescue show", f"{RESCUE} show {image}", needs=("ours3",))

    def _changed(self, image: Path) -> None:
        """Restoring over a target of which 1 % differs: in the kernel's memory, and not in it."""
        target, told = self.out / "t.raw", self.out / "changed.json"
        for key, words in (("changed", "1 % different"), ("changed-cold", "the same, not cached")):
            job = self._add(
                key,
                f"rescue restore --changed-only, {words}",
                f"{RESCUE} restore --json --changed-only --erase {target} {image} {target} >{told}",
                source=image,
                needs=("ours3",),
            )

            def before(warm: bool = key == "changed") -> None:
                if not target.exists():
                    corpus.sh(RESCUE, "restore", "--no-read-back", image, target)
                corpus.disturb(target, CHANGED)
                timing.warm(target) if warm else corpus.chill(target)

            def counted(job: Job = job) -> int:
                result = json.loads(told.read_text())
                job.whole = result["written"]
                return int(result["stored"])

            job.before, job.counted = before, counted

    def _views(self, image: Path) -> None:
        """Reading through the view; mounting and unmounting are not timed."""
        point = self.folder / "view"
        point.mkdir(exist_ok=True)
        for key, words in (
            ("sequence", "its data in sequence"),
            ("direct", "the same past the cache (O_DIRECT)"),
            ("random", "4,000 times 4 KiB"),
        ):
            job = self._add(
                f"view-{key}",
                f"rescue mount --raw: read {words}",
                f"{PYTHON} -m tests.bench.reading {key} {point}/disk.raw",
                source=image,
                needs=("ours3",),
            )
            job.before = functools.partial(corpus.sh, RESCUE, "mount", "--raw", image, point)
            job.after = functools.partial(corpus.sh, RESCUE, "unmount", point)

    def _incremental(self) -> None:
        parent = self.out / "ours3.rescue"
        for key, name, words in (
            ("incremental", "changed.ext4", "1 % rewritten in files"),
            ("scattered", "scattered.ext4", "1 % of the clusters, scattered"),
        ):
            disk, image = self.folder / name, self.out / f"{key}.rescue"
            self._add(key, f"rescue capture --parent, {words}",
                      f"{RESCUE} capture --parent {parent} {disk} {image}",
                      image, source=disk, needs=("ours3",))  # fmt: skip

    def _others(self) -> None:
        out = self.out
        large, windows, noise = (
            self.folder / name for name in ("terabyte.ext4", "data.ntfs", "noise.ext4")
        )
        for key, disk, name in (
            ("terabyte", large, "rescue capture, 1 TB disk, the same files"),
            ("ntfs", windows, "rescue capture, NTFS"),
            ("noise", noise, "rescue capture, compressed data"),
        ):
            image = out / f"{key}.rescue"
            self._add(key, name, f"{RESCUE} capture {disk} {image}", image, source=disk)
        self._add("ntfsclone", "ntfsclone -s, zstd -3 -T0",
                  f"ntfsclone -q -s -o - {windows} 2>/dev/null | zstd -q -3 -T0 -o {out}/ntfs.zst"
                  f" && sync {out}/ntfs.zst",
                  out / "ntfs.zst", source=windows)  # fmt: skip
        self._add("partclone-noise", "partclone.ext4 -c, zstd -3 -T0, compressed data",
                  f"{_partclone(noise)} | zstd -q -3 -T0 -o {out}/noise.zst"
                  f" && sync {out}/noise.zst",
                  out / "noise.zst", source=noise)  # fmt: skip
        self._add("full-terabyte", "what a capture keeps of 1 TB in use (index, names, maps)",
                  f"{PYTHON} -m tests.bench.memory {10**12}")  # fmt: skip

    def _peers(self) -> None:
        out, root = self.out, self.root
        pigz, qcow, borg = out / "partclone.gz", out / "disk.qcow2", out / "borg"
        self._add("pigz", "partclone.ext4 -c, pigz --fast",
                  f"{_partclone(root)} | pigz --fast > {pigz} && sync {pigz}", pigz)  # fmt: skip
        self._add("qemu-img", "qemu-img convert -c (zstd)",
                  f"qemu-img convert -c -W -m 8 -f raw -O qcow2 -o compression_type=zstd {root}"
                  f" {qcow} && sync {qcow}", qcow)  # fmt: skip
        self._add("borg", "borg create --read-special, zstd 3",
                  f"export BORG_BASE_DIR={out}/borg-base; borg init -e none {borg} 2>/dev/null &&"
                  f" borg create --read-special -C zstd,3 --chunker-params fixed,1048576"
                  f" {borg}::one {root} 2>/dev/null", borg)  # fmt: skip
        restic = out / "restic"
        self._add("restic", "restic backup",
                  f"export RESTIC_PASSWORD=x; restic -q --no-cache -r {restic} init &&"
                  f" restic -q --no-cache -r {restic} backup {root}", restic)  # fmt: skip
        archive = out / "root.fsa"
        self._add("fsarchiver", "fsarchiver savefs, zstd 3 (files, not clusters)",
                  f"loop=$(losetup -r -f --show {root});"
                  f" fsarchiver savefs -o -Z 3 -j 2 -A {archive} $loop >/dev/null 2>&1;"
                  " status=$?; losetup -d $loop; exit $status", archive)  # fmt: skip


def _partclone(volume: Path) -> str:
    return f"partclone.ext4 -c -s {volume} -L /dev/null 2>/dev/null"
