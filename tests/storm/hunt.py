"""Seed to find: plants each bug of the road and counts the storms until the oracle sees it.

`python -m tests.storm.hunt --write` puts the result into `docs/storm.json`, from which the safety
case takes it, and the storm that showed each bug, made small, into `known/planted`. A seed draws
another storm whenever drawing changes; a plan stays what it is, so the tests run the plans.
"""

import argparse
import json
import sys
from pathlib import Path
from time import process_time

from hil.storm.draw import draw
from hil.storm.plan import Plan
from hil.storm.runner import run_plan
from hil.storm.shrink import shrink

from .planted_road import ROAD_BUGS, RoadBug, planted

RECORD = Path(__file__).resolve().parents[2] / "docs" / "storm.json"
PLANTED = Path(__file__).parent / "known" / "planted"
MOST = 3_000
ENOUGH = 15
PATIENCE_S = 30.0
"""How long a storm is made smaller."""


def plan_file(bug: RoadBug) -> Path:
    """Where the small storm is kept that shows a bug."""
    return PLANTED / f"{bug.name.replace(' ', '-')}.yaml"


def seed_to_find(bug: RoadBug, most: int = MOST) -> tuple[Plan, str] | None:
    """The first storm, from seed 1 on, that fails with the bug in the road, and how."""
    with planted(bug):
        for seed in range(1, most + 1):
            plan = draw(seed, bug.family)
            wrong = run_plan(plan).wrong
            if wrong:
                return plan, wrong[0]
    return None


def keep_small(bug: RoadBug, plan: Plan) -> None:
    """Keeps a small storm that shows the bug, and is nothing without it."""
    with planted(bug):
        small = shrink(plan, patience_s=PATIENCE_S)
    if run_plan(small).wrong:
        raise RuntimeError(f"seed {plan.seed} shows {bug.name}, and fails without it too")
    PLANTED.mkdir(exist_ok=True)
    plan_file(bug).write_text(f"# With this bug: {bug.text}.\n{small.text()}", encoding="utf-8")


def main() -> int:
    """Hunts every bug; 1 if fewer than `ENOUGH` were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.name}")
    parser.add_argument("--most", type=int, default=MOST, help="seeds to try for each bug")
    parser.add_argument("names", nargs="*", help="only these bugs")
    options = parser.parse_args()
    found = []
    for bug in ROAD_BUGS.values():
        if options.names and bug.name not in options.names:
            continue
        begun = process_time()
        hit = seed_to_find(bug, options.most)
        seconds = round(process_time() - begun, 1)
        found.append(
            {
                "bug": bug.name,
                "text": bug.text,
                "device": bug.family,
                "seed": hit[0].seed if hit else None,
                "core_seconds": seconds,
                "seen_as": hit[1][:160] if hit else "",
            }
        )
        print(f"{bug.name:34} {hit[0].seed if hit else '-':>5} {seconds:7.1f} s", flush=True)
        if options.write and hit:
            keep_small(bug, hit[0])
    if options.write:
        text = json.dumps({"most": options.most, "planted": found}, indent=1) + "\n"
        RECORD.write_text(text, encoding="utf-8")
    return 0 if options.names or sum(one["seed"] is not None for one in found) >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
