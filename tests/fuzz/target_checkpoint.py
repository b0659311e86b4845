"""The file of a checkpoint: whatever lies there, opening knows what folding all entries gives.

The first byte chooses: the checkpoint in the chain is that of the true state, or (as if somebody
had forged the chain too) that of these very bytes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from kernel_bench import fold, instant

from safety.checkpoint import StateFile, decode_state, encode_state, summed_up
from safety.journal_format import JournalError, read_chain
from safety.opening import fold_chain
from safety.state import State

from .chains import LIFE, SHORT, journal_of
from .mutators import canonical_mutator
from .target import Raw, Target, expect, mark

STATES = (encode_state(fold(LIFE)), encode_state(fold(SHORT)))
_AT = instant(9)
_AFTER = SHORT[-1]


class RamStates(StateFile):
    """A file of a state in memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(Path("nowhere"))
        self._data = data

    def read(self) -> bytes:
        """What lies there."""
        return self._data


def check(data: bytes) -> None:
    """Only the very state that the chain sums up shortens the fold, and it changes nothing."""
    way, encoded = (data[0] % 2, data[1:]) if data else (0, b"")
    state: State | None = None
    try:
        state = decode_state(encoded)
    except JournalError as error:
        expect(bool(str(error)), "a state was refused without a reason")
        mark(str(error))
        state = None
    else:
        expect(
            encode_state(state) == encoded, "a state was accepted that does not encode to itself"
        )
    entry = summed_up(encoded if way else STATES[0], _AT)
    chain = read_chain(journal_of([*LIFE, entry, replace(_AFTER, at=_AT)]))
    quick = fold_chain(chain, RamStates(encoded))
    if state is None or (not way and encoded != STATES[0]):
        expect(quick == fold_chain(chain, None), "a foreign state changed what was folded")
        expect(quick.summed_up == 0, "a foreign state shortened the fold")
    else:
        expect(quick.summed_up == len(LIFE) + 1, "the state of the chain was not believed")
    if encoded == STATES[0]:
        expect(quick.state == fold_chain(chain, None).state, "a true state changed the fold")


def seeds() -> Iterator[bytes]:
    """The true state, another's, and none."""
    for state in STATES:
        yield b"\x00" + state
        yield b"\x01" + state
    yield b"\x00"
    yield b"\x01" + hashlib.sha256(STATES[0]).digest()


def _mutate(data: bytes, rng: Random, raw: Raw) -> bytes:
    return data[:1] + canonical_mutator(data[1:], rng, raw)


TARGET = Target(
    name="checkpoint",
    check=check,
    seeds=seeds,
    mutate=_mutate,
    tokens=(b"\xf6", b"\xf5", b"\x80", b"\x1b", b"\xc2\x41\x01", b"\xf9\x3c\x00"),
    max_len=8_192,
    runs=40_000,
    short=100,
    rate=350,
)
