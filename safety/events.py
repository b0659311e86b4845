"""The kernel's events. A journal is a list of them, and the state is their fold."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from device_profiles.diagnostics import Finding
from device_profiles.quantities import MicroAmps, Milliseconds, NanoLitres, Ohms
from safety.alarms import Alarm
from safety.commands import NOTHING, CommandKind, Instant, Override
from safety.limits import PumpLimits
from safety.outputs import DrugInPump, Output, PumpProgram

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

    ``boot`` counts the device's own starts; ``delivering`` is whether anything flowed just then;
    ``clock`` is the device's own, ms of Unix time. ``sealed``: whether it has proved who it is, and
    proves all that it says from here on; else anybody on the line may have said it.
    """

    at: Instant
    identity: DeviceIdentity
    boot: int
    delivering: bool
    clock: Milliseconds
    sealed: bool
    kind: Literal["connected"] = "connected"


@dataclass(frozen=True, slots=True)
class Found:
    """The program that a pump was found with, when no program of it had been verified.

    It is what the pump was left to deliver, so going on with it is continuation.
    """

    at: Instant
    program: PumpProgram
    kind: Literal["found"] = "found"


@dataclass(frozen=True, slots=True)
class Intended:
    """A judged command, recorded before its first byte: from here on it counts in full.

    ``drugs`` is what a bolus or a prime is made of. ``stray`` is the most nL that a prime pushes
    out of the tip, or that a bridge leaves behind or brings too soon. ``latest_end`` is the slow
    time by which its delivery, or the move in the line that it begins, has surely ended: a prime,
    and a bridge if nothing holds it up. ``passed`` are the rules whose soft
    findings the override let pass. ``timezone`` is that of a pump's therapy file.
    """

    at: Instant
    id: int
    command: CommandKind
    outputs: tuple[Output, ...]
    patient: str
    limits: PumpLimits | None = None
    drugs: tuple[DrugInPump, ...] = ()
    stray: NanoLitres = NOTHING
    latest_end: Milliseconds | None = None
    override: Override | None = None
    passed: tuple[str, ...] = ()
    timezone: str | None = None
    kind: Literal["intended"] = "intended"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command that the judge refused; nothing was sent.

    ``outputs`` are what was asked for, ``limits`` those that a pump's program was judged by.
    """

    at: Instant
    id: int
    command: CommandKind
    findings: tuple[Finding, ...]
    outputs: tuple[Output, ...] = ()
    patient: str = ""
    limits: PumpLimits | None = None
    override: Override | None = None
    kind: Literal["rejected"] = "rejected"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an intent, and the device's evidence for it in words."""

    at: Instant
    id: int
    outcome: Outcome
    evidence: str
    kind: Literal["settled"] = "settled"


CountState = Literal["running", "executed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Counted:
    """The device's own count of what it has delivered for an intent, nL rounded up."""

    at: Instant
    id: int
    state: CountState
    volume: NanoLitres
    kind: Literal["counted"] = "counted"


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
class Cleared:
    """The condition of an alarm is over; a latched one stays until a person has looked."""

    at: Instant
    code: str
    kind: Literal["cleared"] = "cleared"


@dataclass(frozen=True, slots=True)
class Paused:
    """A person silenced the alarms; the pause ends by itself at a wall time."""

    at: Instant
    user: str
    until: Milliseconds
    kind: Literal["paused"] = "paused"


@dataclass(frozen=True, slots=True)
class Looked:
    """A person has looked at the device and says what was found."""

    at: Instant
    user: str
    text: str
    kind: Literal["looked"] = "looked"


@dataclass(frozen=True, slots=True)
class Metered:
    """What a pump's meters showed, at its own ``clock``; a later reading is compared with it.

    ``missing`` is how much less than the least of what was planned had flowed by then.
    """

    at: Instant
    clock: Milliseconds
    delivered: NanoLitres
    reservoir: NanoLitres
    fill_at_ms: Milliseconds
    missing: NanoLitres
    kind: Literal["metered"] = "metered"


@dataclass(frozen=True, slots=True)
class BeforeField:
    """What a device was before a magnetic field, to be held against what it is afterwards.

    ``programs`` it held, the number of the newest entry of its ``log``, its own ``clock``, what a
    pump had ``delivered`` and whether it was ``halted``.
    """

    identity: DeviceIdentity
    programs: int
    log: int
    clock: Milliseconds
    delivered: NanoLitres
    halted: bool


@dataclass(frozen=True, slots=True)
class MriEntered:
    """The device was prepared for a magnetic field; ``restore`` says how to come back."""

    at: Instant
    user: str
    restore: str
    before: BeforeField | None = None
    kind: Literal["mri-entered"] = "mri-entered"


@dataclass(frozen=True, slots=True)
class MriLeft:
    """The device was looked at after a magnetic field and is itself again."""

    at: Instant
    user: str
    evidence: str
    kind: Literal["mri-left"] = "mri-left"


@dataclass(frozen=True, slots=True)
class Latched:
    """From here on no bolus and no increase, until people have looked; the reason in words.

    ``past_lost``: what the journal says of the past cannot be trusted either.
    """

    at: Instant
    reason: str
    past_lost: bool
    kind: Literal["latched"] = "latched"


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The digest of the state that all entries before this one fold to (SHA-256).

    ``fold`` is the version of the fold that made it. Its slow time is the latest of all of them.
    """

    at: Instant
    digest: bytes
    fold: int
    kind: Literal["checkpointed"] = "checkpointed"


Event = Annotated[
    Opened
    | Connected
    | Found
    | Intended
    | Rejected
    | Settled
    | Counted
    | Unverified
    | Measured
    | Lowered
    | Stopped
    | Raised
    | Cleared
    | Paused
    | Looked
    | Metered
    | MriEntered
    | MriLeft
    | Latched
    | Checkpointed,
    Field(discriminator="kind"),
]
