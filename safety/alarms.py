"""Alarms and their order."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Priority = Literal["HIGH", "MEDIUM", "LOW"]
_RANK: dict[Priority, int] = {"HIGH": 0, "MEDIUM": 1, "LOW": 2}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: ``code`` names its condition, ``requirement`` the reason it exists."""

    code: str
    priority: Priority
    requirement: str
    text: str


def by_priority(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """Alarms, highest priority first; equals keep their order."""
    return tuple(sorted(alarms, key=lambda alarm: _RANK[alarm.priority]))
