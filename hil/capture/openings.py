"""The links of a capture, cut into turns: what the host did, and what followed upon it."""

from dataclasses import dataclass, field

from device_profiles.errors import UsageError
from hil.capture.conversation import Entry, Frame, Happening


@dataclass(slots=True)
class Turn:
    """A frame of the host, or the opening of a link, and what followed upon it."""

    entry: Entry
    answers: list[tuple[int, Entry]] = field(default_factory=list)
    """With the time from the frame on, ns."""
    not_written: str | None = None
    sequence: int | None = None
    """The number under which the replayed host has said it."""


@dataclass(slots=True)
class Opening:
    """One recorded link: when it was opened or why not, and the turns on it."""

    turns: list[Turn]
    opened_ns: int
    is_decided: bool = False
    """Whether it is told how the opening went."""
    failure: str | None = None
    numbers: list[int] = field(default_factory=list)
    """The sequence numbers of the host's frames as they were written."""


def openings_of(entries: tuple[Entry, ...]) -> list[Opening]:
    """The recorded links. What the device said belongs to the request that it answers, all else
    to what the host had done last."""
    openings: dict[int, Opening] = {}
    last: dict[int, Turn] = {}
    by_sequence: dict[tuple[int, int], Turn] = {}
    for entry in entries:
        is_told = isinstance(entry, Happening) and entry.event in ("opening", "signal")
        if not is_told and entry.link not in last:
            raise UsageError(f"the capture tells of a link {entry.link} that was never opened")
        if isinstance(entry, Happening):
            _happened(entry, openings, last)
        elif entry.way == ">":
            last[entry.link] = turn = Turn(entry)
            openings[entry.link].turns.append(turn)
            if entry.envelope is not None:
                openings[entry.link].numbers.append(entry.envelope.sequence)
                by_sequence[entry.link, entry.envelope.sequence] = turn
        else:
            known = last[entry.link]
            if entry.envelope is not None:
                known = by_sequence.get((entry.link, entry.envelope.sequence), known)
            known.answers.append((entry.ns - known.entry.ns, entry))
    return list(openings.values())


def _happened(one: Happening, openings: dict[int, Opening], last: dict[int, Turn]) -> None:
    is_out_of_order = one.event == "opening" and one.link in openings
    if one.event in ("opened", "not-opened"):
        is_out_of_order = openings[one.link].is_decided or isinstance(last[one.link].entry, Frame)
        openings[one.link].is_decided = True
    if is_out_of_order:
        raise UsageError(f"the capture tells twice, or late, how the link {one.link} was opened")
    match one.event:
        case "opening":
            last[one.link] = turn = Turn(one)
            openings[one.link] = Opening([turn], one.ns)
        case "opened":
            openings[one.link].opened_ns = one.ns
            last[one.link].entry = one
        case "not-opened":
            openings[one.link] = Opening([], one.ns, True, one.text)
        case "not-written":
            last[one.link].not_written = one.text
        case "lost":
            turn = last[one.link]
            turn.answers.append((one.ns - turn.entry.ns, one))
