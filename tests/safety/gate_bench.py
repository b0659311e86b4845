"""A gate over a disk of memory, and workers that do its writing at once, when told, or lazily."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from disk_bench import FaultyDisk, connected, opened
from kernel_bench import HOURLY, PumpCase, fold, instant, limits_nl, pump_case

from safety.alarms import Alarm
from safety.checkpoint import StateFile
from safety.clearance import Clearance
from safety.commands import Ask, Command, Override
from safety.events import Event, Settled
from safety.gate import Gate, Worker
from safety.journal import Anchor, parse
from safety.opening import OpenedJournal, open_journal

T = TypeVar("T")
ROOM_FOR_ONE = pump_case(((0, 6 * HOURLY),), limits_nl(5_000, 11_000, 9_000_000, 9_000_000))


class AtOnce:
    """As on virtual time: everything is done in place."""

    async def offload(self, work: Callable[[], T]) -> T:
        return work()

    def later(self, work: Callable[[], None]) -> None:
        work()


@dataclass
class HeldThread:
    """A thread whose works begin when the test says so, one after the other, in their order.

    Cancelling who waits for one does not end it.
    """

    row: list[Callable[[], None]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    free: bool = False

    def offload(self, work: Callable[[], T]) -> Awaitable[T]:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            try:
                result = work()
            except Exception as error:
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self.begun.set()
        self.later(run)
        return done

    def later(self, work: Callable[[], None]) -> None:
        self.row.append(work)
        if self.free:
            self._work()

    async def finish(self) -> None:
        """From here on it works at once."""
        self.free = True
        self._work()
        await asyncio.sleep(0)

    def _work(self) -> None:
        while self.row:
            self.row.pop(0)()


@dataclass
class Lazy:
    """Does at once what is waited for, and leaves everything else lying until it is told."""

    row: list[Callable[[], None]] = field(default_factory=list)

    async def offload(self, work: Callable[[], T]) -> T:
        return work()

    def later(self, work: Callable[[], None]) -> None:
        self.row.append(work)

    def catch_up(self) -> None:
        while self.row:
            self.row.pop(0)()


@dataclass
class Bench:
    """A gate over a disk of memory."""

    folder: Path
    disk: FaultyDisk = field(default_factory=FaultyDisk)
    worker: Worker = field(default_factory=AtOnce)
    heard: list[Alarm] = field(default_factory=list)
    ids: int = 0
    sound: Callable[[Alarm], None] | None = None
    kind: type[Gate] = Gate

    def __post_init__(self) -> None:
        self.gate = self.kind(self.opened(), self.worker, self.sound or self.heard.append)

    def opened(self) -> OpenedJournal:
        return open_journal(self.disk, self.anchor, self.states)

    @property
    def anchor(self) -> Anchor:
        return Anchor(self.folder / "anchor")

    @property
    def states(self) -> StateFile:
        return StateFile(self.folder / "state")

    async def ask(self, command: Command, override: Override | None = None) -> Clearance:
        self.ids += 1
        now = instant(0)
        return await self.gate.ask(
            Ask(now, self.ids, command, "BENCH-012", override, seen=now.fast)
        )

    async def settle(self, clearance: Clearance) -> None:
        await self.gate.tell(Settled(instant(0), clearance.intent_id, "delivered", "a test"))

    async def begin(self, case: PumpCase = ROOM_FOR_ONE) -> None:
        """A pump that delivers a program."""
        await self.gate.tell(opened())
        await self.gate.tell(connected())
        await self.settle(await self.ask(case.command))

    def on_disk(self) -> list[Event]:
        return self.disk.events()

    def kinds(self, last: int) -> list[str]:
        """The kinds of the last entries."""
        return [event.kind for event in self.on_disk()[-last:]]

    def assert_state_is_the_disks(self) -> None:
        contents = parse(self.disk.read())
        assert contents.problem is None
        assert self.gate.state == fold(contents.events)


async def begun(folder: Path, worker: Worker, disk: FaultyDisk | None = None) -> Bench:
    """A pump that delivers a program, its gate then taken over by one with another worker."""
    first = Bench(folder)
    await first.begin()
    if disk is not None:
        await first.gate.settle()
        disk.synced = first.disk.synced
    return Bench(folder, disk or first.disk, worker, ids=90)
