"""Every schedule of deaths up to a depth, each world that it can lead to run once.

Two deaths that leave worlds which no host can tell apart have one future: it is run for the first
and counts for both. So the number of schedules covered is far larger than that of lives run.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .crash_life import Course, Life, same_every_time
from .crash_oracle import look, wrong_at_death
from .crash_outside import Outside, forget_what_was_read, new_outside

ORIGIN = b""


@dataclass
class Search:
    """How far a search came, and what it found: the deaths, and what was wrong after them."""

    lives: int = 0
    in_recovery: int = 0
    """Deaths of hosts that followed a dead one and had not yet taken charge."""
    asked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    found: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    known: set[bytes] = field(default_factory=set)
    """Every world that a death has led to."""
    deaths: dict[bytes, Counter[bytes]] = field(default_factory=dict)
    """For each world that was run: how many deaths of its host led to which worlds."""

    def schedules(self, depth: int) -> int:
        """How many schedules of at most so many deaths were covered, the one without included."""
        ways = dict.fromkeys(self.deaths, 1)
        for _ in range(depth):
            ways = {
                world: 1 + sum(count * ways.get(then, 0) for then, count in after.items())
                for world, after in self.deaths.items()
            }
        return ways[ORIGIN]

    def deaths_seen(self) -> int:
        """How many deaths were looked at."""
        return sum(after.total() for after in self.deaths.values())


def searched(
    depth: int,
    *,
    late_worker: bool,
    checkpoints: bool = False,
    every: int = 1,
    unless: frozenset[str] | None = None,
) -> Search:
    """Runs every world that at most ``depth`` deaths can lead to.

    ``every``: of the worlds after the second death only each nth is run, chosen by its key.
    ``checkpoints``: the journal is summed up often, as it is every 1,000 entries. ``unless``: ends
    with the first thing found that is not among these, for these are found without a planted bug.
    """
    forget_what_was_read()
    search = Search()
    level = {ORIGIN: new_outside()}
    with same_every_time(checkpoints=checkpoints):
        for deaths in range(depth + 1):
            then: dict[bytes, Outside] = {}
            known = search.known if deaths < depth else None
            for world, begin in level.items():
                course = Life(begin, _is_new_to(known), late_worker=late_worker).live(look)
                _take_in(search, begin, world, course, then)
                if unless is not None:
                    search.found = [one for one in search.found if one[1] not in unless]
                    if search.found:
                        return search
            if deaths > 0:
                then = {key: one for key, one in then.items() if key[0] % every == 0}
            level = then
    forget_what_was_read()
    return search


def _take_in(
    search: Search, begin: Outside, world: bytes, course: Course, then: dict[bytes, Outside]
) -> None:
    search.lives += 1
    search.asked += course.asked
    search.refused.update(course.refused)
    search.deaths[world] = course.deaths
    search.in_recovery += course.in_recovery
    search.found += [(begin.path, text) for text in dict.fromkeys(course.wrong)]
    for key, crash in course.crashes.items():
        if key not in search.known:
            search.known.add(key)
            then[key] = crash
            search.found += [(crash.path, text) for text in wrong_at_death(crash)]


def _is_new_to(known: set[bytes] | None) -> Callable[[bytes], bool] | None:
    return None if known is None else lambda key: key not in known
