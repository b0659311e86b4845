"""The pump's firmware.

| request       | empty-program | running           | held              | halted            |
|---------------|---------------|-------------------|-------------------|-------------------|
| Commit        | -> running    | yes, without bolus| -> running        | -> running        |
| Bolus, button | wrong-state   | yes               | wrong-state       | wrong-state       |
| Stop hold     | stays         | -> held           | stays             | stays             |
| Stop policy   | stays         | -> halted or held | -> halted or stays| stays             |
| Stop flow     | stays         | -> halted         | -> halted         | stays             |

Stop ``policy`` halts only a pump whose program says ``may-stop``. Bolus and Commit are ``busy``
while any bolus runs, so there is never more than one. A stop, a loss of power and an empty
reservoir end a bolus for good. The lockout begins anew with each Commit, and what is left of an
earlier one still counts; so do earlier presses in the sliding count, which a press leaves 24 h
after the end of its bolus. State, program, ids, odometer and lockout survive a reset; the
basal goes on.

The odometer and ``flow`` come from a sensor at the outlet: they show what really flows. The
volume of a bolus is the pump's count of its own strokes.
"""

from typing import Literal

from pydantic import Field

from firmware_bridge.families.body import Stored
from firmware_bridge.families.firmware import (
    DeviceIdentity,
    Firmware,
    FirmwareMemory,
    Refusal,
)
from firmware_bridge.families.itp import factory, wire
from firmware_bridge.families.itp.body import DAY_MS, PumpBody
from firmware_bridge.protocol.blob import decode_program, encode_program
from firmware_bridge.protocol.messages import Message, OutcomeState, Reply, StopDepth

FILLS_KEPT = 256

PumpState = Literal["empty-program", "running", "held", "halted"]


class Press(Stored):
    """A granted press: when its bolus is over, therapy ms."""

    over: int


class PumpMemory(FirmwareMemory):
    """What a pump still knows after a reset; times in therapy ms."""

    state: PumpState = "empty-program"
    fills: list[int] = Field(default_factory=list)
    bolus_id: int = 0
    presses: list[Press] = Field(default_factory=list)
    granted: int = 0
    locked_until: int = 0


class PumpFirmware(Firmware[PumpMemory, PumpBody]):
    """One program, host boluses, the patient's button, and what outlives a reset."""

    FAMILY = wire.FAMILY
    MODEL = "itp-20"
    SLOTS = 1

    def __init__(self, identity: DeviceIdentity, memory: PumpMemory, body: PumpBody) -> None:
        super().__init__(identity, memory, body)
        self.program = self.decode(memory.programs[0]) if memory.programs else None
        """The active program."""
        body.end_boluses()
        self.collect()

    def collect(self) -> None:
        """Takes note of boluses that ended and of an empty reservoir."""
        for _, event, volume in self.body.take_events():
            match event:
                case "host-done" | "host-cut":
                    done = event == "host-done"
                    self.settle(self.memory.bolus_id, "executed" if done else "interrupted", volume)
                    self.memory.bolus_id = 0
                    self.log(f"bolus {'done' if done else 'interrupted'}: {volume} nL")
                case "patient-done" | "patient-cut":
                    done = event == "patient-done"
                    self.log(f"patient bolus {'done' if done else 'interrupted'}: {volume} nL")
                case "empty":
                    self.log("reservoir is empty")

    def press(self) -> bool:
        """The patient presses the button; tells whether a bolus begins."""
        memory, now, program = self.memory, self.body.t_ms, self.program
        button = program.patient_bolus if program else None
        memory.presses = [press for press in memory.presses if press.over + DAY_MS > now]
        if button is None or memory.state != "running" or not self.body.reservoir:
            reason = "closed"
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
        return wire.PumpStatus(
            clock=self.clock_ms,
            boot=memory.boot,
            state=memory.state,
            flow=body.flow,
            delivered=body.delivered,
            reservoir=body.reservoir,
            bolus_id=memory.bolus_id,
            patient_boluses=memory.granted,
            fill_at=memory.fills[-1] if memory.fills else 0,
            alarms=self._alarms(),
        )

    def _alarms(self) -> list[str]:
        program, body = self.program, self.body
        if program is None:
            return []
        alarms = {
            "low-reservoir": 0 < body.reservoir <= program.low_reservoir,
            "motor-stall": body.stalled,
            "pump-stopped": self.memory.state == "halted",
            "reservoir-empty": body.reservoir == 0,
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
        """A program changes only while no bolus runs."""
        if self._bolus_runs():
            raise Refusal("busy", "a bolus is under way")

    def check_programs(self, programs: list[bytes]) -> None:
        """The factory's ceilings."""
        factory.check_program(self.decode(programs[0]))

    def programs_replaced(self) -> None:
        """Follows the new program; a fill it has not seen yet happens now."""
        memory = self.memory
        program = self.program = self.decode(memory.programs[0])
        if program.fill_at not in memory.fills:
            memory.fills = [*memory.fills, program.fill_at][-FILLS_KEPT:]
            mix = tuple((drug.name, drug.concentration) for drug in program.drugs)
            self.body.fill(
                program.fill_volume, mix, catheter=program.catheter, primed=program.primed
            )
            self.log(f"filled with {program.fill_volume} nL")
        self.body.follow(program.basal, program.utc_offset_min)
        memory.state = "running"
        memory.granted = 0
        if program.patient_bolus is not None:
            locked_until = self.body.t_ms + program.patient_bolus.lockout
            memory.locked_until = max(memory.locked_until, locked_until)

    # --- the family's requests -----------------------------------------------------------------

    def request(self, request: Message) -> Reply:
        """A pump has no requests without id but the common ones."""
        raise Refusal("bad-message", "a pump knows no such request")

    def command(self, request: Message) -> OutcomeState:
        """A bolus."""
        if not isinstance(request, wire.Bolus):
            raise Refusal("bad-message", "a pump knows no such command")
        program = self.program
        if program is None or self.memory.state != "running":
            raise Refusal("wrong-state", f"no bolus: the pump is {self.memory.state}")
        self.check_idle()
        factory.check_bolus(program, request.volume, request.over)
        if not self.body.reservoir:
            raise Refusal("wrong-state", "the reservoir is empty")
        self.memory.bolus_id = request.id
        self.body.begin_bolus("host", request.volume, request.over)
        self.log(f"bolus of {request.volume} nL over {request.over} ms")
        return "running"

    def delivered_so_far(self, command_id: int) -> int:
        """nL of the bolus under way."""
        bolus = self.body.bolus("host")
        return bolus.delivered if bolus is not None else 0

    def _bolus_runs(self) -> bool:
        return self.memory.bolus_id != 0 or self.body.bolus("patient") is not None
