"""The proofs of the kernel in a tiny form, and a handful of their planted bugs: they stay sharp."""

import io
from collections.abc import Callable, Iterator

import pytest
from clinical_examples import ITP
from rich.console import Console

from safety.dose import worst_case_over
from safety.state import DELIVERY_SLACK

from . import line_search, pump_world, slow_rules, slow_twin
from .breadth_first import walk
from .claims import CLAIMS
from .evidence import Evidence, Planted
from .life_steps import live
from .line_search import bridges, primes
from .line_windows import WINDOWS, bridged_window
from .method_differential import life_of, shortest
from .method_guards import GUARDS, Guard
from .planted_bugs import BUGS, planted_for
from .pump_life import Tally
from .pump_world import World
from .quicken import quicken
from .reports import show, unfound
from .worlds import WORLDS

STATES, LIVES = 1_200, 60


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What is planted ends with the test; so does what a cache remembers of it."""
    worst_case_over.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    worst_case_over.cache_clear()


# --- exhaustive search ---------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-62")
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_no_claim_is_broken_in_any_order_of_events(
    world: World, planted: pytest.MonkeyPatch
) -> None:
    quicken(planted.setattr)
    result = walk(world, CLAIMS, STATES)
    assert [str(found) for found in result.found] == []
    assert result.states == STATES


@pytest.mark.parametrize(
    "bug",
    [
        "the window's edge is open: > for >=",
        "UNCERTAIN is refunded",
        "doubt is ignored",
        "the latch is ignored",
        "a latch takes the basal away",
        "a restart voids what was reserved",
    ],
)
def test_the_search_finds_a_planted_bug_by_a_short_path(
    bug: str, planted: pytest.MonkeyPatch
) -> None:
    BUGS[bug].plant(planted.setattr)
    quicken(planted.setattr)
    found = [
        one for world in WORLDS for one in walk(world, CLAIMS, STATES, stop_at_first=True).found
    ]
    assert found
    assert len(found[0].path) <= 8


# --- differential --------------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-62")
def test_the_kernel_and_the_slow_twin_say_the_same_and_nothing_legitimate_is_refused() -> None:
    tally = Tally()
    for seed in range(LIVES):
        setting, steps = life_of(seed)
        assert live(setting, steps, tally).difference is None, f"seed {seed}"
    assert (tally.refused, tally.outside) == (0, 0)
    assert tally.asked > LIVES


@pytest.mark.parametrize(
    "bug",
    [
        "the mean basal for its largest integral",
        "the patient's boluses are counted twice",
        "the worst case is rounded down",
        "the limit is off by one nanolitre",
        "a reason passes hard findings",
        "the basal is refused while its windows are full (SR-62)",
        "no alarm asks for a look",
        "windows are open while unasked delivery lasts",
        "another patient goes unnoticed",
        "no program is the first of a drug",
        "asking often takes the basal away",
    ],
)
def test_the_twin_finds_a_planted_bug_and_a_short_life_that_shows_it(
    bug: str, planted: pytest.MonkeyPatch
) -> None:
    BUGS[bug].plant(planted.setattr)
    for seed in range(LIVES):
        setting, steps = life_of(seed)
        if live(setting, steps, Tally()).difference is not None:
            short = shortest(setting, steps)
            assert live(setting, short, Tally()).difference is not None
            assert len(short) < len(steps)
            return
    pytest.fail(f"not found in {LIVES} lives")


def test_the_numbers_that_the_proofs_write_down_again_are_those_of_the_bench_pump() -> None:
    assert slow_twin.LOCKOUT == pump_world.LOCKOUT == ITP.lockout_min
    assert ITP.poll == slow_twin.POLL
    assert ITP.flow_max == slow_rules.FLOW_MAX
    assert slow_twin.SLACK == DELIVERY_SLACK
    assert line_search.LINE * 1_000_000 // (1_000_000 + ITP.accuracy) == line_search.PRIME


# --- guards alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_upholds_its_claim_with_all_others_taken_out(
    guard: Guard, planted: pytest.MonkeyPatch
) -> None:
    for out in {one.out for one in GUARDS if one.claim != guard.claim}:
        BUGS[out].plant(planted.setattr)
    quicken(planted.setattr)
    claims = [one for one in CLAIMS if one.name == guard.claim]
    assert walk(guard.world, claims, STATES // 2).found == []


# --- the line ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-13")
def test_a_fill_is_primed_once_in_any_order_of_events() -> None:
    states, sentence = primes(6)
    assert sentence is None
    assert states > 300


@pytest.mark.requirement("SR-12")
def test_a_line_that_moves_takes_no_bolus_in_any_order_of_events() -> None:
    states, sentence = bridges(5)
    assert sentence is None
    assert states > 600


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_holds_bridges_and_primes_to_the_nanogram(
    window: Callable[[int], str | None], more: int
) -> None:
    assert window(more) is None


def test_a_bridge_that_is_not_counted_is_found(planted: pytest.MonkeyPatch) -> None:
    BUGS["a bridge is not counted in the windows"].plant(planted.setattr)
    assert bridged_window(1) is not None


# --- the bugs and the report ---------------------------------------------------------------------


def test_every_planted_bug_is_meant_to_be_found_by_some_method() -> None:
    methods = ("differential", "search", "line")
    assert set(BUGS) == {bug.name for method in methods for bug in planted_for(method)}
    assert len(BUGS) >= 85
    assert {bug.world for bug in BUGS.values()} <= {"", *(world.name for world in WORLDS)}


def test_a_bug_that_one_method_misses_and_another_finds_is_found() -> None:
    one = Evidence("one", "all", (), (Planted("a", True, "1"), Planted("b", False, "9")), "", 1.0)
    two = Evidence("two", "all", ("over",), (Planted("b", False, "9", expected=False),), "", 1.0)
    assert unfound([one, two]) == ["b"]
    assert unfound([one]) == ["b"]
    text = io.StringIO()
    show([one, two], Console(file=text, width=150))
    assert "found by no method: b" in text.getvalue()
    assert "violation (two): over" in text.getvalue()
