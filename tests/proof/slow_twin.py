"""A second judge of the pump, slow and obvious: it reads all that ever happened anew each time.

Written from the rules (safety.md 4, domain.md 4.2, design.md 3), not from the code that ships. It
keeps no totals, no reservations and no state: on each request it goes through the whole list and
works the answer out from there. Volumes in nL, masses in fg, times in ms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from operator import sub

from window_oracle import Button, Steps

from .chronicle import (
    DAY,
    Bolus,
    Chronicle,
    Command,
    Drug,
    Fact,
    Granted,
    Latch,
    Program,
    Request,
    read,
)

MINUTE, HOUR = 60_000, 3_600_000
SLACK = 5_000
"""How much later than it was judged a bolus may begin."""
POLL = 1_000
LOCKOUT = MINUTE
FLOW_MAX = 24_000_000
"""Of the bench pump, nL/day."""
USUAL_DAY = 10 * 10**12
"""Of morphine, fg: the soft limit of the formulary that these tests judge by."""
WINDOWS = (HOUR, 4 * HOUR, DAY)
AGAINST_TOO_MUCH = frozenset(("SR-04", "SR-05", "SR-06", "SR-61", "SR-63"))


@dataclass
class SlowTwin:
    """All that ever happened to one pump; times are of the slow clock."""

    boluses_a_day: int = 96
    speed: int = 1
    facts: list[Fact] = field(default_factory=list)

    @property
    def slack(self) -> int:
        """How much later than judged a bolus may begin, in the pump's own time."""
        return SLACK * self.speed

    def restart(self) -> None:
        """A new host knows what the journal holds: nothing from a latch on, unless all is lost."""
        for place, fact in enumerate(self.facts):
            if isinstance(fact, Latch):
                if not fact.past_lost:
                    del self.facts[place:]
                return

    def objections(self, request: Request) -> tuple[frozenset[str], tuple[str, ...]]:
        """The rules that stand against a request, and the soft ones that it was let pass."""
        so_far = read(self.facts)
        if isinstance(request.what, Bolus):
            return frozenset(self._about_bolus(so_far, request, request.what)), ()
        hard, soft = self._about_program(so_far, request, request.what)
        # Going on is never put off by how often it was asked for (SR-62).
        goes_on = so_far.verified is not None and is_no_more(request.what, so_far.verified)
        standing = hard | self._unpassed(soft, request, counts=not goes_on)
        return frozenset(standing), tuple(sorted(soft))

    # --- a bolus -----------------------------------------------------------------------------

    def _about_bolus(self, so_far: Chronicle, request: Request, bolus: Bolus) -> Iterator[str]:
        at = request.at
        yield from _about_everything(so_far)
        if request.seen_ago is None or not 0 <= request.seen_ago <= 3 * POLL * self.speed:
            yield "SR-52"
        if so_far.stopped is not None:
            yield "SR-32"
        if any(at > until for _, until in so_far.waived):
            yield "SR-57"
        if so_far.unplanned or at < so_far.unknown_until:
            yield "SR-14"
        counted = self.in_the_last_day(so_far, at)
        for one in counted:
            if at < max(one.granted.at + self.slack + LOCKOUT, one.latest(self.slack)):
                yield "SR-15"
        if len(counted) >= self.boluses_a_day:
            yield "SR-05"
        if so_far.current is None:
            yield "SR-22"
            return
        program = so_far.current.granted.what
        assert isinstance(program, Program)
        yield from _about_dose(bolus, program)
        for drug in program.drugs:
            if drug.per_bolus is None or bolus.volume * drug.strength > drug.per_bolus:
                yield "SR-05"
            for window, limit in zip(WINDOWS, drug.per_window, strict=True):
                worst = self.worst(so_far, drug, window, at) + bolus.volume * drug.strength
                if worst > limit:
                    yield "SR-14"

    def in_the_last_day(self, so_far: Chronicle, at: int) -> list[Command]:
        """The boluses that the longest window may hold; its edge counts."""
        return [one for one in so_far.boluses if one.latest(self.slack) >= at - DAY]

    def worst(
        self, so_far: Chronicle, drug: Drug, window: int, at: int, new: Program | None = None
    ) -> Fraction:
        """The most of a drug in a window: basal, buttons, and all boluses that may lie in it."""
        programs = may_flow(so_far, at)
        if new is not None:
            programs.append(new)
        given = sum(
            one.most() * strength_of(drug.name, one.granted.drugs)
            for one in so_far.boluses
            if one.latest(self.slack) >= at - window
        )
        return most_of_basal_and_buttons(frozenset(programs), drug.name, window) + given

    # --- a program ---------------------------------------------------------------------------

    def _about_program(
        self, so_far: Chronicle, request: Request, new: Program
    ) -> tuple[set[str], set[str]]:
        """The rules against a new program: those that no reason passes, and those that one does."""
        own = set(_about_itself(new))
        if so_far.verified is not None and is_no_more(new, so_far.verified):
            return own - AGAINST_TOO_MUCH, own & AGAINST_TOO_MUCH | set(_beyond_the_usual(new))
        hard, soft = own | set(_about_everything(so_far)), set(_beyond_the_usual(new))
        in_line = so_far.verified
        if so_far.current is not None:
            assert isinstance(so_far.current.granted.what, Program)
            in_line = so_far.current.granted.what
        if in_line is not None and _mix(in_line) != _mix(new):
            soft.add("SR-12")
        if not may_flow(so_far, request.at) and not self.in_the_last_day(so_far, request.at):
            return hard, soft
        if so_far.current is not None and in_line is not None:
            if is_no_more(new, in_line):
                return hard, soft
            if so_far.unplanned or request.at < so_far.unknown_until:
                hard.add("SR-14")
        for drug in new.drugs:
            for window, limit in zip(WINDOWS, drug.per_window, strict=True):
                if self.worst(so_far, drug, window, request.at, new) > limit:
                    hard.add("SR-14")
        return hard, soft

    def _unpassed(self, soft: set[str], request: Request, *, counts: bool) -> set[str]:
        """What is left of soft findings once a reason is heard, and what is wrong with it."""
        reason = request.reason
        if reason is None:
            return soft
        left = {rule for rule in soft if rule not in reason.rules}
        for rule in soft - left:
            if not 0 < reason.valid_for <= 7 * DAY:
                left.add("SR-57")
            if reason.second is not None and reason.second != reason.user:
                continue
            day = [
                one
                for one in self.facts
                if isinstance(one, Granted) and rule in one.passed and one.at >= request.at - DAY
            ]
            if rule == "SR-12" or (counts and len(day) >= 2):
                left.add("SR-57")
        return left


# --- rules without a history ---------------------------------------------------------------------


def _about_everything(so_far: Chronicle) -> Iterator[str]:
    if so_far.latched:
        yield "SR-56"
    if so_far.doubt:
        yield "SR-23"


def _about_dose(bolus: Bolus, program: Program) -> Iterator[str]:
    if bolus.volume <= 0:
        yield "SR-07"
    if bolus.over <= 0:
        yield "SR-16"
    elif not _can_flow(bolus, program):
        yield "SR-07"


def _can_flow(bolus: Bolus | Button, program: Program) -> bool:
    """Whether the pump can move a bolus on top of the largest basal."""
    left = FLOW_MAX - max(flow for _, flow in program.basal)
    return bolus.volume * DAY <= left * bolus.over


def _about_itself(program: Program) -> Iterator[str]:
    """A program is judged at its own worst: every press at the worst moment of its day."""
    if program.button is not None and not _can_flow(program.button, program):
        yield "SR-07"
    for drug in program.drugs:
        for window, limit in zip(WINDOWS, drug.per_window, strict=True):
            if most_of_basal_and_buttons(frozenset([program]), drug.name, window) > limit:
                yield "SR-04" if window == DAY else "SR-05"
        if program.button is not None and (
            drug.per_bolus is None or program.button.volume * drug.strength > drug.per_bolus
        ):
            yield "SR-05"


def _beyond_the_usual(program: Program) -> Iterator[str]:
    """A day of more than is usual, and within its limit, takes a reason."""
    for drug in program.drugs:
        day = most_of_basal_and_buttons(frozenset([program]), drug.name, DAY)
        if drug.name == "morphine" and USUAL_DAY < day <= drug.per_window[-1]:
            yield "SR-04"


def may_flow(so_far: Chronicle, at: int) -> list[Program]:
    """Every program that a window of a day may hold or come to hold."""
    return [
        one.granted.what
        for one in so_far.programs
        if isinstance(one.granted.what, Program)
        and one.fate != "refused"
        and (one.until is None or one.until >= at - DAY)
    ]


def _mix(program: Program) -> tuple[tuple[str, int], ...]:
    return tuple((drug.name, drug.strength) for drug in program.drugs)


def is_no_more(new: Program, old: Program) -> bool:
    """Whether a program delivers nowhere more than another, minute by minute."""
    if _mix(new) != _mix(old) or new.button not in (None, old.button):
        return False
    return all(flow_at(new.basal, m) <= flow_at(old.basal, m) for m in _borders([new, old]))


def _borders(programs: Sequence[Program]) -> list[int]:
    return sorted({minute for program in programs for minute, _ in program.basal})


def flow_at(basal: Steps, minute: int) -> int:
    """The flow at a minute of the day; the last step goes on over midnight."""
    return max((step for step in basal if step[0] <= minute), default=basal[-1])[1]


def strength_of(name: str, drugs: Sequence[Drug]) -> int:
    """The strength of a drug in a mix; 0 if it is not in it."""
    return next((drug.strength for drug in drugs if drug.name == name), 0)


def _by_the_minute(program: Program, name: str) -> list[int]:
    """How much of a drug flows in each minute of the day, as fg in a day."""
    strength, steps = strength_of(name, program.drugs), program.basal
    rates = [steps[-1][1] * strength] * steps[0][0]
    for (start, flow), (end, _) in zip(steps, (*steps[1:], (1_440, 0)), strict=True):
        rates += [flow * strength] * (end - start)
    return rates


@lru_cache(maxsize=20_000)
def most_of_basal_and_buttons(programs: frozenset[Program], name: str, window: int) -> Fraction:
    """The most of a drug that these programs give in a window, whichever flows when.

    Minute by minute the program that gives most; a press of each button may follow presses of
    the other, so they add up.
    """
    rates = list(map(max, *(_by_the_minute(p, name) for p in programs), [0] * 1_440))
    # Every border is a whole minute and so is every window: the worst one begins at one.
    until = [0, *accumulate(rates + rates)]
    minutes = window // MINUTE
    basal = max(map(sub, until[minutes : minutes + 1_440], until))
    buttons = {(p.button, strength_of(name, p.drugs)) for p in programs if p.button is not None}
    presses = sum(
        (button.most_in(window) * strength for button, strength in buttons if button is not None),
        Fraction(0),
    )
    return Fraction(basal * MINUTE, DAY) + presses
