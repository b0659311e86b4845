"""What fills a window, and when there is room again: held against the rule itself."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kernel_bench import (
    DAY,
    FG_PER_NL,
    HOUR,
    HOURLY,
    MG_PER_ML,
    bolus_nl,
    instant,
    limits_nl,
    programmed,
    pump_case,
)

from device_profiles.quantities import Femtograms, Milliseconds, NanoLitres
from safety.doubt import Reservation
from safety.events import Rejected
from safety.limits import DOSE_WINDOWS, Limit, pump_limits
from safety.outputs import DrugInPump
from safety.rules_windows import window_accounts
from safety.window_account import WindowAccount, least_of, write_wait

CASE = pump_case(((0, 6 * HOURLY),), limits_nl(5_000, 11_000, 40_000, 160_000))
DRUG = pump_limits(CASE.therapy, CASE.command.formulary)[0].drugs[0]
MORPHINE = (DrugInPump("morphine", MG_PER_ML),)


def held(number: int, end: int, volume: int) -> Reservation:
    return Reservation(
        id=number,
        drugs=MORPHINE,
        begun=Milliseconds(end - 60_000),
        over=Milliseconds(60_000),
        latest_end=Milliseconds(end),
        least=NanoLitres(0),
        most=NanoLitres(volume),
    )


def accounts(boluses: tuple[Reservation, ...], asked_nl: int, now: int) -> dict[str, WindowAccount]:
    asked = Femtograms(asked_nl * FG_PER_NL)
    found = window_accounts((CASE.program,), DRUG, asked, boluses, instant(now))
    return {one.window.words: one for one in found}


def test_a_window_holds_a_whole_window_of_basal_and_each_bolus_at_its_most() -> None:
    boluses = (held(1, 0, 2_000), held(2, 5 * HOUR, 1_000))
    found = accounts(boluses, 500, 5 * HOUR + 1)
    hour, day = found["1 hour"], found["24 hours"]
    assert (hour.standing, day.standing) == (6_000 * FG_PER_NL, 144_000 * FG_PER_NL)
    assert [one.id for one in hour.held] == [2]
    assert (hour.earlier, day.earlier) == (1_000 * FG_PER_NL, 3_000 * FG_PER_NL)
    assert (hour.total, day.total) == (7_500 * FG_PER_NL, 147_500 * FG_PER_NL)
    assert not hour.is_over


def test_a_program_that_has_no_worst_case_has_no_account() -> None:
    odd = replace(CASE.program, basal=())
    assert window_accounts((odd,), DRUG, Femtograms(0), (), instant(0)) == []


def test_a_window_without_a_limit_has_no_account() -> None:
    drug = replace(DRUG, per_hour=None)
    found = window_accounts((CASE.program,), drug, Femtograms(0), (), instant(0))
    assert [one.window.quantity for one in found] == ["per_4_hours", "per_day"]


@pytest.mark.requirement("SR-14")
@given(
    st.lists(st.tuples(st.integers(0, DAY), st.integers(1, 6_000)), max_size=8),
    st.integers(0, 12_000),
    st.sampled_from([0, 1, HOUR, HOUR + 1, DAY]),
)
def test_there_is_room_from_the_very_millisecond_that_is_told_and_not_before(
    boluses: list[tuple[int, int]], asked: int, later: int
) -> None:
    now = max((end for end, _ in boluses), default=0) + later
    row = tuple(held(number, end, volume) for number, (end, volume) in enumerate(boluses))
    for words, one in accounts(row, asked, now).items():
        if not one.is_over:
            continue
        room_at = one.room_at()
        if room_at is None:
            assert accounts((), asked, now)[words].is_over, "not even without any bolus"
            continue
        assert room_at > now
        assert not accounts(row, asked, room_at)[words].is_over
        assert accounts(row, asked, room_at - 1)[words].is_over


@given(st.integers(1, 6_000), st.integers(0, DAY))
def test_a_bolus_is_gone_from_a_window_when_it_says_so(volume: int, end: int) -> None:
    one = held(1, end, volume)
    for window in DOSE_WINDOWS:
        account = WindowAccount("morphine", window, Limit(0, "patient"), Femtograms(0), (), ASKED)
        leaves = account.leaves(one)
        assume(leaves > 0)
        assert one.reaches_into(window.length, instant(leaves - 1))
        assert not one.reaches_into(window.length, instant(leaves))


ASKED = Femtograms(1)


def test_the_least_of_a_bolus_is_what_the_device_has_counted() -> None:
    one = replace(held(1, 0, 5_000), least=NanoLitres(1_250))
    assert least_of(one, "morphine") == 1_250 * FG_PER_NL
    assert least_of(one, "baclofen") == 0


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (0, "0 min"),
        (1, "1 min"),
        (60_000, "1 min"),
        (60_001, "2 min"),
        (HOUR, "1 h"),
        (HOUR + 1, "1 h 1 min"),
        (DAY, "24 h"),
    ],
)
def test_a_wait_is_told_in_hours_and_minutes_and_never_too_short(wait: int, words: str) -> None:
    assert write_wait(Milliseconds(wait)) == words


@pytest.mark.requirement("SR-14")
def test_a_refusal_says_when_there_is_room_and_there_is() -> None:
    story = programmed(CASE)
    story.do(bolus_nl(5_000))
    story.now = 10 * 60_000
    refused = story.ask(bolus_nl(5_000))
    assert isinstance(refused, Rejected)
    (finding,) = [one for one in refused.findings if one.rule == "SR-14"]
    assert finding.hint == "there is room in 52 min, if nothing else is given until then"
    story.now += 52 * 60_000
    story.do(bolus_nl(5_000))


@pytest.mark.requirement("SR-14")
def test_a_refusal_says_so_when_no_wait_makes_room() -> None:
    story = programmed(CASE)
    refused = story.ask(bolus_nl(5_001))
    assert isinstance(refused, Rejected)
    (finding,) = [one for one in refused.findings if one.rule == "SR-14"]
    assert finding.hint is not None
    assert finding.hint.startswith("no earlier boluses make room by leaving: lower the dose")


def test_what_a_prime_pushed_out_is_not_called_a_bolus() -> None:
    doses = (held(1, 0, 2_000), replace(held(2, 0, 1_000), what="prime"))
    assert accounts(doses, 500, 1)["1 hour"].earlier_doses == "earlier boluses and primes"
    assert accounts(doses[1:], 500, 1)["1 hour"].earlier_doses == "earlier primes"
