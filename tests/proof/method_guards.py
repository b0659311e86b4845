"""Each guard of the pump alone: redundant guards hide each other, so all others are taken out.

A guard has to uphold its own claim with none beside it. Taken out by itself, the others staying,
its claim has to be broken: then the claim is about this guard, and the search can see it.
"""

from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from .breadth_first import Walk, walk
from .children import in_children
from .claims import CLAIMS
from .evidence import Effort, Evidence, Planted
from .planted_bugs import BUGS, plant
from .pump_world import World
from .quicken import quicken
from .worlds import CHANGING, COUNTING, FINDING, NUMBERING, STACKING

METHOD = "guards alone"
ABOUT_SECONDS = {"quick": 5, "full": 50}
STATES = {"quick": 2_000, "full": 40_000}
"""With only one guard in place."""
STATES_WITHOUT = 40_000


@dataclass(frozen=True)
class Guard:
    """A guard, the bug that takes it out, the claim that it upholds, and where that is tried."""

    name: str
    out: str
    claim: str
    world: World


def _without(world: World, *mishaps: str) -> World:
    return replace(world, mishaps=world.mishaps - {*mishaps})


# A bolus that nothing stops under a latch would be in no journal: a restart forgets it, and no
# other guard can know of it.
GUARDS = (
    Guard("windows, stacked boluses", "windows are not judged", "never over any window", STACKING),
    Guard(
        "windows, changed basals",
        "a change of the basal sees no bolus",
        "never over any window",
        CHANGING,
    ),
    Guard("doubt", "doubt is ignored", "nothing else in doubt", _without(COUNTING, "latch")),
    Guard("lockout", "the lockout is forgotten", "lockout from start to start", STACKING),
    Guard("count of a day", "the count of a day is forgotten", "boluses of a day", NUMBERING),
    Guard(
        "limit of one bolus",
        "the limit of one bolus is ignored",
        "the limit of one bolus",
        COUNTING,
    ),
    Guard("stop", "a stop is ignored", "a stop closes boluses", COUNTING),
    Guard("unknown past", "an unknown past is ignored", "an unknown past is full", FINDING),
    Guard("latch", "the latch is ignored", "nothing else under a latch", COUNTING),
    Guard("fresh state", "a stale state is good enough", "a fresh state", STACKING),
)


def prove(effort: Effort) -> Evidence:
    """Each guard alone, then everything but each guard."""
    begun = perf_counter()
    alone = in_children([partial(with_one, guard, STATES[effort]) for guard in GUARDS])
    planted = in_children([partial(with_all_but, guard) for guard in GUARDS])
    states = sum(result.states for result in alone)
    held = "; ".join(f"{guard.name}: {guard.claim}" for guard in GUARDS)
    return Evidence(
        method=METHOD,
        covered=(
            f"{len(GUARDS)} guards, each with all others taken out, in {states:,} states, uphold: "
            f"{held}"
        ),
        violations=tuple(
            f"{guard.name} alone: {found}"
            for guard, result in zip(GUARDS, alone, strict=True)
            for found in result.found
        ),
        planted=tuple(planted),
        not_shown=(
            "that a bolus needs a verified program (SR-22) cannot be taken out: nothing could be "
            "judged; windows alone presume that frames arrive within 5 s, since it is doubt that "
            "stands for those that lie on the way, and a journal, since the latch stands for it"
        ),
        seconds=perf_counter() - begun,
    )


def with_one(guard: Guard, most: int) -> Walk:
    """All guards but one are taken out; only its own claim is looked at."""
    for other in {one.out for one in GUARDS if _is_other(one, guard)}:
        plant(BUGS[other])
    quicken()
    claims = [one for one in CLAIMS if one.name == guard.claim]
    return walk(guard.world, claims, most)


def _is_other(one: Guard, guard: Guard) -> bool:
    # Windows around boluses and around basals are one guard in two places.
    return one.claim != guard.claim


def with_all_but(guard: Guard) -> Planted:
    """One guard is taken out, all others stay: its own claim is broken, after so many states."""
    plant(BUGS[guard.out])
    quicken()
    claims = [one for one in CLAIMS if one.name == guard.claim]
    result = walk(guard.world, claims, STATES_WITHOUT, stop_at_first=True)
    return Planted(guard.out, bool(result.found), f"{result.states:,} states")
