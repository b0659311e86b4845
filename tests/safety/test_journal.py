"""The journal: what is written is read again, what was harmed shows, an error is the last."""

import hashlib
import os
import stat
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import cbor2
import pytest
from clinical_examples import FORMULARY, MORPHINE_DAY, NIGHT, WALKING, compiled
from disk_bench import (
    FaultyDisk,
    anchored,
    chapter,
    connected,
    entries_of,
    intended,
    judged,
    opened,
    settled,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bench import TEST_PULSES, bolus_nl, flowing, instant

from device_profiles.diagnostics import Finding
from device_profiles.quantities import Femtograms, MicroAmps, Milliseconds, Ohms
from safety.alarms import Alarm
from safety.commands import Override
from safety.events import (
    DrugMass,
    Event,
    Intended,
    Latched,
    Lowered,
    Measured,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.journal import (
    CHECK_BYTES,
    GENESIS,
    HASH_BYTES,
    LENGTH_BYTES,
    MAGIC,
    MAX_ENTRY,
    Anchor,
    FileDisk,
    Head,
    Journal,
    JournalError,
    Receipt,
    decode_event,
    encode_event,
    open_journal,
    parse,
    slow_time_at_end,
    verify,
)
from safety.limits import pump_limits

FOREIGN = "this is no neuraxis journal, or one of another version"


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path / "anchor")


# --- round trip ----------------------------------------------------------------------------------

LIMITS, _ = pump_limits(MORPHINE_DAY, FORMULARY)
EVERY_EVENT: list[Event] = [
    opened(),
    connected(),
    intended(1),
    Intended(instant(1), 2, "program-stimulator", (WALKING, NIGHT), "BENCH-007"),
    Intended(
        instant(1),
        3,
        "start-stimulation",
        (flowing(WALKING),),
        "BENCH-007",
        override=Override(("SR-41",), "clinician", "wegen Müller, 誰か"),
    ),
    Intended(instant(1), 4, "measure-impedance", (TEST_PULSES,), "BENCH-007"),
    Intended(instant(1), 5, "program-pump", (compiled(MORPHINE_DAY),), "BENCH-012", LIMITS),
    Intended(
        instant(1),
        2**63,
        "give-bolus",
        (bolus_nl(1).bolus,),
        "BENCH-012",
        masses=(DrugMass("morphine", Femtograms(2**70)),),
        latest_end=Milliseconds(2**40),
    ),
    Rejected(instant(2), 6, "give-bolus", (Finding("SR-14", "hard", "bolus", "too much"),)),
    Settled(instant(3), 6, "UNCERTAIN", ""),
    Unverified(instant(3), 0, "on connecting, the device holds another program", False),
    Measured(instant(4), 7, (Ohms(500), Ohms(0))),
    Lowered(instant(5), (MicroAmps(0),)),
    Stopped(instant(6), "flow", False),
    Raised(instant(7), Alarm("a", "HIGH", "SR-54", "b")),
    Latched(instant(8), "the disk is full"),
]


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: event.kind)
def test_every_event_is_read_again_as_it_was_written(event: Event) -> None:
    again = decode_event(encode_event(event))
    assert again == event
    assert type_tree(again) == type_tree(event)


def test_no_kind_of_event_is_missing_from_this_file() -> None:
    union = get_args(Event)[0]
    assert {type(event) for event in EVERY_EVENT} == set(get_args(union))


def type_tree(value: Any) -> Any:
    if is_dataclass(value):
        return [type(value), [type_tree(getattr(value, one.name)) for one in fields(value)]]
    if isinstance(value, tuple):
        return [tuple, [type_tree(one) for one in value]]
    return type(value)


@given(st.text(), st.text(max_size=300), st.integers(), st.sampled_from(["delivered", "UNCERTAIN"]))
def test_any_text_and_any_integer_survives(
    user: str, evidence: str, number: int, outcome: Any
) -> None:
    for event in (
        Settled(instant(number), number, outcome, evidence),
        Intended(
            instant(0), number, "give-bolus", (), user, override=Override((user,), user, evidence)
        ),
    ):
        try:
            body = encode_event(event)
        except UnicodeEncodeError:
            continue  # a lone surrogate never reaches the disk
        assert decode_event(body) == event


def test_a_whole_life_is_read_again_with_every_head(tmp_path: Path) -> None:
    data, head = anchored(EVERY_EVENT, tmp_path)
    contents, problem = judged(data, head)
    assert problem is None
    assert list(contents.events) == EVERY_EVENT
    assert contents.head == head
    assert [one.entries for one in contents.heads] == list(range(1, len(EVERY_EVENT) + 1))
    assert (contents.whole, contents.torn) == (len(data), 0)


def test_a_journal_goes_on_where_it_ended(anchor: Anchor) -> None:
    disk = FaultyDisk()
    first = chapter()
    written(disk, anchor, first).settle()
    again = open_journal(disk, anchor)
    assert again.problem is None
    assert list(again.events) == first
    again.journal.commit(intended(3))
    again.journal.settle()
    last = open_journal(disk, anchor)
    assert last.problem is None
    assert list(last.events) == [*first, intended(3)]


def test_two_equal_events_in_one_journal_never_share_a_hash(tmp_path: Path) -> None:
    data, head = anchored([opened(), *[settled(1)] * 20, opened()], tmp_path)
    contents, problem = judged(data, head)
    assert problem is None
    assert len({one.hash for one in contents.heads}) == 22


@pytest.mark.requirement("SR-15")
def test_the_slow_clock_goes_on_from_the_latest_moment_of_the_journal() -> None:
    assert slow_time_at_end([]) == 0
    assert slow_time_at_end([settled(5), settled(3), opened()]) == 5


# --- what was harmed shows -----------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_changed_byte_of_an_anchored_journal_is_found(tmp_path: Path, flip: int) -> None:
    data, head = anchored(chapter(), tmp_path)
    for place in range(len(data)):
        harmed = bytearray(data)
        harmed[place] ^= flip
        contents, problem = judged(bytes(harmed), head)
        assert problem is not None, place
        assert len(contents.events) < len(chapter())


@pytest.mark.requirement("SR-56")
def test_every_changed_byte_before_the_last_entry_is_found_where_the_anchor_lags(
    tmp_path: Path,
) -> None:
    data, _ = anchored(chapter(), tmp_path)
    first = parse(data).heads[0]
    missed = []
    for place in range(len(data) - len(entries_of(data)[-1])):
        for flip in (0x01, 0x10, 0x80):
            harmed = bytearray(data)
            harmed[place] ^= flip
            if judged(bytes(harmed), first)[1] is None:
                missed.append(place)
    assert missed == []


@pytest.mark.requirement("SR-56")
def test_every_deleted_inserted_repeated_or_reordered_entry_is_found(tmp_path: Path) -> None:
    data, head = anchored(chapter(), tmp_path)
    entries = entries_of(data)
    assert MAGIC + b"".join(entries) == data
    count = len(entries)
    harmed = [entries[:i] + entries[i + 1 :] for i in range(count)]
    harmed += [[*entries[:i], entries[j], *entries[i:]] for i in range(count) for j in range(count)]
    for i in range(count):
        for j in range(i):
            swapped = list(entries)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            harmed.append(swapped)
    for entries in harmed:
        _, problem = judged(MAGIC + b"".join(entries), head)
        # What was added after the anchored end is found by its hash, not by its place.
        assert problem is not None


@pytest.mark.requirement("SR-56")
def test_an_anchored_journal_that_was_cut_anywhere_is_found(tmp_path: Path) -> None:
    data, head = anchored(chapter(), tmp_path)
    for length in range(len(data)):
        _, problem = judged(data[:length], head)
        assert problem is not None, length
        assert "missing" in problem


def test_a_cut_inside_the_last_entry_is_an_intent_that_was_never_sent(tmp_path: Path) -> None:
    events = chapter()
    data, _ = anchored(events, tmp_path)
    head = parse(data).heads[-2]
    last = entries_of(data)[-1]
    whole = len(data) - len(last)
    for length in range(whole, len(data)):
        contents, problem = judged(data[:length], head)
        assert problem is None
        assert list(contents.events) == events[:-1]
        assert (contents.whole, contents.torn) == (whole, length - whole)
        disk, anchor = FaultyDisk(data[:length]), Anchor(tmp_path / "lagging")
        anchor.write(head)
        again = open_journal(disk, anchor)
        assert again.problem is None
        assert disk.read() == data[:whole]
        again.journal.commit(intended(9))
        assert list(open_journal(disk, anchor).events) == [*events[:-1], intended(9)]


def test_a_torn_first_line_is_a_journal_not_yet_begun(anchor: Anchor) -> None:
    for length in range(len(MAGIC)):
        disk = FaultyDisk(MAGIC[:length])
        again = open_journal(disk, anchor)
        assert (again.events, again.problem) == ((), None)
        again.journal.append(opened())
        again.journal.commit(intended(1))
        assert judged(disk.read(), Head(0, GENESIS))[1] is None
        assert len(parse(disk.read()).events) == 2


def test_a_file_of_only_the_first_line_is_an_empty_journal(anchor: Anchor) -> None:
    disk = FaultyDisk(MAGIC)
    again = open_journal(disk, anchor)
    assert (again.events, again.problem) == ((), None)
    again.journal.append(opened())
    assert disk.read().count(MAGIC) == 1
    assert parse(disk.read()).events == (opened(),)


@pytest.mark.parametrize(
    "data", [b"SQLite format 3\0", b"\0" * 64, MAGIC.replace(b"1", b"2"), b"neuraxis journal 1\r\n"]
)
def test_a_foreign_file_is_never_taken_for_a_journal_nor_written_to(
    anchor: Anchor, data: bytes
) -> None:
    disk = FaultyDisk(data)
    again = open_journal(disk, anchor)
    assert again.problem == FOREIGN
    with pytest.raises(JournalError, match="no neuraxis journal"):
        again.journal.append(opened())
    with pytest.raises(JournalError, match="no neuraxis journal"):
        again.journal.commit(intended(1))
    assert disk.read() == data
    assert disk.calls == []


def test_a_journal_that_does_not_begin_with_its_device_is_refused(tmp_path: Path) -> None:
    data, head = anchored([settled(1), opened()], tmp_path)
    problem = judged(data, head)[1]
    assert problem == "entry 1 does not say which device this journal belongs to"


@pytest.mark.parametrize("length", [MAX_ENTRY + 1, 2**31, 2**32 - 1])
def test_an_impossible_length_is_a_problem_and_not_a_torn_tail(tmp_path: Path, length: int) -> None:
    data, head = anchored(chapter(), tmp_path)
    size = length.to_bytes(LENGTH_BYTES, "little")
    check = hashlib.sha256(head.hash + size).digest()[:CHECK_BYTES]
    contents, problem = judged(data + size + check + b"x" * 99, head)
    assert problem == "entry 6: its length was changed"
    assert len(contents.events) == 5


def test_bytes_that_are_chained_but_no_event_are_a_problem(tmp_path: Path) -> None:
    data, head = anchored(chapter(), tmp_path)
    for body in (
        b"",
        b"\xff",
        cbor2.dumps({"kind": "opened"}),
        cbor2.dumps([1]),
        b"\x9b" + b"\xff" * 8,
    ):
        size = len(body).to_bytes(LENGTH_BYTES, "little")
        entry = size + hashlib.sha256(head.hash + size).digest()[:CHECK_BYTES] + body
        digest = hashlib.sha256(head.hash + entry).digest()
        contents, problem = judged(data + entry + digest, head)
        assert problem is not None
        assert "entry 6: not an event" in problem
        assert len(contents.events) == 5


# --- the anchor ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
def test_an_older_copy_put_back_is_found(anchor: Anchor) -> None:
    disk = FaultyDisk()
    journal = written(disk, anchor, chapter())
    journal.settle()
    copy = disk.synced
    journal.commit(intended(3))
    journal.settle()
    again = open_journal(FaultyDisk(copy), anchor)
    assert again.problem is not None
    assert "older copy" in again.problem
    assert list(again.events) == chapter()
    with pytest.raises(JournalError, match="older copy"):
        again.journal.commit(intended(4))


def harmed_and_closed(anchor: Anchor, tmp_path: Path, harm: str) -> tuple[FaultyDisk, str | None]:
    """A journal that lost its last intent; opened with the problem, and closed in order."""
    disk = FaultyDisk()
    journal = written(disk, anchor, chapter())
    journal.settle()
    if harm == "older copy":
        disk = FaultyDisk(disk.synced[: -len(entries_of(disk.synced)[-1])])
    elif harm == "deleted":
        disk = FaultyDisk()
    else:
        (tmp_path / "anchor").unlink()
    again = open_journal(disk, anchor)
    with_problem = again.problem
    assert with_problem is not None
    for close in (again.journal.settle, getattr(again.journal, "anchor", lambda: None)):
        try:
            close()
        except JournalError:
            continue
    return disk, with_problem


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("harm", ["older copy", "deleted", "anchor missing"])
def test_closing_a_journal_with_a_problem_does_not_make_the_problem_go_away(
    anchor: Anchor, tmp_path: Path, harm: str
) -> None:
    disk, problem = harmed_and_closed(anchor, tmp_path, harm)
    assert open_journal(disk, anchor).problem == problem


@pytest.mark.requirement("SR-56")
def test_another_history_of_the_same_length_is_found(tmp_path: Path) -> None:
    _, head = anchored(chapter(), tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = anchored([*chapter()[:-1], intended(3)], tmp_path / "other")
    problem = judged(other, head)[1]
    assert problem == "entry 5 is not the one that was anchored: history was changed"


def test_a_missing_anchor_is_a_problem_unless_nothing_was_ever_written(tmp_path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    problem = judged(data, None)[1]
    assert problem is not None
    assert "anchor is missing" in problem
    assert judged(b"", None)[1] is None
    assert judged(MAGIC, None)[1] is None


def test_an_anchor_that_lags_is_no_problem_and_one_that_runs_ahead_is(tmp_path: Path) -> None:
    data, head = anchored(chapter(), tmp_path)
    for lagging in parse(data).heads:
        assert judged(data, lagging)[1] is None
    ahead = Head(head.entries + 1, head.hash)
    problem = judged(data, ahead)[1]
    assert problem is not None
    assert "entries 6 to 6 are missing" in problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "5",
        "5 ",
        "x " + "00" * 32,
        "5 zz",
        "5 abc",
        "-",
        "1e3 00",
        "\x80",
        "-9 " + "00" * 32,
        "0 " + "00" * 32,
    ],
)
def test_a_damaged_anchor_is_a_problem_and_not_an_accident(tmp_path: Path, text: str) -> None:
    data, _ = anchored(chapter(), tmp_path)
    (tmp_path / "anchor").write_bytes(text.encode("latin-1"))
    again = open_journal(FaultyDisk(data), Anchor(tmp_path / "anchor"))
    assert again.problem is not None
    assert list(again.events) == chapter()


@pytest.mark.requirement("SR-56")
def test_every_changed_byte_of_an_anchor_is_found_or_changes_nothing(tmp_path: Path) -> None:
    data, head = anchored([*chapter(), *[settled(1)] * 8], tmp_path)
    path = tmp_path / "anchor"
    text = path.read_bytes()
    for place in range(len(text)):
        for flip in (0x01, 0x10, 0x20, 0x80):
            harmed = bytearray(text)
            harmed[place] ^= flip
            path.write_bytes(harmed)
            again = open_journal(FaultyDisk(data), Anchor(path))
            if again.problem is None:
                assert Anchor(path).read() == head, (place, flip)


def test_an_unreadable_anchor_is_a_problem(tmp_path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    (tmp_path / "folder").mkdir()
    again = open_journal(FaultyDisk(data), Anchor(tmp_path / "folder"))
    assert again.problem is not None
    assert "anchor is unreadable" in again.problem


# --- the first error is the last -----------------------------------------------------------------


def write_all(journal: Journal, receipts: list[Receipt]) -> None:
    for event in chapter():
        if isinstance(event, Intended):
            receipts.append(journal.commit(event))
        else:
            journal.append(event)


def assert_closed(journal: Journal, disk: FaultyDisk, reason: str) -> None:
    calls = list(disk.calls)
    for _ in range(2):
        with pytest.raises(JournalError, match=reason):
            journal.append(settled(1))
        with pytest.raises(JournalError, match=reason):
            journal.commit(intended(8))
    assert disk.calls == calls, "nothing is tried again"


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("partial", [0, 1, 3, 40, 10_000])
@pytest.mark.parametrize("nth", range(1, 6))
def test_after_the_first_failed_write_everything_is_refused_with_the_reason(
    anchor: Anchor, nth: int, partial: int
) -> None:
    disk = FaultyDisk(fail_write=nth, partial=partial)
    journal = open_journal(disk, anchor).journal
    receipts: list[Receipt] = []
    with pytest.raises(JournalError, match="No space left on device"):
        write_all(journal, receipts)
    assert_closed(journal, disk, "No space left on device")
    for found in (disk, disk.power_cut()):
        recorded = parse(found.read()).events
        assert all(one.event in recorded for one in receipts)
        assert verify(parse(found.read()), Head(0, GENESIS)) is None


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("nth", [1, 2])
def test_after_the_first_failed_sync_everything_is_refused_and_no_receipt_exists(
    anchor: Anchor, nth: int
) -> None:
    disk = FaultyDisk(fail_sync=nth)
    journal = open_journal(disk, anchor).journal
    receipts: list[Receipt] = []
    with pytest.raises(JournalError, match="Input/output error"):
        write_all(journal, receipts)
    assert len(receipts) == nth - 1
    assert_closed(journal, disk, "Input/output error")
    recorded = parse(disk.power_cut().read()).events
    assert all(one.event in recorded for one in receipts)


@pytest.mark.requirement("SR-56")
def test_a_failed_sync_is_not_tried_again_when_the_journal_is_closed(anchor: Anchor) -> None:
    disk = FaultyDisk(fail_sync=1)
    journal = open_journal(disk, anchor).journal
    journal.append(opened())
    with pytest.raises(JournalError):
        journal.commit(intended(1))
    calls = list(disk.calls)
    with pytest.raises(JournalError):
        journal.settle()
    assert disk.calls == calls
    assert anchor.read() is None


@given(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12), st.integers(0, 400))
@settings(max_examples=150)
def test_whatever_fails_every_receipt_lies_on_the_synced_disk(
    close: int, fail_write: int, fail_sync: int, partial: int
) -> None:
    disk = FaultyDisk(fail_write=fail_write, fail_sync=fail_sync, partial=partial)
    journal = Journal(disk, Anchor(Path(os.devnull) / "none"), parse(b""), None)
    receipts = []
    for event in [*chapter(), *chapter()[2:], *chapter()[2:]]:
        try:
            if isinstance(event, Intended):
                receipts.append(journal.commit(event))
            else:
                journal.append(event)
        except JournalError:
            pass
        found = parse(disk.power_cut().read())
        assert found.problem is None
        for receipt in receipts:
            assert found.heads[receipt.head.entries - 1] == receipt.head
            assert found.events[receipt.head.entries - 1] == receipt.event


def test_a_receipt_names_the_very_entry(anchor: Anchor) -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, anchor).journal
    journal.append(opened())
    receipt = journal.commit(intended(1))
    assert receipt.event == intended(1)
    assert parse(disk.synced).heads[1] == receipt.head == journal.head


@pytest.mark.requirement("SR-56")
def test_an_entry_too_large_to_be_read_again_is_refused_before_it_is_written(
    anchor: Anchor,
) -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, anchor).journal
    journal.append(opened())
    with pytest.raises(JournalError):
        journal.append(Settled(instant(0), 1, "delivered", "x" * MAX_ENTRY))
    assert parse(disk.read()).problem is None


# --- the real file -------------------------------------------------------------------------------


def test_a_journal_file_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = os.umask(0)
    try:
        disk = FileDisk(path)
        disk.append(b"x")
        disk.sync()
        disk.close()
        disk.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_takes_short_writes_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
    disk, anchor = FileDisk(tmp_path / "journal"), Anchor(tmp_path / "anchor")
    assert disk.read() == b""
    journal = open_journal(disk, anchor).journal
    for event in EVERY_EVENT:
        journal.append(event)
    journal.settle()
    disk.close()
    again = open_journal(FileDisk(tmp_path / "journal"), anchor)
    assert again.problem is None
    assert list(again.events) == EVERY_EVENT


def test_a_torn_tail_is_cut_off_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    data, _ = anchored(chapter(), tmp_path)
    (tmp_path / "longer").mkdir()
    longer, _ = anchored([*chapter(), intended(6)], tmp_path / "longer")
    Anchor(tmp_path / "anchor").write(parse(data).heads[2])
    path.write_bytes(longer[: len(data) + 20])
    disk = FileDisk(path)
    again = open_journal(disk, Anchor(tmp_path / "anchor"))
    again.journal.commit(intended(7))
    disk.close()
    assert list(parse(path.read_bytes()).events) == [*chapter(), intended(7)]


class Unreadable(FaultyDisk):
    """A disk that cannot be read, or not be cut."""

    def __init__(self, data: bytes, fails: str) -> None:
        super().__init__(data)
        self.fails = fails

    def read(self) -> bytes:
        if self.fails == "read":
            raise PermissionError(13, "Permission denied")
        return super().read()

    def cut(self, length: int) -> None:
        raise OSError(30, "Read-only file system")


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("fails", ["read", "cut"])
def test_a_journal_that_cannot_be_read_or_mended_latches_and_does_not_crash(
    tmp_path: Path, fails: str
) -> None:
    data, _ = anchored(chapter(), tmp_path)
    again = open_journal(Unreadable(data + b"\x40\0", fails), Anchor(tmp_path / "anchor"))
    assert again.problem is not None


# --- garbage -------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=300)
def test_no_bytes_crash_the_reader(data: bytes, begun: bool) -> None:
    data = MAGIC + data if begun else data
    contents = parse(data)
    assert contents.whole + contents.torn <= len(data)
    assert contents.problem is not None or contents.whole + contents.torn == len(data)


SCALARS = st.one_of(st.integers(), st.text(), st.binary(), st.none(), st.booleans(), st.floats())
NESTED = st.recursive(
    SCALARS, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=12
)


@given(
    st.one_of(
        st.binary(max_size=60),
        NESTED.map(cbor2.dumps),
        st.tuples(st.sampled_from(EVERY_EVENT), st.integers(0, 400), st.binary(max_size=3)).map(
            lambda one: spliced(*one)
        ),
    )
)
@settings(max_examples=400)
def test_what_is_taken_for_an_event_encodes_to_the_very_bytes_that_were_read(data: bytes) -> None:
    try:
        event = decode_event(data)
    except JournalError:
        return
    assert encode_event(event) == data


def spliced(event: Event, place: int, piece: bytes) -> bytes:
    body = encode_event(event)
    return body[:place] + piece + body[place + len(piece) :]


def test_an_entry_is_what_the_format_says() -> None:
    disk = FaultyDisk()
    Journal(disk, Anchor(Path(os.devnull) / "none"), parse(b""), None).append(opened())
    body = encode_event(opened())
    length = len(body).to_bytes(4, "little")
    genesis = hashlib.sha256(MAGIC).digest()
    entry = length + hashlib.sha256(genesis + length).digest()[:4] + body
    assert disk.read() == MAGIC + entry + hashlib.sha256(genesis + entry).digest()
    assert HASH_BYTES == 32
