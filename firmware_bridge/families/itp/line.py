"""The line between reservoir and tip, tubing and catheter: first in, first out.

A queue of segments, each with its own mix of drugs; what goes in at one end pushes the same
volume out at the other. Volumes are in the body's units, mass in units times ng/mL.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from firmware_bridge.families.body import Stored

Mix = tuple[tuple[str, int], ...]
"""Drugs and their concentrations in ng/mL; empty: carrier without drug."""


class Segment(Stored):
    """A stretch of the line that holds one mix."""

    units: int
    mix: Mix


@dataclass(slots=True)
class _Stretch:
    """A `Segment` while fluid moves: pydantic would look at every stroke."""

    units: int
    mix: Mix


class Line:
    """Segments from the tip to the pump, and the mass of each drug that has left the tip."""

    def __init__(self, segments: Iterable[Segment], tip_mass: Mapping[str, int]) -> None:
        self._segments = deque(_Stretch(one.units, one.mix) for one in segments)
        self.tip_mass = dict(tip_mass)

    def __bool__(self) -> bool:
        """Whether it has ever been filled."""
        return bool(self._segments)

    @property
    def segments(self) -> list[Segment]:
        """What is in it, ``[0]`` at the tip."""
        return [Segment(units=one.units, mix=one.mix) for one in self._segments]

    @property
    def tip(self) -> Mix:
        """What is at the tip."""
        return self._segments[0].mix if self._segments else ()

    def fill(self, units: int, mix: Mix) -> None:
        """Fills the empty line."""
        self._segments.append(_Stretch(units, mix))
        self.expect(mix)

    def expect(self, mix: Mix) -> None:
        """Counts the mass of these drugs from zero on, unless it is counted already."""
        for name, _ in mix:
            self.tip_mass.setdefault(name, 0)

    def until_change(self, mix: Mix) -> int | None:
        """Units of ``mix`` to push until another mix is at the tip; ``None`` if none will be."""
        if not self._segments or (len(self._segments) == 1 and self.tip == mix):
            return None
        return self._segments[0].units

    def push(self, units: int, mix: Mix) -> None:
        """Moves ``units`` of ``mix`` in, and as much out of the tip."""
        if self._segments[-1].mix == mix:
            self._segments[-1].units += units
        else:
            self._segments.append(_Stretch(units, mix))
        while units:
            tip = self._segments[0]
            out = min(units, tip.units)
            for name, concentration in tip.mix:
                self.tip_mass[name] += out * concentration
            tip.units -= out
            units -= out
            if not tip.units:
                self._segments.popleft()
