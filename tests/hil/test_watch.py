"""Watching on virtual time: what the core judges gets onto the board, sounds, and may stop."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from device_profiles.errors import DeviceFault, LinkError, NeuraxisError, Uncertain
from device_profiles.quantities import Milliseconds

sys.path.append(str(Path(__file__).parents[1] / "road"))
from road_bench import (
    DOSE,
    HOUR,
    MINUTE,
    NOON_MS,
    OVER,
    Road,
    apply,
    bolus,
    kept_alive,
    program_pump,
    road,
    start,
)

from firmware_bridge.clock import NS_PER_MS, VirtualClock, VirtualLoop
from firmware_bridge.controller import Plan
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from firmware_bridge.reconnect import Reconnector
from hil.check import check_file
from hil.exit_codes import DEVICE_FAULT, code_of
from hil.run import RunOptions, run_therapy
from hil.watch import STIMULATOR_POLL, Watch, Watched
from safety.alarms import Alarm
from safety.events import Cleared, Counted, Looked, Metered, Paused, Raised, Stopped

INFUSION = Path(__file__).parents[2] / "examples" / "infusion.yaml"
POLL = 1_000


def show(_: Watched) -> None:
    """Nobody looks."""


@asynccontextmanager
async def watched(bench: Road, *, acts: bool = True) -> AsyncIterator[tuple[AnyController, Watch]]:
    """A pump with the example's program, and a watch over it."""
    controller = await bench.connect()
    if not controller.state.pump_program and not controller.state.programs:
        await apply(controller)
    yield controller, Watch(controller, show, acts=acts)


async def for_a_while(watch: Watch, seconds: float) -> None:
    """Watches for a time; a failure goes on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await watch.run()


async def now_and_then(watch: Watch, duration_ms: int, pace_s: int = 60) -> None:
    """Looks once a minute: hours pass in no time."""
    for _ in range(0, duration_ms, pace_s * 1_000):
        await asyncio.sleep(pace_s)
        await watch.once()


def board(controller: AnyController) -> list[tuple[str, str, bool]]:
    return [(one.alarm.code, one.alarm.priority, one.over) for one in controller.state.alarms]


# --- too much ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-54")
@pytest.mark.requirement("SR-55")
async def test_free_flow_sounds_with_the_first_reading_and_an_opioids_pump_is_halted() -> None:
    async with road("pump") as bench, watched(bench) as (controller, watch):
        await for_a_while(watch, 10)
        bench.runner.inject("free_flow")
        begun = controller.now().fast
        with suppress(BaseExceptionGroup):
            await for_a_while(watch, 30)
        (raised, *_) = [one for one in bench.told(Raised) if one.alarm.code == "free-flow"]
        assert raised.at.fast - begun <= POLL, "it is raised with the reading that shows it"
        assert watch.stopped_for is not None
        assert watch.stopped_for.code == "free-flow"
        assert bench.device.machine.firmware.memory.state == "halted"
        assert controller.stopped.is_set()
        assert ("free-flow", "HIGH", False) in board(controller)
        with suppress(Uncertain):  # it runs on, whatever is done
            await watch.finish()


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F54")
@pytest.mark.parametrize("acts", [True, False])
async def test_a_bolus_that_nobody_asked_for_is_ended_by_a_watch_that_acts_and_told_by_any(
    acts: bool,
) -> None:
    async with road("pump") as bench, watched(bench, acts=acts) as (controller, watch):
        await for_a_while(watch, 3)
        firmware = bench.device.machine.firmware
        firmware.memory.bolus_id = 0xBAD
        firmware.body.begin_bolus("host", 100_000, HOUR)
        await for_a_while(watch, 3)
        (alarm,) = [one for one in bench.alarms if one.code == "delivery-without-intent"]
        assert "0xbad" in alarm.text
        assert (firmware.body.bolus("host") is None) is acts
        assert (firmware.memory.state == "halted") is acts
        assert [event.depth for event in bench.told(Stopped)] == (["flow"] if acts else [])
        assert controller.state.full_until > 0, "nobody knows what the windows hold"


@pytest.mark.requirement("SR-54")
async def test_a_stimulator_that_shows_more_than_was_granted_goes_to_zero() -> None:
    async with road("stimulator") as bench, watched(bench) as (controller, watch):
        assert isinstance(controller, StimulatorController)
        await start(controller)
        async with kept_alive(controller):
            await for_a_while(watch, 4)
            assert bench.alarms == []
            firmware: Any = bench.device.machine.firmware
            honest = firmware.status
            firmware.status = lambda: replace(
                honest(), amplitudes=[one + 900 for one in honest().amplitudes]
            )
            with suppress(BaseExceptionGroup, Uncertain):
                await for_a_while(watch, 1)
            firmware.status = honest
            await watch.finish()
            assert honest().state == "off"
        assert bench.alarms[0].code == "over-plan"


# --- too little ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-54")
async def test_a_stall_of_six_hours_is_high_although_the_host_was_restarted_in_the_middle() -> None:
    async with road("pump") as bench:
        async with watched(bench) as (_, watch):
            await watch.once()
            bench.runner.inject("motor_stall")
            await now_and_then(watch, 4 * HOUR)
        assert ("motor-stall", "MEDIUM") in bench.codes
        assert not [one for one in bench.alarms if one.code == "deficit"]
        await bench.die()
        async with watched(bench) as (controller, watch):
            await now_and_then(watch, 4 * HOUR)
            assert ("deficit", "HIGH", False) in board(controller)
        assert watch.stopped_for is None, "too little never stops a pump"
        assert not bench.told(Stopped)


@pytest.mark.requirement("SR-54")
async def test_what_a_pump_let_out_while_nobody_watched_is_judged_on_connecting() -> None:
    async with road("pump") as bench:
        async with watched(bench) as (_, watch):
            await watch.once()
        await bench.die()
        bench.runner.inject("over_delivery")
        await asyncio.sleep(12 * HOUR / 1_000)  # far more than one press excuses
        bench.runner.inject("heal")
        async with watched(bench, acts=False) as (_, watch):
            await watch.once()
        assert ("over-delivery", "HIGH") in bench.codes


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-54")
async def test_a_bolus_that_has_ended_is_counted_by_the_watch() -> None:
    async with road("pump") as bench, watched(bench) as (controller, watch):
        assert isinstance(controller, PumpController)
        await bolus(controller, DOSE)
        await for_a_while(watch, OVER / 1_000 + 5)
        (counted,) = bench.told(Counted)
        assert (counted.state, counted.volume) == ("executed", 5_000)
        assert bench.alarms == []


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-54")
async def test_a_pump_that_went_on_while_its_host_slept_is_not_stopped_for_it() -> None:
    async with road("pump") as bench, watched(bench) as (_, watch):
        await for_a_while(watch, 400)
        assert isinstance(bench.clock, VirtualClock)
        bench.clock.sleep_host(5 * HOUR)
        bench.runner._born_ns -= 5 * HOUR * NS_PER_MS
        await for_a_while(watch, 400)
        assert watch.stopped_for is None


# --- the board -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-55")
async def test_an_alarm_that_is_over_goes_by_itself_or_waits_for_a_look_by_its_priority() -> None:
    async with road("pump") as bench, watched(bench, acts=False) as (controller, watch):
        bench.runner.inject("motor_stall")
        await for_a_while(watch, 3)
        assert board(controller) == [("motor-stall", "MEDIUM", False)]
        bench.runner.inject("heal")
        await for_a_while(watch, 3)
        assert board(controller) == []
        assert [event.code for event in bench.told(Cleared)] == ["motor-stall"]

        bench.runner.inject("free_flow")
        await for_a_while(watch, 3)
        bench.runner.inject("heal")
        await for_a_while(watch, 400)
        assert ("free-flow", "HIGH", True) in board(controller)
        await controller.gate.tell(Looked(controller.now(), "technician", "a valve"))
        assert board(controller) == []


@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F67")
async def test_after_a_crash_the_board_is_still_there_and_sounds_again() -> None:
    async with road("pump") as bench:
        async with watched(bench, acts=False) as (_, watch):
            bench.runner.inject("free_flow")
            await for_a_while(watch, 2)
        await bench.die()
        bench.runner.inject("heal")
        bench.alarms.clear()
        async with watched(bench) as (controller, _):
            assert ("free-flow", "HIGH") in bench.codes
            assert "free-flow" in [code for code, _, _ in board(controller)]


@pytest.mark.requirement("SR-55")
async def test_what_nobody_has_seen_sounds_again_and_a_pause_silences_it_for_ten_minutes() -> None:
    async with road("pump") as bench, watched(bench, acts=False) as (controller, watch):
        again: list[tuple[int, str]] = []
        watch._remind = lambda one: again.append((controller.link_time() // 1_000, one.code))
        bench.runner.inject("motor_stall")
        await for_a_while(watch, 400)
        assert {code for _, code in again} == {"motor-stall", "under-delivery"}
        stalls = [at for at, code in again if code == "motor-stall"]
        assert [later - earlier for earlier, later in pairwise(stalls)] == [60] * 5

        paused = controller.link_time() // 1_000
        until = Milliseconds(controller.now().wall + 10 * MINUTE)
        await controller.gate.tell(Paused(controller.now(), "technician", until))
        again.clear()
        await for_a_while(watch, 595)
        assert again == []
        await for_a_while(watch, 10)
        assert {code for _, code in again} == {"motor-stall", "under-delivery"}
        assert 600 <= again[0][0] - paused <= 601, "the pause has ended by itself"


@pytest.mark.requirement("SR-52")
async def test_a_line_that_falls_silent_makes_the_last_reading_old_before_it_is_given_up() -> None:
    async with road("stimulator") as bench, watched(bench) as (controller, watch):
        assert isinstance(controller, StimulatorController)
        await start(controller)
        await for_a_while(watch, 2)
        bench.runner.inject("silence")
        with pytest.raises(BaseExceptionGroup):
            await for_a_while(watch, 10)
        assert ("telemetry-stale", "MEDIUM") in bench.codes


@pytest.mark.requirement("SR-53")
@pytest.mark.parametrize(("stood_ms", "alarmed"), [(1_900, False), (2_300, True)])
async def test_an_event_loop_that_stood_still_for_a_lease_is_told(
    stood_ms: int, alarmed: bool
) -> None:
    async with road("pump") as bench, watched(bench) as (controller, watch):
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)

        def stand_still() -> None:
            loop.now_ns += stood_ms * 1_000_000

        await for_a_while(watch, 1)
        loop.call_later(10, stand_still)
        await for_a_while(watch, 60)
        assert (("host-stalled", "MEDIUM") in bench.codes) == alarmed
        assert stood_ms - STIMULATOR_POLL <= controller.lag.worst <= stood_ms


@pytest.mark.requirement("SR-54")
async def test_the_meters_are_recorded_once_an_hour_and_with_every_change_of_the_board() -> None:
    async with road("pump") as bench, watched(bench) as (_, watch):
        await watch.once()
        await now_and_then(watch, 3 * HOUR + MINUTE)
        assert len(bench.told(Metered)) == 4
        bench.runner.inject("motor_stall")
        await for_a_while(watch, 5)
        assert len(bench.told(Metered)) == 5


# --- a whole run ---------------------------------------------------------------------------------


class Quiet:
    """A display that nobody reads."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def plan(self, plan: Plan) -> None:
        """Nobody reads it."""

    def watched(self, watched: Watched) -> None:
        """Nobody reads it."""

    def remind(self, alarm: Alarm) -> None:
        """Nobody hears it."""


Restore = Callable[[AnyController, LinkError], Awaitable[None]]


async def yes(_: Plan) -> bool:
    return True


async def run(controller: AnyController, display: Quiet, restore: Restore | None = None) -> None:
    check = check_file(INFUSION, None, Milliseconds(NOON_MS))
    options = RunOptions(yes, Milliseconds(20 * MINUTE), None, restore=restore)
    await run_therapy(controller, check, options, display)


@pytest.mark.requirement("SR-26")
async def test_a_run_goes_on_once_its_pump_is_plugged_in_again_and_the_alarm_is_over() -> None:
    async with road("pump") as bench:
        controller, display = await bench.connect(), Quiet()

        async def restore(lost: AnyController, why: LinkError) -> None:
            patience = Milliseconds(10 * MINUTE)
            await Reconnector(lost, bench.new_link, patience, Random(1), lambda _: None).restore(
                why
            )

        loop = asyncio.get_running_loop()
        loop.call_later(60, bench.runner.inject, "unplug")
        loop.call_later(90, bench.heal)
        begun = controller.link_time()
        await run(controller, display, restore)
        assert controller.link_time() - begun >= 20 * MINUTE
        assert ("link-lost", "LOW") in bench.codes
        assert "link-lost" in [event.code for event in bench.told(Cleared)]
        assert any("is back" in said for said in display.said)
        assert bench.device.names().count("commit") == 1


@pytest.mark.requirement("SR-54")
async def test_a_run_whose_pump_over_delivers_is_stopped_by_the_monitor_and_is_a_device_fault() -> (
    None
):
    async with road("pump") as bench:
        controller, display = await bench.connect(), Quiet()
        asyncio.get_running_loop().call_later(60, bench.runner.inject, "over_delivery")
        with pytest.raises(DeviceFault, match="over-delivery") as failed:
            await run(controller, display)
        assert code_of(failed.value) == DEVICE_FAULT
        assert any(
            said.startswith("stopped by the monitor: over-delivery") for said in display.said
        )
        assert [event.depth for event in bench.told(Stopped)] == ["flow", "hold"]


class Torn(Quiet):
    """A terminal that goes away: whatever is shown from the third sample on fails."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0

    def say(self, text: str) -> None:
        self._fail_once_torn()

    def watched(self, watched: Watched) -> None:
        self.shown += 1
        self._fail_once_torn()

    def _fail_once_torn(self) -> None:
        if self.shown >= 3:
            raise BrokenPipeError("the terminal is gone")


@pytest.mark.requirement("SR-33")
@pytest.mark.fault("F79")
async def test_a_view_that_fails_ends_its_run_in_the_safe_state_and_harms_nothing_else() -> None:
    async with road("pump") as bench:
        controller = await bench.connect()
        with pytest.raises((BrokenPipeError, BaseExceptionGroup)):
            await run(controller, Torn())
        assert bench.told(Stopped)[-1].confirmed
        assert controller.state.latched is None
        assert controller.state.unsettled == ()
        again = await bench.connect()
        assert (await again.sample()).state == "held"
        assert bench.events, "the journal is whole"


class TornAtTheEnd(Quiet):
    """A display that fails once the device is safe."""

    def say(self, text: str) -> None:
        super().say(text)
        if text.startswith("safe state confirmed"):
            raise BrokenPipeError("the terminal is gone")


@pytest.mark.requirement("SR-33")
@pytest.mark.fault("F79")
async def test_a_view_that_fails_when_the_device_is_safe_makes_no_other_end_of_its_run() -> None:
    async with road("pump") as bench:
        controller, display = await bench.connect(), TornAtTheEnd()
        await run(controller, display)
        assert display.said[-1].startswith("safe state confirmed")
        assert bench.told(Stopped)[-1].confirmed


@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F95")
async def test_a_pause_ends_with_the_line_and_a_later_host_hears_of_it() -> None:
    async with road("pump") as bench:
        controller, display = await bench.connect(), Quiet()

        async def pause_then_unplug() -> None:
            await asyncio.sleep(30)
            until = Milliseconds(controller.now().wall + 10 * MINUTE)
            await controller.gate.tell(Paused(controller.now(), "technician", until))
            await asyncio.sleep(5)
            assert controller.state.pause is not None
            bench.runner.inject("unplug")

        meddling = asyncio.create_task(pause_then_unplug())
        with pytest.raises((NeuraxisError, BaseExceptionGroup)):
            await run(controller, display)
        await meddling
        assert controller.state.pause is None
        assert ("link-lost", "LOW") in bench.codes
        bench.heal()
        bench.alarms.clear()
        again = await bench.connect()
        assert "link-lost" in [one.code for one in bench.alarms]
        assert again.state.pause is None


@pytest.mark.requirement("SR-56")
@pytest.mark.requirement("SR-62")
async def test_going_on_without_a_journal_is_no_delivery_without_intent() -> None:
    async with road("pump") as bench, watched(bench) as (controller, watch):
        assert isinstance(controller, PumpController)
        await for_a_while(watch, 3)
        bench.disk.broken = True
        with suppress(NeuraxisError):
            await bolus(controller)
        assert controller.state.latched is not None
        await apply(controller, program_pump())
        await for_a_while(watch, 3)
        assert [one.code for one in bench.alarms] == ["journal-latched"]
        assert watch.stopped_for is None
        bench.disk.broken = False
