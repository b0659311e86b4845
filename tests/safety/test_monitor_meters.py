"""The monitor on meters that contradict themselves, on plans that change, and after a restart."""

from dataclasses import replace

import pytest
from clinical_examples import ITP
from kernel_bench import DAY, HOUR, HOURLY, IDENTITY, MINUTE, instant, pump_case
from monitor_bench import (
    HONEST,
    MIDNIGHT,
    PPM,
    SECOND,
    TOP,
    PaperPump,
    Vigil,
    first,
    granted_to,
    metered,
    quiet,
    vigil,
)

from device_profiles.quantities import (
    Milliseconds,
    MinuteOfDay,
    NanoLitres,
    NanoLitresPerDay,
)
from safety.alarm_table import Priority
from safety.events import Connected, Intended, Unverified
from safety.granted import after
from safety.monitor_readings import Track
from safety.outputs import Bridge, DrugInPump, FlowStep, PumpProgram

# --- meters that contradict themselves -----------------------------------------------------------


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F55")
def test_an_odometer_that_falls_is_high_and_what_it_says_next_is_the_new_baseline() -> None:
    watched = vigil()
    quiet(watched.wait(HOUR, MINUTE))
    bolus = watched.grant(5_000, MINUTE)
    watched.pump.delivered //= 2
    (alarm,) = watched.next(SECOND)
    assert (alarm.code, alarm.priority, alarm.requirement) == ("odometer-fell", "HIGH", "SR-54")
    quiet(watched.wait(HOUR, MINUTE))
    (kept,) = [one for one in watched.granted.boluses if one.id == bolus]
    assert (kept.least, kept.most) == (0, 5_000), "it never lowers what is held"


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F55")
def test_an_odometer_that_stands_still_is_told_as_too_little() -> None:
    watched = vigil()
    quiet(watched.wait(MINUTE))
    stuck = watched.pump.delivered
    told = []
    for _ in range(400):
        told += watched.wait(SECOND)
        watched.pump.delivered = stuck
    assert first(told, "under-delivery") is not None


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F104")
@pytest.mark.parametrize(("share", "alarmed"), [(140_000, False), (150_000, True)])
def test_a_reservoir_that_loses_more_than_the_odometer_explains_is_high(
    share: int, alarmed: bool
) -> None:
    watched = vigil()
    watched.pump.leak = 6 * HOURLY * share // PPM
    told = watched.wait(HOUR, 10 * SECOND)
    assert (first(told, "reservoir-fell") is not None) is alarmed
    watched.pump.reservoir = 20_000_000 * DAY * PPM
    quiet(watched.wait(10 * SECOND, 10 * SECOND))


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F56")
@pytest.mark.fault("F108")
@pytest.mark.parametrize("by", [HOUR, -HOUR, DAY, -DAY, 12 * HOUR])
def test_a_clock_that_jumps_is_told_and_decides_nothing(by: int) -> None:
    watched = vigil(((0, 6 * HOURLY), (720, 2 * HOURLY)))
    quiet(watched.wait(HOUR, 10 * SECOND))
    watched.pump.clock += by
    (alarm,) = watched.next(10 * SECOND)
    assert (alarm.code, alarm.priority) == ("clock-jump", "LOW")
    quiet(watched.wait(HOUR, 10 * SECOND))


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F56")
def test_a_clock_that_was_set_back_while_nobody_watched_is_told_and_nothing_is_compared() -> None:
    program, missing = pump_case().program, 6 * HOURLY // 5
    meter = metered(0, MIDNIGHT + HOUR, 1_000_000, 20_000_000, missing)
    # 2 mL have left it: by its clock in less than no time, by ours in a second; nobody knows.
    pump = PaperPump(program, delivered=3_000_000 * DAY * PPM)
    watched = Vigil(pump, granted_to(program, meter=meter), at=SECOND)
    (alarm,) = watched.look()
    assert (alarm.code, alarm.priority) == ("clock-jump", "LOW")
    assert watched.track.missing_volume == missing, "what was missing before is not forgotten"
    quiet(watched.wait(HOUR, MINUTE))
    pump.free, pump.shown_flow = 100_000_000, 6 * HOURLY
    assert first(watched.wait(2 * SECOND), "free-flow") is not None


A_DAY_BY_THE_WALL = (
    (DAY, None),
    (2 * DAY, None),
    (2 * DAY + 1, "clock-jump"),
    (20_000 * DAY, "clock-jump"),
)
"""By how much the pump's clock went on, and what is told of it; a day is no reason to doubt it."""


@pytest.mark.requirement("SR-15", "SR-30")
@pytest.mark.fault("F56")
@pytest.mark.parametrize(("went_on", "told"), A_DAY_BY_THE_WALL)
def test_a_clock_that_was_set_forward_while_nobody_watched_makes_no_deficit(
    went_on: int, told: str | None
) -> None:
    program, missing = pump_case().program, 6 * HOURLY // 5
    meter = metered(0, MIDNIGHT, 1_000_000, 20_000_000, missing)
    granted = after(granted_to(program), meter, Milliseconds(0))
    a_day_later = replace(meter.at, wall=Milliseconds(meter.at.wall + DAY))
    clock = Milliseconds(MIDNIGHT + went_on)
    granted = after(
        granted, Connected(a_day_later, IDENTITY, 1, True, clock, True), Milliseconds(0)
    )
    pump = PaperPump(program, delivered=1_000_000 * DAY * PPM)
    pump.clock = clock
    watched = Vigil(pump, granted, at=SECOND)
    codes = {alarm.code for alarm in watched.look()}
    if told is None:
        assert "deficit" in codes, "a pump that stood still for as long as its clock says is told"
        return
    assert codes == {told}
    assert watched.track.missing_volume == missing, "what was missing before is not forgotten"
    quiet(watched.wait(HOUR, MINUTE))


@pytest.mark.requirement("SR-54")
def test_what_is_missing_is_told_to_the_journal_in_whole_nanolitres_rounded_down() -> None:
    watched = vigil(gain=0)
    watched.wait(MINUTE, MINUTE)
    # 100 nL were planned in this minute, and 85.5 must have flowed at the least.
    assert watched.track.missing_volume == 85


@pytest.mark.requirement("SR-18")
@pytest.mark.parametrize(
    ("days", "told"), [(71, None), (69, "LOW"), (31, "LOW"), (29, "MEDIUM"), (9, "HIGH")]
)
def test_a_drug_that_must_not_stop_is_told_by_the_days_it_lasts(
    days: int, told: Priority | None
) -> None:
    watched = vigil(policy="never-stop")
    daily = 6 * HOURLY * TOP // PPM
    watched.pump.reservoir = (ITP.residual + daily * days // 10) * DAY * PPM
    found = {one.code: one.priority for one in watched.look()}
    assert found.get("reservoir-days") == told


@pytest.mark.requirement("SR-18")
def test_any_other_drug_is_told_at_its_alarm_volume() -> None:
    program = pump_case().program
    pump = PaperPump(program, reservoir=program.low_reservoir * DAY * PPM)
    alarms = Vigil(pump, granted_to(program)).look()
    assert {(one.code, one.priority) for one in alarms} == {("low-reservoir", "LOW")}


@pytest.mark.requirement("SR-54")
def test_while_nobody_knows_the_program_only_what_no_program_may_do_is_told() -> None:
    program = pump_case(((0, 6 * HOURLY),)).program
    granted = after(
        granted_to(program), Unverified(instant(0), 0, "another", True), Milliseconds(0)
    )
    watched = Vigil(PaperPump(program, reservoir=0, state="unknown"), granted)
    watched.look()
    quiet(watched.wait(HOUR, MINUTE))
    watched.pump.free = 100_000_000
    assert {alarm.code for alarm in watched.next(SECOND)} == {"free-flow"}


# --- plans that change ---------------------------------------------------------------------------


@pytest.mark.requirement("SR-54")
def test_while_a_new_program_is_not_settled_more_and_less_are_both_let_pass() -> None:
    old, new = (pump_case(((0, flow * HOURLY),)).program for flow in (6, 12))
    for gain in (HONEST, 2 * HONEST):
        watched = vigil(gain=gain)
        watched.track = Track()
        watched.granted = granted_to(old, open=(_intent(new),))
        watched.look()
        quiet(watched.wait(10 * MINUTE))
    watched = vigil(gain=3 * HONEST)
    watched.granted = granted_to(old, open=(_intent(new),))
    assert first(watched.wait(10 * MINUTE), "over-delivery") is not None


def _intent(program: PumpProgram) -> Intended:
    return Intended(instant(0), 9, "program-pump", (program,), "BENCH-012")


@pytest.mark.requirement("SR-54")
@pytest.mark.requirement("SR-12")
def test_while_a_bridge_runs_its_basal_is_the_plan() -> None:
    program = pump_case(((0, 2 * HOURLY),)).program
    bridge = Bridge(
        (DrugInPump("morphine", program.drugs[0].concentration),),
        (FlowStep(MinuteOfDay(0), NanoLitresPerDay(8 * HOURLY)),),
        NanoLitres(100_000),
    )
    bridged = replace(program, bridge=bridge)
    watched = vigil()
    watched.granted, watched.track = granted_to(bridged), Track()
    watched.pump.program = replace(program, basal=bridge.basal)
    reading = watched.pump.reading
    watched.pump.reading = lambda at: replace(reading(at), line_left=NanoLitres(50_000))  # type: ignore[method-assign]
    quiet(watched.wait(10 * MINUTE))
    watched.pump.reading = reading  # type: ignore[method-assign]
    watched.pump.program = program
    quiet(watched.wait(10 * MINUTE))


@pytest.mark.requirement("SR-54")
def test_a_new_host_goes_on_from_the_meters_that_the_journal_holds() -> None:
    watched = vigil(policy="never-stop")
    day = 6 * HOURLY
    for gone, missing, code in (
        (day, 0, None),
        (0, 0, "under-delivery"),
        (0, day // 5, "deficit"),
        (2 * day, 0, "over-delivery"),
    ):
        pump = PaperPump(watched.pump.program, clock=MIDNIGHT + DAY)
        pump.delivered = gone * DAY * PPM
        meter = metered(0, MIDNIGHT, 0, 20_000_000, missing)
        again = Vigil(pump, granted_to(pump.program, meter=meter), at=DAY)
        found = again.codes()
        assert code is None or code in found
        assert found <= {code, "under-delivery", "deficit"}


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F55")
def test_an_odometer_that_fell_while_nobody_watched_is_told() -> None:
    program = pump_case().program
    meter = metered(0, MIDNIGHT, 1_000_000, 30_000_000)
    watched = Vigil(PaperPump(program, clock=MIDNIGHT + HOUR), granted_to(program, meter=meter))
    assert "odometer-fell" in watched.codes()
