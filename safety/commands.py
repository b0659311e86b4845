"""What a person or a program may ask for, with all that is needed to judge it.

Everything here is *therapy* and passes the kernel. Stopping and lowering are not here: a
de-escalation is never judged, so nothing can refuse it.
"""

from dataclasses import dataclass
from typing import Literal

from device_profiles.formulary import Formulary
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.quantities import DAY_MS, Milliseconds, NanoLitres
from device_profiles.therapy import InfusionTherapy
from safety.outputs import (
    BolusOutput,
    ImpedancePulses,
    PrimeOutput,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)

CommandKind = Literal[
    "program-stimulator",
    "start-stimulation",
    "change-amplitude",
    "measure-impedance",
    "program-pump",
    "give-bolus",
    "prime",
]


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on three clocks, handed in by the floor above; ms.

    ``slow`` never runs ahead of real therapy time and stands still while the host is off: it
    decides lockouts and windows. ``fast`` never runs behind: it decides ages and watchdogs.
    ``wall`` is Unix time and labels entries; it decides no limit.
    """

    slow: Milliseconds
    fast: Milliseconds
    wall: Milliseconds


@dataclass(frozen=True, slots=True)
class Override:
    """A person's reason to pass soft findings of these rules, for this one command.

    ``second`` is another person who agrees, where one is not enough. What was let pass into a
    program may stand for ``valid_for``; then a person has to look again (SR-57).
    """

    rules: tuple[str, ...]
    user: str
    reason: str
    second: str | None = None
    valid_for: Milliseconds = DAY_MS


@dataclass(frozen=True, slots=True)
class ProgramStimulator:
    """Replace all programs of a stimulator; its output stays off."""

    programs: tuple[StimulatorProgram, ...]
    profile: StimulatorProfile
    kind: Literal["program-stimulator"] = "program-stimulator"


@dataclass(frozen=True, slots=True)
class StartStimulation:
    """Ramp a program of the stimulator up from zero to its amplitudes."""

    stimulation: Stimulation
    profile: StimulatorProfile
    kind: Literal["start-stimulation"] = "start-stimulation"


@dataclass(frozen=True, slots=True)
class ChangeAmplitude:
    """Raise or change the amplitudes of the running program; nothing else may differ."""

    stimulation: Stimulation
    profile: StimulatorProfile
    kind: Literal["change-amplitude"] = "change-amplitude"


@dataclass(frozen=True, slots=True)
class MeasureImpedance:
    """Send test pulses through each contact."""

    pulses: ImpedancePulses
    profile: StimulatorProfile
    kind: Literal["measure-impedance"] = "measure-impedance"


NOTHING = NanoLitres(0)


@dataclass(frozen=True, slots=True)
class PumpEvidence:
    """What a pump said of itself just before it is programmed.

    ``clock_ahead`` is its clock less the host's wall clock; ``reservoir`` what it counts as left
    of the fill ``fill_at_ms`` (0: none yet); ``line_left`` what a bridge or a prime still has to
    move by its count, and after a bridge until none of the old mix is surely left.
    """

    clock_ahead: Milliseconds
    reservoir: NanoLitres
    fill_at_ms: Milliseconds
    line_left: NanoLitres = NOTHING


@dataclass(frozen=True, slots=True)
class ProgramPump:
    """Replace a pump's program; ``evidence`` is ``None`` only where no device is at hand."""

    program: PumpProgram
    therapy: InfusionTherapy
    profile: PumpProfile
    formulary: Formulary
    evidence: PumpEvidence | None = None
    kind: Literal["program-pump"] = "program-pump"


@dataclass(frozen=True, slots=True)
class GiveBolus:
    """Deliver one bolus on top of the verified basal."""

    bolus: BolusOutput
    profile: PumpProfile
    kind: Literal["give-bolus"] = "give-bolus"


@dataclass(frozen=True, slots=True)
class Prime:
    """Fill tubing and catheter from the reservoir, once for each fill.

    Without ``evidence`` nobody knows what has gone into the line already, and it is refused.
    """

    prime: PrimeOutput
    profile: PumpProfile
    evidence: PumpEvidence | None = None
    kind: Literal["prime"] = "prime"


Command = (
    ProgramStimulator
    | StartStimulation
    | ChangeAmplitude
    | MeasureImpedance
    | ProgramPump
    | GiveBolus
    | Prime
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for therapy, to be judged at an instant.

    ``seen`` is when the device last told its state, on the fast clock; ``None``: never. ``epoch``
    is that of the state in which a person approved it; ``None`` where nothing was approved.
    """

    at: Instant
    id: int
    command: Command
    patient: str
    override: Override | None = None
    seen: Milliseconds | None = None
    epoch: int | None = None
