"""A therapy as the clinician meant it, in integers of the base units.

These are the words of the therapy file after reading; `therapy_file` makes them, drivers compile
them into Outputs. A value that the file must give but did not, and whose absence a safety rule
judges (a limit, a history), is ``None`` here: absent is never "unlimited".
"""

from dataclasses import dataclass
from typing import Literal

from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    MicroAmps,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    Percent,
)

Waveform = Literal["tonic", "high-frequency", "burst"]
Recharge = Literal["active", "passive"]
History = Literal["opioid-naive", "opioid-tolerant"]

CASE = 0
"""The contact number of the case; contact ``En`` has the number n."""


def contact_name(contact: int) -> str:
    """The name of a contact in files and reports: ``case`` or ``E1`` and up."""
    return "case" if contact == CASE else f"E{contact}"


@dataclass(frozen=True, slots=True)
class ElectrodeShare:
    """One contact's signed share of its area's current, by the sign of the first phase."""

    contact: int
    share: Percent


@dataclass(frozen=True, slots=True)
class Area:
    """Contacts that share one current: a cathode, an anode and a pulse width."""

    electrodes: tuple[ElectrodeShare, ...]
    amplitude: MicroAmps
    max_amplitude: MicroAmps
    pulse_width: Microseconds
    recharge: Recharge


@dataclass(frozen=True, slots=True)
class Burst:
    """Pulses that follow each other at ``intra_rate``, repeated at the program's rate."""

    pulses: int
    intra_rate: MilliHertz


@dataclass(frozen=True, slots=True)
class Cycle:
    """Times of stimulation and of pause that alternate."""

    stimulate: Milliseconds
    pause: Milliseconds


@dataclass(frozen=True, slots=True)
class Program:
    """One stimulation program: areas interleaved in one period of ``rate``."""

    name: str
    waveform: Waveform
    rate: MilliHertz
    burst: Burst | None
    areas: tuple[Area, ...]
    ramp: Milliseconds
    cycle: Cycle | None


@dataclass(frozen=True, slots=True)
class StimulationTherapy:
    """A stimulator's programs for one patient."""

    device: str
    patient: str
    programs: tuple[Program, ...]
    start_with: str


@dataclass(frozen=True, slots=True)
class DoseLimits:
    """This patient's ceilings for one drug; ``None`` where the file gives none."""

    per_bolus: Femtograms | None = None
    per_hour: Femtograms | None = None
    per_4_hours: Femtograms | None = None
    per_day: Femtograms | None = None


@dataclass(frozen=True, slots=True)
class Drug:
    """A drug in the reservoir."""

    name: str
    concentration: NanogramsPerMillilitre
    history: History | None
    limits: DoseLimits


@dataclass(frozen=True, slots=True)
class Vial:
    """A concentration as read from a vial's label."""

    drug: str
    concentration: NanogramsPerMillilitre


@dataclass(frozen=True, slots=True)
class Fill:
    """One refill of the reservoir: an event, applied once per date and pump.

    ``at_ms`` is Unix time; it names the event. ``withdrawn`` is what came out of the reservoir
    before it was filled; ``None`` where the file does not say.
    """

    volume: NanoLitres
    at_ms: Milliseconds
    vials: tuple[Vial, ...]
    low_reservoir: NanoLitres
    withdrawn: NanoLitres | None = None


@dataclass(frozen=True, slots=True)
class DrugInLine:
    """A drug and its concentration in tubing and catheter, as a person states it."""

    name: str
    concentration: NanogramsPerMillilitre


@dataclass(frozen=True, slots=True)
class Catheter:
    """The catheter's volume, and whether it already holds drug up to its tip."""

    volume: NanoLitres
    primed: bool


@dataclass(frozen=True, slots=True)
class BasalStep:
    """A mass rate of the first drug from a minute of the day until the next step."""

    start: MinuteOfDay
    rate: FemtogramsPerDay


@dataclass(frozen=True, slots=True)
class PatientBolus:
    """What the patient's button gives: dose of the first drug, lockout from start to start."""

    dose: Femtograms
    over: Milliseconds
    lockout: Milliseconds
    max_per_24h: int


@dataclass(frozen=True, slots=True)
class InfusionTherapy:
    """A pump's drugs, fill, basal and boluses for one patient; the first drug sets the flow.

    ``bridge_from`` is what the line holds, where the fill brings another mix; else empty.
    """

    device: str
    patient: str
    timezone: str | None
    drugs: tuple[Drug, ...]
    fill: Fill
    catheter: Catheter
    basal: tuple[BasalStep, ...]
    patient_bolus: PatientBolus | None
    bridge_from: tuple[DrugInLine, ...] = ()


Therapy = StimulationTherapy | InfusionTherapy
