"""Runs the judge's own tests against one mutant after another, each in a forked child.

``python -m tests.proof.mutation_run SECONDS < CHOICE``: a process of its own; pytest and all tests
are loaded once, and a child replaces the code of one function. ``CHOICE`` is a line of JSON: the
keys of the mutants (``null``: all) and the test files. Prints one line of JSON.
"""

import json
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .mutants import FILES, Mutant, mutants_of
from .mutation_patches import apply, passing_of

SLOW_S = 0.5
"""A test that takes more of a processor is left out: an example should find what it finds."""
ENDLESS_S = 5
"""What a mutant may take of a processor beyond three times its tests' own time."""
STUCK_S = 60
"""What it may take in all beyond that: it waits for something that never comes."""
KILLED, SURVIVED, NOT_MADE = 1, 0, 2
NO_TEST = -1
INDEX = struct.Struct("<q")
Key = tuple[str, ...]


@dataclass
class Verdicts:
    """What became of the mutants, each by its key."""

    mutants: int = 0
    tried: int = 0
    killed: int = 0
    endless: list[Key] = field(default_factory=list)
    survived: list[Key] = field(default_factory=list)
    uncovered: list[Key] = field(default_factory=list)
    """Those that no test passes; they survive too."""
    tests: int = 0
    failing: list[str] = field(default_factory=list)
    """Tests that fail without any mutant, and so were not used."""
    noting_seconds: float = 0.0
    seconds: float = 0.0
    processor_seconds: float = 0.0


@dataclass(frozen=True)
class Passing:
    """Which tests pass which statements, and how long each test takes."""

    tests: dict[tuple[str, int], list[int]]
    seconds: list[float]

    def of(self, mutant: Mutant, killers: list[int]) -> list[int]:
        """The tests to run for a mutant: those that killed its neighbours, then the quickest."""
        found = {one for place in mutant.places for one in self.tests.get(place, ())}
        quick = [one for one in found if self.seconds[one] <= SLOW_S]
        turn = {one: place for place, one in enumerate(killers)}
        return sorted(quick, key=lambda one: (turn.get(one, len(turn)), self.seconds[one]))


class MutationRun:
    """A pytest plugin that runs mutants instead of tests."""

    def __init__(self, seconds: float, keys: list[Key] | None) -> None:
        self._until = time.monotonic() + seconds
        mutants = [mutant for file in FILES for mutant in mutants_of(file)]
        if keys is not None:
            mutants = [one for one in mutants if one.key in keys]
        self._mutants = sorted(mutants, key=lambda one: one.turn)
        self._session: pytest.Session | None = None
        self._is_noting = False
        self._has_failed = False
        self._at = NO_TEST
        self._killer = mmap.mmap(-1, INDEX.size)
        """The test that a child fails at, for its parent to read."""
        self.verdicts = Verdicts()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The run itself."""
        begun = time.monotonic()
        self._session = session
        passing = self._passing()
        verdicts = self.verdicts
        verdicts.noting_seconds = time.monotonic() - begun
        verdicts.mutants, verdicts.tests = len(self._mutants), len(session.items)
        killers: dict[tuple[str, str], list[int]] = {}
        for mutant in self._mutants:
            if time.monotonic() > self._until:
                break
            self._try(mutant, passing, killers.setdefault((mutant.file, mutant.function), []))
        verdicts.seconds = time.monotonic() - begun
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        verdicts.processor_seconds = spent.ru_utime + spent.ru_stime + time.process_time()
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The first failing test ends a child."""
        if report.failed and not self._is_noting:
            self._killer[:] = INDEX.pack(self._at)
            os._exit(KILLED)
        self._has_failed = self._has_failed or report.failed

    # --- which test passes where ----------------------------------------------------------------

    def _passing(self) -> Passing:
        """Runs every test once, in a child, and notes the statements that it passes."""
        assert self._session is not None
        tests: dict[tuple[str, int], list[int]] = {}
        seconds = [0.0] * len(self._session.items)
        with TemporaryDirectory() as folder:
            note = Path(folder) / "note"
            _, status = os.waitpid(_fork(partial(self._note, note)), 0)
            if status != 0:
                raise RuntimeError("the tests did not end")
            for index, took, failed, passed in pickle.loads(note.read_bytes()):
                seconds[index] = took
                if failed:
                    self.verdicts.failing.append(self._session.items[index].nodeid)
                    continue
                for place in passed:
                    tests.setdefault(place, []).append(index)
        return Passing(tests, seconds)

    def _note(self, note: Path) -> None:
        assert self._session is not None
        self._is_noting = True
        passed: set[tuple[str, int]] = set()
        for file in {place[0] for mutant in self._mutants for place in mutant.places}:
            passing_of(file, passed.add)
        found = []
        for index in range(len(self._session.items)):
            passed.clear()
            self._has_failed = False
            begun = time.process_time()  # a busy machine makes no test slow
            self._run([index])
            took = time.process_time() - begun
            found.append((index, took, self._has_failed, tuple(passed)))
        note.write_bytes(pickle.dumps(found))

    # --- mutants --------------------------------------------------------------------------------

    def _try(self, mutant: Mutant, passing: Passing, killers: list[int]) -> None:
        verdicts = self.verdicts
        verdicts.tried += 1
        tests = passing.of(mutant, killers)
        if not tests:
            verdicts.uncovered.append(mutant.key)
            return
        most = 3 * sum(passing.seconds[one] for one in tests)
        self._killer[:] = INDEX.pack(NO_TEST)
        child = _fork(partial(self._meet, mutant, tests, most))
        _, status = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what its tests have begun
        if os.waitstatus_to_exitcode(status) == NOT_MADE:
            raise RuntimeError(f"no mutant: {mutant.key}")
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM):
            verdicts.endless.append(mutant.key)
        elif status == 0:
            verdicts.survived.append(mutant.key)
        else:
            verdicts.killed += 1
        (killer,) = INDEX.unpack(self._killer)
        if killer in killers:
            killers.remove(killer)
        if killer != NO_TEST:
            killers.insert(0, killer)

    def _meet(self, mutant: Mutant, tests: list[int], most: float) -> None:
        limit = int(most) + ENDLESS_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        signal.setitimer(signal.ITIMER_REAL, most + STUCK_S)
        try:
            apply(mutant)
        except Exception:
            # A constant that cannot even be computed is noticed; a function must always fit.
            os._exit(KILLED if isinstance(mutant.code, str) else NOT_MADE)
        self._run(tests)

    def _run(self, tests: list[int]) -> None:
        assert self._session is not None
        items = self._session.items
        for self._at, after in zip(tests, [*tests[1:], None], strict=True):
            item = items[self._at]
            following = items[after] if after is not None else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


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


def main(arguments: list[str]) -> None:
    """Prints the verdicts."""
    keys, tests = json.loads(sys.stdin.readline())
    run = MutationRun(float(arguments[0]), None if keys is None else [tuple(key) for key in keys])
    os.environ["CI"] = "1"  # hypothesis then tries the same examples every time
    with TemporaryDirectory() as folder:
        plain = ["-p", "no:terminal", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests"]
        sys.stdout, spoken = sys.stderr, sys.stdout
        code = pytest.main([*plain, *tests], plugins=[run])
        sys.stdout = spoken
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(int(code))
    print(json.dumps(asdict(run.verdicts)))


if __name__ == "__main__":
    main(sys.argv[1:])
