"""Whose turn it is to write: at most one frame waits for the wire, and a stop waits for none.

What the operating system has taken cannot be called back, so nothing is handed to it while an
earlier frame may still be on its way to the wire: a stop then follows one frame at most. Queries
wait behind lease renewals and therapy, each kind in the order of its calls.
"""

import asyncio
from enum import IntEnum
from heapq import heappop, heappush

from firmware_bridge.links.base import Link

BITS_PER_BYTE = 10
"""On a serial wire: eight, and a start and a stop bit."""
LOOK_AGAIN_S = 0.001
"""How often a link is asked whether it has handed on what it was given."""


class Turn(IntEnum):
    """Who goes first."""

    LEASE = 0
    THERAPY = 1
    QUERY = 2


class Pace:
    """The turns on one link. A frame is written right after `turn` returned, or it is urgent."""

    def __init__(self, link: Link) -> None:
        self._link = link
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
        is_on_the_wire = self._free_at > 0 and asyncio.get_running_loop().time() < self._free_at
        return not is_on_the_wire and not self._link.queued

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
            self._wake_when_free()
        elif self._waiting:
            _, _, turn = heappop(self._waiting)
            if turn.done():
                self._wake()
            else:
                turn.set_result(None)
