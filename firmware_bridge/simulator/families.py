"""The machines the simulator can be: one line each in `MACHINES`.

A machine is a body with its firmware, and all that the device around it need not know of the
family: how to restore it, to restart it, to break it.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from device_profiles.errors import UsageError
from firmware_bridge.families.body import Truth
from firmware_bridge.families.conversation import Conversation
from firmware_bridge.families.firmware import DeviceIdentity, Firmware
from firmware_bridge.families.itp import firmware as itp_firmware
from firmware_bridge.families.itp import physics as itp_physics
from firmware_bridge.families.itp import wire as itp_wire
from firmware_bridge.families.itp.body import PumpBody
from firmware_bridge.families.scs import body as scs_body
from firmware_bridge.families.scs import firmware as scs_firmware
from firmware_bridge.families.scs import physics as scs_physics
from firmware_bridge.families.scs import wire as scs_wire
from firmware_bridge.protocol.catalogue import (
    Catalogue,
)
from firmware_bridge.protocol.messages import (
    AskEvent,
    AskOutcome,
    AskStatus,
    Commit,
    Identify,
    Message,
    Open,
    OpenSealed,
    Prove,
    Read,
    Stage,
    Stop,
)
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.simulator.faults import PlannedFault
from firmware_bridge.simulator.memory import DeviceState, parse_state
from firmware_bridge.simulator.truth import TruthReplayed

OTHER_SERIAL = "-OTHER"
"""Ends the serial number of a device that was swapped."""
_OVER_DELIVERY = 1_500_000
_UNDER_DELIVERY = 500_000
_CLOCK_JUMP_MS = 3_600_000
_MISCOUNT_NL = 2_000_000


@dataclass(frozen=True, slots=True)
class Setup:
    """What a machine is made of; ``wall_ms`` is the birth of a device that has no state yet.

    ``key_of`` gives the key of a serial number, ``None`` for a device that seals nothing; ``draw``
    gives random bytes.
    """

    truth: Truth
    wall_ms: int
    serial: str | None = None
    speed: int = 1
    seed: int = 0
    error_ppm: int = 0
    saved: str | None = None
    key_of: Callable[[str], DeviceKey | None] = lambda _: None
    draw: Callable[[int], bytes] = secrets.token_bytes


class Machine(ABC):
    """A body and its firmware."""

    identity: DeviceIdentity
    serial: str
    firmware: Firmware[Any, Any]
    converse: Callable[[], Conversation]
    """A conversation that has just begun, as a start of the device finds it."""

    def restart(self) -> None:
        """Power is lost and comes back: only non-volatile memory and the body remain."""
        memory = self.firmware.memory
        copy = type(memory).model_validate_json(memory.model_dump_json())
        self._boot(copy)

    def swap_serial(self) -> None:
        """Another serial number answers from now on."""
        self.identity = _identity(
            self.serial + OTHER_SERIAL, self.identity.speed, self.identity.born_ms
        )
        self.firmware.identity = self.identity

    @property
    @abstractmethod
    def quiet(self) -> bool:
        """Whether the simulator may end when nobody is left to watch the device."""

    @abstractmethod
    def state(self, horizon_ms: int) -> str:
        """The text of the state file."""

    @abstractmethod
    def break_down(self, fault: PlannedFault) -> None:
        """Breaks or heals body or firmware; faults of the line are not meant for it."""

    @abstractmethod
    def press(self) -> bool:
        """The patient presses the button, if there is one; tells whether a bolus begins."""

    @abstractmethod
    def altered(self, program: bytes) -> bytes:
        """A program that is off by one step."""

    @abstractmethod
    def end(self) -> None:
        """The simulation ends: last truth."""

    @abstractmethod
    def _boot(self, memory: Any) -> None:
        """Starts a firmware from its memory."""


class StimulatorMachine(Machine):
    """A stimulator: its output never outlives a loss of power."""

    def __init__(self, setup: Setup) -> None:
        memory, physics = scs_firmware.StimulatorMemory(), scs_physics.StimulatorPhysics()
        self.serial, born_ms, t_ms = setup.serial or "SCS-0001", setup.wall_ms, 0
        if setup.saved is not None:
            model = DeviceState[scs_firmware.StimulatorMemory, scs_physics.StimulatorPhysics]
            state = parse_state(model, setup.saved, scs_wire.FAMILY, setup.serial)
            memory, physics, self.serial = state.firmware, state.body, state.serial
            born_ms, t_ms = state.born_ms, state.horizon_ms
        self.body = scs_body.StimulatorBody(
            setup.truth, seed=setup.seed, t_ms=t_ms, physics=physics
        )
        self.body.forget_contacts(physics.live)
        self.identity = _identity(self.serial, setup.speed, born_ms)
        self.converse = partial(Conversation, setup.key_of(self.serial), setup.draw)
        self._boot(memory)

    def _boot(self, memory: scs_firmware.StimulatorMemory) -> None:
        self.firmware: scs_firmware.StimulatorFirmware = scs_firmware.StimulatorFirmware(
            self.identity, memory, self.body, self.converse()
        )

    @property
    def quiet(self) -> bool:
        """Whether the output is at zero, by a stop or the end of its lease, or never will be."""
        return not self.body.flowing or self.body.faults.stuck

    def state(self, horizon_ms: int) -> str:
        """The text of the state file."""
        state = DeviceState[scs_firmware.StimulatorMemory, scs_physics.StimulatorPhysics](
            family=scs_wire.FAMILY,
            serial=self.serial,
            born_ms=self.identity.born_ms,
            t_ms=self.body.t_ms,
            horizon_ms=horizon_ms,
            firmware=self.firmware.memory,
            body=self.body.physics(),
        )
        return state.model_dump_json()

    def break_down(self, fault: PlannedFault) -> None:
        """Contacts, current, battery, memory, magnet and MRI mode."""
        match fault.name:
            case "open_contact":
                self.body.break_contact(self._contact_of(fault), scs_physics.OPEN_OHMS)
            case "short_contact":
                self.body.break_contact(self._contact_of(fault), scs_physics.SHORT_OHMS)
            case "battery_low":
                self.firmware.battery_mv = scs_firmware.BATTERY_WEAK_MV
            case "impedance_drift":
                self._break(drifted=True)
            case "wrong_electrode_map":
                self._break(crossed=True)
            case "unbalanced_recharge":
                self._break(unbalanced=True)
            case "amplitude_stuck":
                self._break(stuck=True)
            case "ramp_ignored":
                self._break(steep=True)
            case "overdischarge":
                self.firmware.run_down()
                self.restart()
            case "magnet":
                self.firmware.meet_magnet()
            case "mri_mode":
                self.firmware.enter_mri_mode()
            case "memory_error":
                self.firmware.wear_out()
            case "heal":
                self.firmware.memory.worn = False
                self.firmware.battery_mv = scs_firmware.BATTERY_FULL_MV
                self.firmware.memory.mri_mode = False
                self.body.heal()

    def _break(self, **update: bool) -> None:
        self.body.set_faults(self.body.faults.model_copy(update=update))
        self.firmware.collect()

    def _contact_of(self, fault: PlannedFault) -> int:
        """The contact that a fault names, else the first that a program uses, else E1."""
        if fault.contact:
            return fault.contact
        for program in self.firmware.memory.programs:
            areas = self.firmware.decode(program).areas
            return min(e.contact for area in areas for e in area.electrodes if e.contact)
        return 1

    def press(self) -> bool:
        """A stimulator has no button."""
        return False

    def altered(self, program: bytes) -> bytes:
        """A program that is off by one step."""
        return self.firmware.altered(program)

    def end(self) -> None:
        """The output dies with the simulator."""
        self.body.cut()


class PumpMachine(Machine):
    """A pump: after a crash its physics is replayed up to the saved horizon."""

    def __init__(self, setup: Setup) -> None:
        memory = itp_firmware.PumpMemory()
        self.serial, born_ms = setup.serial or "ITP-0001", setup.wall_ms
        accuracy = itp_physics.PPM + setup.error_ppm
        physics = itp_physics.PumpPhysics(accuracy=accuracy)
        t_ms = horizon_ms = 0
        if setup.saved is not None:
            model = DeviceState[itp_firmware.PumpMemory, itp_physics.PumpPhysics]
            state = parse_state(model, setup.saved, itp_wire.FAMILY, setup.serial)
            memory, physics, self.serial = state.firmware, state.body, state.serial
            born_ms, t_ms, horizon_ms = state.born_ms, state.t_ms, state.horizon_ms
        self.body = PumpBody(
            TruthReplayed(setup.truth), born_ms=born_ms, t_ms=t_ms, physics=physics
        )
        self.body.advance(horizon_ms)
        self.body.truth = setup.truth
        self.identity = _identity(self.serial, setup.speed, born_ms)
        self.converse = partial(Conversation, setup.key_of(self.serial), setup.draw)
        self._boot(memory)

    def _boot(self, memory: itp_firmware.PumpMemory) -> None:
        self.firmware: itp_firmware.PumpFirmware = itp_firmware.PumpFirmware(
            self.identity, memory, self.body, self.converse()
        )

    @property
    def quiet(self) -> bool:
        """Always: a pump has no lease, it would go on for ever."""
        return True

    def state(self, horizon_ms: int) -> str:
        """The text of the state file."""
        state = DeviceState[itp_firmware.PumpMemory, itp_physics.PumpPhysics](
            family=itp_wire.FAMILY,
            serial=self.serial,
            born_ms=self.identity.born_ms,
            t_ms=self.body.t_ms,
            horizon_ms=horizon_ms,
            firmware=self.firmware.memory,
            body=self.body.physics(),
        )
        return state.model_dump_json()

    def break_down(self, fault: PlannedFault) -> None:
        """Motor, strokes, outlet, clock, battery, reservoir and the patient's thumb."""
        match fault.name:
            case "motor_stall":
                self._break(stalled=True)
            case "occlusion":
                self._break(occluded=True)
            case "over_delivery":
                self._break(gain=_OVER_DELIVERY)
            case "under_delivery":
                self._break(gain=_UNDER_DELIVERY)
            case "free_flow":
                self._break(free_flow=True)
            case "clock_drift":
                self._break(clock_ahead=self.body.faults.clock_ahead + _CLOCK_JUMP_MS)
            case "reservoir_offset":
                self._break(miscount=_MISCOUNT_NL)
            case "battery_reset":
                self.firmware.lose_program()
                self.restart()
            case "empty_reservoir":
                self.body.lose_reservoir()
                self.firmware.collect()
            case "press_button":
                self.firmware.press()
            case "battery_eri":
                self._break(weak=True)
            case "battery_end":
                self._break(spent=True)
                self.firmware.lose_power()
            case "memory_error":
                self.firmware.wear_out()
            case "heal":
                self.firmware.memory.worn = False
                self.body.set_faults(itp_physics.BodyFaults())

    def _break(self, **update: int) -> None:
        self.body.set_faults(self.body.faults.model_copy(update=update))

    def press(self) -> bool:
        """The patient presses the button; tells whether a bolus begins."""
        return self.firmware.press()

    def altered(self, program: bytes) -> bytes:
        """A program that is off by one step."""
        return self.firmware.altered(program)

    def end(self) -> None:
        """One more line, so that the final volume is known."""
        self.body.final_line()


def _identity(serial: str, speed: int, born_ms: int) -> DeviceIdentity:
    calibration = f"CAL-{sha256(serial.encode()).hexdigest()[:8]}"
    return DeviceIdentity(serial=serial, calibration=calibration, speed=speed, born_ms=born_ms)


_COMMON_REQUESTS: Mapping[type[Message], str] = {
    Identify: "identify",
    Open: "open",
    OpenSealed: "open",
    Prove: "prove",
    Read: "read",
    Stage: "stage",
    Commit: "commit",
    AskOutcome: "outcome",
    Stop: "stop",
    AskStatus: "status",
    AskEvent: "event",
}


@dataclass(frozen=True, slots=True)
class MachineKind:
    """A machine by name: its messages, what faults files call its requests, and its maker."""

    name: str
    catalogue: Catalogue
    requests: Mapping[type[Message], str]
    make: Callable[[Setup], Machine]


MACHINES: Mapping[str, MachineKind] = {
    kind.name: kind
    for kind in (
        MachineKind(
            "stimulator",
            Catalogue(scs_wire.MESSAGES),
            {
                **_COMMON_REQUESTS,
                scs_wire.Start: "start",
                scs_wire.SetAmplitude: "amplitude",
                scs_wire.LowerAmplitude: "lower",
                scs_wire.Renew: "renew",
                scs_wire.Measure: "measure",
                scs_wire.AskImpedance: "impedance",
            },
            StimulatorMachine,
        ),
        MachineKind(
            "pump",
            Catalogue(itp_wire.MESSAGES),
            {**_COMMON_REQUESTS, itp_wire.Bolus: "bolus", itp_wire.Prime: "prime"},
            PumpMachine,
        ),
    )
}


def machine_kind(name: str) -> MachineKind:
    """The kind of machine of a name; raises UsageError."""
    kind = MACHINES.get(name)
    if kind is None:
        raise UsageError(f"the simulator has no {name!r}, only {' and '.join(MACHINES)}")
    return kind
