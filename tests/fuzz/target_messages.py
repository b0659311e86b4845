"""Messages: a body is refused with a reason, or it is the one body of its message."""

from firmware_bridge.protocol.messages import MessageError

from .mutators import cbor_mutator
from .samples import CATALOGUES, bodies, names
from .target import Target, expect, mark


def check(data: bytes) -> None:
    """What any family accepts encodes to the same bytes, and is decoded to the same again."""
    for catalogue in CATALOGUES.values():
        try:
            envelope = catalogue.decode(data)
        except MessageError as error:
            expect(bool(str(error)), "a body was refused without a reason")
            mark(str(error))
            continue
        mark(type(envelope.message).__name__)
        expect(
            catalogue.encode(envelope) == data, "a body was accepted that does not encode to itself"
        )
        expect(catalogue.decode(data) == envelope, "a body was decoded to two messages")


TARGET = Target(
    name="messages",
    check=check,
    seeds=lambda: bodies(),
    mutate=cbor_mutator,
    tokens=(
        *(b"\x84", b"\xa0", b"\xf5", b"\xf6", b"\xf7", b"\x18\x20", b"\x1b" + bytes(7) + b"\x01"),
        *(b"\xc2\x41\x01", b"\xd8\x1c", b"\xd8\x1d\x00", b"\xc4\x82", b"\xfb", b"\x5f", b"\xff"),
        *(bytes([0x60 + len(name)]) + name.encode() for name in names()),
    ),
    max_len=4_096,
    runs=3_000_000,
    short=3_000,
    rate=18_000,
)
