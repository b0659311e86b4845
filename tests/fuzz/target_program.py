"""Programs: a blob is refused with a reason, or it is the one blob of its program."""

from firmware_bridge.families.itp.wire import WirePumpProgram
from firmware_bridge.families.scs.wire import WireProgram
from firmware_bridge.protocol.blob import ProgramRecord, decode_program, encode_program
from firmware_bridge.protocol.messages import MessageError

from .mutators import canonical_mutator
from .samples import blobs
from .target import Target, expect, mark

FORMS: tuple[type[ProgramRecord], ...] = (WireProgram, WirePumpProgram)


def check(data: bytes) -> None:
    """What is accepted encodes to the same bytes."""
    for form in FORMS:
        try:
            program = decode_program(form, data)
        except MessageError as error:
            expect(bool(str(error)), "a program was refused without a reason")
            mark(form.__name__ + str(error))
            continue
        mark(form.__name__)
        expect(
            encode_program(program) == data, "a program was accepted that does not encode to itself"
        )


TARGET = Target(
    name="program",
    check=check,
    seeds=lambda: blobs(),
    mutate=canonical_mutator,
    tokens=(b"\xf5", b"\xf6", b"\xf9\x3c\x00", b"\x1b", b"\x1a", b"\xc2\x41\x01", b"\xa0", b"\x80"),
    max_len=2_048,
    runs=2_000_000,
    short=2_000,
    rate=15_000,
)
