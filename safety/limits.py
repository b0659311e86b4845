"""Limits with their layers: the tightest holds, names its layer, and may only narrow.

Absent is never "unlimited": a quantity that a rule compares and no layer limits is a finding.
Zero is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, assert_never

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary, FormularyEntry
from device_profiles.notation import mass_unit_for, write_mass
from device_profiles.quantities import (
    DAY_MS,
    HOUR_MS,
    Femtograms,
    Milliseconds,
    NanogramsPerMillilitre,
)
from device_profiles.therapy import Drug, History, InfusionTherapy

Layer = Literal["device", "formulary", "patient", "bench"]
LAYERS: tuple[Layer, ...] = ("device", "formulary", "patient", "bench")
"""From the widest to the narrowest."""

DoseQuantity = Literal["per_bolus", "per_hour", "per_4_hours", "per_day"]


@dataclass(frozen=True, slots=True)
class DoseWindow:
    """A sliding window of a dose limit: its key in a file, its length, its requirement."""

    quantity: DoseQuantity
    length: Milliseconds
    rule: str
    words: str


DOSE_WINDOWS = (
    DoseWindow("per_hour", HOUR_MS, "SR-05", "1 hour"),
    DoseWindow("per_4_hours", Milliseconds(4 * HOUR_MS), "SR-05", "4 hours"),
    DoseWindow("per_day", DAY_MS, "SR-04", "24 hours"),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """A ceiling in the base unit of its quantity, and the layer that sets it; inclusive."""

    value: int
    source: Layer


def effective(limits: Sequence[Limit | None]) -> Limit | None:
    """The tightest of the limits given, the outer layer's on a tie; ``None`` if there is none."""
    present = [limit for limit in limits if limit is not None]
    return min(present, key=lambda one: (one.value, LAYERS.index(one.source)), default=None)


def wider_than_its_outer(limits: Sequence[Limit | None]) -> tuple[tuple[Limit, Limit], ...]:
    """Each limit that is wider than a layer above it, with the tightest one above it."""
    ordered = sorted(
        (limit for limit in limits if limit is not None),
        key=lambda one: LAYERS.index(one.source),
    )
    pairs = []
    for position, inner in enumerate(ordered):
        outer = effective([one for one in ordered[:position] if one.source != inner.source])
        if outer is not None and inner.value > outer.value:
            pairs.append((inner, outer))
    return tuple(pairs)


def wider_layer(
    path: str, what: str, inner: str, inner_source: Layer, outer: str, outer_source: Layer
) -> Finding:
    """SR-61: a layer that would widen what a layer above it allows.

    Protects from a file that loosens a limit while it seems to set one. Harm: a right file is
    refused where an outer layer is too tight for this patient. Longest denial: until the layer is
    corrected. Way out: correct the layer.
    """
    return Finding(
        rule="SR-61",
        severity="hard",
        path=path,
        message=(
            f"{what} of the {inner_source} is {inner}, wider than the {outer_source}'s {outer}; "
            "limits only narrow from layer to layer"
        ),
        value=inner,
        limit=outer,
        source=outer_source,
        hint=f"keep it within the limit of the {outer_source}",
    )


@dataclass(frozen=True, slots=True)
class DrugLimits:
    """The effective limits of one drug in the reservoir; masses in fg, ``per_day`` in fg.

    ``start_soft`` and ``start_hard`` limit the first day for this drug and this history.
    ``None`` where no layer limits the quantity.
    """

    name: str
    concentration: NanogramsPerMillilitre
    history: History | None
    history_needed: bool
    per_bolus: Limit | None
    per_hour: Limit | None
    per_4_hours: Limit | None
    per_day: Limit | None
    per_day_soft: Limit | None
    start_soft: Limit | None
    start_hard: Limit | None

    def of(self, quantity: DoseQuantity) -> Limit | None:
        """The hard limit of a quantity."""
        match quantity:
            case "per_bolus":
                return self.per_bolus
            case "per_hour":
                return self.per_hour
            case "per_4_hours":
                return self.per_4_hours
            case "per_day":
                return self.per_day
            case _:
                assert_never(quantity)


@dataclass(frozen=True, slots=True)
class PumpLimits:
    """The effective limits of a pump's program, a drug each, in the order of the file."""

    drugs: tuple[DrugLimits, ...]

    def find(self, name: str, concentration: NanogramsPerMillilitre) -> DrugLimits | None:
        """The limits of a drug at exactly this concentration, or ``None``."""
        for drug in self.drugs:
            if drug.name == name and drug.concentration == concentration:
                return drug
        return None


def pump_limits(
    therapy: InfusionTherapy, formulary: Formulary
) -> tuple[PumpLimits, tuple[Finding, ...]]:
    """The effective limits of a therapy, and what is wrong with the limits themselves.

    Findings: SR-61 (a layer wider than the one above), SR-04 and SR-05 (no limit in any layer,
    or a shorter period that allows more than a longer one).
    """
    drugs = []
    findings = []
    for index, drug in enumerate(therapy.drugs):
        entry = formulary.find(drug.name)
        limits = _drug_limits(drug, entry)
        drugs.append(limits)
        findings += _wider(index, drug, entry)
        findings += _incoherent(index, limits)
    together = PumpLimits(tuple(drugs))
    findings += missing_limits(together, bolus_asked=therapy.patient_bolus is not None)
    return together, tuple(findings)


def missing_limits(limits: PumpLimits, *, bolus_asked: bool) -> list[Finding]:
    """SR-04, SR-05: each quantity that will be compared and that no layer limits.

    Protects from reading "no limit written" as "no limit". Harm: a file without limits is refused
    although its dose may be right. Longest denial: until the limit is written. Way out: write the
    limit into the file.
    """
    return [
        missing_limit(f"drugs[{index}].limits.{quantity}", drug.name, quantity)
        for index, drug in enumerate(limits.drugs)
        for quantity in _compared(bolus_asked)
        if drug.of(quantity) is None
    ]


def missing_limit(path: str, drug: str, quantity: DoseQuantity) -> Finding:
    """The finding that names a quantity which no layer limits."""
    return Finding(
        rule="SR-04" if quantity == "per_day" else "SR-05",
        severity="hard",
        path=path,
        message=(
            f"no layer limits {quantity} of {drug}: not the formulary, not this patient's file; "
            "absent is never unlimited"
        ),
        source="rule",
        hint=f"write {quantity} under the limits of {drug}",
    )


def _compared(bolus_asked: bool) -> tuple[DoseQuantity, ...]:
    windows = tuple(window.quantity for window in DOSE_WINDOWS)
    return ("per_bolus", *windows) if bolus_asked else windows


def _layers(drug: Drug, entry: FormularyEntry | None) -> dict[DoseQuantity, list[Limit | None]]:
    own = drug.limits
    return {
        "per_bolus": [
            _limit(entry.per_bolus_hard if entry else None, "formulary"),
            _limit(own.per_bolus, "patient"),
        ],
        "per_hour": [_limit(own.per_hour, "patient")],
        "per_4_hours": [_limit(own.per_4_hours, "patient")],
        "per_day": [
            _limit(entry.per_day_hard if entry else None, "formulary"),
            _limit(own.per_day, "patient"),
        ],
    }


def _limit(value: int | None, source: Layer) -> Limit | None:
    return None if value is None else Limit(value, source)


def _drug_limits(drug: Drug, entry: FormularyEntry | None) -> DrugLimits:
    layers = _layers(drug, entry)
    start = [
        one
        for one in (entry.start if entry else ())
        if one.history is None or one.history == drug.history
    ]
    return DrugLimits(
        name=drug.name,
        concentration=drug.concentration,
        history=drug.history,
        history_needed=entry is not None and entry.needs_history,
        per_bolus=effective(layers["per_bolus"]),
        per_hour=effective(layers["per_hour"]),
        per_4_hours=effective(layers["per_4_hours"]),
        per_day=effective(layers["per_day"]),
        per_day_soft=_limit(entry.per_day_soft if entry else None, "formulary"),
        start_soft=effective([_limit(one.soft, "formulary") for one in start]),
        start_hard=effective([_limit(one.hard, "formulary") for one in start]),
    )


def _wider(index: int, drug: Drug, entry: FormularyEntry | None) -> list[Finding]:
    return [
        wider_layer(
            f"drugs[{index}].limits.{quantity}",
            f"{quantity} of {drug.name}",
            write_mass(Femtograms(inner.value), mass_unit_for(Femtograms(outer.value))),
            inner.source,
            write_mass(Femtograms(outer.value)),
            outer.source,
        )
        for quantity, layers in _layers(drug, entry).items()
        for inner, outer in wider_than_its_outer(layers)
    ]


def _incoherent(index: int, limits: DrugLimits) -> list[Finding]:
    """SR-05: a shorter period that allows more than a longer one.

    Protects from limits typed into each other's places. Harm: a deliberate but pointless limit is
    refused. Longest denial: until the file is corrected. Way out: write limits that grow with their
    period.
    """
    findings = []
    present = [(q, one) for q in _compared(bolus_asked=True) if (one := limits.of(q)) is not None]
    for (shorter, less), (longer, more) in pairwise(present):
        if less.value > more.value:
            unit = mass_unit_for(Femtograms(more.value))
            small = write_mass(Femtograms(more.value), unit)
            large = write_mass(Femtograms(less.value), unit)
            findings.append(
                Finding(
                    rule="SR-05",
                    severity="hard",
                    path=f"drugs[{index}].limits.{shorter}",
                    message=(
                        f"{shorter} of {limits.name} ({large}, {less.source}) is more than its "
                        f"{longer} ({small}, {more.source}); a shorter period cannot allow more"
                    ),
                    value=large,
                    limit=small,
                    source=more.source,
                    hint="check that no limit stands in the place of another",
                )
            )
    return findings
