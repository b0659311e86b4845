"""Faults of the simulated devices themselves: what the body does, and what the status tells."""

from pathlib import Path

import pytest
from simulator_bench import (
    BORN_MS,
    DAY,
    HOUR,
    Bench,
    currents,
    infusion,
    pump_status,
    stimulation,
    stimulator_status,
)

from firmware_bridge.families.itp.wire import Bolus, Prime, WireStep
from firmware_bridge.families.scs.wire import Measure, Start
from firmware_bridge.protocol.blob import digest_of, encode_program
from firmware_bridge.protocol.messages import Commit, Done, ProgramRead, Read, Stage, Stop
from firmware_bridge.simulator.faults import parse_faults
from firmware_bridge.simulator.memory import MemoryFile

OVER = 600_000


def pumping() -> Bench:
    return Bench("pump").program(1, infusion())


# --- occlusion -----------------------------------------------------------------------------------


def test_an_occluded_pump_turns_and_nothing_leaves_it() -> None:
    bench = pumping()
    bench.at(HOUR)
    bench.device.inject("occlusion", bench.now)
    bench.at(2 * HOUR)
    now = pump_status(bench)
    assert (now.flow, now.delivered, now.reservoir) == (0, 10_000, 17_990_000)
    assert now.alarms == ["occlusion"]
    bench.device.inject("heal", bench.now)
    bench.at(3 * HOUR)
    now = pump_status(bench)
    assert (now.flow, now.delivered, now.alarms) == (240_000, 20_000, [])


def test_a_bolus_into_an_occlusion_is_done_by_the_count_and_missing_on_the_odometer() -> None:
    bench = pumping()
    bench.device.inject("occlusion", 0)
    bench.send(Bolus(2, 15_000, OVER))
    bench.at(OVER)
    assert bench.outcome(2) == ("executed", 15_000)
    assert pump_status(bench).delivered == 0


def test_an_occlusion_closes_a_free_flow_too() -> None:
    bench = pumping()
    bench.device.inject("free_flow", 0)
    bench.device.inject("occlusion", 0)
    bench.at(HOUR)
    assert pump_status(bench).delivered == 0


def test_a_halted_or_stalled_pump_cannot_notice_an_occlusion() -> None:
    bench = pumping()
    bench.device.inject("occlusion", 0)
    bench.device.inject("motor_stall", 0)
    assert pump_status(bench).alarms == ["motor-stall"]
    bench.send(Stop("flow"))
    assert pump_status(bench).alarms == ["pump-stopped"]


# --- battery -------------------------------------------------------------------------------------


@pytest.mark.fault("F105")
def test_a_battery_reset_clears_the_program_and_nothing_that_was_counted() -> None:
    bench = pumping()
    bench.at(HOUR)
    bench.send(Bolus(2, 15_000, OVER))
    bench.at(HOUR + OVER // 3)
    before = pump_status(bench)
    bench.device.inject("battery_reset", bench.now)
    bench.open()
    now = pump_status(bench)
    assert (now.state, now.flow, now.boot) == ("empty-program", 0, 2)
    assert now.alarms == ["low-battery-reset"]
    assert (now.delivered, now.fill_at) == (before.delivered, BORN_MS)
    assert bench.ask(Read(0), ProgramRead).program == b""
    assert bench.outcome(2) == ("interrupted", 5_000)
    assert bench.send(Bolus(2, 15_000, OVER)) == [Done(2)]
    assert bench.refused(Bolus(3, 1_000, OVER)) == "wrong-state"
    assert not bench.device.press(bench.now)
    bench.at(DAY)
    assert pump_status(bench).delivered == before.delivered


def test_the_alarm_of_a_battery_reset_stays_until_the_next_commit() -> None:
    bench = pumping()
    bench.at(HOUR)
    bench.device.inject("battery_reset", bench.now)
    bench.reset()
    bench.device.inject("heal", bench.now)
    assert pump_status(bench).alarms == ["low-battery-reset"]
    assert bench.commit(2, infusion()) == Done(2)
    now = pump_status(bench)
    assert (now.state, now.flow, now.alarms) == ("running", 240_000, [])
    assert now.reservoir == 17_990_000


def test_a_battery_reset_comes_after_its_request_and_swallows_the_reply() -> None:
    faults = parse_faults("- {at: commit 1, fault: battery_reset}", "f.yaml", "pump", ["commit"])
    bench = Bench("pump", faults=faults).open()
    blob = encode_program(infusion())
    bench.send(Stage(0, blob))
    assert bench.send(Commit(1, 1, digest_of(blob))) == []
    bench.open()
    assert bench.outcome(1) == ("executed", 0)
    assert pump_status(bench).state == "empty-program"


def test_a_prime_that_was_used_stays_used_after_a_battery_reset() -> None:
    bench = Bench("pump").program(1, infusion(primed=False))
    bench.send(Prime(2, 485_000, HOUR, BORN_MS))
    bench.at(HOUR)
    bench.device.inject("battery_reset", bench.now)
    bench.open()
    assert bench.commit(3, infusion(primed=False)) == Done(3)
    assert bench.refused(Prime(4, 485_000, HOUR, BORN_MS)) == "wrong-state"


# --- clock and count -----------------------------------------------------------------------------


@pytest.mark.fault("F108")
def test_a_clock_that_jumps_ahead_moves_the_hours_of_the_basal_and_no_lockout() -> None:
    steps = [WireStep(start=420, flow=240_000), WireStep(start=1_320, flow=180_000)]
    bench = Bench("pump").program(1, infusion(basal=steps))
    bench.at(HOUR)
    bench.device.inject("clock_drift", bench.now)
    assert pump_status(bench).clock == BORN_MS + 2 * HOUR
    assert not bench.device.press(4 * HOUR - 1)
    assert bench.device.press(4 * HOUR)
    bench.at(6 * HOUR)
    assert pump_status(bench).flow == 240_000
    assert [line["t_ms"] for line in bench.truth][-1] == 6 * HOUR
    bench.reset()
    assert pump_status(bench).clock == BORN_MS + 7 * HOUR
    bench.device.inject("clock_drift", bench.now)
    assert pump_status(bench).clock == BORN_MS + 8 * HOUR
    bench.device.inject("heal", bench.now)
    now = pump_status(bench)
    assert (now.clock, now.flow) == (BORN_MS + 6 * HOUR, 180_000)


@pytest.mark.fault("F104")
def test_a_wrong_count_hides_a_low_reservoir_and_no_empty_one() -> None:
    bench = Bench("pump").program(1, infusion(fill_volume=2_100_000, low_reservoir=2_000_000))
    bench.device.inject("reservoir_offset", 0)
    bench.at(DAY)
    now = pump_status(bench)
    assert (now.reservoir, now.alarms) == (3_860_000, [])
    bench.device.inject("empty_reservoir", bench.now)
    now = pump_status(bench)
    assert (now.reservoir, now.flow, now.alarms) == (2_000_000, 0, ["reservoir-empty"])
    bench.device.inject("heal", bench.now)
    assert pump_status(bench).reservoir == 0


def test_what_is_broken_stays_broken_in_a_pump_that_was_killed(tmp_path: Path) -> None:
    def begin() -> Bench:
        return Bench("pump", memory=MemoryFile(tmp_path / "state"))

    first = begin().program(1, infusion())
    for name in ("occlusion", "clock_drift", "reservoir_offset"):
        first.device.inject(name, 0)
    second = pump_status(begin())
    assert second.alarms == ["occlusion"]
    assert second.clock >= BORN_MS + HOUR
    assert second.reservoir == 20_000_000


# --- stimulator ----------------------------------------------------------------------------------


def start(command_id: int) -> Start:
    return Start(command_id, 0, digest_of(encode_program(stimulation())), [4_200], 10_000)


def stimulating() -> Bench:
    bench = Bench("stimulator").program(1, stimulation())
    assert bench.send(start(2)) == [Done(2)]
    bench.at(4_000)
    return bench


@pytest.mark.fault("F116")
@pytest.mark.parametrize(("fault", "alarm"), [("magnet", "magnet"), ("mri_mode", "mri-mode")])
def test_a_magnet_and_the_mri_mode_bring_the_output_to_zero(fault: str, alarm: str) -> None:
    bench = stimulating()
    bench.device.inject(fault, bench.now)
    assert stimulator_status(bench).state == "falling"
    bench.at(5_000)
    now = stimulator_status(bench)
    assert (now.state, now.lease, now.alarms) == ("off", 0, [alarm])
    assert currents(bench.truth, "E3")[-1][1] == 0


@pytest.mark.parametrize("fault", ["magnet", "mri_mode"])
def test_a_magnet_and_the_mri_mode_end_a_measurement(fault: str) -> None:
    bench = Bench("stimulator").program(1, stimulation())
    bench.send(Measure(2, 100, 100, 8))
    bench.at(20)
    bench.device.inject(fault, bench.now)
    assert bench.outcome(2)[0] == "interrupted"
    assert bench.truth[-1]["amplitude_uA"] == 0


def test_the_alarm_of_a_magnet_stays_until_the_next_start() -> None:
    bench = stimulating()
    bench.device.inject("magnet", bench.now)
    bench.device.inject("heal", bench.now)
    bench.at(6_000)
    assert stimulator_status(bench).alarms == ["magnet"]
    assert bench.send(start(3)) == [Done(3)]
    assert stimulator_status(bench).alarms == []


@pytest.mark.fault("F116")
def test_the_mri_mode_is_left_by_no_host_and_no_reset() -> None:
    bench = stimulating()
    bench.device.inject("mri_mode", bench.now)
    bench.at(6_000)
    for command_id in (3, 5):
        assert bench.refused(start(command_id)) == "wrong-state"
        assert bench.refused(Measure(command_id + 1, 100, 100, 8)) == "wrong-state"
        bench.reset()
        assert stimulator_status(bench).alarms == ["mri-mode"]
    bench.device.inject("heal", bench.now)
    assert stimulator_status(bench).alarms == []
    assert bench.send(start(7)) == [Done(7)]
