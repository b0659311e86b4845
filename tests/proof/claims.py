"""What must hold in every state of a pump's life, each told by the truth and not by the kernel.

A claim looks at a decision, at a state, or at both, and answers with a sentence if it is broken.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kernel_bench import DAY, SLACK, instant
from window_oracle import Delivery, Given

from safety.state import programs_in_window

from .pump_world import LOCKOUT, UNKNOWN, Decision, Moment, World

OfDecision = Callable[[World, Moment, Decision], str | None]
OfState = Callable[[World, Moment], str | None]


@dataclass(frozen=True)
class Claim:
    """One promise of the judge: before and in each decision, in each state, in what flows."""

    name: str
    requirement: str
    of_decision: OfDecision | None = None
    of_state: OfState | None = None
    of_delivery: OfState | None = None
    """Asked only where something new may flow."""


# --- never over ----------------------------------------------------------------------------------


def never_over(world: World, moment: Moment) -> str | None:
    """No window of the truth can hold more than its limit, wherever its doses came."""
    truth, now = moment.truth, moment.now
    begin = now - 2 * DAY
    doses = tuple(
        (one.at - begin, min(4 * DAY, one.latest - begin), min(one.given, one.asked))
        for one in truth.doses
        if one.given
    )
    flows = tuple(
        (one.program, max(0, one.begin - begin), min(4 * DAY, one.end - begin))
        for one in truth.flows
        if one.program >= 0
    )
    key = (world.name, doses, flows)
    if key not in _WORST:
        _WORST[key] = _over(world, doses, flows)
    return _WORST[key]


_WORST: dict[object, str | None] = {}


def _over(
    world: World, doses: tuple[tuple[int, int, int], ...], flows: tuple[tuple[int, int, int], ...]
) -> str | None:
    delivery = Delivery(
        None,
        [(begin, end, ((0, world.flow(program)),)) for program, begin, end in flows],
        [Given(earliest, latest, given) for earliest, latest, given in doses],
    )
    for window, limit in world.windows:
        worst = delivery.worst(window, 3 * DAY)
        if worst > limit:
            return f"{float(worst):.3f} nL within {window // 60_000} min, {limit} are allowed"
    return None


# --- never under-counted -------------------------------------------------------------------------


def never_under_counted(world: World, moment: Moment) -> str | None:
    """Each dose that may lie in a window is reserved with no less than what went in."""
    reserved = {one.id: one for one in moment.state.reservations}
    for dose in moment.truth.doses:
        own = reserved.get(dose.id)
        if dose.latest < moment.now - DAY:
            continue  # it lies in no window any more
        is_short = own is None or own.most < dose.given
        # While it is in doubt no end is counted on: nothing else is granted.
        ends_early = dose.word != "asked" and own is not None and own.latest_end < dose.latest
        if dose.given and (is_short or ends_early):
            return f"dose {dose.id}: {dose.given} nL went in until {dose.latest}, counted: {own}"
    return None


def never_refunded(world: World, moment: Moment) -> str | None:
    """A dose whose fate nobody has told counts in full, arrived or not, however long ago."""
    reserved = {one.id: one for one in moment.state.reservations}
    for dose in moment.truth.doses:
        if dose.word != "asked" or dose.closed or dose.latest < moment.now - DAY:
            continue
        own = reserved.get(dose.id)
        if own is None or own.most < dose.asked:
            return f"dose {dose.id}: {dose.asked} nL asked for and in doubt, counted: {own}"
    return None


def every_flow_is_counted(world: World, moment: Moment) -> str | None:
    """What has flowed in the last day is known with no less, or every window counts as full."""
    state, now = moment.state, moment.now
    listed = programs_in_window(state, instant(now))
    known = [index for index, case in enumerate(world.programs) if case.program in listed]
    for flow in moment.truth.flows:
        full = state.full_until >= min(flow.end, now) + DAY or state.latched is not None
        if flow.program < 0 or full or any(world.at_most(flow.program, one) for one in known):
            continue
        if moment.state.pump_program is None and flow.end > now:
            continue  # no bolus is judged, and the next program is read back first
        return f"program {flow.program} flowed until {flow.end}, known are {known}"
    return None


# --- decisions -----------------------------------------------------------------------------------


def at_most_once(world: World, moment: Moment, decision: Decision) -> str | None:
    """One id is granted once."""
    used = {one.id for one in moment.truth.doses} | {one.id for one in moment.truth.sent}
    if decision.granted and decision.id in used:
        return f"id {decision.id} was granted a second time"
    return None


def continuation_is_admitted(world: World, moment: Moment, decision: Decision) -> str | None:
    """What was last verified, or less of it, is admitted in every state."""
    if decision.kind != "program" or decision.granted or not _goes_on(world, moment, decision):
        return None
    return f"program {decision.command} goes on with {moment.truth.known.verified}, and is refused"


def _goes_on(world: World, moment: Moment, decision: Decision) -> bool:
    verified = moment.truth.known.verified
    return (
        decision.kind == "program" and verified >= 0 and world.at_most(decision.command, verified)
    )


def a_latch_holds(world: World, moment: Moment, decision: Decision) -> str | None:
    """While the journal is latched nothing but continuation is granted."""
    if decision.granted and moment.truth.known.latched and not _goes_on(world, moment, decision):
        return f"{decision.kind} {decision.command} was granted under a latch"
    return None


def doubt_blocks(world: World, moment: Moment, decision: Decision) -> str | None:
    """While the fate of a recorded command is unknown nothing but continuation is granted."""
    truth = moment.truth
    doubt = [one.id for one in truth.doses if one.word == "asked"]
    doubt += [one.id for one in truth.sent if one.word == "asked" and one.journaled]
    if decision.granted and doubt and not _goes_on(world, moment, decision):
        return f"{decision.kind} {decision.command} was granted with {doubt} in doubt"
    return None


def the_lockout_is_kept(world: World, moment: Moment, decision: Decision) -> str | None:
    """From the latest start of one dose to the earliest of the next, and never both at once."""
    if not decision.granted or decision.kind != "bolus":
        return None
    for dose in moment.truth.doses:
        opens = max(dose.at + SLACK + LOCKOUT, dose.latest)
        if dose.word != "gone" and moment.now < opens:
            return f"a bolus {opens - moment.now} ms before the lockout of dose {dose.id} ends"
    return None


def the_count_is_kept(world: World, moment: Moment, decision: Decision) -> str | None:
    """No more boluses in a day, its edge included, than the device allows."""
    if not decision.granted or decision.kind != "bolus":
        return None
    held = sum(one.word != "gone" and one.latest >= moment.now - DAY for one in moment.truth.doses)
    if held >= world.boluses_a_day:
        return f"bolus number {held + 1} within a day"
    return None


def each_dose_is_within_its_limit(world: World, moment: Moment, decision: Decision) -> str | None:
    """No single bolus is above the limit of one bolus."""
    if not decision.granted or decision.kind != "bolus":
        return None
    volume = world.boluses[decision.command].bolus.volume
    return f"a bolus of {volume} nL" if volume > world.per_bolus else None


def a_stop_closes_boluses(world: World, moment: Moment, decision: Decision) -> str | None:
    """After a stop, no bolus until a program that was asked for after it is verified."""
    if decision.granted and decision.kind == "bolus" and moment.truth.known.stopped:
        return "a bolus after a stop, and no program was applied since"
    return None


def the_unknown_is_full(world: World, moment: Moment, decision: Decision) -> str | None:
    """No bolus while what an unknown program gave may lie in the longest window."""
    if not decision.granted or decision.kind != "bolus":
        return None
    for flow in moment.truth.flows:
        if flow.program == UNKNOWN and flow.end > moment.now - DAY:
            ended = max(0, moment.now - flow.end)
            return f"a bolus {ended} ms after an unknown program ended"
    return None


def a_bolus_needs_a_fresh_state(world: World, moment: Moment, decision: Decision) -> str | None:
    """No bolus on the strength of what the pump showed long ago."""
    if decision.granted and not decision.fresh:
        return "a bolus on a state that is older than three polls"
    return None


def a_bolus_needs_a_program(world: World, moment: Moment, decision: Decision) -> str | None:
    """No bolus into a pump whose program nobody has verified."""
    if not decision.granted or decision.kind != "bolus":
        return None
    holds = moment.truth.flows[-1].program
    return None if holds >= 0 else "a bolus, and the pump holds none of our programs"


CLAIMS = (
    Claim("never over any window", "SR-14", of_delivery=never_over),
    Claim("never under-counted, per dose", "SR-14", of_state=never_under_counted),
    Claim("never under-counted, per program", "SR-14", of_state=every_flow_is_counted),
    Claim("UNCERTAIN is never refunded", "SR-21", of_state=never_refunded),
    Claim("at most once per id", "SR-20", of_decision=at_most_once),
    Claim("continuation in every state", "SR-62", of_decision=continuation_is_admitted),
    Claim("nothing else under a latch", "SR-56", of_decision=a_latch_holds),
    Claim("nothing else in doubt", "SR-23", of_decision=doubt_blocks),
    Claim("lockout from start to start", "SR-15", of_decision=the_lockout_is_kept),
    Claim("boluses of a day", "SR-05", of_decision=the_count_is_kept),
    Claim("the limit of one bolus", "SR-05", of_decision=each_dose_is_within_its_limit),
    Claim("a stop closes boluses", "SR-32", of_decision=a_stop_closes_boluses),
    Claim("an unknown past is full", "SR-14", of_decision=the_unknown_is_full),
    Claim("a fresh state", "SR-52", of_decision=a_bolus_needs_a_fresh_state),
    Claim("a verified program", "SR-22", of_decision=a_bolus_needs_a_program),
)
