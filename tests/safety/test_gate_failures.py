"""A journal that fails or is not trusted: it latches, stopping and going on still work."""

from pathlib import Path

import pytest
from disk_bench import FaultyDisk, connected, settled
from gate_bench import ROOM_FOR_ONE, Bench
from kernel_bench import bolus_nl, instant, pump_case

from device_profiles.errors import Refused
from safety.clearance import Clearance
from safety.commands import Override
from safety.events import (
    Found,
    Settled,
    Stopped,
)
from safety.opening import open_journal


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    await bench.begin()
    return bench


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
