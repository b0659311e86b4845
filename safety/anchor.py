"""The anchor: a journal's head in a second file, so that a cut tail or an older copy shows.

Two slots are written in turn, each with a check of its own, so that a write which a power cut
tears leaves the one before. It lies wherever it is put: best in another folder, or on another disk,
than the journal.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from safety.disk import sync_folder
from safety.journal_format import RESTORE, Head, JournalError

SLOT_BYTES = 4_096
"""So that each slot lies in a sector of its own."""
CHECK_DIGITS = 16

_LINE = re.compile(
    rb"([0-9]{18}) ([0-9a-f]{64}) ((?:[0-9a-f]{2})*) ([0-9a-f]{%d})\n" % CHECK_DIGITS
)


class Anchor:
    """The head of a journal in a file of its own; it may lag behind, it never runs ahead."""

    _next: int | None = None
    """The slot that does not hold the newest head; ``None`` until that is known."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Head | None:
        """The newest head that was anchored; ``None`` if there is none; raises JournalError."""
        try:
            slots = self._slots()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(
                f"{self._path}: the journal's anchor is unreadable: {error.strerror or error}"
            ) from error
        heads = [head for head in slots if head is not None]
        if not heads:
            raise JournalError(f"{self._path}: the journal's anchor is damaged; {RESTORE}")
        newest = max(heads, key=lambda head: head.entries)
        if any(one.entries == newest.entries and one != newest for one in heads):
            raise JournalError(f"{self._path}: the journal's anchor contradicts itself; {RESTORE}")
        return newest

    def write(self, head: Head) -> None:
        """Puts a head in the place of the older of the two. Raises OSError.

        The system brings it to the disk when it likes; `sync` when it must.
        """
        try:
            self._in_file(lambda descriptor: self._write_slot(descriptor, head))
        except FileNotFoundError:
            self._create(head)

    def sync(self) -> None:
        """Returns once the last head survives a power cut. Raises OSError."""
        self._in_file(os.fsync)

    def _in_file(self, work: Callable[[int], None]) -> None:
        descriptor = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            work(descriptor)
        finally:
            os.close(descriptor)

    def _write_slot(self, descriptor: int, head: Head) -> None:
        if self._next is None:
            first, second = (-1 if one is None else one.entries for one in self._slots())
            self._next = 0 if first < second else 1
        os.lseek(descriptor, self._next * SLOT_BYTES, os.SEEK_SET)
        os.write(descriptor, _line(head))
        self._next = 1 - self._next

    def _slots(self) -> list[Head | None]:
        data = self._path.read_bytes()
        return [_head_in(data[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]) for slot in range(2)]

    def _create(self, head: Head) -> None:
        """Makes the file in one step, both slots filled: there is never half an anchor."""
        draft = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, _line(head).ljust(SLOT_BYTES, b"\n") + _line(head))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(self._path)
        sync_folder(self._path.parent)


def _line(head: Head) -> bytes:
    name = head.journal_id.encode().hex()
    text = f"{head.entries:018} {head.hash.hex()} {name}".encode("ascii")
    return text + b" " + _check(text) + b"\n"


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:CHECK_DIGITS].encode("ascii")


def _head_in(slot: bytes) -> Head | None:
    """The head in a slot; ``None`` unless its check is right."""
    match = _LINE.match(slot)
    if match is None or _check(slot[: match.start(4) - 1]) != match[4]:
        return None
    try:
        name = bytes.fromhex(match[3].decode()).decode()
    except UnicodeDecodeError:
        return None
    return Head(int(match[1]), bytes.fromhex(match[2].decode()), name)
