"""The line between reservoir and tip, in every order of a few events: one prime, then one bridge.

What is really in the line is kept beside the kernel's state. The pump answers truly, late or never;
of a bridge that a battery reset cut off it knows nothing any more.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from clinical_examples import ITP
from kernel_bench import DAY, HOUR, IDENTITY, MINUTE, SLACK, instant
from line_bench import FIRST_FILL, MONTH, command_of, therapy_of

from device_profiles.notation import parse_mass
from device_profiles.quantities import Femtograms, Milliseconds, NanoLitres
from device_profiles.therapy import DoseLimits, InfusionTherapy
from safety import kernel
from safety.commands import Ask, Command, GiveBolus, Override, Prime, PumpEvidence
from safety.events import Connected, Counted, Event, Intended, Settled, Unverified
from safety.kernel import Continue, Record
from safety.outputs import BolusOutput, PrimeOutput
from safety.state import State

LINE = 400_000
"""nL of tubing and catheter."""
PRIME = 349_344
"""What fills it in a pump that gives 14.5 % too much: 400,000 / 1.145, rounded down."""
PRIME_TIME = HOUR
FILL = 18_000_000
BOLUS = GiveBolus(BolusOutput(NanoLitres(1_000), Milliseconds(MINUTE)), ITP)
WAIVER = Override(("SR-06", "SR-12", "SR-18", "SR-19"), "clinician", "a test", "pharmacist")
BEFORE = {"morphine": "2 mg/mL", "fentanyl": "1 mg/mL"}
AFTER = {"morphine": "4 mg/mL", "fentanyl": "1 mg/mL"}
"""Over the bridge the flow is twice that of after it, and so is the fentanyl."""
RATE, TWICE = "2.4 mg/day", "4.8 mg/day"
ONE_BOLUS, WIDE = parse_mass("0.004 mg"), parse_mass("20 mg")
FG_IN_NG = 1_000_000

Told = tuple[str, "Moment | None", str | None]
"""What happens, what is then (if anything changes), and the claim that it breaks (if it does)."""


class Sent(NamedTuple):
    """A prime or a bridge that was granted, and what became of it; ``word`` as the host heard it.

    ``latest`` is when a prime has ended at the latest.
    """

    id: int
    arrived: bool
    latest: int
    word: str


class Moment(NamedTuple):
    """What the host knows and what happened; ``line`` is what it holds: old, moving or new."""

    now: int
    ids: int
    state: State
    sent: tuple[Sent, ...] = ()
    line: str = "old"


Moves = Callable[[Moment], Iterator[Told]]


def search(first: Moment, moves: Moves, depth: int) -> tuple[int, str | None]:
    """All orders of events up to this depth: how many states, and the first that breaks a claim."""
    frontier: list[tuple[Moment, tuple[str, ...]]] = [(first, ())]
    seen = {first}
    for _ in range(depth):
        following = []
        for moment, path in frontier:
            for label, after, broken in moves(moment):
                if broken:
                    return len(seen), f"{broken}; after: {' > '.join((*path, label))}"
                if after is None or after in seen:
                    continue
                seen.add(after)
                following.append((after, (*path, label)))
        frontier = following
    return len(seen), None


def limited(therapy: InfusionTherapy, name: str = "", an_hour: int = 0) -> InfusionTherapy:
    """The file with a limit of one bolus for each drug, and an hour's limit of one of them, ng."""
    hours = {name: Femtograms(an_hour * FG_IN_NG)}
    drugs = (
        replace(one, limits=DoseLimits(ONE_BOLUS, hours.get(one.name, WIDE), WIDE, WIDE))
        for one in therapy.drugs
    )
    return replace(therapy, drugs=tuple(drugs))


def connected(now: int) -> Connected:
    """A host takes charge of the pump."""
    return Connected(instant(now), IDENTITY, 1, True, Milliseconds(now), True)


def proved(command: Command) -> State:
    """A pump whose first program was applied and proved."""
    state, intent = granted(kernel.step(State(), connected(0))[0], command, 0, 1)
    assert intent is not None, "the first program was meant to be granted"
    return kernel.step(state, settled(0, 1, "delivered"))[0]


def granted(state: State, command: Command, now: int, own: int) -> tuple[State, Intended | None]:
    """The state after a request, and its intent if it was granted; two persons stand for it."""
    ask = Ask(instant(now), own, command, "BENCH-012", WAIVER, Milliseconds(now))
    _, (effect,) = kernel.step(state, ask)
    intent = effect.intent if isinstance(effect, Continue) else None
    if isinstance(effect, Record) and isinstance(effect.event, Intended):
        intent = effect.event
    return (state if intent is None else kernel.step(state, intent)[0]), intent


def settled(now: int, own: int, outcome: str) -> Settled:
    """What became of an id."""
    return Settled(instant(now), own, outcome, "a test")  # type: ignore[arg-type]


def _told(moment: Moment, event: Event, sent: Sent | None = None, word: str = "") -> Moment:
    changed = tuple(p._replace(word=word) if p is sent else p for p in moment.sent)
    return moment._replace(state=kernel.step(moment.state, event)[0], sent=changed)


def _answers(moment: Moment) -> Iterator[Told]:
    for one in moment.sent:
        if one.word != "asked":
            continue
        doubt = settled(moment.now, one.id, "UNCERTAIN")
        yield f"{one.id} is UNCERTAIN", _told(moment, doubt), None
        word, outcome = ("done", "delivered") if one.arrived else ("gone", "refused")
        event = settled(moment.now, one.id, outcome)
        yield f"{one.id} is settled: {outcome}", _told(moment, event, one, word), None


def _restart(moment: Moment) -> Told:
    return "the host restarts", _told(moment, connected(moment.now)), None


# --- one prime for each fill ---------------------------------------------------------------------


def primes(depth: int) -> tuple[int, str | None]:
    """A fill and its prime: once, whatever becomes of it, and no bolus while it may run."""
    therapy = therapy_of({"morphine": "1 mg/mL"}, "0.6 mg/day", primed=False)
    return search(Moment(0, 1, proved(command_of(therapy))), _moves_of_prime, depth)


def prime_after(gone: int = 0) -> Prime:
    """The prime of the first fill, once the pump counts that so many nL have left it."""
    output = PrimeOutput(NanoLitres(PRIME), Milliseconds(PRIME_TIME), FIRST_FILL)
    evidence = PumpEvidence(Milliseconds(0), NanoLitres(FILL - gone), FIRST_FILL)
    return Prime(output, ITP, evidence)


def _moves_of_prime(moment: Moment) -> Iterator[Told]:
    now, own = moment.now, moment.ids + 1
    done = [one for one in moment.sent if one.word != "gone"]
    after, intent = granted(moment.state, prime_after(), now, own)
    if intent is not None:
        broken = "a second prime of one fill was granted" if done else None
        for arrived in (True, False):
            sent = (*moment.sent, Sent(own, arrived, now + SLACK + PRIME_TIME, "asked"))
            label = f"prime {own} is granted, its frame {'arrives' if arrived else 'is lost'}"
            yield label, Moment(now, own, after, sent), broken
    if granted(moment.state, BOLUS, now, own)[1] is not None:
        running = [one for one in done if now < one.latest]
        yield "a bolus is granted", None, "while a prime may run" if running else None
    yield from _answers(moment)
    for one in moment.sent:
        if one.arrived and now >= one.latest:
            count = Counted(instant(now), one.id, "executed", NanoLitres(PRIME))
            yield f"{one.id} is counted", _told(moment, count), None
    yield _restart(moment)
    for then in sorted({one.latest for one in moment.sent if one.latest > now} | {now + DAY}):
        if now < 2 * DAY:
            yield f"{then - now} ms pass", moment._replace(now=then), None


# --- one bridge after a refill -------------------------------------------------------------------


def bridges(depth: int) -> tuple[int, str | None]:
    """A refill and its bridge: no bolus, and no program without it, until the pump says it is over.

    However long that takes; and the program that has it may be applied again at any time.
    """
    state = proved(command_of(limited(therapy_of(BEFORE, RATE))))
    return search(Moment(0, 1, state), _moves_of_bridge, depth)


def _moves_of_bridge(moment: Moment) -> Iterator[Told]:
    now, own, state = moment.now, moment.ids + 1, moment.state
    has_begun = moment.line != "old" or any(one.word == "asked" for one in moment.sent)
    knows = state.pump_program is not None and has_begun
    evidence = PumpEvidence(
        Milliseconds(0),
        NanoLitres(FILL),
        Milliseconds(FIRST_FILL + (MONTH if moment.line != "old" else 0)),
        NanoLitres(LINE // 2 if knows and moment.line == "moving" else 0),
    )
    with_bridge = limited(therapy_of(AFTER, RATE, fill=2, before=BEFORE))
    bridged = command_of(with_bridge, evidence=evidence)
    after, intent = granted(state, bridged, now, own)
    if intent is not None:
        for arrived in (True, False):
            line = "moving" if arrived and moment.line == "old" else moment.line
            sent = (*moment.sent, Sent(own, arrived, now, "asked"))
            label = f"bridge {own} is granted, its frame {'arrives' if arrived else 'is lost'}"
            yield label, Moment(now, own, after, sent, line), None
    elif state.last_verified == bridged.program:
        yield "the bridged program again", None, "it goes on, and is refused"
    bare = command_of(limited(therapy_of(AFTER, RATE, fill=2)), evidence=evidence)
    if granted(state, bare, now, own)[1] is not None and moment.line == "moving":
        yield "the program without its bridge", None, "it is granted while the line moves"
    if granted(state, BOLUS, now, own)[1] is not None and moment.line == "moving":
        yield "a bolus", None, "it is granted while the line moves"
    yield from _answers(moment)
    if moment.line != "old" and moment.sent and state.pump_program is not None:
        own_bridge = max(one.id for one in moment.sent if one.arrived)
        count = Counted(instant(now), own_bridge, "executed", NanoLitres(LINE))
        yield f"bridge {own_bridge} is over", _told(moment, count)._replace(line="new"), None
    if state.pump_program is not None:
        lost = Unverified(instant(now), 0, "its battery was reset", False)
        yield "the pump loses its program", _told(moment, lost), None
    yield _restart(moment)
    if now < 120 * DAY:
        yield "30 days pass", moment._replace(now=now + 30 * DAY), None
