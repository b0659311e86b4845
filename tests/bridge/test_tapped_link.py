"""A listener hears all that goes over a link, and changes none of it."""

import pytest

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.links.tapped_link import TappedLink


class Wire(Link):
    """A link in a test's hands."""

    def __init__(self) -> None:
        self.url, self.baud = "wire", 9_600
        self.receiver: Receiver | None = None
        self.said: list[bytes] = []
        self.failure: LinkError | None = None

    @property
    def queued(self) -> int:
        return 5

    async def open(self, receiver: Receiver) -> None:
        if self.failure is not None:
            raise self.failure
        self.receiver = receiver

    def write(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.said.append(data)

    async def close(self) -> None:
        self.receiver = None


class Ear:
    """Remembers everything; the receiver, too."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def opening(self, link: Link, receiver: Receiver) -> None:
        self.heard.append(("opening", link.url))

    def opened(self) -> None:
        self.heard.append("opened")

    def not_opened(self, error: LinkError) -> None:
        self.heard.append(("not opened", str(error)))

    def writes(self, data: bytes) -> None:
        self.heard.append((">", data))

    def not_written(self, error: LinkError) -> None:
        self.heard.append(("not written", str(error)))

    def receives(self, data: bytes) -> None:
        self.heard.append(("<", data))

    def received(self) -> None:
        self.heard.append("taken in")

    def lost(self, error: LinkError) -> None:
        self.heard.append(("lost", str(error)))

    def closed(self) -> None:
        self.heard.append("closed")


class Host:
    """Who listens at the far end."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def received(self, data: bytes) -> None:
        self.got.append(data)
        if data == b"bad":
            raise ValueError

    def lost(self, error: LinkError) -> None:
        self.got.append(error)


async def test_both_directions_pass_unchanged_and_are_heard() -> None:
    wire, ear, host = Wire(), Ear(), Host()
    link = TappedLink(wire, ear)
    assert (link.url, link.baud, link.queued) == ("wire", 9_600, 5)
    await link.open(host)
    link.write(b"one")
    assert wire.receiver is not None
    wire.receiver.received(b"two")
    error = LinkLost("gone")
    wire.receiver.lost(error)
    await link.close()
    await link.close()
    assert (wire.said, host.got) == ([b"one"], [b"two", error])
    assert ear.heard == [
        ("opening", "wire"),
        "opened",
        (">", b"one"),
        ("<", b"two"),
        "taken in",
        ("lost", "gone"),
        "closed",
    ]


async def test_what_fails_fails_the_same_way_and_is_heard() -> None:
    wire, ear, host = Wire(), Ear(), Host()
    link = TappedLink(wire, ear)
    wire.failure = LinkError("no such port")
    with pytest.raises(LinkError, match="no such port"):
        await link.open(host)
    wire.failure = None
    await link.open(host)
    wire.failure = LinkLost("gone")
    with pytest.raises(LinkLost, match="gone"):
        link.write(b"one")
    assert ("not opened", "no such port") in ear.heard
    assert ear.heard[-2:] == [(">", b"one"), ("not written", "gone")]


async def test_a_receiver_that_fails_is_heard_to_have_received() -> None:
    wire, ear = Wire(), Ear()
    await TappedLink(wire, ear).open(Host())
    assert wire.receiver is not None
    with pytest.raises(ValueError):
        wire.receiver.received(b"bad")
    assert ear.heard[-2:] == [("<", b"bad"), "taken in"]
