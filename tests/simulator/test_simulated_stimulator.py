"""The simulated stimulator: its physics as the truth shows it, and its firmware."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_bench import Bench, area, burst, currents, stimulation, stimulator_status

from firmware_bridge.families.scs.wire import (
    AskImpedance,
    Impedances,
    LowerAmplitude,
    Lowered,
    Measure,
    Renew,
    Renewed,
    SetAmplitude,
    Start,
    WireElectrode,
    WireProgram,
)
from firmware_bridge.protocol.blob import digest_of, encode_program
from firmware_bridge.protocol.messages import (
    AskOutcome,
    AskStatus,
    Commit,
    Done,
    Identify,
    Identity,
    Message,
    OutcomeOf,
    Read,
    Refused,
    Stop,
    Stopped,
)

LEASE = 10_000


def start(
    command_id: int, program: WireProgram, *amplitudes: int, slot: int = 0, lease: int = LEASE
) -> Start:
    digest = digest_of(encode_program(program))
    return Start(command_id, slot, digest, list(amplitudes), lease)


def change(command_id: int, program: WireProgram, *amplitudes: int) -> SetAmplitude:
    return SetAmplitude(command_id, 0, digest_of(encode_program(program)), list(amplitudes))


def running(program: WireProgram | None = None, *amplitudes: int) -> Bench:
    program = program or stimulation()
    bench = Bench("stimulator").program(1, program)
    assert bench.send(start(2, program, *(amplitudes or (4_200,)))) == [Done(2)]
    return bench


# --- ramps -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-50")
def test_a_rise_from_zero_takes_the_ramp_and_never_runs_ahead_of_the_slope() -> None:
    bench = running()
    bench.at(5_000)
    rise = currents(bench.truth, "E3")
    assert rise[0] == (72, -100)
    assert rise[-1] == (3_000, -4_200)
    assert len(rise) == 42
    for at, amplitude in rise:
        assert isinstance(at, int)
        assert isinstance(amplitude, int)
        assert -amplitude * 3_000 <= 4_200 * at
    assert currents(bench.truth, "E4")[-1] == (3_000, 2_520)
    assert currents(bench.truth, "E5")[-1] == (3_000, 1_680)


def test_the_truth_of_one_step_is_exactly_this() -> None:
    bench = running()
    bench.at(72)
    shape = {"pulse_width_us": 210, "rate_mHz": 50_000, "pulses": 1, "intra_rate_mHz": 0}
    assert bench.truth == [
        {"t_ms": 72, "contact": "E3", "amplitude_uA": -100, **shape},
        {"t_ms": 72, "contact": "E4", "amplitude_uA": 60, **shape},
        {"t_ms": 72, "contact": "E5", "amplitude_uA": 40, **shape},
    ]


def test_a_burst_shows_its_pulses_and_off_shows_nothing() -> None:
    bench = running(burst(), 600)
    bench.at(3_000)
    assert bench.truth[-2] == {
        "t_ms": 3_000,
        "contact": "E3",
        "amplitude_uA": -600,
        "pulse_width_us": 1_000,
        "rate_mHz": 40_000,
        "pulses": 5,
        "intra_rate_mHz": 500_000,
    }
    bench.send(Stop("hold"))
    bench.at(4_000)
    assert bench.truth[-1] == {
        "t_ms": 3_019,
        "contact": "E4",
        "amplitude_uA": 0,
        "pulse_width_us": 0,
        "rate_mHz": 0,
        "pulses": 0,
        "intra_rate_mHz": 0,
    }


@pytest.mark.requirement("SR-50")
def test_a_later_rise_has_the_same_slope() -> None:
    program = stimulation()
    bench = running(program)
    bench.at(4_000)
    assert bench.send(change(3, program, 4_900)) == [Done(3)]
    bench.at(6_000)
    assert currents(bench.truth, "E3")[-1] == (4_500, -4_900)


def test_a_new_target_on_the_way_does_not_lose_the_pace() -> None:
    program = stimulation()
    bench = running(program)
    for step in range(1, 29):
        bench.at(step * 100)
        bench.send(change(2 + step, program, 4_200 if step % 2 else 4_300))
    bench.at(4_000)
    assert (3_000, -4_200) in currents(bench.truth, "E3")


@pytest.mark.requirement("SR-31")
@pytest.mark.parametrize("amplitude", [100, 4_200, 6_000])
def test_every_fall_ends_within_a_second(amplitude: int) -> None:
    bench = running(stimulation(), amplitude)
    bench.at(5_000)
    bench.send(Stop("hold"))
    bench.at(6_000)
    assert stimulator_status(bench).state == "off"
    assert currents(bench.truth, "E3")[-1][1] == 0


@given(st.lists(st.integers(0, 9_000), max_size=12))
def test_the_truth_does_not_depend_on_when_anybody_looks(looks: list[int]) -> None:
    cycling = stimulation(stimulate=4_000, pause=1_000)
    whole = running(cycling)
    whole.at(9_000)
    looked = running(cycling)
    for look in sorted(looks):
        looked.at(look)
        stimulator_status(looked)
    looked.at(9_000)
    assert looked.truth == whole.truth
    assert stimulator_status(looked).pulses == stimulator_status(whole).pulses


def test_a_cycle_pauses_at_zero_and_comes_back_on_the_slope() -> None:
    bench = running(stimulation(stimulate=4_000, pause=2_000))
    bench.at(4_500)
    assert stimulator_status(bench).state == "paused"
    bench.at(9_500)
    course = currents(bench.truth, "E3")
    assert (4_000, 0) in course
    assert (6_072, -100) in course
    assert (9_000, -4_200) in course
    bench.at(11_000)
    assert stimulator_status(bench).state == "off"
    assert currents(bench.truth, "E3")[-1] == (10_000, 0)


def test_pulses_are_counted_exactly() -> None:
    bench = running()
    bench.at(72 + 7_000)
    assert stimulator_status(bench).pulses == 350
    nightly = running(burst(), 600)
    nightly.at(500 + 7_000)
    assert stimulator_status(nightly).pulses == 5 * 40 * 7


# --- electrodes ------------------------------------------------------------------------------


@pytest.mark.fault("F112")
def test_compliance_limits_what_really_flows() -> None:
    pair = [WireElectrode(contact=1, share=-100), WireElectrode(contact=2, share=100)]
    program = stimulation(
        area(electrodes=pair, amplitude=12_700, ceiling=12_700, pulse_width=100), ramp=2_000
    )
    bench = running(program, 12_700)
    bench.device.inject("open_contact", 0, 7)
    bench.at(3_000)
    assert stimulator_status(bench).amplitudes == [12_700]
    bench.device.inject("short_contact", 3_000, 1)
    bench.device.inject("open_contact", 3_500, 2)
    bench.now = 3_500
    assert stimulator_status(bench).amplitudes == [0]
    assert "out-of-compliance" in stimulator_status(bench).alarms
    assert currents(bench.truth, "E1")[-1] == (3_500, 0)
    bench.device.inject("heal", 4_000)
    assert currents(bench.truth, "E1")[-1] == (4_000, -12_700)


def test_a_measurement_is_answered_when_done_and_shows_in_the_truth() -> None:
    bench = Bench("stimulator", seed=3).open()
    bench.device.inject("open_contact", 0, 2)
    bench.device.inject("short_contact", 0, 3)
    assert bench.send(Measure(5, 100, 100, 8)) == []
    assert bench.refused(Measure(6, 100, 100, 8)) == "busy"
    assert bench.ask(AskOutcome(5), OutcomeOf).state == "running"
    assert bench.at(255) == []
    assert bench.at(256) == [Done(5)]
    found = bench.ask(AskImpedance(), Impedances)
    assert found.id == 5
    assert found.ohms[1] == 20_000
    assert found.ohms[2] == 10
    assert all(450 <= ohms <= 550 for ohms in found.ohms[3:])
    assert set(stimulator_status(bench).alarms) == {"open-contact", "short-contact"}
    assert currents(bench.truth, "E1") == [(0, -100), (16, 0)]
    assert currents(bench.truth, "E2") == []
    assert currents(bench.truth, "E16") == [(240, -100), (256, 0)]
    assert currents(bench.truth, "case")[-1] == (256, 0)
    assert bench.send(Measure(5, 100, 100, 8)) == [Done(5)]
    assert len(currents(bench.truth, "E1")) == 2


def test_a_stop_ends_a_measurement_for_good() -> None:
    bench = Bench("stimulator").open()
    bench.send(Measure(5, 100, 100, 8))
    bench.at(100)
    assert bench.send(Stop("hold")) == [Stopped("SCS-0001")]
    assert bench.at(1_000) == []
    assert bench.ask(AskOutcome(5), OutcomeOf).state == "interrupted"
    assert bench.ask(AskImpedance(), Impedances).id == 0
    assert bench.truth[-1]["amplitude_uA"] == 0


def test_a_contact_in_two_areas_shows_the_pulse_with_the_larger_charge() -> None:
    pair = [WireElectrode(contact=3, share=-100), WireElectrode(contact=6, share=100)]
    program = stimulation(
        area(), area(electrodes=pair, amplitude=1_000, ceiling=1_000, pulse_width=1_000)
    )
    bench = running(program, 4_200, 1_000)
    bench.at(3_000)
    last = [line for line in bench.truth if line["contact"] == "E3"][-1]
    assert (last["amplitude_uA"], last["pulse_width_us"], last["pulses"]) == (-1_000, 1_000, 2)


# --- lease -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-31")
@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-53")
@pytest.mark.parametrize("speed", [1, 10])
def test_the_lease_is_link_time_and_its_end_brings_zero_within_a_second(speed: int) -> None:
    program = stimulation()
    bench = Bench("stimulator", speed=speed).program(1, program)
    bench.send(start(2, program, 4_200, lease=2_000))
    bench.at(1_500)
    assert stimulator_status(bench).lease == 500
    assert bench.send(Renew(2_000)) == [Renewed()]
    bench.at(3_499)
    assert stimulator_status(bench).lease == 1
    bench.at(10_000)
    falls_at = 3_500 * speed
    course = currents(bench.truth, "E3")
    assert course[-1][1] == 0
    assert isinstance(course[-1][0], int)
    assert falls_at <= course[-1][0] <= falls_at + 1_000
    assert bench.refused(Renew(2_000)) == "lease-ended"
    assert bench.refused(change(3, program, 100)) == "lease-ended"
    assert stimulator_status(bench).alarms == ["lease-ended"]
    assert bench.send(start(4, program, 4_200)) == [Done(4)]
    assert stimulator_status(bench).alarms == []


@pytest.mark.parametrize("lease", [0, 10_001])
def test_no_start_and_no_renewal_with_a_lease_out_of_range(lease: int) -> None:
    program = stimulation()
    bench = Bench("stimulator").program(1, program)
    assert bench.refused(start(2, program, 4_200, lease=lease)) == "out-of-range"
    bench.send(start(3, program, 4_200))
    assert bench.refused(Renew(lease)) == "out-of-range"


# --- firmware --------------------------------------------------------------------------------


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F37")
def test_another_session_can_only_look_open_and_stop() -> None:
    bench = running()
    for request in (Read(0), AskOutcome(2), Renew(1_000), LowerAmplitude([0])):
        (reply,) = bench.send(request, session=8)
        assert isinstance(reply, Refused)
        assert reply.code == "wrong-session"
    (identity,) = bench.send(Identify(), session=8)
    assert isinstance(identity, Identity)
    assert identity.simulated
    assert len(bench.send(AskStatus(), session=0)) == 1
    assert bench.send(Stop("hold"), session=0) == [Stopped("SCS-0001")]


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F37")
@pytest.mark.parametrize("session", [None, 0])
def test_a_start_that_a_stop_has_overtaken_stays_refused(session: int | None) -> None:
    program = stimulation()
    bench = Bench("stimulator").program(1, program)
    bench.send(Stop("hold"), session=session)
    overtaken = start(2, program, 4_200)
    for _ in range(2):
        (reply,) = bench.send(overtaken, late=2)
        assert isinstance(reply, Refused)
        assert reply.code == "wrong-state"
        assert "overtook" in reply.detail
    assert bench.outcome(2) == ("refused", 0)
    assert bench.send(start(3, program, 4_200)) == [Done(3)]


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F37")
def test_a_raise_that_a_lowering_has_overtaken_is_refused_and_another_hosts_stop_means_none() -> (
    None
):
    bench = running(stimulation(), 2_000)
    bench.at(4_000)
    assert bench.send(LowerAmplitude([1_000])) == [Lowered()]
    (reply,) = bench.send(change(8, stimulation(), 3_000), late=2)
    assert isinstance(reply, Refused)
    assert bench.send(change(9, stimulation(), 3_000)) == [Done(9)]
    bench.send(Stop("hold"), session=99)
    bench.at(6_000)
    assert bench.send(start(10, stimulation(), 2_000), late=2) == [Done(10)]


def test_opening_a_session_clears_what_was_staged() -> None:
    bench = Bench("stimulator").program(1, stimulation()).open()
    blob = encode_program(stimulation())
    assert bench.refused(Commit(2, 1, digest_of(blob))) == "wrong-state"


def test_lowering_is_refused_as_a_whole_if_anything_would_rise() -> None:
    bench = running(stimulation(area(), area()), 4_200, 3_000)
    bench.at(4_000)
    assert bench.refused(LowerAmplitude([1_000, 3_100])) == "out-of-range"
    assert bench.refused(LowerAmplitude([1_000])) == "out-of-range"
    assert bench.refused(LowerAmplitude([50, 50])) == "out-of-range"
    assert bench.send(LowerAmplitude([1_000, 3_000])) == [Lowered()]
    bench.at(5_000)
    assert stimulator_status(bench).amplitudes == [1_000, 3_000]
    bench.send(Stop("hold"))
    assert bench.refused(LowerAmplitude([1_000, 3_000])) == "out-of-range"
    bench.at(6_000)
    assert bench.send(LowerAmplitude([0])) == [Lowered()]
    assert stimulator_status(bench).state == "off"


@pytest.mark.requirement("SR-45")
def test_while_on_only_amplitudes_change() -> None:
    program = stimulation()
    bench = running(program)
    reply = bench.commit(3, program)
    assert isinstance(reply, Refused)
    assert reply.code == "wrong-state"
    assert bench.refused(start(4, program, 4_200)) == "wrong-state"
    assert bench.refused(Measure(5, 100, 100, 8)) == "wrong-state"
    assert bench.send(change(6, program, 4_100)) == [Done(6)]
    assert bench.refused(change(7, program, 6_100)) == "out-of-range"
    assert bench.refused(change(8, program, 4_150)) == "out-of-range"
    assert bench.refused(change(9, program, 100, 100)) == "out-of-range"
    assert bench.refused(change(10, burst(), 100)) == "digest-differs"


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F36")
def test_an_id_acts_once_also_after_a_reset() -> None:
    program = stimulation()
    bench = running(program)
    bench.at(5_000)
    bench.device.inject("reset", 5_000)
    assert currents(bench.truth, "E3")[-1] == (5_000, 0)
    assert stimulator_status(bench).boot == 2
    assert bench.refused(AskOutcome(2)) == "wrong-session"
    bench.open()
    assert bench.ask(AskOutcome(2), OutcomeOf).state == "executed"
    assert bench.send(start(2, program, 4_200)) == [Done(2)]
    assert bench.refused(start(2, program, 4_100)) == "id-reused"
    bench.at(9_000)
    assert stimulator_status(bench).state == "off"
    assert bench.send(start(3, program, 4_200)) == [Done(3)]


@pytest.mark.requirement("SR-20")
def test_what_was_refused_stays_refused() -> None:
    program = stimulation()
    bench = Bench("stimulator").program(1, program)
    bench.device.inject("battery_low", 0)
    assert bench.refused(start(2, program, 4_200)) == "wrong-state"
    bench.device.inject("heal", 0)
    assert bench.refused(start(2, program, 4_200)) == "wrong-state"
    assert bench.ask(AskOutcome(2), OutcomeOf).state == "refused"
    assert bench.ask(AskOutcome(99), OutcomeOf).state == "unknown"
    assert bench.send(start(3, program, 4_200)) == [Done(3)]


def test_the_newest_256_ids_are_remembered() -> None:
    program = stimulation()
    bench = running(program)
    for command_id in range(3, 258):
        assert bench.send(change(command_id, program, 4_200)) == [Done(command_id)]
    assert bench.ask(AskOutcome(2), OutcomeOf).state == "executed"
    assert bench.ask(AskOutcome(1), OutcomeOf).state == "unknown"


_PAIR = [WireElectrode(contact=1, share=-100), WireElectrode(contact=2, share=100)]


@pytest.mark.parametrize(
    "program",
    [
        stimulation(rate=1_000),
        stimulation(rate=5_000_000),
        stimulation(rate=50_500),
        stimulation(rate=10_000_000),
        stimulation(waveform="high-frequency"),
        stimulation(area(pulse_width=60), waveform="high-frequency", rate=10_000_000),
        stimulation(area(pulse_width=1_000), rate=1_200_000),
        stimulation(area(pulse_width=10)),
        stimulation(area(pulse_width=215)),
        stimulation(area(pulse_width=1_010)),
        stimulation(area(amplitude=4_250)),
        stimulation(area(amplitude=6_100)),
        stimulation(area(ceiling=25_600)),
        stimulation(area(electrodes=_PAIR, amplitude=12_800, ceiling=25_500)),
        stimulation(ramp=400),
        stimulation(ramp=0),
        stimulation(stimulate=30_000),
        stimulation(stimulate=999, pause=1_000),
        stimulation(area(electrodes=[_PAIR[0], WireElectrode(contact=2, share=90)])),
        stimulation(area(electrodes=[_PAIR[0], WireElectrode(contact=17, share=100)])),
        stimulation(area(electrodes=[_PAIR[0], WireElectrode(contact=1, share=100)])),
        stimulation(area(electrodes=[*_PAIR, WireElectrode(contact=3, share=0)])),
        stimulation(burst_pulses=5),
        burst(intra_rate=0),
        burst(intra_rate=1_000_000),
        burst(burst_pulses=13),
    ],
)
def test_the_factory_refuses_what_the_device_was_not_built_for(program: WireProgram) -> None:
    reply = Bench("stimulator").open().commit(1, program)
    assert isinstance(reply, Refused)
    assert reply.code == "out-of-range"


@pytest.mark.parametrize(
    "program",
    [
        stimulation(),
        burst(),
        stimulation(area(pulse_width=30), waveform="high-frequency", rate=10_000_000),
        stimulation(area(pulse_width=20), rate=1_200_000),
        stimulation(
            area(
                electrodes=[WireElectrode(contact=0, share=100), *area().electrodes[:1]],
                amplitude=12_700,
                ceiling=25_500,
            )
        ),
        stimulation(stimulate=1_000, pause=1_000),
    ],
)
def test_the_factory_takes_the_corners_of_its_envelope(program: WireProgram) -> None:
    assert Bench("stimulator").open().commit(1, program) == Done(1)


def test_an_area_without_set_amplitude_rises_at_the_slope_to_its_ceiling() -> None:
    program = stimulation(area(amplitude=0, ceiling=6_000), ramp=3_000)
    bench = Bench("stimulator").program(1, program)
    assert bench.send(start(2, program, 600)) == [Done(2)]
    bench.at(bench.device.t_ms + 1_000)
    rise = currents(bench.truth, "E3")
    assert [amplitude for _, amplitude in rise] == [-100, -200, -300, -400, -500, -600]
    begun = bench.device.t_ms - 1_000
    assert [at for at, _ in rise] == [begun + 50 * step for step in range(1, 7)]


def test_a_request_of_the_other_family_is_no_message() -> None:
    bench = Bench("stimulator").open()
    reply: list[Message] = bench.send(Done(1))
    assert [type(message) for message in reply] == [Refused]
