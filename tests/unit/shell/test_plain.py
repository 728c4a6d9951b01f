"""The plain face: the same flows in lines; left at each step, and it outlives what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rescue.core.errors import DiskTrouble
from rescue.jobs import runtime
from rescue.jobs.tasks import Task
from rescue.shell import actions, images
from rescue.shell.flows.restore import RestoreFlow
from rescue.shell.plain import asking, following, menu
from rescue.shell.terminal import WIDTH, Back, Gone, Menu, Option, Terminal, fit, fold
from tests.unit.shell.recorded import IMAGE, LOCKED, MACHINE, PASSPHRASE, SMALL, STORE, World


class Person:
    """Answers what is asked, in order, and keeps what was shown."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.shown = ""
        self.terminal = Terminal(
            plain=True, read=self._read, write=self._write, secret=self._secret
        )

    def _read(self) -> str | None:
        if not self.answers:
            return None
        answer = self.answers.pop(0)
        self.shown += "\n"  # the terminal's echo of Enter
        if answer == "^C":
            raise Menu
        return answer

    def _secret(self, question: str) -> str:
        self._write(question)
        return self._read() or ""

    def _write(self, text: str) -> None:
        self.shown += text


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """The machine that the menu stands in front of; tasks end at once and well."""
    made = World(folder=tmp_path)
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path / "run"))
    monkeypatch.setattr(menu, "ThisMachine", lambda: made)
    monkeypatch.setattr(menu, "take_signals", lambda: None)
    monkeypatch.setattr(menu, "has_job", lambda: False)
    monkeypatch.setattr(actions, "keep_logs", lambda _world: None)

    def follow(terminal: Terminal, task: Task) -> Task:
        made.running.clear()
        terminal.say(f"$ {task.command}")
        return Task(
            task.id, task.folder, task.words, task.title, task.command, 0.0, 0, False, 0, 1.0, {}
        )

    monkeypatch.setattr(following, "follow", follow)
    return made


def run_menu(person: Person, *, announce: bool = False) -> int:
    """The menu with this person in front of it, until the answers end."""
    return menu.run(plain=True, announce=announce, terminal=person.terminal)


def test_restore_by_numbers(world: World) -> None:
    person = Person("1", "1", "1", "1", "wrong", "S4EVNX01", "")
    assert run_menu(person) == 0
    assert [wish.words for wish in world.started] == [
        ("restore", IMAGE.word, "/dev/sda", "--erase", "S4EVNX01")
    ]
    assert "NOTE: Will be lost: " in person.shown
    assert "NOT POSSIBLE: the image is on it" in person.shown
    assert 'That will not do: "wrong" is not the identity' in person.shown
    assert "$ rescue task start --place /dev/sdb1 -- restore" in person.shown
    assert "now:\n|" in person.shown, "disks are drawn"
    assert all(len(line) <= WIDTH for line in person.shown.splitlines())
    assert person.shown.isascii()


def test_a_second_copy_by_numbers(world: World) -> None:
    """The disk of the image is there as well: in its place, or beside it."""
    second = replace(SMALL, size=MACHINE.size)
    world.disks = (MACHINE, second, STORE)
    for answer, more in (("1", ()), ("2", ("--new-identity",))):
        person = Person("1", "1", "1", "2", answer, "FLASH01", "")
        assert run_menu(person) == 0
        assert world.started[-1].words[3:] == ("--erase", "FLASH01", *more)
        assert ": In place of the first disk, or beside it?" in person.shown
        assert re.search(r"\n +1  [^\n]*exactly as it was", person.shown)
        assert all(len(line) <= WIDTH for line in person.shown.splitlines())


def test_a_refused_disk_has_no_number(world: World) -> None:
    person = Person("1", "1", "1", "2", "3", "4", "0", "0", "0")
    assert run_menu(person) == 0
    assert world.started == []
    assert person.shown.count("That one is not possible: ") == 3


def test_zero_leads_back_a_step_at_a_time(world: World) -> None:
    person = Person("1", "1", "1", "1", "0", "0", "0", "0")
    assert run_menu(person) == 0
    assert world.started == []
    assert person.shown.count("step 3: Onto which disk?") == 2
    assert person.shown.count("step 1: From which image?") == 2


def test_capture_and_then_the_proof(world: World) -> None:
    world.found = []
    person = Person("2", "1", "1", "1", "1", "1", "1", "pc", "yes", "")
    assert run_menu(person) == 0
    assert [wish.words for wish in world.started] == [
        ("capture", "/dev/sda", "/dev/sdb1:pc.rescue", "--level", "3"),
        ("verify", "--filesystems", "/dev/sdb1:pc.rescue"),
    ]
    assert world.started[1].places == (Path("/dev/sdb1"),)


def test_check_of_an_encrypted_image(world: World) -> None:
    world.found = [LOCKED]
    person = Person("3", "1", "1", "wrong", PASSPHRASE.decode(), "")
    assert run_menu(person) == 0
    assert "does not open the image" in person.shown
    assert world.started[0].passphrase == PASSPHRASE
    assert PASSPHRASE.decode() not in person.shown


def test_partitions_by_numbers(world: World) -> None:
    person = Person("1", "1", "2", "9", "2, 3", "1", "S4EVNX01", "")
    assert run_menu(person) == 0
    assert world.started[0].words[-4:] == ("--partition", "2", "--partition", "3")
    assert "choose at least one partition" in person.shown


def test_the_menu_says_once_that_it_is_ready(world: World) -> None:
    person = Person("", "^C", "zzz", "", "99", "")
    assert run_menu(person, announce=True) == 0
    assert person.shown.count("rescue shell ready\n") == 1
    assert '"zzz" is none of these numbers' in person.shown
    for fact in ("Dell XPS 13", "S4EVNX01", "Windows", "boot medium"):
        assert fact in person.shown.split("1  Bring")[0]


def test_numbers_that_programs_have_learnt_stay(world: World) -> None:
    person = Person()
    run_menu(person)
    assert "  5  Root shell" in person.shown
    assert "  7  Switch the machine off" in person.shown


def test_leaving_asks_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    monkeypatch.setattr(actions, "leave", left.append)
    run_menu(Person("7", "", "6", "maybe", "no"))
    assert left == []
    run_menu(Person("6", "yes"))
    assert left == ["reboot"]


def test_a_machine_that_is_no_rescue_medium_is_not_restarted() -> None:
    with pytest.raises(DiskTrouble, match="not started from rescue media"):
        actions.leave("reboot")


def test_the_menu_outlives_what_goes_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_answers: object) -> None:
        raise ZeroDivisionError("oh")

    def gone() -> None:
        raise DiskTrouble("the disk is gone", hint="plug it in")

    monkeypatch.setattr(RestoreFlow, "step", lambda _self, answers: fail(answers))
    person = Person("1", "", "9", "")
    monkeypatch.setattr(actions, "save_support", lambda _world: gone())
    assert run_menu(person) == 0
    assert "A mistake in this program: ZeroDivisionError: oh" in person.shown
    assert "That did not work: the disk is gone." in person.shown
    assert "What to do: plug it in." in person.shown


def test_the_menu_is_there_without_disks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise DiskTrouble("lsblk is gone")

    monkeypatch.setattr(world, "sight", broken)
    person = Person("1", "")
    assert run_menu(person) == 0
    assert "The disks cannot be listed: lsblk is gone." in person.shown
    assert "That did not work: lsblk is gone." in person.shown


def test_a_job_runs_again_only_when_it_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def interact(words: list[str]) -> int:
        ran.append(words)
        return 0

    monkeypatch.setattr(menu, "has_job", lambda: True)
    monkeypatch.setattr(actions, "interact", interact)
    run_menu(Person("10", ""))
    assert ran == [], "Enter alone is no"
    run_menu(Person("10", "yes", ""))
    assert ran == [["job", "--boot", "--again"]]


def test_a_failing_machine_takes_the_last_answer_back(world: World) -> None:
    class Failing:
        title = "Failing"

        def step(self, answers: dict[str, object]) -> object:
            if answers:
                raise DiskTrouble("it is gone")
            return asking.Ask("name", "Name", "text")

    person = Person("x", "", "0")
    with pytest.raises(Back):
        asking.run_flow(person.terminal, Failing())  # type: ignore[arg-type]
    assert person.shown.count("step 1: Name") == 2


def test_choosing() -> None:
    options = [Option(f"answer {n}", n) for n in range(1, 31)]
    person = Person("99", "x", "m", "17")
    assert person.terminal.choose("Number", options) == 17
    assert "answer 15" in person.shown
    assert "answer 30" not in person.shown
    for word in ("0", "b", "back", "Q"):
        with pytest.raises(Back):
            Person(word).terminal.choose("Number", options)
    with pytest.raises(Gone):
        Person().terminal.choose("Number", options)
    with pytest.raises(Menu):
        Person("^C").terminal.choose("Number", options)


def test_names_from_disks_cannot_draw() -> None:
    assert fit("evil\x1b[2J\nname é") == "evil?[2J?name ?"
    assert len(fit("x" * 500)) == WIDTH
    assert fit("x" * 500).endswith("...")
    assert all(len(line) <= WIDTH for line in fold("word " * 100))
    assert fold("  indented " + "word " * 40)[1].startswith("  word")
    assert fold("") == [""]
    assert fold("x" * 200) == ["x" * 200], "a path that is cut cannot be typed"


def found(root: Path, **more: float) -> Iterator[object]:
    return images.find_images(root, None, "", **more)


def test_images_are_found_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "broken.rescue").write_bytes(b"nothing")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.rescue").touch()
    (tmp_path / "letter.txt").touch()
    deep = tmp_path.joinpath(*"123456789")
    deep.mkdir(parents=True)
    (deep / "far.rescue").touch()
    (one,) = images.find_images(tmp_path, Path("/dev/x"), "a place")
    assert one is not None
    assert one.path == "a/b/broken.rescue"
    assert one.word == "/dev/x:a/b/broken.rescue"
    assert not one.usable
    assert one.why.startswith("cannot be used: ")
    assert list(found(tmp_path, seconds=-1)) == [None], "there may be more"


def test_machines_have_names() -> None:
    assert images.machine_name({"vendor": "Dell", "product": "XPS", "hostname": "rescue"}) == (
        "Dell XPS"
    )
    assert images.machine_name({"hostname": "pc"}) == "pc"
    assert images.machine_name({}) == "a machine"
