"""What no other test noticed when one operator, number or line of gate and journal was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from clinical_examples import SCS, WALKING, area, tonic
from disk_bench import (
    FaultyDisk,
    anchored,
    chapter,
    connected,
    entries_of,
    opened,
    settled,
    written,
)
from gate_bench import Bench, Lazy
from kernel_bench import (
    bolus_nl,
    fold,
    instant,
    start,
    stimulator,
)

from device_profiles.errors import Refused
from device_profiles.quantities import (
    NanoLitres,
    Ohms,
)
from safety.anchor import SLOT_BYTES, Anchor
from safety.checkpoint import StateFile
from safety.commands import Ask, ProgramStimulator
from safety.disk import FileDisk
from safety.events import (
    Cleared,
    Counted,
    Event,
    Measured,
    Rejected,
    Settled,
    Stopped,
)
from safety.journal import Head, JournalError
from safety.journal_format import (
    CHECK_BYTES,
    LENGTH_BYTES,
    MAGIC,
    decode_event,
    encode_event,
    read_chain,
    readable,
)
from safety.judgement import judge
from safety.opening import open_journal

# --- gate and journal ------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
async def test_the_alarm_of_a_journal_that_fails_bears_the_time_of_what_could_not_be_written(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    at = instant(77_000)
    await bench.gate.tell(Stopped(at, "hold", True))
    (latch,) = (one for one in bench.gate.state.alarms if one.alarm.code == "journal-latched")
    assert latch.since == at.wall


async def test_one_objection_is_told_without_a_count_of_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    await bench.gate.tell(Stopped(instant(0), "hold", True))
    with pytest.raises(Refused) as refusal:
        await bench.ask(bolus_nl(1))
    assert len(refusal.value.findings) == 1
    assert "more" not in str(refusal.value)


async def test_what_only_lacks_a_reason_is_told_with_the_first_that_is_missing(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    soft = tonic(area("E3 -100, E4 +100", "8 mA", width="500 us"))
    with pytest.raises(Refused, match=r"^needs a reason .*: SR-41"):
        await bench.ask(ProgramStimulator((soft,), SCS))


@pytest.mark.requirement("SR-56")
async def test_a_settling_that_fails_latches_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    await bench.gate.tell(settled(1))
    bench.disk.fail_sync = bench.disk.calls.count("sync") + 1
    await bench.gate.settle()
    assert bench.gate.state.latched is not None


def test_a_journal_that_is_closed_is_anothers_to_write(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = open_journal(FileDisk(path), Anchor(tmp_path / "anchor")).journal
    first.append(opened())
    first.settle()
    first.close()
    second = open_journal(FileDisk(path), Anchor(tmp_path / "anchor"))
    assert second.problem is None
    second.journal.append(settled(1))
    second.journal.close()


async def test_a_plan_is_judged_as_if_the_output_were_off(tmp_path: Path) -> None:
    story = stimulator()
    story.do(start(WALKING))
    bench = Bench(tmp_path)
    for event in story.journal:
        await bench.gate.tell(event)
    ask = Ask(instant(0), 9, ProgramStimulator((WALKING,), SCS), "BENCH-012")
    assert judge(bench.gate.state, ask)
    assert bench.gate.judge_once_stopped(ask) == ()


UNSYNCED_EVENTS: list[Event] = [
    settled(1),
    Measured(instant(1), 1, (Ohms(500),)),
    Cleared(instant(1), "a"),
    connected(),
]


@pytest.mark.parametrize("event", UNSYNCED_EVENTS, ids=lambda event: event.kind)
async def test_what_only_makes_us_count_more_when_it_is_lost_holds_nobody_up(
    tmp_path: Path, event: Event
) -> None:
    worker = Lazy()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, worker, ids=90)
    calls = list(bench.disk.calls)
    await bench.gate.tell(event)
    assert bench.disk.calls == calls, "nobody waits for it"
    worker.catch_up()
    assert bench.disk.calls == [*calls, "append"], "and it costs no sync"


async def test_a_refusal_holds_nobody_up(tmp_path: Path) -> None:
    worker = Lazy()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, worker, ids=90)
    calls = list(bench.disk.calls)
    with pytest.raises(Refused):
        await bench.ask(bolus_nl(5_001))
    assert bench.disk.calls == calls


async def test_a_count_is_on_the_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    worker = Lazy()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, worker, ids=90)
    calls = list(bench.disk.calls)
    await bench.gate.tell(Counted(instant(1), 1, "running", NanoLitres(5)))
    assert bench.disk.calls == calls
    worker.catch_up()
    assert bench.disk.calls == [*calls, "append", "sync"]


def test_a_checkpoints_state_beside_a_journal_without_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "states").write_bytes(b"of another journal")
    disk = FaultyDisk()
    written(disk, Anchor(tmp_path / "anchor"), chapter()).settle()
    found = open_journal(disk, Anchor(tmp_path / "anchor"), StateFile(tmp_path / "states"))
    assert found.problem is None
    assert found.state == fold(chapter())


def test_a_damaged_slot_is_the_next_to_be_written_however_young_the_other_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "anchor"
    head = Head(1, b"\x01" * 32, "a" * 16)
    Anchor(path).write(head)
    image = bytearray(path.read_bytes())
    image[0] ^= 1
    path.write_bytes(image)
    Anchor(path).write(replace(head, entries=2, hash=b"\x02" * 32))
    image = bytearray(path.read_bytes())
    assert image[SLOT_BYTES:] == (tmp_path / "anchor").read_bytes()[SLOT_BYTES:]
    image[0] ^= 1
    path.write_bytes(image)
    assert Anchor(path).read() == head, "the good slot was written over"


# --- bytes -----------------------------------------------------------------------------------


def test_an_entry_of_more_than_half_a_megabyte_is_held() -> None:
    long = Settled(instant(0), 1, "delivered", "x" * 700_000)
    disk = FaultyDisk()
    journal = open_journal(disk, Anchor(Path("/nowhere/anchor"))).journal
    journal.append(opened())
    journal.append(long)
    assert decode_event(encode_event(long)) == long
    assert read_chain(disk.read()).event(2) == long


def test_a_header_that_is_whole_and_wrong_is_no_torn_entry(tmp_path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    header = LENGTH_BYTES + CHECK_BYTES
    assert read_chain(data + b"\x07" * header).problem is not None
    assert read_chain(data + b"\x07" * (header - 1)).problem is None


def test_where_the_chain_breaks_nothing_counts_as_torn(tmp_path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    last = entries_of(data)[-1]
    changed_length = data[: -len(last)] + b"\xff" + last[1:]
    changed_hash = data[:-1] + bytes([data[-1] ^ 1])
    alien = b"something else" * 9
    for broken in (changed_length, changed_hash, alien):
        chain = read_chain(broken)
        assert chain.problem is not None
        assert chain.torn == 0
    assert MAGIC not in alien


def test_what_is_no_event_is_told_by_its_place() -> None:
    good = cbor2.loads(encode_event(settled(1)))
    with pytest.raises(JournalError, match=r"^not an event of this schema: settled\.outcome"):
        decode_event(cbor2.dumps({**good, "outcome": "perhaps"}))
    with pytest.raises(JournalError, match=r"^not an event: "):
        decode_event(b"\xff")
    with pytest.raises(JournalError, match="does not encode to the same bytes"):
        decode_event(cbor2.dumps(dict(reversed(good.items()))))


def test_a_refusal_for_a_patient_whose_name_no_file_can_hold_can_be_read_again() -> None:
    refused = Rejected(instant(0), 1, "give-bolus", (), (), "\udc80")
    left = readable(refused)
    assert decode_event(encode_event(left)) == left
    assert left == replace(refused, patient="")
