"""A disk with volumes inside volumes, made inside a guest of the medium, imaged and brought back.

A mirror of two partitions, and a LUKS container with a group of logical volumes: one in two pieces,
swap, one with a snapshot, one in a thin pool. Device mapper and arrays are the guest's kernel's, so
nothing of it is tested anywhere else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rescue.core.errors import Exit
from rescue.core.units import MIB
from tests.boot.guest import Guest
from tests.boot.inspect import ask
from tests.boot.qemu import Drive

SOURCE, TARGET = "SOURCE01", "TARGET01"
_SIZE = 288 * MIB
_IMAGE = "/run/containers.rescue"
# What keeps its files: the mirror, and four logical volumes.
_VOLUMES = ("root", "origin", "snap", "thin")
_NO_CHECK = "--config 'global{thin_check_executable=\"\"}'"
# The restore shell on the screen looks at what appears, and is done in a moment.
_AGAIN = 'again() { n=0; until "$@"; do n=$((n+1)); test $n -lt 60 || return 1; sleep 1; done; }'
_MAKE = (
    _AGAIN,
    "disk=$(readlink -f /dev/disk/by-id/virtio-SOURCE01); blockdev --setrw $disk",
    "printf 'label: gpt\\nsize=40MiB\\nsize=40MiB\\nsize=176MiB\\n' | sfdisk --quiet $disk",
    "udevadm settle; printf 'a long passphrase' > /run/key",
    "yes | mdadm --create /dev/md7 --quiet --run --level 1 --raid-devices 2 --assume-clean "
    "${disk}1 ${disk}2",
    "mkfs.ext4 -q /dev/md7; mkdir -p /run/at; mount /dev/md7 /run/at",
    "cp -a /etc /run/at/; (cd /run/at; find . -type f -exec sha256sum {} + > /run/mirror.sums)",
    "again umount /run/at; mdadm --wait /dev/md7; again mdadm --readonly /dev/md7",
    "cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
    "--sector-size 4096 ${disk}3 /run/key",
    "cryptsetup open --key-file /run/key ${disk}3 inside",
    "pvcreate -q -y /dev/mapper/inside; vgcreate -q group /dev/mapper/inside",
    "lvcreate -y -q -L 32M -n root group; lvcreate -y -q -L 8M -n swap group",
    "lvcreate -y -q -L 24M -n origin group; lvextend -q -L +24M group/root",
    f"lvcreate -y -q -L 24M --type thin-pool {_NO_CHECK} -n pool group",
    f"lvcreate -y -q -V 20M {_NO_CHECK} --thin group/pool -n thin; mkswap -q /dev/group/swap",
    "for v in root origin thin; do mkdir -p /run/in/$v && mkfs.ext4 -q /dev/group/$v && "
    "mount /dev/group/$v /run/in/$v && cp -a /etc /usr/lib/python3*/email /run/in/$v/ || break; "
    "done; test -e /run/in/thin/etc/fstab",
    "(cd /run/in/origin; find . -type f -exec sha256sum {} + > /run/snap.sums); sync",
    # The snapshot still needs what is deleted now.
    "lvcreate -y -q -s -L 12M -n snap group/origin; rm -r /run/in/origin/etc; sync",
    "for v in root origin thin; do "
    "(cd /run/in/$v; find . -type f -exec sha256sum {} + > /run/$v.sums); "
    "again umount /run/in/$v; done",
    "again vgchange -q -an group && test $(cat /run/*.sums | wc -l) -gt 300",
    "again cryptsetup close inside && printf 'another passphrase' > /run/wrong",
)
_BACK = (
    "again mdadm --stop /dev/md7",
    "disk=$(readlink -f /dev/disk/by-id/virtio-TARGET01); blockdev --setrw $disk",
    "partprobe $disk; udevadm settle",
    "mdadm --assemble --readonly /dev/md8 ${disk}1 ${disk}2; e2fsck -fn /dev/md8",
    "mount -o ro /dev/md8 /run/at && cd /run/at && sha256sum --quiet -c /run/mirror.sums; "
    "s=$?; cd /; again umount /run/at; (exit $s)",
    "cryptsetup open --key-file /run/key ${disk}3 again",
    f"vgchange -q -ay {_NO_CHECK} group; vgck group",
    *(
        f"e2fsck -fn /dev/group/{name} && mount -o ro /dev/group/{name} /run/at && cd /run/at && "
        f"sha256sum --quiet -c /run/{name}.sums; s=$?; cd /; again umount /run/at; (exit $s)"
        for name in _VOLUMES
    ),
    "blkid /dev/group/swap",
)


def disks(room: Path) -> list[Drive]:
    """Two disks. What is not captured must not be needed: the first is full of something else."""
    for serial, content in ((SOURCE, os.urandom(MIB) * (_SIZE // MIB)), (TARGET, b"")):
        with (room / f"{serial}.raw").open("wb") as file:
            file.write(content)
            file.truncate(_SIZE)
    return [Drive(room / f"{serial}.raw", serial=serial) for serial in (SOURCE, TARGET)]


def there_and_back(guest: Guest) -> None:
    """In a root shell of the medium, with ``disks``.

    Raises:
        AssertionError: something was captured whole that need not be, or did not come back.
    """
    for line in _MAKE:
        _long(guest, line)
    status, text = guest.shell(f"rescue capture --unlock-file /run/wrong $disk {_IMAGE}", 60)
    assert status == Exit.USAGE, text
    assert "the passphrase given does not open partition 3 (crypto_LUKS)" in text
    _long(guest, f"test ! -e {_IMAGE}; rescue capture --unlock-file /run/key $disk {_IMAGE}")
    manifest: Any = json.loads(ask(guest, f"rescue show --json {_IMAGE}"))["manifest"]
    _check(manifest)
    assert ask(guest, "dmsetup ls") == "No devices found", "what was opened was left open"
    _long(guest, f"rescue restore {_IMAGE} /dev/disk/by-id/virtio-{TARGET} --erase {TARGET}")
    for line in _BACK:
        _long(guest, line)


def _long(guest: Guest, line: str) -> None:
    status, text = guest.shell(line, 60)
    assert status == 0, f"{line!r} ended with status {status}: {text}"


def _check(manifest: Any) -> None:
    """What the image says of each container."""
    first, second, third = manifest["volumes"]
    assert {one["method"] for one in manifest["volumes"]} == {"stack"}, manifest["notes"]
    for one in (first, second):
        assert (one["fs"], one["state"]) == ("linux_raid_member", "clean")
        assert one["captured"] < one["length"] / 2
    assert third["fs"] == "crypto_LUKS"
    told = {note.split(": ", 1)[0]: note.split(": ", 1)[1] for note in third["notes"]}
    assert told["group/root"].startswith("ext4, "), told
    assert told["group/root"].endswith(" of 56.0 MiB"), told
    assert told["group/swap"].startswith("swap, only signature")
    assert told["group/origin"] == "has a snapshot, every sector captured"
    assert told["group/snap"] == "a snapshot, every sector captured"
    assert told["group"] == "32.0 MiB of pools, mirrors and caches, every sector captured"
    # Header 16, origin 24, snapshot 12, pool 32, the rest of root and the group's own.
    assert third["captured"] < 120 << 20, third
