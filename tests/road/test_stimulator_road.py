"""A clinician's file on its way to a stimulator and through it, witnessed by its truth."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from road_bench import (
    MINUTE,
    PATIENT,
    MemoryAnchor,
    Operation,
    Road,
    SlowDisk,
    apply,
    current,
    failure,
    flowing,
    kept_alive,
    matrix,
    peak,
    program_stimulator,
    programs,
    rise,
    road,
    rules,
    start,
    survived,
)

from device_profiles.errors import DeviceFault, NeuraxisError, Refused, Uncertain
from device_profiles.quantities import MicroAmps
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import LowerAmplitude, Measure, SetAmplitude, Start
from firmware_bridge.protocol.messages import AskOutcome, Commit, Message, Read, Stage, Stop
from firmware_bridge.simulator.faults import PlannedFault
from safety.commands import Ask, StartStimulation
from safety.events import Connected, Intended, Lowered, Opened, Stopped
from safety.journal import Journal, parse
from safety.outputs import Stimulation

AMPLITUDE, CEILING, RAMP_MS = 4_200, 6_000, 3_000
LEASE_MS = 2_000


def therapy_current(bench: Road, contact: str = "E3") -> list[tuple[int, int]]:
    """Times and currents of a contact, the test pulses of measurements left out."""
    return current([line for line in bench.truth.lines if line["rate_mHz"] != 500_000], contact)


# --- the whole road ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-22")
@pytest.mark.requirement("SR-50")
@pytest.mark.requirement("SR-31")
async def test_a_file_is_applied_with_the_output_off_and_started_on_its_slope() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        plan = await controller.plan(program_stimulator(), PATIENT)
        assert (plan.verdict, plan.old, plan.new) == ("accepted", (), programs())
        sent = len(bench.link.written)
        assert bench.link.count(Stage) == bench.link.count(Commit) == 0
        result = await controller.apply(program_stimulator(), PATIENT, plan.digest)
        assert (result.outcome, result.settled_by_asking) == ("delivered", False)
        assert len(bench.link.written) > sent
        await rise(60)
        assert bench.truth.lines == []
        assert controller.programs_in(await controller.read_back()) == programs()

        await controller.measure()
        began = bench.device.t_ms
        await controller.start(controller.program_named("walking"))
        async with kept_alive(controller):
            await rise(10)
        for time, amplitude in therapy_current(bench):
            if time < began:
                continue
            assert -amplitude * RAMP_MS <= AMPLITUDE * (time - began)
            assert -amplitude <= AMPLITUDE <= CEILING
        assert flowing(bench.truth.lines) == {"E3": -4_200, "E4": 2_520, "E5": 1_680}
        assert (await controller.sample()).state == "on"

        stopped = bench.device.t_ms
        assert (await controller.stop("policy")).safe
        assert flowing(bench.truth.lines) == {}
        assert bench.device.t_ms - stopped <= 1_000
        await rise(600)
        assert flowing(bench.truth.lines) == {}
        await controller.close()
        assert bench.intents() == {1_001: "delivered", 1_002: "delivered", 1_003: "delivered"}
        assert bench.alarms == []


async def test_a_cycle_pauses_and_rises_again_and_never_exceeds_its_amplitude() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        async with kept_alive(controller):
            await rise(5 * 60)
        course = therapy_current(bench)
        assert sum(amplitude == -AMPLITUDE for _, amplitude in course) == 3
        assert min(amplitude for _, amplitude in course) == -AMPLITUDE
        for (_, before), (_, after) in pairwise(course):
            assert before - after <= 100  # up only ever by one step


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F24")
@pytest.mark.fault("F66")
async def test_only_the_plan_that_was_shown_can_be_applied_and_only_for_ten_minutes() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        plan = await controller.plan(program_stimulator(), PATIENT)
        other = program_stimulator(programs()[0])
        for command, digest in ((other, plan.digest), (program_stimulator(), "0" * 24 + "-1")):
            assert isinstance(await failure(controller.apply(command, PATIENT, digest)), Refused)
        await rise(10 * 60 + 1)
        late = await failure(controller.apply(program_stimulator(), PATIENT, plan.digest))
        assert "minutes ago" in str(late)
        assert bench.link.count(Stage) == 0
        assert bench.intents() == {}


@pytest.mark.requirement("SR-41")
async def test_a_program_that_safety_refuses_never_reaches_the_line() -> None:
    program = programs()[0]
    (area,) = program.areas
    harmful = replace(
        program, areas=(replace(area, amplitude=MicroAmps(25_500), ceiling=MicroAmps(25_500)),)
    )
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        error = await failure(apply(controller, program_stimulator(harmful)))
        assert rules(error)
        assert bench.link.count(Stage) == bench.link.count(Commit) == 0
        assert bench.told(Intended) == []


# --- host loss and lease -------------------------------------------------------------------------


@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-53")
@pytest.mark.requirement("SR-31")
@pytest.mark.parametrize("alive_s", [0.0, 0.3, 1.0, 2.5, 7.0])
async def test_a_host_that_dies_leaves_zero_within_the_lease_and_a_second(alive_s: float) -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        async with kept_alive(controller):
            await rise(alive_s)
        died = bench.device.t_ms
        await bench.die()
        await rise(LEASE_MS / 1_000 + 1)
        assert flowing(bench.truth.lines) == {}
        last, zero = therapy_current(bench)[-1]
        assert zero == 0
        assert last <= died + LEASE_MS + 1_000
        assert peak(bench.truth.lines) <= AMPLITUDE
        # The next host finds it off, and may go on without a detour.
        controller = await bench.stimulator()
        assert controller.state.running is None
        await start(controller)
        await rise(1)
        assert flowing(bench.truth.lines)


@pytest.mark.requirement("SR-53")
@pytest.mark.fault("F65")
async def test_a_host_that_hangs_loses_its_output_and_is_told_so() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        await rise(4)
        assert flowing(bench.truth.lines) == {}
        with pytest.raises(DeviceFault, match="lease"):
            await controller.keep_alive()
        assert "lease-ended" in (await controller.sample()).alarms


async def test_a_host_that_comes_back_within_the_lease_can_still_stop_and_apply() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        await rise(1)
        await bench.die()
        controller = await bench.stimulator()
        assert controller.state.running is not None
        assert (await apply(controller)).outcome == "delivered"
        await start(controller)
        await rise(1)
        assert flowing(bench.truth.lines)


# --- amplitude -----------------------------------------------------------------------------------


async def on(bench: Road, name: str = "walking") -> StimulatorController:
    """A stimulator that has run for a second and a half of its lease."""
    controller = await bench.stimulator()
    await apply(controller)
    await start(controller, name)
    await rise(1.5)
    return controller


@pytest.mark.requirement("SR-40")
@pytest.mark.requirement("SR-45")
@pytest.mark.fault("F1")
@pytest.mark.fault("F6")
@pytest.mark.fault("F11")
async def test_up_is_judged_and_never_over_the_patients_ceiling() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await controller.set_amplitude(None, MicroAmps(CEILING))
            await rise(10)
            assert peak(bench.truth.lines) == CEILING
            for wanted in (CEILING + 100, 25_500, 0xFFFF_FFFF, 1 << 40):
                error = await failure(controller.set_amplitude(None, MicroAmps(wanted)))
                assert error is not None, wanted
            await rise(10)
        assert peak(bench.truth.lines) == CEILING
        assert bench.link.count(SetAmplitude) == 1


@pytest.mark.requirement("SR-40")
@pytest.mark.fault("F10")
async def test_an_amplitude_between_two_steps_is_refused_on_the_way_up() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        error = await failure(controller.set_amplitude(None, MicroAmps(CEILING - 50)))
        assert "SR-40" in rules(error)
        assert bench.link.count(SetAmplitude) == 0


@pytest.mark.fault("F2")
async def test_a_negative_amplitude_is_refused_in_words() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        assert await failure(controller.set_amplitude(None, MicroAmps(-100))) is not None
        assert bench.link.count(LowerAmplitude) == 0


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F71")
async def test_down_is_never_refused_even_with_the_journal_latched() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            bench.disk.broken = True
            assert "SR-56" in rules(await failure(controller.set_amplitude(None, MicroAmps(5_000))))
            assert ("journal-latched", "MEDIUM") in bench.codes
            await controller.set_amplitude(None, MicroAmps(1_000))
            await rise(1)
            assert flowing(bench.truth.lines)["E3"] == -1_000
            assert "SR-56" in rules(await failure(controller.set_amplitude(None, MicroAmps(1_100))))
            await controller.set_amplitude(None, MicroAmps(0))
            await rise(1)
            assert flowing(bench.truth.lines) == {}
        assert (await controller.stop("hold")).safe
        assert bench.link.count(SetAmplitude) == 0
        assert bench.link.count(LowerAmplitude) == 2


@pytest.mark.parametrize("fault", ["drop_request", "drop_reply", "corrupt_reply", "delay_reply"])
async def test_down_is_repeated_until_it_is_answered(fault: str) -> None:
    async with road("stimulator", [PlannedFault(fault, request="lower", count=1)]) as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await controller.set_amplitude(None, MicroAmps(1_000))
            await rise(1)
            assert flowing(bench.truth.lines)["E3"] == -1_000
        assert bench.link.count(LowerAmplitude) == 2
        assert bench.told(Lowered)[-1].amplitudes == (1_000,)


@pytest.mark.requirement("SR-50")
async def test_down_and_up_again_keep_the_slope() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            await controller.set_amplitude(None, MicroAmps(1_000))
            await rise(2)
            began = bench.device.t_ms
            await controller.set_amplitude(None, MicroAmps(4_200))
            await rise(5)
        for time, amplitude in therapy_current(bench):
            if time > began:
                assert (-amplitude - 1_000) * RAMP_MS <= AMPLITUDE * (time - began)
        assert peak(bench.truth.lines) == AMPLITUDE


async def test_amplitude_of_an_output_that_is_off_or_of_an_area_that_is_not_is_refused() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        assert isinstance(await failure(controller.set_amplitude(None, MicroAmps(100))), Refused)
        await start(controller)
        assert await failure(controller.set_amplitude(2, MicroAmps(100))) is not None
        assert bench.link.count(SetAmplitude) == bench.link.count(LowerAmplitude) == 0


# --- switch --------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-43")
@pytest.mark.requirement("SR-44")
async def test_switching_passes_through_zero() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            mark = len(bench.truth.lines)
            await controller.switch("night")
            assert not any(line["pulse_width_us"] == 1_000 for line in bench.truth.lines[:mark])
            await rise(6)
        lines = bench.truth.lines
        first = next(i for i, line in enumerate(lines) if line["pulse_width_us"] == 1_000)
        assert flowing(lines[:first]) == {}
        assert peak(lines[first:]) == 600
        assert flowing(lines) == {"E3": -600, "E4": 600}


async def test_switching_to_what_is_not_there_or_while_off_changes_nothing() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        assert isinstance(await failure(controller.switch("night")), Refused)
        await start(controller)
        error = await failure(controller.switch("jogging"))
        assert "it holds: walking, night" in str(error)
        await rise(1)
        assert flowing(bench.truth.lines)


async def test_what_was_stopped_and_started_again_can_be_switched() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        await controller.stop("hold")
        await start(controller)
        assert (await controller.switch("night")).outcome == "delivered"


# --- impedance -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-47")
@pytest.mark.parametrize("why", ["never measured", "too old", "open", "short", "reconnected"])
async def test_a_start_needs_fresh_and_whole_contacts(why: str) -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        if why in ("open", "short"):
            bench.runner.inject(f"{why}_contact", contact=4)
        if why != "never measured":
            await controller.measure()
        if why == "too old":
            await rise(5 * MINUTE / 1_000 + 1)
        if why == "reconnected":
            await bench.die()
            controller = await bench.stimulator()
        program = controller.program_named("walking")
        assert "SR-47" in rules(await failure(controller.start(program)))
        assert bench.link.count(Start) == 0
        bench.runner.inject("heal")
        await controller.measure()
        assert (await controller.start(program)).outcome == "delivered"


@pytest.mark.requirement("SR-47")
async def test_a_measurement_shows_in_the_truth_as_what_was_judged_and_only_when_off() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        assert len(await controller.measure()) == 16
        assert {abs(int(str(line["amplitude_uA"]))) for line in bench.truth.lines} == {0, 100}
        await controller.start(controller.program_named("walking"))
        assert "SR-45" in rules(await failure(controller.measure()))


# --- read back -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F52")
async def test_a_program_that_reads_back_otherwise_is_a_device_fault_and_nothing_starts() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        plan = await controller.plan(program_stimulator(), PATIENT)
        bench.runner.inject("read_back_differs")  # nothing to alter before the commit
        error = await failure(controller.apply(program_stimulator(), PATIENT, plan.digest))
        assert isinstance(error, DeviceFault)
        assert "differs" in str(error)
        assert ("program-differs", "HIGH") in bench.codes
        assert controller.state.programs == ()
        assert controller.state.unsettled == ()
        await controller.measure()
        # Neither by name nor by a program that somebody kept in hand.
        assert isinstance(await failure(_begin(controller)), Refused)
        stimulation = Stimulation(programs()[0], (MicroAmps(4_200),))
        command = StartStimulation(stimulation, controller.profile)
        assert "SR-22" in rules(await failure(controller.carry_out(command, PATIENT)))
        assert bench.link.count(Start) == 0
        # Also for the next host.
        await bench.die()
        controller = await bench.stimulator()
        assert controller.state.programs == ()
        # The way out.
        assert (await apply(controller)).outcome == "delivered"
        assert (await start(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-22")
@pytest.mark.fault("F52")
@pytest.mark.fault("F118")
async def test_a_device_that_holds_another_program_on_connecting_starts_nothing() -> None:
    async with road("stimulator") as bench:
        await apply(await bench.stimulator())
        bench.runner.inject("read_back_differs")
        controller = await bench.stimulator()
        assert ("program-differs", "HIGH") in bench.codes
        assert controller.state.programs == ()
        assert (await apply(controller)).outcome == "delivered"


async def test_a_program_that_cannot_be_read_is_replaced_by_applying() -> None:
    async with road("stimulator") as bench:
        await apply(await bench.stimulator())
        bench.device.programs[0] += b"\x00"
        controller = await bench.stimulator()
        assert controller.state.programs == ()
        assert await failure(apply(controller)) is None


@pytest.mark.requirement("SR-22")
async def test_a_line_that_fails_while_a_wrong_program_is_looked_at_again_leaves_a_doubt() -> None:
    """The read back differs, and then the device falls silent: nobody knows, so UNCERTAIN."""
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        plan = await controller.plan(program_stimulator(), PATIENT)
        bench.runner.inject("read_back_differs")
        link, slots = bench.link, controller.profile.programs_max

        def after_the_proof(request: Message) -> bool:
            kinds = [type(one) for one in link.requests]
            proofs = kinds[kinds.index(Commit) :].count(Read) if Commit in kinds else 0
            return isinstance(request, Read) and proofs > slots

        link.swallow = after_the_proof
        error = await failure(controller.apply(program_stimulator(), PATIENT, plan.digest))
        assert isinstance(error, DeviceFault | Uncertain)
        assert controller.state.programs == ()
        assert {"program-differs", "uncertain"} & {code for code, _ in bench.codes}


# --- a device that restarts ----------------------------------------------------------------------


@pytest.mark.requirement("SR-27")
@pytest.mark.fault("F51")
async def test_a_device_that_restarts_is_off_and_has_to_be_met_again() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        bench.runner.inject("reset")
        assert flowing(bench.truth.lines) == {}
        with pytest.raises(DeviceFault, match="it has restarted"):
            await controller.keep_alive()
        assert isinstance(await failure(apply(controller)), DeviceFault)
        assert (await controller.stop("hold")).safe
        controller = await bench.stimulator()
        assert controller.state.running is None
        # The host that sees it meets it anew at once; the next one does so on connecting.
        assert [event.boot for event in bench.told(Connected)] == [1, 2, 2]
        await start(controller)
        await rise(1)
        assert flowing(bench.truth.lines)


@pytest.mark.parametrize("how", ["the lease ended", "it restarted after the start"])
async def test_an_output_that_ended_by_itself_does_not_bar_the_next_apply(how: str) -> None:
    faults = [PlannedFault("reset", request="start", count=1)] if "restarted" in how else []
    async with road("stimulator", faults) as bench:
        controller = await on(bench)
        await rise(5)
        assert not (await controller.sample()).delivering
        assert await failure(apply(controller)) is None


@pytest.mark.requirement("SR-44")
async def test_a_second_apply_while_running_goes_through_zero_first() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            assert (await apply(controller)).outcome == "delivered"
            assert flowing(bench.truth.lines) == {}
            kinds = [type(request) for request in bench.link.requests]
            assert kinds.index(Stop) < len(kinds) - kinds[::-1].index(Commit)
            await rise(3)
            assert flowing(bench.truth.lines) == {}
            assert (await controller.sample()).state == "off"
        assert bench.device.done("commit") == 2


async def _measures_long(bench: Road) -> StimulatorController:
    """One whose measurement takes longer than a reply is waited for."""
    controller = await bench.stimulator()
    await apply(controller)
    long = replace(controller.profile.impedance, test_pulses=20)
    controller.profile = replace(controller.profile, impedance=long)
    return controller


@pytest.mark.requirement("SR-45")
async def test_a_measurement_that_takes_longer_than_a_reply_may_is_waited_for() -> None:
    async with road("stimulator") as bench:
        controller = await _measures_long(bench)
        began = bench.device.t_ms
        ohms = await controller.measure()
        assert bench.device.t_ms - began > 600
        assert len(ohms) == controller.profile.contacts
        assert bench.link.count(Measure) == 1
        assert bench.link.count(AskOutcome) > 1


@pytest.mark.requirement("SR-27")
async def test_a_measurement_that_a_restart_cut_short_is_told_as_such() -> None:
    async with road("stimulator") as bench:
        controller = await _measures_long(bench)
        measuring = asyncio.ensure_future(failure(controller.measure()))
        await rise(0.8)
        bench.runner.inject("reset")
        error = await measuring
        assert isinstance(error, DeviceFault)
        assert "it has restarted" in str(error)


# --- stop means stop -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_start_that_waits_for_the_disk_is_not_sent_after_a_stop() -> None:
    async with road("stimulator") as bench:
        bench.clock = SlowDisk(bench.clock, 0.05)
        controller = await bench.stimulator()
        await apply(controller)
        await controller.measure()
        starting = asyncio.ensure_future(failure(_begin(controller)))
        await rise(0.01)
        assert bench.link.count(Start) == 0
        assert (await controller.stop("hold")).safe
        error = await starting
        await rise(1)
        assert flowing(bench.truth.lines) == {}
        assert isinstance(error, NeuraxisError)


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_raise_that_waits_for_the_disk_is_not_sent_after_a_lowering() -> None:
    async with road("stimulator") as bench:
        bench.clock = SlowDisk(bench.clock, 0.05)
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            raising = asyncio.ensure_future(
                failure(controller.set_amplitude(None, MicroAmps(5_500)))
            )
            await rise(0.01)
            await controller.set_amplitude(None, MicroAmps(1_000))
            assert isinstance(await raising, Refused)
            await rise(2)
            assert bench.link.count(SetAmplitude) == 0
            assert flowing(bench.truth.lines)["E3"] == -1_000


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_raise_asked_while_a_lowering_is_unanswered_follows_it_everywhere() -> None:
    lost = [PlannedFault("drop_reply", request="lower", count=count) for count in (1, 2, 3)]
    async with road("stimulator", lost) as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            falling = asyncio.ensure_future(controller.set_amplitude(None, MicroAmps(1_000)))
            await asyncio.sleep(0)
            await controller.set_amplitude(None, MicroAmps(3_000))
            await falling
            await rise(3)
            kinds = [type(one) for one in bench.link.requests]
            assert kinds.index(SetAmplitude) > len(kinds) - 1 - kinds[::-1].index(LowerAmplitude)
            assert flowing(bench.truth.lines)["E3"] == -3_000
            assert controller.state.running is not None
            assert controller.state.running.amplitudes == (3_000,)


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_lowering_stands_behind_a_raise_that_left_before_it() -> None:
    lost = PlannedFault("drop_reply", request="amplitude", count=1)
    async with road("stimulator", [lost]) as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            written = asyncio.Event()

            def note(request: Message) -> None:
                if isinstance(request, SetAmplitude):
                    written.set()

            bench.link.after_write = note
            raising = asyncio.ensure_future(
                failure(controller.set_amplitude(None, MicroAmps(5_500)))
            )
            await written.wait()
            await controller.set_amplitude(None, MicroAmps(1_000))
            await raising
            await rise(2)
            assert flowing(bench.truth.lines)["E3"] == -1_000
            assert controller.state.running is not None
            assert controller.state.running.amplitudes == (1_000,)


@pytest.mark.requirement("SR-32")
async def test_nothing_rises_from_more_than_the_lowest_of_two_lowerings_under_way() -> None:
    lost = [PlannedFault("drop_reply", request="lower", count=count) for count in (2, 3)]
    async with road("stimulator", lost) as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            first = asyncio.ensure_future(controller.set_amplitude(None, MicroAmps(2_000)))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(controller.set_amplitude(None, MicroAmps(500)))
            await first
            assert not second.done()
            await controller.set_amplitude(None, MicroAmps(1_500))
            await second
            await rise(3)
            assert bench.link.count(SetAmplitude) == 1
            assert flowing(bench.truth.lines)["E3"] == -1_500


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
async def test_a_stop_in_the_middle_of_a_switch_is_the_last_word() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            await rise(3)
            switching = asyncio.ensure_future(failure(controller.switch("night")))
            await rise(0.01)
            await failure(controller.stop("hold"))
            await switching
            await rise(3)
            assert flowing(bench.truth.lines) == {}


@pytest.mark.requirement("SR-32")
async def test_a_stop_while_a_start_hangs_leaves_nothing_running_in_the_books() -> None:
    """Start and Stop are both on the line; the reply to the start comes after the stop."""
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await controller.measure()
        written = asyncio.Event()

        def note(request: Message) -> None:
            if isinstance(request, Start):
                written.set()

        bench.link.after_write = note
        starting = asyncio.ensure_future(failure(_begin(controller)))
        await written.wait()
        assert (await controller.stop("hold")).safe
        await starting
        assert flowing(bench.truth.lines) == {}
        assert not controller.session.is_live
        assert controller.state.running is None


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F87")
@pytest.mark.parametrize("fault", ["drop_request", "drop_reply", "corrupt_reply"])
async def test_a_stop_is_repeated_until_it_is_answered(fault: str) -> None:
    faults = [PlannedFault(fault, request="stop", count=count) for count in range(1, 6)]
    async with road("stimulator", faults) as bench:
        controller = await on(bench)
        assert (await controller.stop("hold")).safe
        assert bench.link.count(Stop) == 6
        assert flowing(bench.truth.lines) == {}
        assert [(one.depth, one.confirmed) for one in bench.told(Stopped)] == [("hold", True)]


@pytest.mark.requirement("SR-32")
@pytest.mark.requirement("SR-31")
@pytest.mark.fault("F87")
async def test_a_stop_that_nobody_answers_is_an_alarm_and_the_lease_does_the_rest() -> None:
    async with road("stimulator") as bench:
        controller = await on(bench)
        async with kept_alive(controller):
            bench.runner.inject("silence")
            error = await failure(controller.stop("hold"))
        assert "ramps to zero by itself" in str(error)
        assert ("stop-unconfirmed", "HIGH") in bench.codes
        assert bench.link.count(Stop) == 10
        assert not bench.told(Stopped)[-1].confirmed
        assert flowing(bench.truth.lines) == {}


# --- a host that restarts ------------------------------------------------------------------------


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F67")
async def test_a_host_that_dies_between_intent_and_send_settles_it_as_refused() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await controller.measure()
        stimulation = Stimulation(programs()[0], (MicroAmps(AMPLITUDE),))
        command = StartStimulation(stimulation, controller.profile)
        now = controller.now()
        await controller.gate.ask(Ask(now, 4_711, command, PATIENT, seen=now.fast))
        assert bench.intents()[4_711] == "open"
        await bench.die()
        controller = await bench.stimulator()
        assert bench.intents()[4_711] == "refused"
        assert bench.link.count(Start) == 0
        assert (await start(controller)).outcome == "delivered"


async def test_a_host_that_dies_during_its_very_first_visit_latches_nothing() -> None:
    async with road("stimulator") as bench:
        bench.anchor.head = None
        controller = await bench.stimulator()
        await bench.die()
        controller = await bench.stimulator()
        assert controller.state.latched is None


async def test_a_start_in_doubt_that_was_stopped_is_not_running_once_it_is_settled() -> None:
    async with road("stimulator", [PlannedFault("unplug", request="start", count=1)]) as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await controller.measure()
        await failure(_begin(controller))
        bench.heal()
        await rise(5)
        controller = await bench.stimulator()
        assert set(bench.intents().values()) == {"delivered"}
        assert not (await controller.sample()).delivering
        assert controller.state.running is None


# --- a journal that is not its own ---------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.fault("F86")
@pytest.mark.fault("F92")
@pytest.mark.parametrize("other", ["another device", "a real device"])
async def test_another_devices_journal_latches_and_stopping_still_works(other: str) -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        opened = bench.told(Opened)[0]
        foreign = replace(opened, serial="SCS-9999") if "another" in other else opened
        if other == "a real device":
            foreign = replace(foreign, simulated=False)
        await controller.close()
        bench.disk.data.clear()
        bench.anchor = MemoryAnchor()
        _written(bench, foreign)
        controller = await bench.stimulator()
        assert "the journal cannot be trusted" in str(controller.state.latched)
        assert ("journal-latched", "MEDIUM") in bench.codes
        assert "SR-56" in rules(await failure(apply(controller)))
        assert bench.link.count(Stage) == 0
        assert (await controller.stop("hold")).safe
        await controller.close()


def _written(bench: Road, *events: Opened) -> None:
    """Puts a journal of these events on the disk."""
    journal = Journal(bench.disk, bench.anchor, parse(b""), None)
    for event in events:
        journal.append(event)
    journal.settle()


# --- one lost frame anywhere ---------------------------------------------------------------------


async def _measure(controller: StimulatorController) -> None:
    await controller.measure()


async def _begin(controller: StimulatorController) -> None:
    await controller.start(controller.program_named("walking"))


async def _second(_: StimulatorController) -> None:
    await rise(1)


async def _more(controller: StimulatorController) -> None:
    await controller.set_amplitude(None, MicroAmps(4_500))


async def _less(controller: StimulatorController) -> None:
    await controller.set_amplitude(None, MicroAmps(500))


async def _switch(controller: StimulatorController) -> None:
    await controller.switch("night")


async def _stop(controller: StimulatorController) -> None:
    await controller.stop("hold")


ON = (apply, _measure, _begin, _second)
OPERATIONS = (
    Operation(
        "apply", (), apply, "read:1 read:-5 status:1 stage:1 stage:2 commit:1 read:-4 read:-1"
    ),
    Operation(
        "apply-again",
        ON,
        apply,
        "read:1 status:1 stop:1 status:-1 stage:1 stage:2 commit:1 read:-1",
    ),
    Operation("measure", (apply,), _measure, "status:1 measure:1 impedance:1"),
    Operation("start", (apply, _measure), _begin, "status:1 start:1"),
    Operation("more", ON, _more, "status:1 amplitude:1"),
    Operation("less", ON, _less, "lower:1"),
    Operation("switch", ON, _switch, "stop:1 status:1 status:-1 start:1"),
    Operation("stop", ON, _stop, "stop:1 status:1 status:-1"),
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
    async with survived("stimulator", operation, place, fault) as (bench, controller):
        assert peak(bench.truth.lines) <= (4_500 if operation.name == "more" else AMPLITUDE)
        assert flowing(bench.truth.lines) == {}
        assert (await apply(controller)).outcome == "delivered"
        assert fault == "reset" or controller.state.from_zero is None
        assert (await start(controller)).outcome == "delivered"
        await rise(1)
        assert flowing(bench.truth.lines)
        await controller.stop("hold")
        assert flowing(bench.truth.lines) == {}
        await controller.close()
