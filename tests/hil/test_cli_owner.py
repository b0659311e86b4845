"""One owner for each device: requests from other terminals, signals, and the death of the host."""

import json
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cli_bench import (
    COMMAND,
    STIMULATION,
    Simulator,
    cli,
    currents,
    highest,
    is_silent,
    journal_of,
    process,
    running,
    simulator,
    until,
    whole,
)

from device_profiles.errors import OwnerError
from firmware_bridge.links.url import parse_url
from hil.owner import find_owner
from hil.places import OwnerRecord, Places

pytestmark = pytest.mark.real_clock

LEASE_MS = 2_000


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulator(tmp_path_factory.mktemp("device"), "stimulator") as one:
        yield one


def status() -> dict[str, object]:
    values: dict[str, object] = cli("status", "--format", "json").json["values"]
    return values


@pytest.mark.fault("F49")
@pytest.mark.fault("F76")
def test_other_terminals_ask_the_owner_and_a_second_owner_is_refused_with_its_pid(
    device: Simulator, tmp_path: Path, state_folder: Path
) -> None:
    url = ("--device", device.url)
    with running(tmp_path, "run", "run", STIMULATION, *url, "--yes") as run:
        run.until_it_says("started 'walking'")
        for other in ("run", "plan", "apply"):
            refused = cli(other, STIMULATION, *url)
            assert refused.code == 4
            assert f"already has an owner: process {run.pid}." in refused.err
        assert cli("status", *url).code == 0, "with --device the owner is asked all the same"
        assert cli("status", "--device", f"{device.url}?serial=SCS-A").code == 0
        _only_the_user_may_enter(state_folder)
        listed = process("devices", "--format", "json").json["owners"]
        assert listed == [{"url": device.url, "serial": "SCS-A", "pid": run.pid}]

        for command, code, words in (
            (["amplitude", "6.1 mA"], 3, "6 mA, the ceiling of the patient"),
            (["amplitude", "3"], 2, "bare number"),
            (["amplitude", "3 mA", "--area", "2"], 2, "not 2"),
            (["impedance"], 3, "the output is on"),
            (["switch", "nobody"], 3, "walking, night"),
        ):
            refused = cli(*command)
            assert refused.code == code, refused.said
            assert words in refused.err
        assert cli("amplitude", "0.5 mA").code == 0
        until(lambda: status()["area_1_amplitude_uA"] == 500, "0.5 mA")
        assert cli("amplitude", "0.7 mA").code == 0
        until(lambda: status()["area_1_amplitude_uA"] == 700, "0.7 mA")
        assert cli("switch", "night").code == 0
        assert status()["slot"] == 1
        stopped = cli("stop", "--format", "json")
        assert (stopped.code, stopped.err, stopped.json["state"]) == (0, "", "off")
        assert run.end().code == 0
        assert "stopped by another terminal" in run.said
    assert is_silent(device.truth())
    assert highest(device.truth()) <= 4_200
    assert whole(journal_of("SCS-A"))
    assert cli("status").code == 4


def _only_the_user_may_enter(state_folder: Path) -> None:
    for name in ("journals", "locks", "owners", "anchors"):
        assert stat.S_IMODE((state_folder / "neuraxis" / name).stat().st_mode) == 0o700
    record = next((state_folder / "neuraxis" / "owners").glob("*.json"))
    socket = Path(json.loads(record.read_text("utf-8"))["socket"])
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(journal_of("SCS-A").stat().st_mode) == 0o600


@pytest.mark.requirement("SR-31")
@pytest.mark.requirement("SR-33")
@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGTERM, signal.SIGINT, signal.SIGINT], 143),
    ],
)
def test_ctrl_c_and_sigterm_end_in_the_safe_state_however_often_they_come(
    device: Simulator, tmp_path: Path, signals: list[signal.Signals], code: int
) -> None:
    with running(tmp_path, "run", "run", STIMULATION, "--device", device.url, "--yes") as run:
        run.until_it_says("started 'walking'")
        seen = len(device.truth())
        until(lambda: len(device.truth()) > seen + 3, "a rise")
        for number in signals:
            run.signal(number)
        ended = run.end()
        assert ended.code in {code, 130, 143} if len(set(signals)) > 1 else ended.code == code
        assert "safe state confirmed: SCS-A is off" in ended.out
        assert "being brought to its safe state" in ended.err
        assert "Traceback" not in ended.err
    assert is_silent(device.truth())
    assert whole(journal_of("SCS-A"))


@pytest.mark.requirement("SR-33")
def test_a_run_whose_terminal_is_closed_ends_in_the_safe_state(
    device: Simulator, tmp_path: Path
) -> None:
    terminal, line = os.openpty()
    command = [*COMMAND, "run", str(STIMULATION), "--device", device.url, "--yes"]
    run = subprocess.Popen(command, stdin=line, stdout=line, stderr=line, start_new_session=True)
    os.close(line)
    threading.Thread(target=_read_all, args=(terminal,), daemon=True).start()
    seen = len(device.truth())
    until(lambda: len(device.truth()) > seen + 3, "a rise")
    os.close(terminal)
    run.send_signal(signal.SIGHUP)
    assert run.wait(20) == 129
    assert is_silent(device.truth())
    told = cli("journal", "show", journal_of("SCS-A")).out.strip().splitlines()[-4:]
    assert any("safe state confirmed" in line for line in told), told


def _read_all(terminal: int) -> None:
    """Reads until the terminal is closed, so that nobody waits who writes there."""
    with suppress(OSError):
        while os.read(terminal, 65536):
            pass


def test_ctrl_c_at_the_question_applies_nothing(device: Simulator, tmp_path: Path) -> None:
    seen = len(device.truth())
    with running(tmp_path, "apply", "apply", STIMULATION, "--device", device.url) as asking:
        assert asking.end().code == 3, "standard input has ended: no yes"
    assert len(device.truth()) == seen


@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F67")
def test_kill_9_in_a_ramp_leaves_zero_within_the_lease_a_whole_journal_and_a_free_device(
    device: Simulator, tmp_path: Path
) -> None:
    with running(tmp_path, "run", "run", STIMULATION, "--device", device.url, "--yes") as run:
        run.until_it_says("started 'walking'")
        until(lambda: abs(currents(device.truth()).get("E3", 0)) >= 1_500, "a ramp under way")
        run.kill()
        killed = device.truth()[-1]["t_ms"]
    until(lambda: is_silent(device.truth()), "zero")
    truth = device.truth()
    assert truth[-1]["t_ms"] <= killed + LEASE_MS + 1_000
    assert highest(truth) <= 4_200
    assert whole(journal_of("SCS-A"))
    assert cli("status").code == 4, "the dead owner's record is cleared away"
    again = cli("run", STIMULATION, "--device", device.url, "--yes", "--for", "100 ms")
    assert again.code == 0, again.said
    assert is_silent(device.truth())


def test_without_an_owner_and_a_device_a_request_says_how_to_name_one() -> None:
    for command in (["status"], ["stop"], ["amplitude", "1 mA"], ["impedance"]):
        answer = cli(*command)
        assert answer.code == 4
        assert "--device URL" in answer.err


@pytest.fixture
def owned(device: Simulator, tmp_path: Path) -> Iterator[Simulator]:
    """The device while a run owns it."""
    with running(tmp_path, "run", "run", STIMULATION, "--device", device.url, "--yes") as run:
        run.until_it_says("started 'walking'")
        yield device
        run.signal(signal.SIGINT)
        run.end()


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("spelling", ["{url}?baud=115200", "serial://{port}"])
def test_stop_reaches_the_owner_however_the_port_is_spelt(owned: Simulator, spelling: str) -> None:
    port = Path(owned.url.removeprefix("serial://")).resolve()
    assert cli("stop", "--device", spelling.format(url=owned.url, port=port)).code == 0


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F48")
def test_an_owner_does_nothing_for_whoever_asked_for_another_serial_number(
    owned: Simulator,
) -> None:
    other = ("--device", f"{owned.url}?serial=SCS-B")
    for command in (["status"], ["amplitude", "3 mA"], ["impedance"], ["alarms"]):
        refused = cli(*command, *other)
        assert refused.code == 3, refused.said
        assert "SCS-A is the device there that is owned" in refused.err
        assert "SCS-B was asked for" in refused.err
    unstopped = cli("stop", *other)
    assert unstopped.code == 6
    assert "none was sent, the device goes on as it was" in unstopped.err
    # At the begin of its ramp it may still be silent.
    until(lambda: not is_silent(owned.truth()), "the therapy does not go on")


@pytest.mark.requirement("SR-25")
def test_each_of_two_boards_of_one_make_has_its_own_owner_and_its_own_lock(tmp_path: Path) -> None:
    where, held = Places(tmp_path), []
    for serial in ("A", "B"):
        url = f"usb://1209:0001?serial={serial}"
        held += [where.line_lock(parse_url(url)), where.lock(serial)]
        held[-2].take()
        held[-1].take()
        where.announce(OwnerRecord(1, url, serial, "pump", "socket", "journal"))
    for serial in ("A", "B"):
        found = find_owner(where, parse_url(f"usb://1209:0001?serial={serial}"), None)
        assert found is not None
        assert found.serial == serial
    assert find_owner(where, parse_url("usb://1209:0001?serial=C"), None) is None
    with pytest.raises(OwnerError, match="several devices are owned"):
        find_owner(where, parse_url("usb://1209:0001"), None)


def test_lowering_to_an_amplitude_between_two_steps_is_no_fault_of_the_device(
    owned: Simulator,
) -> None:
    assert cli("amplitude", "3.05 mA").code in (0, 2, 3)


def test_a_request_for_a_pump_does_not_deny_the_stimulators_owner(owned: Simulator) -> None:
    answer = cli("bolus", "0.1 mg", "--over", "10 min")
    assert answer.code != 0
    assert "no owner is running on this machine" not in answer.err


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["status"], 0),
        (["status", "--device", "{url}"], 0),
        (["amplitude", "6.1 mA"], 3),
        (["run", STIMULATION, "--device", "{url}", "--yes"], 4),
    ],
    ids=["status", "status of a device", "a refusal", "a second run"],
)
def test_what_an_owner_had_answered_is_no_difference_of_a_replay(
    command: list[object], code: int, owned: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "a.capture"
    given = [str(one).format(url=owned.url) for one in command]
    assert cli("capture", "record", file, *given).code == code
    played = cli("replay", file)
    assert played.code == 2
    assert f"{file} holds no line to a device" in played.err
    assert "the owner of SCS-A answered is not in it" in played.err


def test_what_ends_before_an_owner_is_asked_is_played_beside_it(
    owned: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "a.capture"
    assert cli("capture", "record", file, "stop", "--flow", stdin="no\n").code == 3
    assert cli("replay", file).code == 0
    assert cli("status").code == 0
