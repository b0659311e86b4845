"""What no other test noticed when one operator, number or line of a rule was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

from dataclasses import replace

import pytest
from clinical_examples import ITP, MORPHINE_DAY, WALKING, compiled
from kernel_bench import (
    DAY,
    HOUR,
    HOURLY,
    MINUTE,
    Story,
    bolus_nl,
    instant,
    limits_nl,
    programmed,
    pump_case,
    rules,
    start,
    stimulator,
)
from line_bench import filled_with

from device_profiles.diagnostics import Finding
from device_profiles.notation import parse_concentration
from device_profiles.quantities import (
    Femtograms,
    Milliseconds,
    MinuteOfDay,
    NanoLitres,
    NanoLitresPerDay,
)
from device_profiles.therapy import DoseLimits, Drug
from safety.commands import Override
from safety.dose import days_to_alarm
from safety.limits import pump_limits
from safety.outputs import FlowStep
from safety.rules_open import judge_override
from safety.rules_windows import is_no_more_than, judge_pump_windows, judge_unknown_past
from safety.state import (
    Alert,
    PassedRule,
    PastProgram,
    State,
    delivery_slack,
    past_programs_after,
    programs_in_window,
)

ALONE = Override(("SR-12", "SR-25"), "nurse", "it is known and right")


# --- one request, one answer ---------------------------------------------------------------------


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F82")
def test_an_id_that_stood_for_one_intent_stands_for_no_other() -> None:
    story = programmed()
    story.ids -= 1
    assert rules(story.ask(bolus_nl(1))) == ["SR-20"]
    assert rules(story.ask(bolus_nl(1))) == []


@pytest.mark.requirement("SR-62")
def test_a_start_limit_does_not_ask_for_a_reason_where_therapy_only_goes_on() -> None:
    """Ziconotide at 4 mcg/day, which no first program may be and a titrated one is."""
    strength = parse_concentration("25 mcg/mL")
    wide = DoseLimits(*(Femtograms(n * 10**9) for n in (1, 5, 10, 19)))
    drug = Drug("ziconotide", strength, None, wide)
    low, high = (pump_case(((0, flow),), drugs=(drug,)) for flow in (80_000, 160_000))
    assert "SR-63" in rules(programmed_with_nothing().ask(high.command))
    story = programmed(low)
    story.now = 2 * DAY
    story.do(high.command, Override(("SR-06",), "clinician", "titrated", "second"))
    assert rules(story.ask(high.command)) == []


def programmed_with_nothing() -> Story:
    story = Story()
    story.connect()
    return story


# --- reasons -------------------------------------------------------------------------------------


def finding(rule: str, severity: str) -> Finding:
    return Finding(rule, "soft" if severity == "soft" else "hard", "program", "a test")


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize("rule", ["SR-12", "SR-13", "SR-25"])
def test_where_one_person_is_not_enough_a_second_one_is_and_the_same_again_is_not(
    rule: str,
) -> None:
    soft = (finding(rule, "soft"),)
    alone = replace(ALONE, rules=(rule,))
    assert [one.rule for one in judge_override(soft, alone)] == ["SR-57"]
    twice = replace(alone, second="Nurse ")
    assert [one.rule for one in judge_override(soft, twice)] == ["SR-57"]
    assert judge_override(soft, replace(alone, second="clinician")) == ()


@pytest.mark.requirement("SR-57")
def test_nobody_is_sent_for_a_second_person_where_that_would_not_help() -> None:
    refused = finding("SR-12", "hard")
    assert judge_override((refused,), ALONE) == (refused,)
    unnamed = finding("SR-13", "soft")
    assert judge_override((unnamed,), ALONE) == (unnamed,)


@pytest.mark.requirement("SR-57")
def test_how_often_a_rule_was_passed_says_nothing_of_another() -> None:
    soft, alone = (finding("SR-44", "soft"),), replace(ALONE, rules=("SR-44",))
    for rule, standing in (("SR-41", []), ("SR-44", ["SR-57"])):
        passed = (PassedRule(rule, "nurse", Milliseconds(0)),) * 2
        found = judge_override(soft, alone, passed, instant(HOUR))
        assert [one.rule for one in found] == standing


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-35")
@pytest.mark.parametrize(("after", "refused"), [(10 * MINUTE, ["SR-35"]), (10 * MINUTE + 1, [])])
def test_an_alarm_counts_against_a_start_for_ten_minutes(after: int, refused: list[str]) -> None:
    story = stimulator()
    alarm = Alert("open-contact", Milliseconds(0))
    story.now = after
    story.state = replace(
        story.state,
        alerts=(alarm, alarm, alarm),
        impedances=replace(story.state.impedances, taken=Milliseconds(after))
        if story.state.impedances
        else None,
    )
    assert rules(story.ask(start(WALKING))) == refused


@pytest.mark.requirement("SR-14")
def test_who_has_to_wait_for_an_unknown_past_is_told_how_long() -> None:
    (found,) = judge_unknown_past(Milliseconds(3 * HOUR), instant(HOUR), "bolus")
    assert "count as full for 2 h" in found.message


def test_a_device_that_nobody_has_met_is_given_no_time_of_its_own() -> None:
    assert delivery_slack(State()) == 5_000


# --- programs that a window may hold -------------------------------------------------------------


PROGRAMS = [pump_case(((0, n * HOURLY),)).program for n in (1, 2, 3)]


@pytest.mark.requirement("SR-14")
def test_a_program_that_was_replaced_counts_to_the_very_end_of_a_day() -> None:
    first, second, third = PROGRAMS
    state = State(pump_program=second, past_programs=(PastProgram(first, Milliseconds(0)),))
    for at, left in ((DAY, [second, first]), (DAY + 1, [second])):
        assert [one.program for one in past_programs_after(state, instant(at))] == left
    assert third not in left


@pytest.mark.requirement("SR-14")
def test_a_program_that_is_replaced_once_more_is_listed_once() -> None:
    first, second, _ = PROGRAMS
    past = tuple(PastProgram(one, Milliseconds(0)) for one in (first, second))
    after = past_programs_after(State(pump_program=second, past_programs=past), instant(5))
    assert [(one.program, one.replaced) for one in after] == [(second, 5), (first, 0)]


@pytest.mark.requirement("SR-14")
def test_a_program_on_its_way_is_one_that_a_window_may_come_to_hold() -> None:
    story = programmed()
    rise = pump_case(((0, 9 * HOURLY),))
    story.ask(rise.command)
    assert story.state.unsettled
    assert rise.program in programs_in_window(story.state, instant(0))


@pytest.mark.requirement("SR-62")
def test_steps_that_make_no_day_are_no_continuation_of_anything() -> None:
    program = replace(compiled(MORPHINE_DAY), patient_bolus=None)
    steps = (FlowStep(MinuteOfDay(0), NanoLitresPerDay(1)),) * 2
    for no_day in ((), steps):
        odd = replace(program, basal=no_day)
        assert is_no_more_than(odd, program) is False
        assert is_no_more_than(program, odd) is False
        assert is_no_more_than(odd, odd) is False


@pytest.mark.requirement("SR-14")
def test_a_program_that_is_nowhere_more_passes_though_a_window_is_full_or_unknown() -> None:
    """With another catheter it is no continuation, and still no more."""
    case = pump_case(((0, 6 * HOURLY),), limits_nl(9_000, 9_000, 30_000, 150_000))
    story = programmed(case)
    story.do(bolus_nl(3_000))
    story.state = replace(story.state, full_until=Milliseconds(DAY))
    narrow = limits_nl(8_000, 8_000, 30_000, 150_000)
    more, less = (pump_case(((0, n * HOURLY),), narrow) for n in (7, 5))
    for other, found in ((more, True), (less, False)):
        longer = NanoLitres(other.program.catheter + 1_000)
        program = replace(other.program, catheter=longer)
        therapy = replace(other.therapy, catheter=replace(other.therapy.catheter, volume=longer))
        answer = story.ask(replace(other.command, program=program, therapy=therapy))
        assert ("SR-14" in rules(answer)) is found, rules(answer)


# --- figures for people --------------------------------------------------------------------------


@pytest.mark.parametrize("less", [0, 1])
def test_a_reservoir_at_its_alarm_lasts_no_part_of_a_day_more(less: int) -> None:
    slow = replace(
        compiled(MORPHINE_DAY),
        basal=(FlowStep(MinuteOfDay(0), NanoLitresPerDay(1)),),
        patient_bolus=None,
    )
    days = days_to_alarm(slow, ITP.accuracy, NanoLitres(slow.low_reservoir - less))
    assert (days.nominal_centi, days.worst_centi) == (0, 0)


def test_a_bridge_that_does_not_flow_lasts_nobody_knows_how_long() -> None:
    program = filled_with(
        {"morphine": "10 mg/mL"}, "2.4 mg/day", fill=2, before={"morphine": "20 mg/mL"}
    ).program
    assert program.bridge is not None
    still = replace(program.bridge, basal=(FlowStep(MinuteOfDay(0), NanoLitresPerDay(0)),))
    assert days_to_alarm(program, ITP.accuracy).nominal_centi is not None
    assert days_to_alarm(replace(program, bridge=still), ITP.accuracy).nominal_centi is None


@pytest.mark.requirement("SR-14")
def test_a_window_that_a_program_fills_is_told_in_the_unit_of_what_stands_in_it() -> None:
    most = 9_000_000
    case = pump_case(((0, 6 * HOURLY),), limits_nl(most, most, 10 * most, 10 * most))
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    more = pump_case(((0, 10_000 * HOURLY),)).program
    found = judge_pump_windows(case.program, (case.program,), more, limits, (), instant(0))
    assert [one.value for one in found if "1 hour" in one.message] == ["10 mg"]
