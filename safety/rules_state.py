"""Rules that need more than one command: the history, what runs, what is not settled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_profiles.diagnostics import Finding
from device_profiles.notation import (
    mass_unit_for,
    write_current,
    write_duration,
    write_mass,
)
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.quantities import (
    Femtograms,
    Milliseconds,
    NanogramsPerMillilitre,
    Ohms,
    mass_of,
)
from safety.commands import Instant, Override
from safety.dose import can_be_bounded, flow_at, worst_case_over
from safety.events import DrugMass, Intended
from safety.limits import DOSE_WINDOWS, DrugLimits, PumpLimits, missing_limits
from safety.outputs import (
    BolusOutput,
    ImpedancePulses,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)
from safety.rules_infusion import judge_bolus
from safety.rules_stimulation import judge_ceilings_kept, judge_impedance


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one intent may deliver of each drug, and when that is surely over (slow time)."""

    id: int
    masses: tuple[DrugMass, ...]
    latest_end: Milliseconds

    def reaches_into(self, window: Milliseconds, now: Instant) -> bool:
        """Whether some of it may lie in the window that ends now; the edge counts."""
        return self.latest_end >= now.slow - window


def _hard(rule: str, path: str, message: str, hint: str | None = None) -> Finding:
    return Finding(rule=rule, severity="hard", path=path, message=message, hint=hint)


# --- what lies open --------------------------------------------------------------------------


def judge_latch(latched: str | None) -> list[Finding]:
    """SR-56: no therapy while the journal cannot be trusted or written.

    Protects from doses that nobody remembers. Harm: therapy is denied until a person has looked,
    for as long as that takes. Way out: the reason says what to look at; stopping still works.
    """
    if latched is None:
        return []
    hint = (
        "stop still works. Look at it with `neuraxis journal verify`; once a person has understood "
        "it, keep that file and start another with --journal PATH: its windows count as full for "
        "a day"
    )
    return [_hard("SR-56", "journal", latched, hint)]


def judge_unsettled(unsettled: Sequence[Intended]) -> list[Finding]:
    """SR-23: no therapy while it is not known whether an earlier command was carried out.

    Protects from giving a dose twice. Harm: therapy is denied until the device answers. Way
    out: connect again; the device is asked what became of the id before anything else.
    """
    return [
        _hard(
            "SR-23",
            "journal",
            f"UNCERTAIN: it is not known whether {intent.command} (id {intent.id:#x}) was carried "
            "out; it counts as delivered",
            "connect again: the device is asked first, and a repeat is blocked until it answers",
        )
        for intent in unsettled
    ]


def judge_override(findings: Sequence[Finding], override: Override | None) -> tuple[Finding, ...]:
    """SR-57: the findings that stand against a command once a person's reason is counted.

    A hard finding always stands. A soft one stands unless a user names its rule, with a reason.
    """
    spoken = override is not None and override.reason.strip() and override.user.strip()
    named = override.rules if override is not None and spoken else ()
    standing = [f for f in findings if f.severity != "soft" or f.rule not in named]
    return tuple(standing)


# --- stimulator ------------------------------------------------------------------------------


def judge_program_change(
    old: Sequence[StimulatorProgram],
    running: Stimulation | None,
    new: Sequence[StimulatorProgram],
) -> list[Finding]:
    """SR-44, SR-45: programs change only while the output is off, and ceilings are not inherited.

    Protects from a jolt and from a ceiling that was found for another width or polarity. Harm:
    none beyond a stop and a reason. Way out: stop; confirm the maximum with a reason.
    """
    findings: list[Finding] = []
    if running is not None:
        findings.append(
            _hard("SR-45", "programs", "the output is on: only the amplitude may change", "stop it")
        )
    by_name = {program.name: program for program in old}
    for program in new:
        before = by_name.get(program.name)
        if before is not None:
            findings += judge_ceilings_kept(before, program)
    return findings


def judge_start(
    verified: Sequence[StimulatorProgram], running: Stimulation | None, wanted: Stimulation
) -> list[Finding]:
    """SR-22, SR-45: only a program that was read back equal may start, and only from zero.

    Protects from starting what nobody judged, and from a jolt. Harm: none. Way out: apply the
    file; stop what runs.
    """
    path = f"programs[{wanted.program.slot}]"
    findings = []
    if running is not None:
        text = f"program {running.program.name!r} is running: a start begins at zero"
        findings.append(_hard("SR-45", path, text, "stop it first"))
    if wanted.program not in verified:
        text = f"the device does not hold program {wanted.program.name!r} as it was verified"
        findings.append(_hard("SR-22", path, text, "apply the file first"))
    return findings


def judge_start_impedance(
    program: StimulatorProgram,
    measured: tuple[tuple[Ohms, ...], Milliseconds] | None,
    profile: StimulatorProfile,
) -> list[Finding]:
    """SR-47: impedances are fresh, inside their band, and the voltage suffices.

    Protects from stimulating through a broken or shorted contact. Harm: therapy is denied while
    a contact is open. Way out: measure again; use other contacts.
    """
    if measured is None:
        text = "the impedances have not been measured since the device was connected"
        return [_hard("SR-47", f"programs[{program.slot}]", text, "run `neuraxis impedance`")]
    ohms, age = measured
    return list(judge_impedance(program, ohms, age, profile))


def judge_amplitude_change(
    running: Stimulation | None,
    wanted: Stimulation,
    ohms: tuple[Ohms, ...] | None,
    profile: StimulatorProfile,
) -> list[Finding]:
    """SR-45, SR-47: while the output is on only the amplitude may change, within compliance.

    Held against the impedances measured before the start, however old: nothing can be measured
    while it runs. Protects from a jolt and from a current that the voltage cannot drive. Harm:
    none; lowering is never judged. Way out: stop, measure, start.
    """
    path = f"programs[{wanted.program.slot}]"
    if running is None:
        return [_hard("SR-45", path, "the output is off: there is no amplitude to change")]
    if replace(running, amplitudes=wanted.amplitudes) != wanted:
        return [_hard("SR-45", path, "while the output is on, only the amplitude may change")]
    if ohms is None:
        text = "the impedances have not been measured since the device was connected"
        return [_hard("SR-47", path, text, "stop it and measure")]
    return list(judge_impedance(wanted.as_program(), ohms, Milliseconds(0), profile))


def judge_impedance_pulses(
    running: Stimulation | None, pulses: ImpedancePulses, profile: StimulatorProfile
) -> list[Finding]:
    """SR-47: a measurement drives pulses, so the output is off and the pulses are the profile's.

    Protects from a measurement that stimulates. Harm: none. Way out: stop first.
    """
    findings: list[Finding] = []
    if running is not None:
        text = "the output is on: a measurement would disturb it"
        findings.append(_hard("SR-45", "impedance", text, "stop it first"))
    test = profile.impedance
    if (
        pulses.current > test.test_current
        or pulses.pulse_width > test.test_width
        or pulses.pulses > test.test_pulses
        or pulses.contacts > profile.contacts
    ):
        findings.append(
            Finding(
                rule="SR-47",
                severity="hard",
                path="impedance",
                message="test pulses are larger or more than the profile allows",
                value=write_current(pulses.current),
                limit=write_current(test.test_current),
                source="device",
            )
        )
    return findings


# --- pump ------------------------------------------------------------------------------------


def judge_pump_change(
    earlier: Sequence[PumpProgram],
    new: PumpProgram,
    limits: PumpLimits,
    held: Sequence[Reservation],
    now: Instant,
) -> list[Finding]:
    """SR-12, SR-14: no concentration change without a bridge; room for doses already given.

    Protects from four times the dose for a day, and from a basal that refills a window after a
    bolus or follows the peak of another program. ``earlier`` are the program in the pump, first,
    and those before it that a window may still hold. Harm: a new program waits until what was
    given has left its window (at most a day and the bolus), unless it is nowhere more than the
    one in the pump. Way out: wait; lower the basal.
    """
    if not earlier:
        return []
    findings = _judge_same_drugs(earlier[0], new)
    if _is_no_more_than(new, earlier[0]):
        return findings
    for drug in limits.drugs:
        findings += _judge_windows((new, *earlier), drug, Femtograms(0), held, now, "basal")
    return findings


def judge_unknown_past(full_until: Milliseconds, now: Instant) -> list[Finding]:
    """SR-14: no bolus while a window may hold what an unknown program delivered.

    Protects from a bolus on top of doses that nobody recorded. Harm: boluses are denied for a
    day of the device's time; the basal is not touched. Way out: wait.
    """
    if now.slow >= full_until:
        return []
    left = write_duration(Milliseconds(full_until - now.slow))
    text = f"the pump held a program that nobody verified: its windows count as full for {left}"
    return [_hard("SR-14", "bolus", text, "wait; the basal goes on")]


def judge_held(held: bool) -> list[Finding]:
    """SR-32: no bolus after a stop, until a person applies a program again.

    Protects from a bolus into a pump that somebody stopped for a reason. Harm: none to the
    basal, which goes on. Way out: apply the therapy file.
    """
    if not held:
        return []
    text = "the pump was stopped: boluses are closed"
    return [_hard("SR-32", "bolus", text, "apply the therapy file again to open them")]


def judge_bolus_in_state(
    programs: Sequence[PumpProgram],
    limits: PumpLimits | None,
    held: Sequence[Reservation],
    bolus: BolusOutput,
    profile: PumpProfile,
    now: Instant,
) -> list[Finding]:
    """SR-05, SR-14, SR-22: one bolus against its own limit and every full window around it.

    Protects from stacked doses: a window counts a whole window of basal, all patient boluses,
    and every earlier bolus by its latest possible end. ``programs`` are the one in the pump,
    first, and those before it that a window may still hold. Harm: a bolus is denied for at most a
    day and the time of the last bolus. Way out: wait; the finding says which window is full.
    """
    if not programs or limits is None:
        text = "no program has been verified in this pump: a bolus has nothing to be judged by"
        return [_hard("SR-22", "bolus", text, "apply the therapy file first")]
    findings = [*judge_bolus(bolus, programs[0], limits, profile)]
    findings += missing_limits(limits, bolus_asked=True)
    for drug in limits.drugs:
        mass = mass_of(bolus.volume, drug.concentration)
        findings += _judge_windows(programs, drug, mass, held, now, "bolus")
    return findings


def _judge_same_drugs(old: PumpProgram, new: PumpProgram) -> list[Finding]:
    before = {drug.name: drug.concentration for drug in old.drugs}
    after = {drug.name: drug.concentration for drug in new.drugs}
    if before == after:
        return []
    return [
        Finding(
            rule="SR-12",
            severity="soft",
            path="drugs",
            message=(
                "the drugs or their concentration differ from what is still in the tubing and the "
                "catheter: without a bridge the dose is wrong for hours, up to the ratio of the "
                "concentrations"
            ),
            hint=(
                "this version has no bridge program: flush the line, then waive this with "
                "--override SR-12 --reason TEXT"
            ),
        )
    ]


def _judge_windows(
    programs: Sequence[PumpProgram],
    drug: DrugLimits,
    asked: Femtograms,
    held: Sequence[Reservation],
    now: Instant,
    path: str,
) -> list[Finding]:
    if not all(can_be_bounded(program) for program in programs):
        return []  # SR-16 has refused it: there is no worst case to compare
    findings = []
    for window in DOSE_WINDOWS:
        limit = drug.of(window.quantity)
        if limit is None:
            continue
        worst = worst_case_over(
            [(p, _concentration(p, drug.name)) for p in programs], window.length
        )
        earlier = sum(
            dose.mass
            for reservation in held
            if reservation.reaches_into(window.length, now)
            for dose in reservation.masses
            if dose.drug == drug.name
        )
        total = Femtograms(worst + earlier + asked)
        if total > limit.value:
            # One unit for all figures: milligrams beside micrograms are misread (accident A7).
            unit = mass_unit_for(min(Femtograms(limit.value), asked or worst))
            ceiling = write_mass(Femtograms(limit.value), unit)
            findings.append(
                Finding(
                    rule="SR-14",
                    severity="hard",
                    path=path,
                    message=(
                        f"{drug.name}: within one window of {window.words} there could be "
                        f"{write_mass(total, unit)}: {write_mass(worst, unit)} of the basal and "
                        "the button, "
                        f"{write_mass(Femtograms(earlier), unit)} of earlier boluses, "
                        f"{write_mass(asked, unit)} asked for; the {limit.source}'s limit is "
                        f"{ceiling}"
                    ),
                    value=write_mass(total, unit),
                    limit=ceiling,
                    source=limit.source,
                    hint="wait until an earlier bolus has left the window",
                )
            )
    return findings


def _concentration(program: PumpProgram, name: str) -> NanogramsPerMillilitre:
    """The concentration of a drug while a program ran; 0 if it was not in the pump."""
    held = (drug.concentration for drug in program.drugs if drug.name == name)
    return next(held, NanogramsPerMillilitre(0))


def _is_no_more_than(new: PumpProgram, old: PumpProgram) -> bool:
    """Whether a program delivers nowhere more than the one before: continuation.

    Compared step by step at every border of either; boluses compared field by field.
    """
    if new.drugs != old.drugs or new.utc_offset_min != old.utc_offset_min:
        return False
    borders = {step.start for step in (*new.basal, *old.basal)}
    if any(flow_at(new.basal, minute) > flow_at(old.basal, minute) for minute in borders):
        return False
    return new.patient_bolus is None or new.patient_bolus == old.patient_bolus
