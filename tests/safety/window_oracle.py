"""What a pump can have given in any window at worst: slow, obvious, written from domain 4.2 alone.

It knows nothing of the judge. A basal flows as programmed; a program that may or may not have
taken over counts with the larger flow of both at each moment. A granted bolus may come at any one
moment between its grant and its latest end, all at once, wherever that hurts most. The patient
presses as often as lockout and count allow, at the worst moment of the window. Windows are
closed. Nothing is rounded.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

DAY_MS = 86_400_000
MINUTE_MS = 60_000

Steps = tuple[tuple[int, int], ...]
"""(minute of the day, nL/day), ascending; the last wraps around midnight."""


@dataclass(frozen=True)
class Button:
    """Bolus b over d, start-to-start lockout L >= d, at most N in a sliding 24 h + d."""

    volume: int
    over: int
    lockout: int
    most: int

    def most_in(self, window: int) -> Fraction:
        """M(W) of domain 4.2, in nL, term by term."""
        period = DAY_MS + self.over
        total, k = 0, 0
        while True:
            rounds, within = divmod(k, self.most)
            begins = max(k * self.lockout, rounds * period + within * self.lockout)
            if begins >= window:
                return Fraction(self.volume * total, self.over)
            total += min(self.over, window - begins)
            k += 1


@dataclass
class Given:
    """A bolus that may come at any moment of [earliest, latest]."""

    earliest: int
    latest: int
    volume: int


@dataclass
class Delivery:
    """Everything that a pump was ever told, as physics sees it; times in ms, slow clock."""

    button: Button | None = None
    programs: list[tuple[int, int, Steps]] = field(default_factory=list)
    """(from, to, steps): this program may have flowed at each moment of [from, to)."""
    boluses: list[Given] = field(default_factory=list)
    _kept: "tuple[object, _Flow] | None" = None

    def worst(self, window: int, until: int) -> Fraction:
        """The most nL in any window that begins no later than ``until``."""
        flow = self._flow(until + 2 * DAY_MS)
        starts = {0, until}
        for bolus in self.boluses:
            starts |= {bolus.latest, bolus.earliest - window}
        for border in flow.borders:
            starts |= {border, border - window}
        presses = self.button.most_in(window) if self.button else Fraction(0)
        worst = 0  # nL/day x ms, as the basal's integral is
        for start in starts:
            if start > until:
                continue
            end = start + window
            boluses = sum(
                bolus.volume
                for bolus in self.boluses
                if bolus.earliest <= end and bolus.latest >= start
            )
            worst = max(worst, flow.between(start, end) + boluses * DAY_MS)
        return Fraction(worst, DAY_MS) + presses

    def _flow(self, horizon: int) -> "_Flow":
        key = (tuple(self.programs), horizon)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, _Flow(self.programs, horizon))
        return self._kept[1]


class _Flow:
    """The largest flow that may have been on at each moment, and its integral (nL/day x ms)."""

    def __init__(self, programs: Sequence[tuple[int, int, Steps]], horizon: int) -> None:
        marks = {0, horizon}
        for begin, end, steps in programs:
            marks |= {begin, min(end, horizon)}
            first_day = begin // DAY_MS
            for day in range(first_day, min(end, horizon) // DAY_MS + 1):
                marks |= {day * DAY_MS + minute * MINUTE_MS for minute, _ in steps}
        self.borders = sorted(mark for mark in marks if 0 <= mark <= horizon)
        self._sums = [0]
        self._flows = []
        for here, there in zip(self.borders, self.borders[1:], strict=False):
            flow = max(
                (flow_at(steps, here) for begin, end, steps in programs if begin <= here < end),
                default=0,
            )
            self._flows.append(flow)
            self._sums.append(self._sums[-1] + flow * (there - here))

    def between(self, start: int, end: int) -> int:
        return self._until(end) - self._until(start)

    def _until(self, moment: int) -> int:
        moment = max(self.borders[0], min(moment, self.borders[-1]))
        place = bisect_right(self.borders, moment) - 1
        if place == len(self._flows):
            return self._sums[-1]
        return self._sums[place] + self._flows[place] * (moment - self.borders[place])


def flow_at(steps: Steps, moment: int) -> int:
    """The flow of a program at a moment of the slow clock, which starts at a midnight."""
    minute = moment // MINUTE_MS % 1_440
    begun = [flow for start, flow in steps if start <= minute]
    return begun[-1] if begun else steps[-1][1]
