"""The physics of a pump: what leaves its reservoir and what reaches the catheter's tip.

Volumes are counted in *units* of ``nL/day x ms x ppm``: 1 nL is 86,400,000 x 1,000,000 units, so
a flow of whole nL/day over whole ms, with an accuracy error in ppm, is a whole number and nothing
is divided until somebody reads. Mass is counted in units times ng/mL; 1 nL x 1 ng/mL = 1 fg.
Readings round up.

Time runs in whole ms; an event inside a ms (the reservoir is empty, another mix arrives at the
tip, a bridge is over) belongs to the end of that ms, the volumes and masses stay exact.

The motor counts its own strokes: a bolus and a bridge end by that count, whatever really left the
pump. A motor that does not turn, or turns in an empty reservoir, counts nothing.
"""

from collections.abc import Sequence

from firmware_bridge.families.body import Truth
from firmware_bridge.families.itp.line import Line, Mix
from firmware_bridge.families.itp.physics import (
    DAY_MS,
    FREE_FLOW,
    MINUTE_MS,
    PPM,
    TUBING_NL,
    UNITS_PER_NL,
    BodyEvent,
    BodyFaults,
    BolusKind,
    PumpPhysics,
    RunningBolus,
)
from firmware_bridge.families.itp.wire import WireBridge, WireStep


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
        self._line = Line(state.line, state.tip_mass)
        self._delivered = state.delivered
        self._turned = state.turned
        self._in_place = state.in_place
        self._schedule = list(state.schedule)
        self._bridge = state.bridge
        self._offset_ms = state.utc_offset_min * MINUTE_MS
        self._halted = state.halted
        self._boluses = list(state.boluses)
        self._events: list[BodyEvent] = []
        self._next: tuple[int | None] | None = None
        self._basal, self._gain, self._free = self._rates()
        """The schedule's nL/day, the ppm of them that leave, and nL/day that run out unasked: from
        one event to the next nothing moves them, so they are worked out at each change."""
        self._shown = self._flow_key()

    # --- what can be seen ----------------------------------------------------------------------

    @property
    def flowing(self) -> bool:
        """Whether anything leaves the pump now."""
        return self._reservoir > 0 and (self._turning or self._free > 0)

    @property
    def stalled(self) -> bool:
        """Whether the motor should turn and does not."""
        return self._commanded and self.faults.stalled and not self.faults.spent

    @property
    def occluded(self) -> bool:
        """Whether the motor turns against a closed outlet."""
        faults = self.faults
        return self._commanded and faults.occluded and not (faults.stalled or faults.spent)

    @property
    def flow(self) -> int:
        """What flows now in nL/day by the pump's flow sensor, rounded up."""
        if not self._reservoir:
            return 0
        turning = self._basal + sum(-(-b.volume * DAY_MS // b.over) for b in self._boluses)
        return -(-turning * self._gain // PPM) + self._free

    @property
    def delivered(self) -> int:
        """nL that have left the pump, rounded up."""
        return -(-self._delivered // UNITS_PER_NL)

    @property
    def reservoir(self) -> int:
        """nL left, rounded down."""
        return self._reservoir // UNITS_PER_NL

    @property
    def counted(self) -> int:
        """nL left by the pump's own count."""
        return self.reservoir + self.faults.miscount

    @property
    def bridge_left(self) -> int:
        """nL that the bridge under way still has to move by the motor's count, rounded up."""
        return -(-self._bridge_turns_left // DAY_MS)

    @property
    def settling(self) -> int:
        """nL to move after a bridge until all of the old mix has left, by the worst stroke."""
        return -(-max(0, self._in_place - self._turned) // DAY_MS) - self.bridge_left

    @property
    def filled(self) -> bool:
        """Whether the pump has ever been filled."""
        return bool(self._line)

    @property
    def tip_mass_fg(self) -> dict[str, int]:
        """Drug that has left the tip, fg, rounded up."""
        return {name: -(-mass // UNITS_PER_NL) for name, mass in self._line.tip_mass.items()}

    def bolus(self, kind: BolusKind) -> RunningBolus | None:
        """The bolus of a kind that is under way."""
        return next((bolus for bolus in self._boluses if bolus.kind == kind), None)

    def take_events(self) -> list[BodyEvent]:
        """What happened by itself since the last call."""
        events, self._events = self._events, []
        return events

    def physics(self) -> PumpPhysics:
        """The body as it is now."""
        return PumpPhysics(
            reservoir=self._reservoir,
            mix=self._mix,
            line=self._line.segments,
            delivered=self._delivered,
            turned=self._turned,
            in_place=self._in_place,
            tip_mass=self._line.tip_mass,
            schedule=self._schedule,
            bridge=self._bridge,
            utc_offset_min=self._offset_ms // MINUTE_MS,
            halted=self._halted,
            boluses=self._boluses,
            accuracy=self._accuracy,
            faults=self.faults,
        )

    # --- what can be done ----------------------------------------------------------------------

    def fill(
        self, volume: int, mix: Mix, *, catheter: int, primed: bool, before: Mix | None = None
    ) -> None:
        """Empties the reservoir and fills it with ``volume`` nL of ``mix``.

        The first fill ever also fills the line: with ``before``, by default the mix, if it was
        primed, else with carrier. Later fills leave in the line what is in it.
        """
        self._reservoir = volume * UNITS_PER_NL
        self._dry = not volume
        self._mix = mix
        self._turned = self._in_place = 0
        if not self._line:
            held = mix if before is None else before
            self._line.fill((TUBING_NL + catheter) * UNITS_PER_NL, held if primed else ())
        self._line.expect(mix)
        self._changed()

    def follow(
        self,
        schedule: Sequence[WireStep],
        utc_offset_min: int,
        bridge: WireBridge | None = None,
        in_place: int = 0,
    ) -> None:
        """Delivers this basal from now on, steps in order of their minutes.

        Before it comes the bridge's basal, until the bridge's volume has left since the fill;
        ``in_place`` is the volume in nL after which the old mix has left for sure.
        """
        self._schedule = list(schedule)
        self._offset_ms = utc_offset_min * MINUTE_MS
        self._bridge = bridge
        self._in_place = max(self._in_place, in_place * DAY_MS)
        self._halted = False
        self._end_moves_when_over()
        self._changed()

    def forget_program(self) -> None:
        """Stops the motor, which has nothing to follow any more."""
        self._schedule, self._bridge = [], None
        self.halt()

    def halt(self) -> None:
        """Stops the motor; a bridge keeps what it has left to move."""
        self._halted = True
        self.end_boluses()

    def begin_bolus(self, kind: BolusKind, volume: int, over: int) -> None:
        """Delivers ``volume`` nL evenly over ``over`` ms on top of everything else."""
        self._boluses.append(RunningBolus(kind=kind, volume=volume, over=over, since=self.t_ms))
        self._changed()

    def end_boluses(self) -> None:
        """Ends every bolus for good; each becomes an event."""
        self._events += [BodyEvent("cut", self.t_ms, bolus) for bolus in self._boluses]
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
        """The next basal border, end of a bolus or bridge, empty reservoir or mix at the tip."""
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
        border = min([bolus.ends for bolus in self._boluses] + self._borders(), default=None)
        if not self._reservoir:
            return border
        change = self._line.until_change(self._mix)
        wanted = self._reservoir if change is None else min(self._reservoir, change)
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
        duration = to_ms - self.t_ms
        if not duration:
            return
        moved = min(self._pumped(duration), self._reservoir)
        if self._counting:
            self._turned += self._wanted(duration)
            for bolus in self._boluses:
                bolus.turned += bolus.programmed(to_ms) - bolus.programmed(self.t_ms)
        self.t_ms = to_ms
        if moved:
            self._reservoir -= moved
            self._delivered += moved
            self._line.push(moved, self._mix)

    def _happen(self) -> None:
        """Everything that is due now, and the truth of it."""
        for bolus in [bolus for bolus in self._boluses if bolus.ends <= self.t_ms]:
            self._boluses.remove(bolus)
            whole = bolus.turned == bolus.volume * DAY_MS
            self._events.append(BodyEvent("done" if whole else "cut", self.t_ms, bolus))
        self._end_moves_when_over()
        if not self._reservoir and not self._dry:
            self._run_dry()
        self._changed()

    def _end_moves_when_over(self) -> None:
        if self._bridge is not None and not self._bridge_turns_left:
            self._bridge = None
            self._events.append(BodyEvent("bridged", self.t_ms))
        if self._in_place and self._turned >= self._in_place:
            self._in_place = 0
            self._events.append(BodyEvent("in place", self.t_ms))

    def _run_dry(self) -> None:
        self._dry = True
        self._events.append(BodyEvent("empty", self.t_ms))
        self._events += [BodyEvent("cut", self.t_ms, bolus) for bolus in self._boluses]
        self._boluses.clear()

    # --- flow ----------------------------------------------------------------------------------

    @property
    def _commanded(self) -> bool:
        return self._basal > 0 or bool(self._boluses)

    @property
    def _turning(self) -> bool:
        return self._commanded and self._gain > 0

    @property
    def _counting(self) -> bool:
        """Whether the motor's turns count as strokes."""
        return not (self.faults.stalled or self.faults.spent) and self._reservoir > 0

    def _rates(self) -> tuple[int, int, int]:
        """What the motor is to turn just now, what of it leaves, and what runs out unasked."""
        faults = self.faults
        blocked = faults.stalled or faults.occluded or faults.spent
        gain = 0 if blocked else self._accuracy * faults.gain // PPM
        free = FREE_FLOW if faults.free_flow and not faults.occluded else 0
        return self._scheduled(), gain, free

    def _wanted(self, duration: int) -> int:
        """nL/day x ms that the motor should turn in ``duration`` ms if no border lies within."""
        turns = self._basal * duration
        for bolus in self._boluses:
            turns += bolus.programmed(self.t_ms + duration) - bolus.programmed(self.t_ms)
        return turns

    def _pumped(self, duration: int) -> int:
        """Units that flow in ``duration`` ms from now if no border lies within."""
        if not self._reservoir:
            return 0
        return self._wanted(duration) * self._gain + self._free * PPM * duration

    def _local_ms(self) -> int:
        """Since midnight of the pump's local day, by its own clock."""
        clock_ms = self._born_ms + self.t_ms + self.faults.clock_ahead
        return (clock_ms + self._offset_ms) % DAY_MS

    @property
    def _steps(self) -> Sequence[WireStep]:
        """The basal that is followed now."""
        return self._schedule if self._bridge is None else self._bridge.basal

    def _scheduled(self) -> int:
        steps = self._steps
        if self._halted or not steps:
            return 0
        minute = self._local_ms() // MINUTE_MS
        started = [step.flow for step in steps if step.start <= minute]
        return started[-1] if started else steps[-1].flow

    @property
    def _bridge_turns_left(self) -> int:
        """nL/day x ms until the bridge is over."""
        if self._bridge is None:
            return 0
        return max(0, self._bridge.volume * DAY_MS - self._turned)

    def _borders(self) -> list[int]:
        """When the basal is another one."""
        if self._halted:
            return []
        borders = []
        if len(self._steps) > 1:
            now = self._local_ms()
            waits = [(step.start * MINUTE_MS - now) % DAY_MS or DAY_MS for step in self._steps]
            borders.append(self.t_ms + min(waits))
        basal = self._basal
        for left in (self._bridge_turns_left, self._in_place - self._turned):
            if left > 0 and self._counting and basal:
                borders.append(self.t_ms - (-left // basal))
        return borders

    # --- truth ---------------------------------------------------------------------------------

    def _flow_key(self) -> object:
        """What a line of truth is about: equal keys need no line between them."""
        if not self.flowing:
            return None
        boluses = [(bolus.volume, bolus.over) for bolus in self._boluses]
        turning = (self._basal, boluses, self._gain) if self._turning else None
        return (turning, self._free, self._line.tip)

    def _changed(self) -> None:
        self._next = None
        self._basal, self._gain, self._free = self._rates()
        key = self._flow_key()
        if key != self._shown:
            self._shown = key
            self._write()

    def _write(self) -> None:
        self.truth.write(
            {"t_ms": self.t_ms, "volume_nL": self.delivered, "tip_mass_fg": self.tip_mass_fg}
        )
