"""The netboot folder's plan: addresses, menus, what is fetched, which drivers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.bootloader import grub
from builder.netboot import drivers, plan
from builder.recipe import Recipe
from rescue.core.errors import ImageDamaged, UsageError

BUILD = "0123456789abcdef"
NAMES = (
    ".disk/info",
    "boot/grub/grub.cfg",
    "live/base.squashfs",
    "live/filesystem.module",
    "live/initrd.img",
    "live/top.squashfs",
    "live/vmlinuz",
    "rescue/jobs/night.toml",
    "rescue/recovery/pc.toml",
    "sha256sums.txt",
)


def menu(place: plan.Place | None) -> plan.Menu:
    recipe = Recipe(menu_title="Attic", menu_timeout=7, kernel_arguments=("quirk=1",))
    text = grub.render(grub.menu_of(recipe, "/.disk/rescue-0"))
    return plan.menu_of(text, BUILD, place, NAMES)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://192.0.2.1", "192.0.2.1", ""),
        ("http://192.0.2.1:80/", "192.0.2.1", ""),
        ("http://boot.example:8080/a/b-1/", "boot.example:8080", "/a/b-1"),
    ],
)
def test_an_address_is_taken_apart(url: str, host: str, path: str) -> None:
    place = plan.place_of(url)
    assert (place.host, place.path) == (host, path)
    assert place.url == f"http://{host}{path}"


@pytest.mark.parametrize(
    "url",
    [
        "https://192.0.2.1",
        "192.0.2.1",
        "http://",
        "http://[2001:db8::1]/",
        "http://a b/",
        "http://a/../b",
        "http://a:0/",
        "http://a:70000/",
        "http://a/$(x)",
        'http://a/"',
        "http://a/?x",
    ],
)
def test_what_a_starting_machine_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        plan.place_of(url)


def test_the_menu_is_that_of_the_iso() -> None:
    found = menu(plan.place_of("http://192.0.2.1:8080/r"))
    assert (found.title, found.timeout) == ("Attic", 7)
    assert "boot=live" in found.arguments
    assert "quirk=1" in found.arguments
    assert found.recovery == ("pc.toml",)
    with pytest.raises(ImageDamaged):
        plan.menu_of("menuentry x", BUILD, None, NAMES)


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080/r", None])
def test_both_scripts_name_the_same_files(url: str | None) -> None:
    values = {
        "menu": menu(plan.place_of(url) if url else None),
        "quiet": " ".join(grub.QUIET),
        "consoles": " ".join(grub.CONSOLES),
    }
    cfg = grub.render_file("netboot/grub.cfg.j2", **values)
    ipxe = grub.render_file("netboot/boot.ipxe.j2", **values)
    assert ipxe.startswith("#!ipxe\n")
    if url:
        assert 'set server="192.0.2.1:8080"' in cfg
        assert f'set folder="/r/{BUILD}"' in cfg
        assert f"set from http://192.0.2.1:8080/r/{BUILD}\n" in ipxe
    else:
        assert 'set server="$net_default_server"' in cfg
        assert f'set folder="/{BUILD}"' in cfg
        assert f"set from http://${{next-server}}/{BUILD}\n" in ipxe
    for text in (cfg, ipxe):
        assert "rescue.job=medium:rescue/recovery/pc.toml rescue.job.again=1" in text
        assert "quirk=1" in text
        assert "{{" not in text
    # Every entry of the script is a place that it goes to.
    items = re.findall(r"^item (\w+) ", ipxe, re.MULTILINE)
    labels = re.findall(r"^:(\w+)$", ipxe, re.MULTILINE)
    assert set(items) <= set(labels)
    assert "choose --timeout 7000 --default shell entry" in ipxe


def test_a_menu_that_starts_at_once_or_waits() -> None:
    for timeout, word in ((0, "choose --timeout 1 "), (-1, "choose --default")):
        text = grub.render(grub.menu_of(Recipe(menu_timeout=timeout), "/x"))
        values = {"menu": plan.menu_of(text, BUILD, None, ()), "quiet": "", "consoles": ""}
        assert word in grub.render_file("netboot/boot.ipxe.j2", **values)


def test_what_is_fetched() -> None:
    assert plan.fetched(NAMES) == (
        ".disk/info",
        "live/base.squashfs",
        "live/filesystem.module",
        "live/top.squashfs",
        "rescue/jobs/night.toml",
        "rescue/recovery/pc.toml",
    )
    with pytest.raises(UsageError, match="carries an image"):
        plan.fetched((*NAMES, "rescue/images/pc.rescue"))
    with pytest.raises(ImageDamaged, match=r"base\.squashfs"):
        plan.fetched((".disk/info",))


def test_the_drivers_are_those_of_wired_cards_and_what_they_need() -> None:
    text = (
        "kernel/drivers/net/ethernet/x/a.ko.xz: kernel/lib/b.ko.xz kernel/drivers/dca/c.ko.xz\n"
        "kernel/lib/b.ko.xz: kernel/lib/d.ko.xz\n"
        "kernel/lib/d.ko.xz:\n"
        "kernel/drivers/dca/c.ko.xz:\n"
        "kernel/drivers/net/wireless/e.ko.xz: kernel/lib/f.ko.xz\n"
        "kernel/drivers/net/virtio_net.ko.xz:\n"
        "kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/d.ko.xz\n"
    )
    assert drivers.modules(text) == (
        "kernel/drivers/dca/c.ko.xz",
        "kernel/drivers/net/ethernet/x/a.ko.xz",
        "kernel/drivers/net/virtio_net.ko.xz",
        "kernel/lib/b.ko.xz",
        "kernel/lib/d.ko.xz",
    )
    with pytest.raises(ImageDamaged, match="no drivers"):
        drivers.modules("kernel/net/packet/af_packet.ko.xz:\n")


def test_firmware_of_wired_cards_and_no_other() -> None:
    assert drivers.is_firmware("bnx2x/bnx2x-e2-7.13.21.0.fw")
    assert drivers.is_firmware("intel/ice/ddp/ice-1.3.41.0.pkg")
    assert not drivers.is_firmware("iwlwifi-1.ucode")
    assert not drivers.is_firmware("intel/ibt-1.sfi")


def test_the_part_of_live_boot_reads_the_list_that_is_written() -> None:
    listing = plan.fetch_list({"live/a": 5, "b": 7}, {"live/a": "aa", "b": "bb"})
    assert listing == "bb 7 b\naa 5 live/a\n"
    script = (grub.TEMPLATES / "netboot" / "fetch.sh").read_text()
    assert "read -r digest size path" in script
    assert "/conf/rescue-fetch" in script
    assert Path("/conf/sha256sums.txt").name in script
