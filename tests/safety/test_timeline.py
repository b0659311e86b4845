"""Slow time never runs ahead of a clock, fast time never behind; no clock alone moves either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.quantities import Milliseconds
from safety.timeline import (
    JUMP,
    SUSPENSION,
    Ending,
    HostReading,
    Seen,
    Timeline,
    slow_after_absence,
)

HOUR, DAY, YEAR = 3_600_000, 86_400_000, 365 * 86_400_000
WALL = 1_767_225_600_000


def host(monotonic: int, slept: int = 0, wall: int | None = None) -> HostReading:
    with_sleep = monotonic + slept
    return HostReading(
        Milliseconds(monotonic),
        Milliseconds(with_sleep),
        Milliseconds(WALL + with_sleep if wall is None else wall),
    )


def timeline(slow: int = 0, speed: int = 1, begun: int = 5_000) -> Timeline:
    return Timeline(host(begun), Milliseconds(slow), speed)


def seen(slow: int = 0, wall: int = 0, clock: int = 0, boot: int = 1) -> Seen:
    return Seen(Milliseconds(slow), Milliseconds(WALL + wall), Milliseconds(WALL + clock), boot)


def ending(slow: int, wall: int = 0) -> Ending:
    return Ending(Milliseconds(slow), Milliseconds(WALL + wall))


# --- while a host is in charge -------------------------------------------------------------------


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F56")
@pytest.mark.parametrize("jump", [DAY, -DAY, -WALL, 12 * YEAR, HOUR, -HOUR])
def test_a_wall_clock_that_is_set_moves_neither_slow_nor_fast_time(jump: int) -> None:
    time = timeline(slow=77)
    moment = host(6_000, wall=WALL + 6_000 + jump)
    assert time.slow(moment) == 77 + 1_000
    assert time.fast(moment) == 1_000


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F57")
def test_while_the_host_sleeps_lockouts_stand_still_and_ages_go_on() -> None:
    time = timeline()
    awake = host(6_000, slept=8 * HOUR)
    assert time.slow(awake) == 1_000
    assert time.fast(awake) == 8 * HOUR + 1_000


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F60")
def test_a_monotonic_clock_that_goes_back_takes_nothing_back_and_gives_nothing() -> None:
    time = timeline()
    assert time.slow(host(65_000)) == 60_000
    assert time.slow(host(4_000)) == 60_000
    assert time.slow(host(66_000)) == 61_000
    assert timeline().fast(host(0)) == 0


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F60")
def test_a_monotonic_clock_that_runs_ahead_of_the_devices_gives_no_credit() -> None:
    time = timeline()
    time.device_showed(Milliseconds(WALL), host(5_000))
    time.device_showed(Milliseconds(WALL + 1_000), host(5_000 + DAY))
    assert time.slow(host(5_000 + DAY)) == 1_000


@pytest.mark.requirement("SR-15")
@pytest.mark.parametrize("jump", [HOUR, DAY, YEAR])
def test_a_device_clock_that_jumps_ahead_gives_no_credit(jump: int) -> None:
    time = timeline()
    time.device_showed(Milliseconds(WALL), host(5_000))
    time.device_showed(Milliseconds(WALL + jump), host(6_000))
    assert time.slow(host(6_000)) == 1_000


@pytest.mark.requirement("SR-15")
def test_a_device_clock_that_falls_back_freezes_slow_time_until_it_has_caught_up() -> None:
    time = timeline()
    time.device_showed(Milliseconds(WALL), host(5_000))
    assert time.slow(host(65_000)) == 60_000
    time.device_showed(Milliseconds(WALL), host(65_000))
    assert time.slow(host(65_000)) == 60_000
    assert time.slow(host(65_000 + 59_000)) == 60_000
    assert time.slow(host(65_000 + 61_000)) == 61_000


def test_the_little_delays_of_single_readings_do_not_add_up() -> None:
    time = timeline()
    for number in range(10_000):
        now = host(5_000 + number * 1_000)
        late = 40 if number % 2 else 0  # the reply took its time: the clock was read before
        time.device_showed(Milliseconds(WALL + number * 1_000 - late), now)
        assert number * 1_000 - 40 <= time.slow(now) <= number * 1_000


def test_a_fast_simulator_has_its_own_speed() -> None:
    time = timeline(speed=600)
    time.device_showed(Milliseconds(WALL), host(5_000))
    assert time.slow(host(6_000)) == time.fast(host(6_000)) == 600_000


READINGS = st.lists(
    st.tuples(
        st.integers(-HOUR, DAY),  # by the host's monotonic clock
        st.integers(0, HOUR),  # of sleep
        st.integers(-DAY, DAY) | st.none(),  # by the device's clock, if it was read
    ),
    max_size=30,
)


@pytest.mark.requirement("SR-15")
@given(READINGS)
def test_whatever_the_clocks_do_slow_time_never_goes_back_nor_ahead_of_the_hosts_monotonic_clock(
    readings: list[tuple[int, int, int | None]],
) -> None:
    time, before, clock, monotonic, slept, latest = timeline(slow=9), 9, WALL, 5_000, 0, 5_000
    for passed, sleep, device in readings:
        monotonic = max(0, monotonic + passed)
        latest = max(latest, monotonic)
        slept += sleep
        now = host(monotonic, slept)
        if device is not None:
            clock += device
            time.device_showed(Milliseconds(clock), now)
        slow = time.slow(now)
        assert before <= slow <= 9 + latest - 5_000
        before = slow


# --- over the time without a host ----------------------------------------------------------------


@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F58")
@pytest.mark.fault("F59")
@pytest.mark.parametrize(
    ("wall", "clock", "boot", "credit"),
    [
        (HOUR, HOUR, 1, HOUR),
        (HOUR, DAY, 1, HOUR),
        (DAY, HOUR, 1, HOUR),
        (DAY, 0, 1, 0),
        (0, DAY, 1, 0),
        (-DAY, DAY, 1, 0),
        (DAY, -DAY, 1, 0),
        (HOUR, HOUR, 2, 0),
    ],
    ids=[
        "both agree",
        "the device ran ahead",
        "the wall ran ahead",
        "the device stood still",
        "the wall stood still",
        "the wall was set back",
        "the device's clock fell",
        "the device restarted",
    ],
)
def test_without_a_host_only_what_two_clocks_agree_on_has_passed(
    wall: int, clock: int, boot: int, credit: int
) -> None:
    now = seen(wall=wall, clock=clock, boot=boot)
    assert slow_after_absence(seen(slow=100), ending(100), now, 1) == 100 + credit


def test_time_that_the_journal_knows_of_already_is_not_counted_twice() -> None:
    last, now = seen(slow=100), seen(wall=HOUR, clock=HOUR)
    half, ahead = ending(100 + HOUR // 2, HOUR // 2), ending(100 + DAY, HOUR // 2)
    assert slow_after_absence(last, half, now, 1) == 100 + HOUR
    assert slow_after_absence(last, ahead, now, 1) == 100 + DAY


@pytest.mark.requirement("SR-15")
def test_clocks_that_were_set_forward_while_a_host_watched_give_the_next_one_no_credit() -> None:
    last, now = seen(slow=0), seen(wall=2 * HOUR, clock=2 * HOUR)
    assert slow_after_absence(last, ending(HOUR, 2 * HOUR), now, 1) == HOUR


def test_a_device_never_seen_before_gives_no_credit() -> None:
    assert slow_after_absence(None, ending(7), seen(wall=DAY, clock=DAY), 1) == 7


def test_the_wall_of_a_fast_simulator_counts_at_its_speed() -> None:
    now = seen(wall=1_000, clock=600_000)
    assert slow_after_absence(seen(), ending(0), now, 600) == 600_000
    assert slow_after_absence(seen(), ending(0), now, 1) == 1_000


def test_proved_time_moves_slow_time_ahead_and_never_back() -> None:
    time = timeline(slow=50)
    time.restart_at(Milliseconds(10))
    assert time.slow(host(5_000)) == 50
    time.restart_at(Milliseconds(80))
    assert time.slow(host(6_000)) == 1_080


# --- what people are told -----------------------------------------------------------------------


@pytest.mark.fault("F56")
@pytest.mark.parametrize(
    ("jump", "told"), [(JUMP, None), (JUMP + 1, "forward"), (-JUMP, None), (-JUMP - 1, "back")]
)
def test_a_wall_clock_that_was_set_is_told_once(jump: int, told: str | None) -> None:
    time = timeline()
    moment = host(6_000, wall=WALL + 6_000 + jump)
    sentences = time.notice(moment)
    assert len(sentences) == (told is not None)
    assert all(str(told) in one for one in sentences)
    assert time.notice(moment) == ()


@pytest.mark.fault("F57")
@pytest.mark.parametrize("slept", [SUSPENSION, SUSPENSION + 1])
def test_a_sleep_of_the_host_longer_than_a_lease_is_told(slept: int) -> None:
    assert bool(timeline().notice(host(6_000, slept=slept))) == (slept > SUSPENSION)
