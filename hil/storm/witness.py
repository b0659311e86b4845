"""What a device really did: its truth, and each deed of its body with the id that caused it.

The deeds are taken from the body itself, as it is told to act; no reply, no log and no journal is
asked. Times are ms since the device was made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from firmware_bridge.families.body import TruthLine
from firmware_bridge.families.itp.body import PumpBody
from firmware_bridge.simulator.device import SimulatedDevice


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that the body was told to do: ``what`` is the body's word for it.

    ``id`` is the command's that caused it, 0 where none did.
    """

    at: int
    what: str
    id: int = 0
    value: Any = None


class Witness:
    """The truth of one device in memory, with its deeds."""

    def __init__(self) -> None:
        self.lines: list[TruthLine] = []
        self.deeds: list[Deed] = []
        self.renewed: list[int] = []
        """When the lease of an output was begun or prolonged."""
        self.last_ms = -1
        self.now: Callable[[], int] = lambda: 0
        self._handling = 0
        self._device: SimulatedDevice | None = None

    def write(self, line: TruthLine) -> None:
        """Keeps a line of truth."""
        self.lines.append(line)
        self.last_ms = int(str(line["t_ms"]))

    def close(self) -> None:
        """Nothing to do."""

    def note(self, what: str, value: Any = None) -> None:
        """A deed of nobody's command."""
        self.deeds.append(Deed(self.now(), what, self._handling, value))

    # --- watching ----------------------------------------------------------------------------

    def watch(self, device: SimulatedDevice) -> None:
        """Listens to a device's body from now on, through all its resets."""
        self._device = device
        machine: Any = device.machine
        body: Any = machine.body
        self.now = lambda: int(body.t_ms)
        if isinstance(body, PumpBody):
            self._hear(body, "begin_bolus", lambda kind, volume, over: (kind, volume, over))
            self._hear(body, "follow", lambda schedule, offset, *_: (tuple(schedule), offset))
            self._hear(body, "halt", lambda: None)
            self._hear(body, "end_boluses", lambda: None)
        else:
            self._hear(body, "start", lambda program, amplitudes: (program, tuple(amplitudes)))
            self._hear(body, "set_targets", lambda amplitudes: tuple(amplitudes))
            self._hear(body, "ramp_down", lambda: None)
            self._hear(body, "cut", lambda: None)
            self._hear(body, "measure", lambda *pulses: pulses)
        boot = machine._boot

        def boots(memory: Any) -> None:
            self.note("boot")
            boot(memory)
            self._follow_firmware(machine.firmware)

        machine._boot = boots
        self._follow_firmware(machine.firmware)

    def _hear(self, body: Any, name: str, value: Callable[..., Any]) -> None:
        does = getattr(body, name)

        def heard(*args: Any) -> None:
            self.deeds.append(Deed(int(body.t_ms), name, self._handling, value(*args)))
            does(*args)

        setattr(body, name, heard)

    def _follow_firmware(self, firmware: Any) -> None:
        """Knows from here on whose command the firmware carries out, and what it remembers."""
        once, remember, stop = firmware._once, firmware._remember, firmware.stop

        def handles(envelope: Any, command_id: int) -> Any:
            self._handling = command_id
            try:
                return once(envelope, command_id)
            finally:
                self._handling = 0

        def remembers(command_id: int, outcome: Any) -> None:
            if outcome.state != "refused":
                self.deeds.append(Deed(int(firmware.body.t_ms), "acted", command_id))
            remember(command_id, outcome)

        def stops(depth: str) -> None:
            self.note("stop", depth)
            stop(depth)

        if hasattr(firmware, "_lease_end"):
            request = firmware.request

            def requests(message: Any) -> Any:
                reply = request(message)
                if type(reply).__name__ == "Renewed":
                    self.renewed.append(int(firmware.body.t_ms))
                return reply

            firmware.request = requests
            meet = firmware.meet_deadline

            def meets() -> None:
                self.note("lease ended")
                meet()

            firmware.meet_deadline = meets
        firmware._once, firmware._remember, firmware.stop = handles, remembers, stops
