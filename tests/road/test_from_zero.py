"""What ended an output without a person's doing, and the way back, which begins at 0 mA."""

from dataclasses import replace

import pytest
from road_bench import (
    Road,
    apply,
    current,
    failure,
    flowing,
    kept_alive,
    peak,
    program_stimulator,
    programs,
    rise,
    road,
    rules,
)

from device_profiles.errors import DeviceFault, Refused
from device_profiles.quantities import MicroAmps
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import SetAmplitude, Start
from safety.events import Cleared, Raised, Stopped

AMPLITUDE, RAMP_MS = 4_200, 3_000
ENDED_BY = ("magnet", "mri_mode", "reset", "battery_low")
CODES = {"magnet": "magnet", "mri_mode": "mri-mode", "battery_low": "battery-low"}


async def running(bench: Road) -> StimulatorController:
    """A stimulator whose program flows at its amplitude."""
    controller = await bench.stimulator()
    await apply(controller)
    await controller.measure()
    await controller.start(controller.program_named("walking"))
    async with kept_alive(controller):
        await rise(4)
    assert flowing(bench.truth.lines)["E3"] == -AMPLITUDE
    return controller


async def begin(controller: StimulatorController, *, from_zero: bool) -> None:
    await controller.measure()
    await controller.start(controller.program_named("walking"), from_zero=from_zero)


def end_by(bench: Road, fault: str) -> None:
    """Ends the output; the cause itself is over, so that only its memory is left."""
    bench.runner.inject(fault)
    if fault == "battery_low":
        bench.runner.inject("reset")
    bench.runner.step()


@pytest.mark.requirement("SR-50")
@pytest.mark.requirement("SR-31")
@pytest.mark.parametrize("fault", ENDED_BY)
async def test_after_an_output_that_nobody_ended_the_next_host_begins_at_zero(fault: str) -> None:
    async with road("stimulator") as bench:
        await running(bench)
        end_by(bench, fault)
        await bench.die()
        await rise(3)
        assert flowing(bench.truth.lines) == {}
        controller = await bench.stimulator()
        bench.runner.inject("heal")
        mark = len(bench.truth.lines)
        error = await failure(begin(controller, from_zero=False))
        assert rules(error) == {"SR-50"}
        assert isinstance(error, Refused)
        assert "--from-zero" in str(error.findings[0].hint)
        assert bench.link.count(Start) == 0

        await begin(controller, from_zero=True)
        async with kept_alive(controller):
            await rise(10)
            assert (await controller.sample()).state == "on"
            assert peak(bench.truth.lines[mark:]) == 0
            began = bench.device.t_ms
            await controller.set_amplitude(None, MicroAmps(1_000))
            await rise(5)
            assert flowing(bench.truth.lines)["E3"] == -1_000
        assert bench.link.count(SetAmplitude) == 1
        for time, amplitude in current(bench.truth.lines[mark:], "E3"):
            if time > began:
                assert -amplitude * RAMP_MS <= AMPLITUDE * (time - began)

        await controller.stop("hold")
        await begin(controller, from_zero=False)  # it was a person who ended it this time
        await rise(1)
        assert flowing(bench.truth.lines)


@pytest.mark.requirement("SR-50")
@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize("fault", CODES)
async def test_what_a_device_shows_on_connecting_is_raised_once_and_ends_when_it_is_over(
    fault: str,
) -> None:
    async with road("stimulator") as bench:
        await apply(await bench.stimulator())
        bench.runner.inject(fault)
        await bench.die()
        for _ in range(3):
            await bench.stimulator()
            await bench.die()
        assert [one.alarm.code for one in bench.told(Raised)] == [CODES[fault]]
        bench.runner.inject("heal")
        bench.runner.inject("reset")
        await bench.stimulator()
        assert [one.code for one in bench.told(Cleared)] == [CODES[fault]]
        bench.runner.inject(fault)
        await bench.die()
        await bench.stimulator()
        assert [one.alarm.code for one in bench.told(Raised)] == [CODES[fault]] * 2


@pytest.mark.requirement("SR-50")
async def test_a_magnet_between_two_requests_is_noticed_before_the_next_start() -> None:
    """Nobody watches here: the start's own look finds it."""
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("magnet")
        await rise(1)
        assert rules(await failure(begin(controller, from_zero=False))) == {"SR-50"}
        await begin(controller, from_zero=True)
        bench.runner.inject("magnet")  # once more, the board still holding the first one
        await rise(1)
        assert rules(await failure(begin(controller, from_zero=False))) == {"SR-50"}


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F115")
async def test_a_battery_that_ran_low_ends_nothing_and_a_persons_stop_is_a_persons_stop() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("battery_low")
        async with kept_alive(controller):
            await controller.set_amplitude(None, MicroAmps(4_300))
            await rise(2)
            assert flowing(bench.truth.lines)["E3"] == -4_300
        await controller.stop("hold")
        assert isinstance(await failure(begin(controller, from_zero=False)), DeviceFault)
        bench.runner.inject("heal")
        await begin(controller, from_zero=False)


@pytest.mark.requirement("SR-50")
@pytest.mark.parametrize("fault", CODES)
async def test_what_came_while_the_output_was_off_has_ended_nothing(fault: str) -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        await controller.stop("hold")
        await bench.die()
        bench.runner.inject(fault)
        controller = await bench.stimulator()
        bench.runner.inject("heal")
        await begin(controller, from_zero=False)


@pytest.mark.requirement("SR-50")
@pytest.mark.requirement("SR-27")
async def test_a_restart_that_the_running_host_sees_is_remembered_by_the_next_one() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("reset")
        assert (await controller.sample()).state == "off"
        assert controller.state.running is None
        assert [one.depth for one in bench.told(Stopped)] == []
        await bench.die()
        controller = await bench.stimulator()
        assert rules(await failure(begin(controller, from_zero=False))) == {"SR-50"}


@pytest.mark.requirement("SR-50")
@pytest.mark.parametrize("fault", ["magnet", "mri_mode", "reset"])
async def test_a_stop_that_comes_after_the_end_does_not_hide_it(fault: str) -> None:
    """A run's own clean-up is the first to hear of it."""
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject(fault)
        await controller.make_safe("hold")
        await bench.die()
        controller = await bench.stimulator()
        bench.runner.inject("heal")
        assert rules(await failure(begin(controller, from_zero=False))) == {"SR-50"}


@pytest.mark.requirement("SR-50")
async def test_what_a_person_ended_or_a_lease_starts_again_as_before() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        await controller.stop("hold")
        bench.runner.inject("reset")  # a device that is switched off over night
        await bench.die()
        controller = await bench.stimulator()
        await begin(controller, from_zero=False)
        await rise(5)
        assert flowing(bench.truth.lines) == {}  # nobody kept the lease
        await begin(controller, from_zero=False)


@pytest.mark.requirement("SR-50")
async def test_a_program_of_several_areas_begins_at_zero_in_each() -> None:
    one = programs()[0]
    two = replace(one, areas=one.areas * 2)
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller, program_stimulator(two))
        await begin(controller, from_zero=True)
        assert controller.state.running is not None
        assert controller.state.running.amplitudes == (0, 0)
        async with kept_alive(controller):
            await rise(4)
            assert flowing(bench.truth.lines) == {}
            await controller.set_amplitude(2, MicroAmps(500))
            await rise(2)
            assert flowing(bench.truth.lines)["E3"] == -500
