"""What no other test noticed when one operator, number or line of what the judge keeps was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

from dataclasses import replace

import pytest
from clinical_examples import SCS, WALKING, area, tonic
from kernel_bench import (
    DAY,
    HOUR,
    HOURLY,
    Story,
    bolus_nl,
    flowing,
    fold,
    instant,
    programmed,
    pump_case,
    rules,
    start,
    stimulator,
)

from device_profiles.quantities import MicroAmps, Milliseconds, NanoLitres
from safety.alarm_table import Priority
from safety.alarms import Alarm
from safety.commands import Override, ProgramStimulator
from safety.events import (
    Cleared,
    Event,
    Intended,
    Latched,
    Looked,
    Lowered,
    MriEntered,
    MriLeft,
    Raised,
    Settled,
    Stopped,
    Unverified,
)
from safety.fold import FOUND_OFF
from safety.state import LineMove, StandingWaiver
from safety.timeline import Seen

SOFT = tonic(area("E3 -100, E4 +100", "8 mA", width="500 us"))
BECAUSE = Override(("SR-41",), "clinician", "tolerated for years")

# --- what a state keeps ----------------------------------------------------------------------


ONE_TIME_RULES = ("SR-06", "SR-12", "SR-13", "SR-18", "SR-19", "SR-44", "SR-59")


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize("rule", [*ONE_TIME_RULES, "SR-41"])
def test_a_reason_for_a_change_itself_is_over_once_the_change_is_done(rule: str) -> None:
    story = stimulator()
    asked = story.ask(ProgramStimulator((WALKING,), SCS))
    assert isinstance(asked, Intended)
    why = Override((rule,), "clinician", "because")
    passed = replace(asked, id=99, override=why, passed=(rule,))
    state = fold([*story.journal, passed, Settled(instant(0), 99, "delivered", "a test")])
    stands = rule not in ONE_TIME_RULES
    assert [one.rule for one in state.waivers] == ([rule] if stands else [])


@pytest.mark.requirement("SR-35")
def test_a_start_begins_a_new_count_of_alarms_and_keeps_the_programs_waivers() -> None:
    story = stimulator()
    waiver = StandingWaiver("SR-41", Milliseconds(HOUR))
    story.state = replace(story.state, alerted=("open-contact",), waivers=(waiver,))
    story.do(start(WALKING))
    assert story.state.alerted == ()
    assert story.state.waivers == (waiver,)


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(
    "code",
    ["delivery-without-intent", "free-flow", "odometer-fell", "over-delivery", "over-limit"],
)
def test_after_an_unplanned_delivery_every_window_is_full_for_a_day(code: str) -> None:
    story = programmed()
    story.tell(Raised(instant(5), Alarm(code, "HIGH", "SR-54", "a test")))
    assert story.state.full_until >= 5 + DAY


@pytest.mark.requirement("SR-22")
def test_a_program_that_was_applied_names_its_patient_and_ends_what_was_unknown() -> None:
    story = stimulator()
    story.tell(Unverified(instant(1), 0, "a test", delivers=True))
    assert story.state.unknown_program
    story.state = replace(story.state, patient=None)
    story.do(ProgramStimulator((WALKING,), SCS))
    assert not story.state.unknown_program
    assert story.state.patient == "BENCH-012"
    pump = programmed()
    assert pump.state.patient == "BENCH-012"


@pytest.mark.requirement("SR-22")
def test_limits_go_with_the_program_that_they_belong_to() -> None:
    story = programmed()
    assert story.state.pump_limits is not None
    story.tell(Unverified(instant(1), 0, "a test", delivers=True))
    assert story.state.pump_limits is None


def prime_until(intent_id: int, latest_end: int) -> LineMove:
    return LineMove(intent_id, Milliseconds(latest_end), "prime", NanoLitres(0), ())


@pytest.mark.requirement("SR-13")
def test_a_prime_that_was_taken_late_ends_late_and_no_other_moves_with_it() -> None:
    story = programmed()
    intent = story.ask(pump_case(((0, 5 * HOURLY),)).command)
    assert isinstance(intent, Intended)
    mine = prime_until(intent.id, intent.at.slow + 10 * HOUR)
    other = prime_until(77, 3 * HOUR)
    story.state = replace(story.state, line_moves=(other, mine))
    story.now = 2 * HOUR
    story.settle(intent.id)
    assert story.state.line_moves == (other, replace(mine, latest_end=Milliseconds(12 * HOUR)))


@pytest.mark.requirement("SR-50")
@pytest.mark.parametrize("priority", ["MEDIUM", "HIGH"])
@pytest.mark.parametrize("is_over", [False, True])
def test_an_output_found_off_begins_at_zero_for_the_alarm_that_may_have_ended_it(
    is_over: bool, priority: Priority
) -> None:
    story = stimulator()
    story.do(start(WALKING))
    story.tell(Raised(instant(1), Alarm("open-contact", "MEDIUM", "SR-55", "E3 is open")))
    story.tell(Raised(instant(1), Alarm("battery-low", priority, "SR-55", "the battery is low")))
    if is_over:
        story.tell(Cleared(instant(2), "battery-low"))
    story.tell(Stopped(instant(3), FOUND_OFF, True))
    assert story.state.from_zero == (None if is_over else "the battery is low")


@pytest.mark.requirement("SR-32")
def test_a_stop_by_a_person_does_not_say_why_the_next_start_begins_at_zero() -> None:
    story = stimulator()
    story.do(start(WALKING))
    story.tell(Raised(instant(1), Alarm("battery-low", "MEDIUM", "SR-55", "the battery is low")))
    before = story.state.from_zero
    story.tell(Stopped(instant(3), "hold", True))
    assert story.state.from_zero == before


# --- what was approved ---------------------------------------------------------------------------


CHANGES: list[Event] = [
    MriEntered(instant(1), "nurse", "a scan"),
    MriLeft(instant(1), "nurse", "it answers"),
    Unverified(instant(1), 0, "a test", delivers=True),
    Latched(instant(1), "a test", False),
    Stopped(instant(1), "hold", True),
    Lowered(instant(1), flowing(WALKING).amplitudes),
]


@pytest.mark.requirement("SR-58")
@pytest.mark.parametrize("event", CHANGES, ids=lambda event: event.kind)
def test_each_change_of_what_a_device_shows_counts_once_so_that_no_count_comes_again(
    event: Event,
) -> None:
    story = stimulator()
    story.do(start(WALKING))
    before = story.state.epoch
    story.tell(event)
    assert story.state.epoch == before + 1


@pytest.mark.requirement("SR-58")
def test_an_intent_and_its_outcome_count_once_each() -> None:
    story = stimulator()
    before = story.state.epoch
    intent = story.ask(start(WALKING))
    assert story.state.epoch == before + 1
    story.settle(intent.id)
    assert story.state.epoch == before + 2


# --- a new conversation --------------------------------------------------------------------------


def walking_and_low() -> Story:
    """A stimulator that is on, with a battery of which people have been told."""
    story = stimulator()
    story.do(start(WALKING))
    story.tell(Raised(instant(1), Alarm("battery-low", "MEDIUM", "SR-55", "the battery is low")))
    return story


@pytest.mark.requirement("SR-50")
@pytest.mark.parametrize(
    ("boot", "delivering", "why"),
    [
        (1, True, None),
        (1, False, "the battery is low"),
        (2, True, "the device restarted while it was on"),
        (2, False, "the device restarted while it was on"),
    ],
)
def test_why_the_next_start_begins_at_zero_is_told_by_how_the_device_is_met_again(
    boot: int, delivering: bool, why: str | None
) -> None:
    story = walking_and_low()
    story.connect(boot, delivering=delivering)
    assert story.state.from_zero == why
    assert (story.state.running is not None) is delivering


def test_a_device_that_is_met_for_the_first_time_has_not_changed() -> None:
    story = Story()
    story.connect(7)
    assert story.state.epoch == 0
    assert story.state.boot == 7


@pytest.mark.requirement("SR-15")
def test_when_a_host_took_charge_is_known_by_all_clocks() -> None:
    story = Story(now=5)
    story.connect(7)
    assert story.state.seen == Seen(instant(5).slow, instant(5).wall, Milliseconds(5), 7)


@pytest.mark.requirement("SR-50")
def test_a_device_that_restarted_while_it_was_off_may_start_where_it_was() -> None:
    story = stimulator()
    story.connect(2)
    assert story.state.from_zero is None


@pytest.mark.requirement("SR-50")
def test_a_reason_to_begin_at_zero_lasts_until_a_start_has_been_carried_out() -> None:
    story = walking_and_low()
    story.connect(2)
    story.connect(2)
    assert story.state.from_zero == "the device restarted while it was on"
    story = stimulator()
    story.tell(MriLeft(instant(1), "nurse", "it answers"))
    assert rules(story.ask(start(WALKING))) == ["SR-50"]
    zero = replace(flowing(WALKING), amplitudes=(MicroAmps(0),) * len(WALKING.areas))
    story.do(replace(start(WALKING), stimulation=zero))
    assert story.state.from_zero is None


@pytest.mark.requirement("SR-22")
def test_a_new_program_is_in_the_device_with_its_output_off() -> None:
    story = stimulator()
    asked = story.ask(ProgramStimulator((WALKING,), SCS))
    story.state = replace(story.state, running=flowing(WALKING))
    story.settle(asked.id)
    assert story.state.running is None


# --- alarms --------------------------------------------------------------------------------------


def alarm(code: str, priority: Priority = "MEDIUM") -> Raised:
    return Raised(instant(0), Alarm(code, priority, "SR-55", "a test"))


@pytest.mark.requirement("SR-35")
def test_an_alarm_counts_once_from_one_start_to_the_next_whatever_comes_between() -> None:
    story = stimulator()
    for code in ("open-contact", "battery-low", "open-contact"):
        story.tell(alarm(code))
    story.tell(alarm("clock-jump", "LOW"))
    assert [one.code for one in story.state.alerts] == ["open-contact", "battery-low"]


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(
    ("stands", "ends", "full"),
    [
        (("over-delivery",), "over-delivery", True),
        (("over-delivery", "low-reservoir"), "over-delivery", True),
        (("low-reservoir",), "over-delivery", False),
        (("over-delivery", "low-reservoir"), "low-reservoir", False),
    ],
)
def test_windows_are_full_for_a_day_from_the_end_of_the_very_alarm_that_told_of_a_delivery(
    stands: tuple[str, ...], ends: str, full: bool
) -> None:
    story = programmed()
    for code in stands:
        story.tell(alarm(code))
    story.tell(Cleared(instant(HOUR), ends))
    assert (story.state.full_until == HOUR + DAY) is full


@pytest.mark.requirement("SR-14")
def test_what_was_over_before_does_not_end_once_more() -> None:
    story = programmed()
    story.tell(alarm("over-delivery", "HIGH"))
    for at in (HOUR, 2 * HOUR):
        story.tell(Cleared(instant(at), "over-delivery"))
    assert story.state.full_until == HOUR + DAY


@pytest.mark.requirement("SR-23")
@pytest.mark.parametrize("priority", ["MEDIUM", "HIGH"])
@pytest.mark.parametrize("is_over", [False, True])
def test_a_look_opens_boluses_once_the_occlusion_is_over_whatever_else_stands(
    is_over: bool, priority: Priority
) -> None:
    story = programmed()
    story.tell(alarm("occlusion", priority))
    story.tell(alarm("low-reservoir"))
    if is_over:
        story.tell(Cleared(instant(1), "occlusion"))
    story.tell(Looked(instant(2), "nurse", "it drips again"))
    assert rules(story.ask(bolus_nl(1))) == ([] if is_over else ["SR-23"])


# --- latches, stops and doubt --------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("stop_first", [False, True])
def test_a_stop_is_the_last_word_over_a_program_that_was_on_its_way(stop_first: bool) -> None:
    story = programmed()
    if stop_first:
        story.tell(Stopped(instant(0), "hold", True))
    asked = story.ask(pump_case().command)
    if not stop_first:
        story.tell(Stopped(instant(0), "hold", True))
    story.settle(asked.id)
    assert rules(story.ask(bolus_nl(1))) == ([] if stop_first else ["SR-32"])


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F82")
def test_the_ids_of_the_last_256_intents_are_known_in_their_order() -> None:
    story = stimulator()
    asked = story.ask(start(WALKING))
    assert isinstance(asked, Intended)
    state = fold([replace(asked, id=number) for number in range(300)])
    assert state.ids == tuple(range(300 - 256, 300))


@pytest.mark.requirement("SR-56")
def test_the_first_reason_for_a_latch_is_the_one_that_people_read() -> None:
    story = programmed()
    story.tell(Latched(instant(1), "the disk is full", False))
    story.tell(Latched(instant(2), "nothing is written any more", False))
    assert story.state.latched == "the disk is full"


@pytest.mark.requirement("SR-22")
def test_a_stimulator_that_holds_something_else_has_nothing_to_start_and_nothing_running() -> None:
    story = stimulator()
    story.do(start(WALKING))
    story.tell(Unverified(instant(1), 0, "a test", delivers=True))
    assert (story.state.programs, story.state.running) == ((), None)
