"""A recorded conversation as a script: what the host has to say next, and what it will hear."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.clock import NS_PER_S, VirtualLoop
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.catalogue import Envelope
from firmware_bridge.protocol.messages import Prove, Query, Renewal
from hil.capture.conversation import (
    NS_PER_MS,
    Entry,
    Frame,
    Happening,
    fields_of,
    first_unequal,
    words,
    written,
)
from hil.capture.openings import Opening, Turn, openings_of
from hil.capture.stand_in import StandIn, sessions_proved

LATE_NS = 2_000 * NS_PER_MS
"""How much later than recorded something may happen; beyond this it does not."""
CLOSE_NS = 100 * NS_PER_MS
"""Queries and renewals of tasks that run side by side may change places within this time: which
comes first is a matter of the host's load."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Where a replay first differs: the recorded entry, if there is one, and both sides."""

    entry: Entry | None
    ns: int
    expected: str
    came: str


class Script:
    """All links of a capture. Ends with the first departure: nothing is heard from then on.

    ``ends_ns``: when the recorded command had ended; ``None``: the recording broke off before.
    """

    def __init__(self, entries: tuple[Entry, ...], ends_ns: int | None, loop: VirtualLoop) -> None:
        self._ends_ns = ends_ns
        self._breaks_off_ns = entries[-1].ns if entries else 0
        self.departure: Departure | None = None
        self.over = asyncio.Event()
        self.matched = 0
        self.swapped = 0
        """How many queries and renewals came in another order."""
        self.stand_in = StandIn(
            sessions_proved([one for one in entries if isinstance(one, Frame) and one.way == ">"])
        )
        self._loop = loop
        self._openings = openings_of(entries)
        self._next_opening = 0
        self._watch: asyncio.TimerHandle | None = None

    # --- what the host does ------------------------------------------------------------------

    async def open(self, url: str) -> Opening:
        """The next recorded link; raises LinkError as it did then."""
        self.require_going_on(url)
        if self._next_opening == len(self._openings):
            self._break_off(url)
            raise self.depart(None, "no further link is opened", f"{url} is opened once more")
        opening = self._openings[self._next_opening]
        self._next_opening += 1
        wait = opening.opened_ns - self._loop.now_ns
        await asyncio.sleep(max(0, wait) / NS_PER_S)
        self.expect()
        if opening.failure is not None:
            raise LinkError(opening.failure)
        return opening

    def say(self, opening: Opening, data: bytes) -> Turn:
        """The turn that the host has just taken by writing; raises LinkLost on a departure."""
        body, envelope, sealed = self.stand_in.heard(data)
        turns = opening.turns
        for place, turn in enumerate(turns):
            assert isinstance(turn.entry, Frame)
            if place and not _may_overtake(turns[:place], turn, envelope):
                break
            if _difference(turn.entry, body, envelope, sealed) is None:
                number = None if envelope is None else opening.numbers.pop(0)
                if envelope is not None and envelope.sequence != number:
                    came = f"the same as number {envelope.sequence}, where {number} was due"
                    raise self.depart(turn.entry, words(turn.entry), came)
                self._take(turn, envelope)
                self.swapped += place > 0
                del turns[place]
                self.expect()
                return turn
        came = _words_of(data, envelope, sealed)
        if not turns:
            self._break_off("the line")
            raise self.depart(None, "the host writes nothing more on this link", came)
        first = turns[0].entry
        assert isinstance(first, Frame)
        why = _difference(first, body, envelope, sealed)
        raise self.depart(first, words(first), f"{came} — {why}")

    def _take(self, turn: Turn, envelope: Envelope | None) -> None:
        # The recorded host had work to do that takes no time here: its clock is caught up with.
        self._loop.now_ns = max(self._loop.now_ns, turn.entry.ns)
        turn.sequence = None if envelope is None else envelope.sequence
        self.matched += 1

    # --- how it goes on ----------------------------------------------------------------------

    def require_going_on(self, url: str) -> None:
        """Raises LinkLost once there is a departure, or nothing more to play."""
        if self.over.is_set():
            raise LinkLost(f"{url}: the replay has ended")

    def depart(self, entry: Entry | None, expected: str, came: str) -> LinkLost:
        """Notes a departure, the first one counts; the error that ends the conversation."""
        if not self.over.is_set():
            ns = self._loop.now_ns if entry is None else entry.ns
            self.departure = Departure(entry, ns, expected, came)
            self.over.set()
        return LinkLost("the replay differs from its capture here")

    def expect(self) -> None:
        """Sees to it that a host which falls silent is noticed."""
        if self._watch is not None:
            self._watch.cancel()
        if self.over.is_set():
            return
        due = self.due()
        if due is not None:
            self._watch = self._at(due.ns + LATE_NS, self._is_silent, due)
        elif self._ends_ns is not None:
            self._watch = self._at(self._ends_ns + LATE_NS, self._goes_on)
        else:
            self._watch = self._at(self._breaks_off_ns, self.over.set)

    def _at(self, ns: int, work: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        wait = max(0, ns - self._loop.now_ns)
        return self._loop.call_later(wait / NS_PER_S, work, *arguments)

    def _break_off(self, url: str) -> None:
        """Where the recording broke off nobody knows what came next, and nothing differs."""
        if self._ends_ns is None and self.due() is None:
            self.over.set()
            self.require_going_on(url)

    def due(self) -> Entry | None:
        """What the host has to do next; ``None``: it has said everything."""
        waiting = [opening.turns[0].entry for opening in self._openings if opening.turns]
        waiting += [
            Happening(one.opened_ns, 0, "opening", "")
            for one in self._openings[self._next_opening :]
        ]
        return min(waiting, key=lambda entry: entry.ns, default=None)

    def _goes_on(self) -> None:
        self.depart(None, "the command ends", "it goes on")

    def _is_silent(self, due: Entry) -> None:
        late = (self._loop.now_ns - due.ns) // NS_PER_MS
        self.depart(due, words(due), f"nothing, {late} ms after its time")


class ReplayLink(Link):
    """A link on which the recorded device answers; there is no line behind it."""

    def __init__(self, url: str, baud: int | None, script: Script, loop: VirtualLoop) -> None:
        self.url = url
        self.baud = baud
        self._script = script
        self._loop = loop
        self._receiver: Receiver | None = None
        self._opening: Opening | None = None
        self._is_over = False

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        self._receiver = receiver
        self._opening = await self._script.open(self.url)
        opened = self._opening.turns
        if opened and isinstance(opened[0].entry, Happening):
            self._play(opened.pop(0))
            self._script.expect()

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        self._script.require_going_on(self.url)
        if self._opening is None or self._is_over:
            raise LinkLost(f"{self.url} is not open")
        turn = self._script.say(self._opening, data)
        if turn.not_written is not None:
            raise LinkLost(turn.not_written)
        self._play(turn)

    async def close(self) -> None:
        """See `Link.close`."""
        self._is_over = True

    def _play(self, turn: Turn) -> None:
        for after_ns, entry in turn.answers:
            self._loop.call_later(after_ns / NS_PER_S, self._deliver, turn, entry)

    def _deliver(self, turn: Turn, entry: Entry) -> None:
        if self._is_over or self._receiver is None or self._script.over.is_set():
            return
        if isinstance(entry, Happening):
            self._is_over = True
            self._receiver.lost(LinkLost(entry.text))
            return
        answered = turn.entry
        is_answer = (
            isinstance(answered, Frame)
            and answered.envelope is not None
            and entry.envelope is not None
            and answered.envelope.sequence == entry.envelope.sequence
        )
        sequence = turn.sequence if is_answer else None
        self._receiver.received(self._script.stand_in.says(entry, sequence))


def _may_overtake(passed: list[Turn], turn: Turn, envelope: Envelope | None) -> bool:
    """Whether a frame may come before others that the recorded host had written first."""
    if envelope is None or not isinstance(envelope.message, Query | Renewal):
        return False
    if turn.entry.ns - passed[0].entry.ns > CLOSE_NS:
        return False
    return all(
        isinstance(one.entry, Frame)
        and one.entry.envelope is not None
        and isinstance(one.entry.envelope.message, Query | Renewal)
        for one in passed
    )


def _difference(
    recorded: Frame, body: bytes | None, envelope: Envelope | None, sealed: bool
) -> str | None:
    """In what a frame of the host differs from the recorded one; ``None``: in nothing."""
    before = recorded.envelope
    if before is None or envelope is None:
        return None if body is not None and body == recorded.body else "it says something else"
    if type(before.message) is not type(envelope.message):
        return f"not {type(before.message).__name__}"
    if sealed != recorded.is_sealed:
        return "it is sealed" if sealed else "it is not sealed"
    if before.session != envelope.session:
        return f"not of the session {before.session:#x}"
    now = fields_of(envelope.message)
    for name, value in fields_of(before.message).items():
        # A proof is made with the device's key, which is not in a capture.
        if isinstance(envelope.message, Prove) and name == "proof":
            continue
        if (unequal := first_unequal(name, value, now[name])) is not None:
            where, then, today = unequal
            return f"{where} was {written(then)} and is {written(today)}"
    return None


def _words_of(data: bytes, envelope: Envelope | None, sealed: bool) -> str:
    problem = "" if envelope is not None else "no message"
    return words(Frame(0, 0, 0, ">", data, None, sealed, envelope, problem))
