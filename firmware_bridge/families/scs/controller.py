"""What only a stimulator can do: start, change its amplitude, switch, measure, live on a lease."""

import asyncio
from dataclasses import replace

from device_profiles.errors import DeviceFault, Refused, UsageError
from device_profiles.notation import write_current
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import MicroAmps, Ohms
from firmware_bridge.controller import Controller
from firmware_bridge.families.scs.wire import (
    AskImpedance,
    Impedances,
    LowerAmplitude,
    Renew,
    Renewed,
)
from firmware_bridge.protocol.messages import AskOutcome, OutcomeOf
from firmware_bridge.protocol.messages import Refused as RefusedByDevice
from firmware_bridge.session import Result
from safety.commands import (
    ChangeAmplitude,
    MeasureImpedance,
    Override,
    ProgramStimulator,
    StartStimulation,
)
from safety.events import Lowered, Measured
from safety.limits import PumpLimits
from safety.outputs import ImpedancePulses, Output, Stimulation, StimulatorProgram

RENEWALS_PER_LEASE = 4
MEASURE_S, MEASURE_POLL_S = 30, 0.5
"""How long a measurement may take, and how often the device is asked whether it is done."""
MEASURE_POLLS = int(MEASURE_S / MEASURE_POLL_S)
NOBODY = "none"
"""The patient of a device that holds no program of ours."""


class StimulatorController(Controller[StimulatorProfile, ProgramStimulator]):
    """One stimulator under one owner."""

    _falling_to: tuple[MicroAmps, ...] | None = None
    """What a lowering under way has asked for: nothing that follows may start from more."""
    by_itself = "The stimulator ramps to zero by itself when its lease ends."

    def outputs_of(self, command: ProgramStimulator) -> tuple[Output, ...]:
        """See `Controller.outputs_of`."""
        return command.programs

    def verified_outputs(self) -> tuple[Output, ...]:
        """See `Controller.verified_outputs`."""
        return self.state.programs

    def limits_of(self, command: ProgramStimulator) -> PumpLimits | None:
        """None: a stimulator's patient limits are in its programs."""
        return None

    async def found(self, programs: tuple[Output, ...]) -> None:
        """See `KnownDevice.found`: a stimulator is off until it is started."""

    async def counted(self, count: OutcomeOf) -> None:
        """See `KnownDevice.counted`: a stimulator counts nothing."""

    async def _prepare_programming(self) -> int:
        """The output goes to zero before a program changes (SR-43, SR-44)."""
        if (await self.sample()).delivering or self.state.running is not None:
            await self.make_safe("hold")
            return 1
        return 0

    # --- start -------------------------------------------------------------------------------

    def program_named(self, name: str) -> StimulatorProgram:
        """The verified program of this name; raises Refused."""
        for program in self.state.programs:
            if program.name == name:
                return program
        names = ", ".join(program.name for program in self.state.programs) or "none"
        raise Refused(f"{self.identity.serial} holds no program {name!r}; it holds: {names}")

    async def start(
        self,
        program: StimulatorProgram,
        override: Override | None = None,
        stops: int | None = None,
        *,
        from_zero: bool = False,
    ) -> Result:
        """Ramps a verified program up from zero to its own amplitudes.

        ``from_zero``: every area stays at 0 mA until its amplitude is raised; so it must be after
        an output that did not end by a person's doing (SR-50). The impedances must have been
        measured within the profile's time. From here on `keep_alive` must renew the lease. Raises
        as `carry_out`.
        """
        stimulation = Stimulation(
            program, tuple(MicroAmps(0) if from_zero else area.amplitude for area in program.areas)
        )
        command = StartStimulation(stimulation, self.profile)
        return await self.carry_out(
            command, self.state.patient or NOBODY, override, live=True, stops=stops
        )

    async def measure(self, override: Override | None = None) -> tuple[Ohms, ...]:
        """Measures each contact; the output must be off. Ohms of E1, E2, …"""
        stops = self.session.lowerings
        await self.sample()
        test = self.profile.impedance
        pulses = ImpedancePulses(
            self.profile.contacts, test.test_current, test.test_width, test.test_pulses
        )
        command = MeasureImpedance(pulses, self.profile)
        result = await self.carry_out(command, self.state.patient or NOBODY, override, stops=stops)
        await self._wait_for_measurement(result)
        found = await self.session.query(AskImpedance(), Impedances)
        if found.id != result.intent_id or len(found.ohms) != self.profile.contacts:
            raise DeviceFault(
                f"{self.identity.serial} answered with another measurement than the one asked for"
            )
        ohms = tuple(Ohms(value) for value in found.ohms)
        await self.gate.tell(Measured(self.now(), result.intent_id, ohms))
        return ohms

    async def _wait_for_measurement(self, result: Result) -> None:
        """A device may measure for longer than a reply is waited for: it is asked until it is done.

        Raises DeviceFault when it was cut short, or takes too long.
        """
        state = result.count.state if result.count is not None else "executed"
        for _ in range(MEASURE_POLLS):
            if state != "running":
                break
            await asyncio.sleep(MEASURE_POLL_S)
            asked = AskOutcome(result.intent_id)
            state = (await self.session.query(asked, OutcomeOf)).state
        if state != "executed":
            what = "still measures" if state == "running" else "did not measure to the end"
            raise DeviceFault(
                f"{self.identity.serial} {what} ({state} after {MEASURE_S:g} s at most): look at "
                "it, then measure again"
            )

    async def switch(self, name: str, override: Override | None = None) -> Result:
        """Ramps the running program to zero, then another one up; the stimulator must be on."""
        stops = self.session.lowerings
        program = self.program_named(name)
        await self.sample()
        if self.state.running is None:
            raise Refused("the stimulator's output is off: start it with `neuraxis run`")
        await self.make_safe("hold")
        return await self.start(program, override, stops + 1)

    # --- amplitude ---------------------------------------------------------------------------

    async def set_amplitude(
        self, area: int | None, amplitude: MicroAmps, override: Override | None = None
    ) -> Result:
        """Sets the amplitude of one area of the running program; ``None``: of its only area.

        An amplitude at or below what flows is a de-escalation: it is sent at once and nothing
        can refuse it. Raises as `carry_out`.
        """
        running = self.state.running
        if running is None:
            raise Refused("the stimulator's output is off: only a running program has an amplitude")
        if amplitude < 0:
            raise UsageError(f"an amplitude is 0 mA or more, not {amplitude} uA")
        flowing = self._falling_to or running.amplitudes
        wanted = list(flowing)
        wanted[only_area(running, area)] = amplitude
        amplitudes = tuple(wanted)
        if all(new <= old for new, old in zip(amplitudes, flowing, strict=True)):
            return await self._lower(amplitudes)
        changed = replace(running, amplitudes=amplitudes)
        command = ChangeAmplitude(changed, self.profile)
        return await self.carry_out(command, self.state.patient or NOBODY, override, live=True)

    async def _lower(self, amplitudes: tuple[MicroAmps, ...]) -> Result:
        step = self.profile.amplitude_step
        if any(amplitude % step for amplitude in amplitudes):
            raise Refused(f"this device sets amplitudes in steps of {write_current(step)} (SR-40)")
        self._falling_to = amplitudes
        with self._row.place() as place:
            try:
                reply = await self.session.lower(LowerAmplitude(list[int](amplitudes)))
                if isinstance(reply, RefusedByDevice):
                    raise DeviceFault(
                        f"{self.identity.serial} did not lower its amplitudes: {reply.detail}; its "
                        f"output is {(await self.sample()).state}"
                    )
                await place.turn()  # a raise that left before it stands before it in the journal
                await self.gate.tell(Lowered(self.now(), amplitudes))
            finally:
                if self._falling_to is amplitudes:
                    self._falling_to = None
        return Result("delivered", "the amplitudes are falling")

    # --- lease -------------------------------------------------------------------------------

    async def keep_alive(self) -> None:
        """Renews the lease of whatever output runs, until cancelled (SR-53).

        Raises LinkError or DeviceFault when the device no longer takes it; the device then ramps
        to zero by itself.
        """
        pause = self.profile.lease / RENEWALS_PER_LEASE / 1_000
        while True:
            if self.session.is_live:
                await self._renew()
            await asyncio.sleep(pause)

    async def _renew(self) -> None:
        try:
            await self.session.renew(Renew(self.profile.lease), Renewed)
        except DeviceFault as error:
            if not self.session.is_live:
                return  # it was stopped while the renewal was on its way, and rightly refuses it
            raise DeviceFault(
                f"{self.identity.serial}: the output ended although nobody stopped it: the device "
                "has restarted, its lease ran out, or a magnet or its MRI mode ended it "
                f"({error}). `neuraxis status` shows which; after all but a lost lease it begins "
                "at 0 mA again, with `neuraxis run FILE --from-zero`"
            ) from error


def only_area(running: Stimulation, area: int | None) -> int:
    """The place of an area (from 1; ``None``: the only one) in a program. Raises UsageError."""
    count = len(running.amplitudes)
    if area is None:
        if count > 1:
            raise UsageError(
                f"program {running.program.name!r} has {count} areas: say which, with --area 1 "
                f"to --area {count}"
            )
        return 0
    if not 1 <= area <= count:
        raise UsageError(f"program {running.program.name!r} has areas 1 to {count}, not {area}")
    return area - 1
