"""The schedule of a pump's basal, by its own clock, against brute force."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import DAY, HOUR, HOURLY, MINUTE, pump_case
from monitor_bench import MIDNIGHT

from device_profiles.quantities import Milliseconds, MinuteOfDay, NanoLitresPerDay
from safety.outputs import FlowStep, PumpProgram
from safety.schedule import basal_flow_at, scheduled

PROGRAM = pump_case(((0, 6 * HOURLY),)).program
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
    begin, last = Milliseconds(MIDNIGHT + start), Milliseconds(MIDNIGHT + end)
    assert scheduled(program, begin, last) == brute


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
