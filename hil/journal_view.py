"""A journal as a story: one sentence for each entry, its doses in clinical units."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from device_profiles.notation import (
    write_concentration,
    write_current,
    write_duration,
    write_mass,
    write_mass_rate,
    write_volume,
)
from device_profiles.quantities import DAY_MS, FemtogramsPerDay, Milliseconds, NanoLitres, mass_of
from safety.commands import CommandKind, Override
from safety.dose import basal_mass
from safety.events import (
    Checkpointed,
    Cleared,
    Connected,
    Counted,
    CountState,
    Event,
    Found,
    Intended,
    Latched,
    Looked,
    Lowered,
    Measured,
    Metered,
    MriEntered,
    MriLeft,
    Opened,
    Outcome,
    Paused,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.kernel import step
from safety.outputs import (
    BolusOutput,
    DrugInPump,
    ImpedancePulses,
    Output,
    PrimeOutput,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)
from safety.state import State

WAY_OUT: dict[Outcome, str] = {
    "UNCERTAIN": "it counts as delivered and nothing more is sent until the device has been asked: "
    "connect again, for instance with `neuraxis status`",
}
"""What to do about an outcome, where something is to be done."""
COUNTED: dict[CountState, str] = {
    "running": "so far",
    "executed": "all of it",
    "interrupted": "interrupted for good; what is missing takes a new request",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of a journal, told: ``before`` is what the judge knew until then."""

    number: int
    event: Event
    text: str
    before: State

    @property
    def id(self) -> int | None:
        """The id of the command that it is about; ``None`` if it is about none."""
        return getattr(self.event, "id", None) or None

    @property
    def line(self) -> str:
        """The entry as a line of the story."""
        return f"{self.number:5}  {write_time(self.event.at.wall)}  {self.text}"

    def as_json(self) -> dict[str, Any]:
        """The entry for programs."""
        return {
            "entry": self.number,
            "wall_ms": self.event.at.wall,
            "kind": self.event.kind,
            "id": self.id,
            "outcome": getattr(self.event, "outcome", None),
            "text": self.text,
        }


def story(events: Sequence[Event]) -> Iterator[Told]:
    """All entries in their order."""
    state = State()
    asked: dict[int, str] = {}
    for number, event in enumerate(events, start=1):
        if isinstance(event, Intended):
            asked[event.id] = what_was_asked(event, state)
        yield Told(number, event, sentence(event, state, asked.get(getattr(event, "id", 0))), state)
        state, _ = step(state, event)


def sentence(event: Event, before: State, asked: str | None) -> str:
    """What happened; ``asked`` is what its id stands for, in words."""
    about = f" ({asked})" if asked else ""
    match event:
        case Opened():
            what = "simulated device" if event.simulated else "device"
            return f"journal of the {what} {event.serial} opened"
        case Connected():
            identity = event.identity
            speed = f", running {identity.speed} times as fast" if identity.speed != 1 else ""
            flows = "it delivers" if event.delivering else "nothing flows"
            line = "" if event.sealed else " over an UNSEALED line"
            return (
                f"connected to {identity.serial}{line} ({identity.model}, firmware "
                f"{identity.firmware}, start number {event.boot}{speed}); {flows}"
            )
        case Found():
            return (
                "the pump was found with a program that was not verified here, and goes on with "
                f"it: {_program(event.program)}"
            )
        case Intended():
            return f"{event.id:#x} intended: {asked}{_override(event.override, event.passed)}"
        case Rejected():
            return _rejected(event, before)
        case Settled():
            way_out = WAY_OUT.get(event.outcome)
            rest = f"; {way_out}" if way_out else ""
            return f"{event.id:#x} {event.outcome}: {event.evidence or 'no evidence'}{about}{rest}"
        case Unverified():
            whose = f"{event.id:#x} " if event.id else ""
            return f"{whose}NOT VERIFIED: {event.evidence}; apply a file before anything else"
        case Measured():
            return f"{event.id:#x} measured {min(event.ohms)} to {max(event.ohms)} ohm"
        case Lowered():
            amplitudes = ", ".join(write_current(value) for value in event.amplitudes)
            return f"amplitudes lowered to {amplitudes}"
        case Counted():
            return (
                f"{event.id:#x} the device counts {_amount(event.volume, _drugs_of(event, before))}"
                f"{about}: {COUNTED[event.state]}"
            )
        case Cleared():
            return f"alarm {event.code} is over"
        case Paused():
            return f"{event.user} paused the alarms until {write_time(event.until)}"
        case Looked():
            return f"{event.user} looked at the device: {event.text}"
        case Metered():
            missing = f", {write_volume(event.missing)} missing" if event.missing else ""
            return (
                f"meters: {write_volume(event.delivered)} delivered, "
                f"{write_volume(event.reservoir)} left{missing}"
            )
        case MriEntered():
            return f"{event.user} prepared the device for a magnetic field: {event.restore}"
        case MriLeft():
            return f"{event.user} took the device out of the magnetic field: {event.evidence}"
        case Checkpointed():
            return f"checkpoint: everything before is summed up ({event.digest.hex()[:8]}…)"
        case Stopped():
            seen = "safe state confirmed" if event.confirmed else "safe state NOT confirmed"
            return f"stop ({event.depth}): {seen}"
        case Raised():
            alarm = event.alarm
            return f"ALARM {alarm.priority} {alarm.code} ({alarm.requirement}): {alarm.text}"
        case Latched():
            return f"LATCHED, no bolus and no increase: {event.reason}"


def _rejected(event: Rejected, before: State) -> str:
    reasons = "; ".join(f"{f.rule}: {f.message}" for f in event.findings)
    hints = dict.fromkeys(f.hint for f in event.findings if f.hint)
    way_out = f". Way out: {'; '.join(hints)}" if hints else ""
    asked = what_was_asked(event, before)
    override = _override(event.override, ())
    return f"{event.id:#x} refused, nothing sent: {asked}{override}: {reasons}{way_out}"


# --- what was asked for, in clinical units -------------------------------------------------------


def what_was_asked(event: Intended | Rejected, before: State) -> str:
    """The request in a person's words."""
    drugs = event.drugs if isinstance(event, Intended) else _drugs_in(before)
    whom = f" for {event.patient}" if event.patient else ""
    return f"{_asked(event.command, event.outputs, drugs, whom)}"


def _asked(
    command: CommandKind, outputs: tuple[Output, ...], drugs: tuple[DrugInPump, ...], whom: str
) -> str:
    if command == "program-stimulator":
        names = ", ".join(o.name for o in outputs if isinstance(o, StimulatorProgram))
        return f"program the stimulator{whom}: {names}"
    match outputs:
        case (PumpProgram() as program,):
            return f"program the pump{whom}: {_program(program)}"
        case (BolusOutput() as bolus,):
            doses = _amount(bolus.volume, drugs)
            return f"bolus of {doses} over {write_duration(bolus.over)}{whom}"
        case (PrimeOutput() as prime,):
            volume, over = write_volume(prime.volume), write_duration(prime.over)
            return f"prime the line: {volume} over {over}{whom}"
        case (Stimulation() as one,):
            amplitudes = ", ".join(write_current(value) for value in one.amplitudes)
            verb = "start" if command == "start-stimulation" else "change amplitude of"
            return f"{verb} {one.program.name!r} at {amplitudes}{whom}"
        case (ImpedancePulses(),):
            return f"measure the impedances{whom}"
        case _:
            return f"{command}{whom}"


def _program(program: PumpProgram) -> str:
    """A pump's program in one line: each drug with the mass of its day."""
    return ", ".join(
        f"{drug.name} {write_concentration(drug.concentration)} at "
        + write_mass_rate(
            FemtogramsPerDay(basal_mass(program, drug.concentration, DAY_MS))
            if program.basal
            else FemtogramsPerDay(0)
        )
        for drug in program.drugs
    )


def _amount(volume: NanoLitres, drugs: tuple[DrugInPump, ...]) -> str:
    """A volume as the drugs in it; as itself where they are not known."""
    doses = (f"{write_mass(mass_of(volume, drug.concentration))} {drug.name}" for drug in drugs)
    return ", ".join(doses) or write_volume(volume)


def _drugs_of(event: Counted, before: State) -> tuple[DrugInPump, ...]:
    return next((one.drugs for one in before.reservations if one.id == event.id), ())


def _drugs_in(state: State) -> tuple[DrugInPump, ...]:
    return state.pump_program.drugs if state.pump_program else ()


def _override(override: Override | None, passed: tuple[str, ...]) -> str:
    if override is None:
        return ""
    rules = ", ".join(passed or override.rules) or "nothing"
    users = " and ".join(filter(None, (override.user, override.second)))
    return f" [{rules} overridden by {users}: {override.reason}]"


def write_time(wall: Milliseconds) -> str:
    """A wall time as people read it, UTC."""
    try:
        moment = datetime.fromtimestamp(wall / 1_000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{wall} ms"
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
