"""`python -m tests.proof`: runs every method of proof and says what was covered and found.

It ends with 1 if a method found a violation, or if a planted bug was found by none.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

from .children import AT_ONCE, Failed, as_they_end
from .evidence import Effort, Evidence
from .reports import show, unfound, write

HERE = Path(__file__).parent
EVERY_S = 15.0
ABOUT = 60
"""Seconds that a method takes which does not say."""


class Method:
    """A module ``method_*.py``; one that cannot be imported is a violation of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.about = {"quick": ABOUT, "full": ABOUT}
        self.prove: Callable[[Effort], Evidence]
        try:
            module = importlib.import_module(f"{__package__}.method_{name}")
            self.prove = module.prove
            self.about = getattr(module, "ABOUT_SECONDS", self.about)
        except Exception as error:
            self.prove = partial(_broken, name, f"{type(error).__name__}: {error}")


def _broken(name: str, sentence: str, effort: Effort) -> Evidence:
    last = sentence.strip().splitlines()[-1]
    return Evidence(name, "nothing", (f"it did not run: {last}",), (), "anything", 0.0)


class Progress:
    """Says on stderr what runs, for how long, and about how long it still takes."""

    def __init__(self, methods: Sequence[Method], effort: Effort, jobs: int) -> None:
        self._methods, self._effort, self._jobs = methods, effort, jobs
        self._begun = monotonic()
        self._started: dict[int, float] = {}
        self._done = set[int]()

    def started(self, place: int) -> None:
        """A method runs from now on."""
        self._started[place] = monotonic()
        self._say(f"{self._methods[place].name} begins")

    def ended(self, place: int, found: str) -> None:
        """A method has ended."""
        self._done.add(place)
        took = monotonic() - self._started[place]
        self._say(f"{self._methods[place].name} took {took:.0f} s: {found}")

    def tell(self) -> None:
        """Still running."""
        running = [m.name for p, m in enumerate(self._methods) if self._is_running(p)]
        self._say(f"running: {', '.join(running)}")

    def _is_running(self, place: int) -> bool:
        return place in self._started and place not in self._done

    def _say(self, text: str) -> None:
        left = 0.0
        for place, method in enumerate(self._methods):
            if place not in self._done:
                spent = monotonic() - self._started[place] if place in self._started else 0.0
                left += max(0.0, method.about[self._effort] - spent)
        elapsed = _clock(monotonic() - self._begun)
        done = f"{len(self._done)} of {len(self._methods)}"
        about = _clock(left / self._jobs)
        print(f"prove {elapsed} ({done}, about {about} to go): {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def run(names: Sequence[str], effort: Effort, jobs: int) -> list[Evidence]:
    """All methods, so many at once, each in a process of its own; the longest first."""
    methods = sorted(map(Method, names), key=lambda one: -one.about[effort])
    progress = Progress(methods, effort, jobs)
    evidence: dict[str, Evidence] = {}
    works = [partial(method.prove, effort) for method in methods]
    for ended in as_they_end(works, jobs, progress.started, EVERY_S):
        if ended is None:
            progress.tell()
            continue
        place, result = ended
        name = methods[place].name
        one = _broken(name, str(result), effort) if isinstance(result, Failed) else result
        evidence[name] = one
        found = f"{len(one.violations)} violations" if one.violations else "no violation"
        planted = f"{sum(p.found for p in one.planted)} of {len(one.planted)} planted bugs found"
        progress.ended(place, f"{found}, {planted}")
    return [evidence[name] for name in sorted(evidence)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the form of CI, two minutes")
    parser.add_argument("--only", action="append", metavar="NAME", help="method NAME; repeatable")
    parser.add_argument("--jobs", type=int, default=AT_ONCE, help="methods at once (%(default)s)")
    parser.add_argument("--write", action="store_true", help="keep docs/evidence.json")
    chosen = parser.parse_args(arguments)
    known = sorted(path.stem.removeprefix("method_") for path in HERE.glob("method_*.py"))
    names = chosen.only or known
    if unknown := set(names) - set(known):
        parser.error(f"no method {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if chosen.write and (chosen.quick or chosen.only):
        parser.error("only a full run of all methods is kept: --write without --quick and --only")
    evidence = run(names, "quick" if chosen.quick else "full", max(1, chosen.jobs))
    show(evidence)
    if chosen.write:
        write(evidence)
    return int(any(one.violations for one in evidence) or bool(unfound(evidence)))


if __name__ == "__main__":
    sys.exit(main())
