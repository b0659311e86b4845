"""The lines of a capture: a file of JSON, one thing that happened on each line.

``ns`` is the host's monotonic clock. No line holds a key, nor anything that a key could be made of:
what a sealed frame says stands beside it, as the host itself understood it.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from firmware_bridge.protocol.seal import NONCE_BYTES

FORMAT: Literal[1] = 1
LARGEST = {"session": (1 << 32) - 1, "id": 1 << 63}
"""The largest number of the host's dice."""


def _hex(text: str) -> str:
    bytes.fromhex(text)
    return text


Hex = Annotated[str, AfterValidator(_hex)]
Way = Literal[">", "<"]
"""``>``: to the device; ``<``: from it."""


class Line(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    ns: Annotated[int, Field(ge=0, lt=1 << 62)]


class Began(Line):
    """The first line: what was recorded, when, and the text of the files it was given."""

    kind: Literal["capture"] = "capture"
    format: Literal[1] = FORMAT
    version: str
    protocol: int
    wall_ms: Annotated[int, Field(ge=0, lt=1 << 43)]
    command: Annotated[list[str], Field(min_length=1)]
    files: dict[str, str]


class Passed(Line):
    """Bytes on a link, as they went. ``said``: for each whole sealed frame in them what it says,
    ``None`` where it was not sealed by the other end."""

    kind: Literal["bytes"] = "bytes"
    link: int
    way: Way
    hex: Hex
    said: list[Hex | None] = []


class LinkEvent(Line):
    """What became of a link; ``link`` counts them as they are opened."""

    kind: Literal["link"] = "link"
    link: int
    event: Literal["opening", "opened", "not-opened", "not-written", "lost", "closed"]
    text: str = ""
    baud: int | None = None


class Drawn(Line):
    """What the host's dice gave; numbers in decimal, bytes, which are nonces, in hex."""

    kind: Literal["dice"] = "dice"
    of: Literal["session", "bytes", "id", "seed"]
    value: str

    @model_validator(mode="after")
    def _is_what_it_says(self) -> "Drawn":
        if self.of == "bytes":
            if len(bytes.fromhex(self.value)) != NONCE_BYTES:
                raise ValueError(f"the value is no {NONCE_BYTES} bytes in hex")
        elif not (self.value.isascii() and self.value.isdigit() and len(self.value) <= 20):
            raise ValueError("the value is no number")
        elif self.of != "seed" and not 1 <= int(self.value) <= LARGEST[self.of]:
            raise ValueError(f"the value is no {self.of}: 1 to {LARGEST[self.of]}")
        return self


class KeyAsked(Line):
    """Whether there was a key for a device; never the key."""

    kind: Literal["key"] = "key"
    found: Literal["key", "unsealed", "none"]
    text: str = ""


class JournalFound(Line):
    """The journal as it lay there when the device was taken charge of: its files, deflated, in
    base64; ``None`` for one that was not there."""

    kind: Literal["journal"] = "journal"
    serial: str
    files: list[str | None]


class OwnersFound(Line):
    """Which devices other processes owned as the command began: what those did is not in here."""

    kind: Literal["owners"] = "owners"
    serials: Annotated[list[str], Field(min_length=1)]


class Asked(Line):
    """A request of another terminal."""

    kind: Literal["request"] = "request"
    request: str


class Typed(Line):
    """A line that a person typed."""

    kind: Literal["typed"] = "typed"
    text: str


class Interrupted(Line):
    """Ctrl-C or SIGTERM; the exit code that it amounts to."""

    kind: Literal["signal"] = "signal"
    code: int


class Ended(Line):
    """The command ended."""

    kind: Literal["end"] = "end"
    code: int


AnyLine = (
    Began
    | Passed
    | LinkEvent
    | Drawn
    | KeyAsked
    | JournalFound
    | OwnersFound
    | Asked
    | Typed
    | Interrupted
    | Ended
)
LINES: TypeAdapter[Any] = TypeAdapter(Annotated[AnyLine, Field(discriminator="kind")])
