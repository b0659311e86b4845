"""`python -m tests.usb_kernel`: the main job through a real kernel's USB, in a machine of qemu.

Two simulators here, exported by USB/IP; inside, `usbip attach` makes them USB devices, and the
real commands reach them by the real libusb. Ends with 0 if every step showed what it should.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .machine import (
    HOST_SEEN_FROM_INSIDE,
    PATHS,
    TELLS,
    Missing,
    check_tools,
    get_kernel,
    qemu_command,
    write_initramfs,
)

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".usb-kernel"
LOG = CACHE / "console.log"
LIMIT_S = 600.0
STALL = "- {at: status 1, fault: stall}\n"


class Broken(Exception):
    """The run did not show what it should."""


@contextmanager
def simulator(family: str, serial: str, *options: str) -> Iterator[tuple["Child", str, str]]:
    """A simulator with its URL and its attach command as seen from inside."""
    listen = ("--listen", "usbip:127.0.0.1:0", "--serial-number", serial)
    command = [sys.executable, "-m", "hil.cli", "simulate", family, *listen, *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        if not line:
            raise Broken(f"{shlex.join(command)} did not start")
        told = json.loads(line)
        words = shlex.split(told["attach"])
        words[words.index("-r") + 1] = HOST_SEEN_FROM_INSIDE
        yield child, told["listening"], shlex.join(words)
    finally:
        child.kill()
        child.communicate()


Child = subprocess.Popen[str]


def inside_command(devices: list[str]) -> str:
    """The command line that the machine runs."""
    environment = {
        "PATH": PATHS,
        "HOME": "/tmp",
        "XDG_STATE_HOME": "/tmp/state",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "300",
    }
    words = [f"{name}={value}" for name, value in environment.items()]
    guest = [sys.executable, "-m", f"{__package__}.guest", *devices]
    return shlex.join(["/usr/bin/env", "-i", "-C", str(ROOT), *words, *guest])


def watch(machine: Child, pull: Child) -> Iterator[dict[str, Any]]:
    """What is told on the console, as it comes; everything goes into the log."""
    assert machine.stdout is not None
    with LOG.open("w", encoding="utf-8") as log:
        for line in machine.stdout:
            log.write(line)
            log.flush()
            _, found, told = line.partition(TELLS)
            if not found:
                continue
            step = json.loads(told)
            if step["step"] == "pull":
                pull.send_signal(signal.SIGKILL)
            else:
                yield step


def run() -> int:
    """The whole run; the number of steps that were right."""
    CACHE.mkdir(exist_ok=True)
    check_tools()
    began = time.monotonic()
    kernel = get_kernel(CACHE)
    print(f"kernel: {kernel.name}, {time.monotonic() - began:.1f} s")
    faults = CACHE / "faults.yaml"
    faults.write_text(STALL, "utf-8")
    right = 0
    with ExitStack() as stack:
        pump = stack.enter_context(simulator("pump", "ITP-KERNEL", "--faults", str(faults)))
        stimulator = stack.enter_context(simulator("stimulator", "SCS-KERNEL"))
        initramfs = CACHE / "initramfs"
        write_initramfs(initramfs, kernel, inside_command([*pump[1:], *stimulator[1:]]))
        began = time.monotonic()
        machine = subprocess.Popen(
            qemu_command(kernel, initramfs),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        limit = threading.Timer(LIMIT_S, machine.kill)
        stack.callback(machine.wait)
        stack.callback(machine.kill)
        stack.callback(limit.cancel)
        limit.start()
        for step in watch(machine, pump[0]):
            if "wrong" in step:
                raise Broken(f"{step['step']}: {step['wrong']}")
            if step["step"] == "all":
                if step["count"] != right:
                    raise Broken(f"{step['count']} steps inside, {right} told")
                print(f"all {right} steps in {time.monotonic() - began:.1f} s, starting included")
                return right
            right += 1
            print(f"  {step['ms'] / 1_000:6.1f} s  {step['step']}: {step['about']}")
            print(f"            {step['said'][:160]}", flush=True)
    raise Broken(f"the machine ended after {right} steps, or after {LIMIT_S:.0f} s")


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
    sys.exit(main())
