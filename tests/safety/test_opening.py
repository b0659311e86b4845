"""Opening a journal: what it amounts to, what is cut off, and what latches."""

from dataclasses import replace
from pathlib import Path

import pytest
from disk_bench import (
    FaultyDisk,
    anchored,
    chapter,
    entries_of,
    intended,
    judged,
    opened,
    settled,
    written,
)
from kernel_bench import fold, instant

from device_profiles.quantities import Milliseconds
from safety.events import Event
from safety.journal import GENESIS, MAGIC, Anchor, Head, JournalError, parse
from safety.journal_format import SCHEMA
from safety.opening import open_journal
from safety.state import State
from safety.timeline import EMPTY, Ending


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path / "anchor")


def test_the_state_at_a_start_is_the_fold_of_every_entry(anchor: Anchor) -> None:
    disk = FaultyDisk()
    written(disk, anchor, chapter()).settle()
    again = open_journal(disk, anchor)
    assert again.state == fold(chapter())
    assert again.first == opened()
    assert again.since_checkpoint == len(chapter())


def test_where_there_is_nothing_the_judge_knows_nothing(anchor: Anchor) -> None:
    again = open_journal(FaultyDisk(), anchor)
    assert (again.state, again.end.slow, again.first, again.problem) == (State(), 0, None, None)


@pytest.mark.requirement("SR-15")
@pytest.mark.parametrize(
    ("moments", "end"), [((), 0), ((5,), 5), ((5, 3), 5), ((0, 10**12, 1), 10**12)]
)
def test_the_slow_clock_goes_on_from_the_latest_moment_of_the_journal(
    anchor: Anchor, moments: tuple[int, ...], end: int
) -> None:
    disk = FaultyDisk()
    events: list[Event] = [opened(), *(settled(moment) for moment in moments)]
    written(disk, anchor, events).settle()
    assert open_journal(disk, anchor).end.slow == end


@pytest.mark.requirement("SR-15")
def test_a_journal_ends_at_the_wall_clock_of_its_last_entry_wherever_that_was_set(
    anchor: Anchor,
) -> None:
    assert open_journal(FaultyDisk(), anchor).end == EMPTY
    disk = FaultyDisk()
    written(disk, anchor, [opened(), settled(5), settled(3)]).settle()
    assert instant(3).wall > instant(5).wall, "in these tests the wall clock goes back"
    assert open_journal(disk, anchor).end == Ending(Milliseconds(5), instant(3).wall)


# --- a torn tail ---------------------------------------------------------------------------------


@pytest.mark.fault("F67")
@pytest.mark.fault("F68")
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
        (tmp_path / "lagging").unlink(missing_ok=True)
        anchor.write(head)
        again = open_journal(disk, anchor)
        assert again.problem is None
        assert disk.read() == data[:whole]
        again.journal.commit(intended(9))
        assert disk.events() == [*events[:-1], intended(9)]


def test_a_torn_first_line_is_a_journal_not_yet_begun(anchor: Anchor) -> None:
    for length in range(len(MAGIC)):
        disk = FaultyDisk(MAGIC[:length])
        again = open_journal(disk, anchor)
        assert (again.first, again.problem) == (None, None)
        again.journal.append(opened())
        again.journal.append(settled(1))
        assert judged(disk.read(), Head(0, GENESIS))[1] is None
        assert len(disk.events()) == 2


# --- what latches --------------------------------------------------------------------------------


@pytest.mark.fault("F73")
@pytest.mark.parametrize(
    "data", [b"SQLite format 3\0", b"\0" * 64, MAGIC.replace(b"1", b"2"), b"neuraxis journal 1\r\n"]
)
def test_a_foreign_file_is_never_taken_for_a_journal_nor_written_to(
    anchor: Anchor, data: bytes
) -> None:
    disk = FaultyDisk(data)
    again = open_journal(disk, anchor)
    assert again.problem is not None
    assert "this is no neuraxis journal, or one of another version" in again.problem
    with pytest.raises(JournalError, match="no neuraxis journal"):
        again.journal.append(opened())
    with pytest.raises(JournalError, match="no neuraxis journal"):
        again.journal.commit(intended(1))
    assert disk.read() == data
    assert disk.calls == []


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F77")
def test_an_upgrade_with_another_schema_in_the_middle_of_a_hold_latches_and_keeps_the_hold(
    anchor: Anchor,
) -> None:
    disk = FaultyDisk()
    older = replace(opened(), schema=SCHEMA - 1)
    written(disk, anchor, [older, *chapter()[1:]])
    again = open_journal(disk, anchor)
    assert again.problem is not None
    assert f"it is of schema {SCHEMA - 1}" in again.problem
    assert [one.id for one in again.state.unsettled] == [2]
    with pytest.raises(JournalError, match="schema"):
        again.journal.commit(intended(9))
    assert len(disk.events()) == len(chapter())


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_what_a_problem_has_spared_is_still_known(tmp_path: Path) -> None:
    data, _ = anchored([*chapter(), settled(2)], tmp_path)
    harmed = data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]
    again = open_journal(FaultyDisk(harmed), Anchor(tmp_path / "anchor"))
    assert again.problem == "entry 6: its hash does not follow from the entry before"
    assert again.state == fold(chapter())


@pytest.mark.requirement("SR-56")
def test_an_entry_that_is_chained_but_cannot_be_read_latches(anchor: Anchor) -> None:
    disk = FaultyDisk()
    journal = written(disk, anchor, chapter())
    odd = settled(9)
    object.__setattr__(odd, "outcome", "perhaps")
    journal.append(odd)
    journal.settle()
    again = open_journal(disk, anchor)
    assert again.problem is not None
    assert "entry 6: not an event of this schema" in again.problem
    assert again.state == fold(chapter())
    with pytest.raises(JournalError):
        again.journal.append(settled(1))


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
@pytest.mark.fault("F71")
@pytest.mark.fault("F73")
@pytest.mark.parametrize("fails", ["read", "cut"])
def test_a_journal_that_cannot_be_read_or_mended_latches_and_does_not_crash(
    tmp_path: Path, fails: str
) -> None:
    data, _ = anchored(chapter(), tmp_path)
    again = open_journal(Unreadable(data + b"\x40\0", fails), Anchor(tmp_path / "anchor"))
    assert again.problem is not None
    assert "it cannot be read or mended" in again.problem
    assert (again.state == State()) == (fails == "read")


def test_an_instant_is_never_earlier_than_what_was_recorded(anchor: Anchor) -> None:
    disk = FaultyDisk()
    written(disk, anchor, [opened(), intended(1, 7_000)])
    assert open_journal(disk, anchor).end.slow == instant(7_000).slow
