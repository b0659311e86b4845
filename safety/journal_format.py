"""The bytes of a journal: entries chained by SHA-256, to events and back.

An entry is ``length (4 bytes, little endian) + check (the first 4 bytes of SHA-256 over previous
hash + length) + CBOR of the event + SHA-256 over previous hash + length + check + CBOR``. The check
tells an entry that was cut short from one whose length was changed. A file begins with `MAGIC`; its
first event is `Opened`, which names the device.
An entry that is not whole at the very end was never acted upon: a command waits for its intent to
be on the disk.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import cbor2
from pydantic import TypeAdapter, ValidationError

from device_profiles.errors import NeuraxisError
from safety.events import Event, Opened, Rejected

MAGIC = b"neuraxis journal 1\n"
SCHEMA = 3
LENGTH_BYTES = 4
CHECK_BYTES = 4
HEADER_BYTES = LENGTH_BYTES + CHECK_BYTES
HASH_BYTES = 32
MAX_ENTRY = 1 << 20
GENESIS = hashlib.sha256(MAGIC).digest()
_KIND = cbor2.dumps("kind")

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


class JournalError(NeuraxisError):
    """The journal cannot be trusted or written; no bolus and no increase until it can."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a journal ends: the number of entries, the last hash, and which journal it is.

    ``journal_id`` is that of its `Opened`; empty as long as there is none.
    """

    entries: int
    hash: bytes
    journal_id: str = ""


# --- one event -----------------------------------------------------------------------------------


def encode_event(event: Event) -> bytes:
    """The CBOR of an event."""
    return cbor2.dumps(plain(event))


def decode_event(data: bytes) -> Event:
    """The event in ``data``; raises JournalError unless it encodes to the very same bytes."""
    event: Event = read_exactly(_EVENTS, data, "event")
    if encode_event(event) != data:
        # The reader is lenient about types (a list for a tuple); this makes it exact.
        raise JournalError("not an event of this schema: it does not encode to the same bytes")
    return event


def readable(event: Event) -> Event:
    """A refusal as it can be read again: what was asked for is left out where it is no Output.

    Everything else that is recorded was judged; what was refused may be anything.
    """
    if not isinstance(event, Rejected):
        return event
    try:
        decode_event(encode_event(event))
    except (JournalError, cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        return replace(event, outputs=(), patient="", limits=None, override=None)
    return event


def read_exactly(adapter: TypeAdapter[Any], data: bytes, what: str) -> Any:
    """What CBOR holds, if it has the adapter's shape; raises JournalError."""
    try:
        return adapter.validate_python(cbor2.loads(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise JournalError(f"not an {what} of this schema: {place}: {first['msg']}") from error
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise JournalError(f"not an {what}: {error}") from error


def plain(value: Any) -> Any:
    """What `asdict` makes of a value, without copying what cannot change."""
    cls = type(value)
    if cls in _LEAVES:
        return value
    if cls is tuple:
        return [plain(item) for item in value]
    return {
        name: one if type(one := getattr(value, name)) in _LEAVES else plain(one)
        for name in _names_of(cls)  # type: ignore[arg-type]  # every class can be hashed
    }


_LEAVES = frozenset({int, str, bytes, bool, type(None)})
"""What is its own plain form."""


@cache
def _names_of(cls: type) -> tuple[str, ...]:
    """The names of a dataclass's fields."""
    return tuple(one.name for one in fields(cls))


# --- the chain -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chain:
    """The whole entries of a journal, found by their hashes alone; only the first has been read.

    ``ends`` are where they end; ``torn`` counts the bytes after the last one that look like an
    entry cut short; ``problem`` says where and how the chain breaks. ``first`` is the first event
    if it names a device, as it must.
    """

    data: bytes
    ends: Sequence[int]
    torn: int
    problem: str | None
    first: Opened | None = None

    @property
    def count(self) -> int:
        """How many whole entries there are."""
        return len(self.ends)

    @property
    def whole(self) -> int:
        """The length of the bytes that form whole entries; 0 if not even the first line does."""
        return self.whole_until(self.count)

    def whole_until(self, number: int) -> int:
        """The length of the bytes up to the end of entry ``number``."""
        if number:
            return self.ends[number - 1]
        return len(MAGIC) if self.data.startswith(MAGIC) else 0

    def body(self, number: int) -> bytes:
        """The CBOR of entry ``number``, counted from 1."""
        begin = self.ends[number - 2] if number > 1 else len(MAGIC)
        return self.data[begin + HEADER_BYTES : self.ends[number - 1] - HASH_BYTES]

    def event(self, number: int) -> Event:
        """The event of entry ``number``; raises JournalError."""
        try:
            return decode_event(self.body(number))
        except JournalError as error:
            raise JournalError(f"entry {number}: {error}") from error

    def is_kind(self, number: int, kind: str) -> bool:
        """Whether entry ``number`` is of a kind, which is the last thing in every body."""
        return self.body(number).endswith(_KIND + cbor2.dumps(kind))

    def head_at(self, number: int) -> Head:
        """The head as it was after entry ``number``."""
        if number == 0:
            return Head(0, GENESIS)
        end = self.ends[number - 1]
        journal_id = self.first.journal_id if self.first else ""
        return Head(number, self.data[end - HASH_BYTES : end], journal_id)

    @property
    def head(self) -> Head:
        """Where the whole entries end."""
        return self.head_at(self.count)


def read_chain(data: bytes) -> Chain:
    """Finds a journal's entries and checks each hash, as far as the bytes can be trusted."""
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            return Chain(data, (), len(data), None)
        text = "this is no neuraxis journal, or one of another version; put the right file back"
        return Chain(data, (), 0, text)
    ends, torn, problem = array("Q"), 0, None
    sha256, view, size = hashlib.sha256, memoryview(data), len(data)
    position, previous = len(MAGIC), GENESIS
    while position < size:
        length = int.from_bytes(data[position : position + LENGTH_BYTES], "little")
        end = position + HEADER_BYTES + length + HASH_BYTES
        taken = sha256(previous)
        taken.update(view[position : end - HASH_BYTES])
        digest = taken.digest()
        if end > size or length > MAX_ENTRY or digest != data[end - HASH_BYTES : end]:
            torn, problem = _why_not_whole(data[position:], previous, len(ends) + 1)
            break
        ends.append(end)
        position, previous = end, digest
    chain = Chain(data, ends, torn, problem)
    return replace(chain, first=_opened_of(chain))


def _opened_of(chain: Chain) -> Opened | None:
    try:
        first = chain.event(1) if chain.count else None
    except JournalError:
        return None  # who reads the entries says so
    return first if isinstance(first, Opened) else None


def _why_not_whole(rest: bytes, previous: bytes, number: int) -> tuple[int, str | None]:
    """What is wrong with the entry that begins here: bytes of a torn one, or a problem."""
    header = rest[:HEADER_BYTES]
    length = int.from_bytes(header[:LENGTH_BYTES], "little")
    if len(rest) < HEADER_BYTES:
        return len(rest), None
    if header != _header(previous, length) or length > MAX_ENTRY:
        return 0, f"entry {number}: its length was changed"
    if HEADER_BYTES + length + HASH_BYTES > len(rest):
        return len(rest), None
    return 0, f"entry {number}: its hash does not follow from the entry before"


def chained(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The bytes of an entry that follows the hash ``previous``, and its own hash."""
    entry = _header(previous, len(body)) + body
    digest = hashlib.sha256(previous + entry).digest()
    return entry + digest, digest


def _header(previous: bytes, length: int) -> bytes:
    """The first bytes of an entry: its length, and a check that belongs to this place alone."""
    size = length.to_bytes(LENGTH_BYTES, "little")
    return size + hashlib.sha256(previous + size).digest()[:CHECK_BYTES]


# --- all events, and what is wrong ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contents:
    """A journal with every entry read, up to the first that cannot be, which ``problem`` names."""

    chain: Chain
    events: tuple[Event, ...]
    problem: str | None

    @property
    def heads(self) -> tuple[Head, ...]:
        """The head after each entry that was read."""
        return tuple(self.chain.head_at(number) for number in range(1, len(self.events) + 1))

    @property
    def head(self) -> Head:
        """Where the entries that were read end."""
        return self.chain.head_at(len(self.events))

    @property
    def whole(self) -> int:
        """The length of the bytes that form entries which were read."""
        return self.chain.whole_until(len(self.events))

    @property
    def torn(self) -> int:
        """The bytes at the end that look like an entry cut short."""
        return self.chain.torn if self.problem is None else 0


def parse(data: bytes) -> Contents:
    """Reads a journal's bytes as far as they can be trusted."""
    chain = read_chain(data)
    events: list[Event] = []
    for number in range(1, chain.count + 1):
        try:
            events.append(chain.event(number))
        except JournalError as error:
            return Contents(chain, tuple(events), str(error))
    return Contents(chain, tuple(events), chain.problem)


RESTORE = "put the newest copy back, or keep this file and start another with --journal PATH"
"""The way out where a journal is not the one that it should be."""


def verify(found: Chain | Contents, anchored: Head | None) -> str | None:
    """What is wrong with a journal, in one sentence; ``None`` if nothing is."""
    chain = found.chain if isinstance(found, Contents) else found
    return unsound(found) or off_anchor(chain, anchored)


def unsound(found: Chain | Contents) -> str | None:
    """What is wrong with a journal in itself."""
    chain = found.chain if isinstance(found, Contents) else found
    problem = chain.problem or _foreign_schema(chain.first) or found.problem
    if problem is None and chain.count and chain.first is None:
        return "entry 1 does not say which device this journal belongs to"
    return problem


def off_anchor(chain: Chain, anchored: Head | None) -> str | None:
    """What is wrong with a sound journal once it is held against its anchor."""
    if anchored is not None:
        return _against(chain, anchored)
    # The first anchor is written before the first intent; until then nothing can be missed.
    if any(chain.is_kind(number, "intended") for number in range(1, chain.count + 1)):
        return f"its anchor is missing: a cut or an older copy would not show; {RESTORE}"
    return None


def _foreign_schema(first: Opened | None) -> str | None:
    if first is None or first.schema == SCHEMA:
        return None
    return (
        f"it is of schema {first.schema}, and this version knows {SCHEMA}: use the version of "
        "neuraxis that wrote it, or start another with --journal PATH"
    )


def _against(chain: Chain, anchored: Head) -> str | None:
    mine, kept = chain.head.journal_id, anchored.journal_id
    if mine and kept and mine != kept:
        return (
            f"it is the journal {mine}, and the one that was kept here is {kept}: a copy from "
            f"another device, patient or bench was put in its place; {RESTORE}"
        )
    if anchored.entries > chain.count:
        what = "the file was deleted" if chain.count == 0 else "the file was cut"
        return (
            f"entries {chain.count + 1} to {anchored.entries} are missing: {what}, or an older "
            f"copy was put in its place, or the disk has lost what it said was on it; {RESTORE}"
        )
    if chain.head_at(anchored.entries).hash != anchored.hash:
        return (
            f"entry {anchored.entries} is not the one that was anchored: history was changed; "
            f"{RESTORE}"
        )
    return None
