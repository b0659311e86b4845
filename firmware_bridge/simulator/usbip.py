"""USB/IP, the device's side: how a Linux kernel reaches a USB device through a TCP connection.

Sans-I/O: bytes in, replies out, so that a fuzzer can drive it. Input of any kind ends a
conversation at worst; nothing grows without a bound.
"""

import struct
from dataclasses import dataclass, field

from firmware_bridge.links.url import USB_PRODUCT, USB_VENDOR
from firmware_bridge.simulator.usb_device import (
    BULK_IN,
    CONFIGURATION,
    DEVICE_RELEASE,
    ENDPOINTS,
    INTERFACE_CLASS,
    UsbDevice,
)

BUS_ID = "1-1"
MAX_TRANSFER = 1_048_576
"""Bytes a host may write at once; a longer transfer ends the conversation."""
MAX_PARKED = 256
"""Reads that may wait for data."""

_BUS, _ADDRESS, _HIGH_SPEED = 1, 2, 3
DEVICE_ID = _BUS << 16 | _ADDRESS
_VERSION = 0x0111
_DEVLIST, _IMPORT = 0x8005, 0x8003
_BUSY, _NO_DEVICE = 2, 4
_SUBMIT, _UNLINK, _SUBMITTED, _UNLINKED = 1, 2, 3, 4
# Linux's own error numbers, whatever system this runs on.
_NO_ENDPOINT, _STALLED, _TAKEN_BACK, _SHUT_DOWN = -2, -32, -104, -108

_OPERATION = struct.Struct(">HHI")
_BUS_ID_BYTES = 32
_DEVICE = struct.Struct(">256s32sIIIHHHBBBBBB")
_BASIC = struct.Struct(">IIIII")
_SUBMIT_BODY = struct.Struct(">Ii12x8s")
_UNLINK_BODY = struct.Struct(">I24x")
_RESULT = struct.Struct(">iI20x")
_HEADER_BYTES = _BASIC.size + _SUBMIT_BODY.size


@dataclass(slots=True)
class Export:
    """What a server exports: one device, to one host at a time, while it is plugged in."""

    serial: str
    plugged: bool = True
    holder: "Conversation | None" = None


class _Ended(Exception):
    """The conversation ends here; the text says why."""


@dataclass(slots=True, eq=False)
class Conversation:
    """One connection of a host. ``ended`` says why it is over, and nothing is taken after that."""

    export: Export
    ended: str = ""
    _device: UsbDevice | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _replies: bytearray = field(default_factory=bytearray)
    _written: list[bytes] = field(default_factory=list)
    _parked: dict[int, int] = field(default_factory=dict)
    """Reads that wait, by their number: how much each takes."""

    def receive(self, data: bytes) -> list[bytes]:
        """Takes the next bytes of the host; what it wrote to the device, in order."""
        if not self.ended:
            self._buffer += data
            try:
                while self._take_one():
                    self._answer_parked()
            except _Ended as end:
                self.end(str(end))
        written, self._written = self._written, []
        return written

    def send(self, data: bytes) -> None:
        """The device sends; without a host that has configured it, the bytes are lost."""
        if self._device is not None:
            self._device.send(data)
            self._answer_parked()

    def stall(self) -> None:
        """The device's bulk-in endpoint stalls until the host clears it."""
        if self._device is not None and self._device.configuration:
            self._device.halted.add(BULK_IN)
            self._answer_parked()

    def replies(self) -> bytes:
        """What goes back to the host now; taken with that."""
        replies = bytes(self._replies)
        self._replies.clear()
        return replies

    def end(self, reason: str) -> None:
        """The connection is over, from whichever side; idempotent."""
        self.ended = self.ended or reason
        self._device = None
        self._buffer.clear()
        self._parked.clear()
        if self.export.holder is self:
            self.export.holder = None

    # --- one request ---------------------------------------------------------------------------

    def _take_one(self) -> bool:
        """Carries out the first request of the buffer if it is complete."""
        return self._operation() if self._device is None else self._command(self._device)

    def _cut(self, count: int) -> bytes | None:
        """The first ``count`` bytes of the buffer, if there are so many."""
        if len(self._buffer) < count:
            return None
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _operation(self) -> bool:
        if len(self._buffer) < _OPERATION.size:
            return False
        version, code, _ = _OPERATION.unpack_from(self._buffer)
        if version != _VERSION:
            raise _Ended(f"it speaks version {version:#06x} of USB/IP, not {_VERSION:#06x}")
        if code == _DEVLIST:
            devices = [_described() + bytes([*INTERFACE_CLASS, 0])] if self.export.plugged else []
            self._replies += _OPERATION.pack(_VERSION, _DEVLIST & 0x7FFF, 0)
            self._replies += struct.pack(">I", len(devices)) + b"".join(devices)
            raise _Ended("the list was told")
        if code != _IMPORT:
            raise _Ended(f"there is no operation {code:#06x}")
        request = self._cut(_OPERATION.size + _BUS_ID_BYTES)
        if request is None:
            return False
        self._import(request[_OPERATION.size :].rstrip(b"\0"))
        return True

    def _import(self, bus_id: bytes) -> None:
        refusal = 0
        if not self.export.plugged or bus_id != BUS_ID.encode():
            refusal = _NO_DEVICE
        elif self.export.holder is not None:
            refusal = _BUSY
        self._replies += _OPERATION.pack(_VERSION, _IMPORT & 0x7FFF, refusal)
        if refusal:
            raise _Ended("another host has it" if refusal == _BUSY else "there is no such device")
        self._replies += _described()
        self._device = UsbDevice(self.export.serial)
        self.export.holder = self

    def _command(self, device: UsbDevice) -> bool:
        if len(self._buffer) < _HEADER_BYTES:
            return False
        command, number, device_id, reads, endpoint = _BASIC.unpack_from(self._buffer)
        if device_id != DEVICE_ID:
            raise _Ended(f"the device {device_id:#x} was not imported")
        if command == _UNLINK:
            (other,) = _UNLINK_BODY.unpack_from(self._buffer, _BASIC.size)
            del self._buffer[:_HEADER_BYTES]
            self._unlink(number, other)
            return True
        if command != _SUBMIT:
            raise _Ended(f"there is no command {command:#x}")
        _, length, setup = _SUBMIT_BODY.unpack_from(self._buffer, _BASIC.size)
        if reads > 1 or length < 0 or (not reads and length > MAX_TRANSFER):
            raise _Ended(f"no transfer has the direction {reads} and {length} bytes")
        request = self._cut(_HEADER_BYTES + (0 if reads else length))
        if request is None:
            return False
        if endpoint == 0:
            self._control(device, number, bool(reads), length, setup)
        else:
            self._bulk(device, number, endpoint, length if reads else request[_HEADER_BYTES:])
        return True

    def _control(
        self, device: UsbDevice, number: int, reads: bool, length: int, setup: bytes
    ) -> None:
        promised = int.from_bytes(setup[6:], "little")
        # No standard request that this device knows brings data of the host's with it.
        wrong = promised and (not reads or not setup[0] & 0x80)
        answer = None if wrong else device.control(setup)
        if answer is None:
            self._reply(number, _STALLED)
        else:
            self._reply(number, 0, answer[:length])

    def _bulk(self, device: UsbDevice, number: int, endpoint: int, transfer: int | bytes) -> None:
        address = ENDPOINTS.get((endpoint, isinstance(transfer, int)))
        if address is None or not device.configuration:
            self._reply(number, _NO_ENDPOINT)
        elif address in device.halted:
            self._reply(number, _STALLED)
        elif isinstance(transfer, bytes):
            self._result(_SUBMITTED, number, 0, len(transfer))
            if transfer:
                self._written.append(transfer)
        elif number in self._parked:
            raise _Ended(f"the read {number} waits already")
        elif len(self._parked) == MAX_PARKED:
            raise _Ended(f"more than {MAX_PARKED} reads wait")
        else:
            self._parked[number] = transfer

    def _unlink(self, number: int, other: int) -> None:
        """Takes a read back, which then has no answer of its own; one that had it stands."""
        taken = self._parked.pop(other, None) is not None
        self._result(_UNLINKED, number, _TAKEN_BACK if taken else 0, 0)

    def _answer_parked(self) -> None:
        """Gives waiting reads what there is for them, in their order."""
        device = self._device
        while self._parked and device is not None:
            number = next(iter(self._parked))
            if not device.configuration:
                self._reply(number, _SHUT_DOWN)
            elif BULK_IN in device.halted:
                self._reply(number, _STALLED)
            elif device.has_data or not self._parked[number]:
                self._reply(number, 0, device.read(self._parked[number]))
            else:
                return
            del self._parked[number]

    # --- replies -------------------------------------------------------------------------------

    def _reply(self, number: int, status: int, data: bytes = b"") -> None:
        self._result(_SUBMITTED, number, status, len(data))
        self._replies += data

    def _result(self, command: int, number: int, status: int, length: int) -> None:
        self._replies += _BASIC.pack(command, number, 0, 0, 0) + _RESULT.pack(status, length)


def _described() -> bytes:
    """The device as the lists of USB/IP describe one."""
    path = f"/sys/devices/neuraxis/usb{_BUS}/{BUS_ID}"
    return _DEVICE.pack(
        *(path.encode(), BUS_ID.encode(), _BUS, _ADDRESS, _HIGH_SPEED),
        *(USB_VENDOR, USB_PRODUCT, DEVICE_RELEASE, 0, 0, 0, CONFIGURATION, 1, 1),
    )
