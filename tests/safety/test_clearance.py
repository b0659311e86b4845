"""A clearance lets each judged Output pass once, in order, and then nothing more."""

import copy
from typing import Any, cast

import pytest
from clinical_examples import NIGHT, WALKING
from disk_bench import FaultyDisk, intended
from kernel_bench import instant

from safety.clearance import Clearance, ClearanceError
from safety.events import Intended
from safety.journal import GENESIS, Anchor, Head, Journal, Receipt, parse
from safety.outputs import Output

THREE = (WALKING, NIGHT, WALKING)


def cleared(*outputs: Output) -> Clearance:
    """A clearance as tests may make it: with a receipt of its own."""
    intent = Intended(instant(0), 0xABC, "program-stimulator", outputs, "BENCH-007")
    return Clearance(Receipt(Head(1, GENESIS), intent))


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F93")
def test_each_output_passes_once_and_in_order() -> None:
    clearance = cleared(*THREE)
    assert clearance.take(1) == (WALKING,)
    assert clearance.take(2) == (NIGHT, WALKING)
    for _ in range(2):
        with pytest.raises(ClearanceError, match="0xabc"):
            clearance.take(1)


@pytest.mark.requirement("SR-10")
def test_more_outputs_than_are_left_are_not_given_and_end_it() -> None:
    clearance = cleared(*THREE)
    clearance.take(2)
    with pytest.raises(ClearanceError):
        clearance.take(2)
    with pytest.raises(ClearanceError):
        clearance.take(1)


@pytest.mark.requirement("SR-10")
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_nothing_passes_once_it_is_closed(taken: int) -> None:
    clearance = cleared(*THREE)
    clearance.take(taken)
    clearance.close()
    clearance.close()
    with pytest.raises(ClearanceError):
        clearance.take(1)
    with pytest.raises(ClearanceError):
        clearance.peek(0)


def test_a_frame_that_prepares_an_output_uses_nothing_up() -> None:
    clearance = cleared(*THREE)
    assert [clearance.peek(index) for index in (0, 1, 2, 0)] == [WALKING, NIGHT, WALKING, WALKING]
    with pytest.raises(ClearanceError):
        clearance.peek(3)
    assert clearance.take(3) == THREE


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F93")
@pytest.mark.parametrize(
    "mistake",
    [
        lambda clearance: clearance.take(-1),
        lambda clearance: clearance.peek(-1),
        lambda clearance: clearance.peek(0),
    ],
    ids=["take(-1) gives an output back", "peek(-1)", "peek(0)"],
)
def test_nothing_can_be_had_of_a_clearance_that_is_used_up(mistake: Any) -> None:
    clearance = cleared(*THREE)
    clearance.take(3)
    with pytest.raises(ClearanceError):
        mistake(clearance)


def test_a_clearance_tells_what_was_recorded() -> None:
    clearance = cleared(*THREE)
    assert (clearance.intent_id, clearance.outputs) == (0xABC, THREE)
    assert clearance.intent.patient == "BENCH-007"


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F93")
@pytest.mark.parametrize("receipt", [None, 5, intended(1), (WALKING,)])
def test_there_is_no_clearance_without_a_receipt(receipt: object) -> None:
    with pytest.raises((TypeError, AttributeError)):
        Clearance(cast("Any", receipt))
    with pytest.raises(TypeError):
        Clearance()  # type: ignore[call-arg]


@pytest.mark.requirement("SR-10")
def test_only_a_commit_that_was_synced_gives_a_receipt(tmp_path: Any) -> None:
    disk = FaultyDisk()
    journal = Journal(disk, Anchor(tmp_path / "anchor"), parse(b""), None)
    receipt = journal.commit(intended(1))
    assert disk.calls == ["append", "sync"]
    assert Clearance(receipt).outputs == intended(1).outputs


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F93")
def test_a_clearance_takes_no_further_attributes_and_its_intent_no_change() -> None:
    clearance = cleared(*THREE)
    with pytest.raises(AttributeError):
        clearance.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        clearance.outputs = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        clearance.intent.outputs = ()  # type: ignore[misc]
    assert copy.copy(clearance).outputs == THREE
