"""The same command once more, on virtual time, with a capture for everything outside it."""

import asyncio
import zlib
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from device_profiles.errors import UsageError
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_S, Clock, Deadlock, VirtualClock, VirtualLoop
from firmware_bridge.families.table import AnyController
from firmware_bridge.links.base import Link
from firmware_bridge.links.url import DeviceUrl
from firmware_bridge.protocol.messages import PROTOCOL_VERSION
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.settings import JournalPlace, Settings
from hil.capture.conversation import Entry, Happening, conversation_of, words
from hil.capture.inputs import arguments_of
from hil.capture.lines import (
    Asked,
    Drawn,
    Interrupted,
    JournalFound,
    KeyAsked,
    Line,
    OwnersFound,
    Typed,
)
from hil.capture.reading import Capture
from hil.capture.recording import TALKS
from hil.capture.script import Departure, ReplayLink, Script
from hil.capture.stand_in import KEY
from hil.keys import KeyStore
from hil.monitor_process import Guard
from hil.outside import OUTSIDE, KeyOf, Main, Outside, ignored
from hil.places import Places
from hil.requests import Request, serve

L = TypeVar("L", bound=Line)

CLEAN_UP_S = 60.0
"""How long a command that is over may clean up; virtual time."""

Command = Callable[[Sequence[str]], int]
"""Runs a neuraxis command; its exit code."""
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a replay: how many of the host's frames were the same, and where it departs."""

    entries: tuple[Entry, ...]
    matched: int
    swapped: int
    departure: Departure | None
    broke_off: bool
    said: str


class Replayed(Outside):
    """The world of a capture. It opens no line, and writes below ``folder`` only."""

    def __init__(self, capture: Capture, folder: Path, output: StringIO, loop: VirtualLoop) -> None:
        self.entries = conversation_of(capture)
        self._capture = capture
        self._folder = folder
        self._output = output
        self.said: str | None = None
        """What the command had said where the replay ended; ``None``: it came to its own end."""
        self._begin = capture.began.ns
        self._loop = loop
        ended = capture.ended
        ends_ns = None if ended is None else ended.ns - self._begin
        self.script = Script(self.entries, ends_ns, self._loop)
        self._drawn = {
            of: iter([one.value for one in self._all(Drawn) if one.of == of])
            for of in ("session", "bytes", "id", "seed")
        }
        self._typed = iter(self._all(Typed))
        self._asked = [(one.ns, _request_of(capture, one)) for one in self._all(Asked)]
        self._journals = {
            one.serial: [None if file is None else _unpacked(capture, file) for file in one.files]
            for one in reversed(self._all(JournalFound))
        }
        self._bauds = {
            one.link: one.baud
            for one in self.entries
            if isinstance(one, Happening) and one.event == "opening"
        }
        self._links = 0

    def run(
        self, main: Main, say: Callable[[str], None], interrupted: Callable[[int], None] = ignored
    ) -> int:
        """See `Outside.run`; once the replay is over the command is ended, wherever it stands."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                return runner.run(self._supervised(main))
            except Deadlock:
                self.script.depart(self.script.due(), "it goes on", "it waits for ever")
                return 0

    async def _supervised(self, main: Main) -> int:
        clock = VirtualClock(self._loop, self._capture.began.wall_ms)
        task = self._loop.create_task(main(clock))
        over = self._loop.create_task(self.script.over.wait())
        codes: list[int] = []

        def interrupt(code: int) -> None:
            codes.append(code)
            task.cancel()

        for one in self._all(Interrupted):
            self._loop.call_later(self._until(one.ns), interrupt, one.code)
        self.script.expect()
        await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            self.said = self._output.getvalue()
            task.cancel()
            await asyncio.wait({task}, timeout=CLEAN_UP_S)
        over.cancel()
        if not task.done() or task.cancelled():
            return codes[0] if codes else 0
        return task.result()

    def now_ns(self) -> int:
        """See `Outside.now_ns`."""
        return self._loop.now_ns

    def wall_ms(self) -> Milliseconds:
        """See `Outside.wall_ms`: the moment of the recording."""
        return Milliseconds(self._capture.began.wall_ms)

    def places(self, journal: Path | None) -> Places:
        """See `Outside.places`: a folder of the replay's own."""
        return Places(self._folder / "state")

    def link(self, url: DeviceUrl, clock: Clock) -> Link:
        """See `Outside.link`."""
        self._links += 1
        return ReplayLink(url.text, self._bauds.get(self._links), self.script, self._loop)

    def line(self, url: DeviceUrl, clock: Clock, keys: KeyStore) -> tuple[Link, KeyOf]:
        """See `Outside.line`."""
        return self.link(url, clock), self._key_of

    def _key_of(self, serial: str) -> DeviceKey | None:
        asked = next(iter(self._all(KeyAsked)), None)
        if asked is not None and asked.found == "none":
            raise UsageError(asked.text)
        return None if asked is None or asked.found == "unsealed" else KEY

    def settings(self, settings: Settings) -> Settings:
        """See `Outside.settings`."""
        place = self.places(None)

        def journal_of(serial: str) -> JournalPlace:
            self._lay_out_journal(place, serial)
            return settings.journal_of(serial)

        return replace(
            settings,
            journal_of=journal_of,
            new_id=lambda: self._number("id", settings.new_id),
            new_session=lambda: self._number("session", settings.new_session),
            draw=lambda count: bytes.fromhex(
                next(self._drawn["bytes"], settings.draw(count).hex())
            ),
        )

    def dice(self) -> Random:
        """See `Outside.dice`."""
        return Random(self._number("seed", lambda: 0))

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[Guard | None]:
        """See `Outside.monitor`: what it asked for comes as a recorded request."""
        yield None

    def terminals(self, controller: AnyController) -> AbstractAsyncContextManager[None]:
        """See `Outside.terminals`."""
        return self._asking(controller)

    @asynccontextmanager
    async def _asking(self, controller: AnyController) -> AsyncIterator[None]:
        tasks = [self._loop.create_task(self._ask(controller, ns, one)) for ns, one in self._asked]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _ask(self, controller: AnyController, ns: int, request: Request) -> None:
        await asyncio.sleep(self._until(ns))
        await serve(controller, request)

    async def typed(self) -> str:
        """See `Outside.typed`."""
        line = next(self._typed, None)
        if line is None:
            nobody: asyncio.Future[str] = self._loop.create_future()
            return await nobody
        await asyncio.sleep(self._until(line.ns))
        return line.text

    def owned_elsewhere(self) -> list[str]:
        """The devices whose owners stood between the command and a line of its own."""
        found = next(iter(self._all(OwnersFound)), None)
        return [] if found is None or self._bauds else found.serials

    def _until(self, ns: int) -> float:
        return max(0, ns - self._begin - self._loop.now_ns) / NS_PER_S

    def _all(self, kind: type[L]) -> list[L]:
        return [line for line in self._capture.lines if isinstance(line, kind)]

    def _number(self, of: str, fresh: Callable[[], int]) -> int:
        value = next(self._drawn[of], None)
        return fresh() if value is None else int(value)

    def _lay_out_journal(self, places: Places, serial: str) -> None:
        """The journal as the recorded host had found it."""
        files = places.journal_files(serial)
        for path, data in zip(files, self._journals.get(serial, ()), strict=False):
            if data is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def _unpacked(capture: Capture, packed: str) -> bytes:
    try:
        return zlib.decompress(b64decode(packed, validate=True))
    except (ValueError, zlib.error) as error:
        raise UsageError(f"{capture.path}: its journal is damaged: {error}") from None


def _request_of(capture: Capture, asked: Asked) -> Request:
    try:
        return _REQUESTS.validate_json(asked.request)
    except ValidationError:
        raise UsageError(
            f"{capture.path}: this version knows no such request: {asked.request.strip()}"
        ) from None


def replay(capture: Capture, command: Command, files: Sequence[Path]) -> Verdict:
    """Runs a capture's command against it. ``files`` take the place of recorded ones of the same
    name. Raises UsageError for a capture that cannot be played."""
    _require_playable(capture)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="neuraxis-replay-")))
        arguments = arguments_of(capture, files, folder)
        said = StringIO()
        loop = VirtualLoop()
        stack.callback(loop.close)
        outside = Replayed(capture, folder, said, loop)
        token = OUTSIDE.set(outside)
        stack.callback(OUTSIDE.reset, token)
        stack.enter_context(redirect_stdout(said))
        stack.enter_context(redirect_stderr(said))
        code = command(arguments)
    script = outside.script
    departure = script.departure or _at_the_end(capture, script, code)
    if departure is not None and (owned := outside.owned_elsewhere()):
        raise UsageError(
            f"{capture.path} holds no line to a device, and what the owner of {', '.join(owned)} "
            "answered is not in it: play a capture of the `neuraxis run` that owns it"
        )
    return Verdict(
        outside.entries,
        script.matched,
        script.swapped,
        departure,
        capture.ended is None,
        said.getvalue() if outside.said is None else outside.said,
    )


def _at_the_end(capture: Capture, script: Script, code: int) -> Departure | None:
    due, ended = script.due(), capture.ended
    if due is not None:
        came = f"nothing: the command had ended, with exit code {code}"
        return Departure(due, due.ns, words(due), came)
    if ended is not None and ended.code != code:
        at = ended.ns - capture.began.ns
        return Departure(None, at, f"the command ends with {ended.code}", f"it ends with {code}")
    return None


def _require_playable(capture: Capture) -> None:
    began = capture.began
    if began.command[0] not in TALKS:
        raise UsageError(
            f"{capture.path}: {began.command[0]!r} is no command that talks to a device, and no "
            "other is run from a capture"
        )
    if began.protocol != PROTOCOL_VERSION:
        raise UsageError(
            f"{capture.path} was recorded in protocol {began.protocol} (neuraxis "
            f"{began.version}), and this version speaks {PROTOCOL_VERSION}: play it with the "
            "version that made it"
        )
    if any(one.partition("=")[0] == "--telemetry" for one in began.command):
        raise UsageError(
            f"{capture.path} was recorded with --telemetry, whose broker is not in it, and which "
            "asks the device on its own: it cannot be played. `neuraxis capture show` reads it"
        )
