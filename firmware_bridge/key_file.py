"""A device's key in a file: 64 hexadecimal digits and a line feed, for its user's eyes alone."""

import os
import stat
import sys
from pathlib import Path

from device_profiles.errors import UsageError
from firmware_bridge.protocol.seal import KEY_BYTES, DeviceKey

KEY_LINE = 2 * KEY_BYTES + 1
"""Bytes of a key file."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""A pipe of that name keeps nobody waiting."""


def key_of_text(text: bytes, source: str) -> DeviceKey:
    """The key in a file's bytes; raises UsageError, which never repeats them."""
    try:
        if len(text) != KEY_LINE or text[-1:] != b"\n":
            raise ValueError
        return DeviceKey(bytes.fromhex(text[:-1].decode("ascii")))
    except ValueError:
        raise UsageError(
            f"{source} holds no device key: that is {2 * KEY_BYTES} hexadecimal digits and a line "
            "feed, as `neuraxis keys new SERIAL --out FILE` writes it"
        ) from None


def read_key(path: Path) -> DeviceKey:
    """The key in a file; raises UsageError unless nobody but this user can read or change it."""
    try:
        # The very file that is looked at is read; a link to another is none.
        number = os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT)
    except OSError as error:
        raise UsageError(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        _check_private(path, os.fstat(number))
        return key_of_text(os.read(number, KEY_LINE + 1), f"the key file {path}")
    finally:
        os.close(number)


def write_key(path: Path, key: DeviceKey) -> None:
    """Writes a new key file, readable by its user alone; raises UsageError if there is one."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists: a key never takes the place of a file") from None
    except OSError as error:
        raise UsageError(f"the key file {path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(number, "wb") as file:
            file.write(key.secret.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(number)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key would stand in the way of a whole one
        raise UsageError(f"the key file {path} cannot be written: {error.strerror}") from None


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"the key file {path} is no file")
    if sys.platform == "win32":
        return  # no modes: the folder of the user's settings is the user's alone
    if status.st_uid != os.getuid():
        raise UsageError(f"the key file {path} is another user's: copy it, and chmod 600 the copy")
    if status.st_mode & 0o077:
        raise UsageError(
            f"the key file {path} can be read or changed by others (mode "
            f"{stat.S_IMODE(status.st_mode):o}): run chmod 600 {path}. If others were on this "
            "machine meanwhile, give the device a new key"
        )
