"""The monitor of a storm: the real core, with the journal from beside and the line's own frames.

It stands for the process that `hil.monitor` is: it reads what its owner's disk holds and nothing
that its owner knows, and all it can do is to ask for a stop. It judges what arrives rather than
four times a second, since between two frames only the age of what it knows goes on. It asks its
owner only; what it does once that is dead (`hil.monitor_rescue`) no storm has.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from device_profiles.errors import NeuraxisError
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_MS
from firmware_bridge.families.table import AnyController
from firmware_bridge.protocol.messages import StopDepth
from hil.journal_tail import JournalTail
from hil.monitor_core import MonitorCore
from hil.storm.disk import Files
from hil.storm.hosts import Host, StormClock
from hil.storm.record import Record
from safety import monitor as judgement
from safety.alarm_table import kind_of
from safety.alarms import Alarm
from safety.events import Cleared
from safety.journal_format import JournalError


class FilesTail(JournalTail):
    """A journal that is followed on the storm's disk."""

    def __init__(self, files: Files) -> None:
        super().__init__(Path("a storm's journal"))
        self._files = files

    def _open(self) -> None:
        """A storm's disk is always there."""

    def _rest(self) -> bytes:
        if len(self._files.whole) < self._position:
            raise JournalError("it became shorter while it was read")
        return bytes(self._files.whole[self._position :])


class StormMonitor:
    """Watches one host's device for as long as that host lives."""

    def __init__(
        self,
        controller: AnyController,
        host: Host,
        files: Files,
        clock: StormClock,
        record: Record,
    ) -> None:
        self._controller, self._host = controller, host
        self._clock, self._record = clock, record
        self._core = MonitorCore()
        self._tail = FilesTail(files)
        self._stopped = False
        self._judgement_is_due = False

    async def begin(self) -> None:
        """Reads the journal, and hears the line from here on."""
        await self._controller.gate.settle()  # what its owner knows must be there to be read
        trusted = self._controller.state.latched is None
        past = self._tail.start() if trusted else ()
        sound = trusted and self._tail.problem is None
        self._core.load(past, self._controller.identity, self._now(), trusted=sound)
        self._core.polled(True, self._now())
        self._controller.session.taps.append(self._tap)

    def _now(self) -> Milliseconds:
        """As `hil.monitor` reads it: the host's sleep counts."""
        return Milliseconds(self._clock.with_sleep_ns() // NS_PER_MS)

    def _tap(self, sent: bool, data: bytes) -> None:
        if not self._host.is_alive:
            return
        self._read_journal()
        self._core.tap(sent, data, self._now())
        if not self._judgement_is_due:
            self._judgement_is_due = True
            asyncio.get_running_loop().call_soon(self._judge)

    def _read_journal(self) -> None:
        if self._tail.problem is not None:
            return
        for event in self._tail.news():
            self._core.hear(event, self._now())
        if self._tail.problem is not None:
            self._core.distrust()

    def _judge(self) -> None:
        self._judgement_is_due = False
        if not self._host.is_alive:
            return
        self._read_journal()
        alarms = self._core.judge(self._now())
        cause = judgement.must_stop(alarms)
        if cause is not None and not self._stopped:
            self._stopped = True  # once: the run ends with it
            depth = judgement.stop_depth(cause, self._core.granted.program)
            self._record.monitor_stops.append((self._clock.world_ms(), cause.code, depth))
            self._record.reached[f"monitor: stopped for {cause.code}"] += 1
            self._host.starts(asyncio.ensure_future(self._stop(cause, depth)))
        elif cause is None and not self._stopped and self._too_much_on_board():
            self._host.starts(asyncio.ensure_future(self._clear()))

    async def _stop(self, cause: Alarm, depth: StopDepth) -> None:
        """What its owner does when it is asked: the stop first, then the journal."""
        controller = self._controller
        # One that is not confirmed is an alarm by itself, and the next host's monitor looks again.
        with suppress(NeuraxisError):
            await controller.stop(depth)
        await controller.raise_alarm(cause)
        self._host.gone.set()

    async def _clear(self) -> None:
        """Too much is over: its owner takes it off the board, as `hil.watch` does."""
        controller = self._controller
        for code in self._too_much_on_board():
            await controller.gate.tell(Cleared(controller.now(), code))

    def _too_much_on_board(self) -> list[str]:
        board = [one for one in self._controller.state.alarms if not one.over]
        return [one.alarm.code for one in board if kind_of(one.alarm.code).stops]
