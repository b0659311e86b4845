"""What lies between reservoir and tip: bridges that are right, and the one prime of a fill."""

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from clinical_examples import ITP, button, drug, step
from hypothesis import assume, given
from hypothesis import strategies as st
from kernel_bench import DAY, HOUR, MINUTE, SLACK, Story, bolus_nl, fold, instant, rules
from line_bench import (
    FIRST_FILL,
    MONTH,
    command_of,
    filled_with,
    program_of,
    running,
    therapy_of,
)

from device_profiles.diagnostics import Finding
from device_profiles.notation import parse_concentration, parse_mass, write_duration
from device_profiles.quantities import Milliseconds, NanoLitres, NanoLitresPerDay
from device_profiles.therapy import BasalStep, DoseLimits
from safety.commands import Ask, Override, Prime, ProgramPump, PumpEvidence
from safety.events import Counted, Found, Intended, Latched, Rejected, Unverified
from safety.kernel import Continue
from safety.kernel import step as kernel_step
from safety.outputs import Bridge, DrugInPump, FlowStep, PrimeOutput
from safety.rules_bridge import basal_in, bridge_words, line_volume
from safety.rules_line import bridge_end, judge_bridge
from safety.rules_prime import prime_volume

WAIVED = Override(("SR-12", "SR-13"), "clinician", "flushed by hand", second="pharmacist")
ALONE = replace(WAIVED, second=None)
WEAK, STRONG = {"baclofen": "500 mcg/mL"}, {"baclofen": "2000 mcg/mL"}
DOSE = "300 mcg/day"


def findings(answer: Intended | Rejected) -> tuple[Finding, ...]:
    assert isinstance(answer, Rejected), answer
    return answer.findings


def the_one(answer: Intended | Rejected) -> Finding:
    (finding,) = findings(answer)
    return finding


# --- the table of domain 2.6 ---------------------------------------------------------------------

TABLE = [
    # drug, dose, old, new, line; bridge; then; without a bridge
    (
        ("baclofen", DOSE, "500 mcg/mL", "2000 mcg/mL", "0.4 mL"),
        "0.6 mL/day for 16 h (0.4 mL of baclofen 500 mcg/mL)",
        150_000,
        "75 mcg/day of baclofen (25 %) for 64 h: withdrawal",
    ),
    (
        ("baclofen", DOSE, "2000 mcg/mL", "500 mcg/mL", "0.4 mL"),
        "0.15 mL/day for 64 h (0.4 mL of baclofen 2 mg/mL)",
        600_000,
        "1200 mcg/day of baclofen (400 %) for 16 h: overdose",
    ),
    (
        ("morphine", "2000 mcg/day", "10000 mcg/mL", "25000 mcg/mL", "0.286 mL"),
        "0.2 mL/day for 34.32 h (0.286 mL of morphine 10 mg/mL)",
        80_000,
        "800 mcg/day of morphine (40 %) for 85.8 h: withdrawal",
    ),
    (
        ("ziconotide", "5 mcg/day", "25 mcg/mL", "100 mcg/mL", "0.286 mL"),
        "0.2 mL/day for 34.32 h (0.286 mL of ziconotide 25 mcg/mL)",
        50_000,
        "1.25 mcg/day of ziconotide (25 %) for 137.28 h: too little",
    ),
]


@pytest.mark.requirement("SR-12")
@pytest.mark.vector("V8.3")
@pytest.mark.fault("F27")
@pytest.mark.parametrize(("change", "bridged", "then", "unbridged"), TABLE)
def test_golden_vector_8_3_the_bridge_of_the_table_is_admitted_and_none_is_told_in_its_numbers(
    change: tuple[str, ...], bridged: str, then: int, unbridged: str
) -> None:
    name, dose, old, new, line = change
    started = "2.4 mcg/day" if name == "ziconotide" else dose
    story = running(filled_with({name: old}, started, line=line))
    story.do(filled_with({name: old}, dose, line=line))
    bare = filled_with({name: new}, dose, line=line, fill=2)
    finding = the_one(story.ask(bare))
    assert (finding.rule, finding.severity) == ("SR-12", "soft")
    assert f"without a bridge {unbridged}" in finding.message
    right = filled_with({name: new}, dose, line=line, fill=2, before={name: old})
    assert right.program.bridge is not None
    assert bridge_words(right.program.bridge) == bridged
    assert [one.flow for one in right.program.basal] == [then]
    assert isinstance(story.ask(right), Intended)


@pytest.mark.requirement("SR-12")
@pytest.mark.vector("V8.3")
@pytest.mark.parametrize(("change", "bridged", "then", "unbridged"), TABLE)
def test_golden_vector_8_3_the_judge_computes_the_flows_of_the_table_by_itself(
    change: tuple[str, ...], bridged: str, then: int, unbridged: str
) -> None:
    name, dose, old, new, line = change
    therapy = therapy_of({name: new}, dose, line=line)
    mix = (DrugInPump(name, parse_concentration(old)),)
    volume = line_volume(therapy.catheter.volume, ITP)
    assert bridge_words(Bridge(mix, basal_in(mix, therapy), volume)) == bridged


# --- a wrong bridge ------------------------------------------------------------------------------


def bent(command: ProgramPump, **changes: Any) -> ProgramPump:
    """A command whose bridge is bent after it was compiled."""
    assert command.program.bridge is not None
    bridge = replace(command.program.bridge, **changes)
    return replace(command, program=replace(command.program, bridge=bridge))


RIGHT = filled_with(STRONG, DOSE, fill=2, before=WEAK)


def flow(nl_a_day: int) -> tuple[FlowStep, ...]:
    (one,) = program_of(RIGHT.therapy).basal
    return (replace(one, flow=NanoLitresPerDay(nl_a_day)),)


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    "changes",
    [
        {"volume": NanoLitres(400_000 - 1)},
        {"volume": NanoLitres(400_000 + 1)},
        {"basal": flow(600_000 - 1)},
        {"basal": flow(600_000 + 1)},
        {"basal": (*flow(600_000), FlowStep(BasalStep(1, 1).start, NanoLitresPerDay(600_000)))},  # type: ignore[arg-type]
        {"drugs": (DrugInPump("baclofen", parse_concentration("501 mcg/mL")),)},
    ],
    ids=["1 nL less", "1 nL more", "1 nL/day less", "1 nL/day more", "a step more", "the mix"],
)
def test_a_bridge_that_differs_by_one_step_is_refused_with_the_right_numbers(
    changes: dict[str, Any],
) -> None:
    story = running(filled_with(WEAK, DOSE))
    judged = judge_bridge(story.state.pump_program, bent(RIGHT, **changes), (), instant(0))
    assert [(one.rule, one.severity) for one in judged] == [("SR-12", "hard")]
    assert {"SR-12"} <= set(rules(story.ask(bent(RIGHT, **changes), WAIVED)))
    (finding,) = judged
    if "drugs" not in changes:
        assert "it must be 0.6 mL/day for 16 h (0.4 mL of baclofen 500 mcg/mL)" in finding.message


@pytest.mark.requirement("SR-12")
def test_a_file_that_names_another_old_concentration_than_the_pump_is_refused() -> None:
    story = running(filled_with(WEAK, DOSE))
    finding = the_one(
        story.ask(filled_with(STRONG, DOSE, fill=2, before={"baclofen": "1000 mcg/mL"}), WAIVED)
    )
    assert (finding.rule, finding.severity, finding.path) == ("SR-12", "hard", "bridge.from")
    assert "line holds baclofen 1 mg/mL" in finding.message
    assert "it holds baclofen 500 mcg/mL" in finding.message


@pytest.mark.requirement("SR-12")
def test_a_bridge_with_nothing_to_bridge_is_refused() -> None:
    story = running(filled_with(WEAK, DOSE))
    same = filled_with(WEAK, "301 mcg/day", fill=2, before=STRONG)
    finding = the_one(story.ask(same, WAIVED))
    assert (finding.severity, finding.path) == ("hard", "bridge")
    assert "take bridge: out" in (finding.hint or "")


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(("fill", "admitted"), [(1, False), (0, False), (2, True)])
def test_a_bridge_belongs_to_a_newer_fill(fill: int, admitted: bool) -> None:
    story = running(filled_with(WEAK, DOSE))
    answer = story.ask(filled_with(STRONG, DOSE, fill=fill, before=WEAK), WAIVED)
    assert isinstance(answer, Intended) is admitted
    if not admitted:
        assert (the_one(answer).severity, the_one(answer).path) == ("hard", "fill.at")


@pytest.mark.requirement("SR-12")
def test_a_bridge_through_another_catheter_than_the_pumps_is_refused() -> None:
    story = running(filled_with(WEAK, DOSE))
    other = filled_with(STRONG, DOSE, fill=2, before=WEAK, line="0.400001 mL")
    finding = the_one(story.ask(other, WAIVED))
    assert (finding.severity, finding.path) == ("hard", "catheter.volume")


@pytest.mark.requirement("SR-12")
def test_a_first_drug_of_another_name_cannot_be_bridged() -> None:
    story = running(filled_with({"morphine": "10 mg/mL"}, "2 mg/day"))
    therapy = therapy_of({"fentanyl": "1 mg/mL"}, "0.1 mg/day", fill=2)
    bridged = replace(
        command_of(therapy),
        program=replace(program_of(therapy), bridge=RIGHT.program.bridge),
        therapy=replace(therapy, bridge_from=RIGHT.therapy.bridge_from),
    )
    refusals = findings(story.ask(bridged, WAIVED))
    assert {(one.rule, one.severity) for one in refusals} == {("SR-12", "hard")}
    assert any("holds no fentanyl" in one.message for one in refusals)
    assert isinstance(story.ask(command_of(therapy), WAIVED), Intended)


@pytest.mark.requirement("SR-12")
def test_a_waiver_takes_two_persons_and_then_no_bridge_is_asked_again() -> None:
    story = running(filled_with(WEAK, DOSE))
    bare = filled_with(STRONG, DOSE, fill=2)
    assert rules(story.ask(bare)) == ["SR-12"]
    assert rules(story.ask(bare, ALONE)) == ["SR-57"]
    story.do(bare, WAIVED)
    assert isinstance(story.ask(filled_with(STRONG, "310 mcg/day", fill=2)), Intended)


@pytest.mark.requirement("SR-12")
def test_a_concentration_that_changes_without_a_fill_is_told_apart() -> None:
    story = running(filled_with(WEAK, DOSE))
    finding = the_one(story.ask(filled_with(STRONG, DOSE)))
    assert "names no newer fill" in finding.message


@pytest.mark.requirement("SR-12")
def test_what_a_lost_program_left_in_the_line_still_asks_for_its_bridge() -> None:
    story = running(filled_with(WEAK, DOSE))
    story.tell(Unverified(instant(0), 0, "the battery failed", False))
    assert rules(story.ask(filled_with(STRONG, DOSE, fill=2))) == ["SR-12"]
    assert isinstance(story.ask(RIGHT), Intended)


@pytest.mark.requirement("SR-12")
def test_a_program_that_the_pump_was_found_with_tells_what_its_line_holds() -> None:
    story = Story()
    story.connect()
    story.tell(Found(instant(0), program_of(therapy_of(WEAK, DOSE))))
    assert rules(story.ask(filled_with(STRONG, DOSE, fill=2))) == ["SR-12"]
    assert isinstance(story.ask(RIGHT), Intended)


@pytest.mark.requirement("SR-12")
def test_a_bridge_in_a_pump_that_nobody_knows_takes_two_persons() -> None:
    story = Story()
    story.connect()
    finding = the_one(story.ask(RIGHT))
    assert (finding.rule, finding.severity, finding.path) == ("SR-12", "soft", "bridge.from")
    assert isinstance(story.ask(RIGHT, WAIVED), Intended)


@pytest.mark.requirement("SR-12")
def test_the_bridge_of_a_mixture_is_set_by_its_first_drug_and_needs_the_whole_mix() -> None:
    old = {"morphine": "10 mg/mL", "fentanyl": "1 mg/mL"}
    new = {"morphine": "20 mg/mL", "fentanyl": "1 mg/mL"}
    story = running(filled_with(old, "2 mg/day"))
    bare = the_one(story.ask(filled_with(new, "2 mg/day", fill=2)))
    assert "1 mg/day of morphine (50 %) for 96 h" in bare.message
    assert "fentanyl" not in bare.message
    half = filled_with(new, "2 mg/day", fill=2, before={"morphine": "10 mg/mL"})
    assert rules(story.ask(half, WAIVED)) == ["SR-12"]
    turned = {"fentanyl": "1 mg/mL", "morphine": "10 mg/mL"}
    story.do(filled_with(new, "2 mg/day", fill=2, before=turned))


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("basal", [(), flow(0)], ids=["no basal", "no flow"])
def test_where_nothing_flows_no_dose_is_made_up_for_what_the_line_would_give(
    basal: tuple[FlowStep, ...],
) -> None:
    story = running(filled_with(WEAK, DOSE))
    command = filled_with(STRONG, DOSE, fill=2)
    still = replace(command, program=replace(command.program, basal=basal))
    (finding,) = judge_bridge(story.state.pump_program, still, (), instant(0))
    assert (finding.rule, finding.severity) == ("SR-12", "soft")
    assert finding.message == "line and reservoir do not hold the same"
    assert "SR-07" in rules(story.ask(still, WAIVED))


@pytest.mark.requirement("SR-12")
def test_a_drug_that_comes_or_goes_without_a_bridge_is_told_by_its_dose() -> None:
    one, two = {"morphine": "10 mg/mL"}, {"morphine": "10 mg/mL", "fentanyl": "1 mg/mL"}
    story = running(filled_with(two, "2 mg/day"))
    gone = the_one(story.ask(filled_with(one, "2 mg/day", fill=2)))
    assert "200 mcg/day of fentanyl for 48 h, although it is none of the drugs" in gone.message
    story = running(filled_with(one, "2 mg/day"))
    new = the_one(story.ask(filled_with(two, "2 mg/day", fill=2)))
    assert "0 mcg/day of fentanyl (0 %) for 48 h: withdrawal" in new.message


# --- any bridge gives the wanted dose ------------------------------------------------------------


def at_the_tip(bridge: Bridge, then: int, old: int, new: int) -> list[tuple[int, int]]:
    """What leaves the tip while the bridge runs and after it: fg/day, and in which concentration.

    A line of its own, first in, first out, looked at twelve times along the bridge and five after.
    """
    (first,) = bridge.basal
    left = bridge.volume * DAY
    line, seen, after = deque([[left, old]]), list[tuple[int, int]](), 0
    while after < 5:
        flow = first.flow if left > 0 else then
        after += left <= 0
        seen.append((flow * line[0][1], line[0][1]))
        moved = min(bridge.volume * DAY // 12, left) if left > 0 else bridge.volume * DAY // 12
        left -= moved
        line.append([moved, new])
        while moved:
            out = min(moved, line[0][0])
            line[0][0] -= out
            moved -= out
            if not line[0][0]:
                line.popleft()
    return seen


@pytest.mark.requirement("SR-12")
@given(
    st.integers(60_000, 20_000_000),
    st.integers(1_000, 25_000_000),
    st.integers(1_000, 25_000_000),
    st.integers(ITP.tubing, ITP.tubing + ITP.catheter_max),
)
def test_a_bridge_gives_the_wanted_dose_at_the_tip_within_one_step_of_the_device(
    flow_then: int, old: int, new: int, line: int
) -> None:
    rate = flow_then * new + new // 2
    assume(rate >= old)
    therapy = replace(
        therapy_of({"morphine": "1 mg/mL"}, "1 mg/day"),
        basal=(BasalStep(step("00:00", "1 mg/day").start, rate),),  # type: ignore[arg-type]
    )
    mix = (DrugInPump("morphine", old),)  # type: ignore[arg-type]
    basal = basal_in(mix, therapy)
    seen = at_the_tip(Bridge(mix, basal, NanoLitres(line)), rate // new, old, new)
    assert {concentration for _, concentration in seen} == {old, new}
    for given_rate, concentration in seen:
        assert 0 <= rate - given_rate < concentration


# --- while it runs -------------------------------------------------------------------------------


def bridging() -> Story:
    """A pump that began its bridge at time 0."""
    story = running(filled_with(WEAK, DOSE))
    story.do(RIGHT)
    return story


SURELY = -(-64 * HOUR * 1_000 // 855) + SLACK
"""0.4 mL at 0.15 mL a day, the slowest of bridge and basal, at 14.5 % less than programmed, begun
as late as a judged command may be: by then a bridge that nothing holds up has ended."""
STRAY_NL = 58_000
"""14.5 % of the 0.4 mL."""


def ended(story: Story) -> None:
    """The pump says that it has nothing left to move."""
    (move,) = story.state.line_moves
    story.tell(Counted(instant(story.now), move.id, "executed", NanoLitres(400_000)))


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("now", "hint"),
    [
        (0, f"wait about {write_duration(Milliseconds(4_492 * MINUTE))};"),
        (SURELY - 1, "wait about 1 min;"),
        (SURELY, "wait; "),
        (100 * DAY, "wait; "),
    ],
)
def test_no_bolus_is_given_until_the_pump_itself_has_said_that_a_bridge_is_over(
    now: int, hint: str
) -> None:
    """A pump that was halted, or has lost its program, has moved nothing however late it is."""
    story = bridging()
    story.now = now
    (finding,) = (one for one in findings(story.ask(bolus_nl(1))) if one.rule == "SR-12")
    assert finding.severity == "hard"
    assert finding.message == "a bridge may be under way"
    assert (finding.hint or "").startswith(hint)
    assert (finding.hint or "").endswith("`neuraxis status` shows what is left to move")
    ended(story)
    assert "SR-12" not in rules(story.ask(bolus_nl(1)))


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize("now", [SURELY - 1, SURELY, 100 * DAY])
def test_no_other_program_is_taken_until_the_pump_itself_has_said_that_a_bridge_is_over(
    now: int,
) -> None:
    story = bridging()
    story.now = now
    higher = filled_with(STRONG, "320 mcg/day", fill=2)
    assert rules(story.ask(higher, WAIVED)) == ["SR-12"]
    ended(story)
    assert isinstance(story.ask(higher, WAIVED), Intended)


@pytest.mark.requirement("SR-12")
def test_a_bridge_ends_by_no_count_while_it_is_in_doubt_whether_it_was_begun() -> None:
    story = running(filled_with(WEAK, DOSE))
    intent = story.ask(RIGHT)
    story.now = SURELY
    for _ in range(2):
        ended(story)
        (move,) = story.state.line_moves
        assert (move.id, story.state.reservations) == (intent.id, ())
    story.settle(intent.id)
    ended(story)
    assert story.state.line_moves == ()


@pytest.mark.requirement("SR-12")
def test_a_bridge_that_the_pump_refused_is_none() -> None:
    story = running(filled_with(WEAK, DOSE))
    intent = story.ask(RIGHT)
    story.settle(intent.id, "refused")
    assert (story.state.line_moves, story.state.reservations) == ((), ())


@pytest.mark.requirement("SR-12")
def test_the_pumps_own_count_opens_the_line_sooner_and_survives_a_restart() -> None:
    story = bridging()
    story.now = 16 * HOUR
    (move,) = story.state.line_moves
    story.tell(Counted(instant(story.now), move.id, "running", NanoLitres(399_999)))
    assert "SR-12" in rules(story.ask(bolus_nl(1)))
    story.tell(Counted(instant(story.now), move.id, "executed", NanoLitres(400_000)))
    assert "SR-12" not in rules(story.ask(bolus_nl(1)))
    story.restart()
    assert story.state == fold(story.journal)
    assert isinstance(story.ask(filled_with(STRONG, "320 mcg/day", fill=2)), Intended)


@pytest.mark.requirement("SR-12")
def test_what_a_halted_pump_still_has_to_move_closes_it_however_late_it_is() -> None:
    story = bridging()
    story.now = 100 * HOUR
    higher = filled_with(STRONG, "320 mcg/day", fill=2)
    left = PumpEvidence(Milliseconds(0), NanoLitres(17_000_000), FIRST_FILL, NanoLitres(1))
    held = replace(left, fill_at_ms=Milliseconds(FIRST_FILL + MONTH))
    finding = the_one(story.ask(replace(higher, evidence=held)))
    assert "0.000001 mL are left to move" in finding.message
    none_left = replace(higher, evidence=replace(held, line_left=NanoLitres(0)))
    assert rules(story.ask(none_left)) == ["SR-12"]
    ended(story)
    assert isinstance(story.ask(none_left), Intended)


@pytest.mark.requirement("SR-62")
def test_going_on_with_a_bridge_or_with_less_of_it_is_never_refused() -> None:
    story = bridging()
    story.now = HOUR
    story.tell(Latched(instant(HOUR), "the disk is full", False))
    for dose in (DOSE, "200 mcg/day"):
        command = filled_with(STRONG, dose, fill=2, before=WEAK)
        request = Ask(instant(HOUR), 99, command, "BENCH-012")
        _, (effect,) = kernel_step(story.state, request)
        assert isinstance(effect, Continue)
    for command in (
        filled_with(STRONG, DOSE, fill=2),
        filled_with(STRONG, "301 mcg/day", fill=2, before=WEAK),
        filled_with(STRONG, DOSE, fill=3, before=WEAK),
    ):
        assert "SR-56" in rules(story.ask(command))


@pytest.mark.requirement("SR-12")
def test_the_same_bridge_for_another_fill_is_no_continuation() -> None:
    story = bridging()
    story.now = SURELY
    ended(story)
    again = filled_with(STRONG, DOSE, fill=3, before=WEAK)
    finding = the_one(story.ask(again, WAIVED))
    assert (finding.rule, finding.severity, finding.path) == ("SR-12", "hard", "bridge")


@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-62")
def test_a_pump_that_ran_dry_while_it_bridged_is_filled_again_by_two_persons() -> None:
    story = bridging()
    story.now = HOUR
    dry = PumpEvidence(
        Milliseconds(0), NanoLitres(0), Milliseconds(FIRST_FILL + MONTH), NanoLitres(375_000)
    )
    refill = replace(filled_with(STRONG, DOSE, fill=3, withdrawn="0 mL"), evidence=dry)
    soft = [one for one in findings(story.ask(refill)) if one.rule == "SR-12"]
    assert [one.severity for one in soft] == ["soft"]
    reason = replace(WAIVED, rules=("SR-12", "SR-19"))
    assert rules(story.ask(refill, replace(reason, second=None))) == ["SR-57"]
    assert isinstance(story.ask(refill, reason), Intended)


@pytest.mark.requirement("SR-62")
def test_a_refill_once_the_bridge_is_over_is_continuation() -> None:
    story = bridging()
    story.now = SURELY
    story.tell(Latched(instant(SURELY), "the disk is full", False))
    refill = filled_with(STRONG, DOSE, fill=3)
    assert "SR-56" in rules(story.ask(refill))
    ended(story)
    _, (effect,) = kernel_step(story.state, Ask(instant(SURELY), 99, refill, "BENCH-012"))
    assert isinstance(effect, Continue)


@pytest.mark.requirement("SR-12")
def test_applying_a_file_again_begins_no_second_bridge() -> None:
    story = bridging()
    story.now = 10 * HOUR
    second_fill = Milliseconds(FIRST_FILL + MONTH)
    left = PumpEvidence(Milliseconds(0), NanoLitres(18_000_000), second_fill, NanoLitres(100_000))
    intent = story.do(replace(RIGHT, evidence=left))
    (again,) = story.state.line_moves
    # 0.1 mL at 0.15 mL a day, the slower of bridge and basal, at 14.5 % less: 16 h / 0.855.
    rest = -(-16 * HOUR * 1_000 // 855)
    assert (again.id, again.latest_end) == (intent.id, 10 * HOUR + SLACK + rest)
    # All of the line may stray still, however little is left to move.
    assert again.stray == STRAY_NL
    ended(story)
    story.do(replace(RIGHT, evidence=replace(left, line_left=NanoLitres(0))))
    assert story.state.line_moves == ()


@pytest.mark.requirement("SR-12")
def test_a_bridge_of_several_steps_is_bounded_by_its_slowest() -> None:
    steps = (step("07:00", "300 mcg/day"), step("22:00", "150 mcg/day"))
    # 150 mcg a day are 0.3 mL in the weak mix and 0.075 mL in the strong one. A pump that leaves
    # some of the old mix behind brings it out at the basal's flow: 0.4 mL take 128 h at 0.075.
    for new, old in ((STRONG, WEAK), (WEAK, STRONG)):
        program = program_of(therapy_of(new, *steps, before=old))
        end = bridge_end(program, ITP, Milliseconds(7))
        assert end == 7 + -(-128 * HOUR * 1_000 // 855)
    assert bridge_end(program, ITP, Milliseconds(7), NanoLitres(0)) is None
    assert bridge_end(replace(program, bridge=None), ITP, Milliseconds(7)) is None
    still = replace(program, basal=flow(0))
    assert bridge_end(still, ITP, Milliseconds(7)) == 7 + 400_000 * DAY * 1_000_000


# --- primes --------------------------------------------------------------------------------------

LINE_NL = 400_000


def fresh(**other: Any) -> Story:
    """A new pump, filled just now, its line without drug."""
    return running(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day", primed=False, **other))


PRIME_NL = prime_volume(NanoLitres(LINE_NL - ITP.tubing), ITP)
"""The line's 0.4 mL, less what a pump at the top of its accuracy adds."""


def prime(
    volume: int = PRIME_NL,
    over: int = HOUR,
    fill_at: int = FIRST_FILL,
    left: int = 18_000_000,
    counted_from: int | None = None,
) -> Prime:
    evidence = PumpEvidence(
        Milliseconds(0), NanoLitres(left), Milliseconds(counted_from or fill_at)
    )
    output = PrimeOutput(NanoLitres(volume), Milliseconds(over), Milliseconds(fill_at))
    return Prime(output, ITP, evidence)


@pytest.mark.requirement("SR-13")
def test_a_fill_is_primed_once_and_never_again_whatever_becomes_of_it() -> None:
    story = fresh()
    story.do(prime())
    story.now = 2 * DAY
    assert rules(story.ask(prime())) == ["SR-13"]
    story.restart()
    assert rules(story.ask(prime())) == ["SR-13"]


@pytest.mark.requirement("SR-13")
def test_a_prime_that_the_pump_refused_may_be_asked_for_again() -> None:
    story = fresh()
    answer = story.ask(prime())
    story.settle(answer.id, "refused")
    assert story.state.line_moves == ()
    assert isinstance(story.ask(prime()), Intended)


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize("volume", [PRIME_NL - 1, PRIME_NL + 1, LINE_NL, 0, 1])
def test_a_prime_of_another_volume_than_the_lines_is_refused(volume: int) -> None:
    finding = the_one(fresh().ask(prime(volume=volume)))
    assert (finding.rule, finding.severity) == ("SR-13", "hard")
    assert "tubing and catheter hold 0.4 mL" in finding.message


@pytest.mark.requirement("SR-13")
def test_a_line_that_holds_drug_is_not_primed() -> None:
    story = running(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day"))
    finding = the_one(story.ask(prime()))
    assert finding.rule == "SR-13"
    assert "a prime would give 4 mg of morphine" in finding.message


@pytest.mark.requirement("SR-13")
def test_a_prime_is_for_the_fill_of_the_program() -> None:
    finding = the_one(fresh().ask(prime(fill_at=FIRST_FILL + 1, counted_from=FIRST_FILL)))
    assert finding.rule == "SR-13"


@pytest.mark.requirement("SR-13")
def test_a_prime_needs_a_verified_program() -> None:
    story = Story()
    story.connect()
    assert rules(story.ask(prime())) == ["SR-22"]


SHORTEST = -(-PRIME_NL * DAY // (24_000_000 - 240_000))
"""Until then flow and basal together are above 24 mL/day."""


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-17")
@pytest.mark.parametrize(("over", "ok"), [(SHORTEST, True), (SHORTEST - 1, False), (0, False)])
def test_a_prime_stays_within_the_largest_flow_on_top_of_the_basal(over: int, ok: bool) -> None:
    answer = fresh().ask(prime(over=over))
    assert isinstance(answer, Intended) is ok
    if over:
        assert ok or the_one(answer).hint == "give it 22 min or longer"


def limited(per_hour: str) -> Story:
    therapy = therapy_of({"morphine": "10 mg/mL"}, "2.4 mg/day", primed=False)
    limits = DoseLimits(*(parse_mass(one) for one in ("0.2 mg", per_hour, "4 mg", "4 mg")))
    therapy = replace(therapy, drugs=(drug("morphine", "10 mg/mL", limits),))
    return running(command_of(therapy))


GONE = 26_200
"""nL; 30 nL short of 0.3 mg with 14.5 % on top."""


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize(("gone", "ok"), [(GONE, True), (GONE + 1, False)])
def test_what_the_basal_has_put_into_the_line_comes_out_at_once_within_the_hours_limit(
    gone: int, ok: bool
) -> None:
    # 0.4 mg an hour less the basal's own 0.1 mg leaves 0.3 mg.
    answer = limited("0.4 mg").ask(prime(left=18_000_000 - gone))
    assert isinstance(answer, Intended) is ok
    assert ok or "up to 300.01 mcg of morphine" in the_one(answer).message


@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-13")
def test_without_an_hourly_limit_there_is_no_prime() -> None:
    """A verified basal goes on without it (SR-62); what would come out at once has no ceiling."""
    therapy = therapy_of({"fentanyl": "1 mg/mL"}, "0.3 mg/day", primed=False)
    story = running(command_of(therapy))
    limits = replace(therapy.drugs[0].limits, per_hour=None)
    bare = replace(therapy, drugs=(replace(therapy.drugs[0], limits=limits),))
    story.do(command_of(bare), Override(("SR-05",), "clinician", "its limit is in another file"))
    finding = the_one(story.ask(prime()))
    assert (finding.rule, finding.severity, finding.path) == ("SR-05", "hard", "prime")
    assert "no layer limits per_hour of fentanyl" in finding.message


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize("evidence", [None, PumpEvidence(*(Milliseconds(1),) * 3)])  # type: ignore[arg-type]
def test_without_the_pumps_count_of_this_fill_there_is_no_prime(
    evidence: PumpEvidence | None,
) -> None:
    finding = the_one(fresh().ask(replace(prime(), evidence=evidence)))
    assert finding.rule == "SR-13"
    assert "does not say" in finding.message


@pytest.mark.requirement("SR-13")
def test_no_bolus_and_no_prime_is_given_while_a_prime_may_be_under_way() -> None:
    story = fresh()
    intent = story.do(prime())
    story.now = HOUR
    finding = next(one for one in findings(story.ask(bolus_nl(1))) if one.rule == "SR-13")
    assert (finding.severity, finding.path) == ("hard", "bolus")
    story.tell(Counted(instant(HOUR), intent.id, "interrupted", NanoLitres(300_000)))
    assert "SR-13" not in rules(story.ask(bolus_nl(1)))


@pytest.mark.requirement("SR-13")
def test_a_pump_that_has_delivered_is_said_to_be_empty_only_by_two_persons() -> None:
    morphine = {"morphine": "10 mg/mL"}
    for before in (
        running(filled_with(morphine, "2.4 mg/day")),
        running(filled_with(morphine, "2.4 mg/day", primed=False)),
    ):
        refill = filled_with(morphine, "2.4 mg/day", primed=False, fill=2)
        finding = the_one(before.ask(refill))
        assert (finding.rule, finding.severity) == ("SR-13", "soft")
        assert "4 mg of morphine" in finding.message
        assert rules(before.ask(refill, ALONE)) == ["SR-57"]
        assert isinstance(before.ask(refill, WAIVED), Intended)


@pytest.mark.requirement("SR-13")
def test_a_pump_whose_past_is_unknown_is_taken_to_have_delivered_if_it_counts_a_fill() -> None:
    story = Story()
    story.connect()
    command = filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day", primed=False)
    older = PumpEvidence(Milliseconds(0), NanoLitres(1), Milliseconds(1))
    assert "SR-13" in rules(story.ask(replace(command, evidence=older)))
    new = replace(older, fill_at_ms=Milliseconds(0))
    assert isinstance(story.ask(replace(command, evidence=new)), Intended)


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-62")
def test_a_file_that_calls_the_line_of_a_running_pump_empty_is_no_continuation() -> None:
    """Else the same program, latched and unasked, would open the line for a prime."""
    story = running(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day"))
    story.tell(Latched(instant(0), "the disk is full", False))
    emptied = filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day", primed=False)
    assert rules(story.ask(emptied, WAIVED)) == ["SR-56"]
    assert isinstance(story.ask(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day")), Intended)


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize("other", ["17.999999 mL", "18.000001 mL"])
def test_another_volume_for_the_fill_that_the_pump_counts_from_takes_two_persons(
    other: str,
) -> None:
    """What has gone into the line is the fill less what is left: an edit would move it."""
    story = running(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day"))
    edited = filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day", volume=other)
    finding = the_one(story.ask(edited))
    assert (finding.rule, finding.severity, finding.path) == ("SR-13", "soft", "fill.volume")
    assert f"was 18 mL and is now {other}" in finding.message
    assert rules(story.ask(edited, ALONE)) == ["SR-57"]
    story.tell(Latched(instant(0), "the disk is full", False))
    assert "SR-56" in rules(story.ask(edited, WAIVED))


@pytest.mark.requirement("SR-13")
def test_another_fill_may_have_another_volume() -> None:
    story = running(filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day"))
    for rate in ("2.4 mg/day", "2.5 mg/day"):
        other = filled_with({"morphine": "10 mg/mL"}, rate, volume="17 mL", fill=2)
        assert isinstance(story.ask(other), Intended)
        story.settle(story.ids, "refused")


@pytest.mark.requirement("SR-62")
def test_applying_an_unprimed_program_again_is_continuation() -> None:
    story = fresh()
    story.now = DAY
    again = filled_with({"morphine": "10 mg/mL"}, "2.4 mg/day", primed=False)
    assert isinstance(story.ask(again), Intended)


@pytest.mark.requirement("SR-12")
def test_a_button_is_closed_in_what_the_judge_counts_while_a_bridge_runs() -> None:
    press = button("0.15 mg", lockout="4 h", most=4)
    program = program_of(
        therapy_of(
            {"morphine": "20 mg/mL"}, "2.4 mg/day", before={"morphine": "10 mg/mL"}, button=press
        )
    )
    bridging_program = program.while_bridging()
    assert bridging_program is not None
    assert bridging_program.patient_bolus is None
    assert bridging_program.drugs == (DrugInPump("morphine", parse_concentration("10 mg/mL")),)
