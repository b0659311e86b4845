"""Elapsed time for the judge: slow for what must not come early, fast for what must not go stale.

Slow time is the stricter reading of two clocks that know nothing of each other. While a host is in
charge these are its monotonic clock and the device's own; over the time when none was, the device's
clock and the host's wall clock, and only if the device has not restarted meanwhile. Either alone
moves nothing: a clock that jumps ahead gives no credit, one that falls back or stands still makes
lockouts and windows last longer, never shorter. Source: design 3.8, SR-15.
"""

from dataclasses import dataclass

from device_profiles.quantities import Milliseconds

JUMP = Milliseconds(60_000)
"""How far the wall clock may part from elapsed time before people are told."""
SUSPENSION = Milliseconds(2_000)
"""How long the host may sleep before people are told: a stimulator's lease."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A moment at which the host had the device before it; ``clock`` is the device's own."""

    slow: Milliseconds
    wall: Milliseconds
    clock: Milliseconds
    boot: int


@dataclass(frozen=True, slots=True)
class HostReading:
    """The host's clocks at one moment, ms: without and with its sleep, and the wall's."""

    monotonic: Milliseconds
    with_sleep: Milliseconds
    wall: Milliseconds


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a journal ends: the slow time of all its entries, the wall clock of the last one."""

    slow: Milliseconds
    wall: Milliseconds


EMPTY = Ending(Milliseconds(0), Milliseconds(0))
"""Where a journal without entries ends."""


def slow_after_absence(last: Seen | None, end: Ending, now: Seen, speed: int) -> Milliseconds:
    """Slow time on taking charge again: what the journal ends at, and what two clocks prove more.

    ``last`` is the last moment at which a host took charge, ``now`` this one (its own slow time is
    not read). Only the time since the journal ends is credited: a clock that was set forward while
    a host watched has proved nothing since. ``speed``: how much faster than the host's wall the
    device's therapy time runs.
    """
    if last is None or last.boot != now.boot:
        return end.slow
    by_device = now.clock - last.clock - (end.slow - last.slow)
    by_wall = (now.wall - end.wall) * speed
    return Milliseconds(end.slow + max(0, min(by_device, by_wall)))


class Timeline:
    """Slow and fast time while one host is in charge; readings are handed in."""

    def __init__(self, begun: HostReading, slow: Milliseconds, speed: int) -> None:
        self._begun = begun
        self._last = begun
        self._start: int = slow
        self._slow = slow
        self._speed = speed
        self._device_start: int | None = None
        self._seen_at = 0
        """Therapy time by the host's clock when the device's clock was last read."""
        self._device_elapsed = 0

    def restart_at(self, slow: Milliseconds) -> None:
        """Slow time that was proved for the time before this host; it never moves back."""
        self._start += max(0, slow - self._slow)
        self._slow = max(self._slow, slow)

    def slow(self, now: HostReading) -> Milliseconds:
        """Therapy time that has surely passed: never ahead of either clock, never back."""
        elapsed = self._host_elapsed(now)
        if self._device_start is not None:
            elapsed = min(elapsed, self._device_elapsed + elapsed - self._seen_at)
        self._slow = Milliseconds(max(self._slow, self._start + elapsed))
        return self._slow

    def fast(self, now: HostReading) -> Milliseconds:
        """Therapy time that may have passed since this host took charge, its sleep included."""
        elapsed = max(
            now.monotonic - self._begun.monotonic, now.with_sleep - self._begun.with_sleep, 0
        )
        return Milliseconds(elapsed * self._speed)

    def device_showed(self, clock: Milliseconds, now: HostReading) -> None:
        """Takes in the device's own clock, read at this moment."""
        elapsed = self._host_elapsed(now)
        if self._device_start is None:
            self._device_start = clock - elapsed
        self._device_elapsed = clock - self._device_start
        self._seen_at = elapsed

    def notice(self, now: HostReading) -> tuple[str, ...]:
        """What is odd about the host's clocks since the last look, in sentences."""
        last, self._last = self._last, now
        slept = (now.with_sleep - last.with_sleep) - (now.monotonic - last.monotonic)
        jumped = (now.wall - last.wall) - (now.with_sleep - last.with_sleep)
        found = []
        if slept > SUSPENSION:
            found.append(f"the host slept for {slept // 1_000} s: lockouts did not go on meanwhile")
        if abs(jumped) > JUMP:
            way = "forward" if jumped > 0 else "back"
            found.append(
                f"the host's wall clock was set {way} by {abs(jumped) // 1_000} s: lockouts and "
                "windows do not follow it, and a pump keeps its own schedule"
            )
        return tuple(found)

    def _host_elapsed(self, now: HostReading) -> int:
        return max(0, now.monotonic - self._begun.monotonic) * self._speed
