"""The anchor's file: it is refused with a reason, absent, or the head that was written into it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

from safety.anchor import SLOT_BYTES, Anchor
from safety.journal_format import JournalError

from .target import Raw, Target, expect

_CHECK = 16


class _File:
    """A path whose file holds these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_bytes(self) -> bytes:
        """All of it."""
        return self._data

    def __str__(self) -> str:
        return "anchor"


def line(entries: int, digest: bytes, name: bytes) -> bytes:
    """A slot's line with its check right; written from the manual."""
    text = f"{entries:018} {digest.hex()} {name.hex()}".encode()
    return text + b" " + hashlib.sha256(text).hexdigest()[:_CHECK].encode() + b"\n"


def check(data: bytes) -> None:
    """A head that is read stands in one of the slots, byte for byte, and no slot holds a later."""
    anchor = Anchor(cast("Path", cast("Any", _File(data))))
    try:
        head = anchor.read()
    except JournalError as error:
        expect("anchor" in str(error), "an anchor was refused without a reason")
        return
    expect(head is not None, "an anchor that is there was read as absent")
    assert head is not None
    slots = (data[:SLOT_BYTES], data[SLOT_BYTES : 2 * SLOT_BYTES])
    expect("\ufffd" not in head.journal_id, "a name that is no UTF-8 was read as another")
    wanted = line(head.entries, head.hash, head.journal_id.encode())
    expect(any(slot.startswith(wanted) for slot in slots), "a head was read that nobody wrote")
    expect(head.entries >= 0 and len(head.hash) == 32, "a head is out of range")


_NAME = b"a" * 16
_LATER = line(7, bytes(range(32)), _NAME)
_EARLIER = line(6, bytes(32), _NAME)


def _file(first: bytes, second: bytes) -> bytes:
    return first.ljust(SLOT_BYTES, b"\n") + second


def seeds() -> Iterator[bytes]:
    """Two slots in either order, one alone, a contradiction, and nothing."""
    yield b""
    yield _LATER
    yield _file(_LATER, _EARLIER)
    yield _file(_EARLIER, _LATER)
    yield _file(b"", _LATER)
    yield _file(_LATER, line(7, bytes(32), _NAME))
    yield _file(_LATER, line(7, bytes(range(32)), "ü".encode()))


def _mutate(data: bytes, rng: Random, raw: Raw) -> bytes:
    slots = [data[:SLOT_BYTES].rstrip(b"\n"), data[SLOT_BYTES:].rstrip(b"\n")]
    at = rng.randrange(2)
    if rng.randrange(3) == 0:
        slots[at] = raw(slots[at])
        return _file(slots[0], slots[1])
    words = raw(slots[at][:-_CHECK]).split(b" ")
    if rng.randrange(2) and len(words) > 2:
        words[2] = rng.choice((b"", b"ff", b"c3bc", b"00", b"61" * rng.randrange(2_100)))
    text = b" ".join(words[:3])
    slots[at] = text + b" " + hashlib.sha256(text).hexdigest()[:_CHECK].encode() + b"\n"
    return _file(slots[0], slots[1])


TARGET = Target(
    name="anchor",
    check=check,
    seeds=seeds,
    mutate=_mutate,
    tokens=(b"0" * 18, b" ", b"\n", b"ff", b"f" * 64),
    max_len=3 * SLOT_BYTES,
    runs=1_200_000,
    short=1_500,
    rate=25_000,
)
