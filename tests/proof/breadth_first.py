"""Walks everything that can happen to a pump, breadth first, through the real kernel.

States that differ only in when they are (their times relative to now are the same) are one. What
is kept of each is a 64-bit fingerprint and the way that led to it, so that a violation is told by
a shortest path.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kernel_bench import DAY, SLACK

from safety.state import State

from .claims import Claim
from .pump_moves import moves
from .pump_world import LOCKOUT, Moment, World, beginning


@dataclass
class Found:
    """A claim that was broken, after how many states, and the events that lead there."""

    claim: str
    states: int
    sentence: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.claim}: {self.sentence}; after: {' > '.join(self.path)}"


@dataclass
class Walk:
    """What a search covered and found."""

    states: int = 0
    moves: int = 0
    depth: int = 0
    complete: bool = False
    found: list[Found] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)


def walk(world: World, claims: Sequence[Claim], most: int, *, stop_at_first: bool = False) -> Walk:
    """Searches up to ``most`` states; each claim is told once, by the first path that breaks it."""
    of_decision = [one for one in claims if one.of_decision]
    of_state = [one for one in claims if one.of_state]
    of_delivery = [one for one in claims if one.of_delivery]
    first = beginning(world)
    seen = {fingerprint(first)}
    parents, labels = array("l", [-1]), array("l", [-1])
    texts: dict[str, int] = {}
    frontier = [(0, first)]
    result, broken = Walk(states=1), set[str]()

    def tell(claim: Claim, sentence: str, place: int, last: str) -> None:
        broken.add(claim.name)
        path = [last]
        words = list(texts)
        while place > 0:
            path.append(words[labels[place]])
            place = parents[place]
        result.found.append(Found(claim.name, result.states, sentence, tuple(reversed(path))))

    while frontier:
        following: list[tuple[int, Moment]] = []
        for place, moment in frontier:
            for move in moves(world, moment):
                result.moves += 1
                if move.decision is not None:
                    asked_at = move.asked_at or moment
                    for claim in of_decision:
                        sentence = claim.of_decision(world, asked_at, move.decision)  # type: ignore[misc]
                        if sentence and claim.name not in broken:
                            tell(claim, sentence, place, move.label)
                after = move.after
                if after is None:
                    continue
                mark = fingerprint(after)
                if mark in seen:
                    continue
                for claim in (*of_state, *of_delivery) if move.delivers else of_state:
                    look = claim.of_state or claim.of_delivery
                    sentence = look(world, after)  # type: ignore[misc]
                    if sentence and claim.name not in broken:
                        tell(claim, sentence, place, move.label)
                if broken and stop_at_first:
                    return result
                if result.states >= most:
                    return result
                seen.add(mark)
                parents.append(place)
                labels.append(texts.setdefault(move.label, len(texts)))
                following.append((result.states, after))
                result.states += 1
            if broken and stop_at_first:
                return result
        frontier = following
        result.depth += 1
        result.depths.append(len(following))
    result.complete = True
    return result


# --- what makes two moments the same -------------------------------------------------------------

_PUMP_FIELDS = [
    "latched",
    "held",
    "pump_program",
    "last_verified",
    "pump_limits",
    "unknown_program",
    "unsettled",
    "reservations",
    "past_programs",
    "full_until",
    "overtaken",
]
_WITHOUT_MEANING = ("ids", "epoch", "boot", "seen", "passed", "patient", "identity", "timezone")
"""Counters and labels that no answer depends on where nobody overrides or approves anything, the
patient stays the same and an id that was used is refused whichever it is."""
_OTHERS = tuple(
    one.name for one in fields(State) if one.name not in (*_PUMP_FIELDS, *_WITHOUT_MEANING)
)
"""Fields that this search knows nothing of are taken as they are, so that none is overlooked."""


def fingerprint(moment: Moment) -> int:
    """A number that two moments share if the same can happen after both."""
    now, truth = moment.now, moment.truth
    order: dict[int, int] = {}
    for one in truth.doses:
        order.setdefault(one.id, len(order))
    for sent in truth.sent:
        order.setdefault(sent.id, len(order))
    stopped = bool(truth.known.stopped), truth.known.stopped == moment.ids
    kept = bool(truth.kept.stopped), truth.kept.stopped == moment.ids
    return hash(
        (
            tuple(
                (
                    one.asked,
                    one.given,
                    max(one.at - now, -_LOCKED),
                    min(one.latest - now, _AGES),
                    one[5:],
                )
                for one in truth.doses
            ),
            tuple(
                (order[s.id], s.program, s.arrived, s.word, s.journaled, s.id > truth.known.stopped)
                for s in truth.sent
            ),
            tuple(
                (one.program, max(one.begin - now, -_AGES), min(one.end - now, _AGES))
                for one in truth.flows
            ),
            (truth.known[0], stopped, truth.known[2:]),
            (truth.kept[0], kept, truth.kept[2:]),
            _of_state(moment.state, order, now),
            None if moment.journaled is moment.state else _of_state(moment.journaled, order, now),
        )
    )


_LOCKED = SLACK + LOCKOUT
_AGES = 2 * DAY


def _of_state(state: State, order: dict[int, int], now: int) -> tuple[Any, ...]:
    return (
        state.latched,
        state.held,
        id(state.pump_program),
        id(state.last_verified),
        id(state.pump_limits),
        state.unknown_program,
        tuple((order.get(one.id), one.command) for one in state.unsettled),
        tuple(
            (
                order.get(one.id),
                max(one.begun - now, -_LOCKED),
                one.latest_end - now,
                one.least,
                one.most,
                one.closed,
            )
            for one in state.reservations
            if one.latest_end >= now - DAY
        ),
        tuple(
            sorted(
                {
                    id(one.program): one.replaced - now
                    for one in reversed(state.past_programs)
                    if one.replaced >= now - DAY
                }.items()
            )
        ),
        max(0, state.full_until - now),
        tuple(order[one] for one in state.overtaken if one in order),
        tuple(getattr(state, name) for name in _OTHERS),
    )
