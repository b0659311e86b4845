"""The pumps that live those lives: limits close above what each can give by itself."""

from random import Random

from kernel_bench import FG_PER_NL, HOURLY
from window_oracle import Button

from .chronicle import DAY, MINUTE, Drug, Program
from .pump_life import Setting
from .slow_rules import HOUR, WINDOWS, most_of_basal_and_buttons

LOOSE = 18 * 10**12
"""fg: below what the formulary lets a file set, far above what these pumps give."""


def draw_setting(chance: Random) -> Setting:
    """A pump whose limits lie a few doses, a nanolitre or a femtogram above its own worst case."""
    tight = chance.choice(WINDOWS)
    unit = chance.choice((1, 1_000, 1_000, 50_000))
    button = None
    if chance.random() < 0.4:
        button = Button(
            chance.choice((1, 2)) * max(unit // 10, 10),
            chance.choice((MINUTE, 7 * MINUTE, HOUR)),
            chance.choice((HOUR, 2 * HOUR, 4 * HOUR)),
            chance.choice((1, 4, 24)),
        )
    is_large = chance.random() < 0.12
    base = _draw_basal(chance, 230_000 if is_large else HOURLY // 24)
    bare = Program((Drug("morphine", FG_PER_NL, None, (0, 0, 0)),), base, button)
    room = chance.randint(1, 8) * unit * FG_PER_NL + chance.choice((-1, 0, 0, 1))
    drugs = [_with_limits("morphine", 1_000_000, bare, tight, room, chance)]
    room = chance.randint(1, 8) * unit * FG_PER_NL
    if not is_large and chance.random() < 0.4:
        half = bare._replace(drugs=(Drug("fentanyl", 500_000, None, (0, 0, 0)),))
        drugs.append(_with_limits("fentanyl", 500_000, half, tight, room // 2, chance))
    if not is_large and chance.random() < 0.15:
        drugs[0] = drugs[0]._replace(naive=True)
    first = Program(tuple(drugs), base, button)
    pool = [first]
    for _ in range(4):
        other = first._replace(basal=chance.choice((_draw_basal(chance), mirrored(base))))
        if chance.random() < 0.3:
            other = other._replace(button=None)
        if chance.random() < 0.15:
            doubled = (drug._replace(strength=2 * drug.strength) for drug in other.drugs)
            other = other._replace(drugs=tuple(doubled))
        elif chance.random() < 0.35:
            other = other._replace(drugs=other.drugs[:1])
        pool.append(other)
    return Setting(
        tuple(pool),
        chance.choice((2, 4, 96, 96)),
        chance.choice((1, 1, 1, 60)),
        chance.choice((0, 0, 10**12, 10_000 * DAY)),
    )


def _with_limits(
    name: str, strength: int, bare: Program, tight: int, room: int, chance: Random
) -> Drug:
    limits = list[int]()
    for window in WINDOWS:
        own = most_of_basal_and_buttons(frozenset([bare]), bare.drugs[0].name, window)
        full = -(-own.numerator // own.denominator) + room
        limits.append(full if window <= tight else max(limits[-1] if limits else 0, LOOSE))
    hour, four_hours, day = limits
    four_hours, day = max(hour, four_hours), max(hour, four_hours, day)
    per_bolus: int | None = min(hour, 10**12, chance.choice((hour, max(1, room), room // 2 + 1)))
    if name == "fentanyl" and chance.random() < 0.1:
        per_bolus = None
    return Drug(name, strength, per_bolus, (hour, four_hours, day))


def _draw_basal(chance: Random, unit: int = HOURLY // 24) -> tuple[tuple[int, int], ...]:
    most = 2 if unit > HOURLY else 8
    flows = [chance.randint(2, most) * unit * 24 + chance.choice((0, 0, 0, 1, 2)) for _ in range(3)]
    starts = {"one": (0,), "two": (0, chance.choice((1, 60, 720, 1_439)))}
    steps = starts[chance.choice(("one", "one", "two"))]
    return tuple(zip(steps, flows, strict=False))


def mirrored(steps: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The same times of the day with their flows in reverse."""
    return tuple((start, flow) for (start, _), (_, flow) in zip(steps, steps[::-1], strict=True))
