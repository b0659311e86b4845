"""All that ever happened to a pump, as a plain list, and what it amounts to, read from the start.

The list of the slow twin: written from the rules (safety.md 4, domain.md 4.2, design.md 3), not
from the code that ships. Volumes in nL, masses in fg, times in ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from window_oracle import Button, Steps

DAY = 86_400_000
ABOUT_ONE_CHANGE = ("SR-06", "SR-12", "SR-18", "SR-19", "SR-44", "SR-59")
"""Rules about a change itself: what was let pass is over once it is done."""


class Drug(NamedTuple):
    """A drug in the pump, ng/mL, with its limits in fg; ``None``: nobody wrote one."""

    name: str
    strength: int
    per_bolus: int | None
    per_window: tuple[int, int, int]


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


class Unplanned(NamedTuple):
    """The monitor sees drug flow that nobody has asked for."""

    at: int


class Ended(NamedTuple):
    """The monitor sees it no more."""

    at: int


Fact = Granted | Told | Count | Other | Own | Stop | Latch | Unplanned | Ended


class Request(NamedTuple):
    """What is asked for, and how long ago the pump last showed its state (``None``: never)."""

    at: int
    what: Program | Bolus
    seen_ago: int | None
    reason: Reason | None


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

    def counted(self) -> tuple[int, int | None, int]:
        """The most of a bolus that can have gone in, when it ended, until when it ran by its count.

        All of it, or more if the pump counted more. Only a pump that says it was cut short makes
        it less, once, and never less than was counted. While it is in doubt whether the bolus was
        taken at all, a count says how much at least, and nothing more.
        """
        assert isinstance(self.granted.what, Bolus)
        most, least, ended, runs_until = self.volume, 0, None, 0
        for one in self.counts:
            least, most = max(least, one.volume), max(most, one.volume)
            if ended is not None:
                continue
            if one.state == "running" or one.in_doubt:
                left = Fraction(self.granted.what.over * (most - one.volume), max(most, 1))
                runs_until = max(runs_until, one.at + ceil(left))
                continue
            ended = one.at
            most = least if one.state == "interrupted" else most
        return most, ended, runs_until

    def most(self) -> int:
        """The most of a bolus that can have gone in."""
        return self.counted()[0]

    def latest(self, slack: int) -> int:
        """When a bolus has surely ended: in its time from its latest start, or as the pump said.

        A frame may lie on the way until the pump says that it took it.
        """
        assert isinstance(self.granted.what, Bolus)
        _, ended, runs_until = self.counted()
        begun = self.granted.at + slack
        if self.fate == "delivered":
            begun = max(begun, self.when)
        latest = max(begun + self.granted.what.over, runs_until)
        return latest if ended is None else min(latest, ended)


@dataclass
class Chronicle:
    """What the whole list amounts to, read from its beginning."""

    commands: dict[int, Command] = field(default_factory=dict)
    current: Command | None = None
    verified: Program | None = None
    stopped: int | None = None
    """The place of a stop after which no program was asked for and proved."""
    latched: bool = False
    unknown_until: int = 0
    unplanned: bool = False
    """Drug flows that nobody has asked for."""
    waived: tuple[tuple[str, int], ...] = ()
    """Rules that the program in the pump was let pass, and until when."""

    @property
    def doubt(self) -> list[Command]:
        return [one for one in self.commands.values() if not one.fate]

    @property
    def programs(self) -> list[Command]:
        return [c for c in self.commands.values() if isinstance(c.granted.what, Program)]

    @property
    def boluses(self) -> list[Command]:
        """Those that may have been carried out; one that the pump counted was, whatever it says."""
        return [
            one
            for one in self.commands.values()
            if isinstance(one.granted.what, Bolus) and not one.was_nothing
        ]


def read(facts: Sequence[Fact]) -> Chronicle:
    """Goes through everything that ever happened."""
    so_far, unknown_flows = Chronicle(), False
    for place, fact in enumerate(facts):
        if isinstance(fact, Granted):
            so_far.commands[fact.id] = Command(fact, place)
        elif isinstance(fact, Told):
            command = so_far.commands.get(fact.id)
            if command is None or command.fate or fact.outcome == "UNCERTAIN":
                continue
            command.fate, command.when = fact.outcome, fact.at
            if fact.outcome == "delivered" and isinstance(command.granted.what, Program):
                _proved(so_far, command, fact.at)
                if unknown_flows:
                    so_far.unknown_until, unknown_flows = fact.at + DAY, False
        elif isinstance(fact, Count):
            command = so_far.commands.get(fact.id)
            if command is not None and not command.was_nothing:
                command.counts.append(fact._replace(in_doubt=not command.fate))
        elif isinstance(fact, Other):
            command = so_far.commands.get(fact.id)
            if command is not None and not command.fate:
                command.fate, command.when, command.until = "another", fact.at, fact.at
            if so_far.current is not None:
                so_far.current.until = fact.at
            so_far.current = None
            if fact.delivers or unknown_flows:
                so_far.unknown_until = fact.at + DAY
            unknown_flows = fact.delivers
        elif isinstance(fact, Own):
            so_far.verified = fact.program
        elif isinstance(fact, Stop):
            so_far.stopped = place
        elif isinstance(fact, Latch):
            so_far.latched = True
            so_far.verified = None if fact.past_lost else so_far.verified
        elif isinstance(fact, Unplanned):
            so_far.unknown_until, so_far.unplanned = fact.at + DAY, True
        elif so_far.unplanned:
            so_far.unknown_until, so_far.unplanned = fact.at + DAY, False
    return so_far


def _proved(so_far: Chronicle, command: Command, at: int) -> None:
    granted = command.granted
    assert isinstance(granted.what, Program)
    if so_far.current is not None:
        so_far.current.until = at
    so_far.current, so_far.verified = command, granted.what
    so_far.waived = tuple(
        (rule, granted.at + granted.valid_for)
        for rule in granted.passed
        if rule not in ABOUT_ONE_CHANGE
    )
    if so_far.stopped is not None and command.place > so_far.stopped:
        so_far.stopped = None
