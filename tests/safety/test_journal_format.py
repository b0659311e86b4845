"""The bytes of a journal: what is written is read again, and what was harmed shows."""

import hashlib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args

import cbor2
import pytest
from disk_bench import (
    anchored,
    chapter,
    entries_of,
    intended,
    judged,
    opened,
    settled,
)
from every_event import EVERY_EVENT
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bench import instant

from device_profiles.diagnostics import Finding
from safety.commands import Override
from safety.events import Event, Intended, Opened, Rejected, Settled
from safety.journal_format import (
    CHECK_BYTES,
    GENESIS,
    HASH_BYTES,
    LENGTH_BYTES,
    MAGIC,
    MAX_ENTRY,
    SCHEMA,
    Head,
    JournalError,
    chained,
    decode_event,
    encode_event,
    parse,
    read_chain,
    readable,
    verify,
)

# --- round trip ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: event.kind)
def test_every_event_is_read_again_as_it_was_written(event: Event) -> None:
    again = decode_event(encode_event(event))
    assert again == event
    assert type_tree(again) == type_tree(event)


def test_no_kind_of_event_is_missing_from_this_file() -> None:
    union = get_args(Event)[0]
    assert {type(event) for event in EVERY_EVENT} == set(get_args(union))


def type_tree(value: Any) -> Any:
    if is_dataclass(value):
        return [type(value), [type_tree(getattr(value, one.name)) for one in fields(value)]]
    if isinstance(value, tuple):
        return [tuple, [type_tree(one) for one in value]]
    return type(value)


@given(st.text(), st.text(max_size=300), st.integers(), st.sampled_from(["delivered", "UNCERTAIN"]))
def test_any_text_and_any_integer_survives(
    user: str, evidence: str, number: int, outcome: Any
) -> None:
    for event in (
        Settled(instant(number), number, outcome, evidence),
        Intended(
            instant(0), number, "give-bolus", (), user, override=Override((user,), user, evidence)
        ),
    ):
        try:
            body = encode_event(event)
        except UnicodeEncodeError:
            continue  # a lone surrogate never reaches the disk
        assert decode_event(body) == event


def test_a_whole_life_is_read_again_with_every_head(tmp_path: Path) -> None:
    data, head = anchored(EVERY_EVENT, tmp_path)
    contents, problem = judged(data, head)
    assert problem is None
    assert list(contents.events) == EVERY_EVENT
    assert contents.head == head
    assert [one.entries for one in contents.heads] == list(range(1, len(EVERY_EVENT) + 1))
    assert {one.journal_id for one in contents.heads} == {opened().journal_id}
    assert (contents.whole, contents.torn) == (len(data), 0)


def test_an_entry_of_a_kind_is_told_by_its_last_bytes(tmp_path: Path) -> None:
    chain = read_chain(anchored(EVERY_EVENT, tmp_path)[0])
    for number, event in enumerate(EVERY_EVENT, start=1):
        kinds = {one.kind for one in EVERY_EVENT if chain.is_kind(number, one.kind)}
        assert kinds == {event.kind}


def test_two_equal_events_in_one_journal_never_share_a_hash(tmp_path: Path) -> None:
    data, head = anchored([opened(), *[settled(1)] * 20, opened()], tmp_path)
    contents, problem = judged(data, head)
    assert problem is None
    assert len({one.hash for one in contents.heads}) == 22


def test_an_entry_is_what_the_format_says() -> None:
    body = encode_event(opened())
    length = len(body).to_bytes(4, "little")
    genesis = hashlib.sha256(MAGIC).digest()
    entry = length + hashlib.sha256(genesis + length).digest()[:4] + body
    digest = hashlib.sha256(genesis + entry).digest()
    assert chained(GENESIS, body) == (entry + digest, digest)
    assert (LENGTH_BYTES, CHECK_BYTES, HASH_BYTES) == (4, 4, 32)


@pytest.mark.fault("F3")
@pytest.mark.fault("F5")
@pytest.mark.parametrize("odd", [1.5, float("nan"), True, None, "5", 10**400, object()])
def test_a_refusal_of_what_is_no_output_is_kept_without_it(odd: Any) -> None:
    asked = Intended(instant(0), 1, "give-bolus", intended(1).outputs, "BENCH-012").outputs[0]
    findings = (Finding("SR-02", "hard", "bolus", "not a whole number"),)
    whole = Rejected(instant(0), 1, "give-bolus", findings, (asked,), "BENCH-012")
    assert readable(whole) is whole
    odd_one = replace(whole, outputs=(replace(asked, volume=odd),))
    kept = readable(odd_one)
    again = decode_event(encode_event(kept))
    assert isinstance(again, Rejected)
    assert again.findings == findings
    assert readable(intended(1)) == intended(1)


# --- what was harmed shows -----------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.fault("F96")
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_changed_byte_of_an_anchored_journal_is_found(tmp_path: Path, flip: int) -> None:
    data, head = anchored(chapter(), tmp_path)
    for place in range(len(data)):
        harmed = bytearray(data)
        harmed[place] ^= flip
        contents, problem = judged(bytes(harmed), head)
        assert problem is not None, place
        assert len(contents.events) < len(chapter())


def test_a_journal_that_does_not_begin_with_its_device_is_refused(tmp_path: Path) -> None:
    data, head = anchored([settled(1), opened()], tmp_path)
    problem = judged(data, head)[1]
    assert problem == "entry 1 does not say which device this journal belongs to"


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F77")
@pytest.mark.parametrize("schema", [0, SCHEMA - 1, SCHEMA + 1])
def test_a_journal_of_another_schema_is_named_as_such(tmp_path: Path, schema: int) -> None:
    foreign = replace(opened(), schema=schema)
    assert isinstance(foreign, Opened)
    data, head = anchored([foreign, intended(1)], tmp_path)
    problem = judged(data, head)[1]
    assert problem is not None
    assert problem.startswith(f"it is of schema {schema}, and this version knows {SCHEMA}")
    assert "--journal PATH" in problem
    strange, _ = chained(parse(data).heads[-1].hash, cbor2.dumps({"kind": "of tomorrow"}))
    assert judged(data + strange, head)[1] == problem


@pytest.mark.parametrize("length", [MAX_ENTRY + 1, 2**31, 2**32 - 1])
def test_an_impossible_length_is_a_problem_and_not_a_torn_tail(tmp_path: Path, length: int) -> None:
    data, head = anchored(chapter(), tmp_path)
    size = length.to_bytes(LENGTH_BYTES, "little")
    check = hashlib.sha256(head.hash + size).digest()[:CHECK_BYTES]
    contents, problem = judged(data + size + check + b"x" * 99, head)
    assert problem == "entry 6: its length was changed"
    assert len(contents.events) == 5


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", cbor2.dumps({"kind": "opened"}), cbor2.dumps([1]), b"\x9b" + b"\xff" * 8],
    ids=repr,
)
def test_bytes_that_are_chained_but_no_event_are_a_problem(tmp_path: Path, body: bytes) -> None:
    data, head = anchored(chapter(), tmp_path)
    contents, problem = judged(data + chained(head.hash, body)[0], head)
    assert problem is not None
    assert "entry 6: not an event" in problem
    assert (len(contents.events), contents.whole, contents.torn) == (5, len(data), 0)
    first, problem = judged(MAGIC + chained(GENESIS, body)[0], None)
    assert problem is not None
    assert "entry 1: not an event" in problem
    assert first.head == Head(0, GENESIS)


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.fault("F96")
def test_another_history_of_the_same_length_is_found(tmp_path: Path) -> None:
    _, head = anchored(chapter(), tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = anchored([*chapter()[:-1], intended(3)], tmp_path / "other")
    problem = judged(other, head)[1]
    assert problem is not None
    assert "entry 5 is not the one that was anchored: history was changed" in problem


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_a_copy_from_another_patient_or_bench_is_named_as_such(tmp_path: Path) -> None:
    _, head = anchored(chapter(), tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = anchored([opened("b" * 16), *chapter()[1:]], tmp_path / "other")
    problem = judged(other, head)[1]
    assert problem is not None
    assert f"it is the journal {'b' * 16}, and the one that was kept here is {'a' * 16}" in problem


def test_a_missing_anchor_is_a_problem_unless_nothing_was_ever_intended(tmp_path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    problem = judged(data, None)[1]
    assert problem is not None
    assert "anchor is missing" in problem
    for harmless in (b"", MAGIC, MAGIC + b"".join(entries_of(data)[:2])):
        assert judged(harmless, None)[1] is None


def test_an_anchor_that_lags_is_no_problem_and_one_that_runs_ahead_is(tmp_path: Path) -> None:
    data, head = anchored(chapter(), tmp_path)
    for lagging in (Head(0, GENESIS), *parse(data).heads):
        assert judged(data, lagging)[1] is None
        assert verify(read_chain(data), lagging) is None
    problem = judged(data, replace(head, entries=head.entries + 1))[1]
    assert problem is not None
    assert "entries 6 to 6 are missing: the file was cut" in problem
    problem = judged(b"", head)[1]
    assert problem is not None
    assert "entries 1 to 5 are missing: the file was deleted" in problem


# --- garbage -------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=300)
def test_no_bytes_crash_the_reader(data: bytes, begun: bool) -> None:
    data = MAGIC + data if begun else data
    contents = parse(data)
    assert contents.whole + contents.torn <= len(data)
    assert contents.problem is not None or contents.whole + contents.torn == len(data)


SCALARS = st.one_of(st.integers(), st.text(), st.binary(), st.none(), st.booleans(), st.floats())
NESTED = st.recursive(
    SCALARS, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=12
)


@given(
    st.one_of(
        st.binary(max_size=60),
        NESTED.map(cbor2.dumps),
        st.tuples(st.sampled_from(EVERY_EVENT), st.integers(0, 400), st.binary(max_size=3)).map(
            lambda one: spliced(*one)
        ),
    )
)
@settings(max_examples=400)
def test_what_is_taken_for_an_event_encodes_to_the_very_bytes_that_were_read(data: bytes) -> None:
    try:
        event = decode_event(data)
    except JournalError:
        return
    assert encode_event(event) == data


def spliced(event: Event, place: int, piece: bytes) -> bytes:
    body = encode_event(event)
    return body[:place] + piece + body[place + len(piece) :]
