"""One conversation with one device: the only place that writes to a link.

Requests carry a sequence number that the reply echoes; several may be under way at once. Queries
are repeated on silence. Therapy is written once, only against a Clearance and after the last look
(a Renewal only while a cleared output is live); when its reply is lost the device is asked what
became of the id. Stop is written at once, whatever else is under way.

With a device's key every frame is sealed but those that open a session, and a stop wherever a
sealed one might not be understood (`host_seal`). Without one nothing is: there is no way between.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from device_profiles.errors import DeviceFault, DeviceSilent, LinkError, LinkLost
from device_profiles.errors import Refused as RefusedBySafety
from device_profiles.quantities import Milliseconds
from firmware_bridge.driver import Driver, Procedure, Step
from firmware_bridge.host_seal import Draw, HostSeal, NotProved
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.frames import FrameDecoder, decode_frame, encode_frame
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    AskOutcome,
    AskStatus,
    Catalogue,
    Challenged,
    DeEscalation,
    Envelope,
    Handshake,
    Identify,
    Identity,
    Message,
    MessageError,
    Open,
    Opened,
    OutcomeOf,
    Proved,
    Query,
    Refused,
    Renewal,
    Reply,
    Stop,
    TherapyRequest,
)
from firmware_bridge.protocol.seal import (
    CounterUsedUp,
    DeviceKey,
    OtherSession,
    Replayed,
    SealedLine,
    SealError,
    is_sealed,
)
from firmware_bridge.result import Result as Result
from firmware_bridge.result import settlement as settlement
from safety.clearance import Clearance, ClearanceError
from safety.outputs import Output

R = TypeVar("R", bound=Reply)
Tap = Callable[[bool, bytes], None]
"""Hears every byte as it goes over the line; the first argument says whether it was sent."""

REPLY_TIMEOUT = Milliseconds(500)
"""How long a reply may take before it counts as lost; link time, never scaled."""
ATTEMPTS = 3
STOP_ATTEMPTS = 10
FRAMES_KEPT = 8
UNSEALED = (Identify, Handshake, AskStatus, Stop)
"""All that may leave unsealed for a device that has a key."""
REMEDIES = {
    "no-key": ". This host has a key for it and sends nothing unsealed. Has the board lost its "
    "key, or does somebody on the line pretend so? Provision it again at the bench; a board in "
    "bring-up is asked with ?unsealed=yes",
    "unsealed": ". Leave ?unsealed=yes away, and add its key: neuraxis keys add SERIAL FILE",
    "not-proved": ". It holds another key than this host, or somebody is between: look at the "
    "line, then provision the key again at the bench",
}
"""What a person can do about a refusal."""


@dataclass(slots=True)
class LinkCounts:
    """What went over the line; for telemetry and error reports.

    ``forged``: altered, or unsealed where a sealed reply was due.
    ``replayed``: authentic, but it or a later one had been there before.
    """

    sent: int = 0
    received: int = 0
    damaged: int = 0
    alien: int = 0
    timeouts: int = 0
    forged: int = 0
    replayed: int = 0


class Waiting(NamedTuple):
    """Somebody who waits for a reply, and the line that sealed the request."""

    reply: "asyncio.Future[Reply | None]"
    line: SealedLine | None


def random_session() -> int:
    """A session number that no earlier conversation is likely to have had."""
    return secrets.randbelow(0xFFFF_FFFF) + 1


class Session:
    """A conversation over an unopened link; `connect` opens it and identifies the device.

    With a ``key`` it is sealed; ``draw`` gives random bytes.
    """

    def __init__(
        self,
        link: Link,
        catalogue: Catalogue,
        new_session: Callable[[], int] = random_session,
        key: DeviceKey | None = None,
        draw: Draw = secrets.token_bytes,
    ) -> None:
        self.counts = LinkCounts()
        self.taps: list[Tap] = []
        """Whoever watches the line; a tap must not raise."""
        self._link = link
        self._catalogue = catalogue
        self._new_session = new_session
        self._session = 0
        self._identity: Identity | None = None
        self._draw = draw
        self._seal = HostSeal(key, draw) if key is not None else None
        self._opening = asyncio.Lock()
        self._sequence = 0
        self._waiting: dict[int, Waiting] = {}
        self._decoder = FrameDecoder()
        self._broken: LinkError | None = None
        self._recent: deque[tuple[str, bytes]] = deque(maxlen=FRAMES_KEPT)
        self._therapy_turn = asyncio.Lock()
        self._live: Clearance | None = None
        self._lowerings = 0

    @property
    def lowerings(self) -> int:
        """How many stops and lowerings this session has sent: each voids what was asked before."""
        return self._lowerings

    @property
    def url(self) -> str:
        """The link's URL."""
        return self._link.url

    @property
    def broken(self) -> LinkError | None:
        """Why the link is gone, or ``None`` while it stands."""
        return self._broken

    async def connect(self) -> Identity:
        """Opens the link and asks who is there; nothing else is sent. Raises LinkError."""
        await self._link.open(self)
        try:
            identity = await self._ask(Identify(), Identity)
        except BaseException:
            await self._link.close()
            raise
        if identity.protocol != PROTOCOL_VERSION:
            await self._link.close()
            raise DeviceFault(
                f"{self.url}: {identity.serial} speaks protocol {identity.protocol}, this host "
                f"speaks {PROTOCOL_VERSION}; nothing was sent but the question who it is"
            )
        self._identity = identity
        return identity

    @property
    def sealed(self) -> bool:
        """Whether this conversation is sealed."""
        return self._seal is not None

    def seal_with(self, key: DeviceKey | None) -> None:
        """Seals what comes from here on with a device's key; for before `open`."""
        self._seal = HostSeal(key, self._draw) if key is not None else None

    async def open(self) -> None:
        """Opens a session: frames of earlier conversations are refused from here on.

        On a line on which one was open before, the device is asked who it is once more (SR-25): a
        plug may have been moved meanwhile. Raises DeviceFault when another one answers, or one
        that does not prove that it holds the key.
        """
        async with self._opening:
            if self._seal is None:
                if self._session:
                    await self._identify_again()
                fresh = self._new_session()
                await self._ask(Open(fresh), Opened)
            else:
                self._seal.line = await self._shake_hands(self._seal)
                self._seal.watch = None
                fresh = self._seal.line.session
            # Not sooner: a lowering that overtakes it has to carry the number the device knows.
            self._session = fresh

    async def _identify_again(self) -> None:
        """Raises DeviceFault unless the device is the one that answered at first."""
        known, again = self._identity, await self._ask(Identify(), Identity)
        if known is not None and again.serial != known.serial:
            raise DeviceFault(
                f"{self.url}: {again.serial} answers where {known.serial} was: nothing more "
                "was sent but the question who it is; connect again"
            )
        self._identity = again

    async def _shake_hands(self, seal: HostSeal) -> SealedLine:
        """Both ends prove that they hold the key; raises DeviceFault."""
        if self._session or self._identity is None:
            await self._identify_again()
        assert self._identity is not None
        asked = seal.ask(self._new_session())
        told = await self._ask(asked, Challenged)
        try:
            proof, line = seal.answer(self._identity, asked, told)
        except NotProved:
            raise DeviceFault(
                f"{self.url}: what answers as {self._identity.serial} does not prove that it holds "
                "that device's key: another key was provisioned, or somebody is between. Nothing "
                "was asked of it; look at the line, then provision the key again at the bench"
            ) from None
        seal.opening = True
        try:
            await self._ask(proof, Proved)
        finally:
            seal.opening = False
        return line

    async def _see_again(self, forgotten: SealedLine | None) -> None:
        """A session to see the device's status in, once it has forgotten ours.

        Nothing else is asked in it: what was planned for the old one needs a new connect.
        """
        async with self._opening:
            seal = self._seal
            if seal is not None and forgotten in (seal.watch, seal.line):
                seal.watch = await self._shake_hands(seal)

    async def close(self) -> None:
        """Closes the link; whoever still waits for a reply hears that it is gone."""
        self._abandon(LinkLost(f"{self.url} was closed"))
        await self._link.close()

    # --- queries -----------------------------------------------------------------------------

    async def query(self, query: Query, expected: type[R]) -> R:
        """Asks, and asks again on silence; raises DeviceSilent, LinkLost, DeviceFault."""
        return await self._ask(query, expected)

    async def _ask(self, request: Message, expected: type[R]) -> R:
        """An exchange that may be repeated, since doing it twice is doing it once."""
        is_look = isinstance(request, AskStatus) and self._seal is not None
        for _ in range(ATTEMPTS):
            line = self._line_for(request)
            reply = await self._exchange(request)
            if reply is not None and is_look and _is_forgotten(reply):
                await self._see_again(line)
            elif reply is not None:
                return self._checked(request, reply, expected)
        raise self._silence(request)

    # --- de-escalation -----------------------------------------------------------------------

    async def lower(self, request: DeEscalation) -> Reply:
        """Sends a request of the closed list at once and repeats it until it is answered.

        Nothing waits in front of it and nothing can refuse it on this side; what was asked for
        before and has not been sent is void. Raises DeviceSilent or LinkLost when no answer comes.
        """
        self._lowerings += 1
        answer: Reply | None = None
        for attempt in range(STOP_ATTEMPTS):
            reply = await self._exchange(request, again=attempt > 0)
            if reply is None:
                continue
            if not _is_forgotten(reply):
                return reply
            answer = reply  # a session is just being opened anew: the next one carries its number
        if answer is not None:
            return answer
        raise self._silence(request)

    @property
    def is_live(self) -> bool:
        """Whether an output of this session runs on a lease."""
        return self._live is not None

    def end_live(self) -> None:
        """Ends the right to renew a lease: the running output is on its way to zero."""
        if self._live is not None:
            self._live.close()
            self._live = None

    # --- therapy -----------------------------------------------------------------------------

    async def execute(
        self,
        clearance: Clearance,
        procedure: Procedure,
        driver: Driver,
        why_void: Callable[[], str | None],
        *,
        live: bool = False,
    ) -> Result:
        """Sends each step of a procedure after its last look and exactly once (SR-10, SR-20).

        ``why_void`` is asked before each frame, for a sentence why the clearance no longer holds
        (a stop came, it waited too long); ``None`` while it does. ``live``: the output it starts
        runs on a lease, which `renew` may prolong. A cancelled caller leaves the intent
        unsettled, which is UNCERTAIN. Never raises for a lost reply.
        """
        if clearance.intent_id != procedure.intent_id:
            raise ClearanceError("the procedure belongs to another intent than the clearance")
        async with self._therapy_turn:
            result = Result("refused", "the procedure has no step")
            for step in procedure.steps:
                if (reason := why_void()) is not None:
                    text = f"{reason}: nothing of this step was sent"
                    result = Result("refused", text, error=RefusedBySafety(text))
                else:
                    result = await self._carry_out(clearance, step, driver)
                if result.outcome != "delivered":
                    clearance.close()
                    return result
            if live and why_void() is None:
                self._live = clearance
            else:
                clearance.close()
            return result

    async def renew(self, request: Renewal, expected: type[R]) -> R:
        """Prolongs the lease of the live output; ClearanceError when none is live."""
        if self._live is None:
            raise ClearanceError("no output of this session runs on a lease")
        return await self._ask(request, expected)

    async def outcome_of(self, intent_id: int) -> OutcomeOf:
        """Asks the device what became of an id, in a new session, so that nothing sent before
        can still arrive and be carried out."""
        await self.open()
        answer = await self._ask(AskOutcome(intent_id), OutcomeOf)
        if answer.id != intent_id:
            raise DeviceFault(
                f"{self.url}: asked what became of {intent_id:#x}, it answered about {answer.id:#x}"
            )
        return answer

    async def _carry_out(self, clearance: Clearance, step: Step, driver: Driver) -> Result:
        intent_id = clearance.intent_id
        if step.prepares is not None:
            judged: tuple[Output, ...] = (clearance.peek(step.prepares),)
        else:
            judged = clearance.take(step.shows)
        if self._broken is not None:
            evidence = f"{self._broken} Nothing of this step was sent."
            return Result("refused", evidence, error=self._broken)
        try:
            reply = await self._exchange(
                step.request,
                last_look=lambda body: self._last_look(body, intent_id, judged, driver),
            )
        except LinkLost as error:
            if step.prepares is not None:
                evidence = f"{error} Nothing but staging had been sent."
                return Result("refused", evidence, error=error)
            return Result("UNCERTAIN", str(error))
        if reply == step.proof:
            return Result("delivered", f"the device answered {type(reply).__name__}")
        if isinstance(reply, Refused) and not _is_forgotten(reply):
            refused = Result("refused", f"the device refused: {reply.code}, {reply.detail}")
            if step.prepares is not None:
                return refused
            # A reply alone proves nothing: its memory of the id has to say the same.
            settled = await self._settle(intent_id)
            return refused if settled.outcome == "refused" else settled
        if step.prepares is not None:
            what = "did not answer" if reply is None else f"answered {reply!r}"
            return Result("refused", f"the device {what} while staging; nothing was committed")
        return await self._settle(clearance.intent_id)

    def _last_look(
        self, body: bytes, intent_id: int, judged: tuple[Output, ...], driver: Driver
    ) -> None:
        """Decodes the very bytes about to leave; raises ClearanceError if they say otherwise."""
        try:
            message = self._catalogue.decode(body).message
            is_judged = (
                isinstance(message, TherapyRequest)
                and getattr(message, "id", intent_id) == intent_id
                and driver.matches(message, judged)
            )
        except MessageError:
            is_judged = False
        if not is_judged:
            raise ClearanceError(
                "last look: the bytes about to leave do not say what was judged; nothing was sent"
            )

    async def _settle(self, intent_id: int) -> Result:
        """Asks the device what became of an id whose reply is lost (SR-21)."""
        try:
            answer = await self.outcome_of(intent_id)
        except (LinkError, DeviceFault) as error:
            return Result("UNCERTAIN", f"the reply was lost, and asking failed too: {error}")
        return settlement(answer)

    # --- the exchange ------------------------------------------------------------------------

    def _line_for(self, request: Message, *, again: bool = False) -> SealedLine | None:
        """The line that seals a request now; ``None``: it leaves unsealed."""
        if self._seal is None:
            return None
        line = self._seal.line_for(request, self._sequence, again=again)
        if line is None and not isinstance(request, UNSEALED):
            raise DeviceFault(f"{self.url}: no session is open, and this is sent sealed only")
        return line

    async def _exchange(
        self,
        request: Message,
        last_look: Callable[[bytes], None] | None = None,
        *,
        again: bool = False,
    ) -> Reply | None:
        """Writes one frame once; its reply, or ``None`` on silence. Raises LinkLost.

        ``last_look`` is shown what the very frame about to leave says, once more unsealed.
        """
        if self._broken is not None:
            raise LinkLost(str(self._broken)) from self._broken
        line = self._line_for(request, again=again)
        self._sequence = sequence = self._sequence % 0xFFFF_FFFF + 1
        frame = self._framed(request, sequence, line)
        if last_look is not None:
            last_look(_said(frame, line))
        loop = asyncio.get_running_loop()
        self._recent.append((">", frame))
        for tap in self.taps:
            tap(True, frame if line is None else encode_frame(_said(frame, line)))
        self._link.write(frame)
        self.counts.sent += 1
        future: asyncio.Future[Reply | None] = loop.create_future()
        self._waiting[sequence] = Waiting(future, line)
        timer = loop.call_later(REPLY_TIMEOUT / 1_000, self._give_up, sequence)
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[sequence]

    def _framed(self, request: Message, sequence: int, line: SealedLine | None) -> bytes:
        """The frame of a request; the counter that seals it is its sequence number."""
        session = self._session if self._seal is None else 0
        if line is None:
            return encode_frame(self._catalogue.encode(Envelope(session, sequence, request)))
        body = self._catalogue.encode(Envelope(line.session, sequence, request))
        try:
            return encode_frame(line.seal(body, sequence))
        except CounterUsedUp as error:
            raise DeviceFault(
                f"{self.url}: {error}: nothing was sent. Connect again; a stop needs no session"
            ) from error

    def _give_up(self, sequence: int) -> None:
        waiting = self._waiting.get(sequence)
        if waiting is not None and not waiting.reply.done():
            self.counts.timeouts += 1
            waiting.reply.set_result(None)

    # --- Receiver ----------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Takes bytes from the link; a reply that nobody waits for is counted and dropped."""
        if self._seal is None:
            self._tell_taps(data)
        for body in self._decoder.feed(data):
            self._recent.append(("<", body))
            line, said = self._opened(body)
            if self._seal is not None:
                self._tell_taps(encode_frame(said or body))
            if said is not None:
                self._take(said, line)
        self.counts.damaged = self._decoder.counts.damaged + self._decoder.counts.oversized

    def _tell_taps(self, data: bytes) -> None:
        for tap in self.taps:
            tap(False, data)

    def _opened(self, body: bytes) -> tuple[SealedLine | None, bytes | None]:
        """What a body says, and the line that sealed it; nothing, and counted, if it is no good."""
        if not is_sealed(body):
            return None, body
        if self._seal is None:
            self.counts.alien += 1
            return None, None
        try:
            line = self._seal.line_of(body)
            return line, line.open(body)
        except OtherSession:
            self.counts.alien += 1
        except Replayed:
            self.counts.replayed += 1
        except SealError:
            self.counts.forged += 1
        return None, None

    def _take(self, body: bytes, line: SealedLine | None) -> None:
        """A reply goes to whoever waits for it, if it came as its request went."""
        try:
            envelope = self._catalogue.decode(body)
        except MessageError:
            self.counts.alien += 1
            return
        waiting = self._waiting.get(envelope.sequence)
        message = envelope.message
        if waiting is None or waiting.reply.done() or not isinstance(message, Reply):
            self.counts.alien += 1
        elif self._seal is None:
            self._settle_waiting(waiting, message, is_ours=envelope.session == self._session)
        elif waiting.line is not line and not (line is None and _is_forgotten(message)):
            # What the device has forgotten it can't seal; to say so is all a forger can do here.
            self.counts.forged += 1
        else:
            sealing = waiting.line
            due = 0 if sealing is None else sealing.session
            self._settle_waiting(waiting, message, is_ours=envelope.session == due)

    def _settle_waiting(self, waiting: Waiting, reply: Reply, *, is_ours: bool) -> None:
        if is_ours:
            self.counts.received += 1
            waiting.reply.set_result(reply)
        else:
            self.counts.alien += 1

    def lost(self, error: LinkError) -> None:
        """Learns that the link is gone."""
        self._abandon(error)

    def _abandon(self, error: LinkError) -> None:
        if self._broken is None:
            self._broken = error
        for waiting in self._waiting.values():
            if not waiting.reply.done():
                waiting.reply.set_exception(LinkLost(str(error)))

    def _checked(self, request: Message, reply: Reply, expected: type[R]) -> R:
        if isinstance(reply, expected):
            return reply
        asked = type(request).__name__
        if _is_forgotten(reply):
            raise DeviceFault(
                f"{self.url}: the device no longer knows this conversation: it has restarted, or "
                "another program has opened one. Connect again; its program is read back first"
            )
        if isinstance(reply, Refused):
            remedy = REMEDIES.get(reply.code, "")
            raise DeviceFault(f"{self.url}: refused {asked}: {reply.code}, {reply.detail}{remedy}")
        raise DeviceFault(f"{self.url}: answered {asked} with {type(reply).__name__}")

    def _silence(self, request: Message) -> DeviceSilent:
        frames = "; ".join(f"{way} {data.hex()}" for way, data in self._recent) or "none"
        counts, dropped = self.counts, ""
        if counts.forged or counts.replayed:
            dropped = (
                f" Dropped: {counts.forged} frames that the device has not sealed, "
                f"{counts.replayed} that had been there before: somebody may be on the line."
            )
        return DeviceSilent(
            f"{self.url} does not answer ({type(request).__name__} was sent and "
            f"{REPLY_TIMEOUT} ms awaited each time). Check that it is powered, that the port and "
            "the baud rate are right and that no other program uses it."
            f"{dropped} Last frames: {frames}"
        )


def _said(frame: bytes, line: SealedLine | None) -> bytes:
    """The body that a frame about to leave says; empty if it says none."""
    body = decode_frame(frame[:-1]) or b""
    try:
        return body if line is None else line.look(body)
    except SealError:
        return b""


def _is_forgotten(reply: Reply) -> bool:
    """Whether the device says that it is in another conversation, or in none."""
    return isinstance(reply, Refused) and reply.code == "wrong-session"
