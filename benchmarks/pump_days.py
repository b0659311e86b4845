"""(e) How many days of a simulated pump pass in one second, on the virtual clock.

The pump delivers the infusion example. A controller polls it every 30 minutes through session,
codec and an in-process link; beside it the pump's physics runs alone, in steps as long.
"""

import asyncio

from benchmarks.device import complain, scratch_folder
from benchmarks.examples import INFUSION, WALL_MS
from benchmarks.harness import Row, each, each_awaited, interleave, percentile
from firmware_bridge.clock import NS_PER_S, VirtualClock, run_virtual
from firmware_bridge.families.itp.body import PumpBody
from firmware_bridge.families.itp.wire import WireStep
from firmware_bridge.families.table import AnyController, connect
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import machine_kind
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.truth import NoTruth
from hil.check import Check, check_file
from hil.run import apply_plan, plan_for
from safety.commands import ProgramPump
from safety.journal import Anchor, FileDisk

ROUNDS = 10
DAYS = 5
"""A block; all blocks together end before the example's reservoir is low, after 66 days."""
POLL_MS = 30 * 60 * 1_000
POLLS_A_DAY = 48


def measure(rounds: int = ROUNDS, days: int = DAYS) -> list[Row]:
    """Days a second: with a controller that polls, and of the physics alone."""
    return run_virtual(lambda clock: _measure(clock, rounds, days), WALL_MS)


async def _measure(clock: VirtualClock, rounds: int, days: int) -> list[Row]:
    check = check_file(INFUSION, None, WALL_MS)
    with scratch_folder() as folder:
        disk = FileDisk(folder / "journal")
        runner = DeviceRunner(SimulatedDevice(machine_kind("pump"), wall_ms=clock.wall_ms()), clock)
        settings = Settings(
            clock, lambda serial: JournalPlace(disk, Anchor(folder / "anchor")), complain
        )
        controller = await connect(InProcessLink(runner), None, settings)
        try:
            plan = await plan_for(controller, check)
            await apply_plan(controller, check, plan.digest, None)
            body = filled_body(check)
            polled, alone = await interleave(
                [
                    each_awaited(lambda: polled_day(controller), days),
                    each(lambda: day_of(body), days),
                ],
                rounds,
            )
        finally:
            await controller.close()
            runner.close()
            disk.close()
    return [
        _row("simulated pump, polled every 30 min", polled),
        _row("its physics alone", alone),
    ]


def _row(what: str, days_ns: list[int]) -> Row:
    median = percentile(days_ns, 0.5)
    basis = f"{median / 1_000_000:.2f} ms a day; {len(days_ns)} days"
    return Row("e", what, NS_PER_S / median, "days/s", None, basis)


async def polled_day(controller: AnyController) -> None:
    """A day on the virtual clock in which somebody looks every 30 minutes."""
    for _ in range(POLLS_A_DAY):
        await asyncio.sleep(POLL_MS / 1_000)
        await controller.sample()


def day_of(body: PumpBody) -> None:
    """A day of physics in steps of 30 minutes."""
    for _ in range(POLLS_A_DAY):
        body.advance(body.t_ms + POLL_MS)


def filled_body(check: Check) -> PumpBody:
    """A pump's body that delivers the program of a file."""
    assert isinstance(check.command, ProgramPump)
    program = check.command.program
    body = PumpBody(NoTruth(), born_ms=WALL_MS)
    mix = tuple((drug.name, int(drug.concentration)) for drug in program.drugs)
    body.fill(program.fill_volume, mix, catheter=program.catheter, primed=program.primed)
    steps = [WireStep(start=step.start, flow=step.flow) for step in program.basal]
    body.follow(steps, program.utc_offset_min)
    return body
