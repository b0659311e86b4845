"""A clinician's file on its way to a pump and through it, witnessed by its truth."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from road_bench import (
    BOLUS_NL,
    HOUR,
    OVER,
    MemoryAnchor,
    Operation,
    Road,
    apply,
    bolus,
    bolus_volume,
    failure,
    infusion,
    matrix,
    program_pump,
    rise,
    road,
    rules,
    survived,
)

from device_profiles.errors import DeviceFault, NeuraxisError, Refused, Uncertain
from device_profiles.notation import parse_concentration, parse_mass, parse_mass_rate
from device_profiles.quantities import Milliseconds, MinuteOfDay, NanoLitres
from device_profiles.therapy import BasalStep, Vial
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.wire import Bolus, PumpStatus
from firmware_bridge.protocol.messages import (
    AskOutcome,
    AskStatus,
    Commit,
    Open,
    OpenSealed,
    Read,
    Stage,
    Stop,
)
from firmware_bridge.simulator.faults import PlannedFault
from safety.commands import Ask, GiveBolus, ProgramPump
from safety.events import Intended, Opened, Settled, Stopped
from safety.journal import Journal, parse
from safety.outputs import BolusOutput

DAY_S, HOUR_S = 86_400, 3_600


async def status(controller: PumpController) -> PumpStatus:
    return await controller.session.query(AskStatus(), PumpStatus)


def volume(bench: Road) -> int:
    """nL that have left the pump, by its truth."""
    bench.runner.step()
    return int(bench.device.machine.firmware.body.delivered)


def tip_mass(bench: Road) -> int:
    """fg of morphine that have left the catheter's tip."""
    mass: dict[str, int] = bench.device.machine.firmware.body.tip_mass_fg
    return mass["morphine"]


def policy(name: str) -> ProgramPump:
    """The example with another drug's stop policy."""
    command = program_pump()
    return replace(command, program=replace(command.program, stop_policy=name))  # type: ignore[arg-type]


# --- the whole road ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-22")
async def test_a_file_is_applied_and_its_basal_flows_by_the_minute_of_the_local_day() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        plan = await controller.plan(program_pump(), "BENCH-012")
        assert (plan.verdict, plan.old) == ("accepted", ())
        assert bench.link.count(Stage) == bench.link.count(Commit) == 0
        result = await controller.apply(program_pump(), "BENCH-012", plan.digest)
        assert result.outcome == "delivered"
        assert controller.programs_in(await controller.read_back()) == (program_pump().program,)
        await rise(DAY_S)
        # Noon to 22:00 and 07:00 to noon at 240 uL/day, 22:00 to 07:00 at 180 uL/day.
        assert volume(bench) in range(217_500, 217_502)
        assert tip_mass(bench) // 10_000_000 in range(217_500, 217_502)
        await controller.close()
        assert bench.intents() == {1_001: "delivered"}
        assert bench.alarms == []


@pytest.mark.requirement("SR-33")
async def test_a_pump_goes_on_with_its_basal_when_its_host_dies() -> None:
    async with road("pump") as bench:
        await apply(await bench.pump())
        await bench.die()
        await rise(DAY_S)
        assert volume(bench) in range(217_500, 217_502)
        controller = await bench.pump()
        assert controller.state.pump_program == program_pump().program
        assert (await controller.sample()).delivering


@pytest.mark.requirement("SR-22")
async def test_a_bolus_gives_its_volume_once_on_top_of_the_basal() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        result = await bolus(controller)
        assert result.outcome == "delivered"
        await rise(OVER / 2_000)
        halfway = await controller.progress_of(result.intent_id)
        assert (halfway.state, halfway.delivered) == ("running", BOLUS_NL // 2)
        await rise(OVER / 1_000)
        done = await controller.progress_of(result.intent_id)
        assert (done.state, done.delivered) == ("executed", BOLUS_NL)
        assert bolus_volume(bench) in (BOLUS_NL, BOLUS_NL + 1)


@pytest.mark.fault("F12")
async def test_a_bolus_is_rounded_down_to_whole_nanolitres() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        dose = parse_mass("0.05 mg")
        await controller.bolus(type(dose)(dose + 9_999_999), OVER)
        assert [one.volume for one in bench.link.requests if isinstance(one, Bolus)] == [BOLUS_NL]


@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F91")
async def test_windows_fill_up_and_empty_again_and_the_truth_stays_below_them() -> None:
    """0.4 mg an hour: 0.1 mg of basal, 0.15 mg of the button, room for three of 0.05 mg."""
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        given = 0
        for _ in range(3):
            await bolus(controller)
            given += 1
            await rise(OVER / 1_000)
        error = await failure(bolus(controller))
        assert "SR-14" in rules(error)
        assert "hour" in str(error)
        assert bench.link.count(Bolus) == given
        await rise(HOUR_S - 10 * 60)
        assert "SR-14" in rules(await failure(bolus(controller)))
        await rise(HOUR_S)
        assert (await bolus(controller)).outcome == "delivered"
        await rise(OVER / 1_000)
        assert bolus_volume(bench) <= (given + 1) * BOLUS_NL + 1


LOCKOUT_S = 65
"""From a bolus to the next: a minute of the device's lockout and the time on the way."""


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F56")
@pytest.mark.fault("F58")
@pytest.mark.fault("F59")
async def test_windows_hold_over_restarts_of_the_host_and_over_its_wall_clock() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        for _ in range(3):
            await bolus(controller)
            await rise(OVER / 1_000)
            await controller.close()
            bench.clock.shift_wall(26 * HOUR)  # type: ignore[attr-defined]
            controller = await bench.pump()
            await rise(LOCKOUT_S)  # the time since the last entry counts as not passed
        assert "SR-14" in rules(await failure(bolus(controller)))


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F56")
@pytest.mark.fault("F58")
@pytest.mark.parametrize(
    ("lived", "wall", "opened"),
    [(True, 0, True), (True, -24 * HOUR, False), (False, 26 * HOUR, False)],
    ids=["both clocks agree", "the wall was set back", "only the wall says so"],
)
async def test_the_time_without_a_host_counts_only_as_far_as_two_clocks_prove_it(
    lived: bool, wall: int, opened: bool
) -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        for _ in range(3):
            await bolus(controller)
            await rise(OVER / 1_000)
        assert "SR-14" in rules(await failure(bolus(controller)))
        await bench.die()
        if lived:
            await rise(2 * HOUR_S)
        bench.clock.shift_wall(wall)  # type: ignore[attr-defined]
        controller = await bench.pump()
        await rise(LOCKOUT_S)
        error = await failure(bolus(controller))
        assert (error is None) == opened, error


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    ("dose", "over"), [("0.21 mg", 600_000), ("0.15 mg", 1_000), ("0 mg", 600_000), ("1 mg", 1)]
)
async def test_a_bolus_that_safety_refuses_never_reaches_the_line(dose: str, over: int) -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        assert rules(await failure(controller.bolus(parse_mass(dose), Milliseconds(over))))
        assert bench.link.count(Bolus) == 0


@pytest.mark.fault("F82")
async def test_a_bolus_while_one_runs_is_refused_and_the_first_goes_on() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await bolus(controller)
        assert rules(await failure(bolus(controller))) == {"SR-15"}
        assert bench.link.count(Bolus) == 1
        await rise(OVER / 1_000)
        assert bolus_volume(bench) in (BOLUS_NL, BOLUS_NL + 1)


@pytest.mark.requirement("SR-12")
@pytest.mark.fault("F27")
async def test_another_concentration_is_refused_while_the_old_one_is_in_the_tubing() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        strong = parse_concentration("20 mg/mL")
        therapy = infusion()
        (drug,) = therapy.drugs
        therapy = replace(
            therapy,
            drugs=(replace(drug, concentration=strong),),
            fill=replace(therapy.fill, vials=(Vial(drug.name, strong),)),
        )
        assert "SR-12" in rules(await failure(apply(controller, program_pump(therapy))))
        assert bench.device.done("commit") == 1


@pytest.mark.requirement("SR-12")
@pytest.mark.fault("F27")
async def test_another_concentration_is_refused_also_after_a_read_back_that_differed() -> None:
    async with road("pump") as bench:
        await apply(await bench.pump())
        bench.runner.inject("read_back_differs")
        controller = await bench.pump()
        assert controller.state.pump_program is None
        strong = parse_concentration("20 mg/mL")
        therapy = infusion()
        (drug,) = therapy.drugs
        therapy = replace(
            therapy,
            drugs=(replace(drug, concentration=strong),),
            fill=replace(therapy.fill, vials=(Vial(drug.name, strong),)),
        )
        assert "SR-12" in rules(await failure(apply(controller, program_pump(therapy))))


async def test_applying_again_keeps_the_pumps_own_count_of_what_is_left() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await rise(DAY_S)
        left = (await status(controller)).reservoir
        await apply(controller)
        assert (await status(controller)).reservoir == left < 18_000_000


async def test_less_basal_is_taken_and_flows() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        less = replace(
            infusion(), basal=(BasalStep(MinuteOfDay(0), parse_mass_rate("1.2 mg/day")),)
        )
        assert (await apply(controller, program_pump(less))).outcome == "delivered"
        assert (await status(controller)).flow == 120_000


# --- stop ----------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize(
    ("depth", "drug", "state", "flow"),
    [
        ("hold", "may-stop", "held", 240_000),
        ("hold", "hold-basal", "held", 240_000),
        ("hold", "never-stop", "held", 240_000),
        ("policy", "may-stop", "halted", 0),
        ("policy", "hold-basal", "held", 240_000),
        ("policy", "never-stop", "held", 240_000),
        ("flow", "may-stop", "halted", 0),
        ("flow", "hold-basal", "halted", 0),
        ("flow", "never-stop", "halted", 0),
    ],
)
async def test_each_depth_of_stop_ends_the_bolus_and_leaves_its_state(
    depth: Any, drug: str, state: str, flow: int
) -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, policy(drug))
        await bolus(controller)
        await rise(12)
        sample = await controller.stop(depth)
        assert (sample.state, sample.values["flow_nL_per_day"]) == (state, flow)
        given = volume(bench)
        await rise(HOUR_S)
        assert volume(bench) - given == pytest.approx(flow / 24, abs=2)
        assert [(one.depth, one.confirmed) for one in bench.told(Stopped)] == [(depth, True)]


@pytest.mark.requirement("SR-32")
async def test_hold_never_restarts_a_pump_that_stands_still() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await controller.stop("flow")
        given = volume(bench)
        for depth in ("hold", "policy", "hold"):
            assert (await controller.stop(depth)).state == "halted"
        await controller.close()
        controller = await bench.pump()
        await controller.make_safe("hold")
        await rise(DAY_S)
        assert volume(bench) == given
        # Only a person's plan does.
        await apply(controller)
        assert (await status(controller)).flow == 240_000


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F88")
async def test_a_stopped_pump_gives_no_bolus_and_no_press_until_it_is_applied_again() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await rise(5 * HOUR_S)
        assert bench.runner.press()
        await controller.stop("hold")
        given = bolus_volume(bench)
        assert not bench.runner.press()
        error = await failure(bolus(controller))
        assert error is not None
        await rise(HOUR_S)
        assert bolus_volume(bench) <= given + 1
        await apply(controller)
        assert (await bolus(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F87")
@pytest.mark.parametrize("fault", ["drop_request", "drop_reply", "delay_reply", "corrupt_reply"])
async def test_a_stop_whose_reply_is_lost_is_repeated_until_confirmed(fault: str) -> None:
    faults = [PlannedFault(fault, request="stop", count=count) for count in (1, 2, 3)]
    async with road("pump", faults) as bench:
        controller = await bench.pump()
        await apply(controller)
        await bolus(controller)
        assert (await controller.stop("hold")).safe
        assert bench.link.count(Stop) == 4
        assert bench.device.outcome(1_002) == "interrupted"


@pytest.mark.requirement("SR-32")
@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F87")
async def test_a_stop_on_a_silent_pump_is_uncertain_and_a_high_alarm_in_the_journal() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("silence")
        loop = asyncio.get_running_loop()
        began = loop.time()
        error = await failure(controller.stop("policy"))
        assert loop.time() - began == pytest.approx(5)
        assert isinstance(error, Uncertain)
        assert "goes on with its verified basal" in str(error)
        assert ("stop-unconfirmed", "HIGH") in bench.codes
        assert [(one.depth, one.confirmed) for one in bench.told(Stopped)] == [("policy", False)]
        assert any(event.kind == "raised" for event in bench.events)
        bench.heal()
        assert (await controller.stop("policy")).safe


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F87")
async def test_a_stop_that_the_pump_answers_but_does_not_obey_is_uncertain() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("free_flow")
        error = await failure(controller.stop("flow"))
        assert isinstance(error, Uncertain)
        assert "disconnect it by hand" in str(error)
        assert ("stop-unconfirmed", "HIGH") in bench.codes


async def test_a_pump_without_a_program_can_be_stopped() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        for depth in ("hold", "policy", "flow"):
            assert (await controller.stop(depth)).state == "empty-program"


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_stop_between_staging_and_commit_is_the_last_word() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        plan = await controller.plan(program_pump(), "BENCH-012")
        stops: list[asyncio.Future[Any]] = []

        def stop(request: object) -> None:
            if isinstance(request, Stage):
                stops.append(asyncio.ensure_future(controller.stop("hold")))

        bench.link.after_write = stop
        await failure(controller.apply(program_pump(), "BENCH-012", plan.digest))
        assert (await stops[0]).safe
        await rise(1)
        assert (await controller.sample()).state == "held"


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_stop_while_an_apply_reads_the_device_is_the_last_word() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        plan = await controller.plan(program_pump(), "BENCH-012")
        stops: list[asyncio.Future[Any]] = []

        def stop(request: object) -> None:
            if isinstance(request, Read) and not stops:
                stops.append(asyncio.ensure_future(failure(controller.stop("flow"))))

        bench.link.after_write = stop
        await failure(controller.apply(program_pump(), "BENCH-012", plan.digest))
        await stops[0]
        await rise(1)
        assert (await controller.sample()).state == "halted"


# --- read back, restarts, doubt ------------------------------------------------------------------


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F52")
async def test_a_program_that_reads_back_otherwise_gets_no_bolus_until_applied_again() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        plan = await controller.plan(program_pump(), "BENCH-012")
        bench.runner.inject("read_back_differs")
        error = await failure(controller.apply(program_pump(), "BENCH-012", plan.digest))
        assert isinstance(error, DeviceFault)
        assert ("program-differs", "HIGH") in bench.codes
        assert controller.state.pump_program is None
        assert isinstance(await failure(bolus(controller)), Refused)
        command = GiveBolus(BolusOutput(NanoLitres(BOLUS_NL), OVER), controller.profile)
        assert "SR-22" in rules(await failure(controller.carry_out(command, "BENCH-012")))
        assert bench.link.count(Bolus) == 0
        await bench.die()
        controller = await bench.pump()
        assert isinstance(await failure(bolus(controller)), Refused)
        # The way out. What the unknown program gave in the last day counts as a full window.
        assert (await apply(controller)).outcome == "delivered"
        assert "SR-14" in rules(await failure(bolus(controller)))
        await rise(DAY_S)
        assert (await bolus(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F52")
async def test_a_bolus_reads_the_program_back_first() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("read_back_differs")
        error = await failure(bolus(controller))
        assert isinstance(error, Refused)
        assert "SR-22" in str(error)
        assert bench.link.count(Bolus) == 0


async def test_a_program_that_cannot_be_read_is_replaced_by_applying() -> None:
    async with road("pump") as bench:
        await apply(await bench.pump())
        bench.device.programs[0] += b"\x00"
        controller = await bench.pump()
        assert await failure(apply(controller)) is None


@pytest.mark.requirement("SR-27")
@pytest.mark.fault("F51")
@pytest.mark.fault("F88")
async def test_a_restart_ends_a_bolus_for_good_and_the_basal_goes_on() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await bolus(controller)
        await rise(OVER / 2_000)
        bench.runner.inject("reset")
        assert isinstance(await failure(bolus(controller)), DeviceFault)
        controller = await bench.pump()
        found = await controller.progress_of(1_002)
        assert (found.state, found.delivered) == ("interrupted", BOLUS_NL // 2)
        await rise(HOUR_S)
        assert bolus_volume(bench) in (BOLUS_NL // 2, BOLUS_NL // 2 + 1)
        assert (await status(controller)).flow == 240_000
        assert (await bolus(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F67")
async def test_a_host_that_dies_between_intent_and_send_settles_it_as_refused() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        command = GiveBolus(BolusOutput(NanoLitres(BOLUS_NL), OVER), controller.profile)
        now = controller.now()
        await controller.gate.ask(Ask(now, 4_711, command, "BENCH-012", seen=now.fast))
        assert "SR-23" in rules(await failure(bolus(controller)))
        await bench.die()
        controller = await bench.pump()
        assert bench.intents()[4_711] == "refused"
        assert controller.state.reservations == ()
        assert bench.device.frames_of(4_711) == 0
        assert (await bolus(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-23")
@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F30")
@pytest.mark.fault("F31")
async def test_a_bolus_in_doubt_blocks_therapy_counts_in_full_and_does_not_stop_the_basal() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link
        link.swallow = lambda request: isinstance(request, Bolus | Open | OpenSealed)
        error = await failure(bolus(controller))
        assert isinstance(error, Uncertain)
        assert "counts as delivered" in str(error)
        link.swallow = lambda _: False
        assert isinstance(await failure(bolus(controller)), NeuraxisError)
        assert [one.id for one in controller.state.unsettled] == [1_002]
        assert [one.most_of("morphine") for one in controller.state.reservations] == [
            parse_mass("0.05 mg")
        ]
        assert (await controller.sample()).delivering
        await rise(HOUR_S)
        assert bolus_volume(bench) <= 1
        await bench.pump()
        assert bench.intents()[1_002] == "refused"


# --- a journal that is not its own ---------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.fault("F86")
@pytest.mark.fault("F92")
@pytest.mark.parametrize("other", ["another device", "a real device"])
async def test_another_devices_journal_latches_and_stopping_still_works(other: str) -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        await controller.close()
        _rewritten(bench, other)
        entries = len(bench.events)
        controller = await bench.pump()
        assert "the journal cannot be trusted" in str(controller.state.latched)
        assert ("journal-latched", "MEDIUM") in bench.codes
        assert await failure(bolus(controller)) is not None
        assert bench.link.count(Bolus) == 0
        assert (await apply(controller)).outcome == "delivered", "its own program may go on"
        assert len(bench.events) == entries, "and a journal that is another's stays as it is"
        assert (await controller.stop("hold")).state == "held"
        await controller.close()


def _rewritten(bench: Road, other: str) -> None:
    """The journal as it would be had it begun with another device."""
    first, *rest = bench.events
    assert isinstance(first, Opened)
    if other == "another device":
        first = replace(first, serial="ITP-9999")
    else:
        first = replace(first, simulated=False)
    bench.disk.data.clear()
    bench.anchor = MemoryAnchor()
    journal = Journal(bench.disk, bench.anchor, parse(b""), None)
    for event in (first, *rest):
        journal.append(event)
    journal.settle()


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F47")
async def test_another_pumps_doubt_is_not_settled_by_this_pumps_ignorance() -> None:
    async with road("pump") as first, road("pump", serial="ITP-0002") as second:
        controller = await first.pump()
        await apply(controller)
        link = first.link
        link.swallow = lambda request: isinstance(request, Open | AskOutcome)
        link.before_write = lambda request: _losing_the_reply(first, request)
        assert isinstance(await failure(bolus(controller)), Uncertain)
        await controller.close()
        before = bytes(first.disk.data)
        second.disk, second.anchor = first.disk, first.anchor  # as `--journal PATH` may
        other = await second.pump()
        assert other.state.latched is not None
        assert (await other.stop("hold")).safe
        await other.close()
        assert [one for one in first.told(Settled) if one.outcome == "refused"] == []
        assert bytes(first.disk.data) == before
        controller = await first.pump()
        assert first.intents()[1_002] == "delivered"


def _losing_the_reply(bench: Road, request: object) -> None:
    if isinstance(request, Bolus):
        bench.runner.inject("drop_reply")


# --- one lost frame anywhere ---------------------------------------------------------------------


async def _stop(controller: PumpController) -> None:
    await controller.stop("hold")


async def _second(_: PumpController) -> None:
    await rise(1)


OPERATIONS = (
    Operation("apply", (), apply, "read:1 status:1 stage:1 commit:1 read:-1"),
    Operation("apply-again", (apply, _second), apply, "read:1 status:1 stage:1 commit:1 read:-1"),
    Operation("bolus", (apply,), bolus, "read:1 status:1 bolus:1"),
    Operation("stop", (apply, bolus, _second), _stop, "stop:1 status:1"),
)


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-23")
@pytest.mark.fault("F30")
@pytest.mark.fault("F31")
@pytest.mark.fault("F33")
@pytest.mark.fault("F46")
@pytest.mark.fault("F51")
@pytest.mark.parametrize(("operation", "place", "fault"), matrix(*OPERATIONS))
async def test_no_fault_of_the_line_acts_twice_lies_or_ends_the_therapy_for_good(
    operation: Operation, place: str, fault: str
) -> None:
    async with survived("pump", operation, place, fault) as (bench, controller):
        await rise(OVER / 1_000)
        given = bench.device.done("bolus of")
        if bench.truth.lines:
            assert 0 <= bolus_volume(bench) <= given * BOLUS_NL + 1
        await controller.stop("hold")
        assert (await apply(controller)).outcome == "delivered"
        before = bolus_volume(bench)
        assert (await bolus(controller)).outcome == "delivered"
        await rise(OVER / 1_000)
        assert bolus_volume(bench) - before in range(BOLUS_NL - 1, BOLUS_NL + 2)
        boluses = [one for one in bench.told(Intended) if one.command == "give-bolus"]
        assert given + 1 <= len(boluses)
        await controller.close()
