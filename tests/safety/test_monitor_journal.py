"""The monitor on a stimulator, on what the journal leaves open, and what it stops for."""

from dataclasses import replace

import pytest
from clinical_examples import NIGHT, SCS, WALKING, area, tonic
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import IDENTITY, SERIAL, button_nl, flowing, instant, pump_case
from monitor_bench import metered

from device_profiles.formulary import StopPolicy
from device_profiles.quantities import MicroAmps, Milliseconds, NanoLitres
from safety.alarm_table import KINDS, Priority
from safety.alarms import Alarm, by_priority
from safety.commands import Override
from safety.events import (
    Connected,
    Counted,
    Event,
    Found,
    Intended,
    Looked,
    Lowered,
    Outcome,
    Settled,
    Stopped,
    Unverified,
)
from safety.granted import Granted, after
from safety.monitor import (
    OPEN_AFTER,
    alarms_of_device,
    judge_open,
    judge_rise,
    judge_stimulator,
    must_stop,
    stop_depth,
    verdict,
)
from safety.monitor_readings import StimulatorReading
from safety.outputs import BolusOutput, Output, Stimulation

RUNNING = flowing(
    tonic(
        area(amplitude="4 mA", ceiling="6 mA"),
        area("E6 -100, E7 +100", amplitude="2 mA", ceiling="6 mA"),
    )
)
AT = instant(1_000)


def seen(
    granted: Stimulation | tuple[Stimulation, ...] | None,
    *amplitudes: int,
    on: bool = True,
    slot: int = 0,
) -> list[str]:
    """The codes of a reading."""
    may_flow = granted if isinstance(granted, tuple) else (granted,) if granted else ()
    reading = StimulatorReading(on, slot, tuple(MicroAmps(one) for one in amplitudes))
    alarms = judge_stimulator(may_flow, reading, SCS)
    assert {alarm.priority for alarm in alarms} <= {"HIGH"}
    return [alarm.code for alarm in alarms]


# --- a stimulator --------------------------------------------------------------------------------


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F113")
@pytest.mark.parametrize(
    ("amplitudes", "found"),
    [
        ((4_000, 2_000), []),
        ((0, 0), []),
        ((4_001, 2_000), ["over-plan"]),
        ((4_000, 2_001), ["over-plan"]),
        ((4_001, 2_001), ["over-plan", "over-plan"]),
        ((2_000, 4_000), ["over-plan"]),
    ],
)
def test_any_area_above_what_was_granted_is_an_alarm(
    amplitudes: tuple[int, ...], found: list[str]
) -> None:
    assert seen(RUNNING, *amplitudes) == found


@pytest.mark.requirement("SR-54")
def test_an_area_that_was_never_granted_is_an_alarm() -> None:
    assert "over-plan" in seen(flowing(WALKING), 4_200, 9_900)


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F113")
def test_the_program_of_another_slot_is_over_plan_even_at_a_granted_amplitude() -> None:
    assert seen(flowing(WALKING), 100, slot=NIGHT.slot) == ["over-plan"]


@pytest.mark.requirement("SR-40")
@pytest.mark.requirement("SR-54")
def test_an_amplitude_above_the_patients_ceiling_is_over_limit_whatever_was_granted() -> None:
    area_of_patient = replace(WALKING.areas[0], ceiling=MicroAmps(3_000))
    granted_in_error = flowing(replace(WALKING, areas=(area_of_patient,)))
    assert seen(granted_in_error, 3_100) == ["over-limit"]


def rises(
    before: int,
    after: int,
    elapsed: int,
    *granted: Stimulation,
    slot: int = 0,
) -> list[str]:
    """The codes of two readings, ``elapsed`` ms apart, of one area."""
    last, now = (
        StimulatorReading(True, at_slot, (MicroAmps(seen),), clock=Milliseconds(clock))
        for at_slot, seen, clock in ((slot, before, 10_000), (0, after, 10_000 + elapsed))
    )
    return [alarm.code for alarm in judge_rise(granted or (flowing(WALKING),), last, now, SCS)]


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F113")
@pytest.mark.parametrize(
    ("before", "after", "elapsed", "told"),
    [
        (0, 800, 500, False),  # 4.2 mA in 3 s are 0.7 mA in 500 ms, and a step
        (0, 801, 500, True),
        (3_000, 3_800, 500, False),
        (3_000, 3_801, 500, True),
        (0, 100, 0, False),
        (0, 101, 0, True),
        (4_200, 0, 1, False),
        (0, 4_200, 3_000, False),
    ],
)
def test_a_rise_is_told_from_where_it_passes_the_programs_slope_by_more_than_a_step(
    before: int, after: int, elapsed: int, told: bool
) -> None:
    assert rises(before, after, elapsed) == ["rise-too-fast"] * told


@pytest.mark.requirement("SR-50")
def test_a_rise_begins_at_zero_where_another_slot_ran_before() -> None:
    assert rises(4_200, 801, 500, slot=1) == ["rise-too-fast"]
    assert rises(4_200, 800, 500, slot=1) == []


@pytest.mark.requirement("SR-50")
def test_of_two_programs_that_may_flow_the_steeper_one_judges_a_rise() -> None:
    steep = replace(WALKING, ramp=Milliseconds(1_000))
    assert rises(0, 2_200, 500, flowing(WALKING), flowing(steep)) == []
    assert rises(0, 2_201, 500, flowing(WALKING), flowing(steep)) == ["rise-too-fast"]


@pytest.mark.requirement("SR-50")
def test_a_program_whose_amplitude_is_zero_rises_by_the_slope_to_its_ceiling() -> None:
    low = replace(WALKING, areas=(replace(WALKING.areas[0], amplitude=MicroAmps(0)),))
    assert rises(0, 1_100, 500, flowing(low)) == []
    assert rises(0, 1_101, 500, flowing(low)) == ["rise-too-fast"]


@pytest.mark.requirement("SR-50")
def test_a_rise_is_not_judged_by_a_clock_that_fell_or_without_a_program() -> None:
    assert rises(0, 4_200, -1) == []
    assert rises(0, 4_200, 1, flowing(NIGHT)) == []


@pytest.mark.requirement("SR-54")
def test_what_is_on_its_way_and_what_still_falls_may_flow() -> None:
    lowered = replace(RUNNING, amplitudes=(MicroAmps(500), MicroAmps(2_000)))
    assert seen((lowered, RUNNING), 4_000, 2_000) == []
    assert seen((lowered,), 4_000, 2_000) == ["over-plan"]


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F54")
@pytest.mark.parametrize(
    ("on", "amplitudes", "found"),
    [
        (False, (), []),
        (False, (0, 0), []),
        (True, (), ["delivery-without-intent"]),
        (True, (0,), ["delivery-without-intent"]),
        (False, (0, 1), ["delivery-without-intent"]),
    ],
)
def test_an_output_that_nobody_started_is_an_alarm(
    on: bool, amplitudes: tuple[int, ...], found: list[str]
) -> None:
    assert seen(None, *amplitudes, on=on) == found


# --- the monitor's own fold ----------------------------------------------------------------------

PUMP = pump_case(button=button_nl(500)).program
BOLUS = BolusOutput(NanoLitres(5_000), Milliseconds(60_000))


def told(*events: Event, start: Granted | None = None) -> Granted:
    granted = start or Granted(IDENTITY)
    for event in events:
        granted = after(granted, event, event.at.slow)
    return granted


def intended(
    command: str, *outputs: Output, override: Override | None = None, passed: tuple[str, ...] = ()
) -> Intended:
    return Intended(
        AT,
        7,
        command,  # type: ignore[arg-type]
        outputs,
        "BENCH-012",
        latest_end=Milliseconds(66_000),
        override=override,
        passed=passed,
    )


def settled(outcome: Outcome) -> Settled:
    return Settled(AT, 7, outcome, "a test")


@pytest.mark.requirement("SR-54")
def test_a_program_may_flow_from_its_intent_on_and_alone_once_it_is_delivered() -> None:
    old = told(start=Granted(IDENTITY, program=PUMP))
    new = pump_case(((0, 24_000),)).program
    asked = told(intended("program-pump", new), start=old)
    assert asked.pump_programs == (PUMP, new)
    assert told(settled("UNCERTAIN"), start=asked).pump_programs == (PUMP, new)
    assert told(settled("delivered"), start=asked).pump_programs == (new,)
    assert told(settled("refused"), start=asked).pump_programs == (PUMP,)


@pytest.mark.requirement("SR-54")
def test_a_program_that_was_found_is_what_going_on_means_until_one_is_verified() -> None:
    found = told(Unverified(AT, 0, "another program", True), Found(AT, PUMP))
    assert found.pump_programs == (PUMP,)
    assert found.differs == "another program"
    assert told(Found(AT, PUMP), start=Granted(program=PUMP)).program == PUMP
    applied = told(intended("program-pump", PUMP), settled("delivered"), start=found)
    assert applied.differs is None


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-54")
def test_a_bolus_is_an_interval_that_only_its_own_count_narrows() -> None:
    asked = told(intended("give-bolus", BOLUS))
    (bolus,) = asked.boluses
    assert (bolus.least, bolus.most, bolus.closed) == (0, 5_000, False)
    assert asked.knows_bolus(7)
    assert not asked.knows_bolus(8)

    def counted(state: str, volume: int, before: Granted = asked, number: int = 7) -> object:
        event = Counted(AT, number, state, NanoLitres(volume))  # type: ignore[arg-type]
        (one,) = told(event, start=before).boluses
        return (one.least, one.most, one.closed)

    assert counted("running", 2_000) == (2_000, 5_000, False)
    assert counted("interrupted", 2_000) == (2_000, 2_000, True)
    assert counted("executed", 2_000) == (2_000, 5_000, True)
    assert counted("running", 9_000) == (9_000, 9_000, False)
    assert counted("interrupted", 1, number=8) == (0, 5_000, False)
    assert told(settled("refused"), start=asked).boluses == ()


@pytest.mark.requirement("SR-54")
def test_a_stimulation_may_flow_from_its_intent_until_a_confirmed_stop() -> None:
    start = intended("start-stimulation", RUNNING)
    granted = told(start)
    assert granted.stimulations == (RUNNING,)
    granted = told(settled("delivered"), start=granted)
    lowered = told(Lowered(AT, (MicroAmps(1), MicroAmps(0))), start=granted)
    (one,) = lowered.stimulations
    assert one.amplitudes == (1, 0)
    assert told(Stopped(AT, "policy", False), start=granted).stimulations == (RUNNING,)
    assert told(Stopped(AT, "policy", True), start=granted).stimulations == ()
    met = Connected(AT, IDENTITY, 2, False, Milliseconds(0), True)
    assert told(met, start=granted).stimulations == ()
    assert met.identity.serial == SERIAL


@pytest.mark.requirement("SR-54")
def test_after_new_programs_nothing_of_a_stimulator_may_flow_until_one_is_started() -> None:
    flows = told(intended("start-stimulation", RUNNING), settled("delivered"))
    differing = told(Unverified(AT, 0, "another program", True), start=flows)
    assert (differing.stimulations, differing.differs) == ((), "another program")
    for before in (flows, differing):
        after_them = told(
            intended("program-stimulator", WALKING, NIGHT), settled("delivered"), start=before
        )
        assert after_them.programs == (WALKING, NIGHT)
        assert (after_them.stimulations, after_them.differs) == ((), None)


@pytest.mark.requirement("SR-54")
def test_lowering_what_does_not_run_lets_nothing_flow() -> None:
    assert told(Lowered(AT, (MicroAmps(1),))).stimulations == ()


@pytest.mark.requirement("SR-54")
def test_an_outcome_of_another_id_than_what_lies_open_grants_nothing() -> None:
    asked = told(intended("program-pump", PUMP))
    assert told(replace(settled("delivered"), id=8), start=asked) == asked


@pytest.mark.requirement("SR-54")
def test_of_all_else_in_a_journal_only_what_the_meters_showed_is_kept() -> None:
    granted = told(intended("give-bolus", BOLUS))
    shown = metered(2_000, 7, 5_000, 17_000_000)
    kept = told(Looked(AT, "technician", "all is well"), shown, start=granted)
    assert kept == replace(granted, meter=shown)


# --- what lies open ------------------------------------------------------------------------------


def open_codes(granted: Granted, age: int = 0, now: int = 0) -> dict[str, Priority]:
    found = judge_open(granted, {7: Milliseconds(age)}, Milliseconds(now))
    return {alarm.code: alarm.priority for alarm in found}


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F94")
def test_programming_that_was_begun_and_never_finished_is_medium_until_it_is_closed() -> None:
    begun = told(intended("program-pump", PUMP))
    assert open_codes(begun, OPEN_AFTER) == {}
    assert open_codes(begun, OPEN_AFTER + 1) == {"programming-open": "MEDIUM"}
    assert open_codes(told(settled("delivered"), start=begun), OPEN_AFTER + 1) == {}


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F30")
def test_a_dose_in_doubt_is_medium_at_once_where_asking_failed_else_after_its_time() -> None:
    begun = told(intended("give-bolus", BOLUS))
    assert open_codes(begun, OPEN_AFTER) == {}
    assert open_codes(begun, OPEN_AFTER + 1) == {"uncertain": "MEDIUM"}
    assert open_codes(told(settled("UNCERTAIN"), start=begun)) == {"uncertain": "MEDIUM"}
    assert open_codes(told(settled("refused"), start=begun), OPEN_AFTER + 1) == {}


@pytest.mark.requirement("SR-22")
@pytest.mark.requirement("SR-32")
def test_a_program_that_differs_and_a_stop_that_was_not_seen_stay_high_until_they_are_closed() -> (
    None
):
    bad = told(Unverified(AT, 0, "another program", True), Stopped(AT, "policy", False))
    assert open_codes(bad) == {"program-differs": "HIGH", "stop-unconfirmed": "HIGH"}
    well = told(
        Stopped(AT, "hold", True),
        intended("program-pump", PUMP),
        settled("delivered"),
        start=bad,
    )
    assert open_codes(well) == {}


@pytest.mark.requirement("SR-57")
def test_a_waiver_whose_time_is_over_is_low_until_the_file_is_applied_anew() -> None:
    why = Override(("SR-41",), "clinician", "mapping", valid_for=Milliseconds(10_000))
    waived = told(
        intended("program-pump", PUMP, override=why, passed=("SR-41",)), settled("delivered")
    )
    assert open_codes(waived, now=AT.slow + 10_000) == {}
    assert open_codes(waived, now=AT.slow + 10_001) == {"waiver-expired": "LOW"}
    anew = told(intended("program-pump", PUMP), settled("delivered"), start=waived)
    assert open_codes(anew, now=AT.slow + 10_001) == {}


# --- what a device says of itself, and what the monitor stops for --------------------------------


@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(
    ("policy", "priority"),
    [("never-stop", "HIGH"), ("hold-basal", "MEDIUM"), ("may-stop", "LOW"), (None, "HIGH")],
)
@pytest.mark.parametrize("name", ["motor-stall", "pump-stopped", "reservoir-empty", "occlusion"])
def test_a_pump_without_flow_is_as_urgent_as_its_drugs_withdrawal(
    policy: StopPolicy | None, priority: Priority, name: str
) -> None:
    (alarm,) = alarms_of_device((name,), policy)
    assert (alarm.priority, alarm.requirement) == (priority, "SR-55")


@pytest.mark.requirement("SR-55")
def test_a_device_alarm_that_nobody_knows_is_medium() -> None:
    (alarm,) = alarms_of_device(("unheard of",))
    assert (alarm.code, alarm.priority) == ("unheard of", "MEDIUM")


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-62")
def test_the_monitor_stops_for_too_much_and_never_for_too_little() -> None:
    stops = {code for code in KINDS if must_stop((Alarm(code, "HIGH", "SR-54", ""),))}
    assert stops == {
        "free-flow",
        "over-delivery",
        "over-plan",
        "over-limit",
        "delivery-without-intent",
    }


@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(("name", "priority"), [("battery-low", "LOW"), ("magnet", "MEDIUM")])
@pytest.mark.parametrize("policy", ["never-stop", "may-stop", None])
def test_an_alarm_that_no_drug_decides_is_as_urgent_as_the_table_says(
    name: str, priority: Priority, policy: StopPolicy | None
) -> None:
    (alarm,) = alarms_of_device((name,), policy)
    assert alarm.priority == priority


@pytest.mark.requirement("SR-30")
@pytest.mark.parametrize(
    ("code", "policy", "depth"),
    [
        ("over-delivery", "hold-basal", "flow"),
        ("over-delivery", "never-stop", "policy"),
        ("over-delivery", "may-stop", "policy"),
        ("over-delivery", None, "policy"),
        ("deficit", "hold-basal", "policy"),
        ("monitor-lost", "hold-basal", "policy"),
    ],
)
def test_only_on_evidence_of_too_much_and_only_of_an_opioid_is_the_flow_itself_halted(
    code: str, policy: StopPolicy | None, depth: str
) -> None:
    program = replace(PUMP, stop_policy=policy) if policy else None
    assert stop_depth(Alarm(code, "HIGH", "SR-54", ""), program) == depth


@pytest.mark.requirement("SR-55")
def test_of_one_code_the_highest_is_told_and_the_highest_code_first() -> None:
    alarms = [
        Alarm("low-reservoir", "LOW", "SR-55", ""),
        Alarm("no-flow", "MEDIUM", "SR-30", "first"),
        Alarm("no-flow", "HIGH", "SR-30", "then"),
        Alarm("uncertain", "MEDIUM", "SR-21", ""),
    ]
    assert [(one.code, one.priority) for one in verdict(alarms)] == [
        ("no-flow", "HIGH"),
        ("uncertain", "MEDIUM"),
        ("low-reservoir", "LOW"),
    ]


@given(st.lists(st.sampled_from(["HIGH", "MEDIUM", "LOW"])))
def test_sorting_alarms_loses_none(priorities: list[Priority]) -> None:
    alarms = [Alarm(f"{n}", one, "SR-55", "") for n, one in enumerate(priorities)]
    ordered = by_priority(alarms)
    assert sorted(map(repr, ordered)) == sorted(map(repr, alarms))
    ranks = [("HIGH", "MEDIUM", "LOW").index(one.priority) for one in ordered]
    assert ranks == sorted(ranks)
