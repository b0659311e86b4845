"""The simulated pump: conservation of volume and mass, schedule, boluses, button, stops."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_bench import BORN_MS, DAY, HOUR, MORPHINE, Bench, infusion
from simulator_bench import pump_status as status

from firmware_bridge.families.itp.body import PumpBody
from firmware_bridge.families.itp.physics import PPM, TUBING_NL, UNITS_PER_NL, PumpPhysics
from firmware_bridge.families.itp.wire import (
    Bolus,
    WireBridge,
    WireDrug,
    WirePatientBolus,
    WirePumpProgram,
    WireStep,
)
from firmware_bridge.protocol.messages import (
    AskEvent,
    Done,
    LoggedEvent,
    Refused,
    Stop,
    Stopped,
)
from firmware_bridge.simulator.truth import TruthInMemory

OVER = 600_000


def pumping(program: WirePumpProgram | None = None, **options: Any) -> Bench:
    return Bench("pump", **options).program(1, program or infusion())


# --- physics ---------------------------------------------------------------------------------

_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("wait", "bolus", "prime", "refill", "bridge", "stall", "occlude", "gain"),
                *("free", "heal", "halt", "follow"),
            ]
        ),
        st.integers(1, 20_000_000),
        st.integers(1, 2 * DAY),
    ),
    max_size=10,
)


DRUGS = [WireDrug(name="morphine", concentration=MORPHINE)]
BRIDGE = [WireStep(start=300, flow=600_000), WireStep(start=900, flow=48_000)]


def _in_body(body: PumpBody, name: str) -> int:
    """Units x ng/mL of a drug in reservoir and line."""
    physics = body.physics()
    stretches = [(physics.reservoir, physics.mix)]
    stretches += [(segment.units, segment.mix) for segment in physics.line]
    return sum(units * dict(mix).get(name, 0) for units, mix in stretches)


@given(_ACTIONS, st.integers(-145_000, 145_000))
def test_volume_and_mass_are_conserved_exactly(
    actions: list[tuple[str, int, int]], error_ppm: int
) -> None:
    physics = PumpPhysics(accuracy=PPM + error_ppm)
    body = PumpBody(TruthInMemory(), born_ms=BORN_MS, physics=physics)
    drugs = [("morphine", MORPHINE), ("baclofen", 500_000)]
    body.fill(18_000_000, (drugs[0],), catheter=286_000, primed=True)
    schedule = [WireStep(start=420, flow=240_000), WireStep(start=1_320, flow=180_000)]
    body.follow(schedule, 60)
    filled = body.physics().reservoir
    put_in = {name: _in_body(body, name) for name, _ in drugs}
    for action, volume, duration in actions:
        match action:
            case "bolus" if body.bolus("host") is None:
                body.begin_bolus("host", volume, duration)
            case "prime" if body.bolus("prime") is None:
                body.begin_bolus("prime", volume, duration)
            case "bridge":
                body.follow(schedule, 60, WireBridge(drugs=DRUGS, basal=BRIDGE, volume=volume))
            case "refill":
                before = {name: _in_body(body, name) for name, _ in drugs}
                filled -= body.physics().reservoir
                mix = ((drugs[volume % 2][0], drugs[volume % 2][1]),)
                body.fill(volume, mix, catheter=1, primed=False)
                filled += body.physics().reservoir
                for name, _ in drugs:
                    put_in[name] += _in_body(body, name) - before[name]
            case "stall":
                body.set_faults(body.faults.model_copy(update={"stalled": True}))
            case "occlude":
                body.set_faults(body.faults.model_copy(update={"occluded": True}))
            case "gain":
                body.set_faults(body.faults.model_copy(update={"gain": 1_500_000}))
            case "free":
                body.set_faults(body.faults.model_copy(update={"free_flow": True}))
            case "heal":
                body.set_faults(type(body.faults)())
            case "halt":
                body.halt()
            case "follow":
                body.follow(schedule, 60)
        body.advance(body.t_ms + duration)
        physics = body.physics()
        assert physics.reservoir >= 0
        assert physics.reservoir + physics.delivered == filled
        line = sum(segment.units for segment in physics.line)
        assert line == (TUBING_NL + 286_000) * UNITS_PER_NL
        for name, _ in drugs:
            assert _in_body(body, name) + physics.tip_mass.get(name, 0) == put_in[name]


@given(st.lists(st.integers(0, 3 * DAY), max_size=8), st.integers(-145_000, 145_000))
def test_the_truth_does_not_depend_on_when_anybody_looks(looks: list[int], error: int) -> None:
    program = infusion(
        basal=[WireStep(start=420, flow=240_001), WireStep(start=1_320, flow=180_007)],
        fill_volume=1_000_000,
        primed=False,
    )

    def day(stops: list[int]) -> Bench:
        bench = pumping(program, error_ppm=error)
        bench.send(Bolus(2, 15_001, 7_000_001))
        for stop in sorted(stops):
            bench.at(stop)
            status(bench)
        bench.at(3 * DAY)
        bench.device.close(3 * DAY)
        return bench

    assert day(looks).truth == day([]).truth


def test_a_day_of_the_example_program_is_exactly_this() -> None:
    program = infusion(
        basal=[WireStep(start=420, flow=240_000), WireStep(start=1_320, flow=180_000)],
        utc_offset_min=60,
    )
    bench = pumping(program)
    bench.at(DAY)
    bench.device.close(DAY)
    # Midnight UTC is 01:00 local: 180,000 until 07:00, 240,000 until 22:00, 180,000 again.
    assert bench.truth == [
        {"t_ms": 0, "volume_nL": 0, "tip_mass_fg": {"morphine": 0}},
        {
            "t_ms": 6 * HOUR,
            "volume_nL": 45_000,
            "tip_mass_fg": {"morphine": 45_000 * MORPHINE},
        },
        {
            "t_ms": 21 * HOUR,
            "volume_nL": 195_000,
            "tip_mass_fg": {"morphine": 195_000 * MORPHINE},
        },
        {
            "t_ms": DAY,
            "volume_nL": 217_500,
            "tip_mass_fg": {"morphine": 217_500 * MORPHINE},
        },
    ]


def test_an_unprimed_line_keeps_drug_from_the_tip_until_it_has_been_pushed_out() -> None:
    bench = pumping(infusion(primed=False, basal=[WireStep(start=0, flow=4_850_000)]))
    bench.at(3 * HOUR)
    # 485,000 nL of line at 4,850,000 nL/day: a tenth of a day.
    arrived = DAY // 10
    assert bench.truth[1:] == [
        {"t_ms": arrived, "volume_nL": 485_000, "tip_mass_fg": {"morphine": 0}}
    ]
    bench.device.close(3 * HOUR)
    behind = 4_850_000 * 3 // 24 - 485_000
    assert bench.truth[-1]["tip_mass_fg"] == {"morphine": behind * MORPHINE}


def test_another_drug_reaches_the_tip_behind_the_old_one() -> None:
    bench = pumping(infusion(basal=[WireStep(start=0, flow=4_850_000)]))
    other = infusion(
        basal=[WireStep(start=0, flow=4_850_000)],
        drugs=[WireDrug(name="ziconotide", concentration=25_000)],
        fill_at=BORN_MS + 1,
    )
    assert bench.commit(2, other) == Done(2)
    bench.at(DAY // 5)
    bench.device.close(DAY // 5)
    assert [line["t_ms"] for line in bench.truth] == [0, DAY // 10, DAY // 5]
    assert bench.truth[-1]["tip_mass_fg"] == {
        "morphine": 485_000 * MORPHINE,
        "ziconotide": 485_000 * 25_000,
    }


@pytest.mark.fault("F103")
def test_an_empty_reservoir_ends_flow_and_bolus() -> None:
    bench = pumping(infusion(fill_volume=10_000, low_reservoir=5_000))
    bench.send(Bolus(2, 15_000, OVER))
    bench.at(5 * OVER)
    now = status(bench)
    assert (now.flow, now.reservoir, now.delivered) == (0, 0, 10_000)
    assert now.alarms == ["reservoir-empty"]
    state, delivered = bench.outcome(2)
    assert state == "interrupted"
    # A tenth of what flowed was basal.
    assert delivered == 9_000
    assert bench.refused(Bolus(3, 1_000, OVER)) == "wrong-state"


def test_a_refill_counts_once_per_date() -> None:
    bench = pumping()
    bench.at(DAY)
    assert status(bench).reservoir == 17_760_000
    bench.commit(2, infusion())
    assert status(bench).reservoir == 17_760_000
    bench.commit(3, infusion(fill_at=BORN_MS + 1, fill_volume=15_000_000))
    assert status(bench).reservoir == 15_000_000
    bench.commit(4, infusion())
    assert status(bench).reservoir == 15_000_000
    assert status(bench).delivered == 240_000


# --- bolus -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-17")
@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F36")
def test_a_bolus_flows_on_top_of_the_basal_and_its_volume_is_exact() -> None:
    bench = pumping()
    assert bench.send(Bolus(2, 15_000, OVER)) == [Done(2)]
    bench.at(OVER // 2)
    now = status(bench)
    assert now.flow == 240_000 + 15_000 * DAY // OVER
    assert now.bolus_id == 2
    assert bench.outcome(2) == ("running", 7_500)
    assert bench.refused(Bolus(3, 15_000, OVER)) == "busy"
    busy = bench.commit(4, infusion())
    assert isinstance(busy, Refused)
    assert busy.code == "busy"
    bench.at(2 * OVER)
    assert bench.outcome(2) == ("executed", 15_000)
    assert status(bench).bolus_id == 0
    assert bench.send(Bolus(2, 15_000, OVER)) == [Done(2)]
    assert status(bench).bolus_id == 0
    assert bench.refused(Bolus(2, 15_001, OVER)) == "id-reused"
    assert bench.refused(Bolus(3, 15_000, OVER)) == "busy"
    assert bench.send(Bolus(5, 15_000, OVER)) == [Done(5)]


@pytest.mark.fault("F36")
@pytest.mark.fault("F88")
@pytest.mark.parametrize("cause", ["reset", "hold", "flow"])
def test_an_interrupted_bolus_never_goes_on(cause: str) -> None:
    bench = pumping()
    bench.send(Bolus(2, 15_000, OVER))
    bench.at(OVER // 3)
    if cause == "reset":
        bench.device.inject("reset", bench.now)
        bench.open()
    else:
        bench.send(Stop("hold" if cause == "hold" else "flow"))
    assert bench.outcome(2) == ("interrupted", 5_000)
    before = status(bench)
    assert before.flow == (0 if cause == "flow" else 240_000)
    assert bench.send(Bolus(2, 15_000, OVER)) == [Done(2)]
    assert status(bench).flow == before.flow
    bench.at(3 * OVER)
    assert bench.outcome(2) == ("interrupted", 5_000)


@pytest.mark.requirement("SR-17")
@pytest.mark.parametrize(("volume", "over"), [(0, OVER), (15_000, 0), (165_001, OVER)])
def test_a_bolus_over_the_flow_ceiling_is_refused(volume: int, over: int) -> None:
    bench = pumping()
    assert bench.refused(Bolus(2, volume, over)) == "out-of-range"
    assert bench.send(Bolus(3, 165_000, OVER)) == [Done(3)]


# --- button ----------------------------------------------------------------------------------


def presses(bench: Bench, times: list[int]) -> list[int]:
    """The times at which a press was granted."""
    granted = []
    for time in times:
        bench.now = time
        if bench.device.press(time):
            granted.append(time)
    return granted


@pytest.mark.requirement("SR-16")
@pytest.mark.fault("F61")
def test_lockout_runs_from_start_to_start_and_begins_with_the_program() -> None:
    bench = pumping()
    lockout = 4 * HOUR
    times = [0, lockout - 1, lockout, lockout + OVER, 2 * lockout - 1, 2 * lockout]
    assert presses(bench, times) == [lockout, 2 * lockout]
    assert status(bench).patient_boluses == 2
    bench.at(2 * lockout + OVER)
    assert status(bench).flow == 240_000
    bench.commit(2, infusion())
    assert status(bench).patient_boluses == 0
    assert presses(bench, [3 * lockout, 3 * lockout + OVER]) == [3 * lockout + OVER]


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F61")
def test_the_count_slides_over_24_hours_from_the_end_of_each_bolus() -> None:
    button = WirePatientBolus(volume=15_000, over=OVER, lockout=HOUR, max_per_24h=2)
    bench = pumping(infusion(patient_bolus=button))
    freed = HOUR + OVER + DAY
    times = [HOUR, 2 * HOUR, 3 * HOUR, 12 * HOUR, freed - 1, freed, freed + HOUR - 1]
    assert presses(bench, times) == [HOUR, 2 * HOUR, freed]
    assert presses(bench, [freed + HOUR]) == [freed + HOUR]


@pytest.mark.requirement("SR-16")
def test_reprogramming_neither_empties_the_count_nor_shortens_a_lockout() -> None:
    button = WirePatientBolus(volume=15_000, over=OVER, lockout=4 * HOUR, max_per_24h=2)
    bench = pumping(infusion(patient_bolus=button))
    assert presses(bench, [4 * HOUR]) == [4 * HOUR]
    bench.at(5 * HOUR)
    shorter = WirePatientBolus(volume=15_000, over=OVER, lockout=HOUR, max_per_24h=2)
    bench.commit(2, infusion(patient_bolus=shorter))
    assert presses(bench, [6 * HOUR, 8 * HOUR, 9 * HOUR, 10 * HOUR]) == [8 * HOUR]


def test_the_button_is_closed_while_held_without_program_and_during_a_bolus() -> None:
    empty = Bench("pump").open()
    assert not empty.device.press(DAY)
    bench = pumping()
    bench.at(5 * HOUR)
    bench.send(Bolus(2, 15_000, OVER))
    assert not bench.device.press(5 * HOUR)
    bench.at(6 * HOUR)
    bench.send(Stop("hold"))
    assert not bench.device.press(6 * HOUR)
    assert [text for text in bench.log() if "button" in text] == [
        "button: nothing, bolus under way",
        "button: nothing, closed",
    ]
    latest = bench.ask(AskEvent(0), LoggedEvent).latest
    assert bench.ask(AskEvent(latest), LoggedEvent).number == 0


# --- stop ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-30")
@pytest.mark.parametrize(
    ("policy", "depth", "state"),
    [
        ("may-stop", "hold", "held"),
        ("may-stop", "policy", "halted"),
        ("may-stop", "flow", "halted"),
        ("hold-basal", "policy", "held"),
        ("never-stop", "policy", "held"),
        ("never-stop", "flow", "halted"),
    ],
)
def test_each_depth_of_stop_ends_in_its_state(policy: str, depth: Any, state: str) -> None:
    bench = pumping(infusion(stop_policy=policy))
    bench.at(HOUR)
    assert bench.send(Stop(depth), session=0) == [Stopped("ITP-0001")]
    now = status(bench)
    assert now.state == state
    assert now.flow == (0 if state == "halted" else 240_000)
    assert bench.refused(Bolus(2, 15_000, OVER)) == "wrong-state"
    bench.device.inject("reset", bench.now)
    assert status(bench.open()).state == state
    bench.send(Stop("hold"))
    assert status(bench).state == state
    assert bench.commit(3, infusion()) == Done(3)
    assert status(bench).state == "running"
    assert status(bench).flow == 240_000


def test_an_empty_pump_stops_and_stays_empty() -> None:
    bench = Bench("pump").open()
    assert bench.send(Stop("flow")) == [Stopped("ITP-0001")]
    assert status(bench).state == "empty-program"
    assert bench.refused(Bolus(2, 15_000, OVER)) == "wrong-state"


# --- faults of the body ------------------------------------------------------------------------


@pytest.mark.fault("F100")
def test_a_stalled_motor_stops_flow_and_spoils_a_bolus() -> None:
    bench = pumping()
    bench.send(Bolus(2, 15_000, OVER))
    bench.at(OVER // 2)
    bench.device.inject("motor_stall", bench.now)
    bench.at(OVER)
    now = status(bench)
    assert now.flow == 0
    assert now.alarms == ["motor-stall"]
    assert bench.outcome(2) == ("interrupted", 7_500)
    assert bench.truth[-1]["t_ms"] == OVER // 2
    bench.device.inject("heal", 2 * OVER)
    assert status(bench).flow == 240_000


def test_over_delivery_and_free_flow_show_on_the_odometer() -> None:
    bench = pumping()
    bench.device.inject("over_delivery", 0)
    bench.at(DAY)
    assert status(bench).delivered == 360_000
    bench.device.inject("heal", DAY)
    bench.send(Stop("flow"))
    bench.device.inject("free_flow", DAY)
    assert status(bench).flow == 100_000_000
    bench.at(DAY + HOUR)
    assert status(bench).delivered == 360_000 + 4_166_667


# --- factory ---------------------------------------------------------------------------------

_DRUG = WireDrug(name="morphine", concentration=MORPHINE)


@pytest.mark.parametrize(
    "program",
    [
        infusion(basal=[WireStep(start=0, flow=47_999)]),
        infusion(basal=[WireStep(start=0, flow=24_000_001)]),
        infusion(basal=[WireStep(start=9, flow=240_000), WireStep(start=8, flow=240_000)]),
        infusion(basal=[WireStep(start=9, flow=240_000), WireStep(start=9, flow=240_000)]),
        infusion(fill_volume=20_000_001),
        infusion(low_reservoir=20_000_001),
        infusion(drugs=[_DRUG, _DRUG]),
        *(
            infusion(patient_bolus=WirePatientBolus(**{**button, "max_per_24h": 4}))
            for button in (
                {"volume": 15_000, "over": OVER, "lockout": OVER - 1},
                {"volume": 1_000, "over": 30_000, "lockout": 59_999},
                {"volume": 165_001, "over": OVER, "lockout": HOUR},
                {"volume": 0, "over": OVER, "lockout": HOUR},
                {"volume": 15_000, "over": 0, "lockout": HOUR},
            )
        ),
    ],
)
def test_the_factory_refuses_what_the_pump_was_not_built_for(program: WirePumpProgram) -> None:
    reply = Bench("pump").open().commit(1, program)
    assert isinstance(reply, Refused)
    assert reply.code == "out-of-range"
