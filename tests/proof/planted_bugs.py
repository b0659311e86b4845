"""Bugs to plant in the real judge while it runs: what a method does not find, it does not rule out.

Each is one change of a function of `safety`, told in words. ``seen_by`` are the methods that are
meant to find it; where redundant guards would hide it, the plant takes them out first and says so.
"""

from collections.abc import Mapping

from safety.dose import worst_case_over

from .bugs_of_counting import COUNTING_BUGS
from .bugs_of_guards import GUARD_BUGS
from .bugs_of_mishaps import MISHAP_BUGS
from .bugs_of_the_line import LINE_BUGS
from .bugs_of_windows import WINDOW_BUGS
from .planting import Bug

LEFT_TO_CRASH = (
    "sent before it is recorded",
    "recorded, but not durably, before it is sent",
    "a retry with a new id",
    "a retry with the same id",
    "an intent that was cut off by a kill is forgotten",
)
"""Bugs of the shell around the kernel: the methods that crash it plant them."""

BUGS: Mapping[str, Bug] = {
    one.name: one for one in (*WINDOW_BUGS, *COUNTING_BUGS, *GUARD_BUGS, *MISHAP_BUGS, *LINE_BUGS)
}


def planted_for(method: str) -> tuple[Bug, ...]:
    """The bugs that a method is meant to find."""
    return tuple(bug for bug in BUGS.values() if method in bug.seen_by)


def plant(bug: Bug) -> None:
    """Plants a bug for good: only in a child process, which it ends with."""
    bug.plant(setattr)
    worst_case_over.cache_clear()
