"""Alarms, their order, and the board that keeps them until they are over and have been seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from device_profiles.quantities import Milliseconds

Priority = Literal["HIGH", "MEDIUM", "LOW"]
_RANK: dict[Priority, int] = {"HIGH": 0, "MEDIUM": 1, "LOW": 2}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: ``code`` names its condition, ``requirement`` the reason it exists."""

    code: str
    priority: Priority
    requirement: str
    text: str


@dataclass(frozen=True, slots=True)
class ActiveAlarm:
    """An alarm on the board since a wall time; ``over`` once its condition has gone."""

    alarm: Alarm
    since: Milliseconds
    over: bool = False


def is_latched(alarm: Alarm) -> bool:
    """Whether an alarm stays on the board until a person has looked: every HIGH one does."""
    return alarm.priority == "HIGH"


def with_raised(
    board: Sequence[ActiveAlarm], alarm: Alarm, wall: Milliseconds
) -> tuple[ActiveAlarm, ...]:
    """The board once an alarm was raised; one of the same code keeps its first time."""
    since = next((one.since for one in board if one.alarm.code == alarm.code), wall)
    rest = tuple(one for one in board if one.alarm.code != alarm.code)
    return (*rest, ActiveAlarm(alarm, since))


def with_cleared(board: Sequence[ActiveAlarm], code: str) -> tuple[ActiveAlarm, ...]:
    """The board once a condition is over; a latched alarm stays, marked."""
    return tuple(
        replace(one, over=True) if one.alarm.code == code else one
        for one in board
        if one.alarm.code != code or is_latched(one.alarm)
    )


def with_looked(board: Sequence[ActiveAlarm]) -> tuple[ActiveAlarm, ...]:
    """The board once a person has looked: what is over goes, what still holds stays."""
    return tuple(one for one in board if not one.over)


def by_priority(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """Alarms, highest priority first; equals keep their order."""
    return tuple(sorted(alarms, key=lambda alarm: _RANK[alarm.priority]))
