"""What a bolus may have delivered is an interval that only the device's own count narrows."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import HOUR, MINUTE, SLACK, bolus_nl, instant, programmed

from device_profiles.quantities import Milliseconds, NanogramsPerMillilitre, NanoLitres
from safety.doubt import Reservation, counted, narrowed, proved_nothing
from safety.events import Counted, CountState
from safety.outputs import DrugInPump
from safety.state import reservations_at

MORPHINE = DrugInPump("morphine", NanogramsPerMillilitre(1_000_000))
BEGUN, END, NOW = 1_000, 601_000, 300_000
STATES = st.sampled_from(["running", "executed", "interrupted"])


def reservation(volume: int = 100, number: int = 1) -> Reservation:
    return Reservation(
        number,
        (MORPHINE,),
        Milliseconds(BEGUN),
        Milliseconds(END - BEGUN),
        Milliseconds(END),
        NanoLitres(0),
        NanoLitres(volume),
    )


def after(*counts: tuple[CountState, int]) -> tuple[int, int, bool]:
    one = reservation()
    for state, volume in counts:
        one = narrowed(one, state, NanoLitres(volume), instant(NOW))
    return one.least, one.most, one.closed


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F35")
@pytest.mark.fault("F46")
@pytest.mark.fault("F52")
@pytest.mark.parametrize(
    ("counts", "interval"),
    [
        ([], (0, 100, False)),
        ([("running", 40)], (40, 100, False)),
        ([("running", 40), ("running", 30)], (40, 100, False)),
        ([("running", 140)], (140, 140, False)),
        ([("executed", 100)], (100, 100, True)),
        ([("executed", 80)], (80, 100, True)),
        ([("executed", 120)], (120, 120, True)),
        ([("interrupted", 40)], (40, 40, True)),
        ([("interrupted", 0)], (0, 0, True)),
        ([("interrupted", 120)], (120, 120, True)),
        ([("running", 60), ("interrupted", 40)], (60, 60, True)),
        ([("executed", 100), ("interrupted", 40)], (100, 100, True)),
        ([("interrupted", 40), ("interrupted", 10)], (40, 40, True)),
        ([("interrupted", 40), ("executed", 90)], (90, 90, True)),
    ],
)
def test_a_count_raises_always_and_lowers_only_once_where_the_bolus_was_interrupted(
    counts: list[tuple[CountState, int]], interval: tuple[int, int, bool]
) -> None:
    assert after(*counts) == interval


@given(st.lists(st.tuples(STATES, st.integers(0, 300)), max_size=6))
def test_the_interval_never_falls_below_what_was_ever_counted_nor_below_zero(
    counts: list[tuple[CountState, int]],
) -> None:
    least, most, _ = after(*counts)
    assert 0 <= max((volume for _, volume in counts), default=0) == least <= most


def test_the_end_is_told_only_by_a_bolus_that_has_ended_and_never_put_off() -> None:
    late = instant(END + 5)
    assert narrowed(reservation(), "running", NanoLitres(50), instant(NOW)).latest_end == END
    assert narrowed(reservation(), "executed", NanoLitres(100), instant(NOW)).latest_end == NOW
    assert narrowed(reservation(), "interrupted", NanoLitres(1), late).latest_end == END


@pytest.mark.fault("F32")
def test_a_bolus_that_still_runs_after_its_time_ends_no_sooner_than_its_rest_takes() -> None:
    late = instant(END + 5)
    running = narrowed(reservation(), "running", NanoLitres(25), late)
    assert running.latest_end == END + 5 + (END - BEGUN) * 3 // 4
    done = narrowed(running, "running", NanoLitres(100), late)
    assert done.latest_end == running.latest_end


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize("what", ["prime", "bridge"])
@pytest.mark.parametrize("volume", [0, 40, 349_344])
def test_what_a_prime_or_a_bridge_moves_tells_its_end_and_not_what_left_the_tip(
    what: Literal["prime", "bridge"], volume: int
) -> None:
    one = replace(reservation(), what=what)
    counts = replace(one, counted=volume > 0)
    assert narrowed(one, "running", NanoLitres(volume), instant(END + 5)) == counts
    for state in ("executed", "interrupted"):
        over = narrowed(one, state, NanoLitres(volume), instant(NOW))
        assert over == replace(counts, latest_end=Milliseconds(NOW), closed=True)
        late = narrowed(one, state, NanoLitres(volume), instant(END + 5))
        assert late == replace(counts, closed=True)


def test_a_count_of_another_id_changes_nothing() -> None:
    both = (reservation(number=1), reservation(number=2))
    assert counted(both, 3, "interrupted", NanoLitres(0), instant(NOW)) == both
    first, second = counted(both, 2, "interrupted", NanoLitres(0), instant(NOW))
    assert (first.most, second.most) == (100, 0)


def test_a_dose_that_was_counted_is_not_taken_back_by_a_later_denial() -> None:
    one = narrowed(reservation(), "running", NanoLitres(1), instant(NOW))
    assert proved_nothing((one, reservation(number=2)), 1) == (one, reservation(number=2))
    assert proved_nothing((one, reservation(number=2)), 2) == (one,)


@pytest.mark.parametrize("state", ["running", "executed", "interrupted"])
@pytest.mark.parametrize("what", ["bolus", "prime"])
def test_whatever_the_device_says_of_a_dose_it_has_counted_is_kept_as_counted(
    state: CountState, what: Literal["bolus", "prime"]
) -> None:
    told = narrowed(replace(reservation(), what=what), state, NanoLitres(1), instant(0))
    assert proved_nothing([told], told.id) == (told,)


def test_only_the_named_drug_of_a_mixture_is_summed() -> None:
    mixed = Reservation(
        1,
        (MORPHINE, DrugInPump("baclofen", NanogramsPerMillilitre(7))),
        Milliseconds(0),
        Milliseconds(0),
        Milliseconds(0),
        NanoLitres(0),
        NanoLitres(10),
    )
    assert mixed.most_of("baclofen") == 70
    assert mixed.most_of("fentanyl") == 0


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F88")
def test_an_interrupted_bolus_frees_its_rest_for_a_new_request_and_is_never_resumed() -> None:
    story = programmed()
    intent = story.do(bolus_nl(5_000, over=10 * MINUTE))
    story.now += 5 * MINUTE
    story.tell(Counted(instant(story.now), intent.id, "interrupted", NanoLitres(2_000)))
    (held,) = story.state.reservations
    assert (held.most, held.latest_end, held.closed) == (2_000, 5 * MINUTE, True)
    story.now = MINUTE + SLACK + 5 * MINUTE
    assert story.do(bolus_nl(3_000)).id != intent.id


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F32")
def test_a_command_that_lay_on_the_way_unheard_counts_from_when_the_device_said_it_took_it() -> (
    None
):
    story = programmed()
    intent = story.ask(bolus_nl(5_000, over=10 * MINUTE))
    story.settle(intent.id, "UNCERTAIN")
    story.now = 30 * 60 * MINUTE
    held = reservations_at(story.state, instant(story.now))
    assert [one.reaches_into(Milliseconds(HOUR), instant(story.now)) for one in held] == [True]
    story.settle(intent.id, "delivered")
    (reservation,) = story.state.reservations
    assert reservation.latest_end == story.now + 10 * MINUTE


def test_while_it_is_in_doubt_whether_it_was_taken_a_count_tells_no_end() -> None:
    story = programmed()
    intent = story.ask(bolus_nl(5_000, over=10 * MINUTE))
    story.now = MINUTE
    story.tell(Counted(instant(story.now), intent.id, "interrupted", NanoLitres(2_000)))
    (reservation,) = story.state.reservations
    assert (reservation.least, reservation.most, reservation.closed) == (2_000, 5_000, False)
