"""Doubt: what one intent may have delivered, as an interval, and the one way to narrow it.

Between its first byte and the device's own word every amount is an interval: the most counts for
ceilings, the least for deficits. Only the device's count of that very id narrows it, never a time
that lies close, and never twice. A reservation never expires to a refund; it leaves a window only
once its latest possible end has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from device_profiles.quantities import Femtograms, Milliseconds, NanoLitres, divide_up, mass_of
from safety.commands import Instant
from safety.events import CountState
from safety.outputs import DrugInPump


@dataclass(frozen=True, slots=True)
class Reservation:
    """What left the tip at once for an intent, counted until it has surely left the longest window.

    ``least`` and ``most`` bound the volume in nL, ``begun`` (the intent) and ``latest_end`` the
    time (slow); ``over`` is how long it lasts. ``closed``: the device said that it ended, so that
    nothing can lower it any more. ``what``: a host bolus, what a prime pushes out of the line,
    or what a bridge delivers in the wrong mix, with the difference of the two as ``drugs``.
    """

    id: int
    drugs: tuple[DrugInPump, ...]
    begun: Milliseconds
    over: Milliseconds
    latest_end: Milliseconds
    least: NanoLitres
    most: NanoLitres
    closed: bool = False
    what: Literal["bolus", "prime", "bridge"] = "bolus"
    counted: bool = False
    """The device has said that it did something for it."""

    def reaches_into(self, window: Milliseconds, now: Instant) -> bool:
        """Whether some of it may lie in the window that ends now; the edge counts."""
        return self.latest_end >= now.slow - window

    def most_of(self, drug: str) -> Femtograms:
        """The most of one drug that it may have delivered."""
        return Femtograms(
            sum(mass_of(self.most, one.concentration) for one in self.drugs if one.name == drug)
        )


def narrowed(
    reservation: Reservation, state: CountState, volume: NanoLitres, at: Instant
) -> Reservation:
    """A reservation once the device has told its own count for this id.

    A count raises both bounds whenever it is larger. Only a bolus that was interrupted, and is
    closed for good, lowers the most, once. A bolus executed in full is never taken for less than
    was asked: a device that counts short of what it says it did is believed in the larger figure.
    One that still runs ends no sooner than what is left of it takes. What a prime moves is not
    what it pushes out: its count only tells that it has ended.
    """
    counts = reservation.counted or volume > 0
    ended = min(reservation.latest_end, at.slow)
    if reservation.what != "bolus":
        if state == "running":
            return replace(reservation, counted=counts)
        return replace(reservation, counted=counts, latest_end=ended, closed=True)
    least = max(reservation.least, volume)
    most = max(reservation.most, volume)
    if state == "interrupted" and not reservation.closed:
        most = least
    if state == "running":
        left = divide_up(reservation.over * (most - volume), most) if most else 0
        end = Milliseconds(max(reservation.latest_end, at.slow + left))
        return replace(reservation, counted=counts, least=least, most=most, latest_end=end)
    return replace(
        reservation, counted=counts, least=least, most=most, latest_end=ended, closed=True
    )


def counted(
    reservations: Sequence[Reservation],
    intent_id: int,
    state: CountState,
    volume: NanoLitres,
    at: Instant,
) -> tuple[Reservation, ...]:
    """All reservations, the one of this id narrowed; the count of an alien id changes none."""
    return tuple(
        narrowed(one, state, volume, at) if one.id == intent_id else one for one in reservations
    )


def begun_by(
    reservations: Sequence[Reservation], intent_id: int, at: Instant
) -> tuple[Reservation, ...]:
    """All reservations, that of an id which the device has said it took ending late enough.

    A command may lie on the way while nobody hears of it: it has begun by now, and not surely
    sooner.
    """
    return tuple(
        replace(one, latest_end=Milliseconds(max(one.latest_end, at.slow + one.over)))
        if one.id == intent_id and not one.closed
        else one
        for one in reservations
    )


def proved_nothing(reservations: Sequence[Reservation], intent_id: int) -> tuple[Reservation, ...]:
    """All reservations but that of an id which the device proved to have done nothing for.

    A reservation that it counted anything for stays: one of its two statements is wrong.
    """
    return tuple(one for one in reservations if one.id != intent_id or one.counted)
