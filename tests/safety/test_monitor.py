"""The monitor on a pump: its meters against what was granted, at every border."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bench import (
    DAY,
    HOUR,
    HOURLY,
    IDENTITY,
    MINUTE,
    button_nl,
    limits_nl,
    pump_case,
)
from monitor_bench import (
    BOTTOM,
    HONEST,
    PPM,
    SECOND,
    TOP,
    PaperPump,
    Vigil,
    first,
    granted_to,
    quiet,
    vigil,
)

from device_profiles.formulary import StopPolicy
from device_profiles.quantities import (
    Milliseconds,
)
from safety import monitor_plan, monitor_pump
from safety.alarm_table import Priority
from safety.granted import Granted
from safety.limits import pump_limits
from safety.monitor import judge_age
from safety.monitor_readings import Track

POLICIES: list[tuple[StopPolicy, Priority]] = [
    ("never-stop", "HIGH"),
    ("hold-basal", "MEDIUM"),
    ("may-stop", "LOW"),
]


# --- too much ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("gain", [TOP, BOTTOM, HONEST])
@pytest.mark.parametrize("poll", [SECOND, 7 * SECOND, MINUTE, 17 * MINUTE])
def test_a_pump_within_its_accuracy_is_never_alarmed(gain: int, poll: int) -> None:
    quiet(vigil(((0, 6 * HOURLY), (720, 2 * HOURLY)), gain=gain).wait(200 * poll, poll))


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F101")
def test_a_pump_that_strokes_too_much_is_alarmed_after_five_minutes_and_not_before() -> None:
    told = vigil(gain=1_500_000).wait(6 * MINUTE)
    assert first(told, "over-delivery") == 5 * MINUTE
    assert {code for _, code in told} == {"over-delivery"}


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize(("gain", "alarmed"), [(TOP, False), (TOP + 2_000, True)])
def test_the_accuracy_itself_is_no_alarm_and_a_little_more_is(gain: int, alarmed: bool) -> None:
    told = vigil(((0, 100 * HOURLY),), gain=gain).wait(10 * MINUTE)
    assert (first(told, "over-delivery") is not None) is alarmed


@pytest.mark.requirement("SR-54")
def test_too_much_of_a_bolus_is_alarmed_after_one_minute() -> None:
    watched = vigil(gain=1_400_000)
    watched.wait(20 * MINUTE)  # the basal alone has told by now; only what follows counts
    watched.track = Track()
    watched.look()
    watched.pump.begin(5_000, 4 * MINUTE, watched.grant(5_000, 4 * MINUTE))
    begun = watched.at
    told = watched.wait(4 * MINUTE)
    assert first(told, "over-delivery") == begun + MINUTE


@pytest.mark.requirement("SR-54")
def test_a_granted_bolus_is_no_over_delivery_whenever_it_begins_within_its_slack() -> None:
    for delay in (0, 3 * SECOND, 5 * SECOND):
        watched = vigil(gain=TOP)
        watched.wait(MINUTE)
        bolus = watched.grant(5_000, 2 * MINUTE)
        quiet(watched.wait(delay))
        watched.pump.begin(5_000, 2 * MINUTE, bolus)
        quiet(watched.wait(10 * MINUTE))


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F102")
def test_free_flow_is_alarmed_at_once_by_the_flow_and_by_the_odometer_alone() -> None:
    for shown in (None, 6 * HOURLY):
        watched = vigil()
        quiet(watched.wait(MINUTE))
        watched.pump.free, watched.pump.shown_flow = 100_000_000, shown
        assert first(watched.wait(2 * SECOND), "free-flow") in (61 * SECOND, 62 * SECOND)


@pytest.mark.requirement("SR-54")
def test_the_largest_flow_that_the_pump_can_be_programmed_to_is_no_free_flow() -> None:
    quiet(vigil(((0, 24_000_000),), gain=TOP).wait(2 * MINUTE))


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F54")
def test_a_bolus_that_the_journal_does_not_know_is_high_at_once() -> None:
    watched = vigil()
    watched.pump.begin(1, MINUTE, 0xBAD)
    (alarm,) = [one for one in watched.look() if one.code == "delivery-without-intent"]
    assert (alarm.priority, "0xbad" in alarm.text) == ("HIGH", True)


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F37")
def test_far_more_than_basal_and_button_is_a_delivery_without_intent_at_once() -> None:
    watched = vigil(button=button_nl(700))
    watched.pump.free = 20 * HOURLY
    assert "delivery-without-intent" in {code for _, code in watched.wait(SECOND)}


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("state", ["halted", "empty-program"])
def test_any_flow_of_a_pump_that_says_it_stands_still_is_a_delivery_without_intent(
    state: str,
) -> None:
    watched = vigil()
    watched.pump.state, watched.pump.free = state, 1
    assert "delivery-without-intent" in watched.codes()


@pytest.mark.requirement("SR-30")
def test_a_reading_from_before_the_first_program_misses_nothing() -> None:
    watched = vigil()
    watched.pump.state, watched.pump.shown_flow, watched.pump.reservoir = "empty-program", 0, 0
    watched.track = Track()
    assert watched.codes() == set()
    watched.pump.state, watched.track = "halted", Track()
    assert watched.codes() == {"no-flow", "low-reservoir"}


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize(
    ("state", "alarmed"), [("empty-program", True), ("halted", True), ("running", False)]
)
def test_a_pump_that_follows_no_program_lets_nothing_flow_though_the_journal_is_empty(
    state: str, alarmed: bool
) -> None:
    watched = vigil()
    watched.granted = Granted(IDENTITY)
    watched.pump.state, watched.pump.shown_flow = state, 1
    assert ("delivery-without-intent" in watched.codes()) == alarmed


@pytest.mark.requirement("SR-54")
def test_presses_are_an_excuse_for_as_much_as_the_button_gives_and_no_more() -> None:
    watched = vigil(gain=TOP, button=button_nl(700, over=2 * MINUTE))
    quiet(watched.wait(6 * MINUTE))
    watched.pump.begin(700, 2 * MINUTE)
    quiet(watched.wait(10 * MINUTE))
    watched.pump.free = 30 * HOURLY
    told: list[tuple[int, str]] = []
    for _ in range(6 * 60):
        watched.pump.presses += 1  # it says so, and lockout and count do not allow it
        told += watched.wait(SECOND)
    assert first(told, "over-delivery") is not None


@pytest.mark.requirement("SR-54")
def test_a_press_stays_an_excuse_when_the_same_program_is_committed_once_more() -> None:
    """A pump counts its presses anew with every Commit; the window goes on."""
    watched = vigil(button=button_nl(15_000, over=2 * MINUTE))
    quiet(watched.wait(6 * MINUTE))
    watched.pump.begin(15_000, 2 * MINUTE)
    quiet(watched.wait(150 * SECOND))
    watched.pump.presses = 0
    quiet(watched.wait(10 * MINUTE))
    watched.pump.free = 30 * HOURLY
    assert first(watched.wait(10 * MINUTE), "over-delivery") is not None, "and it is no other"


@pytest.mark.requirement("SR-54")
def test_a_button_that_nobody_presses_excuses_nothing() -> None:
    told = vigil(gain=1_300_000, button=button_nl(15_000)).wait(6 * MINUTE)
    assert first(told, "over-delivery") == 5 * MINUTE


@pytest.mark.requirement("SR-54")
@pytest.mark.requirement("SR-14")
def test_a_limit_is_seen_by_the_odometer_even_where_a_bolus_was_granted_in_error() -> None:
    case = pump_case(((0, HOURLY),), limits=limits_nl(1_000, 3_000, 9_000, 50_000))
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    watched = Vigil(PaperPump(case.program), granted_to(case.program, limits=limits))
    watched.look()
    quiet(watched.wait(HOUR, MINUTE))
    watched.pump.begin(4_000, 10 * MINUTE, watched.grant(4_000, 10 * MINUTE))
    (alarm,) = {a.code: a for _ in range(12) for a in watched.next(MINUTE)}.values()
    assert (alarm.code, alarm.priority) == ("over-limit", "HIGH")
    assert "within 1 hour" in alarm.text


@pytest.mark.requirement("SR-54")
def test_readings_of_every_second_keep_a_mark_a_minute_and_a_day_of_them() -> None:
    case = pump_case(((0, HOURLY),))
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    watched = Vigil(PaperPump(case.program), granted_to(case.program, limits=limits))
    watched.look()
    watched.wait(3 * MINUTE)
    assert [at for at, _ in watched.track.hours] == [0, MINUTE, 2 * MINUTE, 3 * MINUTE]
    watched.wait(DAY, HOUR)
    assert [at for at, _ in watched.track.hours][:2] == [3 * MINUTE, HOUR + 3 * MINUTE]


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("absent", ["per_hour", "per_day"])
def test_a_window_that_no_layer_limits_alarms_nothing_and_the_others_still_do(absent: str) -> None:
    case = pump_case(((0, HOURLY),), limits=limits_nl(1_000, 3_000, 9_000_000, 3_500))
    limits, _ = pump_limits(case.therapy, case.command.formulary)
    bare = replace(limits.drugs[0], **{absent: None})  # type: ignore[arg-type]
    without = replace(limits, drugs=(bare,))
    watched = Vigil(PaperPump(case.program), granted_to(case.program, limits=without))
    watched.look()
    watched.wait(MINUTE, MINUTE)
    watched.pump.begin(5_000, 10 * MINUTE, watched.grant(5_000, 10 * MINUTE))
    found = [alarm for _ in range(12) for alarm in watched.next(MINUTE)]
    assert {alarm.code for alarm in found} == {"over-limit"}
    words = {"per_hour": "within 24 hours", "per_day": "within 1 hour"}[absent]
    assert all(words in alarm.text for alarm in found)


@pytest.mark.requirement("SR-54")
def test_lower_limits_do_not_judge_what_was_given_under_the_old_ones() -> None:
    case = pump_case(((0, 6 * HOURLY),))
    wide, _ = pump_limits(case.therapy, case.command.formulary)
    lower = pump_case(((0, HOURLY),), limits=limits_nl(1_000, 3_000, 9_000, 40_000))
    narrow, _ = pump_limits(lower.therapy, lower.command.formulary)
    watched = Vigil(PaperPump(case.program), granted_to(case.program, limits=wide))
    watched.look()
    quiet(watched.wait(DAY, HOUR))
    watched.granted = replace(watched.granted, program=lower.program, limits=narrow)
    watched.pump.program = lower.program
    quiet(watched.wait(DAY, HOUR))


# --- too little ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(("policy", "priority"), POLICIES)
def test_no_flow_is_told_at_once_as_urgent_as_its_drugs_withdrawal(
    policy: StopPolicy, priority: Priority
) -> None:
    watched = vigil(policy=policy)
    watched.pump.gain = 0
    watched.pump.advance(SECOND)
    watched.at += SECOND
    (alarm,) = watched.look()
    assert (alarm.code, alarm.priority) == ("no-flow", priority)


@pytest.mark.requirement("SR-54")
@pytest.mark.fault("F101")
@pytest.mark.parametrize(("policy", "priority"), POLICIES)
def test_too_little_is_told_from_five_minutes_on(policy: StopPolicy, priority: Priority) -> None:
    watched = vigil(policy=policy, gain=500_000)
    assert first(watched.wait(6 * MINUTE), "under-delivery") == 5 * MINUTE
    (alarm,) = [one for one in watched.look() if one.code == "under-delivery"]
    assert alarm.priority == priority


@pytest.mark.requirement("SR-54")
@pytest.mark.parametrize("name", ["motor-stall", "end-of-service"])
def test_what_the_device_says_of_its_standstill_is_not_said_twice(name: str) -> None:
    watched = vigil()
    watched.pump.gain, watched.pump.alarms = 0, (name,)
    assert watched.codes() == set()


@pytest.mark.requirement("SR-30")
@pytest.mark.fault("F106")
def test_what_a_pump_at_its_end_of_service_withholds_is_told_as_a_deficit_too() -> None:
    watched = vigil(gain=0)
    watched.pump.alarms = ("end-of-service",)
    assert first(watched.wait(8 * HOUR, MINUTE), "deficit") is not None


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize(
    ("policy", "priority"), [("never-stop", "HIGH"), ("hold-basal", "HIGH"), ("may-stop", "LOW")]
)
def test_a_deficit_is_high_once_it_reaches_a_quarter_of_a_day(
    policy: StopPolicy, priority: Priority
) -> None:
    watched = vigil(policy=policy, gain=0)
    told = watched.wait(8 * HOUR, MINUTE)
    # a quarter of a day of the plan is 6 h; what must flow at the least is 85.5 % of it
    assert first(told, "deficit") == -(-6 * HOUR * PPM // BOTTOM // MINUTE) * MINUTE
    (alarm,) = [one for one in watched.look() if one.code == "deficit"]
    assert alarm.priority == priority


@pytest.mark.requirement("SR-54")
def test_the_surplus_of_yesterday_hides_nothing_that_is_missing_today() -> None:
    watched = vigil(gain=TOP)
    quiet(watched.wait(20 * DAY, HOUR))
    watched.pump.gain = 0
    assert first(watched.wait(10 * HOUR, MINUTE), "deficit") is not None


@pytest.mark.requirement("SR-54")
def test_many_small_lacks_add_up_and_a_pump_that_gives_more_makes_up_for_them() -> None:
    watched = vigil()
    told: list[tuple[int, str]] = []
    for _ in range(30):
        for gain, length in ((0, 20 * MINUTE), (BOTTOM, 40 * MINUTE)):
            watched.pump.gain = gain
            told += watched.wait(length, MINUTE)
    assert first(told, "deficit") is not None
    watched.pump.gain = TOP
    watched.wait(5 * DAY, HOUR)
    assert watched.track.missing == 0


@pytest.mark.requirement("SR-54")
def test_a_bolus_in_doubt_is_missed_by_nobody_and_one_that_is_counted_short_is() -> None:
    doubtful = vigil(gain=BOTTOM)
    doubtful.grant(5_000, 2 * MINUTE, outcome="open")
    quiet(doubtful.wait(HOUR))

    counted = vigil(gain=HONEST)
    bolus = counted.grant(5_000, 2 * MINUTE)
    told = counted.wait(3 * MINUTE)  # it says that it delivers, and nothing does
    counted.count(bolus, "executed", 5_000)
    told += counted.wait(MINUTE)
    assert first(told, "bolus-under") == 3 * MINUTE + SECOND


@pytest.mark.requirement("SR-54")
def test_a_bolus_that_is_counted_late_neither_hides_a_missing_basal_nor_is_missed_itself() -> None:
    watched = vigil(gain=BOTTOM)
    bolus = watched.grant(5_000, 2 * MINUTE)
    watched.pump.begin(5_000, 2 * MINUTE, bolus)
    told = watched.wait(4 * MINUTE)
    watched.count(bolus, "executed", 5_000)
    told += watched.wait(10 * MINUTE)
    quiet(told)
    watched.pump.gain = 0
    assert first(watched.wait(9 * HOUR, MINUTE), "deficit") is not None


@pytest.mark.requirement("SR-52")
@pytest.mark.parametrize(("age", "stale"), [(0, []), (3_000, []), (3_001, ["telemetry-stale"])])
def test_a_reading_that_nothing_newer_followed_is_stale(age: int, stale: list[str]) -> None:
    found = judge_age(Milliseconds(age), Milliseconds(3_000))
    assert [(one.code, one.priority) for one in found] == [(code, "MEDIUM") for code in stale]


# --- an honest pump, whatever it is programmed to ------------------------------------------------

FLOWS = st.integers(48_000, 2_000_000)
BASALS = st.sets(st.integers(0, 1_439), min_size=1, max_size=4).flatmap(
    lambda starts: st.tuples(*(FLOWS for _ in starts)).map(
        lambda flows: tuple(zip(sorted(starts), flows, strict=True))
    )
)


@settings(max_examples=60)
@given(
    BASALS,
    st.sampled_from([BOTTOM, 900_000, HONEST, 1_100_000, TOP]),
    st.sampled_from([SECOND, 10 * SECOND, MINUTE, 11 * MINUTE]),
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from(["bolus", "press", "wait"])), max_size=8
    ),
    st.sampled_from([0, 60, -300, 840]),
)
def test_an_honest_pump_is_never_alarmed(
    basal: tuple[tuple[int, int], ...],
    gain: int,
    poll: int,
    story: list[tuple[int, str]],
    offset: int,
) -> None:
    watched = vigil(basal, gain=gain, button=button_nl(900, 3 * MINUTE), utc_offset_min=offset)
    last_press = -HOUR
    for polls, what in story:
        if what == "bolus" and not watched.pump.boluses:
            bolus = watched.grant(3_000, 2 * MINUTE)
            watched.pump.begin(3_000, 2 * MINUTE, bolus)
            quiet(watched.wait(max(3 * MINUTE, poll), poll))
            watched.count(bolus, "executed", 3_000)
        elif what == "press" and watched.at - last_press >= HOUR and not watched.pump.boluses:
            last_press = watched.at
            watched.pump.begin(900, 3 * MINUTE)
        quiet(watched.wait(polls * poll, poll))


# --- wrong twins: each is caught by a test above -------------------------------------------------


def _twin_without_margin(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    patch.setattr(monitor_plan, "widened", lambda value, _: value)
    return lambda: test_a_pump_within_its_accuracy_is_never_alarmed(TOP, MINUTE)


def _twin_without_tolerance(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    patch.setattr(monitor_plan, "BASAL_TOLERANCE", Milliseconds(0))
    return test_a_pump_that_strokes_too_much_is_alarmed_after_five_minutes_and_not_before


def _twin_that_compares_sums_only(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    judged = monitor_plan._judge_deficit

    def sums(track: Track, *rest: object) -> object:
        begun, missing = track.begun, track.missing
        alarms, _ = judged(track, *rest)  # type: ignore[arg-type]
        return alarms, replace(track, begun=begun, missing=missing)

    patch.setattr(monitor_plan, "_judge_deficit", sums)
    return test_the_surplus_of_yesterday_hides_nothing_that_is_missing_today


def _twin_that_believes_every_press(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    patch.setattr(monitor_plan, "bolus_time", lambda *_: 10**9)
    return test_presses_are_an_excuse_for_as_much_as_the_button_gives_and_no_more


def _twin_that_trusts_the_sensor(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """AND for OR: free flow only where flow and odometer agree."""
    patch.setattr(monitor_pump, "_judge_free_flow", lambda *_, **__: [])
    return test_free_flow_is_alarmed_at_once_by_the_flow_and_by_the_odometer_alone


def _twin_that_counts_doubt_as_given(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    least = monitor_plan._least

    def hopeful(begin: object, now: object, granted: object, profile: object) -> int:
        surely = replace(
            granted,  # type: ignore[type-var]
            boluses=tuple(
                replace(one, least=one.most, closed=True, latest_end=one.begun)
                for one in granted.boluses  # type: ignore[attr-defined]
            ),
        )
        return least(begin, now, surely, profile)  # type: ignore[arg-type]

    patch.setattr(monitor_plan, "_least", hopeful)
    return test_a_bolus_in_doubt_is_missed_by_nobody_and_one_that_is_counted_short_is


def _twin_that_calls_old_fresh(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    patch.setitem(globals(), "judge_age", lambda *_: ())
    return lambda: test_a_reading_that_nothing_newer_followed_is_stale(3_001, ["telemetry-stale"])


@pytest.mark.parametrize(
    "twin",
    [
        _twin_without_margin,
        _twin_without_tolerance,
        _twin_that_compares_sums_only,
        _twin_that_believes_every_press,
        _twin_that_trusts_the_sensor,
        _twin_that_counts_doubt_as_given,
        _twin_that_calls_old_fresh,
    ],
)
def test_a_wrong_twin_of_the_judge_is_caught(
    twin: Callable[[pytest.MonkeyPatch], Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = twin(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        test()
