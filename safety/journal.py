"""The journal: an append-only file of events, each chained to the one before by SHA-256.

An entry is ``length (4 bytes, little endian) + check (the first 4 bytes of SHA-256 over previous
hash + length) + CBOR of the event + SHA-256 over previous hash + length + check + CBOR``. The check
tells an entry that was cut short from one whose length was changed. A file begins with `MAGIC`; its
first event is `Opened`, which names the device.
The head (number of entries and last hash) is kept in a second file, the anchor, so that a cut
tail shows. An entry that is not whole at the very end was never acted upon: a command waits for
its intent to be on the disk; it is reported and cut off.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import cbor2
from pydantic import TypeAdapter, ValidationError

from device_profiles.errors import NeuraxisError
from device_profiles.quantities import Milliseconds
from safety.events import Event, Intended, Opened

MAGIC = b"neuraxis journal 1\n"
SCHEMA = 2
LENGTH_BYTES = 4
CHECK_BYTES = 4
HEADER_BYTES = LENGTH_BYTES + CHECK_BYTES
HASH_BYTES = 32
MAX_ENTRY = 1 << 20
GENESIS = hashlib.sha256(MAGIC).digest()

_ANCHOR = re.compile(r"([1-9][0-9]{0,17}) ([0-9a-f]{64})\n", re.ASCII)
_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


class JournalError(NeuraxisError):
    """The journal cannot be trusted or written; no bolus and no increase until it can."""


class Disk(Protocol):
    """Where the bytes of a journal lie; a faulty one is twenty lines in a test."""

    def read(self) -> bytes:
        """All bytes; empty if there is nothing yet."""
        ...

    def append(self, data: bytes) -> None:
        """Adds bytes at the end; raises OSError."""
        ...

    def sync(self) -> None:
        """Returns once all appended bytes survive a power cut; raises OSError."""
        ...

    def cut(self, length: int) -> None:
        """Drops all bytes from ``length`` on."""
        ...

    def close(self) -> None:
        """Lets go of whatever is held open; a later write would open it again."""
        ...


class FileDisk:
    """A journal in a file that only its user may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def append(self, data: bytes) -> None:
        descriptor = self._open()
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self) -> None:
        descriptor = self._open()
        getattr(os, "fdatasync", os.fsync)(descriptor)

    def cut(self, length: int) -> None:
        os.ftruncate(self._open(), length)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            is_new = not self._path.exists()
            self._descriptor = os.open(self._path, flags, 0o600)
            if is_new:
                _sync_folder(self._path.parent)
        return self._descriptor


def _sync_folder(folder: Path) -> None:
    """Makes a new file's name survive a power cut, where the system lets folders be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a journal ends: the number of entries and the last hash."""

    entries: int
    hash: bytes


class Anchor:
    """The head of a journal in a second file; it may lag behind, it never runs ahead."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Head | None:
        """The head as last anchored; ``None`` if there is none; raises JournalError."""
        try:
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeError) as error:
            raise JournalError(
                f"{self._path}: the journal's anchor is unreadable: {error}"
            ) from error
        match = _ANCHOR.fullmatch(text)
        if match is None:
            raise JournalError(f"{self._path}: the journal's anchor is damaged")
        return Head(int(match[1]), bytes.fromhex(match[2]))

    def write(self, head: Head) -> None:
        """Replaces the anchor; it is the old one or the new one, whatever happens meanwhile.

        In place, since a rename makes the disk write at once; one line lies in one sector.
        """
        line = f"{head.entries} {head.hash.hex()}\n".encode("ascii")
        if not self._overwrite(line):
            draft = self._path.with_name(self._path.name + ".new")
            draft.write_bytes(line)
            draft.replace(self._path)

    def _overwrite(self, line: bytes) -> bool:
        """Writes over a line of the same length; tells whether there was one."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return False
        try:
            same = os.fstat(descriptor).st_size == len(line)
            return same and os.write(descriptor, line) == len(line)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an event is on the disk: only a journal makes one, after its sync."""

    head: Head
    event: Intended


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal's bytes hold.

    ``whole`` is the length of the bytes that form whole entries; ``torn`` the bytes after it
    that look like an entry cut short; ``problem`` says where and how the chain breaks.
    """

    events: tuple[Event, ...]
    heads: tuple[Head, ...]
    whole: int
    torn: int
    problem: str | None

    @property
    def head(self) -> Head:
        """Where the whole entries end."""
        return self.heads[-1] if self.heads else Head(0, GENESIS)


def encode_event(event: Event) -> bytes:
    """The CBOR of an event."""
    return cbor2.dumps(_plain(event))


def _plain(value: Any) -> Any:
    """What `asdict` makes of an event, without copying what cannot change."""
    cls = type(value)
    if cls is int or cls is str:
        return value
    if cls is tuple:
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in cls.__dataclass_fields__}
    return value


def decode_event(data: bytes) -> Event:
    """The event in ``data``; raises JournalError unless it encodes to the very same bytes."""
    try:
        event = _EVENTS.validate_python(cbor2.loads(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise JournalError(f"not an event of this schema: {place}: {first['msg']}") from error
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise JournalError(f"not an event: {error}") from error
    if encode_event(event) != data:
        # The reader is lenient about types (a list for a tuple); this makes it exact.
        raise JournalError("not an event of this schema: it does not encode to the same bytes")
    return event


def parse(data: bytes) -> Contents:
    """Reads a journal's bytes as far as they can be trusted."""
    events: list[Event] = []
    heads: list[Head] = []
    if not data:
        return Contents((), (), 0, 0, None)
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            return Contents((), (), 0, len(data), None)
        return Contents((), (), 0, 0, "this is no neuraxis journal, or one of another version")
    position, previous = len(MAGIC), GENESIS

    def stopped_at(problem: str | None, torn: int = 0) -> Contents:
        return Contents(tuple(events), tuple(heads), position, torn, problem)

    while position < len(data):
        number = len(events) + 1
        rest = len(data) - position
        if rest < HEADER_BYTES:
            return stopped_at(None, rest)
        header = data[position : position + HEADER_BYTES]
        length = int.from_bytes(header[:LENGTH_BYTES], "little")
        if header != _header(previous, length) or length > MAX_ENTRY:
            return stopped_at(f"entry {number}: its length was changed")
        end = position + HEADER_BYTES + length + HASH_BYTES
        if end > len(data):
            return stopped_at(None, rest)
        head_and_body = data[position : end - HASH_BYTES]
        digest = hashlib.sha256(previous + head_and_body).digest()
        if digest != data[end - HASH_BYTES : end]:
            return stopped_at(f"entry {number}: its hash does not follow from the entry before")
        try:
            events.append(decode_event(head_and_body[HEADER_BYTES:]))
        except JournalError as error:
            return stopped_at(f"entry {number}: {error}")
        heads.append(Head(number, digest))
        position, previous = end, digest
    return stopped_at(None)


def _header(previous: bytes, length: int) -> bytes:
    """The first bytes of an entry: its length, and a check that belongs to this place alone."""
    size = length.to_bytes(LENGTH_BYTES, "little")
    return size + hashlib.sha256(previous + size).digest()[:CHECK_BYTES]


def verify(contents: Contents, anchored: Head | None) -> str | None:
    """What is wrong with a journal, in one sentence; ``None`` if nothing is."""
    if contents.problem is not None:
        return contents.problem
    if anchored is not None:
        if anchored.entries > len(contents.heads):
            return (
                f"entries {len(contents.heads) + 1} to {anchored.entries} are missing: the file "
                "was cut, or an older copy was put in its place"
            )
        if anchored.entries and contents.heads[anchored.entries - 1].hash != anchored.hash:
            return f"entry {anchored.entries} is not the one that was anchored: history was changed"
    elif any(isinstance(event, Intended) for event in contents.events):
        # The first anchor is written before the first intent; until then nothing can be missed.
        return "its anchor is missing: a cut or an older copy would not show"
    if contents.events and not isinstance(contents.events[0], Opened):
        return "entry 1 does not say which device this journal belongs to"
    return None


class Journal:
    """One device's journal, open for appending; its owner is the only writer."""

    def __init__(self, disk: Disk, anchor: Anchor, contents: Contents, problem: str | None) -> None:
        self._disk = disk
        self._anchor = anchor
        self._head = contents.head
        self._synced = contents.head
        self._anchored: Head | None = None
        self._needs_magic = contents.whole == 0
        self._failed = problem

    @property
    def head(self) -> Head:
        """Where the journal ends."""
        return self._head

    def append(self, event: Event) -> None:
        """Adds an event; it reaches the disk with the next sync. Raises JournalError."""
        if self._failed is not None:
            raise JournalError(self._failed)
        body = encode_event(event)
        if len(body) > MAX_ENTRY:
            raise JournalError(f"an entry of {len(body)} bytes is too large for the journal")
        entry = _header(self._head.hash, len(body)) + body
        digest = hashlib.sha256(self._head.hash + entry).digest()
        prefix = MAGIC if self._needs_magic else b""
        with _Failing(self):
            self._disk.append(prefix + entry + digest)
        self._needs_magic = False
        self._head = Head(self._head.entries + 1, digest)

    def commit(self, intent: Intended) -> Receipt:
        """Adds an intent and returns once it is on the disk. Raises JournalError."""
        self.append(intent)
        with _Failing(self):
            self._disk.sync()
        self._synced = self._head
        return Receipt(self._head, intent)

    def anchor(self) -> None:
        """Brings the anchor up to what is surely on the disk; a failure is no loss of a dose."""
        if self._failed is not None or self._anchored == self._synced or not self._synced.entries:
            return
        with contextlib.suppress(OSError):
            self._anchor.write(self._synced)
            self._anchored = self._synced

    def settle(self) -> None:
        """Brings everything appended to the disk, and the anchor up to date.

        Raises JournalError; a journal with a problem stays as it is, its anchor too.
        """
        if self._failed is not None:
            raise JournalError(self._failed)
        with _Failing(self):
            self._disk.sync()
        self._synced = self._head
        self.anchor()

    def distrust(self, reason: str) -> None:
        """Nothing is written any more: what is there must stay as it was found."""
        self._failed = self._failed or reason

    def fail(self, error: OSError) -> None:
        """The first failed write ends all writing: what a second try returns proves nothing."""
        self._failed = (
            f"the journal could not be written ({error.strerror or error}); no bolus and no "
            "increase until a person has looked at the disk and started again"
        )


class _Failing:
    """Turns an OSError of the disk into a JournalError, and latches it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            self._journal.fail(error)
            raise JournalError(str(self._journal._failed)) from error


@dataclass(frozen=True, slots=True)
class OpenedJournal:
    """A journal ready for appending, its past, and what was wrong with it, if anything."""

    journal: Journal
    events: tuple[Event, ...]
    problem: str | None


def open_journal(disk: Disk, anchor: Anchor) -> OpenedJournal:
    """Opens a journal for its owner; a torn last entry is cut off, since it was never sent.

    A journal with a problem opens too, so that its past can be read and the device be stopped;
    the caller latches.
    """
    contents, problem = parse(b""), None
    try:
        contents = parse(disk.read())
        problem = verify(contents, anchor.read())
        if problem is None and contents.torn:
            disk.cut(contents.whole)
    except JournalError as error:
        problem = str(error)
    except OSError as error:
        problem = f"it cannot be read or mended: {error.strerror or error}"
    return OpenedJournal(Journal(disk, anchor, contents, problem), contents.events, problem)


def slow_time_at_end(events: Iterable[Event]) -> Milliseconds:
    """The slow time at which a journal ends: lockouts and windows go on from here."""
    return max((event.at.slow for event in events), default=Milliseconds(0))
