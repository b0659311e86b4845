"""A simulated device in time: wakes it when something is due and connects it to a port."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from firmware_bridge.clock import Clock
from firmware_bridge.simulator.device import SimulatedDevice

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


class Port(Protocol):
    """The device's end of a line."""

    def deliver(self, data: bytes) -> None:
        """Puts bytes of the device on the line; never blocks."""

    def set_plugged(self, plugged: bool) -> None:
        """The device's plug is pulled out or put in; called at each change."""

    def stall(self) -> None:
        """A fault of USB alone: the device's endpoint stalls until the host clears it."""


class DeviceRunner:
    """One device on one clock, real or virtual. Lives on the running event loop."""

    def __init__(
        self,
        device: SimulatedDevice,
        clock: Clock,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        self.device = device
        self._clock = clock
        self._born_ns = clock.monotonic_ns()
        self._on_failure = on_failure
        self._port: Port | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._plugged = True
        self._quiet: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def link_ms(self) -> int:
        """Link time: ms since this runner was made."""
        return (self._clock.monotonic_ns() - self._born_ns) // _NS_PER_MS

    def connect(self, port: Port) -> Port | None:
        """Puts a port at the device's end of the line; the one that was there before, if any."""
        before, self._port = self._port, port
        self.step()
        return before

    def disconnect(self, port: Port) -> None:
        """Takes a port away if it is the one in use; the device runs on."""
        if self._port is port:
            self._port = None

    def receive(self, data: bytes) -> None:
        """Bytes have arrived at the device."""
        self._guard(lambda: self.device.receive(data, self.link_ms))

    def step(self) -> None:
        """Brings the device to now; and it will wake by itself when it has something to do."""
        self._guard(lambda: self.device.advance(self.link_ms))

    def inject(self, name: str, contact: int = 0) -> None:
        """A fault of `FAULTS` happens now, or to the next request; raises UsageError."""
        self.device.inject(name, self.link_ms, contact)
        self.step()

    def press(self) -> bool:
        """The patient presses the button of a pump; tells whether a bolus begins."""
        granted = self.device.press(self.link_ms)
        self.step()
        return granted

    async def until_quiet(self) -> None:
        """Waits until nobody is needed to watch the device any longer."""
        self.step()
        if not self.device.quiet:
            self._quiet = asyncio.get_running_loop().create_future()
            await self._quiet

    def close(self) -> None:
        """Ends the device: last truth, last save; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self.device.close(self.link_ms)

    def _guard(self, work: Callable[[], bytes]) -> None:
        if self._closed:
            return
        try:
            data = work()
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)
            return
        if self.device.unplugged is self._plugged:
            self._plugged = not self.device.unplugged
            if self._port is not None:
                self._port.set_plugged(self._plugged)
        if self.device.stalls:
            self.device.stalls = False
            if self._port is not None:
                self._port.stall()
        if data and self._port is not None:
            self._port.deliver(data)
        if self._quiet is not None and self.device.quiet and not self._quiet.done():
            self._quiet.set_result(None)
        self._wake_when_due()

    def _wake_when_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_ms = self.device.next_wake()
        if wake_ms is not None:
            wait_ns = self._born_ns + wake_ms * _NS_PER_MS - self._clock.monotonic_ns()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0, wait_ns) / _NS_PER_S, self.step)
