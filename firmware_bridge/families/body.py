"""What the bodies of every family have in common: time, truth, and records that are stored."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict


class Stored(BaseModel):
    """A record of non-volatile memory: strict, closed; its bytes are stored in hexadecimal."""

    model_config = ConfigDict(
        strict=True, extra="forbid", ser_json_bytes="hex", val_json_bytes="hex"
    )


TruthLine = dict[str, object]
"""One line of truth; ``t_ms`` is therapy time since the device's birth."""


class Truth(Protocol):
    """Where a body writes what it did."""

    @property
    def last_ms(self) -> int:
        """``t_ms`` of the newest line, -1 if there is none."""
        ...

    def write(self, line: TruthLine) -> None:
        """Adds one line; it is out of this process before the call returns."""
        ...

    def close(self) -> None:
        """No line follows."""
        ...


class Body(Protocol):
    """Physics that runs in therapy time, exactly, from event to event."""

    @property
    def t_ms(self) -> int:
        """Therapy time since the device's birth."""
        ...

    @property
    def flowing(self) -> bool:
        """Whether anything reaches the patient now or will without a further command."""
        ...

    def next_event(self) -> int | None:
        """The time of the next change that needs no command; ``None`` if there is none."""
        ...

    def advance(self, to_ms: int) -> None:
        """Runs the physics to a time, not before ``t_ms``."""
        ...
