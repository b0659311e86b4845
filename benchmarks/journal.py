"""(f) Opening a long journal with its chain verified; (g) what a long history costs a decision.

The journal holds the days of a pump: hourly boluses with their outcomes and counts, a refusal, an
alarm, a host that connects. Opening it reads the file from the disk, checks every hash and comes
to the state; beside it the same journal without the state of its checkpoint, so that every entry
is read and folded.
"""

import asyncio
from collections.abc import Iterator
from functools import cache
from itertools import count, islice
from pathlib import Path

from benchmarks.device import scratch_folder
from benchmarks.examples import INFUSION, WALL_MS
from benchmarks.harness import Row, each, interleave, percentile
from device_profiles.diagnostics import Finding
from device_profiles.quantities import HOUR_MS, Milliseconds, NanoLitres
from hil.check import check_file
from safety.alarms import Alarm
from safety.checkpoint import EVERY, StateFile, encode_state, summed_up
from safety.commands import Ask, GiveBolus, Instant, ProgramPump
from safety.events import (
    Cleared,
    Connected,
    Counted,
    DeviceIdentity,
    Event,
    Intended,
    Opened,
    Raised,
    Rejected,
    Settled,
)
from safety.journal import MAGIC, SCHEMA, Anchor, FileDisk
from safety.journal_format import GENESIS, Head, chained, encode_event
from safety.kernel import step
from safety.limits import pump_limits
from safety.opening import OpenedJournal, open_journal
from safety.outputs import BolusOutput
from safety.state import State

ENTRIES = 1_000_000
FOLDED = 20_000
"""Entries of the journal that is folded whole; what a million take is counted up from it."""
ROUNDS = 3
OPENING_TARGET_S = 5.0
HISTORY_TARGET = 2.0
LONG, SHORT = 10_000, 100
DECISIONS = 200
IDENTITY = DeviceIdentity("itp", "itp-20", "ITP-BENCH", "1.0.0", "cal-7", 1)
READ_BACK = "the device answered Done; read back equal"
REFUSAL = (
    "morphine: within one window of 24 hours there could be 1.2 mg: 1 mg of the basal and the "
    "button, 150 mcg of earlier boluses, 50 mcg asked for; the patient's limit is 1 mg"
)
BOLUS = BolusOutput(NanoLitres(1_000), Milliseconds(60_000))


def measure(entries: int = ENTRIES, rounds: int = ROUNDS, decisions: int = DECISIONS) -> list[Row]:
    """Opening with and without a checkpoint, and a bolus judged after two lengths of history."""
    return asyncio.run(_measure(entries, rounds, decisions))


async def _measure(entries: int, rounds: int, decisions: int) -> list[Row]:
    with scratch_folder() as folder:
        summed, whole = folder / "summed up", folder / "whole"
        size = write_journal(summed, entries, with_checkpoint=True)
        folded = min(entries, FOLDED)
        write_journal(whole, folded, with_checkpoint=False)
        opening, folding = await interleave(
            [
                each(lambda: opened(summed), 1),
                each(lambda: opened(whole), 1),
            ],
            rounds,
        )
    long, short = history(LONG), history(SHORT)
    late, early = await interleave(
        [
            each(lambda: step(long, ask_after(long)), decisions),
            each(lambda: step(short, ask_after(short)), decisions),
        ],
        rounds,
    )
    seconds = percentile(opening, 0.5) / 1e9
    each_us = percentile(folding, 0.5) / 1_000 / folded
    after_long, after_short = percentile(late, 0.5), percentile(early, 0.5)
    return [
        Row(
            "f",
            f"open {entries:,} entries from a checkpoint",
            seconds,
            "s",
            OPENING_TARGET_S,
            f"{size / 1e6:.0f} MB; {seconds * 1e6 / entries:.2f} us an entry",
        ),
        Row(
            "f",
            "the same, every entry folded",
            each_us * entries / 1e6,
            "s",
            None,
            f"{each_us:.1f} us an entry, of {folded:,}",
        ),
        Row(
            "g",
            f"a bolus judged after {LONG:,} entries / after {SHORT}",
            after_long / after_short,
            "x",
            HISTORY_TARGET,
            f"{after_long / 1_000:.0f} us; {after_short / 1_000:.0f} us",
        ),
    ]


def opened(folder: Path) -> OpenedJournal:
    """Opens a journal as its owner does; anything wrong with it is an error here."""
    disk = FileDisk(folder / "journal")
    try:
        found = open_journal(disk, Anchor(folder / "anchor"), StateFile(folder / "state"))
    finally:
        disk.close()
    assert found.problem is None, found.problem
    return found


def write_journal(folder: Path, entries: int, *, with_checkpoint: bool) -> int:
    """A journal of so many entries and its anchor; the number of its bytes.

    Its last checkpoint, if it has one, lies as far back as it ever can. A long one repeats its
    life.
    """
    folder.mkdir()
    bodies = [encode_event(event) for event in islice(life(), min(entries, FOLDED))]
    data, previous = bytearray(MAGIC), GENESIS
    checkpoint_at = entries - EVERY if with_checkpoint and entries > EVERY else entries + 1
    for number in range(1, entries + 1):
        body = bodies[number - 1] if number <= len(bodies) else bodies[1 + number % (FOLDED - 1)]
        if number == checkpoint_at:
            state = encode_state(history(SHORT))
            StateFile(folder / "state").write(state)
            body = encode_event(summed_up(state, instant(0)))
        entry, previous = chained(previous, body)
        data += entry
    (folder / "journal").write_bytes(data)
    Anchor(folder / "anchor").write(Head(entries, previous))
    return len(data)


def history(entries: int) -> State:
    """What the judge knows after so many entries."""
    state = State()
    for event in islice(life(), entries):
        state, _ = step(state, event)
    return state


def ask_after(state: State) -> Ask:
    """A bolus that is judged against everything that the state holds."""
    last = max(one.begun for one in state.reservations)
    now = instant(last + HOUR_MS)
    return Ask(now, 1, GiveBolus(BOLUS, pump().profile), "BENCH-012", seen=now.fast)


@cache
def pump() -> ProgramPump:
    """The command that programs a pump with the infusion example."""
    command = check_file(INFUSION, None, WALL_MS).command
    assert isinstance(command, ProgramPump)
    return command


def life() -> Iterator[Event]:
    """A pump's life without end: each hour a bolus, each day a host, a refusal and an alarm."""
    yield Opened(instant(0), "bench", IDENTITY.serial, SCHEMA, True)
    yield connected(0)
    limits, _ = pump_limits(pump().therapy, pump().formulary)
    program = pump().program
    yield Intended(instant(0), 1, "program-pump", (program,), "BENCH-012", limits, timezone="UTC")
    yield Settled(instant(0), 1, "delivered", READ_BACK)
    for hour in count(1):
        now = instant(hour * HOUR_MS)
        intent_id = 2**62 + hour
        if hour % 24 == 0:
            yield connected(hour * HOUR_MS)
            finding = Finding(
                "SR-14", "hard", "bolus", REFUSAL, "1.2 mg", "1 mg", "patient", "wait"
            )
            yield Rejected(now, intent_id - 1, "give-bolus", (finding,), (BOLUS,), "BENCH-012")
            yield Raised(now, Alarm("low-reservoir", "LOW", "SR-55", "the reservoir is low"))
            yield Cleared(now, "low-reservoir")
        yield Intended(
            now,
            intent_id,
            "give-bolus",
            (BOLUS,),
            "BENCH-012",
            drugs=program.drugs,
            latest_end=Milliseconds(now.slow + BOLUS.over),
        )
        yield Settled(now, intent_id, "delivered", "the device answered Done")
        yield Counted(now, intent_id, "executed", BOLUS.volume)


def connected(slow: int) -> Connected:
    """A host took charge."""
    now = instant(slow)
    return Connected(now, IDENTITY, 1, True, now.wall, True)


def instant(slow: int) -> Instant:
    """A moment on all three clocks."""
    return Instant(Milliseconds(slow), Milliseconds(slow), Milliseconds(WALL_MS + slow))
