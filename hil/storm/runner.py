"""Runs plans and seeds: alone, on several cores, or on an engine that somebody else offers."""

import gc
import hashlib
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import parent_process
from threading import Thread
from time import process_time

import cbor2

from device_profiles.errors import UsageError
from device_profiles.notation_grammar import shown
from hil.early import CODES
from hil.storm.draw import draw
from hil.storm.oracle import judge
from hil.storm.plan import BIGGEST_SEED, Family, Plan
from hil.storm.record import Record
from hil.storm.run import run_storm

CHUNK = 20
"""Seeds that a worker is handed at once."""
MOST_SEEDS = 1_000_000
"""In one command: every chunk of them is held in memory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one storm ended: what was wrong, and the digest of every byte that came of it."""

    plan: Plan
    wrong: tuple[str, ...]
    digest: str
    reached: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Seeds of one family, one after the other."""

    family: Family
    days: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What some storms amount to; tallies add up."""

    seeds: int = 0
    seconds: float = 0.0
    drew: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    failing: tuple[Outcome, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            self.seeds + other.seeds,
            self.seconds + other.seconds,
            self.drew + other.drew,
            self.reached + other.reached,
            (*self.failing, *other.failing),
        )


Engine = Callable[[Sequence[Chunk]], Iterator[Tally]]
"""Runs chunks somewhere and hands back their tallies as they are done."""


def run_plan(plan: Plan) -> Outcome:
    """Runs and judges one plan; what nobody foresaw is a finding too."""
    return run_and_record(plan)[0]


def run_and_record(plan: Plan) -> tuple[Outcome, Record | None]:
    """The same, with what the storm left, unless it broke down."""
    try:
        record = run_storm(plan)
        wrong = judge(record)
    except Exception as error:
        return Outcome(plan, (f"the storm itself broke down: {error!r}",), ""), None
    return Outcome(plan, tuple(wrong), digest_of(record), record.reached), record


def digest_of(record: Record) -> str:
    """Of truth, journal and all that went over the line, with their times."""
    digest = hashlib.sha256(cbor2.dumps(record.witness.lines))
    digest.update(record.journal)
    digest.update(cbor2.dumps(record.line.traffic))
    return digest.hexdigest()


def run_chunk(chunk: Chunk) -> Tally:
    """Runs the seeds of a chunk in this process."""
    drew: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    failing = []
    begun = process_time()
    for seed in range(chunk.first, chunk.first + chunk.count):
        outcome = run_plan(draw(seed, chunk.family, chunk.days))
        drew.update(f"{chunk.family}: {what}" for what in outcome.plan.drew())
        reached.update({f"{chunk.family}: {k}": n for k, n in outcome.reached.items()})
        if outcome.wrong:
            failing.append(outcome)
    return Tally(chunk.count, process_time() - begun, drew, reached, tuple(failing))


def chunks_of(families: Sequence[Family], seeds: range, days: int) -> list[Chunk]:
    """The work, in pieces that take a worker about a second."""
    size = max(1, CHUNK // days)
    return [
        Chunk(family, days, first, min(size, seeds.stop - first))
        for family in families
        for first in range(seeds.start, seeds.stop, size)
    ]


# --- engines -------------------------------------------------------------------------------------


def in_this_process(chunks: Sequence[Chunk]) -> Iterator[Tally]:
    """One after the other, here."""
    yield from map(run_chunk, chunks)


def on_cores(jobs: int) -> Engine:
    """On so many processes of this machine."""
    if jobs == 1:
        return in_this_process

    def run(chunks: Sequence[Chunk]) -> Iterator[Tally]:
        with ProcessPoolExecutor(min(jobs, len(chunks)), initializer=_begin_worker) as pool:
            try:
                with _signals_wait():
                    under_way = {pool.submit(run_chunk, chunk) for chunk in chunks}
                while under_way:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
            finally:
                pool.shutdown(cancel_futures=True)

    return run


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Signals are heard at the end: a pool that is interrupted as it begins never ends."""
    came: list[int] = []
    before = {one: signal.getsignal(one) for one in CODES}
    for number in before:
        signal.signal(number, lambda seen, _frame: came.append(seen))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _begin_worker() -> None:
    # A signal that ends a worker ends it without a word; its owner tells what it means. A closed
    # terminal is told to all of them, and is its owner's business alone.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Thread(target=_end_with_owner, daemon=True).start()
    gc.freeze()


def _end_with_owner() -> None:
    """A worker whose owner was killed would wait for its next chunk for ever."""
    if (owner := parent_process()) is not None:
        owner.join()
        os._exit(1)


def on_cluster(address: str) -> Engine:
    """On the workers of a Dask cluster; raises UsageError where it is not installed or reached."""
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise UsageError(
            "--cluster needs Dask's distributed: install it with `pip install neuraxis[cluster]`"
        ) from error

    def run(chunks: Sequence[Chunk]) -> Iterator[Tally]:
        try:
            client = Client(address, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address}: {error}") from error
        with client:
            futures = client.map(run_chunk, chunks, pure=False)
            for done in as_completed(futures, loop=client.loop):
                yield done.result()

    return run


# --- what people write ---------------------------------------------------------------------------


def parse_seeds(text: str) -> range:
    """``A..B``, both ends included; raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,13})(?:\.\.([0-9]{1,13}))?", text)
    if found is None:
        raise UsageError(f"--seeds is a range like 1..2000, or one seed like 17, not {shown(text)}")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first or last > BIGGEST_SEED:
        raise UsageError(f"--seeds {text}: the range is empty or beyond {BIGGEST_SEED}")
    if last - first >= MOST_SEEDS:
        raise UsageError(f"--seeds {text}: at most {MOST_SEEDS} at once; run them in parts")
    return range(first, last + 1)


def all_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
