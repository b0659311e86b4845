"""Two captures compared by what was said: frame by frame, message by message, field by field.

What every conversation draws anew (session numbers, nonces, ids, sequence numbers) and what tells
one device from another of its kind is mapped: the same on one side must be the same on the other.
"""

from dataclasses import dataclass, field

from firmware_bridge.protocol.catalogue import Envelope
from hil.capture.conversation import (
    NS_PER_MS,
    Entry,
    Frame,
    Happening,
    around,
    fields_of,
    first_unequal,
    words,
    written,
)

MAPPED = {"session", "nonce", "id", "bolus_id", "serial", "calibration", "boot"}
UNCOMPARED = {"proof", "clock"}
"""A proof depends on the key and both nonces; a device's clock is time."""
EVENTS = ("not-opened", "not-written", "lost", "signal")
"""What may become of a line, beside being opened and closed."""


@dataclass(slots=True)
class Mapping:
    """Which value of one side is which of the other, both ways."""

    there: dict[tuple[str, object], object] = field(default_factory=dict)
    back: dict[tuple[str, object], object] = field(default_factory=dict)

    def agrees(self, what: str, one: object, other: object) -> bool:
        """Whether two values are the same thing, as far as is known; from now on they are."""
        if not one or not other:
            return one == other  # 0 and "none" mean themselves
        ours = self.there.setdefault((what, one), other)
        theirs = self.back.setdefault((what, other), one)
        return ours == other and theirs == one


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference: an entry of each side, ``None`` where a side has ended."""

    one: Entry | None
    other: Entry | None
    text: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared: all frames or only the host's; times only where ``within_ms`` is given."""

    host_only: bool = False
    within_ms: int | None = None

    def concerns(self, entry: Entry) -> bool:
        """Whether an entry is looked at."""
        if isinstance(entry, Happening):
            return entry.event in EVENTS
        return entry.way == ">" or not self.host_only


def first_difference(
    one: tuple[Entry, ...], other: tuple[Entry, ...], compared: Compared
) -> Difference | None:
    """The first place where two conversations differ; ``None``: nowhere."""
    ours = [entry for entry in one if compared.concerns(entry)]
    theirs = [entry for entry in other if compared.concerns(entry)]
    mapping = Mapping()
    before: tuple[Entry, Entry] | None = None
    for a, b in zip(ours, theirs, strict=False):
        text = _difference(a, b, mapping) or _in_time(before, a, b, compared.within_ms)
        if text is not None:
            return Difference(a, b, text)
        before = a, b
    if len(ours) > len(theirs):
        return Difference(ours[len(theirs)], None, "the other capture has ended")
    if len(theirs) > len(ours):
        return Difference(None, theirs[len(ours)], "the first capture has ended")
    return None


def _difference(a: Entry, b: Entry, mapping: Mapping) -> str | None:
    if isinstance(a, Happening) or isinstance(b, Happening):
        same = isinstance(a, Happening) and isinstance(b, Happening) and a.event == b.event
        return None if same else "another thing happened"
    if a.way != b.way:
        return "the other end speaks"
    if a.envelope is None or b.envelope is None:
        if a.envelope is not None or b.envelope is not None:
            return "one is whole and the other is not"
        return None if a.problem == b.problem else "they are no good for different reasons"
    if a.is_sealed != b.is_sealed:
        return "one is sealed and the other is not"
    return _of_envelopes(a.envelope, b.envelope, mapping)


def _of_envelopes(a: Envelope, b: Envelope, mapping: Mapping) -> str | None:
    if type(a.message) is not type(b.message):
        return f"{type(a.message).__name__} here, {type(b.message).__name__} there"
    if not mapping.agrees("session", a.session, b.session):
        return "they belong to different sessions"
    if not mapping.agrees(f"sequence of {a.session:#x}", a.sequence, b.sequence):
        return "they are numbered differently: one answers another request, or was repeated"
    theirs = fields_of(b.message)
    for name, value in fields_of(a.message).items():
        if name in UNCOMPARED:
            continue
        if name in MAPPED:
            if not mapping.agrees("id" if name == "bolus_id" else name, value, theirs[name]):
                return f"{name}: {written(value)} here is not {written(theirs[name])} there"
        elif (unequal := first_unequal(name, value, theirs[name])) is not None:
            where, ours, other = unequal
            return f"{where}: {written(ours)} here, {written(other)} there"
    return None


def _in_time(
    before: tuple[Entry, Entry] | None, a: Entry, b: Entry, within_ms: int | None
) -> str | None:
    if within_ms is None or before is None:
        return None
    ours, theirs = (now.ns - then.ns for now, then in zip((a, b), before, strict=True))
    if abs(ours - theirs) <= within_ms * NS_PER_MS:
        return None
    return f"{ours / NS_PER_MS:.3f} ms after what went before here, {theirs / NS_PER_MS:.3f} there"


def told(
    found: Difference, names: tuple[str, str], one: tuple[Entry, ...], other: tuple[Entry, ...]
) -> list[str]:
    """A difference for people: what differs, then both sides with their surroundings."""
    lines = [f"the first difference: {found.text}"]
    for name, entry, entries in (
        (names[0], found.one, one),
        (names[1], found.other, other),
    ):
        lines.append(f"{name}:")
        if entry is not None:
            lines += around(entries, entry)
        else:
            lines += (
                ["  " + line.strip() for line in around(entries, entries[-1])[:-1]]
                if (entries)
                else []
            )
            lines.append("→ nothing more")
    return lines


def as_json(found: Difference | None) -> dict[str, object]:
    """A difference for programs."""
    side = {
        "one": None if found is None else _side(found.one),
        "other": None if found is None else _side(found.other),
    }
    text = None if found is None else found.text
    return {"schema": "neuraxis.capture-diff/1", "same": found is None, "text": text, **side}


def _side(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    number = entry.number if isinstance(entry, Frame) else None
    return {"number": number, "ns": entry.ns, "says": words(entry)}
