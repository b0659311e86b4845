"""Understands a device's line from outside, sealed or not, as only who holds its key can."""

from contextlib import suppress
from itertools import chain

from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.protocol.catalogue import Envelope, SealedEnvelope
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import Challenged, Identity, MessageError, OpenSealed
from firmware_bridge.protocol.seal import (
    DeviceKey,
    Handshake,
    SealedLine,
    SealError,
    is_sealed,
    sealed_parts,
)


class Ear:
    """Follows every handshake and keeps the keys of every session it has heard being opened."""

    def __init__(self, key: DeviceKey) -> None:
        self._key = key
        self._identity: Identity | None = None
        self._asked: dict[int, OpenSealed] = {}
        """What was asked, by the sequence number that its answer echoes."""
        self._lines: dict[int, dict[bytes, tuple[SealedLine, SealedLine]]] = {}
        """The lines of both ends, by session and the device's nonce."""

    def read(self, body: bytes) -> Envelope | None:
        """What a body says; ``None`` if it says nothing that can be understood."""
        said = self._said(body)
        try:
            envelope = None if said is None else CATALOGUE.decode(said)
        except MessageError:
            return None
        if envelope is not None and is_sealed(body):
            return SealedEnvelope(*envelope)
        return envelope

    def plain(self, data: bytes) -> bytes:
        """Whole frames as they would have gone unsealed; what is not understood stays as it is."""
        return b"".join(
            encode_frame(self._said(body) or body) for body in FrameDecoder().feed(data)
        )

    def _said(self, body: bytes) -> bytes | None:
        """A body without its seal; ``None`` where no session's key opens it."""
        if not is_sealed(body):
            self._follow(body)
            return body
        try:
            session, _, _ = sealed_parts(body)
        except SealError:
            return None
        for line in chain.from_iterable(self._lines.get(session, {}).values()):
            with suppress(SealError):
                return line.look(body)
        return None

    def _follow(self, body: bytes) -> None:
        try:
            _, sequence, message = CATALOGUE.decode(body)
        except MessageError:
            return
        if isinstance(message, Identity):
            self._identity = message
        elif isinstance(message, OpenSealed):
            self._asked[sequence] = message
        elif isinstance(message, Challenged) and self._identity and sequence in self._asked:
            asked = self._asked[sequence]
            said = Handshake(self._identity, asked.session, asked.nonce, message.nonce)
            both = said.line(self._key, "host"), said.line(self._key, "device")
            self._lines.setdefault(asked.session, {})[message.nonce] = both
