"""Everything that can happen next to a pump: requests, answers, counts, time, mishaps."""

from collections.abc import Iterator

from kernel_bench import DAY, HOUR, SECOND, SLACK, instant

from device_profiles.quantities import Milliseconds, NanoLitres
from safety import kernel
from safety.commands import Ask, GiveBolus, Instant
from safety.events import (
    Counted,
    CountState,
    Event,
    Found,
    Intended,
    Latched,
    Settled,
    Stopped,
    Unverified,
)
from safety.kernel import Continue, Record

from .pump_world import (
    FOREVER,
    LOCKOUT,
    NOTHING,
    PATIENT,
    UNKNOWN,
    Decision,
    Dose,
    Flow,
    Known,
    Moment,
    Move,
    Sent,
    Truth,
    World,
    connected,
)


def moves(world: World, moment: Moment) -> Iterator[Move]:
    """Everything that can happen next."""
    at = instant(moment.now)
    refused = set[int]()
    for move in _asks(world, moment, at):
        yield move
        if move.decision and move.decision.kind == "bolus" and not move.decision.granted:
            refused.add(move.decision.command)
    for intent in moment.state.unsettled:
        yield from _answers(world, moment, intent, at)
    if "counts" in world.mishaps:
        yield from _counts(moment, at)
    yield from _waits(world, moment, refused)
    yield from _mishaps(world, moment, at)


# --- requests ------------------------------------------------------------------------------------


def _asks(world: World, moment: Moment, at: Instant) -> Iterator[Move]:
    fresh = at.fast
    for index, bolus in enumerate(world.boluses):
        request = Ask(at, moment.ids + 1, bolus, PATIENT, seen=fresh)
        yield from _asked(world, moment, request, index)
    for index, case in enumerate(world.programs):
        request = Ask(at, moment.ids + 1, case.command, PATIENT, seen=fresh)
        yield from _asked(world, moment, request, index)
    if "stale" in world.mishaps:
        old = Milliseconds(at.fast - 3 * world.boluses[0].profile.poll - 1)
        request = Ask(at, moment.ids + 1, world.boluses[0], PATIENT, seen=old)
        yield from _asked(world, moment, request, 0, fresh=False)
    used = [dose.id for dose in moment.truth.doses if dose.word != "gone"]
    if "same id" in world.mishaps and used:
        request = Ask(at, used[-1], world.boluses[0], PATIENT, seen=fresh)
        # Granted, it is a violation; what the pump would make of it is not followed.
        for move in _asked(world, moment, request, 0):
            yield move._replace(label=f"the same id again: {move.label}", after=None)


def _asked(
    world: World, moment: Moment, request: Ask, index: int, *, fresh: bool = True
) -> Iterator[Move]:
    """A request is answered; if it is granted, its frame arrives or is lost."""
    _, (effect,) = kernel.step(moment.state, request)
    is_bolus = isinstance(request.command, GiveBolus)
    kind = "bolus" if is_bolus else "program"
    intent = effect.intent if isinstance(effect, Continue) else None
    if isinstance(effect, Record) and isinstance(effect.event, Intended):
        intent = effect.event
    decision = Decision(kind, index, request.id, fresh, intent is not None)
    if intent is None:
        yield Move(f"{kind} {index} is refused", decision, None)
        return
    if not is_bolus and not world.follows_programs:
        yield Move(f"{kind} {index} is granted", decision, None)
        return
    journaled = isinstance(effect, Record)
    state = kernel.step(moment.state, intent)[0]
    kept = state if journaled else moment.journaled
    ids = max(moment.ids, request.id)
    for arrives in (True, False):
        if is_bolus:
            truth = _with_dose(world, moment, world.boluses[index], request.id, arrives)
        else:
            truth = _with_program(world, moment, index, request.id, arrives, journaled)
        fate = "its frame arrives" if arrives else "its frame is lost"
        yield Move(
            f"{kind} {index} (id {request.id}) is granted, {fate}",
            decision,
            Moment(moment.now, ids, state, kept, truth),
            delivers=arrives,
        )


def _with_dose(world: World, moment: Moment, bolus: GiveBolus, own: int, arrives: bool) -> Truth:
    volume = int(bolus.bolus.volume)
    latest = FOREVER if "late frames" in world.mishaps else moment.now + SLACK + bolus.bolus.over
    given = volume if arrives else 0
    dose = Dose(own, volume, given, moment.now, latest, "asked", False, bolus.bolus.over)
    return moment.truth._replace(doses=(*moment.truth.doses, dose))


def _with_program(
    world: World, moment: Moment, index: int, own: int, arrives: bool, journaled: bool
) -> Truth:
    truth = moment.truth
    sent = (*truth.sent, Sent(own, index, arrives, moment.now, "asked", journaled))
    if not arrives or truth.flows[-1].program == index:
        return truth._replace(sent=sent)
    late = "late frames" in world.mishaps
    flows = truth.flows if late else _ended(truth.flows, moment.now + SLACK)
    return truth._replace(sent=sent, flows=(*flows, Flow(index, moment.now, FOREVER)))


def _ended(flows: tuple[Flow, ...], at: int) -> tuple[Flow, ...]:
    """What still flows has ended by then, at the latest."""
    return tuple(one._replace(end=min(one.end, at)) for one in flows)


# --- what the device answers ---------------------------------------------------------------------


def _told(moment: Moment, event: Event, truth: Truth) -> Moment:
    """The moment once a host took an event in; a latched journal does not hold it."""
    state = kernel.step(moment.state, event)[0]
    if truth.known.latched:
        return moment._replace(state=state, truth=truth)
    return moment._replace(state=state, journaled=state, truth=truth._replace(kept=truth.known))


def _answers(world: World, moment: Moment, intent: Intended, at: Instant) -> Iterator[Move]:
    """What the device can say to the question what became of an id: the truth, or nothing."""
    truth, own = moment.truth, intent.id
    doubt = Settled(at, own, "UNCERTAIN", "a test")
    yield Move(f"id {own} is UNCERTAIN", None, _told(moment, doubt, truth))
    dose = next((one for one in truth.doses if one.id == own), None)
    if dose is not None:
        outcome = "delivered" if dose.given else "gone"
        # A frame that lay on the way has begun by now, and not surely sooner.
        latest = min(dose.latest, max(dose.at + SLACK, moment.now) + dose.over)
        then = dose._replace(word=outcome, latest=latest)
        told = truth._replace(doses=tuple(then if d is dose else d for d in truth.doses))
        yield _settles(moment, own, done=outcome == "delivered", truth=told, at=at)
        return
    program = next(one for one in truth.sent if one.id == own)
    # An answer that no journal holds will be asked for again.
    kept = (program._replace(word="settled"),) if truth.known.latched else ()
    told = truth._replace(sent=(*(one for one in truth.sent if one is not program), *kept))
    if not program.arrived:
        yield _settles(moment, own, done=False, truth=told, at=at)
    elif truth.flows[-1].program == program.program and truth.flows[-1].end == FOREVER:
        yield _settles(moment, own, done=True, truth=_proved(told, program, moment.now), at=at)
    else:
        # Read back, it is another one: the program is not proved, whatever the device says.
        told = _seen_to_flow(told, moment.now)
        event = Unverified(at, own, "read back", truth.flows[-1].program != NOTHING)
        yield Move(f"id {own} was replaced unseen", None, _told(moment, event, told))


def _settles(moment: Moment, own: int, *, done: bool, truth: Truth, at: Instant) -> Move:
    outcome = "delivered" if done else "refused"
    event = Settled(at, own, "delivered" if done else "refused", "a test")
    return Move(f"id {own} is settled: {outcome}", None, _told(moment, event, truth))


def _proved(truth: Truth, program: Sent, now: int) -> Truth:
    opens = program.id > truth.known.stopped
    known = truth.known._replace(
        verified=program.program, stopped=0 if opens else truth.known.stopped
    )
    return _seen_to_flow(truth, now)._replace(known=known)


def _seen_to_flow(truth: Truth, now: int) -> Truth:
    """The pump was read back: whatever it held before has ended."""
    return truth._replace(flows=(*_ended(truth.flows[:-1], now), truth.flows[-1]))


def _counts(moment: Moment, at: Instant) -> Iterator[Move]:
    """The device's own count of a bolus that arrived: in its course, in full, cut short, late."""
    reserved = moment.state.reservations
    for dose in moment.truth.doses:
        if dose.word == "gone" or not dose.given:
            continue
        half = dose.asked // 2
        if dose.closed:
            yield _counted(moment, dose, "running", 0, dose, at)
            if dose.given < dose.asked and any(r.closed for r in reserved if r.id == dose.id):
                yield _counted(moment, dose, "interrupted", half // 2, dose, at)
            continue
        latest = min(dose.latest, moment.now)
        yield _counted(moment, dose, "running", half, dose, at)
        done = dose._replace(latest=latest, closed=True)
        yield _counted(moment, dose, "executed", dose.given, done, at)
        cut = dose._replace(latest=latest, closed=True, given=half)
        yield _counted(moment, dose, "interrupted", half, cut, at)


def _counted(
    moment: Moment, dose: Dose, told: CountState, volume: int, then: Dose, at: Instant
) -> Move:
    event = Counted(at, dose.id, told, NanoLitres(volume))
    doses = tuple(then if one is dose else one for one in moment.truth.doses)
    after = _told(moment, event, moment.truth._replace(doses=doses))
    return Move(f"id {dose.id} is counted: {volume} nL, {told}", None, after)


# --- time and mishaps ----------------------------------------------------------------------------


def _waits(world: World, moment: Moment, refused: set[int]) -> Iterator[Move]:
    """To the next instant at which an answer may change, and to the next edge of a window.

    What is refused now is asked for once more a millisecond before: it should be refused still.
    """
    now, truth = moment.now, moment.truth
    doses = [dose for dose in truth.doses if dose.latest < FOREVER]
    near = [max(dose.latest, dose.at + SLACK + LOCKOUT) for dose in doses]
    far = [dose.latest + window + 1 for dose in doses for window in world.tight]
    far += [flow.end + DAY + 1 for flow in truth.flows[:-1] if flow.end < FOREVER]
    far.append(moment.state.full_until)
    moments = {min(later) for times in (near, far) if (later := [t for t in times if t > now])}
    if "long waits" in world.mishaps:
        moments.add(now + 23 * HOUR)
    for then in sorted(moments):
        for index in refused if then - 1 > now else ():
            before, bolus = _later(moment, then - 1), world.boluses[index]
            at = instant(before.now)
            words = f"{_words(then - 1 - now)} pass, then "
            for move in _asked(
                world, before, Ask(at, moment.ids + 1, bolus, PATIENT, seen=at.fast), index
            ):
                yield move._replace(label=words + move.label, asked_at=before)
        yield Move(f"{_words(then - now)} pass", None, _later(moment, then))


def _words(time: int) -> str:
    hours, rest = divmod(time, HOUR)
    return f"{hours} h {rest / SECOND:.3f} s" if hours else f"{rest / SECOND:.3f} s"


def _later(moment: Moment, now: int) -> Moment:
    truth = moment.truth
    open_still = {one.id for one in (*moment.state.unsettled, *moment.journaled.unsettled)}
    return moment._replace(
        now=now,
        truth=truth._replace(
            doses=tuple(d for d in truth.doses if d.latest >= now - DAY or d.id in open_still),
            flows=tuple(one for one in truth.flows if one.end >= now - DAY),
        ),
    )


def _mishaps(world: World, moment: Moment, at: Instant) -> Iterator[Move]:
    truth, known = moment.truth, moment.truth.known
    yield Move("the host restarts, ids cannot be asked for", None, _restarted(world, moment))
    if moment.journaled.unsettled:
        after = _restarted(world, moment, answered=True)
        yield Move("the host restarts and asks for every id", None, after)
    if "stop" in world.mishaps and known.stopped != moment.ids:
        then = truth._replace(known=known._replace(stopped=moment.ids))
        yield Move("a person stops it", None, _told(moment, Stopped(at, "hold", True), then))
    if "latch" in world.mishaps and not known.latched:
        for past_lost in (False, True):
            then = truth._replace(
                known=Known(
                    NOTHING if past_lost else known.verified, known.stopped, True, past_lost
                )
            )
            after = _told(moment, Latched(at, "a test", past_lost), then)
            yield Move(f"the journal latches (lost: {past_lost})", None, after)
    holds = truth.flows[-1].program
    if moment.state.last_verified is None and holds >= 0:
        then = truth._replace(known=known._replace(verified=holds))
        after = _told(moment, Found(at, world.programs[holds].program), then)
        yield Move("its own program is found", None, after)
    # What is found under a latch, and gone before the next start, no journal can tell.
    if "other programs" in world.mishaps and not known.latched:
        for what, told in ((UNKNOWN, "an unknown program"), (NOTHING, "no program")):
            if holds == what:
                continue
            flows = (*_ended(truth.flows, moment.now), Flow(what, moment.now, FOREVER))
            other = Unverified(at, 0, "a test", delivers=what == UNKNOWN)
            after = _told(moment, other, truth._replace(flows=flows))
            yield Move(f"the pump is found with {told}", None, after)


def _restarted(world: World, moment: Moment, *, answered: bool = False) -> Moment:
    """A new host: it knows what the journal holds, unless that is what cannot be trusted.

    It asks what became of each open id (which may stay UNCERTAIN) and reads the program back.
    """
    at, truth = instant(moment.now), moment.truth
    if not truth.known.past_lost:
        asked = {one.id for one in moment.journaled.unsettled}
        truth = truth._replace(
            known=truth.kept,
            sent=tuple(one for one in truth.sent if one.journaled),
            # What was told while no journal could hold it is in doubt again.
            doses=tuple(d._replace(word="asked") if d.id in asked else d for d in truth.doses),
        )
        moment = moment._replace(state=moment.journaled, truth=truth)
    if answered:
        for intent in moment.state.unsettled:
            *_, told = _answers(world, moment, intent, at)
            assert told.after is not None
            moment = told.after
    moment = _told(moment, connected(moment.now), moment.truth)
    state, holds = moment.state, moment.truth.flows[-1].program
    verified = state.pump_program
    held = world.programs[holds].program if holds >= 0 else None
    is_news = verified is not None or (holds != NOTHING and not state.unknown_program)
    if is_news and held != verified:
        event = Unverified(at, 0, "on connecting", holds != NOTHING)
        moment = _told(moment, event, _seen_to_flow(moment.truth, moment.now))
    return moment
