"""Faults: what a simulated device does wrong, and when. A plan is a YAML file:

    - {at: commit 2, fault: drop_reply}
    - {at: 90 min, fault: motor_stall}
    - {at: 5 s, fault: open_contact, contact: E3}

``at`` is the count of a request since the simulator was started, from 1, or a therapy time since
the device's birth.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from device_profiles.errors import UsageError
from device_profiles.yaml_nodes import root_of

LATE_REPLY_MS = 2_000
"""Link time by which a delayed reply is late: longer than a host waits."""
_KEYS = ("at", "fault", "contact")
_UNITS_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_MAX_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A fault by name; ``device`` is the only one that can have it, None: both.

    A fault with ``per_request`` belongs to one request and has no meaning at a time.
    """

    name: str
    text: str
    device: str | None = None
    per_request: bool = False
    takes_contact: bool = False


FAULTS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind("drop_request", "the request never arrives", per_request=True),
        FaultKind("drop_reply", "carried out, its reply is lost", per_request=True),
        FaultKind("duplicate_reply", "its reply arrives twice", per_request=True),
        FaultKind("delay_reply", "its reply is 2 s late", per_request=True),
        FaultKind("corrupt_reply", "one bit of its reply is wrong", per_request=True),
        FaultKind("truncate_reply", "half of its reply arrives", per_request=True),
        FaultKind("silence", "from this request on nothing is taken or answered"),
        FaultKind("unplug", "carried out, then the port closes without a reply"),
        FaultKind("stall", "carried out, then its USB endpoint stalls until the host clears it"),
        FaultKind("plug_in", "the port is there again and silence is over"),
        FaultKind("reset", "carried out, then the device restarts without a reply"),
        FaultKind("read_back_differs", "the next program read back is off by one step"),
        FaultKind("wrong_serial", "another serial number answers from now on"),
        FaultKind("memory_error", "its memory takes no program, the old one goes on"),
        FaultKind("heal", "every lasting fault of the device itself is over"),
        FaultKind("open_contact", "a contact's lead breaks", "stimulator", takes_contact=True),
        FaultKind("short_contact", "a contact is shorted", "stimulator", takes_contact=True),
        FaultKind("impedance_drift", "every contact's impedance rises by half", "stimulator"),
        FaultKind("wrong_electrode_map", "E1 to E8 and E9 to E16 are interchanged", "stimulator"),
        FaultKind("unbalanced_recharge", "a tenth of each phase is not returned", "stimulator"),
        FaultKind("amplitude_stuck", "the output stays where it is", "stimulator"),
        FaultKind("ramp_ignored", "the output jumps to what is set", "stimulator"),
        FaultKind("overdischarge", "as reset, and the programs are lost", "stimulator"),
        FaultKind("battery_low", "the battery is too low to start", "stimulator"),
        FaultKind("magnet", "a magnet brings the output to zero", "stimulator"),
        FaultKind("mri_mode", "the output goes to zero, no start before heal", "stimulator"),
        FaultKind("motor_stall", "the motor no longer turns", "pump"),
        FaultKind("occlusion", "the motor turns and nothing leaves the pump", "pump"),
        FaultKind("over_delivery", "each stroke gives half as much again", "pump"),
        FaultKind("under_delivery", "each stroke gives half", "pump"),
        FaultKind("free_flow", "the reservoir runs out at 100 mL/day", "pump"),
        FaultKind("empty_reservoir", "the reservoir is empty", "pump"),
        FaultKind("reservoir_offset", "it counts 2 mL more than are left", "pump"),
        FaultKind("clock_drift", "its clock jumps ahead by 1 h", "pump"),
        FaultKind("battery_eri", "its battery is due for replacement", "pump"),
        FaultKind("battery_end", "its battery is at its end: no flow for good", "pump"),
        FaultKind("battery_reset", "as reset, and the program is lost", "pump"),
        FaultKind("press_button", "the patient presses the button", "pump"),
    )
}


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault and its moment: at the ``count``-th ``request``, or at ``at_ms`` of therapy time.

    ``contact`` is the number of the contact it concerns; 0: the first that a program uses.
    """

    name: str
    request: str = ""
    count: int = 0
    at_ms: int = 0
    contact: int = 0


class FaultPlan:
    """Planned faults and how far the plan has come."""

    def __init__(self, faults: Sequence[PlannedFault], t_ms: int) -> None:
        self._on_request = [fault for fault in faults if fault.request]
        timed = [fault for fault in faults if not fault.request and fault.at_ms >= t_ms]
        self._timed = sorted(timed, key=lambda fault: fault.at_ms)
        self._counts: dict[str, int] = {}

    def on_request(self, request: str) -> list[PlannedFault]:
        """Counts a request; the faults that come with it."""
        if not self._on_request:
            return []
        count = self._counts[request] = self._counts.get(request, 0) + 1
        return [f for f in self._on_request if f.request == request and f.count == count]

    @property
    def next_ms(self) -> int | None:
        """When the next fault comes by time."""
        return self._timed[0].at_ms if self._timed else None

    def take(self) -> PlannedFault:
        """The next fault by time; it is over with that."""
        return self._timed.pop(0)


def read_faults(path: Path, device: str, requests: Iterable[str]) -> tuple[PlannedFault, ...]:
    """The faults of a file for a ``stimulator`` or ``pump`` that knows ``requests``.

    Raises UsageError that names file and line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the faults file {path} cannot be read: {error}") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"the faults file {path} is larger than 1 MiB")
    return parse_faults(text, str(path), device, requests)


def parse_faults(
    text: str, source: str, device: str, requests: Iterable[str]
) -> tuple[PlannedFault, ...]:
    """The faults in ``text``; see `read_faults`."""
    root = root_of(text, source)
    if root is None:
        return ()
    if not isinstance(root, SequenceNode):
        raise UsageError(f"{source}:1: a faults file is a list of {{at: …, fault: …}}")
    known = sorted(requests)
    return tuple(_fault(node, source, device, known) for node in root.value)


def describe_faults() -> str:
    """The table of faults, for help texts."""
    width = max(len(name) for name in FAULTS)
    rows = [
        f"  {kind.name:<{width}}  {kind.text}{f' ({kind.device})' if kind.device else ''}"
        for kind in FAULTS.values()
    ]
    return "\n".join(["faults:", *rows])


def faults_of(device: str) -> tuple[str, ...]:
    """The names of all faults that a device can have."""
    return tuple(name for name, kind in FAULTS.items() if kind.device in (None, device))


def _fault(node: Node, source: str, device: str, requests: list[str]) -> PlannedFault:
    entry = _entry(node, source)
    line = node.start_mark.line + 1
    name = entry["fault"]
    kind = FAULTS.get(name)
    if kind is None:
        raise UsageError(f"{source}:{line}: no fault {name!r}; there are: {', '.join(FAULTS)}")
    if kind.device not in (None, device):
        raise UsageError(f"{source}:{line}: a {device} has no fault {name!r}")
    contact = 0
    if "contact" in entry:
        found = re.fullmatch(r"E([1-9]|1[0-6])", entry["contact"], re.ASCII)
        if found is None or not kind.takes_contact:
            raise UsageError(f"{source}:{line}: {name} takes no contact {entry['contact']!r}")
        contact = int(found[1])
    moment = re.fullmatch(r"(\d{1,12}) (\w+)", entry["at"], re.ASCII)
    if moment is not None and moment[2] in _UNITS_MS:
        if kind.per_request:
            raise UsageError(f"{source}:{line}: {name} belongs to a request, not to a time")
        return PlannedFault(name, at_ms=int(moment[1]) * _UNITS_MS[moment[2]], contact=contact)
    count = re.fullmatch(r"(\w+) ([1-9]\d{0,8})", entry["at"], re.ASCII)
    if count is None or count[1] not in requests:
        raise UsageError(
            f"{source}:{line}: at {entry['at']!r} is neither a time like `5 s` nor a request and "
            f"its count like `status 2`; requests: {', '.join(requests)}"
        )
    return PlannedFault(name, request=count[1], count=int(count[2]), contact=contact)


def _entry(node: Node, source: str) -> dict[str, str]:
    line = node.start_mark.line + 1
    if not isinstance(node, MappingNode):
        raise UsageError(f"{source}:{line}: a fault is {{at: …, fault: …}}")
    entry: dict[str, str] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode) or key.value not in _KEYS:
            raise UsageError(
                f"{source}:{key.start_mark.line + 1}: no key {key.value!r}; a fault has at, fault "
                "and for some faults contact"
            )
        if not isinstance(value, ScalarNode) or key.value in entry:
            raise UsageError(
                f"{source}:{value.start_mark.line + 1}: {key.value} is one text, given once"
            )
        entry[key.value] = value.value
    for name in ("at", "fault"):
        if name not in entry:
            raise UsageError(f"{source}:{line}: the key {name} is missing")
    return entry
