"""What every link is: a line of bytes to one device, on callbacks because latency matters."""

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol

from device_profiles.errors import LinkError, LinkLost

MAX_QUEUED = 65_536
"""Bytes a link holds for a device that takes none; beyond this the device counts as gone."""


class Receiver(Protocol):
    """Whoever listens to a link. Both methods are called on the event loop's thread."""

    def received(self, data: bytes) -> None:
        """Takes the next bytes, one or more; their cut into pieces means nothing."""

    def lost(self, error: LinkError) -> None:
        """Learns that the link is gone: called once, never after `Link.close`, and last."""


class Link(ABC):
    """One line of bytes. Opened once; a lost link is closed and replaced by a new one."""

    url: str
    baud: int | None = None
    """Bits a second of its wire, where it has one that is slower than the host."""

    @property
    def queued(self) -> int:
        """Bytes that were written and that the operating system has not taken yet."""
        return 0

    @abstractmethod
    async def open(self, receiver: Receiver) -> None:
        """Opens the line; from now on ``receiver`` gets what arrives.

        Raises LinkError with a sentence that names the URL and the remedy; nothing stays open.
        """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Hands ``data`` to the operating system at once; never blocks.

        What the system does not take is queued and written as soon as it does. Raises LinkLost
        when the line is gone; the receiver then hears ``lost`` too, from the event loop and
        never from inside this call.
        """

    @abstractmethod
    async def close(self) -> None:
        """Closes the line; idempotent. Bytes that are still queued may be dropped."""


class LiveLink(Link):
    """The part all links share: who listens, and whether the line still stands.

    A subclass calls `_begin` once it is open, `_deliver` for what arrives and `_lose` when the
    line goes; it implements `_send`, and `_release`, which frees everything and is called once.
    """

    REMEDY = "Check the cable and the device's power, then connect again."

    def __init__(self, url: str) -> None:
        self.url = url
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost_by: LinkLost | None = None
        self._closed = False

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        if self._lost_by is not None:
            raise LinkLost(str(self._lost_by)) from self._lost_by
        if self._receiver is None or self._closed:
            raise LinkLost(f"{self.url} is not open: nothing was written to it.")
        try:
            self._send(data)
        except OSError as error:
            raise self._lose(f"writing to it failed: {error.strerror or error}", error) from error

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Hands on or queues ``data``; an OSError means that the line is gone."""

    @abstractmethod
    def _release(self) -> None:
        """Frees what the open line holds without waiting; called once, on loss or on close."""

    def _begin(self, receiver: Receiver) -> None:
        self._loop = asyncio.get_running_loop()
        self._receiver = receiver

    def _deliver(self, data: bytes) -> None:
        if self._receiver is not None and self._lost_by is None and not self._closed:
            self._receiver.received(data)

    def _lose(self, reason: str, cause: BaseException | None = None) -> LinkLost:
        """Declares the line gone, frees it and tells the receiver soon; returns the error."""
        if self._lost_by is not None:
            return self._lost_by
        error = LinkLost(f"{self.url} is gone: {reason}. {self.REMEDY}")
        error.__cause__ = cause
        if self._closed:
            return error
        self._lost_by = error
        self._release()
        if self._loop is not None:
            self._loop.call_soon(self._tell_lost)
        return error

    def _tell_lost(self) -> None:
        if self._receiver is not None and self._lost_by is not None and not self._closed:
            self._receiver.lost(self._lost_by)

    def _close(self) -> None:
        """Closes once: frees the line unless its loss already has."""
        if self._closed:
            return
        self._closed = True
        if self._receiver is not None and self._lost_by is None:
            self._release()
