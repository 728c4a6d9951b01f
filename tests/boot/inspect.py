"""What must hold inside the booted media, asked in a root shell of theirs."""

from __future__ import annotations

import re
from pathlib import Path

from rescue.core.process import run
from tests.boot.guest import Guest

_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def ask(guest: Guest, line: str) -> str:
    """What a command prints; it must succeed."""
    status, text = guest.shell(line)
    assert status == 0, guest.failure(f"{line!r} failed with status {status}: {text}")
    return text.strip()


def no_port_listens(guest: Guest) -> None:
    """With a network card that is up: a service that waits for one would show."""
    assert "lo" in ask(guest, "ls /sys/class/net")
    assert len(ask(guest, "ls /sys/class/net").split()) >= 2, "the guest has no network card"
    assert ask(guest, "ss --no-header --tcp --udp --listening --numeric --processes") == ""


def only_keys_open_port_22(guest: Guest, key: Path) -> None:
    """What listens, from inside; who is let in, from outside."""
    ask(guest, "for i in $(seq 60); do systemctl is-active -q ssh && break; sleep 1; done")
    listens = "ss --no-header --numeric --listening --processes"
    lines = ask(guest, f"{listens} --tcp").splitlines()
    assert lines, "nothing listens"
    assert all(":22 " in line and '"sshd"' in line for line in lines), lines
    # DHCP's own port is a client's: networkd alone, bound to the address that it has a lease for.
    for line in ask(guest, f"{listens} --udp").splitlines():
        assert '"systemd-network"' in line, line
    port = str(guest.machine.ssh)
    # Not the client's own files: what is asked here is the guest alone.
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60"]
    ssh = ["ssh", *options, "-p", port, "root@127.0.0.1"]
    inside = run([*ssh[:-1], "-i", key, ssh[-1], "cat /etc/hostname"]).text
    assert inside.strip() == "rescue"
    # A client that offers everything but a key is told what alone would do. One attempt: a
    # key exchange takes seconds without KVM.
    ways = "PreferredAuthentications=none,keyboard-interactive,password"
    refused = run([*ssh[:-1], "-o", ways, ssh[-1], "true"], check=False)
    assert refused.status == 255
    assert "Permission denied (publickey)." in refused.stderr.decode()


def host_keys(guest: Guest) -> set[str]:
    """The public host keys of sshd, each as its type and its key; there are some."""
    lines = ask(guest, "cat /etc/ssh/ssh_host_*.pub").splitlines()
    found = {" ".join(line.split()[:2]) for line in lines}
    assert len(found) >= 2, lines
    return found


def no_password_works(guest: Guest) -> None:
    """Every account's hash is one that nothing hashes to, and no key lets anybody in.

    No terminal has a program that would ask for one: only the restore shell and root's own shell
    stand there.
    """
    # A program that ends meanwhile makes cat complain; that is not what is asked.
    asks = "cat /proc/[0-9]*/comm 2>/dev/null | grep -xE 'agetty|getty|login|sulogin' | wc -l"
    assert ask(guest, asks) == "0"
    units = ask(guest, "systemctl list-units --no-legend --plain '*getty*.service' | wc -l")
    assert units == "0"
    # PAM's own checker, asked for an empty password and for likely ones; 7 is PAM_AUTH_ERR.
    for word in ("", "root", "live"):
        asked = f"printf '{word}\\0' | /usr/sbin/unix_chkpwd root nullok"
        assert guest.shell(asked)[0] == 7, f"root's password may be {word!r}"
    assert ask(guest, "cut -d: -f2 /etc/shadow | grep -v '^[!*]' | wc -l") == "0"
    assert ask(guest, "cut -d: -f2 /etc/passwd | grep -vx x | wc -l") == "0"
    assert int(ask(guest, "wc -l < /etc/shadow")) > 5
    assert ask(guest, "find / -xdev -name authorized_keys 2>/dev/null | wc -l") == "0"
    assert ask(guest, "find /etc/ssh -name 'ssh_host_*' | wc -l") == "0"


def disks_are_untouched(guest: Guest, disks: set[str]) -> None:
    """No swap, no mount, nothing assembled, and the kernel refuses to write to each disk.

    Args:
        disks: serial numbers that must be among those looked at.
    """
    assert ask(guest, "tail -n +2 /proc/swaps") == ""
    assert ask(guest, "cat /proc/mdstat 2>/dev/null | grep -c '^md' || true") == "0"
    listing = ask(guest, "lsblk --noheadings --raw --output NAME,TYPE,RO,SERIAL")
    found: set[str] = set()
    for line in listing.splitlines():
        name, kind, read_only, serial = [*line.split(" "), ""][:4]
        assert kind in ("disk", "part", "loop", "rom"), f"something was assembled: {line}"
        if kind in ("disk", "part"):
            assert read_only == "1", f"the kernel would write to {name}: {listing}"
            found.add(serial)
    assert disks <= found, listing
    # The shell mounts what appears to look for images, read-only and for a moment: one list without
    # that is enough, and must come.
    listed = "m=$(findmnt --noheadings --raw --output SOURCE,TARGET)"
    without = 'echo "$m" | grep -q /run/rescue/places'
    ask(guest, f"n=0; while {listed}; {without} && [ $n -lt 99 ]; do n=$((n+1)); sleep 0.3; done")
    mounts = ask(guest, 'echo "$m"')
    for line in mounts.splitlines():
        source, _, target = line.partition(" ")
        if source.startswith("/dev/") and not source.startswith("/dev/loop"):
            assert target == "/run/live/medium", f"a disk is mounted: {line}"


def nothing_failed(guest: Guest) -> None:
    """No unit failed, and tty2 has its root shell."""
    assert ask(guest, "systemctl list-units --failed --no-legend --plain") == ""
    assert ask(guest, "systemctl is-active rescue-root@tty2.service") == "active"


def screen_shows_the_shell(guest: Guest) -> None:
    """What stands on the screen, read from its memory: the shell is drawn there, soon.

    Its menu, or what it asks first in front of that.
    """
    drawn = "Restore this machine|Which keyboard is this"
    seen = f"tr -s ' ' < /dev/vcs1 | grep -E '{drawn}'"
    ask(guest, f"for i in $(seq 60); do {seen} >/run/seen && break; sleep 1; done")
    assert re.search(drawn, ask(guest, "cat /run/seen"))


def secure_boot_is_enforced(guest: Guest) -> None:
    """The firmware says so, and the kernel believes it: it is locked down."""
    assert ask(guest, f"od -An -tu1 -j4 -N1 {_SECURE_BOOT}") == "1"
    assert "[none]" not in ask(guest, "cat /sys/kernel/security/lockdown")


def started_by(guest: Guest) -> str:
    """What started the kernel: "uefi" or "bios"."""
    return ask(guest, "test -d /sys/firmware/efi && echo uefi || echo bios")
