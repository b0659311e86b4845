"""Outputs: what a device may do to a person, in integers. The common coin of all floors.

Safety judges Outputs; the last look decodes an Output out of the very bytes about to leave; the
simulator's truth shows what became of it. An Output is complete: nothing that changes what the
person receives is left out of it, so two equal Outputs are the same therapy.
"""

from dataclasses import dataclass, replace
from typing import Literal

from device_profiles.formulary import StopPolicy
from device_profiles.quantities import (
    MicroAmps,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
)
from device_profiles.therapy import ElectrodeShare, Recharge, Waveform

# --- stimulator ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AreaOutput:
    """The current of one area: shares, the amplitude that flows, the most that may be set."""

    electrodes: tuple[ElectrodeShare, ...]
    amplitude: MicroAmps
    ceiling: MicroAmps
    pulse_width: Microseconds
    recharge: Recharge


@dataclass(frozen=True, slots=True)
class StimulatorProgram:
    """One program of a stimulator at its set amplitudes: the most it shows once started.

    ``burst_pulses`` is 1 and ``intra_rate`` 0 unless the waveform is a burst; ``stimulate`` and
    ``pause`` are both 0 when the program does not cycle.
    """

    slot: int
    name: str
    waveform: Waveform
    rate: MilliHertz
    burst_pulses: int
    intra_rate: MilliHertz
    areas: tuple[AreaOutput, ...]
    ramp: Milliseconds
    stimulate: Milliseconds
    pause: Milliseconds
    kind: Literal["stimulator-program"] = "stimulator-program"


@dataclass(frozen=True, slots=True)
class Stimulation:
    """A program that flows: at its own slope up to ``amplitudes``, one for each area.

    The amplitudes may differ from the program's own, which together with its ramp set the slope.
    """

    program: StimulatorProgram
    amplitudes: tuple[MicroAmps, ...]
    kind: Literal["stimulation"] = "stimulation"

    def as_program(self) -> StimulatorProgram:
        """The program with the amplitudes that flow, for the rules that judge a program."""
        areas = tuple(
            replace(area, amplitude=amplitude)
            for area, amplitude in zip(self.program.areas, self.amplitudes, strict=True)
        )
        return replace(self.program, areas=areas)


@dataclass(frozen=True, slots=True)
class ImpedancePulses:
    """The pulses of an impedance measurement on each of ``contacts`` contacts in turn."""

    contacts: int
    current: MicroAmps
    pulse_width: Microseconds
    pulses: int
    kind: Literal["impedance-pulses"] = "impedance-pulses"


# --- pump ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DrugInPump:
    """A drug and its concentration in the reservoir."""

    name: str
    concentration: NanogramsPerMillilitre


@dataclass(frozen=True, slots=True)
class FlowStep:
    """A flow from a minute of the local day until the next step."""

    start: MinuteOfDay
    flow: NanoLitresPerDay


@dataclass(frozen=True, slots=True)
class PatientBolusOutput:
    """What one press gives and how often; lockout from start to start, the count sliding."""

    volume: NanoLitres
    over: Milliseconds
    lockout: Milliseconds
    max_per_24h: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """The way from one concentration to another: until ``volume`` has left the pump, ``basal``.

    ``drugs`` is the old mix, which still fills tubing and catheter; ``basal`` carries the new dose
    in it. Runs once for each fill, by itself; the button is closed meanwhile. Source: domain 2.6.
    """

    drugs: tuple[DrugInPump, ...]
    basal: tuple[FlowStep, ...]
    volume: NanoLitres


@dataclass(frozen=True, slots=True)
class PumpProgram:
    """A pump's whole program: what is in it, its basal by the minute of the day, its button.

    ``utc_offset_min`` turns the pump's UTC clock into the local day. ``fill_at_ms`` names the
    refill; a pump that has seen it keeps its own count of what is left. ``bridge`` comes before
    the basal where the fill changed a concentration.
    """

    drugs: tuple[DrugInPump, ...]
    basal: tuple[FlowStep, ...]
    utc_offset_min: int
    patient_bolus: PatientBolusOutput | None
    fill_volume: NanoLitres
    fill_at_ms: Milliseconds
    low_reservoir: NanoLitres
    catheter: NanoLitres
    primed: bool
    stop_policy: StopPolicy
    bridge: Bridge | None = None
    kind: Literal["pump-program"] = "pump-program"

    def while_bridging(self) -> "PumpProgram | None":
        """What it delivers until its bridge is over, for the rules that judge a program."""
        if self.bridge is None:
            return None
        return replace(
            self,
            drugs=self.bridge.drugs,
            basal=self.bridge.basal,
            patient_bolus=None,
            bridge=None,
        )


@dataclass(frozen=True, slots=True)
class BolusOutput:
    """One bolus on top of the basal: a volume delivered evenly over a time."""

    volume: NanoLitres
    over: Milliseconds
    kind: Literal["bolus"] = "bolus"


@dataclass(frozen=True, slots=True)
class PrimeOutput:
    """The one priming of a fill: moves what is in the reservoir up to the catheter's tip.

    ``fill_at_ms`` is the fill that it belongs to and its once-only token (SR-13).
    """

    volume: NanoLitres
    over: Milliseconds
    fill_at_ms: Milliseconds
    kind: Literal["prime"] = "prime"


Output = StimulatorProgram | Stimulation | ImpedancePulses | PumpProgram | BolusOutput | PrimeOutput
