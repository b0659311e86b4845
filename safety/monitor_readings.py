"""What the monitor sees of a device, and what it remembers of a pump between two readings."""

from dataclasses import dataclass

from device_profiles.quantities import (
    DAY_MS,
    MILLION,
    MicroAmps,
    Milliseconds,
    NanoLitres,
    NanoLitresPerDay,
)
from safety.limits import PumpLimits
from safety.monitor_limits import Hours
from safety.outputs import PumpProgram

SLACK = NanoLitres(2)
"""What two readings, each rounded once, may differ by."""
CLOCK_TOLERANCE = Milliseconds(5_000)
"""How far two clocks may part before one has jumped; link time, scaled with the device's speed."""
UNITS = DAY_MS * MILLION
"""Of nL/day x ms x ppm in a nanolitre: accuracies and schedules are exact in it."""
_NOTHING = NanoLitres(0)
_NEVER = Milliseconds(0)


@dataclass(frozen=True, slots=True)
class PumpReading:
    """A pump's status. ``at`` is the monitor's own therapy time, ``clock`` the pump's."""

    at: Milliseconds
    clock: Milliseconds
    state: str
    flow: NanoLitresPerDay
    delivered: NanoLitres
    reservoir: NanoLitres
    bolus_id: int = 0
    line_left: NanoLitres = _NOTHING
    presses: int = 0
    fill_at: Milliseconds = _NEVER
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StimulatorReading:
    """A stimulator's status at its own ``clock``: what flows in each area of a slot."""

    on: bool
    slot: int
    amplitudes: tuple[MicroAmps, ...]
    alarms: tuple[str, ...] = ()
    clock: Milliseconds = _NEVER


@dataclass(frozen=True, slots=True)
class Mark:
    """A reading as windows remember it, with all basal planned so far, in nL/day x ms.

    ``elapsed`` runs by the pump's clock, or by ours where that jumped. ``most`` and ``least``
    differ while it is not known which program the pump follows. ``runs_until``: when a patient's
    bolus that was granted by then has surely ended, on the same clock as ``elapsed``.
    """

    at: Milliseconds
    elapsed: Milliseconds
    delivered: NanoLitres
    least: int
    most: int
    presses: int
    runs_until: Milliseconds


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of a pump from one reading to the next.

    ``marks`` reach back just over the longest tolerance, under one plan; ``begun`` is where the
    stretch began whose boluses are not all known yet. ``missing`` and ``lost`` (from the reservoir,
    beyond what the odometer explains) are in nL/day x ms x ppm. ``ahead``: the pump's clock less
    ours. ``hours`` were counted under ``limits``.
    """

    last: PumpReading | None = None
    plans: tuple[PumpProgram, ...] = ()
    marks: tuple[Mark, ...] = ()
    begun: Mark | None = None
    missing: int = 0
    lost: int = 0
    ahead: int | None = None
    hours: Hours = ()
    limits: PumpLimits | None = None

    @property
    def missing_volume(self) -> NanoLitres:
        """How much less than the least that was planned has flowed, rounded down."""
        return NanoLitres(self.missing // UNITS)
