"""`neuraxis run --telemetry`: what a display is shown is published too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from device_profiles.errors import NeuraxisError
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import Clock
from firmware_bridge.controller import Plan
from firmware_bridge.families.table import AnyController
from firmware_bridge.mqtt_connection import check_loop, parse_broker_url
from firmware_bridge.telemetry import Publisher
from firmware_bridge.telemetry_outbox import Subject
from hil.run import Display
from hil.watch import Watched
from safety.alarms import ActiveAlarm, Alarm, with_raised

LOOK_S = 0.5
"""How long telemetry waits for the device's state before the first sample and after the last."""


class SoundingDisplay(Display, Protocol):
    """A display that sounds alarms too."""

    def sound(self, alarm: Alarm) -> None:
        """An alarm, when it is raised."""

    def remind(self, alarm: Alarm) -> None:
        """An alarm that nobody has seen, once more."""


class PublishedDisplay:
    """A display that is also published, while `publishing` lasts; with no URL only a display.

    ``sound`` may be called before `publishing`: a controller raises alarms while it takes charge,
    and they are published as soon as it is known of which device they are. Raises UsageError for
    a URL that names no broker, and where MQTT cannot run; make it before a device is touched.
    """

    def __init__(self, url: str | None, display: SoundingDisplay, clock: Clock) -> None:
        self._broker = None if url is None else parse_broker_url(url)
        if self._broker is not None:
            check_loop(asyncio.get_running_loop())
        self._display = display
        self._clock = clock
        self._publisher: Publisher | None = None
        self._patient: Callable[[], str | None] = lambda: None
        self._board: Callable[[], tuple[ActiveAlarm, ...]] = tuple
        self._early: list[Alarm] = []

    # --- a display ---------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """One line."""
        self._display.say(text)

    def plan(self, plan: Plan) -> None:
        """The plan, before it is confirmed."""
        self._display.plan(plan)

    def sound(self, alarm: Alarm) -> None:
        """An alarm, when it is raised; it is heard before it is on the board."""
        self._display.sound(alarm)
        if self._publisher is None:
            self._early.append(alarm)
            return
        self._publisher.alarm(alarm)
        wall = Milliseconds(self._clock.wall_ms())
        self._publisher.alarms(with_raised(self._board(), alarm, wall))

    def remind(self, alarm: Alarm) -> None:
        """An alarm that nobody has seen; telemetry keeps it on the board anyway."""
        self._display.remind(alarm)

    def watched(self, watched: Watched) -> None:
        """One sample with its alarms."""
        self._display.watched(watched)
        if self._publisher is not None:
            self._publisher.sample(watched.sample)
            self._publisher.alarms(self._board())
            self._publisher.state(
                watched.sample.state,
                delivering=watched.sample.delivering,
                patient=self._patient(),
            )

    # --- published ---------------------------------------------------------------------------

    @asynccontextmanager
    async def publishing(self, controller: AnyController) -> AsyncIterator[None]:
        """Publishes what this display is shown of a device; ends with the device's last state.

        No failure of the broker is raised or delays the body; the end takes at most 1.4 s.
        """
        if self._broker is None:
            yield
            return
        identity = controller.identity
        sealed = controller.session.sealed
        subject = Subject(identity.serial, identity.family, identity.model, sealed)
        async with Publisher(self._broker, subject, self._clock, self.say) as publisher:
            self._publisher = publisher
            self._patient = lambda: controller.state.patient
            self._board = lambda: controller.state.alarms
            for alarm in self._early:
                publisher.alarm(alarm)
            publisher.alarms(self._board())
            try:
                await self._look(publisher, controller)
                yield
            finally:
                # What is retained stays at the broker: it must not be the state before the stop.
                publisher.alarms(self._board())
                await self._look(publisher, controller)
                self._publisher = None

    async def _look(self, publisher: Publisher, controller: AnyController) -> None:
        """Asks the device for its state; an unknown state is published as unknown."""
        try:
            async with asyncio.timeout(LOOK_S):
                sample = await controller.sample()
        except (NeuraxisError, TimeoutError):
            publisher.state("unknown", delivering=None, patient=self._patient())
        else:
            publisher.state(sample.state, delivering=sample.delivering, patient=self._patient())
