"""Frames: damage costs a frame and never the stream, and memory stays bounded."""

import itertools
import random
import zlib

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.protocol.frames import (
    CRC_BYTES,
    MAX_BODY,
    FrameDecoder,
    decode_frame,
    encode_frame,
)

BODIES = st.binary(max_size=600)
LONGEST_ENCODED = MAX_BODY + CRC_BYTES + (MAX_BODY + CRC_BYTES) // 254 + 1


@pytest.mark.requirement("SR-24")
@given(BODIES)
def test_a_body_comes_back(body: bytes) -> None:
    frame = encode_frame(body)
    assert frame.endswith(b"\x00")
    assert frame.count(0) == 1
    assert decode_frame(frame[:-1]) == body


@pytest.mark.parametrize("size", [0, 1, 249, 250, 251, 253, 254, 255, 508, MAX_BODY])
@pytest.mark.parametrize("filling", [0x00, 0x01, 0xFF])
def test_sizes_at_the_edges_of_a_block(size: int, filling: int) -> None:
    body = bytes([filling]) * size
    assert FrameDecoder().feed(encode_frame(body)) == [body]


def test_a_body_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(ValueError, match="at most 4096 bytes"):
        encode_frame(bytes(MAX_BODY + 1))


@pytest.mark.requirement("SR-24")
def test_a_frame_written_in_another_way_is_damaged() -> None:
    frame = encode_frame(b"a" * 250)[:-1]
    assert len(frame) == 255  # one full block, after which COBS may write an empty one
    assert decode_frame(frame) == b"a" * 250
    assert decode_frame(frame + b"\x01") is None


@pytest.mark.requirement("SR-24")
def test_a_body_that_would_not_be_sent_is_not_taken() -> None:
    body = bytes(MAX_BODY + 1)  # zeros: its code is no longer than that of the longest body
    sealed = cobs.encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))
    assert len(sealed) <= LONGEST_ENCODED
    assert decode_frame(sealed) is None
    decoder = FrameDecoder()
    assert decoder.feed(sealed + b"\x00") == []
    assert decoder.counts.damaged == 1


@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F42")
@given(st.lists(BODIES, max_size=5), st.data())
def test_the_stream_may_be_cut_anywhere(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, bodies))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    decoder = FrameDecoder()
    got: list[bytes] = []
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        got += decoder.feed(stream[start:end])
    assert got == bodies
    assert (decoder.counts.good, decoder.counts.damaged) == (len(bodies), 0)


@pytest.mark.fault("F40")
@given(st.lists(st.binary(max_size=3_000), max_size=12))
def test_any_bytes_are_taken_and_memory_stays_bounded(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    for piece in pieces:
        decoder.feed(piece)
        assert len(decoder._partial) <= LONGEST_ENCODED
    decoder.feed(b"\x00")
    assert decoder.feed(encode_frame(b"after")) == [b"after"]


@pytest.mark.fault("F40")
def test_an_endless_run_without_a_zero_is_dropped() -> None:
    decoder = FrameDecoder()
    for _ in range(100):
        assert decoder.feed(b"\x55" * 1_000) == []
        assert len(decoder._partial) <= LONGEST_ENCODED
    assert decoder.feed(b"\x00" + encode_frame(b"after")) == [b"after"]
    assert decoder.counts.oversized == 1


@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F42")
@given(st.lists(st.tuples(st.binary(max_size=40), BODIES), max_size=5))
def test_garbage_between_frames_costs_nothing_else(noisy: list[tuple[bytes, bytes]]) -> None:
    decoder = FrameDecoder()
    stream = b"".join(garbage + b"\x00" + encode_frame(body) for garbage, body in noisy)
    got = iter(decoder.feed(stream))
    assert all(body in got for _, body in noisy)


@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F39")
@pytest.mark.parametrize(
    "body", [b"", b"\x00", bytes.fromhex("840118ff07a0"), b"\x00\x01\x00\x00"], ids=bytes.hex
)
def test_no_flip_of_up_to_three_bits_makes_another_body(body: bytes) -> None:
    """All of them for short frames: the line shows the body, or nothing, or damage."""
    frame = encode_frame(body)
    for count in (1, 2, 3):
        for bits in itertools.combinations(range(len(frame) * 8), count):
            check_flipped(frame, body, bits)


@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F39")
@given(st.binary(min_size=1, max_size=300), st.randoms(use_true_random=False))
def test_no_flip_of_up_to_three_bits_makes_another_long_body(
    body: bytes, dice: random.Random
) -> None:
    frame = encode_frame(body)
    for count in (1, 2, 3):
        check_flipped(frame, body, dice.sample(range(len(frame) * 8), count))


def check_flipped(frame: bytes, body: bytes, bits: tuple[int, ...] | list[int]) -> None:
    """With ``bits`` flipped the frame yields the body it held or no body."""
    flipped = bytearray(frame)
    for bit in bits:
        flipped[bit // 8] ^= 1 << bit % 8
    decoder = FrameDecoder()
    assert set(decoder.feed(bytes(flipped) + b"\x00")) <= {body}
