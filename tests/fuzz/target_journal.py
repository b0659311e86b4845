"""The journal opener: any bytes open, and a journal without a problem is one that was written.

The first byte says which anchor lies beside the journal: none, its own head, or that of one of two
lives that began otherwise.
"""

from collections.abc import Iterator
from random import Random

from safety.journal_format import MAGIC, parse
from safety.opening import open_journal

from .chains import (
    LIFE,
    SHORT,
    RamAnchor,
    RamDisk,
    chain_mutator,
    head_of,
    is_chain,
    journal_of,
)
from .target import Raw, Target, expect, mark

LIVES = (journal_of(SHORT), journal_of(LIFE))
HEADS = tuple(head_of(life, "a" * 16) for life in LIVES)


def check(data: bytes) -> None:
    """Never raises, says why, mends only a torn end, and opens what it has accepted once more."""
    way, journal = (data[0] % 3, data[1:]) if data else (0, b"")
    anchored = None if way == 0 else HEADS[way - 1]
    disk = RamDisk(journal)
    opened = open_journal(disk, RamAnchor(anchored))
    if opened.problem is not None:
        mark(opened.problem)
        expect(len(opened.problem.split()) > 2, "a journal was refused without a reason")
        lost = journal[len(disk.data) :]
        kept = journal.startswith(disk.data) and not is_chain(MAGIC + lost)
        expect(not lost or (kept and is_chain(disk.data)), "more was cut than a torn end")
        expect(opened.journal.problem == opened.problem, "a journal with a problem may be written")
        return
    expect(journal.startswith(disk.data), "mending changed more than the end of a journal")
    whole = disk.data
    if whole:
        expect(is_chain(whole), "a journal was accepted whose chain is broken")
        expect(len(whole) == len(MAGIC) or opened.first is not None, "it names no device")
    contents = parse(whole)
    expect(contents.problem is None, "a journal was accepted with an entry that cannot be read")
    expect(contents.head == opened.journal.head, "a journal was opened at another head")
    if anchored is not None:
        life = LIVES[way - 1]
        expect(whole[: len(life)] == life, "a journal was accepted that is not the anchored one")
    again = open_journal(RamDisk(whole), RamAnchor(anchored))
    expect(again.problem is None and again.state == opened.state, "opening again differs")


def seeds() -> Iterator[bytes]:
    """Two lives, whole, torn and with the wrong anchor."""
    yield b"\x00"
    yield b"\x00" + MAGIC
    yield b"\x00" + journal_of(SHORT[:2])
    for number, life in enumerate(LIVES, 1):
        yield bytes([number]) + life
        yield bytes([number]) + life[:-7]
    yield b"\x01" + LIVES[1]
    yield b"\x00" + journal_of([event for event in LIFE if event.kind != "intended"])


def _mutate(data: bytes, rng: Random, raw: Raw) -> bytes:
    head = data[:1] if rng.randrange(8) else bytes([rng.randrange(3)])
    return head + chain_mutator(data[1:], rng, raw)


TARGET = Target(
    name="journal",
    check=check,
    seeds=seeds,
    mutate=_mutate,
    tokens=(MAGIC, b"dkind", b"fopened", b"hintended", b"\x00\x00\x10\x00", b"\xf6", b"\x1b"),
    max_len=16_384,
    runs=300_000,
    short=400,
    rate=2_000,
)
