"""The steps of a pump's life.

A step is a word and a number; what exactly it does is drawn from the number and from what the
twin knows just then, so that limits and edges are met to the unit, a life is repeated from its
seed, and steps can be left out of it to find a short one.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import cast

from kernel_bench import instant

from device_profiles.quantities import NanoLitres
from safety.alarms import Alarm
from safety.events import Cleared, Counted, CountState, Found, Latched, Raised, Stopped, Unverified

from .chronicle import (
    DAY,
    Bolus,
    Chronicle,
    Count,
    Drug,
    Ended,
    Latch,
    Other,
    Own,
    Program,
    Reason,
    Stop,
    Unplanned,
    read,
)
from .pump_life import Life, Setting, Tally, case_of
from .slow_twin import (
    HOUR,
    LOCKOUT,
    MINUTE,
    POLL,
    WINDOWS,
    may_flow,
    most_of_basal_and_buttons,
)

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
    ("ended", 2),
)
"""What can happen, and how often."""

Step = tuple[str, int]


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
    so_far = read(life.twin.facts)
    edges = {so_far.unknown_until, *(until for _, until in so_far.waived)}
    for one in so_far.boluses[-4:]:
        latest = one.latest(life.twin.slack)
        edges |= {latest, one.granted.at + life.twin.slack + LOCKOUT}
        edges |= {latest + window for window in WINDOWS}
    for program in so_far.programs:
        edges |= {program.until + DAY} if program.until is not None else set()
        edges |= {program.granted.at + DAY} if program.granted.passed else set()
    return edges


def _bolus(life: Life, chance: Random) -> None:
    over = chance.choice((1_000, 30_000, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR))
    volume = chance.choice((1, 1_000, 2_000, 3_000, 8_000))
    so_far = read(life.twin.facts)
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
        stale = 3 * POLL * life.twin.speed
        seen_ago = chance.choice((None, -1, stale, stale + 1))
    life.ask(Bolus(volume, over), seen_ago, None)


def _program(life: Life, chance: Random) -> None:
    program = chance.choice(life.setting.programs)
    so_far = read(life.twin.facts)
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
    verified = read(life.twin.facts).verified
    if verified is not None:
        program = verified._replace(drugs=tuple(_narrowed(drug) for drug in verified.drugs))
        second = chance.choice((None, None, "clinician", "nurse"))
        life.ask(program, 0, Reason(("SR-05",), "clinician", second, DAY))


def _narrowed(drug: Drug) -> Drug:
    hour = drug.per_window[0] // 3
    per_bolus = None if drug.per_bolus is None else min(drug.per_bolus, hour)
    return drug._replace(per_bolus=per_bolus, per_window=(hour, *drug.per_window[1:]))


def _at_the_edge(life: Life, program: Program, so_far: Chronicle, chance: Random) -> Program:
    """The same program with the flow that just fits beside what may lie in the windows."""
    idle = program._replace(basal=((0, 0),))
    drug = program.drugs[0]
    flows = []
    for window, limit in zip(WINDOWS, drug.per_window, strict=True):
        others = life.twin.worst(so_far, drug, window, life.now, idle)
        basal = most_of_basal_and_buttons(
            frozenset(may_flow(so_far, life.now) or [idle]),
            drug.name,
            window,
        )
        flows.append((limit - others + basal) * DAY // window // drug.strength)
    flow = int(min(flows)) + chance.choice((-1, 0, 1))
    return program._replace(basal=((0, min(max(flow, 48_000), 24_000_000)),))


def _answer(life: Life, chance: Random) -> None:
    doubt = [one.granted.id for one in read(life.twin.facts).doubt]
    if not doubt or chance.random() < 0.05:
        own = chance.randint(1, life.ids + 1)
    else:
        own = chance.choice(doubt)
    outcomes = ("delivered", "delivered", "delivered", "delivered", "refused", "UNCERTAIN")
    life.answer(own, chance.choice(outcomes))


def _count(life: Life, chance: Random) -> None:
    boluses = read(life.twin.facts).boluses
    own, asked, before = life.ids + 1, 1_000, 0
    if boluses and chance.random() < 0.95:
        one = chance.choice(boluses[-3:])
        own, asked = one.granted.id, one.volume
        before = one.counts[-1].volume if one.counts else 0
    volume = max(0, chance.choice((0, asked // 2, asked - 1, asked, asked + 1, before - 1)))
    state = chance.choice(("running", "executed", "interrupted"))
    event = Counted(instant(life.now), own, cast("CountState", state), NanoLitres(volume))
    life.tell(event)
    life.twin.facts.append(Count(life.now, own, state, volume))


def _stop(life: Life, chance: Random) -> None:
    life.tell(Stopped(instant(life.now), "hold", chance.random() < 0.5))
    life.twin.facts.append(Stop(life.now))


def _latch(life: Life, chance: Random) -> None:
    if life.state.latched is not None:
        return
    past_lost = chance.random() < 0.3
    life.past_lost = past_lost
    life.tell(Latched(instant(life.now), "a test", past_lost))
    life.twin.facts.append(Latch(life.now, past_lost))


def _restart(life: Life, chance: Random) -> None:
    life.restart()


def _other(life: Life, chance: Random) -> None:
    doubt = [one.granted.id for one in read(life.twin.facts).doubt]
    own = chance.choice((0, *doubt))
    delivers = chance.random() < 0.5
    life.tell(Unverified(instant(life.now), own, "a test", delivers))
    life.twin.facts.append(Other(life.now, own, delivers))


def _found(life: Life, chance: Random) -> None:
    """A host tells what the pump was found with where it knows of nothing verified."""
    if read(life.twin.facts).verified is None:
        program = chance.choice(life.setting.programs)
        life.tell(Found(instant(life.now), case_of(program).program))
        life.twin.facts.append(Own(life.now, program))


def _unplanned(life: Life, chance: Random) -> None:
    alarm = Alarm("over-delivery", "HIGH", "SR-54", "a test")
    life.tell(Raised(instant(life.now), alarm))
    life.twin.facts.append(Unplanned(life.now))


def _ended(life: Life, chance: Random) -> None:
    life.tell(Cleared(instant(life.now), "over-delivery"))
    life.twin.facts.append(Ended(life.now))


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
    "ended": _ended,
}


def draw_steps(chance: Random, length: int) -> tuple[Step, ...]:
    """So many steps of a life."""
    words = [word for word, _ in STEPS]
    weights = [often for _, often in STEPS]
    return tuple(
        (word, chance.getrandbits(32)) for word in chance.choices(words, weights, k=length)
    )


def live(setting: Setting, steps: Sequence[Step], tally: Tally, denied_every: int = 0) -> Life:
    """A whole life, up to the first difference."""
    life = Life(setting, tally, denied_every)
    for step in steps:
        if life.difference is not None:
            break
        take(life, step)
    return life
