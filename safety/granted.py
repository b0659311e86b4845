"""What the journal says a device may deliver: the monitor's own fold, apart from the kernel's.

It shares no state and no arithmetic with the judge that grants, so that a mistake there shows here.
Amounts in doubt are intervals: the most may be flowing, the least has surely flowed. Times are the
monitor's own: when it heard of an entry, in the device's therapy time.
"""

from dataclasses import dataclass, replace

from device_profiles.quantities import DAY_MS, Milliseconds, NanoLitres
from safety.events import (
    Connected,
    Counted,
    DeviceIdentity,
    Event,
    Found,
    Intended,
    Lowered,
    Metered,
    Settled,
    Stopped,
    Unverified,
)
from safety.fold import ONE_TIME, PROGRAMMING, STARTS
from safety.limits import PumpLimits
from safety.outputs import (
    BolusOutput,
    PrimeOutput,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)
from safety.state import StandingWaiver

INTENTS_KEPT = 64
"""How many of the newest intents are known by their id; a device is busy with one at a time."""


@dataclass(frozen=True, slots=True)
class GrantedBolus:
    """A bolus or a prime of the host; ``volume`` is what was asked for, nL.

    ``closed``: the device said that it ended, at ``latest_end`` or before.
    """

    id: int
    volume: NanoLitres
    over: Milliseconds
    begun: Milliseconds
    latest_end: Milliseconds
    least: NanoLitres
    most: NanoLitres
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """Everything that may flow by the journal, and what it leaves open.

    ``program`` is what a pump was last verified, or else found, to deliver; ``running`` what a
    stimulator shows; ``open`` the intents whose outcome nobody knows, ``doubted`` those of them
    that were asked about in vain. ``differs`` is how the device's program differs, until one is
    applied. ``meter`` is what a pump's meters last showed, at the slow time of its entry;
    ``clock_was_set``: since then its clock went on by a day more than the host's, unwatched.
    """

    identity: DeviceIdentity | None = None
    program: PumpProgram | None = None
    limits: PumpLimits | None = None
    boluses: tuple[GrantedBolus, ...] = ()
    programs: tuple[StimulatorProgram, ...] = ()
    running: Stimulation | None = None
    open: tuple[Intended, ...] = ()
    doubted: tuple[int, ...] = ()
    intents: tuple[Intended, ...] = ()
    differs: str | None = None
    stop_open: bool = False
    waivers: tuple[StandingWaiver, ...] = ()
    meter: Metered | None = None
    clock_was_set: bool = False

    @property
    def speed(self) -> int:
        """How much faster than the host the device's therapy time runs."""
        return self.identity.speed if self.identity else 1

    @property
    def pump_programs(self) -> tuple[PumpProgram, ...]:
        """Every program that a pump may be following."""
        current = (self.program,) if self.program is not None else ()
        return (*current, *(o for i in self.open for o in i.outputs if isinstance(o, PumpProgram)))

    @property
    def stimulations(self) -> tuple[Stimulation, ...]:
        """Every stimulation that may be flowing."""
        current = (self.running,) if self.running is not None else ()
        return (*current, *(o for i in self.open for o in i.outputs if isinstance(o, Stimulation)))

    def intent(self, intent_id: int) -> Intended | None:
        """The intent of an id, if it is one of the newest."""
        return next((one for one in reversed(self.intents) if one.id == intent_id), None)

    def knows_bolus(self, intent_id: int) -> bool:
        """Whether a bolus or prime of this id was ever intended within reach of a window."""
        return any(one.id == intent_id for one in self.boluses) or (
            self.intent(intent_id) is not None
        )


def after(granted: Granted, event: Event, heard: Milliseconds) -> Granted:
    """What may flow once an entry of the journal is heard of; entries that grant nothing pass."""
    match event:
        case Connected():
            running = granted.running if event.delivering else None
            is_open = granted.stop_open and event.delivering
            return replace(
                granted,
                identity=event.identity,
                running=running,
                stop_open=is_open,
                clock_was_set=_was_set(granted.meter, event),
            )
        case Found():
            return replace(granted, program=granted.program or event.program)
        case Intended():
            return _intended(granted, event, heard)
        case Settled():
            return _settled(granted, event, heard)
        case Counted():
            boluses = tuple(
                _counted(one, event, heard) if one.id == event.id else one
                for one in granted.boluses
            )
            return replace(granted, boluses=boluses)
        case Unverified():
            return replace(
                _without(granted, event.id),
                program=None,
                programs=(),
                running=None,
                differs=event.evidence,
            )
        case Lowered():
            if granted.running is None:
                return granted
            lowered = replace(granted.running, amplitudes=event.amplitudes)
            return replace(granted, running=lowered)
        case Stopped():
            running = None if event.confirmed else granted.running
            return replace(granted, running=running, stop_open=not event.confirmed)
        case Metered():
            return replace(granted, meter=event, clock_was_set=False)
        case _:
            return granted


def _was_set(meter: Metered | None, now: Connected) -> bool:
    """Whether a device's clock went on since a reading by a day more than the host's wall did.

    Then one of the two was set, and how long a pump was left alone nobody knows.
    """
    if meter is None:
        return False
    by_wall = max(0, now.at.wall - meter.at.wall) * now.identity.speed
    return now.clock - meter.clock > by_wall + DAY_MS


def _intended(granted: Granted, event: Intended, heard: Milliseconds) -> Granted:
    granted = replace(
        granted,
        open=(*granted.open, event),
        intents=(*granted.intents, event)[-INTENTS_KEPT:],
    )
    asked = next((o for o in event.outputs if isinstance(o, BolusOutput | PrimeOutput)), None)
    if asked is None:
        return granted
    lasts = DAY_MS if event.latest_end is None else event.latest_end - event.at.slow
    bolus = GrantedBolus(
        event.id,
        asked.volume,
        asked.over,
        heard,
        Milliseconds(heard + lasts),
        least=NanoLitres(0),
        most=asked.volume,
    )
    kept = (one for one in granted.boluses if one.latest_end >= heard - DAY_MS)
    return replace(granted, boluses=(*kept, bolus))


def _counted(bolus: GrantedBolus, event: Counted, heard: Milliseconds) -> GrantedBolus:
    """A bolus once the device has told its count: never less than it ever said, nor than asked."""
    least, most = max(bolus.least, event.volume), max(bolus.most, event.volume)
    if event.state == "running":
        return replace(bolus, least=least, most=most)
    if event.state == "interrupted" and not bolus.closed:
        most = least
    end = min(bolus.latest_end, heard)
    return replace(bolus, least=least, most=most, latest_end=end, closed=True)


def _settled(granted: Granted, event: Settled, heard: Milliseconds) -> Granted:
    intent = next((one for one in granted.open if one.id == event.id), None)
    if intent is None:
        return granted
    if event.outcome == "UNCERTAIN":
        return replace(granted, doubted=(*granted.doubted, event.id))
    granted = _without(granted, event.id)
    if event.outcome == "refused":
        kept = tuple(one for one in granted.boluses if one.id != event.id or one.least > 0)
        return replace(granted, boluses=kept)
    return _delivered(granted, intent, heard)


def _without(granted: Granted, intent_id: int) -> Granted:
    """Nobody waits for the outcome of this id any longer."""
    return replace(
        granted,
        open=tuple(one for one in granted.open if one.id != intent_id),
        doubted=tuple(one for one in granted.doubted if one != intent_id),
    )


def _delivered(granted: Granted, intent: Intended, heard: Milliseconds) -> Granted:
    if intent.command in STARTS:
        waivers = _waivers(granted, intent, heard)
        granted = replace(granted, waivers=waivers, stop_open=False)
    match intent.command:
        case "program-stimulator":
            programs = tuple(o for o in intent.outputs if isinstance(o, StimulatorProgram))
            return replace(granted, programs=programs, running=None, differs=None)
        case "program-pump":
            (program,) = (o for o in intent.outputs if isinstance(o, PumpProgram))
            return replace(granted, program=program, limits=intent.limits, differs=None)
        case "start-stimulation" | "change-amplitude":
            (running,) = (o for o in intent.outputs if isinstance(o, Stimulation))
            return replace(granted, running=running)
        case _:
            return granted


def _waivers(granted: Granted, intent: Intended, heard: Milliseconds) -> tuple[StandingWaiver, ...]:
    """What the device now runs on although a rule objects to it, and until when."""
    kept = () if intent.command in PROGRAMMING else granted.waivers
    if intent.override is None:
        return kept
    until = Milliseconds(heard + intent.override.valid_for)
    fresh = (StandingWaiver(rule, until) for rule in intent.passed if rule not in ONE_TIME)
    return (*(one for one in kept if one.rule not in intent.passed), *fresh)
