"""(c) What our frames cost beside bare CBOR, for the largest reply that is asked for often."""

import cbor2

from benchmarks.harness import Row, interleave, mean, percentile
from firmware_bridge.families.scs.wire import MESSAGES, StimulatorStatus
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import Catalogue, Envelope

ROUNDS = 200
CALLS = 200
TARGET = 3.0

STATUS = StimulatorStatus(
    clock=1_767_225_600_000,
    boot=3,
    state="on",
    slot=1,
    amplitudes=[4_200, 600],
    programs=bytes(range(16)),
    lease=1_500,
    battery=812,
    pulses=1_234_567,
    alarms=[],
)


async def measure() -> list[Row]:
    """The frame alone against CBOR alone; and the whole way of a message, with its checks."""
    catalogue = Catalogue(MESSAGES)
    decoder = FrameDecoder()
    envelope = Envelope(session=7, sequence=42, message=STATUS)
    body = catalogue.encode(envelope)
    value = cbor2.loads(body)

    def frame() -> object:
        return cbor2.loads(decoder.feed(encode_frame(cbor2.dumps(value)))[0])

    def message() -> object:
        return catalogue.decode(decoder.feed(encode_frame(catalogue.encode(envelope)))[0])

    def bare() -> object:
        return cbor2.loads(cbor2.dumps(value))

    if frame() != value or message() != envelope:
        raise AssertionError("the codec does not give back what it was given")
    framed, whole, cbor = (
        percentile(samples, 0.5)
        for samples in await interleave(
            [mean(frame, CALLS), mean(message, CALLS), mean(bare, CALLS)], ROUNDS
        )
    )
    basis = f"{len(body)} bytes; cbor2 {cbor / 1000:.2f} us"
    return [
        Row("c", "frame encode + decode / cbor2", framed / cbor, "x", TARGET, basis),
        Row("c", "message encode + decode, validated / cbor2", whole / cbor, "x", TARGET, basis),
    ]
