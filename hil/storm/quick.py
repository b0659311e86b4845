"""The same system, quicker: what is asked the same again and again is worked out once a process.

Only pure functions remember their answers, each by the very objects or values it was handed; and
the loop, on which nothing comes from outside, does not ask the system whether anything has. Every
decision and every byte stays as it is: a test runs seeds both ways and compares digests.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any
from unittest import mock

from firmware_bridge.clock import NS_PER_S, VirtualLoop
from firmware_bridge.families.itp import controller as pump_controller
from safety import dose, journal_format, judgement, kernel
from safety.limits import pump_limits
from safety.review import review_infusion

KEPT = 8_192


def by_identity(pure: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its answers kept by which very objects it was handed."""
    kept: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def remembered(*arguments: Any, **named: Any) -> Any:
        key = (*map(id, arguments), *named.items())
        found = kept.get(key)
        if found is None:
            if len(kept) > KEPT:
                kept.clear()
            # The arguments are kept too, so that none of their identities is used again.
            found = kept[key] = pure(*arguments, **named), arguments
        return found[0]

    return remembered


_LIMITS = by_identity(pump_limits)
_REMEMBERED: tuple[tuple[Any, str, Any], ...] = (
    # Each host that takes charge reads the whole journal; the one before it had read most of it.
    (journal_format, "decode_event", lru_cache(KEPT)(journal_format.decode_event)),
    (judgement, "review_infusion", by_identity(review_infusion)),
    (judgement, "pump_limits", _LIMITS),
    (kernel, "pump_limits", _LIMITS),
    (pump_controller, "pump_limits", _LIMITS),
    (dose, "largest_basal", lru_cache(KEPT)(dose.largest_basal)),
)


@contextmanager
def quickened() -> Iterator[None]:
    """Answers are remembered for as long as the context lasts."""
    with ExitStack() as stack:
        for target, name, quick in _REMEMBERED:
            stack.enter_context(mock.patch.object(target, name, quick))
        yield


MANY = 100
"""So many timers, and asyncio sweeps the cancelled ones among them: that is left to it."""
LONGEST_S = 86_400
"""The longest wait of asyncio at once."""


class _Soon(asyncio.Handle):
    """A handle that is never debugged."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "QuickLoop",
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(asyncio.TimerHandle):
    """A timer that is never debugged, and compared with its like only."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "QuickLoop",
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        return self._when < other._when  # type: ignore[attr-defined, no-any-return]

    def cancel(self) -> None:
        """See asyncio."""
        if not self._cancelled:
            self._cancelled = True
            self._args = ()
            if self._scheduled:
                self._loop._timer_cancelled_count += 1


class QuickLoop(VirtualLoop):
    """A virtual loop that has no outside: it never asks the system for events.

    It does what asyncio's own loop does, in the same order, without what only a loop on threads,
    sockets or under debugging needs.
    """

    _ready: "deque[asyncio.Handle]"
    _scheduled: "list[_Timer]"
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        selector: Any = vars(self)["_selector"]
        jump = self._jump

        def select(timeout: float | None = None) -> tuple[()]:
            if timeout is None or timeout > 0:
                jump(timeout)
            return ()

        selector.select = select

    def call_soon(  # type: ignore[override]  # names no types of the arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        handle = _Soon(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        timer = _Timer(when, callback, args, self, context)
        heappush(self._scheduled, timer)
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        timer = _Timer(self.now_ns / NS_PER_S + delay, callback, args, self, context)
        heappush(self._scheduled, timer)
        return timer

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        if len(scheduled) > MANY or self._stopping:
            super()._run_once()  # type: ignore[misc]
            return
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(scheduled)._scheduled = False
        if not ready:
            wait = scheduled[0]._when - self.time() if scheduled else None
            self._jump(wait if wait is None else min(max(0, wait), LONGEST_S))
        due = self.now_ns / NS_PER_S + self._clock_resolution
        while scheduled and scheduled[0]._when < due:
            timer = heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
