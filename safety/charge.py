"""Charge of one phase on one contact: density, Shannon's k, charge a second. Integers only.

Units: charge in pC, contact area in um2, so that the density in uC/cm2 is 100 * Q / A and
k = log10(Q in uC) + log10(density) = log10(Q^2 / A) - 4. Source: domain 1.4 (Shannon 1992; a
vendor's warning at 30 uC/cm2; twice that as the project's hard ceiling).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from device_profiles.profile import ChargeLimits
from device_profiles.quantities import MilliHertz, PicoCoulombs, SquareMicrometres

PICO_PER_MICRO = 1_000_000
MILLI = 1_000


def exceeds_density(charge: PicoCoulombs, area: SquareMicrometres, density: int) -> bool:
    """Whether a charge on an area is more than a density in uC/cm2; exact."""
    return 100 * charge > density * area


def reaches_shannon(charge: PicoCoulombs, area: SquareMicrometres, k_centi: int) -> bool:
    """Whether Shannon's k is at least ``k_centi`` / 100; exact.

    k >= c/100 means Q^2 >= 10^(4 + c/100) * A, and to the hundredth power Q^200 >=
    10^(400 + c) * A^100, which holds no root and so nothing to round.
    """
    exponent = 400 + k_centi
    below: int = 10 ** max(0, -exponent)
    above: int = 10 ** max(0, exponent)
    charges: int = charge**200
    areas: int = area**100
    return charges * below >= areas * above


def smallest_over_density(area: SquareMicrometres, density: int) -> PicoCoulombs:
    """The smallest charge whose density is more than ``density`` uC/cm2."""
    return PicoCoulombs(density * area // 100 + 1)


def smallest_at_shannon(area: SquareMicrometres, k_centi: int) -> PicoCoulombs:
    """The smallest charge whose k is at least ``k_centi`` / 100, by bisection."""
    over = 1
    while not reaches_shannon(PicoCoulombs(over), area, k_centi):
        over *= 2
    under = 0
    while over - under > 1:
        middle = (over + under) // 2
        if reaches_shannon(PicoCoulombs(middle), area, k_centi):
            over = middle
        else:
            under = middle
    return PicoCoulombs(over)


@dataclass(frozen=True, slots=True)
class ChargeThresholds:
    """The smallest charge that each limit refuses on one contact, in pC."""

    density_soft: PicoCoulombs
    shannon_soft: PicoCoulombs
    density_hard: PicoCoulombs

    @property
    def first(self) -> PicoCoulombs:
        """The smallest charge that any limit objects to."""
        return min(self.density_soft, self.shannon_soft, self.density_hard)


@lru_cache(maxsize=64)
def charge_thresholds(limits: ChargeLimits, area: SquareMicrometres) -> ChargeThresholds:
    """The thresholds of a profile's contacts."""
    return ChargeThresholds(
        density_soft=smallest_over_density(area, limits.density_soft),
        shannon_soft=smallest_at_shannon(area, limits.shannon_k_soft_centi),
        density_hard=smallest_over_density(area, limits.density_hard),
    )


def exceeds_charge_rate(charge: PicoCoulombs, pulses: int, rate: MilliHertz, limit: int) -> bool:
    """Whether a charge in each of ``pulses`` pulses a period is more than ``limit`` uC/s."""
    return charge * pulses * rate > limit * PICO_PER_MICRO * MILLI


# --- for people to read; no judgement uses what follows --------------------------------------


@dataclass(frozen=True, slots=True)
class ChargeReport:
    """A charge as reports show it, to 3 decimals; k is ``None`` at zero charge."""

    density_uC_per_cm2: float
    shannon_k: float | None


def charge_report(charge: PicoCoulombs, area: SquareMicrometres) -> ChargeReport:
    """Density in uC/cm2 and Shannon's k, rounded for reports only."""
    density = round(100 * charge / area, 3)
    if charge == 0:
        return ChargeReport(density, None)
    k = 2 * math.log10(charge) - math.log10(area) - 4
    return ChargeReport(density, round(k, 3) + 0.0)


def microcoulombs(charge: int) -> str:
    """A charge in pC, written in uC without rounding, for messages."""
    whole, part = divmod(charge, PICO_PER_MICRO)
    decimals = f"{part:06d}".rstrip("0")
    return f"{whole}.{decimals} uC" if decimals else f"{whole} uC"
