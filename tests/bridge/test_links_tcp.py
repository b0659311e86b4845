"""TCP over loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from link_probe import Probe

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.links.base import MAX_QUEUED
from firmware_bridge.links.tcp_link import TcpLink

pytestmark = pytest.mark.real_clock


class Far:
    """The far end: accepts one connection and hands out its streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.server: asyncio.Server | None = None

    async def listen(self) -> int:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connected.set()

    async def hang_up(self) -> None:
        """Closes the connection in good order."""
        self.writer.close()
        await self.writer.wait_closed()


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    yield far
    if far.connected.is_set():
        far.writer.transport.abort()
    if far.server is not None:
        far.server.close()
        await far.server.wait_closed()


@pytest.fixture
async def link(far: Far, probe: Probe) -> AsyncIterator[TcpLink]:
    port = await far.listen()
    link = TcpLink(f"tcp://127.0.0.1:{port}", "127.0.0.1", port)
    await link.open(probe)
    await far.connected.wait()
    yield link
    await link.close()


async def test_bytes_go_there_and_back(link: TcpLink, far: Far, probe: Probe) -> None:
    link.write(b"ping")
    assert await far.reader.readexactly(4) == b"ping"
    far.writer.write(b"pong!")
    assert await probe.bytes_received(5) == b"pong!"


async def test_nothing_waits_for_nagle(link: TcpLink) -> None:
    assert link._transport is not None
    connection = link._transport.get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_the_device_hangs_up(link: TcpLink, far: Far, probe: Probe) -> None:
    await far.hang_up()
    error = await probe.loss()
    assert isinstance(error, LinkLost)
    assert f"{link.url} is gone: the device closed the connection" in str(error)
    with pytest.raises(LinkLost):
        link.write(b"x")
    await link.close()
    assert len(probe.errors) == 1


async def test_the_connection_breaks(link: TcpLink, far: Far, probe: Probe) -> None:
    link.write(b"unread")  # an end that closes with bytes unread resets the connection
    far.writer.transport.abort()
    assert isinstance(await probe.loss(), LinkLost)


@pytest.mark.fault("F45")
async def test_a_device_that_takes_nothing_is_a_loss(link: TcpLink, far: Far, probe: Probe) -> None:
    far.writer.transport.pause_reading()  # type: ignore[attr-defined]
    with pytest.raises(LinkLost, match="took none"):
        write_until_it_fails(link)
    await probe.loss()


def write_until_it_fails(link: TcpLink) -> None:
    for _ in range(1_000):
        link.write(bytes(MAX_QUEUED))


async def test_closing_is_no_loss(link: TcpLink, far: Far, probe: Probe) -> None:
    await link.close()
    await link.close()
    assert await far.reader.read() == b""
    assert probe.errors == []
    with pytest.raises(LinkLost, match="not open"):
        link.write(b"x")


async def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    link = TcpLink(f"tcp://127.0.0.1:{port}", "127.0.0.1", port)
    with pytest.raises(LinkError, match=f"nothing listens on port {port} of 127.0.0.1"):
        await link.open(Probe())
    await link.close()


async def test_an_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    link = TcpLink("tcp://nowhere:7000", "nowhere", 7_000)
    with pytest.raises(LinkError, match="no machine is known as nowhere"):
        await link.open(Probe())


async def test_no_answer_to_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **kwargs: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("firmware_bridge.links.tcp_link.CONNECT_TIMEOUT_S", 0.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    link = TcpLink("tcp://127.0.0.1:1", "127.0.0.1", 1)
    with pytest.raises(LinkError, match="did not answer within"):
        await link.open(Probe())
