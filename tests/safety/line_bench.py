"""Refills told as commands: a dose, what is in the reservoir, what the line still holds."""

from collections.abc import Mapping
from dataclasses import replace

from clinical_examples import FORMULARY, ITP, compiled, dose_limits, drug, infusion, step
from kernel_bench import Story

from device_profiles.formulary import Formulary, FormularyEntry, Titration
from device_profiles.notation import parse_concentration, parse_mass_rate, parse_volume
from device_profiles.quantities import (
    DAY_MS,
    Milliseconds,
    NanoLitres,
    PartsPerMillion,
    flow_for,
)
from device_profiles.therapy import BasalStep, Catheter, DrugInLine, InfusionTherapy, PatientBolus
from safety.commands import ProgramPump, PumpEvidence
from safety.outputs import Bridge, DrugInPump, FlowStep, PumpProgram

FIRST_FILL = Milliseconds(1_793_521_800_000)
MONTH = Milliseconds(30 * DAY_MS)
WIDE = dose_limits(None, "20 mg", "20 mg", "20 mg")
LIMITS = {
    "morphine": WIDE,
    "baclofen": dose_limits(None, "2000 mcg", "2000 mcg", "2000 mcg"),
    "ziconotide": dose_limits(None, "19.2 mcg", "19.2 mcg", "19.2 mcg"),
    "fentanyl": WIDE,
}
Mix = Mapping[str, str]


def therapy_of(
    mix: Mix,
    *rates: str | BasalStep,
    line: str = "0.4 mL",
    fill: int = 1,
    before: Mix | None = None,
    primed: bool = True,
    withdrawn: str | None = None,
    volume: str = "18 mL",
    button: PatientBolus | None = None,
) -> InfusionTherapy:
    """A file: drugs with concentrations, rates of the first, the volume of the whole line.

    ``fill`` numbers the refills, a month apart; ``before`` is what the file says the line holds.
    """
    drugs = (drug(name, strength, LIMITS[name]) for name, strength in mix.items())
    steps = (step("00:00", rate) if isinstance(rate, str) else rate for rate in rates)
    therapy = infusion(*drugs, basal=tuple(steps), bolus=button, fill=volume)
    at = Milliseconds(FIRST_FILL + (fill - 1) * MONTH)
    read = None if withdrawn is None else parse_volume(withdrawn)
    catheter = NanoLitres(parse_volume(line) - ITP.tubing)
    return replace(
        therapy,
        fill=replace(therapy.fill, at_ms=at, withdrawn=read),
        catheter=Catheter(catheter, primed),
        bridge_from=tuple(
            DrugInLine(name, parse_concentration(strength))
            for name, strength in (before or {}).items()
        ),
    )


def bridge_in(therapy: InfusionTherapy) -> Bridge | None:
    """The bridge that a compiler makes of a file, in its own arithmetic."""
    if not therapy.bridge_from:
        return None
    (first,) = (one for one in therapy.bridge_from if one.name == therapy.drugs[0].name)
    return Bridge(
        tuple(DrugInPump(one.name, one.concentration) for one in therapy.bridge_from),
        tuple(
            FlowStep(one.start, flow_for(one.rate, first.concentration)) for one in therapy.basal
        ),
        NanoLitres(ITP.tubing + therapy.catheter.volume),
    )


def program_of(therapy: InfusionTherapy) -> PumpProgram:
    return replace(compiled(therapy), bridge=bridge_in(therapy))


def command_of(
    therapy: InfusionTherapy,
    formulary: Formulary = FORMULARY,
    evidence: PumpEvidence | None = None,
) -> ProgramPump:
    return ProgramPump(program_of(therapy), therapy, ITP, formulary, evidence)


def filled_with(mix: Mix, *rates: str, **other: object) -> ProgramPump:
    return command_of(therapy_of(mix, *rates, **other))  # type: ignore[arg-type]


def running(command: ProgramPump) -> Story:
    """A pump that delivers a program."""
    story = Story()
    story.connect()
    story.do(command)
    return story


def titrated(
    entry: FormularyEntry,
    up: str | None = None,
    up_step: str | None = None,
    down: str | None = None,
) -> Formulary:
    """The test formulary with steps for one drug; shares as whole per cent, ``"40 %"``."""
    titration = Titration(_share(up), up_step and parse_mass_rate(up_step), _share(down))  # type: ignore[arg-type]
    stepped = replace(entry, titration=titration)
    entries = (stepped if one.name == entry.name else one for one in FORMULARY.entries)
    return Formulary("a test formulary", tuple(entries))


def _share(text: str | None) -> PartsPerMillion | None:
    return None if text is None else PartsPerMillion(int(text.removesuffix(" %")) * 10_000)
