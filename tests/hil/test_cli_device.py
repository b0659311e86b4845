"""plan, apply, run and requests on simulated devices behind real ports, and what they delivered."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_bench import (
    DANGEROUS,
    DAY_MS,
    EXAMPLES,
    HOUR_MS,
    INFUSION,
    STIMULATION,
    Simulator,
    apply,
    cli,
    currents,
    digest_of,
    highest,
    is_silent,
    journal_of,
    most_in_a_window,
    process,
    running,
    simulator,
    until,
    variant,
    whole,
)

from firmware_bridge.clock import RealClock

pytestmark = pytest.mark.real_clock

MORPHINE_NG_PER_ML = 10_000_000
FG_PER_MG = 10**12
ROUNDING = 2 * MORPHINE_NG_PER_ML
"""Two readings of the truth, each to a whole nanolitre."""


@pytest.fixture(scope="module")
def one_stimulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    folder = tmp_path_factory.mktemp("stimulator")
    with simulator(folder, "stimulator") as device:
        yield device, folder


@pytest.fixture
def stimulator(
    one_stimulator: tuple[Simulator, Path], monkeypatch: pytest.MonkeyPatch
) -> Simulator:
    """A stimulator with its journal, both as the test before left them."""
    device, folder = one_stimulator
    device.mark()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    return device


@pytest.fixture
def pump(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path, "pump", tcp=True) as device:
        yield device


# --- plan and apply --------------------------------------------------------------------------


def test_an_example_travels_from_check_to_the_device_with_the_digest_of_its_plan(
    stimulator: Simulator,
) -> None:
    shown = process("plan", STIMULATION, "--device", stimulator.url)
    assert shown.code == 0
    digest = re.search(r"digest: +(\S+)", shown.out)
    assert digest is not None
    done = process("apply", STIMULATION, "--device", stimulator.url, "--confirm", digest[1])
    assert (done.code, done.err) == (0, "")
    assert "read back equal" in done.out
    assert str(journal_of("SCS-A")) in done.out
    assert whole(journal_of("SCS-A"))
    assert stimulator.truth() == [], "a stimulator holds the program with its output off"


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F24")
@pytest.mark.fault("F38")
@pytest.mark.fault("F83")
def test_a_digest_is_good_for_this_file_on_this_device_once(
    stimulator: Simulator, tmp_path: Path
) -> None:
    url, digest = stimulator.url, digest_of(STIMULATION, stimulator.url)
    changed = tmp_path / "changed.yaml"
    changed.write_text(variant(STIMULATION, ("amplitude: 4.2 mA", "amplitude: 4.3 mA")), "utf-8")
    hash_part, _, moment = digest.partition("-")
    flipped = ("0" if hash_part[0] != "0" else "1") + hash_part[1:]
    for file, asked in (
        (STIMULATION, "1234"),
        (STIMULATION, ""),
        (STIMULATION, f"{flipped}-{moment}"),
        (STIMULATION, f"{hash_part}-{int(moment) + 1}"),
        (changed, digest),
    ):
        refused = cli("apply", file, "--device", url, "--confirm", asked)
        assert refused.code == 3, refused.said
        assert "digest" in refused.err
    assert cli("apply", STIMULATION, "--device", url, "--confirm", digest).code == 0
    assert cli("apply", STIMULATION, "--device", url, "--confirm", digest).code == 3


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F38")
@pytest.mark.fault("F66")
def test_a_digest_expires_after_ten_minutes_and_the_sentence_says_so(
    stimulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_made(seconds_ago: int) -> str:
        with monkeypatch.context() as patch:
            now = time.time_ns() // 1_000_000
            patch.setattr(RealClock, "wall_ms", lambda _: now - seconds_ago * 1_000)
            return digest_of(STIMULATION, stimulator.url)

    late = plan_made(602)
    refused = cli("apply", STIMULATION, "--device", stimulator.url, "--confirm", late)
    assert refused.code == 3
    assert "is good for 10" in refused.err
    in_time = plan_made(590)
    assert cli("apply", STIMULATION, "--device", stimulator.url, "--confirm", in_time).code == 0


def test_without_a_terminal_or_a_yes_nothing_is_applied(stimulator: Simulator) -> None:
    url = stimulator.url
    for answer in (
        process("apply", STIMULATION, "--device", url),
        cli("apply", STIMULATION, "--device", url, stdin="n\n"),
        cli("run", STIMULATION, "--device", url, "--for", "1 s", stdin=""),
    ):
        assert answer.code == 3
        assert "not confirmed: nothing was sent" in answer.err
    assert cli("apply", STIMULATION, "--device", url, stdin="yes\n").code == 0
    assert stimulator.truth() == []


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F47")
@pytest.mark.fault("F48")
def test_a_wrong_serial_number_is_refused_before_anything_but_the_question_who_it_is(
    stimulator: Simulator,
) -> None:
    for command in (["status"], ["plan", STIMULATION], ["run", STIMULATION, "--yes"]):
        refused = cli(*command, "--device", f"{stimulator.url}?serial=SCS-B")
        assert refused.code == 3
        assert "SCS-A answers, and SCS-B was asked for" in refused.err
    assert cli("status", "--device", f"{stimulator.url}?serial=SCS-A").code == 0


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F48")
def test_a_file_for_another_kind_of_device_is_refused(stimulator: Simulator) -> None:
    for command in (["plan"], ["apply", "--confirm", "x"], ["run", "--yes"]):
        refused = cli(command[0], INFUSION, *command[1:], "--device", stimulator.url)
        assert refused.code == 3
        assert "the file is for itp-20, and SCS-A is an scs-16" in refused.err


@pytest.mark.requirement("SR-41")
def test_a_dangerous_file_never_reaches_the_device(stimulator: Simulator) -> None:
    assert apply(STIMULATION, stimulator.url).code == 0
    before = journal_of("SCS-A").read_bytes()
    for command in (["plan"], ["apply", "--confirm", "x"], ["run", "--yes"]):
        refused = cli(command[0], DANGEROUS, *command[1:], "--device", stimulator.url)
        assert refused.code == 3
        assert f"{DANGEROUS}:22:20: SR-41 (hard)" in refused.err
    assert stimulator.truth() == []
    assert journal_of("SCS-A").read_bytes() == before


# --- a person's reason -----------------------------------------------------------------------


@pytest.mark.requirement("SR-57")
def test_a_soft_finding_passes_with_a_recorded_reason_and_a_hard_one_never(
    stimulator: Simulator, tmp_path: Path
) -> None:
    soft, hard = tmp_path / "soft.yaml", tmp_path / "hard.yaml"
    high = (
        ("name: walking", "name: strong"),  # a new program: no old ceiling asks for a reason too
        ("start_with: walking", "start_with: strong"),
        ("amplitude: 4.2 mA", "amplitude: 5.9 mA"),
        ("width: 210 us", "width: 500 us"),
    )
    soft.write_text(variant(STIMULATION, *high), "utf-8")
    hard.write_text(variant(STIMULATION, *high, ("rate: 40 Hz", "rate: 1201 Hz")), "utf-8")
    device = ("--device", stimulator.url)

    checked = cli("check", soft, "--format", "json")
    assert (checked.code, checked.json["verdict"]) == (3, "needs-reason")
    planned = cli("plan", soft, *device, "--format", "json")
    assert (planned.code, planned.json["verdict"]) == (3, "needs-reason")
    confirmed = ("apply", soft, *device, "--confirm", planned.json["digest"])

    for options, code in (
        ((), 3),
        (("--override", "SR-41"), 2),
        (("--override", "SR-41", "--reason", " "), 2),
        (("--reason", "because"), 3),
        (("--override", "SR-40", "--reason", "because"), 3),
    ):
        refused = cli(*confirmed, *options)
        assert refused.code == code, refused.said
    overridden = ("--override", "SR-41", "--reason", "threshold of this lead")
    assert cli(*confirmed, *overridden).code == 0
    story = cli("journal", "show", journal_of("SCS-A")).out
    assert re.search(r"\[SR-41 overridden by \S+: threshold of this lead\]", story)

    assert cli("apply", hard, *device, "--confirm", "x", *overridden).code == 3
    assert cli("run", soft, *device, "--yes").code == 3
    assert cli("run", soft, *device, "--yes", "--for", "100 ms", *overridden).code == 0


def test_a_new_width_under_an_old_ceiling_asks_for_a_reason_once_a_device_answers(
    stimulator: Simulator, tmp_path: Path
) -> None:
    wider = tmp_path / "wider.yaml"
    wider.write_text(variant(STIMULATION, ("pulse_width: 210 us", "pulse_width: 220 us")), "utf-8")
    apply(STIMULATION, stimulator.url, "--override", "SR-44", "--reason", "found again")
    planned = cli("plan", wider, "--device", stimulator.url, "--format", "json")
    assert planned.code == 3
    assert [f["rule"] for f in planned.json["findings"]] == ["SR-44"]


# --- run -------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-31")
@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-50")
def test_run_for_a_time_ramps_up_within_limits_and_ends_at_zero(
    stimulator: Simulator, tmp_path: Path
) -> None:
    quick = tmp_path / "quick.yaml"
    quick.write_text(variant(STIMULATION, ("ramp: 3 s", "ramp: 1 s")), "utf-8")
    done = cli("run", quick, "--device", stimulator.url, "--yes", "--for", "1300 ms")
    assert (done.code, done.err) == (0, "")
    assert "not a medical device" in done.out
    assert "safe state confirmed: SCS-A is off" in done.out
    truth = stimulator.truth()
    assert is_silent(truth)
    assert highest(truth) == 4_200
    lines = [line for line in truth if line["pulse_width_us"] == 210]
    top = next(i for i, line in enumerate(lines) if abs(line["amplitude_uA"]) == 4_200)
    last = max(i for i, line in enumerate(lines) if line["t_ms"] == lines[top]["t_ms"])
    assert currents(lines[: last + 1]) == {"E3": -4_200, "E4": 2_520, "E5": 1_680}
    rising = [line for line in lines if line["contact"] == "E3"]
    assert {line["rate_mHz"] for line in rising} <= {50_000, 0}
    assert all(-6_000 <= line["amplitude_uA"] <= 0 for line in rising)
    # The slope of the file: 4.2 mA in 1 s, in steps of the device of 0.1 mA.
    begun = rising[0]["t_ms"]
    for line in rising[:-1]:
        assert -line["amplitude_uA"] <= (line["t_ms"] - begun) * 4_200 / 1_000 + 200


def test_run_without_a_device_starts_the_bundled_simulator() -> None:
    for file, state in ((STIMULATION, "is off"), (INFUSION, "is held")):
        done = cli("run", file, "--yes", "--for", "200 ms")
        assert done.code == 0, done.said
        assert state in done.out


def test_run_tells_programs_one_json_object_a_line(stimulator: Simulator) -> None:
    device = ("--device", stimulator.url)
    done = cli("run", STIMULATION, *device, "--yes", "--for", "300 ms", "--format", "json")
    assert (done.code, done.err) == (0, "")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert {"plan", "sample"} <= {event["event"] for event in events}


@pytest.mark.parametrize("duration", ["5", "-1 s", "1 fortnight", ""])
def test_a_duration_that_is_none_is_a_usage_error(stimulator: Simulator, duration: str) -> None:
    refused = cli("run", STIMULATION, "--device", stimulator.url, "--yes", "--for", duration)
    assert refused.code == 2
    assert stimulator.truth() == []


# --- the pump --------------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F8")
@pytest.mark.fault("F9")
def test_a_pump_delivers_on_after_apply_and_a_bolus_is_judged_by_every_window(
    pump: Simulator,
) -> None:
    device = ("--device", pump.url, "--format", "json")
    assert apply(INFUSION, pump.url).code == 0
    status = cli("status", *device)
    assert status.json["state"] == "running"
    assert status.json["values"]["flow_nL_per_day"] in (240_000, 180_000)
    assert status.json["patient"] == "BENCH-012"
    given = cli("bolus", "0.1 mg", "--over", "10 min", *device)
    assert (given.code, "100 mcg over 10 min has begun" in given.out) == (0, True)
    (shown,) = cli("status", *device).json["boluses"]
    assert (shown["state"], shown["asked_nL"]) == ("running", 10_000)
    assert shown["delivered_nL"] <= shown["asked_nL"]
    text = cli("status", "--device", pump.url).out
    assert " of 0.01 mL" in text
    refused = cli("bolus", "0.1 mg", "--over", "10 min", *device)
    assert refused.code == 3
    lockout, window = refused.json["findings"]
    assert lockout["rule"] == "SR-15"
    assert (window["rule"], window["value"], window["limit"]) == ("SR-14", "450 mcg", "400 mcg")
    for amount, over, code in (
        ("0.201 mg", "10 min", 3),
        ("150 mg", "10 min", 3),
        ("0.05", "10 min", 2),
        ("0.05 mg", "10", 2),
        ("50 ug", "10 min", 2),
    ):
        assert cli("bolus", amount, "--over", over, *device).code == code, (amount, over)


@pytest.mark.parametrize(("amount", "over"), [("0.05 mg", "0 min"), ("0 mg", "10 min")])
def test_a_bolus_of_nothing_or_in_no_time_is_refused(
    stimulator: Simulator, amount: str, over: str
) -> None:
    asked = cli("bolus", amount, "--over", over, "--device", stimulator.url)
    assert asked.code in (2, 3), "the amounts are wrong whatever the device"


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F91")
def test_every_window_of_the_pumps_truth_stays_within_the_limits_of_the_file(
    tmp_path: Path,
) -> None:
    pressed = [f"at: {20 * minutes} min, fault: press_button" for minutes in range(1, 90)]
    bolus = ("bolus", "0.15 mg", "--over", "10 min", "--device")
    with simulator(tmp_path, "pump") as pump:
        assert apply(INFUSION, pump.url).code == 0
        assert [cli(*bolus, pump.url).code for _ in range(2)] == [0, 3]
        pump.again(*pressed, speed=40_000)
        until(lambda: pump.truth()[-1]["t_ms"] > 27 * HOUR_MS, "a day of therapy")
        pump.close()
        truth = pump.truth()
    for window_ms, limit_mg in ((HOUR_MS, 0.4), (4 * HOUR_MS, 1.0), (DAY_MS, 4.0)):
        most = most_in_a_window(truth, MORPHINE_NG_PER_ML, window_ms)
        assert most <= limit_mg * FG_PER_MG + ROUNDING, (window_ms, most)
    assert most_in_a_window(truth, MORPHINE_NG_PER_ML, DAY_MS) > 2.175 * FG_PER_MG


def test_a_pump_can_be_programmed_at_any_speed_of_the_simulator(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", speed=40_000) as pump:
        assert apply(INFUSION, pump.url).code == 0


def test_a_fill_is_applied_once_per_date_and_else_the_pumps_own_count_holds(
    tmp_path: Path,
) -> None:
    def reservoir(url: str) -> int:
        values = cli("status", "--device", url, "--format", "json").json["values"]
        assert isinstance(values["reservoir_nL"], int)
        return values["reservoir_nL"]

    refilled = tmp_path / "refilled.yaml"
    withdrawn = ("  low_reservoir: 2 mL", "  low_reservoir: 2 mL\n  withdrawn: 17.8 mL")
    refilled.write_text(variant(INFUSION, ("2026-11-02", "2026-11-03"), withdrawn), "utf-8")
    with simulator(tmp_path, "pump") as pump:
        assert apply(INFUSION, pump.url).code == 0
        pump.again(speed=40_000)
        until(lambda: reservoir(pump.url) < 17_900_000, "a delivery")
        pump.again()
        assert apply(INFUSION, pump.url).code == 0
        assert reservoir(pump.url) < 17_900_000
        assert apply(refilled, pump.url).code == 0
        assert reservoir(pump.url) > 17_900_000


def test_the_plan_of_a_pump_shows_each_step_by_day_by_hour_and_as_a_mass(pump: Simulator) -> None:
    planned = cli("plan", INFUSION, "--device", pump.url, "--format", "json")
    shown = {change["setting"]: change["new"] for change in planned.json["changes"]}
    assert shown["basal from 07:00"].startswith("2.4 mg/day = 0.1 mg/h; 1.5 mg until 22:00")
    assert shown["basal from 22:00"].startswith("1.8 mg/day = 0.075 mg/h; 0.675 mg until 07:00")
    assert shown["morphine: a day's basal"] == "2.175 mg"
    assert "2.775 mg" in shown["morphine: most in any 24 h, boluses included"]


def test_a_request_for_the_other_kind_of_device_is_a_usage_error(
    stimulator: Simulator, pump: Simulator
) -> None:
    assert cli("amplitude", "1 mA", "--device", pump.url).code == 2
    assert cli("impedance", "--device", pump.url).code == 2
    assert cli("bolus", "0.1 mg", "--over", "1 min", "--device", stimulator.url).code == 2


# --- stop ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
def test_stop_without_an_owner_ends_boluses_and_leaves_the_basal(pump: Simulator) -> None:
    apply(INFUSION, pump.url)
    assert cli("bolus", "0.1 mg", "--over", "10 min", "--device", pump.url).code == 0
    stopped = cli("stop", "--device", pump.url, "--format", "json")
    assert (stopped.code, stopped.err, stopped.json["state"]) == (0, "", "held")
    values = cli("status", "--device", pump.url, "--format", "json").json["values"]
    assert values["flow_nL_per_day"] in (240_000, 180_000)


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-32")
def test_stop_of_the_flow_names_the_withdrawal_and_asks_once_more(pump: Simulator) -> None:
    apply(INFUSION, pump.url)
    asked = cli("stop", "--flow", "--device", pump.url, stdin="")
    assert asked.code == 3
    assert "withdrawal" in asked.err
    assert "the flow goes on" in asked.err
    stopped = cli("stop", "--flow", "--device", pump.url, stdin="yes\n")
    assert stopped.code == 0
    values = cli("status", "--device", pump.url, "--format", "json").json["values"]
    assert values["flow_nL_per_day"] == 0


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F86")
def test_stop_needs_no_state_folder(
    pump: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(INFUSION, pump.url)
    assert cli("bolus", "0.1 mg", "--over", "10 min", "--device", pump.url).code == 0
    good = os.environ["XDG_STATE_HOME"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    stopped = cli("stop", "--device", pump.url)
    monkeypatch.setenv("XDG_STATE_HOME", good)
    values = cli("status", "--device", pump.url, "--format", "json").json
    assert (stopped.code, values["state"]) == (0, "held"), stopped.said


@pytest.mark.requirement("SR-32")
def test_a_bolus_after_a_stop_is_refused_by_the_host_with_the_way_out(pump: Simulator) -> None:
    apply(INFUSION, pump.url)
    assert cli("stop", "--device", pump.url).code == 0
    refused = cli("bolus", "0.05 mg", "--over", "10 min", "--device", pump.url)
    assert refused.code == 3
    assert "apply" in refused.err


# --- json ------------------------------------------------------------------------------------


def test_every_json_answer_is_one_object_and_standard_error_is_empty(
    stimulator: Simulator,
) -> None:
    device = ("--device", stimulator.url, "--format", "json")
    assert apply(STIMULATION, stimulator.url).code == 0
    for command in (
        ["plan", STIMULATION],
        ["apply", STIMULATION, "--confirm", digest_of(STIMULATION, stimulator.url)],
        ["status"],
        ["impedance"],
        ["stop"],
    ):
        answer = cli(*command, *device)
        assert (answer.code, answer.err) == (0, ""), command
        assert answer.json
    assert set(cli("impedance", *device).json["ohms"]) == {f"E{n}" for n in range(1, 17)}
    listed = process("devices", "--format", "json")  # libusb keeps descriptors open
    assert listed.json["schema"] == "neuraxis.devices/1"
    for code, command in ((3, ["amplitude", "1 mA"]), (3, ["switch", "night"])):
        assert cli(*command, *device).json["code"] == code


def test_apply_that_asks_a_person_still_writes_one_json_object(stimulator: Simulator) -> None:
    device = ("--device", stimulator.url, "--format", "json")
    assert cli("apply", STIMULATION, *device, stdin="yes\n").json


# --- links that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("foo", 2, "is no device URL"),
        ("serial:///dev/neuraxis-none", 4, "there is no port"),
        ("usb://1209:0001", 4, "no USB device 1209:0001 is connected"),
    ],
)
def test_a_url_that_leads_nowhere_ends_with_a_sentence(url: str, code: int, words: str) -> None:
    for command in (["status"], ["stop"], ["run", STIMULATION, "--yes"]):
        if url.startswith("usb:") and command != ["stop"]:
            continue  # libusb keeps descriptors open, so it takes a process: one is enough
        ask = process if url.startswith("usb:") else cli
        answer = ask(*command, "--device", url)
        unconfirmed = command == ["stop"] and code == 4
        assert answer.code == (6 if unconfirmed else code)
        assert words in answer.err


def test_a_device_that_never_answers_is_exit_code_4_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        answer = cli("run", STIMULATION, "--device", url, "--yes")
    assert answer.code == 4
    assert f"{url} does not answer" in answer.err
    assert "powered" in answer.err


def test_a_simulator_refuses_what_it_cannot_be() -> None:
    faults = EXAMPLES / "stimulation.yaml"
    for args in (
        ["toaster", "--listen", "tcp:127.0.0.1:0"],
        ["pump", "--listen", "carrier-pigeon"],
        ["pump", "--listen", "tcp:127.0.0.1:0", "--faults", faults],
        ["pump", "--listen", "tcp:127.0.0.1:0", "--speed", "0"],
    ):
        answer = cli("simulate", *args)
        assert answer.code == 2, answer.said
        assert answer.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulate_announces_itself_in_one_line_and_ends_when_told(
    tmp_path: Path, number: signal.Signals
) -> None:
    port = tmp_path / "port"
    listen = ("--listen", f"pty:{port}", "--serial-number", "S-1")
    with running(tmp_path, "sim", "simulate", "stimulator", *listen) as device:
        device.until_it_says("S-1")
        assert cli("status", "--device", f"serial://{port}?serial=S-1").code == 0
        device.signal(number)
        ended = device.end()
    assert (ended.code, ended.err) == (0, "")
    assert ended.json == {"listening": f"serial://{port}", "serial": "S-1"}
    assert not port.exists()
