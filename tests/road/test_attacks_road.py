"""Attacks on the whole road, witnessed by the device's own truth: what got through, and how."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from road_bench import (
    DOSE,
    HOUR,
    MINUTE,
    NOON_MS,
    OVER,
    PATIENT,
    ROOT,
    MemoryAnchor,
    MemoryDisk,
    Road,
    failure,
    infusion,
    program_pump,
    rise,
    road,
    rules,
)

from device_profiles.notation import parse_concentration, parse_duration, parse_mass
from device_profiles.quantities import Femtograms, FemtogramsPerDay, Milliseconds, NanoLitres
from device_profiles.therapy import BasalStep, DrugInLine, InfusionTherapy
from device_profiles.therapy_file import read_therapy
from firmware_bridge.clock import VirtualClock
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.firmware import PumpFirmware
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.wire import LowerAmplitude, SetAmplitude, Start
from firmware_bridge.protocol.messages import AskStatus, Message, Open
from firmware_bridge.session import Result
from safety.commands import Override, ProgramPump
from safety.events import Connected

DAY = 86_400_000
SECOND_FILL = Milliseconds(1_793_521_800_000 + 30 * DAY)
THIRD_FILL = Milliseconds(1_793_521_800_000 + 60 * DAY)
PER_HOUR = 400_000_000_000
"""The example's limits of morphine, fg."""
PER_DAY = 4_000_000_000_000
ACCURACY_PPM = 145_000
ALONE = Override(("SR-18", "SR-19"), "clinician", "a test")
PAIR = Override(("SR-12", "SR-13", "SR-18", "SR-19"), "clinician", "a test", "pharmacist")
LARGE = parse_mass("0.15 mg")
"""The most that the example's full hour leaves room for: 0.1 of basal, 0.15 of the button."""


# --- tools ---------------------------------------------------------------------------------------


@cache
def stronger() -> InfusionTherapy:
    """The example at 20 mg/mL, the second fill, its line still full of 10 mg/mL."""
    therapy = read_therapy(ROOT / "examples" / "bridge.yaml").therapy
    assert isinstance(therapy, InfusionTherapy)
    return replace(therapy, fill=replace(therapy.fill, at_ms=SECOND_FILL))


def filled(
    therapy: InfusionTherapy,
    at: Milliseconds | None = None,
    withdrawn: int | None = None,
    line: str = "",
) -> InfusionTherapy:
    """A file of another fill; ``line``: the strength of morphine that it bridges from."""
    held = (DrugInLine("morphine", parse_concentration(line)),) if line else ()
    fill = replace(
        therapy.fill,
        at_ms=therapy.fill.at_ms if at is None else at,
        withdrawn=None if withdrawn is None else NanoLitres(withdrawn),
    )
    return replace(therapy, fill=fill, bridge_from=held)


def unprimed(therapy: InfusionTherapy) -> InfusionTherapy:
    return replace(therapy, catheter=replace(therapy.catheter, primed=False))


async def apply(
    pump: PumpController, therapy: InfusionTherapy, reason: Override | None = None
) -> Result:
    return await apply_command(pump, program_pump(therapy), reason)


async def apply_command(
    pump: PumpController, command: ProgramPump, reason: Override | None = None
) -> Result:
    plan = await pump.plan(command, PATIENT)
    return await pump.apply(command, PATIENT, plan.digest, reason)


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


async def most_in(bench: Road, window: int, lasting: int, every: int = MINUTE) -> int:
    """The most that leaves the tip in any window of a time from now on, fg."""
    seen = [tip(bench)]
    for _ in range(lasting // every):
        await rise(every / 1_000)
        seen.append(tip(bench))
    span = window // every
    pairs = zip(seen, seen[span:], strict=False)
    return max(later - sooner for sooner, later in pairs)


def largest_of(seen: Sequence[tuple[int, int]], window: int) -> int:
    """The most that left the tip between two of these readings no further apart than a window."""
    return max(
        later - sooner
        for at, sooner in seen
        for then, later in seen
        if at <= then <= at + window
    )


def another_host(bench: Road) -> None:
    """From here on hosts keep their journal elsewhere, and know nothing of the other one."""
    bench.disk, bench.anchor = MemoryDisk(), MemoryAnchor()

# --- 1
async def test_stale_refill() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await pump.close()
        first = bench.disk, bench.anchor
        another_host(bench)
        await rise(10 * 86_400)
        pump = await bench.pump()
        await apply(pump, filled(stronger(), withdrawn=reservoir(bench), line="10 mg/mL"))
        await rise(10 * 86_400)
        await pump.close()
        bench.disk, bench.anchor = first
        pump = await bench.pump()
        back = filled(infusion(), THIRD_FILL, withdrawn=reservoir(bench))
        error = await failure(apply(pump, back))
        print("refused", error)
        print("most in a day", await most_in(bench, DAY, 2 * DAY, HOUR) / 1e12, "of 4")


async def test_stale_rate() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await pump.close()
        first = bench.disk, bench.anchor
        another_host(bench)
        low = replace(infusion(), basal=(BasalStep(infusion().basal[0].start, FemtogramsPerDay(500_000_000_000)),), patient_bolus=None)
        pump = await bench.pump()
        await apply(pump, low, Override(("SR-06",), "a", "b"))
        await rise(10 * 86_400)
        await pump.close()
        bench.disk, bench.anchor = first
        pump = await bench.pump()
        print("refused", await failure(apply(pump, infusion())))


async def test_stale_rate2() -> None:
    low = replace(infusion(), basal=(BasalStep(infusion().basal[0].start, FemtogramsPerDay(500_000_000_000)),), patient_bolus=None)
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, low)
        await pump.close()
        first = bench.disk, bench.anchor
        another_host(bench)
        pump = await bench.pump()
        for m in (100,):
            await apply(pump, infusion(), Override(("SR-06","SR-59"), "a", "b"))
        await pump.close()
        bench.disk, bench.anchor = first
        pump = await bench.pump()
        await pump.stop("flow")
        print("resume refused", await failure(apply(pump, infusion())))


async def test_fresh_journal() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(10 * 86_400)
        bench.runner.inject("battery_reset")
        another_host(bench)
        pump = await bench.pump()
        print("state", pump.state.full_until, pump.state.last_verified)
        print("apply", await failure(apply(pump, unprimed(infusion()))))
        before = tip(bench)
        try:
            _, prime = await pump.prime_of_fill(parse_duration("40 min"))
            print("prime", await failure(pump.prime(prime)))
        except Exception as e:
            print("exc", e)
        await rise(3600)
        print((tip(bench) - before) / 1e12)


async def test_fresh2() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        await rise(10 * 86_400)
        seen = [(bench.device.t_ms, tip(bench))]
        assert firmware(bench).press()
        await rise(11*60)
        await pump.bolus(LARGE, OVER)
        await rise(3*60)
        bench.runner.inject("battery_reset")
        another_host(bench)
        pump = await bench.pump()
        print("apply", await failure(apply(pump, infusion())))
        print("bolus", await failure(pump.bolus(LARGE, OVER)))
        await rise(3*60)
        seen.append((bench.device.t_ms, tip(bench)))
        print("in hour", largest_of(seen, HOUR)/1e12, seen)


async def test_fresh3() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, filled(stronger()))
        await rise(10 * 86_400)
        bench.runner.inject("battery_reset")
        another_host(bench)
        pump = await bench.pump()
        print("apply", await failure(apply(pump, filled(infusion(), THIRD_FILL, reservoir(bench)))))
        print("most in a day", await most_in(bench, DAY, 2 * DAY, HOUR) / 1e12, "of 4")


async def test_midbridge() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, filled(stronger()))
        await rise(10 * 86_400)
        await apply(pump, filled(infusion(), THIRD_FILL, reservoir(bench), "20 mg/mL"))
        await rise(3600)
        await pump.close()
        bench.runner.inject("battery_reset")
        await rise(6 * 86_400)
        pump = await bench.pump()
        print(pump.state.line_moves, pump.now())
        print("apply", await failure(apply(pump, filled(infusion(), THIRD_FILL))))
        print("most in a day", await most_in(bench, DAY, 2 * DAY, HOUR) / 1e12, "of 4")
