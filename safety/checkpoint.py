"""Checkpoints: the state that a journal's entries fold to, so that opening need not fold them all.

Every `EVERY` entries the state goes into a file beside the journal, and its digest into the chain.
The file is believed only if its digest is that of the last `Checkpointed`; whatever is wrong with
it makes opening slower and nothing else.
"""

import contextlib
import hashlib
from functools import cache
from pathlib import Path

import cbor2
from pydantic import TypeAdapter

from safety.commands import Instant
from safety.events import Checkpointed
from safety.journal_format import JournalError, plain, read_exactly
from safety.state import State

EVERY = 1_000
"""Entries from one checkpoint to the next: folding as many at a start takes some 50 ms."""

FOLD = 1
"""The version of the fold. Raise it when the same entries come to fold to another state: what an
older version summed up is then folded anew, and verified by nobody."""


@cache
def _states() -> TypeAdapter[State]:
    return TypeAdapter(State)


def encode_state(state: State) -> bytes:
    """The one CBOR of a state."""
    return cbor2.dumps(plain(state), canonical=True)


def decode_state(data: bytes) -> State:
    """The state in ``data``; raises JournalError unless it encodes to the very same bytes."""
    state: State = read_exactly(_states(), data, "state")
    if encode_state(state) != data:
        raise JournalError("not a state of this version: it does not encode to the same bytes")
    return state


def summed_up(encoded: bytes, at: Instant) -> Checkpointed:
    """The entry that sums up all entries before it, which fold to this encoded state."""
    return Checkpointed(at, hashlib.sha256(encoded).digest(), FOLD)


def is_of(checkpoint: Checkpointed, encoded: bytes) -> bool:
    """Whether this version of the fold made a checkpoint of exactly this encoded state."""
    return checkpoint == summed_up(encoded, checkpoint.at)


class StateFile:
    """Where the state of the last checkpoint lies: beside the journal, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        """What was written last; empty where there is nothing that can be read."""
        try:
            return self._path.read_bytes()
        except OSError:
            return b""

    def write(self, encoded: bytes) -> None:
        """Replaces it. Failing is no harm: the next start folds every entry."""
        draft = self._path.with_name(self._path.name + ".new")
        with contextlib.suppress(OSError):
            draft.write_bytes(encoded)
            draft.replace(self._path)
