"""The judgement of a pump's storm: windows, doses, and a basal that never falls unasked."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from firmware_bridge.families.itp.physics import DAY_MS, MINUTE_MS, PPM
from hil.storm import stage
from hil.storm.record import Record
from hil.storm.witness import Deed

HOUR_MS = 3_600_000
OVER = ("over_delivery", "free_flow", "clock_drift")
"""Faults of the device under which a window may hold more than was programmed."""
UNDER = ("motor_stall", "occlusion", "under_delivery")
NL_OF_MCG = 100
"""Of the storm's morphine, 10 mg/mL."""


def judge_pump(record: Record) -> list[str]:
    """What only a pump can do wrong."""
    befell = {where for _, do, where in record.events if do == "device"}
    found = [*_doses(record), *_halts(record), *_confirmed(record)]
    if not befell.intersection(OVER):
        found += _windows(record)
        found += _basal(record)
    return found


def _doses(record: Record) -> Iterator[str]:
    """What the body was told to do for an id is what the person asked for."""
    asked = {own: one for one in record.asked for own in one.ids}
    for deed in record.witness.deeds:
        one = asked.get(deed.id)
        if one is None:
            continue
        if deed.what == "begin_bolus" and deed.value[1] != one.amount * NL_OF_MCG:
            yield f"id {deed.id}: {one.amount} mcg were asked for, {deed.value[1]} nL began"
        if deed.what == "follow":
            wanted = stage.pump_command(one.amount).program.basal
            flows = [(step.start, step.flow) for step in deed.value[0]]
            if flows != [(int(step.start), int(step.flow)) for step in wanted]:
                yield f"id {deed.id}: the pump follows another basal than was asked for"


# --- windows -------------------------------------------------------------------------------------


def _windows(record: Record) -> Iterator[str]:
    """In every window, at the borders of all events, no more than the limit left the tip."""
    limits = stage.infusion().drugs[0].limits
    times, masses = _mass(record.witness.lines)
    for length, limit in (
        (HOUR_MS, limits.per_hour),
        (4 * HOUR_MS, limits.per_4_hours),
        (DAY_MS, limits.per_day),
    ):
        if limit is None or not times:
            continue
        most, end = most_in(times, masses, length)
        # Truth counts in whole nL, rounded up at each end: one nL of 10 mg/mL each.
        allowed = limit * (PPM + record.plan.error) // PPM + 20_000_000
        if most > allowed:
            yield (
                f"{most / 1e12:.4f} mg left the tip within {length // HOUR_MS} h until {end} ms, "
                f"and the limit is {limit / 1e12:.4f} mg"
            )


def _mass(lines: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    return (
        [line["t_ms"] for line in lines],
        [line["tip_mass_fg"].get("morphine", 0) for line in lines],
    )


def most_in(times: Sequence[int], amounts: Sequence[int], length: int) -> tuple[int, int]:
    """The largest growth of a piecewise linear amount in any window, and when that window ends.

    Between the corners the growth is linear, so it is enough to look at windows that begin or end
    at one.
    """
    most, when = 0, 0
    first = times[0]
    behind = 0
    for index, end in enumerate(times):  # windows that end at a corner
        begin = end - length
        while times[behind] < begin and behind < index:
            behind += 1
        low = amounts[0] if begin <= first else _at(times, amounts, begin, behind)
        if amounts[index] - low > most:
            most, when = amounts[index] - low, end
    ahead = 0
    for index, begin in enumerate(times):  # windows that begin at a corner
        end = begin + length
        if end > times[-1]:
            break
        while times[ahead] < end:
            ahead += 1
        high = _at(times, amounts, end, ahead)
        if high - amounts[index] > most:
            most, when = high - amounts[index], end
    return most, when


def _at(times: Sequence[int], amounts: Sequence[int], ms: int, after: int) -> int:
    """The amount at a time that lies at or before corner ``after`` and behind the one before."""
    if times[after] <= ms or after == 0:
        return amounts[after]
    start, end = times[after - 1], times[after]
    if start == end:
        return amounts[after]
    low, high = amounts[after - 1], amounts[after]
    return low + (high - low) * (ms - start) // (end - start)


# --- never under ---------------------------------------------------------------------------------


def _halts(record: Record) -> Iterator[str]:
    """The flow halts only by a person's stop, its drug's policy, or a battery that failed."""
    deeds = record.witness.deeds
    reasons = {deed.at for deed in deeds if deed.what == "stop" and deed.value != "hold"}
    reasons |= {at for at, do, where in record.events if where == "battery_reset"}
    for deed in deeds:
        if deed.what == "halt" and deed.at not in reasons:
            yield f"at {deed.at} ms the flow was halted, and nobody asked for it"


def _basal(record: Record) -> Iterator[str]:
    """While a program runs that nobody stopped, no less than its basal leaves the pump."""
    lines: Sequence[dict[str, Any]] = record.witness.lines
    times = [line["t_ms"] for line in lines]
    volumes = [line["volume_nL"] for line in lines]
    changes = _changes(record)
    borders = sorted({*times, *(at for at, _ in changes)})
    program: tuple[Any, int] | None = None
    broken, place = False, 0
    for begin, end in pairwise(borders):
        while place < len(changes) and changes[place][0] <= begin:
            change = changes[place][1]
            place += 1
            if isinstance(change, bool):
                broken = change
            else:
                program = change.value if change.what == "follow" else None
        if program is None or broken:
            continue
        flow = basal_at(program, begin)
        wanted = flow * (end - begin) * (PPM + record.plan.error) // (DAY_MS * PPM)
        got = _volume(times, volumes, end) - _volume(times, volumes, begin)
        if got + 2 < wanted:
            yield f"from {begin} to {end} ms {got} nL left the pump, and the basal is {wanted} nL"


def _changes(record: Record) -> list[tuple[int, Deed | bool]]:
    """When another program is followed, the flow is halted, or the motor breaks (True) or heals."""
    found: list[tuple[int, Deed | bool]] = [
        (deed.at, deed) for deed in record.witness.deeds if deed.what in ("follow", "halt")
    ]
    found += [
        (at, where != "heal")
        for at, do, where in record.events
        if do == "device" and where in (*UNDER, "heal")
    ]
    return sorted(found, key=lambda one: one[0])


def basal_at(program: tuple[Any, int], at_ms: int) -> int:
    """The flow of a schedule at a time, by the pump's local clock, nL/day."""
    steps, offset = program
    minute = (stage.START_MS + at_ms + offset * MINUTE_MS) % DAY_MS // MINUTE_MS
    flow = steps[-1].flow
    for step in steps:
        if step.start <= minute:
            flow = step.flow
    return int(flow)


def _volume(times: Sequence[int], volumes: Sequence[int], ms: int) -> int:
    after = bisect_right(times, ms)
    if after == 0:
        return volumes[0] if volumes else 0
    if after == len(times):
        return volumes[-1]
    return _at(times, volumes, ms, after)


def _confirmed(record: Record) -> Iterator[str]:
    """When a person hears that the stop is confirmed, no bolus runs, and nothing after `flow`."""
    for one in record.asked:
        if one.what != "stop" or one.told != "done":
            continue
        deeds = [deed for deed in record.witness.deeds if deed.at <= one.told_at]
        if any(deed.what == "follow" and deed.at >= one.at for deed in deeds):
            continue  # somebody applied a program meanwhile: what follows is another story
        running = _running(deeds)
        if running is not None and running.at + running.value[2] > one.told_at:
            yield f"request {one.number}: the stop counted as confirmed while a bolus ran"
        flow = next((d.what for d in reversed(deeds) if d.what in ("follow", "halt")), "halt")
        if one.where == "flow" and flow == "follow":
            yield f"request {one.number}: the stop of the flow was confirmed, and it flows"


def _running(deeds: Sequence[Deed]) -> Deed | None:
    """The last bolus that was begun and not ended before its time."""
    last = next((d for d in reversed(deeds) if d.what in ("begin_bolus", "end_boluses")), None)
    return last if last is not None and last.what == "begin_bolus" else None
