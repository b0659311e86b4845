"""The monitor's judgement: what a device shows and what lies open, against the journal. Pure.

It never sees commands, only the device's own evidence and the journal's entries by a fold of its
own (`granted`), so it finds what the kernel cannot: a device that does something else than it was
told, and a judge that granted too much. A pump's meters are judged in `monitor_pump`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from device_profiles.formulary import StopPolicy
from device_profiles.notation import write_current
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import MicroAmps, Milliseconds
from safety.alarm_table import BY_DRUG, KINDS, Priority, kind_of
from safety.alarms import Alarm, by_priority
from safety.fold import PROGRAMMING
from safety.granted import Granted
from safety.monitor_readings import StimulatorReading
from safety.outputs import PumpProgram, Stimulation

OPEN_AFTER = Milliseconds(30_000)
"""How long an outcome may stay unknown; link time: all questions of a session take 5 s at most."""


# --- all alarms of one moment ----------------------------------------------------------------


def verdict(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """One alarm for each code, its highest, and the highest first (SR-55)."""
    highest: dict[str, Alarm] = {}
    for alarm in by_priority(alarms):
        highest.setdefault(alarm.code, alarm)
    return by_priority(highest.values())


def must_stop(alarms: Iterable[Alarm]) -> Alarm | None:
    """SR-30, SR-53: the alarm that the monitor stops a device for, by its drug's policy.

    Only evidence of too much stops: a monitor that stops for too little would do to a baclofen
    patient what it warns of. Protects from an overdose that nobody is there to end. Harm: boluses
    are closed, and a drug that may stop is stopped. Longest denial: until a person has applied the
    program again. Way out: look, apply again.
    """
    return next((alarm for alarm in by_priority(alarms) if kind_of(alarm.code).stops), None)


def stop_depth(cause: Alarm, program: PumpProgram | None) -> Literal["policy", "flow"]:
    """SR-30: how deep a stop goes that a monitor asks for: by the drug, and by why.

    On evidence of too much an opioid's flow is halted: too much of it stops breath, while its
    withdrawal is survived. A drug whose stopping can kill keeps its basal. Protects from an excess
    without bound. Harm: withdrawal, after hours. Longest denial: until a person has applied the
    program again, which nothing refuses. Way out: look, apply again. Source: domain 2.8.
    """
    too_much = kind_of(cause.code).stops
    if too_much and program is not None and program.stop_policy == "hold-basal":
        return "flow"
    return "policy"


# --- a stimulator ----------------------------------------------------------------------------


def judge_stimulator(
    granted: Sequence[Stimulation], reading: StimulatorReading, profile: StimulatorProfile
) -> tuple[Alarm, ...]:
    """SR-54: what flows against all that may flow: granted, on its way, or still falling.

    Protects from an output that nobody started and from one above what was granted, above the
    patient's ceiling or above what the device is made for. Harm: the output goes to zero. Longest
    denial: until it is started again. Way out: look, start again.
    """
    flows = reading.on or any(reading.amplitudes)
    if not flows:
        return ()
    if not granted:
        text = "the stimulator's output is on, and nobody started it"
        return (Alarm("delivery-without-intent", "HIGH", "SR-54", text),)
    alarms = []
    if reading.slot not in {one.program.slot for one in granted}:
        text = f"the program of slot {reading.slot} flows, and another one was granted"
        alarms.append(Alarm("over-plan", "HIGH", "SR-54", text))
    for number, seen in enumerate(reading.amplitudes):
        most = max((_of_area(one.amplitudes, number) for one in granted), default=MicroAmps(0))
        if seen > most:
            text = (
                f"area {number + 1} shows {write_current(seen)}, granted were {write_current(most)}"
            )
            alarms.append(Alarm("over-plan", "HIGH", "SR-54", text))
        ceilings = [tuple(area.ceiling for area in one.program.areas) for one in granted]
        ceiling = max((_of_area(one, number) for one in ceilings), default=MicroAmps(0))
        if seen > min(ceiling, profile.amplitude_max):
            text = f"area {number + 1} shows {write_current(seen)}, above its ceiling"
            alarms.append(Alarm("over-limit", "HIGH", "SR-54", text))
    return tuple(alarms)


def judge_rise(
    granted: Sequence[Stimulation],
    last: StimulatorReading,
    now: StimulatorReading,
    profile: StimulatorProfile,
) -> tuple[Alarm, ...]:
    """SR-50: from reading to reading no area rises by more than its program's slope and a step.

    Time is the device's own, in which its ramps run; of several programs the steepest counts.
    Protects from a device that jumps to what is set, and from current that comes back at once when
    a contact does. Harm: none, it stops nothing: what has jumped is there already. Longest denial:
    none. Way out: none is needed.
    """
    elapsed = now.clock - last.clock
    alarms = []
    for number, seen in enumerate(now.amplitudes):
        before = _of_area(last.amplitudes, number) if last.slot == now.slot else MicroAmps(0)
        rise = seen - before - profile.amplitude_step
        areas = [
            (one.program.areas[number], one.program.ramp)
            for one in granted
            if one.program.slot == now.slot and number < len(one.program.areas)
        ]
        if rise <= 0 or elapsed < 0 or not areas:
            continue
        if all(rise * ramp > (area.amplitude or area.ceiling) * elapsed for area, ramp in areas):
            text = (
                f"area {number + 1} rose from {write_current(before)} to {write_current(seen)} "
                f"within {elapsed} ms: faster than its program's ramp"
            )
            alarms.append(Alarm("rise-too-fast", "MEDIUM", "SR-50", text))
    return tuple(alarms)


def _of_area(values: Sequence[MicroAmps], number: int) -> MicroAmps:
    return values[number] if number < len(values) else MicroAmps(0)


# --- the journal -----------------------------------------------------------------------------


def judge_open(
    granted: Granted, ages: Mapping[int, Milliseconds], now: Milliseconds
) -> tuple[Alarm, ...]:
    """SR-21, SR-22, SR-32, SR-57: what the journal leaves open for too long, or for good.

    ``ages`` are those of the open intents by their ids, in link time; ``now`` is therapy time.
    Protects from a doubt that everybody has forgotten. Harm: none, it stops nothing. Longest
    denial: none. Way out: connect again, so that the device is asked; apply a program.
    """
    alarms = []
    for intent in granted.open:
        is_old = ages.get(intent.id, Milliseconds(0)) > OPEN_AFTER
        if intent.command in PROGRAMMING and is_old:
            text = f"program {intent.id:#x} was sent and never settled: either may be in the device"
            alarms.append(Alarm("programming-open", "MEDIUM", "SR-22", text))
        if intent.id in granted.doubted or (is_old and intent.command not in PROGRAMMING):
            text = f"it is not known whether intent {intent.id:#x} was carried out"
            alarms.append(Alarm("uncertain", "MEDIUM", "SR-21", text))
    if granted.differs is not None:
        text = f"{granted.differs}; no program counts as verified until one is applied"
        alarms.append(Alarm("program-differs", "HIGH", "SR-22", text))
    if granted.stop_open:
        alarms.append(Alarm("stop-unconfirmed", "HIGH", "SR-32", "a stop could not be confirmed"))
    for waiver in granted.waivers:
        if now > waiver.until:
            text = f"{waiver.rule} was passed with a reason for a time, and that is over"
            alarms.append(Alarm("waiver-expired", "LOW", "SR-57", text))
    return tuple(alarms)


# --- age, and what a device says of itself ---------------------------------------------------


def judge_age(age: Milliseconds, stale_after: Milliseconds) -> tuple[Alarm, ...]:
    """SR-52: a reading that nothing newer followed in time is shown as old.

    Protects from an old figure that is taken for a live one. Harm: none, it stops nothing. Longest
    denial: none. Way out: the next reading.
    """
    if age <= stale_after:
        return ()
    text = f"the last reading is {age} ms old; it is not shown as live"
    return (Alarm("telemetry-stale", "MEDIUM", "SR-52", text),)


def alarms_of_device(names: Sequence[str], policy: StopPolicy | None = None) -> tuple[Alarm, ...]:
    """A device's own alarms with their priorities; ``policy`` is that of the drug in a pump."""
    return by_priority(
        Alarm(name, _priority_of(name, policy), "SR-55", f"the device reports: {name}")
        for name in names
    )


def _priority_of(name: str, policy: StopPolicy | None) -> Priority:
    """The priority of a device's own alarm; one that nobody knows is MEDIUM.

    Where the drug decides and is not known, it is taken for one that must not stop.
    """
    kind = KINDS.get(name)
    if kind is None:
        return "MEDIUM"
    if len(kind.priorities) == 1:
        return kind.priorities[0]
    return BY_DRUG[policy or "never-stop"]
