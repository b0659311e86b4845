"""A change of a pump's program: how large a step, what was left, how long it lasts, whose clock."""

from dataclasses import replace

import pytest
from clinical_examples import BACLOFEN, FORMULARY, MORPHINE, ZICONOTIDE, button, step
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import DAY, HOUR, MINUTE, Story, instant, rules
from line_bench import (
    FIRST_FILL,
    MONTH,
    command_of,
    filled_with,
    running,
    therapy_of,
    titrated,
)

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary, Stability
from device_profiles.formulary_file import load_formulary
from device_profiles.notation import parse_mass_rate, parse_volume
from device_profiles.quantities import (
    FemtogramsPerDay,
    Milliseconds,
    NanoLitres,
)
from device_profiles.therapy import BasalStep, InfusionTherapy
from safety.commands import Ask, Override, ProgramPump, PumpEvidence
from safety.events import Intended, Latched, Rejected, Unverified
from safety.judgement import judge
from safety.kernel import Continue
from safety.kernel import step as kernel_step
from safety.rules_change import judge_change, step_words

STRONG, WEAK = {"baclofen": "2000 mcg/mL"}, {"baclofen": "500 mcg/mL"}
ZIC = {"ziconotide": "25 mcg/mL"}
STEPS = titrated(BACLOFEN, up="40 %", down="20 %")
REASON = Override(("SR-06", "SR-12", "SR-18", "SR-19", "SR-59"), "clinician", "a test", "another")


def dosed(rate: str | FemtogramsPerDay, formulary: Formulary = STEPS) -> ProgramPump:
    """Baclofen at 500 mcg/mL at one rate for the whole day."""
    if isinstance(rate, str):
        rate = parse_mass_rate(rate)
    therapy = therapy_of(WEAK, BasalStep(step("00:00", "1 mg/day").start, rate))
    return command_of(therapy, formulary)


def found(story: Story, command: ProgramPump, rule: str) -> list[Finding]:
    request = Ask(instant(story.now), 1, command, "BENCH-012")
    return [one for one in judge(story.state, request) if one.rule == rule]


def severity(story: Story, command: ProgramPump, rule: str) -> str:
    """The word for one finding of a rule, "" for none."""
    findings = found(story, command, rule)
    assert len(findings) <= 1
    return findings[0].severity if findings else ""


# --- SR-06: the step up --------------------------------------------------------------------------


@pytest.mark.requirement("SR-06")
@pytest.mark.vector("V8.1")
def test_golden_vector_8_1_an_hours_dose_for_a_days_is_a_step_of_2300_per_cent() -> None:
    story = running(dosed("60 mcg/day"))
    (finding,) = found(story, dosed("60 mcg/h"), "SR-06")
    assert (finding.severity, finding.value, finding.limit) == ("hard", "+2,300 %", "+40 %")
    assert "goes from 60 mcg to 1440 mcg, +2,300 %" in finding.message
    assert finding.path == "basal[0].rate"
    shipped = load_formulary()
    assert severity(story, dosed("60 mcg/h", shipped), "SR-06") == "hard"
    assert severity(story, dosed("60 mcg/day", shipped), "SR-06") == ""


@pytest.mark.requirement("SR-06")
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("100 mcg/day", ""),
        ("140 mcg/day", ""),
        ("140.0005 mcg/day", "soft"),
        ("180 mcg/day", "soft"),
        ("180.0005 mcg/day", "hard"),
    ],
)
def test_a_step_up_is_soft_above_the_drugs_and_hard_above_twice_it(
    rate: str, expected: str
) -> None:
    assert severity(running(dosed("100 mcg/day")), dosed(rate), "SR-06") == expected


@pytest.mark.requirement("SR-06")
def test_a_reason_passes_a_soft_step_and_no_reason_a_hard_one() -> None:
    story = running(dosed("100 mcg/day"))
    assert rules(story.ask(dosed("190 mcg/day"), REASON)) == ["SR-06"]
    assert isinstance(story.ask(dosed("170 mcg/day"), REASON), Intended)


@pytest.mark.requirement("SR-06")
@pytest.mark.parametrize(("hours", "expected"), [(0, "soft"), (24, "soft"), (25, "")])
def test_many_small_steps_within_a_day_are_one_large_one(hours: int, expected: str) -> None:
    story = running(dosed("100 mcg/day"))
    story.now = HOUR
    story.do(dosed("130 mcg/day"))
    story.now = hours * HOUR + HOUR + (hours == 25)
    assert severity(story, dosed("160 mcg/day"), "SR-06") == expected


@pytest.mark.requirement("SR-06")
def test_the_button_counts_in_full_and_so_does_a_bridge() -> None:
    old = therapy_of(WEAK, "100 mcg/day")
    story = running(command_of(old, STEPS))
    press = button("10 mcg", "10 min", "4 h", 4)
    pressed = therapy_of(WEAK, "100 mcg/day", button=press)
    limits = replace(pressed.drugs[0].limits, per_bolus=press.dose)
    pressed = replace(pressed, drugs=(replace(pressed.drugs[0], limits=limits),))
    assert severity(story, command_of(pressed, STEPS), "SR-06") == ""
    stronger = replace(pressed, patient_bolus=replace(press, max_per_24h=5))
    assert severity(story, command_of(stronger, STEPS), "SR-06") == "soft"
    bridged = therapy_of(STRONG, "150 mcg/day", fill=2, before=WEAK)
    assert severity(story, command_of(bridged, STEPS), "SR-06") == "soft"


@pytest.mark.requirement("SR-06")
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("4.8 mcg/day", ""),
        ("4.800025 mcg/day", "soft"),
        ("7.2 mcg/day", "soft"),
        ("7.200025 mcg/day", "hard"),
    ],
)
def test_a_step_may_be_absolute(rate: str, expected: str) -> None:
    formulary = titrated(ZICONOTIDE, up_step="2.4 mcg/day")
    story = running(command_of(therapy_of(ZIC, "2.4 mcg/day"), formulary))
    assert severity(story, command_of(therapy_of(ZIC, rate), formulary), "SR-06") == expected
    (finding,) = found(story, command_of(therapy_of(ZIC, "9 mcg/day"), formulary), "SR-06")
    assert finding.limit == "+2.4 mcg/day"


@pytest.mark.requirement("SR-06")
def test_of_two_steps_the_stricter_speaks() -> None:
    formulary = titrated(ZICONOTIDE, up="50 %", up_step="2.4 mcg/day")
    for old, new, expected in (
        ("2.4 mcg/day", "3.6 mcg/day", ""),
        ("2.4 mcg/day", "4 mcg/day", "soft"),
    ):
        story = running(command_of(therapy_of(ZIC, old), formulary))
        assert severity(story, command_of(therapy_of(ZIC, new), formulary), "SR-06") == expected


@pytest.mark.requirement("SR-06")
def test_without_a_sourced_step_nothing_is_judged() -> None:
    story = running(dosed("60 mcg/day", FORMULARY))
    assert severity(story, dosed("60 mcg/h", FORMULARY), "SR-06") == ""
    morphine = load_formulary().find("morphine")
    assert morphine is not None
    assert morphine.titration.up_share is morphine.titration.down_share is None


@pytest.mark.requirement("SR-06")
@pytest.mark.requirement("SR-16")
def test_a_program_without_a_worst_day_is_refused_for_that_and_not_for_its_step() -> None:
    press = button("10 mcg", "10 min", "5 min", 4)  # the next begins before the last has ended
    therapy = therapy_of(WEAK, "900 mcg/day", button=press)
    story = running(dosed("100 mcg/day"))
    answer = story.ask(command_of(therapy, STEPS), REASON)
    assert isinstance(answer, Rejected)
    assert ("SR-16", "hard") in {(one.rule, one.severity) for one in answer.findings}
    assert found(story, command_of(therapy, STEPS), "SR-06") == []


@pytest.mark.requirement("SR-06")
def test_a_drugs_first_program_is_no_step() -> None:
    story = Story()
    story.connect()
    assert severity(story, dosed("900 mcg/day"), "SR-06") == ""


@pytest.mark.requirement("SR-06")
def test_a_lost_program_is_still_what_the_step_is_counted_from_a_week_later() -> None:
    story = running(dosed("100 mcg/day"))
    story.tell(Unverified(instant(0), 0, "the battery failed", False))
    story.now = 7 * DAY
    assert severity(story, dosed("200 mcg/day"), "SR-06") == "hard"


@pytest.mark.requirement("SR-06")
@given(st.integers(24_000_000_000, 900_000_000_000), st.integers(24_000_000_000, 900_000_000_000))
def test_the_word_for_a_step_is_that_of_exact_arithmetic(old: int, new: int) -> None:
    before, after = (dosed(FemtogramsPerDay(one)) for one in (old, new))
    given_before, given_after = (one.program.basal[0].flow for one in (before, after))
    rise = given_after - given_before
    expected = ""
    if 10 * rise > 4 * given_before or -10 * rise > 2 * given_before:
        expected = "soft"
    if 10 * rise > 8 * given_before:
        expected = "hard"
    findings = [
        one for one in judge_change(before.program, (before.program,), after) if one.rule == "SR-06"
    ]
    assert [one.severity for one in findings] == ([expected] if expected else [])


# --- SR-06: the step down ------------------------------------------------------------------------


@pytest.mark.requirement("SR-06")
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("80 mcg/day", ""),
        ("79.9995 mcg/day", "soft"),
        ("60 mcg/day", "soft"),
        ("24 mcg/day", "soft"),
    ],
)
def test_a_step_down_takes_a_reason_for_withdrawal_and_is_never_refused(
    rate: str, expected: str
) -> None:
    story = running(dosed("100 mcg/day"))
    command = dosed(rate)
    findings = found(story, command, "SR-06")
    assert [one.severity for one in findings] == ([expected] if expected else [])
    if expected:
        assert "withdrawal" in findings[0].message
        assert findings[0].limit == "-20 %"
        assert rules(story.ask(command)) == ["SR-06"]
    assert isinstance(story.ask(command, REASON), Intended)


@pytest.mark.requirement("SR-06")
@pytest.mark.requirement("SR-62")
def test_going_down_within_a_step_or_with_a_reason_goes_on_with_a_latched_journal() -> None:
    story = running(dosed("100 mcg/day"))
    story.tell(Latched(instant(0), "the disk is full", False))
    for rate, reason in (("80 mcg/day", None), ("30 mcg/day", REASON)):
        _, (effect,) = kernel_step(
            story.state, Ask(instant(0), 9, dosed(rate), "BENCH-012", reason)
        )
        assert isinstance(effect, Continue)


@pytest.mark.requirement("SR-06")
def test_taking_the_button_away_is_no_withdrawal_since_it_may_never_have_been_pressed() -> None:
    press = button("10 mcg", "10 min", "4 h", 4)
    pressed = therapy_of(WEAK, "100 mcg/day", button=press)
    limits = replace(pressed.drugs[0].limits, per_bolus=press.dose)
    story = running(
        command_of(replace(pressed, drugs=(replace(pressed.drugs[0], limits=limits),)), STEPS)
    )
    assert judge_change(story.state.pump_program, (), dosed("100 mcg/day")) == []


@pytest.mark.requirement("SR-06")
def test_a_drug_that_leaves_the_mix_takes_a_reason_and_is_never_refused() -> None:
    two = {"morphine": "10 mg/mL", "baclofen": "500 mcg/mL"}
    story = running(command_of(therapy_of(two, "2 mg/day"), STEPS))
    gone = command_of(therapy_of({"morphine": "10 mg/mL"}, "2 mg/day"), STEPS)
    (finding,) = found(story, gone, "SR-06")
    assert (finding.severity, finding.path, finding.value) == ("soft", "drugs", "-100 %")
    assert isinstance(story.ask(gone, REASON), Intended)


# --- the words of a step -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (60, 1_440, "+2,300 %"),
        (100, 100, "+0 %"),
        (1_000, 1_001, "+0.1 %"),
        (100_000, 100_001, "+0.1 %"),
        (3, 4, "+33.4 %"),
        (100, 0, "-100 %"),
        (0, 5, "from none"),
    ],
)
def test_a_step_is_written_away_from_zero_at_one_decimal(old: int, new: int, words: str) -> None:
    assert step_words(old, new) == words


# --- SR-19: what the last fill left --------------------------------------------------------------

OLD = therapy_of(STRONG, "300 mcg/day")
"""18 mL filled; 0.15 mL a day."""
LEFT = 13_000_000
TOLERANCE = 5_000_000 * 145_000 // 1_000_000 + 500_000
"""14.5 % of the 5 mL that the pump counts as delivered, and the reading."""


def refill(
    withdrawn: int | None,
    left: int = LEFT,
    counted_from: int = FIRST_FILL,
    fill: int = 2,
    rate: str = "310 mcg/day",
) -> ProgramPump:
    therapy = therapy_of(STRONG, rate, fill=fill)
    read = None if withdrawn is None else NanoLitres(withdrawn)
    therapy = replace(therapy, fill=replace(therapy.fill, withdrawn=read))
    evidence = PumpEvidence(Milliseconds(0), NanoLitres(left), Milliseconds(counted_from))
    return command_of(therapy, FORMULARY, evidence)


@pytest.mark.requirement("SR-19")
@pytest.mark.parametrize(
    ("withdrawn", "meaning"),
    [
        (LEFT, None),
        (LEFT - TOLERANCE, None),
        (LEFT + TOLERANCE, None),
        (LEFT - TOLERANCE - 1, "over-infusion"),
        (LEFT + TOLERANCE + 1, "under-infusion"),
        (0, "over-infusion"),
    ],
)
@pytest.mark.parametrize("rate", ["300 mcg/day", "310 mcg/day"], ids=["same", "another"])
def test_what_was_withdrawn_agrees_within_the_pumps_accuracy_and_a_reading(
    withdrawn: int, meaning: str | None, rate: str
) -> None:
    story = running(command_of(OLD))
    findings = found(story, refill(withdrawn, rate=rate), "SR-19")
    assert [one.severity for one in findings] == ["soft"] * (meaning is not None)
    if meaning:
        assert meaning in findings[0].message
        assert "13 mL as left" in findings[0].message
        assert findings[0].path == "fill.withdrawn"
    assert isinstance(story.ask(refill(withdrawn, rate=rate), REASON), Intended)


@pytest.mark.requirement("SR-19")
@pytest.mark.parametrize("rate", ["300 mcg/day", "310 mcg/day"], ids=["same", "another"])
def test_a_refill_that_does_not_say_what_was_withdrawn_takes_a_reason(rate: str) -> None:
    story = running(command_of(OLD))
    (finding,) = found(story, refill(None, rate=rate), "SR-19")
    assert finding.severity == "soft"
    assert "counts 13 mL as left" in finding.message


@pytest.mark.requirement("SR-19")
def test_the_first_fill_and_a_fill_that_is_counted_already_ask_for_nothing() -> None:
    story = running(command_of(OLD))
    assert found(story, refill(None, counted_from=0), "SR-19") == []
    assert found(story, refill(None, counted_from=FIRST_FILL + MONTH), "SR-19") == []


@pytest.mark.requirement("SR-19")
def test_a_fill_older_than_the_pumps_takes_a_reason() -> None:
    story = running(command_of(therapy_of(STRONG, "300 mcg/day", fill=3)))
    (finding,) = found(story, refill(LEFT, counted_from=FIRST_FILL + 2 * MONTH), "SR-19")
    assert (finding.severity, finding.path) == ("soft", "fill.at")


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("rate", ["300 mcg/day", "310 mcg/day"], ids=["same", "another"])
def test_a_fill_of_the_pump_that_no_verified_program_knows_takes_two_persons(rate: str) -> None:
    """A commit whose read back differed may have brought another mix into the reservoir."""
    story = running(command_of(OLD))
    story.tell(Unverified(instant(0), 0, "the program read back differs", True))
    again = refill(LEFT, counted_from=FIRST_FILL + MONTH, fill=1, rate=rate)
    (finding,) = found(story, again, "SR-12")
    assert (finding.severity, finding.path) == ("soft", "fill.at")
    alone = replace(REASON, second=None)
    assert rules(story.ask(again, alone)) == ["SR-57"]
    assert isinstance(story.ask(again, REASON), Intended)


@pytest.mark.requirement("SR-19")
def test_of_a_fill_that_this_host_never_saw_a_whole_reservoir_may_have_gone() -> None:
    story = Story()
    story.connect()
    whole = (20_000_000 - LEFT) * 145_000 // 1_000_000 + 500_000
    assert found(story, refill(LEFT + whole), "SR-19") == []
    assert len(found(story, refill(LEFT + whole + 1), "SR-19")) == 1


@pytest.mark.requirement("SR-19")
@pytest.mark.requirement("SR-62")
def test_a_refill_with_the_same_program_goes_on_with_a_latched_journal_once_a_reason_is_given() -> (
    None
):
    story = running(command_of(OLD))
    story.tell(Latched(instant(0), "the disk is full", False))
    same = refill(None, rate="300 mcg/day")
    assert isinstance(story.ask(same), Rejected)
    _, (effect,) = kernel_step(story.state, Ask(instant(0), 9, same, "BENCH-012", REASON))
    assert isinstance(effect, Continue)


# --- SR-18: the days left ------------------------------------------------------------------------


def lasting(
    volume: str, rate: str = "300 mcg/day", left: str | None = None, first: bool = False
) -> ProgramPump:
    """A fill of a volume (``left`` of it by the pump's count), down to the alarm at 2 mL."""
    therapy = therapy_of(STRONG, rate, volume=volume)
    at = therapy.fill.at_ms if left else Milliseconds(0 if first else therapy.fill.at_ms - 1)
    count = parse_volume(left) if left else NanoLitres(0)
    withdrawn = replace(therapy.fill, withdrawn=NanoLitres(0))
    evidence = PumpEvidence(Milliseconds(0), count, at)
    return command_of(replace(therapy, fill=withdrawn), FORMULARY, evidence)


@pytest.mark.requirement("SR-18")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        # 0.15 mL a day, 0.17175 at the top of the accuracy: 7 d are 1.20225 mL.
        (lasting("3.20225 mL"), ""),
        (lasting("3.2 mL"), "soft"),
        (lasting("3.2 mL", first=True), "soft"),
        (lasting("18 mL", left="3 mL"), ""),
        (lasting("18 mL", left="2.17175 mL"), ""),
        (lasting("18 mL", left="2.17 mL"), "soft"),
    ],
    ids=["7 d", "less", "first fill", "5 d left", "1 d left", "less left"],
)
def test_a_fill_that_lasts_no_week_and_a_rest_that_lasts_no_day_take_a_reason(
    command: ProgramPump, expected: str
) -> None:
    story = Story()
    story.connect()
    assert severity(story, command, "SR-18") == expected


@pytest.mark.requirement("SR-18")
@pytest.mark.parametrize(
    ("first", "later", "is_first", "expected"),
    [(7, 3, True, ""), (6, 30, True, "soft"), (3, 7, False, ""), (30, 6, False, "soft")],
)
def test_a_fill_lasts_no_longer_than_its_drug_keeps_its_strength(
    first: int, later: int, is_first: bool, expected: str
) -> None:
    stability = Stability(Milliseconds(first * DAY), Milliseconds(later * DAY))
    entry = replace(BACLOFEN, stability=stability)
    command = replace(
        lasting("18 mL", first=is_first), formulary=Formulary("a test formulary", (entry,))
    )
    story = Story()
    story.connect()
    assert severity(story, command, "SR-18") == expected


@pytest.mark.requirement("SR-18")
def test_ziconotide_keeps_its_strength_as_long_as_its_label_says() -> None:
    shipped = load_formulary()
    entry = shipped.find("ziconotide")
    assert entry is not None
    assert entry.stability == Stability(Milliseconds(14 * DAY), Milliseconds(40 * DAY))
    assert [one.stability for one in shipped.entries if one.name != "ziconotide"] == [None, None]


# --- SR-59: the clock ----------------------------------------------------------------------------


def at_clock(ahead: int, therapy: InfusionTherapy) -> ProgramPump:
    evidence = PumpEvidence(Milliseconds(ahead), NanoLitres(17_000_000), therapy.fill.at_ms)
    return command_of(therapy, FORMULARY, evidence)


DAY_AND_NIGHT = therapy_of(STRONG, step("07:00", "300 mcg/day"), step("22:00", "200 mcg/day"))


@pytest.mark.requirement("SR-59")
@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0, None),
        (60_000, None),
        (-60_000, None),
        (60_001, "2 min ahead: every step would come that much too early"),
        (-60_001, "2 min behind: every step would come that much too late"),
        (HOUR, "1 h ahead"),
        (DAY, "24 h ahead: every step would"),
        (-DAY - MINUTE, "behind: it is not set"),
    ],
)
def test_a_pumps_clock_that_is_off_shifts_its_schedule(ahead: int, words: str | None) -> None:
    story = Story()
    story.connect()
    findings = found(story, at_clock(ahead, DAY_AND_NIGHT), "SR-59")
    assert [one.severity for one in findings] == ["soft"] * (words is not None)
    assert not findings or (words or "") in findings[0].message


@pytest.mark.requirement("SR-59")
def test_one_flow_for_the_whole_day_needs_no_clock_but_a_button_does() -> None:
    story = Story()
    story.connect()
    plain = therapy_of({"morphine": "10 mg/mL"}, "2.4 mg/day")
    assert found(story, at_clock(DAY, plain), "SR-59") == []
    pressed = replace(plain, patient_bolus=button())
    assert len(found(story, at_clock(DAY, pressed), "SR-59")) == 1


# --- ordinary files ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-06")
@pytest.mark.requirement("SR-18")
@pytest.mark.requirement("SR-19")
@pytest.mark.requirement("SR-59")
def test_an_ordinary_life_of_a_pump_asks_for_nothing() -> None:
    shipped = load_formulary()
    story = Story()
    story.connect()

    def apply(rate: str, fill: int, left: str | None, withdrawn: str | None = None) -> None:
        evidence = PumpEvidence(
            Milliseconds(800),
            parse_volume(left) if left else NanoLitres(0),
            Milliseconds(0 if left is None else FIRST_FILL + (fill - 1 - bool(withdrawn)) * MONTH),
        )
        therapy = therapy_of(STRONG, rate, fill=fill, withdrawn=withdrawn)
        story.do(command_of(therapy, shipped, evidence))

    apply("300 mcg/day", 1, None)
    story.now = 3 * DAY
    apply("360 mcg/day", 1, "17.5 mL")
    story.now = 10 * DAY
    apply("300 mcg/day", 1, "16.2 mL")
    story.now = 80 * DAY
    apply("300 mcg/day", 2, "5.7 mL", "5.5 mL")
    story.now = 85 * DAY
    apply("330 mcg/day", 2, "17.2 mL")


def test_one_filled_pump_is_told_by_the_helpers_of_this_file() -> None:
    assert filled_with(STRONG, "300 mcg/day").program == command_of(OLD).program
    assert MORPHINE.titration.up_step is None
