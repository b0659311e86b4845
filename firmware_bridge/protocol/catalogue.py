"""The envelope all messages travel in, and the kinds that two peers share.

An envelope is the CBOR array ``[kind, session, sequence, fields]``; ``fields`` is a map with one
entry per field of the message, by name. An unknown, missing or out-of-range field refuses the
whole message.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields as dataclass_fields
from operator import attrgetter
from typing import Any, NamedTuple, cast

import cbor2
from pydantic import ValidationError

from firmware_bridge.protocol.messages import COMMON_MESSAGES, Message, MessageError


class Envelope(NamedTuple):
    """A message with its session (0: none) and the sequence number that its reply echoes."""

    session: int
    sequence: int
    message: Message


class SealedEnvelope(Envelope):
    """An envelope that came, or is to leave, in a sealed frame."""

    __slots__ = ()


class Catalogue:
    """The kinds of message two peers share; turns messages into bodies and back."""

    def __init__(self, family_messages: Iterable[type[Message]] = ()) -> None:
        self._kinds: dict[int, type[Message]] = {}
        self._names: dict[type[Message], tuple[str, ...]] = {}
        self._fields: dict[type[Message], Callable[[Message], dict[str, Any]]] = {}
        self._validate: dict[int, Callable[[dict[str, Any]], Message]] = {}
        for cls in (*COMMON_MESSAGES, *family_messages):
            if cls.KIND in self._kinds:
                raise ValueError(f"message kind {cls.KIND:#04x} is used twice")
            self._kinds[cls.KIND] = cls
            self._names[cls] = names = _field_names(cls)
            self._fields[cls] = _reader_of(names)
            self._validate[cls.KIND] = cast("Any", cls).__pydantic_validator__.validate_python

    def encode(self, envelope: Envelope) -> bytes:
        """The body of an envelope."""
        session, sequence, message = envelope
        cls = type(message)
        fields = self._fields[cls](message)
        return cbor2.dumps((cls.KIND, session, sequence, fields))

    def decode(self, body: bytes) -> Envelope:
        """The envelope of a body.

        Raises MessageError when the body is anything but exactly one known message.
        """
        try:
            parts = cbor2.loads(body)
            again = cbor2.dumps(parts)
        except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
            raise MessageError(f"no CBOR: {error}") from error
        if again != body:
            raise MessageError("not in the shortest CBOR form, or bytes left over")
        if type(parts) is not list or len(parts) != 4:
            raise MessageError("an envelope is an array of kind, session, sequence and fields")
        kind, session, sequence, fields = parts
        if not (
            type(kind) is type(session) is type(sequence) is int
            and 0 <= kind <= 0xFFFF_FFFF
            and 0 <= session <= 0xFFFF_FFFF
            and 0 <= sequence <= 0xFFFF_FFFF
        ):
            raise MessageError("kind, session and sequence are integers of 32 bits")
        cls = self._kinds.get(kind)
        if cls is None:
            raise MessageError(f"no message has the kind {kind:#04x}")
        if type(fields) is not dict:
            raise MessageError("the fields of a message are a map with names as keys")
        if tuple(fields) != self._names[cls]:
            names = ", ".join(self._names[cls]) or "none"
            raise MessageError(f"kind {kind:#04x}: its fields, in this order, are: {names}")
        try:
            decoded = self._validate[kind](fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            unprintable = first["type"] == "string_pattern_mismatch"
            what = "it holds what cannot be printed" if unprintable else first["msg"]
            raise MessageError(f"kind {kind:#04x}, field {place}: {what}") from error
        return Envelope(session, sequence, decoded)


def _reader_of(names: tuple[str, ...]) -> Callable[[Message], dict[str, Any]]:
    """Reads the fields of a message of one kind, all at once where there are several."""
    if len(names) > 1:
        values = attrgetter(*names)
        return lambda message: dict(zip(names, values(message), strict=True))
    return lambda message: {name: getattr(message, name) for name in names}


def _field_names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclass_fields(cls))
