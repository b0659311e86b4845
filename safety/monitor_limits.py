"""The monitor's own look at dose limits: what the odometer moved in each window."""

from collections.abc import Sequence

from device_profiles.notation import write_mass
from device_profiles.quantities import (
    DAY_MS,
    MINUTE_MS,
    Femtograms,
    Milliseconds,
    NanoLitres,
    PartsPerMillion,
    mass_of,
    widened,
)
from safety.alarms import Alarm
from safety.limits import DOSE_WINDOWS, PumpLimits

Hours = tuple[tuple[Milliseconds, NanoLitres], ...]
"""Times and odometer readings of the last day, one a minute at most, the oldest first."""
SLACK = NanoLitres(2)


def with_hour(hours: Hours, at: Milliseconds, delivered: NanoLitres) -> Hours:
    """The day's readings with this one, where a minute has passed since the last that is kept."""
    if hours and at - hours[-1][0] < MINUTE_MS:
        return hours
    kept = tuple(one for one in hours if one[0] >= at - DAY_MS) if hours else ()
    return (*kept, (at, delivered))


def judge_hours(
    hours: Sequence[tuple[Milliseconds, NanoLitres]],
    at: Milliseconds,
    delivered: NanoLitres,
    limits: PumpLimits,
    accuracy: PartsPerMillion,
) -> list[Alarm]:
    """SR-54: what left the pump in an hour, in four and in a day, against the patient's limits.

    By the odometer alone, so that a dose which was granted in error shows too. Limits are of the
    programmed dose, so the pump's accuracy is let pass. Protects from a judge that miscounts. Harm:
    the pump is stopped by its drug's policy. Longest denial: boluses, until the program is applied
    again. Way out: look, apply again.
    """
    alarms = []
    for drug in limits.drugs:
        for window in DOSE_WINDOWS:
            limit = drug.of(window.quantity)
            first = next((one for one in hours if one[0] >= at - window.length), None)
            if limit is None or first is None:
                continue
            moved = NanoLitres(max(0, delivered - first[1] - SLACK))
            given = mass_of(moved, drug.concentration)
            if given > widened(limit.value, accuracy):
                text = (
                    f"{write_mass(given)} {drug.name} left the pump within {window.words}, and the "
                    f"{limit.source}'s limit is {write_mass(Femtograms(limit.value))}"
                )
                alarms.append(Alarm("over-limit", "HIGH", "SR-54", text))
    return alarms
