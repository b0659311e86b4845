"""Planted bugs of what counts, how much of it and for how long: reservations, doubt, restarts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from device_profiles.quantities import Milliseconds, NanoLitres
from safety import doubt, fold, judgement, kernel
from safety.commands import Ask, Instant
from safety.doubt import Reservation
from safety.events import Connected, Counted, Intended, Settled
from safety.state import State

from .planting import COUNTING, DIFFERENTIAL, WITHOUT_DOUBT, Bug, Plant, put, together
from .quicken import SetAttr

TEN_MINUTES, HOUR = 600_000, 3_600_000

_settled, _intended, _connected = fold.settled, fold.intended, fold.connected
_device_counted, _narrowed, _judge = fold.device_counted, doubt.narrowed, judgement.judge


def _with_newest(after: State, **changes: Any) -> State:
    """The state with the newest reservation changed."""
    return replace(
        after, reservations=(*after.reservations[:-1], replace(after.reservations[-1], **changes))
    )


def _reserves(event: Intended) -> bool:
    return event.command == "give-bolus"


def on_intent(change: Callable[[Reservation], dict[str, Any]]) -> Plant:
    """A reservation that is not made as it should be."""

    def intended(before: State, event: Intended) -> State:
        after = _intended(before, event)
        if not _reserves(event):
            return after
        return _with_newest(after, **change(after.reservations[-1]))

    return put(fold, "intended", intended)


def no_time(_: State) -> Milliseconds:
    return Milliseconds(0)


def newest_only(before: State, event: Intended) -> State:
    return _intended(replace(before, reservations=()) if _reserves(event) else before, event)


def restart_forgets(before: State, event: Connected) -> State:
    return replace(_connected(before, event), reservations=())


def restart_settles(before: State, event: Connected) -> State:
    return replace(_connected(before, event), unsettled=())


def _without(after: State, own: int) -> State:
    kept = tuple(one for one in after.reservations if one.id != own)
    return replace(after, reservations=kept)


def doubt_refunds(before: State, event: Settled) -> State:
    after = _settled(before, event)
    return _without(after, event.id) if event.outcome == "UNCERTAIN" else after


def doubt_is_failure(before: State, event: Settled) -> State:
    if event.outcome == "UNCERTAIN":
        event = replace(event, outcome="refused")
    return _settled(before, event)


def success_refunds(before: State, event: Settled) -> State:
    after = _settled(before, event)
    return _without(after, event.id) if event.outcome == "delivered" else after


def doubt_expires(before: State, ask: Ask) -> Any:
    """What is in doubt for ten minutes is taken not to have happened."""
    old = {one.id for one in before.unsettled if one.at.slow < ask.at.slow - TEN_MINUTES}
    return _judge(
        replace(
            before,
            unsettled=tuple(one for one in before.unsettled if one.id not in old),
            reservations=tuple(one for one in before.reservations if one.id not in old),
        ),
        ask,
    )


def success_starts_the_count(set_attribute: SetAttr) -> None:
    def intended(before: State, event: Intended) -> State:
        return replace(_intended(before, event), reservations=before.reservations)

    def settled(before: State, event: Settled) -> State:
        intent = next((one for one in before.unsettled if one.id == event.id), None)
        after = _settled(before, event)
        if intent is None or event.outcome != "delivered" or not _reserves(intent):
            return after
        own = _intended(replace(before, reservations=()), intent).reservations
        return replace(after, reservations=(*after.reservations, *own))

    WITHOUT_DOUBT(set_attribute)
    set_attribute(fold, "intended", intended)
    set_attribute(fold, "settled", settled)


def success_starts_the_lockout(before: State, event: Settled) -> State:
    """A dose that was UNCERTAIN once never starts the lockout, whatever is learned later."""
    after = _settled(before, event)
    if event.outcome != "UNCERTAIN":
        return after
    forgotten = (
        replace(one, begun=Milliseconds(one.begun - HOUR)) if one.id == event.id else one
        for one in after.reservations
    )
    return replace(after, reservations=tuple(forgotten))


def running_lowers(one: Reservation, word: Any, volume: NanoLitres, at: Instant) -> Reservation:
    after = _narrowed(one, word, volume, at)
    return replace(after, most=volume) if word == "running" else after


def interrupted_lowers_freely(
    one: Reservation, word: Any, volume: NanoLitres, at: Instant
) -> Reservation:
    after = _narrowed(one, word, volume, at)
    return replace(after, most=volume, least=volume) if word == "interrupted" else after


def interrupted_lowers_twice(
    one: Reservation, word: Any, volume: NanoLitres, at: Instant
) -> Reservation:
    if word != "interrupted":
        return _narrowed(one, word, volume, at)
    return _narrowed(replace(one, closed=False, least=NanoLitres(0)), word, volume, at)


def more_is_ignored(one: Reservation, word: Any, volume: NanoLitres, at: Instant) -> Reservation:
    return _narrowed(one, word, NanoLitres(min(volume, one.most)), at)


def by_closeness(before: State, event: Counted) -> State:
    """A count belongs to the dose that began nearest to it in time."""
    near = min(before.reservations, key=lambda one: abs(one.begun - event.at.slow), default=None)
    own = event.id if near is None else near.id
    return _device_counted(before, replace(event, id=own))


COUNTING_BUGS = (
    Bug(
        "the volume wraps at 65,536 nL",
        on_intent(lambda r: {"most": r.most & 0xFFFF}),
        DIFFERENTIAL,
    ),
    Bug("a volume is rounded down to tens", on_intent(lambda r: {"most": r.most // 10 * 10})),
    Bug(
        "the slack before the first byte is forgotten",
        together(put(kernel, "delivery_slack", no_time), put(judgement, "delivery_slack", no_time)),
    ),
    Bug(
        "a dose counts only until it begins",
        on_intent(lambda r: {"latest_end": r.begun}),
    ),
    Bug("only the newest reservation is kept", put(fold, "intended", newest_only)),
    Bug("a restart voids what was reserved", put(fold, "connected", restart_forgets)),
    Bug("a restart settles every doubt", put(fold, "connected", restart_settles)),
    Bug("UNCERTAIN is refunded", put(fold, "settled", doubt_refunds)),
    Bug("UNCERTAIN is taken for a failure", put(fold, "settled", doubt_is_failure)),
    Bug("a delivered dose is refunded", put(fold, "settled", success_refunds)),
    Bug("doubt expires", put(judgement, "judge", doubt_expires)),
    Bug("success starts the count (SR-23 taken out)", success_starts_the_count),
    Bug("success starts the lockout", put(fold, "settled", success_starts_the_lockout)),
    Bug("a running count lowers", put(doubt, "narrowed", running_lowers), world=COUNTING),
    Bug(
        "an interrupted dose is lowered below what was counted",
        put(doubt, "narrowed", interrupted_lowers_freely),
        world=COUNTING,
    ),
    Bug(
        "an interrupted dose is lowered twice",
        put(doubt, "narrowed", interrupted_lowers_twice),
        world=COUNTING,
    ),
    Bug(
        "a count of more than was asked is ignored",
        put(doubt, "narrowed", more_is_ignored),
        DIFFERENTIAL,
    ),
    Bug(
        "a count is matched by closeness in time",
        put(fold, "device_counted", by_closeness),
        world=COUNTING,
    ),
)
