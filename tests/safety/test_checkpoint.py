"""Checkpoints: a sum is believed only if the chain says so, and a wrong one is found."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cbor2
import pytest
from disk_bench import FaultyDisk, chapter, intended, opened, settled
from every_event import EVERY_EVENT
from kernel_bench import fold, instant

from device_profiles.quantities import Milliseconds
from safety import checkpoint
from safety.audit import audit
from safety.checkpoint import FOLD, StateFile, decode_state, encode_state, summed_up
from safety.events import Checkpointed, Event
from safety.journal import Anchor, Chain, JournalError, parse, read_chain
from safety.opening import OpenedJournal, open_journal
from safety.state import State
from safety.timeline import Ending

LIFE = [event for event in EVERY_EVENT if event.kind not in ("checkpointed", "latched")]


@dataclass
class Bench:
    """A journal with checkpoints, in memory but for its anchor and its state."""

    folder: Path
    disk: FaultyDisk = field(default_factory=FaultyDisk)

    @property
    def states(self) -> StateFile:
        return StateFile(self.folder / "state")

    def open(self) -> OpenedJournal:
        return open_journal(self.disk, Anchor(self.folder / "anchor"), self.states)

    def write(self, events: Sequence[Event], summed: State | None = None) -> State:
        """Appends events, then a checkpoint of the state given: their own fold unless told."""
        journal = self.open().journal
        for event in events:
            journal.append(event)
        state = fold(self.disk.events())
        journal.checkpoint(summed or state, self.disk.events()[-1].at)
        journal.settle()
        return state

    def append(self, *events: Event) -> None:
        journal = self.open().journal
        for event in events:
            journal.append(event)
        journal.settle()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the entries that opening reads to fold them."""
    read: list[int] = []
    event = Chain.event

    def noted(chain: Chain, number: int) -> Event:
        read.append(number)
        return event(chain, number)

    monkeypatch.setattr(Chain, "event", noted)
    return read


# --- a state and its bytes -----------------------------------------------------------------------


def test_the_state_of_every_event_is_read_again_as_it_was_written() -> None:
    state = State()
    for number in range(len(LIFE) + 1):
        state = fold(LIFE[:number])
        again = decode_state(encode_state(state))
        assert again == state
        assert repr(again) == repr(state)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        cbor2.dumps([1]),
        cbor2.dumps({"epoch": "x"}),
        cbor2.dumps({}),
        encode_state(State()) + b"\0",
        cbor2.dumps({**cbor2.loads(encode_state(State())), "of_tomorrow": 1}, canonical=True),
        cbor2.dumps({**cbor2.loads(encode_state(State())), "epoch": True}, canonical=True),
    ],
)
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(JournalError, match="not a"):
        decode_state(data)


GOLDEN = (1, "85c504f032fa8236")


def test_the_fold_has_a_new_version_when_the_same_life_comes_to_another_state() -> None:
    digest = summed_up(encode_state(fold(LIFE)), instant(0)).digest.hex()[:16]
    assert (FOLD, digest) == GOLDEN, (
        "the fold, the state or the life in every_event.py has changed: raise FOLD in "
        "safety/checkpoint.py once a release has written checkpoints, and put this pair here"
    )


# --- what is believed ----------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
def test_only_what_came_after_the_checkpoint_is_folded(bench: Bench, decoded: list[int]) -> None:
    bench.write(chapter())
    bench.append(settled(2), intended(3, 20))
    decoded.clear()
    again = bench.open()
    assert decoded == [1, 6, 7, 8], "which device, the checkpoint, and what follows it"
    assert again.state == fold(bench.disk.events())
    assert (again.first, again.since_checkpoint) == (opened(), 2)
    assert again.end == Ending(instant(20).slow, instant(20).wall)


def test_the_last_checkpoint_counts(bench: Bench, decoded: list[int]) -> None:
    bench.write(chapter())
    bench.write([settled(2), intended(3, 20)])
    decoded.clear()
    again = bench.open()
    assert decoded == [1, 9]
    assert again.state == fold(bench.disk.events())
    assert (again.end, again.since_checkpoint) == (Ending(instant(20).slow, instant(20).wall), 0)


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize(
    "harm", ["gone", "empty", "one bit", "of before", "of another", "cut", "a folder"]
)
def test_a_state_that_is_not_the_last_checkpoints_makes_opening_slower_and_nothing_else(
    bench: Bench, harm: str
) -> None:
    bench.write(chapter())
    older = bench.states.read()
    bench.write([settled(2), intended(3, 20)])
    path = bench.folder / "state"
    right = path.read_bytes()
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm != "gone":
        path.write_bytes(
            {
                "empty": b"",
                "one bit": right[:9] + bytes([right[9] ^ 1]) + right[10:],
                "of before": older,
                "of another": encode_state(State(patient="BENCH-099")),
                "cut": right[:-1],
            }[harm]
        )
    again = bench.open()
    assert again.problem is None
    assert again.state == fold(bench.disk.events())
    assert (again.end.slow, again.since_checkpoint) == (20, len(bench.disk.events()))


@pytest.mark.fault("F77")
def test_a_checkpoint_of_another_version_of_the_fold_is_folded_anew_and_verified_by_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "FOLD", FOLD + 1)
    bench.write(chapter(), State(patient="of an older fold"))
    monkeypatch.setattr(checkpoint, "FOLD", FOLD)
    assert bench.open().state == fold(chapter())
    assert audit(read_chain(bench.disk.read())) is None


def test_a_digest_of_bytes_that_are_no_state_is_not_believed(bench: Bench) -> None:
    bench.append(*chapter())
    journal = bench.open().journal
    odd = b"\xa0"
    journal.append(summed_up(odd, instant(10)))
    journal.settle()
    bench.states.write(odd)
    assert bench.open().state == fold(chapter())


def test_a_journal_with_a_problem_is_folded_as_far_as_it_goes(bench: Bench) -> None:
    bench.write(chapter())
    data = bench.disk.read()
    bench.disk = FaultyDisk(data[:-1] + bytes([data[-1] ^ 1]))
    again = bench.open()
    assert again.problem is not None
    assert again.state == fold(chapter())


def test_a_state_that_cannot_be_put_beside_is_no_problem(bench: Bench) -> None:
    (bench.folder / "state").mkdir()
    bench.write(chapter())
    again = bench.open()
    assert again.problem is None
    assert again.state == fold(chapter())


# --- what is found -------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
def test_a_planted_checkpoint_that_forgets_a_dose_is_found_though_opening_believes_it(
    bench: Bench,
) -> None:
    right = fold(chapter())
    bench.write(chapter(), replace(right, reservations=right.reservations[:1]))
    bench.append(settled(2))
    assert [one.id for one in bench.open().state.reservations] == [1], "the planted bug"
    problem = audit(read_chain(bench.disk.read()))
    assert problem == "entry 6: the checkpoint is not what the entries before it fold to"


def test_a_life_with_right_checkpoints_is_sound(bench: Bench) -> None:
    bench.write(LIFE[:7])
    bench.write(LIFE[7:])
    assert audit(read_chain(bench.disk.read())) is None
    assert len(parse(bench.disk.read()).events) == len(LIFE) + 2


@pytest.mark.requirement("SR-15")
def test_slow_time_that_runs_backward_is_found(bench: Bench) -> None:
    bench.append(opened(), intended(1, 9), intended(2, 8))
    problem = audit(read_chain(bench.disk.read()))
    assert problem == "entry 3: its slow time 8 ms lies before that of the entry before, 9 ms"


@pytest.mark.requirement("SR-15")
def test_a_checkpoint_that_hides_later_slow_time_is_found(bench: Bench) -> None:
    bench.append(opened(), settled(9))
    encoded = encode_state(fold(bench.disk.events()))
    early = replace(summed_up(encoded, instant(9)), at=instant(3))
    assert isinstance(early, Checkpointed)
    bench.append(early)
    problem = audit(read_chain(bench.disk.read()))
    assert problem is not None
    assert "slow time 3 ms" in problem
    assert Milliseconds(3) == early.at.slow


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F82")
def test_an_id_that_was_intended_twice_is_found(bench: Bench) -> None:
    bench.append(opened(), intended(7, 1), settled(7), intended(7, 9))
    assert audit(read_chain(bench.disk.read())) == "entry 4: the id 0x7 was intended before"


def test_an_entry_that_cannot_be_read_is_found(bench: Bench) -> None:
    odd = settled(9)
    object.__setattr__(odd, "outcome", "perhaps")
    bench.append(opened())
    journal = bench.open().journal
    journal.append(odd)
    problem = audit(read_chain(bench.disk.read()))
    assert problem is not None
    assert problem.startswith("entry 2: not an event of this schema")
