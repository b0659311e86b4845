"""What the firmware of every simulated device has in common: sessions, staging, ids, log.

The session rule (SR-20, SR-27): requests of another session are refused, except Identify,
AskStatus and Stop. A session and what was staged in it are lost at each start of the device. Which
session is open, and what of it must be sealed, is `conversation.py`.

The rule of ids (SR-20): each therapy command with an id is remembered with its content and
outcome in non-volatile memory. The same id with the same content is answered again without
acting; with other content it is refused. A command that was refused stays refused, and so does
an id that a host has asked after before it came.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Generic, TypeVar

import cbor2
from pydantic import Field

from firmware_bridge.families.body import Body, Stored
from firmware_bridge.families.conversation import Conversation
from firmware_bridge.families.conversation import Refusal as Refusal
from firmware_bridge.protocol.blob import digest_of
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    AskEvent,
    AskOutcome,
    AskStatus,
    Commit,
    DeEscalation,
    Done,
    ErrorCode,
    Identify,
    Identity,
    LoggedEvent,
    Message,
    MessageError,
    Open,
    Opened,
    OpenSealed,
    OutcomeOf,
    OutcomeState,
    ProgramRead,
    Prove,
    Proved,
    Read,
    Refused,
    Reply,
    Stage,
    Staged,
    Stop,
    StopDepth,
    Stopped,
)

OUTCOMES_KEPT = 256
EVENTS_KEPT = 256
_EVENT_TEXT_MAX = 120


class StoredOutcome(Stored):
    """What became of an id; ``delivered`` in nL; ``code`` and ``detail`` of a refusal."""

    content: bytes
    state: OutcomeState
    delivered: int = 0
    code: ErrorCode | None = None
    detail: str = ""


class StoredEvent(Stored):
    """One entry of the log; ``clock`` is the device's clock in ms of Unix time."""

    number: int
    clock: int
    text: str


class FirmwareMemory(Stored):
    """The part of non-volatile memory that every family has.

    ``worn``: the cells that hold programs can be read and no longer written; all others are sound.
    """

    boot: int = 0
    worn: bool = False
    programs: list[bytes] = Field(default_factory=list)
    outcomes: dict[int, StoredOutcome] = Field(default_factory=dict)
    events: list[StoredEvent] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device says of itself; ``born_ms`` is its clock at therapy time zero."""

    serial: str
    calibration: str
    speed: int
    born_ms: int
    firmware: str = "1.0.0"


MemoryT = TypeVar("MemoryT", bound=FirmwareMemory)
BodyT = TypeVar("BodyT", bound=Body)


class Firmware(ABC, Generic[MemoryT, BodyT]):
    """Messages in, replies out, and a body that it drives.

    Replies gather in ``outbox``. ``changed`` is set whenever something happened that must be in
    non-volatile memory before a reply leaves; whoever saves it clears it.
    """

    FAMILY: ClassVar[str]
    MODEL: ClassVar[str]
    SLOTS: ClassVar[int]

    def __init__(
        self,
        identity: DeviceIdentity,
        memory: MemoryT,
        body: BodyT,
        conversation: Conversation | None = None,
    ) -> None:
        self.identity = identity
        self.conversation = conversation or Conversation()
        self.memory = memory
        self.body = body
        self.outbox: list[Envelope] = []
        self.changed = True
        self._staged: dict[int, bytes] = {}
        memory.boot += 1
        self.log(f"start {memory.boot}")

    # --- time ------------------------------------------------------------------------------

    @property
    def clock_ms(self) -> int:
        """The device's own clock, ms of Unix time."""
        return self.identity.born_ms + self.body.t_ms

    def advance(self, to_ms: int) -> None:
        """Runs firmware and body to a therapy time, stopping at each of the firmware's own."""
        while (due := self.next_deadline()) is not None and due <= to_ms:
            self.body.advance(due)
            self.collect()
            self.meet_deadline()
        self.body.advance(to_ms)
        self.collect()

    def next_event(self) -> int | None:
        """When firmware or body will do something by themselves."""
        times = [
            time for time in (self.next_deadline(), self.body.next_event()) if time is not None
        ]
        return min(times, default=None)

    def next_deadline(self) -> int | None:
        """When the firmware itself has to act; ``None`` if never."""
        return None

    def meet_deadline(self) -> None:
        """Acts at a deadline that has come; the deadline is over afterwards."""

    @abstractmethod
    def collect(self) -> None:
        """Takes note of what the body did by itself."""

    # --- requests ----------------------------------------------------------------------------

    def handle(self, envelope: Envelope) -> None:
        """Carries out or refuses one request; its reply, if any, is in ``outbox`` after it."""
        try:
            reply = self._answer(envelope)
        except Refusal as refusal:
            reply = Refused(refusal.code, refusal.detail)
        if reply is not None:
            self.reply(envelope, reply)

    def reply(self, envelope: Envelope, reply: Reply) -> None:
        """Puts a reply into the outbox; it is sealed if its request was."""
        self.outbox.append(type(envelope)(envelope.session, envelope.sequence, reply))

    def _answer(self, envelope: Envelope) -> Reply | None:
        request = envelope.message
        if isinstance(request, Reply):
            raise Refusal("bad-message", "this is a reply, not a request")
        if isinstance(request, Stop):
            self.conversation.lowered(envelope)
            self.stop(request.depth)
            return Stopped(self.identity.serial)
        if isinstance(request, AskStatus):
            return self.status()
        if isinstance(request, Identify):
            return self._identity()
        if isinstance(request, Open):
            self.conversation.open(request)
            self._staged.clear()
            return Opened(self.identity.serial)
        if isinstance(request, OpenSealed):
            return self.conversation.challenge(request, self._identity())
        if isinstance(request, Prove):
            if self.conversation.prove(request):
                self._staged.clear()
            return Proved()
        self.conversation.check(envelope)
        if isinstance(request, DeEscalation):
            self.conversation.lowered(envelope)
        if isinstance(request, Read):
            return self._read(request)
        if isinstance(request, Stage):
            return self._stage(request)
        if isinstance(request, AskOutcome):
            return self._outcome(request.id)
        if isinstance(request, AskEvent):
            return self._event_after(request.after)
        command_id: int | None = getattr(request, "id", None)
        if command_id is None:
            return self.request(request)
        return self._once(envelope, command_id)

    @abstractmethod
    def stop(self, depth: StopDepth) -> None:
        """Brings the body to its safe state."""

    @abstractmethod
    def status(self) -> Reply:
        """The family's status."""

    @abstractmethod
    def request(self, request: Message) -> Reply:
        """Carries out a request of the family that has no id; raises Refusal."""

    @abstractmethod
    def command(self, request: Message) -> OutcomeState:
        """Carries out a command other than Commit: executed or running; raises Refusal."""

    @abstractmethod
    def decode(self, program: bytes) -> object:
        """The program in a blob; raises MessageError."""

    @abstractmethod
    def check_idle(self) -> None:
        """Raises Refusal if programs cannot be replaced now."""

    @abstractmethod
    def check_programs(self, programs: list[bytes]) -> None:
        """Raises Refusal if programs are outside of what the factory built this device for."""

    @abstractmethod
    def programs_replaced(self) -> None:
        """The programs in memory are new."""

    # --- programs ----------------------------------------------------------------------------

    def wear_out(self) -> None:
        """From now on no program can be written: the active ones stay."""
        self.memory.worn = True
        self.log("memory error: no program can be written")

    def _check_writable(self) -> None:
        if self.memory.worn:
            raise Refusal("wrong-state", "memory error: it takes no program, the old one stays")

    def _read(self, request: Read) -> Reply:
        self._check_slot(request.slot)
        programs = self.memory.programs
        return ProgramRead(
            request.slot, programs[request.slot] if request.slot < len(programs) else b""
        )

    def _stage(self, request: Stage) -> Reply:
        self._check_slot(request.slot)
        self._check_writable()
        try:
            self.decode(request.program)
        except MessageError as error:
            raise Refusal("bad-message", str(error)) from error
        self._staged[request.slot] = request.program
        return Staged(request.slot, digest_of(request.program))

    def _check_slot(self, slot: int) -> None:
        if slot >= self.SLOTS:
            raise Refusal("out-of-range", f"this device has {self.SLOTS} slots, from 0")

    def _commit(self, request: Commit) -> None:
        self._check_slot(request.slots - 1)
        self._check_writable()
        self.check_idle()
        missing = [slot for slot in range(request.slots) if slot not in self._staged]
        if missing:
            raise Refusal("wrong-state", f"nothing is staged in slot {missing[0]}")
        programs = [self._staged[slot] for slot in range(request.slots)]
        if digest_of(*programs) != request.digest:
            raise Refusal("digest-differs", "other programs are staged than those to commit")
        self.check_programs(programs)
        self.memory.programs = programs
        self._staged.clear()
        self.programs_replaced()
        self.log(f"commit of {request.slots} programs")

    # --- ids ---------------------------------------------------------------------------------

    def _once(self, envelope: Envelope, command_id: int) -> Reply | None:
        request = envelope.message
        content = _content_of(request)
        known = self.memory.outcomes.get(command_id)
        if known is not None:
            if known.content != content:
                raise Refusal("id-reused", f"id {command_id} was another command")
            return self.answer_again(envelope, command_id, known)
        try:
            state: OutcomeState = "executed"
            self.conversation.check_order(envelope)
            if isinstance(request, Commit):
                self._commit(request)
            else:
                state = self.command(request)
        except Refusal as refusal:
            self._remember(
                command_id,
                StoredOutcome(
                    content=content, state="refused", code=refusal.code, detail=refusal.detail
                ),
            )
            raise
        outcome = StoredOutcome(content=content, state=state)
        self._remember(command_id, outcome)
        return self.first_answer(envelope, command_id)

    def first_answer(self, envelope: Envelope, command_id: int) -> Reply | None:
        """The reply to a command that was just taken; ``None`` if it comes later."""
        return Done(command_id)

    def answer_again(
        self, envelope: Envelope, command_id: int, known: StoredOutcome
    ) -> Reply | None:
        """The reply to a command that was answered before: the same again."""
        if known.code is not None:
            raise Refusal(known.code, known.detail)
        return Done(command_id)

    def _remember(self, command_id: int, outcome: StoredOutcome) -> None:
        outcomes = self.memory.outcomes
        outcomes[command_id] = outcome
        while len(outcomes) > OUTCOMES_KEPT:
            del outcomes[next(iter(outcomes))]
        self.changed = True

    def settle(self, command_id: int, state: OutcomeState, delivered: int = 0) -> None:
        """Records the end of a command that was running."""
        outcome = self.memory.outcomes.get(command_id)
        if outcome is not None:
            outcome.state = state
            outcome.delivered = delivered
            self.changed = True

    def _outcome(self, command_id: int) -> Reply:
        known = self.memory.outcomes.get(command_id)
        if known is None:
            self._close(command_id)
            return OutcomeOf(self.identity.serial, command_id, "unknown", 0)
        delivered = known.delivered
        if known.state == "running":
            delivered = self.delivered_so_far(command_id)
        return OutcomeOf(self.identity.serial, command_id, known.state, delivered)

    def _close(self, command_id: int) -> None:
        """Never acts on an id from here on: its host has been told that nothing was done."""
        closed = StoredOutcome(
            content=b"",
            state="refused",
            code="id-reused",
            detail="its host has been told that this id was never acted on",
        )
        self._remember(command_id, closed)

    def delivered_so_far(self, command_id: int) -> int:
        """The volume in nL, rounded up, that a running command has delivered."""
        return 0

    # --- identity and log ----------------------------------------------------------------------

    def _identity(self) -> Identity:
        return Identity(
            protocol=PROTOCOL_VERSION,
            family=self.FAMILY,
            model=self.MODEL,
            serial=self.identity.serial,
            firmware=self.identity.firmware,
            calibration=self.identity.calibration,
            simulated=True,
            speed=self.identity.speed,
            boot=self.memory.boot,
        )

    def log(self, text: str) -> None:
        """Adds an entry to the device's log, which keeps the newest."""
        events = self.memory.events
        number = events[-1].number + 1 if events else 1
        events.append(StoredEvent(number=number, clock=self.clock_ms, text=text[:_EVENT_TEXT_MAX]))
        del events[:-EVENTS_KEPT]
        self.changed = True

    def _event_after(self, after: int) -> Reply:
        events = self.memory.events
        latest = events[-1].number
        entry = next((entry for entry in events if entry.number > after), None)
        if entry is None:
            return LoggedEvent(0, latest, self.clock_ms, "")
        return LoggedEvent(entry.number, latest, entry.clock, entry.text)


def _content_of(request: Message) -> bytes:
    values = [getattr(request, field.name) for field in fields(request)]
    return digest_of(cbor2.dumps([type(request).KIND, *values]))
