"""A caller that is cancelled while the disk writes: what was written counts all the same."""

import asyncio
import threading
from pathlib import Path

import pytest
from disk_bench import FaultyDisk, settled
from gate_bench import Bench, HeldThread, begun
from kernel_bench import bolus_nl, instant

from device_profiles.errors import Refused
from firmware_bridge.clock import RealClock
from safety.clearance import Clearance
from safety.commands import Override
from safety.events import (
    Intended,
    Stopped,
)
from safety.journal import parse

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


async def test_a_cancelled_caller_is_cancelled_also_when_its_words_cannot_be_held(
    tmp_path: Path,
) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    odd = Override(("SR-99",), "nurse", "half a character \udc80")
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1), odd))
    await thread.begun.wait()
    asking.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert bench.gate.state.latched is None


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
