"""The two example therapies of the project as Outputs, and small builders to bend them."""

from dataclasses import replace

from device_profiles.formulary import Formulary, FormularyEntry, StartLimits
from device_profiles.notation import (
    parse_concentration,
    parse_current,
    parse_duration,
    parse_frequency,
    parse_mass,
    parse_mass_rate,
    parse_minute_of_day,
    parse_volume,
    parse_width,
)
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import MilliHertz, Milliseconds, Percent, flow_for, volume_for
from device_profiles.therapy import (
    CASE,
    BasalStep,
    Catheter,
    DoseLimits,
    Drug,
    ElectrodeShare,
    Fill,
    InfusionTherapy,
    PatientBolus,
    Recharge,
    Vial,
)
from safety.outputs import (
    AreaOutput,
    DrugInPump,
    FlowStep,
    PatientBolusOutput,
    PumpProgram,
    StimulatorProgram,
)


def _stimulator() -> StimulatorProfile:
    profile = load_profile("scs-16")
    assert isinstance(profile, StimulatorProfile)
    return profile


def _pump() -> PumpProfile:
    profile = load_profile("itp-20")
    assert isinstance(profile, PumpProfile)
    return profile


SCS = _stimulator()
ITP = _pump()

# --- stimulation ---------------------------------------------------------------------------


def shares(text: str) -> tuple[ElectrodeShare, ...]:
    """Shares written as ``E3 -100, E4 +60, case +40``."""
    pairs = [part.split() for part in text.split(",")]
    return tuple(
        ElectrodeShare(CASE if name == "case" else int(name[1:]), Percent(int(share)))
        for name, share in pairs
    )


def area(
    electrodes: str = "E3 -100, E4 +100",
    amplitude: str = "4.2 mA",
    ceiling: str | None = None,
    width: str = "210 us",
    recharge: Recharge = "active",
) -> AreaOutput:
    """One area; its ceiling is its amplitude unless one is given."""
    return AreaOutput(
        shares(electrodes),
        parse_current(amplitude),
        parse_current(ceiling or amplitude),
        parse_width(width),
        recharge,
    )


def tonic(*areas: AreaOutput, rate: str = "50 Hz", slot: int = 0) -> StimulatorProgram:
    """A tonic program with a ramp long enough for any amplitude."""
    return StimulatorProgram(
        slot,
        f"program-{slot}",
        "tonic",
        parse_frequency(rate),
        1,
        MilliHertz(0),
        areas,
        Milliseconds(5_000),
        Milliseconds(0),
        Milliseconds(0),
    )


def high_frequency(*areas: AreaOutput, rate: str = "10 kHz") -> StimulatorProgram:
    """A high-frequency program."""
    return replace(tonic(*areas, rate=rate), waveform="high-frequency")


def burst(
    *areas: AreaOutput, pulses: int = 5, intra: str = "500 Hz", rate: str = "40 Hz"
) -> StimulatorProgram:
    """A burst program."""
    return replace(
        tonic(*areas, rate=rate),
        waveform="burst",
        burst_pulses=pulses,
        intra_rate=parse_frequency(intra),
    )


WALKING = replace(
    tonic(area("E3 -100, E4 +60, E5 +40", "4.2 mA", "6 mA")),
    name="walking",
    ramp=parse_duration("3 s"),
    stimulate=parse_duration("30 s"),
    pause=parse_duration("90 s"),
)
NIGHT = replace(
    burst(area("E3 -100, E4 +100", "0.6 mA", "1 mA", "1000 us", "passive")), slot=1, name="night"
)
STIMULATION = (WALKING, NIGHT)

# --- infusion ------------------------------------------------------------------------------

SOURCE = "a test"
MORPHINE = FormularyEntry(
    name="morphine",
    drug_class="opioid",
    concentration_above=parse_concentration("0 mg/mL"),
    concentration_max=parse_concentration("25 mg/mL"),
    per_day_soft=parse_mass("10 mg"),
    per_day_hard=parse_mass("20 mg"),
    per_bolus_hard=parse_mass("1 mg"),
    start=(
        StartLimits("opioid-naive", parse_mass_rate("0.2 mg/day"), parse_mass_rate("1 mg/day")),
    ),
    stop_policy="hold-basal",
    withdrawal="withdrawal",
    source=SOURCE,
)
BACLOFEN = FormularyEntry(
    name="baclofen",
    drug_class="baclofen",
    concentration_above=parse_concentration("50 mcg/mL"),
    concentration_max=parse_concentration("2000 mcg/mL"),
    per_day_soft=parse_mass("1000 mcg"),
    per_day_hard=parse_mass("2000 mcg"),
    per_bolus_hard=None,
    start=(),
    stop_policy="never-stop",
    withdrawal="withdrawal",
    source=SOURCE,
)
ZICONOTIDE = FormularyEntry(
    name="ziconotide",
    drug_class="ziconotide",
    concentration_above=parse_concentration("0 mcg/mL"),
    concentration_max=parse_concentration("100 mcg/mL"),
    per_day_soft=None,
    per_day_hard=parse_mass("19.2 mcg"),
    per_bolus_hard=None,
    start=(StartLimits(None, None, parse_mass_rate("2.4 mcg/day")),),
    stop_policy="may-stop",
    withdrawal="none",
    source=SOURCE,
)
FENTANYL = FormularyEntry(
    name="fentanyl",
    drug_class="opioid",
    concentration_above=parse_concentration("0 mg/mL"),
    concentration_max=parse_concentration("10 mg/mL"),
    per_day_soft=None,
    per_day_hard=None,
    per_bolus_hard=None,
    start=(),
    stop_policy="hold-basal",
    withdrawal="withdrawal",
    source=SOURCE,
)
FORMULARY = Formulary("a test formulary", (MORPHINE, BACLOFEN, ZICONOTIDE, FENTANYL))


def dose_limits(
    per_bolus: str | None = "0.2 mg",
    per_hour: str | None = "0.4 mg",
    per_4_hours: str | None = "1 mg",
    per_day: str | None = "4 mg",
) -> DoseLimits:
    """A patient's limits as a file writes them."""
    return DoseLimits(
        *(
            None if text is None else parse_mass(text)
            for text in (per_bolus, per_hour, per_4_hours, per_day)
        )
    )


def drug(
    name: str = "morphine",
    concentration: str = "10 mg/mL",
    limits: DoseLimits | None = None,
) -> Drug:
    """A drug in the reservoir; an opioid's patient is tolerant."""
    history = "opioid-tolerant" if name in ("morphine", "fentanyl") else None
    return Drug(name, parse_concentration(concentration), history, limits or dose_limits())  # type: ignore[arg-type]


def step(start: str, rate: str) -> BasalStep:
    """A step of the basal as a file writes it."""
    return BasalStep(parse_minute_of_day(start), parse_mass_rate(rate))


def button(
    dose: str = "0.15 mg", over: str = "10 min", lockout: str = "4 h", most: int = 4
) -> PatientBolus:
    """The patient's button as a file writes it."""
    return PatientBolus(parse_mass(dose), parse_duration(over), parse_duration(lockout), most)


def infusion(
    *drugs: Drug,
    basal: tuple[BasalStep, ...] = (step("07:00", "2.4 mg/day"), step("22:00", "1.8 mg/day")),
    bolus: PatientBolus | None = None,
    fill: str = "18 mL",
    low: str = "2 mL",
) -> InfusionTherapy:
    """A pump's therapy; without drugs, the example's morphine."""
    drugs = drugs or (drug(),)
    return InfusionTherapy(
        device="itp-20",
        patient="BENCH-012",
        timezone="Europe/Berlin",
        drugs=drugs,
        fill=Fill(
            parse_volume(fill),
            Milliseconds(1_793_521_800_000),
            tuple(Vial(one.name, one.concentration) for one in drugs),
            parse_volume(low),
        ),
        catheter=Catheter(parse_volume("0.286 mL"), primed=True),
        basal=basal,
        patient_bolus=bolus,
    )


MORPHINE_DAY = infusion(bolus=button())


def compiled(therapy: InfusionTherapy) -> PumpProgram:
    """The program that a pump in 1 nL/day and 1 nL steps makes of a therapy."""
    first = therapy.drugs[0].concentration
    bolus = therapy.patient_bolus
    return PumpProgram(
        drugs=tuple(DrugInPump(one.name, one.concentration) for one in therapy.drugs),
        basal=tuple(FlowStep(one.start, flow_for(one.rate, first)) for one in therapy.basal),
        utc_offset_min=60,
        patient_bolus=None
        if bolus is None
        else PatientBolusOutput(
            volume_for(bolus.dose, first), bolus.over, bolus.lockout, bolus.max_per_24h
        ),
        fill_volume=therapy.fill.volume,
        fill_at_ms=therapy.fill.at_ms,
        low_reservoir=therapy.fill.low_reservoir,
        catheter=therapy.catheter.volume,
        primed=therapy.catheter.primed,
        stop_policy="hold-basal",
    )
