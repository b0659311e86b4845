"""Standard output and standard error that end nothing: what a command did stands, told or not."""

import codecs
import errno
import io
import json
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPED = "neuraxis.escaped"


MOST_LOST = 1_000
"""Bytes of what could not be printed that are told on standard error: an answer, not an export."""


class PatientFile(io.RawIOBase):
    """A file that falls silent where it takes nothing more: a full disk, a closed terminal, a
    reader who has seen enough (`| head`)."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The number of the file, as it was."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return self._raw.isatty()

    def write(self, data: "ReadableBuffer") -> int:
        """Writes, or loses what nobody can have; tells of that once, but of no reader who left."""
        size = memoryview(data).nbytes
        if self.failure is not None:
            return size
        try:
            while (written := self._raw.write(data)) is None:
                select.select((), (self,), ())  # whoever shares it has made it non-blocking
        except OSError as failure:
            self.failure = failure
            if failure.errno != errno.EPIPE and self.fileno() == 1:
                _tell(failure, bytes(data))
            return size
        return written


def _tell(failure: OSError, lost: bytes) -> None:
    why = os.strerror(failure.errno or 0)
    print(
        f"neuraxis: standard output takes nothing more ({why}); all else goes on. "
        f"What it did not take:\n{lost[:MOST_LOST].decode('utf-8', 'replace')}",
        file=sys.stderr,
        flush=True,
    )


def make_patient() -> None:
    """Makes them so for the rest of this process, whoever writes there."""
    codecs.register_error(ESCAPED, _escaped)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            continue  # closed by whoever started this process
        raw = getattr(stream.buffer, "raw", stream.buffer)  # `python -u` has no buffer between
        text = io.TextIOWrapper(
            io.BufferedWriter(PatientFile(raw)),
            stream.encoding,
            ESCAPED,
            line_buffering=stream.line_buffering or stream.write_through,
        )
        setattr(sys, name, text)


def output_is_lost() -> bool:
    """Whether standard output did not take all; a reader who has seen enough is no loss."""
    if sys.stdout is None:
        return False
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = file.failure if isinstance(file, PatientFile) else None
    return failure is not None and failure.errno != errno.EPIPE


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What the encoding has no sign for, as JSON writes it: a document stays one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
