"""`python -m tests.fuzz.child NAME …`: runs one target in this process, which ends with the run.

With atheris the code under test is instrumented as it is imported, and libFuzzer guides; without
it (or with ``--plain``) the same inputs are mutated by the same mutators, unguided.
"""

import argparse
import os
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from .corpus import seeds_and_kept
from .mutators import raw_mutator
from .target import Target, load, on_mark
from .twins import plant, twin_of
from .watch import Hung, TooMany, Watch

INSTRUMENTED = ["device_profiles", "safety", "firmware_bridge", "hil"]
ENDED_EARLY = 3
MEMORY_MB = 1_500


MARKS = 4_096
_DIGITS = re.compile("[0-9]+")


def atheris_or_none() -> Any:
    """The fuzzing library, or ``None`` on systems for which it is not made."""
    try:
        import atheris
    except ImportError:
        return None
    return atheris


def unguided(target: Target, watch: Watch, runs: int, seed: int, until: Callable[[], bool]) -> None:
    """The corpus, then mutations of it; raises TooMany. The same seed does the same."""
    signal.signal(signal.SIGPROF, _hung)
    pool = seeds_and_kept(target)
    rng = Random(seed)
    raw = raw_mutator(rng, target.tokens, target.max_len)
    try:
        for number in range(max(runs, len(pool))):
            data = pool[number] if number < len(pool) else rng.choice(pool)
            for _ in range((number >= len(pool)) * rng.choice((1, 1, 2, 4))):
                data = target.mutate(data, rng, raw)[: target.max_len]
            signal.setitimer(signal.ITIMER_PROF, 10 * target.seconds)
            watch.run(data)
            if until():
                break
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hung(signum: int, frame: FrameType | None) -> None:
    raise Hung("the input did not end")


def guided(atheris: Any, target: Target, watch: Watch, chosen: argparse.Namespace) -> None:
    """Hands the process to libFuzzer, which never gives it back."""
    corpus, words = chosen.folder / "corpus", chosen.folder / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds_and_kept(target)):
        (corpus / f"seed-{number:04}").write_bytes(data)
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in target.tokens if token)
    words.write_text("".join(f'"{token}"\n' for token in escaped), "ascii")
    rng = Random()

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        rng.seed(seed)

        def raw(some: bytes) -> bytes:
            return bytes(atheris.Mutate(some, max(len(some) + 64, 64)))

        return target.mutate(data, rng, raw)[:max_size]

    def one_input(data: bytes) -> None:
        try:
            watch.run(data)
        except TooMany:
            watch.look(end=True)
            sys.stderr.flush()
            os._exit(ENDED_EARLY)
        if watch.report.executions == chosen.runs or 0 < chosen.seconds <= watch.report.seconds:
            watch.look(end=True)  # libFuzzer ends the process without a word to Python
            os._exit(0)

    options = {
        "seed": chosen.seed,
        "max_len": target.max_len,
        "timeout": max(5, round(10 * target.seconds)),
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{chosen.folder}/",
        "dict": words,
        "print_final_stats": 1,
        "reload": 0,
    }
    counters = [atheris._reserve_counter() for _ in range(MARKS)]
    on_mark(lambda place: atheris._trace_branch(counters[_number_of(place)]))
    arguments = ["fuzz", *(f"-{key}={value}" for key, value in options.items()), str(corpus)]
    atheris.Setup(arguments, one_input, custom_mutator=mutator)
    atheris.Fuzz()


def _number_of(place: str) -> int:
    """The counter of a mark; numbers in a text make no other place of it."""
    return zlib.crc32(_DIGITS.sub("0", place).encode("utf-8", "replace")) % MARKS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `__main__` alone calls it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.child")
    parser.add_argument("name")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seconds", type=int, default=0, help="at most; 0: as long as it takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="where report and inputs go")
    parser.add_argument("--twin", help="plant this defect, and end with the first finding")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    chosen = parser.parse_args(arguments)
    atheris = None if chosen.plain else atheris_or_none()
    importing: AbstractContextManager[Any] = nullcontext()
    if atheris is not None:
        importing = atheris.instrument_imports(include=INSTRUMENTED)
    with importing:
        target = load(chosen.name)
    if chosen.twin:
        plant(twin_of(chosen.twin), atheris)
    most = 1 if chosen.twin else None
    watch = Watch(target, chosen.runs, chosen.folder, most_findings=most)
    if atheris is not None:
        guided(atheris, target, watch, chosen)
    begun = time.monotonic()
    try:
        unguided(
            target,
            watch,
            chosen.runs,
            chosen.seed,
            lambda: 0 < chosen.seconds < time.monotonic() - begun,
        )
    except TooMany:
        return ENDED_EARLY
    finally:
        watch.look(end=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
