"""What a controller is handed from outside: the clock, the journal's place, whom to tell."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.clock import Clock
from firmware_bridge.conversation import random_session
from firmware_bridge.host_seal import Draw
from firmware_bridge.protocol.seal import DeviceKey
from safety.alarms import Alarm
from safety.journal import Anchor, Disk, StateFile


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where the journal of a device is kept; without ``states`` it has no checkpoints."""

    disk: Disk
    anchor: Anchor
    states: StateFile | None = None


def no_key(serial: str) -> DeviceKey | None:
    """Of devices that seal nothing."""
    return None


def random_id() -> int:
    """An intent's id: 63 random bits, so that no two of a device's life are alike."""
    return secrets.randbits(63) + 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What a controller is handed from outside.

    ``journal_of`` gives the place of a serial number's journal, once the device is identified;
    it may lock the serial number and raise OwnerError. ``key_of`` gives its key, ``None`` where the
    conversation is to be unsealed; it may raise UsageError. ``new_id``, ``new_session`` and
    ``draw`` are all the dice of a conversation.
    """

    clock: Clock
    journal_of: Callable[[str], JournalPlace]
    sound: Callable[[Alarm], None]
    new_id: Callable[[], int] = random_id
    key_of: Callable[[str], DeviceKey | None] = no_key
    new_session: Callable[[], int] = random_session
    draw: Draw = secrets.token_bytes
