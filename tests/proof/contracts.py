"""What the pure predicates promise, for crosshair to break; each contract calls what ships.

The first assert of a contract says what it is given, the others what then holds. A contract named
``twin_...`` holds the bug that its docstring names, and has to be broken. One named ``long_...`` is
tried only when there is time, and crosshair may not come to its end.
"""

from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    HOUR_MS,
    MILLION,
    Femtograms,
    FemtogramsPerDay,
    MicroAmps,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    Ohms,
    PartsPerMillion,
    Percent,
    PicoCoulombs,
    SquareMicrometres,
    charge_per_phase,
    divide_up,
    flow_for,
    flow_of_bolus,
    mass_of,
    mass_rate_of,
    share_of,
    voltage,
    volume_for,
    widened,
)
from safety.charge import (
    exceeds_charge_rate,
    exceeds_density,
    reaches_shannon,
    smallest_over_density,
)
from safety.dose import bolus_time, is_a_day, is_bounded, largest_basal
from safety.limits import Limit, effective, wider_than_its_outer
from safety.outputs import FlowStep, PatientBolusOutput

# --- rounding --------------------------------------------------------------------------------


def a_quotient_is_rounded_up_to_the_next_whole(numerator: int, denominator: int) -> None:
    assert denominator > 0
    quotient = divide_up(numerator, denominator)
    assert quotient * denominator >= numerator
    assert (quotient - 1) * denominator < numerator


def twin_quotient_down(numerator: int, denominator: int) -> None:
    """a quotient rounded down"""
    assert denominator > 0
    assert numerator // denominator * denominator >= numerator


def twin_quotient_plus_one(numerator: int, denominator: int) -> None:
    """a quotient rounded up by adding one"""
    assert denominator > 0
    assert (numerator // denominator + 1 - 1) * denominator < numerator


def a_tolerance_never_widens_to_less(value: int, tolerance: PartsPerMillion) -> None:
    assert value >= 0
    assert tolerance >= 0
    wide = widened(value, tolerance)
    assert wide * MILLION >= value * (MILLION + tolerance)
    assert (wide - 1) * MILLION < value * (MILLION + tolerance)


def twin_tolerance_down(value: int, tolerance: PartsPerMillion) -> None:
    """a tolerance rounded down"""
    assert value >= 0
    assert tolerance >= 0
    wide = value + value * tolerance // MILLION
    assert wide * MILLION >= value * (MILLION + tolerance)


def a_volume_never_holds_more_than_the_dose(
    dose: Femtograms, concentration: NanogramsPerMillilitre
) -> None:
    assert dose >= 0
    assert concentration > 0
    volume = volume_for(dose, concentration)
    assert mass_of(volume, concentration) <= dose
    assert mass_of(NanoLitres(volume + 1), concentration) > dose


def twin_volume_up(dose: Femtograms, concentration: NanogramsPerMillilitre) -> None:
    """a dose rounded toward more"""
    assert dose >= 0
    assert concentration > 0
    volume = NanoLitres(divide_up(dose, concentration))
    assert mass_of(volume, concentration) <= dose


def twin_volume_to_the_nearest(dose: Femtograms, concentration: NanogramsPerMillilitre) -> None:
    """a dose rounded to the nearest step"""
    assert dose >= 0
    assert concentration > 0
    volume = NanoLitres((dose + concentration // 2) // concentration)
    assert mass_of(volume, concentration) <= dose


def a_flow_never_carries_more_than_the_rate(
    rate: FemtogramsPerDay, concentration: NanogramsPerMillilitre
) -> None:
    assert rate >= 0
    assert concentration > 0
    flow = flow_for(rate, concentration)
    assert mass_rate_of(flow, concentration) <= rate
    assert mass_rate_of(NanoLitresPerDay(flow + 1), concentration) > rate


def the_flow_of_a_bolus_is_never_counted_less(volume: NanoLitres, over: Milliseconds) -> None:
    assert volume >= 0
    assert over > 0
    flow = flow_of_bolus(volume, over)
    assert flow * over >= volume * DAY_MS
    assert (flow - 1) * over < volume * DAY_MS


def twin_bolus_flow_by_the_hour(volume: NanoLitres, over: Milliseconds) -> None:
    """the flow of a bolus by the hour instead of the day"""
    assert volume >= 0
    assert over > 0
    assert divide_up(volume * HOUR_MS, over) * over >= volume * DAY_MS


# --- stimulation -------------------------------------------------------------------------------


def a_share_is_never_counted_less_and_keeps_its_sign(current: MicroAmps, share: Percent) -> None:
    assert current >= 0
    own = share_of(current, share)
    assert abs(own) * 100 >= current * abs(share)
    assert (abs(own) - 1) * 100 < current * abs(share)
    assert own == 0 or (own > 0) == (share > 0)


def twin_share_by_floor(current: MicroAmps, share: Percent) -> None:
    """the share of a cathode rounded toward zero"""
    assert current >= 0
    own = -(current * -share // 100) if share < 0 else current * share // 100
    assert abs(own) * 100 >= current * abs(share)


def charge_is_the_same_for_either_sign(current: MicroAmps, width: Microseconds) -> None:
    assert width >= 0
    charge = charge_per_phase(current, width)
    assert charge >= 0
    assert charge == charge_per_phase(MicroAmps(-current), width)


def twin_charge_with_its_sign(current: MicroAmps, width: Microseconds) -> None:
    """a cathode's charge is negative and so below every limit"""
    assert width >= 0
    assert current * width >= 0


def a_voltage_is_never_counted_less(current: MicroAmps, impedance: Ohms) -> None:
    assert impedance >= 0
    assert voltage(current, impedance) * 1_000 >= abs(current) * impedance


def twin_voltage_down(current: MicroAmps, impedance: Ohms) -> None:
    """a voltage rounded down"""
    assert impedance >= 0
    assert abs(current) * impedance // 1_000 * 1_000 >= abs(current) * impedance


def the_smallest_charge_over_a_density_is_the_smallest(
    charge: PicoCoulombs, area: SquareMicrometres, density: int
) -> None:
    assert area > 0
    assert density >= 0
    assert exceeds_density(charge, area, density) == (
        charge >= smallest_over_density(area, density)
    )


def twin_density_border(charge: PicoCoulombs, area: SquareMicrometres, density: int) -> None:
    """the border of a density one step too high"""
    assert area > 0
    assert density >= 0
    border = divide_up(density * area, 100) + 1
    assert exceeds_density(charge, area, density) == (charge >= border)


def twin_density_in_32_bits(charge: PicoCoulombs, area: SquareMicrometres, density: int) -> None:
    """a product that wraps around at 32 bits"""
    assert 0 <= charge < 2**31
    assert 0 < area < 2**31
    assert 0 <= density <= 100
    wrapped = 100 * charge % 2**32 > density * area
    assert wrapped == exceeds_density(charge, area, density)


def no_charge_rate_over_the_limit_is_missed(
    charge: PicoCoulombs, pulses: int, rate: MilliHertz, limit: int
) -> None:
    assert charge >= 0
    assert pulses >= 0
    assert rate >= 0
    assert limit >= 0
    # pC x mHz is 10^-15 C/s, and the limit is in 10^-6 C/s.
    assert exceeds_charge_rate(charge, pulses, rate, limit) == (
        charge * pulses * rate > limit * 10**9
    )


def twin_charge_rate_of_one_pulse(
    charge: PicoCoulombs, pulses: int, rate: MilliHertz, limit: int
) -> None:
    """the pulses of a burst counted once"""
    assert charge >= 0
    assert pulses >= 0
    assert rate >= 0
    assert limit >= 0
    told = exceeds_charge_rate(charge, 1, rate, limit)
    assert told == (charge * pulses * rate > limit * 10**9)


# --- limits ------------------------------------------------------------------------------------


def _layers(formulary: int | None, patient: int | None, bench: int) -> list[Limit | None]:
    return [
        None if formulary is None else Limit(formulary, "formulary"),
        None if patient is None else Limit(patient, "patient"),
        Limit(bench, "bench"),
    ]


def the_effective_limit_is_the_tightest(
    formulary: int | None, patient: int | None, bench: int
) -> None:
    assert bench >= 0
    found = effective(_layers(formulary, patient, bench))
    assert found is not None
    assert found.value <= bench
    assert formulary is None or found.value <= formulary
    assert patient is None or found.value <= patient
    assert found.value in (formulary, patient, bench)


def twin_innermost_limit(formulary: int | None, patient: int | None, bench: int) -> None:
    """the innermost limit instead of the tightest"""
    assert bench >= 0
    innermost = [one for one in _layers(formulary, patient, bench) if one is not None][-1]
    assert formulary is None or innermost.value <= formulary


def a_wider_layer_is_always_named(formulary: int | None, patient: int | None, bench: int) -> None:
    assert bench >= 0
    named = {inner.source for inner, _ in wider_than_its_outer(_layers(formulary, patient, bench))}
    outer = [one for one in (formulary, patient) if one is not None]
    assert ("bench" in named) == any(bench > one for one in outer)
    both = formulary is not None and patient is not None
    assert ("patient" in named) == (both and (patient or 0) > (formulary or 0))


def twin_neighbour_only(formulary: int | None, patient: int | None, bench: int) -> None:
    """a layer compared only with the one next to it"""
    assert bench >= 0
    given = [one for one in (formulary, patient) if one is not None]
    named = bool(given) and bench > given[-1]
    assert named == any(bench > one for one in given)


def twin_zero_is_absent(formulary: int | None, patient: int | None, bench: int) -> None:
    """a limit of zero read as no limit"""
    assert bench >= 0
    present = [one for one in (formulary, patient, bench) if one]
    found = effective(_layers(formulary, patient, bench))
    assert found is not None
    assert min(present, default=found.value) == found.value


# --- doses -------------------------------------------------------------------------------------


def _button(over: int, lockout: int, most: int) -> PatientBolusOutput:
    return PatientBolusOutput(NanoLitres(1), Milliseconds(over), Milliseconds(lockout), most)


def a_bounded_button_has_a_time_a_lockout_and_a_count(over: int, lockout: int, most: int) -> None:
    assert isinstance(most, int)
    if is_bounded(_button(over, lockout, most)):
        assert over > 0
        assert lockout >= over
        assert most >= 1


def twin_bounded_without_zero(over: int, lockout: int, most: int) -> None:
    """the check for <= 0 is missing"""
    assert isinstance(most, int)
    if over <= lockout and most >= 1:
        assert over > 0


def steps_of_a_day_are_in_order_and_in_the_day(first: MinuteOfDay, second: MinuteOfDay) -> None:
    assert isinstance(first, int)
    steps = [FlowStep(first, NanoLitresPerDay(1)), FlowStep(second, NanoLitresPerDay(1))]
    assert is_a_day(steps) == (0 <= first < second < DAY_MINUTES)


def twin_steps_at_the_same_minute(first: MinuteOfDay, second: MinuteOfDay) -> None:
    """two steps at one minute"""
    assert isinstance(first, int)
    assert (0 <= first <= second < DAY_MINUTES) == (0 <= first < second < DAY_MINUTES)


def boluses_fit_in_their_window(over: int, lockout: int, most: int, window: Milliseconds) -> None:
    assert 1 <= over <= lockout
    assert most >= 1
    assert window >= 0
    assert 0 <= bolus_time(_button(over, lockout, most), window) <= window


def a_day_holds_no_more_than_the_count(
    over: int, lockout: int, most: int, window: Milliseconds
) -> None:
    assert 1 <= over <= lockout
    assert most >= 1
    assert 0 <= window <= DAY_MS
    assert bolus_time(_button(over, lockout, most), window) <= most * over


def twin_count_forgotten(over: int, lockout: int, most: int, window: Milliseconds) -> None:
    """boluses limited by the lockout alone"""
    assert 1 <= over <= lockout
    assert most >= 1
    assert 0 <= window <= DAY_MS
    assert divide_up(window, lockout) * over <= most * over


def the_next_bolus_begins_after_the_lockout(over: int, lockout: int, most: int) -> None:
    assert 1 <= over <= lockout
    assert most >= 1
    assert bolus_time(_button(over, lockout, most), Milliseconds(lockout)) == over


def twin_edge_of_the_lockout(over: int, lockout: int, most: int) -> None:
    """a second bolus counted at the very edge of the lockout"""
    assert 1 <= over <= lockout
    assert most >= 1
    assert bolus_time(_button(over, lockout, most), Milliseconds(lockout)) > over or most == 1


def the_larger_of_two_flows_fills_a_short_window(
    first: NanoLitresPerDay, second: NanoLitresPerDay, window: Milliseconds
) -> None:
    assert 0 <= first <= second
    assert 0 <= window <= HOUR_MS
    steps = [FlowStep(MinuteOfDay(0), first), FlowStep(MinuteOfDay(60), second)]
    assert largest_basal(steps, window) == second * window


def twin_first_step_only(
    first: NanoLitresPerDay, second: NanoLitresPerDay, window: Milliseconds
) -> None:
    """the flow of the first step all day"""
    assert 0 <= first <= second
    assert 0 <= window <= HOUR_MS
    steps = [FlowStep(MinuteOfDay(0), first), FlowStep(MinuteOfDay(60), second)]
    assert largest_basal(steps, window) == first * window


# --- numbers that are no integers ----------------------------------------------------------------


def twin_gate_in_floats(dose: float, limit: float) -> None:
    """a gate in floats admits what is no number"""
    assert limit >= 0
    refused = dose > limit or dose <= 0
    assert refused or 0 < dose <= limit


# --- when there is time --------------------------------------------------------------------------


def long_more_charge_never_falls_below_shannon(
    charge: PicoCoulombs, area: SquareMicrometres
) -> None:
    assert 0 < charge <= 20
    assert 0 < area <= 20
    more = PicoCoulombs(charge + 1)
    assert reaches_shannon(more, area, 185) or not reaches_shannon(charge, area, 185)


def long_a_longer_window_never_holds_less(
    over: int, lockout: int, most: int, window: Milliseconds
) -> None:
    assert 1 <= over <= lockout
    assert most >= 1
    assert window >= 0
    button = _button(over, lockout, most)
    longer = Milliseconds(window + 1)
    assert (
        bolus_time(button, window) <= bolus_time(button, longer) <= bolus_time(button, window) + 1
    )
