"""A world on virtual time with one simulated device in it: what is recorded there is the same
every time, and takes no time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cli_bench import INFUSION, STIMULATION, Answer, cli
from pydantic import TypeAdapter

from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import Clock, VirtualClock, VirtualLoop
from firmware_bridge.families.table import AnyController
from firmware_bridge.links.base import Link
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import machine_kind
from firmware_bridge.simulator.faults import PlannedFault
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner
from hil.keys import KeyStore
from hil.monitor_process import Guard
from hil.outside import OUTSIDE, KeyOf, Main, Outside, ignored
from hil.requests import Request, serve

KEY = DeviceKey(bytes(range(7, 39)))
FILES = {"stimulator": STIMULATION, "pump": INFUSION}
NOON_MS = 1_790_000_000_000
PLUG_BACK_S = 3.0


class World(Outside):
    """A device of a family, sealed or not. ``asks``: what other terminals ask for, and when;
    ``interrupted_at``: when Ctrl-C is pressed; ``answer``: what a person types."""

    def __init__(
        self,
        family: str,
        *faults: PlannedFault,
        sealed: bool = True,
        asks: Sequence[tuple[float, str]] = (),
        interrupted_at: float | None = None,
        answer: str = "yes\n",
        plugs_back: bool = False,
    ) -> None:
        self.key = KEY if sealed else None
        self.runner: DeviceRunner | None = None
        self.links = 0
        self._loop = VirtualLoop()
        self._clock = VirtualClock(self._loop, NOON_MS)
        self._asks, self._interrupted_at, self._answer = asks, interrupted_at, answer
        self._plugs_back = plugs_back
        self._device = SimulatedDevice(
            machine_kind(family),
            wall_ms=NOON_MS,
            faults=faults,
            key_of=lambda _: self.key,
        )

    def run(
        self, main: Main, say: Callable[[str], None], interrupted: Callable[[int], None] = ignored
    ) -> int:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            return runner.run(self._run(main, interrupted))

    async def _run(self, main: Main, interrupted: Callable[[int], None]) -> int:
        self.runner = DeviceRunner(self._device, self._clock)
        task = self._loop.create_task(main(self._clock))

        def interrupt() -> None:
            interrupted(130)
            task.cancel()

        if self._interrupted_at is not None:
            self._loop.call_later(self._interrupted_at, interrupt)
        try:
            await asyncio.wait({task})
            return 130 if task.cancelled() else task.result()
        finally:
            self.runner.close()

    def key_of(self, serial: str) -> DeviceKey | None:
        """The key that the host has."""
        return self.key

    def close(self) -> None:
        self._loop.close()

    def now_ns(self) -> int:
        return self._loop.now_ns

    def wall_ms(self) -> Milliseconds:
        return Milliseconds(self._clock.wall_ms())

    def link(self, url: DeviceUrl, clock: Clock) -> Link:
        assert self.runner is not None
        self.links += 1
        if self._plugs_back:
            self._loop.call_later(PLUG_BACK_S, self.runner.inject, "plug_in")
        return InProcessLink(self.runner)

    def line(self, url: DeviceUrl, clock: Clock, keys: KeyStore) -> tuple[Link, KeyOf]:
        return self.link(url, clock), self.key_of

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[Guard | None]:
        yield None

    def terminals(self, controller: AnyController) -> AbstractAsyncContextManager[None]:
        return self._asking(controller)

    @asynccontextmanager
    async def _asking(self, controller: AnyController) -> AsyncIterator[None]:
        tasks = [self._loop.create_task(self._ask(controller, *one)) for one in self._asks]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _ask(self, controller: AnyController, after_s: float, line: str) -> None:
        await asyncio.sleep(after_s)
        OUTSIDE.get().requested(line)
        requests: TypeAdapter[Any] = TypeAdapter(Request)
        await serve(controller, requests.validate_json(line))

    async def typed(self) -> str:
        await asyncio.sleep(1)
        return self._answer


@contextmanager
def living_in(world: Outside) -> Iterator[None]:
    """Commands meet this world for as long as the context lasts."""
    token = OUTSIDE.set(world)
    try:
        yield
    finally:
        OUTSIDE.reset(token)
        if isinstance(world, World):
            world.close()


def recorded(world: World, file: Path, *command: object) -> Answer:
    """A command in a world, recorded."""
    with living_in(world):
        return cli("capture", "record", file, *command)


def recorded_run(world: World, family: str, file: Path, *options: object) -> Answer:
    """A run of the family's example, recorded."""
    return recorded(world, file, "run", FILES[family], "--yes", "--for", "5.1 s", *options)


def lines_of(file: Path) -> list[dict[str, Any]]:
    """A capture's lines."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def write_lines(file: Path, lines: Sequence[dict[str, Any]]) -> Path:
    """A capture of these lines."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file
