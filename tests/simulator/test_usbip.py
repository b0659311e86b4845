"""The device's side of USB/IP, byte by byte: what a kernel asks, and what no kernel would."""

import struct
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.simulator.usb_device import MAX_OUTGOING, serial_fits
from firmware_bridge.simulator.usbip import (
    MAX_PARKED,
    MAX_TRANSFER,
    Conversation,
    Export,
)

HEADER = 48
DEVICE_ID = 0x0001_0002
IN, OUT = 1, 0
STALLED, NO_ENDPOINT, TAKEN_BACK, SHUT_DOWN = -32, -2, -104, -108

DEVLIST = bytes.fromhex("0111 8005 00000000")
IMPORT = bytes.fromhex("0111 8003 00000000") + b"1-1".ljust(32, b"\0")


def submit(
    number: int, endpoint: int, reads: int, length: int, data: bytes = b"", setup: bytes = bytes(8)
) -> bytes:
    head = struct.pack(">IIIII", 1, number, DEVICE_ID, reads, endpoint)
    return head + struct.pack(">Iiiii8s", 0, length, 0, 0, 0, setup) + data


def unlink(number: int, other: int) -> bytes:
    return struct.pack(">IIIIII", 2, number, DEVICE_ID, 0, 0, other) + bytes(24)


def asking(number: int, kind: int, request: int, value: int, index: int, length: int) -> bytes:
    setup = struct.pack("<BBHHH", kind, request, value, index, length)
    return submit(number, 0, kind >> 7, length, setup=setup)


CONFIGURE = asking(1, 0x00, 9, 1, 0, 0)
CLEAR_HALT_IN = asking(2, 0x02, 1, 0, 0x81, 0)


@dataclass
class Answers:
    """Answers as a host reads them; which requests were reads it knows itself."""

    found: list[tuple[int, int, int, bytes]] = field(default_factory=list)

    def take(self, data: bytes, reads: set[int]) -> None:
        while data:
            command, number, device, direction, endpoint, status, count = struct.unpack(
                ">IIIIIii", data[:28]
            )
            assert (device, direction, endpoint, data[28:HEADER]) == (0, 0, 0, bytes(20))
            size = count if command == 3 and number in reads else 0
            self.found.append((command, number, status, data[HEADER : HEADER + size]))
            assert len(data) >= HEADER + size
            data = data[HEADER + size :]


def answers(data: bytes, *reads: int) -> list[tuple[int, int, int, bytes]]:
    found = Answers()
    found.take(data, set(reads))
    return found.found


@pytest.fixture
def attached() -> Conversation:
    conversation = Conversation(Export("NX-1"))
    assert conversation.receive(IMPORT) == []
    conversation.receive(CONFIGURE)
    reply = conversation.replies()
    assert len(reply) == 8 + 312 + HEADER
    return conversation


def control(conversation: Conversation, *request: int) -> tuple[int, bytes]:
    conversation.receive(asking(9, *request))
    ((command, number, status, data),) = answers(conversation.replies(), 9)
    assert (command, number) == (3, 9)
    return status, data


# --- before a device is imported -----------------------------------------------------------------


def test_the_list_names_the_device_as_usbip_list_shows_it() -> None:
    conversation = Conversation(Export("NX-1"))
    conversation.receive(DEVLIST)
    reply = conversation.replies()
    assert reply[:12] == bytes.fromhex("0111 0005 00000000 00000001")
    assert reply[12:268].rstrip(b"\0").startswith(b"/sys/devices/")
    assert reply[268:300].rstrip(b"\0") == b"1-1"
    # bus, address, high speed, 1209:0001, release, class, configuration 1 of 1, 1 interface
    assert reply[300:324].hex() == "000000010000000200000003" + "120900010100" + "000000010101"
    assert reply[324:] == bytes.fromhex("ff000000")
    assert conversation.ended


def test_an_unplugged_device_is_in_no_list_and_cannot_be_imported() -> None:
    listing = Conversation(Export("NX-1", plugged=False))
    listing.receive(DEVLIST)
    assert listing.replies() == bytes.fromhex("0111 0005 00000000 00000000")
    importing = Conversation(Export("NX-1", plugged=False))
    importing.receive(IMPORT)
    assert importing.replies() == bytes.fromhex("0111 0003 00000004")
    assert importing.ended


def test_one_host_has_the_device_until_its_conversation_ends() -> None:
    export = Export("NX-1")
    first, second, third = (Conversation(export) for _ in range(3))
    first.receive(IMPORT)
    second.receive(IMPORT)
    assert second.replies() == bytes.fromhex("0111 0003 00000002")
    second.end("the host is gone")
    first.end("the host is gone")
    third.receive(IMPORT)
    assert third.replies()[:8] == bytes.fromhex("0111 0003 00000000")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes.fromhex("0106 8005 00000000"), "version 0x0106"),
        (bytes.fromhex("0111 8004 00000000"), "no operation 0x8004"),
        (b"GET / HTTP/1.1\r\n\r\n", "version 0x4745"),
        (IMPORT.replace(b"1-1", b"1-2"), "no such device"),
        (IMPORT.replace(b"1-1", b"1-1\0x"), "no such device"),
        (IMPORT + submit(1, 0, OUT, 0).replace(b"\0\1\0\2", b"\0\1\0\3"), "0x10003 was not"),
        (IMPORT + struct.pack(">I", 7) + submit(1, 0, OUT, 0)[4:], "no command 0x7"),
        (IMPORT + submit(1, 1, 2, 0), "direction 2"),
        (IMPORT + submit(1, 1, IN, -1), "-1 bytes"),
        (IMPORT + submit(1, 2, OUT, MAX_TRANSFER + 1), f"{MAX_TRANSFER + 1} bytes"),
        (IMPORT + CONFIGURE + submit(2, 1, IN, 9) * 2, "the read 2 waits already"),
    ],
)
def test_what_no_kernel_says_ends_the_conversation(data: bytes, reason: str) -> None:
    conversation = Conversation(Export("NX-1"))
    conversation.receive(data)
    assert reason in conversation.ended
    conversation.replies()
    assert conversation.receive(DEVLIST) == []
    conversation.send(b"x")
    conversation.stall()
    assert conversation.replies() == b""
    assert conversation.export.holder is None


# --- control requests ----------------------------------------------------------------------------


def test_the_descriptors_a_kernel_asks_for(attached: Conversation) -> None:
    status, device = control(attached, 0x80, 6, 0x0100, 0, 64)
    assert (status, device.hex()) == (0, "12010002000000400912010000010102" + "0301")
    _, head = control(attached, 0x80, 6, 0x0200, 0, 9)
    assert head.hex() == "09022000010100c001"
    _, whole = control(attached, 0x80, 6, 0x0200, 0, 255)
    assert whole.hex() == head.hex() + "0904000002ff000000" + "07058102000200" + "07050202000200"
    assert control(attached, 0x80, 6, 0x0300, 0, 255) == (0, bytes.fromhex("04030904"))
    _, serial = control(attached, 0x80, 6, 0x0303, 0x0409, 255)
    assert serial == b"\x0a\x03" + "NX-1".encode("utf-16-le")


@pytest.mark.parametrize(
    "request_",
    [
        (0x80, 6, 0x0304, 0, 255),  # a fourth string
        (0x80, 6, 0x0600, 0, 10),  # a qualifier: there is no other speed
        (0x80, 6, 0x0F00, 0, 5),  # a BOS
        (0x80, 6, 0x0101, 0, 18),
        (0x00, 9, 2, 0, 0),  # a second configuration
        (0x01, 11, 1, 0, 0),  # a second setting
        (0x02, 1, 0, 0x83, 0),  # a third endpoint
        (0x02, 1, 1, 0x81, 0),
        (0x82, 0, 0, 0x03, 2),
        (0xC0, 1, 0, 0, 4),  # a vendor's request
    ],
)
def test_what_the_device_cannot_do_stalls(
    attached: Conversation, request_: tuple[int, int, int, int, int]
) -> None:
    assert control(attached, *request_) == (STALLED, b"")


def test_a_control_request_and_its_transfer_point_the_same_way(attached: Conversation) -> None:
    setup = struct.pack("<BBHHH", 0x80, 6, 0x0100, 0, 18)
    attached.receive(submit(3, 0, OUT, 2, b"xx", setup))
    assert answers(attached.replies()) == [(3, 3, STALLED, b"")]


def test_the_shorter_of_both_lengths_counts(attached: Conversation) -> None:
    setup = struct.pack("<BBHHH", 0x80, 6, 0x0100, 0, 18)
    attached.receive(submit(3, 0, IN, 8, setup=setup))
    ((_, _, status, data),) = answers(attached.replies(), 3)
    assert (status, len(data)) == (0, 8)


def test_states_can_be_asked_for(attached: Conversation) -> None:
    assert control(attached, 0x80, 0, 0, 0, 2) == (0, b"\x01\x00")
    assert control(attached, 0x80, 8, 0, 0, 1) == (0, b"\x01")
    assert control(attached, 0x81, 0, 0, 0, 2) == (0, b"\x00\x00")
    assert control(attached, 0x81, 10, 0, 0, 1) == (0, b"\x00")
    assert control(attached, 0x82, 0, 0, 0x81, 2) == (0, b"\x00\x00")
    assert control(attached, 0x02, 3, 0, 0x81, 0) == (0, b"")
    assert control(attached, 0x82, 0, 0, 0x81, 2) == (0, b"\x01\x00")
    assert control(attached, 0x01, 11, 0, 0, 0) == (0, b"")
    assert control(attached, 0x82, 0, 0, 0x81, 2) == (0, b"\x00\x00")
    assert control(attached, 0x00, 5, 7, 0, 0) == (0, b"")


# --- bulk transfers ------------------------------------------------------------------------------


def test_a_read_waits_until_there_is_data(attached: Conversation) -> None:
    attached.receive(submit(5, 1, IN, 4) + submit(6, 1, IN, 4) + submit(7, 1, IN, 4))
    assert attached.replies() == b""
    attached.send(b"abcdef")
    assert answers(attached.replies(), 5, 6) == [(3, 5, 0, b"abcd"), (3, 6, 0, b"ef")]
    attached.send(b"gh")
    attached.send(b"ij")
    assert answers(attached.replies(), 7) == [(3, 7, 0, b"gh")]
    attached.receive(submit(8, 1, IN, 4))
    assert answers(attached.replies(), 8) == [(3, 8, 0, b"ij")]


def test_what_the_host_writes_arrives_in_its_order(attached: Conversation) -> None:
    written = attached.receive(
        submit(5, 2, OUT, 3, b"one") + submit(6, 2, OUT, 0) + submit(7, 2, OUT, 3, b"two")
    )
    assert written == [b"one", b"two"]
    assert answers(attached.replies()) == [(3, 5, 0, b""), (3, 6, 0, b""), (3, 7, 0, b"")]


def test_a_read_that_was_taken_back_is_never_answered(attached: Conversation) -> None:
    attached.receive(submit(5, 1, IN, 4) + submit(6, 1, IN, 4) + unlink(7, 5))
    assert answers(attached.replies()) == [(4, 7, TAKEN_BACK, b"")]
    attached.send(b"ab")
    assert answers(attached.replies(), 6) == [(3, 6, 0, b"ab")]
    attached.receive(unlink(8, 6) + unlink(9, 99))
    assert answers(attached.replies()) == [(4, 8, 0, b""), (4, 9, 0, b"")]


def test_a_stall_ends_reads_until_the_host_clears_it_and_loses_nothing(
    attached: Conversation,
) -> None:
    attached.receive(submit(5, 1, IN, 4))
    attached.stall()
    attached.send(b"ab")
    attached.receive(submit(6, 1, IN, 4))
    assert answers(attached.replies(), 5, 6) == [(3, 5, STALLED, b""), (3, 6, STALLED, b"")]
    attached.receive(CLEAR_HALT_IN + submit(7, 1, IN, 4))
    assert answers(attached.replies(), 7) == [(3, 2, 0, b""), (3, 7, 0, b"ab")]


def test_a_halted_endpoint_takes_no_write(attached: Conversation) -> None:
    control(attached, 0x02, 3, 0, 0x02, 0)
    assert attached.receive(submit(5, 2, OUT, 1, b"x")) == []
    assert answers(attached.replies()) == [(3, 5, STALLED, b"")]


def test_endpoints_that_are_not_there(attached: Conversation) -> None:
    attached.receive(submit(5, 2, IN, 4) + submit(6, 1, OUT, 1, b"x") + submit(7, 15, IN, 0))
    assert [status for _, _, status, _ in answers(attached.replies())] == [NO_ENDPOINT] * 3


def test_an_unconfigured_device_moves_nothing(attached: Conversation) -> None:
    attached.send(b"old")
    attached.receive(submit(4, 1, IN, 0))
    assert answers(attached.replies(), 4) == [(3, 4, 0, b"")]
    attached.receive(submit(5, 1, IN, 4))
    assert answers(attached.replies(), 5) == [(3, 5, 0, b"old")]
    attached.receive(submit(5, 1, IN, 4) + asking(6, 0x00, 9, 0, 0, 0))
    assert answers(attached.replies(), 5) == [(3, 6, 0, b""), (3, 5, SHUT_DOWN, b"")]
    attached.send(b"lost")
    attached.stall()
    assert attached.receive(submit(7, 2, OUT, 1, b"x")) == []
    attached.receive(CONFIGURE + submit(8, 1, IN, 4))
    found = answers(attached.replies(), 8)
    assert found == [(3, 7, NO_ENDPOINT, b""), (3, 1, 0, b"")]


def test_a_new_attachment_finds_nothing_of_the_old_one() -> None:
    export = Export("NX-1")
    first, second = Conversation(export), Conversation(export)
    first.receive(IMPORT + CONFIGURE)
    first.send(b"old")
    first.end("the host is gone")
    second.receive(IMPORT)
    second.replies()
    assert control(second, 0x80, 8, 0, 0, 1) == (0, b"\x00")
    second.receive(CONFIGURE + submit(5, 1, IN, 9))
    assert answers(second.replies()) == [(3, 1, 0, b"")]


# --- bounds --------------------------------------------------------------------------------------


def test_a_host_that_reads_nothing_loses_data_and_costs_no_memory(attached: Conversation) -> None:
    for _ in range(MAX_OUTGOING // 1_000 + 50):
        attached.send(bytes(1_000))
    attached.receive(submit(5, 1, IN, 2**31 - 1))
    ((_, _, _, data),) = answers(attached.replies(), 5)
    assert len(data) == MAX_OUTGOING // 1_000 * 1_000


def test_only_so_many_reads_may_wait(attached: Conversation) -> None:
    for number in range(MAX_PARKED):
        attached.receive(submit(100 + number, 1, IN, 4))
    assert not attached.ended
    attached.receive(submit(99, 1, IN, 4))
    assert "reads wait" in attached.ended


@pytest.mark.parametrize(("serial", "fits"), [("x" * 126, True), ("x" * 127, False)])
def test_how_long_a_serial_number_can_be(serial: str, fits: bool) -> None:
    assert serial_fits(serial) is fits
    assert not serial_fits("\U0001f600" * 64)


# --- anything at all -----------------------------------------------------------------------------

U32 = st.integers(0, 2**32 - 1)
SMALL = st.integers(0, 20)
SETUPS = st.one_of(
    st.binary(min_size=8, max_size=8),
    st.builds(
        lambda *fields: struct.pack("<BBHHH", *fields),
        st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82]),
        st.integers(0, 11),
        st.sampled_from([0, 1, 0x0100, 0x0200, 0x0300, 0x0303]),
        st.sampled_from([0, 0x02, 0x81]),
        st.sampled_from([0, 2, 18, 255]),
    ),
)


@st.composite
def likely(draw: st.DrawFn) -> bytes:
    """A request that is mostly right."""
    number = draw(st.one_of(SMALL, U32))
    if draw(st.integers(0, 4)) == 0:
        return unlink(number, draw(st.one_of(SMALL, U32)))
    data = draw(st.binary(max_size=40))
    reads = draw(st.booleans())
    length = draw(st.one_of(SMALL, st.just(2**31 - 1))) if reads else len(data)
    endpoint = draw(st.sampled_from([0, 1, 2, 2, 1, 3]))
    return submit(number, endpoint, reads, length, b"" if reads else data, draw(SETUPS))


REQUESTS = st.lists(st.one_of(likely(), st.sampled_from([CONFIGURE, CLEAR_HALT_IN])), max_size=30)


def told(chunks: list[bytes]) -> tuple[bytes, bytes, str]:
    """What the device got, what the host got, and how it ended."""
    conversation = Conversation(Export("NX-1"))
    written, replies = b"", b""
    for chunk in chunks:
        written += b"".join(conversation.receive(chunk))
        replies += conversation.replies()
    return written, replies, conversation.ended


@given(data=st.binary(max_size=400), after=st.sampled_from([b"", IMPORT, IMPORT + CONFIGURE]))
def test_any_bytes_end_the_conversation_or_wait_for_more(data: bytes, after: bytes) -> None:
    conversation = Conversation(Export("NX-1"))
    conversation.receive(after + data)
    conversation.send(b"from the device")
    conversation.stall()
    conversation.replies()
    conversation.end("the host is gone")
    assert conversation.export.holder is None


@given(requests=REQUESTS, data=st.data())
def test_how_the_bytes_are_cut_means_nothing(requests: list[bytes], data: st.DataObject) -> None:
    whole = IMPORT + CONFIGURE + b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    chunks = [whole[a:b] for a, b in pairwise(edges)]
    assert told(chunks) == told([whole])


@given(requests=REQUESTS, sends=st.lists(st.binary(max_size=30), max_size=30))
def test_every_transfer_has_one_answer_unless_it_waits_or_was_taken_back(
    requests: list[bytes], sends: list[bytes]
) -> None:
    conversation = Conversation(Export("NX-1"))
    conversation.receive(IMPORT + CONFIGURE)
    conversation.replies()
    open_reads: set[int] = set()
    found = Answers()
    for place, request in enumerate(requests):
        command, number, _, reads, _ = struct.unpack(">IIIII", request[:20])
        if command == 1 and number in open_reads:
            break  # a host that gives a number twice learns nothing from the answers
        before = len(found.found)
        conversation.receive(request)
        if place < len(sends):
            conversation.send(sends[place])
        found.take(conversation.replies(), open_reads | ({number} if reads else set()))
        new = found.found[before:]
        if command == 2:
            (other,) = struct.unpack(">I", request[20:24])
            (status,) = [status for kind, one, status, _ in new if (kind, one) == (4, number)]
            assert (status == TAKEN_BACK) == (other in open_reads)
            open_reads.discard(other)
        else:
            open_reads.add(number)
        for kind, one, _, _ in new:
            if kind == 3:
                open_reads.remove(one)
        assert not conversation.ended
