"""The witness: what a simulator's truth says was physically delivered, held against limits.

Quantities compare with text in the grammar of therapy files: ``truth.peak("E3") <= "6 mA"``.
"""

import json
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import total_ordering
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from device_profiles.errors import UsageError
from device_profiles.notation import (
    NotationError,
    parse_current,
    parse_duration,
    parse_mass,
    parse_mass_rate,
    write_current,
    write_duration,
    write_mass,
)
from device_profiles.quantities import DAY_MS, MINUTE_MS, Femtograms, MicroAmps, Milliseconds
from hil.trumpet import SAMPLES_A_MINUTE, TrumpetPoint, trumpet

Line = dict[str, Any]
"""One line of truth, as `firmware_bridge.simulator.truth` writes it."""

T = TypeVar("T")

SAMPLE_MS = MINUTE_MS // SAMPLES_A_MINUTE

_PICO_MILLI_PER_MICRO = 1_000_000_000
"""Of pC x mHz in a uA."""
_CONTACT = re.compile("case|E([1-9]|1[0-6])", re.ASCII)


def read(parse: Callable[[str], T], text: str) -> T:
    """A quantity as people write it; raises UsageError with what to write instead."""
    try:
        return parse(text)
    except NotationError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise UsageError(f"{error}{hint}") from error


def read_truth(path: Path) -> list[Line]:
    """The lines of a truth file; raises UsageError. A last line without its end is left out."""
    try:
        whole, _, _ = path.read_text("utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a truth file: {error}") from error


# --- quantities ------------------------------------------------------------------------------


@total_ordering
@dataclass(frozen=True, eq=False, repr=False)
class Quantity(ABC):
    """A measured amount in its base unit, with the words that say what was measured.

    Compares with its own kind and with text; raises UsageError for text that is no such quantity.
    """

    value: int
    about: str = ""

    @staticmethod
    @abstractmethod
    def _parse(text: str) -> int: ...

    @abstractmethod
    def __repr__(self) -> str:
        """As a therapy file would have it."""

    def __eq__(self, other: object) -> bool:
        """Whether both are the same amount."""
        value = self._amount_of(other)
        return NotImplemented if value is None else self.value == value

    def __lt__(self, other: object) -> bool:
        """Whether this is the smaller amount."""
        value = self._amount_of(other)
        return NotImplemented if value is None else self.value < value

    __hash__ = None  # type: ignore[assignment]  # equal to several texts, which hash differently

    def _amount_of(self, other: object) -> int | None:
        if isinstance(other, str):
            return read(self._parse, other)
        return other.value if isinstance(other, type(self)) else None


class Current(Quantity):
    """The magnitude of a current, uA."""

    @staticmethod
    def _parse(text: str) -> int:
        return parse_current(text)

    def __repr__(self) -> str:
        """In mA."""
        return write_current(MicroAmps(self.value))


class Mass(Quantity):
    """A mass of a drug, fg."""

    @staticmethod
    def _parse(text: str) -> int:
        return parse_mass(text)

    def __repr__(self) -> str:
        """In mcg or mg."""
        return write_mass(Femtograms(self.value))


# --- an amount that only grows -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cumulative:
    """An amount that only grows, linear from point to point, level before and after them."""

    times: tuple[int, ...] = ()
    amounts: tuple[int, ...] = ()

    def at(self, ms: int) -> Fraction:
        """The amount at a time, exact."""
        after = bisect_right(self.times, ms)
        if after == len(self.times):
            return Fraction(self.amounts[-1] if self.amounts else 0)
        if after == 0:
            return Fraction(self.amounts[0])
        start, end = self.times[after - 1], self.times[after]
        low, high = self.amounts[after - 1], self.amounts[after]
        return low + Fraction((high - low) * (ms - start), end - start)

    def within(self, end: int, length: int) -> Fraction:
        """The growth in the window of a length that ends at a time."""
        return self.at(end) - self.at(end - length)

    def corners(self, length: int) -> list[int]:
        """The ends of windows of a length between which `within` is linear."""
        if not self.times:
            return []
        shifted = (time + length for time in self.times)
        return sorted({*self.times, *(time for time in shifted if time < self.times[-1])})

    def most_in(self, length: int) -> tuple[int, int]:
        """The largest growth in any window of a length, rounded up, and when that window ends."""
        ends = self.corners(length)
        end = max(ends, key=lambda ms: self.within(ms, length), default=0)
        return ceil(self.within(end, length)), end


def mass_at_tip(lines: Sequence[Line], drug: str) -> Cumulative:
    """The drug that has left the catheter's tip, fg; raises UsageError for a drug never seen."""
    known = {name for line in lines for name in line["tip_mass_fg"]}
    if known and drug not in known:
        raise UsageError(f"the truth knows no drug {drug!r}; it knows {', '.join(sorted(known))}")
    return Cumulative(
        tuple(line["t_ms"] for line in lines),
        tuple(line["tip_mass_fg"].get(drug, 0) for line in lines),
    )


def lines_of(lines: Iterable[Line], contact: str) -> list[Line]:
    """The lines of one contact."""
    return [line for line in lines if line["contact"] == contact]


# --- what a test asks --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulated devices of this test physically did since they were made.

    ``current_lines`` and ``flow_lines`` give a stimulator's and a pump's truth up to now; they
    raise UsageError when the test has no such device.
    """

    current_lines: Callable[[], list[Line]] = field(repr=False)
    flow_lines: Callable[[], list[Line]] = field(repr=False)

    def peak(self, contact: str) -> Current:
        """The largest current through a contact so far, whatever its sign."""
        lines = self._of(contact)
        worst = max(lines, key=lambda line: abs(line["amplitude_uA"]), default=None)
        if worst is None:
            return Current(0, f"no current has flowed through {contact}")
        when = write_duration(Milliseconds(worst["t_ms"]))
        value = abs(worst["amplitude_uA"])
        return Current(value, f"the largest current through {contact}, at {when}")

    def now(self, contact: str) -> Current:
        """The current through a contact now, whatever its sign."""
        lines = self._of(contact)
        value = abs(lines[-1]["amplitude_uA"]) if lines else 0
        return Current(value, f"the current through {contact} now")

    def direct_current(self, contact: str) -> Current:
        """The largest direct current through a contact so far, rounded up to uA.

        It is what a recharge leaves behind of each pulse; of a balanced one that is nothing.
        """
        lines = [line for line in self._of(contact) if "net_charge_pC" in line]
        per_second = (
            abs(line["net_charge_pC"]) * line["pulses"] * line["rate_mHz"] for line in lines
        )
        value = -(-max(per_second, default=0) // _PICO_MILLI_PER_MICRO)
        return Current(value, f"the largest direct current through {contact}")

    def mass(self, drug: str) -> Mass:
        """The mass of a drug that has left the catheter's tip so far."""
        amounts = mass_at_tip(self.flow_lines(), drug).amounts
        return Mass(amounts[-1] if amounts else 0, f"{drug} that has left the tip")

    def most_in(self, window: str, drug: str) -> Mass:
        """The largest mass of a drug that left the tip in any window such as ``"24 h"``."""
        length = read(parse_duration, window)
        most, end = mass_at_tip(self.flow_lines(), drug).most_in(length)
        when = write_duration(Milliseconds(end))
        return Mass(most, f"{drug} in the worst {window}, which ended at {when}")

    def trumpet(
        self, drug: str, rate: str, after: str = "1 h", lasting: str = "1 h"
    ) -> tuple[TrumpetPoint, ...]:
        """How far what left the tip strayed from a rate such as ``"0.1 mg/h"`` (`hil.trumpet`).

        Judged over ``lasting`` once the pump has run for ``after``.
        """
        amount = mass_at_tip(self.flow_lines(), drug)
        begin = (amount.times[0] if amount.times else 0) + read(parse_duration, after)
        samples = read(parse_duration, lasting) // SAMPLE_MS
        ends = (begin + number * SAMPLE_MS for number in range(1, samples + 1))
        per_day = [amount.within(end, SAMPLE_MS) * DAY_MS / SAMPLE_MS for end in ends]
        return trumpet(per_day, Fraction(read(parse_mass_rate, rate)))

    def _of(self, contact: str) -> list[Line]:
        if not _CONTACT.fullmatch(contact):
            raise UsageError(f"no contact {contact!r}; there are E1 to E16 and case")
        return lines_of(self.current_lines(), contact)
