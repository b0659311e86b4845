"""The benchmarks' arithmetic, and that each of them runs; no test looks at how fast anything is."""

import json
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import (
    codec,
    fleet,
    harness,
    journal,
    pump_days,
    query,
    review,
    storms,
    therapy,
    usb_bulk,
)
from benchmarks.harness import Block, Row, each, each_awaited, each_of, interleave, mean, percentile
from hil.storm import draw
from hil.storm.run import run_storm


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([7], 0.99, 7),
        ([4, 1, 3, 2], 0.5, 2),
        ([5, 4, 3, 2, 1], 0.5, 3),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 1.0, 100),
        (list(range(1, 102)), 0.99, 100),
        (list(range(1, 101)), 0.0, 1),
    ],
)
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(
    samples: list[int], share: float, expected: int
) -> None:
    assert percentile(samples, share) == expected


async def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> Block:
        async def block() -> list[int]:
            calls.append(name)
            return [len(calls)]

        return block

    taken = await interleave([side("a"), side("b"), side("c")], 2)
    assert "".join(calls) == "cbaabccba"
    assert taken == [[4, 9], [5, 8], [6, 7]]


async def test_blocks_do_their_work_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(harness, "perf_counter_ns", lambda: next(now))
    done: list[str] = []

    async def awaited() -> None:
        done.append("awaited")

    assert await each(lambda: done.append("each"), 3)() == [10, 10, 10]
    assert await each_awaited(awaited, 2)() == [10, 10]
    assert await each_of(done.append, lambda: ["x", "y"])() == [10, 10]
    assert await mean(lambda: done.append("mean"), 5)() == [2]
    assert done == ["each"] * 3 + ["awaited"] * 2 + ["x", "y"] + ["mean"] * 5


@pytest.mark.parametrize(
    ("value", "target", "verdict"),
    [(1.0, None, ""), (1.5, 1.5, "meets"), (1.51, 1.5, "falls short")],
)
def test_a_row_says_whether_it_meets_its_target(
    value: float, target: float | None, verdict: str
) -> None:
    assert Row("a", "this / that", value, "x", target, "").verdict == verdict


def targets(rows: list[Row]) -> list[tuple[str, float | None]]:
    assert all(row.value > 0 and row.what and row.basis for row in rows)
    return [(row.letter, row.target) for row in rows]


@pytest.mark.real_clock
def test_a_query_is_measured_against_the_same_bytes_through_pyserial() -> None:
    assert targets(query.measure(rounds=1, calls=5)) == [
        *[("a", 1.5), ("a", 2.0)],
        *[("a", 1.5), ("a", 2.0)],
    ]


@pytest.mark.real_clock
def test_b_therapy_is_measured_against_its_queries_and_one_durable_write() -> None:
    assert targets(therapy.measure(rounds=1, calls=3)) == [("b", 1.3)]


@pytest.mark.real_clock
def test_c_frames_are_measured_against_bare_cbor() -> None:
    assert targets(codec.measure(rounds=1, calls=5)) == [("c", 3.0), ("c", None), ("c", None)]


@pytest.mark.real_clock
def test_d_reviews_of_both_examples_are_measured_against_a_frame() -> None:
    assert targets(review.measure(rounds=1, calls=2)) == [("d", 15.0), ("d", 15.0)]


@pytest.mark.real_clock
def test_e_days_of_a_pump_are_counted() -> None:
    assert targets(pump_days.measure(rounds=1, days=1)) == [("e", None), ("e", None)]


@pytest.mark.real_clock
@pytest.mark.parametrize("entries", [40, 2_300])
def test_f_opening_a_journal_and_g_a_decision_after_a_long_history_are_measured(
    entries: int,
) -> None:
    rows = journal.measure(entries=entries, rounds=1, decisions=2)
    assert targets(rows) == [("f", 5.0), ("f", None), ("g", 2.0)]


@pytest.mark.real_clock
def test_h_a_stop_i_pipelined_frames_and_k_a_query_are_measured_beside_many_devices() -> None:
    rows = fleet.measure(devices=3, stops=6, watch_s=0.2, frames=50)
    assert targets(rows) == [("h", 2.0), ("i", None), ("k", None)]


@pytest.mark.real_clock
def test_l_round_trips_and_m_pipelined_frames_are_measured_on_usb() -> None:
    rows = usb_bulk.measure(rounds=1, calls=5, frames=50)
    assert targets(rows) == [("l", 1.5), ("l", 1.5), ("m", None)]


@pytest.mark.real_clock
def test_n_storms_are_counted() -> None:
    assert targets(storms.measure(rounds=2)) == [("n", 10.0), ("n", None), ("n", None)]


def test_a_calm_day_has_twenty_commands_that_are_all_carried_out() -> None:
    record = run_storm(storms.calm_day(1))
    told = [one.told for one in record.asked[: draw.COMMANDS_A_DAY]]
    assert told == ["done"] * draw.COMMANDS_A_DAY


def test_a_shortfall_is_told_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("a", "slow / fast", 9.0, "x", 1.5, "made up"), Row("e", "days", 7, "d/s", None, "")]
    monkeypatch.setattr(command, "MEASUREMENTS", [lambda: rows])
    monkeypatch.setattr(command, "pin", lambda process, core: True)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json"])
    command.main()
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "neuraxis.bench/1"
    assert [row["verdict"] for row in document["rows"]] == ["falls short", None]
    assert document["short"] == ["a: slow / fast"]

    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    command.main()
    assert "falls short: a: slow / fast (9.00 x, target ≤ 1.5 x)" in capsys.readouterr().out
