"""The gate: the shell around the kernel. It records, grants, refuses, and latches.

It is the only maker of a Clearance. It reads no clock: time is handed in.

What happened is taken in at once and waits in a row for the journal. A worker writes the row, in
its order, before anything that is told or intended later; so the order of the chain is the order
in which the state changed. Only what people rely on is waited for (see `UNAWAITED`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from device_profiles.diagnostics import Finding
from device_profiles.errors import Refused
from device_profiles.quantities import Milliseconds
from safety.alarms import Alarm
from safety.checkpoint import EVERY
from safety.clearance import Clearance
from safety.commands import Ask, Instant
from safety.events import (
    Cleared,
    Connected,
    Counted,
    Event,
    Intended,
    Latched,
    Measured,
    Raised,
    Rejected,
    Settled,
)
from safety.journal import JournalError, Receipt
from safety.journal_format import readable
from safety.judgement import judge
from safety.kernel import Continue, Effect, Record, Refuse, Sound, step
from safety.opening import OpenedJournal
from safety.state import State
from safety.state_with import state_with

T = TypeVar("T")

UNAWAITED = (Settled, Counted, Measured, Connected, Cleared, Rejected)
"""Events that nobody waits for. Losing one in a power cut leaves an intent unsettled, an old alarm
on the board or a refusal untold: all that could only make us count more."""
UNSYNCED = (Settled, Measured, Connected, Cleared, Rejected)
"""Those that reach the disk itself with the next intent. A device's count may be more than was
asked for, so it is brought there at once."""
WAITING_MAX = 1_000
"""How many events may wait for the disk before whoever tells the next waits too."""


class Worker(Protocol):
    """Does what blocks, one work at a time: on a thread in real time, at once in virtual time."""

    def offload(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Does ``work``; returns its result."""
        ...

    def later(self, work: Callable[[], None], /) -> None:
        """Does ``work`` in a moment, waited for by nobody; it must not raise."""
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """Stands in the row of events for the checkpoint of the state as it is here."""

    state: State
    at: Instant


class Gate:
    """Asks the kernel, keeps the journal, hands out Clearances; one for each device."""

    def __init__(
        self, opened: OpenedJournal, worker: Worker, sound: Callable[[Alarm], None]
    ) -> None:
        self._journal = opened.journal
        self._worker = worker
        self._sound = sound
        self._turn = asyncio.Lock()
        self._state = opened.state
        self._slow = opened.end.slow
        self._since_checkpoint = opened.since_checkpoint
        self._waiting: deque[Event | Summary] = deque()
        self._write_is_due = False
        self._sync_soon = False
        self._unheard: list[Raised] = []
        """Alarms about what people could not be told of; recorded with what is told next."""
        self._last_at = Instant(opened.end.slow, Milliseconds(0), Milliseconds(0))
        self._listeners: list[Callable[[Event], None]] = []

    @property
    def state(self) -> State:
        """What the judge knows now."""
        return self._state

    def judge_once_stopped(self, ask: Ask) -> tuple[Finding, ...]:
        """Every objection the kernel would have with the output off, recording nothing."""
        return judge(state_with(self._state, running=None), ask)

    async def ask(self, ask: Ask) -> Clearance:
        """Judges a request; returns its Clearance once the intent is on the disk.

        A continuation passes without a journal: when the disk fails just now, it is judged once
        more and goes on. Raises Refused with every finding when a rule objects or the journal
        cannot be written.
        """
        async with self._turn:
            return Clearance(await self._admitted(ask))

    async def _admitted(self, ask: Ask) -> Receipt | Continue:
        self._last_at = ask.at
        effect = self._judged(ask)
        if isinstance(effect, Record) and isinstance(effect.event, Intended):
            receipt = await self._commit(effect.event)
            if receipt is not None:
                return receipt
            # Nothing but the latch has changed since it was approved, and that was just now.
            effect = self._judged(replace(ask, epoch=None))
        if isinstance(effect, Continue):
            self._state, _ = step(self._state, effect.intent)
            return effect
        assert isinstance(effect, Record)
        await self._bring_to_journal(readable(effect.event))
        _, refusals = step(self._state, effect.event)
        raise _refusal(refusals)

    def _judged(self, ask: Ask) -> Effect:
        _, (effect,) = step(self._state, ask)
        return effect

    async def tell(self, event: Event) -> None:
        """Takes in what happened; returns once it is on the disk, unless nobody waits for its kind.

        People hear an alarm before anything else, whatever the disk does meanwhile.
        """
        is_alarm = isinstance(event, Raised)
        if is_alarm:
            self._perform(step(self._state, event)[1], event.at)
        taking = self._take_in(event, is_alarm=is_alarm)
        if not self._turn.locked():
            await taking
            return
        # Whoever is cancelled while it waits for its turn has seen it happen all the same.
        cancelled, taken = await _to_its_end(asyncio.ensure_future(taking))
        taken.result()
        if cancelled is not None:
            raise cancelled

    async def _take_in(self, event: Event, *, is_alarm: bool) -> None:
        async with self._turn:
            self._state, effects = step(self._state, event)
            if not is_alarm:
                self._perform(effects, event.at)
            await self._bring_to_journal(event)
            unheard, self._unheard = self._unheard, []
            for about in unheard:
                self._state, _ = step(self._state, about)
                await self._bring_to_journal(about)

    async def distrust(self, reason: str, at: Instant) -> None:
        """The journal's past is not this device's: no bolus and no increase from here on.

        Stopping still works, and so does going on with what the device itself is found to hold.
        """
        async with self._turn:
            self._journal.distrust(reason)
            self._latch(reason, at, past_lost=True)

    async def settle(self) -> None:
        """Brings all entries to the disk and the anchor up to date."""
        async with self._turn:
            await self._done(lambda: self._write_waiting(self._journal.settle))
            self._look_at_journal()

    async def follow(self, listener: Callable[[Event], None]) -> bytes:
        """The journal's bytes up to here; from now on ``listener`` hears every new entry."""
        data = [b""]

        def read() -> None:
            self._write_waiting(None)
            with suppress(OSError):
                data[0] = self._journal.read()

        async with self._turn:
            await self._done(read)
            self._listeners.append(listener)
        return data[0]

    # --- the row of what waits for the journal ------------------------------------------------

    async def _bring_to_journal(self, event: Event) -> None:
        """Has an event that the state knows written, after everything before it."""
        self._last_at = event.at
        if self._journal.problem is None:
            self._waiting.append(event)
            self._entered(event)
            if isinstance(event, UNAWAITED) and len(self._waiting) <= WAITING_MAX:
                self._write_soon(sync=not isinstance(event, UNSYNCED))
            else:
                await self._done(lambda: self._write_waiting(self._sync_and_anchor))
        self._look_at_journal()

    def _entered(self, event: Event) -> None:
        """One more entry is, or will be, in the journal, and the state knows of it."""
        at = event.at
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:
                self._unheard.append(_unheard(f"the entry {event.kind}", error, at))
        self._slow = max(self._slow, at.slow)
        self._since_checkpoint += 1
        is_due = self._since_checkpoint >= EVERY and self._journal.keeps_checkpoints
        if is_due and self._state.latched is None:
            self._since_checkpoint = 0
            self._waiting.append(Summary(self._state, replace(at, slow=self._slow)))

    def _write_soon(self, *, sync: bool) -> None:
        """Has the row written without anybody waiting; once for all that joins it until then."""
        self._sync_soon = self._sync_soon or sync
        if self._write_is_due:
            return
        self._write_is_due = True
        loop = asyncio.get_running_loop()

        def write() -> None:
            # In this order: what joins the row from here on asks for a write of its own.
            self._write_is_due = False
            to_be_synced, self._sync_soon = self._sync_soon, False
            self._write_waiting(self._sync_and_anchor if to_be_synced else self._journal.anchor)
            if self._journal.problem is not None:
                with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                    loop.call_soon_threadsafe(self._look_at_journal)

        self._worker.later(write)

    def _write_waiting(self, finish: Callable[[], None] | None) -> None:
        """On the worker: writes the row in its order. What goes wrong is the journal's problem."""
        try:
            while self._waiting:
                one = self._waiting.popleft()
                if isinstance(one, Summary):
                    self._journal.checkpoint(one.state, one.at)
                else:
                    self._journal.append(one)
            if finish is not None:
                finish()
        except Exception as error:
            # The state knows what the chain does not: nothing may follow it there.
            self._journal.distrust(str(error) or repr(error))
            self._waiting.clear()

    def _sync_and_anchor(self) -> None:
        self._journal.sync()
        self._journal.anchor()

    async def _commit(self, intent: Intended) -> Receipt | None:
        """The receipt of a durable intent, which counts from here on; ``None``: latched.

        A caller that is cancelled while the disk writes cannot call the write back: the entry is
        awaited and counted all the same, and only then the cancellation goes on.
        """

        def commit() -> Receipt:
            self._write_waiting(None)
            return self._journal.commit(intent)

        cancelled, writing = await self._finished(commit)
        receipt, refusal = None, None
        try:
            receipt = writing.result()
        except JournalError as error:
            if self._journal.problem is None:
                refusal = _refusal((Refuse((_cannot_be_held(error),)),))
        except Exception as error:
            self._journal.distrust(f"the journal could not be written ({error!r})")
        else:
            self._state, _ = step(self._state, intent)
            self._entered(intent)
            self._write_soon(sync=False)  # its anchor, which who asked does not wait for
        self._look_at_journal()
        failure = cancelled or refusal
        if failure is not None:
            raise failure
        return receipt

    async def _done(self, work: Callable[[], None]) -> None:
        """Does blocking work to its end; a cancellation goes on after it."""
        cancelled, working = await self._finished(work)
        working.result()
        if cancelled is not None:
            raise cancelled

    async def _finished(
        self, work: Callable[[], T]
    ) -> tuple[asyncio.CancelledError | None, asyncio.Future[T]]:
        """Does blocking work to its end, come what may; a cancellation is handed back after it."""
        return await _to_its_end(asyncio.ensure_future(self._worker.offload(work)))

    # --- latching and alarms ------------------------------------------------------------------

    def _look_at_journal(self) -> None:
        """Latches once the journal has a problem: its reason is known as soon as it is noticed."""
        if self._journal.problem is not None:
            self._latch(self._journal.problem, self._last_at, past_lost=False)

    def _latch(self, reason: str, at: Instant, *, past_lost: bool) -> None:
        if self._state.latched is not None:
            return
        self._state, _ = step(self._state, Latched(at, reason, past_lost))
        alarm = Alarm("journal-latched", "MEDIUM", "SR-56", reason)
        self._state, effects = step(self._state, Raised(at, alarm))
        self._perform(effects, at)

    def _perform(self, effects: tuple[Effect, ...], at: Instant) -> None:
        """Sounds alarms; whatever goes wrong with that has no effect here but an alarm."""
        for alarm in [effect.alarm for effect in effects if isinstance(effect, Sound)]:
            try:
                self._sound(alarm)
            except Exception as error:
                self._unheard.append(_unheard(f"the alarm {alarm.code}", error, at))


def _unheard(what: str, error: Exception, at: Instant) -> Raised:
    text = f"{what} could not be told to people: {error!r}"
    return Raised(at, Alarm("unheard", "MEDIUM", "SR-55", text))


def _cannot_be_held(error: JournalError) -> Finding:
    return Finding("SR-56", "hard", "journal", str(error), hint="say it in fewer, plainer words")


def _refusal(effects: tuple[Effect, ...]) -> Refused:
    findings = tuple(f for effect in effects if isinstance(effect, Refuse) for f in effect.findings)
    hard = [finding for finding in findings if finding.severity != "soft"]
    first = (hard or list(findings))[0]
    needs = "refused" if hard else "needs a reason (--override RULE --reason TEXT)"
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Refused(f"{needs}: {first.rule}, {first.message}{more}", findings)


async def _to_its_end(
    working: asyncio.Future[T],
) -> tuple[asyncio.CancelledError | None, asyncio.Future[T]]:
    """Awaits work come what may; a cancellation that came meanwhile is handed back."""
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled, working
