"""Serial ports: pyserial configures the port, then its descriptor goes on the event loop.

On POSIX bytes go from `add_reader` straight to the receiver. Where a port has no descriptor to
wait on (Windows, `rfc2217://`), one thread reads it and one worker writes it.
"""

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import serial
from serial.tools import list_ports

from device_profiles.errors import LinkError
from firmware_bridge.links.base import MAX_QUEUED, Link, LiveLink, Receiver
from firmware_bridge.links.url import DeviceUrl

READ_BYTES = 4_096
POLL_S = 0.2
"""How long the reading thread may overlook that it is to end, when no cancel reaches it."""

_CONFIGURE_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, NotImplementedError)
if sys.platform != "win32":
    import termios

    _CONFIGURE_ERRORS = (*_CONFIGURE_ERRORS, termios.error)


def serial_link(url: DeviceUrl, *, reader_thread: bool | None = None) -> Link:
    """The link of a ``serial://`` or ``rfc2217://`` URL.

    ``reader_thread`` forces the threads, or the event loop, where both would do; ``None`` takes
    the event loop on POSIX.
    """
    if reader_thread is None:
        reader_thread = os.name != "posix" or url.scheme == "rfc2217"
    return ThreadedSerialLink(url) if reader_thread else SerialLink(url)


class SerialLink(LiveLink):
    """A port whose descriptor the event loop waits on (POSIX)."""

    def __init__(self, url: DeviceUrl) -> None:
        super().__init__(url.text)
        self._address = url
        self.baud = url.baud
        self._port: serial.Serial | None = None
        self._fd = -1
        self._queue = bytearray()

    @property
    def queued(self) -> int:
        """See `Link.queued`."""
        return len(self._queue)

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        self._port = _open_port(self._address, timeout=0)
        self._fd = self._port.fileno()
        self._begin(receiver)
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    async def close(self) -> None:
        """See `Link.close`."""
        self._close()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(f"reading it failed: {error.strerror}", error)
            return
        if data:
            self._deliver(data)
        else:
            # An unplugged port is readable for ever and holds nothing; it raises no error.
            self._lose("the port was unplugged, or its other end closed it")

    def _send(self, data: bytes) -> None:
        if self._queue:
            self._enqueue(data)
            return
        sent = self._write_now(data)
        if sent < len(data):
            self._enqueue(data[sent:])
            asyncio.get_running_loop().add_writer(self._fd, self._writable)

    def _enqueue(self, data: bytes) -> None:
        self._queue += data
        if len(self._queue) > MAX_QUEUED:
            raise OSError(errno.ENOBUFS, f"it took none of the last {len(self._queue)} bytes")

    def _writable(self) -> None:
        try:
            sent = self._write_now(self._queue)
        except OSError as error:
            self._lose(f"writing to it failed: {error.strerror}", error)
            return
        del self._queue[:sent]
        if not self._queue:
            asyncio.get_running_loop().remove_writer(self._fd)

    def _write_now(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.remove_writer(self._fd)
        self._queue.clear()
        if self._port is not None:
            with suppress(OSError):  # a port that is gone may refuse even to be closed
                self._port.close()


class ThreadedSerialLink(LiveLink):
    """A port that one thread reads and one worker writes; both end with the link."""

    def __init__(self, url: DeviceUrl) -> None:
        super().__init__(url.text)
        self._address = url
        self._port: serial.Serial | None = None
        self._ending = threading.Event()
        self._reader: threading.Thread | None = None
        self.baud = url.baud
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"write {url}")
        self._queued = 0

    @property
    def queued(self) -> int:
        """See `Link.queued`."""
        return self._queued

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._writer, _open_port, self._address, POLL_S)
        try:
            port = await asyncio.shield(opening)
        except BaseException:
            # Failed, or cancelled: a port that opens all the same must not stay open.
            opening.add_done_callback(_close_opened)
            self._writer.shutdown(wait=False)
            raise
        self._port = port
        self._begin(receiver)
        self._reader = threading.Thread(
            target=self._read_on, args=(port, loop), name=f"read {self.url}", daemon=True
        )
        self._reader.start()

    async def close(self) -> None:
        """See `Link.close`; returns once both threads have ended."""
        self._close()
        if self._reader is not None:
            await asyncio.to_thread(self._reader.join)

    def _read_on(self, port: serial.Serial, loop: asyncio.AbstractEventLoop) -> None:
        """The reading thread: reads until the port fails or the link ends, then closes it."""
        try:
            while not self._ending.is_set() and not loop.is_closed():
                data = port.read(1)
                if data:
                    _post(loop, self._deliver, data + port.read(port.in_waiting))
        except OSError as error:
            _post(loop, self._lose, f"reading it failed: {error}", error)
        # The loop releases the link first, so that no write meets a port that is being closed.
        while not self._ending.wait(POLL_S) and not loop.is_closed():
            pass
        if not hasattr(port, "cancel_write"):
            port.close()  # the only way to end a write that hangs
        self._writer.shutdown(wait=True, cancel_futures=True)
        with suppress(OSError):  # a port that is gone may refuse even to be closed
            port.close()

    def _send(self, data: bytes) -> None:
        self._queued += len(data)
        if self._queued > MAX_QUEUED:
            raise OSError(errno.ENOBUFS, f"it took none of the last {self._queued} bytes")
        self._writer.submit(self._write_on, bytes(data), asyncio.get_running_loop())

    def _write_on(self, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
        if self._port is None or self._ending.is_set():
            return
        try:
            self._port.write(data)
        except OSError as error:
            _post(loop, self._lose, f"writing to it failed: {error}", error)
        else:
            _post(loop, self._written, len(data))

    def _written(self, count: int) -> None:
        self._queued -= count

    def _release(self) -> None:
        self._ending.set()
        for cancel in ("cancel_read", "cancel_write"):
            # Only some ports can be woken; the others look up every POLL_S.
            with suppress(OSError, AttributeError):
                getattr(self._port, cancel)()


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    """Calls on the loop's thread; a loop that has closed leaves nobody to tell."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)


def _close_opened(opening: "asyncio.Future[serial.Serial]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


# --- opening -----------------------------------------------------------------------------------


def _open_port(url: DeviceUrl, timeout: float) -> serial.Serial:
    """The open port of a URL; raises LinkError with the remedy."""
    name = f"rfc2217://{url.host}:{url.tcp_port}" if url.scheme == "rfc2217" else url.port
    try:
        port = serial.serial_for_url(name, do_not_open=True)
        port.baudrate = url.baud
        port.timeout = timeout
        if url.scheme == "serial":
            port.exclusive = True
        # On purpose: a board may reset when DTR moves, and many speak only while it is raised.
        # It is raised once, as the port opens, and then left alone.
        port.dtr = True
        port.rts = True
        port.open()
    except _CONFIGURE_ERRORS as error:
        raise LinkError(_open_sentence(url, error)) from error
    with suppress(*_CONFIGURE_ERRORS, AttributeError):
        # FTDI adapters otherwise hold every answer for up to 16 ms; others cannot, or need not.
        port.set_low_latency_mode(True)
    return port


def _open_sentence(url: DeviceUrl, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if url.scheme == "rfc2217" and f"Errno {errno.ECONNREFUSED}]" in str(error):
        return (
            f"{url} could not be opened: nothing listens on port {url.tcp_port} of {url.host}. "
            "Start the RFC 2217 server there first."
        )
    if url.scheme == "rfc2217":
        return (
            f"{url} could not be opened: {error}. Check that an RFC 2217 server runs there and "
            "that its port is free."
        )
    if isinstance(error, PermissionError) or number in (errno.EACCES, errno.EPERM):
        return (
            f"{url} could not be opened: permission denied. Add yourself to the port's group "
            "(sudo usermod -aG dialout $USER), then log in again."
        )
    if number == errno.ENOENT or "FileNotFoundError" in str(error):
        return f"{url} could not be opened: there is no port {url.port}. {_ports_there_are()}"
    if number in (errno.EAGAIN, errno.EBUSY) or "PermissionError" in str(error):
        return (
            f"{url} could not be opened: another program has it. End that program (on Linux, "
            f"`fuser {url.port}` names it), then try again."
        )
    if f"({errno.ENOTTY}," in str(error):  # pyserial hands the number on in words only
        return f"{url} could not be opened: {url.port} is no serial port. {_ports_there_are()}"
    if isinstance(error, ValueError):
        return f"{url} could not be opened: {error}. Write a baud rate that the port can do."
    return f"{url} could not be opened: {error}. Check that {url.port} is a serial port."


def _ports_there_are() -> str:
    names = sorted(port.device for port in list_ports.comports())
    if not names:
        return "There is no serial port on this machine: check the cable and the device's power."
    return f"The ports there are: {', '.join(names)}."
