"""`neuraxis run`: plan, confirm, apply, start, watch; and in the end, always, the safe state."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from device_profiles.errors import NeuraxisError, Refused
from device_profiles.quantities import Milliseconds
from device_profiles.therapy import StimulationTherapy
from firmware_bridge.controller import Plan
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from firmware_bridge.session import Result
from hil.check import Check
from hil.watch import Watch, Watched
from safety.commands import Override, ProgramPump, ProgramStimulator


class Display(Protocol):
    """What a person sees of a run."""

    def say(self, text: str) -> None:
        """One line."""

    def plan(self, plan: Plan) -> None:
        """The plan, before it is confirmed."""

    def watched(self, watched: Watched) -> None:
        """One sample with its alarms."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is confirmed and when it ends; ``duration`` ``None``: until interrupted."""

    confirm: Callable[[Plan], Awaitable[bool]]
    duration: Milliseconds | None
    override: Override | None


async def plan_for(controller: AnyController, check: Check) -> Plan:
    """The plan of a checked file on a connected device; raises Refused for the wrong device."""
    therapy, command = check.therapy, check.command
    if therapy.device != controller.identity.model:
        raise Refused(
            f"the file is for {therapy.device}, and {controller.identity.serial} is an "
            f"{controller.identity.model}: nothing was sent"
        )
    if isinstance(controller, StimulatorController) and isinstance(command, ProgramStimulator):
        return await controller.plan(command, therapy.patient)
    if not isinstance(controller, StimulatorController) and isinstance(command, ProgramPump):
        return await controller.plan(command, therapy.patient)
    raise Refused("the file is for another kind of device: nothing was sent")


async def apply_plan(
    controller: AnyController, check: Check, digest: str, override: Override | None
) -> Result:
    """Applies a checked file under a digest; see `Controller.apply`."""
    patient, command = check.therapy.patient, check.command
    if isinstance(controller, StimulatorController) and isinstance(command, ProgramStimulator):
        return await controller.apply(command, patient, digest, override)
    if not isinstance(controller, StimulatorController) and isinstance(command, ProgramPump):
        return await controller.apply(command, patient, digest, override)
    raise Refused("the file is for another kind of device: nothing was sent")


async def run_therapy(
    controller: AnyController, check: Check, options: RunOptions, display: Display
) -> None:
    """Takes a checked file all the way; leaves the device in its safe state however it ends."""
    plan = await plan_for(controller, check)
    display.plan(plan)
    if not await options.confirm(plan):
        raise Refused("not confirmed: nothing was sent")
    try:
        result = await apply_plan(controller, check, plan.digest, options.override)
        display.say(f"applied: {result.evidence}")
        if isinstance(controller, StimulatorController):
            await _start(controller, check, options.override, display)
        await _watch(controller, options.duration, display)
    finally:
        await _make_safe(controller, display)


async def _start(
    controller: StimulatorController, check: Check, override: Override | None, display: Display
) -> None:
    therapy = check.therapy
    assert isinstance(therapy, StimulationTherapy)
    ohms = await controller.measure(override)
    display.say(f"impedances: {min(ohms)} to {max(ohms)} ohm on {len(ohms)} contacts")
    program = controller.program_named(therapy.start_with)
    result = await controller.start(program, override)
    display.say(f"started {program.name!r}: {result.evidence}")


async def _watch(
    controller: AnyController, duration: Milliseconds | None, display: Display
) -> None:
    """Watches and keeps the lease until the time is over, or somebody stopped the device."""
    watch = Watch(controller, display.watched)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watch.run())]
        if isinstance(controller, StimulatorController):
            tasks.append(group.create_task(controller.keep_alive()))
        with suppress(TimeoutError):
            async with asyncio.timeout(duration / 1_000 if duration is not None else None):
                await controller.stopped.wait()
                display.say("stopped by another terminal")
        for task in tasks:
            task.cancel()


async def _make_safe(controller: AnyController, display: Display) -> None:
    """Stops and confirms, whatever happened before; a failure to confirm is the severest news."""
    sample = await controller.make_safe("hold")
    display.say(f"safe state confirmed: {controller.identity.serial} is {sample.state}")
    for intent in controller.state.unsettled:
        with suppress(NeuraxisError):
            await controller.settle(intent.id)
