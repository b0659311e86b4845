"""The monitor's core on bytes and entries alone: frames against intents, readings, the journal."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles.quantities import MicroAmps, Milliseconds, NanoLitres

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("road", "safety")]
from clinical_examples import WALKING
from kernel_bench import IDENTITY, button_nl, flowing, instant, pump_case
from road_bench import frame

from firmware_bridge.families.itp.driver import blob_of
from firmware_bridge.families.itp.wire import Bolus, PumpStatus
from firmware_bridge.families.scs.wire import Renew, SetAmplitude, Start, StimulatorStatus
from firmware_bridge.protocol.blob import digest_of
from firmware_bridge.protocol.messages import AskStatus, Commit, Message, Open, ProgramRead, Stage
from hil.journal_tail import JournalTail, needed_past
from hil.monitor_core import EARLIER_SESSIONS, FALL_TIME, STALE_STIMULATOR, MonitorCore
from safety.events import Connected, Event, Intended, Lowered, Opened, Settled
from safety.journal_format import GENESIS, MAGIC, SCHEMA, chained, encode_event, read_chain
from safety.outputs import BolusOutput, Output

PUMP = pump_case(button=button_nl(500)).program
BOLUS = BolusOutput(NanoLitres(5_000), Milliseconds(60_000))
STIMULATOR = replace(IDENTITY, family="scs", model="scs-16", serial="SCS-7")
SESSION = 77


def ms(value: int) -> Milliseconds:
    return Milliseconds(value)


def intended(command: str, *outputs: Output, number: int = 9, at: int = 0) -> Intended:
    return Intended(
        instant(at),
        number,
        command,  # type: ignore[arg-type]
        outputs,
        "BENCH-012",
        latest_end=ms(at + 66_000),
    )


def settled(number: int = 9, at: int = 0) -> Settled:
    return Settled(instant(at), number, "delivered", "a test")


PAST: tuple[Event, ...] = (
    intended("program-pump", PUMP, number=1),
    settled(1),
)


class Watched:
    """A core and the line it taps."""

    def __init__(
        self, *past: Event, stimulator: bool = False, trusted: bool = True, now: int = 0
    ) -> None:
        self.core = MonitorCore()
        self.now = now
        self.sequence = 0
        self.core.load(past, STIMULATOR if stimulator else IDENTITY, ms(now), trusted=trusted)
        self.sent(AskStatus())

    def sent(self, *messages: Message) -> list[str]:
        for message in messages:
            self.sequence += 1
            self.core.tap(True, frame(SESSION, self.sequence, message), ms(self.now))
        return self.codes()

    def received(self, message: Message, session: int = SESSION) -> list[str]:
        """The reply to a request that leaves just before it."""
        self.sequence += 1
        self.core.tap(True, frame(SESSION, self.sequence, AskStatus()), ms(self.now))
        self.core.tap(False, frame(session, self.sequence, message), ms(self.now))
        return self.codes()

    def hear(self, *events: Event) -> None:
        for event in events:
            self.core.hear(event, ms(self.now))

    def codes(self) -> list[str]:
        return [alarm.code for alarm in self.core.judge(ms(self.now))]


def status(**changes: object) -> PumpStatus:
    fields: dict[str, object] = {
        "serial": IDENTITY.serial,
        "clock": 1,
        "boot": 1,
        "state": "running",
        "flow": 144_000,
        "delivered": 0,
        "reservoir": 18_000_000,
        "bolus_id": 0,
        "line_left": 0,
        "settling": 0,
        "patient_boluses": 0,
        "fill_at": 0,
        "alarms": [],
    }
    return PumpStatus(**(fields | changes))  # type: ignore[arg-type]


def shows(*amplitudes: int, slot: int = 0, boot: int = 1) -> StimulatorStatus:
    state = "on" if any(amplitudes) else "off"
    shown = list(amplitudes)
    return StimulatorStatus("SCS-7", 1, boot, state, slot, shown, bytes(16), 0, 3_900, 0, [])  # type: ignore[arg-type]


# --- replies -------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-52")
@pytest.mark.requirement("SR-30")
def test_a_status_that_comes_once_more_is_nothing_that_the_pump_shows_now() -> None:
    watched = Watched(*PAST)
    old = frame(SESSION, watched.sequence + 1, status(delivered=5_000))
    assert watched.received(status(delivered=5_000)) == []
    watched.now += 600_000
    assert watched.received(status(clock=600_001, delivered=6_000)) == []
    reading = watched.core.reading
    watched.core.tap(False, old, ms(watched.now))
    assert watched.codes() == []
    assert watched.core.reading == reading


@pytest.mark.requirement("SR-52")
@pytest.mark.requirement("SR-30")
@pytest.mark.parametrize(("late_ms", "counts"), [(500, True), (501, False)])
def test_a_status_that_comes_later_than_its_owner_waits_counts_for_nothing(
    late_ms: int, counts: bool
) -> None:
    watched = Watched(*PAST)
    watched.sent(AskStatus())
    watched.core.tap(False, frame(SESSION, watched.sequence, status()), ms(late_ms))
    assert (watched.core.reading is not None) == counts


@pytest.mark.requirement("SR-52")
def test_a_status_that_is_overtaken_by_a_newer_one_counts_for_nothing() -> None:
    watched = Watched(*PAST)
    watched.sent(AskStatus(), AskStatus())
    newer, older = watched.sequence, watched.sequence - 1
    watched.core.tap(False, frame(SESSION, newer, status(clock=9)), ms(1))
    reading = watched.core.reading
    watched.core.tap(False, frame(SESSION, older, status(clock=1)), ms(2))
    assert watched.core.reading == reading
    assert reading is not None


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-10")
@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F93")
def test_a_frame_that_no_entry_asks_for_is_a_delivery_without_intent() -> None:
    watched = Watched(*PAST)
    assert watched.sent(Bolus(9, 5_000, 60_000)) == ["delivery-without-intent"]
    assert watched.codes() == [], "what happened once is told once"


@pytest.mark.requirement("SR-10")
def test_a_frame_of_its_intent_is_right_and_one_that_asks_for_more_is_not() -> None:
    asked = intended("give-bolus", BOLUS)
    assert Watched(*PAST, asked).sent(Bolus(9, 5_000, 60_000)) == []
    for wrong in (Bolus(9, 5_001, 60_000), Bolus(9, 5_000, 59_999), Bolus(10, 5_000, 60_000)):
        assert Watched(*PAST, asked).sent(wrong) == ["delivery-without-intent"]


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F36")
def test_a_command_that_leaves_twice_is_high() -> None:
    watched = Watched(*PAST, intended("give-bolus", BOLUS))
    assert watched.sent(Bolus(9, 5_000, 60_000)) == []
    assert watched.sent(Bolus(9, 5_000, 60_000)) == ["sent-twice"]


@pytest.mark.requirement("SR-10")
def test_a_commit_stands_for_the_program_that_was_staged() -> None:
    other = pump_case(((0, 48_000),)).program
    commit = Commit(9, 1, digest_of(blob_of(PUMP)))
    asked = intended("program-pump", PUMP)
    assert Watched(asked).sent(Stage(0, blob_of(PUMP)), commit) == []
    assert Watched(asked).sent(Stage(0, blob_of(other)), commit) == ["delivery-without-intent"]


@pytest.mark.requirement("SR-62")
def test_going_on_with_no_more_than_runs_needs_no_entry_and_more_does() -> None:
    more = pump_case(((0, 2 * 144_000),)).program
    for program, found in ((PUMP, []), (more, ["delivery-without-intent"])):
        watched = Watched(*PAST)
        blob = blob_of(program)
        assert watched.sent(Stage(0, blob), Commit(5, 1, digest_of(blob))) == found
    watched = Watched(trusted=False)
    watched.received(ProgramRead(0, blob_of(PUMP)))
    blob = blob_of(PUMP)
    found_with = Commit(5, 1, digest_of(blob))
    assert watched.sent(Stage(0, blob), found_with) == []


@pytest.mark.requirement("SR-10")
def test_a_stimulators_frames_are_those_of_their_intents() -> None:
    running = flowing(WALKING)
    start = Start(9, WALKING.slot, bytes(16), list(running.amplitudes), 2_000)
    asked = intended("start-stimulation", running)
    assert Watched(asked, stimulator=True).sent(start, Renew(2_000)) == []
    higher = SetAmplitude(9, WALKING.slot, bytes(16), [one + 1 for one in running.amplitudes])
    assert Watched(asked, stimulator=True).sent(higher) == ["delivery-without-intent"]
    assert Watched(stimulator=True).sent(start) == ["delivery-without-intent"]


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F49")
def test_answers_to_another_conversation_are_high_once_those_before_ours_have_run_out() -> None:
    watched = Watched(*PAST)
    assert watched.received(status(), session=5) == [], "a late reply of the one before"
    watched.now = EARLIER_SESSIONS + 1
    assert watched.received(status(), session=5) == ["foreign-frame"]
    assert "foreign-frame" not in watched.received(status())
    watched.sent(Open(6))
    assert "foreign-frame" not in watched.received(status(clock=5_002), session=6)


@pytest.mark.requirement("SR-24")
def test_noise_is_passed_over() -> None:
    watched = Watched(*PAST)
    for noise in (b"\x00", b"\xff" * 9_000, b"\x00garbage\x00", frame(1, 1, status())[:-3]):
        watched.core.tap(False, noise, ms(0))
        watched.core.tap(True, noise, ms(0))
    assert watched.codes() == []


# --- readings ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-27")
@pytest.mark.fault("F51")
def test_a_device_that_restarts_is_told_once() -> None:
    met = Connected(instant(0), IDENTITY, 1, True, ms(0), True)
    watched = Watched(met, *PAST)
    assert watched.received(status()) == []
    assert watched.received(status(boot=2)) == ["device-restarted"]
    assert watched.received(status(boot=2)) == []


@pytest.mark.requirement("SR-52")
def test_silence_means_something_only_while_somebody_polls() -> None:
    watched = Watched(*PAST, stimulator=True)
    watched.received(shows(0))
    watched.now = 60_000
    assert watched.codes() == []
    watched.core.polled(True, ms(watched.now))
    watched.now += STALE_STIMULATOR
    assert watched.codes() == []
    watched.now += 1
    assert watched.codes() == ["telemetry-stale"]
    assert watched.received(shows(0)) == []
    watched.core.polled(False, ms(watched.now))
    watched.now += 60_000
    assert watched.codes() == []


@pytest.mark.requirement("SR-54")
def test_a_lowered_amplitude_may_be_seen_until_its_fall_must_be_over() -> None:
    running = flowing(WALKING)
    lowered = replace(running, amplitudes=tuple(MicroAmps(100) for _ in running.amplitudes))
    watched = Watched(intended("start-stimulation", running), settled(), stimulator=True)
    assert watched.received(shows(*running.amplitudes)) == []
    watched.hear(intended("change-amplitude", lowered, number=10), settled(10))
    watched.now += FALL_TIME
    assert watched.received(shows(*running.amplitudes)) == []
    watched.now += FALL_TIME + 1
    assert watched.received(shows(*running.amplitudes)) == ["over-plan"]


@pytest.mark.requirement("SR-54")
def test_a_monitor_that_begins_while_an_amplitude_falls_lets_it_fall() -> None:
    running = flowing(WALKING)
    less = tuple(MicroAmps(100) for _ in running.amplitudes)
    lowered = Lowered(instant(FALL_TIME), less)
    started = (intended("start-stimulation", running), settled())
    for newest, found in ((FALL_TIME, []), (2 * FALL_TIME + 1, ["over-plan"])):
        met = Connected(instant(newest), STIMULATOR, 1, True, ms(0), True)
        watched = Watched(*started, lowered, met, stimulator=True, now=newest)
        assert watched.received(shows(*running.amplitudes)) == found
        watched = Watched(*started, lowered, met, stimulator=True, now=newest)
        watched.now += FALL_TIME + 1
        assert watched.received(shows(*running.amplitudes)) == ["over-plan"]


@pytest.mark.requirement("SR-56")
def test_without_a_journal_only_what_contradicts_itself_is_judged() -> None:
    watched = Watched(*PAST, trusted=False)
    assert watched.received(status(bolus_id=5, flow=1_000_000)) == []
    assert watched.received(status(flow=90_000_000)) == ["free-flow"]
    watched = Watched(*PAST)
    watched.core.distrust()
    assert watched.received(status(flow=1_000_000)) == []
    assert watched.received(status(delivered=1_000, clock=2)) == ["free-flow"]
    assert "odometer-fell" in watched.received(status(clock=3))


# --- the journal beside its writer ---------------------------------------------------------------


def entries(*events: Event, after: bytes = GENESIS) -> tuple[bytes, bytes]:
    data = b""
    for event in events:
        entry, after = chained(after, encode_event(event))
        data += entry
    return data, after


FIRST = Opened(instant(0), "a" * 16, IDENTITY.serial, SCHEMA, True)


@pytest.mark.requirement("SR-56")
def test_a_journal_is_followed_entry_by_entry_however_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "j"
    data, last = entries(FIRST, *PAST)
    path.write_bytes(MAGIC + data)
    tail = JournalTail(path)
    assert tail.start() == (FIRST, *PAST)
    more, _ = entries(intended("give-bolus", BOLUS), settled(), after=last)
    found: list[Event] = []
    with path.open("ab", buffering=0) as file:
        for byte in more:
            file.write(bytes([byte]))
            found += tail.news()
    assert found == [intended("give-bolus", BOLUS), settled()]
    assert tail.problem is None
    tail.close()


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.parametrize("harm", ["flip", "length", "shorter", "foreign"])
def test_a_journal_that_changes_while_it_is_followed_is_no_longer_believed(
    tmp_path: Path, harm: str
) -> None:
    path = tmp_path / "j"
    data, last = entries(FIRST, *PAST)
    path.write_bytes(MAGIC + data)
    tail = JournalTail(path)
    tail.start()
    more = bytearray(entries(settled(), after=GENESIS if harm == "foreign" else last)[0])
    if harm == "flip":
        more[20] ^= 1
    elif harm == "length":
        more[3] = 0x7F
    with path.open("r+b") as file:
        if harm == "shorter":
            file.truncate(10)
        else:
            file.seek(0, 2)
            file.write(more)
    assert tail.news() == ()
    assert tail.problem is not None
    assert tail.news() == ()
    tail.close()


def test_a_journal_that_is_put_in_the_place_of_ours_is_not_what_its_owner_writes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j"
    data, last = entries(FIRST, *PAST)
    path.write_bytes(MAGIC + data)
    tail = JournalTail(path)
    tail.start()
    with path.open("ab") as owner:
        path.rename(tmp_path / "moved")
        path.write_bytes(b"another file")
        owner.write(entries(settled(), after=last)[0])
    assert tail.news() == (settled(),)
    tail.close()


def test_a_file_that_is_not_there_or_no_journal_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    missing = JournalTail(tmp_path / "none")
    assert (missing.start(), missing.news()) == ((), ())
    assert missing.problem is not None
    (tmp_path / "other").write_bytes(b"something else")
    other = JournalTail(tmp_path / "other")
    assert other.start() == ()
    assert other.problem is not None
    other.close()


def test_of_a_long_past_only_the_program_that_runs_and_a_day_of_doses_are_read() -> None:
    hour = 3_600_000
    old = [e for n in range(50) for e in (_bolus(n + 100, n * hour), settled(n + 100, n * hour))]
    programmed = (intended("program-pump", PUMP, number=1, at=60 * hour), settled(1, 60 * hour))
    new = [_bolus(n + 300, (61 + n) * hour) for n in range(60)]
    data, _ = entries(FIRST, *old, *programmed, *new)
    past = needed_past(read_chain(MAGIC + data))
    assert past[-60:] == tuple(new)
    assert past[:2] == programmed
    assert needed_past(read_chain(MAGIC + entries(FIRST, *old)[0]))[0] == FIRST


def _bolus(number: int, at: int) -> Intended:
    return intended("give-bolus", BOLUS, number=number, at=at)
