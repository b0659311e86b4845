"""The review as a whole: the example therapies pass, every objection is reported, in order."""

import timeit
from dataclasses import replace
from typing import Any

from clinical_examples import (
    FORMULARY,
    ITP,
    MORPHINE_DAY,
    NIGHT,
    SCS,
    STIMULATION,
    WALKING,
    area,
    button,
    compiled,
    dose_limits,
    drug,
    infusion,
    step,
    tonic,
)

from device_profiles.diagnostics import Finding, verdict_of
from device_profiles.formulary_file import load_formulary
from device_profiles.quantities import MicroAmps, Milliseconds
from device_profiles.therapy import InfusionTherapy
from safety.limits import pump_limits
from safety.outputs import PumpProgram
from safety.review import (
    NOT_JUDGED_INFUSION,
    derived_infusion,
    derived_stimulation,
    not_judged_infusion,
    review_infusion,
    review_stimulation,
)


def review(therapy: InfusionTherapy, *, first_program: bool = False) -> tuple[Finding, ...]:
    limits, _ = pump_limits(therapy, FORMULARY)
    starting = tuple(one.name for one in therapy.drugs) if first_program else ()
    return review_infusion(compiled(therapy), therapy, limits, ITP, FORMULARY, starting)


def test_the_example_stimulation_is_accepted_without_a_word() -> None:
    assert review_stimulation(STIMULATION, SCS) == ()


def test_the_example_infusion_is_accepted_without_a_word_first_program_or_not() -> None:
    assert review(MORPHINE_DAY) == ()
    assert review(MORPHINE_DAY, first_program=True) == ()


def test_the_example_infusion_is_accepted_by_the_shipped_formulary_too() -> None:
    shipped = load_formulary()
    limits, _ = pump_limits(MORPHINE_DAY, shipped)
    program = compiled(MORPHINE_DAY)
    assert review_infusion(program, MORPHINE_DAY, limits, ITP, shipped, ("morphine",)) == ()


def test_the_verdict_of_a_soft_finding_asks_for_a_reason_and_of_a_hard_one_refuses() -> None:
    soft = review_stimulation((tonic(area(amplitude="8.5 mA", width="500 us")),), SCS)
    hard = review_stimulation((tonic(area(amplitude="12.7 mA", width="900 us")),), SCS)
    assert (verdict_of(soft), verdict_of(hard)) == ("needs-reason", "refused")


def test_all_findings_are_reported_in_the_order_of_their_paths() -> None:
    bad = replace(
        tonic(
            area(amplitude="4.25 mA", width="215 us"),
            area("E1 -90, E2 +100"),
            rate="5 kHz",
            slot=3,
        ),
        ramp=Milliseconds(1),
    )
    paths = [finding.path for finding in review_stimulation((bad, WALKING), SCS)]
    assert paths == sorted(paths)
    assert {path.split(".", 1)[1] for path in paths} >= {
        "areas[0].amplitude",
        "areas[0].max_amplitude",
        "areas[0].pulse_width",
        "areas[1].electrodes",
        "ramp",
        "rate",
    }


def test_the_order_of_paths_counts_indices_as_numbers() -> None:
    steps = tuple(step(f"{hour:02}:00", "300 mg/day") for hour in range(12))
    paths = [f.path for f in review(infusion(basal=steps)) if f.path.startswith("basal")]
    assert paths.index("basal[2].rate") < paths.index("basal[10].rate")


def test_two_programs_in_one_place_or_none_at_all_are_refused() -> None:
    doubled = review_stimulation((WALKING, replace(NIGHT, slot=0)), SCS)
    assert [(finding.rule, finding.path) for finding in doubled] == [("SR-48", "programs")]
    assert [finding.path for finding in review_stimulation((), SCS)] == ["programs"]


def test_a_finding_about_limits_is_reported_once() -> None:
    findings = review(infusion(drug(limits=dose_limits(per_hour=None))))
    assert [finding.path for finding in findings] == ["drugs[0].limits.per_hour"]


def test_limits_of_other_drugs_are_no_limits() -> None:
    other, _ = pump_limits(infusion(drug(concentration="20 mg/mL")), FORMULARY)
    program = compiled(MORPHINE_DAY)
    findings = review_infusion(program, MORPHINE_DAY, other, ITP, FORMULARY, ())
    assert {finding.path.rpartition(".")[2] for finding in findings} == {
        "per_bolus",
        "per_hour",
        "per_4_hours",
        "per_day",
    }
    assert verdict_of(findings) == "refused"


def test_a_program_whose_worst_case_cannot_be_computed_is_always_refused() -> None:
    program = compiled(MORPHINE_DAY)
    assert program.patient_bolus is not None
    unbounded: list[PumpProgram] = [
        replace(program, basal=()),
        replace(program, basal=program.basal[::-1]),
        replace(program, drugs=()),
        replace(program, patient_bolus=replace(program.patient_bolus, over=Milliseconds(0))),
        replace(program, patient_bolus=replace(program.patient_bolus, lockout=Milliseconds(0))),
        replace(program, patient_bolus=replace(program.patient_bolus, max_per_24h=0)),
    ]
    limits, _ = pump_limits(MORPHINE_DAY, FORMULARY)
    for one in unbounded:
        findings = review_infusion(one, MORPHINE_DAY, limits, ITP, FORMULARY, ())
        assert verdict_of(findings) == "refused"
        derived_infusion(one, ITP)


def test_every_finding_says_value_limit_and_a_way_out_that_proposes_no_number() -> None:
    findings = review(
        infusion(basal=(step("00:00", "60 mg/day"),), bolus=button("2 mg", "10 min", "5 min"))
    )
    assert findings
    for finding in findings:
        assert finding.hint
        assert not any(character.isdigit() for character in finding.hint)
        assert finding.value is not None
        assert finding.limit is not None


def test_derived_figures_of_a_stimulation_are_those_of_the_report() -> None:
    programs: dict[str, Any] = derived_stimulation(STIMULATION, SCS)["programs"]
    assert list(programs) == ["walking", "night"]
    assert programs["walking"]["areas"][0]["E3"] == {
        "charge_per_phase_pC": 882_000,
        "charge_density_uC_per_cm2": 7.2,
        "shannon_k": 0.803,
    }
    assert programs["night"]["areas"][0]["E4"]["shannon_k"] == 0.468


def test_derived_figures_leave_the_case_out_and_have_no_k_at_zero_charge() -> None:
    program = tonic(area("E1 -100, case +100", "0 mA"))
    contacts = derived_stimulation((program,), SCS)["programs"]["program-0"]["areas"][0]
    assert contacts == {
        "E1": {"charge_per_phase_pC": 0, "charge_density_uC_per_cm2": 0.0, "shannon_k": None}
    }


def test_derived_figures_of_an_infusion_are_those_of_the_report() -> None:
    assert derived_infusion(compiled(MORPHINE_DAY), ITP) == {
        "drugs": {"morphine": {"daily_dose_ng": 2_175_000, "worst_case_daily_dose_ng": 2_775_000}},
        "daily_volume_nL": 217_500,
        "days_to_alarm_nominal": 73.56,
        "days_to_alarm_worst": 50.35,
    }


def test_the_days_to_the_alarm_of_the_golden_refill_are_120_and_104_80() -> None:
    therapy = infusion(
        drug("baclofen", "2000 mcg/mL"),
        basal=(step("00:00", "300 mcg/day"),),
        fill="20 mL",
    )
    derived = derived_infusion(compiled(therapy), ITP)
    assert derived["days_to_alarm_nominal"] == 120.0
    assert derived["days_to_alarm_worst"] == 104.8


def test_a_start_dose_that_depends_on_the_device_is_not_judged_without_one() -> None:
    def open_rules(*drugs: Any) -> tuple[str, ...]:
        return not_judged_infusion(pump_limits(infusion(*drugs), FORMULARY)[0])

    assert open_rules(drug()) == NOT_JUDGED_INFUSION
    assert open_rules(replace(drug(), history="opioid-naive")) == NOT_JUDGED_INFUSION
    assert open_rules(drug("ziconotide", "100 mcg/mL")) == (*NOT_JUDGED_INFUSION, "SR-63")


def test_raising_an_amplitude_never_makes_the_verdict_milder() -> None:
    order = ["accepted", "needs-reason", "refused"]
    worst = 0
    for current in range(0, 26_000, 100):
        one = replace(
            area(width="500 us"), amplitude=MicroAmps(current), ceiling=MicroAmps(current)
        )
        found = order.index(verdict_of(review_stimulation((tonic(one),), SCS)))
        assert found >= worst
        worst = found
    assert worst == 2


def test_a_review_of_an_accepted_program_is_quick() -> None:
    """60 us is the budget on the bench; the margin keeps a busy machine from failing this."""
    runs = 200
    seconds = min(timeit.repeat(lambda: review_stimulation((WALKING,), SCS), number=runs, repeat=5))
    assert seconds / runs < 10 * 60e-6
