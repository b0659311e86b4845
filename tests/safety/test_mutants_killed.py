"""What no other test noticed when one operator, number or line of the judge was changed.

Each test here fails on a mutant of `tests/proof/method_mutation.py` that lived before it.
"""

from dataclasses import replace

import pytest
from clinical_examples import ITP, MORPHINE_DAY, SCS, WALKING, area, compiled, tonic
from kernel_bench import (
    DAY,
    HOUR,
    HOURLY,
    MINUTE,
    SLACK,
    TEST_PULSES,
    Story,
    bolus_nl,
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

from device_profiles.diagnostics import Finding
from device_profiles.quantities import (
    Femtograms,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    Ohms,
)
from safety.commands import (
    Ask,
    ChangeAmplitude,
    MeasureImpedance,
    Override,
    ProgramStimulator,
    StartStimulation,
)
from safety.dose import bolus_time, days_to_alarm, is_a_day, largest_flow, worst_case_over
from safety.events import (
    Intended,
    Measured,
    Settled,
)
from safety.judgement import judge
from safety.limits import pump_limits
from safety.outputs import Bridge, DrugInPump, FlowStep, PatientBolusOutput
from safety.rules_open import LIMIT_RULES, softened
from safety.rules_windows import (
    is_no_more_than,
    judge_bolus_in_state,
    judge_lockout,
    phases_of,
    window_accounts,
)
from safety.state import StandingWaiver, State, past_programs_after, reservations_at

SOFT = tonic(area("E3 -100, E4 +100", "8 mA", width="500 us"))
BECAUSE = Override(("SR-41",), "clinician", "tolerated for years")


def flows(*steps: tuple[int, int]) -> tuple[FlowStep, ...]:
    return tuple(FlowStep(MinuteOfDay(start), NanoLitresPerDay(flow)) for start, flow in steps)


def button(over: int, lockout: int, most: int) -> PatientBolusOutput:
    return PatientBolusOutput(NanoLitres(10), Milliseconds(over), Milliseconds(lockout), most)


# --- the worst dose of a window --------------------------------------------------------------


def test_the_last_of_many_boluses_counts_for_what_the_window_holds_of_it() -> None:
    """Where the lockout alone limits them: five of every six hours are more than a day allows."""
    boluses = button(over=HOUR, lockout=6 * HOUR, most=5)
    assert bolus_time(boluses, Milliseconds(6 * HOUR)) == HOUR
    assert bolus_time(boluses, Milliseconds(6 * HOUR + 1)) == HOUR + 1
    assert bolus_time(boluses, Milliseconds(13 * HOUR)) == 3 * HOUR
    assert bolus_time(boluses, Milliseconds(30 * HOUR + 1)) == 5 * HOUR + 1


@pytest.mark.parametrize("window", [0, 1])
def test_no_window_holds_more_bolus_than_it_is_long(window: int) -> None:
    boluses = button(over=HOUR, lockout=6 * HOUR, most=3)
    assert bolus_time(boluses, Milliseconds(window)) == window


def test_boluses_back_to_back_count_in_full_up_to_the_end_of_their_count() -> None:
    boluses = button(over=HOUR, lockout=HOUR, most=4)
    assert bolus_time(boluses, Milliseconds(DAY + HOUR - 1)) == 4 * HOUR
    assert bolus_time(boluses, Milliseconds(DAY + HOUR)) == 4 * HOUR
    assert bolus_time(boluses, Milliseconds(DAY + HOUR + 1)) == 4 * HOUR + 1


def test_one_step_beyond_the_day_spoils_a_day_of_good_ones() -> None:
    assert not is_a_day(flows((0, 1), (1_440, 1)))
    assert not is_a_day(flows((-1, 1), (0, 1)))


def test_peaks_on_clocks_of_different_zones_meet_where_they_do_in_the_world() -> None:
    """Local 12 o'clock an hour east of Greenwich is 11 there, right after the other's peak."""
    east = replace(
        compiled(MORPHINE_DAY),
        basal=flows((0, 0), (12 * 60, HOURLY), (13 * 60, 0)),
        utc_offset_min=60,
        patient_bolus=None,
    )
    greenwich = replace(
        east, basal=flows((0, 0), (10 * 60, HOURLY), (11 * 60, 0)), utc_offset_min=0
    )
    water = NanogramsPerMillilitre(1)
    both = worst_case_over(((east, water), (greenwich, water)), Milliseconds(2 * HOUR))
    assert both == 2 * HOURLY // 24


def test_a_pump_that_delivers_one_nanolitre_a_day_empties_some_day() -> None:
    slow = replace(compiled(MORPHINE_DAY), basal=flows((0, 1)), patient_bolus=None)
    days = days_to_alarm(slow, ITP.accuracy, NanoLitres(slow.low_reservoir + 3))
    assert days.nominal_centi == 300


def test_a_program_without_a_basal_flows_nowhere() -> None:
    assert largest_flow(replace(compiled(MORPHINE_DAY), basal=())) == 0


# --- windows and lockouts --------------------------------------------------------------------


@pytest.mark.requirement("SR-15")
def test_a_bolus_waits_for_the_longest_of_all_that_were_given() -> None:
    story = programmed()
    long = story.ask(bolus_nl(1_000, over=5 * HOUR))
    assert isinstance(long, Intended)
    end = Milliseconds(2 * MINUTE)
    short = replace(long, at=instant(MINUTE), id=99, outputs=(bolus_nl(1).bolus,), latest_end=end)
    state = fold([*story.journal, short])
    now = instant(5 * HOUR - 1)
    held = reservations_at(state, now)
    assert len(held) == 2
    for order in (held, held[::-1]):
        found = judge_lockout(order, bolus_nl(1).bolus, ITP, Milliseconds(SLACK), now)
        assert [one.rule for one in found] == ["SR-15"]


@pytest.mark.requirement("SR-62")
def test_a_basal_that_only_stays_up_while_the_old_one_falls_is_no_continuation() -> None:
    old = replace(compiled(MORPHINE_DAY), basal=flows((0, 100), (720, 50)))
    assert is_no_more_than(replace(old, basal=flows((0, 100))), old) is False
    assert is_no_more_than(replace(old, basal=flows((0, 50))), old) is True


@pytest.mark.requirement("SR-14")
def test_a_drug_that_is_not_in_the_pump_takes_no_room_in_its_windows() -> None:
    case = pump_case()
    (limits,) = pump_limits(case.therapy, case.command.formulary)[0].drugs
    other = replace(limits, name="bupivacaine")
    accounts = window_accounts((case.program,), other, Femtograms(0), (), instant(0))
    assert {account.standing for account in accounts} == {0}


@pytest.mark.requirement("SR-14")
def test_the_bridge_of_a_program_is_a_program_that_a_window_may_hold() -> None:
    program = compiled(MORPHINE_DAY)
    strong = (DrugInPump("morphine", NanogramsPerMillilitre(20_000_000)),)
    bridged = replace(program, bridge=Bridge(strong, flows((0, 100)), NanoLitres(1_000)))
    (itself, before) = phases_of((bridged,))
    assert itself is bridged
    assert before.drugs == strong


@pytest.mark.requirement("SR-22")
def test_a_bolus_is_judged_by_a_program_and_by_limits_and_refused_without_either() -> None:
    case = pump_case()
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    bolus, now = bolus_nl(1).bolus, instant(0)

    def judged(program: object, known: object) -> list[str]:
        found = judge_bolus_in_state(program, (case.program,), known, (), bolus, ITP, now)  # type: ignore[arg-type]
        return [one.rule for one in found]

    assert judged(case.program, limits) == []
    assert judged(None, limits) == ["SR-22"]
    assert judged(case.program, None) == ["SR-22"]


@pytest.mark.requirement("SR-05")
def test_a_bolus_without_a_limit_for_it_is_refused_although_its_program_passed() -> None:
    case = pump_case()
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    unlimited = replace(
        limits, drugs=tuple(replace(one, per_hour=None, per_4_hours=None) for one in limits.drugs)
    )
    found = judge_bolus_in_state(
        case.program, (case.program,), unlimited, (), bolus_nl(1).bolus, ITP, instant(0)
    )
    assert found
    assert all(one.severity == "hard" for one in found)


@pytest.mark.parametrize(("bolus", "unit"), [(999_999, "mcg"), (1_000_000, "mg")])
def test_all_figures_of_a_full_window_are_in_the_unit_of_the_smallest(
    bolus: int, unit: str
) -> None:
    """Morphine at 1 mg/mL: 1,000,000 nL hold 1 mg; limit and basal are far above, the dose not."""
    room = pump_case(((0, 60_000 * HOURLY),), limits_nl(9_000_000, 60_000_001, 10**9, 10**9))
    (drug,) = pump_limits(room.therapy, room.command.formulary)[0].drugs
    dose = Femtograms(bolus * 1_000_000)
    accounts = window_accounts((room.program,), drug, dose, (), instant(0))
    (hour,) = (one for one in accounts if one.window.length == HOUR)
    assert hour.total > hour.limit.value
    found = judge_bolus_in_state(
        room.program,
        (room.program,),
        pump_limits(room.therapy, room.command.formulary)[0],
        (),
        bolus_nl(bolus).bolus,
        ITP,
        instant(0),
    )
    (full,) = (one for one in found if one.rule == "SR-14" and "1 h" in one.message)
    assert full.limit is not None
    assert full.limit.endswith(f" {unit}")


@pytest.mark.requirement("SR-14")
def test_a_replaced_program_joins_those_before_it() -> None:
    first, second, third = (pump_case(((0, n * HOURLY),)).program for n in (1, 2, 3))
    state = State(pump_program=first)
    state = replace(
        state, past_programs=past_programs_after(state, instant(1)), pump_program=second
    )
    state = replace(state, past_programs=past_programs_after(state, instant(2)), pump_program=third)
    assert [(one.program, one.replaced) for one in state.past_programs] == [(second, 2), (first, 1)]


# --- reasons and doubt -----------------------------------------------------------------------


@pytest.mark.requirement("SR-62")
@pytest.mark.parametrize("rule", ["SR-04", "SR-05", "SR-06", "SR-61", "SR-63", "SR-16", "SR-22"])
def test_a_limit_asks_for_a_reason_where_therapy_only_goes_on_and_nothing_else_does(
    rule: str,
) -> None:
    hard = Finding(rule, "hard", "basal", "too much", hint="lower it")
    soft = replace(hard, severity="soft")
    (asked,) = softened([hard])
    if rule in ("SR-16", "SR-22"):
        assert rule not in LIMIT_RULES
        assert asked == hard
    else:
        assert asked.severity == "soft"
        assert asked.hint == "it is what the pump delivers already: a reason will do"
    assert softened([soft]) == [soft]


def soft_start(at: int = 0) -> Story:
    """A stimulator that holds a program which needed a reason; the reason holds for an hour."""
    story = stimulator()
    reason = replace(BECAUSE, valid_for=Milliseconds(HOUR))
    story.do(ProgramStimulator((SOFT,), SCS), reason)
    story.now = at
    story.tell(Measured(instant(at), 2, tuple(Ohms(500) for _ in range(SCS.contacts))))
    return story


@pytest.mark.requirement("SR-57")
def test_what_was_let_pass_with_the_program_needs_no_second_reason_for_its_start() -> None:
    story = soft_start()
    assert [one.rule for one in story.state.waivers] == ["SR-41"]
    assert rules(story.ask(start(SOFT))) == []


@pytest.mark.requirement("SR-57")
def test_another_reason_than_the_programs_lets_nothing_pass_at_its_start() -> None:
    story = soft_start()
    until = Milliseconds(HOUR)
    story.state = replace(story.state, waivers=(StandingWaiver("SR-44", until),))
    assert set(rules(story.ask(start(SOFT)))) == {"SR-41"}
    both = (StandingWaiver("SR-44", until), StandingWaiver("SR-41", until))
    story.state = replace(story.state, waivers=both)
    assert rules(story.ask(start(SOFT))) == []


@pytest.mark.requirement("SR-57")
def test_once_the_reason_has_ended_neither_start_nor_raise_passes_by_it() -> None:
    assert rules(soft_start(HOUR).ask(start(SOFT))) == []
    assert set(rules(soft_start(HOUR + 1).ask(start(SOFT)))) == {"SR-57", "SR-41"}
    story = soft_start()
    story.do(start(SOFT))
    story.now = HOUR + 1
    raised = flowing(SOFT)
    assert "SR-57" in rules(story.ask(ChangeAmplitude(raised, SCS)))


@pytest.mark.requirement("SR-46")
def test_a_start_is_reviewed_like_its_program_and_no_waiver_lets_a_hard_finding_pass() -> None:
    over = tonic(area(amplitude="12.8 mA", width="20 us"))
    story = stimulator()
    waiver = StandingWaiver("SR-46", Milliseconds(HOUR))
    story.state = replace(story.state, waivers=(waiver,), programs=(over,))
    assert "SR-46" in rules(story.ask(start(over)))


@pytest.mark.requirement("SR-52")
@pytest.mark.parametrize("what", ["start", "raise"])
def test_nothing_is_started_or_raised_by_a_state_that_is_older_than_the_lease(what: str) -> None:
    story = stimulator()
    command: StartStimulation | ChangeAmplitude = start(WALKING)
    if what == "raise":
        story.do(start(WALKING))
        command = ChangeAmplitude(flowing(WALKING), SCS)

    def judged(age: int | None) -> list[str]:
        now = instant(MINUTE, MINUTE)
        seen = None if age is None else Milliseconds(MINUTE - age)
        return [
            one.rule for one in judge(story.state, Ask(now, 9, command, "BENCH-012", seen=seen))
        ]

    assert "SR-52" not in judged(SCS.lease)
    assert "SR-52" in judged(SCS.lease + 1)
    assert "SR-52" in judged(None)


# --- reasons that stand --------------------------------------------------------------------------


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize("family", ["stimulator", "pump"])
def test_a_new_program_ends_every_reason_that_the_one_before_was_let_pass_for(family: str) -> None:
    story = stimulator() if family == "stimulator" else programmed()
    old = StandingWaiver("SR-41", Milliseconds(HOUR))
    story.state = replace(story.state, waivers=(old,))
    story.do(ProgramStimulator((WALKING,), SCS) if family == "stimulator" else pump_case().command)
    assert story.state.waivers == ()


@pytest.mark.requirement("SR-57")
def test_a_new_reason_takes_the_place_of_the_one_for_the_same_rule_and_of_no_other() -> None:
    story = stimulator()
    old = tuple(StandingWaiver(rule, Milliseconds(HOUR)) for rule in ("SR-41", "SR-44"))
    story.state = replace(story.state, waivers=old)
    begun = story.ask(start(WALKING))
    assert isinstance(begun, Intended)
    why = replace(BECAUSE, valid_for=Milliseconds(DAY))
    again = replace(begun, id=99, override=why, passed=("SR-41",))
    state = fold([again, Settled(instant(0), 99, "delivered", "a test")], story.state)
    assert state.waivers == (old[1], StandingWaiver("SR-41", Milliseconds(DAY)))


@pytest.mark.requirement("SR-57")
@pytest.mark.parametrize(("after", "refused"), [(DAY, ["SR-57"]), (DAY + 1, [])])
def test_a_reason_counts_for_a_day_and_its_end_belongs_to_it(
    after: int, refused: list[str]
) -> None:
    story = stimulator()
    for _ in range(2):
        story.do(ProgramStimulator((SOFT,), SCS), BECAUSE)
    story.now = after
    story.do(MeasureImpedance(TEST_PULSES, SCS))
    assert rules(story.ask(ProgramStimulator((SOFT,), SCS), BECAUSE)) == refused
