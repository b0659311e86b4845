"""What can happen to a pump, as facts of a plain list, and what a list tells of one command.

The list of the slow twin: written from the rules (safety.md 4, domain.md 4.2, design.md 3), not
from the code that ships. Volumes in nL, masses in fg, times in ms.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from window_oracle import Button, Steps

MINUTE, DAY = 60_000, 86_400_000


class Drug(NamedTuple):
    """A drug in the pump, ng/mL, with its limits in fg; ``None``: nobody wrote one.

    ``naive``: the file says that the patient has had no opioid before.
    """

    name: str
    strength: int
    per_bolus: int | None
    per_window: tuple[int, int, int]
    naive: bool = False


class Program(NamedTuple):
    """What a pump is told to do, and the limits that came with it."""

    drugs: tuple[Drug, ...]
    basal: Steps
    button: Button | None


class Bolus(NamedTuple):
    """One dose on top of it."""

    volume: int
    over: int


class Reason(NamedTuple):
    """Why a person lets soft findings of these rules pass."""

    rules: tuple[str, ...]
    user: str
    second: str | None
    valid_for: int


class Granted(NamedTuple):
    """A command was let pass; ``drugs`` is what was in the pump."""

    at: int
    id: int
    what: Program | Bolus
    drugs: tuple[Drug, ...]
    passed: tuple[str, ...]
    valid_for: int
    patient: str


class Told(NamedTuple):
    """The device's word, or its silence, about an id: delivered, refused, UNCERTAIN."""

    at: int
    id: int
    outcome: str


class Count(NamedTuple):
    """The device's own count for an id: running, executed, interrupted."""

    at: int
    id: int
    state: str
    volume: int
    in_doubt: bool = False
    """It came while nobody knew whether the command was taken."""

    @property
    def says_it_ended(self) -> bool:
        """Whether it is certain by this count that nothing more will come."""
        return self.state != "running" and not self.in_doubt


class Other(NamedTuple):
    """The pump was read and holds another program than ours, or none; ``id``: instead of that."""

    at: int
    id: int
    delivers: bool


class Own(NamedTuple):
    """A pump of which nothing is known was found with this."""

    at: int
    program: Program


class Stop(NamedTuple):
    """A person stopped it."""

    at: int


class Latch(NamedTuple):
    """The journal cannot be written any more, or its past is not to be believed."""

    at: int
    past_lost: bool


class Alarmed(NamedTuple):
    """An alarm came up; ``is_low``: of the lowest of three priorities."""

    at: int
    code: str
    is_low: bool


class Ended(NamedTuple):
    """The condition of an alarm is over."""

    at: int
    code: str


class Look(NamedTuple):
    """A person has looked at the pump."""

    at: int


class Field(NamedTuple):
    """The pump was made ready for a magnetic field, or found to be itself again after one."""

    at: int
    entered: bool


class Met(NamedTuple):
    """A host took charge of the pump, which has started so many times by itself."""

    at: int
    starts: int


Fact = Granted | Told | Count | Other | Own | Stop | Latch | Alarmed | Ended | Look | Field | Met


class Request(NamedTuple):
    """What is asked for, how long ago the pump last showed its state (``None``: never), and why.

    ``approved``: how many facts there were when a person approved it. ``library`` is which library
    of drugs it is judged by.
    """

    at: int
    what: Program | Bolus
    seen_ago: int | None
    reason: Reason | None
    id: int
    patient: str
    approved: int | None = None
    library: str = "usual"


@dataclass
class Command:
    """A granted command and what is known of it by now; ``fate`` is "" while in doubt."""

    granted: Granted
    place: int
    fate: str = ""
    when: int = 0
    until: int | None = None
    """When a program that was in the pump was surely in it no more."""
    counts: list[Count] = field(default_factory=list)

    @property
    def was_nothing(self) -> bool:
        """Whether it was proved not to have been carried out, and the pump counted nothing."""
        return self.fate == "refused" and not any(one.volume for one in self.counts)

    @property
    def volume(self) -> int:
        """Of a bolus."""
        assert isinstance(self.granted.what, Bolus)
        return self.granted.what.volume

    def most(self) -> int:
        """The most of a bolus that can have gone in.

        All of it, or more if the pump counted more. Only a pump that says it was cut short makes
        it less, once, and never less than was counted. While it is in doubt whether the bolus was
        taken at all, a count says how much at least, and nothing more.
        """
        return self._most_after(len(self.counts))

    def _most_after(self, counts: int) -> int:
        most, least, has_ended = self.volume, 0, False
        for one in self.counts[:counts]:
            least, most = max(least, one.volume), max(most, one.volume)
            if one.says_it_ended:
                most = least if one.state == "interrupted" and not has_ended else most
                has_ended = True
        return most

    def latest(self, slack: int, at: int) -> int:
        """When a bolus has surely ended: each reason to think that it runs, until it is told over.

        It takes its time from its latest start, or what is left of it after a count. A frame may
        lie on the way until the pump says that it took it.
        """
        assert isinstance(self.granted.what, Bolus)
        over = self.granted.what.over
        begun = self.granted.at + slack
        if self.fate in ("delivered", "another"):
            begun = max(begun, self.when)
        runs_until = [self._unless_told_over(begun + over, 0)]
        for place, one in enumerate(self.counts, 1):
            if not one.says_it_ended:
                most = self._most_after(place)
                left = ceil(Fraction(over * (most - one.volume), max(most, 1)))
                runs_until.append(self._unless_told_over(one.at + left, place))
        return max(runs_until if self.fate else [*runs_until, at])

    def _unless_told_over(self, until: int, place: int) -> int:
        """A moment until which it may run, or that of a later count that says it has ended."""
        return min([until, *(one.at for one in self.counts[place:] if one.says_it_ended)])
