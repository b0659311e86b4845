"""Where things lie in the user's state folder, and the locks that make an owner the only one."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from device_profiles.errors import OwnerError
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.settings import JournalPlace
from hil.keys import KeyStore
from hil.monitor_line import HOLDER
from safety.journal import Anchor, FileDisk, StateFile

LOOK_PATIENCE_S = 0.3
RESCUE_PATIENCE_S = 20.0
"""How long one waits for the monitor of a dead owner, which is stopping the device."""
SOCKET_PATH_MAX = 100
"""Bytes of a Unix socket's path that every system takes."""


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """A running owner, as other terminals find it."""

    pid: int
    url: str
    serial: str
    family: str
    socket: str
    journal: str


class Places:
    """The user's state folder; nobody else may read it."""

    def __init__(self, root: Path, journal: Path | None = None, keys: Path | None = None) -> None:
        self._root = root
        self._journal = journal
        self.keys = KeyStore(keys or root / "keys")
        """The keys of devices; they lie with the user's settings, apart from what changes."""

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def journal_path(self, serial: str) -> Path:
        """The journal of a serial number, wherever the person wants it."""
        if self._journal is not None:
            return self._journal
        return self._folder("journals") / f"{quote(serial, safe='')}.journal"

    def journals(self) -> tuple[Path, ...]:
        """All journals that lie where they lie by default."""
        return tuple(sorted((self._root / "journals").glob("*.journal")))

    def anchor_of(self, journal: Path) -> Anchor:
        """The anchor of a journal: in the state folder, so that it is apart from the journal."""
        return Anchor(self._anchor_path(journal))

    def _anchor_path(self, journal: Path) -> Path:
        name = sha256(str(journal.resolve()).encode()).hexdigest()[:24]
        return self._folder("anchors") / name

    def journal_of(self, serial: str) -> JournalPlace:
        """The place of a serial number's journal."""
        path, anchor, states = self.journal_files(serial)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return JournalPlace(FileDisk(path), Anchor(anchor), StateFile(states))

    def journal_files(self, serial: str) -> tuple[Path, Path, Path]:
        """The files of a serial number's journal: itself, its anchor, its checkpoint's state."""
        path = self.journal_path(serial)
        return path, self._anchor_path(path), path.with_name(path.name + ".state")

    def records(self) -> Path:
        """Where monitors leave what the next owner has to know."""
        return self._folder("records")

    def notes_for(self, serial: str) -> tuple[Path, ...]:
        """What monitors left there about a device, the oldest first; see `monitor_rescue`."""
        return tuple(sorted(self.records().glob(f"{serial.encode().hex()}-*.json")))

    # --- owners ------------------------------------------------------------------------------

    def line_lock(self, url: DeviceUrl) -> "OwnerLock":
        """The lock of a line; boards of one make on USB have one each where they are named."""
        board = f"?serial={url.serial}" if url.scheme == "usb" and url.serial else ""
        return self.lock(url.address + board)

    def lock(self, what: str) -> "OwnerLock":
        """The lock of a line or of a serial number; not yet taken."""
        name = sha256(what.encode()).hexdigest()[:24]
        return OwnerLock(self._folder("locks") / name, what)

    def locks_of(self, url: DeviceUrl, serial: str) -> tuple[str, ...]:
        """The files of the locks that the owner of a device holds; see `own`."""
        line = () if url.scheme == "sim" else (self.line_lock(url),)
        return tuple(lock.file for lock in (*line, self.lock(serial)))

    def announce(self, record: OwnerRecord) -> None:
        """Lets other terminals find an owner."""
        path = self._owner_path(record.serial)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(record)), "utf-8")
        draft.replace(path)

    def withdraw(self, serial: str) -> None:
        """The owner is gone."""
        self._owner_path(serial).unlink(missing_ok=True)

    def owners(self) -> tuple[OwnerRecord, ...]:
        """The owners that run now; what a killed one left behind is cleared away."""
        records = []
        for path in sorted((self._root / "owners").glob("*.json")):
            try:
                record = OwnerRecord(**json.loads(path.read_text("utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            if self.lock(record.serial).is_taken():
                records.append(record)
            else:
                path.unlink(missing_ok=True)
        return tuple(records)

    def socket_path(self, serial: str) -> Path:
        """The owner's socket, in a folder that only its user can enter."""
        name = sha256(f"{self._root}/{serial}".encode()).hexdigest()[:16] + ".sock"
        path = self._folder("sockets") / name
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        return _private_folder(Path(tempfile.gettempdir()) / f"neuraxis-{os.getuid()}") / name

    def _owner_path(self, serial: str) -> Path:
        return self._folder("owners") / f"{quote(serial, safe='')}.json"


def _private_folder(folder: Path) -> Path:
    """A folder of this user alone, where others can make folders too; raises OwnerError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat(follow_symlinks=False)
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise OwnerError(f"{folder} can be entered by others: remove it and try again")
    return folder


class OwnerLock:
    """A lock that names its holder; the system frees it when the holder dies."""

    def __init__(self, path: Path, what: str) -> None:
        self._what = what
        self._lock = FileLock(path.with_suffix(".lock"))
        self._holder = path.with_suffix(".pid")

    @property
    def file(self) -> str:
        """The file that is locked."""
        return self._lock.lock_file

    def take(self) -> None:
        """Takes the lock or raises OwnerError with the holder's process number."""
        try:
            # Somebody who only looks whether there is an owner holds it for a moment.
            self._lock.acquire(timeout=LOOK_PATIENCE_S)
        except Timeout:
            self._take_after_monitor()
        self._holder.write_text(str(os.getpid()), "ascii")

    def _take_after_monitor(self) -> None:
        """Waits while the monitor of a dead owner still stops the device."""
        is_rescue = HOLDER in self._read_holder()
        try:
            self._lock.acquire(timeout=RESCUE_PATIENCE_S if is_rescue else 0)
        except Timeout:
            raise OwnerError(
                f"{self._what} already has an owner: process {self._read_holder()}. One process "
                "owns a device; ask it with `neuraxis status`, `stop`, …, or end it first"
            ) from None

    def is_taken(self) -> bool:
        """Whether another process, or this one, holds it now."""
        if self._lock.is_locked:
            return True
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return True
        self._lock.release()
        return False

    def release(self) -> None:
        """Gives the lock back; idempotent."""
        self._lock.release()

    def _read_holder(self) -> str:
        try:
            return self._holder.read_text("ascii").strip() or "unknown"
        except OSError:
            return "unknown"
