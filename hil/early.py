"""Signals before a command has begun its work, and after its exit code stands.

Imported before everything else, so it imports next to nothing.
"""

import os
import signal
import sys
from contextlib import suppress

from hil.exit_codes import HUNG_UP, INTERRUPTED, TERMINATED, UNCERTAIN

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
if sys.platform != "win32":
    CODES[signal.SIGHUP] = HUNG_UP

_replaced: dict[signal.Signals, object] = {}


def begin() -> None:
    """From here on a signal ends this process with a sentence, until a command takes them over."""
    for number in CODES:
        before = signal.getsignal(number)
        if before != signal.SIG_IGN:
            _replaced[number] = before
            signal.signal(number, _end)


def loaded() -> None:
    """The program is there. Only a stop still needs its sentence: the others clean up as they do,
    and have asked nothing of a device yet."""
    if not _is_stop():
        for number, before in _replaced.items():
            signal.signal(number, before)  # type: ignore[arg-type]


def over() -> None:
    """What the process does from here on changes its exit code no more; a signal neither.

    Without `begin` the process is somebody else's, a test's, and keeps its signals.
    """
    for number in _replaced:
        signal.signal(number, signal.SIG_IGN)


def _is_stop() -> bool:
    return "stop" in sys.argv[1:]  # of a file of that name 6 says too much; never too little


def _end(number: int, _frame: object) -> None:
    what, code = "nothing was asked of a device", CODES[signal.Signals(number)]
    if _is_stop():
        what, code = "no stop was sent, the device goes on as it was", UNCERTAIN
    with suppress(OSError):
        os.write(2, f"neuraxis: interrupted before it began: {what}\n".encode())
    os._exit(code)  # an exception in the middle of an import would come out as anything
