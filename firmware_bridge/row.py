"""The row of those whose word to a device has to stand in the journal in the order of the line."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Place:
    """One place in a row."""

    def __init__(self, before: "asyncio.Future[None] | None") -> None:
        self._before = before

    async def turn(self) -> None:
        """Returns once all who stood here before have left."""
        if self._before is not None:
            await asyncio.shield(self._before)


class Row:
    """One at a time, in the order in which they came; `place` takes a place at once."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody stands here."""
        return self._last is None or self._last.done()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place behind all who stand here now, until its block is left."""
        before = None if self.is_empty else self._last
        self._last = mine = asyncio.get_running_loop().create_future()

        def leave(_: object = None) -> None:
            mine.set_result(None)

        try:
            yield Place(before)
        finally:
            if before is None or before.done():
                leave()
            else:
                before.add_done_callback(leave)  # who gives up its place lets nobody overtake
