"""Findings that are known and not mended yet; each is an open question, not a pardon.

A known finding does not fail a run, but its regression input must go on showing it
(`test_fuzz.py`): when the code is mended, its line here has to go.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """A finding by its target, words of its sentence, and where it is dealt with."""

    target: str
    words: str
    reported: str


KNOWN: tuple[Known, ...] = ()


def known_as(target: str, sentence: str) -> str:
    """Where a finding is dealt with; empty if it is new."""
    return next(
        (one.reported for one in KNOWN if one.target == target and one.words in sentence), ""
    )
