"""What happens in one storm, as frozen data: a plan is drawn from a seed (`draw.py`), or read from
a file (`plan_file.py`).

A plan says all that a run depends on, so the same plan gives the same bytes. It is written as YAML:

    storm: pump
    seed: 17
    minutes: 1440
    acts:
      - {at: 60000, do: apply, who: A, amount: 100}
      - {at: 3600000, do: weather, where: loss, amount: 200}

``at`` is in ms since the device was made. What an act means is in `DOINGS`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Family = Literal["pump", "stimulator"]

BIGGEST_SEED = 10**12
LONGEST_DAYS = 366
"""How much of a pump's therapy one storm holds at most."""

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
        parts += [f"who: {_quoted(self.who)}"] if self.who else []
        parts += [f"where: {_quoted(self.where)}"] if self.where else []
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


def _quoted(text: str) -> str:
    """As YAML reads it back; most texts of a plan need no quotes."""
    plain = re.fullmatch(r"\w+([ -]\w+)*", text, re.ASCII)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _word(act: Act) -> str:
    if act.do in ("weather", "device"):
        return act.where
    if act.do == "wall":
        return "wall back" if act.amount < 0 else "wall ahead"
    return f"{act.do} {act.where}" if act.do == "stop" else act.do
