"""A simulated device behind a USB/IP server."""

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from device_profiles.errors import UsageError
from firmware_bridge.links.url import USB_PRODUCT, USB_VENDOR
from firmware_bridge.simulator.listening import ListeningPort, serve, two_way
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.usb_device import MAX_SERIAL_UNITS, serial_fits
from firmware_bridge.simulator.usbip import BUS_ID, Conversation, Export

USBIP_PORT = 3240
"""Where `usbip attach` looks if it is told nothing else."""
MAX_CONNECTIONS = 8


class UsbipPort(ListeningPort):
    """A USB/IP server that exports the device: `usbip attach` makes it a USB device of a machine.

    One host has it at a time. Unplugging ends the host's connection; plugged in again, it waits
    to be attached again.
    """

    def __init__(self, runner: DeviceRunner, host: str, port: int) -> None:
        super().__init__(runner)
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._export = Export(runner.device.serial)
        self._hosts: set[_Host] = set()
        if not serial_fits(self._export.serial):
            raise UsageError(f"a USB serial number has at most {MAX_SERIAL_UNITS} UTF-16 units")

    async def open(self) -> None:
        """See `ListeningPort.open`."""
        self._server, port = await serve(lambda: _Host(self), self._host, self._port)
        place = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        option = "" if port == USBIP_PORT else f" --tcp-port {port}"
        self.attach = f"usbip{option} attach -r {place} -b {BUS_ID}"
        device = f"{USB_VENDOR:04x}:{USB_PRODUCT:04x}"
        self.url = f"usb://{device}?serial={quote(self._export.serial, safe='')}"

    async def close(self) -> None:
        """See `ListeningPort.close`."""
        for host in tuple(self._hosts):
            host.hang_up()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def deliver(self, data: bytes) -> None:
        """See `Port.deliver`: without a host that has attached it, the bytes are lost."""
        self._to_host(lambda conversation: conversation.send(data))

    def set_plugged(self, plugged: bool) -> None:
        """Ends every conversation; while unplugged, a host finds no device to attach."""
        self._export.plugged = plugged
        if not plugged:
            for host in tuple(self._hosts):
                host.hang_up()

    def stall(self) -> None:
        """The bulk-in endpoint stalls until the host clears it."""
        self._to_host(Conversation.stall)

    def joined(self, host: "_Host") -> Conversation | None:
        """A host has connected: its conversation, if there is room for one more."""
        if len(self._hosts) == MAX_CONNECTIONS:
            return None
        self._hosts.add(host)
        return Conversation(self._export)

    def left(self, host: "_Host") -> None:
        """A host is gone."""
        self._hosts.discard(host)

    def received(self, data: bytes) -> None:
        """The host that has the device has written to it."""
        self._runner.receive(data)

    def _to_host(self, tell: Callable[[Conversation], None]) -> None:
        for host in tuple(self._hosts):
            if host.conversation is not None and self._export.holder is host.conversation:
                tell(host.conversation)
                host.flush()


class _Host(asyncio.Protocol):
    """One connection; while its host takes no replies, nothing more is read from it."""

    def __init__(self, port: UsbipPort) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self.conversation: Conversation | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = two_way(transport)
        self.conversation = self._port.joined(self)
        if self.conversation is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.conversation is None:
            return
        for written in self.conversation.receive(data):
            self.flush()
            self._port.received(written)
        self.flush()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.left(self)
        if self.conversation is not None:
            self.conversation.end("the host is gone")

    def flush(self) -> None:
        """Sends the replies there are; a conversation that is over ends the connection."""
        if self._transport is None or self.conversation is None:
            return
        self._transport.write(self.conversation.replies())
        if self.conversation.ended:
            self._transport.close()

    def hang_up(self) -> None:
        """Breaks the connection off."""
        if self.conversation is not None:
            self.conversation.end("the device is unplugged")
        if self._transport is not None:
            self._transport.abort()
