"""The line: primes and bridges, in every order of a few events, and windows that hold a bridge."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

from clinical_examples import ITP
from kernel_bench import DAY, HOUR, IDENTITY, MINUTE, SLACK, instant
from line_bench import FIRST_FILL, command_of, therapy_of

from device_profiles.notation import parse_mass
from device_profiles.quantities import Femtograms, Milliseconds, NanoLitres
from device_profiles.therapy import DoseLimits, InfusionTherapy
from safety import kernel
from safety.commands import Command, GiveBolus, Override, Prime, PumpEvidence
from safety.events import Connected, Counted, Event, Intended, Settled
from safety.kernel import Ask, Record
from safety.outputs import BolusOutput, PrimeOutput
from safety.state import State

from .children import in_children
from .evidence import Effort, Evidence, Planted
from .planted_bugs import plant, planted_for
from .planting import Bug

METHOD = "bridges and primes"
ABOUT_SECONDS = {"quick": 1, "full": 1}
DEPTH = {"quick": 6, "full": 8}
LINE = 400_000
"""nL of tubing and catheter."""
PRIME_TIME = HOUR
BOLUS = GiveBolus(BolusOutput(NanoLitres(1_000), Milliseconds(MINUTE)), ITP)
WAIVER = Override(("SR-06", "SR-12", "SR-18", "SR-19"), "clinician", "a test", "pharmacist")
PLENTY = 18_000_000
BEFORE = {"morphine": "2 mg/mL", "fentanyl": "1 mg/mL"}
AFTER = {"morphine": "4 mg/mL", "fentanyl": "1 mg/mL"}
"""Over the bridge the flow is twice that of after it, and so is the fentanyl."""
RATE, TWICE = "2.4 mg/day", "4.8 mg/day"


class Primed(NamedTuple):
    """A prime that was granted, and what became of it; ``word`` as the host heard it."""

    id: int
    arrived: bool
    latest: int
    word: str


class Moment(NamedTuple):
    """What the host knows and what happened."""

    now: int
    ids: int
    state: State
    primes: tuple[Primed, ...]


def prove(effort: Effort) -> Evidence:
    """Every order of a few events about a prime; windows with a bridge at L - 1, L and L + 1."""
    begun = perf_counter()
    states, sentence = primes(DEPTH[effort])
    windows = [bridged_window(more) for more in (-1, 0, 1)]
    planted = in_children([partial(hunt, bug) for bug in planted_for("line")])
    return Evidence(
        method=METHOD,
        covered=(
            f"{states:,} states of a fill and its prime, to depth {DEPTH[effort]}: one prime for "
            "each fill, whatever became of it, and no bolus while it may run; a bridge of two "
            "drugs after a bolus, at L - 1, L and L + 1 of the hour"
        ),
        violations=tuple(one for one in (sentence, *windows) if one),
        planted=tuple(planted),
        not_shown="what leaves the tip (the simulator's tubing shows that); refills in between",
        seconds=perf_counter() - begun,
    )


# --- one prime for each fill ---------------------------------------------------------------------


def primes(depth: int) -> tuple[int, str | None]:
    """All orders of events up to this depth: how many states, and the first that breaks a claim."""
    frontier: list[tuple[Moment, tuple[str, ...]]] = [(_unprimed(), ())]
    seen, states = {frontier[0][0]}, 1
    for _ in range(depth):
        following = []
        for moment, path in frontier:
            for label, after, broken in _moves(moment):
                if broken:
                    return states, f"{broken}; after: {' > '.join((*path, label))}"
                if after is None or after in seen:
                    continue
                seen.add(after)
                states += 1
                following.append((after, (*path, label)))
        frontier = following
    return states, None


def _unprimed() -> Moment:
    """A program over an empty line, applied and proved."""
    state = kernel.step(State(), Connected(instant(0), IDENTITY, 1, True, Milliseconds(0)))[0]
    command = command_of(therapy_of({"morphine": "1 mg/mL"}, "0.6 mg/day", primed=False))
    state, own = _granted(state, command, 0, 1)
    assert own is not None
    return Moment(0, 1, kernel.step(state, _settled(0, 1, "delivered"))[0], ())


def _settled(now: int, own: int, outcome: str) -> Settled:
    return Settled(instant(now), own, outcome, "a test")  # type: ignore[arg-type]


def _granted(state: State, command: Command, now: int, own: int) -> tuple[State, Intended | None]:
    ask = Ask(instant(now), own, command, "BENCH-012", WAIVER, Milliseconds(now))
    _, (effect,) = kernel.step(state, ask)
    if isinstance(effect, Record) and isinstance(effect.event, Intended):
        return kernel.step(state, effect.event)[0], effect.event
    return state, None


def _moves(moment: Moment) -> Iterator[tuple[str, Moment | None, str | None]]:
    now, own, state = moment.now, moment.ids + 1, moment.state
    done = [one for one in moment.primes if one.word != "gone"]
    after, intent = _granted(state, _prime(), now, own)
    if intent is not None:
        broken = "a second prime of one fill was granted" if done else None
        for arrived in (True, False):
            latest = now + SLACK + PRIME_TIME
            primed = (*moment.primes, Primed(own, arrived, latest, "asked"))
            label = f"prime {own} is granted, its frame {'arrives' if arrived else 'is lost'}"
            yield label, Moment(now, own, after, primed), broken
    if _granted(state, BOLUS, now, own)[1] is not None:
        running = [one for one in done if now < one.latest]
        yield "a bolus is granted", None, "while a prime may run" if running else None
    for one in moment.primes:
        if one.word == "asked":
            told = state, _settled(now, one.id, "UNCERTAIN")
            yield f"{one.id} is UNCERTAIN", _told(moment, told[1], one, "asked"), None
            word, outcome = ("done", "delivered") if one.arrived else ("gone", "refused")
            event = _settled(now, one.id, outcome)
            yield f"{one.id} is settled: {outcome}", _told(moment, event, one, word), None
        if one.arrived and now >= one.latest:
            count = Counted(instant(now), one.id, "executed", NanoLitres(LINE))
            yield f"{one.id} is counted", _told(moment, count, one, one.word), None
    restart: Event = Connected(instant(now), IDENTITY, 1, True, Milliseconds(now))
    yield "the host restarts", moment._replace(state=kernel.step(state, restart)[0]), None
    for then in {one.latest for one in moment.primes if one.latest > now} | {now + DAY}:
        if now < 2 * DAY:
            yield f"{then - now} ms pass", moment._replace(now=then), None


def _told(moment: Moment, event: Event, primed: Primed, word: str) -> Moment:
    changed = tuple(p._replace(word=word) if p is primed else p for p in moment.primes)
    return moment._replace(state=kernel.step(moment.state, event)[0], primes=changed)


def _prime() -> Prime:
    output = PrimeOutput(NanoLitres(LINE), Milliseconds(PRIME_TIME), FIRST_FILL)
    evidence = PumpEvidence(Milliseconds(0), NanoLitres(PLENTY), FIRST_FILL)
    return Prime(output, ITP, evidence)


# --- windows that hold a bridge ------------------------------------------------------------------


def bridged_window(more: int) -> str | None:
    """A bolus of fentanyl beside a bridge: fits the hour's limit to the ng, and not one more.

    By hand: over the bridge 4.8 mg of morphine a day at 2 mg/mL are 2.4 mL a day, 100,000 nL in an
    hour, each with 1 ng of fentanyl; before and after it they are half. The bolus holds 1,000 ng.
    """
    limit = 100_000 + 1_000 - more
    old = _limited(therapy_of(BEFORE, RATE), 1_000_000)
    new = _limited(therapy_of(AFTER, TWICE, fill=2, before=BEFORE), limit)
    state = kernel.step(State(), Connected(instant(0), IDENTITY, 1, True, Milliseconds(0)))[0]
    given: tuple[Command, ...] = (command_of(old), BOLUS)
    for own, command in enumerate(given, 1):
        state, intent = _granted(state, command, 0, own)
        assert intent is not None, f"{command.kind} was meant to be given"
        state = kernel.step(state, _settled(0, own, "delivered"))[0]
    admitted = _granted(state, command_of(new), HOUR, 4)[1] is not None
    if admitted == (more <= 0):
        return None
    word = "admitted" if admitted else "refused"
    return f"with a bridge an hour holds 101,000 ng of fentanyl; at a limit of {limit} it is {word}"


def _limited(therapy: InfusionTherapy, fentanyl_an_hour: int) -> InfusionTherapy:
    """The file with an hour's limit of fentanyl, ng."""
    wide = parse_mass("20 mg")
    hour = Femtograms(fentanyl_an_hour * 1_000_000)
    limits = DoseLimits(parse_mass("0.001 mg"), hour, wide, wide)
    drugs = tuple(
        replace(one, limits=limits) if one.name == "fentanyl" else one for one in therapy.drugs
    )
    return replace(therapy, drugs=drugs)


def hunt(bug: Bug) -> Planted:
    """After how many states a planted bug shows; a window with a bridge counts as one."""
    plant(bug)
    for place, more in enumerate((-1, 0, 1)):
        if bridged_window(more):
            return Planted(bug.name, True, f"window {place + 1} of 3")
    states, sentence = primes(DEPTH["quick"])
    return Planted(bug.name, sentence is not None, f"{states:,} states")
