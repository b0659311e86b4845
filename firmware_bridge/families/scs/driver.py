"""The stimulator family, seen from the host: therapy to Outputs, Outputs to frames, and back."""

from functools import lru_cache

from device_profiles.errors import DeviceFault
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import MicroAmps, Microseconds, MilliHertz, Milliseconds, Percent
from device_profiles.therapy import Area, ElectrodeShare, Program, StimulationTherapy
from firmware_bridge.driver import Capabilities, Procedure, Sample, Step
from firmware_bridge.families.scs.wire import (
    FAMILY,
    Measure,
    SetAmplitude,
    Start,
    StimulatorStatus,
    WireArea,
    WireElectrode,
    WireProgram,
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
from safety.outputs import AreaOutput, ImpedancePulses, Output, Stimulation, StimulatorProgram


def outputs_of(therapy: StimulationTherapy) -> tuple[StimulatorProgram, ...]:
    """Compiles a therapy: one Output for each program, in the order of the file."""
    return tuple(_output(slot, program) for slot, program in enumerate(therapy.programs))


def _output(slot: int, program: Program) -> StimulatorProgram:
    return StimulatorProgram(
        slot=slot,
        name=program.name,
        waveform=program.waveform,
        rate=program.rate,
        burst_pulses=program.burst.pulses if program.burst else 1,
        intra_rate=program.burst.intra_rate if program.burst else MilliHertz(0),
        areas=tuple(_area_output(area) for area in program.areas),
        ramp=program.ramp,
        stimulate=program.cycle.stimulate if program.cycle else Milliseconds(0),
        pause=program.cycle.pause if program.cycle else Milliseconds(0),
    )


def _area_output(area: Area) -> AreaOutput:
    return AreaOutput(
        electrodes=area.electrodes,
        amplitude=area.amplitude,
        ceiling=area.max_amplitude,
        pulse_width=area.pulse_width,
        recharge=area.recharge,
    )


@lru_cache(maxsize=16)
def blob_of(program: StimulatorProgram) -> bytes:
    """The bytes of a program as the device keeps them."""
    return encode_program(
        WireProgram(
            name=program.name,
            waveform=program.waveform,
            rate=program.rate,
            burst_pulses=program.burst_pulses,
            intra_rate=program.intra_rate,
            areas=[
                WireArea(
                    electrodes=[
                        WireElectrode(contact=e.contact, share=e.share) for e in area.electrodes
                    ],
                    amplitude=area.amplitude,
                    ceiling=area.ceiling,
                    pulse_width=area.pulse_width,
                    recharge=area.recharge,
                )
                for area in program.areas
            ],
            ramp=program.ramp,
            stimulate=program.stimulate,
            pause=program.pause,
        )
    )


class StimulatorDriver:
    """Driver of the family ``scs``; keeps no state."""

    family = FAMILY
    capabilities = Capabilities(
        remembers_ids=True, lease=True, reads_back=True, stages=True, ramps=True, odometer=False
    )

    def __init__(self, profile: StimulatorProfile) -> None:
        self.slots = profile.programs_max
        self._lease = profile.lease
        self._contacts = profile.contacts

    def procedure(self, intent: Intended) -> Procedure:
        """The steps that carry out an intent; see `Driver.procedure`."""
        return Procedure(intent.id, self._steps(intent))

    def _steps(self, intent: Intended) -> tuple[Step, ...]:
        if intent.command == "program-stimulator":
            programs = tuple(o for o in intent.outputs if isinstance(o, StimulatorProgram))
            return _programming(intent.id, programs)
        (output,) = intent.outputs
        request: TherapyRequest
        if isinstance(output, ImpedancePulses):
            request = Measure(intent.id, output.current, output.pulse_width, output.pulses)
        elif isinstance(output, Stimulation):
            slot, amplitudes = output.program.slot, list[int](output.amplitudes)
            digest = digest_of(blob_of(output.program))
            if intent.command == "start-stimulation":
                request = Start(intent.id, slot, digest, amplitudes, self._lease)
            else:
                request = SetAmplitude(intent.id, slot, digest, amplitudes)
        else:
            raise TypeError(f"a stimulator cannot show {output.kind}")
        return (Step(request, Done(intent.id), shows=1),)

    def matches(self, request: TherapyRequest, outputs: tuple[Output, ...]) -> bool:
        """Last look; see `Driver.matches`."""
        match request:
            case Stage():
                return (self.program_of(request.slot, request.program),) == outputs
            case Commit():
                blobs = [blob_of(o) for o in outputs if isinstance(o, StimulatorProgram)]
                return (
                    len(blobs) == len(outputs) == request.slots
                    and digest_of(*blobs) == request.digest
                )
            case Start() | SetAmplitude():
                (output,) = outputs
                return (
                    isinstance(output, Stimulation)
                    and request.slot == output.program.slot
                    and request.digest == digest_of(blob_of(output.program))
                    and tuple(request.amplitudes) == output.amplitudes
                    and (isinstance(request, SetAmplitude) or request.lease == self._lease)
                )
            case Measure():
                (output,) = outputs
                return (
                    isinstance(output, ImpedancePulses)
                    and output.contacts == self._contacts
                    and request.current == output.current
                    and request.pulse_width == output.pulse_width
                    and request.pulses == output.pulses
                )
            case _:
                return False

    def program_of(self, slot: int, blob: bytes) -> StimulatorProgram:
        """The Output of a program that was read back; see `Driver.program_of`."""
        wire = decode_program(WireProgram, blob)
        return StimulatorProgram(
            slot=slot,
            name=wire.name,
            waveform=wire.waveform,
            rate=MilliHertz(wire.rate),
            burst_pulses=wire.burst_pulses,
            intra_rate=MilliHertz(wire.intra_rate),
            areas=tuple(
                AreaOutput(
                    electrodes=tuple(
                        ElectrodeShare(e.contact, Percent(e.share)) for e in area.electrodes
                    ),
                    amplitude=MicroAmps(area.amplitude),
                    ceiling=MicroAmps(area.ceiling),
                    pulse_width=Microseconds(area.pulse_width),
                    recharge=area.recharge,
                )
                for area in wire.areas
            ),
            ramp=Milliseconds(wire.ramp),
            stimulate=Milliseconds(wire.stimulate),
            pause=Milliseconds(wire.pause),
        )

    def sample(self, status: Reply) -> Sample:
        """See `Driver.sample`."""
        return stimulator_sample(status)


def stimulator_sample(status: Reply) -> Sample:
    """A status message in common words. Raises DeviceFault for anything else."""
    if not isinstance(status, StimulatorStatus):
        raise DeviceFault(f"the stimulator answered a status request with {type(status).__name__}")
    values = {
        f"area_{number}_amplitude_uA": amplitude
        for number, amplitude in enumerate(status.amplitudes, start=1)
    }
    return Sample(
        clock=Milliseconds(status.clock),
        boot=status.boot,
        state=status.state,
        safe=status.state == "off" and not any(status.amplitudes),
        delivering=status.state != "off",
        values={
            "slot": status.slot,
            **values,
            "lease_ms": status.lease,
            "battery_mV": status.battery,
            "pulses": status.pulses,
        },
        alarms=tuple(status.alarms),
    )


def _programming(intent_id: int, programs: tuple[StimulatorProgram, ...]) -> tuple[Step, ...]:
    """Stage each program beside the active ones, then make them active all at once."""
    blobs = [blob_of(program) for program in programs]
    staging = (
        Step(Stage(slot, blob), Staged(slot, digest_of(blob)), prepares=slot)
        for slot, blob in enumerate(blobs)
    )
    commit = Commit(intent_id, len(blobs), digest_of(*blobs))
    return (*staging, Step(commit, Done(intent_id), shows=len(blobs)))
