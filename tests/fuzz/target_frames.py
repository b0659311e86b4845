"""Frames: any bytes in any cuts. What is accepted is, byte for byte, what a sender would send."""

import zlib
from collections.abc import Iterator

from cobs import cobs

from firmware_bridge.protocol import frames

from .mutators import frame_mutator, sealed
from .samples import bodies
from .target import Target, expect

LONGEST = frames.MAX_BODY + 4 + (frames.MAX_BODY + 4) // 254 + 1


def cuts(stream: bytes, way: int) -> Iterator[bytes]:
    """The pieces in which a stream arrives: whole, or up to 16 or so of two sizes."""
    first, second = 1 + way % 16, 1 + 4 * (way // 16)
    if way == 0:
        yield stream
        return
    first, second = max(first, len(stream) // 16), max(second, len(stream) // 8)
    at, step = 0, first
    while at < len(stream):
        yield stream[at : at + step]
        at, step = at + step, second if step == first else first


def expected(stream: bytes) -> tuple[list[bytes], int, int]:
    """What a decoder has to say of a stream: its bodies, how much is damaged and oversized."""
    found: list[bytes] = []
    damaged = oversized = 0
    *pieces, rest = stream.split(b"\x00")
    for piece in pieces:
        if len(piece) > LONGEST:
            oversized += 1
        elif piece:
            body = _body(piece)
            if body is None:
                damaged += 1
            else:
                found.append(body)
    return found, damaged, oversized + (len(rest) > LONGEST)


def _body(piece: bytes) -> bytes | None:
    try:
        plain: bytes = cobs.decode(piece)
    except cobs.DecodeError:
        return None
    body, crc = plain[:-4], plain[-4:]
    right = len(crc) == 4 and zlib.crc32(body).to_bytes(4, "little") == crc
    return body if right and len(body) <= frames.MAX_BODY and cobs.encode(plain) == piece else None


def check(data: bytes) -> None:
    """The bodies and the counts are those of the stream, however it was cut."""
    way, stream = (data[0], data[1:]) if data else (0, b"")
    decoder = frames.FrameDecoder()
    got: list[bytes] = []
    for piece in cuts(stream, way):
        got += decoder.feed(piece)
        expect(len(decoder._partial) <= LONGEST, "the decoder keeps more than the longest frame")
    wanted, damaged, oversized = expected(stream)
    sent = b"\x00" + stream
    for body in got:
        expect(len(body) <= frames.MAX_BODY, "a body was accepted that is too long to be sent")
        frame = frames.encode_frame(body)
        expect(b"\x00" + frame in sent, "a frame was accepted that does not encode to itself")
    expect(got == wanted, "the bodies are not those of the stream")
    counts = decoder.counts
    seen = (counts.good, counts.damaged, counts.oversized)
    expect(seen == (len(wanted), damaged, oversized), "the counts are not those of the stream")


def seeds() -> Iterator[bytes]:
    """Whole and cut streams, and bodies at the edges of a block and of the longest frame."""
    several = [sealed(body) for body in bodies()]
    yield b"\x00" + several[0]
    yield b"\x01" + b"".join(several[:4])
    yield b"\x37" + b"".join(several[4:9]) + b"noise\x00" + several[9]
    for size in (0, 250, 251, 504, 508):
        yield b"\x00" + sealed(b"a" * size)
    for filling in (0, 1):
        yield b"\xf3" + sealed(bytes([filling]) * frames.MAX_BODY)


TARGET = Target(
    name="frames",
    check=check,
    seeds=seeds,
    mutate=frame_mutator,
    tokens=(b"\x00", b"\x01\x00", b"\xff", b"\x00\x00", b"\x01\x01", b"\x05"),
    max_len=4_600,
    runs=1_500_000,
    short=3_000,
    rate=5_000,
)
