"""A receiver that keeps what a link tells it and lets a test wait for it."""

import asyncio

from device_profiles.errors import LinkError


class Probe:
    """Collects bytes and the loss of a link; waits on events, never on time."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.errors: list[LinkError] = []
        self._changed = asyncio.Event()

    def received(self, data: bytes) -> None:
        assert data, "a link delivers at least one byte"
        assert not self.errors, "nothing arrives after the loss"
        self.data += data
        self._changed.set()

    def lost(self, error: LinkError) -> None:
        self.errors.append(error)
        self._changed.set()

    async def bytes_received(self, count: int) -> bytes:
        """Waits until ``count`` bytes have arrived; returns all there are."""
        async with asyncio.timeout(20):
            while len(self.data) < count:
                self._changed.clear()
                await self._changed.wait()
        return bytes(self.data)

    async def loss(self) -> LinkError:
        """Waits until the link is reported lost."""
        async with asyncio.timeout(20):
            while not self.errors:
                self._changed.clear()
                await self._changed.wait()
        return self.errors[0]
