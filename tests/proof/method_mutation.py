"""Mutation of the kernel, of what it decides by, and of the journal: a test must notice each slip.

mutmut 3.8 (801 of its 3,371 mutants in 9 minutes on two shared cores, most of the survivors changed
messages; no property and nothing else that is decorated) and cosmic-ray (a new pytest for each
mutant) did not fit; so the mutants are our own, see `mutants`. What is equal to the code that ships
is listed with its reason in ``equal_mutants.yaml``.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from ruamel.yaml import YAML

from .evidence import Effort, Evidence, Planted
from .mutants import FILES, Mutant, mutants_of
from .mutation_slips import SLIPS, Key, Slip

ROOT = Path(__file__).parents[2]
EQUAL = Path(__file__).with_name("equal_mutants.yaml")
TESTS = "tests/safety"
SAYS_NOTHING = "test_the_fold_has_a_new_version_when_the_same_life_comes_to_another_state"
"""A digest of everything notices every slip of the fold and knows of none that it is wrong."""
SECONDS = {"quick": 60.0, "full": 900.0}
ABOUT_SECONDS = {"quick": 15, "full": 480}
ENDED_S = 300.0
"""For what is under way when the time is up."""
SHOWN = 12


def prove(effort: Effort) -> Evidence:
    """Tries every mutant; quick: the slips that are known by name, with the tests that see them."""
    begun = perf_counter()
    equal = equal_mutants()
    if effort == "full":
        told = verdicts(None, [TESTS, f"--deselect={TESTS}/test_checkpoint.py::{SAYS_NOTHING}"])
        stale = _stale(equal)
    else:
        keys = [key for slip in SLIPS for key in slip.among(all_mutants())]
        told = verdicts(keys, sorted({f"{TESTS}/{slip.tests}" for slip in SLIPS}))
        stale = []
    survived = {tuple(key) for key in (*told["survived"], *told["uncovered"])}
    living = sorted(survived - equal.keys())
    share = 100 * told["tried"] // told["mutants"]
    return Evidence(
        method="mutation",
        covered=(
            f"{told['tried']:,} of {told['mutants']:,} mutants ({share} %) of {len(FILES)} "
            f"files against {told['tests']:,} tests: {told['killed']:,} killed, "
            f"{len(told['endless'])} never end, {len(survived & equal.keys())} equal by a reason, "
            f"{len(living)} survive"
        ),
        violations=(*(f"no test notices: {_words(key)}" for key in living[:SHOWN]), *stale),
        planted=tuple(_seen(slip, survived) for slip in SLIPS),
        not_shown=(
            "slips in texts, in annotations, in decorators and in default values; two slips at "
            "once; what no operator of these changes"
        ),
        seconds=perf_counter() - begun,
    )


def verdicts(keys: list[Key] | None, tests: list[str]) -> dict[str, Any]:
    """What `mutation_run` tells of some mutants, or of all."""
    seconds = SECONDS["full" if keys is None else "quick"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.proof.mutation_run", str(seconds)],
        input=json.dumps([keys, tests]) + "\n",
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


@cache
def all_mutants() -> Mapping[Key, Mutant]:
    """Every mutant by its key."""
    return {mutant.key: mutant for file in FILES for mutant in mutants_of(file)}


def _seen(slip: Slip, survived: Collection[tuple[str, ...]]) -> Planted:
    keys = slip.among(all_mutants())
    is_killed = bool(keys) and not any(key in survived for key in keys)
    how = f"by {slip.tests}" if is_killed else "no test fails" if keys else "no such mutant"
    return Planted(slip.bug, is_killed, how)


def _stale(equal: dict[Key, str]) -> list[str]:
    known = all_mutants()
    return [
        f"listed as equal, and there is none: {_words(key)}" for key in equal.keys() - known.keys()
    ]


def _words(key: tuple[str, ...]) -> str:
    file, function, line, change = key
    return f"{file}, {function}: {change} [{line}]"
