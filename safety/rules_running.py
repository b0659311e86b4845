"""Rules about a stimulator that runs or is to run: what it holds, what flows, what was measured."""

from collections.abc import Sequence
from dataclasses import replace

from device_profiles.diagnostics import Finding
from device_profiles.notation import write_current
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import Milliseconds, Ohms
from safety.outputs import ImpedancePulses, Stimulation, StimulatorProgram
from safety.rules_stimulation import judge_ceilings_kept, judge_impedance


def _hard(rule: str, path: str, message: str, hint: str | None = None) -> Finding:
    return Finding(rule=rule, severity="hard", path=path, message=message, hint=hint)


def judge_program_change(
    old: Sequence[StimulatorProgram],
    running: Stimulation | None,
    new: Sequence[StimulatorProgram],
) -> list[Finding]:
    """SR-44, SR-45: programs change only while the output is off, and ceilings are not inherited.

    Protects from a jolt and from a ceiling that was found for another width or polarity. Harm:
    none beyond a stop and a reason. Longest denial: until the output is off. Way out: stop; confirm
    the maximum with a reason.
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
    verified: Sequence[StimulatorProgram],
    running: Stimulation | None,
    from_zero: str | None,
    wanted: Stimulation,
) -> list[Finding]:
    """SR-22, SR-45, SR-50: only a program that was read back equal may start, and only from zero.

    ``from_zero`` is why the output ended without a person's doing: then the amplitudes themselves
    begin at zero and are raised by hand. Protects from starting what nobody judged, and from a
    jolt. Harm: the way back to a known amplitude takes a few steps more. Longest denial: none.
    Way out: apply the file; stop what runs; start at zero.
    """
    path = f"programs[{wanted.program.slot}]"
    findings = []
    if running is not None:
        text = f"program {running.program.name!r} is running: a start begins at zero"
        findings.append(_hard("SR-45", path, text, "stop it first"))
    if wanted.program not in verified:
        text = f"the device does not hold program {wanted.program.name!r} as it was verified"
        findings.append(_hard("SR-22", path, text, "apply the file first"))
    if from_zero is not None and any(wanted.amplitudes):
        text = (
            f"the last output did not end by a person's doing ({from_zero}): the next one starts "
            "at 0 mA"
        )
        hint = (
            "start it with `neuraxis run FILE --from-zero`, then raise it step by step with "
            "`neuraxis amplitude`"
        )
        findings.append(_hard("SR-50", path, text, hint))
    return findings


def judge_start_impedance(
    program: StimulatorProgram,
    measured: tuple[tuple[Ohms, ...], Milliseconds] | None,
    profile: StimulatorProfile,
) -> list[Finding]:
    """SR-47: impedances are fresh, inside their band, and the voltage suffices.

    Protects from stimulating through a broken or shorted contact. Harm: therapy is denied while
    a contact is open. Longest denial: until a measurement is good. Way out: measure again; use
    other contacts.
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
    none; lowering is never judged. Longest denial: until it is measured. Way out: stop, measure,
    start.
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
    """SR-45, SR-47: a measurement drives pulses: the output is off, the pulses are the profile's.

    Protects from a measurement that stimulates. Harm: none. Longest denial: until the output is
    off. Way out: stop first.
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
