"""The device's end of the storm's line: brings it to now whenever something touches it."""

import asyncio
from collections.abc import Callable

from firmware_bridge.simulator.device import SimulatedDevice
from hil.storm.hosts import StormClock


class DeviceWire:
    """A simulated device on the world's time.

    A pump has nothing to say unasked, and its physics is exact whenever it is brought to now; so
    only a stimulator ``wakes`` by itself.
    """

    def __init__(self, device: SimulatedDevice, clock: StormClock, *, wakes: bool) -> None:
        self._device, self._clock, self._wakes = device, clock, wakes
        self._timer: asyncio.TimerHandle | None = None
        self.send: Callable[[bytes], None] = lambda data: None

    def receive(self, data: bytes) -> None:
        """Bytes have arrived at the device."""
        self._leaves(self._device.receive(data, self._clock.world_ms()))

    def step(self) -> None:
        """Brings the device to now."""
        self._timer = None
        self._leaves(self._device.advance(self._clock.world_ms()))

    def inject(self, name: str) -> None:
        """A fault of the simulator happens."""
        self._device.inject(name, self._clock.world_ms())
        self.step()

    def press(self) -> bool:
        """The patient presses the button; whether a bolus begins."""
        return self._device.press(self._clock.world_ms())

    def close(self) -> None:
        """The last line of truth."""
        if self._timer is not None:
            self._timer.cancel()
        self._device.close(self._clock.world_ms())

    def _leaves(self, data: bytes) -> None:
        if data:
            self.send(data)
        if not self._wakes:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake := self._device.next_wake()) is not None:
            wait_ms = max(0, wake - self._clock.world_ms())
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_ms / 1_000, self.step)
