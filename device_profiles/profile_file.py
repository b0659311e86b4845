"""Reads the device profiles that ship as data: each number with its unit and its source."""

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, get_args

from device_profiles import notation
from device_profiles.data_file import Sentence, Sourced, read_facts
from device_profiles.document import Document, parse_document
from device_profiles.errors import UsageError
from device_profiles.fields import (
    Count,
    Current,
    DeviceName,
    Duration,
    Rate,
    Volume,
    Width,
    Written,
    quantity,
)
from device_profiles.notation_grammar import shown
from device_profiles.placed import Keys, Text
from device_profiles.placed_models import FileModel
from device_profiles.profile import (
    ChargeLimits,
    ImpedanceLimits,
    MriProcedure,
    Profile,
    PumpProfile,
    StimulatorProfile,
)
from device_profiles.quantities import (
    MicroAmpsPerSecond,
    MilliVolts,
    NanoLitresPerDay,
    Ohms,
    PartsPerMillion,
    SquareMicrometres,
)

Flow = Annotated[NanoLitresPerDay, quantity(notation.parse_flow, notation.FLOW)]
Voltage = Annotated[MilliVolts, quantity(notation.parse_voltage, notation.VOLTAGE)]
Impedance = Annotated[Ohms, quantity(notation.parse_impedance, notation.IMPEDANCE)]
ContactArea = Annotated[SquareMicrometres, quantity(notation.parse_area, notation.AREA)]
Slope = Annotated[MicroAmpsPerSecond, quantity(notation.parse_slope, notation.SLOPE)]
Tolerance = Annotated[PartsPerMillion, quantity(notation.parse_tolerance, notation.TOLERANCE)]
Density = Annotated[int, quantity(notation.parse_charge_density, notation.CHARGE_DENSITY)]
ChargeRate = Annotated[int, quantity(notation.parse_charge_rate, notation.CHARGE_RATE)]
Hundredths = Annotated[
    int, Written(notation.parse_hundredths, "a number with two decimals", {"type": "string"})
]


def _parse_mri(text: str) -> str:
    if text not in get_args(MriProcedure):
        known = " or ".join(get_args(MriProcedure))
        raise notation.NotationError("FILE-07", f"{shown(text)} is no procedure", f"write {known}")
    return text


Mri = Annotated[MriProcedure, Written(_parse_mri, "a procedure", {"enum": get_args(MriProcedure)})]


class ChargeModel(FileModel):
    """Limits on the charge of one contact and phase."""

    density_soft: Sourced[Density]
    density_hard: Sourced[Density]
    shannon_k_soft: Sourced[Hundredths]
    charge_rate_soft: Sourced[ChargeRate]


class ImpedanceModel(FileModel):
    """The band of a contact that is neither short nor open, and the measurement."""

    short_below: Sourced[Impedance]
    open_above: Sourced[Impedance]
    fresh_for: Sourced[Duration]
    test_current: Sourced[Current]
    test_width: Sourced[Width]
    test_pulses: Sourced[Count]


class StimulatorModel(FileModel):
    """A stimulator's envelope."""

    profile: Literal["stimulator"]
    name: DeviceName
    about: Sentence
    contacts: Sourced[Count]
    contact_area: Sourced[ContactArea]
    amplitude_max: Sourced[Current]
    amplitude_step: Sourced[Current]
    contact_current_max: Sourced[Current]
    width_min: Sourced[Width]
    width_max: Sourced[Width]
    width_step: Sourced[Width]
    rate_min: Sourced[Rate]
    rate_max: Sourced[Rate]
    rate_step: Sourced[Rate]
    rate_high: Sourced[Rate]
    interphase: Sourced[Width]
    burst_pulses_min: Sourced[Count]
    burst_pulses_max: Sourced[Count]
    programs_max: Sourced[Count]
    areas_max: Sourced[Count]
    compliance: Sourced[Voltage]
    cycle_min: Sourced[Duration]
    cycle_max: Sourced[Duration]
    ramp_min: Sourced[Duration]
    ramp_max: Sourced[Duration]
    slope_max: Sourced[Slope]
    lease: Sourced[Duration]
    charge: ChargeModel
    impedance: ImpedanceModel
    mri: Sourced[Mri]

    def to_profile(self) -> StimulatorProfile:
        """The profile in base units."""
        charge, impedance = self.charge, self.impedance
        return StimulatorProfile(
            name=self.name,
            model=self.name,
            contacts=self.contacts.value,
            contact_area=self.contact_area.value,
            amplitude_max=self.amplitude_max.value,
            amplitude_step=self.amplitude_step.value,
            contact_current_max=self.contact_current_max.value,
            width_min=self.width_min.value,
            width_max=self.width_max.value,
            width_step=self.width_step.value,
            rate_min=self.rate_min.value,
            rate_max=self.rate_max.value,
            rate_step=self.rate_step.value,
            rate_high=self.rate_high.value,
            interphase=self.interphase.value,
            burst_pulses_min=self.burst_pulses_min.value,
            burst_pulses_max=self.burst_pulses_max.value,
            programs_max=self.programs_max.value,
            areas_max=self.areas_max.value,
            compliance=self.compliance.value,
            cycle_min=self.cycle_min.value,
            cycle_max=self.cycle_max.value,
            ramp_min=self.ramp_min.value,
            ramp_max=self.ramp_max.value,
            slope_max=self.slope_max.value,
            lease=self.lease.value,
            charge=ChargeLimits(
                density_soft=charge.density_soft.value,
                density_hard=charge.density_hard.value,
                shannon_k_soft_centi=charge.shannon_k_soft.value,
                charge_rate_soft=charge.charge_rate_soft.value,
            ),
            impedance=ImpedanceLimits(
                short_below=impedance.short_below.value,
                open_above=impedance.open_above.value,
                fresh_for=impedance.fresh_for.value,
                test_current=impedance.test_current.value,
                test_width=impedance.test_width.value,
                test_pulses=impedance.test_pulses.value,
            ),
            mri=self.mri.value,
        )


class PumpModel(FileModel):
    """A pump's envelope."""

    profile: Literal["pump"]
    name: DeviceName
    about: Sentence
    reservoir: Sourced[Volume]
    residual: Sourced[Volume]
    tubing: Sourced[Volume]
    flow_min: Sourced[Flow]
    flow_max: Sourced[Flow]
    flow_step: Sourced[Flow]
    minimum_rate: Sourced[Flow]
    accuracy: Sourced[Tolerance]
    basal_steps_max: Sourced[Count]
    lockout_min: Sourced[Duration]
    lockout_max: Sourced[Duration]
    boluses_per_day_max: Sourced[Count]
    catheter_max: Sourced[Volume]
    poll: Sourced[Duration]
    mri: Sourced[Mri]

    def to_profile(self) -> PumpProfile:
        """The profile in base units."""
        return PumpProfile(
            name=self.name,
            model=self.name,
            reservoir=self.reservoir.value,
            residual=self.residual.value,
            tubing=self.tubing.value,
            flow_min=self.flow_min.value,
            flow_max=self.flow_max.value,
            flow_step=self.flow_step.value,
            minimum_rate=self.minimum_rate.value,
            accuracy=self.accuracy.value,
            basal_steps_max=self.basal_steps_max.value,
            lockout_min=self.lockout_min.value,
            lockout_max=self.lockout_max.value,
            boluses_per_day_max=self.boluses_per_day_max.value,
            catheter_max=self.catheter_max.value,
            poll=self.poll.value,
            mri=self.mri.value,
        )


# One line a device family's profile: this table is all there is to a new device on this floor.
_SHIPPED = ("scs-16", "itp-20")


def profile_names() -> tuple[str, ...]:
    """The names of the device profiles that ship."""
    return _SHIPPED


@cache
def load_profile(name: str) -> Profile:
    """The profile of a shipped device; raises `UsageError` for an unknown name."""
    if name not in _SHIPPED:
        raise UsageError(
            f"there is no device profile {shown(name)}; the profiles are {', '.join(_SHIPPED)}"
        )
    file = files("device_profiles").joinpath("data", f"{name}.yaml")
    return read_profile(parse_document(str(file), file.read_bytes()))


def read_profile(document: Document) -> Profile:
    """The profile in a document; raises `DataFileError` with every finding."""
    kind = document.root.get("profile") if isinstance(document.root, Keys) else None
    if isinstance(kind, Text) and kind.value == "pump":
        return read_facts(PumpModel, document).to_profile()
    return read_facts(StimulatorModel, document).to_profile()
