"""Faults of the line, each by the words of its row in the register."""

import asyncio
import random

import pytest
from road_bench import (
    apply,
    bolus,
    failure,
    rise,
    road,
    start,
)
from road_bench import both_lines as both_lines

from device_profiles.errors import LinkLost, NeuraxisError, Refused, Uncertain
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import connect
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.messages import AskEvent, Identify, LoggedEvent, Message
from firmware_bridge.simulator.faults import LATE_REPLY_MS, PlannedFault


class Line(Link):
    """A line that does something of its own with what comes from the device."""

    def __init__(self, inner: Link) -> None:
        self.inner = inner
        self.url = inner.url

    async def open(self, receiver: Receiver) -> None:
        self.lost = receiver.lost
        self.hand_on = receiver.received
        await self.inner.open(self)

    def received(self, data: bytes) -> None:
        self.hand_on(data)

    def write(self, data: bytes) -> None:
        self.inner.write(data)

    async def close(self) -> None:
        await self.inner.close()


class Deaf(Line):
    """From one moment on it takes bytes and hands none of them on."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self.takes_nothing = False
        self._kept = 0

    @property
    def queued(self) -> int:
        return self._kept

    def write(self, data: bytes) -> None:
        if self.takes_nothing:
            self._kept += len(data)
        else:
            super().write(data)


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


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F40")
@pytest.mark.parametrize("family", ["pump", "stimulator"])
async def test_a_stop_through_endless_random_bytes_acts_at_once_and_is_confirmed_after_them(
    family: str,
) -> None:
    """10 MB/s, in which no reply can be told from noise."""
    async with road(family) as bench:
        controller = await bench.connect()
        await apply(controller)
        if isinstance(controller, StimulatorController):
            await start(controller)
        receiver, dice = bench.link.receiver, random.Random(40)
        assert receiver is not None

        async def noise() -> None:
            while True:
                receiver.received(dice.randbytes(10_000))
                await asyncio.sleep(0.001)

        flood = asyncio.create_task(noise())
        await rise(0.05)
        stopping = asyncio.create_task(controller.stop("hold"))
        await rise(0.9)
        assert bench.device.done("stop") > 0
        assert not stopping.done()
        flood.cancel()
        assert (await stopping).safe
        assert controller.session.counts.corrupt > 0


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F44")
@pytest.mark.parametrize("gone", [1, 3, -1])
async def test_part_of_a_frame_that_left_counts_until_asked_and_spoils_nothing(gone: int) -> None:
    """``gone``: so many bytes of the frame reach the device; -1: all but its last."""
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link

        def break_off(request: Message) -> None:
            if isinstance(request, Bolus):
                link.inner.write(link.written[-1][:gone])
                raise LinkLost("writing to it failed")

        link.swallow = lambda request: isinstance(request, Bolus)
        link.after_write = break_off
        assert isinstance(await failure(bolus(controller)), Uncertain)
        assert bench.intents()[1_002] == "UNCERTAIN"
        assert isinstance(await failure(bolus(controller)), NeuraxisError)
        again = await bench.pump()
        assert bench.intents()[1_002] == "refused", "the device never read a whole frame"
        assert (await bolus(again)).outcome == "delivered"
        assert bench.device.done("bolus of") == 1


class Echoing(Line):
    """Two wires: the host hears every frame of its own before the device answers it."""

    def write(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.hand_on, data)
        super().write(data)


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F43")
@pytest.mark.parametrize("family", ["pump", "stimulator"])
async def test_on_a_line_that_echoes_every_frame_each_echo_is_counted_and_therapy_works(
    family: str,
) -> None:
    async with road(family) as bench:
        bench.wrap = Echoing
        controller = await bench.connect()
        result = await apply(controller)
        assert result.outcome == "delivered"
        assert not result.settled_by_asking, "no echo was taken for the reply"
        counts = controller.session.counts
        assert counts.alien + counts.forged + counts.replayed == counts.sent
        assert counts.timeouts == 0


class Swapping(Line):
    """Of the next two replies the second arrives first."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self.swaps = False
        self._first = b""

    def received(self, data: bytes) -> None:
        if not self.swaps:
            self.hand_on(data)
        elif not self._first:
            self._first = data
        else:
            self.swaps = False
            self.hand_on(data)
            self.hand_on(self._first)


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F97")
async def test_replies_in_another_order_each_answer_their_own_request() -> None:
    lines: list[Swapping] = []

    def wrap(link: Link) -> Link:
        lines.append(Swapping(link))
        return lines[-1]

    async with road("stimulator") as bench:
        bench.wrap = wrap
        controller = await bench.stimulator()
        await apply(controller)
        session = controller.session
        lines[-1].swaps = True
        asked = (session.query(AskEvent(number), LoggedEvent) for number in (0, 1))
        assert [found.number for found in await asyncio.gather(*asked)] == [1, 2]
        assert not lines[-1].swaps


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F32")
async def test_a_late_reply_is_not_taken_for_that_of_the_query_which_waits_just_then() -> None:
    faults = [
        PlannedFault("delay_reply", request="event", count=1),
        PlannedFault("drop_request", request="event", count=3),
    ]
    async with road("stimulator", faults) as bench:
        controller = await bench.stimulator()
        await apply(controller)
        session = controller.session
        assert (await session.query(AskEvent(0), LoggedEvent)).number == 1
        await rise(LATE_REPLY_MS / 1_000 - 0.6)
        assert (await session.query(AskEvent(1), LoggedEvent)).number == 2
        assert session.counts.late + session.counts.replayed == 1
        assert session.counts.timeouts == 2


class Halting(Line):
    """The second half of the reply to one request comes after everybody has given it up."""

    halts = False

    def received(self, data: bytes) -> None:
        if not self.halts:
            self.hand_on(data)
            return
        self.halts = False
        half = len(data) // 2
        self.hand_on(data[:half])
        asyncio.get_running_loop().call_later(0.6, self.hand_on, data[half:])


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F98")
async def test_a_reply_that_halts_in_its_middle_costs_itself_and_no_dose_is_given_twice() -> None:
    lines: list[Halting] = []

    def wrap(link: Link) -> Link:
        lines.append(Halting(link))
        return lines[-1]

    async with road("pump") as bench:
        bench.wrap = wrap
        controller = await bench.pump()
        await apply(controller)

        def halt(request: Message) -> None:
            lines[-1].halts |= isinstance(request, Bolus)

        bench.link.before_write = halt
        result = await bolus(controller)
        assert (result.outcome, result.settled_by_asking) == ("delivered", True)
        assert bench.device.done("bolus of") == 1
        assert bench.link.count(Bolus) == 1


# --- who is there --------------------------------------------------------------------------------


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F48")
async def test_a_stimulator_and_a_pump_with_exchanged_ports_hear_only_who_they_are() -> None:
    async with road("stimulator") as one, road("pump") as other:
        for here, there in ((one, other), (other, one)):
            error = await failure(connect(here.new_link(), there.device.serial, there.settings()))
            assert isinstance(error, Refused)
            assert f"{here.device.serial} answers" in str(error)
            assert {type(heard.message) for heard in here.device.received} == {Identify}
            assert here.events == ()
            assert there.events == ()
