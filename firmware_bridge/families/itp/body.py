"""The physics of a pump: what leaves its reservoir and what reaches the catheter's tip.

Volumes are counted in *units* of ``nL/day x ms x ppm``: 1 nL is 86,400,000 x 1,000,000 units, so
a flow of whole nL/day over whole ms, with an accuracy error in ppm, is a whole number and nothing
is divided until somebody reads. Mass is counted in units times ng/mL; 1 nL x 1 ng/mL = 1 fg.
Readings round up.

Between the reservoir and the tip lies the line (tubing and catheter), first in, first out: a
queue of segments, each with its own mix of drugs. What goes in at one end pushes the same volume
out at the other. Time runs in whole ms; an event inside a ms (the reservoir is empty, another mix
arrives at the tip) belongs to the end of that ms, the volumes and masses stay exact.
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from firmware_bridge.families.body import Stored, Truth
from firmware_bridge.families.itp.wire import WireStep

DAY_MS = 86_400_000
MINUTE_MS = 60_000
PPM = 1_000_000
UNITS_PER_NL = DAY_MS * PPM
TUBING_NL = 199_000
FREE_FLOW = 100_000_000
"""nL/day that run out of a pump whose valve no longer closes, whatever its motor does."""

Mix = tuple[tuple[str, int], ...]
"""Drugs and their concentrations in ng/mL; empty: carrier without drug."""
BolusKind = Literal["host", "patient"]
BodyEvent = Literal["host-done", "patient-done", "host-cut", "patient-cut", "empty"]


class Segment(Stored):
    """A stretch of the line that holds one mix."""

    units: int
    mix: Mix


class RunningBolus(Stored):
    """A bolus under way since ``since``; ``turned`` is nL/day x ms that the motor has pumped."""

    kind: BolusKind
    volume: int
    over: int
    since: int
    turned: int = 0

    @property
    def ends(self) -> int:
        """The ms at which all of it has been delivered."""
        return self.since + self.over

    def programmed(self, at_ms: int) -> int:
        """What the program wants delivered by ``at_ms``, nL/day x ms."""
        return self.volume * DAY_MS * (at_ms - self.since) // self.over

    @property
    def delivered(self) -> int:
        """nL by the pump's own count of strokes, rounded up."""
        return -(-self.turned // DAY_MS)


class BodyFaults(Stored):
    """What is broken. ``gain`` in ppm is what a stroke gives against what it should."""

    stalled: bool = False
    free_flow: bool = False
    gain: int = PPM


class PumpPhysics(Stored):
    """The whole body, for the state file. ``line[0]`` is at the tip, ``accuracy`` in ppm."""

    reservoir: int = 0
    mix: Mix = ()
    line: list[Segment] = Field(default_factory=list)
    delivered: int = 0
    tip_mass: dict[str, int] = Field(default_factory=dict)
    schedule: list[WireStep] = Field(default_factory=list)
    utc_offset_min: int = 0
    halted: bool = True
    boluses: list[RunningBolus] = Field(default_factory=list)
    accuracy: int = PPM
    faults: BodyFaults = BodyFaults()


class PumpBody:
    """Reservoir, motor, line and tip, with the pump's schedule and boluses turning the motor."""

    def __init__(
        self,
        truth: Truth,
        *,
        born_ms: int,
        t_ms: int = 0,
        physics: PumpPhysics | None = None,
    ) -> None:
        state = physics or PumpPhysics()
        self.t_ms = t_ms
        self.truth = truth
        self.faults = state.faults
        self._born_ms = born_ms
        self._accuracy = state.accuracy
        self._reservoir = state.reservoir
        self._dry = not state.reservoir
        self._mix = state.mix
        self._line = deque(state.line)
        self._delivered = state.delivered
        self._tip_mass = dict(state.tip_mass)
        self._schedule = list(state.schedule)
        self._offset_ms = state.utc_offset_min * MINUTE_MS
        self._halted = state.halted
        self._boluses = list(state.boluses)
        self._events: list[tuple[int, BodyEvent, int]] = []
        self._next: tuple[int | None] | None = None
        self._shown = self._flow_key()

    # --- what can be seen ----------------------------------------------------------------------

    @property
    def flowing(self) -> bool:
        """Whether anything leaves the pump now."""
        return self._reservoir > 0 and (self._turning or self.faults.free_flow)

    @property
    def stalled(self) -> bool:
        """Whether the motor should turn and does not."""
        return self._commanded and self.faults.stalled

    @property
    def flow(self) -> int:
        """What flows now in nL/day by the pump's flow sensor, rounded up."""
        if not self._reservoir:
            return 0
        turning = self._basal() + sum(-(-b.volume * DAY_MS // b.over) for b in self._boluses)
        free = FREE_FLOW if self.faults.free_flow else 0
        return -(-turning * self._gain() // PPM) + free

    @property
    def delivered(self) -> int:
        """nL that have left the pump, rounded up."""
        return -(-self._delivered // UNITS_PER_NL)

    @property
    def reservoir(self) -> int:
        """nL left, rounded down."""
        return self._reservoir // UNITS_PER_NL

    @property
    def filled(self) -> bool:
        """Whether the pump has ever been filled."""
        return bool(self._line)

    @property
    def tip_mass_fg(self) -> dict[str, int]:
        """Drug that has left the tip, fg, rounded up."""
        return {name: -(-mass // UNITS_PER_NL) for name, mass in self._tip_mass.items()}

    def bolus(self, kind: BolusKind) -> RunningBolus | None:
        """The bolus of a kind that is under way."""
        return next((bolus for bolus in self._boluses if bolus.kind == kind), None)

    def take_events(self) -> list[tuple[int, BodyEvent, int]]:
        """What happened by itself since the last call: time, what, nL of the bolus it ended."""
        events, self._events = self._events, []
        return events

    def physics(self) -> PumpPhysics:
        """The body as it is now."""
        return PumpPhysics(
            reservoir=self._reservoir,
            mix=self._mix,
            line=list(self._line),
            delivered=self._delivered,
            tip_mass=self._tip_mass,
            schedule=self._schedule,
            utc_offset_min=self._offset_ms // MINUTE_MS,
            halted=self._halted,
            boluses=self._boluses,
            accuracy=self._accuracy,
            faults=self.faults,
        )

    # --- what can be done ----------------------------------------------------------------------

    def fill(self, volume: int, mix: Mix, *, catheter: int, primed: bool) -> None:
        """Empties the reservoir and fills it with ``volume`` nL of ``mix``.

        The first fill ever also fills the line: with the mix if it was primed, else with carrier.
        Later fills leave in the line what is in it.
        """
        self._reservoir = volume * UNITS_PER_NL
        self._dry = not volume
        self._mix = mix
        if not self._line:
            length = (TUBING_NL + catheter) * UNITS_PER_NL
            self._line.append(Segment(units=length, mix=mix if primed else ()))
        for name, _ in mix:
            self._tip_mass.setdefault(name, 0)
        self._changed()

    def follow(self, schedule: Sequence[WireStep], utc_offset_min: int) -> None:
        """Delivers this basal from now on, steps in order of their minutes."""
        self._schedule = list(schedule)
        self._offset_ms = utc_offset_min * MINUTE_MS
        self._halted = False
        self._changed()

    def halt(self) -> None:
        """Stops the motor."""
        self._halted = True
        self.end_boluses()

    def begin_bolus(self, kind: BolusKind, volume: int, over: int) -> None:
        """Delivers ``volume`` nL evenly over ``over`` ms on top of everything else."""
        self._boluses.append(RunningBolus(kind=kind, volume=volume, over=over, since=self.t_ms))
        self._changed()

    def end_boluses(self) -> None:
        """Ends every bolus for good; each becomes an event."""
        for bolus in self._boluses:
            self._events.append((self.t_ms, _cut(bolus), bolus.delivered))
        self._boluses.clear()
        self._changed()

    def set_faults(self, faults: BodyFaults) -> None:
        """Breaks or heals the body."""
        self.faults = faults
        self._changed()

    def lose_reservoir(self) -> None:
        """The reservoir is suddenly empty."""
        self._reservoir = 0
        self._run_dry()
        self._changed()

    def final_line(self) -> None:
        """Writes the truth as it stands, at the end of the simulation."""
        self._write()

    # --- time ----------------------------------------------------------------------------------

    def next_event(self) -> int | None:
        """The next basal border, end of a bolus, empty reservoir or new mix at the tip."""
        if self._next is None:
            self._next = (self._find_next(),)
        return self._next[0]

    def advance(self, to_ms: int) -> None:
        """Runs to ``to_ms``, from event to event."""
        while (due := self.next_event()) is not None and due <= to_ms:
            self._pass(due)
            self._happen()
        self._pass(to_ms)

    def _find_next(self) -> int | None:
        border = min([bolus.ends for bolus in self._boluses] + self._next_border(), default=None)
        wanted = self._reservoir
        if self._line and (len(self._line) > 1 or self._line[0].mix != self._mix):
            wanted = min(wanted, self._line[0].units)
        if not wanted:
            return border
        return self._time_to_pump(wanted, border)

    def _time_to_pump(self, wanted: int, border: int | None) -> int | None:
        """The first ms at which ``wanted`` units have flowed, or ``border`` if that is sooner."""
        if border is None:
            rate = self._pumped(1)
            return self.t_ms - (-wanted // rate) if rate else None
        low, high = 0, border - self.t_ms
        if self._pumped(high) < wanted:
            return border
        while high - low > 1:
            middle = (low + high) // 2
            if self._pumped(middle) < wanted:
                low = middle
            else:
                high = middle
        return self.t_ms + high

    def _pass(self, to_ms: int) -> None:
        """Moves the fluid for the time to ``to_ms``, in which no border lies."""
        if to_ms == self.t_ms:
            return
        moved = min(self._pumped(to_ms - self.t_ms), self._reservoir)
        if not self.faults.stalled:
            for bolus in self._boluses:
                bolus.turned += bolus.programmed(to_ms) - bolus.programmed(self.t_ms)
        self.t_ms = to_ms
        if moved:
            self._push(moved)

    def _happen(self) -> None:
        """Everything that is due now, and the truth of it."""
        for bolus in [bolus for bolus in self._boluses if bolus.ends <= self.t_ms]:
            self._boluses.remove(bolus)
            whole = bolus.turned == bolus.volume * DAY_MS
            self._events.append(
                (self.t_ms, _done(bolus) if whole else _cut(bolus), bolus.delivered)
            )
        if not self._reservoir and not self._dry:
            self._run_dry()
        self._changed()

    def _run_dry(self) -> None:
        self._dry = True
        self._events.append((self.t_ms, "empty", 0))
        for bolus in self._boluses:
            self._events.append((self.t_ms, _cut(bolus), bolus.delivered))
        self._boluses.clear()

    # --- flow ----------------------------------------------------------------------------------

    @property
    def _commanded(self) -> bool:
        return self._basal() > 0 or bool(self._boluses)

    @property
    def _turning(self) -> bool:
        return self._commanded and self._gain() > 0

    def _gain(self) -> int:
        return 0 if self.faults.stalled else self._accuracy * self.faults.gain // PPM

    def _pumped(self, duration: int) -> int:
        """Units that flow in ``duration`` ms from now if no border lies in between."""
        if not self._reservoir:
            return 0
        turned = self._basal() * duration
        for bolus in self._boluses:
            turned += bolus.programmed(self.t_ms + duration) - bolus.programmed(self.t_ms)
        free = FREE_FLOW * PPM * duration if self.faults.free_flow else 0
        return turned * self._gain() + free

    def _local_ms(self) -> int:
        return (self._born_ms + self.t_ms + self._offset_ms) % DAY_MS

    def _basal(self) -> int:
        if self._halted or not self._schedule:
            return 0
        minute = self._local_ms() // MINUTE_MS
        started = [step.flow for step in self._schedule if step.start <= minute]
        return started[-1] if started else self._schedule[-1].flow

    def _next_border(self) -> list[int]:
        if self._halted or len(self._schedule) < 2:
            return []
        now = self._local_ms()
        waits = [(step.start * MINUTE_MS - now) % DAY_MS or DAY_MS for step in self._schedule]
        return [self.t_ms + min(waits)]

    def _push(self, units: int) -> None:
        """Moves ``units`` from the reservoir into the line, and as much out of its tip."""
        self._reservoir -= units
        self._delivered += units
        if self._line[-1].mix == self._mix:
            self._line[-1].units += units
        else:
            self._line.append(Segment(units=units, mix=self._mix))
        while units:
            tip = self._line[0]
            out = min(units, tip.units)
            for name, concentration in tip.mix:
                self._tip_mass[name] += out * concentration
            tip.units -= out
            units -= out
            if not tip.units:
                self._line.popleft()

    # --- truth ---------------------------------------------------------------------------------

    def _flow_key(self) -> object:
        """What a line of truth is about: equal keys need no line between them."""
        if not self.flowing:
            return None
        boluses = [(bolus.volume, bolus.over) for bolus in self._boluses]
        tip = self._line[0].mix if self._line else ()
        turning = (self._basal(), boluses, self._gain()) if self._turning else None
        return (turning, self.faults.free_flow, tip)

    def _changed(self) -> None:
        self._next = None
        key = self._flow_key()
        if key != self._shown:
            self._shown = key
            self._write()

    def _write(self) -> None:
        self.truth.write(
            {"t_ms": self.t_ms, "volume_nL": self.delivered, "tip_mass_fg": self.tip_mass_fg}
        )


def _done(bolus: RunningBolus) -> BodyEvent:
    return "host-done" if bolus.kind == "host" else "patient-done"


def _cut(bolus: RunningBolus) -> BodyEvent:
    return "host-cut" if bolus.kind == "host" else "patient-cut"
