"""A replayed device's seal: a key of the replay's own, for the capture holds none.

The host under replay seals with this key as it would with the device's own. What it says is read
with it, and what the recorded device had said is sealed with it again.
"""

from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.protocol.catalogue import Envelope
from firmware_bridge.protocol.frames import decode_frame, encode_frame
from firmware_bridge.protocol.messages import Challenged, Identity, MessageError, OpenSealed, Prove
from firmware_bridge.protocol.seal import (
    KEY_BYTES,
    DeviceKey,
    Handshake,
    SealedLine,
    SealError,
    is_sealed,
    sealed_parts,
)
from hil.capture.conversation import Frame

KEY = DeviceKey(bytes(KEY_BYTES))


class StandIn:
    """The device's end of the seal, over all links of a replay. ``proved``: the sessions whose
    proof the recorded host had accepted."""

    def __init__(self, proved: set[int]) -> None:
        self._proved = proved
        self._identity: Identity | None = None
        self._asked: OpenSealed | None = None
        self._lines: dict[int, SealedLine] = {}
        self._sent: dict[bytes, bytes] = {}
        """Recorded frames, and what was sent for them: a frame that came twice comes twice."""

    def heard(self, frame: bytes) -> tuple[bytes | None, Envelope | None, bool]:
        """What a frame of the host says: its body, the message in it, and whether it was sealed."""
        body = decode_frame(frame[:-1])
        sealed = body is not None and is_sealed(body)
        if body is not None and sealed:
            try:
                session, _, _ = sealed_parts(body)
                line = self._lines.get(session)
                body = None if line is None else line.open(body)
            except SealError:
                body = None
        if body is None:
            return None, None, sealed
        try:
            envelope = CATALOGUE.decode(body)
        except MessageError:
            return body, None, sealed
        if isinstance(envelope.message, OpenSealed):
            self._asked = envelope.message
        return body, envelope, sealed

    def says(self, frame: Frame, sequence: int | None) -> bytes:
        """The bytes for a recorded frame of the device; ``sequence``: of the request it answers,
        as it is numbered now."""
        if frame.wire in self._sent:
            return self._sent[frame.wire]
        data = self._sealed_anew(frame, sequence)
        if frame.is_sealed:
            self._sent[frame.wire] = data
        return data

    def _sealed_anew(self, frame: Frame, sequence: int | None) -> bytes:
        body, envelope = frame.body, frame.envelope
        if body is None:
            return frame.wire  # damaged, or not the device's: as it came
        if envelope is not None:
            message = envelope.message
            if isinstance(message, Identity):
                self._identity = message
            if isinstance(message, Challenged):
                message = self._challenge(message)
            number = envelope.sequence if sequence is None else sequence
            body = CATALOGUE.encode(Envelope(envelope.session, number, message))
        if not frame.is_sealed:
            return encode_frame(body)
        try:
            session, _, _ = sealed_parts(decode_frame(frame.wire[:-1]) or b"")
            line = self._lines.get(session)
            return frame.wire if line is None else encode_frame(line.seal(body))
        except (SealError, ValueError):
            return frame.wire  # no recorded host can have opened it

    def _challenge(self, told: Challenged) -> Challenged:
        asked = self._asked
        if asked is None or self._identity is None:
            return told
        said = Handshake(self._identity, asked.session, asked.nonce, told.nonce)
        self._lines[asked.session] = said.line(KEY, "device")
        if asked.session not in self._proved:
            return told  # what the recorded host did not believe, this one shall not either
        return Challenged(told.nonce, said.proof(KEY, "device"))


def sessions_proved(frames: list[Frame]) -> set[int]:
    """The sessions in which the recorded host went on to prove itself."""
    said = [frame.envelope.message for frame in frames if frame.envelope is not None]
    return {message.session for message in said if isinstance(message, Prove)}
