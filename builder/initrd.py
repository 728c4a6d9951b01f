"""Archives put before and behind Debian's initramfs, which stays as it is.

The kernel unpacks concatenated archives in turn. One before it tells live-boot which medium is its
own: with ``conf/uuid.conf`` in place it passes over every other live medium that is plugged in. One
behind it, for netboot, brings what a network card needs.
"""

from __future__ import annotations


def cpio(files: dict[str, bytes]) -> bytes:
    """A cpio archive ("newc") of regular files and the folders above them.

    See buffer-format.rst in the kernel's documentation. Padded to 512 bytes, so that what follows
    is aligned.
    """
    folders = sorted(
        {
            "/".join(parts[:depth])
            for parts in (path.split("/") for path in files)
            for depth in range(1, len(parts))
        }
    )
    out = bytearray()
    entries = (
        *((folder, 0o040755, b"") for folder in folders),
        *((path, 0o100644, data) for path, data in sorted(files.items())),
        ("TRAILER!!!", 0, b""),
    )
    for number, (name, mode, data) in enumerate(entries, start=1):
        raw = name.encode() + b"\0"
        values = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08X" % value for value in values) + raw
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out + bytes(-len(out) % 512))
