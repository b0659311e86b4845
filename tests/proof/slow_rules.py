"""What the slow twin knows of a program or a bolus by itself, without any history."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from operator import sub

from window_oracle import Button, Steps

from .chronicle import DAY, MINUTE, Bolus, Drug, Program

HOUR = 60 * MINUTE
FLOW_MAX = 24_000_000
"""Of the bench pump, nL/day."""
USUAL_DAY = 10 * 10**12
"""Of morphine, fg: the soft limit of the library of drugs that these tests judge by."""
NAIVE_DAY = (10**11, 10**12)
"""Of morphine for a patient who has had no opioid before, fg: soft and hard."""
FIRST_DAY = (5 * 10**10, 2 * 10**11)
"""Of fentanyl in the first program that holds it, fg: soft and hard."""
STRONGEST = {"usual": 25 * 10**6, "weaker": 10**6 // 2}
"""Of morphine in a library, ng/mL; a library that is not named here holds no morphine."""
WINDOWS = (HOUR, 4 * HOUR, DAY)
AGAINST_TOO_MUCH = frozenset(("SR-04", "SR-05", "SR-06", "SR-08", "SR-11", "SR-61", "SR-63"))
"""Rules that ask for a reason before a verified basal, and never refuse it (SR-62)."""


def about_bolus_alone(bolus: Bolus, program: Program) -> Iterator[str]:
    """A bolus is a dose, takes time, can flow beside the basal and is within its own limits."""
    if bolus.volume <= 0:
        yield "SR-07"
    if bolus.over <= 0:
        yield "SR-16"
    elif not _can_flow(bolus, program):
        yield "SR-07"
    for drug in program.drugs:
        if drug.per_bolus is None or bolus.volume * drug.strength > drug.per_bolus:
            yield "SR-05"


def about_program_alone(
    program: Program, library: str, drugs_before: frozenset[str]
) -> tuple[set[str], set[str]]:
    """The rules against a program at its own worst: those that no reason passes, and the others."""
    hard, soft = set(_about_library(program, library)), set[str]()
    if program.button is not None and not _can_flow(program.button, program):
        hard.add("SR-07")
    for drug in program.drugs:
        most = [most_of_basal_and_buttons(frozenset([program]), drug.name, w) for w in WINDOWS]
        for window, given, limit in zip(WINDOWS, most, drug.per_window, strict=True):
            if given > limit:
                hard.add("SR-04" if window == DAY else "SR-05")
        if program.button is not None and (
            drug.per_bolus is None or program.button.volume * drug.strength > drug.per_bolus
        ):
            hard.add("SR-05")
        day, is_morphine = most[-1], drug.name == "morphine" and library in STRONGEST
        if is_morphine and USUAL_DAY < day <= drug.per_window[-1]:
            soft.add("SR-04")
        is_first = drug.name == "fentanyl" and drug.name not in drugs_before
        if is_first or (is_morphine and drug.naive):
            most_soft, most_hard = FIRST_DAY if is_first else NAIVE_DAY
            if day > most_soft:
                (hard if day > most_hard else soft).add("SR-63")
    return hard, soft


def _about_library(program: Program, library: str) -> Iterator[str]:
    for drug in program.drugs:
        if drug.name != "morphine":
            continue
        if library not in STRONGEST:
            yield "SR-11"
        elif drug.strength > STRONGEST[library]:
            yield "SR-08"


def _can_flow(bolus: Bolus | Button, program: Program) -> bool:
    """Whether the pump can move a bolus on top of the largest basal."""
    left = FLOW_MAX - max(flow for _, flow in program.basal)
    return bolus.volume * DAY <= left * bolus.over


def names_of(program: Program) -> frozenset[str]:
    """The names of a program's drugs."""
    return frozenset(drug.name for drug in program.drugs)


def has_same_mix(one: Program, two: Program) -> bool:
    """Whether two programs name the same drugs at the same strengths."""
    return _mix(one) == _mix(two)


def _mix(program: Program) -> tuple[tuple[str, int], ...]:
    return tuple((drug.name, drug.strength) for drug in program.drugs)


def is_no_more(new: Program, old: Program) -> bool:
    """Whether a program delivers nowhere more than another, minute by minute."""
    if not has_same_mix(new, old) or new.button not in (None, old.button):
        return False
    borders = {minute for program in (new, old) for minute, _ in program.basal}
    return all(flow_at(new.basal, m) <= flow_at(old.basal, m) for m in borders)


def flow_at(basal: Steps, minute: int) -> int:
    """The flow at a minute of the day; the last step goes on over midnight."""
    return max((step for step in basal if step[0] <= minute), default=basal[-1])[1]


def strength_of(name: str, drugs: Sequence[Drug]) -> int:
    """The strength of a drug in a mix; 0 if it is not in it."""
    return next((drug.strength for drug in drugs if drug.name == name), 0)


def _by_the_minute(program: Program, name: str) -> list[int]:
    """How much of a drug flows in each minute of the day, as fg in a day."""
    strength, steps = strength_of(name, program.drugs), program.basal
    rates = [steps[-1][1] * strength] * steps[0][0]
    for (start, flow), (end, _) in zip(steps, (*steps[1:], (1_440, 0)), strict=True):
        rates += [flow * strength] * (end - start)
    return rates


@lru_cache(maxsize=2_000)
def _most_by_the_minute(programs: frozenset[Program], name: str) -> tuple[int, ...]:
    """Twice round the day: the most that may have flowed by each minute, whichever was on when."""
    day = list(map(max, *(_by_the_minute(one, name) for one in programs), [0] * 1_440))
    return (0, *accumulate(day + day))


@lru_cache(maxsize=20_000)
def most_of_basal_and_buttons(programs: frozenset[Program], name: str, window: int) -> Fraction:
    """The most of a drug that these programs give in a window, whichever flows when.

    Minute by minute the program that gives most; a press of each button may follow presses of
    the other, so they add up.
    """
    until, minutes = _most_by_the_minute(programs, name), window // MINUTE
    # Every border is a whole minute and so is every window: the worst one begins at one.
    basal = max(map(sub, until[minutes : minutes + 1_440], until))
    buttons = {(p.button, strength_of(name, p.drugs)) for p in programs if p.button is not None}
    presses = sum(
        (button.most_in(window) * strength for button, strength in buttons if button is not None),
        Fraction(0),
    )
    return Fraction(basal * MINUTE, DAY) + presses
