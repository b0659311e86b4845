"""Work in child processes: what is changed there ends with them, and two run at once."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

T = TypeVar("T")

AT_ONCE = 2

Work = Callable[[], T]


class Failed(Exception):
    """A child ended without a result; the text is its last words."""


def in_children(works: Sequence[Work[T]], at_once: int = AT_ONCE) -> list[T]:
    """The results in the order of the works. Raises Failed."""
    results: dict[int, T] = dict(_as_they_end(works, at_once))
    return [results[place] for place in range(len(works))]


def _as_they_end(works: Sequence[Work[T]], at_once: int) -> Iterator[tuple[int, T]]:
    # A forked child starts with the modules as they are here, and leaves them so.
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(works))[::-1]
    running: dict[Connection, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                place, work = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                child = context.Process(target=_report, args=(work, theirs))
                child.start()
                theirs.close()
                running[ours] = place, child
            for ended in wait(list(running)):
                assert isinstance(ended, Connection)
                place, child = running.pop(ended)
                with ended:
                    try:
                        is_result, value = ended.recv()
                    except EOFError:
                        is_result, value = False, "it ended without a word"
                child.join()
                child.close()
                if not is_result:
                    raise Failed(value)
                yield place, value
    finally:
        for connection, (_, child) in running.items():
            child.terminate()
            child.join()
            connection.close()


def _report(work: Work[Any], to: Connection) -> None:
    try:
        answer = True, work()
    except BaseException:
        answer = False, traceback.format_exc()
    to.send(answer)
    to.close()
