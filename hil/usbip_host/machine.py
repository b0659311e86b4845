"""A machine to which USB devices are attached by USB/IP: a `usb.backend.IBackend` for pyusb.

It plays the kernel and libusb: attaching enumerates a device with the requests a kernel makes,
and unmodified pyusb runs on what the device answered. libusb itself is not part of it; that
is what `make usb-kernel` and umockdev are for.
"""

import array
import asyncio
import errno
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import usb.core
from usb.backend import IBackend

from hil.usbip_host.client import Transfer, UsbipClient, place_of


@dataclass
class Attached:
    """A device of this machine; ``open_error`` and ``claimed`` are what the kernel would keep."""

    client: UsbipClient
    address: int
    device: SimpleNamespace
    configuration: SimpleNamespace
    interface: SimpleNamespace
    endpoints: list[SimpleNamespace]
    open_error: int = 0
    claimed: "Handle | None" = None
    read_waits: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class Handle:
    """A program's hold of a device."""

    attached: Attached


class UsbipMachine(IBackend):  # type: ignore[misc]
    """A machine; it is closed like any other resource, which detaches what is attached."""

    def __init__(self) -> None:
        super().__init__()
        self._attached: list[Attached] = []

    def attach(self, host: str, port: int, bus_id: str = "1-1") -> Attached:
        """What `usbip attach` and the kernel do: import, enumerate, configure."""
        client = UsbipClient(host, port, bus_id)
        try:
            attached = _enumerated(client, len(self._attached) + 1)
        except BaseException:
            client.close()
            raise
        self._attached.append(attached)
        return attached

    def close(self) -> None:
        """Detaches everything."""
        for attached in self._attached:
            attached.client.close()

    # --- what pyusb asks for -------------------------------------------------------------------

    def enumerate_devices(self) -> Iterator[Attached]:
        return iter([one for one in self._attached if not one.client.gone.is_set()])

    def get_parent(self, dev: Attached) -> None:
        return None

    def get_device_descriptor(self, dev: Attached) -> SimpleNamespace:
        return dev.device

    def get_configuration_descriptor(self, dev: Attached, config: int) -> SimpleNamespace:
        _only_the_first(config)
        return dev.configuration

    def get_interface_descriptor(
        self, dev: Attached, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        _only_the_first(intf, alt, config)
        return dev.interface

    def get_endpoint_descriptor(
        self, dev: Attached, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        return dev.endpoints[ep]

    def open_device(self, dev: Attached) -> Handle:
        if dev.client.gone.is_set():
            raise _error(errno.ENODEV)
        if dev.open_error:
            raise _error(dev.open_error)
        return Handle(dev)

    def close_device(self, dev_handle: Handle) -> None:
        if dev_handle.attached.claimed is dev_handle:
            dev_handle.attached.claimed = None

    def get_configuration(self, dev_handle: Handle) -> int:
        (value,) = _data_of(_asked(dev_handle.attached.client, 0x80, 8, 0, 0, 1))
        return value

    def set_configuration(self, dev_handle: Handle, config_value: int) -> None:
        _data_of(_asked(dev_handle.attached.client, 0x00, 9, config_value, 0, 0))

    def is_kernel_driver_active(self, dev_handle: Handle, intf: int) -> bool:
        return False

    def claim_interface(self, dev_handle: Handle, intf: int) -> None:
        _only_the_first(intf)
        if dev_handle.attached.claimed not in (None, dev_handle):
            raise _error(errno.EBUSY)
        dev_handle.attached.claimed = dev_handle

    def release_interface(self, dev_handle: Handle, intf: int) -> None:
        if dev_handle.attached.client.gone.is_set():
            raise _error(errno.ENODEV)
        dev_handle.attached.claimed = None

    def bulk_write(self, dev_handle: Handle, ep: int, intf: int, data: Any, timeout: int) -> int:
        started = dev_handle.attached.client.submit(ep, data.tobytes())
        self._wait(dev_handle, started, timeout)
        return started.count

    def bulk_read(self, dev_handle: Handle, ep: int, intf: int, buff: Any, timeout: int) -> int:
        started = dev_handle.attached.client.submit(ep, len(buff))
        dev_handle.attached.read_waits.set()
        data = self._wait(dev_handle, started, timeout)
        buff[: len(data)] = array.array("B", data)
        return len(data)

    def ctrl_transfer(
        self,
        dev_handle: Handle,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: Any,
        timeout: int,
    ) -> int:
        setup = struct.pack("<BBHHH", bmRequestType, bRequest, wValue, wIndex, len(data))
        reads = bool(bmRequestType & 0x80)
        client = dev_handle.attached.client
        answer = client.control(setup, len(data) if reads else data.tobytes())
        told = _data_of(answer)
        data[: len(told)] = array.array("B", told)
        return answer.count

    def clear_halt(self, dev_handle: Handle, ep: int) -> None:
        _data_of(_asked(dev_handle.attached.client, 0x02, 1, 0, ep, 0))

    def _wait(self, handle: Handle, started: Transfer, timeout_ms: int) -> bytes:
        if not started.done.wait(timeout_ms / 1_000 if timeout_ms else None):
            handle.attached.client.take_back(started)
            if started.status == -errno.ECONNRESET:
                raise usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        return _data_of(started)


@asynccontextmanager
async def attached_machine(*commands: str) -> AsyncIterator[UsbipMachine]:
    """A machine on which `usbip attach` commands, as a simulator prints them, were carried out."""
    machine = UsbipMachine()
    try:
        for command in commands:
            await asyncio.to_thread(machine.attach, *place_of(command))
        yield machine
    finally:
        await asyncio.to_thread(machine.close)


# --- what a kernel does as a device comes --------------------------------------------------------


def _enumerated(client: UsbipClient, address: int) -> Attached:
    device = _named(
        _data_of(_asked(client, 0x80, 6, 0x0100, 0, 18)),
        "<BBHBBBBHHHBBBB",
        "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol "
        "bMaxPacketSize0 idVendor idProduct bcdDevice iManufacturer iProduct iSerialNumber "
        "bNumConfigurations",
    )
    device.address, device.bus, device.port_number, device.port_numbers = address, 1, 1, (1,)
    device.speed = client.speed
    head = _data_of(_asked(client, 0x80, 6, 0x0200, 0, 9))
    (total,) = struct.unpack_from("<H", head, 2)
    everything = _data_of(_asked(client, 0x80, 6, 0x0200, 0, total))
    parts = list(_descriptors(everything))
    assert [part[1] for part in parts] == [2, 4, 5, 5]
    configuration = _named(
        parts[0],
        "<BBHBBBBB",
        "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue iConfiguration "
        "bmAttributes bMaxPower",
    )
    interface = _named(
        parts[1],
        "<BBBBBBBBB",
        "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints "
        "bInterfaceClass bInterfaceSubClass bInterfaceProtocol iInterface",
    )
    endpoints = [
        _named(
            part, "<BBBBHB", "bLength bDescriptorType bEndpointAddress bmAttributes "
            "wMaxPacketSize bInterval",
        )
        for part in parts[2:]
    ]  # fmt: skip
    for endpoint in endpoints:
        endpoint.bRefresh = endpoint.bSynchAddress = 0
    _data_of(_asked(client, 0x00, 9, configuration.bConfigurationValue, 0, 0))
    return Attached(client, address, device, configuration, interface, endpoints)


def _descriptors(data: bytes) -> Iterator[bytes]:
    while data:
        yield data[: data[0]]
        data = data[data[0] :]


def _named(data: bytes, form: str, names: str) -> SimpleNamespace:
    values = struct.unpack(form, data)
    return SimpleNamespace(**dict(zip(names.split(), values, strict=True)), extra_descriptors=[])


def _asked(
    client: UsbipClient, kind: int, request: int, value: int, index: int, length: int
) -> Transfer:
    setup = struct.pack("<BBHHH", kind, request, value, index, length)
    return client.control(setup, length if kind & 0x80 else b"")


def _data_of(transfer: Transfer) -> bytes:
    if transfer.status:
        raise _error(-transfer.status)
    return transfer.data


def _error(number: int) -> usb.core.USBError:
    names = {errno.EPIPE: "Pipe error", errno.ESHUTDOWN: "Cannot send"}
    return usb.core.USBError(names.get(number, errno.errorcode.get(number, "?")), -1, number)


def _only_the_first(*numbers: int) -> None:
    if any(numbers):
        raise IndexError(numbers)
