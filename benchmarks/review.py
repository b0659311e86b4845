"""(d) One review of an example program against the codec's work on one message, as in (c)."""

import asyncio
from collections.abc import Callable

from benchmarks.codec import message_way
from benchmarks.examples import INFUSION, STIMULATION, WALL_MS
from benchmarks.harness import Row, interleave, mean, percentile
from device_profiles.diagnostics import Finding
from hil.check import check_file
from safety.commands import ProgramPump, ProgramStimulator
from safety.limits import pump_limits
from safety.review import review_infusion, review_stimulation

ROUNDS = 100
CALLS = 20
TARGET = 15.0

Review = Callable[[], tuple[Finding, ...]]


def measure(rounds: int = ROUNDS, calls: int = CALLS) -> list[Row]:
    """The first program of each example, judged by every rule as the kernel asks for it."""
    return asyncio.run(_measure(rounds, calls))


async def _measure(rounds: int, calls: int) -> list[Row]:
    stimulation, infusion = stimulation_review(), infusion_review()
    sides = [mean(side, calls) for side in (stimulation, infusion, message_way())]
    one, other, frame = (
        percentile(samples, 0.5) / 1000 for samples in await interleave(sides, rounds)
    )
    return [
        _row("stimulation", one, frame),
        _row("infusion", other, frame),
    ]


def _row(what: str, review: float, frame: float) -> Row:
    basis = f"{review:.0f} us; (c) {frame:.2f} us"
    return Row("d", f"review of the {what} example / (c)", review / frame, "x", TARGET, basis)


def stimulation_review() -> Review:
    """A review of the first program of the stimulation example."""
    command = check_file(STIMULATION, None, WALL_MS).command
    assert isinstance(command, ProgramStimulator)
    programs, profile = command.programs[:1], command.profile
    return lambda: review_stimulation(programs, profile)


def infusion_review() -> Review:
    """A review of the infusion example, all start limits included."""
    command = check_file(INFUSION, None, WALL_MS).command
    assert isinstance(command, ProgramPump)
    limits, _ = pump_limits(command.therapy, command.formulary)
    return lambda: review_infusion(
        command.program,
        command.therapy,
        limits,
        command.profile,
        command.formulary,
        tuple(drug.name for drug in command.program.drugs),
    )
