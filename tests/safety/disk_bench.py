"""Disks and anchors that fail on purpose, and journals to lose."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel_bench import IDENTITY, MG_PER_ML, bolus_nl, instant

from device_profiles.quantities import Milliseconds
from safety.events import Connected, Event, Intended, Opened, Settled
from safety.journal import (
    HASH_BYTES,
    HEADER_BYTES,
    LENGTH_BYTES,
    MAGIC,
    SCHEMA,
    Anchor,
    Contents,
    Head,
    Journal,
    parse,
    verify,
)
from safety.opening import open_journal
from safety.outputs import DrugInPump


@dataclass
class FaultyDisk:
    """Keeps what was synced over a power cut; fails at its nth write or sync, if told to.

    A failing write leaves ``partial`` of its bytes behind. A failing sync keeps nothing and, as
    Linux does, answers every later sync with success.
    """

    synced: bytes = b""
    pending: bytes = b""
    fail_write: int = 0
    fail_sync: int = 0
    partial: int = 0
    calls: list[str] = field(default_factory=list)

    def read(self) -> bytes:
        return self.synced + self.pending

    def append(self, data: bytes) -> None:
        self.calls.append("append")
        if self.calls.count("append") == self.fail_write:
            self.pending += data[: self.partial]
            raise OSError(28, "No space left on device")
        self.pending += data

    def sync(self) -> None:
        self.calls.append("sync")
        if self.calls.count("sync") == self.fail_sync:
            self.pending = b""
            raise OSError(5, "Input/output error")
        self.synced, self.pending = self.synced + self.pending, b""

    def close(self) -> None:
        """Nothing is held open."""

    def cut(self, length: int) -> None:
        self.calls.append("cut")
        self.synced, self.pending = self.read()[:length], b""

    def events(self) -> list[Event]:
        """What lies on it, as far as it can be read."""
        return list(parse(self.read()).events)

    def power_cut(self) -> "FaultyDisk":
        """The disk that the next start finds."""
        return FaultyDisk(self.synced)


class LyingDisk(FaultyDisk):
    """Says that it has synced, and has not."""

    def sync(self) -> None:
        self.calls.append("sync")


def intended(number: int, at: int = 0) -> Intended:
    """A bolus of 1,000 nL."""
    moment = instant(at)
    return Intended(
        moment,
        number,
        "give-bolus",
        (bolus_nl(1_000).bolus,),
        "BENCH-012",
        drugs=(DrugInPump("morphine", MG_PER_ML),),
        latest_end=Milliseconds(at + 120_000),
    )


def opened(journal_id: str = "a" * 16) -> Opened:
    return Opened(instant(0), journal_id, IDENTITY.serial, SCHEMA, True)


def settled(number: int) -> Settled:
    return Settled(instant(number), number, "delivered", "the device answered Done")


def connected() -> Connected:
    return Connected(instant(0), IDENTITY, 1, False, Milliseconds(0), True)


def chapter() -> list[Event]:
    """A short life: opened, connected, two boluses, of which one is settled."""
    return [opened(), connected(), intended(1), settled(1), intended(2, 10)]


def written(disk: FaultyDisk, anchor: Anchor, events: Sequence[Event]) -> Journal:
    """Writes events as their owner would: intents committed, everything else appended."""
    journal = open_journal(disk, anchor).journal
    for event in events:
        if isinstance(event, Intended):
            journal.commit(event)
        else:
            journal.append(event)
    return journal


def anchored(events: Sequence[Event], folder: Path) -> tuple[bytes, Head]:
    """The bytes of a journal that was closed in order, and its head."""
    disk, anchor = FaultyDisk(), Anchor(folder / "anchor")
    journal = written(disk, anchor, events)
    journal.settle()
    head = anchor.read()
    assert head == journal.head
    assert head is not None
    return disk.synced, head


def entries_of(data: bytes) -> list[bytes]:
    """The entries of a sound journal, each with its length and its hash."""
    entries, position = [], len(MAGIC)
    while position < len(data):
        length = int.from_bytes(data[position : position + LENGTH_BYTES], "little")
        end = position + HEADER_BYTES + length + HASH_BYTES
        entries.append(data[position:end])
        position = end
    return entries


def judged(data: bytes, head: Head | None) -> tuple[Contents, str | None]:
    contents = parse(data)
    return contents, verify(contents, head)
