"""The outbox and the broker's URL, without any broker."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from mqtt_bench import ALARM, SUBJECT, a_sample

from device_profiles.errors import UsageError
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_MS
from firmware_bridge.mqtt_connection import BrokerAddress, parse_broker_url
from firmware_bridge.telemetry_outbox import Message, Outbox, Subject
from safety.alarms import ActiveAlarm, Alarm

T = TypeVar("T")


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = 0

    def monotonic_ns(self) -> int:
        return self.ms * NS_PER_MS

    def with_sleep_ns(self) -> int:
        return self.ms * NS_PER_MS

    def wall_ms(self) -> int:
        return 1_000_000 + self.ms

    async def offload(self, work: Callable[[], T]) -> T:
        return work()

    def later(self, work: Callable[[], None]) -> None:
        work()


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def outbox(clock: Hands) -> Outbox:
    return Outbox(SUBJECT, clock, most_samples=3, most_alarms=2)


def drained(outbox: Outbox) -> list[Message]:
    """Everything that waits, each sent in its turn."""
    messages = []
    while (message := outbox.next()) is not None:
        messages.append(message)
        outbox.sent(message)
    return messages


def content(message: Message) -> Any:
    return json.loads(message.payload)


def alarm(code: str) -> Alarm:
    return Alarm(code, "LOW", "SR-31", "a test")


def test_a_sample_tells_when_it_was_taken_and_how_old_it_is(outbox: Outbox, clock: Hands) -> None:
    outbox.put_sample(a_sample(1))
    clock.ms = 40
    (message,) = drained(outbox)
    assert (message.topic, message.qos, message.retain) == ("neuraxis/SCS-7/sample", 0, False)
    assert content(message) == {
        "schema": "neuraxis.telemetry/1",
        "serial": "SCS-7",
        "seq": 1,
        "wall_ms": 1_000_000,
        "age_ms": 40,
        "sealed": True,
        "clock_ms": 250,
        "boot": 1,
        "state": "running",
        "safe": False,
        "delivering": True,
        "values": {"pulses": 1},
        "alarms": ["contact-open"],
        "dropped_samples": 0,
        "dropped_alarms": 0,
    }


def test_the_oldest_samples_go_first_and_no_alarm_goes_for_them(outbox: Outbox) -> None:
    outbox.put_alarm(alarm("first"))
    for number in range(1, 6):
        outbox.put_sample(a_sample(number))
    told = [content(message) for message in drained(outbox)]
    assert [one.get("code") for one in told] == ["first", None, None, None]
    assert [one["seq"] for one in told] == [1, 3, 4, 5]
    assert {(one["dropped_samples"], one["dropped_alarms"]) for one in told} == {(2, 0)}


def test_of_too_many_alarms_the_newest_stay_and_the_others_are_counted(outbox: Outbox) -> None:
    for code in ("first", "second", "third"):
        outbox.put_alarm(alarm(code))
    told = [content(message) for message in drained(outbox)]
    assert [one["code"] for one in told] == ["second", "third"]
    assert outbox.dropped_alarms == 1


def test_an_alarm_is_offered_until_it_is_sent_and_a_sample_once(outbox: Outbox) -> None:
    outbox.put_alarm(ALARM)
    outbox.put_sample(a_sample(1))
    offered = outbox.next()
    again = outbox.next()
    assert offered is not None
    assert again is not None
    assert offered.source is again.source
    outbox.sent(again)
    assert outbox.next() is not None
    assert outbox.next() is None


def test_an_alarm_that_was_pushed_out_on_its_way_takes_no_other_with_it(outbox: Outbox) -> None:
    outbox.put_alarm(alarm("first"))
    on_its_way = outbox.next()
    assert on_its_way is not None
    outbox.put_alarm(alarm("second"))
    outbox.put_alarm(alarm("third"))
    outbox.sent(on_its_way)
    assert [content(message)["code"] for message in drained(outbox)] == ["second", "third"]


def test_of_a_retained_topic_the_last_counts(outbox: Outbox) -> None:
    outbox.keep_state("off", delivering=False, patient=None)
    on_its_way = outbox.next()
    assert on_its_way is not None
    outbox.keep_state("running", delivering=True, patient=None)
    outbox.sent(on_its_way)
    (message,) = drained(outbox)
    assert (content(message)["state"], message.retain, message.qos) == ("running", True, 1)


def test_what_has_not_changed_is_not_told_again_until_the_broker_is_new(
    outbox: Outbox, clock: Hands
) -> None:
    for _ in range(2):
        outbox.keep_state("off", delivering=False, patient=None)
        outbox.keep_alarms([])
    first = drained(outbox)
    assert [message.topic for message in first] == ["neuraxis/SCS-7/state", "neuraxis/SCS-7/alarms"]
    clock.ms = 1_000
    outbox.keep_state("off", delivering=False, patient=None)
    assert drained(outbox) == []
    outbox.renew()
    assert [message.payload for message in drained(outbox)] == [m.payload for m in first]


def test_active_alarms_are_listed_by_priority(outbox: Outbox) -> None:
    low = ActiveAlarm(alarm("low"), Milliseconds(5), seen=True)
    outbox.keep_alarms([low, ActiveAlarm(ALARM, Milliseconds(7), over=True)])
    (message,) = drained(outbox)
    told = content(message)["alarms"]
    assert [one["code"] for one in told] == ["over-delivery", "low"]
    assert [(one["since_ms"], one["over"], one["seen"]) for one in told] == [
        (7, True, False),
        (5, False, True),
    ]


def test_a_serial_number_cannot_break_out_of_its_topic() -> None:
    subject = Subject("a/+#é", "scs", "scs-16", sealed=True)
    assert subject.topic("state") == "neuraxis/a%2F%2B%23%C3%A9/state"


# --- the URL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "written"),
    [
        ("mqtt://broker", "broker", 1883, "mqtt://broker:1883"),
        ("mqtt://Lab-7.example:8883", "Lab-7.example", 8883, "mqtt://Lab-7.example:8883"),
        ("mqtt://127.0.0.1:1", "127.0.0.1", 1, "mqtt://127.0.0.1:1"),
        ("mqtt://[::1]:65535", "::1", 65535, "mqtt://[::1]:65535"),
        ("mqtt://[fe80::1]", "fe80::1", 1883, "mqtt://[fe80::1]:1883"),
    ],
)
def test_a_broker_url(text: str, host: str, port: int, written: str) -> None:
    address = parse_broker_url(text)
    assert address == BrokerAddress(host, port)
    assert str(address) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "broker",
        "broker:1883",
        "mqtt:broker",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://broker:",
        "mqtt://broker:0",
        "mqtt://broker:65536",
        "mqtt://broker:１８８３",
        "mqtt://broker:18a",
        "mqtt://broker/",
        "mqtt://broker/topic",
        "mqtt://broker?x=1",
        "mqtt://broker#x",
        "mqtt://bro ker",
        "mqtt://bro..ker",
        "mqtt://-broker",
        "mqtt://::1",
        "mqtt://brøker",
        "mqtts://broker",
        "MQTT://broker",
        "tcp://broker:1883",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"no broker URL.*write for example mqtt://127\.0\.0\.1"):
        parse_broker_url(text)


@pytest.mark.parametrize(
    "text", ["mqtt://me:secret@broker", "me:secret@broker", "mqtt://me@broker"]
)
def test_a_password_in_the_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="takes no user and no password") as caught:
        parse_broker_url(text)
    assert "secret" not in str(caught.value)
