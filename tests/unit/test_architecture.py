"""The cut of docs/design.md, enforced: layers, single importers, docstrings, module size."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for name in ("rescue", "builder") for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 350

_WORK = {"core", "devices", "image", "allocation"}
_VERBS = _WORK | {"capture", "restore", "verify", "view", "upkeep"}
# What a room of rescue/ may import besides itself. Rooms of one row do not know each other; cli
# alone starts the shell, which is one of its verbs.
BELOW: dict[str, set[str]] = {
    "core": set(),
    "devices": {"core"},
    "image": {"core"},
    "allocation": {"core", "devices"},
    "capture": _WORK,
    "restore": {"core", "devices", "image"},
    "verify": {"core", "devices", "image"},
    "view": {"core", "devices", "image"},
    "upkeep": {"core", "devices", "image"},
    "jobs": _VERBS,
    "shell": _VERBS | {"jobs"},
    "cli": _VERBS | {"jobs", "shell"},
}
BUILDER_MAY = {"core", "devices"}
STARTERS = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve"}


def name_of(path: Path) -> str:
    """Path inside the project, as test ids and messages show it."""
    return str(path.relative_to(ROOT))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that is imported, at any depth of the file; relative imports made absolute."""
    package = list(path.relative_to(ROOT).with_suffix("").parts)[:-1]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def importers_of(*modules: str) -> list[str]:
    """Project files that import one of ``modules`` or something inside it."""
    return [
        name_of(path)
        for path in MODULES
        if any(found.split(".")[0] in modules for found in imports_of(path))
    ]


def test_there_is_something_to_look_at() -> None:
    rooms = {path.relative_to(ROOT).parts[1] for path in MODULES if path.parts[-2] != "rescue"}
    assert {"core", "image", "cli"} <= rooms


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    top, *rest = path.relative_to(ROOT).parts
    room = rest[0] if len(rest) > 1 else ""
    for found in imports_of(path):
        words = found.split(".")
        if top == "rescue":
            assert words[0] != "builder", f"{name_of(path)} imports {found}"
        if words[0] != "rescue" or len(words) < 2:
            continue
        if not (ROOT / "rescue" / words[1]).is_dir():
            continue  # a name of rescue/__init__.py, such as __version__
        allowed = BUILDER_MAY if top == "builder" else BELOW.get(room, set()) | {room}
        assert words[1] in allowed, f"{name_of(path)} imports {found}"


def test_every_room_has_its_place_in_the_layers() -> None:
    rooms = {path.parent.name for path in (ROOT / "rescue").glob("*/__init__.py")}
    assert rooms <= set(BELOW)


def test_one_module_starts_programs() -> None:
    assert importers_of("subprocess", "pty", "multiprocessing") == ["rescue/core/process.py"]
    for path in MODULES:
        if name_of(path) == "rescue/core/process.py":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = (node.value.id, node.attr)
                assert called not in {("os", s) for s in STARTERS}, f"{name_of(path)}: {called}"


def test_one_module_imports_parted() -> None:
    assert importers_of("parted", "_ped") == ["rescue/devices/table.py"]


def test_one_module_imports_pycdlib() -> None:
    (only,) = importers_of("pycdlib")
    assert only.startswith("builder/iso/")


def test_only_the_edge_prints_or_exits() -> None:
    """Library code raises and reports; a job writes to consoles that it opened itself."""
    for path in MODULES:
        room = path.relative_to(ROOT).parts[1]
        if room in ("cli", "shell"):
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit", "input"), name_of(path)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("sys", "exit"), name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_say_what_they_are_for_and_stay_small(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines"


def test_tests_say_what_they_are_for() -> None:
    for path in TESTS:
        if path.name != "__init__.py":
            assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"


def test_unit_tests_cannot_start_programs() -> None:
    for path in TESTS:
        parts = path.relative_to(ROOT / "tests").parts
        if parts[0] == "unit" and path.name != "conftest.py":
            found = set(imports_of(path)) & {"subprocess", "pexpect", "pty", "multiprocessing"}
            assert not found, f"{name_of(path)} imports {found}"
