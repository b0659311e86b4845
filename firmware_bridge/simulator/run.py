"""A simulator as a process of its own: one device behind one port, until it is told to end."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from device_profiles.errors import UsageError
from device_profiles.serial_number import check_serial_number
from firmware_bridge.clock import Clock
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import machine_kind
from firmware_bridge.simulator.faults import PlannedFault, read_faults
from firmware_bridge.simulator.memory import MemoryFile
from firmware_bridge.simulator.ports import hold, port_for
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.truth import TruthFile

MAX_SPEED = 1_000_000


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """What ``neuraxis simulate`` can be told; ``family`` is ``stimulator`` or ``pump``.

    ``error_ppm`` is the error of a pump's strokes. ``key_of`` gives the key of the serial number it
    turns out to have; ``None``: it seals nothing. With ``until_parent_ends`` the end of standard
    input ends the simulator, as soon as its device is quiet.
    """

    family: str
    listen: str
    serial_number: str | None = None
    state: Path | None = None
    truth: Path | None = None
    seed: int = 0
    speed: int = 1
    faults: Path | None = None
    error_ppm: int = 0
    until_parent_ends: bool = False
    key_of: Callable[[str], DeviceKey | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a simulator can be reached, as a device URL, and who will answer there.

    ``attach`` is the command that first brings it to the host's machine, where it takes one.
    """

    url: str
    serial: str
    attach: str = ""

    def as_json(self) -> dict[str, str]:
        """What a simulator announces, for one line of JSON."""
        told = {"listening": self.url, "serial": self.serial}
        return told | ({"attach": self.attach} if self.attach else {})


async def run_simulator(
    options: SimulatorOptions,
    clock: Clock,
    ready: Callable[[Listening], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Simulates a device until ``stop``, SIGTERM, SIGINT or the end of the parent.

    ``ready`` is called once, when the port is open. At the end the output of a stimulator is
    off, state and truth are complete and the port is gone. Raises UsageError and LinkError.
    """
    stop = stop or asyncio.Event()
    failure: list[Exception] = []

    def fail(error: Exception) -> None:
        failure.append(error)
        stop.set()

    with contextlib.ExitStack() as cleanup:
        if options.state is not None:
            lock = FileLock(f"{options.state}.lock", blocking=False)
            hold(lock, f"another simulator uses the state file {options.state}")
            cleanup.callback(lock.release)
        runner = DeviceRunner(make_device(options, clock), clock, fail)
        cleanup.callback(runner.close)
        port = port_for(options.listen, runner)
        for number in _catch_signals(stop):
            cleanup.callback(asyncio.get_running_loop().remove_signal_handler, number)
        await port.open()
        try:
            runner.connect(port)
            ready(Listening(port.url, runner.device.serial, port.attach))
            if options.until_parent_ends:
                await _stop_or_parent_end(runner, stop)
            else:
                await stop.wait()
        finally:
            await port.close()
        if failure:
            raise failure[0]


def make_device(options: SimulatorOptions, clock: Clock) -> SimulatedDevice:
    """The device that options describe; raises UsageError."""
    kind = machine_kind(options.family)
    if not 1 <= options.speed <= MAX_SPEED:
        raise UsageError(f"a simulator's speed is 1 to {MAX_SPEED}, not {options.speed}")
    if options.serial_number is not None:
        check_serial_number(options.serial_number)
    faults: tuple[PlannedFault, ...] = ()
    if options.faults is not None:
        faults = read_faults(options.faults, options.family, kind.requests.values())
    return SimulatedDevice(
        kind,
        wall_ms=clock.wall_ms(),
        serial=options.serial_number,
        speed=options.speed,
        seed=options.seed,
        error_ppm=options.error_ppm,
        memory=MemoryFile(options.state) if options.state is not None else None,
        truth=TruthFile(options.truth) if options.truth is not None else None,
        faults=faults,
        key_of=options.key_of,
    )


async def _stop_or_parent_end(runner: DeviceRunner, stop: asyncio.Event) -> None:
    """Waits for ``stop``, or for the end of standard input and then for a quiet device."""
    parent_ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_to_the_end() -> None:
        # A plain thread on the bare descriptor: the only way to wait for the end of a pipe that
        # works on every system, and a daemon, for nothing can wake it.
        with contextlib.suppress(OSError):
            while os.read(0, 4_096):
                pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(parent_ended.set)

    async def quiet_after_parent() -> None:
        await parent_ended.wait()
        await runner.until_quiet()

    threading.Thread(target=read_to_the_end, name="parent", daemon=True).start()
    waits = {
        asyncio.ensure_future(stop.wait()),
        asyncio.ensure_future(quiet_after_parent()),
    }
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _catch_signals(stop: asyncio.Event) -> list[int]:
    """Lets SIGTERM and SIGINT set ``stop``; the signals caught."""
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not the main thread, or a system without: then only ``stop`` ends the simulator.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
            caught.append(number)
    return caught
