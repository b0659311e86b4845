"""How the benchmarks measure: two sides in turn, in one run, so that noise hits both alike."""

import math
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TypeVar

T = TypeVar("T")

Block = Callable[[], Awaitable[list[int]]]
"""One block of one side: does its work some times and gives ns for each time."""

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""The cores we may use, read before anything is pinned."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``letter`` is its item in the list of measurements.

    A row without a target is for information.
    """

    letter: str
    what: str
    value: float
    unit: str
    target: float | None
    basis: str

    @property
    def verdict(self) -> str:
        """Whether the value is at most its target."""
        if self.target is None:
            return ""
        return "meets" if self.value <= self.target else "falls short"


def each(work: Callable[[], object], times: int) -> Block:
    """A block that takes the time of every call; for work well above the clock's own 0.1 us."""

    async def block() -> list[int]:
        samples = []
        for _ in range(times):
            start = perf_counter_ns()
            work()
            samples.append(perf_counter_ns() - start)
        return samples

    return block


def mean(work: Callable[[], object], times: int) -> Block:
    """A block that takes the time of ``times`` calls together and gives their mean, in ns."""

    async def block() -> list[int]:
        start = perf_counter_ns()
        for _ in range(times):
            work()
        return [(perf_counter_ns() - start) // times]

    return block


def each_of(work: Callable[[T], object], items: Callable[[], Sequence[T]]) -> Block:
    """Like `each`, once for each item; the items are asked for before the clock runs."""

    async def block() -> list[int]:
        samples = []
        for item in items():
            start = perf_counter_ns()
            work(item)
            samples.append(perf_counter_ns() - start)
        return samples

    return block


def each_awaited(work: Callable[[], Awaitable[object]], times: int) -> Block:
    """Like `each`, for work that is awaited."""

    async def block() -> list[int]:
        samples = []
        for _ in range(times):
            start = perf_counter_ns()
            await work()
            samples.append(perf_counter_ns() - start)
        return samples

    return block


async def interleave(sides: Sequence[Block], rounds: int) -> list[list[int]]:
    """The samples of each side in ns: one block a side and round, the order turning each round.

    One more round goes first and is thrown away.
    """
    samples: list[list[int]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        order = range(len(sides)) if turn % 2 else reversed(range(len(sides)))
        for side in order:
            taken = await sides[side]()
            if turn:
                samples[side] += taken
    return samples


def percentile(samples: Sequence[int], share: float) -> int:
    """The smallest sample that at least ``share`` (0 to 1) of all samples do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def pin(process: int, core: int) -> bool:
    """Keeps a process (0: this one) on the ``core``-th of the cores we may use, counted round.

    False where the system cannot pin.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(process, {_CORES[core % len(_CORES)]})
    return True
