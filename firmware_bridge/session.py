"""One conversation with one device, and what may change its output: therapy and its way down.

Requests carry a sequence number that the reply echoes; several may be under way at once. Therapy
is written once, only against a Clearance and after the last look (a Renewal only while a cleared
output is live); when its reply is lost the device is asked what became of the id. Stop is written
at once, whatever else is under way.

With a device's key every frame is sealed but those that open a session, and a stop wherever a
sealed one might not be understood (`host_seal`). Without one nothing is: there is no way between.
"""

import secrets
from collections.abc import Callable

from device_profiles.errors import DeviceFault, DeviceSilent, LinkError, LinkLost, Uncertain
from device_profiles.errors import Refused as RefusedBySafety
from firmware_bridge.conversation import Conversation, random_session
from firmware_bridge.driver import Driver, Procedure, Step
from firmware_bridge.exchange import REPLY_TIMEOUT as REPLY_TIMEOUT
from firmware_bridge.exchange import R
from firmware_bridge.host_seal import Draw
from firmware_bridge.line_words import AnotherDevice, is_forgotten
from firmware_bridge.links.base import Link
from firmware_bridge.pace import Turn
from firmware_bridge.protocol.catalogue import (
    Catalogue,
)
from firmware_bridge.protocol.messages import (
    AskOutcome,
    DeEscalation,
    Identify,
    Identity,
    MessageError,
    OutcomeOf,
    Refused,
    Renewal,
    Reply,
    Stop,
    StopDepth,
    TherapyRequest,
)
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.result import Result as Result
from firmware_bridge.result import settlement as settlement
from safety.clearance import Clearance, ClearanceError
from safety.outputs import Output

STOP_ATTEMPTS = 10


class Session(Conversation):
    """A conversation that may deliver; see `Conversation` for how one begins."""

    def __init__(
        self,
        link: Link,
        catalogue: Catalogue,
        new_session: Callable[[], int] = random_session,
        key: DeviceKey | None = None,
        draw: Draw = secrets.token_bytes,
    ) -> None:
        super().__init__(link, catalogue, new_session, key, draw)
        self._live: Clearance | None = None
        self._lowerings = 0

    @property
    def lowerings(self) -> int:
        """How many stops and lowerings this session has sent: each voids what was asked before."""
        return self._lowerings

    async def connect_to_stop(self, depth: StopDepth) -> Identity:
        """As `connect`; a device that does not say who it is is sent a stop all the same.

        It may hear what it cannot answer. Not knowing who it is, it is never asked for more than
        its drug's own policy. Raises Uncertain then.
        """
        await self._link.open(self)
        try:
            try:
                identity = await self._ask(Identify(), Identity)
            except (DeviceSilent, DeviceFault) as error:
                raise Uncertain(
                    f"{await self._stop_blindly(depth)} Before that: {error}"
                ) from error
            return self._understood(identity)
        except BaseException:
            await self._link.close()
            raise

    async def _stop_blindly(self, depth: StopDepth) -> str:
        blind = Stop("policy" if depth == "flow" else depth)
        try:
            answer = f"it answers {type(await self.lower(blind)).__name__}"
        except LinkError:
            answer = "nothing of use came back"
        return (
            f"the stop could not be confirmed: a stop ({blind.depth}) was sent to whoever hears "
            f"it, and {answer}."
        )

    async def replace(self, link: Link) -> Identity:
        """See `Conversation.replace`; what ran on a lease over the old link is on its way down."""
        self.end_live()
        return await super().replace(link)

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
            if not is_forgotten(reply):
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
            raise self._fault(
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
        except (LinkLost, AnotherDevice) as error:
            if step.prepares is not None:
                evidence = f"{error} Nothing but staging had been sent."
                return Result("refused", evidence, error=error)
            return Result("UNCERTAIN", str(error))
        if reply == step.proof:
            return Result("delivered", f"the device answered {type(reply).__name__}")
        if isinstance(reply, Refused) and not is_forgotten(reply):
            refused = Result("refused", f"the device refused: {reply.code}, {reply.detail}")
            if step.prepares is not None:
                return refused
            # A reply alone proves nothing: its memory of the id has to say the same.
            settled = await self._settle(intent_id)
            return refused if settled.outcome == "refused" else settled
        if step.prepares is not None:
            what = "did not answer" if reply is None else f"answered {type(reply).__name__} wrongly"
            text = f"the device {what} while staging: nothing was committed, it can be tried again"
            return Result("refused", text)
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
