"""Non-volatile memory: what a device still knows after a reset, a restart or a crash.

The state file holds the firmware's memory and the body's physics at one moment ``t_ms``, and a
horizon: the device never runs past ``horizon_ms`` before it has saved a later one. After a crash
the physics is replayed from ``t_ms`` to the horizon, so nothing a host or the truth file was
shown is ever taken back: not a clock, not an odometer. A clean end saves a horizon equal to
``t_ms``.

The file is replaced in one step. It survives the death of the process at any instruction; it is
not synced, so it need not survive the death of the machine.
"""

import os
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from device_profiles.errors import UsageError
from firmware_bridge.families.body import Stored

NvT = TypeVar("NvT", bound=BaseModel)
PhysicsT = TypeVar("PhysicsT", bound=BaseModel)


class DeviceState(Stored, Generic[NvT, PhysicsT]):
    """A whole device at therapy time ``t_ms``; ``born_ms`` is the wall clock at its birth."""

    version: Literal[1] = 1
    family: str
    serial: str
    born_ms: int
    t_ms: int
    horizon_ms: int
    firmware: NvT
    body: PhysicsT


class Memory(Protocol):
    """A place for a device's state."""

    @property
    def keeps(self) -> bool:
        """Whether what is saved outlives this process; if not, nothing needs saving."""
        ...

    def load(self) -> str | None:
        """The text saved last, ``None`` if there is none."""
        ...

    def save(self, text: str) -> None:
        """Replaces what is saved, all or nothing."""
        ...


class MemoryInRam:
    """Memory that ends with the process; a reset of the device finds it in the firmware."""

    keeps = False

    def load(self) -> str | None:
        """A new device."""
        return None

    def save(self, text: str) -> None:
        """Nothing to do."""


class MemoryFile:
    """Memory in a file beside which ``FILE.new`` is used for a moment at each save."""

    keeps = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fresh = path.with_name(path.name + ".new")

    def load(self) -> str | None:
        """The text of the file; raises UsageError when it cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the state file {self.path} cannot be read: {error}") from error

    def save(self, text: str) -> None:
        """Writes a new file and puts it in the place of the old one; raises UsageError."""
        try:
            self._fresh.write_text(text, encoding="utf-8")
            os.replace(self._fresh, self.path)
        except OSError as error:
            raise UsageError(f"the state file {self.path} cannot be written: {error}") from error


def parse_state(
    cls: type[DeviceState[NvT, PhysicsT]], text: str, family: str, serial: str | None
) -> DeviceState[NvT, PhysicsT]:
    """The state in ``text``; raises UsageError if it is damaged or another device's."""
    try:
        state = cls.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"the state file is damaged: {place}: {first['msg']}") from error
    if state.family != family:
        raise UsageError(f"the state file is that of a device of family {state.family}")
    if serial is not None and state.serial != serial:
        raise UsageError(f"the state file is that of {state.serial}, not of {serial}")
    return state
