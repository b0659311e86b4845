"""Alarms: one table for all of them, a board that loses none, silence that ends by itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import MINUTE, Story, instant, programmed, pump_case

from device_profiles.quantities import Milliseconds
from safety import alarms as board_module
from safety.alarm_table import KINDS, OTHER, AlarmKind, Priority
from safety.alarms import (
    LONGEST_PAUSE,
    ActiveAlarm,
    Alarm,
    Pause,
    in_order,
    is_latched,
    is_news,
    is_silent,
    sounding,
    with_cleared,
    with_looked,
    with_raised,
)
from safety.commands import Instant
from safety.events import Cleared, Looked, Paused, Raised, Unverified
from safety.noticed import Noticed, noticed

ROOT = Path(__file__).parents[2]
PRIORITIES: tuple[Priority, ...] = ("HIGH", "MEDIUM", "LOW")


def alarm(code: str = "over-delivery", priority: Priority = "HIGH") -> Alarm:
    return Alarm(code, priority, "SR-54", f"{code} it is")


# --- one table -----------------------------------------------------------------------------------


def raised_in_code() -> Iterator[tuple[str, str, str, str]]:
    """Place, code, priority and requirement of every Alarm that is written out in the floors."""
    for folder in ("safety", "firmware_bridge", "hil"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Alarm":
                    continue
                words = [
                    one.value if isinstance(one, ast.Constant) else "" for one in node.args[:3]
                ]
                if len(words) == 3 and words[0]:
                    yield f"{path.name}:{node.lineno}", *map(str, words)  # type: ignore[misc]


@pytest.mark.requirement("SR-55")
def test_every_alarm_that_is_raised_anywhere_stands_in_the_table_as_it_is_raised() -> None:
    wrong = [
        place
        for place, code, priority, requirement in raised_in_code()
        if (kind := KINDS.get(code)) is None
        or (priority and priority not in kind.priorities)
        or (requirement and requirement not in (kind.requirement, "SR-55"))
    ]
    assert wrong == []
    assert len({code for _, code, _, _ in raised_in_code()}) > 20


@pytest.mark.requirement("SR-55")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_alarm_says_what_it_means_and_what_to_do(kind: AlarmKind) -> None:
    assert kind.priorities == tuple(one for one in PRIORITIES if one in kind.priorities)
    assert kind.means
    assert not kind.means.endswith(".")
    assert re.search(r"[.]$", kind.do)
    assert not (kind.stops and kind.priorities != ("HIGH",))


def page() -> str:
    """The table of `docs/alarms.md`."""
    lines = [
        "| alarm | priority | stays until seen | monitor stops | requirement | means | do |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS.values():
        latched = "yes" if kind.moment else "HIGH" if "HIGH" in kind.priorities else "no"
        if kind.priorities == ("HIGH",):
            latched = "yes"
        stops = "yes" if kind.stops else ""
        name = "any other of a device" if kind is OTHER else f"`{kind.code}`"
        lines.append(
            f"| {name} | {', '.join(kind.priorities)} | {latched} | {stops} | {kind.requirement} "
            f"| {kind.means} | {kind.do} |"
        )
    return "\n".join(lines)


@pytest.mark.requirement("SR-55")
def test_the_page_about_alarms_is_the_table() -> None:
    text = (ROOT / "docs" / "alarms.md").read_text("utf-8")
    assert page() in text, f"docs/alarms.md should hold:\n{page()}"


# --- the board -----------------------------------------------------------------------------------


def board(*steps: object) -> tuple[ActiveAlarm, ...]:
    """The board after raising alarms, clearing codes (text) and looks (None)."""
    found: tuple[ActiveAlarm, ...] = ()
    for number, one in enumerate(steps):
        if isinstance(one, Alarm):
            found = with_raised(found, one, Milliseconds(number))
        elif isinstance(one, str):
            found = with_cleared(found, one)
        else:
            found = with_looked(found)
    return found


def shown(found: tuple[ActiveAlarm, ...]) -> list[tuple[str, Priority, bool, bool]]:
    return [(a.alarm.code, a.alarm.priority, a.over, a.seen) for a in found]


@pytest.mark.requirement("SR-55")
def test_a_high_alarm_stays_until_a_person_has_looked_and_any_other_goes_with_its_condition() -> (
    None
):
    assert shown(board(alarm(), "over-delivery")) == [("over-delivery", "HIGH", True, False)]
    assert board(alarm(), "over-delivery", None) == ()
    assert board(alarm("uncertain", "MEDIUM"), "uncertain") == ()
    assert board(alarm("low-reservoir", "LOW"), "low-reservoir") == ()


@pytest.mark.requirement("SR-55")
def test_what_tells_of_a_moment_stays_until_a_person_has_looked_whatever_its_priority() -> None:
    jump = alarm("clock-jump", "LOW")
    assert shown(board(jump, "clock-jump")) == [("clock-jump", "LOW", True, False)]
    assert board(jump, "clock-jump", None) == ()


@pytest.mark.requirement("SR-55")
def test_a_seen_alarm_that_still_holds_stays_and_goes_with_its_condition() -> None:
    assert shown(board(alarm(), None)) == [("over-delivery", "HIGH", False, True)]
    assert board(alarm(), None, "over-delivery") == ()


@pytest.mark.requirement("SR-55")
def test_an_alarm_that_comes_back_after_a_look_has_to_be_looked_at_again() -> None:
    found = board(alarm(), "over-delivery", None, alarm())
    assert shown(found) == [("over-delivery", "HIGH", False, False)]


@pytest.mark.requirement("SR-55")
def test_nobody_talks_a_high_alarm_down_before_it_was_seen_and_a_higher_one_wakes_again() -> None:
    high, medium = alarm("no-flow"), alarm("no-flow", "MEDIUM")
    assert shown(board(high, "no-flow", medium)) == [("no-flow", "HIGH", False, False)]
    assert shown(board(high, None, medium)) == [("no-flow", "MEDIUM", False, False)]
    assert shown(board(medium, None, high)) == [("no-flow", "HIGH", False, False)]
    assert [one.since for one in board(medium, high)] == [0]


@pytest.mark.requirement("SR-55")
def test_what_is_news_is_what_the_board_does_not_hold_as_urgently() -> None:
    high, medium = alarm("no-flow"), alarm("no-flow", "MEDIUM")
    assert is_news((), medium)
    assert not is_news(board(medium), medium)
    assert is_news(board(medium), high)
    assert not is_news(board(high), medium)
    assert is_news(board(high, "no-flow"), high)


CODES = ("over-delivery", "no-flow", "uncertain", "clock-jump", "low-reservoir")
STEPS = st.one_of(
    st.builds(alarm, st.sampled_from(CODES), st.sampled_from(PRIORITIES)),
    st.sampled_from(CODES),
    st.none(),
)


@pytest.mark.requirement("SR-55")
@given(st.lists(STEPS, max_size=12))
def test_no_latched_alarm_leaves_the_board_without_a_look(steps: list[object]) -> None:
    """An oracle of one line for each code: raised and latched since the last look, or holding."""
    found = {one.alarm.code: one for one in board(*steps)}
    assert len(found) == len(board(*steps))
    for code in CODES:
        since_look: list[object] = []
        holds = False
        for one in steps:
            if one is None:
                since_look = []
            elif one == code:
                holds = False
            elif isinstance(one, Alarm) and one.code == code:
                holds = True
                since_look.append(one)
        must = holds or any(is_latched(one) for one in since_look if isinstance(one, Alarm))
        assert (code in found) >= must, code
        if code in found:
            assert found[code].over is not holds


@pytest.mark.requirement("SR-55")
@given(st.lists(STEPS, max_size=12))
def test_the_highest_comes_first_and_of_equals_what_holds(steps: list[object]) -> None:
    ordered = in_order(board(*steps))
    keys = [(PRIORITIES.index(one.alarm.priority), one.over) for one in ordered]
    assert keys == sorted(keys)
    assert set(ordered) == set(board(*steps))


def test_a_wrong_twin_that_forgets_what_is_over_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "is_latched", lambda _: False)
    with pytest.raises(AssertionError):
        test_a_high_alarm_stays_until_a_person_has_looked_and_any_other_goes_with_its_condition()


# --- silence -------------------------------------------------------------------------------------


def moment(slow: int, fast: int, wall: int) -> Instant:
    return Instant(Milliseconds(slow), Milliseconds(fast), Milliseconds(wall))


PAUSE = Pause(moment(0, 0, 1_000), Milliseconds(1_000 + 10 * MINUTE))
LATE = 10 * MINUTE


@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F56")
@pytest.mark.parametrize(
    ("slow", "fast", "wall", "silent"),
    [
        (0, 0, 1_000, True),
        (LATE - 1, LATE - 1, 1_000 + LATE - 1, True),
        (0, 0, 1_000 + LATE, False),
        (LATE, 0, 1_000, False),
        (0, LATE, 1_000, False),
        (5, 5, 999, False),  # somebody set the wall clock back
        (5, -1, 1_005, False),  # another host: its clock began anew
    ],
)
def test_any_clock_ends_a_pause_and_none_prolongs_it(
    slow: int, fast: int, wall: int, silent: bool
) -> None:
    assert is_silent(PAUSE, moment(slow, fast, wall)) is silent


@pytest.mark.requirement("SR-55")
def test_no_pause_is_longer_than_ten_minutes_whatever_it_says() -> None:
    long = Pause(moment(0, 0, 0), Milliseconds(60 * MINUTE))
    assert is_silent(long, moment(0, 0, LONGEST_PAUSE - 1))
    assert not is_silent(long, moment(0, 0, LONGEST_PAUSE))
    short = Pause(moment(0, 0, 0), Milliseconds(MINUTE))
    assert not is_silent(short, moment(0, 0, MINUTE))


@pytest.mark.requirement("SR-55")
def test_what_nobody_has_seen_sounds_highest_first_unless_it_is_silenced() -> None:
    found = board(alarm("low-reservoir", "LOW"), alarm())
    now = moment(0, 0, 1_000)
    assert [one.alarm.code for one in sounding(found, None, now)] == [
        "over-delivery",
        "low-reservoir",
    ]
    assert sounding(found, PAUSE, now) == ()
    assert sounding(with_looked(found), None, now) == ()


@pytest.mark.requirement("SR-55")
@pytest.mark.fault("F95")
def test_a_new_alarm_and_a_new_conversation_end_a_pause() -> None:
    story = Story()
    story.connect()
    story.tell(Raised(instant(0), alarm()))
    story.tell(Paused(instant(0), "technician", Milliseconds(instant(0).wall + LATE)))
    assert is_silent(story.state.pause, instant(0))
    paused = story.state
    story.tell(Raised(instant(1), alarm("link-lost", "LOW")))
    assert story.state.pause is None
    story.state = paused
    story.connect()
    assert story.state.pause is None
    assert [one.alarm.code for one in story.state.alarms] == ["over-delivery"]


@pytest.mark.requirement("SR-55")
def test_the_board_is_folded_from_the_journal_and_a_restart_loses_none_of_it() -> None:
    story = Story()
    story.connect()
    for one in (alarm(), alarm("uncertain", "MEDIUM"), alarm("low-reservoir", "LOW")):
        story.tell(Raised(instant(0), one))
    story.tell(Cleared(instant(1), "over-delivery"))
    story.tell(Cleared(instant(1), "low-reservoir"))
    before = story.state.alarms
    story.restart()
    assert story.state.alarms == before
    assert [one.alarm.code for one in in_order(before)] == ["over-delivery", "uncertain"]
    story.tell(Looked(instant(2), "technician", "a kinked line"))
    assert shown(story.state.alarms) == [("uncertain", "MEDIUM", False, True)]


# --- what a device shows, against the board ------------------------------------------------------


def codes(found: Noticed) -> tuple[list[str], list[str]]:
    return [one.code for one in found.news], list(found.over)


@pytest.mark.requirement("SR-50")
@pytest.mark.requirement("SR-55")
def test_what_a_device_shows_is_news_until_the_board_holds_it_and_again_once_it_was_over() -> None:
    story = Story()
    story.connect()
    assert codes(noticed(story.state, ("magnet", "battery-low"))) == (["magnet", "battery-low"], [])
    for one in noticed(story.state, ("magnet", "battery-low")).news:
        story.tell(Raised(instant(0), one))
    assert codes(noticed(story.state, ("magnet", "battery-low"))) == ([], [])
    story.tell(Cleared(instant(1), "magnet"))
    assert codes(noticed(story.state, ("magnet", "battery-low"))) == (["magnet"], [])


@pytest.mark.requirement("SR-55")
def test_what_a_device_shows_no_longer_is_over_once_and_what_it_never_said_is_not() -> None:
    story = Story()
    story.connect()
    for one in noticed(story.state, ("occlusion", "battery-low")).news:
        story.tell(Raised(instant(0), one))
    story.tell(Raised(instant(0), alarm()))  # the monitor's own: no sample of the device ends it
    assert codes(noticed(story.state, ("battery-low",))) == ([], ["occlusion"])
    story.tell(Cleared(instant(1), "occlusion"))
    assert shown(story.state.alarms)[0] == ("occlusion", "HIGH", True, False)
    assert codes(noticed(story.state, ("battery-low",))) == ([], [])
    assert codes(noticed(story.state, ("occlusion", "battery-low"))) == (["occlusion"], [])


@pytest.mark.requirement("SR-55")
def test_a_pumps_alarm_is_as_urgent_as_the_drug_that_it_holds_or_last_surely_held() -> None:
    story = programmed(pump_case())
    (found,) = noticed(story.state, ("occlusion",)).news
    assert found.priority == "MEDIUM"
    story.tell(Unverified(instant(0), 0, "the battery failed", False))
    assert story.state.pump_program is None
    assert noticed(story.state, ("occlusion",)).news == (found,)
    unknown = Story()
    unknown.connect()
    assert [one.priority for one in noticed(unknown.state, ("occlusion",)).news] == ["HIGH"]
