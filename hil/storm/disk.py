"""The journal's files in memory: they outlive hosts, fill up, fail to sync and lose their power."""

import errno
from collections.abc import Callable
from random import Random

from safety.anchor import Anchor
from safety.checkpoint import StateFile
from safety.journal_format import Head

Step = Callable[[str], bool]
"""Tells a name of a step; the answer is whether the host is still alive after it."""


class Files:
    """What lies on the disk, and what of it only the system's memory holds.

    ``whole`` is what a reader sees, of which ``synced`` bytes survive a power cut. ``breaks`` is
    the error that writes and syncs end with, if any.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self.whole = bytearray()
        self.synced = 0
        self.anchor: Head | None = None
        self.anchor_synced: Head | None = None
        self.states = b""
        self.is_full = False
        self.sync_fails = False
        self._lost_on_error = False

    def lose_power(self) -> None:
        """Keeps what was synced, and of the rest some first part."""
        keep = self._random.choice((0, self._random.random(), 1))
        self._cut_to(self.synced + int((len(self.whole) - self.synced) * keep))
        self.anchor = self._random.choice((self.anchor, self.anchor_synced))
        self.anchor_synced = self.anchor

    def reopened(self) -> None:
        """A new host reads what the disk has, not what the system's memory showed."""
        if self._lost_on_error:
            self._cut_to(self.synced)
        self._lost_on_error = False

    def _cut_to(self, length: int) -> None:
        del self.whole[length:]
        self.synced = min(self.synced, length)

    def append(self, data: bytes) -> None:
        """Adds bytes; a full disk takes some of them."""
        if self.is_full:
            self.whole += data[: self._random.randrange(len(data))]
            raise OSError(errno.ENOSPC, "No space left on device")
        self.whole += data

    def sync(self) -> None:
        """Brings everything to the disk, or fails and may lose what was not there yet."""
        if self.sync_fails:
            self._lost_on_error = self._random.random() < 0.5
            raise OSError(errno.EIO, "Input/output error")
        self.synced = len(self.whole)

    def cut(self, length: int) -> None:
        """Drops the end."""
        self._cut_to(length)


class HostDisk:
    """The journal as one host has it open; once that host is dead nothing of it has an effect."""

    def __init__(self, files: Files, step: Step) -> None:
        self._files, self._step = files, step

    def read(self) -> bytes:
        """See `Disk.read`."""
        return bytes(self._files.whole)

    def append(self, data: bytes) -> None:
        """See `Disk.append`; a death may leave half of the bytes."""
        if not self._step("append"):
            return
        if not self._step("torn"):
            self._files.append(data[: len(data) // 2])
            return
        self._files.append(data)
        self._step("appended")

    def sync(self) -> None:
        """See `Disk.sync`."""
        if self._step("sync"):
            self._files.sync()
            self._step("synced")

    def cut(self, length: int) -> None:
        """See `Disk.cut`."""
        if self._step("cut"):
            self._files.cut(length)

    def close(self) -> None:
        """Nothing is held open."""


class HostAnchor(Anchor):
    """The anchor as one host writes it."""

    def __init__(self, files: Files, step: Step) -> None:
        self._files, self._step = files, step

    def read(self) -> Head | None:
        """See `Anchor.read`."""
        return self._files.anchor

    def write(self, head: Head) -> None:
        """See `Anchor.write`; the first one is on the disk when it returns."""
        if not self._step("anchor"):
            return
        if self._files.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._files.anchor = head
        self._files.anchor_synced = self._files.anchor_synced or head
        self._step("anchored")

    def sync(self) -> None:
        """See `Anchor.sync`."""
        if self._step("anchor sync"):
            self._files.anchor_synced = self._files.anchor


class HostStates(StateFile):
    """The state of the last checkpoint as one host writes it."""

    def __init__(self, files: Files, step: Step) -> None:
        self._files, self._step = files, step

    def read(self) -> bytes:
        """See `StateFile.read`."""
        return self._files.states

    def write(self, encoded: bytes) -> None:
        """See `StateFile.write`."""
        if self._step("states"):
            self._files.states = encoded
