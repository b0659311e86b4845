"""The rules of a pump's program, one function a requirement.

Each takes an `InfusionCase` and returns all its findings, in the order of the program. Paths are
those of the therapy file. A window that the basal alone overfills points at the basal's largest
step, one that the boluses overfill at the patient's bolus.
"""

from device_profiles.diagnostics import Finding, Severity
from device_profiles.notation import (
    mass_unit_for,
    write_concentration,
    write_duration,
    write_flow,
    write_mass,
    write_mass_rate,
    write_mass_rate_by_hour,
    write_volume,
)
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MS,
    Femtograms,
    FemtogramsPerDay,
    NanoLitresPerDay,
    divide_up,
    flow_of_bolus,
    mass_of,
    mass_rate_of,
)
from safety.dose import basal_mass, can_be_bounded, is_a_day, largest_flow, worst_case_mass
from safety.limits import (
    DOSE_WINDOWS,
    DoseWindow,
    DrugLimits,
    Limit,
    PumpLimits,
    missing_limit,
    missing_limits,
)
from safety.outputs import BolusOutput, DrugInPump, PatientBolusOutput, PumpProgram
from safety.rules_bridge import judge_bridge_flows, judge_bridge_form, judge_bridge_windows
from safety.rules_reservoir import (
    InfusionCase,
    InfusionRule,
    judge_drugs,
    judge_reservoir,
    judge_vials,
)

FEMTOGRAMS_IN_NANOGRAM = 1_000_000


def _mass_and_limit(value: int, limit: Limit) -> tuple[str, str]:
    """A mass beside its limit, in one unit; rounded up to whole ng, so never read as less."""
    unit = mass_unit_for(Femtograms(limit.value))
    shown = divide_up(value, FEMTOGRAMS_IN_NANOGRAM) * FEMTOGRAMS_IN_NANOGRAM
    return write_mass(Femtograms(shown), unit), write_mass(Femtograms(limit.value), unit)


def _both_rates(rate: FemtogramsPerDay) -> str:
    """A rate by day and by hour (accident A1: a day's dose taken for an hour's)."""
    unit = mass_unit_for(rate)
    return f"{write_mass_rate(rate, unit)} ({write_mass_rate_by_hour(rate, unit)})"


def judge_flows(case: InfusionCase) -> list[Finding]:
    """SR-07: steps that make a day, each a flow that the pump can deliver, with the bolus too.

    Protects from a dose that rounds to nothing or that the pump cannot move, too little as much as
    too much. Harm: a small dose needs a weaker concentration. Longest denial: until the file is
    corrected. Way out: another concentration or device. A minimum rate is a dose, so a flow below
    it is never raised to it.
    """
    program, profile = case.program, case.profile
    findings: list[Finding] = []
    steps = len(program.basal)
    if not is_a_day(program.basal) or steps > profile.basal_steps_max:
        most = f"1 to {profile.basal_steps_max}"
        message = f"the basal has {steps} steps; it needs {most}, each at its own later minute"
        hint = "order the steps by their time of the day"
        findings.append(
            Finding("SR-07", "hard", "basal", message, f"{steps}", most, "device", hint)
        )
    if not program.drugs:
        return findings
    low, high, grid = profile.flow_min, profile.flow_max, profile.flow_step
    for index, step in enumerate(program.basal):
        if low <= step.flow <= high and step.flow % grid == 0:
            continue
        findings.append(_flow_finding(case, index, step.flow))
    bolus = program.patient_bolus
    if bolus is not None and bolus.over > 0 and program.basal:
        findings += _judge_bolus_flow(bolus, program, profile, "patient_bolus.over")
    return findings


def _flow_finding(case: InfusionCase, index: int, flow: NanoLitresPerDay) -> Finding:
    profile, concentration = case.profile, case.program.drugs[0].concentration
    rate = mass_rate_of(flow, concentration)
    if flow == 0 and index < len(case.therapy.basal):
        rate = case.therapy.basal[index].rate
    if flow < profile.flow_min:
        what, bound = "at least", profile.flow_min
    elif flow > profile.flow_max:
        what, bound = "at most", profile.flow_max
    else:
        what, bound = "in whole steps of", profile.flow_step
    message = (
        f"{_both_rates(rate)} at {write_concentration(concentration)} is {write_flow(flow)}; the "
        f"device delivers {what} {write_flow(bound)}"
    )
    if flow == 0:
        message += "; a basal never rounds or falls to no flow at all"
    limit = write_mass_rate(mass_rate_of(bound, concentration), mass_unit_for(rate))
    value = write_mass_rate(rate, mass_unit_for(rate))
    path = f"basal[{index}].rate"
    hint = "check unit and period of the rate, then the concentration"
    return Finding("SR-07", "hard", path, message, value, limit, "device", hint)


def _judge_bolus_flow(
    bolus: BolusOutput | PatientBolusOutput, program: PumpProgram, profile: PumpProfile, path: str
) -> list[Finding]:
    """SR-07, SR-17: a bolus on top of the largest basal stays within the device's largest flow."""
    basal = largest_flow(program)
    own = flow_of_bolus(bolus.volume, bolus.over)
    if basal + own <= profile.flow_max:
        return []
    both = write_flow(NanoLitresPerDay(basal + own))
    limit = write_flow(profile.flow_max)
    message = (
        f"{write_volume(bolus.volume)} over {write_duration(bolus.over)} on top of the largest "
        f"basal is {both}; the device delivers at most {limit}"
    )
    hint = "give the bolus over a longer time"
    value = write_duration(bolus.over)
    return [Finding("SR-07", "hard", path, message, value, limit, "device", hint)]


def judge_button(case: InfusionCase) -> list[Finding]:
    """SR-16: a lockout that is never 0, no shorter than the bolus or the device's; a count.

    Lockout runs from start to start. Protects from boluses that overlap or follow without end.
    Harm: pain between boluses. Longest denial: until the file is corrected. Way out: a longer
    lockout or a shorter bolus.
    """
    bolus, findings = case.program.patient_bolus, list[Finding]()
    if bolus is None:
        return findings

    def refuse(key: str, message: str, value: str, limit: str, source: str) -> None:
        hint = "correct the times of the patient's bolus"
        path = f"patient_bolus.{key}"
        findings.append(Finding("SR-16", "hard", path, message, value, limit, source, hint))

    lockout, over = write_duration(bolus.lockout), write_duration(bolus.over)
    least = write_duration(case.profile.lockout_min)
    if bolus.over <= 0:
        refuse("over", "a bolus takes time", over, "above 0 s", "rule")
    if bolus.lockout <= 0:
        refuse("lockout", "a lockout is never 0", lockout, least, "rule")
    elif bolus.lockout < case.profile.lockout_min:
        refuse("lockout", f"{lockout} is below the device's {least}", lockout, least, "device")
    elif bolus.lockout > case.profile.lockout_max:
        longest = write_duration(case.profile.lockout_max)
        refuse("lockout", f"{lockout} is above the device's {longest}", lockout, longest, "device")
    if bolus.lockout < bolus.over:
        message = f"the lockout of {lockout} ends before the bolus of {over} does"
        refuse("lockout", message, lockout, over, "rule")
    if bolus.max_per_24h < 1:
        message = "a button that gives nothing: leave patient_bolus out instead"
        refuse("max_per_24h", message, f"{bolus.max_per_24h}", "1", "rule")
    most = case.profile.boluses_per_day_max
    if bolus.max_per_24h > most:
        message = f"{bolus.max_per_24h} boluses in 24 h are above the device's {most}"
        refuse("max_per_24h", message, f"{bolus.max_per_24h}", f"{most}", "device")
    return findings


def judge_bolus_dose(case: InfusionCase) -> list[Finding]:
    """SR-05, SR-07: the patient's bolus is a dose, and within per_bolus of each drug.

    Protects from a tenfold or thousandfold slip in one dose (accidents A7, A8). Harm: too small a
    bolus helps nobody. Longest denial: until the file is corrected. Way out: the limit or the dose
    is corrected in the file.
    """
    bolus, findings = case.program.patient_bolus, list[Finding]()
    if bolus is None:
        return findings
    if bolus.volume <= 0:
        asked = case.therapy.patient_bolus
        value = write_mass(asked.dose) if asked is not None else write_volume(bolus.volume)
        message = f"a bolus of {value} is less than the device's smallest step of volume"
        hint = "check the unit of the dose, then the concentration"
        path = "patient_bolus.dose"
        findings.append(
            Finding("SR-07", "hard", path, message, value, "0.000001 mL", "device", hint)
        )
    return findings + _judge_one_bolus(bolus, case.program, case.limits, "patient_bolus.dose")


def _judge_one_bolus(
    bolus: BolusOutput | PatientBolusOutput, program: PumpProgram, limits: PumpLimits, path: str
) -> list[Finding]:
    findings: list[Finding] = []
    for index, drug in enumerate(program.drugs):
        own = limits.find(drug.name, drug.concentration)
        limit = own.per_bolus if own is not None else None
        if limit is None:
            where = f"drugs[{index}].limits.per_bolus"
            findings.append(missing_limit(where, drug.name, "per_bolus"))
            continue
        mass = mass_of(bolus.volume, drug.concentration)
        if mass > limit.value:
            value, most = _mass_and_limit(mass, limit)
            message = (
                f"one bolus holds {value} of {drug.name}; per_bolus is {most} "
                f"(layer: {limit.source})"
            )
            hint = "check the unit of the dose and of the limit"
            findings.append(
                Finding("SR-05", "hard", path, message, value, most, limit.source, hint)
            )
    return findings


def judge_windows(case: InfusionCase) -> list[Finding]:
    """SR-04, SR-05: the worst hour, 4 hours and 24 hours of each drug, basal and boluses full.

    The worst window is judged, not today's: every bolus that lockout and count admit, at the place
    of the day where the basal gives most. Protects from a dose that only adds up later (accident
    A1). Harm: a schedule whose boluses the patient never uses is refused. Longest denial: until the
    file is corrected. Way out: fewer boluses, a longer lockout, or a limit within the layers above.
    """
    findings: list[Finding] = []
    bolus_asked = case.program.patient_bolus is not None
    findings += missing_limits(case.limits, bolus_asked=bolus_asked)
    bounded = can_be_bounded(case.program)
    for index, drug in enumerate(case.program.drugs):
        limits = case.limits.find(drug.name, drug.concentration)
        if limits is None:
            findings += [
                missing_limit(
                    f"drugs[{index}].limits.{window.quantity}", drug.name, window.quantity
                )
                for window in DOSE_WINDOWS
            ]
        elif bounded:
            for window in DOSE_WINDOWS:
                findings += _judge_window(case, drug, limits, window)
    return findings


def _judge_window(
    case: InfusionCase, drug: DrugInPump, limits: DrugLimits, window: DoseWindow
) -> list[Finding]:
    worst = worst_case_mass(case.program, drug.concentration, window.length)
    hard = limits.of(window.quantity)
    if hard is not None and worst > hard.value:
        return [_window_finding(case, drug, window, worst, hard, "hard")]
    soft = limits.per_day_soft if window.length == DAY_MS else None
    if soft is not None and worst > soft.value:
        return [_window_finding(case, drug, window, worst, soft, "soft")]
    return []


def _window_finding(
    case: InfusionCase,
    drug: DrugInPump,
    window: DoseWindow,
    worst: Femtograms,
    limit: Limit,
    severity: Severity,
) -> Finding:
    program = case.program
    basal = basal_mass(program, drug.concentration, window.length)
    value, most = _mass_and_limit(worst, limit)
    flow = largest_flow(program)
    message = (
        f"in the worst {window.words} {drug.name} reaches {value}: "
        f"{_mass_and_limit(basal, limit)[0]} of basal (up to "
        f"{_both_rates(mass_rate_of(flow, drug.concentration))}) and "
        f"{_mass_and_limit(worst - basal, limit)[0]} of patient boluses; the {severity} limit "
        f"{window.quantity} is {most} (layer: {limit.source})"
    )
    path, hint = _cause(program, basal, limit)
    if severity == "soft":
        hint += "; or a reason to override"
    return Finding(window.rule, severity, path, message, value, most, limit.source, hint)


def _cause(program: PumpProgram, basal: Femtograms, limit: Limit) -> tuple[str, str]:
    """Where a full window comes from: the largest step if the basal alone is over, else the
    patient's bolus; and what to look at."""
    if basal <= limit.value:
        return "patient_bolus.dose", "a smaller dose, fewer boluses or a longer lockout"
    flow = largest_flow(program)
    step = next(index for index, one in enumerate(program.basal) if one.flow == flow)
    return f"basal[{step}].rate", "check unit and period of the rate"


def judge_start_dose(case: InfusionCase) -> list[Finding]:
    """SR-63: an opioid's history is stated; a start dose stays in its start limits.

    A patient stated to be opioid-naive is at the start by definition and always judged; other start
    limits hold for a drug that the device has not given this patient yet. The worst 24 hours are
    compared. Protects from respiratory depression at a first dose. Harm: a slow start. Longest
    denial: until the file states a lower dose. Way out: titrate up.
    """
    findings: list[Finding] = []
    bounded = can_be_bounded(case.program)
    for index, drug in enumerate(case.program.drugs):
        limits = case.limits.find(drug.name, drug.concentration)
        if limits is None:
            continue
        if limits.history_needed and limits.history is None:
            message = f"{drug.name} is an opioid and the patient's history is not stated"
            hint = "write history: opioid-naive or opioid-tolerant, as the record says"
            path = f"drugs[{index}].history"
            findings.append(Finding("SR-63", "hard", path, message, source="formulary", hint=hint))
        if bounded and (drug.name in case.starting or limits.history == "opioid-naive"):
            findings += _judge_start(case, drug, limits)
    return findings


def _judge_start(case: InfusionCase, drug: DrugInPump, limits: DrugLimits) -> list[Finding]:
    worst = worst_case_mass(case.program, drug.concentration, DAY_MS)
    severity: Severity = "hard"
    limit = limits.start_hard
    if limit is None or worst <= limit.value:
        severity, limit = "soft", limits.start_soft
    if limit is None or worst <= limit.value:
        return []
    value, most = _mass_and_limit(worst, limit)
    whom = f" for a patient who is {limits.history}" if limits.history else ""
    flow = largest_flow(case.program)
    message = (
        f"in the worst 24 hours {drug.name} reaches {value}{whom} (basal up to "
        f"{_both_rates(mass_rate_of(flow, drug.concentration))}); the {severity} limit of a start "
        f"is {most} a day (layer: {limit.source})"
    )
    basal = basal_mass(case.program, drug.concentration, DAY_MS)
    path, hint = _cause(case.program, basal, limit)
    if severity == "soft":
        hint += "; or a reason to override"
    return [Finding("SR-63", severity, path, message, value, most, limit.source, hint)]


INFUSION_RULES: tuple[InfusionRule, ...] = (
    judge_drugs,
    judge_vials,
    judge_flows,
    judge_button,
    judge_bolus_dose,
    judge_windows,
    judge_start_dose,
    judge_reservoir,
    judge_bridge_form,
    judge_bridge_flows,
    judge_bridge_windows,
)


def judge_bolus(
    bolus: BolusOutput, program: PumpProgram, limits: PumpLimits, profile: PumpProfile
) -> list[Finding]:
    """SR-05, SR-07, SR-16: one host-started bolus by itself, on top of the verified program.

    Per-bolus limit of each drug, flow with the largest basal, positive volume and time. The windows
    are the kernel's, which knows what has been given. Protects from a slip in one dose. Harm: pain
    until the command is corrected. Longest denial: until the command is corrected. Way out: correct
    it.
    """
    findings: list[Finding] = []
    for rule, path, value, written in (
        ("SR-07", "bolus", bolus.volume, write_volume(bolus.volume)),
        ("SR-16", "bolus.over", bolus.over, write_duration(bolus.over)),
    ):
        if value <= 0:
            message = f"a bolus needs a volume and a time above zero, not {written}"
            hint = "check the unit of the dose and of the time"
            findings.append(Finding(rule, "hard", path, message, written, hint=hint))
    if bolus.over > 0:
        findings += _judge_bolus_flow(bolus, program, profile, "bolus.over")
    return findings + _judge_one_bolus(bolus, program, limits, "bolus")
