"""`storm`: the whole system under weather, breakdowns and people, on virtual time."""

import shlex
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from device_profiles.errors import UsageError
from hil.commands.options import Format, FormatOption
from hil.commands.shell import errors, guarded, out, print_json, tell
from hil.exit_codes import DONE, INTERNAL_ERROR, INTERRUPTED, TERMINATED
from hil.storm.draw import draw
from hil.storm.plan import Family, Plan
from hil.storm.plan_file import read_plan
from hil.storm.report import NO_DIGEST, about, as_json, sentences, table_of
from hil.storm.run import run_storm
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
    run_plan,
)
from hil.storm.shrink import shrink
from hil.storm.story import Line, story_of

LONGEST_DAYS = 366


class Device(StrEnum):
    """Which storms to run."""

    PUMP = "pump"
    STIMULATOR = "stimulator"
    BOTH = "both"


def storm(
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
        Path, typer.Option("--save", metavar="FOLDER", help="Where smaller plans are put.")
    ] = Path(),
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

    def work() -> int:
        if story and plan is None:
            raise UsageError("--story tells one storm: name it by --plan FILE (--shrink makes one)")
        if plan is not None:
            lines = story_of(run_storm(read_plan(plan))) if story else []
            return _one(read_plan(plan), plan, smaller, save, form, lines)
        wanted = parse_seeds(seeds)
        families: list[Family] = [
            family for family in ("pump", "stimulator") if kind in (Device.BOTH, Device(family))
        ]
        engine = on_cluster(cluster) if cluster else on_cores(jobs or all_cores())
        tally, ended = _run(engine, chunks_of(families, wanted, days), form)
        _show(tally, days, form)
        if not tally.failing:
            return ended
        if smaller and ended == DONE:
            first = min(tally.failing, key=lambda one: one.plan.seed)
            _shrink(draw(first.plan.seed, first.plan.family, days), save)
        return INTERNAL_ERROR

    guarded(form, work)


def _run(engine: Engine, chunks: Sequence[Chunk], form: Format) -> tuple[Tally, int]:
    """What came of the chunks, and DONE; of those that were run, and the code, where it ends early.

    What was found until then is worth hours, and is shown all the same.
    """
    wanted, total = sum(chunk.count for chunk in chunks), Tally()
    try:
        with _sigterm_interrupts(), _progress(wanted, form) as advance:
            for tally in engine(chunks):
                total += tally
                advance(tally)
    except KeyboardInterrupt as end:
        tell(f"interrupted: {total.seeds} of {wanted} storms were run")
        return total, TERMINATED if end.args else INTERRUPTED
    except BrokenExecutor:
        tell(
            f"a worker process was killed, for want of memory perhaps: {total.seeds} of {wanted} "
            "storms were run; take fewer --jobs"
        )
        return total, INTERNAL_ERROR
    return total, DONE


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM is a KeyboardInterrupt, with the signal in it: workers are never left behind."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(total: int, form: Format) -> Iterator["_Advance"]:
    columns = (
        TextColumn("storms"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failing]} failing"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors(), disable=form is Format.JSON) as bar:
        yield _Advance(bar, bar.add_task("storms", total=total, failing=0))


class _Advance:
    """Moves the bar on."""

    def __init__(self, bar: Progress, task: object) -> None:
        self._bar, self._task, self._failing = bar, task, 0

    def __call__(self, tally: Tally) -> None:
        self._failing += len(tally.failing)
        self._bar.update(self._task, advance=tally.seeds, failing=self._failing)  # type: ignore[arg-type]


def _show(tally: Tally, days: int, form: Format) -> None:
    if form is Format.JSON:
        print_json(as_json(tally, days))
        return
    console = out()
    console.print(table_of(tally))
    for sentence in sentences(tally, days):
        console.print(Text(sentence))
    speed = tally.seeds / tally.seconds if tally.seconds else 0.0
    console.print(
        Text(f"{tally.seeds} storms, {len(tally.failing)} failing; {speed:.0f} a second and core")
    )


def _one(plan: Plan, path: Path, smaller: bool, save: Path, form: Format, story: list[Line]) -> int:
    outcome = run_plan(plan)
    if form is Format.JSON:
        value = {"schema": "neuraxis.storm-plan/1", "digest": outcome.digest}
        told = {"story": [line._asdict() for line in story]} if story else {}
        print_json(value | {"wrong": list(outcome.wrong)} | told)
    else:
        for line in story:
            out().print(Text(str(line)), soft_wrap=True)
        _tell(outcome, _again(path))
    if not outcome.wrong:
        return DONE
    if smaller:
        _shrink(plan, save)
    return INTERNAL_ERROR


def _again(path: Path) -> str:
    return f"neuraxis storm --plan {shlex.quote(str(path))}"


def _tell(outcome: Outcome, command: str) -> None:
    console = out()
    for name, times in sorted(outcome.reached.items()):
        console.print(Text(f"  {times:>5}  {name}"))
    for sentence in about(outcome, command) if outcome.wrong else ("nothing was wrong",):
        console.print(Text(sentence))
    console.print(Text(f"digest {outcome.digest or NO_DIGEST}"))


def _shrink(plan: Plan, save: Path) -> None:
    try:
        save.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--save {save} cannot be a folder: {error.strerror}") from error
    console = errors()
    console.print(Text(f"shrinking seed {plan.seed}: {len(plan.acts)} acts"))
    small = shrink(plan, lambda now: console.print(Text(f"  {len(now.acts)} acts")))
    path = save / f"storm-{plan.family}-{plan.seed}.yaml"
    try:
        path.write_text(small.text(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    console.print(Text(f"{len(small.acts)} acts are left; again: {_again(path)}"))
