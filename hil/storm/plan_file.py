"""A plan as a file: what it may say, and where it says something else.

What no run could mean is refused with its line. Acts are run in the order of their times, whatever
the order in which they are written; of those at the same time the upper one is the first.
"""

import os
import re
import select
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from device_profiles.errors import UsageError
from device_profiles.notation_grammar import shown
from device_profiles.plain_file import not_plain
from device_profiles.quantities import DAY_MS
from device_profiles.yaml_nodes import root_of
from firmware_bridge.simulator.faults import faults_of
from hil.storm.hosts import STRETCHES, steps_of
from hil.storm.plan import (
    BIGGEST_SEED,
    DEPTHS,
    DOINGS,
    LONGEST_DAYS,
    ONLY,
    WEATHERS,
    Act,
    Family,
    Plan,
)
from hil.storm.stage import REFILL_DAYS, programs

_MAX_BYTES = 4 * 1024 * 1024
_PIPE_PATIENCE_S = 30.0
"""How long a pipe may be silent."""
_AFTER_MS = DAY_MS
"""How long after the last minute of its plan an act may still be: drawn ones go hours beyond."""
_LONGEST_MS = 7 * DAY_MS
_MOST: Mapping[str, int] = {
    "apply": 1_000,
    "bolus": 1_000_000,
    "amplitude": 1_000_000,
    "weather": 1_000,
    "flood": 1_000_000,
    "wall": LONGEST_DAYS * DAY_MS,
}
"""The highest amount; of everything else `_LONGEST_MS`."""
_NO_AMOUNT = ("stop", "look", "press", "start", "switch", "measure", "device")
_HEAD = ("storm", "seed", "minutes", "poll", "error", "late_worker", "monitor", "sealed", "acts")
_ACT = ("at", "do", "who", "where", "amount")
_LONGEST_NAME = 64


def read_plan(path: Path) -> Plan:
    """The plan in a file or a pipe; raises UsageError that names file and line."""
    try:
        data = _bytes_of(path)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"the plan {path} is larger than 4 MiB")
        return parse_plan(data.decode("utf-8"), str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"the plan {path} cannot be read: {error}") from error


def _bytes_of(path: Path) -> bytes:
    """All bytes, or one more than a plan may have."""
    if path.is_fifo():
        return _from_pipe(path)
    if (kind := not_plain(path)) is not None:
        raise UsageError(f"the plan {path} cannot be read: it is {kind}; name a plan")
    with path.open("rb") as file:
        return file.read(_MAX_BYTES + 1)


def _from_pipe(path: Path) -> bytes:
    data = b""
    # To open it plainly would wait for whoever writes to it, and perhaps for ever.
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while len(data) <= _MAX_BYTES:
            if not ready.poll(_PIPE_PATIENCE_S * 1_000):
                raise UsageError(
                    f"the plan {path} cannot be read: nothing came out of this pipe for "
                    f"{_PIPE_PATIENCE_S:g} s; is anybody writing to it?"
                )
            piece = os.read(pipe, _MAX_BYTES)
            if not piece:
                break
            data += piece
    finally:
        os.close(pipe)
    return data


def parse_plan(text: str, source: str) -> Plan:
    """The plan in ``text``; see `read_plan`."""
    root = root_of(text, source)
    if root is None:
        raise UsageError(f"{source}:1: a plan begins with `storm: pump` or `storm: stimulator`")
    head = _Entry(root, source, _HEAD)
    family = cast("Family", head.text("storm"))
    if family not in get_args(Family):
        raise UsageError(f"{head.place('storm')}: there is a storm for a pump or a stimulator")
    minutes = head.number("minutes", 1, LONGEST_DAYS * 1_440)
    acts = [_act(_Entry(node, source, _ACT), family, minutes) for node in head.row("acts")]
    return Plan(
        family,
        head.number("seed", 0, BIGGEST_SEED),
        minutes,
        tuple(sorted(acts, key=lambda act: act.at)),
        head.number("poll", 1_000, 86_400_000, 1_800_000),
        head.number("error", -145_000, 145_000, 0),
        head.flag("late_worker"),
        head.flag("monitor"),
        head.flag("sealed"),
    )


def _act(entry: "_Entry", family: Family, minutes: int) -> Act:
    do = entry.text("do")
    if do not in DOINGS:
        raise UsageError(
            f"{entry.place('do')}: nothing is called {shown(do)}; there are: {', '.join(DOINGS)}"
        )
    if ONLY.get(do, family) != family:
        raise UsageError(f"{entry.place('do')}: {do} is for a {ONLY[do]}, and this is a {family}")
    where, names = entry.text("where", ""), _names(do, family)
    if where not in names:
        known = ", ".join(filter(None, names))
        what = (
            f"where is one of {known}, not {shown(where)}"
            if known
            else "there is no where: leave it out"
        )
        raise UsageError(f"{entry.place('where')}: for {do} of a {family} {what}")
    if do in _NO_AMOUNT and entry.text("amount", "0") != "0":
        raise UsageError(f"{entry.place('amount')}: {do} takes no amount: leave it out")
    most = _MOST.get(do, _LONGEST_MS)
    amount = entry.number("amount", -most if do == "wall" else 0, most, 0)
    at = entry.number("at", 0, minutes * 60_000 + _AFTER_MS)
    return Act(at, do, where, amount, entry.name("who"))


def _names(do: str, family: Family) -> tuple[str, ...]:
    """What ``where`` may be; the empty one where it may be left out."""
    match do:
        case "weather":
            return WEATHERS
        case "stop":
            return DEPTHS
        case "device":
            return faults_of(family)
        case "start" | "switch":
            return tuple(program.name for program in programs())
        case "apply" if family == "pump":
            return ("", *(str(fill) for fill in range(1, LONGEST_DAYS // REFILL_DAYS + 1)))
        case "kill" | "cut" | "cancel":
            return ("", *steps_of(family))
        case "stretch":
            return STRETCHES
    return ("",)


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
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise UsageError(
                f"{self.place(key)}: {key}: {shown(text)} is no whole number of at most 18 digits"
            )
        if not low <= int(text) <= high:
            raise UsageError(f"{self.place(key)}: {key} is {low} to {high}, not {int(text)}")
        return int(text)

    def name(self, key: str) -> str:
        """Somebody's name, which can be shown on any terminal."""
        text = self.text(key, "")
        if len(text) > _LONGEST_NAME or not text.isprintable():
            raise UsageError(
                f"{self.place(key)}: {key} is a name of at most {_LONGEST_NAME} printable "
                f"characters, not {shown(text)}"
            )
        return text

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
