"""USB over USB/IP: unmodified pyusb on a machine of the tests, up to the simulator's port."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import usb.core
import usb.util
from link_probe import Probe

from device_profiles.errors import LinkError, LinkLost, UsageError
from firmware_bridge.clock import RealClock
from firmware_bridge.links import usb_link
from firmware_bridge.links.discovery import discover
from firmware_bridge.links.url import parse_url
from firmware_bridge.links.usb_link import UsbLink
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    Identify,
    Identity,
    Message,
)
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.usbip_port import MAX_CONNECTIONS, UsbipPort
from hil.usbip_host.client import ImportRefused, UsbipClient, exported, place_of
from hil.usbip_host.machine import Attached, UsbipMachine, attached_machine

pytestmark = pytest.mark.real_clock
CATALOGUE = Catalogue()
IDENTIFY = encode_frame(CATALOGUE.encode(Envelope(0, 7, Identify())))


class Bench:
    """A simulated pump behind its own USB/IP port."""

    def __init__(self, runner: DeviceRunner, port: UsbipPort) -> None:
        self.runner = runner
        self.port = port
        self.host, self.tcp_port, self.bus_id = place_of(port.attach)

    async def attach(self, machine: UsbipMachine) -> Attached:
        """`usbip attach`: blocks, as the real one does."""
        return await asyncio.to_thread(machine.attach, self.host, self.tcp_port, self.bus_id)


@asynccontextmanager
async def simulated(serial: str) -> AsyncIterator[Bench]:
    clock = RealClock()
    device = SimulatedDevice(MACHINES["pump"], wall_ms=clock.wall_ms(), serial=serial)
    runner = DeviceRunner(device, clock)
    port = UsbipPort(runner, "127.0.0.1", 0)
    await port.open()
    runner.connect(port)
    try:
        yield Bench(runner, port)
    finally:
        await port.close()
        runner.close()
        clock.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with simulated("NX-1") as bench:
        yield bench


@pytest.fixture
async def machine(bench: Bench) -> AsyncIterator[UsbipMachine]:
    async with attached_machine(bench.port.attach) as machine:
        yield machine


@pytest.fixture
async def attached(machine: UsbipMachine) -> Attached:
    return next(machine.enumerate_devices())


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def link(bench: Bench, machine: UsbipMachine, probe: Probe) -> AsyncIterator[UsbLink]:
    link = UsbLink(parse_url(bench.port.url), machine)
    await link.open(probe)
    yield link
    await link.close()


async def reply(probe: Probe) -> Message:
    """The next message of the device."""
    decoder, bodies = FrameDecoder(), list[bytes]()
    while not bodies:
        await probe.bytes_received(1)
        bodies = decoder.feed(bytes(probe.data))
        probe.data.clear()
    return CATALOGUE.decode(bodies[0]).message


async def who(link: UsbLink, probe: Probe) -> str:
    link.write(IDENTIFY)
    message = await reply(probe)
    assert isinstance(message, Identity)
    return message.serial


async def refusal(url: str, machine: UsbipMachine) -> str:
    """The sentence with which opening fails."""
    link = UsbLink(parse_url(url), machine)
    with pytest.raises(LinkError) as caught:
        await link.open(Probe())
    await link.close()
    return str(caught.value)


# --- bytes ---------------------------------------------------------------------------------------


async def test_the_device_answers_through_bulk_endpoints(link: UsbLink, probe: Probe) -> None:
    assert await who(link, probe) == "NX-1"
    assert await who(link, probe) == "NX-1"


async def test_requests_in_one_transfer_are_all_answered(link: UsbLink, probe: Probe) -> None:
    link.write(IDENTIFY * 40)
    decoder, bodies = FrameDecoder(), list[bytes]()
    while len(bodies) < 40:
        await probe.bytes_received(1)
        bodies += decoder.feed(bytes(probe.data))
        probe.data.clear()
    assert len(bodies) == 40


async def test_silence_is_no_error_and_loses_no_byte(
    bench: Bench, machine: UsbipMachine, attached: Attached, probe: Probe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(usb_link, "READ_TIMEOUT_MS", 1)
    link = UsbLink(parse_url(bench.port.url), machine)
    await link.open(probe)
    for _ in range(5):
        attached.read_waits.clear()
        await asyncio.to_thread(attached.read_waits.wait, 10)
    for number in range(50):  # each races with a read that is just being taken back
        bench.port.deliver(b"%02d" % number)
        await asyncio.sleep(0)
    expected = b"".join(b"%02d" % number for number in range(50))
    assert await probe.bytes_received(100) == expected
    await link.close()


async def test_pyusb_tells_a_time_out_by_its_number(machine: UsbipMachine) -> None:
    def read() -> None:
        device = usb.core.find(backend=machine)
        try:
            device.read(0x81, 64, 1)
        finally:
            usb.util.dispose_resources(device)

    with pytest.raises(usb.core.USBTimeoutError) as caught:
        await asyncio.to_thread(read)
    assert caught.value.errno == errno.ETIMEDOUT


# --- stall, unplug, plug in ----------------------------------------------------------------------


async def test_a_stall_is_cleared_and_the_answer_still_comes(
    bench: Bench, link: UsbLink, attached: Attached, probe: Probe
) -> None:
    await asyncio.to_thread(attached.read_waits.wait, 10)
    bench.runner.inject("stall")
    assert await who(link, probe) == "NX-1"
    assert probe.errors == []


async def test_an_endpoint_that_stalls_again_at_once_is_a_loss(
    bench: Bench, link: UsbLink, attached: Attached, probe: Probe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(UsbipMachine, "clear_halt", lambda *_: None)
    await asyncio.to_thread(attached.read_waits.wait, 10)
    bench.runner.inject("stall")
    assert "Pipe error" in str(await probe.loss())


async def test_unplugged_in_the_middle_of_a_read(
    bench: Bench, link: UsbLink, attached: Attached, probe: Probe
) -> None:
    await asyncio.to_thread(attached.read_waits.wait, 10)
    bench.runner.inject("unplug")
    error = await probe.loss()
    assert isinstance(error, LinkLost)
    assert "it was unplugged" in str(error)
    with pytest.raises(LinkLost, match="unplugged"):
        link.write(IDENTIFY)
    assert len(probe.errors) == 1


async def test_unplugged_while_writing(bench: Bench, link: UsbLink, probe: Probe) -> None:
    bench.runner.inject("unplug")
    link.write(IDENTIFY)
    assert "unplugged" in str(await probe.loss())


async def test_plugged_in_again_it_is_attached_and_found_again(
    bench: Bench, machine: UsbipMachine, link: UsbLink, probe: Probe
) -> None:
    bench.runner.inject("unplug")
    await probe.loss()
    await link.close()
    assert "no USB device 1209:0001 is connected" in await refusal(bench.port.url, machine)
    assert await asyncio.to_thread(exported, bench.host, bench.tcp_port) == []
    with pytest.raises(ImportRefused) as caught:
        await bench.attach(machine)
    assert caught.value.status == 4

    bench.runner.inject("plug_in")
    assert await asyncio.to_thread(exported, bench.host, bench.tcp_port) == ["1-1"]
    await bench.attach(machine)
    again, listening = UsbLink(parse_url(bench.port.url), machine), Probe()
    await again.open(listening)
    assert await who(again, listening) == "NX-1"
    await again.close()


# --- who it is, and who may ----------------------------------------------------------------------


@pytest.mark.requirement("SR-25")
async def test_two_alike_on_one_machine_are_told_apart_by_serial_number() -> None:
    async with (
        simulated("NX-1") as first,
        simulated("NX-2") as second,
        attached_machine(first.port.attach, second.port.attach) as machine,
    ):
        sentence = await refusal("usb://1209:0001", machine)
        assert "2 devices 1209:0001 are connected" in sentence
        assert "NX-1, NX-2" in sentence
        for bench, serial in ((second, "NX-2"), (first, "NX-1")):
            probe = Probe()
            link = UsbLink(parse_url(bench.port.url), machine)
            await link.open(probe)
            assert await who(link, probe) == serial
            await link.close()
        assert "none of the connected" in await refusal("usb://1209:0001?serial=X", machine)
        found = await asyncio.to_thread(discover, [], machine)
    assert [device.url for device in found.devices] == [first.port.url, second.port.url]
    assert [device.serial_number for device in found.devices] == ["NX-1", "NX-2"]


@pytest.mark.fault("F49")
async def test_a_second_program_is_refused_and_a_second_machine_too(
    bench: Bench, machine: UsbipMachine, link: UsbLink
) -> None:
    assert "another program or driver has it" in await refusal("usb://1209:0001", machine)
    async with attached_machine() as other:
        with pytest.raises(ImportRefused, match="another host has it"):
            await bench.attach(other)


async def test_closing_gives_the_interface_back(
    bench: Bench, machine: UsbipMachine, attached: Attached, link: UsbLink
) -> None:
    assert attached.claimed is not None
    await link.close()
    assert attached.claimed is None
    again, probe = UsbLink(parse_url(bench.port.url), machine), Probe()
    await again.open(probe)
    assert await who(again, probe) == "NX-1"
    await again.close()


async def test_access_denied_shows_the_udev_rule(
    bench: Bench, machine: UsbipMachine, attached: Attached
) -> None:
    attached.open_error = errno.EACCES
    for url in ("usb://1209:0001", bench.port.url):
        sentence = await refusal(url, machine)
        assert 'ATTR{idVendor}=="1209", ATTR{idProduct}=="0001", TAG+="uaccess"' in sentence
    found = await asyncio.to_thread(discover, [], machine)
    assert [device.description for device in found.devices] == ["neuraxis bench device (no access)"]


async def test_a_device_without_a_configuration_gets_one(
    bench: Bench, machine: UsbipMachine, attached: Attached, probe: Probe
) -> None:
    def unconfigure() -> None:
        device = usb.core.find(backend=machine)
        device.set_configuration(0)
        usb.util.dispose_resources(device)

    await asyncio.to_thread(unconfigure)
    link = UsbLink(parse_url(bench.port.url), machine)
    await link.open(probe)
    assert await who(link, probe) == "NX-1"
    await link.close()


# --- the port ------------------------------------------------------------------------------------


async def test_a_detached_device_can_be_attached_again(bench: Bench) -> None:
    for _ in range(2):
        async with attached_machine(bench.port.attach) as machine:
            link, probe = UsbLink(parse_url(bench.port.url), machine), Probe()
            await link.open(probe)
            assert await who(link, probe) == "NX-1"
            await link.close()
        assert await asyncio.to_thread(is_free_soon, bench)


def is_free_soon(bench: Bench) -> bool:
    """Whether the server notices that a host has gone; it is asked until it has."""
    for _ in range(10_000):
        with suppress(ImportRefused):
            UsbipClient(bench.host, bench.tcp_port).close()
            return True
    return False


async def test_nonsense_ends_its_own_connection_and_no_other(
    bench: Bench, link: UsbLink, probe: Probe
) -> None:
    reader, writer = await asyncio.open_connection(bench.host, bench.tcp_port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    assert await who(link, probe) == "NX-1"


async def test_so_many_connections_and_no_more(bench: Bench) -> None:
    streams = []
    for _ in range(MAX_CONNECTIONS + 1):
        streams.append(await asyncio.open_connection(bench.host, bench.tcp_port))
    async with asyncio.timeout(10):
        assert await streams[-1][0].read() == b""
    for _, writer in streams:
        writer.close()


async def test_a_host_that_takes_no_answers_is_not_read_from(bench: Bench) -> None:
    """Its requests stay in the system's own buffers, which are full one day."""
    reader, writer = await asyncio.open_connection(bench.host, bench.tcp_port, limit=1)
    writer.write(bytes.fromhex("0111 8003 00000000") + b"1-1".ljust(32, b"\0"))
    ask = bytes.fromhex("00000001 00000001 00010002 00000001 00000000 00000000 00000012")
    ask += bytes(12) + bytes.fromhex("8006000100001200")
    await reader.readexactly(8 + 312)
    (host,) = bench.port._hosts
    assert host._transport is not None
    while host._transport.is_reading():
        writer.write(ask * 100)
        await asyncio.sleep(0)
    assert host._transport.get_write_buffer_size() < 1_000_000
    writer.transport.abort()


async def test_the_banner_leads_to_the_device_and_odd_characters_survive(
    probe: Probe,
) -> None:
    clock, stop = RealClock(), asyncio.Event()
    told: asyncio.Queue[Listening] = asyncio.Queue()
    options = SimulatorOptions("stimulator", "usbip:127.0.0.1:0", serial_number="Ä 1/2&x")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(run_simulator(options, clock, told.put_nowait, stop))
        listening = await told.get()
        assert set(listening.as_json()) == {"listening", "serial", "attach"}
        async with attached_machine(listening.attach) as machine:
            link = UsbLink(parse_url(listening.url), machine)
            await link.open(probe)
            assert await who(link, probe) == "Ä 1/2&x"
            await link.close()
        stop.set()
    clock.close()


async def test_a_serial_number_that_no_usb_string_holds_is_refused() -> None:
    clock = RealClock()
    options = SimulatorOptions("pump", "usbip:127.0.0.1:0", serial_number="\U0001f600" * 64)
    with pytest.raises(UsageError, match="at most 126 UTF-16 units"):
        await run_simulator(options, clock, lambda _: None)
    clock.close()


async def test_a_port_that_is_taken_is_a_link_error(bench: Bench) -> None:
    second = UsbipPort(bench.runner, "127.0.0.1", bench.tcp_port)
    with pytest.raises(LinkError, match=f"cannot listen on 127.0.0.1:{bench.tcp_port}"):
        await second.open()
    await second.close()


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
async def test_the_attach_command_names_an_address_that_can_be_reached(
    bench: Bench, host: str, told: str
) -> None:
    port = UsbipPort(bench.runner, host, 0)
    await port.open()
    assert f"attach -r {told} -b 1-1" in port.attach
    await port.close()
