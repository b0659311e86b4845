"""The law of a closed loop (SR-51): clamp, slew, wind-up, and a sensor that no longer sees."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from clinical_examples import SCS, WALKING, area, tonic
from hypothesis import example, given
from hypothesis import strategies as st

from device_profiles.quantities import MicroAmps, MicroVolts, Milliseconds
from safety.closed_loop import (
    Gain,
    Loop,
    LoopSettings,
    LoopState,
    Reading,
    Sensor,
    fallback_from,
    judge_loop,
    loop_on,
    next_step,
    why_lost,
)

TARGET, FLOOR, CEILING, FALLBACK, SLEW = 50, 500, 5_000, 2_000, 200
NOW = Milliseconds(1_000_000)
FRESH = 500
LOW, HIGH, NO_DATA = -400, 400, 0xFFFF

SETTINGS = LoopSettings(
    target=MicroVolts(TARGET),
    gain=Gain(MicroAmps(20), MicroVolts(1)),
    floor=MicroAmps(FLOOR),
    ceiling=MicroAmps(CEILING),
    fallback=MicroAmps(FALLBACK),
    slew=MicroAmps(SLEW),
    every=Milliseconds(250),
    sensor=Sensor(Milliseconds(FRESH), MicroVolts(LOW), MicroVolts(HIGH), (NO_DATA, -1)),
)
STEADY = replace(WALKING, stimulate=Milliseconds(0), pause=Milliseconds(0))
LOOP = loop_on(SETTINGS, STEADY, 0, SCS)


def reading(microvolts: Any, age: int = 0) -> Reading:
    return Reading(microvolts, Milliseconds(NOW - age))


def after(amplitude: int, microvolts: Any, age: int = 0) -> LoopState:
    return next_step(LOOP, LoopState(MicroAmps(amplitude)), reading(microvolts, age), NOW)


# --- the law -------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(
    ("amplitude", "microvolts", "expected"),
    [
        (3_000, TARGET, 3_000),
        (3_000, TARGET - 5, 3_100),
        (3_000, TARGET - 4, 3_000),  # 80 uA are no step: rounded toward less
        (3_000, TARGET + 1, 2_900),
        (3_000, TARGET + 100, 1_000),  # a fall is not slewed
        (600, TARGET + 300, FLOOR),
    ],
)
def test_a_reading_below_the_target_raises_and_one_above_lowers(
    amplitude: int, microvolts: int, expected: int
) -> None:
    assert after(amplitude, microvolts).amplitude == expected


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(("error", "rise"), [(9, 100), (10, 200), (11, 200), (300, 200)])
def test_a_rise_is_at_most_the_slew(error: int, rise: int) -> None:
    assert after(3_000, TARGET - error).amplitude == 3_000 + rise


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize("amplitude", [CEILING - 100, CEILING, CEILING + 100, 6_000])
def test_whatever_is_asked_for_the_amplitude_is_at_most_the_clamp(amplitude: int) -> None:
    assert after(amplitude, TARGET - 300).amplitude == CEILING


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(
    ("ceiling", "of_area", "clamp"),
    [(5_000, 6_000, 5_000), (6_000, 6_000, 6_000), (7_000, 6_000, 6_000), (30_000, 40_000, 25_500)],
)
def test_the_clamp_is_the_lowest_of_all_ceilings(ceiling: int, of_area: int, clamp: int) -> None:
    one = replace(STEADY.areas[0], ceiling=MicroAmps(of_area))
    program = replace(STEADY, areas=(one,))
    assert loop_on(replace(SETTINGS, ceiling=MicroAmps(ceiling)), program, 0, SCS).clamp == clamp


@pytest.mark.requirement("SR-51")
def test_a_long_time_at_the_clamp_winds_nothing_up() -> None:
    state, now = LoopState(MicroAmps(4_900)), NOW
    for _ in range(10_000):
        now = Milliseconds(now + 250)
        state = next_step(LOOP, state, Reading(0, now), now)
    assert state.amplitude == CEILING
    now = Milliseconds(now + 250)
    assert next_step(LOOP, state, Reading(TARGET + 10, now), now).amplitude == CEILING - 200


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize("newer", [-1, 0, 1])
def test_a_reading_that_was_acted_on_before_moves_nothing(newer: int) -> None:
    state = LoopState(MicroAmps(3_000), None, Milliseconds(NOW - 100))
    again = Reading(0, Milliseconds(NOW - 100 + newer))
    assert next_step(LOOP, state, again, NOW).amplitude == (3_200 if newer > 0 else 3_000)


# --- without a sensor ----------------------------------------------------------------------------

LOST = [
    None,
    reading(None),
    reading(TARGET, age=FRESH + 1),
    reading(TARGET, age=-1),
    reading(HIGH),
    reading(LOW),
    reading(NO_DATA),
    reading(-1),
    reading(True),
    reading(50.0),
    reading(float("nan")),
    reading("50"),
]


@pytest.mark.requirement("SR-51")
@pytest.mark.fault("F19")
@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize(
    ("amplitude", "expected"),
    [(CEILING, FALLBACK), (FALLBACK + 100, FALLBACK), (FALLBACK, FALLBACK), (700, 700)],
)
def test_without_a_reading_the_fallback_comes_at_once_and_never_a_rise(
    what: Reading | None, amplitude: int, expected: int
) -> None:
    state = next_step(LOOP, LoopState(MicroAmps(amplitude)), what, NOW)
    assert state.amplitude == expected
    assert state.lost


@pytest.mark.requirement("SR-51")
def test_a_sensor_that_comes_back_changes_nothing_until_a_person_begins_anew() -> None:
    lost = next_step(LOOP, LoopState(MicroAmps(CEILING)), None, NOW)
    for later in range(1, 100):
        assert next_step(LOOP, lost, Reading(0, Milliseconds(NOW + later)), NOW) == lost


@pytest.mark.requirement("SR-51")
@pytest.mark.fault("F19")
@pytest.mark.parametrize(
    ("microvolts", "age", "lost"),
    [
        (LOW, 0, True),
        (LOW + 1, 0, False),
        (HIGH - 1, 0, False),
        (HIGH, 0, True),
        (0, FRESH - 1, False),
        (0, FRESH, False),
        (0, FRESH + 1, True),
        (0, -1, True),
        (-1, 0, True),
        (NO_DATA, 0, True),
    ],
)
def test_a_reading_counts_within_its_range_and_its_age(
    microvolts: int, age: int, lost: bool
) -> None:
    assert bool(why_lost(SETTINGS.sensor, reading(microvolts, age), NOW)) == lost


# --- settings that make no loop ------------------------------------------------------------------


def refused(settings: LoopSettings = SETTINGS, **area_changes: Any) -> list[tuple[str, str]]:
    one = replace(STEADY.areas[0], **area_changes)
    found = judge_loop(settings, replace(STEADY, areas=(one,)), 0, SCS)
    return [(finding.rule, finding.path) for finding in found]


SENSOR = SETTINGS.sensor


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"gain": Gain(MicroAmps(-20), MicroVolts(1))}, "gain"),
        ({"gain": Gain(MicroAmps(20), MicroVolts(0))}, "gain"),
        ({"floor": -100}, "floor"),
        ({"floor": 5_100}, "floor"),
        ({"fallback": 5_000}, "fallback"),
        ({"fallback": 2_050}, "fallback"),
        ({"slew": 0}, "slew"),
        ({"slew": 400}, "slew"),
        ({"every": 99}, "every"),
        ({"every": 2_001}, "every"),
        ({"target": HIGH}, "target"),
        ({"target": NO_DATA}, "target"),
        ({"sensor": replace(SENSOR, fresh_for=Milliseconds(0))}, "sensor.fresh_for"),
        ({"sensor": replace(SENSOR, fresh_for=Milliseconds(2_001))}, "sensor.fresh_for"),
    ],
)
def test_settings_that_make_no_loop_are_refused(change: dict[str, Any], key: str) -> None:
    settings = replace(SETTINGS, **change)
    assert ("SR-51", f"loop.{key}") in refused(settings)


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"floor": 0, "fallback": 0},
        {"floor": 5_000},
        {"fallback": 4_900},
        {"slew": 300},
        {"slew": 100, "every": 100},
        {"every": 2_000},
        {"target": HIGH - 1},
    ],
)
def test_settings_at_their_borders_make_a_loop(change: dict[str, Any]) -> None:
    assert refused(replace(SETTINGS, **change)) == []


@pytest.mark.requirement("SR-61")
@pytest.mark.parametrize(("ceiling", "expected"), [(5_900, []), (6_000, []), (6_100, ["SR-61"])])
def test_a_loop_is_not_wider_than_its_area(ceiling: int, expected: list[str]) -> None:
    found = refused(replace(SETTINGS, ceiling=MicroAmps(ceiling)))
    assert [rule for rule, _ in found] == expected


@pytest.mark.requirement("SR-51")
def test_an_area_whose_ceiling_needs_a_reason_is_not_followed() -> None:
    found = judge_loop(SETTINGS, tonic(area("E3 -100, E4 +100", "4 mA", "7 mA", "500 us")), 0, SCS)
    assert {finding.rule for finding in found} == {"SR-41"}


@pytest.mark.requirement("SR-51")
def test_a_program_that_pauses_is_not_followed_blind() -> None:
    found = judge_loop(SETTINGS, WALKING, 0, SCS)
    assert [(one.rule, one.path) for one in found] == [("SR-51", "loop.program")]


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(("ramp", "refused_by"), [(5_250, []), (5_251, ["loop.slew"])])
def test_a_loop_does_not_run_ahead_of_the_ramp(ramp: int, refused_by: list[str]) -> None:
    """4.2 mA over 5.25 s are 200 uA in 250 ms."""
    program = replace(STEADY, ramp=Milliseconds(ramp))
    assert [one.path for one in judge_loop(SETTINGS, program, 0, SCS)] == refused_by


# --- properties ----------------------------------------------------------------------------------

Law = Callable[[Loop, LoopState, Reading | None, Milliseconds], LoopState]
amplitudes = st.integers(0, 80).map(lambda steps: MicroAmps(steps * 100))
readings = st.one_of(
    st.none(),
    st.builds(
        Reading,
        st.one_of(st.none(), st.integers(-500, 500), st.sampled_from([NO_DATA, -1, LOW, HIGH])),
        st.integers(-FRESH - 2, 2).map(lambda age: Milliseconds(NOW + age)),
    ),
)


def objection(law: Law, amplitude: MicroAmps, what: Reading | None) -> str | None:
    """The oracle: what must hold of every step, written down a second time."""
    after = law(LOOP, LoopState(amplitude), what, NOW).amplitude
    if after > CEILING or after > max(amplitude, 0) + SLEW:
        return "too high"
    if after % 100 or after < 0:
        return "no step of the device"
    sees = (
        what is not None
        and type(what.microvolts) is int
        and LOW < what.microvolts < HIGH
        and what.microvolts != -1
        and 0 <= NOW - what.taken <= FRESH
    )
    if not sees and after > min(amplitude, FALLBACK):
        return "held or raised without a sensor"
    return None


@pytest.mark.requirement("SR-51")
@given(amplitudes, readings)
@example(MicroAmps(CEILING), None)
def test_no_step_is_too_high_too_steep_or_blind(amplitude: MicroAmps, what: Reading | None) -> None:
    assert objection(next_step, amplitude, what) is None


def without_clamp(
    loop: Loop, state: LoopState, what: Reading | None, now: Milliseconds
) -> LoopState:
    return next_step(replace(loop, clamp=MicroAmps(25_500)), state, what, now)


def without_slew(
    loop: Loop, state: LoopState, what: Reading | None, now: Milliseconds
) -> LoopState:
    settings = replace(loop.settings, slew=MicroAmps(25_500))
    return next_step(replace(loop, settings=settings), state, what, now)


def holds_the_peak(
    loop: Loop, state: LoopState, what: Reading | None, now: Milliseconds
) -> LoopState:
    after = next_step(loop, state, what, now)
    return after if after.lost is None else state


def trusts_old_readings(
    loop: Loop, state: LoopState, what: Reading | None, now: Milliseconds
) -> LoopState:
    fresh = None if what is None else replace(what, taken=now)
    return next_step(loop, state, fresh, now)


def goes_up_to_the_fallback(
    loop: Loop, state: LoopState, what: Reading | None, now: Milliseconds
) -> LoopState:
    after = next_step(loop, state, what, now)
    return after if after.lost is None else replace(after, amplitude=loop.settings.fallback)


@pytest.mark.requirement("SR-51")
@pytest.mark.parametrize(
    "twin",
    [without_clamp, without_slew, holds_the_peak, trusts_old_readings, goes_up_to_the_fallback],
)
def test_the_oracle_finds_each_wrong_twin(twin: Law) -> None:
    cases = [
        (MicroAmps(amplitude), what)
        for amplitude in (0, 700, FALLBACK, CEILING - 100, CEILING)
        for what in (None, reading(0), reading(0, FRESH + 1), reading(HIGH))
    ]
    assert any(objection(twin, amplitude, what) for amplitude, what in cases)
    assert not any(objection(next_step, amplitude, what) for amplitude, what in cases)


@pytest.mark.requirement("SR-51")
def test_the_fallback_is_never_above_the_clamp() -> None:
    narrow = replace(LOOP, clamp=MicroAmps(1_000))
    assert fallback_from(narrow, MicroAmps(3_000)) == 1_000
