"""Who sits here, and where their things lie."""

import getpass
import os
from pathlib import Path

import platformdirs

from device_profiles.errors import UsageError


def user_name() -> str:
    """The user's name, or number where the system knows no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which one depends on the version of Python
        return f"uid {os.getuid()}"


def state_folder() -> Path:
    """Where journals, locks and sockets lie. Raises UsageError without a home."""
    try:
        return platformdirs.user_state_path("neuraxis")
    except RuntimeError as error:
        raise _homeless("state folder", "XDG_STATE_HOME") from error


def keys_folder() -> Path:
    """Where the keys of devices lie. Raises UsageError without a home."""
    try:
        return platformdirs.user_config_path("neuraxis") / "keys"
    except RuntimeError as error:
        raise _homeless("folder of keys", "XDG_CONFIG_HOME") from error


def _homeless(what: str, variable: str) -> UsageError:
    return UsageError(
        f"no home folder is known for {user_name()}, so nobody knows where the {what} is: set "
        f"{variable} to a folder of this user, or HOME"
    )
