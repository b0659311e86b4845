"""The stimulator's firmware.

| request        | off                   | on, rising, paused, falling | falling to off          |
|----------------|-----------------------|-----------------------------|-------------------------|
| Commit         | yes                   | wrong-state                 | wrong-state             |
| Start, Measure | yes                   | wrong-state                 | wrong-state             |
| SetAmplitude   | wrong-state           | yes, the running slot       | wrong-state             |
| LowerAmplitude | zeros only            | yes, if none rises          | zeros only              |
| Renew          | wrong-state           | yes                         | wrong-state             |
| Stop           | yes                   | yes                         | yes                     |

While an impedance is measured, Commit, Start and Measure are ``busy``. After a lease has ended
SetAmplitude and Renew answer ``lease-ended`` until the next Start. `Measure` is answered when it
is done; a stop ends it for good, unanswered, and its outcome says ``interrupted``.

A magnet and the MRI mode bring the output to zero as a stop does. The magnet's alarm lasts until
the next Start; in MRI mode, which outlives a reset, Start and Measure are refused.

A lease counts link time: at a speed of X it lasts X times as long in therapy time.
"""

from firmware_bridge.families.conversation import Conversation
from firmware_bridge.families.firmware import (
    DeviceIdentity,
    Firmware,
    FirmwareMemory,
    Refusal,
    StoredOutcome,
)
from firmware_bridge.families.scs import factory, wire
from firmware_bridge.families.scs.body import StimulatorBody
from firmware_bridge.families.scs.physics import METER_MAX_OHMS
from firmware_bridge.protocol.blob import decode_program, digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.messages import (
    Done,
    Message,
    OutcomeState,
    Reply,
    StopDepth,
)

BATTERY_FULL_MV = 3_900
BATTERY_WEAK_MV = 3_500
SHORT_BELOW_OHMS = 100


class StimulatorMemory(FirmwareMemory):
    """What a stimulator still knows after a reset."""

    mri_mode: bool = False
    overdischarged: bool = False


class StimulatorFirmware(Firmware[StimulatorMemory, StimulatorBody]):
    """Programs in slots, one running output on a lease, and impedance measurements."""

    FAMILY = wire.FAMILY
    MODEL = "scs-16"
    SLOTS = factory.FACTORY.slots

    def __init__(
        self,
        identity: DeviceIdentity,
        memory: StimulatorMemory,
        body: StimulatorBody,
        conversation: Conversation | None = None,
    ) -> None:
        super().__init__(identity, memory, body, conversation)
        self.battery_mv = BATTERY_FULL_MV
        self._slot = 0
        self._lease_end: int | None = None
        self._lease_lost = False
        self._magnet_met = False
        self._measuring = 0
        self._awaiting: Envelope | None = None
        self._measured: tuple[int, list[int]] = (0, [])
        body.cut()
        for command_id, outcome in memory.outcomes.items():
            if outcome.state == "running":
                self.settle(command_id, "interrupted")

    # --- time ----------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """The end of the lease."""
        return self._lease_end

    def meet_deadline(self) -> None:
        """SR-33, SR-53: the lease has ended, so the output falls to zero and stays off."""
        self._lease_end = None
        self._lease_lost = True
        self.body.ramp_down()
        self.log("lease ended, output falls to zero")

    def collect(self) -> None:
        """Takes note of an output that is off and of a measurement that is done."""
        for _, event in self.body.take_events():
            if event == "off":
                self._lease_end = None
                self.log("output is off")
            else:
                self._finish_measurement()

    # --- common requests -----------------------------------------------------------------------

    def stop(self, depth: StopDepth) -> None:
        """Falls to zero and stays off, whatever the depth."""
        self._fall_to_zero("stop")

    def meet_magnet(self) -> None:
        """A magnet is held over the device: its output falls to zero and stays off."""
        self._magnet_met = True
        self._fall_to_zero("magnet, output falls to zero")

    def enter_mri_mode(self) -> None:
        """The output falls to zero, and nothing may drive current until the mode is left."""
        self.memory.mri_mode = True
        self._fall_to_zero("MRI mode, output falls to zero")

    def run_down(self) -> None:
        """The battery was discharged too deep: what it kept is gone, and so are the programs."""
        self.memory.programs = []
        self.memory.overdischarged = True
        self.log("overdischarge: the programs are lost")

    def _fall_to_zero(self, why: str) -> None:
        if self._measuring:
            self.settle(self._measuring, "interrupted")
            self._measuring, self._awaiting = 0, None
        self._lease_end = None
        self.body.ramp_down()
        self.log(why)
        self.collect()

    def status(self) -> Reply:
        """The stimulator's status."""
        body = self.body
        lease = 0 if self._lease_end is None else self._lease_end - body.t_ms
        return wire.StimulatorStatus(
            serial=self.identity.serial,
            clock=self.clock_ms,
            boot=self.memory.boot,
            state=body.state,
            slot=self._slot,
            amplitudes=body.amplitudes,
            programs=digest_of(*self.memory.programs),
            lease=-(-lease // self.identity.speed),
            battery=self.battery_mv,
            pulses=body.pulses,
            alarms=self._alarms(),
        )

    def _alarms(self) -> list[str]:
        ohms = self._measured[1]
        alarms = {
            "amplitude-stuck": self.body.stuck,
            "battery-low": self._battery_low,
            "lease-ended": self._lease_lost,
            "magnet": self._magnet_met,
            "memory-error": self.memory.worn,
            "mri-mode": self.memory.mri_mode,
            "open-contact": any(reading >= METER_MAX_OHMS for reading in ohms),
            "out-of-compliance": self.body.limited,
            "overdischarge": self.memory.overdischarged,
            "short-contact": any(reading < SHORT_BELOW_OHMS for reading in ohms),
        }
        return [name for name, active in alarms.items() if active]

    @property
    def _battery_low(self) -> bool:
        return self.battery_mv < factory.FACTORY.battery_low_mv

    def decode(self, program: bytes) -> wire.WireProgram:
        """The program in a blob."""
        return decode_program(wire.WireProgram, program)

    def altered(self, program: bytes) -> bytes:
        """A program that differs by one step, for the fault of a read-back that lies."""
        record = self.decode(program)
        first = record.areas[0]
        other = first.model_copy(update={"amplitude": first.amplitude + 100})
        return encode_program(record.model_copy(update={"areas": [other, *record.areas[1:]]}))

    def check_idle(self) -> None:
        """Programs change only while the output is off."""
        if self.body.testing:
            raise Refusal("busy", "an impedance measurement is under way")
        if self.body.state != "off":
            raise Refusal("wrong-state", "while the output is on only amplitudes may change")

    def check_programs(self, programs: list[bytes]) -> None:
        """The factory's ceilings."""
        for program in programs:
            factory.check_program(self.decode(program))

    def programs_replaced(self) -> None:
        """Nothing but the alarm of an overdischarge depends on the programs while off."""
        self.memory.overdischarged = False

    # --- the family's requests -----------------------------------------------------------------

    def request(self, request: Message) -> Reply:
        """LowerAmplitude, Renew and AskImpedance."""
        match request:
            case wire.LowerAmplitude(amplitudes=amplitudes):
                self._lower(amplitudes)
                return wire.Lowered()
            case wire.Renew(lease=lease):
                self._check_running()
                factory.check_lease(lease)
                self._lease_end = self.body.t_ms + lease * self.identity.speed
                return wire.Renewed()
            case wire.AskImpedance():
                return wire.Impedances(*self._measured)
        raise Refusal("bad-message", "a stimulator knows no such request")

    def command(self, request: Message) -> OutcomeState:
        """Start, SetAmplitude and Measure."""
        match request:
            case wire.Start():
                self._start(request)
            case wire.SetAmplitude():
                self._check_running()
                if request.slot != self._slot:
                    raise Refusal("wrong-state", f"slot {self._slot} is running")
                program = self._program(request.slot, request.digest)
                factory.check_amplitudes(program, request.amplitudes)
                self.body.set_targets(request.amplitudes)
                self.log(f"amplitudes to {request.amplitudes} uA")
            case wire.Measure():
                self.check_idle()
                self._check_mri()
                factory.check_test(request.current, request.pulse_width, request.pulses)
                self._measuring = request.id
                self.body.measure(request.current, request.pulse_width, request.pulses)
                return "running"
            case _:
                raise Refusal("bad-message", "a stimulator knows no such command")
        return "executed"

    def first_answer(self, envelope: Envelope, command_id: int) -> Reply | None:
        """Done at once, for a measurement when it is done."""
        if self._measuring == command_id:
            self._awaiting = envelope
            return None
        return super().first_answer(envelope, command_id)

    def answer_again(
        self, envelope: Envelope, command_id: int, known: StoredOutcome
    ) -> Reply | None:
        """As at first; the newest to ask for a measurement under way gets its reply."""
        if self._measuring == command_id:
            self._awaiting = envelope
            return None
        return super().answer_again(envelope, command_id, known)

    def _start(self, request: wire.Start) -> None:
        self.check_idle()
        program = self._program(request.slot, request.digest)
        factory.check_amplitudes(program, request.amplitudes)
        factory.check_lease(request.lease)
        self._check_mri()
        if self._battery_low:
            raise Refusal("wrong-state", f"the battery is low: {self.battery_mv} mV")
        self._slot = request.slot
        self._lease_lost = self._magnet_met = False
        self._lease_end = self.body.t_ms + request.lease * self.identity.speed
        self.body.start(program, request.amplitudes)
        self.log(f"start of slot {request.slot} to {request.amplitudes} uA")

    def _lower(self, amplitudes: list[int]) -> None:
        targets = self.body.targets
        if not targets and not any(amplitudes):
            return
        if len(targets) != len(amplitudes):
            raise Refusal("out-of-range", f"{len(amplitudes)} amplitudes for {len(targets)} areas")
        if any(new > old for new, old in zip(amplitudes, targets, strict=True)):
            raise Refusal("out-of-range", "an amplitude would rise")
        if any(new % factory.FACTORY.amplitude_step for new in amplitudes):
            raise Refusal(
                "out-of-range", f"amplitudes are in steps of {factory.FACTORY.amplitude_step} uA"
            )
        if not self.body.stopping:
            self.body.set_targets(amplitudes)
        self.log(f"amplitudes lowered to {amplitudes} uA")

    def _check_mri(self) -> None:
        if self.memory.mri_mode:
            raise Refusal("wrong-state", "the device is in MRI mode")

    def _check_running(self) -> None:
        if self.body.stopping or self.body.state == "off":
            if self._lease_lost:
                raise Refusal("lease-ended", "the lease has ended; only a new start helps")
            raise Refusal("wrong-state", "the output is off")

    def _program(self, slot: int, digest: bytes) -> wire.WireProgram:
        programs = self.memory.programs
        if slot >= len(programs):
            raise Refusal("wrong-state", f"slot {slot} holds no program")
        if digest_of(programs[slot]) != digest:
            raise Refusal("digest-differs", f"slot {slot} holds another program")
        return self.decode(programs[slot])

    def _finish_measurement(self) -> None:
        self._measured = (self._measuring, self.body.read_impedances())
        self.settle(self._measuring, "executed")
        self.log("impedances measured")
        if self._awaiting is not None:
            self.reply(self._awaiting, Done(self._measuring))
        self._measuring, self._awaiting = 0, None
