"""The window mathematics and the worst case, proved with z3 for all numbers.

The two rules of admission are proved as rules. The functions of `safety.dose` are proved
themselves: the shipped code runs on unknowns (`paths`), and on each of its paths the claim is put
to z3 as its negation. A wrong twin goes through the same claim and has to be refuted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from functools import partial
from itertools import combinations, pairwise, product
from time import perf_counter
from typing import Any, cast

import z3

from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    PicoCoulombs,
    SquareMicrometres,
)
from safety import dose
from safety.charge import reaches_shannon, smallest_at_shannon
from safety.commands import Instant
from safety.dose import bolus_time, largest_basal, worst_case_over
from safety.doubt import Reservation, narrowed
from safety.events import CountState
from safety.outputs import FlowStep, PatientBolusOutput, PumpProgram

from .evidence import Effort, Evidence, Planted
from .paths import Trail, every_path, plain

GIVE_UP_MS = 120_000
"""How long z3 may think about one question; it needs milliseconds, also on a busy machine."""


class Undecided(Exception):
    """z3 gave up on a question; then nothing is shown."""


class Prover:
    """Puts questions to z3 and counts them."""

    def __init__(self) -> None:
        self.questions = 0
        self.paths = 0
        self.cases = 0

    def counter_example(self, *facts: Any) -> str | None:
        """Numbers that make all facts true at once; ``None``: there are none, which is proved."""
        solver = z3.Solver()
        solver.set("timeout", GIVE_UP_MS)
        solver.add(*facts)
        self.questions += 1
        answer = solver.check()
        if answer == z3.unsat:
            return None
        if answer == z3.unknown:
            raise Undecided(f"z3 gave up: {solver.reason_unknown()}")
        model = solver.model()
        return ", ".join(sorted(f"{name} = {model[name]}" for name in model.decls()))


Test = Callable[[Prover, Effort], str | None]
"""Looks for a counter-example and tells the first; ``None`` if it shows that there is none."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: the test of what ships and, by the bug that it has, the test of each twin."""

    name: str
    shipped: Test
    twins: dict[str, Test]


# --- the rule of admission: safety.md 4d -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class History:
    """Doses in the order in which they were admitted, and a window that starts at ``begin``.

    ``amount`` and ``ends`` are the truth: how much can go in, and no later than when.
    ``counted[j][i]`` and ``believed[j][i]`` are what the judge of dose j knew of dose i: evidence
    may have narrowed either meanwhile, but never below the truth.
    """

    asked: list[z3.ArithRef]
    amount: list[z3.ArithRef]
    ends: list[z3.ArithRef]
    counted: list[list[z3.ArithRef]]
    believed: list[list[z3.ArithRef]]
    basal: z3.ArithRef
    limit: z3.ArithRef
    window: z3.ArithRef
    begin: z3.ArithRef

    @classmethod
    def of(cls, doses: int) -> "History":
        def reals(name: str) -> list[z3.ArithRef]:
            return [z3.Real(f"{name}{i}") for i in range(doses)]

        return cls(
            reals("asked"),
            reals("amount"),
            reals("ends"),
            [reals(f"counted_by_{j}_of_") for j in range(doses)],
            [reals(f"believed_by_{j}_of_") for j in range(doses)],
            *z3.Reals("basal limit window begin"),
        )

    def truth(self) -> list[z3.BoolRef]:
        """What holds whatever the rule: time goes on, a dose ends after it was asked for."""
        doses = range(len(self.asked))
        facts = [self.window > 0, self.basal >= 0, self.limit >= 0]
        facts += [self.asked[i] <= self.asked[i + 1] for i in doses[:-1]]
        facts += [self.ends[i] >= self.asked[i] for i in doses]
        facts += [self.amount[i] >= 0 for i in doses]
        return facts

    def is_over(self) -> z3.BoolRef:
        """Whether the window can hold more than the limit: all that may fall in it, and basal."""
        close = self.begin + self.window
        held = [
            z3.If(z3.And(asked <= close, end >= self.begin), amount, 0)
            for asked, end, amount in zip(self.asked, self.ends, self.amount, strict=True)
        ]
        return z3.Sum(held) + self.basal > self.limit

    def bounds(self) -> list[z3.BoolRef]:
        """The judge's knowledge is on the safe side of the truth."""
        known = [(j, i) for j in range(len(self.asked)) for i in range(j + 1)]
        return [
            z3.And(self.counted[j][i] >= self.amount[i], self.believed[j][i] >= self.ends[i])
            for j, i in known
        ]


Admission = Callable[[History], list[z3.BoolRef]]
"""What the rule demanded of each dose before it went out."""


def _admitted(history: History, counts: Callable[[int, int], z3.BoolRef]) -> list[z3.BoolRef]:
    return [
        z3.Sum([z3.If(counts(j, i), history.counted[j][i], 0) for i in range(j)] or [z3.RealVal(0)])
        + history.counted[j][j]
        + history.basal
        <= history.limit
        for j in range(len(history.asked))
    ]


def full_window_rule(history: History) -> list[z3.BoolRef]:
    """sum{a_i : f_i >= t_j - W} + a_j + B <= L, with bounds that never lie."""
    return history.bounds() + _admitted(
        history, lambda j, i: history.believed[j][i] >= history.asked[j] - history.window
    )


def open_edge(history: History) -> list[z3.BoolRef]:
    return history.bounds() + _admitted(
        history, lambda j, i: history.believed[j][i] > history.asked[j] - history.window
    )


def by_the_start(history: History) -> list[z3.BoolRef]:
    return history.bounds() + _admitted(
        history, lambda j, i: history.asked[i] >= history.asked[j] - history.window
    )


def doubt_expires(history: History) -> list[z3.BoolRef]:
    counted = [b.arg(0) for b in history.bounds()]
    return counted + _admitted(
        history, lambda j, i: history.believed[j][i] >= history.asked[j] - history.window
    )


def doubt_counts_low(history: History) -> list[z3.BoolRef]:
    ends = [b.arg(1) for b in history.bounds()]
    low = [own >= 0 for row in history.counted for own in row]
    return [
        *ends,
        *low,
        *_admitted(
            history, lambda j, i: history.believed[j][i] >= history.asked[j] - history.window
        ),
    ]


def without_basal(history: History) -> list[z3.BoolRef]:
    return history.bounds() + [
        z3.substitute(one, (history.basal, z3.RealVal(0)))
        for one in _admitted(
            history, lambda j, i: history.believed[j][i] >= history.asked[j] - history.window
        )
    ]


def only_the_last_dose(history: History) -> list[z3.BoolRef]:
    return history.bounds() + _admitted(history, lambda j, i: z3.BoolVal(i == j - 1))


def calendar_buckets(history: History) -> list[z3.BoolRef]:
    """Doses are counted by the day that they fall in; a day is the unit of time."""
    day = z3.ToInt
    return [
        *history.bounds(),
        history.window == 1,
        *_admitted(history, lambda j, i: day(history.asked[i]) == day(history.asked[j])),
    ]


def token_bucket(history: History) -> list[z3.BoolRef]:
    """A bucket of the whole limit that refills at limit a window; both are the units."""
    facts = [*history.bounds(), history.window == 1, history.limit == 1, history.basal == 0]
    level: z3.ArithRef = z3.RealVal(1)
    for j, asked in enumerate(history.asked):
        if j:
            refilled = level + asked - history.asked[j - 1]
            level = z3.If(refilled > 1, z3.RealVal(1), refilled)
        facts.append(history.counted[j][j] <= level)
        level = level - history.counted[j][j]
    return facts


def no_window_is_over(rule: Admission, prover: Prover, effort: Effort) -> str | None:
    """For 2 to 6 doses: any window of W holds <= L wherever in [t_i, f_i] the doses fall."""
    for doses in range(2, 7 if effort == "quick" else 9):
        history = History.of(doses)
        found = prover.counter_example(*history.truth(), *rule(history), history.is_over())
        if found:
            return f"n = {doses}: {found}"
    return None


# --- doubt about one dose, and whether it still counts ------------------------------------------

Narrowing = Callable[[Reservation, CountState, NanoLitres, Instant], Reservation]
COUNTS: tuple[tuple[CountState, ...], ...] = (
    ("executed",),
    ("interrupted",),
    ("running", "running"),
    ("running", "executed"),
    ("running", "interrupted"),
    ("interrupted", "interrupted"),
    ("executed", "executed"),
)
"""The states that a device may report of one id, in their order."""


def _reservation(trail: Trail, asked: Any, latest_end: Any) -> Reservation:
    most, end = trail.unknown(asked), trail.unknown(latest_end)
    nothing, begun = NanoLitres(0), Milliseconds(0)
    return Reservation(1, (), begun, begun, cast("Any", end), nothing, cast("Any", most))


def _instant(trail: Trail, slow: Any) -> Instant:
    now = cast("Any", trail.unknown(slow))
    return Instant(slow=now, fast=now, wall=now)


def doubt_never_leaves_the_dose_out(
    narrows: Narrowing, prover: Prover, effort: Effort
) -> str | None:
    """After any counts that the device may tell of an id, what was given lies between least and
    most, and its true end is no later than its latest end. (A dose begins within its slack.)"""
    asked, given, ends, latest = z3.Ints("asked given ends latest_end")
    for states in COUNTS:
        told = [z3.Int(f"told{i}") for i in range(len(states))]
        when = [z3.Int(f"when{i}") for i in range(len(states))]
        facts = [asked >= 0, given >= 0, ends >= 0, ends <= latest, when[0] >= 0]
        facts += [one <= other for one, other in (*pairwise(told), *pairwise(when))]
        # A device may deliver more than was asked; then its own count says so.
        facts.append(z3.Or(given <= asked, given <= told[-1]))
        for state, volume, at in zip(states, told, when, strict=True):
            facts += [volume >= 0, volume <= given]
            facts.append(at <= ends if state == "running" else at >= ends)
            if state == "interrupted":
                facts.append(volume == given)

        def run(
            trail: Trail,
            states: Sequence[CountState] = states,
            told: Sequence[Any] = told,
            when: Sequence[Any] = when,
        ) -> Reservation:
            reservation = _reservation(trail, asked, latest)
            for state, volume, at in zip(states, told, when, strict=True):
                counted = cast("NanoLitres", trail.unknown(volume))
                reservation = narrows(reservation, state, counted, _instant(trail, at))
            return reservation

        for path in every_path(facts, run):
            prover.paths += 1
            least, most = plain(path.result.least), plain(path.result.most)
            lost = z3.Or(given < least, given > most, ends > plain(path.result.latest_end))
            found = prover.counter_example(*path.conditions, lost)
            if found:
                return f"{', '.join(states)}: {found}"
    return None


def a_running_count_is_all(
    reservation: Reservation, state: CountState, volume: NanoLitres, at: Instant
) -> Reservation:
    done = narrowed(reservation, state, volume, at)
    return replace(done, most=volume) if state == "running" else done


def a_short_count_is_believed(
    reservation: Reservation, state: CountState, volume: NanoLitres, at: Instant
) -> Reservation:
    done = narrowed(reservation, state, volume, at)
    return replace(done, most=volume) if state == "executed" else done


def an_answer_ends_it(
    reservation: Reservation, state: CountState, volume: NanoLitres, at: Instant
) -> Reservation:
    return replace(narrowed(reservation, state, volume, at), latest_end=at.slow)


def an_interrupted_one_gave_nothing(
    reservation: Reservation, state: CountState, volume: NanoLitres, at: Instant
) -> Reservation:
    done = narrowed(reservation, state, volume, at)
    return replace(done, most=NanoLitres(0)) if state == "interrupted" else done


StillCounts = Callable[[Reservation, Milliseconds, Instant], bool]


def the_edge_of_a_window_is_closed(
    counts: StillCounts, prover: Prover, effort: Effort
) -> str | None:
    """A dose counts as long as its latest end is no more than a window ago, the edge included."""
    latest, window, now = z3.Ints("latest_end window now")

    def run(trail: Trail) -> bool:
        reservation = _reservation(trail, z3.IntVal(1), latest)
        length = cast("Milliseconds", trail.unknown(window))
        return counts(reservation, length, _instant(trail, now))

    for path in every_path([window > 0], run):
        prover.paths += 1
        found = prover.counter_example(
            *path.conditions, z3.BoolVal(path.result) != (latest >= now - window)
        )
        if found:
            return f"it {'counts' if path.result else 'does not count'}: {found}"
    return None


def up_to_the_edge(reservation: Reservation, window: Milliseconds, now: Instant) -> bool:
    return reservation.latest_end > now.slow - window


def since_it_began(reservation: Reservation, window: Milliseconds, now: Instant) -> bool:
    return reservation.begun >= now.slow - window


# --- the full window of basal: the Open PCA case ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Infusion:
    """Boluses beside a basal that runs twice with a pause; the window is the unit of time."""

    moments: list[z3.ArithRef]
    amounts: list[z3.ArithRef]
    borders: list[z3.ArithRef]
    rate: z3.ArithRef
    limit: z3.ArithRef
    begin: z3.ArithRef

    @classmethod
    def of(cls, boluses: int) -> "Infusion":
        return cls(
            [z3.Real(f"moment{i}") for i in range(boluses)],
            [z3.Real(f"amount{i}") for i in range(boluses)],
            list(z3.Reals("on off on_again off_again")),
            *z3.Reals("rate limit begin"),
        )

    def truth(self) -> list[z3.BoolRef]:
        """Time goes on, and the basal alone is within the limit."""
        pairs = zip(
            (*self.moments[:-1], *self.borders[:-1]),
            (*self.moments[1:], *self.borders[1:]),
            strict=True,
        )
        ordered = [one <= other for one, other in pairs if one is not self.moments[-1]]
        return [*ordered, *(a >= 0 for a in self.amounts), self.rate >= 0, self.rate <= self.limit]

    def basal_until(self, start: Any, end: Any) -> z3.ArithRef:
        """What flowed from ``start`` to ``end``."""
        on, off, again, last = self.borders
        return self.rate * (_overlap(start, end, on, off) + _overlap(start, end, again, last))

    def boluses_in(self, start: Any, end: Any, before: int | None = None) -> z3.ArithRef:
        """The boluses of a closed window, or of those admitted before one of them."""
        pairs = list(zip(self.moments, self.amounts, strict=True))[:before]
        held = [z3.If(z3.And(start <= at, at <= end), amount, 0) for at, amount in pairs]
        return z3.Sum([*held, z3.RealVal(0)])


def _overlap(start: Any, end: Any, begin: Any, stop: Any) -> z3.ArithRef:
    low, high = _larger(start, begin), _smaller(end, stop)
    return z3.If(high > low, high - low, z3.RealVal(0))


def _larger(one: Any, other: Any) -> z3.ArithRef:
    return z3.If(one >= other, one, other)


def _smaller(one: Any, other: Any) -> z3.ArithRef:
    return z3.If(one <= other, one, other)


BasalCounted = Callable[[Infusion, z3.ArithRef], Any]
"""How much basal the rule counts beside a bolus at a moment."""


def a_full_window(infusion: Infusion, at: z3.ArithRef) -> Any:
    return infusion.rate


def what_has_flowed(infusion: Infusion, at: z3.ArithRef) -> Any:
    return infusion.basal_until(at - 1, at)


def what_has_flowed_or_half(infusion: Infusion, at: z3.ArithRef) -> Any:
    return _larger(infusion.basal_until(at - 1, at), infusion.rate / 2)


def no_basal(infusion: Infusion, at: z3.ArithRef) -> Any:
    return z3.RealVal(0)


def basal_never_refills_a_window(
    counted: BasalCounted, prover: Prover, effort: Effort
) -> str | None:
    """With the basal started, paused and started again whenever, no window is over."""
    for boluses in range(1, 4 if effort == "quick" else 5):
        infusion = Infusion.of(boluses)
        admitted = [
            infusion.boluses_in(at - 1, at, before=i) + counted(infusion, at) + infusion.amounts[i]
            <= infusion.limit
            for i, at in enumerate(infusion.moments)
        ]
        begin = infusion.begin
        held = infusion.boluses_in(begin, begin + 1) + infusion.basal_until(begin, begin + 1)
        found = prover.counter_example(*infusion.truth(), *admitted, held > infusion.limit)
        if found:
            return f"{boluses} boluses: {found}"
    return None


# --- patient boluses in a window: domain 4.2 --------------------------------------------------

BolusTime = Callable[[PatientBolusOutput, Milliseconds], Milliseconds]


def _button(over: Any, lockout: Any, most: int) -> PatientBolusOutput:
    return PatientBolusOutput(NanoLitres(1), over, lockout, most)


def _begins(k: int, over: Any, lockout: Any, most: int) -> Any:
    """T(k) of the domain, at a count that slides over 24 h and the bolus."""
    return _larger(k * lockout, (k // most) * (DAY_MS + over) + (k % most) * lockout)


def _presses(
    many: int, over: Any, lockout: Any, most: int, period: Any
) -> tuple[list[z3.ArithRef], list[z3.BoolRef]]:
    """Moments at which a device starts ``many`` boluses one after the other, and its rule."""
    starts = [z3.Real(f"start{i}") for i in range(many)]
    allowed = [starts[i + 1] - starts[i] >= lockout for i in range(many - 1)]
    allowed += [starts[i + most] - starts[i] >= period for i in range(many - most)]
    return starts, allowed


def bolus_time_is_the_most(counts: BolusTime, prover: Prover, effort: Effort) -> str | None:
    """For every time, lockout and window that holds up to 3 (full: 7) starts: none gives more
    than the function says, however the patient presses, and the densest presses give as much."""
    most_presses, counts_tried = (3, (1, 2)) if effort == "quick" else (7, (1, 2, 3, 4, 5, 6))
    over, lockout, window = z3.Ints("over lockout window")
    for most in counts_tried:
        assumed = [
            over >= 1,
            lockout >= over,
            window <= _begins(most_presses, over, lockout, most),
        ]

        def run(trail: Trail, most: int = most) -> Any:
            button = _button(trail.unknown(over), trail.unknown(lockout), most)
            return counts(button, cast("Milliseconds", trail.unknown(window)))

        for path in every_path(assumed, run):
            prover.paths += 1
            told = plain(path.result)
            for many in range(1, most_presses + 2):
                starts, allowed = _presses(many, over, lockout, most, DAY_MS + over)
                inside = [z3.And(at + over > 0, at < window) for at in starts]
                held = z3.Sum([_smaller(at + over, window) - _larger(at, 0) for at in starts])
                question = (*path.conditions, *allowed, *inside)
                found = prover.counter_example(*question, held > told)
                if found:
                    return f"at most {most}, {many} presses: {found}"
            starts, allowed = _presses(most_presses + 2, over, lockout, most, DAY_MS + over)
            inside = [z3.And(at + over > 0, at < window) for at in starts]
            found = prover.counter_example(*path.conditions, *allowed, *inside)
            if found:
                return f"at most {most}: more presses fit than were tried: {found}"
            densest = z3.Sum(
                [
                    _smaller(over, _larger(0, window - _begins(k, over, lockout, most)))
                    for k in range(most_presses)
                ]
            )
            found = prover.counter_example(*path.conditions, densest != told)
            if found:
                return f"at most {most}: the densest presses do not give what is counted: {found}"
    return None


def a_count_that_lets_go_at_the_start_gives_no_more(
    longest: int, prover: Prover, effort: Effort
) -> str | None:
    """Up to ``longest`` of window, a device may also drop a bolus from its count 24 h after its
    *start*: it gives no more than `bolus_time` says."""
    over, lockout, window = z3.Ints("over lockout window")
    for most in (1, 2) if effort == "quick" else (1, 2, 3, 4, 5, 6):
        assumed = [over >= 1, lockout >= over, window >= 0, window <= longest]
        assumed.append(most * lockout < DAY_MS)  # else the lockout alone decides

        def run(trail: Trail, most: int = most) -> Any:
            button = _button(trail.unknown(over), trail.unknown(lockout), most)
            return bolus_time(button, cast("Milliseconds", trail.unknown(window)))

        for path in every_path(assumed, run):
            prover.paths += 1
            for many in range(1, most + 3):
                starts, allowed = _presses(many, over, lockout, most, DAY_MS)
                inside = [z3.And(at + over > 0, at < window) for at in starts]
                held = z3.Sum([_smaller(at + over, window) - _larger(at, 0) for at in starts])
                told = plain(path.result)
                found = prover.counter_example(*path.conditions, *allowed, *inside, held > told)
                if found:
                    return f"at most {most}, {many} presses: {found}"
    return None


TICKS = 6
"""Small clocks have a day of 6 ticks; a tick is 4 hours, so the shipped day of 24 h is theirs."""
TICK_MS = DAY_MS // TICKS


def _most_by_trying(over: int, lockout: int, most: int, window: int) -> int:
    """The most bolus time in a window of ticks, by trying each allowed set of whole moments."""
    period = TICKS + over
    best = 0

    def press(starts: tuple[int, ...], earliest: int, held: int) -> None:
        nonlocal best
        best = max(best, held)
        if len(starts) >= most:
            earliest = max(earliest, starts[-most] + period)
        for at in range(earliest, window):
            inside = min(at + over, window) - max(at, 0)
            press((*starts, at), at + lockout, held + inside)

    press((), 1 - over, 0)
    return best


def bolus_time_is_the_most_on_a_small_clock(
    counts: BolusTime, prover: Prover, effort: Effort
) -> str | None:
    """All times, lockouts and counts on a day of 6 ticks, against every history of presses."""
    longest, last_window = (3, 8) if effort == "quick" else (6, 21)
    for over in range(1, longest + 1):
        for lockout, most, window in product(
            range(over, 9 if effort == "quick" else 15), range(1, 6), range(last_window + 1)
        ):
            button = _button(over * TICK_MS, lockout * TICK_MS, most)
            told = counts(button, Milliseconds(window * TICK_MS))
            tried = _most_by_trying(over, lockout, most, window) * TICK_MS
            prover.cases += 1
            if told != tried:
                return (
                    f"{over} ticks every {lockout}, at most {most}, window {window}: "
                    f"counted {told} ms, reachable {tried} ms"
                )
    return None


def by_count_alone(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    return Milliseconds(button.over * button.max_per_24h) if window > 0 else Milliseconds(0)


def by_lockout_alone(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    endless = PatientBolusOutput(button.volume, button.over, button.lockout, 10**9)
    return bolus_time(endless, window)


def lockout_from_the_end(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    later = Milliseconds(button.lockout + button.over)
    return bolus_time(
        PatientBolusOutput(button.volume, button.over, later, button.max_per_24h), window
    )


def count_per_calendar_day(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    twice = 2 * button.max_per_24h
    return bolus_time(PatientBolusOutput(button.volume, button.over, button.lockout, twice), window)


def whole_boluses_only(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    """Forgets the bolus that the end of the window cuts."""
    if window < button.over:
        return Milliseconds(0)
    return bolus_time(button, Milliseconds(window - button.over)) if window > 0 else window


def count_over_24_h_sharp(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    """The formula with a period of 24 h."""
    over, lockout, most = button.over, button.lockout, button.max_per_24h
    total = k = 0
    while (begins := max(k * lockout, k // most * DAY_MS + k % most * lockout)) < window:
        total += min(over, window - begins)
        k += 1
    return Milliseconds(total)


def one_less_at_the_edge(button: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    return bolus_time(button, Milliseconds(window - 1))


# --- the basal -------------------------------------------------------------------------------

LargestBasal = Callable[[Sequence[FlowStep], Milliseconds], int]


def _integral(
    starts: Sequence[Any], flows: Sequence[int], begin: Any, end: Any, days: int
) -> z3.ArithRef:
    """What a basal gives from ``begin`` to ``end``, step by step, day by day."""
    nexts = (*starts[1:], starts[0] + DAY_MINUTES)
    parts = [z3.RealVal(0)]
    for day in range(-1, days):
        for start, following, flow in zip(starts, nexts, flows, strict=True):
            if flow == 0:
                continue
            on = start * MINUTE_MS + day * DAY_MS
            off = following * MINUTE_MS + day * DAY_MS
            parts.append(flow * _overlap(begin, end, on, off))
    return z3.Sum(parts)


def no_window_holds_more_basal_wherever_it_starts(
    largest: LargestBasal, prover: Prover, effort: Effort
) -> str | None:
    """For steps at any minutes and any window up to 8 h (full: 2 days for two steps): no start
    of the window gives more, and one gives as much."""
    shapes = [(1,), (0, 1)] if effort == "quick" else [(1,), (0, 1), (1, 0), (0, 1, 3)]
    window, begin = z3.Int("window"), z3.Real("begin")
    for flows in shapes:
        starts = [z3.Int(f"minute{i}") for i in range(len(flows))]
        in_order = [one < other for one, other in pairwise(starts)]
        for days in (0,) if effort == "quick" or len(flows) > 2 else (0, 1):
            assumed = [starts[0] >= 0, starts[-1] < DAY_MINUTES, *in_order]
            assumed += [window >= days * DAY_MS, window < (days + 1) * DAY_MS]
            if effort == "quick" or len(flows) > 2:
                assumed.append(window <= 8 * HOUR_MS)

            def run(
                trail: Trail, starts: Sequence[Any] = starts, flows: Sequence[int] = flows
            ) -> Any:
                steps = [
                    FlowStep(cast("MinuteOfDay", trail.unknown(start)), NanoLitresPerDay(flow))
                    for start, flow in zip(starts, flows, strict=True)
                ]
                return largest(steps, cast("Milliseconds", trail.unknown(window)))

            for path in every_path(assumed, run):
                prover.paths += 1
                told = plain(path.result)
                held = _integral(starts, flows, begin, begin + window, days + 2)
                inside = (begin >= 0, begin < DAY_MS)
                found = prover.counter_example(*path.conditions, *inside, held > told)
                if found:
                    return f"flows {flows}: a window holds more: {found}"
                borders = [start * MINUTE_MS for start in starts]
                ends = [at - window + more * DAY_MS for at in borders for more in (days, days + 1)]
                differs = [
                    z3.Or(
                        at < 0,
                        at >= DAY_MS,
                        _integral(starts, flows, at, at + window, days + 2) != told,
                    )
                    for at in (*borders, *ends)
                ]
                found = prover.counter_example(*path.conditions, *differs)
                if found:
                    return f"flows {flows}: no window holds as much: {found}"
    return None


def _slots(flows: Sequence[Any]) -> tuple[FlowStep, ...]:
    """A day of equal slots."""
    length = DAY_MINUTES // len(flows)
    return tuple(FlowStep(MinuteOfDay(i * length), flow) for i, flow in enumerate(flows))


def largest_basal_is_right_for_all_flows(
    largest: LargestBasal, prover: Prover, effort: Effort
) -> str | None:
    """For any flows on days of 2 and 3 (full: to 5) slots and each window of slots up to 2 days."""
    for many in range(2, 4 if effort == "quick" else 6):
        flows = [z3.Int(f"flow{i}") for i in range(many)]
        slot = DAY_MS // many
        for length in range(2 * many + 1):

            def run(trail: Trail, flows: Sequence[Any] = flows, length: int = length) -> Any:
                steps = _slots([trail.unknown(flow) for flow in flows])
                return largest(steps, Milliseconds(length * (DAY_MS // len(flows))))

            for path in every_path([flow >= 0 for flow in flows], run):
                prover.paths += 1
                told = plain(path.result)
                windows = [
                    z3.Sum([flows[(begin + i) % many] for i in range(length)] or [z3.IntVal(0)])
                    * slot
                    for begin in range(many)
                ]
                more = z3.Or([held > told for held in windows])
                none = z3.And([held != told for held in windows])
                found = prover.counter_example(*path.conditions, z3.Or(more, none))
                if found:
                    return f"{many} slots, window of {length}: {found}"
    return None


def largest_basal_is_right_by_trying(
    largest: LargestBasal, prover: Prover, effort: Effort
) -> str | None:
    """All schedules of up to 3 (full: 4) steps at 6 times of the day, 3 (full: 4) flows."""
    for many in range(1, 4 if effort == "quick" else 5):
        for starts in combinations(range(TICKS), many):
            for flows in product((0, 1, 3) if effort == "quick" else (0, 1, 2, 5), repeat=many):
                begun = list(zip(starts, flows, strict=True))[::-1]
                day = [
                    next((flow for start, flow in begun if start <= tick), flows[-1])
                    for tick in range(TICKS)
                ]
                steps = [
                    FlowStep(MinuteOfDay(s * DAY_MINUTES // TICKS), NanoLitresPerDay(f))
                    for s, f in zip(starts, flows, strict=True)
                ]
                for length in range(2 * TICKS + 2):
                    tried = max(
                        sum(day[(begin + i) % TICKS] for i in range(length))
                        for begin in range(TICKS)
                    )
                    told = largest(steps, Milliseconds(length * TICK_MS))
                    prover.cases += 1
                    if told != tried * TICK_MS:
                        return f"steps at {starts} of {flows}, window of {length} ticks: {told}"
    return None


def largest_rate(basal: Sequence[FlowStep], window: Milliseconds) -> int:
    return max(step.flow for step in basal) * window


def mean_rate(basal: Sequence[FlowStep], window: Milliseconds) -> int:
    return largest_basal(basal, DAY_MS) // DAY_MS * window


def from_steps_only(basal: Sequence[FlowStep], window: Milliseconds) -> Any:
    """Tries only windows that begin with a step, none that ends with one."""
    days, rest = divmod(window, DAY_MS)
    begins = [step.start * MINUTE_MS for step in basal]
    partial_day = max(_until(basal, at + rest) - _until(basal, at) for at in begins)
    return days * _until(basal, DAY_MS) + partial_day


def first_flow_all_day(basal: Sequence[FlowStep], window: Milliseconds) -> int:
    return basal[0].flow * window


def without_the_wrap(basal: Sequence[FlowStep], window: Milliseconds) -> int:
    """Reads the time before the first step as no flow."""
    if basal[0].start == 0:
        return largest_basal(basal, window)
    return largest_basal((FlowStep(MinuteOfDay(0), NanoLitresPerDay(0)), *basal), window)


def from_midnight(basal: Sequence[FlowStep], window: Milliseconds) -> Any:
    return _until(basal, window)


def _until(basal: Sequence[FlowStep], moment: Any) -> Any:
    return dose._until(basal, moment)


# --- the envelope of programs that follow each other -------------------------------------------


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the worst case reads of a pump's program."""

    basal: tuple[FlowStep, ...]
    utc_offset_min: int = 0
    patient_bolus: PatientBolusOutput | None = None


Pair = tuple[Schedule, Schedule]
SwitchedBasal = Callable[[Pair, Milliseconds], Any]
ONE = NanogramsPerMillilitre(1)


def _together(pair: Sequence[Schedule]) -> tuple[tuple[PumpProgram, NanogramsPerMillilitre], ...]:
    return tuple((cast("PumpProgram", one), ONE) for one in pair)


def of_the_envelope(pair: Pair, window: Milliseconds) -> Any:
    return largest_basal(dose._envelope(_together(pair)), window)


def largest_of_the_integrals(pair: Pair, window: Milliseconds) -> Any:
    one, other = (largest_basal(dose._envelope(_together((p, p))), window) for p in pair)
    return max(one, other)


def of_the_newest(pair: Pair, window: Milliseconds) -> Any:
    return largest_basal(dose._envelope(_together((pair[1], pair[1]))), window)


def of_both(pair: Pair, window: Milliseconds) -> Any:
    return sum(largest_basal(dose._envelope(_together((p, p))), window) for p in pair)


def without_the_offset(pair: Pair, window: Milliseconds) -> Any:
    local = (Schedule(pair[0].basal), Schedule(pair[1].basal))
    return of_the_envelope(local, window)


def the_envelope_bounds_every_switch(
    most: SwitchedBasal, prover: Prover, effort: Effort
) -> str | None:
    """Two programs of 2 (full: to 4) slots, any flows, in any time zone of a whole slot, that
    replace each other as often as one likes: no window holds more, and one holds as much."""
    for many in (2,) if effort == "quick" else (2, 3, 4):
        old = [z3.Int(f"old{i}") for i in range(many)]
        new = [z3.Int(f"new{i}") for i in range(many)]
        slot = DAY_MS // many
        lengths = range(1, many + 2 if many < 4 else 3)
        for length, shift in product(lengths, (0, 1)):
            offset = -shift * (DAY_MINUTES // many)

            def run(
                trail: Trail,
                length: int = length,
                slot: int = slot,
                offset: int = offset,
                old: Sequence[Any] = old,
                new: Sequence[Any] = new,
            ) -> Any:
                pair = (
                    Schedule(_slots([trail.unknown(flow) for flow in old])),
                    Schedule(_slots([trail.unknown(flow) for flow in new]), offset),
                )
                return most(pair, Milliseconds(length * slot))

            for path in every_path([flow >= 0 for flow in (*old, *new)], run):
                prover.paths += 1
                told = plain(path.result)
                parts = [z3.Int(f"part{i}") for i in range(length)]
                more, reached = [], []
                for begin in range(many):
                    places = [(begin + i) % many for i in range(length)]
                    # One program or the other all through a slot, or a switch within it.
                    flows = [(old[p], new[(p - shift) % many]) for p in places]
                    between = [
                        z3.Or(z3.And(a <= part, part <= b), z3.And(b <= part, part <= a))
                        for part, (a, b) in zip(parts, flows, strict=True)
                    ]
                    more.append(z3.And(*between, z3.Sum(parts) * slot > told))
                    reached.append(z3.Sum([_larger(a, b) for a, b in flows]) * slot)
                found = prover.counter_example(*path.conditions, z3.Or(more))
                if found:
                    return f"{many} slots, window of {length}: {found}"
                found = prover.counter_example(*path.conditions, *[r != told for r in reached])
                if found:
                    return f"{many} slots, window of {length}: nothing reaches it: {found}"
    return None


WorstOfTwo = Callable[[Pair, Milliseconds], int]
SMALL_DAY = 3
"""Slots of the day on which two whole programs are tried; a slot is 8 hours."""


def of_both_programs(pair: Pair, window: Milliseconds) -> int:
    return worst_case_over(_together(pair), window)


def worse_of_the_two(pair: Pair, window: Milliseconds) -> int:
    return max(worst_case_over(_together((one,)), window) for one in pair)


def largest_button(pair: Pair, window: Milliseconds) -> int:
    without = [Schedule(one.basal, one.utc_offset_min) for one in pair]
    return max(
        worst_case_over(
            _together((Schedule(one.basal, one.utc_offset_min, one.patient_bolus), other)), window
        )
        for one, other in zip(pair, reversed(without), strict=True)
    )


def the_worst_case_bounds_a_switch(worst: WorstOfTwo, prover: Prover, effort: Effort) -> str | None:
    """All pairs of small programs with a button each: the old one until a switch, then the new."""
    slot = DAY_MS // SMALL_DAY
    flows = list(product(range(2 if effort == "quick" else 4), repeat=SMALL_DAY))
    first, second = _button(slot, slot, 2), _button(slot, 2 * slot, 1)
    for old, new in product(flows, flows):
        pair = (
            Schedule(_slots([NanoLitresPerDay(f * SMALL_DAY) for f in old]), 0, first),
            Schedule(_slots([NanoLitresPerDay(f * SMALL_DAY) for f in new]), 0, second),
        )
        for length in range(1, SMALL_DAY + 2):
            told = worst(pair, Milliseconds(length * slot))
            prover.cases += 1
            for switch, begin in product(range(length + 1), range(SMALL_DAY)):
                basal = sum(
                    (old if i < switch else new)[(begin + i) % SMALL_DAY] for i in range(length)
                )
                presses = (
                    bolus_time(first, Milliseconds(switch * slot))
                    + bolus_time(second, Milliseconds((length - switch) * slot))
                ) // slot
                if basal + presses > told:
                    return (
                        f"{old} then {new} after {switch} of {length} slots from {begin}: "
                        f"{basal} of basal and {presses} of boluses, counted {told}"
                    )
    return None


# --- Shannon's k without a logarithm ---------------------------------------------------------

Shannon = Callable[[PicoCoulombs, SquareMicrometres, int], bool]


def shannon_by_logarithm(charge: int, area: int, k_centi: int) -> bool:
    """k >= c/100 with logarithms of 120 digits, so that an exact k is met exactly."""
    with localcontext(prec=120):
        k = 2 * Decimal(charge).log10() - Decimal(area).log10() - 4
        return round(100 * k, 90) >= k_centi


def shannon_agrees_with_logarithms(reaches: Shannon, prover: Prover, effort: Effort) -> str | None:
    """At, just below and just above each border, and where k is met exactly."""
    areas = (1, 10, 100, 9_999, 1_250_000, 12_252_211, 13_194_689)
    centis = (-500, -1, 0, 100, 150, 175, 185, 200, 372)
    for area, k_centi in product(areas, centis):
        border = smallest_at_shannon(SquareMicrometres(area), k_centi)
        charges = {max(1, border - 1), border, border + 1, 2 * border}
        for charge in charges | {10**exponent for exponent in range(9)}:
            prover.cases += 1
            told = reaches(PicoCoulombs(charge), SquareMicrometres(area), k_centi)
            if told != shannon_by_logarithm(charge, area, k_centi):
                return f"{charge} pC on {area} um2, k {k_centi}/100: told {told}"
    return None


def shannon_above(charge: PicoCoulombs, area: SquareMicrometres, k_centi: int) -> bool:
    exponent = 400 + k_centi
    above: int = 10 ** max(0, exponent)
    below: int = 10 ** max(0, -exponent)
    return bool(charge**200 * below > area**100 * above)


def shannon_in_whole_k(charge: PicoCoulombs, area: SquareMicrometres, k_centi: int) -> bool:
    return bool(charge**2 >= 10 ** max(0, 4 + k_centi // 100) * area)


# --- all claims --------------------------------------------------------------------------------


def _twins(claim: Callable[..., str | None], twins: dict[str, Any]) -> dict[str, Test]:
    return {bug: partial(claim, twin) for bug, twin in twins.items()}


BOLUS_TWINS = {
    "patient boluses by count alone": by_count_alone,
    "patient boluses by lockout alone": by_lockout_alone,
    "lockout runs from the end of a bolus": lockout_from_the_end,
    "the count starts anew at midnight": count_per_calendar_day,
    "a bolus cut by the window's end is forgotten": whole_boluses_only,
    "the window is one ms short": one_less_at_the_edge,
}
BASAL_TWINS = {
    "largest rate for the largest integral": largest_rate,
    "mean rate for the largest integral": mean_rate,
    "only the window from midnight": from_midnight,
}

CLAIMS = (
    Claim(
        "window rule",
        partial(no_window_is_over, full_window_rule),
        _twins(
            no_window_is_over,
            {
                "the window's edge is open: > for >=": open_edge,
                "a dose counts from its start, not to its latest end": by_the_start,
                "doubt about the end expires": doubt_expires,
                "doubt counts at its lower bound": doubt_counts_low,
                "the basal is left out": without_basal,
                "only the last dose is looked at": only_the_last_dose,
                "calendar buckets": calendar_buckets,
                "a token bucket of the whole limit": token_bucket,
            },
        ),
    ),
    Claim(
        "edge of a window",
        partial(the_edge_of_a_window_is_closed, Reservation.reaches_into),
        _twins(
            the_edge_of_a_window_is_closed,
            {"an open edge": up_to_the_edge, "counted from its start": since_it_began},
        ),
    ),
    Claim(
        "doubt about one dose",
        partial(doubt_never_leaves_the_dose_out, narrowed),
        _twins(
            doubt_never_leaves_the_dose_out,
            {
                "a running bolus gives what it has given so far": a_running_count_is_all,
                "an executed bolus is believed at a short count": a_short_count_is_believed,
                "any answer ends the dose": an_answer_ends_it,
                "an interrupted bolus gave nothing": an_interrupted_one_gave_nothing,
            },
        ),
    ),
    Claim(
        "full window of basal",
        partial(basal_never_refills_a_window, a_full_window),
        _twins(
            basal_never_refills_a_window,
            {
                "the window holds only the basal that has flowed (Open PCA)": what_has_flowed,
                "half a window of basal": what_has_flowed_or_half,
                "no basal beside a bolus": no_basal,
            },
        ),
    ),
    Claim(
        "bolus time, for all times",
        partial(bolus_time_is_the_most, bolus_time),
        _twins(bolus_time_is_the_most, BOLUS_TWINS),
    ),
    Claim(
        "bolus time, on a small clock",
        partial(bolus_time_is_the_most_on_a_small_clock, bolus_time),
        _twins(
            bolus_time_is_the_most_on_a_small_clock,
            {"the count slides over 24 h and forgets the bolus's own time": count_over_24_h_sharp},
        ),
    ),
    Claim(
        "bolus time, for a count that lets go at the start",
        partial(a_count_that_lets_go_at_the_start_gives_no_more, DAY_MS),
        {
            "the same promised for windows beyond 24 h": partial(
                a_count_that_lets_go_at_the_start_gives_no_more, DAY_MS + MINUTE_MS
            )
        },
    ),
    Claim(
        "largest basal, for all times",
        partial(no_window_holds_more_basal_wherever_it_starts, largest_basal),
        _twins(no_window_holds_more_basal_wherever_it_starts, BASAL_TWINS),
    ),
    Claim(
        "largest basal, for all flows",
        partial(largest_basal_is_right_for_all_flows, largest_basal),
        _twins(
            largest_basal_is_right_for_all_flows,
            {"the first step's flow all day": first_flow_all_day},
        ),
    ),
    Claim(
        "largest basal, by trying",
        partial(largest_basal_is_right_by_trying, largest_basal),
        _twins(
            largest_basal_is_right_by_trying,
            {
                "only windows that begin with a step": from_steps_only,
                "the last step does not wrap around midnight": without_the_wrap,
            },
        ),
    ),
    Claim(
        "envelope of two basals",
        partial(the_envelope_bounds_every_switch, of_the_envelope),
        _twins(
            the_envelope_bounds_every_switch,
            {
                "the largest of two integrals": largest_of_the_integrals,
                "the newest program only": of_the_newest,
                "the sum of two integrals": of_both,
                "local minutes compared across time zones": without_the_offset,
            },
        ),
    ),
    Claim(
        "worst case over a switch",
        partial(the_worst_case_bounds_a_switch, of_both_programs),
        _twins(
            the_worst_case_bounds_a_switch,
            {
                "the worse of two worst cases": worse_of_the_two,
                "only the larger of two buttons": largest_button,
            },
        ),
    ),
    Claim(
        "Shannon's k in integers",
        partial(shannon_agrees_with_logarithms, reaches_shannon),
        _twins(
            shannon_agrees_with_logarithms,
            {"k above the limit, > for >=": shannon_above, "k in whole steps": shannon_in_whole_k},
        ),
    ),
)


def prove(effort: Effort) -> Evidence:
    """Every claim of what ships is proved, and every wrong twin of it refuted."""
    begun = perf_counter()
    prover = Prover()
    violations = list(_violations(prover, effort))
    covered = (
        f"{len(CLAIMS)} claims: {prover.questions} questions to z3, all answered, on "
        f"{prover.paths} paths through the shipped functions, and {prover.cases} small cases "
        "tried one by one. The window rule for 2 to "
        f"{6 if effort == 'quick' else 8} doses, whatever their times, amounts and evidence"
    )
    planted = tuple(
        _sought(f"{claim.name}: {bug}", twin)
        for claim in CLAIMS
        for bug, twin in claim.twins.items()
    )
    return Evidence(
        method="SMT proof (z3)",
        covered=covered,
        violations=tuple(violations),
        planted=planted,
        not_shown=(
            "rules of admission are proved as rules, not as the kernel's code; the rest is bounded "
            "as written (the step to any number of doses is the induction of safety.md 4d); a "
            "limit that is lowered while doses are held; a command that acts later than its "
            "delivery slack allows; a pump that does not keep its own lockout and count over a new "
            "program"
        ),
        seconds=perf_counter() - begun,
    )


def _violations(prover: Prover, effort: Effort) -> Iterator[str]:
    for claim in CLAIMS:
        try:
            found = claim.shipped(prover, effort)
        except Undecided as error:
            found = str(error)
        if found:
            yield f"{claim.name}: {found}"


def _sought(bug: str, twin: Test) -> Planted:
    """Whether the claim refutes a twin; the quick form is enough for all of them."""
    prover = Prover()
    try:
        found = twin(prover, "quick")
    except Undecided:
        found = None
    tried = f"{prover.cases} cases" if prover.cases else f"{prover.questions} questions"
    return Planted(bug, found is not None, f"after {tried}")
