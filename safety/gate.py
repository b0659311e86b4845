"""The gate: the shell around the kernel. It records, grants, refuses, and latches.

It is the only maker of a Clearance. It reads no clock: time is handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from device_profiles.diagnostics import Finding
from device_profiles.errors import Refused
from safety.alarms import Alarm
from safety.clearance import Clearance
from safety.commands import Instant
from safety.events import Event, Intended, Latched, Raised, Settled, Stopped
from safety.journal import Journal, JournalError, Receipt
from safety.kernel import Ask, Continue, Effect, Record, Refuse, Sound, judge, step
from safety.state import State

T = TypeVar("T")


class Offload(Protocol):
    """Runs what blocks: on a worker thread in real time, inline in virtual time."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class Gate:
    """Asks the kernel, keeps the journal, hands out Clearances; one for each device."""

    def __init__(
        self,
        journal: Journal,
        past: tuple[Event, ...],
        offload: Offload,
        sound: Callable[[Alarm], None],
    ) -> None:
        self._journal = journal
        self._offload = offload
        self._sound = sound
        self._turn = asyncio.Lock()
        self._state = State()
        for event in past:
            self._state, _ = step(self._state, event)

    @property
    def state(self) -> State:
        """What the judge knows now."""
        return self._state

    def judge_once_stopped(self, ask: Ask) -> tuple[Finding, ...]:
        """Every objection the kernel would have with the output off, recording nothing."""
        return judge(replace(self._state, running=None), ask)

    async def ask(self, ask: Ask) -> Clearance:
        """Judges a request; returns its Clearance once the intent is on the disk.

        A continuation passes without a journal: when the disk fails just now, it is judged once
        more and goes on. Raises Refused with every finding when a rule objects or the journal
        cannot be written.
        """
        async with self._turn:
            effect = self._judged(ask)
            if isinstance(effect, Record) and isinstance(effect.event, Intended):
                receipt = await self._commit(effect.event, ask.at)
                if receipt is not None:
                    return Clearance(receipt)
                effect = self._judged(ask)
            if isinstance(effect, Continue):
                self._state, _ = step(self._state, effect.intent)
                return Clearance(effect)
            assert isinstance(effect, Record)
            self._note(effect.event)
            _, refusals = step(self._state, effect.event)
            raise _refusal(refusals)

    def _judged(self, ask: Ask) -> Effect:
        _, (effect,) = step(self._state, ask)
        return effect

    async def tell(self, event: Event) -> None:
        """Takes in what happened; the entry is written now and reaches the disk soon.

        Losing it in a power cut could only make us count more: its intent stays unsettled.
        """
        async with self._turn:
            self._note(event)
            self._state, effects = step(self._state, event)
            self._perform(effects)
            if isinstance(event, Settled | Stopped):
                self._journal.anchor()

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
            cancelled, settling = await self._finished(self._journal.settle)
            if cancelled is not None:
                raise cancelled
            # A JournalError is known by now: the journal refuses every later intent with it.
            if not isinstance(settling.exception(), JournalError):
                settling.result()

    async def _commit(self, intent: Intended, at: Instant) -> Receipt | None:
        """The receipt of a durable intent, which counts from here on; ``None``: latched.

        A caller that is cancelled while the disk writes cannot call the write back: the entry is
        awaited and counted all the same, and only then the cancellation goes on.
        """
        cancelled, writing = await self._finished(lambda: self._journal.commit(intent))
        receipt = None
        try:
            receipt = writing.result()
            self._state, _ = step(self._state, receipt.event)
        except JournalError as error:
            self._latch(str(error), at, past_lost=False)
        if cancelled is not None:
            raise cancelled
        return receipt

    async def _finished(
        self, work: Callable[[], T]
    ) -> tuple[asyncio.CancelledError | None, asyncio.Future[T]]:
        """Does blocking work to its end, come what may; a cancellation is handed back after it."""
        working = asyncio.ensure_future(self._offload(work))
        cancelled: asyncio.CancelledError | None = None
        while not working.done():
            try:
                await asyncio.wait({working})
            except asyncio.CancelledError as error:
                cancelled = error
        return cancelled, working

    def _note(self, event: Event) -> None:
        """Appends an event whose loss could only make us count more; a failure latches."""
        try:
            self._journal.append(event)
        except JournalError as error:
            self._latch(str(error), event.at, past_lost=False)

    def _latch(self, reason: str, at: Instant, *, past_lost: bool) -> None:
        if self._state.latched is not None:
            return
        self._state, _ = step(self._state, Latched(at, reason, past_lost))
        alarm = Alarm("journal-latched", "MEDIUM", "SR-56", reason)
        self._state, effects = step(self._state, Raised(at, alarm))
        self._perform(effects)

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Sound):
                self._sound(effect.alarm)


def _refusal(effects: tuple[Effect, ...]) -> Refused:
    findings = tuple(f for effect in effects if isinstance(effect, Refuse) for f in effect.findings)
    hard = [finding for finding in findings if finding.severity != "soft"]
    first = (hard or list(findings))[0]
    needs = "refused" if hard else "needs a reason (--override RULE --reason TEXT)"
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Refused(f"{needs}: {first.rule}, {first.message}{more}", findings)
