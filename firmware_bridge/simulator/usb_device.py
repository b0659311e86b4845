"""A simulated device as USB sees it: descriptors, control requests, one pair of bulk endpoints.

High speed, one configuration, one vendor interface. It is new at each attachment, as a device is
after a reset of its bus.
"""

import struct
from collections.abc import Mapping

from firmware_bridge.links.url import USB_PRODUCT, USB_VENDOR

BULK_IN = 0x81
BULK_OUT = 0x02
CONFIGURATION = 1
DEVICE_RELEASE = 0x0100
INTERFACE_CLASS = (0xFF, 0, 0)
"""Class, subclass and protocol: of the vendor's own kind."""
MAX_OUTGOING = 65_536
"""Bytes the device holds for a host that reads none; what comes beyond is lost."""
MAX_SERIAL_UNITS = 126
"""UTF-16 units that a string descriptor takes."""

_DEVICE, _CONFIGURATION, _STRING, _INTERFACE, _ENDPOINT = 1, 2, 3, 4, 5
_ENGLISH = 0x0409
_BULK = 2
_PACKET = 512
_SELF_POWERED = 0xC0
_MAX_POWER_2_MA = 1
_SETUP = struct.Struct("<BBHHH")


class UsbDevice:
    """The device's end of a USB cable; who asks for transfers, and when, is not its business."""

    def __init__(self, serial: str) -> None:
        self.configuration = 0
        self.halted: set[int] = set()
        self._outgoing = bytearray()
        self._strings = ("neuraxis", "simulated neuraxis bench device", serial)

    @property
    def has_data(self) -> bool:
        """Whether a read would get anything."""
        return bool(self._outgoing)

    def send(self, data: bytes) -> None:
        """Puts bytes at the bulk-in endpoint; what a full or unconfigured one gets is lost."""
        if self.configuration and len(self._outgoing) + len(data) <= MAX_OUTGOING:
            self._outgoing += data

    def read(self, length: int) -> bytes:
        """Takes what is at the bulk-in endpoint, at most ``length`` bytes."""
        data = bytes(self._outgoing[:length])
        del self._outgoing[:length]
        return data

    def control(self, setup: bytes) -> bytes | None:
        """Carries out a standard request without data of the host's; ``None`` is a stall."""
        kind, request, value, index, length = _SETUP.unpack(setup)
        answer = self._standard(kind, request, value, index)
        return None if answer is None else answer[:length]

    def _standard(self, kind: int, request: int, value: int, index: int) -> bytes | None:
        match kind, request:
            case 0x80, 6:
                return self._descriptor(value >> 8, value & 0xFF)
            case 0x80, 0:
                return b"\x01\x00"  # self-powered
            case 0x80, 8:
                return bytes([self.configuration])
            case 0x00, 5:
                return b""  # the host's controller keeps addresses; this device needs none
            case 0x00, 9 if value in (0, CONFIGURATION):
                self._configure(value)
                return b""
            case (0x81, 0) | (0x81, 10) if self.configuration and index == 0:
                return bytes(2 if request == 0 else 1)
            case 0x01, 11 if self.configuration and (value, index) == (0, 0):
                self.halted.clear()
                return b""
            case (0x02, 1) | (0x02, 3) if value == 0 and self._has_endpoint(index):
                (self.halted.discard if request == 1 else self.halted.add)(index)
                return b""
            case 0x82, 0 if index in (0x00, 0x80) or self._has_endpoint(index):
                return bytes([index in self.halted, 0])
        return None

    def _configure(self, value: int) -> None:
        self.configuration = value
        self.halted.clear()
        self._outgoing.clear()

    def _has_endpoint(self, address: int) -> bool:
        return bool(self.configuration) and address in (BULK_IN, BULK_OUT)

    def _descriptor(self, kind: int, index: int) -> bytes | None:
        if (kind, index) == (_DEVICE, 0):
            return device_descriptor()
        if (kind, index) == (_CONFIGURATION, 0):
            return configuration_descriptor()
        if (kind, index) == (_STRING, 0):
            return struct.pack("<BBH", 4, _STRING, _ENGLISH)
        if kind == _STRING and index <= len(self._strings):
            text = self._strings[index - 1].encode("utf-16-le")
            return bytes([len(text) + 2, _STRING]) + text
        return None


def device_descriptor() -> bytes:
    """Who the device is; its three strings are manufacturer, product and serial number."""
    packed = struct.pack("<HBBBB", 0x0200, 0, 0, 0, 64)
    packed += struct.pack("<HHHBBBB", USB_VENDOR, USB_PRODUCT, DEVICE_RELEASE, 1, 2, 3, 1)
    return _with_header(_DEVICE, packed)


def configuration_descriptor() -> bytes:
    """The one configuration with its interface and both endpoints."""
    interface = struct.pack("<BBBBBBB", 0, 0, 2, *INTERFACE_CLASS, 0)
    parts = _with_header(_INTERFACE, interface)
    for address in (BULK_IN, BULK_OUT):
        parts += _with_header(_ENDPOINT, struct.pack("<BBHB", address, _BULK, _PACKET, 0))
    head = struct.pack(
        "<HBBBBB", 9 + len(parts), 1, CONFIGURATION, 0, _SELF_POWERED, _MAX_POWER_2_MA
    )
    return _with_header(_CONFIGURATION, head) + parts


def _with_header(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 2, kind]) + body


def serial_fits(serial: str) -> bool:
    """Whether a serial number can be told in a USB string."""
    return len(serial.encode("utf-16-le", "surrogatepass")) // 2 <= MAX_SERIAL_UNITS


ENDPOINTS: Mapping[tuple[int, bool], int] = {(1, True): BULK_IN, (2, False): BULK_OUT}
"""Addresses by number and whether the host reads."""
