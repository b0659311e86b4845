"""Exhaustive search: every order of a few events through the real kernel, beside the truth."""

import gc
from functools import partial
from time import perf_counter

from .breadth_first import Walk, walk
from .children import in_children
from .claims import CLAIMS
from .evidence import Effort, Evidence, Planted
from .planted_bugs import plant, planted_for
from .planting import Bug
from .pump_world import World
from .quicken import quicken
from .worlds import WORLDS

METHOD = "exhaustive search"
ABOUT_SECONDS = {"quick": 20, "full": 260}
STATES = {"quick": 6_000, "full": 144_000}
"""In each world."""
ROUNDS = (1_500, 8_000, 60_000)
"""In each world in turn, for a planted bug that its own world does not show."""


def prove(effort: Effort) -> Evidence:
    """Searches every world; then each planted bug, until a claim is broken."""
    begun = perf_counter()
    searched = in_children([partial(search, world, STATES[effort]) for world in WORLDS])
    # What the judge breaks as it ships says nothing there about a bug that is planted in it.
    broken = frozenset(
        (world.name, found.claim)
        for world, result in zip(WORLDS, searched, strict=True)
        for found in result.found
    )
    bugs = planted_for("search")
    planted = in_children([partial(hunt, bug, broken) for bug in bugs])
    return Evidence(
        method=METHOD,
        covered=_covered(searched),
        violations=tuple(
            f"{world.name}: {found}"
            for world, result in zip(WORLDS, searched, strict=True)
            for found in result.found
        ),
        planted=tuple(planted),
        not_shown=(
            "sequences longer than the depth reached, other amounts and limits than these few, two "
            "drugs, buttons, steps of the basal; states are told apart by a fingerprint of 64 "
            "bits. The device answers truly, if at all; what is told while the journal is latched "
            "is forgotten by a restart, as it is in the journal"
        ),
        seconds=perf_counter() - begun,
    )


def search(world: World, most: int) -> Walk:
    """One world, in a process of its own."""
    gc.disable()  # millions of states that all stay: looking for garbage among them takes long
    quicken()
    return walk(world, CLAIMS, most)


def hunt(bug: Bug, broken: frozenset[tuple[str, str]] = frozenset()) -> Planted:
    """After how many states of all worlds, searched in turn, a planted bug breaks a claim."""
    plant(bug)
    quicken()
    states = 0
    places = [(world, ROUNDS[-1]) for world in WORLDS if world.name == bug.world]
    places += [(world, most) for most in ROUNDS for world in WORLDS]
    for world, most in places:
        claims = [one for one in CLAIMS if (world.name, one.name) not in broken]
        result = walk(world, claims, most, stop_at_first=True)
        states += result.states
        if result.found:
            return Planted(bug.name, True, f"{states:,} states")
    return Planted(bug.name, False, f"not in {states:,} states")


def _covered(results: list[Walk]) -> str:
    states = sum(one.states for one in results)
    events = sum(one.moves for one in results)
    depths = ", ".join(
        f"{world.name} to depth {result.depth}{' (all there is)' if result.complete else ''}"
        for world, result in zip(WORLDS, results, strict=True)
    )
    return (
        f"{states:,} states, {events:,} events: {depths}; {len(CLAIMS)} claims on every decision "
        "and every state, against the truth per dose"
    )
