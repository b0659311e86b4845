"""The kernel: ``step(state, event) -> (state', effects)``, pure, in integers.

Journal entries are events; the state at start is their fold. An `Ask` is the one event that is
no journal entry: its answer is (an `Intended` or a `Rejected`), and what was decided is recorded
as decided, so that a later version of the rules cannot forget a dose by judging it anew.
"""

from dataclasses import dataclass, replace

from device_profiles.diagnostics import Finding
from device_profiles.quantities import DAY_MS, Milliseconds, Ohms, mass_of
from safety.alarms import Alarm
from safety.commands import (
    ChangeAmplitude,
    Command,
    GiveBolus,
    Instant,
    MeasureImpedance,
    Override,
    ProgramPump,
    ProgramStimulator,
    StartStimulation,
)
from safety.events import (
    Connected,
    DeviceIdentity,
    DrugMass,
    Event,
    Intended,
    Latched,
    Lowered,
    Measured,
    Opened,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.limits import PumpLimits, pump_limits
from safety.outputs import Output, PumpProgram, Stimulation, StimulatorProgram
from safety.review import review_infusion, review_stimulation
from safety.rules_state import (
    Reservation,
    judge_amplitude_change,
    judge_bolus_in_state,
    judge_held,
    judge_impedance_pulses,
    judge_latch,
    judge_override,
    judge_program_change,
    judge_pump_change,
    judge_start,
    judge_start_impedance,
    judge_unknown_past,
    judge_unsettled,
)

DELIVERY_SLACK = Milliseconds(5_000)
"""How long a judged command may wait on the way to its first byte; link time, never scaled."""


BEGINNING = Milliseconds(0)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for therapy, to be judged at an instant."""

    at: Instant
    id: int
    command: Command
    patient: str
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class Impedances:
    """The last measurement and when it was taken, on the fast clock."""

    ohms: tuple[Ohms, ...]
    taken: Milliseconds


@dataclass(frozen=True, slots=True)
class PastProgram:
    """A pump's program that was replaced, and when that had surely happened (slow time)."""

    program: PumpProgram
    replaced: Milliseconds


@dataclass(frozen=True, slots=True)
class State:
    """Everything the judge knows about one device; the fold of its journal.

    ``unsettled`` are intents whose outcome is not known: they count in full and block further
    therapy until the device has been asked. ``epoch`` counts the events that may change what
    the device shows; a plan made in another epoch is void.
    """

    epoch: int = 0
    latched: str | None = None
    identity: DeviceIdentity | None = None
    boot: int | None = None
    patient: str | None = None
    programs: tuple[StimulatorProgram, ...] = ()
    running: Stimulation | None = None
    held: bool = False
    """A pump was stopped: no bolus until a program is applied again."""
    impedances: Impedances | None = None
    pump_program: PumpProgram | None = None
    pump_limits: PumpLimits | None = None
    timezone: str | None = None
    past_programs: tuple[PastProgram, ...] = ()
    unknown_program: bool = False
    """The device was found with a program that nobody verified, and none has been applied since."""
    full_until: Milliseconds = BEGINNING
    """Slow time until which every window counts as full: nobody knows what flowed before."""
    known_drugs: tuple[str, ...] = ()
    """Drugs that this pump has delivered under a verified program: their start is over."""
    unsettled: tuple[Intended, ...] = ()
    reservations: tuple[Reservation, ...] = ()


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
class Refuse:
    """Nothing may be sent; the findings say why."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """Tell people."""

    alarm: Alarm


Effect = Record | Grant | Refuse | Sound


def step(state: State, event: Ask | Event) -> tuple[State, tuple[Effect, ...]]:
    """The state after an event, and what the gate has to do about it."""
    match event:
        case Ask():
            return state, _answer(state, event)
        case Opened():
            return state, ()
        case Connected():
            return _connected(state, event), ()
        case Intended():
            return _intended(state, event), (Grant(event),)
        case Rejected():
            return state, (Refuse(event.findings),)
        case Settled():
            return _settled(state, event), ()
        case Unverified():
            return _unverified(state, event), ()
        case Measured():
            return replace(state, impedances=Impedances(event.ohms, event.at.fast)), ()
        case Lowered():
            return _lowered(state, event), ()
        case Stopped():
            running = None if event.confirmed else state.running
            return replace(state, running=running, held=True, epoch=state.epoch + 1), ()
        case Raised():
            return state, (Sound(event.alarm),)
        case Latched():
            return replace(state, latched=event.reason, epoch=state.epoch + 1), ()


def delivery_slack(state: State) -> Milliseconds:
    """`DELIVERY_SLACK` in the device's own time, which a simulator may run faster."""
    return Milliseconds(DELIVERY_SLACK * (state.identity.speed if state.identity else 1))


def judge(state: State, ask: Ask) -> tuple[Finding, ...]:
    """Every objection to a request, hard and soft, without deciding."""
    command = ask.command
    findings = [*judge_latch(state.latched), *judge_unsettled(state.unsettled)]
    match command:
        case ProgramStimulator():
            findings += review_stimulation(command.programs, command.profile)
            findings += judge_program_change(state.programs, state.running, command.programs)
        case StartStimulation():
            program = command.stimulation.as_program()
            findings += review_stimulation((program,), command.profile)
            findings += judge_start(state.programs, state.running, command.stimulation)
            findings += judge_start_impedance(
                program, _impedance_at(state, ask.at), command.profile
            )
        case ChangeAmplitude():
            program = command.stimulation.as_program()
            findings += review_stimulation((program,), command.profile)
            findings += judge_amplitude_change(
                state.running,
                command.stimulation,
                state.impedances.ohms if state.impedances else None,
                command.profile,
            )
        case MeasureImpedance():
            findings += judge_impedance_pulses(state.running, command.pulses, command.profile)
        case ProgramPump():
            limits, _ = pump_limits(command.therapy, command.formulary)
            findings += review_infusion(
                command.program,
                command.therapy,
                limits,
                command.profile,
                command.formulary,
                first_program=any(
                    drug.name not in state.known_drugs for drug in command.program.drugs
                ),
            )
            findings += judge_pump_change(
                _programs_in_window(state, ask.at),
                command.program,
                limits,
                _held(state, ask.at),
                ask.at,
            )
        case GiveBolus():
            findings += judge_held(state.held)
            findings += judge_unknown_past(state.full_until, ask.at)
            findings += judge_bolus_in_state(
                _programs_in_window(state, ask.at) if state.pump_program else (),
                state.pump_limits,
                _held(state, ask.at),
                command.bolus,
                command.profile,
                ask.at,
            )
    return tuple(dict.fromkeys(findings))


def _answer(state: State, ask: Ask) -> tuple[Effect, ...]:
    findings = judge(state, ask)
    objections = judge_override(findings, ask.override)
    if objections:
        return (Record(Rejected(ask.at, ask.id, ask.command.kind, objections), durable=False),)
    return (Record(_intent(state, ask), durable=True),)


def _intent(state: State, ask: Ask) -> Intended:
    command = ask.command
    outputs: tuple[Output, ...]
    limits: PumpLimits | None = None
    masses: tuple[DrugMass, ...] = ()
    latest_end: Milliseconds | None = None
    match command:
        case ProgramStimulator():
            outputs = command.programs
        case StartStimulation() | ChangeAmplitude():
            outputs = (command.stimulation,)
        case MeasureImpedance():
            outputs = (command.pulses,)
        case ProgramPump():
            outputs = (command.program,)
            limits, _ = pump_limits(command.therapy, command.formulary)
        case GiveBolus():
            outputs = (command.bolus,)
            program = state.pump_program
            assert program is not None, "a bolus without a program is never granted"
            masses = tuple(
                DrugMass(drug.name, mass_of(command.bolus.volume, drug.concentration))
                for drug in program.drugs
            )
            latest_end = Milliseconds(ask.at.slow + command.bolus.over + delivery_slack(state))
    return Intended(
        ask.at,
        ask.id,
        command.kind,
        outputs,
        ask.patient,
        limits,
        masses,
        latest_end,
        ask.override,
        command.therapy.timezone if isinstance(command, ProgramPump) else None,
    )


def _impedance_at(state: State, now: Instant) -> tuple[tuple[Ohms, ...], Milliseconds] | None:
    """The last measurement with its age."""
    if state.impedances is None:
        return None
    return state.impedances.ohms, Milliseconds(now.fast - state.impedances.taken)


def _held(state: State, now: Instant) -> tuple[Reservation, ...]:
    """The reservations that may still lie in the longest window ending now (closed at its edge)."""
    return tuple(r for r in state.reservations if r.reaches_into(DAY_MS, now))


def _programs_in_window(state: State, now: Instant) -> tuple[PumpProgram, ...]:
    """The program in the pump, then those before it that the longest window may still hold."""
    past = (p.program for p in state.past_programs if p.replaced >= now.slow - DAY_MS)
    current = (state.pump_program,) if state.pump_program is not None else ()
    return (*current, *past)


def _replaced(state: State, at: Instant) -> tuple[PastProgram, ...]:
    """The past programs once the one in the pump is among them."""
    kept = tuple(p for p in state.past_programs if p.replaced >= at.slow - DAY_MS)
    if state.pump_program is None:
        return kept
    return (PastProgram(state.pump_program, at.slow), *kept)


def _connected(state: State, event: Connected) -> State:
    """A new conversation: old impedances are stale, and only what still flows is running."""
    restarted = state.boot is not None and state.boot != event.boot
    return replace(
        state,
        identity=event.identity,
        boot=event.boot,
        impedances=None,
        running=state.running if event.delivering else None,
        epoch=state.epoch + restarted,
    )


def _intended(state: State, event: Intended) -> State:
    reservations = state.reservations
    if event.masses and event.latest_end is not None:
        kept = _held(state, event.at)
        reservations = (*kept, Reservation(event.id, event.masses, event.latest_end))
    return replace(
        state,
        epoch=state.epoch + 1,
        unsettled=(*state.unsettled, event),
        reservations=reservations,
    )


def _lowered(state: State, event: Lowered) -> State:
    if state.running is None:
        return state
    running = replace(state.running, amplitudes=event.amplitudes)
    return replace(state, running=running, epoch=state.epoch + 1)


def _settled(state: State, event: Settled) -> State:
    intent = next((i for i in state.unsettled if i.id == event.id), None)
    if intent is None or event.outcome == "UNCERTAIN":
        return state
    settled = replace(
        state,
        epoch=state.epoch + 1,
        unsettled=tuple(i for i in state.unsettled if i.id != event.id),
    )
    if event.outcome == "refused":
        kept = tuple(r for r in settled.reservations if r.id != event.id)
        return replace(settled, reservations=kept)
    return _delivered(settled, intent, event.at)


def _unverified(state: State, event: Unverified) -> State:
    """No program counts as verified: nothing starts and no bolus is given until one is applied."""
    return replace(
        state,
        epoch=state.epoch + 1,
        unsettled=tuple(i for i in state.unsettled if i.id != event.id),
        programs=(),
        running=None,
        pump_program=None,
        past_programs=_replaced(state, event.at),
        pump_limits=None,
        unknown_program=event.delivers,
        full_until=Milliseconds(event.at.slow + DAY_MS) if event.delivers else state.full_until,
    )


def _delivered(state: State, intent: Intended, at: Instant) -> State:
    if intent.command == "program-stimulator":
        programs = tuple(o for o in intent.outputs if isinstance(o, StimulatorProgram))
        return replace(
            state,
            programs=programs,
            running=None,
            unknown_program=False,
            patient=intent.patient,
        )
    if intent.command == "program-pump":
        program = next(o for o in intent.outputs if isinstance(o, PumpProgram))
        return replace(
            state,
            pump_program=program,
            held=False,
            unknown_program=False,
            past_programs=_replaced(state, at),
            known_drugs=tuple(
                dict.fromkeys((*state.known_drugs, *(drug.name for drug in program.drugs)))
            ),
            pump_limits=intent.limits,
            timezone=intent.timezone,
            patient=intent.patient,
        )
    if intent.command in ("start-stimulation", "change-amplitude"):
        running = next(o for o in intent.outputs if isinstance(o, Stimulation))
        return replace(state, running=running)
    return state
