"""USB: two bulk endpoints of a vendor interface, by pyusb on libusb.

libusb blocks, so reads and writes each have a worker of their own: a write never waits for a
read that waits for the device.
"""

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import usb.core
import usb.util

from device_profiles.errors import LinkError
from firmware_bridge.links.base import MAX_QUEUED, LiveLink, Receiver
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.links.usb_finding import denied_sentence, find_device

READ_BYTES = 4_096
READ_TIMEOUT_MS = 200
"""How long one read waits; a device that says nothing is no error. Bounds the time to close."""
WRITE_TIMEOUT_MS = 1_000

_GONE = (errno.ENODEV, errno.ENOENT, errno.ESHUTDOWN)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A claimed interface with its endpoints."""

    device: Any
    interface: int
    read_from: int
    write_to: int


class UsbLink(LiveLink):
    """A device's bulk endpoints: the first in and the first out of its first interface.

    ``backend`` is a ``usb.backend.IBackend``; ``None`` takes the bundled libusb, else the
    system's.
    """

    def __init__(self, url: DeviceUrl, backend: Any = None) -> None:
        super().__init__(url.text)
        self._address = url
        self._backend = backend
        self._opened: _Opened | None = None
        self._ending = threading.Event()
        self._readers = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"read {url}")
        self._writers = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"write {url}")
        self._reading: asyncio.Future[None] | None = None
        self._queued = 0

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._writers, self._open)
        try:
            self._opened = await asyncio.shield(opening)
        except BaseException:
            # Failed, or cancelled: a device that opens all the same must not stay claimed.
            opening.add_done_callback(_close_opened)
            self._readers.shutdown(wait=False)
            self._writers.shutdown(wait=False)
            raise
        self._begin(receiver)
        self._reading = loop.run_in_executor(self._readers, self._read_on, self._opened, loop)

    @property
    def queued(self) -> int:
        """See `Link.queued`."""
        return self._queued

    async def close(self) -> None:
        """See `Link.close`; returns once both workers have ended."""
        self._close()
        if self._reading is not None:
            await asyncio.wait([self._reading])
            await asyncio.to_thread(self._writers.shutdown, wait=True)
            await asyncio.to_thread(self._readers.shutdown, wait=True)
            self._reading.result()

    # --- on the workers ----------------------------------------------------------------------

    def _open(self) -> _Opened:
        device = find_device(self._address, self._backend)
        try:
            return _claim(device)
        except (usb.core.USBError, NotImplementedError) as error:
            usb.util.dispose_resources(device)
            raise LinkError(_open_sentence(self._address, error)) from error
        except LinkError:
            usb.util.dispose_resources(device)
            raise

    def _read_on(self, opened: _Opened, loop: asyncio.AbstractEventLoop) -> None:
        cleared = False
        while not self._ending.is_set() and not loop.is_closed():
            try:
                data = opened.device.read(opened.read_from, READ_BYTES, READ_TIMEOUT_MS)
            except usb.core.USBTimeoutError:
                continue
            except usb.core.USBError as error:
                if error.errno == errno.EPIPE and not cleared:
                    cleared = self._clear_halt(opened, opened.read_from)
                    continue
                self._post(loop, self._lose, _lost_reason("reading it", error), error)
                break
            if len(data):
                cleared = False
                self._post(loop, self._deliver, data.tobytes())
        # The loop releases the link first, so that no write meets a device that is given back.
        while not self._ending.wait(READ_TIMEOUT_MS / 1_000) and not loop.is_closed():
            pass
        self._writers.shutdown(wait=True, cancel_futures=True)
        with suppress(usb.core.USBError):  # a device that is gone cannot be released
            usb.util.dispose_resources(opened.device)

    def _write_on(self, opened: _Opened, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
        cleared = False
        rest = data
        while rest and not self._ending.is_set():
            try:
                sent = opened.device.write(opened.write_to, rest, WRITE_TIMEOUT_MS)
            except usb.core.USBTimeoutError:
                continue  # the device takes nothing now; the link is closed or it will
            except usb.core.USBError as error:
                if error.errno == errno.EPIPE and not cleared:
                    cleared = self._clear_halt(opened, opened.write_to)
                    continue
                self._post(loop, self._lose, _lost_reason("writing to it", error), error)
                return
            rest = rest[sent:]
        self._post(loop, self._written, len(data))

    @staticmethod
    def _clear_halt(opened: _Opened, endpoint: int) -> bool:
        with suppress(usb.core.USBError):  # if this fails, so will the next transfer
            opened.device.clear_halt(endpoint)
        return True

    @staticmethod
    def _post(loop: asyncio.AbstractEventLoop, call: Any, *args: object) -> None:
        with suppress(RuntimeError):  # a loop that has closed leaves nobody to tell
            loop.call_soon_threadsafe(call, *args)

    # --- on the event loop -------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._opened is None:
            raise OSError(errno.EBADF, "it is closed")
        self._queued += len(data)
        if self._queued > MAX_QUEUED:
            raise OSError(errno.ENOBUFS, f"it took none of the last {self._queued} bytes")
        loop = asyncio.get_running_loop()
        self._writers.submit(self._write_on, self._opened, bytes(data), loop)

    def _written(self, count: int) -> None:
        self._queued -= count

    def _release(self) -> None:
        self._ending.set()
        self._readers.shutdown(wait=False)


def _close_opened(opening: "asyncio.Future[_Opened]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        usb.util.dispose_resources(opening.result().device)


# --- opening -----------------------------------------------------------------------------------


def _claim(device: Any) -> _Opened:
    interface = _active_interface(device)
    number = interface.bInterfaceNumber
    with suppress(NotImplementedError):
        if device.is_kernel_driver_active(number):
            device.detach_kernel_driver(number)
    usb.util.claim_interface(device, number)
    ends = {
        usb.util.endpoint_direction(endpoint.bEndpointAddress): endpoint.bEndpointAddress
        for endpoint in reversed(list(interface))
        if usb.util.endpoint_type(endpoint.bmAttributes) == usb.util.ENDPOINT_TYPE_BULK
    }
    if len(ends) != 2:
        raise LinkError(
            f"The USB device {device.idVendor:04x}:{device.idProduct:04x} has no pair of bulk "
            "endpoints, one in and one out: it is not a device of this kind."
        )
    return _Opened(device, number, ends[usb.util.ENDPOINT_IN], ends[usb.util.ENDPOINT_OUT])


def _active_interface(device: Any) -> Any:
    try:
        configuration = device.get_active_configuration()
    except usb.core.USBError:
        # Not configured yet. Configuring one that is would reset its endpoints.
        device.set_configuration()
        configuration = device.get_active_configuration()
    return next(iter(configuration))


def _open_sentence(url: DeviceUrl, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return denied_sentence(url)
    if number == errno.EBUSY:
        return (
            f"{url} could not be opened: another program or driver has it. End that program, "
            "then try again."
        )
    if number in _GONE:
        return f"{url} could not be opened: it was unplugged meanwhile. Plug it in again."
    return f"{url} could not be opened: {error}. Unplug it, plug it in again, then try again."


def _lost_reason(doing: str, error: Exception) -> str:
    if getattr(error, "errno", None) in _GONE:
        return "it was unplugged"
    return f"{doing} failed: {error}"
