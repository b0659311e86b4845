"""What only a pump can do: a bolus on top of its verified basal."""

from dataclasses import replace

from device_profiles.errors import Refused
from device_profiles.notation import write_volume
from device_profiles.profile import PumpProfile
from device_profiles.quantities import Femtograms, Milliseconds, NanoLitres, volume_for
from firmware_bridge.controller import Controller
from firmware_bridge.families.itp.wire import PumpStatus
from firmware_bridge.protocol.messages import AskOutcome, AskStatus, OutcomeOf
from firmware_bridge.session import Result
from safety.alarms import Alarm
from safety.commands import GiveBolus, Override, ProgramPump, PumpEvidence
from safety.events import Counted, Found
from safety.limits import PumpLimits, pump_limits
from safety.outputs import BolusOutput, Output, PumpProgram


class PumpController(Controller[PumpProfile, ProgramPump]):
    """One pump under one owner."""

    by_itself = "The pump goes on with its verified basal."

    def outputs_of(self, command: ProgramPump) -> tuple[Output, ...]:
        """See `Controller.outputs_of`."""
        return (command.program,)

    def verified_outputs(self) -> tuple[Output, ...]:
        """See `Controller.verified_outputs`."""
        program = self.state.pump_program
        return (program,) if program is not None else ()

    async def begin(self) -> None:
        """See `Controller.begin`; boluses that had not ended are counted anew."""
        await super().begin()
        await self._count_open_boluses()

    async def found(self, programs: tuple[Output, ...]) -> None:
        """Where no program was verified, going on means what the pump was left to deliver."""
        for program in programs:
            if isinstance(program, PumpProgram) and self.state.last_verified is None:
                await self.gate.tell(Found(self.now(), program))

    async def with_evidence(self, command: ProgramPump) -> ProgramPump:
        """The command with the pump's clock and its own count of what is left."""
        status = await self.session.query(AskStatus(), PumpStatus)
        keeps_our_time = self.identity.speed == 1
        evidence = PumpEvidence(
            Milliseconds(status.clock - self.now().wall if keeps_our_time else 0),
            NanoLitres(status.reservoir),
            Milliseconds(status.fill_at),
        )
        return replace(command, evidence=evidence)

    def limits_of(self, command: ProgramPump) -> PumpLimits | None:
        """The limits of every drug, from all layers."""
        limits, _ = pump_limits(command.therapy, command.formulary)
        return limits

    async def bolus(
        self, dose: Femtograms, over: Milliseconds, override: Override | None = None
    ) -> Result:
        """Delivers one dose of the first drug on top of the basal, rounded down to whole nL.

        The pump's program is read back first: a bolus is judged by what is really in the pump.
        Raises as `carry_out`.
        """
        stops = self.session.lowerings
        program = self.state.pump_program
        if program is None or not await self._read_back_equals((program,)):
            raise Refused(
                f"{self.identity.serial} does not hold a program that this host has verified: "
                "apply the therapy file first (SR-22)"
            )
        await self._count_open_boluses()
        volume = volume_for(dose, program.drugs[0].concentration)
        command = GiveBolus(BolusOutput(volume, over), self.profile)
        return await self.carry_out(command, self.state.patient or "none", override, stops=stops)

    async def _count_open_boluses(self) -> None:
        """Asks after every bolus that had not ended when last heard of."""
        for bolus in self.state.reservations:
            if not bolus.closed:
                await self.progress_of(bolus.id)

    async def progress_of(self, intent_id: int) -> OutcomeOf:
        """How far the bolus of an intent has come, by the pump's own count, which is recorded."""
        answer = await self.session.query(AskOutcome(intent_id), OutcomeOf)
        if answer.id == intent_id:
            await self.counted(answer)
        return answer

    async def counted(self, count: OutcomeOf) -> None:
        """Narrows what a bolus may have delivered; a count of more than was asked is an alarm."""
        asked = next((one for one in self.state.reservations if one.id == count.id), None)
        if asked is None or asked.closed or count.state == "unknown" or count.state == "refused":
            return
        event = Counted(self.now(), count.id, count.state, NanoLitres(count.delivered))
        await self.gate.tell(event)
        if count.delivered > asked.most:
            text = (
                f"bolus {count.id:#x}: {write_volume(asked.most)} asked for, and the pump counts "
                f"{write_volume(NanoLitres(count.delivered))}"
            )
            await self.raise_alarm(Alarm("bolus-over", "HIGH", "SR-54", text))
