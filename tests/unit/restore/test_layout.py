"""Where partitions go on other disks: alignment, room, order, and refusals with their hints."""

from __future__ import annotations

import random

import pytest

from rescue.core.errors import TargetRefused, UsageError
from rescue.core.extent import Extent, ExtentMap
from rescue.core.units import GIB, MIB
from rescue.devices.model import Layout, Partition
from rescue.image.manifest import Volume
from rescue.restore.arrange import arrange, smallest
from rescue.restore.bounds import Bounds, bounds_of
from rescue.restore.layout import Arrangement, Fit, grain_of, parse_fit
from rescue.restore.picture import bars, table

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
SIZE = 10 * GIB
BACKUP = 33 * 512
PARTS = (
    Partition(1, MIB, 512 * MIB, "gpt", ESP),
    Partition(2, 513 * MIB, 6 * GIB, "gpt", "t"),
    Partition(3, 513 * MIB + 6 * GIB, 2 * GIB, "gpt", "t"),
    Partition(4, 513 * MIB + 8 * GIB, SIZE - 514 * MIB - 8 * GIB, "gpt", "t"),
)
GPT = Layout("gpt", 512, SIZE, "guid", PARTS, ExtentMap.of([(0, 34 * 512)]))
FLOORS = {1: 64 * MIB, 2: 2 * GIB, 3: GIB, 4: 64 * MIB}


def bounds(**fixed: str) -> dict[int, Bounds]:
    """Everything can be resized, 4 is swap; ``p2="why"`` fixes one."""
    result = {}
    for one in PARTS:
        why = fixed.get(f"p{one.number}")
        low = one.length if why else FLOORS[one.number]
        high = one.length if why else 1 << 62
        quiet = one.number == 4
        result[one.number] = Bounds(low, high, "tool", "overlay", why or "", quiet)
    return result


def lengths(arrangement: Arrangement) -> list[int]:
    return [place.new.length for place in arrangement.places]


def sound(layout: Layout, arrangement: Arrangement, size: int) -> None:
    """No overlap, in order, aligned, inside."""
    reached = 0
    for place in arrangement.places:
        if place.kind == "extended":
            continue
        assert place.new.start >= reached
        assert place.new.start % grain_of(layout) == 0
        reached = place.new.end
    assert reached <= size - (BACKUP if layout.label == "gpt" else 0)


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        (None, Fit()),
        ("none", Fit()),
        ("last", Fit("last")),
        ("all", Fit("all")),
        ("3", Fit("named", (3,))),
        ("3,1,3", Fit("named", (1, 3))),
    ],
)
def test_fit(text: str | None, fit: Fit) -> None:
    assert parse_fit(text) == fit


@pytest.mark.parametrize("text", ["", "first", "1,", ",1", "1;2", "-1", "99999"])
def test_fit_that_makes_no_sense(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fit(text)


def test_nothing_moves_unless_it_was_asked_for() -> None:
    found = arrange(GPT, bounds(), 3 * SIZE, 512, Fit())
    assert found.same and found.layout.size == 3 * SIZE


def test_the_last_that_can_grow_is_not_the_swap() -> None:
    found = arrange(GPT, bounds(), 2 * SIZE, 512, Fit("last"))
    assert [p.change for p in found.places] == ["kept", "kept", "grown", "moved"]
    sound(GPT, found, 2 * SIZE)
    assert 2 * SIZE - found.places[-1].new.end < 2 * MIB


def test_all_grow_in_proportion_but_the_small_helpers() -> None:
    found = arrange(GPT, bounds(), 2 * SIZE, 512, Fit("all"))
    one, two, three, four = lengths(found)
    assert (one, four) == (PARTS[0].length, PARTS[3].length)
    assert abs((two - 6 * GIB) / (three - 2 * GIB) - 3) < 0.01
    sound(GPT, found, 2 * SIZE)


def test_a_limit_is_kept_and_the_rest_goes_on() -> None:
    known = bounds()
    known[2] = Bounds(2 * GIB, 7 * GIB, "tool", "overlay")
    found = arrange(GPT, known, 3 * SIZE, 512, Fit("all"))
    assert lengths(found)[1] == 7 * GIB and lengths(found)[2] > 10 * GIB


def test_named_partitions_whatever_they_are() -> None:
    found = arrange(GPT, bounds(), 2 * SIZE, 512, Fit("named", (4,)))
    assert [p.change for p in found.places] == ["kept", "kept", "kept", "grown"]


def test_smaller_is_refused_with_what_would_do() -> None:
    with pytest.raises(TargetRefused) as caught:
        arrange(GPT, bounds(), SIZE * 6 // 10, 512, Fit())
    assert "too small" in caught.value.message and "--fit all" in caught.value.hint


@pytest.mark.parametrize("fit", [Fit("all"), Fit("last"), Fit("named", (2,))])
def test_smaller(fit: Fit) -> None:
    size = SIZE * 6 // 10
    found = arrange(GPT, bounds(), size, 512, fit)
    sound(GPT, found, size)
    for place in found.places:
        assert place.new.length >= min(place.old.length, FLOORS[place.number])
    assert found.places[0].change == "kept"
    assert size - found.places[-1].new.end < 64 * MIB


def test_too_small_for_what_is_in_use_names_the_smallest_and_what_is_in_the_way() -> None:
    with pytest.raises(TargetRefused) as caught:
        arrange(GPT, bounds(p2="it is fixed"), 5 * GIB, 512, Fit("all"))
    assert "fits on disks from" in caught.value.hint
    assert "partition 2 (it is fixed)" in caught.value.hint


def test_smallest_is_enough_and_not_too_much() -> None:
    least = smallest(GPT, bounds(), 512)
    named = Fit("named", (1, 2, 3, 4))
    sound(GPT, arrange(GPT, bounds(), least, 512, named), least)
    with pytest.raises(TargetRefused):
        arrange(GPT, bounds(), least - 2 * MIB, 512, named)


def test_fit_names_what_is_not_there_or_not_to_be_resized() -> None:
    with pytest.raises(UsageError, match="does not have"):
        arrange(GPT, bounds(), 2 * SIZE, 512, Fit("named", (9,)))
    with pytest.raises(UsageError, match="cannot be resized: odd"):
        arrange(GPT, bounds(p2="odd"), 2 * SIZE, 512, Fit("named", (2,)))


def msdos() -> Layout:
    parts = (
        Partition(1, MIB, GIB, "primary", "83"),
        Partition(2, MIB + GIB, 5 * GIB, "extended", "05"),
        Partition(5, 2 * MIB + GIB, 2 * GIB, "logical", "83"),
        Partition(6, 3 * MIB + 3 * GIB, 2 * GIB, "logical", "83"),
        Partition(3, 8 * GIB, GIB, "primary", "83"),
    )
    ebrs = [MIB + GIB, 2 * MIB + 3 * GIB]
    tables = ExtentMap.of((at, at + 512) for at in [0, *ebrs])
    return Layout("msdos", 512, SIZE, "id", parts, tables)


@pytest.mark.parametrize("size", [12 * GIB, 30 * GIB, 6 * GIB, 4 * GIB])
def test_logical_partitions_stay_inside_and_leave_room_for_their_records(size: int) -> None:
    layout = msdos()
    known = {p.number: Bounds(600 * MIB, 1 << 62, "tool", "overlay") for p in layout.partitions}
    found = arrange(layout, known, size, 512, Fit("all"))
    sound(layout, found, size)
    by_number = {place.number: place.new for place in found.places}
    outer, five, six = by_number[2], by_number[5], by_number[6]
    assert outer.start < five.start < five.end < six.start < six.end <= outer.end
    assert six.start - five.end >= 512 and five.start - outer.start >= 512
    assert by_number[3].start >= outer.end


def test_any_layout_on_any_disk_is_sound_or_refused() -> None:
    rng = random.Random(5)
    arranged = 0
    for _ in range(400):
        at, listed, known = MIB * rng.choice((1, 1, 2)), [], {}
        for number in range(1, rng.randrange(2, 9)):
            length = rng.randrange(1, 3000) * MIB + rng.choice((0, 0, 512, 4096))
            at += rng.choice((0, 0, MIB, 37 * MIB))
            at = -(-at // MIB) * MIB
            listed.append(Partition(number, at, length, "gpt", "t"))
            low = rng.randrange(length // 2, length + 1)
            known[number] = Bounds(low, rng.choice((length, 2 * length, 1 << 62)), "tool", "files")
            at += length
        size = -(-(at + 34 * 512) // 512) * 512
        layout = Layout("gpt", 512, size, "g", tuple(listed), ExtentMap())
        target = int(size * rng.uniform(0.4, 3)) // 512 * 512
        fit = Fit(rng.choice(("none", "all", "last")))  # type: ignore[arg-type]
        try:
            found = arrange(layout, known, target, 512, fit)
        except TargetRefused:
            assert target < size
            continue
        arranged += 1
        sound(layout, found, target)
        for place in found.places:
            one = known[place.number]
            low, high = min(one.low, place.old.length), max(one.high, place.old.length)
            assert low <= place.new.length <= high
    assert arranged > 200


def test_bounds_of_volumes() -> None:
    def volume(fs: str, **more: object) -> Volume:
        fields = {"method": "partclone", "captured": GIB, "state": "clean", **more}
        return Volume(1, Extent(MIB, 8 * GIB), fs, "", "", **fields)  # type: ignore[arg-type]

    assert GIB < bounds_of(volume("ext4")).low < 2 * GIB
    assert bounds_of(volume("crypto_LUKS")).fixed
    assert bounds_of(volume("ntfs", state="hibernated")).fixed
    whole = bounds_of(volume("ext4", method="whole", state="dirty"))
    assert whole.low == 8 * GIB and not whole.fixed and "captured whole" in whole.why
    assert bounds_of(volume("vfat")).fixed
    assert bounds_of(volume("vfat"), (GIB, 16 * GIB)) == Bounds(GIB, 16 * GIB, "rebuild", "rebuild")


def test_the_picture_shows_both_disks_on_one_scale() -> None:
    found = arrange(GPT, bounds(), 2 * SIZE, 512, Fit("all"))
    volumes = [Volume(p.number, p.extent, "ext4", f"v{p.number}", "", "", MIB) for p in PARTS]
    before, after = bars(GPT, found, volumes)
    assert before.count("[") == after.count("[") == 4
    assert len(after) > 1.5 * len(before) - 20
    assert "2 v2" in before and "2 v2" in after
    rows = table(found.places, volumes)
    assert len(rows) == 5 and "grown" in rows[2] and "6.0 GiB" in rows[2]
