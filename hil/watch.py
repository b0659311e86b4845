"""Watching a device: samples for the screens, and on the board what the monitor's core judged."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from device_profiles.quantities import HOUR_MS, Milliseconds
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.table import AnyController
from hil.journal_tail import needed_past
from hil.monitor_core import STIMULATOR_POLL as STIMULATOR_POLL
from hil.monitor_core import MonitorCore
from safety.alarm_table import Priority, kind_of
from safety.alarms import Alarm, is_news, sounding
from safety.events import Cleared, Event, Metered
from safety.journal import JournalError, read_chain
from safety.monitor import must_stop, stop_depth
from safety.monitor_readings import PumpReading
from safety.timeline import SUSPENSION

T = TypeVar("T")

REPEAT_MS: dict[Priority, int] = {"HIGH": 30_000, "MEDIUM": 60_000}
"""How often an alarm that nobody has seen sounds again; our own decision for a bench."""
METER_EVERY = HOUR_MS


@dataclass(frozen=True, slots=True)
class Watched:
    """One sample and the alarms that hold with it."""

    sample: Sample
    alarms: tuple[Alarm, ...]


class Watch:
    """Polls a device; what its core judges is recorded, sounded, and acted upon.

    ``remind`` sounds an alarm again that nobody has seen. Only a watch that ``acts`` stops the
    device on evidence of too much, by its drug's policy.
    """

    def __init__(
        self,
        controller: AnyController,
        show: Callable[[Watched], None],
        remind: Callable[[Alarm], None] | None = None,
        *,
        acts: bool = True,
    ) -> None:
        self._controller = controller
        self._show = show
        self._remind = remind
        self._acts = acts
        self._core: MonitorCore | None = None
        self._turn = asyncio.Lock()
        self._sounded: dict[str, Milliseconds] = {}
        self._counted: set[int] = set()
        self._failure: Exception | None = None
        self._begun: list[asyncio.Task[Any]] = []
        """Stops and entries that must come to their end, whoever ends this watch."""
        self.faults: dict[str, Alarm] = {}
        """Every alarm above LOW that was seen, by its code: what a run must not end well with."""
        self.stopped_for: Alarm | None = None
        """Why this watch has stopped the device."""

    async def run(self) -> None:
        """Watches until cancelled; raises LinkError or DeviceFault when the device is gone."""
        core = await self._attached()
        pause = self._poll() / 1_000
        core.polled(True, self._controller.time_with_sleep())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_judging())
                while True:
                    await self.once()
                    await asyncio.sleep(pause)
        finally:
            core.polled(False, self._controller.time_with_sleep())

    async def once(self) -> Watched:
        """Takes and judges one sample."""
        await self._attached()
        sample = await self._controller.sample()
        if isinstance(self._controller, PumpController):
            await self._count_ended(self._controller)
        watched = Watched(sample, await self._judge())
        self._show(watched)
        return watched

    async def finish(self) -> None:
        """Waits for a stop that is under way, and records where the meters stand."""
        begun, self._begun = self._begun, []
        try:
            for task in begun:
                await task
        finally:
            await self._meter(always=True)

    def _poll(self) -> Milliseconds:
        if isinstance(self._controller, PumpController):
            return self._controller.profile.poll
        return STIMULATOR_POLL

    async def _keep_judging(self) -> None:
        """Judges between samples too: silence is seen only by who does not wait for an answer."""
        loop = asyncio.get_running_loop()
        while True:
            wake = loop.time() + STIMULATOR_POLL / 1_000
            await asyncio.sleep(STIMULATOR_POLL / 1_000)
            await self._note_lag(self._controller.lag.woke(wake, loop.time()))
            await self._judge()
            self._sound_again()

    async def _note_lag(self, lag: Milliseconds) -> None:
        """SR-53: a loop that stood still for a lease may have lost one, and heard no stop."""
        if lag >= SUSPENSION:
            text = f"the host's event loop stood still for {lag} ms: nothing was read or sent"
            await self._controller.raise_alarm(Alarm("host-stalled", "MEDIUM", "SR-53", text))

    # --- the core's eyes ---------------------------------------------------------------------

    async def _attached(self) -> MonitorCore:
        if self._core is not None:
            return self._core
        controller, core = self._controller, MonitorCore()
        chain = read_chain(await controller.gate.follow(self._hear))
        trusted = controller.state.latched is None and chain.problem is None
        past: tuple[Event, ...] = ()
        try:
            past = needed_past(chain) if trusted else ()
        except JournalError:
            trusted = False
        core.load(past, controller.identity, controller.time_with_sleep(), trusted=trusted)
        controller.session.taps.append(self._tap)
        self._core = core
        return core

    def _hear(self, event: Event) -> None:
        self._guarded(lambda core: core.hear(event, self._controller.time_with_sleep()))

    def _tap(self, sent: bool, data: bytes) -> None:
        self._guarded(lambda core: core.tap(sent, data, self._controller.time_with_sleep()))

    def _guarded(self, work: Callable[[MonitorCore], None]) -> None:
        """Whatever goes wrong in the core must not reach the gate or the session."""
        try:
            if self._core is not None:
                work(self._core)
        except Exception as error:
            self._failure = error

    # --- the judgement -----------------------------------------------------------------------

    async def _judge(self) -> tuple[Alarm, ...]:
        core = self._core
        assert core is not None
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            alarms = core.judge(self._controller.time_with_sleep())
            self.faults |= {alarm.code: alarm for alarm in alarms if alarm.priority != "LOW"}
            # The stop's frame leaves before any disk is waited for.
            stopping = self._stop(must_stop(alarms))
            changed = await asyncio.shield(self._begin(self._tell(alarms)))
        if stopping is not None:
            await asyncio.shield(stopping)
        await self._meter(always=changed)
        return alarms

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._begun = [one for one in self._begun if not one.done()]
        self._begun.append(task)
        return task

    async def _tell(self, alarms: tuple[Alarm, ...]) -> bool:
        """Raises what is new and ends what is over; whether there was anything."""
        controller = self._controller
        changed = False
        for alarm in alarms:
            if is_news(controller.state.alarms, alarm):
                changed = True
                self._sounded[alarm.code] = controller.link_time()
                await controller.raise_alarm(alarm)
        codes = {alarm.code for alarm in alarms}
        for one in controller.state.alarms:
            code = one.alarm.code
            if not one.over and code not in codes and not kind_of(code).host:
                changed = True
                await controller.gate.tell(Cleared(controller.now(), code))
        return changed

    def _stop(self, reason: Alarm | None) -> asyncio.Task[Sample] | None:
        """Begins to stop by the drug's policy, once, on evidence of too much; see `must_stop`."""
        if reason is None or not self._acts or self.stopped_for is not None:
            return None
        self.stopped_for = reason
        depth = stop_depth(reason, self._controller.state.last_verified)
        return self._begin(self._controller.stop(depth))

    def _sound_again(self) -> None:
        controller, now = self._controller, self._controller.link_time()
        for one in sounding(controller.state.alarms, controller.state.pause, controller.now()):
            code, every = one.alarm.code, REPEAT_MS.get(one.alarm.priority)
            if every is None or now - self._sounded.setdefault(code, now) < every:
                continue
            self._sounded[code] = now
            if self._remind is not None:
                self._remind(one.alarm)

    # --- a pump's meters ---------------------------------------------------------------------

    async def _count_ended(self, pump: PumpController) -> None:
        """Asks what became of each bolus that no longer runs: its amount is beyond doubt then."""
        core = self._core
        assert core is not None
        reading = core.reading
        unsettled = {intent.id for intent in pump.state.unsettled}
        for bolus in core.granted.boluses:
            is_known = bolus.closed or bolus.id in self._counted
            runs = isinstance(reading, PumpReading) and reading.bolus_id == bolus.id
            if is_known or runs or bolus.id in unsettled:
                continue
            answer = await pump.progress_of(bolus.id)
            if answer.state != "running":
                self._counted.add(bolus.id)

    async def _meter(self, *, always: bool) -> None:
        """Records the meters from time to time, so that the next host goes on from there."""
        core = self._core
        if core is None or not isinstance(core.reading, PumpReading):
            return
        reading, last = core.reading, core.granted.meter
        now = self._controller.now()
        is_due = last is None or now.slow - last.at.slow >= METER_EVERY
        is_news = last is None or last.delivered != reading.delivered
        if not is_due and not (always and is_news):
            return
        await self._controller.gate.tell(
            Metered(
                now,
                reading.clock,
                reading.delivered,
                reading.reservoir,
                reading.fill_at,
                core.track.missing_volume,
            )
        )
