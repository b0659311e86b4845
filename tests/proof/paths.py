"""Runs shipped integer code on z3's unknowns, down every path that the code can take.

A `Unknown` computes like an int. Where the code turns a comparison into a branch, the run follows
one side and a later run the other, so that in the end every feasible path has been walked and a
claim about each holds for all integers, not for those that somebody thought of.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import z3

T = TypeVar("T")

SMALL = 8
"""Quotients up to this are walked one by one; of a larger one only that it is larger is known."""


class Trail:
    """The branches of one run: those prescribed, then those chosen, and what was left aside."""

    def __init__(self, assumptions: list[z3.BoolRef], prescribed: tuple[bool, ...]) -> None:
        self._solver = z3.Solver()
        self._solver.add(*assumptions)
        self._prescribed = prescribed
        self._taken: list[bool] = []
        self.conditions: list[z3.BoolRef] = list(assumptions)
        self.left_aside: list[tuple[bool, ...]] = []

    def unknown(self, expression: z3.ArithRef) -> "Unknown":
        """A z3 expression that shipped code may compute with."""
        return Unknown(self, expression)

    def decide(self, condition: z3.BoolRef) -> bool:
        """Which way this run goes; the other way is kept for later if it is feasible too."""
        position = len(self._taken)
        if position < len(self._prescribed):
            choice = self._prescribed[position]
        else:
            choice = self._feasible(condition)
            if choice and self._feasible(z3.Not(condition)):
                self.left_aside.append((*self._taken, False))
        self._taken.append(choice)
        chosen = condition if choice else z3.Not(condition)
        self._solver.add(chosen)
        self.conditions.append(chosen)
        return choice

    def learn(self, fact: z3.BoolRef) -> None:
        """Adds what is true of a value that was made on the way."""
        self._solver.add(fact)
        self.conditions.append(fact)

    def _feasible(self, condition: z3.BoolRef) -> bool:
        # What z3 cannot tell is walked as if it were feasible: that can only cost time.
        return bool(self._solver.check(condition) != z3.unsat)


@dataclass(frozen=True, slots=True)
class Path(Generic[T]):
    """What holds on one way through the code, and what the code returned there."""

    conditions: list[z3.BoolRef]
    result: T


def every_path(assumptions: list[z3.BoolRef], run: Callable[[Trail], T]) -> Iterator[Path[T]]:
    """All feasible ways through ``run`` under the assumptions; together they leave nothing out."""
    waiting: list[tuple[bool, ...]] = [()]
    while waiting:
        trail = Trail(assumptions, waiting.pop())
        result = run(trail)
        waiting += trail.left_aside
        yield Path(trail.conditions, result)


class Unknown:
    """Stands for every integer at once; a branch on it is decided by the trail of the run."""

    __slots__ = ("_trail", "expression")

    def __init__(self, trail: Trail, expression: z3.ArithRef) -> None:
        self._trail = trail
        self.expression = expression

    def _of(self, expression: z3.ArithRef) -> "Unknown":
        return Unknown(self._trail, expression)

    def __add__(self, other: Any) -> "Unknown":
        return self._of(self.expression + plain(other))

    def __radd__(self, other: Any) -> "Unknown":
        return self._of(plain(other) + self.expression)

    def __sub__(self, other: Any) -> "Unknown":
        return self._of(self.expression - plain(other))

    def __rsub__(self, other: Any) -> "Unknown":
        return self._of(plain(other) - self.expression)

    def __mul__(self, other: Any) -> "Unknown":
        return self._of(self.expression * plain(other))

    def __rmul__(self, other: Any) -> "Unknown":
        return self._of(plain(other) * self.expression)

    def __neg__(self) -> "Unknown":
        return self._of(-self.expression)

    def __floordiv__(self, other: Any) -> "int | Unknown":
        """A small quotient as a plain int, one path for each value, so that all stays linear.

        Of a large one only its side is told: a claim that holds for all such holds for it.
        """
        divisor = plain(other)
        for quotient in sorted(range(-SMALL, SMALL + 1), key=abs):
            low, high = quotient * divisor, (quotient + 1) * divisor
            if self._trail.decide(z3.And(low <= self.expression, self.expression < high)):
                return quotient
        large = z3.FreshInt("quotient")
        if self._trail.decide(self.expression > 0):
            self._trail.learn(large > SMALL)
        else:
            self._trail.learn(large < -SMALL)
        return self._of(large)

    def __mod__(self, other: Any) -> "Unknown":
        return self.__divmod__(other)[1]

    def __divmod__(self, other: Any) -> tuple["int | Unknown", "Unknown"]:
        quotient = self // other
        return quotient, self - quotient * other

    def __lt__(self, other: Any) -> bool:
        return self._trail.decide(self.expression < plain(other))

    def __le__(self, other: Any) -> bool:
        return self._trail.decide(self.expression <= plain(other))

    def __gt__(self, other: Any) -> bool:
        return self._trail.decide(self.expression > plain(other))

    def __ge__(self, other: Any) -> bool:
        return self._trail.decide(self.expression >= plain(other))

    def __eq__(self, other: object) -> bool:
        return self._trail.decide(self.expression == plain(other))

    __hash__ = None  # type: ignore[assignment]


def plain(value: Any) -> Any:
    """The z3 expression of an `Unknown`; anything else as it is."""
    return value.expression if isinstance(value, Unknown) else value
