"""The host's side of sealing: which line of which session seals a request and opens a reply."""

import secrets
from collections.abc import Callable

from firmware_bridge.protocol.messages import (
    AskStatus,
    Challenged,
    Handshake,
    Identify,
    Identity,
    Message,
    OpenSealed,
    Prove,
    Stop,
)
from firmware_bridge.protocol.seal import (
    NONCE_BYTES,
    DeviceKey,
    OtherSession,
    SealedLine,
    sealed_parts,
)
from firmware_bridge.protocol.seal import Handshake as Said

Draw = Callable[[int], bytes]


class NotProved(Exception):
    """The device's proof is not that of the key."""


class HostSeal:
    """A device's key and the sessions that were opened with it; no I/O.

    ``line`` seals what is asked of the device. ``watch`` seals status queries after the device has
    forgotten ``line``: it is to be seen, and nothing else may be asked of it before a new connect.
    """

    def __init__(self, key: DeviceKey, draw: Draw = secrets.token_bytes) -> None:
        self.line: SealedLine | None = None
        self.watch: SealedLine | None = None
        self.opening = False
        """Whether a handshake is under way, so that nobody knows which session the device is in."""
        self._key = key
        self._draw = draw

    def anew(self) -> "HostSeal":
        """The same key, and no session."""
        return HostSeal(self._key, self._draw)

    def line_for(self, request: Message, sequence: int, *, again: bool) -> SealedLine | None:
        """The line that seals a request; ``None``: it leaves unsealed.

        A stop leaves unsealed wherever a sealed one might not be understood.
        """
        if isinstance(request, Identify | Handshake):
            return None
        if isinstance(request, Stop):
            used_up = self.line is not None and sequence <= self.line.sent
            return None if self.opening or again or used_up else self.line
        return (self.watch or self.line) if isinstance(request, AskStatus) else self.line

    def ask(self, session: int) -> OpenSealed:
        """The first word of a handshake."""
        return OpenSealed(session, self._draw(NONCE_BYTES))

    def answer(
        self, identity: Identity, asked: OpenSealed, told: Challenged
    ) -> tuple[Prove, SealedLine]:
        """The last word of a handshake, and the line it opens; raises NotProved."""
        said = Said(identity, asked.session, asked.nonce, told.nonce)
        if not said.is_proved(self._key, "device", told.proof):
            raise NotProved
        return Prove(asked.session, said.proof(self._key, "host")), said.line(self._key, "host")

    def line_of(self, body: bytes) -> SealedLine:
        """The line that a sealed body belongs to, by what it says; raises OtherSession, Altered."""
        session, counter, _ = sealed_parts(body)
        for line in (self.line, self.watch):
            if line is not None and line.session == session:
                return line
        raise OtherSession(session, counter)
