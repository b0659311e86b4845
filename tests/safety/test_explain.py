"""Why a request was refused or granted: the windows that are shown are those that were judged."""

import pytest
from clinical_examples import ITP, SCS, WALKING
from kernel_bench import (
    HOUR,
    HOURLY,
    MINUTE,
    Story,
    bolus_nl,
    limits_nl,
    programmed,
    pump_case,
    stimulator,
)

from device_profiles.diagnostics import Finding
from device_profiles.quantities import Milliseconds, NanoLitres
from safety.commands import Prime, ProgramStimulator
from safety.events import Intended, Rejected
from safety.explain import windows_of
from safety.outputs import PrimeOutput

ROOM_FOR_ONE = pump_case(((0, 6 * HOURLY),), limits_nl(5_000, 11_000, 9_000_000, 9_000_000))
HIGHER = pump_case(((0, 8 * HOURLY),), limits_nl(5_000, 11_000, 9_000_000, 9_000_000))


def one_given() -> Story:
    """A pump at 6,000 nL/h whose hour holds 11,000 nL, ten minutes after 3,000 of them."""
    story = programmed(ROOM_FOR_ONE)
    story.do(bolus_nl(3_000))
    story.now = 10 * MINUTE
    return story


def of_windows(answer: Intended | Rejected) -> list[Finding]:
    assert isinstance(answer, Rejected), answer
    return [one for one in answer.findings if one.rule == "SR-14"]


@pytest.mark.requirement("SR-14")
def test_the_account_of_a_refused_bolus_is_over_where_the_rule_said_so_and_adds_up() -> None:
    story = one_given()
    before = story.state
    answer = story.ask(bolus_nl(2_001))
    accounts = windows_of(before, answer)
    assert [one.window.words for one in accounts] == ["1 hour", "4 hours", "24 hours"]
    hour = accounts[0]
    assert [one for one in accounts if one.is_over] == [hour]
    assert (hour.standing, hour.earlier, hour.asked) == (
        6_000 * 10**6,
        3_000 * 10**6,
        2_001 * 10**6,
    )
    (finding,) = of_windows(answer)
    assert (finding.value, finding.limit) == ("11.001 mcg", "11 mcg")
    assert hour.total == 11_001 * 10**6


@pytest.mark.requirement("SR-14")
def test_the_account_of_a_granted_bolus_shows_that_it_filled_the_window_to_its_limit() -> None:
    story = one_given()
    before = story.state
    answer = story.ask(bolus_nl(2_000))
    assert isinstance(answer, Intended)
    hour = windows_of(before, answer)[0]
    assert (hour.total, hour.is_over) == (hour.limit.value, False)


@pytest.mark.requirement("SR-14")
def test_a_program_is_accounted_for_by_its_own_basal_and_limits_and_asks_for_no_bolus() -> None:
    story = one_given()
    before = story.state
    tight = pump_case(((0, 7 * HOURLY),), limits_nl(5_000, 9_999, 9_000_000, 9_000_000))
    answer = story.ask(tight.command)
    (finding,) = of_windows(answer)
    hour = windows_of(before, answer)[0]
    assert (hour.standing, hour.earlier, hour.asked) == (7_000 * 10**6, 3_000 * 10**6, 0)
    assert (hour.limit.value, hour.is_over) == (9_999 * 10**6, True)
    assert finding.value == "10 mcg"
    granted = story.ask(HIGHER.command)
    assert isinstance(granted, Intended)
    assert windows_of(before, granted)[0].standing == 8_000 * 10**6


def test_where_no_windows_count_there_is_no_account() -> None:
    electric = stimulator()
    programs = electric.ask(ProgramStimulator((WALKING,), SCS))
    assert windows_of(electric.state, programs) == []
    story = one_given()
    prime = PrimeOutput(NanoLitres(1), Milliseconds(HOUR), Milliseconds(0))
    assert windows_of(story.state, story.ask(Prime(prime, ITP))) == []
    unknown = Story()
    unknown.connect()
    assert windows_of(unknown.state, unknown.ask(bolus_nl(1))) == []
