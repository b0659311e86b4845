"""`make bench`: ratios from one run, with their targets. Says what falls short; fails nothing."""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks import codec, fleet, journal, pump_days, query, review, storms, therapy, usb_bulk
from benchmarks.harness import Row, pin

MEASUREMENTS: list[Callable[[], list[Row]]] = [
    query.measure,
    therapy.measure,
    codec.measure,
    review.measure,
    pump_days.measure,
    journal.measure,
    fleet.measure,
    usb_bulk.measure,
    storms.measure,
]
"""Measurements (a) to (n), in order."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json

    pinned = pin(0, core=0)
    rows: list[Row] = []
    for measure in MEASUREMENTS:
        if not as_json:
            print(f"measuring: {measure.__module__.rpartition('.')[2]} …", file=sys.stderr)
        rows += measure()

    if as_json:
        print(json.dumps(_document(rows, pinned), indent=2))
    else:
        _show(rows, pinned)


def _document(rows: list[Row], pinned: bool) -> dict[str, object]:
    return {
        "schema": "neuraxis.bench/1",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "pinned": pinned,
        "rows": [asdict(row) | {"verdict": row.verdict or None} for row in rows],
        "short": [f"{row.letter}: {row.what}" for row in _short(rows)],
    }


def _show(rows: list[Row], pinned: bool) -> None:
    table = Table(title=f"neuraxis: speed, {'pinned' if pinned else 'not pinned'}")
    for heading in ("", "measured", "basis"):
        table.add_column(heading)
    for heading in ("value", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        target = "" if row.target is None else f"≤ {row.target:g} {row.unit}"
        value = f"{row.value:,.2f} {row.unit}"
        table.add_row(row.letter, row.what, row.basis, value, target, row.verdict)
    Console().print(table)
    for row in _short(rows):
        print(
            f"falls short: {row.letter}: {row.what} "
            f"({row.value:.2f} {row.unit}, target ≤ {row.target:g} {row.unit})"
        )


def _short(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.verdict == "falls short"]


if __name__ == "__main__":
    main()
