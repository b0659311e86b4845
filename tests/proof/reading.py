"""What the whole list of facts about a pump amounts to, read from its beginning each time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .chronicle import (
    DAY,
    Alarmed,
    Bolus,
    Command,
    Count,
    Ended,
    Fact,
    Field,
    Granted,
    Latch,
    Look,
    Met,
    Other,
    Own,
    Program,
    Stop,
    Told,
)
from .slow_rules import is_no_more

UNASKED = frozenset(("over-delivery", "free-flow"))
"""Alarms of drug that flows and that nobody has asked for."""
STUCK = frozenset(("motor-stall", "occlusion"))
"""Alarms after which a person has to look before any bolus."""
ABOUT_ONE_CHANGE = ("SR-06", "SR-12", "SR-18", "SR-19", "SR-25", "SR-44", "SR-59")
"""Rules about a change itself: what was let pass is over once it is done."""


@dataclass
class Chronicle:
    """What the whole list amounts to, read from its beginning."""

    commands: dict[int, Command] = field(default_factory=dict)
    current: Command | None = None
    proved: Command | None = None
    """The program that was last proved, whether or not it is still in the pump."""
    verified: Program | None = None
    stop: int | None = None
    """The place of the last stop."""
    latched: bool = False
    unknown_until: int = 0
    unknown_flows: bool = False
    """A program that nobody knows was found in the pump, and none of ours was proved since."""
    standing: set[str] = field(default_factory=set)
    """Alarms whose conditions still hold."""
    to_look_at: bool = False
    alerts: list[tuple[str, int]] = field(default_factory=list)
    """The first of each alarm after each start, since somebody last looked."""
    alerted: set[str] = field(default_factory=set)
    in_field: bool = False
    starts: int | None = None
    changes: list[int] = field(default_factory=list)
    """The places of facts after which the pump may show something else."""
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

    @property
    def is_stopped(self) -> bool:
        """Whether the program that was last proved is one that was asked for before a stop."""
        return self.stop is not None and (self.proved is None or self.proved.place < self.stop)

    @property
    def unasked_flows(self) -> bool:
        """Whether drug flows just now that nobody has asked for."""
        return bool(self.standing & UNASKED)


def read(facts: Sequence[Fact]) -> Chronicle:
    """Goes through everything that ever happened."""
    so_far = Chronicle()
    for place, fact in enumerate(facts):
        if _read_one(so_far, place, fact):
            so_far.changes.append(place)
    return so_far


def _read_one(so_far: Chronicle, place: int, fact: Fact) -> bool:
    """Takes one fact in, and tells whether the pump may show something else after it."""
    match fact:
        case Granted():
            so_far.commands[fact.id] = Command(_of_its_patient(so_far, fact), place)
        case Told():
            return _read_answer(so_far, fact)
        case Count():
            command = so_far.commands.get(fact.id)
            if command is not None and not command.was_nothing:
                command.counts.append(fact._replace(in_doubt=not command.fate))
            return False
        case Other():
            _read_other(so_far, fact)
        case Own():
            so_far.verified = fact.program
            return False
        case Stop():
            so_far.stop = place
        case Latch():
            so_far.latched = True
            so_far.verified = None if fact.past_lost else so_far.verified
        case Field():
            so_far.in_field = fact.entered
        case Met():
            before, so_far.starts = so_far.starts, fact.starts
            return before not in (None, fact.starts)
        case Alarmed() | Ended() | Look():
            _read_alarm(so_far, fact)
            return False
    return True


def goes_on(so_far: Chronicle, new: Program) -> bool:
    """Whether a program only keeps what was last proved, or what the pump was found with."""
    return so_far.verified is not None and is_no_more(new, so_far.verified)


def _of_its_patient(so_far: Chronicle, granted: Granted) -> Granted:
    """To go on asks nobody: the pump stays the patient's who had it, whatever a file says."""
    what = granted.what
    if so_far.proved is None or not isinstance(what, Program) or not goes_on(so_far, what):
        return granted
    return granted._replace(patient=so_far.proved.granted.patient)


def _read_answer(so_far: Chronicle, fact: Told) -> bool:
    command = so_far.commands.get(fact.id)
    if command is None or command.fate or fact.outcome == "UNCERTAIN":
        return False
    command.fate, command.when = fact.outcome, fact.at
    granted = command.granted
    if fact.outcome != "delivered" or not isinstance(granted.what, Program):
        return True
    if so_far.current is not None:
        so_far.current.until = fact.at
    so_far.current, so_far.proved, so_far.verified = command, command, granted.what
    so_far.alerted.clear()
    so_far.waived = tuple(
        (rule, granted.at + granted.valid_for)
        for rule in granted.passed
        if rule not in ABOUT_ONE_CHANGE
    )
    if so_far.unknown_flows:
        so_far.unknown_until, so_far.unknown_flows = fact.at + DAY, False
    return True


def _read_other(so_far: Chronicle, fact: Other) -> None:
    command = so_far.commands.get(fact.id)
    if command is not None and not command.fate:
        command.fate, command.when, command.until = "another", fact.at, fact.at
    if so_far.current is not None:
        so_far.current.until = fact.at
    so_far.current = None
    if fact.delivers or so_far.unknown_flows:
        so_far.unknown_until = fact.at + DAY
    so_far.unknown_flows = fact.delivers


def _read_alarm(so_far: Chronicle, fact: Alarmed | Ended | Look) -> None:
    if isinstance(fact, Look):
        so_far.alerts.clear()
        so_far.to_look_at = bool(so_far.standing & STUCK)
        return
    if fact.code in UNASKED and (isinstance(fact, Alarmed) or fact.code in so_far.standing):
        so_far.unknown_until = fact.at + DAY
    if isinstance(fact, Ended):
        so_far.standing.discard(fact.code)
        return
    so_far.standing.add(fact.code)
    so_far.to_look_at |= fact.code in STUCK
    if not fact.is_low and fact.code not in so_far.alerted:
        so_far.alerted.add(fact.code)
        so_far.alerts.append((fact.code, fact.at))
