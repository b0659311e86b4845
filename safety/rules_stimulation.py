"""The rules of a stimulator's program about current, one function a requirement.

Each takes one `StimulatorProgram` (what the device will show) and the profile, and returns all
its findings in the order of the program. Paths are those of the therapy file, with the program's
slot as its index. The rules about time are in `rules_timing`; `STIMULATION_RULES` holds all.
"""

from collections.abc import Callable

from device_profiles.diagnostics import Finding, Severity
from device_profiles.notation import (
    write_charge_density,
    write_charge_rate,
    write_current,
    write_duration,
    write_frequency,
    write_hundredths,
    write_impedance,
    write_share,
    write_voltage,
    write_width,
)
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import (
    MicroAmps,
    Milliseconds,
    MilliVolts,
    Ohms,
    Percent,
    PicoCoulombs,
    charge_per_phase,
    share_of,
    voltage,
)
from device_profiles.therapy import CASE, ElectrodeShare, contact_name
from safety.charge import charge_report, charge_thresholds, exceeds_charge_rate, microcoulombs
from safety.limits import Limit, effective, wider_layer
from safety.outputs import AreaOutput, StimulatorProgram
from safety.rules_balance import judge_balance
from safety.rules_timing import judge_ramp, judge_rate, judge_timing

StimulationRule = Callable[[StimulatorProgram, StimulatorProfile], list[Finding]]


def area_path(program: StimulatorProgram, area: int) -> str:
    """The path of an area in the therapy file."""
    return f"programs[{program.slot}].areas[{area}]"


def _levels(area: AreaOutput) -> tuple[tuple[str, str, MicroAmps], ...]:
    return (
        ("amplitude", "the set amplitude", area.amplitude),
        ("max_amplitude", "the patient's ceiling", area.ceiling),
    )


def driven_contacts(area: AreaOutput) -> list[ElectrodeShare]:
    """The contacts of an area without the case, whose surface no limit of charge concerns."""
    return [electrode for electrode in area.electrodes if electrode.contact != CASE]


def _device(
    rule: str,
    path: str,
    message: str,
    value: str | None,
    limit: str,
    hint: str,
    severity: Severity = "hard",
) -> Finding:
    return Finding(rule, severity, path, message, value, limit, "device", hint)


def judge_amplitude(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-40, SR-61: amplitude and ceiling in the device's range and steps, amplitude in ceiling.

    Protects from a shock by a current that this patient never tolerated. Harm: therapy stays too
    weak until the ceiling is set anew. Longest denial: until the file is corrected. Way out: find
    the ceiling with the patient, write it.
    """
    findings: list[Finding] = []
    most, step = profile.amplitude_max, profile.amplitude_step
    for index, area in enumerate(program.areas):
        path = area_path(program, index)
        for key, words, current in _levels(area):
            if current < 0 or current % step:
                value, limit = write_current(current), write_current(step)
                message = f"{words} {value} is not zero or more in whole steps of {limit}"
                hint = "write a current that the device has"
                findings.append(_device("SR-40", f"{path}.{key}", message, value, limit, hint))
        device = Limit(most, "device")
        if area.ceiling > most:
            own, outer = write_current(area.ceiling), write_current(most)
            findings.append(
                wider_layer(
                    f"{path}.max_amplitude", "max_amplitude", own, "patient", outer, "device"
                )
            )
        tightest = effective((device, Limit(area.ceiling, "patient")))
        if tightest is not None and area.amplitude > tightest.value:
            value, limit = write_current(area.amplitude), write_current(MicroAmps(tightest.value))
            message = f"amplitude {value} is above {limit}, the ceiling of the {tightest.source}"
            hint = "lower the amplitude; only a ceiling found with the patient may rise"
            findings.append(
                Finding(
                    "SR-40",
                    "hard",
                    f"{path}.amplitude",
                    message,
                    value,
                    limit,
                    tightest.source,
                    hint,
                )
            )
    return findings


def judge_charge(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-41: the charge of each contact and phase, at the set amplitude and at the ceiling.

    Hard above the profile's hard density; soft above its soft density or from its Shannon k. One
    finding for an area and level, naming its worst contact; one more, soft, for the charge a
    second. The case is excluded. A burst is judged pulse by pulse: its build-up before the recharge
    is no one phase, else a vendor's nominal burst would be flagged. Protects nerve tissue. Harm:
    published settings above the soft limits need a reason each time. Longest denial: above the hard
    limit until the file is corrected, below it none with a reason. Way out: spread the current, or
    override with a reason.
    """
    findings: list[Finding] = []
    thresholds = charge_thresholds(profile.charge, profile.contact_area)
    for index, area in enumerate(program.areas):
        driven = driven_contacts(area)
        if not driven:
            continue
        worst = max(driven, key=lambda electrode: abs(electrode.share))
        for key, words, level in _levels(area):
            charge = charge_per_phase(share_of(level, worst.share), area.pulse_width)
            if charge >= thresholds.first:
                path = f"{area_path(program, index)}.{key}"
                at = f"at {words} {write_current(level)} contact {contact_name(worst.contact)}"
                findings.append(_charge_finding(path, at, write_current(level), charge, profile))
    return findings + _judge_charge_rate(program, profile)


def _charge_finding(
    path: str, at: str, value: str, charge: PicoCoulombs, profile: StimulatorProfile
) -> Finding:
    limits = profile.charge
    thresholds = charge_thresholds(limits, profile.contact_area)
    report = charge_report(charge, profile.contact_area)
    hard = charge >= thresholds.density_hard
    broken = []
    if hard:
        broken.append(write_charge_density(limits.density_hard))
    elif charge >= thresholds.density_soft:
        broken.append(write_charge_density(limits.density_soft))
    if charge >= thresholds.shannon_soft and not hard:
        broken.append(f"k {write_hundredths(limits.shannon_k_soft_centi)}")
    message = (
        f"{at} carries {microcoulombs(charge)} in each phase: {report.density_uC_per_cm2} uC/cm2, "
        f"Shannon k {report.shannon_k}; the device's {'hard' if hard else 'soft'} limit is "
        + " and ".join(broken)
    )
    hint = "less current or width, or more contacts to share it"
    if not hard:
        hint += "; or a reason to override"
    severity: Severity = "hard" if hard else "soft"
    return _device("SR-41", path, message, value, ", ".join(broken), hint, severity)


def _judge_charge_rate(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-41: the charge a second of each contact, summed over the areas that use it.

    One finding for a program: of the worst contact at the set amplitudes if those are over,
    else with all areas at their ceilings.
    """
    limit = profile.charge.charge_rate_soft
    for level, words in enumerate(("set amplitudes", "patient's ceilings")):
        totals: dict[int, int] = {}
        for area in program.areas:
            current = area.ceiling if level else area.amplitude
            for electrode in driven_contacts(area):
                charge = charge_per_phase(share_of(current, electrode.share), area.pulse_width)
                totals[electrode.contact] = totals.get(electrode.contact, 0) + charge
        worst = max(totals, key=lambda contact: totals[contact], default=CASE)
        total = PicoCoulombs(totals.get(worst, 0))
        if exceeds_charge_rate(total, program.burst_pulses, program.rate, limit):
            a_second = microcoulombs(total * program.burst_pulses * program.rate // 1_000)
            message = (
                f"at the {words} contact {contact_name(worst)} carries {a_second} a second, "
                f"summed over the areas; the device's soft limit is {write_charge_rate(limit)}"
            )
            hint = "less current, width or rate; or a reason to override"
            value, path = write_frequency(program.rate), f"programs[{program.slot}].rate"
            most = write_charge_rate(limit)
            return [_device("SR-41", path, message, value, most, hint, "soft")]
    return []


def judge_electrodes(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-46: a cathode and an anode, shares that add up, and the cap of each contact.

    The cap holds at the set amplitude and at the ceiling; the case is exempt. Protects from current
    that takes a way nobody chose, and from one contact carrying more than it may. Harm: none known.
    Longest denial: until the file is corrected. Way out: correct the shares, or share among more
    contacts.
    """
    findings: list[Finding] = []
    for index, area in enumerate(program.areas):
        findings += _judge_shares(f"{area_path(program, index)}.electrodes", area, profile)
        driven = driven_contacts(area)
        if not driven:
            continue
        worst = max(driven, key=lambda electrode: abs(electrode.share))
        for key, words, level in _levels(area):
            current = MicroAmps(abs(share_of(level, worst.share)))
            if current > profile.contact_current_max:
                value, cap = write_current(level), write_current(profile.contact_current_max)
                message = (
                    f"at {words} {value} contact {contact_name(worst.contact)} carries "
                    f"{write_current(current)}; the device allows {cap} a contact"
                )
                hint = "share the current among more contacts"
                path = f"{area_path(program, index)}.{key}"
                findings.append(_device("SR-46", path, message, value, cap, hint))
    return findings


def _judge_shares(path: str, area: AreaOutput, profile: StimulatorProfile) -> list[Finding]:
    findings: list[Finding] = []
    hint = "cathodes share -100 %, anodes +100 %, each contact named once"

    def refuse(where: str, message: str, value: str | None, limit: str, source: str) -> None:
        findings.append(Finding("SR-46", "hard", where, message, value, limit, source, hint))

    seen: set[int] = set()
    for electrode in area.electrodes:
        name, share = contact_name(electrode.contact), write_share(electrode.share)
        where = f"{path}.{name}"
        if not 0 <= electrode.contact <= profile.contacts:
            limit = f"E1 to E{profile.contacts} and case"
            refuse(where, f"the device has no contact {name}", share, limit, "device")
        if electrode.contact in seen:
            refuse(where, f"{name} is named twice in one area", share, "once", "rule")
        seen.add(electrode.contact)
        if electrode.share == 0:
            refuse(where, f"{name} has no share of the current", share, "not 0 %", "rule")
        if electrode.contact == CASE and electrode.share < 0:
            refuse(where, "the case may only be an anode", share, "above 0 %", "rule")
    for kind, full in (("cathode", Percent(-100)), ("anode", Percent(100))):
        total = Percent(sum(one.share for one in area.electrodes if one.share * full > 0))
        if total == 0:
            refuse(path, f"there is no {kind}", None, write_share(full), "rule")
        elif total != full:
            message = f"the {kind}s share {write_share(total)}, not {write_share(full)}"
            refuse(path, message, write_share(total), write_share(full), "rule")
    return findings


STIMULATION_RULES: tuple[StimulationRule, ...] = (
    judge_amplitude,
    judge_charge,
    judge_electrodes,
    judge_balance,
    judge_timing,
    judge_rate,
    judge_ramp,
)


# --- rules that need what the device holds or measured ---------------------------------------


def judge_ceilings_kept(old: StimulatorProgram, new: StimulatorProgram) -> list[Finding]:
    """SR-44: areas whose ceiling was found for other contacts or a narrower pulse; soft.

    Other contacts ask whenever a ceiling above zero is written, since nothing is known of them; a
    wider pulse asks when the charge at the new ceiling is at least that at the old one. Areas are
    compared by their place; an area that was not there before has no old ceiling. Protects from an
    old ceiling carried over silently. Harm: one more reason to give. Longest denial: until a reason
    is given. Way out: find the ceiling anew, and say so.
    """
    findings: list[Finding] = []
    for index, (before, after) in enumerate(zip(old.areas, new.areas, strict=False)):
        moved = set(before.electrodes) != set(after.electrodes)
        wider = (
            after.pulse_width > before.pulse_width
            and after.ceiling * after.pulse_width >= before.ceiling * before.pulse_width
        )
        if after.ceiling == 0 or not (moved or wider):
            continue
        value, was = write_current(after.ceiling), write_current(before.ceiling)
        what = "contacts" if moved else "width"
        message = (
            f"max_amplitude {value} must be confirmed for the new {what}; the device holds {was} "
            f"at {write_width(before.pulse_width)} for the old one"
        )
        hint = "find the ceiling with the patient again, then give that as the reason"
        path = f"{area_path(new, index)}.max_amplitude"
        findings.append(Finding("SR-44", "soft", path, message, value, was, "patient", hint))
    return findings


def judge_impedance(
    program: StimulatorProgram,
    ohms: tuple[Ohms, ...],
    age: Milliseconds,
    profile: StimulatorProfile,
) -> list[Finding]:
    """SR-47: a fresh measurement, no short or open contact in use, and voltage enough.

    ``ohms`` holds E1, E2, …; ``age`` in ms; a negative age (a clock that jumped) is not fresh. An
    area needs the voltage of its largest cathode plus its largest anode; a reading is taken against
    the case and holds it, so the case adds none. Protects from current through a broken lead. Harm:
    no start until measured, and measuring drives pulses. Longest denial: until a measurement finds
    the contacts whole. Way out: measure.
    """
    path, fresh = f"programs[{program.slot}]", profile.impedance.fresh_for
    if not 0 <= age <= fresh:
        value, limit = write_duration(age), write_duration(fresh)
        message = f"the impedances are {value} old; they count for {limit}"
        return [_device("SR-47", path, message, value, limit, "measure them again")]
    findings: list[Finding] = []
    low, high = profile.impedance.short_below, profile.impedance.open_above
    band = f"{write_impedance(low)} to {write_impedance(high)}"
    for index, area in enumerate(program.areas):
        cathode = anode = 0
        for electrode in driven_contacts(area):
            name = contact_name(electrode.contact)
            where = f"{area_path(program, index)}.electrodes.{name}"
            if electrode.contact > len(ohms):
                message, hint = f"{name} was not measured", "measure it"
                findings.append(_device("SR-47", where, message, None, band, hint))
                continue
            impedance = ohms[electrode.contact - 1]
            if not low <= impedance <= high:
                value = write_impedance(impedance)
                message = f"{name} is {'short' if impedance < low else 'open'} at {value}"
                hint = "check lead and plug, or use other contacts"
                findings.append(_device("SR-47", where, message, value, band, hint))
            drop = voltage(share_of(area.amplitude, electrode.share), impedance)
            if electrode.share < 0:
                cathode = max(cathode, drop)
            else:
                anode = max(anode, drop)
        needed = MilliVolts(cathode + anode)
        if needed > profile.compliance:
            value, limit = write_current(area.amplitude), write_voltage(profile.compliance)
            message = (
                f"{value} needs {write_voltage(needed)} through cathode and anode; the device "
                f"has {limit}"
            )
            where = f"{area_path(program, index)}.amplitude"
            hint = "less current, or contacts of lower impedance"
            findings.append(_device("SR-47", where, message, value, limit, hint))
    return findings
