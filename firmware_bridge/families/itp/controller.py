"""What only a pump can do: a bolus on top of its verified basal, and the prime of a fill."""

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
from safety.change_notes import change_notes
from safety.commands import GiveBolus, Override, Prime, ProgramPump, PumpEvidence
from safety.doubt import narrowed
from safety.events import Counted, Found
from safety.limits import PumpLimits, pump_limits
from safety.outputs import BolusOutput, Output, PrimeOutput, PumpProgram
from safety.rules_line import is_line_still, judge_line_is_still
from safety.rules_prime import prime_volume
from safety.state import programs_in_window


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

    async def join(self) -> None:
        """See `KnownDevice.join`; what had not ended, bolus or bridge or prime, is asked after."""
        await super().join()
        await self._count_open_boluses()
        await self._line_left()

    async def found(self, programs: tuple[Output, ...]) -> None:
        """Going on means what the pump itself is found to deliver, whoever put it there."""
        for program in programs:
            if isinstance(program, PumpProgram) and self.state.last_verified != program:
                await self.gate.tell(Found(self.now(), program))
        is_new = self.state.last_verified is None and not self.state.unknown_program
        if not programs and is_new and (await self._evidence()).fill_at_ms:
            await self._unverified(0, "the pump has been filled and holds no program", True)

    async def with_evidence(self, command: ProgramPump) -> ProgramPump:
        """The command with the pump's clock and its own count of what is left."""
        return replace(command, evidence=await self._evidence())

    async def _evidence(self) -> PumpEvidence:
        """What the pump says of itself now; a bridge or a prime that is over is recorded."""
        status = await self.session.query(AskStatus(), PumpStatus)
        await self._note_line(status)
        keeps_our_time = self.identity.speed == 1
        return PumpEvidence(
            Milliseconds(status.clock - self.now().wall if keeps_our_time else 0),
            NanoLitres(status.reservoir),
            Milliseconds(status.fill_at),
            NanoLitres(status.line_left + status.settling),
        )

    def notes_of(self, command: ProgramPump) -> tuple[str, ...]:
        """See `Controller.notes_of`."""
        known = programs_in_window(self.state, self.now())
        return change_notes(self.state.last_verified, known, command)

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
        program = await self._verified()
        await self._count_open_boluses()
        if left := await self._line_left():
            (finding,) = judge_line_is_still(self.state.line_moves, self.now(), left)
            raise Refused(f"refused: {finding.rule}, {finding.message}", (finding,))
        if self.state.pump_program != program:
            raise Refused("another program was applied meanwhile: ask again (SR-58)")
        volume = volume_for(dose, program.drugs[0].concentration)
        command = GiveBolus(BolusOutput(volume, over), self.profile)
        patient = self.state.patient or "none"
        return await self.carry_out(command, patient, override, stops=stops, epoch=self.state.epoch)

    async def prime_of_fill(self, over: Milliseconds) -> tuple[PumpProgram, PrimeOutput]:
        """What the one prime of the verified program's fill would move, and that program.

        Sends only queries. Raises Refused without a verified program.
        """
        program = await self._verified()
        volume = prime_volume(program.catheter, self.profile)
        return program, PrimeOutput(volume, over, program.fill_at_ms)

    async def prime(self, prime: PrimeOutput, override: Override | None = None) -> Result:
        """Moves what is in the reservoir up to the tip, as `prime_of_fill` has it; once for a fill.

        Raises as `carry_out`.
        """
        stops = self.session.lowerings
        await self._verified()
        command = Prime(prime, self.profile, await self._evidence())
        return await self.carry_out(command, self.state.patient or "none", override, stops=stops)

    async def _verified(self) -> PumpProgram:
        """The program that is verified and really in the pump; Refused if there is none."""
        program = self.state.pump_program
        if program is None or not await self._read_back_equals((program,)):
            raise Refused(
                f"{self.identity.serial} does not hold a program that this host has verified: "
                "apply the therapy file first (SR-22)"
            )
        return program

    async def _line_left(self) -> NanoLitres:
        """What the pump still has to move in its line, asked where something may be under way."""
        program, now = self.state.pump_program, self.now()
        bridged = program is not None and program.bridge is not None
        if not bridged and is_line_still(self.state.line_moves, now):
            return NanoLitres(0)
        status = await self.session.query(AskStatus(), PumpStatus)
        await self._note_line(status)
        return NanoLitres(status.line_left + status.settling)

    async def _note_line(self, status: PumpStatus) -> None:
        """Records that bridges and primes are over, once the pump itself has nothing left to move.

        Only a pump that still holds the fill they belong to can say so.
        """
        program, now = self.state.pump_program, self.now()
        holds = program is not None and status.fill_at == program.fill_at_ms
        is_moving = status.line_left or status.settling
        if is_moving or not holds or status.state == "empty-program":
            return
        unsettled = {intent.id for intent in self.state.unsettled}
        for move in self.state.line_moves:
            if move.id in unsettled:
                continue
            if move.what == "prime":
                await self.progress_of(move.id)
            elif program is not None and program.bridge is not None:
                await self.gate.tell(Counted(now, move.id, "executed", program.bridge.volume))

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
        """Narrows what a bolus may have delivered; a count of more than was asked is an alarm.

        Of a prime it tells that it is over.
        """
        moves = self.state.line_moves
        if any(one.id == count.id and one.what == "prime" for one in moves):
            if count.state == "executed" or count.state == "interrupted":
                ended = Counted(self.now(), count.id, count.state, NanoLitres(count.delivered))
                await self.gate.tell(ended)
            return
        asked = next((one for one in self.state.reservations if one.id == count.id), None)
        if asked is None or asked.closed or count.state == "unknown" or count.state == "refused":
            return
        event = Counted(self.now(), count.id, count.state, NanoLitres(count.delivered))
        if narrowed(asked, event.state, event.volume, event.at) == asked:
            return  # no news, and nothing for the journal
        await self.gate.tell(event)
        if asked.what == "bolus" and count.delivered > asked.most:
            text = (
                f"bolus {count.id:#x}: {write_volume(asked.most)} asked for, and the pump counts "
                f"{write_volume(NanoLitres(count.delivered))}"
            )
            await self.raise_alarm(Alarm("bolus-over", "HIGH", "SR-54", text))
