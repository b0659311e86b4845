"""Frames: bytes on a line, and back. No I/O: bytes in, bodies and counts out.

A frame is ``COBS(body + CRC-32 of the body, little endian) + 0x00``; the zero byte ends a frame
and occurs nowhere inside one, so a receiver that joins late or loses bytes is in step again at
the next zero.
"""

import zlib
from dataclasses import dataclass

from cobs import cobs

MAX_BODY = 4_096
"""Bytes of a body, CRC excluded; a longer run without a zero byte is dropped as noise."""
CRC_BYTES = 4
_MAX_ENCODED = MAX_BODY + CRC_BYTES + (MAX_BODY + CRC_BYTES) // 254 + 1


def encode_frame(body: bytes) -> bytes:
    """The frame of a body, its closing zero byte included."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a frame's body holds at most {MAX_BODY} bytes, not {len(body)}")
    sealed: bytes = cobs.encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))
    return sealed + b"\x00"


def decode_frame(frame: bytes) -> bytes | None:
    """The body of one frame without its closing zero byte; ``None`` if damaged (SR-24).

    Only what `encode_frame` makes is a frame: COBS has a second way to write some bytes.
    """
    try:
        plain: bytes = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    if not CRC_BYTES <= len(plain) <= MAX_BODY + CRC_BYTES:
        return None
    body, crc = plain[:-CRC_BYTES], plain[-CRC_BYTES:]
    if zlib.crc32(body) != int.from_bytes(crc, "little") or cobs.encode(plain) != frame:
        return None
    return body


@dataclass(slots=True)
class FrameCounts:
    """What a decoder has seen; for telemetry and error reports."""

    good: int = 0
    damaged: int = 0
    oversized: int = 0


class FrameDecoder:
    """Cuts a stream of bytes into bodies; damage costs a frame, never the stream."""

    def __init__(self) -> None:
        self.counts = FrameCounts()
        self._partial = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that ``data`` completes, in order; memory stays bounded."""
        if not self._partial and not self._skipping and data.find(b"\x00") == len(data) - 1:
            return self._whole(data)
        bodies: list[bytes] = []
        *complete, rest = data.split(b"\x00")
        for piece in complete:
            self._append(piece)
            if self._skipping:
                self._skipping = False
            elif self._partial:
                body = decode_frame(bytes(self._partial))
                if body is None:
                    self.counts.damaged += 1
                else:
                    self.counts.good += 1
                    bodies.append(body)
            self._partial.clear()
        self._append(rest)
        return bodies

    def _whole(self, data: bytes) -> list[bytes]:
        """The body of one frame that arrived in one piece, as nearly all do."""
        if not 1 < len(data) <= _MAX_ENCODED + 1:
            self.counts.oversized += len(data) > 1
            return []
        body = decode_frame(data[:-1])
        if body is None:
            self.counts.damaged += 1
            return []
        self.counts.good += 1
        return [body]

    def _append(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._partial += piece
        if len(self._partial) > _MAX_ENCODED:
            self.counts.oversized += 1
            self._partial.clear()
            self._skipping = True
