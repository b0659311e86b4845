"""What `storm` says while it runs: how far it is, and each failing seed as it is found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hil.commands.options import Format
from hil.commands.shell import errors
from hil.storm.report import SHOWN, replay_command
from hil.storm.runner import Tally

EVERY_S = 60.0
"""How often a line says how far the storms are, where no bar can."""

Moved = Callable[[int, int], None]
"""Hears how many storms were run, and how many of them failed."""


@contextmanager
def progress(total: int, days: int, form: Format) -> Iterator[Callable[[Tally], None]]:
    """What hears of each tally as it comes in."""
    console = errors()
    if form is Format.JSON or not console.is_terminal:
        yield Advance(console, days, Lines(console, total))
        return
    columns = (
        TextColumn("storms"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failing]} failing"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("storms", total=total, failing=0)
        yield Advance(
            console, days, lambda run, failing: bar.update(task, completed=run, failing=failing)
        )


class Advance:
    """Adds tallies up, and tells the first failing seeds at once: nobody waits hours for them."""

    def __init__(self, console: Console, days: int, moved: Moved) -> None:
        self._console, self._days, self._moved = console, days, moved
        self._run = self._failing = 0

    def __call__(self, tally: Tally) -> None:
        for outcome in tally.failing[: max(0, SHOWN - self._failing)]:
            plan = outcome.plan
            again = replay_command(plan, self._days)
            self._console.print(Text(f"{plan.family}, seed {plan.seed} fails; again: {again}"))
        self._run += tally.seeds
        self._failing += len(tally.failing)
        self._moved(self._run, self._failing)


class Lines:
    """A line every minute, for those who read a file."""

    def __init__(
        self, console: Console, total: int, now_s: Callable[[], float] = monotonic
    ) -> None:
        self._console, self._total, self._now_s = console, total, now_s
        self._begun = self._last = now_s()

    def __call__(self, run: int, failing: int) -> None:
        now = self._now_s()
        if now - self._last < EVERY_S:
            return
        self._last = now
        left = (now - self._begun) * (self._total - run) / run / 60
        self._console.print(
            Text(
                f"{run:,} of {self._total:,} storms, {failing:,} failing, about "
                f"{max(1, round(left))} min left"
            )
        )
