"""A second judge of the pump, slow and obvious: it reads all that ever happened anew each time.

Written from the rules (safety.md 4, domain.md 4.2, design.md 3), not from the code that ships. It
keeps no totals, no reservations and no state: on each request it goes through the whole list and
works the answer out from there. Volumes in nL, masses in fg, times in ms.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from .chronicle import DAY, MINUTE, Bolus, Command, Drug, Fact, Granted, Latch, Program, Request
from .reading import Chronicle, goes_on, read
from .slow_rules import (
    AGAINST_TOO_MUCH,
    WINDOWS,
    about_bolus_alone,
    about_program_alone,
    has_same_mix,
    is_no_more,
    most_of_basal_and_buttons,
    names_of,
    strength_of,
)

SLACK = 5_000
"""How much later than it was judged a bolus may begin."""
POLL = 1_000
LOCKOUT = MINUTE
ALERTS_WITHIN = 10 * MINUTE
LONGEST_REASON = 7 * DAY
TWO_PERSONS = ("SR-12", "SR-25")
"""Rules that no single person's reason passes."""


@dataclass
class SlowTwin:
    """All that ever happened to one pump; times are of the slow clock."""

    boluses_a_day: int = 96
    speed: int = 1
    facts: list[Fact] = field(default_factory=list)
    _read: Chronicle | None = field(default=None, init=False)

    @property
    def slack(self) -> int:
        """How much later than judged a bolus may begin, in the pump's own time."""
        return SLACK * self.speed

    @property
    def so_far(self) -> Chronicle:
        """What the list amounts to; it is read once after each fact."""
        if self._read is None:
            self._read = read(self.facts)
        return self._read

    def hear(self, fact: Fact) -> None:
        """One more fact."""
        self.facts.append(fact)
        self._read = None

    def restart(self) -> None:
        """A new host knows what the journal holds: nothing from a latch on, unless all is lost."""
        self._read = None
        for place, fact in enumerate(self.facts):
            if isinstance(fact, Latch):
                if not fact.past_lost:
                    del self.facts[place:]
                return

    def objections(self, request: Request) -> tuple[frozenset[str], tuple[str, ...]]:
        """The rules that stand against a request, and the soft ones that it was let pass."""
        so_far, what = self.so_far, request.what
        hard, soft = set(_about_asking(so_far, request)), set[str]()
        if isinstance(what, Bolus):
            return frozenset(hard.union(self._about_bolus(so_far, request, what))), ()
        if goes_on(so_far, what):
            # It is what flows already: a limit asks for a reason, and refuses nothing (SR-62).
            alone, unusual = about_program_alone(what, request.library, names_of(what))
            hard |= alone - AGAINST_TOO_MUCH
            soft |= alone & AGAINST_TOO_MUCH
        else:
            alone, unusual = about_program_alone(
                what, request.library, _drugs_before(so_far, request)
            )
            hard |= alone.union(_about_everything(so_far, request.at))
            hard |= set(self._about_windows(so_far, request.at, what))
            soft |= set(_about_change(so_far, request, what))
        soft |= unusual
        return frozenset(hard | self._unpassed(soft, request)), tuple(sorted(soft))

    # --- a bolus -----------------------------------------------------------------------------

    def _about_bolus(self, so_far: Chronicle, request: Request, bolus: Bolus) -> Iterator[str]:
        at = request.at
        yield from _about_everything(so_far, at)
        if request.seen_ago is None or not 0 <= request.seen_ago <= 3 * POLL * self.speed:
            yield "SR-52"
        if so_far.is_stopped:
            yield "SR-32"
        if so_far.to_look_at:
            yield "SR-23"
        if any(at > until for _, until in so_far.waived):
            yield "SR-57"
        if so_far.unasked_flows or at < so_far.unknown_until:
            yield "SR-14"
        counted = self.in_the_last_day(so_far, at)
        for one in counted:
            if at < max(one.granted.at + self.slack + LOCKOUT, one.latest(self.slack, at)):
                yield "SR-15"
        if len(counted) >= self.boluses_a_day:
            yield "SR-05"
        if so_far.current is None:
            yield "SR-22"
            return
        program = so_far.current.granted.what
        assert isinstance(program, Program)
        yield from about_bolus_alone(bolus, program)
        for drug in program.drugs:
            for window, limit in zip(WINDOWS, drug.per_window, strict=True):
                worst = self.worst(so_far, drug, window, at) + bolus.volume * drug.strength
                if worst > limit:
                    yield "SR-14"

    def in_the_last_day(self, so_far: Chronicle, at: int) -> list[Command]:
        """The boluses that the longest window may hold; its edge counts."""
        return [one for one in so_far.boluses if one.latest(self.slack, at) >= at - DAY]

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
            if one.latest(self.slack, at) >= at - window
        )
        return most_of_basal_and_buttons(frozenset(programs), drug.name, window) + given

    # --- a program ---------------------------------------------------------------------------

    def _about_windows(self, so_far: Chronicle, at: int, new: Program) -> Iterator[str]:
        """What a new program would add to windows that may hold other programs, and boluses."""
        if not may_flow(so_far, at) and not self.in_the_last_day(so_far, at):
            return
        if so_far.current is not None:
            in_pump = so_far.current.granted.what
            assert isinstance(in_pump, Program)
            if is_no_more(new, in_pump):
                return
            if so_far.unasked_flows or at < so_far.unknown_until:
                yield "SR-14"
        for drug in new.drugs:
            for window, limit in zip(WINDOWS, drug.per_window, strict=True):
                if self.worst(so_far, drug, window, at, new) > limit:
                    yield "SR-14"

    def _unpassed(self, soft: set[str], request: Request) -> set[str]:
        """What is left of soft findings once a reason is heard, and what is wrong with it."""
        reason = request.reason
        if reason is None:
            return soft
        assert isinstance(request.what, Program)
        # Going on is never put off by how often it was asked for (SR-62).
        is_counted = not goes_on(self.so_far, request.what)
        left = {rule for rule in soft if rule not in reason.rules}
        for rule in soft - left:
            if not 0 < reason.valid_for <= LONGEST_REASON:
                left.add("SR-57")
            if reason.second is not None and _person(reason.second) != _person(reason.user):
                continue
            day = [
                one
                for one in self.facts
                if isinstance(one, Granted) and rule in one.passed and one.at >= request.at - DAY
            ]
            if rule in TWO_PERSONS or (is_counted and len(day) >= 2):
                left.add("SR-57")
        return left


# --- rules about what went before ----------------------------------------------------------------


def may_flow(so_far: Chronicle, at: int) -> list[Program]:
    """Every program that a window of a day may hold or come to hold."""
    return [
        one.granted.what
        for one in so_far.programs
        if isinstance(one.granted.what, Program)
        and one.fate != "refused"
        and (one.until is None or one.until >= at - DAY)
    ]


def _about_asking(so_far: Chronicle, request: Request) -> Iterator[str]:
    """An id stands for one intent; what a person approved is what the pump still shows."""
    if request.id in so_far.commands:
        yield "SR-20"
    if request.approved is not None and any(p >= request.approved for p in so_far.changes):
        yield "SR-58"


def _about_everything(so_far: Chronicle, at: int) -> Iterator[str]:
    if so_far.latched:
        yield "SR-56"
    if so_far.doubt:
        yield "SR-23"
    if so_far.in_field:
        yield "SR-34"
    lately = [code for code, when in so_far.alerts if when >= at - ALERTS_WITHIN]
    if any(lately.count(code) >= 3 for code in lately):
        yield "SR-35"


def _about_change(so_far: Chronicle, request: Request, new: Program) -> Iterator[str]:
    """Another patient, another mix: soft, and for two persons."""
    if so_far.proved is not None and so_far.proved.granted.patient != request.patient:
        yield "SR-25"
    in_line = so_far.verified if so_far.current is None else so_far.current.granted.what
    if isinstance(in_line, Program) and not has_same_mix(in_line, new):
        yield "SR-12"


def _drugs_before(so_far: Chronicle, request: Request) -> frozenset[str]:
    """The drugs of the program that was last proved: their start is over, for its own patient."""
    if so_far.proved is None or so_far.proved.granted.patient != request.patient:
        return frozenset()
    before = so_far.proved.granted.what
    assert isinstance(before, Program)
    return names_of(before)


def _person(name: str) -> str:
    return "".join(name.lower().split())
