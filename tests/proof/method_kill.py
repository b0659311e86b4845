"""``kill -9`` of real host processes, over real files and a real line, and after each the truth.

The pump is a process of its own and keeps, by its physics, what each id was given. A third of the
kills come at random, the others in the middle of a step that is stretched for it: a gap of
microseconds would else never be hit.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from .evidence import Effort, Evidence, Planted

ROOT = Path(__file__).parents[2]
KILLS = {"quick": 50, "full": 10_000}
SECONDS = {"quick": 15.0, "full": 180.0}
TWIN_KILLS = 300
TWIN_SECONDS = 60.0
SHOWN = 5
ABOUT_SECONDS = {"quick": 10, "full": 150}
BUGS = {
    "quick": ("a command is sent before its intent is recorded",),
    "full": (
        "a command is sent before its intent is recorded",
        "a restart takes what lies open for not sent",
        "a restart voids what lies open until the device answers",
        "a restart sends again, with a new id",
        "a restart forgets what lies open",
        "a bolus counts only from its success on",
    ),
}
STARTED_S = 30.0
"""For a process to start and to end, beyond the time it was given."""


def prove(effort: Effort) -> Evidence:
    """Kills hosts for as long as an effort allows, then those with a planted bug until it shows."""
    begun = perf_counter()
    tally = lives(KILLS[effort], SECONDS[effort], seed=1)
    planted = tuple(map(found, BUGS[effort]))
    at_steps = sum(n for step, n in tally["at"].items() if step != "at random")
    return Evidence(
        method="kill",
        covered=(
            f"{tally['kills']:,} kills of real hosts in {tally['seconds']:.0f} s, {at_steps:,} of "
            f"them in the middle of one of {len(tally['at'])} stretched steps; "
            f"{tally['doses']:,} doses, each compared with the journal by its id"
        ),
        violations=tuple(tally["wrong"][:SHOWN]),
        planted=planted,
        not_shown=(
            "a power cut: what was written and not synced survives a kill (see powercut); gaps "
            "that nobody thought to stretch (see failpoints)"
        ),
        seconds=perf_counter() - begun,
        asked=tally["asked"],
        refused=tally["refused"],
    )


def lives(kills: int, seconds: float, *, seed: int, bug: str | None = None) -> dict[str, Any]:
    """What `kill_loop` tells of so many kills, or of as many as so many seconds allow."""
    command = [sys.executable, "-m", "tests.proof.kill_loop", str(kills), str(seconds), str(seed)]
    run = subprocess.run(
        [*command, bug] if bug else command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + STARTED_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"the kill loop failed: {run.stderr[-2_000:]}")
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


def found(bug: str) -> Planted:
    """Whether a planted bug shows, and at which kill."""
    tally = lives(TWIN_KILLS, TWIN_SECONDS, seed=1, bug=bug)
    if not tally["wrong"]:
        return Planted(bug, found=False, how_soon=f"not in {tally['kills']:,} kills")
    return Planted(bug, found=True, how_soon=f"kill {tally['first_wrong']}: {tally['wrong'][0]}")
