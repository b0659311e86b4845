"""What a device has to show before it counts as out of a magnetic field (SR-34).

Pure: the floor above gathers the facts, a person reads the findings. Hard is what only the device
or a person at it can mend; soft is what would lock a device in for good, since no host can mend it.
"""

from dataclasses import dataclass, fields

from device_profiles.diagnostics import Finding, Severity
from device_profiles.notation import write_duration
from device_profiles.profile import MriProcedure
from device_profiles.quantities import MILLION, Milliseconds, NanoLitres, PartsPerMillion
from safety.events import BeforeField, DeviceIdentity

CLOCK_TOLERANCE = Milliseconds(60_000)
"""How far a device's clock may be off: a minute, the step of a schedule; own decision."""
OF_THE_FIELD = ("motor-stall", "mri-mode", "low-battery-reset")
"""Alarms of what a field does to a device [domain 2.7, 1.6, 2.4]; others are told, and hold nobody
up: what ends a magnet's alarm, for one, is the next start."""
HALTED = "pump-stopped"


@dataclass(frozen=True, slots=True)
class AfterField:
    """What the device shows now; ``verified``: it holds what this host has verified.

    ``clock_ahead`` is its clock less the host's, ``None`` where its time does not run as ours.
    """

    identity: DeviceIdentity
    programs: int
    verified: bool
    alarms: tuple[str, ...]
    clock_ahead: Milliseconds | None


def judge_leave(
    before: BeforeField | None, after: AfterField, procedure: MriProcedure
) -> list[Finding]:
    """SR-34, SR-25, SR-22, SR-59: whether a device is itself again after a magnetic field.

    Without ``before`` (another host's journal) it is judged by itself alone. Protects from therapy
    on a device that the field still holds, has exchanged or upset. Harm: boluses and changes stay
    denied, a pump's verified basal never is. Longest denial: until the device has recovered, which
    takes a rotor 2 to 24 h. Way out: wait, apply a pump's program again, a reason for what no host
    can mend; at last another journal (--journal PATH), which knows of no field.
    """
    return [
        *_judge_identity(before, after),
        *_judge_alarms(before, after),
        *_judge_programs(before, after, procedure),
        *_judge_clock(after),
    ]


def _finding(rule: str, path: str, message: str, hint: str, severity: Severity = "hard") -> Finding:
    return Finding(rule, severity, path, message, hint=hint)


def _judge_identity(before: BeforeField | None, after: AfterField) -> list[Finding]:
    if before is None or before.identity == after.identity:
        return []
    old, new = before.identity, after.identity
    parted = ", ".join(
        f"{one.name} {getattr(new, one.name)} instead of {getattr(old, one.name)}"
        for one in fields(old)
        if getattr(old, one.name) != getattr(new, one.name)
    )
    text = f"this is not the device that went into the field: {parted}"
    hint = "connect the right one; or begin another journal for this one with --journal PATH"
    return [_finding("SR-25", "device", text, hint)]


def _judge_alarms(before: BeforeField | None, after: AfterField) -> list[Finding]:
    hints = {
        "motor-stall": "a rotor may take 2 to 24 h to turn again: watch the person for withdrawal, "
        "and ask again",
        "mri-mode": "end the mode by the device's own procedure; no host can",
    }
    again = "apply the therapy file again: what the pump last delivered is admitted"
    was_halted = before is not None and before.halted
    blocking = [*OF_THE_FIELD, *(() if was_halted else (HALTED,))]
    return [
        _finding("SR-34", "device", f"the device still reports {name}", hints.get(name, again))
        for name in blocking
        if name in after.alarms
    ]


def _judge_programs(
    before: BeforeField | None, after: AfterField, procedure: MriProcedure
) -> list[Finding]:
    if before is None:
        return []  # another host's program: nothing but what it was found with may go on anyway
    if after.verified and after.programs >= before.programs:
        return []
    text = "what was read back is not the program that this host has verified"
    if procedure == "rotor-stalls":
        hint = "apply the therapy file again: what the pump last delivered is admitted"
        return [_finding("SR-22", "programs", text, hint)]
    hint = "nothing starts before a file is applied; --override SR-22 --reason TEXT"
    return [_finding("SR-22", "programs", text, hint, "soft")]


def _judge_clock(after: AfterField) -> list[Finding]:
    ahead = after.clock_ahead
    if ahead is None or abs(ahead) <= CLOCK_TOLERANCE:
        return []
    way = "ahead" if ahead > 0 else "behind"
    text = f"the device's clock is {write_duration(Milliseconds(abs(ahead)))} {way}"
    hint = (
        "no host can set it: mind that a schedule follows it, then --override SR-59 --reason TEXT"
    )
    return [_finding("SR-59", "device.clock", text, hint, "soft")]


def missed(scheduled: int, delivered: NanoLitres, accuracy: PartsPerMillion) -> NanoLitres:
    """How much less than the least of a schedule (nL/day x ms) has flowed, nL, rounded down."""
    least = scheduled * (MILLION - accuracy) // (86_400_000 * MILLION)
    return NanoLitres(max(0, least - delivered))
