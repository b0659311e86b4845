"""The small worlds that are searched: few commands, limits that meet to the nanolitre."""

from dataclasses import replace

from clinical_examples import ITP
from kernel_bench import DAY, HOUR, MINUTE, SECOND, PumpCase, bolus_nl, limits_nl, pump_case

from safety.commands import GiveBolus

from .pump_world import World

SMALL, LARGE, TOO_LARGE = 1_000, 2_001, 2_501
"""nL: three small ones just fit beside the basal, a small and a large one are 1 nL too much."""
ROOM = 3_000
PER_BOLUS = 2_500
BASAL = 6_000
"""nL an hour."""
WIDE = 1_000_000


def _cases(limits: dict[int, int], flows: tuple[int, ...]) -> tuple[PumpCase, ...]:
    own = limits_nl(PER_BOLUS, limits[HOUR], limits[4 * HOUR], limits[DAY])
    return tuple(pump_case(((0, flow * 24),), own) for flow in flows)


def world(
    name: str,
    tight: int,
    boluses: tuple[tuple[int, int], ...],
    mishaps: str,
    flows: tuple[int, ...] = (BASAL,),
    a_day: int = 96,
    origin: int = 0,
    follows_programs: bool = True,
) -> World:
    """A world in which one window is tight; ``mishaps`` separated by commas."""
    profile = replace(ITP, boluses_per_day_max=a_day)
    full = BASAL * (tight // HOUR) + ROOM
    limits = {
        window: full if window <= tight else max(WIDE, 9 * full) for window in (HOUR, 4 * HOUR, DAY)
    }
    return World(
        name,
        _cases(limits, flows),
        tuple(GiveBolus(bolus_nl(volume, over).bolus, profile) for volume, over in boluses),
        frozenset(one.strip() for one in mishaps.split(",")),
        tuple(limits.items()),
        (tight,),
        PER_BOLUS,
        a_day,
        follows_programs,
        origin,
    )


QUICK, SLOW = 30 * SECOND, 10 * MINUTE

STACKING = world(
    "stacked boluses", HOUR, ((SMALL, QUICK), (LARGE, SLOW)), "stale", follows_programs=False
)
COUNTING = world(
    "counts, stops and latches",
    HOUR,
    ((SMALL, QUICK), (TOO_LARGE, QUICK)),
    "counts, stop, latch, late frames",
    origin=10**12,
)
CHANGING = world(
    "changed basals",
    4 * HOUR,
    ((SMALL, QUICK),),
    "long waits",
    flows=(BASAL, BASAL + 750),
)
LATCHING = world(
    "lower basals under a latch",
    4 * HOUR,
    ((SMALL, QUICK),),
    "latch, stop",
    flows=(BASAL, BASAL - 3_000),
)
FINDING = world(
    "programs of others",
    DAY,
    ((LARGE, MINUTE),),
    "other programs, long waits, late frames",
    flows=(BASAL, BASAL + 100),
)
REPLACING = world("an unknown program", DAY, ((SMALL, MINUTE),), "other programs, long waits")
NUMBERING = world(
    "the boluses of a day", DAY, ((SMALL, QUICK),), "same id", a_day=2, follows_programs=False
)
WORLDS = (STACKING, REPLACING, COUNTING, CHANGING, FINDING, LATCHING, NUMBERING)
