"""What a driver is: how one family of devices is programmed, looked at and read back."""

from dataclasses import dataclass
from typing import Protocol

from device_profiles.quantities import Milliseconds
from firmware_bridge.protocol.messages import Reply, TherapyRequest
from safety.events import Intended
from safety.outputs import Output


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the device can do for safety.

    Both families can do all that delivery relies on, so nothing adapts to it yet; a driver of a
    lesser device declares here what it lacks.
    """

    remembers_ids: bool
    lease: bool
    reads_back: bool
    stages: bool
    ramps: bool
    odometer: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a procedure.

    ``prepares`` is the index of the Output that a frame puts beside the active ones without
    showing it; ``shows`` is how many of the next Outputs the device may show once a live frame
    has left. Exactly one of them is set. ``proof`` is the reply that proves the step; a proof of
    the same type with other contents disproves it.
    """

    request: TherapyRequest
    proof: Reply
    prepares: int | None = None
    shows: int = 0


@dataclass(frozen=True, slots=True)
class Procedure:
    """The steps that carry out one intent, in order."""

    intent_id: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A device's state as its status tells it, in words every floor above can show.

    ``values`` are integers by name and unit (``flow_nL_per_day``), for telemetry and views.
    ``safe`` says whether the device is in the state that a stop brings about; ``delivering``
    whether anything flows.
    """

    clock: Milliseconds
    boot: int
    state: str
    safe: bool
    delivering: bool
    values: dict[str, int]
    alarms: tuple[str, ...]


class Driver(Protocol):
    """One family, seen from the host. It keeps no state and does no I/O."""

    family: str
    capabilities: Capabilities
    slots: int
    """How many programs the device holds at most."""

    def procedure(self, intent: Intended) -> Procedure:
        """The steps that carry out an intent."""
        ...

    def matches(self, request: TherapyRequest, outputs: tuple[Output, ...]) -> bool:
        """Last look: whether a decoded request stands for exactly these judged Outputs."""
        ...

    def program_of(self, slot: int, blob: bytes) -> Output:
        """The Output of a program that was read back; raises MessageError."""
        ...

    def sample(self, status: Reply) -> Sample:
        """A status message in common words."""
        ...
