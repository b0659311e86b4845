"""Each rule of a stimulator at its border, its golden vectors, and what it must not flag."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from clinical_examples import NIGHT, SCS, WALKING, area, burst, high_frequency, shares, tonic
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.diagnostics import Finding
from device_profiles.notation import parse_duration
from device_profiles.quantities import MicroAmps, Microseconds, MilliHertz, Milliseconds, Ohms
from safety.charge import charge_thresholds
from safety.outputs import AreaOutput, StimulatorProgram
from safety.review import review_stimulation
from safety.rules_stimulation import judge_ceilings_kept, judge_impedance

Brief = tuple[str, str, str]


def review(program: StimulatorProgram) -> list[Brief]:
    """Rule, severity and the path within the program, of all findings."""
    return [
        (one.rule, one.severity, one.path.partition(".")[2])
        for one in review_stimulation((program,), SCS)
    ]


def rules(program: StimulatorProgram) -> set[str]:
    return {rule for rule, _, _ in review(program)}


# --- SR-40, SR-61: amplitude ------------------------------------------------------------------


@pytest.mark.requirement("SR-40")
@pytest.mark.fault("F1")
@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("amplitude", "expected"),
    [
        ("0 mA", []),
        ("4.1 mA", []),
        ("4.2 mA", []),
        ("4.3 mA", [("SR-40", "hard", "areas[0].amplitude")]),
        ("4.15 mA", [("SR-40", "hard", "areas[0].amplitude")]),
    ],
)
def test_an_amplitude_is_on_the_devices_steps_and_at_most_its_ceiling(
    amplitude: str, expected: list[Brief]
) -> None:
    assert review(tonic(area(amplitude=amplitude, ceiling="4.2 mA"))) == expected


@pytest.mark.requirement("SR-61")
@pytest.mark.parametrize(("ceiling", "found"), [("25.4 mA", 0), ("25.5 mA", 0), ("25.6 mA", 1)])
def test_a_ceiling_wider_than_the_device_is_a_finding_of_its_own(ceiling: str, found: int) -> None:
    findings = review(tonic(area("E1 -50, E2 -50, case +100", "1 mA", ceiling, "20 us")))
    assert findings.count(("SR-61", "hard", "areas[0].max_amplitude")) == found


def test_an_amplitude_above_device_and_ceiling_names_the_tighter_layer() -> None:
    def source(amplitude: str, ceiling: str) -> str:
        program = tonic(area("E1 -50, E2 -50, case +100", amplitude, ceiling, "20 us"))
        findings = review_stimulation((program,), SCS)
        return next(one.source for one in findings if one.rule == "SR-40")

    assert source("26 mA", "6 mA") == "patient"
    assert source("26 mA", "30 mA") == "device"


@pytest.mark.requirement("SR-40")
@pytest.mark.fault("F2")
def test_a_negative_current_is_refused() -> None:
    bad = replace(area(), amplitude=MicroAmps(-100))
    assert ("SR-40", "hard", "areas[0].amplitude") in review(tonic(bad))


# --- SR-41: charge ----------------------------------------------------------------------------

THRESHOLDS = charge_thresholds(SCS.charge, SCS.contact_area)


def with_charge(charge: int) -> AreaOutput:
    """An area whose one cathode carries exactly this charge, at a width of 1 us."""
    level = MicroAmps(charge)
    return AreaOutput(shares("E3 -100, case +100"), level, level, Microseconds(1), "active")


def charge_findings(one: AreaOutput) -> list[tuple[str, str]]:
    return [
        (path, severity)
        for rule, severity, path in review(tonic(one, rate="2 Hz"))
        if rule == "SR-41"
    ]


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    ("charge", "severity"),
    [
        (THRESHOLDS.shannon_soft - 1, None),
        (THRESHOLDS.shannon_soft, "soft"),
        (THRESHOLDS.shannon_soft + 1, "soft"),
        (THRESHOLDS.density_soft, "soft"),
        (THRESHOLDS.density_hard - 1, "soft"),
        (THRESHOLDS.density_hard, "hard"),
    ],
)
def test_charge_is_judged_at_its_exact_borders_at_both_levels_once_each(
    charge: int, severity: str | None
) -> None:
    expected = (
        []
        if severity is None
        else [("areas[0].amplitude", severity), ("areas[0].max_amplitude", severity)]
    )
    assert charge_findings(with_charge(charge)) == expected


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F13")
def test_the_ceiling_is_judged_though_the_set_amplitude_is_low() -> None:
    program = tonic(area(amplitude="1 mA", ceiling="12.7 mA", width="450 us"))
    assert review(program) == [("SR-41", "soft", "areas[0].max_amplitude")]


def test_one_message_holds_density_and_k_of_the_worst_contact() -> None:
    program = tonic(area("E3 -100, E4 +60, E5 +40", "8.5 mA", "8.5 mA", "500 us"))
    finding = review_stimulation((program,), SCS)[0]
    assert finding.limit == "30 uC/cm2, k 1.85"
    assert "E3" in finding.message
    assert "4.25 uC" in finding.message
    assert "34.694" in finding.message
    assert "2.169" in finding.message
    assert (finding.value, finding.source) == ("8.5 mA", "device")


@pytest.mark.requirement("SR-41")
def test_shared_current_is_judged_by_each_contacts_own_share() -> None:
    alone = area("E3 -100, case +100", "8.5 mA", "8.5 mA", "500 us")
    shared = area("E3 -50, E2 -50, case +100", "8.5 mA", "8.5 mA", "500 us")
    assert charge_findings(alone)
    assert not charge_findings(shared)


def test_the_case_carries_any_charge() -> None:
    four = area("E1 -25, E2 -25, E3 -25, E4 -25, case +100", "20 mA", "20 mA", "500 us")
    assert review(tonic(four)) == []


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F16")
@pytest.mark.parametrize(("areas", "found"), [(1, False), (2, True)])
def test_charge_a_second_is_summed_over_the_areas_that_share_a_contact(
    areas: int, found: bool
) -> None:
    same = area("E3 -100, case +100", "4 mA", "4 mA", "200 us")
    findings = review(tonic(*[same] * areas, rate="1200 Hz"))
    assert (("SR-41", "soft", "rate") in findings) == found


def test_hf10_at_its_highest_is_allowed_and_a_step_more_needs_a_reason() -> None:
    assert review(high_frequency(area(amplitude="5 mA", width="30 us"))) == []
    above = review(high_frequency(area(amplitude="5.1 mA", width="30 us")))
    assert above == [("SR-41", "soft", "rate")]
    ceiling = review(high_frequency(area(amplitude="1 mA", ceiling="5.1 mA", width="30 us")))
    assert ceiling == [("SR-41", "soft", "rate")]


def test_the_build_up_of_a_burst_with_recharge_after_it_is_not_one_phase() -> None:
    """5 x 0.6 mA x 1,000 us are 3 uC, k 1.866: a vendor's nominal must not be flagged."""
    assert review(NIGHT) == []


# --- SR-46: electrodes ------------------------------------------------------------------------


@pytest.mark.requirement("SR-46")
@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("electrodes", "path"),
    [
        ("E3 -100", "areas[0].electrodes"),
        ("E3 +100", "areas[0].electrodes"),
        ("E3 -99, E4 +100", "areas[0].electrodes"),
        ("E3 -100, E4 +99", "areas[0].electrodes"),
        ("E3 -101, E4 +100", "areas[0].electrodes"),
        ("E3 -100, E4 +100, E5 +0", "areas[0].electrodes.E5"),
        ("E3 -100, E4 +50, E4 +50", "areas[0].electrodes.E4"),
        ("E3 -50, E4 +100, E3 -50", "areas[0].electrodes.E3"),
        ("case -100, E4 +100", "areas[0].electrodes.case"),
        ("E3 -100, E17 +100", "areas[0].electrodes.E17"),
    ],
)
def test_electrodes_that_are_no_circuit_are_refused(electrodes: str, path: str) -> None:
    found = review(tonic(area(electrodes, "1 mA")))
    assert [one for one in found if one[0] != "SR-42"] == [("SR-46", "hard", path)]


@pytest.mark.parametrize(
    "electrodes",
    ["E1 -100, E16 +100", "E3 -100, case +100", "E3 -60, E4 -40, E5 +30, case +70"],
)
def test_electrodes_that_are_a_circuit_pass(electrodes: str) -> None:
    assert review(tonic(area(electrodes, "1 mA"))) == []


def test_an_area_without_electrodes_lacks_cathode_and_anode() -> None:
    bare = replace(area(), electrodes=())
    assert review(tonic(bare)) == [("SR-46", "hard", "areas[0].electrodes")] * 2


@pytest.mark.requirement("SR-46")
@pytest.mark.parametrize(
    ("amplitude", "ceiling", "expected"),
    [
        ("12.6 mA", "12.7 mA", []),
        ("12.7 mA", "12.7 mA", []),
        ("12.7 mA", "12.8 mA", ["areas[0].max_amplitude"]),
        ("12.8 mA", "12.8 mA", ["areas[0].amplitude", "areas[0].max_amplitude"]),
    ],
)
def test_a_contact_has_its_own_cap_at_both_levels(
    amplitude: str, ceiling: str, expected: list[str]
) -> None:
    found = review(tonic(area("E3 -100, case +100", amplitude, ceiling, "100 us")))
    assert [path for rule, _, path in found if rule == "SR-46"] == expected


def test_the_case_is_exempt_from_the_cap() -> None:
    assert review(tonic(area("E3 -50, E4 -50, case +100", "25.4 mA", width="100 us"))) == []


# --- SR-48, SR-49: golden vector 8.7 -----------------------------------------------------------


@pytest.mark.requirement("SR-48")
@pytest.mark.requirement("SR-49")
@pytest.mark.vector("V8.7")
@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (tonic(area(amplitude="1 mA", width="1000 us"), rate="1200 Hz"), {"SR-48"}),
        (high_frequency(area(amplitude="1 mA", width="30 us")), set()),
        (high_frequency(area(amplitude="1 mA", width="60 us")), {"SR-48"}),
        (burst(area(amplitude="0.6 mA", width="1000 us", recharge="passive")), set()),
        (tonic(area(amplitude="1 mA", width="20 us"), rate="5 kHz"), {"SR-49"}),
    ],
    ids=["1000us@1200Hz", "30us@10kHz", "60us@10kHz", "burst", "5kHz"],
)
def test_the_golden_timings(program: StimulatorProgram, expected: set[str]) -> None:
    assert rules(program) == expected


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("width", "accepted"), [(10, False), (20, True), (25, False), (1000, True), (1010, False)]
)
def test_a_width_is_one_that_the_device_has(width: int, accepted: bool) -> None:
    one = replace(area(amplitude="0.1 mA"), pulse_width=Microseconds(width))
    expected = [] if accepted else [("SR-48", "hard", "areas[0].pulse_width")]
    assert review(tonic(one)) == expected


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F15")
@pytest.mark.parametrize("recharge", ["active", "passive"])
@pytest.mark.parametrize(("rate", "fits"), [("1190 Hz", True), ("1191 Hz", False)])
def test_both_phases_and_the_gap_fit_in_the_period(rate: str, fits: bool, recharge: str) -> None:
    """2 x 410 + 20 us are 840 us; 1,190 Hz has 840.3 us and 1,191 Hz has 839.6 us."""
    one = area(amplitude="0.1 mA", width="410 us", recharge=recharge)  # type: ignore[arg-type]
    assert (review(tonic(one, rate=rate)) == []) == fits


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F15")
@pytest.mark.parametrize(("rate", "fits"), [("625 Hz", True), ("626 Hz", False)])
def test_all_areas_share_one_period(rate: str, fits: bool) -> None:
    """Four areas of 2 x 190 + 20 us take exactly the 1,600 us of 625 Hz."""
    four = [area(amplitude="0.1 mA", width="190 us")] * 4
    found = review(tonic(*four, rate=rate))
    assert found == ([] if fits else [("SR-48", "hard", "areas[0].pulse_width")])


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("rate", "areas", "fits"), [("71 Hz", 1, True), ("72 Hz", 1, False), ("40 Hz", 2, False)]
)
def test_a_burst_leaves_its_pulses_time_to_recharge(rate: str, areas: int, fits: bool) -> None:
    """4 x 2 ms + 1.02 ms + 5 ms recharge are 14.02 ms: 71 Hz has 14.08 ms, 72 Hz 13.89 ms."""
    one = area(amplitude="0.6 mA", width="1000 us", recharge="passive")
    assert (review(burst(*[one] * areas, rate=rate)) == []) == fits


def test_a_burst_with_active_recharge_needs_no_recharge_after_it() -> None:
    """4 x 2 ms + 2 x 0.5 + 0.02 ms are 9.02 ms: 110 Hz has 9.09 ms, 111 Hz 9.009 ms."""
    one = area(amplitude="0.6 mA", width="500 us")
    assert review(burst(one, rate="110 Hz")) == []
    assert rules(burst(one, rate="111 Hz")) == {"SR-48"}


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("width", "recharge", "fits"),
    [
        ("480 us", "active", True),
        ("490 us", "active", True),
        ("500 us", "active", False),
        ("980 us", "passive", True),
        ("990 us", "passive", False),
    ],
)
def test_each_pulse_of_a_burst_fits_in_its_intra_period(
    width: str, recharge: str, fits: bool
) -> None:
    """At 1,000 Hz: 2 x 490 + 20 us and 980 + 20 us fill the 1,000 us exactly."""
    one = area(amplitude="0.1 mA", width=width, recharge=recharge)  # type: ignore[arg-type]
    found = review(burst(one, intra="1 kHz", rate="10 Hz"))
    assert found == ([] if fits else [("SR-48", "hard", "areas[0].pulse_width")])


@pytest.mark.parametrize(("pulses", "accepted"), [(1, False), (2, True), (8, True), (9, False)])
def test_a_burst_has_as_many_pulses_as_the_device_gives(pulses: int, accepted: bool) -> None:
    program = burst(area(amplitude="0.1 mA", width="20 us"), pulses=pulses, rate="10 Hz")
    assert review(program) == ([] if accepted else [("SR-48", "hard", "burst.pulses")])


def test_only_a_burst_has_pulses_and_an_intra_rate() -> None:
    assert review(replace(WALKING, burst_pulses=5)) == [("SR-48", "hard", "burst")]
    assert review(replace(WALKING, intra_rate=MilliHertz(500_000))) == [("SR-48", "hard", "burst")]


@pytest.mark.requirement("SR-48")
@pytest.mark.parametrize(
    ("stimulate", "pause", "expected"),
    [
        ("1 s", "1 s", []),
        ("999 ms", "1 s", ["cycle.stimulate"]),
        ("1 s", "999 ms", ["cycle.pause"]),
        ("100 ms", "100 ms", ["cycle.pause", "cycle.stimulate"]),
        ("1 s", "0 s", ["cycle.pause"]),
        ("24 h", "24 h", []),
        ("86400001 ms", "1 s", ["cycle.stimulate"]),
        ("1 s", "86400001 ms", ["cycle.pause"]),
    ],
)
def test_a_cycle_is_not_so_fast_that_it_drains_a_battery_nor_longer_than_the_device_counts(
    stimulate: str, pause: str, expected: list[str]
) -> None:
    program = replace(WALKING, stimulate=parse_duration(stimulate), pause=parse_duration(pause))
    assert review(program) == [("SR-48", "hard", path) for path in expected]


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F17")
def test_places_and_areas_are_as_many_as_the_device_has() -> None:
    one = area(amplitude="0.1 mA", width="20 us")
    assert review(tonic(*[one] * 4, slot=3)) == []
    assert review(tonic(*[one] * 5)) == [("SR-48", "hard", "areas")]
    assert review(tonic()) == [("SR-48", "hard", "areas")]
    assert rules(tonic(one, slot=4)) == {"SR-48"}
    assert rules(tonic(one, slot=-1)) == {"SR-48"}


@pytest.mark.requirement("SR-49")
@pytest.mark.parametrize(
    ("rate", "accepted"),
    [
        (1_000, False),
        (1_999, False),
        (2_000, True),
        (2_500, False),
        (1_200_000, True),
        (1_201_000, False),
        (9_999_000, False),
        (10_000_000, False),
        (10_001_000, False),
        (0, False),
    ],
)
def test_a_tonic_rate_lies_in_the_set_with_the_gap(rate: int, accepted: bool) -> None:
    program = replace(tonic(area(amplitude="0.1 mA", width="20 us")), rate=MilliHertz(rate))
    found = [one for one in review(program) if one[0] == "SR-49"]
    assert found == ([] if accepted else [("SR-49", "hard", "rate")])


@pytest.mark.requirement("SR-49")
@pytest.mark.parametrize(
    ("rate", "accepted"), [("9999 Hz", False), ("10 kHz", True), ("50 Hz", False)]
)
def test_high_frequency_runs_at_exactly_10_kHz(rate: str, accepted: bool) -> None:
    found = rules(high_frequency(area(amplitude="0.1 mA", width="20 us"), rate=rate))
    assert found == (set() if accepted else {"SR-49"})


@pytest.mark.requirement("SR-49")
@pytest.mark.parametrize(
    ("intra", "accepted"), [("1200 Hz", True), ("1201 Hz", False), ("500.5 Hz", False)]
)
def test_an_intra_rate_lies_in_the_devices_range(intra: str, accepted: bool) -> None:
    one = area(amplitude="0.1 mA", width="20 us")
    found = review(burst(one, intra=intra))
    assert found == ([] if accepted else [("SR-49", "hard", "burst.intra_rate")])


# --- SR-50: ramp ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-50")
@pytest.mark.parametrize(
    ("ramp", "accepted"), [("999 ms", False), ("1 s", True), ("60 s", True), ("60001 ms", False)]
)
def test_a_ramp_lies_in_the_devices_range(ramp: str, accepted: bool) -> None:
    program = replace(tonic(area(amplitude="0.1 mA")), ramp=parse_duration(ramp))
    assert review(program) == ([] if accepted else [("SR-50", "hard", "ramp")])


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F18")
@pytest.mark.parametrize(
    ("ceiling", "accepted"), [("9.9 mA", True), ("10 mA", True), ("10.1 mA", False)]
)
def test_the_slope_is_judged_at_the_ceiling(ceiling: str, accepted: bool) -> None:
    program = replace(tonic(area(amplitude="1 mA", ceiling=ceiling)), ramp=Milliseconds(1_000))
    assert review(program) == ([] if accepted else [("SR-50", "hard", "ramp")])


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F18")
def test_the_steepest_area_sets_the_slope() -> None:
    flat, steep = area(amplitude="1 mA"), area("E7 -100, E8 +100", "10.1 mA")
    program = replace(tonic(flat, steep, flat), ramp=Milliseconds(1_000))
    assert review(program) == [("SR-50", "hard", "ramp")]


# --- SR-44: what an old ceiling was found for ---------------------------------------------------


def change(old: AreaOutput, new: AreaOutput) -> list[str]:
    findings = judge_ceilings_kept(tonic(old), tonic(new))
    assert all((one.rule, one.severity) == ("SR-44", "soft") for one in findings)
    return [one.path for one in findings]


ASKED = ["programs[0].areas[0].max_amplitude"]


@pytest.mark.requirement("SR-44")
@pytest.mark.parametrize(
    ("width", "ceiling", "expected"),
    [
        ("200 us", "6 mA", []),
        ("200 us", "7 mA", []),
        ("100 us", "6 mA", []),
        ("210 us", "6 mA", ASKED),
        ("400 us", "3 mA", ASKED),
        ("400 us", "2.9 mA", []),
    ],
)
def test_a_wider_pulse_asks_unless_the_ceiling_holds_less_charge(
    width: str, ceiling: str, expected: list[str]
) -> None:
    old = area(amplitude="1 mA", ceiling="6 mA", width="200 us")
    assert change(old, area(amplitude="1 mA", ceiling=ceiling, width=width)) == expected


@pytest.mark.requirement("SR-44")
def test_other_contacts_or_another_polarity_always_ask() -> None:
    old = area("E3 -100, E4 +100", "1 mA", "6 mA")
    assert change(old, area("E3 +100, E4 -100", "1 mA", "1 mA")) == ASKED
    assert change(old, area("E3 -100, E5 +100", "1 mA", "1 mA")) == ASKED
    assert change(old, area("E4 +100, E3 -100", "1 mA", "6 mA")) == []


def test_a_ceiling_of_zero_asks_nothing_and_a_new_area_has_no_old_ceiling() -> None:
    old = area("E3 -100, E4 +100", "1 mA", "6 mA")
    assert change(old, area("E3 -100, E5 +100", "0 mA", "0 mA")) == []
    assert judge_ceilings_kept(tonic(old), tonic(old, area("E7 -100, E8 +100"))) == []


def test_an_old_ceiling_of_zero_was_never_found() -> None:
    old = area(amplitude="0 mA", ceiling="0 mA", width="200 us")
    assert change(old, area(amplitude="0 mA", ceiling="1 mA", width="210 us")) == ASKED


# --- SR-47: impedance -------------------------------------------------------------------------


def impedance(
    program: StimulatorProgram, *ohms: int, age: int = 0
) -> list[tuple[str, str | None, str | None]]:
    findings = judge_impedance(program, tuple(Ohms(one) for one in ohms), Milliseconds(age), SCS)
    assert all((one.rule, one.severity) == ("SR-47", "hard") for one in findings)
    return [(one.path.partition(".")[2], one.value, one.limit) for one in findings]


@pytest.mark.requirement("SR-47")
@pytest.mark.vector("V8.8")
def test_golden_8_8_compliance() -> None:
    def needs(current: str, ohms: int) -> list[tuple[str, str | None, str | None]]:
        return impedance(tonic(area("E1 -100, case +100", current)), ohms)

    assert needs("25.5 mA", 500) == []
    assert needs("10 mA", 1500) == []
    assert needs("10 mA", 1501) == [("areas[0].amplitude", "10 mA", "15 V")]
    assert needs("10 mA", 1600) == [("areas[0].amplitude", "10 mA", "15 V")]


@pytest.mark.requirement("SR-47")
def test_the_largest_cathode_and_the_largest_anode_add_up() -> None:
    """5 mA x 1,000 ohm and 60 % of 10 mA x 1,666 ohm: 5 + 9.996 V; a step more is too much."""
    program = tonic(area("E1 -50, E2 -50, E3 +60, E4 +40", "10 mA"))
    assert impedance(program, 1000, 900, 1666, 2000) == []
    assert len(impedance(program, 1001, 900, 1666, 2000)) == 1


@pytest.mark.requirement("SR-47")
@pytest.mark.parametrize(
    ("ohms", "found"), [(99, True), (100, False), (10_000, False), (10_001, True)]
)
def test_a_contact_in_use_is_neither_short_nor_open(ohms: int, found: bool) -> None:
    program = tonic(area("E1 -100, E2 +100", "0.1 mA"))
    expected = [("areas[0].electrodes.E2", f"{ohms} ohm", "100 ohm to 10000 ohm")] if found else []
    assert impedance(program, 500, ohms) == expected


def test_a_contact_that_is_not_in_use_may_be_open() -> None:
    assert impedance(tonic(area("E1 -100, case +100", "1 mA")), 500, 99_999) == []


@pytest.mark.requirement("SR-47")
def test_a_contact_in_use_must_have_been_measured() -> None:
    found = impedance(tonic(area("E1 -100, E3 +100", "1 mA")), 500, 500)
    assert [path for path, _, _ in found] == ["areas[0].electrodes.E3"]


@pytest.mark.requirement("SR-47")
@pytest.mark.parametrize(
    ("age", "fresh"), [(-1, False), (0, True), (299_999, True), (300_000, True), (300_001, False)]
)
def test_a_measurement_counts_for_its_time_only(age: int, fresh: bool) -> None:
    found = impedance(tonic(area("E1 -100, case +100", "1 mA")), 500, age=age)
    assert (found == []) == fresh


# --- properties -------------------------------------------------------------------------------

amplitudes = st.integers(0, 300).map(lambda steps: MicroAmps(steps * 100))
widths = st.integers(2, 100).map(lambda steps: Microseconds(steps * 10))
electrodes = st.sampled_from(
    [
        shares("E1 -100, case +100"),
        shares("E1 -60, E2 -40, E3 +100"),
        shares("E1 -50, E2 -50, case +100"),
    ]
)


@st.composite
def programs(draw: st.DrawFn) -> StimulatorProgram:
    areas = draw(
        st.lists(
            st.builds(
                AreaOutput,
                electrodes,
                amplitudes,
                st.just(MicroAmps(30_000)),
                widths,
                st.sampled_from(["active", "passive"]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    rate = draw(st.integers(2, 1_300)) * 1_000
    return replace(tonic(*areas), rate=MilliHertz(rate))


SEVERITY = {"soft": 1, "hard": 2, "file": 2}


Places = dict[tuple[str, str], int]


def worst_by_place(program: StimulatorProgram) -> Places:
    found: Places = {}
    for one in review_stimulation((program,), SCS):
        place = (one.rule, one.path)
        found[place] = max(found.get(place, 0), SEVERITY[one.severity])
    return found


def raised(program: StimulatorProgram, by: int) -> StimulatorProgram:
    areas = tuple(
        replace(one, amplitude=MicroAmps(one.amplitude + by * 100)) for one in program.areas
    )
    return replace(program, areas=areas)


def softened(
    judge: Callable[[StimulatorProgram], Places], program: StimulatorProgram, by: int
) -> bool:
    """Whether a rise of every amplitude removes or softens a finding."""
    before, after = judge(program), judge(raised(program, by))
    return any(after.get(place, 0) < severity for place, severity in before.items())


@given(programs(), st.integers(1, 100))
def test_raising_every_amplitude_never_removes_or_softens_a_finding(
    program: StimulatorProgram, by: int
) -> None:
    assert not softened(worst_by_place, program, by)


def wraps_at_14_bits(program: StimulatorProgram) -> Places:
    areas = tuple(replace(one, amplitude=MicroAmps(one.amplitude % 2**14)) for one in program.areas)
    return worst_by_place(replace(program, areas=areas))


def reports_the_first_only(program: StimulatorProgram) -> Places:
    return dict(list(worst_by_place(program).items())[:1])


def forgets_what_is_beyond_the_device(program: StimulatorProgram) -> Places:
    beyond = any(one.amplitude > SCS.amplitude_max for one in program.areas)
    return {} if beyond else worst_by_place(program)


@pytest.mark.parametrize(
    "twin", [wraps_at_14_bits, reports_the_first_only, forgets_what_is_beyond_the_device]
)
def test_the_property_finds_each_wrong_twin(twin: Callable[[StimulatorProgram], Places]) -> None:
    found = []

    def hunt(program: StimulatorProgram, by: int) -> None:
        if softened(twin, program, by):
            found.append(program)

    settings(max_examples=100, derandomize=True, database=None)(
        given(programs(), st.integers(1, 100))(hunt)
    )()
    assert found


@given(programs(), st.integers(1, 50))
def test_widening_every_pulse_never_removes_or_softens_a_finding_about_charge_or_time(
    program: StimulatorProgram, by: int
) -> None:
    def judged(one: StimulatorProgram) -> Places:
        found: Places = {}
        for (rule, path), severity in worst_by_place(one).items():
            place = (rule, "" if rule == "SR-48" else path)
            found[place] = max(severity, found.get(place, 0))
        return found

    wide = replace(
        program,
        areas=tuple(
            replace(one, pulse_width=Microseconds(one.pulse_width + by * 10))
            for one in program.areas
        ),
    )
    before, after = judged(program), judged(wide)
    assert all(after.get(place, 0) >= severity for place, severity in before.items())


def test_findings_hold_all_that_a_report_needs() -> None:
    program = replace(
        tonic(area("E3 -90, E4 +100", "30 mA", width="1000 us"), rate="5 kHz"), slot=2
    )
    findings: tuple[Finding, ...] = review_stimulation((program,), SCS)
    assert {one.rule for one in findings} >= {"SR-40", "SR-41", "SR-46", "SR-48", "SR-49", "SR-61"}
    for one in findings:
        assert one.path.startswith("programs[2]")
        assert one.hint
        assert one.limit
        assert one.source in ("device", "patient", "rule")
