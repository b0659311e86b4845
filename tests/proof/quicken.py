"""The same judge, quicker: pure functions of it that are asked the same again remember the answer.

A proof asks the kernel millions of times about a handful of programs. Nothing else is changed, and
only in the process of the proof.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from hil.storm.quick import by_identity
from safety import judgement, kernel, rules_windows
from safety.limits import pump_limits
from safety.review import review_infusion

SetAttr = Callable[[Any, str, Any], None]
"""``setattr``, or pytest's, which takes it back."""


def quicken(set_attribute: SetAttr = setattr) -> None:
    """Lets the review of a program and the words of a finding be worked out once each."""
    limits = by_identity(pump_limits)
    for module in (kernel, judgement):
        set_attribute(module, "pump_limits", limits)
    set_attribute(judgement, "review_infusion", by_identity(review_infusion))
    for name in ("write_mass", "write_duration"):
        set_attribute(rules_windows, name, lru_cache(4_096)(getattr(rules_windows, name)))
