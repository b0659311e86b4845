"""Opening a journal: every hash is checked, and its entries are folded to what the judge knows."""

from dataclasses import dataclass

from safety.anchor import Anchor
from safety.checkpoint import StateFile, decode_state, is_of
from safety.disk import Disk
from safety.events import Checkpointed, Opened
from safety.journal import Journal
from safety.journal_format import Chain, JournalError, off_anchor, read_chain, unsound
from safety.kernel import step
from safety.state import State
from safety.timeline import EMPTY, Ending


@dataclass(frozen=True, slots=True)
class Folded:
    """What a journal's entries fold to.

    ``end`` is where they end: lockouts and windows go on from its slow time.
    ``summed_up`` counts the entries up to and with the checkpoint that the fold began from,
    ``problem`` names the entry that could not be read, which ended it.
    """

    state: State
    end: Ending
    summed_up: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class OpenedJournal:
    """A journal ready for appending, what its past amounts to, and what is wrong with it.

    ``first`` is the entry that names its device; ``None`` if there is none. ``since_checkpoint``
    counts the entries that the next start would have to fold.
    """

    journal: Journal
    state: State
    end: Ending
    first: Opened | None
    since_checkpoint: int
    problem: str | None


def open_journal(disk: Disk, anchor: Anchor, states: StateFile | None = None) -> OpenedJournal:
    """Opens a journal for its owner; a torn last entry is cut off, since it was never sent.

    A journal with a problem opens too, so that its past can be read and the device be stopped;
    the caller latches. What a problem has spared is folded as far as it goes.
    """
    chain = read_chain(b"")
    problem: str | None = None
    try:
        chain = read_chain(disk.read())
        problem = unsound(chain) or off_anchor(chain, anchor.read())
        if problem is None and chain.torn:
            disk.cut(chain.whole)
    except JournalError as error:
        problem = str(error)
    except OSError as error:
        problem = f"it cannot be read or mended: {error.strerror or error}"
    folded = fold_chain(chain, states if problem is None else None)
    problem = problem or folded.problem
    return OpenedJournal(
        Journal(disk, anchor, chain, problem, states),
        folded.state,
        folded.end,
        chain.first,
        chain.count - folded.summed_up,
        problem,
    )


def fold_chain(chain: Chain, states: StateFile | None) -> Folded:
    """What all entries fold to; what a checkpoint has summed up is not folded again."""
    begun = _at_checkpoint(chain, states) if states is not None else None
    begun = begun or Folded(State(), EMPTY)
    state, end = begun.state, begun.end
    problem: str | None = None
    for number in range(begun.summed_up + 1, chain.count + 1):
        try:
            event = chain.event(number)
        except JournalError as error:
            problem = str(error)
            break
        state, _ = step(state, event)
        end = Ending(max(end.slow, event.at.slow), event.at.wall)
    return Folded(state, end, begun.summed_up, problem)


def _at_checkpoint(chain: Chain, states: StateFile) -> Folded | None:
    """The past that the last checkpoint sums up, if its state is at hand; ``None``: fold all."""
    encoded = states.read()
    last = next(
        (number for number in range(chain.count, 0, -1) if chain.is_kind(number, "checkpointed")),
        None,
    )
    if not encoded or last is None:
        return None
    try:
        checkpoint = chain.event(last)
        if isinstance(checkpoint, Checkpointed) and is_of(checkpoint, encoded):
            end = Ending(checkpoint.at.slow, checkpoint.at.wall)
            return Folded(decode_state(encoded), end, last)
    except JournalError:
        pass  # a state of another version
    return None
