"""What one storm leaves for the oracle: the witness, the line, the people; and no journal to it."""

from collections import Counter
from dataclasses import dataclass, field

from hil.storm.hosts import Asked
from hil.storm.plan import Plan
from hil.storm.weather import Line
from hil.storm.witness import Witness
from safety.alarms import Alarm


@dataclass(slots=True)
class Record:
    """What one storm leaves for the oracle: the witness, the line, the people; no journal."""

    plan: Plan
    witness: Witness
    line: Line
    asked: list[Asked] = field(default_factory=list)
    alarms: list[tuple[int, Alarm]] = field(default_factory=list)
    events: list[tuple[int, str, str]] = field(default_factory=list)
    """What befell the world: when, the act's `do` and `where`."""
    charges: list[tuple[int, int]] = field(default_factory=list)
    """From when to when a host was in charge."""
    monitor_stops: list[tuple[int, str, str]] = field(default_factory=list)
    """When the monitor asked for a stop, for which alarm, and how deep."""
    renewed: list[int] = field(default_factory=list)
    """When the device took a renewal of the lease, or a start."""
    elsewhere: set[int] = field(default_factory=set)
    """The places of the plug in which something arrived at another device."""
    another_knows: tuple[int, ...] = ()
    """The ids that the other device has in its memory at the end."""
    reached: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    journal: bytes = b""
    lives: int = 0
    calm_from: int = 0
    end: int = 0
