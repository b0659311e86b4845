"""All rules over all Outputs: `check`, `plan` and the kernel ask here, and only here.

Findings come back whole, not the first alone, in the order of their paths. What a report shows
beside them (`derived_…`) is computed here too, from the same Outputs, for reading only.
"""

import re
from typing import Any

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.quantities import DAY_MS, PicoCoulombs, charge_per_phase, divide_up, share_of
from device_profiles.therapy import InfusionTherapy, contact_name
from safety.charge import charge_report
from safety.dose import (
    basal_mass,
    can_be_bounded,
    daily_volume,
    days_to_alarm,
    is_a_day,
    worst_case_mass,
)
from safety.limits import PumpLimits, pump_limits
from safety.outputs import Bridge, PumpProgram, StimulatorProgram
from safety.rules_balance import build_up
from safety.rules_bridge import bridge_words
from safety.rules_infusion import FEMTOGRAMS_IN_NANOGRAM, INFUSION_RULES
from safety.rules_reservoir import InfusionCase
from safety.rules_stimulation import STIMULATION_RULES, driven_contacts

NOT_JUDGED_STIMULATION = ("SR-22", "SR-25", "SR-44", "SR-47")
"""Rules of a stimulator that need the device: read back, identity, old ceilings, impedances."""

_NEED_A_PUMP = "SR-06 SR-12 SR-13 SR-14 SR-19 SR-22 SR-25 SR-59"
NOT_JUDGED_INFUSION = tuple(_NEED_A_PUMP.split())
"""Rules of a pump that always need the device (the dose before, what is in its line, what it gave,
what its last fill left, read back, who it is, its clock); `not_judged_infusion` adds those that
may."""

_PATH = re.compile(r"[^.\[\]]+|\[\d+\]")


def _path_order(finding: Finding) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part[1:-1]), "") if part.startswith("[") else (-1, part)
        for part in _PATH.findall(finding.path)
    )


def _in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Each finding once, by path, indices as numbers, otherwise as the rules found them."""
    return tuple(sorted(dict.fromkeys(findings), key=_path_order)) if findings else ()


def review_stimulation(
    programs: tuple[StimulatorProgram, ...], profile: StimulatorProfile
) -> tuple[Finding, ...]:
    """Every objection to these programs that needs no device (see `NOT_JUDGED_STIMULATION`)."""
    findings: list[Finding] = []
    slots = [program.slot for program in programs]
    if not programs or len(set(slots)) != len(slots):
        message = f"{len(programs)} programs for {len(set(slots))} places; each needs its own"
        hint = "write at least one program, each once"
        findings.append(Finding("SR-48", "hard", "programs", message, hint=hint))
    for program in programs:
        for rule in STIMULATION_RULES:
            findings += rule(program, profile)
    return _in_order(findings)


def review_infusion(
    program: PumpProgram,
    therapy: InfusionTherapy,
    limits: PumpLimits,
    profile: PumpProfile,
    formulary: Formulary,
    starting: tuple[str, ...],
) -> tuple[Finding, ...]:
    """Every objection to a pump's program and to the limits of its therapy.

    ``limits`` are those of `pump_limits`, or tighter ones; their own faults are found here too.
    ``starting``: the drugs that this patient has not had from the device yet; their start limits
    hold.
    """
    _, about_limits = pump_limits(therapy, formulary)
    findings = list(about_limits)
    case = InfusionCase(program, therapy, limits, profile, formulary, starting)
    for rule in INFUSION_RULES:
        findings += rule(case)
    return _in_order(findings)


def not_judged_infusion(limits: PumpLimits) -> tuple[str, ...]:
    """The rules that a review without a device leaves open for these drugs.

    SR-63 is open when a drug has start limits and its patient is not stated to be opioid-naive:
    only the device knows whether this is a first program.
    """
    open_start = any(
        drug.history != "opioid-naive" and (drug.start_soft or drug.start_hard)
        for drug in limits.drugs
    )
    return (*NOT_JUDGED_INFUSION, "SR-63") if open_start else NOT_JUDGED_INFUSION


# --- for people to read; no judgement uses what follows --------------------------------------


def derived_stimulation(
    programs: tuple[StimulatorProgram, ...], profile: StimulatorProfile
) -> dict[str, Any]:
    """Charge, density and Shannon's k of each contact at the set amplitude, as a report's JSON.

    Density in uC/cm2 and k to 3 decimals, k ``None`` at zero charge; without the case.
    ``build_up`` is the same of what a burst leaves on a contact before its passive recharge.
    """
    derived: dict[str, Any] = {}
    for program in programs:
        areas = []
        for area in program.areas:
            contacts = {}
            for electrode in driven_contacts(area):
                current = share_of(area.amplitude, electrode.share)
                charge = charge_per_phase(current, area.pulse_width)
                figures = _figures("charge_per_phase_pC", charge, profile)
                gathered = build_up(program, area, electrode)
                if gathered is not None:
                    figures["build_up"] = _figures("charge_pC", gathered, profile)
                contacts[contact_name(electrode.contact)] = figures
            areas.append(contacts)
        derived[program.name] = {"areas": areas}
    return {"programs": derived}


def _figures(key: str, charge: PicoCoulombs, profile: StimulatorProfile) -> dict[str, Any]:
    report = charge_report(charge, profile.contact_area)
    return {
        key: charge,
        "charge_density_uC_per_cm2": report.density_uC_per_cm2,
        "shannon_k": report.shannon_k,
    }


def derived_infusion(program: PumpProgram, profile: PumpProfile) -> dict[str, Any]:
    """Daily doses (ng, rounded up), volume (nL) and days to the alarm (2 decimals, rounded down).

    A worst case that no lockout or count bounds is ``None``; so are days without a flow.
    """
    if not is_a_day(program.basal):
        return {}
    bounded = can_be_bounded(program)
    days = days_to_alarm(program, profile.accuracy) if bounded else None
    return {
        "drugs": {
            drug.name: {
                "daily_dose_ng": _nanograms(basal_mass(program, drug.concentration, DAY_MS)),
                "worst_case_daily_dose_ng": _nanograms(
                    worst_case_mass(program, drug.concentration, DAY_MS)
                )
                if bounded
                else None,
            }
            for drug in program.drugs
        },
        "daily_volume_nL": daily_volume(program),
        "days_to_alarm_nominal": _days(days.nominal_centi if days else None),
        "days_to_alarm_worst": _days(days.worst_centi if days else None),
        **_derived_bridge(program.bridge),
    }


def _derived_bridge(bridge: Bridge | None) -> dict[str, Any]:
    if bridge is None or not bridge.basal:
        return {}
    return {
        "bridge": {
            "volume_nL": bridge.volume,
            "flows_nL_per_day": [step.flow for step in bridge.basal],
            "text": bridge_words(bridge),
        }
    }


def _nanograms(mass: int) -> int:
    return divide_up(mass, FEMTOGRAMS_IN_NANOGRAM)


def _days(centi: int | None) -> float | None:
    return None if centi is None else centi / 100
