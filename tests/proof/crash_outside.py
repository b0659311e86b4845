"""What lies outside of a host and outlives it: the pump, the disk, the wire, the person.

A kill leaves exactly this. So a crash is a copy of the `Outside` at a named step; the host that
was there has no part in what follows.
"""

import copy
import copyreg
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from firmware_bridge.families.body import TruthLine
from firmware_bridge.families.itp.firmware import PumpFirmware
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES, MachineKind, machine_kind
from safety import gate
from safety.anchor import Anchor
from safety.checkpoint import StateFile, encode_state
from safety.disk import Disk
from safety.journal_format import Head
from safety.opening import OpenedJournal, open_journal

PUMP = MACHINES["pump"]
START_MS = 1_793_703_600_000
"""2026-11-03T11:00:00Z, noon in Berlin: in the example's first basal step, after its fill."""
SERIAL = "ITP-0001"
LONGEST_STORY = 500
"""Entries of a journal: with fewer from one checkpoint to the next, their count matters."""


class Files(NamedTuple):
    """The journal's files: what a power cut leaves, and what only the system's memory holds.

    ``ghost`` are bytes at the end that were cut off; until a sync the disk may still have them.
    """

    synced: bytes = b""
    pending: bytes = b""
    anchor_synced: Head | None = None
    anchor_written: Head | None = None
    states: bytes = b""
    ghost: bytes = b""

    @property
    def bytes_read(self) -> bytes:
        """What a reader sees as long as the machine runs."""
        return self.synced + self.pending


class Person(NamedTuple):
    """Who asks: the next line of the story, and every id that a request was given.

    ``ids``: (number of the request, id), in order.
    """

    line: int = 0
    requests: int = 0
    ids: tuple[tuple[int, int], ...] = ()


When = Literal["before the next conversation", "after the next host has asked about an id"]


class OnItsWay(NamedTuple):
    """A frame on the wire that outlived its host, and when it arrives in the life of the next."""

    frame: bytes
    when: When


@dataclass
class Witness:
    """The pump's physics, watched: which bolus began for which id, and what flows at least.

    Written by the body itself at each change of what flows, so that it owes nothing to the
    firmware's word or to a journal.
    """

    doses: dict[int, int] = field(default_factory=dict)
    """nL that each id has begun."""
    ends: dict[int, int] = field(default_factory=dict)
    """When each bolus ends by itself, in the pump's own time, ms."""
    begun: list[int] = field(default_factory=list)
    floor: int = 0
    """The largest basal that was in the pump; the story only ever raises it. nL/day."""
    wrong: list[str] = field(default_factory=list)
    device: SimulatedDevice | None = None
    last_ms: int = -1
    _running_since: int = -1

    def write(self, line: TruthLine) -> None:
        """Takes note of what the body does now."""
        self.last_ms = int(str(line["t_ms"]))
        if self.device is None:
            return
        machine = self.device.machine
        body, firmware = machine.firmware.body, machine.firmware
        assert isinstance(firmware, PumpFirmware)
        bolus = body.bolus("host")
        if bolus is not None and bolus.since != self._running_since:
            own = int(firmware.memory.bolus_id)
            self.begun.append(own)
            self.ends[own] = int(bolus.ends)
            self.doses[own] = self.doses.get(own, 0) + int(bolus.volume)
            if self.begun.count(own) > 1:
                self.wrong.append(f"id {own} was carried out twice")
        self._running_since = bolus.since if bolus is not None else -1
        if body.flow < self.floor:
            self.wrong.append(f"the basal fell to {body.flow} nL/day, and {self.floor} were set")
        if firmware.program is not None:
            self.floor = max(self.floor, int(firmware.program.basal[0].flow))

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Outside:
    """Everything that a host's death does not touch; ``path`` says by which deaths it came."""

    device: SimulatedDevice
    witness: Witness
    files: Files = field(default_factory=Files)
    person: Person = field(default_factory=Person)
    wire: tuple[OnItsWay, ...] = ()
    stale: bytes = b""
    """A reply that reaches the next host."""
    now_ns: int = 0
    breaks: bool = False
    """Whether the line breaks once, while the next host opens its conversation."""
    path: tuple[str, ...] = ()

    def key(self, device_text: str) -> bytes:
        """Equal for worlds that no host can tell apart; ``device_text``: all that the pump holds.

        A journal counts by what it reads as, not by its bytes: how the chain got there is left
        out. So are the numbers of conversations, of which no two are the same.
        """
        wire = [
            (late.when, repr(one.message), one.session == session_of(self.device))
            for late in self.wire
            for one in envelopes(late.frame)
        ]
        stale = [repr(one.message) for one in envelopes(self.stale)]
        text = f"{device_text}{self.person}{wire}{stale}{self.now_ns}{self.breaks}".encode()
        return hashlib.sha256(what_files_say(self.files) + text).digest()


def new_outside() -> Outside:
    """A pump fresh from its box, and an empty disk."""
    witness = Witness()
    device = SimulatedDevice(PUMP, wall_ms=START_MS, serial=SERIAL, truth=witness)
    witness.device = device
    return Outside(device, witness)


# What all pumps share is neither copied nor pickled with each of them.
copyreg.pickle(MachineKind, lambda kind: (machine_kind, (kind.name,)))


def copied(device: SimulatedDevice, witness: Witness) -> tuple[SimulatedDevice, Witness]:
    """The same pump once more, with its witness."""
    return copy.deepcopy((device, witness))


def forget_what_was_read() -> None:
    """Lets a planted bug, or its end, show in files that were read before."""
    for cached in (reopened, what_files_say, power_cuts):
        cached.cache_clear()


def session_of(device: SimulatedDevice) -> int | None:
    """The conversation whose frames the device takes."""
    session: int | None = vars(device.machine.firmware.conversation)["_session"]
    return session


def envelopes(data: bytes) -> list[Envelope]:
    """The messages in some frames."""
    return [PUMP.catalogue.decode(body) for body in FrameDecoder().feed(data)]


def outcomes_of(device: SimulatedDevice) -> Mapping[int, str]:
    """What became of each id, by the device's own memory."""
    memory = device.machine.firmware.memory
    return {own: str(known.state) for own, known in memory.outcomes.items()}


# --- the files, for whoever opens them -----------------------------------------------------------


class FilesDisk(Disk):
    """The journal's bytes in memory; each call lands in ``files``."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def read(self) -> bytes:
        return self.files.bytes_read

    def append(self, data: bytes) -> None:
        self.files = self.files._replace(pending=self.files.pending + data)

    def sync(self) -> None:
        self.files = self.files._replace(synced=self.files.bytes_read, pending=b"", ghost=b"")

    def cut(self, length: int) -> None:
        before = self.files
        synced = before.synced[:length]
        pending = before.bytes_read[len(synced) : length]
        ghost = before.bytes_read[length:]
        self.files = before._replace(synced=synced, pending=pending, ghost=ghost)

    def close(self) -> None:
        """Nothing is held open."""


class FilesAnchor(Anchor):
    """The anchor's newest head in memory."""

    def __init__(self, disk: FilesDisk) -> None:
        self._on = disk

    def read(self) -> Head | None:
        return self._on.files.anchor_written

    def write(self, head: Head) -> None:
        files = self._on.files
        # The file is made in one step that is on the disk when it returns.
        durable = files.anchor_synced or head
        self._on.files = files._replace(anchor_written=head, anchor_synced=durable)

    def sync(self) -> None:
        files = self._on.files
        self._on.files = files._replace(anchor_synced=files.anchor_written)

    def close(self) -> None:
        """Nothing is held open."""


class FilesStates(StateFile):
    """The state of the last checkpoint in memory."""

    def __init__(self, disk: FilesDisk) -> None:
        self._on = disk

    def read(self) -> bytes:
        return self._on.files.states

    def write(self, encoded: bytes) -> None:
        self._on.files = self._on.files._replace(states=encoded)


@lru_cache(maxsize=100_000)
def reopened(files: Files) -> tuple[OpenedJournal, Files]:
    """What a host that starts on these files knows before it asks anybody; the files then."""
    disk = FilesDisk(files)
    opened = open_journal(disk, FilesAnchor(disk), FilesStates(disk))
    return opened, disk.files


def checkpoint_every() -> int:
    """Entries from one checkpoint to the next, as the gate knows it just now."""
    every: int = vars(gate)["EVERY"]
    return every


@lru_cache(maxsize=100_000)
def what_files_say(files: Files) -> bytes:
    """Equal for files that are the same to any host.

    The epoch is left out: it voids plans, and no plan outlives its host.
    """
    opened, then = reopened(files)
    rest = (
        opened.end,
        opened.since_checkpoint if checkpoint_every() < LONGEST_STORY else 0,
        opened.problem,
        opened.first is None,
        then == files,
        bool(files.pending),
        files.anchor_written is None,
        files.anchor_synced is None,
    )
    return encode_state(replace(opened.state, epoch=0)) + repr(rest).encode()


@lru_cache(maxsize=100_000)
def power_cuts(files: Files) -> tuple[tuple[str, Files], ...]:
    """What a power cut may leave: only what was synced, and of the rest some first part.

    All of the rest is what a kill leaves too.
    """
    left: list[tuple[str, Files]] = []
    anchors = dict.fromkeys((files.anchor_synced, files.anchor_written))
    parts = dict.fromkeys((0, len(files.pending) // 2))
    for anchor in anchors:
        for part in parts:
            cut = Files(files.synced + files.pending[:part], b"", anchor, anchor, b"")
            left.append((f"the power fails, {part} unsynced bytes stay", cut))
    return tuple(left)
