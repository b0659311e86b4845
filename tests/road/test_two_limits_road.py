"""Two of everything: the device's ceiling beside ours, old limits beside new, and a bad line."""

import asyncio
from dataclasses import replace

import pytest
from road_bench import (
    BOLUS_NL,
    OVER,
    apply,
    failure,
    infusion,
    program_pump,
    rise,
    road,
    rules,
)

from device_profiles.errors import DeviceFault, DeviceSilent
from device_profiles.notation import parse_mass
from device_profiles.quantities import Milliseconds, NanoLitres, NanoLitresPerDay
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.messages import Identify, Stop
from safety.commands import Ask, GiveBolus
from safety.events import Rejected
from safety.outputs import BolusOutput, PumpProgram

SECOND = Milliseconds(1_000)


class Garbled(Link):
    """A line on which every byte arrives as another one, as with a wrong baud rate."""

    def __init__(self, inner: Link) -> None:
        self._inner = inner
        self.url = inner.url

    async def open(self, receiver: Receiver) -> None:
        await self._inner.open(_GarbledReceiver(receiver))

    def write(self, data: bytes) -> None:
        self._inner.write(bytes(byte ^ 0x55 for byte in data))

    async def close(self) -> None:
        await self._inner.close()


class _GarbledReceiver:
    def __init__(self, inner: Receiver) -> None:
        self._inner = inner

    def received(self, data: bytes) -> None:
        self._inner.received(bytes(byte ^ 0x33 for byte in data))

    def lost(self, error: object) -> None:
        self._inner.lost(error)  # type: ignore[arg-type]


@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F50")
@pytest.mark.parametrize("family", ["pump", "stimulator"])
async def test_on_a_line_that_garbles_everything_nothing_but_the_question_who_is_sent(
    family: str,
) -> None:
    async with road(family) as bench:
        bench.wrap = Garbled
        error = await failure(bench.connect())
        assert isinstance(error, DeviceSilent)
        assert "baud rate" in str(error)
        assert {type(request) for request in bench.link.requests} == {Identify}
        assert bench.device.received == []


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F29")
async def test_a_device_whose_own_ceiling_is_lower_refuses_and_nothing_counts() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        ours = controller.profile.flow_max
        controller.profile = replace(controller.profile, flow_max=NanoLitresPerDay(100 * ours))
        error = await failure(controller.bolus(parse_mass("0.1 mg"), SECOND))
        assert isinstance(error, DeviceFault)
        assert "out-of-range" in str(error)
        assert controller.state.reservations == ()
        assert bench.truth.lines[-1]["volume_nL"] == 0 or bench.device.done("bolus of") == 0


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F29")
async def test_where_our_ceiling_is_the_lower_one_ours_holds() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        controller.profile = replace(controller.profile, flow_max=NanoLitresPerDay(300_000))
        assert rules(await failure(controller.bolus(parse_mass("0.05 mg"), OVER))) == {"SR-07"}
        assert bench.link.count(Bolus) == 0


async def _with_hourly_limit(controller: PumpController, text: str) -> None:
    therapy = infusion()
    (drug,) = therapy.drugs
    limits = replace(drug.limits, per_hour=parse_mass(text))
    therapy = replace(therapy, drugs=(replace(drug, limits=limits),))
    command = program_pump(therapy)
    plan = await controller.plan(command, "BENCH-012")
    await controller.apply(command, "BENCH-012", plan.digest)


@pytest.mark.requirement("SR-61")
@pytest.mark.fault("F28")
async def test_limits_come_with_an_approved_program_all_at_once_and_free_nothing_that_is_held() -> (
    None
):
    async with road("pump") as bench:
        controller = await bench.pump()
        await _with_hourly_limit(controller, "0.3 mg")
        dose = parse_mass("0.05 mg")
        await controller.bolus(dose, OVER)
        await rise(OVER / 1_000)
        assert "SR-14" in rules(await failure(controller.bolus(dose, OVER)))
        await _with_hourly_limit(controller, "0.4 mg")  # raised: planned, confirmed, applied
        held = [one.most for one in controller.state.reservations]
        assert held == [BOLUS_NL]
        await controller.bolus(dose, OVER)
        await rise(OVER / 1_000)
        await _with_hourly_limit(controller, "0.26 mg")  # lowered: holds at once
        assert "SR-14" in rules(await failure(controller.bolus(dose, OVER)))
        program = controller.state.pump_program
        assert isinstance(program, PumpProgram)
        assert (await controller.sample()).delivering, "and the basal goes on"


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F90")
async def test_a_stop_overtakes_ten_thousand_requests_that_wait_to_be_judged() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        now = controller.now()
        command = GiveBolus(BolusOutput(NanoLitres(1), OVER), controller.profile)
        judged: list[object] = []

        async def ask(number: int) -> None:
            request = Ask(now, number, command, "BENCH-012", seen=now.fast)
            judged.append(await failure(controller.gate.ask(request)))

        flood = [asyncio.create_task(ask(10_000 + number)) for number in range(10_000)]
        await asyncio.sleep(0)
        judged_before = len(judged)
        await controller.session.lower(Stop("hold"))
        assert len(judged) - judged_before < 100, "it waited for next to none of them"
        await asyncio.gather(*flood)
        assert judged.count(None) == 1, "one is granted, and all others are refused and recorded"
        assert len(bench.told(Rejected)) == 9_999
