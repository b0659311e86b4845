"""The drugs that may be in a pump, and the limits their labels give, each with its source."""

from dataclasses import dataclass
from typing import Literal

from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    Milliseconds,
    NanogramsPerMillilitre,
    PartsPerMillion,
)
from device_profiles.therapy import History

DrugClass = Literal["opioid", "baclofen", "ziconotide", "other"]
StopPolicy = Literal["may-stop", "hold-basal", "never-stop"]
"""What a stop does to the basal: halt it; keep it, since long use makes withdrawal; keep it
always, since stopping can kill (only `stop --flow`, asked twice, ends it)."""


@dataclass(frozen=True, slots=True)
class StartLimits:
    """The largest first day's dose for one history (``None``: whatever the history)."""

    history: History | None
    soft: FemtogramsPerDay | None
    hard: FemtogramsPerDay | None


@dataclass(frozen=True, slots=True)
class Titration:
    """How far a day's dose may go at once: beyond it takes a reason, beyond twice it nothing helps.

    Shares are of the dose before, in ppm; ``up_step`` is absolute. ``None``: no source gives one.
    """

    up_share: PartsPerMillion | None = None
    up_step: FemtogramsPerDay | None = None
    down_share: PartsPerMillion | None = None


@dataclass(frozen=True, slots=True)
class Stability:
    """How long a drug keeps its strength in a pump: in the pump's first fill, in a later one."""

    first_fill: Milliseconds
    later_fill: Milliseconds


@dataclass(frozen=True, slots=True)
class FormularyEntry:
    """One drug: the concentrations allowed in a pump, the day's dose, the first day's dose.

    ``concentration_above`` is exclusive, ``concentration_max`` inclusive. Doses that no label
    limits are ``None``: another layer must limit them.
    """

    name: str
    drug_class: DrugClass
    concentration_above: NanogramsPerMillilitre
    concentration_max: NanogramsPerMillilitre
    per_day_soft: Femtograms | None
    per_day_hard: Femtograms | None
    per_bolus_hard: Femtograms | None
    start: tuple[StartLimits, ...]
    stop_policy: StopPolicy
    withdrawal: str
    """What stopping this drug does to a person, in one sentence for `stop --flow`."""
    source: str
    titration: Titration = Titration()
    stability: Stability | None = None

    @property
    def needs_history(self) -> bool:
        """Whether a file must say if the patient is used to this drug."""
        return self.drug_class == "opioid"


@dataclass(frozen=True, slots=True)
class Formulary:
    """The drugs a bench may use; one formulary at a time."""

    name: str
    entries: tuple[FormularyEntry, ...]

    def find(self, drug: str) -> FormularyEntry | None:
        """The entry of a drug by its exact name, or ``None``."""
        return next((entry for entry in self.entries if entry.name == drug), None)
