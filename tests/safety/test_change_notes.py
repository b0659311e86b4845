"""What a plan says beside old and new: sentences whose figures are those that the rules compare."""

from dataclasses import replace

import pytest
from clinical_examples import BACLOFEN, FORMULARY, ZICONOTIDE
from kernel_bench import DAY
from line_bench import FIRST_FILL, Mix, command_of, program_of, therapy_of, titrated

from device_profiles.formulary import Formulary, Stability
from device_profiles.notation import parse_volume
from device_profiles.quantities import Milliseconds, NanoLitres, NanoLitresPerDay
from safety.change_notes import change_notes
from safety.commands import ProgramPump, PumpEvidence
from safety.outputs import PumpProgram
from safety.rules_change import judge_rise
from safety.rules_refill import judge_refill

BAC, BOTH = {"baclofen": "2000 mcg/mL"}, {"baclofen": "2000 mcg/mL", "morphine": "10 mg/mL"}
STEADY = "low-reservoir alarm in 106.66 d, at the worst in 93.15 d"
"""16 mL above the alarm volume at 0.15 mL a day, and at 14.5 % more."""


def given(rate: str, mix: Mix = BAC) -> PumpProgram:
    return program_of(therapy_of(mix, rate))


def notes(
    command: ProgramPump, *known: PumpProgram, current: PumpProgram | None = None
) -> list[str]:
    return list(change_notes(current, known, command))


def asked(rate: str = "300 mcg/day", mix: Mix = BAC) -> ProgramPump:
    return command_of(therapy_of(mix, rate))


# --- the step in dose ----------------------------------------------------------------------------


@pytest.mark.requirement("SR-06")
def test_the_step_is_told_from_the_least_of_the_last_day_by_the_figure_that_the_rule_compares() -> (
    None
):
    command = replace(asked(), formulary=titrated(BACLOFEN, up="40 %"))
    least, latest = given("100 mcg/day"), given("250 mcg/day")
    step, _ = notes(command, latest, least, current=latest)
    assert step == (
        "baclofen: at most 300 mcg in any 24 h; the least of the last day's programs gave "
        "100 mcg: +200 %"
    )
    (finding,) = judge_rise((latest, least), command)
    assert step.endswith(finding.value or "no figure")


def test_a_drug_that_comes_is_told_as_new_and_one_that_leaves_as_gone_in_the_others_unit() -> None:
    coming, _ = notes(asked(mix=BOTH), given("300 mcg/day"))[1:]
    assert coming == "morphine: at most 1.5 mg in any 24 h, none in the day before"
    going, _ = notes(asked(), given("300 mcg/day", BOTH))[1:]
    assert going == (
        "morphine: at most 0 mg in any 24 h; the least of the last day's programs gave 1.5 mg: "
        "-100 %"
    )


def test_a_pump_that_nobody_knows_has_no_step_to_tell() -> None:
    assert notes(asked()) == [STEADY]


def test_nothing_is_told_of_a_program_whose_worst_day_cannot_be_computed() -> None:
    command = asked()
    endless = replace(command, program=replace(command.program, basal=()))
    assert notes(endless, given("100 mcg/day"), current=given("100 mcg/day")) == []


# --- the refill ----------------------------------------------------------------------------------

LEFT, TOLERANCE = 13_000_000, 5_000_000 * 145_000 // 1_000_000 + 500_000


def refill(withdrawn: int | None, formulary: Formulary = FORMULARY) -> ProgramPump:
    """The second fill, when the pump counts 13 mL of the first one's 18 mL as left."""
    therapy = therapy_of(BAC, "300 mcg/day", fill=2)
    read = None if withdrawn is None else NanoLitres(withdrawn)
    evidence = PumpEvidence(Milliseconds(0), NanoLitres(LEFT), Milliseconds(FIRST_FILL))
    therapy = replace(therapy, fill=replace(therapy.fill, withdrawn=read))
    return command_of(therapy, formulary, evidence)


@pytest.mark.requirement("SR-19")
@pytest.mark.parametrize(
    ("withdrawn", "words"),
    [
        (LEFT + TOLERANCE, "agrees"),
        (LEFT + TOLERANCE + 1, "does NOT agree"),
        (LEFT - TOLERANCE, "agrees"),
        (LEFT - TOLERANCE - 1, "does NOT agree"),
    ],
)
def test_what_was_withdrawn_agrees_in_words_exactly_where_the_rule_has_nothing_to_say(
    withdrawn: int, words: str
) -> None:
    old, command = given("300 mcg/day"), refill(withdrawn)
    (told,) = (one for one in notes(command, old, current=old) if one.startswith("refill"))
    assert f"the pump counts 13 mL as left of the fill before: {words} within 1.225 mL" in told
    assert (judge_refill(old, command) == []) is (words == "agrees")


@pytest.mark.requirement("SR-19")
def test_a_file_that_does_not_say_what_was_withdrawn_is_told_so() -> None:
    old = given("300 mcg/day")
    _, told, _ = notes(refill(None), old, current=old)
    assert told == (
        "refill: the pump counts 13 mL as left of the fill before, and the file does not say what "
        "was withdrawn"
    )


# --- the days left -------------------------------------------------------------------------------


@pytest.mark.requirement("SR-18")
def test_of_a_running_fill_the_days_are_told_by_what_the_pump_counts_as_left() -> None:
    therapy = therapy_of(BAC, "300 mcg/day")
    evidence = PumpEvidence(Milliseconds(0), parse_volume("3.5 mL"), therapy.fill.at_ms)
    assert notes(command_of(therapy, FORMULARY, evidence)) == [
        "low-reservoir alarm in 10.00 d, at the worst in 8.73 d"
    ]


@pytest.mark.requirement("SR-18")
def test_a_fresh_fill_tells_how_long_its_shortest_lived_drug_keeps_its_strength() -> None:
    entries = tuple(
        replace(one, stability=Stability(Milliseconds(14 * DAY), Milliseconds(days * DAY)))
        for one, days in ((BACLOFEN, 60), (ZICONOTIDE, 40))
    )
    mix = {**BAC, "ziconotide": "100 mcg/mL"}
    command = replace(asked(mix=mix), formulary=Formulary("a test formulary", entries))
    assert notes(command) == [f"{STEADY}; ziconotide keeps its strength for 960 h"]


def test_no_day_is_told_of_a_basal_that_does_not_flow() -> None:
    command = asked()
    (step,) = command.program.basal
    still = replace(command.program, basal=(replace(step, flow=NanoLitresPerDay(0)),))
    assert notes(replace(command, program=still)) == []
