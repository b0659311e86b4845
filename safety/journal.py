"""The journal, open for appending: an event is written once, and its error is the last.

The bytes are in `journal_format`, the file in `disk`, the head's second place in `anchor`, the
summed-up past in `checkpoint`; how a journal is opened is in `opening`.
"""

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass

import cbor2

from safety.anchor import Anchor
from safety.checkpoint import StateFile, encode_state, summed_up
from safety.commands import Instant
from safety.disk import Disk, FileDisk
from safety.events import Event, Intended, Opened
from safety.journal_format import (
    CHECK_BYTES,
    GENESIS,
    HASH_BYTES,
    HEADER_BYTES,
    LENGTH_BYTES,
    MAGIC,
    MAX_ENTRY,
    SCHEMA,
    Chain,
    Contents,
    Head,
    JournalError,
    chained,
    decode_event,
    encode_event,
    parse,
    read_chain,
    verify,
)
from safety.state import State

__all__ = [
    "CHECK_BYTES",
    "GENESIS",
    "HASH_BYTES",
    "HEADER_BYTES",
    "LENGTH_BYTES",
    "MAGIC",
    "MAX_ENTRY",
    "SCHEMA",
    "Anchor",
    "Chain",
    "Contents",
    "Disk",
    "FileDisk",
    "Head",
    "Journal",
    "JournalError",
    "Receipt",
    "StateFile",
    "decode_event",
    "encode_event",
    "parse",
    "read_chain",
    "verify",
]

_WAYS_OUT = {
    errno.ENOSPC: "make room on the disk, then start again",
    errno.EDQUOT: "make room within the quota, then start again",
    errno.EROFS: "the disk is read-only: mend or remount it, then start again",
    errno.EACCES: "let this user write the file, then start again",
    errno.EPERM: "let this user write the file, then start again",
    errno.EIO: "the disk is failing: put the journal on another one, with --journal PATH",
    errno.EWOULDBLOCK: "end the other process, then start again",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an event is on the disk: only a journal makes one, after its sync."""

    head: Head
    event: Intended


class Journal:
    """One device's journal; its owner is the only writer. Used by one thread at a time."""

    def __init__(
        self,
        disk: Disk,
        anchor: Anchor,
        found: Chain | Contents,
        problem: str | None,
        states: StateFile | None = None,
    ) -> None:
        self._disk = disk
        self._anchor = anchor
        self._states = states
        self._head = found.head
        self._synced = Head(0, GENESIS)
        self._anchored: Head | None = None
        self._needs_magic = found.whole == 0
        self._problem = problem

    @property
    def head(self) -> Head:
        """Where the journal ends."""
        return self._head

    @property
    def problem(self) -> str | None:
        """Why nothing is written any more; ``None`` as long as everything is well."""
        return self._problem

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether there is a place for the state of a checkpoint."""
        return self._states is not None

    def read(self) -> bytes:
        """All bytes as they lie there now. Raises OSError."""
        return self._disk.read()

    def append(self, event: Event) -> None:
        """Adds an event; it reaches the disk with the next sync. Raises JournalError.

        An event that cannot be written at all is refused without an effect.
        """
        self._require_sound()
        body = _body_of(event)
        entry, digest = chained(self._head.hash, body)
        prefix = MAGIC if self._needs_magic else b""
        self._attempt(lambda: self._disk.append(prefix + entry))
        self._needs_magic = False
        name = event.journal_id if isinstance(event, Opened) else self._head.journal_id
        self._head = Head(self._head.entries + 1, digest, name)

    def commit(self, intent: Intended) -> Receipt:
        """Adds an intent and returns once it is on the disk. Raises JournalError."""
        self.append(intent)
        self.sync()
        return Receipt(self._head, intent)

    def sync(self) -> None:
        """Brings everything appended to the disk. Raises JournalError."""
        self._require_sound()
        if self._synced != self._head:
            self._attempt(self._disk.sync)
            self._synced = self._head

    def anchor(self) -> None:
        """Anchors what is surely on the disk.

        An anchor that cannot be written lags behind, which harms no dose; `settle` tells.
        """
        if self._problem is None:
            with contextlib.suppress(OSError):
                self._write_anchor()

    def settle(self) -> None:
        """Brings everything appended to the disk, and the anchor too. Raises JournalError.

        A journal with a problem stays as it is, its anchor too. Here an anchor that cannot be
        written is a problem: without it the next start would find the journal not to be trusted.
        """
        self.sync()
        try:
            self._write_anchor()
            if self._anchored is not None:
                self._anchor.sync()
        except OSError as error:
            self.distrust(f"the journal's anchor could not be written ({_what(error)})")
            self._require_sound()

    def checkpoint(self, state: State, at: Instant) -> None:
        """Sums up all entries so far, which fold to this state. Raises JournalError."""
        encoded = encode_state(state)
        self.append(summed_up(encoded, at))
        if self._states is not None:
            self._states.write(encoded)

    def distrust(self, reason: str) -> None:
        """Nothing is written any more: what is there must stay as it was found."""
        self._problem = self._problem or reason

    def close(self) -> None:
        """Lets go of the file; a later write would open it again."""
        self._disk.close()

    def _write_anchor(self) -> None:
        if self._anchored != self._synced and self._synced.entries:
            self._anchor.write(self._synced)
            self._anchored = self._synced

    def _require_sound(self) -> None:
        if self._problem is not None:
            raise JournalError(self._problem)

    def _attempt(self, work: Callable[[], None]) -> None:
        """The first failed write ends all writing: what a second try returns proves nothing."""
        try:
            work()
        except OSError as error:
            self.distrust(f"the journal could not be written ({_what(error)})")
            raise JournalError(str(self._problem)) from error


def _body_of(event: Event) -> bytes:
    try:
        body = encode_event(event)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise JournalError(f"an entry that the journal cannot hold: {error}") from error
    if len(body) > MAX_ENTRY:
        raise JournalError(f"an entry of {len(body)} bytes is too large for the journal")
    return body


def _what(error: OSError) -> str:
    way_out = _WAYS_OUT.get(error.errno or 0, "look at the disk, then start again")
    return f"{error.strerror or error}: {way_out}"
