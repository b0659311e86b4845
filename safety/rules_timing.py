"""The rules of a stimulator's program about time: phases, rates, ramps (SR-48, SR-49, SR-50)."""

from device_profiles.diagnostics import Finding
from device_profiles.notation import (
    write_current,
    write_duration,
    write_frequency,
    write_slope,
    write_width,
)
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import MicroAmps, MilliHertz, divide_up
from safety.outputs import StimulatorProgram

US_X_MHZ = 1_000_000_000
"""A period in us is this over the rate in mHz."""


def _hard(rule: str, path: str, message: str, value: str, limit: str, hint: str) -> Finding:
    return Finding(rule, "hard", path, message, value, limit, "device", hint)


def judge_timing(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-48: counts, widths, bursts and cycle in range, and all phases fit in the period.

    Protects from pulses that run into each other and leave charge behind, and from cycles so fast
    that they drain a battery. Harm: none known. Longest denial: until the file is corrected. Way
    out: less width, rate, areas or pulses.
    """
    return [
        *_judge_counts(program, profile),
        *_judge_widths(program, profile),
        *_judge_cycle(program, profile),
        *_judge_fit(program, profile),
    ]


def _judge_counts(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    path, findings = f"programs[{program.slot}]", []
    if not 0 <= program.slot < profile.programs_max:
        place, most = f"{program.slot + 1}", f"{profile.programs_max}"
        message = f"program {program.name} takes place {place}; the device holds {most} programs"
        findings.append(_hard("SR-48", path, message, place, most, "remove a program"))
    areas = len(program.areas)
    if not 1 <= areas <= profile.areas_max:
        limit = f"1 to {profile.areas_max}"
        message = f"program {program.name} has {areas} areas; the device runs {limit}"
        hint = "remove an area" if areas else "write an area"
        findings.append(_hard("SR-48", f"{path}.areas", message, f"{areas}", limit, hint))
    pulses = program.burst_pulses
    if program.waveform != "burst":
        if pulses != 1 or program.intra_rate != 0:
            message = f"a {program.waveform} program gives one pulse a period, not {pulses}"
            hint = "only the waveform burst has pulses and an intra_rate"
            findings.append(_hard("SR-48", f"{path}.burst", message, f"{pulses}", "1", hint))
    elif not profile.burst_pulses_min <= pulses <= profile.burst_pulses_max:
        limit = f"{profile.burst_pulses_min} to {profile.burst_pulses_max}"
        message = f"a burst of {pulses} pulses; the device gives {limit}"
        hint = "write a count that the device gives"
        findings.append(_hard("SR-48", f"{path}.burst.pulses", message, f"{pulses}", limit, hint))
    return findings


def _judge_widths(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    findings = []
    for index, area in enumerate(program.areas):
        width = area.pulse_width
        in_range = profile.width_min <= width <= profile.width_max
        if not in_range or width % profile.width_step:
            low, high = write_width(profile.width_min), write_width(profile.width_max)
            limit = f"{low} to {high} in steps of {write_width(profile.width_step)}"
            findings.append(
                _hard(
                    "SR-48",
                    f"programs[{program.slot}].areas[{index}].pulse_width",
                    f"the device has no pulse width of {write_width(width)}; it has {limit}",
                    write_width(width),
                    limit,
                    "write a width that the device has",
                )
            )
    return findings


def _judge_cycle(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    if program.stimulate == 0 and program.pause == 0:
        return []
    findings = []
    for key, time in (("stimulate", program.stimulate), ("pause", program.pause)):
        if time < profile.cycle_min:
            bound, what = profile.cycle_min, "shorter"
        elif time > profile.cycle_max:
            bound, what = profile.cycle_max, "longer"
        else:
            continue
        limit = write_duration(bound)
        findings.append(
            _hard(
                "SR-48",
                f"programs[{program.slot}].cycle.{key}",
                f"{key} {write_duration(time)} is {what} than the device's {limit}",
                write_duration(time),
                limit,
                "keep within it, or leave the cycle out",
            )
        )
    return findings


def _judge_fit(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-48: all areas, one after the other, in one period; each pulse in its intra period.

    An area takes: with active recharge, two widths and the interphase gap; with passive, the
    same, for a passive recharge is given at least the time of its pulse. A burst takes its
    intra periods, then its last pulse with gap (and its active recharge, or after the burst at
    least as much passive recharge as all its pulses took). Exact: times are multiplied by the
    rates, never divided.
    """
    bursts = program.waveform == "burst"
    rate, intra, count = program.rate, program.intra_rate, len(program.areas)
    if rate <= 0 or count == 0 or (bursts and intra <= 0):
        return []
    findings = []
    busy = 0
    for index, area in enumerate(program.areas):
        width = area.pulse_width
        active = area.recharge == "active"
        pulse = (2 * width if active else width) + profile.interphase
        busy += pulse + (0 if active else program.burst_pulses * width)
        if bursts and pulse * intra > US_X_MHZ:
            spacing = write_frequency(intra)
            findings.append(
                _hard(
                    "SR-48",
                    f"programs[{program.slot}].areas[{index}].pulse_width",
                    f"a pulse of the burst takes {pulse} us with gap and active recharge, but at "
                    f"{spacing} the next follows after {US_X_MHZ // intra} us",
                    write_width(width),
                    f"{US_X_MHZ // intra} us",
                    "less width, or a slower intra_rate",
                )
            )
    scale = intra if bursts else MilliHertz(1)
    spans = count * (program.burst_pulses - 1) * US_X_MHZ if bursts else 0
    needed = spans + busy * scale
    if needed * rate > US_X_MHZ * scale:
        widest = max(range(count), key=lambda index: program.areas[index].pulse_width)
        period = f"{US_X_MHZ // rate} us"
        findings.append(
            _hard(
                "SR-48",
                f"programs[{program.slot}].areas[{widest}].pulse_width",
                f"the phases of all areas take {divide_up(needed, scale)} us with gaps and "
                f"recharge, but one period at {write_frequency(rate)} is {period}",
                write_width(program.areas[widest].pulse_width),
                period,
                "less width, a slower rate, or fewer areas or pulses",
            )
        )
    return findings


def judge_rate(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-49: the rate lies in the set of its waveform; between the two sets is a gap.

    Protects from rates that nobody has evaluated. Harm: such a rate cannot be studied with this
    profile. Longest denial: for ever, with this profile. Way out: another profile, with its own
    sources.
    """
    own_set = program.rate == profile.rate_high
    if program.waveform != "high-frequency":
        own_set = _in_band(program.rate, profile)
    intra_set = program.waveform != "burst" or _in_band(program.intra_rate, profile)
    if own_set and intra_set:
        return []
    findings = []
    path, rate = f"programs[{program.slot}]", write_frequency(program.rate)
    low, most = write_frequency(profile.rate_min), write_frequency(profile.rate_max)
    high = write_frequency(profile.rate_high)
    steps = f"{low} to {most} in steps of {write_frequency(profile.rate_step)}"
    hint = "write a rate that the device has for this waveform"
    if not own_set:
        limit = high if program.waveform == "high-frequency" else steps
        message = f"{program.waveform} runs at {limit}, not at {rate}"
        if profile.rate_max < program.rate < profile.rate_high:
            message += f"; rates between {most} and {high} have not been evaluated"
        findings.append(_hard("SR-49", f"{path}.rate", message, rate, limit, hint))
    if not intra_set:
        intra = write_frequency(program.intra_rate)
        message = f"the pulses of a burst follow each other at {steps}, not at {intra}"
        findings.append(_hard("SR-49", f"{path}.burst.intra_rate", message, intra, steps, hint))
    return findings


def _in_band(rate: MilliHertz, profile: StimulatorProfile) -> bool:
    return profile.rate_min <= rate <= profile.rate_max and rate % profile.rate_step == 0


def judge_ramp(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-50: the ramp in range, and its slope too, judged at the ceiling.

    Amplitude and ramp of a program set the slope of its every rise. The amplitude may become any up
    to the ceiling, and a device may take the ramp's time for whatever is set, so the slope is
    judged as if the ceiling were set. Protects from a jolt. Harm: a slower start. Longest denial:
    until the file is corrected. Way out: a longer ramp.
    """
    path, ramp = f"programs[{program.slot}].ramp", write_duration(program.ramp)
    if not profile.ramp_min <= program.ramp <= profile.ramp_max:
        limit = f"{write_duration(profile.ramp_min)} to {write_duration(profile.ramp_max)}"
        message = f"a ramp of {ramp}; the device ramps in {limit}"
        return [_hard("SR-50", path, message, ramp, limit, "write a ramp that the device has")]
    tops = [max(area.amplitude, area.ceiling) for area in program.areas]
    highest = max(tops, default=MicroAmps(0))
    if highest * 1_000 > profile.slope_max * program.ramp:
        limit = write_slope(profile.slope_max)
        message = (
            f"a rise from zero to {write_current(highest)} (the highest an area may be set to) in "
            f"{ramp} is steeper than the device's {limit}"
        )
        return [_hard("SR-50", path, message, ramp, limit, "write a longer ramp")]
    return []
