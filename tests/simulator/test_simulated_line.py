"""The simulated pump's bridge: a new concentration reaches the tip, and the dose never changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_bench import BORN_MS, DAY, HOUR, Bench, infusion, pump_status, tip_mass

from firmware_bridge.families.itp.physics import TUBING_NL
from firmware_bridge.families.itp.wire import (
    Bolus,
    Prime,
    WireBridge,
    WireDrug,
    WirePatientBolus,
    WirePumpProgram,
    WireStep,
)
from firmware_bridge.protocol.messages import Done, Refused, Stop
from firmware_bridge.simulator.memory import MemoryFile
from firmware_bridge.simulator.truth import TruthFile

MCG = 1_000_000_000
"""fg."""
DOSE = 300 * MCG
NEXT_FILL = BORN_MS + DAY
LINE = 400_000
BRIDGE_MS = 16 * HOUR


def given_by(bench: Bench) -> int:
    """fg of baclofen that have left the tip."""
    return tip_mass(bench, "baclofen")


def filled(flow: int, concentration: int, line: int = LINE, **other: Any) -> WirePumpProgram:
    """A program for one drug in a line of ``line`` nL, its button closed."""
    values: dict[str, Any] = {
        "drugs": [WireDrug(name="baclofen", concentration=concentration)],
        "basal": [WireStep(start=0, flow=flow)],
        "catheter": line - TUBING_NL,
        "patient_bolus": None,
    }
    return infusion(**{**values, **other})


def bridge(flow: int, concentration: int, volume: int = LINE) -> WireBridge:
    return WireBridge(
        drugs=[WireDrug(name="baclofen", concentration=concentration)],
        basal=[WireStep(start=0, flow=flow)],
        volume=volume,
    )


STRONGER = filled(150_000, 2_000_000, fill_at=NEXT_FILL)
"""300 mcg/day at 2000 mcg/mL, after 500 mcg/mL: the first line of the table below."""
BRIDGED = STRONGER.model_copy(update={"bridge": bridge(600_000, 500_000)})


def bridging(program: WirePumpProgram = BRIDGED, **options: Any) -> Bench:
    """A pump that has run 500 mcg/mL for a day and has just been refilled with 2000 mcg/mL."""
    bench = Bench("pump", **options).program(1, filled(600_000, 500_000))
    bench.at(DAY)
    assert bench.commit(2, program) == Done(2)
    return bench


# --- the table of domain.md 2.6 ------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One line of the table: a change of concentration at a wanted dose; flows in nL/day."""

    dose: int
    old: int
    new: int
    line: int
    bridge_flow: int
    bridge_ms: int
    flow: int
    wrong_dose: int
    wrong_ms: int

    def refill(self, bridged: bool) -> Bench:
        """A pump that has run the old drug for a day and was refilled with the new one."""
        bench = Bench("pump").program(1, filled(self.bridge_flow, self.old, self.line))
        bench.at(DAY)
        way = bridge(self.bridge_flow, self.old, self.line) if bridged else None
        program = filled(self.flow, self.new, self.line, fill_at=NEXT_FILL, bridge=way)
        assert bench.commit(2, program) == Done(2)
        return bench


MEDIUM, LONG = 123_552_000, 308_880_000
"""34.32 h and 85.8 h."""
TABLE = [
    # dose, old, new, line, bridge and its time, then; the dose without a bridge and its time
    Change(DOSE, 500_000, 2_000_000, LINE, 600_000, 16 * HOUR, 150_000, DOSE // 4, 64 * HOUR),
    Change(DOSE, 2_000_000, 500_000, LINE, 150_000, 64 * HOUR, 600_000, 1_200 * MCG, 16 * HOUR),
    Change(2_000 * MCG, 10_000_000, 25_000_000, 286_000, 200_000, MEDIUM, 80_000, 800 * MCG, LONG),
    Change(5 * MCG, 25_000, 100_000, 286_000, 200_000, MEDIUM, 50_000, 5 * MCG // 4, 4 * MEDIUM),
]


@pytest.mark.requirement("SR-12")
@pytest.mark.vector("V8.3")
@pytest.mark.parametrize("change", TABLE)
def test_through_a_right_bridge_the_tip_gives_the_wanted_dose_every_hour(change: Change) -> None:
    bench = change.refill(bridged=True)
    end = DAY + change.bridge_ms
    for now in sorted([*range(DAY + HOUR, end + DAY, HOUR), end - 1, end, end + 1]):
        bench.at(now)
        assert given_by(bench) == -(-change.dose * now // DAY)
    flows = [line["t_ms"] for line in bench.truth if line["t_ms"] != 0]
    assert flows == [end]
    assert pump_status(bench).flow == change.flow


@pytest.mark.requirement("SR-12")
@pytest.mark.vector("V8.3")
@pytest.mark.parametrize("change", TABLE)
def test_without_a_bridge_the_tip_gives_the_tables_wrong_dose_for_its_time(change: Change) -> None:
    bench = change.refill(bridged=False)
    wrong_until = DAY + change.wrong_ms
    bench.at(wrong_until)
    assert given_by(bench) - change.dose == -(-change.wrong_dose * change.wrong_ms // DAY)
    assert bench.truth[-1]["t_ms"] == wrong_until
    before = given_by(bench)
    bench.at(wrong_until + DAY)
    assert given_by(bench) - before == change.dose


@given(
    st.integers(48_000, 3_000_000),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(1_000, 1_000_000),
    st.integers(TUBING_NL, TUBING_NL + 1_000_000),
    st.integers(0, 2_000),
)
def test_a_right_bridge_gives_the_wanted_dose_for_every_change(
    flow: int, old: int, new: int, strength: int, line: int, permille: int
) -> None:
    """Flows in the ratio of the concentrations; looked at anywhere in twice the bridge's time."""
    first = filled(flow * new, old * strength, line)
    second = filled(
        flow * old,
        new * strength,
        line,
        fill_at=NEXT_FILL,
        bridge=bridge(flow * new, old * strength, line),
    )
    bench = Bench("pump").program(1, first)
    bench.at(HOUR)
    assert bench.commit(2, second) == Done(2)
    bench.at(HOUR + line * DAY * permille // (flow * new * 1_000))
    wanted = flow * old * new * strength * bench.now
    # The bridge ends with the ms in which its volume has left.
    in_a_ms = flow * old * new * strength * max(old, new) // min(old, new)
    assert abs(given_by(bench) * DAY - wanted) <= in_a_ms + DAY


def test_a_bridge_has_the_hours_of_the_day_that_the_basal_has() -> None:
    night_and_day = [WireStep(start=420, flow=480_000), WireStep(start=1_320, flow=360_000)]
    old = filled(0, 5_000_000, basal=night_and_day)
    halves = [WireStep(start=step.start, flow=step.flow // 2) for step in night_and_day]
    way = WireBridge(drugs=old.drugs, basal=night_and_day, volume=LINE)
    new = filled(0, 10_000_000, basal=halves, fill_at=NEXT_FILL, bridge=way)
    twin, bench = Bench("pump").program(1, old), Bench("pump").program(1, old)
    bench.at(9 * HOUR)
    assert bench.commit(2, new) == Done(2)
    for now in range(10 * HOUR, 4 * DAY, HOUR):
        twin.at(now)
        bench.at(now)
        assert abs(given_by(bench) - given_by(twin)) <= 10_000_000
    assert pump_status(bench).line_left == 0


def test_a_new_pumps_line_holds_what_its_first_bridge_says() -> None:
    bench = Bench("pump").program(1, BRIDGED)
    for now in (HOUR, BRIDGE_MS, DAY):
        bench.at(now)
        assert given_by(bench) == -(-DOSE * now // DAY)


# --- what the pump does by itself ----------------------------------------------------------------


def test_the_status_counts_a_bridge_down_and_then_shows_the_basal() -> None:
    bench = bridging()
    assert pump_status(bench).line_left == LINE
    bench.at(DAY + BRIDGE_MS // 4)
    now = pump_status(bench)
    assert (now.state, now.flow, now.line_left) == ("running", 600_000, 300_000)
    bench.at(DAY + BRIDGE_MS)
    now = pump_status(bench)
    assert (now.state, now.flow, now.line_left) == ("running", 150_000, 0)
    assert "bridge done" in bench.log()


@given(st.lists(st.integers(DAY, 2 * DAY), max_size=8))
def test_no_loss_of_power_changes_anything_of_a_bridge(losses: list[int]) -> None:
    bench = bridging()
    for now in sorted(losses):
        bench.at(now)
        bench.reset()
    bench.at(2 * DAY)
    assert [line["t_ms"] for line in bench.truth] == [0, DAY + BRIDGE_MS]
    assert given_by(bench) == 600 * MCG
    assert bench.commit(3, BRIDGED) == Done(3)
    assert pump_status(bench).line_left == 0


def test_a_bridge_goes_on_in_a_pump_that_was_killed(tmp_path: Path) -> None:
    def begin() -> Bench:
        truth: Any = TruthFile(tmp_path / "truth")
        return Bench("pump", truth=truth, memory=MemoryFile(tmp_path / "state"))

    first = begin().program(1, BRIDGED)
    for moment in (BRIDGE_MS // 4, BRIDGE_MS // 2):
        first.at(moment)
    left = pump_status(first).line_left
    first.device.truth.close()

    second = begin().open()
    now = pump_status(second)
    # It comes back up to a second later, and nothing is taken back.
    assert left - 7 <= now.line_left <= left
    assert now.flow == 600_000
    second.at(BRIDGE_MS // 2)
    assert pump_status(second).line_left == 0
    started = second.device.machine.firmware.body.t_ms
    assert given_by(second) == -(-DOSE * started // DAY)
    second.device.close(second.now)


def test_a_commit_for_the_same_fill_goes_on_with_what_is_left() -> None:
    bench = bridging()
    bench.at(DAY + BRIDGE_MS // 2)
    assert bench.commit(3, BRIDGED) == Done(3)
    assert pump_status(bench).line_left == LINE // 2
    bench.at(DAY + BRIDGE_MS)
    assert pump_status(bench).line_left == 0
    for command_id in (4, 5):
        assert bench.commit(command_id, BRIDGED) == Done(command_id)
        now = pump_status(bench)
        assert (now.flow, now.line_left) == (150_000, 0)
        bench.reset()
    longer = BRIDGED.model_copy(update={"bridge": bridge(600_000, 500_000, 2 * LINE)})
    assert bench.commit(6, longer) == Done(6)
    assert pump_status(bench).line_left == 0


def test_what_left_without_the_bridge_is_not_bridged_later() -> None:
    bench = bridging(STRONGER)
    bench.at(DAY + 16 * HOUR)
    assert bench.commit(3, BRIDGED) == Done(3)
    # A quarter of the line has left at the basal's 150,000 nL/day.
    assert pump_status(bench).line_left == LINE * 3 // 4
    bench.at(DAY + 28 * HOUR)
    before = given_by(bench)
    assert pump_status(bench).line_left == 0
    bench.at(2 * DAY + 28 * HOUR)
    assert given_by(bench) - before == DOSE


def test_a_newer_fill_closes_the_bridge_of_the_one_before() -> None:
    bench = bridging()
    bench.at(DAY + HOUR)
    newer = STRONGER.model_copy(update={"fill_at": NEXT_FILL + 1})
    assert bench.commit(3, newer) == Done(3)
    assert pump_status(bench).line_left == 0
    assert bench.commit(4, BRIDGED) == Done(4)
    assert (pump_status(bench).flow, pump_status(bench).line_left) == (150_000, 0)


@pytest.mark.parametrize("depth", ["hold", "policy"])
def test_a_stop_that_keeps_the_basal_keeps_the_bridge(depth: Any) -> None:
    bench = bridging()
    bench.send(Stop(depth))
    bench.at(DAY + BRIDGE_MS)
    now = pump_status(bench)
    assert (now.state, now.flow, now.line_left) == ("held", 150_000, 0)
    assert given_by(bench) == 500 * MCG


def test_a_halted_bridge_keeps_what_it_has_left_to_move() -> None:
    bench = bridging()
    bench.at(DAY + BRIDGE_MS // 4)
    bench.send(Stop("flow"))
    bench.at(3 * DAY)
    now = pump_status(bench)
    assert (now.state, now.flow, now.line_left) == ("halted", 0, LINE * 3 // 4)
    bench.reset()
    assert bench.commit(3, BRIDGED) == Done(3)
    bench.at(3 * DAY + BRIDGE_MS * 3 // 4)
    assert (pump_status(bench).flow, pump_status(bench).line_left) == (150_000, 0)


def test_a_bridge_whose_program_was_lost_goes_on_with_the_next_commit() -> None:
    bench = bridging()
    bench.at(DAY + BRIDGE_MS // 4)
    bench.device.inject("battery_reset", bench.now)
    bench.open()
    now = pump_status(bench)
    assert (now.state, now.flow, now.line_left) == ("empty-program", 0, 0)
    assert bench.commit(3, BRIDGED) == Done(3)
    assert pump_status(bench).line_left == LINE * 3 // 4


@pytest.mark.parametrize("error_ppm", [-145_000, 145_000])
def test_a_bridge_ends_by_the_motors_count_whatever_really_left(error_ppm: int) -> None:
    bench = bridging(error_ppm=error_ppm)
    bench.at(DAY + BRIDGE_MS - 1)
    assert pump_status(bench).line_left == 1
    bench.at(DAY + BRIDGE_MS)
    assert pump_status(bench).line_left == 0
    moved = pump_status(bench).delivered
    assert moved == -(-(600_000 + LINE) * (1_000_000 + error_ppm) // 1_000_000)


def test_a_stalled_motor_counts_nothing_of_a_bridge_and_an_occluded_one_all() -> None:
    stalled, occluded = bridging(), bridging()
    for bench, fault in ((stalled, "motor_stall"), (occluded, "occlusion")):
        bench.at(DAY + BRIDGE_MS // 2)
        bench.device.inject(fault, bench.now)
        bench.at(2 * DAY)
    assert pump_status(stalled).line_left == LINE // 2
    assert pump_status(occluded).line_left == 0
    assert pump_status(stalled).delivered == pump_status(occluded).delivered == 800_000


@pytest.mark.parametrize(
    "way",
    [
        bridge(47_999, 500_000),
        bridge(24_000_001, 500_000),
        bridge(600_000, 500_000, 0),
        bridge(600_000, 500_000, 20_000_001),
        WireBridge(drugs=[BRIDGED.drugs[0]] * 2, basal=BRIDGED.basal, volume=LINE),
        WireBridge(drugs=BRIDGED.drugs, basal=[BRIDGED.basal[0]] * 2, volume=LINE),
    ],
)
def test_the_factory_refuses_a_bridge_that_the_pump_was_not_built_for(way: WireBridge) -> None:
    reply = Bench("pump").open().commit(1, STRONGER.model_copy(update={"bridge": way}))
    assert isinstance(reply, Refused)
    assert reply.code == "out-of-range"


# --- until it has settled ------------------------------------------------------------------------

SETTLING = 67_837
"""nL: 400,000 / 0.855 = 467,836.26, rounded up, less the bridge's own 400,000."""
SETTLED = DAY + BRIDGE_MS + 39_074_112
"""At the basal's 150,000 nL/day they take 39,074,112 ms, 10.85 h, after the bridge."""
LOCKOUT = 4 * HOUR
LAST_NL = 576
"""ms that one nL takes at 150,000 nL/day."""


def with_button(lockout: int = LOCKOUT, **other: Any) -> WirePumpProgram:
    """The bridged program with a button, in a line that may be primed."""
    button = WirePatientBolus(volume=15_000, over=600_000, lockout=lockout, max_per_24h=4)
    return BRIDGED.model_copy(update={"patient_bolus": button, "primed": False, **other})


def moves(bench: Bench) -> tuple[int, int]:
    """What is left of the bridge, and to settle after it, nL."""
    now = pump_status(bench)
    return now.line_left, now.settling


def expect_closed(bench: Bench) -> None:
    """Boluses, prime and button are refused, each in its words."""
    for request in (Bolus(101, 1_000, HOUR), Prime(102, 1_000, HOUR, NEXT_FILL)):
        refused = bench.ask(request, Refused)
        assert (refused.code, refused.detail) == ("wrong-state", "bridging")
    assert not bench.device.press(bench.now)
    assert bench.log()[-1] == "button: nothing, bridge"


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("now", [DAY, DAY + 5 * HOUR, DAY + BRIDGE_MS, SETTLED - 1])
def test_boluses_prime_and_button_are_closed_until_a_bridge_has_settled(now: int) -> None:
    bench = bridging(with_button())
    bench.at(now)
    expect_closed(bench)
    bench.at(SETTLED)
    assert moves(bench) == (0, 0)
    assert bench.send(Bolus(3, 1_000, HOUR)) == [Done(3)]
    bench.at(SETTLED + HOUR)
    assert bench.send(Prime(4, 1_000, HOUR, NEXT_FILL)) == [Done(4)]


@pytest.mark.requirement("SR-12")
def test_settling_stands_still_while_the_bridge_runs_and_then_falls_with_the_basal() -> None:
    bench = bridging()
    for now, left in ((DAY, 400_000), (DAY + 4 * HOUR, 300_000), (DAY + BRIDGE_MS - 144, 1)):
        bench.at(now)
        assert moves(bench) == (left, SETTLING)
    for hours, settling in ((0, SETTLING), (1, 61_587), (10, 5_337)):  # 6,250 nL an hour
        bench.at(DAY + BRIDGE_MS + hours * HOUR)
        assert moves(bench) == (0, settling)
        assert pump_status(bench).flow == 150_000
    for now, settling in ((SETTLED - LAST_NL, 1), (SETTLED - 1, 1), (SETTLED, 0), (3 * DAY, 0)):
        bench.at(now)
        assert moves(bench) == (0, settling)


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("line", "settling"),
    [
        (400_000, 67_837),
        (485_000, 82_252),  # 485,000 / 0.855 = 567,251.46
        (855_000, 145_000),  # exactly 1 mL
        (855_001, 145_001),  # 1,000,001.17 rounded up, less 855,001
        (TUBING_NL, 33_749),  # 199,000 / 0.855 = 232,748.54
    ],
)
def test_what_settles_is_what_a_pump_at_the_bottom_of_its_accuracy_lacks(
    line: int, settling: int
) -> None:
    way = bridge(600_000, 500_000, line)
    bench = Bench("pump").program(1, filled(150_000, 2_000_000, line, bridge=way))
    assert moves(bench) == (line, settling)
    bench.at(DAY * line // 600_000 + 1)
    assert moves(bench) == (0, settling)
    bench.at(bench.now + DAY * settling // 150_000 + 1)
    assert moves(bench) == (0, 0)


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("error_ppm", [-145_000, -1, 0, 145_000])
def test_once_it_has_settled_none_of_the_old_mix_is_in_the_line(error_ppm: int) -> None:
    """By the pump's count of its strokes at any accuracy, and not much sooner at the worst."""

    def strengths() -> set[int]:
        line = bench.device.machine.firmware.body.physics().line
        return {concentration for segment in line for _, concentration in segment.mix}

    bench = bridging(error_ppm=error_ppm)
    bench.at(SETTLED - LAST_NL)
    assert moves(bench) == (0, 1)
    assert strengths() == ({500_000, 2_000_000} if error_ppm == -145_000 else {2_000_000})
    bench.at(SETTLED)
    assert moves(bench) == (0, 0)
    assert strengths() == {2_000_000}


@pytest.mark.requirement("SR-16")
def test_the_buttons_lockout_begins_anew_once_a_bridge_has_settled() -> None:
    bench = bridging(with_button())
    for now in (SETTLED, SETTLED + LOCKOUT - 1):
        bench.at(now)
        assert not bench.device.press(bench.now)
        assert bench.log()[-1] == "button: nothing, lockout"
    bench.at(SETTLED + LOCKOUT)
    assert bench.device.press(bench.now)


@pytest.mark.requirement("SR-16")
def test_what_is_left_of_an_earlier_lockout_outlasts_the_end_of_a_bridge() -> None:
    bench = bridging(with_button(DAY))
    bench.at(DAY + 12 * HOUR)
    assert bench.commit(3, with_button(DAY)) == Done(3)
    assert bench.commit(4, with_button(LOCKOUT)) == Done(4)
    assert SETTLED + LOCKOUT < DAY + 31 * HOUR
    bench.at(SETTLED)
    for now, granted in ((DAY + 31 * HOUR, False), (DAY + 36 * HOUR, True)):
        bench.at(now)
        assert bench.device.press(bench.now) is granted


@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-16")
@given(st.lists(st.integers(DAY, SETTLED + LOCKOUT), max_size=6))
def test_no_loss_of_power_ends_or_prolongs_settling(losses: list[int]) -> None:
    bench, twin = bridging(with_button()), bridging(with_button())
    for now in sorted({SETTLED, *losses}):
        bench.at(now)
        twin.at(now)
        if now in losses:
            bench.reset()
        assert moves(bench) == moves(twin)
    # A simulator wakes up at whatever its body does by itself, and that is the end of settling.
    for now, granted in (
        (SETTLED, False),
        (SETTLED + LOCKOUT - 1, False),
        (SETTLED + LOCKOUT, True),
    ):
        if now >= bench.now:
            bench.at(now)
            assert bench.device.press(bench.now) is granted


@pytest.mark.requirement("SR-12")
def test_settling_goes_on_in_a_pump_that_was_killed(tmp_path: Path) -> None:
    def begin() -> Bench:
        truth: Any = TruthFile(tmp_path / "truth")
        return Bench("pump", truth=truth, memory=MemoryFile(tmp_path / "state"))

    first = begin().program(1, with_button(primed=True))
    for moment in (BRIDGE_MS, BRIDGE_MS + HOUR):
        first.at(moment)
    left, settling = moves(first)
    assert (left, settling) == (0, 61_587)
    first.device.truth.close()

    second = begin().open()
    left, again = moves(second)
    # It comes back up to a second later, and nothing is taken back.
    assert left == 0
    assert settling - 2 <= again <= settling
    expect_closed(second)
    second.device.close(second.now)


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("now", "before", "without", "after"),
    [
        # in the bridge: 100,000 nL of it have been moved; then, after it, 25,000 nL of the basal
        (DAY + BRIDGE_MS // 4, (300_000, 67_837), (0, 367_837), (300_000, 67_837)),
        (DAY + BRIDGE_MS + 4 * HOUR, (0, 42_837), (0, 42_837), (0, 42_837)),
    ],
)
def test_a_failed_battery_keeps_what_is_to_settle(
    now: int, before: tuple[int, int], without: tuple[int, int], after: tuple[int, int]
) -> None:
    bench = bridging(with_button())
    bench.at(now)
    assert moves(bench) == before
    bench.device.inject("battery_reset", bench.now)
    bench.open()
    assert pump_status(bench).state == "empty-program"
    assert moves(bench) == without
    bench.at(now + DAY)
    assert moves(bench) == without, "without a program nothing moves"
    assert bench.commit(3, with_button()) == Done(3)
    assert moves(bench) == after
    expect_closed(bench)
    bench.at(SETTLED + DAY - 1)
    assert moves(bench) == (0, 1)
    bench.at(SETTLED + DAY)
    assert moves(bench) == (0, 0)


@pytest.mark.requirement("SR-12")
def test_a_program_of_the_same_fill_without_the_bridge_does_not_shorten_settling() -> None:
    bench = bridging(with_button())
    bench.at(DAY + BRIDGE_MS // 4)
    assert bench.commit(3, with_button(bridge=None)) == Done(3)
    assert moves(bench) == (0, 367_837)
    expect_closed(bench)
    bench.at(bench.now + 367_837 * LAST_NL)
    assert moves(bench) == (0, 0)


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("now", [DAY + 5 * HOUR, DAY + BRIDGE_MS + HOUR])
def test_a_new_fill_ends_settling(now: int) -> None:
    bench = bridging(with_button())
    bench.at(now)
    newer = with_button(bridge=None, fill_at=NEXT_FILL + 1)
    assert bench.commit(3, newer) == Done(3)
    assert moves(bench) == (0, 0)
    for later, granted in ((LOCKOUT - 1, False), (LOCKOUT, True)):
        bench.at(now + later)
        assert bench.device.press(bench.now) is granted


@pytest.mark.requirement("SR-12")
def test_the_bridge_of_a_new_fill_settles_by_itself() -> None:
    bench = bridging()
    bench.at(DAY + BRIDGE_MS + HOUR)
    back = filled(600_000, 500_000, fill_at=NEXT_FILL + 1, bridge=bridge(150_000, 2_000_000))
    assert bench.commit(3, back) == Done(3)
    assert moves(bench) == (LINE, SETTLING)


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("hours", "left"),
    [
        # by the 6,250 nL an hour of the basal without a bridge, 467,837 nL in 74.85 h
        (16, (300_000, 67_837)),
        (72, (0, 17_837)),
        (74, (0, 5_337)),
        (75, (0, 0)),
    ],
)
def test_what_left_before_the_bridge_was_known_counts_for_settling_too(
    hours: int, left: tuple[int, int]
) -> None:
    bench = bridging(STRONGER)
    assert moves(bench) == (0, 0)
    bench.at(DAY + hours * HOUR)
    assert bench.commit(3, BRIDGED) == Done(3)
    assert moves(bench) == left


@pytest.mark.requirement("SR-12")
def test_a_halted_or_stalled_pump_does_not_settle_and_an_occluded_one_does() -> None:
    halted, stalled, occluded = (bridging(with_button()) for _ in range(3))
    for bench in (halted, stalled, occluded):
        bench.at(DAY + BRIDGE_MS + HOUR)
    halted.send(Stop("flow"))
    stalled.device.inject("motor_stall", stalled.now)
    occluded.device.inject("occlusion", occluded.now)
    for bench in (halted, stalled, occluded):
        bench.at(10 * DAY)
    assert [moves(one) for one in (halted, stalled, occluded)] == [(0, 61_587), (0, 61_587), (0, 0)]
    halted.reset()
    assert halted.commit(3, with_button()) == Done(3)
    assert moves(halted) == (0, 61_587)
    expect_closed(halted)
