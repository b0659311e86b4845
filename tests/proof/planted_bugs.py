"""Bugs to plant in the real judge while it runs: what a method does not find, it does not rule out.

Each is one change of a function of `safety`, told in words. ``seen_by`` are the methods that are
meant to find it; where redundant guards would hide it, the plant takes them out first and says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import Any

from device_profiles.quantities import (
    DAY_MS,
    Femtograms,
    Milliseconds,
    NanoLitres,
    NanoLitresPerDay,
)
from safety import dose, doubt, fold, kernel, rules_open, rules_windows, state
from safety.commands import Instant
from safety.doubt import Reservation
from safety.events import Connected, Counted, Intended, Settled
from safety.kernel import Ask
from safety.limits import DOSE_WINDOWS
from safety.outputs import PatientBolusOutput, PumpProgram
from safety.state import State

from .quicken import SetAttr

Plant = Callable[[SetAttr], None]

TEN_MINUTES, HOUR = 600_000, 3_600_000
ONE_NL = 1_000_000
"""fg in a nanolitre of morphine at 1 mg/mL."""

BOTH = frozenset({"differential", "search"})
DIFFERENTIAL = frozenset({"differential"})

LEFT_TO_CRASH = (
    "sent before it is recorded",
    "recorded, but not durably, before it is sent",
    "a retry with a new id",
    "a retry with the same id",
    "an intent that was cut off by a kill is forgotten",
)
"""Bugs of the shell around the kernel: `method_crash` plants them."""


@dataclass(frozen=True)
class Bug:
    """A bug, how it is planted, and by which methods it has to be found."""

    name: str
    plant: Plant
    seen_by: frozenset[str] = BOTH


def _set(target: object, name: str, value: object) -> Plant:
    return lambda set_attribute: set_attribute(target, name, value)


def _all(*plants: Plant) -> Plant:
    def plant(set_attribute: SetAttr) -> None:
        for one in plants:
            one(set_attribute)

    return plant


def nothing(*_: Any, **__: Any) -> list[Any]:
    """A guard that is not there."""
    return []


WITHOUT_DOUBT = _set(kernel, "judge_unsettled", nothing)

# --- windows -------------------------------------------------------------------------------------

_worst_case_over = dose.worst_case_over
_judge_windows = rules_windows._judge_windows
_settled, _intended, _connected = fold.settled, fold.intended, fold.connected
_delivered, _device_counted = fold._delivered, fold.device_counted
_narrowed, _judge, _held_by = doubt.narrowed, kernel.judge, state.reservations_at


def open_edge(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end > now.slow - window


def fixed_hours(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end // window >= now.slow // window


def calendar_days(self: Reservation, window: int, now: Instant) -> bool:
    if window < DAY_MS:
        return self.latest_end >= now.slow - window
    return self.latest_end // DAY_MS >= now.slow // DAY_MS


def without_basal(programs: Any, window: Milliseconds) -> Femtograms:
    return _worst_case_over(tuple((_idle(one), strength) for one, strength in programs), window)


def _idle(program: PumpProgram) -> PumpProgram:
    steps = (replace(step, flow=NanoLitresPerDay(0)) for step in program.basal)
    return replace(program, basal=tuple(steps))


def without_buttons(programs: Any, window: Milliseconds) -> Femtograms:
    bare = ((replace(one, patient_bolus=None), strength) for one, strength in programs)
    return _worst_case_over(tuple(bare), window)


def buttons_twice(programs: Any, window: Milliseconds) -> Femtograms:
    once = _worst_case_over(programs, window)
    return Femtograms(2 * once - without_buttons(programs, window))


def mean_basal(programs: Any, window: Milliseconds) -> Femtograms:
    day = without_buttons(programs, DAY_MS)
    return Femtograms(day * window // DAY_MS + without_basal(programs, window))


def largest_alone(programs: Any, window: Milliseconds) -> Femtograms:
    return max(_worst_case_over((one,), window) for one in programs)


def newest_button(programs: Any, window: Milliseconds) -> Femtograms:
    first, *rest = programs
    bare = ((replace(one, patient_bolus=None), strength) for one, strength in rest)
    return _worst_case_over((first, *bare), window)


def largest_rate(basal: Any, window: Milliseconds) -> int:
    return max(step.flow for step in basal) * window


def lockout_alone(bolus: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    count, rest = divmod(window, bolus.lockout)
    return Milliseconds(count * bolus.over + min(rest, bolus.over))


def open_pca(set_attribute: SetAttr) -> None:
    """What the window that ends now holds of the basal, and no more."""

    def judged(programs: Any, drug: Any, asked: Any, held: Any, now: Instant, path: str) -> Any:
        def so_far(programs: Any, window: Milliseconds) -> Femtograms:
            return _worst_case_over(programs, Milliseconds(max(1, min(window, now.slow))))

        set_attribute(rules_windows, "worst_case_over", so_far)
        return _judge_windows(programs, drug, asked, held, now, path)

    set_attribute(rules_windows, "_judge_windows", judged)


def stale_total(set_attribute: SetAttr) -> None:
    """What a window holds of the basal is worked out once for a drug and its limits."""
    kept: dict[Any, Femtograms] = {}

    def judged(programs: Any, drug: Any, *rest: Any) -> Any:
        def cached(programs: Any, window: Milliseconds) -> Femtograms:
            return kept.setdefault((drug, window), _worst_case_over(programs, window))

        set_attribute(rules_windows, "worst_case_over", cached)
        return _judge_windows(programs, drug, *rest)

    set_attribute(rules_windows, "_judge_windows", judged)


def first_drug_only(programs: Any, drug: Any, *rest: Any) -> Any:
    return _judge_windows(programs, drug, *rest) if drug.name == "morphine" else []


def one_nanolitre_more(programs: Any, drug: Any, asked: int, *rest: Any) -> Any:
    less = Femtograms(max(0, asked - ONE_NL))
    return _judge_windows(programs, drug, less, *rest)


def in_floats(set_attribute: SetAttr) -> None:
    """Masses are compared as milligrams in floating point, to a thousandth."""

    def judged(programs: Any, drug: Any, *rest: Any) -> Any:
        def blurred(limit: Any) -> Any:
            return limit and replace(limit, value=round(round(limit.value / 1e9, 3) * 1e9))

        def rough(programs: Any, window: Milliseconds) -> Femtograms:
            return Femtograms(round(round(_worst_case_over(programs, window) / 1e9, 3) * 1e9))

        set_attribute(rules_windows, "worst_case_over", rough)
        names = ("per_hour", "per_4_hours", "per_day")
        rounded = replace(drug, **{name: blurred(getattr(drug, name)) for name in names})
        return _judge_windows(programs, rounded, *rest)

    set_attribute(rules_windows, "_judge_windows", judged)


def only_the_current(now_state: State, now: Instant) -> tuple[PumpProgram, ...]:
    return () if now_state.pump_program is None else (now_state.pump_program,)


def without_pending(now_state: State, now: Instant) -> tuple[PumpProgram, ...]:
    return state.programs_in_window(replace(now_state, unsettled=()), now)


WINDOW_BUGS = (
    Bug("the window's edge is open: > for >=", _set(Reservation, "reaches_into", open_edge)),
    Bug("fixed hours for sliding windows", _set(Reservation, "reaches_into", fixed_hours)),
    Bug("calendar days for the last 24 h", _set(Reservation, "reaches_into", calendar_days)),
    Bug("the basal is forgotten", _set(rules_windows, "worst_case_over", without_basal)),
    Bug("the window holds only the basal that has flowed (Open PCA)", open_pca),
    Bug(
        "the mean basal for its largest integral",
        _set(rules_windows, "worst_case_over", mean_basal),
        DIFFERENTIAL,
    ),
    Bug(
        "the largest rate for the largest integral",
        _set(dose, "largest_basal", largest_rate),
        DIFFERENTIAL,
    ),
    Bug(
        "the patient's boluses are forgotten",
        _set(rules_windows, "worst_case_over", without_buttons),
        DIFFERENTIAL,
    ),
    Bug(
        "the patient's boluses are counted twice",
        _set(rules_windows, "worst_case_over", buttons_twice),
        DIFFERENTIAL,
    ),
    Bug(
        "the patient's boluses by the lockout alone",
        _set(dose, "bolus_time", lockout_alone),
        DIFFERENTIAL,
    ),
    Bug(
        "a new button replaces the presses of the one before",
        _set(rules_windows, "worst_case_over", newest_button),
        DIFFERENTIAL,
    ),
    Bug("a total is worked out once and kept", stale_total),
    Bug(
        "only the hour is judged",
        _set(rules_windows, "DOSE_WINDOWS", DOSE_WINDOWS[:1]),
    ),
    Bug("only the day is judged", _set(rules_windows, "DOSE_WINDOWS", DOSE_WINDOWS[2:])),
    Bug(
        "only the first drug is judged",
        _set(rules_windows, "_judge_windows", first_drug_only),
        DIFFERENTIAL,
    ),
    Bug("the limit is off by one nanolitre", _set(rules_windows, "_judge_windows", one_nanolitre_more)),
    Bug("masses are compared in floating point", in_floats, DIFFERENTIAL),
    Bug("the worst case is rounded down", _set(dose, "ceil", floor), DIFFERENTIAL),
    Bug("a replaced program is forgotten", _set(kernel, "programs_in_window", only_the_current)),
    Bug(
        "a program on its way is forgotten (SR-23 taken out)",
        _all(WITHOUT_DOUBT, _set(kernel, "programs_in_window", without_pending)),
    ),
    Bug(
        "the largest of the programs, not their envelope",
        _set(rules_windows, "worst_case_over", largest_alone),
        DIFFERENTIAL,
    ),
    Bug("a change of the basal sees no bolus", _set(kernel, "judge_pump_windows", nothing)),
)

# --- what is counted -----------------------------------------------------------------------------


def _with_newest(after: State, **changes: Any) -> State:
    """The state with the newest reservation changed."""
    return replace(
        after, reservations=(*after.reservations[:-1], replace(after.reservations[-1], **changes))
    )


def _reserves(event: Intended) -> bool:
    return event.command == "give-bolus"


def on_intent(change: Callable[[Reservation], dict[str, Any]]) -> Plant:
    """A reservation that is not made as it should be."""

    def intended(before: State, event: Intended) -> State:
        after = _intended(before, event)
        if not _reserves(event):
            return after
        return _with_newest(after, **change(after.reservations[-1]))

    return _set(fold, "intended", intended)


def no_time(_: State) -> Milliseconds:
    return Milliseconds(0)


def newest_only(before: State, event: Intended) -> State:
    return _intended(replace(before, reservations=()) if _reserves(event) else before, event)


def restart_forgets(before: State, event: Connected) -> State:
    return replace(_connected(before, event), reservations=())


def restart_settles(before: State, event: Connected) -> State:
    return replace(_connected(before, event), unsettled=())


def _without(after: State, own: int) -> State:
    kept = tuple(one for one in after.reservations if one.id != own)
    return replace(after, reservations=kept)


def doubt_refunds(before: State, event: Settled) -> State:
    after = _settled(before, event)
    return _without(after, event.id) if event.outcome == "UNCERTAIN" else after


def doubt_is_failure(before: State, event: Settled) -> State:
    if event.outcome == "UNCERTAIN":
        event = replace(event, outcome="refused")
    return _settled(before, event)


def success_refunds(before: State, event: Settled) -> State:
    after = _settled(before, event)
    return _without(after, event.id) if event.outcome == "delivered" else after


def doubt_expires(before: State, ask: Ask) -> Any:
    """What is in doubt for ten minutes is taken not to have happened."""
    old = {one.id for one in before.unsettled if one.at.slow < ask.at.slow - TEN_MINUTES}
    return _judge(
        replace(
            before,
            unsettled=tuple(one for one in before.unsettled if one.id not in old),
            reservations=tuple(one for one in before.reservations if one.id not in old),
        ),
        ask,
    )


def success_starts_the_count(set_attribute: SetAttr) -> None:
    def intended(before: State, event: Intended) -> State:
        return replace(_intended(before, event), reservations=before.reservations)

    def settled(before: State, event: Settled) -> State:
        intent = next((one for one in before.unsettled if one.id == event.id), None)
        after = _settled(before, event)
        if intent is None or event.outcome != "delivered" or not _reserves(intent):
            return after
        own = _intended(replace(before, reservations=()), intent).reservations
        return replace(after, reservations=(*after.reservations, *own))

    WITHOUT_DOUBT(set_attribute)
    set_attribute(fold, "intended", intended)
    set_attribute(fold, "settled", settled)


def success_starts_the_lockout(before: State, event: Settled) -> State:
    """A dose that was UNCERTAIN once never starts the lockout, whatever is learned later."""
    after = _settled(before, event)
    if event.outcome != "UNCERTAIN":
        return after
    forgotten = (
        replace(one, begun=Milliseconds(one.begun - HOUR)) if one.id == event.id else one
        for one in after.reservations
    )
    return replace(after, reservations=tuple(forgotten))


def running_lowers(one: Reservation, word: Any, volume: NanoLitres, at: Instant) -> Reservation:
    after = _narrowed(one, word, volume, at)
    return replace(after, most=volume) if word == "running" else after


def interrupted_lowers_freely(
    one: Reservation, word: Any, volume: NanoLitres, at: Instant
) -> Reservation:
    after = _narrowed(one, word, volume, at)
    return replace(after, most=volume, least=volume) if word == "interrupted" else after


def interrupted_lowers_twice(
    one: Reservation, word: Any, volume: NanoLitres, at: Instant
) -> Reservation:
    if word != "interrupted":
        return _narrowed(one, word, volume, at)
    return _narrowed(replace(one, closed=False, least=NanoLitres(0)), word, volume, at)


def more_is_ignored(one: Reservation, word: Any, volume: NanoLitres, at: Instant) -> Reservation:
    return _narrowed(one, word, NanoLitres(min(volume, one.most)), at)


def by_closeness(before: State, event: Counted) -> State:
    """A count belongs to the dose that began nearest to it in time."""
    near = min(
        before.reservations, key=lambda one: abs(one.begun - event.at.slow), default=None
    )
    own = event.id if near is None else near.id
    return _device_counted(before, replace(event, id=own))


COUNTING_BUGS = (
    Bug("the volume wraps at 65,536 nL", on_intent(lambda r: {"most": r.most & 0xFFFF}), DIFFERENTIAL),
    Bug("a volume is rounded down to tens", on_intent(lambda r: {"most": r.most // 10 * 10})),
    Bug("the slack before the first byte is forgotten", _set(kernel, "delivery_slack", no_time)),
    Bug(
        "a dose counts only until it begins",
        on_intent(lambda r: {"latest_end": r.begun}),
    ),
    Bug("only the newest reservation is kept", _set(fold, "intended", newest_only)),
    Bug("a restart voids what was reserved", _set(fold, "connected", restart_forgets)),
    Bug("a restart settles every doubt", _set(fold, "connected", restart_settles)),
    Bug("UNCERTAIN is refunded", _set(fold, "settled", doubt_refunds)),
    Bug("UNCERTAIN is taken for a failure", _set(fold, "settled", doubt_is_failure)),
    Bug("a delivered dose is refunded", _set(fold, "settled", success_refunds)),
    Bug("doubt expires", _set(kernel, "judge", doubt_expires)),
    Bug("success starts the count (SR-23 taken out)", success_starts_the_count),
    Bug("success starts the lockout", _set(fold, "settled", success_starts_the_lockout)),
    Bug("a running count lowers", _set(doubt, "narrowed", running_lowers)),
    Bug("an interrupted dose is lowered below what was counted", _set(doubt, "narrowed", interrupted_lowers_freely)),
    Bug("an interrupted dose is lowered twice", _set(doubt, "narrowed", interrupted_lowers_twice)),
    Bug("a count of more than was asked is ignored", _set(doubt, "narrowed", more_is_ignored), DIFFERENTIAL),
    Bug("a count is matched by closeness in time", _set(fold, "device_counted", by_closeness)),
)

# --- guards --------------------------------------------------------------------------------------


def lockout(change: Callable[[list[Any]], list[Any]], later: int = 0, more: int = 0) -> Plant:
    """Another lockout, on top of those that are planted already."""

    def plant(set_attribute: SetAttr) -> None:
        before = kernel.judge_lockout

        def judged(held: Any, bolus: Any, profile: Any, slack: Any, now: Instant) -> Any:
            late = replace(now, slow=Milliseconds(now.slow + later))
            most = profile.boluses_per_day_max + more
            other = replace(profile, boluses_per_day_max=most)
            return change(before(held, bolus, other, slack, late))

        set_attribute(kernel, "judge_lockout", judged)

    return plant


def _only(rule: str) -> Callable[[list[Any]], list[Any]]:
    return lambda findings: [one for one in findings if one.rule == rule]


def _same(findings: list[Any]) -> list[Any]:
    return findings


def the_basal_too(guard: Callable[[State], list[Any]]) -> Plant:
    """A guard against too much that is asked of a continuation as well."""

    def judged(before: State, ask: Ask) -> Any:
        return tuple(dict.fromkeys((*guard(before), *_judge(before, ask))))

    return _set(kernel, "judge", judged)


def any_answer_opens(before: State, event: Settled) -> State:
    after = _settled(before, event)
    return after if after is before else replace(after, held=False)


def all_is_passed(findings: Any, override: Any, *rest: Any) -> Any:
    if override is None or not override.reason.strip():
        return tuple(findings)
    return tuple(one for one in findings if one.rule not in override.rules)


def nobody_counts(findings: Any, override: Any, passed: Any = (), now: Any = None) -> Any:
    return rules_open.judge_override(findings, override, (), now)


def own_limit_lost(bolus: Any, *rest: Any) -> Any:
    return [one for one in rules_windows_judge_bolus(bolus, *rest) if one.rule != "SR-05"]


rules_windows_judge_bolus = rules_windows.judge_bolus


def missing_is_unlimited(bolus: Any, *rest: Any) -> Any:
    found = rules_windows_judge_bolus(bolus, *rest)
    return [one for one in found if "no layer limits" not in one.message]


GUARD_BUGS = (
    Bug("windows are not judged", _all(
        _set(rules_windows, "_judge_windows", nothing), _set(kernel, "judge_pump_windows", nothing)
    )),
    Bug("the lockout is forgotten", lockout(_only("SR-05"))),
    Bug("the lockout is one millisecond short", lockout(_same, later=1)),
    Bug("the count of a day is forgotten", lockout(_only("SR-15"))),
    Bug("the count of a day admits one more", lockout(_same, more=1)),
    Bug("the latch is ignored", _set(kernel, "judge_latch", nothing)),
    Bug("doubt is ignored", WITHOUT_DOUBT),
    Bug("a stop is ignored", _set(kernel, "judge_held", nothing)),
    Bug("any answer opens boluses after a stop", _set(fold, "settled", any_answer_opens)),
    Bug("an unknown past is ignored", _set(kernel, "judge_unknown_past", nothing)),
    Bug("a stale state is good enough", _set(kernel, "judge_fresh", nothing)),
    Bug("the limit of one bolus is ignored", _set(rules_windows, "judge_bolus", own_limit_lost)),
    Bug(
        "an absent limit is unlimited",
        _all(
            _set(rules_windows, "judge_bolus", missing_is_unlimited),
            _set(rules_windows, "missing_limits", nothing),
        ),
        DIFFERENTIAL,
    ),
    Bug(
        "the basal is refused while its windows are full (SR-62)",
        _all(
            _set(kernel, "continues", lambda *_: False),
            _set(rules_windows, "is_no_more_than", lambda *_: False),
            _set(kernel, "is_no_more_than", lambda *_: False),
        ),
    ),
    Bug("a latch takes the basal away", the_basal_too(lambda s: rules_open.judge_latch(s.latched))),
    Bug("doubt takes the basal away", the_basal_too(lambda s: rules_open.judge_unsettled(s.unsettled))),
    Bug("a stop takes the basal away", the_basal_too(lambda s: rules_windows.judge_held(s.held))),
    Bug("a reason passes hard findings", _set(kernel, "judge_override", all_is_passed), DIFFERENTIAL),
    Bug("a third override goes unnoticed", _set(kernel, "judge_override", nobody_counts), DIFFERENTIAL),
    Bug("a reason stands for ever", _set(kernel, "judge_waivers", nothing), DIFFERENTIAL),
)

BUGS: Mapping[str, Bug] = {one.name: one for one in (*WINDOW_BUGS, *COUNTING_BUGS, *GUARD_BUGS)}


def planted_for(method: str) -> tuple[Bug, ...]:
    """The bugs that a method is meant to find."""
    return tuple(bug for bug in BUGS.values() if method in bug.seen_by)


def plant(bug: Bug) -> None:
    """Plants a bug for good: only in a child process, which it ends with."""
    bug.plant(setattr)
    _worst_case_over.cache_clear()
