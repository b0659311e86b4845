"""A pump in a process of its own, which keeps the truth while hosts are killed around it.

``python -m tests.proof.kill_pump LEAP``: the file LEAP holds by how much time has leapt, so that
pump and hosts can pass hours in no time. One line on standard output says where it listens; each
line on standard input is answered with what physics has given: the doses that reach into the last
day by id, how many there were at all, and what was wrong.
"""

import asyncio
import json
import mmap
import struct
import sys
import time
from pathlib import Path

from device_profiles.quantities import DAY_MS
from firmware_bridge.clock import NS_PER_MS, RealClock
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.ports import port_for
from firmware_bridge.simulator.runner import DeviceRunner

from .crash_outside import PUMP, SERIAL, START_MS, Witness

LEAP = struct.Struct("<q")


class Leap:
    """What is added to the machine's monotonic clock, ns; shared by all who have the file open."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(LEAP.pack(-time.monotonic_ns()))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), LEAP.size)

    @property
    def ns(self) -> int:
        """All leaps so far; time began at 0 with the file."""
        (leapt,) = LEAP.unpack(self._shared)
        return int(leapt)

    def by(self, ms: int) -> None:
        """Time leaps for everybody."""
        self._shared[:] = LEAP.pack(self.ns + ms * NS_PER_MS)

    def close(self) -> None:
        """Lets go of the file."""
        self._shared.close()


class LeapingClock(RealClock):
    """The host's clocks, which leap together."""

    def __init__(self, leap: Leap) -> None:
        super().__init__()
        self._leap = leap

    def monotonic_ns(self) -> int:
        """Real time and all leaps."""
        return super().monotonic_ns() + self._leap.ns

    def with_sleep_ns(self) -> int:
        """The same: no host of this bench sleeps."""
        return self.monotonic_ns()

    def wall_ms(self) -> int:
        """Unix time on the example's day."""
        return START_MS + self.monotonic_ns() // NS_PER_MS


async def run(leap: Leap) -> None:
    """Listens until standard input ends."""
    clock = LeapingClock(leap)
    witness = Witness()
    device = SimulatedDevice(PUMP, wall_ms=clock.wall_ms(), serial=SERIAL, truth=witness)
    witness.device = device
    runner = DeviceRunner(device, clock)
    port = port_for("tcp:127.0.0.1:0", runner)
    await port.open()
    runner.connect(port)
    say({"url": port.url})
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        runner.step()
        day_ago = device.t_ms - DAY_MS
        doses = [(own, nl) for own, nl in witness.doses.items() if witness.ends[own] >= day_ago]
        say({"doses": doses, "given": len(witness.doses), "wrong": witness.wrong})
    await port.close()
    runner.close()
    clock.close()


def say(what: object) -> None:
    """One line for whoever started this process."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(run(Leap(Path(sys.argv[1]))))
