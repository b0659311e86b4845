"""Follows a sensor with one area's amplitude; what it asks for goes the ordinary road (SR-51).

Each rise is a judged `ChangeAmplitude`, so its intent is on the disk before its first byte; each
fall is a de-escalation. Whatever ends a loop, a lost sensor, an error or a cancellation, it leaves
the area at the fallback, or at zero where the fallback cannot be reached.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from device_profiles.errors import NeuraxisError, Refused
from device_profiles.notation import write_current
from device_profiles.quantities import MicroAmps, Milliseconds
from firmware_bridge.families.scs.controller import StimulatorController, only_area
from safety.alarms import Alarm
from safety.closed_loop import (
    Loop,
    LoopSettings,
    LoopState,
    Reading,
    fallback_from,
    judge_loop,
    loop_on,
    next_step,
)

JUST_NOW = Milliseconds(0)
OUT_OF_COMPLIANCE = "out-of-compliance"
"""The device's alarm that its voltage no longer drives the current: a loop would climb unseen, and
all of it would flow once the contact is well again."""


@dataclass(frozen=True, slots=True)
class SensorReading:
    """What an instrument read, in uV, and how old it was when it was handed over, in ms."""

    microvolts: int
    age: Milliseconds = JUST_NOW


ReadSensor = Callable[[], Awaitable[SensorReading | None]]
"""The bench's own instrument; ``None`` where it has no reading."""


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """Why a loop ended by itself, and whether it fell back: else a person has taken over."""

    reason: str
    fell_back: bool


async def follow(
    controller: StimulatorController,
    area: int | None,
    settings: LoopSettings,
    read_sensor: ReadSensor,
) -> LoopEnd:
    """SR-51: keeps what a sensor reads at the target, until it is lost or somebody takes over.

    ``area`` counts from 1; ``None``: the only one. The program must run and its lease be kept by
    the caller. Returns once the loop has fallen back, or a person has set the amplitude or
    stopped. Cancelled, or failed with what `set_amplitude` raises, it has fallen back too. Raises
    Refused for settings that make no loop.
    """
    running = controller.state.running
    if running is None:
        raise Refused("the stimulator's output is off: a loop begins on a running program (SR-51)")
    index = only_area(running, area)
    findings = judge_loop(settings, running.program, index, controller.profile)
    if findings:
        first = findings[0]
        raise Refused(
            f"no loop on this area: {first.rule}, {first.message}. A loop gives no reasons, so "
            "nothing may stand against its settings",
            tuple(findings),
        )
    loop = loop_on(settings, running.program, index, controller.profile)
    follower = _Follower(controller, index, loop, LoopState(running.amplitudes[index]))
    try:
        return await follower.run(read_sensor)
    except BaseException as error:
        await _to_the_end(follower.fall_back(error))
        raise


class _Follower:
    """One loop on one area (from 0) of the program that runs."""

    def __init__(
        self, controller: StimulatorController, index: int, loop: Loop, state: LoopState
    ) -> None:
        self._controller = controller
        self._index = index
        self._loop = loop
        self._state = state
        self._lowerings = controller.session.lowerings

    async def run(self, read_sensor: ReadSensor) -> LoopEnd:
        every = self._loop.settings.every
        while True:
            began = self._controller.link_time()
            reading = await self._read(read_sensor, every)
            sample = await self._controller.sample()
            if (reason := self._taken_over()) is not None:
                return LoopEnd(reason, fell_back=False)
            blind = OUT_OF_COMPLIANCE in sample.alarms
            now = self._controller.link_time()
            state = next_step(self._loop, self._state, None if blind else reading, now)
            if state.lost is not None:
                why = OUT_OF_COMPLIANCE if blind else state.lost
                await self._lower(state.amplitude)
                await self._tell(f"{why}: fell back to {write_current(state.amplitude)}")
                return LoopEnd(why, fell_back=True)
            try:
                await self._set(state)
            except Refused:
                if (reason := self._taken_over()) is None:
                    raise
                return LoopEnd(reason, fell_back=False)
            spent = self._controller.link_time() - began
            await asyncio.sleep(max(0, every - spent) / 1_000)

    async def fall_back(self, error: BaseException) -> None:
        """To the fallback, else to zero; after anything but a cancellation with an alarm."""
        running = self._controller.state.running
        if running is None:
            return
        level = fallback_from(self._loop, running.amplitudes[self._index])
        try:
            await self._lower(level)
        except NeuraxisError:
            await self._controller.make_safe("hold")
        if not isinstance(error, asyncio.CancelledError):
            await self._tell(f"{error or type(error).__name__}: fell back")

    async def _read(self, read_sensor: ReadSensor, every: Milliseconds) -> Reading | None:
        """One reading; ``None`` if the instrument is silent for the time of an update.

        It is a task of its own, so that one which does not even heed its cancellation holds up
        nothing.
        """
        asked = self._controller.link_time()
        reading = asyncio.ensure_future(read_sensor())
        try:
            await asyncio.wait({reading}, timeout=every / 1_000)
        finally:
            reading.cancel()
        if not reading.done():
            return None
        try:
            read = reading.result()
        except TimeoutError:
            return None
        if read is None:
            return None
        # It was taken at the latest when it was asked for: what the line took counts as age.
        return Reading(read.microvolts, Milliseconds(asked - read.age))

    def _taken_over(self) -> str | None:
        """Why the amplitude is no longer the loop's: somebody stopped, lowered or set it."""
        running = self._controller.state.running
        if running is None:
            return "the output is off"
        if (
            self._controller.session.lowerings != self._lowerings
            or running.amplitudes[self._index] != self._state.amplitude
        ):
            return "somebody else has set an amplitude"
        return None

    async def _set(self, state: LoopState) -> None:
        if state.amplitude > self._state.amplitude:
            await self._controller.set_amplitude(self._index + 1, state.amplitude)
        elif state.amplitude < self._state.amplitude:
            await self._lower(state.amplitude)
        self._state = state

    async def _lower(self, amplitude: MicroAmps) -> None:
        """Lowers, also to what is believed to flow: a rise that is in doubt is undone by it."""
        self._lowerings += 1
        await self._controller.set_amplitude(self._index + 1, amplitude)

    async def _tell(self, text: str) -> None:
        await self._controller.raise_alarm(Alarm("loop-fallback", "MEDIUM", "SR-51", text))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Does work to its end, come what may; a cancellation meanwhile goes on after it."""
    working = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            cancelled = error
    working.result()
    if cancelled is not None:
        raise cancelled
