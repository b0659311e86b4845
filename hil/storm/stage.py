"""What all storms share and no run changes: two therapies, profiles, formulary, and commands.

It is read once for a process, so that a seed costs no parsing.
"""

from dataclasses import replace
from functools import cache

from device_profiles.document import parse_document
from device_profiles.formulary import Formulary
from device_profiles.formulary_file import load_formulary
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import DAY_MS, FemtogramsPerDay, MicroAmps, Milliseconds
from device_profiles.therapy import InfusionTherapy, StimulationTherapy
from device_profiles.therapy_file import reading_of
from firmware_bridge.families.itp.driver import output_of
from firmware_bridge.families.scs.driver import outputs_of
from safety.commands import Override, ProgramPump, ProgramStimulator
from safety.outputs import StimulatorProgram

START_MS = 1_793_703_600_000
"""2026-11-03T11:00:00Z: noon in Berlin, after the fill."""
PATIENT = "STORM-001"
REFILL_DAYS = 50
"""How often a pump is filled anew."""

_INFUSION = """\
therapy: infusion
device: itp-20
patient: STORM-001
timezone: Europe/Berlin
drugs:
  - name: morphine
    concentration: 10 mg/mL
    history: opioid-tolerant
    limits: {per_bolus: 0.2 mg, per_hour: 0.4 mg, per_4_hours: 1 mg, per_day: 4 mg}
fill:
  volume: 18 mL
  at: 2026-11-02T09:30+01:00
  vials: {morphine: 10 mg/mL}
  low_reservoir: 2 mL
catheter: {volume: 0.286 mL, primed: true}
basal:
  - {from: "07:00", rate: 2.4 mg/day}
  - {from: "22:00", rate: 1.8 mg/day}
patient_bolus: {dose: 0.15 mg, over: 10 min, lockout: 4 h, max_per_24h: 4}
"""
_STIMULATION = """\
therapy: stimulation
device: scs-16
patient: STORM-001
programs:
  - name: walking
    waveform: tonic
    rate: 50 Hz
    areas:
      - electrodes: {E3: -100 %, E4: +60 %, E5: +40 %}
        amplitude: 4.2 mA
        max_amplitude: 6 mA
        pulse_width: 210 us
        recharge: active
    ramp: 3 s
  - name: night
    waveform: tonic
    rate: 40 Hz
    areas:
      - electrodes: {E6: -100 %, E7: +100 %}
        amplitude: 2 mA
        max_amplitude: 3 mA
        pulse_width: 200 us
        recharge: active
    ramp: 5 s
start_with: walking
"""


_PASSED = (
    "SR-04",
    "SR-05",
    "SR-06",
    "SR-12",
    "SR-14",
    "SR-18",
    "SR-19",
    "SR-25",
    "SR-41",
    "SR-44",
    "SR-59",
    "SR-63",
)


def reason(who: str) -> Override:
    """Why a person lets soft findings pass, with a second one who agrees."""
    second = "B" if who == "A" else "A"
    return Override(_PASSED, who or "A", "a storm", second)


@cache
def formulary() -> Formulary:
    """The one that ships."""
    return load_formulary()


@cache
def pump_profile() -> PumpProfile:
    """The bench pump."""
    profile = load_profile("itp-20")
    if not isinstance(profile, PumpProfile):
        raise TypeError("itp-20 is no pump")
    return profile


@cache
def stimulator_profile() -> StimulatorProfile:
    """The bench stimulator."""
    profile = load_profile("scs-16")
    if not isinstance(profile, StimulatorProfile):
        raise TypeError("scs-16 is no stimulator")
    return profile


@cache
def infusion() -> InfusionTherapy:
    """Morphine with two basal steps and a button."""
    reading = reading_of(parse_document("storm", _INFUSION.encode()))
    if not isinstance(reading.therapy, InfusionTherapy):
        raise TypeError(f"the storm's therapy is not sound: {reading.findings}")
    return reading.therapy


@cache
def stimulation() -> StimulationTherapy:
    """Two programs of one area each."""
    reading = reading_of(parse_document("storm", _STIMULATION.encode()))
    if not isinstance(reading.therapy, StimulationTherapy):
        raise TypeError(f"the storm's therapy is not sound: {reading.findings}")
    return reading.therapy


@cache
def pump_command(percent: int, fill: int = 0) -> ProgramPump:
    """The therapy with its basal at so many per cent, after so many refills."""
    therapy = infusion()
    filled = Milliseconds(therapy.fill.at_ms + fill * REFILL_DAYS * DAY_MS)
    therapy = replace(therapy, fill=replace(therapy.fill, at_ms=filled))
    basal = tuple(
        replace(step, rate=FemtogramsPerDay(step.rate * percent // 100)) for step in therapy.basal
    )
    therapy = replace(therapy, basal=basal)
    program = output_of(therapy, formulary(), Milliseconds(START_MS))
    return ProgramPump(program, therapy, pump_profile(), formulary())


@cache
def programs() -> tuple[StimulatorProgram, ...]:
    """Walking and night."""
    return outputs_of(stimulation())


@cache
def stimulator_command() -> ProgramStimulator:
    """Both programs."""
    return ProgramStimulator(programs(), stimulator_profile())


@cache
def ceiling_of(contact: int) -> MicroAmps:
    """The most that the therapy, or a measurement, may ever drive through a contact."""
    most = stimulator_profile().impedance.test_current
    for program in programs():
        for area in program.areas:
            for one in area.electrodes:
                if one.contact == contact:
                    most = max(most, MicroAmps(area.ceiling * abs(one.share) // 100))
    return MicroAmps(most)


@cache
def programs_amplitude(name: str) -> MicroAmps:
    """The amplitude at which a program starts."""
    return next(one.areas[0].amplitude for one in programs() if one.name == name)
