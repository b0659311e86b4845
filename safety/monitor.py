"""The monitor's judgement: what a device shows against what was granted. Pure, in integers.

It never sees commands, only the device's own evidence and the verified program, so it finds what
the kernel cannot: a device that does something else than it was told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from device_profiles.formulary import StopPolicy
from device_profiles.notation import write_current, write_volume
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    MILLION,
    MINUTE_MS,
    MicroAmps,
    Milliseconds,
    NanoLitres,
    NanoLitresPerDay,
    divide_up,
    widened,
)
from safety.alarms import Alarm, Priority, by_priority
from safety.dose import bolus_time, flow_at
from safety.outputs import PumpProgram, Stimulation

UNDER_DELIVERY_AFTER = Milliseconds(5 * MINUTE_MS)
"""How long too little must last before it is an alarm [Open PCA R6.4.0(2): 5 min for basal]."""
ODOMETER_SLACK = NanoLitres(2)
"""What two readings, each rounded once, may differ by."""

_NO_FLOW = ("motor-stall", "pump-stopped", "reservoir-empty")
_NO_FLOW_PRIORITY: dict[StopPolicy, Priority] = {
    "never-stop": "HIGH",
    "hold-basal": "MEDIUM",
    "may-stop": "LOW",
}
"""How urgent a pump without flow is: by what withdrawal of its drug does [domain 4.5]."""
_LOW = ("battery-low", "low-reservoir")


@dataclass(frozen=True, slots=True)
class StimulatorReading:
    """What a stimulator says flows now, one amplitude for each area."""

    on: bool
    amplitudes: tuple[MicroAmps, ...]
    alarms: tuple[str, ...]
    age: Milliseconds


@dataclass(frozen=True, slots=True)
class PumpReading:
    """A pump's odometer at its own clock (ms of Unix time), and its count of patient boluses."""

    clock: Milliseconds
    delivered: NanoLitres
    patient_boluses: int
    alarms: tuple[str, ...]
    age: Milliseconds
    bolus_runs: bool = False
    """Whether more than the basal flowed just then: a bolus may run on into what follows."""


def judge_stimulator(
    running: Stimulation | None, reading: StimulatorReading, stale_after: Milliseconds
) -> tuple[Alarm, ...]:
    """Alarms of one reading of a stimulator, highest first (SR-52, SR-54)."""
    alarms = [*_stale(reading.age, stale_after), *alarms_of_device(reading.alarms)]
    if running is None and (reading.on or any(reading.amplitudes)):
        text = "the stimulator's output is on, and nobody started it"
        alarms.append(Alarm("delivery-without-intent", "HIGH", "SR-54", text))
    elif running is not None:
        pairs = zip_longest(reading.amplitudes, running.amplitudes, fillvalue=MicroAmps(0))
        for number, (seen, granted) in enumerate(pairs, start=1):
            if seen > granted:
                text = (
                    f"area {number} shows {write_current(seen)}, granted were "
                    f"{write_current(granted)}"
                )
                alarms.append(Alarm("over-plan", "HIGH", "SR-54", text))
    return by_priority(alarms)


def judge_pump(
    program: PumpProgram,
    boluses: Sequence[NanoLitres],
    first: PumpReading,
    now: PumpReading,
    profile: PumpProfile,
) -> tuple[Alarm, ...]:
    """Alarms of a pump's reading against an earlier one of the same program (SR-52, SR-54).

    ``boluses`` are the volumes granted by the host that may lie between the readings. Only a pump
    that runs its basal throughout is judged for too little.
    """
    stale_after = Milliseconds(3 * profile.poll)
    alarms = [*_stale(now.age, stale_after), *alarms_of_device(now.alarms, program.stop_policy)]
    delivered = now.delivered - first.delivered
    if delivered < 0 or now.clock < first.clock:
        text = "the pump's odometer or clock went backwards: what it says cannot be trusted"
        alarms.append(Alarm("odometer-fell", "HIGH", "SR-54", text))
        return by_priority(alarms)
    basal = scheduled(program, first.clock, now.clock)
    presses = now.patient_boluses - first.patient_boluses
    interval = Milliseconds(now.clock - first.clock)
    button = _of_presses(program, presses + first.bolus_runs, interval)
    most = widened(divide_up(basal, DAY_MS) + button + sum(boluses), profile.accuracy)
    least = basal * (MILLION - profile.accuracy) // (DAY_MS * MILLION)
    if delivered > most + ODOMETER_SLACK:
        text = (
            f"{write_volume(NanoLitres(delivered))} delivered, at most "
            f"{write_volume(NanoLitres(most))} planned, accuracy included"
        )
        alarms.append(Alarm("over-delivery", "HIGH", "SR-54", text))
    lasted = now.clock - first.clock
    if lasted >= UNDER_DELIVERY_AFTER and delivered + ODOMETER_SLACK < least:
        priority = _NO_FLOW_PRIORITY[program.stop_policy]
        text = (
            f"only {write_volume(NanoLitres(delivered))} delivered, at least "
            f"{write_volume(NanoLitres(least))} planned"
        )
        alarms.append(Alarm("under-delivery", priority, "SR-54", text))
    return by_priority(alarms)


def _of_presses(program: PumpProgram, presses: int, interval: Milliseconds) -> int:
    """What granted presses may have delivered in an interval: never more than the program lets."""
    button = program.patient_bolus
    if button is None:
        return 0
    most = divide_up(button.volume * bolus_time(button, interval), button.over)
    return min(button.volume * presses, most)


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
    return days * _of_a_day(program, DAY_MS) + _of_a_day(program, moment)


def _of_a_day(program: PumpProgram, moment: int) -> int:
    """The integral from midnight to a moment of the day, ms; the last step wraps around."""
    starts = [step.start * MINUTE_MS for step in program.basal]
    flows = [step.flow for step in program.basal]
    borders = [0, *starts, DAY_MS]
    along = [flows[-1], *flows]
    return sum(
        flow * (min(moment, end) - begin)
        for flow, begin, end in zip(along, borders[:-1], borders[1:], strict=True)
        if begin < moment and begin < end
    )


def _stale(age: Milliseconds, stale_after: Milliseconds) -> list[Alarm]:
    if age <= stale_after:
        return []
    text = f"the last reading is {age} ms old; it is not shown as live"
    return [Alarm("telemetry-stale", "MEDIUM", "SR-52", text)]


def alarms_of_device(names: Sequence[str], policy: StopPolicy | None = None) -> tuple[Alarm, ...]:
    """A device's own alarms with their priorities; ``policy`` is that of the drug in a pump."""
    return by_priority(
        Alarm(name, _priority_of(name, policy), "SR-55", f"the device reports: {name}")
        for name in names
    )


def _priority_of(name: str, policy: StopPolicy | None) -> Priority:
    """The priority of a device's own alarm; one that nobody knows is MEDIUM."""
    if name in _NO_FLOW and policy is not None:
        return _NO_FLOW_PRIORITY[policy]
    if name == "free-flow":
        return "HIGH"
    return "LOW" if name in _LOW else "MEDIUM"
