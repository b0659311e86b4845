"""A simulated device as a whole: damaged bytes, faults, memory that survives, its factory."""

import errno
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_bench import (
    BORN_MS,
    DAY,
    Bench,
    currents,
    infusion,
    pump_status,
    stimulation,
    stimulator_status,
)

from device_profiles.errors import UsageError
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from firmware_bridge.families.firmware import EVENTS_KEPT
from firmware_bridge.families.itp import factory as itp_factory
from firmware_bridge.families.itp.wire import Bolus, PumpStatus
from firmware_bridge.families.scs import factory as scs_factory
from firmware_bridge.families.scs import physics as scs_physics
from firmware_bridge.families.scs.wire import Start, WireProgram
from firmware_bridge.protocol.blob import decode_program, digest_of, encode_program
from firmware_bridge.protocol.frames import encode_frame
from firmware_bridge.protocol.messages import (
    AskEvent,
    AskOutcome,
    AskStatus,
    Done,
    Identify,
    Identity,
    LoggedEvent,
    Message,
    OutcomeOf,
    ProgramRead,
    Read,
    Refused,
    Stop,
    Stopped,
)
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.faults import FAULTS, describe_faults, parse_faults, read_faults
from firmware_bridge.simulator.memory import MemoryFile
from firmware_bridge.simulator.truth import TruthFile, TruthInMemory

OVER = 600_000


# --- damaged bytes -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-24")
@pytest.mark.parametrize("name", list(MACHINES))
@given(data=st.binary(max_size=200), body=st.binary(max_size=200))
def test_no_bytes_upset_a_device(name: str, data: bytes, body: bytes) -> None:
    bench = Bench(name)
    bench.device.receive(data + b"\0" + encode_frame(body), 0)
    assert len(bench.send(Identify())) == 1
    assert bench.truth == []


@given(
    st.recursive(
        st.integers(-5, 2**33) | st.text(max_size=5) | st.binary(max_size=5) | st.none(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    )
)
def test_no_cbor_upsets_a_device(value: Any) -> None:
    import cbor2

    bench = Bench("pump")
    bench.device.receive(encode_frame(cbor2.dumps(value)), 0)
    bench.device.receive(encode_frame(cbor2.dumps([4, 7, 1, value])), 0)
    assert len(bench.send(Identify())) == 1


def test_a_message_that_is_none_is_refused_to_its_sender() -> None:
    import cbor2

    bench = Bench("pump")
    data = bench.device.receive(encode_frame(cbor2.dumps([0x77, 7, 9, {}])), 0)
    (refused,) = bench._messages(data)
    assert isinstance(refused, Refused)
    assert refused.code == "bad-message"


@pytest.mark.parametrize("body", [b"\x01\x02\x03\x04", {0: 1, 1: 1, 2: 1, 3: 1}, [1, 7, 9], [1, 7]])
def test_only_of_an_array_of_four_session_and_sequence_can_be_read(body: object) -> None:
    import cbor2

    assert Bench("pump").device.receive(encode_frame(cbor2.dumps(body)), 0) == b""


@pytest.mark.parametrize(
    ("body", "answered"),
    [
        ("84616107 09a0", True),
        ("84200709a0", True),
        ("8418010709a0", True),
        ("84041807 09a0", True),
        ("84770709f6", False),
        ("84040709", False),
        ("84040709a000", True),
        ("8404f509a0", False),
        ("84042009a0", False),
        ("84041b000000010000000009a0", False),
    ],
)
def test_nonsense_is_refused_wherever_its_session_and_sequence_can_be_read(
    body: str, answered: bool
) -> None:
    bench = Bench("pump")
    data = bench.device.receive(encode_frame(bytes.fromhex(body)), 0)
    codes = [reply.code for reply in bench._messages(data) if isinstance(reply, Refused)]
    assert codes == ["bad-message"] * answered


# --- faults at a request -------------------------------------------------------------------------


def faulty(name: str, text: str, **options: Any) -> Bench:
    kind = MACHINES[name]
    faults = parse_faults(text, "faults.yaml", name, kind.requests.values())
    return Bench(name, faults=faults, **options)


def outcome(bench: Bench, command_id: int) -> str:
    return bench.ask(AskOutcome(command_id), OutcomeOf).state


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F36")
def test_a_lost_reply_is_settled_by_asking_for_the_outcome() -> None:
    bench = faulty("pump", "- {at: bolus 1, fault: drop_reply}").program(1, infusion())
    assert bench.send(Bolus(2, 15_000, OVER)) == []
    assert outcome(bench, 2) == "running"
    assert bench.send(Bolus(2, 15_000, OVER)) == [Done(2)]
    bench.at(2 * OVER)
    assert bench.ask(AskOutcome(2), OutcomeOf).delivered == 15_000


def test_a_lost_request_was_never_carried_out() -> None:
    bench = faulty("pump", "- {at: bolus 1, fault: drop_request}").program(1, infusion())
    assert bench.send(Bolus(2, 15_000, OVER)) == []
    assert outcome(bench, 2) == "unknown"


@pytest.mark.fault("F99")
def test_a_flood_of_entries_leaves_the_log_bounded_and_its_newest_entries_readable() -> None:
    bench = faulty("pump", "").program(1, infusion())
    for _ in range(2 * EVENTS_KEPT):
        bench.send(Stop("hold"))
        bench.send(Stop("flow"))
    kept = bench.device.machine.firmware.memory.events
    assert len(kept) == EVENTS_KEPT
    oldest = bench.ask(AskEvent(0), LoggedEvent)
    assert (oldest.number, oldest.latest) == (kept[0].number, kept[-1].number)
    assert bench.ask(AskEvent(oldest.latest - 1), LoggedEvent).number == oldest.latest


def test_replies_twice_late_damaged_and_cut() -> None:
    bench = faulty(
        "pump",
        """
        - {at: status 1, fault: duplicate_reply}
        - {at: status 2, fault: delay_reply}
        - {at: status 3, fault: corrupt_reply}
        - {at: status 4, fault: truncate_reply}
        """,
    )
    assert len(bench.send(AskStatus())) == 2
    assert bench.send(AskStatus()) == []
    assert bench.device.next_wake() == 2_000
    assert bench.at(1_999) == []
    assert len(bench.at(2_000)) == 1
    assert bench.send(AskStatus()) == []
    assert bench._decoder.counts.damaged == 1
    assert bench.send(AskStatus()) == []
    assert bench.send(AskStatus()) == []
    assert bench._decoder.counts.damaged == 2
    assert len(bench.send(AskStatus())) == 1


def test_silence_takes_and_answers_nothing_until_the_plug_is_back() -> None:
    bench = faulty("pump", "- {at: bolus 1, fault: silence}").program(1, infusion())
    assert bench.send(Bolus(2, 15_000, OVER)) == []
    assert bench.send(AskStatus()) == []
    bench.device.inject("plug_in", 0)
    assert outcome(bench, 2) == "unknown"


def test_unplugged_after_carrying_out() -> None:
    bench = faulty("pump", "- {at: bolus 1, fault: unplug}").program(1, infusion())
    assert bench.send(Bolus(2, 15_000, OVER)) == []
    assert bench.device.unplugged
    assert bench.send(AskStatus()) == []
    bench.device.inject("plug_in", 0)
    assert outcome(bench, 2) == "running"


def test_a_reset_comes_after_the_request_and_swallows_the_reply() -> None:
    bench = faulty("pump", "- {at: commit 1, fault: reset}").open()
    with pytest.raises(ValueError, match="not enough values"):
        bench.commit(1, infusion())
    bench.open()
    assert outcome(bench, 1) == "executed"
    assert bench.ask(Identify(), Identity).boot == 2
    assert bench.ask(AskStatus(), PumpStatus).state == "running"


def test_another_serial_number_answers() -> None:
    bench = faulty("pump", "- {at: identify 2, fault: wrong_serial}")
    first = bench.ask(Identify(), Identity)
    second = bench.ask(Identify(), Identity)
    assert (first.serial, second.serial) == ("ITP-0001", "ITP-0001-OTHER")
    assert first.calibration != second.calibration


@pytest.mark.parametrize("name", list(MACHINES))
def test_one_read_back_is_off_by_a_step(name: str) -> None:
    program = infusion() if name == "pump" else stimulation()
    bench = faulty(name, "- {at: read 1, fault: read_back_differs}").program(1, program)
    true = encode_program(program)
    lie = bench.ask(Read(0), ProgramRead).program
    assert lie != true
    assert decode_program(type(program), lie) != program
    assert bench.ask(Read(0), ProgramRead).program == true


def test_faults_by_time_happen_at_their_time() -> None:
    bench = faulty(
        "pump",
        """
        - {at: 2 h, fault: motor_stall}
        - {at: 3 h, fault: heal}
        - {at: 5 h, fault: press_button}
        - {at: 6 h, fault: under_delivery}
        - {at: 10 h, fault: empty_reservoir}
        """,
        speed=1_000,
    ).program(1, infusion())
    assert bench.device.next_wake() == 7_200
    bench.at(DAY // 1_000)
    assert [(line["t_ms"], line["volume_nL"]) for line in bench.truth] == [
        (0, 0),
        (2 * 3_600_000, 20_000),
        (3 * 3_600_000, 20_000),
        (5 * 3_600_000, 40_000),
        (5 * 3_600_000 + OVER, 40_000 + 16_667),
        (6 * 3_600_000, 65_000),
        (10 * 3_600_000, 85_000),
    ]
    assert bench.ask(AskStatus(), PumpStatus).alarms == ["reservoir-empty"]


def test_a_contact_breaks_that_a_program_uses() -> None:
    text = "- {at: 4 s, fault: open_contact}\n- {at: 5 s, fault: short_contact, contact: E4}"
    program = stimulation()
    bench = faulty("stimulator", text).program(1, program)
    bench.send(Start(2, 0, digest_of(encode_program(program)), [4_200], 10_000))
    bench.at(5_000)
    assert currents(bench.truth, "E3")[-2:] == [(3_000, -4_200), (4_000, 0)]
    body = bench.device.machine.firmware.body
    assert body.ohms[3] == scs_physics.OPEN_OHMS
    assert body.ohms[4] == scs_physics.SHORT_OHMS


def test_a_fault_that_is_switched_on_by_hand_meets_the_next_request() -> None:
    bench = Bench("pump")
    bench.device.inject("drop_reply", 0)
    assert bench.send(AskStatus()) == []
    assert len(bench.send(AskStatus())) == 1
    for name in ("open_contact", "no_such_fault"):
        with pytest.raises(UsageError, match=name):
            bench.device.inject(name, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("at: commit 1", r"f.yaml:1: a faults file is a list"),
        ("- drop_reply", r"f.yaml:1: a fault is"),
        ("\n- {at: commit 1}", r"f.yaml:2: the key fault is missing"),
        ("- {fault: silence}", r"f.yaml:1: the key at is missing"),
        ("- {at: commit 1, fault: drop_replies}", r"no fault 'drop_replies'; there are: drop_req"),
        ("- {at: commit 1, fault: reset, why: x}", r"f.yaml:1: no key 'why'"),
        ("- {at: commit 1, at: commit 2, fault: reset}", r"given once"),
        ("- {at: [1], fault: reset}", r"one text"),
        ("- {at: commit, fault: reset}", r"neither a time"),
        ("- {at: commit 0, fault: reset}", r"neither a time"),
        ("- {at: start 1, fault: reset}", r"neither a time"),
        ("- {at: 1.5 s, fault: reset}", r"neither a time"),
        ("- {at: 5 s, fault: drop_reply}", r"belongs to a request"),
        ("- {at: 5 s, fault: open_contact}", r"a pump has no fault"),
        ("- {at: 5 s, fault: reset, contact: E3}", r"takes no contact"),
        ("- {at: 5 s", r"f.yaml:1: "),
        ("- *x", r"f.yaml:1: "),
    ],
)
def test_a_faults_file_that_cannot_be_understood_says_where(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_faults(text, "f.yaml", "pump", MACHINES["pump"].requests.values())


def test_faults_are_read_from_a_file_and_described(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    requests = MACHINES["pump"].requests.values()
    with pytest.raises(UsageError, match="cannot be read"):
        read_faults(path, "pump", requests)
    path.write_text("# none yet\n")
    assert read_faults(path, "pump", requests) == ()
    path.write_text("- {at: commit 2, fault: drop_reply}\n")
    assert [fault.name for fault in read_faults(path, "pump", requests)] == ["drop_reply"]
    assert all(name in describe_faults() for name in FAULTS)


# --- memory --------------------------------------------------------------------------------------


class Killable:
    """A pump or stimulator with state and truth files, which can be killed at any moment."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def begin(self, **options: Any) -> Bench:
        truth: Any = TruthFile(self.folder / "truth")
        memory = MemoryFile(self.folder / "state")
        return Bench(self.name, truth=truth, memory=memory, **options)

    @property
    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "truth").read_text().splitlines()]


def kill(bench: Bench) -> None:
    """What kill -9 leaves: nothing more is written."""
    bench.device.truth.close()


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F36")
@pytest.mark.fault("F88")
@pytest.mark.parametrize("wait_ms", [0, 1, 999, 1_000, 300_000, 599_999, 600_000, 3_600_000])
def test_a_killed_pump_comes_back_with_nothing_taken_back(tmp_path: Path, wait_ms: int) -> None:
    pump = Killable(tmp_path, "pump")
    first = pump.begin().program(1, infusion())
    first.send(Bolus(2, 15_000, OVER))
    first.at(wait_ms)
    seen = pump_status(first)
    seen_truth = pump.truth
    kill(first)

    second = pump.begin().open()
    now = pump_status(second)
    assert now.boot == 2
    assert now.clock >= seen.clock
    assert now.delivered >= seen.delivered
    assert now.clock <= seen.clock + 1_000
    assert now.flow == 240_000
    assert now.bolus_id == 0
    done = second.ask(AskOutcome(2), OutcomeOf)
    assert done.state == ("executed" if wait_ms + 1_000 >= OVER else "interrupted")
    assert second.send(Bolus(2, 15_000, OVER)) == [Done(2)]
    assert pump_status(second).bolus_id == 0
    second.at(OVER)
    second.device.close(OVER)
    truth = pump.truth
    assert truth[: len(seen_truth)] == seen_truth
    for before, after in itertools.pairwise(truth):
        assert before["t_ms"] <= after["t_ms"]
        assert before["volume_nL"] <= after["volume_nL"]
    assert truth[-1]["volume_nL"] == pump_status(second).delivered


def test_a_pump_that_ends_in_order_goes_on_where_it_was(tmp_path: Path) -> None:
    pump = Killable(tmp_path, "pump")
    first = pump.begin().program(1, infusion())
    first.at(DAY)
    seen = pump_status(first)
    first.device.close(DAY)
    second = pump.begin().open()
    now = pump_status(second)
    assert (now.clock, now.delivered, now.reservoir) == (
        seen.clock,
        seen.delivered,
        seen.reservoir,
    )
    second.at(DAY)
    assert pump_status(second).delivered == 480_000
    second.device.close(DAY)
    assert pump.truth[-1]["volume_nL"] == 480_000
    assert pump.truth[-1]["t_ms"] == 2 * DAY


def test_state_is_saved_every_second_while_it_flows(tmp_path: Path) -> None:
    pump = Killable(tmp_path, "pump")
    bench = pump.begin().program(1, infusion(patient_bolus=None))
    for second in range(1, 4):
        bench.at(second * 1_000)
        state = json.loads((tmp_path / "state").read_text())
        assert state["horizon_ms"] > second * 1_000
        assert bench.device.next_wake() == state["horizon_ms"]
    kill(bench)


@pytest.mark.requirement("SR-31")
def test_the_output_of_a_killed_stimulator_is_off_and_the_truth_says_so(tmp_path: Path) -> None:
    stimulator = Killable(tmp_path, "stimulator")
    program = stimulation()
    first = stimulator.begin().program(1, program)
    first.send(Start(2, 0, digest_of(encode_program(program)), [4_200], 10_000))
    first.at(2_500)
    kill(first)
    assert currents(stimulator.truth, "E3")[-1][1] != 0

    second = stimulator.begin().open()
    assert stimulator_status(second).state == "off"
    assert stimulator_status(second).boot == 2
    for contact in ("E3", "E4", "E5"):
        at, amplitude = currents(stimulator.truth, contact)[-1]
        assert amplitude == 0
        assert isinstance(at, int)
        assert 2_500 <= at <= 3_500
    assert outcome(second, 2) == "executed"
    assert second.ask(Read(0), ProgramRead).program == encode_program(program)
    kill(second)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"version": 2}', "damaged: version"),
        ("\0\0\0", "damaged"),
    ],
)
def test_a_damaged_state_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "state").write_text(text)
    with pytest.raises(UsageError, match=message):
        SimulatedDevice(MACHINES["pump"], wall_ms=BORN_MS, memory=MemoryFile(tmp_path / "state"))


def test_the_state_file_of_another_device_is_refused(tmp_path: Path) -> None:
    memory = MemoryFile(tmp_path / "state")
    SimulatedDevice(MACHINES["pump"], wall_ms=BORN_MS, memory=memory, serial="ITP-7")
    with pytest.raises(UsageError, match="ITP-7"):
        SimulatedDevice(MACHINES["pump"], wall_ms=BORN_MS, memory=memory, serial="ITP-8")
    with pytest.raises(UsageError, match=r"damaged|family"):
        SimulatedDevice(MACHINES["stimulator"], wall_ms=BORN_MS, memory=memory)
    again = SimulatedDevice(MACHINES["pump"], wall_ms=BORN_MS, memory=memory)
    assert again.serial == "ITP-7"


def test_files_that_cannot_be_used_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        TruthFile(tmp_path / "none" / "truth")
    with pytest.raises(UsageError, match="cannot be written"):
        MemoryFile(tmp_path / "none" / "state").save("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        MemoryFile(tmp_path).load()
    (tmp_path / "notes").write_text("hello\n")
    with pytest.raises(UsageError, match="truth file"):
        TruthFile(tmp_path / "notes")


def test_a_truth_file_that_can_take_no_more_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    truth = TruthFile(tmp_path / "truth")
    with monkeypatch.context() as patch:
        patch.setattr("firmware_bridge.simulator.truth.os.write", full)
        with pytest.raises(UsageError, match=r"truth cannot be written: No space left on device"):
            truth.write({"t_ms": 1})
    truth.close()


# --- factory -------------------------------------------------------------------------------------


def test_the_stimulators_factory_is_that_of_its_profile() -> None:
    profile, built = load_profile("scs-16"), scs_factory.FACTORY
    assert isinstance(profile, StimulatorProfile)
    for field in (
        "contacts",
        "amplitude_max",
        "amplitude_step",
        "contact_current_max",
        "width_min",
        "width_max",
        "width_step",
        "rate_min",
        "rate_max",
        "rate_step",
        "rate_high",
        "cycle_min",
        "slope_max",
    ):
        assert getattr(built, field) == getattr(profile, field), field
    assert (built.slots, built.areas) == (profile.programs_max, profile.areas_max)
    assert built.interphase_us == profile.interphase
    assert profile.compliance * 1_000 == scs_physics.COMPLIANCE_UV
    assert profile.lease <= built.lease_max
    test = profile.impedance
    assert test.test_current <= built.test_current_max
    assert test.test_width <= built.test_width_max
    assert test.test_pulses <= built.test_pulses_max
    assert scs_physics.SHORT_OHMS < test.short_below < scs_physics.NOMINAL_OHMS
    assert scs_physics.NOMINAL_OHMS < test.open_above < scs_physics.METER_MAX_OHMS


def test_the_pumps_factory_is_that_of_its_profile() -> None:
    profile, built = load_profile("itp-20"), itp_factory.FACTORY
    assert isinstance(profile, PumpProfile)
    for field in ("reservoir", "tubing", "flow_min", "flow_max", "lockout_min", "accuracy"):
        assert getattr(built, field) == getattr(profile, field), field


@given(st.lists(st.sampled_from(["start", "stop", "reset", "status", "wait"]), max_size=20))
def test_no_sequence_drives_a_contact_over_its_program(actions: list[str]) -> None:
    program: WireProgram = stimulation()
    digest = digest_of(encode_program(program))
    bench = Bench("stimulator", truth=TruthInMemory()).program(1, program)
    for number, action in enumerate(actions):
        replies: list[Message] = []
        match action:
            case "start":
                replies = bench.send(Start(2 + number, 0, digest, [4_200], 2_000))
            case "stop":
                assert bench.send(Stop("hold")) == [Stopped("SCS-0001")]
            case "reset":
                bench.device.inject("reset", bench.now)
                bench.open()
            case "status":
                replies = bench.send(AskStatus())
            case _:
                bench.at(bench.now + 700)
        assert len(replies) <= 1
    bench.at(bench.now + 4_000)
    assert stimulator_status(bench).state == "off"
    for contact, most in (("E3", 4_200), ("E4", 2_520), ("E5", 1_680)):
        course = currents(bench.truth, contact)
        assert all(abs(amplitude) <= most for _, amplitude in course if isinstance(amplitude, int))
        assert not course or course[-1][1] == 0
