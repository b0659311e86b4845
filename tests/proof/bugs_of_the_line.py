"""Planted bugs of what lies between reservoir and tip: primes, bridges, what they bring."""

from dataclasses import replace
from typing import Any

from device_profiles.quantities import NanoLitres
from safety import fold, judgement, kernel, rules_windows
from safety.commands import Instant
from safety.events import Connected, Settled
from safety.state import LineMove, State

from .planting import LINE, WITHOUT_DOUBT, Bug, nothing, put, together

_settled, _connected = fold.settled, fold.connected


def token_given_back(before: State, event: Settled) -> State:
    after = _settled(before, event)
    intent = next((one for one in before.unsettled if one.id == event.id), None)
    if event.outcome == "UNCERTAIN" and intent is not None and intent.command == "prime":
        return replace(after, primed_fills=after.primed_fills[:-1])
    return after


def restart_forgets_primes(before: State, event: Connected) -> State:
    return replace(_connected(before, event), primed_fills=())


def restart_forgets_moves(before: State, event: Connected) -> State:
    return replace(_connected(before, event), line_moves=())


def ends_by_time(self: LineMove, now: Instant) -> bool:
    return self.latest_end <= now.slow


def never(*_: Any) -> None:
    return None


def no_volume(*_: Any) -> NanoLitres:
    return NanoLitres(0)


LINE_BUGS = (
    Bug(
        "a prime's token is given back when it is UNCERTAIN (SR-23 taken out)",
        together(WITHOUT_DOUBT, put(fold, "settled", token_given_back)),
        LINE,
    ),
    Bug(
        "a restart forgets that a fill was primed",
        put(fold, "connected", restart_forgets_primes),
        LINE,
    ),
    Bug(
        "a restart forgets what moves in the line",
        put(fold, "connected", restart_forgets_moves),
        LINE,
    ),
    Bug(
        "a bridge is not counted in the windows",
        put(rules_windows, "phases_of", tuple),
        LINE,
    ),
    Bug(
        "a bolus goes into a line that moves", put(judgement, "judge_line_is_still", nothing), LINE
    ),
    Bug("a bridge is not seen to move", put(kernel, "bridge_end", never), LINE),
    Bug("a bridge ends by time alone", put(LineMove, "has_ended", ends_by_time), LINE),
    Bug("what strays at the end of a bridge is lost", put(kernel, "stray_volume", no_volume), LINE),
    Bug("what a prime pushes out is lost", put(kernel, "pushed_out", no_volume), LINE),
    Bug("a prime may come late", put(judgement, "judge_line_is_empty", nothing), LINE),
)
