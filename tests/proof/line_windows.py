"""Windows that hold what a bridge or a prime brings, to the nanogram; each worked out by hand."""

from kernel_bench import DAY, HOUR, instant
from line_bench import command_of, therapy_of

from device_profiles.quantities import NanoLitres
from safety import kernel
from safety.commands import Command
from safety.events import Counted
from safety.state import State

from .line_search import (
    AFTER,
    BEFORE,
    BOLUS,
    LINE,
    PRIME,
    RATE,
    TWICE,
    granted,
    limited,
    prime_after,
    proved,
    settled,
)


def bridged_window(more: int) -> str | None:
    """A bolus of fentanyl beside a bridge: fits the hour's limit to the ng, and not one more.

    Over the bridge 4.8 mg of morphine a day at 2 mg/mL are 2.4 mL a day, 100,000 nL in an hour,
    each with 1 ng of fentanyl; before and after it they are half. The bolus holds 1,000 ng.
    """
    limit = 100_000 + 1_000 - more
    old = limited(therapy_of(BEFORE, RATE), "fentanyl", 1_000_000)
    new = limited(therapy_of(AFTER, TWICE, fill=2, before=BEFORE), "fentanyl", limit)
    state = _done(proved(command_of(old)), BOLUS, 0, 2)
    admitted = granted(state, command_of(new), HOUR, 3)[1] is not None
    return _parted("an hour with a bridge holds 101,000 ng of fentanyl", limit, admitted, more)


def strayed_window(more: int) -> str | None:
    """A bolus of morphine after the end of a bridge: line and bridge part by 14.5 % of the line.

    400,000 nL x 0.145 = 58,000 nL leave in the wrong mix, 2 ng off in each: 116,000 ng. An hour
    of either mix holds 2.4 mg / 24 = 100,000 ng, and the bolus 1,000 nL of 4 ng. By then the
    program before and its bridge have left the day.
    """
    limit = 100_000 + 116_000 + 4_000 - more
    new = limited(therapy_of(AFTER, RATE, fill=2, before=BEFORE), "morphine", limit)
    state = _done(proved(command_of(therapy_of(BEFORE, RATE))), command_of(new), 0, 2)
    over = Counted(instant(2 * DAY), 2, "executed", NanoLitres(LINE))
    state = kernel.step(state, over)[0]
    admitted = granted(state, BOLUS, 2 * DAY, 3)[1] is not None
    return _parted("an hour after a bridge holds 220,000 ng of morphine", limit, admitted, more)


def primed_window(more: int) -> str | None:
    """A bolus after a prime that came late: what the basal had put into the line left at once.

    10,000 nL by the pump's count are up to 11,450; with 25,000 nL of an hour's basal and 1,000 nL
    of the bolus 37,450 nL, each with 1 ng of morphine.
    """
    limit = 25_000 + 11_450 + 1_000 - more
    unprimed = therapy_of({"morphine": "1 mg/mL"}, "0.6 mg/day", primed=False)
    state = proved(command_of(limited(unprimed, "morphine", limit)))
    state = _done(state, prime_after(gone=10_000), 0, 2)
    state = kernel.step(state, Counted(instant(HOUR), 2, "executed", NanoLitres(PRIME)))[0]
    admitted = granted(state, BOLUS, HOUR, 3)[1] is not None
    return _parted("an hour with a prime holds 37,450 ng of morphine", limit, admitted, more)


def late_prime(more: int) -> str | None:
    """A prime that comes late: what it pushes out fits the hour to the ng, and not one more.

    10,000 nL by the pump's count are up to 11,450; an hour's basal is 25,000 nL, each with 1 ng.
    """
    limit = 25_000 + 11_450 - more
    unprimed = therapy_of({"morphine": "1 mg/mL"}, "0.6 mg/day", primed=False)
    state = proved(command_of(limited(unprimed, "morphine", limit)))
    admitted = granted(state, prime_after(gone=10_000), 0, 2)[1] is not None
    return _parted("an hour with a late prime holds 36,450 ng", limit, admitted, more)


WINDOWS = (bridged_window, strayed_window, primed_window, late_prime)


def _done(state: State, command: Command, now: int, own: int) -> State:
    state, intent = granted(state, command, now, own)
    assert intent is not None, f"{command.kind} was meant to be granted"
    return kernel.step(state, settled(now, own, "delivered"))[0]


def _parted(words: str, limit: int, admitted: bool, more: int) -> str | None:
    if admitted == (more <= 0):
        return None
    return f"{words}; at a limit of {limit} it is {'admitted' if admitted else 'refused'}"
