"""Journals as bytes: valid ones to begin with, an obvious verifier, a re-chaining mutator."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

from disk_bench import chapter
from every_event import EVERY_EVENT

from safety.anchor import Anchor
from safety.events import Event
from safety.journal_format import MAGIC, Head, encode_event

from .mutators import cbor_mutator
from .target import Raw

HEADER = 8
HASH = 32
LONGEST_ENTRY = 1 << 20
LIFE: Sequence[Event] = [e for e in EVERY_EVENT if e.kind not in ("checkpointed", "latched")]
SHORT: Sequence[Event] = chapter()


class RamDisk:
    """A journal's bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> bytes:
        """All bytes."""
        return self.data

    def append(self, data: bytes) -> None:
        """Adds bytes."""
        self.data += data

    def sync(self) -> None:
        """Nothing to wait for."""

    def cut(self, length: int) -> None:
        """Drops the rest."""
        self.data = self.data[:length]

    def close(self) -> None:
        """Nothing is held."""


class RamAnchor(Anchor):
    """An anchor in memory."""

    def __init__(self, head: Head | None) -> None:
        super().__init__(Path("nowhere"))
        self._head = head

    def read(self) -> Head | None:
        """What was anchored."""
        return self._head

    def write(self, head: Head) -> None:
        """Anchors a head."""
        self._head = head

    def sync(self) -> None:
        """Nothing to wait for."""


def chain(bodies: Sequence[bytes]) -> bytes:
    """A journal of these bodies with every length, check and hash right, by the manual."""
    data, previous = MAGIC, hashlib.sha256(MAGIC).digest()
    for body in bodies:
        size = len(body).to_bytes(4, "little")
        entry = size + hashlib.sha256(previous + size).digest()[:4] + body
        previous = hashlib.sha256(previous + entry).digest()
        data += entry + previous
    return data


def bodies_of(data: bytes) -> list[bytes]:
    """The bodies of a journal by their lengths alone, as far as they go."""
    found, at = [], len(MAGIC)
    while at + HEADER + HASH <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        if length > len(data) - at - HEADER - HASH:
            break
        found.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length + HASH
    return found


def is_chain(data: bytes) -> bool:
    """Whether these bytes are a chain to their very end: the slow and obvious check."""
    return data == chain(bodies_of(data)) and data.startswith(MAGIC)


def journal_of(events: Sequence[Event]) -> bytes:
    """The journal of events."""
    return chain([encode_event(event) for event in events])


def head_of(data: bytes, journal_id: str) -> Head:
    """Where a whole journal ends."""
    return Head(len(bodies_of(data)), data[-HASH:], journal_id)


def chain_mutator(data: bytes, rng: Random, raw: Raw) -> bytes:
    """Changes bytes, or entries behind their hashes, which are made right again."""
    bodies = bodies_of(data)
    if not bodies or rng.randrange(3) == 0:
        return raw(data)
    at = rng.randrange(len(bodies))
    match rng.randrange(8):
        case 7:
            end = len(chain(bodies[: at + 1]))
            place = end - 1 - rng.randrange(HASH)
            return data[:place] + rng.randbytes(1) + data[place + 1 :]
        case 0:
            del bodies[at]
        case 1:
            bodies.insert(rng.randrange(len(bodies)), bodies[at])
        case 2:
            bodies[at] = raw(bodies[at])
        case 3:
            bodies = bodies[: at + 1]
        case _:
            bodies[at] = cbor_mutator(bodies[at], rng, raw)
    changed = chain(bodies)
    return changed[: rng.randrange(len(changed))] if rng.randrange(8) == 0 else changed
