"""What was said, out of the bytes of a capture: frames with what they say, and what became of
the line."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import cbor2

from device_profiles.rendering import printable
from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.protocol.catalogue import Envelope
from firmware_bridge.protocol.frames import decode_frame
from firmware_bridge.protocol.messages import MessageError
from firmware_bridge.protocol.seal import is_sealed
from hil.capture.lines import Interrupted, LinkEvent, Passed, Way
from hil.capture.reading import Capture

LONG_BYTES = 16
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``wire`` holds its bytes as they went, its closing zero included.

    ``body`` is what it says, unsealed: ``None`` of a damaged one, and of one that the host could
    not open. ``envelope``: the message in it, if it is one; else ``problem`` says what is wrong.
    """

    number: int
    ns: int
    link: int
    way: Way
    wire: bytes
    body: bytes | None
    is_sealed: bool
    envelope: Envelope | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Happening:
    """What became of a link, or of the whole command; ``ns`` as in `Frame`."""

    ns: int
    link: int
    event: str
    text: str
    baud: int | None = None


Entry = Frame | Happening
"""``ns`` of both counts from the capture's begin."""


def conversation_of(capture: Capture) -> tuple[Entry, ...]:
    """Everything that was said, in its order; frames are numbered from 1."""
    return tuple(_Listening(capture).entries())


class _Listening:
    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._open: dict[tuple[int, Way], bytes] = {}
        """The begin of a frame whose end has not come."""
        self._count = 0

    def entries(self) -> Iterator[Entry]:
        begin = self._capture.began.ns
        for line in self._capture.lines:
            ns = max(0, line.ns - begin)
            match line:
                case Passed():
                    yield from self._frames(line, ns)
                case LinkEvent():
                    yield Happening(ns, line.link, line.event, line.text, line.baud)
                case Interrupted():
                    yield Happening(ns, 0, "signal", f"a signal, exit code {line.code}")
        for (link, way), rest in self._open.items():
            if rest:
                ns = max(0, self._capture.lines[-1].ns - begin)
                yield self._frame(ns, link, way, rest, None, "its end never came")

    def _frames(self, line: Passed, ns: int) -> Iterator[Frame]:
        place = line.link, line.way
        said = iter(line.said)
        *whole, rest = (self._open.get(place, b"") + bytes.fromhex(line.hex)).split(b"\x00")
        self._open[place] = rest
        for piece in whole:
            if not piece:
                continue
            body = decode_frame(piece)
            wire = piece + b"\x00"
            if body is None:
                yield self._frame(ns, *place, wire, None, "damaged")
            elif is_sealed(body):
                opened = next(said, None)
                plain = None if opened is None else bytes.fromhex(opened)
                problem = "sealed, and not opened by this host" if plain is None else ""
                yield self._frame(ns, *place, wire, plain, problem, sealed=True)
            else:
                yield self._frame(ns, *place, wire, body)

    def _frame(
        self,
        ns: int,
        link: int,
        way: Way,
        wire: bytes,
        body: bytes | None,
        problem: str = "",
        *,
        sealed: bool = False,
    ) -> Frame:
        self._count += 1
        envelope = None
        if body is not None:
            try:
                envelope = CATALOGUE.decode(body)
            except MessageError as error:
                problem = f"no message of this protocol: {error}"
        return Frame(self._count, ns, link, way, wire, body, sealed, envelope, problem)


def fields_of(message: object) -> dict[str, Any]:
    """The fields of a message by name."""
    return {one.name: getattr(message, one.name) for one in fields(message)}  # type: ignore[arg-type]


def written(value: object) -> str:
    """A value as people read it: bytes in hex, long ones cut."""
    if not isinstance(value, bytes):
        return repr(value)
    if len(value) <= LONG_BYTES:
        return value.hex() or "none"
    return f"{value[:LONG_BYTES].hex()}… ({len(value)} bytes)"


def first_unequal(name: str, one: object, other: object) -> tuple[str, object, object] | None:
    """Where two values first differ, as deep as they can be read; programs are read too."""
    if one == other:
        return None
    one, other = _read(name, one), _read(name, other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{name}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{name}[{i}]", *both) for i, both in enumerate(zip(one, other, strict=True))]
    else:
        return name, one, other
    return next((found for pair in pairs if (found := first_unequal(*pair)) is not None), None)


def _read(name: str, value: object) -> object:
    if name != "program" or not isinstance(value, bytes):
        return value
    try:
        return cbor2.loads(value)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError):
        return value


def said(envelope: Envelope, seal: str = "") -> str:
    """What an envelope says, in one line of text."""
    session, sequence, message = envelope
    told = ", ".join(f"{name} {written(value)}" for name, value in fields_of(message).items())
    name = type(message).__name__
    return f"{name}{' ' if told else ''}{told}  [{sequence}, session {session:#x}{seal}]"


def words(entry: Entry) -> str:
    """What a frame says, or what became of the line, in one line of text."""
    if isinstance(entry, Happening):
        # A capture comes from anywhere: its texts must not command the reader's terminal.
        return printable(f"{entry.event}{': ' if entry.text else ''}{entry.text}")
    if entry.envelope is None:
        return f"({entry.problem}) {entry.wire.hex()}"
    return said(entry.envelope, " sealed" if entry.is_sealed else "")


def line_of(entry: Entry) -> str:
    """An entry with its number, its time in ms and its direction."""
    number = str(entry.number) if isinstance(entry, Frame) else ""
    way = entry.way if isinstance(entry, Frame) else "·"
    return f"{number:>5} {entry.ns / NS_PER_MS:>11.3f} ms {way} {words(entry)}"


def around(entries: tuple[Entry, ...], entry: Entry, before: int = 5, after: int = 3) -> list[str]:
    """An entry's surroundings, one line each, itself marked."""
    at = entries.index(entry)
    begin = max(0, at - before)
    return [
        ("→" if begin + i == at else " ") + line_of(one)
        for i, one in enumerate(entries[begin : at + after + 1])
    ]
