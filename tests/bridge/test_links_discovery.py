"""What is connected, from lists that the test hands in."""

import errno

import pytest
from serial.tools.list_ports_common import ListPortInfo
from usb_backend import VirtualBus, VirtualUsbDevice

from firmware_bridge.links import usb_finding
from firmware_bridge.links.discovery import NO_LIBUSB, FoundDevice, discover
from firmware_bridge.links.url import parse_url


class Silent:
    """A device that is never spoken to."""

    def exchange(self, data: bytes) -> bytes:
        raise AssertionError("discovery must not talk to a device")


def port(device: str, **told: object) -> ListPortInfo:
    """A port as `list_ports` shows it."""
    info = ListPortInfo(device, skip_link_detection=True)
    for name, value in told.items():
        setattr(info, name, value)
    return info


def test_serial_ports_come_with_the_url_to_write() -> None:
    usb_port = port(
        "/dev/ttyUSB0", description="FT232R", vid=0x0403, pid=0x6001, serial_number="A1"
    )
    found = discover([usb_port, port("/dev/ttyS0")], VirtualBus())
    assert found.devices == (
        FoundDevice("serial:///dev/ttyS0", "/dev/ttyS0", "serial port"),
        FoundDevice("serial:///dev/ttyUSB0", "/dev/ttyUSB0", "FT232R", "0403:6001", "A1"),
    )
    assert found.notes == ()


def test_usb_devices_of_ours_come_with_their_serial_number() -> None:
    ours, other = VirtualUsbDevice(Silent(), "NX 1"), VirtualUsbDevice(Silent(), "X", vendor=0x0403)
    (device,) = discover([], VirtualBus(ours, other)).devices
    assert device.url == "usb://1209:0001?serial=NX%201"
    assert parse_url(device.url).serial == device.serial_number == "NX 1"
    assert not ours.claimed


def test_a_usb_device_without_access_is_listed_all_the_same() -> None:
    ours = VirtualUsbDevice(Silent(), "NX-1")
    ours.open_error = errno.EACCES
    (device,) = discover([], VirtualBus(ours)).devices
    assert (device.url, device.serial_number) == ("usb://1209:0001", None)
    assert "no access" in device.description


def test_without_libusb_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb_finding, "bundled_backend", lambda: None)
    found = discover([port("/dev/ttyS0")])
    assert [device.name for device in found.devices] == ["/dev/ttyS0"]
    assert found.notes == (NO_LIBUSB,)


def test_the_machines_own_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb_finding, "bundled_backend", VirtualBus)
    assert all(parse_url(device.url) for device in discover().devices)
