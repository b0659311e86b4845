"""(n) What one simulated storm costs a core: a calm day of a pump, and what seeds draw.

The calm day has 20 commands and is polled every 30 minutes; controller, judge, journal, firmware
and physics are the real ones, and the storm's oracle judges it too. A core's own time is counted,
so that what else the machine does matters less.
"""

from collections.abc import Sequence
from time import process_time_ns

from benchmarks.harness import Row, percentile
from hil.storm.draw import COMMANDS_A_DAY, DAY_MINUTES, MINUTE, SECOND, draw
from hil.storm.plan import Act, Plan
from hil.storm.runner import run_plan

ROUNDS = 60
NS_PER_MS = 1_000_000
TARGET_MS = 10.0
"""100 seeds a second and core."""


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Milliseconds of a core a storm."""
    run_plan(calm_day(0))  # what a process reads once
    pump = [draw(seed, "pump") for seed in range(1, rounds + 1)]
    stimulator = [draw(seed, "stimulator") for seed in range(1, max(2, rounds // 4))]
    return [
        _row("storm: a pump's calm day", [calm_day(seed) for seed in range(rounds)], TARGET_MS),
        _row("storm: a pump's day as drawn", pump, None),
        _row("storm: a stimulator's 4 minutes as drawn", stimulator, None),
    ]


def calm_day(seed: int) -> Plan:
    """A day with one program and 19 boluses, all of which are given."""
    apart = DAY_MINUTES // COMMANDS_A_DAY
    acts = [Act(20 * SECOND, "apply", amount=100, who="A")]
    for number in range(1, COMMANDS_A_DAY):
        acts.append(Act(number * apart * MINUTE, "bolus", amount=20, who="AB"[number % 2]))
    return Plan("pump", seed, DAY_MINUTES, tuple(acts))


def _row(what: str, plans: Sequence[Plan], target: float | None) -> Row:
    taken = []
    for plan in plans:
        begun = process_time_ns()
        outcome = run_plan(plan)
        taken.append(process_time_ns() - begun)
        if outcome.wrong:
            raise RuntimeError(f"seed {plan.seed}: {outcome.wrong[0]}")
    median = percentile(taken, 0.5) / NS_PER_MS
    mean = sum(taken) / len(taken) / NS_PER_MS
    basis = f"{1_000 / mean:.0f} seeds a second and core on average; {len(plans)} seeds"
    return Row("n", what, median, "ms", target, basis)
