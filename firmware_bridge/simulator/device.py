"""A simulated device: bytes in, bytes out, in explicit time. No I/O but memory and truth.

Two times: *link time*, ms since this object was made, in which requests arrive and leases last;
and *therapy time*, ms since the device's birth, which runs ``speed`` times as fast and in which
the physics, the schedule and the truth live. Therapy time stands still while no simulator runs.

Whatever must survive is saved before a reply leaves or the truth shows its effect (see `memory`).
"""

import secrets
from collections.abc import Callable, Sequence

import cbor2

from device_profiles.errors import UsageError
from firmware_bridge.families.body import Truth
from firmware_bridge.protocol.catalogue import (
    Envelope,
    SealedEnvelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    MessageError,
    ProgramRead,
    Read,
    Refused,
)
from firmware_bridge.protocol.seal import DeviceKey, OtherSession, is_sealed
from firmware_bridge.simulator.families import MachineKind, Setup
from firmware_bridge.simulator.faults import FAULTS, LATE_REPLY_MS, FaultPlan, PlannedFault
from firmware_bridge.simulator.memory import Memory, MemoryInRam
from firmware_bridge.simulator.truth import NoTruth

SAVE_EVERY_MS = 1_000
"""Link time after which the state of a flowing device is saved again."""
_REFUSED_DETAIL = 200


class SimulatedDevice:
    """A stimulator or a pump at the end of a line.

    ``key_of`` gives the key of its serial number; without one it seals nothing.
    """

    def __init__(
        self,
        kind: MachineKind,
        *,
        wall_ms: int,
        serial: str | None = None,
        speed: int = 1,
        seed: int = 0,
        error_ppm: int = 0,
        memory: Memory | None = None,
        truth: Truth | None = None,
        faults: Sequence[PlannedFault] = (),
        key_of: Callable[[str], DeviceKey | None] = lambda _: None,
        draw: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.truth = truth or NoTruth()
        self._memory = memory or MemoryInRam()
        saved = self._memory.load()
        setup = Setup(self.truth, wall_ms, serial, speed, seed, error_ppm, saved, key_of, draw)
        try:
            self.machine = kind.make(setup)
        except MessageError as error:
            raise UsageError(f"the state file is damaged: {error}") from error
        self.unplugged = False
        """Whether the port is gone."""
        self.stalls = False
        """Whether the port is to stall; whoever has the port takes this back."""
        self._kind = kind
        self._speed = speed
        self._base_ms = self.t_ms
        self._plan = FaultPlan(faults, self.t_ms)
        self._decoder = FrameDecoder()
        self._silent = False
        self._alter_read = False
        self._for_next_request: list[PlannedFault] = []
        self._reply_faults: dict[tuple[int, int], list[str]] = {}
        self._line: list[tuple[int, bytes]] = []
        self._link_ms = 0
        self._horizon_ms = self.t_ms
        self._save()

    # --- what can be seen ----------------------------------------------------------------------

    @property
    def serial(self) -> str:
        """The serial number it was made with."""
        return self.machine.serial

    @property
    def t_ms(self) -> int:
        """Therapy time up to which the physics has run."""
        return int(self.machine.firmware.body.t_ms)

    @property
    def quiet(self) -> bool:
        """Whether the simulator may end when nobody is left to watch: see `Machine.quiet`."""
        return self.machine.quiet

    def next_wake(self) -> int | None:
        """Link time at which `advance` has something to do; ``None`` if never."""
        firmware = self.machine.firmware
        times = [firmware.next_event(), self._plan.next_ms]
        if self._memory.keeps and firmware.body.flowing:
            times.append(self._horizon_ms)
        wakes = [-((self._base_ms - time) // self._speed) for time in times if time is not None]
        wakes += [due for due, _ in self._line]
        return min(wakes, default=None)

    # --- time and bytes ------------------------------------------------------------------------

    def advance(self, link_ms: int) -> bytes:
        """Runs to a link time; the bytes that leave the device by then."""
        self._run(link_ms)
        return self._release()

    def receive(self, data: bytes, link_ms: int) -> bytes:
        """Takes bytes at a link time; the bytes that leave the device by then."""
        self._run(link_ms)
        for body in self._decoder.feed(data):
            if not self.unplugged:
                self._take(body)
        return self._release()

    def inject(self, name: str, link_ms: int, contact: int = 0) -> None:
        """A fault of `FAULTS` happens now, or to the next request; raises UsageError."""
        fault = FAULTS.get(name)
        if fault is None or fault.device not in (None, self._kind.name):
            raise UsageError(f"a {self._kind.name} has no fault {name!r}")
        self._run(link_ms)
        self._strike(PlannedFault(name, contact=contact))
        self._save_if_changed()

    def press(self, link_ms: int) -> bool:
        """The patient presses the button of a pump; tells whether a bolus begins."""
        self._run(link_ms)
        granted = self.machine.press()
        self._save_if_changed()
        return granted

    def close(self, link_ms: int) -> None:
        """The simulation ends: last truth, last save."""
        self._run(link_ms)
        self.machine.end()
        self._horizon_ms = self.t_ms
        self._save()
        self.truth.close()

    # --- requests ------------------------------------------------------------------------------

    def _take(self, body: bytes) -> None:
        if self._silent:
            return
        envelope = self._read(body)
        if envelope is None:
            return
        request = self._kind.requests.get(type(envelope.message), "")
        faults = [*self._plan.on_request(request), *self._for_next_request]
        self._for_next_request.clear()
        spoilers = [fault.name for fault in faults if FAULTS[fault.name].per_request]
        for fault in faults:
            if fault.name not in spoilers and fault.name not in _AFTERWARDS:
                self._strike(fault)
        if self._silent or "drop_request" in spoilers:
            return
        if spoilers:
            self._reply_faults[envelope.session, envelope.sequence] = spoilers
        firmware = self.machine.firmware
        firmware.handle(envelope)
        if self._alter_read and isinstance(envelope.message, Read):
            firmware.outbox[-1] = self._altered(firmware.outbox[-1])
        for fault in faults:
            if fault.name in _AFTERWARDS:
                self._strike(fault)
        self._post()

    def _read(self, body: bytes) -> Envelope | None:
        """The request in a body, sealed or not; ``None`` for one that is dropped or answered."""
        if not is_sealed(body):
            return self._decoded(body, Envelope)
        firmware = self.machine.firmware
        try:
            opened = firmware.conversation.unseal(body)
        except OtherSession as other:
            refused = Refused("wrong-session", "this was sealed for a session that is not open")
            self._say(Envelope(other.session, other.counter, refused))
            return None
        if opened is not None:
            return self._decoded(opened, SealedEnvelope)
        if firmware.conversation.counts.total == 1:
            firmware.log("dropped a frame that was altered, forged or replayed")
        return None

    def _decoded(self, body: bytes, kind: type[Envelope]) -> Envelope | None:
        try:
            envelope = self._kind.catalogue.decode(body)
            return envelope if kind is Envelope else kind(*envelope)
        except MessageError as error:
            self._answer_nonsense(body, str(error), kind)
            return None

    def _answer_nonsense(self, body: bytes, reason: str, kind: type[Envelope]) -> None:
        """Refuses a body that is no message, if it tells at least what to answer to."""
        try:
            parts = cbor2.loads(body)
            _, session, sequence, _ = parts
        except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError, TypeError):
            return
        if type(parts) is list and all(
            type(n) is int and 0 <= n <= 0xFFFF_FFFF for n in (session, sequence)
        ):
            refused = Refused("bad-message", reason[:_REFUSED_DETAIL])
            self._say(kind(session, sequence, refused))

    def _say(self, reply: Envelope) -> None:
        self.machine.firmware.outbox.append(reply)
        self._post()

    def _altered(self, reply: Envelope) -> Envelope:
        read = reply.message
        if not isinstance(read, ProgramRead) or not read.program:
            return reply
        self._alter_read = False
        program = self.machine.altered(read.program)
        return reply._replace(message=ProgramRead(read.slot, program))

    # --- faults --------------------------------------------------------------------------------

    def _strike(self, fault: PlannedFault) -> None:
        match fault.name:
            case "silence":
                self._silent = True
            case "unplug":
                self.unplugged = True
                self._line.clear()
            case "stall":
                self.stalls = True
            case "plug_in":
                self.unplugged = self._silent = False
                self._decoder = FrameDecoder()
            case "reset":
                self.machine.restart()
            case "read_back_differs":
                self._alter_read = True
            case "wrong_serial":
                self.machine.swap_serial()
            case name if FAULTS[name].per_request:
                self._for_next_request.append(fault)
            case _:
                self.machine.break_down(fault)
                self.machine.firmware.changed = True

    def _send(self, envelope: Envelope) -> None:
        body = self._encoded(envelope)
        faults = self._reply_faults.pop((envelope.session, envelope.sequence), [])
        if body is None or self.unplugged or self._silent or "drop_reply" in faults:
            return
        frame = encode_frame(body)
        due = self._link_ms + (LATE_REPLY_MS if "delay_reply" in faults else 0)
        if "corrupt_reply" in faults:
            frame = frame[:1] + bytes([frame[1] ^ 1]) + frame[2:]
        if "truncate_reply" in faults:
            frame = frame[: len(frame) // 2]
        copies = 2 if "duplicate_reply" in faults else 1
        self._line.extend([(due, frame)] * copies)

    def _encoded(self, envelope: Envelope) -> bytes | None:
        """The body of a reply, sealed if its request was; ``None`` once its session has ended."""
        body = self._kind.catalogue.encode(envelope)
        if not isinstance(envelope, SealedEnvelope):
            return body
        return self.machine.firmware.conversation.seal(envelope.session, body)

    # --- time ----------------------------------------------------------------------------------

    def _run(self, link_ms: int) -> None:
        self._link_ms = max(self._link_ms, link_ms)
        to_ms = self._base_ms + self._link_ms * self._speed
        if to_ms >= self._horizon_ms:
            self._horizon_ms = to_ms + SAVE_EVERY_MS * self._speed
            self._save()
        while (at_ms := self._plan.next_ms) is not None and at_ms <= to_ms:
            self.machine.firmware.advance(at_ms)
            self._strike(self._plan.take())
            self._save_if_changed()
        self.machine.firmware.advance(to_ms)
        self._post()

    def _post(self) -> None:
        """Puts replies on the line; what the device must remember of them is saved first."""
        firmware = self.machine.firmware
        if firmware.changed:
            self._save()
        if outbox := firmware.outbox:
            for envelope in outbox:
                self._send(envelope)
            outbox.clear()

    def _release(self) -> bytes:
        """What leaves the device now."""
        if not self._line:
            return b""
        due = b"".join(frame for at, frame in self._line if at <= self._link_ms)
        self._line = [(at, frame) for at, frame in self._line if at > self._link_ms]
        return due

    def _save_if_changed(self) -> None:
        if self.machine.firmware.changed:
            self._save()

    def _save(self) -> None:
        self.machine.firmware.changed = False
        if self._memory.keeps:
            self._memory.save(self.machine.state(self._horizon_ms))


_AFTERWARDS = ("unplug", "stall", "reset", "battery_reset", "overdischarge")
"""Faults that strike when a request has been carried out."""
