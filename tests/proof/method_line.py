"""The line: primes and bridges, in every order of a few events, and windows that hold them."""

from functools import partial
from time import perf_counter

from .children import in_children
from .evidence import Effort, Evidence, Planted
from .line_search import bridges, primes
from .line_windows import WINDOWS
from .planted_bugs import plant, planted_for
from .planting import Bug

METHOD = "bridges and primes"
ABOUT_SECONDS = {"quick": 2, "full": 35}
DEPTHS = {"quick": (6, 5), "full": (10, 8)}
"""Of the searches about primes and about bridges."""
EDGES = (-1, 0, 1)
"""So many nanograms less than what just fits."""


def prove(effort: Effort) -> Evidence:
    """Every order of a few events about a prime and a bridge; windows at L - 1, L and L + 1."""
    begun = perf_counter()
    of_primes, of_bridges = DEPTHS[effort]
    (primed, prime_broken), (bridged, bridge_broken) = in_children(
        [partial(primes, of_primes), partial(bridges, of_bridges)]
    )
    windows = [window(more) for window in WINDOWS for more in EDGES]
    planted = in_children([partial(hunt, bug) for bug in planted_for("line")])
    return Evidence(
        method=METHOD,
        covered=(
            f"{primed:,} states of a fill and its prime, to depth {of_primes}: one prime for each "
            "fill, whatever became of it, and no bolus while it may run; "
            f"{bridged:,} states of a refill and its bridge, to depth {of_bridges}: no bolus and "
            "no program without it until the pump says that it is over, and it may always go on; "
            f"{len(WINDOWS)} windows worked out by hand at L - 1, L and L + 1 ng: a bridge of two "
            "drugs, what strays at its end, what a prime pushes out, a prime that comes late"
        ),
        violations=tuple(one for one in (prime_broken, bridge_broken, *windows) if one),
        planted=tuple(planted),
        not_shown=(
            "what leaves the tip (the simulator's tubing shows that); a refill while a bridge or "
            "a prime is under way; what two persons let pass; other volumes, flows and mixes"
        ),
        seconds=perf_counter() - begun,
    )


def hunt(bug: Bug) -> Planted:
    """After how many windows, or else states, a planted bug shows."""
    plant(bug)
    edges = [(window, more) for window in WINDOWS for more in EDGES]
    for place, (window, more) in enumerate(edges, 1):
        if window(more):
            return Planted(bug.name, True, f"window {place} of {len(edges)}")
    states = 0
    for search, depth in zip((primes, bridges), DEPTHS["quick"], strict=True):
        searched, broken = search(depth)
        states += searched
        if broken:
            return Planted(bug.name, True, f"{states:,} states")
    return Planted(bug.name, False, f"not in {states:,} states")
