"""One storm told in its order: what befell, who asked for what, what the device did, each frame."""

from collections.abc import Iterator
from typing import NamedTuple

from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.protocol.frames import FrameDecoder
from firmware_bridge.protocol.messages import MessageError
from hil.capture.conversation import said
from hil.storm.hosts import Asked
from hil.storm.record import Record
from hil.storm.witness import Deed

LONGEST = 160


class Line(NamedTuple):
    """When something happened (ms since the device was made), with whom, and what."""

    at: int
    where: str
    text: str

    def __str__(self) -> str:
        seconds, ms = divmod(self.at, 1_000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        text = self.text if len(self.text) <= LONGEST else f"{self.text[:LONGEST]}…"
        return f"{hours:>4}:{minutes:02}:{seconds:02}.{ms:03}  {self.where:8} {text}"


def story_of(record: Record) -> list[Line]:
    """Everything that a storm's record holds, in its order."""
    told = [
        *(Line(at, "storm", " ".join((do, where)).strip()) for at, do, where in record.events),
        *(line for begun, ended in record.charges for line in _charge(begun, ended)),
        *(line for asked in record.asked for line in _request(asked)),
        *(Line(one.at, "device", _deed(one)) for one in record.witness.deeds),
        *(Line(at, "alarm", f"{one.priority} {one.code}: {one.text}") for at, one in record.alarms),
        *(
            Line(at, "monitor", f"stops it ({depth}) for {code}")
            for at, code, depth in record.monitor_stops
        ),
        *_frames(record),
    ]
    return sorted(told, key=lambda line: line.at)


def _charge(begun: int, ended: int) -> Iterator[Line]:
    yield Line(begun, "host", "takes charge of the device")
    yield Line(ended, "host", "is gone")


def _request(asked: Asked) -> Iterator[Line]:
    what = " ".join(filter(None, (asked.what, asked.where, str(asked.amount or ""))))
    who = asked.who or "somebody"
    yield Line(asked.at, "person", f"{who} asks for request {asked.number}: {what}")
    if asked.told_at >= 0:
        ids = ", ".join(f"id {own}" for own in asked.ids) or "no id"
        text = f"{who} is told of request {asked.number} ({ids}): {asked.told}"
        yield Line(asked.told_at, "person", f"{text}{f', {asked.text}' if asked.text else ''}")


def _deed(deed: Deed) -> str:
    cause = f" (id {deed.id})" if deed.id else ""
    value = "" if deed.value is None else f" {deed.value}"
    return f"{deed.what}{value}{cause}"


def _frames(record: Record) -> Iterator[Line]:
    """What left either end; whether it arrived is the weather's business."""
    decoders = {True: FrameDecoder(), False: FrameDecoder()}
    for at, from_host, data, _ in record.line.said:
        for body in decoders[from_host].feed(data):
            try:
                text = said(CATALOGUE.decode(body))
            except MessageError as error:
                text = f"no message: {error}"
            yield Line(at, "frame >" if from_host else "frame <", text)
