"""The simulated devices: any requests, faults and times, and no output over the factory's ceilings.

A tape of bytes decides: which device, then one step after the other, on paper time.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from simulator_bench import BORN_MS

from firmware_bridge.families.body import TruthLine
from firmware_bridge.families.firmware import EVENTS_KEPT, OUTCOMES_KEPT
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.itp.factory import FACTORY as PUMP
from firmware_bridge.families.itp.firmware import FILLS_KEPT
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.families.scs.factory import FACTORY as STIMULATOR
from firmware_bridge.protocol.blob import ProgramRecord, decode_program, digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    Commit,
    Message,
    Open,
    Stage,
)
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.faults import FAULTS
from firmware_bridge.simulator.truth import TruthInMemory

from .samples import CATALOGUES, FAMILY_MESSAGES, PROGRAMS, sample
from .tape import Tape
from .target import Target, expect

DAY_MS = 86_400_000
MOST_STEPS = 96
MOST_TIME_MS = {"scs": 300_000, "itp": 4 * DAY_MS}
"""Of paper time for one input; a stimulator has thousands of events a minute."""
TIMES: dict[str, tuple[int, ...]] = {
    "scs": (0, 1, 10, 100, 1_000, 3_000, 9_999, 10_000, 10_001, 30_000),
    "itp": (0, 1, 1_000, 60_000, 600_000, 3_600_000, 14_400_000, DAY_MS - 1, DAY_MS),
}
EDGES: dict[str, tuple[int, ...]] = {
    "scs": (0, 10, 16, 100, 210, 1_000, 6_000, 10_000, 12_700, 25_500, 1_200_000, 10_000_000),
    "itp": (0, 1, 10_000, 48_000, 60_000, 286_000, 500_000, 20_000_000, 24_000_000, DAY_MS),
}
UNBOUNDED = {"over_delivery", "free_flow"}
"""Faults that are made to break the ceiling of the flow."""
PPM = 1_000_000


class Host:
    """Someone at the other end of the line, who does as the tape says."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.family = tape.choice(("scs", "itp"))
        self.kind = MACHINES["stimulator" if self.family == "scs" else "pump"]
        self.truth = TruthInMemory()
        self.device = SimulatedDevice(self.kind, wall_ms=BORN_MS, truth=self.truth)
        self.now = 0
        self.faults = set[str]()
        self._session = 0
        self._sequence = 0
        self._id = 0
        self._decoder = FrameDecoder()

    def step(self) -> None:
        """One decision."""
        ways: tuple[Callable[[], None], ...] = (
            *(self._wait, self._wait, self._begin, self._begin),
            *(self._program, self._any_message, self._noise, self._fault, self._press),
        )
        self.tape.choice(ways)()

    def _send(self, message: Message, session: int | None = None) -> None:
        self._sequence += 1
        number = self._session if session is None else session
        body = CATALOGUES[self.family].encode(Envelope(number, self._sequence, message))
        self._hear(self.device.receive(encode_frame(body), self.now))

    def _hear(self, data: bytes) -> None:
        for body in self._decoder.feed(data):
            CATALOGUES[self.family].decode(body)

    def _wait(self) -> None:
        least = min(self.tape.choice(TIMES[self.family]), MOST_TIME_MS[self.family] - self.now)
        self.now += max(0, least)
        before = int(self.device.machine.firmware.body.t_ms)
        self._hear(self.device.advance(self.now))
        expect(self.device.t_ms >= before, "a device's time went back")

    def _edge(self, usual: int) -> int:
        return self.tape.integer(usual, EDGES[self.family])

    def _program(self) -> None:
        self._session = self._session or 7
        self._send(Open(self._session))
        slots = 1 + self.tape.byte() % (3 if self.family == "scs" else 1)
        blobs = []
        for slot in range(slots):
            record = self.tape.choice(PROGRAMS[self.family])
            blobs.append(encode_program(self._bent(record)))
            self._send(Stage(slot, blobs[-1]))
        self._send(Commit(self._next_id(), slots, digest_of(*blobs)))

    def _bent(self, record: ProgramRecord) -> ProgramRecord:
        values: dict[str, Any] = record.model_dump()
        for _ in range(self.tape.byte() % 3):
            name = self.tape.choice(sorted(values))
            if type(values[name]) is int:
                values[name] = self._edge(values[name])
            elif isinstance(values[name], list):
                one = values[name][0]
                key = self.tape.choice(sorted(one))
                if type(one[key]) is int:
                    one[key] = self._edge(one[key])
        # A program that is no record stays as it was: the wire has its own target.
        try:
            return type(record).model_validate(values)
        except ValueError:
            return record

    def _next_id(self) -> int:
        self._id += self.tape.choice((1, 1, 1, 0))
        return max(1, self._id)

    def _begin(self) -> None:
        programs = self.device.machine.firmware.memory.programs
        if self.family == "itp":
            volume, over = self._edge(15_000), self._edge(600_000)
            if self.tape.byte() % 4:
                self._send(itp.Bolus(self._next_id(), volume, over))
            else:
                self._send(itp.Prime(self._next_id(), volume, over, self._edge(BORN_MS)))
            return
        slot = self.tape.byte() % 3
        digest = digest_of(programs[slot]) if slot < len(programs) else digest_of(b"")
        areas = len(scs_areas(programs[slot])) if slot < len(programs) else 1
        amplitudes = [100 * (self._edge(4_200) // 100) for _ in range(areas)]
        match self.tape.byte() % 5:
            case 0 | 1:
                lease = self._edge(10_000)
                self._send(scs.Start(self._next_id(), slot, digest, amplitudes, lease))
            case 2:
                self._send(scs.SetAmplitude(self._next_id(), slot, digest, amplitudes))
            case 3:
                self._send(scs.Measure(self._next_id(), self._edge(1_000), 210, 5))
            case _:
                self._send(scs.Renew(self._edge(10_000)))

    def _any_message(self) -> None:
        messages = (*FAMILY_MESSAGES[self.family], *COMMON)
        self._send(sample(self.tape.choice(messages)), self.tape.choice((None, 0, 9)))

    def _noise(self) -> None:
        body = self.tape.take(self.tape.byte() % 64)
        frame = encode_frame(body) if self.tape.byte() % 4 else body
        self._hear(self.device.receive(frame, self.now))

    def _fault(self) -> None:
        names = [f.name for f in FAULTS.values() if f.device in (None, self.kind.name)]
        name = self.tape.choice(names)
        self.faults.add(name)
        self.device.inject(name, self.now, self.tape.byte() % 17)
        if name in ("unplug", "silence") and self.tape.byte() % 4:
            self.device.inject("plug_in", self.now)

    def _press(self) -> None:
        self.device.press(self.now)


COMMON = (Stage, Commit, Open)


def scs_areas(program: bytes) -> list[scs.WireArea]:
    """The areas of a stimulator's program."""
    return decode_program(scs.WireProgram, program).areas


def check(data: bytes) -> None:
    """No step raises; what is kept is bounded; no truth is beyond what the factory allows."""
    host = Host(Tape(data))
    for _ in range(MOST_STEPS):
        if host.tape.over:
            break
        host.step()
        _bounded(host.device)
    host.device.close(host.now)
    lines = host.truth.lines
    if host.family == "scs":
        _judge_currents(lines)
    else:
        _judge_flow(lines, free=bool(host.faults & UNBOUNDED))


def _bounded(device: SimulatedDevice) -> None:
    memory = device.machine.firmware.memory
    kept = (len(memory.outcomes), len(memory.events), len(getattr(memory, "fills", ())))
    expect(kept[0] <= OUTCOMES_KEPT, "the outcomes of a device grow")
    expect(kept[1] <= EVENTS_KEPT, "the log of a device grows")
    expect(kept[2] <= FILLS_KEPT, "the fills of a device grow")
    expect(len(memory.programs) <= device.machine.firmware.SLOTS, "a device has more programs")
    expect(not device.machine.firmware.outbox, "a reply is left lying")


def _judge_currents(lines: list[TruthLine]) -> None:
    now: dict[object, int] = {}
    for number, line in enumerate(lines):
        current, width = line["amplitude_uA"], line["pulse_width_us"]
        assert isinstance(current, int)
        assert isinstance(width, int)
        case = line["contact"] == "case"
        most = STIMULATOR.amplitude_max if case else STIMULATOR.contact_current_max
        expect(abs(current) <= most, "a contact carries more than the factory allows")
        expect(width <= STIMULATOR.width_max, "a pulse is longer than the factory allows")
        now[line["contact"]] = current
        if number + 1 == len(lines) or lines[number + 1]["t_ms"] != line["t_ms"]:
            # Every program here has one area, so what flows in flows out, but for rounding.
            expect(abs(sum(now.values())) <= len(now), "currents do not add up to zero")


def _judge_flow(lines: list[TruthLine], *, free: bool) -> None:
    before, volume = 0, 0
    for line in lines:
        at, total = line["t_ms"], line["volume_nL"]
        assert isinstance(at, int)
        assert isinstance(total, int)
        expect(at >= before, "the truth goes back in time")
        expect(total >= volume, "a pump took back what it gave")
        most = PUMP.flow_max * (at - before) // DAY_MS + 2
        expect(free or total - volume <= most, "a pump gave more than the factory allows")
        before, volume = at, total


def seeds() -> Iterator[bytes]:
    """Tapes of each device: programmed and started by the book, then as the dice fall."""
    dice = random.Random(4)
    committed = (4, 0, 0, 0, 0)
    book = {
        0: bytes((*committed, 2, 0, 0, 0, 0, 0, 0, 5)),
        1: bytes((*committed, 2, 0, 0, 1, 0, 0, 4)),
    }
    for device in (0, 1):
        yield bytes([device]) + book[device]
        yield bytes([device]) + book[device] + bytes((2, 0, 0, 4, 0, 0, 7, 8, 0, 4)) * 3
        for length in (40, 120, 240):
            yield bytes([device]) + book[device] + dice.randbytes(length)


TARGET = Target(
    name="device",
    check=check,
    seeds=seeds,
    tokens=(b"\x04\x00\x00\x00", b"\x02\x00\x00\x00", b"\x00\x05", b"\x07", b"\x08", b"\x03"),
    max_len=512,
    seconds=4.0,
    runs=30_000,
    short=60,
    rate=200,
)
