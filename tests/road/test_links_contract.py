"""One road over every line, sealed and not: in this process, pty, child, USB, USB/IP."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from road_bench import (
    DOSE,
    KEY,
    MemoryAnchor,
    MemoryDisk,
    Switch,
    WatchedDevice,
    apply,
    bolus,
    failure,
    program_pump,
)
from road_bench import both_lines as both_lines
from usb_backend import VirtualBus, VirtualUsbDevice

from device_profiles.errors import Refused
from firmware_bridge.clock import Clock, RealClock, VirtualClock, VirtualLoop
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.table import connect
from firmware_bridge.links.base import Link
from firmware_bridge.links.child_link import ChildLink, simulator_command
from firmware_bridge.links.factory import open_link
from firmware_bridge.links.url import parse_url
from firmware_bridge.links.usb_link import UsbLink
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.faults import PlannedFault
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator
from firmware_bridge.simulator.runner import DeviceRunner
from hil.usbip_host.machine import attached_machine
from safety.alarms import Alarm

SERIAL = "NX-PUMP-1"
LOST = PlannedFault("drop_reply", request="bolus", count=1)
FAULTS_FILE = "- {at: bolus 1, fault: drop_reply}\n"


@dataclass
class Line:
    """A pump at the end of a line that is not open yet, and what its host needs."""

    link: Link
    clock: Clock
    key: DeviceKey | None
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    anchor: MemoryAnchor = field(default_factory=MemoryAnchor)
    alarms: list[Alarm] = field(default_factory=list)

    async def pump(self, serial: str | None = SERIAL) -> PumpController:
        settings = Settings(
            self.clock,
            lambda _: JournalPlace(self.disk, self.anchor),
            self.alarms.append,
            key_of=lambda _: self.key,
        )
        controller = await connect(self.link, serial, settings)
        assert isinstance(controller, PumpController)
        return controller


@asynccontextmanager
async def line(kind: str, folder: Path) -> AsyncIterator[Line]:
    """A new pump whose reply to its first bolus is lost, sealed if `Switch` says so."""
    key = KEY if Switch.sealed else None
    options: dict[str, Any] = {"serial": SERIAL, "faults": [LOST], "key_of": lambda _: key}
    loop = asyncio.get_running_loop()
    if kind == "in-process":
        assert isinstance(loop, VirtualLoop)
        virtual = VirtualClock(loop)
        device = WatchedDevice("pump", wall_ms=virtual.wall_ms(), **options)
        runner = DeviceRunner(device, virtual)
        yield Line(InProcessLink(runner), virtual, key)
        runner.close()
        return
    clock = RealClock()
    faults = folder / "faults.yaml"
    faults.write_text(FAULTS_FILE)
    try:
        if kind == "child":
            url = parse_url(f"sim://pump?serial={SERIAL}")
            command = [*simulator_command(url, sealed=Switch.sealed), "--faults", str(faults)]
            yield Line(ChildLink(url, command, key), clock, key)
        elif kind == "usb":
            device = WatchedDevice("pump", wall_ms=clock.wall_ms(), **options)
            bus = VirtualBus(VirtualUsbDevice(UsbPeer(device), SERIAL))
            yield Line(UsbLink(parse_url("usb://1209:0001"), bus), clock, key)
        elif kind == "usbip":
            async with (
                simulator("usbip:127.0.0.1:0", faults, key) as told,
                attached_machine(told.attach) as machine,
            ):
                yield Line(UsbLink(parse_url(told.url), machine), clock, key)
        else:
            async with simulator(f"pty:{folder / 'port'}", faults, key) as told:
                yield Line(open_link(parse_url(told.url), clock), clock, key)
    finally:
        clock.close()


class UsbPeer:
    """The simulator behind two bulk endpoints, in real time."""

    def __init__(self, device: WatchedDevice) -> None:
        self._device = device
        self._born_ns = time.monotonic_ns()

    def exchange(self, data: bytes) -> bytes:
        return self._device.receive(data, (time.monotonic_ns() - self._born_ns) // 1_000_000)


@asynccontextmanager
async def simulator(listen: str, faults: Path, key: DeviceKey | None) -> AsyncIterator[Listening]:
    """A simulator that listens, on a thread and a loop of its own."""
    here = asyncio.get_running_loop()
    listening: asyncio.Future[Listening] = here.create_future()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    options = SimulatorOptions(
        "pump", listen, serial_number=SERIAL, faults=faults, key_of=lambda _: key
    )

    async def simulate() -> None:
        stop = asyncio.Event()
        ends.append((asyncio.get_running_loop(), stop))
        clock = RealClock()

        def ready(announced: Listening) -> None:
            here.call_soon_threadsafe(listening.set_result, announced)

        try:
            await run_simulator(options, clock, ready, stop)
        finally:
            clock.close()

    thread = threading.Thread(target=lambda: asyncio.run(simulate()), name="simulator")
    thread.start()
    try:
        async with asyncio.timeout(20):
            told = await listening
        yield told
    finally:
        for loop, stop in ends:
            loop.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(thread.join)
        await here.shutdown_default_executor()


# --- the contract --------------------------------------------------------------------------------


async def whoever_answers_is_identified_and_planned_for(end: Line) -> None:
    pump = await end.pump()
    assert (pump.identity.serial, pump.identity.model) == (SERIAL, "itp-20")
    plan = await pump.plan(program_pump(wall_ms=end.clock.wall_ms()), "BENCH-012")
    assert (plan.verdict, plan.old) == ("accepted", ())
    assert (await pump.sample()).state == "empty-program"
    assert pump.session.counts.corrupt == pump.session.counts.timeouts == 0
    await pump.close()


async def another_serial_number_than_the_one_asked_for_is_refused(end: Line) -> None:
    assert isinstance(await failure(end.pump("NX-PUMP-2")), Refused)
    assert end.disk.data == b""


async def a_program_a_bolus_with_a_lost_reply_and_a_stop_are_carried_out(end: Line) -> None:
    pump = await end.pump()
    command = program_pump(wall_ms=end.clock.wall_ms())
    applied = await apply(pump, command)
    assert (applied.outcome, applied.settled_by_asking) == ("delivered", False)
    assert pump.programs_in(await pump.read_back()) == (command.program,)
    assert (await pump.sample()).delivering

    given = await bolus(pump, DOSE)
    assert (given.outcome, given.settled_by_asking) == ("delivered", True)
    assert pump.session.counts.timeouts == 1
    assert (await pump.progress_of(given.intent_id)).state == "running"

    sample = await pump.stop("hold")
    assert (sample.state, sample.delivering) == ("held", True)
    assert (await pump.progress_of(given.intent_id)).state == "interrupted"
    assert pump.state.unsettled == ()
    assert end.alarms == []
    await pump.close()


CONTRACT = {
    clause.__name__.replace("_", " "): clause
    for clause in (
        whoever_answers_is_identified_and_planned_for,
        another_serial_number_than_the_one_asked_for_is_refused,
        a_program_a_bolus_with_a_lost_reply_and_a_stop_are_carried_out,
    )
}


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-22")
@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("clause", CONTRACT)
async def test_in_this_process(clause: str, tmp_path: Path) -> None:
    async with line("in-process", tmp_path) as end:
        await CONTRACT[clause](end)


@pytest.mark.real_clock
@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-22")
@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("clause", CONTRACT)
@pytest.mark.parametrize("kind", ["pty", "child", "usb", "usbip"])
async def test_over_a_real_line(kind: str, clause: str, tmp_path: Path) -> None:
    async with line(kind, tmp_path) as end:
        await CONTRACT[clause](end)
