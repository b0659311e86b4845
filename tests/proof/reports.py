"""What the methods found, as two tables and as a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from .evidence import Evidence, Planted

KEPT_IN = Path(__file__).parents[2] / "docs" / "evidence.json"


def unfound(evidence: Sequence[Evidence]) -> list[str]:
    """Planted bugs that no method found."""
    found = {one.bug for method in evidence for one in method.planted if one.found}
    bugs = dict.fromkeys(one.bug for method in evidence for one in method.planted)
    return [bug for bug in bugs if bug not in found]


def show(evidence: Sequence[Evidence], console: Console | None = None) -> None:
    """The methods, then which of them found which planted bug, then what is wrong in words."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=150)
    console.print(_of_methods(evidence))
    console.print(_of_bugs(evidence))
    for method in evidence:
        for sentence in method.violations:
            console.print(f"violation ({method.method}): {sentence}", style="red", markup=False)
    for bug in unfound(evidence):
        console.print(f"found by no method: {bug}", style="red", markup=False)


def _of_methods(evidence: Sequence[Evidence]) -> Table:
    table = Table(title="Methods")
    table.add_column("method", no_wrap=True)
    table.add_column("covered", min_width=30, ratio=1)
    for heading in ("violations", "refused of asked", "p99", "planted found", "s"):
        table.add_column(heading, justify="right", no_wrap=heading == "s")
    for one in evidence:
        expected = [bug for bug in one.planted if bug.expected]
        table.add_row(
            one.method,
            one.covered,
            f"{len(one.violations)}",
            "" if one.asked is None else f"{one.refused} of {one.asked:,}",
            "" if one.denial_p99_ms is None else f"{one.denial_p99_ms / 3_600_000:.1f} h",
            f"{sum(bug.found for bug in one.planted)} of {len(one.planted)} ({len(expected)})",
            f"{one.seconds:.0f}",
        )
    return table


def _of_bugs(evidence: Sequence[Evidence]) -> Table:
    table = Table(title="Planted bugs, and how soon they were found")
    table.add_column("bug", ratio=1)
    table.add_column("found", ratio=1)
    found: dict[str, list[str]] = {}
    for method in evidence:
        for one in method.planted:
            found.setdefault(one.bug, []).append(f"{method.method}: {_how_soon(one)}")
    for bug, ways in found.items():
        table.add_row(bug, "\n".join(ways))
    return table


def _how_soon(planted: Planted) -> str:
    if planted.found:
        return planted.how_soon
    return "missed" if planted.expected else "cannot see it"


def write(evidence: Sequence[Evidence], place: Path = KEPT_IN) -> None:
    """Keeps what was found, for the safety case; times to the nearest ten seconds."""
    rounded = tuple(replace(one, seconds=float(round(one.seconds, -1))) for one in evidence)
    text = TypeAdapter(tuple[Evidence, ...]).dump_json(rounded, indent=2)
    place.write_bytes(text + b"\n")
