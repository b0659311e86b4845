"""Attacks on the whole road, witnessed by the device's own truth: what got through.

Each was a counter-example when it was written.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from road_bench import (
    DOSE,
    HOUR,
    MINUTE,
    NOON_MS,
    OVER,
    PATIENT,
    MemoryAnchor,
    MemoryDisk,
    Road,
    WatchedDevice,
    failure,
    flowing,
    infusion,
    kept_alive,
    program_pump,
    program_stimulator,
    programs,
    rise,
    road,
)
from road_bench import apply as apply_stimulation
from road_bench import both_lines as both_lines

from device_profiles.notation import (
    parse_concentration,
    parse_duration,
    parse_mass,
    parse_mass_rate,
)
from device_profiles.quantities import (
    FemtogramsPerDay,
    MicroAmps,
    Milliseconds,
    NanoLitres,
    mass_of,
)
from device_profiles.therapy import BasalStep, DoseLimits, DrugInLine, InfusionTherapy
from firmware_bridge.clock import VirtualClock
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.firmware import PumpFirmware
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.wire import SetAmplitude
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.messages import AskStatus, Message, Open, OpenSealed
from firmware_bridge.protocol.messages import Refused as RefusedByDevice
from firmware_bridge.session import Result
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.truth import TruthInMemory
from safety.commands import Override, ProgramPump
from safety.events import Intended
from safety.outputs import BolusOutput

HOUR_S, DAY_S = 3_600, 86_400
DAY = 86_400_000
SECOND_FILL = Milliseconds(1_793_521_800_000 + 30 * DAY)
THIRD_FILL = Milliseconds(1_793_521_800_000 + 60 * DAY)
PER_HOUR, PER_DAY = parse_mass("0.4 mg"), parse_mass("4 mg")
"""The example's limits of morphine."""
LARGE = parse_mass("0.15 mg")
"""The most that the example's hour has room for: 0.1 mg are basal, 0.15 the button's."""
ACCURACY = 145_000
"""The profile's, ppm."""
SLOWLY = parse_duration("40 min")
ALONE = Override(("SR-06", "SR-18", "SR-19"), "clinician", "a test")


# --- files ---------------------------------------------------------------------------------------


def of_strength(strength: str) -> InfusionTherapy:
    """The example's dose in another strength of its drug."""
    (drug,) = infusion().drugs
    concentration = parse_concentration(strength)
    vials = tuple(replace(vial, concentration=concentration) for vial in infusion().fill.vials)
    return replace(
        infusion(),
        drugs=(replace(drug, concentration=concentration),),
        fill=replace(infusion().fill, vials=vials),
    )


def filled(
    therapy: InfusionTherapy,
    at: Milliseconds,
    withdrawn: int | None = None,
    line: str = "",
) -> InfusionTherapy:
    """A file of another fill; ``line``: the strength of morphine that it bridges from."""
    held = (DrugInLine("morphine", parse_concentration(line)),) if line else ()
    read = None if withdrawn is None else NanoLitres(withdrawn)
    fill = replace(therapy.fill, at_ms=at, withdrawn=read)
    return replace(therapy, fill=fill, bridge_from=held)


def unprimed(therapy: InfusionTherapy, catheter: int | None = None) -> InfusionTherapy:
    volume = therapy.catheter.volume if catheter is None else NanoLitres(catheter)
    return replace(therapy, catheter=replace(therapy.catheter, volume=volume, primed=False))


def without_button(therapy: InfusionTherapy) -> InfusionTherapy:
    return replace(therapy, patient_bolus=None)


def tightly(therapy: InfusionTherapy) -> InfusionTherapy:
    """With limits half as much again as the basal needs."""
    (drug,) = therapy.drugs
    masses = ("0.1 mg", "0.15 mg", "0.5 mg", "3.3 mg")
    limits = DoseLimits(*(parse_mass(one) for one in masses))
    return replace(without_button(therapy), drugs=(replace(drug, limits=limits),))


def baclofen(rate: str) -> InfusionTherapy:
    """One flow for the whole day; the shipped formulary lets it rise by 40 % at once."""
    (drug,) = infusion().drugs
    concentration = parse_concentration("500 mcg/mL")
    limits = DoseLimits(None, parse_mass("100 mcg"), parse_mass("400 mcg"), parse_mass("900 mcg"))
    own = replace(drug, name="baclofen", concentration=concentration, history=None, limits=limits)
    (vial,) = infusion().fill.vials
    vials = (replace(vial, drug="baclofen", concentration=concentration),)
    return replace(
        without_button(infusion()),
        drugs=(own,),
        fill=replace(infusion().fill, vials=vials),
        basal=(BasalStep(infusion().basal[0].start, parse_mass_rate(rate)),),
    )


# --- steps ---------------------------------------------------------------------------------------


async def apply(
    pump: PumpController, asked: InfusionTherapy | ProgramPump, reason: Override | None = None
) -> Result:
    command = asked if isinstance(asked, ProgramPump) else program_pump(asked)
    plan = await pump.plan(command, PATIENT)
    return await pump.apply(command, PATIENT, plan.digest, reason)


async def primed(pump: PumpController, over: Milliseconds = SLOWLY) -> None:
    """The one prime of the fill, as far as it is let."""
    _, prime = await pump.prime_of_fill(over)
    await failure(pump.prime(prime))


async def pressed(bench: Road) -> None:
    """The patient's bolus, from its start to its end."""
    assert firmware(bench).press()
    await rise(601)


async def large_bolus(pump: PumpController) -> None:
    """A bolus as far as it is let, and the time that it takes."""
    await failure(pump.bolus(LARGE, OVER))
    await rise(121)


def another_host(bench: Road) -> tuple[MemoryDisk, MemoryAnchor]:
    """From here on hosts keep another journal and know nothing of the one before, returned."""
    before = bench.disk, bench.anchor
    bench.disk, bench.anchor = MemoryDisk(), MemoryAnchor()
    return before


@asynccontextmanager
async def second_device(bench: Road, serial: str) -> AsyncIterator[Link]:
    """The line to another device of the same name, which answers to whoever asks."""
    other = WatchedDevice(bench.name, wall_ms=NOON_MS, truth=TruthInMemory(), serial=serial)
    runner = DeviceRunner(other, bench.clock)
    line = InProcessLink(runner)
    receiver = bench.link.receiver
    assert receiver is not None
    await line.open(receiver)
    try:
        yield line
    finally:
        await line.close()
        runner.close()


# --- the truth -----------------------------------------------------------------------------------


def firmware(bench: Road) -> PumpFirmware:
    bench.runner.step()
    found = bench.device.machine.firmware
    assert isinstance(found, PumpFirmware)
    return found


def reservoir(bench: Road) -> int:
    return firmware(bench).body.counted


def tip(bench: Road) -> int:
    """fg of morphine that have left the tip."""
    return firmware(bench).body.tip_mass_fg.get("morphine", 0)


async def most_in(bench: Road, window: int, lasting: int, every: int = HOUR) -> int:
    """The most that leaves the tip in any window of the time from now on, fg."""
    seen = [tip(bench)]
    for _ in range(lasting // every):
        await rise(every / 1_000)
        seen.append(tip(bench))
    return max(later - sooner for sooner, later in zip(seen, seen[window // every :], strict=False))


# --- 1: what was last verified is not what the pump was found to deliver -------------------------


async def test_a_refill_after_another_hosts_fill_keeps_the_days_limit_at_the_tip() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await pump.close()
        first = another_host(bench)
        await rise(10 * DAY_S)
        pump = await bench.pump()
        strong = filled(of_strength("25 mg/mL"), SECOND_FILL, reservoir(bench), "10 mg/mL")
        await apply(pump, strong)
        await rise(10 * DAY_S)
        await pump.close()
        bench.disk, bench.anchor = first
        pump = await bench.pump()
        # This host has just read another mix and another fill back, and says so (SR-22).
        assert pump.state.unknown_program
        await failure(apply(pump, filled(infusion(), THIRD_FILL, reservoir(bench))))
        assert await most_in(bench, DAY, 2 * DAY) <= PER_DAY


async def test_a_dose_lowered_under_a_latch_does_not_rise_threefold_after_a_restart() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, baclofen("300 mcg/day"))
        await rise(DAY_S)
        bench.disk.broken = True
        await apply(pump, baclofen("100 mcg/day"), ALONE)
        await rise(5 * DAY_S)
        bench.disk.broken = False
        pump = await bench.pump()
        assert pump.state.latched is None
        assert await failure(apply(pump, baclofen("300 mcg/day"))) is not None


async def test_what_another_host_has_titrated_to_may_go_on_after_a_stop() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, baclofen("100 mcg/day"))
        await pump.close()
        first = another_host(bench)
        pump = await bench.pump()
        for rate in (130, 170, 220, 280, 330):
            await apply(pump, baclofen(f"{rate} mcg/day"), ALONE)
            await rise(2 * DAY_S)
        await pump.close()
        bench.disk, bench.anchor = first
        pump = await bench.pump()
        await pump.stop("flow")
        assert await failure(apply(pump, baclofen("330 mcg/day"))) is None


# --- 2: what one fill consists of may change without a question ----------------------------------


async def test_a_line_that_the_basal_has_filled_is_not_primed_after_an_edit_of_the_fill() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, unprimed(infusion()))
        await rise(10 * DAY_S)
        edited = unprimed(infusion())
        smaller = replace(edited.fill, volume=NanoLitres(15_000_000))
        await failure(apply(pump, replace(edited, fill=smaller)))
        before = tip(bench)
        await primed(pump)
        await rise(SLOWLY // 1_000)
        assert tip(bench) - before <= PER_HOUR


async def test_a_catheter_that_grows_between_two_files_does_not_make_a_larger_prime() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, unprimed(infusion()))
        await failure(apply(pump, unprimed(infusion(), catheter=1_000_000)))
        await primed(pump, parse_duration("80 min"))
        assert await most_in(bench, HOUR, 2 * HOUR, 5 * MINUTE) <= PER_HOUR


# --- 3: a new journal takes a pump that lost its program for a new pump --------------------------


@asynccontextmanager
async def program_lost(
    *files: InfusionTherapy, after_s: float = 10 * DAY_S
) -> AsyncIterator[tuple[Road, PumpController]]:
    """A pump that has delivered these files' fills for days and whose battery then fails."""
    async with road("pump") as bench:
        pump = await bench.pump()
        for therapy in files:
            await apply(pump, therapy, ALONE)
            await rise(after_s)
        yield bench, pump


async def test_a_new_journal_does_not_prime_the_line_of_a_pump_whose_battery_failed() -> None:
    async with program_lost(infusion()) as (bench, pump):
        again = filled(infusion(), SECOND_FILL, reservoir(bench))
        await apply(pump, again)
        await rise(600)
        bench.runner.inject("battery_reset")
        another_host(bench)
        pump = await bench.pump()
        await failure(apply(pump, unprimed(again)))
        before = tip(bench)
        if pump.state.pump_program is not None:
            await primed(pump)
        await rise(HOUR_S)
        assert tip(bench) - before <= PER_HOUR


async def test_a_new_journal_counts_the_windows_of_a_pump_whose_battery_failed_as_full() -> None:
    async with program_lost(infusion()) as (bench, pump):
        before = tip(bench)
        await pressed(bench)
        await large_bolus(pump)
        bench.runner.inject("battery_reset")
        another_host(bench)
        pump = await bench.pump()
        await apply(pump, infusion())
        await large_bolus(pump)
        assert tip(bench) - before <= PER_HOUR  # all of this took a quarter of an hour


async def test_a_new_journal_asks_what_is_in_the_line_of_a_pump_whose_battery_failed() -> None:
    async with program_lost(of_strength("25 mg/mL")) as (bench, _):
        bench.runner.inject("battery_reset")
        another_host(bench)
        pump = await bench.pump()
        await failure(apply(pump, filled(infusion(), THIRD_FILL, reservoir(bench))))
        assert await most_in(bench, DAY, 2 * DAY) <= PER_DAY


# --- 4: a lowering undone ------------------------------------------------------------------------


async def test_a_lowering_of_one_area_outlives_a_raise_of_the_other_asked_for_meanwhile() -> None:
    async with road("stimulator") as bench:
        stimulator = await bench.stimulator()
        first, _ = programs()
        (area,) = first.areas
        moved = tuple(replace(one, contact=one.contact + 6) for one in area.electrodes)
        two = replace(first, areas=(area, replace(area, electrodes=moved)))
        await apply_stimulation(stimulator, program_stimulator(two))
        await stimulator.measure()
        await stimulator.start(stimulator.program_named(two.name))
        async with kept_alive(stimulator):
            await rise(5)
            lowered, raised = MicroAmps(1_000), MicroAmps(area.amplitude + 100)
            await asyncio.gather(
                failure(stimulator.set_amplitude(1, lowered)),
                failure(stimulator.set_amplitude(2, raised)),
            )
            await rise(5)
            bench.runner.step()
            cathode = next(one for one in area.electrodes if one.share == -100)
            assert flowing(bench.truth.lines).get(f"E{cathode.contact}", 0) >= -lowered


# --- 5: a bridge that never ran ------------------------------------------------------------------


async def test_a_bridge_that_a_failed_battery_has_held_up_is_not_over_by_mere_time() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, of_strength("25 mg/mL"))
        await rise(10 * DAY_S)
        await apply(pump, filled(infusion(), THIRD_FILL, reservoir(bench), "25 mg/mL"))
        await rise(HOUR_S)
        bench.runner.inject("battery_reset")
        pump = await bench.pump()
        await rise(9 * DAY_S)
        await failure(apply(pump, filled(infusion(), THIRD_FILL)))
        assert await most_in(bench, DAY, 2 * DAY) <= PER_DAY


# --- 6: what a prime pushes out ------------------------------------------------------------------


async def test_a_bolus_after_a_prime_counts_what_the_prime_has_pushed_out() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, unprimed(without_button(infusion())))
        await rise(2.4 * HOUR_S)
        before = tip(bench)
        await primed(pump)
        await rise(SLOWLY // 1_000 + 5)
        await failure(pump.bolus(parse_mass("0.2 mg"), OVER))
        await rise(121)
        assert tip(bench) - before <= PER_HOUR  # all of this took 42 minutes


# --- 7: an unknown program that ends late --------------------------------------------------------


async def test_a_day_after_an_unknown_program_was_found_its_last_doses_still_count() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        theirs = another_host(bench)
        pump = await bench.pump()
        await pump.close()
        ours = another_host(bench)
        await rise(2 * DAY_S)
        bench.disk, bench.anchor = theirs
        pump = await bench.pump()
        before = tip(bench)
        await pressed(bench)
        await large_bolus(pump)
        await pump.close()
        bench.disk, bench.anchor = ours
        pump = await bench.pump()
        await apply(pump, infusion())
        await large_bolus(pump)
        assert tip(bench) - before <= PER_HOUR  # all of this took a quarter of an hour


# --- 8: a session opened anew without asking who is there ----------------------------------------


async def test_another_pump_at_the_plug_settles_no_bolus_of_the_first() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(5 * HOUR_S)
        before = tip(bench)
        await pressed(bench)
        link, here = bench.link, bench.link.inner
        async with second_device(bench, "ITP-0002") as there:

            def reply_is_lost(request: Message) -> None:
                if isinstance(request, Bolus):
                    bench.runner.inject("drop_reply")

            def plug_is_moved(request: Message) -> None:
                if isinstance(request, Bolus):
                    link.inner = there

            link.before_write, link.after_write = reply_is_lost, plug_is_moved
            await large_bolus(pump)
            link.inner = here
        await pump.close()
        pump = await bench.pump()
        await large_bolus(pump)
        assert tip(bench) - before <= PER_HOUR


async def test_another_stimulator_at_the_plug_is_not_started_on_the_firsts_journal() -> None:
    async with road("stimulator") as bench:
        stimulator = await bench.stimulator()
        await apply_stimulation(stimulator)
        await stimulator.measure()
        # Another device with the same file in it, started as often as the first.
        bench.device.machine.firmware.memory.boot -= 1
        bench.runner.inject("wrong_serial")
        bench.runner.inject("reset")
        for _ in range(2):
            await failure(stimulator.start(stimulator.program_named("walking")))
        assert bench.device.done("start of") == 0


# --- 9: within the pump's accuracy ---------------------------------------------------------------


async def test_a_prime_keeps_the_hours_limit_at_the_top_of_the_pumps_accuracy() -> None:
    async with road("pump", error_ppm=ACCURACY) as bench:
        pump = await bench.pump()
        await apply(pump, unprimed(infusion()))
        before = tip(bench)
        await primed(pump)
        await rise(SLOWLY // 1_000 + 5)
        assert tip(bench) - before <= PER_HOUR * (1_000_000 + ACCURACY) // 1_000_000


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [("25 mg/mL", "10 mg/mL", -ACCURACY), ("10 mg/mL", "25 mg/mL", ACCURACY)],
)
async def test_the_end_of_a_bridge_keeps_the_hours_limit_at_both_ends_of_the_accuracy(
    old: str, new: str, error: int
) -> None:
    async with road("pump", error_ppm=error) as bench:
        pump = await bench.pump()
        await apply(pump, tightly(of_strength(old)), ALONE)
        await rise(9 * DAY_S)
        await failure(
            apply(pump, filled(tightly(of_strength(new)), THIRD_FILL, reservoir(bench), old))
        )
        most = parse_mass("0.15 mg") * (1_000_000 + ACCURACY) // 1_000_000
        assert await most_in(bench, HOUR, 8 * DAY) <= most


# --- 10: going on denied -------------------------------------------------------------------------


@pytest.mark.fault("F108")
async def test_a_constant_basal_goes_on_under_a_latch_after_the_clocks_have_changed() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        constant = replace(without_button(infusion()), basal=infusion().basal[:1])
        await apply(pump, constant)
        bench.disk.broken = True
        await apply(pump, constant)
        assert pump.state.latched is not None
        in_summer = program_pump(constant, NOON_MS + 180 * DAY)
        assert await failure(apply(pump, in_summer)) is None


# --- 11: two operators ---------------------------------------------------------------------------


async def test_an_approval_is_void_once_a_second_operator_has_lowered_the_dose_meanwhile() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(DAY_S)

        def scaled(percent: int) -> ProgramPump:
            basal = tuple(
                replace(one, rate=FemtogramsPerDay(one.rate * percent // 100))
                for one in infusion().basal
            )
            return program_pump(replace(infusion(), basal=basal))

        higher, lower = scaled(125), scaled(50)
        plans = [await pump.plan(one, PATIENT) for one in (higher, lower)]
        lost: list[Message] = []

        def swallow(request: Message) -> bool:
            if lost or not isinstance(request, AskStatus):
                return False
            lost.append(request)  # the first operator's question for evidence
            return True

        bench.link.swallow = swallow
        await asyncio.gather(
            failure(pump.apply(higher, PATIENT, plans[0].digest)),
            failure(pump.apply(lower, PATIENT, plans[1].digest, ALONE)),
        )
        assert (lower.program,) in [intent.outputs for intent in bench.told(Intended)]
        assert pump.state.pump_program == lower.program


async def test_a_bolus_asked_for_in_one_strength_is_not_given_in_another() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, without_button(infusion()))
        await rise(DAY_S)
        # Two persons say that the line was flushed: nothing to bridge.
        flushed = Override(("SR-12", "SR-19"), "clinician", "a test", "pharmacist")
        strong = program_pump(without_button(filled(of_strength("25 mg/mL"), SECOND_FILL)))
        plan = await pump.plan(strong, PATIENT)
        lost: list[Message] = []

        def swallow(request: Message) -> bool:
            if lost or not isinstance(request, AskStatus):
                return False
            lost.append(request)  # the bolus' look at the device
            return True

        bench.link.swallow = swallow
        await asyncio.gather(
            failure(pump.bolus(DOSE, OVER)),
            failure(pump.apply(strong, PATIENT, plan.digest, flushed)),
        )
        given = [
            (one.volume, intent.drugs[0].concentration)
            for intent in bench.told(Intended)
            for one in intent.outputs
            if isinstance(one, BolusOutput)
        ]
        assert all(mass_of(*one) <= DOSE for one in given)


# --- 13: a device that lies or forgets -----------------------------------------------------------


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F35")
async def test_a_pump_that_refuses_what_it_does_frees_no_room_for_the_next_bolus() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(5 * HOUR_S)
        before = tip(bench)
        await pressed(bench)
        link = bench.link

        def lie(request: Message) -> None:
            if isinstance(request, Bolus):
                sent = link.sent[-1]
                refused = RefusedByDevice("busy", "a lie")
                link.says(sent.session, sent.sequence, refused)

        def reply_is_lost(request: Message) -> None:
            if isinstance(request, Bolus):
                bench.runner.inject("drop_reply")
                asyncio.get_running_loop().call_soon(lie, request)

        link.before_write = reply_is_lost
        await large_bolus(pump)
        link.before_write = lambda _: None
        await large_bolus(pump)
        assert tip(bench) - before <= PER_HOUR


async def test_an_id_that_the_device_may_have_forgotten_is_not_taken_for_never_seen() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(5 * HOUR_S)
        before = tip(bench)
        await pressed(bench)
        link = bench.link

        def reply_is_lost(request: Message) -> None:
            if isinstance(request, Bolus):
                bench.runner.inject("drop_reply")

        link.before_write = reply_is_lost
        link.swallow = lambda request: isinstance(request, Open | OpenSealed)
        await large_bolus(pump)
        link.swallow = lambda _: False
        assert pump.state.unsettled != ()
        await pump.session.open()
        for _ in range(256):
            await apply(pump, infusion())
        await pump.close()
        pump = await bench.pump()
        await large_bolus(pump)
        assert tip(bench) - before <= PER_HOUR


# --- 14: a lowering refused ----------------------------------------------------------------------


async def test_a_lowering_is_not_refused_while_the_session_is_opened_anew() -> None:
    async with road("stimulator") as bench:
        stimulator = await bench.stimulator()
        await apply_stimulation(stimulator)
        await stimulator.measure()
        await stimulator.start(stimulator.program_named("walking"))
        async with kept_alive(stimulator):
            await rise(5)
            lost: list[type[Message]] = []

            def first_of_each(request: Message) -> bool:
                kind = type(request)
                if kind not in (SetAmplitude, Open) or kind in lost:
                    return False
                lost.append(kind)
                return True

            bench.link.swallow = first_of_each
            raising = asyncio.ensure_future(failure(stimulator.set_amplitude(1, MicroAmps(4_300))))
            await rise(0.6)
            error = await failure(stimulator.set_amplitude(1, MicroAmps(0)))
            await raising
            assert error is None


# --- 15: clocks ----------------------------------------------------------------------------------


async def test_both_clocks_set_forward_while_a_host_watches_give_the_next_host_no_credit() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(5 * HOUR_S)
        before = tip(bench)
        await large_bolus(pump)
        clock = bench.clock
        assert isinstance(clock, VirtualClock)
        clock.shift_wall(HOUR)
        bench.runner.inject("clock_drift")
        await rise(60)
        await pressed(bench)
        await pump.close()
        pump = await bench.pump()
        await large_bolus(pump)
        assert tip(bench) - before <= PER_HOUR  # all of this took a quarter of an hour
