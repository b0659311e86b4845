"""The short form of the fuzzer: the corpus, some thousands of mutations, and the wrong twins.

It needs no fuzzing library and does the same each time; `make fuzz` is the long, guided form.
"""

import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from proof.children import in_children

from . import corpus
from .child import atheris_or_none, unguided
from .known import KNOWN, Known, known_as
from .target import Skipped, Target, load, names
from .twins import TWINS, Twin, plant
from .watch import Report, TooMany, Watch, read_report

ROOT = Path(__file__).parents[2]
MOST_CORPUS_BYTES = 300_000


def loaded(name: str) -> Target:
    try:
        return load(name)
    except Skipped as reason:
        pytest.skip(str(reason))


def run(name: str, runs: int, twin: Twin | None = None) -> Report:
    """A run in a process of its own: a twin changes the code, and a memory is watched."""

    def work() -> Report:
        target = load(name)
        if twin is not None:
            plant(twin)
        most = 1 if twin is not None else None
        watch = Watch(target, runs, Path("nowhere"), quiet=True, most_findings=most)
        with suppress(TooMany):
            unguided(target, watch, runs, 1, lambda: False)
        watch.look(end=True)
        return watch.report

    return in_children([work])[0]


@pytest.mark.parametrize("name", names())
def test_neither_the_corpus_nor_its_mutations_have_a_new_finding(name: str) -> None:
    target = loaded(name)
    report = run(name, target.short)
    assert report.fresh == []
    assert report.executions >= target.short


@pytest.mark.parametrize("twin", [one for one in TWINS if one.short], ids=lambda one: one.name)
def test_a_wrong_twin_is_found(twin: Twin) -> None:
    report = run(twin.target, 4 * load(twin.target).short, twin)
    assert report.fresh, f"not in {report.executions:,} executions"


@pytest.mark.parametrize("twin", TWINS, ids=lambda one: one.name)
def test_what_a_wrong_twin_replaces_is_there(twin: Twin) -> None:
    in_children([partial(plant, twin)])


@pytest.mark.parametrize("known", KNOWN, ids=lambda one: f"{one.target} {one.words}")
def test_a_known_finding_is_still_there(known: Known) -> None:
    """When it is mended, its line in `known.py` has to go, and its input stays."""
    target = load(known.target)
    shown = set()
    for path in sorted((corpus.REGRESSIONS / target.name).iterdir()):
        watch = Watch(target, 1, Path("nowhere"), quiet=True)
        watch.run(path.read_bytes())
        shown |= {known_as(target.name, one.text) for one in watch.report.findings}
    assert known.reported in shown


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    files = [p for p in (*corpus.CORPUS.rglob("*"), *corpus.REGRESSIONS.rglob("*")) if p.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_CORPUS_BYTES
    assert {path.parent.name for path in files} <= set(names())


def test_an_input_is_the_same_each_time() -> None:
    first, second = run("url", 500), run("url", 500)
    assert (first.executions, [one.text for one in first.findings]) == (
        second.executions,
        [one.text for one in second.findings],
    )


@pytest.mark.skipif(atheris_or_none() is None, reason="atheris is not made for this system")
def test_the_guided_engine_runs_and_reports(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.child", "url", "--runs", "3000"]
    ended = subprocess.run(
        [*command, "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    report = read_report(tmp_path)
    assert report is not None
    assert (report.executions, report.fresh) == (3_000, [])
    assert b"cov:" in ended.stderr


def test_an_input_that_does_not_end_is_a_finding() -> None:
    def check(data: bytes) -> None:
        begun = time.process_time()
        while time.process_time() < begun + 5:
            pass

    target = Target("slow", check, lambda: [b"a"], runs=1, short=1, rate=1, seconds=0.02)

    def work() -> Report:
        watch = Watch(target, 1, Path("nowhere"), quiet=True)
        unguided(target, watch, 1, 1, lambda: False)
        return watch.report

    (report,) = in_children([work])
    assert "did not end" in report.fresh[0].text
