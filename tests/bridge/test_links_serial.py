"""Serial ports over a real pty: on the event loop, and on threads."""

import asyncio
import os
import pty
import select
import socket
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import serial
from link_probe import Probe
from serial import rfc2217
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.links.base import MAX_QUEUED, Link
from firmware_bridge.links.serial_link import serial_link
from firmware_bridge.links.url import parse_url, serial_url

pytestmark = pytest.mark.real_clock


class Board:
    """The far end of a cable: a thread on a pty's master that echoes, until it is unplugged."""

    def __init__(self, *, reads: bool = True) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._ended_r, self._ended_w = os.pipe()
        self._thread = threading.Thread(target=self._echo, name="board")
        if reads:
            self._thread.start()

    def say(self, data: bytes) -> None:
        """Sends bytes that nobody asked for."""
        os.write(self._master, data)

    def unplug(self) -> None:
        """The device disappears."""
        if self._master < 0:
            return
        os.write(self._ended_w, b"x")
        if self._thread.is_alive():
            self._thread.join()
        for descriptor in (self._slave, self._master, self._ended_r, self._ended_w):
            os.close(descriptor)
        self._master = -1

    def _echo(self) -> None:
        rest = b""
        while True:
            writers = [self._master] if rest else []
            ready, writable, _ = select.select([self._master, self._ended_r], writers, [])
            if self._ended_r in ready:
                return
            if writable:
                rest = rest[os.write(self._master, rest) :]
            if self._master in ready and len(rest) < 65_536:
                rest += os.read(self._master, 4_096)


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.unplug()


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture(params=[False, True], ids=["event-loop", "threads"])
async def link(request: pytest.FixtureRequest, board: Board, probe: Probe) -> AsyncIterator[Link]:
    link = serial_link(parse_url(serial_url(board.port)), reader_thread=request.param)
    await link.open(probe)
    yield link
    await link.close()


async def test_bytes_go_there_and_back(link: Link, probe: Probe) -> None:
    link.write(b"one")
    link.write(b"\x00\x11\x13\x03\x04\xff\n\r")
    assert await probe.bytes_received(11) == b"one\x00\x11\x13\x03\x04\xff\n\r"


async def test_more_than_the_system_takes_at_once(link: Link, probe: Probe) -> None:
    data = bytes(range(256)) * 128
    link.write(data)
    link.write(b"the end")
    assert await probe.bytes_received(len(data) + 7) == data + b"the end"


async def test_unsolicited_bytes_arrive(link: Link, board: Board, probe: Probe) -> None:
    board.say(b"alarm")
    assert await probe.bytes_received(5) == b"alarm"


async def test_unplugged_while_reading(link: Link, board: Board, probe: Probe) -> None:
    board.unplug()
    error = await probe.loss()
    assert isinstance(error, LinkLost)
    assert link.url in str(error)
    with pytest.raises(LinkLost):
        link.write(b"x")
    await link.close()
    assert len(probe.errors) == 1


async def test_unplugged_while_writing(link: Link, board: Board, probe: Probe) -> None:
    link.write(bytes(40_000))
    await probe.bytes_received(1)
    board.unplug()
    assert isinstance(await probe.loss(), LinkLost)


async def test_a_write_into_an_unplugged_port_is_a_loss(board: Board, probe: Probe) -> None:
    link = serial_link(parse_url(serial_url(board.port)), reader_thread=False)
    await link.open(probe)
    board.unplug()
    with pytest.raises(LinkLost, match="is gone"):
        link.write(b"x")
    assert probe.errors == []  # never from inside the call
    await probe.loss()
    await link.close()
    assert len(probe.errors) == 1


@pytest.mark.fault("F45")
@pytest.mark.parametrize("threads", [False, True])
async def test_a_device_that_takes_nothing_is_a_loss(threads: bool) -> None:
    board, probe = Board(reads=False), Probe()
    link = serial_link(parse_url(serial_url(board.port)), reader_thread=threads)
    await link.open(probe)
    with pytest.raises(LinkLost, match="took none"):
        write_until_it_fails(link)
    await probe.loss()
    await link.close()
    board.unplug()


def write_until_it_fails(link: Link) -> None:
    for _ in range(4):
        link.write(bytes(MAX_QUEUED // 2))


async def test_closing_twice_and_writing_after(link: Link, probe: Probe) -> None:
    await link.close()
    await link.close()
    with pytest.raises(LinkLost, match="not open"):
        link.write(b"x")
    assert probe.errors == []


@pytest.mark.fault("F49")
@pytest.mark.fault("F93")
async def test_a_port_is_opened_by_one_only(link: Link, board: Board) -> None:
    second = serial_link(parse_url(link.url))
    with pytest.raises(LinkError, match="another program has it"):
        await second.open(Probe())
    await second.close()


async def test_after_closing_the_port_is_free(link: Link, board: Board) -> None:
    await link.close()
    again, probe = serial_link(parse_url(link.url)), Probe()
    await again.open(probe)
    again.write(b"hi")
    assert await probe.bytes_received(2) == b"hi"
    await again.close()


@pytest.mark.parametrize("threads", [False, True])
async def test_a_missing_port_lists_those_there_are(
    threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [ListPortInfo("/dev/ttyUSB7", skip_link_detection=True)]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    link = serial_link(parse_url("serial:///dev/ttyNone0"), reader_thread=threads)
    with pytest.raises(LinkError, match=r"no port /dev/ttyNone0\. The ports .*: /dev/ttyUSB7\."):
        await link.open(Probe())
    await link.close()


async def test_permission_denied_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: serial.Serial) -> None:
        raise serial.SerialException(13, "could not open port: Permission denied")

    monkeypatch.setattr(serial.Serial, "open", denied)
    link = serial_link(parse_url("serial:///dev/ttyUSB0"))
    with pytest.raises(LinkError, match="usermod -aG dialout"):
        await link.open(Probe())


async def test_a_file_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(LinkError, match="is no serial port"):
        await serial_link(parse_url(serial_url(str(path)))).open(Probe())


# --- RFC 2217 ----------------------------------------------------------------------------------


class StandInPort:
    """What pyserial's server side needs of a port: plain attributes, no pty."""

    def __init__(self) -> None:
        self.baudrate, self.bytesize, self.parity, self.stopbits = 9_600, 8, "N", 1
        self.rtscts = self.xonxoff = self.dsrdtr = False
        self.dtr = self.rts = False
        self.cts = self.dsr = self.cd = True
        self.ri = self.break_condition = False

    def reset_input_buffer(self) -> None: ...

    def reset_output_buffer(self) -> None: ...


class Rfc2217Server:
    """A serial server on loopback with an echo behind it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.serial_port = StandInPort()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="rfc2217 server")
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Called by pyserial for telnet's own answers."""
        assert self._connection is not None
        self._connection.sendall(data)

    def close(self) -> None:
        """Breaks the connection and ends."""
        for end in (self._connection, self._listener):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._connection, _ = self._listener.accept()
        except OSError:
            return
        port: Any = self.serial_port
        line: Any = self
        manager = rfc2217.PortManager(port, line)
        with self._connection as connection, suppress(ConnectionError):
            while data := connection.recv(1_024):
                plain = b"".join(manager.filter(data))
                if plain:
                    connection.sendall(b"".join(manager.escape(plain)))


@pytest.fixture
def server() -> Iterator[Rfc2217Server]:
    server = Rfc2217Server()
    yield server
    server.close()


@pytest.mark.filterwarnings(
    "ignore:setDaemon:DeprecationWarning", "ignore:setName:DeprecationWarning"
)
async def test_rfc2217_moves_bytes_and_modem_lines(server: Rfc2217Server, probe: Probe) -> None:
    link = serial_link(parse_url(f"rfc2217://127.0.0.1:{server.port}?baud=57600"))
    await link.open(probe)
    link.write(b"\xffhello\x00")
    assert await probe.bytes_received(7) == b"\xffhello\x00"
    assert server.serial_port.baudrate == 57_600
    assert server.serial_port.dtr
    await link.close()
    assert probe.errors == []


async def test_rfc2217_without_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    link = serial_link(parse_url(f"rfc2217://127.0.0.1:{port}"))
    with pytest.raises(LinkError, match=r"nothing listens on port .* RFC 2217 server there first"):
        await link.open(Probe())
    await link.close()


async def test_opening_that_is_cancelled_leaves_nothing_open(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_open, closed = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class SlowPort(serial.Serial):
        def open(self) -> None:
            began.set()
            may_open.wait()
            super().open()

        def close(self) -> None:
            if self.is_open:
                super().close()
                loop.call_soon_threadsafe(closed.set)

    monkeypatch.setattr(serial, "serial_for_url", lambda name, **_: _unopened(SlowPort(), name))
    link = serial_link(parse_url(serial_url(board.port)), reader_thread=True)
    opening = asyncio.create_task(link.open(Probe()))
    await asyncio.to_thread(began.wait)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    may_open.set()
    async with asyncio.timeout(20):
        await closed.wait()
    await link.close()


def _unopened(port: serial.Serial, name: str) -> serial.Serial:
    port.port = name
    return port
