"""Bugs of order, planted into what ships for as long as a context lasts; each is a real slip.

A method that finds none of them proves nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from firmware_bridge import known_device
from firmware_bridge.controller import Controller
from firmware_bridge.families.firmware import Firmware
from firmware_bridge.known_device import KnownDevice
from firmware_bridge.session import Result, Session, settlement
from safety import fold
from safety.anchor import Anchor
from safety.checkpoint import StateFile
from safety.clearance import Clearance
from safety.commands import Ask, GiveBolus
from safety.disk import Disk
from safety.events import Intended, Settled
from safety.gate import Gate
from safety.journal import Journal
from safety.kernel import Continue, Record, step
from safety.opening import OpenedJournal, open_journal
from safety.outputs import BolusOutput
from safety.state import State

from .crash_outside import FilesDisk

Planting = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class OrderBug:
    """A slip by name, and the context in which it is there; after how many deaths it shows."""

    name: str
    planted: Planting
    deaths: int = 1


@contextmanager
def sent_before_recorded() -> Iterator[None]:
    """The clearance comes from the judgement; the intent is written when the frame has gone."""
    ask, execute = Gate.ask, Session.execute
    waiting: list[tuple[Gate, Ask]] = []

    async def hasty_ask(self: Gate, request: Ask) -> Clearance:
        _, (effect,) = step(self.state, request)
        if not isinstance(effect, Record) or not isinstance(effect.event, Intended):
            return await ask(self, request)
        waiting.append((self, request))
        return Clearance(Continue(effect.event))

    async def late_record(self: Session, *args: Any, **options: Any) -> Result:
        result = await execute(self, *args, **options)
        while waiting:
            await ask(*waiting.pop())
        return result

    with (
        mock.patch.object(Gate, "ask", hasty_ask),
        mock.patch.object(Session, "execute", late_record),
    ):
        yield


@contextmanager
def outcome_before_sent() -> Iterator[None]:
    """What is about to be sent is recorded as delivered already."""
    ask = Gate.ask

    async def hopeful_ask(self: Gate, request: Ask) -> Clearance:
        clearance = await ask(self, request)
        word = Settled(request.at, request.id, "delivered", "it is about to be sent")
        await self.tell(word)
        return clearance

    with mock.patch.object(Gate, "ask", hopeful_ask):
        yield


def void_on_restart() -> AbstractContextManager[Any]:
    """A new host takes what lies open for not sent."""

    async def settle(self: Controller[Any, Any], intent: Intended) -> Result:
        result = Result("refused", "the host had died before it could be sent")
        await self.gate.tell(Settled(self.now(), intent.id, result.outcome, result.evidence))
        return result

    return mock.patch.object(Controller, "settle", settle)


def trusted_on_restart() -> AbstractContextManager[Any]:
    """A new host takes what lies open for delivered."""

    async def settle(self: Controller[Any, Any], intent: Intended) -> Result:
        result = Result("delivered", "it had been recorded")
        await self.gate.tell(Settled(self.now(), intent.id, result.outcome, result.evidence))
        return result

    return mock.patch.object(Controller, "settle", settle)


def retry_with_a_new_id() -> AbstractContextManager[Any]:
    """A new host sends again what lies open, as a request of its own."""
    ask_device = Controller.settle

    async def settle(self: Controller[Any, Any], intent: Intended) -> Result:
        (output, *_) = intent.outputs
        if not isinstance(output, BolusOutput):
            return await ask_device(self, intent)
        void = Settled(self.now(), intent.id, "refused", "it is sent again")
        await self.gate.tell(void)
        return await self.carry_out(GiveBolus(output, self.profile), intent.patient)

    return mock.patch.object(Controller, "settle", settle)


def void_until_the_device_answers() -> AbstractContextManager[Any]:
    """A new host takes what lies open for not sent, and puts that right once it has asked."""
    ask_device = Controller.settle

    async def settle(self: Controller[Any, Any], intent: Intended) -> Result:
        await self.gate.tell(Settled(self.now(), intent.id, "refused", "nobody has been asked yet"))
        answer = settlement(await self.session.outcome_of(intent.id))
        if answer.outcome == "refused":
            return answer
        await self.gate.tell(intent)
        return await ask_device(self, intent)

    return mock.patch.object(Controller, "settle", settle)


def anchored_at_the_first_start_only() -> AbstractContextManager[Any]:
    """A host that finds a journal begun takes its anchor for written."""
    begin = KnownDevice.begin

    async def hasty(self: KnownDevice) -> None:
        place = self._settings.journal_of(self.identity.serial)
        is_begun = bool(place.disk.read())
        with mock.patch.object(Gate, "settle", skipped) if is_begun else nullcontext():
            await begin(self)

    async def skipped(self: Gate) -> None:
        """Nothing is brought to the disk."""

    return mock.patch.object(KnownDevice, "begin", hasty)


@contextmanager
def success_starts_the_count() -> Iterator[None]:
    """A bolus counts, and its lockout begins, once it is known to have been delivered."""
    intended, settled = fold.intended, fold.settled

    def uncounted(state: State, event: Intended) -> State:
        after = intended(state, event)
        kept = tuple(one for one in after.reservations if one.id != event.id)
        return replace(after, reservations=kept)

    def counted_at_last(state: State, event: Settled) -> State:
        intent = next((one for one in state.unsettled if one.id == event.id), None)
        after = settled(state, event)
        if intent is None or event.outcome != "delivered":
            return after
        reserved = intended(state, intent).reservations
        new = tuple(one for one in reserved if one.id == event.id)
        return replace(after, reservations=(*after.reservations, *new))

    with (
        mock.patch.object(fold, "intended", uncounted),
        mock.patch.object(fold, "settled", counted_at_last),
    ):
        yield


def forgotten_on_restart() -> AbstractContextManager[Any]:
    """A new host begins with a clean slate: what lies open belongs to the one before."""

    def opened_clean(disk: Disk, anchor: Anchor, states: StateFile | None = None) -> OpenedJournal:
        opened = open_journal(disk, anchor, states)
        state = opened.state
        open_ids = {intent.id for intent in state.unsettled}
        kept = tuple(one for one in state.reservations if one.id not in open_ids)
        return replace(opened, state=replace(state, unsettled=(), reservations=kept))

    return mock.patch.object(known_device, "open_journal", opened_clean)


def anchored_before_synced() -> AbstractContextManager[Any]:
    """The anchor is brought up to date first, the journal after it."""
    sync = Journal.sync

    def hasty(self: Journal) -> None:
        anchor = vars(self)["_anchor"]
        if self.problem is None and self.head.entries:
            anchor.write(self.head)
            anchor.sync()
        sync(self)

    return mock.patch.object(Journal, "sync", hasty)


def torn_tail_left() -> AbstractContextManager[Any]:
    """A torn last entry is taken for a whole one: what follows is written behind it."""
    return mock.patch.object(FilesDisk, "cut")


@contextmanager
def late_frames_count() -> Iterator[None]:
    """Every host speaks under the same number, and the pump acts on an id it was asked about.

    Either guard alone keeps out a frame of the host before; so both have to go.
    """
    open_session = Session.open

    async def go_on(self: Session) -> None:
        vars(self)["_new_session"] = lambda: 7
        await open_session(self)

    with (
        mock.patch.object(Session, "open", go_on),
        mock.patch.object(Firmware, "_close"),
    ):
        yield


ORDER_BUGS = (
    OrderBug("a command is sent before its intent is recorded", sent_before_recorded),
    OrderBug("an outcome is recorded before the command is sent", outcome_before_sent),
    OrderBug("a restart takes what lies open for not sent", void_on_restart),
    OrderBug("a restart takes what lies open for delivered", trusted_on_restart),
    OrderBug("a restart sends again, with a new id", retry_with_a_new_id),
    OrderBug(
        "a restart voids what lies open until the device answers",
        void_until_the_device_answers,
        deaths=2,
    ),
    OrderBug("only the first start anchors a journal", anchored_at_the_first_start_only, deaths=2),
    OrderBug("a bolus counts only from its success on", success_starts_the_count),
    OrderBug("a restart forgets what lies open", forgotten_on_restart),
    OrderBug("the anchor is written before the journal is synced", anchored_before_synced),
    OrderBug("a torn tail is taken for a whole entry", torn_tail_left),
    OrderBug("a frame of the host before still counts after it was asked about", late_frames_count),
)
