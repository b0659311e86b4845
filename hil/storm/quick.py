"""The same system, quicker: what is asked the same again and again is worked out once a process.

Only pure functions remember their answers, each by the very objects or values it was handed; and
the loop, on which nothing comes from outside, does not ask the system whether anything has. Every
decision and every byte stays as it is: a test runs seeds both ways and compares digests.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any
from unittest import mock

from device_profiles.notation import write_duration, write_mass
from firmware_bridge.clock import VirtualLoop
from firmware_bridge.families.itp import driver as pump_driver
from firmware_bridge.families.scs import driver as stimulator_driver
from firmware_bridge.protocol import blob
from safety import kernel, rules_windows
from safety.limits import pump_limits
from safety.review import review_infusion, review_stimulation

KEPT = 8_192


def by_identity(pure: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its answers kept by which very objects it was handed."""
    kept: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def remembered(*arguments: Any, **named: Any) -> Any:
        key = (*map(id, arguments), *named.items())
        found = kept.get(key)
        if found is None:
            if len(kept) > KEPT:
                kept.clear()
            # The arguments are kept too, so that none of their identities is used again.
            found = kept[key] = pure(*arguments, **named), arguments
        return found[0]

    return remembered


_REMEMBERED: tuple[tuple[Any, str, Any], ...] = (
    (kernel, "review_infusion", by_identity(review_infusion)),
    (kernel, "review_stimulation", by_identity(review_stimulation)),
    (kernel, "pump_limits", by_identity(pump_limits)),
    (rules_windows, "write_mass", lru_cache(KEPT)(write_mass)),
    (rules_windows, "write_duration", lru_cache(KEPT)(write_duration)),
    (pump_driver, "blob_of", lru_cache(256)(pump_driver.blob_of)),
    (pump_driver, "decode_program", lru_cache(256)(blob.decode_program)),
    (stimulator_driver, "decode_program", lru_cache(256)(blob.decode_program)),
)


@contextmanager
def quickened() -> Iterator[None]:
    """Answers are remembered for as long as the context lasts."""
    with ExitStack() as stack:
        for target, name, quick in _REMEMBERED:
            stack.enter_context(mock.patch.object(target, name, quick))
        yield


class QuickLoop(VirtualLoop):
    """A virtual loop that has no outside: it never asks the system for events."""

    def __init__(self) -> None:
        super().__init__()
        selector: Any = vars(self)["_selector"]
        jump = self._jump

        def select(timeout: float | None = None) -> tuple[()]:
            if timeout is None or timeout > 0:
                jump(timeout)
            return ()

        selector.select = select
