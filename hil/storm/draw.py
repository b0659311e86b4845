"""What a seed draws: people who ask for things, weather on the line, and what breaks when."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hil.storm.plan import WEATHERS, Act, Family, Plan
from hil.storm.stage import REFILL_DAYS

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
DAY_MINUTES = 1_440
MONITORED = 0.08
"""The share of storms that have a monitor: it doubles what one costs."""
SEALED = 0.15
"""The share of storms on a sealed line."""
MONITORED_POLL = 10 * MINUTE
"""How often a pump is looked at that has a monitor: it sees what is polled, and nothing else."""
COMMANDS_A_DAY = 20
SESSION_MINUTES = 4
SUB_STEPS = ("append", "torn", "appended", "sync", "synced", "anchor", "anchored")
"""Where a host can die at its disk."""
FRAMES = {
    "pump": ("open", "outcome", "status", "read", "stage", "commit", "bolus"),
    "stimulator": ("open", "outcome", "status", "start", "commit", "amplitude", "renew"),
}
"""Requests around which a host can die: as they leave, once they are carried out, when heard."""
CEILINGS = {"loss": 300, "duplication": 300, "replay": 500, "late": 250, "reorder": 250}
JUMPS = (MINUTE, HOUR, 24 * HOUR)


def draw(seed: int, family: Family, days: int = 1) -> Plan:
    """The plan of a seed; the same one every time."""
    random = Random(f"storm {family} {seed}")
    minutes = DAY_MINUTES if family == "pump" else SESSION_MINUTES
    acts: list[Act] = []
    for day in range(days):
        of_day = _day(random, family, minutes * MINUTE, stormy=days == 1 or random.random() < 0.15)
        acts += _moved(of_day, day, minutes * MINUTE, family)
    acts.sort(key=lambda act: act.at)
    poll = 30 * MINUTE if family == "pump" else SECOND
    error = random.choice((0, 0, random.randint(-145_000, 145_000), 145_000, -145_000))
    late_worker, monitor = random.random() < 0.3, random.random() < MONITORED
    sealed = random.random() < SEALED
    if monitor and family == "pump":
        poll = MONITORED_POLL
    return Plan(
        family,
        seed,
        minutes * days,
        tuple(acts),
        poll,
        error,
        late_worker,
        monitor,
        sealed,
    )


def _day(random: Random, family: Family, length: int, *, stormy: bool) -> list[Act]:
    people = _pump_people if family == "pump" else _stimulator_people
    acts = people(random, length)
    if stormy:
        acts += _weather(random, length)
        acts += _breakdowns(random, family, length)
        acts += _interruptions(random, acts)
        if family == "pump" and random.random() < 0.06:
            acts += _doubt(random, length)
    return acts


def _moved(acts: list[Act], day: int, length: int, family: Family) -> list[Act]:
    """The acts on a later day, when the reservoir may have been filled anew."""
    refill = day // REFILL_DAYS
    where = str(refill) if refill and family == "pump" else ""
    moved = [replace(act, at=act.at + day * length) for act in acts]
    return [replace(one, where=where) if one.do == "apply" else one for one in moved]


# --- people --------------------------------------------------------------------------------------


def _pump_people(random: Random, length: int) -> list[Act]:
    acts = [Act(20 * SECOND, "apply", amount=100, who="A")]
    acts.append(Act(random.randint(2, 20) * MINUTE, "apply", amount=100, who="B"))
    count = COMMANDS_A_DAY * length // (24 * HOUR) - 2
    while len(acts) < count + 2:
        at, who = random.randrange(5 * MINUTE, length), random.choice("AB")
        kind = random.random()
        if kind < 0.76:
            dose = random.choice((20, 50, 80, 100, 150, 200, 250))
            acts.append(Act(at, "bolus", amount=dose, who=who))
            if random.random() < 0.25:  # the other one asks for it too, or they ask twice
                soon = at + random.choice((0, 1, 300, 700, 1_600, 4_000, 61_000))
                acts.append(Act(soon, "bolus", amount=dose, who=random.choice("AB")))
        elif kind < 0.86:
            acts.append(
                Act(at, "apply", amount=random.choice((70, 90, 100, 105, 110, 400)), who=who)
            )
        elif kind < 0.92:
            depth = random.choice(("hold", "hold", "policy", "flow"))
            soon = at if random.random() < 0.3 else _just_after(random, acts, at)
            if random.random() < 0.4:
                acts += _rough(random, soon)
            acts.append(Act(soon, "stop", where=depth, who=who))
            again = soon + random.randint(5 * SECOND, 40 * MINUTE)
            acts.append(Act(again, "apply", amount=100, who=random.choice("AB")))
        else:
            acts.append(Act(at, "look", who=who))
    if random.random() < 0.4:
        acts += _greed(random, length)
    presses = random.choice((0, 3, 8)) * length // (24 * HOUR)
    acts += [Act(random.randrange(length), "press") for _ in range(presses)]
    return acts


def _greed(random: Random, length: int) -> list[Act]:
    """Somebody asks for dose after dose, until a window is full, and something helps."""
    at, dose = random.randrange(length), random.choice((50, 80, 150, 200))
    acts = []
    helper = random.choice(("", "wall", "suspend", "kill", "cancel", "rough", "power"))
    amount = random.choice(JUMPS) if helper == "wall" else random.choice((0, 2_000, 4 * HOUR))
    for _ in range(random.randint(4, 9)):
        at += random.randint(3, 25) * MINUTE
        acts.append(Act(at, "bolus", amount=dose, who=random.choice("AB")))
        if helper and random.random() < 0.5:
            if helper == "rough":
                acts += _rough(random, at)
                continue
            if helper == "cancel" and random.random() < 0.7:
                where = random.choice(("done bolus", "leaves bolus", "synced", "heard bolus"))
                acts.append(Act(at - 1, "cancel", where=where, amount=1))
                continue
            soon = at + random.choice((0, 2, 50, 510, 900, 30_000))
            acts.append(Act(soon, helper, amount=0 if helper == "cancel" else amount))
    return acts


def _doubt(random: Random, length: int) -> list[Act]:
    """Doses soon after each other, each of which is given while nobody can say so.

    The line is cut just as the pump has taken the dose, for longer than anybody asks after it; so
    it is UNCERTAIN to its host, and known to the next one only. Together they fill an hour.
    """
    at, acts = random.randrange(length), []
    for _ in range(random.randint(3, 5)):
        at += random.randint(7, 15) * MINUTE
        cut = Act(at - 1, "cut", where="done bolus", amount=random.randint(5, 60) * SECOND)
        acts += [cut, Act(at, "bolus", amount=random.choice((100, 150)), who=random.choice("AB"))]
    return acts


def _rough(random: Random, at: int) -> list[Act]:
    """For a few seconds round a moment, frames are late or lost, so that it takes its time."""
    kind, calm_at = random.choice(("late", "loss")), at + random.randint(1, 20) * SECOND
    strength = CEILINGS[kind]
    return [
        Act(max(0, at - 2_000), "weather", where=kind, amount=strength),
        Act(calm_at, "weather", where=kind),
    ]


def _interruptions(random: Random, acts: list[Act]) -> list[Act]:
    """What strikes just while something is under way."""
    asked = [act.at for act in acts if act.who and act.do != "look"]
    found = []
    for do, chance, most in (("cancel", 0.2, 4), ("stall", 0.08, 2), ("swap", 0.1, 3)):
        if random.random() < chance:
            for _ in range(random.randint(1, most)):
                at = random.choice(asked)
                found += _rough(random, at)
                at += random.choice((0, 1, 5, 200, 450, 505, 700, 1_600))
                if do == "cancel":
                    found.append(Act(at, do))
                else:
                    found.append(Act(at, do, amount=random.choice((600, 3_000, 7_000))))
    return found


def _just_after(random: Random, acts: list[Act], at: int) -> int:
    """A moment at which something is likely to be under way."""
    asked = [act.at for act in acts if act.do in ("bolus", "apply")]
    return random.choice(asked or [at]) + random.choice(
        (0, 1, 2, 10, 400, 600, 1_500, 40_000, 90_000)
    )


def _stimulator_people(random: Random, length: int) -> list[Act]:
    acts = [
        Act(2 * SECOND, "apply", amount=100, who="A"),
        Act(6 * SECOND, "start", where="walking", who="A"),
    ]
    for _ in range(random.randint(6, 16)):
        at, who = random.randrange(8 * SECOND, length), random.choice("AB")
        kind = random.random()
        if kind < 0.55:
            level = random.choice((0, 500, 1_000, 2_000, 3_000, 4_200, 5_500, 6_000, 6_100))
            acts.append(Act(at, "amplitude", amount=level, who=who))
            if random.random() < 0.4:
                soon = at + random.choice((0, 1, 200, 600, 1_200))
                acts.append(
                    Act(soon, "amplitude", amount=random.choice((0, 1_000, 5_000)), who="B")
                )
        elif kind < 0.7:
            acts.append(Act(at, "stop", where=random.choice(("hold", "policy", "flow")), who=who))
            acts.append(Act(at + random.randint(1, 9) * SECOND, "start", where="walking", who="B"))
        elif kind < 0.82:
            acts.append(Act(at, "start", where=random.choice(("walking", "night")), who=who))
        elif kind < 0.9:
            acts.append(Act(at, "switch", where=random.choice(("walking", "night")), who=who))
        elif kind < 0.95:
            acts.append(Act(at, "apply", amount=100, who=who))
        else:
            acts.append(Act(at, "measure", who=who))
    return acts


# --- the line ------------------------------------------------------------------------------------


def _weather(random: Random, length: int) -> list[Act]:
    """Fronts: each kind of weather comes in about a third of all seeds, for a part of the time."""
    acts = []
    for kind in WEATHERS:
        if random.random() < 0.35:
            strength = random.randint(10, CEILINGS.get(kind, 150))
            begin = random.choice((0, random.randrange(length)))
            acts.append(Act(begin, "weather", where=kind, amount=strength))
            if random.random() < 0.7:
                acts.append(Act(random.randint(begin, length), "weather", where=kind))
    return acts


# --- what breaks ---------------------------------------------------------------------------------


def _breakdowns(random: Random, family: Family, length: int) -> list[Act]:
    long = HOUR if family == "pump" else 20 * SECOND
    acts: list[Act] = []

    def some(chance: float, most: int, make: Callable[[int], list[Act]]) -> None:
        if random.random() < chance:
            for _ in range(random.randint(1, most)):
                acts.extend(make(random.randrange(length)))

    some(0.15, 2, lambda at: [Act(at, "cut", amount=random.randint(200, long))])
    some(0.10, 2, lambda at: [Act(at, "flood", amount=random.randint(10, 20_000))])
    some(0.12, 2, lambda at: [Act(at, "unplug", amount=random.randint(10, long))])
    some(0.35, 3, lambda at: _kills(random, family, at))
    some(0.10, 1, lambda at: [Act(at, "power", amount=random.randint(100, long))])
    some(0.06, 1, lambda at: [Act(at, "full", amount=random.randint(100, long))])
    some(0.06, 1, lambda at: [Act(at, "sync", amount=random.randint(100, long))])
    some(0.10, 2, lambda at: [Act(at, "slow", amount=random.randint(100, long))])
    some(
        0.15, 2, lambda at: [Act(at, "wall", amount=random.choice((-1, 1)) * random.choice(JUMPS))]
    )
    some(0.08, 2, lambda at: [Act(at, "suspend", amount=random.randint(100, 8 * long))])
    some(0.10, 2, lambda at: [Act(at, "stall", amount=random.choice((300, 600, 2_500, 7_000)))])
    some(0.15, 3, lambda at: [_stretched(random, at)])
    some(0.12, 2, lambda at: [Act(at, "device", where="reset")])
    broken = _pump_broken if family == "pump" else _stimulator_broken
    acts += broken(random, length)
    return acts


def _kills(random: Random, family: Family, at: int) -> list[Act]:
    """A death at a named step, and often another one in the recovery from it."""
    deaths = [_death(random, family, at)]
    while random.random() < 0.4 and len(deaths) < 4:
        deaths.append(_death(random, family, at + len(deaths)))
    return deaths


def _death(random: Random, family: Family, at: int) -> Act:
    kind = random.random()
    if kind < 0.15:
        return Act(at, "kill")
    if kind < 0.55:
        where = random.choice(SUB_STEPS)
    else:
        where = f"{random.choice(('leaves', 'done', 'heard'))} {random.choice(FRAMES[family])}"
    return Act(at, "kill", where=where, amount=random.choice((1, 1, 1, 2, 3, 5)))


def _stretched(random: Random, at: int) -> Act:
    where = random.choice(("offload", "offloaded", "open"))
    return Act(
        at, "stretch", where=where, amount=random.choice((50, 600, 2_000, 4_900, 6_000, 70_000))
    )


def _pump_broken(random: Random, length: int) -> list[Act]:
    acts: list[Act] = []
    for name, chance, most in (
        ("motor_stall", 0.06, 6 * HOUR),
        ("occlusion", 0.04, HOUR),
        ("under_delivery", 0.03, 3 * HOUR),
        ("over_delivery", 0.03, 3 * HOUR),
        ("free_flow", 0.02, 10 * MINUTE),
        ("clock_drift", 0.02, HOUR),
        ("reservoir_offset", 0.02, HOUR),
    ):
        if random.random() < chance:
            at = random.randrange(length)
            acts.append(Act(at, "device", where=name))
            acts.append(Act(at + random.randint(MINUTE, most), "device", where="heal"))
    for name, chance in (("battery_reset", 0.04), ("read_back_differs", 0.04)):
        if random.random() < chance:
            acts.append(Act(random.randrange(length), "device", where=name))
    return acts


def _stimulator_broken(random: Random, length: int) -> list[Act]:
    acts: list[Act] = []
    for name, chance in (
        ("open_contact", 0.08),
        ("short_contact", 0.08),
        ("battery_low", 0.05),
        ("magnet", 0.08),
        ("mri_mode", 0.05),
    ):
        if random.random() < chance:
            at = random.randrange(length)
            acts.append(Act(at, "device", where=name))
            if random.random() < 0.5:
                acts.append(Act(at + random.randint(SECOND, MINUTE), "device", where="heal"))
    if random.random() < 0.05:
        acts.append(Act(random.randrange(length), "device", where="read_back_differs"))
    return acts
