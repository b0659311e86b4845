"""The simulated stimulator that (a) and (b) measure against: a process of its own behind a pty."""

import json
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import pin
from firmware_bridge.clock import RealClock
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import connect
from firmware_bridge.key_file import write_key
from firmware_bridge.links.serial_link import SerialLink
from firmware_bridge.links.url import parse_url
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.settings import JournalPlace, Settings
from hil.user import state_folder
from safety.alarms import Alarm
from safety.journal import Anchor, FileDisk

END_TIMEOUT_S = 10.0
FRAMES_KEPT = 1_000


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for one measurement, on the disk on which journals really lie."""
    state = state_folder()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=state) as name:
        yield Path(name)


@contextmanager
def stimulator_process(folder: Path, key: DeviceKey | None = None) -> Iterator[str]:
    """The URL of a simulated stimulator behind a pty; see `stimulator_process_at`."""
    options: list[str] = []
    if key is not None:
        write_key(folder / "key", key)
        options = ["--key", str(folder / "key")]
    name = "port" if key is None else "sealed"
    with stimulator_process_at(f"pty:{folder / name}", *options) as url:
        yield url


@contextmanager
def stimulator_process_at(listen: str, *options: str) -> Iterator[str]:
    """The URL of a simulated stimulator; see `listening_stimulator`."""
    with listening_stimulator(listen, *options) as told:
        yield told["listening"]


@contextmanager
def listening_stimulator(listen: str, *options: str) -> Iterator[dict[str, str]]:
    """What a simulated stimulator on the core beside ours tells; it ends with the context."""
    command = [sys.executable, "-m", "firmware_bridge.simulator", "stimulator"]
    command += ["--listen", listen, "--until-parent-ends", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            told = json.loads(child.stdout.readline())
            pin(child.pid, core=1)
            yield told
        finally:
            child.stdin.close()
            try:
                child.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()


class RecordingLink(SerialLink):
    """The serial link of the product, which also remembers what it wrote last."""

    def __init__(self, url: str) -> None:
        super().__init__(parse_url(url))
        self.written: deque[bytes] = deque(maxlen=FRAMES_KEPT)

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        self.written.append(data)
        super().write(data)


class RecordingDisk(FileDisk):
    """The journal file of the product, which also remembers how large its last entries were."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.appended = 0
        self.synced = 0
        """Bytes of the last entry that was waited for: of the last intent."""

    def append(self, data: bytes) -> None:
        """See `Disk.append`."""
        self.appended = len(data)
        super().append(data)

    def sync(self) -> None:
        """See `Disk.sync`."""
        self.synced = self.appended
        super().sync()


@asynccontextmanager
async def controlled(
    link: SerialLink, disk: FileDisk, anchor: Path, key: DeviceKey | None = None
) -> AsyncIterator[StimulatorController]:
    """A controller of the stimulator behind a link; the device is made safe at the end.

    With a ``key`` the conversation is sealed.
    """
    clock = RealClock()
    place = JournalPlace(disk, Anchor(anchor))
    settings = Settings(clock, lambda serial: place, complain, key_of=lambda serial: key)
    try:
        controller = await connect(link, None, settings)
        assert isinstance(controller, StimulatorController)
        try:
            yield controller
            await controller.make_safe("hold")
        finally:
            await controller.close()
    finally:
        disk.close()
        clock.close()


def complain(alarm: Alarm) -> None:
    """Tells of an alarm: none belongs into a measurement."""
    print(f"benchmarks: alarm {alarm.code}: {alarm.text}", file=sys.stderr)
