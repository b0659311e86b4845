"""How a plain test lets an asynchronous bench run: on virtual time in place, else in a thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from device_profiles.errors import UsageError
from firmware_bridge.clock import Clock, RealClock, VirtualClock, VirtualLoop

P = ParamSpec("P")
T = TypeVar("T")


class BenchTime(Protocol):
    """An event loop with its clock, for callers that are not asynchronous themselves."""

    clock: Clock

    def call(
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Does ``work`` on the loop and waits for it; raises what it raises.

        Raises UsageError in a test that is a coroutine itself: it would wait for ever.
        """
        ...

    def close(self) -> None:
        """Ends the loop and everything on it."""
        ...


class VirtualTime:
    """Virtual time: it passes only inside `call`, and a day of it takes milliseconds."""

    def __init__(self) -> None:
        loop = VirtualLoop()
        self._runner = asyncio.Runner(loop_factory=lambda: loop)
        self.clock: Clock = VirtualClock(loop)

    def call(
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `BenchTime.call`."""
        __tracebackhide__ = True
        _refuse_in_coroutine()
        return self._runner.run(work(*args, **kwargs))

    def close(self) -> None:
        """See `BenchTime.close`."""
        self._runner.close()


class RealTime:
    """The host's time: a thread keeps the lease while the test measures or computes."""

    def __init__(self) -> None:
        self._clock = RealClock()
        self.clock: Clock = self._clock
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neuraxis bench", daemon=True)
        self._thread.start()
        self._ready.wait()

    def call(
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `BenchTime.call`."""
        __tracebackhide__ = True
        _refuse_in_coroutine()
        future = asyncio.run_coroutine_threadsafe(work(*args, **kwargs), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: the work must not go on behind the back of the clean-up
            raise

    def close(self) -> None:
        """See `BenchTime.close`."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._clock.close()

    def _run(self) -> None:
        asyncio.run(self._until_over())

    async def _until_over(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._ready.set()
        await self._over.wait()


def _refuse_in_coroutine() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "the neuraxis fixtures block: use them in a plain `def` test, not an async one"
    )
