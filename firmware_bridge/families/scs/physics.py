"""What a stimulator's body is made of: records, those of the state file among them, constants."""

from dataclasses import dataclass

from pydantic import Field

from firmware_bridge.families.body import Stored

STEP_UA = 100
FALL_STEPS_PER_S = 255
COMPLIANCE_UV = 15_000_000
NOMINAL_OHMS = 500
SPREAD_OHMS = 50
CASE_OHMS = 0
"""The case is large: what a measurement reads of a contact holds the case's part."""
OPEN_OHMS = 1_000_000_000
SHORT_OHMS = 10
METER_MAX_OHMS = 20_000
"""An impedance measurement reads no more than this: a contact that reads it is open."""
TEST_PULSE_MS = 2
"""Time that one test pulse of an impedance measurement takes."""
TEST_RATE_MHZ = 500_000
CASE = 0

UNRETURNED_PERCENT = 10
"""What an unbalanced recharge leaves of each phase's charge."""


class BodyFaults(Stored):
    """What is broken besides single contacts.

    ``drifted``: every impedance is half as much again; ``stuck``: no level follows its target;
    ``steep``: every level jumps to it; ``unbalanced``: a recharge does not take back what a phase
    gave; ``crossed``: the leads of the lower and the upper half of the contacts are interchanged.
    """

    drifted: bool = False
    stuck: bool = False
    steep: bool = False
    unbalanced: bool = False
    crossed: bool = False


class StimulatorPhysics(Stored):
    """What of the body outlives the process: the output itself does not.

    ``pulse_time`` is pulses times 1,000,000; ``live`` the contacts that may carry current;
    ``broken`` the ohms of contacts with a fault.
    """

    pulse_time: int = 0
    live: list[int] = Field(default_factory=list)
    broken: dict[int, int] = Field(default_factory=dict)
    faults: BodyFaults = BodyFaults()


@dataclass(slots=True)
class Area:
    """An area on its way from ``base`` uA at ``since`` ms to ``target``."""

    shares: tuple[tuple[int, int], ...]
    pulse_width: int
    height: int
    rise_ms: int
    target: int = 0
    level: int = 0
    base: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class ImpedanceTest:
    """An impedance measurement that began at ``since`` and goes from contact to contact."""

    since: int
    current: int
    pulse_width: int
    pulses: int

    @property
    def per_contact_ms(self) -> int:
        """Time for the pulses through one contact."""
        return self.pulses * TEST_PULSE_MS


def next_step(area: Area) -> int:
    """When the level of an area that is on its way changes next."""
    if area.level > area.target:
        steps = (area.base - area.level) // STEP_UA
        return area.since + steps * 1_000 // FALL_STEPS_PER_S
    steps = (area.level - area.base) // STEP_UA + 1
    return area.since - (-steps * STEP_UA * area.rise_ms // area.height)
