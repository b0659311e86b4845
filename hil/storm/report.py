"""What a person sees of many storms: a table, and for each failure the way to see it again."""

from collections.abc import Iterator, Mapping

from rich.table import Table

from hil.storm.plan import Plan
from hil.storm.runner import Outcome, Tally

SHOWN = 10
"""Failing seeds that are told one by one."""
NO_DIGEST = "none, it broke down"


def replay_command(plan: Plan, days: int) -> str:
    """The one command that replays a seed to the byte."""
    return f"neuraxis storm --device {plan.family} --seeds {plan.seed} --days {days}"


def sentences(tally: Tally, days: int) -> Iterator[str]:
    """The failures, each with its command."""
    failing = sorted(tally.failing, key=lambda one: (one.plan.family, one.plan.seed))
    for outcome in failing[:SHOWN]:
        yield from about(outcome, replay_command(outcome.plan, days))
        yield f"  digest {outcome.digest or NO_DIGEST}"
    if len(failing) > SHOWN:
        rest = ", ".join(str(one.plan.seed) for one in failing[SHOWN : SHOWN + 20])
        yield f"and {len(failing) - SHOWN} more failing seeds: {rest}"


def about(outcome: Outcome, command: str) -> Iterator[str]:
    """One failure."""
    yield f"{outcome.plan.family}, seed {outcome.plan.seed}:"
    yield from (f"  {sentence}" for sentence in outcome.wrong[:5])
    if len(outcome.wrong) > 5:
        yield f"  and {len(outcome.wrong) - 5} more"
    yield f"  again: {command}"


def table_of(tally: Tally) -> Table:
    """What was drawn, in how many seeds; what was reached, how often."""
    table = Table(title=f"{tally.seeds} storms", title_justify="left", expand=False)
    for column, justify in (
        ("drawn", "left"),
        ("seeds", "right"),
        ("reached", "left"),
        ("times", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    left, right = _rows(tally.drew), _rows(tally.reached)
    for row in range(max(len(left), len(right))):
        drawn = left[row] if row < len(left) else ("", "")
        reached = right[row] if row < len(right) else ("", "")
        table.add_row(*drawn, *reached)
    return table


def _rows(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, str(counts[name])) for name in sorted(counts)]


def as_json(tally: Tally, days: int) -> dict[str, object]:
    """The same for programs."""
    return {
        "schema": "neuraxis.storm/1",
        "seeds": tally.seeds,
        "core_seconds": round(tally.seconds, 3),
        "drawn": dict(sorted(tally.drew.items())),
        "reached": dict(sorted(tally.reached.items())),
        "failing": [
            {
                "device": one.plan.family,
                "seed": one.plan.seed,
                "wrong": list(one.wrong),
                "again": replay_command(one.plan, days),
                "digest": one.digest,
            }
            for one in tally.failing
        ],
    }
