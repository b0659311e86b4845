"""The pump family, seen from the host: therapy to Outputs, Outputs to frames, and back."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from device_profiles.errors import DeviceFault, UsageError
from device_profiles.formulary import Formulary, StopPolicy
from device_profiles.profile import PumpProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import (
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    flow_for,
    volume_for,
)
from device_profiles.therapy import InfusionTherapy
from firmware_bridge.driver import Capabilities, Procedure, Sample, Step
from firmware_bridge.families.itp.wire import (
    FAMILY,
    Bolus,
    Prime,
    PumpStatus,
    WireBridge,
    WireDrug,
    WirePatientBolus,
    WirePumpProgram,
    WireStep,
)
from firmware_bridge.protocol.blob import decode_program, digest_of, encode_program
from firmware_bridge.protocol.messages import (
    Commit,
    Done,
    Reply,
    Stage,
    Staged,
    TherapyRequest,
)
from safety.events import Intended
from safety.outputs import (
    BolusOutput,
    Bridge,
    DrugInPump,
    FlowStep,
    Output,
    PatientBolusOutput,
    PrimeOutput,
    PumpProgram,
)

CREDIBLE_FLOW = NanoLitresPerDay(30_000_000)
"""More than any pump of the family can be programmed to, accuracy included: beyond it the pump
runs free, and no stop has brought it to a safe state."""
_STRICTEST_LAST: tuple[StopPolicy, ...] = ("may-stop", "hold-basal", "never-stop")


def output_of(therapy: InfusionTherapy, formulary: Formulary, wall: Milliseconds) -> PumpProgram:
    """Compiles a therapy at a wall time, whose UTC offset the pump will run on.

    Doses are rounded down to the device's steps; the plan shows what will really flow. Raises
    UsageError when a bridge is asked of a device that is no pump.
    """
    concentration = therapy.drugs[0].concentration
    bolus = therapy.patient_bolus
    return PumpProgram(
        drugs=tuple(DrugInPump(drug.name, drug.concentration) for drug in therapy.drugs),
        basal=_basal_at(concentration, therapy),
        utc_offset_min=utc_offset_minutes(therapy.timezone, wall),
        patient_bolus=PatientBolusOutput(
            volume_for(bolus.dose, concentration), bolus.over, bolus.lockout, bolus.max_per_24h
        )
        if bolus
        else None,
        fill_volume=therapy.fill.volume,
        fill_at_ms=therapy.fill.at_ms,
        low_reservoir=therapy.fill.low_reservoir,
        catheter=therapy.catheter.volume,
        primed=therapy.catheter.primed,
        stop_policy=_stop_policy(therapy, formulary),
        bridge=_bridge_of(therapy) if therapy.bridge_from else None,
    )


def _basal_at(
    concentration: NanogramsPerMillilitre, therapy: InfusionTherapy
) -> tuple[FlowStep, ...]:
    return tuple(FlowStep(step.start, flow_for(step.rate, concentration)) for step in therapy.basal)


def _bridge_of(therapy: InfusionTherapy) -> Bridge:
    """The same doses in what the line holds, until all of it has left.

    Without flows where the drug that sets them is not in the line: the judge refuses that.
    """
    profile = load_profile(therapy.device)
    if not isinstance(profile, PumpProfile):
        raise UsageError(f"{therapy.device} is no pump: it has no line to bridge")
    held = [
        drug.concentration for drug in therapy.bridge_from if drug.name == therapy.drugs[0].name
    ]
    return Bridge(
        drugs=tuple(DrugInPump(drug.name, drug.concentration) for drug in therapy.bridge_from),
        basal=_basal_at(held[0], therapy) if held else (),
        volume=NanoLitres(profile.tubing + therapy.catheter.volume),
    )


def utc_offset_minutes(timezone: str | None, wall: Milliseconds) -> int:
    """The offset from UTC in force in a zone at a wall time, minutes; 0 without a zone."""
    if timezone is None:
        return 0
    moment = datetime.fromtimestamp(wall // 1_000, UTC).astimezone(ZoneInfo(timezone))
    offset = moment.utcoffset()
    return int(offset.total_seconds()) // 60 if offset else 0


def _stop_policy(therapy: InfusionTherapy, formulary: Formulary) -> StopPolicy:
    """SR-30: the strictest policy of the mixture's drugs; an unknown drug is never stopped."""
    entries = [formulary.find(drug.name) for drug in therapy.drugs]
    policies: list[StopPolicy] = [e.stop_policy if e else "never-stop" for e in entries]
    return max(policies, key=_STRICTEST_LAST.index)


@lru_cache(maxsize=16)
def program_in(blob: bytes) -> PumpProgram:
    """The program whose bytes these are; raises MessageError. The same bytes come back often."""
    wire = decode_program(WirePumpProgram, blob)
    bolus, bridge = wire.patient_bolus, wire.bridge
    return PumpProgram(
        drugs=_drugs_of(wire.drugs),
        basal=_steps_of(wire.basal),
        utc_offset_min=wire.utc_offset_min,
        patient_bolus=PatientBolusOutput(
            NanoLitres(bolus.volume),
            Milliseconds(bolus.over),
            Milliseconds(bolus.lockout),
            bolus.max_per_24h,
        )
        if bolus
        else None,
        fill_volume=NanoLitres(wire.fill_volume),
        fill_at_ms=Milliseconds(wire.fill_at),
        low_reservoir=NanoLitres(wire.low_reservoir),
        catheter=NanoLitres(wire.catheter),
        primed=wire.primed,
        stop_policy=wire.stop_policy,
        bridge=Bridge(_drugs_of(bridge.drugs), _steps_of(bridge.basal), NanoLitres(bridge.volume))
        if bridge
        else None,
    )


@lru_cache(maxsize=16)
def blob_of(program: PumpProgram) -> bytes:
    """The bytes of a program as the device keeps them."""
    bolus, bridge = program.patient_bolus, program.bridge
    return encode_program(
        WirePumpProgram(
            drugs=_drugs_to_wire(program.drugs),
            basal=_steps_to_wire(program.basal),
            utc_offset_min=program.utc_offset_min,
            patient_bolus=WirePatientBolus(
                volume=bolus.volume,
                over=bolus.over,
                lockout=bolus.lockout,
                max_per_24h=bolus.max_per_24h,
            )
            if bolus
            else None,
            fill_volume=program.fill_volume,
            fill_at=program.fill_at_ms,
            low_reservoir=program.low_reservoir,
            catheter=program.catheter,
            primed=program.primed,
            stop_policy=program.stop_policy,
            bridge=WireBridge(
                drugs=_drugs_to_wire(bridge.drugs),
                basal=_steps_to_wire(bridge.basal),
                volume=bridge.volume,
            )
            if bridge
            else None,
        )
    )


def _drugs_to_wire(drugs: Iterable[DrugInPump]) -> list[WireDrug]:
    return [WireDrug(name=drug.name, concentration=drug.concentration) for drug in drugs]


def _steps_to_wire(steps: Iterable[FlowStep]) -> list[WireStep]:
    return [WireStep(start=step.start, flow=step.flow) for step in steps]


def _drugs_of(drugs: Iterable[WireDrug]) -> tuple[DrugInPump, ...]:
    return tuple(
        DrugInPump(drug.name, NanogramsPerMillilitre(drug.concentration)) for drug in drugs
    )


def _steps_of(steps: Iterable[WireStep]) -> tuple[FlowStep, ...]:
    return tuple(FlowStep(MinuteOfDay(step.start), NanoLitresPerDay(step.flow)) for step in steps)


class PumpDriver:
    """Driver of the family ``itp``; keeps no state."""

    family = FAMILY
    capabilities = Capabilities(
        remembers_ids=True, lease=False, reads_back=True, stages=True, ramps=False, odometer=True
    )
    slots = 1

    def procedure(self, intent: Intended) -> Procedure:
        """The steps that carry out an intent; see `Driver.procedure`."""
        (output,) = intent.outputs
        if isinstance(output, BolusOutput | PrimeOutput):
            request = _one_frame(intent.id, output)
            return Procedure(intent.id, (Step(request, Done(intent.id), shows=1),))
        if not isinstance(output, PumpProgram):
            raise TypeError(f"a pump cannot show {output.kind}")
        blob = blob_of(output)
        digest = digest_of(blob)
        return Procedure(
            intent.id,
            (
                Step(Stage(0, blob), Staged(0, digest), prepares=0),
                Step(Commit(intent.id, 1, digest), Done(intent.id), shows=1),
            ),
        )

    def matches(self, request: TherapyRequest, outputs: tuple[Output, ...]) -> bool:
        """Last look; see `Driver.matches`."""
        (output,) = outputs
        match request:
            case Stage():
                return request.slot == 0 and self.program_of(0, request.program) == output
            case Commit():
                return (
                    isinstance(output, PumpProgram)
                    and request.slots == 1
                    and request.digest == digest_of(blob_of(output))
                )
            case Bolus():
                return (
                    isinstance(output, BolusOutput)
                    and request.volume == output.volume
                    and request.over == output.over
                )
            case Prime():
                return (
                    isinstance(output, PrimeOutput)
                    and request.volume == output.volume
                    and request.over == output.over
                    and request.fill_at == output.fill_at_ms
                )
            case _:
                return False

    def program_of(self, slot: int, blob: bytes) -> PumpProgram:
        """The Output of a program that was read back; see `Driver.program_of`."""
        return program_in(blob)

    def sample(self, status: Reply) -> Sample:
        """See `Driver.sample`."""
        return pump_sample(status)


def _one_frame(intent_id: int, output: BolusOutput | PrimeOutput) -> Bolus | Prime:
    if isinstance(output, PrimeOutput):
        return Prime(intent_id, output.volume, output.over, output.fill_at_ms)
    return Bolus(intent_id, output.volume, output.over)


def pump_sample(status: Reply) -> Sample:
    """A status message in common words. Raises DeviceFault for anything else.

    Safe is a pump without a bolus or prime; a bridge may go on, since it is basal.
    """
    if not isinstance(status, PumpStatus):
        raise DeviceFault(f"the pump answered a status request with {type(status).__name__}")
    return Sample(
        clock=Milliseconds(status.clock),
        boot=status.boot,
        state=status.state,
        safe=(
            status.state in ("held", "halted", "empty-program")
            and status.bolus_id == 0
            and status.flow <= CREDIBLE_FLOW
        ),
        delivering=status.flow > 0,
        values={
            "flow_nL_per_day": status.flow,
            "delivered_nL": status.delivered,
            "reservoir_nL": status.reservoir,
            "line_left_nL": status.line_left,
            "settling_nL": status.settling,
            "patient_boluses": status.patient_boluses,
        },
        alarms=(*status.alarms, *(("free-flow",) if status.flow > CREDIBLE_FLOW else ())),
    )
