"""Limits narrow from layer to layer, name their layer, and are never absent by accident."""

from dataclasses import replace

import cbor2
import pytest
from clinical_examples import (
    FORMULARY,
    ITP,
    MORPHINE,
    MORPHINE_DAY,
    button,
    compiled,
    dose_limits,
    drug,
    infusion,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary
from device_profiles.notation import parse_mass
from device_profiles.quantities import Femtograms
from device_profiles.therapy import DoseLimits, InfusionTherapy
from safety.limits import (
    LAYERS,
    DrugLimits,
    Layer,
    Limit,
    PumpLimits,
    effective,
    missing_limits,
    pump_limits,
    wider_than_its_outer,
)
from safety.review import review_infusion


def faults(therapy: InfusionTherapy) -> list[tuple[str, str, str]]:
    _, findings = pump_limits(therapy, FORMULARY)
    return [(finding.rule, finding.severity, finding.path) for finding in findings]


def limits_of(therapy: InfusionTherapy) -> DrugLimits:
    return pump_limits(therapy, FORMULARY)[0].drugs[0]


limits = st.builds(Limit, st.integers(0, 9), st.sampled_from(LAYERS))


def test_the_tightest_limit_holds_and_names_its_layer() -> None:
    assert effective([Limit(5, "device"), Limit(3, "patient")]) == Limit(3, "patient")
    assert effective([Limit(3, "device"), Limit(5, "patient")]) == Limit(3, "device")


def test_on_a_tie_the_outer_layer_is_named_since_it_would_still_hold() -> None:
    assert effective([Limit(3, "bench"), Limit(3, "formulary")]) == Limit(3, "formulary")


def test_zero_is_zero_and_absent_is_no_limit_at_all() -> None:
    assert effective([Limit(0, "patient"), Limit(5, "device")]) == Limit(0, "patient")
    assert effective([None, None]) is None


@given(st.lists(limits))
def test_no_limit_given_is_tighter_than_the_effective_one(given_limits: list[Limit]) -> None:
    found = effective(given_limits)
    assert (found is None) == (not given_limits)
    assert found is None or all(found.value <= one.value for one in given_limits)


@pytest.mark.requirement("SR-61")
@given(st.lists(limits, max_size=4, unique_by=lambda one: one.source))
def test_a_layer_is_wider_exactly_when_a_layer_above_it_allows_less(some: list[Limit]) -> None:
    def order(layer: Layer) -> int:
        return LAYERS.index(layer)

    expected = {
        one.source
        for one in some
        for above in some
        if order(above.source) < order(one.source) and above.value < one.value
    }
    assert {inner.source for inner, _ in wider_than_its_outer(some)} == expected


@pytest.mark.requirement("SR-61")
@pytest.mark.parametrize(
    ("per_day", "expected"), [("19.999999 mg", []), ("20 mg", []), ("20.000001 mg", ["SR-61"])]
)
def test_a_patient_layer_may_reach_the_formulary_and_not_pass_it(
    per_day: str, expected: list[str]
) -> None:
    found = faults(infusion(drug(limits=dose_limits(per_day=per_day))))
    assert [rule for rule, _, _ in found] == expected
    assert all(path == "drugs[0].limits.per_day" for _, _, path in found)


def test_a_wider_layer_says_both_limits_and_the_outer_layer() -> None:
    _, findings = pump_limits(infusion(drug(limits=dose_limits(per_day="30 mg"))), FORMULARY)
    finding = findings[0]
    assert (finding.value, finding.limit, finding.source) == ("30 mg", "20 mg", "formulary")
    assert limits_of(infusion(drug(limits=dose_limits(per_day="30 mg")))).per_day == Limit(
        parse_mass("20 mg"), "formulary"
    )


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F20")
@pytest.mark.parametrize("quantity", ["per_hour", "per_4_hours"])
def test_an_hourly_limit_in_no_layer_is_a_finding_that_names_it(quantity: str) -> None:
    bare = replace(dose_limits(), **{quantity: None})
    assert faults(infusion(drug(limits=bare))) == [("SR-05", "hard", f"drugs[0].limits.{quantity}")]


@pytest.mark.requirement("SR-04")
@pytest.mark.fault("F20")
def test_a_daily_limit_in_no_layer_is_a_finding_but_the_formularys_is_enough() -> None:
    bare = dose_limits(per_day=None)
    assert faults(infusion(drug(limits=bare))) == []
    found = faults(infusion(drug("fentanyl", "1 mg/mL", bare)))
    assert found == [("SR-04", "hard", "drugs[0].limits.per_day")]


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F20")
def test_a_limit_per_bolus_is_needed_only_where_a_bolus_is_asked_for() -> None:
    bare = drug("baclofen", "500 mcg/mL", dose_limits(per_bolus=None, per_day="1 mg"))
    assert faults(infusion(bare)) == []
    assert faults(infusion(bare, bolus=button())) == [
        ("SR-05", "hard", "drugs[0].limits.per_bolus")
    ]


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F20")
def test_every_drug_of_a_mixture_needs_its_own_limits() -> None:
    found = faults(infusion(drug(), drug("fentanyl", "1 mg/mL", DoseLimits())))
    assert [path for _, _, path in found] == [
        f"drugs[1].limits.{key}" for key in ("per_hour", "per_4_hours", "per_day")
    ]


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F23")
@pytest.mark.parametrize(
    ("bent", "path"),
    [
        ({"per_bolus": "0.41 mg"}, "per_bolus"),
        ({"per_hour": "1.01 mg"}, "per_hour"),
        ({"per_4_hours": "4.01 mg"}, "per_4_hours"),
    ],
)
def test_a_shorter_period_that_allows_more_than_a_longer_one_is_incoherent(
    bent: dict[str, str], path: str
) -> None:
    assert faults(infusion(drug(limits=dose_limits(**bent)))) == [
        ("SR-05", "hard", f"drugs[0].limits.{path}")
    ]


def test_equal_limits_of_all_periods_are_coherent() -> None:
    assert faults(infusion(drug(limits=dose_limits("1 mg", "1 mg", "1 mg", "1 mg")))) == []


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F23")
def test_coherence_is_judged_across_layers_and_across_a_missing_period() -> None:
    wide = dose_limits(per_hour="0.4 mg", per_4_hours="21 mg", per_day=None)
    assert faults(infusion(drug(limits=wide))) == [("SR-05", "hard", "drugs[0].limits.per_4_hours")]
    gap = dose_limits(per_hour="5 mg", per_4_hours=None)
    assert ("SR-05", "hard", "drugs[0].limits.per_hour") in faults(infusion(drug(limits=gap)))


def test_the_start_limits_are_those_of_the_stated_history() -> None:
    assert limits_of(infusion()).start_hard is None
    naive = infusion(replace(drug(), history="opioid-naive"))
    assert limits_of(naive).start_soft == Limit(parse_mass("0.2 mg"), "formulary")
    assert limits_of(naive).start_hard == Limit(parse_mass("1 mg"), "formulary")
    anybody = limits_of(infusion(drug("ziconotide", "100 mcg/mL")))
    assert anybody.start_hard == Limit(parse_mass("2.4 mcg"), "formulary")


def test_an_unknown_drug_has_no_limits_but_the_patients() -> None:
    found = limits_of(infusion(drug("novelin")))
    assert found.per_day == Limit(parse_mass("4 mg"), "patient")
    assert (found.per_day_soft, found.start_hard, found.history_needed) == (None, None, False)


def test_limits_are_found_by_name_and_concentration_together() -> None:
    found, _ = pump_limits(MORPHINE_DAY, FORMULARY)
    one = drug()
    assert found.find(one.name, one.concentration) is found.drugs[0]
    assert found.find(one.name, drug(concentration="20 mg/mL").concentration) is None
    assert found.find("fentanyl", one.concentration) is None


def test_missing_limits_are_found_in_limits_that_were_handed_in_too() -> None:
    found, _ = pump_limits(MORPHINE_DAY, FORMULARY)
    bare = PumpLimits((replace(found.drugs[0], per_4_hours=None),))
    expected = ["drugs[0].limits.per_4_hours"]
    assert [one.path for one in missing_limits(bare, bolus_asked=True)] == expected
    program = compiled(MORPHINE_DAY)
    findings = review_infusion(program, MORPHINE_DAY, bare, ITP, FORMULARY, ())
    assert [one.path for one in findings] == expected


def test_limits_travel_through_cbor_and_strict_validation_unchanged() -> None:
    adapter = TypeAdapter(PumpLimits)
    found, _ = pump_limits(MORPHINE_DAY, FORMULARY)
    body = cbor2.loads(cbor2.dumps(adapter.dump_python(found, mode="json")))
    assert adapter.validate_python(body) == found


# --- L-1, L, L+1 of every limit, through the whole review --------------------------------------


def review(therapy: InfusionTherapy, formulary: Formulary = FORMULARY) -> list[Finding]:
    found, _ = pump_limits(therapy, formulary)
    return list(review_infusion(compiled(therapy), therapy, found, ITP, formulary, ()))


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    ("quantity", "worst", "rule"),
    [
        ("per_bolus", "0.15 mg", "SR-05"),
        ("per_hour", "0.25 mg", "SR-05"),
        ("per_4_hours", "0.55 mg", "SR-05"),
        ("per_day", "2.775 mg", "SR-04"),
    ],
)
@pytest.mark.parametrize(("slack", "refused"), [(-1, True), (0, False), (1, False)])
def test_exactly_the_limit_is_allowed_and_one_femtogram_more_is_not(
    quantity: str, worst: str, rule: str, slack: int, refused: bool
) -> None:
    limit = Femtograms(parse_mass(worst) + slack)
    own = replace(drug().limits, **{quantity: limit})
    findings = review(infusion(drug(limits=own), bolus=button()))
    assert [(f.rule, f.severity, f.source) for f in findings] == (
        [(rule, "hard", "patient")] if refused else []
    )


@pytest.mark.parametrize(("slack", "severity"), [(-1, ["soft"]), (0, []), (1, [])])
def test_exactly_the_soft_daily_limit_needs_no_reason(slack: int, severity: list[str]) -> None:
    soft = Femtograms(parse_mass("2.775 mg") + slack)
    formulary = Formulary("a test", (replace(MORPHINE, per_day_soft=soft),))
    findings = review(MORPHINE_DAY, formulary)
    assert [finding.severity for finding in findings] == severity
    assert all(finding.rule == "SR-04" for finding in findings)
    assert all(finding.source == "formulary" for finding in findings)
