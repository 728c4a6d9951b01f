"""Started over the network: all of it by HTTP, or the signed shim and GRUB by TFTP."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rescue.core.process import run
from tests.boot import inspect, media
from tests.boot.guest import Guest
from tests.boot.qemu import Accelerator, Firmware, Machine, Wire

pytestmark = [pytest.mark.boot, pytest.mark.timeout(900)]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and one layer damaged the first time."""

    # UEFI asks for a file's size and then for the file, on one connection: it loses the file when
    # the server closes that in between, as HTTP/1.0 does.
    protocol_version = "HTTP/1.1"
    asked: list[str]
    cut = "/live/top.squashfs"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the guest's console tells."""

    def do_GET(self) -> None:
        first = self.path not in self.asked
        self.asked.append(self.path)
        if first and self.path.endswith(self.cut):
            data = Path(self.translate_path(self.path)).read_bytes()
            broken = data[:5000] + b"?" + data[5001:]
            self.send_response(200)
            self.send_header("Content-Length", str(len(broken)))
            self.end_headers()
            self.wfile.write(broken)
            return
        super().do_GET()


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server on this host alone: its address for a guest, and what was asked for."""
    asked: list[str] = []
    kind = type("Asked", (Handler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://10.0.2.2:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def make(folder: Path, iso: Path, url: str) -> None:
    words: list[str | Path] = ["netboot", folder, "--iso", iso, "--url", url]
    run([sys.executable, "-m", "builder.cli.main", *words], cwd=media.ROOT)


def test_secure_boot_over_http(
    iso: Path, accelerator: Accelerator, tmp_path: Path, log: Callable[[str], Path]
) -> None:
    """With a layer that arrives damaged once: it is fetched again, and all is as built."""
    folder = tmp_path / "netboot"
    with served(folder) as (url, asked):
        make(folder, iso, url)
        nothing = tmp_path / "nothing"
        nothing.mkdir()
        wire = Wire(nothing, f"{url}/shimx64.efi")
        # Little memory on purpose: docs/cli.md says that this is enough.
        machine = Machine(Firmware.SECURE_BOOT, memory=1024, wire=wire)
        with Guest(machine, accelerator, log("secureboot")) as guest:
            guest.expect("restore shell, over the network", 60)
            guest.expect("rescue: live/top.squashfs is not what was built", 120)
            media.wait_ready(guest)
            media.root_shell(guest)
            inspect.secure_boot_is_enforced(guest)
            inspect.nothing_failed(guest)
            inspect.no_port_listens(guest)
            assert "tmpfs" in inspect.ask(guest, "findmnt -n -o FSTYPE /run/live/medium")
            said = inspect.ask(guest, "/usr/lib/rescue/check-medium")
            assert re.search(r"rescue medium ok: \d+ files", said), said
        layers = [path for path in asked if path.endswith(".squashfs")]
        assert len([path for path in layers if "top" in path]) == 2
        assert len([path for path in layers if "base" in path]) == 1
        assert {"/shimx64.efi", "/grubx64.efi"} <= set(asked)


def test_secure_boot_begins_by_tftp(
    iso: Path, accelerator: Accelerator, tmp_path: Path, log: Callable[[str], Path]
) -> None:
    """Firmware without HTTP: the menu comes, and GRUB asks for its kernel by HTTP, as above."""
    folder = tmp_path / "netboot"
    with served(folder) as (url, asked):
        make(folder, iso, url)
        machine = Machine(Firmware.SECURE_BOOT, memory=1024, wire=Wire(folder, "shimx64.efi"))
        with Guest(machine, accelerator, log("tftp")) as guest:
            guest.expect("restore shell, over the network", 60)
            guest.expect("loading the kernel from", 60)
            # That it is asked for is enough here: it takes most of a minute without KVM.
            end = time.monotonic() + 30 * accelerator.patience
            while not asked and time.monotonic() < end:
                time.sleep(0.1)
        assert [path for path in asked if path.endswith("/vmlinuz")]
        assert "/shimx64.efi" not in asked
