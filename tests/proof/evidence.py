"""What a method of proof reports: the same form for every method, so that one table holds them all.

A method is a module ``tests/proof/method_*.py`` with one function, ``prove(effort) -> Evidence``.
It runs on what ships, never on a copy. Its wrong twins are part of it: a method that finds none of
the bugs that were planted for it proves nothing.
"""

from dataclasses import dataclass
from typing import Literal

Effort = Literal["quick", "full"]
"""``quick`` is the two-minute form of CI, ``full`` that of `make prove`."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug that was planted, and whether this method found it; ``how_soon`` in its own unit."""

    bug: str
    found: bool
    how_soon: str
    expected: bool = True
    """Whether this method is meant to find it; one that it cannot see is named with False."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one method covered and found.

    ``violations`` are sentences, each with what is needed to repeat it. ``refused`` counts
    legitimate requests that were refused of ``asked``; ``denial_p99_ms`` is how long the slowest
    hundredth of them was denied. ``None`` where a method does not measure it.
    """

    method: str
    covered: str
    violations: tuple[str, ...]
    planted: tuple[Planted, ...]
    not_shown: str
    seconds: float
    asked: int | None = None
    refused: int | None = None
    denial_p99_ms: int | None = None
