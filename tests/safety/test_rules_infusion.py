"""Each rule of a pump's program at its border, its golden vectors, and the accidents it meets."""

from dataclasses import replace

import pytest
from clinical_examples import (
    FENTANYL,
    FORMULARY,
    ITP,
    MORPHINE_DAY,
    button,
    compiled,
    dose_limits,
    drug,
    infusion,
    step,
)
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.diagnostics import Finding, verdict_of
from device_profiles.formulary import Formulary
from device_profiles.notation import parse_concentration, parse_duration, parse_mass, parse_volume
from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    Milliseconds,
    NanoLitres,
    NanoLitresPerDay,
)
from device_profiles.therapy import DoseLimits, Drug, History, InfusionTherapy, Vial
from safety.limits import pump_limits
from safety.outputs import BolusOutput, PumpProgram
from safety.review import review_infusion
from safety.rules_infusion import judge_bolus

Brief = tuple[str, str, str]


def findings_of(
    therapy: InfusionTherapy,
    program: PumpProgram | None = None,
    formulary: Formulary = FORMULARY,
    starting: tuple[str, ...] = (),
) -> tuple[Finding, ...]:
    limits, _ = pump_limits(therapy, formulary)
    program = program or compiled(therapy)
    return review_infusion(program, therapy, limits, ITP, formulary, starting)


def review(
    therapy: InfusionTherapy, program: PumpProgram | None = None, starting: tuple[str, ...] = ()
) -> list[Brief]:
    found = findings_of(therapy, program, starting=starting)
    return [(one.rule, one.severity, one.path) for one in found]


BACLOFEN_LIMITS = dose_limits("100 mcg", "100 mcg", "200 mcg", None)


def baclofen(rate: str, per_day: str | None = "1 mg") -> InfusionTherapy:
    limits = dose_limits("100 mcg", "100 mcg", "400 mcg", per_day)
    return infusion(
        drug("baclofen", "500 mcg/mL", limits), basal=(step("00:00", rate),), fill="20 mL"
    )


# --- SR-04: 24 hours ------------------------------------------------------------------------


@pytest.mark.requirement("SR-04")
@pytest.mark.vector("V8.1")
@pytest.mark.fault("F23")
def test_golden_8_1_the_day_of_60_mcg_each_hour_is_refused_and_that_of_60_mcg_a_day_is_not() -> (
    None
):
    assert review(baclofen("60 mcg/day")) == []
    refused = findings_of(baclofen("60 mcg/h"))
    assert [(one.rule, one.severity, one.path) for one in refused] == [
        ("SR-04", "hard", "basal[0].rate")
    ]
    assert (refused[0].value, refused[0].limit) == ("1.44 mg", "1 mg")
    assert refused[0].source == "patient"


def test_a_window_that_is_over_says_the_rate_by_day_and_by_hour_and_the_layer() -> None:
    message = findings_of(baclofen("60 mcg/h"))[0].message
    for words in ("1.44 mg/day", "0.06 mg/h", "1.44 mg", "1 mg", "patient", "24 hours"):
        assert words in message


@pytest.mark.requirement("SR-04")
@pytest.mark.fault("F1")
def test_the_formularys_soft_day_needs_a_reason_and_its_hard_day_is_refused() -> None:
    assert review(baclofen("1000 mcg/day", None)) == []
    assert review(baclofen("1001 mcg/day", None)) == [("SR-04", "soft", "basal[0].rate")]
    assert review(baclofen("2000 mcg/day", None)) == [("SR-04", "soft", "basal[0].rate")]
    assert review(baclofen("2001 mcg/day", None)) == [("SR-04", "hard", "basal[0].rate")]


@pytest.mark.requirement("SR-04")
def test_boluses_that_only_add_up_over_a_day_are_refused_where_they_are_asked_for() -> None:
    therapy = infusion(
        drug(limits=dose_limits(per_day="2.5 mg")), bolus=button("0.15 mg", "10 min", "4 h", 4)
    )
    assert review(therapy) == [("SR-04", "hard", "patient_bolus.dose")]


def test_the_largest_step_is_pointed_at() -> None:
    therapy = infusion(
        drug(limits=dose_limits("1 mg", "2 mg", "3 mg", "4 mg")),
        basal=(step("00:00", "1 mg/day"), step("06:00", "9 mg/day"), step("18:00", "8 mg/day")),
    )
    assert review(therapy) == [("SR-04", "hard", "basal[1].rate")]


@pytest.mark.requirement("SR-04")
def test_every_drug_of_a_mixture_is_judged_by_its_own_strength() -> None:
    """A flow that suits the first drug may be far too much of the second."""
    therapy = infusion(
        drug(),
        drug("fentanyl", "1 mg/mL", dose_limits("10 mcg", "20 mcg", "50 mcg", "200 mcg")),
        basal=(step("00:00", "2.4 mg/day"),),
    )
    found = findings_of(therapy)
    assert [(one.rule, one.path, one.value) for one in found] == [
        ("SR-04", "basal[0].rate", "240 mcg"),
    ]
    assert "fentanyl reaches 240 mcg" in found[0].message


# --- SR-05: bolus, hour, 4 hours --------------------------------------------------------------


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F1")
@pytest.mark.parametrize(("dose", "over"), [("0.19 mg", 0), ("0.2 mg", 0), ("0.21 mg", 1)])
def test_one_bolus_is_at_most_the_limit_per_bolus(dose: str, over: int) -> None:
    found = review(infusion(bolus=button(dose)))
    assert found.count(("SR-05", "hard", "patient_bolus.dose")) == over


@pytest.mark.requirement("SR-05")
def test_accident_a8_a_bolus_forty_times_too_large_is_refused_by_the_formulary_alone() -> None:
    wide = infusion(drug(limits=dose_limits("1 mg", "8 mg", "9 mg", "20 mg")), bolus=button("4 mg"))
    found = [one for one in findings_of(wide) if one.path == "patient_bolus.dose"]
    assert ("4 mg", "1 mg") in [(one.value, one.limit) for one in found]


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    ("quantity", "limit"), [("per_hour", "0.25 mg"), ("per_4_hours", "0.55 mg")]
)
def test_an_hour_and_four_hours_count_full_of_basal_and_boluses(quantity: str, limit: str) -> None:
    """2.4 mg/day are 0.1 mg an hour; one bolus of 0.15 mg fits into either window."""
    exact = parse_mass(limit)
    for value, refused in ((exact, False), (Femtograms(exact - 1), True)):
        own = replace(dose_limits(), **{quantity: value})
        found = review(infusion(drug(limits=own), bolus=button()))
        assert found == ([("SR-05", "hard", "patient_bolus.dose")] if refused else [])


# --- SR-07: flows -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-07")
@pytest.mark.vector("V8.11")
def test_golden_8_11_75_mcg_of_fentanyl_at_10_mg_per_mL_cannot_be_delivered() -> None:
    limits = dose_limits("100 mcg", "100 mcg", "100 mcg", "1 mg")
    therapy = infusion(drug("fentanyl", "10 mg/mL", limits), basal=(step("00:00", "75 mcg/day"),))
    found = findings_of(therapy, formulary=Formulary("test", (FENTANYL,)))
    assert [(one.rule, one.severity, one.path) for one in found] == [
        ("SR-07", "hard", "basal[0].rate")
    ]
    assert (found[0].value, found[0].limit, found[0].source) == (
        "75 mcg/day",
        "480 mcg/day",
        "device",
    )
    for words in ("3.125 mcg/h", "0.0075 mL/day", "0.048 mL/day", "10 mg/mL"):
        assert words in found[0].message


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    ("flow", "accepted"),
    [
        (0, False),
        (6_000, False),
        (47_999, False),
        (48_000, True),
        (48_001, True),
        (24_000_000, True),
        (24_000_001, False),
        (-1, False),
    ],
)
def test_every_step_is_a_flow_that_the_pump_delivers(flow: int, accepted: bool) -> None:
    program = compiled(MORPHINE_DAY)
    steps = (program.basal[0], replace(program.basal[1], flow=NanoLitresPerDay(flow)))
    found = review(MORPHINE_DAY, replace(program, basal=steps, patient_bolus=None))
    flows = [one for one in found if one[0] == "SR-07"]
    assert flows == ([] if accepted else [("SR-07", "hard", "basal[1].rate")])


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F10")
def test_a_flow_between_the_devices_steps_is_refused() -> None:
    coarse = replace(ITP, flow_step=NanoLitresPerDay(7))
    limits, _ = pump_limits(MORPHINE_DAY, FORMULARY)
    program = compiled(MORPHINE_DAY)
    found = review_infusion(program, MORPHINE_DAY, limits, coarse, FORMULARY, ())
    assert [one.path for one in found] == ["basal[0].rate", "basal[1].rate"]


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F10")
def test_a_rate_that_rounds_to_no_flow_is_refused_with_the_rate_as_written() -> None:
    therapy = infusion(basal=(step("00:00", "0.005 mcg/day"),))
    found = findings_of(therapy)
    assert [(one.rule, one.value) for one in found] == [("SR-07", "0.005 mcg/day")]
    assert "no flow at all" in found[0].message


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F10")
def test_a_bolus_that_rounds_to_no_volume_is_refused() -> None:
    found = findings_of(infusion(bolus=button("0.005 mcg")))
    assert [(one.rule, one.severity, one.path, one.value) for one in found] == [
        ("SR-07", "hard", "patient_bolus.dose", "0.005 mcg")
    ]


@pytest.mark.requirement("SR-07")
@pytest.mark.requirement("SR-17")
@pytest.mark.parametrize(
    ("volume", "refused"), [(164_999, False), (165_000, False), (165_001, True)]
)
def test_the_basal_and_the_bolus_together_stay_within_the_largest_flow(
    volume: int, refused: bool
) -> None:
    """24 mL/day less 0.24 mL/day of basal are 165 uL in 10 minutes."""
    program = compiled(MORPHINE_DAY)
    assert program.patient_bolus is not None
    bolus = replace(program.patient_bolus, volume=NanoLitres(volume))
    found = review(MORPHINE_DAY, replace(program, patient_bolus=bolus))
    assert (("SR-07", "hard", "patient_bolus.over") in found) == refused


@pytest.mark.parametrize("count", [0, 13, 14])
def test_a_basal_has_one_to_thirteen_steps(count: int) -> None:
    basal = tuple(step(f"{hour:02}:00", "2.4 mg/day") for hour in range(count))
    found = review(infusion(basal=basal))
    assert found == ([] if count == 13 else [("SR-07", "hard", "basal")])


def test_steps_out_of_order_are_refused() -> None:
    basal = (step("22:00", "2.4 mg/day"), step("07:00", "2.4 mg/day"))
    assert review(infusion(basal=basal)) == [("SR-07", "hard", "basal")]


# --- SR-08, SR-11: drugs and vials --------------------------------------------------------------


@pytest.mark.requirement("SR-08")
@pytest.mark.parametrize(
    ("concentration", "accepted"),
    [
        ("50 mcg/mL", False),
        ("50.001 mcg/mL", True),
        ("2000 mcg/mL", True),
        ("2000.001 mcg/mL", False),
    ],
)
def test_a_concentration_is_one_for_pumps(concentration: str, accepted: bool) -> None:
    own = drug("baclofen", concentration, BACLOFEN_LIMITS)
    found = review(infusion(own, basal=(step("00:00", "100 mcg/day"),)))
    found = [one for one in found if one[0] == "SR-08"]
    assert found == ([] if accepted else [("SR-08", "hard", "drugs[0].concentration")])


def with_vials(*vials: Vial) -> InfusionTherapy:
    return replace(MORPHINE_DAY, fill=replace(MORPHINE_DAY.fill, vials=vials))


TEN = Vial("morphine", parse_concentration("10 mg/mL"))


@pytest.mark.requirement("SR-08")
@pytest.mark.parametrize(
    ("vials", "paths"),
    [
        ((TEN,), []),
        ((), ["fill.vials.morphine"]),
        ((TEN, TEN), ["fill.vials.morphine"]),
        ((Vial("morphine", parse_concentration("1 mg/mL")),), ["fill.vials.morphine"]),
        ((TEN, Vial("baclofen", TEN.concentration)), ["fill.vials.baclofen"]),
        ((Vial("baclofen", TEN.concentration),), ["fill.vials.baclofen", "fill.vials.morphine"]),
    ],
)
def test_the_vial_says_what_the_drug_says(vials: tuple[Vial, ...], paths: list[str]) -> None:
    assert review(with_vials(*vials)) == [("SR-08", "hard", path) for path in paths]


@pytest.mark.requirement("SR-11")
@pytest.mark.fault("F27")
def test_an_unknown_drug_is_refused_and_no_other_is_proposed() -> None:
    found = findings_of(infusion(drug("morphin")))
    assert [(one.rule, one.severity, one.path) for one in found] == [
        ("SR-11", "hard", "drugs[0].name")
    ]
    assert "morphine" not in found[0].message + (found[0].hint or "")
    assert found[0].limit is None


@pytest.mark.requirement("SR-08")
def test_a_drug_named_twice_is_refused_since_its_doses_would_be_judged_apart() -> None:
    found = review(infusion(drug(), drug(concentration="20 mg/mL")))
    assert ("SR-08", "hard", "drugs[1].name") in found


@pytest.mark.requirement("SR-08")
@pytest.mark.fault("F27")
def test_a_program_of_other_drugs_than_the_files_is_refused() -> None:
    other = compiled(infusion(drug(concentration="20 mg/mL")))
    assert ("SR-08", "hard", "drugs") in review(infusion(), other)


# --- SR-16: the button --------------------------------------------------------------------------


@pytest.mark.requirement("SR-16")
@pytest.mark.fault("F22")
@pytest.mark.parametrize(
    ("over", "lockout", "most", "paths"),
    [
        (600_000, 14_400_000, 1, []),
        (60_000, 60_000, 1, []),
        (600_000, 600_000, 1, []),
        (600_000, 599_999, 1, ["patient_bolus.lockout"]),
        (59_999, 59_999, 1, ["patient_bolus.lockout"]),
        (600_000, 0, 1, ["patient_bolus.lockout"] * 2),
        (600_000, ITP.lockout_max, 1, []),
        (600_000, ITP.lockout_max + 1, 1, ["patient_bolus.lockout"]),
        (0, 600_000, 1, ["patient_bolus.over"]),
        (600_000, 600_000, 0, ["patient_bolus.max_per_24h"]),
    ],
)
def test_the_buttons_times_and_count(over: int, lockout: int, most: int, paths: list[str]) -> None:
    program = compiled(MORPHINE_DAY)
    assert program.patient_bolus is not None
    bolus = replace(
        program.patient_bolus,
        over=Milliseconds(over),
        lockout=Milliseconds(lockout),
        max_per_24h=most,
    )
    found = review(MORPHINE_DAY, replace(program, patient_bolus=bolus))
    button_findings = [one for one in found if one[0] == "SR-16"]
    assert button_findings == [("SR-16", "hard", path) for path in paths]


# --- SR-18: the fill ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-18")
@pytest.mark.parametrize(
    ("fill", "low", "paths"),
    [
        ("20 mL", "2 mL", []),
        ("20.000001 mL", "2 mL", ["fill.volume"]),
        ("2.000001 mL", "2 mL", []),
        ("2 mL", "2 mL", ["fill.volume"]),
        ("18 mL", "1.4 mL", []),
        ("18 mL", "1.399999 mL", ["fill.low_reservoir"]),
    ],
)
def test_the_fill_fits_and_the_alarm_comes_in_time(fill: str, low: str, paths: list[str]) -> None:
    assert review(infusion(fill=fill, low=low)) == [("SR-18", "hard", path) for path in paths]


@pytest.mark.requirement("SR-18")
@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_a_catheter_is_no_larger_than_any_of_this_device(more: int, refused: bool) -> None:
    volume = NanoLitres(ITP.catheter_max + more)
    therapy = replace(infusion(), catheter=replace(MORPHINE_DAY.catheter, volume=volume))
    assert review(therapy) == [("SR-18", "hard", "catheter.volume")] * refused


# --- SR-63: history and start -----------------------------------------------------------------


def opioid(history: History | None, rate: str, limits: DoseLimits | None = None) -> InfusionTherapy:
    own = replace(drug(), history=history, limits=limits or dose_limits())
    return infusion(own, basal=(step("00:00", rate),))


@pytest.mark.requirement("SR-63")
def test_the_history_of_an_opioids_patient_is_mandatory() -> None:
    assert review(opioid(None, "2.4 mg/day")) == [("SR-63", "hard", "drugs[0].history")]
    assert review(baclofen("60 mcg/day")) == []


@pytest.mark.requirement("SR-63")
@pytest.mark.parametrize(
    ("rate", "severity"),
    [
        ("0.48 mg/day", "soft"),
        ("1 mg/day", "soft"),
        ("1.001 mg/day", "hard"),
    ],
)
def test_an_opioid_naive_patient_is_at_the_start_by_definition(rate: str, severity: str) -> None:
    assert review(opioid("opioid-naive", rate)) == [("SR-63", severity, "basal[0].rate")]


@pytest.mark.requirement("SR-63")
def test_exactly_the_soft_start_needs_no_reason() -> None:
    therapy = infusion(
        replace(drug(concentration="1 mg/mL"), history="opioid-naive"),
        basal=(step("00:00", "0.2 mg/day"),),
    )
    assert review(therapy) == []
    above = replace(therapy, basal=(step("00:00", "0.201 mg/day"),))
    assert review(above) == [("SR-63", "soft", "basal[0].rate")]


@pytest.mark.requirement("SR-63")
def test_the_boluses_of_a_naive_patient_count_in_the_start() -> None:
    therapy = replace(opioid("opioid-naive", "0.48 mg/day"), patient_bolus=button("0.15 mg"))
    assert review(therapy) == [("SR-63", "hard", "patient_bolus.dose")]


@pytest.mark.requirement("SR-63")
def test_other_start_limits_hold_for_the_start_of_their_own_drug_only() -> None:
    limits = dose_limits(None, "1 mcg", "2 mcg", "19.2 mcg")
    own = drug("ziconotide", "25 mcg/mL", limits)
    high = infusion(own, basal=(step("00:00", "2.5 mcg/day"),))
    assert review(high) == []
    assert review(high, starting=("ziconotide",)) == [("SR-63", "hard", "basal[0].rate")]
    exact = infusion(own, basal=(step("00:00", "2.4 mcg/day"),))
    assert review(exact, starting=("ziconotide",)) == []
    assert review(high, starting=("another drug",)) == []


# --- a host-started bolus ---------------------------------------------------------------------


def host_bolus(
    volume: int, over: str = "10 min", therapy: InfusionTherapy = MORPHINE_DAY
) -> list[Brief]:
    limits, _ = pump_limits(therapy, FORMULARY)
    bolus = BolusOutput(NanoLitres(volume), parse_duration(over))
    found = judge_bolus(bolus, compiled(therapy), limits, ITP)
    return [(one.rule, one.severity, one.path) for one in found]


@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F1")
@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (-1, [("SR-07", "hard", "bolus")]),
        (0, [("SR-07", "hard", "bolus")]),
        (1, []),
        (20_000, []),
        (20_001, [("SR-05", "hard", "bolus")]),
    ],
)
def test_a_host_bolus_is_positive_and_within_the_limit_per_bolus(
    volume: int, expected: list[Brief]
) -> None:
    assert host_bolus(volume) == expected


@pytest.mark.requirement("SR-16")
@pytest.mark.requirement("SR-17")
def test_a_host_bolus_takes_time_and_stays_within_the_largest_flow() -> None:
    assert host_bolus(15_000, "0 s") == [("SR-16", "hard", "bolus.over")]
    assert host_bolus(16_500, "1 min") == []
    assert host_bolus(16_501, "1 min") == [("SR-07", "hard", "bolus.over")]


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F20")
def test_a_host_bolus_without_a_limit_per_bolus_is_refused() -> None:
    bare = infusion(drug("fentanyl", "1 mg/mL", dose_limits(per_bolus=None)))
    assert host_bolus(1, therapy=bare) == [("SR-05", "hard", "drugs[0].limits.per_bolus")]


# --- properties -------------------------------------------------------------------------------

ORDER = ["accepted", "needs-reason", "refused"]
rates = st.integers(48, 2_000).map(lambda thousands: FemtogramsPerDay(thousands * 10**10))


def severity(therapy: InfusionTherapy) -> int:
    return ORDER.index(verdict_of(findings_of(therapy)))


def more(therapy: InfusionTherapy, factor: int) -> InfusionTherapy:
    basal = tuple(replace(one, rate=FemtogramsPerDay(one.rate * factor)) for one in therapy.basal)
    return replace(therapy, basal=basal)


@given(rates, rates, st.integers(2, 24))
def test_multiplying_a_deliverable_basal_never_makes_the_verdict_milder(
    day: FemtogramsPerDay, night: FemtogramsPerDay, factor: int
) -> None:
    first, second = step("07:00", "1 mg/day"), step("22:00", "1 mg/day")
    steps = (replace(first, rate=day), replace(second, rate=night))
    therapy = infusion(basal=steps, bolus=button())
    assert severity(more(therapy, factor)) >= severity(therapy)


@pytest.mark.requirement("SR-61")
@given(st.integers(1, 300), st.integers(1, 600), st.integers(0, 24), st.integers(1, 200))
def test_lowering_any_patient_limit_never_makes_the_verdict_milder(
    per_bolus: int, per_hour: int, boluses: int, cut: int
) -> None:
    micrograms = (per_bolus, max(per_bolus, per_hour), 1_000, 4_000)
    bolus = button(most=boluses) if boluses else None

    def judged(lowered: int) -> int:
        limits = DoseLimits(*(Femtograms(max(0, one - lowered) * 10**9) for one in micrograms))
        own = Drug("morphine", TEN.concentration, "opioid-tolerant", limits)
        return severity(infusion(own, bolus=bolus))

    assert judged(cut) >= judged(0)


def test_a_limit_of_zero_allows_nothing() -> None:
    nothing = DoseLimits(Femtograms(0), Femtograms(0), Femtograms(0), Femtograms(0))
    found = findings_of(infusion(drug(limits=nothing), bolus=button()))
    assert len(found) == 4
    assert {one.limit for one in found} == {"0 mcg"}


def test_volumes_of_a_fill_are_written_as_in_the_file() -> None:
    finding = findings_of(infusion(fill="21 mL"))[0]
    assert (finding.value, finding.limit, finding.source) == ("21 mL", "20 mL", "device")
    assert parse_volume("21 mL") == 21_000_000
