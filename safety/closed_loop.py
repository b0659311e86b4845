"""A closed loop on one area: from what a sensor reads to the next amplitude. Pure, in integers.

The law is incremental: the next amplitude is the present one plus gain times error. What was asked
for and cut off is forgotten at once, so there is no sum that could wind up: at the ceiling, the
first reading above the target brings the amplitude down.

A loop has no authority of its own. Each rise it asks for is an ordinary `ChangeAmplitude`, judged
and recorded; each fall is a de-escalation. It is here so that what it asks for is bounded twice.
"""

from dataclasses import dataclass, replace

from device_profiles.diagnostics import Finding
from device_profiles.notation import write_current, write_duration
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import MicroAmps, MicroVolts, Milliseconds
from safety.limits import wider_layer
from safety.outputs import StimulatorProgram
from safety.review import review_stimulation

FASTEST = Milliseconds(100)
"""The shortest time between two updates: each rise waits for the disk; own decision."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What an error of the sensor is worth: ``current`` uA for each ``potential`` uV."""

    current: MicroAmps
    potential: MicroVolts


@dataclass(frozen=True, slots=True)
class Sensor:
    """Which readings count: younger than ``fresh_for``, strictly between two ends of its range.

    ``no_data`` are the numbers by which this instrument says that it has none (0xFFFF, -1, …).
    """

    fresh_for: Milliseconds
    lowest: MicroVolts
    highest: MicroVolts
    no_data: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What a person decides about a loop.

    ``ceiling`` is the most it may set, ``fallback`` where it goes without its sensor, ``slew`` the
    most it may rise by in one update; an update comes each ``every`` ms.
    """

    target: MicroVolts
    gain: Gain
    floor: MicroAmps
    ceiling: MicroAmps
    fallback: MicroAmps
    slew: MicroAmps
    every: Milliseconds
    sensor: Sensor


@dataclass(frozen=True, slots=True)
class Reading:
    """What the sensor read, and when, on the same clock as ``now``; ``None``: nothing."""

    microvolts: int | None
    taken: Milliseconds


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where a loop stands; ``lost`` is why it fell back, which only a person undoes.

    ``newest`` is when the last reading was taken that it acted on.
    """

    amplitude: MicroAmps
    lost: str | None = None
    newest: Milliseconds | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop's settings with what the area and the device make of them."""

    settings: LoopSettings
    clamp: MicroAmps
    step: MicroAmps


def loop_on(
    settings: LoopSettings, program: StimulatorProgram, area: int, profile: StimulatorProfile
) -> Loop:
    """The loop on one area (from 0): clamped to the lowest ceiling there is."""
    ceilings = (settings.ceiling, program.areas[area].ceiling, profile.amplitude_max)
    return Loop(settings, min(ceilings), profile.amplitude_step)


def next_step(
    loop: Loop, state: LoopState, reading: Reading | None, now: Milliseconds
) -> LoopState:
    """SR-51: the next amplitude: clamped, slewed upward, and the fallback without a sensor.

    Rounded down to the device's steps. A fall is not slewed: less is the safe direction. A reading
    that was acted on before moves nothing. Protects from a peak that is held, or climbed further,
    by a sensor that no longer sees. Harm: therapy is at its fallback until a person has looked.
    Longest denial: until then. Way out: mend the sensor, then begin the loop again.
    """
    if state.lost is not None:
        return state
    settings = loop.settings
    lost = why_lost(settings.sensor, reading, now)
    if lost is not None:
        return replace(state, amplitude=fallback_from(loop, state.amplitude), lost=lost)
    assert reading is not None
    assert reading.microvolts is not None
    if state.newest is not None and reading.taken <= state.newest:
        return replace(state, amplitude=min(state.amplitude, loop.clamp))
    error = settings.target - reading.microvolts
    wanted = state.amplitude + error * settings.gain.current // settings.gain.potential
    slewed = min(max(wanted, settings.floor), state.amplitude + settings.slew)
    amplitude = min(slewed, loop.clamp)
    return LoopState(MicroAmps(amplitude - amplitude % loop.step), None, reading.taken)


def fallback_from(loop: Loop, amplitude: MicroAmps) -> MicroAmps:
    """SR-51: where a loop goes that has lost its sensor: never up, whatever it had come to."""
    return min(amplitude, loop.settings.fallback, loop.clamp)


def why_lost(sensor: Sensor, reading: Reading | None, now: Milliseconds) -> str | None:
    """SR-51: why a reading is none, in words; ``None`` if it may be acted on.

    Protects from a number that only looks like one: a sentinel, a rail of the amplifier, an old
    value. Harm: a sensor that really reads its rail counts as lost. Way out: a wider range.
    """
    if reading is None or reading.microvolts is None:
        return "the sensor gave no reading"
    value, age = reading.microvolts, now - reading.taken
    if type(value) is not int:
        return f"the sensor gave {value!r}, which is no whole number of uV"
    if value in sensor.no_data:
        return f"the sensor gave {value}, by which it says that it has no data"
    if not sensor.lowest < value < sensor.highest:
        return (
            f"the sensor is saturated at {value} uV: it reads from {sensor.lowest} to "
            f"{sensor.highest} uV"
        )
    if not 0 <= age <= sensor.fresh_for:
        how = f"{write_duration(Milliseconds(age))} old" if age > 0 else "from the future"
        return f"the reading is {how}; one counts for {write_duration(sensor.fresh_for)}"
    return None


# --- before it begins ----------------------------------------------------------------------------


def judge_loop(
    settings: LoopSettings, program: StimulatorProgram, area: int, profile: StimulatorProfile
) -> list[Finding]:
    """SR-51: settings that make no loop, or one that asks for what no person would be let.

    Protects from positive feedback, from a loop that runs ahead of the device's ramp, and from a
    fallback that is the peak. Harm: an area whose ceiling needs a reason is not followed: a loop
    gives none. Longest denial: until the settings are corrected. Way out: correct them; lower the
    area's ceiling.
    """
    loop = loop_on(settings, program, area, profile)
    findings = [
        *_judge_levels(loop),
        *_judge_pace(settings, program, area, profile),
        *_judge_sensor(settings, profile),
    ]
    own, outer = settings.ceiling, program.areas[area].ceiling
    if own > outer:
        texts = write_current(own), write_current(outer)
        findings.append(
            wider_layer("loop.ceiling", "ceiling", texts[0], "bench", texts[1], "patient")
        )
    if findings:
        return findings
    areas = list(program.areas)
    areas[area] = replace(areas[area], amplitude=loop.clamp)
    return list(review_stimulation((replace(program, areas=tuple(areas)),), profile))


def _hard(key: str, message: str, hint: str) -> Finding:
    return Finding("SR-51", "hard", f"loop.{key}", message, hint=hint)


def _judge_levels(loop: Loop) -> list[Finding]:
    settings, findings = loop.settings, []
    if settings.gain.current <= 0 or settings.gain.potential <= 0:
        text = "a gain is a current above zero for a potential above zero"
        findings.append(_hard("gain", text, "a reading above the target has to lower the current"))
    step = write_current(loop.step)
    for key, level in (
        ("floor", settings.floor),
        ("ceiling", settings.ceiling),
        ("fallback", settings.fallback),
        ("slew", settings.slew),
    ):
        if level < 0 or level % loop.step:
            text = f"{key} {write_current(level)} is not zero or more in whole steps of {step}"
            findings.append(_hard(key, text, "write a current that the device has"))
    if not 0 < loop.step <= settings.slew:
        text = f"a slew of {write_current(settings.slew)} never rises: a step is {step}"
        findings.append(_hard("slew", text, "write at least one step of the device"))
    if settings.floor > loop.clamp:
        text = f"floor {write_current(settings.floor)} is above {write_current(loop.clamp)}"
        findings.append(_hard("floor", text, "lower it"))
    if settings.fallback >= loop.clamp:
        text = (
            f"fallback {write_current(settings.fallback)} is not below "
            f"{write_current(loop.clamp)}, the most that the loop may set"
        )
        findings.append(_hard("fallback", text, "write an amplitude that is safe unwatched"))
    return findings


def _judge_pace(
    settings: LoopSettings, program: StimulatorProgram, area: int, profile: StimulatorProfile
) -> list[Finding]:
    findings, every = [], settings.every
    if program.pause:
        text = "the program pauses: its sensor sees nothing then, and the loop would climb blind"
        findings.append(_hard("program", text, "a program without a cycle"))
    if not FASTEST <= every <= profile.lease:
        text = (
            f"an update each {write_duration(every)}; a loop has one each "
            f"{write_duration(FASTEST)} to {write_duration(profile.lease)}"
        )
        findings.append(_hard("every", text, "write a time in between"))
    one = program.areas[area]
    height = one.amplitude or one.ceiling
    if settings.slew * program.ramp > height * every:
        text = (
            f"{write_current(settings.slew)} in {write_duration(every)} is faster than the "
            f"program's ramp, {write_current(height)} in {write_duration(program.ramp)}"
        )
        hint = "a smaller slew or a longer time: else the loop runs ahead of what flows"
        findings.append(_hard("slew", text, hint))
    return findings


def _judge_sensor(settings: LoopSettings, profile: StimulatorProfile) -> list[Finding]:
    sensor, findings = settings.sensor, []
    if not sensor.lowest < settings.target < sensor.highest:
        text = (
            f"the target of {settings.target} uV is not within what the sensor reads, "
            f"{sensor.lowest} to {sensor.highest} uV"
        )
        findings.append(_hard("target", text, "write a target that the sensor can see"))
    if settings.target in sensor.no_data:
        text = f"{settings.target} uV is how this sensor says that it has no data"
        findings.append(_hard("target", text, "write another target"))
    if not 0 < sensor.fresh_for <= profile.lease:
        text = (
            f"a reading that counts for {write_duration(sensor.fresh_for)}; it counts for at most "
            f"{write_duration(profile.lease)}, as long as the output lives without a host"
        )
        findings.append(_hard("sensor.fresh_for", text, "write a shorter time"))
    return findings
