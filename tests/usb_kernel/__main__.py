"""`python -m tests.usb_kernel`: the main job through a real kernel's USB, in a machine of qemu.

Two simulators here, exported by USB/IP; inside, `usbip attach` makes them USB devices, and the
real commands reach them by the real libusb. Ends with 0 if every step showed what it should.
"""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .machine import (
    HOST_SEEN_FROM_INSIDE,
    PATHS,
    WRITABLE_INSIDE,
    Kernel,
    Missing,
    check_tools,
    get_kernel,
    qemu_command,
    write_initramfs,
)
from .outside import ROOT, STALL, Broken, Child, Exported, simulator, steps_of

CACHE = ROOT / ".usb-kernel"
LOG = CACHE / "console.log"
CONFIG = CACHE / "config"
"""The keys of the two devices: their simulators make them here, and inside they are read."""
LIMIT_S = 600.0


def inside_command(devices: list[Exported]) -> str:
    """The command line that the machine runs."""
    environment = {
        "PATH": PATHS,
        "HOME": WRITABLE_INSIDE,
        "TMPDIR": WRITABLE_INSIDE,
        "XDG_STATE_HOME": f"{WRITABLE_INSIDE}/state",
        "XDG_CONFIG_HOME": str(CONFIG),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "300",
    }
    words = [f"{name}={value}" for name, value in environment.items()]
    guest = [sys.executable, "-m", f"{__package__}.guest"]
    for device in devices:
        attach = shlex.split(device.attach)
        attach[attach.index("-r") + 1] = HOST_SEEN_FROM_INSIDE
        guest += [device.url, shlex.join(attach)]
    return shlex.join(["/usr/bin/env", "-i", "-C", str(ROOT), *words, *guest])


@contextmanager
def machine_with(kernel: Kernel, devices: list[Exported]) -> Iterator[Child]:
    """The machine; ends with the block, and with its time."""
    initramfs = CACHE / "initramfs"
    write_initramfs(initramfs, kernel, inside_command(devices))
    machine = subprocess.Popen(
        qemu_command(kernel, initramfs),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    limit = threading.Timer(LIMIT_S, machine.kill)
    limit.start()
    try:
        yield machine
    finally:
        limit.cancel()
        machine.kill()
        machine.communicate()


def run() -> int:
    """The whole run; the number of steps, all of which were right."""
    CACHE.mkdir(exist_ok=True)
    check_tools()
    began = time.monotonic()
    kernel = get_kernel(CACHE)
    print(f"kernel: {kernel.name}, brought in {time.monotonic() - began:.1f} s", flush=True)
    faults = CACHE / "faults.yaml"
    faults.write_text(STALL, "utf-8")
    right = 0
    with ExitStack() as stack:
        pump = stack.enter_context(simulator("pump", "ITP-KERNEL", "--faults", str(faults)))
        stimulator = stack.enter_context(simulator("stimulator", "SCS-KERNEL"))
        began = time.monotonic()
        machine = stack.enter_context(machine_with(kernel, [pump, stimulator]))
        log = stack.enter_context(LOG.open("w", encoding="utf-8"))
        for step in steps_of(machine, pump.process, log):
            right += 1
            print(f"  {step['ms'] / 1_000:6.1f} s  {step['step']}: {step['about']}")
            print(f"            {step['said'][:160]}", flush=True)
    print(f"all steps in {time.monotonic() - began:.1f} s, the machine's own start included")
    return right


def main() -> int:
    """Runs and reports; the exit code."""
    try:
        right = run()
    except Missing as error:
        print(f"usb-kernel: {error}", file=sys.stderr)
        return 2
    except Broken as error:
        print(f"usb-kernel: FAILED: {error}\nthe console is in {LOG}", file=sys.stderr)
        return 1
    print(f"{right} passed, 0 failed")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    os.environ["XDG_CONFIG_HOME"] = str(CONFIG)
    sys.exit(main())
