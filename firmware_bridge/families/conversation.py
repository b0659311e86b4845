"""A device's side of a conversation: which session is open, sealed or not, and what it takes.

A device with a key takes nothing unsealed but `UNSEALED_ALWAYS`; a device without one seals
nothing. Neither goes over to the other way by itself, so nobody on the line can talk it into that.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_bridge.protocol.catalogue import (
    Envelope,
    SealedEnvelope,
)
from firmware_bridge.protocol.messages import (
    AskStatus,
    Challenged,
    ErrorCode,
    Identify,
    Identity,
    Open,
    OpenSealed,
    Prove,
    Stop,
)
from firmware_bridge.protocol.seal import (
    NONCE_BYTES,
    Altered,
    DeviceKey,
    Handshake,
    OtherSession,
    Replayed,
    SealedLine,
    sealed_parts,
)

_DETAIL_MAX = 200
UNSEALED_ALWAYS: Final = (Identify, AskStatus, Stop, OpenSealed, Prove)
"""What a device with a key takes unsealed too: a stop must need nothing but the line."""


class Refusal(Exception):
    """The firmware does nothing and says why."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code: ErrorCode = code
        self.detail = detail[:_DETAIL_MAX]


@dataclass(slots=True)
class SealCounts:
    """Frames that a device has dropped: not sealed by its host, or not for the first time."""

    forged: int = 0
    replayed: int = 0

    @property
    def total(self) -> int:
        """All that were dropped since the start."""
        return self.forged + self.replayed


class Conversation:
    """Which session is open; lost, with everything in it, when the device starts."""

    def __init__(
        self, key: DeviceKey | None = None, draw: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self.counts = SealCounts()
        self._key = key
        self._draw = draw
        self._session: int | None = None
        self._line: SealedLine | None = None
        self._pending: Handshake | None = None
        self._proof = b""
        self._lowered_at = 0
        """The highest sequence of a stop or lowering that the open session, or none, has sent."""

    # --- opening -----------------------------------------------------------------------------

    def open(self, request: Open) -> None:
        """Opens an unsealed session; raises Refusal where there is a key."""
        if self._key is not None:
            raise Refusal("unsealed", "this device has a key: it opens sealed sessions only")
        self._session, self._lowered_at = request.session, 0

    def challenge(self, request: OpenSealed, identity: Identity) -> Challenged:
        """Proves that this device holds its key; the session that is open stays open."""
        key = self._key_or_refusal()
        nonce = self._draw(NONCE_BYTES)
        self._pending = Handshake(identity, request.session, request.nonce, nonce)
        return Challenged(nonce, self._pending.proof(key, "device"))

    def prove(self, request: Prove) -> bool:
        """Opens the sealed session if the host's proof is right; whether it is a new one.

        The proof of the session that is open already is answered again and changes nothing.
        """
        key, pending = self._key_or_refusal(), self._pending
        if (
            self._line is not None
            and self._line.session == request.session
            and hmac.compare_digest(self._proof, request.proof)
        ):
            return False
        if (
            pending is None
            or pending.session != request.session
            or not pending.is_proved(key, "host", request.proof)
        ):
            raise Refusal("not-proved", "this is no proof of this device's key")
        self._line, self._pending = pending.line(key, "device"), None
        self._proof, self._lowered_at = request.proof, 0
        return True

    def check(self, envelope: Envelope) -> None:
        """Raises Refusal unless a request is of the open session and sealed as it must be."""
        if self._key is not None and not isinstance(envelope, SealedEnvelope):
            raise Refusal("unsealed", "this device has a key: it takes this sealed only")
        if envelope.session != self._open_one:
            raise Refusal("wrong-session", "the request is not of the open session")

    @property
    def _open_one(self) -> int | None:
        return self._session if self._line is None else self._line.session

    # --- order -------------------------------------------------------------------------------

    def lowered(self, envelope: Envelope) -> None:
        """Takes note of a stop or a lowering: what was sent before it comes too late."""
        if envelope.session in (0, self._open_one):
            self._lowered_at = max(self._lowered_at, envelope.sequence)

    def check_order(self, envelope: Envelope) -> None:
        """Raises Refusal for a command that was sent before a stop or lowering, and comes after."""
        if envelope.sequence < self._lowered_at:
            raise Refusal("wrong-state", "a stop or lowering that was sent later overtook it")

    def _key_or_refusal(self) -> DeviceKey:
        if self._key is None:
            raise Refusal("no-key", "this device has no key: it opens unsealed sessions only")
        return self._key

    # --- frames ------------------------------------------------------------------------------

    def unseal(self, body: bytes) -> bytes | None:
        """What a sealed body holds; ``None``, and counted, if it does not count.

        Raises OtherSession for a body that is not of the open session.
        """
        try:
            if self._line is None:
                session, counter, _ = sealed_parts(body)
                raise OtherSession(session, counter)
            return self._line.open(body)
        except Altered:
            self.counts.forged += 1
        except Replayed:
            self.counts.replayed += 1
        return None

    def seal(self, session: int, body: bytes) -> bytes | None:
        """A reply of the open session, sealed; ``None`` for one of a session that has ended."""
        if self._line is None or self._line.session != session:
            return None
        return self._line.seal(body)
