"""The user's store of device keys: one file for each serial number, readable by this user alone."""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

from device_profiles.errors import UsageError
from device_profiles.serial_number import check_serial_number
from firmware_bridge.key_file import read_key, write_key
from firmware_bridge.links.base import Link
from firmware_bridge.links.child_link import ChildLink
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.protocol.seal import KEY_BYTES, DeviceKey
from firmware_bridge.settings import no_key

_ENDING = ".key"
UNSEALED = (
    "UNSEALED, as asked: nothing on this line is authenticated, and whoever reaches it commands "
    "the device. For boards in bring-up only"
)
"""What a person is told wherever a conversation is unsealed."""


class KeyStore:
    """A folder of keys; made when the first one is kept. Every method raises UsageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the keys lie."""
        return self._folder

    def path_of(self, serial: str) -> Path:
        """The file of a serial number's key."""
        return self._folder / f"{quote(check_serial_number(serial), safe='')}{_ENDING}"

    def find(self, serial: str) -> DeviceKey | None:
        """The key of a serial number, ``None`` if there is none."""
        path = self.path_of(serial)
        if not self._is_there() or not os.path.lexists(path):
            return None
        return read_key(path)

    def key_of(self, serial: str) -> DeviceKey:
        """The key of a serial number, or what to do without one."""
        key = self.find(serial)
        if key is None:
            raise UsageError(
                f"there is no key for {serial}, so nothing is sent to it but the question who it "
                f"is, and a stop. Add its key with `neuraxis keys add {serial} FILE`, or make one "
                f"at the bench with `neuraxis keys new {serial}`. A board in bring-up that has "
                "none is asked with ?unsealed=yes behind its URL: nothing protects the line then"
            )
        return key

    def make(self, serial: str) -> DeviceKey:
        """A new key for a serial number that has none."""
        key = DeviceKey(secrets.token_bytes(KEY_BYTES))
        self._write(serial, key)
        return key

    def keep(self, serial: str, key: DeviceKey) -> DeviceKey:
        """Keeps a key; another one that is there already stays, and is told of."""
        known = self.find(serial)
        if known is None:
            self._write(serial, key)
        elif known != key:
            raise UsageError(
                f"there is another key for {serial}: if the device has a new one, run "
                f"`neuraxis keys remove {serial}` first"
            )
        return key

    def serials(self) -> tuple[str, ...]:
        """All serial numbers that have a key."""
        if not self._is_there():
            return ()
        found = self._folder.glob(f"*{_ENDING}")
        return tuple(sorted(unquote(path.name.removesuffix(_ENDING)) for path in found))

    def remove(self, serial: str) -> None:
        """Forgets a key."""
        path = self.path_of(serial)
        if not os.path.lexists(path):
            raise UsageError(f"there is no key for {serial}")
        path.unlink()

    def _write(self, serial: str, key: DeviceKey) -> None:
        path = self.path_of(serial)
        if not self._is_there():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_key(path, key)

    def _is_there(self) -> bool:
        """Whether the folder is there, and this user's alone."""
        try:
            status = self._folder.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        if sys.platform != "win32" and (status.st_uid != os.getuid() or status.st_mode & 0o077):
            raise UsageError(
                f"the folder of keys {self._folder} can be entered by others: run "
                f"chmod 700 {self._folder}. If others were on this machine meanwhile, give the "
                "devices new keys"
            )
        return True


def key_source(url: DeviceUrl, link: Link, keys: KeyStore) -> Callable[[str], DeviceKey | None]:
    """Where the key of the device behind a URL comes from; `no_key` only if a person asked so."""
    if url.unsealed:
        return no_key
    if isinstance(link, ChildLink):
        return lambda _: link.key  # made for this run, and handed over when the child started
    return keys.key_of
