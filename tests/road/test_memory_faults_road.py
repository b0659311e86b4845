"""A device whose memory or battery wears out: what its host makes of it, and what goes on."""

from dataclasses import replace
from typing import Any

import pytest
from road_bench import (
    BOLUS_NL,
    HOUR,
    apply,
    bolus,
    bolus_volume,
    failure,
    flowing,
    kept_alive,
    program_pump,
    program_stimulator,
    programs,
    rise,
    road,
    start,
    words_and_device_agree,
)
from road_bench import both_lines as both_lines

from device_profiles.errors import DeviceFault
from device_profiles.quantities import MicroAmps, NanoLitresPerDay
from firmware_bridge.protocol.messages import Commit, Stage
from firmware_bridge.simulator.faults import PlannedFault
from safety.events import Intended
from safety.monitor import alarms_of_device

FAMILIES = pytest.mark.parametrize("family", ["stimulator", "pump"])
HOUR_S = HOUR // 1_000


def other_command(family: str) -> Any:
    """Less than the example gives: nothing but the memory has a reason to refuse it."""
    if family == "pump":
        command = program_pump()
        low = [
            replace(step, flow=NanoLitresPerDay(step.flow - 1_000))
            for step in command.program.basal
        ]
        return replace(command, program=replace(command.program, basal=tuple(low)))
    walking, night = programs()
    (area,) = walking.areas
    return program_stimulator(
        replace(walking, areas=(replace(area, amplitude=MicroAmps(3_000)),)), night
    )


def told(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The device's own alarms as the host ranks them, for a drug that must not stop."""
    return [(alarm.code, alarm.priority) for alarm in alarms_of_device(names, "never-stop")]


# --- memory --------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F107")
@pytest.mark.parametrize("begins", ["before the staging", "at the commit"])
async def test_a_memory_error_leaves_the_verified_program_in_force_and_is_told(
    family: str, begins: str
) -> None:
    faults = [PlannedFault("memory_error", request="commit", count=2)]
    async with road(family, faults if begins == "at the commit" else []) as bench:
        controller = await bench.connect()
        await apply(controller)
        before = await controller.read_back()
        if begins == "before the staging":
            bench.runner.inject("memory_error")
        error = await failure(apply(controller, other_command(family)))
        assert isinstance(error, DeviceFault), error
        assert "memory error: it takes no program, the old one stays" in str(error)
        assert await controller.read_back() == before
        intent = bench.told(Intended)[-1].id
        assert bench.intents()[intent] == "refused"
        assert bench.device.outcome(intent) in ("refused", "unknown")
        words_and_device_agree(bench, error)
        assert told((await controller.sample()).alarms) == [("memory-error", "MEDIUM")]
        # The next host finds the same, and neither of them is in doubt.
        await bench.die()
        controller = await bench.connect()
        assert await controller.read_back() == before
        assert controller.state.unsettled == ()
        assert ("memory-error", "MEDIUM") in bench.codes


@pytest.mark.fault("F107")
async def test_a_pump_with_a_memory_error_goes_on_gives_its_bolus_and_can_be_stopped() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("memory_error")
        await failure(apply(controller, other_command("pump")))
        assert (await controller.sample()).values["flow_nL_per_day"] == 240_000
        assert (await bolus(controller)).outcome == "delivered"
        await rise(180)
        assert bolus_volume(bench) == BOLUS_NL
        assert (await controller.stop("flow")).safe


@pytest.mark.fault("F107")
async def test_a_stimulator_with_a_memory_error_starts_the_program_that_was_verified() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        bench.runner.inject("memory_error")
        await failure(apply(controller, other_command("stimulator")))
        await start(controller)
        async with kept_alive(controller):
            await rise(5)
            assert flowing(bench.truth.lines)["E3"] == -4_200
        assert (await controller.stop("policy")).safe


@FAMILIES
@pytest.mark.fault("F107")
async def test_a_memory_error_outlives_a_restart_and_ends_when_the_device_is_mended(
    family: str,
) -> None:
    async with road(family) as bench:
        await apply(await bench.connect())
        bench.runner.inject("memory_error")
        bench.runner.inject("reset")
        controller = await bench.connect()
        staged = bench.link.count(Stage)
        assert isinstance(await failure(apply(controller, other_command(family))), DeviceFault)
        assert bench.link.count(Stage) == staged + 1
        assert bench.link.count(Commit) == 0
        bench.runner.inject("heal")
        assert (await apply(controller, other_command(family))).outcome == "delivered"


# --- the end of a pump's battery -----------------------------------------------------------------


@pytest.mark.fault("F106")
async def test_a_pump_whose_battery_is_due_for_replacement_says_so_and_goes_on() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("battery_eri")
        await rise(HOUR_S)
        sample = await controller.sample()
        assert told(sample.alarms) == [("elective-replacement", "LOW")]
        assert sample.delivering
        assert (await bolus(controller)).outcome == "delivered"
        await rise(180)
        assert bolus_volume(bench) == BOLUS_NL
        await bench.die()
        await bench.pump()
        assert ("elective-replacement", "LOW") in bench.codes


@pytest.mark.requirement("SR-30")
@pytest.mark.fault("F106")
async def test_a_pump_at_its_end_of_service_is_a_high_alarm_and_nothing_flows_or_starts() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await rise(HOUR_S)
        assert (await bolus(controller)).outcome == "delivered"
        await rise(60)  # half of it
        bench.runner.inject("battery_end")
        sample = await controller.sample()
        assert told(sample.alarms) == [("end-of-service", "HIGH")]
        assert (sample.safe, sample.delivering) == (False, False)
        assert bench.device.outcome(bench.told(Intended)[-1].id) == "interrupted"
        gone = bench.device.machine.firmware.body.delivered
        await rise(24 * HOUR_S)
        assert not bench.runner.press()
        for step in (bolus(controller), apply(controller, other_command("pump"))):
            error = await failure(step)
            assert isinstance(error, DeviceFault), error
            assert "the battery is at its end of service" in str(error)
        await rise(HOUR_S)
        assert bench.device.machine.firmware.body.delivered == gone
        words_and_device_agree(bench, None)
        await bench.die()
        controller = await bench.pump()
        assert ("end-of-service", "HIGH") in bench.codes
        sample = await controller.sample()
        assert (sample.safe, sample.delivering) == (False, False)
        assert await failure(bolus(controller)) is not None
        # A stop is confirmed: it ends what was asked for, whatever the battery had ended before.
        assert (await controller.stop("flow")).safe
