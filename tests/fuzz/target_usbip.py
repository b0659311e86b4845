"""USB/IP, the device's side: a host may send anything; a conversation ends at worst.

The first byte says how the stream is cut. Skipped where the simulator has no USB/IP.
"""

import importlib
import importlib.util
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

from .target import Raw, Skipped, Target, expect

MODULE = "firmware_bridge.simulator.usbip"
if importlib.util.find_spec(MODULE) is None:
    raise Skipped(f"there is no {MODULE} in this tree")
_USBIP: Any = importlib.import_module(MODULE)

_HEADER = 48
_COMMAND = struct.Struct(">IIIII")
_SUBMIT, _UNLINK = 1, 2
_IMPORT_BYTES = 8 + 32


def _converse(stream: bytes, size: int) -> tuple[bytes, bytes, str]:
    talk = _USBIP.Conversation(_USBIP.Export("SCS-0001"))
    replies, written = b"", b""
    for at in range(0, len(stream), size):
        written += b"".join(talk.receive(stream[at : at + size]))
        replies += talk.replies()
        most = _USBIP.MAX_TRANSFER + _HEADER + size
        expect(len(talk._buffer) <= most, "a conversation keeps more than one transfer")
        expect(len(talk._parked) <= _USBIP.MAX_PARKED, "a conversation parks too many reads")
    talk.end("the host has gone")
    expect(talk.export.holder is None, "a device is held by a host that has gone")
    expect(not talk._buffer and not talk._parked, "a conversation that is over keeps something")
    return replies, written, talk.ended


def check(data: bytes) -> None:
    """The same conversation however it is cut; what reaches the device is what the host wrote."""
    way, stream = (data[0], data[1:]) if data else (0, b"")
    size = 1 + way if way < 128 else 1 << 20
    replies, written, ended = _converse(stream, size)
    expect(bool(ended), "a conversation is over without a reason")
    expect(len(written) <= len(stream), "the device was given more than the host wrote")
    expect(len(replies) <= 1_024 + 16 * len(stream) + 320, "a host's words are multiplied")
    if size < len(stream):
        expect(_converse(stream, 1 << 20) == (replies, written, ended), "a cut made a difference")


def _operation(code: int, rest: bytes = b"") -> bytes:
    return struct.pack(">HHI", 0x0111, code, 0) + rest


def _submit(number: int, reads: int, endpoint: int, length: int, setup: bytes, out: bytes) -> bytes:
    basic = _COMMAND.pack(_SUBMIT, number, _USBIP.DEVICE_ID, reads, endpoint)
    return basic + struct.pack(">Ii12x8s", 0, length, setup) + out


def _import() -> bytes:
    return _operation(0x8003, _USBIP.BUS_ID.encode().ljust(32, b"\0"))


def seeds() -> Iterator[bytes]:
    """A list, an import, descriptors, a configuration, transfers and an unlink."""
    yield b"\xff" + _operation(0x8005)
    ask = _submit(1, 1, 0, 18, bytes((0x80, 6, 0, 1, 0, 0, 18, 0)), b"")
    configure = _submit(2, 0, 0, 0, bytes((0, 9, 1, 0, 0, 0, 0, 0)), b"")
    write = _submit(3, 0, 2, 5, bytes(8), b"hello")
    read = _submit(4, 1, 1, 512, bytes(8), b"")
    basic = _COMMAND.pack(_UNLINK, 5, _USBIP.DEVICE_ID, 0, 0)
    unlink = basic + struct.pack(">I24x", 4)
    clear = _submit(6, 0, 0, 0, bytes((1, 11, 0, 0, 0, 0, 0, 0)), b"")
    yield b"\xff" + _import() + ask
    yield b"\x30" + _import() + configure + write + read + unlink + clear
    yield b"\x00" + _import() + configure + read * 2


def _mutate(data: bytes, rng: Random, raw: Raw) -> bytes:
    """Changes a request in its place, or the order of the requests."""
    begin = 1 + _IMPORT_BYTES
    if rng.randrange(4) == 0 or len(data) < begin + _HEADER:
        return raw(data)
    rest = data[begin:]
    commands = [rest[at : at + _HEADER] for at in range(0, len(rest), _HEADER)]
    at = rng.randrange(len(commands))
    match rng.randrange(5):
        case 0:
            commands.insert(rng.randrange(len(commands) + 1), commands[at])
        case 1:
            del commands[at]
        case 2:
            commands[at] = raw(commands[at])
        case 3:
            length = rng.choice((0, 1, 512, 65_536, 1 << 20, (1 << 20) + 1, 1 << 31, 0xFFFFFFFF))
            commands[at] = commands[at][:24] + struct.pack(">I", length) + commands[at][28:]
        case _:
            place = 4 * rng.randrange(5)
            word = struct.pack(">I", rng.choice((0, 1, 2, 3, 4, 0x10002, 0xFFFFFFFF)))
            commands[at] = commands[at][:place] + word + commands[at][place + 4 :]
    return data[:begin] + b"".join(commands)


TARGET = Target(
    name="usbip",
    check=check,
    seeds=seeds,
    mutate=_mutate,
    tokens=(b"\x01\x11\x80\x03", b"\x01\x11\x80\x05", b"\x00\x00\x00\x01", b"\x80\x06\x00\x01"),
    max_len=2_048,
    runs=300_000,
    short=600,
    rate=2_300,
)
