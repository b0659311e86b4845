"""Charge of one phase: the golden table, exact borders, and agreement with exact references."""

from dataclasses import replace
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
from clinical_examples import SCS
from hypothesis import example, given
from hypothesis import strategies as st

from device_profiles.notation import parse_current
from device_profiles.quantities import (
    MicroAmps,
    Microseconds,
    MilliHertz,
    PicoCoulombs,
    SquareMicrometres,
    charge_per_phase,
)
from safety.charge import (
    charge_report,
    charge_thresholds,
    exceeds_charge_rate,
    exceeds_density,
    microcoulombs,
    reaches_shannon,
    smallest_at_shannon,
    smallest_over_density,
)

AREA = SCS.contact_area
getcontext().prec = 120


def reference_shannon(charge: int, area: int, k_centi: int) -> bool:
    """k >= c/100 to 120 digits: Q and D in uC and uC/cm2, as the literature writes them."""
    if charge == 0:
        return False
    uc = Decimal(charge) / 1_000_000
    density = uc / (Decimal(area) / 10**8)
    k = round(uc.log10() + density.log10(), 100)  # so that an exact k is met exactly
    return bool(k >= Decimal(k_centi) / 100)


# --- golden vector 8.2 ---------------------------------------------------------------------


@pytest.mark.requirement("SR-41")
@pytest.mark.vector("V8.2")
@pytest.mark.parametrize(
    ("current", "width", "charge", "density", "k"),
    [
        ("5 mA", 30, 150_000, 1.22, -0.736),
        ("3.5 mA", 100, 350_000, 2.86, 0.000),
        ("0.6 mA", 1000, 600_000, 4.90, 0.468),
        ("6 mA", 300, 1_800_000, 14.69, 1.422),
        ("8.5 mA", 500, 4_250_000, 34.69, 2.169),
        ("6 mA", 720, 4_320_000, 35.26, 2.183),
        ("12.7 mA", 450, 5_715_000, 46.65, 2.426),
        ("25.5 mA", 1000, 25_500_000, 208.1, 3.725),
    ],
)
def test_the_golden_table_of_charges(
    current: str, width: int, charge: int, density: float, k: float
) -> None:
    found = charge_per_phase(parse_current(current), Microseconds(width))
    report = charge_report(found, AREA)
    assert found == charge
    # the table's area is that of the cylinder, pi x 1.3 x 3 mm = 12.252 mm2
    assert report.density_uC_per_cm2 == pytest.approx(density, rel=4e-4, abs=0.005)
    assert report.shannon_k == k


@pytest.mark.requirement("SR-41")
@pytest.mark.vector("V8.2")
@pytest.mark.parametrize(
    ("k_centi", "area", "largest_uC"),
    [
        (150, AREA, 1.968),
        (175, AREA, 2.625),
        (185, AREA, 2.945),
        (185, SquareMicrometres(6_000_000), 2.061),
    ],
)
def test_the_golden_largest_charges(
    k_centi: int, area: SquareMicrometres, largest_uC: float
) -> None:
    largest = smallest_at_shannon(area, k_centi) - 1
    assert round(largest / 1e6, 3) == largest_uC


@pytest.mark.requirement("SR-41")
@pytest.mark.vector("V8.2")
@pytest.mark.parametrize(
    ("width", "amplitude_mA"),
    [
        (30, 98.2),
        (100, 29.45),
        (210, 14.02),
        (300, 9.816),
        (450, 6.544),
        (500, 5.890),
        (1000, 2.945),
    ],
)
def test_the_golden_largest_amplitudes_at_k_1_85(width: int, amplitude_mA: float) -> None:
    largest = (smallest_at_shannon(AREA, 185) - 1) // width / 1000
    digits = 1 if width == 30 else 2 if width in (100, 210) else 3
    assert largest == pytest.approx(amplitude_mA, abs=1.01 * 10**-digits)


def test_30_uC_per_cm2_are_3_675_uC_on_a_contact_and_the_ceiling_is_twice_that() -> None:
    thresholds = charge_thresholds(SCS.charge, AREA)
    assert thresholds.density_soft == 3_675_001
    assert thresholds.density_hard == 7_350_001
    assert thresholds.first == thresholds.shannon_soft


def test_the_build_up_of_a_nominal_burst_would_be_flagged_as_one_phase() -> None:
    report = charge_report(PicoCoulombs(3_000_000), AREA)
    assert (round(report.density_uC_per_cm2, 2), report.shannon_k) == (24.49, 1.866)


def test_the_two_rules_cross_at_7_87_square_millimetres() -> None:
    def tighter(area_mm2: Fraction) -> str:
        area = SquareMicrometres(int(area_mm2 * 1_000_000))
        shannon = smallest_at_shannon(area, 185) < smallest_over_density(area, 30)
        return "shannon" if shannon else "density"

    assert tighter(Fraction("7.86")) == "density"
    assert tighter(Fraction("7.87")) == "shannon"


# --- borders and references ----------------------------------------------------------------


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F1")
def test_exactly_the_density_is_allowed_and_one_pC_more_is_not() -> None:
    assert not exceeds_density(PicoCoulombs(3_675_000), AREA, 30)
    assert exceeds_density(PicoCoulombs(3_675_001), AREA, 30)


@pytest.mark.requirement("SR-41")
def test_a_k_that_is_exactly_the_limit_is_refused_and_one_pC_less_is_not() -> None:
    """3.5 mA x 100 us on 12.25 mm2 has k = 0 exactly, so that the equality is really met."""
    assert reaches_shannon(PicoCoulombs(350_000), AREA, 0)
    assert not reaches_shannon(PicoCoulombs(349_999), AREA, 0)
    assert smallest_at_shannon(AREA, 0) == 350_000


def test_a_wrong_twin_that_allows_equality_is_caught_at_that_border() -> None:
    def twin(charge: int) -> bool:
        return bool(charge**200 > 10**400 * AREA**100)

    assert twin(350_000) != reaches_shannon(PicoCoulombs(350_000), AREA, 0)


areas = st.integers(10_000, 100_000_000).map(SquareMicrometres)
charges = st.integers(0, 100_000_000).map(PicoCoulombs)
ks = st.integers(-500, 400)


@pytest.mark.requirement("SR-41")
@given(charges, areas, ks)
@example(PicoCoulombs(350_000), AREA, 0)
@example(PicoCoulombs(0), AREA, -500)
def test_shannon_in_integers_agrees_with_120_digits(
    charge: PicoCoulombs, area: SquareMicrometres, k: int
) -> None:
    assert reaches_shannon(charge, area, k) == reference_shannon(charge, area, k)


@given(areas, ks)
def test_the_smallest_refused_charge_is_refused_and_one_pC_less_is_not(
    area: SquareMicrometres, k: int
) -> None:
    smallest = smallest_at_shannon(area, k)
    assert reference_shannon(smallest, area, k)
    assert not reference_shannon(smallest - 1, area, k)


@pytest.mark.requirement("SR-41")
@given(charges, areas, st.integers(0, 500))
def test_density_in_integers_agrees_with_fractions(
    charge: PicoCoulombs, area: SquareMicrometres, limit: int
) -> None:
    density = Fraction(charge, 1_000_000) / Fraction(area, 10**8)
    assert exceeds_density(charge, area, limit) == (density > limit)
    assert exceeds_density(charge, area, limit) == (charge >= smallest_over_density(area, limit))


@given(charges, st.integers(1, 8), st.integers(0, 10_000_000), st.integers(0, 3000))
@example(PicoCoulombs(150_000), 1, 10_000_000, 1500)
def test_charge_a_second_in_integers_agrees_with_fractions(
    charge: PicoCoulombs, pulses: int, rate: int, limit: int
) -> None:
    a_second = Fraction(charge, 1_000_000) * pulses * Fraction(rate, 1_000)
    found = exceeds_charge_rate(charge, pulses, MilliHertz(rate), limit)
    assert found == (a_second > limit)


def test_hf10_at_5_mA_is_exactly_at_the_charge_a_second_and_allowed() -> None:
    charge = charge_per_phase(MicroAmps(5_000), Microseconds(30))
    assert not exceeds_charge_rate(charge, 1, MilliHertz(10_000_000), 1500)
    assert exceeds_charge_rate(PicoCoulombs(charge + 1), 1, MilliHertz(10_000_000), 1500)


def test_a_nominal_burst_carries_120_uC_a_second() -> None:
    charge = charge_per_phase(MicroAmps(600), Microseconds(1000))
    assert not exceeds_charge_rate(charge, 5, MilliHertz(40_000), 120)
    assert exceeds_charge_rate(charge, 5, MilliHertz(40_000), 119)


def test_thresholds_follow_the_profile() -> None:
    stricter = replace(SCS.charge, shannon_k_soft_centi=150, density_soft=10)
    found = charge_thresholds(stricter, AREA)
    assert found.density_soft == 1_225_001
    assert found.shannon_soft == smallest_at_shannon(AREA, 150)


@pytest.mark.parametrize(
    ("charge", "text"),
    [(0, "0 uC"), (150_000, "0.15 uC"), (1, "0.000001 uC"), (25_500_000, "25.5 uC")],
)
def test_charges_are_written_without_rounding(charge: int, text: str) -> None:
    assert microcoulombs(charge) == text
