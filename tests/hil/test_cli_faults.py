"""What the command line does when line or device fail, and what the device then really did."""

import re
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_bench import (
    INFUSION,
    STIMULATION,
    Answer,
    apply,
    cli,
    digest_of,
    highest,
    is_silent,
    journal_of,
    key_store,
    process,
    running,
    simulator,
    until,
    whole,
)

pytestmark = pytest.mark.real_clock

LEASE_MS = 2_000
BASAL_NL_PER_DAY = (240_000, 180_000)


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F30")
def test_replies_lost_at_commit_measure_start_and_renew_are_settled_by_asking(
    tmp_path: Path,
) -> None:
    lost = [f"at: {request} 1, fault: drop_reply" for request in ("commit", "measure", "start")]
    with simulator(tmp_path, "stimulator", *lost, "at: renew 2, fault: drop_reply") as device:
        done = cli("run", STIMULATION, "--device", device.url, "--yes", "--for", "600 ms")
        assert (done.code, done.err) == (0, "")
        assert done.out.count("the reply was lost; asked, the device says: executed") == 2
        truth = device.truth()
    assert is_silent(truth)
    assert 100 < highest(truth) <= 4_200
    story = cli("journal", "show", journal_of("SCS-A")).out
    assert story.count("intended: start") == 1
    assert story.count("the reply was lost; asked, the device says: executed") == 3


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F33")
def test_a_damaged_or_doubled_reply_changes_nothing_of_the_outcome(tmp_path: Path) -> None:
    kinds = ["corrupt_reply", "truncate_reply", "duplicate_reply", "delay_reply", "reset"]
    faults = [f"at: commit {number}, fault: {kind}" for number, kind in enumerate(kinds, start=1)]
    with simulator(tmp_path, "stimulator", *faults) as device:
        for kind in kinds:
            done = apply(STIMULATION, device.url)
            assert done.code == 0, kind
            assert "read back equal" in done.out
    assert whole(journal_of("SCS-A"))


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F30")
def test_a_bolus_whose_reply_is_lost_is_given_exactly_once(tmp_path: Path) -> None:
    faults = ["at: bolus 1, fault: drop_reply"]
    with simulator(tmp_path, "pump", *faults, speed=600) as device:
        apply(INFUSION, device.url)
        given = cli("bolus", "0.1 mg", "--over", "10 min", "--device", device.url)
        assert given.code == 0
        assert "the reply was lost; asked, the device says: " in given.out
        until(lambda: device.truth()[-1]["t_ms"] > 0 and _flow(device.url) in BASAL_NL_PER_DAY, "")
        device.close()
        truth = device.truth()
    basal_nl = -(-truth[-1]["t_ms"] * 240_000 // 86_400_000)
    assert truth[-1]["volume_nL"] <= 10_000 + basal_nl + 1, "one bolus of 0.01 mL and the basal"
    assert truth[-1]["volume_nL"] >= 10_000


def _flow(url: str) -> int:
    flow = cli("status", "--device", url, "--format", "json").json["values"]["flow_nL_per_day"]
    assert isinstance(flow, int)
    return flow


@pytest.mark.requirement("SR-21")
def test_silence_after_the_commit_is_exit_code_6_and_the_next_command_settles_it(
    tmp_path: Path,
) -> None:
    faults = ["at: commit 1, fault: drop_reply", "at: outcome 1, fault: silence"]
    with simulator(tmp_path, "stimulator", *faults) as device:
        lost = apply(STIMULATION, device.url)
        assert lost.code == 6
        assert "UNCERTAIN: it is not known whether program-stimulator" in lost.err
        assert "connect again" in lost.err
        device.again()
        found = cli("status", "--device", device.url, "--format", "json")
        assert (found.code, found.json["unsettled"]) == (0, [])
        assert found.json["patient"] == "BENCH-007"
        assert apply(STIMULATION, device.url).code == 0
    assert whole(journal_of("SCS-A"))
    story = cli("journal", "show", journal_of("SCS-A")).out
    assert "the reply was lost; asked, the device says: executed; read back equal" in story


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F31")
def test_a_bolus_lost_in_silence_counts_until_the_device_says_it_never_saw_it(
    tmp_path: Path,
) -> None:
    with simulator(tmp_path, "pump", "at: bolus 1, fault: silence") as device:
        apply(INFUSION, device.url)
        bolus = ("bolus", "0.1 mg", "--over", "10 min", "--device")
        assert cli(*bolus, device.url).code == 6
        device.again()
        assert cli(*bolus, device.url).code == 0, "it was never given, so there is room"
        refused = cli(*bolus, device.url)
        assert (refused.code, "SR-14" in refused.err) == (3, True)


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F46")
def test_a_bolus_cut_off_by_the_unplugged_cable_stays_counted(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", "at: bolus 1, fault: unplug") as device:
        apply(INFUSION, device.url)
        bolus = ("bolus", "0.1 mg", "--over", "10 min", "--device")
        assert cli(*bolus, device.url).code == 6
        gone = cli("status", "--device", device.url)
        assert (gone.code, "there is no port" in gone.err) == (4, True)
        device.again()
        refused = cli(*bolus, device.url)
        assert (refused.code, "SR-15, the last bolus was a moment ago" in refused.err) == (3, True)
        story = cli("journal", "show", journal_of("ITP-A")).out
        assert "the device counts" in story, "it ended with the power, and says at how much"


@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-53")
def test_unplugging_in_a_ramp_is_exit_code_6_the_device_ends_alone_and_the_next_run_works(
    tmp_path: Path,
) -> None:
    with simulator(tmp_path, "stimulator", "at: start 1, fault: unplug") as device:
        lost = cli("run", STIMULATION, "--device", device.url, "--yes")
        assert lost.code == 6
        assert "the stop could not be confirmed" in lost.err
        assert "ramps to zero by itself when its lease ends" in lost.err
        until(lambda: is_silent(device.truth()) and highest(device.truth()) > 1_000, "the lease")
        truth = device.truth()
        begun = next(line["t_ms"] for line in truth if line["pulse_width_us"] == 210)
        assert truth[-1]["t_ms"] <= begun + LEASE_MS + 1_000
        assert whole(journal_of("SCS-A"))
        device.again()
        run = ("run", STIMULATION, "--device", device.url, "--yes", "--for", "100 ms")
        refused = cli(*run)
        assert (refused.code, "--from-zero" in refused.err) == (3, True)
        again = cli(*run, "--from-zero")
        assert again.code == 0, again.said


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F52")
def test_a_read_back_that_differs_is_exit_code_5_and_nothing_starts_from_it(
    tmp_path: Path,
) -> None:
    with simulator(tmp_path, "stimulator", "at: commit 1, fault: read_back_differs") as device:
        differs = apply(STIMULATION, device.url)
        assert differs.code == 5
        assert "the program read back differs from the one that was sent (SR-22)" in differs.err
        story = cli("journal", "show", journal_of("SCS-A")).out
        assert "NOT VERIFIED" in story
        assert "ALARM HIGH program-differs" in story
        again = cli("run", STIMULATION, "--device", device.url, "--yes", "--for", "100 ms")
        assert again.code == 0, again.said


def test_a_device_that_holds_another_hosts_program_can_be_planned_and_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulator(tmp_path, "pump") as device:
        assert apply(INFUSION, device.url).code == 0
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another host"))
        assert apply(INFUSION, device.url).code == 0


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F47")
def test_a_device_that_was_swapped_after_the_plan_is_not_programmed(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator", "at: identify 2, fault: wrong_serial") as device:
        store = key_store()
        store.keep("SCS-A-OTHER", store.key_of("SCS-A"))
        digest = digest_of(STIMULATION, device.url)
        refused = cli("apply", STIMULATION, "--device", device.url, "--confirm", digest)
        assert refused.code == 3
        assert cli("status", "--device", f"{device.url}?serial=SCS-A").code == 3
    assert "intended" not in cli("journal", "show", journal_of("SCS-A-OTHER")).out


@pytest.mark.requirement("SR-47")
@pytest.mark.fault("F111")
def test_an_open_contact_is_found_by_the_measurement_and_nothing_starts(tmp_path: Path) -> None:
    faults = ["at: measure 1, fault: open_contact, contact: E4"]
    with simulator(tmp_path, "stimulator", *faults) as device:
        refused = cli("run", STIMULATION, "--device", device.url, "--yes")
        assert refused.code == 3
        assert "SR-47" in refused.err
        assert "E4" in refused.err
        assert highest(device.truth()) <= 100, "the test pulses only"
        assert is_silent(device.truth())


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F87")
def test_a_stop_that_is_not_answered_is_exit_code_6_and_says_what_the_device_does(
    tmp_path: Path,
) -> None:
    with simulator(tmp_path, "pump", "at: stop 1, fault: silence") as device:
        apply(INFUSION, device.url)
        lost = cli("stop", "--device", device.url)
        assert lost.code == 6
        assert "the stop could not be confirmed" in lost.err
        device.again()
        assert cli("stop", "--device", device.url).code == 0


@dataclass(frozen=True)
class Watched:
    """A run that ended while its pump was failing, and the story of its journal."""

    run: Answer
    story: str


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A pump's run with a motor that stops in the middle."""
    folder = tmp_path_factory.mktemp("stalled")
    journal = folder / "j.journal"
    options = ("--yes", "--for", "3 s", "--journal", journal)
    env = {"XDG_STATE_HOME": str(folder)}  # the fixture is older than any test's own folder
    with simulator(folder, "pump", "at: 150 min, fault: motor_stall", speed=3_600) as device:
        ended = process("run", INFUSION, "--device", device.url, *options, env=env)
    return Watched(ended, cli("journal", "show", journal).out)


@pytest.mark.requirement("SR-54")
@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F100")
def test_a_stalled_motor_is_alarmed_and_recorded_while_run_watches(stalled: Watched) -> None:
    assert re.search(r"ALARM (MEDIUM|HIGH) motor-stall", stalled.story)
    assert "motor-stall" in stalled.run.out


def test_a_run_that_ends_while_the_pump_stands_still_is_a_device_fault(stalled: Watched) -> None:
    assert stalled.run.code == 5


@pytest.mark.requirement("SR-54")
def test_a_pump_that_flows_freely_when_watching_begins_is_alarmed(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", "at: 1 min, fault: free_flow", speed=600) as device:
        apply(INFUSION, device.url)
        until(lambda: _flow(device.url) > 24_000_000, "the free flow")
        watched = cli("run", INFUSION, "--device", device.url, "--yes", "--for", "2 s")
    assert "over-delivery" in watched.out


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F102")
def test_a_free_flowing_pump_is_never_called_safe(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", "at: 1 min, fault: free_flow", speed=600) as device:
        apply(INFUSION, device.url)
        until(lambda: _flow(device.url) > 24_000_000, "the free flow")
        stopped = cli("stop", "--device", device.url)
        status = cli("status", "--device", device.url, "--format", "json").json
    assert status["alarms"] != [], "100 mL a day is four times what this device can pump"
    assert stopped.code != 0


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F31")
def test_a_request_that_never_arrived_is_a_fault_of_the_link(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator", "at: commit 1, fault: drop_request") as device:
        lost = apply(STIMULATION, device.url)
    assert lost.code == 4
    assert "again" in lost.err, "nothing was changed: say so, and that it may be tried again"


def test_an_uncertain_bolus_is_told_to_programs_in_one_json_object(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", "at: bolus 1, fault: unplug") as device:
        apply(INFUSION, device.url)
        bolus = ("bolus", "0.1 mg", "--over", "10 min", "--device", device.url)
        lost = cli(*bolus, "--format", "json")
    assert lost.code == 6
    assert lost.json["code"] == 6


@pytest.mark.requirement("SR-21")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bolus_that_is_interrupted_in_mid_word_is_uncertain_and_never_called_safe(
    tmp_path: Path, number: signal.Signals
) -> None:
    faults = ["at: bolus 1, fault: drop_reply"]
    faults += [f"at: outcome {n}, fault: drop_reply" for n in (1, 2, 3)]
    with simulator(tmp_path, "pump", *faults) as device:
        apply(INFUSION, device.url)
        bolus = ("bolus", "0.1 mg", "--over", "10 min", "--device", device.url)
        with running(tmp_path, "bolus", *bolus) as asking:
            until(lambda: "intended: bolus" in _story("ITP-A"), "its intent")
            asking.signal(number)
            ended = asking.end()
    assert ended.code == 6, "130 and 143 would promise the safe state"
    assert "UNCERTAIN" in ended.err
    assert "safe state" not in ended.err


def _story(serial: str) -> str:
    return cli("journal", "show", journal_of(serial)).out


@pytest.mark.requirement("SR-32")
def test_a_stop_that_is_interrupted_before_it_is_confirmed_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with running(tmp_path, "stop", "stop", "--device", url) as asking:
            line, _ = silent.accept()
            assert line.recv(1)
            asking.signal(signal.SIGINT)
            ended = asking.end()
        line.close()
    assert ended.code == 6
    assert "the stop could not be confirmed" in ended.err


@pytest.mark.requirement("SR-32")
def test_a_stop_that_reaches_no_device_is_a_stop_that_nobody_confirmed(tmp_path: Path) -> None:
    for url in ("tcp://127.0.0.1:1", f"serial://{tmp_path}/gone"):
        stopped = cli("stop", "--device", url)
        assert stopped.code == 6
        assert "the stop could not be confirmed" in stopped.err
        assert "could not be opened" in stopped.err
