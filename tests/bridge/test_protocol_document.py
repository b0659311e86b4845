"""`docs/protocol.md` is true: its tables are the code's, its vectors run, its session replays."""

import dataclasses
import hmac
import re
import zlib
from itertools import pairwise
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from protocol_document import (
    PATH,
    Block,
    Section,
    blocks,
    described_fields,
    from_diagnostic,
    sections,
)
from renew_protocol_vectors import (
    NEVER_SEALED,
    handshake_bytes,
    renewed,
    sealed_session,
    vector_bytes,
)

from firmware_bridge.families.itp import factory as itp_factory
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.scs import factory as scs_factory
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.protocol.blob import ProgramRecord, decode_program, digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, decode_frame, encode_frame
from firmware_bridge.protocol.messages import (
    COMMON_MESSAGES,
    PROTOCOL_VERSION,
    DeEscalation,
    ErrorCode,
    Handshake,
    Message,
    Query,
    Reply,
    TherapyRequest,
)
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES

FAMILY_MESSAGES = {"common": (), "scs": scs.MESSAGES, "itp": itp.MESSAGES}
CATALOGUES = {family: Catalogue(messages) for family, messages in FAMILY_MESSAGES.items()}
ALL_MESSAGES = (*COMMON_MESSAGES, *scs.MESSAGES, *itp.MESSAGES)
PROGRAMS: dict[str, type[ProgramRecord]] = {
    "scs": scs.WireProgram,
    "itp": itp.WirePumpProgram,
}
RECORDS = (
    *(scs.WireProgram, scs.WireArea, scs.WireElectrode),
    *(itp.WirePumpProgram, itp.WireDrug, itp.WireStep, itp.WirePatientBolus, itp.WireBridge),
)
GROUPS = {
    Query: "query",
    Handshake: "handshake",
    DeEscalation: "de-escalation",
    TherapyRequest: "therapy",
    Reply: "reply",
}

SECTIONS = {section.title: section for section in sections()}
VECTORS = blocks("vector")


def heading_of(cls: type[Message]) -> str:
    """The heading that a message must have in the document."""
    group = next(name for base, name in GROUPS.items() if issubclass(cls, base))
    direction = "device → host" if group == "reply" else "host → device"
    return f"0x{cls.KIND:02X} {cls.__name__} · {direction} · {group}"


def check_fields(section: Section, cls: type[Any]) -> None:
    """The section has the class's fields, in order, with their types; numbers have a meaning."""
    assert {name: kind for name, (kind, _) in section.fields.items()} == described_fields(cls)
    assert list(section.fields) == list(described_fields(cls))


@pytest.mark.parametrize("cls", ALL_MESSAGES, ids=lambda cls: cls.__name__)
def test_every_message_is_described_with_all_its_fields(cls: type[Message]) -> None:
    assert heading_of(cls) in SECTIONS
    check_fields(SECTIONS[heading_of(cls)], cls)
    assert list(described_fields(cls)) == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_record_of_a_program_is_described(cls: type[ProgramRecord]) -> None:
    check_fields(SECTIONS[f"record {cls.__name__}"], cls)


def test_the_document_describes_nothing_else() -> None:
    known = {heading_of(cls) for cls in ALL_MESSAGES}
    assert set(SECTIONS) == known | {f"record {cls.__name__}" for cls in RECORDS}


def test_every_message_has_a_vector() -> None:
    shown = {block.values()["message"] for block in VECTORS}
    assert shown == {cls.__name__ for cls in ALL_MESSAGES}


@pytest.mark.fault("F119")
@pytest.mark.parametrize("block", VECTORS, ids=lambda block: f"line-{block.line}")
def test_vectors_decode_to_their_fields_and_encode_to_their_bytes(block: Block) -> None:
    values = block.values()
    catalogue = CATALOGUES[values["family"]]
    cls = next(cls for cls in ALL_MESSAGES if cls.__name__ == values["message"])
    expected = Envelope(
        int(values["session"]), int(values["sequence"]), cls(**from_diagnostic(values["fields"]))
    )
    frame = bytes.fromhex(values["frame"])
    body = decode_frame(frame[:-1])
    assert frame.count(0) == 1
    assert body is not None
    assert body.hex() == values["body"]
    assert catalogue.decode(body) == expected
    assert encode_frame(catalogue.encode(expected)) == frame


@pytest.mark.parametrize("block", blocks("program"), ids=lambda block: f"line-{block.line}")
def test_programs_decode_to_their_records_and_encode_to_their_bytes(block: Block) -> None:
    values = block.values()
    cls = PROGRAMS[values["family"]]
    record = cls.model_validate(from_diagnostic(values["record"]))
    program = bytes.fromhex(values["program"])
    assert decode_program(cls, program) == record
    assert encode_program(record) == program
    assert digest_of(program).hex() == values["digest"]


def test_both_families_show_programs() -> None:
    assert {block.values()["family"] for block in blocks("program")} == set(PROGRAMS)


@pytest.mark.requirement("SR-24")
@pytest.mark.vector("V8.9")
@pytest.mark.fault("F119")
@pytest.mark.parametrize("block", blocks("frame"), ids=lambda block: f"line-{block.line}")
def test_frames_have_their_checksum(block: Block) -> None:
    values = block.values()
    body = bytes.fromhex(values["body"])
    assert zlib.crc32(body) == int(values["crc"], 16)
    assert encode_frame(body).hex() == values["frame"]


def test_the_worked_session_replays_on_the_simulator() -> None:
    (block,) = blocks("session")
    catalogue = CATALOGUES["scs"]
    device = SimulatedDevice(
        MACHINES["stimulator"], wall_ms=1_767_225_600_000, serial="NX-0001", seed=0
    )
    names: list[str] = []
    answer, asked = b"", Envelope(0, 0, Message())
    for line in block.lines:
        if line.startswith("#"):
            names = re.findall(r"[A-Z]\w+", line.split(":")[0])
            continue
        time, speaker, frame = re.fullmatch(r"(\d+) ms (host|device): ([0-9a-f]+)", line).groups()  # type: ignore[union-attr]
        (body,) = FrameDecoder().feed(bytes.fromhex(frame))
        envelope = catalogue.decode(body)
        assert type(envelope.message).__name__ in names
        if speaker == "host":
            assert answer == b"", "the device has said more than the document shows"
            answer = device.receive(bytes.fromhex(frame), int(time))
            asked = envelope
        else:
            assert answer.hex() == frame
            assert envelope[:2] == asked[:2]
            answer = b""
    assert answer == b""


# --- sealing -----------------------------------------------------------------------------------


def test_the_handshake_of_the_document_is_that_of_the_code() -> None:
    (block,) = blocks("handshake")
    values = block.values()
    assert {name: values[name] for name in handshake_bytes()} == handshake_bytes()


def test_the_handshake_of_the_document_is_computed_here_from_the_standards_alone() -> None:
    """HMAC and HKDF (RFC 5869) by hand: a stranger needs nothing of ours to come to this."""
    (block,) = blocks("handshake")
    values = block.values()

    def raw(name: str) -> bytes:
        return bytes.fromhex(values[name])

    key, salt = raw("key"), raw("host nonce") + raw("device nonce")
    for end in ("host", "device"):
        assert hmac.digest(key, raw(f"{end} transcript"), "sha256") == raw(f"{end} proof")
        label, about, session, ours, theirs = cbor2.loads(raw(f"{end} transcript"))
        assert label == f"neuraxis 4 proof of the {end}"
        identity = from_diagnostic(values["identity"])
        assert about == [value for name, value in identity.items() if name != "boot"]
        assert (session, ours + theirs) == (int(values["session"]), salt)
    secret = hmac.digest(salt, key, "sha256")
    info, block_one = raw("keys transcript"), b""
    block_one = hmac.digest(secret, info + b"\x01", "sha256")
    block_two = hmac.digest(secret, block_one + info + b"\x02", "sha256")
    assert (block_one, block_two) == (raw("host key"), raw("device key"))


@pytest.mark.fault("F119")
@pytest.mark.parametrize("block", VECTORS, ids=lambda block: f"line-{block.line}")
def test_sealed_vectors_hold_their_message_and_are_sealed_to_their_bytes(block: Block) -> None:
    values = block.values()
    cls = next(cls for cls in ALL_MESSAGES if cls.__name__ == values["message"])
    if issubclass(cls, NEVER_SEALED):
        assert "sealed" not in values
        return
    assert vector_bytes(block)["sealed"] == values["sealed"]
    frame = bytes.fromhex(values["sealed"])
    body = decode_frame(frame[:-1])
    assert body is not None
    session, counter, ciphertext = cbor2.loads(body)
    (handshake,) = blocks("handshake")
    end, direction = ("device", 2) if issubclass(cls, Reply) else ("host", 1)
    key = bytes.fromhex(handshake.values()[f"{end} key"])
    nonce = direction.to_bytes(4, "big") + counter.to_bytes(8, "big")
    head = body[: len(body) - len(ciphertext)]
    plain = ChaCha20Poly1305(key).decrypt(nonce, ciphertext, head)
    envelope = CATALOGUES[values["family"]].decode(plain)
    assert envelope.session == session == int(handshake.values()["session"])
    assert envelope.sequence == counter == int(values["sequence"])
    assert envelope.message == cls(**from_diagnostic(values["fields"]))


def test_the_worked_sealed_session_replays_on_the_simulator() -> None:
    (block,) = blocks("sealed-session")
    assert sealed_session(block) == block.lines
    answers = {
        line.partition(": ")[2][:2] for line in block.lines if line.split(" ms ")[-1][:4] == "devi"
    }
    assert len(answers) > 1, "some are sealed, some are not"
    silent = [
        line
        for line, after in pairwise([*block.lines, "#"])
        if " ms host: " in line and after.startswith("#")
    ]
    assert len(silent) == 1, "the replayed frame, and no other, is met with silence"


def test_the_document_would_not_be_written_otherwise() -> None:
    assert renewed(PATH.read_text("utf-8")) == PATH.read_text("utf-8")


def test_error_codes_and_version_are_those_of_the_code() -> None:
    page = PATH.read_text("utf-8")
    table = page[page.index("## 10. Error codes") : page.index("## 11.")]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.M) == list(ErrorCode.__args__)  # type: ignore[attr-defined]
    assert f"# The device protocol, number {PROTOCOL_VERSION}\n" in page
    assert f"`Identity.protocol` is {PROTOCOL_VERSION}." in page
    assert f"Number {PROTOCOL_VERSION} " in page, "what it changed"


def between(begin: str, end: str) -> str:
    """The page from one heading to the next that is given."""
    page = PATH.read_text("utf-8")
    start = page.index(begin)
    return page[start : page.index(end, start)]


@pytest.mark.parametrize(
    ("factory", "begin", "end"),
    [
        (scs_factory.FACTORY, "The limits of an `scs-16`", "The limits of an `itp-20`"),
        (itp_factory.FACTORY, "The limits of an `itp-20`", "## 16."),
    ],
    ids=["scs-16", "itp-20"],
)
def test_limits_of_the_models_are_those_of_the_factories(
    factory: object, begin: str, end: str
) -> None:
    told = re.findall(r"\d+(?:,\d{3})*", between(begin, end))
    elsewhere = {"tubing", "accuracy", "areas"}
    for limit in dataclasses.fields(factory):  # type: ignore[arg-type]
        if limit.name not in elsewhere:
            assert f"{getattr(factory, limit.name):,}" in told, limit.name


@pytest.mark.parametrize(
    ("status", "begin", "end"),
    [
        (scs.StimulatorStatus, "### Alarms of the stimulator", "## 14."),
        (itp.PumpStatus, "### Alarms of the pump", "### Fill"),
    ],
    ids=["scs", "itp"],
)
def test_every_alarm_is_explained(status: type[Message], begin: str, end: str) -> None:
    (kind_row,) = re.findall(
        r"^\| `alarms` \| .+$", between(f" {status.__name__} ·", "```vector"), re.M
    )
    explained = re.findall(r"^\| `([a-z-]+)` \|", between(begin, end), re.M)
    assert explained == re.findall(r"`([a-z-]+)`", kind_row)[1:]
