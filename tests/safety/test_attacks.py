"""Attacks on the judge and its gate, told as commands and events: what got through.

Each test says how it ought to be and fails today; its reason names the finding of the review.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from clinical_examples import BACLOFEN, FORMULARY, button, dose_limits
from gate_bench import HeldThread, begun
from kernel_bench import (
    DAY,
    HOUR,
    MINUTE,
    Story,
    bolus_nl,
    instant,
    programmed,
    rules,
)
from line_bench import command_of, filled_with, running, therapy_of, titrated

from device_profiles.formulary import Formulary
from device_profiles.notation import parse_concentration
from device_profiles.therapy import InfusionTherapy
from safety.alarm_table import Priority
from safety.alarms import Alarm
from safety.commands import Ask, Override, ProgramPump
from safety.events import Intended, Looked, Raised, Rejected
from safety.kernel import Record, step

TEN = {"morphine": "10 mg/mL"}
BACLOFEN_500 = {"baclofen": "500 mcg/mL"}


def finding(number: int, text: str) -> pytest.MarkDecorator:
    """What a test shows; it fails as long as this is so."""
    reason = f"FINDING {number}: {text}"
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)


def alone(*rules_passed: str) -> Override:
    return Override(rules_passed, "nurse", "a test")


def raised(code: str, priority: Priority) -> Raised:
    return Raised(instant(0), Alarm(code, priority, "SR-54", "a test"))


def asked_for(story: Story, therapy: InfusionTherapy, patient: str) -> Intended | Rejected:
    """The answer to a program for a patient."""
    now = instant(story.now)
    _, (effect,) = step(story.state, Ask(now, 99, command_of(therapy), patient, seen=now.fast))
    assert isinstance(effect, Record)
    assert isinstance(effect.event, Intended | Rejected)
    return effect.event


# --- 2: what one fill consists of may change without a question ----------------------------------


def test_a_catheter_that_shrinks_just_before_a_refill_does_not_shorten_the_bridge_unasked() -> None:
    strong = {"morphine": "20 mg/mL"}
    story = running(filled_with(strong, "2 mg/day"))
    answer = story.ask(filled_with(strong, "2 mg/day", line="0.25 mL"))
    assert "SR-13" in rules(answer)


# --- 10: going on denied -------------------------------------------------------------------------


def test_a_verified_basal_is_applied_again_as_often_as_it_takes_by_one_person() -> None:
    above_soft = command_of(therapy_of(TEN, "12 mg/day"))
    story = Story()
    story.connect()
    for _ in range(3):
        answer = story.ask(above_soft, alone("SR-04"))
        assert rules(answer) == []
        assert isinstance(answer, Intended)
        story.settle(answer.id)
        story.now += MINUTE


def test_a_dose_that_is_too_much_is_lowered_as_often_as_it_takes_by_one_person() -> None:
    formulary = titrated(BACLOFEN, down="20 %")
    story = Story()
    story.connect()
    for rate in ("800", "600", "400", "200"):
        lower = command_of(therapy_of(BACLOFEN_500, f"{rate} mcg/day"), formulary)
        answer = story.ask(lower, alone("SR-06"))
        assert rules(answer) == []
        assert isinstance(answer, Intended)
        story.settle(answer.id)
        story.now += MINUTE


@pytest.mark.parametrize("what", ["narrower", "without"])
def test_a_verified_basal_goes_on_when_a_new_formulary_no_longer_holds_its_strength(
    what: str,
) -> None:
    therapy = therapy_of({"morphine": "25 mg/mL"}, "2 mg/day")
    story = running(command_of(therapy))
    twenty = parse_concentration("20 mg/mL")
    entries = tuple(
        replace(one, concentration_max=twenty) if one.name == "morphine" else one
        for one in FORMULARY.entries
        if what == "narrower" or one.name != "morphine"
    )
    again = command_of(therapy, Formulary("a newer one", entries))
    assert rules(story.ask(again, alone("SR-08", "SR-11"))) == []


# --- 12: between two rules -----------------------------------------------------------------------


def test_a_drug_that_comes_back_after_months_is_started_as_at_first() -> None:
    both = BACLOFEN_500 | {"ziconotide": "10 mcg/mL"}
    story = running(filled_with(both, "100 mcg/day"))
    story.now = 10 * DAY
    story.do(filled_with(BACLOFEN_500, "100 mcg/day", fill=2, before=both))
    story.now = 100 * DAY
    # 18 mcg a day at once; a start is at most 2.4.
    much = BACLOFEN_500 | {"ziconotide": "90 mcg/mL"}
    answer = story.ask(filled_with(much, "100 mcg/day", fill=3, before=BACLOFEN_500))
    assert {"SR-06", "SR-63"} & set(rules(answer))


def test_a_basal_that_takes_the_place_of_a_button_is_a_rise() -> None:
    formulary = titrated(BACLOFEN, up="40 %")
    limits = dose_limits("20 mcg", "200 mcg", "400 mcg", "2000 mcg")

    def asked(rate: str, *, with_button: bool) -> ProgramPump:
        pressed = button("20 mcg", "10 min", "1 h", 20) if with_button else None
        therapy = therapy_of(BACLOFEN_500, rate, button=pressed)
        (drug,) = therapy.drugs
        return command_of(replace(therapy, drugs=(replace(drug, limits=limits),)), formulary)

    story = Story()
    story.connect()
    story.do(asked("50 mcg/day", with_button=True))
    story.now = 10 * DAY
    assert "SR-06" in rules(story.ask(asked("450 mcg/day", with_button=False)))


# --- 16: conditions that last --------------------------------------------------------------------


def test_while_an_over_delivery_still_stands_no_window_has_room() -> None:
    story = programmed()
    story.tell(raised("over-delivery", "HIGH"))
    story.now = 25 * HOUR
    assert not story.state.alarms[0].over
    assert "SR-14" in rules(story.ask(bolus_nl(1_000)))


def test_no_bolus_is_given_into_an_occlusion_that_still_stands_after_a_look() -> None:
    story = programmed()
    story.tell(raised("occlusion", "MEDIUM"))
    story.tell(Looked(instant(0), "a nurse", "seen"))
    assert not story.state.alarms[0].over
    assert "SR-23" in rules(story.ask(bolus_nl(1_000)))


# --- 17: people ----------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["anna", "Anna\u200b", "ANNA "])
def test_one_person_is_not_two_by_another_spelling(second: str) -> None:
    story = running(filled_with(TEN, "2 mg/day"))
    unbridged = filled_with({"morphine": "20 mg/mL"}, "2 mg/day", fill=2)
    reason = Override(("SR-12",), "Anna", "a test", second)
    assert "SR-57" in rules(story.ask(unbridged, reason))


def test_another_patients_file_is_not_applied_to_a_pump_without_a_question() -> None:
    story = running(filled_with(TEN, "2 mg/day"))
    assert story.state.patient == "BENCH-012"
    answer = asked_for(story, therapy_of(TEN, "4 mg/day"), patient="BENCH-099")
    assert isinstance(answer, Rejected)


# --- 18: cancelled while the disk writes ---------------------------------------------------------


async def test_an_alarm_whose_caller_is_cancelled_while_the_disk_writes_is_on_the_board(
    tmp_path: Path,
) -> None:
    thread = HeldThread()
    bench = await begun(tmp_path, thread)
    asking = asyncio.ensure_future(bench.ask(bolus_nl(1)))
    await thread.begun.wait()
    telling = asyncio.ensure_future(bench.gate.tell(raised("over-delivery", "HIGH")))
    await asyncio.sleep(1)
    telling.cancel()
    await asyncio.sleep(1)
    await thread.finish()
    await asyncio.gather(asking, telling, return_exceptions=True)
    assert bench.heard != []
    assert [one.alarm.code for one in bench.gate.state.alarms] == ["over-delivery"]
