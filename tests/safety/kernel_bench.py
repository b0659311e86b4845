"""A small bench for the kernel: doses in whole nanolitres, stories told event by event.

Morphine stands in the pump at 1 mg/mL, so that 1 nL holds 1 ng and a limit can be written in nL.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from clinical_examples import FORMULARY, ITP, SCS, STIMULATION, infusion

from device_profiles.notation import parse_concentration
from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    Milliseconds,
    MinuteOfDay,
    NanoLitres,
    NanoLitresPerDay,
    Ohms,
)
from device_profiles.therapy import BasalStep, DoseLimits, Drug, InfusionTherapy
from safety.commands import (
    Ask,
    Command,
    GiveBolus,
    Instant,
    MeasureImpedance,
    Override,
    ProgramPump,
    ProgramStimulator,
    StartStimulation,
)
from safety.events import (
    Connected,
    DeviceIdentity,
    Event,
    Intended,
    Measured,
    Opened,
    Outcome,
    Rejected,
    Settled,
)
from safety.kernel import Continue, Record, step
from safety.outputs import (
    BolusOutput,
    DrugInPump,
    FlowStep,
    ImpedancePulses,
    PatientBolusOutput,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)
from safety.state import State

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
SLACK = 5 * SECOND
"""How much later than asked for a bolus may begin (the kernel's promise, written down again)."""
FG_PER_NL = 1_000_000
"""Of morphine at 1 mg/mL."""
MG_PER_ML = parse_concentration("1 mg/mL")
HOURLY = 24_000
"""nL/day of a flow of 1,000 nL/h."""
SERIAL = "ITP-000123"
IDENTITY = DeviceIdentity("itp", "itp-20", SERIAL, "1.0.0", "cal-7", 1)
GOOD_OHMS = tuple(Ohms(500) for _ in range(SCS.contacts))
TEST_PULSES = ImpedancePulses(
    SCS.contacts,
    SCS.impedance.test_current,
    SCS.impedance.test_width,
    SCS.impedance.test_pulses,
)


def instant(slow: int, fast: int | None = None) -> Instant:
    """A moment; the wall clock shows something that no rule may use."""
    return Instant(
        Milliseconds(slow),
        Milliseconds(slow if fast is None else fast),
        Milliseconds(1_767_225_600_000 - slow),
    )


def limits_nl(bolus: int, hour: int, four_hours: int, day: int) -> DoseLimits:
    """Limits of morphine at 1 mg/mL, written as the volume that holds them."""
    return DoseLimits(*(Femtograms(one * FG_PER_NL) for one in (bolus, hour, four_hours, day)))


WIDE = limits_nl(1_000_000, 1_000_000, 4_000_000, 9_000_000)


@dataclass(frozen=True)
class PumpCase:
    """A pump's program with the file it came from."""

    program: PumpProgram
    therapy: InfusionTherapy

    @property
    def command(self) -> ProgramPump:
        return ProgramPump(self.program, self.therapy, ITP, FORMULARY)


def pump_case(
    basal: Sequence[tuple[int, int]] = ((0, 6 * HOURLY),),
    limits: DoseLimits = WIDE,
    button: PatientBolusOutput | None = None,
    drugs: Sequence[Drug] = (),
    utc_offset_min: int = 0,
) -> PumpCase:
    """A program of (minute of the day, nL/day) steps."""
    drugs = tuple(drugs) or (Drug("morphine", MG_PER_ML, "opioid-tolerant", limits),)
    first = drugs[0].concentration
    therapy = replace(
        infusion(
            *drugs,
            basal=tuple(
                BasalStep(MinuteOfDay(start), FemtogramsPerDay(flow * first))
                for start, flow in basal
            ),
        ),
        timezone="UTC",
    )
    program = PumpProgram(
        tuple(DrugInPump(one.name, one.concentration) for one in drugs),
        tuple(FlowStep(MinuteOfDay(start), NanoLitresPerDay(flow)) for start, flow in basal),
        utc_offset_min,
        button,
        therapy.fill.volume,
        therapy.fill.at_ms,
        therapy.fill.low_reservoir,
        therapy.catheter.volume,
        primed=True,
        stop_policy="hold-basal",
    )
    return PumpCase(program, therapy)


def button_nl(
    volume: int, over: int = 10 * MINUTE, lockout: int = HOUR, most: int = 4
) -> PatientBolusOutput:
    return PatientBolusOutput(NanoLitres(volume), Milliseconds(over), Milliseconds(lockout), most)


def bolus_nl(volume: int, over: int = MINUTE) -> GiveBolus:
    return GiveBolus(BolusOutput(NanoLitres(volume), Milliseconds(over)), ITP)


def fold(events: Sequence[Event], start: State | None = None) -> State:
    """What a host knows that starts from a journal."""
    return reduce(lambda state, event: step(state, event)[0], events, start or State())


@dataclass
class Story:
    """One device's life: what is asked, answered and recorded, without a gate or a disk."""

    state: State = field(default_factory=State)
    journal: list[Event] = field(default_factory=list)
    now: int = 0
    ids: int = 0
    patient: str = "BENCH-012"

    def tell(self, event: Event) -> None:
        self.journal.append(event)
        self.state, _ = step(self.state, event)

    def ask(self, command: Command, override: Override | None = None) -> Intended | Rejected:
        """Judges a command now; what was decided is recorded and taken in."""
        self.ids += 1
        now = instant(self.now)
        request = Ask(now, self.ids, command, self.patient, override, seen=now.fast)
        _, (effect,) = step(self.state, request)
        if isinstance(effect, Continue):
            self.state, _ = step(self.state, effect.intent)
            return effect.intent
        assert isinstance(effect, Record)
        assert isinstance(effect.event, Intended | Rejected)
        self.tell(effect.event)
        return effect.event

    def settle(self, intent_id: int, outcome: Outcome = "delivered") -> None:
        self.tell(Settled(instant(self.now), intent_id, outcome, "a test"))

    def do(self, command: Command, override: Override | None = None) -> Intended:
        """A command that must be admitted, and is carried out at once."""
        answer = self.ask(command, override)
        assert isinstance(answer, Intended), answer
        self.settle(answer.id)
        return answer

    def connect(self, boot: int = 1, *, delivering: bool = False) -> None:
        if not self.journal:
            self.tell(Opened(instant(self.now), "a" * 16, SERIAL, 1, True))
        clock = Milliseconds(self.now)
        self.tell(Connected(instant(self.now), IDENTITY, boot, delivering, clock, True))

    def restart(self) -> None:
        """The host dies and starts again from its journal."""
        self.state = fold(self.journal)


def rules(answer: Intended | Rejected) -> list[str]:
    """The rules that a command was refused by; none if it was admitted."""
    return [one.rule for one in answer.findings] if isinstance(answer, Rejected) else []


def programmed(case: PumpCase | None = None, at: int = 0) -> Story:
    """A pump that delivers a program."""
    story = Story(now=at)
    story.connect()
    story.do((case or pump_case()).command)
    return story


def stimulator(
    programs: tuple[StimulatorProgram, ...] = STIMULATION, at: int = 0, ohms: bool = True
) -> Story:
    """A stimulator that holds programs, its output off, measured unless told otherwise."""
    story = Story(now=at)
    story.connect()
    story.do(ProgramStimulator(programs, SCS))
    if ohms:
        intent = story.do(MeasureImpedance(TEST_PULSES, SCS))
        story.tell(Measured(instant(at), intent.id, GOOD_OHMS))
    return story


def flowing(program: StimulatorProgram) -> Stimulation:
    return Stimulation(program, tuple(area.amplitude for area in program.areas))


def start(program: StimulatorProgram) -> StartStimulation:
    return StartStimulation(flowing(program), SCS)
