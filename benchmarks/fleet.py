"""(h) A stop under load, (i) pipelined frames, (k) a query beside 50 busy devices; in one process.

50 simulated devices live on this process' event loop, each with a session of its own. For (h) every
line is paced to 115,200 baud as a wire is, each device is asked without pause, and 1,000 queries
wait in all; for (k) every device is asked ten times a second.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter_ns

from benchmarks.device import stimulator_process_at
from benchmarks.harness import Row, percentile
from firmware_bridge.clock import NS_PER_S, RealClock
from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.links.factory import open_link
from firmware_bridge.links.url import parse_url
from firmware_bridge.pace import BITS_PER_BYTE
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import encode_frame
from firmware_bridge.protocol.messages import (
    AskStatus,
    Reply,
    Stop,
)
from firmware_bridge.session import Session
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import machine_kind
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner

DEVICES = 50
WAITING = 1_000
BAUD = 115_200
STOPS = 2_000
RATE_HZ = 10
WATCH_S = 10.0
PIPELINED = 20_000
AT_ONCE = 64
TARGET_STOP = 2.0


class PacedLink(Link):
    """A line as slow as its wire; it knows when the last byte of a frame leaves."""

    def __init__(self, inner: Link) -> None:
        self._inner = inner
        self.url = inner.url
        self.baud = BAUD
        self.free_at = 0.0
        self.frames: list[tuple[float, float]] = []
        """When the last byte of each frame left, and how long the frame takes."""

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        await self._inner.open(receiver)

    def write(self, data: bytes) -> None:
        """See `Link.write`; the device hears of it once the last byte has left."""
        loop = asyncio.get_running_loop()
        length_s = len(data) * BITS_PER_BYTE / BAUD
        self.free_at = max(loop.time(), self.free_at) + length_s
        self.frames.append((self.free_at, length_s))
        loop.call_at(self.free_at, self._inner.write, data)

    async def close(self) -> None:
        """See `Link.close`."""
        await self._inner.close()


def measure(
    devices: int = DEVICES, stops: int = STOPS, watch_s: float = WATCH_S, frames: int = PIPELINED
) -> list[Row]:
    """The rows of (h), (i) and (k)."""
    return asyncio.run(_measure(devices, stops, watch_s, frames))


async def _measure(devices: int, stops: int, watch_s: float, frames: int) -> list[Row]:
    ratios = await stops_under_load(devices, stops)
    beside, alone = await beside_many(devices, watch_s)
    a_second = await pipelined_over_tcp(frames)
    own_us = stop_frame_s() * 1e6
    return [
        Row(
            "h",
            f"a stop with {devices} devices busy, call to last byte / its wire time, p99.9",
            percentile(ratios, 0.999) / 1_000,
            "x",
            TARGET_STOP,
            f"{len(ratios)} stops of {own_us:.0f} us; {WAITING} queries wait; {BAUD} baud",
        ),
        Row("i", "pipelined queries, TCP", a_second, "/s", None, f"{AT_ONCE} at once"),
        Row(
            "k",
            f"a query beside {devices} devices at {RATE_HZ} Hz / alone, p99.9",
            percentile(beside, 0.999) / percentile(alone, 0.999),
            "x",
            None,
            f"{percentile(beside, 0.999) / 1000:.0f} us; {len(beside)} queries",
        ),
    ]


@asynccontextmanager
async def fleet(
    devices: int, wrap: Callable[[Link], Link] = lambda link: link
) -> AsyncIterator[list[tuple[Session, Link]]]:
    """So many devices of this process, each with its open session and the link under it."""
    clock = RealClock()
    async with AsyncExitStack() as stack:
        stack.callback(clock.close)
        made: list[tuple[Session, Link]] = []
        for number in range(devices):
            device = SimulatedDevice(
                machine_kind("stimulator"), wall_ms=clock.wall_ms(), serial=f"SIM-{number:04}"
            )
            runner = DeviceRunner(device, clock)
            stack.callback(runner.close)
            link = wrap(InProcessLink(runner))
            session = Session(link, CATALOGUE)
            await session.connect()
            await session.open()
            stack.push_async_callback(session.close)
            made.append((session, link))
        yield made


def stop_frame_s() -> float:
    """How long the longest stop frame takes on the wire."""
    longest = encode_frame(CATALOGUE.encode(Envelope(0xFFFF_FFFF, 0xFFFF_FFFF, Stop("policy"))))
    return len(longest) * BITS_PER_BYTE / BAUD


async def stops_under_load(devices: int, stops: int) -> list[int]:
    """For each stop, in thousandths: call to last byte, less a frame under way, per wire time."""
    ratios: list[int] = []
    async with fleet(devices, PacedLink) as made:
        waiting = [
            asyncio.create_task(ask_for_ever(session))
            for session, _ in made
            for _ in range(WAITING // devices)
        ]
        await asyncio.sleep(0.2)
        while len(ratios) < stops:
            for session, link in made:
                assert isinstance(link, PacedLink)
                asked = asyncio.get_running_loop().time()
                under_way = max(0.0, link.free_at - asked)
                earlier, (_, longest) = len(link.frames), link.frames[-1]
                await session.lower(Stop("policy"))  # writes before it waits for anything
                left, own = link.frames[earlier]
                ratios.append(round((left - asked - min(under_way, longest)) / own * 1_000))
                link.frames.clear()
                link.frames.append((left, own))
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    return ratios[:stops]


async def ask_for_ever(session: Session) -> None:
    """Query after query."""
    while True:
        await session.query(AskStatus(), Reply)


async def beside_many(devices: int, watch_s: float) -> tuple[list[int], list[int]]:
    """ns of one device's queries: with all others asked ten times a second, and alone."""
    async with fleet(devices + 1) as made:
        (session, _), *others = made
        alone = await timed(session, watch_s / 2)
        polling = [asyncio.create_task(poll(other)) for other, _ in others]
        beside = await timed(session, watch_s)
        for task in polling:
            task.cancel()
        await asyncio.wait(polling)
    return beside, alone


async def poll(session: Session) -> None:
    """A query ten times a second, on a time of its own."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += 1 / RATE_HZ
        await asyncio.sleep(max(0.0, due - loop.time()))
        await session.query(AskStatus(), Reply)


async def timed(session: Session, seconds: float) -> list[int]:
    """ns of queries, about one each millisecond."""
    samples = []
    end = perf_counter_ns() + int(seconds * NS_PER_S)
    while perf_counter_ns() < end:
        start = perf_counter_ns()
        await session.query(AskStatus(), Reply)
        samples.append(perf_counter_ns() - start)
        await asyncio.sleep(0.001)
    return samples


async def pipelined_over_tcp(frames: int) -> float:
    """Queries a second over TCP with several under way at once."""
    with stimulator_process_at("tcp:127.0.0.1:0") as url:
        clock = RealClock()
        session = Session(open_link(parse_url(url), clock), CATALOGUE)
        await session.connect()
        try:
            await session.open()
            begun = perf_counter_ns()
            await all_of(frames, lambda: session.query(AskStatus(), Reply))
            return frames * NS_PER_S / (perf_counter_ns() - begun)
        finally:
            await session.close()
            clock.close()


async def all_of(times: int, work: Callable[[], Awaitable[object]]) -> None:
    """Does work so many times, `AT_ONCE` under way at any moment."""
    left: Sequence[int] = range(times)
    rest = iter(left)

    async def one_after_another() -> None:
        for _ in rest:
            await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, times)):
            group.create_task(one_after_another())
