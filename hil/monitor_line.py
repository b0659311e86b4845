"""What an owner and its monitor say to each other: one JSON object a line, each way."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from safety.alarms import Alarm
from safety.events import DeviceIdentity

BEAT_S = 0.25
"""How often each of the two shows that it lives."""
SILENT_S = 2.0
"""After this the other one counts as hung: a stimulator's lease."""
MAX_LINE = 65_536
HOLDER = "monitor of"
"""What the file beside a lock says while a monitor holds it."""


@dataclass(frozen=True, slots=True)
class Hello:
    """All that a monitor needs to know of a device and its owner.

    ``locks`` are the files whose locks the owner holds, ``records`` the folder for what the next
    owner has to know, ``keys`` the one with the user's keys of devices. ``trusted``: whether the
    owner found the journal to be sound.
    """

    url: str
    family: str
    identity: DeviceIdentity
    journal: str
    trusted: bool
    owner: int
    socket: str
    locks: tuple[str, ...]
    records: str
    keys: str
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes as they went over the device's line, in hex, at a time that counts the host's sleep."""

    sent: bool
    data: str
    ns: int
    kind: Literal["frame"] = "frame"


@dataclass(frozen=True, slots=True)
class Watching:
    """Whether the owner polls the device from here on, so that silence means something."""

    on: bool
    kind: Literal["watching"] = "watching"


@dataclass(frozen=True, slots=True)
class Ping:
    """The owner lives."""

    kind: Literal["ping"] = "ping"


@dataclass(frozen=True, slots=True)
class Bye:
    """The owner has left the device in its safe state; the monitor may end."""

    kind: Literal["bye"] = "bye"


@dataclass(frozen=True, slots=True)
class Ready:
    """The monitor sees device and journal."""

    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Pong:
    """The monitor lives."""

    kind: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class Told:
    """The monitor has found an alarm; ``stops``: it asks for a stop because of it."""

    alarm: Alarm
    stops: bool
    kind: Literal["told"] = "told"


ToMonitor = Hello | Frame | Watching | Ping | Bye
ToOwner = Ready | Pong | Told
_Line = Annotated[ToMonitor | ToOwner, Field(discriminator="kind")]
_LINES: TypeAdapter[ToMonitor | ToOwner] = TypeAdapter(_Line)

T = TypeVar("T")


def written(message: ToMonitor | ToOwner) -> bytes:
    """A message as a line."""
    return _LINES.dump_json(message) + b"\n"


def read_line(line: bytes) -> ToMonitor | ToOwner:
    """The message of a line; raises ValueError."""
    return _LINES.validate_json(line)
