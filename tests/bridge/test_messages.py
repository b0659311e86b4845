"""Messages and programs: what is accepted is exactly what was said."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.protocol.blob import (
    ProgramRecord,
    decode_program,
    digest_of,
    encode_program,
)
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.messages import (
    COMMON_MESSAGES,
    DIGEST_BYTES,
    REPLY,
    AskOutcome,
    Done,
    Identify,
    Message,
    MessageError,
    Reply,
)

ALL = (*COMMON_MESSAGES, *scs.MESSAGES, *itp.MESSAGES)
CATALOGUE = Catalogue((*scs.MESSAGES, *itp.MESSAGES))
U32 = st.integers(0, 0xFFFF_FFFF)
PRINTED = st.characters(exclude_categories=["Cc", "Cf", "Cn", "Cs", "Zl", "Zp"])
"""Cn too: Unicode goes on, and one reader knows more of it than another."""


def values(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a JSON schema allows, as far as the messages use it."""
    if "$ref" in schema:
        return values(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return st.one_of(*(values(choice, definitions) for choice in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    match schema["type"]:
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "array":
            items = values(schema["items"], definitions)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema["maxItems"])
        case "object":
            return st.fixed_dictionaries(
                {name: values(part, definitions) for name, part in schema["properties"].items()}
            )
        case "string" if schema.get("format") == "binary":
            return st.binary(min_size=low, max_size=high)
        case "string":
            return st.text(PRINTED, min_size=low, max_size=high)
        case "boolean":
            return st.booleans()
        case _:
            return st.none()


def fields_of(cls: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """All fields of a message or record, in range."""
    schema = TypeAdapter(cls).json_schema()
    return values({"properties": {}, **schema}, schema.get("$defs", {}))


ENVELOPES = st.builds(
    Envelope,
    U32,
    U32,
    st.sampled_from(ALL).flatmap(lambda cls: fields_of(cls).map(lambda f: cls(**f))),
)


@given(ENVELOPES)
def test_a_message_comes_back_and_its_body_is_its_own(envelope: Envelope) -> None:
    body = CATALOGUE.encode(envelope)
    assert CATALOGUE.decode(body) == envelope
    assert CATALOGUE.encode(CATALOGUE.decode(body)) == body


@pytest.mark.fault("F41")
@given(ENVELOPES, st.data())
def test_a_damaged_body_is_refused_or_says_what_it_says(
    envelope: Envelope, data: st.DataObject
) -> None:
    body = bytearray(CATALOGUE.encode(envelope))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = CATALOGUE.decode(bytes(body))
    except MessageError:
        return
    assert CATALOGUE.encode(decoded) == body


@pytest.mark.fault("F41")
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_accepted_without_another_error(body: bytes) -> None:
    try:
        CATALOGUE.decode(body)
    except MessageError:
        return


def test_a_body_that_refers_to_itself_is_refused() -> None:
    with pytest.raises(MessageError):
        CATALOGUE.decode(bytes.fromhex("d81c81d81d00"))


IDENTIFY = [1, 0, 1, {}]
OUTCOME = [6, 5, 9, {"id": 7}]


@pytest.mark.fault("F3")
@pytest.mark.fault("F4")
@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no CBOR"),
        (b"\xff", "no CBOR"),
        (cbor2.dumps(IDENTIFY) + b"\x00", "bytes left over"),
        (bytes.fromhex("84 18 01 00 01 a0"), "shortest"),
        (bytes.fromhex("9f 01 00 01 a0 ff"), "shortest"),
        (bytes.fromhex("84 06 05 09 a2 62 6964 07 62 6964 08"), "shortest"),
        (cbor2.dumps([1, 0, 1]), "array of kind"),
        (cbor2.dumps({"kind": 1}), "array of kind"),
        (cbor2.dumps([True, 0, 1, {}]), "32 bits"),
        (cbor2.dumps([1, -1, 1, {}]), "32 bits"),
        (cbor2.dumps([1, 0, 2**32, {}]), "32 bits"),
        (cbor2.dumps([0x7E, 0, 1, {}]), "no message has the kind 0x7e"),
        (cbor2.dumps([1, 0, 1, []]), "map with names"),
        (cbor2.dumps([1, 0, 1, {1: 1}]), "in this order"),
        (cbor2.dumps([1, 0, 1, {"extra": 1}]), "in this order"),
        (cbor2.dumps([6, 5, 9, {}]), "in this order, are: id"),
        (cbor2.dumps([3, 5, 9, {"slot": 0, "more": 1}]), "in this order, are: slot"),
        (cbor2.dumps([0x83, 5, 9, {"program": b"", "slot": 0}]), "in this order"),
        (cbor2.dumps([6, 5, 9, {"id": 0}]), "field id"),
        (cbor2.dumps([6, 5, 9, {"id": 2**64}]), "field id"),
        (cbor2.dumps([6, 5, 9, {"id": True}]), "field id"),
        (cbor2.dumps([6, 5, 9, {"id": 7.0}]), "field id"),
        (cbor2.dumps([6, 5, 9, {"id": "7"}]), "field id"),
        (cbor2.dumps([7, 5, 9, {"depth": "gently"}]), "field depth"),
    ],
)
def test_what_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        CATALOGUE.decode(body)


def test_what_is_accepted() -> None:
    assert CATALOGUE.decode(cbor2.dumps(IDENTIFY)) == Envelope(0, 1, Identify())
    assert CATALOGUE.decode(cbor2.dumps(OUTCOME)) == Envelope(5, 9, AskOutcome(7))


def test_a_kind_is_used_once() -> None:
    with pytest.raises(ValueError, match="used twice"):
        Catalogue((Done,))


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_replies_and_requests_differ_in_a_bit(cls: type[Message]) -> None:
    assert bool(cls.KIND & REPLY) == issubclass(cls, Reply)


# --- programs ----------------------------------------------------------------------------------

RECORDS = st.one_of(
    fields_of(scs.WireProgram).map(scs.WireProgram.model_validate),
    fields_of(itp.WirePumpProgram).map(itp.WirePumpProgram.model_validate),
)


@given(RECORDS)
def test_a_program_comes_back_and_is_its_own_bytes(record: ProgramRecord) -> None:
    blob = encode_program(record)
    assert decode_program(type(record), blob) == record
    assert encode_program(decode_program(type(record), blob)) == blob


@given(st.binary(max_size=200))
def test_any_bytes_are_no_program_or_one(blob: bytes) -> None:
    for cls in (scs.WireProgram, itp.WirePumpProgram):
        with pytest.raises(MessageError):
            decode_program(cls, blob)


@given(RECORDS)
def test_a_program_has_one_form_only(record: ProgramRecord) -> None:
    names = reversed(list(record.model_dump()))
    other = cbor2.dumps({name: record.model_dump()[name] for name in names})
    if other != encode_program(record):
        with pytest.raises(MessageError, match="canonical"):
            decode_program(type(record), other)


def test_the_digest_is_the_front_of_sha_256() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb924"
    assert digest_of().hex() == empty
    assert digest_of(b"a", b"bc") == digest_of(b"abc")
    assert digest_of(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223"
    assert len(digest_of()) == DIGEST_BYTES


@pytest.mark.requirement("SR-24")
@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b", "\x00", "\x7f", "\x9b", "\u2028", "\u202e"])
def test_no_text_of_a_device_can_steer_a_terminal_or_break_a_line(sign: str) -> None:
    for kind, field in ((0x82, "serial"), (0x87, "serial")):
        body = cbor2.dumps((kind, 1, 1, {field: f"NX{sign}1"}))
        with pytest.raises(MessageError, match="cannot be printed"):
            CATALOGUE.decode(body)
    refused = {"code": "busy", "detail": f"{sign}all is well"}
    with pytest.raises(MessageError, match="cannot be printed"):
        CATALOGUE.decode(cbor2.dumps((0xFF, 1, 1, refused)))
    with pytest.raises(MessageError, match="serial"):
        CATALOGUE.decode(cbor2.dumps((0x82, 1, 1, {"serial": ""})))
