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
    ChangeAmplitude,
    Command,
    GiveBolus,
    Instant,
    MeasureImpedance,
    Override,
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
from safety.limits import PumpLimits, pump_limits
from safety.outputs import DrugInPump, Output
from safety.review import review_infusion, review_stimulation
from safety.rules_bridge import stray_volume
from safety.rules_change import judge_change, judge_kept
from safety.rules_line import (
    bridge_end,
    flush_end,
    judge_bridge,
    judge_line_is_still,
    keeps_the_line,
)
from safety.rules_open import (
    judge_approval,
    judge_attention,
    judge_cycle,
    judge_fresh,
    judge_id,
    judge_latch,
    judge_mri,
    judge_override,
    judge_patient,
    judge_unsettled,
    judge_waivers,
    passed_rules,
    softened,
)
from safety.rules_prime import judge_line_is_empty, judge_prime, pushed_out
from safety.rules_running import (
    judge_amplitude_change,
    judge_impedance_pulses,
    judge_program_change,
    judge_start,
    judge_start_impedance,
)
from safety.rules_windows import (
    is_no_more_than,
    judge_bolus_in_state,
    judge_held,
    judge_lockout,
    judge_pump_windows,
    judge_unknown_past,
)
from safety.state import (
    Impedances,
    State,
    delivery_slack,
    impedance_at,
    in_therapy_time,
    programs_in_window,
    reservations_at,
    windows_full_until,
)
from safety.state_with import state_with


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for therapy, to be judged at an instant.

    ``seen`` is when the device last told its state, on the fast clock; ``None``: never. ``epoch``
    is that of the state in which a person approved it; ``None`` where nothing was approved.
    """

    at: Instant
    id: int
    command: Command
    patient: str
    override: Override | None = None
    seen: Milliseconds | None = None
    epoch: int | None = None


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


def continues(state: State, command: Command, now: Instant) -> bool:
    """Whether a command only keeps, applies again or resumes what the pump last delivered.

    Nowhere more than the last verified program (or, where the past is lost, than the program that
    the pump was found with), and nothing new in the line. No guard against too much may refuse it
    (SR-62).
    """
    return (
        isinstance(command, ProgramPump)
        and state.last_verified is not None
        and keeps_the_line(command, state.last_verified, state.line_moves, now)
        and is_no_more_than(command.program, state.last_verified)
    )


def judge(state: State, ask: Ask) -> tuple[Finding, ...]:
    """Every objection to a request, hard and soft, without deciding."""
    command = ask.command
    if continues(state, command, ask.at):
        assert isinstance(command, ProgramPump)
        kept = judge_kept(state.last_verified, command)
        return _unique(softened([*_review(state, command, first_program=False), *kept]))
    findings = [
        *judge_latch(state.latched),
        *judge_unsettled(state.unsettled),
        *judge_mri(in_mri=state.in_mri),
        *judge_cycle(state.alerts, command, ask.at),
    ]
    if (stale_after := _stale_after(command)) is not None:
        findings += judge_fresh(ask.seen, ask.at, in_therapy_time(state, stale_after))
    match command:
        case ProgramPump():
            first = any(drug.name not in state.known_drugs for drug in command.program.drugs)
            findings += _review(state, command, first_program=first)
            findings += judge_patient(state.patient, ask.patient)
            findings += _judge_pump_change(state, command, ask.at)
        case GiveBolus() | Prime():
            findings += _judge_bolus(state, command, ask.at)
        case _:
            findings += _judge_stimulator(state, command, ask.at)
    return _unique([one for one in findings if not _is_waived(state, command, one, ask.at)])


def _stale_after(command: Command) -> Milliseconds | None:
    """How old the device's state may be, in link time; ``None`` where it does not matter."""
    match command:
        case GiveBolus() | Prime():
            return Milliseconds(3 * command.profile.poll)
        case StartStimulation() | ChangeAmplitude():
            return command.profile.lease
        case _:
            return None


def _is_waived(state: State, command: Command, finding: Finding, now: Instant) -> bool:
    """Whether a reason let this pass already, when the program that is now started was applied."""
    return (
        isinstance(command, StartStimulation | ChangeAmplitude)
        and finding.severity == "soft"
        and any(one.rule == finding.rule and now.slow <= one.until for one in state.waivers)
    )


def _unique(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))


def _review(state: State, command: ProgramPump, *, first_program: bool) -> list[Finding]:
    limits, _ = pump_limits(command.therapy, command.formulary)
    return list(
        review_infusion(
            command.program,
            command.therapy,
            limits,
            command.profile,
            command.formulary,
            first_program=first_program,
        )
    )


def _judge_pump_change(state: State, command: ProgramPump, now: Instant) -> list[Finding]:
    limits, _ = pump_limits(command.therapy, command.formulary)
    known = programs_in_window(state, now)
    held = reservations_at(state, now)
    in_line = state.pump_program or state.last_verified
    rises = state.pump_program is not None and not is_no_more_than(
        command.program, state.pump_program
    )
    return [
        *(judge_unknown_past(windows_full_until(state, now), now, "basal") if rises else ()),
        *judge_bridge(in_line, command, state.line_moves, now),
        *judge_change(in_line, known, command),
        *judge_pump_windows(state.pump_program, known, command.program, limits, held, now),
    ]


def _judge_bolus(state: State, command: GiveBolus | Prime, now: Instant) -> list[Finding]:
    findings = [
        *judge_held(state.held),
        *judge_attention(state.attention),
        *judge_line_is_still(state.line_moves, now),
        *judge_waivers(state.waivers, now),
    ]
    held = reservations_at(state, now)
    if isinstance(command, Prime):
        findings += judge_unknown_past(windows_full_until(state, now), now, "prime")
        findings += judge_prime(state.pump_program, state.pump_limits, state.primed_fills, command)
        if state.pump_program is not None and state.pump_limits is not None:
            known = programs_in_window(state, now)
            findings += judge_line_is_empty(
                state.pump_program, known, state.pump_limits, held, command, now
            )
        return findings
    return [
        *findings,
        *judge_unknown_past(windows_full_until(state, now), now, "bolus"),
        *judge_lockout(held, command.bolus, command.profile, delivery_slack(state), now),
        *judge_bolus_in_state(
            state.pump_program,
            programs_in_window(state, now),
            state.pump_limits,
            held,
            command.bolus,
            command.profile,
            now,
        ),
    ]


def _judge_stimulator(
    state: State,
    command: ProgramStimulator | StartStimulation | ChangeAmplitude | MeasureImpedance,
    now: Instant,
) -> list[Finding]:
    match command:
        case ProgramStimulator():
            return [
                *review_stimulation(command.programs, command.profile),
                *judge_program_change(state.programs, state.running, command.programs),
            ]
        case StartStimulation():
            program = command.stimulation.as_program()
            measured = impedance_at(state, now)
            return [
                *judge_waivers(state.waivers, now),
                *review_stimulation((program,), command.profile),
                *judge_start(state.programs, state.running, state.from_zero, command.stimulation),
                *judge_start_impedance(program, measured, command.profile),
            ]
        case ChangeAmplitude():
            return [
                *judge_waivers(state.waivers, now),
                *review_stimulation((command.stimulation.as_program(),), command.profile),
                *judge_amplitude_change(
                    state.running,
                    command.stimulation,
                    state.impedances.ohms if state.impedances else None,
                    command.profile,
                ),
            ]
        case MeasureImpedance():
            return judge_impedance_pulses(state.running, command.pulses, command.profile)
        case _:
            assert_never(command)


def _answer(state: State, ask: Ask) -> tuple[Effect, ...]:
    findings = judge(state, ask)
    # Going on, or less, is never put off by how often it was asked for (SR-62).
    passed = () if continues(state, ask.command, ask.at) else state.passed
    objections = (
        *judge_id(state.ids, ask.id),
        *judge_approval(ask.epoch, state.epoch),
        *judge_override(findings, ask.override, passed, ask.at),
    )
    if objections:
        return (Record(_rejected(ask, objections), durable=False),)
    intent = _intent(state, ask, passed_rules(findings))
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
                left if continues(state, command, ask.at) else None,
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
        ask.patient,
        _limits_of(command),
        drugs,
        stray,
        latest_end,
        ask.override,
        passed,
        command.therapy.timezone if isinstance(command, ProgramPump) else None,
    )
