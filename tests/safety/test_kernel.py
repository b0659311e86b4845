"""The kernel: pure, recorded as decided, and each of its rules that need a history at its edge."""

from dataclasses import replace
from typing import Any, Literal

import pytest
from clinical_examples import NIGHT, SCS, WALKING, area, tonic
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import (
    DAY,
    GOOD_OHMS,
    HOUR,
    HOURLY,
    MINUTE,
    SECOND,
    SLACK,
    TEST_PULSES,
    PumpCase,
    Story,
    bolus_nl,
    button_nl,
    flowing,
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
from device_profiles.quantities import MicroAmps, Microseconds, Milliseconds, Ohms
from device_profiles.therapy import Drug
from safety.alarms import Alarm
from safety.commands import (
    Ask,
    ChangeAmplitude,
    Command,
    MeasureImpedance,
    Override,
    ProgramStimulator,
)
from safety.dose import worst_case_over
from safety.events import (
    Event,
    Intended,
    Latched,
    Lowered,
    Measured,
    Outcome,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.journal import decode_event, encode_event
from safety.kernel import Continue, Grant, Record, Refuse, Sound, step
from safety.outputs import Stimulation
from safety.state import DELIVERY_SLACK, State

LARGE = 10**12
"""A device that has run for thirty years."""
STARTS = pytest.mark.parametrize("origin", [0, LARGE])

SOFT = tonic(area("E3 -100, E4 +100", "8 mA", width="500 us"))
"""32.7 uC/cm2: above the soft density, far below the hard one."""
LOCKOUT = MINUTE + SLACK
"""From the intent of a bolus until the next one may follow."""
BECAUSE = Override(("SR-41",), "clinician", "impedance mapping on the bench")


# --- pure, recorded as decided ----------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [pump_case().command, pump_case(((0, 1),)).command], ids=["legal", "illegal"]
)
def test_asking_changes_no_state_and_the_same_question_has_the_same_answer(
    command: Command,
) -> None:
    state = State()
    ask = Ask(instant(5), 1, command, "BENCH-012")
    after, effects = step(state, ask)
    assert after is state
    assert step(state, ask) == (state, effects)
    assert state == State()


@pytest.mark.requirement("SR-56")
def test_an_admitted_command_is_to_be_recorded_durably_before_anything_else() -> None:
    _, effects = step(State(), Ask(instant(5), 7, pump_case().command, "BENCH-012"))
    (record,) = effects
    assert isinstance(record, Record)
    assert record.durable
    assert isinstance(record.event, Intended)
    assert record.event.id == 7
    assert record.event.outputs == (pump_case().program,)
    assert step(State(), record.event)[1] == (Grant(record.event),)


@pytest.mark.requirement("SR-56")
def test_a_refused_command_is_recorded_with_every_finding_and_grants_nothing() -> None:
    command = pump_case(((0, 1),), limits_nl(0, 0, 0, 0)).command
    _, effects = step(State(), Ask(instant(5), 7, command, "BENCH-012"))
    (record,) = effects
    assert isinstance(record, Record)
    assert isinstance(record.event, Rejected)
    assert not record.durable
    assert {one.rule for one in record.event.findings} == {"SR-04", "SR-05", "SR-07"}
    state, effects = step(State(), record.event)
    assert state == State()
    assert effects == (Refuse(record.event.findings),)


def test_an_alarm_is_sounded_and_kept_on_the_board() -> None:
    alarm = Alarm("a", "HIGH", "SR-54", "b")
    state, effects = step(State(), Raised(instant(1), alarm))
    assert effects == (Sound(alarm),)
    assert [one.alarm for one in state.alarms] == [alarm]


# --- SR-41, SR-57: soft and hard --------------------------------------------------------------


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize(
    ("override", "refused"),
    [
        (None, True),
        (BECAUSE, False),
        (replace(BECAUSE, reason=""), True),
        (replace(BECAUSE, reason=" \n"), True),
        (replace(BECAUSE, rules=()), True),
        (replace(BECAUSE, rules=("SR-44",)), True),
        (replace(BECAUSE, rules=("SR-44", "SR-41")), False),
    ],
)
def test_a_soft_finding_needs_a_reason_for_its_own_rule(
    override: Override | None, refused: bool
) -> None:
    story = Story()
    answer = story.ask(ProgramStimulator((SOFT,), SCS), override)
    assert isinstance(answer, Rejected) == refused
    assert set(rules(answer)) == ({"SR-41"} if refused else set())
    if isinstance(answer, Intended):
        assert answer.override == override


@pytest.mark.requirement("SR-57")
def test_an_override_without_a_user_is_no_override() -> None:
    answer = Story().ask(ProgramStimulator((SOFT,), SCS), replace(BECAUSE, user=" "))
    assert rules(answer)


@pytest.mark.requirement("SR-57")
def test_no_reason_passes_a_hard_finding() -> None:
    over = tonic(area(amplitude="12.8 mA", width="20 us"))
    everything = Override(tuple(f"SR-{n:02}" for n in range(1, 64)), "clinician", "because")
    answer = Story().ask(ProgramStimulator((over,), SCS), everything)
    assert set(rules(answer)) == {"SR-46"}


@pytest.mark.requirement("SR-57")
def test_a_reason_passes_the_soft_finding_and_leaves_the_hard_one_standing() -> None:
    both = tonic(area(amplitude="12.8 mA", width="400 us"))
    answer = Story().ask(ProgramStimulator((both,), SCS), BECAUSE)
    assert set(rules(answer)) == {"SR-46"}


# --- SR-56: a latch ---------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
def test_after_a_latch_no_bolus_and_no_increase_is_admitted_and_the_reason_is_told() -> None:
    story = programmed()
    assert rules(story.ask(bolus_nl(1))) == []
    story.settle(story.ids)
    story.now += LOCKOUT
    story.tell(Latched(instant(1), "the disk is full", past_lost=False))
    for command in (bolus_nl(1), pump_case(((0, 7 * HOURLY),)).command):
        answer = story.ask(command)
        assert isinstance(answer, Rejected)
        assert [(one.rule, one.severity) for one in answer.findings] == [("SR-56", "hard")]
        assert answer.findings[0].message == "the disk is full"


@pytest.mark.requirement("SR-62")
def test_after_a_latch_the_verified_basal_may_still_be_applied_again_without_a_journal() -> None:
    state = fold([*programmed().journal, Latched(instant(1), "the disk is full", past_lost=False)])
    _, effects = step(state, Ask(instant(1), 9, pump_case().command, "BENCH-012"))
    (effect,) = effects
    assert isinstance(effect, Continue)
    assert effect.intent.outputs == (pump_case().program,)


# --- SR-23: doubt blocks ----------------------------------------------------------------------


@pytest.mark.requirement("SR-23")
@pytest.mark.parametrize("told", [None, "UNCERTAIN"])
@pytest.mark.fault("F30")
def test_while_it_is_not_known_what_became_of_a_command_nothing_more_is_admitted(
    told: Literal["UNCERTAIN"] | None,
) -> None:
    story = programmed()
    doubtful = story.ask(bolus_nl(1))
    if told is not None:
        story.settle(doubtful.id, told)
        story.settle(doubtful.id, told)
    story.now += LOCKOUT
    for command in (bolus_nl(1), pump_case(((0, 7 * HOURLY),)).command):
        answer = story.ask(command)
        assert isinstance(answer, Rejected)
        assert rules(answer) == ["SR-23"]
        assert "UNCERTAIN" in answer.findings[0].message
        assert "counts as delivered" in answer.findings[0].message
    story.restart()
    assert rules(story.ask(bolus_nl(1))) == ["SR-23"]


@pytest.mark.requirement("SR-23")
@pytest.mark.parametrize("outcome", ["delivered", "refused"])
def test_the_devices_answer_ends_the_doubt(outcome: Outcome) -> None:
    story = programmed()
    doubtful = story.ask(bolus_nl(1))
    story.settle(doubtful.id, "UNCERTAIN")
    story.settle(doubtful.id, outcome)
    story.now += LOCKOUT
    assert rules(story.ask(bolus_nl(1))) == []


@pytest.mark.requirement("SR-23")
@pytest.mark.fault("F34")
def test_an_answer_about_another_id_settles_nothing() -> None:
    story = programmed()
    doubtful = story.ask(bolus_nl(1))
    before = story.state
    story.settle(doubtful.id + 1, "refused")
    assert story.state == before
    story.now += LOCKOUT
    assert rules(story.ask(bolus_nl(1))) == ["SR-23"]


# --- reservations -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        ((), True),
        (("UNCERTAIN",), True),
        (("delivered",), True),
        (("UNCERTAIN", "delivered"), True),
        (("refused",), False),
        (("UNCERTAIN", "refused"), False),
        (("delivered", "refused"), True),
    ],
)
@pytest.mark.fault("F30")
@pytest.mark.fault("F31")
def test_only_a_proof_that_nothing_was_given_frees_a_dose(
    outcomes: tuple[Outcome, ...], kept: bool
) -> None:
    story = programmed()
    other = story.do(bolus_nl(3))
    story.now += LOCKOUT
    intent = story.ask(bolus_nl(2))
    for outcome in outcomes:
        story.settle(intent.id, outcome)
    held = {one.id for one in story.state.reservations}
    assert held == ({other.id, intent.id} if kept else {other.id})


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F30")
def test_a_dose_is_counted_from_its_intent_until_the_latest_time_at_which_it_can_end() -> None:
    story = programmed(at=LARGE)
    intent = story.ask(bolus_nl(2, over=10 * MINUTE))
    assert isinstance(intent, Intended)
    assert intent.latest_end == LARGE + 10 * MINUTE + SLACK
    (reservation,) = story.state.reservations
    assert reservation.latest_end == intent.latest_end
    assert reservation.most_of("morphine") == 2_000_000


WINDOWS = pytest.mark.parametrize(
    ("window", "limits"),
    [
        (HOUR, limits_nl(5_000, 11_000, 9_000_000, 9_000_000)),
        (4 * HOUR, limits_nl(5_000, 29_000, 29_000, 9_000_000)),
        (DAY, limits_nl(5_000, 149_000, 149_000, 149_000)),
    ],
    ids=["1 h", "4 h", "24 h"],
)
"""Room for one bolus of 5,000 nL over a basal of 6,000 nL/h, and for not one nL more."""


@pytest.mark.requirement("SR-14")
@STARTS
@WINDOWS
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.fault("F1")
@pytest.mark.fault("F62")
def test_a_full_window_admits_the_limit_and_not_one_nanolitre_more(
    origin: int, window: int, limits: Any, more: int
) -> None:
    wide = replace(limits, per_bolus=limits.per_hour)
    story = programmed(pump_case(limits=wide), at=origin)
    story.now += 10 * MINUTE
    answer = story.ask(bolus_nl(5_000 + more))
    assert set(rules(answer)) == ({"SR-14"} if more > 0 else set())


@pytest.mark.requirement("SR-14")
@STARTS
@WINDOWS
@pytest.mark.parametrize("later", [-1, 0, 1])
@pytest.mark.fault("F61")
def test_an_earlier_dose_leaves_a_window_one_millisecond_after_its_latest_end(
    origin: int, window: int, limits: Any, later: int
) -> None:
    story = programmed(pump_case(limits=limits), at=origin)
    first = story.do(bolus_nl(5_000, over=10 * MINUTE))
    assert first.latest_end is not None
    story.now = first.latest_end + window + later
    answer = story.ask(bolus_nl(1))
    assert set(rules(answer)) == ({"SR-14"} if later <= 0 else set())


@pytest.mark.requirement("SR-05")
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.fault("F1")
def test_one_bolus_is_held_against_its_own_limit(more: int) -> None:
    limits = limits_nl(5_000, 1_000_000, 4_000_000, 9_000_000)
    story = programmed(pump_case(limits=limits))
    answer = story.ask(bolus_nl(5_000 + more))
    assert set(rules(answer)) == ({"SR-05"} if more > 0 else set())


@pytest.mark.requirement("SR-14")
def test_earlier_doses_add_up_over_the_patients_whole_worst_case() -> None:
    button = button_nl(1_000, over=MINUTE, lockout=30 * MINUTE, most=48)
    limits = limits_nl(5_000, 12_000, 9_000_000, 9_000_000)
    story = programmed(pump_case(limits=limits, button=button))
    assert rules(story.ask(bolus_nl(4_001))) == ["SR-14"]  # 6,000 basal, 2,000 presses
    story.do(bolus_nl(3_000))
    story.now += LOCKOUT
    assert rules(story.ask(bolus_nl(1_001))) == ["SR-14"]
    story.do(bolus_nl(1_000))
    story.now += LOCKOUT
    assert rules(story.ask(bolus_nl(1))) == ["SR-14"]


@pytest.mark.requirement("SR-22")
def test_a_bolus_before_any_program_was_verified_is_refused() -> None:
    story = Story()
    assert rules(story.ask(bolus_nl(1))) == ["SR-22"]
    story.ask(pump_case().command)
    assert "SR-22" in rules(story.ask(bolus_nl(1)))
    story.settle(2, "refused")
    assert rules(story.ask(bolus_nl(1))) == ["SR-22"]


# --- golden 8.6 -------------------------------------------------------------------------------

GOLDEN = pump_case(((0, 6 * HOURLY),), limits_nl(5_000, 10_000, 9_000_000, 9_000_000))
"""W = 60 min, limit 10, basal 6/h; one unit is 1,000 nL."""


@pytest.mark.requirement("SR-14")
@STARTS
@pytest.mark.parametrize("restarted", [False, True], ids=["fresh", "stop and start at 9 min"])
@pytest.mark.vector("V8.6")
@pytest.mark.fault("F62")
def test_golden_8_6_the_full_window_refuses_the_bolus_that_the_naive_rule_grants(
    origin: int, restarted: bool
) -> None:
    story = programmed(GOLDEN, at=origin)
    if restarted:
        story.now = origin + 9 * MINUTE
        story.tell(Stopped(instant(story.now), "flow", True))
        story.restart()
        story.connect(boot=2)
        story.do(GOLDEN.command)
    story.now = origin + 10 * MINUTE
    answer = story.ask(bolus_nl(5_000))
    assert isinstance(answer, Rejected)
    (finding,) = answer.findings
    assert (finding.rule, finding.severity, finding.source) == ("SR-14", "hard", "patient")
    assert (finding.value, finding.limit) == ("11 mcg", "10 mcg")
    assert rules(story.ask(bolus_nl(4_000))) == []


@pytest.mark.vector("V8.6")
def test_golden_8_6_the_naive_rule_would_have_granted_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def delivered_so_far(programs: Any, window: int) -> int:
        return worst_case_over(programs, Milliseconds(10 * MINUTE))

    monkeypatch.setattr("safety.rules_windows.worst_case_over", delivered_so_far)
    story = programmed(GOLDEN)
    story.now = 10 * MINUTE
    assert rules(story.ask(bolus_nl(5_000))) == []


# --- a pump's next program ---------------------------------------------------------------------

FULL = limits_nl(10_000, 20_000, 9_000_000, 9_000_000)


def full_pump() -> Story:
    """6,000 nL/h under a limit of 20,000 nL/h, 10,000 nL given just now: room for 4,000."""
    story = programmed(pump_case(limits=FULL))
    story.do(bolus_nl(10_000))
    story.now += LOCKOUT
    return story


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_higher_basal_must_leave_room_for_the_boluses_already_given(more: int) -> None:
    story = full_pump()
    # 24 nL/day more than 10,000 nL/h is 1 nL/h over
    answer = story.ask(pump_case(((0, 10 * HOURLY + 24 * more),), FULL).command)
    assert set(rules(answer)) == ({"SR-14"} if more > 0 else set())


@pytest.mark.requirement("SR-62")
@pytest.mark.parametrize(
    "next_basal",
    [
        ((0, 6 * HOURLY),),
        ((0, 5 * HOURLY),),
        ((0, 6 * HOURLY), (720, 2 * HOURLY)),
        ((300, 2 * HOURLY), (301, 6 * HOURLY)),
    ],
)
def test_a_basal_that_is_nowhere_higher_is_admitted_with_the_windows_over_full(
    next_basal: tuple[tuple[int, int], ...],
) -> None:
    tight = limits_nl(10_000, 20_000, 9_000_000, 9_000_000)
    story = full_pump()
    story.do(bolus_nl(4_000))  # the window is full to the last nL
    story.now += LOCKOUT
    assert rules(story.ask(bolus_nl(1))) == ["SR-14"]
    assert rules(story.ask(pump_case(next_basal, tight).command)) == []


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(
    "next_basal",
    [
        ((0, 6 * HOURLY + 24),),
        ((0, 2 * HOURLY), (1439, 6 * HOURLY + 1440 * 24)),
        ((300, 2 * HOURLY), (1000, 6 * HOURLY + 24)),
    ],
)
def test_a_basal_that_is_higher_anywhere_is_held_against_the_windows(
    next_basal: tuple[tuple[int, int], ...],
) -> None:
    story = full_pump()
    story.do(bolus_nl(4_000))
    assert set(rules(story.ask(pump_case(next_basal, FULL).command))) <= {"SR-14"}
    worst = max(flow for _, flow in next_basal)
    if worst == 6 * HOURLY + 24:
        assert rules(story.ask(pump_case(next_basal, FULL).command)) == ["SR-14"]


@pytest.mark.requirement("SR-14")
def test_a_button_that_was_not_there_is_more_even_over_a_lower_basal() -> None:
    story = full_pump()
    story.do(bolus_nl(4_000))
    case = pump_case(((0, 5 * HOURLY),), FULL, button_nl(1_001, lockout=HOUR, most=24))
    assert rules(story.ask(case.command)) == ["SR-14"]


@pytest.mark.requirement("SR-14")
def test_after_a_lower_basal_an_hour_that_still_holds_the_higher_one_is_counted_with_it() -> None:
    story = programmed(pump_case(((0, 18 * HOURLY),), FULL))
    story.now = HOUR
    story.do(pump_case(((0, 2 * HOURLY),), FULL).command)
    # The last hour holds 18,000 nL; a bolus of 10,000 makes 28,000 where 20,000 are allowed.
    assert rules(story.ask(bolus_nl(10_000))) == ["SR-14"]


@pytest.mark.requirement("SR-14")
def test_two_schedules_whose_peaks_meet_in_one_window_are_judged_together() -> None:
    limits = limits_nl(10_000, 50_000, 170_000, 280_000)
    morning = pump_case(((0, 20 * HOURLY), (720, 2 * HOURLY)), limits)
    evening = pump_case(((0, 2 * HOURLY), (720, 20 * HOURLY)), limits)
    story = programmed(morning)
    story.now = 12 * HOUR  # 240,000 nL since midnight; 240,000 more until the next
    assert "SR-14" in rules(story.ask(evening.command))


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("later", "refused"), [(0, True), (DAY, True), (DAY + 1, False)])
def test_a_replaced_program_counts_from_the_moment_its_successor_was_proved(
    later: int, refused: bool
) -> None:
    limits = limits_nl(200_000, 450_000, 450_000, 450_000)
    story = programmed(pump_case(((0, 18 * HOURLY),), limits))
    story.now = HOUR
    change = story.ask(pump_case(((0, 2 * HOURLY),), limits).command)
    story.now = 2 * HOUR  # until now it may have been the old one that ran
    story.settle(change.id)
    story.now += later
    assert rules(story.ask(bolus_nl(20_000, 10 * MINUTE))) == (["SR-14"] if refused else [])


@pytest.mark.requirement("SR-14")
def test_presses_of_two_buttons_in_one_window_are_judged_together() -> None:
    limits = limits_nl(5_000, 7_000, 9_000_000, 9_000_000)
    slow = pump_case(((0, 2 * HOURLY),), limits, button_nl(5_000, MINUTE, HOUR, 24))
    quick = pump_case(((0, 2 * HOURLY),), limits, button_nl(1_000, MINUTE, 12 * MINUTE, 120))
    story = programmed(slow)
    story.now = 2 * HOUR
    # Pressed just before the change: 5,000; then, the lockout begun anew, 1,000 at 12, 24, 36 and
    # 48 min. With 2,000 of basal the hour holds 11,000 nL.
    assert "SR-14" in rules(story.ask(quick.command))


@pytest.mark.requirement("SR-14")
def test_a_program_found_to_differ_is_forgotten_neither_in_its_basal_nor_in_its_drugs() -> None:
    story = programmed(pump_case(((0, 18 * HOURLY),), FULL))
    story.now = HOUR
    story.tell(Unverified(instant(HOUR), 0, "a test", False))
    assert rules(story.ask(bolus_nl(1))) == ["SR-22"]
    assert rules(story.ask(other_drugs().command)) == ["SR-12"]
    story.do(pump_case(((0, 2 * HOURLY),), FULL).command)
    assert rules(story.ask(bolus_nl(10_000))) == ["SR-14"]


@pytest.mark.requirement("SR-14")
def test_after_an_unknown_program_ran_every_window_is_full_for_a_day() -> None:
    story = programmed(pump_case(((0, 2 * HOURLY),), FULL))
    story.now = HOUR
    story.tell(Unverified(instant(HOUR), 0, "the device holds another program", True))
    story.do(pump_case(((0, 2 * HOURLY),), FULL).command)
    assert "SR-14" in rules(story.ask(bolus_nl(10_000)))


def other_drugs(name: str = "morphine", concentration: str = "2 mg/mL") -> PumpCase:
    limits = limits_nl(1_000_000, 1_000_000, 4_000_000, 9_000_000)
    strength = parse_concentration(concentration)
    return pump_case(drugs=(Drug(name, strength, "opioid-tolerant", limits),))


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    "case",
    [
        other_drugs(concentration="2 mg/mL"),
        other_drugs(concentration="0.5 mg/mL"),
        other_drugs("fentanyl", "1 mg/mL"),
    ],
    ids=["stronger", "weaker", "another drug"],
)
@pytest.mark.fault("F27")
def test_other_drugs_than_those_in_the_tubing_need_a_waiver_that_is_recorded(
    case: PumpCase,
) -> None:
    story = programmed()
    assert rules(story.ask(case.command)) == ["SR-12"]
    waiver = Override(("SR-12",), "clinician", "flushed by hand", second="pharmacist")
    answer = story.ask(case.command, waiver)
    assert isinstance(answer, Intended)
    assert answer.override == waiver


@pytest.mark.requirement("SR-12")
def test_one_drug_more_or_one_less_needs_a_bridge_too() -> None:
    limits = limits_nl(1_000_000, 1_000_000, 4_000_000, 9_000_000)
    one = Drug("morphine", parse_concentration("1 mg/mL"), "opioid-tolerant", limits)
    two = Drug("fentanyl", parse_concentration("1 mg/mL"), "opioid-tolerant", limits)
    for first, then in (((one,), (one, two)), ((one, two), (one,))):
        story = programmed(pump_case(drugs=first))
        assert rules(story.ask(pump_case(drugs=then).command)) == ["SR-12"]


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize("tight", [0, 1], ids=["first drug", "second drug"])
@pytest.mark.parametrize("more", [0, 1])
def test_each_drug_of_a_mixture_is_held_against_its_own_limit(tight: int, more: int) -> None:
    wide = limits_nl(1_000_000, 1_000_000, 4_000_000, 9_000_000)
    own = limits_nl(11_000, 11_000, 4_000_000, 9_000_000)
    drugs = tuple(
        Drug(name, parse_concentration("1 mg/mL"), "opioid-tolerant", own if i == tight else wide)
        for i, name in enumerate(("morphine", "fentanyl"))
    )
    story = programmed(pump_case(drugs=drugs))
    assert rules(story.ask(bolus_nl(5_000 + more))) == (["SR-14"] if more else [])


# --- a stimulator's programs --------------------------------------------------------------------


def running() -> Story:
    story = stimulator()
    story.do(start(WALKING))
    return story


@pytest.mark.requirement("SR-45")
def test_no_program_changes_while_the_output_is_on() -> None:
    story = running()
    command = ProgramStimulator((WALKING, NIGHT), SCS)
    assert rules(story.ask(command)) == ["SR-45"]
    story.tell(Stopped(instant(1), "hold", True))
    assert rules(story.ask(command)) == []


@pytest.mark.requirement("SR-44")
def test_a_wider_pulse_under_an_old_ceiling_asks_for_a_reason() -> None:
    story = stimulator()
    wider = replace(WALKING.areas[0], pulse_width=Microseconds(220))
    command = ProgramStimulator((replace(WALKING, areas=(wider,)),), SCS)
    assert rules(story.ask(command)) == ["SR-44"]
    assert rules(story.ask(command, Override(("SR-44",), "clinician", "found anew"))) == []


@pytest.mark.requirement("SR-22")
def test_only_a_program_that_was_read_back_equal_may_start() -> None:
    story = stimulator()
    less = replace(WALKING, areas=(replace(WALKING.areas[0], amplitude=MicroAmps(4_100)),))
    assert rules(story.ask(start(less))) == ["SR-22"]
    assert rules(story.ask(start(WALKING))) == []


@pytest.mark.requirement("SR-22")
@pytest.mark.parametrize("outcome", ["refused", "UNCERTAIN"])
def test_a_program_that_was_not_proved_to_have_arrived_does_not_start(outcome: Outcome) -> None:
    story = Story()
    story.connect()
    answer = story.ask(ProgramStimulator((WALKING,), SCS))
    story.settle(answer.id, outcome)
    assert "SR-22" in rules(story.ask(start(WALKING)))


@pytest.mark.requirement("SR-47")
@pytest.mark.parametrize(
    ("age", "refused"),
    [
        (0, False),
        (SCS.impedance.fresh_for - 1, False),
        (SCS.impedance.fresh_for, False),
        (SCS.impedance.fresh_for + 1, True),
        (-1, True),
    ],
)
@STARTS
def test_a_start_needs_impedances_that_are_fresh(origin: int, age: int, refused: bool) -> None:
    story = stimulator(at=origin)
    story.now = origin + age
    assert rules(story.ask(start(WALKING))) == (["SR-47"] if refused else [])


@pytest.mark.requirement("SR-47")
def test_the_age_of_a_measurement_is_read_from_the_fast_clock() -> None:
    story = stimulator()
    now = instant(1, fast=SCS.impedance.fresh_for + 1)
    late = Ask(now, 99, start(WALKING), "BENCH-007", seen=now.fast)
    _, (effect,) = step(story.state, late)
    assert isinstance(effect, Record)
    assert isinstance(effect.event, Rejected)


@pytest.mark.requirement("SR-47")
def test_a_new_conversation_needs_a_new_measurement() -> None:
    story = stimulator()
    story.connect()
    assert rules(story.ask(start(WALKING))) == ["SR-47"]


@pytest.mark.requirement("SR-47")
@pytest.mark.parametrize(
    ("ohms", "refused"), [(99, True), (100, False), (1_000, False), (10_001, True)]
)
def test_a_contact_in_use_is_neither_short_nor_open(ohms: int, refused: bool) -> None:
    small = tonic(area("E3 -100, E4 +100", "0.1 mA"))
    story = stimulator((small,), ohms=False)
    story.tell(Measured(instant(0), 1, (*GOOD_OHMS[:2], Ohms(ohms), *GOOD_OHMS[3:])))
    assert rules(story.ask(start(small))) == (["SR-47"] if refused else [])


@pytest.mark.requirement("SR-45")
def test_no_program_starts_while_another_one_runs() -> None:
    story = running()
    assert "SR-45" in rules(story.ask(start(NIGHT)))


# --- amplitude --------------------------------------------------------------------------------


def change(stimulation: Stimulation) -> ChangeAmplitude:
    return ChangeAmplitude(stimulation, SCS)


def at(*amplitudes: int) -> Stimulation:
    return Stimulation(WALKING, tuple(MicroAmps(one) for one in amplitudes))


@pytest.mark.requirement("SR-45")
def test_while_the_output_is_off_there_is_no_amplitude_to_change() -> None:
    assert rules(stimulator().ask(change(at(1_000)))) == ["SR-45"]


@pytest.mark.requirement("SR-45")
@pytest.mark.parametrize(
    "other",
    [
        {"ramp": Milliseconds(5_000)},
        {"rate": 60_000},
        {"slot": 2},
        {"pause": Milliseconds(91_000)},
        {"name": "other"},
    ],
)
def test_while_the_output_is_on_only_the_amplitude_may_change(other: dict[str, Any]) -> None:
    story = running()
    changed = Stimulation(replace(WALKING, **other), (MicroAmps(4_000),))
    assert rules(story.ask(change(changed))) == ["SR-45"]


@pytest.mark.requirement("SR-40")
@pytest.mark.parametrize(
    ("amplitude", "refused"),
    [(5_900, []), (6_000, []), (6_100, ["SR-40"]), (4_250, ["SR-40"]), (-100, ["SR-40"])],
)
@pytest.mark.fault("F1")
@pytest.mark.fault("F2")
@pytest.mark.fault("F10")
def test_an_amplitude_stays_within_the_patients_ceiling_and_the_devices_steps(
    amplitude: int, refused: list[str]
) -> None:
    assert rules(running().ask(change(at(amplitude)))) == refused


@pytest.mark.requirement("SR-47")
def test_a_host_that_finds_the_output_on_raises_nothing_before_it_has_measured() -> None:
    story = running()
    story.connect(boot=1, delivering=True)
    answer = story.ask(change(at(4_300)))
    assert isinstance(answer, Rejected)
    found = [(one.rule, one.severity, one.hint) for one in answer.findings]
    assert found == [("SR-47", "hard", "stop it and measure")]


@pytest.mark.requirement("SR-47")
def test_an_amplitude_is_not_raised_to_what_the_voltage_cannot_drive() -> None:
    program = tonic(area("E3 -100, case +100", "1 mA", "10 mA", "50 us"))
    story = stimulator((program,), ohms=False)
    story.tell(Measured(instant(0), 1, tuple(Ohms(1_600) for _ in GOOD_OHMS)))
    story.do(start(program))
    raised = Stimulation(program, (MicroAmps(10_000),))  # 16 V
    assert rules(story.ask(change(raised))) == ["SR-47"]


@pytest.mark.requirement("SR-47")
@pytest.mark.vector("V8.8")
def test_golden_8_8_the_same_amplitude_does_not_start() -> None:
    program = tonic(area("E3 -100, case +100", "10 mA", "10 mA", "50 us"))
    story = stimulator((program,), ohms=False)
    story.tell(Measured(instant(0), 1, tuple(Ohms(1_600) for _ in GOOD_OHMS)))
    assert rules(story.ask(start(program))) == ["SR-47"]


def test_what_was_proved_to_flow_is_what_runs() -> None:
    story = running()
    assert story.state.running == flowing(WALKING)
    raised = story.ask(change(at(5_000)))
    assert story.state.running == flowing(WALKING)
    story.settle(raised.id, "delivered")
    assert story.state.running == at(5_000)
    story.tell(Lowered(instant(1), (MicroAmps(2_000),)))
    assert story.state.running == at(2_000)


def test_lowering_what_does_not_run_changes_nothing() -> None:
    story = stimulator()
    before = story.state
    story.tell(Lowered(instant(1), (MicroAmps(0),)))
    assert story.state == before


# --- impedance --------------------------------------------------------------------------------


@pytest.mark.requirement("SR-45")
def test_a_measurement_needs_the_output_off() -> None:
    story = running()
    assert rules(story.ask(MeasureImpedance(TEST_PULSES, SCS))) == ["SR-45"]


@pytest.mark.requirement("SR-47")
@pytest.mark.parametrize(
    ("field", "more", "refused"),
    [
        ("current", 0, False),
        ("current", 1, True),
        ("pulse_width", 0, False),
        ("pulse_width", 1, True),
        ("pulses", 1, True),
        ("contacts", 1, True),
    ],
)
def test_the_pulses_of_a_measurement_are_no_larger_and_no_more_than_the_profiles(
    field: str, more: int, refused: bool
) -> None:
    pulses = replace(TEST_PULSES, **{field: getattr(TEST_PULSES, field) + more})
    answer = stimulator().ask(MeasureImpedance(pulses, SCS))
    assert rules(answer) == (["SR-47"] if refused else [])


# --- restarts, stops and the epoch ------------------------------------------------------------


@pytest.mark.requirement("SR-27")
@pytest.mark.fault("F51")
def test_a_device_that_restarted_shows_nothing_until_it_is_started_again() -> None:
    story = running()
    story.connect(boot=2)
    assert story.state.running is None
    assert story.state.impedances is None


def test_a_host_that_restarted_finds_the_output_still_on() -> None:
    story = running()
    story.connect(boot=1, delivering=True)
    assert story.state.running == flowing(WALKING)
    assert story.state.impedances is None


@pytest.mark.requirement("SR-32")
def test_after_a_stop_that_was_not_confirmed_the_output_still_counts_as_on() -> None:
    story = running()
    story.tell(Stopped(instant(1), "hold", confirmed=False))
    assert "SR-45" in rules(story.ask(ProgramStimulator((WALKING, NIGHT), SCS)))


def epochs(story: Story, *events: Event) -> list[int]:
    found = []
    for event in events:
        before = story.state.epoch
        story.tell(event)
        found.append(story.state.epoch - before)
    return found


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F83")
def test_the_epoch_moves_with_everything_that_may_change_what_the_device_shows() -> None:
    story = running()
    before = story.state.epoch
    asked = story.ask(change(at(5_000)))
    assert story.state.epoch > before
    assert epochs(
        story,
        Settled(instant(0), asked.id, "delivered", "a test"),
        Lowered(instant(0), (MicroAmps(0),)),
        Stopped(instant(0), "hold", True),
        Latched(instant(0), "a test", past_lost=False),
    ) == [1, 1, 1, 1]
    refused = story.ask(bolus_nl(1))
    assert isinstance(refused, Rejected)
    alarm = Raised(instant(0), Alarm("a", "LOW", "SR-54", "b"))
    assert epochs(story, refused, alarm) == [0, 0]


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F83")
def test_the_epoch_moves_when_the_device_has_restarted() -> None:
    story = running()
    before = story.state.epoch
    story.connect(boot=2)
    assert story.state.epoch > before


# --- the state is the fold of the journal --------------------------------------------------------

BASALS = st.sampled_from([2, 5, 6, 7]).map(lambda one: pump_case(((0, one * HOURLY),), FULL))
PUMP_COMMANDS = st.one_of(
    BASALS.map(lambda case: case.command),
    st.sampled_from([1, 4_000, 10_000, 10_001]).map(bolus_nl),
)
STIMULATOR_COMMANDS = st.one_of(
    st.sampled_from([(WALKING, NIGHT), (WALKING,), (SOFT,)]).map(
        lambda programs: ProgramStimulator(programs, SCS)
    ),
    st.sampled_from([WALKING, NIGHT, SOFT]).map(start),
    st.sampled_from([0, 4_000, 6_000, 6_100]).map(lambda one: change(at(one))),
    st.just(MeasureImpedance(TEST_PULSES, SCS)),
)
OUTCOMES = st.sampled_from(["delivered", "refused", "UNCERTAIN"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.one_of(PUMP_COMMANDS, STIMULATOR_COMMANDS)),
        st.tuples(st.just("settle"), OUTCOMES),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, SECOND, HOUR, DAY, DAY + 2 * MINUTE])),
        st.tuples(st.just("connect"), st.integers(1, 2)),
        st.tuples(st.just("lower"), st.just(0)),
        st.tuples(st.just("stop"), st.booleans()),
        st.tuples(st.just("measure"), st.just(0)),
        st.tuples(st.just("latch"), st.just(0)),
    ),
    max_size=25,
)


@given(STEPS)
@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F67")
def test_a_host_that_starts_from_the_journal_knows_exactly_what_it_knew_before(
    steps: list[tuple[str, Any]],
) -> None:
    story = Story()
    story.connect()
    for what, value in steps:
        moment = instant(story.now)
        match what:
            case "ask":
                before = story.state
                story.ask(value, BECAUSE)
                assert isinstance(story.journal[-1], Rejected) == (before == story.state)
            case "settle" if story.state.unsettled:
                story.settle(story.state.unsettled[0].id, value)
            case "wait":
                story.now += value
            case "connect":
                story.connect(value)
            case "lower":
                story.tell(Lowered(moment, (MicroAmps(0),)))
            case "stop":
                story.tell(Stopped(moment, "hold", value))
            case "measure":
                story.tell(Measured(moment, 1, GOOD_OHMS))
            case "latch" if story.now > DAY:
                story.tell(Latched(moment, "a test", past_lost=False))
    assert fold(story.journal) == story.state
    assert fold([decode_event(encode_event(event)) for event in story.journal]) == story.state
    assert all(one.limits is None or one.command == "program-pump" for one in intents(story))


def intents(story: Story) -> list[Intended]:
    return [event for event in story.journal if isinstance(event, Intended)]


def test_the_slack_that_these_tests_know_is_the_kernels() -> None:
    assert DELIVERY_SLACK == SLACK
