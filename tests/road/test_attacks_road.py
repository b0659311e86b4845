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

async def test_other_stim() -> None:
    from road_bench import apply as put, REASON
    async with road("stimulator") as bench:
        s = await bench.stimulator()
        await put(s)
        await s.measure()
        bench.runner.inject("wrong_serial")
        bench.device.machine.firmware.memory.boot -= 1
        bench.runner.inject("reset")
        for _ in range(2):
            print(await failure(s.start(s.program_named("walking"))))
        await rise(1)
        print(bench.told(Connected)[-1].identity.serial, bench.device.machine.identity.serial, bench.device.done("start of"))

async def test_lower_reopen() -> None:
    from road_bench import apply as put, REASON, kept_alive
    async with road("stimulator") as bench:
        s = await bench.stimulator()
        await put(s)
        await s.measure()
        await s.start(s.program_named("walking"))
        async with kept_alive(s):
            await rise(5)
            lost = []
            def swallow(m):
                if isinstance(m, (SetAmplitude, Open)) and not any(type(m) is type(x) for x in lost):
                    lost.append(m)
                    return True
                return False
            bench.link.swallow = swallow
            raising = asyncio.ensure_future(failure(s.set_amplitude(1, 4300)))
            await rise(0.6)
            print("raise", await raising)
            await rise(5)
            sample = await s.sample()
            print(sample.state, sample.values)

async def test_unknown_ends() -> None:
    async with road("pump") as bench:
        pump = await bench.pump()
        await apply(pump, infusion())
        first = bench.disk, bench.anchor
        another_host(bench)
        pump = await bench.pump()
        await pump.close()
        mine = bench.disk, bench.anchor
        await rise(2*86400)
        bench.disk, bench.anchor = first
        pump = await bench.pump()
        start = tip(bench)
        assert firmware(bench).press()
        await rise(601)
        print(await failure(pump.bolus(LARGE, OVER)))
        await rise(121)
        await pump.close()
        bench.disk, bench.anchor = mine
        pump = await bench.pump()
        print(pump.now(), pump.state.full_until)
        print(await failure(apply(pump, infusion())))
        print(await failure(pump.bolus(LARGE, OVER)))
        await rise(121)
        print((tip(bench)-start)/1e12)
