"""What a planted bug is, and how it gets into the real judge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from safety import judgement

from .quicken import SetAttr

Plant = Callable[[SetAttr], None]

BOTH = frozenset({"differential", "search"})
DIFFERENTIAL = frozenset({"differential"})
LINE = frozenset({"line"})
COUNTING, CHANGING = "counts, stops and latches", "changed basals"
REPLACING, NUMBERING = "an unknown program", "the boluses of a day"
"""Small worlds of the search."""


@dataclass(frozen=True)
class Bug:
    """A bug, how it is planted, and by which methods it has to be found."""

    name: str
    plant: Plant
    seen_by: frozenset[str] = BOTH
    world: str = ""
    """The small world in which the search looks for it first."""


def put(target: object, name: str, value: object) -> Plant:
    """Another value for a name of a module or a class."""
    return lambda set_attribute: set_attribute(target, name, value)


def together(*plants: Plant) -> Plant:
    """Several plants, one after the other."""

    def plant(set_attribute: SetAttr) -> None:
        for one in plants:
            one(set_attribute)

    return plant


def nothing(*_: Any, **__: Any) -> list[Any]:
    """A guard that is not there."""
    return []


WITHOUT_DOUBT = put(judgement, "judge_unsettled", nothing)
