"""How late the event loop is: whatever blocks it holds up leases, replies and stops."""

from dataclasses import dataclass

from device_profiles.quantities import Milliseconds

NONE = Milliseconds(0)


@dataclass(slots=True)
class LoopLag:
    """What was seen of one event loop; ms by which a wake came later than it was asked for."""

    last: Milliseconds = NONE
    worst: Milliseconds = NONE

    def woke(self, asked_for_s: float, now_s: float) -> Milliseconds:
        """Takes in a wake, both times of the loop; the lag, rounded down."""
        self.last = Milliseconds(max(0, int((now_s - asked_for_s) * 1_000)))
        self.worst = max(self.worst, self.last)
        return self.last
