"""The fuzzer notices what it is for: another error, an error of two lines, a case without end."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import NoReturn

import pytest

from rescue.core.errors import ImageDamaged
from tests.torture import fuzz, mutate
from tests.torture.targets import Target


def outcome(run: Callable[[random.Random], object], **more: object) -> tuple[str, int]:
    refused: Counter[str] = Counter()
    target = Target("it", run, **more)  # type: ignore[arg-type]
    return fuzz._one(target, 1, 1, refused), refused["it"]


def test_what_counts_as_a_failure() -> None:
    def damaged(_rng: random.Random) -> NoReturn:
        raise ImageDamaged("the map is damaged")

    def chatty(_rng: random.Random) -> NoReturn:
        raise ImageDamaged("two\nlines")

    def broken(_rng: random.Random) -> NoReturn:
        raise KeyError("size")

    def greedy(_rng: random.Random) -> NoReturn:
        raise MemoryError

    assert outcome(lambda _rng: None) == ("", 0)
    assert outcome(damaged) == ("", 1)
    assert "not one line" in outcome(chatty)[0]
    assert "KeyError" in outcome(broken)[0]
    assert "MemoryError" in outcome(greedy)[0]
    assert outcome(broken, allowed=(KeyError,)) == ("", 1)


def test_one_case_does_not_change_the_next() -> None:
    """Spoiled JSON is made of copies: a list that all cases share once grew to hold itself."""
    text = json.dumps({"volumes": [{"a": [1, 2], "b": {}}], "chain": [], "size": 9}).encode()
    before = deepcopy(mutate._VALUES)
    made = [mutate.spoil_json(random.Random(number), text) for number in range(3000)]
    assert before == mutate._VALUES
    assert mutate.spoil_json(random.Random(7), text) == made[7]


def test_a_case_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(fuzz, "CASE_SECONDS", 0.2)

    def ring(_number: int, _frame: object) -> None:
        raise fuzz.Hung

    before = signal.signal(signal.SIGALRM, ring)
    try:

        def endless(_rng: random.Random) -> None:
            while True:
                pass

        assert "seconds" in outcome(endless)[0]
    finally:
        signal.signal(signal.SIGALRM, before)
