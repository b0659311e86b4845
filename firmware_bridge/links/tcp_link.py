"""TCP: a device, a serial server in raw mode, or a simulator on the network."""

import asyncio
import errno
import socket

from device_profiles.errors import LinkError
from firmware_bridge.links.base import MAX_QUEUED, LiveLink, Receiver

CONNECT_TIMEOUT_S = 5.0


class TcpLink(LiveLink):
    """One TCP connection, without Nagle's delay."""

    def __init__(self, url: str, host: str, port: int) -> None:
        super().__init__(url)
        self._host = host
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.Event()

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        try:
            await self._connect(receiver)
        except BaseException:
            self._closed = True  # what a half-open connection still says reaches nobody
            raise

    @property
    def queued(self) -> int:
        """See `Link.queued`."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def close(self) -> None:
        """See `Link.close`."""
        self._close()
        if self._transport is not None:
            await self._ended.wait()

    async def _connect(self, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: _Pipe(self, receiver), self._host, self._port)
        except TimeoutError as error:
            raise LinkError(
                f"{self.url} could not be opened: {self._host} did not answer within "
                f"{CONNECT_TIMEOUT_S:g} s. Check the address, the network and the device's power."
            ) from error
        except OSError as error:
            raise LinkError(self._open_sentence(error)) from error

    def _connected(self, transport: asyncio.Transport, receiver: Receiver) -> None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport
        self._begin(receiver)

    def _disconnected(self, error: Exception | None) -> None:
        self._ended.set()
        reason = f"the connection broke: {error}" if error else "the device closed the connection"
        self._lose(reason, error)

    def _send(self, data: bytes) -> None:
        if self._transport is None:
            raise OSError(errno.EBADF, "it is closed")
        self._transport.write(data)
        waiting = self._transport.get_write_buffer_size()
        if waiting > MAX_QUEUED:
            raise OSError(errno.ENOBUFS, f"it took none of the last {waiting} bytes")

    def _release(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _open_sentence(self, error: OSError) -> str:
        if isinstance(error, socket.gaierror):
            return (
                f"{self.url} could not be opened: no machine is known as {self._host}. Check the "
                "spelling, or write its number."
            )
        if isinstance(error, ConnectionRefusedError):
            return (
                f"{self.url} could not be opened: nothing listens on port {self._port} of "
                f"{self._host}. Start the device or the simulator there first."
            )
        return (
            f"{self.url} could not be opened: {error.strerror or error}. Check the address and "
            "the network."
        )


class _Pipe(asyncio.Protocol):
    """asyncio's end of the connection."""

    def __init__(self, link: TcpLink, receiver: Receiver) -> None:
        self._link = link
        self._receiver = receiver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._link._connected(transport, self._receiver)

    def data_received(self, data: bytes) -> None:
        self._link._deliver(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._link._disconnected(error)
