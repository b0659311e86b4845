"""Net charge and direct current (SR-42), and the build-up of a burst recharged at its end."""

from dataclasses import replace

import pytest
from clinical_examples import NIGHT, SCS, WALKING, area, burst, shares, tonic
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.diagnostics import Finding
from device_profiles.quantities import MicroAmps, Microseconds, MilliHertz, Percent, PicoCoulombs
from device_profiles.therapy import ElectrodeShare
from safety.outputs import AreaOutput
from safety.review import derived_stimulation, review_stimulation
from safety.rules_balance import direct_current, judge_balance, net_charge


def uneven(net: int) -> AreaOutput:
    """A circuit whose phases differ by ``net`` pC: at a width of 1 us half a uA is rounded up."""
    electrodes = {
        1: "E1 -50, E2 -50, E3 +100",
        0: "E1 -100, E2 +100",
        -1: "E1 -100, E2 +50, E3 +50",
    }[-net]
    level = MicroAmps(101)
    return AreaOutput(shares(electrodes), level, level, Microseconds(1), "active")


@pytest.mark.requirement("SR-42")
@pytest.mark.fault("F14")
@pytest.mark.parametrize("net", [-1, 0, 1])
def test_one_picocoulomb_that_nobody_takes_back_is_refused_and_none_passes(net: int) -> None:
    assert net_charge(uneven(net), MicroAmps(101)) == net
    found = judge_balance(tonic(uneven(net)), SCS)
    assert [(one.rule, one.severity, one.value, one.limit) for one in found] == (
        [("SR-42", "hard", "0.000001 uC", "0 uC")] if net else []
    )


def of_balance(found: tuple[Finding, ...]) -> list[str]:
    return [one.message for one in found if one.rule == "SR-42"]


@pytest.mark.requirement("SR-42")
@pytest.mark.fault("F14")
@pytest.mark.parametrize(("anodes", "refused"), [(99, True), (100, False), (101, True)])
def test_shares_that_miss_each_other_by_one_per_cent_are_a_direct_current(
    anodes: int, refused: bool
) -> None:
    """6 mA, 300 us and 50 Hz: 1 % are 18 nC in each phase and 0.9 uA (domain 1.4)."""
    program = tonic(area(f"E1 -100, E2 +{anodes}", "6 mA", width="300 us"))
    messages = of_balance(review_stimulation((program,), SCS))
    assert len(messages) == refused
    assert all("0.018 uC" in text and "900 nA" in text for text in messages)


@pytest.mark.requirement("SR-42")
def test_the_balance_holds_at_the_ceiling_too() -> None:
    program = tonic(area("E1 -100, E2 +99", "0 mA", "0.1 mA", "20 us"))
    (finding,) = judge_balance(program, SCS)
    assert finding.value == "0.00002 uC"


@pytest.mark.requirement("SR-42")
def test_the_case_takes_its_part_back() -> None:
    assert judge_balance(tonic(area("E3 -60, E4 -40, E5 +30, case +70")), SCS) == []
    assert judge_balance(tonic(area("E3 -60, E4 -40, E5 +30, case +69")), SCS)


@pytest.mark.requirement("SR-42")
def test_the_examples_leave_nothing_behind() -> None:
    assert judge_balance(WALKING, SCS) == judge_balance(NIGHT, SCS) == []


@pytest.mark.requirement("SR-42")
def test_a_direct_current_counts_every_pulse_and_is_rounded_up() -> None:
    assert direct_current(PicoCoulombs(18_000), 1, MilliHertz(50_000)) == 900
    assert direct_current(PicoCoulombs(-18_000), 5, MilliHertz(40_000)) == 3_600
    assert direct_current(PicoCoulombs(1), 1, MilliHertz(2_000)) == 1


@pytest.mark.requirement("SR-42")
@given(st.integers(0, 255), st.integers(2, 100), st.lists(st.integers(-100, 100), max_size=5))
def test_on_the_devices_steps_only_shares_that_add_up_pass(
    steps: int, width: int, parts: list[int]
) -> None:
    electrodes = tuple(ElectrodeShare(number, Percent(p)) for number, p in enumerate(parts))
    level = MicroAmps(steps * SCS.amplitude_step)
    one = AreaOutput(electrodes, level, level, Microseconds(width * 10), "active")
    assert (judge_balance(tonic(one), SCS) == []) == (steps == 0 or sum(parts) == 0)


# --- the build-up of a passive recharge --------------------------------------------------------


def figures(program: str = "night", contact: str = "E3") -> dict[str, object]:
    programs = derived_stimulation((WALKING, NIGHT), SCS)["programs"]
    found: dict[str, object] = programs[program]["areas"][0][contact]
    return found


@pytest.mark.requirement("SR-48")
@pytest.mark.vector("V8.2")
def test_the_nominal_burst_gathers_3_uC_which_are_told_apart_and_not_judged_as_a_phase() -> None:
    assert figures()["build_up"] == {
        "charge_pC": 3_000_000,
        "charge_density_uC_per_cm2": 24.49,
        "shannon_k": 1.866,
    }
    assert figures()["charge_per_phase_pC"] == 600_000
    assert review_stimulation((NIGHT,), SCS) == ()


@pytest.mark.requirement("SR-48")
def test_only_a_burst_with_passive_recharge_gathers_charge() -> None:
    assert "build_up" not in figures("walking")
    passive = tonic(area("E1 -100, E2 +100", "1 mA", recharge="passive"))
    active = replace(burst(area("E1 -100, E2 +100", "1 mA")), slot=1)
    programs = derived_stimulation((passive, active), SCS)["programs"]
    assert all("build_up" not in one["areas"][0]["E1"] for one in programs.values())
