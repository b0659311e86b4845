"""The kernel: ``step(state, event) -> (state', effects)``, pure, in integers.

Journal entries are events; the state at start is their fold. An `Ask` is the one event that is
no journal entry: its answer is (an `Intended` or a `Rejected`), and what was decided is recorded
as decided, so that a later version of the rules cannot forget a dose by judging it anew.
"""

from dataclasses import dataclass
from typing import assert_never

from device_profiles.diagnostics import Finding
from device_profiles.quantities import Milliseconds, NanoLitres
from safety import fold
from safety.alarms import Alarm
from safety.commands import (
    Ask,
    ChangeAmplitude,
    Command,
    GiveBolus,
    MeasureImpedance,
    Prime,
    ProgramPump,
    ProgramStimulator,
    StartStimulation,
)
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
    Metered,
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
from safety.judgement import continues, what_stands
from safety.limits import PumpLimits, pump_limits
from safety.outputs import DrugInPump, Output
from safety.rules_bridge import stray_volume
from safety.rules_line import (
    bridge_end,
    flush_end,
)
from safety.rules_prime import pushed_out
from safety.state import (
    Impedances,
    State,
    delivery_slack,
)
from safety.state_with import state_with


@dataclass(frozen=True, slots=True)
class Record:
    """Write this event; ``durable``: before anything else happens."""

    event: Event
    durable: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """The intent is recorded: its Outputs may be sent, each once, in order."""

    intent: Intended


@dataclass(frozen=True, slots=True)
class Continue:
    """This intent may be sent although no journal can hold it: it adds nothing to what flows."""

    intent: Intended


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing may be sent; the findings say why."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """Tell people."""

    alarm: Alarm


Effect = Record | Grant | Continue | Refuse | Sound


def step(state: State, event: Ask | Event) -> tuple[State, tuple[Effect, ...]]:
    """The state after an event, and what the gate has to do about it."""
    match event:
        case Ask():
            return state, _answer(state, event)
        case Opened() | Checkpointed() | Metered():
            return state, ()
        case Connected():
            return fold.connected(state, event), ()
        case Found():
            return fold.found(state, event), ()
        case Intended():
            return fold.intended(state, event), (Grant(event),)
        case Rejected():
            return state, (Refuse(event.findings),)
        case Settled():
            return fold.settled(state, event), ()
        case Counted():
            return fold.device_counted(state, event), ()
        case Unverified():
            return fold.unverified(state, event), ()
        case Measured():
            return fold.measured(state, Impedances(event.ohms, event.at.fast)), ()
        case Lowered():
            return fold.lowered(state, event), ()
        case Stopped():
            return fold.stopped(state, event), ()
        case Raised():
            return fold.raised(state, event), (Sound(event.alarm),)
        case Cleared():
            return fold.cleared(state, event), ()
        case Paused():
            return fold.paused(state, event), ()
        case Looked():
            return fold.looked(state, event), ()
        case MriEntered():
            return state_with(state, in_mri=True, mri=event, epoch=state.epoch + 1), ()
        case MriLeft():
            left = "the device was in a magnetic field"
            state = state_with(state, in_mri=False, mri=None, from_zero=left)
            return state_with(state, epoch=state.epoch + 1), ()
        case Latched():
            return fold.latched(state, event), ()
        case _:
            assert_never(event)


def _answer(state: State, ask: Ask) -> tuple[Effect, ...]:
    objections, passed = what_stands(state, ask)
    if objections:
        return (Record(_rejected(ask, objections), durable=False),)
    intent = _intent(state, ask, passed)
    if state.latched is not None:
        return (Continue(intent),)
    return (Record(intent, durable=True),)


def _rejected(ask: Ask, objections: tuple[Finding, ...]) -> Rejected:
    command = ask.command
    return Rejected(
        ask.at,
        ask.id,
        command.kind,
        objections,
        _asked_for(command),
        ask.patient,
        _limits_of(command),
        ask.override,
    )


def _asked_for(command: Command) -> tuple[Output, ...]:
    match command:
        case ProgramStimulator():
            return command.programs
        case StartStimulation() | ChangeAmplitude():
            return (command.stimulation,)
        case MeasureImpedance():
            return (command.pulses,)
        case ProgramPump():
            return (command.program,)
        case GiveBolus():
            return (command.bolus,)
        case Prime():
            return (command.prime,)
        case _:
            assert_never(command)


def _limits_of(command: Command) -> PumpLimits | None:
    if not isinstance(command, ProgramPump):
        return None
    limits, _ = pump_limits(command.therapy, command.formulary)
    return limits


def _intent(state: State, ask: Ask, passed: tuple[str, ...]) -> Intended:
    command = ask.command
    drugs: tuple[DrugInPump, ...] = ()
    going_on = continues(state, command, ask.at)
    # To go on asks no question, so it cannot make the pump another patient's either.
    patient = state.patient if going_on and state.patient is not None else ask.patient
    stray = NanoLitres(0)
    latest_end: Milliseconds | None = None
    last_begin = ask.at.slow + delivery_slack(state)
    match command:
        case ProgramPump():
            # A pump that lost its program does not know what it still had to move.
            knows = command.evidence if state.pump_program is not None else None
            left = knows.line_left if knows else None
            stray = stray_volume(command.program, command.profile)
            latest_end = bridge_end(
                command.program,
                command.profile,
                Milliseconds(last_begin),
                left if going_on else None,
            )
            cut_short = any(move.what == "bridge" for move in state.line_moves)
            if cut_short and command.program.bridge is None:
                begun = Milliseconds(last_begin)
                latest_end = flush_end(command.program, command.profile, begun)
        case GiveBolus():
            assert state.pump_program is not None, "a bolus without a program is never granted"
            drugs = state.pump_program.drugs
            latest_end = Milliseconds(last_begin + command.bolus.over)
        case Prime():
            assert state.pump_program is not None, "a prime without a program is never granted"
            drugs = state.pump_program.drugs
            stray = pushed_out(state.pump_program, command)
            latest_end = Milliseconds(last_begin + command.prime.over)
    return Intended(
        ask.at,
        ask.id,
        command.kind,
        _asked_for(command),
        patient,
        _limits_of(command),
        drugs,
        stray,
        latest_end,
        ask.override,
        passed,
        command.therapy.timezone if isinstance(command, ProgramPump) else None,
    )
