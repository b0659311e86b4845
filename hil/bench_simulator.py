"""A simulated device in this process: its faults, its button and its truth, for bench tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

from firmware_bridge.clock import Clock
from firmware_bridge.families.table import AnyController, connect
from firmware_bridge.protocol.frames import FrameDecoder
from firmware_bridge.protocol.messages import MessageError
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MachineKind, PumpMachine, machine_kind
from firmware_bridge.simulator.faults import FaultPlan, PlannedFault, parse_faults
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.truth import TruthInMemory
from hil.places import Places
from hil.witness import Line
from safety.alarms import Alarm
from safety.journal import FileDisk

AFTERWARDS = ("unplug", "reset")
"""Faults that strike once the request they belong to has been carried out, without a reply."""


class SimulatedBench:
    """A stimulator or a pump with its truth in memory. Lives on a running event loop."""

    def __init__(self, family: str, clock: Clock, places: Places) -> None:
        self._kind = machine_kind(family)
        self._clock = clock
        self._places = places
        self._truth = TruthInMemory()
        device = SimulatedDevice(self._kind, wall_ms=clock.wall_ms(), truth=self._truth)
        self._runner = _Runner(device, clock, self._kind)
        # The device remembers ids for life, so a second host of it must not begin at 1 again.
        self._ids = count(1)

    @asynccontextmanager
    async def connected(self, alarms: list[Alarm]) -> AsyncIterator[AnyController]:
        """A controller of the device, over a line of its own; alarms go to the list."""
        async with AsyncExitStack() as stack:

            def journal_of(serial: str) -> JournalPlace:
                place = self._places.journal_of(serial)
                if isinstance(place.disk, FileDisk):
                    stack.callback(place.disk.close)
                return place

            settings = Settings(self._clock, journal_of, alarms.append, self._ids.__next__)
            controller = await connect(InProcessLink(self._runner), None, settings)
            stack.push_async_callback(controller.close)
            yield controller

    async def fault(self, name: str, at: str, contact: str) -> None:
        """See `Device.fault`."""
        # Every fault may stand at a request, so without a moment any request will do.
        entry = {"at": at or "status 1", "fault": name}
        if contact:
            entry["contact"] = contact
        (fault,) = parse_faults(
            json.dumps([entry]), "fault()", self._kind.name, self._kind.requests.values()
        )
        if not at:
            self._runner.inject(fault.name, fault.contact)
        elif fault.request:
            self._runner.plans.append(FaultPlan([fault], 0))
        else:
            asyncio.get_running_loop().call_later(
                fault.at_ms / 1_000, self._runner.inject, fault.name, fault.contact
            )

    async def press(self) -> bool:
        """The patient presses the button; tells whether a bolus begins."""
        return self._runner.press()

    async def truth(self) -> list[Line]:
        """Every line of truth up to now."""
        self._runner.step()
        machine = self._runner.device.machine
        if isinstance(machine, PumpMachine):
            machine.body.final_line()  # a pump's lines tell only where its flow changed
        return self._truth.lines

    async def close(self) -> None:
        """Ends the device."""
        self._runner.close()


class _Runner(DeviceRunner):
    """A runner that knows faults which are planned while it runs, each with a count of its own."""

    def __init__(self, device: SimulatedDevice, clock: Clock, kind: MachineKind) -> None:
        super().__init__(device, clock)
        self.plans: list[FaultPlan] = []
        self._kind = kind
        self._decoder = FrameDecoder()

    def receive(self, data: bytes) -> None:
        """See `DeviceRunner.receive`; a host writes each request whole."""
        due = [fault for body in self._decoder.feed(data) for fault in self._due_with(body)]
        for fault in due:
            name = "drop_reply" if fault.name in AFTERWARDS else fault.name
            self.device.inject(name, self.link_ms, fault.contact)
        super().receive(data)
        for fault in due:
            if fault.name in AFTERWARDS:
                self.inject(fault.name)

    def _due_with(self, body: bytes) -> list[PlannedFault]:
        try:
            message = self._kind.catalogue.decode(body).message
        except MessageError:
            return []
        request = self._kind.requests.get(type(message), "")
        return [fault for plan in self.plans for fault in plan.on_request(request)]
