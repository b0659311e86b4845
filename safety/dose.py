"""The worst dose of any window: largest integral of the basal plus the most patient boluses.

A basal repeats every 24 hours. Its integral is kept in nL/day x ms, exact, and divided by
86,400,000 once, at the end, rounding toward counting more. Source: domain 4.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import ceil

from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    MINUTE_MS,
    Femtograms,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    PartsPerMillion,
    divide_up,
    widened,
)
from safety.outputs import FlowStep, PatientBolusOutput, PumpProgram


def is_a_day(basal: Sequence[FlowStep]) -> bool:
    """Whether steps make a day: at least one, each at its own minute, in ascending order."""
    starts = [step.start for step in basal]
    return (
        bool(starts)
        and all(0 <= start < DAY_MINUTES for start in starts)
        and all(one < next_one for one, next_one in pairwise(starts))
    )


def is_bounded(bolus: PatientBolusOutput) -> bool:
    """Whether a button's boluses can be counted: a time each, no overlap, a number a day."""
    return 0 < bolus.over <= bolus.lockout and bolus.max_per_24h >= 1


def can_be_bounded(program: PumpProgram) -> bool:
    """Whether the worst case of a program can be computed; if not, other rules refuse it."""
    bolus = program.patient_bolus
    return is_a_day(program.basal) and (bolus is None or is_bounded(bolus))


def largest_basal(basal: Sequence[FlowStep], window: Milliseconds) -> int:
    """The largest integral of the basal over any window of this length, in nL/day x ms; exact.

    The integral over [x, x + window] is piecewise linear in x and bends only where an end of
    the window meets a step, so its supremum lies at one of those. ``basal`` must be a day.
    """
    days, rest = divmod(window, DAY_MS)
    starts = [step.start * MINUTE_MS for step in basal]
    candidates = [*starts, *((start - rest) % DAY_MS for start in starts)]
    partial = max(_until(basal, x + rest) - _until(basal, x) for x in candidates)
    return days * _until(basal, DAY_MS) + partial


def _until(basal: Sequence[FlowStep], moment: int) -> int:
    """The integral from midnight until a moment (ms, may lie beyond a day), in nL/day x ms."""
    days, moment_of_day = divmod(moment, DAY_MS)
    total = today = 0
    start, flow = 0, basal[-1].flow
    for step in basal:
        end = step.start * MINUTE_MS
        total += flow * (end - start)
        today += flow * max(0, min(end, moment_of_day) - start)
        start, flow = end, step.flow
    total += flow * (DAY_MS - start)
    today += flow * max(0, moment_of_day - start)
    return days * total + today


def bolus_time(bolus: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    """The most time that patient boluses can run within any window of this length; exact.

    Start-to-start lockout L, at most N starts in a sliding P = 24 h + d (a bolus of duration d
    leaves the count at its end): the k-th bolus of the worst case starts
    T(k) = max(k L, floor(k/N) P + (k mod N) L) after the window does, and the time is the sum
    of min(d, window - T(k)) over all that start inside. As no two starts are closer than L >= d,
    only the last can be cut short, and counting the starts is enough. ``bolus`` must be bounded.
    """
    if window <= 0:
        return Milliseconds(0)
    lockout, most, period = bolus.lockout, bolus.max_per_24h, DAY_MS + bolus.over
    if most * lockout >= period:
        count = divide_up(window, lockout)
        last = (count - 1) * lockout
    else:
        full_rounds = (window - 1) // period
        within = min(most, divide_up(window - full_rounds * period, lockout))
        count = full_rounds * most + within
        last = full_rounds * period + (within - 1) * lockout
    return Milliseconds((count - 1) * bolus.over + min(bolus.over, window - last))


def worst_case_mass(
    program: PumpProgram, concentration: NanogramsPerMillilitre, window: Milliseconds
) -> Femtograms:
    """The most drug that a program can deliver in any window of this length, rounded up once.

    Only for a program that `can_be_bounded`.
    """
    return worst_case_over(((program, concentration),), window)


@lru_cache(maxsize=1_024)
def worst_case_over(
    programs: tuple[tuple[PumpProgram, NanogramsPerMillilitre], ...], window: Milliseconds
) -> Femtograms:
    """The most of a drug in a window that may hold parts of several programs, rounded up once.

    At each minute of the day the program that flows most counts, since a window may hold the
    peak of one and then the peak of another; different buttons add up, since a press of one may
    be followed by presses of the next. ``programs``: each with the concentration of
    the drug in its time; all `can_be_bounded`. Source: domain 4.2, design invariant 7.
    """
    basal = Fraction(largest_basal(_envelope(programs), window), DAY_MS)
    buttons = {
        (program.patient_bolus, concentration)
        for program, concentration in programs
        if program.patient_bolus is not None
    }
    boluses = sum(
        Fraction(button.volume * concentration * bolus_time(button, window), button.over)
        for button, concentration in buttons
    )
    return Femtograms(ceil(basal + boluses))


def worst_case_volume(program: PumpProgram, window: Milliseconds) -> NanoLitres:
    """The most volume that a program can deliver in any window of this length, rounded up."""
    return NanoLitres(worst_case_mass(program, NanogramsPerMillilitre(1), window))


def _envelope(
    programs: Sequence[tuple[PumpProgram, NanogramsPerMillilitre]],
) -> tuple[FlowStep, ...]:
    """A day on the UTC clock on which the largest of several basals flows, in fg/day."""
    days = [utc_day(program, concentration) for program, concentration in programs]
    if len(days) == 1:
        return days[0]
    starts = sorted({step.start for day in days for step in day})
    return tuple(
        FlowStep(start, NanoLitresPerDay(max(flow_at(day, start) for day in days)))
        for start in starts
    )


def utc_day(program: PumpProgram, concentration: NanogramsPerMillilitre) -> tuple[FlowStep, ...]:
    """A basal by the minutes of the UTC day, each flow times the concentration."""
    steps = (
        FlowStep(
            MinuteOfDay((step.start - program.utc_offset_min) % DAY_MINUTES),
            NanoLitresPerDay(step.flow * concentration),
        )
        for step in program.basal
    )
    return tuple(sorted(steps, key=lambda step: step.start))


def flow_at(basal: Sequence[FlowStep], minute: int) -> NanoLitresPerDay:
    """The flow at a minute of the day; the last step wraps around midnight."""
    begun = [step for step in basal if step.start <= minute]
    return (begun or basal)[-1].flow


def basal_mass(
    program: PumpProgram, concentration: NanogramsPerMillilitre, window: Milliseconds
) -> Femtograms:
    """The most drug of the basal alone in any window of this length, rounded up once."""
    return Femtograms(divide_up(largest_basal(program.basal, window) * concentration, DAY_MS))


def daily_volume(program: PumpProgram) -> NanoLitres:
    """The volume of the basal in 24 hours, rounded up."""
    return NanoLitres(divide_up(largest_basal(program.basal, DAY_MS), DAY_MS))


def largest_flow(program: PumpProgram) -> NanoLitresPerDay:
    """The largest flow of any step of the basal."""
    return max((step.flow for step in program.basal), default=NanoLitresPerDay(0))


@dataclass(frozen=True, slots=True)
class DaysToAlarm:
    """Hundredths of days until the low reservoir alarm, rounded down; ``None``: no flow.

    ``nominal`` counts the basal, ``worst`` all boluses too and the flow at the top of the
    pump's accuracy.
    """

    nominal_centi: int | None
    worst_centi: int | None


def days_to_alarm(
    program: PumpProgram, accuracy: PartsPerMillion, left: NanoLitres | None = None
) -> DaysToAlarm:
    """How long a fill lasts down to the low reservoir alarm (domain 2.5; drug age excluded).

    ``left`` is what is in the reservoir now, by default a fresh fill, which begins with the bridge.
    """
    stock = max(0, (program.fill_volume if left is None else left) - program.low_reservoir)
    first = program.while_bridging() if left is None else None
    if first is not None and not can_be_bounded(first):
        first = None
    bridged = min(stock, program.bridge.volume) if first and program.bridge else 0

    def days(daily: Callable[[PumpProgram], int]) -> int | None:
        rest = _centi_days(stock - bridged, daily(program))
        before = _centi_days(bridged, daily(first)) if first else 0
        return None if rest is None or before is None else before + rest

    def worst(one: PumpProgram) -> int:
        return widened(worst_case_volume(one, DAY_MS), accuracy)

    return DaysToAlarm(days(daily_volume), days(worst))


def _centi_days(stock: int, daily: int) -> int | None:
    return stock * 100 // daily if daily > 0 else None
