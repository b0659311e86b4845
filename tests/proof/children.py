"""Work in child processes: what is changed there ends with them, and two run at once."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

T = TypeVar("T")

AT_ONCE = 2

Work = Callable[[], T]
Started = Callable[[int], None]


class Failed(Exception):
    """A child ended without a result; the text is its last words."""


def in_children(works: Sequence[Work[T]], at_once: int = AT_ONCE) -> list[T]:
    """The results in the order of the works. Raises Failed."""
    results: dict[int, T] = {}
    for ended in as_they_end(works, at_once):
        assert ended is not None
        place, result = ended
        if isinstance(result, Failed):
            raise result
        results[place] = result
    return [results[place] for place in range(len(works))]


def as_they_end(
    works: Sequence[Work[T]],
    at_once: int = AT_ONCE,
    started: Started = lambda place: None,
    every_s: float | None = None,
) -> Iterator[tuple[int, T | Failed] | None]:
    """Each result with its place, as soon as it is there; ``None`` every so many seconds."""
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
                started(place)
            ended = wait(list(running), every_s)
            if not ended:
                yield None
            for connection in ended:
                assert isinstance(connection, Connection)
                place, child = running.pop(connection)
                result: T | Failed = _received(connection)
                child.join()
                child.close()
                yield place, result
    finally:
        for connection, (_, child) in running.items():
            child.terminate()
            child.join()
            connection.close()


def _received(connection: Connection) -> Any:
    with connection:
        try:
            is_result, value = connection.recv()
        except EOFError:
            return Failed("it ended without a word")
    return value if is_result else Failed(value)


def _report(work: Work[Any], to: Connection) -> None:
    try:
        answer = True, work()
    except BaseException:
        answer = False, traceback.format_exc()
    to.send(answer)
    to.close()
