"""The monitor: a process of its own beside an owner, with one power: it can stop the device.

``python -m hil.monitor FD`` is started by `hil.monitor_process` with one end of a socket pair. It
sees every frame of the owner's line, sealed ones as what they say, reads the journal's file beside
its writer, and judges both by itself. On evidence of too much it asks the owner to stop; an owner
that does not answer, hangs or dies is ended, and the monitor stops the device over a line of its
own. It cannot start anything: no gate is in this process, and no key. It shares host, kernel and
clock with the owner; a product would need another processor. It needs Unix sockets and process
groups: Linux and macOS.
"""

import json
import os
import select
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import host_with_sleep_ns
from firmware_bridge.protocol.messages import StopDepth
from hil.journal_tail import JournalTail
from hil.monitor_core import MonitorCore
from hil.monitor_line import (
    SILENT_S,
    Bye,
    Frame,
    Hello,
    Ping,
    Pong,
    Ready,
    Told,
    ToOwner,
    Watching,
    read_line,
    written,
)
from hil.monitor_rescue import rescue
from safety.alarms import Alarm
from safety.events import Event
from safety.monitor import must_stop, stop_depth

TICK_S = 0.1
ASK_PATIENCE_S = 1.0
"""How long an owner that is silent has to answer before it is ended."""
STOP_PATIENCE_S = 10.0
"""How long one that lives has to confirm a stop: it looks for the safe state for 5 s and more."""
NS_PER_MS = 1_000_000

DONE = 0
RESCUED = 5
NOT_CONFIRMED = 6


def main() -> int:
    """Watches until the owner says goodbye, or is no more."""
    with socket.socket(fileno=int(sys.argv[1])) as line:
        line.setblocking(False)
        return Monitor(line).run()


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that is gone must not end who has to stop
        print(f"neuraxis monitor: {text}", file=sys.stderr, flush=True)


class Request:
    """A stop that was asked of the owner, and what has come back so far."""

    def __init__(self, path: str, patience_s: float, depth: StopDepth = "policy") -> None:
        self.until = time.monotonic() + patience_s
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line.setblocking(False)
        self.failed = False
        self._answer = b""
        try:
            self.line.connect(path)
            self.line.send(f'{{"request": "stop", "depth": "{depth}"}}\n'.encode())
        except OSError:
            self.failed = True

    def take(self) -> bool:
        """Takes what has arrived; whether that is the whole answer."""
        try:
            part = self.line.recv(65_536)
        except BlockingIOError:
            return False
        except OSError:
            part = b""
        self._answer += part
        self.failed = self.failed or (not part and not self._answer.endswith(b"\n"))
        return not part or self._answer.endswith(b"\n")

    def close(self) -> None:
        """Hangs up."""
        self.line.close()

    @property
    def text(self) -> str:
        """What the owner answered, in words."""
        try:
            return str(json.loads(self._answer)["text"])
        except (ValueError, LookupError, TypeError):
            return "it did not answer"


class Monitor:
    """One owner's monitor."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._core = MonitorCore()
        self._hello: Hello | None = None
        self._tail: JournalTail | None = None
        self._partial = b""
        self._ended = self._bye = False
        self._silent_s = 0.0
        self._last_tick = time.monotonic()
        self._told: set[str] = set()
        self._request: Request | None = None
        self._cause: Alarm | None = None

    def run(self) -> int:
        """The exit code."""
        try:
            while True:
                waiting = [self._line, *([self._request.line] if self._request else [])]
                ready, _, _ = select.select(waiting, [], [], TICK_S)
                if self._line in ready:
                    self._read()
                self._tick()
                if self._bye:
                    return DONE
                cause = self._why_alone()
                if cause is not None:
                    return self._rescue(cause)
        finally:
            if self._request is not None:
                self._request.close()
            if self._tail is not None:
                self._tail.close()

    # --- the owner's word --------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self._line.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended = True
            return
        self._silent_s = 0.0
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        match read_line(line):
            case Hello() as hello:
                self._meet(hello)
            case Frame() as frame:
                self._read_journal()
                now = Milliseconds(frame.ns // NS_PER_MS)
                self._core.tap(frame.sent, bytes.fromhex(frame.data), now)
            case Watching() as watching:
                self._core.polled(watching.on, _now_ms())
            case Ping():
                self._send(Pong())
            case Bye():
                self._bye = True
            case _:
                raise ValueError("an owner does not say this")

    def _meet(self, hello: Hello) -> None:
        self._hello = hello
        past: tuple[Event, ...] = ()
        if hello.trusted:
            self._tail = JournalTail(Path(hello.journal))
            past = self._tail.start()
        sound = self._tail is not None and self._tail.problem is None
        self._core.load(past, hello.identity, _now_ms(), trusted=sound)
        self._send(Ready())

    def _read_journal(self) -> None:
        tail = self._tail
        if tail is None or tail.problem is not None:
            return
        for event in tail.news():
            self._core.hear(event, _now_ms())
        if tail.problem is not None:
            self._core.distrust()
            text = f"the journal can no longer be followed: {tail.problem}"
            self._tell(Alarm("journal-unread", "MEDIUM", "SR-56", text))

    def _send(self, message: ToOwner) -> None:
        try:
            self._line.send(written(message))
        except OSError:
            return  # an owner that takes nothing is silent too, and will be noticed by that

    # --- the judgement -----------------------------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        # Time in which this process itself did not run says nothing of the owner.
        self._silent_s += min(now - self._last_tick, 2 * TICK_S)
        self._last_tick = now
        if self._hello is None or self._bye:
            return
        self._read_journal()
        alarms = self._core.judge(_now_ms())
        for alarm in alarms:
            self._tell(alarm)
        self._told &= {alarm.code for alarm in alarms} | self._kept
        self._ask_for_stop(must_stop(alarms))

    @property
    def _kept(self) -> set[str]:
        """What is told once for good."""
        return {"journal-unread"} | ({self._cause.code} if self._cause else set())

    def _tell(self, alarm: Alarm) -> None:
        if alarm.code not in self._told:
            self._told.add(alarm.code)
            self._send(Told(alarm, stops=must_stop((alarm,)) is not None))

    def _ask_for_stop(self, cause: Alarm | None) -> None:
        """Asks once for each monitor's life: the run ends with it."""
        request = self._request
        if request is not None and request.take():
            if not request.failed:
                _say(f"the owner was asked to stop: {request.text}")
                request.close()
                self._request = None
        elif cause is not None and self._cause is None and self._hello is not None:
            self._cause = cause
            _say(f"HIGH {cause.code} ({cause.requirement}): {cause.text}")
            depth = stop_depth(cause, self._core.granted.program)
            self._request = Request(self._hello.socket, STOP_PATIENCE_S, depth)

    # --- alone -------------------------------------------------------------------------------

    def _why_alone(self) -> Alarm | None:
        """Why the owner can no longer be counted on; ``None`` while it can."""
        hello, request = self._hello, self._request
        if hello is None:
            self._bye = self._ended
            return None
        if os.getppid() != hello.owner or self._ended:
            return _lost(hello, "has died")
        if self._silent_s > SILENT_S + ASK_PATIENCE_S:
            return self._cause or _lost(hello, "does not answer")
        if self._silent_s > SILENT_S and request is None:
            self._request = Request(hello.socket, ASK_PATIENCE_S)
        elif request is not None and (request.failed or time.monotonic() > request.until):
            return self._cause or _lost(hello, "does not answer")
        return None

    def _rescue(self, cause: Alarm) -> int:
        assert self._hello is not None
        self._line.close()
        done = rescue(self._hello, cause, self._core.granted.program, _say)
        return RESCUED if done else NOT_CONFIRMED


def _lost(hello: Hello, what: str) -> Alarm:
    text = f"process {hello.owner}, which drove {hello.identity.serial}, {what}"
    return Alarm("owner-lost", "HIGH", "SR-53", text)


def _now_ms() -> Milliseconds:
    """Of a clock that counts the host's sleep, since a pump goes on in it."""
    return Milliseconds(host_with_sleep_ns() // NS_PER_MS)


if __name__ == "__main__":
    sys.exit(main())
