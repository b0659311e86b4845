"""A journal as a story: one sentence for each entry."""

from datetime import UTC, datetime
from typing import Any

from device_profiles.notation import write_current, write_duration, write_mass, write_volume
from device_profiles.quantities import mass_of
from safety.events import (
    Checkpointed,
    Cleared,
    Connected,
    Counted,
    Event,
    Found,
    Intended,
    Latched,
    Looked,
    Lowered,
    Measured,
    MriEntered,
    MriLeft,
    Opened,
    Paused,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.journal import Contents
from safety.outputs import BolusOutput, Stimulation, StimulatorProgram


def event_as_json(number: int, event: Event) -> dict[str, Any]:
    """An entry for programs: its number, time, kind, id where it has one, and the sentence."""
    return {
        "entry": number,
        "wall_ms": event.at.wall,
        "kind": event.kind,
        "id": getattr(event, "id", None),
        "outcome": getattr(event, "outcome", None),
        "text": sentence(event),
    }


def story(contents: Contents) -> list[str]:
    """All entries, one line each."""
    return [
        f"{number:5}  {_time(event)}  {sentence(event)}"
        for number, event in enumerate(contents.events, start=1)
    ]


def sentence(event: Event) -> str:
    """What happened."""
    match event:
        case Opened():
            what = "simulated device" if event.simulated else "device"
            return f"journal of the {what} {event.serial} opened"
        case Connected():
            identity = event.identity
            speed = f", running {identity.speed} times as fast" if identity.speed != 1 else ""
            return (
                f"connected to {identity.serial} ({identity.model}, firmware "
                f"{identity.firmware}, start number {event.boot}{speed})"
            )
        case Intended():
            return f"{event.id:#x} intended: {_intent(event)}{_override(event)}"
        case Rejected():
            reasons = "; ".join(f"{f.rule}: {f.message}" for f in event.findings)
            return f"{event.id:#x} refused, nothing sent: {event.command}: {reasons}"
        case Settled():
            return f"{event.id:#x} {event.outcome}: {event.evidence}"
        case Unverified():
            whose = f"{event.id:#x} " if event.id else ""
            return f"{whose}NOT VERIFIED: {event.evidence}"
        case Measured():
            return f"{event.id:#x} measured {min(event.ohms)} to {max(event.ohms)} ohm"
        case Lowered():
            amplitudes = ", ".join(write_current(value) for value in event.amplitudes)
            return f"amplitudes lowered to {amplitudes}"
        case Counted():
            return f"{event.id:#x} the device counts {write_volume(event.volume)} ({event.state})"
        case Found():
            return "the pump was found with a program that was not verified here"
        case Cleared():
            return f"alarm {event.code} is over"
        case Paused():
            return f"{event.user} paused the alarms"
        case Looked():
            return f"{event.user} looked at the device: {event.text}"
        case MriEntered():
            return f"{event.user} prepared the device for a magnetic field: {event.restore}"
        case MriLeft():
            return f"{event.user} took the device out of the magnetic field: {event.evidence}"
        case Checkpointed():
            return "checkpoint: everything before this entry is summed up"
        case Stopped():
            seen = "safe state confirmed" if event.confirmed else "safe state NOT confirmed"
            return f"stop ({event.depth}): {seen}"
        case Raised():
            alarm = event.alarm
            return f"ALARM {alarm.priority} {alarm.code} ({alarm.requirement}): {alarm.text}"
        case Latched():
            return f"LATCHED, no bolus and no increase: {event.reason}"


def _intent(event: Intended) -> str:
    if event.command == "program-stimulator":
        names = ", ".join(o.name for o in event.outputs if isinstance(o, StimulatorProgram))
        return f"program the stimulator for {event.patient}: {names}"
    if event.command == "program-pump":
        return f"program the pump for {event.patient}"
    (output,) = event.outputs
    if isinstance(output, BolusOutput):
        doses = ", ".join(
            f"{write_mass(mass_of(output.volume, drug.concentration))} {drug.name}"
            for drug in event.drugs
        )
        return f"bolus of {doses} over {write_duration(output.over)}"
    if isinstance(output, Stimulation):
        amplitudes = ", ".join(write_current(value) for value in output.amplitudes)
        verb = "start" if event.command == "start-stimulation" else "change amplitude of"
        return f"{verb} {output.program.name!r} at {amplitudes}"
    return "measure the impedances"


def _override(event: Intended) -> str:
    if event.override is None:
        return ""
    rules = ", ".join(event.override.rules)
    return f" [{rules} overridden by {event.override.user}: {event.override.reason}]"


def _time(event: Event) -> str:
    moment = datetime.fromtimestamp(event.at.wall / 1_000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
