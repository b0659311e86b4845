"""The gate: nothing passes before it is on the disk, and what is on the disk is never forgotten."""

import asyncio
from pathlib import Path

import pytest
from disk_bench import FaultyDisk, intended
from gate_bench import AtOnce, Bench, HeldThread, begun
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import bolus_nl, instant

from device_profiles.errors import Refused
from device_profiles.quantities import NanoLitres
from safety.alarms import Alarm
from safety.clearance import Clearance
from safety.commands import Ask
from safety.events import (
    Cleared,
    Counted,
    Event,
    Raised,
    Rejected,
    Settled,
    Stopped,
)
from safety.journal import JournalError, parse


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
