"""`alarms`, `acknowledge`, `pause`, and what `status` shows of the board."""

import getpass
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_bench import (
    INFUSION,
    Simulator,
    apply,
    cli,
    journal_of,
    running,
    simulator,
    until,
)

pytestmark = pytest.mark.real_clock


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[Simulator]:
    """A pump with a program, whose motor has stopped."""
    with simulator(tmp_path, "pump", "at: status 6, fault: motor_stall") as device:
        assert apply(INFUSION, device.url).code == 0
        until(lambda: "motor-stall" in cli("status", "--device", device.url).out, "the stall")
        yield device


def board(device: Simulator) -> list[tuple[str, str, bool, bool]]:
    answer = cli("alarms", "--device", device.url, "--format", "json")
    assert (answer.code, answer.json["schema"]) == (0, "neuraxis.alarms/1")
    return [(a["priority"], a["code"], a["over"], a["seen"]) for a in answer.json["board"]]


@pytest.mark.requirement("SR-55")
def test_without_alarms_the_board_says_so(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator") as device:
        empty = cli("alarms", "--device", device.url)
        status = cli("status", "--device", device.url)
    assert (empty.code, empty.out.splitlines()) == (0, ["SCS-A: no alarms"])
    assert "highest alarm            none" in status.out


@pytest.mark.requirement("SR-55")
def test_the_board_shows_what_it_is_since_when_and_what_to_do(stalled: Simulator) -> None:
    shown = cli("alarms", "--device", stalled.url)
    assert shown.code == 0
    assert "1 on the board, highest first" in shown.out
    assert "MEDIUM" in shown.out
    assert "motor-stall (SR-55) since 20" in shown.out
    assert "do: A magnet may hold it for hours." in shown.out
    status = cli("status", "--device", stalled.url)
    assert "MEDIUM motor-stall: the device reports: motor-stall" in status.out
    (one,) = cli("status", "--device", stalled.url, "--format", "json").json["board"]
    assert one["code"] == "motor-stall"
    assert "motor-stall" in shown.err, "taking charge of a device sounds what nobody has seen"


@pytest.mark.requirement("SR-55")
def test_a_look_is_recorded_with_its_name_and_leaves_what_still_holds_silent(
    stalled: Simulator,
) -> None:
    looked = cli("acknowledge", "a magnet", "--user", "ana", "--device", stalled.url)
    assert looked.code == 0
    assert "noted: ana has looked at ITP-A; 1 still hold" in looked.out
    assert board(stalled) == [("MEDIUM", "motor-stall", False, True)]
    assert "motor-stall" not in cli("status", "--device", stalled.url).err, "it is silent"
    assert "ana looked at the device: a magnet" in cli("journal", "show", journal_of("ITP-A")).out


@pytest.mark.requirement("SR-55")
def test_a_name_that_is_not_given_is_the_users_own(stalled: Simulator) -> None:
    assert getpass.getuser() in cli("acknowledge", "seen", "--device", stalled.url).out


@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["acknowledge", "  "], "text"),
        (["acknowledge", "x" * 501], "text"),
        (["acknowledge", "seen", "--user", "x" * 65], "user"),
        (["pause", "--for", "11 min"], "at most 10 min"),
        (["pause", "--for", "10"], "bare number"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_device_is_touched(
    arguments: list[str], words: str
) -> None:
    refused = cli(*arguments, "--device", "serial:///dev/none")
    assert refused.code == 2
    assert words in refused.said


@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F95")
def test_a_pause_goes_to_the_owner_and_ends_with_its_line(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump") as device:
        url = ("--device", device.url)
        with running(tmp_path, "run", "run", INFUSION, *url, "--yes") as run:
            run.until_it_says("delivered")
            paused = cli("pause", "--for", "5 min")
            assert paused.code == 0, paused.said
            assert "silent for 5 min at most" in paused.out
            assert "silenced until" in cli("alarms").out
            device.kill()  # the port is gone
            answer = run.end()
        assert answer.code == 6
        assert "LOW link-lost" in answer.out
        device.again()
        later = cli("alarms", *url, "--format", "json").json
        assert later["silent_until_ms"] is None
        assert "link-lost" in [one["code"] for one in later["board"]]


@pytest.mark.requirement("SR-55")
def test_the_owner_answers_about_its_board(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", "at: status 8, fault: motor_stall") as device:
        with running(
            tmp_path, "run", "run", INFUSION, "--device", device.url, "--yes", "--format", "json"
        ) as run:
            run.until_it_says('"code": "motor-stall"')
            assert '"do": ' in run.said
            assert cli("alarms").out.count("motor-stall") == 2
            assert cli("acknowledge", "seen").code == 0
            assert '"seen": true' in cli("alarms", "--format", "json").out
            run.signal(signal.SIGINT)
            assert run.end().code == 130
        assert board(device) == [("MEDIUM", "motor-stall", False, True)]
