"""Makes a failing plan smaller: fewer acts, calmer settings, less time; the failure stays."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic

from hil.storm.plan import Act, Plan
from hil.storm.runner import run_plan

PATIENCE_S = 120.0
SLACK_MINUTES = 30


def shrink(
    plan: Plan,
    told: Callable[[Plan], None] = lambda plan: None,
    patience_s: float = PATIENCE_S,
) -> Plan:
    """The smallest plan found within a time that fails the same way; ``told`` hears of each."""
    wanted = signature(run_plan(plan).wrong)
    if wanted is None:
        return plan
    until = monotonic() + patience_s

    def fails(candidate: Plan) -> bool:
        return monotonic() < until and signature(run_plan(candidate).wrong) == wanted

    before: Plan | None = None
    while plan != before:
        before = plan
        for candidates in (_fewer_acts, _calmer):
            plan = _descend(plan, candidates, fails, told)
    return plan


def signature(wrong: tuple[str, ...]) -> str | None:
    """What kind of failure it is: its first sentence without its numbers."""
    return re.sub(r"[0-9a-fx.]*\d[0-9a-fx.]*", "#", wrong[0])[:60] if wrong else None


def _descend(
    plan: Plan,
    candidates: Callable[[Plan], Iterator[Plan]],
    fails: Callable[[Plan], bool],
    told: Callable[[Plan], None],
) -> Plan:
    """Takes the first smaller plan that fails too, until there is none."""
    found = True
    while found:
        found = False
        for candidate in candidates(plan):
            if fails(candidate):
                plan, found = candidate, True
                told(plan)
                break
    return plan


def _fewer_acts(plan: Plan) -> Iterator[Plan]:
    """Without a half of the acts, a quarter, …, a single one; the latest first."""
    size = len(plan.acts) // 2
    while size:
        for begin in range(max(0, len(plan.acts) - size), -1, -size):
            yield replace(plan, acts=plan.acts[:begin] + plan.acts[begin + size :])
        size //= 2


def _calmer(plan: Plan) -> Iterator[Plan]:
    """With less time, no error of its own, a prompt worker, and smaller amounts."""
    end = max((act.at for act in plan.acts), default=0) // 60_000 + SLACK_MINUTES
    if end < plan.minutes:
        yield replace(plan, minutes=end)
    if plan.error:
        yield replace(plan, error=0)
    if plan.late_worker:
        yield replace(plan, late_worker=False)
    if plan.monitor:
        yield replace(plan, monitor=False)
    if plan.sealed:
        yield replace(plan, sealed=False)
    for place, act in enumerate(plan.acts):
        if act.do in ("kill", "cancel") and act.amount > 1:
            yield _with(plan, place, replace(act, amount=1))


def _with(plan: Plan, place: int, act: Act) -> Plan:
    return replace(plan, acts=(*plan.acts[:place], act, *plan.acts[place + 1 :]))
