"""Sealed sessions: who knows the device's key proves it, and every frame after that is sealed.

No I/O and no dice: random bytes are handed in. HMAC-SHA-256 proves, HKDF-SHA-256 makes the keys of
a session, ChaCha20-Poly1305 seals; none of the three is written here. What must never happen is a
nonce that is used twice under one key: keys belong to one session and one direction, and a
`SealedLine` seals with no counter that is not above its last.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Literal

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from firmware_bridge.protocol.messages import Identity

KEY_BYTES = 32
NONCE_BYTES = 16
PROOF_BYTES = 32
TAG_BYTES = 16
MAX_COUNTER = 0xFFFF_FFFF
SEALED_OVERHEAD = 1 + 5 + 5 + 3 + TAG_BYTES
"""Bytes by which a sealed body may be longer than the body it holds."""

End = Literal["host", "device"]
_SEALED = b"\x83"
"""The first byte of an array of three, which no plain body is."""
_DIRECTIONS: Final = {"host": b"\x00\x00\x00\x01", "device": b"\x00\x00\x00\x02"}
_PROOF_LABEL: Final = "neuraxis 4 proof of the "
_KEYS_LABEL: Final = "neuraxis 4 session keys"


class SealError(Exception):
    """A sealed body that does not count."""


class Altered(SealError):
    """It was not sealed by the other end of this session, or not as it arrived."""


class Replayed(SealError):
    """Its counter is not above the last one: it, or a later one, has been here before."""


class OtherSession(SealError):
    """It belongs to another session; ``session`` and ``counter`` are what it says, unproved."""

    def __init__(self, session: int, counter: int) -> None:
        super().__init__(f"sealed for session {session:#x}")
        self.session = session
        self.counter = counter


class CounterUsedUp(SealError):
    """This counter, or a higher one, has been sealed with already: a new session is needed."""


class DeviceKey:
    """The secret that a device and its hosts share. No text of it ever shows the secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a device key has {KEY_BYTES} bytes, not {len(secret)}")
        self._secret = secret

    @property
    def secret(self) -> bytes:
        """The bytes themselves: for `Handshake`, and for whoever stores or hands over a key."""
        return self._secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceKey) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(DeviceKey)

    def __repr__(self) -> str:
        return "DeviceKey(…)"

    def __reduce__(self) -> str:
        raise TypeError("a device key is not pickled")


@dataclass(frozen=True, slots=True)
class Handshake:
    """All that both ends have said before a session: proofs and keys are made over all of it."""

    identity: Identity
    session: int
    host_nonce: bytes
    device_nonce: bytes

    def transcript(self, label: str) -> bytes:
        """What is proved, as bytes; the count of starts is left out, for a start changes no key."""
        who = self.identity
        said = (who.protocol, who.family, who.model, who.serial, who.firmware, who.calibration)
        about = (*said, who.simulated, who.speed)
        return cbor2.dumps((label, about, self.session, self.host_nonce, self.device_nonce))

    def proof(self, key: DeviceKey, end: End) -> bytes:
        """What only an end that holds the key can say in this handshake."""
        return hmac.digest(key.secret, self.transcript(_PROOF_LABEL + end), hashlib.sha256)

    def is_proved(self, key: DeviceKey, end: End, proof: bytes) -> bool:
        """Whether a proof is that of an end."""
        return hmac.compare_digest(self.proof(key, end), proof)

    def keys(self, key: DeviceKey) -> tuple[bytes, bytes]:
        """The session's two keys: for what the host sends, for what the device sends."""
        salt = self.host_nonce + self.device_nonce
        info = self.transcript(_KEYS_LABEL)
        both = HKDF(SHA256(), 2 * KEY_BYTES, salt, info).derive(key.secret)
        return both[:KEY_BYTES], both[KEY_BYTES:]

    def line(self, key: DeviceKey, end: End) -> "SealedLine":
        """An end's side of the session."""
        host, device = self.keys(key)
        return SealedLine(self.session, end, host, device)


class SealedLine:
    """One end of one sealed session: seals what leaves and opens what arrives, each once."""

    def __init__(self, session: int, end: End, host_key: bytes, device_key: bytes) -> None:
        other: End = "device" if end == "host" else "host"
        keys = {"host": ChaCha20Poly1305(host_key), "device": ChaCha20Poly1305(device_key)}
        self.session = session
        self.sent = 0
        """The last counter that was sealed with."""
        self.heard = 0
        """The last counter that was opened."""
        self._mine, self._theirs = keys[end], keys[other]
        self._my_direction, self._their_direction = _DIRECTIONS[end], _DIRECTIONS[other]
        self._begin = _SEALED + cbor2.dumps(session)

    def seal(self, body: bytes, counter: int | None = None) -> bytes:
        """A sealed body; by default its counter is the next. Raises CounterUsedUp."""
        counter = self.sent + 1 if counter is None else counter
        if not self.sent < counter <= MAX_COUNTER:
            raise CounterUsedUp(f"the counter {counter} is used up in session {self.session:#x}")
        self.sent = counter
        length = len(body) + TAG_BYTES
        head = self._begin + cbor2.dumps(counter) + _byte_string_head(length)
        nonce = self._my_direction + counter.to_bytes(8, "big")
        return head + self._mine.encrypt(nonce, body, head)

    def open(self, sealed: bytes) -> bytes:
        """The body that the other end sealed; raises Altered, Replayed, OtherSession.

        Only an authentic frame moves the counter on.
        """
        session, counter, ciphertext = sealed_parts(sealed)
        if session != self.session:
            raise OtherSession(session, counter)
        head = sealed[: len(sealed) - len(ciphertext)]
        nonce = self._their_direction + counter.to_bytes(8, "big")
        try:
            body = self._theirs.decrypt(nonce, ciphertext, head)
        except InvalidTag:
            raise Altered(f"not sealed by the other end of session {session:#x}") from None
        if counter <= self.heard:
            raise Replayed(f"counter {counter} comes after {self.heard}")
        self.heard = counter
        return body

    def look(self, sealed: bytes) -> bytes:
        """The body that this end sealed into these very bytes; raises Altered."""
        _, counter, ciphertext = sealed_parts(sealed)
        head = sealed[: len(sealed) - len(ciphertext)]
        try:
            nonce = self._my_direction + counter.to_bytes(8, "big")
            return self._mine.decrypt(nonce, ciphertext, head)
        except InvalidTag:
            raise Altered("these bytes were not sealed by this end") from None


def is_sealed(body: bytes) -> bool:
    """Whether a body claims to be sealed."""
    return body[:1] == _SEALED


def sealed_parts(body: bytes) -> tuple[int, int, bytes]:
    """Session, counter and ciphertext of a sealed body, all unproved; raises Altered."""
    try:
        parts = cbor2.loads(body)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
        raise Altered(f"no CBOR: {error}") from None
    if type(parts) is list and len(parts) == 3:
        session, counter, ciphertext = parts
        if (
            type(session) is type(counter) is int
            and 1 <= session <= 0xFFFF_FFFF
            and 1 <= counter <= MAX_COUNTER
            and type(ciphertext) is bytes
            and len(ciphertext) >= TAG_BYTES
        ):
            return session, counter, ciphertext
    raise Altered("a sealed body is an array of session, counter and ciphertext")


def _byte_string_head(length: int) -> bytes:
    """The CBOR head of a byte string of 16 to 65,535 bytes."""
    if length < 24:
        return bytes((0x40 | length,))
    if length < 0x100:
        return bytes((0x58, length))
    return b"\x59" + length.to_bytes(2, "big")
