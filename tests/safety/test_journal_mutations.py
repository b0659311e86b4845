"""Every single mutation of a journal is found, and weaker formats miss some: the wrong twins."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import pytest
from disk_bench import anchored, entries_of, intended, opened, settled

from safety.events import Event
from safety.journal_format import GENESIS, MAGIC, Chain, Head, encode_event, read_chain, verify

ENTRIES = 30
STORY: list[Event] = [
    opened(),
    *(
        event
        for number in range(1, ENTRIES // 2)
        for event in (intended(number, number), settled(number))
    ),
    intended(99, 99),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Head]:
    """The bytes of a journal of thirty entries, and its head as it was anchored."""
    assert len(STORY) == ENTRIES
    return anchored(STORY, tmp_path_factory.mktemp("sound"))


# --- mutations -----------------------------------------------------------------------------------


def flips(data: bytes) -> Iterator[bytes]:
    """Each byte changed, in three ways."""
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            yield data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]


def cuts(data: bytes) -> Iterator[bytes]:
    """Each beginning of it."""
    for length in range(len(data)):
        yield data[:length]


def deletions(entries: list[bytes]) -> Iterator[list[bytes]]:
    """Each entry taken out."""
    for place in range(len(entries)):
        yield entries[:place] + entries[place + 1 :]


def insertions(entries: list[bytes]) -> Iterator[list[bytes]]:
    """Each entry once more, at each place."""
    for entry in entries:
        for place in range(len(entries) + 1):
            yield [*entries[:place], entry, *entries[place:]]


def swaps(entries: list[bytes]) -> Iterator[list[bytes]]:
    """Each two entries in each other's place."""
    for first, second in combinations(range(len(entries)), 2):
        swapped = list(entries)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        yield swapped


def rewritten(entries: list[bytes]) -> Iterator[bytes]:
    """The journals that moving whole entries about makes."""
    for change in (deletions, insertions, swaps):
        for harmed in change(entries):
            yield MAGIC + b"".join(harmed)


def mutations(data: bytes) -> Iterator[bytes]:
    yield from flips(data)
    yield from cuts(data)
    yield from rewritten(entries_of(data))


# --- what ships ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.fault("F96")
def test_every_mutation_of_an_anchored_journal_is_found(sound: tuple[bytes, Head]) -> None:
    data, head = sound
    missed = [
        harmed for harmed in mutations(data) if harmed != data and is_taken_for_sound(harmed, head)
    ]
    # What stands behind the anchored end is told from a later entry by its hash alone.
    assert missed == []


def is_taken_for_sound(data: bytes, head: Head | None) -> bool:
    return verify(read_chain(data), head) is None


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F68")
def test_where_the_anchor_lags_by_an_entry_only_that_one_can_be_missed_and_only_whole_or_torn(
    sound: tuple[bytes, Head],
) -> None:
    data, _ = sound
    lagging = read_chain(data).head_at(ENTRIES - 1)
    before_last = read_chain(data).ends[-2]
    for harmed in mutations(data):
        chain = read_chain(harmed)
        if harmed == data or verify(chain, lagging) is not None:
            continue
        is_cut_inside_the_last = data.startswith(harmed) and len(harmed) >= before_last
        assert is_cut_inside_the_last
        assert chain.torn == len(harmed) - before_last


def test_nothing_sound_is_taken_for_harmed(sound: tuple[bytes, Head]) -> None:
    data, head = sound
    assert is_taken_for_sound(data, head)


# --- the wrong twins -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Twin:
    """A journal's format written anew and weaker: without its own part each mutation is tried.

    ``check``: whether the length has a check of its own; ``previous``: whether a hash takes in the
    one before.
    """

    check: bool = True
    previous: bool = True

    def written(self) -> bytes:
        data, previous = MAGIC, GENESIS
        for event in STORY:
            entry, previous = self.entry(previous, encode_event(event))
            data += entry
        return data

    def entry(self, previous: bytes, body: bytes) -> tuple[bytes, bytes]:
        before = previous if self.previous else b""
        head = self.header(before, len(body))
        digest = hashlib.sha256(before + head + body).digest()
        return head + body + digest, digest

    def header(self, before: bytes, length: int) -> bytes:
        size = length.to_bytes(4, "little")
        return size + (hashlib.sha256(before + size).digest()[:4] if self.check else bytes(4))

    def read(self, data: bytes) -> Chain:
        ends: list[int] = []
        position, previous = len(MAGIC), GENESIS
        while position < len(data):
            before = previous if self.previous else b""
            size = data[position : position + 8]
            length = int.from_bytes(size[:4], "little")
            end = position + 8 + length + 32
            if len(size) == 8 and size != self.header(before, length):
                return Chain(data, ends, 0, "its length was changed")
            if end > len(data):
                return Chain(data, ends, len(data) - position, None)
            digest = hashlib.sha256(before + data[position : end - 32]).digest()
            if digest != data[end - 32 : end]:
                return Chain(data, ends, 0, "its hash is wrong")
            ends.append(end)
            position, previous = end, digest
        return Chain(data, ends, 0, None)

    def entries(self, data: bytes) -> list[bytes]:
        ends = [len(MAGIC), *self.read(data).ends]
        return [data[begin:end] for begin, end in pairwise(ends)]


def test_the_twin_with_every_part_reads_what_ships(sound: tuple[bytes, Head]) -> None:
    data, _ = sound
    assert Twin().written() == data
    harmed_ones = [*cuts(data), *list(flips(data))[:3_000]]
    for harmed in [data, *(one for one in harmed_ones if one.startswith(MAGIC))]:
        twin, ours = Twin().read(harmed), read_chain(harmed)
        assert (twin.count, twin.torn, twin.problem is None) == (
            ours.count,
            ours.torn,
            ours.problem is None,
        )


@pytest.mark.requirement("SR-56")
def test_without_the_hash_before_an_exchange_of_entries_is_missed() -> None:
    twin = Twin(previous=False)
    data = twin.written()
    last = data[-32:]
    missed = [
        harmed
        for harmed in rewritten(twin.entries(data))
        if twin.read(harmed).problem is None and harmed[-32:] == last and len(harmed) == len(data)
    ]
    assert missed, "not even its anchor, the hash of the last entry, shows it"


@pytest.mark.requirement("SR-56")
def test_without_a_check_of_the_length_an_intent_that_was_sent_passes_for_a_torn_one() -> None:
    twin = Twin(check=False)
    data = twin.written()
    lagging = ENTRIES - 1
    missed = [
        harmed
        for harmed in flips(data)
        if harmed.startswith(MAGIC)
        if (chain := twin.read(harmed)).problem is None and chain.torn and chain.count == lagging
    ]
    assert missed
    ships = Twin().written()
    read = [read_chain(harmed) for harmed in flips(ships)]
    assert not [chain for chain in read if chain.problem is None and chain.torn]


@pytest.mark.requirement("SR-56")
def test_without_an_anchor_a_cut_at_the_end_of_an_entry_is_missed(
    sound: tuple[bytes, Head],
) -> None:
    data, head = sound
    missed = [
        harmed
        for harmed in cuts(data)
        if (chain := read_chain(harmed)).problem is None and not chain.torn
    ]
    assert len(missed) == ENTRIES + 1
    assert not [harmed for harmed in missed if is_taken_for_sound(harmed, head)]
