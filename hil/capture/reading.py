"""A capture read from its file; what cannot be understood is told with its place."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from device_profiles.errors import UsageError
from device_profiles.quantities import DAY_MS
from firmware_bridge.clock import NS_PER_MS
from hil.capture.lines import FORMAT, LINES, AnyLine, Began, Ended

MAX_BYTES = 1 << 30
NS_PER_DAY = DAY_MS * NS_PER_MS
LONGEST_DAYS = 90
"""What a capture spans at most: past 97 days a float of seconds, asyncio's time, is coarser than a
nanosecond."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture: its first line, all that follow, and whether the file broke off in a line."""

    path: Path
    began: Began
    lines: tuple[AnyLine, ...]
    torn: bool

    @property
    def ended(self) -> Ended | None:
        """How the command ended; ``None``: the recording broke off before."""
        last = self.lines[-1] if self.lines else None
        return last if isinstance(last, Ended) else None


def read_capture(path: Path) -> Capture:
    """The capture in a file. Raises UsageError, with the line that cannot be understood."""
    try:
        with path.open("rb") as file:  # a device like /dev/zero has no size, and no end
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES >> 20} MiB: no capture is that long")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    *whole, rest = data.split(b"\n")
    if not whole:
        raise UsageError(
            f"{path} holds no capture: its first line is not whole. A capture is made with "
            "`neuraxis capture record FILE COMMAND…`"
        )
    began = _line(path, 1, whole[0])
    if not isinstance(began, Began):
        raise UsageError(f"{path}:1: a capture begins with a line of the kind 'capture'")
    lines = tuple(_line(path, number, text) for number, text in enumerate(whole[1:], 2))
    if any(isinstance(line, Began) for line in lines):
        raise UsageError(f"{path} holds two captures: each is a file of its own")
    for number, line in enumerate(lines, 2):
        # Backwards is no fault: what was heard is written once the host has heeded it.
        if line.ns - began.ns > LONGEST_DAYS * NS_PER_DAY:
            raise UsageError(
                f"{path}:{number}: this is {(line.ns - began.ns) // NS_PER_DAY} days after the "
                f"capture's begin, and a capture spans {LONGEST_DAYS} days at most: was its ns "
                "edited?"
            )
    return Capture(path, began, lines, torn=bool(rest))


def _line(path: Path, number: int, text: bytes) -> AnyLine:
    try:
        line: AnyLine = LINES.validate_json(text)
    except ValidationError as error:
        if number == 1 and (known := _format_of(text)) not in (None, FORMAT):
            raise UsageError(
                f"{path} is a capture of the format {known}, and this version reads {FORMAT}: "
                "read it with the version that made it"
            ) from None
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"{place}: {first['msg']}" if place else first["msg"]
        raise UsageError(f"{path}:{number}: this is no line of a capture: {what}") from None
    return line


def _format_of(text: bytes) -> object:
    try:
        began = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(began, dict) and began.get("kind") == "capture":
        return began.get("format")
    return None
