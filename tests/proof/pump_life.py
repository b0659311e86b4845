"""One pump's life, told step by step to the real kernel and to the slow twin side by side.

A step is a word and a number; what exactly it does is drawn from the number and from what the
twin knows just then, so that limits and edges are met to the unit, a life is repeated from its
seed, and steps can be left out of it to find a short one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from random import Random
from typing import NamedTuple, cast

from clinical_examples import ITP
from kernel_bench import FG_PER_NL, HOURLY, IDENTITY, PumpCase, button_nl, instant, pump_case
from window_oracle import Button

from device_profiles.quantities import (
    Femtograms,
    Milliseconds,
    NanogramsPerMillilitre,
    NanoLitres,
)
from device_profiles.therapy import DoseLimits
from device_profiles.therapy import Drug as WrittenDrug
from safety import kernel
from safety.alarms import Alarm
from safety.commands import GiveBolus, Override
from safety.events import (
    Connected,
    Counted,
    CountState,
    Event,
    Found,
    Intended,
    Latched,
    Outcome,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.kernel import Ask, Continue, Record
from safety.outputs import BolusOutput
from safety.state import State

from . import slow_twin as twin
from .slow_twin import DAY, HOUR, MINUTE, WINDOWS, Bolus, Drug, Program, Reason, Request

STEPS = (
    ("wait", 24),
    ("bolus", 30),
    ("program", 9),
    ("insist", 2),
    ("answer", 22),
    ("count", 7),
    ("stop", 1),
    ("latch", 1),
    ("restart", 3),
    ("other", 1),
    ("found", 1),
    ("unplanned", 1),
)
"""What can happen, and how often."""

COVERED = frozenset(
    ["SR-04", "SR-05", "SR-07", "SR-12", "SR-14", "SR-15", "SR-16", "SR-22", "SR-23", "SR-32", "SR-52", "SR-56", "SR-57"]
)
"""The rules that the twin knows; what else the kernel finds is let pass with a reason."""
_BY_TIME = frozenset(("SR-05", "SR-14", "SR-15"))
ELSE = ("SR-06", "SR-13", "SR-18", "SR-19", "SR-59")

Step = tuple[str, int]


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
    past_lost: bool = False
    difference: str | None = None

    def __post_init__(self) -> None:
        self.now = self.setting.origin
        self.twin = twin.SlowTwin(self.setting.boluses_a_day, self.setting.speed)
        self.profile = replace(ITP, boluses_per_day_max=self.setting.boluses_a_day)
        self.identity = replace(IDENTITY, speed=self.setting.speed)
        self.state = State()
        self.journal: list[Event] = []
        self.tell(self.connection())
        self.ask(self.setting.programs[0], 0, None)
        self.answer(1, "delivered")

    def connection(self) -> Connected:
        now = instant(self.now)
        return Connected(now, self.identity, 1, True, Milliseconds(self.now))

    def tell(self, event: Event) -> None:
        """The kernel takes an event in; a latched journal does not hold it."""
        if self.state.latched is None and not isinstance(event, Latched):
            self.journal.append(event)
        self.state = kernel.step(self.state, event)[0]

    # --- requests ----------------------------------------------------------------------------

    def ask(self, what: Bolus | Program, seen_ago: int | None, reason: Reason | None) -> None:
        """Both judge a request at this instant; what they say has to be the same."""
        self.ids += 1
        request = Request(self.now, what, seen_ago, reason)
        objections, passed = self.twin.objections(request)
        ask = self._as_ask(request, self.ids)
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
        if isinstance(what, Bolus) and (current := twin.read(self.twin.facts).current):
            drugs = cast("Program", current.granted.what).drugs
        valid_for = reason.valid_for if reason else 0
        known = tuple(rule for rule in passed if rule in COVERED)
        self.twin.facts.append(
            twin.Granted(self.now, self.ids, what, drugs, known, valid_for)
        )

    def _as_ask(self, request: Request, own: int) -> Ask:
        now, what, reason = instant(request.at), request.what, request.reason
        seen = None if request.seen_ago is None else Milliseconds(now.fast - request.seen_ago)
        rules, user, second, valid_for = reason or ((), "operator", "witness", DAY)
        override = Override((*rules, *ELSE), user, "a test", second, Milliseconds(valid_for))
        if isinstance(what, Bolus):
            bolus = BolusOutput(NanoLitres(what.volume), Milliseconds(what.over))
            return Ask(now, own, GiveBolus(bolus, self.profile), "BENCH-012", None, seen)
        return Ask(now, own, case_of(what).command, "BENCH-012", override, seen)

    def _compare(
        self, what: Bolus | Program, objections: frozenset[str], found: frozenset[str]
    ) -> None:
        known = found & COVERED
        if found and not known and not objections:
            self.tally.outside += 1
            known = objections
        if "SR-22" in objections and "SR-22" in known:
            # Without a program there is nothing to fill a window.
            objections, known = objections - {"SR-14"}, known - {"SR-14"}
        if "SR-23" in objections and "SR-23" in known:
            # What counts for how long, before it is known whether it was taken, decides nothing.
            objections, known = objections - _BY_TIME, known - _BY_TIME
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
        self.twin.facts.append(twin.Told(self.now, own, outcome))

    def restart(self) -> None:
        """The host dies and starts again from what the journal holds."""
        if not self.past_lost:
            self.state = reduce(lambda s, e: kernel.step(s, e)[0], self.journal, State())
        self.twin.restart()
        self.tell(self.connection())


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
        button=button and button_nl(button.volume, button.over, button.lockout, button.most),
        drugs=[
            WrittenDrug(
                drug.name,
                NanogramsPerMillilitre(drug.strength),
                "opioid-tolerant",
                DoseLimits(
                    None if drug.per_bolus is None else Femtograms(drug.per_bolus),
                    *(Femtograms(one) for one in drug.per_window),
                ),
            )
            for drug in program.drugs
        ],
    )


# --- steps ---------------------------------------------------------------------------------------


def take(life: Life, step: Step) -> None:
    """One step of a life; what exactly it is, its number and the twin's list decide."""
    word, number = step
    life.tally.steps += 1
    _TAKEN[word](life, Random(number))


def _wait(life: Life, chance: Random) -> None:
    if chance.random() < 0.35:
        times = (0, 1, MINUTE, 10 * MINUTE, HOUR - 1, HOUR, 4 * HOUR, DAY // 2, DAY)
        life.now += chance.choice(times)
        return
    ahead = [edge + d for edge in _edges(life) for d in (-1, 0, 1) if edge + d > life.now]
    if ahead:
        ahead.sort()
        life.now = ahead[min(int(chance.expovariate(0.35)), len(ahead) - 1)]


def _edges(life: Life) -> set[int]:
    """Instants at which some answer changes, by the twin's list."""
    so_far = twin.read(life.twin.facts)
    edges = {so_far.unknown_until, *(until for _, until in so_far.waived)}
    for one in so_far.boluses[-4:]:
        latest = one.latest(life.twin.slack)
        edges |= {latest, one.granted.at + life.twin.slack + twin.LOCKOUT}
        edges |= {latest + window for window in WINDOWS}
    for program in so_far.programs:
        edges |= {program.until + DAY} if program.until is not None else set()
        edges |= {program.granted.at + DAY} if program.granted.passed else set()
    return edges


def _bolus(life: Life, chance: Random) -> None:
    over = chance.choice((1_000, 30_000, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR))
    volume = chance.choice((1, 1_000, 2_000, 3_000, 8_000))
    so_far = twin.read(life.twin.facts)
    if so_far.current is not None and chance.random() < 0.6:
        drugs = cast("Program", so_far.current.granted.what).drugs
        rooms = [
            (limit - life.twin.worst(so_far, drug, window, life.now)) // drug.strength
            for drug in drugs
            for window, limit in zip(WINDOWS, drug.per_window, strict=True)
        ]
        rooms += [drug.per_bolus // drug.strength for drug in drugs if drug.per_bolus is not None]
        volume = int(min(rooms)) + chance.choice((-1, 0, 0, 1))
        if chance.random() < 0.3:
            volume //= 2
    elif chance.random() < 0.1:
        volume = chance.choice((0, -1, 65_535, 65_536, 65_537, 66_536))
    if chance.random() < 0.01:
        over = 0
    seen_ago: int | None = 0
    if chance.random() < 0.03:
        stale = 3 * twin.POLL * life.twin.speed
        seen_ago = chance.choice((None, -1, stale, stale + 1))
    life.ask(Bolus(volume, over), seen_ago, None)


def _program(life: Life, chance: Random) -> None:
    program = chance.choice(life.setting.programs)
    so_far = twin.read(life.twin.facts)
    if so_far.verified is not None and chance.random() < 0.25:
        program = so_far.verified
    if chance.random() < 0.3 and len(program.basal) == 1:
        program = _at_the_edge(life, program, so_far, chance)
    if chance.random() < 0.15:
        # Limits that are narrower than what is in the pump: a reason is needed to go on with it.
        program = program._replace(drugs=tuple(_narrowed(drug) for drug in program.drugs))
    reason = None
    if chance.random() < 0.6:
        rules = chance.choice((("SR-05",), ("SR-04", "SR-05", "SR-12", "SR-14"), ("SR-12",)))
        second = chance.choice((None, "nurse", "clinician"))
        valid_for = chance.choice((0, 1, HOUR, DAY, DAY, 7 * DAY, 7 * DAY + 1))
        reason = Reason(rules, "clinician", second, valid_for)
    life.ask(program, 0, reason)


def _insist(life: Life, chance: Random) -> None:
    """Going on with what flows under limits that are narrower now, on one person's word."""
    verified = twin.read(life.twin.facts).verified
    if verified is not None:
        program = verified._replace(drugs=tuple(_narrowed(drug) for drug in verified.drugs))
        second = chance.choice((None, None, "clinician", "nurse"))
        life.ask(program, 0, Reason(("SR-05",), "clinician", second, DAY))


def _narrowed(drug: Drug) -> Drug:
    hour = drug.per_window[0] // 3
    per_bolus = None if drug.per_bolus is None else min(drug.per_bolus, hour)
    return drug._replace(per_bolus=per_bolus, per_window=(hour, *drug.per_window[1:]))


def _at_the_edge(
    life: Life, program: Program, so_far: twin.Chronicle, chance: Random
) -> Program:
    """The same program with the flow that just fits beside what may lie in the windows."""
    idle = program._replace(basal=((0, 0),))
    drug = program.drugs[0]
    flows = []
    for window, limit in zip(WINDOWS, drug.per_window, strict=True):
        others = life.twin.worst(so_far, drug, window, life.now, idle)
        basal = twin.most_of_basal_and_buttons(
            frozenset([one for one in twin.may_flow(so_far, life.now)]) or frozenset([idle]),
            drug.name,
            window,
        )
        flows.append((limit - others + basal) * DAY // window // drug.strength)
    flow = int(min(flows)) + chance.choice((-1, 0, 1))
    return program._replace(basal=((0, min(max(flow, 48_000), 24_000_000)),))


def _answer(life: Life, chance: Random) -> None:
    doubt = [one.granted.id for one in twin.read(life.twin.facts).doubt]
    if not doubt or chance.random() < 0.05:
        own = chance.randint(1, life.ids + 1)
    else:
        own = chance.choice(doubt)
    outcomes = ("delivered", "delivered", "delivered", "delivered", "refused", "UNCERTAIN")
    life.answer(own, chance.choice(outcomes))


def _count(life: Life, chance: Random) -> None:
    boluses = twin.read(life.twin.facts).boluses
    own, asked, before = life.ids + 1, 1_000, 0
    if boluses and chance.random() < 0.95:
        one = chance.choice(boluses[-3:])
        own, asked = one.granted.id, one.volume
        before = one.counts[-1].volume if one.counts else 0
    volume = max(0, chance.choice((0, asked // 2, asked - 1, asked, asked + 1, before - 1)))
    state = chance.choice(("running", "executed", "interrupted"))
    event = Counted(instant(life.now), own, cast("CountState", state), NanoLitres(volume))
    life.tell(event)
    life.twin.facts.append(twin.Count(life.now, own, state, volume))


def _stop(life: Life, chance: Random) -> None:
    life.tell(Stopped(instant(life.now), "hold", chance.random() < 0.5))
    life.twin.facts.append(twin.Stop(life.now))


def _latch(life: Life, chance: Random) -> None:
    if life.state.latched is not None:
        return
    past_lost = chance.random() < 0.3
    life.past_lost = past_lost
    life.tell(Latched(instant(life.now), "a test", past_lost))
    life.twin.facts.append(twin.Latch(life.now, past_lost))


def _restart(life: Life, chance: Random) -> None:
    life.restart()


def _other(life: Life, chance: Random) -> None:
    doubt = [one.granted.id for one in twin.read(life.twin.facts).doubt]
    own = chance.choice((0, *doubt))
    delivers = chance.random() < 0.5
    life.tell(Unverified(instant(life.now), own, "a test", delivers))
    life.twin.facts.append(twin.Other(life.now, own, delivers))


def _found(life: Life, chance: Random) -> None:
    """A host tells what the pump was found with where it knows of nothing verified."""
    if twin.read(life.twin.facts).verified is None:
        program = chance.choice(life.setting.programs)
        life.tell(Found(instant(life.now), case_of(program).program))
        life.twin.facts.append(twin.Own(life.now, program))


def _unplanned(life: Life, chance: Random) -> None:
    alarm = Alarm("over-delivery", "HIGH", "SR-54", "a test")
    life.tell(Raised(instant(life.now), alarm))
    life.twin.facts.append(twin.Unplanned(life.now))


_TAKEN: dict[str, Callable[[Life, Random], None]] = {
    "wait": _wait,
    "bolus": _bolus,
    "program": _program,
    "insist": _insist,
    "answer": _answer,
    "count": _count,
    "stop": _stop,
    "latch": _latch,
    "restart": _restart,
    "other": _other,
    "found": _found,
    "unplanned": _unplanned,
}


# --- settings ------------------------------------------------------------------------------------


def draw_setting(chance: Random) -> Setting:
    """A pump whose limits lie a few doses, a nanolitre or a femtogram above its own worst case."""
    tight = chance.choice(WINDOWS)
    unit = chance.choice((1, 1_000, 1_000, 50_000))
    button = None
    if chance.random() < 0.4:
        button = Button(
            chance.choice((1, 2)) * max(unit // 10, 10),
            chance.choice((MINUTE, 7 * MINUTE, HOUR)),
            chance.choice((HOUR, 2 * HOUR, 4 * HOUR)),
            chance.choice((1, 4, 24)),
        )
    base = _draw_basal(chance)
    bare = Program((Drug("morphine", FG_PER_NL, None, (0, 0, 0)),), base, button)
    room = chance.randint(1, 8) * unit * FG_PER_NL + chance.choice((-1, 0, 0, 1))
    drugs = [_with_limits("morphine", 1_000_000, bare, tight, room, chance)]
    room = chance.randint(1, 8) * unit * FG_PER_NL
    if chance.random() < 0.3:
        half = bare._replace(drugs=(Drug("fentanyl", 500_000, None, (0, 0, 0)),))
        drugs.append(_with_limits("fentanyl", 500_000, half, tight, room // 2, chance))
    first = Program(tuple(drugs), base, button)
    pool = [first]
    for _ in range(4):
        other = first._replace(basal=chance.choice((_draw_basal(chance), mirrored(base))))
        if chance.random() < 0.3:
            other = other._replace(button=None)
        if chance.random() < 0.15:
            doubled = (drug._replace(strength=2 * drug.strength) for drug in other.drugs)
            other = other._replace(drugs=tuple(doubled))
        pool.append(other)
    return Setting(
        tuple(pool),
        chance.choice((2, 4, 96, 96)),
        chance.choice((1, 1, 1, 60)),
        chance.choice((0, 0, 10**12, 10_000 * DAY)),
    )


def _with_limits(
    name: str, strength: int, bare: Program, tight: int, room: int, chance: Random
) -> Drug:
    limits = []
    for window in WINDOWS:
        own = twin.most_of_basal_and_buttons(frozenset([bare]), bare.drugs[0].name, window)
        full = -(-own.numerator // own.denominator) + room
        limits.append(full if window <= tight else max(limits[-1] if limits else 0, 9 * 10**12))
    hour, four_hours, day = limits
    four_hours, day = max(hour, four_hours), max(hour, four_hours, day)
    per_bolus: int | None = min(hour, 10**12, chance.choice((hour, max(1, room), room // 2 + 1)))
    if name == "fentanyl" and chance.random() < 0.1:
        per_bolus = None
    return Drug(name, strength, per_bolus, (hour, four_hours, day))


def _draw_basal(chance: Random) -> tuple[tuple[int, int], ...]:
    flows = [chance.randint(2, 8) * HOURLY + chance.choice((0, 0, 0, 1, 2)) for _ in range(3)]
    starts = {"one": (0,), "two": (0, chance.choice((1, 60, 720, 1_439)))}
    steps = starts[chance.choice(("one", "one", "two"))]
    return tuple(zip(steps, flows, strict=False))


def mirrored(steps: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The same times of the day with their flows in reverse."""
    return tuple((start, flow) for (start, _), (_, flow) in zip(steps, steps[::-1], strict=True))


def draw_steps(chance: Random, length: int) -> tuple[Step, ...]:
    """So many steps of a life."""
    words = [word for word, _ in STEPS]
    weights = [often for _, often in STEPS]
    return tuple((word, chance.getrandbits(32)) for word in chance.choices(words, weights, k=length))


def live(setting: Setting, steps: Sequence[Step], tally: Tally, denied_every: int = 0) -> Life:
    """A whole life, up to the first difference."""
    life = Life(setting, tally, denied_every)
    for step in steps:
        if life.difference is not None:
            break
        take(life, step)
    return life
