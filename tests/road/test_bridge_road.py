"""Refills on the whole road: bridge, prime, what was withdrawn, witnessed by the pump's truth."""

from dataclasses import replace
from functools import cache

import pytest
from road_bench import (
    DOSE,
    OVER,
    PATIENT,
    ROOT,
    Road,
    failure,
    infusion,
    program_pump,
    rise,
    road,
)

from device_profiles.errors import DeviceFault, NeuraxisError, Refused
from device_profiles.notation import parse_concentration, parse_mass_rate
from device_profiles.quantities import FemtogramsPerDay, Milliseconds, NanoLitres
from device_profiles.therapy import InfusionTherapy
from device_profiles.therapy_file import read_therapy
from firmware_bridge.controller import Plan
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.firmware import PumpFirmware
from firmware_bridge.families.itp.wire import Bolus, Prime, PumpStatus
from firmware_bridge.protocol.messages import AskStatus, Commit
from firmware_bridge.session import Result
from safety.commands import Override, ProgramPump
from safety.events import Counted
from safety.outputs import PrimeOutput

DAY_S, HOUR_S = 86_400, 3_600
SEVEN_WEEKS = 49 * DAY_S
LINE_NL = 485_000
PRIME_NL = 423_580
"""The line / 1.145, rounded down: 423,580.79 nL fill it in a pump at the top of its accuracy."""
SETTLED_NL = 82_252
"""The line / 0.855 less the line: 82,251.46 nL, rounded up."""
ACCURACY_PPM = 145_000
DAY_FG = 2_175_000_000_000
"""The example's basal of a day, 2.175 mg."""
STEP_FG = 20_000_000
"""One device step of flow, 1 nL a day at 20 mg/mL."""
TWO = Override(("SR-12", "SR-13", "SR-19"), "clinician", "a test", "pharmacist")


@cache
def refilled() -> InfusionTherapy:
    """The example of a refill with twice the strength."""
    therapy = read_therapy(ROOT / "examples" / "bridge.yaml").therapy
    assert isinstance(therapy, InfusionTherapy)
    return therapy


def without_bridge() -> ProgramPump:
    return program_pump(replace(refilled(), bridge_from=()))


async def plan_of(controller: PumpController, command: ProgramPump) -> Plan:
    return await controller.plan(command, PATIENT)


async def apply(
    controller: PumpController, command: ProgramPump, reason: Override | None = None
) -> Result:
    plan = await plan_of(controller, command)
    return await controller.apply(command, PATIENT, plan.digest, reason)


def rules(error: NeuraxisError | None) -> set[str]:
    assert isinstance(error, Refused), error
    return {finding.rule for finding in error.findings}


async def status(controller: PumpController) -> PumpStatus:
    return await controller.session.query(AskStatus(), PumpStatus)


def tip(bench: Road) -> int:
    """fg of morphine that have left the tip."""
    bench.runner.step()
    return int(bench.device.machine.firmware.body.tip_mass_fg.get("morphine", 0))


async def seven_weeks_on(bench: Road) -> PumpController:
    """The pump of the first example on the day of its refill."""
    controller = await bench.pump()
    await apply(controller, program_pump())
    await rise(SEVEN_WEEKS)
    return controller


# --- the example ---------------------------------------------------------------------------------


@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-19")
async def test_the_example_of_a_refill_keeps_the_dose_at_the_tip_through_bridge_and_after() -> None:
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        plan = await plan_of(controller, program_pump(refilled()))
        assert (plan.verdict, plan.findings) == ("accepted", ())
        assert plan.notes == (
            "morphine: at most 2.775 mg in any 24 h; the least of the last day's programs gave "
            "2.775 mg: +0 %",
            "refill: 7.3 mL withdrawn, the pump counts 7.3425 mL as left of the fill before: "
            "agrees within 2.045337 mL",
            "low-reservoir alarm in 144.88 d, at the worst in 99.59 d",
        )
        before = tip(bench)
        await apply(controller, program_pump(refilled()))
        for day in range(1, 8):
            await rise(DAY_S)
            # Flows are exact here; a device step is all that may be lost in a day.
            assert 0 <= DAY_FG * day - (tip(bench) - before) <= 2 * STEP_FG * day
        now = await status(controller)
        assert (now.line_left, now.flow) == (0, 120_000)


@pytest.mark.requirement("SR-12")
@pytest.mark.fault("F27")
async def test_without_its_bridge_the_example_gives_half_the_dose_just_as_the_finding_says() -> (
    None
):
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        plan = await plan_of(controller, without_bridge())
        (finding,) = plan.findings
        assert "1.0875 mg/day of morphine (50 %) for 107.04 h: withdrawal" in finding.message
        assert rules(await failure(apply(controller, without_bridge()))) == {"SR-12"}
        alone = replace(TWO, second=None)
        assert rules(await failure(apply(controller, without_bridge(), alone))) == {"SR-57"}
        before = tip(bench)
        await apply(controller, without_bridge(), TWO)
        await rise(DAY_S)
        assert tip(bench) - before in range(DAY_FG // 2 - STEP_FG, DAY_FG // 2 + 1)


@pytest.mark.requirement("SR-12")
async def test_while_the_bridge_runs_no_bolus_no_button_and_no_higher_dose_is_given() -> None:
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        await apply(controller, program_pump(refilled()))
        await rise(HOUR_S)
        assert rules(await failure(controller.bolus(DOSE, OVER))) == {"SR-12"}
        firmware = bench.device.machine.firmware
        assert isinstance(firmware, PumpFirmware)
        assert not firmware.press()
        higher = replace(
            refilled(),
            basal=tuple(
                replace(one, rate=FemtogramsPerDay(one.rate * 11 // 10)) for one in refilled().basal
            ),
        )
        assert "SR-12" in rules(await failure(apply(controller, program_pump(higher))))
        lower = replace(
            refilled(),
            basal=tuple(
                replace(one, rate=FemtogramsPerDay(one.rate * 9 // 10)) for one in refilled().basal
            ),
        )
        await apply(controller, program_pump(lower))
        assert bench.link.count(Bolus) == 0
        assert (await status(controller)).line_left > 0


@pytest.mark.requirement("SR-12")
async def test_the_line_is_open_again_as_soon_as_the_pump_itself_has_moved_all_of_it() -> None:
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        await apply(controller, program_pump(refilled()))
        await bench.die()
        # 0.485 mL at 0.2175 mL a day and more by day than by night: a good two days.
        await rise(2 * DAY_S)
        controller = await bench.pump()
        assert controller.state.line_moves != ()
        assert rules(await failure(controller.bolus(DOSE, OVER))) == {"SR-12"}
        await rise(6 * HOUR_S)
        now = await status(controller)
        assert now.line_left == 0
        # At 18:00 on the third day the basal has moved 5,000 nL since the bridge ended at 17:00.
        assert now.settling == SETTLED_NL - 5_000
        assert rules(await failure(controller.bolus(DOSE, OVER))) == {"SR-12"}
        await rise(DAY_S)
        now = await status(controller)
        assert (now.line_left, now.settling) == (0, 0)
        # 0.070325 mL may have strayed, 10 mg/mL apart: by now, for all that the host knows.
        error = await failure(controller.bolus(DOSE, OVER))
        assert rules(error) == {"SR-14"}
        assert "703.25 mcg of earlier bridges" in str(error)
        (told,) = [one for one in bench.told(Counted) if one.volume == LINE_NL]
        assert told.state == "executed"
        assert controller.state.line_moves == ()
        await rise(4 * HOUR_S + 6)
        assert (await controller.bolus(DOSE, OVER)).outcome == "delivered"


@pytest.mark.requirement("SR-12")
async def test_a_halted_pump_has_not_bridged_however_long_ago_it_began() -> None:
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        await apply(controller, program_pump(refilled()))
        await controller.stop("flow")
        await rise(10 * DAY_S)
        left = (await status(controller)).line_left
        assert left == LINE_NL
        bare = replace(refilled(), bridge_from=())
        assert rules(await failure(apply(controller, program_pump(bare)))) == {"SR-12"}
        await apply(controller, program_pump(refilled()))
        before = tip(bench)
        await rise(4 * DAY_S)
        assert 0 <= 4 * DAY_FG - (tip(bench) - before) <= 8 * STEP_FG
        assert (await status(controller)).line_left == 0


@pytest.mark.requirement("SR-12")
async def test_a_battery_that_fails_while_the_pump_bridges_loses_no_bridge() -> None:
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        await apply(controller, program_pump(refilled()))
        before = tip(bench)
        await rise(DAY_S)
        bench.runner.inject("battery_reset")
        controller = await bench.pump()
        assert controller.state.pump_program is None
        assert "SR-12" in rules(await failure(apply(controller, without_bridge())))
        await apply(controller, program_pump(refilled()))
        await rise(3 * DAY_S)
        assert 0 <= 4 * DAY_FG - (tip(bench) - before) <= 8 * STEP_FG


@pytest.mark.requirement("SR-12")
async def test_another_old_strength_in_the_file_than_in_the_pump_is_refused() -> None:
    async with road("pump") as bench:
        controller = await seven_weeks_on(bench)
        (held,) = refilled().bridge_from
        wrong = replace(
            refilled(),
            bridge_from=(replace(held, concentration=parse_concentration("12 mg/mL")),),
        )
        error = await failure(apply(controller, program_pump(wrong), TWO))
        assert rules(error) == {"SR-12"}
        assert "it holds morphine 10 mg/mL" in str(error)
        assert bench.link.count(Commit) == 1


# --- the refill ----------------------------------------------------------------------------------


def refill(withdrawn: str | int | None, days: int) -> ProgramPump:
    """The first example filled again after some days with the same drug."""
    therapy = infusion()
    fill = replace(
        therapy.fill,
        at_ms=Milliseconds(therapy.fill.at_ms + days * DAY_S * 1_000),
        withdrawn=None if withdrawn is None else NanoLitres(int(withdrawn)),
    )
    return program_pump(replace(therapy, fill=fill))


@pytest.mark.requirement("SR-19")
@pytest.mark.parametrize("fault", ["", "reservoir_offset"])
async def test_a_pump_that_counts_more_than_is_left_is_found_at_its_refill(fault: str) -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, program_pump())
        if fault:
            bench.runner.inject(fault)
        await rise(10 * DAY_S)
        bench.runner.step()
        really = int(bench.device.machine.firmware.body.reservoir)
        error = await failure(apply(controller, refill(really, 10)))
        if fault:
            assert rules(error) == {"SR-19"}
            assert "over-infusion" in str(error)
            await apply(controller, refill(really, 10), replace(TWO, second=None))
        assert (await status(controller)).reservoir >= 18_000_000


@pytest.mark.requirement("SR-59")
async def test_a_pumps_clock_that_jumped_takes_a_reason_before_a_schedule_is_changed() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, program_pump())
        bench.runner.inject("clock_drift")
        therapy = replace(infusion(), patient_bolus=None)
        higher = replace(therapy.basal[0], rate=parse_mass_rate("2.5 mg/day"))
        changed = program_pump(replace(therapy, basal=(higher, *therapy.basal[1:])))
        plan = await plan_of(controller, changed)
        (finding,) = plan.findings
        assert (finding.rule, finding.severity) == ("SR-59", "soft")
        assert "1 h ahead: every step would come that much too early" in finding.message


# --- the prime -----------------------------------------------------------------------------------


def unprimed() -> ProgramPump:
    therapy = infusion()
    return program_pump(replace(therapy, catheter=replace(therapy.catheter, primed=False)))


async def prime(controller: PumpController, over_s: int = HOUR_S) -> Result:
    _, output = await controller.prime_of_fill(Milliseconds(over_s * 1_000))
    return await controller.prime(output)


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize(("error_ppm", "at_the_tip"), [(0, 0), (ACCURACY_PPM, 11_449)])
async def test_a_prime_brings_the_drug_to_the_tip_at_most_and_the_basal_what_is_missing(
    error_ppm: int, at_the_tip: int
) -> None:
    async with road("pump", error_ppm=error_ppm) as bench:
        controller = await bench.pump()
        await apply(controller, unprimed())
        await prime(controller)
        await rise(HOUR_S)
        # At the top 484,999.1 nL of the prime and 11,450 nL of the hour's basal: 11,449.1 nL of
        # them left. Else the line still takes 485,000 - 423,580 - 10,000 = 51,420 nL.
        assert 0 <= tip(bench) - at_the_tip * 10_000_000 <= 10_000_000
        if not error_ppm:
            await rise(5 * HOUR_S)
            assert tip(bench) == 0
            await rise(HOUR_S)
            # 61,420 nL are missing, and 70,000 nL of basal have flowed in seven hours.
            assert 0 <= tip(bench) - 8_580 * 10_000_000 <= 10_000_000


@pytest.mark.requirement("SR-13")
async def test_a_new_pumps_line_is_primed_once() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, unprimed())
        result = await prime(controller)
        assert result.outcome == "delivered"
        assert rules(await failure(controller.bolus(DOSE, OVER))) == {"SR-13"}
        await rise(HOUR_S)
        assert rules(await failure(prime(controller))) == {"SR-13"}
        assert (await controller.bolus(DOSE, OVER)).outcome == "delivered"
        assert bench.link.count(Prime) == 1
        await bench.die()
        controller = await bench.pump()
        await rise(DAY_S)
        assert rules(await failure(prime(controller))) == {"SR-13"}


@pytest.mark.requirement("SR-13")
async def test_a_prime_that_comes_too_late_would_be_a_bolus_and_is_refused() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, unprimed())
        await rise(DAY_S)
        error = await failure(prime(controller))
        assert rules(error) == {"SR-13"}
        assert "have gone into the line since the fill" in str(error)
        assert bench.link.count(Prime) == 0


@pytest.mark.requirement("SR-13")
async def test_a_prime_that_a_stop_has_cut_short_is_spent_and_opens_the_line() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, unprimed())
        await prime(controller)
        await rise(HOUR_S // 2)
        await controller.stop("hold")
        await apply(controller, unprimed())
        assert controller.state.line_moves == ()
        (told,) = [one for one in bench.told(Counted) if one.state == "interrupted"]
        assert PRIME_NL // 2 <= told.volume <= PRIME_NL // 2 + 1_000
        assert rules(await failure(prime(controller))) == {"SR-13"}


@pytest.mark.requirement("SR-13")
async def test_a_primed_line_is_never_primed_and_another_volume_is_no_prime() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, program_pump())
        assert rules(await failure(prime(controller))) == {"SR-13"}
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, unprimed())
        _, output = await controller.prime_of_fill(Milliseconds(HOUR_S * 1_000))
        for wrong in (
            replace(output, volume=NanoLitres(output.volume - 1)),
            replace(output, fill_at_ms=Milliseconds(output.fill_at_ms - 1)),
        ):
            assert isinstance(wrong, PrimeOutput)
            assert rules(await failure(controller.prime(wrong))) == {"SR-13"}


@pytest.mark.requirement("SR-13")
async def test_the_pump_itself_refuses_a_second_prime_of_a_fill_whatever_its_host_forgot() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller, unprimed())
        await prime(controller)
        await rise(2 * HOUR_S)
        controller.gate._state = replace(controller.state, primed_fills=(), line_moves=())
        with pytest.raises((Refused, DeviceFault)):
            await prime(controller)
        assert bench.device.done("prime of") == 1
