"""What lies open: continuation under any latch, two persons, waivers, looks, stale states."""

from dataclasses import replace

import pytest
from clinical_examples import ITP, SCS, WALKING, area, tonic
from kernel_bench import (
    DAY,
    HOUR,
    HOURLY,
    IDENTITY,
    MINUTE,
    SLACK,
    PumpCase,
    Story,
    bolus_nl,
    button_nl,
    fold,
    instant,
    limits_nl,
    programmed,
    pump_case,
    rules,
    start,
    stimulator,
)

from device_profiles.notation import parse_concentration
from device_profiles.quantities import Femtograms, Milliseconds
from device_profiles.therapy import DoseLimits, Drug
from safety.alarms import Alarm
from safety.commands import Ask, Override, ProgramStimulator
from safety.events import (
    Cleared,
    Connected,
    Found,
    Intended,
    Latched,
    Looked,
    MriEntered,
    MriLeft,
    Raised,
    Rejected,
    Stopped,
    Unverified,
)
from safety.kernel import Continue, step

LOCKOUT = MINUTE + SLACK
SOFT = tonic(area("E3 -100, E4 +100", "8 mA", width="500 us"))
BECAUSE = Override(("SR-41",), "clinician", "impedance mapping on the bench")


def latch(story: Story, *, past_lost: bool = False) -> None:
    story.tell(Latched(instant(story.now), "the disk is full", past_lost))


def alarm(story: Story, code: str, priority: str = "MEDIUM") -> None:
    one = Alarm(code, "HIGH" if priority == "HIGH" else "MEDIUM", "SR-55", f"it says {code}")
    story.tell(Raised(instant(story.now), one))


# --- continuation (SR-62, invariant 11) ----------------------------------------------------------

BASE = pump_case(((0, 6 * HOURLY),), button=button_nl(500))
NO_MORE = {
    "the same": BASE,
    "less": pump_case(((0, 5 * HOURLY),), button=button_nl(500)),
    "less at night": pump_case(((0, 6 * HOURLY), (720, 2 * HOURLY)), button=button_nl(500)),
    "without the button": pump_case(((0, 6 * HOURLY),)),
}
MORE = {
    "one step more": pump_case(((0, 6 * HOURLY + 1),), button=button_nl(500)),
    "more at night": pump_case(((0, 2 * HOURLY), (720, 6 * HOURLY + 1)), button=button_nl(500)),
    "a larger press": pump_case(((0, 6 * HOURLY),), button=button_nl(501)),
    "a shorter lockout": pump_case(((0, 6 * HOURLY),), button=button_nl(500, lockout=HOUR - 1)),
}


def troubled(trouble: str) -> Story:
    """A pump on its verified basal, and everything against it that guards know of."""
    story = programmed(BASE)
    if trouble in ("doubt", "everything"):
        story.ask(bolus_nl(1_000))
    if trouble in ("an unknown past", "everything"):
        story.tell(Unverified(instant(story.now), 0, "another program", True))
    if trouble in ("a magnetic field", "everything"):
        story.tell(MriEntered(instant(story.now), "technician", "as it was"))
    if trouble in ("a stop", "everything"):
        story.tell(Stopped(instant(story.now), "flow", True))
    if trouble in ("three alarms", "everything"):
        for _ in range(3):
            alarm(story, "motor-stall")
            if trouble == "three alarms":
                story.do(BASE.command)
    if trouble in ("a full disk", "everything"):
        latch(story)
    return story


@pytest.mark.requirement("SR-62")
@pytest.mark.parametrize("case", NO_MORE.values(), ids=NO_MORE.keys())
@pytest.mark.parametrize(
    "trouble",
    [
        "doubt",
        "an unknown past",
        "a magnetic field",
        "a stop",
        "three alarms",
        "a full disk",
        "everything",
    ],
)
def test_no_trouble_takes_the_verified_basal_away(trouble: str, case: object) -> None:
    story = troubled(trouble)
    assert rules(story.ask(case.command)) == []  # type: ignore[attr-defined]


@pytest.mark.requirement("SR-62")
@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("case", MORE.values(), ids=MORE.keys())
def test_a_latch_and_a_doubt_admit_nothing_that_is_more_anywhere(case: object) -> None:
    assert "SR-56" in rules(troubled("a full disk").ask(case.command))  # type: ignore[attr-defined]
    assert "SR-23" in rules(troubled("doubt").ask(case.command))  # type: ignore[attr-defined]


@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F73")
def test_where_the_past_is_lost_going_on_means_what_the_pump_itself_was_found_with() -> None:
    story = programmed(pump_case(((0, 9 * HOURLY),)))
    latch(story, past_lost=True)
    assert "SR-56" in rules(story.ask(pump_case(((0, 2 * HOURLY),)).command))
    story.tell(Found(instant(1), pump_case(((0, 4 * HOURLY),)).program))
    assert rules(story.ask(pump_case(((0, 4 * HOURLY),)).command)) == []
    assert "SR-56" in rules(story.ask(pump_case(((0, 9 * HOURLY),)).command))


@pytest.mark.requirement("SR-62")
def test_a_limit_that_was_narrowed_asks_for_a_reason_and_does_not_take_the_basal_away() -> None:
    story = programmed(pump_case(((0, 6 * HOURLY),)))
    tight = pump_case(((0, 6 * HOURLY),), limits_nl(1_000, 5_999, 9_000_000, 9_000_000))
    answer = story.ask(tight.command)
    assert isinstance(answer, Rejected)
    assert {(one.rule, one.severity) for one in answer.findings} == {("SR-05", "soft")}
    reason = Override(("SR-05",), "clinician", "weaning over a week")
    assert rules(story.ask(tight.command, reason)) == []


TITRATED = Drug(
    "ziconotide",
    parse_concentration("25 mcg/mL"),
    None,
    DoseLimits(*(Femtograms(n * 10**9) for n in (1, 5, 10, 19))),
)
BESIDE = Drug(
    "morphine", parse_concentration("1 mg/mL"), "opioid-tolerant", limits_nl(*[900_000] * 4)
)
STARTED, TITRATED_UP = (pump_case(((0, flow),), drugs=(TITRATED,)) for flow in (80_000, 160_000))
WIDER = Override(("SR-06",), "clinician", "titrated", "pharmacist")


def titrated() -> Story:
    """A pump whose ziconotide has gone above what any start may have."""
    story = programmed(STARTED)
    story.now = 2 * DAY
    story.do(TITRATED_UP.command, WIDER)
    return story


@pytest.mark.requirement("SR-63")
def test_a_second_drug_starts_without_the_first_one_starting_again() -> None:
    both = pump_case(((0, 160_000),), drugs=(TITRATED, BESIDE))
    added = Override(("SR-06", "SR-12"), "clinician", "morphine is added", "pharmacist")
    assert rules(titrated().ask(both.command, added)) == []
    back = titrated()
    back.do(pump_case(((0, 80_000),), drugs=(BESIDE,)).command, added)
    assert "SR-63" in rules(back.ask(TITRATED_UP.command, added)), "it was away in between"


@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-63")
def test_what_one_patient_is_used_to_is_a_start_for_the_next() -> None:
    story = titrated()
    less = pump_case(((0, 159_999),), drugs=(TITRATED,))
    more = pump_case(((0, 160_001),), drugs=(TITRATED,))
    both = Override(("SR-06", "SR-25"), "clinician", "the pump was moved", "pharmacist")
    assert rules(story.ask(more.command, both)) == []
    story.settle(story.ids, "refused")
    story.patient = "BENCH-013"
    assert rules(story.ask(more.command, both)) == ["SR-63"]
    assert rules(story.ask(less.command)) == [], "to go on is never refused"


@pytest.mark.requirement("SR-25")
@pytest.mark.requirement("SR-62")
def test_to_go_on_under_another_patients_file_does_not_make_it_that_patients_pump() -> None:
    story = programmed(BASE)
    story.patient = "BENCH-013"
    story.do(BASE.command)
    assert story.state.patient == "BENCH-012"
    higher = pump_case(((0, 6 * HOURLY + 1),))
    assert "SR-25" in rules(story.ask(higher.command))


@pytest.mark.requirement("SR-25")
def test_who_the_patient_is_was_asked_once_and_keeps_no_bolus_back_the_next_day() -> None:
    story = programmed(BASE)
    story.patient = "BENCH-013"
    moved = Override(("SR-06", "SR-25"), "clinician", "the pump was moved", "pharmacist")
    story.do(pump_case(((0, 6 * HOURLY + 1),)).command, moved)
    assert story.state.patient == "BENCH-013"
    story.now = 2 * DAY
    assert rules(story.ask(bolus_nl(1))) == []


@pytest.mark.requirement("SR-25")
def test_to_go_on_with_a_pump_of_nobody_known_makes_it_the_files_patients() -> None:
    story = Story()
    story.connect()
    story.tell(Unverified(instant(0), 0, "another program", True))
    story.tell(Found(instant(0), BASE.program))
    story.do(BASE.command)
    assert story.state.patient == "BENCH-012"


@pytest.mark.requirement("SR-63")
@pytest.mark.fault("F89")
def test_a_new_journal_does_not_make_a_start_of_what_the_pump_delivers_already() -> None:
    case = pump_case(((0, 6 * HOURLY),))
    fresh = Story()
    fresh.connect()
    fresh.tell(Unverified(instant(0), 0, "another program", True))
    fresh.tell(Found(instant(0), case.program))
    assert rules(fresh.ask(case.command)) == []
    assert "SR-14" in rules(fresh.ask(bolus_nl(1)))


@pytest.mark.requirement("SR-62")
def test_under_a_latch_only_the_kernels_own_word_stands_in_for_the_journal() -> None:
    story = programmed(BASE)
    latch(story)
    now = instant(story.now)
    _, (effect,) = step(story.state, Ask(now, 9, BASE.command, "BENCH-012"))
    assert isinstance(effect, Continue)
    _, (effect,) = step(story.state, Ask(now, 9, bolus_nl(1), "BENCH-012", seen=now.fast))
    assert not isinstance(effect, Continue)


# --- reasons and second persons (SR-57) ----------------------------------------------------------


def soft_program(story: Story, override: Override) -> Intended | Rejected:
    answer = story.ask(ProgramStimulator((SOFT,), SCS), override)
    if isinstance(answer, Intended):
        story.settle(answer.id)
    return answer


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize("second", [None, "", "clinician", " clinician "])
def test_the_third_override_of_one_rule_in_a_day_needs_a_second_person(second: str | None) -> None:
    story = Story()
    story.connect()
    for _ in range(2):
        assert rules(soft_program(story, BECAUSE)) == []
    assert rules(soft_program(story, replace(BECAUSE, second=second))) == ["SR-57"]
    assert rules(soft_program(story, replace(BECAUSE, second="pharmacist"))) == []
    story.now = DAY
    assert rules(soft_program(story, BECAUSE)) == ["SR-57"]
    story.now = DAY + 1
    assert rules(soft_program(story, BECAUSE)) == []


@pytest.mark.requirement("SR-57")
def test_an_override_of_a_rule_that_did_not_object_is_not_counted() -> None:
    story = Story()
    story.connect()
    for _ in range(4):
        answer = story.ask(ProgramStimulator((WALKING,), SCS), BECAUSE)
        assert isinstance(answer, Intended)
        assert answer.passed == ()
        story.settle(answer.id)
    assert rules(soft_program(story, BECAUSE)) == []


@pytest.mark.requirement("SR-57")
def test_overrides_are_remembered_over_a_restart_of_the_host() -> None:
    story = Story()
    story.connect()
    for _ in range(2):
        soft_program(story, BECAUSE)
    story.restart()
    assert rules(soft_program(story, BECAUSE)) == ["SR-57"]


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize(
    ("valid_for", "refused"),
    [(-1, True), (0, True), (1, False), (7 * DAY, False), (7 * DAY + 1, True)],
)
def test_a_reason_holds_for_a_time_that_is_more_than_nothing_and_at_most_a_week(
    valid_for: int, refused: bool
) -> None:
    story = Story()
    story.connect()
    reason = replace(BECAUSE, valid_for=Milliseconds(valid_for))
    assert rules(soft_program(story, reason)) == (["SR-57"] if refused else [])


@pytest.mark.requirement("SR-57")
def test_when_a_reason_has_ended_nothing_is_raised_or_started_until_the_file_is_applied_again() -> (
    None
):
    day = limits_nl(20_000, 600_000, 2_400_000, 19_000_000)
    high = pump_case(((0, 500 * HOURLY),), limits=day)  # 12 mg a day: above the soft limit
    story = Story()
    story.connect()
    reason = Override(("SR-04", "SR-63"), "clinician", "tolerant", valid_for=Milliseconds(2 * HOUR))
    story.do(high.command, reason)
    assert [one.rule for one in story.state.waivers] == ["SR-04", "SR-63"] or [
        one.rule for one in story.state.waivers
    ] == ["SR-04"]
    story.now = 2 * HOUR
    assert "SR-57" not in rules(story.ask(bolus_nl(1)))
    story.settle(story.ids, "refused")
    story.now = 2 * HOUR + 1
    assert "SR-57" in rules(story.ask(bolus_nl(1)))
    story.do(high.command, reason)
    assert "SR-57" not in rules(story.ask(bolus_nl(1)))


# --- a person has to look ------------------------------------------------------------------------


@pytest.mark.requirement("SR-23")
@pytest.mark.parametrize("code", ["motor-stall", "occlusion"])
def test_after_a_stall_or_an_occlusion_no_bolus_until_a_person_has_looked(code: str) -> None:
    story = programmed()
    alarm(story, code)
    story.tell(Cleared(instant(1), code))
    assert rules(story.ask(bolus_nl(1))) == ["SR-23"]
    story.restart()
    assert rules(story.ask(bolus_nl(1))) == ["SR-23"]
    story.tell(Looked(instant(2), "technician", "line is free"))
    assert rules(story.ask(bolus_nl(1))) == []


@pytest.mark.requirement("SR-34")
def test_in_a_magnetic_field_nothing_is_asked_of_a_device_until_a_person_took_it_out() -> None:
    story = programmed()
    story.tell(MriEntered(instant(0), "technician", "as it was"))
    assert rules(story.ask(bolus_nl(1))) == ["SR-34"]
    assert rules(story.ask(pump_case(((0, 7 * HOURLY),)).command)) == ["SR-34"]
    story.tell(MriLeft(instant(1), "technician", "read back equal"))
    assert rules(story.ask(bolus_nl(1))) == []


@pytest.mark.requirement("SR-34")
def test_after_a_magnetic_field_a_stimulator_starts_at_zero() -> None:
    story = stimulator()
    story.tell(MriEntered(instant(0), "technician", "as it was"))
    story.tell(MriLeft(instant(1), "technician", "read back equal"))
    assert rules(story.ask(start(WALKING))) == ["SR-50"]


@pytest.mark.requirement("SR-35")
@pytest.mark.parametrize(("apart", "refused"), [(5 * MINUTE, True), (5 * MINUTE + 1, False)])
def test_the_same_alarm_three_times_in_ten_minutes_each_after_a_new_start_ends_the_trying(
    apart: int, refused: bool
) -> None:
    story = programmed()
    for number in range(3):
        story.now = number * apart
        story.do(pump_case(((0, 6 * HOURLY),)).command)
        alarm(story, "low-battery-reset")
        alarm(story, "low-battery-reset")
    higher = pump_case(((0, 7 * HOURLY),)).command
    assert rules(story.ask(higher)) == (["SR-35"] if refused else [])
    if refused:
        story.do(pump_case(((0, 6 * HOURLY),)).command)
        story.tell(Looked(instant(story.now), "technician", "a loose cable"))
        assert rules(story.ask(higher)) == []


@pytest.mark.requirement("SR-35")
def test_an_alarm_that_goes_on_ringing_without_a_new_start_counts_once() -> None:
    story = programmed()
    for _ in range(5):
        alarm(story, "low-battery-reset")
    assert rules(story.ask(pump_case(((0, 7 * HOURLY),)).command)) == []


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F54")
@pytest.mark.fault("F55")
@pytest.mark.parametrize(
    "code", ["delivery-without-intent", "over-delivery", "odometer-fell", "free-flow"]
)
def test_after_a_delivery_that_nobody_asked_for_every_window_is_full_for_a_day(code: str) -> None:
    story = programmed()
    alarm(story, code, "HIGH")
    story.now = 2 * DAY
    assert "SR-14" in rules(story.ask(bolus_nl(1))), "it still lasts"
    story.tell(Cleared(instant(story.now), code))
    story.now = 3 * DAY - 1
    assert "SR-14" in rules(story.ask(bolus_nl(1)))
    story.now = 3 * DAY
    assert rules(story.ask(bolus_nl(1))) == []


# --- approvals (SR-58) ---------------------------------------------------------------------------


@pytest.mark.requirement("SR-58")
@pytest.mark.parametrize("case", [BASE, MORE["one step more"]], ids=["going on", "more"])
def test_what_was_approved_is_void_once_the_epoch_has_moved(case: PumpCase) -> None:
    story = programmed(BASE)
    approved = story.state.epoch
    now = instant(story.now)
    ask = Ask(now, 9, case.command, "BENCH-012", seen=now.fast, epoch=approved)
    _, (effect,) = step(story.state, ask)
    assert isinstance(effect.event, Intended)  # type: ignore[union-attr]
    story.do(BASE.command)  # another operator was quicker
    assert story.state.epoch != approved
    _, (effect,) = step(story.state, ask)
    event = effect.event  # type: ignore[union-attr]
    assert isinstance(event, Rejected)
    assert [(one.rule, one.severity) for one in event.findings] == [("SR-58", "hard")]
    _, (effect,) = step(story.state, replace(ask, epoch=None))
    assert isinstance(effect.event, Intended)  # type: ignore[union-attr]


# --- stale states (SR-52), lockout (SR-15) -------------------------------------------------------


@pytest.mark.requirement("SR-52")
@pytest.mark.parametrize(
    ("age", "refused"),
    [(None, True), (-1, True), (0, False), (3 * ITP.poll, False), (3 * ITP.poll + 1, True)],
)
def test_a_bolus_is_judged_only_by_what_the_pump_showed_just_now(
    age: int | None, refused: bool
) -> None:
    story = programmed()
    now = instant(10, fast=100_000)
    seen = None if age is None else Milliseconds(now.fast - age)
    _, (effect,) = step(story.state, Ask(now, 9, bolus_nl(1), "BENCH-012", seen=seen))
    event = effect.event  # type: ignore[union-attr]
    assert isinstance(event, Rejected) == refused
    if isinstance(event, Rejected):
        assert [one.rule for one in event.findings] == ["SR-52"]


@pytest.mark.requirement("SR-52")
def test_a_lower_basal_needs_no_fresh_state() -> None:
    story = programmed()
    now = instant(10, fast=100_000)
    command = pump_case(((0, 2 * HOURLY),)).command
    _, (effect,) = step(story.state, Ask(now, 9, command, "BENCH-012", seen=None))
    assert isinstance(effect.event, Intended)  # type: ignore[union-attr]


@pytest.mark.requirement("SR-15")
@pytest.mark.requirement("SR-16")
@pytest.mark.fault("F1")
@pytest.mark.fault("F61")
@pytest.mark.parametrize("origin", [0, 10**12])
@pytest.mark.parametrize(
    ("over", "wait"), [(MINUTE // 2, LOCKOUT), (10 * MINUTE, 10 * MINUTE + SLACK)]
)
@pytest.mark.parametrize("later", [-1, 0, 1])
def test_the_next_bolus_waits_for_the_lockout_and_for_the_end_of_the_one_before(
    origin: int, over: int, wait: int, later: int
) -> None:
    story = programmed(at=origin)
    story.do(bolus_nl(1, over=over))
    story.now = origin + wait + later
    assert rules(story.ask(bolus_nl(1))) == (["SR-15"] if later < 0 else [])


@pytest.mark.requirement("SR-15")
@pytest.mark.parametrize("outcome", ["delivered", "UNCERTAIN"])
def test_the_lockout_begins_with_the_intent_whatever_became_of_it(outcome: str) -> None:
    story = programmed()
    intent = story.ask(bolus_nl(1))
    story.settle(intent.id, "UNCERTAIN")
    story.now = LOCKOUT - 1
    story.settle(intent.id, "delivered")
    assert rules(story.ask(bolus_nl(1))) == ["SR-15"]


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F58")
def test_a_restart_of_the_host_does_not_shorten_the_lockout() -> None:
    story = programmed()
    story.do(bolus_nl(1))
    story.restart()
    story.connect(boot=2)
    story.now = LOCKOUT - 1
    assert rules(story.ask(bolus_nl(1))) == ["SR-15"]


@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F91")
def test_small_boluses_as_fast_as_possible_end_at_the_devices_count_of_a_day() -> None:
    story = programmed()
    given = 0
    while story.now < DAY - 20 * MINUTE:
        answer = story.ask(bolus_nl(1))
        if isinstance(answer, Intended):
            given += 1
            story.settle(answer.id)
        else:
            assert set(rules(answer)) == {"SR-05"}
        story.now += 10 * MINUTE
    assert given == ITP.boluses_per_day_max
    story.now = DAY + MINUTE + SLACK + 1
    assert rules(story.ask(bolus_nl(1))) == []


def test_a_journal_folds_to_the_same_state_with_all_that_lies_open() -> None:
    story = troubled("everything")
    assert fold(story.journal) == story.state


@pytest.mark.requirement("SR-14")
def test_after_an_unknown_program_any_may_be_applied_and_no_higher_one_for_a_day_after() -> None:
    story = programmed(pump_case(((0, 2 * HOURLY),)))
    story.tell(Unverified(instant(0), 0, "another program", True))
    story.do(pump_case(((0, 5 * HOURLY),)).command)
    higher = pump_case(((0, 6 * HOURLY),)).command
    assert rules(story.ask(higher)) == ["SR-14"]
    story.do(pump_case(((0, 4 * HOURLY),)).command)
    story.now = DAY
    story.do(higher)


@pytest.mark.requirement("SR-52")
def test_on_a_fast_simulator_a_state_grows_old_by_the_time_of_the_line() -> None:
    story = programmed()
    fast = replace(IDENTITY, speed=1_800)
    story.tell(Connected(instant(0), fast, 1, True, Milliseconds(0), True))
    for age, refused in ((3 * ITP.poll * 1_800, False), (3 * ITP.poll * 1_800 + 1, True)):
        now = instant(10, fast=10**9)
        ask = Ask(now, 9, bolus_nl(1), "BENCH-012", seen=Milliseconds(now.fast - age))
        _, (effect,) = step(story.state, ask)
        assert isinstance(effect.event, Rejected) == refused  # type: ignore[union-attr]
