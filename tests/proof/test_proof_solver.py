"""The quick forms of the solver's, the symbolic and the model's proof, and what they stand on."""

import shutil
from collections.abc import Callable

import pytest
import z3

from device_profiles.quantities import divide_up

from . import method_model, method_solver, method_symbolic
from .evidence import Effort, Evidence
from .paths import Trail, every_path, plain


@pytest.mark.parametrize(
    "prove",
    [method_solver.prove, method_symbolic.prove, method_model.prove],
    ids=["solver", "symbolic", "model"],
)
def test_a_quick_proof_finds_no_violation_and_every_bug_that_was_planted(
    prove: Callable[[Effort], Evidence],
) -> None:
    evidence = prove("quick")
    assert evidence.violations == ()
    assert evidence.planted
    assert [bug for bug in evidence.planted if bug.expected and not bug.found] == []


def test_every_claim_of_the_solver_and_of_the_model_has_a_wrong_twin() -> None:
    assert [claim.name for claim in method_solver.CLAIMS if not claim.twins] == []
    words = {word for twin in method_model.TWINS for word in twin.words}
    model = method_model.MODEL.read_text("utf-8")
    assert [word for word in sorted(words) if word not in model] == []


def test_a_missing_checker_is_a_violation_and_no_silent_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_spin(name: str) -> str | None:
        return None if name == "spin" else "/usr/bin/" + name

    monkeypatch.setattr(shutil, "which", without_spin)
    evidence = method_model.prove("quick")
    assert evidence.violations == ("spin is not installed: apt-get install spin",)
    assert evidence.planted == ()


def test_a_model_that_does_not_compile_is_trouble_and_no_proof() -> None:
    found = method_model.search(("IDS=nonsense",))
    assert found.trouble
    assert not found.holds


def test_a_contract_that_crosshair_says_nothing_of_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(method_symbolic, "answers", lambda tried, effort: ({}, ""))
    evidence = method_symbolic.prove("quick")
    real = [one for one in method_symbolic.contracts("quick") if not one.is_twin]
    assert evidence.violations == tuple(f"{c.name}: crosshair said nothing of it" for c in real)
    assert not any(bug.found for bug in evidence.planted)


# --- shipped code on unknowns --------------------------------------------------------------------


def test_every_branch_of_shipped_code_is_walked_once() -> None:
    amount = z3.Int("amount")

    def run(trail: Trail) -> str:
        value = trail.unknown(amount)
        return "low" if value < 3 else "exact" if value == 3 else "high"

    assert sorted(path.result for path in every_path([amount >= 0], run)) == [
        "exact",
        "high",
        "low",
    ]
    assert sorted(path.result for path in every_path([amount > 3], run)) == ["high"]


def test_a_quotient_of_unknowns_is_small_and_known_or_large_and_only_that() -> None:
    numerator, denominator = z3.Ints("numerator denominator")
    assumed = [numerator >= 0, denominator > 0]
    results = [
        plain(path.result)
        for path in every_path(
            assumed,
            lambda trail: divide_up(
                trail.unknown(numerator),  # type: ignore[arg-type]
                trail.unknown(denominator),  # type: ignore[arg-type]
            ),
        )
    ]
    known = sorted(result for result in results if isinstance(result, int))
    assert known == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert len(results) == len(known) + 1


def test_the_solver_names_the_numbers_that_break_a_claim() -> None:
    one = z3.Int("one")
    prover = method_solver.Prover()
    assert prover.counter_example(one > 1, one < 3) == "one = 2"
    assert prover.counter_example(one > 1, one < 2) is None
