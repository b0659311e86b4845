"""Where a host meets a simulated device: the link in this process, ptys, TCP, child processes."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import serial
from simulator_bench import Bench, currents, infusion, stimulation

from device_profiles.errors import LinkError, LinkLost, UsageError
from firmware_bridge.clock import RealClock, VirtualClock, VirtualLoop
from firmware_bridge.families.scs.wire import Measure, Start
from firmware_bridge.protocol.blob import digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    AskStatus,
    Commit,
    Done,
    Identify,
    Identity,
    Message,
    Open,
    Stage,
    Stop,
    Stopped,
)
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.ports import MOST_WAITING, InProcessLink, PtyPort, TcpPort
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator
from firmware_bridge.simulator.runner import DeviceRunner

CATALOGUE = MACHINES["stimulator"].catalogue
PROGRAM = encode_program(stimulation())


def frame(request: Message, sequence: int = 1) -> bytes:
    return encode_frame(CATALOGUE.encode(Envelope(7, sequence, request)))


STARTING = [
    Open(7),
    Stage(0, PROGRAM),
    Commit(1, 1, digest_of(PROGRAM)),
    Start(2, 0, digest_of(PROGRAM), [4_200], 10_000),
]


class Listener:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.lost_by: LinkError | None = None
        self.heard = asyncio.Event()
        self._decoder = FrameDecoder()

    def received(self, data: bytes) -> None:
        self.messages += [CATALOGUE.decode(body).message for body in self._decoder.feed(data)]
        self.heard.set()

    def lost(self, error: LinkError) -> None:
        self.lost_by = error
        self.heard.set()

    async def next(self) -> None:
        await self.heard.wait()
        self.heard.clear()


# --- in this process, on virtual time ------------------------------------------------------------


def virtual_runner(bench: Bench) -> DeviceRunner:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return DeviceRunner(bench.device, VirtualClock(loop))


async def test_the_device_lives_on_virtual_time_and_wakes_by_itself() -> None:
    bench, listener = Bench("stimulator"), Listener()
    runner = virtual_runner(bench)
    link = InProcessLink(runner)
    await link.open(listener)
    for request in STARTING:
        link.write(frame(request))
        assert listener.messages == [] or listener.messages[-1] != Done(2)
        await listener.next()
    assert listener.messages[-1] == Done(2)
    await link.close()
    await asyncio.sleep(3_600)
    course = currents(bench.truth, "E3")
    assert course[-1] == (10_160, 0)
    runner.close()
    runner.close()


async def test_a_reply_that_comes_later_arrives_by_itself() -> None:
    bench, listener = Bench("stimulator"), Listener()
    runner = virtual_runner(bench)
    link = InProcessLink(runner)
    await link.open(listener)
    link.write(frame(Open(7)) + frame(Measure(3, 100, 100, 8)))
    await listener.next()
    await listener.next()
    assert listener.messages[-1] == Done(3)
    assert runner.link_ms == 256
    await link.close()
    runner.close()


async def test_a_second_link_takes_the_line_and_unplugging_loses_it() -> None:
    runner = virtual_runner(Bench("stimulator"))
    first, second, third = (InProcessLink(runner) for _ in range(3))
    listeners = [Listener(), Listener()]
    await first.open(listeners[0])
    await second.open(listeners[1])
    await listeners[0].next()
    assert isinstance(listeners[0].lost_by, LinkLost)
    runner.inject("unplug")
    await listeners[1].next()
    assert isinstance(listeners[1].lost_by, LinkLost)
    with pytest.raises(LinkError, match="unplugged"):
        await third.open(Listener())
    with pytest.raises(LinkLost):
        second.write(frame(Identify()))
    runner.inject("plug_in")
    await third.open(listeners[0])
    third.write(frame(Identify()))
    await asyncio.sleep(0)
    assert isinstance(listeners[0].messages[-1], Identity)
    for link in (first, second, third):
        await link.close()
    runner.close()


async def test_a_day_of_a_pump_on_virtual_time() -> None:
    bench = Bench("pump").program(1, infusion(patient_bolus=None))
    runner = virtual_runner(bench)
    assert not runner.press()
    await asyncio.sleep(86_400)
    runner.close()
    assert bench.truth[-1]["volume_nL"] == 240_000


# --- a process of its own ------------------------------------------------------------------------


class Simulator:
    """A child process and where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, str]) -> None:
        self.process = process
        self.url = ready["listening"]
        self.serial = ready["serial"]


@contextlib.asynccontextmanager
async def child(family: str, *arguments: str) -> AsyncIterator[Simulator]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firmware_bridge.simulator", family, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            ready = json.loads(await process.stdout.readline())
        yield Simulator(process, ready)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Message
) -> Message:
    writer.write(frame(request))
    async with asyncio.timeout(10):
        reply = await reader.readuntil(b"\0")
    return CATALOGUE.decode(FrameDecoder().feed(reply)[0]).message


async def connect(simulator: Simulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = simulator.url.removeprefix("tcp://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


def truth_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.real_clock
async def test_a_child_outlives_its_parent_until_the_output_is_at_zero(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    options = ("--listen", "tcp:127.0.0.1:0", "--truth", str(truth), "--until-parent-ends")
    async with child("stimulator", *options, "--serial-number", "SCS-9") as simulator:
        assert simulator.serial == "SCS-9"
        reader, writer = await connect(simulator)
        for request in STARTING[:3]:
            await ask(reader, writer, request)
        digest = digest_of(PROGRAM)
        assert await ask(reader, writer, Start(2, 0, digest, [4_200], 500)) == Done(2)
        assert simulator.process.stdin is not None
        simulator.process.stdin.close()
        writer.close()
        async with asyncio.timeout(20):
            assert await simulator.process.wait() == 0
    times = [line["t_ms"] for line in truth_of(truth)]
    assert times == sorted(times, key=lambda time: int(str(time)))
    for contact in ("E3", "E4", "E5"):
        at, amplitude = currents(truth_of(truth), contact)[-1]
        assert amplitude == 0
        assert isinstance(at, int)
        assert at >= 500


@pytest.mark.real_clock
async def test_a_new_client_takes_the_place_of_the_old_one() -> None:
    async with child("stimulator", "--listen", "tcp:127.0.0.1:0") as simulator:
        first_reader, first_writer = await connect(simulator)
        await ask(first_reader, first_writer, Open(7))
        reader, writer = await connect(simulator)
        assert isinstance(await ask(reader, writer, Identify()), Identity)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert await first_reader.read() == b""
        assert await ask(reader, writer, Stop("hold")) == Stopped("SCS-0001")
        first_writer.close()
        writer.close()
        simulator.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await simulator.process.wait() == 0


@pytest.mark.real_clock
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
async def test_a_pty_speaks_survives_a_kill_and_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    state, truth = tmp_path / "state", tmp_path / "truth"
    options = ("--listen", f"pty:{path}", "--state", str(state), "--truth", str(truth))

    def identify() -> Identity:
        with serial.Serial(str(path), timeout=10, exclusive=True) as port:
            port.write(frame(Identify()))
            reply = port.read_until(b"\0")
        found = CATALOGUE.decode(FrameDecoder().feed(reply)[0]).message
        assert isinstance(found, Identity)
        return found

    async with child("pump", *options) as simulator:
        assert simulator.url == f"serial://{path}"
        assert identify().boot == 1
        assert identify().boot == 1
        taken = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "firmware_bridge.simulator", "pump", *options[:2]),
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await taken.communicate()
        assert (taken.returncode, b"another simulator" in complaint) == (2, True)
        simulator.process.kill()
        await simulator.process.wait()
    assert path.is_symlink()
    async with child("pump", *options) as simulator:
        assert identify().boot == 2
        simulator.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await simulator.process.wait() == 0
    assert not path.is_symlink()
    assert truth_of(truth)[-1]["volume_nL"] == 0
    assert json.loads(state.read_text())["firmware"]["boot"] == 2


@pytest.mark.real_clock
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
async def test_an_unplugged_pty_is_gone_under_the_hosts_hands(tmp_path: Path) -> None:
    path, faults = tmp_path / "port", tmp_path / "faults.yaml"
    faults.write_text("- {at: status 1, fault: unplug}\n")
    options = SimulatorOptions("pump", f"pty:{path}", faults=faults)
    stop, ready = asyncio.Event(), asyncio.Event()
    heard: list[Listening] = []
    clock = RealClock()

    def announce(listening: Listening) -> None:
        heard.append(listening)
        ready.set()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(run_simulator(options, clock, announce, stop))
        await ready.wait()
        assert heard == [Listening(f"serial://{path}", "ITP-0001")]
        gone = asyncio.Event()
        with serial.Serial(str(path), timeout=0) as port:
            loop = asyncio.get_running_loop()
            loop.add_reader(port.fileno(), gone.set)
            port.write(frame(AskStatus()))
            await gone.wait()
            loop.remove_reader(port.fileno())
            with contextlib.suppress(serial.SerialException, OSError):
                assert port.read(1) == b""
        assert not path.is_symlink()
        stop.set()
    clock.close()


@pytest.mark.real_clock
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
async def test_a_pty_that_is_plugged_in_again_has_its_old_path(tmp_path: Path) -> None:
    clock, path = RealClock(), tmp_path / "port"
    runner = DeviceRunner(Bench("pump").device, clock)
    port = PtyPort(runner, path)
    await port.open()
    runner.connect(port)
    runner.inject("unplug")
    assert not path.is_symlink()
    runner.inject("plug_in")
    heard = asyncio.Event()
    with serial.Serial(str(path), timeout=0) as line:
        loop = asyncio.get_running_loop()
        loop.add_reader(line.fileno(), heard.set)
        line.write(frame(Identify()))
        async with asyncio.timeout(10):
            await heard.wait()
        loop.remove_reader(line.fileno())
    await port.close()
    assert not path.is_symlink()
    runner.close()
    clock.close()


@pytest.mark.real_clock
async def test_options_that_make_no_sense_are_usage_errors(tmp_path: Path) -> None:
    clock = RealClock()
    (tmp_path / "notes").write_text("mine\n")
    for options, message in (
        (SimulatorOptions("toaster", "tcp:127.0.0.1:0"), "toaster"),
        (SimulatorOptions("pump", "tcp:nowhere"), "listens on pty"),
        (SimulatorOptions("pump", "udp:127.0.0.1:0"), "listens on pty"),
        (SimulatorOptions("pump", "tcp:127.0.0.1:0", speed=0), "speed"),
        (SimulatorOptions("pump", "tcp:127.0.0.1:0", serial_number=""), "serial number"),
        (SimulatorOptions("pump", "tcp:127.0.0.1:0", serial_number="\n"), "invisible"),
        (SimulatorOptions("pump", "tcp:127.0.0.1:0", serial_number="\udcff"), "invisible"),
        (SimulatorOptions("pump", "tcp:a..b:0"), "listens on pty"),
        (SimulatorOptions("pump", "usbip:a..b:0"), "listens on pty"),
        (SimulatorOptions("pump", f"pty:{tmp_path}/none/port"), "no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            await run_simulator(options, clock, lambda _: None)
    (tmp_path / "board").symlink_to("/dev/null")
    for name in ("notes", "board"):
        options = SimulatorOptions("pump", f"pty:{tmp_path}/{name}")
        with pytest.raises(LinkError, match="cannot be a serial port"):
            await run_simulator(options, clock, lambda _: None)
    assert (tmp_path / "notes").read_text() == "mine\n"
    assert (tmp_path / "board").is_symlink(), "a person's own link to a real board stays"
    clock.close()


class _Deaf(asyncio.Transport):
    """A client that takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, data: object) -> None:
        self.waiting += len(data)  # type: ignore[arg-type]


async def test_what_a_client_never_reads_is_lost_and_does_not_pile_up() -> None:
    port, client = TcpPort(virtual_runner(Bench("pump")), "host", 1), _Deaf()
    port.joined(client)
    for _ in range(1_000):
        port.deliver(bytes(1_000))
    assert client.waiting <= MOST_WAITING + 1_000
