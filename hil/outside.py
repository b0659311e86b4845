"""What lies outside a command: time, lines, the state folder, people, dice.

A command meets it through `OUTSIDE` alone, so that all of it can be recorded, and played again.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any

from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_MS, Clock, RealClock
from firmware_bridge.families.table import AnyController
from firmware_bridge.links.base import Link
from firmware_bridge.links.factory import open_link
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.settings import Settings
from hil.interrupt import run_interruptible
from hil.keys import KeyStore, key_source
from hil.monitor_process import Guard, monitor_process
from hil.places import Places
from hil.user import keys_folder, state_folder

Main = Callable[[Clock], Coroutine[Any, Any, int]]
KeyOf = Callable[[str], DeviceKey | None]


def ignored(what: object) -> None:
    """For who does not want to know."""


class Outside:
    """The world as it is. `hil.capture` has one that writes down what it hears, and one that
    says the same again."""

    def run(
        self, main: Main, say: Callable[[str], None], interrupted: Callable[[int], None] = ignored
    ) -> int:
        """Runs a command to its exit code; a signal ends it through its own clean-up.

        ``interrupted`` hears the exit code that a signal amounts to, when it comes.
        """

        async def with_clock() -> int:
            clock = RealClock()
            try:
                return await main(clock)
            finally:
                clock.close()

        return run_interruptible(with_clock(), say, interrupted)

    def now_ns(self) -> int:
        """The monotonic clock of `run`, ns."""
        return time.monotonic_ns()

    def wall_ms(self) -> Milliseconds:
        """Unix time, ms."""
        return Milliseconds(time.time_ns() // NS_PER_MS)

    def places(self, journal: Path | None) -> Places:
        """The user's state folder and keys."""
        return Places(state_folder(), journal, keys_folder())

    def link(self, url: DeviceUrl, clock: Clock) -> Link:
        """The link of a URL, not opened yet."""
        return open_link(url, clock)

    def line(self, url: DeviceUrl, clock: Clock, keys: KeyStore) -> tuple[Link, KeyOf]:
        """The link of a URL, and where the key of whoever answers there comes from."""
        link = open_link(url, clock)
        return link, key_source(url, link, keys)

    def settings(self, settings: Settings) -> Settings:
        """What a controller is handed, dice included."""
        return settings

    def dice(self) -> Random:
        """Dice for waits."""
        return Random()

    def monitor(self) -> AbstractAsyncContextManager[Guard | None]:
        """See `monitor_process`."""
        return monitor_process()

    def terminals(self, controller: AnyController) -> AbstractAsyncContextManager[None] | None:
        """Other terminals' requests, where they do not come through the owner's socket."""
        return None

    def requested(self, request: str) -> None:
        """Another terminal has asked for something: its line of JSON."""

    async def typed(self) -> str:
        """The next line that a person types; empty at the end of the input."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[str] = loop.create_future()

        def answer(line: str) -> None:
            if not answered.done():
                answered.set_result(line)

        def read() -> None:
            line = sys.stdin.readline() if sys.stdin is not None else ""
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(answer, line)

        # A thread of its own that may be left behind: nothing can interrupt a read of a terminal.
        threading.Thread(target=read, daemon=True).start()
        return await answered


OUTSIDE: ContextVar[Outside] = ContextVar("outside", default=Outside())  # noqa: B039 - it is stateless
