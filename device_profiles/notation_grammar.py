"""The grammar of a written quantity: a number, exactly one space, a unit of a closed table.

This file knows digits and spellings; `notation.py` holds the table of quantities. A refusal
names the rule it breaks and, where only the spelling is wrong, the line to write. It never
proposes another number, magnitude or drug.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NUMBER_PATTERN = r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]+)?"
"""Up to nine digits before the point: more is no quantity of this field, in any of its units."""

_LONGEST = 64
_WELL_FORMED = re.compile(rf"({NUMBER_PATTERN}) (\S+)", re.ASCII)
_NUMBER = re.compile(NUMBER_PATTERN, re.ASCII)
_LEADING = re.compile(r"([+\-0-9.,_']*(?:[eE][+\-]?[0-9]+)?)(.*)", re.DOTALL)
_NOT_A_NUMBER = re.compile(r"[+\-]?\.?(nan|inf|infinity)\b", re.IGNORECASE)

# Spellings that can mean only one unit of the table, whatever their case. A letter such as "m"
# (metre, milli, minute) is not here: where a reader could guess, the message lists the units.
_MICRO = ("u", "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}")
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "mA": ("ma", "milliamp", "milliamps", "milliampere", "milliamperes"),
    "us": ("usec", "microsecond", "microseconds", *(f"{micro}s" for micro in _MICRO)),
    "ms": ("ms", "msec", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "min": ("min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "Hz": ("hz", "hertz"),
    "kHz": ("khz", "kilohertz"),
    "mL": ("ml", "millilitre", "millilitres", "milliliter", "milliliters"),
    "mcg": ("mcg", "microgram", "micrograms", *(f"{micro}g" for micro in _MICRO)),
    "mg": ("mg", "milligram", "milligrams"),
    "day": ("d", "day", "days", "24h"),
    "%": ("%", "percent"),
}
_RESPELT = {wrong: right for right, spellings in _SPELLINGS.items() for wrong in spellings}


class NotationError(ValueError):
    """A text that is no quantity: the rule it breaks, a sentence, and what to write instead."""

    def __init__(self, rule: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.hint = hint


def shown(text: str, longest: int = 40) -> str:
    """A text from a file, quoted for a message: no control characters, of bearable length."""
    clipped = text if len(text) <= longest else text[: longest - 1] + "…"
    return "'" + "".join(char if char.isprintable() else "?" for char in clipped) + "'"


@dataclass(frozen=True, slots=True)
class Notation:
    """How one quantity is written: what it is called, and its units in base units.

    ``finest`` names the base unit for a refusal; ``example`` is a text the notation accepts.
    """

    what: str
    units: Mapping[str, int]
    finest: str
    example: str
    pattern: str = field(init=False)
    """An unanchored regular expression of the texts accepted, for schemas."""

    def __post_init__(self) -> None:
        units = "|".join(re.escape(unit) for unit in self.units)
        object.__setattr__(self, "pattern", rf"{NUMBER_PATTERN} (?:{units})")

    def parse(self, text: str, sign: str = "") -> int:
        """The text in base units, exactly; raises `NotationError`.

        ``sign`` is what the caller took off the front (a share's): refusals show it again.
        """
        match = _WELL_FORMED.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None or match[2] not in self.units:
            raise self._refusal(text, sign)
        whole, _, decimals = match[1].partition(".")
        # Plain integers, not Decimal: exact at any length, where a Decimal context would round.
        one: int = 10 ** len(decimals)
        value, rest = divmod(int(whole + decimals) * self.units[match[2]], one)
        if rest:
            raise NotationError(
                "SR-02",
                f"{shown(sign + text)} is finer than {self.finest}, the finest step of {self.what}",
                f"write {self.what} in whole steps of {self.finest}",
            )
        return value

    def _refusal(self, text: str, sign: str) -> NotationError:
        quoted = shown(sign + text)
        if not text.strip():
            return NotationError("SR-01", f"{self.what} is missing here", self._how_to_write())
        if len(text) > _LONGEST:
            return NotationError("SR-03", f"{quoted} is too long to be {self.what}")
        leading = _LEADING.fullmatch(text.strip())
        number, unit = (leading[1], leading[2].strip()) if leading else ("", text)
        strange = next((char for char in text if not char.isascii() and char not in _MICRO), None)
        if strange:
            return NotationError(
                "SR-03",
                f"{quoted} holds the character U+{ord(strange):04X}, which is not ASCII",
                "write digits, point and unit with the plain characters of the keyboard",
            )
        if not number:
            if _NOT_A_NUMBER.match(unit):
                return NotationError("SR-03", f"{quoted} is not a number")
            return NotationError(
                "SR-01", f"{quoted} does not begin with a number", self._how_to_write()
            )
        bad_number = number_refusal(number, unit)
        if bad_number is not None:
            return NotationError("SR-03", f"{quoted}: {bad_number}")
        return self._unit_refusal(quoted, sign + number, unit)

    def _unit_refusal(self, quoted: str, number: str, unit: str) -> NotationError:
        """The number is right, so the unit, or the space before it, is not."""
        if not unit:
            return NotationError(
                "SR-01", f"{quoted} is a bare number; its unit is missing", self._units_hint()
            )
        if unit in self.units:
            return NotationError(
                "SR-01",
                f"{quoted}: exactly one space stands between number and unit, and none around them",
                f"write {number} {unit}",
            )
        respelt = self._respelt(unit)
        if respelt:
            return NotationError(
                "SR-01",
                f"{quoted}: the unit {shown(unit)} has one spelling here, {respelt}",
                f"write {number} {respelt}",
            )
        return NotationError(
            "SR-01", f"{quoted}: {shown(unit)} is no unit of {self.what}", self._units_hint()
        )

    def _respelt(self, unit: str) -> str | None:
        """The unit meant by a misspelling, if it can be only one."""
        lowered = unit.lower().replace(" per ", "/")
        respelt = "/".join(_RESPELT.get(part.strip(), part) for part in lowered.split("/"))
        return respelt if respelt in self.units else None

    def _units_hint(self) -> str:
        units = tuple(self.units)
        return f"its unit is one of {', '.join(units)}" if units[1:] else f"its unit is {units[0]}"

    def _how_to_write(self) -> str:
        return f"write a number, one space and a unit ({', '.join(self.units)})"


def number_refusal(number: str, rest: str = "") -> str | None:
    """Why a text is no number of this grammar, or ``None`` if it is one.

    ``rest`` is what follows it: digits there mean that the number was broken apart.
    """
    if number[:1] in ("+", "-"):
        return "no sign may stand here; the quantity is never negative"
    if "," in number:
        return "a comma is no decimal point, and digits are not grouped"
    if "e" in number.lower():
        return "a number has no exponent"
    if "_" in number or "'" in number or rest[:1].isdigit():
        return "digits are not grouped"
    if number.startswith("."):
        return "a digit stands before the decimal point"
    if number.endswith("."):
        return "a digit follows the decimal point"
    if re.match(r"0[0-9]", number):
        return "a number does not begin with a needless zero"
    if _NUMBER.fullmatch(number):
        return None
    if len(number.partition(".")[0]) > 9:
        return "the number is too large to be meant"
    return "this is not a decimal number"
