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
from safety.events import (
    Cleared,
    Counted,
    CountState,
    Found,
    Latched,
    Looked,
    MriEntered,
    MriLeft,
    Raised,
    Stopped,
    Unverified,
)

from .chronicle import (
    DAY,
    MINUTE,
    Alarmed,
    Count,
    Ended,
    Field,
    Latch,
    Look,
    Other,
    Own,
    Stop,
)
from .life_requests import ask_for_bolus, ask_for_program, insist, titrate
from .pump_life import Approval, Life, Setting, Tally, case_of
from .reading import STUCK, UNASKED
from .slow_rules import HOUR, WINDOWS
from .slow_twin import ALERTS_WITHIN, LOCKOUT

STEPS = (
    ("wait", 24),
    ("bolus", 30),
    ("program", 9),
    ("insist", 2),
    ("titrate", 1),
    ("approve", 3),
    ("answer", 22),
    ("count", 7),
    ("stop", 1),
    ("latch", 1),
    ("restart", 3),
    ("other", 1),
    ("found", 1),
    ("alarm", 2),
    ("ended", 3),
    ("look", 2),
    ("again and again", 1),
    ("field", 1),
)
"""What can happen, and how often."""
ALARMS = tuple(sorted(UNASKED | STUCK))
PUMP_RESTARTS_OFTEN = 0.2

Step = tuple[str, int]


def take(life: Life, step: Step) -> None:
    """One step of a life; what exactly it is, its number and the twin's list decide."""
    word, number = step
    life.tally.steps += 1
    _TAKEN[word](life, Random(number))


# --- time ----------------------------------------------------------------------------------------


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
    so_far = life.twin.so_far
    edges = {so_far.unknown_until, *(until for _, until in so_far.waived)}
    edges |= {at + ALERTS_WITHIN for _, at in so_far.alerts[-4:]}
    for one in so_far.boluses[-4:]:
        latest = one.latest(life.twin.slack, life.now)
        edges |= {latest, one.granted.at + life.twin.slack + LOCKOUT}
        edges |= {latest + window for window in WINDOWS}
    for program in so_far.programs:
        edges |= {program.until + DAY} if program.until is not None else set()
        edges |= {program.granted.at + DAY} if program.granted.passed else set()
    return edges


# --- what the pump tells -------------------------------------------------------------------------


def _answer(life: Life, chance: Random) -> None:
    doubt = [one.granted.id for one in life.twin.so_far.doubt]
    if not doubt or chance.random() < 0.05:
        own = chance.randint(1, life.ids + 1)
    else:
        own = chance.choice(doubt)
    outcomes = ("delivered", "delivered", "delivered", "delivered", "refused", "UNCERTAIN")
    life.answer(own, chance.choice(outcomes))


def _count(life: Life, chance: Random) -> None:
    """The pump's count of a bolus that some window may hold still; it is asked about no other."""
    boluses = life.twin.in_the_last_day(life.twin.so_far, life.now)
    own, asked, before = life.ids + 1, 1_000, 0
    if boluses and chance.random() < 0.95:
        one = chance.choice(boluses[-3:])
        own, asked = one.granted.id, one.volume
        before = one.counts[-1].volume if one.counts else 0
    volume = max(0, chance.choice((0, asked // 2, asked - 1, asked, asked + 1, before - 1)))
    state = chance.choice(("running", "executed", "interrupted"))
    event = Counted(instant(life.now), own, cast("CountState", state), NanoLitres(volume))
    life.tell(event)
    life.twin.hear(Count(life.now, own, state, volume))


def _other(life: Life, chance: Random) -> None:
    doubt = [one.granted.id for one in life.twin.so_far.doubt]
    own = chance.choice((0, *doubt))
    delivers = chance.random() < 0.5
    life.tell(Unverified(instant(life.now), own, "a test", delivers))
    life.twin.hear(Other(life.now, own, delivers))


def _found(life: Life, chance: Random) -> None:
    """A host tells what the pump was found with where it knows of nothing verified."""
    if life.twin.so_far.verified is None:
        program = chance.choice(life.setting.programs)
        life.tell(Found(instant(life.now), case_of(program).program))
        life.twin.hear(Own(life.now, program))


def _alarm(life: Life, chance: Random) -> None:
    _raise(life, chance.choice(ALARMS), is_low=chance.random() < 0.1)


def _raise(life: Life, code: str, *, is_low: bool = False) -> None:
    alarm = Alarm(code, "LOW" if is_low else "HIGH", "SR-54", "a test")
    life.tell(Raised(instant(life.now), alarm))
    life.twin.hear(Alarmed(life.now, code, is_low))


def _ended(life: Life, chance: Random) -> None:
    standing = sorted(life.twin.so_far.standing)
    code = chance.choice(standing) if standing else chance.choice(ALARMS)
    life.tell(Cleared(instant(life.now), code))
    life.twin.hear(Ended(life.now, code))


# --- what people and hosts do --------------------------------------------------------------------


def _approve(life: Life, chance: Random) -> None:
    life.approval = Approval(life.state.epoch, len(life.twin.facts))


def _stop(life: Life, chance: Random) -> None:
    life.tell(Stopped(instant(life.now), "hold", chance.random() < 0.5))
    life.twin.hear(Stop(life.now))


def _latch(life: Life, chance: Random) -> None:
    if life.state.latched is not None:
        return
    past_lost = chance.random() < 0.3
    life.past_lost = past_lost
    life.tell(Latched(instant(life.now), "a test", past_lost))
    life.twin.hear(Latch(life.now, past_lost))


def _restart(life: Life, chance: Random) -> None:
    """A new host; now and then the pump itself has started again meanwhile."""
    life.starts += chance.random() < PUMP_RESTARTS_OFTEN
    life.restart()


def _look(life: Life, chance: Random) -> None:
    life.tell(Looked(instant(life.now), "nurse", "a test"))
    life.twin.hear(Look(life.now))


def _again_and_again(life: Life, chance: Random) -> None:
    """An alarm comes, and the program is started again: one after the other, two to four times."""
    code = chance.choice(ALARMS)
    for _ in range(chance.randint(2, 4)):
        _raise(life, code, is_low=chance.random() < 0.05)
        if chance.random() < 0.8:
            life.tell(Cleared(instant(life.now), code))
            life.twin.hear(Ended(life.now, code))
        if chance.random() < 0.9 and (verified := life.twin.so_far.verified) is not None:
            life.ask(verified)
            life.answer(life.ids, "delivered")
        life.now += chance.choice((0, MINUTE, 3 * MINUTE))


def _field(life: Life, chance: Random) -> None:
    entered = not life.twin.so_far.in_field
    now = instant(life.now)
    life.tell(MriEntered(now, "nurse", "") if entered else MriLeft(now, "nurse", "a test"))
    life.twin.hear(Field(life.now, entered))


_TAKEN: dict[str, Callable[[Life, Random], None]] = {
    "wait": _wait,
    "bolus": ask_for_bolus,
    "program": ask_for_program,
    "insist": insist,
    "titrate": titrate,
    "approve": _approve,
    "answer": _answer,
    "count": _count,
    "stop": _stop,
    "latch": _latch,
    "restart": _restart,
    "other": _other,
    "found": _found,
    "alarm": _alarm,
    "ended": _ended,
    "look": _look,
    "again and again": _again_and_again,
    "field": _field,
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
