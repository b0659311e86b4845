"""What no other test noticed when one operator, number or line of the gate was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from clinical_examples import area, tonic
from disk_bench import FaultyDisk, connected, opened, settled, written
from gate_bench import ROOM_FOR_ONE, AtOnce, Bench, HeldThread, Lazy, begun
from kernel_bench import bolus_nl, instant, start

from device_profiles.errors import Refused
from device_profiles.quantities import NanoLitres
from safety import gate as gate_module
from safety.anchor import Anchor
from safety.clearance import Clearance
from safety.commands import Ask
from safety.events import Checkpointed, Cleared, Counted, Event, Stopped
from safety.gate import Gate
from safety.journal import parse
from safety.opening import open_journal

T = TypeVar("T")


def cleared(number: int) -> Cleared:
    """One of those that nobody waits for."""
    return Cleared(instant(number), "x")


async def begun_lazily(folder: Path) -> tuple[Bench, Lazy]:
    worker = Lazy()
    return await begun(folder, worker), worker


# --- latching ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
async def test_a_journal_that_was_found_broken_latches_though_nothing_was_told_yet(
    tmp_path: Path,
) -> None:
    disk = FaultyDisk()
    written(disk, Anchor(tmp_path / "anchor"), [opened(), settled(70)]).settle()
    broken = FaultyDisk(disk.synced[:-1] + bytes([disk.synced[-1] ^ 1]))
    found = open_journal(broken, Anchor(tmp_path / "anchor"))
    heard: list[str] = []
    gate = Gate(found, AtOnce(), lambda alarm: heard.append(alarm.code))
    await gate.settle()
    assert gate.state.latched == found.problem is not None
    assert heard == ["journal-latched"]
    (latch,) = gate.state.alarms
    assert latch.since == 0, "no time was told yet"


@pytest.mark.requirement("SR-56")
async def test_the_alarm_of_an_intent_that_cannot_be_written_bears_the_time_of_the_request(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    at = instant(77_000)
    with pytest.raises(Refused):
        await bench.gate.ask(Ask(at, 90, bolus_nl(1), "BENCH-012", seen=at.fast))
    (latch,) = (one for one in bench.gate.state.alarms if one.alarm.code == "journal-latched")
    assert latch.since == at.wall


@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F72")
async def test_a_basal_that_a_person_approved_goes_on_though_the_disk_fails_just_then(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    approved = bench.gate.state.epoch
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    ask = Ask(instant(0), 90, ROOM_FOR_ONE.command, "BENCH-012", epoch=approved)
    clearance = await bench.gate.ask(ask)
    assert bench.gate.state.latched is not None
    assert clearance.intent_id == 90


# --- the row -------------------------------------------------------------------------------------


async def test_a_thousand_outcomes_wait_for_the_disk_and_who_tells_one_more_waits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "EVERY", 10_000)
    bench, worker = await begun_lazily(tmp_path)
    before = bench.disk.calls.count("append")
    for number in range(1_000):
        await bench.gate.tell(cleared(number))
    assert bench.disk.calls.count("append") == before
    await bench.gate.tell(cleared(1_000))
    assert bench.disk.calls.count("append") == before + 1_001
    worker.catch_up()
    assert bench.disk.calls.count("append") == before + 1_001


async def test_what_follows_a_grant_costs_no_sync_of_its_own(tmp_path: Path) -> None:
    bench, worker = await begun_lazily(tmp_path)
    clearance = await bench.ask(bolus_nl(1))
    await bench.settle(clearance)
    calls = list(bench.disk.calls)
    worker.catch_up()
    assert bench.disk.calls == [*calls, "append"]


async def test_a_refusal_costs_no_sync_of_its_own(tmp_path: Path) -> None:
    bench, worker = await begun_lazily(tmp_path)
    with pytest.raises(Refused):
        await bench.ask(bolus_nl(5_001))
    calls = list(bench.disk.calls)
    worker.catch_up()
    assert bench.disk.calls == [*calls, "append"]


async def test_who_begins_to_follow_has_what_still_waited_for_the_disk(tmp_path: Path) -> None:
    bench, _ = await begun_lazily(tmp_path)
    await bench.gate.tell(cleared(1))
    heard: list[Event] = []
    past = parse(await bench.gate.follow(heard.append))
    await bench.gate.tell(cleared(2))
    assert past.events[-1] == cleared(1)
    assert heard == [cleared(2)]


async def test_the_past_is_summed_up_every_thousand_entries(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.gate.tell(opened())
    await bench.gate.tell(connected())
    for number in range(997):
        await bench.gate.tell(cleared(number))
    assert not any(isinstance(one, Checkpointed) for one in bench.on_disk())
    await bench.gate.tell(cleared(997))
    assert [type(one) for one in bench.on_disk()][999:] == [Cleared, Checkpointed]


async def test_from_one_checkpoint_to_the_next_it_is_always_as_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "EVERY", 4)
    bench = Bench(tmp_path)
    await bench.gate.tell(opened())
    for number in range(11):
        await bench.gate.tell(cleared(number))
    places = [place for place, one in enumerate(bench.on_disk()) if isinstance(one, Checkpointed)]
    assert places == [4, 9, 14]


# --- who waits -----------------------------------------------------------------------------------


class Gone:
    """A worker whose thread has ended."""

    def offload(self, work: Callable[[], T]) -> Awaitable[T]:
        nothing: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        nothing.set_exception(RuntimeError("no thread is left"))
        return nothing

    def later(self, work: Callable[[], None]) -> None:
        """Nothing is done any more."""


@pytest.mark.requirement("SR-56")
async def test_what_no_worker_could_bring_to_the_disk_is_never_taken_for_done(
    tmp_path: Path,
) -> None:
    bench = await begun(tmp_path, Gone())
    with pytest.raises(RuntimeError, match="no thread is left"):
        await bench.gate.settle()
    with pytest.raises(RuntimeError, match="no thread is left"):
        await bench.gate.tell(Stopped(instant(1), "hold", True))


Waiting = tuple[Bench, asyncio.Future[Clearance], asyncio.Future[None]]


async def waiting_for_its_turn(folder: Path, thread: HeldThread) -> Waiting:
    """A request that the disk holds up, and a stop that is told meanwhile."""
    bench = await begun(folder, thread)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    telling = asyncio.ensure_future(bench.gate.tell(Stopped(instant(4), "hold", True)))
    await asyncio.sleep(0)
    return bench, asking, telling


async def test_a_teller_that_is_cancelled_while_it_waits_for_its_turn_hears_of_it(
    tmp_path: Path,
) -> None:
    thread = HeldThread()
    bench, asking, telling = await waiting_for_its_turn(tmp_path, thread)
    telling.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    await asking
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert bench.kinds(1) == ["stopped"]


async def test_a_teller_that_waited_for_its_turn_hears_when_it_could_not_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = HeldThread()
    bench, asking, telling = await waiting_for_its_turn(tmp_path, thread)
    monkeypatch.setattr(bench.gate, "_worker", Gone())
    await thread.finish()
    await asking
    with pytest.raises(RuntimeError, match="no thread is left"):
        await telling


async def test_a_count_reaches_the_disk_at_once_whatever_joins_it_before_it_is_written(
    tmp_path: Path,
) -> None:
    bench, worker = await begun_lazily(tmp_path)
    calls = list(bench.disk.calls)
    await bench.gate.tell(Counted(instant(1), 1, "running", NanoLitres(5)))
    await bench.gate.tell(cleared(2))
    worker.catch_up()
    assert bench.disk.calls == [*calls, "append", "append", "sync"]


async def test_a_refusal_names_first_what_no_reason_can_pass(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.gate.tell(opened())
    await bench.gate.tell(connected())
    soft = tonic(area("E3 -100, E4 +100", "8 mA", width="500 us"))
    with pytest.raises(Refused, match=r"^refused: SR-22") as refusal:
        await bench.ask(start(soft))
    assert refusal.value.findings[0].severity == "soft"
