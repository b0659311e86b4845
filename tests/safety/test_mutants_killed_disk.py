"""What no other test noticed when one operator, number or line of the journal's files was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

import os
import stat
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
from kernel_bench import instant, pump_case

from safety.anchor import Anchor
from safety.checkpoint import StateFile
from safety.disk import FileDisk
from safety.events import Rejected, Settled
from safety.journal import Head, JournalError
from safety.journal_format import (
    MAX_ENTRY,
    chained,
    decode_event,
    encode_event,
    read_chain,
    readable,
)
from safety.limits import pump_limits
from safety.opening import open_journal

HEAD = Head(1, b"\x01" * 32, "a" * 16)


class Watched:
    """Every sync of the system, with what it was of, and what the folder held by then."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, tuple[str, ...]]] = []

        def sync(descriptor: int) -> None:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            names = tuple(sorted(one.name for one in folder.iterdir()))
            self.seen.append(("folder" if is_folder else "file", names))

        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, sync, raising=False)


# --- what reaches the disk -----------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
def test_a_new_anchor_is_on_the_disk_before_it_bears_its_name_and_then_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path, monkeypatch)
    Anchor(tmp_path / "anchor").write(HEAD)
    assert watched.seen == [("file", ("anchor.new",)), ("folder", ("anchor",))]


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
def test_a_journal_that_was_settled_is_on_the_disk_with_its_anchor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    journal = open_journal(FileDisk(tmp_path / "journal"), Anchor(tmp_path / "anchor")).journal
    journal.append(opened())
    journal.settle()
    journal.append(settled(1))
    watched = Watched(tmp_path / "elsewhere", monkeypatch)
    journal.settle()
    journal.close()
    assert watched.seen == [("file", ())] * 2, "the journal's bytes, then the anchor's"


def test_what_nobody_has_brought_to_the_disk_is_not_anchored(tmp_path: Path) -> None:
    disk, anchor = FaultyDisk(), Anchor(tmp_path / "anchor")
    written(disk, anchor, chapter()).settle()
    before = anchor.read()
    again = open_journal(disk, anchor).journal
    again.append(settled(2))
    again.anchor()
    assert anchor.read() == before
    fresh = open_journal(FaultyDisk(), Anchor(tmp_path / "fresh")).journal
    fresh.append(opened())
    fresh.anchor()
    assert Anchor(tmp_path / "fresh").read() is None


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_of_a_journal_that_is_not_trusted_not_even_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    data, _ = anchored([*chapter(), settled(2)], tmp_path)
    older = data[: -len(entries_of(data)[-1])]
    disk = FaultyDisk(older + entries_of(data)[-1][:7])
    found = open_journal(disk, Anchor(tmp_path / "anchor"))
    assert found.problem is not None
    assert disk.read() == older + entries_of(data)[-1][:7]


@pytest.mark.requirement("SR-56")
def test_the_first_reason_not_to_trust_a_journal_stays_the_one_that_is_told() -> None:
    journal = open_journal(FaultyDisk(), Anchor(Path("/nowhere/anchor"))).journal
    for reason in ("the first", "the second"):
        journal.distrust(reason)
    assert journal.problem == "the first"


@pytest.mark.fault("F72")
def test_all_of_a_journal_is_read_from_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range that begins at its second byte would leave the whole first page in memory."""
    path = tmp_path / "journal"
    path.write_bytes(b"x")
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda *told: ranges.append((told[1], told[2])), raising=False
    )
    disk = FileDisk(path)
    disk.read()
    disk.close()
    assert ranges == [(0, 0)]


# --- where things lie ----------------------------------------------------------------------------


def test_the_two_slots_of_an_anchor_lie_in_sectors_of_their_own(tmp_path: Path) -> None:
    Anchor(tmp_path / "anchor").write(HEAD)
    image = (tmp_path / "anchor").read_bytes()
    assert image[:4_096].rstrip(b"\n") == image[4_096:].rstrip(b"\n") != b""


def test_a_state_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "states").read() == b""


# --- an anchor that is missing -------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_journal_with_an_intent_anywhere_is_not_trusted_without_its_anchor(
    tmp_path: Path, after: int
) -> None:
    data, _ = anchored([opened(), intended(1), *[settled(1)] * after], tmp_path)
    _, problem = judged(data, None)
    assert problem is not None
    assert "its anchor is missing" in problem


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_journal_without_an_intent_needs_no_anchor_yet(tmp_path: Path, count: int) -> None:
    data, _ = anchored([opened(), *[settled(1)] * count], tmp_path)
    assert judged(data, None)[1] is None


# --- bytes ---------------------------------------------------------------------------------------


def settled_of(length: int) -> Settled:
    """An outcome whose entry has exactly so many bytes."""
    event = Settled(instant(0), 1, "delivered", "x" * (length - 200))
    return replace(event, evidence=event.evidence + "x" * (length - len(encode_event(event))))


def test_the_largest_entry_is_held_and_read_again_and_one_byte_more_is_refused() -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, Anchor(Path("/nowhere/anchor"))).journal
    journal.append(opened())
    largest = settled_of(MAX_ENTRY)
    with pytest.raises(JournalError, match="too large"):
        journal.append(settled_of(MAX_ENTRY + 1))
    journal.append(largest)
    assert read_chain(disk.read()).event(2) == largest
    torn = disk.read()[:-1]
    chain = read_chain(torn)
    assert (chain.problem, chain.count) == (None, 1)
    assert chain.torn == len(entries_of(disk.read())[-1]) - 1


@pytest.mark.requirement("SR-56")
def test_an_entry_larger_than_any_that_is_written_is_not_read_though_its_hash_is_right() -> None:
    disk = FaultyDisk()
    journal = open_journal(disk, Anchor(Path("/nowhere/anchor"))).journal
    journal.append(opened())
    entry, _ = chained(journal.head.hash, encode_event(settled_of(MAX_ENTRY + 1)))
    chain = read_chain(disk.read() + entry)
    assert chain.count == 1
    assert chain.problem == "entry 2: its length was changed"


def test_a_refusal_for_a_drug_whose_name_no_file_can_hold_can_be_read_again() -> None:
    case = pump_case()
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    odd = replace(limits, drugs=tuple(replace(one, name="\udc80") for one in limits.drugs))
    refused = Rejected(instant(0), 1, "program-pump", (), (), "BENCH-012", odd)
    left = readable(refused)
    assert decode_event(encode_event(left)) == left
    assert left == replace(refused, patient="", limits=None)
