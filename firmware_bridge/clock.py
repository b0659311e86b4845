"""Time for the road: the real clock, and a virtual one on which a day takes milliseconds.

Sleeping and waiting are plain asyncio (`asyncio.sleep`, `asyncio.timeout`): on a `VirtualLoop`
they wait on virtual time. Virtual time knows nothing of threads, sockets and ptys; code that
needs those runs on the real clock.
"""

import asyncio
import math
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

LATER_S = 0.02
"""How long `later` waits: past the replies of a command, so that the thread is not in their way."""
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

VIRTUAL_WALL_START_MS = 1_767_225_600_000
"""Unix time in ms at which virtual wall clocks start unless told: 2026-01-01T00:00:00Z."""


class Clock(Protocol):
    """Time, and a place for work that blocks."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some start; never goes back."""

    def with_sleep_ns(self) -> int:
        """Like `monotonic_ns`, the host's sleep included."""

    def wall_ms(self) -> int:
        """Unix time in ms; jumps when somebody sets the host's clock."""

    def offload(self, work: Callable[[], T]) -> Awaitable[T]:
        """Does blocking ``work`` where it does not hold up the event loop; returns its result.

        Works are done one at a time, in the order of the calls. Raises what ``work`` raises. A
        cancelled caller stops waiting: work that has begun goes on to its end, work that has not
        begun is dropped.
        """

    def later(self, work: Callable[[], None]) -> None:
        """Does blocking ``work`` in a moment, when nobody waits for it; it must not raise.

        Work that is offloaded meanwhile comes before it.
        """


def host_with_sleep_ns() -> int:
    """See `Clock.with_sleep_ns`, of this host; the same for all its processes."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class RealClock:
    """The host's clocks; blocking work goes to one dedicated thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="offload")

    def monotonic_ns(self) -> int:
        """Nanoseconds of the host's monotonic clock."""
        return time.monotonic_ns()

    def with_sleep_ns(self) -> int:
        """Nanoseconds of the host's clock that goes on in its sleep, where it has one."""
        return host_with_sleep_ns()

    def wall_ms(self) -> int:
        """Unix time of the host in ms."""
        return time.time_ns() // NS_PER_MS

    def offload(self, work: Callable[[], T]) -> Awaitable[T]:
        """Does ``work`` on the worker thread (see `Clock.offload`)."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    def later(self, work: Callable[[], None]) -> None:
        """Does ``work`` on the worker thread (see `Clock.later`)."""
        asyncio.get_running_loop().call_later(LATER_S, self._submit, work)

    def _submit(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # closed meanwhile: who closes does what still waits
            self._executor.submit(work)

    def close(self) -> None:
        """Ends the worker thread once the work it has begun is done; idempotent."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class Deadlock(RuntimeError):
    """On virtual time nothing is scheduled and nothing is ready, so nothing can ever happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: when nothing is ready, its clock jumps to the next deadline.

    The clock is ``now_ns``, integer nanoseconds from 0. The same program runs in the same order
    every time. Raises Deadlock out of ``run_until_complete`` when nothing is scheduled.
    """

    _clock_resolution: float

    def __init__(self) -> None:
        self.now_ns = 0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        """Virtual seconds since the loop was made; asyncio's own view of ``now_ns``."""
        return self.now_ns / NS_PER_S

    def _jump(self, timeout: float | None) -> None:
        if timeout is None:
            raise Deadlock(
                "virtual time stands still: nothing is scheduled, and every task waits for "
                "something that no task will do. Look for a missing reply, an event that is "
                "never set, or a thread, which virtual time does not wait for."
            )
        if timeout > 0:
            # At least one step: a rest that rounds to nothing would spin for ever.
            self.now_ns += max(1, round(timeout * NS_PER_S))
            # asyncio calls a deadline due when it lies below now plus this. Past 97 days a float
            # of seconds is coarser than asyncio's 1 ns, and no deadline would ever be due.
            self._clock_resolution = max(1e-9, math.ulp(self.time()))


class _JumpingSelector(selectors.DefaultSelector):
    """Reports what is ready now; when nothing is, jumps instead of waiting."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            self._jump(timeout)
        return ready


class VirtualClock:
    """The clocks of a `VirtualLoop`; blocking work is done at once and takes no time."""

    def __init__(self, loop: VirtualLoop, wall_start_ms: int = VIRTUAL_WALL_START_MS) -> None:
        self._loop = loop
        self._wall_start_ms = wall_start_ms
        self._slept_ms = 0

    def monotonic_ns(self) -> int:
        """Nanoseconds since the loop was made."""
        return self._loop.now_ns

    def with_sleep_ns(self) -> int:
        """Nanoseconds since the loop was made, and the sleep that `sleep_host` told of."""
        return self._loop.now_ns + self._slept_ms * NS_PER_MS

    def wall_ms(self) -> int:
        """Virtual Unix time in ms."""
        return self._wall_start_ms + self._slept_ms + self._loop.now_ns // NS_PER_MS

    def sleep_host(self, for_ms: int) -> None:
        """The host slept: its wall clock went on, its monotonic clock stood still."""
        self._slept_ms += for_ms

    def shift_wall(self, by_ms: int) -> None:
        """Sets the wall clock forward, or back when negative, as somebody at a host might."""
        self._wall_start_ms += by_ms

    async def offload(self, work: Callable[[], T]) -> T:
        """Does ``work`` in place, without giving way to other tasks."""
        return work()

    def later(self, work: Callable[[], None]) -> None:
        """Does ``work`` in place."""
        work()


def run_virtual(
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]],
    wall_start_ms: int = VIRTUAL_WALL_START_MS,
) -> T:
    """Runs ``main(clock)`` to its end on a fresh `VirtualLoop`; returns its result.

    Raises what ``main`` raises, and Deadlock.
    """
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(VirtualClock(loop, wall_start_ms)))
