"""Alarms, their order, and the board that keeps them.

The board lies in the journal, so that no restart loses an alarm. A latched alarm stays until a
person has looked, even when its condition is over; any other goes with its condition.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from device_profiles.quantities import MINUTE_MS, Milliseconds
from safety.alarm_table import Priority, kind_of
from safety.commands import Instant

_RANK: dict[Priority, int] = {"HIGH": 0, "MEDIUM": 1, "LOW": 2}

LONGEST_PAUSE = Milliseconds(10 * MINUTE_MS)
"""After this a pause ends by itself [Open PCA R6.4.3(5)]."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: ``code`` names its condition, ``requirement`` the reason it exists."""

    code: str
    priority: Priority
    requirement: str
    text: str


# --- the board -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActiveAlarm:
    """An alarm on the board since a wall time.

    ``over`` once its condition has gone, ``seen`` once a person has looked while it held.
    """

    alarm: Alarm
    since: Milliseconds
    over: bool = False
    seen: bool = False


def is_latched(alarm: Alarm) -> bool:
    """Whether an alarm stays on the board until a person has looked."""
    return alarm.priority == "HIGH" or kind_of(alarm.code).moment


def with_raised(
    board: Sequence[ActiveAlarm], alarm: Alarm, wall: Milliseconds
) -> tuple[ActiveAlarm, ...]:
    """SR-55: the board once an alarm was raised.

    One of the same code keeps its first time, and its higher priority until a person has looked.
    Protects from a HIGH alarm that is talked down before anybody saw it. Harm: an alarm looks
    more urgent than it is by now. Longest denial: none, it only shows. Way out: look.
    """
    old = next((one for one in board if one.alarm.code == alarm.code), None)
    rest = tuple(one for one in board if one.alarm.code != alarm.code)
    if old is None:
        return (*rest, ActiveAlarm(alarm, wall))
    is_higher = _RANK[alarm.priority] < _RANK[old.alarm.priority]
    if is_higher or old.seen or alarm.priority == old.alarm.priority:
        return (*rest, ActiveAlarm(alarm, old.since))
    return (*rest, replace(old, over=False))


def with_cleared(board: Sequence[ActiveAlarm], code: str) -> tuple[ActiveAlarm, ...]:
    """The board once a condition is over; a latched alarm that nobody saw stays, marked."""
    return tuple(
        replace(one, over=True) if one.alarm.code == code else one
        for one in board
        if one.alarm.code != code or (is_latched(one.alarm) and not one.seen)
    )


def with_looked(board: Sequence[ActiveAlarm]) -> tuple[ActiveAlarm, ...]:
    """The board once a person has looked: what is over goes, what still holds stays, silent."""
    return tuple(replace(one, seen=True) for one in board if not one.over)


def is_news(board: Sequence[ActiveAlarm], alarm: Alarm) -> bool:
    """Whether people have not been told: it is not on the board, or over there, or less urgent."""
    old = next((one for one in board if one.alarm.code == alarm.code), None)
    return old is None or old.over or _RANK[alarm.priority] < _RANK[old.alarm.priority]


def by_priority(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """Alarms, highest priority first; equals keep their order."""
    return tuple(sorted(alarms, key=lambda alarm: _RANK[alarm.priority]))


def in_order(board: Iterable[ActiveAlarm]) -> tuple[ActiveAlarm, ...]:
    """The board, highest priority first; of equals what holds before what is over."""
    return tuple(sorted(board, key=lambda one: (_RANK[one.alarm.priority], one.over)))


# --- silence ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence that a person asked for at a moment, until a wall time."""

    since: Instant
    until: Milliseconds


def is_silent(pause: Pause | None, now: Instant) -> bool:
    """SR-55: whether alarms are silenced now.

    Every clock can end a pause and none can prolong it: a wall clock that was set back ends it at
    once. Protects from an alarm that nobody hears for longer than 10 minutes. Harm: sound comes
    back early. Longest denial: 10 minutes of sound. Way out: any new alarm, a lost line, a look.
    """
    if pause is None:
        return False
    return (
        pause.since.wall <= now.wall < min(pause.until, pause.since.wall + LONGEST_PAUSE)
        and now.slow - pause.since.slow < LONGEST_PAUSE
        and 0 <= now.fast - pause.since.fast < LONGEST_PAUSE
    )


def sounding(
    board: Sequence[ActiveAlarm], pause: Pause | None, now: Instant
) -> tuple[ActiveAlarm, ...]:
    """What a person should hear now, highest first: all that nobody has seen, unless paused."""
    if is_silent(pause, now):
        return ()
    return in_order(one for one in board if not one.seen)
