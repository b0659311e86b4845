"""The rules of what is in a pump: drugs, vials and fill (SR-08, SR-11, SR-18)."""

from collections.abc import Callable
from dataclasses import dataclass

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary
from device_profiles.notation import write_concentration, write_volume
from device_profiles.profile import PumpProfile
from device_profiles.therapy import InfusionTherapy
from safety.limits import PumpLimits
from safety.outputs import DrugInPump, PumpProgram


@dataclass(frozen=True, slots=True)
class InfusionCase:
    """All that a pump's program is judged by.

    ``starting``: the drugs that this patient has not had from the device yet, so that their start
    limits hold; a bench without a device hands in none.
    """

    program: PumpProgram
    therapy: InfusionTherapy
    limits: PumpLimits
    profile: PumpProfile
    formulary: Formulary
    starting: tuple[str, ...]


InfusionRule = Callable[[InfusionCase], list[Finding]]


def judge_drugs(case: InfusionCase) -> list[Finding]:
    """SR-11, SR-08: known drugs, each once, as in the file, at a concentration for pumps.

    Protects from a drug or strength that no source covers. Harm: a bench with another drug cannot
    start. Longest denial: until a formulary holds the drug. Way out: a formulary of the lab's own,
    with sources.
    """
    findings: list[Finding] = []
    formulary, names = case.formulary, [drug.name for drug in case.program.drugs]
    stated = tuple(DrugInPump(drug.name, drug.concentration) for drug in case.therapy.drugs)
    if not names or case.program.drugs != stated:
        message = "the program's drugs and concentrations are not those of the file"
        findings.append(Finding("SR-08", "hard", "drugs", message, hint="compile the file again"))
    for index, drug in enumerate(case.program.drugs):
        path, entry = f"drugs[{index}]", formulary.find(drug.name)
        if drug.name in names[:index]:
            message = f"{drug.name} is named twice; its doses would be judged apart"
            hint = "name each drug once"
            findings.append(Finding("SR-08", "hard", f"{path}.name", message, drug.name, hint=hint))
        if entry is None:
            message = f"{drug.name!r} is not in the formulary {formulary.name!r}"
            hint = "check the label; a lab may use a formulary of its own, with sources"
            findings.append(
                Finding(
                    "SR-11", "hard", f"{path}.name", message, drug.name, None, "formulary", hint
                )
            )
        elif not entry.concentration_above < drug.concentration <= entry.concentration_max:
            value = write_concentration(drug.concentration)
            limit = (
                f"above {write_concentration(entry.concentration_above)}, "
                f"at most {write_concentration(entry.concentration_max)}"
            )
            message = f"{drug.name} at {value} is not for a pump; the formulary allows {limit}"
            hint = "check the label of the vial"
            findings.append(
                Finding(
                    "SR-08",
                    "hard",
                    f"{path}.concentration",
                    message,
                    value,
                    limit,
                    "formulary",
                    hint,
                )
            )
    return findings


def judge_vials(case: InfusionCase) -> list[Finding]:
    """SR-08: each drug's concentration, typed a second time from the vial, is the same.

    Protects from a concentration taken from memory (accident A4). Harm: typing it twice. Longest
    denial: until the file is corrected. Way out: read both again.
    """
    findings: list[Finding] = []

    def refuse(path: str, message: str, value: str | None, limit: str | None) -> None:
        hint = "read the label again and correct the one that is wrong"
        findings.append(Finding("SR-08", "hard", path, message, value, limit, "file", hint))

    drugs = {drug.name: drug.concentration for drug in case.program.drugs}
    vials = case.therapy.fill.vials
    for vial in vials:
        path, value = f"fill.vials.{vial.drug}", write_concentration(vial.concentration)
        if vial.drug not in drugs:
            refuse(path, f"the vial holds {vial.drug}, which is none of the drugs", value, None)
        elif vial.concentration != drugs[vial.drug]:
            limit = write_concentration(drugs[vial.drug])
            refuse(path, f"the vial of {vial.drug} says {value}, the drug {limit}", value, limit)
    for name, concentration in drugs.items():
        count = sum(vial.drug == name for vial in vials)
        if count != 1:
            message = f"{count} vials of {name} are named, not one"
            limit = write_concentration(concentration)
            refuse(f"fill.vials.{name}", message, f"{count}", limit)
    return findings


def judge_reservoir(case: InfusionCase) -> list[Finding]:
    """SR-18: the fill fits the reservoir, and the alarm comes before the pump runs dry.

    Protects from an overfilled reservoir, and from withdrawal by a pump that empties before its
    alarm. Harm: a small fill is refused. Longest denial: until the file is corrected. Way out:
    another fill, or another alarm volume.
    """
    program, profile, findings = case.program, case.profile, list[Finding]()

    def refuse(key: str, message: str, value: str, limit: str, source: str) -> None:
        hint = "check the volumes against what was filled"
        path = f"fill.{key}"
        findings.append(Finding("SR-18", "hard", path, message, value, limit, source, hint))

    volume, low = write_volume(program.fill_volume), write_volume(program.low_reservoir)
    size, residual = write_volume(profile.reservoir), write_volume(profile.residual)
    if program.fill_volume > profile.reservoir:
        message = f"a fill of {volume} does not fit the device's reservoir of {size}"
        refuse("volume", message, volume, size, "device")
    if program.fill_volume <= program.low_reservoir:
        message = f"a fill of {volume} is not above the low reservoir alarm at {low}"
        refuse("volume", message, volume, low, "patient")
    if program.low_reservoir < profile.residual:
        message = f"the alarm at {low} comes after the device's unusable {residual}"
        refuse("low_reservoir", message, low, residual, "device")
    if program.catheter > profile.catheter_max:
        catheter, longest = write_volume(program.catheter), write_volume(profile.catheter_max)
        message = f"a catheter of {catheter} is larger than any of this device, {longest}"
        path, hint = "catheter.volume", "check the volume against the length that was implanted"
        findings.append(Finding("SR-18", "hard", path, message, catheter, longest, "device", hint))
    return findings
