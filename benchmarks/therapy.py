"""(b) A therapy command against what it cannot do without: its round trips and a durable intent.

The command raises the amplitude of a running stimulator by a step. The other side asks as many
queries as the command makes round trips, over the same link, and appends one entry of the
intent's size to a file on the journal's disk, with one fdatasync.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter_ns

from benchmarks.device import (
    RecordingDisk,
    RecordingLink,
    controlled,
    scratch_folder,
    stimulator_process,
)
from benchmarks.examples import STIMULATION
from benchmarks.harness import Block, Row, each_awaited, interleave, percentile
from device_profiles.quantities import MicroAmps
from firmware_bridge.families.scs.controller import StimulatorController
from hil.check import check_file, wall_now
from hil.run import apply_plan, plan_for

ROUNDS = 60
CALLS = 20
TARGET = 1.3
LOW, STEP = 1_000, 100
"""uA; ``CALLS`` steps up from ``LOW`` stay below the example's ceiling of 6 mA."""


def measure(rounds: int = ROUNDS, calls: int = CALLS) -> list[Row]:
    """The therapy command, its necessary work in one piece, and that work's two parts."""
    return asyncio.run(_measure(rounds, calls))


async def _measure(rounds: int, calls: int) -> list[Row]:
    with scratch_folder() as folder, stimulator_process(folder) as url:
        link = RecordingLink(url)
        disk = RecordingDisk(folder / "journal")
        async with controlled(link, disk, folder / "anchor") as controller:
            await _start(controller)
            round_trips = await _round_trips(controller)
            entry = bytes(disk.synced)
            with _durable_file(folder / "plain") as write:

                async def necessary() -> None:
                    for _ in range(round_trips):
                        await controller.sample()
                    write(entry)

                async def written() -> None:
                    write(entry)

                async with _kept_alive(controller):
                    command, basis, query, write_only = await interleave(
                        [
                            raises(controller, calls),
                            each_awaited(necessary, calls),
                            each_awaited(controller.sample, calls),
                            each_awaited(written, calls),
                        ],
                        rounds,
                    )
    return [_row(command, basis, query, write_only, round_trips, len(entry))]


def _row(
    command: list[int],
    basis: list[int],
    query: list[int],
    write_only: list[int],
    round_trips: int,
    size: int,
) -> Row:
    whole, least, asked, synced = (
        percentile(samples, 0.5) / 1000 for samples in (command, basis, query, write_only)
    )
    text = (
        f"p50 {whole:.0f} us; {round_trips} query + write {least:.0f} us "
        f"(alone {asked:.0f} and {synced:.0f}; {size} bytes)"
    )
    return Row("b", "therapy command / queries + write", whole / least, "x", TARGET, text)


def raises(controller: StimulatorController, calls: int) -> Block:
    """A block of raises by one step each; before it, untimed, the amplitude goes down again."""

    async def block() -> list[int]:
        await controller.set_amplitude(None, MicroAmps(LOW))
        samples = []
        for number in range(1, calls + 1):
            start = perf_counter_ns()
            await controller.set_amplitude(None, MicroAmps(LOW + number * STEP))
            samples.append(perf_counter_ns() - start)
        return samples

    return block


async def _start(controller: StimulatorController) -> None:
    """Takes the example all the way to a running program, as `neuraxis run` does."""
    check = check_file(STIMULATION, None, wall_now())
    plan = await plan_for(controller, check)
    await apply_plan(controller, check, plan.digest, None)
    await controller.measure()
    await controller.start(controller.state.programs[0])


async def _round_trips(controller: StimulatorController) -> int:
    """How often one command asks the device and waits for its answer."""
    await controller.set_amplitude(None, MicroAmps(LOW))
    before = controller.session.counts.sent
    await controller.set_amplitude(None, MicroAmps(LOW + STEP))
    return controller.session.counts.sent - before


@contextmanager
def _durable_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A function that appends bytes to a file and returns once they survive a power cut."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(entry: bytes) -> None:
        os.write(descriptor, entry)
        os.fdatasync(descriptor)

    try:
        yield write
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _kept_alive(controller: StimulatorController) -> AsyncIterator[None]:
    """Renews the lease meanwhile; four frames in two seconds, on both sides alike."""
    keeper = asyncio.create_task(controller.keep_alive())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})
