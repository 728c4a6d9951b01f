"""Jobs are parsed strictly; every mistake names the file, the key, and the line when known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.core.errors import UsageError
from rescue.image.keys import new_private_key, public_line
from rescue.jobs.model import MAX_JOB, DiskName, How, ImagePlace, SecretPlace, parse_job

CAPTURE = """
action = "capture"
source = { serial = "MACHINE01" }
image = { label = "STORE", path = "images/pc.rescue" }
level = 9
partitions = [1, 3, 1]
verify = true
then = "poweroff"
"""
RESTORE = """
action = "restore"
target = { wwn = "0x5000c500a1b2c3d4" }
image = { label = "STORE", path = "/images/pc.rescue" }
erase = "0x5000c500a1b2c3d4"
"""
SECOND = """
action = "restore"
target = { serial = "SECOND01" }
image = { label = "STORE", path = "pc.rescue" }
erase = "SECOND01"
fit = "all"
leave_out = [4]
new_identity = true
"""
PARTS = """
action = "restore"
target = { serial = "SECOND01" }
image = { label = "STORE", path = "pc.rescue" }
erase = "SECOND01"
partitions = [3]
into = "free@10G"
new_identity = true
"""
VERIFY = """
action = "verify"
image = { label = "medium", path = "pc.rescue" }
deep = true
"""


def test_capture() -> None:
    job = parse_job(CAPTURE)
    assert job.action == "capture"
    assert job.disk == DiskName("serial", "MACHINE01")
    assert job.image == ImagePlace("STORE", "images/pc.rescue")
    assert (job.level, job.partitions, job.verify, job.then) == (9, (1, 3), True, "poweroff")
    assert job.erase == ""


def test_restore_and_verify() -> None:
    job = parse_job(RESTORE)
    assert job.disk == DiskName("wwn", "0x5000c500a1b2c3d4")
    assert job.image.path == "images/pc.rescue", "paths are inside the filesystem"
    assert job.erase == "0x5000c500a1b2c3d4"
    assert job.then == "shell"
    assert parse_job(VERIFY).deep
    assert parse_job(VERIFY).disk is None


def test_how_thoroughly_is_said() -> None:
    """In the words that stand on the screen before a job begins."""
    said = {
        VERIFY.replace("deep = true", ""): "check the image medium:pc.rescue",
        VERIFY: "check the image medium:pc.rescue deeply",
        VERIFY
        + "filesystems = true": "check the image medium:pc.rescue deeply, and its filesystems",
        CAPTURE: "then check the image deeply",
        CAPTURE + "filesystems = true": "then check the image deeply, and its filesystems",
    }
    for text, words in said.items():
        assert parse_job(text).lines()[0].endswith(words)
    assert parse_job(CAPTURE + "filesystems = true").filesystems


def test_how_a_restore_is_done() -> None:
    assert parse_job(RESTORE).how == How()
    job = parse_job(SECOND)
    assert job.how == How("all", "", (4,), True)
    assert job.lines()[0].endswith("SECOND01, made to fit (all), without 4, with new identifiers")
    job = parse_job(PARTS)
    assert (job.partitions, job.how) == ((3,), How("", "free@10G", (), True))
    assert "partitions 3 only, into free@10G" in job.lines()[0]
    assert parse_job(PARTS.replace('"free@10G"', "5")).how.into == "5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SECOND.replace('"all"', '"most"'), "line 6: 'fit' makes no sense: 'most'"),
        (SECOND.replace('"all"', "3"), "line 6: 'fit' must be a text"),
        (SECOND.replace("[4]", "4"), "line 7: 'leave_out' must be a list"),
        (SECOND.replace("= true", "= 1"), "line 8: 'new_identity' must be true or false"),
        (SECOND + "partitions = [2]\n", "line 6: 'fit' and 'partitions' exclude each other"),
        (PARTS.replace("free@10G", "anywhere"), "line 7: 'into' makes no sense: 'anywhere'"),
        (PARTS.replace('"free@10G"', "0"), "line 7: 'into' makes no sense: '0'"),
        (PARTS.replace("partitions = [3]\n", ""), "line 6: 'into' needs 'partitions'"),
        (PARTS + "leave_out = [4]\n", "line 9: 'leave_out' and 'partitions' exclude each"),
        (PARTS.replace('into = "free@10G"\n', ""), "line 7: with 'partitions' it needs 'into'"),
        (VERIFY + "new_identity = true\n", "unknown key 'new_identity' in a job that says verify"),
    ],
)
def test_how_a_restore_is_not_done(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_job(text, name="pc.toml")
    assert f"pc.toml, {message}" in caught.value.message or message in caught.value.message
    assert caught.value.hint or "must be" in message or "exclude" in message


def sealed(more: str = "") -> str:
    """A capture that encrypts, for a key made here."""
    public = public_line(new_private_key())
    return CAPTURE.replace("verify = true", f'recipients = ["{public}"]') + more


KEY_FILE = 'key_file = { label = "KEYS", path = "/office.key" }\n'
PASSPHRASE_FILE = 'passphrase_file = { label = "medium", path = "words" }\n'


def test_what_opens_an_image_is_named_by_its_place() -> None:
    job = parse_job(RESTORE + KEY_FILE + PASSPHRASE_FILE)
    assert job.secrets == (
        SecretPlace("passphrase_file", ImagePlace("medium", "words")),
        SecretPlace("key_file", ImagePlace("KEYS", "office.key")),
    )
    assert str(job.secrets[1]) == "key in KEYS:office.key"
    assert not job.encrypts
    assert parse_job(VERIFY + KEY_FILE.replace("key_file", "recovery_key_file")).secrets


def test_who_may_open_a_new_image() -> None:
    job = parse_job(sealed())
    assert job.encrypts
    assert len(job.recipients) == 1
    assert "partitions 1, 3 only, encrypted" in job.lines()[0]
    assert parse_job(sealed(KEY_FILE + "verify = true\n")).verify
    assert parse_job(CAPTURE + PASSPHRASE_FILE).encrypts
    assert not parse_job(CAPTURE).encrypts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CAPTURE + KEY_FILE, "line 9: 'key_file' needs 'recipients'"),
        (CAPTURE + 'recipients = "all"\n', "line 9: 'recipients' must be a list of public keys"),
        (CAPTURE + "recipients = [1]\n", "line 9: 'recipients' must be a list of public keys"),
        (CAPTURE + f"recipients = {['a'] * 16}\n", "15 at most"),
        (CAPTURE + 'recipients = ["me"]\n', "line 9: "),
        (CAPTURE + 'key_file = "/mnt/key"\n', "'key_file' needs 'recipients'"),
        (VERIFY + 'key_file = "/mnt/key"\n', "line 5: 'key_file' must be a table in braces"),
        (VERIFY + KEY_FILE.replace("/office", "../office"), "'path' must lead to a file inside"),
        (VERIFY + KEY_FILE.replace("label", "lable"), "unknown key 'lable' in 'key_file'"),
        (VERIFY + 'passphrase = "secret"\n', "unknown key 'passphrase'"),
        (VERIFY + "recipients = []\n", "unknown key 'recipients'"),
        (
            CAPTURE + KEY_FILE.replace("key_file", "recovery_key_file"),
            "unknown key 'recovery_key_file'",
        ),
    ],
)
def test_mistakes_about_keys_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_job(text, name="night.toml")
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_encrypted_for_others_cannot_be_checked_without_a_key() -> None:
    with pytest.raises(UsageError, match="'verify' needs what opens the image"):
        parse_job(sealed("verify = true\n"))


def test_the_digest_is_of_the_text() -> None:
    assert parse_job(CAPTURE).digest == parse_job(CAPTURE).digest
    assert parse_job(CAPTURE).digest != parse_job(CAPTURE + "# changed\n").digest


def test_lines_name_what_would_be_erased() -> None:
    said = " ".join(parse_job(RESTORE).lines())
    assert "erasing 0x5000c500a1b2c3d4" in said
    assert "STORE:images/pc.rescue" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("action = ", "is not TOML"),
        ("", "the key 'action' is missing"),
        ('action = "clone"', "line 1: 'action' must be one of capture, verify, restore"),
        ("action = 3", "line 1: 'action' must be a text"),
        (CAPTURE.replace("level", "levle"), "line 5: unknown key 'levle' in a job that says capt"),
        (CAPTURE.replace("level = 9", "level = 20"), "line 5: 'level' must be a number from 1"),
        (CAPTURE.replace("level = 9", "level = true"), "line 5: 'level' must be a number"),
        (CAPTURE.replace("[1, 3, 1]", "[0]"), "line 6: 'partitions' must be a list"),
        (CAPTURE.replace("[1, 3, 1]", "[true]"), "line 6: 'partitions' must be a list"),
        (CAPTURE.replace("verify = true", 'verify = "yes"'), "line 7: 'verify' must be true or"),
        (CAPTURE.replace('"poweroff"', '"sleep"'), "line 8: 'then' must be one of shell, reboot"),
        (CAPTURE.replace("serial", "path"), "line 3: unknown key 'path' in 'source'"),
        (CAPTURE.replace('serial = "MACHINE01"', ""), "exactly one of serial, wwn and label"),
        (
            CAPTURE.replace('serial = "MACHINE01"', 'serial = "A", wwn = "B"'),
            "line 3: 'source' must have exactly one of serial, wwn and label",
        ),
        (CAPTURE.replace('"MACHINE01"', '" "'), "'serial' must be a text"),
        (CAPTURE.replace("source = {", "target = {"), "unknown key 'target'"),
        (CAPTURE.replace('label = "STORE", ', ""), "the key 'label' is missing"),
        (CAPTURE.replace("images/pc", "../../etc/pc"), "line 4: 'path' must lead to a file inside"),
        (CAPTURE.replace("images/pc.rescue", "/"), "line 4: 'path' must lead to a file"),
        (CAPTURE.replace("STORE", "ST\\u0007ORE"), "control characters"),
        (RESTORE.replace("erase", "# erase"), "the key 'erase' is missing"),
        (
            RESTORE.replace('erase = "0x5000c500a1b2c3d4"', 'erase = "/dev/sda"'),
            "line 5: 'erase' must be a serial number or WWN, not a path",
        ),
        (
            CAPTURE.replace("verify = true", "filesystems = true"),
            "'filesystems' needs 'verify'",
        ),
        (RESTORE + "deep = true\n", "line 6: unknown key 'deep' in a job that says restore"),
        ("x = " + "[" * 5000, "is not TOML"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_job(text, name="night.toml")
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert "night.toml" in caught.value.message or "erase" in caught.value.message


def test_what_is_too_long_is_no_job() -> None:
    with pytest.raises(UsageError, match="too long"):
        parse_job("#" * (MAX_JOB + 1))


@given(st.text(max_size=200))
def test_any_text_is_a_job_or_a_usage_error(text: str) -> None:
    try:
        parse_job(text)
    except UsageError as error:
        assert "\n" not in error.message
