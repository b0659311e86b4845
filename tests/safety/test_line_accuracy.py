"""What a pump's accuracy moves in its line beyond what was meant: primes and ends of bridges.

The pump is good for 14.5 % either way, so 1 mL by its count is 0.855 to 1.145 mL.
"""

from dataclasses import replace

import pytest
from clinical_examples import FORMULARY, ITP, button, dose_limits
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import DAY, HOUR, MINUTE, SLACK, Story, bolus_nl, fold, instant, rules
from line_bench import FIRST_FILL, MONTH, command_of, program_of, running, therapy_of

from device_profiles.diagnostics import Finding
from device_profiles.notation import parse_concentration
from device_profiles.quantities import Milliseconds, NanoLitres
from device_profiles.therapy import DoseLimits, InfusionTherapy
from safety.alarms import Alarm
from safety.commands import Override, Prime, ProgramPump, PumpEvidence
from safety.doubt import Reservation
from safety.events import Counted, Intended, Raised, Rejected, Unverified
from safety.explain import windows_of
from safety.limits import pump_limits
from safety.outputs import DrugInPump, PrimeOutput
from safety.review import review_infusion
from safety.rules_bridge import stray_volume
from safety.rules_prime import prime_volume, pushed_out
from safety.rules_windows import judge_lockout
from safety.state import differences, reservations_at

OLD, NEW = {"morphine": "10 mg/mL"}, {"morphine": "20 mg/mL"}
DOSE = "2.4 mg/day"
"""0.1 mg an hour: 10,000 nL of the old mix, 5,000 nL of the new one."""
TWO = Override(("SR-12", "SR-13"), "clinician", "flushed by hand", second="pharmacist")
LINE_NL, STRAY_NL, PRIME_NL = 400_000, 58_000, 349_344


def limited(therapy: InfusionTherapy, limits: DoseLimits, drug_number: int = 0) -> InfusionTherapy:
    """A file in which one drug has other limits."""
    drugs = list(therapy.drugs)
    drugs[drug_number] = replace(drugs[drug_number], limits=limits)
    return replace(therapy, drugs=tuple(drugs))


def findings(answer: Intended | Rejected) -> tuple[Finding, ...]:
    assert isinstance(answer, Rejected), answer
    return answer.findings


# --- volumes -------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-13")
@pytest.mark.parametrize(
    ("line", "volume"),
    [
        (400_000, 349_344),  # 400,000 / 1.145 = 349,344.978
        (485_000, 423_580),  # 485,000 / 1.145 = 423,580.786
        (199_000, 173_799),  # 199,000 / 1.145 = 173,799.127: tubing alone
        (1_145_000, 1_000_000),
        (1_144_999, 999_999),
    ],
)
def test_a_prime_is_what_fills_the_line_in_a_pump_at_the_top_of_its_accuracy(
    line: int, volume: int
) -> None:
    assert prime_volume(NanoLitres(line - ITP.tubing), ITP) == volume


@pytest.mark.requirement("SR-13")
@given(st.integers(0, ITP.catheter_max))
def test_no_prime_pushes_anything_out_of_an_empty_line_and_one_nanolitre_more_might(
    catheter: int,
) -> None:
    line, volume = ITP.tubing + catheter, prime_volume(NanoLitres(catheter), ITP)
    assert volume * 1_145 <= line * 1_000 < (volume + 1) * 1_145


@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("line", "stray"),
    [
        ("0.4 mL", 58_000),
        ("0.485 mL", 70_325),  # 485,000 x 0.145, exactly
        ("0.485001 mL", 70_326),  # 70,325.145, rounded up
    ],
)
def test_line_and_bridge_part_by_the_accuracy_of_the_bridges_volume_rounded_up(
    line: str, stray: int
) -> None:
    program = program_of(therapy_of(NEW, DOSE, before=OLD, line=line))
    assert stray_volume(program, ITP) == stray
    assert stray_volume(replace(program, bridge=None), ITP) == 0


@pytest.mark.requirement("SR-12")
def test_two_mixes_differ_in_every_drug_that_either_of_them_holds() -> None:
    before = {"morphine": "10 mg/mL", "fentanyl": "1 mg/mL"}
    after = {"morphine": "25 mg/mL", "baclofen": "0.5 mg/mL"}
    program = program_of(therapy_of(after, DOSE, before=before))
    by = [("morphine", "15 mg/mL"), ("fentanyl", "1 mg/mL"), ("baclofen", "0.5 mg/mL")]
    assert differences(program) == tuple(
        DrugInPump(name, parse_concentration(strength)) for name, strength in by
    )
    assert differences(replace(program, bridge=None)) == tuple(
        DrugInPump(name, parse_concentration("0 mg/mL")) for name in after
    )


# --- what a prime pushes out ---------------------------------------------------------------------


def unprimed(limits: DoseLimits | None = None, rate: str = DOSE) -> ProgramPump:
    therapy = therapy_of(OLD, rate, primed=False)
    return command_of(limited(therapy, limits or dose_limits()))


def prime(gone: int = 0, over: int = HOUR) -> Prime:
    """The prime of the first fill of 18 mL, once the pump counts ``gone`` nL less than that."""
    left = PumpEvidence(Milliseconds(0), NanoLitres(18_000_000 - gone), FIRST_FILL)
    return Prime(PrimeOutput(NanoLitres(PRIME_NL), Milliseconds(over), FIRST_FILL), ITP, left)


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(
    ("gone", "out"),
    [(0, 0), (1, 2), (20_000, 22_900), (26_201, 30_001), (-1, 0)],  # 26,201 x 1.145 = 30,000.145
)
def test_what_the_basal_has_put_into_the_line_is_pushed_out_at_the_top_of_the_accuracy(
    gone: int, out: int
) -> None:
    assert pushed_out(unprimed().program, prime(gone)) == out


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
def test_what_a_prime_may_push_out_is_reserved_from_its_intent_on() -> None:
    story = running(unprimed())
    story.now = MINUTE
    intent = story.do(prime(gone=20_000))
    assert intent.stray == 22_900
    (held,) = story.state.reservations
    assert held == Reservation(
        intent.id,
        (DrugInPump("morphine", parse_concentration("10 mg/mL")),),
        Milliseconds(MINUTE),
        Milliseconds(HOUR),
        Milliseconds(MINUTE + SLACK + HOUR),
        least=NanoLitres(0),
        most=NanoLitres(22_900),
        closed=False,
        what="prime",
    )
    (move,) = story.state.line_moves
    assert (move.id, move.what, move.latest_end) == (intent.id, "prime", held.latest_end)
    # The line held nothing of the prime's own: only what it pushed out counts, and that once.
    assert (move.stray, move.mixes) == (0, ())
    story.now = HOUR
    story.tell(Counted(instant(HOUR), intent.id, "executed", NanoLitres(PRIME_NL)))
    over = replace(held, latest_end=Milliseconds(HOUR), closed=True, counted=True)
    assert story.state.reservations == (over,)
    assert story.state.line_moves == ()
    assert story.state == fold(story.journal)


@pytest.mark.requirement("SR-13")
def test_a_prime_that_the_pump_refused_has_pushed_nothing_out() -> None:
    story = running(unprimed())
    story.settle(story.ask(prime(gone=20_000)).id, "refused")
    assert story.state.reservations == ()


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("volume", "ok"), [(7_100, True), (7_101, False)])
def test_a_bolus_after_a_prime_leaves_room_for_what_the_prime_has_pushed_out(
    volume: int, ok: bool
) -> None:
    story = running(unprimed())
    intent = story.do(prime(gone=20_000))
    story.now = HOUR
    assert rules(story.ask(bolus_nl(1))) == ["SR-13"]
    story.tell(Counted(instant(HOUR), intent.id, "executed", NanoLitres(PRIME_NL)))
    # 0.4 mg an hour less 0.1 mg of basal and 22,900 nL x 10 mg/mL = 0.229 mg: 0.071 mg are left.
    answer = story.ask(bolus_nl(volume))
    assert isinstance(answer, Intended) is ok
    assert ok or rules(answer) == ["SR-14"]
    if not ok:
        story.now = 2 * HOUR  # the edge of the window counts
        assert rules(story.ask(bolus_nl(volume))) == ["SR-14"]
        story.now += 1
        assert isinstance(story.ask(bolus_nl(volume)), Intended)


WINDOWS = [
    # the limits of one bolus, an hour, 4 hours and a day; the basal takes 0.1, 0.4 and 2.4 mg
    (("0.2 mg", "0.4 mg", "4 mg", "4 mg"), "1 hour"),
    (("0.2 mg", "0.7 mg", "0.7 mg", "4 mg"), "4 hours"),
    (("0.2 mg", "2.7 mg", "2.7 mg", "2.7 mg"), "24 hours"),
]


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("limits", "window"), WINDOWS)
@pytest.mark.parametrize(("gone", "ok"), [(26_200, True), (26_201, False)])
def test_what_a_prime_pushes_out_fits_every_window(
    limits: tuple[str, ...], window: str, gone: int, ok: bool
) -> None:
    # Each window leaves 0.3 mg, 30,000 nL: 26,200 x 1.145 = 29,999, and one more is 30,000.145.
    answer = running(unprimed(dose_limits(*limits))).ask(prime(gone))
    assert isinstance(answer, Intended) is ok
    if not ok:
        (finding,) = findings(answer)
        assert (finding.rule, finding.severity, finding.path) == ("SR-13", "hard", "prime")
        assert f"{finding.value} of morphine have gone into the line since" in finding.message
        assert finding.value in ("300.01 mcg", "0.30001 mg")  # in the unit of the limit
        assert f"of earlier boluses the limit of {window} is" in finding.message


@pytest.mark.requirement("SR-13")
def test_the_account_of_a_granted_prime_asks_for_what_it_pushes_out() -> None:
    story = running(unprimed())
    before = story.state
    answer = story.ask(prime(26_200))
    assert isinstance(answer, Intended)
    asked = {account.asked for account in windows_of(before, answer)}
    assert asked == {answer.stray * 10**7}, "morphine of 10 mg/mL: 10^7 fg in each nL"


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("gone", "ok"), [(21_834, True), (21_835, False)])
def test_what_a_prime_pushes_out_leaves_room_for_the_boluses_before_it(gone: int, ok: bool) -> None:
    story = running(unprimed())
    bolus = story.do(bolus_nl(5_000))
    story.tell(Counted(instant(0), bolus.id, "executed", NanoLitres(5_000)))
    # 0.3 mg less a bolus of 0.05 mg are 25,000 nL: 21,834 x 1.145 = 24,999.93, then 25,001.075.
    answer = story.ask(prime(gone))
    assert isinstance(answer, Intended) is ok
    assert ok or "50 mcg of earlier boluses" in findings(answer)[0].message


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("now", "ok"), [(DAY, False), (DAY + 1, True)])
def test_what_a_prime_pushes_out_leaves_room_for_the_basal_before(now: int, ok: bool) -> None:
    limits = dose_limits("0.2 mg", "0.4 mg", "2 mg", "6 mg")
    story = running(unprimed(limits, "4.8 mg/day"))
    story.do(unprimed(limits))
    story.now = now
    # 0.4 mg an hour less the 0.2 mg of the program before, while a day may hold it: 20,000 nL.
    answer = story.ask(prime(gone=17_468))  # x 1.145 = 20,000.86
    assert isinstance(answer, Intended) is ok
    assert ok or rules(answer) == ["SR-13"]


@pytest.mark.requirement("SR-15")
@pytest.mark.parametrize("what", ["prime", "bridge", "bolus"])
def test_what_was_pushed_out_or_strayed_is_no_bolus_of_the_lockout_and_of_the_days_count(
    what: str,
) -> None:
    one = Reservation(
        1,
        (),
        Milliseconds(0),
        Milliseconds(0),
        Milliseconds(MINUTE),
        NanoLitres(0),
        NanoLitres(1),
        what=what,  # type: ignore[arg-type]
    )
    few = replace(ITP, boluses_per_day_max=1)
    judged = judge_lockout((one,), bolus_nl(1).bolus, few, Milliseconds(SLACK), instant(0))
    assert [finding.rule for finding in judged] == (["SR-15", "SR-05"] if what == "bolus" else [])


# --- what strays at the end of a bridge ----------------------------------------------------------


def bridged(
    old: dict[str, str] = OLD,
    new: dict[str, str] = NEW,
    rate: str = DOSE,
    fill: int = 2,
    limits: DoseLimits | None = None,
) -> ProgramPump:
    therapy = therapy_of(new, rate, before=old, fill=fill)
    return command_of(limited(therapy, limits) if limits else therapy)


def bridging(command: ProgramPump | None = None, old: dict[str, str] = OLD) -> Story:
    """A pump that began a bridge at time 0; the old program has left all windows by its end."""
    story = running(command_of(therapy_of(old, DOSE)))
    story.do(command or bridged(old))
    return story


def ended(story: Story, state: str = "executed") -> None:
    (move,) = story.state.line_moves
    story.tell(Counted(instant(story.now), move.id, state, NanoLitres(LINE_NL)))  # type: ignore[arg-type]


@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (NEW, OLD)])
@pytest.mark.parametrize("state", ["executed", "interrupted"])
def test_once_a_bridge_is_over_what_may_have_strayed_counts_by_the_difference_of_the_mixes(
    old: dict[str, str], new: dict[str, str], state: str
) -> None:
    story = bridging(bridged(old, new), old)
    (move,) = story.state.line_moves
    assert (move.stray, story.state.reservations) == (STRAY_NL, ())
    story.now = 3 * DAY
    ended(story, state)
    (held,) = story.state.reservations
    assert held == Reservation(
        move.id,
        (DrugInPump("morphine", parse_concentration("10 mg/mL")),),
        Milliseconds(3 * DAY),
        Milliseconds(0),
        Milliseconds(3 * DAY),
        least=NanoLitres(0),
        most=NanoLitres(58_000),
        closed=True,
        what="bridge",
        counted=True,
    )
    assert held.most_of("morphine") == 580_000_000_000  # 0.058 mL x 10 mg/mL = 0.58 mg
    # The same word again, of a bridge that is over, is no news.
    story.tell(Counted(instant(story.now), move.id, "executed", NanoLitres(LINE_NL)))
    assert story.state.reservations == (held,)
    assert story.state.line_moves == ()
    story.restart()
    assert story.state == fold(story.journal)


@pytest.mark.requirement("SR-14")
@pytest.mark.parametrize(("volume", "ok"), [(6_000, True), (6_001, False)])
def test_a_bolus_after_a_bridge_leaves_room_for_what_may_have_strayed(
    volume: int, ok: bool
) -> None:
    story = bridging(bridged(limits=dose_limits("0.2 mg", "0.8 mg", "4 mg", "4 mg")))
    story.now = 3 * DAY
    ended(story)
    # 0.8 mg an hour less 0.1 mg of basal and 0.58 mg astray: 0.12 mg, 6,000 nL at 20 mg/mL.
    answer = story.ask(bolus_nl(volume))
    assert isinstance(answer, Intended) is ok
    assert ok or rules(answer) == ["SR-14"]
    story.now += HOUR + 1
    if not ok:
        assert isinstance(story.ask(bolus_nl(volume)), Intended)


@pytest.mark.requirement("SR-14")
def test_what_strayed_leaves_the_longest_window_after_a_day() -> None:
    story = bridging()
    story.now = 3 * DAY
    ended(story)
    assert len(reservations_at(story.state, instant(4 * DAY))) == 1
    assert reservations_at(story.state, instant(4 * DAY + 1)) == ()


# --- which program's bridge it is ----------------------------------------------------------------


LEFT = PumpEvidence(
    Milliseconds(0), NanoLitres(17_900_000), Milliseconds(FIRST_FILL + MONTH), NanoLitres(300_000)
)


@pytest.mark.requirement("SR-12")
def test_a_program_that_goes_on_with_a_bridge_takes_the_place_of_the_one_before() -> None:
    story = bridging()
    (before,) = story.state.line_moves
    story.now = HOUR
    intent = story.ask(replace(bridged(rate="2 mg/day"), evidence=LEFT))
    # Until the pump is known to have taken it, it may be following either.
    assert [one.id for one in story.state.line_moves] == [before.id, intent.id]
    story.settle(intent.id)
    assert [one.id for one in story.state.line_moves] == [intent.id]


@pytest.mark.requirement("SR-12")
def test_a_program_that_was_refused_ends_no_bridge_of_the_one_before() -> None:
    story = bridging()
    (before,) = story.state.line_moves
    story.now = HOUR
    story.settle(story.ask(replace(bridged(rate="2 mg/day"), evidence=LEFT)).id, "refused")
    assert story.state.line_moves == (before,)


@pytest.mark.requirement("SR-12")
def test_a_bridge_is_not_waited_for_once_two_persons_have_let_another_fill_take_its_place() -> None:
    """The pump will never say that it is over: its program does not bridge."""
    story = bridging()
    story.now = HOUR
    refill = command_of(therapy_of(NEW, DOSE, fill=3))
    assert rules(story.ask(refill)) == ["SR-12"]
    intent = story.do(refill, TWO)
    (flush,) = story.state.line_moves
    # 0.4 mL at 0.12 mL/day by a pump that is 14.5 % slow: 93.57 h.
    assert (flush.id, flush.what, flush.stray) == (intent.id, "flush", 0)
    assert flush.latest_end == HOUR + SLACK + -(-LINE_NL * DAY * 1_000 // (120_000 * 855))
    story.now = flush.latest_end - 1
    assert "SR-12" in rules(story.ask(bolus_nl(1)))
    story.now = flush.latest_end
    assert isinstance(story.ask(bolus_nl(1)), Intended)


def test_an_entry_that_ends_and_delivers_nothing_reserves_nothing() -> None:
    story = running(unprimed())
    now = instant(story.now)
    odd = Intended(now, 99, "give-bolus", (), "BENCH-012", latest_end=now.slow)
    story.tell(odd)
    assert (story.state.reservations, story.state.line_moves) == ((), ())


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-14")
def test_no_prime_is_given_while_nobody_knows_what_a_window_holds() -> None:
    story = running(unprimed())
    story.tell(Raised(instant(0), Alarm("over-delivery", "HIGH", "SR-54", "a test")))
    assert "SR-14" in rules(story.ask(prime()))


@pytest.mark.requirement("SR-13")
def test_a_prime_that_was_counted_is_not_taken_back_by_a_later_refusal() -> None:
    story = running(unprimed())
    intent = story.ask(prime(gone=20_000))
    assert isinstance(intent, Intended)
    story.settle(intent.id, "UNCERTAIN")
    story.tell(Counted(instant(story.now), intent.id, "running", NanoLitres(1)))
    story.settle(intent.id, "refused")
    assert [one.id for one in story.state.reservations] == [intent.id]
    assert [one.id for one in story.state.line_moves] == [intent.id]
    assert "SR-13" in rules(story.ask(prime(gone=20_000)))


@pytest.mark.requirement("SR-13")
def test_a_program_that_is_applied_again_ends_no_prime() -> None:
    story = running(unprimed())
    story.do(prime())
    story.now = MINUTE
    story.do(unprimed())
    assert [one.what for one in story.state.line_moves] == ["prime"]


@pytest.mark.requirement("SR-12")
def test_only_a_prime_ends_by_mere_time() -> None:
    story = running(unprimed())
    story.do(prime())
    (move,) = story.state.line_moves
    last = HOUR + SLACK
    assert [move.has_ended(instant(now)) for now in (last - 1, last)] == [False, True]
    (bridge,) = bridging().state.line_moves
    assert not bridge.has_ended(instant(bridge.latest_end + 1_000 * DAY))


@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-13")
def test_with_the_next_move_only_primes_that_are_over_are_forgotten() -> None:
    story = bridging()
    story.now = 1_000 * DAY
    (bridge,) = story.state.line_moves
    over = replace(bridge, id=77, what="prime", latest_end=Milliseconds(story.now))
    lasting = replace(over, id=78, latest_end=Milliseconds(story.now + 1))
    story.state = replace(story.state, line_moves=(bridge, over, lasting))
    intent = story.ask(replace(bridged(), evidence=LEFT))
    assert [one.id for one in story.state.line_moves] == [bridge.id, 78, intent.id]


@pytest.mark.requirement("SR-12")
def test_a_pump_that_lost_its_program_does_not_know_what_it_still_had_to_move() -> None:
    story = bridging()
    story.now = HOUR
    story.tell(Unverified(instant(HOUR), 0, "the battery failed", False))
    nothing_left = replace(LEFT, line_left=NanoLitres(0))
    intent = story.do(replace(bridged(), evidence=nothing_left))
    (move,) = story.state.line_moves
    # All of 0.4 mL at 0.12 mL a day, the basal's flow, at 14.5 % less: 80 h / 0.855.
    assert (move.id, move.latest_end) == (intent.id, HOUR + SLACK + -(-80 * HOUR * 1_000 // 855))
    assert move.stray == STRAY_NL


# --- what nobody asks after any more -------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-21")
def test_a_bolus_that_is_no_longer_asked_after_may_have_begun_just_now() -> None:
    """A device that has forgotten an id may have carried it out at any time until then."""
    story = running(command_of(limited(therapy_of(OLD, DOSE), dose_limits())))
    intent = story.ask(bolus_nl(20_000, over=10 * MINUTE))
    story.settle(intent.id, "UNCERTAIN")
    story.now = 30 * HOUR
    story.tell(Unverified(instant(story.now), intent.id, "forgotten", True))
    assert story.state.unsettled == ()
    (held,) = story.state.reservations
    assert (held.begun, held.latest_end) == (0, 30 * HOUR + 10 * MINUTE)
    assert (held.least, held.most, held.closed) == (0, 20_000, False)
    assert story.state.full_until == 30 * HOUR + DAY


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-21")
def test_a_prime_that_is_no_longer_asked_after_may_have_begun_just_now() -> None:
    story = running(unprimed())
    intent = story.ask(prime(gone=20_000))
    story.now = 30 * HOUR
    other = Unverified(instant(story.now), 77, "another", False)
    story.tell(other)
    (move,) = story.state.line_moves
    assert move.latest_end == SLACK + HOUR
    story.tell(replace(other, id=intent.id))
    (move,) = story.state.line_moves
    (held,) = story.state.reservations
    # It may lie on the way for its slack still, and then takes its hour.
    assert (move.latest_end, held.latest_end) == (30 * HOUR + SLACK + HOUR, 31 * HOUR)
    assert story.state.primed_fills == (FIRST_FILL,)


@pytest.mark.requirement("SR-20")
def test_an_id_stands_for_one_intent_only() -> None:
    story = running(command_of(limited(therapy_of(OLD, DOSE), dose_limits())))
    story.ids = 0
    finding = findings(story.ask(bolus_nl(1)))[0]
    assert (finding.rule, finding.severity, finding.path) == ("SR-20", "hard", "id")
    assert finding.message == "the id 0x1 was used before"
    assert isinstance(story.ask(bolus_nl(1)), Intended)


# --- the windows of a file -----------------------------------------------------------------------


def review(therapy: InfusionTherapy) -> list[tuple[str, str, str]]:
    program = program_of(therapy)
    limits, _ = pump_limits(therapy, FORMULARY)
    judged = review_infusion(program, therapy, limits, ITP, FORMULARY, starting=())
    return [(one.rule, one.severity, one.path) for one in judged]


def of_bridge(rule: str, name: str = "morphine", severity: str = "hard") -> tuple[str, str, str]:
    return rule, severity, f"bridge.from.{name}"


@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("per_hour", "per_4_hours", "found"),
    [
        ("0.2 mg", "0.8 mg", []),
        ("0.199999 mg", "0.8 mg", [of_bridge("SR-05")]),
        ("0.2 mg", "0.799999 mg", [of_bridge("SR-05")]),
    ],
)
def test_a_stronger_mix_that_comes_too_soon_leaves_at_the_bridges_flow(
    per_hour: str, per_4_hours: str, found: list[tuple[str, str, str]]
) -> None:
    # 20 instead of 10 mg/mL at 10,000 nL an hour: 0.1 mg more than the basal's 0.1 mg.
    therapy = therapy_of(NEW, DOSE, before=OLD)
    limits = dose_limits("0.1 mg", per_hour, per_4_hours, "20 mg")
    assert review(limited(therapy, limits)) == found


@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("per_hour", "found"), [("0.2 mg", []), ("0.199999 mg", [of_bridge("SR-05")])]
)
def test_a_stronger_mix_that_is_left_behind_leaves_at_the_basals_flow(
    per_hour: str, found: list[tuple[str, str, str]]
) -> None:
    # 20 instead of 10 mg/mL at the new mix's 10,000 nL an hour, after a bridge of 5,000.
    therapy = therapy_of(OLD, DOSE, before=NEW)
    assert review(limited(therapy, dose_limits("0.1 mg", per_hour, "2 mg", "9 mg"))) == found


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("rate", "found"),
    [("9.536 mg/day", []), ("9.536002 mg/day", [of_bridge("SR-04", severity="soft")])],
)
def test_no_more_strays_in_a_day_than_the_accuracy_leaves(
    rate: str, found: list[tuple[str, str, str]]
) -> None:
    # 0.058 mL x (10 - 2) mg/mL = 0.464 mg, and 10 mg a day is the formulary's soft limit. The
    # next step of the pump is 2 ng a day more.
    assert review(therapy_of({"morphine": "2 mg/mL"}, rate, before=OLD)) == found


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("per_day", "found"),
    [("158 mcg", []), ("157.999999 mcg", [of_bridge("SR-04", "fentanyl")])],
)
def test_a_drug_that_is_new_in_the_mix_may_come_too_soon(
    per_day: str, found: list[tuple[str, str, str]]
) -> None:
    # 0.1 mL a day of 1 mg/mL are 100 mcg; 0.058 mL of it may leave before the bridge is over.
    therapy = therapy_of({**NEW, "fentanyl": "1 mg/mL"}, "2 mg/day", before=OLD)
    limits = dose_limits(None, per_day, per_day, per_day)
    assert review(limited(therapy, limits, drug_number=1)) == found


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-12")
@pytest.mark.parametrize(
    ("per_day", "found"), [("1.73 mg", []), ("1.729999 mg", [of_bridge("SR-04")])]
)
def test_what_strays_and_the_presses_after_it_share_a_day(
    per_day: str, found: list[tuple[str, str, str]]
) -> None:
    """The button opens one lockout after the old mix has left, so not all of both fit in."""
    # 1 mg of basal. At 0.1 mL a day all 58,000 nL have strayed by the 14th hour: 0.58 mg. That
    # hour counted from its beginning, 10 h of lockout leave the last one for a press of 0.15 mg:
    # 0.73 mg. Two presses need 10 h more, in whose place only 4/24 of 0.1 mL stray: 0.16667 +
    # 0.3 mg. The basal with all three presses of a day has 1.45 mg.
    press = button("0.15 mg", lockout="10 h", most=3)
    therapy = therapy_of(NEW, "1 mg/day", before=OLD, button=press)
    assert review(limited(therapy, dose_limits("0.2 mg", "1 mg", "1.5 mg", per_day))) == found


@pytest.mark.requirement("SR-04")
def test_what_the_basal_and_its_button_overfill_is_not_said_of_the_bridge() -> None:
    press = button("0.15 mg", lockout="8 h", most=3)
    therapy = therapy_of(NEW, "1 mg/day", before=OLD, button=press)
    judged = review(limited(therapy, dose_limits("0.2 mg", "1 mg", "1.4 mg", "1.4 mg")))
    assert [path for rule, _, path in judged if rule == "SR-04"] == ["patient_bolus.dose"]
