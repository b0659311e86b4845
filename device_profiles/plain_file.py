"""Only plain files are read by name: a pipe or a device could block, or never end."""

import os
import stat
from pathlib import Path


def not_plain(path: Path) -> str | None:
    """What a path is instead of a plain file, None for one; raises OSError where nothing is."""
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return None
    return "a directory" if stat.S_ISDIR(mode) else "no plain file"
