"""Planted bugs of the guards: one that is missing, too lax, or in the way of the basal."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from device_profiles.quantities import Milliseconds
from safety import fold, judgement, kernel, rules_infusion, rules_open, rules_windows
from safety.commands import Ask, Instant
from safety.events import Settled
from safety.state import State

from .planting import (
    COUNTING,
    DIFFERENTIAL,
    NUMBERING,
    REPLACING,
    WITHOUT_DOUBT,
    Bug,
    Plant,
    nothing,
    put,
    together,
)
from .quicken import SetAttr

_settled, _judge = fold.settled, judgement.judge
_judge_bolus = rules_infusion.judge_bolus


def lockout(change: Callable[[list[Any]], list[Any]], later: int = 0, more: int = 0) -> Plant:
    """Another lockout, on top of those that are planted already."""

    def plant(set_attribute: SetAttr) -> None:
        before: Any = vars(judgement)["judge_lockout"]

        def judged(held: Any, bolus: Any, profile: Any, slack: Any, now: Instant) -> Any:
            late = replace(now, slow=Milliseconds(now.slow + later))
            most = profile.boluses_per_day_max + more
            other = replace(profile, boluses_per_day_max=most)
            return change(before(held, bolus, other, slack, late))

        set_attribute(judgement, "judge_lockout", judged)

    return plant


def _only(rule: str) -> Callable[[list[Any]], list[Any]]:
    return lambda findings: [one for one in findings if one.rule == rule]


def _same(findings: list[Any]) -> list[Any]:
    return findings


def the_basal_too(guard: Callable[[State], list[Any]]) -> Plant:
    """A guard against too much that is asked of a continuation as well."""

    def judged(before: State, ask: Ask) -> Any:
        return tuple(dict.fromkeys((*guard(before), *_judge(before, ask))))

    return put(judgement, "judge", judged)


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
    return [one for one in _judge_bolus(bolus, *rest) if one.rule != "SR-05"]


def missing_is_unlimited(bolus: Any, *rest: Any) -> Any:
    found = _judge_bolus(bolus, *rest)
    return [one for one in found if "no layer limits" not in one.message]


GUARD_BUGS = (
    Bug(
        "windows are not judged",
        together(
            put(rules_windows, "_judge_windows", nothing),
            put(judgement, "judge_pump_windows", nothing),
        ),
    ),
    Bug("the lockout is forgotten", lockout(_only("SR-05"))),
    Bug("the lockout is one millisecond short", lockout(_same, later=1)),
    Bug("the count of a day is forgotten", lockout(_only("SR-15")), world=NUMBERING),
    Bug("the count of a day admits one more", lockout(_same, more=1), world=NUMBERING),
    Bug("the latch is ignored", put(judgement, "judge_latch", nothing), world=COUNTING),
    Bug("doubt is ignored", WITHOUT_DOUBT),
    Bug("a stop is ignored", put(judgement, "judge_held", nothing), world=COUNTING),
    Bug(
        "any answer opens boluses after a stop",
        put(fold, "settled", any_answer_opens),
        world=COUNTING,
    ),
    Bug(
        "an unknown past is ignored", put(judgement, "judge_unknown_past", nothing), world=REPLACING
    ),
    Bug("a stale state is good enough", put(judgement, "judge_fresh", nothing)),
    Bug(
        "the limit of one bolus is ignored",
        put(rules_windows, "judge_bolus", own_limit_lost),
        world=COUNTING,
    ),
    Bug(
        "an absent limit is unlimited",
        together(
            put(rules_windows, "judge_bolus", missing_is_unlimited),
            put(rules_windows, "missing_limits", nothing),
        ),
        DIFFERENTIAL,
    ),
    Bug(
        "the basal is refused while its windows are full (SR-62)",
        together(
            put(kernel, "continues", lambda *_: False),
            put(judgement, "continues", lambda *_: False),
            put(rules_windows, "is_no_more_than", lambda *_: False),
            put(judgement, "is_no_more_than", lambda *_: False),
        ),
    ),
    Bug(
        "a latch takes the basal away",
        the_basal_too(lambda s: rules_open.judge_latch(s.latched)),
        world=COUNTING,
    ),
    Bug(
        "doubt takes the basal away",
        the_basal_too(lambda s: rules_open.judge_unsettled(s.unsettled)),
    ),
    Bug(
        "a stop takes the basal away",
        the_basal_too(lambda s: rules_windows.judge_held(s.held)),
        world=COUNTING,
    ),
    Bug(
        "a reason passes hard findings",
        put(judgement, "judge_override", all_is_passed),
        DIFFERENTIAL,
    ),
    Bug(
        "a third override goes unnoticed",
        put(judgement, "judge_override", nobody_counts),
        DIFFERENTIAL,
    ),
    Bug("a reason stands for ever", put(judgement, "judge_waivers", nothing), DIFFERENTIAL),
)
