"""A pump's life in a few commands: the kernel's state, and beside it what physics did.

A `World` says which commands there are; `moves` tells everything that can happen next at a
`Moment`. The truth is kept per command: what became of each frame, what really flowed and when
at the latest. What a host was told is truth too; the device never lies here, but its answers may
come late, twice or never, and the frame of an UNCERTAIN command may have arrived or not.
"""

from dataclasses import dataclass
from typing import NamedTuple

from kernel_bench import IDENTITY, MINUTE, PumpCase, instant

from device_profiles.quantities import Milliseconds
from safety import kernel
from safety.commands import Ask, GiveBolus
from safety.events import (
    Connected,
    Intended,
    Settled,
)
from safety.kernel import Record
from safety.state import State

FOREVER = 10**15
UNKNOWN, NOTHING = -1, -2
"""What may flow instead of one of the world's programs."""
PATIENT = "BENCH-012"
LOCKOUT = MINUTE
"""Of the bench pump, from start to start (its profile's; a test compares them)."""


class Dose(NamedTuple):
    """A bolus that was granted; ``given`` is what really went in, between ``at`` and ``latest``.

    ``latest`` is FOREVER for a frame that may still lie on the way. ``word`` is the last that the
    host heard of its fate: asked, delivered or gone (proved not to have been carried out);
    ``closed``: the device said that it has ended; ``over`` is how long it takes.
    """

    id: int
    asked: int
    given: int
    at: int
    latest: int
    word: str
    closed: bool
    over: int


class Sent(NamedTuple):
    """A program that was granted; ``journaled``: its intent was recorded before it was sent."""

    id: int
    program: int
    arrived: bool
    at: int
    word: str
    journaled: bool


class Flow(NamedTuple):
    """A program that may have flowed at each moment of [begin, end)."""

    program: int
    begin: int
    end: int


class Known(NamedTuple):
    """What the host was told, as a person would note it down."""

    verified: int
    """The program that was last proved to be in the pump, or found in it."""
    stopped: int
    """The id of the last command before a stop; only programs asked for later open boluses."""
    latched: bool
    past_lost: bool


class Truth(NamedTuple):
    """What happened to this pump, and how far it still matters."""

    doses: tuple[Dose, ...]
    sent: tuple[Sent, ...]
    flows: tuple[Flow, ...]
    known: Known
    kept: Known
    """What of it is in the journal."""


class Moment(NamedTuple):
    """One instant: what the host knows, what it would know after a restart, and the truth."""

    now: int
    ids: int
    state: State
    journaled: State
    truth: Truth


class Decision(NamedTuple):
    """What the kernel said to a request; ``command`` is the index of a bolus or a program."""

    kind: str
    command: int
    id: int
    fresh: bool
    granted: bool


class Move(NamedTuple):
    """One thing that can happen: what it is, what was decided, what is then (if it changes)."""

    label: str
    decision: Decision | None
    after: Moment | None
    delivers: bool = False
    """Something new may flow: the windows have to be looked at again."""
    asked_at: Moment | None = None
    """The moment of the decision, where it is a later one."""


@dataclass(frozen=True)
class World:
    """Which commands and mishaps there are; the first program is in the pump at the start."""

    name: str
    programs: tuple[PumpCase, ...]
    boluses: tuple[GiveBolus, ...]
    mishaps: frozenset[str]
    windows: tuple[tuple[int, int], ...]
    """Each window with its limit in nL."""
    tight: tuple[int, ...]
    """The windows whose edges are waited for."""
    per_bolus: int
    boluses_a_day: int
    follows_programs: bool = True
    """If not, programs are asked for and judged everywhere, but not sent."""
    origin: int = 0

    def flow(self, program: int) -> int:
        """The constant flow of one of the programs, nL/day."""
        (only,) = self.programs[program].program.basal
        return int(only.flow)

    def at_most(self, program: int, other: int) -> bool:
        """Whether a program delivers nowhere more than another."""
        one, two = self.programs[program].program, self.programs[other].program
        button = one.patient_bolus
        return self.flow(program) <= self.flow(other) and button in (None, two.patient_bolus)


def beginning(world: World) -> Moment:
    """A pump whose first program was applied and proved just now."""
    now = world.origin
    state = State()
    state = kernel.step(state, connected(now))[0]
    request = Ask(instant(now), 1, world.programs[0].command, PATIENT, seen=Milliseconds(now))
    _, (effect,) = kernel.step(state, request)
    assert isinstance(effect, Record)
    assert isinstance(effect.event, Intended), effect.event
    state = kernel.step(state, effect.event)[0]
    state = kernel.step(state, Settled(instant(now), 1, "delivered", "a test"))[0]
    known = Known(0, 0, latched=False, past_lost=False)
    truth = Truth((), (), (Flow(0, now, FOREVER),), known, known)
    return Moment(now, 1, state, state, truth)


def connected(now: int) -> Connected:
    """A host takes charge; the pump has not restarted."""
    return Connected(instant(now), IDENTITY, 1, True, Milliseconds(now), True)
