"""Reads a formulary: the shipped one, or a lab's own (`docs/formulary.md` is its manual)."""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from device_profiles.data_file import DataFileError, Sentence, Sourced, read_facts
from device_profiles.document import Document, parse_document, read_document
from device_profiles.fields import (
    Concentration,
    DrugName,
    Duration,
    HistoryWord,
    Mass,
    MassRate,
    name,
    quantity,
    words,
)
from device_profiles.formulary import (
    DrugClass,
    Formulary,
    FormularyEntry,
    Stability,
    StartLimits,
    StopPolicy,
    Titration,
)
from device_profiles.notation import CONCENTRATION, PORTION, parse_concentration, parse_portion
from device_profiles.placed import Keys, Location
from device_profiles.placed_models import FileModel, Problem, in_order, problem
from device_profiles.quantities import MILLION, NanogramsPerMillilitre, PartsPerMillion

Value = TypeVar("Value")

ConcentrationBound = Annotated[NanogramsPerMillilitre, quantity(parse_concentration, CONCENTRATION)]
Portion = Annotated[PartsPerMillion, quantity(parse_portion, PORTION)]
DrugClassWord = Annotated[DrugClass, words(DrugClass)]
StopPolicyWord = Annotated[StopPolicy, words(StopPolicy)]
FormularyName = Annotated[
    str, name("a formulary name", "[a-z0-9][a-z0-9-]*", "small letters, digits and -")
]


class ConcentrationModel(FileModel):
    """The concentrations allowed in a pump: from (or above) one to another."""

    lowest: Sourced[Concentration] | None = Field(None, alias="from")
    above: Sourced[ConcentrationBound] | None = None
    up_to: Sourced[Concentration]

    def exclusive_bound(self) -> NanogramsPerMillilitre:
        """The largest concentration that is too low.

        Concentrations are whole ng/mL, so "from 10 mg/mL" is exactly "above 1 ng/mL less".
        """
        if self.lowest:
            return NanogramsPerMillilitre(self.lowest.value - 1)
        return self.above.value if self.above else NanogramsPerMillilitre(0)


class SoftHardMass(FileModel):
    """A dose limit that a reason lifts, and one that nothing lifts."""

    soft: Sourced[Mass] | None = None
    hard: Sourced[Mass] | None = None


class HardMass(FileModel):
    """A dose limit that nothing lifts."""

    hard: Sourced[Mass]


class StartModel(FileModel):
    """The first day's dose for one history."""

    history: HistoryWord | None = None
    soft: Sourced[MassRate] | None = None
    hard: Sourced[MassRate] | None = None

    def start_limits(self) -> StartLimits:
        """The limits in base units."""
        return StartLimits(self.history, _value(self.soft), _value(self.hard))


class TitrationModel(FileModel):
    """How far a day's dose may go at once."""

    up_share: Sourced[Portion] | None = None
    up_step: Sourced[MassRate] | None = None
    down_share: Sourced[Portion] | None = None

    def titration(self) -> Titration:
        """The steps in base units."""
        return Titration(_value(self.up_share), _value(self.up_step), _value(self.down_share))


class StabilityModel(FileModel):
    """How long a drug keeps its strength in a pump."""

    first_fill: Sourced[Duration]
    later_fill: Sourced[Duration]

    def stability(self) -> Stability:
        """The times in base units."""
        return Stability(self.first_fill.value, self.later_fill.value)


class DrugFactsModel(FileModel):
    """One drug."""

    name: DrugName
    drug_class: DrugClassWord = Field(alias="class")
    concentration: ConcentrationModel
    per_day: SoftHardMass | None = None
    per_bolus: HardMass | None = None
    start: list[StartModel] = Field(default_factory=list)
    titration: TitrationModel | None = None
    stability: StabilityModel | None = None
    on_stop: Sourced[StopPolicyWord]
    withdrawal: Sourced[Sentence]
    source: Sentence

    def entry(self) -> FormularyEntry:
        """The entry in base units."""
        per_day = self.per_day or SoftHardMass()
        return FormularyEntry(
            name=self.name,
            drug_class=self.drug_class,
            concentration_above=self.concentration.exclusive_bound(),
            concentration_max=self.concentration.up_to.value,
            per_day_soft=_value(per_day.soft),
            per_day_hard=_value(per_day.hard),
            per_bolus_hard=self.per_bolus.hard.value if self.per_bolus else None,
            start=tuple(start.start_limits() for start in self.start),
            stop_policy=self.on_stop.value,
            withdrawal=self.withdrawal.value,
            source=self.source,
            titration=self.titration.titration() if self.titration else Titration(),
            stability=self.stability.stability() if self.stability else None,
        )


class FormularyModel(FileModel):
    """The drugs that a bench may use."""

    formulary: FormularyName
    drugs: list[DrugFactsModel] = Field(min_length=1)


def load_formulary(path: Path | None = None) -> Formulary:
    """The shipped formulary, or the one in a file; raises `DataFileError` with every finding."""
    return _shipped() if path is None else formulary_of(read_document(path))


@cache
def _shipped() -> Formulary:
    file = files("device_profiles").joinpath("data", "formulary.yaml")
    return formulary_of(parse_document(str(file), file.read_bytes()))


def formulary_of(document: Document) -> Formulary:
    """The formulary in a document; raises `DataFileError` with every finding."""
    model = read_facts(FormularyModel, document)
    if isinstance(document.root, Keys):
        problems = tuple(_contradictions(document.root, model))
        if problems:
            raise DataFileError(document, in_order(one.finding for one in problems))
    return Formulary(model.formulary, tuple(drug.entry() for drug in model.drugs))


def _contradictions(root: Keys, model: FormularyModel) -> Iterator[Problem]:
    """Where the entries contradict themselves or each other (SR-09)."""
    names = [drug.name for drug in model.drugs]
    for index, drug in enumerate(model.drugs):
        at: Location = ("drugs", index)
        if drug.name in names[:index]:
            yield problem(
                root, (*at, "name"), "between", "SR-09", f"{drug.name} stands here a second time"
            )
        yield from _concentration_contradictions(root, at, drug.concentration)
        yield from _limits_at_zero(root, at, drug)
        per_day = drug.per_day or SoftHardMass()
        day_hard = _value(per_day.hard)
        yield from _soft_above_hard(root, (*at, "per_day", "soft"), _value(per_day.soft), day_hard)
        titration = drug.titration or TitrationModel()
        if titration.down_share and titration.down_share.value > MILLION:
            message = "a dose cannot fall by more than all of it, so the limit never speaks"
            place: Location = (*at, "titration", "down_share", "value")
            yield problem(root, place, "between", "SR-09", message)
        for number, start in enumerate(drug.start):
            here: Location = (*at, "start", number)
            soft, hard = _value(start.soft), _value(start.hard)
            yield from _soft_above_hard(root, (*here, "soft"), soft, hard)
            for key, value in (("soft", soft), ("hard", hard)):
                if value is not None and day_hard is not None and value > day_hard:
                    message = "a first day's dose is above the hard limit of any day"
                    yield problem(root, (*here, key, "value"), "between", "SR-09", message)
            if start.history in [other.history for other in drug.start[:number]]:
                message = "this history has start limits already"
                yield problem(root, here, "between", "SR-09", message)


def _limits_at_zero(root: Keys, at: Location, drug: DrugFactsModel) -> Iterator[Problem]:
    """A limit of nothing at all: no dose is under it, and a hard one would stop going on."""
    limits: list[tuple[Location, Sourced[Mass] | Sourced[MassRate] | None]] = [
        (("per_day", "soft"), drug.per_day.soft if drug.per_day else None),
        (("per_day", "hard"), drug.per_day.hard if drug.per_day else None),
        (("per_bolus", "hard"), drug.per_bolus.hard if drug.per_bolus else None),
    ]
    for number, start in enumerate(drug.start):
        limits += [(("start", number, "soft"), start.soft), (("start", number, "hard"), start.hard)]
    for place, limit in limits:
        if limit is not None and limit.value == 0:
            message = "a limit is above 0: every dose would be over this one"
            hint = "a drug that must not be given has no entry"
            yield problem(root, (*at, *place, "value"), "between", "SR-09", message, hint=hint)


def _concentration_contradictions(
    root: Keys, at: Location, concentration: ConcentrationModel
) -> Iterator[Problem]:
    here: Location = (*at, "concentration")
    if (concentration.lowest is None) == (concentration.above is None):
        yield problem(
            root,
            here,
            "between",
            "SR-09",
            "the lowest concentration is given by exactly one of from and above",
            hint="from is allowed itself, above is not",
        )
    elif concentration.exclusive_bound() >= concentration.up_to.value:
        message = "no concentration is allowed: the lowest is above the highest"
        yield problem(root, (*here, "up_to", "value"), "between", "SR-09", message)


def _soft_above_hard(
    root: Keys, location: Location, soft: int | None, hard: int | None
) -> Iterator[Problem]:
    if soft is not None and hard is not None and soft > hard:
        message = "the soft limit is above the hard one, so it never speaks"
        yield problem(root, (*location, "value"), "between", "SR-09", message)


def _value(fact: Sourced[Value] | None) -> Value | None:
    return fact.value if fact else None
