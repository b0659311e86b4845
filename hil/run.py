"""`neuraxis run`: plan, confirm, apply, start, watch; and in the end, always, the safe state."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from device_profiles.diagnostics import verdict_of
from device_profiles.errors import DeviceFault, LinkError, NeuraxisError, Refused
from device_profiles.quantities import Milliseconds
from device_profiles.therapy import StimulationTherapy
from firmware_bridge.controller import Plan
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from firmware_bridge.session import Result
from hil.check import Check
from hil.exit_codes import leaves
from hil.monitor_process import Guard
from hil.watch import Watch, Watched
from safety.alarms import Alarm
from safety.commands import Override, ProgramPump, ProgramStimulator
from safety.events import Cleared
from safety.rules_open import judge_override


class Display(Protocol):
    """What a person sees of a run."""

    def say(self, text: str) -> None:
        """One line."""

    def plan(self, plan: Plan) -> None:
        """The plan, before it is confirmed."""

    def watched(self, watched: Watched) -> None:
        """One sample with its alarms."""

    def remind(self, alarm: Alarm) -> None:
        """An alarm that nobody has seen, once more."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is confirmed and when it ends; ``duration`` ``None``: until interrupted.

    ``from_zero``: a stimulator starts at 0 mA and is raised by hand. ``restore`` brings a pump back
    whose line was lost (see `Reconnector.restore`); ``None``: a lost line ends the run.
    """

    confirm: Callable[[Plan], Awaitable[bool]]
    duration: Milliseconds | None
    override: Override | None
    from_zero: bool = False
    restore: Callable[[AnyController, LinkError], Awaitable[None]] | None = None


def require_device_of(check: Check, controller: AnyController) -> None:
    """Raises Refused unless the connected device is the one the file is for."""
    device = check.therapy.device
    if device != controller.identity.model:
        raise Refused(
            f"the file is for {device}, and {controller.identity.serial} is an "
            f"{controller.identity.model}: nothing was sent (SR-25)"
        )


async def plan_for(controller: AnyController, check: Check) -> Plan:
    """The plan of a checked file on a connected device. Raises Refused for the wrong device."""
    require_device_of(check, controller)
    patient, command = check.therapy.patient, check.command
    if isinstance(controller, StimulatorController):
        assert isinstance(command, ProgramStimulator)
        return await controller.plan(command, patient)
    assert isinstance(command, ProgramPump)
    return await controller.plan(command, patient)


async def apply_plan(
    controller: AnyController, check: Check, digest: str, override: Override | None
) -> Result:
    """Applies a checked file under a digest; see `Controller.apply`."""
    require_device_of(check, controller)
    patient, command = check.therapy.patient, check.command
    if isinstance(controller, StimulatorController):
        assert isinstance(command, ProgramStimulator)
        return await controller.apply(command, patient, digest, override)
    assert isinstance(command, ProgramPump)
    return await controller.apply(command, patient, digest, override)


def require_admissible(plan: Plan, override: Override | None) -> None:
    """Raises Refused when a finding of the plan stands against it, a person's reason counted."""
    standing = judge_override(plan.findings, override)
    if not standing:
        return
    if verdict_of(standing) == "needs-reason":
        raise Refused("the plan needs a reason: --override RULE --reason TEXT", standing)
    raise Refused("the plan is refused: nothing was sent", standing)


async def run_therapy(
    controller: AnyController,
    check: Check,
    options: RunOptions,
    display: Display,
    guard: Guard | None = None,
) -> None:
    """Takes a checked file all the way; however it ends, the device is made safe (SR-33).

    ``guard`` is the process that watches this one; without it the run watches alone.
    """
    plan = await plan_for(controller, check)
    display.plan(plan)
    require_admissible(plan, options.override)
    if not await options.confirm(plan):
        raise Refused("not confirmed: nothing was sent")
    require_not_stopped(controller)
    try:
        result = await apply_plan(controller, check, plan.digest, options.override)
        display.say(f"applied: {result.evidence}")
        if isinstance(controller, StimulatorController):
            await _start(controller, check, options, display)
        await _watch(controller, options, display, guard)
    except Refused as refusal:
        if guard is not None and not refusal.findings:  # a finding says itself what to do
            _raise_faults(controller, guard.faults)
        raise
    finally:
        await _make_safe(controller, display)


async def _start(
    controller: StimulatorController, check: Check, options: RunOptions, display: Display
) -> None:
    therapy, override = check.therapy, options.override
    assert isinstance(therapy, StimulationTherapy)
    stops = controller.session.lowerings
    require_not_stopped(controller)
    ohms = await controller.measure(override)
    display.say(f"impedances: {min(ohms)} to {max(ohms)} ohm on {len(ohms)} contacts")
    program = controller.program_named(therapy.start_with)
    require_not_stopped(controller)
    result = await controller.start(program, override, stops, from_zero=options.from_zero)
    at = " at 0 mA, to be raised with `neuraxis amplitude`" if options.from_zero else ""
    display.say(f"started {program.name!r}{at}: {result.evidence}")


def require_not_stopped(controller: AnyController) -> None:
    """Raises Refused once a person has stopped the device from another terminal."""
    if controller.stopped.is_set():
        raise Refused("stopped by another terminal meanwhile: nothing is started (SR-32)")


async def _watch(
    controller: AnyController, options: RunOptions, display: Display, guard: Guard | None
) -> None:
    """Watches and keeps the lease until the time is over, or somebody stopped the device."""
    watch = Watch(controller, display.watched, display.remind)
    if guard is not None:
        guard.polls(True)
    try:
        duration = options.duration
        async with asyncio.timeout(duration / 1_000 if duration is not None else None) as until:
            while (lost := await _watch_one_line(controller, watch, guard, display)) is not None:
                await _restore(controller, options, display, lost)
    except TimeoutError:
        if not until.expired():
            raise
    finally:
        if guard is not None:
            guard.polls(False)
        await watch.finish()
    _raise_faults(controller, watch.faults | (guard.faults if guard is not None else {}))


async def _watch_one_line(
    controller: AnyController, watch: Watch, guard: Guard | None, display: Display
) -> LinkError | None:
    """Watches until somebody stopped the device, ``None``, or until its line is lost: the error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(watch.run())]
            if isinstance(controller, StimulatorController):
                tasks.append(group.create_task(controller.keep_alive()))
            await controller.stopped.wait()
            display.say(_who_stopped(watch, guard))
            for task in tasks:
                task.cancel()
    except* LinkError as errors:
        lost = leaves(errors)[0]
        assert isinstance(lost, LinkError)
    else:
        return None
    # Whatever was silenced is to be heard again: nobody sees the device any more (SR-55).
    await controller.raise_alarm(_link_lost(lost))
    return lost


async def _restore(
    controller: AnyController, options: RunOptions, display: Display, lost: LinkError
) -> None:
    """Brings a pump back; a stimulator without its host is on its way to zero, and stays there."""
    if options.restore is None or isinstance(controller, StimulatorController):
        raise lost
    await options.restore(controller, lost)
    await controller.gate.tell(Cleared(controller.now(), _link_lost(lost).code))
    display.say(f"{controller.identity.serial} is back; its program was read back and compared")


def _link_lost(why: LinkError) -> Alarm:
    return Alarm("link-lost", "LOW", "SR-52", str(why))


def _raise_faults(controller: AnyController, faults: dict[str, Alarm]) -> None:
    """Raises DeviceFault where an alarm above LOW was seen."""
    if faults:
        seen = "; ".join(f"{alarm.code}: {alarm.text}" for alarm in faults.values())
        raise DeviceFault(f"{controller.identity.serial} raised alarms while it ran: {seen}")


def _who_stopped(watch: Watch, guard: Guard | None) -> str:
    reason = watch.stopped_for or (guard.stopped_for if guard is not None else None)
    if reason is None:
        return "stopped by another terminal"
    return f"stopped by the monitor: {reason.code}: {reason.text}"


async def _make_safe(controller: AnyController, display: Display) -> None:
    """Stops and confirms, whatever happened before; a failure to confirm is the severest news."""
    sample = await controller.make_safe("hold")
    for intent in controller.state.unsettled:
        with suppress(NeuraxisError):
            await controller.settle(intent)
    # What became of the run is told by its end: a view that fails here takes no part in that.
    with suppress(Exception):
        display.watched(Watched(sample, ()))
    with suppress(Exception):
        display.say(f"safe state confirmed: {controller.identity.serial} is {sample.state}")
