"""Ctrl-C, SIGTERM, a closed terminal: the work is cancelled; what a device was asked is seen to
its end."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from hil import early
from hil.early import CODES
from hil.exit_codes import HUNG_UP, INTERRUPTED

T = TypeVar("T")


def run_interruptible(
    main: Coroutine[Any, Any, int],
    say: Callable[[str], None],
    interrupted: Callable[[int], None],
) -> int:
    """Runs ``main`` to its exit code; a signal cancels it once and gives its code.

    ``interrupted`` hears that code when the signal comes.

    ``say`` hears a word for it, to which the command adds what it does now. ``main`` uses its
    ``finally`` blocks to bring the device to its safe state. What they raise is raised here: it is
    severer than the interruption.
    """
    return asyncio.run(_supervised(main, say, interrupted))


async def _supervised(
    main: Coroutine[Any, Any, int],
    say: Callable[[str], None],
    interrupted: Callable[[int], None],
) -> int:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    received: list[int] = []

    def interrupt(number: int) -> None:
        if received:
            say("already stopping")
            return
        received.append(CODES[signal.Signals(number)])
        task.cancel()
        interrupted(received[0])
        say("stopping")

    restore = [_on_signal(loop, one, interrupt) for one in CODES if not _is_nohup(one)]
    try:
        # A group, so that an outer cancellation still waits for the clean-up.
        await asyncio.wait({task})
    finally:
        for undo in restore:
            undo()
        early.over()
    if task.cancelled():
        return received[0] if received else INTERRUPTED
    return task.result()


async def seen_to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` comes to, a cancellation or not.

    For what a device is asked once, and answers or not within a known time: cut in the middle, a
    person would not be told that it may have acted.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


@contextmanager
def signals_interrupt() -> Iterator[Callable[[], None]]:
    """A signal is a KeyboardInterrupt that `code_of_interrupt` knows; for work without a device.

    What it gives raises a signal once more: Python swallows one that comes while it forks.
    """
    received: list[int] = []

    def heed() -> None:
        if received:
            raise KeyboardInterrupt(received[0])

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt(number)

    before = {one: signal.signal(one, interrupt) for one in CODES if not _is_nohup(one)}
    try:
        yield heed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def code_of_interrupt(end: KeyboardInterrupt) -> int:
    """The exit code of the signal that raised it."""
    return CODES[signal.Signals(end.args[0])] if end.args else INTERRUPTED


def _is_nohup(number: signal.Signals) -> bool:
    """Whether a run was started to outlive its terminal."""
    return CODES[number] == HUNG_UP and signal.getsignal(number) is signal.SIG_IGN


def _on_signal(
    loop: asyncio.AbstractEventLoop, number: int, interrupt: Callable[[int], None]
) -> Callable[[], object]:
    """Installs a handler; returns what takes it out again."""
    if sys.platform == "win32":
        before = signal.signal(
            number, lambda seen, _frame: loop.call_soon_threadsafe(interrupt, seen)
        )
        return lambda: signal.signal(number, before)
    loop.add_signal_handler(number, interrupt, number)
    return lambda: loop.remove_signal_handler(number)
