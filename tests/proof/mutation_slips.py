"""Slips that the tests must notice whatever else changes: one in each file that is mutated."""

from collections.abc import Iterable
from dataclasses import dataclass

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Slip:
    """A mutant in words, by its file, function and change, and where the tests are that see it."""

    bug: str
    file: str
    function: str
    change: str
    tests: str

    def among(self, keys: Iterable[Key]) -> list[Key]:
        """The keys of its mutants, of which there is one as long as the code stays alike."""
        mine = (self.file, self.function, self.change)
        return [key for key in keys if (key[0], key[1], key[3]) == mine]


SLIPS = (
    Slip(
        "a stop opens boluses",
        "safety/judgement.py",
        "_judge_bolus",
        "*judge_held(state.held) left out",
        "test_mutants_killed_state.py",
    ),
    Slip(
        "an uncertain outcome settles",
        "safety/fold.py",
        "settled",
        "event.outcome == 'UNCERTAIN' left out",
        "test_kernel.py",
    ),
    Slip(
        "the edge of a window is open",
        "safety/doubt.py",
        "Reservation.reaches_into",
        "self.latest_end >= now.slow - window -> self.latest_end > now.slow - window",
        "test_kernel.py",
    ),
    Slip(
        "a program on its way is in no window",
        "safety/state.py",
        "programs_in_window",
        "*pending left out",
        "test_mutants_killed_rules.py",
    ),
    Slip(
        "a caller that was cancelled goes on",
        "safety/gate.py",
        "Gate._commit",
        "raise failure -> pass",
        "test_gate_cancelled.py",
    ),
    Slip(
        "of two programs in one window the smaller counts",
        "safety/dose.py",
        "_envelope",
        "max((flow_at(day, start) for day in days)) -> min((flow_at(day, start) for day in days))",
        "test_mutants_killed.py",
    ),
    Slip(
        "the lockout ends by the earlier of its two ends",
        "safety/rules_windows.py",
        "judge_lockout",
        "max(one.begun + slack + profile.lockout_min, one.latest_end) -> "
        "min(one.begun + slack + profile.lockout_min, one.latest_end)",
        "test_mutants_killed.py",
    ),
    Slip(
        "one person may pass a rule three times a day",
        "safety/rules_open.py",
        "_judge_second",
        "before >= OVERRIDES_ALONE -> before > OVERRIDES_ALONE",
        "test_mutants_killed_state.py",
    ),
    Slip(
        "an intent is granted without its sync",
        "safety/journal.py",
        "Journal.commit",
        "self.sync() -> pass",
        "test_gate.py",
    ),
    Slip(
        "a header that was changed passes for a torn one",
        "safety/journal_format.py",
        "_why_not_whole",
        "header != _header(previous, length) left out",
        "test_mutants_killed_journal.py",
    ),
    Slip(
        "a torn entry stays where the next is written",
        "safety/opening.py",
        "open_journal",
        "disk.cut(chain.whole) -> pass",
        "test_disk.py",
    ),
    Slip(
        "an anchor is written over in one place",
        "safety/anchor.py",
        "Anchor._write_slot",
        "self._next = 1 - self._next -> pass",
        "test_anchor.py",
    ),
    Slip(
        "any bytes are the state of a checkpoint",
        "safety/checkpoint.py",
        "is_of",
        "checkpoint == summed_up(encoded, checkpoint.at) -> "
        "checkpoint != summed_up(encoded, checkpoint.at)",
        "test_checkpoint.py",
    ),
    Slip(
        "two processes write one journal",
        "safety/disk.py",
        "_lock",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) -> pass",
        "test_disk.py",
    ),
)
