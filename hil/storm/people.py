"""What people ask of a device in a storm, and how it is carried out on the real controller."""

import asyncio
import itertools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from device_profiles.errors import DeviceFault, LinkError, NeuraxisError, Refused
from device_profiles.quantities import Femtograms, MicroAmps, Milliseconds
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from firmware_bridge.protocol.messages import StopDepth
from hil.storm import stage
from hil.storm.hosts import Asked, Host, says
from hil.storm.plan import Family
from safety.events import Looked

if TYPE_CHECKING:
    from hil.storm.record import Record

MCG = 1_000_000_000
"""fg."""
BOLUS_OVER = Milliseconds(300_000)
READING_S = 2.0
DEPTHS: dict[str, StopDepth] = {"hold": "hold", "policy": "policy", "flow": "flow"}


class People(ABC):
    """Those around one family of device."""

    requests: frozenset[str]

    @abstractmethod
    async def carry_out(self, controller: AnyController, asked: Asked) -> None:
        """Does what a person asks for; raises as the controller does."""

    async def look(self, controller: AnyController) -> None:
        """What the host itself asks every so often."""
        await controller.sample()

    def attend(self, controller: AnyController, host: Host) -> None:
        """A host has taken charge; a pump needs nothing of it."""
        return

    @abstractmethod
    async def go_on(self, controller: AnyController, record: "Record", asked: Asked) -> None:
        """The last request, on a calm line: going on with what flows must be possible."""


async def _reads(asked: Asked) -> None:
    """A person reads the plan that was just made, B for longer than A, and says yes."""
    says(asked)
    asked.planned = asked.said
    if asked.who == "B":
        await asyncio.sleep(READING_S)
    says(asked)


async def _common(controller: AnyController, asked: Asked) -> bool:
    """A stop or a look; whether it was one."""
    if asked.what == "stop":
        await controller.make_safe(DEPTHS.get(asked.where, "policy"))
    elif asked.what == "look":
        await controller.gate.tell(Looked(controller.now(), asked.who, "a look in a storm"))
    else:
        return False
    return True


class PumpPeople(People):
    """Two operators and a patient."""

    requests = frozenset({"apply", "bolus", "stop", "look"})

    async def carry_out(self, controller: AnyController, asked: Asked) -> None:
        """See `People.carry_out`."""
        if not isinstance(controller, PumpController):
            raise DeviceFault("this is no pump")
        if await _common(controller, asked):
            return
        if asked.what == "bolus":
            dose = Femtograms(asked.amount * MCG)
            await controller.bolus(dose, BOLUS_OVER, stage.reason(asked.who))
            return
        await self.apply(controller, asked.amount, asked)

    async def apply(self, controller: PumpController, percent: int, asked: Asked) -> None:
        """Plans, confirms and applies."""
        command = stage.pump_command(percent, fill_of(asked))
        plan = await controller.plan(command, stage.PATIENT)
        await _reads(asked)
        await controller.apply(command, stage.PATIENT, plan.digest, stage.reason(asked.who))

    async def go_on(self, controller: AnyController, record: "Record", asked: Asked) -> None:
        """Applies what the pump holds: continuation, which nothing may refuse (SR-62)."""
        if not isinstance(controller, PumpController):
            raise DeviceFault("this is no pump")
        try:
            held = controller.programs_in(await controller.read_back())
            fills = sorted({fill_of(one) for one in record.asked if one.what == "apply"})
            for fill, percent in itertools.product(fills, (100, 70, 90, 105, 110)):
                if held == (stage.pump_command(percent, fill).program,):
                    asked.amount, asked.where = percent, str(fill or "")
                    await self.apply(controller, percent, asked)
                    asked.told = "done"
                    record.reached["went on at the end"] += 1
        except Refused as error:
            record.wrong.append(f"going on with what the pump holds was refused: {error}")
        except (LinkError, NeuraxisError) as error:
            record.wrong.append(f"going on with what the pump holds failed: {error!r}")


class StimulatorPeople(People):
    """Two operators."""

    requests = frozenset({"apply", "start", "amplitude", "switch", "measure", "stop", "look"})

    async def carry_out(self, controller: AnyController, asked: Asked) -> None:
        """See `People.carry_out`."""
        if not isinstance(controller, StimulatorController):
            raise DeviceFault("this is no stimulator")
        if await _common(controller, asked):
            return
        reason = stage.reason(asked.who)
        match asked.what:
            case "apply":
                command = stage.stimulator_command()
                plan = await controller.plan(command, stage.PATIENT)
                await _reads(asked)
                await controller.apply(command, stage.PATIENT, plan.digest, reason)
            case "start":
                stops = controller.session.lowerings
                await controller.measure(reason)
                program = controller.program_named(asked.where)
                from_zero = controller.state.from_zero is not None
                await controller.start(program, reason, stops, from_zero=from_zero)
            case "amplitude":
                await controller.set_amplitude(1, MicroAmps(asked.amount), reason)
            case "switch":
                await controller.switch(asked.where, reason)
            case "measure":
                await controller.measure(reason)

    def attend(self, controller: AnyController, host: Host) -> None:
        """The owner renews the lease as long as it lives."""
        if isinstance(controller, StimulatorController):
            host.starts(asyncio.ensure_future(self._keep_alive(controller, host)))

    async def _keep_alive(self, controller: StimulatorController, host: Host) -> None:
        try:
            await controller.keep_alive()
        except NeuraxisError:
            host.gone.set()

    async def go_on(self, controller: AnyController, record: "Record", asked: Asked) -> None:
        """The output is off, and can be programmed again."""
        if not isinstance(controller, StimulatorController):
            raise DeviceFault("this is no stimulator")
        try:
            sample = await controller.make_safe("hold")
            if sample.delivering:
                record.wrong.append("a stop on a calm line left the output on")
        except NeuraxisError as error:
            record.wrong.append(f"a stop on a calm line failed: {error!r}")


def fill_of(asked: Asked) -> int:
    """The number of the refill that an apply belongs to."""
    return int(asked.where or 0)


def people_of(family: Family) -> People:
    """Those around a family."""
    return PumpPeople() if family == "pump" else StimulatorPeople()
