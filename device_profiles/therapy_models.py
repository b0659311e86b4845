"""The therapy file as strict models, and from those to the therapy in integers.

The models check each value by itself; what must agree between values is in `therapy_checks.py`,
which reads the tree, so that one bad value hides no other finding.
"""

from typing import Annotated, Literal

from pydantic import Field

from device_profiles.fields import (
    BolusDuration,
    Concentration,
    Count,
    Current,
    CycleDuration,
    DeviceName,
    DrugName,
    Duration,
    HistoryWord,
    Instant,
    IntraRate,
    Mass,
    MassRate,
    PatientCode,
    ProgramName,
    Rate,
    RechargeWord,
    Share,
    TimeOfDay,
    TimeZone,
    Truth,
    Volume,
    WaveformWord,
    Width,
)
from device_profiles.placed_models import FileModel, Mandatory
from device_profiles.quantities import MinuteOfDay
from device_profiles.therapy import (
    CASE,
    Area,
    BasalStep,
    Burst,
    Catheter,
    Cycle,
    DoseLimits,
    Drug,
    DrugInLine,
    ElectrodeShare,
    Fill,
    InfusionTherapy,
    PatientBolus,
    Program,
    StimulationTherapy,
    Vial,
)

MOST_DRUGS = 4
MOST_BASAL_STEPS = 13


class AreaModel(FileModel):
    """Contacts that share one current."""

    electrodes: dict[str, Share] = Field(
        min_length=1,
        description="contacts E1 and up, or case, each with its share",
        json_schema_extra={"propertyNames": {"pattern": "^(?:E[1-9][0-9]*|case)$"}},
    )
    amplitude: Current = Field(description="of the area; its contacts share it")
    max_amplitude: Annotated[
        Current,
        Mandatory(
            "SR-40",
            "the patient's ceiling max_amplitude is mandatory; without it nothing bounds a rise",
            "patient",
            "add max_amplitude: with this patient's ceiling for these contacts at this width",
        ),
    ] = Field(description="this patient's ceiling for these contacts at this width")
    pulse_width: Width
    recharge: RechargeWord

    def area(self) -> Area:
        """The area in base units, its contacts in order."""
        electrodes = (
            ElectrodeShare(CASE if name == "case" else int(name.removeprefix("E")), share)
            for name, share in self.electrodes.items()
        )
        return Area(
            electrodes=tuple(sorted(electrodes, key=lambda electrode: electrode.contact)),
            amplitude=self.amplitude,
            max_amplitude=self.max_amplitude,
            pulse_width=self.pulse_width,
            recharge=self.recharge,
        )


class BurstModel(FileModel):
    """Pulses that follow each other quickly."""

    pulses: Count
    intra_rate: IntraRate


class CycleModel(FileModel):
    """Times of stimulation and of pause."""

    stimulate: CycleDuration
    pause: CycleDuration


class ProgramModel(FileModel):
    """One stimulation program."""

    name: ProgramName
    waveform: WaveformWord
    rate: Rate
    burst: BurstModel | None = Field(None, description="with waveform burst, and only then")
    areas: list[AreaModel] = Field(min_length=1, description="interleaved in one period")
    ramp: Duration = Field(description="from zero to the amplitude; its slope holds for each rise")
    cycle: CycleModel | None = None

    def program(self) -> Program:
        """The program in base units."""
        burst, cycle = self.burst, self.cycle
        return Program(
            name=self.name,
            waveform=self.waveform,
            rate=self.rate,
            burst=Burst(burst.pulses, burst.intra_rate) if burst else None,
            areas=tuple(area.area() for area in self.areas),
            ramp=self.ramp,
            cycle=Cycle(cycle.stimulate, cycle.pause) if cycle else None,
        )


class StimulationFile(FileModel):
    """A therapy of a spinal cord stimulator."""

    therapy: Literal["stimulation"]
    device: DeviceName
    patient: PatientCode
    programs: list[ProgramModel] = Field(min_length=1)
    start_with: ProgramName = Field(description="the name of one of the programs")

    def to_therapy(self) -> StimulationTherapy:
        """The therapy in base units."""
        return StimulationTherapy(
            device=self.device,
            patient=self.patient,
            programs=tuple(program.program() for program in self.programs),
            start_with=self.start_with,
        )


class LimitsModel(FileModel):
    """This patient's ceilings for one drug."""

    per_bolus: Mass | None = None
    per_hour: Mass | None = None
    per_4_hours: Mass | None = None
    per_day: Mass | None = None


class DrugModel(FileModel):
    """A drug in the reservoir."""

    name: DrugName
    concentration: Annotated[
        Concentration,
        Mandatory(
            "SR-08",
            "the concentration is missing; it has no default",
            "rule",
            "add concentration: as read from the vial's label",
        ),
    ]
    history: HistoryWord | None = Field(None, description="mandatory for an opioid")
    limits: LimitsModel | None = None

    def drug(self) -> Drug:
        """The drug in base units."""
        limits = self.limits or LimitsModel()
        return Drug(
            name=self.name,
            concentration=self.concentration,
            history=self.history,
            limits=DoseLimits(
                per_bolus=limits.per_bolus,
                per_hour=limits.per_hour,
                per_4_hours=limits.per_4_hours,
                per_day=limits.per_day,
            ),
        )


class FillModel(FileModel):
    """One refill of the reservoir."""

    volume: Volume
    at: Instant
    vials: dict[str, Concentration] = Field(
        description="drug and concentration as read from each vial's label: typed twice on purpose"
    )
    low_reservoir: Volume
    withdrawn: Volume | None = Field(
        None, description="what came out of the reservoir before this refill, read on the syringe"
    )

    def fill(self) -> Fill:
        """The fill in base units."""
        return Fill(
            volume=self.volume,
            at_ms=self.at,
            vials=tuple(Vial(drug, strength) for drug, strength in self.vials.items()),
            low_reservoir=self.low_reservoir,
            withdrawn=self.withdrawn,
        )


class BridgeModel(FileModel):
    """The way from the mix in the line to the one in the reservoir."""

    line: dict[str, Concentration] = Field(
        alias="from",
        min_length=1,
        description="drug and concentration of all that tubing and catheter still hold",
    )

    def bridge_from(self) -> tuple[DrugInLine, ...]:
        """What the line holds, in base units."""
        return tuple(DrugInLine(name, strength) for name, strength in self.line.items())


class CatheterModel(FileModel):
    """The catheter between pump and tip."""

    volume: Volume
    primed: Truth = Field(description="whether it already holds drug up to its tip")


class BasalModel(FileModel):
    """One step of the day."""

    start: TimeOfDay | None = Field(None, alias="from", description="may be left out of one step")
    rate: MassRate = Field(description="of the first drug")


class PatientBolusModel(FileModel):
    """What the patient's button gives."""

    dose: Mass = Field(description="of the first drug")
    over: BolusDuration
    lockout: Duration = Field(description="from start to start")
    max_per_24h: Count

    def patient_bolus(self) -> PatientBolus:
        """The bolus in base units."""
        return PatientBolus(self.dose, self.over, self.lockout, self.max_per_24h)


class InfusionFile(FileModel):
    """A therapy of an intrathecal pump."""

    therapy: Literal["infusion"]
    device: DeviceName
    patient: PatientCode
    timezone: TimeZone | None = Field(
        None, description="IANA name; mandatory when the basal has more than one step"
    )
    drugs: list[DrugModel] = Field(
        min_length=1, max_length=MOST_DRUGS, description="the first sets the flow"
    )
    fill: FillModel
    catheter: CatheterModel
    bridge: BridgeModel | None = Field(
        None, description="with a fill that brings another drug or another concentration"
    )
    basal: list[BasalModel] = Field(
        min_length=1,
        max_length=MOST_BASAL_STEPS,
        description="steps of the day in order; the last wraps around midnight",
    )
    patient_bolus: PatientBolusModel | None = None

    def to_therapy(self) -> InfusionTherapy:
        """The therapy in base units."""
        return InfusionTherapy(
            device=self.device,
            patient=self.patient,
            timezone=self.timezone,
            drugs=tuple(drug.drug() for drug in self.drugs),
            fill=self.fill.fill(),
            catheter=Catheter(self.catheter.volume, self.catheter.primed),
            basal=tuple(BasalStep(step.start or MinuteOfDay(0), step.rate) for step in self.basal),
            patient_bolus=self.patient_bolus.patient_bolus() if self.patient_bolus else None,
            bridge_from=self.bridge.bridge_from() if self.bridge else (),
        )
