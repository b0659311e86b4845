"""Model checking with Spin: the protocol's steps, every loss, delay, crash and reset between them.

``models/protocol.pml`` is a model of the rules of `docs/protocol.md` and of the journal, not the
code; it shows that the rules are enough, and that each of them is needed. A wrong twin is the same
model with a word defined, compiled and searched like the right one.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from .evidence import Effort, Evidence, Planted

MODEL = Path(__file__).with_name("models") / "protocol.pml"
TOOLS = ("spin", "gcc")
DEPTH = 10_000
"""Steps of the longest run that is followed; one that is longer makes the search incomplete."""
WALL_SECONDS = 600
"""Only so that a hung search ends at all."""
MENDED = ("ASKS_AFTER_REFUSAL", "UNKNOWN_IS_FINAL")
DUPLICATING = ("DUPLICATES_COMMANDS", "DUPLICATES_OPENS")


@dataclass(frozen=True, slots=True)
class Twin:
    """A planted bug: the words that put it into the model; ``early`` ones are tried quickly too."""

    bug: str
    words: tuple[str, ...]
    expected: bool = True
    early: bool = False


TWINS = (
    Twin("silence is a failure, tried again with a new id", ("RETRIES_WITH_A_NEW_ID",), early=True),
    Twin("unsettled intents are struck out on restart", ("VOIDS_ON_RESTART",), early=True),
    Twin("sent before it is recorded", ("SENDS_BEFORE_RECORD",), early=True),
    Twin(
        "doubt expires after a window",
        ("DOUBT_EXPIRES", "DOUBT_DOES_NOT_BLOCK"),
        early=True,
    ),
    Twin(
        "sent again to a device that forgets ids",
        ("RESENDS", "FORGETS_IDS", "ASKS_AFTER_REFUSAL"),
        early=True,
    ),
    Twin(
        "success starts the lockout",
        ("COUNTS_AT_SUCCESS", "DOUBT_DOES_NOT_BLOCK"),
        early=True,
    ),
    Twin("a dose ages from its intent, not from its proof", ("AGES_FROM_INTENT",), early=True),
    Twin("the device stores an id after the effect", ("REMEMBERS_TOO_LATE",)),
    Twin("the host keeps its session over a restart", ("KEEPS_ITS_SESSION",)),
    Twin("any reply settles the command at hand", ("ANY_REPLY",)),
    Twin("a device that forgets ids is asked for one", ("FORGETS_IDS",)),
    Twin("the device acts in any session", ("IGNORES_SESSIONS",)),
    Twin("the host's clock leads", ("CLOCK_LEADS",)),
    Twin("one dose too many at the limit", ("ONE_TOO_MANY",)),
    Twin("sent again, and a refusal of the copy is proof", ("RESENDS",)),
    Twin(
        "the link duplicates commands, and a refusal of the copy is proof",
        ("DUPLICATES_COMMANDS",),
    ),
    Twin(
        "the link duplicates an Open, and an id called unknown may still act",
        ("DUPLICATES_OPENS",),
    ),
    # Redundant guards hide each other: each of these is stopped by another rule.
    Twin(
        "sent again to a device that remembers ids: its memory stops it",
        ("RESENDS", "ASKS_AFTER_REFUSAL"),
        expected=False,
    ),
    Twin("doubt does not block: the held dose stops it", ("DOUBT_DOES_NOT_BLOCK",), expected=False),
    Twin(
        "a dose is held from success on: the block of doubt stops it",
        ("COUNTS_AT_SUCCESS",),
        expected=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Search:
    """What Spin found: the broken claim, if one is; how many states; whether it saw them all."""

    broken: str | None
    states: int
    complete: bool
    trouble: str | None = None

    @property
    def holds(self) -> bool:
        """Whether every state was searched and no claim broken."""
        return self.broken is None and self.complete


def search(words: tuple[str, ...], *, large: bool = False) -> Search:
    """Builds and runs the verifier of the model with these words defined."""
    with TemporaryDirectory(prefix="neuraxis-spin-") as folder:

        def run(*command: str) -> str:
            done = subprocess.run(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=WALL_SECONDS,
                check=False,
            )
            return done.stdout

        said = run("spin", "-a", *(f"-D{word}" for word in words), str(MODEL))
        # A large search is worth a slower compiler and less memory for each state.
        options = ("-O2", "-DCOLLAPSE") if large else ("-O0",)
        said += run("gcc", "-w", "-DSAFETY", *options, "-o", "pan", "pan.c")
        verifier = Path(folder) / "pan"
        if not verifier.exists():
            return Search(
                None, 0, complete=False, trouble=said.strip()[-300:] or "nothing was built"
            )
        # The host may stop for good and the device then waits for ever: no deadlock (-E).
        told = run(str(verifier), "-E", f"-m{DEPTH}", f"-w{24 if large else 19}")
    broken = re.search(r"assertion violated (\(.*\)) \(at depth", told)
    states = re.search(r"(\d+) states, stored", told)
    complete = "errors: 0" in told and not re.search(
        r"Search not completed|max search depth too small|out of memory", told
    )
    if broken is None and not complete:
        return Search(None, 0, complete=False, trouble=told.strip()[-300:])
    return Search(broken[1] if broken else None, int(states[1]) if states else 0, complete)


def command_line(words: tuple[str, ...]) -> str:
    """What shows the steps to a broken claim."""
    defined = " ".join(f"-D{word}" for word in words)
    return (
        f"spin -a {defined} {MODEL.name}; gcc -DSAFETY -o pan pan.c; ./pan -E; spin -t -p {defined}"
    )


def missing_tools() -> list[str]:
    """The programs that this method needs and that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def prove(effort: Effort) -> Evidence:
    """The right model holds in every state, and every wrong twin breaks a claim."""
    begun = perf_counter()
    missing = missing_tools()
    if missing:
        return _evidence(
            begun,
            "nothing",
            tuple(f"{tool} is not installed: apt-get install {tool}" for tool in missing),
            (),
        )
    violations = []
    size = ("IDS=3", "LIMIT=2", "SESSIONS=4") if effort == "full" else ()
    right: dict[str, tuple[str, ...]] = {"as the protocol is": size}
    if effort == "full":
        right["mended, on a link that duplicates all requests"] = (*MENDED, *DUPLICATING)
    sizes = []
    for name, words in right.items():
        found = search(words, large=effort == "full")
        sizes.append(f"{found.states:,} states {name}")
        if not found.holds:
            why = found.broken or found.trouble
            violations.append(f"model {name}: {why}; repeat it with: {command_line(words)}")
    if effort == "full" and search(("COMES_TO_THE_END",)).broken is None:
        violations.append("the model never comes to its last dose, so that it shows nothing")
    planted, stopped = [], []
    for twin in TWINS:
        if effort == "quick" and not twin.early:
            continue
        found = search(twin.words)
        if found.trouble is not None:
            violations.append(f"twin {twin.bug!r} was not searched: {found.trouble}")
        if not twin.expected and found.broken is None:
            stopped.append(twin.bug)
            continue
        planted.append(
            Planted(
                twin.bug,
                found.broken is not None,
                f"{found.states:,} states" + (f", {found.broken}" if found.broken else ""),
                twin.expected,
            )
        )
    covered = (
        f"every state: {'; '.join(sizes)}. {'3 doses, 2' if effort == 'full' else '2 doses, 1'} in "
        f"a window of 2 ticks, {4 if effort == 'full' else 3} sessions, 2 connections: loss, "
        "delay, doubled replies, death of the host, reset of the device, a clock that lags"
    )
    if stopped:
        covered += f". With one guard of two out it still holds: {'; '.join(stopped)}"
    return _evidence(begun, covered, tuple(violations), tuple(planted))


def _evidence(
    begun: float, covered: str, violations: tuple[str, ...], planted: tuple[Planted, ...]
) -> Evidence:
    return Evidence(
        method="model checking (spin)",
        covered=covered,
        violations=violations,
        planted=planted,
        not_shown=(
            "the code: this is a model of its rules; parts of a dose; more doses, sessions and "
            "connections than named; a link that duplicates requests, where the protocol as it is "
            "does not hold (the two last bugs that are found in full) and needs both mends"
        ),
        seconds=perf_counter() - begun,
    )
