"""What is connected to this machine, found without opening a port."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import usb.core
from serial.tools import list_ports

from firmware_bridge.links.url import USB_PRODUCT, USB_VENDOR, serial_url
from firmware_bridge.links.usb_finding import matching_devices, serial_number_of

NO_LIBUSB = "no libusb on this machine: USB devices are not listed"


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """Something a device may be connected by.

    ``url`` is what to write for ``--device``; ``usb_id`` is ``vendor:product`` in hexadecimal;
    fields that the system does not tell are ``None``.
    """

    url: str
    name: str
    description: str
    usb_id: str | None = None
    serial_number: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, and notes on what could not be looked for."""

    devices: tuple[FoundDevice, ...]
    notes: tuple[str, ...] = ()


def discover(ports: Iterable[Any] | None = None, backend: Any = None) -> Discovery:
    """All serial ports, and the USB devices with this project's id.

    ``ports`` (as from ``list_ports.comports()``) and ``backend`` (pyusb's) stand in for the
    machine's own. Opens no serial port; asks USB devices with our id, and no others, for their
    serial number.
    """
    serial = sorted(list_ports.comports() if ports is None else ports, key=_device_of)
    found = [_serial_device(port) for port in serial]
    try:
        devices = matching_devices(USB_VENDOR, USB_PRODUCT, backend)
    except usb.core.USBError as error:
        return Discovery(tuple(found), (f"libusb failed: {error}; USB devices are not listed",))
    if devices is None:
        return Discovery(tuple(found), (NO_LIBUSB,))
    return Discovery((*found, *(_usb_device(device) for device in devices)))


def _device_of(port: Any) -> str:
    return str(port.device)


def _serial_device(port: Any) -> FoundDevice:
    has_id = port.vid is not None and port.pid is not None
    return FoundDevice(
        url=serial_url(port.device),
        name=port.device,
        description=port.description if port.description not in (None, "n/a") else "serial port",
        usb_id=f"{port.vid:04x}:{port.pid:04x}" if has_id else None,
        serial_number=port.serial_number or None,
    )


def _usb_device(device: Any) -> FoundDevice:
    usb_id = f"{device.idVendor:04x}:{device.idProduct:04x}"
    number = serial_number_of(device)
    return FoundDevice(
        url=f"usb://{usb_id}" + (f"?serial={quote(number)}" if number else ""),
        name=f"USB bus {device.bus} address {device.address}",
        description="neuraxis bench device" if number else "neuraxis bench device (no access)",
        usb_id=usb_id,
        serial_number=number,
    )
