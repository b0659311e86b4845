"""The anchor: its newest whole slot counts, and an anchor without one is damaged, never missing."""

import os
from pathlib import Path

import pytest
from disk_bench import FaultyDisk, anchored, chapter, settled

from safety.anchor import SLOT_BYTES, Anchor, _check
from safety.journal import Head, JournalError
from safety.opening import open_journal

LINE = 140
PLACES = [slot * SLOT_BYTES + place for slot in range(2) for place in range(LINE)]
"""Every byte of both lines, and some of what lies behind the first."""


def head(entries: int, journal_id: str = "a" * 16) -> Head:
    return Head(entries, bytes([entries % 256]) * 32, journal_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor"


def test_the_newest_head_is_read_whoever_wrote_it(path: Path) -> None:
    assert Anchor(path).read() is None
    mine = Anchor(path)
    for entries in range(1, 8):
        mine.write(head(entries))
        mine.sync()
        assert Anchor(path).read() == head(entries)
    for entries in (9, 12, 13):
        Anchor(path).write(head(entries))
        assert Anchor(path).read() == head(entries)


@pytest.mark.parametrize("name", ["", "a" * 16, "a name\nwith 0123 and 誰か"])
def test_whatever_a_journal_is_called_its_anchor_can_be_read(path: Path, name: str) -> None:
    for entries in (1, 2, 3):
        Anchor(path).write(head(entries, name))
        assert Anchor(path).read() == head(entries, name)


def test_an_anchor_is_its_users_alone_and_lies_wherever_it_is_put(tmp_path: Path) -> None:
    elsewhere = tmp_path / "another disk"
    elsewhere.mkdir()
    Anchor(elsewhere / "anchor").write(head(1))
    assert [one.name for one in elsewhere.iterdir()] == ["anchor"]
    assert (elsewhere / "anchor").stat().st_mode & 0o777 == 0o600


# --- torn, damaged, gone -------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
@pytest.mark.parametrize("entries", [5, 6])
def test_a_write_that_is_torn_anywhere_leaves_the_head_before_it(path: Path, entries: int) -> None:
    anchor = Anchor(path)
    for number in range(1, entries):
        anchor.write(head(number))
    before = path.read_bytes()
    anchor.write(head(entries))
    after = path.read_bytes()
    for torn in PLACES:
        path.write_bytes(after[:torn] + before[torn:])
        assert Anchor(path).read() in (head(entries - 1), head(entries))
        path.write_bytes(before[:torn] + after[torn:])
        assert Anchor(path).read() in (head(entries - 1), head(entries))


class OneSlot(Anchor):
    """The wrong twin: one line, written over in place."""

    def _write_slot(self, descriptor: int, head: Head) -> None:
        self._next = 0
        super()._write_slot(descriptor, head)
        os.truncate(descriptor, SLOT_BYTES)


@pytest.mark.requirement("SR-56")
def test_with_one_slot_a_torn_write_would_latch_for_nothing(path: Path) -> None:
    anchor = OneSlot(path)
    for number in range(1, 3):
        anchor.write(head(number))
    before = path.read_bytes()
    anchor.write(head(3))
    after = path.read_bytes()
    path.write_bytes(after[:40] + before[40:])
    with pytest.raises(JournalError, match="damaged"):
        Anchor(path).read()


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.parametrize("damage", [b"", b"\n", b"\x80" * 9, b"5 " + b"0" * 64, b"\0" * 5_000])
def test_a_file_without_a_whole_slot_is_damaged_and_latches(
    tmp_path: Path, path: Path, damage: bytes
) -> None:
    data, _ = anchored(chapter(), tmp_path)
    path.write_bytes(damage)
    with pytest.raises(JournalError, match="anchor is damaged"):
        Anchor(path).read()
    again = open_journal(FaultyDisk(data), Anchor(path))
    assert again.problem is not None
    assert "anchor is damaged" in again.problem
    assert again.state.reservations, "its past is read all the same"


def test_a_name_that_is_no_text_is_damage_though_its_check_is_right(path: Path) -> None:
    text = f"{1:018} {bytes(32).hex()} ff".encode()
    path.write_bytes(text + b" " + _check(text) + b"\n")
    with pytest.raises(JournalError, match="damaged"):
        Anchor(path).read()


def test_a_damaged_anchor_that_is_written_is_whole_again(path: Path) -> None:
    path.write_bytes(b"\0" * 5_000)
    Anchor(path).write(head(3))
    assert Anchor(path).read() == head(3)


def test_two_heads_of_one_length_contradict_each_other(path: Path) -> None:
    Anchor(path).write(head(3))
    slots = path.read_bytes()
    path.unlink()
    Anchor(path).write(head(3, "b" * 16))
    other = path.read_bytes()
    path.write_bytes(slots[:SLOT_BYTES] + other[SLOT_BYTES:])
    with pytest.raises(JournalError, match="contradicts itself"):
        Anchor(path).read()


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_every_changed_byte_of_an_anchor_is_found_or_leaves_a_head_that_was_anchored(
    tmp_path: Path, path: Path
) -> None:
    anchored([*chapter(), *[settled(1)] * 8], tmp_path)
    heads = [Anchor(path).read()]
    Anchor(path).write(head(4))
    Anchor(path).write(Head(13, heads[0].hash if heads[0] else b"", "a" * 16))
    heads += [head(4), Anchor(path).read()]
    text = path.read_bytes()
    for place in PLACES:
        for flip in (0x01, 0x80):
            if place < len(text):
                changed = bytes([text[place] ^ flip])
                path.write_bytes(text[:place] + changed + text[place + 1 :])
            assert Anchor(path).read() in heads, (place, flip)


def test_an_anchor_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    (tmp_path / "folder").mkdir()
    again = open_journal(FaultyDisk(data), Anchor(tmp_path / "folder"))
    assert again.problem is not None
    assert "anchor is unreadable" in again.problem


def test_an_anchor_that_vanished_is_made_anew(path: Path) -> None:
    anchor = Anchor(path)
    anchor.write(head(1))
    path.unlink()
    anchor.write(head(2))
    assert Anchor(path).read() == head(2)
