"""Runs the judge's own tests against one mutant after another, each in a forked child.

``python -m tests.proof.mutation_run SECONDS MOST [FILE ...]``: a process of its own; pytest and all
tests are loaded once, and a child replaces the code of one function. Prints one line of JSON.
"""

import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from .mutants import FILES, Mutant, mutants_of
from .mutation_patches import apply, passing_of

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
SLOW_S = 0.5
"""A test that takes more of a processor is left out: an example should find what it finds."""
PATIENCE_S = 10.0
"""What a mutant may take beyond three times its tests' own time; then it is tried once more."""
ENDLESS_S = 60.0
"""A mutant that has not ended after this, tried alone, is a real endless loop."""
KILLED, SURVIVED = 1, 0


@dataclass
class Verdicts:
    """What became of the mutants, each by its key."""

    mutants: int = 0
    tried: int = 0
    killed: int = 0
    endless: list[tuple[str, ...]] = field(default_factory=list)
    survived: list[tuple[str, ...]] = field(default_factory=list)
    uncovered: list[tuple[str, ...]] = field(default_factory=list)
    """Those that no test passes; they survive too."""
    tests: int = 0
    failing: list[str] = field(default_factory=list)
    """Tests that fail without any mutant, and so were not used."""
    noting_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Passing:
    """Which tests pass which statements, and how long each test takes."""

    tests: dict[tuple[str, int], list[int]]
    seconds: list[float]

    def of(self, mutant: Mutant) -> list[int]:
        """The tests to run for a mutant, the quickest first."""
        found = {one for place in mutant.places for one in self.tests.get(place, ())}
        quick = [one for one in found if self.seconds[one] <= SLOW_S]
        return sorted(quick, key=lambda one: self.seconds[one])


class MutationRun:
    """A pytest plugin that runs mutants instead of tests."""

    def __init__(self, seconds: float, most: int, files: tuple[str, ...]) -> None:
        self._until = time.monotonic() + seconds
        self._most = most
        self._files = files
        self._session: pytest.Session | None = None
        self._is_noting = False
        self._has_failed = False
        self.verdicts = Verdicts()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The run itself."""
        begun = time.monotonic()
        self._session = session
        mutants = sorted((m for f in self._files for m in mutants_of(f)), key=lambda m: m.turn)
        passing = self._passing()
        verdicts = self.verdicts
        verdicts.noting_seconds = time.monotonic() - begun
        verdicts.mutants, verdicts.tests = len(mutants), len(session.items)
        slow = self._try(mutants[: self._most], passing)
        for mutant in slow:
            self._try_alone(mutant, passing)
        verdicts.seconds = time.monotonic() - begun
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The first failing test ends a child."""
        if report.failed and not self._is_noting:
            os._exit(KILLED)
        self._has_failed = self._has_failed or report.failed

    # --- which test passes where ----------------------------------------------------------------

    def _passing(self) -> Passing:
        """Runs every test once, in children, and notes the statements that it passes."""
        assert self._session is not None
        count = len(self._session.items)
        tests: dict[tuple[str, int], list[int]] = {}
        seconds = [0.0] * count
        with TemporaryDirectory() as folder:
            notes = [Path(folder) / str(part) for part in range(AT_ONCE)]
            children = [
                self._fork(partial(self._note, part, note)) for part, note in enumerate(notes)
            ]
            for child in children:
                _, status = os.waitpid(child, 0)
                if status != 0:
                    raise RuntimeError("the tests did not end")
            for note in notes:
                for index, took, failed, passed in pickle.loads(note.read_bytes()):
                    seconds[index] = took
                    if failed:
                        self.verdicts.failing.append(self._session.items[index].nodeid)
                        continue
                    for place in passed:
                        tests.setdefault(place, []).append(index)
        return Passing(tests, seconds)

    def _note(self, part: int, note: Path) -> None:
        assert self._session is not None
        self._is_noting = True
        passed: set[tuple[str, int]] = set()
        for file in self._files:
            passing_of(file, passed.add)
        found = []
        for index in range(part, len(self._session.items), AT_ONCE):
            passed.clear()
            self._has_failed = False
            begun = time.process_time()  # a busy machine makes no test slow
            self._run([index])
            took = time.process_time() - begun
            found.append((index, took, self._has_failed, tuple(passed)))
        note.write_bytes(pickle.dumps(found))

    # --- mutants --------------------------------------------------------------------------------

    def _try(self, mutants: list[Mutant], passing: Passing) -> list[Mutant]:
        """Tries mutants until time is up; those that took too long, to be tried once more."""
        waiting = list(reversed(mutants))
        running: dict[int, tuple[Mutant, float]] = {}
        slow: list[Mutant] = []
        while running or (waiting and time.monotonic() < self._until):
            while waiting and len(running) < AT_ONCE and time.monotonic() < self._until:
                mutant = waiting.pop()
                self.verdicts.tried += 1
                tests = passing.of(mutant)
                if not tests:
                    self.verdicts.uncovered.append(mutant.key)
                    continue
                patience = 3 * sum(passing.seconds[one] for one in tests) + PATIENCE_S
                child = self._fork(partial(self._meet, mutant, tests))
                running[child] = mutant, time.monotonic() + patience
            for child in self._ended_or_late(running):
                mutant, _ = running.pop(child)
                status = _end(child)
                if status is None:
                    slow.append(mutant)
                else:
                    self._take_down(mutant, status)
        return slow

    def _try_alone(self, mutant: Mutant, passing: Passing) -> None:
        child = self._fork(partial(self._meet, mutant, passing.of(mutant)))
        deadline = time.monotonic() + ENDLESS_S
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                self._take_down(mutant, status)
                return
            time.sleep(0.05)
        _end(child)
        self.verdicts.endless.append(mutant.key)

    def _take_down(self, mutant: Mutant, status: int) -> None:
        if status == 0:
            self.verdicts.survived.append(mutant.key)
        else:
            self.verdicts.killed += 1

    @staticmethod
    def _ended_or_late(running: dict[int, tuple[Mutant, float]]) -> list[int]:
        """The children that have ended, or that nobody waits for any longer."""
        while running:
            for child, (_, deadline) in running.items():
                found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is not None or time.monotonic() > deadline:
                    return [child]
            time.sleep(0.002)
        return []

    def _meet(self, mutant: Mutant, tests: list[int]) -> None:
        apply(mutant)
        self._run(tests)

    # --- children -------------------------------------------------------------------------------

    def _run(self, tests: list[int]) -> None:
        assert self._session is not None
        items = self._session.items
        for one, after in zip(tests, [*tests[1:], None], strict=True):
            item = items[one]
            following = items[after] if after is not None else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    @staticmethod
    def _fork(work: Callable[[], None]) -> int:
        child = os.fork()
        if child:
            return child
        code = KILLED  # whatever a mutant breaks so badly that pytest itself ends
        try:
            os.setpgid(0, 0)
            work()
            code = SURVIVED
        finally:
            os._exit(code)


def _end(child: int) -> int | None:
    """The status of a child that has ended; ``None`` for one that had to be killed."""
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        return status
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main(arguments: list[str]) -> None:
    """Prints the verdicts."""
    seconds, most, *files = arguments
    run = MutationRun(float(seconds), int(most), tuple(files) or FILES)
    os.environ["CI"] = "1"  # hypothesis then tries the same examples every time
    with TemporaryDirectory() as folder:
        options = [
            "-p",
            "no:terminal",
            "-p",
            "no:cacheprovider",
            "--basetemp",
            f"{folder}/tests",
            "tests/safety",
        ]
        sys.stdout, spoken = sys.stderr, sys.stdout
        code = pytest.main([*options, "tests/safety"], plugins=[run])
        sys.stdout = spoken
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(int(code))
    print(json.dumps(_plain(run.verdicts)))


def _plain(verdicts: Verdicts) -> dict[str, Any]:
    return asdict(verdicts)


if __name__ == "__main__":
    main(sys.argv[1:])
