"""The device's end of a line: a pseudo terminal, TCP, USB/IP, or a link in this process."""

import asyncio
import contextlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from device_profiles.errors import LinkError, UsageError
from firmware_bridge.links.base import LiveLink, Receiver
from firmware_bridge.links.url import can_be_host
from firmware_bridge.simulator.listening import ListeningPort, serve, two_way
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.usbip_port import UsbipPort

with contextlib.suppress(ImportError):  # no pseudo terminals on Windows
    import tty

READ_BYTES = 65_536
MOST_WAITING = 65_536
"""Bytes that wait for a client that does not read; what comes then is lost, as on a wire."""
TERMINALS = ("/dev/pts/", "/dev/ttys")
"""Where the pseudo terminals of Linux and of macOS are."""
LISTEN_FORMS = "pty:PATH, tcp:HOST:PORT or usbip:HOST:PORT"


class InProcessLink(LiveLink):
    """A link to a simulated device of this process; runs on the virtual clock too.

    A device has one line: opening a second link takes it away from the first.
    """

    def __init__(self, runner: DeviceRunner) -> None:
        super().__init__(f"in-process simulator {runner.device.serial}")
        self._runner = runner

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        if self._runner.device.unplugged:
            raise LinkError(f"the {self.url} is unplugged")
        self._begin(receiver)
        before = self._runner.connect(self)
        if isinstance(before, InProcessLink):
            before._lose("another link to the same device was opened")

    async def close(self) -> None:
        """See `Link.close`."""
        self._close()

    def deliver(self, data: bytes) -> None:
        """See `Port.deliver`."""
        asyncio.get_running_loop().call_soon(self._deliver, data)

    def set_plugged(self, plugged: bool) -> None:
        """See `Port.set_plugged`."""
        if not plugged:
            self._lose("it was unplugged")

    def stall(self) -> None:
        """See `Port.stall`."""

    def _send(self, data: bytes) -> None:
        self._runner.receive(data)

    def _release(self) -> None:
        self._runner.disconnect(self)


class PtyPort(ListeningPort):
    """A pseudo terminal behind a symlink at a path of the caller's choice.

    The port keeps the host's side open itself: without that, the device's side would fail
    whenever no host has it open. A lock file beside the path tells a simulator that listens
    there from a symlink that a killed one has left.
    """

    def __init__(self, runner: DeviceRunner, path: Path) -> None:
        super().__init__(runner)
        self._path = path.absolute()
        self._lock = FileLock(f"{self._path}.lock", blocking=False)
        self._device_side = self._host_side = -1
        self._linked = False
        self.url = f"serial://{quote(str(self._path), safe='/:')}"

    async def open(self) -> None:
        """See `ListeningPort.open`."""
        if not hasattr(os, "openpty"):
            raise UsageError("this system has no pseudo terminals: listen on tcp: instead")
        hold(self._lock, f"another simulator listens on {self._path}: end it, or take another")
        try:
            self._remove_stale_link()
            self._open_pty()
        except OSError as error:
            await self.close()
            raise LinkError(f"{self._path} cannot be a serial port: {error.strerror}") from error

    async def close(self) -> None:
        """See `ListeningPort.close`."""
        self._unlink()
        self._close_pty()
        self._lock.release()

    def deliver(self, data: bytes) -> None:
        """See `Port.deliver`."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._device_side, data)

    def set_plugged(self, plugged: bool) -> None:
        """Closes the terminal under the host's hands; it comes back under the same path."""
        if plugged:
            self._open_pty()
        else:
            self._unlink()
            self._close_pty()

    def _remove_stale_link(self) -> None:
        """Removes what a killed simulator left; never anything that is not its."""
        if self._path.is_symlink() and os.readlink(self._path).startswith(TERMINALS):
            self._path.unlink()

    def _open_pty(self) -> None:
        self._device_side, self._host_side = os.openpty()
        tty.setraw(self._host_side)
        os.set_blocking(self._device_side, False)
        self._path.symlink_to(os.ttyname(self._host_side))
        self._linked = True
        asyncio.get_running_loop().add_reader(self._device_side, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._runner.receive(os.read(self._device_side, READ_BYTES))

    def _unlink(self) -> None:
        if self._linked:
            self._path.unlink(missing_ok=True)
        self._linked = False

    def _close_pty(self) -> None:
        if self._device_side >= 0:
            asyncio.get_running_loop().remove_reader(self._device_side)
            os.close(self._device_side)
            os.close(self._host_side)
        self._device_side = self._host_side = -1


class TcpPort(ListeningPort):
    """A TCP server for one client at a time; a new client takes the place of the old one."""

    def __init__(self, runner: DeviceRunner, host: str, port: int) -> None:
        super().__init__(runner)
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._client: asyncio.Transport | None = None
        self._plugged = True

    async def open(self) -> None:
        """See `ListeningPort.open`."""
        self._server, port = await serve(lambda: _TcpClient(self), self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"tcp://{host}:{port}"

    async def close(self) -> None:
        """See `ListeningPort.close`."""
        if self._client is not None:
            self._client.close()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def deliver(self, data: bytes) -> None:
        """See `Port.deliver`."""
        if self._client is not None and self._client.get_write_buffer_size() < MOST_WAITING:
            self._client.write(data)

    def set_plugged(self, plugged: bool) -> None:
        """Cuts the client off; while unplugged, a client is cut off as soon as it comes."""
        self._plugged = plugged
        if not plugged and self._client is not None:
            self._client.abort()

    def joined(self, client: asyncio.Transport) -> None:
        """A client has connected."""
        if not self._plugged:
            client.abort()
            return
        if self._client is not None:
            self._client.abort()
        self._client = client

    def left(self, client: asyncio.Transport) -> None:
        """A client is gone."""
        if self._client is client:
            self._client = None

    def received(self, client: asyncio.Transport, data: bytes) -> None:
        """A client has written; only the newest one counts."""
        if self._client is client:
            self._runner.receive(data)


class _TcpClient(asyncio.Protocol):
    def __init__(self, port: TcpPort) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = two_way(transport)
        self._port.joined(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._port.received(self._transport, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._port.left(self._transport)


def port_for(listen: str, runner: DeviceRunner) -> ListeningPort:
    """The port of one of `LISTEN_FORMS`; raises UsageError."""
    kind, _, place = listen.partition(":")
    if kind == "pty" and place:
        return PtyPort(runner, Path(place))
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else -1
    if host and can_be_host(host) and 0 <= number <= 0xFFFF:
        if kind == "tcp":
            return TcpPort(runner, host, number)
        if kind == "usbip":
            return UsbipPort(runner, host, number)
    raise UsageError(f"a simulator listens on {LISTEN_FORMS}, not on {listen!r}")


def hold(lock: FileLock, taken: str) -> None:
    """Takes a lock for the life of this process; raises UsageError with ``taken`` if it is held."""
    folder = Path(lock.lock_file).absolute().parent
    if not folder.is_dir():  # the lock would make it
        raise UsageError(f"there is no folder {folder}")
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(taken) from error
    except OSError as error:
        raise UsageError(f"{lock.lock_file} cannot be made: {error.strerror}") from error
