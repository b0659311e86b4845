"""The gate: nothing passes before it is on the disk, and what is on the disk is never forgotten."""

import asyncio
import threading
from pathlib import Path

import pytest
from disk_bench import FaultyDisk, connected, intended, settled
from gate_bench import ROOM_FOR_ONE, AtOnce, Bench, HeldThread, begun
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import bolus_nl, instant, pump_case

from device_profiles.errors import Refused
from device_profiles.quantities import NanoLitres
from firmware_bridge.clock import RealClock
from safety.alarms import Alarm
from safety.clearance import Clearance
from safety.commands import Override
from safety.events import (
    Cleared,
    Counted,
    Event,
    Found,
    Intended,
    Raised,
    Rejected,
    Settled,
    Stopped,
)
from safety.journal import JournalError, parse
from safety.kernel import Ask
from safety.opening import open_journal


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
    assert recorded.outputs == (bolus_nl(5_001).bolus,)
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


async def test_everything_told_is_recorded_and_an_alarm_is_heard_once(bench: Bench) -> None:
    alarm = Alarm("a", "HIGH", "SR-54", "b")
    await bench.gate.tell(Raised(instant(3), alarm))
    await bench.gate.tell(Stopped(instant(4), "hold", True))
    assert bench.heard == [alarm]
    assert bench.on_disk()[-2:] == [Raised(instant(3), alarm), Stopped(instant(4), "hold", True)]
    bench.assert_state_is_the_disks()


async def test_a_plan_is_judged_without_leaving_a_trace(bench: Bench) -> None:
    before, state = bench.disk.read(), bench.gate.state
    ask = Ask(instant(0), 5, bolus_nl(5_001), "BENCH-012", seen=instant(0).fast)
    assert {one.rule for one in bench.gate.judge_once_stopped(ask)} == {"SR-05", "SR-14"}
    assert (bench.disk.read(), bench.gate.state) == (before, state)


# --- one after the other -------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-23")
@pytest.mark.fault("F81")
async def test_of_two_boluses_that_are_legal_alone_only_one_is_admitted(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    tasks = [asyncio.ensure_future(bench.ask(bolus_nl(3_000))) for _ in range(2)]
    await thread.begun.wait()
    await asyncio.sleep(1)
    assert not any(task.done() for task in tasks)
    await thread.finish()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, Clearance) for one in results] == [True, False]
    assert isinstance(results[1], Refused)
    # Nobody knows yet what became of the first, so that every reason stands.
    assert {one.rule for one in results[1].findings} == {"SR-14", "SR-15", "SR-23"}
    bench.assert_state_is_the_disks()


async def test_what_is_told_waits_for_an_intent_on_its_way_to_the_disk(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    telling = asyncio.ensure_future(bench.gate.tell(Stopped(instant(4), "hold", True)))
    await asyncio.sleep(1)
    assert not telling.done()
    await thread.finish()
    await asyncio.gather(asking, telling)
    assert bench.kinds(2) == ["intended", "stopped"]
    bench.assert_state_is_the_disks()


# --- a journal that fails ------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
@pytest.mark.fault("F72")
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
    assert bench.gate.state.latched == refusal.value.findings[0].message
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
    await bench.gate.settle()
    assert bench.disk.calls == calls, "nothing is tried again"
    assert len(bench.heard) == 1


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
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
    await bench.settle(clearance)
    assert bench.gate.state.unsettled == ()
    assert bench.gate.state.latched is not None


@pytest.mark.fault("F70")
@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), ValueError("odd")])
async def test_whatever_breaks_while_an_intent_is_written_latches_and_sends_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(bench.disk, "sync", fail)
    with pytest.raises(Refused) as refusal:
        await bench.ask(bolus_nl(1))
    assert [one.rule for one in refusal.value.findings] == ["SR-56"]
    assert "the journal could not be written" in str(bench.gate.state.latched)


@pytest.mark.parametrize("error", [MemoryError(), ValueError("odd")])
async def test_whatever_breaks_while_a_note_is_written_latches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(data: bytes) -> None:
        raise error

    monkeypatch.setattr(bench.disk, "append", fail)
    await bench.gate.tell(settled(77))
    assert bench.gate.state.latched == (str(error) or repr(error))


@pytest.mark.requirement("SR-57")
async def test_words_that_the_journal_cannot_hold_are_refused_and_latch_nothing(
    bench: Bench,
) -> None:
    before = bench.disk.read()
    for reason in ("half a character \udc80", "x" * 2_000_000):
        with pytest.raises(Refused, match="SR-56") as refusal:
            await bench.ask(bolus_nl(1), Override(("SR-99",), "nurse", reason))
        assert refusal.value.findings[0].hint == "say it in fewer, plainer words"
    assert bench.disk.read() == before
    assert bench.gate.state.latched is None
    assert isinstance(await bench.ask(bolus_nl(1)), Clearance)
    with pytest.raises(Refused, match="SR-23"):
        await bench.ask(bolus_nl(1), Override(("SR-99",), "nurse", "half a character \udc80"))
    assert bench.kinds(1) == ["rejected"]
    assert bench.gate.state.latched is None


@pytest.mark.requirement("SR-56")
async def test_a_latch_from_outside_refuses_with_its_reason_and_keeps_the_first_one(
    bench: Bench,
) -> None:
    await bench.gate.distrust("entry 3 is missing", instant(5))
    await bench.gate.distrust("something else", instant(6))
    with pytest.raises(Refused, match="entry 3 is missing"):
        await bench.ask(bolus_nl(1))
    assert [one.text for one in bench.heard] == ["entry 3 is missing"]


@pytest.mark.requirement("SR-56")
async def test_nothing_is_written_to_a_journal_that_is_not_trusted(bench: Bench) -> None:
    before = bench.disk.read()
    await bench.gate.distrust("the journal cannot be trusted: it belongs to ITP-9", instant(5))
    await bench.gate.tell(connected())
    await bench.gate.tell(Settled(instant(6), 1, "refused", "this device never saw it"))
    await bench.gate.settle()
    assert bench.disk.read() == before


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
async def test_an_older_copy_is_still_found_after_a_stop_and_a_restart(bench: Bench) -> None:
    await bench.gate.settle()
    older = FaultyDisk(bench.disk.synced)
    await bench.ask(bolus_nl(5_000))
    await bench.gate.settle()
    again = Bench(bench.folder, older)
    found = again.opened()
    assert found.problem is not None
    await again.gate.distrust(found.problem, instant(6))
    await again.gate.tell(Stopped(instant(7), "hold", True))
    await again.gate.settle()
    assert open_journal(older, again.anchor).problem == found.problem


# --- going on without a journal ------------------------------------------------------------------


@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F71")
@pytest.mark.fault("F72")
@pytest.mark.parametrize("call", ["append", "sync"])
async def test_a_verified_basal_goes_on_though_the_disk_fails_just_now(
    bench: Bench, call: str
) -> None:
    if call == "append":
        bench.disk.fail_write = bench.disk.calls.count("append") + 1
    else:
        bench.disk.fail_sync = bench.disk.calls.count("sync") + 1
    clearance = await bench.ask(ROOM_FOR_ONE.command)
    assert clearance.outputs == (ROOM_FOR_ONE.program,)
    assert [one.id for one in bench.gate.state.unsettled] == [clearance.intent_id]
    await bench.settle(clearance)
    assert bench.gate.state.unsettled == ()
    assert isinstance(await bench.ask(ROOM_FOR_ONE.command), Clearance)
    with pytest.raises(Refused, match="SR-56"):
        await bench.ask(pump_case(((0, 7 * 24_000),)).command)
    assert [one.code for one in bench.heard] == ["journal-latched"]


@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F73")
async def test_where_the_past_is_lost_what_the_pump_was_found_with_goes_on(bench: Bench) -> None:
    await bench.gate.distrust("the file was deleted", instant(5))
    with pytest.raises(Refused, match="SR-56"):
        await bench.ask(ROOM_FOR_ONE.command)
    await bench.gate.tell(Found(instant(6), ROOM_FOR_ONE.program))
    assert isinstance(await bench.ask(ROOM_FOR_ONE.command), Clearance)
    with pytest.raises(Refused, match="SR-56"):
        await bench.ask(bolus_nl(1))


# --- a caller that is cancelled ------------------------------------------------------------------


async def cancelled_while_writing(tmp_path: Path, thread: HeldThread) -> Bench:
    """A bolus whose caller is cancelled while a worker thread brings its intent to the disk."""
    bench = await begun(tmp_path, thread)
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
@pytest.mark.fault("F67")
@pytest.mark.fault("F78")
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
    bench = await begun(tmp_path, thread)
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
@pytest.mark.fault("F72")
async def test_a_cancelled_caller_is_cancelled_also_when_the_disk_fails(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    bench.disk.fail_sync = bench.disk.calls.count("sync") + 1
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    asking.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    result = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert bench.gate.state.latched is not None
    assert isinstance(result, asyncio.CancelledError)


async def test_what_was_told_is_written_though_its_teller_is_cancelled(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    telling = asyncio.ensure_future(bench.gate.tell(Stopped(instant(4), "hold", True)))
    await thread.begun.wait()
    telling.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert bench.kinds(1) == ["stopped"]
    bench.assert_state_is_the_disks()


class SlowDisk(FaultyDisk):
    """Writes the bytes of an intent, then waits before it says so, as a thread may."""

    def __init__(self) -> None:
        super().__init__()
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
@pytest.mark.fault("F78")
async def test_a_real_thread_that_writes_for_a_cancelled_caller_breaks_no_chain(
    tmp_path: Path,
) -> None:
    disk, clock = SlowDisk(), RealClock()
    try:
        bench = await begun(tmp_path, clock, disk)
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
    assert bench.kinds(2) == ["intended", "stopped"]
    bench.assert_state_is_the_disks()


@pytest.mark.requirement("SR-56")
async def test_a_settling_that_was_cancelled_keeps_others_out_until_it_is_done(
    tmp_path: Path,
) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
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


# --- alarms --------------------------------------------------------------------------------------


@pytest.mark.fault("F79")
async def test_an_alarm_that_cannot_be_sounded_is_recorded_with_an_alarm_of_its_own(
    tmp_path: Path,
) -> None:
    def broken(alarm: Alarm) -> None:
        raise BrokenPipeError("nobody reads")

    bench = Bench(tmp_path, sound=broken)
    await bench.begin()
    alarm = Alarm("over-delivery", "HIGH", "SR-54", "too much")
    await bench.gate.tell(Raised(instant(3), alarm))
    raised = [event.alarm for event in bench.on_disk() if isinstance(event, Raised)]
    assert [one.code for one in raised] == ["over-delivery", "unheard"]
    assert "over-delivery could not be told to people: BrokenPipeError" in raised[1].text
    assert [one.alarm.code for one in bench.gate.state.alarms] == ["over-delivery", "unheard"]
    bench.assert_state_is_the_disks()


async def test_who_follows_has_every_entry_once(bench: Bench) -> None:
    heard: list[Event] = []
    before = parse(await bench.gate.follow(heard.append)).events
    await bench.settle(await bench.ask(bolus_nl(1)))
    with pytest.raises(Refused):
        await bench.ask(bolus_nl(10**9))
    assert [*before, *heard] == bench.on_disk()
    assert [event.kind for event in heard] == ["intended", "settled", "rejected"]


async def test_who_follows_a_disk_that_cannot_be_read_begins_with_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(bench.disk, "read", fail)
    assert await bench.gate.follow(lambda event: None) == b""


@pytest.mark.fault("F79")
async def test_a_follower_that_fails_has_no_effect_but_an_alarm(bench: Bench) -> None:
    def broken(event: Event) -> None:
        if event.kind == "settled":
            raise ConnectionError("the monitor is gone")

    await bench.gate.follow(broken)
    await bench.settle(await bench.ask(bolus_nl(1)))
    await bench.gate.tell(Cleared(instant(0), "x"))
    assert bench.gate.state.unsettled == ()
    assert "the entry settled could not be told" in bench.gate.state.alarms[-1].alarm.text
    assert bench.kinds(4) == ["intended", "settled", "raised", "cleared"]
    bench.assert_state_is_the_disks()


@pytest.mark.requirement("SR-55")
async def test_an_alarm_is_heard_while_the_disk_hangs(tmp_path: Path) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    alarm = Alarm("over-delivery", "HIGH", "SR-54", "too much")
    telling = asyncio.ensure_future(bench.gate.tell(Raised(instant(4), alarm)))
    await asyncio.sleep(0)
    assert bench.heard == [alarm]
    await thread.finish()
    await asyncio.gather(asking, telling)
    assert bench.heard == [alarm]
    bench.assert_state_is_the_disks()


# --- any order of anything -----------------------------------------------------------------------

STEPS = st.lists(st.sampled_from(["bolus", "settle", "count", "refuse", "stop", "alarm"]))


@pytest.mark.requirement("SR-56")
@given(STEPS, st.integers(0, 30), st.integers(0, 30))
def test_the_state_is_always_the_fold_of_the_chain_or_latched(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], fail_write: int, fail_sync: int
) -> None:
    async def live() -> None:
        disk = FaultyDisk(fail_write=fail_write, fail_sync=fail_sync)
        bench = Bench(tmp_path_factory.mktemp("gate"), disk, AtOnce())
        try:
            await bench.begin()
        except Refused:
            return
        for number, one in enumerate(steps):
            await do(bench, one, number)
            if bench.gate.state.latched is None:
                bench.assert_state_is_the_disks()

    asyncio.run(live())


async def do(bench: Bench, one: str, number: int) -> None:
    try:
        match one:
            case "bolus":
                await bench.ask(bolus_nl(1))
            case "settle":
                await bench.gate.tell(Settled(instant(0), bench.ids, "refused", ""))
            case "count":
                event = Counted(instant(0), bench.ids, "executed", NanoLitres(number))
                await bench.gate.tell(event)
            case "refuse":
                await bench.ask(bolus_nl(10**9))
            case "stop":
                await bench.gate.tell(Stopped(instant(0), "hold", True))
            case _:
                await bench.gate.tell(Raised(instant(0), Alarm(one, "LOW", "SR-54", "b")))
    except (Refused, JournalError):
        pass


def test_an_intent_of_this_bench_is_one_that_a_gate_may_hold() -> None:
    assert intended(1).command == "give-bolus"
