"""The menu in lines: what a serial line, a screen reader and a dumb terminal get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rescue import __version__
from rescue.core.errors import Exit, RescueError
from rescue.jobs.asked import has_job
from rescue.jobs.tasks import Task
from rescue.shell import actions, keyboard
from rescue.shell.bars import of_disk
from rescue.shell.bars import plain as plain_bar
from rescue.shell.facts import Sight, is_medium
from rescue.shell.flows.base import Answer, Ready
from rescue.shell.flows.by_name import flow as flow_of
from rescue.shell.plain import following
from rescue.shell.plain.asking import run_flow, tell
from rescue.shell.terminal import WIDTH, Back, Gone, Menu, Option, Terminal, take_signals
from rescue.shell.world import ThisMachine

READY = "rescue shell ready"
_MAX_DISKS = 5

Action = Callable[[Terminal, ThisMachine], None]


def run(*, plain: bool, announce: bool, terminal: Terminal | None = None) -> int:
    """Show the menu until the terminal goes away or the machine is switched off; the exit code."""
    take_signals()
    terminal = terminal or Terminal(plain=plain)
    world = ThisMachine()
    announcement = READY if announce else ""
    try:
        _keyboard_first(terminal, world)
    except Gone:
        return 0
    while True:
        try:
            _show(terminal, world)
            if announcement:
                # Once: programs at the other end of a serial line wait for this very line.
                terminal.say(announcement)
                announcement = ""
            _answer(terminal, world)
        except (Menu, Back):
            continue
        except Gone:
            return 0


def _keyboard_first(terminal: Terminal, world: ThisMachine) -> None:
    """Which keyboard this is, once; never on a serial line, whose other end has its own."""
    if not actions.ask_keyboard(world):
        return
    terminal.title(keyboard.TITLE)
    terminal.say(f"{keyboard.WHY} 0 leaves it as it is. {keyboard.LATER}")
    try:
        _keyboard(terminal, world)
    except (Menu, Back):
        pass
    except RescueError as error:
        tell(terminal, error)
    keyboard.asked()


def _keyboard(terminal: Terminal, world: ThisMachine) -> None:
    known = [Option(title, layout) for layout, title in keyboard.layouts()]
    if not known:
        terminal.say("This system has no layouts to choose from.")
        return
    terminal.say(keyboard.choose(terminal.choose("Type a number", known), world))


def _show(terminal: Terminal, world: ThisMachine) -> None:
    """The disks and the numbered actions."""
    sight = None
    try:
        sight = world.sight()
    except RescueError as error:
        terminal.say(f"The disks cannot be listed: {error.message}.")
    name = f" - {sight.machine.name}" if sight else ""
    terminal.title(f"RESCUE {__version__}{name}")
    if sight is not None:
        _disks(terminal, sight)
    for task in _running(world):
        terminal.stress(f"RUNNING: {task.title or task.command}")
        terminal.lines([f"  {following.progress_line(task)}"])
    for number, (text, _) in enumerate(_actions(world), 1):
        terminal.lines([f" {number:>2}  {text}"])
    terminal.say()
    terminal.say(actions.promise())
    terminal.say()


def _disks(terminal: Terminal, sight: Sight) -> None:
    terminal.say("The disks of this machine:")
    if not sight.disks:
        terminal.say("  none was found")
    for disk in sight.disks[:_MAX_DISKS]:
        medium = " - boot medium" if is_medium(disk) else ""
        terminal.lines([f"  {actions.disk_words(disk)}{medium}"])
        if not medium:
            drawn = plain_bar(of_disk(disk, sight.filesystems), WIDTH - 4)
            terminal.lines([f"    {drawn}"])
    if len(sight.disks) > _MAX_DISKS:
        terminal.say(f"  ... and {len(sight.disks) - _MAX_DISKS} more")
    terminal.say()


def _running(world: ThisMachine) -> list[Task]:
    try:
        return [task for task in world.tasks() if task.alive]
    except RescueError:
        return []


def _answer(terminal: Terminal, world: ThisMachine) -> None:
    """Take one answer and do it; Enter alone shows the menu anew, with the disks of that moment."""
    answer = terminal.ask("Type a number and press Enter")
    known = _actions(world)
    if answer.isdecimal() and 1 <= int(answer) <= len(known):
        _do(terminal, world, known[int(answer) - 1][1])
    elif answer:
        terminal.say(f'"{answer[:20]}" is none of these numbers.')
        terminal.wait()


def _do(terminal: Terminal, world: ThisMachine, action: Action) -> None:
    """One action; whatever goes wrong is said, and the menu comes back."""
    try:
        action(terminal, world)
    except RescueError as error:
        tell(terminal, error)
        terminal.wait("Press Enter for the menu.")
    except (Back, Menu, Gone):
        raise
    except Exception as error:
        terminal.say()
        terminal.say(f"A mistake in this program: {type(error).__name__}: {error}")
        terminal.say("Nothing more was done. The root shell offers every command by hand.")
        terminal.wait("Press Enter for the menu.")


def _actions(world: ThisMachine) -> list[tuple[str, Action]]:
    """The menu. 5 and 7 keep their numbers: people and programs have learnt them."""
    known: list[tuple[str, Action]] = [
        ("Bring this machine back from an image", _flow("restore")),
        ("Make an image of a disk", _flow("capture")),
        ("Check an image", _flow("check")),
        ("Get files out of an image or a disk", _flow("files")),
        ('Root shell ("exit" comes back here)', _root_shell),
        ("Restart the machine", lambda terminal, _world: _leave(terminal, "reboot")),
        ("Switch the machine off", lambda terminal, _world: _leave(terminal, "poweroff")),
        ("Show all disks, their health, the network, the log", _tools),
        ("Save a support bundle (no secrets in it)", _support),
    ]
    if _running(world) or _tasks(world):
        known.append(("Show what is running, or how it ended", _watch))
    if has_job():
        known.append(("Run the job of this start again", _job_again))
    return known


def _tasks(world: ThisMachine) -> list[Task]:
    try:
        return list(world.tasks())
    except RescueError:
        return []


def _flow(name: str) -> Action:
    """What a menu entry does that is a flow."""

    def do(terminal: Terminal, world: ThisMachine) -> None:
        flow = flow_of(name, world)
        terminal.title(flow.title)
        for line in world.scan(world.sight()):
            terminal.say(line)
        answers: dict[str, Answer] = {}
        while True:
            ready, answers = run_flow(terminal, flow, answers)
            if not finish(terminal, world, ready):
                return
            answers = {name: answers[name] for name in ready.keep if name in answers}

    return do


def finish(terminal: Terminal, world: ThisMachine, ready: Ready) -> bool:
    """Start what a flow came to, follow it to its end, offer what comes next; True: ask it again.

    What ended badly can be done once more: gone on with where that is possible, else asked anew.
    """
    if ready.wish is None:
        # The view and all that reads images: the menu is there sooner without.
        from rescue.shell.plain import browsing

        browsing.browse(terminal, world, ready.browse, ready.passphrase)
        return False
    terminal.title(ready.wish.title)
    task = following.follow(terminal, world.start(ready.wish))
    if task is None:
        return False
    actions.keep_logs(world)
    bad = task.exit not in (Exit.COMPLETE, Exit.UNREADABLE)
    if bad and terminal.yes("Once more?", default=False):
        if ready.again is None:
            return True
        return finish(terminal, world, replace(ready, wish=ready.again))
    if "verify" in ready.next and task.exit in (Exit.COMPLETE, Exit.UNREADABLE):
        terminal.say("An image is not done until it is proven: reading it back takes about as")
        terminal.say("long as making it.")
        if terminal.yes("Check the image now?", default=True):
            following.follow(terminal, world.start(actions.verify_wish(ready.wish)))
    may_start = "start" in ready.next and task.exit == Exit.COMPLETE and actions.may_leave()
    if may_start and terminal.yes("Start the machine now?", default=False):
        _leave_now(terminal, "reboot")
    terminal.wait("Press Enter for the menu.")
    return False


def _watch(terminal: Terminal, world: ThisMachine) -> None:
    """A task that runs or has run."""
    known = _tasks(world)
    options = [Option(f"{task.title or task.command}: {state_words(task)}", task) for task in known]
    terminal.title("What is running, and what has run")
    task = terminal.choose("Type a number", options)
    following.follow(terminal, task)
    terminal.wait("Press Enter for the menu.")


def state_words(task: Task) -> str:
    """How a task stands, in a few words."""
    if task.alive:
        return following.progress_line(task)
    return "ended without a word" if task.killed else f"ended, exit {task.exit}"


def _tools(terminal: Terminal, world: ThisMachine) -> None:
    terminal.title("Tools")
    options = [Option(text, name) for name, text in actions.TOOLS.items()]
    options.append(Option("Keyboard layout (kept on the stick)", "keyboard"))
    name = terminal.choose("Type a number", options)
    if name == "keyboard":
        _keyboard(terminal, world)
        terminal.wait("Press Enter for the menu.")
        return
    for line in actions.tool(name):
        terminal.say(line)
    terminal.wait("Press Enter for the menu.")


def _support(terminal: Terminal, world: ThisMachine) -> None:
    terminal.title("Save a support bundle")
    terminal.say(actions.save_support(world))
    terminal.wait("Press Enter for the menu.")


def _job_again(terminal: Terminal, _world: ThisMachine) -> None:
    terminal.title("Run the job of this start again")
    terminal.say("The kernel line or the boot medium names a job, and it ran before.")
    if terminal.yes("Run it again now?", default=False):
        status = actions.interact(["job", "--boot", "--again"])
        terminal.stress("Done." if status == 0 else f"It ended with {status}: see above.")
        terminal.wait()


def _root_shell(terminal: Terminal, _world: ThisMachine) -> None:
    """A root shell; its end leads back."""
    terminal.clear()
    terminal.say('A root shell. Every command is possible here. Type "exit" to come back.')
    terminal.say()
    actions.root_shell()


def _leave(terminal: Terminal, word: str) -> None:
    """Restart or power off, after a question."""
    if actions.busy():
        terminal.stress("A task is still running. Ended now, what it writes is incomplete.")
    question = "Restart the machine?" if word == "reboot" else "Switch the machine off?"
    if terminal.yes(question, default=False):
        _leave_now(terminal, word)


def _leave_now(terminal: Terminal, word: str) -> None:
    terminal.say("The system is being ended ...")
    actions.leave(word)
