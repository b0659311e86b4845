"""A host in explicit time for tests: asks a simulated device, and knows two programs."""

from typing import Any, TypeVar

from firmware_bridge.families.body import TruthLine
from firmware_bridge.families.itp.wire import (
    PumpStatus,
    WireDrug,
    WirePatientBolus,
    WirePumpProgram,
    WireStep,
)
from firmware_bridge.families.scs.wire import (
    StimulatorStatus,
    WireArea,
    WireElectrode,
    WireProgram,
)
from firmware_bridge.protocol.blob import ProgramRecord, digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    AskEvent,
    AskOutcome,
    AskStatus,
    Commit,
    Done,
    LoggedEvent,
    Message,
    Open,
    OutcomeOf,
    Refused,
    Stage,
    Staged,
)
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.truth import TruthInMemory

BORN_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z: therapy time zero is midnight."""
HOUR = 3_600_000
DAY = 86_400_000
MORPHINE = 10_000_000

ReplyT = TypeVar("ReplyT", bound=Message)


class Bench:
    """A host with one session on one device, at link time ``now``."""

    def __init__(self, name: str, *, truth: TruthInMemory | None = None, **options: Any) -> None:
        self.kind = MACHINES[name]
        self.memory_of_truth = truth or TruthInMemory()
        self.device = SimulatedDevice(
            self.kind, wall_ms=BORN_MS, truth=self.memory_of_truth, **options
        )
        self.now = 0
        self.session = 7
        self._sequence = 0
        self._decoder = FrameDecoder()

    @property
    def truth(self) -> list[TruthLine]:
        return self.memory_of_truth.lines

    def send(self, request: Message, *, session: int | None = None, late: int = 0) -> list[Message]:
        """The replies that arrive at once; ``late`` so many requests overtook this one."""
        self._sequence += 1
        sequence = self._sequence - late
        envelope = Envelope(self.session if session is None else session, sequence, request)
        frame = encode_frame(self.kind.catalogue.encode(envelope))
        return self._messages(self.device.receive(frame, self.now))

    def at(self, link_ms: int) -> list[Message]:
        """Lets time pass; the replies that arrive on the way."""
        self.now = link_ms
        return self._messages(self.device.advance(link_ms))

    def ask(self, request: Message, reply: type[ReplyT]) -> ReplyT:
        """The one reply to a request, of a type."""
        (found,) = self.send(request)
        assert isinstance(found, reply), found
        return found

    def refused(self, request: Message) -> str:
        """The code with which a request is refused."""
        return self.ask(request, Refused).code

    def open(self) -> "Bench":
        self.send(Open(self.session))
        return self

    def commit(self, command_id: int, *programs: ProgramRecord) -> Message:
        """Stages and commits programs; the reply to the commit."""
        blobs = [encode_program(program) for program in programs]
        for slot, blob in enumerate(blobs):
            self.ask(Stage(slot, blob), Staged)
        (reply,) = self.send(Commit(command_id, len(blobs), digest_of(*blobs)))
        return reply

    def program(self, command_id: int, *programs: ProgramRecord) -> "Bench":
        assert self.open().commit(command_id, *programs) == Done(command_id)
        return self

    def outcome(self, command_id: int) -> tuple[str, int]:
        """What became of an id, and the volume of its bolus in nL."""
        found = self.ask(AskOutcome(command_id), OutcomeOf)
        return found.state, found.delivered

    def log(self) -> list[str]:
        """All the device's log still holds."""
        entries = [self.ask(AskEvent(0), LoggedEvent)]
        while entries[-1].number < entries[-1].latest:
            entries.append(self.ask(AskEvent(entries[-1].number), LoggedEvent))
        return [entry.text for entry in entries]

    def reset(self) -> None:
        """The device loses power and comes back; the host opens its session again."""
        self.device.inject("reset", self.now)
        self.open()

    def _messages(self, data: bytes) -> list[Message]:
        return [self.kind.catalogue.decode(body).message for body in self._decoder.feed(data)]


def stimulator_status(bench: Bench) -> StimulatorStatus:
    return bench.ask(AskStatus(), StimulatorStatus)


def pump_status(bench: Bench) -> PumpStatus:
    return bench.ask(AskStatus(), PumpStatus)


def tip_mass(bench: Bench, drug: str) -> int:
    """fg of a drug that have left a pump's tip, from where the truth has it."""
    body = bench.device.machine.firmware.body
    return int(body.tip_mass_fg[drug])


def area(**other: Any) -> WireArea:
    values: dict[str, Any] = {
        "electrodes": [
            WireElectrode(contact=3, share=-100),
            WireElectrode(contact=4, share=60),
            WireElectrode(contact=5, share=40),
        ],
        "amplitude": 4_200,
        "ceiling": 6_000,
        "pulse_width": 210,
        "recharge": "active",
    }
    return WireArea(**{**values, **other})


def stimulation(*areas: WireArea, **other: Any) -> WireProgram:
    values: dict[str, Any] = {
        "name": "walking",
        "waveform": "tonic",
        "rate": 50_000,
        "burst_pulses": 1,
        "intra_rate": 0,
        "areas": list(areas or (area(),)),
        "ramp": 3_000,
        "stimulate": 0,
        "pause": 0,
    }
    return WireProgram(**{**values, **other})


def burst(**other: Any) -> WireProgram:
    night = area(
        electrodes=[WireElectrode(contact=3, share=-100), WireElectrode(contact=4, share=100)],
        amplitude=600,
        ceiling=1_000,
        pulse_width=1_000,
        recharge="passive",
    )
    values: dict[str, Any] = {
        "name": "night",
        "waveform": "burst",
        "rate": 40_000,
        "burst_pulses": 5,
        "intra_rate": 500_000,
    }
    return stimulation(night, **{**values, **other})


def infusion(**other: Any) -> WirePumpProgram:
    values: dict[str, Any] = {
        "drugs": [WireDrug(name="morphine", concentration=MORPHINE)],
        "basal": [WireStep(start=0, flow=240_000)],
        "utc_offset_min": 0,
        "patient_bolus": WirePatientBolus(
            volume=15_000, over=600_000, lockout=4 * HOUR, max_per_24h=4
        ),
        "fill_volume": 18_000_000,
        "fill_at": BORN_MS,
        "low_reservoir": 2_000_000,
        "catheter": 286_000,
        "primed": True,
        "stop_policy": "hold-basal",
        "bridge": None,
    }
    return WirePumpProgram(**{**values, **other})


def currents(truth: list[TruthLine], contact: str) -> list[tuple[object, object]]:
    """Times and currents of one contact."""
    return [(line["t_ms"], line["amplitude_uA"]) for line in truth if line["contact"] == contact]
