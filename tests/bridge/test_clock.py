"""Virtual time jumps, keeps order and notices deadlock; real time offloads to one thread."""

import asyncio
import random
import threading

import pytest

from firmware_bridge.clock import (
    LATER_S,
    VIRTUAL_WALL_START_MS,
    Clock,
    Deadlock,
    RealClock,
    VirtualClock,
    VirtualLoop,
    run_virtual,
)

DAY_S = 86_400


def test_a_sleep_takes_exactly_its_time() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        await asyncio.sleep(DAY_S + 0.25)
        return clock.monotonic_ns(), clock.wall_ms()

    after = (DAY_S * 1_000 + 250) * 1_000_000
    assert run_virtual(main) == (after, VIRTUAL_WALL_START_MS + after // 1_000_000)


def test_many_short_sleeps_add_up_without_drift() -> None:
    async def main(clock: VirtualClock) -> int:
        for _ in range(10_000):
            await asyncio.sleep(0.1)
        return clock.monotonic_ns()

    assert run_virtual(main) == 1_000 * 1_000_000_000


def test_a_year_passes() -> None:
    """Past 97 days a float of seconds is coarser than a nanosecond; deadlines still come."""

    async def main(clock: VirtualClock) -> int:
        for _ in range(366):
            await asyncio.sleep(DAY_S)
        return clock.monotonic_ns()

    assert run_virtual(main) // 1_000 == 366 * DAY_S * 1_000_000


def test_the_same_program_runs_in_the_same_order() -> None:
    async def worker(name: int, log: list[tuple[int, int]], clock: VirtualClock) -> None:
        dice = random.Random(name)
        for _ in range(20):
            await asyncio.sleep(dice.choice((0, 0.001, 0.001, 0.5, 3)))
            log.append((name, clock.monotonic_ns()))

    async def main(clock: VirtualClock) -> list[tuple[int, int]]:
        log: list[tuple[int, int]] = []
        async with asyncio.TaskGroup() as group:
            for name in range(10):
                group.create_task(worker(name, log, clock))
        return log

    first = run_virtual(main)
    assert all(run_virtual(main) == first for _ in range(10))
    assert [time for _, time in first] == sorted(time for _, time in first)


def test_time_stands_still_while_something_is_ready() -> None:
    async def main(clock: VirtualClock) -> int:
        for _ in range(1_000):
            await asyncio.sleep(0)
        return clock.monotonic_ns()

    assert run_virtual(main) == 0


def test_a_timeout_comes_at_its_time() -> None:
    async def main(clock: VirtualClock) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        return clock.monotonic_ns()

    assert run_virtual(main) == 2_500_000_000


def test_a_deadlock_is_an_error_and_not_a_hang() -> None:
    cleaned: list[bool] = []

    async def main(clock: VirtualClock) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(Deadlock, match="nothing is scheduled"):
        run_virtual(main)
    assert cleaned == [True]


def test_the_wall_clock_may_jump_and_the_monotonic_may_not() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        seen = [clock.wall_ms()]
        clock.shift_wall(-3_600_000)
        await asyncio.sleep(1)
        return [*seen, clock.wall_ms(), clock.monotonic_ns()]

    assert run_virtual(main, wall_start_ms=10_000_000) == [10_000_000, 6_401_000, 1_000_000_000]


def test_virtual_work_is_done_in_place() -> None:
    async def main(clock: VirtualClock) -> tuple[threading.Thread, int]:
        thread = await clock.offload(threading.current_thread)
        return thread, clock.monotonic_ns()

    assert run_virtual(main) == (threading.current_thread(), 0)


def test_a_virtual_loop_serves_several_runs() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.sleep(1))
        runner.run(asyncio.sleep(1))
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        assert loop.now_ns == 2_000_000_000


@pytest.mark.real_clock
async def test_real_work_is_done_in_order_on_one_thread_beside_the_loop() -> None:
    clock = RealClock()
    done: list[int] = []

    def work(number: int) -> threading.Thread:
        done.append(number)
        return threading.current_thread()

    threads = await asyncio.gather(*(clock.offload(lambda n=n: work(n)) for n in range(20)))  # type: ignore[misc]
    assert done == list(range(20))
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    clock.close()
    clock.close()


@pytest.mark.real_clock
async def test_real_work_hands_on_its_error() -> None:
    clock = RealClock()

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await clock.offload(fail)
    clock.close()


@pytest.mark.real_clock
async def test_real_work_that_nobody_waits_for_comes_after_what_is_waited_for() -> None:
    clock = RealClock()
    done: list[str] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def later() -> None:
        done.append("later")
        loop.call_soon_threadsafe(ended.set)

    clock.later(later)
    await clock.offload(lambda: done.append("offloaded"))
    await asyncio.wait_for(ended.wait(), 10)
    assert done == ["offloaded", "later"]
    clock.later(later)
    clock.close()
    await asyncio.sleep(LATER_S * 2)
    assert done == ["offloaded", "later"], "who closes the clock does what still waits"


def test_virtual_work_that_nobody_waits_for_is_done_in_place() -> None:
    async def main(clock: VirtualClock) -> list[threading.Thread]:
        done: list[threading.Thread] = []
        clock.later(lambda: done.append(threading.current_thread()))
        return done

    assert run_virtual(main) == [threading.current_thread()]


def test_real_time_goes_on() -> None:
    clock: Clock = RealClock()
    assert clock.monotonic_ns() <= clock.monotonic_ns()
    assert clock.wall_ms() > VIRTUAL_WALL_START_MS - 10**12
