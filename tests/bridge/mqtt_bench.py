"""Brokers, an ear and a bad line for telemetry tests; loopback only, ports chosen by the system."""

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import aiomqtt
from amqtt.broker import Broker

from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import RealClock
from firmware_bridge.driver import Sample
from firmware_bridge.mqtt_connection import BrokerAddress
from firmware_bridge.telemetry import Patience, Publisher
from firmware_bridge.telemetry_outbox import Subject
from safety.alarms import Alarm

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
HOST = "127.0.0.1"
DEADLINE_S = 20.0
"""When a test gives up waiting; reached only by a test that fails."""
SUBJECT = Subject("SCS-7", "scs", "scs-16", sealed=True)
ALARM = Alarm("over-delivery", "HIGH", "SR-31", "more flows than the plan says")
HASTY = Patience(answer_s=0.3, first_pause_s=0.02, longest_pause_s=0.1)
"""For tests in which something has to fail before it works."""


def a_sample(number: int) -> Sample:
    """A sample that can be told from others by its ``pulses``."""
    clock = Milliseconds(250 * number)
    return Sample(clock, 1, "running", False, True, {"pulses": number}, ("contact-open",))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


class AnyBroker(Protocol):
    """A broker that can be started and killed, again and again, on the same port."""

    port: int

    async def start(self) -> None:
        """Returns once it listens."""

    async def kill(self) -> None:
        """Ends it without a goodbye to anybody; idempotent."""


class Mosquitto:
    """The real one, as a child process. It keeps nothing over a restart."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text(
            f"listener {self.port} {HOST}\nallow_anonymous true\npersistence false\n"
            "log_dest stderr\n"
        )
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None

    async def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self._conf), stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        log = self._process.stderr
        while b"running" not in (line := await log.readline()):
            assert line, "mosquitto ended before it was running"
        self._log = asyncio.create_task(self._read(log))

    async def _read(self, log: asyncio.StreamReader) -> None:
        while await log.readline():
            continue

    async def kill(self) -> None:
        if self._process is None or self._log is None:
            return
        self._process.kill()
        await self._process.wait()
        await self._log
        self._process = self._log = None


class Amqtt:
    """The one in pure Python, in this process: good enough where nothing goes wrong."""

    def __init__(self, _folder: Path) -> None:
        self.port = free_port()
        self._broker: Broker | None = None

    async def start(self) -> None:
        self._broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                },
            }
        )
        await self._broker.start()

    async def kill(self) -> None:
        if self._broker is not None:
            await self._broker.shutdown()
            self._broker = None


class Line:
    """A TCP line to a broker that can be cut, or freeze so that neither end notices."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._ends: list[asyncio.StreamWriter] = []
        self._frozen: set[asyncio.StreamWriter] = set()
        self._pumps: list[asyncio.Task[None]] = []
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._broker_port)
        self._ends += [writer, far_writer]
        self._pumps += [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                if writer not in self._frozen:
                    writer.write(data)
        if writer not in self._frozen:
            writer.close()

    def freeze(self) -> None:
        """What is connected now stays connected, and not a byte gets through any more."""
        self._frozen.update(self._ends)

    async def cut(self) -> None:
        """Cuts every connection and admits no new one; idempotent."""
        if self._server is not None:
            self._server.close()
        for writer in self._ends:
            writer.transport.abort()
        await asyncio.gather(*self._pumps)


class Ear:
    """A subscriber to everything neuraxis tells, from the moment it was made."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._more = asyncio.Condition()

    async def listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            assert isinstance(payload, bytes)
            async with self._more:
                self.heard.append((message.topic.value, payload, message.retain))
                self._more.notify_all()

    async def until(self, name: str, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first message of that name that is ``wanted``; JSON is decoded, other text is not."""
        async with asyncio.timeout(DEADLINE_S), self._more:
            while True:
                for told in self.all(name):
                    if wanted(told):
                        return told
                await self._more.wait()

    def all(self, name: str) -> list[Any]:
        """All messages of that name so far, in order."""
        topic = f"neuraxis/SCS-7/{name}"
        return [_decoded(payload) for heard, payload, _ in self.heard if heard == topic]


def _decoded(payload: bytes) -> Any:
    return json.loads(payload) if payload.startswith(b"{") else payload.decode()


@asynccontextmanager
async def listening(port: int, name: str = "ear") -> AsyncIterator[Ear]:
    """An ear at the broker on that port; what is retained comes first."""
    ear = Ear()
    async with aiomqtt.Client(HOST, port, identifier=name) as client:
        await client.subscribe("neuraxis/#", qos=1)
        task = asyncio.create_task(ear.listen(client))
        try:
            yield ear
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if client._misc_task is not None:  # aiomqtt cancels it and does not wait
        await asyncio.gather(client._misc_task, return_exceptions=True)


class Told:
    """What the bench was told, sentence by sentence."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._more = asyncio.Event()

    def say(self, text: str) -> None:
        self.sentences.append(text)
        self._more.set()

    async def until(self, part: str) -> str:
        """The first sentence that holds ``part``."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._more.clear()
                for sentence in self.sentences:
                    if part in sentence:
                        return sentence
                await self._more.wait()


@asynccontextmanager
async def publishing(
    port: int, told: Told, patience: Patience = HASTY, host: str = HOST
) -> AsyncIterator[Publisher]:
    """A publisher for SCS-7."""
    clock = RealClock()
    try:
        async with Publisher(
            BrokerAddress(host, port), SUBJECT, clock, told.say, patience
        ) as publisher:
            yield publisher
    finally:
        clock.close()
