"""Quantities as people write them: text to integers in base units, and exactly back.

The table of units is closed and each unit has one spelling. Every `parse_…` raises
`NotationError`; every `write_…` is exact, uses no float, and what it writes is read back as the
same integer.
"""

import re
from typing import Literal

from device_profiles.notation_grammar import Notation as Notation
from device_profiles.notation_grammar import NotationError as NotationError
from device_profiles.notation_grammar import number_refusal, shown
from device_profiles.quantities import (
    DAY_MINUTES,
    HOUR_MS,
    MINUTE_MS,
    Femtograms,
    FemtogramsPerDay,
    MicroAmps,
    MicroAmpsPerSecond,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MilliVolts,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    Ohms,
    PartsPerMillion,
    Percent,
    SquareMicrometres,
)

MassUnit = Literal["mcg", "mg"]

FEMTOGRAMS_IN_MCG = 10**9
FEMTOGRAMS_IN_MG = 10**12

CURRENT = Notation("a current", {"mA": 1_000}, "0.001 mA", "4.2 mA")
WIDTH = Notation("a pulse width", {"us": 1, "ms": 1_000}, "1 us", "210 us")
DURATION = Notation(
    "a duration",
    {"ms": 1, "s": 1_000, "min": MINUTE_MS, "h": HOUR_MS},
    "1 ms",
    "10 min",
)
FREQUENCY = Notation("a rate", {"Hz": 1_000, "kHz": 1_000_000}, "0.001 Hz", "50 Hz")
VOLUME = Notation("a volume", {"mL": 1_000_000}, "0.000001 mL", "18 mL")
MASS = Notation(
    "a dose", {"mcg": FEMTOGRAMS_IN_MCG, "mg": FEMTOGRAMS_IN_MG}, "0.000000001 mcg", "0.15 mg"
)
CONCENTRATION = Notation(
    "a concentration", {"mcg/mL": 1_000, "mg/mL": 1_000_000}, "0.001 mcg/mL", "10 mg/mL"
)
MASS_RATE = Notation(
    "a dose rate",
    {
        "mcg/day": FEMTOGRAMS_IN_MCG,
        "mg/day": FEMTOGRAMS_IN_MG,
        "mcg/h": 24 * FEMTOGRAMS_IN_MCG,
        "mg/h": 24 * FEMTOGRAMS_IN_MG,
    },
    "0.000000001 mcg/day",
    "2.4 mg/day",
)

SHARE = Notation("a share", {"%": 1}, "1 %", "60 %")
"""Without its sign, which `parse_share` demands."""

# Facts of devices: these stand in profiles only, never in a therapy file.
FLOW = Notation("a flow", {"mL/day": 1_000_000}, "0.000001 mL/day", "0.048 mL/day")
VOLTAGE = Notation("a voltage", {"V": 1_000}, "0.001 V", "15 V")
IMPEDANCE = Notation("an impedance", {"ohm": 1}, "1 ohm", "500 ohm")
AREA = Notation("an area", {"mm2": 1_000_000}, "0.000001 mm2", "12.25 mm2")
SLOPE = Notation("a slope", {"mA/s": 1_000}, "0.001 mA/s", "10 mA/s")
CHARGE_DENSITY = Notation("a charge density", {"uC/cm2": 1}, "1 uC/cm2", "30 uC/cm2")
CHARGE_RATE = Notation("a charge rate", {"uC/s": 1}, "1 uC/s", "1500 uC/s")
TOLERANCE = Notation("a tolerance", {"%": 10_000}, "0.0001 %", "14.5 %")
PORTION = Notation("a portion", {"%": 10_000}, "0.0001 %", "40 %")
"""Of a dose; in formularies only."""

COUNT_PATTERN = "(?:0|[1-9][0-9]{0,8})"
SHARE_PATTERN = r"[+\-](?:0|[1-9][0-9]{0,2}) %"
MINUTE_OF_DAY_PATTERN = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_COUNT = re.compile(COUNT_PATTERN, re.ASCII)
_SHARE = re.compile(SHARE_PATTERN, re.ASCII)
_MINUTE_OF_DAY = re.compile(MINUTE_OF_DAY_PATTERN, re.ASCII)
_RATIO = re.compile(r"(0|[1-9][0-9]?)\.([0-9]{2})", re.ASCII)

# --- reading -------------------------------------------------------------------------------


def parse_current(text: str) -> MicroAmps:
    """A current in mA, to uA."""
    return MicroAmps(CURRENT.parse(text))


def parse_width(text: str) -> Microseconds:
    """A pulse width in us or ms, to us."""
    return Microseconds(WIDTH.parse(text))


def parse_duration(text: str) -> Milliseconds:
    """A duration in ms, s, min or h, to ms."""
    return Milliseconds(DURATION.parse(text))


def parse_frequency(text: str) -> MilliHertz:
    """A rate in Hz or kHz, to mHz."""
    return MilliHertz(FREQUENCY.parse(text))


def parse_volume(text: str) -> NanoLitres:
    """A volume in mL, to nL."""
    return NanoLitres(VOLUME.parse(text))


def parse_mass(text: str) -> Femtograms:
    """A dose in mcg or mg, to fg."""
    return Femtograms(MASS.parse(text))


def parse_concentration(text: str) -> NanogramsPerMillilitre:
    """A concentration in mcg/mL or mg/mL, to ng/mL."""
    return NanogramsPerMillilitre(CONCENTRATION.parse(text))


def parse_mass_rate(text: str) -> FemtogramsPerDay:
    """A dose rate in mcg/day, mg/day, mcg/h or mg/h, to fg/day."""
    return FemtogramsPerDay(MASS_RATE.parse(text))


def parse_flow(text: str) -> NanoLitresPerDay:
    """A flow in mL/day, to nL/day."""
    return NanoLitresPerDay(FLOW.parse(text))


def parse_voltage(text: str) -> MilliVolts:
    """A voltage in V, to mV."""
    return MilliVolts(VOLTAGE.parse(text))


def parse_impedance(text: str) -> Ohms:
    """An impedance in whole ohm."""
    return Ohms(IMPEDANCE.parse(text))


def parse_area(text: str) -> SquareMicrometres:
    """An area in mm2, to square micrometres."""
    return SquareMicrometres(AREA.parse(text))


def parse_slope(text: str) -> MicroAmpsPerSecond:
    """A slope in mA/s, to uA/s."""
    return MicroAmpsPerSecond(SLOPE.parse(text))


def parse_charge_density(text: str) -> int:
    """A charge density in whole uC/cm2."""
    return CHARGE_DENSITY.parse(text)


def parse_charge_rate(text: str) -> int:
    """A charge per second in whole uC/s."""
    return CHARGE_RATE.parse(text)


def parse_tolerance(text: str) -> PartsPerMillion:
    """A tolerance in per cent, to parts per million."""
    return PartsPerMillion(TOLERANCE.parse(text))


def parse_portion(text: str) -> PartsPerMillion:
    """A portion of a dose in per cent, to parts per million."""
    return PartsPerMillion(PORTION.parse(text))


def parse_count(text: str) -> int:
    """A bare whole number: how many of something."""
    if _COUNT.fullmatch(text):
        return int(text)
    hint = "write a bare whole number"
    if not text.strip():
        raise NotationError("SR-01", "a count is missing here", hint)
    number = re.match(r"[+\-0-9.,_]*(?:[eE][+\-]?[0-9]+)?", text)
    if number is None or not number[0] or not text.isascii():
        raise NotationError("SR-03", f"{shown(text)} is not a whole number", hint)
    reason = number_refusal(number[0], text[number.end() :])
    if reason is None and number.end() < len(text):
        raise NotationError("SR-01", f"{shown(text)}: a count has no unit", hint)
    raise NotationError("SR-03", f"{shown(text)}: {reason or 'a count is a whole number'}", hint)


def parse_share(text: str) -> Percent:
    """A signed whole per cent such as ``-100 %`` or ``+60 %``."""
    if _SHARE.fullmatch(text):
        return Percent(int(text.removesuffix(" %")))
    sign, unsigned = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    whole = SHARE.parse(unsigned, sign)
    if not sign:
        raise NotationError(
            "SR-03",
            f"{shown(text)}: a share needs its sign, which is that of the first phase",
            f"write -{whole} % for a cathode or +{whole} % for an anode",
        )
    raise NotationError("SR-03", f"{shown(text)} is no whole per cent of at most 3 digits")


def parse_minute_of_day(text: str) -> MinuteOfDay:
    """A time of the day from ``00:00`` to ``23:59``, to minutes since midnight."""
    if not _MINUTE_OF_DAY.fullmatch(text):
        raise NotationError(
            "SR-03",
            f"{shown(text)} is no time of the day",
            "write two digits for the hour (00 to 23), a colon and two for the minute",
        )
    return MinuteOfDay(int(text[:2]) * 60 + int(text[3:]))


def parse_hundredths(text: str) -> int:
    """A bare number with exactly two decimals such as ``1.85``, to hundredths (Shannon's k)."""
    match = _RATIO.fullmatch(text)
    if not match:
        raise NotationError(
            "SR-03", f"{shown(text)} is no number with two decimals", "write it as 0.00 is written"
        )
    return int(match[1] + match[2])


# --- writing -------------------------------------------------------------------------------


def _decimal(value: int, one: int) -> str:
    """``value / one`` as the shortest exact decimal; ``one`` is a power of ten."""
    whole, rest = divmod(abs(value), one)
    decimals = str(rest).rjust(len(str(one)) - 1, "0").rstrip("0") if rest else ""
    return f"{'-' if value < 0 else ''}{whole}{'.' + decimals if decimals else ''}"


def write_current(value: MicroAmps) -> str:
    """uA as mA."""
    return f"{_decimal(value, 1_000)} mA"


def write_width(value: Microseconds) -> str:
    """A pulse width in us."""
    return f"{value} us"


def write_duration(value: Milliseconds) -> str:
    """ms in the largest unit that makes it whole; else in s."""
    for unit, one in (("h", HOUR_MS), ("min", MINUTE_MS)):
        if value and value % one == 0:
            return f"{value // one} {unit}"
    return f"{value} ms" if 0 < abs(value) < 1_000 else f"{_decimal(value, 1_000)} s"


def write_frequency(value: MilliHertz) -> str:
    """mHz as kHz where that is whole, else as Hz."""
    if value and value % 1_000_000 == 0:
        return f"{value // 1_000_000} kHz"
    return f"{_decimal(value, 1_000)} Hz"


def write_volume(value: NanoLitres) -> str:
    """nL as mL."""
    return f"{_decimal(value, 1_000_000)} mL"


def mass_unit_for(value: Femtograms | FemtogramsPerDay) -> MassUnit:
    """mg from 1 mg up, mcg below: no written dose begins with a zero and a point.

    Two masses in one sentence take one unit: ask for it once and hand it to both writers.
    """
    return "mg" if abs(value) >= FEMTOGRAMS_IN_MG else "mcg"


def _mass(value: int, unit: MassUnit) -> str:
    return _decimal(value, FEMTOGRAMS_IN_MG if unit == "mg" else FEMTOGRAMS_IN_MCG)


def write_mass(value: Femtograms, unit: MassUnit | None = None) -> str:
    """fg as mcg or mg."""
    unit = unit or mass_unit_for(value)
    return f"{_mass(value, unit)} {unit}"


def write_mass_rate(value: FemtogramsPerDay, unit: MassUnit | None = None) -> str:
    """fg/day as mcg/day or mg/day."""
    unit = unit or mass_unit_for(value)
    return f"{_mass(value, unit)} {unit}/day"


def write_mass_rate_by_hour(value: FemtogramsPerDay, unit: MassUnit | None = None) -> str:
    """fg/day as mcg/h or mg/h: exact, or led by ``about`` and rounded up at three decimals.

    For showing beside the rate by day, in the same unit of mass; only the exact form is read back
    as the same integer.
    """
    unit = unit or mass_unit_for(value)
    one = FEMTOGRAMS_IN_MG if unit == "mg" else FEMTOGRAMS_IN_MCG
    # value / 24 in thousandths of the unit: exact in a decimal only if 3 divides it away.
    thousandths, rest = divmod(value * 1_000, 24 * one)
    if rest == 0:
        return f"{_decimal(thousandths, 1_000)} {unit}/h"
    if value % 3 == 0:
        return f"{_decimal(value // 3 * 125, one * 1_000)} {unit}/h"
    return f"about {_decimal(thousandths + 1, 1_000)} {unit}/h"


def write_concentration(value: NanogramsPerMillilitre) -> str:
    """ng/mL as mg/mL from 1 mg/mL up, else as mcg/mL."""
    if value >= 1_000_000:
        return f"{_decimal(value, 1_000_000)} mg/mL"
    return f"{_decimal(value, 1_000)} mcg/mL"


def write_flow(value: NanoLitresPerDay) -> str:
    """nL/day as mL/day."""
    return f"{_decimal(value, 1_000_000)} mL/day"


def write_voltage(value: MilliVolts) -> str:
    """mV as V."""
    return f"{_decimal(value, 1_000)} V"


def write_impedance(value: Ohms) -> str:
    """Ohms."""
    return f"{value} ohm"


def write_slope(value: MicroAmpsPerSecond) -> str:
    """uA/s as mA/s."""
    return f"{_decimal(value, 1_000)} mA/s"


def write_portion(value: PartsPerMillion) -> str:
    """Parts per million of a dose as per cent."""
    return f"{_decimal(value, 10_000)} %"


def write_charge_density(value: int) -> str:
    """uC/cm2."""
    return f"{value} uC/cm2"


def write_charge_rate(value: int) -> str:
    """uC/s."""
    return f"{value} uC/s"


def write_count(value: int) -> str:
    """A bare whole number."""
    return str(value)


def write_share(value: Percent) -> str:
    """A signed whole per cent."""
    return f"{'-' if value < 0 else '+'}{abs(value)} %"


def write_minute_of_day(value: MinuteOfDay) -> str:
    """Minutes since midnight as ``07:00``."""
    return f"{value % DAY_MINUTES // 60:02}:{value % 60:02}"


def write_hundredths(value: int) -> str:
    """Hundredths with two decimals, such as ``1.85``."""
    return f"{value // 100}.{value % 100:02}"
