"""The rules of a bridge that need no device: what it is made of, its flows, its windows.

A fill of another concentration leaves the old mix in tubing and catheter. Until it has left, the
pump has to deliver the wanted dose in the old concentration: that is the bridge (domain 2.6).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from device_profiles.diagnostics import Finding, Severity
from device_profiles.notation import (
    mass_unit_for,
    write_concentration,
    write_flow,
    write_mass,
    write_mass_rate,
    write_minute_of_day,
    write_volume,
)
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MS,
    HOUR_MS,
    MILLION,
    Femtograms,
    Milliseconds,
    NanogramsPerMillilitre,
    NanoLitres,
    divide_up,
    flow_for,
    mass_of,
)
from device_profiles.therapy import DrugInLine, InfusionTherapy
from safety.dose import (
    bolus_time,
    can_be_bounded,
    largest_basal,
    largest_flow,
    worst_case_mass,
    worst_case_over,
)
from safety.limits import DOSE_WINDOWS, DoseWindow, DrugLimits, Limit, missing_limit
from safety.outputs import Bridge, DrugInPump, FlowStep, PumpProgram
from safety.rules_reservoir import InfusionCase

Mix = Sequence[DrugInPump | DrugInLine]

PARTS = 24
"""Into how many steps a window is cut to find the worst moment for a bridge to end in it."""


# --- what a bridge must be -----------------------------------------------------------------------


def line_volume(catheter: NanoLitres, profile: PumpProfile) -> NanoLitres:
    """What lies between the reservoir and the tip: tubing and catheter."""
    return NanoLitres(profile.tubing + catheter)


def stray_volume(program: PumpProgram, profile: PumpProfile) -> NanoLitres:
    """How far line and bridge may part by the pump's accuracy: what leaves in the wrong mix."""
    bridged = program.bridge.volume if program.bridge else 0
    return NanoLitres(divide_up(bridged * profile.accuracy, MILLION))


def concentration_in(mix: Mix, name: str) -> NanogramsPerMillilitre:
    """The concentration of a drug in a mix; 0 where it is not in it."""
    held = (drug.concentration for drug in mix if drug.name == name)
    return next(held, NanogramsPerMillilitre(0))


def is_same_mix(one: Mix, other: Mix) -> bool:
    """Whether two mixes are the same fluid; the order of the drugs is none of it."""
    return {(d.name, d.concentration) for d in one} == {(d.name, d.concentration) for d in other}


def basal_in(mix: Mix, therapy: InfusionTherapy) -> tuple[FlowStep, ...]:
    """The flows that carry a therapy's doses in another mix, rounded down.

    Empty where the drug that sets the flow is not in it: nothing carries its dose then.
    """
    concentration = concentration_in(mix, therapy.drugs[0].name)
    if concentration <= 0:
        return ()
    return tuple(FlowStep(step.start, flow_for(step.rate, concentration)) for step in therapy.basal)


def mix_words(mix: Iterable[DrugInPump | DrugInLine]) -> str:
    """A mix as people say it."""
    return " with ".join(f"{one.name} {write_concentration(one.concentration)}" for one in mix)


def hours_words(time: Milliseconds) -> str:
    """A time in hours, rounded up to hundredths."""
    whole, hundredths = divmod(divide_up(time * 100, HOUR_MS), 100)
    decimals = f".{hundredths:02}".rstrip("0").rstrip(".")
    return f"{whole}{decimals} h"


def bridge_words(bridge: Bridge) -> str:
    """A bridge as people say it: its flows, how long they last, in what."""
    steps = [write_flow(step.flow) for step in bridge.basal]
    if len(steps) > 1:
        starts = (write_minute_of_day(step.start) for step in bridge.basal)
        steps = [f"{flow} from {start}" for flow, start in zip(steps, starts, strict=True)]
    daily = largest_basal(bridge.basal, DAY_MS) if bridge.basal else 0
    if daily <= 0:
        return f"no flow of {mix_words(bridge.drugs)}"
    time = hours_words(Milliseconds(divide_up(bridge.volume * DAY_MS * DAY_MS, daily)))
    # Of several steps it depends on the hour at which the bridge begins.
    about = "about " if len(steps) > 1 else ""
    return (
        f"{', '.join(steps)} for {about}{time} "
        f"({write_volume(bridge.volume)} of {mix_words(bridge.drugs)})"
    )


# --- the rules -----------------------------------------------------------------------------------


def judge_bridge_form(case: InfusionCase) -> list[Finding]:
    """SR-12: a bridge carries this file's doses in what the file says that the line holds.

    Protects from a bridge at another dose than the therapy's, and from one that has nothing to
    bridge. Harm: a refill with another concentration waits. Longest denial: until the file is
    corrected. Way out: what the line holds goes into `bridge`, or the line is flushed and waived.
    """
    program, therapy, bridge = case.program, case.therapy, case.program.bridge
    stated = therapy.bridge_from
    if bridge is None and not stated:
        return []

    def refuse(path: str, message: str, hint: str) -> Finding:
        return Finding("SR-12", "hard", path, message, source="rule", hint=hint)

    findings: list[Finding] = []
    if stated and not basal_in(stated, therapy):
        message = (
            f"the line holds no {therapy.drugs[0].name}, the drug that sets the flow; "
            "nothing bridges to it"
        )
        hint = "check what the line holds; if it is right, flush the line and take bridge: out"
        return [refuse("bridge.from", message, hint)]
    wanted = Bridge(
        tuple(DrugInPump(one.name, one.concentration) for one in stated),
        basal_in(stated, therapy),
        line_volume(program.catheter, case.profile),
    )
    if bridge != wanted:
        message = "the program's bridge is not the one that the file asks for"
        findings.append(refuse("bridge", message, "compile the file again"))
    elif is_same_mix(bridge.drugs, program.drugs):
        message = f"line and reservoir hold the same, {mix_words(bridge.drugs)}: nothing to bridge"
        hint = "take bridge: out, or correct what the line holds"
        findings.append(refuse("bridge.from", message, hint))
    if not program.primed:
        message = "a line that is not primed holds no drug to bridge from"
        hint = "write primed: true, or take bridge: out"
        findings.append(refuse("catheter.primed", message, hint))
    return findings


def judge_bridge_flows(case: InfusionCase) -> list[Finding]:
    """SR-07: the pump can deliver every flow of a bridge.

    Protects from a dose that the pump cannot move in the old concentration. Harm: such a change of
    concentration is refused. Longest denial: until the file is corrected. Way out: a concentration
    between the two first, or the line is flushed and the bridge waived.
    """
    bridge, profile = case.program.bridge, case.profile
    if bridge is None:
        return []
    findings = []
    for index, step in enumerate(bridge.basal):
        if step.flow < profile.flow_min:
            bound, what = profile.flow_min, "at least"
        elif step.flow > profile.flow_max:
            bound, what = profile.flow_max, "at most"
        elif step.flow % profile.flow_step:
            bound, what = profile.flow_step, "in whole steps of"
        else:
            continue
        asked = (
            write_mass_rate(case.therapy.basal[index].rate)
            if index < len(case.therapy.basal)
            else "this dose"
        )
        value, limit = write_flow(step.flow), write_flow(bound)
        message = (
            f"while the line still holds {mix_words(bridge.drugs)}, {asked} is {value}; the device "
            f"delivers {what} {limit}"
        )
        hint = "a concentration between the two first; or flush the line and take bridge: out"
        path = f"basal[{index}].rate"
        findings.append(Finding("SR-07", "hard", path, message, value, limit, "device", hint))
    return findings


def judge_bridge_windows(case: InfusionCase) -> list[Finding]:
    """SR-04, SR-05: every drug in the line keeps its limits while the bridge runs and ends.

    The first drug sets the flow; what else is in the line comes along with it, and a window may
    hold the end of the bridge and the basal after it. Where the two meet, line and bridge part by
    the pump's accuracy, and what is left of one mix leaves at the flow of the other. A drug that
    only the line holds has no limits in the file: the formulary's day holds. Protects from too much
    of a second drug, and from the stronger mix at the larger flow. Harm: such a change of a mix is
    refused. Longest denial: until the file is corrected. Way out: a lower dose first, or the line
    is flushed and the bridge waived.
    """
    program, bridging = case.program, case.program.while_bridging()
    if bridging is None or not (can_be_bounded(program) and can_be_bounded(bridging)):
        return []
    findings: list[Finding] = []
    for name in dict.fromkeys(drug.name for drug in (*bridging.drugs, *program.drugs)):
        limits = next((one for one in case.limits.drugs if one.name == name), None)
        if limits is None:
            findings += _judge_leaving_drug(case, bridging, name)
            continue
        for window in DOSE_WINDOWS:
            findings += _judge_window(case, bridging, limits, window)
    return findings


def _stray_mass(
    case: InfusionCase, bridging: PumpProgram, name: str, window: Milliseconds
) -> Femtograms:
    """How much more of a drug leaves in a window because line and bridge part, rounded up.

    What is left of the stronger mix leaves at the flow that belongs to the weaker one.
    """
    before, after = (concentration_in(mix.drugs, name) for mix in (bridging, case.program))
    flow = largest_flow(case.program if before > after else bridging)
    stray = min(stray_volume(case.program, case.profile), divide_up(flow * window, DAY_MS))
    return mass_of(NanoLitres(stray), NanogramsPerMillilitre(abs(before - after)))


def _end_of_bridge(
    case: InfusionCase, bridging: PumpProgram, name: str, window: Milliseconds
) -> Femtograms:
    """The most of a drug in a window that holds the end of the bridge, beside the basal.

    The pump opens its button one lockout after the old mix has left the line, so what strays and
    the presses share the window. Searched in steps, each counted at the worse of its two ends.
    """
    button = case.program.patient_bolus
    most = 0
    for part in range(PARTS):
        begun, ended = (Milliseconds(window * one // PARTS) for one in (part, part + 1))
        presses = NanoLitres(0)
        if button is not None:
            rest = Milliseconds(window - begun - button.lockout)
            presses = NanoLitres(divide_up(button.volume * bolus_time(button, rest), button.over))
        held = mass_of(presses, concentration_in(case.program.drugs, name))
        most = max(most, _stray_mass(case, bridging, name, ended) + held)
    return Femtograms(most)


def _judge_window(
    case: InfusionCase, bridging: PumpProgram, limits: DrugLimits, window: DoseWindow
) -> list[Finding]:
    program, name = case.program, limits.name
    before, after = (concentration_in(mix.drugs, name) for mix in (bridging, program))
    alone = worst_case_mass(program, after, window.length)
    basals = ((replace(program, patient_bolus=None), after), (bridging, before))
    basal = worst_case_over(basals, window.length)
    worst = Femtograms(basal + _end_of_bridge(case, bridging, name, window.length))
    hard = limits.of(window.quantity)
    soft = limits.per_day_soft if window.length == DAY_MS else None
    pairs: tuple[tuple[Severity, Limit | None], ...] = (("hard", hard), ("soft", soft))
    for severity, limit in pairs:
        if limit is not None and worst > limit.value:
            # What the basal alone overfills is said of the basal.
            return [] if alone > limit.value else [_finding(name, window, worst, limit, severity)]
    return []


def _judge_leaving_drug(case: InfusionCase, bridging: PumpProgram, name: str) -> list[Finding]:
    path, entry = f"bridge.from.{name}", case.formulary.find(name)
    if entry is None:
        message = f"{name!r} is not in the formulary {case.formulary.name!r}"
        hint = "check what the line holds; a lab may use a formulary of its own, with sources"
        return [Finding("SR-11", "hard", path, message, name, None, "formulary", hint)]
    if entry.per_day_hard is None:
        return [missing_limit(path, name, "per_day")]
    held = worst_case_mass(bridging, concentration_in(bridging.drugs, name), DAY_MS)
    worst = Femtograms(held + _stray_mass(case, bridging, name, DAY_MS))
    day = next(window for window in DOSE_WINDOWS if window.length == DAY_MS)
    if worst > entry.per_day_hard:
        return [_finding(name, day, worst, Limit(entry.per_day_hard, "formulary"), "hard")]
    if entry.per_day_soft is not None and worst > entry.per_day_soft:
        return [_finding(name, day, worst, Limit(entry.per_day_soft, "formulary"), "soft")]
    return []


def _finding(
    name: str, window: DoseWindow, worst: Femtograms, limit: Limit, severity: Severity
) -> Finding:
    unit = mass_unit_for(Femtograms(limit.value))
    shown = Femtograms(divide_up(worst, MILLION) * MILLION)  # whole ng, never read as less
    value, most = write_mass(shown, unit), write_mass(Femtograms(limit.value), unit)
    message = (
        f"while the bridge runs and ends, {name} reaches {value} in the worst {window.words}; the "
        f"{severity} limit {window.quantity} is {most} (layer: {limit.source})"
    )
    hint = "a lower dose first; or flush the line and take bridge: out"
    path = f"bridge.from.{name}"
    return Finding(window.rule, severity, path, message, value, most, limit.source, hint)
