"""Differential: the kernel beside a second, slow judge, over millions of steps at the edges."""

from collections.abc import Sequence
from functools import partial
from random import Random
from time import perf_counter

from .children import in_children
from .evidence import Effort, Evidence, Planted
from .life_settings import draw_setting
from .life_steps import Step, draw_steps, live
from .planted_bugs import plant, planted_for
from .planting import Bug
from .pump_life import Setting, Tally

METHOD = "differential"
ABOUT_SECONDS = {"quick": 20, "full": 270}
LIVES = {"quick": 600, "full": 25_500}
STEPS = 40
SETTINGS = 400
"""So many pumps take turns, so that the slow twin works out each window once only."""
SHARES = 2
MOST = 1_500
"""Lives with a planted bug."""
DENIED_EVERY = 25
TOLD = 5
NOT_SHOWN = (
    "what both judges misread in the same way",
    "bridges and primes",
    "more than two drugs",
    f"lives longer than {STEPS} steps",
    "rules about the file, the refill, the line and the step in dose (SR-06) are let pass with a "
    "reason and not compared",
    "counts of a bolus that has left every window (the pump is asked for none)",
    "a plan that was approved under a latch and is used after a restart",
    "start limits of more than one drug",
)


def prove(effort: Effort) -> Evidence:
    """Lives in two processes; then each planted bug, until the judges part."""
    begun = perf_counter()
    share = LIVES[effort] // SHARES
    works = [partial(compare, range(one, share * SHARES, SHARES)) for one in range(SHARES)]
    results = in_children(works)
    # Where the judges part as they ship, a difference says nothing about a planted bug.
    parted = frozenset(seed for _, _, seeds in results for seed in seeds)
    bugs = planted_for("differential")
    planted = in_children([partial(hunt, bug, parted) for bug in bugs])
    tallies = [tally for tally, _, _ in results]
    asked = sum(one.asked for one in tallies)
    steps = sum(one.steps for one in tallies)
    outside = sum(one.outside for one in tallies)
    denials = sorted(one for tally in tallies for one in tally.denials)
    return Evidence(
        method=METHOD,
        covered=(
            f"{steps:,} steps in {share * SHARES:,} lives of {SETTINGS} pumps, at t = 0 and at "
            f"10^12 ms; limits and edges met to the unit; {outside} answers of rules that the twin "
            "does not know"
        ),
        violations=tuple(sentence for _, told, _ in results for sentence in told),
        planted=tuple(planted),
        not_shown="; ".join(NOT_SHOWN),
        seconds=perf_counter() - begun,
        asked=asked,
        refused=sum(one.refused for one in tallies),
        denial_p99_ms=denials[len(denials) * 99 // 100] if denials else None,
    )


def life_of(seed: int) -> tuple[Setting, tuple[Step, ...]]:
    """The setting and the steps of one life; the same every time."""
    pump = seed % SETTINGS
    return draw_setting(Random(pump)), draw_steps(Random(seed), STEPS)


def compare(seeds: Sequence[int]) -> tuple[Tally, list[str], list[int]]:
    """Tells the first differences, each by a short life that shows it, and the lives of all."""
    tally, told, parted = Tally(), list[str](), list[int]()
    for seed in seeds:
        setting, steps = life_of(seed)
        life = live(setting, steps, tally, DENIED_EVERY)
        if life.difference is None:
            continue
        parted.append(seed)
        if len(told) < TOLD:
            words = " > ".join(word for word, _ in shortest(setting, steps))
            told.append(f"seed {seed}: {life.difference}; shortest: {words}")
    return tally, told, parted


def shortest(setting: Setting, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same life with every step left out that is not needed for the judges to part."""
    kept = tuple(steps)
    shrinks = True
    while shrinks:
        shrinks = False
        for place in reversed(range(len(kept))):
            fewer = kept[:place] + kept[place + 1 :]
            if live(setting, fewer, Tally()).difference is not None:
                kept, shrinks = fewer, True
    return kept


def hunt(bug: Bug, parted: frozenset[int] = frozenset(), lives: int = MOST) -> Planted:
    """After how many steps the judges part because of a planted bug."""
    plant(bug)
    tally = Tally()
    for seed in range(lives):
        setting, steps = life_of(seed)
        if seed not in parted and live(setting, steps, tally).difference is not None:
            return Planted(bug.name, True, f"{tally.steps:,} steps")
    return Planted(bug.name, False, f"not in {tally.steps:,} steps")
