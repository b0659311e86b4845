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
from firmware_bridge.families.scs.wire import LowerAmplitude, Measure, Start
from firmware_bridge.protocol.blob import digest_of, encode_program
from firmware_bridge.protocol.messages import Commit, Done, ProgramRead, Read, Refused, Stage, Stop
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


def test_what_is_broken_stays_broken_in_a_stimulator_that_was_killed(tmp_path: Path) -> None:
    def begin() -> Bench:
        return Bench("stimulator", memory=MemoryFile(tmp_path / "state"))

    first = begin().program(1, stimulation())
    for name in ("memory_error", "amplitude_stuck", "impedance_drift", "wrong_electrode_map"):
        first.device.inject(name, 0)
    second = begin().open()
    body = second.device.machine.firmware.body
    assert (body.faults.stuck, body.faults.drifted, body.faults.crossed) == (True, True, True)
    assert body.ohms == first.device.machine.firmware.body.ohms
    assert stimulator_status(second).alarms == ["memory-error"]
    assert second.refused(Stage(0, encode_program(stimulation()))) == "wrong-state"


@pytest.mark.fault("F113")
@pytest.mark.parametrize("ended_by", ["stop", "lease", "magnet", "mri_mode"])
def test_a_stuck_output_is_ended_by_nothing_but_the_loss_of_its_power(ended_by: str) -> None:
    bench = stimulating()
    bench.device.inject("amplitude_stuck", bench.now)
    if ended_by == "stop":
        bench.send(Stop("policy"))
    elif ended_by != "lease":
        bench.device.inject(ended_by, bench.now)
    bench.at(60_000)
    now = stimulator_status(bench)
    assert (now.state, now.amplitudes) == ("falling", [4_200])
    assert "amplitude-stuck" in now.alarms
    assert currents(bench.truth, "E3")[-1][1] == -4_200
    bench.reset()
    assert stimulator_status(bench).state == "off"
    assert currents(bench.truth, "E3")[-1][1] == 0


@pytest.mark.fault("F113")
def test_a_stuck_output_goes_on_from_where_it_is_when_it_is_mended() -> None:
    cycling = stimulation(stimulate=5_000, pause=90_000)
    bench = Bench("stimulator").program(1, cycling)
    digest = digest_of(encode_program(cycling))
    assert bench.send(Start(2, 0, digest, [4_200], 10_000)) == [Done(2)]
    bench.at(1_000)
    bench.device.inject("amplitude_stuck", bench.now)
    bench.at(9_000)  # not even its cycle pauses it
    assert stimulator_status(bench).amplitudes == [1_400]
    bench.device.inject("heal", bench.now)
    bench.at(9_100)
    assert stimulator_status(bench).amplitudes == [1_500]
    bench.send(Stop("policy"))
    bench.at(10_100)
    assert stimulator_status(bench).state == "off"


@pytest.mark.fault("F113")
def test_a_simulator_whose_output_will_never_end_does_not_wait_for_it() -> None:
    bench = stimulating()
    assert not bench.device.quiet
    bench.device.inject("amplitude_stuck", bench.now)
    assert bench.device.quiet


@pytest.mark.fault("F113")
def test_an_output_that_ignores_its_ramp_is_at_its_target_at_once_in_both_directions() -> None:
    bench = Bench("stimulator").program(1, stimulation())
    bench.device.inject("ramp_ignored", 0)
    assert bench.send(start(2)) == [Done(2)]
    assert stimulator_status(bench).amplitudes == [4_200]
    bench.send(LowerAmplitude([1_000]))
    assert stimulator_status(bench).amplitudes == [1_000]
    bench.send(Stop("policy"))
    assert stimulator_status(bench).state == "off"
    assert [current for _, current in currents(bench.truth, "E3")] == [-4_200, -1_000, 0]


@pytest.mark.fault("F115")
def test_an_overdischarge_takes_programs_and_output_and_is_told_until_the_next_commit() -> None:
    bench = stimulating()
    bench.device.inject("overdischarge", bench.now)
    assert currents(bench.truth, "E3")[-1][1] == 0
    bench.open()
    now = stimulator_status(bench)
    assert (now.state, now.boot, now.alarms) == ("off", 2, ["overdischarge"])
    assert bench.ask(Read(0), ProgramRead).program == b""
    assert bench.refused(start(3)) == "wrong-state"
    assert bench.outcome(2)[0] == "executed", "its ids are kept"
    bench.reset()
    assert stimulator_status(bench).alarms == ["overdischarge"]
    bench.program(4, stimulation())
    assert stimulator_status(bench).alarms == []
    assert bench.send(start(5)) == [Done(5)]


@pytest.mark.fault("F114")
def test_what_a_recharge_leaves_behind_is_in_the_truth_from_the_moment_it_is_left() -> None:
    bench = stimulating()
    assert not any("net_charge_pC" in line for line in bench.truth)
    bench.device.inject("unbalanced_recharge", bench.now)
    shown = {line["contact"]: line for line in bench.truth if line["t_ms"] == bench.now}
    assert {name: line["net_charge_pC"] for name, line in shown.items()} == {
        "E3": -88_200,
        "E4": 52_920,
        "E5": 35_280,
    }
    bench.at(5_000)
    bench.device.inject("heal", bench.now)
    assert all("net_charge_pC" not in line for line in bench.truth if line["t_ms"] == 5_000)


@pytest.mark.fault("F114")
def test_leads_that_are_interchanged_under_current_move_it_and_leave_none_behind() -> None:
    bench = stimulating()
    bench.device.inject("wrong_electrode_map", bench.now)
    assert currents(bench.truth, "E3")[-1][1] == 0
    assert currents(bench.truth, "E11")[-1][1] == -4_200
    assert stimulator_status(bench).alarms == []
    bench.reset()
    assert currents(bench.truth, "E11")[-1][1] == 0


# --- what wears out ------------------------------------------------------------------------------


@pytest.mark.fault("F106")
def test_a_pump_at_its_end_of_service_refuses_every_start_and_its_free_valve_flows_on() -> None:
    bench = pumping()
    bench.at(HOUR)
    bench.send(Bolus(2, 15_000, OVER))
    bench.at(HOUR + OVER // 3)
    bench.device.inject("battery_end", bench.now)
    now = pump_status(bench)
    assert (now.state, now.flow, now.alarms) == ("running", 0, ["end-of-service"])
    assert bench.outcome(2) == ("interrupted", 5_000)
    assert bench.refused(Bolus(3, 15_000, OVER)) == "wrong-state"
    assert isinstance(bench.commit(4, infusion()), Refused)
    assert not bench.device.press(bench.now)
    bench.reset()
    bench.at(DAY)
    assert pump_status(bench).delivered == now.delivered
    bench.device.inject("free_flow", bench.now)
    assert pump_status(bench).flow == 100_000_000


@pytest.mark.fault("F106")
def test_an_end_of_service_hides_neither_a_halt_nor_an_empty_reservoir_and_heals() -> None:
    bench = pumping()
    bench.device.inject("battery_eri", 0)
    assert pump_status(bench).alarms == ["elective-replacement"]
    bench.device.inject("battery_end", 0)
    bench.device.inject("motor_stall", 0)
    bench.send(Stop("flow"))
    bench.device.inject("empty_reservoir", 0)
    assert pump_status(bench).alarms == ["end-of-service", "pump-stopped", "reservoir-empty"]
    bench.device.inject("heal", 0)
    assert pump_status(bench).alarms == ["pump-stopped", "reservoir-empty"]
