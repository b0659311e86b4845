"""The kernel's events. A journal is a list of them, and the state is their fold."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from device_profiles.diagnostics import Finding
from device_profiles.quantities import Femtograms, MicroAmps, Milliseconds, Ohms
from safety.alarms import Alarm
from safety.commands import CommandKind, Instant, Override
from safety.limits import PumpLimits
from safety.outputs import Output

Outcome = Literal["delivered", "refused", "UNCERTAIN"]
"""The three words for what became of an intent."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The first entry: which device this journal belongs to."""

    at: Instant
    journal_id: str
    serial: str
    schema: int
    simulated: bool
    kind: Literal["opened"] = "opened"


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Who the device says it is."""

    family: str
    model: str
    serial: str
    firmware: str
    calibration: str
    speed: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A host took charge of the device.

    ``boot`` counts the device's own starts; ``delivering`` is whether anything flowed just then.
    """

    at: Instant
    identity: DeviceIdentity
    boot: int
    delivering: bool
    kind: Literal["connected"] = "connected"


@dataclass(frozen=True, slots=True)
class DrugMass:
    """A mass of one drug."""

    drug: str
    mass: Femtograms


@dataclass(frozen=True, slots=True)
class Intended:
    """A judged command, recorded before its first byte: from here on it counts in full.

    ``masses`` is what a bolus may deliver of each drug, ``latest_end`` the slow time by which
    its delivery has surely ended. ``timezone`` is that of a pump's therapy file.
    """

    at: Instant
    id: int
    command: CommandKind
    outputs: tuple[Output, ...]
    patient: str
    limits: PumpLimits | None = None
    masses: tuple[DrugMass, ...] = ()
    latest_end: Milliseconds | None = None
    override: Override | None = None
    timezone: str | None = None
    kind: Literal["intended"] = "intended"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command that the judge refused; nothing was sent."""

    at: Instant
    id: int
    command: CommandKind
    findings: tuple[Finding, ...]
    kind: Literal["rejected"] = "rejected"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an intent, and the device's evidence for it in words."""

    at: Instant
    id: int
    outcome: Outcome
    evidence: str
    kind: Literal["settled"] = "settled"


@dataclass(frozen=True, slots=True)
class Unverified:
    """The device holds another program than the one that was last verified or sent.

    ``id`` is the intent that shall have put it there; 0 when it was found so on connecting.
    ``delivers``: it holds some program, so that nobody knows what it has delivered.
    """

    at: Instant
    id: int
    evidence: str
    delivers: bool
    kind: Literal["unverified"] = "unverified"


@dataclass(frozen=True, slots=True)
class Measured:
    """Impedances of contacts E1, E2, … that the device measured for an intent."""

    at: Instant
    id: int
    ohms: tuple[Ohms, ...]
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A running program's amplitudes were lowered: a de-escalation, never judged."""

    at: Instant
    amplitudes: tuple[MicroAmps, ...]
    kind: Literal["lowered"] = "lowered"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stop was sent; ``confirmed`` once the device's status showed the safe state."""

    at: Instant
    depth: str
    confirmed: bool
    kind: Literal["stopped"] = "stopped"


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm."""

    at: Instant
    alarm: Alarm
    kind: Literal["raised"] = "raised"


@dataclass(frozen=True, slots=True)
class Latched:
    """From here on no bolus and no increase, until people have looked; the reason in words."""

    at: Instant
    reason: str
    kind: Literal["latched"] = "latched"


Event = Annotated[
    Opened
    | Connected
    | Intended
    | Rejected
    | Settled
    | Unverified
    | Measured
    | Lowered
    | Stopped
    | Raised
    | Latched,
    Field(discriminator="kind"),
]
