"""Faults of time and of the process, each by the words of its row in the register."""

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

from device_profiles.errors import Refused
from device_profiles.notation import parse_duration
from device_profiles.quantities import MicroAmps
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import SetAmplitude
from firmware_bridge.families.table import AnyController
from firmware_bridge.protocol.messages import Message


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
