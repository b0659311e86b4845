"""`storm`: the whole system under weather, breakdowns and people, on virtual time."""

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from device_profiles.errors import UsageError
from hil.commands.options import Format, FormatOption
from hil.commands.shell import guarded, out, print_json, tell
from hil.commands.storm_progress import progress
from hil.commands.storm_shrink import again, folder_for, shrink_and_save
from hil.exit_codes import DONE, INTERNAL_ERROR
from hil.interrupt import code_of_interrupt, signals_interrupt
from hil.storm.plan import LONGEST_DAYS, Family, Plan
from hil.storm.plan_file import read_plan
from hil.storm.report import NO_DIGEST, about, as_json, sentences, table_of
from hil.storm.runner import (
    Chunk,
    Engine,
    Outcome,
    Tally,
    all_cores,
    chunks_of,
    on_cluster,
    on_cores,
    parse_seeds,
    run_and_record,
)
from hil.storm.story import Line, story_of

OF_SEEDS = {
    "seeds": "--seeds",
    "kind": "--device",
    "days": "--days",
    "jobs": "--jobs",
    "cluster": "--cluster",
}
"""The options that say nothing to a plan of a file."""


class Device(StrEnum):
    """Which storms to run."""

    PUMP = "pump"
    STIMULATOR = "stimulator"
    BOTH = "both"


def storm(
    context: typer.Context,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="A..B", help="Which seeds, both ends included.")
    ] = "1..100",
    kind: Annotated[Device, typer.Option("--device", help="Which device.")] = Device.BOTH,
    days: Annotated[
        int,
        typer.Option(
            "--days",
            min=1,
            max=LONGEST_DAYS,
            help="Days of a pump's therapy; a stimulator's session lasts 4 minutes for each.",
        ),
    ] = 1,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Run this plan instead of seeds."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, metavar="N", help="Processes; default: all cores."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="ADDRESS", help="A Dask scheduler, like tcp://10.0.0.1:8786."
        ),
    ] = None,
    smaller: Annotated[
        bool, typer.Option("--shrink", help="Make the first failing plan smaller, and save it.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FOLDER", help="With --shrink: where the smaller plan is put."
        ),
    ] = None,
    story: Annotated[
        bool,
        typer.Option("--story", help="With --plan: tell it in its order, each frame included."),
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Run the whole system through simulated storms, each drawn from its seed.

    Controller, judge, journal and a simulated device, while line, disk, clocks, hosts and people
    misbehave. The device's own truth is judged: nothing over a limit, no basal lowered unasked.
    The same seed gives the same bytes.
    """
    given = [option for name, option in OF_SEEDS.items() if _is_given(context, name)]

    def work() -> int:
        if story and plan is None:
            raise UsageError("--story tells one storm: name it by --plan FILE (--shrink makes one)")
        if save is not None and not smaller:
            raise UsageError("--save says where --shrink puts its plan: add --shrink")
        if plan is not None and given:
            raise UsageError(
                f"--plan FILE runs what is in the file: leave out {', '.join(given)}, or --plan"
            )
        if cluster is not None and jobs is not None:
            raise UsageError("--jobs is for this machine: leave it out, or --cluster")
        if cluster is not None and not cluster.strip():
            raise UsageError("--cluster needs the address of a scheduler, like tcp://10.0.0.1:8786")
        if plan is not None:
            return _one(read_plan(plan), plan, folder(), form, story=story)
        families: list[Family] = [
            family for family in ("pump", "stimulator") if kind in (Device.BOTH, Device(family))
        ]
        engine = on_cluster(cluster) if cluster else on_cores(jobs or all_cores())
        chunks = chunks_of(families, parse_seeds(seeds), days)
        return _many(engine, chunks, days, folder(), form)

    def folder() -> Path | None:
        return folder_for(save or Path()) if smaller else None

    def interruptible() -> int:
        try:
            with signals_interrupt():
                return work()
        except KeyboardInterrupt as end:
            tell("interrupted")
            return code_of_interrupt(end)

    guarded(form, interruptible)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _many(
    engine: Engine, chunks: Sequence[Chunk], days: int, folder: Path | None, form: Format
) -> int:
    tally, ended = _run(engine, chunks, days, form)
    failing = min(tally.failing, key=lambda one: one.plan.seed, default=None)
    _show(
        form,
        as_json(tally, days),
        lambda: _tell_many(tally, days),
        failing if ended == DONE else None,
        folder,
    )
    return INTERNAL_ERROR if failing is not None else ended


def _one(plan: Plan, path: Path, folder: Path | None, form: Format, *, story: bool) -> int:
    outcome, record = run_and_record(plan)
    lines = story_of(record) if story and record is not None else []
    value: dict[str, Any] = {"schema": "neuraxis.storm-plan/1", "digest": outcome.digest}
    value |= {"wrong": list(outcome.wrong)}
    value |= {"story": [line._asdict() for line in lines]} if lines else {}
    failing = outcome if outcome.wrong else None
    _show(form, value, lambda: _tell_one(outcome, path, lines), failing, folder)
    return DONE if failing is None else INTERNAL_ERROR


def _show(
    form: Format,
    value: dict[str, Any],
    tell_it: Callable[[], None],
    failing: Outcome | None,
    folder: Path | None,
) -> None:
    """What came of it: as text before a failing plan is made smaller, as JSON with that in it."""
    if form is Format.TEXT:
        tell_it()
    if failing is not None and folder is not None:
        saved = shrink_and_save(failing.plan, folder)
        value |= {"shrunk": None if saved is None else str(saved)}
    if form is Format.JSON:
        print_json(value)


def _run(engine: Engine, chunks: Sequence[Chunk], days: int, form: Format) -> tuple[Tally, int]:
    """What came of the chunks, and DONE; of those that were run, and the code, where it ends early.

    What was found until then is worth hours, and is shown all the same.
    """
    wanted, total = sum(chunk.count for chunk in chunks), Tally()
    try:
        with signals_interrupt() as heed, progress(wanted, days, form) as advance:
            for tally in engine(chunks):
                total += tally
                advance(tally)
                heed()
    except KeyboardInterrupt as end:
        tell(f"interrupted: {total.seeds} of {wanted} storms were run")
        return total, code_of_interrupt(end)
    except BrokenExecutor:
        tell(
            f"a worker process was killed, for want of memory perhaps: {total.seeds} of {wanted} "
            "storms were run; take fewer --jobs"
        )
        return total, INTERNAL_ERROR
    return total, DONE


def _tell_many(tally: Tally, days: int) -> None:
    console = out()
    console.print(table_of(tally))
    for sentence in sentences(tally, days):
        console.print(Text(sentence))
    speed = tally.seeds / tally.seconds if tally.seconds else 0.0
    console.print(
        Text(f"{tally.seeds} storms, {len(tally.failing)} failing; {speed:.0f} a second and core")
    )


def _tell_one(outcome: Outcome, path: Path, story: Sequence[Line]) -> None:
    console = out()
    for line in story:
        console.print(Text(str(line)))
    for name, times in sorted(outcome.reached.items()):
        console.print(Text(f"  {times:>5}  {name}"))
    for sentence in about(outcome, again(path)) if outcome.wrong else ("nothing was wrong",):
        console.print(Text(sentence))
    console.print(Text(f"digest {outcome.digest or NO_DIGEST}"))
