"""What only a pump can do: a bolus on top of its verified basal."""

from device_profiles.errors import Refused
from device_profiles.profile import PumpProfile
from device_profiles.quantities import Femtograms, Milliseconds, volume_for
from firmware_bridge.controller import Controller
from firmware_bridge.protocol.messages import AskOutcome, OutcomeOf
from firmware_bridge.session import Result
from safety.commands import GiveBolus, Override, ProgramPump
from safety.limits import PumpLimits, pump_limits
from safety.outputs import BolusOutput, Output


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
        volume = volume_for(dose, program.drugs[0].concentration)
        command = GiveBolus(BolusOutput(volume, over), self.profile)
        return await self.carry_out(command, self.state.patient or "none", override, stops=stops)

    async def progress_of(self, intent_id: int) -> OutcomeOf:
        """How far the bolus of an intent has come, by the pump's own count."""
        return await self.session.query(AskOutcome(intent_id), OutcomeOf)
