"""The next state of a device from the one before: what an event changes, and the rest as it was."""

from typing import TYPE_CHECKING, Any

from safety.state import State

__all__ = ["state_with"]

if TYPE_CHECKING:
    from dataclasses import replace as state_with
else:

    def state_with(state: State, **changes: Any) -> State:
        """The state with other values for some fields, as `dataclasses.replace` gives it.

        Every event makes a new state of some thirty fields, most of them the old ones: they are
        taken over as a whole, which is why a state keeps them in a dict and not in slots.
        """
        if not changes.keys() <= vars(state).keys():
            raise TypeError(f"a state has no {', '.join(changes.keys() - vars(state).keys())}")
        after = object.__new__(State)
        vars(after).update(vars(state), **changes)
        return after
