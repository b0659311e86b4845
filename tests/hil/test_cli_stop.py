"""The second question of `stop --flow`: asked once, and what an answer and no answer do."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_bench import COMMAND, INFUSION, PATIENCE_S, Simulator, apply, cli, running, simulator

pytestmark = pytest.mark.real_clock

QUESTION = "Halt the flow? Type yes:"


@pytest.fixture
def pump(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path, "pump", tcp=True) as device:
        yield device


def flow_of(device: Simulator) -> int:
    """What flows there, nL a day."""
    values = cli("status", "--device", device.url, "--format", "json").json["values"]
    assert isinstance(values["flow_nL_per_day"], int)
    return values["flow_nL_per_day"]


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ("yes\n", 0, "stopped and confirmed: no flow"),
        ("no\n", 3, "not confirmed: the flow goes on"),
        ("", 3, "not confirmed: the flow goes on"),
    ],
)
def test_the_question_is_no_part_of_the_json_and_every_answer_has_one(
    pump: Simulator, answer: str, code: int, text: str
) -> None:
    assert apply(INFUSION, pump.url).code == 0
    told = cli("stop", "--flow", "--device", pump.url, "--format", "json", stdin=answer)
    assert (told.code, told.json["code"], told.json["text"]) == (code, code, text)
    assert told.err.count(QUESTION) == 1
    assert (flow_of(pump) == 0) == (code == 0)


def test_a_closed_standard_input_is_a_no(pump: Simulator) -> None:
    assert apply(INFUSION, pump.url).code == 0
    stop = [*COMMAND, "stop", "--flow", "--device", pump.url]
    told = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *stop],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert told.returncode == 3
    assert told.stderr.endswith("neuraxis: not confirmed: the flow goes on\n")
    assert flow_of(pump) > 0


def test_a_yes_counts_where_nobody_reads_on(pump: Simulator) -> None:
    assert apply(INFUSION, pump.url).code == 0
    stop = [*COMMAND, "stop", "--flow", "--device", pump.url]
    told = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *stop],
        input="yes\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert QUESTION in told.stderr
    assert flow_of(pump) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_the_question_says_that_nothing_is_stopped(
    pump: Simulator, number: signal.Signals, tmp_path: Path
) -> None:
    """130 and 143 promise the safe state, so it is neither of them."""
    assert apply(INFUSION, pump.url).code == 0
    stdin, typed = os.pipe()
    stop = ("stop", "--flow", "--device", pump.url, "--format", "json")
    try:
        with running(tmp_path, "stop", *stop, stdin=stdin) as asking:
            asking.until_it_says(QUESTION)
            asking.signal(number)
            told = asking.end()
    finally:
        os.close(stdin)
        os.close(typed)
    assert (told.code, told.json["code"]) == (6, 6)
    assert "no stop was sent, the device goes on as it was" in told.err
    assert flow_of(pump) > 0


def test_one_question_stands_for_every_device_that_is_owned(tmp_path: Path) -> None:
    run = ("run", INFUSION, "--yes", "--device")
    with (
        simulator(tmp_path, "pump", serial="ITP-A", tcp=True) as one,
        simulator(tmp_path, "pump", serial="ITP-B", tcp=True) as other,
        running(tmp_path, "one", *run, one.url) as first,
    ):
        first.until_it_says("applied: ")
        kept = cli("stop", "--flow", stdin="no\n")
        assert (kept.code, kept.err.count(QUESTION)) == (3, 1)
        with running(tmp_path, "other", *run, other.url) as second:
            second.until_it_says("applied: ")
            told = cli("stop", "--flow", "--format", "json", stdin="yes\nyes\n")
            assert (told.code, told.err.count(QUESTION)) == (0, 1), told.said
            assert told.json["states"] == {"ITP-A": "halted", "ITP-B": "halted"}
            first.end()
            second.end()
