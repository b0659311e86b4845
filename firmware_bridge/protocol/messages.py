"""The messages every device family shares, each field with its type and its range.

A device family adds its own kinds (see `families/*/wire.py`); `catalogue.py` turns messages into
bodies and back. `docs/protocol.md` is written from this file and tested against it.
"""

from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    cast,
    dataclass_transform,
)

from pydantic import ConfigDict, Field, GetCoreSchemaHandler
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema

from device_profiles.serial_number import LONGEST

PROTOCOL_VERSION = 4
DIGEST_BYTES = 16
REPLY = 0x80
"""A reply's kind is its request's kind with this bit set, unless the table says otherwise."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """Makes a class a message: frozen, its fields typed and bounded, unknown ones refused."""
    config = ConfigDict(strict=True, extra="forbid")
    return cast("type[T]", dataclass(frozen=True, slots=True, config=config)(cls))


U8 = Annotated[int, Field(ge=0, le=0xFF)]
U16 = Annotated[int, Field(ge=0, le=0xFFFF)]
U32 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
U64 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF_FFFF_FFFF)]
CommandId = Annotated[int, Field(ge=1, le=0xFFFF_FFFF_FFFF_FFFF)]
SessionId = Annotated[int, Field(ge=1, le=0xFFFF_FFFF)]
Nonce = Annotated[bytes, Field(min_length=16, max_length=16)]
Proof = Annotated[bytes, Field(min_length=32, max_length=32)]
Digest = Annotated[bytes, Field(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Blob = Annotated[bytes, Field(max_length=2_048)]
PRINTABLE = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$"
"""A text on the line ends up on terminals and in journals: it must not steer them."""
ShortText = Annotated[str, Field(max_length=64, pattern=PRINTABLE)]
AlarmCodes = Annotated[
    list[Annotated[str, Field(max_length=40, pattern=PRINTABLE)]], Field(max_length=16)
]
Serial = Annotated[str, Field(min_length=1, max_length=LONGEST, pattern=PRINTABLE)]


class MessageError(Exception):
    """A body that is no message of this protocol."""


@message
class Message:
    """Anything that travels in an envelope."""

    KIND: ClassVar[int] = 0

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Lets `Catalogue.decode` hand a map of fields to the validator as it is.

        Only the message itself is lax, and takes a map; every field stays strict.
        """
        return cast("CoreSchema", {**handler(source), "strict": False})


# --- four kinds of request, told apart by type -----------------------------------------------


@message
class Query(Message):
    """A request that provably changes nothing; it may be repeated."""


@message
class Handshake(Message):
    """A request that opens a session and cannot touch an output."""


@message
class DeEscalation(Message):
    """A request of the closed list that can only lower an output; never refused, never queued."""


@message
class TherapyRequest(Message):
    """A request that may raise, change or prolong an output: only against a Clearance."""


@message
class Renewal(TherapyRequest):
    """A request that prolongs the lease of what runs, and can do nothing else."""


@message
class Reply(Message):
    """What a device answers."""


@message
class SaysWho(Reply):
    """A reply that is believed of one device only: ``serial`` is the number of who says it.

    Whatever opens a session, settles an id or shows a state: a plug may have been moved meanwhile.
    """

    serial: Serial


# --- identification --------------------------------------------------------------------------


@message
class Identify(Query):
    """Who are you? Answered in any state and any session."""

    KIND: ClassVar[int] = 0x01


@message
class Identity(Reply):
    """The device's identity.

    ``simulated`` is true for a simulator and nothing else. ``speed`` is 1 for every real device;
    a simulator says how many times faster its therapy time runs. ``boot`` counts the device's
    starts.
    """

    KIND: ClassVar[int] = 0x81
    protocol: U8
    family: ShortText
    model: ShortText
    serial: Serial
    firmware: ShortText
    calibration: ShortText
    simulated: bool
    speed: Annotated[int, Field(ge=1, le=1_000_000)]
    boot: U32


@message
class Open(Handshake):
    """Opens an unsealed session, on a device without a key; requests of any other are refused."""

    KIND: ClassVar[int] = 0x02
    session: SessionId


@message
class Opened(SaysWho):
    """The session is open; what was staged before is gone."""

    KIND: ClassVar[int] = 0x82


@message
class OpenSealed(Handshake):
    """Asks a device to prove that it holds its key; what is open stays so until `Prove`."""

    KIND: ClassVar[int] = 0x0A
    session: SessionId
    nonce: Nonce


@message
class Challenged(Reply):
    """The device's proof over both nonces, and its own nonce for the host to prove itself."""

    KIND: ClassVar[int] = 0x8A
    nonce: Nonce
    proof: Proof


@message
class Prove(Handshake):
    """The host's proof: the sealed session is open from here on, and no other is."""

    KIND: ClassVar[int] = 0x0B
    session: SessionId
    proof: Proof


@message
class Proved(Reply):
    """The sealed session is open; what was staged before is gone."""

    KIND: ClassVar[int] = 0x8B


# --- programs --------------------------------------------------------------------------------


@message
class Read(Query):
    """Reads back the active program of a slot."""

    KIND: ClassVar[int] = 0x03
    slot: U8


@message
class ProgramRead(Reply):
    """The active program of a slot, byte for byte as it was staged; empty if there is none."""

    KIND: ClassVar[int] = 0x83
    slot: U8
    program: Blob


@message
class Stage(TherapyRequest):
    """Puts a program beside the active ones; it changes no output until a commit."""

    KIND: ClassVar[int] = 0x04
    slot: U8
    program: Blob


@message
class Staged(Reply):
    """The program is staged; ``digest`` is over the bytes the device holds."""

    KIND: ClassVar[int] = 0x84
    slot: U8
    digest: Digest


@message
class Commit(TherapyRequest):
    """Makes the staged programs of slots 0 to ``slots`` - 1 the active ones, all at once.

    ``digest`` is over their bytes, one after the other; a device whose staged bytes differ
    refuses. Slots from ``slots`` up become empty.
    """

    KIND: ClassVar[int] = 0x05
    id: CommandId
    slots: Annotated[int, Field(ge=1, le=16)]
    digest: Digest


# --- outcome ---------------------------------------------------------------------------------


@message
class Done(Reply):
    """The request of this id has been carried out."""

    KIND: ClassVar[int] = 0xA0
    id: CommandId


@message
class AskOutcome(Query):
    """What became of id N?"""

    KIND: ClassVar[int] = 0x06
    id: CommandId


OutcomeState = Literal["unknown", "refused", "executed", "running", "interrupted"]


@message
class OutcomeOf(SaysWho):
    """What became of an id.

    ``unknown``: this device never acted on it. ``refused``: it did nothing. ``executed``: done,
    in full. ``running``: a bolus under way. ``interrupted``: a bolus that ended early and will
    not go on. ``delivered`` is the bolus volume so far in nL, rounded up; 0 for other commands.
    """

    KIND: ClassVar[int] = 0x86
    id: CommandId
    state: OutcomeState
    delivered: U64


# --- stop ------------------------------------------------------------------------------------

StopDepth = Literal["hold", "policy", "flow"]


@message
class Stop(DeEscalation):
    """Brings the device to a safe state; valid in any session, with or without one.

    A stimulator ramps to zero and stays off, whatever the depth. A pump: ``hold`` ends boluses,
    closes the patient's button and keeps the basal; ``policy`` does so too and then follows the
    stop policy stored with its program; ``flow`` halts all flow.
    """

    KIND: ClassVar[int] = 0x07
    depth: StopDepth


@message
class Stopped(SaysWho):
    """The stop is under way; the status shows when the safe state is reached."""

    KIND: ClassVar[int] = 0x87


# --- status, events, errors ------------------------------------------------------------------


@message
class AskStatus(Query):
    """How are you? Answered with the family's status message."""

    KIND: ClassVar[int] = 0x08


@message
class AskEvent(Query):
    """The first entry of the device's log after a number."""

    KIND: ClassVar[int] = 0x09
    after: U32


@message
class LoggedEvent(Reply):
    """One entry of the device's log.

    ``number`` is 0 when no entry follows; ``latest`` is the newest entry's number. ``clock`` is
    the device's clock at the entry, ms of Unix time.
    """

    KIND: ClassVar[int] = 0x89
    number: U32
    latest: U32
    clock: U64
    text: Annotated[str, Field(max_length=120, pattern=PRINTABLE)]


ErrorCode = Literal[
    "bad-message",
    "wrong-session",
    "out-of-range",
    "wrong-state",
    "digest-differs",
    "id-reused",
    "busy",
    "lease-ended",
    "unsealed",
    "no-key",
    "not-proved",
]


@message
class Refused(Reply):
    """The device did nothing: the request that this answers was not carried out."""

    KIND: ClassVar[int] = 0xFF
    code: ErrorCode
    detail: Annotated[str, Field(max_length=200, pattern=PRINTABLE)]


COMMON_MESSAGES: tuple[type[Message], ...] = (
    Identify,
    Identity,
    Open,
    Opened,
    OpenSealed,
    Challenged,
    Prove,
    Proved,
    Read,
    ProgramRead,
    Stage,
    Staged,
    Commit,
    Done,
    AskOutcome,
    OutcomeOf,
    Stop,
    Stopped,
    AskStatus,
    AskEvent,
    LoggedEvent,
    Refused,
)
