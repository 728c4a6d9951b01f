"""What both faces do besides the flows: tools, support bundle, logs, root shell, restart."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rescue.core import process
from rescue.core.errors import DiskTrouble, RescueError, from_os_error
from rescue.jobs import describe, tasks
from rescue.jobs.held import held
from rescue.jobs.tasks import TaskWish
from rescue.shell.settings import Settings, save
from rescue.shell.world import World, data_partition

TOOLS = {
    "disks": "All disks, and what is on them",
    "smart": "The health of the disks, as they tell it themselves (SMART)",
    "network": "The state of the network",
    "log": "What the kernel said last: cables and dying disks show here",
    "tasks": "What was done since this start",
}
disk_words = describe.disk_words


def tool(name: str) -> list[str]:
    """What a tool shows, as lines."""
    if name == "disks":
        return _printed([*tasks.own_program(), "disks"])
    if name == "smart":
        return _smart()
    if name == "network":
        return _printed(["ip", "-brief", "address"]) + _printed(["ip", "route"])
    if name == "log":
        return _printed(["dmesg", "--level", "emerg,alert,crit,err,warn,notice"])[-200:]
    return _printed([*tasks.own_program(), "task", "list"])


def _printed(command: Sequence[str]) -> list[str]:
    try:
        done = process.run(command, check=False, timeout=60)
    except RescueError as error:
        return [f"{error.message}."]
    text = (done.stdout + done.stderr).decode(errors="replace")
    return ["$ " + " ".join(command), *text.splitlines(), ""]


def _smart() -> list[str]:
    from rescue.devices.discover import list_disks

    lines = []
    for disk in list_disks():
        if disk.node_type == "disk":
            lines += [describe.disk_words(disk)]
            lines += _printed(["smartctl", "--health", "--attributes", str(disk.path)])
    return lines or ["No disk was found."]


def save_support(world: World) -> str:
    """Save a support bundle on the stick, or in memory where there is none; a sentence."""
    from rescue.jobs import support

    name = f"rescue-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    try:
        place = data_partition(world.sight())
        if place is not None:
            with held(place.node, writable=True) as opened:
                support.save(opened.root / name)
            return f"Saved as {name} on {place.label or place.node} (the stick). No secrets in it."
    except RescueError as error:
        path = Path("/tmp") / name
        support.save(path)
        return f"The stick cannot be written ({error.message}). Saved as {path}, in memory only."
    path = Path("/tmp") / name
    support.save(path)
    where = "in memory only: copy it to a stick before you switch off" if describe.is_live() else ""
    return f"Saved as {path}" + (f", {where}." if where else ".")


def keep_logs(world: World) -> None:
    """Copy the logs of ended tasks and what was chosen to the stick, where it has room for them.

    What cannot be written is left: the logs are still in memory and in the support bundle.
    """
    try:
        ended = [task for task in tasks.listing() if not task.alive]
        place = data_partition(world.sight()) if ended else None
        if place is None:
            return
        with held(place.node, writable=True) as opened:
            for task in ended:
                folder = opened.root / "logs" / task.id
                if not folder.exists():
                    _copy_log(task.folder, folder)
            if (chosen := world.settings()) != Settings():
                save(chosen, opened.root)
    except RescueError:
        return


def _copy_log(source: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
        for name in ("task.json", "state.json", "log.txt", "output.txt", "end.json"):
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
    except OSError as error:
        raise from_os_error(error, f"write {folder}") from error


def ask_keyboard(world: World) -> bool:
    """Load the keyboard layout that the stick remembers; whether a person is to be asked for it."""
    from rescue.shell import keyboard

    return keyboard.to_ask(world)


def verify_wish(capture: TaskWish) -> TaskWish:
    """The check that follows a capture: the same image, read only."""
    image = capture.words[2]
    return TaskWish(
        ("verify", "--filesystems", image),
        f"Check {image.partition(':')[2] or image}",
        places=capture.writable or capture.places,
        passphrase=capture.passphrase,
    )


def interact(words: Sequence[str]) -> int:
    """Run a ``rescue`` command on this terminal."""
    return process.interact([*tasks.own_program(), *words])


def root_shell() -> None:
    """A root shell on this terminal."""
    process.interact(["/bin/bash", "--login"])


PROMISE = "Nothing is written to any disk before you have confirmed it."


def promise() -> str:
    """The sentence below the first screen; for an ordinary user what is missing."""
    if os.geteuid() != 0:
        return "You are not root: disks can be neither read nor written. Start it with sudo."
    return PROMISE


def busy() -> bool:
    """Whether a task runs that writes."""
    try:
        return any(task.alive and task.verb not in tasks.READERS for task in tasks.listing())
    except RescueError:
        return False


def may_leave() -> bool:
    """Whether restarting this machine is what a person wants: only on the rescue media."""
    return describe.is_live()


def leave(word: str) -> None:
    """``reboot`` or ``poweroff``; the system ends meanwhile.

    Raises:
        DiskTrouble: this is not the rescue media.
    """
    if not may_leave():
        raise DiskTrouble(
            "this machine was not started from rescue media",
            hint="restart it as you always do",
        )
    process.run(["systemctl", word])
    time.sleep(60)
