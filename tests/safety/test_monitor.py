"""The monitor: what a device shows against what was granted, at every border."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from clinical_examples import ITP, WALKING, area, tonic
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import DAY, HOUR, HOURLY, MINUTE, button_nl, flowing, pump_case

from device_profiles.formulary import StopPolicy
from device_profiles.quantities import (
    MicroAmps,
    Milliseconds,
    MinuteOfDay,
    NanoLitres,
    NanoLitresPerDay,
)
from safety.alarms import Alarm, Priority, by_priority
from safety.monitor import (
    PumpReading,
    StimulatorReading,
    basal_flow_at,
    judge_pump,
    judge_stimulator,
    scheduled,
)
from safety.outputs import FlowStep, PumpProgram, Stimulation

STALE = Milliseconds(3_000)
MIDNIGHT = 20_000 * DAY
"""Of some day of Unix time, UTC."""
SLACK = 2
"""nL that two rounded readings may differ by."""


# --- a pump --------------------------------------------------------------------------------------

PROGRAM = pump_case(((0, 6 * HOURLY),)).program
"""6,000 nL/h; at 14.5 % between 5,130 and 6,870 nL in an hour."""


def reading(
    clock: int, delivered: int, presses: int = 0, age: int = 0, alarms: tuple[str, ...] = ()
) -> PumpReading:
    return PumpReading(
        Milliseconds(clock), NanoLitres(delivered), presses, alarms, Milliseconds(age)
    )


def codes(
    lasted: int,
    delivered: int,
    program: PumpProgram = PROGRAM,
    boluses: Sequence[int] = (),
    presses: int = 0,
) -> list[str]:
    """The alarms after ``lasted`` ms in which the odometer moved by ``delivered``."""
    granted = [NanoLitres(one) for one in boluses]
    first = reading(MIDNIGHT, 1_000_000, 7)
    now = reading(MIDNIGHT + lasted, 1_000_000 + delivered, 7 + presses)
    return [alarm.code for alarm in judge_pump(program, granted, first, now, ITP)]


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("lasted", [1, MINUTE, HOUR, DAY, 40 * DAY])
def test_more_than_the_accuracy_allows_is_an_alarm_at_once_and_the_accuracy_itself_is_none(
    lasted: int,
) -> None:
    planned = -(-6 * HOURLY * lasted // DAY)
    most = -(-planned * 1_145_000 // 1_000_000) + SLACK
    assert "over-delivery" not in codes(lasted, most)
    assert "over-delivery" in codes(lasted, most + 1)


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("lasted", [5 * MINUTE, HOUR, DAY])
def test_less_than_the_accuracy_allows_is_an_alarm_and_the_accuracy_itself_is_none(
    lasted: int,
) -> None:
    least = 6 * HOURLY * lasted * 855_000 // (DAY * 1_000_000) - SLACK
    assert codes(lasted, least) == []
    assert codes(lasted, least - 1) == ["under-delivery"]


@pytest.mark.requirement("SR-54")
def test_too_little_is_an_alarm_from_five_minutes_on() -> None:
    assert codes(5 * MINUTE - 1, 0) == []
    assert codes(5 * MINUTE, 0) == ["under-delivery"]


@pytest.mark.requirement("SR-54")
def test_granted_boluses_and_presses_are_no_over_delivery_and_one_more_nanolitre_is() -> None:
    program = pump_case(((0, 6 * HOURLY),), button=button_nl(700, lockout=HOUR // 2)).program
    most = 6_000 + 5_000 + 3_000 + 2 * 700
    widest = -(-most * 1_145_000 // 1_000_000) + SLACK
    assert codes(HOUR, widest, program, (5_000, 3_000), 2) == []
    assert codes(HOUR, widest + 1, program, (5_000, 3_000), 2) == ["over-delivery"]
    assert codes(HOUR, widest, program, (5_000, 3_000), 1) == ["over-delivery"]


@pytest.mark.requirement("SR-54")
def test_presses_of_a_button_that_the_program_has_not_are_no_excuse() -> None:
    assert codes(HOUR, 7_000, PROGRAM, (), 50) == ["over-delivery"]


@pytest.mark.requirement("SR-14")
def test_more_presses_than_lockout_and_count_allow_are_an_alarm() -> None:
    program = pump_case(((0, 6 * HOURLY),), button=button_nl(700, lockout=HOUR, most=4)).program
    assert codes(HOUR, 6_000 + 20 * 700, program, (), 20) != []


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize(
    ("clock", "delivered"), [(0, -1), (HOUR, -1), (-1, 0), (-1, 5), (HOUR, -1_000_000)]
)
def test_an_odometer_or_a_clock_that_went_back_is_not_believed(clock: int, delivered: int) -> None:
    (alarm,) = judge_pump(
        PROGRAM, (), reading(MIDNIGHT, 9), reading(MIDNIGHT + clock, 9 + delivered), ITP
    )
    assert (alarm.code, alarm.priority, alarm.requirement) == ("odometer-fell", "HIGH", "SR-54")


@pytest.mark.requirement("SR-54")
def test_a_reading_of_the_same_moment_is_no_alarm() -> None:
    assert codes(0, 0) == []
    assert codes(0, SLACK) == []
    assert codes(0, SLACK + 1) == ["over-delivery"]


@pytest.mark.requirement("SR-52")
@pytest.mark.parametrize(("age", "stale"), [(0, []), (3_000, []), (3_001, ["telemetry-stale"])])
def test_a_reading_older_than_three_polls_is_stale(age: int, stale: list[str]) -> None:
    found = judge_pump(PROGRAM, (), reading(0, 0), reading(0, 0, age=age), ITP)
    assert [alarm.code for alarm in found] == stale
    stimulator = StimulatorReading(False, (), (), Milliseconds(age))
    assert [one.code for one in judge_stimulator(None, stimulator, STALE)] == stale


@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(
    ("policy", "priority"), [("never-stop", "HIGH"), ("hold-basal", "MEDIUM"), ("may-stop", "LOW")]
)
@pytest.mark.parametrize("name", ["motor-stall", "pump-stopped", "reservoir-empty"])
def test_a_pump_without_flow_is_as_urgent_as_its_drugs_withdrawal(
    policy: StopPolicy, priority: Priority, name: str
) -> None:
    program = replace(PROGRAM, stop_policy=policy)
    now = reading(MIDNIGHT + HOUR, 0, alarms=(name,))
    found = judge_pump(program, (), reading(MIDNIGHT, 0), now, ITP)
    assert {(one.code, one.priority) for one in found} == {
        (name, priority),
        ("under-delivery", priority),
    }


@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(
    ("name", "priority"), [("low-reservoir", "LOW"), ("battery-low", "LOW"), ("unheard", "MEDIUM")]
)
def test_what_a_device_reports_is_passed_on(name: str, priority: Priority) -> None:
    (alarm,) = judge_pump(PROGRAM, (), reading(0, 0), reading(0, 0, alarms=(name,)), ITP)
    assert (alarm.code, alarm.priority, alarm.requirement) == (name, priority, "SR-55")


# --- the schedule against brute force ------------------------------------------------------------

PROGRAMS = st.builds(
    lambda starts, flows, offset: replace(
        PROGRAM,
        basal=tuple(
            FlowStep(MinuteOfDay(start), NanoLitresPerDay(flow))
            for start, flow in zip(sorted(starts), flows, strict=False)
        ),
        utc_offset_min=offset,
    ),
    st.sets(st.one_of(st.sampled_from([0, 1, 719, 1438, 1439]), st.integers(0, 1439)), min_size=1),
    st.lists(st.integers(48_000, 24_000_000), min_size=13, max_size=13),
    st.one_of(st.sampled_from([0, 60, 120, -720, 840, 345]), st.integers(-720, 840)),
)
MOMENTS = st.one_of(
    st.integers(0, 3 * DAY),
    st.integers(0, 72).map(lambda hour: hour * HOUR),
    st.sampled_from([DAY - 1, DAY, DAY + 1, 0, 1]),
)


def flow_by_hand(program: PumpProgram, moment: int) -> int:
    """What flows at a ms of UTC: the latest step at or before the local minute, else the last."""
    minute = (moment // MINUTE + program.utc_offset_min) % 1_440
    return max(program.basal, key=lambda step: (step.start <= minute, step.start)).flow


@given(PROGRAMS, MOMENTS, MOMENTS)
def test_the_schedule_is_the_sum_of_what_flows_minute_by_minute(
    program: PumpProgram, one: int, other: int
) -> None:
    start, end = sorted((one, other))
    minutes = [start, *range(start // MINUTE * MINUTE + MINUTE, end, MINUTE), end]
    brute = sum(
        flow_by_hand(program, begin) * (stop - begin)
        for begin, stop in pairwise(minutes)
        if begin < stop
    )
    first, last = Milliseconds(MIDNIGHT + start), Milliseconds(MIDNIGHT + end)
    assert scheduled(program, first, last) == brute


@given(PROGRAMS, MOMENTS)
def test_the_flow_at_a_moment_is_that_of_the_latest_step(program: PumpProgram, at: int) -> None:
    assert basal_flow_at(program, Milliseconds(MIDNIGHT + at)) == flow_by_hand(program, at)


@pytest.mark.parametrize("offset", [0, 60, -300, 840])
def test_a_basal_wraps_around_the_local_midnight(offset: int) -> None:
    case = pump_case(((420, 8 * HOURLY), (1_320, 2 * HOURLY)), utc_offset_min=offset)
    local_midnight = MIDNIGHT - offset * MINUTE
    for hour, flow in ((0, 2), (6, 2), (7, 8), (21, 8), (22, 2), (23, 2)):
        moment = Milliseconds(local_midnight + hour * HOUR)
        assert basal_flow_at(case.program, moment) == flow * HOURLY
    for begin in (local_midnight, local_midnight + 12_345):
        day = scheduled(case.program, Milliseconds(begin), Milliseconds(begin + DAY))
        assert day == (15 * 8 + 9 * 2) * HOURLY * HOUR


def test_a_schedule_before_1970_still_runs_forward() -> None:
    program = pump_case(((0, 8 * HOURLY), (720, 2 * HOURLY)), utc_offset_min=-600).program
    assert scheduled(program, Milliseconds(-DAY), Milliseconds(0)) == 12 * 10 * HOURLY * HOUR


# --- a stimulator --------------------------------------------------------------------------------

RUNNING = flowing(tonic(area(amplitude="4 mA"), area("E6 -100, E7 +100", amplitude="2 mA")))


def stimulator(
    running: Stimulation | None, *amplitudes: int, on: bool = True, **more: Any
) -> list[Alarm]:
    seen = StimulatorReading(
        on,
        tuple(MicroAmps(one) for one in amplitudes),
        more.get("alarms", ()),
        Milliseconds(more.get("age", 0)),
    )
    return list(judge_stimulator(running, seen, STALE))


@pytest.mark.requirement("SR-54")
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
    alarms = stimulator(RUNNING, *amplitudes)
    assert [alarm.code for alarm in alarms] == found
    assert all(alarm.priority == "HIGH" for alarm in alarms)


@pytest.mark.requirement("SR-54")
def test_an_area_that_was_never_granted_is_an_alarm() -> None:
    assert stimulator(flowing(WALKING), 4_200, 9_900) != []


@pytest.mark.requirement("SR-54")
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
    assert [alarm.code for alarm in stimulator(None, *amplitudes, on=on)] == found


@pytest.mark.requirement("SR-55")
def test_alarms_come_highest_first_and_equals_keep_their_order() -> None:
    alarms = stimulator(None, 1, alarms=("battery-low", "reset"), age=99_999)
    assert [(one.priority, one.code) for one in alarms] == [
        ("HIGH", "delivery-without-intent"),
        ("MEDIUM", "telemetry-stale"),
        ("MEDIUM", "reset"),
        ("LOW", "battery-low"),
    ]


@given(st.lists(st.sampled_from(["HIGH", "MEDIUM", "LOW"])))
def test_sorting_alarms_loses_none(priorities: list[Priority]) -> None:
    alarms = [Alarm(f"{n}", one, "SR-55", "") for n, one in enumerate(priorities)]
    ordered = by_priority(alarms)
    assert sorted(map(repr, ordered)) == sorted(map(repr, alarms))
    ranks = [("HIGH", "MEDIUM", "LOW").index(one.priority) for one in ordered]
    assert ranks == sorted(ranks)
    for one, following in pairwise(ordered):
        assert one.priority != following.priority or int(one.code) < int(following.code)
