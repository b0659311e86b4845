"""Mutation of the kernel, of what it decides by, and of the journal: a test must notice each slip.

mutmut 3.8 (801 of its 3,371 mutants in 9 minutes on two shared cores, most of the survivors changed
messages; no property and nothing else that is decorated) and cosmic-ray (a new pytest for each
mutant) did not fit; so the mutants are our own, see `mutants`. What is equal to the code that ships
is listed with its reason in ``equal_mutants.yaml``.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from ruamel.yaml import YAML

from .evidence import Effort, Evidence, Planted
from .mutants import FILES, Mutant, mutants_of

ROOT = Path(__file__).parents[2]
EQUAL = Path(__file__).with_name("equal_mutants.yaml")
SECONDS = {"quick": 60.0, "full": 330.0}
MOST = {"quick": 40, "full": 100_000}
ABOUT_SECONDS = {"quick": 90, "full": 360}
ENDED_S = 240.0
"""For noting which test passes where, and for mutants that have to be tried alone."""
SHOWN = 12

Key = tuple[str, str, str, str]

PLANTED: dict[str, tuple[str, str, str]] = {
    "the edge of a window is open": (
        "safety/doubt.py",
        "Reservation.reaches_into",
        "self.latest_end >= now.slow - window -> self.latest_end > now.slow - window",
    ),
    "an uncertain outcome settles": (
        "safety/fold.py",
        "settled",
        "event.outcome == 'UNCERTAIN' -> event.outcome != 'UNCERTAIN'",
    ),
    "an intent is granted without its sync": (
        "safety/journal.py",
        "Journal.commit",
        "self.sync() -> pass",
    ),
    "a stop opens boluses": (
        "safety/kernel.py",
        "_judge_bolus",
        "*judge_held(state.held) left out",
    ),
}
"""Slips that the tests must notice: by file, function and change."""


def prove(effort: Effort) -> Evidence:
    """Tries as many mutants as an effort's time allows, in an order that mixes them."""
    begun = perf_counter()
    told = verdicts(SECONDS[effort], MOST[effort])
    equal = equal_mutants()
    survived = {tuple(key) for key in (*told["survived"], *told["uncovered"])}
    living = sorted(survived - equal.keys())
    stale = [] if effort == "quick" else _stale(equal)
    share = 100 * told["tried"] / told["mutants"]
    return Evidence(
        method="mutation",
        covered=(
            f"{told['tried']:,} of {told['mutants']:,} mutants ({share:.0f} %) of {len(FILES)} "
            f"files against {told['tests']:,} tests: {told['killed']:,} killed, "
            f"{len(told['endless'])} never end, {len(survived & equal.keys())} equal by a reason, "
            f"{len(living)} survive"
        ),
        violations=(*(f"no test notices: {_words(key)}" for key in living[:SHOWN]), *stale),
        planted=planted(told) if effort == "full" else (),
        not_shown=(
            "slips in texts, in annotations, in decorators and in default values; two slips at "
            "once; what no operator of these changes"
        ),
        seconds=perf_counter() - begun,
    )


def verdicts(seconds: float, most: int) -> dict[str, Any]:
    """What `mutation_run` tells."""
    command = [sys.executable, "-m", "tests.proof.mutation_run", str(seconds), str(most)]
    run = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + ENDED_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"the mutation run failed: {run.stderr[-2_000:]}")
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


def equal_mutants() -> dict[Key, str]:
    """The mutants that nothing can tell from what ships, each with the reason."""
    listed: list[dict[str, str]] = YAML(typ="safe").load(EQUAL.read_text("utf-8"))
    return {
        (one["file"], one["function"], one["line"], one["change"]): one["reason"] for one in listed
    }


def all_mutants() -> dict[Key, Mutant]:
    """Every mutant by its key."""
    return {mutant.key: mutant for file in FILES for mutant in mutants_of(file)}


def planted(told: dict[str, Any]) -> tuple[Planted, ...]:
    """Whether the slips that must be noticed were."""
    survived = {tuple(key) for key in (*told["survived"], *told["uncovered"])}
    found = []
    for bug, (file, function, change) in PLANTED.items():
        keys = [key for key in all_mutants() if _is_meant(key, file, function, change)]
        is_killed = bool(keys) and not survived.intersection(keys)
        found.append(Planted(bug, is_killed, f"{len(keys)} mutants, by a test that fails"))
    return tuple(found)


def _is_meant(key: Key, file: str, function: str, change: str) -> bool:
    if key[:2] != (file, function):
        return False
    left_out = change.removesuffix(" left out")
    if left_out != change:
        before, _, after = key[3].partition(" -> ")
        return left_out in before and left_out not in after and after.startswith("[")
    return key[3] == change


def _stale(equal: dict[Key, str]) -> list[str]:
    known = all_mutants()
    return [
        f"listed as equal, and there is none: {_words(key)}" for key in equal.keys() - known.keys()
    ]


def _words(key: tuple[str, ...]) -> str:
    file, function, line, change = key
    return f"{file}, {function}: {change} [{line}]"
