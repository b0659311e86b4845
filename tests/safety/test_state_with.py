"""The next state is what `dataclasses.replace` would make of the one before."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from safety.state import State
from safety.state_with import state_with


def test_what_an_event_changes_is_changed_and_the_rest_is_as_it_was() -> None:
    before = State(epoch=3, held=True, latched="a disk")
    after = state_with(before, epoch=4, latched=None)
    assert after == replace(before, epoch=4, latched=None)
    assert type(after) is State
    assert before == State(epoch=3, held=True, latched="a disk")


def test_every_field_is_taken_over() -> None:
    marks: dict[str, Any] = {one.name: object() for one in fields(State)}
    assert vars(state_with(State(**marks))) == marks


def test_a_name_that_no_state_has_is_refused() -> None:
    changes: dict[str, Any] = {"epok": 4}
    with pytest.raises(TypeError, match="a state has no epok"):
        state_with(State(), **changes)


def test_a_state_that_was_made_so_does_not_change() -> None:
    after: Any = state_with(State(), epoch=4)
    with pytest.raises(FrozenInstanceError):
        after.epoch = 5
