"""The methods about crashes in tiny forms: what they show still holds, and they stay sharp."""

import pytest

from .crash_life import Life, same_every_time
from .crash_oracle import look, wrong_at_death
from .crash_outside import new_outside
from .crash_search import searched
from .crash_twins import ORDER_BUGS, OrderBug
from .method_failpoints import found as found_by_failpoints
from .method_kill import found as found_by_kills
from .method_kill import lives
from .method_powercut import CUT_BUGS, Findings, cut_twin, look_at, lying_disk
from .power_cut import AnchorImages, filmed

EVERY_NTH_BYTE = 64
KILLS = 8
SEND_FIRST = ORDER_BUGS[0].name


@pytest.mark.requirement("SR-23")
@pytest.mark.fault("F67")
@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late, with checkpoints"])
def test_no_dose_is_forgotten_or_given_twice_whatever_one_death_interrupts(late: bool) -> None:
    search = searched(1, late_worker=late, checkpoints=late)
    assert search.found == []
    assert search.refused.total() == 0
    assert search.schedules(1) > 500
    assert search.lives > 100


@pytest.mark.requirement("SR-62")
def test_no_two_deaths_at_the_beginning_of_a_journal_latch_it() -> None:
    left = new_outside()
    for step in ("killed after opened was appended", "killed after intended was appended"):
        with same_every_time():
            course = Life(left, lambda key: True, late_worker=False).live(look)
        left = next(one for one in course.crashes.values() if one.path[-1] == step)
        assert wrong_at_death(left) == []


@pytest.mark.parametrize("bug", ORDER_BUGS, ids=lambda bug: bug.name)
def test_a_death_at_a_named_step_finds_a_planted_bug_of_order(bug: OrderBug) -> None:
    planted = found_by_failpoints(bug)
    assert planted.found, planted


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
@pytest.mark.parametrize("late_worker", [False, True], ids=["prompt", "late"])
def test_a_power_cut_loses_no_sent_dose_and_latches_nothing_falsely(late_worker: bool) -> None:
    scenes, heads = filmed(late_worker=late_worker)
    found = Findings()
    look_at(scenes, AnchorImages(heads), EVERY_NTH_BYTE, found)
    assert found.wrong == []
    assert found.cuts > 500


@pytest.mark.parametrize("bug", CUT_BUGS, ids=lambda bug: bug.name)
def test_a_power_cut_finds_a_planted_bug_of_syncing(bug: OrderBug) -> None:
    planted = cut_twin(bug)
    assert planted.found, planted


@pytest.mark.requirement("SR-56")
def test_a_disk_that_lies_is_shown_by_the_anchor() -> None:
    assert lying_disk().found


@pytest.mark.real_clock
@pytest.mark.requirement("SR-23")
@pytest.mark.fault("F67")
def test_no_dose_is_forgotten_or_given_twice_by_real_hosts_that_are_killed() -> None:
    tally = lives(KILLS, 20.0, seed=2)
    assert tally["wrong"] == []
    assert tally["kills"] >= KILLS
    assert tally["doses"] > 0


@pytest.mark.real_clock
def test_kills_find_a_host_that_sends_before_it_records() -> None:
    planted = found_by_kills(SEND_FIRST)
    assert planted.found, planted
