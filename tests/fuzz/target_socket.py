"""The control socket: any bytes of another terminal get one answer at most, and never a word."""

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter

from firmware_bridge.families.table import AnyController
from hil import requests
from hil.requests import MAX_LINE, Answer, Door, Request

from .mutators import json_mutator
from .target import Target, expect, mark

LONGEST_ANSWER = 4_096
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)
_SERVED: list[Any] = []


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all inputs, made in the process that runs them."""
    return asyncio.new_event_loop()


class _Writer:
    """The way back to the terminal, kept."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keeps what would leave."""
        self.data += data

    async def drain(self) -> None:
        """Nothing holds it up."""

    def close(self) -> None:
        """Nothing may follow."""
        self.closed = True


async def _serve(controller: AnyController, request: Request) -> Answer:
    """In the place of the device: keeps what the owner would carry out."""
    _SERVED.append(request)
    return Answer(code=0, text="served")


async def _converse(stream: bytes, way: int) -> _Writer:
    # As `asyncio.start_unix_server` makes it, with the owner's limit.
    reader, writer = asyncio.StreamReader(limit=MAX_LINE), _Writer()
    half = len(stream) * way // 256
    reader.feed_data(stream[:half])
    reader.feed_data(stream[half:])
    reader.feed_eof()
    door = Door(cast("AnyController", None))
    await door.answer(reader, cast("asyncio.StreamWriter", writer))
    return writer


def check(data: bytes) -> None:
    """One bounded answer in one line; what is carried out is what was asked, typed and whole."""
    way, stream = (data[0], data[1:]) if data else (0, b"")
    _SERVED.clear()
    before, requests.serve = requests.serve, _serve
    try:
        writer = _loop().run_until_complete(_converse(stream, way))
    finally:
        requests.serve = before
    expect(writer.closed, "a connection is left open")
    expect(len(writer.data) <= LONGEST_ANSWER, "an answer is longer than any request deserves")
    line = stream.partition(b"\n")[0]
    if not writer.data:
        expect(len(line) > MAX_LINE, "a request got no answer")
    else:
        expect(writer.data.count(b"\n") == 1, "an answer is not one line")
        Answer.model_validate_json(writer.data)
    expect(len(_SERVED) <= 1, "one line was carried out twice")
    mark(writer.data[:80].decode())
    for request in _SERVED:
        mark(f"{type(request).__name__} {sorted(request.model_fields_set)}")
        again = _REQUESTS.validate_json(request.model_dump_json())
        expect(again == request, "a request is another one when it is written again")
        _in_range(request)


def _in_range(request: Any) -> None:
    for name in ("dose", "over", "volume", "length"):
        amount = getattr(request, name, 1)
        expect(type(amount) is int and amount > 0, f"{name} is no positive whole number")
    amplitude = getattr(request, "amplitude", 0)
    expect(type(amplitude) is int and amplitude >= 0, "an amplitude is no whole number")


_SAMPLES = (
    b'{"request":"status"}',
    b'{"request":"stop","depth":"flow"}',
    b'{"request":"bolus","dose":1000000,"over":60000,"reason":{"rules":["SR-41"],"user":"n",'
    b'"reason":"pain","second":"d","valid_for":60000}}',
    b'{"request":"prime-plan","over":60000}',
    b'{"request":"prime","volume":500000,"over":60000,"fill_at":1767225600000,"reason":null}',
    b'{"request":"amplitude","amplitude":4200,"area":1}',
    b'{"request":"switch","program":"walking"}',
    b'{"request":"impedance"}',
    b'{"request":"mri","action":"prepare","user":"nurse"}',
    b'{"request":"alarms"}',
    b'{"request":"look","user":"nurse","text":"kinked"}',
    b'{"request":"pause","user":"nurse","length":60000}',
)


def seeds() -> Iterator[bytes]:
    """Every request, some cut, one without an end."""
    for number, line in enumerate(_SAMPLES):
        yield bytes([number * 20]) + line + b"\n"
    yield b"\x80" + _SAMPLES[0]
    yield b"\x80" + b" " * (MAX_LINE + 2)


def _mutate(data: bytes, rng: Any, raw: Any) -> bytes:
    return data[:1] + json_mutator(data[1:], rng, raw)


TARGET = Target(
    name="socket",
    check=check,
    seeds=seeds,
    mutate=_mutate,
    tokens=(
        *(b'"request"', b'"reason"', b'"dose"', b'"over"', b"null", b"true", b"1e400", b"NaN"),
        *(b"-1", b"0.5", b'"\\ud800"', b"{", b"[", b"\n", b"[" * 200, b"9" * 60, b'"bolus"'),
    ),
    max_len=70_000,
    runs=1_200_000,
    short=1_500,
    rate=11_000,
)
