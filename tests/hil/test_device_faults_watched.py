"""A stimulator that does not follow, drifts, leaks, is plugged otherwise or runs down."""

import sys
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from device_profiles.errors import DeviceFault, Refused, Uncertain
from device_profiles.quantities import MicroAmps, Microseconds, Percent
from device_profiles.therapy import ElectrodeShare

sys.path.append(str(Path(__file__).parents[1] / "road"))
from road_bench import (
    Road,
    apply,
    current,
    failure,
    flowing,
    kept_alive,
    program_stimulator,
    programs,
    rise,
    road,
    rules,
    start,
)
from road_bench import both_lines as both_lines
from test_watch import for_a_while, show

from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import Start
from firmware_bridge.simulator.faults import PlannedFault
from hil.bench import Stimulator, Truth
from hil.storm import oracle_stimulator
from hil.watch import Watch
from safety.commands import ProgramStimulator
from safety.events import Stopped

STIMULATION = Path(__file__).parents[2] / "examples" / "stimulation.yaml"
AMPLITUDE = 4_200


async def running(bench: Road) -> StimulatorController:
    """A stimulator that has reached its amplitude, on a lease that somebody must renew."""
    controller = await bench.stimulator()
    await apply(controller)
    await start(controller)
    async with kept_alive(controller):
        await rise(4)
    assert flowing(bench.truth.lines)["E3"] == -AMPLITUDE
    return controller


def steady(amplitude: int = AMPLITUDE) -> ProgramStimulator:
    """A program without a cycle between two contacts, whose charge is far below every limit."""
    walking = programs()[0]
    area = replace(
        walking.areas[0],
        electrodes=(ElectrodeShare(3, Percent(-100)), ElectrodeShare(4, Percent(100))),
        amplitude=MicroAmps(amplitude),
        ceiling=MicroAmps(amplitude),
        pulse_width=Microseconds(60),
    )
    return program_stimulator(replace(walking, areas=(area,), stimulate=0, pause=0))  # type: ignore[arg-type]


# --- an amplitude that is stuck ------------------------------------------------------------------


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F113")
async def test_a_lowering_that_does_not_lower_is_a_high_alarm_and_never_called_safe() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("amplitude_stuck")
        watch = Watch(controller, show, acts=True)
        async with kept_alive(controller):
            await for_a_while(watch, 1)
            assert bench.codes == [], "nothing is asked of it yet"
            await controller.set_amplitude(None, MicroAmps(1_000))
            with suppress(BaseExceptionGroup, Uncertain):
                await for_a_while(watch, 3)
            with suppress(Uncertain):
                await watch.finish()
        assert {("over-plan", "HIGH"), ("amplitude-stuck", "MEDIUM")} <= set(bench.codes)
        assert flowing(bench.truth.lines)["E3"] == -AMPLITUDE
        sample = await controller.sample()
        assert (sample.safe, sample.delivering) == (False, True)
        assert sample.values["area_1_amplitude_uA"] == AMPLITUDE


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F113")
async def test_a_stop_of_a_stuck_amplitude_is_uncertain_and_a_high_alarm() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("amplitude_stuck")
        error = await failure(controller.stop("policy"))
        assert isinstance(error, Uncertain), error
        assert ("stop-unconfirmed", "HIGH") in bench.codes
        assert [event.confirmed for event in bench.told(Stopped)] == [False]
        assert flowing(bench.truth.lines)["E3"] == -AMPLITUDE
        bench.runner.inject("heal")
        await rise(1)
        assert (await controller.stop("policy")).safe
        assert flowing(bench.truth.lines) == {}


@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F113")
async def test_the_next_host_finds_what_the_end_of_a_lease_could_not_end() -> None:
    async with road("stimulator") as bench:
        await running(bench)
        bench.runner.inject("amplitude_stuck")
        await bench.die()
        await rise(10)
        assert flowing(bench.truth.lines)["E3"] == -AMPLITUDE
        controller = await bench.stimulator()
        sample = await controller.sample()
        assert {"amplitude-stuck", "lease-ended"} <= set(sample.alarms)
        assert (sample.state, sample.safe) == ("falling", False)
        assert ("amplitude-stuck", "MEDIUM") in bench.codes
        assert isinstance(await failure(start(controller)), Refused | DeviceFault)
        bench.runner.inject("reset")  # only taking its power away ends it
        assert flowing(bench.truth.lines) == {}


@pytest.mark.fault("F113")
async def test_an_increase_that_does_not_come_is_told_and_shown_as_what_flows() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("amplitude_stuck")
        watch = Watch(controller, show, acts=True)
        async with kept_alive(controller):
            await controller.set_amplitude(None, MicroAmps(5_000))
            await for_a_while(watch, 4)
        assert bench.codes == [("amplitude-stuck", "MEDIUM")], "too little stops nothing"
        sample = await controller.sample()
        assert (sample.state, sample.values["area_1_amplitude_uA"]) == ("rising", AMPLITUDE)


@pytest.mark.fault("F113")
async def test_an_output_that_sticks_at_zero_is_never_shown_as_on() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        bench.runner.inject("amplitude_stuck")
        await start(controller)
        async with kept_alive(controller):
            await rise(10)
            sample = await controller.sample()
            assert (sample.state, sample.values["area_1_amplitude_uA"]) == ("rising", 0)
            assert sample.alarms == ("amplitude-stuck",)
        assert flowing(bench.truth.lines) == {}
        assert (await controller.stop("policy")).safe


# --- a battery that ran down ---------------------------------------------------------------------


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F115")
@pytest.mark.fault("F118")
async def test_after_an_overdischarge_nothing_starts_until_it_is_programmed_anew() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        bench.runner.inject("overdischarge")
        assert flowing(bench.truth.lines) == {}
        with pytest.raises(DeviceFault, match="restarted"):
            await controller.keep_alive()
        await bench.die()
        controller = await bench.stimulator()
        assert ("overdischarge", "MEDIUM") in bench.codes
        assert controller.state.programs == ()
        sent = bench.link.count(Start)
        assert isinstance(await failure(start_by_name(controller)), Refused)
        assert bench.link.count(Start) == sent
        await rise(60)
        assert flowing(bench.truth.lines) == {}
        assert (await apply(controller)).outcome == "delivered"
        assert (await controller.sample()).alarms == ()
        await controller.measure()
        program = controller.program_named("walking")
        assert "SR-50" in rules(await failure(controller.start(program)))
        await start(controller)  # from zero, since no person ended the last output
        await rise(1)
        assert flowing(bench.truth.lines)


async def start_by_name(controller: StimulatorController) -> None:
    await controller.measure()
    await controller.start(controller.program_named("walking"))


@pytest.mark.fault("F115")
async def test_an_overdischarge_in_the_middle_of_a_start_starts_nothing() -> None:
    faults = [PlannedFault("overdischarge", request="start", count=1)]
    async with road("stimulator", faults) as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await failure(start(controller))
        await rise(5)
        assert flowing(bench.truth.lines) == {}
        await bench.die()
        controller = await bench.stimulator()
        assert controller.state.unsettled == ()
        assert controller.state.running is None
        assert isinstance(await failure(start_by_name(controller)), Refused)


# --- impedances that drift -----------------------------------------------------------------------


@pytest.mark.requirement("SR-47")
@pytest.mark.fault("F111")
async def test_impedances_that_drift_are_measured_and_what_needs_more_is_refused() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller, steady(12_500))
        before = await controller.measure()
        bench.runner.inject("impedance_drift")
        after = await controller.measure()
        assert [ohms * 3 // 2 for ohms in before] == list(after)
        error = await failure(controller.start(controller.program_named("walking")))
        assert rules(error), "at half as much again 15 V do not drive 12.5 mA"
        assert bench.link.count(Start) == 0
        bench.runner.inject("heal")
        await controller.measure()
        await controller.start(controller.program_named("walking"))


@pytest.mark.fault("F111")
@pytest.mark.fault("F112")
async def test_impedances_that_drift_under_current_are_shown_as_out_of_compliance() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller, steady(12_500))
        await start(controller)
        watch = Watch(controller, show, acts=True)
        async with kept_alive(controller):
            await for_a_while(watch, 12)
            assert flowing(bench.truth.lines)["E3"] == -12_500
            assert bench.codes == []
            bench.runner.inject("impedance_drift")
            await for_a_while(watch, 2)
            shown = (await controller.sample()).values["area_1_amplitude_uA"]
        assert bench.codes == [("out-of-compliance", "MEDIUM")]
        assert 0 < int(shown) < 12_500
        assert (await controller.stop("policy")).safe


# --- what only the electrodes show ---------------------------------------------------------------


def judged_by_the_storm(bench: Road) -> list[str]:
    """What the storm's oracle finds in the truth of a bench."""
    record: Any = SimpleNamespace(witness=SimpleNamespace(lines=bench.truth.lines))
    return [*oracle_stimulator._ceilings(record), *oracle_stimulator._balanced(record)]


@pytest.mark.requirement("SR-42")
@pytest.mark.fault("F114")
async def test_a_recharge_that_is_not_balanced_is_seen_at_the_electrodes_and_nowhere_else() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        watch = Watch(controller, show, acts=True)
        async with kept_alive(controller):
            assert judged_by_the_storm(bench) == []
            bench.runner.inject("unbalanced_recharge")
            await for_a_while(watch, 1)
            await controller.set_amplitude(None, MicroAmps(3_000))
            await for_a_while(watch, 3)
            last = {line["contact"]: line for line in bench.truth.lines}
            left = {contact: line.get("net_charge_pC", 0) for contact, line in last.items()}
            # A tenth of 3 mA x 210 us, the cathode's the other way round.
            assert {name: net for name, net in left.items() if net} == {
                "E3": -63_000,
                "E4": 37_800,
                "E5": 25_200,
            }
            assert any("E3 keeps" in finding for finding in judged_by_the_storm(bench))
            assert bench.codes == [], "neither host nor monitor has an eye there"
            assert (await controller.sample()).alarms == ()
        assert (await controller.stop("policy")).safe


@pytest.mark.fault("F114")
def test_a_bench_finds_the_direct_current_of_a_recharge_that_is_not_balanced(
    stimulator: Stimulator, truth: Truth
) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start()
    stimulator.wait("5 s")
    assert truth.direct_current("E3") == "0 mA"
    stimulator.fault("unbalanced_recharge")
    stimulator.amplitude("3 mA")
    stimulator.wait("2 s")
    assert truth.direct_current("E3") == "0.005 mA"  # 88.2 nC x 50 a second are 4.41 uA
    assert stimulator.alarms == []


@pytest.mark.fault("F114")
async def test_a_wrong_electrode_map_is_seen_at_the_electrodes_and_by_the_storms_oracle() -> None:
    async with road("stimulator") as bench:
        bench.runner.inject("wrong_electrode_map")
        controller = await running_elsewhere(bench)
        assert flowing(bench.truth.lines) == {"E11": -4_200, "E12": 2_520, "E13": 1_680}
        assert any("through E11" in finding for finding in judged_by_the_storm(bench))
        sample = await controller.sample()
        assert sample.alarms == (), "its word is of its own names for the contacts"
        assert (await controller.stop("policy")).safe
        assert flowing(bench.truth.lines) == {}


async def running_elsewhere(bench: Road) -> StimulatorController:
    controller = await bench.stimulator()
    await apply(controller)
    await start(controller)
    async with kept_alive(controller):
        await rise(4)
    return controller


@pytest.mark.fault("F114")
async def test_impedances_tell_a_wrong_map_to_whoever_compares_them_with_the_ones_before() -> None:
    """No rule does: an implant's impedances change anyway. A person's eye is left."""
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        before = await controller.measure()
        bench.runner.inject("wrong_electrode_map")
        assert await controller.measure() == before[8:] + before[:8]
        assert before[:8] != before[8:]


@pytest.mark.fault("F114")
async def test_a_broken_lead_keeps_its_name_whatever_the_map() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        bench.runner.inject("open_contact", contact=3)
        bench.runner.inject("wrong_electrode_map")
        assert [ohms >= 20_000 for ohms in await controller.measure()].index(True) == 2


# --- a ramp that is ignored ----------------------------------------------------------------------


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F113")
@pytest.mark.parametrize("when", ["at the start", "at an increase", "after a pause"])
async def test_a_ramp_that_is_ignored_is_told_with_the_reading_that_shows_it(when: str) -> None:
    async with road("stimulator") as bench:
        if when == "at the start":
            controller = await bench.stimulator()
            await apply(controller)
            watch = Watch(controller, show, acts=True)
            await for_a_while(watch, 1)
            bench.runner.inject("ramp_ignored")
            await start(controller)
        else:
            controller = await running(bench)
            watch = Watch(controller, show, acts=True)
        async with kept_alive(controller):
            if when == "at an increase":
                await for_a_while(watch, 1)
                bench.runner.inject("ramp_ignored")
                await controller.set_amplitude(None, MicroAmps(6_000))
            elif when == "after a pause":
                await for_a_while(watch, 60)
                bench.runner.inject("ramp_ignored")
                assert bench.codes == [], "a ramp that is kept is no alarm"
                await for_a_while(watch, 60)
            await for_a_while(watch, 1)
        assert bench.codes == [("rise-too-fast", "MEDIUM")]
        assert (await controller.sample()).delivering, "what has jumped is there already"
        assert (await controller.stop("policy")).safe
        therapy = [line for line in bench.truth.lines if line["rate_mHz"] != 500_000]
        course = [abs(amplitude) for _, amplitude in current(therapy, "E3")]
        assert max(after - before for before, after in pairwise(course)) > 1_000


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F113")
async def test_a_ramp_that_is_ignored_between_two_distant_readings_is_in_the_truth_alone() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        watch = Watch(controller, show, acts=True)
        await watch.once()
        bench.runner.inject("ramp_ignored")
        await start(controller)
        async with kept_alive(controller):
            await rise(4)
            await watch.once()
        assert bench.codes == []
        therapy = [line for line in bench.truth.lines if line["rate_mHz"] != 500_000]
        assert [now for _, now in current(therapy, "E3") if now] == [-AMPLITUDE]


@pytest.mark.requirement("SR-50")
async def test_current_that_comes_back_at_once_with_its_contact_is_told_as_a_jump() -> None:
    async with road("stimulator") as bench:
        controller = await running(bench)
        watch = Watch(controller, show, acts=True)
        async with kept_alive(controller):
            bench.runner.inject("open_contact", contact=3)
            await for_a_while(watch, 1)
            bench.runner.inject("heal")
            await for_a_while(watch, 1)
        assert {code for code, _ in bench.codes} == {"out-of-compliance", "rise-too-fast"}
