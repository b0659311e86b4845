"""A tape of bytes that decides: what to do next, with which of some values."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Tape:
    """Bytes as decisions; after its end every decision is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        """Whether all bytes have been used."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """A number below 256."""
        if self.over:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def take(self, length: int) -> bytes:
        """Some bytes, fewer at the end."""
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def choice(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[self.byte() % len(values)]

    def integer(self, usual: int, edges: Sequence[int]) -> int:
        """Mostly the usual number; else an edge, one beside it, or any of 32 bits."""
        way = self.byte()
        if way < 128:
            return usual
        if way < 250:
            return max(0, self.choice(edges) + self.choice((0, 0, 1, -1)))
        return int.from_bytes(self.take(4), "little")
