"""A host's life: its clock, its death at a step, and whom it answers to."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firmware_bridge.clock import NS_PER_MS, VirtualClock, VirtualLoop
from firmware_bridge.families.table import AnyController
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.families import MACHINES
from hil.storm.disk import Files, HostAnchor, HostDisk, HostStates
from hil.storm.plan import Family
from hil.storm.weather import HostLink, Line
from safety.alarms import Alarm

T = TypeVar("T")

LATE_S = 0.02
STEPS = (
    *("append", "torn", "appended", "sync", "synced", "cut"),
    *("anchor", "anchored", "anchor sync", "states", "lost"),
)
"""The steps of a host that are about no request: at its disk, and as it hears that its line is
gone."""
STRETCHES = ("offload", "offloaded", "open")
"""The steps that can take longer than they should."""


def steps_of(family: Family) -> tuple[str, ...]:
    """Every step that a host of a family comes to, by the name that `Host.step` is told."""
    requests = dict.fromkeys(MACHINES[family].requests.values())
    frames = (f"{when} {name}" for when in ("leaves", "done", "heard") for name in requests)
    return (*STEPS, *frames)


class StormClock(VirtualClock):
    """The host's clocks and its worker; the worker can be slow, and writes can wait."""

    def __init__(self, loop: VirtualLoop, start_ms: int, *, late_worker: bool) -> None:
        super().__init__(loop, start_ms)
        self._virtual = loop
        self._late = late_worker
        self._row: list[Callable[[], None]] = []
        self._turn = asyncio.Lock()
        self.slow_until_ms = -1
        self.stretches: dict[str, int] = {}
        """By how many ms the next step of a name is longer."""

    def now_ms(self) -> int:
        """Virtual time, ms; the host's sleep not counted."""
        return self._virtual.now_ns // NS_PER_MS

    def world_ms(self) -> int:
        """Time of the world outside, ms: the host's sleep counts."""
        return self._virtual.now_ns // NS_PER_MS + self._slept_ms

    def stall(self, for_ms: int) -> None:
        """The event loop does nothing for a while, and then everything that has come due."""
        self._virtual.now_ns += for_ms * NS_PER_MS

    def offload(self, work: Callable[[], T]) -> Awaitable[T]:  # type: ignore[override]
        """See `Clock.offload`."""
        if self._row:
            self._do_row()
        is_slow = self.slow_until_ms >= 0 and self.now_ms() < self.slow_until_ms
        if is_slow or self.stretches or self._turn.locked():
            return self._offload_late(work, 1_500 if is_slow else 0)
        done: asyncio.Future[T] = self._virtual.create_future()
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)
        return done

    async def _offload_late(self, work: Callable[[], T], wait_ms: int) -> T:
        async with self._turn:
            await asyncio.sleep((wait_ms + self.stretches.pop("offload", 0)) / 1_000)
            result = work()
            if after := self.stretches.pop("offloaded", 0):
                await asyncio.sleep(after / 1_000)
            return result

    def later(self, work: Callable[[], None]) -> None:
        """See `Clock.later`."""
        if not self._late:
            work()
            return
        self._row.append(work)
        self._virtual.call_later(LATE_S, self._do_row)

    def _do_row(self) -> None:
        row, self._row = self._row, []
        for work in row:
            work()


_SAYING = itertools.count(1)


@dataclass(slots=True)
class Asked:
    """One request of a person: what for, which ids it got, and what the person was told.

    ``stood``: a host was in charge of a line that stood when it was asked for.
    """

    number: int
    at: int
    what: str
    who: str
    where: str = ""
    amount: int = 0
    ids: list[int] = field(default_factory=list)
    told: str = "nothing"
    text: str = ""
    told_at: int = -1
    begun_at: int = -1
    """When the host's event loop took it up; -1: never."""
    stood: bool = False
    said: int = 0
    """Its place among all that people said: it moves on when a plan that was made is confirmed."""
    planned: int = 0
    """The place of its plan, where it had one."""


def says(asked: Asked) -> None:
    """A person says yes just now."""
    asked.said = next(_SAYING)


ASKING: ContextVar[Asked | None] = ContextVar("asking", default=None)
"""The request that is being carried out."""


@dataclass(slots=True)
class Trap:
    """What strikes at the ``left``-th step of a name; with nothing else to do, a death."""

    where: str
    left: int
    does: Callable[[], None] | None = None


class Host:
    """One life of the process that owns the device."""

    def __init__(
        self,
        clock: StormClock,
        files: Files,
        line: Line,
        traps: list[Trap],
        names: Callable[[int], str],
        new_id: Callable[[], int],
        heard: Callable[[Alarm], None],
        key: DeviceKey | None,
        draw: Callable[[int], bytes],
    ) -> None:
        self.is_alive = True
        self.controller: AnyController | None = None
        self.gone = asyncio.Event()
        """Set once this host has to go: it died, or its conversation is of no use any more."""
        self.died_at: str | None = None
        self.polling = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._traps = traps
        self.link = HostLink(line, self.step, names)
        files.reopened()
        place = JournalPlace(
            HostDisk(files, self.step), HostAnchor(files, self.step), HostStates(files, self.step)
        )
        self.settings = Settings(
            clock,
            lambda serial: place,
            lambda alarm: heard(alarm) if self.is_alive else None,
            new_id,
            lambda serial: key,
            draw=draw,
        )

    def step(self, name: str) -> bool:
        """The host comes to a step, where something may strike; whether it is alive after it."""
        if self._traps and self.is_alive:
            first = self._traps[0]
            if first.where == name:
                first.left -= 1
                if first.left <= 0:
                    self._traps.pop(0)
                    if first.does is not None:
                        first.does()
                    else:
                        self.die(name)
        return self.is_alive

    def die(self, where: str) -> None:
        """`kill -9`: from here on nothing of this host reaches anything."""
        self.is_alive = False
        self.died_at = where
        self.gone.set()
        for task in self.tasks:
            task.cancel()

    def starts(self, task: asyncio.Task[Any]) -> None:
        """A task that dies with this host."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
