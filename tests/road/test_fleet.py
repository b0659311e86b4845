"""Fifty devices in one process: each makes its progress, and none hears another's answers."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from road_bench import MemoryAnchor, MemoryDisk

from firmware_bridge.clock import VirtualClock
from firmware_bridge.driver import Sample
from firmware_bridge.families.table import AnyController, connect
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner
from safety.alarms import Alarm

DEVICES = 50
SECONDS = 10


async def fleet(stack: AsyncExitStack) -> list[AnyController]:
    """Stimulators and pumps in turn; each has started as often as its place in the row."""
    clock = VirtualClock(asyncio.get_running_loop())  # type: ignore[arg-type]
    controllers = []
    for number in range(1, DEVICES + 1):
        kind = MACHINES["pump" if number % 2 else "stimulator"]
        device = SimulatedDevice(kind, wall_ms=clock.wall_ms(), serial=f"SIM-{number:04}")
        device.machine.firmware.memory.boot = number
        runner = DeviceRunner(device, clock)
        stack.callback(runner.close)
        place = JournalPlace(MemoryDisk(), MemoryAnchor())
        settings = Settings(clock, lambda _, place=place: place, ignore)  # type: ignore[misc]
        controller = await connect(InProcessLink(runner), None, settings)
        stack.push_async_callback(controller.close)
        controllers.append(controller)
    return controllers


def ignore(alarm: Alarm) -> None:
    """Nobody listens."""


async def watched(controller: AnyController, every_s: float) -> list[Sample]:
    samples = []
    for _ in range(int(SECONDS / every_s)):
        samples.append(await controller.sample())
        await asyncio.sleep(every_s)
    return samples


@pytest.mark.requirement("SR-52")
async def test_fifty_devices_at_ten_hertz_make_fair_progress_and_hear_only_themselves() -> None:
    async with AsyncExitStack() as stack:
        controllers = await fleet(stack)
        begun = asyncio.get_running_loop().time()
        told = await asyncio.gather(*(watched(one, 0.1) for one in controllers))
        assert asyncio.get_running_loop().time() - begun < SECONDS * 1.05
        for number, (controller, samples) in enumerate(zip(controllers, told, strict=True), 1):
            assert len(samples) == SECONDS * 10
            assert {sample.boot for sample in samples} == {number}
            assert controller.identity.serial == f"SIM-{number:04}"
            assert controller.session.counts.alien == 0
            assert controller.session.counts.timeouts == 0
