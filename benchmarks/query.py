"""(a) A query through controller, session, codec and link, against raw pyserial; sealed and not.

One simulator process answers the unsealed side and the raw one on one pty that both have open:
while one side runs the other reads nothing. The raw side repeats the very frames that the
controller's side has just sent and knows how long the replies are, so it needs one `read` for
each: the fastest that pyserial can do. The sealed side has a simulator of its own, for a sealed
frame answers only once; what its simulator pays for the sealing is in its time too.
"""

import asyncio
from collections.abc import Sequence

import serial

from benchmarks.device import RecordingLink, controlled, scratch_folder, stimulator_process
from benchmarks.harness import Row, each_awaited, each_of, interleave, percentile
from firmware_bridge.links.url import DEFAULT_BAUD, parse_url
from firmware_bridge.protocol.seal import DeviceKey
from safety.journal import FileDisk

KEY = DeviceKey(bytes(range(32)))
ROUNDS = 100
CALLS = 100
WARM_UP = 260
"""More than 255, so that the sequence numbers, and the frames with them, keep their length."""
TARGET_P50, TARGET_P99 = 1.5, 2.0
REPLY_TIMEOUT_S = 2.0
BUSY = 5
"""Times its own median that pyserial alone does not exceed on a quiet machine."""


def measure(rounds: int = ROUNDS, calls: int = CALLS) -> list[Row]:
    """Status queries of an idle stimulator: p50 and p99 of both sides."""
    return asyncio.run(_measure(rounds, calls))


async def _measure(rounds: int, calls: int) -> list[Row]:
    with (
        scratch_folder() as folder,
        stimulator_process(folder) as url,
        stimulator_process(folder, KEY) as sealed_url,
    ):
        link, sealed_link = RecordingLink(url), RecordingLink(sealed_url)
        disk, sealed_disk = FileDisk(folder / "journal"), FileDisk(folder / "sealed-journal")
        async with (
            controlled(link, disk, folder / "anchor") as controller,
            controlled(sealed_link, sealed_disk, folder / "sealed-anchor", KEY) as sealed,
        ):
            for _ in range(WARM_UP + calls):
                await controller.sample()
                await sealed.sample()
            port = parse_url(url).port
            with serial.Serial(port, DEFAULT_BAUD, timeout=REPLY_TIMEOUT_S) as raw:
                length = reply_length(raw, link.written[-1])
                ours, bare, ours_sealed = await interleave(
                    [
                        each_awaited(controller.sample, calls),
                        each_of(
                            lambda frame: exchange(raw, frame, length),
                            lambda: list(link.written)[-calls:],
                        ),
                        each_awaited(sealed.sample, calls),
                    ],
                    rounds,
                )
    return [
        _row("sealed query", "p50", ours_sealed, bare, 0.5, TARGET_P50),
        _row("sealed query", "p99", ours_sealed, bare, 0.99, TARGET_P99),
        _row("unsealed query", "p50", ours, bare, 0.5, TARGET_P50),
        _row("unsealed query", "p99", ours, bare, 0.99, TARGET_P99),
    ]


def exchange(port: serial.Serial, frame: bytes, length: int) -> bytes:
    """Writes a frame and reads up to the zero byte that ends the reply of ``length`` bytes."""
    port.write(frame)
    reply: bytes = port.read(length)
    while not reply.endswith(b"\x00"):
        piece = port.read(1)
        if not piece:
            raise AssertionError(f"the simulator answered raw pyserial with {reply.hex()} only")
        reply += piece
    return reply


def reply_length(port: serial.Serial, frame: bytes) -> int:
    """How long the reply to a frame is, found out byte by byte."""
    return len(exchange(port, frame, 1))


def _row(
    what: str, name: str, ours: Sequence[int], bare: Sequence[int], share: float, target: float
) -> Row:
    mine, raw = percentile(ours, share), percentile(bare, share)
    basis = f"{mine / 1000:.0f} us; pyserial {raw / 1000:.0f} us; {len(ours)} each"
    if raw > BUSY * percentile(bare, 0.5):
        basis += "; the machine was busy: measure again on a quiet one"
    return Row("a", f"{what} / raw pyserial, {name}", mine / raw, "x", target, basis)
