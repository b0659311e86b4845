"""Integer quantities in base units, and every piece of arithmetic that crosses units.

Nothing below the file reader holds a float. Each quantity is a distinct type, so that the type
checker catches a milliampere handed in for a microampere; each function that turns one quantity
into another lives here and says which way it rounds.
"""

from typing import NewType

MicroAmps = NewType("MicroAmps", int)
Microseconds = NewType("Microseconds", int)
MilliHertz = NewType("MilliHertz", int)
MilliVolts = NewType("MilliVolts", int)
MicroVolts = NewType("MicroVolts", int)
Ohms = NewType("Ohms", int)
PicoCoulombs = NewType("PicoCoulombs", int)
"""Electric charge; exactly microamperes x microseconds."""
SquareMicrometres = NewType("SquareMicrometres", int)
MicroAmpsPerSecond = NewType("MicroAmpsPerSecond", int)

NanoLitres = NewType("NanoLitres", int)
NanoLitresPerDay = NewType("NanoLitresPerDay", int)
Femtograms = NewType("Femtograms", int)
"""Drug mass; exactly nanolitres x (nanograms per millilitre)."""
FemtogramsPerDay = NewType("FemtogramsPerDay", int)
NanogramsPerMillilitre = NewType("NanogramsPerMillilitre", int)

Milliseconds = NewType("Milliseconds", int)
MinuteOfDay = NewType("MinuteOfDay", int)
"""Minutes since local midnight, 0 to 1,439."""
Percent = NewType("Percent", int)
"""A whole, signed per cent: the share of an area's current on one contact."""
PartsPerMillion = NewType("PartsPerMillion", int)

DAY_MS = Milliseconds(86_400_000)
HOUR_MS = Milliseconds(3_600_000)
MINUTE_MS = Milliseconds(60_000)
DAY_MINUTES = 1_440
MILLION = 1_000_000


def divide_up(numerator: int, denominator: int) -> int:
    """The quotient rounded toward plus infinity (the denominator is positive)."""
    return -(-numerator // denominator)


# --- stimulation ---------------------------------------------------------------------------


def share_of(current: MicroAmps, share: Percent) -> MicroAmps:
    """The signed current of one contact; its magnitude is rounded up, toward counting more."""
    magnitude = divide_up(current * abs(share), 100)
    return MicroAmps(magnitude if share >= 0 else -magnitude)


def charge_per_phase(current: MicroAmps, width: Microseconds) -> PicoCoulombs:
    """The magnitude of the charge of one phase, exact."""
    return PicoCoulombs(abs(current) * width)


def voltage(current: MicroAmps, impedance: Ohms) -> MilliVolts:
    """The magnitude of the voltage a current needs across an impedance, rounded up."""
    return MilliVolts(divide_up(abs(current) * impedance, 1_000))


# --- infusion ------------------------------------------------------------------------------


def mass_of(volume: NanoLitres, concentration: NanogramsPerMillilitre) -> Femtograms:
    """The drug in a volume, exact."""
    return Femtograms(volume * concentration)


def mass_rate_of(flow: NanoLitresPerDay, concentration: NanogramsPerMillilitre) -> FemtogramsPerDay:
    """The drug carried by a flow in a day, exact."""
    return FemtogramsPerDay(flow * concentration)


def volume_for(dose: Femtograms, concentration: NanogramsPerMillilitre) -> NanoLitres:
    """The volume that holds a dose, rounded down: a dose is never rounded toward more."""
    return NanoLitres(dose // concentration)


def flow_for(rate: FemtogramsPerDay, concentration: NanogramsPerMillilitre) -> NanoLitresPerDay:
    """The flow that carries a mass rate, rounded down: a dose is never rounded toward more."""
    return NanoLitresPerDay(rate // concentration)


def flow_of_bolus(volume: NanoLitres, over: Milliseconds) -> NanoLitresPerDay:
    """The flow of a volume delivered evenly over a time, rounded up, toward counting more."""
    return NanoLitresPerDay(divide_up(volume * DAY_MS, over))


def widened(value: int, tolerance: PartsPerMillion) -> int:
    """A value plus its tolerance, rounded up (a pump's flow at the top of its accuracy)."""
    return divide_up(value * (MILLION + tolerance), MILLION)
