"""What happens in one storm, as frozen data: a plan is drawn from a seed, or read from a file.

A plan says all that a run depends on, so the same plan gives the same bytes. It is written as YAML:

    storm: pump
    seed: 17
    minutes: 1440
    acts:
      - {at: 60000, do: apply, who: A, amount: 100}
      - {at: 3600000, do: weather, where: loss, amount: 200}

``at`` is in ms since the device was made. What an act means is in `DOINGS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from device_profiles.errors import UsageError
from firmware_bridge.simulator.faults import faults_of

Family = Literal["pump", "stimulator"]

WEATHERS = ("loss", "duplication", "replay", "late", "reorder", "flip", "split")
"""What a line does to a frame, each with so many chances of a thousand."""

DOINGS: Mapping[str, str] = {
    # people
    "apply": "a person applies the therapy with its doses at `amount` %",
    "bolus": "a person asks for a bolus of `amount` mcg",
    "stop": "a person stops the device, as deep as `where`",
    "look": "a person looks at the alarms and acknowledges them",
    "press": "the patient presses the button",
    "start": "a person measures and starts the program `where`",
    "amplitude": "a person sets area 1 to `amount` uA",
    "switch": "a person switches to the program `where`",
    "measure": "a person measures the impedances",
    "cancel": "whoever waits is cancelled, at the `amount`-th step `where` (at once without one)",
    # the line
    "weather": "from now on the line does `where` to `amount` of a thousand frames",
    "cut": "for `amount` ms nothing passes in the line, from the next step `where` on (at once "
    "without one)",
    "flood": "`amount` bytes of noise and old frames arrive at both ends",
    "swap": "for `amount` ms another device is at the end of the line",
    "unplug": "the plug is pulled out, and put in again after `amount` ms",
    # the device
    "device": "a fault of the simulator by the name `where`",
    # the host
    "kill": "the host dies at the `amount`-th step `where` from now on (at once without one)",
    "power": "the host loses its power: what was not synced may be lost",
    "full": "for `amount` ms the disk is full",
    "sync": "for `amount` ms syncing the disk fails",
    "slow": "for `amount` ms every write to the disk takes 1.5 s",
    "wall": "the host's wall clock jumps by `amount` ms",
    "suspend": "the host sleeps for `amount` ms",
    "stall": "the host's event loop stands still for `amount` ms",
    "stretch": "the next step `where` of the host takes `amount` ms",
}
"""Everything that can be in a plan, and what it means."""

ONLY: Mapping[str, Family] = {
    "bolus": "pump",
    "press": "pump",
    "start": "stimulator",
    "amplitude": "stimulator",
    "switch": "stimulator",
    "measure": "stimulator",
}
"""What there is for one family alone."""
DEPTHS = ("hold", "policy", "flow")
"""How deep a stop can be."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens at a time (ms since the device was made); see `DOINGS`."""

    at: int
    do: str
    where: str = ""
    amount: int = 0
    who: str = ""

    def text(self) -> str:
        """Its line of a plan file."""
        parts = [f"at: {self.at}", f"do: {self.do}"]
        parts += [f"who: {self.who}"] if self.who else []
        parts += [f"where: {self.where}"] if self.where else []
        parts += [f"amount: {self.amount}"] if self.amount else []
        return f"  - {{{', '.join(parts)}}}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One storm. ``poll`` is how often the host looks at the device, ms; ``error`` the device's
    own inaccuracy in ppm; ``late_worker``: what nobody waits for is written late; ``monitor``: the
    monitor watches, and may stop the device; ``sealed``: the device has a key, and its host too."""

    family: Family
    seed: int
    minutes: int
    acts: tuple[Act, ...]
    poll: int = 1_800_000
    error: int = 0
    late_worker: bool = False
    monitor: bool = False
    sealed: bool = False

    def text(self) -> str:
        """The plan as a file."""
        head = [
            f"storm: {self.family}",
            f"seed: {self.seed}",
            f"minutes: {self.minutes}",
            f"poll: {self.poll}",
            f"error: {self.error}",
            f"late_worker: {str(self.late_worker).lower()}",
            f"monitor: {str(self.monitor).lower()}",
            f"sealed: {str(self.sealed).lower()}",
        ]
        acts = [act.text() for act in self.acts]
        return "\n".join([*head, "acts:" if acts else "acts: []", *acts]) + "\n"

    def drew(self) -> set[str]:
        """What is in it, in words for a table."""
        about = {"a sealed line": self.sealed, "the monitor": self.monitor}
        return {_word(act) for act in self.acts} | {what for what, is_so in about.items() if is_so}


def _word(act: Act) -> str:
    if act.do in ("weather", "device"):
        return act.where
    if act.do == "wall":
        return "wall back" if act.amount < 0 else "wall ahead"
    return f"{act.do} {act.where}" if act.do == "stop" else act.do


# --- reading -------------------------------------------------------------------------------------

_BIGGEST = 10**12
_MAX_BYTES = 4 * 1024 * 1024
_MOST = {"weather": 1_000, "flood": 1_000_000}
"""The highest amount, where it is not just any."""
_HEAD = ("storm", "seed", "minutes", "poll", "error", "late_worker", "monitor", "sealed", "acts")
_ACT = ("at", "do", "who", "where", "amount")


def read_plan(path: Path) -> Plan:
    """The plan in a file; raises UsageError that names file and line."""
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise UsageError(f"the plan {path} is larger than 4 MiB")
        return parse_plan(data.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the plan {path} cannot be read: {error}") from error


def parse_plan(text: str, source: str) -> Plan:
    """The plan in ``text``; see `read_plan`."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{source}:{line}: {error.problem}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{source}: no YAML: {error}") from error
    if root is None:
        raise UsageError(f"{source}:1: a plan begins with `storm: pump` or `storm: stimulator`")
    head = _Entry(root, source, _HEAD)
    family = head.text("storm")
    if family not in get_args(Family):
        raise UsageError(f"{head.place('storm')}: there is a storm for a pump or a stimulator")
    return Plan(
        cast("Family", family),
        head.number("seed", 0, _BIGGEST),
        head.number("minutes", 1, 366 * 1_440),
        tuple(_act(node, source, cast("Family", family)) for node in head.row("acts")),
        head.number("poll", 1_000, 86_400_000, 1_800_000),
        head.number("error", -145_000, 145_000, 0),
        head.flag("late_worker"),
        head.flag("monitor"),
        head.flag("sealed"),
    )


def _act(node: Node, source: str, family: Family) -> Act:
    entry = _Entry(node, source, _ACT)
    do = entry.text("do")
    if do not in DOINGS:
        known = ", ".join(DOINGS)
        raise UsageError(f"{entry.place('do')}: nothing is called {do!r}; there are: {known}")
    where = entry.text("where", "")
    if do == "weather" and where not in WEATHERS:
        raise UsageError(f"{entry.place('where')}: the weather is one of {', '.join(WEATHERS)}")
    if ONLY.get(do, family) != family:
        raise UsageError(f"{entry.place('do')}: {do} is for a {ONLY[do]}, and this is a {family}")
    if do == "stop" and where not in DEPTHS:
        raise UsageError(f"{entry.place('where')}: a stop is one of {', '.join(DEPTHS)}")
    if do == "device" and where not in faults_of(family):
        raise UsageError(
            f"{entry.place('where')}: a {family} has no fault {where!r}; there are: "
            f"{', '.join(faults_of(family))}"
        )
    least = -_BIGGEST if do == "wall" else 0
    amount = entry.number("amount", least, _MOST.get(do, _BIGGEST), 0)
    return Act(entry.number("at", 0, _BIGGEST), do, where, amount, entry.text("who", ""))


class _Entry:
    """A mapping of a plan file, read key by key."""

    def __init__(self, node: Node, source: str, keys: tuple[str, ...]) -> None:
        self._source, self._line = source, node.start_mark.line + 1
        if not isinstance(node, MappingNode):
            raise UsageError(f"{source}:{self._line}: here belongs a mapping, like `{{at: 0, …}}`")
        self._found: dict[str, Node] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.value not in keys:
                raise UsageError(
                    f"{source}:{line}: no key {key.value!r}; there are: {', '.join(keys)}"
                )
            if key.value in self._found:
                raise UsageError(f"{source}:{line}: the key {key.value} is given twice")
            self._found[key.value] = value

    def place(self, key: str) -> str:
        """File and line of a key."""
        node = self._found.get(key)
        return f"{self._source}:{node.start_mark.line + 1 if node else self._line}"

    def text(self, key: str, default: str | None = None) -> str:
        """One text."""
        node = self._found.get(key)
        if node is None and default is not None:
            return default
        if not isinstance(node, ScalarNode):
            raise UsageError(f"{self.place(key)}: {key} is missing, or is more than one text")
        return str(node.value)

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """One whole number within a range."""
        text = self.text(key, None if default is None else str(default))
        return self._read(key, text, lambda: int(text), low, high)

    def _read(self, key: str, text: str, parse: Callable[[], int], low: int, high: int) -> int:
        try:
            value = parse()
        except ValueError as error:
            raise UsageError(f"{self.place(key)}: {key}: {text!r} is no whole number") from error
        if not low <= value <= high:
            raise UsageError(f"{self.place(key)}: {key} is {low} to {high}, not {value}")
        return value

    def flag(self, key: str) -> bool:
        """true or false."""
        text = self.text(key, "false")
        if text not in ("true", "false"):
            raise UsageError(f"{self.place(key)}: {key} is true or false, not {text!r}")
        return text == "true"

    def row(self, key: str) -> list[Node]:
        """A list."""
        node = self._found.get(key)
        if not isinstance(node, SequenceNode):
            raise UsageError(f"{self.place(key)}: {key} is a list of `- {{at: …, do: …}}`")
        return list(node.value)
