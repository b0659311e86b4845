"""The pump's firmware.

| request        | empty-program | running           | held              | halted            |
|----------------|---------------|-------------------|-------------------|-------------------|
| Commit         | -> running    | yes, without bolus| -> running        | -> running        |
| Bolus, button  | wrong-state   | without bridge    | wrong-state       | wrong-state       |
| Prime          | wrong-state   | once for a fill   | wrong-state       | wrong-state       |
| Stop hold      | stays         | -> held           | stays             | stays             |
| Stop policy    | stays         | -> halted or held | -> halted or stays| stays             |
| Stop flow      | stays         | -> halted         | -> halted         | stays             |

Stop ``policy`` halts only a pump whose program says ``may-stop``. A prime is a bolus; Bolus and
Commit are ``busy`` while any bolus runs, so there is never more than one. A stop, a loss of power
and an empty reservoir end a bolus for good. The lockout begins anew with each Commit, and what is
left of an earlier one still counts; so do earlier presses in the sliding count, which a press
leaves 24 h after the end of its bolus. State, program, ids, odometer and lockout survive a reset;
the basal goes on, and so does a bridge.

A bridge is basal: it runs by itself until its volume has left since the fill. Boluses stay closed
until a pump at the bottom of its accuracy has moved that much too; the button's lockout begins anew
then. Bridge and prime are spent once for each fill, and a newer fill closes those of all older
ones.

The odometer and ``flow`` come from a sensor at the outlet: they show what really flows, and that
the reservoir is empty. The volume of a bolus or bridge is the pump's count of its own strokes.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from firmware_bridge.families.body import Stored
from firmware_bridge.families.conversation import Conversation
from firmware_bridge.families.firmware import (
    DeviceIdentity,
    Firmware,
    FirmwareMemory,
    Refusal,
)
from firmware_bridge.families.itp import factory, wire
from firmware_bridge.families.itp.body import PumpBody
from firmware_bridge.families.itp.line import Mix
from firmware_bridge.families.itp.physics import DAY_MS, BolusKind, RunningBolus
from firmware_bridge.protocol.blob import decode_program, encode_program
from firmware_bridge.protocol.messages import Message, OutcomeState, Reply, StopDepth

FILLS_KEPT = 256

PumpState = Literal["empty-program", "running", "held", "halted"]
_NAMES: dict[BolusKind, str] = {"host": "bolus", "patient": "patient bolus", "prime": "prime"}


class Press(Stored):
    """A granted press: when its bolus is over, therapy ms."""

    over: int


class Fill(Stored):
    """A fill that was taken, named by its date ``at``, and what of it is spent."""

    at: int
    bridged: bool = False
    primed: bool = False


class PumpMemory(FirmwareMemory):
    """What a pump still knows after a reset; times in therapy ms.

    ``bolus_id`` is that of the host's bolus or prime under way.
    """

    state: PumpState = "empty-program"
    fills: list[Fill] = Field(default_factory=list)
    bolus_id: int = 0
    presses: list[Press] = Field(default_factory=list)
    granted: int = 0
    locked_until: int = 0


class PumpFirmware(Firmware[PumpMemory, PumpBody]):
    """One program, host boluses, the patient's button, and what outlives a reset."""

    FAMILY = wire.FAMILY
    MODEL = "itp-20"
    SLOTS = 1

    def __init__(
        self,
        identity: DeviceIdentity,
        memory: PumpMemory,
        body: PumpBody,
        conversation: Conversation | None = None,
    ) -> None:
        super().__init__(identity, memory, body, conversation)
        self.program = self.decode(memory.programs[0]) if memory.programs else None
        """The active program."""
        body.end_boluses()
        self.collect()

    @property
    def clock_ms(self) -> int:
        """The pump's own clock, ms of Unix time; the basal follows it too."""
        return super().clock_ms + self.body.faults.clock_ahead

    def collect(self) -> None:
        """Takes note of boluses and a bridge that ended, and of an empty reservoir."""
        for event in self.body.take_events():
            if event.bolus is not None:
                self._bolus_ended(event.bolus, done=event.what == "done")
            elif event.what == "bridged":
                self._fill.bridged = True
                self.log("bridge done")
            elif event.what == "in place":
                self._lock_button(event.at)
            else:
                self.log("reservoir is empty")

    def _bolus_ended(self, bolus: RunningBolus, *, done: bool) -> None:
        if bolus.kind != "patient":
            state: OutcomeState = "executed" if done else "interrupted"
            self.settle(self.memory.bolus_id, state, bolus.delivered)
            self.memory.bolus_id = 0
        end = "done" if done else "interrupted"
        self.log(f"{_NAMES[bolus.kind]} {end}: {bolus.delivered} nL")

    def press(self) -> bool:
        """The patient presses the button; tells whether a bolus begins."""
        memory, now, program = self.memory, self.body.t_ms, self.program
        button = program.patient_bolus if program else None
        memory.presses = [press for press in memory.presses if press.over + DAY_MS > now]
        body = self.body
        closed = memory.state != "running" or not body.reservoir or body.faults.spent
        if button is None or closed:
            reason = "closed"
        elif self._is_bridging:
            reason = "bridge"
        elif self._bolus_runs():
            reason = "bolus under way"
        elif now < memory.locked_until:
            reason = "lockout"
        elif len(memory.presses) >= button.max_per_24h:
            reason = "count"
        else:
            memory.presses.append(Press(over=now + button.over))
            memory.granted += 1
            memory.locked_until = now + button.lockout
            self.body.begin_bolus("patient", button.volume, button.over)
            self.log(f"button: bolus of {button.volume} nL")
            return True
        self.log(f"button: nothing, {reason}")
        return False

    def lose_program(self) -> None:
        """The battery has failed: no program is left, and nothing flows until the next one."""
        self.memory.programs, self.memory.state = [], "empty-program"
        self.program = None
        self.body.forget_program()
        self.log("battery reset: the program is lost")

    def lose_power(self) -> None:
        """The end of service: the motor stops for good, and a bolus ends with it."""
        self.body.end_boluses()
        self.collect()
        self.log("end of service: the battery is spent, nothing flows")

    # --- common requests -----------------------------------------------------------------------

    def stop(self, depth: StopDepth) -> None:
        """Ends boluses and goes to ``held`` or ``halted``."""
        program = self.program
        if program is not None:
            policy = depth == "policy" and program.stop_policy == "may-stop"
            if depth == "flow" or policy:
                self.memory.state = "halted"
                self.body.halt()
            else:
                if self.memory.state == "running":
                    self.memory.state = "held"
                self.body.end_boluses()
        self.log(f"stop, {depth}")
        self.collect()

    def status(self) -> Reply:
        """The pump's status."""
        memory, body = self.memory, self.body
        prime = body.bolus("prime")
        return wire.PumpStatus(
            serial=self.identity.serial,
            clock=self.clock_ms,
            boot=memory.boot,
            state=memory.state,
            flow=body.flow,
            delivered=body.delivered,
            reservoir=body.counted,
            bolus_id=memory.bolus_id,
            line_left=prime.left if prime else body.bridge_left,
            settling=body.settling,
            patient_boluses=memory.granted,
            fill_at=memory.fills[-1].at if memory.fills else 0,
            alarms=self._alarms(),
        )

    def _alarms(self) -> list[str]:
        program, body = self.program, self.body
        low = program is not None and body.reservoir > 0 and body.counted <= program.low_reservoir
        alarms = {
            "elective-replacement": body.faults.weak and not body.faults.spent,
            "end-of-service": body.faults.spent,
            # Only a failed battery leaves a pump that was ever filled without a program.
            "low-battery-reset": program is None and bool(self.memory.fills),
            "low-reservoir": low,
            "memory-error": self.memory.worn,
            "motor-stall": body.stalled,
            "occlusion": body.occluded,
            "pump-stopped": self.memory.state == "halted",
            "reservoir-empty": program is not None and body.reservoir == 0,
        }
        return [name for name, active in alarms.items() if active]

    def decode(self, program: bytes) -> wire.WirePumpProgram:
        """The program in a blob."""
        return decode_program(wire.WirePumpProgram, program)

    def altered(self, program: bytes) -> bytes:
        """A program that differs by one step, for the fault of a read-back that lies."""
        record = self.decode(program)
        first = record.basal[0]
        other = first.model_copy(update={"flow": first.flow + 1})
        return encode_program(record.model_copy(update={"basal": [other, *record.basal[1:]]}))

    def check_idle(self) -> None:
        """A program changes only while no bolus runs, and never where nothing can flow again."""
        if self.body.faults.spent:
            raise Refusal("wrong-state", "the battery is at its end of service: nothing flows")
        if self._bolus_runs():
            raise Refusal("busy", "a bolus is under way")

    def check_programs(self, programs: list[bytes]) -> None:
        """The factory's ceilings."""
        factory.check_program(self.decode(programs[0]))

    def programs_replaced(self) -> None:
        """Follows the new program; a fill it has not seen yet happens now."""
        memory = self.memory
        program = self.program = self.decode(memory.programs[0])
        if all(fill.at != program.fill_at for fill in memory.fills):
            self._take_fill(program)
        bridge = None if self._fill.bridged else program.bridge
        in_place = factory.in_place(bridge.volume) if bridge else 0
        self.body.follow(program.basal, program.utc_offset_min, bridge, in_place)
        self.collect()
        memory.state = "running"
        memory.granted = 0
        self._lock_button(self.body.t_ms)

    def _lock_button(self, now: int) -> None:
        """The lockout begins anew; what is left of an earlier one still counts."""
        button = self.program.patient_bolus if self.program else None
        if button is not None:
            locked_until = now + button.lockout
            self.memory.locked_until = max(self.memory.locked_until, locked_until)

    @property
    def _fill(self) -> Fill:
        """The fill that the program names."""
        program = self.program
        return next(fill for fill in self.memory.fills if program and fill.at == program.fill_at)

    def _take_fill(self, program: wire.WirePumpProgram) -> None:
        """The reservoir is filled; what an older fill had not spent is void."""
        memory, bridge = self.memory, program.bridge
        for older in memory.fills:
            older.bridged = older.primed = True
        memory.fills = [*memory.fills, Fill(at=program.fill_at)][-FILLS_KEPT:]
        self.body.fill(
            program.fill_volume,
            _mix(program.drugs),
            catheter=program.catheter,
            primed=program.primed,
            before=_mix(bridge.drugs) if bridge else None,
        )
        self.log(f"filled with {program.fill_volume} nL")

    # --- the family's requests -----------------------------------------------------------------

    def request(self, request: Message) -> Reply:
        """A pump has no requests without id but the common ones."""
        raise Refusal("bad-message", "a pump knows no such request")

    def command(self, request: Message) -> OutcomeState:
        """A bolus or a prime."""
        if not isinstance(request, wire.Bolus | wire.Prime):
            raise Refusal("bad-message", "a pump knows no such command")
        kind: BolusKind = "prime" if isinstance(request, wire.Prime) else "host"
        program, name = self.program, _NAMES[kind]
        if program is None or self.memory.state != "running":
            raise Refusal("wrong-state", f"no {name}: the pump is {self.memory.state}")
        if self._is_bridging:
            raise Refusal("wrong-state", "bridging")
        if isinstance(request, wire.Prime):
            self._check_prime(program, request)
        self.check_idle()
        factory.check_bolus(program, request.volume, request.over)
        if not self.body.reservoir:
            raise Refusal("wrong-state", "the reservoir is empty")
        if kind == "prime":
            self._fill.primed = True
        self.memory.bolus_id = request.id
        self.body.begin_bolus(kind, request.volume, request.over)
        self.log(f"{name} of {request.volume} nL over {request.over} ms")
        return "running"

    def _check_prime(self, program: wire.WirePumpProgram, request: wire.Prime) -> None:
        """A fill is primed once (SR-13), and only into a line that holds no drug yet."""
        if program.primed:
            raise Refusal("wrong-state", "the program says that the line is primed")
        if request.fill_at != program.fill_at:
            raise Refusal("wrong-state", f"the program is for the fill of {program.fill_at}")
        if self._fill.primed:
            raise Refusal("wrong-state", "this fill's one prime is used up")
        if self._bolus_runs():
            raise Refusal("wrong-state", "a bolus is under way")

    def delivered_so_far(self, command_id: int) -> int:
        """nL of the bolus or prime under way."""
        bolus = self.body.bolus("host") or self.body.bolus("prime")
        return bolus.delivered if bolus is not None else 0

    @property
    def _is_bridging(self) -> bool:
        """Whether some of the mix before may lie in the line still."""
        return self.body.bridge_left + self.body.settling > 0

    def _bolus_runs(self) -> bool:
        return self.memory.bolus_id != 0 or self.body.bolus("patient") is not None


def _mix(drugs: Sequence[wire.WireDrug]) -> Mix:
    return tuple((drug.name, drug.concentration) for drug in drugs)
