"""Which USB device a URL means; there may be several alike, or none that may be opened."""

from typing import Any
from urllib.parse import quote

import libusb_package
import usb.core
import usb.util

from device_profiles.errors import LinkError
from firmware_bridge.links.url import DeviceUrl


def bundled_backend() -> Any:
    """libusb from its wheel, else the system's; ``None`` when there is neither."""
    return libusb_package.get_libusb1_backend()


def matching_devices(vendor: int, product: int, backend: Any = None) -> tuple[Any, ...] | None:
    """All devices with an id; ``None`` when there is no libusb to ask."""
    backend = backend or bundled_backend()
    if backend is None:
        return None
    found = usb.core.find(find_all=True, idVendor=vendor, idProduct=product, backend=backend)
    return tuple(found or ())


def serial_number_of(device: Any) -> str | None:
    """A device's serial number; ``None`` when it has none or must not be opened."""
    try:
        number = usb.util.get_string(device, device.iSerialNumber)
    except (usb.core.USBError, ValueError, NotImplementedError):
        return None
    finally:
        usb.util.dispose_resources(device)
    return number or None


def find_device(url: DeviceUrl, backend: Any = None) -> Any:
    """The one device that a URL means; raises LinkError with the remedy."""
    name = f"{url.vendor:04x}:{url.product:04x}"
    devices = matching_devices(url.vendor, url.product, backend)
    if devices is None:
        raise LinkError(
            f"{url} could not be opened: there is no libusb on this machine. Install it "
            "(Debian: apt install libusb-1.0-0; macOS: brew install libusb; Windows: "
            "pip install libusb-package)."
        )
    if not devices:
        raise LinkError(
            f"{url} could not be opened: no USB device {name} is connected. Check the cable and "
            "the device's power; `neuraxis devices` lists what there is. A simulator "
            "behind USB/IP is connected once the command that it calls `attach` has run."
        )
    if len(devices) == 1 and (url.serial is None or not devices[0].iSerialNumber):
        return devices[0]  # one without a number is asked for its own once it is open
    numbers = [serial_number_of(device) for device in devices]
    chosen = [
        device
        for device, number in zip(devices, numbers, strict=True)
        if url.serial is not None and number == url.serial
    ]
    if len(chosen) == 1:
        return chosen[0]
    is_denied = any(
        number is None and device.iSerialNumber
        for device, number in zip(devices, numbers, strict=True)
    )
    if is_denied and not chosen:
        raise LinkError(denied_sentence(url))
    told = [number for number in numbers if number is not None]
    if not told:
        raise LinkError(
            f"{url} could not be opened: {len(devices)} devices {name} are connected, and none has "
            "a serial number that tells it from the others. Unplug all but the one you mean."
        )
    known = ", ".join(number or "none" for number in numbers)
    if url.serial is None:
        example = f"usb://{name}?serial={quote(told[0], safe='')}"
        raise LinkError(
            f"{url} could not be opened: {len(devices)} devices {name} are connected, with the "
            f"serial numbers {known}. Say which one you mean: {example}"
        )
    raise LinkError(
        f"{url} could not be opened: {len(chosen) or 'none'} of the connected devices {name} has "
        f"the serial number {url.serial}; connected are {known}."
    )


def denied_sentence(url: DeviceUrl) -> str:
    """What to say, and to do, where the system keeps a device to itself."""
    return (
        f"{url} could not be opened: access denied. On Linux write this line to "
        "/etc/udev/rules.d/70-neuraxis.rules, run `sudo udevadm control --reload`, and plug it "
        f'in again: SUBSYSTEM=="usb", ATTR{{idVendor}}=="{url.vendor:04x}", '
        f'ATTR{{idProduct}}=="{url.product:04x}", TAG+="uaccess"'
    )
