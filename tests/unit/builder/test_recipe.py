"""Recipes: what is accepted, and how each mistake is told."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from builder.recipe import MAX_RECIPE_BYTES, Colours, Recipe, load, parse
from builder.recipe_network import Network, Wifi
from builder.rootfs import extra, packages
from builder.rootfs.top import network_file
from rescue.core.errors import DiskTrouble, UsageError

HERE = Path("/nowhere")


def test_an_empty_recipe_is_the_standard_one() -> None:
    assert parse("", "r.toml", HERE) == Recipe()


def test_the_recipe_of_the_project_says_what_the_defaults_are() -> None:
    path = Path(__file__).parents[3] / "builder" / "recipe.toml"
    assert load(path) == Recipe()


KEY = f"ssh-ed25519 {'A' * 68} me@desk"


def test_every_key_is_taken(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text("x = 1\n")
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/motd").write_text("hello\n")
    (tmp_path / "wifi.txt").write_text("correct horse\n")
    text = f"""
variant = "full"
hostname = "bench-2"
keyboard = "de(nodeadkeys)"
timezone = "Europe/Berlin"
locales = ["de_DE.UTF-8", "C.UTF-8"]
packages = ["memtester", "g++"]
kernel_arguments = ["nomodeset", "rescue.job=RESCUE:/rescue/jobs/night.toml"]
menu_title = "Bench"
menu_timeout = -1
jobs = ["night.toml"]
files = "over"
ssh_authorized_keys = ["{KEY}"]
compression = 3
network = {{ mode = "static", address = "192.0.2.7/24", gateway = "192.0.2.1", dns = ["::1"] }}
[menu_colours]
normal = "yellow/blue"
highlight = "white/red"
[modes]
"/etc/motd" = "0600"
[owners]
"/etc" = "7:8"
[wifi]
ssid = "Café"
passphrase_file = "wifi.txt"
country = "DE"
"""
    assert parse(text, "r.toml", tmp_path) == Recipe(
        variant="full",
        hostname="bench-2",
        keyboard="de(nodeadkeys)",
        timezone="Europe/Berlin",
        locales=("de_DE.UTF-8", "C.UTF-8"),
        packages=("memtester", "g++"),
        kernel_arguments=("nomodeset", "rescue.job=RESCUE:/rescue/jobs/night.toml"),
        menu_title="Bench",
        menu_timeout=-1,
        menu_colours=Colours("yellow/blue", "white/red"),
        jobs=(tmp_path / "night.toml",),
        files=tmp_path / "over",
        modes={"/etc/motd": 0o600},
        owners={"/etc": (7, 8)},
        ssh_authorized_keys=(KEY,),
        network=Network("static", "", "192.0.2.7/24", "192.0.2.1", ("::1",)),
        wifi=Wifi("Café", "correct horse", "DE"),
        compression=3,
    )


def test_a_key_for_ssh_starts_the_network_unless_the_recipe_says_otherwise() -> None:
    text = f'ssh_authorized_keys = ["{KEY}"]\n'
    assert parse(text, "r.toml", HERE).network.mode == "dhcp"
    assert parse(f'{text}network = {{ mode = "off" }}', "r.toml", HERE).network.mode == "off"
    assert parse("", "r.toml", HERE).network.mode == "off"


def test_the_projects_recipe_shows_every_key() -> None:
    text = (Path(__file__).parents[3] / "builder" / "recipe.toml").read_text()
    for one in fields(Recipe):
        assert re.search(rf"(?m)^(# )?({one.name} = |\[{one.name}\]$)", text), one.name


MISTAKES = [
    ("hostnam = 'x'", "line 1: hostnam: unknown key", "hostname"),
    ("\n\nhostname = 3", "line 3: hostname: must be a string", "a to z"),
    ("hostname = 'Rescue Disk'", "line 1: hostname: 'Rescue Disk' is not allowed here", "a to z"),
    ("[hostname]\na = 1", "line 1: hostname: must be a string", "a to z"),
    ("keyboard = 'german keys'", "line 1: keyboard: 'german keys' is not", "XKB layout"),
    ("keyboard = ['de']", "line 1: keyboard: must be a string", "XKB layout"),
    ("timezone = '../../etc/shadow'", "line 1: timezone: '../../etc/shadow' is not", "a zone"),
    ("packages = 'mc'", "line 1: packages: must be a list of strings", "Debian packages"),
    ("packages = ['mc',\n '--x']", "line 1: packages: '--x' is not allowed here", "Debian"),
    ("packages = ['a,b']", "line 1: packages: 'a,b' is not allowed here", "Debian packages"),
    ("# x\nkernel_arguments = ['a b']", "line 2: kernel_arguments: 'a b' is not", "blanks"),
    ("kernel_arguments = ['a;reboot']", "line 1: kernel_arguments: 'a;reboot' is not", "blanks"),
    ("kernel_arguments = ['$x']", "line 1: kernel_arguments: '$x' is not allowed", "blanks"),
    ('menu_title = "a\\"b"', "line 1: menu_title: 'a\"b' is not allowed here", "1 to 60"),
    ("menu_title = ''", "line 1: menu_title: '' is not allowed here", "1 to 60"),
    ("menu_timeout = true", "line 1: menu_timeout: must be a whole number", "-1 to 3600"),
    ("menu_timeout = -2", "line 1: menu_timeout: -2 is not from -1 to 3600", "-1 to 3600"),
    ("compression = 23", "line 1: compression: 23 is not from 1 to 22", "1 to 22"),
    ("compression = 1.5", "line 1: compression: must be a whole number", "1 to 22"),
    ("jobs = ['gone.toml']", "line 1: jobs: there is no file /nowhere/gone.toml", "beside"),
    ("jobs = ['night.txt']", "line 1: jobs: 'night.txt' is not a job file's name", ".toml"),
    ("files = 'gone'", "line 1: files: there is no folder /nowhere/gone", "beside"),
    ("[modes]\n'/etc/x' = '0600'", "line 2: modes./etc/x: is not in the folder", "add it"),
    ("[modes]\n'etc/x' = '0600'", "line 2: modes.etc/x: is not a path on the medium", "/etc/motd"),
    ("[owners]\n'/../x' = '1:1'", "line 2: owners./../x: is not a path on the", "/etc/motd"),
    ("modes = 7", "line 1: modes: must be a table", "[modes]"),
    ("ssh_authorized_keys = ['secret']", "line 1: ssh_authorized_keys: 'secret' is", ".pub file"),
    ("network = 'dhcp'", "line 1: network: must be a table", "[network]"),
    ("[network]\nmode = 'wifi'", "line 2: network.mode: 'wifi' is not", "off, dhcp, static"),
    ("[network]\nmode = 'static'", "line 2: network.mode: a static network has an", "address ="),
    ("[network]\nmode='static'\naddress='1.2.3'", "line 3: network.address: '1.2.3' is not", "192"),
    (
        "[network]\nmode='static'\naddress='1.2.3.4'",
        "line 3: network.address: '1.2.3.4' has",
        "/24",
    ),
    (
        "network={mode='static',address='1.2.3.4/8',gateway='x'}",
        "line 1: network.gateway: 'x'",
        "192",
    ),
    ("[network]\naddress='1.2.3.4/8'", "line 2: network.address: is for a static", "static"),
    ("[network]\nmode='dhcp'\ndns=['1.1.1.1']", "line 3: network.dns: is for a static", "static"),
    ("[network]\nspeed = 10", "line 2: network.speed: unknown key", "mode, interface"),
    ("[network]\ninterface = 'a b'", "line 2: network.interface: 'a b' is not", "enp3s0"),
    ("[menu_colours]\nnormal = 'pink/blue'", "line 2: menu_colours.normal: 'pink/blue'", "yellow"),
    ("[menu_colours]\nother = 'red/blue'", "line 2: menu_colours.other: unknown key", "highlight"),
    ("variant = 'tiny'", "line 1: variant: 'tiny' is not allowed", "small, standard, full"),
    ("variant = ['small']", "line 1: variant: ['small'] is not allowed", "small, standard, full"),
    ("locales = ['de_DE']", "line 1: locales: 'de_DE' is not allowed", "de_DE.UTF-8"),
    ("locales = 'de_DE.UTF-8'", "line 1: locales: must be a list", "de_DE.UTF-8"),
    ("[wifi]\nssid = 'x'", "line 2: wifi.ssid: one of passphrase and", "passphrase_file"),
    ("[wifi]\npassphrase = 'long enough'", "line 1: wifi.ssid: is not a network's", "32 bytes"),
    (f"[wifi]\nssid = '{'ü' * 17}'", "line 2: wifi.ssid: is not a network's name", "32 bytes"),
    ("[wifi]\nssid='x'\npassphrase='short'", "line 3: wifi.passphrase: is not a", "8 to 63"),
    (
        "[wifi]\nssid='x'\npassphrase=12345678",
        "line 3: wifi.passphrase: must be a string",
        "a pass",
    ),
    ("[wifi]\nssid='x'\npassphrase_file='gone'", "line 3: wifi.passphrase_file: /nowhere/", "file"),
    (
        "[wifi]\nssid='x'\npassphrase='long enough'\ncountry='de'",
        "line 4: wifi.country: 'de' is not",
        "capital",
    ),
    (
        "variant='small'\n[wifi]\nssid='x'\npassphrase='long enough'",
        "line 2: wifi: the variant small has no Wi-Fi",
        "standard",
    ),
    ("hostname = ", "r.toml, line 1: invalid value", "TOML"),
    ("hostname = 'a'\nhostname = 'b'", "r.toml, line 2: cannot overwrite a value", "TOML"),
]


@pytest.mark.parametrize(("text", "where", "allowed"), MISTAKES)
def test_each_mistake_names_file_line_key_and_what_is_allowed(
    text: str, where: str, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "r.toml", HERE)
    assert caught.value.message.startswith("r.toml")
    assert where in caught.value.message
    assert allowed in caught.value.hint
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_there_are_enough_mistakes() -> None:
    assert len(MISTAKES) >= 30


def test_modes_and_owners_are_checked(tmp_path: Path) -> None:
    (tmp_path / "over").mkdir()
    (tmp_path / "over/x").write_text("")
    for lines, where in (
        ("[modes]\n'/x' = 'rw'", "line 3: modes./x: 'rw' is not allowed here"),
        ("[modes]\n'/x' = 600", "line 3: modes./x: must be a string"),
        ("[owners]\n'/x' = 'me'", "line 3: owners./x: 'me' is not allowed here"),
    ):
        with pytest.raises(UsageError, match=re.escape(where)):
            parse(f"files = 'over'\n{lines}", "r.toml", tmp_path)


def test_the_layer_of_the_recipes_files(tmp_path: Path) -> None:
    over = tmp_path / "over"
    (over / "home/x").mkdir(parents=True)
    (over / "root").mkdir()
    (over / "home/x/tool").write_text("#!/bin/sh\n")
    (over / "home/x/tool").chmod(0o700)
    (over / "home/x/link").symlink_to("/etc/motd")
    recipe = Recipe(
        files=over,
        modes={"/home/x": 0o750},
        owners={"/home/x": (7, 8)},
        ssh_authorized_keys=(KEY,),
    )
    assert extra.wanted(recipe)
    assert not extra.wanted(Recipe())
    assert extra.pseudo(extra.items(recipe)).splitlines() == [
        '"/" m 755 0 0',
        '"/home" m 755 0 0',
        '"/home/x" m 750 7 8',
        '"/home/x/link" s 777 0 0 /etc/motd',
        '"/home/x/tool" m 755 0 0',
        '"/root" m 700 0 0',
        '"/root/.ssh" m 700 0 0',
        '"/root/.ssh/authorized_keys" m 600 0 0',
    ]
    (over / 'a"b').write_text("")
    with pytest.raises(UsageError, match="cannot be on a medium"):
        extra.items(recipe)


def test_the_network_file() -> None:
    assert "DHCP=yes" in network_file(Network("dhcp"))
    text = network_file(Network("static", "en*", "192.0.2.7/24", "192.0.2.1", ("192.0.2.53",)))
    for line in ("Name=en*", "Address=192.0.2.7/24", "Gateway=192.0.2.1", "DNS=192.0.2.53"):
        assert line in text.splitlines()
    assert "DHCP" not in text


def test_a_wifi_keeps_its_passphrase_to_itself(tmp_path: Path) -> None:
    secret = 'quotes "and" all'
    text = f"variant = 'standard'\n[wifi]\nssid = 'Café'\npassphrase = '{secret}'\n"
    recipe = parse(text, "r.toml", HERE)
    assert recipe.wifi is not None
    assert recipe.network.mode == "dhcp"
    assert secret not in repr(recipe)
    assert extra.wanted(recipe)
    listing = extra.pseudo(extra.items(recipe)).splitlines()
    assert '"/etc/rescue/wifi.conf" m 600 0 0' in listing
    written = extra.wpa_supplicant(recipe.wifi)
    assert f'    psk="{secret}"' in written.splitlines()
    assert f"    ssid={'Café'.encode().hex()}" in written.splitlines()
    for wrong in ("secret\x07secret", "s" * 64, "sécret-sécret"):
        (tmp_path / "wifi.txt").write_text(wrong)
        for line in (f"passphrase = {json.dumps(wrong)}", "passphrase_file = 'wifi.txt'"):
            with pytest.raises(UsageError, match="is not a passphrase") as caught:
                parse(f"variant = 'standard'\n[wifi]\nssid = 'x'\n{line}", "r.toml", tmp_path)
            assert wrong not in caught.value.message + caught.value.hint


def test_a_wifi_alone_leaves_wired_cards_alone() -> None:
    assert "Unmanaged=yes" in network_file(Network("off"))


def test_each_variant_has_what_the_smaller_one_has() -> None:
    small, standard, full = (Recipe(variant=name) for name in ("small", "standard", "full"))
    assert set(packages.included(small)) < set(packages.included(standard))
    assert set(packages.included(standard)) < set(packages.included(full))
    rules = [packages.path_rules(one) for one in (small, standard, full)]
    radio = "path-exclude=/usr/lib/modules/*/kernel/drivers/net/wireless/*"
    assert [radio in one for one in rules] == [True, False, False]
    kept = [{line for line in one if line.startswith("path-include=")} for one in rules]
    assert kept[0] < kept[1] < kept[2]
    assert "path-include=/usr/lib/firmware/iwlwifi-*" in kept[1] - kept[0]


def test_only_the_chosen_locales_are_kept() -> None:
    none, chosen = Recipe(), Recipe(locales=("C.UTF-8", "pt_BR.UTF-8"))
    assert "locales" not in packages.included(none)
    assert packages.path_rules(none) == packages.path_rules(Recipe(locales=("C.UTF-8",)))
    assert "locales" in packages.included(chosen)
    assert set(packages.path_rules(chosen)) - set(packages.path_rules(none)) == {
        "path-include=/usr/share/i18n/*",
        "path-include=/usr/share/locale/pt/*",
        "path-include=/usr/share/locale/pt_BR/*",
    }


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.toml").write_text("")
    with pytest.raises(UsageError, match="two files have the same name"):
        parse("jobs = ['a/x.toml', 'b/x.toml']", "r.toml", tmp_path)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match="no such file"):
        load(tmp_path / "gone.toml")
    with pytest.raises(DiskTrouble, match="is a directory"):
        load(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(binary)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (MAX_RECIPE_BYTES + 1))
    with pytest.raises(UsageError, match="larger than a recipe"):
        load(large)
