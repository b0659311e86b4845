"""The owner's side of its monitor: starts it, shows it every byte, and watches it in turn."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from device_profiles.errors import DeviceFault, NeuraxisError
from firmware_bridge.clock import host_with_sleep_ns
from firmware_bridge.families.table import AnyController
from firmware_bridge.links.url import DeviceUrl
from hil.monitor_line import (
    BEAT_S,
    MAX_LINE,
    SILENT_S,
    Bye,
    Frame,
    Hello,
    Ping,
    Ready,
    Told,
    ToMonitor,
    Watching,
    read_line,
    written,
)
from hil.places import Places
from safety.alarms import Alarm, is_news

START_PATIENCE_S = 30.0
END_PATIENCE_S = 2.0
MOST_UNSENT = 1 << 20
"""Bytes that wait for a monitor which takes none; beyond this it counts as hung."""


class Guard:
    """An owner's monitor process, from the owner's side. Lives on the real event loop."""

    def __init__(
        self,
        child: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.pid = child.pid
        self.faults: dict[str, Alarm] = {}
        """Every alarm above LOW that it was the first to tell of, and its own loss."""
        self.stopped_for: Alarm | None = None
        """What the monitor has asked for a stop for."""
        self._child = child
        self._reader = reader
        self._writer = writer
        self._controller: AnyController | None = None
        self._ready = asyncio.Event()
        self._silent_s = 0.0
        self._lost = False
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def watching(
        self, controller: AnyController, url: DeviceUrl, places: Places
    ) -> AsyncIterator[None]:
        """The device is watched from both sides for as long as the context lasts.

        Raises DeviceFault when the monitor does not come up: nothing starts without it.
        """
        self._controller = controller
        # Everything told so far must be in the file before it is read from beside.
        await controller.gate.settle()
        self._send(_hello(controller, url, places))
        controller.session.taps.append(self._tap)
        self._tasks = [asyncio.create_task(self._kept(self._listen))]
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                await self._ready.wait()
            if self._lost:
                raise DeviceFault("the monitor ended while it began: nothing was sent")
            self._tasks.append(asyncio.create_task(self._kept(self._beat)))
            yield
        except TimeoutError as error:
            text = f"the monitor did not come up within {START_PATIENCE_S:g} s: nothing was sent"
            raise DeviceFault(text) from error
        finally:
            controller.session.taps.remove(self._tap)
            self._send(Bye())
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def polls(self, on: bool) -> None:
        """Says whether the device is polled from here on."""
        self._send(Watching(on))

    async def end(self) -> None:
        """Ends the process; it has been told goodbye, or never met a device."""
        with suppress(OSError):
            self._writer.write_eof()
        try:
            await asyncio.to_thread(self._child.wait, END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    # --- talking -----------------------------------------------------------------------------

    def _tap(self, sent: bool, data: bytes) -> None:
        self._send(Frame(sent, data.hex(), host_with_sleep_ns()))

    def _send(self, message: ToMonitor) -> None:
        """Hands a line to the system; never waits for a monitor that does not read."""
        if not self._writer.is_closing():
            self._writer.write(written(message))

    async def _beat(self) -> None:
        """SR-53: shows that the owner lives, and notices when the monitor does not.

        Protects from a run that nobody watches any more. Harm: the device is stopped by its drug's
        policy. Longest denial: until the run is started again. Way out: start again.
        """
        last = time.monotonic()
        while not self._lost:
            self._send(Ping())
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            # Time in which this process itself did not run says nothing of the monitor.
            self._silent_s += min(now - last, 2 * BEAT_S)
            last = now
            transport = self._writer.transport
            if self._silent_s > SILENT_S or transport.get_write_buffer_size() > MOST_UNSENT:
                await self._lose("does not answer")

    async def _kept(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Whatever ends the talk with the monitor, it is lost then."""
        try:
            await work()
        except Exception as error:
            # A socket that ends with unread bytes, for one, says so with an error.
            await self._lose(f"has ended ({error})")

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            self._silent_s = 0.0
            match read_line(line):
                case Ready():
                    self._ready.set()
                case Told() as told:
                    await self._raise(told.alarm, stops=told.stops)
                case _:
                    continue
        await self._lose("has ended")

    async def _lose(self, what: str) -> None:
        if self._lost:
            return
        self._lost = True
        if not self._ready.is_set():
            self._ready.set()  # it never watched anything, so nothing needs to be stopped
            return
        text = f"the monitor (process {self.pid}) {what}: nobody else watches this device"
        await self._raise(Alarm("monitor-lost", "HIGH", "SR-53", text), stops=True)
        assert self._controller is not None
        # A stop that cannot be confirmed is an alarm of its own, and the run's end repeats it.
        with suppress(NeuraxisError):
            await self._controller.stop("policy")

    async def _raise(self, alarm: Alarm, *, stops: bool) -> None:
        controller = self._controller
        assert controller is not None
        if stops and self.stopped_for is None:
            self.stopped_for = alarm
        if is_news(controller.state.alarms, alarm):
            if alarm.priority != "LOW":
                self.faults[alarm.code] = alarm
            await controller.raise_alarm(alarm)


def _child(line: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "hil.monitor", str(line.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(line.fileno(),),
        # Ctrl-C of this terminal is for the owner, which then says goodbye.
        start_new_session=True,
    )


def _hello(controller: AnyController, url: DeviceUrl, places: Places) -> Hello:
    serial = controller.identity.serial
    return Hello(
        url.text,
        controller.identity.family,
        controller.identity,
        str(places.journal_path(serial)),
        controller.state.latched is None,
        os.getpid(),
        str(places.socket_path(serial)),
        places.locks_of(url, serial),
        str(places.records()),
        str(places.keys.folder),
    )


@asynccontextmanager
async def watched_by(
    guard: Guard | None,
    controller: AnyController,
    url: DeviceUrl,
    places: Places,
    say: Callable[[str], None],
) -> AsyncIterator[None]:
    """See `Guard.watching`; where there can be no monitor process it says so."""
    if guard is None:
        say("this system has no Unix sockets: the run is watched by its own process alone")
        yield
        return
    async with guard.watching(controller, url, places):
        yield


@asynccontextmanager
async def monitor_process() -> AsyncIterator[Guard | None]:
    """A monitor process for as long as the context lasts; ``None`` where there can be none.

    It is told of a device by `Guard.watching`.
    """
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        yield None
        return
    ours, theirs = socket.socketpair()
    try:
        child = _child(theirs)
    finally:
        theirs.close()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
    guard = Guard(child, reader, writer)
    try:
        yield guard
    finally:
        await guard.end()
