"""What telemetry still has to tell, bounded, and how each message reads."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

from firmware_bridge.clock import NS_PER_MS, Clock
from firmware_bridge.driver import Sample
from safety.alarms import ActiveAlarm, Alarm, in_order

SCHEMA = "neuraxis.telemetry/1"
MOST_SAMPLES = 240
"""One minute of a stimulator's samples."""
MOST_ALARMS = 256

Kept = Literal["state", "alarms"]


@dataclass(frozen=True, slots=True)
class Subject:
    """The device that telemetry is about; ``sealed``: whether it proves what it says."""

    serial: str
    family: str
    model: str
    sealed: bool

    def topic(self, name: str) -> str:
        """``neuraxis/SERIAL/name``; what a topic may not hold is percent-encoded."""
        return f"neuraxis/{quote(self.serial, safe='')}/{name}"


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A sample or an alarm, and when it was handed in."""

    seq: int
    wall_ms: int
    monotonic_ns: int
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish. ``source`` is the outbox's own mark of what it came from."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    source: object


class Outbox:
    """Holds what waits for the broker: alarms first, then what is retained, then samples.

    Everything is bounded: of the samples the newest stay, of the alarms the newest too, and of
    each retained topic the last. Not for use from other threads than the event loop's.
    """

    def __init__(
        self,
        subject: Subject,
        clock: Clock,
        most_samples: int = MOST_SAMPLES,
        most_alarms: int = MOST_ALARMS,
    ) -> None:
        self._subject = subject
        self._clock = clock
        self._samples: deque[_Entry] = deque()
        self._alarms: deque[_Entry] = deque()
        self._most_samples = most_samples
        self._most_alarms = most_alarms
        self._kept: dict[Kept, dict[str, Any]] = {}
        self._kept_messages: dict[Kept, Message] = {}
        self._unsent: list[Kept] = []
        self._sample_count = 0
        self._alarm_count = 0
        self.dropped_samples = 0
        """Samples that were never sent because newer ones pushed them out."""
        self.dropped_alarms = 0
        """Alarms that were never sent because newer ones pushed them out."""

    # --- in ----------------------------------------------------------------------------------

    def put_sample(self, sample: Sample) -> None:
        """Takes a sample; the oldest one goes when there are too many."""
        self._sample_count += 1
        content = {
            "sealed": self._subject.sealed,
            "clock_ms": sample.clock,
            "boot": sample.boot,
            "state": sample.state,
            "safe": sample.safe,
            "delivering": sample.delivering,
            "values": sample.values,
            "alarms": sample.alarms,
        }
        self._samples.append(self._entry(self._sample_count, content))
        if len(self._samples) > self._most_samples:
            self._samples.popleft()
            self.dropped_samples += 1

    def put_alarm(self, alarm: Alarm) -> None:
        """Takes a newly raised alarm; the oldest one goes when there are too many."""
        self._alarm_count += 1
        self._alarms.append(self._entry(self._alarm_count, asdict(alarm)))
        if len(self._alarms) > self._most_alarms:
            self._alarms.popleft()
            self.dropped_alarms += 1

    def keep_state(self, state: str, *, delivering: bool | None, patient: str | None) -> None:
        """The device's state from now on; ``delivering`` ``None``: nobody knows."""
        subject = asdict(self._subject)
        self._keep(
            "state", subject | {"patient": patient, "state": state, "delivering": delivering}
        )

    def keep_alarms(self, board: Iterable[ActiveAlarm]) -> None:
        """The board from now on."""
        alarms = [
            asdict(one.alarm) | {"since_ms": one.since, "over": one.over, "seen": one.seen}
            for one in in_order(board)
        ]
        self._keep("alarms", {"serial": self._subject.serial, "alarms": alarms})

    def renew(self) -> None:
        """Everything retained is to be sent again: the broker may have forgotten it."""
        self._unsent = list(self._kept)

    # --- out ---------------------------------------------------------------------------------

    def next(self) -> Message | None:
        """What to send next; ``None`` when nothing waits.

        Alarms and retained messages are offered again until they are `sent`; a sample is
        offered once.
        """
        if self._alarms:
            return self._event("alarm", 1, self._alarms[0])
        if self._unsent:
            return self._kept_messages[self._unsent[0]]
        if self._samples:
            return self._event("sample", 0, self._samples.popleft())
        return None

    def sent(self, message: Message) -> None:
        """The broker has it. What was put in since, under the same topic, still waits."""
        if self._alarms and self._alarms[0] is message.source:
            self._alarms.popleft()
        self._unsent = [name for name in self._unsent if self._kept[name] is not message.source]

    # --- how a message reads -----------------------------------------------------------------

    def _entry(self, seq: int, content: dict[str, Any]) -> _Entry:
        return _Entry(seq, self._clock.wall_ms(), self._clock.monotonic_ns(), content)

    def _event(self, name: str, qos: int, entry: _Entry) -> Message:
        age_ns = self._clock.monotonic_ns() - entry.monotonic_ns
        envelope = {
            "serial": self._subject.serial,
            "seq": entry.seq,
            "wall_ms": entry.wall_ms,
            "age_ms": age_ns // NS_PER_MS,
        }
        dropped = {
            "dropped_samples": self.dropped_samples,
            "dropped_alarms": self.dropped_alarms,
        }
        payload = _encode(envelope | entry.content | dropped)
        return Message(self._subject.topic(name), payload, qos, retain=False, source=entry)

    def _keep(self, name: Kept, content: dict[str, Any]) -> None:
        if self._kept.get(name) == content:
            return
        self._kept[name] = content
        payload = _encode(content | {"wall_ms": self._clock.wall_ms()})
        self._kept_messages[name] = Message(
            self._subject.topic(name), payload, 1, retain=True, source=content
        )
        if name not in self._unsent:
            self._unsent.append(name)


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA} | content, separators=(",", ":")).encode()
