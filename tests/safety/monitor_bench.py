"""A pump on paper for the monitor: its flow by the minute, its meters, and who watches them.

It is written anew: it shares no arithmetic with the judge. Everything is exact in integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from clinical_examples import ITP
from kernel_bench import DAY, IDENTITY, MINUTE, instant, pump_case

from device_profiles.profile import PumpProfile
from device_profiles.quantities import Milliseconds, NanoLitres, NanoLitresPerDay
from safety.alarms import Alarm
from safety.events import Counted, CountState, Event, Intended, Metered, Settled
from safety.granted import Granted, after
from safety.monitor import verdict
from safety.monitor_pump import observe
from safety.monitor_readings import PumpReading, Track
from safety.outputs import BolusOutput, PumpProgram

MIDNIGHT = 20_000 * DAY
"""Of some day of Unix time, UTC."""
PPM = 1_000_000
HONEST = PPM
TOP, BOTTOM = 1_145_000, 855_000
"""The ends of the accuracy of `ITP`, 14.5 %."""
SECOND = 1_000


@dataclass
class Running:
    """A bolus under way."""

    volume: int
    over: int
    since: int


@dataclass
class PaperPump:
    """What a pump does; volumes in nL x day x ppm."""

    program: PumpProgram
    gain: int = HONEST
    free: int = 0
    state: str = "running"
    clock: int = MIDNIGHT
    delivered: int = 0
    reservoir: int = 20_000_000 * DAY * PPM
    boluses: list[Running] = field(default_factory=list)
    presses: int = 0
    bolus_id: int = 0
    leak: int = 0
    alarms: tuple[str, ...] = ()
    shown_flow: int | None = None
    """What a flow sensor that lies says."""

    def basal(self, clock: int) -> int:
        """The step that is latest at or before the minute, else the day's last."""
        if self.state == "halted":
            return 0
        minute = (clock // MINUTE + self.program.utc_offset_min) % 1_440
        return max(self.program.basal, key=lambda s: (s.start <= minute, s.start)).flow

    def advance(self, ms: int) -> None:
        """Minute by minute; boluses to the ms."""
        end = self.clock + ms
        while self.clock < end:
            until = min(end, self.clock // MINUTE * MINUTE + MINUTE)
            moved = self.basal(self.clock) * (until - self.clock)
            for one in list(self.boluses):
                begin, stop = max(self.clock, one.since), min(until, one.since + one.over)
                moved += one.volume * DAY * max(0, stop - begin) // one.over
                if until >= one.since + one.over:
                    self.boluses.remove(one)
                    self.bolus_id = 0
            units = moved * self.gain + self.free * (until - self.clock) * PPM
            self.delivered += units
            self.reservoir -= units + self.leak * (until - self.clock) * PPM
            self.clock = until

    def begin(self, volume: int, over: int, bolus_id: int = 0) -> None:
        """A bolus begins: the host's with its id, else the patient's."""
        self.boluses.append(Running(volume, over, self.clock))
        self.bolus_id = bolus_id
        self.presses += bolus_id == 0

    @property
    def flow(self) -> int:
        """nL/day now, rounded up."""
        if self.shown_flow is not None:
            return self.shown_flow
        flows = self.basal(self.clock) + sum(-(-b.volume * DAY // b.over) for b in self.boluses)
        return -(-flows * self.gain // PPM) + self.free

    def reading(self, at: int) -> PumpReading:
        return PumpReading(
            Milliseconds(at),
            Milliseconds(self.clock),
            self.state,
            NanoLitresPerDay(self.flow),
            NanoLitres(-(-self.delivered // (DAY * PPM))),
            NanoLitres(self.reservoir // (DAY * PPM)),
            self.bolus_id,
            presses=self.presses,
            alarms=self.alarms,
        )


@dataclass
class Vigil:
    """A pump, what the journal grants it, and everything the monitor has said."""

    pump: PaperPump
    granted: Granted
    profile: PumpProfile = ITP
    track: Track = field(default_factory=Track)
    at: int = 0
    heard: list[Event] = field(default_factory=list)
    ids: int = 0

    def look(self) -> tuple[Alarm, ...]:
        """The alarms of a reading now."""
        self.track, alarms = observe(
            self.track, self.pump.reading(self.at), self.granted, self.profile
        )
        return verdict(alarms)

    def codes(self) -> set[str]:
        return {alarm.code for alarm in self.look()}

    def next(self, ms: int) -> tuple[Alarm, ...]:
        """The alarms of the reading after a time."""
        self.pump.advance(ms)
        self.at += ms
        return self.look()

    def wait(self, ms: int, poll: int = SECOND) -> list[tuple[int, str]]:
        """Lets time pass, reading at every poll; when each code came, since the beginning."""
        told: list[tuple[int, str]] = []
        for _ in range(0, ms, poll):
            self.pump.advance(poll)
            self.at += poll
            told += [(self.at, code) for code in sorted(self.codes())]
        return told

    def hear(self, event: Event) -> None:
        self.granted = after(self.granted, event, Milliseconds(self.at))

    def grant(self, volume: int, over: int, outcome: str = "delivered") -> int:
        """A host's bolus is intended, and settled unless its outcome is open; its id."""
        self.ids += 1
        now = instant(self.at)
        self.hear(
            Intended(
                now,
                self.ids,
                "give-bolus",
                (BolusOutput(NanoLitres(volume), Milliseconds(over)),),
                "BENCH-012",
                latest_end=Milliseconds(self.at + over + 5_000),
            )
        )
        if outcome == "delivered":
            self.hear(Settled(now, self.ids, "delivered", "a test"))
        return self.ids

    def count(self, intent_id: int, state: CountState, volume: int) -> None:
        self.hear(Counted(instant(self.at), intent_id, state, NanoLitres(volume)))


def granted_to(program: PumpProgram, **more: object) -> Granted:
    """A journal that has verified a program, and nothing else."""
    return replace(Granted(IDENTITY, program=program), **more)  # type: ignore[arg-type]


def vigil(
    basal: Sequence[tuple[int, int]] = ((0, 6 * 24_000),),
    policy: str = "hold-basal",
    gain: int = HONEST,
    **case: object,
) -> Vigil:
    """A pump at 6,000 nL/h of a drug, watched from its first reading on."""
    program = replace(
        pump_case(basal, **case).program,  # type: ignore[arg-type]
        stop_policy=policy,  # type: ignore[arg-type]
    )
    one = Vigil(PaperPump(program, gain), granted_to(program))
    one.look()
    return one


def metered(at: int, clock: int, delivered: int, reservoir: int, missing: int = 0) -> Metered:
    return Metered(
        instant(at),
        Milliseconds(clock),
        NanoLitres(delivered),
        NanoLitres(reservoir),
        Milliseconds(0),
        NanoLitres(missing),
    )


def first(told: list[tuple[int, str]], code: str) -> int | None:
    """When a code was told first."""
    return next((at for at, one in told if one == code), None)


def quiet(told: list[tuple[int, str]]) -> None:
    """Nothing was told."""
    assert told == []
