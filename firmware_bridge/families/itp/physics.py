"""What a pump's body is made of: its records, as the state file keeps them, and its constants."""

from typing import Literal, NamedTuple

from pydantic import Field

from firmware_bridge.families.body import Stored
from firmware_bridge.families.itp.line import Mix, Segment
from firmware_bridge.families.itp.wire import WireBridge, WireStep

DAY_MS = 86_400_000
MINUTE_MS = 60_000
PPM = 1_000_000
UNITS_PER_NL = DAY_MS * PPM
TUBING_NL = 199_000
FREE_FLOW = 100_000_000
"""nL/day that run out of a pump whose valve no longer closes, whatever its motor does."""

BolusKind = Literal["host", "patient", "prime"]


class RunningBolus(Stored):
    """A bolus under way since ``since``; ``turned`` is nL/day x ms that the motor has pumped."""

    kind: BolusKind
    volume: int
    over: int
    since: int
    turned: int = 0

    @property
    def ends(self) -> int:
        """The ms at which all of it has been delivered."""
        return self.since + self.over

    def programmed(self, at_ms: int) -> int:
        """What the program wants delivered by ``at_ms``, nL/day x ms."""
        return self.volume * DAY_MS * (at_ms - self.since) // self.over

    @property
    def delivered(self) -> int:
        """nL by the pump's own count of strokes, rounded up."""
        return -(-self.turned // DAY_MS)

    @property
    def left(self) -> int:
        """nL still to deliver by the same count, rounded up."""
        return -(-(self.volume * DAY_MS - self.turned) // DAY_MS)


class BodyEvent(NamedTuple):
    """What happened by itself, and at which ms; ``bolus`` is the one that was done or cut short."""

    what: Literal["done", "cut", "empty", "bridged", "in place"]
    at: int
    bolus: RunningBolus | None = None


class BodyFaults(Stored):
    """What is broken.

    ``gain`` in ppm is what a stroke gives against what it should; ``clock_ahead`` in ms is how
    far the pump's clock has jumped; ``miscount`` in nL is what its count of the reservoir adds;
    ``weak`` is a battery that is due for replacement, ``spent`` one that turns no motor.
    """

    stalled: bool = False
    occluded: bool = False
    free_flow: bool = False
    gain: int = PPM
    clock_ahead: int = 0
    miscount: int = 0
    weak: bool = False
    spent: bool = False


class PumpPhysics(Stored):
    """The whole body, for the state file.

    ``line[0]`` is at the tip, ``accuracy`` in ppm, ``turned`` is nL/day x ms that the motor has
    pumped since the last fill; ``in_place`` is how much of that it takes until what a bridge has
    moved has surely left the line.
    """

    reservoir: int = 0
    mix: Mix = ()
    line: list[Segment] = Field(default_factory=list)
    delivered: int = 0
    turned: int = 0
    in_place: int = 0
    tip_mass: dict[str, int] = Field(default_factory=dict)
    schedule: list[WireStep] = Field(default_factory=list)
    bridge: WireBridge | None = None
    utc_offset_min: int = 0
    halted: bool = True
    boluses: list[RunningBolus] = Field(default_factory=list)
    accuracy: int = PPM
    faults: BodyFaults = BodyFaults()
