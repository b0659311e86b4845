"""`python -m tests.fuzz`: runs the targets, says how far they are, and ends with a table.

It ends with 1 if a target has a finding that is not known, or a wrong twin was not found.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .child import atheris_or_none
from .corpus import CORPUS, minimise, write
from .runs import FOLDER, Job, Progress, run_all
from .tables import show_targets, show_twins
from .target import Skipped, Target, load, names
from .twins import TWINS
from .watch import Report, Watch


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="target NAME; repeatable")
    parser.add_argument("--runs", type=int, help="executions of each target (its own number)")
    parser.add_argument("--seconds", type=int, default=0, help="at most, of each target")
    parser.add_argument("--jobs", type=int, default=2, help="targets at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the dice (%(default)s)")
    parser.add_argument("--plain", action="store_true", help="without atheris, unguided")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, with --only")
    parser.add_argument("--keep", action="store_true", help="minimise into the corpus of the repo")
    parser.add_argument("--twins", action="store_true", help="the wrong twins instead")
    chosen = parser.parse_args(arguments)
    wanted = chosen.only or list(names())
    if unknown := set(wanted) - set(names()):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    if chosen.replay:
        if len(wanted) != 1:
            parser.error("--replay needs --only NAME")
        return _replay(wanted[0], chosen.replay)
    guided = not chosen.plain and atheris_or_none() is not None
    if not guided:
        print("fuzz: without atheris: mutations of the corpus, not guided by coverage", flush=True)
    options = ("--seed", str(chosen.seed), *(("--plain",) if not guided else ()))
    if chosen.twins:
        return _twins(wanted, chosen, options)
    targets, reports = _loaded(wanted)
    jobs = [
        Job(target.name, target.name, chosen.runs or target.runs, target.rate)
        for target in sorted(targets, key=lambda one: -one.runs / one.rate)
    ]
    reports += run_all(jobs, chosen.jobs, chosen.seconds, options, Progress(jobs, chosen.jobs))
    if chosen.keep:
        for target in targets:
            _keep(target)
    show_targets(sorted(reports, key=lambda one: one.name), guided=guided)
    return int(any(report.fresh for report in reports))


def _loaded(wanted: Sequence[str]) -> tuple[list[Target], list[Report]]:
    targets: list[Target] = []
    skipped: list[Report] = []
    for name in wanted:
        try:
            targets.append(load(name))
        except Skipped as reason:
            skipped.append(Report(name, 0, skipped=str(reason)))
    return targets, skipped


def _twins(wanted: Sequence[str], chosen: argparse.Namespace, options: Sequence[str]) -> int:
    twins = [twin for twin in TWINS if twin.target in wanted]
    rates = {
        target.name: target.rate for target in _loaded(sorted({twin.target for twin in twins}))[0]
    }
    jobs = [Job(t.name, t.target, chosen.runs or t.runs, rates[t.target], t.name) for t in twins]
    reports = run_all(jobs, chosen.jobs, chosen.seconds, options, Progress(jobs, chosen.jobs))
    found = {report.name: report for report in reports}
    show_twins([(twin, found[twin.name]) for twin in twins])
    return int(any(not found[twin.name].shown for twin in twins))


def _replay(name: str, file: Path) -> int:
    target = load(name)
    watch = Watch(target, 1, FOLDER / name, quiet=True)
    watch.run(file.read_bytes())
    for found in watch.report.findings:
        print(f"{name}: {found.text}{f' (known: {found.known})' if found.known else ''}")
    if not watch.report.findings:
        print(f"{name}: nothing, in {watch.report.slowest_ms:.1f} ms")
        target.check(file.read_bytes())
    return int(bool(watch.report.findings))


def _keep(target: Target) -> None:
    found = [path.read_bytes() for path in (FOLDER / target.name / "corpus").glob("*")]
    chosen = minimise(target, found)
    print(
        f"fuzz: {CORPUS.name}/{target.name}: {len(chosen)} inputs, {write(target.name, chosen)} B"
    )


if __name__ == "__main__":
    sys.exit(main())
