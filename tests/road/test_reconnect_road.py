"""A line that was lost, dialled again: when, how often, and who may answer (SR-26)."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from road_bench import (
    DOSE,
    HOUR,
    MINUTE,
    OVER,
    PATIENT,
    Road,
    failure,
    program_pump,
    rise,
    road,
)

from device_profiles.errors import LinkError, LinkLost, Refused, Uncertain
from device_profiles.quantities import Milliseconds
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.protocol.messages import Commit, Identify, Message
from firmware_bridge.reconnect import (
    DIALS_AN_HOUR,
    FIRST_WAIT,
    LONGEST_WAIT,
    Dialling,
    Ended,
    Reconnection,
    Reconnector,
    Waiting,
    after_loss,
    at_the_end_of,
)

WHY = LinkLost("it was unplugged")
NEVER = Milliseconds(10**12)

Decide = Callable[[LinkError, Dialling, Milliseconds, Milliseconds, Random], Waiting | Ended]


# --- what comes next -----------------------------------------------------------------------------


def dials_of(seed: int, decide: Decide = after_loss, lasting: int = 3 * HOUR) -> list[int]:
    """When a device that never answers is dialled."""
    state, now, random = Dialling(0, ()), 0, Random(seed)
    dials: list[int] = []
    while now < lasting:
        waiting = decide(WHY, state, Milliseconds(now), NEVER, random)
        assert isinstance(waiting, Waiting)
        now = waiting.until
        dials.append(now)
        state = at_the_end_of(waiting)
    return dials


def is_within_budget(dials: list[int]) -> bool:
    later = dials[DIALS_AN_HOUR:]
    return all(b - a >= HOUR for a, b in zip(dials, later, strict=False))


@pytest.mark.requirement("SR-26")
@given(st.integers(0, 2**32))
def test_each_wait_is_twice_as_long_at_random_and_never_above_a_minute(seed: int) -> None:
    waits = [b - a for a, b in itertools.pairwise([0, *dials_of(seed, lasting=20 * MINUTE)])]
    for attempt, wait in enumerate(waits):
        longest = min(LONGEST_WAIT, FIRST_WAIT << min(attempt, 16))
        assert longest // 2 <= wait <= longest


@pytest.mark.requirement("SR-26")
@given(st.integers(0, 2**32))
def test_a_device_that_never_answers_is_dialled_sixty_times_an_hour_at_most(seed: int) -> None:
    assert is_within_budget(dials_of(seed))


@pytest.mark.requirement("SR-26")
def test_hosts_that_lose_their_devices_together_do_not_dial_together() -> None:
    assert len({tuple(dials_of(seed, lasting=10 * MINUTE)) for seed in range(50)}) == 50


@pytest.mark.requirement("SR-26")
def test_patience_ends_before_a_wait_that_would_outlast_it() -> None:
    state = Dialling(3, ())
    assert after_loss(WHY, state, Milliseconds(0), Milliseconds(3_999), Random(1)) == Ended(WHY)
    waiting = after_loss(WHY, state, Milliseconds(0), Milliseconds(8_000), Random(1))
    assert isinstance(waiting, Waiting)
    assert waiting.attempt == 4


def without_budget(
    why: LinkError, state: Dialling, now: Milliseconds, until: Milliseconds, random: Random
) -> Waiting | Ended:
    """A wrong twin: every dial is forgotten at once."""
    return after_loss(why, replace(state, attempt=0, dials=()), now, until, random)


def test_a_wrong_twin_that_forgets_its_dials_is_found() -> None:
    assert not is_within_budget(dials_of(1, without_budget))


# --- on the road ---------------------------------------------------------------------------------


def reconnector(
    bench: Road,
    pump: PumpController,
    shown: list[Reconnection],
    patience: int = 10 * MINUTE,
) -> Reconnector:
    return Reconnector(pump, bench.new_link, Milliseconds(patience), Random(7), shown.append)


async def lost(bench: Road, pump: PumpController) -> LinkError:
    bench.runner.inject("unplug")
    await rise(1)
    assert pump.session.broken is not None
    return pump.session.broken


@pytest.mark.requirement("SR-26")
async def test_a_pump_that_is_plugged_in_again_is_met_again_and_goes_on_with_its_basal() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        command = program_pump()
        plan = await pump.plan(command, PATIENT)
        await pump.apply(command, PATIENT, plan.digest)
        commits = bench.device.names().count("commit")
        shown: list[Reconnection] = []
        why = await lost(bench, pump)
        bench.device.received.clear()
        dialler = reconnector(bench, pump, shown)
        asyncio.get_running_loop().call_later(30, bench.heal)
        await dialler.restore(why)
        assert isinstance(bench.device.received[0].message, Identify)
        assert pump.state.pump_program == command.program
        assert bench.device.names().count("commit") == 0
        assert commits == 1
        assert [type(one) for one in shown[:3]] == [Waiting, Dialling, Waiting]
        assert 30_000 <= pump.link_time() < 100_000
        await pump.bolus(DOSE, OVER)


@pytest.mark.requirement("SR-26")
async def test_patience_that_runs_out_raises_the_last_error_and_leaves_the_line_closed() -> None:
    async with road("pump") as bench:
        pump, shown = await bench.pump(), list[Reconnection]()
        why = await lost(bench, pump)
        with pytest.raises(LinkError):
            await reconnector(bench, pump, shown, 2 * MINUTE).restore(why)
        assert isinstance(shown[-1], Ended)
        assert sum(isinstance(one, Dialling) for one in shown) <= 7
        assert pump.session.broken is not None
        bench.heal()


@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-26")
async def test_another_pump_on_the_same_port_gets_only_the_question_who_it_is() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        why = await lost(bench, pump)
        bench.heal()
        bench.runner.inject("wrong_serial")
        bench.device.received.clear()
        with pytest.raises(Refused, match="SR-25"):
            await reconnector(bench, pump, []).restore(why)
        assert {type(one.message) for one in bench.device.received} == {Identify}
        assert pump.session.broken is not None


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-26")
async def test_a_bolus_that_was_on_its_way_when_the_line_went_is_settled_and_never_sent_again() -> (
    None
):
    async with road("pump") as bench:
        pump = await bench.pump()
        command = program_pump()
        plan = await pump.plan(command, PATIENT)
        await pump.apply(command, PATIENT, plan.digest)
        await rise(5 * 3_600)

        def unplug(request: Message) -> None:
            if isinstance(request, Bolus):
                bench.runner.inject("unplug")

        bench.link.after_write = unplug
        assert isinstance(await failure(pump.bolus(DOSE, OVER)), Uncertain)
        why = pump.session.broken
        assert why is not None
        bench.heal()
        await reconnector(bench, pump, []).restore(why)
        assert pump.state.unsettled == ()
        assert bench.device.done("bolus of") == 1
        assert sum(isinstance(one.message, Bolus) for one in bench.device.received) == 1


@pytest.mark.requirement("SR-27")
@pytest.mark.requirement("SR-26")
@pytest.mark.fault("F105")
async def test_a_pump_whose_program_changed_meanwhile_gets_no_bolus_until_one_is_applied() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        command = program_pump()
        plan = await pump.plan(command, PATIENT)
        await pump.apply(command, PATIENT, plan.digest)
        why = await lost(bench, pump)
        bench.heal()
        bench.runner.inject("battery_reset")
        await reconnector(bench, pump, []).restore(why)
        assert pump.state.pump_program is None
        assert isinstance(await failure(pump.bolus(DOSE, OVER)), Refused)
        assert not any(isinstance(one, Commit) for one in bench.link.requests)
