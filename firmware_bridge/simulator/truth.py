"""The truth: what a body physically did, one JSON object a line, and nothing but physics.

A stimulator writes a line for each contact at each change of its current; a pump writes one at
each change of what flows at the pump or of the drug at the catheter's tip, and one when the
simulator ends, so that the final volume is known. ``t_ms`` is therapy time since the device's
birth.
"""

import json
import os
from pathlib import Path

from device_profiles.errors import UsageError
from firmware_bridge.families.body import Truth, TruthLine

_TAIL_BYTES = 65_536


class TruthInMemory:
    """The truth of an in-process device, for tests."""

    def __init__(self) -> None:
        self.lines: list[TruthLine] = []
        self.last_ms = -1

    def write(self, line: TruthLine) -> None:
        """Keeps the line."""
        self.lines.append(line)
        self.last_ms = _time_of(line)

    def close(self) -> None:
        """Nothing to do."""


class NoTruth:
    """Nobody asked for the truth."""

    last_ms = -1

    def write(self, line: TruthLine) -> None:
        """Forgets the line."""

    def close(self) -> None:
        """Nothing to do."""


class TruthFile:
    """The truth as a file that is only ever appended to, one system call a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.last_ms = _last_time(path)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise UsageError(f"the truth file {path} cannot be written: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} does not end like a truth file: {error}") from error

    def write(self, line: TruthLine) -> None:
        """Appends the line; a reader sees it whole or not at all."""
        try:
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise UsageError(
                f"the truth file {self._path} cannot be written: {error.strerror}"
            ) from error
        self.last_ms = _time_of(line)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


class TruthReplayed:
    """Truth during a replay after a crash: drops the lines that were written before it.

    A replay repeats the physics between the last saved state and the crash exactly, so a line
    that is not newer than the newest one in the file is in the file already.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._written_ms = truth.last_ms

    @property
    def last_ms(self) -> int:
        """``t_ms`` of the newest line."""
        return self._truth.last_ms

    def write(self, line: TruthLine) -> None:
        """Adds the line unless it was written before the crash."""
        if _time_of(line) > self._written_ms:
            self._truth.write(line)

    def close(self) -> None:
        """The file stays open: the device goes on writing to it."""


def _time_of(line: TruthLine) -> int:
    time = line["t_ms"]
    if not isinstance(time, int):
        raise TypeError("t_ms is no integer")
    return time


def _last_time(path: Path) -> int:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return -1
    return _time_of(json.loads(lines[-1])) if lines else -1
