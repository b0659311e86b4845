"""What happens inside: attach, the main job by the real commands, and what only a kernel shows.

Runs in the machine, as root, with this project's own files. Each step is told on the console in
one line; `__main__` outside reads them.
"""

import ctypes
import errno
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import usb.core
import usb.util
from typer.testing import CliRunner

from firmware_bridge.links.url import USB_PRODUCT, USB_VENDOR, parse_url
from firmware_bridge.links.usb_link import bundled_backend, find_device
from hil.cli import app

from .machine import TELLS

PATIENCE_S = 60.0
SOMEBODY = 1_000
_CAPABILITY_VERSION_3 = 0x2008_0522
EXAMPLES = Path(__file__).parents[2] / "examples"
TIME_OUT_MS = 200


class Wrong(Exception):
    """A step showed something else than it should."""


def tell(**said: object) -> None:
    """One line for whoever watches the console."""
    print(f"{TELLS}{json.dumps(said)}", flush=True)


def neuraxis(*words: object, code: int = 0) -> str:
    """A command of the real program; what it said, on one line."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    said = " ".join((result.stdout + result.stderr).split())
    if result.exit_code != code:
        why = "".join(traceback.format_exception(result.exception)[-4:])
        raise Wrong(f"neuraxis {shlex.join(map(str, words))}: {result.exit_code}, {said} {why}")
    return said


def expect(said: str, *words: str) -> str:
    """What was said, if it holds all the words."""
    for word in words:
        if word not in said:
            raise Wrong(f"no {word!r} in: {said}")
    return said


class Guest:
    """The steps, in their order; ``devices`` are URL and `usbip attach` command of each."""

    def __init__(self, devices: list[tuple[str, str]]) -> None:
        self._attach = [command for _, command in devices]
        self._pump, self._stimulator = (url for url, _ in devices)

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

    def two_alike(self) -> str:
        """Two devices of one kind are listed, and not mistaken for each other."""
        said = neuraxis("devices")
        expect(said, self._pump, self._stimulator)
        return expect(
            neuraxis("status", "--device", f"usb://{USB_VENDOR:04x}:{USB_PRODUCT:04x}", code=4),
            "2 devices",
        )

    def status_through_a_stall(self) -> str:
        """Identified by serial number; one endpoint stalls, the kernel clears it."""
        cleared: list[int] = []
        clear_halt = usb.core.Device.clear_halt

        def counted(device: usb.core.Device, endpoint: int) -> None:
            cleared.append(endpoint)
            clear_halt(device, endpoint)

        usb.core.Device.clear_halt = counted
        try:
            said = expect(neuraxis("status", "--device", self._pump), "ITP-KERNEL")
        finally:
            usb.core.Device.clear_halt = clear_halt
        if cleared != [0x81]:
            raise Wrong(f"the halts cleared are {cleared}")
        return f"halt of endpoint 0x81 cleared; {said}"

    def apply(self) -> str:
        """The example file is planned, programmed and read back."""
        file = EXAMPLES / "infusion.yaml"
        plan = expect(neuraxis("plan", file, "--device", self._pump), "verdict: accepted")
        digest = re.search(r"digest: (\S+)", plan)
        if digest is None:
            raise Wrong(f"a plan without a digest: {plan}")
        apply = ("apply", file, "--device", self._pump, "--confirm", digest[1])
        return expect(neuraxis(*apply), "delivered", "read back equal")

    def bolus(self) -> str:
        """A bolus is admitted and given."""
        return expect(
            neuraxis("bolus", "0.1 mg", "--over", "10 min", "--device", self._pump), "delivered"
        )

    def stop(self) -> str:
        """The stop is confirmed by the device."""
        return expect(neuraxis("stop", "--device", self._pump), "stopped and confirmed")

    def status(self) -> str:
        """The basal goes on."""
        return expect(neuraxis("status", "--device", self._pump), "ITP-KERNEL is")

    def stimulate(self) -> str:
        """A stimulation is applied, started, watched and ended on the other device."""
        file = EXAMPLES / "stimulation.yaml"
        said = neuraxis("run", file, "--device", self._stimulator, "--for", "4 s", "--yes")
        return expect(said, "started 'walking'", "safe state confirmed")

    def time_out(self) -> str:
        """A read of a silent device ends in time, with the right number."""
        device = self._raw()
        began = time.monotonic()
        try:
            device.read(0x81, 64, TIME_OUT_MS)
        except usb.core.USBTimeoutError as error:
            waited = (time.monotonic() - began) * 1_000
            if error.errno != errno.ETIMEDOUT:
                raise Wrong(f"a time-out with the number {error.errno}") from error
            return f"{TIME_OUT_MS} ms asked for, {waited:.0f} ms waited, errno {error.errno}"
        finally:
            usb.util.dispose_resources(device)
        raise Wrong("a silent device was read from")

    def unplugged(self) -> str:
        """The cable is pulled in the middle of a read."""
        device = self._raw()
        tell(step="pull", device=self._pump)
        began = time.monotonic()
        try:
            device.read(0x81, 64, int(PATIENCE_S * 1_000))
        except usb.core.USBError as error:
            waited = (time.monotonic() - began) * 1_000
            if error.errno != errno.ENODEV:
                raise Wrong(f"an unplugged device is {error!r}") from error
        finally:
            usb.util.dispose_resources(device)
        said = neuraxis("status", "--device", self._pump, code=4)
        expect(said, "could not be opened")
        return f"errno {errno.ENODEV}, {waited:.0f} ms after the word to pull it"

    def _raw(self) -> usb.core.Device:
        device = find_device(parse_url(self._pump), bundled_backend())
        usb.util.claim_interface(device, 0)
        return device


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


def main(arguments: list[str]) -> int:
    """Carries out all steps; ``arguments`` are URL and attach command of pump and stimulator."""
    guest = Guest(list(zip(arguments[::2], arguments[1::2], strict=True)))
    steps: list[Callable[[], str]] = [
        *(guest.attach, guest.permission_denied, guest.two_alike, guest.status_through_a_stall),
        *(guest.apply, guest.bolus, guest.stop, guest.status, guest.stimulate, guest.time_out),
        guest.unplugged,
    ]
    for step in steps:
        began = time.monotonic()
        try:
            said = step()
        except Exception as error:
            tell(step=step.__name__, wrong=f"{type(error).__name__}: {error}")
            return 1
        took_ms = round((time.monotonic() - began) * 1_000)
        tell(step=step.__name__, about=step.__doc__, said=said, ms=took_ms)
    tell(step="all", count=len(steps))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
