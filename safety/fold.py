"""What the judge knows after an event: one small function for each thing that can happen."""

from dataclasses import replace
from typing import Literal

from device_profiles.quantities import DAY_MS, MINUTE_MS, Milliseconds, NanoLitres
from safety.alarms import Pause, with_cleared, with_looked, with_raised
from safety.commands import CommandKind, Instant
from safety.doubt import Reservation, begun_by, counted, proved_nothing
from safety.events import (
    Cleared,
    Connected,
    Counted,
    Found,
    Intended,
    Latched,
    Looked,
    Lowered,
    Paused,
    Raised,
    Settled,
    Stopped,
    Unverified,
)
from safety.outputs import (
    BolusOutput,
    PrimeOutput,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)
from safety.state import (
    UNPLANNED_DELIVERY,
    Alert,
    Impedances,
    LineMove,
    PassedRule,
    PastProgram,
    StandingWaiver,
    State,
    differences,
    past_programs_after,
    reservations_at,
)
from safety.state_with import state_with
from safety.timeline import Seen

PROGRAMMING: tuple[CommandKind, ...] = ("program-stimulator", "program-pump")
STARTS: tuple[CommandKind, ...] = (*PROGRAMMING, "start-stimulation")

ALERTS_KEPT = Milliseconds(10 * MINUTE_MS)
"""How far back alarms followed by a start are counted (SR-35) [Open PCA R6.5.0(18): 10 min]."""
FILLS_KEPT = 64
IDS_KEPT = 256

NEEDS_A_LOOK = ("motor-stall", "occlusion")
"""Alarms after which something may sit under pressure or undelivered: no bolus on top of it."""
ENDS_OUTPUT = frozenset({"magnet", "mri-mode"})
"""Alarms by which a stimulator says that it has brought its output to zero."""
FROM_ZERO = ENDS_OUTPUT | {"battery-low"}
"""Alarms that may have ended an output which is found off: the next start then begins at zero."""
FOUND_OFF = "found off"
"""The depth of a stop that nobody sent: the device showed its output to be off by itself."""
ONE_TIME = ("SR-06", "SR-12", "SR-13", "SR-18", "SR-19", "SR-25", "SR-44", "SR-59")
"""Rules about a change itself: what was let pass is over once the change is done."""


def connected(state: State, event: Connected) -> State:
    """A new conversation: old impedances are stale, only what flows is running, no pause lasts."""
    restarted = state.boot is not None and state.boot != event.boot
    from_zero = state.from_zero if event.delivering else _why_from_zero(state)
    if restarted and state.running is not None:
        from_zero = "the device restarted while it was on"
    return state_with(
        state,
        identity=event.identity,
        boot=event.boot,
        seen=Seen(event.at.slow, event.at.wall, event.clock, event.boot),
        impedances=None,
        running=state.running if event.delivering else None,
        from_zero=from_zero,
        pause=None,
        epoch=state.epoch + restarted,
    )


def _why_from_zero(state: State) -> str | None:
    """Why a start begins at zero once what counts as on is off by itself, by the device's word."""
    if state.running is None:
        return state.from_zero
    why = (one.alarm.text for one in state.alarms if one.alarm.code in FROM_ZERO and not one.over)
    return next(why, state.from_zero)


def found(state: State, event: Found) -> State:
    """A pump's own program is what going on with means, where none was verified."""
    return state_with(state, last_verified=event.program)


def intended(state: State, event: Intended) -> State:
    """A judged command is on its way: from here on it counts in full."""
    day = Milliseconds(event.at.slow - DAY_MS)
    user = event.override.user if event.override else ""
    passed = (
        *(one for one in state.passed if one.at >= day),
        *(PassedRule(rule, user, event.at.slow) for rule in event.passed),
    )
    state = state_with(
        state,
        epoch=state.epoch + 1,
        unsettled=(*state.unsettled, event),
        ids=(*state.ids, event.id)[-IDS_KEPT:],
        passed=passed,
    )
    if event.latest_end is None:
        return state
    match event.outputs:
        case (BolusOutput() as bolus,):
            return _reserved(state, event, bolus.over, bolus.volume, "bolus")
        case (PrimeOutput() as prime,):
            fills = (*state.primed_fills, prime.fill_at_ms)[-FILLS_KEPT:]
            move = LineMove(event.id, event.latest_end, "prime", NanoLitres(0), ())
            moving = state_with(_with_move(state, event.at, move), primed_fills=fills)
            return _reserved(moving, event, prime.over, event.stray, "prime")
        case (PumpProgram() as program,):
            what: Literal["bridge", "flush"] = "bridge" if program.bridge else "flush"
            move = LineMove(event.id, event.latest_end, what, event.stray, differences(program))
            return _with_move(state, event.at, move)
        case _:
            return state


def _reserved(
    state: State,
    event: Intended,
    over: Milliseconds,
    most: NanoLitres,
    what: Literal["bolus", "prime"],
) -> State:
    assert event.latest_end is not None, "what is reserved ends"
    asked = Reservation(
        event.id,
        event.drugs,
        event.at.slow,
        over,
        event.latest_end,
        least=NanoLitres(0),
        most=most,
        what=what,
    )
    return state_with(state, reservations=(*reservations_at(state, event.at), asked))


def _with_move(state: State, at: Instant, move: LineMove) -> State:
    moves = (one for one in state.line_moves if not one.has_ended(at))
    return state_with(state, line_moves=(*moves, move))


def settled(state: State, event: Settled) -> State:
    """What became of an intent is known, or still is not."""
    intent = next((i for i in state.unsettled if i.id == event.id), None)
    if intent is None or event.outcome == "UNCERTAIN":
        return state
    state = state_with(
        state,
        epoch=state.epoch + 1,
        unsettled=tuple(i for i in state.unsettled if i.id != event.id),
    )
    if event.outcome == "refused":
        return _refused(state, intent)
    return _delivered(state, intent, event.at)


def _refused(state: State, intent: Intended) -> State:
    """The device proved that it did nothing for an intent, unless it has counted something."""
    reservations = proved_nothing(state.reservations, intent.id)
    if any(one.id == intent.id for one in reservations):
        return state
    tokens = {o.fill_at_ms for o in intent.outputs if isinstance(o, PrimeOutput)}
    return state_with(
        state,
        reservations=reservations,
        line_moves=tuple(one for one in state.line_moves if one.id != intent.id),
        primed_fills=tuple(one for one in state.primed_fills if one not in tokens),
    )


def _delivered(state: State, intent: Intended, at: Instant) -> State:
    if intent.command in STARTS:
        state = state_with(state, alerted=(), waivers=_waivers(state, intent))
    state = _begun(state, intent, at)
    match intent.command:
        case "program-stimulator":
            programs = tuple(o for o in intent.outputs if isinstance(o, StimulatorProgram))
            return state_with(
                state,
                programs=programs,
                running=None,
                unknown_program=False,
                patient=intent.patient,
            )
        case "program-pump":
            program = next(o for o in intent.outputs if isinstance(o, PumpProgram))
            may_follow = {intent.id, *(one.id for one in state.unsettled)}
            return state_with(
                state,
                line_moves=tuple(
                    one for one in state.line_moves if one.what != "bridge" or one.id in may_follow
                ),
                pump_program=program,
                last_verified=program,
                held=intent.id in state.overtaken,
                unknown_program=False,
                past_programs=past_programs_after(state, at),
                known_drugs=tuple(drug.name for drug in program.drugs),
                full_until=_a_day_from(at) if state.unknown_program else state.full_until,
                pump_limits=intent.limits,
                timezone=intent.timezone,
                patient=intent.patient,
            )
        case "start-stimulation":
            running = next(o for o in intent.outputs if isinstance(o, Stimulation))
            return state_with(state, running=running, from_zero=None)
        case "change-amplitude":
            running = next(o for o in intent.outputs if isinstance(o, Stimulation))
            return state_with(state, running=running)
        case _:
            return state


def _begun(state: State, intent: Intended, at: Instant) -> State:
    """What an intent does has begun by now, and not surely sooner."""
    return state_with(
        state,
        reservations=begun_by(state.reservations, intent.id, at),
        line_moves=tuple(
            _begun_move(one, intent, at) if one.id == intent.id else one for one in state.line_moves
        ),
    )


def _begun_move(move: LineMove, intent: Intended, at: Instant) -> LineMove:
    """A move in the line that has begun by now, and not surely sooner."""
    lasts = move.latest_end - intent.at.slow
    return replace(move, latest_end=Milliseconds(max(move.latest_end, at.slow + lasts)))


def _waivers(state: State, intent: Intended) -> tuple[StandingWaiver, ...]:
    """What the device now runs on although a rule objects to it, and until when."""
    kept = () if intent.command in PROGRAMMING else state.waivers
    if intent.override is None:
        return kept
    until = Milliseconds(intent.at.slow + intent.override.valid_for)
    fresh = (StandingWaiver(rule, until) for rule in intent.passed if rule not in ONE_TIME)
    return (*(one for one in kept if one.rule not in intent.passed), *fresh)


def device_counted(state: State, event: Counted) -> State:
    """The device told its own count for an id: of a bolus, or of what was moved in the line.

    While it is not settled whether it was taken, a count says how much, but not that it is over.
    """
    doubtful = any(one.id == event.id for one in state.unsettled)
    word = "running" if doubtful else event.state
    reservations = counted(state.reservations, event.id, word, event.volume, event.at)
    if word == "running":
        return state_with(state, reservations=reservations)
    ended = tuple(one for one in state.line_moves if one.id == event.id)
    return state_with(
        state,
        reservations=(*reservations, *(_stray(one, event.at) for one in ended if one.stray)),
        line_moves=tuple(one for one in state.line_moves if one.id != event.id),
    )


def _stray(move: LineMove, at: Instant) -> Reservation:
    """What a bridge that is over has delivered in the wrong mix, by now and not surely sooner."""
    return Reservation(
        move.id,
        move.mixes,
        at.slow,
        Milliseconds(0),
        at.slow,
        least=NanoLitres(0),
        most=move.stray,
        closed=True,
        what="bridge",
        counted=True,
    )


def _lost_on_the_way(state: State, event: Unverified) -> tuple[PastProgram, ...]:
    """What an intent that is no longer asked about may have put into the pump for a while."""
    return tuple(
        PastProgram(output, event.at.slow)
        for intent in state.unsettled
        if intent.id == event.id
        for output in intent.outputs
        if isinstance(output, PumpProgram)
    )


def unverified(state: State, event: Unverified) -> State:
    """No program counts as verified: nothing starts and no bolus is given until one is applied.

    Nobody asks after the intent of this id any more: as far as anybody knows it has begun by now.
    """
    intent = next((one for one in state.unsettled if one.id == event.id), None)
    if intent is not None:
        state = _begun(state, intent, event.at)
    return state_with(
        state,
        epoch=state.epoch + 1,
        unsettled=tuple(i for i in state.unsettled if i.id != event.id),
        programs=(),
        running=None,
        pump_program=None,
        past_programs=(*_lost_on_the_way(state, event), *past_programs_after(state, event.at)),
        pump_limits=None,
        unknown_program=event.delivers,
        full_until=(
            _a_day_from(event.at) if event.delivers or state.unknown_program else state.full_until
        ),
    )


def _a_day_from(at: Instant) -> Milliseconds:
    return Milliseconds(at.slow + DAY_MS)


def lowered(state: State, event: Lowered) -> State:
    """A running output was lowered."""
    if state.running is None:
        return state
    running = replace(state.running, amplitudes=event.amplitudes)
    return state_with(state, running=running, epoch=state.epoch + 1)


def stopped(state: State, event: Stopped) -> State:
    """A stop was sent; what was not confirmed still counts as running."""
    running = None if event.confirmed else state.running
    by_itself = event.depth == FOUND_OFF
    from_zero = _why_from_zero(state) if by_itself else state.from_zero
    return state_with(
        state,
        running=running,
        from_zero=from_zero,
        held=True,
        overtaken=tuple(intent.id for intent in state.unsettled),
        epoch=state.epoch + 1,
    )


def measured(state: State, impedances: Impedances) -> State:
    """The device measured its contacts."""
    return state_with(state, impedances=impedances)


def raised(state: State, event: Raised) -> State:
    """An alarm: on the board, and what it means for what may follow."""
    alarm, at = event.alarm, event.at
    state = state_with(state, alarms=with_raised(state.alarms, alarm, at.wall), pause=None)
    if alarm.priority != "LOW" and alarm.code not in state.alerted:
        since = at.slow - ALERTS_KEPT
        state = state_with(
            state,
            alerted=(*state.alerted, alarm.code),
            alerts=(*(a for a in state.alerts if a.at >= since), Alert(alarm.code, at.slow)),
        )
    if alarm.code in NEEDS_A_LOOK:
        state = state_with(state, attention=alarm.code)
    if alarm.code in UNPLANNED_DELIVERY:
        state = state_with(state, full_until=_a_day_from(at))
    return state


def cleared(state: State, event: Cleared) -> State:
    """The condition of an alarm is over; what it delivered unasked lies in windows for a day."""
    stood = any(one.alarm.code == event.code and not one.over for one in state.alarms)
    unplanned = stood and event.code in UNPLANNED_DELIVERY
    return state_with(
        state,
        alarms=with_cleared(state.alarms, event.code),
        full_until=_a_day_from(event.at) if unplanned else state.full_until,
    )


def paused(state: State, event: Paused) -> State:
    """A person silenced the alarms for a while."""
    return state_with(state, pause=Pause(event.at, event.until))


def looked(state: State, event: Looked) -> State:
    """A person has looked: what is over goes from the board, boluses are open again.

    Unless an alarm that asks for a look still stands.
    """
    standing = (one.alarm.code for one in state.alarms if not one.over)
    return state_with(
        state,
        attention=next((code for code in standing if code in NEEDS_A_LOOK), None),
        alerts=(),
        alarms=with_looked(state.alarms),
    )


def latched(state: State, event: Latched) -> State:
    """The journal cannot be written, or cannot be trusted."""
    return state_with(
        state,
        latched=state.latched or event.reason,
        last_verified=None if event.past_lost else state.last_verified,
        epoch=state.epoch + 1,
    )
