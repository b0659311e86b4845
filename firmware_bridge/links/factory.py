"""The link that a device URL asks for."""

from device_profiles.errors import UsageError
from firmware_bridge.clock import Clock, VirtualClock
from firmware_bridge.links.base import Link
from firmware_bridge.links.child_link import ChildLink
from firmware_bridge.links.serial_link import serial_link
from firmware_bridge.links.tcp_link import TcpLink
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.links.usb_link import UsbLink


def open_link(url: DeviceUrl, clock: Clock) -> Link:
    """The link of a URL, not opened yet: nothing is touched before `Link.open`.

    Raises UsageError on virtual time: it would race past whatever a real line has to say.
    """
    if isinstance(clock, VirtualClock):
        raise UsageError(f"{url} is a real line: it needs the real clock, not virtual time.")
    match url.scheme:
        case "serial" | "rfc2217":
            return serial_link(url)
        case "tcp":
            return TcpLink(url.text, url.host, url.tcp_port)
        case "usb":
            return UsbLink(url)
        case "sim":
            return ChildLink(url)
