"""A capture on its way into a file: the road never waits for the disk, and never fails for it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from device_profiles.errors import UsageError
from hil.capture.lines import AnyLine, Began

END_PATIENCE_S = 5.0
MOST_WAITING = 100_000
"""Lines that wait for a disk that takes none; beyond this the capture ends."""


class CaptureWriter:
    """A new file, readable by its user alone. A thread of its own writes it line by line.

    ``warn`` is told, once and from that thread, why the capture has ended early; whatever is
    recorded goes on. Raises UsageError when the file cannot be made.
    """

    def __init__(self, path: Path, began: Began, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._has_ended = False
        self._row: SimpleQueue[bytes | None] = SimpleQueue()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._file = os.open(path, flags, 0o600)
        except FileExistsError:
            raise UsageError(f"{path} exists: a capture never takes the place of a file") from None
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}): nothing was sent"
            ) from error
        try:
            _write(self._file, _bytes_of(began))
        except OSError as error:
            os.close(self._file)
            path.unlink(missing_ok=True)  # half a capture would stand in the way of a whole one
            raise UsageError(
                f"{path} cannot be written ({error.strerror}): nothing was sent"
            ) from error
        self._thread = threading.Thread(target=self._run, name=f"capture {path}", daemon=True)
        self._thread.start()

    def add(self, line: AnyLine) -> None:
        """Adds a line; returns at once."""
        if self._has_ended:
            return
        if self._row.qsize() >= MOST_WAITING:
            self._end_early("the disk takes no more")
            return
        self._row.put(_bytes_of(line))

    def close(self) -> None:
        """Writes what still waits, for as long as one may reasonably wait for a disk."""
        self._row.put(None)
        self._thread.join(END_PATIENCE_S)

    def _run(self) -> None:
        try:
            while (data := self._row.get()) is not None:
                if not self._has_ended:
                    _write(self._file, data)
        except OSError as error:
            self._end_early(error.strerror or str(error))
        finally:
            os.close(self._file)

    def _end_early(self, why: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._warn(
                f"the capture {self._path} has ended here: {why}. What it records goes on; what "
                "was written so far can be read"
            )


def _bytes_of(line: AnyLine) -> bytes:
    return line.model_dump_json().encode() + b"\n"


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
