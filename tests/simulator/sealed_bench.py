"""A host with a key and an attacker on its line, in explicit time, on one simulated device."""

import itertools
from collections.abc import Callable
from typing import Any

from simulator_bench import BORN_MS

from firmware_bridge.families.itp.wire import WireDrug, WirePumpProgram, WireStep
from firmware_bridge.families.scs.wire import WireArea, WireElectrode, WireProgram
from firmware_bridge.protocol.blob import ProgramRecord, digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Envelope,
    SealedEnvelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    Challenged,
    Commit,
    Done,
    Identify,
    Identity,
    Message,
    OpenSealed,
    Prove,
    Proved,
    Stage,
)
from firmware_bridge.protocol.seal import DeviceKey, Handshake, SealedLine, is_sealed
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES

KEY = DeviceKey(bytes(range(32)))
OTHER_KEY = DeviceKey(bytes(range(1, 33)))

STIMULATION = WireProgram(
    name="walking",
    waveform="tonic",
    rate=50_000,
    burst_pulses=1,
    intra_rate=0,
    areas=[
        WireArea(
            electrodes=[
                WireElectrode(contact=3, share=-100),
                WireElectrode(contact=4, share=100),
            ],
            amplitude=2_000,
            ceiling=4_000,
            pulse_width=210,
            recharge="active",
        )
    ],
    ramp=1_000,
    stimulate=0,
    pause=0,
)


def infusion(flow: int = 240_000) -> WirePumpProgram:
    return WirePumpProgram(
        drugs=[WireDrug(name="morphine", concentration=10_000_000)],
        basal=[WireStep(start=0, flow=flow)],
        utc_offset_min=0,
        patient_bolus=None,
        fill_volume=18_000_000,
        fill_at=BORN_MS - 1,
        low_reservoir=2_000_000,
        catheter=286_000,
        primed=True,
        stop_policy="hold-basal",
        bridge=None,
    )


def bytes_of(seed: int) -> Callable[[int], bytes]:
    """A source of bytes that never repeats itself."""
    count = itertools.count(seed)
    return lambda length: next(count).to_bytes(length, "big")


class Line:
    """A sealed device; everything that either end said lies before the attacker."""

    def __init__(self, name: str, key: DeviceKey = KEY, **options: Any) -> None:
        self.kind = MACHINES[name]
        self.device = SimulatedDevice(
            self.kind,
            wall_ms=BORN_MS,
            key_of=lambda _: key,
            **{"draw": bytes_of(1_000), **options},
        )
        self.now = 0
        self.host: SealedLine | None = None
        self.from_host: list[bytes] = []
        self.from_device: list[bytes] = []
        """Bodies, the newest last; sealed ones as they went over the line."""
        self._draw = bytes_of(1)
        self._sequence = 0
        self._identity: Identity | None = None

    # --- the host ----------------------------------------------------------------------------

    def connect(self, session: int, key: DeviceKey = KEY) -> SealedLine:
        """A whole handshake; the host's line."""
        (identity,) = self.say(Identify())
        assert isinstance(identity, Identity)
        self._identity = identity
        nonce = self._draw(16)
        (told,) = self.say(OpenSealed(session, nonce))
        assert isinstance(told, Challenged), told
        said = Handshake(identity, session, nonce, told.nonce)
        assert said.is_proved(key, "device", told.proof), "the device holds another key"
        assert self.say(Prove(session, said.proof(key, "host"))) == [Proved()]
        self.host = said.line(key, "host")
        return self.host

    def ask(self, request: Message) -> list[Message]:
        """The replies to a sealed request."""
        return self.deliver(self.sealed(request))

    def sealed(self, request: Message) -> bytes:
        """The body of a sealed request that has left the host and not arrived."""
        assert self.host is not None
        self._sequence += 1
        envelope = Envelope(self.host.session, self._sequence, request)
        body = self.host.seal(self.kind.catalogue.encode(envelope), self._sequence)
        self.from_host.append(body)
        return body

    def say(self, request: Message, session: int = 0) -> list[Message]:
        """The replies to an unsealed request."""
        self._sequence += 1
        body = self.kind.catalogue.encode(Envelope(session, self._sequence, request))
        self.from_host.append(body)
        return self.deliver(body)

    # --- the line ----------------------------------------------------------------------------

    def deliver(self, body: bytes) -> list[Message]:
        """A body arrives at the device, whoever sent it; what the host makes of the replies."""
        return self.heard(self.device.receive(encode_frame(body), self.now))

    def at(self, link_ms: int) -> list[Message]:
        self.now = link_ms
        return self.heard(self.device.advance(link_ms))

    def heard(self, data: bytes) -> list[Message]:
        """The replies that the host understands; a sealed one keeps its sealed kind."""
        found: list[Message] = []
        for body in FrameDecoder().feed(data):
            self.from_device.append(body)
            if is_sealed(body):
                assert self.host is not None
                body = self.host.open(body)
                found.append(SealedEnvelope(*self.kind.catalogue.decode(body)).message)
            else:
                found.append(self.kind.catalogue.decode(body).message)
        return found

    # --- steps -------------------------------------------------------------------------------

    def program(self, command_id: int, program: ProgramRecord) -> None:
        blob = encode_program(program)
        self.ask(Stage(0, blob))
        assert self.ask(Commit(command_id, 1, digest_of(blob))) == [Done(command_id)]

    def done(self, what: str) -> int:
        """How many entries of the device's log begin with ``what``."""
        return sum(e.text.startswith(what) for e in self.device.machine.firmware.memory.events)

    @property
    def dropped(self) -> tuple[int, int]:
        """What the device has dropped: forged, replayed."""
        counts = self.device.machine.firmware.conversation.counts
        return counts.forged, counts.replayed
