"""What the fuzzer did and found, as tables, and for each finding the command to replay it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .twins import Twin
from .watch import Report


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=150)


def show_targets(reports: Sequence[Report], *, guided: bool) -> None:
    """The targets in a table, then each finding with its command."""
    console = _console()
    console.print(_of_targets(reports))
    for report in reports:
        if report.skipped:
            console.print(f"skipped ({report.name}): {report.skipped}", markup=False)
        for found in report.findings:
            word = f"known ({found.known})" if found.known else "finding"
            style = "yellow" if found.known else "red"
            console.print(f"{word}: {report.name}: {found.text}", style=style, markup=False)
            if found.input:
                command = f"python -m tests.fuzz --only {report.name} --replay {found.input}"
                console.print(f"    {command}", markup=False, soft_wrap=True)
    total = sum(report.executions for report in reports)
    how = "guided by coverage" if guided else "not guided: atheris is missing"
    fresh = sum(len(report.fresh) for report in reports)
    console.print(f"{total:,} executions ({how}), {fresh} findings that are not known")


def _of_targets(reports: Sequence[Report]) -> Table:
    table = Table(title="Fuzz targets")
    table.add_column("target", no_wrap=True)
    for heading in ("executions", "a second", "edges", "corpus", "slowest ms", "grown MB"):
        table.add_column(heading, justify="right")
    table.add_column("findings", justify="right")
    for one in reports:
        rate = one.executions / one.seconds if one.seconds else 0.0
        known = len(one.findings) - len(one.fresh)
        table.add_row(
            one.name,
            "skipped" if one.skipped else f"{one.executions:,}",
            f"{rate:,.0f}",
            f"{one.edges:,}",
            f"{one.corpus:,}",
            f"{one.slowest_ms:.1f}",
            f"{one.growth_mb:.1f}",
            f"{len(one.fresh)}" + (f" and {known} known" if known else ""),
        )
    return table


def show_twins(found: Sequence[tuple[Twin, Report]]) -> None:
    """The wrong twins: which were found, after how many executions, and by which words."""
    table = Table(title="Wrong twins")
    table.add_column("defect")
    table.add_column("target", no_wrap=True)
    table.add_column("found after", justify="right")
    table.add_column("by", ratio=1)
    for twin, report in found:
        fresh = report.shown
        after = f"{fresh[0].after:,}" if fresh else f"not in {report.executions:,}"
        table.add_row(twin.name, twin.target, after, fresh[0].text[:80] if fresh else "")
    _console().print(table)
