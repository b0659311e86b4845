"""A link over a link, with somebody in the middle who only listens."""

from typing import Protocol

from device_profiles.errors import LinkError
from firmware_bridge.links.base import Link, Receiver


class Listener(Protocol):
    """Who hears what goes over a link. No method may raise or wait: the road goes through it."""

    def opening(self, link: Link, receiver: Receiver) -> None:
        """The link is about to be opened for a receiver."""

    def opened(self) -> None:
        """It is open."""

    def not_opened(self, error: LinkError) -> None:
        """It could not be opened."""

    def writes(self, data: bytes) -> None:
        """These bytes are about to be handed to it."""

    def not_written(self, error: LinkError) -> None:
        """It did not take them."""

    def receives(self, data: bytes) -> None:
        """These bytes have arrived, and the receiver is about to get them."""

    def received(self) -> None:
        """The receiver has taken in what had arrived."""

    def lost(self, error: LinkError) -> None:
        """The line is gone."""

    def closed(self) -> None:
        """It was closed."""


class TappedLink(Link):
    """A link that does what the one underneath does, while a listener hears all of it."""

    def __init__(self, inner: Link, listener: Listener) -> None:
        self.url = inner.url
        self.baud = inner.baud
        self._inner = inner
        self._listener = listener
        self._receiver: Receiver | None = None
        self._closed = False

    @property
    def queued(self) -> int:
        """See `Link.queued`."""
        return self._inner.queued

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        self._receiver = receiver
        self._listener.opening(self._inner, receiver)
        try:
            await self._inner.open(self)
        except LinkError as error:
            self._listener.not_opened(error)
            raise
        self._listener.opened()

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        self._listener.writes(data)
        try:
            self._inner.write(data)
        except LinkError as error:
            self._listener.not_written(error)
            raise

    async def close(self) -> None:
        """See `Link.close`."""
        await self._inner.close()
        if not self._closed:
            self._closed = True
            self._listener.closed()

    # --- Receiver ----------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Hands on what has arrived."""
        assert self._receiver is not None
        self._listener.receives(data)
        try:
            self._receiver.received(data)
        finally:
            self._listener.received()

    def lost(self, error: LinkError) -> None:
        """Hands on that the line is gone."""
        assert self._receiver is not None
        self._listener.lost(error)
        self._receiver.lost(error)
