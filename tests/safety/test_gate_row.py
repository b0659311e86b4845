"""What waits for the journal: nobody waits for an outcome, and nothing ever overtakes it."""

import asyncio
from pathlib import Path

import pytest
from disk_bench import FaultyDisk, settled
from gate_bench import ROOM_FOR_ONE, Bench, HeldThread, Lazy, begun
from kernel_bench import bolus_nl, fold, instant

from device_profiles.errors import Refused
from device_profiles.quantities import NanoLitres
from firmware_bridge.clock import RealClock
from safety import gate as gate_module
from safety.alarms import Alarm
from safety.audit import audit
from safety.events import (
    Checkpointed,
    Cleared,
    Counted,
    Event,
    Intended,
    MriEntered,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.gate import UNAWAITED, UNSYNCED, WAITING_MAX, Gate
from safety.journal import parse, read_chain
from safety.kernel import step


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    await bench.begin()
    return bench


def count(volume: int) -> Counted:
    return Counted(instant(0), 91, "executed", NanoLitres(volume))


# --- who waits for what --------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
async def test_nobody_waits_for_an_outcome_and_the_judge_knows_it_at_once(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    await thread.finish()
    clearance = await asking
    thread.free = False
    await bench.settle(clearance)
    assert bench.gate.state.unsettled == ()
    assert bench.kinds(1) == ["intended"]
    await thread.finish()
    assert bench.kinds(1) == ["settled"]
    bench.assert_state_is_the_disks()


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize(
    "event",
    [
        Stopped(instant(1), "hold", False),
        Raised(instant(1), Alarm("over-delivery", "HIGH", "SR-54", "")),
        Unverified(instant(1), 0, "another program", True),
        MriEntered(instant(1), "nurse", ""),
        count(10**6),
    ],
    ids=lambda event: event.kind,
)
async def test_what_could_make_us_count_less_once_lost_is_on_the_disk_at_once(
    bench: Bench, event: Event
) -> None:
    assert not isinstance(event, UNSYNCED)
    await bench.gate.tell(event)
    assert parse(bench.disk.power_cut().read()).events[-1] == event
    assert bench.anchor.read() == bench.gate._journal.head


async def test_what_can_only_make_us_count_more_reaches_the_disk_with_the_next_intent(
    bench: Bench,
) -> None:
    clearance = await bench.ask(bolus_nl(1))
    await bench.settle(clearance)
    await bench.gate.tell(Cleared(instant(0), "x"))
    lost = bench.disk.power_cut()
    assert [event.kind for event in lost.events()][-1] == "intended"
    after = Bench(bench.folder, lost, ids=90)
    assert [one.id for one in after.gate.state.unsettled] == [clearance.intent_id]
    with pytest.raises(Refused, match="SR-23"):
        await after.ask(bolus_nl(1))
    with pytest.raises(Refused):
        await bench.ask(bolus_nl(1))
    await bench.ask(ROOM_FOR_ONE.command)
    kinds = [event.kind for event in bench.disk.power_cut().events()]
    assert kinds[-5:] == ["intended", "settled", "cleared", "rejected", "intended"]


async def test_who_asks_does_not_wait_for_the_anchor_and_it_follows(tmp_path: Path) -> None:
    worker = Lazy()
    bench = await begun(tmp_path, worker)
    before = bench.anchor.read()
    clearance = await bench.ask(bolus_nl(1))
    assert bench.anchor.read() == before
    worker.catch_up()
    assert bench.anchor.read() == bench.gate._journal.head
    await bench.settle(clearance)
    await bench.gate.tell(Cleared(instant(0), "x"))
    assert len(worker.row) == 1, "one write for all that waits"


def test_all_that_is_not_synced_is_not_waited_for_either() -> None:
    assert set(UNSYNCED) < set(UNAWAITED)
    assert set(UNAWAITED) - set(UNSYNCED) == {Counted}


# --- nothing overtakes ---------------------------------------------------------------------------


async def two_doses(bench: Bench) -> None:
    """An outcome, and an intent right behind it."""
    clearance = await bench.ask(ROOM_FOR_ONE.command)
    await bench.settle(clearance)
    await bench.ask(ROOM_FOR_ONE.command)


@pytest.mark.requirement("SR-56")
async def test_an_intent_never_overtakes_an_outcome_however_lazy_the_worker_is(
    tmp_path: Path,
) -> None:
    worker = Lazy()
    bench = await begun(tmp_path, worker)
    await two_doses(bench)
    assert bench.kinds(3) == ["intended", "settled", "intended"]
    bench.assert_state_is_the_disks()
    worker.catch_up()
    assert bench.kinds(3) == ["intended", "settled", "intended"]


class Overtaking(Gate):
    """The wrong twin: an intent is written without looking at what waits."""

    async def _commit(self, intent: Intended) -> object:  # type: ignore[override]
        receipt = self._journal.commit(intent)
        self._state, _ = step(self._state, intent)
        return receipt


async def test_a_gate_that_lets_intents_overtake_records_a_dose_granted_while_another_was_open(
    tmp_path: Path,
) -> None:
    worker = Lazy()
    first = await begun(tmp_path, worker)
    bench = Bench(tmp_path, first.disk, worker, ids=90, kind=Overtaking)
    await two_doses(bench)
    worker.catch_up()
    assert bench.kinds(3) == ["intended", "intended", "settled"]
    assert len(fold(bench.on_disk()[:-1]).unsettled) == 2


async def test_nothing_that_waits_is_lost_when_the_gate_is_closed(tmp_path: Path) -> None:
    worker = Lazy()
    bench = await begun(tmp_path, worker)
    await bench.settle(await bench.ask(ROOM_FOR_ONE.command))
    await bench.gate.settle()
    assert [event.kind for event in bench.disk.power_cut().events()][-1] == "settled"
    bench.assert_state_is_the_disks()


@pytest.mark.fault("F67")
async def test_what_still_waits_when_the_host_is_killed_only_makes_the_next_one_count_more(
    tmp_path: Path,
) -> None:
    bench = await begun(tmp_path, Lazy())
    clearance = await bench.ask(bolus_nl(4_000))
    await bench.settle(clearance)
    after = Bench(tmp_path, FaultyDisk(bench.disk.read()))
    assert [one.id for one in after.gate.state.unsettled] == [clearance.intent_id]
    assert after.gate.state.reservations == bench.gate.state.reservations


async def test_however_much_is_told_only_so_much_waits(tmp_path: Path) -> None:
    worker = Lazy()
    bench = await begun(tmp_path, worker)
    before = len(bench.on_disk())
    for number in range(WAITING_MAX + 5):
        with pytest.raises(Refused):
            await bench.ask(bolus_nl(10**9))
        assert len(bench.gate._waiting) <= WAITING_MAX + 1, number
    assert len(bench.on_disk()) > before + WAITING_MAX
    await bench.gate.settle()
    refused = [event for event in bench.on_disk() if isinstance(event, Rejected)]
    assert len(refused) == WAITING_MAX + 5


# --- what goes wrong behind everybody's back -----------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
async def test_an_outcome_that_cannot_be_written_later_latches_before_anything_follows_it(
    tmp_path: Path,
) -> None:
    worker = Lazy()
    bench = await begun(tmp_path, worker)
    clearance = await bench.ask(ROOM_FOR_ONE.command)
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    await bench.settle(clearance)
    assert bench.gate.state.latched is None
    worker.catch_up()
    await asyncio.sleep(0)
    assert bench.gate.state.latched is not None
    assert [one.code for one in bench.heard] == ["journal-latched"]
    with pytest.raises(Refused, match="SR-56"):
        await bench.ask(bolus_nl(1))
    assert bench.kinds(1) == ["intended"]


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
async def test_an_intent_behind_an_outcome_that_cannot_be_written_is_refused(
    tmp_path: Path,
) -> None:
    bench = await begun(tmp_path, Lazy())
    await bench.gate.tell(Cleared(instant(0), "x"))
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    calls = len(bench.disk.calls)
    with pytest.raises(Refused, match="SR-56"):
        await bench.ask(bolus_nl(1))
    assert bench.disk.calls[calls:] == ["append"], "the outcome's; the intent was not tried"
    assert bench.gate.state.reservations == ()


@pytest.mark.real_clock
@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
async def test_a_thread_that_cannot_write_an_outcome_is_heard_though_nobody_waits(
    tmp_path: Path,
) -> None:
    clock = RealClock()
    heard: asyncio.Queue[Alarm] = asyncio.Queue()
    try:
        disk = (await begun(tmp_path, clock, FaultyDisk())).disk
        bench = Bench(tmp_path, disk, clock, sound=heard.put_nowait)
        disk.fail_write = disk.calls.count("append") + 1
        await bench.gate.tell(settled(1))
        assert bench.gate.state.latched is None
        alarm = await asyncio.wait_for(heard.get(), 10)
    finally:
        clock.close()
    assert bench.gate.state.latched is not None
    assert alarm.code == "journal-latched"


def test_a_worker_that_fails_after_its_loop_has_ended_disturbs_nobody(tmp_path: Path) -> None:
    worker = Lazy()

    async def live() -> Bench:
        bench = await begun(tmp_path, worker)
        await bench.gate.tell(settled(1))
        return bench

    bench = asyncio.run(live())
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    worker.catch_up()
    assert bench.gate._journal.problem is not None


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture
def every_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "EVERY", 5)


def checkpoints(bench: Bench) -> list[int]:
    """The entries that are checkpoints."""
    return [
        number
        for number, event in enumerate(bench.on_disk(), start=1)
        if isinstance(event, Checkpointed)
    ]


@pytest.mark.usefixtures("every_five")
@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("lazy", [False, True])
async def test_the_past_is_summed_up_every_so_many_entries(tmp_path: Path, lazy: bool) -> None:
    bench = await begun(tmp_path, Lazy()) if lazy else Bench(tmp_path)
    if not lazy:
        await bench.begin()
    for _ in range(40):
        await bench.settle(await bench.ask(ROOM_FOR_ONE.command))
        await bench.gate.tell(Raised(instant(0), Alarm("a", "LOW", "SR-54", "b")))
    await bench.gate.settle()
    assert len(checkpoints(bench)) >= 120 // 6
    assert audit(read_chain(bench.disk.read())) is None
    opened = bench.opened()
    assert opened.since_checkpoint < 5
    assert opened.state == bench.gate.state == fold(bench.on_disk())


@pytest.mark.usefixtures("every_five")
@pytest.mark.requirement("SR-15")
async def test_a_checkpoint_keeps_the_latest_slow_time_of_all_it_sums_up(bench: Bench) -> None:
    await bench.gate.tell(Raised(instant(7_000), Alarm("a", "LOW", "SR-54", "b")))
    for _ in range(10):
        await bench.gate.tell(settled(3))
    await bench.gate.settle()
    summed = [event for event in bench.on_disk() if isinstance(event, Checkpointed)]
    assert [event.at.slow for event in summed] == [7_000] * len(summed)
    assert bench.opened().end.slow == 7_000


@pytest.mark.usefixtures("every_five")
async def test_a_gate_counts_on_from_the_last_checkpoint(bench: Bench) -> None:
    await bench.gate.settle()
    before = len(bench.on_disk())
    again = Bench(bench.folder, bench.disk)
    await again.gate.tell(settled(1))
    await again.gate.tell(settled(2))
    assert before == 4
    assert checkpoints(again) == [6]


@pytest.mark.usefixtures("every_five")
async def test_nothing_is_summed_up_while_latched(bench: Bench) -> None:
    await bench.gate.distrust("a test", instant(1))
    for number in range(20):
        await bench.gate.tell(settled(number))
    assert checkpoints(bench) == []


@pytest.mark.usefixtures("every_five")
async def test_nothing_is_summed_up_where_there_is_no_place_for_it(tmp_path: Path) -> None:
    class NoPlace(Bench):
        @property
        def states(self) -> None:  # type: ignore[override]
            return None

    bench = NoPlace(tmp_path)
    await bench.begin()
    for number in range(20):
        await bench.gate.tell(Settled(instant(0), number, "delivered", ""))
    assert checkpoints(bench) == []
