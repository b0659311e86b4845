"""What fills a dose window: one account for the rule that refuses and the view that says why."""

from dataclasses import dataclass

from device_profiles.quantities import MINUTE_MS, Femtograms, Milliseconds, divide_up, mass_of
from safety.doubt import Reservation
from safety.limits import DoseWindow, Limit

DOSES = {"bolus": "boluses", "prime": "primes", "bridge": "bridges"}


@dataclass(frozen=True, slots=True)
class WindowAccount:
    """One drug in one window around one request, worst case; masses in fg.

    ``standing`` is the most of the basal and the button in any such window, ``held`` are the
    earlier doses that may lie in it (boluses, primes, what strayed at the end of a bridge), each
    counted at its most.
    """

    drug: str
    window: DoseWindow
    limit: Limit
    standing: Femtograms
    held: tuple[Reservation, ...]
    asked: Femtograms

    @property
    def earlier(self) -> Femtograms:
        """The most of all earlier doses."""
        return Femtograms(sum(one.most_of(self.drug) for one in self.held))

    @property
    def earlier_doses(self) -> str:
        """What the earlier doses were, in words."""
        kinds = {one.what for one in self.held}
        names = [name for kind, name in DOSES.items() if kind in kinds]
        return f"earlier {' and '.join(names or ['boluses'])}"

    @property
    def total(self) -> Femtograms:
        """What the window could come to hold."""
        return Femtograms(self.standing + self.earlier + self.asked)

    @property
    def is_over(self) -> bool:
        """Whether that is more than the limit allows."""
        return self.total > self.limit.value

    def leaves(self, one: Reservation) -> Milliseconds:
        """The slow time from which on a dose lies in no such window any more."""
        return Milliseconds(one.latest_end + self.window.length + 1)

    def room_at(self) -> Milliseconds | None:
        """The slow time from which on there is room, as long as nothing else is given.

        ``None`` where waiting alone makes no room.
        """
        over = self.total - self.limit.value
        for one in sorted(self.held, key=lambda one: one.latest_end):
            over -= one.most_of(self.drug)
            if over <= 0:
                return self.leaves(one)
        return None


def least_of(one: Reservation, drug: str) -> Femtograms:
    """The least of a drug that a bolus has surely delivered."""
    return Femtograms(
        sum(mass_of(one.least, held.concentration) for held in one.drugs if held.name == drug)
    )


def write_wait(wait: Milliseconds) -> str:
    """A time to wait in hours and minutes, rounded up: nobody is sent too early."""
    hours, minutes = divmod(divide_up(wait, MINUTE_MS), 60)
    parts = [f"{hours} h"] if hours else []
    return " ".join([*parts, f"{minutes} min"] if minutes or not hours else parts)
