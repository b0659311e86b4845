"""The worst dose of any window, against brute force, against the formula, against wrong twins."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from clinical_examples import ITP, MORPHINE_DAY, button, compiled, drug, infusion, step
from hypothesis import example, given, settings
from hypothesis import strategies as st

from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
)
from safety.dose import (
    DaysToAlarm,
    basal_mass,
    bolus_time,
    can_be_bounded,
    daily_volume,
    days_to_alarm,
    is_a_day,
    is_bounded,
    largest_basal,
    worst_case_mass,
    worst_case_volume,
)
from safety.outputs import FlowStep, PatientBolusOutput

Basal = tuple[FlowStep, ...]
TEN_MG_ML = NanogramsPerMillilitre(10_000_000)


def flows(*steps: tuple[int, int]) -> Basal:
    return tuple(FlowStep(MinuteOfDay(start), NanoLitresPerDay(flow)) for start, flow in steps)


@st.composite
def basals(draw: st.DrawFn, grain: int = 60) -> Basal:
    """Steps at multiples of ``grain`` minutes, so that a brute force over starts is complete."""
    starts = draw(st.sets(st.integers(0, DAY_MINUTES // grain - 1), min_size=1, max_size=13))
    return flows(*((start * grain, draw(st.integers(0, 1000))) for start in sorted(starts)))


def flow_at(basal: Basal, minute: int) -> int:
    begun = [one for one in basal if one.start <= minute % DAY_MINUTES]
    return (begun or basal)[-1].flow


def brute_integral(basal: Basal, window_min: int, grain: int = 60) -> int:
    """Every start and every slice of a day, one by one; nL/day x ms."""
    slices = range(window_min // grain)
    return max(
        sum(flow_at(basal, start + one * grain) for one in slices) * grain * MINUTE_MS
        for start in range(0, DAY_MINUTES, grain)
    )


# --- the basal -------------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@given(basals(), st.integers(0, 72))
def test_the_largest_integral_agrees_with_brute_force(basal: Basal, hours: int) -> None:
    window = Milliseconds(hours * HOUR_MS)
    assert largest_basal(basal, window) == brute_integral(basal, hours * 60)


@pytest.mark.requirement("SR-14")
@given(basals(), st.integers(0, 2 * DAY_MS), st.integers(0, DAY_MS))
def test_no_window_wherever_it_starts_holds_more_than_the_largest_integral(
    basal: Basal, length: int, start: int
) -> None:
    borders = [start, start + length]
    for day in range(4):
        borders += [day * DAY_MS + one.start * MINUTE_MS for one in basal]
    inside = sorted({b for b in borders if start <= b <= start + length})
    held = sum(
        flow_at(basal, (begin % DAY_MS) // MINUTE_MS) * (end - begin)
        for begin, end in pairwise(inside)
    )
    assert held <= largest_basal(basal, Milliseconds(length))


def test_a_window_of_a_day_holds_the_day_wherever_it_starts() -> None:
    basal = flows((7 * 60, 240_000), (22 * 60, 180_000))
    day = (15 * 240_000 + 9 * 180_000) * HOUR_MS
    assert largest_basal(basal, DAY_MS) == day
    assert largest_basal(basal, Milliseconds(3 * DAY_MS)) == 3 * day


def test_a_window_over_midnight_is_found() -> None:
    basal = flows((60, 100), (23 * 60, 900))
    assert largest_basal(basal, Milliseconds(3 * HOUR_MS)) == (2 * 900 + 100) * HOUR_MS


def test_a_short_peak_counts_for_its_length_only_not_for_the_whole_window() -> None:
    """The wrong twin, largest rate times window, would refuse this schedule."""
    basal = flows((0, 100), (60, 1_000), (70, 100))
    hour = largest_basal(basal, HOUR_MS)
    assert hour == (10 * 1_000 + 50 * 100) * MINUTE_MS
    assert hour < 1_000 * HOUR_MS


def test_steps_are_a_day_when_each_has_a_later_minute() -> None:
    assert is_a_day(flows((0, 1)))
    assert is_a_day(flows((5, 1), (1_439, 2)))
    for wrong in (flows(), flows((5, 1), (5, 2)), flows((6, 1), (5, 2)), flows((1_440, 1))):
        assert not is_a_day(wrong)
    assert not is_a_day(flows((-1, 1)))


# --- patient boluses -------------------------------------------------------------------------


def bolus(over: int, lockout: int, most: int, volume: int = 1) -> PatientBolusOutput:
    return PatientBolusOutput(NanoLitres(volume), Milliseconds(over), Milliseconds(lockout), most)


@st.composite
def boluses(draw: st.DrawFn) -> PatientBolusOutput:
    over = draw(st.integers(1, 4 * HOUR_MS))
    lockout = draw(st.integers(over, 30 * HOUR_MS) | st.just(over))
    return bolus(over, lockout, draw(st.integers(1, 30)))


def formula(button: PatientBolusOutput, window: int) -> int:
    """Domain 4.2, word for word: the sum over k of min(d, max(0, W - T(k)))."""
    d, lockout, n = button.over, button.lockout, button.max_per_24h
    period, total, k = DAY_MS + d, 0, 0
    while True:
        t_k = max(k * lockout, (k // n) * period + (k % n) * lockout)
        if t_k >= window:
            return total
        total += min(d, max(0, window - t_k))
        k += 1


@pytest.mark.requirement("SR-14")
@settings(max_examples=300)
@given(boluses(), st.integers(0, 3 * DAY_MS))
@example(bolus(600_000, 600_000, 4), DAY_MS)
@example(bolus(600_000, 600_000, 4), DAY_MS + 600_000)
@example(bolus(600_000, 600_000, 4), DAY_MS + 600_001)
@example(bolus(1, 6 * HOUR_MS, 4), DAY_MS)
@example(bolus(1, 6 * HOUR_MS, 4), DAY_MS + 1)
@example(bolus(1, 6 * HOUR_MS, 4), DAY_MS + 2)
def test_the_bolus_time_is_the_formula_of_the_domain(
    button: PatientBolusOutput, window: int
) -> None:
    assert bolus_time(button, Milliseconds(window)) == formula(button, window)


def most_by_search(d: int, lockout: int, n: int, day: int, window: int) -> int:
    """The most bolus time in any window, by trying every history of presses on a small clock.

    A press is granted when the last start is at least ``lockout`` ago and fewer than ``n``
    boluses have started, or still run, in the last ``day``: a bolus leaves the count a day after
    its end.
    """
    horizon = window + day + d
    best = 0

    def search(starts: tuple[int, ...], at: int) -> None:
        nonlocal best
        for begin in {0, *starts}:
            held = sum(max(0, min(s + d, begin + window) - max(s, begin)) for s in starts)
            best = max(best, held)
        for start in range(at, horizon):
            counted = sum(start < s + d + day for s in starts)
            if counted < n:
                search((*starts, start), start + lockout)
            if not starts:
                break  # the first press may as well be at zero

    search((), 0)
    return best


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(
    ("d", "lockout", "n"),
    [(1, 1, 2), (1, 3, 2), (2, 3, 1), (2, 2, 3), (3, 4, 2), (1, 9, 3), (2, 5, 2)],
)
@pytest.mark.parametrize("window", [1, 2, 4, 7, 9])
def test_no_history_of_presses_beats_the_formula_and_one_meets_it(
    d: int, lockout: int, n: int, window: int
) -> None:
    """On a day of 8 ticks, scaled so that the real day is 8 ticks long."""
    tick = DAY_MS // 8
    found = bolus_time(bolus(d * tick, lockout * tick, n), Milliseconds(window * tick))
    assert found == most_by_search(d, lockout, n, 8, window) * tick


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F63")
def test_four_boluses_before_midnight_and_four_after_do_not_fit_in_24_hours() -> None:
    """The count slides; the wrong twin, a calendar day, would count eight."""
    one = bolus(600_000, 3_600_000, 4)
    assert bolus_time(one, DAY_MS) == 4 * 600_000
    assert bolus_time(one, Milliseconds(DAY_MS + 600_000 + 1)) == 4 * 600_000 + 1


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F61")
def test_a_bolus_at_exactly_the_lockout_lies_outside_a_window_of_that_length() -> None:
    one = bolus(600_000, 4 * HOUR_MS, 4)
    for extra, expected in ((-1, 600_000), (0, 600_000), (1, 600_001)):
        assert bolus_time(one, Milliseconds(4 * HOUR_MS + extra)) == expected


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize("one", [bolus(600_000, HOUR_MS, 1), bolus(600_000, 600_000, 200)])
def test_a_window_without_length_holds_no_bolus_however_the_count_and_the_lockout_are(
    one: PatientBolusOutput,
) -> None:
    """The monitor asks it of two readings of one moment."""
    windows = [bolus_time(one, Milliseconds(length)) for length in (-1, 0, 1)]
    assert windows == [0, 0, 1]


def test_boluses_without_time_lockout_or_count_are_not_bounded() -> None:
    assert is_bounded(bolus(1, 1, 1))
    for wrong in (bolus(0, 1, 1), bolus(2, 1, 1), bolus(1, 1, 0), bolus(-1, -1, 1)):
        assert not is_bounded(wrong)
        assert not can_be_bounded(replace(compiled(MORPHINE_DAY), patient_bolus=wrong))


# --- the worst case --------------------------------------------------------------------------


def exact_worst(basal: Basal, one: PatientBolusOutput | None, hours: int) -> Fraction:
    """In nL, from the brute force and the formula, as a fraction."""
    volume = Fraction(brute_integral(basal, hours * 60), DAY_MS)
    if one is not None:
        volume += Fraction(one.volume * formula(one, hours * HOUR_MS), one.over)
    return volume


WorstCase = Callable[[Basal, PatientBolusOutput | None, int], int]


def worst_of_the_program(basal: Basal, one: PatientBolusOutput | None, hours: int) -> int:
    program = replace(compiled(MORPHINE_DAY), basal=basal, patient_bolus=one)
    return worst_case_volume(program, Milliseconds(hours * HOUR_MS))


def disagrees(worst: WorstCase, basal: Basal, one: PatientBolusOutput | None, hours: int) -> bool:
    exact = exact_worst(basal, one, hours)
    return not exact <= worst(basal, one, hours) < exact + 1


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-14")
@given(basals(), st.none() | boluses(), st.integers(0, 30))
def test_the_worst_case_is_the_exact_one_rounded_up_once(
    basal: Basal, one: PatientBolusOutput | None, hours: int
) -> None:
    if one is not None:
        one = replace(one, volume=NanoLitres(15_000))
    assert not disagrees(worst_of_the_program, basal, one, hours)


def without_basal(basal: Basal, one: PatientBolusOutput | None, hours: int) -> int:
    return worst_of_the_program(flows((0, 0)), one, hours)


def largest_rate(basal: Basal, one: PatientBolusOutput | None, hours: int) -> int:
    return worst_of_the_program(flows((0, max(s.flow for s in basal))), one, hours)


def mean_rate(basal: Basal, one: PatientBolusOutput | None, hours: int) -> int:
    return worst_of_the_program(flows((0, largest_basal(basal, DAY_MS) // DAY_MS)), one, hours)


def without_boluses(basal: Basal, one: PatientBolusOutput | None, hours: int) -> int:
    return worst_of_the_program(basal, None, hours)


def count_per_calendar_day(basal: Basal, one: PatientBolusOutput | None, hours: int) -> int:
    twice = None if one is None else replace(one, max_per_24h=2 * one.max_per_24h)
    return worst_of_the_program(basal, twice, hours)


@pytest.mark.parametrize(
    "twin", [without_basal, largest_rate, mean_rate, without_boluses, count_per_calendar_day]
)
def test_the_comparison_with_the_exact_worst_case_finds_each_wrong_twin(twin: WorstCase) -> None:
    basal = flows((7 * 60, 240_000), (22 * 60, 180_000))
    one = bolus(600_000, HOUR_MS, 4, volume=15_000)
    found = [disagrees(twin, basal, one, hours) for hours in (1, 4, 12, 24)]
    assert any(found)
    assert not any(disagrees(worst_of_the_program, basal, one, h) for h in (1, 4, 12, 24))


@pytest.mark.requirement("SR-14")
@pytest.mark.vector("V8.6")
@pytest.mark.fault("F62")
def test_golden_8_6_the_window_counts_full_of_basal_beside_the_bolus() -> None:
    """Limit 10 in 60 min, basal 6/h and a bolus of 5: 11, whatever has been delivered so far."""
    hourly = 6 * 24
    program = replace(
        compiled(MORPHINE_DAY),
        basal=flows((0, hourly)),
        patient_bolus=bolus(60_000, HOUR_MS, 24, volume=5),
    )
    assert worst_case_volume(program, HOUR_MS) == 11
    assert worst_case_volume(replace(program, patient_bolus=None), HOUR_MS) == 6


@pytest.mark.requirement("SR-04")
@pytest.mark.vector("V8.1")
def test_golden_8_1_60_mcg_each_hour_are_1440_mcg_a_day_and_60_mcg_a_day_are_60() -> None:
    strength = drug("baclofen", "500 mcg/mL").concentration

    def projected(rate: str) -> int:
        therapy = infusion(drug("baclofen", "500 mcg/mL"), basal=(step("00:00", rate),))
        return worst_case_mass(compiled(therapy), strength, DAY_MS) // 10**9

    assert projected("60 mcg/h") == 1_440
    assert projected("60 mcg/day") == 60


def test_the_example_gives_2_175_mg_a_day_and_2_775_mg_at_worst() -> None:
    program = compiled(MORPHINE_DAY)
    assert basal_mass(program, TEN_MG_ML, DAY_MS) == 2_175_000_000_000
    assert worst_case_mass(program, TEN_MG_ML, DAY_MS) == 2_775_000_000_000
    assert worst_case_mass(program, TEN_MG_ML, HOUR_MS) == 250_000_000_000
    assert daily_volume(program) == 217_500


@given(basals(), boluses(), st.integers(0, 2 * DAY_MS), st.integers(0, DAY_MS))
def test_a_longer_window_never_holds_less(
    basal: Basal, one: PatientBolusOutput, shorter: int, more: int
) -> None:
    program = replace(compiled(MORPHINE_DAY), basal=basal, patient_bolus=one)
    small = worst_case_mass(program, TEN_MG_ML, Milliseconds(shorter))
    assert small <= worst_case_mass(program, TEN_MG_ML, Milliseconds(shorter + more))


# --- days to the alarm -----------------------------------------------------------------------


@pytest.mark.requirement("SR-18")
@pytest.mark.vector("V8.5")
def test_golden_8_5_a_refill_lasts_120_days_nominal_and_104_80_at_worst() -> None:
    therapy = infusion(
        drug("baclofen", "2000 mcg/mL"), basal=(step("00:00", "300 mcg/day"),), fill="20 mL"
    )
    assert days_to_alarm(compiled(therapy), ITP.accuracy) == DaysToAlarm(12_000, 10_480)


@pytest.mark.requirement("SR-18")
def test_the_worst_days_count_every_bolus() -> None:
    with_button = compiled(infusion(bolus=button()))
    without = compiled(infusion())
    with_days, without_days = (days_to_alarm(p, ITP.accuracy) for p in (with_button, without))
    assert with_days.nominal_centi == without_days.nominal_centi
    assert with_days.worst_centi is not None
    assert without_days.worst_centi is not None
    assert with_days.worst_centi < without_days.worst_centi


def test_a_fill_at_its_alarm_lasts_no_day_and_no_flow_lasts_no_number_of_days() -> None:
    program = compiled(infusion(fill="2 mL", low="2 mL"))
    assert days_to_alarm(program, ITP.accuracy) == DaysToAlarm(0, 0)
    still = replace(program, basal=flows((0, 0)))
    assert days_to_alarm(still, ITP.accuracy) == DaysToAlarm(None, None)
