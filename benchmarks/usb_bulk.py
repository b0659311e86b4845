"""(l) A round trip on USB's bulk endpoints against bare pyusb, (m) pipelined queries on USB.

Simulators behind USB/IP on loopback, and in this process the machine that they are attached to:
its pyusb backend plays kernel and libusb, so that neither side of (l) pays for a real bus. Each
side has a simulator of its own, for a device is one program's. Both send the same request and
wait for the same reply; the bare side asks for as many bytes as the link does.
"""

import asyncio
from time import perf_counter_ns
from typing import Any

import usb.core
import usb.util

from benchmarks.device import listening_stimulator
from benchmarks.fleet import AT_ONCE, all_of
from benchmarks.harness import Row, each, each_awaited, interleave, percentile
from device_profiles.errors import LinkError
from firmware_bridge.clock import NS_PER_S
from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.links.url import parse_url
from firmware_bridge.links.usb_link import READ_BYTES, UsbLink
from firmware_bridge.protocol.catalogue import Envelope
from firmware_bridge.protocol.frames import encode_frame
from firmware_bridge.protocol.messages import AskStatus, Identify, Reply
from firmware_bridge.session import Session
from firmware_bridge.simulator.usb_device import BULK_IN, BULK_OUT
from hil.usbip_host.machine import UsbipMachine, attached_machine

ROUNDS = 100
CALLS = 50
PIPELINED = 5_000
TARGET = 1.5
REPLY_TIMEOUT_MS = 2_000
IDENTIFY = encode_frame(CATALOGUE.encode(Envelope(0, 7, Identify())))
"""Answered by every device, always, and without a session."""


def measure(rounds: int = ROUNDS, calls: int = CALLS, frames: int = PIPELINED) -> list[Row]:
    """Round trips of the link and of bare pyusb in turn; then queries through a session."""
    return asyncio.run(_measure(rounds, calls, frames))


async def _measure(rounds: int, calls: int, frames: int) -> list[Row]:
    ours, bare = await round_trips(rounds, calls)
    a_second = await pipelined_over_usb(frames)
    paced = f"{AT_ONCE} at once; a transfer at a time, so that a stop waits for one at most"
    return [
        _row("p50", ours, bare, 0.5),
        _row("p99", ours, bare, 0.99),
        Row("m", "pipelined queries, USB/IP", a_second, "/s", None, paced),
    ]


def _row(name: str, ours: list[int], bare: list[int], share: float) -> Row:
    mine, raw = percentile(ours, share), percentile(bare, share)
    basis = f"{mine / 1000:.0f} us; pyusb {raw / 1000:.0f} us; {len(ours)} each"
    return Row("l", f"bulk round trip / bare pyusb, {name}", mine / raw, "x", TARGET, basis)


class Answers:
    """Hears a link, and tells whoever waits for the end of the next frame."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    async def to(self, link: UsbLink, request: bytes) -> None:
        """Writes a request and returns with the last byte of its answer."""
        self._waiting = asyncio.get_running_loop().create_future()
        link.write(request)
        await self._waiting

    def received(self, data: bytes) -> None:
        """See `Receiver.received`."""
        if data.endswith(b"\x00") and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def lost(self, error: LinkError) -> None:
        """See `Receiver.lost`."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


async def round_trips(rounds: int, calls: int) -> tuple[list[int], list[int]]:
    """ns of each round trip, of the link and of bare pyusb."""
    with (
        listening_stimulator("usbip:127.0.0.1:0", "--serial-number", "LINK") as linked,
        listening_stimulator("usbip:127.0.0.1:0", "--serial-number", "BARE") as other,
    ):
        async with attached_machine(linked["attach"], other["attach"]) as machine:
            link, answers = UsbLink(parse_url(linked["listening"]), machine), Answers()
            await link.open(answers)
            device = _alone(machine, "BARE")
            try:
                ours, bare = await interleave(
                    [
                        each_awaited(lambda: answers.to(link, IDENTIFY), calls),
                        each(lambda: exchange(device, IDENTIFY), calls),
                    ],
                    rounds,
                )
            finally:
                usb.util.dispose_resources(device)
                await link.close()
    return ours, bare


def _alone(machine: UsbipMachine, serial: str) -> Any:
    """The device with a serial number, claimed, as pyusb has it."""

    def is_it(device: Any) -> bool:
        return bool(usb.util.get_string(device, device.iSerialNumber) == serial)

    device = usb.core.find(backend=machine, custom_match=is_it)
    usb.util.claim_interface(device, 0)
    return device


def exchange(device: Any, request: bytes) -> bytes:
    """Writes a request and reads up to the zero byte that ends the answer."""
    device.write(BULK_OUT, request, REPLY_TIMEOUT_MS)
    answer = b""
    while not answer.endswith(b"\x00"):
        answer += device.read(BULK_IN, READ_BYTES, REPLY_TIMEOUT_MS).tobytes()
    return answer


async def pipelined_over_usb(frames: int) -> float:
    """Queries a second over USB with several under way at once."""
    with listening_stimulator("usbip:127.0.0.1:0") as told:
        async with attached_machine(told["attach"]) as machine:
            session = Session(UsbLink(parse_url(told["listening"]), machine), CATALOGUE)
            await session.connect()
            try:
                await session.open()
                begun = perf_counter_ns()
                await all_of(frames, lambda: session.query(AskStatus(), Reply))
                return frames * NS_PER_S / (perf_counter_ns() - begun)
            finally:
                await session.close()
