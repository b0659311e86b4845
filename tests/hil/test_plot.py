"""Plots of the truth: the series they draw, and that there is a picture in the end."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import UsageError
from device_profiles.profile import StimulatorProfile
from device_profiles.profile_file import load_profile
from hil.check import check_file, wall_now
from hil.plot import (
    PumpPlot,
    StimulatorPlot,
    contact_series,
    plot_both,
    plot_pump,
    plot_stimulator,
    rate_series,
    window_series,
)
from hil.witness import Cumulative, Line, mass_at_tip, read_truth
from safety.commands import ProgramPump, ProgramStimulator
from safety.limits import pump_limits

EXAMPLES = Path(__file__).parents[2] / "examples"
HOUR = 3_600_000
MG = 10**12
PNG = b"\x89PNG\r\n\x1a\n"


def shown(t_ms: int, contact: str, amplitude: int, width: int = 210, rate: int = 50_000) -> Line:
    line = {"t_ms": t_ms, "contact": contact, "amplitude_uA": amplitude}
    pulses = {"pulses": 5, "intra_rate_mHz": 500_000} if width == 1_000 else {}
    at_rest = {"pulse_width_us": 0, "rate_mHz": 0, "pulses": 0, "intra_rate_mHz": 0}
    if not amplitude:
        return line | at_rest
    return line | at_rest | {"pulse_width_us": width, "rate_mHz": rate, "pulses": 1} | pulses


WALKING_THEN_NIGHT = [
    shown(1_000, "E3", -100, width=100, rate=500_000),  # an impedance test
    shown(1_016, "E3", 0),
    shown(2_000, "E3", -4_200),
    shown(2_000, "E4", 2_520),
    shown(2_000, "E5", 1_680),
    shown(9_000, "E3", 0),
    shown(9_000, "E4", 0),
    shown(9_000, "E5", 0),
    shown(10_000, "E3", -600, width=1_000, rate=40_000),
    shown(10_000, "E4", 600, width=1_000, rate=40_000),
    shown(12_000, "E3", 0),
    shown(12_000, "E4", 0),
]


def flowed(hours: float, milligrams: float) -> Line:
    fg = round(milligrams * MG)
    volume = fg // 10_000_000
    return {"t_ms": round(hours * HOUR), "volume_nL": volume, "tip_mass_fg": {"morphine": fg}}


BASAL_AND_A_BOLUS = [
    flowed(10, 0),
    flowed(12, 0.2),
    flowed(12.25, 0.425),
    flowed(36, 2.8),
]


def truth_file(folder: Path, name: str, lines: list[Line]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def stimulator(tmp_path: Path) -> StimulatorPlot:
    command = check_file(EXAMPLES / "stimulation.yaml", None, wall_now()).command
    assert isinstance(command, ProgramStimulator)
    path = truth_file(tmp_path, "stimulator.jsonl", WALKING_THEN_NIGHT)
    return StimulatorPlot(path, "SCS-0001", "BENCH-007", command.programs, command.profile)


@pytest.fixture
def pump(tmp_path: Path) -> PumpPlot:
    command = check_file(EXAMPLES / "infusion.yaml", None, wall_now()).command
    assert isinstance(command, ProgramPump)
    limits, _ = pump_limits(command.therapy, command.formulary)
    path = truth_file(tmp_path, "pump.jsonl", BASAL_AND_A_BOLUS)
    return PumpPlot(path, "ITP-0001", "BENCH-012", limits)


# --- series ------------------------------------------------------------------------------------


def test_each_contact_is_held_against_its_share_of_the_ceiling_in_force(
    stimulator: StimulatorPlot,
) -> None:
    profile = load_profile("scs-16")
    assert isinstance(profile, StimulatorProfile)
    e3, e4, e5 = contact_series(WALKING_THEN_NIGHT, stimulator.programs, profile)
    assert (e3.contact, e4.contact, e5.contact) == ("E3", "E4", "E5")
    assert e3.times == (1_000, 1_016, 2_000, 9_000, 10_000, 12_000)
    assert e3.currents == (-100, 0, -4_200, 0, -600, 0)
    assert e3.ceilings == (-6_000, -6_000, -6_000, -6_000, -1_000, -1_000)
    assert e4.ceilings == (3_600, 3_600, 1_000, 1_000)
    assert e5.ceilings == (2_400, 2_400)


def test_the_density_is_that_of_one_phase_on_one_contact(stimulator: StimulatorPlot) -> None:
    e3, *_ = contact_series(WALKING_THEN_NIGHT, stimulator.programs, stimulator.profile)
    # 4.2 mA x 210 us = 0.882 uC on 0.1225 cm2; 0.6 mA x 1,000 us = 0.6 uC.
    assert e3.densities[2] == pytest.approx(7.2)
    assert e3.densities[4] == pytest.approx(4.898)


def test_windows_are_shown_in_per_cent_of_their_limits(pump: PumpPlot) -> None:
    mass = mass_at_tip(BASAL_AND_A_BOLUS, "morphine")
    hour, four, day = window_series(mass, pump.limits.drugs[0])
    assert [one.label for one in (hour, four, day)] == [
        "1 h of 0.4 mg",
        "4 h of 1 mg",
        "24 h of 4 mg",
    ]
    # The bolus of 0.225 mg and three quarters of an hour of 0.1 mg/h before or after it.
    assert max(hour.percent) == pytest.approx(100 * (0.225 + 0.075) / 0.4)
    assert max(four.percent) == pytest.approx(100 * (0.225 + 0.375) / 1)
    assert max(day.percent) == pytest.approx(100 * (0.225 + 2.375) / 4)
    assert hour.percent[0] == 0


def test_a_rate_is_a_step_that_holds_until_the_next() -> None:
    steps = rate_series(mass_at_tip(BASAL_AND_A_BOLUS, "morphine"))
    assert [time for time, _ in steps] == [10 * HOUR, 12 * HOUR, round(12.25 * HOUR), 36 * HOUR]
    assert [rate for _, rate in steps] == pytest.approx([0.1, 0.9, 0.1, 0.1])
    assert rate_series(Cumulative()) == ()


# --- windows -----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 50)), min_size=1, max_size=8),
    st.integers(1, 60),
)
def test_no_window_holds_more_than_the_worst(steps: list[tuple[int, int]], length: int) -> None:
    times, amounts = [0], [0]
    for duration, amount in steps:
        times.append(times[-1] + duration)
        amounts.append(amounts[-1] + amount)
    mass = Cumulative(tuple(times), tuple(amounts))
    most, end = mass.most_in(length)
    everywhere = [mass.within(moment, length) for moment in range(times[-1] + 1)]
    assert max(everywhere) <= most < max(everywhere) + 1
    assert mass.within(end, length) == max(everywhere)


def test_an_amount_is_level_outside_its_points() -> None:
    mass = Cumulative((10, 20), (5, 15))
    assert [mass.at(moment) for moment in (0, 10, 15, 20, 30)] == [5, 5, 10, 15, 15]
    assert Cumulative().at(7) == 0
    assert Cumulative().most_in(7) == (0, 0)


# --- pictures ----------------------------------------------------------------------------------


def test_each_device_and_both_make_a_picture(
    stimulator: StimulatorPlot, pump: PumpPlot, tmp_path: Path
) -> None:
    plot_stimulator(stimulator, tmp_path / "stimulator.png")
    plot_pump(pump, tmp_path / "pump.png")
    plot_both(stimulator, pump, tmp_path / "both.png")
    for name in ("stimulator", "pump", "both"):
        data = (tmp_path / f"{name}.png").read_bytes()
        assert data.startswith(PNG)
        assert len(data) > 20_000


def test_a_device_that_never_delivered_makes_a_picture_too(
    stimulator: StimulatorPlot, pump: PumpPlot, tmp_path: Path
) -> None:
    stimulator.truth.write_text("")
    pump.truth.write_text("")
    plot_both(stimulator, pump, tmp_path / "both.png")
    assert (tmp_path / "both.png").read_bytes().startswith(PNG)


# --- files -------------------------------------------------------------------------------------


def test_a_last_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = truth_file(tmp_path, "pump.jsonl", BASAL_AND_A_BOLUS)
    path.write_text(path.read_text() + '{"t_ms": 1', "utf-8")
    assert read_truth(path) == BASAL_AND_A_BOLUS


def test_a_file_that_is_no_truth_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text("hello\n")
    with pytest.raises(UsageError, match=r"other\.jsonl cannot be read as a truth file"):
        read_truth(path)
    with pytest.raises(UsageError, match=r"none\.jsonl"):
        read_truth(tmp_path / "none.jsonl")
