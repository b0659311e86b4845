"""(c) What our frames cost beside bare CBOR, for the largest reply that is asked for often."""

import asyncio
from collections.abc import Callable

import cbor2

from benchmarks.harness import Row, interleave, mean, percentile
from firmware_bridge.families.scs.wire import MESSAGES, StimulatorStatus
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    Identity,
)
from firmware_bridge.protocol.seal import DeviceKey, Handshake

ROUNDS = 200
CALLS = 200
TARGET = 3.0

CATALOGUE = Catalogue(MESSAGES)
STATUS = StimulatorStatus(
    serial="SCS-0001",
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
KEY = DeviceKey(bytes(range(32)))
IDENTITY = Identity(
    protocol=PROTOCOL_VERSION,
    family="scs",
    model="scs-16",
    serial="SCS-0001",
    firmware="1.0.0",
    calibration="factory",
    simulated=True,
    speed=1,
    boot=1,
)
ENVELOPE = Envelope(session=7, sequence=42, message=STATUS)
BODY = CATALOGUE.encode(ENVELOPE)
VALUE = cbor2.loads(BODY)


def measure(rounds: int = ROUNDS, calls: int = CALLS) -> list[Row]:
    """The whole way of a message against CBOR alone; for information the frame alone."""
    return asyncio.run(_measure(rounds, calls))


async def _measure(rounds: int, calls: int) -> list[Row]:
    whole_way, sealed_way, frame = message_way(), _sealed_way(), _frame_way()
    if whole_way() != ENVELOPE or sealed_way() != ENVELOPE or frame() != VALUE:
        raise AssertionError("the codec does not give back what it was given")
    sides = [mean(side, calls) for side in (whole_way, sealed_way, frame, _bare_way)]
    whole, sealed, framed, bare = (
        percentile(samples, 0.5) / 1000 for samples in await interleave(sides, rounds)
    )
    basis = f"{whole:.2f} us; cbor2 {bare:.2f} us for {len(BODY)} bytes"
    with_seal = f"{sealed:.2f} us: the same, sealed and opened"
    alone = f"{framed:.2f} us: COBS, CRC and CBOR of plain values, nothing checked"
    return [
        Row("c", "frame encode + decode / cbor2", whole / bare, "x", TARGET, basis),
        Row("c", "the same sealed / cbor2", sealed / bare, "x", None, with_seal),
        Row("c", "without envelope and messages", framed / bare, "x", None, alone),
    ]


def message_way() -> Callable[[], Envelope]:
    """A message into a frame and back into a message, with every check: a call of (c)."""
    decoder = FrameDecoder()
    return lambda: CATALOGUE.decode(decoder.feed(encode_frame(CATALOGUE.encode(ENVELOPE)))[0])


def _sealed_way() -> Callable[[], Envelope]:
    """The same way through a sealed frame."""
    decoder = FrameDecoder()
    said = Handshake(IDENTITY, 7, bytes(16), bytes(16))
    device, host = said.line(KEY, "device"), said.line(KEY, "host")
    return lambda: CATALOGUE.decode(
        host.open(decoder.feed(encode_frame(device.seal(CATALOGUE.encode(ENVELOPE))))[0])
    )


def _frame_way() -> Callable[[], object]:
    decoder = FrameDecoder()
    return lambda: cbor2.loads(decoder.feed(encode_frame(cbor2.dumps(VALUE)))[0])


def _bare_way() -> object:
    return cbor2.loads(cbor2.dumps(VALUE))
