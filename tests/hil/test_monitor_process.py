"""The monitor's own process: it dies, hangs, outlives its owner, and can do nothing but stop."""

import ast
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cli_bench import (
    COMMAND,
    INFUSION,
    PATIENCE_S,
    STIMULATION,
    Running,
    Simulator,
    apply,
    cli,
    is_silent,
    journal_of,
    key_store,
    running,
    simulator,
    until,
    variant,
    whole,
)
from filelock import FileLock

from device_profiles.formulary import StopPolicy
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import host_with_sleep_ns
from hil import monitor_process, monitor_rescue
from hil.check import check_file
from hil.keys import KeyStore
from hil.monitor_line import SILENT_S, Hello
from safety.alarms import Alarm
from safety.commands import ProgramPump
from safety.events import DeviceIdentity
from safety.outputs import PumpProgram

pytestmark = pytest.mark.real_clock

ROOT = Path(__file__).parents[2]
LEASE_MS = 2_000
ASKED_S = 1.0
"""How long a silent owner has to answer before it is ended."""


def monitor_of(run: Running) -> int:
    """The process number of a run's monitor."""
    found: list[int] = []

    def seen() -> bool:
        found[:] = [pid for pid in _children(run.pid) if "hil.monitor" in _command(pid)]
        return len(found) == 1

    until(seen, "the monitor")
    return found[0]


def _children(parent: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    yield int(folder.name)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for somebody to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run_of(folder: Path, file: Path | str, device: Simulator, *options: str) -> Running:
    return Running(folder, "run", "run", file, "--device", device.url, "--yes", *options)


@contextlib.contextmanager
def started(folder: Path, device: Simulator, file: Path = STIMULATION) -> Iterator[Running]:
    """A run that delivers, with its monitor beside it."""
    with running(folder, "run", "run", file, "--device", device.url, "--yes") as run:
        run.until_it_says("started 'walking'" if file == STIMULATION else "delivered")
        yield run


def board(device: Simulator) -> list[tuple[str, str]]:
    answer = cli("alarms", "--device", device.url, "--format", "json")
    assert answer.code == 0, answer.said
    return [(one["priority"], one["code"]) for one in answer.json["board"]]


def state(device: Simulator) -> str:
    found: str = cli("status", "--device", device.url, "--format", "json").json["state"]
    return found


# --- it begins and ends with its run -------------------------------------------------------------


@pytest.mark.requirement("SR-53")
def test_a_monitor_begins_with_the_run_and_ends_with_it_without_a_word(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator") as device:
        with started(tmp_path, device) as run:
            monitor = monitor_of(run)
            run.signal(signal.SIGINT)
            answer = run.end()
        assert answer.code == 130
        assert "monitor" not in answer.err
        until(lambda: ended(monitor), "the monitor's end")


@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F80")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_monitor_that_dies_or_hangs_ends_the_run_in_the_safe_state_with_code_5(
    tmp_path: Path, how: signal.Signals
) -> None:
    with simulator(tmp_path, "stimulator") as device:
        with started(tmp_path, device) as run:
            monitor = monitor_of(run)
            os.kill(monitor, how)
            begun = time.monotonic()
            answer = run.end()
            lasted = time.monotonic() - begun
        assert answer.code == 5, answer
        assert "HIGH monitor-lost (SR-53)" in answer.out
        assert "safe state confirmed: SCS-A is off" in answer.out
        assert is_silent(device.truth())
        assert lasted < SILENT_S + 6
        assert ended(monitor), "whatever state it was in"
        assert ("HIGH", "monitor-lost") in board(device)
        story = cli("journal", "show", journal_of("SCS-A")).out
        assert "stop (policy): safe state confirmed" in story


@pytest.mark.requirement("SR-53")
def test_without_a_monitor_nothing_begins_and_nothing_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(line: socket.socket) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", ""], pass_fds=(line.fileno(),))

    monkeypatch.setattr(monitor_process, "_child", broken)
    with simulator(tmp_path, "pump") as device:
        refused = cli("run", INFUSION, "--device", device.url, "--yes", "--for", "1 s")
        assert refused.code == 5
        assert "the monitor ended while it began: nothing was sent" in refused.err
        story = cli("journal", "show", journal_of("ITP-A")).out
    assert "stop (" not in story
    assert "intended" not in story


# --- its owner hangs or dies ---------------------------------------------------------------------


@pytest.mark.requirement("SR-31")
@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F65")
@pytest.mark.fault("F69")
def test_an_owner_that_hangs_is_ended_and_its_stimulator_is_off(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator") as device:
        with started(tmp_path, device) as run:
            monitor = monitor_of(run)
            run.signal(signal.SIGSTOP)
            begun = time.monotonic()
            assert run.end().code == -signal.SIGKILL
            until(lambda: "stopped and confirmed: SCS-A is off" in run.said, "the monitor's word")
            assert time.monotonic() - begun < SILENT_S + ASKED_S + 4
            assert "HIGH owner-lost (SR-53)" in run.said
            until(lambda: ended(monitor), "the monitor's end")
        assert is_silent(device.truth())
        assert ("HIGH", "owner-lost") in board(device), "the next owner has read the note"
        assert whole(journal_of("SCS-A"))
        assert cli("acknowledge", "it had hung", "--device", device.url).code == 0
        assert ("HIGH", "owner-lost") not in board(device)


@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F80")
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("policy", ["hold-basal", "may-stop"])
def test_a_lost_owner_ends_a_pumps_boluses_and_leaves_its_verified_basal_on(
    tmp_path: Path, how: signal.Signals, policy: str
) -> None:
    file = INFUSION if policy == "hold-basal" else ziconotide(tmp_path)
    with simulator(tmp_path, "pump") as device:
        with started(tmp_path, device, file) as run:
            run.signal(how)
            until(lambda: "stopped and confirmed: ITP-A is held" in run.said, "the monitor's word")
        assert state(device) == "held"
        assert ("HIGH", "owner-lost") in board(device)
        story = cli("journal", "show", journal_of("ITP-A")).out
        assert "stop (hold): safe state confirmed" in story


HISTORY = next(
    f"{line}\n" for line in INFUSION.read_text("utf-8").splitlines() if "history:" in line
)


def ziconotide(folder: Path) -> Path:
    """The example with a drug that may be stopped."""
    path = folder / "ziconotide.yaml"
    path.write_text(
        variant(
            INFUSION,
            ("name: morphine", "name: ziconotide"),
            ("concentration: 10 mg/mL", "concentration: 25 mcg/mL"),
            (HISTORY, ""),
            (
                "0.2 mg, per_hour: 0.4 mg, per_4_hours: 1 mg, per_day: 4 mg",
                "0.5 mcg, per_hour: 0.6 mcg, per_4_hours: 1 mcg, per_day: 3 mcg",
            ),
            ("{morphine: 10 mg/mL}", "{ziconotide: 25 mcg/mL}"),
            ("rate: 2.4 mg/day", "rate: 2.4 mcg/day"),
            ("rate: 1.8 mg/day", "rate: 1.8 mcg/day"),
            ("patient_bolus: {dose: 0.15 mg, over: 10 min, lockout: 4 h, max_per_24h: 4}\n", ""),
        ),
        "utf-8",
    )
    return path


@pytest.mark.requirement("SR-31")
def test_after_a_rescue_the_device_is_free_at_once_for_the_next_run(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator") as device:
        with started(tmp_path, device) as run:
            run.kill()
        again = cli("run", STIMULATION, "--device", device.url, "--yes", "--for", "100 ms")
        assert again.code == 0, again.said
        assert "owner-lost" in again.out, "what happened is told to who comes next"
        assert is_silent(device.truth())


@pytest.mark.requirement("SR-53")
def test_a_terminal_that_takes_no_word_any_more_keeps_no_monitor_from_its_stop(
    tmp_path: Path,
) -> None:
    said = tmp_path / "said"
    with (
        simulator(tmp_path, "pump") as device,
        said.open("wb") as out,
        Path("/dev/full").open("wb") as gone,
    ):
        run = [*COMMAND, "run", str(INFUSION), "--device", device.url, "--yes"]
        owner = subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=out, stderr=gone)
        try:
            until(lambda: "delivered" in said.read_text("utf-8"), "the pump's delivery")
            (monitor,) = (pid for pid in _children(owner.pid) if "hil.monitor" in _command(pid))
        finally:
            owner.kill()
            owner.wait(PATIENCE_S)
        until(lambda: ended(monitor), "the monitor's end")
        assert state(device) == "held"
        assert ("HIGH", "owner-lost") in board(device)


# --- evidence of too much ------------------------------------------------------------------------


@pytest.mark.requirement("SR-54")
def test_an_opioids_pump_that_runs_free_is_halted_within_seconds(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", "at: 4 s, fault: free_flow") as device:
        with started(tmp_path, device, INFUSION) as run:
            run.until_it_says("HIGH free-flow")
            begun = time.monotonic()
            answer = run.end()
            assert time.monotonic() - begun < PATIENCE_S
        # It runs free whatever its motor does, so no safe state was ever seen: the severest code.
        assert answer.code == 6
        assert "stopped by the monitor: free-flow" in answer.out
        assert "neuraxis monitor: HIGH free-flow" in answer.err
        assert state(device) == "halted"


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize(
    ("file", "ends"),
    [("infusion", "halted"), ("ziconotide", "halted"), ("baclofen", "held")],
    ids=["an opioid", "a drug that may stop", "a drug whose stopping can kill"],
)
def test_a_pump_that_over_delivers_is_stopped_as_its_drug_asks_and_the_run_ends_with_code_5(
    tmp_path: Path, file: str, ends: str
) -> None:
    path = ziconotide(tmp_path) if file == "ziconotide" else INFUSION.with_stem(file)
    fault = "at: 60 s, fault: over_delivery"
    with simulator(tmp_path, "pump", fault, speed=120) as device:
        with running(tmp_path, "run", "run", path, "--device", device.url, "--yes") as run:
            answer = run.end()
        assert answer.code == 5, answer
        assert "HIGH over-delivery" in answer.out
        assert state(device) == ends


# --- what it is made of --------------------------------------------------------------------------

MONITOR = ("monitor.py", "monitor_core.py", "monitor_line.py", "monitor_rescue.py")
FORBIDDEN_WORDS = {"Clearance", "Gate", "Controller", "execute", "renew", "commit", "ask"}
FORBIDDEN_MODULES = ("safety.gate", "safety.clearance", "firmware_bridge.controller")


@pytest.mark.requirement("SR-10")
@pytest.mark.parametrize("name", [*MONITOR, "journal_tail.py"])
def test_the_monitor_names_nothing_that_could_start_an_output(name: str) -> None:
    tree = ast.parse((ROOT / "hil" / name).read_text("utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert used & FORBIDDEN_WORDS == set()
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules & set(FORBIDDEN_MODULES) == set()


@pytest.mark.requirement("SR-10")
def test_no_gate_is_in_the_monitors_process_so_nothing_in_it_can_make_a_clearance() -> None:
    script = "import sys, hil.monitor; print('safety.gate' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"


# --- the process itself, over its socket ---------------------------------------------------------


@contextlib.contextmanager
def bare_monitor() -> Iterator[tuple[socket.socket, "subprocess.Popen[bytes]"]]:
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(
        [sys.executable, "-m", "hil.monitor", str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    theirs.close()
    try:
        yield ours, child
    finally:
        ours.close()
        child.kill()
        child.wait(PATIENCE_S)


def test_a_monitor_that_never_met_a_device_ends_quietly_with_its_owner() -> None:
    with bare_monitor() as (line, child):
        line.shutdown(socket.SHUT_WR)
        assert child.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("words", [b"nonsense\n", b'{"kind": "ready"}\n', b"\xff\xfe\n"])
def test_a_monitor_that_is_told_nonsense_ends_and_its_owner_notices(words: bytes) -> None:
    with bare_monitor() as (line, child):
        line.sendall(words)
        assert child.wait(PATIENCE_S) != 0
        line.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(10) == b""


@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F79")
def test_an_owner_that_answers_is_never_ended_only_asked(tmp_path: Path) -> None:
    """A stand-in for an owner in this process: it shows a forged frame and answers the request."""
    path = tmp_path / "o.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door, bare_monitor() as (line, child):
        door.bind(str(path))
        door.listen()
        asked: list[bytes] = []

        def answer() -> None:
            connection, _ = door.accept()
            with connection:
                asked.append(connection.recv(200))
                connection.sendall(b'{"code": 0, "text": "stopped and confirmed", "data": {}}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        line.sendall(_hello(tmp_path, path) + _forged_bolus())
        line.settimeout(PATIENCE_S)
        heard = b""
        limit = time.monotonic() + SILENT_S + ASKED_S + 1
        while time.monotonic() < limit:
            line.sendall(b'{"kind":"ping"}\n')
            heard += line.recv(65_536)
            time.sleep(0.2)
        thread.join()
        assert json.loads(asked[0]) == {"request": "stop", "depth": "policy"}
        assert b'"delivery-without-intent"' in heard
        assert heard.count(b"pong") > 5
        assert child.poll() is None, "the owner lives, so the monitor goes on"
        line.sendall(b'{"kind":"bye"}\n')
        assert child.wait(PATIENCE_S) == 0


def _hello(folder: Path, door: Path) -> bytes:
    identity = {
        "family": "itp",
        "model": "itp-20",
        "serial": "ITP-A",
        "firmware": "1",
        "calibration": "c",
        "speed": 1,
    }
    hello = {
        "kind": "hello",
        "url": "tcp://127.0.0.1:1",
        "family": "itp",
        "identity": identity,
        "journal": str(folder / "none.journal"),
        "trusted": False,
        "owner": os.getpid(),
        "socket": str(door),
        "locks": [],
        "records": str(folder),
        "keys": str(folder / "keys"),
    }
    return json.dumps(hello).encode() + b"\n"


def _forged_bolus() -> bytes:
    from firmware_bridge.families.itp.wire import Bolus
    from firmware_bridge.protocol.catalogue import (
        Envelope,
    )
    from firmware_bridge.protocol.frames import encode_frame
    from hil.monitor_core import CATALOGUE

    data = encode_frame(CATALOGUE.encode(Envelope(7, 1, Bolus(5, 100_000, 60_000))))
    frame = {"kind": "frame", "sent": True, "data": data.hex(), "ns": host_with_sleep_ns()}
    return json.dumps(frame).encode() + b"\n"


# --- alone, and in vain --------------------------------------------------------------------------


def _alone(folder: Path, *locks: str) -> Hello:
    identity = DeviceIdentity("itp", "itp-20", "ITP-A", "1.0.0", "c", 1)
    return Hello(
        "tcp://127.0.0.1:1",
        "itp",
        identity,
        str(folder / "none"),
        False,
        1 << 22,  # nobody's process number
        "",
        locks,
        str(folder),
        str(folder / "keys"),
    )


LOST = Alarm("owner-lost", "HIGH", "SR-53", "it has died")


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F87")
def test_a_device_that_cannot_be_reached_is_told_at_once_and_noted_for_the_next_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_rescue, "LINK_PATIENCE_S", 0.0)
    said: list[str] = []
    assert not monitor_rescue.rescue(_alone(tmp_path), LOST, None, said.append)
    assert "the stop could not be confirmed" in said[-1]
    assert "Go to the device" in said[-1]
    (note,) = tmp_path.glob("*.json")
    written = json.loads(note.read_text("utf-8"))
    assert (written["depth"], written["state"]) == ("hold", None)
    assert written["alarm"]["code"] == "owner-lost"


def _alone_with(device: Simulator, folder: Path, url: str = "") -> Hello:
    hello = _alone(folder)
    identity = replace(hello.identity, serial=device.serial)
    keys = str(key_store().folder)
    return replace(hello, url=url or device.url, identity=identity, keys=keys)


@pytest.mark.requirement("SR-32")
def test_with_a_key_the_monitor_believes_a_sealed_status_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_rescue, "LINK_PATIENCE_S", 0.0)
    said: list[str] = []
    with simulator(tmp_path, "pump") as device:
        assert monitor_rescue.rescue(_alone_with(device, tmp_path), LOST, None, said.append)
        assert said[-1].startswith("stopped and confirmed: ITP-A is")
        assert "UNSEALED" not in said[-1]
        other = _alone_with(device, tmp_path)
        wrong = KeyStore(tmp_path / "wrong")
        wrong.make(device.serial)
        other = replace(other, keys=str(wrong.folder))
        assert not monitor_rescue.rescue(other, LOST, None, said.append)
        assert "could not be confirmed by a status that proves who it is from" in said[-1]
        assert "does not prove that it holds that device's key" in said[-1]
        assert "Go to the device" in said[-1]


@pytest.mark.requirement("SR-32")
def test_without_the_key_the_monitor_stops_and_says_that_nothing_proves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_rescue, "LINK_PATIENCE_S", 0.0)
    said: list[str] = []
    with simulator(tmp_path, "pump", sealed=False) as device:
        apply(INFUSION, f"{device.url}?unsealed=yes")
        hello = replace(_alone_with(device, tmp_path), keys=str(tmp_path / "none"))
        assert not monitor_rescue.rescue(hello, LOST, None, said.append)
        assert "a status says held, but nothing proves whose it is: there is no key" in said[-1]
        notes = [json.loads(path.read_text("utf-8")) for path in tmp_path.glob("*-*.json")]
        assert [(one["depth"], one["state"]) for one in notes] == [("hold", None)]
        asked = _alone_with(device, tmp_path, f"{device.url}?unsealed=yes")
        assert monitor_rescue.rescue(asked, LOST, None, said.append)
        assert "ITP-A is held, by a status that nothing proves: this line is UNSEALED" in said[-1]


def test_a_device_that_has_a_new_owner_already_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_rescue, "LOCK_PATIENCE_S", 0.1)
    said: list[str] = []
    with FileLock(tmp_path / "x.lock"):
        other = _alone(tmp_path, str(tmp_path / "x.lock"))
        assert not monitor_rescue.rescue(other, LOST, None, said.append)
    assert "another process has taken charge" in said[-1]
    (note,) = tmp_path.glob("*.json")
    assert json.loads(note.read_text("utf-8"))["depth"] is None


def pump_program(policy: StopPolicy) -> PumpProgram:
    command = check_file(INFUSION, None, Milliseconds(0)).command
    assert isinstance(command, ProgramPump)
    return replace(command.program, stop_policy=policy)


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-33")
def test_a_lost_host_never_takes_the_basal_and_evidence_of_too_much_follows_the_drug() -> None:
    pump = _alone(Path())
    stimulator = replace(pump, identity=replace(pump.identity, family="scs"))
    too_much = Alarm("over-delivery", "HIGH", "SR-54", "")
    opioid = pump_program("hold-basal")
    for program in (None, opioid, pump_program("never-stop")):
        assert monitor_rescue.depth_for(pump, LOST, program) == "hold"
        assert monitor_rescue.depth_for(stimulator, LOST, program) == "policy"
    assert monitor_rescue.depth_for(pump, too_much, opioid) == "flow"
    assert monitor_rescue.depth_for(pump, too_much, pump_program("never-stop")) == "policy"
    assert monitor_rescue.depth_for(pump, too_much, None) == "policy"


@pytest.mark.requirement("SR-56")
def test_a_stop_that_no_monitor_could_confirm_is_high_for_the_next_owner(
    tmp_path: Path, state_folder: Path
) -> None:
    records = state_folder / "neuraxis" / "records"
    records.mkdir(parents=True)
    note = {"alarm": asdict(LOST), "depth": "hold", "state": None, "problem": "no port"}
    name = b"ITP-A".hex()
    (records / f"{name}-1.json").write_text(json.dumps(note), "utf-8")
    (records / f"{name}-2.json").write_text("{torn", "utf-8")
    with simulator(tmp_path, "pump") as device:
        assert ("HIGH", "stop-unconfirmed") in board(device)
        assert ("HIGH", "owner-lost") in board(device)
    assert [path.name for path in records.iterdir()] == [f"{name}-2.json"], "a torn one is kept"
