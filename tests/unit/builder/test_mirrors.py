"""Whose archive an apt entry is: only Debian's own is ever used."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.rootfs.mirrors import Entry, host_entries, parse_deb822, parse_one_line, source_lines

DEB822 = """\
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

# the other one
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no
"""


def test_deb822_gives_the_lines_of_the_rescue_root() -> None:
    assert source_lines(parse_deb822(DEB822)) == (
        "deb http://mirror.example/debian trixie main non-free-firmware",
        "deb http://mirror.example/debian trixie-updates main non-free-firmware",
        "deb http://mirror.example/debian-security trixie-security main non-free-firmware",
    )


def test_one_line_entries_with_options_and_comments() -> None:
    text = """
# deb http://a.example/debian bookworm main
deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] http://b.example/debian bookworm main # x
deb-src http://c.example/debian bookworm main
"""
    assert list(parse_one_line(text)) == [
        Entry("http://b.example/debian", ("bookworm",), ("main",), "/k/debian-archive-keyring.gpg")
    ]


@pytest.mark.parametrize(
    "entry",
    [
        Entry("http://x.example/linux/debian", ("bookworm",), ("stable",)),
        Entry("http://x.example/apt", ("bookworm",), ("main",)),
        Entry("http://x.example/debian", ("bookworm-pgdg",), ("main",)),
        Entry("http://x.example/debian", ("jammy",), ("main",)),
        Entry("http://x.example/debian", ("bookworm",), ("main",), "/k/company.gpg"),
        Entry("http://x.example/debian", ("bookworm",), ("main", "proprietary")),
        Entry("file:/srv/debian", ("bookworm",), ("main",)),
        Entry("http://x.example/debian", (), ("main",)),
    ],
)
def test_other_peoples_archives_are_not_debian(entry: Entry) -> None:
    assert not entry.debian
    assert source_lines([entry]) == ()


def test_no_entry_means_the_default() -> None:
    assert source_lines([]) == ()


def test_a_security_archive_alone_is_no_mirror() -> None:
    only = Entry("http://m.example/debian-security", ("trixie-security",), ("main",))
    assert source_lines([only]) == ()


def test_files_are_read_from_both_places(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://one.example/debian trixie main\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "two.sources").write_text(DEB822)
    uris = [entry.uri for entry in host_entries(tmp_path)]
    assert uris == [
        "http://one.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]
    assert host_entries(tmp_path / "gone") == []
