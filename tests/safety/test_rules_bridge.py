"""A bridge without a device: what it is made of, its flows, and every drug in it at its limits."""

from dataclasses import replace

import pytest
from clinical_examples import (
    FORMULARY,
    ITP,
    MORPHINE,
    button,
    dose_limits,
    drug,
    step,
)
from line_bench import Mix, program_of, therapy_of

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary
from device_profiles.notation import parse_concentration, parse_mass
from device_profiles.quantities import Milliseconds, NanoLitres, NanoLitresPerDay
from device_profiles.therapy import DrugInLine, InfusionTherapy
from safety.dose import DaysToAlarm, days_to_alarm
from safety.limits import pump_limits
from safety.outputs import Bridge
from safety.review import derived_infusion, review_infusion
from safety.rules_bridge import bridge_words, hours_words, is_same_mix

OLD, NEW = {"morphine": "10 mg/mL"}, {"morphine": "20 mg/mL"}


def review(
    therapy: InfusionTherapy,
    bridge: Bridge | None = None,
    formulary: Formulary = FORMULARY,
) -> tuple[Finding, ...]:
    """What is said of a file, compiled with its own bridge unless another one is put in."""
    program = program_of(therapy)
    if bridge is not None:
        program = replace(program, bridge=bridge)
    limits, _ = pump_limits(therapy, formulary)
    return review_infusion(program, therapy, limits, ITP, formulary, starting=())


def the_one(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


# --- what it is made of --------------------------------------------------------------------------


@pytest.mark.requirement("SR-12")
def test_a_bridge_that_is_the_files_is_accepted_without_a_word() -> None:
    steps = (step("07:00", "2.4 mg/day"), step("22:00", "1.8 mg/day"))
    assert review(therapy_of(NEW, *steps, before=OLD, button=button())) == ()


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("strength", ["10 mg/mL", "10.000001 mg/mL"])
def test_a_bridge_to_the_same_mix_is_refused_and_one_to_the_next_strength_is_not(
    strength: str,
) -> None:
    findings = review(therapy_of(OLD, "2 mg/day", before={"morphine": strength}))
    assert [(one.rule, one.path) for one in findings] == (
        [("SR-12", "bridge.from")] if strength == "10 mg/mL" else []
    )


@pytest.mark.requirement("SR-12")
def test_a_line_that_is_not_primed_has_nothing_to_bridge_from() -> None:
    finding = the_one(review(therapy_of(NEW, "2 mg/day", before=OLD, primed=False)))
    assert (finding.rule, finding.severity, finding.path) == ("SR-12", "hard", "catheter.primed")


@pytest.mark.requirement("SR-12")
def test_a_bridge_from_a_mix_without_the_first_drug_is_refused() -> None:
    therapy = therapy_of(NEW, "2 mg/day")
    held = (DrugInLine("fentanyl", parse_concentration("1 mg/mL")),)
    therapy = replace(therapy, bridge_from=held)
    empty = Bridge((), (), NanoLitres(400_000))
    program = replace(program_of(replace(therapy, bridge_from=())), bridge=empty)
    limits, _ = pump_limits(therapy, FORMULARY)
    finding = the_one(review_infusion(program, therapy, limits, ITP, FORMULARY, starting=()))
    assert (finding.rule, finding.severity, finding.path) == ("SR-12", "hard", "bridge.from")
    assert days_to_alarm(program, ITP.accuracy).nominal_centi is not None
    assert "bridge" not in derived_infusion(program, ITP)


@pytest.mark.requirement("SR-12")
def test_a_bridge_that_is_not_compiled_from_the_file_is_refused() -> None:
    therapy = therapy_of(NEW, "2 mg/day", before=OLD)
    right = program_of(therapy).bridge
    assert right is not None
    faster = (replace(right.basal[0], flow=NanoLitresPerDay(right.basal[0].flow + 1)),)
    for wrong in (
        replace(right, volume=NanoLitres(right.volume + 1)),
        replace(right, basal=faster),
        replace(right, drugs=program_of(therapy).drugs),
    ):
        assert ("SR-12", "hard") in [(one.rule, one.severity) for one in review(therapy, wrong)]
    # A bridge that the file does not ask for, and one that it asks for and the program lacks.
    assert "SR-12" in [one.rule for one in review(therapy_of(NEW, "2 mg/day"), right)]
    bare = replace(program_of(therapy), bridge=None)
    limits, _ = pump_limits(therapy, FORMULARY)
    found = review_infusion(bare, therapy, limits, ITP, FORMULARY, starting=())
    assert [one.rule for one in found] == ["SR-12"]


# --- flows ---------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-07")
@pytest.mark.parametrize(
    ("rate", "refused"),
    [("0.48 mg/day", False), ("0.479999 mg/day", True), ("9.536 mg/day", False)],
)
def test_every_flow_of_a_bridge_can_be_delivered_down_to_the_least(
    rate: str, refused: bool
) -> None:
    weaker = {"morphine": "2 mg/mL"}
    findings = review(therapy_of(weaker, rate, before=OLD))
    assert [one.rule for one in findings] == (["SR-07"] if refused else [])
    if refused:
        assert findings[0].path == "basal[0].rate"
        assert "while the line still holds morphine 10 mg/mL" in findings[0].message


@pytest.mark.requirement("SR-07")
@pytest.mark.parametrize(("strength", "refused"), [("0.39 mg/mL", False), ("0.389 mg/mL", True)])
def test_every_flow_of_a_bridge_can_be_delivered_up_to_the_largest(
    strength: str, refused: bool
) -> None:
    """24 mL/day of 0.39 mg/mL; what may stray, 0.058 mL x 9.61 mg/mL, still fits into a day."""
    findings = review(therapy_of(OLD, "9.36 mg/day", before={"morphine": strength}))
    assert [one.rule for one in findings] == (["SR-07"] if refused else [])


@pytest.mark.requirement("SR-07")
@pytest.mark.parametrize(("step_nl", "refused"), [(100_000, False), (150_000, True)])
def test_every_flow_of_a_bridge_lies_on_the_pumps_steps(step_nl: int, refused: bool) -> None:
    """0.3 mL/day of the new mix is on both; the bridge's 0.4 mL/day only on the first."""
    therapy = therapy_of(NEW, "6 mg/day", before={"morphine": "15 mg/mL"})
    limits, _ = pump_limits(therapy, FORMULARY)
    coarse = replace(ITP, flow_step=NanoLitresPerDay(step_nl))
    findings = review_infusion(program_of(therapy), therapy, limits, coarse, FORMULARY, starting=())
    assert [(one.rule, one.path) for one in findings] == [("SR-07", "basal[0].rate")] * refused
    if refused:
        assert "is 0.4 mL/day; the device delivers in whole steps of" in findings[0].message
        assert findings[0].limit == "0.15 mL/day"


# --- every drug in the line ----------------------------------------------------------------------

BOTH_OLD = {"morphine": "10 mg/mL", "fentanyl": "1 mg/mL"}
BOTH_NEW = {"morphine": "20 mg/mL", "fentanyl": "1 mg/mL"}
"""The bridge runs at twice the flow: twice the fentanyl."""


def tight(per_day: str) -> InfusionTherapy:
    therapy = therapy_of(BOTH_NEW, "2 mg/day", before=BOTH_OLD)
    morphine, fentanyl = therapy.drugs
    limits = dose_limits(None, per_day, per_day, per_day)
    return replace(therapy, drugs=(morphine, replace(fentanyl, limits=limits)))


@pytest.mark.requirement("SR-04")
@pytest.mark.parametrize(("per_day", "refused"), [("200 mcg", False), ("199.999999 mcg", True)])
def test_what_comes_along_with_a_bridge_is_held_against_its_own_day(
    per_day: str, refused: bool
) -> None:
    findings = review(tight(per_day))
    assert [(one.rule, one.severity) for one in findings] == [("SR-04", "hard")] * refused
    if refused:
        assert findings[0].path == "bridge.from.fentanyl"
        assert "while the bridge runs and ends, fentanyl reaches 200 mcg" in findings[0].message


@pytest.mark.requirement("SR-05")
@pytest.mark.parametrize(("per_hour", "refused"), [("8.333334 mcg", False), ("8.333 mcg", True)])
def test_what_comes_along_with_a_bridge_is_held_against_its_own_hour(
    per_hour: str, refused: bool
) -> None:
    therapy = tight("2 mg")
    morphine, fentanyl = therapy.drugs
    limits = dose_limits(None, per_hour, "2 mg", "2 mg")
    therapy = replace(therapy, drugs=(morphine, replace(fentanyl, limits=limits)))
    assert [one.rule for one in review(therapy)] == ["SR-05"] * refused


@pytest.mark.requirement("SR-04")
def test_what_the_basal_alone_overfills_is_said_of_the_basal_only() -> None:
    therapy = therapy_of(NEW, "2 mg/day", before=OLD)
    small = drug("morphine", "20 mg/mL", dose_limits(None, "1 mg", "1 mg", "1.9 mg"))
    findings = review(replace(therapy, drugs=(small,)))
    assert [(one.rule, one.path) for one in findings if one.rule == "SR-04"] == [
        ("SR-04", "basal[0].rate")
    ]


def leaving(mix: Mix, rate: str = "2 mg/day") -> InfusionTherapy:
    """Fentanyl goes: only the line still holds it."""
    return therapy_of(NEW, rate, before={**OLD, **mix})


@pytest.mark.requirement("SR-04")
@pytest.mark.parametrize(
    ("strength", "severity"),
    [("1 mg/mL", ""), ("1.000001 mg/mL", "soft"), ("2 mg/mL", "soft"), ("2.000001 mg/mL", "hard")],
)
def test_a_drug_that_only_the_line_holds_keeps_the_formularys_day(
    strength: str, severity: str
) -> None:
    # 0.2 mL of 1 mg/mL flow in a day of the bridge, and 0.058 mL may be left behind by it.
    fentanyl = replace(
        MORPHINE,
        name="fentanyl",
        per_day_soft=parse_mass("258 mcg"),
        per_day_hard=parse_mass("516 mcg"),
    )
    formulary = Formulary("a test formulary", (MORPHINE, fentanyl))
    findings = review(leaving({"fentanyl": strength}), formulary=formulary)
    assert [one.severity for one in findings if one.rule == "SR-04"] == [severity] * bool(severity)
    assert all(one.path == "bridge.from.fentanyl" for one in findings)


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-11")
def test_a_drug_that_only_the_line_holds_and_that_no_layer_limits_is_missing_not_unlimited() -> (
    None
):
    finding = the_one(review(leaving({"fentanyl": "1 mg/mL"})))
    assert (finding.rule, finding.severity) == ("SR-04", "hard")
    unknown = Formulary("a test formulary", (MORPHINE,))
    finding = the_one(review(leaving({"fentanyl": "1 mg/mL"}), formulary=unknown))
    assert (finding.rule, finding.severity) == ("SR-11", "hard")


# --- words and days ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "words"),
    [(57_600_000, "16 h"), (123_552_000, "34.32 h"), (1, "0.01 h"), (3_600_001, "1.01 h")],
)
def test_hours_are_rounded_up_to_hundredths(ms: int, words: str) -> None:
    assert hours_words(Milliseconds(ms)) == words


def test_a_bridge_of_several_steps_is_told_with_its_hours_and_about_its_length() -> None:
    steps = (step("07:00", "2.4 mg/day"), step("22:00", "1.8 mg/day"))
    bridge = program_of(therapy_of(NEW, *steps, before=OLD)).bridge
    assert bridge is not None
    assert bridge_words(bridge) == (
        "0.24 mL/day from 07:00, 0.18 mL/day from 22:00 for about 44.14 h "
        "(0.4 mL of morphine 10 mg/mL)"
    )
    assert bridge_words(replace(bridge, basal=())) == "no flow of morphine 10 mg/mL"


def test_a_report_tells_a_bridge_by_its_volume_its_flows_and_its_words() -> None:
    program = program_of(therapy_of(NEW, "2 mg/day", before=OLD))
    assert derived_infusion(program, ITP)["bridge"] == {
        "volume_nL": 400_000,
        "flows_nL_per_day": [200_000],
        "text": "0.2 mL/day for 48 h (0.4 mL of morphine 10 mg/mL)",
    }
    assert "bridge" not in derived_infusion(replace(program, bridge=None), ITP)


def test_the_order_of_the_drugs_in_a_mix_is_none_of_it() -> None:
    mix = program_of(therapy_of(BOTH_OLD, "2 mg/day")).drugs
    assert is_same_mix(mix, tuple(reversed(mix)))
    assert not is_same_mix(mix, mix[:1])


@pytest.mark.requirement("SR-18")
def test_the_days_of_a_fill_begin_with_its_bridge() -> None:
    program = program_of(therapy_of({"baclofen": "2000 mcg/mL"}, "300 mcg/day"))
    assert days_to_alarm(program, ITP.accuracy) == DaysToAlarm(10_666, 9_315)
    bridged = program_of(
        therapy_of({"baclofen": "2000 mcg/mL"}, "300 mcg/day", before={"baclofen": "500 mcg/mL"})
    )
    # 0.4 mL at 0.6 mL/day, then 15.6 mL at 0.15.
    assert days_to_alarm(bridged, ITP.accuracy) == DaysToAlarm(66 + 10_400, 58 + 9_082)
    left = days_to_alarm(bridged, ITP.accuracy, NanoLitres(3_500_000))
    assert left == DaysToAlarm(1_000, 873)
    small = replace(bridged, fill_volume=NanoLitres(2_300_000))
    assert days_to_alarm(small, ITP.accuracy).nominal_centi == 50
