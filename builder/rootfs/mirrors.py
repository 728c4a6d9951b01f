"""Where packages come from: the host's own apt configuration, or mmdebstrap's default.

No address of a mirror is written in this project. A Debian host already says which mirror is near
and allowed; its entries are used when they are plainly Debian's own archive. On any other host the
answer is "nothing", and mmdebstrap takes its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.rootfs.packages import COMPONENTS, SUITE
from rescue.core import process

_RELEASES = "bullseye|bookworm|trixie|forky|sid|oldoldstable|oldstable|stable|testing|unstable"
_SUITE = re.compile(
    rf"(?:{_RELEASES})(?:-updates|-backports|-proposed-updates|-security|/updates)?"
)
_COMPONENTS = frozenset({"main", "contrib", "non-free", "non-free-firmware"})
_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of apt's sources: an archive, its suites and components."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def debian(self) -> bool:
        """Whether this is Debian's own archive and nobody else's."""
        folder = self.uri.rstrip("/").rpartition("/")[2]
        return (
            folder in ("debian", "debian-security")
            and re.match(r"https?://", self.uri) is not None
            and bool(self.suites)
            and all(_SUITE.fullmatch(suite) for suite in self.suites)
            and "main" in self.components
            and _COMPONENTS.issuperset(self.components)
            and (not self.signed_by or "debian-archive" in self.signed_by)
        )

    @property
    def security(self) -> bool:
        """Whether it is the archive of security updates."""
        return self.uri.rstrip("/").endswith("/debian-security")


def parse_one_line(text: str) -> Iterator[Entry]:
    """Entries of a ``sources.list``; anything that is not a ``deb`` line is skipped."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match is None:
            continue
        suite, *components = match["rest"].split()
        signed = re.search(r"signed-by=(\S+)", match["options"] or "", re.IGNORECASE)
        yield Entry(match["uri"], (suite,), tuple(components), signed[1] if signed else "")


def parse_deb822(text: str) -> Iterator[Entry]:
    """Entries of a ``.sources`` file; disabled stanzas and ``deb-src`` are skipped."""
    for stanza in re.split(r"\n\s*\n", text):
        found: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                found[key] = f"{found.get(key, '')} {line.strip()}"
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                found[key] = value.strip()
        if "deb" not in found.get("types", "").split() or found.get("enabled", "yes") == "no":
            continue
        for uri in found.get("uris", "").split():
            yield Entry(
                uri,
                tuple(found.get("suites", "").split()),
                tuple(found.get("components", "").split()),
                found.get("signed-by", ""),
            )


def source_lines(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The apt lines for the rescue root that follow from the host's entries; empty: the default."""
    ours = [entry for entry in entries if entry.debian]
    main = next((entry.uri for entry in ours if not entry.security), None)
    if main is None:
        return ()
    parts = " ".join(COMPONENTS)
    lines = [f"deb {main} {SUITE} {parts}", f"deb {main} {SUITE}-updates {parts}"]
    security = next((entry.uri for entry in ours if entry.security), None)
    if security is not None:
        lines.append(f"deb {security} {SUITE}-security {parts}")
    return tuple(lines)


def host_entries(folder: Path = Path("/etc/apt")) -> list[Entry]:
    """All entries of this host's apt; an unreadable or missing file counts as empty."""
    found: list[Entry] = []
    lists = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    for path in lists:
        found += parse_one_line(_read(path))
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        found += parse_deb822(_read(path))
    return found


def host_proxy_options() -> tuple[str, ...]:
    """apt options that pass on the host's proxy, where it has one."""
    if process.find("apt-config") is None:
        return ()
    dump = process.run(["apt-config", "dump"], check=False).text
    wanted = re.compile(r'^(Acquire::https?::Proxy(?:::\S+)?) "([^"]+)";$', re.MULTILINE)
    return tuple(f'{name} "{value}"' for name, value in wanted.findall(dump))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
