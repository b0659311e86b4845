"""The trumpet curve: its golden vector, and the curve of the simulated pump."""

from fractions import Fraction

import pytest

from hil.bench import Pump
from hil.trumpet import trumpet
from hil.witness import Truth

GOLDEN = [Fraction(6 if index % 6 == 5 else 0) for index in range(120)]
"""6 mL/h in every sixth half minute, so 1 mL/h on average."""


@pytest.mark.vector("V8.4")
def test_the_golden_curve() -> None:
    assert [
        (
            float(point.minutes),
            point.windows,
            round(float(point.most), 4),
            round(float(point.least), 4),
        )
        for point in trumpet(GOLDEN, Fraction(1))
    ] == [
        (0.5, 120, 500, -100),
        (1, 119, 200, -100),
        (2, 117, 50, -100),
        (5, 111, 20, -40),
        (11, 99, 9.0909, -18.1818),
        (19, 83, 10.5263, -5.2632),
        (31, 59, 6.4516, -3.2258),
    ]


def test_a_window_longer_than_the_samples_has_no_point_and_no_rate_no_curve() -> None:
    assert [float(point.minutes) for point in trumpet(GOLDEN[:5], Fraction(1))] == [0.5, 1, 2]
    assert trumpet([], Fraction(1)) == ()
    with pytest.raises(ValueError, match="above zero"):
        trumpet(GOLDEN, Fraction(0))


def test_a_point_is_read_at_a_glance() -> None:
    assert str(trumpet(GOLDEN, Fraction(1))[3]) == "5 min: +20.0000 % / -40.0000 %"


def test_the_simulated_pump_keeps_its_rate(pump: Pump, truth: Truth) -> None:
    pump.apply("examples/infusion.yaml")
    pump.wait("3 h")
    for point in truth.trumpet("morphine", rate="1.8 mg/day"):
        assert abs(point.most) < 1, str(point)
