"""The line between host and device, and what the weather does to each frame in it."""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.links.base import Link, Receiver
from hil.storm.disk import Step
from hil.storm.plan import WEATHERS

KEPT = 48
"""How many frames of each direction the line remembers, to play them once more."""
PLAIN = 0x84
"""How the body of a frame begins that is not sealed."""
_LATE_MS = (520, 700, 1_600, 2_400, 6_000, 61_000)


def kind_of(frame: bytes) -> int:
    """The number of the message in an intact frame, read from its first bytes; 0: it is sealed."""
    if frame[1] != PLAIN:
        return 0
    return frame[2] if frame[2] < 24 else frame[3]


class Said(NamedTuple):
    """Bytes that left an end of the line (ms), in plain, while the plug was in a place."""

    at: int
    from_host: bool
    data: bytes
    plug: int


class Line:
    """A wire that outlives hosts: what is on its way arrives at whoever is there by then."""

    def __init__(
        self,
        random: Random,
        receive: Callable[[bytes], None],
        now_ms: Callable[[], int],
        plain: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._random = random
        self._receive = receive
        self._now_ms = now_ms
        self.plain = plain
        """Frames as they would have gone without a seal."""
        self.strength = dict.fromkeys(WEATHERS, 0)
        self.is_calm = True
        self.is_cut = False
        self.is_unplugged = False
        self.plug = 0
        """Counts how often the plug was moved: what was on its way before then is lost."""
        self.end: HostLink | None = None
        self.traffic: list[tuple[int, bool, bytes]] = []
        """Every piece of bytes that has left an end: when, whether from the host, what."""
        self.said: list[Said] = []
        """The same, in plain, and in which place the plug was."""
        self._kept: dict[bool, deque[bytes]] = {
            True: deque(maxlen=KEPT),
            False: deque(maxlen=KEPT),
        }

    def set(self, kind: str, strength: int) -> None:
        """Another weather from now on."""
        self.strength[kind] = strength
        self.is_calm = not any(self.strength.values())

    def to_device(self, data: bytes) -> None:
        """Bytes leave the host."""
        self._leaves(data, from_host=True)
        if self.is_calm and not self.is_cut:
            self._kept[True].append(data)
            self._receive(data)
        else:
            self._through_weather(data, from_host=True)

    def to_host(self, data: bytes) -> None:
        """Bytes leave the device."""
        self._leaves(data, from_host=False)
        if self.is_calm and not self.is_cut:
            self._kept[False].append(data)
            asyncio.get_running_loop().call_soon(self._arrive, False, data, self.plug)
        else:
            self._through_weather(data, from_host=False)

    def _leaves(self, data: bytes, *, from_host: bool) -> None:
        now = self._now_ms()
        self.traffic.append((now, from_host, data))
        self.said.append(Said(now, from_host, self.plain(data), self.plug))

    def flood(self, size: int) -> None:
        """Noise and old frames at both ends."""
        for from_host in (True, False):
            self._arrive(from_host, self._random.randbytes(size), self.plug)
            for old in self._kept[from_host]:
                self._arrive(from_host, old, self.plug)
            self._arrive(from_host, b"\x00", self.plug)

    def pull(self) -> None:
        """The plug is out."""
        self.is_unplugged = True
        self.moved()
        if self.end is not None:
            self.end.lose("it was unplugged")

    def moved(self) -> None:
        """The plug is somewhere else: the line forgets what was on its way, and what it heard."""
        self.plug += 1
        for kept in self._kept.values():
            kept.clear()

    # --- weather -----------------------------------------------------------------------------

    def _through_weather(self, data: bytes, *, from_host: bool) -> None:
        if self.is_cut or self.is_unplugged:
            return
        draw, kept = self._random.randrange, self._kept[from_host]
        happens = {kind for kind, most in self.strength.items() if most > 0 and draw(1_000) < most}
        copies = [data] if "loss" not in happens else []
        if "duplication" in happens:
            copies.append(data)
        if "replay" in happens and kept:
            copies += [self._random.choice(kept) for _ in range(self._random.randint(1, 3))]
        kept.append(data)
        for copy in copies:
            delay = draw(3)
            if "late" in happens:
                delay += self._random.choice(_LATE_MS)
            elif "reorder" in happens:
                delay += draw(450)
            if "flip" in happens:
                copy = self._flipped(copy)
            if "split" in happens:
                middle = draw(len(copy))
                self._later(delay, from_host, copy[:middle])
                self._later(delay + draw(30), from_host, copy[middle:])
            else:
                self._later(delay, from_host, copy)

    def _flipped(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randrange(len(damaged) * 8)
            damaged[place // 8] ^= 1 << place % 8
        return bytes(damaged)

    def _later(self, delay_ms: int, from_host: bool, data: bytes) -> None:
        if data:
            loop = asyncio.get_running_loop()
            loop.call_later(delay_ms / 1_000, self._arrive, from_host, data, self.plug)

    def _arrive(self, from_host: bool, data: bytes, plug: int) -> None:
        if self.is_unplugged or self.is_cut or plug != self.plug:
            return
        if from_host:
            self._receive(data)
        elif self.end is not None:
            self.end.hear(data)


class HostLink(Link):
    """One host's end of the line; once that host is dead, nothing passes it."""

    url = "storm"

    def __init__(self, line: Line, step: Step, names: Callable[[int], str]) -> None:
        self._line, self._step, self._names = line, step, names
        self._receiver: Receiver | None = None
        self._lost: LinkLost | None = None
        self._asked = ""

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`."""
        if self._line.is_unplugged:
            raise LinkError("the line is unplugged")
        self._receiver = receiver
        if self._line.end is not None:
            self._line.end.lose("another host has opened the line")
        self._line.end = self

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        if self._lost is not None:
            raise LinkLost(str(self._lost))
        if self._receiver is None:
            raise LinkLost("the line is not open")
        self._asked = name = self._names(kind_of(self._line.plain(data)))
        if self._step(f"leaves {name}"):
            self._line.to_device(data)
            self._step(f"done {name}")

    async def close(self) -> None:
        """See `Link.close`."""
        self._receiver = None
        if self._line.end is self:
            self._line.end = None

    def lose(self, why: str) -> None:
        """The line is gone; the receiver hears it soon."""
        if self._line.end is self:
            self._line.end = None
        if self._lost is None:
            self._lost = LinkLost(f"the line is gone: {why}")
            asyncio.get_running_loop().call_soon(self._tell)

    def hear(self, data: bytes) -> None:
        """Bytes arrive."""
        if self._receiver is not None and self._step(f"heard {self._asked}"):
            self._receiver.received(data)

    def _tell(self) -> None:
        if self._receiver is not None and self._lost is not None and self._step("lost"):
            self._receiver.lost(self._lost)
