"""A kernel of paper for the real libusb: umockdev's test bed, with simulators behind its USB.

Run by the system's Python (PyGObject is not in the project's) under `umockdev-wrapper`, as
`umockdev_bed.py ATTACH… -- COMMAND…`, with the `usbip attach` command of each simulator: it
becomes a device below /dev and /sys for COMMAND and for nothing else. What libusb asks by ioctl
goes to the simulator by USB/IP.
"""

import errno
import struct
import subprocess
import sys
import threading
from typing import Any

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import GLib, UMockdev  # noqa: E402

from hil.usbip_host.client import Transfer, UsbipClient, place_of  # noqa: E402

GET_CAPABILITIES, SET_CONFIGURATION = 0x8004551A, 0x80045505
CLAIM, RELEASE, CLEAR_HALT = 0x8004550F, 0x80045510, 0x80045515
SUBMIT, REAP, DISCARD = 0x8038550A, 0x4008550D, 0x550B
GET_DRIVER, RESET = 0x41045508, 0x5514
CONTROL_TYPE, BULK_TYPE = 2, 3
URB = struct.Struct("@BBiIPiiiiiIP")
STATUS_AT, BUFFER_AT, ACTUAL_AT = 4, 16, 28
"""Places in an URB: its status, its buffer's address, how many bytes were moved."""
REAP_PATIENCE_MS = 5
"""How long libusb waits in an ioctl for something to reap: here every file is always ready."""


class Urb:
    """A transfer that libusb has submitted and not reaped yet."""

    def __init__(self, data: Any, buffer: Any, address: int, skip: int, transfer: Transfer) -> None:
        self.data, self.buffer, self.address, self.skip = data, buffer, address, skip
        self.transfer = transfer


class Usbfs(UMockdev.IoctlBase):  # type: ignore[misc]
    """One device file: ioctls of usbfs in, transfers of USB/IP out."""

    def __init__(self, client: UsbipClient) -> None:
        super().__init__()
        self.client = client
        self.urbs: list[Urb] = []

    def do_handle_ioctl(self, caller: Any) -> bool:
        """Answers one ioctl, at once or a little later."""
        request = caller.get_request() & 0xFFFF_FFFF
        if self.client.gone.is_set() and request not in (REAP, DISCARD):
            caller.complete(-1, errno.ENODEV)
        elif request == GET_CAPABILITIES:
            caller.get_arg().resolve(0, 4).update(0, struct.pack("<I", 0))
            caller.complete(0, 0)
        elif request in (CLAIM, RELEASE, RESET, SET_CONFIGURATION):
            caller.complete(0, 0)
        elif request == GET_DRIVER:
            caller.complete(-1, errno.ENODATA)
        elif request == CLEAR_HALT:
            (endpoint,) = struct.unpack("<I", bytes(caller.get_arg().resolve(0, 4).retrieve()))
            done = self.client.control(struct.pack("<BBHHH", 0x02, 1, 0, endpoint, 0), b"")
            caller.complete(-1 if done.status else 0, -done.status)
        elif request == SUBMIT:
            self._submit(caller)
        elif request == DISCARD:
            self._discard(caller)
        elif request == REAP:
            self._reap(caller, REAP_PATIENCE_MS)
        else:
            print(f"bed: no ioctl {request:#x}", file=sys.stderr)
            caller.complete(-1, errno.ENOTTY)
        return True

    def _submit(self, caller: Any) -> None:
        # Read first: resolving puts an address of this process in its place.
        (address,) = struct.unpack("@P", bytes(caller.get_arg().retrieve()))
        data = caller.get_arg().resolve(0, URB.size)
        kind, endpoint, _, _, _, length, *_ = URB.unpack(bytes(data.retrieve()))
        buffer = data.resolve(BUFFER_AT, length)
        held = bytes(buffer.retrieve()) if length else b""
        setup, skip = bytes(8), 0
        if kind == CONTROL_TYPE:
            setup, skip = held[:8], 8
            reads = bool(setup[0] & 0x80)
        elif kind == BULK_TYPE:
            reads = bool(endpoint & 0x80)
        else:
            caller.complete(-1, errno.EINVAL)
            return
        transfer = self.client.submit(endpoint, length - skip if reads else held[skip:], setup)
        self.urbs.append(Urb(data, buffer, address, skip, transfer))
        caller.complete(0, 0)

    def _discard(self, caller: Any) -> None:
        (address,) = struct.unpack("@P", bytes(caller.get_arg().retrieve()))
        for urb in self.urbs:
            if urb.address == address and not urb.transfer.done.is_set():
                self.client.take_back(urb.transfer)
                if urb.transfer.status == -errno.ECONNRESET:
                    urb.transfer.status = -errno.ENOENT  # what usbfs makes of a discarded one
                caller.complete(0, 0)
                return
        caller.complete(-1, errno.EINVAL)

    def _reap(self, caller: Any, patience_ms: int) -> bool:
        for urb in self.urbs:
            if urb.transfer.done.is_set():
                self.urbs.remove(urb)
                self._give_back(caller, urb)
                return False
        if patience_ms and self.urbs:
            GLib.timeout_add(1, self._reap, caller, patience_ms - 1)
        else:
            caller.complete(-1, errno.EAGAIN)
        return False

    def _give_back(self, caller: Any, urb: Urb) -> None:
        transfer = urb.transfer
        if transfer.reads and transfer.data:
            urb.buffer.update(urb.skip, transfer.data)
        urb.data.update(STATUS_AT, struct.pack("<i", transfer.status))
        urb.data.update(ACTUAL_AT, struct.pack("<i", transfer.count))
        caller.get_arg().resolve(0, 8).set_ptr(0, urb.data)
        caller.complete(0, 0)


def plug_in(bed: Any, number: int, client: UsbipClient) -> None:
    """Puts a device into the test bed, with the descriptors that the simulator tells."""
    device = _ask(client, 0x0100, 18)
    configuration = _ask(client, 0x0200, 255)
    client.control(struct.pack("<BBHHH", 0x00, 9, configuration[5], 0, 0), b"")
    vendor, product = struct.unpack_from("<HH", device, 8)
    descriptors = (device + configuration).hex().upper()  # small letters are malformed
    node = f"bus/usb/001/{number + 1:03}"
    bed.add_from_string(
        f"P: /devices/usb1/1-{number}\n"
        f"N: {node}={descriptors}\n"
        f"E: DEVNAME=/dev/{node}\nE: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\n"
        f"E: BUSNUM=001\nE: DEVNUM={number + 1:03}\n"
        f"A: busnum=1\\n\nA: devnum={number + 1}\\n\nA: speed=480\\n\nA: bConfigurationValue=1\\n\n"
        f"A: idVendor={vendor:04x}\\n\nA: idProduct={product:04x}\\n\n"
        f"H: descriptors={descriptors}\n"
    )
    bed.attach_ioctl(f"/dev/{node}", Usbfs(client))


def _ask(client: UsbipClient, value: int, length: int) -> bytes:
    answer = client.control(struct.pack("<BBHHH", 0x80, 6, value, 0, length), length)
    return answer.data


def main(arguments: list[str]) -> int:
    """Runs a command in the test bed; its exit code."""
    cut = arguments.index("--")
    bed = UMockdev.Testbed.new()
    clients = []
    for number, command in enumerate(arguments[:cut], start=1):
        clients.append(UsbipClient(*place_of(command)))
        plug_in(bed, number, clients[-1])
    child = subprocess.Popen(arguments[cut + 1 :])
    loop = GLib.MainLoop()

    def wait() -> None:
        child.wait()
        GLib.idle_add(loop.quit)

    threading.Thread(target=wait, daemon=True).start()
    loop.run()
    for client in clients:
        client.close()
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
