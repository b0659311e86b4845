"""The physics of a stimulator: what current flows through which contact, in integers.

Amplitudes move in steps of 100 uA. A rise follows the program's slope: step k of a rise that
began at t0 comes at ``t0 + ceil(k * 100 uA * ramp / height)``, so the staircase touches
the slope from below and a rise from zero to the set amplitude (where that is 0, to the ceiling)
takes exactly ``ramp`` ms. A fall is quick and the same for all programs: 25.5 mA/s with the first
step at once, so every fall ends within 1 s. A pause of a cycle is zero current at once; after it
each area rises again from zero.

The current that really flows in an area is the largest, up to the set level, that the compliance
voltage drives: ``I * (highest cathode share x its impedance + the same of the anodes)``. Contacts
share it by their per cent. A contact in several areas gets their pulses one after the other; its
line of truth shows the pulse with the largest charge, and ``pulses`` counts all of the period.
Truth names electrodes where they really are, and adds ``net_charge_pC`` where a recharge does not
take back what that pulse gave.
"""

from collections.abc import Sequence
from random import Random
from typing import Literal

from firmware_bridge.families.body import Truth, TruthLine
from firmware_bridge.families.scs.physics import (
    CASE,
    CASE_OHMS,
    COMPLIANCE_UV,
    METER_MAX_OHMS,
    NOMINAL_OHMS,
    SPREAD_OHMS,
    STEP_UA,
    TEST_RATE_MHZ,
    UNRETURNED_PERCENT,
    Area,
    BodyFaults,
    ImpedanceTest,
    StimulatorPhysics,
    next_step,
)
from firmware_bridge.families.scs.wire import WireProgram

BodyEvent = Literal["off", "measured"]
Shown = tuple[int, int, int, int, int]
"""What an electrode shows: amplitude in uA, width in us, rate in mHz, pulses, intra-rate in mHz."""
_NOTHING: Shown = (0, 0, 0, 0, 0)
_UNKNOWN: Shown = (1, 0, 0, 0, 0)
"""No contact ever shows this: what it shows next is written, whatever it is."""


class StimulatorBody:
    """Electrodes, a current source for each area, and the tissue between."""

    def __init__(
        self,
        truth: Truth,
        *,
        contacts: int = 16,
        seed: int = 0,
        t_ms: int = 0,
        physics: StimulatorPhysics | None = None,
    ) -> None:
        physics = physics or StimulatorPhysics()
        random = Random(f"impedances {seed}")
        self.t_ms = t_ms
        self.contacts = contacts
        self.ohms = [CASE_OHMS] + [
            NOMINAL_OHMS + random.randint(-SPREAD_OHMS, SPREAD_OHMS) for _ in range(contacts)
        ]
        self.limited = False
        """Whether compliance has held an area below its level since the start."""
        self.faults = physics.faults
        self._true_ohms = list(self.ohms)
        self._broken = dict(physics.broken)
        self._find_ohms()
        self._truth = truth
        self._pulse_time = physics.pulse_time
        self._program: WireProgram | None = None
        self._areas: list[Area] = []
        self._stopping = False
        self._paused = False
        self._cycle_since = 0
        self._test: ImpedanceTest | None = None
        self._shown: dict[int, Shown] = {}
        self._events: list[tuple[int, BodyEvent]] = []
        self._next: int | None = None
        self._pulse_rate = 0
        """All pulses that flow now, in mHz. From one event to the next nothing moves these two, so
        they are worked out at each change."""

    # --- what can be seen ----------------------------------------------------------------------

    @property
    def state(self) -> Literal["off", "rising", "on", "paused", "falling"]:
        """As in `StimulatorStatus`."""
        if self._program is None:
            return "off"
        if self._stopping:
            return "falling"
        if self._paused:
            return "paused"
        if any(area.level > area.target for area in self._areas):
            return "falling"
        return "rising" if any(area.level < area.target for area in self._areas) else "on"

    @property
    def stopping(self) -> bool:
        """Whether the output is on its way to zero for good."""
        return self._stopping

    @property
    def stuck(self) -> bool:
        """Whether a level does not follow its target."""
        return self.faults.stuck and any(area.level != area.target for area in self._areas)

    @property
    def testing(self) -> bool:
        """Whether an impedance measurement is under way."""
        return self._test is not None

    @property
    def flowing(self) -> bool:
        """Whether current flows or will by itself."""
        return self._program is not None or self._test is not None

    @property
    def targets(self) -> tuple[int, ...]:
        """The set levels of the running program's areas in uA."""
        return tuple(area.target for area in self._areas)

    @property
    def amplitudes(self) -> list[int]:
        """The current that flows in each area of the running program, uA."""
        return [self._real(area) for area in self._areas]

    @property
    def pulses(self) -> int:
        """Pulses since the device was made: whole periods of on-time times pulses a period."""
        return self._pulse_time // 1_000_000

    def take_events(self) -> list[tuple[int, BodyEvent]]:
        """What happened by itself since the last call, with its time."""
        events, self._events = self._events, []
        return events

    def physics(self) -> StimulatorPhysics:
        """What must outlive the process now."""
        live: set[int] = set(self._shown)
        for area in self._areas:
            live.update(self._electrode(contact) for contact, _ in area.shares)
        if self._test is not None:
            live.update(range(self.contacts + 1))
        return StimulatorPhysics(
            pulse_time=self._pulse_time,
            live=sorted(live),
            broken=self._broken,
            faults=self.faults,
        )

    # --- what can be done ----------------------------------------------------------------------

    def start(self, program: WireProgram, amplitudes: Sequence[int]) -> None:
        """Rises from zero to ``amplitudes``, one for each area; only when off."""
        self._program = program
        self._areas = [
            Area(
                shares=tuple((item.contact, item.share) for item in area.electrodes),
                pulse_width=area.pulse_width,
                height=area.rise_height,
                rise_ms=program.ramp,
                target=amplitude,
                since=self.t_ms,
            )
            for area, amplitude in zip(program.areas, amplitudes, strict=True)
        ]
        self._stopping = self._paused = self.limited = False
        self._cycle_since = self.t_ms
        self._happen()

    def set_targets(self, amplitudes: Sequence[int]) -> None:
        """New levels for the running program's areas; an area under way keeps its pace."""
        for area, target in zip(self._areas, amplitudes, strict=True):
            same_way = area.level < min(area.target, target) or area.level > max(
                area.target, target
            )
            if not same_way:
                area.base, area.since = area.level, self.t_ms
            area.target = target
        self._happen()

    def ramp_down(self) -> None:
        """Falls to zero within 1 s and stays off; a measurement ends at once."""
        self._test = None
        if self._program is not None and not self._stopping:
            self.set_targets([0] * len(self._areas))
            self._stopping = True
        self._happen()

    def cut(self) -> None:
        """Power is lost: all current is zero at once."""
        self._test = None
        self._switch_off()
        self._events.clear()
        self._changed()

    def forget_contacts(self, live: Sequence[int]) -> None:
        """Shows the truth that contacts which may have carried current in a crash carry none."""
        for contact in live:
            self._shown[contact] = _UNKNOWN
        self._show()

    def measure(self, current: int, pulse_width: int, pulses: int) -> None:
        """Sends test pulses through each contact in turn, against the case; only when off."""
        self._test = ImpedanceTest(self.t_ms, current, pulse_width, pulses)
        self._happen()

    def read_impedances(self) -> list[int]:
        """Ohms of each contact as the meter reads them."""
        return [min(ohms, METER_MAX_OHMS) for ohms in self.ohms[1:]]

    def break_contact(self, contact: int, ohms: int) -> None:
        """Gives a contact another impedance."""
        self._broken[contact] = ohms
        self._find_ohms()
        self._changed()

    def heal(self) -> None:
        """Mends what is broken, contact by contact and in the body."""
        self._broken.clear()
        self.set_faults(BodyFaults())

    def set_faults(self, faults: BodyFaults) -> None:
        """Breaks or mends the body; levels and cycle go on from where they are."""
        if self.faults.stuck:
            self._cycle_since = self.t_ms
            for area in self._areas:
                area.base, area.since = area.level, self.t_ms
        if faults.unbalanced != self.faults.unbalanced:
            self._shown = dict.fromkeys(self._shown, _UNKNOWN)
        self.faults = faults
        self._find_ohms()
        self._happen()

    def _find_ohms(self) -> None:
        """What each contact, by the device's name for it, has for an impedance."""
        for contact in range(1, self.contacts + 1):
            own = self._true_ohms[self._electrode(contact)]
            drifted = own * 3 // 2 if self.faults.drifted else own
            self.ohms[contact] = self._broken.get(contact, drifted)

    def _electrode(self, contact: int) -> int:
        """Where a contact of the device's really is: elsewhere if the leads are interchanged."""
        if contact == CASE or not self.faults.crossed:
            return contact
        half = self.contacts // 2
        return contact + half if contact <= half else contact - half

    # --- time ----------------------------------------------------------------------------------

    def next_event(self) -> int | None:
        """The time of the next step, border of a cycle or test contact."""
        return self._next

    def _changed(self) -> None:
        """Works out what holds until the next event, and shows the truth."""
        self._next, self._pulse_rate = self._find_next(), self._find_pulse_rate()
        self._show()

    def _find_next(self) -> int | None:
        if self._test is not None:
            done = (self.t_ms - self._test.since) // self._test.per_contact_ms
            return self._test.since + (done + 1) * self._test.per_contact_ms
        times = []
        if not self._paused:
            times = [time for area in self._areas if (time := self._step(area)) is not None]
        if (border := self._cycle_border()) is not None:
            times.append(border)
        return min(times, default=None)

    def _find_pulse_rate(self) -> int:
        program = self._program
        if program is not None and any(self._flows(area) for area in self._areas):
            return program.rate * program.burst_pulses
        return 0 if self._test is None else TEST_RATE_MHZ

    def advance(self, to_ms: int) -> None:
        """Runs to ``to_ms``, from event to event."""
        while (due := self.next_event()) is not None and due <= to_ms:
            self._pass(due)
            self._happen()
        self._pass(to_ms)

    def _cycle_border(self) -> int | None:
        program = self._program
        if program is None or self._stopping or not program.pause or self.faults.stuck:
            return None
        return self._cycle_since + (program.pause if self._paused else program.stimulate)

    def _pass(self, to_ms: int) -> None:
        self._pulse_time += self._pulse_rate * (to_ms - self.t_ms)
        self.t_ms = to_ms

    def _happen(self) -> None:
        """Everything that is due now, and the truth of it."""
        test = self._test
        if test is not None and self.t_ms - test.since >= test.per_contact_ms * self.contacts:
            self._test = None
            self._events.append((self.t_ms, "measured"))
        border = self._cycle_border()
        if border is not None and border <= self.t_ms:
            self._paused = not self._paused
            self._cycle_since = self.t_ms
            for area in self._areas:
                area.level, area.base, area.since = 0, 0, self.t_ms
        if not self._paused:
            for area in self._areas:
                while (step := self._step(area)) is not None and step <= self.t_ms:
                    area.level += STEP_UA if area.level < area.target else -STEP_UA
        if self._stopping and (self._paused or not any(area.level for area in self._areas)):
            self._switch_off()
            self._events.append((self.t_ms, "off"))
        self._changed()

    def _step(self, area: Area) -> int | None:
        """When an area's level changes next."""
        if area.level == area.target or self.faults.stuck:
            return None
        return area.since if self.faults.steep else next_step(area)

    def _switch_off(self) -> None:
        self._program = None
        self._areas = []
        self._stopping = self._paused = False

    # --- current -------------------------------------------------------------------------------

    def _real(self, area: Area) -> int:
        cathode = max((-share * self.ohms[c] for c, share in area.shares if share < 0), default=0)
        anode = max((share * self.ohms[c] for c, share in area.shares if share > 0), default=0)
        return min(area.level, COMPLIANCE_UV * 100 // max(1, cathode + anode))

    def _flows(self, area: Area) -> bool:
        return self._real(area) > 0

    def _show(self) -> None:
        """Writes a line for each contact whose current is another than the one shown last."""
        now = self._test_currents() if self._test is not None else self._area_currents()
        for contact in sorted({*now, *self._shown}):
            shown = now.get(contact, _NOTHING)
            if shown != self._shown.get(contact, _NOTHING):
                amplitude, width, rate, pulses, intra_rate = shown
                line: TruthLine = {
                    "t_ms": self.t_ms,
                    "contact": "case" if contact == CASE else f"E{contact}",
                    "amplitude_uA": amplitude,
                    "pulse_width_us": width,
                    "rate_mHz": rate,
                    "pulses": pulses,
                    "intra_rate_mHz": intra_rate,
                }
                if net := self._unreturned(amplitude, width):
                    line["net_charge_pC"] = net
                self._truth.write(line)
        self._shown = now

    def _unreturned(self, amplitude: int, width: int) -> int:
        """pC that each pulse leaves behind at an electrode, signed as its first phase."""
        if not self.faults.unbalanced:
            return 0
        left = abs(amplitude) * width * UNRETURNED_PERCENT // 100
        return left if amplitude > 0 else -left

    def _area_currents(self) -> dict[int, Shown]:
        currents: dict[int, Shown] = {}
        program = self._program
        if program is None:
            return currents
        for area in self._areas:
            real = self._real(area)
            self.limited |= real < area.level
            for name, share in area.shares:
                contact = self._electrode(name)
                size = real * abs(share) // 100
                if not size:
                    continue
                pulses = program.burst_pulses
                shape = (size if share > 0 else -size, area.pulse_width)
                if contact in currents:
                    amplitude, width, _, others, _ = currents[contact]
                    pulses += others
                    if abs(amplitude) * width >= size * area.pulse_width:
                        shape = (amplitude, width)
                currents[contact] = (*shape, program.rate, pulses, program.intra_rate)
        return currents

    def _test_currents(self) -> dict[int, Shown]:
        test = self._test
        if test is None:
            return {}
        contact = 1 + (self.t_ms - test.since) // test.per_contact_ms
        drivable = COMPLIANCE_UV // (self.ohms[contact] + self.ohms[CASE])
        real = min(test.current, drivable)
        if not real:
            return {}
        shape = (test.pulse_width, TEST_RATE_MHZ, 1, 0)
        return {self._electrode(contact): (-real, *shape), CASE: (real, *shape)}
