"""`neuraxis check`: a therapy file read, compiled and judged, without any device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.diagnostics import Finding, Verdict, verdict_of
from device_profiles.errors import UsageError
from device_profiles.formulary import Formulary
from device_profiles.formulary_file import load_formulary
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import Milliseconds
from device_profiles.rendering import render_findings
from device_profiles.therapy import InfusionTherapy, StimulationTherapy, Therapy
from device_profiles.therapy_file import TherapyReading, read_therapy
from firmware_bridge.families.itp import driver as itp
from firmware_bridge.families.scs import driver as scs
from hil.outside import OUTSIDE
from safety.commands import ProgramPump, ProgramStimulator
from safety.limits import pump_limits
from safety.review import (
    NOT_JUDGED_STIMULATION,
    derived_infusion,
    derived_stimulation,
    not_judged_infusion,
    review_infusion,
    review_stimulation,
)

Programming = ProgramStimulator | ProgramPump


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a therapy file before it meets a device.

    ``command`` is what applying it would ask for; ``None`` when it cannot be read whole.
    """

    reading: TherapyReading
    findings: tuple[Finding, ...]
    command: Programming | None
    not_judged: tuple[str, ...]
    derived: dict[str, Any]

    @property
    def verdict(self) -> Verdict:
        """accepted, needs-reason or refused."""
        return verdict_of(self.findings)

    @property
    def therapy(self) -> Therapy:
        """The therapy; UsageError when the file has none."""
        if self.reading.therapy is None:
            raise UsageError(f"{self.reading.file} holds no therapy that can be read")
        return self.reading.therapy

    def as_json(self) -> dict[str, Any]:
        """The report as the schema ``neuraxis.check/1`` has it."""
        return {
            "schema": "neuraxis.check/1",
            "file": self.reading.file,
            "verdict": self.verdict,
            "findings": [finding_as_json(finding) for finding in self.findings],
            "not_judged": list(self.not_judged),
            "derived": self.derived,
        }

    def rendered(self) -> str:
        """The findings as a good compiler shows them."""
        return render_findings(self.findings, self.reading.file, self.reading.document.lines)


def finding_as_json(finding: Finding) -> dict[str, Any]:
    """A finding's fields in the order of the schema."""
    names = "rule severity path line column value limit source message hint"
    return {name: getattr(finding, name) for name in names.split()}


def check_file(path: Path, formulary_path: Path | None, wall: Milliseconds) -> Check:
    """Reads, compiles and judges a file; what is wrong with it is in the findings.

    Raises UsageError for a formulary that cannot be read.
    """
    formulary = load_formulary(formulary_path)
    reading = read_therapy(path)
    judged = reading.therapy_to_judge
    if judged is None:
        return Check(reading, reading.findings, None, (), {})
    command = command_for(judged, formulary, wall)
    found, not_judged, derived = _judged(command)
    findings = reading.with_judgement(found)
    if reading.therapy is None:
        # Figures of half a therapy would be those of another one.
        return Check(reading, findings, None, not_judged, {})
    return Check(reading, findings, command, not_judged, derived)


def command_for(therapy: Therapy, formulary: Formulary, wall: Milliseconds) -> Programming:
    """What applying a therapy asks for; a pump's schedule gets the UTC offset of ``wall``."""
    profile = load_profile(therapy.device)
    if isinstance(therapy, StimulationTherapy) and isinstance(profile, StimulatorProfile):
        return ProgramStimulator(scs.outputs_of(therapy), profile)
    if isinstance(therapy, InfusionTherapy) and isinstance(profile, PumpProfile):
        program = itp.output_of(therapy, formulary, wall)
        return ProgramPump(program, therapy, profile, formulary)
    raise UsageError(f"{therapy.device} is not a device for this kind of therapy")


def wall_now() -> Milliseconds:
    """The wall time, ms."""
    return OUTSIDE.get().wall_ms()


def _judged(command: Programming) -> tuple[tuple[Finding, ...], tuple[str, ...], dict[str, Any]]:
    if isinstance(command, ProgramStimulator):
        return (
            review_stimulation(command.programs, command.profile),
            NOT_JUDGED_STIMULATION,
            derived_stimulation(command.programs, command.profile),
        )
    limits, _ = pump_limits(command.therapy, command.formulary)
    return (
        review_infusion(
            command.program,
            command.therapy,
            limits,
            command.profile,
            command.formulary,
            starting=(),
        ),
        not_judged_infusion(limits),
        derived_infusion(command.program, command.profile),
    )
