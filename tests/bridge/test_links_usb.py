"""USB: unmodified pyusb on an own backend, up to the simulator behind it."""

import asyncio
import errno
import re
from collections.abc import AsyncIterator

import pytest
from link_probe import Probe
from usb_backend import BULK_IN, BULK_OUT, VirtualBus, VirtualUsbDevice

from device_profiles.errors import LinkError, LinkLost
from firmware_bridge.links import usb_finding, usb_link
from firmware_bridge.links.base import MAX_QUEUED
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
)
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES

pytestmark = pytest.mark.real_clock


class Echo:
    """Sends back what it gets."""

    def exchange(self, data: bytes) -> bytes:
        return data


class SimulatedPeer:
    """The simulator behind the endpoints."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def exchange(self, data: bytes) -> bytes:
        return self._device.receive(data, link_ms=0)


@pytest.fixture
def device() -> VirtualUsbDevice:
    return VirtualUsbDevice(Echo(), "NX-1")


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def link(device: VirtualUsbDevice, probe: Probe) -> AsyncIterator[UsbLink]:
    link = UsbLink(parse_url("usb://1209:0001"), VirtualBus(device))
    await link.open(probe)
    yield link
    await link.close()


async def refusal(url: str, *devices: VirtualUsbDevice) -> str:
    """The sentence with which opening fails."""
    link = UsbLink(parse_url(url), VirtualBus(*devices))
    with pytest.raises(LinkError) as caught:
        await link.open(Probe())
    await link.close()
    assert not any(device.claimed for device in devices)
    return str(caught.value)


async def test_bytes_go_there_and_back(link: UsbLink, probe: Probe) -> None:
    link.write(b"one")
    link.write(b"two")
    assert await probe.bytes_received(6) == b"onetwo"


async def test_more_than_one_read_takes(link: UsbLink, probe: Probe) -> None:
    data = bytes(range(256)) * 40
    link.write(data)
    assert await probe.bytes_received(len(data)) == data


async def test_silence_is_no_error(
    device: VirtualUsbDevice, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usb_link, "READ_TIMEOUT_MS", 1)
    link = UsbLink(parse_url("usb://1209:0001"), VirtualBus(device))
    await link.open(probe)
    for _ in range(3):
        device.read_waits.clear()
        await asyncio.to_thread(device.read_waits.wait, 10)
    device.send(b"late")
    assert await probe.bytes_received(4) == b"late"
    await link.close()


async def test_unplugged_in_the_middle_of_a_read(
    link: UsbLink, device: VirtualUsbDevice, probe: Probe
) -> None:
    await asyncio.to_thread(device.read_waits.wait, 10)
    device.unplug()
    error = await probe.loss()
    assert isinstance(error, LinkLost)
    assert "usb://1209:0001 is gone: it was unplugged" in str(error)
    with pytest.raises(LinkLost, match="unplugged"):
        link.write(b"x")
    assert len(probe.errors) == 1


async def test_unplugged_while_writing(
    link: UsbLink, device: VirtualUsbDevice, probe: Probe
) -> None:
    device.unplug()
    link.write(b"x")
    assert "unplugged" in str(await probe.loss())


@pytest.mark.fault("F45")
async def test_a_device_that_takes_nothing_is_a_loss_and_keeps_nobody_from_closing(
    link: UsbLink, device: VirtualUsbDevice, probe: Probe
) -> None:
    device.takes_nothing = True
    link.write(b"x")
    assert link.queued == 1
    with pytest.raises(LinkLost, match="took none"):
        link.write(bytes(MAX_QUEUED))
    await probe.loss()
    await link.close()
    assert not device.claimed


@pytest.mark.parametrize("endpoint", [BULK_IN, BULK_OUT])
async def test_a_stall_is_cleared_once(
    device: VirtualUsbDevice, probe: Probe, endpoint: int
) -> None:
    device.stalls[endpoint] = 1
    link = UsbLink(parse_url("usb://1209:0001"), VirtualBus(device))
    await link.open(probe)
    link.write(b"hello")
    assert await probe.bytes_received(5) == b"hello"
    assert device.halts_cleared == [endpoint]
    await link.close()


@pytest.mark.parametrize("endpoint", [BULK_IN, BULK_OUT])
async def test_a_lasting_stall_is_a_loss(
    device: VirtualUsbDevice, probe: Probe, endpoint: int
) -> None:
    device.stalls[endpoint] = 10
    link = UsbLink(parse_url("usb://1209:0001"), VirtualBus(device))
    await link.open(probe)
    link.write(b"hello")
    assert "Pipe error" in str(await probe.loss())
    assert device.halts_cleared == [endpoint]
    await link.close()


async def test_closing_gives_the_interface_back(
    link: UsbLink, device: VirtualUsbDevice, probe: Probe
) -> None:
    assert device.claimed
    await link.close()
    await link.close()
    assert not device.claimed
    with pytest.raises(LinkLost, match="not open"):
        link.write(b"x")
    assert probe.errors == []


@pytest.mark.requirement("SR-25")
async def test_two_alike_are_told_apart_by_serial_number() -> None:
    first, second = VirtualUsbDevice(Echo(), "NX-1"), VirtualUsbDevice(Echo(), "NX-2")
    sentence = await refusal("usb://1209:0001", first, second)
    assert "2 devices" in sentence
    assert "NX-1, NX-2" in sentence
    assert "usb://1209:0001?serial=NX-1" in sentence

    link = UsbLink(parse_url("usb://1209:0001?serial=NX-2"), VirtualBus(first, second))
    await link.open(Probe())
    assert (first.claimed, second.claimed) == (False, True)
    await link.close()

    assert "none of the connected devices" in await refusal(
        "usb://1209:0001?serial=NX-3", first, second
    )


async def test_two_alike_without_serial_numbers_can_only_be_unplugged() -> None:
    alike = [VirtualUsbDevice(Echo(), "") for _ in range(2)]
    for url in ("usb://1209:0001", "usb://1209:0001?serial=NX-1"):
        sentence = await refusal(url, *alike)
        assert "2 devices 1209:0001 are connected" in sentence
        assert "Unplug all but the one you mean" in sentence


async def test_of_two_alike_the_one_with_a_number_can_be_named() -> None:
    """Its number is written as a URL takes it."""
    named = VirtualUsbDevice(Echo(), "NX 1&2")
    sentence = await refusal("usb://1209:0001", VirtualUsbDevice(Echo(), ""), named)
    assert "with the serial numbers none, NX 1&2" in sentence
    (url,) = re.findall(r"Say which one you mean: (\S+)", sentence)
    link = UsbLink(parse_url(url), VirtualBus(VirtualUsbDevice(Echo(), ""), named))
    await link.open(Probe())
    assert named.claimed
    await link.close()


async def test_nothing_connected() -> None:
    other = VirtualUsbDevice(Echo(), "NX-1", vendor=0x0403)
    assert "no USB device 1209:0001 is connected" in await refusal("usb://1209:0001", other)


@pytest.mark.parametrize("url", ["usb://1209:0001", "usb://1209:0001?serial=NX-1"])
async def test_access_denied_shows_the_udev_rule(device: VirtualUsbDevice, url: str) -> None:
    device.open_error = errno.EACCES
    sentence = await refusal(url, device)
    assert 'ATTR{idVendor}=="1209", ATTR{idProduct}=="0001", TAG+="uaccess"' in sentence
    assert "/etc/udev/rules.d/" in sentence


@pytest.mark.fault("F49")
async def test_busy(device: VirtualUsbDevice) -> None:
    device.claim_error = errno.EBUSY
    assert "another program or driver has it" in await refusal("usb://1209:0001", device)


async def test_no_libusb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb_finding, "bundled_backend", lambda: None)
    link = UsbLink(parse_url("usb://1209:0001"))
    with pytest.raises(LinkError, match="no libusb"):
        await link.open(Probe())


@pytest.mark.parametrize("kind", sorted(MACHINES))
async def test_the_simulator_identifies_itself_over_usb(kind: str) -> None:
    simulated = SimulatedDevice(MACHINES[kind], wall_ms=1_767_225_600_000, serial="NX-USB")
    usb_device = VirtualUsbDevice(SimulatedPeer(simulated), "NX-USB")
    catalogue, decoder, probe = Catalogue(), FrameDecoder(), Probe()
    link = UsbLink(parse_url("usb://1209:0001?serial=NX-USB"), VirtualBus(usb_device))
    await link.open(probe)
    link.write(encode_frame(catalogue.encode(Envelope(0, 7, Identify()))))
    bodies: list[bytes] = []
    while not bodies:
        bodies = decoder.feed(await probe.bytes_received(1))
        probe.data.clear()
    reply = catalogue.decode(bodies[0])
    assert reply.sequence == 7
    assert isinstance(reply.message, Identity)
    assert reply.message.serial == "NX-USB"
    await link.close()
    simulated.close(0)
