"""Watching a device while it delivers: samples, judged one by one, for views and telemetry."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from device_profiles.quantities import MicroAmps, Milliseconds, NanoLitres
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.table import AnyController
from safety.alarms import Alarm
from safety.monitor import (
    UNDER_DELIVERY_AFTER,
    PumpReading,
    StimulatorReading,
    alarms_of_device,
    basal_flow_at,
    judge_pump,
    judge_stimulator,
)
from safety.outputs import PumpProgram, Stimulation

STIMULATOR_POLL = Milliseconds(250)
FALL_TIME = Milliseconds(1_500)
"""How long a lowered amplitude may still be seen: every fall ends within 1 s, and a poll."""
WINDOW = UNDER_DELIVERY_AFTER
"""How far back a pump's odometer is compared: as long as too little must last to be an alarm."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One sample and the alarms that hold with it."""

    sample: Sample
    alarms: tuple[Alarm, ...]


class Watch:
    """Polls a device and judges every sample; a new alarm is recorded and sounded once."""

    def __init__(self, controller: AnyController, show: Callable[[Watched], None]) -> None:
        self._controller = controller
        self._show = show
        self._active: tuple[Alarm, ...] = ()
        self.faults: dict[str, Alarm] = {}
        """Every alarm above LOW that was seen, by its code: what a run must not end well with."""
        self._lately: deque[tuple[Milliseconds, Stimulation]] = deque()
        self._judged_program: PumpProgram | None = None
        self._readings: deque[PumpReading] = deque()

    async def run(self) -> None:
        """Watches until cancelled; raises LinkError or DeviceFault when the device is gone."""
        pause = self._poll() / 1_000
        while True:
            await self.once()
            await asyncio.sleep(pause)

    async def once(self) -> Watched:
        """Takes and judges one sample."""
        asked = self._controller.link_time()
        sample = await self._controller.sample()
        age = Milliseconds(self._controller.link_time() - asked)
        alarms = self._judge(sample, age)
        self.faults |= {alarm.code: alarm for alarm in alarms if alarm.priority != "LOW"}
        known = {alarm.code for alarm in self._active}
        for alarm in alarms:
            if alarm.code not in known:
                await self._controller.raise_alarm(alarm)
        self._active = alarms
        watched = Watched(sample, alarms)
        self._show(watched)
        return watched

    def _poll(self) -> Milliseconds:
        if isinstance(self._controller, PumpController):
            return self._controller.profile.poll
        return STIMULATOR_POLL

    def _judge(self, sample: Sample, age: Milliseconds) -> tuple[Alarm, ...]:
        if isinstance(self._controller, PumpController):
            return self._judge_pump(self._controller, sample, age)
        state = self._controller.state
        amplitudes = tuple(
            MicroAmps(value)
            for name, value in sample.values.items()
            if name.endswith("_amplitude_uA")
        )
        reading = StimulatorReading(sample.delivering, amplitudes, sample.alarms, age=age)
        granted = self._granted(self._controller.now().fast, state.running)
        return judge_stimulator(granted, reading, Milliseconds(4 * STIMULATOR_POLL))

    def _granted(self, now: Milliseconds, running: Stimulation | None) -> Stimulation | None:
        """What may flow now: what is granted, and what was until a moment ago and still falls."""
        if running is None:
            self._lately.clear()
            return None
        if not self._lately or self._lately[-1][1] != running:
            self._lately.append((now, running))
        while len(self._lately) > 1 and now - self._lately[1][0] > FALL_TIME:
            self._lately.popleft()
        falling = [s.amplitudes for _, s in self._lately if s.program == running.program]
        return replace(running, amplitudes=tuple(map(max, zip(*falling, strict=True))))

    def _judge_pump(
        self, controller: PumpController, sample: Sample, age: Milliseconds
    ) -> tuple[Alarm, ...]:
        program = controller.state.pump_program
        if program is None or sample.state == "halted":
            self._readings.clear()
            return alarms_of_device(sample.alarms)
        reading = PumpReading(
            sample.clock,
            NanoLitres(sample.values["delivered_nL"]),
            sample.values["patient_boluses"],
            sample.alarms,
            age=age,
            bolus_runs=sample.values["flow_nL_per_day"] > basal_flow_at(program, sample.clock),
        )
        if self._judged_program != program:
            self._readings.clear()
            self._judged_program = program
        self._readings.append(reading)
        while len(self._readings) > 2 and reading.clock - self._readings[1].clock >= WINDOW:
            self._readings.popleft()
        first = self._readings[0]
        volumes = _bolus_volumes(controller, Milliseconds(reading.clock - first.clock))
        return judge_pump(program, volumes, first, reading, controller.profile)


def _bolus_volumes(controller: PumpController, interval: Milliseconds) -> tuple[NanoLitres, ...]:
    """The most of all host boluses that may have flowed within the last interval."""
    now = controller.now()
    return tuple(
        reservation.most
        for reservation in controller.state.reservations
        if reservation.reaches_into(interval, now)
    )
