"""A plug that is moved to another device in mid-conversation: nothing that one says is believed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Any

import pytest
from road_bench import Road, apply, bolus, failure, rise, road, start

from device_profiles.errors import DeviceFault, Uncertain
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.itp.wire import Bolus, PumpStatus
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.families.scs.wire import StimulatorStatus
from firmware_bridge.families.stopping import stop_at_once
from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.line_words import AnotherDevice
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.frames import FrameDecoder
from firmware_bridge.protocol.messages import (
    COMMON_MESSAGES,
    AskOutcome,
    AskStatus,
    Identify,
    Message,
    Open,
    Opened,
    OutcomeOf,
    SaysWho,
    Stop,
    Stopped,
)
from firmware_bridge.simulator.faults import PlannedFault
from firmware_bridge.simulator.ports import InProcessLink
from hil.monitor_core import MonitorCore
from safety.events import Settled
from safety.events import Stopped as StoppedEvent

OTHER = "NX-9999"
REPLY_LOST = PlannedFault("drop_reply", request="bolus", count=1)


class Plug(Link):
    """A line that leads to one of two devices."""

    def __init__(self, here: Link, there: Link) -> None:
        self.url = here.url
        self._ends = {False: here, True: there}
        self.moved = False
        self.before: Callable[[Message], object] = lambda _: None
        """Called with each unsealed request, before it goes to whoever is there."""

    async def open(self, receiver: Receiver) -> None:
        for moved, link in self._ends.items():
            await link.open(_End(self, moved, receiver))

    def write(self, data: bytes) -> None:
        (body,) = FrameDecoder().feed(data)
        if body[:1] == b"\x84":
            self.before(CATALOGUE.decode(body).message)
        self._ends[self.moved].write(data)

    async def close(self) -> None:
        for link in self._ends.values():
            await link.close()


class _End:
    """What comes from one end, as long as the plug is there."""

    def __init__(self, plug: Plug, moved: bool, receiver: Receiver) -> None:
        self._plug, self._moved, self._receiver = plug, moved, receiver
        self.lost = receiver.lost

    def received(self, data: bytes) -> None:
        if self._plug.moved is self._moved:
            self._receiver.received(data)


@asynccontextmanager
async def two(
    name: str, *faults: PlannedFault, sealed: bool
) -> AsyncIterator[tuple[Road, Road, list[Plug]]]:
    """A bench, another device, and the plugs of the bench's hosts, the newest last."""
    async with (
        road(name, faults, sealed=sealed) as here,
        road(name, sealed=False, serial=OTHER) as there,
    ):
        plugs: list[Plug] = []

        def wrap(link: Link) -> Link:
            plugs.append(Plug(link, InProcessLink(there.runner)))
            return plugs[-1]

        here.wrap = wrap
        yield here, there, plugs


def moves_at(plug: Plug, kind: type[Message], moved: bool = True) -> None:
    """The plug is moved just before the next request of a kind leaves."""

    def move(request: Message) -> None:
        if isinstance(request, kind):
            plug.moved = moved
            plug.before = lambda _: None

    plug.before = move


def test_all_that_settles_confirms_or_shows_begins_with_who_says_it() -> None:
    kinds = (*COMMON_MESSAGES, *scs.MESSAGES, *itp.MESSAGES)
    saying = {one for one in kinds if issubclass(one, SaysWho)}
    assert saying == {Opened, OutcomeOf, Stopped, StimulatorStatus, PumpStatus}
    assert {fields(one)[0].name for one in saying} == {"serial"}


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F47")
async def test_a_device_that_opens_in_anothers_place_is_not_asked_what_became_of_a_dose() -> None:
    async with two("pump", REPLY_LOST, sealed=False) as (here, there, plugs):
        controller = await here.pump()
        await apply(controller)
        moves_at(plugs[-1], Open)
        error = await failure(bolus(controller))
        assert isinstance(error, Uncertain)
        assert f"{OTHER} answers where ITP-0001 was" in str(error)
        assert here.intents()[1_002] in ("open", "UNCERTAIN")
        assert there.device.names() == ["open"]
        assert here.device.done("bolus of") == 1


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F47")
async def test_another_device_in_the_very_same_session_settles_nothing() -> None:
    async with two("pump", REPLY_LOST, sealed=False) as (here, there, plugs):
        controller = await here.pump()
        await apply(controller)

        def move(request: Message) -> None:
            if isinstance(request, Open):
                there.device.machine.firmware.conversation.open(request)
            plugs[-1].moved = isinstance(request, AskOutcome)

        plugs[-1].before = move
        assert isinstance(await failure(bolus(controller)), Uncertain)
        assert there.device.names() == ["outcome"]
        assert [one.outcome for one in here.told(Settled) if one.id == 1_002] != ["refused"]
        plugs[-1].before = lambda _: None
        plugs[-1].moved = False
        await controller.close()
        await here.pump()
        assert here.intents()[1_002] == "delivered"


@pytest.mark.requirement("SR-25")
async def test_each_open_has_a_number_that_no_other_device_has_heard() -> None:
    async with road("pump", sealed=False) as bench:
        controller = await bench.pump()
        bench.runner.inject("drop_reply")
        bench.link.swallow = lambda request: isinstance(request, Open) and _first(bench, request)
        await controller.session.open()
        opens = [one for one in bench.link.requests if isinstance(one, Open)]
        assert len(opens) == 3
        assert len({one.session for one in opens}) == 3
        assert (await apply(controller)).outcome == "delivered"


def _first(bench: Road, request: Message) -> bool:
    return bench.link.requests.index(request) == len(bench.link.requests) - 1 and (
        bench.link.count(Open) == 2
    )


@pytest.mark.requirement("SR-25")
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"firmware": "9.9.9"}, "firmware 9.9.9 where it was 1.0.0"),
        ({"calibration": "CAL-other"}, "calibration CAL-other where it was"),
    ],
)
async def test_what_was_judged_for_one_firmware_and_calibration_goes_to_no_other(
    change: dict[str, Any], says: str, sealed: bool
) -> None:
    async with road("pump", sealed=sealed) as bench:
        controller = await bench.pump()
        await apply(controller)
        firmware = bench.device.machine.firmware
        firmware.identity = replace(firmware.identity, **change)
        before = len(bench.link.requests)
        with pytest.raises(DeviceFault, match=says):
            await controller.session.open()
        assert [type(one) for one in bench.link.requests[before:]] == [Identify]


# --- stops ---------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F47")
@pytest.mark.parametrize("at", [Stop, AskStatus])
async def test_a_stop_is_confirmed_by_the_pump_that_was_meant_and_by_no_other(
    at: type[Message],
) -> None:
    async with two("pump", sealed=False) as (here, _, plugs):
        controller = await here.pump()
        await apply(controller)
        moves_at(plugs[-1], at)
        error = await failure(controller.stop("flow"))
        assert isinstance(error, Uncertain)
        assert f"the stop could not be confirmed: {here.link.url}: {OTHER} answers" in str(error)
        (alarm,) = (one for one in here.alarms if one.code == "stop-unconfirmed")
        assert alarm.priority == "HIGH"
        assert f"{OTHER} answers where ITP-0001 was" in alarm.text
        assert [one.confirmed for one in here.told(StoppedEvent)] == [False]
        plugs[-1].moved = False
        assert (await controller.stop("flow")).state == "halted"
        assert [one.confirmed for one in here.told(StoppedEvent)] == [False, True]


@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("sealed", [False, True])
async def test_a_stop_before_anything_else_is_confirmed_by_no_other_device(sealed: bool) -> None:
    async with two("pump", sealed=sealed) as (here, _, plugs):
        pump = await here.pump()
        await apply(pump)
        await pump.close()
        link = here.new_link()
        moves_at(plugs[-1], Stop)
        with pytest.raises(Uncertain, match=f"{OTHER} answers where ITP-0001 was"):
            await stop_at_once(link, None, "flow", here.settings())
        plugs[-1].moved = False
        assert [one.confirmed for one in here.told(StoppedEvent)] == [False]
        assert here.codes[-1] == ("stop-unconfirmed", "HIGH")
        pump = await here.pump()
        assert (await pump.sample()).state == "running"


@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-32")
async def test_a_sealed_stop_that_is_repeated_unsealed_is_confirmed_by_no_other_device() -> None:
    async with two("pump", sealed=True) as (here, there, plugs):
        controller = await here.pump()
        await apply(controller)
        plugs[-1].moved = True
        error = await failure(controller.stop("flow"))
        assert isinstance(error, Uncertain)
        assert there.device.names()[-1] == "stop"
        assert f"{OTHER} answers where ITP-0001 was" in str(error)


# --- telemetry -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-25")
async def test_another_devices_status_is_no_telemetry_and_ends_nothing() -> None:
    """A stimulator that is on does not count as off because another one is."""
    async with two("stimulator", sealed=False) as (here, _, plugs):
        controller = await here.stimulator()
        await apply(controller)
        await start(controller)
        await rise(0.5)
        before = here.events
        plugs[-1].moved = True
        assert isinstance(await failure(controller.sample()), AnotherDevice)
        assert here.events == before
        assert controller.state.running is not None
        plugs[-1].moved = False
        assert (await controller.sample()).delivering


@pytest.mark.requirement("SR-25")
async def test_the_monitors_core_takes_no_reading_from_another_device() -> None:
    async with two("pump", sealed=False) as (here, _, plugs):
        controller = await here.pump()
        core = MonitorCore()
        core.load((), controller.identity, controller.link_time())
        controller.session.taps.append(
            lambda sent, data: core.tap(sent, data, controller.link_time())
        )
        plugs[-1].moved = True
        await failure(controller.sample())
        assert core.reading is None
        plugs[-1].moved = False
        await controller.sample()
        assert core.reading is not None


@pytest.mark.requirement("SR-25")
async def test_a_bolus_after_the_plug_was_moved_reaches_nobody() -> None:
    async with two("pump", sealed=False) as (here, there, plugs):
        controller = await here.pump()
        await apply(controller)
        plugs[-1].moved = True
        assert isinstance(await failure(bolus(controller)), DeviceFault)
        await asyncio.sleep(1)
        assert here.link.count(Bolus) == 0
        assert there.device.machine.firmware.memory.outcomes == {}
