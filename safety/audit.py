"""What only reading every entry shows: sums that are wrong, and what no writer of ours does."""

from device_profiles.quantities import Milliseconds
from safety.checkpoint import FOLD, encode_state, is_of
from safety.events import Checkpointed, Event, Intended
from safety.journal_format import Chain, JournalError
from safety.kernel import step
from safety.state import State


def audit(chain: Chain) -> str | None:
    """What is wrong with the entries of a sound chain, in one sentence; ``None`` if nothing is.

    Folds every entry and holds each checkpoint against it: a state that was summed up wrongly
    would be believed at every later start. Two entries with one id, or slow time that runs
    backward, would let a dose leave its windows too early.
    """
    state, slow = State(), Milliseconds(0)
    intended: set[int] = set()
    for number in range(1, chain.count + 1):
        try:
            event = chain.event(number)
        except JournalError as error:
            return str(error)
        problem = _contradiction(event, state, slow, intended)
        if problem is not None:
            return f"entry {number}: {problem}"
        state, _ = step(state, event)
        slow = event.at.slow
        if isinstance(event, Intended):
            intended.add(event.id)
    return None


def _contradiction(
    event: Event, state: State, slow: Milliseconds, intended: set[int]
) -> str | None:
    if event.at.slow < slow:
        return f"its slow time {event.at.slow} ms lies before that of the entry before, {slow} ms"
    if isinstance(event, Intended) and event.id in intended:
        return f"the id {event.id:#x} was intended before"
    if isinstance(event, Checkpointed):
        return _wrong_sum(event, state)
    return None


def _wrong_sum(checkpoint: Checkpointed, state: State) -> str | None:
    if checkpoint.fold != FOLD or is_of(checkpoint, encode_state(state)):
        return None
    return "the checkpoint is not what the entries before it fold to"
