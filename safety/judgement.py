"""Every objection to a request for therapy, from all that is known of the device; pure."""

from typing import assert_never

from device_profiles.diagnostics import Finding
from device_profiles.quantities import Milliseconds
from safety.commands import (
    Ask,
    ChangeAmplitude,
    Command,
    GiveBolus,
    Instant,
    MeasureImpedance,
    Prime,
    ProgramPump,
    ProgramStimulator,
    StartStimulation,
)
from safety.limits import pump_limits
from safety.review import review_infusion, review_stimulation
from safety.rules_change import judge_change, judge_kept
from safety.rules_line import (
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
from safety.rules_prime import judge_line_is_empty, judge_prime
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
    State,
    delivery_slack,
    impedance_at,
    in_therapy_time,
    programs_in_window,
    reservations_at,
    windows_full_until,
)


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
        return _unique(softened([*_review(command, ()), *kept]))
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
            findings += _review(command, _starting(state, ask.patient, command))
            findings += judge_patient(state.patient, ask.patient)
            findings += _judge_pump_change(state, command, ask.at)
        case GiveBolus() | Prime():
            findings += _judge_bolus(state, command, ask.at)
        case _:
            findings += _judge_stimulator(state, command, ask.at)
    return _unique([one for one in findings if not _is_waived(state, command, one, ask.at)])


def what_stands(state: State, ask: Ask) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """What stands against a request, and the rules of what its override let pass.

    Nothing stands: it may be granted.
    """
    findings = judge(state, ask)
    # Going on, or less, is never put off by how often it was asked for (SR-62).
    passed = () if continues(state, ask.command, ask.at) else state.passed
    objections = (
        *judge_id(state.ids, ask.id),
        *judge_approval(ask.epoch, state.epoch),
        *judge_override(findings, ask.override, passed, ask.at),
    )
    return objections, passed_rules(findings)


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


def _starting(state: State, patient: str, command: ProgramPump) -> tuple[str, ...]:
    """The drugs that a program would start: what another patient had is no start of this one's."""
    known = state.known_drugs if state.patient in (None, patient) else ()
    return tuple(drug.name for drug in command.program.drugs if drug.name not in known)


def _review(command: ProgramPump, starting: tuple[str, ...]) -> list[Finding]:
    limits, _ = pump_limits(command.therapy, command.formulary)
    return list(
        review_infusion(
            command.program,
            command.therapy,
            limits,
            command.profile,
            command.formulary,
            starting=starting,
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
