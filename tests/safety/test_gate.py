"""The gate: nothing passes before it is on the disk, and what is on the disk is never forgotten."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from disk_bench import FaultyDisk, connected, opened, settled
from kernel_bench import (
    HOURLY,
    PumpCase,
    bolus_nl,
    fold,
    instant,
    limits_nl,
    pump_case,
)

from device_profiles.errors import Refused
from firmware_bridge.clock import RealClock
from safety.alarms import Alarm
from safety.clearance import Clearance
from safety.commands import Command
from safety.events import Intended, Raised, Rejected, Settled, Stopped
from safety.gate import Gate
from safety.journal import Anchor, open_journal, parse
from safety.kernel import Ask

T = TypeVar("T")
ROOM_FOR_ONE = pump_case(((0, 6 * HOURLY),), limits_nl(5_000, 11_000, 9_000_000, 9_000_000))


async def inline(work: Callable[[], T]) -> T:
    return work()


@dataclass
class HeldThread:
    """An offload whose work begins at once and goes on when the test says so, like a thread's:

    cancelling who waits for it does not end it.
    """

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    works: list[asyncio.Task[None]] = field(default_factory=list)

    async def __call__(self, work: Callable[[], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            self.begun.set()
            await self.go.wait()
            try:
                result = work()
            except Exception as error:
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self.works.append(asyncio.ensure_future(run()))
        return await done

    async def finish(self) -> None:
        self.go.set()
        await asyncio.gather(*self.works)


@dataclass
class Bench:
    """A gate over a disk of memory."""

    folder: Path
    disk: FaultyDisk = field(default_factory=FaultyDisk)
    offload: Callable[[Callable[[], object]], Awaitable[object]] = inline
    heard: list[Alarm] = field(default_factory=list)
    ids: int = 0

    def __post_init__(self) -> None:
        found = open_journal(self.disk, self.anchor)
        self.gate = Gate(found.journal, found.events, self.offload, self.heard.append)  # type: ignore[arg-type]

    @property
    def anchor(self) -> Anchor:
        return Anchor(self.folder / "anchor")

    async def ask(self, command: Command) -> Clearance:
        self.ids += 1
        return await self.gate.ask(Ask(instant(0), self.ids, command, "BENCH-012"))

    async def begin(self, case: PumpCase = ROOM_FOR_ONE) -> None:
        """A pump that delivers a program."""
        await self.gate.tell(opened())
        await self.gate.tell(connected())
        clearance = await self.ask(case.command)
        await self.gate.tell(Settled(instant(0), clearance.intent_id, "delivered", "a test"))

    def on_disk(self) -> list[object]:
        return list(parse(self.disk.read()).events)

    def assert_state_is_the_disks(self) -> None:
        contents = parse(self.disk.read())
        assert contents.problem is None
        assert self.gate.state == fold(contents.events)


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    await bench.begin()
    return bench


# --- first the disk, then the clearance ----------------------------------------------------------


@pytest.mark.requirement("SR-10")
async def test_a_clearance_exists_only_after_its_intent_was_synced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = bench.disk.calls
    made = Clearance.__init__

    def noted(self: Clearance, *receipt: object) -> None:
        order.append("clearance")
        made(self, *receipt)  # type: ignore[arg-type]

    monkeypatch.setattr(Clearance, "__init__", noted)
    order.clear()
    clearance = await bench.ask(bolus_nl(5_000))
    assert order == ["append", "sync", "clearance"]
    last = parse(bench.disk.power_cut().read()).events[-1]
    assert last == clearance.intent
    assert clearance.outputs == (bolus_nl(5_000).bolus,)
    bench.assert_state_is_the_disks()


async def test_what_was_cleared_counts_at_once(bench: Bench) -> None:
    before = bench.gate.state.epoch
    clearance = await bench.ask(bolus_nl(5_000))
    assert [one.id for one in bench.gate.state.unsettled] == [clearance.intent_id]
    assert [one.id for one in bench.gate.state.reservations] == [clearance.intent_id]
    assert bench.gate.state.epoch > before


@pytest.mark.requirement("SR-56")
async def test_a_refused_request_changes_nothing_and_is_recorded_with_its_reasons(
    bench: Bench,
) -> None:
    before = bench.gate.state
    with pytest.raises(Refused) as refusal:
        await bench.ask(bolus_nl(5_001))
    assert bench.gate.state == before
    recorded = bench.on_disk()[-1]
    assert isinstance(recorded, Rejected)
    assert recorded.findings == refusal.value.findings
    assert {one.rule for one in recorded.findings} == {"SR-05", "SR-14"}
    assert str(refusal.value).startswith("refused: SR-05, ")
    assert str(refusal.value).endswith(", and 1 more")


async def test_a_gate_starts_from_its_journal(bench: Bench) -> None:
    await bench.ask(bolus_nl(5_000))
    await bench.gate.settle()
    again = Bench(bench.folder, bench.disk, ids=90)
    assert again.gate.state == bench.gate.state
    with pytest.raises(Refused, match="SR-23"):
        await again.ask(bolus_nl(1))


async def test_everything_told_is_recorded_and_an_alarm_is_heard(bench: Bench) -> None:
    alarm = Alarm("a", "HIGH", "SR-54", "b")
    await bench.gate.tell(Raised(instant(3), alarm))
    await bench.gate.tell(Stopped(instant(4), "hold", True))
    assert bench.heard == [alarm]
    assert bench.on_disk()[-2:] == [Raised(instant(3), alarm), Stopped(instant(4), "hold", True)]
    bench.assert_state_is_the_disks()


# --- one after the other -------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
async def test_of_two_boluses_that_are_legal_alone_only_one_is_admitted(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, thread, ids=90)
    tasks = [asyncio.ensure_future(bench.ask(bolus_nl(3_000))) for _ in range(2)]
    await thread.begun.wait()
    await asyncio.sleep(1)
    assert not any(task.done() for task in tasks)
    await thread.finish()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, Clearance) for one in results] == [True, False]
    assert isinstance(results[1], Refused)
    # Nobody knows yet what became of the first, so both reasons stand.
    assert {one.rule for one in results[1].findings} == {"SR-14", "SR-23"}
    bench.assert_state_is_the_disks()


async def test_what_is_told_waits_for_an_intent_on_its_way_to_the_disk(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, thread, ids=90)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    telling = asyncio.ensure_future(bench.gate.tell(Stopped(instant(4), "hold", True)))
    await asyncio.sleep(1)
    assert not telling.done()
    await thread.finish()
    await asyncio.gather(asking, telling)
    assert [type(one) for one in bench.on_disk()[-2:]] == [Intended, Stopped]
    bench.assert_state_is_the_disks()


# --- a journal that fails ------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("call", ["append", "sync"])
async def test_a_journal_that_cannot_be_written_latches_alarms_and_still_hears(
    bench: Bench, call: str
) -> None:
    before = bench.gate.state
    if call == "append":
        bench.disk.fail_write = bench.disk.calls.count("append") + 1
    else:
        bench.disk.fail_sync = bench.disk.calls.count("sync") + 1
    with pytest.raises(Refused) as refusal:
        await bench.ask(bolus_nl(1))
    assert [one.rule for one in refusal.value.findings] == ["SR-56"]
    assert [(one.code, one.requirement) for one in bench.heard] == [("journal-latched", "SR-56")]
    assert bench.gate.state.latched == str(refusal.value)
    assert bench.gate.state.unsettled == before.unsettled
    assert bench.gate.state.reservations == before.reservations
    calls = list(bench.disk.calls)
    for _ in range(3):
        with pytest.raises(Refused) as again:
            await bench.ask(bolus_nl(1))
        assert [one.rule for one in again.value.findings] == ["SR-56"]
    epoch = bench.gate.state.epoch
    await bench.gate.tell(Stopped(instant(4), "hold", True))
    assert bench.gate.state.epoch == epoch + 1
    assert bench.disk.calls == calls, "nothing is tried again"
    assert len(bench.heard) == 1


@pytest.mark.requirement("SR-56")
async def test_a_note_that_cannot_be_written_latches_too_and_the_refusal_keeps_its_reason(
    bench: Bench,
) -> None:
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    with pytest.raises(Refused, match="SR-05"):
        await bench.ask(bolus_nl(5_001))
    assert bench.gate.state.latched is not None
    with pytest.raises(Refused) as again:
        await bench.ask(bolus_nl(1))
    assert [one.rule for one in again.value.findings] == ["SR-56"]
    assert [one.code for one in bench.heard] == ["journal-latched"]


async def test_what_happened_is_known_even_if_it_cannot_be_written(bench: Bench) -> None:
    clearance = await bench.ask(bolus_nl(1))
    bench.disk.fail_write = bench.disk.calls.count("append") + 1
    await bench.gate.tell(Settled(instant(1), clearance.intent_id, "delivered", "a test"))
    assert bench.gate.state.unsettled == ()
    assert bench.gate.state.latched is not None


@pytest.mark.requirement("SR-56")
async def test_a_latch_from_outside_refuses_with_its_reason_and_keeps_the_first_one(
    bench: Bench,
) -> None:
    await bench.gate.latch("entry 3 is missing", instant(5))
    await bench.gate.latch("something else", instant(6))
    with pytest.raises(Refused, match="entry 3 is missing"):
        await bench.ask(bolus_nl(1))
    assert [one.text for one in bench.heard] == ["entry 3 is missing"]


@pytest.mark.requirement("SR-56")
async def test_nothing_is_written_to_a_journal_that_is_not_trusted(bench: Bench) -> None:
    before = bench.disk.read()
    await bench.gate.latch("the journal cannot be trusted: it belongs to ITP-9", instant(5))
    await bench.gate.tell(connected())
    await bench.gate.tell(Settled(instant(6), 1, "refused", "this device never saw it"))
    assert bench.disk.read() == before


@pytest.mark.requirement("SR-56")
async def test_an_older_copy_is_still_found_after_a_stop_and_a_restart(bench: Bench) -> None:
    await bench.gate.settle()
    older = FaultyDisk(bench.disk.synced)
    await bench.ask(bolus_nl(5_000))
    await bench.gate.settle()
    again = Bench(bench.folder, older)
    found = open_journal(older, again.anchor)
    assert found.problem is not None
    await again.gate.latch(found.problem, instant(6))
    await again.gate.tell(Stopped(instant(7), "hold", True))
    await again.gate.settle()
    assert open_journal(older, again.anchor).problem == found.problem


# --- a caller that is cancelled ------------------------------------------------------------------


async def cancelled_while_writing(tmp_path: Path, thread: HeldThread) -> Bench:
    """A bolus whose caller is cancelled while a worker thread brings its intent to the disk."""
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, thread, ids=90)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(5_000)))
    await thread.begun.wait()
    asking.cancel()
    await asyncio.sleep(1)
    asking.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    with pytest.raises(asyncio.CancelledError):
        await asking
    return bench


@pytest.mark.requirement("SR-14")
async def test_an_intent_that_reaches_the_disk_after_its_caller_was_cancelled_counts(
    tmp_path: Path,
) -> None:
    bench = await cancelled_while_writing(tmp_path, HeldThread())
    assert isinstance(parse(bench.disk.power_cut().read()).events[-1], Intended)
    bench.assert_state_is_the_disks()
    with pytest.raises(Refused, match="SR-23"):
        await bench.ask(bolus_nl(1))


async def test_a_caller_cancelled_before_its_turn_leaves_no_trace(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, thread, ids=90)
    first = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    second = asyncio.ensure_future(bench.ask(bolus_nl(2)))
    await asyncio.sleep(1)
    second.cancel()
    await thread.finish()
    assert isinstance(await first, Clearance)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert sum(isinstance(one, Intended) for one in bench.on_disk()) == 2
    bench.assert_state_is_the_disks()


@pytest.mark.requirement("SR-56")
async def test_a_cancelled_caller_is_cancelled_also_when_the_disk_fails(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    bench.disk.fail_sync = bench.disk.calls.count("sync") + 1
    thread = HeldThread()
    bench = Bench(tmp_path, bench.disk, thread, ids=90)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    asking.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    result = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert bench.gate.state.latched is not None
    assert isinstance(result, asyncio.CancelledError)


class SlowDisk(FaultyDisk):
    """Writes the bytes of an intent, then waits before it says so, as a thread may."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.written = threading.Event()
        self.go_on = threading.Event()
        self.slow = True

    def append(self, data: bytes) -> None:
        super().append(data)
        if self.slow:
            self.slow = False
            self.written.set()
            assert self.go_on.wait(10)


@pytest.mark.real_clock
@pytest.mark.requirement("SR-56")
async def test_a_real_thread_that_writes_for_a_cancelled_caller_breaks_no_chain(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    await bench.begin()
    await bench.gate.settle()
    disk, clock = SlowDisk(bench.disk.synced), RealClock()
    try:
        bench = Bench(tmp_path, disk, clock.offload, ids=90)
        asking = asyncio.ensure_future(bench.ask(bolus_nl(5_000)))
        await asyncio.to_thread(disk.written.wait, 10)
        asking.cancel()
        telling = asyncio.ensure_future(bench.gate.tell(Stopped(instant(4), "hold", True)))
        for _ in range(20):
            await asyncio.sleep(0)
        disk.go_on.set()
        results = await asyncio.gather(asking, telling, return_exceptions=True)
    finally:
        disk.go_on.set()
        clock.close()
    assert isinstance(results[0], asyncio.CancelledError)
    assert [type(one) for one in bench.on_disk()[-2:]] == [Intended, Stopped]
    bench.assert_state_is_the_disks()


@pytest.mark.requirement("SR-56")
async def test_a_settling_that_was_cancelled_keeps_others_out_until_it_is_done(
    tmp_path: Path,
) -> None:
    thread = HeldThread()
    bench = Bench(tmp_path)
    await bench.begin()
    bench = Bench(tmp_path, bench.disk, thread, ids=90)
    settling = asyncio.ensure_future(bench.gate.settle())
    await thread.begun.wait()
    settling.cancel()
    await asyncio.sleep(1)
    telling = asyncio.ensure_future(bench.gate.tell(settled(1)))
    await asyncio.sleep(1)
    was_let_in = telling.done()
    await thread.finish()
    await asyncio.gather(settling, telling, return_exceptions=True)
    assert not was_let_in
