"""One request and its reply, framed and sealed: the only place that writes to a link."""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from device_profiles.errors import DeviceFault, DeviceSilent, LinkError, LinkLost
from device_profiles.quantities import Milliseconds
from firmware_bridge.host_seal import Draw, HostSeal
from firmware_bridge.line_words import (
    AnotherDevice,
    another_device,
    is_forgotten,
    silence,
    unexpected,
)
from firmware_bridge.link_counts import RECENT_KEPT, LinkCounts
from firmware_bridge.links.base import Link
from firmware_bridge.pace import Pace
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, decode_frame, encode_frame
from firmware_bridge.protocol.messages import (
    AskStatus,
    Handshake,
    Identify,
    Identity,
    Message,
    MessageError,
    Refused,
    Reply,
    SaysWho,
    Stop,
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

R = TypeVar("R", bound=Reply)
Tap = Callable[[bool, bytes], None]
"""Hears each frame as it goes over the line, unsealed; the first argument: whether it was sent."""

REPLY_TIMEOUT = Milliseconds(500)
"""How long a reply may take before it counts as lost; link time, never scaled."""
ATTEMPTS = 3
"""How often whatever may be repeated is asked in all."""
FRAMES_KEPT = 8
BYTES_SHOWN = 48
"""Of each frame in an error: the sentence goes into journals and alarms too."""
UNSEALED = (Identify, Handshake, AskStatus, Stop)
"""All that may leave unsealed for a device that has a key."""
LAST_FRAMES = " Last frames: "


@dataclass(slots=True)
class Waiting:
    """Somebody who waits for a reply, or did: ``line`` sealed the request, in a ``session``."""

    reply: "asyncio.Future[Reply | None]"
    line: SealedLine | None
    session: int
    sequence: int
    answered: bool = False
    """Whether a reply to it has been there, in time or late."""


class Exchange:
    """What is common to all that is said over an unopened link; with a ``key`` it is sealed.

    ``draw`` gives random bytes.
    """

    def __init__(
        self,
        link: Link,
        catalogue: Catalogue,
        key: DeviceKey | None = None,
        draw: Draw = secrets.token_bytes,
    ) -> None:
        self.counts = LinkCounts()
        self.taps: list[Tap] = []
        """Whoever watches the line; a tap must not raise."""
        self._link = link
        self._catalogue = catalogue
        self._draw = draw
        self._seal = HostSeal(key, draw) if key is not None else None
        self._identity: Identity | None = None
        self._session = 0
        self._sequence = 0
        self._pace = Pace(link, self.lost)
        self._waiting: dict[int, Waiting] = {}
        self._over: dict[int, Waiting] = {}
        """The newest requests that nobody waits for any more, at most `RECENT_KEPT`."""
        self._decoder = FrameDecoder()
        self._corrupt_before = 0
        self._broken: LinkError | None = None
        self._recent: deque[tuple[str, bytes, Message | bytes | None]] = deque(maxlen=FRAMES_KEPT)
        """The last frames, and what each says, as far as that is known without any work."""
        self._odd = (0, "")
        """Why what came last was of no use, and how many frames had been sent by then."""

    @property
    def url(self) -> str:
        """The link's URL."""
        return self._link.url

    @property
    def broken(self) -> LinkError | None:
        """Why the link is gone, or ``None`` while it stands."""
        return self._broken

    @property
    def sealed(self) -> bool:
        """Whether this conversation is sealed."""
        return self._seal is not None

    def seal_with(self, key: DeviceKey | None) -> None:
        """Seals what comes from here on with a device's key; for before a session is open."""
        self._seal = HostSeal(key, self._draw) if key is not None else None

    def _begin_anew(self, link: Link) -> None:
        """Forgets all that was said over the link before, and holds another, not opened yet."""
        self._link, self._pace, self._session = link, Pace(link, self.lost), 0
        self._corrupt_before = self.counts.corrupt
        self._decoder = FrameDecoder()
        self._broken = None
        if self._seal is not None:
            self._seal = self._seal.anew()

    # --- out ---------------------------------------------------------------------------------

    def _line_for(self, request: Message, *, again: bool = False) -> SealedLine | None:
        """The line that seals a request now; ``None``: it leaves unsealed."""
        if self._seal is None:
            return None
        line = self._seal.line_for(request, self._next_sequence, again=again)
        if line is None and not isinstance(request, UNSEALED):
            raise self._fault("no session is open, and this is sent sealed only")
        return line

    @property
    def _next_sequence(self) -> int:
        return self._sequence % 0xFFFF_FFFF + 1

    async def _exchange(
        self,
        request: Message,
        last_look: Callable[[bytes], None] | None = None,
        *,
        again: bool = False,
    ) -> Reply | None:
        """Writes one frame once and at once; its reply, or ``None`` on silence.

        Raises LinkLost; AnotherDevice when not the device that was identified says the reply.
        Whoever is not urgent has waited for its turn just before.
        ``last_look`` is shown what the very frame about to leave says, once more unsealed.
        """
        if self._broken is not None:
            raise LinkLost(self.with_frames(str(self._broken))) from self._broken
        line = self._line_for(request, again=again)
        self._sequence = sequence = self._next_sequence
        frame = self._framed(request, sequence, line)
        if last_look is not None:
            last_look(_said(frame, line))
        loop = asyncio.get_running_loop()
        self._recent.append((">", frame, request))
        for tap in self.taps:
            tap(True, frame if line is None else encode_frame(_said(frame, line)))
        try:
            self._link.write(frame)
        except LinkLost as error:
            raise LinkLost(self.with_frames(str(error))) from error
        self._pace.wrote(len(frame))
        self.counts.sent += 1
        future: asyncio.Future[Reply | None] = loop.create_future()
        waiting = Waiting(future, line, self._session_of(line), sequence)
        self._waiting[sequence] = waiting
        timer = loop.call_later(REPLY_TIMEOUT / 1_000, self._give_up, sequence)
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[sequence]
            self._over[sequence] = waiting
            if len(self._over) > RECENT_KEPT:
                del self._over[next(iter(self._over))]

    def _session_of(self, line: SealedLine | None) -> int:
        """The session that a request says: what must stay unsealed of a sealed line says none."""
        if line is not None:
            return line.session
        return self._session if self._seal is None else 0

    def _framed(self, request: Message, sequence: int, line: SealedLine | None) -> bytes:
        """The frame of a request; the counter that seals it is its sequence number."""
        body = self._catalogue.encode(Envelope(self._session_of(line), sequence, request))
        if line is None:
            return encode_frame(body)
        try:
            return encode_frame(line.seal(body, sequence))
        except CounterUsedUp as error:
            raise self._fault(
                f"{error}: nothing was sent. Connect again; a stop needs no session"
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
        bodies = self._decoder.feed(data)
        if not bodies:
            self._dropped(
                "no frame in it is whole: a zero byte is missing, or its checksum differs"
            )
        for body in bodies:
            line, said = self._opened(body)
            self._recent.append(("<", body, said))
            if self._seal is not None:
                self._tell_taps(encode_frame(said or body))
            if said is not None:
                self._take(said, line)
        counts = self._decoder.counts
        self.counts.corrupt = self._corrupt_before + counts.damaged + counts.oversized

    def _tell_taps(self, data: bytes) -> None:
        for tap in self.taps:
            tap(False, data)

    def _dropped(self, why: str) -> None:
        """Takes note why something was of no use, for whoever waits in vain."""
        self._odd = self.counts.sent, why

    def _opened(self, body: bytes) -> tuple[SealedLine | None, bytes | None]:
        """What a body says, and the line that sealed it; nothing, and counted, if it is no good."""
        if not is_sealed(body):
            return None, body
        if self._seal is None:
            self._dropped("it is sealed, and this conversation is not")
            self.counts.alien += 1
            return None, None
        try:
            line = self._seal.line_of(body)
            return line, line.open(body)
        except OtherSession as error:
            self._dropped(str(error))
            self.counts.alien += 1
        except Replayed as error:
            self._dropped(str(error))
            self.counts.replayed += 1
        except SealError as error:
            self._dropped(str(error))
            self.counts.forged += 1
        return None, None

    def _take(self, body: bytes, line: SealedLine | None) -> None:
        """A reply goes to whoever waits for it, if it came as its request went."""
        counts = self.counts
        try:
            session, sequence, message = self._catalogue.decode(body)
        except MessageError as error:
            self._dropped(str(error))
            counts.alien += 1
            return
        asked = self._waiting.get(sequence) or self._over.get(sequence)
        if asked is None or not isinstance(message, Reply):
            self._dropped(f"its sequence {sequence} is of nothing that was asked lately")
            counts.alien += 1
        elif asked.line is not line and not (line is None and is_forgotten(message)):
            # What the device has forgotten it can't seal; to say so is all a forger can do here.
            self._dropped("it is not sealed as its request was")
            counts.forged += 1
        elif session != asked.session:
            self._dropped(f"its session {session:#x} is not its request's, {asked.session:#x}")
            counts.alien += 1
        elif asked.answered:
            counts.duplicate += 1
        elif asked.reply.done():
            asked.answered = True
            self._dropped(f"it came later than {REPLY_TIMEOUT} ms after its request")
            counts.late += 1
        else:
            asked.answered = True
            self._settle_waiting(asked, message)

    def _settle_waiting(self, waiting: Waiting, reply: Reply) -> None:
        if waiting.sequence == self._sequence:
            self._pace.answered()
        if (other := self._another(reply)) is not None:
            self.counts.alien += 1
            waiting.reply.set_exception(other)
        else:
            self.counts.received += 1
            waiting.reply.set_result(reply)

    def _another(self, reply: Reply) -> AnotherDevice | None:
        """SR-25: why a reply is not believed: another device says it than the one identified.

        Protects from a moved plug: a stranger's word that settles an id, confirms a stop or shows
        a state. Harm: none of the three until the plug is back. Way out: connect again.
        """
        known = self._identity
        if known is None or not isinstance(reply, SaysWho) or reply.serial == known.serial:
            return None
        return self._another_device(reply.serial)

    def lost(self, error: LinkError) -> None:
        """Learns that the link is gone."""
        self._abandon(error)

    def _abandon(self, error: LinkError) -> None:
        if self._broken is None:
            self._broken = error
        self._pace.end()
        open_ones = [one.reply for one in self._waiting.values() if not one.reply.done()]
        text = self.with_frames(str(error)) if open_ones else ""
        for reply in open_ones:
            reply.set_exception(LinkLost(text))

    # --- words -------------------------------------------------------------------------------

    def _checked(self, request: Message, reply: Reply, expected: type[R]) -> R:
        if isinstance(reply, expected):
            return reply
        raise self._fault(unexpected(request, reply))

    def _silence(self, request: Message) -> DeviceSilent:
        sent_by_then, why = self._odd
        is_recent = self.counts.sent - sent_by_then < ATTEMPTS
        words = silence(request, REPLY_TIMEOUT, self.counts, why if is_recent else "")
        text = f"{self.url} {words}"
        return DeviceSilent(self.with_frames(text))

    def _fault(self, text: str) -> DeviceFault:
        return DeviceFault(self.with_frames(f"{self.url}: {text}."))

    def _another_device(self, answers: str) -> AnotherDevice:
        assert self._identity is not None
        text = another_device(self._identity.serial, answers)
        return AnotherDevice(self.with_frames(f"{self.url}: {text}."))

    def with_frames(self, text: str) -> str:
        """A sentence about the line with the last frames behind it, once; the newest is last."""
        if LAST_FRAMES in text or not self._recent:
            return text
        frames = []
        for way, data, said in self._recent:
            cut = f"… ({len(data)} bytes)" if len(data) > BYTES_SHOWN else ""
            frames.append(f"{way} {self._name_of(said)} {data[:BYTES_SHOWN].hex()}{cut}")
        return f"{text}{LAST_FRAMES}{'; '.join(frames)}"

    def _name_of(self, said: Message | bytes | None) -> str:
        """What a frame was, in a word; what was not the other end's, or no message, says so."""
        if said is None:
            return "(not opened)"
        try:
            message = self._catalogue.decode(said).message if isinstance(said, bytes) else said
        except MessageError:
            return "(no message)"
        code = f"({message.code})" if isinstance(message, Refused) else ""
        return f"{type(message).__name__}{code}"


def _said(frame: bytes, line: SealedLine | None) -> bytes:
    """The body that a frame about to leave says; empty if it says none."""
    body = decode_frame(frame[:-1]) or b""
    try:
        return body if line is None else line.look(body)
    except SealError:
        return b""
