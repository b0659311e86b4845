"""USB without hardware: a `usb.backend.IBackend` whose devices are peers in this process.

Unmodified pyusb runs on it. It shows the host's side of every fault a cable and a device can
produce; libusb and the kernel are not part of it.
"""

import array
import errno
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Protocol

import usb.core
from usb.backend import IBackend

BULK_IN = 0x81
BULK_OUT = 0x02
_SERIAL_NUMBER_INDEX = 3
_ENGLISH = b"\x04\x03\x09\x04"


class Peer(Protocol):
    """Whatever sits behind the endpoints."""

    def exchange(self, data: bytes) -> bytes:
        """Takes what the host wrote; returns what the device sends, nothing included."""


class VirtualUsbDevice:
    """A device with one pair of bulk endpoints; its faults are switched from any thread."""

    def __init__(
        self, peer: Peer, serial: str, vendor: int = 0x1209, product: int = 0x0001
    ) -> None:
        self.peer = peer
        self.serial = serial
        self.vendor = vendor
        self.product = product
        self.open_error = 0
        self.claim_error = 0
        self.stalls: dict[int, int] = {BULK_IN: 0, BULK_OUT: 0}
        self.halts_cleared: list[int] = []
        self.claimed = False
        self.takes_nothing = False
        self.read_waits = threading.Event()
        self._arrived = threading.Condition()
        self._outgoing = bytearray()
        self._plugged = True

    def unplug(self) -> None:
        """Pulls the cable: a read that waits ends at once."""
        with self._arrived:
            self._plugged = False
            self._arrived.notify_all()

    def send(self, data: bytes) -> None:
        """Sends bytes that nobody asked for."""
        with self._arrived:
            self._outgoing += data
            self._arrived.notify_all()

    def write(self, data: bytes) -> int:
        """The host's transfer out."""
        self._check(BULK_OUT)
        if self.takes_nothing:
            raise usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        self.send(self.peer.exchange(data))
        return len(data)

    def read(self, buffer: "array.array[int]", timeout_ms: int) -> int:
        """The host's transfer in; waits as long as a device that says nothing would."""
        self._check(BULK_IN)
        with self._arrived:
            self.read_waits.set()
            self._arrived.wait_for(lambda: self._outgoing or not self._plugged, timeout_ms / 1_000)
            self._check(BULK_IN)
            if not self._outgoing:
                raise usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
            data = bytes(self._outgoing[: len(buffer)])
            del self._outgoing[: len(data)]
        buffer[: len(data)] = array.array("B", data)
        return len(data)

    def clear_halt(self, endpoint: int) -> None:
        """The host clears a stall."""
        self.halts_cleared.append(endpoint)

    def _check(self, endpoint: int) -> None:
        if not self._plugged:
            raise usb.core.USBError("No such device", -4, errno.ENODEV)
        if self.stalls[endpoint]:
            self.stalls[endpoint] -= 1
            raise usb.core.USBError("Pipe error", -9, errno.EPIPE)


class VirtualBus(IBackend):  # type: ignore[misc]
    """A bus with devices on it."""

    def __init__(self, *devices: VirtualUsbDevice) -> None:
        super().__init__()
        self._devices = devices

    def enumerate_devices(self) -> Iterator[VirtualUsbDevice]:
        return iter(self._devices)

    def get_parent(self, dev: VirtualUsbDevice) -> None:
        return None

    def get_device_descriptor(self, dev: VirtualUsbDevice) -> SimpleNamespace:
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x0200, bDeviceClass=0xFF, bDeviceSubClass=0,
            bDeviceProtocol=0, bMaxPacketSize0=64, idVendor=dev.vendor, idProduct=dev.product,
            bcdDevice=0x0100, iManufacturer=0, iProduct=0,
            iSerialNumber=_SERIAL_NUMBER_INDEX if dev.serial else 0,
            bNumConfigurations=1, address=self._devices.index(dev) + 1, bus=1, port_number=1,
            port_numbers=(1,), speed=2,
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: Any, config: int) -> SimpleNamespace:
        if config:
            raise IndexError(config)
        return SimpleNamespace(
            bLength=9, bDescriptorType=2, wTotalLength=32, bNumInterfaces=1, bConfigurationValue=1,
            iConfiguration=0, bmAttributes=0x80, bMaxPower=50, extra_descriptors=[],
        )  # fmt: skip

    def get_interface_descriptor(
        self, dev: Any, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        if intf or alt or config:
            raise IndexError(intf)
        return SimpleNamespace(
            bLength=9, bDescriptorType=4, bInterfaceNumber=0, bAlternateSetting=0,
            bNumEndpoints=2, bInterfaceClass=0xFF, bInterfaceSubClass=0, bInterfaceProtocol=0,
            iInterface=0, extra_descriptors=[],
        )  # fmt: skip

    def get_endpoint_descriptor(
        self, dev: Any, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        return SimpleNamespace(
            bLength=7, bDescriptorType=5, bEndpointAddress=(BULK_IN, BULK_OUT)[ep], bmAttributes=2,
            wMaxPacketSize=64, bInterval=0, bRefresh=0, bSynchAddress=0, extra_descriptors=[],
        )  # fmt: skip

    def open_device(self, dev: VirtualUsbDevice) -> VirtualUsbDevice:
        if dev.open_error:
            raise usb.core.USBError("cannot open", -3, dev.open_error)
        return dev

    def close_device(self, dev_handle: VirtualUsbDevice) -> None: ...

    def get_configuration(self, dev_handle: VirtualUsbDevice) -> int:
        return 1

    def is_kernel_driver_active(self, dev_handle: VirtualUsbDevice, intf: int) -> bool:
        return False

    def claim_interface(self, dev_handle: VirtualUsbDevice, intf: int) -> None:
        if dev_handle.claim_error:
            raise usb.core.USBError("cannot claim", -6, dev_handle.claim_error)
        dev_handle.claimed = True

    def release_interface(self, dev_handle: VirtualUsbDevice, intf: int) -> None:
        dev_handle.claimed = False

    def bulk_write(
        self, dev_handle: VirtualUsbDevice, ep: int, intf: int, data: Any, timeout: int
    ) -> int:
        return dev_handle.write(data.tobytes())

    def bulk_read(
        self, dev_handle: VirtualUsbDevice, ep: int, intf: int, buff: Any, timeout: int
    ) -> int:
        return dev_handle.read(buff, timeout)

    def ctrl_transfer(
        self,
        dev_handle: VirtualUsbDevice,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: Any,
        timeout: int,
    ) -> int:
        """Answers GET_DESCRIPTOR for strings: the languages, and the serial number."""
        text = dev_handle.serial.encode("utf-16-le")
        string = bytes([len(text) + 2, 3]) + text if wValue & 0xFF else _ENGLISH
        data[: len(string)] = array.array("B", string)
        return len(string)

    def clear_halt(self, dev_handle: VirtualUsbDevice, ep: int) -> None:
        dev_handle.clear_halt(ep)
