"""The outside as a host meets it: files and line, with a named step around all that is done.

At each step `Life.step` looks at what a death would leave just there.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import cbor2

from device_profiles.errors import LinkLost
from firmware_bridge.clock import NS_PER_S
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.frames import decode_frame
from firmware_bridge.protocol.messages import TherapyRequest
from firmware_bridge.simulator.ports import InProcessLink
from safety.events import Intended
from safety.journal_format import HASH_BYTES, HEADER_BYTES, MAGIC, Head, parse

from .crash_outside import PUMP, Files, FilesAnchor, FilesDisk, FilesStates, OnItsWay, When

if TYPE_CHECKING:
    from .crash_life import Life


WHENS: tuple[When, ...] = get_args(When)


class SteppedDisk(FilesDisk):
    """The journal's bytes, with a step on each side of every call, and in the middle of a write."""

    def __init__(self, life: "Life", files: Files) -> None:
        super().__init__(files)
        self._life = life

    def read(self) -> bytes:
        self._life.step("before the journal is read")
        found = super().read()
        self._life.step("after the journal was read")
        return found

    def append(self, data: bytes) -> None:
        what = kind_in(data)
        self._life.step(f"before {what} is appended")
        for part in (1, len(data) // 2, len(data) - 1):
            torn = self.files._replace(pending=self.files.pending + data[:part])
            self._life.step(f"with {part} of {len(data)} bytes of {what} appended", torn)
        super().append(data)
        self._life.step(f"after {what} was appended")

    def sync(self) -> None:
        self._life.step("before the journal is synced")
        super().sync()
        self._life.step("after the journal was synced")

    def cut(self, length: int) -> None:
        self._life.step("before the torn tail is cut")
        super().cut(length)
        self._life.step("after the torn tail was cut")


class SteppedAnchor(FilesAnchor):
    """The anchor, with a step on each side of every write."""

    def __init__(self, life: "Life") -> None:
        super().__init__(life.disk)
        self._life = life

    def write(self, head: Head) -> None:
        self._life.step("before the anchor is written")
        super().write(head)
        self._life.step("after the anchor was written")

    def sync(self) -> None:
        super().sync()
        self._life.step("after the anchor was synced")


class SteppedStates(FilesStates):
    """The last checkpoint's state, with a step on each side of every write."""

    def __init__(self, life: "Life") -> None:
        super().__init__(life.disk)
        self._life = life

    def write(self, encoded: bytes) -> None:
        self._life.step("before the checkpoint's state is written")
        super().write(encoded)
        self._life.step("after the checkpoint's state was written")


class SteppedLink(Link):
    """The line to the pump, with a step at each frame and reply, and frames that come late."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._inner = InProcessLink(life.runner)
        self.url = self._inner.url
        self._receiver: Receiver | None = None
        self._asked: list[str] = []

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        await self._inner.open(self)
        if self._life.stale:
            receiver.received(self._life.stale)
            self._life.stale = b""

    def write(self, data: bytes) -> None:
        life = self._life
        message = PUMP.catalogue.decode(decode_frame(data[:-1]) or b"").message
        name = PUMP.requests[type(message)]
        self._let_late_frames_in(name)
        if life.breaks and name == "open":
            life.breaks = False
            raise LinkLost("the line broke")
        is_therapy = isinstance(message, TherapyRequest)
        own: int | None = getattr(message, "id", None) if is_therapy else None
        if own is not None and own not in durable_ids(life.disk.files.synced):
            life.course.wrong.append(f"{name} of id {own} left before its intent was durable")
        life.step(f"before {name} leaves")
        if is_therapy:
            for when in WHENS:
                late = (*life.wire, OnItsWay(data, when))
                life.step(f"when {name} has left, to arrive {when}", wire=late)
        self._asked.append(name)
        self._inner.write(data)
        life.frames += 1
        life.step(f"after {name} was carried out")
        if own is not None:
            later = life.loop.now_ns + 600 * NS_PER_S
            life.step(f"after {name} was carried out, ten minutes without a host", now_ns=later)

    def _let_late_frames_in(self, name: str) -> None:
        life = self._life
        due = set[When]()
        if name == "open":
            due.add("before the next conversation")
        if self._asked[-1:] == ["outcome"]:
            due.add("after the next host has asked about an id")
        arrived = [late.frame for late in life.wire if late.when in due]
        life.wire = tuple(late for late in life.wire if late.when not in due)
        for frame in arrived:
            life.runner.receive(frame)
            life.frames += 1
            life.step("after a late frame has arrived")

    def received(self, data: bytes) -> None:
        """A reply of the pump, on its way to the session."""
        assert self._receiver is not None
        name = self._asked[-1]
        self._life.step(f"before the reply to {name} is heard")
        if name in ("bolus", "commit", "outcome"):
            self._life.step(f"when the reply to {name} is still on the wire", stale=data)
        self._receiver.received(data)
        self._life.step(f"after the reply to {name} was heard")

    def lost(self, error: Any) -> None:
        """The line is gone."""
        if self._receiver is not None:
            self._receiver.lost(error)

    async def close(self) -> None:
        await self._inner.close()


def kind_in(data: bytes) -> str:
    """Which event the bytes of one entry hold."""
    entry = data.removeprefix(MAGIC)
    return str(cbor2.loads(entry[HEADER_BYTES:-HASH_BYTES])["kind"])


@cache
def durable_ids(synced: bytes) -> frozenset[int]:
    """The intents that a power cut would leave."""
    return frozenset(event.id for event in parse(synced).events if isinstance(event, Intended))
