"""The judgement of a storm, from the simulator's truth alone: nothing over, nothing under.

It reads the witness (what the body did), the line (what left the host) and what people asked for
and were told. It never reads the journal. Each finding is a sentence.
"""

from collections import Counter
from collections.abc import Iterator

from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.protocol.frames import decode_frame
from hil.storm.hosts import Asked
from hil.storm.oracle_pump import judge_pump
from hil.storm.oracle_stimulator import judge_stimulator
from hil.storm.record import Record
from hil.storm.weather import kind_of

IDENTIFY, STOP = 0x01, 0x07
OPENS = (0x02, 0x0A)
WITH_ID = (0x05, 0x20, 0x21, 0x24, 0x40, 0x41)
"""Frames that carry out an id: commit, start, amplitude, measure, bolus, prime."""
AT_ONCE_MS = 5
TOO_MUCH = ("over_delivery", "free_flow")
"""Faults under which a device delivers more than it was told to, beyond its accuracy."""
PROGRAMMED = ("apply",)
DOSES = ("bolus", "apply")


def judge(record: Record) -> list[str]:
    """Everything that was wrong in a storm."""
    family = judge_pump if record.plan.family == "pump" else judge_stimulator
    return [
        *record.wrong,
        *_at_most_once(record),
        *_told_the_truth(record),
        *_frames(record),
        *_stops(record),
        *_another(record),
        *_monitored(record),
        *_approved_before_a_stop(record),
        *family(record),
    ]


def _by_id(record: Record) -> dict[int, Asked]:
    return {own: asked for asked in record.asked for own in asked.ids}


def _at_most_once(record: Record) -> Iterator[str]:
    """Each id, and each request of a person, is acted on at most once; nothing unasked."""
    acted = Counter(deed.id for deed in record.witness.deeds if deed.what == "acted")
    asked = _by_id(record)
    for own, times in acted.items():
        if times > 1:
            yield f"id {own} was acted on {times} times"
        if own not in asked:
            yield f"id {own} was acted on, and nobody asked for it"
    for one in record.asked:
        does = [own for own in one.ids if own in acted]
        if len(does) > (2 if one.what == "start" else 1):
            yield f"request {one.number} ({one.what}) was acted on for the ids {does}"


def _told_the_truth(record: Record) -> Iterator[str]:
    """Who was told that it is done, or that nothing was done, was told what really happened."""
    acted = {deed.id for deed in record.witness.deeds if deed.what == "acted"}
    for one in record.asked:
        if one.what not in DOSES:
            continue
        does = any(own in acted for own in one.ids)
        if one.told == "done" and not does:
            yield f"request {one.number} ({one.what}): told that it is done, and it never was"
        if one.told in ("refused", "failed") and does and "read back differs" not in one.text:
            yield (
                f"request {one.number} ({one.what}): told {one.told!r} ({one.text[:120]}), and the "
                "device acted on it"
            )


def _frames(record: Record) -> Iterator[str]:
    """The frame of an id leaves once, and never after a stop that came later than its request."""
    asked = _by_id(record)
    left: Counter[int] = Counter()
    waiting = [one for one in record.asked if one.what == "stop" and one.stood]
    newest: Asked | None = None
    for at, from_host, data, _ in record.line.said:
        if not from_host or len(data) < 4:
            continue
        kind = kind_of(data)
        if kind == STOP:
            while waiting and waiting[0].at <= at:
                newest = waiting.pop(0)
        elif kind in WITH_ID:
            own = _id_in(data)
            left[own] += 1
            one = asked.get(own)
            if one is not None and newest is not None and newest.said > one.said:
                yield (
                    f"the frame of id {own} (request {one.number}) left after the stop of request "
                    f"{newest.number}, which came later"
                )
    for own, times in left.items():
        if times > 1:
            yield f"the frame of id {own} left {times} times"


def _another(record: Record) -> Iterator[str]:
    """A device that nobody asked for does nothing for anybody, and its word counts for nothing.

    What a host sends before it can know that the plug was moved arrives there too, also an `Open`,
    and it may be long under way; but no `Open` leaves once that device has been asked who it is.
    """
    asked_in = -1
    for at, from_host, data, place in record.line.said:
        if at >= record.calm_from:
            break  # the plug is where it belongs
        if not from_host or place not in record.elsewhere:
            continue
        if kind_of(data) == IDENTIFY:
            asked_in = place
        elif kind_of(data) in OPENS and asked_in == place:
            yield f"at {at} ms another device was asked to open a conversation"
    for own in record.another_knows:
        yield f"another device was asked what became of id {own}, or to act on it"


def _id_in(data: bytes) -> int:
    body = decode_frame(data[:-1])
    return int(getattr(CATALOGUE.decode(body).message, "id", 0)) if body else 0


def _stops(record: Record) -> Iterator[str]:
    """A stop leaves at once; the device is stopped only when a person asked for it."""
    left = [
        at
        for at, from_host, data, _ in record.line.said
        if from_host and len(data) > 3 and kind_of(data) == STOP
    ]
    asked = [one for one in record.asked if one.what in ("stop", "switch", "apply")]
    for one in asked:
        begun = one.begun_at
        was_heard = one.what == "stop" and one.stood and begun >= 0
        if was_heard and not any(begun <= at <= begun + AT_ONCE_MS for at in left):
            yield f"request {one.number}: the stop did not leave at once"
    for deed in record.witness.deeds:
        if deed.what != "stop":
            continue
        may = any(
            one.at <= deed.at and (one.what != "stop" or one.where == deed.value)
            for one in asked
            if one.what == "stop" or record.plan.family == "stimulator"
        ) or any(at <= deed.at and depth == deed.value for at, _, depth in record.monitor_stops)
        if not may and deed.at < record.calm_from:
            yield f"at {deed.at} ms the device was stopped ({deed.value}), and nobody asked for it"


def _monitored(record: Record) -> Iterator[str]:
    """The monitor stops a device only for evidence of too much.

    The storm's faults are the truth: where none makes a device deliver too much, a stop is false.
    """
    faults = [at for at, do, where in record.events if do == "device" and where in TOO_MUCH]
    for at, code, _ in record.monitor_stops:
        if not any(begun <= at for begun in faults):
            yield f"at {at} ms the monitor stopped the device for {code}, and nothing gave too much"


def _approved_before_a_stop(record: Record) -> Iterator[str]:
    """A plan that was made before a stop is not carried out after it (SR-32, SR-58)."""
    asked = _by_id(record)
    stops = [one for one in record.asked if one.what == "stop" and one.begun_at >= 0]
    for deed in record.witness.deeds:
        one = asked.get(deed.id)
        if deed.what != "acted" or one is None or not one.planned:
            continue
        for stop in stops:
            if one.planned < stop.said < one.said:
                yield (
                    f"request {one.number} was planned before the stop of request {stop.number} "
                    "and carried out after it"
                )
