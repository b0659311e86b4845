"""The world as it is, and somebody who writes down all that a command hears and does in it."""

import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Literal

from device_profiles.errors import LinkError, NeuraxisError
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import Clock
from firmware_bridge.exchange import Exchange, Tap
from firmware_bridge.families.table import AnyController
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.links.tapped_link import TappedLink
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.protocol.frames import FrameDecoder, decode_frame
from firmware_bridge.protocol.seal import DeviceKey, is_sealed
from firmware_bridge.settings import JournalPlace, Settings
from hil.capture.lines import (
    AnyLine,
    Asked,
    Drawn,
    Interrupted,
    JournalFound,
    KeyAsked,
    LinkEvent,
    OwnersFound,
    Passed,
    Typed,
    Way,
)
from hil.keys import KeyStore
from hil.monitor_process import Guard
from hil.outside import KeyOf, Main, Outside, ignored
from hil.places import Places

Add = Callable[[AnyLine], None]
TALKS = (
    *("plan", "apply", "run", "status", "stop", "bolus", "prime", "amplitude", "switch"),
    *("impedance", "alarms", "acknowledge", "pause", "mri"),
)
"""The commands that talk to a device: what is recorded, and all that a replay may run."""


class Recorded(Outside):
    """What is outside, written down by ``add``; it changes nothing of what a command meets."""

    def __init__(self, outside: Outside, add: Add) -> None:
        self._outside = outside
        self._add = add
        self._places: Places | None = None
        self.links = 0
        """How many links were opened."""

    def run(
        self, main: Main, say: Callable[[str], None], interrupted: Callable[[int], None] = ignored
    ) -> int:
        """See `Outside.run`."""

        def noted(code: int) -> None:
            self._add(Interrupted(ns=self.now_ns(), code=code))
            interrupted(code)

        return self._outside.run(main, say, noted)

    def now_ns(self) -> int:
        """See `Outside.now_ns`."""
        return self._outside.now_ns()

    def wall_ms(self) -> Milliseconds:
        """See `Outside.wall_ms`."""
        return self._outside.wall_ms()

    def monitor(self) -> AbstractAsyncContextManager[Guard | None]:
        """See `Outside.monitor`."""
        return self._outside.monitor()

    def terminals(self, controller: AnyController) -> AbstractAsyncContextManager[None] | None:
        """See `Outside.terminals`."""
        return self._outside.terminals(controller)

    def places(self, journal: Path | None) -> Places:
        """See `Outside.places`."""
        is_first, self._places = self._places is None, self._outside.places(journal)
        if is_first:
            self._note_owners(self._places)
        return self._places

    def link(self, url: DeviceUrl, clock: Clock) -> Link:
        """See `Outside.link`."""
        return self._tapped(self._outside.link(url, clock))

    def line(self, url: DeviceUrl, clock: Clock, keys: KeyStore) -> tuple[Link, KeyOf]:
        """See `Outside.line`."""
        link, key_of = self._outside.line(url, clock, keys)
        return self._tapped(link), key_of

    def settings(self, settings: Settings) -> Settings:
        """See `Outside.settings`."""

        def journal_of(serial: str) -> JournalPlace:
            place = settings.journal_of(serial)
            self._keep_journal(serial)
            return place

        def key_of(serial: str) -> DeviceKey | None:
            try:
                key = settings.key_of(serial)
            except NeuraxisError as error:
                self._add(KeyAsked(ns=self.now_ns(), found="none", text=str(error)))
                raise
            self._add(KeyAsked(ns=self.now_ns(), found="unsealed" if key is None else "key"))
            return key

        settings = self._outside.settings(settings)
        return replace(
            settings,
            journal_of=journal_of,
            key_of=key_of,
            new_id=lambda: self._number("id", settings.new_id()),
            new_session=lambda: self._number("session", settings.new_session()),
            draw=lambda count: self._bytes(settings.draw(count)),
        )

    def dice(self) -> Random:
        """See `Outside.dice`."""
        return Random(self._number("seed", self._outside.dice().getrandbits(63)))

    def requested(self, request: str) -> None:
        """See `Outside.requested`."""
        self._add(Asked(ns=self.now_ns(), request=request))

    async def typed(self) -> str:
        """See `Outside.typed`."""
        line = await self._outside.typed()
        self._add(Typed(ns=self.now_ns(), text=line))
        return line

    def _tapped(self, link: Link) -> Link:
        return TappedLink(link, _Ear(self._add, self.now_ns, self._next_link))

    def _next_link(self) -> int:
        self.links += 1
        return self.links

    def _number(self, of: Literal["session", "id", "seed"], value: int) -> int:
        self._add(Drawn(ns=self.now_ns(), of=of, value=str(value)))
        return value

    def _bytes(self, value: bytes) -> bytes:
        # Nonces go over the line in clear; nothing secret is drawn here.
        self._add(Drawn(ns=self.now_ns(), of="bytes", value=value.hex()))
        return value

    def _note_owners(self, places: Places) -> None:
        with suppress(OSError, NeuraxisError):  # the command itself will say what is wrong
            if serials := [owner.serial for owner in places.owners()]:
                self._add(OwnersFound(ns=self.now_ns(), serials=serials))

    def _keep_journal(self, serial: str) -> None:
        """Before the device is taken charge of; what cannot be read counts as not there."""
        assert self._places is not None, "a device has a journal in some place"
        files = [_packed(path) for path in self._places.journal_files(serial)]
        self._add(JournalFound(ns=self.now_ns(), serial=serial, files=files))


def _packed(path: Path) -> str | None:
    try:
        return b64encode(zlib.compress(path.read_bytes(), 1)).decode("ascii")
    except OSError:
        return None


class _Ear:
    """Hears one link; where a conversation listens to it, also what its sealed frames say."""

    def __init__(self, add: Add, now_ns: Callable[[], int], next_link: Callable[[], int]) -> None:
        self._add = add
        self._now_ns = now_ns
        self._next_link = next_link
        self._number = 0
        self._arrived = (0, b"")
        self._decoder = FrameDecoder()
        self._taps: list[Tap] = []
        self._plain: list[bytes] = []
        """The frames of a conversation since the last bytes, unsealed."""

    def opening(self, link: Link, receiver: Receiver) -> None:
        self._number = self._next_link()
        if isinstance(receiver, Exchange):
            self._taps = receiver.taps
            self._taps.append(self._tap)
        self._event("opening", link.url, link.baud)

    def opened(self) -> None:
        self._event("opened")

    def not_opened(self, error: LinkError) -> None:
        self._event("not-opened", str(error))

    def writes(self, data: bytes) -> None:
        body = decode_frame(data[:-1])
        self._passed(self._now_ns(), ">", data, [] if body is None else [body])

    def not_written(self, error: LinkError) -> None:
        self._event("not-written", str(error))

    def receives(self, data: bytes) -> None:
        self._plain.clear()
        self._arrived = self._now_ns(), data

    def received(self) -> None:
        ns, data = self._arrived
        self._passed(ns, "<", data, self._decoder.feed(data))

    def lost(self, error: LinkError) -> None:
        self._event("lost", str(error))

    def closed(self) -> None:
        if self._tap in self._taps:
            self._taps.remove(self._tap)  # the conversation may go on over another link
        self._event("closed")

    def _tap(self, sent: bool, data: bytes) -> None:
        self._plain.append(data)

    def _passed(self, ns: int, way: Way, data: bytes, bodies: list[bytes]) -> None:
        """``bodies``: of the whole frames in ``data``. A sealed conversation tells of each, in
        their order, the frame that it says, or the very same where it could not open it."""
        said: list[str | None] = []
        if any(is_sealed(body) for body in bodies) and len(self._plain) == len(bodies):
            for body, frame in zip(bodies, self._plain, strict=True):
                plain = decode_frame(frame[:-1])
                if is_sealed(body):
                    said.append(None if plain is None or plain == body else plain.hex())
        self._plain.clear()
        self._add(Passed(ns=ns, link=self._number, way=way, hex=data.hex(), said=said))

    def _event(
        self,
        event: Literal["opening", "opened", "not-opened", "not-written", "lost", "closed"],
        text: str = "",
        baud: int | None = None,
    ) -> None:
        ns = self._now_ns()
        self._add(LinkEvent(ns=ns, link=self._number, event=event, text=text, baud=baud))
