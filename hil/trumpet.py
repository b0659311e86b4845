"""The trumpet curve of a pump: how far a flow strays from its rate over windows of any length.

A bench metric, of no implant's label: the formulas of IEC 60601-2-24 as reproduced in public test
instruments' manuals. Each sample is the mean flow of half a minute; of every window of P minutes
the mean is held against the rate, and the largest and smallest errors make the curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

SAMPLES_A_MINUTE = 2
WINDOWS_MIN = (Fraction(1, 2), *(Fraction(minutes) for minutes in (1, 2, 5, 11, 19, 31)))
"""Observation windows in minutes [Infutest 2000, B. Braun manuals], and the sample itself."""


@dataclass(frozen=True, slots=True)
class TrumpetPoint:
    """The errors of all windows of one length, per cent of the rate, exact."""

    minutes: Fraction
    windows: int
    most: Fraction
    least: Fraction

    def __str__(self) -> str:
        """Like ``5 min: +20.0000 % / -40.0000 %``."""
        errors = f"{float(self.most):+.4f} % / {float(self.least):+.4f} %"
        return f"{float(self.minutes):g} min: {errors}"


def trumpet(flows: Sequence[Fraction], rate: Fraction) -> tuple[TrumpetPoint, ...]:
    """The curve of half-minute mean flows in the rate's unit, a point for each window that fits.

    Raises ValueError for a rate of zero or below, which nothing can be a share of.
    """
    if rate <= 0:
        raise ValueError("a trumpet curve needs a rate above zero")
    sums = [Fraction(0), *accumulate(flows)]
    points = []
    for minutes in WINDOWS_MIN:
        length = int(minutes * SAMPLES_A_MINUTE)
        means = [(sums[end] - sums[end - length]) / length for end in range(length, len(flows) + 1)]
        if means:
            errors = [100 * (mean - rate) / rate for mean in (max(means), min(means))]
            points.append(TrumpetPoint(minutes, len(means), errors[0], errors[1]))
    return tuple(points)
