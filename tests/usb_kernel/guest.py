"""What happens inside the machine: devices are attached, then the main job.

Runs as root, with this project's own files; the kernel's own refusal is shown here too.
"""

import ctypes
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from firmware_bridge.links.url import USB_VENDOR, parse_url

from .job import PATIENCE_S, Job, Wrong, carry_out, expect, neuraxis

SOMEBODY = 1_000
_CAPABILITY_VERSION_3 = 0x2008_0522


class Guest(Job):
    """The job, and before it what a kernel has to do; ``devices`` are URL and attach command."""

    def __init__(self, devices: list[tuple[str, str]]) -> None:
        super().__init__(*(url for url, _ in devices))
        self._attach = [command for _, command in devices]

    def steps(self) -> list[Callable[[], str]]:
        """See `Job.steps`."""
        return [self.attach, self.permission_denied, *super().steps()]

    def attach(self) -> str:
        """`usbip attach` makes the simulators USB devices; the kernel reads their strings."""
        for command in self._attach:
            done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
            if done.returncode:
                raise Wrong(f"{command}: {done.stdout}{done.stderr}")
        wanted = sorted(str(parse_url(url).serial) for url in (self._pump, self._stimulator))
        limit = time.monotonic() + PATIENCE_S
        while (found := attached_serials()) != wanted:
            if time.monotonic() > limit:
                raise Wrong(f"the kernel shows {found}, not {wanted}")
            threading.Event().wait(0.05)
        return f"the kernel shows {', '.join(found)}"

    def permission_denied(self) -> str:
        """Without rights on the device's file the kernel says no, and the udev rule is told."""
        for node in Path("/dev/bus/usb").glob("*/*"):
            os.chown(node, SOMEBODY, SOMEBODY)
            node.chmod(0o600)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            # Still root by name, so that this project's files can be read, but with root's own
            # rights only: those of the owner of a file.
            try:
                drop_capabilities()
                said = neuraxis("status", "--device", self._pump, code=4)
            except BaseException as error:
                said = repr(error)
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return expect(said, "access denied", 'ATTR{idVendor}=="1209"')


def drop_capabilities() -> None:
    """Gives up every right that root has beyond those of an owner."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise Wrong(f"capset: {os.strerror(ctypes.get_errno())}")


def attached_serials() -> list[str]:
    """The serial numbers of our devices, as the kernel shows them."""
    found = []
    for path in Path("/sys/bus/usb/devices").glob("*/idVendor"):
        serial = path.with_name("serial")
        if path.read_text().strip() == f"{USB_VENDOR:04x}" and serial.exists():
            found.append(serial.read_text().strip())
    return sorted(found)


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(carry_out(Guest(list(zip(words[::2], words[1::2], strict=True))).steps()))
