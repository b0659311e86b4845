"""Every schedule of deaths at named steps, up to three in a row, on virtual time.

A short story (apply, bolus, bolus, raise the basal) is told by a person to hosts that die: by a
kill, or by a power cut, before and after each byte and frame, in the middle of a write, with
frames and replies left on the wire, and again while they recover.
"""

from collections.abc import Sequence
from time import perf_counter

from .crash_search import Search, searched
from .crash_twins import ORDER_BUGS, OrderBug
from .evidence import Effort, Evidence, Planted

MANY_NTHS = 16
DEPTHS = {"quick": (2, 1, 1), "full": (3, 3, 2)}
"""How many deaths in a row: with a prompt disk, with a late one, with checkpoints too."""
ABOUT_SECONDS = {"quick": 15, "full": 240}
SHOWN = 5


def prove(effort: Effort) -> Evidence:
    """Runs the schedules of an effort, and every planted bug until it shows."""
    begun = perf_counter()
    depths = DEPTHS[effort]
    every = 1 if effort == "full" else MANY_NTHS
    prompt = searched(depths[0], late_worker=False, every=every)
    late = searched(depths[1], late_worker=True)
    summed_up = searched(depths[2], late_worker=True, checkpoints=True)
    partly = "" if effort == "full" else f", the second for each {MANY_NTHS}th world"
    covered = "; ".join(
        (
            _covered(f"up to {depths[0]} deaths{partly}", depths[0], prompt),
            _covered(f"with a late disk thread up to {depths[1]}", depths[1], late),
            _covered(f"with checkpoints up to {depths[2]}", depths[2], summed_up),
        )
    )
    searches = (prompt, late, summed_up)
    texts = frozenset(text for search in searches for _, text in search.found)
    return Evidence(
        method="failpoints",
        covered=covered,
        violations=tuple(violations(searches)),
        planted=tuple(found(bug, texts) for bug in ORDER_BUGS),
        not_shown=(
            "steps inside of the host that reach no file and no wire; primes and bridges; a pump "
            "that dies too; a disk that lies (see powercut); real scheduling of threads and "
            "processes (see kill)"
        ),
        seconds=perf_counter() - begun,
        asked=sum(search.asked for search in searches),
        refused=sum(search.refused.total() for search in searches),
    )


def _covered(what: str, depth: int, search: Search) -> str:
    recovering = f", {search.in_recovery:,} while a host recovered" if search.in_recovery else ""
    return (
        f"{what}: {search.schedules(depth):,} schedules in {search.lives:,} lives "
        f"({search.deaths_seen():,} deaths{recovering}; {len(search.known):,} worlds that a host "
        "could tell apart)"
    )


def violations(searches: Sequence[Search]) -> list[str]:
    """What searches found, each kind once, with the shortest schedule that leads to it."""
    shortest: dict[str, tuple[str, ...]] = {}
    everything = [one for search in searches for one in search.found]
    for path, text in sorted(everything, key=lambda one: len(one[0])):
        shortest.setdefault(text, path)
    return [f"{text} [{'; then '.join(path)}]" for text, path in shortest.items()][:SHOWN]


def found(bug: OrderBug, without: frozenset[str] = frozenset()) -> Planted:
    """Whether a planted bug shows, and in the how manieth life, after which deaths.

    ``without``: what is found without it, and so is no sign of it.
    """
    with bug.planted():
        search = searched(bug.deaths, late_worker=False, unless=without)
    if not search.found:
        return Planted(bug.name, found=False, how_soon=f"not in {search.lives:,} lives")
    path, text = search.found[0]
    how_soon = f"life {search.lives:,}, {'; then '.join(path) or 'nobody killed'}: {text}"
    return Planted(bug.name, found=True, how_soon=how_soon)
