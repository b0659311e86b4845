"""What went over a line, and what of it was dropped: each kind of stray frame by its name."""

from dataclasses import dataclass

DROPPED = ("late", "duplicate", "alien", "corrupt", "forged", "replayed")
RECENT_KEPT = 64
"""Requests that are over and still known, so that a stray reply to one is told from an alien."""


@dataclass(slots=True)
class LinkCounts:
    """What went over the line; for status, storms and error reports. Nothing dropped is believed.

    ``received``: replies that were taken. ``timeouts``: requests that were given up. Then what was
    dropped, each frame once.
    ``late``: the reply to a request of ours that had been given up.
    ``duplicate``: one more reply to a request of ours that had been answered.
    ``alien``: of no conversation of ours, another device's, no reply, or to nothing asked lately.
    ``corrupt``: damaged on the way, by its form or its checksum.
    ``forged``: altered, or unsealed where a sealed reply was due.
    ``replayed``: authentic, but it or a later one had been there before.
    """

    sent: int = 0
    received: int = 0
    timeouts: int = 0
    late: int = 0
    duplicate: int = 0
    alien: int = 0
    corrupt: int = 0
    forged: int = 0
    replayed: int = 0

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped, by its name; only what there was."""
        return {name: number for name in DROPPED if (number := getattr(self, name))}
