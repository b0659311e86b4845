"""Whose turn it is to write: at most one frame waits for the wire, and a stop waits for none.

What the operating system has taken cannot be called back, so nothing is handed to it while an
earlier frame may still be on its way to the wire: a stop then follows one frame at most. Queries
wait behind lease renewals and therapy, each kind in the order of its calls.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.links.base import Link, LiveLink

BITS_PER_BYTE = 10
"""On a serial wire: eight, and a start and a stop bit."""
LOOK_AGAIN_S = 0.001
"""How often a link is asked whether it has handed on what it was given."""
PATIENT_LOOKS = 2_000
"""After so many looks in a row at a link that hands on nothing it counts as lost: some seconds.

Looks and not time: a host that was stopped for minutes has not looked meanwhile.
"""


class Turn(IntEnum):
    """Who goes first."""

    LEASE = 0
    THERAPY = 1
    QUERY = 2


class Pace:
    """The turns on one link. A frame is written right after `turn` returned, or it is urgent.

    ``jammed`` hears of a link that hands on nothing any more while somebody waits for a turn.
    """

    def __init__(
        self, link: Link, jammed: Callable[[LinkError], None] = lambda error: None
    ) -> None:
        self._link = link
        self._jammed = jammed
        self._held, self._looks = 0, 0
        """Bytes that the link held at the last look; how often it has held as many since it was
        free."""
        self._free_at = 0.0
        self._waiting: list[tuple[Turn, int, asyncio.Future[None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    async def turn(self, who: Turn) -> None:
        """Returns once the line is free and nobody waits who goes first."""
        if not self._waiting and self._is_free():
            return
        self._count += 1
        place = self._count
        while True:
            turn = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (who, place, turn))
            self._wake_when_free()
            try:
                await turn
            except asyncio.CancelledError:
                self._wake_when_free()  # the turn goes to the next
                raise
            if self._is_free():
                self._wake_when_free()
                return

    def wrote(self, length: int) -> None:
        """A frame of so many bytes was handed to the link."""
        rate = self._link.baud
        if rate is not None:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + length * BITS_PER_BYTE / rate

    def answered(self) -> None:
        """The newest frame was answered: all that was written has left the wire."""
        self._free_at = 0.0
        if self._waiting:
            self._wake_when_free()

    def end(self) -> None:
        """The link is gone: nobody waits for it any longer."""
        self._ended = True
        for _, _, turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    def _is_free(self) -> bool:
        if self._ended:
            return True
        is_free = not self._is_on_the_wire() and not self._link.queued
        if is_free:
            self._looks = 0  # what it holds at the next look is another frame, of any length
        return is_free

    def _is_on_the_wire(self) -> bool:
        return self._free_at > 0 and asyncio.get_running_loop().time() < self._free_at

    def _is_jammed(self) -> bool:
        held = self._link.queued
        is_still = held == self._held and not self._is_on_the_wire()
        self._held, self._looks = held, self._looks + 1 if is_still else 0
        return held > 0 and self._looks >= PATIENT_LOOKS

    def _wake_when_free(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._waiting[0][2].done():
            heappop(self._waiting)
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        left = max(0.0, self._free_at - loop.time())
        if self._link.queued:
            left = max(left, LOOK_AGAIN_S)
        self._timer = loop.call_later(left, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._waiting and not self._is_free():
            if self._is_jammed():
                self._jammed(
                    LinkLost(
                        f"{self._link.url} is gone: it takes nothing any more; the last "
                        f"{self._held} bytes still wait. {LiveLink.REMEDY}"
                    )
                )
            else:
                self._wake_when_free()
        elif self._waiting:
            _, _, turn = heappop(self._waiting)
            if turn.done():
                self._wake()
            else:
                turn.set_result(None)
