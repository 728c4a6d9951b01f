"""The list of contents: every package once, by the names that scanners know."""

from __future__ import annotations

import json
import re
from pathlib import Path

from builder.bill import debian, spdx, wheels

LISTING = "adduser 3.152\nlibc6:amd64 2.41-12+deb13u5\nlibacl1:amd64 2:2.3.2-2+b1\n"
LOCK = "blake3==1.0.11 \\\n    --hash=sha256:02\nTyping_Extensions==4.1 ; python_version > '3'\n"


def test_debian_packages() -> None:
    found = debian(LISTING)
    assert [(one.name, one.version) for one in found] == [
        ("adduser", "3.152"),
        ("libc6", "2.41-12+deb13u5"),
        ("libacl1", "2:2.3.2-2+b1"),
    ]
    assert found[2].url == "pkg:deb/debian/libacl1@2%3A2.3.2-2%2Bb1?arch=amd64&distro=trixie"


def test_wheels() -> None:
    assert [(one.name, one.version, one.url) for one in wheels(LOCK)] == [
        ("blake3", "1.0.11", "pkg:pypi/blake3@1.0.11"),
        ("Typing_Extensions", "4.1", "pkg:pypi/typing-extensions@4.1"),
    ]


def test_every_wheel_of_the_medium_is_listed() -> None:
    lock = (Path(__file__).parents[3] / "ci" / "media.lock").read_text()
    names = {one.name.lower() for one in wheels(lock)}
    assert len(names) == sum(1 for line in lock.splitlines() if re.match(r"\w\S*==", line))
    assert {"blake3", "cryptography", "typer", "zstandard"} <= names


def test_the_document_is_the_same_every_time_and_names_everything() -> None:
    parts = (*debian(LISTING), *wheels(LOCK))
    text = spdx(parts, "0.1.0", "abc", 1760000000)
    assert text == spdx(parts, "0.1.0", "abc", 1760000000)
    document = json.loads(text)
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["creationInfo"]["created"] == "2025-10-09T08:53:20Z"
    ids = [package["SPDXID"] for package in document["packages"]]
    assert len(ids) == len(set(ids)) == 6
    related = {one["relatedSpdxElement"] for one in document["relationships"]}
    assert related == set(ids) - {"SPDXRef-0"}
