"""What the ports of a simulator process share."""

import asyncio
import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

from device_profiles.errors import LinkError
from firmware_bridge.simulator.runner import DeviceRunner


class ListeningPort(ABC):
    """A port of a simulator process; ``url`` is what a host connects to once it is open.

    ``attach`` is the command that brings the port to the host's machine, where it takes one.
    """

    url: str
    attach: str = ""

    def __init__(self, runner: DeviceRunner) -> None:
        self._runner = runner

    @abstractmethod
    async def open(self) -> None:
        """Begins to listen; raises LinkError or UsageError."""

    @abstractmethod
    async def close(self) -> None:
        """Ends listening and leaves nothing behind; idempotent."""

    @abstractmethod
    def deliver(self, data: bytes) -> None:
        """See `Port.deliver`: what nobody takes is lost, as on a wire."""

    @abstractmethod
    def set_plugged(self, plugged: bool) -> None:
        """See `Port.set_plugged`."""

    def stall(self) -> None:  # noqa: B027
        """See `Port.stall`: only USB has stalls."""


async def serve(
    protocol: Callable[[], asyncio.Protocol], host: str, port: int
) -> tuple[asyncio.Server, int]:
    """A server at a place, and its port; raises LinkError."""
    try:
        server = await asyncio.get_running_loop().create_server(protocol, host, port)
    except OSError as error:
        # asyncio's own sentence repeats the address in Python's words.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        remedy = ""
        if error.errno == errno.EADDRINUSE:
            remedy = ". Another program does: end it, or write port 0 for any free one"
        raise LinkError(f"cannot listen on {host}:{port}: {reason}{remedy}") from error
    return server, server.sockets[0].getsockname()[1]


def two_way(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """A connection that sends at once what it is given."""
    if not isinstance(transport, asyncio.Transport):
        raise TypeError("a TCP connection is a two-way transport")
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return transport
