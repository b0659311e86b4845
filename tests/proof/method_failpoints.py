"""Every schedule of deaths at named steps, up to three in a row, on virtual time.

A short story (apply, bolus, bolus, raise the basal) is told by a person to hosts that die: by a
kill, or by a power cut, before and after each byte and frame, in the middle of a write, with
frames and replies left on the wire, and again while they recover.
"""

from collections.abc import Sequence
from time import perf_counter

from .crash_search import Search, processors, searched
from .crash_twins import ORDER_BUGS, OrderBug
from .evidence import Effort, Evidence, Planted

DEPTH_OF_TWINS = 1
MANY_NTHS = 16
ABOUT_SECONDS = {"quick": 40, "full": 300}
SHOWN = 5


def prove(effort: Effort) -> Evidence:
    """Runs the schedules of an effort, and every planted bug until it shows."""
    begun = perf_counter()
    many = processors()
    if effort == "full":
        prompt = searched(3, late_worker=False, processes=many)
        late = searched(2, late_worker=True, processes=many)
        summed_up = searched(2, late_worker=True, checkpoints=True, processes=many)
        covered = _covered("up to 3 deaths", 3, prompt)
    else:
        prompt = searched(2, late_worker=False, every=MANY_NTHS)
        late = searched(1, late_worker=True)
        summed_up = searched(1, late_worker=True, checkpoints=True)
        covered = _covered(f"up to 1 death, 2 for each {MANY_NTHS}th world", 2, prompt)
    depth = 2 if effort == "full" else 1
    covered += "; " + _covered(f"with a late disk thread up to {depth}", depth, late)
    covered += "; " + _covered(f"with checkpoints up to {depth}", depth, summed_up)
    searches = (prompt, late, summed_up)
    texts = frozenset(text for search in searches for _, text in search.found)
    return Evidence(
        method="failpoints",
        covered=covered,
        violations=tuple(violations(searches)),
        planted=tuple(found(bug, texts) for bug in ORDER_BUGS),
        not_shown=(
            "steps inside of the host that reach no file and no wire; a pump that dies too; a disk "
            "that lies (see powercut); real scheduling of threads and processes (see kill)"
        ),
        seconds=perf_counter() - begun,
        asked=sum(search.asked for search in searches),
        refused=sum(search.refused.total() for search in searches),
    )


def _covered(what: str, depth: int, search: Search) -> str:
    steps = search.deaths_seen()
    return (
        f"{what}: {search.schedules(depth):,} schedules in {search.lives:,} lives "
        f"({steps:,} deaths, {len(search.known):,} worlds that a host could tell apart)"
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
        search = searched(DEPTH_OF_TWINS, late_worker=False, unless=without)
    if not search.found:
        return Planted(bug.name, found=False, how_soon=f"not in {search.lives:,} lives")
    path, text = search.found[0]
    how_soon = f"life {search.lives:,}, {'; then '.join(path) or 'nobody killed'}: {text}"
    return Planted(bug.name, found=True, how_soon=how_soon)
