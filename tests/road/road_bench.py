"""The whole road on virtual time: a controller on a simulated device in this process.

A `Road` outlives its hosts: device, truth and the journal's bytes stay while controllers come,
close in order, or die.
"""

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from device_profiles.errors import NeuraxisError, Refused, Uncertain
from device_profiles.formulary import Formulary
from device_profiles.formulary_file import load_formulary
from device_profiles.notation import parse_duration, parse_mass
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import Femtograms, Milliseconds
from device_profiles.therapy import InfusionTherapy, StimulationTherapy
from device_profiles.therapy_file import read_therapy
from firmware_bridge.clock import Clock, VirtualClock, VirtualLoop
from firmware_bridge.families.body import TruthLine
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.driver import output_of
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.driver import outputs_of
from firmware_bridge.families.table import CATALOGUE, AnyController, connect
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    Message,
    Open,
    OpenSealed,
    Prove,
)
from firmware_bridge.protocol.seal import (
    DeviceKey,
    Handshake,
)
from firmware_bridge.session import Result
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.faults import PlannedFault
from firmware_bridge.simulator.ports import InProcessLink
from firmware_bridge.simulator.runner import DeviceRunner
from firmware_bridge.simulator.truth import TruthInMemory
from hil.storm.ear import Ear
from safety.alarms import Alarm
from safety.commands import Override, ProgramPump, ProgramStimulator
from safety.events import Event, Intended, Settled, Unverified
from safety.journal import GENESIS, Anchor, Head, parse, verify
from safety.outputs import StimulatorProgram

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "bridge"))  # usb_backend, when this folder runs alone

NOON_MS = 1_793_703_600_000
"""2026-11-03T11:00:00Z, noon in Berlin, in the day's first basal step and after the fill."""
MINUTE, HOUR = 60_000, 3_600_000
PATIENT = "BENCH-007"
REASON = Override(("SR-41", "SR-44", "SR-63"), "tester", "a test")

DOSE, OVER = parse_mass("0.05 mg"), parse_duration("2 min")
BOLUS_NL = 5_000
"""`DOSE` of the example's morphine."""
BASAL_NL_PER_DAY = 240_000

T = TypeVar("T")

KEY = DeviceKey(bytes(range(32)))
"""The key of every device of this bench."""


class Switch:
    """Whether `road` makes sealed devices where nothing else says it: NEURAXIS_ROAD=sealed does."""

    sealed = os.environ.get("NEURAXIS_ROAD") == "sealed"


@pytest.fixture(params=["unsealed", "sealed"], autouse=True)
def both_lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of a module that imports this runs on both kinds of line."""
    monkeypatch.setattr(Switch, "sealed", request.param == "sealed")


# --- the files -----------------------------------------------------------------------------------


def stimulator_profile() -> StimulatorProfile:
    profile = load_profile("scs-16")
    assert isinstance(profile, StimulatorProfile)
    return profile


def pump_profile() -> PumpProfile:
    profile = load_profile("itp-20")
    assert isinstance(profile, PumpProfile)
    return profile


@cache
def formulary() -> Formulary:
    return load_formulary()


@cache
def stimulation() -> StimulationTherapy:
    therapy = read_therapy(ROOT / "examples" / "stimulation.yaml").therapy
    assert isinstance(therapy, StimulationTherapy)
    return therapy


@cache
def infusion() -> InfusionTherapy:
    therapy = read_therapy(ROOT / "examples" / "infusion.yaml").therapy
    assert isinstance(therapy, InfusionTherapy)
    return therapy


def programs() -> tuple[StimulatorProgram, ...]:
    """The example's: walking, night."""
    return outputs_of(stimulation())


def program_stimulator(*chosen: StimulatorProgram) -> ProgramStimulator:
    return ProgramStimulator(chosen or programs(), stimulator_profile())


def program_pump(therapy: InfusionTherapy | None = None, wall_ms: int = NOON_MS) -> ProgramPump:
    therapy = therapy or infusion()
    program = output_of(therapy, formulary(), Milliseconds(wall_ms))
    return ProgramPump(program, therapy, pump_profile(), formulary())


# --- what lies under a host ----------------------------------------------------------------------


class MemoryDisk:
    """A journal's bytes, which outlive every host."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.broken = False

    def read(self) -> bytes:
        return bytes(self.data)

    def append(self, data: bytes) -> None:
        self._check()
        self.data += data

    def sync(self) -> None:
        self._check()

    def cut(self, length: int) -> None:
        del self.data[length:]

    def close(self) -> None:
        """The file is let go; what is in it stays."""

    def _check(self) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")


class SlowDisk:
    """A clock whose disk takes its time, as a real one does."""

    def __init__(self, clock: Clock, seconds: float = 0) -> None:
        self._clock = clock
        self.seconds = seconds

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def with_sleep_ns(self) -> int:
        return self._clock.with_sleep_ns()

    def wall_ms(self) -> int:
        return self._clock.wall_ms()

    async def offload(self, work: Callable[[], T]) -> T:
        result = work()
        await rise(self.seconds)
        return result

    def later(self, work: Callable[[], None]) -> None:
        self._clock.later(work)


class MemoryAnchor(Anchor):
    """The anchor beside it. It is there from the first, so that a host may die at any moment."""

    def __init__(self) -> None:
        self.head: Head | None = Head(0, GENESIS)

    def read(self) -> Head | None:
        return self.head

    def write(self, head: Head) -> None:
        self.head = head

    def sync(self) -> None:
        """It is there as long as the test is."""


class SpyLink(Link):
    """Any link, watched: what was written to it, with doors for a test to interfere."""

    def __init__(self, inner: Link, ear: Ear, device: "WatchedDevice") -> None:
        self.url = inner.url
        self.inner = inner
        self._ear, self._device = ear, device
        self._replies = FrameDecoder()
        self.written: list[bytes] = []
        self.before_write: Callable[[Message], object] = lambda _: None
        """Called with each request before it is handed on; may raise."""
        self.after_write: Callable[[Message], object] = lambda _: None
        self.swallow: Callable[[Message], bool] = lambda _: False
        """Requests that are taken but never reach the device."""
        self.receiver: Receiver | None = None

    async def open(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.lost = receiver.lost
        await self.inner.open(self)

    def received(self, data: bytes) -> None:
        for body in self._replies.feed(data):
            self._ear.read(body)
        assert self.receiver is not None
        self.receiver.received(data)

    def write(self, data: bytes) -> None:
        (envelope,) = self._read(data)
        self.before_write(envelope.message)
        self.written.append(data)
        if not self.swallow(envelope.message):
            self.inner.write(data)
        self.after_write(envelope.message)

    async def close(self) -> None:
        await self.inner.close()

    @property
    def queued(self) -> int:
        return self.inner.queued

    @property
    def sent(self) -> list[Envelope]:
        """Every request that was written."""
        return self._read(b"".join(self.written))

    def _read(self, data: bytes) -> list[Envelope]:
        found = [self._ear.read(body) for body in FrameDecoder().feed(data)]
        return [envelope for envelope in found if envelope is not None]

    @property
    def requests(self) -> list[Message]:
        return [envelope.message for envelope in self.sent]

    def count(self, kind: type[Message]) -> int:
        return sum(isinstance(request, kind) for request in self.requests)

    def says(self, session: int, sequence: int, message: Message) -> None:
        """Bytes that come from the device's side although no firmware sent them.

        In a sealed session the device itself seals them: it is not an attacker that errs here.
        """
        assert self.receiver is not None
        data = frame(session, sequence, message)
        line = self._device.machine.firmware.conversation._line
        if line is not None and session:
            data = encode_frame(line.seal(CATALOGUE.encode(Envelope(session, sequence, message))))
        self.receiver.received(data)


def frame(session: int, sequence: int, message: Message) -> bytes:
    return encode_frame(CATALOGUE.encode(Envelope(session, sequence, message)))


def envelopes(data: bytes) -> list[Envelope]:
    return [CATALOGUE.decode(body) for body in FrameDecoder().feed(data)]


class WatchedDevice(SimulatedDevice):
    """A simulated device that keeps what it received, so that frames can be counted."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(MACHINES[name], *args, **kwargs)
        self.received: list[Envelope] = []
        self.ear = Ear(KEY)
        self._ears = FrameDecoder(), FrameDecoder()

    def receive(self, data: bytes, link_ms: int) -> bytes:
        requests, replies = self._ears
        for body in requests.feed(data):
            envelope = self.ear.read(body)
            self.received += [envelope] if envelope is not None else []
        said = super().receive(data, link_ms)
        for body in replies.feed(said):
            self.ear.read(body)
        return said

    def names(self) -> list[str]:
        """What faults files call the requests received so far."""
        return [MACHINES[self._kind.name].requests[type(e.message)] for e in self.received]

    def frames_of(self, intent_id: int) -> int:
        """How many frames that carry out an id have arrived, questions about it left out."""
        return sum(
            getattr(envelope.message, "id", None) == intent_id
            and type(envelope.message).__name__ != "AskOutcome"
            for envelope in self.received
        )

    def done(self, what: str) -> int:
        """How many entries of the device's own log begin with ``what``, like ``bolus of``."""
        return sum(entry.text.startswith(what) for entry in self.machine.firmware.memory.events)

    def outcome(self, intent_id: int) -> str:
        """What became of an id, by the device's own memory."""
        known = self.machine.firmware.memory.outcomes.get(intent_id)
        return "unknown" if known is None else str(known.state)

    @property
    def programs(self) -> list[bytes]:
        found: list[bytes] = self.machine.firmware.memory.programs
        return found


@dataclass
class Road:
    """One device with its truth, one journal, and whatever hosts come and go."""

    name: str
    device: WatchedDevice
    runner: DeviceRunner
    clock: Clock
    truth: TruthInMemory
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    anchor: MemoryAnchor = field(default_factory=MemoryAnchor)
    alarms: list[Alarm] = field(default_factory=list)
    links: list[SpyLink] = field(default_factory=list)
    ids: Callable[[], int] = field(default_factory=lambda: itertools.count(1_001).__next__)
    last_id: int = 0
    wrap: Callable[[Link], Link] = lambda link: link
    """Puts something between the spy and the device."""
    key: DeviceKey | None = None
    """What new hosts hold; ``None``: they speak unsealed."""
    _parsed: tuple[bytes, tuple[Event, ...]] = (b"", ())

    @property
    def link(self) -> SpyLink:
        """The newest host's."""
        return self.links[-1]

    def settings(self) -> Settings:
        return Settings(
            self.clock,
            lambda serial: JournalPlace(self.disk, self.anchor),
            self.alarms.append,
            self._new_id,
            lambda serial: self.key,
        )

    def _new_id(self) -> int:
        self.last_id = self.ids()
        return self.last_id

    def new_link(self) -> SpyLink:
        inner = self.wrap(InProcessLink(self.runner))
        self.links.append(SpyLink(inner, self.device.ear, self.device))
        return self.link

    async def connect(self, serial: str | None = None) -> AnyController:
        """A new host takes charge; the one before, if any, hears that its line is gone."""
        return await connect(self.new_link(), serial, self.settings())

    async def stimulator(self) -> StimulatorController:
        controller = await self.connect()
        assert isinstance(controller, StimulatorController)
        return controller

    async def pump(self) -> PumpController:
        controller = await self.connect()
        assert isinstance(controller, PumpController)
        return controller

    async def die(self) -> None:
        """The host is gone without a word: no stop, no anchor, its end of the line closed."""
        await self.link.inner.close()

    def heal(self) -> None:
        """The line and the device are well again."""
        self.runner.inject("plug_in")

    @property
    def events(self) -> tuple[Event, ...]:
        """The journal, which must be whole at any time."""
        data = self.disk.read()
        if data == self._parsed[0]:
            return self._parsed[1]
        contents = parse(data)
        assert verify(contents, self.anchor.head or Head(0, GENESIS)) is None
        assert contents.torn == 0
        self._parsed = data, contents.events
        return contents.events

    def told(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def intents(self) -> dict[int, str]:
        """Each intent of the journal with its last outcome; ``open`` where there is none."""
        words = {intent.id: "open" for intent in self.told(Intended)}
        for settled in self.told(Settled):
            words[settled.id] = settled.outcome
        return words

    @property
    def codes(self) -> list[tuple[str, str]]:
        """The alarms that were sounded: code and priority."""
        return [(alarm.code, alarm.priority) for alarm in self.alarms]


def take_over(bench: Road, session: int) -> None:
    """Another program, which holds the key if there is one, opens a session of its own."""
    if bench.key is None:
        bench.link.inner.write(frame(session, 1, Open(session)))
        return
    firmware = bench.device.machine.firmware
    asked, who = OpenSealed(session, bytes(16)), firmware._identity()
    told = firmware.conversation.challenge(asked, who)
    said = Handshake(who, session, asked.nonce, told.nonce)
    assert firmware.conversation.prove(Prove(session, said.proof(bench.key, "host")))


@asynccontextmanager
async def road(
    name: str, faults: Sequence[PlannedFault] = (), sealed: bool | None = None, **options: Any
) -> AsyncIterator[Road]:
    """A new device of a name on the running virtual loop, sealed as `Switch` says or as told."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = VirtualClock(loop, NOON_MS)
    truth = TruthInMemory()
    key = KEY if (Switch.sealed if sealed is None else sealed) else None
    options.setdefault("key_of", lambda serial: key)
    device = WatchedDevice(name, wall_ms=NOON_MS, truth=truth, faults=faults, **options)
    bench = Road(name, device, DeviceRunner(device, clock), clock, truth, key=key)
    try:
        yield bench
    finally:
        for link in bench.links:
            await link.inner.close()
        bench.runner.close()


# --- steps that many tests take ------------------------------------------------------------------


async def apply(controller: AnyController, command: Any = None) -> Result:
    """Plans, confirms and applies; the example unless told otherwise."""
    if isinstance(controller, StimulatorController):
        command = command or program_stimulator()
        plan = await controller.plan(command, PATIENT)
        return await controller.apply(command, PATIENT, plan.digest, REASON)
    command = command or program_pump()
    plan_of_pump = await controller.plan(command, PATIENT)
    return await controller.apply(command, PATIENT, plan_of_pump.digest, REASON)


async def start(controller: StimulatorController, name: str = "walking") -> Result:
    """Measures, then starts a program; at zero first, where its last output was cut short."""
    await controller.measure()
    program = controller.program_named(name)
    if controller.state.from_zero is None:
        return await controller.start(program)
    await controller.start(program, from_zero=True)
    return await controller.set_amplitude(1, program.areas[0].amplitude)


async def rise(seconds: float = 3.0) -> None:
    """Virtual time passes."""
    await asyncio.sleep(seconds)


@asynccontextmanager
async def kept_alive(controller: StimulatorController) -> AsyncIterator[None]:
    """Renews the lease for as long as the context lasts."""
    task = asyncio.create_task(controller.keep_alive())
    try:
        yield
    finally:
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        except NeuraxisError:
            pass


def rules(error: NeuraxisError | None) -> set[str]:
    """The rules that a refusal names."""
    assert isinstance(error, Refused), error
    return {finding.rule for finding in error.findings}


async def failure(work: Awaitable[object]) -> NeuraxisError | None:
    """What a step failed with, if it did."""
    try:
        await work
    except NeuraxisError as error:
        return error
    return None


async def bolus(controller: PumpController, dose: Femtograms = DOSE) -> Result:
    return await controller.bolus(dose, OVER)


# --- the truth -----------------------------------------------------------------------------------


def current(lines: list[TruthLine], contact: str) -> list[tuple[int, int]]:
    """Times (ms) and currents (uA) of one contact."""
    found = []
    for line in lines:
        if line["contact"] == contact:
            time, amplitude = line["t_ms"], line["amplitude_uA"]
            assert isinstance(time, int)
            assert isinstance(amplitude, int)
            found.append((time, amplitude))
    return found


def peak(lines: list[TruthLine], contact: str = "E3") -> int:
    """The largest current of one contact, uA; test pulses of a measurement left out."""
    therapy = [line for line in lines if line["rate_mHz"] != 500_000]
    return max((abs(amplitude) for _, amplitude in current(therapy, contact)), default=0)


def flowing(lines: list[TruthLine]) -> dict[str, int]:
    """What flows in each contact by the newest lines, zeros left out."""
    now: Counter[str] = Counter()
    for line in lines:
        now[str(line["contact"])] = int(str(line["amplitude_uA"]))
    return {contact: amplitude for contact, amplitude in now.items() if amplitude}


def bolus_volume(bench: Road) -> int:
    """nL that have left the pump beyond its basal of the day's first step, rounded up.

    Valid within that step and while the basal has not been halted.
    """
    bench.runner.step()
    body = bench.device.machine.firmware.body
    began = next(int(str(line["t_ms"])) for line in bench.truth.lines)
    basal = BASAL_NL_PER_DAY * (bench.device.t_ms - began) // 86_400_000
    return int(body.delivered) - basal


# --- one lost frame, anywhere --------------------------------------------------------------------

LINE_FAULTS = (
    "drop_request",
    "drop_reply",
    "duplicate_reply",
    "delay_reply",
    "corrupt_reply",
    "truncate_reply",
    "reset",
    "silence",
    "unplug",
)
HAPPENED = ("executed", "running", "interrupted")
Step = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """Something a host does, what comes before it, and the requests of it that faults strike.

    ``struck``: names of requests with their occurrence in the operation, negative from its end,
    like ``read:1 commit:1 read:-1``. Every name that the operation sends must be among them.
    """

    name: str
    before: tuple[Step, ...]
    does: Step
    struck: str


def matrix(*operations: Operation) -> list[Any]:
    """Every operation, struck request and fault as parameters."""
    return [
        pytest.param(operation, place, fault, id=f"{operation.name}-{place}-{fault}")
        for operation in operations
        for place in operation.struck.split()
        for fault in LINE_FAULTS
    ]


_SENT: dict[tuple[str, str], tuple[list[str], list[str]]] = {}


async def _sent(family: str, operation: Operation) -> tuple[list[str], list[str]]:
    """The requests before an operation and those of it, when nothing goes wrong."""
    key = (family, operation.name)
    if key not in _SENT:
        async with road(family) as bench:
            controller = await bench.connect()
            for step in operation.before:
                await step(controller)
            before = bench.device.names()
            await operation.does(controller)
            _SENT[key] = before, bench.device.names()[len(before) :]
    return _SENT[key]


async def planned(family: str, operation: Operation, place: str, fault: str) -> PlannedFault:
    """A fault that strikes one request of an operation."""
    before, during = await _sent(family, operation)
    assert {part.partition(":")[0] for part in operation.struck.split()} == set(during)
    name, _, occurrence = place.partition(":")
    index = int(occurrence)
    if index < 0:
        index += during.count(name) + 1
    assert 1 <= index <= during.count(name)
    return PlannedFault(fault, request=name, count=before.count(name) + index)


def words_and_device_agree(bench: Road, error: NeuraxisError | None) -> None:
    """The journal's word for each intent is what really happened, once at most."""
    unverified = {event.id for event in bench.told(Unverified)}
    for intent, word in bench.intents().items():
        happened = bench.device.outcome(intent) in HAPPENED
        assert bench.device.frames_of(intent) <= 1
        match word:
            case "delivered":
                assert happened
            case "refused":
                assert not happened
            case _ if intent not in unverified:
                assert isinstance(error, Uncertain), (word, error)
    intents = bench.told(Intended)
    executed = [intent for intent in intents if bench.device.outcome(intent.id) in HAPPENED]
    for what, commands in (
        ("commit", ("program-stimulator", "program-pump")),
        ("start of", ("start-stimulation",)),
        ("amplitudes to", ("change-amplitude",)),
        ("bolus of", ("give-bolus",)),
    ):
        asked_for = sum(intent.command in commands for intent in executed)
        assert bench.device.done(what) == asked_for, what


@asynccontextmanager
async def survived(
    family: str, operation: Operation, place: str, fault: str
) -> AsyncIterator[tuple[Road, Any]]:
    """An operation with one fault, after which the device is well and another host connected.

    Checks on the way that words, device and journal agree, and that nothing is left in doubt.
    """
    async with road(family, [await planned(family, operation, place, fault)]) as bench:
        controller = await bench.connect()
        for step in operation.before:
            await step(controller)
        error = await failure(operation.does(controller))
        words_and_device_agree(bench, error)
        intents = bench.intents()
        if error is None and intents:
            assert intents[max(intents)] == "delivered"
        await bench.die()
        bench.heal()
        await rise(3)
        controller = await bench.connect()
        assert controller.state.unsettled == ()
        assert controller.state.latched is None
        words_and_device_agree(bench, None)
        yield bench, controller
