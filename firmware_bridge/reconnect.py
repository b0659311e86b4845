"""Reconnecting by itself: longer waits each time, at random, within a budget (SR-26).

A client that dials without end drains a device's battery (FDA 2024), and many that dial at the same
moments drown it. What comes next is decided by pure functions over explicit states; `Reconnector`
acts on them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from device_profiles.errors import LinkError
from device_profiles.quantities import HOUR_MS, Milliseconds
from firmware_bridge.known_device import KnownDevice
from firmware_bridge.links.base import Link

FIRST_WAIT = Milliseconds(1_000)
LONGEST_WAIT = Milliseconds(60_000)
DIALS_AN_HOUR = 60
"""The budget of polls for a device that does not answer; our own decision for a bench."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The line is gone; it is dialled again at a time of the link. ``dials`` of the last hour."""

    why: LinkError
    attempt: int
    until: Milliseconds
    dials: tuple[Milliseconds, ...]


@dataclass(frozen=True, slots=True)
class Dialling:
    """The line is being opened, and who answers is asked first."""

    attempt: int
    dials: tuple[Milliseconds, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Nobody dials any more: a person has to connect again."""

    why: LinkError


Reconnection = Waiting | Dialling | Ended


def after_loss(
    why: LinkError,
    state: Dialling,
    now: Milliseconds,
    give_up_at: Milliseconds,
    random: Random,
) -> Waiting | Ended:
    """What follows on a loss: a wait of half its length up to the whole, or the end.

    Each wait is twice as long as the one before, up to `LONGEST_WAIT`; and none ends before the
    budget of the last hour allows one dial more.
    """
    longest = min(LONGEST_WAIT, FIRST_WAIT << min(state.attempt, 16))
    until = now + random.randint(longest // 2, longest)
    dials = tuple(one for one in state.dials if one > now - HOUR_MS)
    if len(dials) >= DIALS_AN_HOUR:
        until = max(until, dials[-DIALS_AN_HOUR] + HOUR_MS)
    if until > give_up_at:
        return Ended(why)
    return Waiting(why, state.attempt + 1, Milliseconds(until), dials)


def at_the_end_of(waiting: Waiting) -> Dialling:
    """A wait is over: this is one dial more."""
    return Dialling(waiting.attempt, (*waiting.dials, waiting.until))


class Reconnector:
    """Brings a device back after its line was lost, for as long as somebody has patience.

    ``dial`` makes a link that is not open yet, ``show`` is told each new state.
    """

    def __init__(
        self,
        device: KnownDevice,
        dial: Callable[[], Link],
        patience: Milliseconds,
        random: Random,
        show: Callable[[Reconnection], None],
    ) -> None:
        self._device = device
        self._dial = dial
        self._patience = patience
        self._random = random
        self._show = show
        self._dials: tuple[Milliseconds, ...] = ()

    async def restore(self, why: LinkError) -> None:
        """Returns once the same device has been met again and its program read back.

        Sends nothing but the question who is there to any other. Raises the last LinkError when
        patience has run out; Refused or DeviceFault at once when another device answers.
        """
        give_up_at = Milliseconds(self._device.link_time() + self._patience)
        state = Dialling(0, self._dials)
        while True:
            now = self._device.link_time()
            waiting = after_loss(why, state, now, give_up_at, self._random)
            self._show(waiting)
            if isinstance(waiting, Ended):
                raise why
            await asyncio.sleep((waiting.until - now) / 1_000)
            state = at_the_end_of(waiting)
            self._dials = state.dials
            self._show(state)
            try:
                await self._device.rejoin(self._dial())
            except LinkError as error:
                why = error
            else:
                return
