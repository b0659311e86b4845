"""What is the same whoever plays the kernel: the simulators, and the steps told by the job."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from .job import TELLS

ROOT = Path(__file__).parents[2]
STALL = "- {at: status 1, fault: stall}\n"
"""The faults of the pump: see `Job.status_through_a_stall`."""
Child = subprocess.Popen[str]


class Broken(Exception):
    """The run did not show what it should."""


@dataclass(frozen=True)
class Exported:
    """A simulator that listens for USB/IP, its URL and its `usbip attach` command."""

    process: Child
    url: str
    attach: str


@contextmanager
def simulator(family: str, serial: str, *options: str) -> Iterator[Exported]:
    """A simulator as a process of its own, until the end."""
    listen = ("--listen", "usbip:127.0.0.1:0", "--serial-number", serial)
    command = [sys.executable, "-m", "hil.cli", "simulate", family, *listen, *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        if not line:
            raise Broken(f"{shlex.join(command)} did not start")
        told = json.loads(line)
        yield Exported(child, told["listening"], told["attach"])
    finally:
        child.kill()
        child.communicate()


def steps_of(worker: Child, pump: Child, log: TextIO) -> Iterator[dict[str, Any]]:
    """The steps that a job tells, as they come; pulls the cable of the pump when it asks for it.

    Everything that is said goes into the log. Raises Broken for a step that went wrong, and if
    the job ends before its end.
    """
    assert worker.stdout is not None
    count = 0
    for line in worker.stdout:
        log.write(line)
        log.flush()
        _, found, told = line.partition(TELLS)
        if not found:
            continue
        step = json.loads(told)
        if "wrong" in step:
            raise Broken(f"{step['step']}: {step['wrong']}")
        if step["step"] == "pull":
            pump.kill()
        elif step["step"] != "all":
            count += 1
            yield step
        elif step["count"] == count:
            return
        else:
            break
    raise Broken(f"it ended after {count} steps")
