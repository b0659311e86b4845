"""Telemetry over MQTT. It only publishes: nothing is subscribed to, nothing leads to a device.

A broker that is dead, slow or hung delays nothing: the calls put into a bounded outbox and
return, and one task of its own talks to the broker. Topics and messages: `docs/telemetry.md`.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from firmware_bridge.clock import Clock
from firmware_bridge.driver import Sample
from firmware_bridge.mqtt_connection import BrokerAddress, check_loop, connected, until_lost
from firmware_bridge.telemetry_outbox import Outbox, Subject
from safety.alarms import ActiveAlarm, Alarm


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a Publisher waits, in seconds.

    ``answer_s`` for each answer of the broker; ``first_pause_s`` before the second attempt,
    doubled for each further one up to ``longest_pause_s``; ``farewell_s`` for the last messages.
    """

    answer_s: float = 5.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    farewell_s: float = 0.9


PATIENCE = Patience()


class Publisher:
    """Publishes one device's samples, alarms and state for as long as its context lasts.

    ``say`` is told the first failure in a sentence, and when it works again. The public calls
    return at once and never raise; they belong to the event loop's thread. Leaving the context
    takes at most ``farewell_s``, whatever the broker does. Entering raises UsageError on an event
    loop that cannot watch sockets.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        subject: Subject,
        clock: Clock,
        say: Callable[[str], None],
        patience: Patience = PATIENCE,
    ) -> None:
        self._broker = broker
        self._subject = subject
        self._say = say
        self._patience = patience
        self._outbox = Outbox(subject, clock)
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    # --- what to tell ------------------------------------------------------------------------

    def sample(self, sample: Sample) -> None:
        """Publishes a sample, taken just now."""
        self._outbox.put_sample(sample)
        self._wake.set()

    def alarm(self, alarm: Alarm) -> None:
        """Publishes an alarm that was raised just now."""
        self._outbox.put_alarm(alarm)
        self._wake.set()

    def alarms(self, board: Iterable[ActiveAlarm]) -> None:
        """Publishes, retained, the board of alarms; the same as before changes nothing."""
        self._outbox.keep_alarms(board)
        self._wake.set()

    def state(self, state: str, *, delivering: bool | None, patient: str | None) -> None:
        """Publishes, retained, the device's state; the same as before changes nothing.

        ``patient`` is the patient's code, never a name. ``delivering`` ``None``: nobody knows.
        """
        self._outbox.keep_state(state, delivering=delivering, patient=patient)
        self._wake.set()

    # --- life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_loop(asyncio.get_running_loop())
        self._task = asyncio.create_task(self._run(), name=f"telemetry to {self._broker}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._closing.set()
        self._wake.set()
        try:
            await asyncio.wait({self._task}, timeout=self._patience.farewell_s)
        finally:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        except Exception as error:  # whatever it is, no therapy ends because of its telemetry
            self._tell(f"telemetry has stopped, everything else goes on: {error!r}")

    async def _keep_connected(self) -> None:
        """Connects, publishes, and connects again, until everything is told and it closes."""
        patience = self._patience
        now = asyncio.get_running_loop().time
        pause = patience.first_pause_s
        while True:
            begun = now()
            try:
                await self._converse()
                return
            except (aiomqtt.MqttError, OSError) as error:
                self._failed(error)
            if now() - begun > patience.longest_pause_s:
                # A broker that hangs up right after each welcome is no reason for haste.
                pause = patience.first_pause_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1)):
                    await self._closing.wait()
                    return
            pause = min(2 * pause, patience.longest_pause_s)

    async def _converse(self) -> None:
        """One connection, up to the goodbye; raises MqttError and OSError when it is lost."""
        will = aiomqtt.Will(self._subject.topic("online"), b"offline", qos=1, retain=True)
        # Always the same client: a broker that still holds the last, broken connection ends it
        # now, with its last will, and not seconds after this one has said `online`.
        identifier = f"neuraxis-{self._subject.serial}"
        async with connected(self._broker, identifier, will, self._patience.answer_s) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    watcher = group.create_task(until_lost(client))
                    await self._tell_all(client)
                    watcher.cancel()
            except ExceptionGroup as both:
                # What one of the two noticed first; the other was cancelled.
                raise both.exceptions[0] from None

    async def _tell_all(self, client: aiomqtt.Client) -> None:
        online = self._subject.topic("online")
        await client.publish(online, b"online", qos=1, retain=True)
        self._works()
        self._outbox.renew()
        while True:
            self._wake.clear()
            while (message := self._outbox.next()) is not None:
                await client.publish(
                    message.topic, message.payload, qos=message.qos, retain=message.retain
                )
                self._outbox.sent(message)
            if self._closing.is_set():
                await client.publish(online, b"offline", qos=1, retain=True)
                return
            await self._wake.wait()

    # --- telling the bench -------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            self._tell(
                f"telemetry: {self._broker}: {self._reason(error)}. Everything else goes on; "
                "telemetry keeps trying"
            )

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            self._tell(f"telemetry: {self._broker} works again")

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) or str(error) == "Operation timed out":
            return f"no answer within {self._patience.answer_s:g} s"
        if isinstance(error, MqttConnectError):
            return f"the broker refuses the connection ({error})"
        if isinstance(error, OSError):
            return f"it cannot be reached ({error.strerror or error})"
        return "the connection is lost"

    def _tell(self, text: str) -> None:
        with suppress(OSError):  # a terminal that is gone is not telemetry's to notice
            self._say(text)
