"""One pump's life, told to the real kernel and to the slow twin side by side."""

from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from typing import NamedTuple, cast

from clinical_examples import FENTANYL, ITP, MORPHINE
from kernel_bench import IDENTITY, PumpCase, button_nl, instant, pump_case

from device_profiles.formulary import Formulary, StartLimits
from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    Milliseconds,
    NanogramsPerMillilitre,
    NanoLitres,
)
from device_profiles.therapy import DoseLimits
from device_profiles.therapy import Drug as WrittenDrug
from safety import kernel
from safety.commands import Ask, GiveBolus, Override, ProgramPump
from safety.events import (
    Connected,
    Event,
    Intended,
    Latched,
    Outcome,
    Rejected,
    Settled,
)
from safety.kernel import Continue, Record
from safety.outputs import BolusOutput
from safety.state import State

from .chronicle import DAY, Bolus, Drug, Granted, Met, Program, Reason, Request, Told
from .slow_rules import FIRST_DAY, NAIVE_DAY, STRONGEST
from .slow_twin import SlowTwin

COVERED = frozenset(
    f"SR-{number:02}"
    for number in (4, 5, 7, 8, 11, 12, 14, 15, 16, 20, 22, 23, 25, 32, 34, 35, 52, 56, 57, 58, 63)
)
"""The rules that the twin knows; what else the kernel finds is let pass with a reason."""
_BY_TIME = frozenset(("SR-05", "SR-14", "SR-15"))
ELSE = ("SR-06", "SR-13", "SR-18", "SR-19", "SR-59")
PATIENT, OTHER_PATIENT = "BENCH-012", "BENCH-013"

_first, _naive = (
    tuple(FemtogramsPerDay(most) for most in soft_and_hard)
    for soft_and_hard in (FIRST_DAY, NAIVE_DAY)
)
_fentanyl = replace(FENTANYL, start=(StartLimits(None, *_first),))
_morphine = replace(MORPHINE, start=(StartLimits("opioid-naive", *_naive),))
_weaker = replace(_morphine, concentration_max=NanogramsPerMillilitre(STRONGEST["weaker"]))
LIBRARIES = {
    "usual": Formulary("usual", (_morphine, _fentanyl)),
    "weaker": Formulary("weaker", (_weaker, _fentanyl)),
    "without morphine": Formulary("without morphine", (_fentanyl,)),
}


class Approval(NamedTuple):
    """What a person approved saw: the kernel's epoch, and so many facts of the twin's."""

    epoch: int
    facts: int


class Setting(NamedTuple):
    """A pump and the programs that it may be given."""

    programs: tuple[Program, ...]
    boluses_a_day: int
    speed: int
    origin: int


@dataclass
class Tally:
    """What was asked and answered."""

    steps: int = 0
    asked: int = 0
    """Requests that the twin admits."""
    refused: int = 0
    """Of these, refused by the kernel."""
    waited: int = 0
    """Boluses that were refused and that time may open again."""
    denials: list[int] = field(default_factory=list)
    """For how long a bolus was denied that only time opened again, ms."""
    outside: int = 0
    """Refused by rules that the twin does not know."""


@dataclass
class Life:
    """The same life twice; `difference` is the first place where the two judges part."""

    setting: Setting
    tally: Tally
    denied_every: int = 0
    """One refused bolus in so many is asked for again and again; 0: none."""
    now: int = 0
    ids: int = 0
    starts: int = 1
    """How often the pump itself has started."""
    past_lost: bool = False
    approval: Approval | None = None
    """The last that a person approved."""
    difference: str | None = None

    def __post_init__(self) -> None:
        self.now = self.setting.origin
        self.twin = SlowTwin(self.setting.boluses_a_day, self.setting.speed)
        self.profile = replace(ITP, boluses_per_day_max=self.setting.boluses_a_day)
        self.identity = replace(IDENTITY, speed=self.setting.speed)
        self.state = State()
        self.journal: list[Event] = []
        self.connect()
        reason = Reason(("SR-04", "SR-63"), "clinician", "witness", 7 * DAY)
        self.ask(self.setting.programs[0], reason)
        self.answer(1, "delivered")

    def connect(self) -> None:
        """A host takes charge of the pump."""
        now = instant(self.now)
        self.tell(Connected(now, self.identity, self.starts, True, Milliseconds(self.now), True))
        self.twin.hear(Met(self.now, self.starts))

    def tell(self, event: Event) -> None:
        """The kernel takes an event in; a latched journal does not hold it."""
        if self.state.latched is None and not isinstance(event, Latched):
            self.journal.append(event)
        self.state = kernel.step(self.state, event)[0]

    # --- requests ----------------------------------------------------------------------------

    def ask(
        self,
        what: Bolus | Program,
        reason: Reason | None = None,
        seen_ago: int | None = 0,
        *,
        own: int | None = None,
        patient: str = PATIENT,
        approval: Approval | None = None,
        library: str = "usual",
    ) -> None:
        """Both judge a request at this instant; what they say has to be the same."""
        self.ids += 1
        own = self.ids if own is None else own
        approved = None if approval is None else approval.facts
        request = Request(self.now, what, seen_ago, reason, own, patient, approved, library)
        objections, passed = self.twin.objections(request)
        ask = self._as_ask(request, None if approval is None else approval.epoch)
        _, (effect,) = kernel.step(self.state, ask)
        intent = effect.intent if isinstance(effect, Continue) else None
        if isinstance(effect, Record) and isinstance(effect.event, Intended):
            intent = effect.event
        found = frozenset[str]()
        if intent is None:
            assert isinstance(effect, Record)
            assert isinstance(effect.event, Rejected)
            found = frozenset(one.rule for one in effect.event.findings)
        self._compare(what, objections, found)
        if not objections:
            self.tally.asked += 1
            self.tally.refused += intent is None
        if intent is None:
            self._measure_denial(ask, objections)
            return
        self.tell(intent)
        drugs: tuple[Drug, ...] = ()
        if isinstance(what, Bolus) and (current := self.twin.so_far.current):
            drugs = cast("Program", current.granted.what).drugs
        valid_for = reason.valid_for if reason else 0
        known = tuple(rule for rule in passed if rule in COVERED)
        self.twin.hear(Granted(self.now, own, what, drugs, known, valid_for, patient))

    def _as_ask(self, request: Request, epoch: int | None) -> Ask:
        now, what, reason = instant(request.at), request.what, request.reason
        seen = None if request.seen_ago is None else Milliseconds(now.fast - request.seen_ago)
        rules, user, second, valid_for = reason or ((), "operator", "witness", DAY)
        override = Override((*rules, *ELSE), user, "a test", second, Milliseconds(valid_for))
        if isinstance(what, Bolus):
            bolus = BolusOutput(NanoLitres(what.volume), Milliseconds(what.over))
            command = GiveBolus(bolus, self.profile)
            return Ask(now, request.id, command, request.patient, None, seen, epoch)
        case = case_of(what)
        program = ProgramPump(case.program, case.therapy, ITP, LIBRARIES[request.library])
        return Ask(now, request.id, program, request.patient, override, seen, epoch)

    def _compare(
        self, what: Bolus | Program, objections: frozenset[str], found: frozenset[str]
    ) -> None:
        known = found & COVERED
        if found and not known and not objections:
            self.tally.outside += 1
            known = objections
        if objections != known and self.difference is None:
            said = [", ".join(sorted(one)) or "admits it" for one in (known, objections)]
            self.difference = f"{_words(what)}: the kernel says {said[0]}, the twin {said[1]}"

    def _measure_denial(self, ask: Ask, objections: frozenset[str]) -> None:
        """How long the same request is denied, if time alone opens it again."""
        if not self.denied_every or not isinstance(ask.command, GiveBolus):
            return
        if objections - _BY_TIME:
            return
        self.tally.waited += 1
        if self.tally.waited % self.denied_every:
            return
        low, high = self.now, self.now + 3 * DAY
        if not self._admits(ask, high):
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._admits(ask, middle) else (middle, high)
        self.tally.denials.append(high - self.now)

    def _admits(self, ask: Ask, at: int) -> bool:
        now = instant(at)
        _, (effect,) = kernel.step(self.state, replace(ask, at=now, seen=now.fast))
        return isinstance(effect, Continue) or isinstance(cast("Record", effect).event, Intended)

    # --- what is told ------------------------------------------------------------------------

    def answer(self, own: int, outcome: str) -> None:
        self.tell(Settled(instant(self.now), own, cast("Outcome", outcome), "a test"))
        self.twin.hear(Told(self.now, own, outcome))

    def restart(self) -> None:
        """The host dies and starts again from what the journal holds."""
        if self.state.latched is not None:
            self.approval = None
        if not self.past_lost:
            self.state = reduce(lambda s, e: kernel.step(s, e)[0], self.journal, State())
        self.twin.restart()
        self.connect()


def _words(what: Bolus | Program) -> str:
    if isinstance(what, Bolus):
        return f"a bolus of {what.volume} nL over {what.over} ms"
    return f"a program of {what.basal} nL/day, button {what.button}"


@lru_cache(maxsize=4_096)
def case_of(program: Program) -> PumpCase:
    """The same program as the kernel is asked for it."""
    button = program.button
    return pump_case(
        program.basal,
        button=None
        if button is None
        else button_nl(button.volume, button.over, button.lockout, button.most),
        drugs=[
            WrittenDrug(
                drug.name,
                NanogramsPerMillilitre(drug.strength),
                "opioid-naive" if drug.naive else "opioid-tolerant",
                DoseLimits(
                    None if drug.per_bolus is None else Femtograms(drug.per_bolus),
                    *(Femtograms(one) for one in drug.per_window),
                ),
            )
            for drug in program.drugs
        ],
    )
