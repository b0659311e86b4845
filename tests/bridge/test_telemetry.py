"""Telemetry against real brokers, dead ones, hung ones and lines that break."""

import ast
import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mqtt_bench import (
    ALARM,
    DEADLINE_S,
    HOST,
    MOSQUITTO,
    Amqtt,
    AnyBroker,
    Line,
    Mosquitto,
    Told,
    a_sample,
    free_port,
    listening,
    publishing,
)

from device_profiles.errors import UsageError
from device_profiles.quantities import Milliseconds
from firmware_bridge.mqtt_connection import check_loop
from firmware_bridge.telemetry import PATIENCE, Patience, Publisher
from firmware_bridge.telemetry_outbox import MOST_SAMPLES
from safety.alarms import ActiveAlarm

pytestmark = pytest.mark.real_clock

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


async def running(broker: AnyBroker) -> AsyncIterator[AnyBroker]:
    await broker.start()
    yield broker
    await broker.kill()


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[AnyBroker]:
    async for broker in running(Mosquitto(tmp_path)):
        yield broker


@pytest.fixture(params=[pytest.param(Mosquitto, marks=needs_mosquitto), Amqtt])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyBroker]:
    make: Callable[[Path], AnyBroker] = request.param
    async for started in running(make(tmp_path)):
        yield started


@pytest.fixture
async def line(mosquitto: AnyBroker) -> AsyncIterator[Line]:
    line = Line(mosquitto.port)
    await line.open()
    yield line
    await line.cut()


@pytest.fixture
def told() -> Told:
    return Told()


class Stopwatch:
    """Seconds since it was made, on the event loop's clock."""

    def __init__(self) -> None:
        self._begun = asyncio.get_running_loop().time()

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._begun


# --- a broker that works -----------------------------------------------------------------------


async def test_a_late_subscriber_sees_what_is_retained(broker: AnyBroker, told: Told) -> None:
    async with listening(broker.port, "early") as early:
        async with publishing(broker.port, told, PATIENCE) as publisher:
            publisher.alarms([ActiveAlarm(ALARM, Milliseconds(0))])
            publisher.state("off", delivering=False, patient="BENCH-007")
            publisher.state("running", delivering=True, patient="BENCH-007")
            await early.until("state", lambda told: told["delivering"])
            await early.until("alarms")
            async with listening(broker.port, "late") as late:
                state = await late.until("state")
                alarms = await late.until("alarms")
                assert await late.until("online") == "online"
                assert all(retained for _, _, retained in late.heard)
        await early.until("online", lambda told: told == "offline")
        assert early.all("online") == ["online", "offline"]
    assert state.pop("wall_ms") > 0
    assert state == {
        "schema": "neuraxis.telemetry/1",
        "serial": "SCS-7",
        "family": "scs",
        "model": "scs-16",
        "sealed": True,
        "patient": "BENCH-007",
        "state": "running",
        "delivering": True,
    }
    assert [alarm["code"] for alarm in alarms["alarms"]] == ["over-delivery"]
    assert told.sentences == []


async def test_samples_arrive_in_order(broker: AnyBroker, told: Told) -> None:
    async with listening(broker.port) as ear, publishing(broker.port, told, PATIENCE) as publisher:
        for number in range(1, 51):
            publisher.sample(a_sample(number))
        await ear.until("sample", lambda told: told["seq"] == 50)
        assert [told["values"]["pulses"] for told in ear.all("sample")] == list(range(1, 51))


async def test_what_is_handed_in_just_before_the_end_is_still_published(
    broker: AnyBroker, told: Told
) -> None:
    async with listening(broker.port) as ear:
        async with publishing(broker.port, told, PATIENCE) as publisher:
            publisher.sample(a_sample(1))
            publisher.alarm(ALARM)
            publisher.state("off", delivering=False, patient=None)
        alarm = await ear.until("alarm")
        await ear.until("sample")
        await ear.until("state", lambda told: told["state"] == "off")
        assert await ear.until("online", lambda told: told == "offline")
    assert (alarm["seq"], alarm["priority"], alarm["requirement"]) == (1, "HIGH", "SR-31")


# --- a broker or a line that fails -------------------------------------------------------------


@needs_mosquitto
async def test_a_cut_line_makes_the_broker_publish_the_last_will(
    mosquitto: AnyBroker, line: Line, told: Told
) -> None:
    async with listening(mosquitto.port) as ear, publishing(line.port, told):
        await ear.until("online", lambda told: told == "online")
        await line.cut()
        await ear.until("online", lambda told: told == "offline")
        assert "Everything else goes on" in await told.until("telemetry")
    async with listening(mosquitto.port, "late") as late:
        assert await late.until("online") == "offline"


@needs_mosquitto
async def test_after_a_restart_of_the_broker_everything_retained_is_there_again(
    mosquitto: AnyBroker, told: Told
) -> None:
    async with publishing(mosquitto.port, told) as publisher:
        async with listening(mosquitto.port) as ear:
            publisher.state("running", delivering=True, patient="BENCH-007")
            await ear.until("state")
        await mosquitto.kill()
        await told.until("keeps trying")
        publisher.alarm(ALARM)
        await mosquitto.start()
        await told.until("works again")
        async with listening(mosquitto.port) as late:
            assert (await late.until("state"))["patient"] == "BENCH-007"
            assert await late.until("online") == "online"
    assert len(told.sentences) == 2


@needs_mosquitto
async def test_a_frozen_connection_is_given_up_and_the_next_one_counts(
    mosquitto: AnyBroker, line: Line, told: Told
) -> None:
    async with listening(mosquitto.port) as ear, publishing(line.port, told) as publisher:
        await ear.until("online")
        line.freeze()
        publisher.alarm(ALARM)
        await told.until("no answer within 0.3 s")
        await ear.until("alarm")
        await told.until("works again")
        # The broker ends the frozen connection with its last will, before the next one speaks.
        assert ear.all("online") == ["online", "offline", "online"]
        async with listening(mosquitto.port, "late") as late:
            assert await late.until("online") == "online"


async def test_a_dead_broker_delays_nothing_and_is_told_once(told: Told) -> None:
    async with publishing(free_port(), told) as publisher:
        watch = Stopwatch()
        for number in range(10_000):
            publisher.sample(a_sample(number))
        publisher.alarm(ALARM)
        publisher.alarms([ActiveAlarm(ALARM, Milliseconds(0))])
        publisher.state("running", delivering=True, patient=None)
        assert watch.seconds < 1
        await told.until("cannot be reached (Connect call failed")
        await asyncio.wait_for(attempts(publisher, 3), DEADLINE_S)
        watch = Stopwatch()
    assert watch.seconds < 0.5
    assert len(told.sentences) == 1


async def attempts(publisher: Publisher, count: int) -> None:
    """Returns once the publisher has tried that many more times."""
    tried = asyncio.Event()
    left = count
    converse = publisher._converse

    async def counted() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            tried.set()
        await converse()

    publisher._converse = counted  # type: ignore[method-assign]
    await tried.wait()


class Hung:
    """A broker that accepts, answers ``welcome`` to the greeting, and never a byte more."""

    def __init__(self, welcome: bytes = b"") -> None:
        self._welcome = welcome
        self.greeted = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> "Hung":
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        self.greeted.set()
        writer.write(self._welcome)
        while await reader.read(4096):
            continue
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()


WELCOME = bytes((0x20, 2, 0, 0))
NOT_AUTHORIZED = bytes((0x20, 2, 0, 5))


@pytest.mark.parametrize("welcome", [b"", WELCOME], ids=["silent", "silent after its welcome"])
async def test_a_hung_broker_delays_nothing(told: Told, welcome: bytes) -> None:
    async with Hung(welcome) as hung:
        async with publishing(hung.port, told, PATIENCE) as publisher:
            await asyncio.wait_for(hung.greeted.wait(), DEADLINE_S)
            watch = Stopwatch()
            for number in range(1_000):
                publisher.sample(a_sample(number))
                publisher.alarm(ALARM)
                publisher.state(f"state {number}", delivering=True, patient=None)
            assert watch.seconds < 1
            watch = Stopwatch()
        assert watch.seconds < PATIENCE.farewell_s + 0.5


async def test_a_hung_broker_is_told_once(told: Told) -> None:
    async with Hung() as hung, publishing(hung.port, told) as publisher:
        sentence = await told.until("no answer within 0.3 s")
        await asyncio.wait_for(attempts(publisher, 2), DEADLINE_S)
    assert told.sentences == [sentence]


async def test_a_broker_that_refuses_is_quoted(told: Told) -> None:
    async with Hung(NOT_AUTHORIZED) as hung, publishing(hung.port, told):
        assert "Not authorized" in await told.until("refuses the connection")


async def test_a_name_server_that_hangs_delays_nothing(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(*_args: Any, **_kwargs: Any) -> Any:
        loop.call_soon_threadsafe(asked.set)
        answer.wait(DEADLINE_S)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    patience = Patience(farewell_s=0.1)
    async with publishing(1883, told, patience, host="broker.example"):
        await asyncio.wait_for(asked.wait(), DEADLINE_S)
        watch = Stopwatch()
    assert watch.seconds < 0.5
    answer.set()


async def test_an_unknown_host_is_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with publishing(1883, told, host="broker.example"):
        assert "mqtt://broker.example:1883" in await told.until("Name or service not known")


async def test_what_was_missed_is_counted_and_the_newest_samples_come_late(
    broker: AnyBroker, told: Told
) -> None:
    await broker.kill()
    async with publishing(broker.port, told) as publisher:
        await told.until("keeps trying")
        for number in range(1, MOST_SAMPLES + 11):
            publisher.sample(a_sample(number))
        publisher.alarm(ALARM)
        await broker.start()
        async with listening(broker.port) as ear:
            await told.until("works again")
            publisher.sample(a_sample(0))
            last = await ear.until("sample", lambda told: told["seq"] == MOST_SAMPLES + 11)
    assert last["dropped_samples"] in (10, 11)  # 11 if the broker was not there yet for the last
    assert last["dropped_alarms"] == 0


@pytest.mark.fault("F79")
async def test_a_fault_of_telemetry_itself_is_told_and_ends_nothing_else(told: Told) -> None:
    async with Hung(WELCOME) as hung, publishing(hung.port, told) as publisher:

        async def fault() -> None:
            raise RuntimeError("a mistake")

        publisher._converse = fault  # type: ignore[method-assign]
        assert "a mistake" in await told.until("telemetry has stopped")
        publisher.sample(a_sample(1))


# --- what telemetry must not be able to do -----------------------------------------------------


def test_an_event_loop_that_cannot_watch_sockets_is_refused_in_a_sentence() -> None:
    class Proactor(asyncio.BaseEventLoop):
        """As on Windows: it has asyncio's own `add_reader`, which raises NotImplementedError."""

    loop = Proactor.__new__(Proactor)
    loop._closed = True  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"on Windows.*SelectorEventLoop"):
        check_loop(loop)


ALLOWED = {
    "device_profiles.errors": {"UsageError"},
    "firmware_bridge.clock": {"Clock", "NS_PER_MS"},
    "firmware_bridge.driver": {"Sample"},
    "firmware_bridge.mqtt_connection": {
        "BrokerAddress",
        "check_loop",
        "connected",
        "until_lost",
    },
    "firmware_bridge.telemetry_outbox": {"Outbox", "Subject"},
    "safety.alarms": {"ActiveAlarm", "Alarm", "in_order"},
}
OWN = ("device_profiles", "safety", "firmware_bridge", "hil")
MODULES = ("telemetry.py", "telemetry_outbox.py", "mqtt_connection.py")


@pytest.mark.parametrize("name", MODULES)
def test_no_message_can_reach_a_device(name: str) -> None:
    """Telemetry knows samples and alarms, no session and no controller, and never subscribes."""
    folder = Path(__file__).parents[2] / "firmware_bridge"
    for node in ast.walk(ast.parse((folder / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in OWN:
            imported = {alias.name for alias in node.names}
            assert imported <= ALLOWED.get(str(node.module), set()), f"{name}: {node.module}"
        elif isinstance(node, ast.Import):
            assert not [a.name for a in node.names if a.name.split(".")[0] in OWN]
        elif isinstance(node, ast.Attribute):
            assert node.attr != "subscribe"
