"""Kills one host after another and compares, for each dose on its own, truth and journal.

``python -m tests.proof.kill_loop KILLS SECONDS SEED [BUG]``: a process of its own, since it forks;
prints one line of JSON.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safety.anchor import Anchor
from safety.checkpoint import StateFile
from safety.disk import FileDisk
from safety.opening import open_journal

from .crash_twins import ORDER_BUGS
from .kill_host import STEPS, Bench, Stretched, constant_therapy, live
from .kill_pump import Leap

ROOT = Path(__file__).parents[2]
LIVES_OF_A_PUMP = 40
"""Then a new one begins, with an empty journal, so that a start stays quick."""
LONGEST_LIFE_S = 0.12
"""Kills at random come within this time; it is about that of a whole life."""
STRETCHED_LIFE_S = 3.0
MOST_PASSAGES = 8
"""Of a stretched step; a life passes most steps more often."""
ABSENCE_MS = 600_000
SETTLE_S = 0.002
"""What the dead host has written reaches the pump within this time, or counts for the next life."""


@dataclass
class Tally:
    """What became of all lives."""

    kills: int = 0
    ended: int = 0
    """Lives that ended in order before their kill came."""
    doses: int = 0
    asked: int = 0
    refused: int = 0
    seconds: float = 0.0
    at: dict[str, int] = field(default_factory=dict)
    """Kills for each stretched step."""
    wrong: list[str] = field(default_factory=list)
    first_wrong: int = 0
    """The kill after which the first violation showed."""


class Pump:
    """The process that keeps the truth, with a folder for its hosts."""

    def __init__(self, folder: Path) -> None:
        leap = folder / "leap"
        self.leap = Leap(leap)
        command = [sys.executable, "-m", "tests.proof.kill_pump", str(leap)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        host, _, port = self._hear()["url"].removeprefix("tcp://").rpartition(":")
        self.bench = Bench(folder, host, int(port), self.leap)

    def truth(self) -> dict[str, Any]:
        """What physics has done so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"?\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self.leap.close()


def killed(kills: int, seconds: float, seed: int, *, until_wrong: bool = False) -> Tally:
    """Kills hosts until there were so many, or so many seconds have passed."""
    begun, tally, dice = time.monotonic(), Tally(), random.Random(seed)
    constant_therapy()  # read once, for all children
    while tally.kills < kills and time.monotonic() - begun < seconds:
        with TemporaryDirectory() as name, ExitStack() as cleanup:
            pump = Pump(Path(name))
            cleanup.callback(pump.close)
            for number in range(1, LIVES_OF_A_PUMP + 1):
                _one_life(pump, number, dice, tally)
                over = tally.kills >= kills or time.monotonic() - begun >= seconds
                if over or (tally.wrong and until_wrong):
                    break
            tally.asked += len(pump.bench.notes("asked"))
            tally.refused += len(pump.bench.notes("refused"))
            tally.doses += pump.truth()["given"]
        if tally.wrong and until_wrong:
            break
    tally.seconds = time.monotonic() - begun
    return tally


def _one_life(pump: Pump, number: int, dice: random.Random, tally: Tally) -> None:
    stretch = dice.choice((*STEPS, *[None] * (len(STEPS) // 2)))
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(hear)
            live(pump.bench, number, Stretched(stretch, dice.randint(1, MOST_PASSAGES), tell))
        finally:
            os._exit(0)
    os.close(tell)
    if stretch is None:
        time.sleep(dice.uniform(0, LONGEST_LIFE_S))
    else:
        select.select([hear], [], [], STRETCHED_LIFE_S)  # its step, or its end
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(hear)
    if os.WIFSIGNALED(status):
        tally.kills += 1
        where = stretch or "at random"
        tally.at[where] = tally.at.get(where, 0) + 1
    else:
        tally.ended += 1
    time.sleep(SETTLE_S)
    _compare(pump, tally, f"pump {number}: killed {stretch or 'at random'}")
    pump.leap.by(ABSENCE_MS)


def _compare(pump: Pump, tally: Tally, place: str) -> None:
    """Each dose's truth against what a new host would know before it asks anybody."""
    bench, truth = pump.bench, pump.truth()
    disk = FileDisk(bench.journal)
    opened = open_journal(disk, Anchor(bench.anchor), StateFile(bench.states))
    disk.close()
    counted = {one.id: int(one.most) for one in opened.state.reservations}
    wrong = [*truth["wrong"], *bench.notes("wrong")]
    if opened.problem is not None:
        wrong.append(f"the journal would not be trusted: {opened.problem}")
    wrong += [
        f"id {own}: {volume} nL were given, {counted.get(own, 0)} are counted"
        for own, volume in truth["doses"]
        if volume > counted.get(own, 0)
    ]
    wrong += _forgotten(bench, truth)
    requests = Counter(line.split()[0] for line in bench.notes("ids"))
    wrong += [f"request {one} was given {n} ids" for one, n in requests.items() if n > 1]
    new = [f"{text} [{place}]" for text in wrong]
    if new and not tally.wrong:
        tally.first_wrong = tally.kills
    tally.wrong += [text for text in new if text not in tally.wrong]


def _forgotten(bench: Bench, truth: dict[str, Any]) -> list[str]:
    """Doses of earlier lives that the last host to recover did not count."""
    recovered = bench.notes("recovered")
    if not recovered:
        return []
    life, pairs = json.loads(recovered[-1])
    known = dict(pairs)
    return [
        f"id {own}: {volume} nL were given before, a new host counts {known.get(own, 0)}"
        for own, volume in truth["doses"]
        if own < life * 1_000 and volume > known.get(own, 0)
    ]


def main(arguments: list[str]) -> None:
    """Prints what became of the lives."""
    kills, seconds, seed = int(arguments[0]), float(arguments[1]), int(arguments[2])
    bugs = {bug.name: bug for bug in ORDER_BUGS}
    with ExitStack() as planted:
        if len(arguments) > 3:
            planted.enter_context(bugs[arguments[3]].planted())
        tally = killed(kills, seconds, seed, until_wrong=len(arguments) > 3)
    print(json.dumps(asdict(tally)))


if __name__ == "__main__":
    main(sys.argv[1:])
