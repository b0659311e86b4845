"""The journal, open for appending: a receipt is on the disk, and the first error is the last."""

import os
from pathlib import Path

import pytest
from disk_bench import (
    FaultyDisk,
    LyingDisk,
    chapter,
    entries_of,
    intended,
    judged,
    opened,
    settled,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bench import instant

from safety.checkpoint import StateFile, decode_state, is_of
from safety.events import Checkpointed, Event, Intended, Settled
from safety.journal import (
    GENESIS,
    MAGIC,
    MAX_ENTRY,
    Anchor,
    Head,
    Journal,
    JournalError,
    Receipt,
    parse,
    verify,
)
from safety.opening import open_journal
from safety.state import State


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path / "anchor")


class NoAnchor(Anchor):
    """An anchor on a disk that takes nothing."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull) / "none")


# --- what is written -----------------------------------------------------------------------------


def test_a_journal_goes_on_where_it_ended(anchor: Anchor) -> None:
    disk = FaultyDisk()
    written(disk, anchor, chapter()).settle()
    again = open_journal(disk, anchor)
    assert again.problem is None
    again.journal.commit(intended(3))
    again.journal.settle()
    assert open_journal(disk, anchor).problem is None
    assert disk.events() == [*chapter(), intended(3)]


def test_a_receipt_names_the_very_entry(anchor: Anchor) -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, anchor).journal
    journal.append(opened())
    receipt = journal.commit(intended(1))
    assert receipt.event == intended(1)
    assert parse(disk.synced).heads[1] == receipt.head == journal.head
    journal.anchor()
    assert anchor.read() == receipt.head


def test_a_journal_is_its_devices_from_the_first_entry_on(anchor: Anchor) -> None:
    journal = open_journal(FaultyDisk(), anchor).journal
    assert journal.head == Head(0, GENESIS)
    journal.append(opened("c" * 16))
    assert journal.head.journal_id == "c" * 16
    journal.append(settled(1))
    assert journal.head.journal_id == "c" * 16


def test_a_file_of_only_the_first_line_is_an_empty_journal(anchor: Anchor) -> None:
    disk = FaultyDisk(MAGIC)
    again = open_journal(disk, anchor)
    assert (again.first, again.problem) == (None, None)
    again.journal.append(opened())
    assert disk.read().count(MAGIC) == 1
    assert disk.events() == [opened()]


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize(
    "event",
    [
        Settled(instant(0), 1, "delivered", "x" * MAX_ENTRY),
        Settled(instant(0), 1, "delivered", "\udc80"),
        Settled(instant(0), object(), "delivered", ""),  # type: ignore[arg-type]
    ],
    ids=["too large", "half a character", "no number"],
)
def test_an_entry_that_could_not_be_read_again_is_refused_before_it_is_written(
    anchor: Anchor, event: Event
) -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, anchor).journal
    journal.append(opened())
    before = disk.read()
    with pytest.raises(JournalError, match="entry"):
        journal.append(event)
    assert disk.read() == before
    assert journal.problem is None
    journal.commit(intended(1))
    assert disk.events() == [opened(), intended(1)]


def test_a_checkpoint_puts_the_state_beside_and_its_digest_into_the_chain(
    anchor: Anchor, tmp_path: Path
) -> None:
    disk, states = FaultyDisk(), StateFile(tmp_path / "state")
    journal = open_journal(disk, anchor, states).journal
    assert journal.keeps_checkpoints
    journal.append(opened())
    state = State(epoch=7, patient="BENCH-012")
    journal.checkpoint(state, instant(5))
    checkpoint = disk.events()[-1]
    assert isinstance(checkpoint, Checkpointed)
    assert is_of(checkpoint, states.read())
    assert decode_state(states.read()) == state


def test_a_checkpoint_without_a_place_for_its_state_is_an_entry_like_others(
    anchor: Anchor,
) -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, anchor).journal
    assert not journal.keeps_checkpoints
    journal.append(opened())
    journal.checkpoint(State(), instant(5))
    assert [event.kind for event in disk.events()] == ["opened", "checkpointed"]


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
        with pytest.raises(JournalError, match=reason):
            journal.settle()
    assert disk.calls == calls, "nothing is tried again"


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
@pytest.mark.fault("F71")
@pytest.mark.parametrize("partial", [0, 1, 3, 40, 10_000])
@pytest.mark.parametrize("nth", range(1, 6))
def test_after_the_first_failed_write_everything_is_refused_with_the_reason(
    anchor: Anchor, nth: int, partial: int
) -> None:
    disk = FaultyDisk(fail_write=nth, partial=partial)
    journal = open_journal(disk, anchor).journal
    receipts: list[Receipt] = []
    with pytest.raises(JournalError, match="No space left on device: make room on the disk"):
        write_all(journal, receipts)
    assert_closed(journal, disk, "No space left on device")
    for found in (disk, disk.power_cut()):
        recorded = parse(found.read()).events
        assert all(one.event in recorded for one in receipts)
        assert verify(parse(found.read()), Head(0, GENESIS)) is None


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
@pytest.mark.fault("F72")
@pytest.mark.parametrize("nth", [1, 2])
def test_after_the_first_failed_sync_everything_is_refused_and_no_receipt_exists(
    anchor: Anchor, nth: int
) -> None:
    disk = FaultyDisk(fail_sync=nth)
    journal = open_journal(disk, anchor).journal
    receipts: list[Receipt] = []
    with pytest.raises(JournalError, match="Input/output error: the disk is failing"):
        write_all(journal, receipts)
    assert len(receipts) == nth - 1
    assert_closed(journal, disk, "Input/output error")
    recorded = parse(disk.power_cut().read()).events
    assert all(one.event in recorded for one in receipts)


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (OSError(30, "Read-only file system"), "read-only: mend or remount it"),
        (OSError(13, "Permission denied"), "let this user write the file"),
        (OSError(122, "Disk quota exceeded"), "make room within the quota"),
        (OSError(11, "another process writes it"), "end the other process"),
        (OSError(75, "Value too large"), "look at the disk"),
        (OSError("no number"), "look at the disk"),
    ],
    ids=lambda one: str(one)[:20],
)
def test_each_reason_comes_with_a_way_out(anchor: Anchor, error: OSError, way_out: str) -> None:
    class Failing(FaultyDisk):
        def append(self, data: bytes) -> None:
            raise error

    journal = open_journal(Failing(), anchor).journal
    with pytest.raises(JournalError, match=way_out) as told:
        journal.append(opened())
    assert str(error.strerror or error) in str(told.value)
    assert journal.problem == str(told.value)


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F72")
def test_a_failed_sync_is_not_tried_again_when_the_journal_is_closed(anchor: Anchor) -> None:
    disk = FaultyDisk(fail_sync=1)
    journal = open_journal(disk, anchor).journal
    journal.append(opened())
    with pytest.raises(JournalError):
        journal.commit(intended(1))
    calls = list(disk.calls)
    with pytest.raises(JournalError):
        journal.settle()
    journal.close()
    assert disk.calls == calls
    assert anchor.read() is None


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
@given(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12), st.integers(0, 400))
@settings(max_examples=150)
def test_whatever_fails_every_receipt_lies_on_the_synced_disk(
    close: int, fail_write: int, fail_sync: int, partial: int
) -> None:
    disk = FaultyDisk(fail_write=fail_write, fail_sync=fail_sync, partial=partial)
    journal = Journal(disk, NoAnchor(), parse(b""), None)
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


# --- the anchor ----------------------------------------------------------------------------------


def test_an_anchor_that_cannot_be_written_holds_up_no_dose_but_is_told_at_once() -> None:
    disk = FaultyDisk()
    journal = Journal(disk, NoAnchor(), parse(b""), None)
    journal.append(opened())
    assert journal.commit(intended(1)).event == intended(1)
    with pytest.raises(JournalError, match="the journal's anchor could not be written"):
        journal.settle()
    assert_closed(journal, disk, "anchor could not be written")


def test_a_journal_without_an_entry_has_no_anchor(anchor: Anchor) -> None:
    journal = open_journal(FaultyDisk(), anchor).journal
    journal.settle()
    assert (journal.problem, anchor.read()) == (None, None)


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
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
    with pytest.raises(JournalError, match="older copy"):
        again.journal.commit(intended(4))


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
@pytest.mark.fault("F72")
def test_a_disk_that_lied_about_its_sync_is_found_after_the_power_cut(anchor: Anchor) -> None:
    disk = LyingDisk()
    journal = written(disk, anchor, chapter())
    journal.settle()
    again = open_journal(disk.power_cut(), anchor)
    assert again.problem is not None
    assert "the disk has lost what it said was on it" in again.problem


def harmed_and_closed(anchor: Anchor, tmp_path: Path, harm: str) -> tuple[FaultyDisk, str]:
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
    assert again.problem is not None
    again.journal.anchor()
    for finish in (again.journal.sync, again.journal.settle):
        with pytest.raises(JournalError):
            finish()
    return disk, again.problem


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.parametrize("harm", ["older copy", "deleted", "anchor missing"])
def test_closing_a_journal_with_a_problem_does_not_make_the_problem_go_away(
    anchor: Anchor, tmp_path: Path, harm: str
) -> None:
    disk, problem = harmed_and_closed(anchor, tmp_path, harm)
    assert open_journal(disk, anchor).problem == problem
    assert judged(disk.read(), anchor.read())[1] == problem
