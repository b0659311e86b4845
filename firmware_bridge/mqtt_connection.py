"""One connection to an MQTT broker, of which nothing stays behind however it ends.

aiomqtt dials on a thread that nothing can interrupt, and leaves its socket open when a broker
does not answer. So the socket is made here, without blocking, and handed over connected.
"""

import asyncio
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiomqtt

from device_profiles.errors import UsageError

EXAMPLE = "mqtt://127.0.0.1:1883"
DEFAULT_PORT = 1883
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ADDRESS = re.compile(
    rf"((?P<name>{_LABEL}(\.{_LABEL})*)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]{{1,5}}))?",
    re.ASCII,
)
KEEPALIVE_S = 5
"""A dead connection shows within twice this time, and at the broker within one and a half."""

# What goes wrong is told once, as a sentence; paho's own lines would only repeat it.
_QUIET = logging.getLogger(__name__)
_QUIET.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """The URL that leads there."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt://{host}:{self.port}"


def parse_broker_url(text: str) -> BrokerAddress:
    """The broker that ``mqtt://HOST[:PORT]`` names; raises UsageError with an example."""
    scheme, separator, rest = text.partition("://")
    if "@" in text:
        # The URL is not repeated: it may hold a password.
        raise UsageError(
            "a broker's URL takes no user and no password, since every process on this machine "
            f"can read a command line: write {EXAMPLE}, and let the broker admit this host"
        )
    if not separator:
        raise UsageError(f"{text!r} is no broker URL: write for example {EXAMPLE}")
    if scheme != "mqtt":
        raise UsageError(
            f"{text!r} is no broker URL: only mqtt:// is spoken, not {scheme}://; write for "
            f"example {EXAMPLE}"
        )
    found = _ADDRESS.fullmatch(rest)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 1 <= port <= 65_535:
        raise UsageError(
            f"{text!r} is no broker URL: {rest!r} is not HOST or HOST:PORT, with a port from 1 to "
            f"65535; write for example {EXAMPLE}"
        )
    return BrokerAddress(found["name"] or found["ipv6"], port)


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises UsageError on an event loop that cannot watch sockets, which aiomqtt needs."""
    if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
        raise UsageError(
            f"--telemetry needs an event loop that can watch a socket, and a "
            f"{type(loop).__name__} cannot: on Windows, where it is the default, MQTT runs only "
            "on asyncio's SelectorEventLoop. Leave --telemetry out, or run neuraxis on Linux, "
            "macOS or in WSL"
        )


@asynccontextmanager
async def connected(
    broker: BrokerAddress, identifier: str, will: aiomqtt.Will, answer_s: float
) -> AsyncIterator[aiomqtt.Client]:
    """A connection that the broker has accepted; says goodbye if the body ends in good order.

    Otherwise it is cut, so that the broker publishes the last will. The broker has ``answer_s``
    seconds for each answer. Raises MqttError and OSError.
    """
    async with asyncio.timeout(answer_s):
        line = await _dial(broker)
    try:
        client = _Client(
            broker.host,
            broker.port,
            identifier=identifier,
            will=will,
            clean_session=True,
            timeout=answer_s,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=1,
            logger=_QUIET,
        )
        try:
            client.begin(line)
            await client.__aenter__()
            yield client
            await client.__aexit__(None, None, None)
        finally:
            await client.cut()
    finally:
        line.close()


async def until_lost(client: aiomqtt.Client) -> None:
    """Waits until the connection is gone, which raises MqttError.

    Nothing is subscribed to, so no message comes; what a broker sends unasked is thrown away.
    """
    async for _ in client.messages:
        continue


class _Client(aiomqtt.Client):
    """aiomqtt's client on a line that already stands."""

    def begin(self, line: socket.socket) -> None:
        """Sends the greeting on ``line``, which belongs to this client from here on."""
        self._client._create_socket_connection = lambda: line  # type: ignore[method-assign]
        super()._client_connect()

    def _client_connect(self) -> None:
        """aiomqtt calls this on a thread, to dial; `begin` has done it without blocking."""

    async def cut(self) -> None:
        """Closes the line at once and takes it out of the event loop; idempotent."""
        self._client.reinitialise()
        if self._misc_task is not None:
            await asyncio.gather(self._misc_task, return_exceptions=True)


async def _dial(broker: BrokerAddress) -> socket.socket:
    """A connected socket to the first of the host's addresses that answers; raises OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"{broker.host} has no address")
    for family, kind, protocol, _, address in await _addresses(broker):
        line = socket.socket(family, kind, protocol)
        try:
            line.setblocking(False)
            await loop.sock_connect(line, address)
        except OSError as error:
            line.close()
            failure = error
        except BaseException:
            line.close()
            raise
        else:
            return line
    raise failure


async def _addresses(broker: BrokerAddress) -> list[Any]:
    """What the host's name stands for, as `socket.getaddrinfo` tells it; raises OSError."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def hand_in(settle: Callable[[Any], None], value: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if found.done() else settle(value))

    def look_up() -> None:
        try:
            addresses = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
        except OSError as error:
            hand_in(found.set_exception, error)
        else:
            hand_in(found.set_result, addresses)

    # A thread that may be left behind: a name server that is gone can hold a look-up for a
    # minute, and a worker of the loop's would hold up the end of the program as long.
    threading.Thread(target=look_up, name="telemetry look-up", daemon=True).start()
    return await found
