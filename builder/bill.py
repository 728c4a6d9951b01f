"""The list of everything inside a medium, as SPDX 2.3 in JSON: Debian packages, wheels, Rescue.

Pure, and the same for the same input: no clock of its own, no random id. Debian's and Python's
names become package URLs, by which scanners look up what is known about a version.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from urllib.parse import quote

from builder.rootfs.packages import ARCHITECTURE, SUITE

_WHEEL = re.compile(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Part:
    """One package."""

    name: str
    version: str
    url: str


def debian(listing: str) -> tuple[Part, ...]:
    """The packages of ``packages.txt``: a name, perhaps with its architecture, and a version."""
    found = []
    for line in listing.splitlines():
        name, _, version = line.partition(" ")
        name = name.partition(":")[0]
        place = f"{quote(name, safe='')}@{quote(version, safe='')}"
        url = f"pkg:deb/debian/{place}?arch={ARCHITECTURE}&distro={SUITE}"
        found.append(Part(name, version, url))
    return tuple(found)


def wheels(lock: str) -> tuple[Part, ...]:
    """The packages of a lock file of pip."""
    return tuple(
        Part(name, version, f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}")
        for name, version in _WHEEL.findall(lock)
    )


def spdx(parts: tuple[Part, ...], version: str, build: str, epoch: int) -> bytes:
    """The document. https://spdx.github.io/spdx-spec/v2.3/

    Args:
        version: of Rescue.
        build: names the medium; the document's namespace is made of it.
    """
    own = Part("rescue", version, f"pkg:generic/rescue@{quote(version)}")
    packages = [_package(number, part) for number, part in enumerate((own, *parts))]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"rescue-medium-{build}",
        "documentNamespace": f"urn:rescue:medium:{build}",
        "creationInfo": {
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "creators": [f"Tool: rescue-builder-{version}"],
        },
        "documentDescribes": ["SPDXRef-0"],
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-0",
                "relationshipType": "CONTAINS",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in packages[1:]
        ],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _package(number: int, part: Part) -> dict[str, object]:
    return {
        "SPDXID": f"SPDXRef-{number}",
        "name": part.name,
        "versionInfo": part.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": part.url,
            }
        ],
    }
