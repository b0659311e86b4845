"""What a pump's program wants to flow, at a moment and between two, by the pump's own clock."""

from collections.abc import Sequence

from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    MINUTE_MS,
    Milliseconds,
    NanoLitresPerDay,
)
from safety.dose import flow_at
from safety.outputs import FlowStep, PumpProgram


def scheduled(program: PumpProgram, start: Milliseconds, end: Milliseconds) -> int:
    """The integral of the basal between two times of the pump's clock, in nL/day x ms, exact."""
    return _integral(program, end) - _integral(program, start)


def basal_flow_at(program: PumpProgram, clock: Milliseconds) -> NanoLitresPerDay:
    """The scheduled basal flow at a time of the pump's clock."""
    minute = (clock // MINUTE_MS + program.utc_offset_min) % DAY_MINUTES
    return flow_at(program.basal, minute)


def _integral(program: PumpProgram, clock: Milliseconds) -> int:
    """The integral from the local midnight of day 0 of Unix time up to ``clock``."""
    local = clock + program.utc_offset_min * MINUTE_MS
    days, moment = divmod(local, DAY_MS)
    return days * _of_a_day(program.basal, DAY_MS) + _of_a_day(program.basal, moment)


def _of_a_day(basal: Sequence[FlowStep], moment: int) -> int:
    """The integral from midnight to a moment of the day, ms; the last step wraps around."""
    starts = [step.start * MINUTE_MS for step in basal]
    flows = [step.flow for step in basal]
    borders = [0, *starts, DAY_MS]
    along = [flows[-1], *flows]
    return sum(
        flow * (min(moment, end) - begin)
        for flow, begin, end in zip(along, borders[:-1], borders[1:], strict=True)
        if begin < moment and begin < end
    )
