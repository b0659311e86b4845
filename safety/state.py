"""What the judge knows of one device: the fold of its journal, and what can be read out of it."""

from dataclasses import dataclass, replace
from typing import Literal

from device_profiles.quantities import (
    DAY_MS,
    Milliseconds,
    NanogramsPerMillilitre,
    NanoLitres,
    Ohms,
)
from safety.alarms import ActiveAlarm, Pause
from safety.commands import Instant
from safety.doubt import Reservation
from safety.events import DeviceIdentity, Intended, MriEntered
from safety.limits import PumpLimits
from safety.outputs import DrugInPump, PumpProgram, Stimulation, StimulatorProgram
from safety.timeline import Seen

DELIVERY_SLACK = Milliseconds(5_000)
"""How long a judged command may wait on the way to its first byte; link time, never scaled."""

BEGINNING = Milliseconds(0)

UNPLANNED_DELIVERY = (
    "delivery-without-intent",
    "free-flow",
    "odometer-fell",
    "over-delivery",
    "over-limit",
)
"""Alarms after which nobody knows what a window holds."""


@dataclass(frozen=True, slots=True)
class Impedances:
    """The last measurement and when it was taken, on the fast clock."""

    ohms: tuple[Ohms, ...]
    taken: Milliseconds


@dataclass(frozen=True, slots=True)
class PastProgram:
    """A pump's program that was replaced, and when that had surely happened (slow time)."""

    program: PumpProgram
    replaced: Milliseconds


@dataclass(frozen=True, slots=True)
class PassedRule:
    """A rule whose soft finding a person let pass, and when (slow time)."""

    rule: str
    user: str
    at: Milliseconds


@dataclass(frozen=True, slots=True)
class StandingWaiver:
    """A rule that the program in the device was let pass, until when (slow time)."""

    rule: str
    until: Milliseconds


@dataclass(frozen=True, slots=True)
class LineMove:
    """What an intent may have set moving in the line, and when it should have ended (slow time).

    Time alone ends a prime, and a ``flush``: what a program without a bridge pushes out after one
    that was cut short. A bridge ends by the pump's own word: while the pump was halted, or had lost
    its program, nothing moved. ``stray``: the most nL that a bridge leaves behind of the old
    mix, or brings of the new one too soon; ``mixes``: by how much the two differ.
    """

    id: int
    latest_end: Milliseconds
    what: Literal["bridge", "prime", "flush"]
    stray: NanoLitres
    mixes: tuple[DrugInPump, ...]

    def has_ended(self, now: Instant) -> bool:
        """Whether it has surely ended, though nobody has said so."""
        return self.what != "bridge" and self.latest_end <= now.slow


@dataclass(frozen=True, slots=True)
class Alert:
    """An alarm above LOW, and when it was raised (slow time)."""

    code: str
    at: Milliseconds


@dataclass(frozen=True)
class State:
    """Everything the judge knows about one device; the fold of its journal.

    ``unsettled`` are intents whose outcome is not known: they count in full and block further
    therapy until the device has been asked. ``epoch`` counts the events that may change what
    the device shows; a plan made in another epoch is void.
    """

    epoch: int = 0
    latched: str | None = None
    identity: DeviceIdentity | None = None
    boot: int | None = None
    seen: Seen | None = None
    """When a host last took charge, by the device's clock and the host's."""
    patient: str | None = None
    unsettled: tuple[Intended, ...] = ()
    overtaken: tuple[int, ...] = ()
    """Ids of intents that were on their way when a stop came: the stop is the last word."""
    ids: tuple[int, ...] = ()
    """The ids of the newest intents; none is used twice."""
    in_mri: bool = False
    """The device was prepared for a magnetic field and has not been looked at since."""
    mri: MriEntered | None = None
    """What it was then, and how to come back."""
    attention: str | None = None
    """The alarm (a stall, an occlusion) after which a person has to look before any bolus."""
    alarms: tuple[ActiveAlarm, ...] = ()
    """What a person has to know of, the newest last."""
    pause: Pause | None = None
    """The silence that a person asked for, if nothing has ended it."""
    alerts: tuple[Alert, ...] = ()
    """Each alarm above LOW that came after a start, of the last minutes (SR-35)."""
    alerted: tuple[str, ...] = ()
    """The alarms above LOW since the last start."""
    passed: tuple[PassedRule, ...] = ()
    """Soft findings that people let pass in the last day."""
    waivers: tuple[StandingWaiver, ...] = ()
    """What the program in the device was let pass."""
    programs: tuple[StimulatorProgram, ...] = ()
    running: Stimulation | None = None
    impedances: Impedances | None = None
    from_zero: str | None = None
    """Why the next start has to begin at zero: a magnet, a reset, a low battery."""
    held: bool = False
    """A pump was stopped: no bolus until a program is applied again."""
    pump_program: PumpProgram | None = None
    last_verified: PumpProgram | None = None
    """What a pump was last known to deliver; going on with no more than it is continuation."""
    pump_limits: PumpLimits | None = None
    timezone: str | None = None
    past_programs: tuple[PastProgram, ...] = ()
    unknown_program: bool = False
    """The device was found with a program that nobody verified, and none has been applied since."""
    full_until: Milliseconds = BEGINNING
    """Slow time until which every window counts as full: nobody knows what flowed before."""
    known_drugs: tuple[str, ...] = ()
    """Drugs that this pump has delivered under a verified program: their start is over."""
    reservations: tuple[Reservation, ...] = ()
    line_moves: tuple[LineMove, ...] = ()
    """Bridges and primes that may be under way."""
    primed_fills: tuple[Milliseconds, ...] = ()
    """The fills whose one prime has been used, the newest last."""


def differences(program: PumpProgram) -> tuple[DrugInPump, ...]:
    """By how much each concentration differs between a program's drugs and its bridge's."""
    before = program.bridge.drugs if program.bridge else program.drugs
    mixes = [{one.name: one.concentration for one in mix} for mix in (before, program.drugs)]
    names = dict.fromkeys(name for mix in mixes for name in mix)
    return tuple(
        DrugInPump(name, NanogramsPerMillilitre(abs(mixes[0].get(name, 0) - mixes[1].get(name, 0))))
        for name in names
    )


def windows_full_until(state: State, now: Instant) -> Milliseconds:
    """Slow time until which windows count as full; while unasked delivery lasts, a day from now."""
    lasts = any(one.alarm.code in UNPLANNED_DELIVERY and not one.over for one in state.alarms)
    return Milliseconds(max(state.full_until, now.slow + DAY_MS if lasts else 0))


def in_therapy_time(state: State, link_time: Milliseconds) -> Milliseconds:
    """A time of the link in the device's own time, which a simulator may run faster."""
    return Milliseconds(link_time * (state.identity.speed if state.identity else 1))


def delivery_slack(state: State) -> Milliseconds:
    """`DELIVERY_SLACK` in the device's own time."""
    return in_therapy_time(state, DELIVERY_SLACK)


def impedance_at(state: State, now: Instant) -> tuple[tuple[Ohms, ...], Milliseconds] | None:
    """The last measurement with its age."""
    if state.impedances is None:
        return None
    return state.impedances.ohms, Milliseconds(now.fast - state.impedances.taken)


def reservations_at(state: State, now: Instant) -> tuple[Reservation, ...]:
    """The reservations that may still lie in the longest window ending now (closed at its edge).

    What is not settled may lie on the way still: it ends no sooner than now.
    """
    doubtful = {intent.id for intent in state.unsettled}
    known = (
        replace(r, latest_end=Milliseconds(max(r.latest_end, now.slow))) if r.id in doubtful else r
        for r in state.reservations
    )
    return tuple(r for r in known if r.reaches_into(DAY_MS, now))


def programs_in_window(state: State, now: Instant) -> tuple[PumpProgram, ...]:
    """The program in the pump, then all others that the longest window may hold or come to hold.

    Those are the programs before it and those on their way whose outcome is not known.
    """
    current = (state.pump_program,) if state.pump_program is not None else ()
    past = (p.program for p in state.past_programs if p.replaced >= now.slow - DAY_MS)
    pending = (
        output
        for intent in state.unsettled
        for output in intent.outputs
        if isinstance(output, PumpProgram)
    )
    return (*current, *past, *pending)


def past_programs_after(state: State, at: Instant) -> tuple[PastProgram, ...]:
    """The past programs once the one in the pump is among them; each program once."""
    leaving = state.pump_program
    kept = tuple(
        p for p in state.past_programs if p.replaced >= at.slow - DAY_MS and p.program != leaving
    )
    if leaving is None:
        return kept
    return (PastProgram(leaving, at.slow), *kept)
