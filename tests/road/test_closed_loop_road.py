"""A closed loop on the whole road: what a sensor's loss, a person or an error leaves flowing.

The sensor is a witness of its own: it reads an evoked potential off the body's real current. The
oracle is the truth of the simulator, never what the loop says that it did.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from road_bench import (
    Road,
    apply,
    current,
    failure,
    kept_alive,
    program_stimulator,
    programs,
    rise,
    road,
    start,
)

from device_profiles.errors import NeuraxisError, Refused, Uncertain
from device_profiles.quantities import MicroAmps, MicroVolts, Milliseconds
from firmware_bridge.families.scs import closed_loop
from firmware_bridge.families.scs.closed_loop import LoopEnd, SensorReading, follow
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import LowerAmplitude, SetAmplitude
from firmware_bridge.protocol.messages import AskOutcome
from firmware_bridge.simulator.faults import PlannedFault
from safety.closed_loop import Gain, Loop, LoopSettings, LoopState, Reading, Sensor, next_step
from safety.events import Intended, Lowered

THRESHOLD, UA_PER_UV = 1_000, 40
CEILING, FALLBACK, FLOOR, SLEW, EVERY = 5_000, 2_000, 500, 200, 250
TARGET = 70
"""Reached at 3,800 uA by the body below."""
OUT_OF_REACH = 300
FALL_MS = 1_000
"""Every fall of the device ends within a second."""
STEADY = replace(programs()[0], stimulate=Milliseconds(0), pause=Milliseconds(0))
"""The example's program without its cycle: in a pause a sensor sees nothing."""


def settings(target: int = TARGET) -> LoopSettings:
    return LoopSettings(
        target=MicroVolts(target),
        gain=Gain(MicroAmps(20), MicroVolts(1)),
        floor=MicroAmps(FLOOR),
        ceiling=MicroAmps(CEILING),
        fallback=MicroAmps(FALLBACK),
        slew=MicroAmps(SLEW),
        every=Milliseconds(EVERY),
        sensor=Sensor(Milliseconds(500), MicroVolts(-400), MicroVolts(400), (0xFFFF,)),
    )


@dataclass
class Body:
    """What an electrode near the cord would read of this stimulator."""

    bench: Road
    says: Callable[[int], Awaitable[SensorReading | None]] | None = None
    """What the instrument makes of it, where it is not well."""
    reads: int = 0

    async def __call__(self) -> SensorReading | None:
        self.reads += 1
        self.bench.runner.step()
        amplitudes: list[int] = self.bench.device.machine.firmware.body.amplitudes
        potential = max(0, (sum(amplitudes) - THRESHOLD) // UA_PER_UV)
        return await self.says(potential) if self.says else SensorReading(potential)


@dataclass
class Looped:
    """A stimulator whose loop runs as a task, its lease kept."""

    bench: Road
    controller: StimulatorController
    body: Body
    settings: LoopSettings
    task: asyncio.Task[LoopEnd] = field(init=False)

    def __post_init__(self) -> None:
        self.task = asyncio.ensure_future(follow(self.controller, None, self.settings, self.body))

    @property
    def flows(self) -> int:
        self.bench.runner.step()
        course = course_of(self.bench)
        return course[-1][1] if course else 0

    async def end(self) -> NeuraxisError | None:
        return await failure(self.task)


def course_of(bench: Road) -> list[tuple[int, int]]:
    """Times and therapy current of the example's cathode, which carries all of the area."""
    lines = [line for line in bench.truth.lines if line["rate_mHz"] != 500_000]
    return [(time, abs(amplitude)) for time, amplitude in current(lines, "E3")]


@asynccontextmanager
async def looped(
    target: int = TARGET,
    begin_at: int = 1_500,
    seconds: float = 20,
    faults: Sequence[PlannedFault] = (),
) -> AsyncIterator[Looped]:
    """A loop that has run for a while."""
    async with road("stimulator", faults) as bench:
        controller = await bench.stimulator()
        await apply(controller, program_stimulator(STEADY))
        await controller.measure()
        await controller.start(controller.program_named("walking"), from_zero=True)
        async with kept_alive(controller):
            await controller.set_amplitude(None, MicroAmps(begin_at))
            await rise(3)
            one = Looped(bench, controller, Body(bench), settings(target))
            await rise(seconds)
            try:
                yield one
            finally:
                one.task.cancel()
                await asyncio.wait({one.task})


def peak_after(bench: Road, since: int) -> int:
    """The largest current from a time on, what flowed at that time included."""
    course = course_of(bench)
    before = [amplitude for time, amplitude in course if time <= since][-1:]
    return max([*before, *(amplitude for time, amplitude in course if time > since)], default=0)


# --- it regulates ---------------------------------------------------------------------------------


@pytest.mark.requirement("SR-51")
async def test_a_loop_finds_its_target_and_every_rise_is_a_recorded_intent() -> None:
    async with looped() as loop:
        wanted = THRESHOLD + TARGET * UA_PER_UV
        assert wanted - 100 <= loop.flows <= wanted  # rounded toward less
        rises = [one for one in loop.bench.told(Intended) if one.command == "change-amplitude"]
        assert len(rises) == loop.bench.link.count(SetAmplitude) > 5
        assert loop.bench.alarms == []
        assert not loop.task.done()


@pytest.mark.requirement("SR-51")
async def test_no_rise_is_steeper_than_the_slew() -> None:
    async with looped(OUT_OF_REACH) as loop:
        changes = [one for one in loop.bench.link.requests if isinstance(one, SetAmplitude)]
        levels = [one.amplitudes[0] for one in changes]
        assert max(b - a for a, b in pairwise(levels)) == SLEW
        course = course_of(loop.bench)
        since = next(time for time, amplitude in course if amplitude > 1_500)
        for time, amplitude in course:
            if time >= since:
                assert amplitude - 1_500 <= SLEW * ((time - since) // EVERY + 1)


@pytest.mark.requirement("SR-51")
@pytest.mark.fault("F117")
async def test_a_target_out_of_reach_ends_at_the_clamp_and_winds_nothing_up() -> None:
    async with looped(OUT_OF_REACH, seconds=60) as loop:
        assert loop.flows == CEILING == max(amplitude for _, amplitude in course_of(loop.bench))
        moved = loop.bench.device.t_ms

        async def far_above(_: int) -> SensorReading:
            return SensorReading(OUT_OF_REACH + 50)

        loop.body.says = far_above
        await rise((EVERY + FALL_MS) / 1_000)
        assert loop.flows <= CEILING - 1_000
        assert course_of(loop.bench)[-1][0] <= moved + EVERY + FALL_MS


# --- the oracle, and twins that it must find ------------------------------------------------------


def truth_is_bounded(bench: Road) -> bool:
    return max(amplitude for _, amplitude in course_of(bench)) <= CEILING


@pytest.mark.requirement("SR-51")
async def test_the_truth_shows_a_loop_without_its_clamp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The area's own ceiling, 6 mA, still holds: the judge knows nothing of a loop."""
    async with looped(OUT_OF_REACH) as loop:
        assert truth_is_bounded(loop.bench)

    def twin(loop: Loop, state: LoopState, reading: Reading | None, now: Milliseconds) -> LoopState:
        return next_step(replace(loop, clamp=MicroAmps(25_500)), state, reading, now)

    monkeypatch.setattr(closed_loop, "next_step", twin)
    async with looped(OUT_OF_REACH) as loop:
        assert not truth_is_bounded(loop.bench)
        assert max(amplitude for _, amplitude in course_of(loop.bench)) <= 6_000


@pytest.mark.requirement("SR-51")
async def test_the_truth_shows_a_loop_that_holds_its_last_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def twin(loop: Loop, state: LoopState, reading: Reading | None, now: Milliseconds) -> LoopState:
        after = next_step(loop, state, reading, now)
        return after if after.lost is None else state

    monkeypatch.setattr(closed_loop, "next_step", twin)
    async with looped(OUT_OF_REACH) as loop:
        loop.body.says = LOSSES["nothing"]
        lost = loop.bench.device.t_ms
        await rise(5)
        assert peak_after(loop.bench, lost + EVERY + FALL_MS) > FALLBACK


# --- the sensor is lost ---------------------------------------------------------------------------


async def _nothing(_: int) -> None:
    return None


async def _hangs(_: int) -> SensorReading:
    await asyncio.sleep(3_600)
    raise AssertionError("nobody waits for so long")


async def _times_out(_: int) -> SensorReading:
    raise TimeoutError("the instrument's own")


async def _saturated(_: int) -> SensorReading:
    return SensorReading(400)


async def _sentinel(_: int) -> SensorReading:
    return SensorReading(0xFFFF)


async def _old(potential: int) -> SensorReading:
    return SensorReading(potential, Milliseconds(501))


async def _from_the_future(potential: int) -> SensorReading:
    return SensorReading(potential, Milliseconds(-1_000))


async def _fails(_: int) -> SensorReading:
    raise OSError(5, "the instrument is gone")


LOSSES: dict[str, Callable[[int], Awaitable[SensorReading | None]]] = {
    "nothing": _nothing,
    "hangs": _hangs,
    "times out": _times_out,
    "saturated": _saturated,
    "sentinel": _sentinel,
    "old": _old,
    "from the future": _from_the_future,
}


@pytest.mark.requirement("SR-51")
@pytest.mark.fault("F19")
@pytest.mark.fault("F117")
@pytest.mark.parametrize("loss", LOSSES)
async def test_a_sensor_lost_at_the_peak_brings_the_fallback_within_one_update(loss: str) -> None:
    async with looped(OUT_OF_REACH) as loop:
        assert loop.flows == CEILING
        loop.body.says = LOSSES[loss]
        lost = loop.bench.device.t_ms
        await rise((2 * EVERY + FALL_MS) / 1_000)
        # The next update finds it out; one that hangs, at its end.
        updates = 2 if loss == "hangs" else 1
        assert peak_after(loop.bench, lost + updates * EVERY + FALL_MS) == FALLBACK
        first_fall = next(time for time, level in course_of(loop.bench) if time > lost)
        assert first_fall <= lost + updates * EVERY
        assert loop.task.done()
        assert loop.task.result().fell_back
        assert ("loop-fallback", "MEDIUM") in loop.bench.codes
        await rise(60)
        assert loop.flows == FALLBACK


@pytest.mark.requirement("SR-51")
async def test_an_instrument_that_heeds_no_cancellation_holds_nothing_up() -> None:
    let_go = asyncio.Event()

    async def stubborn(_: int) -> SensorReading:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return SensorReading(0)

    async with looped(OUT_OF_REACH) as loop:
        loop.body.says = stubborn
        lost = loop.bench.device.t_ms
        await rise((2 * EVERY + FALL_MS) / 1_000)
        assert peak_after(loop.bench, lost + 2 * EVERY + FALL_MS) == FALLBACK
        let_go.set()
        await rise(1)
        assert loop.flows == FALLBACK


@pytest.mark.requirement("SR-51")
async def test_a_sensor_that_comes_back_waits_for_a_person() -> None:
    async with looped(OUT_OF_REACH) as loop:
        loop.body.says = LOSSES["nothing"]
        await rise(2)
        loop.body.says = None
        reads = loop.body.reads
        await rise(30)
        assert (loop.flows, loop.body.reads) == (FALLBACK, reads)
        again = Looped(loop.bench, loop.controller, loop.body, loop.settings)
        await rise(10)
        assert again.flows > FALLBACK
        again.task.cancel()
        await asyncio.wait({again.task})


@pytest.mark.requirement("SR-51")
async def test_a_contact_that_breaks_brings_the_fallback_and_no_jolt_when_it_heals() -> None:
    async with looped(OUT_OF_REACH, begin_at=3_000, seconds=0.1) as loop:
        loop.bench.runner.inject("open_contact", 3)
        await rise((EVERY + FALL_MS) / 1_000)
        assert loop.task.result().reason == "out-of-compliance"
        loop.bench.runner.inject("heal")
        since = loop.bench.device.t_ms
        await rise(10)
        assert peak_after(loop.bench, since) == FALLBACK


@pytest.mark.requirement("SR-51")
async def test_a_sensor_lost_below_the_fallback_raises_nothing() -> None:
    async with looped(TARGET, begin_at=600, seconds=0.1) as loop:
        loop.body.says = LOSSES["nothing"]
        since = loop.bench.device.t_ms
        await rise(10)
        assert peak_after(loop.bench, since) <= 600 + SLEW < FALLBACK


# --- errors, people, cancellation ---------------------------------------------------------------


@pytest.mark.requirement("SR-51")
async def test_an_instrument_that_fails_is_told_and_leaves_the_fallback() -> None:
    async with looped(OUT_OF_REACH) as loop:
        loop.body.says = _fails
        await rise(2)
        assert loop.flows == FALLBACK
        assert isinstance(loop.task.exception(), OSError)
        assert ("loop-fallback", "MEDIUM") in loop.bench.codes


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize("again", [0, 1, 3])
async def test_a_loop_that_is_cancelled_leaves_the_fallback_however_often(again: int) -> None:
    lost = PlannedFault("drop_reply", request="lower", count=1)
    async with looped(OUT_OF_REACH, faults=[lost]) as loop:
        loop.task.cancel()
        for _ in range(again):
            await asyncio.sleep(0.01)
            loop.task.cancel()
        await asyncio.wait({loop.task})
        assert loop.task.cancelled()
        await rise(FALL_MS / 1_000)
        assert loop.flows == FALLBACK
        assert loop.bench.told(Lowered)[-1].amplitudes == (FALLBACK,)


@pytest.mark.requirement("SR-51")
@pytest.mark.requirement("SR-56")
async def test_a_journal_that_can_no_longer_record_a_rise_brings_the_fallback() -> None:
    async with looped(OUT_OF_REACH, begin_at=3_000, seconds=0.6) as loop:
        loop.bench.disk.broken = True
        assert isinstance(await loop.end(), Refused)
        await rise(FALL_MS / 1_000)
        assert loop.flows == FALLBACK


@pytest.mark.requirement("SR-51")
@pytest.mark.requirement("SR-21")
async def test_a_rise_in_doubt_is_undone_and_never_sent_again() -> None:
    lost = PlannedFault("drop_reply", request="amplitude", count=4)
    async with looped(OUT_OF_REACH, begin_at=1_000, seconds=0.1, faults=[lost]) as loop:
        loop.bench.link.swallow = lambda request: isinstance(request, AskOutcome)
        assert isinstance(await loop.end(), Uncertain)
        loop.bench.link.swallow = lambda request: False
        await rise(FALL_MS / 1_000)
        assert loop.bench.link.count(SetAmplitude) == 4
        granted = loop.bench.told(Lowered)[-1].amplitudes[0]
        assert loop.flows == granted <= FALLBACK


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize("wanted", [600, 4_000])
async def test_a_person_who_sets_an_amplitude_has_taken_over(wanted: int) -> None:
    async with looped(OUT_OF_REACH) as loop:
        await loop.controller.set_amplitude(None, MicroAmps(wanted))
        await rise(30)
        assert loop.flows == wanted
        assert not loop.task.result().fell_back


@pytest.mark.requirement("SR-51")
@pytest.mark.requirement("SR-32")
async def test_a_person_who_stops_has_the_last_word() -> None:
    async with looped(OUT_OF_REACH, seconds=1) as loop:
        await loop.controller.stop("hold")
        await rise(30)
        assert loop.flows == 0
        assert not loop.task.result().fell_back


@pytest.mark.requirement("SR-51")
async def test_where_even_the_fallback_is_refused_the_output_goes_to_zero() -> None:
    async with looped(OUT_OF_REACH) as loop:
        loop.bench.link.swallow = lambda request: isinstance(request, LowerAmplitude)
        loop.task.cancel()
        await asyncio.wait({loop.task})
        await rise(FALL_MS / 1_000)
        assert loop.flows == 0


@pytest.mark.requirement("SR-51")
@pytest.mark.requirement("SR-53")
async def test_a_host_that_dies_in_a_loop_leaves_zero_by_the_lease() -> None:
    async with looped(OUT_OF_REACH) as loop:
        await loop.bench.die()
        await rise(4)
        assert loop.flows == 0
        assert loop.task.done()


@pytest.mark.requirement("SR-51")
async def test_no_loop_begins_on_an_output_that_is_off_or_with_settings_that_make_none() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller, program_stimulator(STEADY))
        body = Body(bench)
        off = await failure(follow(controller, None, settings(), body))
        assert isinstance(off, Refused)
        await start(controller)
        wide = replace(settings(), ceiling=MicroAmps(6_100))
        error = await failure(follow(controller, None, wide, body))
        assert isinstance(error, Refused)
        assert [one.rule for one in error.findings] == ["SR-61"]
        assert body.reads == 0
        assert bench.link.count(LowerAmplitude) == 0
