"""One conversation with one device: the only place that writes to a link.

Requests carry a sequence number that the reply echoes; several may be under way at once. Queries
are repeated on silence. Therapy is written once, only against a Clearance and after the last look
(a Renewal only while a cleared output is live); when its reply is lost the device is asked what
became of the id. Stop is written at once, whatever else is under way.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from device_profiles.errors import DeviceFault, DeviceSilent, LinkError, LinkLost, NeuraxisError
from device_profiles.errors import Refused as RefusedBySafety
from device_profiles.quantities import Milliseconds
from firmware_bridge.driver import Driver, Procedure, Step
from firmware_bridge.links.base import Link
from firmware_bridge.pace import Pace, Turn
from firmware_bridge.protocol.frames import FrameDecoder, decode_frame, encode_frame
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    AskOutcome,
    Catalogue,
    DeEscalation,
    Envelope,
    Identify,
    Identity,
    Message,
    MessageError,
    Open,
    Opened,
    OutcomeOf,
    Query,
    Refused,
    Renewal,
    Reply,
    TherapyRequest,
)
from safety.clearance import Clearance, ClearanceError
from safety.events import Outcome
from safety.outputs import Output

R = TypeVar("R", bound=Reply)
Tap = Callable[[bool, bytes], None]
"""Hears every byte as it goes over the line; the first argument says whether it was sent."""

REPLY_TIMEOUT = Milliseconds(500)
"""How long a reply may take before it counts as lost; link time, never scaled."""
ATTEMPTS = 3
STOP_ATTEMPTS = 10
FRAMES_KEPT = 8


@dataclass(slots=True)
class LinkCounts:
    """What went over the line; for telemetry and error reports."""

    sent: int = 0
    received: int = 0
    damaged: int = 0
    alien: int = 0
    timeouts: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a procedure, and the device's evidence for it."""

    outcome: Outcome
    evidence: str
    settled_by_asking: bool = False
    intent_id: int = 0
    count: OutcomeOf | None = None
    """The device's own answer about the id, where it was asked and had acted on it."""
    error: NeuraxisError | None = None
    """What to raise, where the outcome alone does not say it."""


def random_session() -> int:
    """A session number that no earlier conversation is likely to have had."""
    return secrets.randbelow(0xFFFF_FFFF) + 1


class Session:
    """A conversation over an unopened link; `connect` opens it and identifies the device."""

    def __init__(
        self, link: Link, catalogue: Catalogue, new_session: Callable[[], int] = random_session
    ) -> None:
        self.counts = LinkCounts()
        self.taps: list[Tap] = []
        """Whoever watches the line; a tap must not raise."""
        self._link = link
        self._catalogue = catalogue
        self._new_session = new_session
        self._session = 0
        self._serial: str | None = None
        self._sequence = 0
        self._pace = Pace(link)
        self._waiting: dict[int, asyncio.Future[Reply | None]] = {}
        self._decoder = FrameDecoder()
        self._damaged_before = 0
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
        self._serial = identity.serial
        return identity

    async def replace(self, link: Link) -> Identity:
        """Goes on over a new link, since a lost one never comes back; identifies who is there.

        Raises LinkError and DeviceFault; this session then stays as broken as it was.
        """
        before = self._broken
        self._abandon(LinkLost(f"{self.url} was replaced"))
        await self._link.close()
        self.end_live()
        self._link, self._pace, self._session = link, Pace(link), 0
        self._damaged_before = self.counts.damaged
        self._decoder = FrameDecoder()
        self._broken = None
        try:
            return await self.connect()
        except BaseException as error:
            self._broken = self._broken or before or LinkLost(str(error))
            raise

    async def open(self) -> None:
        """Opens a session: frames of earlier conversations are refused from here on.

        On a line on which one was open before, the device is asked who it is once more (SR-25): a
        plug may have been moved meanwhile. Raises DeviceFault when another one answers.
        """
        if self._session and self._serial is not None:
            again = await self._ask(Identify(), Identity)
            if again.serial != self._serial:
                raise DeviceFault(
                    f"{self.url}: {again.serial} answers where {self._serial} was: nothing more "
                    "was sent but the question who it is; connect again"
                )
        fresh = self._new_session()
        await self._ask(Open(fresh), Opened)
        # Not sooner: a lowering that overtakes it has to carry the number that the device knows.
        self._session = fresh

    async def close(self) -> None:
        """Closes the link; whoever still waits for a reply hears that it is gone."""
        self._abandon(LinkLost(f"{self.url} was closed"))
        await self._link.close()

    # --- queries -----------------------------------------------------------------------------

    async def query(self, query: Query, expected: type[R]) -> R:
        """Asks, and asks again on silence; raises DeviceSilent, LinkLost, DeviceFault."""
        return await self._ask(query, expected)

    async def _ask(self, request: Message, expected: type[R], who: Turn = Turn.QUERY) -> R:
        """An exchange that may be repeated, since doing it twice is doing it once."""
        for _ in range(ATTEMPTS):
            await self._pace.turn(who)
            reply = await self._exchange(request)
            if reply is not None:
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
        for _ in range(STOP_ATTEMPTS):
            reply = await self._exchange(request)
            if reply is None:
                continue
            if not (isinstance(reply, Refused) and reply.code == "wrong-session"):
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
                await self._pace.turn(Turn.THERAPY)
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
        return await self._ask(request, expected, Turn.LEASE)

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
                last_look=lambda frame: self._last_look(frame, intent_id, judged, driver),
            )
        except LinkLost as error:
            if step.prepares is not None:
                evidence = f"{error} Nothing but staging had been sent."
                return Result("refused", evidence, error=error)
            return Result("UNCERTAIN", str(error))
        if reply == step.proof:
            return Result("delivered", f"the device answered {type(reply).__name__}")
        if isinstance(reply, Refused) and reply.code != "wrong-session":
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
        self, frame: bytes, intent_id: int, judged: tuple[Output, ...], driver: Driver
    ) -> None:
        """Decodes the very bytes about to leave; raises ClearanceError if they say otherwise."""
        try:
            message = self._catalogue.decode(decode_frame(frame[:-1]) or b"").message
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

    async def _exchange(
        self, request: Message, last_look: Callable[[bytes], None] | None = None
    ) -> Reply | None:
        """Writes one frame once and at once; its reply, or ``None`` on silence. Raises LinkLost.

        Whoever is not urgent has waited for its turn just before.
        """
        if self._broken is not None:
            raise LinkLost(str(self._broken)) from self._broken
        self._sequence = sequence = self._sequence % 0xFFFF_FFFF + 1
        frame = encode_frame(self._catalogue.encode(Envelope(self._session, sequence, request)))
        if last_look is not None:
            last_look(frame)
        loop = asyncio.get_running_loop()
        self._recent.append((">", frame))
        for tap in self.taps:
            tap(True, frame)
        self._link.write(frame)
        self._pace.wrote(len(frame))
        self.counts.sent += 1
        future: asyncio.Future[Reply | None] = loop.create_future()
        self._waiting[sequence] = future
        timer = loop.call_later(REPLY_TIMEOUT / 1_000, self._give_up, sequence)
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[sequence]

    def _give_up(self, sequence: int) -> None:
        future = self._waiting.get(sequence)
        if future is not None and not future.done():
            self.counts.timeouts += 1
            future.set_result(None)

    # --- Receiver ----------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Takes bytes from the link; a reply that nobody waits for is counted and dropped."""
        for tap in self.taps:
            tap(False, data)
        for body in self._decoder.feed(data):
            try:
                envelope = self._catalogue.decode(body)
            except MessageError:
                self.counts.alien += 1
                continue
            self._recent.append(("<", body))
            future = self._waiting.get(envelope.sequence)
            message = envelope.message
            if (
                future is None
                or future.done()
                or not isinstance(message, Reply)
                or envelope.session != self._session
            ):
                self.counts.alien += 1
                continue
            self.counts.received += 1
            if envelope.sequence == self._sequence:
                self._pace.answered()
            future.set_result(message)
        counts = self._decoder.counts
        self.counts.damaged = self._damaged_before + counts.damaged + counts.oversized

    def lost(self, error: LinkError) -> None:
        """Learns that the link is gone."""
        self._abandon(error)

    def _abandon(self, error: LinkError) -> None:
        if self._broken is None:
            self._broken = error
        self._pace.end()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LinkLost(str(error)))

    def _checked(self, request: Message, reply: Reply, expected: type[R]) -> R:
        if isinstance(reply, expected):
            return reply
        asked = type(request).__name__
        if isinstance(reply, Refused) and reply.code == "wrong-session":
            raise DeviceFault(
                f"{self.url}: the device no longer knows this conversation: it has restarted, or "
                "another program has opened one. Connect again; its program is read back first"
            )
        if isinstance(reply, Refused):
            raise DeviceFault(f"{self.url}: refused {asked}: {reply.code}, {reply.detail}")
        raise DeviceFault(f"{self.url}: answered {asked} with {type(reply).__name__}")

    def _silence(self, request: Message) -> DeviceSilent:
        frames = "; ".join(f"{way} {data.hex()}" for way, data in self._recent) or "none"
        return DeviceSilent(
            f"{self.url} does not answer ({type(request).__name__} was sent and "
            f"{REPLY_TIMEOUT} ms awaited each time). Check that it is powered, that the port and "
            f"the baud rate are right and that no other program uses it. Last frames: {frames}"
        )


def settlement(answer: OutcomeOf) -> Result:
    """What the device's own memory of an id proves."""
    if answer.state in ("executed", "running", "interrupted"):
        amount = f", {answer.delivered} nL so far" if answer.delivered else ""
        return Result(
            "delivered",
            f"the reply was lost; asked, the device says: {answer.state}{amount}",
            settled_by_asking=True,
            count=answer,
        )
    if answer.state == "unknown":
        text = (
            "the request was lost on the way; asked, the device never saw it: nothing was changed"
        )
        return Result(
            "refused", text, settled_by_asking=True, error=DeviceSilent(f"{text}; try again")
        )
    text = "the reply was lost; asked, the device says: it refused it"
    return Result("refused", text, settled_by_asking=True)
