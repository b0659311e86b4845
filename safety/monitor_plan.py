"""The monitor's judgement of a pump over time: the last minutes, and all that is missing.

Sums since some distant start are never compared: a surplus of yesterday would hide what is missing
today. Windows begin anew with every plan.
"""

from collections.abc import Sequence
from dataclasses import replace

from device_profiles.notation import write_volume
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MS,
    MILLION,
    MINUTE_MS,
    Milliseconds,
    NanoLitres,
    divide_up,
    flow_of_bolus,
    widened,
)
from safety.alarm_table import BY_DRUG
from safety.alarms import Alarm
from safety.dose import bolus_time, can_be_bounded, daily_volume
from safety.granted import Granted, GrantedBolus
from safety.monitor_readings import CLOCK_TOLERANCE, SLACK, UNITS, Mark, PumpReading, Track
from safety.outputs import PumpProgram
from safety.schedule import basal_flow_at, scheduled

BASAL_TOLERANCE = Milliseconds(5 * MINUTE_MS)
"""How long too much or too little basal must last [Open PCA R6.4.0(2): 5 min]."""
BOLUS_TOLERANCE = Milliseconds(MINUTE_MS)
"""How long too much must last while a bolus may run [Open PCA R6.4.0(4): 1 min]."""

COUNT_TIME = Milliseconds(MINUTE_MS)
"""How long after a bolus must have ended the pump's count of it is awaited; link time."""


def plans_of(now: PumpReading, granted: Granted) -> tuple[PumpProgram, ...]:
    """Every program that the pump may be following now; while a bridge runs, its basal."""
    bridging = now.line_left > 0 and now.bolus_id == 0
    plans = (
        (program.while_bridging() if bridging else None) or program
        for program in granted.pump_programs
    )
    return tuple(plan for plan in plans if can_be_bounded(plan))


def with_plan(track: Track, now: PumpReading, granted: Granted, profile: PumpProfile) -> Track:
    """Windows begin anew with another plan: what flowed in between fits neither."""
    plans = plans_of(now, granted)
    if track.plans == plans and track.marks:
        return track
    may_run = any(_press_may_run(plan, now, profile) for plan in plans)
    until = Milliseconds(_longest_press(plans) if may_run else 0)
    mark = Mark(now.at, Milliseconds(0), now.delivered, 0, 0, now.presses, until)
    return replace(track, plans=plans, marks=(mark,), begun=mark)


def _press_may_run(plan: PumpProgram, now: PumpReading, profile: PumpProfile) -> bool:
    """Whether as much flows as with a press; of an earlier host's reading nobody knows."""
    if plan.patient_bolus is None:
        return False
    bolus = flow_of_bolus(plan.patient_bolus.volume, plan.patient_bolus.over)
    least = (basal_flow_at(plan, now.clock) + bolus) * (MILLION - profile.accuracy)
    return now.state == "" or now.flow * MILLION >= least


def _longest_press(plans: Sequence[PumpProgram]) -> int:
    """How long a patient's bolus runs, ms."""
    return max((p.patient_bolus.over for p in plans if p.patient_bolus), default=0)


def lasted(last: PumpReading, now: PumpReading, *, jumped: bool) -> Milliseconds:
    """The time between two readings: by the pump's clock, by ours where that jumped."""
    return Milliseconds(max(0, now.at - last.at if jumped else now.clock - last.clock))


def judge_plan(
    track: Track,
    last: PumpReading,
    now: PumpReading,
    granted: Granted,
    profile: PumpProfile,
    *,
    jumped: bool,
) -> tuple[list[Alarm], Track]:
    """Everything that is judged over a window under one plan."""
    plans = track.plans
    if not plans or plans != plans_of(now, granted) or not track.marks:
        return [], track
    least, most = _planned(plans, last, now, jumped=jumped)
    newest = track.marks[-1]
    elapsed = Milliseconds(newest.elapsed + lasted(last, now, jumped=jumped))
    # The pump counts presses anew with each Commit, also of the same program in mid-window.
    fresh = now.presses - last.presses if now.presses >= last.presses else now.presses
    mark = Mark(
        now.at,
        elapsed,
        now.delivered,
        newest.least + least,
        newest.most + most,
        newest.presses + fresh,
        Milliseconds(elapsed + _longest_press(plans)) if fresh else newest.runs_until,
    )
    track = replace(track, marks=_recent((*track.marks, mark)))
    alarms = _judge_windows(track, granted, profile)
    deficit, track = _judge_deficit(track, mark, granted, profile)
    return [*alarms, *deficit], track


def _recent(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """The marks of the longest tolerance, and the one before."""
    border = marks[-1].elapsed - BASAL_TOLERANCE
    first = 0
    while first + 1 < len(marks) and marks[first + 1].elapsed <= border:
        first += 1
    return marks[first:]


def _planned(
    plans: Sequence[PumpProgram], last: PumpReading, now: PumpReading, *, jumped: bool
) -> tuple[int, int]:
    """The least and the most basal between two readings, in nL/day x ms."""
    spans: list[tuple[int, int]] = [(last.clock, now.clock)]
    if jumped:
        # The place in the schedule is either the old one or the new one; the time is ours.
        ours = now.at - last.at
        spans = [(last.clock, last.clock + ours), (now.clock - ours, now.clock)]
    amounts = [
        scheduled(plan, Milliseconds(start), Milliseconds(end))
        for plan in plans
        for start, end in spans
    ]
    return min(amounts), max(amounts)


def _judge_windows(track: Track, granted: Granted, profile: PumpProfile) -> list[Alarm]:
    """SR-54: the last minutes against the plan, too much and too little, beyond the accuracy.

    Too much: over 5 minutes, and over one while a bolus may run. Too little: over 5 minutes, with
    nothing counted but what is beyond doubt. Protects from a pump that strokes too much or too
    little. Harm: too much stops it by its drug's policy; too little stops nothing. Way out: look,
    apply again.
    """
    now, plans = track.marks[-1], track.plans
    alarms = []
    long, short = _older(track.marks, BASAL_TOLERANCE), _older(track.marks, BOLUS_TOLERANCE)
    windows = [long] if long else []
    if short is not None and boluses_between(granted, short.at, now.at):
        windows.append(short)
    for first in windows:
        delivered = NanoLitres(now.delivered - first.delivered)
        most = _most(first, now, plans, granted, profile)
        if delivered > most + SLACK:
            text = (
                f"{write_volume(delivered)} delivered in {_seconds(first, now)}, at most "
                f"{write_volume(most)} planned, accuracy included"
            )
            alarms.append(Alarm("over-delivery", "HIGH", "SR-54", text))
            break
    if long is not None:
        delivered = NanoLitres(now.delivered - long.delivered)
        least = NanoLitres(_least(long, now, granted, profile) // UNITS)
        if delivered + SLACK < least:
            text = (
                f"only {write_volume(delivered)} delivered in {_seconds(long, now)}, at "
                f"least {write_volume(least)} planned"
            )
            priority = BY_DRUG[plans[0].stop_policy]
            alarms.append(Alarm("under-delivery", priority, "SR-54", text))
    return alarms


def _seconds(first: Mark, now: Mark) -> str:
    return f"{(now.elapsed - first.elapsed) // 1_000} s"


def _older(marks: Sequence[Mark], age: Milliseconds) -> Mark | None:
    """The newest mark that is at least so old."""
    border = marks[-1].elapsed - age
    return next((mark for mark in reversed(marks) if mark.elapsed <= border), None)


def _most(
    first: Mark,
    now: Mark,
    plans: Sequence[PumpProgram],
    granted: Granted,
    profile: PumpProfile,
) -> NanoLitres:
    """The most that a window may have let out, the pump's accuracy included."""
    length = Milliseconds(now.elapsed - first.elapsed)
    presses = now.presses - first.presses
    run_on = max(0, min(now.elapsed, first.runs_until) - first.elapsed)
    basal = divide_up(now.most - first.most, DAY_MS)
    button = max(_of_presses(plan, presses, run_on, length) for plan in plans)
    boluses = sum(
        min(bolus.most, divide_up(bolus.volume * length, bolus.over))
        for bolus in boluses_between(granted, first.at, now.at)
    )
    return NanoLitres(widened(basal + button + boluses, profile.accuracy))


def _least(first: Mark, now: Mark, granted: Granted, profile: PumpProfile) -> int:
    """The least that a window must have let out: of boluses only those that it holds whole."""
    boluses = sum(
        bolus.least
        for bolus in granted.boluses
        if bolus.closed and first.at <= bolus.begun and bolus.latest_end <= now.at
    )
    return ((now.least - first.least) + boluses * DAY_MS) * (MILLION - profile.accuracy)


def boluses_between(
    granted: Granted, start: Milliseconds, end: Milliseconds
) -> tuple[GrantedBolus, ...]:
    """The host's boluses and primes that may have flowed between two times."""
    margin = CLOCK_TOLERANCE * granted.speed
    return tuple(
        bolus
        for bolus in granted.boluses
        if bolus.latest_end + margin >= start and bolus.begun - margin <= end
    )


def _of_presses(plan: PumpProgram, presses: int, run_on: int, length: Milliseconds) -> int:
    """What granted presses may have delivered: never more than lockout and count let pass.

    ``run_on``: for how long an earlier one may have gone on.
    """
    button = plan.patient_bolus
    if button is None:
        return 0
    most = divide_up(button.volume * bolus_time(button, length), button.over)
    return min(button.volume * presses + divide_up(button.volume * run_on, button.over), most)


# --- what is missing -------------------------------------------------------------------------


def _judge_deficit(
    track: Track, now: Mark, granted: Granted, profile: PumpProfile
) -> tuple[list[Alarm], Track]:
    """SR-30, SR-54: how much is missing in all, whatever flowed before it began to be missing.

    While a bolus is open, the stretch since before it stays open too, so that its volume neither
    hides a missing basal nor is missed itself. A quarter of a day's dose of a drug whose lack makes
    ill is HIGH. Protects from withdrawal by many small lacks. Harm: none, it stops nothing. Way
    out: get the flow back; what is missing lessens as more than the least flows.
    """
    begun = track.begun or now
    short = _least(begun, now, granted, profile) - (now.delivered - begun.delivered) * UNITS
    missing = max(0, track.missing + short)
    alarms = []
    closed = [
        b for b in granted.boluses if b.closed and b.begun >= begun.at and b.latest_end <= now.at
    ]
    border = now.at - COUNT_TIME * granted.speed
    is_open = any(not one.closed and one.latest_end >= border for one in granted.boluses)
    if closed and not is_open and short > SLACK * UNITS and not track.missing:
        text = f"{write_volume(NanoLitres(short // UNITS))} are missing since bolus "
        text += f"{closed[-1].id:#x} began, and the pump says that it ended"
        alarms.append(Alarm("bolus-under", "MEDIUM", "SR-54", text))
    if not is_open:
        track = replace(track, begun=now, missing=missing)
    program = track.plans[0]
    if missing // UNITS * 4 >= daily_volume(program) > 0:
        text = f"{write_volume(NanoLitres(missing // UNITS))} are missing in all"
        urgent = program.stop_policy != "may-stop"
        alarms.append(Alarm("deficit", "HIGH" if urgent else "LOW", "SR-30", text))
    return alarms, track
