"""A journal read from beside its owner: what a monitor needs of its past, then every new entry."""

import hashlib
import os
from pathlib import Path

from device_profiles.quantities import DAY_MS, HOUR_MS, Milliseconds
from safety.events import Event, Intended, Settled
from safety.fold import PROGRAMMING
from safety.journal_format import (
    GENESIS,
    HASH_BYTES,
    HEADER_BYTES,
    LENGTH_BYTES,
    MAX_ENTRY,
    Chain,
    JournalError,
    decode_event,
    read_chain,
)

REACH = Milliseconds(DAY_MS + HOUR_MS)
"""How far back doses count: the longest window, and the longest bolus with room to spare."""


def needed_past(chain: Chain) -> tuple[Event, ...]:
    """The newest entries, back to the program that runs and to the longest window's begin.

    Raises JournalError when one cannot be read.
    """
    events: list[Event] = []
    delivered: set[int] = set()
    programmed = False
    for number in range(chain.count, 0, -1):
        event = chain.event(number)
        events.append(event)
        if isinstance(event, Settled) and event.outcome == "delivered":
            delivered.add(event.id)
        if isinstance(event, Intended) and event.command in PROGRAMMING:
            programmed = programmed or event.id in delivered
        if programmed and event.at.slow < events[0].at.slow - REACH:
            break
    return tuple(reversed(events))


class JournalTail:
    """Follows a journal's file, read-only and without a lock; every entry's hash is checked.

    The file is opened once: what is put in its place later is not what its owner writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._position = 0
        self._hash = GENESIS
        self.problem: str | None = None
        """Why the file can no longer be followed."""

    def start(self) -> tuple[Event, ...]:
        """What is needed of the past; sets `problem` instead of raising."""
        try:
            self._open()
            chain = read_chain(self._rest())
            self.problem = chain.problem
            self._position, self._hash = chain.whole, chain.head.hash
            return needed_past(chain)
        except (OSError, JournalError) as error:
            self.problem = str(error)
            return ()

    def news(self) -> tuple[Event, ...]:
        """The entries that have been added whole since the last call."""
        if self.problem is not None:
            return ()
        events: list[Event] = []
        try:
            for body in self._bodies(self._rest()):
                events.append(decode_event(body))
        except (OSError, JournalError) as error:
            self.problem = str(error)
        return tuple(events)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDONLY)

    def close(self) -> None:
        """Lets go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _rest(self) -> bytes:
        """Everything behind what was read."""
        if self._descriptor is None:
            return b""
        size = os.fstat(self._descriptor).st_size
        if size < self._position:
            raise JournalError("it became shorter while it was read")
        parts: list[bytes] = []
        position = self._position
        while position < size:
            part = os.pread(self._descriptor, size - position, position)
            if not part:
                break
            parts.append(part)
            position += len(part)
        return b"".join(parts)

    def _bodies(self, data: bytes) -> list[bytes]:
        """The whole entries at the begin of ``data``; raises JournalError at a broken one."""
        bodies: list[bytes] = []
        begin = 0
        while len(data) - begin >= HEADER_BYTES:
            length = int.from_bytes(data[begin : begin + LENGTH_BYTES], "little")
            end = begin + HEADER_BYTES + length + HASH_BYTES
            if length > MAX_ENTRY:
                raise JournalError("an entry's length was changed while it was read")
            if end > len(data):
                break  # the rest of it is on its way
            entry = data[begin : end - HASH_BYTES]
            digest = hashlib.sha256(self._hash + entry).digest()
            if digest != data[end - HASH_BYTES : end]:
                raise JournalError("an entry's hash does not follow from the one before")
            bodies.append(entry[HEADER_BYTES:])
            self._position += end - begin
            self._hash = digest
            begin = end
        return bodies
