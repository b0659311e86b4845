"""What a device can do and may do: the facts of a device profile, in base units."""

from dataclasses import dataclass
from typing import Literal

from device_profiles.quantities import (
    MicroAmps,
    MicroAmpsPerSecond,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MilliVolts,
    NanoLitres,
    NanoLitresPerDay,
    Ohms,
    PartsPerMillion,
    SquareMicrometres,
)

MriProcedure = Literal["output-off", "rotor-stalls"]
"""How a device goes into a magnetic field: with its output at zero; or with its basal going on,
since its rotor stops by itself there and starts again by itself (domain 2.7)."""


@dataclass(frozen=True, slots=True)
class ChargeLimits:
    """Limits on the charge of one contact and phase.

    Densities in uC/cm2; ``shannon_k_soft_centi`` is k times 100; ``charge_rate_soft`` in uC/s.
    """

    density_soft: int
    density_hard: int
    shannon_k_soft_centi: int
    charge_rate_soft: int


@dataclass(frozen=True, slots=True)
class ImpedanceLimits:
    """The band of a contact that is neither short nor open, and how long a reading counts."""

    short_below: Ohms
    open_above: Ohms
    fresh_for: Milliseconds
    test_current: MicroAmps
    test_width: Microseconds
    test_pulses: int


@dataclass(frozen=True, slots=True)
class StimulatorProfile:
    """A stimulator's envelope; each number's source stands beside it in the data file."""

    name: str
    model: str
    contacts: int
    contact_area: SquareMicrometres
    amplitude_max: MicroAmps
    amplitude_step: MicroAmps
    contact_current_max: MicroAmps
    width_min: Microseconds
    width_max: Microseconds
    width_step: Microseconds
    rate_min: MilliHertz
    rate_max: MilliHertz
    rate_step: MilliHertz
    rate_high: MilliHertz
    interphase: Microseconds
    burst_pulses_min: int
    burst_pulses_max: int
    programs_max: int
    areas_max: int
    compliance: MilliVolts
    cycle_min: Milliseconds
    cycle_max: Milliseconds
    ramp_min: Milliseconds
    ramp_max: Milliseconds
    slope_max: MicroAmpsPerSecond
    lease: Milliseconds
    charge: ChargeLimits
    impedance: ImpedanceLimits
    mri: MriProcedure


@dataclass(frozen=True, slots=True)
class PumpProfile:
    """A pump's envelope; each number's source stands beside it in the data file."""

    name: str
    model: str
    reservoir: NanoLitres
    residual: NanoLitres
    tubing: NanoLitres
    flow_min: NanoLitresPerDay
    flow_max: NanoLitresPerDay
    flow_step: NanoLitresPerDay
    minimum_rate: NanoLitresPerDay
    accuracy: PartsPerMillion
    basal_steps_max: int
    lockout_min: Milliseconds
    lockout_max: Milliseconds
    boluses_per_day_max: int
    catheter_max: NanoLitres
    poll: Milliseconds
    mri: MriProcedure


Profile = StimulatorProfile | PumpProfile
