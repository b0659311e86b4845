"""What no other test noticed when one operator, number or line of a pump's past was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

from dataclasses import replace

import pytest
from clinical_examples import ITP
from kernel_bench import (
    DAY,
    HOUR,
    HOURLY,
    Story,
    bolus_nl,
    fold,
    instant,
    limits_nl,
    programmed,
    pump_case,
    rules,
)
from line_bench import filled_with, running

from device_profiles.quantities import Milliseconds, NanoLitres
from safety.commands import Prime, PumpEvidence
from safety.doubt import Reservation, begun_by, narrowed
from safety.events import Counted, CountState, Intended, Settled, Unverified
from safety.outputs import PrimeOutput
from safety.rules_prime import prime_volume
from safety.state import LineMove, differences

STRONGER = pump_case(((0, 9 * HOURLY),))


def move(number: int, latest_end: int, what: str = "bridge") -> LineMove:
    kind = "bridge" if what == "bridge" else "prime"
    return LineMove(number, Milliseconds(latest_end), kind, NanoLitres(0), ())  # type: ignore[arg-type]


def prime_of(story: Story) -> Prime:
    program = story.state.pump_program
    assert program is not None
    volume = prime_volume(program.catheter, ITP)
    output = PrimeOutput(volume, Milliseconds(HOUR), program.fill_at_ms)
    return Prime(
        output, ITP, PumpEvidence(Milliseconds(0), program.fill_volume, program.fill_at_ms)
    )


def unprimed() -> Story:
    """A new pump, filled just now, its line without drug."""
    return running(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day", primed=False))


# --- what moves in the line ----------------------------------------------------------------------


def test_a_move_that_begins_forgets_only_those_that_have_surely_ended() -> None:
    story = unprimed()
    lasting, over = move(70, 0), move(71, 0, "prime")
    still = move(72, HOUR, "prime")
    asked = story.ask(prime_of(story))
    assert isinstance(asked, Intended)
    story.state = replace(story.state, line_moves=(lasting, over, still))
    story.tell(replace(asked, id=99))
    assert [one.id for one in story.state.line_moves] == [70, 72, 99]


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize(("early", "refused"), [(1, ["SR-13"]), (0, [])])
def test_a_prime_closes_the_line_up_to_its_end(early: int, refused: list[str]) -> None:
    story = programmed()
    story.state = replace(story.state, line_moves=(move(70, HOUR, "prime"),))
    story.now = HOUR - early
    assert rules(story.ask(bolus_nl(1))) == refused


def test_a_new_program_ends_the_bridge_of_the_one_before_and_no_prime() -> None:
    story = programmed()
    asked = story.ask(pump_case().command)
    moves = (move(70, DAY), move(71, DAY, "prime"), move(asked.id, DAY))
    story.state = replace(story.state, line_moves=moves)
    story.settle(asked.id)
    assert [one.id for one in story.state.line_moves] == [71, asked.id]


@pytest.mark.requirement("SR-13")
def test_the_last_64_fills_that_were_primed_are_known_in_their_order() -> None:
    story = unprimed()
    asked = story.ask(prime_of(story))
    assert isinstance(asked, Intended)
    (prime,) = asked.outputs
    assert isinstance(prime, PrimeOutput)
    primes = (replace(prime, fill_at_ms=Milliseconds(n)) for n in range(70))
    story.journal += [replace(asked, id=100 + n, outputs=(one,)) for n, one in enumerate(primes)]
    assert fold(story.journal).primed_fills == tuple(range(6, 70))


@pytest.mark.requirement("SR-13")
def test_a_prime_that_ended_leaves_nothing_in_the_line_to_count_later() -> None:
    story = unprimed()
    asked = story.do(prime_of(story))
    story.tell(Counted(instant(HOUR), asked.id, "executed", NanoLitres(1)))
    assert story.state.line_moves == ()
    assert [one.what for one in story.state.reservations] == ["prime"]


@pytest.mark.requirement("SR-22")
def test_a_prime_without_a_program_or_limits_to_be_judged_by_is_refused() -> None:
    story = unprimed()
    asked, state = prime_of(story), story.state
    for without in (replace(state, pump_limits=None), replace(state, pump_program=None)):
        story.state = without
        assert rules(story.ask(asked)) == ["SR-22"]


def test_where_no_bridge_is_there_is_no_difference_of_mixes() -> None:
    plain = filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day").program
    assert [one.concentration for one in differences(plain)] == [0]


def test_each_drug_of_a_bridge_differs_by_how_much_stronger_one_of_its_mixes_is() -> None:
    before = {"morphine": "20 mg/mL", "bupivacaine": "5 mg/mL"}
    program = filled_with(
        {"morphine": "10 mg/mL", "fentanyl": "1 mg/mL"}, "2.4 mg/day", fill=2, before=before
    ).program
    mixes = {one.name: int(one.concentration) for one in differences(program)}
    assert mixes == {"morphine": 10_000_000, "bupivacaine": 5_000_000, "fentanyl": 1_000_000}


# --- what the pump counted -----------------------------------------------------------------------


def reservation(what: str, most: int, *, closed: bool = False) -> Reservation:
    kept = "bolus" if what == "bolus" else "prime"
    return Reservation(
        1,
        (),
        Milliseconds(0),
        Milliseconds(HOUR),
        Milliseconds(2 * HOUR),
        NanoLitres(0),
        NanoLitres(most),
        closed,
        kept,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("word", "end"), [("running", 2 * HOUR), ("executed", HOUR), ("interrupted", HOUR)]
)
def test_a_prime_ends_by_the_pumps_word_and_not_while_it_runs(word: CountState, end: int) -> None:
    after = narrowed(reservation("prime", 5), word, NanoLitres(9), instant(HOUR))
    assert (after.latest_end, after.closed, after.most) == (end, word != "running", 5)


def test_a_bolus_that_gave_nothing_and_runs_after_all_has_nothing_left_to_give() -> None:
    after = narrowed(
        reservation("bolus", 0, closed=True), "running", NanoLitres(0), instant(3 * HOUR)
    )
    assert after.latest_end == 3 * HOUR


def test_what_the_pump_said_that_it_ended_ends_no_later_for_being_taken_late() -> None:
    ended = replace(reservation("bolus", 5, closed=True), latest_end=Milliseconds(7))
    open_still = replace(ended, closed=False)
    assert begun_by((ended,), 1, instant(HOUR)) == (ended,)
    assert begun_by((open_still,), 1, instant(HOUR))[0].latest_end == 2 * HOUR


def test_a_bolus_that_counts_as_over_is_lowered_by_no_later_word() -> None:
    short = narrowed(reservation("bolus", 5), "executed", NanoLitres(3), instant(HOUR))
    after = narrowed(short, "interrupted", NanoLitres(3), instant(2 * HOUR))
    assert (after.least, after.most) == (3, 5)


@pytest.mark.requirement("SR-14")
def test_what_was_once_counted_is_not_taken_back_by_a_count_of_nothing() -> None:
    story = programmed()
    asked = story.ask(bolus_nl(5))
    for volume in (5, 0):
        story.tell(Counted(instant(1), asked.id, "running", NanoLitres(volume)))
    story.settle(asked.id, "refused")
    assert [one.id for one in story.state.reservations] == [asked.id]


# --- programs ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-22")
def test_a_program_that_nobody_verified_ends_with_the_one_that_is_applied() -> None:
    story = programmed()
    story.tell(Unverified(instant(0), 0, "a test", delivers=True))
    assert story.state.full_until == DAY
    story.now = HOUR
    story.state = replace(story.state, timezone=None)
    story.do(pump_case().command)
    assert not story.state.unknown_program
    assert story.state.full_until == HOUR + DAY, "until now the other one may have flowed"
    assert story.state.timezone == "UTC"
    story.now = 2 * HOUR
    story.do(pump_case().command)
    assert story.state.full_until == HOUR + DAY


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-22")
def test_an_unknown_program_that_is_gone_may_have_flowed_until_it_was_found_gone() -> None:
    story = programmed()
    story.tell(Unverified(instant(0), 0, "a test", delivers=True))
    story.now = 23 * HOUR
    story.tell(Unverified(instant(story.now), 0, "a test", delivers=False))
    assert story.state.full_until == 23 * HOUR + DAY
    story.tell(Unverified(instant(24 * HOUR), 0, "a test", delivers=False))
    assert story.state.full_until == 23 * HOUR + DAY


@pytest.mark.requirement("SR-14")
def test_a_bolus_in_doubt_counts_against_a_program_though_no_program_is_left() -> None:
    tight = limits_nl(5_000, 9_000, 100_000, 1_000_000)
    story = programmed(pump_case(limits=tight))
    bolus = story.ask(bolus_nl(3_000))
    assert isinstance(bolus, Intended)
    story.settle(bolus.id, "UNCERTAIN")
    story.tell(Unverified(instant(0), 0, "a test", delivers=False))
    story.now = 2 * DAY
    story.settle(bolus.id)
    assert "SR-14" in rules(story.ask(pump_case(((0, 9 * HOURLY),), tight).command))


@pytest.mark.requirement("SR-22")
@pytest.mark.parametrize("delivers", [False, True])
def test_of_a_device_that_holds_something_else_nothing_counts_as_verified_or_on(
    delivers: bool,
) -> None:
    story = programmed()
    before = story.state.full_until
    story.tell(Unverified(instant(HOUR), 0, "a test", delivers))
    state = story.state
    assert (state.programs, state.running, state.pump_program) == ((), None, None)
    assert state.unknown_program is delivers
    assert state.full_until == (HOUR + DAY if delivers else before)


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-23")
def test_a_program_that_came_out_wrong_may_have_flowed_for_a_while_and_only_that_one() -> None:
    story = programmed()
    first = story.ask(STRONGER.command)
    assert isinstance(first, Intended)
    other = replace(first, id=98, outputs=(pump_case(((0, 3 * HOURLY),)).program,))
    bolus = replace(
        first,
        id=97,
        command="give-bolus",
        outputs=(bolus_nl(5, over=HOUR).bolus,),
        latest_end=Milliseconds(HOUR),
    )
    story.tell(other)
    story.tell(bolus)
    story.tell(Unverified(instant(2 * HOUR), first.id, "a test", delivers=True))
    state = story.state
    assert [one.id for one in state.unsettled] == [98, 97]
    assert [one.program for one in state.past_programs][:1] == [STRONGER.program]
    assert other.outputs[0] not in [one.program for one in state.past_programs]
    assert [one.latest_end for one in state.reservations] == [HOUR], "it was not the bolus"


@pytest.mark.requirement("SR-14")
def test_a_bolus_that_came_out_wrong_is_no_program_and_may_have_begun_just_now() -> None:
    story = programmed()
    asked = story.ask(bolus_nl(5, over=HOUR))
    story.tell(Unverified(instant(2 * HOUR), asked.id, "a test", delivers=True))
    (held,) = story.state.reservations
    assert held.latest_end == 3 * HOUR
    assert [one.program for one in story.state.past_programs] == [pump_case().program]


def test_only_a_line_that_moves_or_a_prime_has_something_astray() -> None:
    story = programmed()
    for command in (bolus_nl(5), pump_case().command):
        asked = story.ask(command)
        assert isinstance(asked, Intended)
        assert asked.stray == 0
        story.tell(Settled(instant(0), asked.id, "refused", "a test"))
