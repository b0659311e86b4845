"""The monitor's judgement of a pump: its meters, reading after reading, against the journal."""

from dataclasses import replace

from device_profiles.notation import write_flow, write_volume
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MS,
    MILLION,
    NanoLitres,
    NanoLitresPerDay,
    divide_up,
    flow_of_bolus,
    widened,
)
from safety.alarm_table import BY_DRUG, Priority
from safety.alarms import Alarm
from safety.dose import can_be_bounded, worst_case_volume
from safety.granted import Granted
from safety.monitor_limits import judge_hours, with_hour
from safety.monitor_plan import boluses_between, judge_plan, lasted, plans_of, with_plan
from safety.monitor_readings import CLOCK_TOLERANCE, SLACK, UNITS, PumpReading, Track
from safety.outputs import PumpProgram
from safety.schedule import basal_flow_at

GROSS = 2
"""A flow of more than so many times what may flow is no error of strokes: something else runs."""
DAYS_LEFT: tuple[tuple[int, Priority], ...] = ((1, "HIGH"), (3, "MEDIUM"), (7, "LOW"))
"""Days that a drug which must not stop still lasts, and how urgent that is [domain 4.5]."""
_AT_REST = ("empty-program", "halted")
"""States of a pump that follows no program: nothing may flow, whoever wrote the journal."""
_NO_FLOW = (
    "motor-stall",
    "occlusion",
    "pump-stopped",
    "reservoir-empty",
    "low-battery-reset",
    "end-of-service",
)
"""What a pump says itself when nothing flows; then `no-flow` would say it twice."""


def observe(
    track: Track, now: PumpReading, granted: Granted, profile: PumpProfile
) -> tuple[Track, tuple[Alarm, ...]]:
    """The memory after a reading, and every alarm that holds with it; a code may come twice."""
    track = _resumed(track, granted, profile)
    alarms = _judge_moment(now, granted, profile)
    last = track.last
    if last is not None:
        jump, track = _judge_clock(track, last, now, granted)
        alarms += jump
        if now.delivered < last.delivered:
            alarms.append(_fallen(last, now))
            track = Track(missing=track.missing, ahead=track.ahead)
        elif track.last is not None:
            alarms += _judge_free_flow(last, now, profile, jumped=bool(jump))
            lost, track = _judge_reservoir(track, last, now, profile)
            plan, track = judge_plan(track, last, now, granted, profile, jumped=bool(jump))
            alarms += [*lost, *plan]
    track = with_plan(track, now, granted, profile)
    limits, track = _judge_limits(track, now, granted, profile)
    return replace(track, last=now), (*alarms, *limits)


def _resumed(track: Track, granted: Granted, profile: PumpProfile) -> Track:
    """Goes on from what the meters showed to an earlier host, where the journal has it."""
    meter = granted.meter
    if track.last is not None or meter is None:
        return track
    last = PumpReading(
        meter.at.slow,
        meter.clock,
        "",
        NanoLitresPerDay(0),
        meter.delivered,
        meter.reservoir,
        fill_at=meter.fill_at_ms,
    )
    resumed = replace(track, last=last, missing=meter.missing * UNITS)
    return with_plan(resumed, last, granted, profile)


# --- one reading alone -----------------------------------------------------------------------


def _judge_moment(now: PumpReading, granted: Granted, profile: PumpProfile) -> list[Alarm]:
    too_much = [*_judge_flow(now, granted, profile), *_judge_bolus_id(now, granted)]
    if now.state == "empty-program" and not now.fill_at:
        # It was never filled: a reading from before the program that the journal tells of.
        return too_much
    return [
        *too_much,
        *_judge_no_flow(now, granted),
        *_judge_days_left(now, granted, profile),
    ]


def _judge_flow(now: PumpReading, granted: Granted, profile: PumpProfile) -> list[Alarm]:
    """SR-54: more flows than the pump can be told to, or by far more than anything granted.

    Protects from free flow and from a delivery that nobody asked for, at once. Harm: the pump is
    stopped by its drug's policy. Longest denial of boluses: until the program is applied again.
    Way out: look, apply again.
    """
    if now.flow > widened(profile.flow_max, profile.accuracy):
        text = f"{write_flow(now.flow)} flow: more than this pump can be programmed to"
        return [Alarm("free-flow", "HIGH", "SR-54", text)]
    plans = plans_of(now, granted)
    if not plans and now.state not in _AT_REST:
        return []  # it follows a program that nobody here knows: other alarms say so
    granted_flow = 0
    if plans and now.state in ("running", "held"):
        granted_flow = max(basal_flow_at(plan, now.clock) for plan in plans)
        granted_flow += _bolus_flow(now, granted)
    if plans and now.state == "running":
        granted_flow += max(_button_flow(plan) for plan in plans)
    if now.flow <= GROSS * widened(granted_flow, profile.accuracy):
        return []
    text = (
        f"{write_flow(now.flow)} flow although the pump is {now.state} and at most "
        f"{write_flow(NanoLitresPerDay(granted_flow))} are granted"
    )
    return [Alarm("delivery-without-intent", "HIGH", "SR-54", text)]


def _judge_bolus_id(now: PumpReading, granted: Granted) -> list[Alarm]:
    """SR-54: the pump names a bolus that no entry of the journal asks for.

    Protects from a second host and from frames that come out of nowhere. Harm and way out: as of
    every delivery without an intent.
    """
    if not now.bolus_id or granted.knows_bolus(now.bolus_id):
        return []
    text = f"the pump delivers a bolus {now.bolus_id:#x} that the journal does not know"
    return [Alarm("delivery-without-intent", "HIGH", "SR-54", text)]


def _judge_no_flow(now: PumpReading, granted: Granted) -> list[Alarm]:
    """SR-30: nothing flows although every plan asks for it; as urgent as the drug's withdrawal.

    Protects from a withdrawal that nobody sees coming. Harm: an alarm in the pause of a pump that
    rests between strokes. Way out: none needed, it stops nothing.
    """
    plans = plans_of(now, granted)
    says_so = any(name in _NO_FLOW for name in now.alarms)
    if now.flow or says_so or not plans or not all(basal_flow_at(p, now.clock) for p in plans):
        return []
    priority = BY_DRUG[plans[0].stop_policy]
    return [Alarm("no-flow", priority, "SR-30", "nothing flows although the program asks for it")]


def _judge_days_left(now: PumpReading, granted: Granted, profile: PumpProfile) -> list[Alarm]:
    """SR-18: how many days a drug that must not stop still lasts, at the most that may flow.

    Protects from a withdrawal that begins days before the alarm volume is reached. Harm: an early
    alarm where few boluses are taken. Way out: refill.
    """
    program = granted.program
    if program is None or not can_be_bounded(program):
        return []
    if program.stop_policy != "never-stop":
        if now.reservoir > program.low_reservoir or "low-reservoir" in now.alarms:
            return []
        text = f"{write_volume(now.reservoir)} are left"
        return [Alarm("low-reservoir", "LOW", "SR-55", text)]
    left = max(0, now.reservoir - profile.residual)
    daily = widened(worst_case_volume(program, DAY_MS), profile.accuracy)
    for days, priority in DAYS_LEFT:
        if left <= days * daily:
            text = f"{write_volume(NanoLitres(left))} left: {days} days or less, all boluses taken"
            return [Alarm("reservoir-days", priority, "SR-18", text)]
    return []


def _bolus_flow(now: PumpReading, granted: Granted) -> int:
    """The largest flow of a host's bolus that may run now; there is never more than one."""
    flows = (flow_of_bolus(b.volume, b.over) for b in boluses_between(granted, now.at, now.at))
    return max(flows, default=0)


def _button_flow(plan: PumpProgram) -> int:
    button = plan.patient_bolus
    return flow_of_bolus(button.volume, button.over) if button else 0


# --- two readings ----------------------------------------------------------------------------


def _fallen(last: PumpReading, now: PumpReading) -> Alarm:
    """SR-54: an odometer that falls is believed in nothing, and holds nothing less than before.

    Protects from a device that takes back what it gave. Harm: boluses wait a day. Way out: weigh
    what is left.
    """
    text = (
        f"the odometer fell from {write_volume(last.delivered)} to {write_volume(now.delivered)}: "
        "what it says cannot be trusted"
    )
    return Alarm("odometer-fell", "HIGH", "SR-54", text)


def _judge_clock(
    track: Track, last: PumpReading, now: PumpReading, granted: Granted
) -> tuple[list[Alarm], Track]:
    """SR-15: the pump's clock against ours; one that jumps is told and decides nothing.

    Protects from a schedule that runs at another time of day than people think. Harm: none, it
    only tells. Longest denial: none. Way out: compare the clocks.
    """
    ahead = now.clock - now.at
    alarm = Alarm("clock-jump", "LOW", "SR-15", "the pump's clock jumped: its schedule follows it")
    if track.ahead is None:
        if now.clock >= last.clock and not granted.clock_was_set:
            return [], replace(track, ahead=ahead)
        # Set while nobody watched: how long it was is not known, so nothing is compared.
        return [alarm], Track(missing=track.missing, ahead=ahead)
    if abs(ahead - track.ahead) <= CLOCK_TOLERANCE * granted.speed:
        return [], track
    return [alarm], replace(track, ahead=ahead)


def _judge_free_flow(
    last: PumpReading, now: PumpReading, profile: PumpProfile, *, jumped: bool
) -> list[Alarm]:
    """SR-54: the odometer moves faster than any program may drive it, whatever the flow says.

    Protects from free flow past a flow sensor that lies. Harm and way out: as `_judge_flow`.
    """
    length = lasted(last, now, jumped=jumped)
    most = widened(divide_up(profile.flow_max * length, DAY_MS), profile.accuracy)
    delivered = NanoLitres(now.delivered - last.delivered)
    if delivered <= most + SLACK:
        return []
    text = f"{write_volume(delivered)} left the pump in {length} ms: it runs freely"
    return [Alarm("free-flow", "HIGH", "SR-54", text)]


def _judge_reservoir(
    track: Track, last: PumpReading, now: PumpReading, profile: PumpProfile
) -> tuple[list[Alarm], Track]:
    """SR-54: the reservoir loses more than passes the outlet, beyond the meter's accuracy.

    Protects from a leak, from a fill beside the reservoir and from an odometer that counts short.
    Harm: an alarm for a count that was corrected. Way out: measure what is left.
    """
    fell = last.reservoir - now.reservoir
    if now.fill_at != last.fill_at or fell < 0:
        return [], replace(track, lost=0)
    passed = (now.delivered - last.delivered) * (MILLION + profile.accuracy)
    lost = max(0, track.lost + (fell * MILLION - passed) * DAY_MS)
    track = replace(track, lost=lost)
    if lost <= SLACK * UNITS:
        return [], track
    gone = write_volume(NanoLitres(lost // UNITS))
    text = f"the reservoir has lost {gone} more than the odometer explains"
    return [Alarm("reservoir-fell", "HIGH", "SR-54", text)], track


# --- limits ----------------------------------------------------------------------------------


def _judge_limits(
    track: Track, now: PumpReading, granted: Granted, profile: PumpProfile
) -> tuple[list[Alarm], Track]:
    """SR-54: the patient's limits by the odometer; the count begins anew with other limits.

    What fills the line reaches nobody yet: it is not counted, and what was before it neither.
    Protects, harms and ends as `judge_hours`.
    """
    limits = granted.limits
    if limits is None or now.line_left > 0 or not plans_of(now, granted):
        return [], replace(track, hours=(), limits=limits)
    before = track.hours if limits == track.limits else ()
    hours = with_hour(before, now.at, now.delivered)
    alarms = judge_hours(hours, now.at, now.delivered, limits, profile.accuracy)
    return alarms, replace(track, hours=hours, limits=limits)
