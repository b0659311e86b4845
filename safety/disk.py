"""Where the bytes of a journal lie: a file that one process writes and only its user reads."""

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Protocol

if sys.platform != "win32":
    import fcntl

LOCKS = sys.platform != "win32"
FOLDERS_SYNC = os.name == "posix"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Disk(Protocol):
    """Where the bytes of a journal lie; a faulty one is twenty lines in a test."""

    def read(self) -> bytes:
        """All bytes; empty if there is nothing yet."""
        ...

    def append(self, data: bytes) -> None:
        """Adds bytes at the end; raises OSError."""
        ...

    def sync(self) -> None:
        """Returns once all appended bytes survive a power cut; raises OSError."""
        ...

    def cut(self, length: int) -> None:
        """Drops all bytes from ``length`` on."""
        ...

    def close(self) -> None:
        """Lets go of whatever is held open; a later write would open it again."""
        ...


class FileDisk:
    """A journal in a file. From the first reading on no other process can write it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> bytes:
        if not self._path.exists():
            return b""
        try:
            descriptor = self._open()
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            # What it says of the past is still worth knowing; the first write will fail.
            return self._path.read_bytes()
        _forget_what_is_cached(descriptor)
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def append(self, data: bytes) -> None:
        descriptor = self._open()
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self) -> None:
        descriptor = self._open()
        getattr(os, "fdatasync", os.fsync)(descriptor)

    def cut(self, length: int) -> None:
        os.ftruncate(self._open(), length)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            is_new = not self._path.exists()
            descriptor = os.open(self._path, flags, 0o600)
            try:
                _lock(descriptor)
                if is_new:
                    sync_folder(self._path.parent)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor


def _lock(descriptor: int) -> None:
    """Makes this process the file's only writer until it closes it or dies; raises OSError."""
    if sys.platform == "win32" or not LOCKS:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        text = "another process writes it; end that one, or use it by its owner"
        raise BlockingIOError(error.errno, text) from error


def _forget_what_is_cached(descriptor: int) -> None:
    """Makes the next read come from the disk itself.

    After a failed sync the system may go on showing, from memory, bytes that the disk never got
    (safety story 21); the process that saw the failure may be gone.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Makes a new file's name survive a power cut, where the system lets folders be synced."""
    if not FOLDERS_SYNC:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
