"""Faults of the line, of time and of the process, each by the words of its row in the register."""

import asyncio

import pytest
from road_bench import apply, bolus, failure, road
from road_bench import both_lines as both_lines

from device_profiles.errors import Uncertain
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.messages import Message


class Deaf(Link):
    """A line that, from one moment on, takes bytes and hands none of them on."""

    def __init__(self, inner: Link) -> None:
        self.inner = inner
        self.url = inner.url
        self.takes_nothing = False
        self._kept = 0

    @property
    def queued(self) -> int:
        return self._kept

    async def open(self, receiver: Receiver) -> None:
        await self.inner.open(receiver)

    def write(self, data: bytes) -> None:
        if self.takes_nothing:
            self._kept += len(data)
        else:
            self.inner.write(data)

    async def close(self) -> None:
        await self.inner.close()


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F45")
async def test_a_write_that_blocks_ends_in_time_and_leaves_the_dose_held() -> None:
    lines: list[Deaf] = []

    def wrap(link: Link) -> Link:
        lines.append(Deaf(link))
        return lines[-1]

    async with road("pump") as bench:
        bench.wrap = wrap
        controller = await bench.pump()
        await apply(controller)

        def jam(request: Message) -> None:
            lines[-1].takes_nothing |= isinstance(request, Bolus)

        bench.link.before_write = jam
        async with asyncio.timeout(10):
            assert isinstance(await failure(bolus(controller)), Uncertain)
        assert bench.intents()[1_002] == "UNCERTAIN"
        assert controller.session.broken is not None
        again = await bench.pump()
        assert bench.intents()[1_002] == "refused", "the device says that it never saw it"
        assert (await bolus(again)).outcome == "delivered"
        assert bench.device.done("bolus of") == 1
