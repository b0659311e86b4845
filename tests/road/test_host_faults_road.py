"""Faults of time and of the process, each by the words of its row in the register."""

import asyncio

import pytest
from road_bench import (
    DOSE,
    HOUR,
    apply,
    bolus,
    failure,
    rise,
    road,
    rules,
    start,
)
from road_bench import both_lines as both_lines

from device_profiles.errors import DeviceFault, Refused
from device_profiles.notation import parse_duration
from device_profiles.quantities import MicroAmps
from firmware_bridge.clock import NS_PER_S, VirtualLoop
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import SetAmplitude
from firmware_bridge.families.table import AnyController
from firmware_bridge.protocol.messages import Commit, Message


async def dose(controller: AnyController) -> None:
    """A bolus, or more current than before."""
    if isinstance(controller, PumpController):
        await bolus(controller)
    else:
        assert isinstance(controller, StimulatorController)
        await controller.set_amplitude(1, MicroAmps(4_300))


# --- time ----------------------------------------------------------------------------------------

LOCKOUT_S = 65
"""From a bolus to the next: a minute of the device's lockout and the time on the way."""


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F57")
async def test_a_host_that_slept_an_hour_in_a_lockout_has_waited_for_nothing() -> None:
    """The device's clock went on meanwhile; only the host's own says that it was away."""
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await controller.bolus(DOSE, parse_duration("30 s"))
        await rise(32)
        bench.clock.sleep_host(HOUR)  # type: ignore[attr-defined]
        bench.runner.inject("clock_drift")
        assert "SR-15" in rules(await failure(bolus(controller)))
        assert ("clock-jump", "LOW") in bench.codes
        await rise(2 * LOCKOUT_S)
        assert (await bolus(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F59")
async def test_fifty_restarts_in_a_lockout_earn_no_credit() -> None:
    """The wall clock says each time that hours have gone by."""
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await bolus(controller)
        for _ in range(50):
            await controller.close()
            bench.clock.shift_wall(HOUR)  # type: ignore[attr-defined]
            controller = await bench.pump()
            assert "SR-15" in rules(await failure(bolus(controller)))
        assert bench.device.done("bolus of") == 1


# --- the process ---------------------------------------------------------------------------------


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F70")
@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), ValueError("odd")])
@pytest.mark.parametrize("family", ["pump", "stimulator"])
async def test_whatever_breaks_after_the_first_byte_leaves_the_dose_held(
    family: str, error: Exception
) -> None:
    async with road(family) as bench:
        controller = await bench.connect()
        await apply(controller)
        kind: type[Message] = Bolus
        if isinstance(controller, StimulatorController):
            await start(controller)
            kind = SetAmplitude

        def break_down(request: Message) -> None:
            if isinstance(request, kind):
                raise error

        bench.link.after_write = break_down
        with pytest.raises(type(error)):
            await dose(controller)
        intent = max(bench.intents())
        assert [one.id for one in controller.state.unsettled] == [intent]
        bench.link.after_write = lambda _: None
        assert isinstance(await failure(dose(controller)), Refused)
        assert bench.device.frames_of(intent) == 1
        await bench.connect()
        assert bench.intents()[intent] == "delivered"
        assert bench.device.frames_of(intent) == 1


@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F65")
@pytest.mark.fault("F69")
@pytest.mark.parametrize("family", ["pump", "stimulator"])
async def test_a_process_stopped_for_ten_minutes_sends_nothing_of_what_it_had_decided(
    family: str,
) -> None:
    """It stands still between the durable intent and the first byte."""
    async with road(family) as bench:
        controller = await bench.connect()
        await apply(controller)
        if isinstance(controller, StimulatorController):
            await start(controller)
        loop, sync = asyncio.get_running_loop(), bench.disk.sync
        assert isinstance(loop, VirtualLoop)

        def stand_still() -> None:
            sync()
            bench.disk.sync = sync  # type: ignore[method-assign]
            loop.now_ns += 600 * NS_PER_S

        bench.disk.sync = stand_still  # type: ignore[method-assign]
        written = len(bench.link.requests)
        error = await failure(dose(controller))
        assert "it waited for more than 5000 ms" in str(error)
        sent = bench.link.requests[written:]
        assert not any(isinstance(one, Bolus | SetAmplitude) for one in sent)
        assert bench.intents()[max(bench.intents())] == "refused"
        if isinstance(controller, StimulatorController):
            assert (await controller.sample()).safe, "its lease is over"
            with pytest.raises(DeviceFault, match="lease"):
                await controller.keep_alive()


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F94")
@pytest.mark.parametrize("family", ["pump", "stimulator"])
async def test_a_commit_that_a_dead_host_left_open_counts_only_once_it_was_read_back_equal(
    family: str,
) -> None:
    async with road(family) as bench:
        controller = await bench.connect()
        task = asyncio.ensure_future(failure(apply(controller)))
        bench.link.after_write = lambda sent: bool(isinstance(sent, Commit) and task.cancel())
        with pytest.raises(asyncio.CancelledError):
            await task
        intent = max(bench.intents())
        assert bench.intents()[intent] == "open"
        await rise(1)
        await bench.die()
        bench.runner.inject("read_back_differs")
        again = await bench.connect()
        assert bench.device.outcome(intent) == "executed"
        assert bench.intents()[intent] != "delivered"
        assert ("program-differs", "HIGH") in bench.codes
        assert isinstance(await failure(dose(again)), Refused)
        assert (await apply(again)).outcome == "delivered"
