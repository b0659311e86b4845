"""The main job over USB: the real commands on the real libusb, and what only libusb shows.

Each step is told in one line of standard output, for whoever watches. Run by itself, it finds its
devices attached: `python -m tests.usb_kernel.job URL-OF-A-PUMP URL-OF-A-STIMULATOR`.
"""

import errno
import json
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import usb.core
import usb.util
from typer.testing import CliRunner

from firmware_bridge.links.url import USB_PRODUCT, USB_VENDOR, parse_url
from firmware_bridge.links.usb_finding import bundled_backend, find_device
from hil.app import app

TELLS = "usb-kernel: "
"""Begins each line that is meant for whoever watches."""
PATIENCE_S = 60.0
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


class Job:
    """The steps, in their order; a pump whose first status comes with a stall, a stimulator."""

    def __init__(self, pump: str, stimulator: str) -> None:
        self._pump, self._stimulator = pump, stimulator

    def steps(self) -> list[Callable[[], str]]:
        """What is to be shown, each step by its method."""
        return [
            *(self.two_alike, self.status_through_a_stall, self.apply, self.bolus, self.stop),
            *(self.status, self.stimulate, self.time_out, self.unplugged),
        ]

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


def carry_out(steps: list[Callable[[], str]]) -> int:
    """Takes step after step and tells each; the exit code."""
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
    sys.exit(carry_out(Job(*sys.argv[1:]).steps()))
