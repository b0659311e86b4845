"""The storm: the same seed gives the same bytes, its oracle sees, and what it found is kept."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest import mock

import pytest

from firmware_bridge.families.conversation import Conversation
from hil.storm.draw import draw
from hil.storm.oracle import judge
from hil.storm.oracle_pump import most_in
from hil.storm.plan import Act, Family, Plan
from hil.storm.plan_file import read_plan
from hil.storm.run import run_storm
from hil.storm.runner import (
    Tally,
    chunks_of,
    digest_of,
    in_this_process,
    on_cores,
    run_plan,
)
from hil.storm.shrink import shrink
from hil.storm.weather import kind_of
from hil.witness import Cumulative

from .hunt import ENOUGH, PLANTED, RECORD, plan_file
from .planted_road import ROAD_BUGS, planted

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).parent / "known"
MINUTE, HOUR = 60_000, 3_600_000


# --- the same seed, the same bytes ---------------------------------------------------------------

IN_A_PROCESS = """
from hil.storm.draw import draw
from hil.storm.runner import run_plan
for seed in (3, 4):
    for family in ("pump", "stimulator"):
        print(run_plan(draw(seed, family)).digest)
"""


@pytest.mark.real_clock
def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    digests = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", IN_A_PROCESS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.append(done.stdout.split())
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 4


@pytest.mark.real_clock
@pytest.mark.parametrize("family", ["pump", "stimulator"])
def test_being_quick_changes_not_one_byte(family: Family) -> None:
    for seed in range(20, 26):
        plan = draw(seed, family)
        quick, slow = run_storm(plan), run_storm(plan, quick=False)
        assert digest_of(quick) == digest_of(slow)


@pytest.mark.real_clock
@pytest.mark.parametrize("family", ["pump", "stimulator"])
def test_a_sealed_storm_has_the_same_bytes_again_and_its_oracle_understands_them(
    family: Family,
) -> None:
    plan = replace(draw(20, family), sealed=True)
    record, again = run_storm(plan), run_storm(plan)
    assert digest_of(record) == digest_of(again)
    therapy = {0x05, 0x20, 0x21, 0x40}
    went = {kind_of(data) for _, from_host, data in record.line.traffic if from_host}
    said = {kind_of(data) for _, from_host, data, _ in record.line.said if from_host}
    assert not went & therapy
    assert said & therapy
    assert 0 in went
    assert 0 not in said


@pytest.mark.real_clock
def test_the_same_on_several_processes() -> None:
    chunks = chunks_of(("pump",), range(1, 31), 1)
    alone, spread = list(in_this_process(chunks)), list(on_cores(2)(chunks))
    assert sum(one.seeds for one in spread) == 30
    assert _sum(spread) == _sum(alone)


def _sum(tallies: list[Tally]) -> tuple[Counter[str], Counter[str]]:
    whole = sum(tallies, Tally())
    return whole.drew, whole.reached


PARTS: list[tuple[Family, range]] = [
    *(("pump", range(first, first + 120)) for first in range(1, 1_801, 120)),
    *(("stimulator", range(first, first + 20)) for first in range(1, 201, 20)),
]
"""2,000 seeds, in parts that several processes share."""


# --- what holds ----------------------------------------------------------------------------------


@pytest.mark.real_clock
@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-62")
@pytest.mark.parametrize(("family", "seeds"), PARTS, ids=str)
def test_no_storm_gets_a_dose_over_its_limit_or_a_basal_under(family: Family, seeds: range) -> None:
    failing = {}
    for seed in seeds:
        outcome = run_plan(draw(seed, family))
        if outcome.wrong:
            failing[seed] = outcome.wrong
    assert failing == {}


@pytest.mark.real_clock
def test_a_calm_day_does_what_is_asked() -> None:
    acts = [Act(20_000, "apply", amount=100, who="A")]
    acts += [Act(HOUR * hour, "bolus", amount=50, who="B") for hour in (2, 6, 10)]
    acts += [Act(12 * HOUR, "stop", "flow", who="A"), Act(13 * HOUR, "bolus", amount=50, who="A")]
    record = run_storm(Plan("pump", 1, 1_440, tuple(acts)))
    assert judge(record) == []
    told = [one.told for one in record.asked]
    assert told[:6] == ["done", "done", "done", "done", "done", "refused"]
    doses = [deed.value[1] for deed in record.witness.deeds if deed.what == "begin_bolus"]
    assert doses == [5_000, 5_000, 5_000]


@pytest.mark.real_clock
@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("monitor", [True, False])
def test_a_pump_that_runs_freely_is_stopped_where_a_monitor_watches(monitor: bool) -> None:
    acts = (
        Act(20_000, "apply", amount=100, who="A"),
        Act(2 * HOUR, "device", "free_flow"),
        Act(2 * HOUR + 20 * MINUTE, "device", "heal"),
    )
    record = run_storm(Plan("pump", 1, 300, acts, poll=5 * MINUTE, monitor=monitor))
    assert judge(record) == []
    stops = [deed.value for deed in record.witness.deeds if deed.what == "stop"]
    assert [depth for _, _, depth in record.monitor_stops[:1]] == stops[:1] == ["flow"] * monitor


@pytest.mark.real_clock
@pytest.mark.requirement("SR-30")
def test_a_monitor_takes_the_sleep_of_its_host_for_no_excess() -> None:
    acts = (
        Act(20_000, "apply", amount=100, who="A"),
        Act(2 * HOUR + 61_000, "suspend", amount=5 * HOUR),
    )
    record = run_storm(Plan("pump", 1, 300, acts, poll=5 * MINUTE, monitor=True))
    assert judge(record) == []
    assert record.monitor_stops == []


# --- the oracle's own eyes -----------------------------------------------------------------------


def test_the_window_search_agrees_with_exact_arithmetic() -> None:
    random = Random(5)
    for _ in range(300):
        times = sorted(random.sample(range(1_000), random.randint(2, 12)))
        amounts = sorted(random.randrange(10_000) for _ in times)
        length = random.randint(1, 400)
        exact, _ = Cumulative(tuple(times), tuple(amounts)).most_in(length)
        assert abs(most_in(times, amounts, length)[0] - exact) <= 1


def _found() -> set[str]:
    planted_bugs: list[dict[str, object]] = json.loads(RECORD.read_text("utf-8"))["planted"]
    return {str(one["bug"]) for one in planted_bugs if one["seed"]}


@pytest.mark.real_clock
@pytest.mark.parametrize("name", sorted(_found()))
def test_a_planted_bug_is_seen_in_its_storm_and_nothing_without_it(name: str) -> None:
    bug = ROAD_BUGS[name]
    plan = read_plan(plan_file(bug))
    assert run_plan(plan).wrong == ()
    with planted(bug):
        assert run_plan(plan).wrong != ()


SEALING_DOES_NOT_HIDE = (
    "retry with a new id",
    "silence taken for no",
    "telemetry taken for an ack",
    "STOP queued",
    "doubt refunds",
    "lease not renewed under load",
)


@pytest.mark.real_clock
@pytest.mark.parametrize("name", SEALING_DOES_NOT_HIDE)
def test_a_bug_that_no_seal_can_mend_is_seen_on_a_sealed_line_too(name: str) -> None:
    plan = replace(read_plan(plan_file(ROAD_BUGS[name])), sealed=True)
    assert run_plan(plan).wrong == ()
    with planted(ROAD_BUGS[name]):
        assert run_plan(plan).wrong != ()


def test_at_least_fifteen_bugs_were_found() -> None:
    assert len(_found()) >= ENOUGH
    assert _found() <= set(ROAD_BUGS)


def test_every_storm_that_is_kept_is_of_a_bug_that_was_found() -> None:
    assert set(PLANTED.iterdir()) == {plan_file(ROAD_BUGS[name]) for name in _found()}


# --- what it found in the real road --------------------------------------------------------------


@pytest.mark.real_clock
@pytest.mark.requirement("SR-32")
@pytest.mark.requirement("SR-58")
def test_a_plan_from_before_a_stop_is_void_after_it() -> None:
    assert run_plan(read_plan(KNOWN / "stop-between-plan-and-confirm.yaml")).wrong == ()


@pytest.mark.real_clock
def test_a_lease_that_bad_weather_ends_is_no_fault_of_a_host_that_has_slept() -> None:
    assert run_plan(read_plan(KNOWN / "lease-lost-in-bad-weather-after-a-sleep.yaml")).wrong == ()


@pytest.mark.real_clock
def test_a_question_that_was_long_under_way_is_no_word_to_another_device() -> None:
    assert run_plan(read_plan(KNOWN / "handshake-late-at-another-device.yaml")).wrong == ()


@pytest.mark.real_clock
@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-25")
def test_no_other_device_answers_for_a_dose() -> None:
    plan = read_plan(KNOWN / "plug-moved-while-opening.yaml")
    assert run_plan(plan).wrong == ()
    with planted(ROAD_BUGS["any device's word counts"]):
        assert run_plan(plan).wrong != ()


@pytest.mark.real_clock
@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-32")
def test_no_other_device_confirms_a_stop() -> None:
    plan = read_plan(KNOWN / "stop-confirmed-by-another-device.yaml")
    assert run_plan(plan).wrong == ()
    with planted(ROAD_BUGS["any device's word counts"]):
        assert any("the stop of the flow was confirmed" in one for one in run_plan(plan).wrong)


@pytest.mark.real_clock
@pytest.mark.parametrize("name", ["applied-again-after-a-press", "stopped-in-a-press"])
def test_the_monitor_stops_no_pump_whose_patient_pressed_before_a_program_came_again(
    name: str,
) -> None:
    assert run_plan(read_plan(KNOWN / f"monitor-and-a-pump-{name}.yaml")).wrong == ()


@pytest.mark.real_clock
@pytest.mark.parametrize("name", ["start-that-a-status-overtook", "lowering-that-is-repeated"])
def test_the_monitor_stops_no_stimulator_that_gives_what_was_asked_for(name: str) -> None:
    assert run_plan(read_plan(KNOWN / f"monitor-stops-a-{name}.yaml")).wrong == ()


@pytest.mark.real_clock
@pytest.mark.parametrize(
    "name",
    ["raise-and-lowering-cross", "raise-that-a-lowering-overtook", "monitor-begins-in-a-fall"],
)
def test_a_lowering_and_its_journal_agree_with_what_the_device_gives(name: str) -> None:
    assert run_plan(read_plan(KNOWN / f"{name}.yaml")).wrong == ()


@pytest.mark.real_clock
def test_a_device_that_lets_a_raise_be_overtaken_is_found() -> None:
    def takes_any_order(self: Conversation, envelope: object) -> None:
        return

    with mock.patch.object(Conversation, "check_order", takes_any_order):
        (wrong,) = run_plan(read_plan(KNOWN / "raise-that-a-lowering-overtook.yaml")).wrong
    assert "over-plan" in wrong


# --- smaller plans -------------------------------------------------------------------------------


@pytest.mark.real_clock
def test_a_failing_plan_is_made_smaller_and_still_fails_the_same_way() -> None:
    bug = ROAD_BUGS["a lost host stops the flow"]
    plan = draw(2, bug.family)
    with planted(bug):
        assert run_plan(plan).wrong != ()
        told: list[Plan] = []
        small = shrink(plan, told.append, patience_s=30)
        assert run_plan(small).wrong != ()
    assert len(small.acts) < len(plan.acts) // 3
    assert len(told) > 2
    assert run_plan(small).wrong == ()
