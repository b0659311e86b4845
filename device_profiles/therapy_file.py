"""Reads a therapy file: to a therapy in integers, and to every finding at its line.

A file with findings gives no therapy. What of it can be read is still handed on for judging, so
that a person sees all that is wrong at once and not the first half of it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from device_profiles.diagnostics import Finding
from device_profiles.document import Document, read_document
from device_profiles.placed import (
    Entry,
    Items,
    Keys,
    Location,
    Node,
    Place,
    Text,
    location_of,
    node_at,
    place_at,
    without,
)
from device_profiles.placed_models import Problem, in_order, no_mapping, problem, reported, validate
from device_profiles.therapy import InfusionTherapy, Therapy
from device_profiles.therapy_checks import infusion_problems, stimulation_problems
from device_profiles.therapy_models import InfusionFile, StimulationFile


@dataclass(frozen=True, slots=True)
class TherapyReading:
    """What came of reading one therapy file.

    ``therapy`` is there only if the file has no finding. ``therapy_to_judge`` is the same one,
    or, for a file with findings, what is left without the nodes in ``left_out`` (paths in the
    file): good for finding more that is wrong, never for sending.
    """

    file: str
    document: Document
    therapy: Therapy | None
    therapy_to_judge: Therapy | None
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    judged: Keys | None
    """The tree that `therapy_to_judge` was made from; `place` finds its way in it."""

    @property
    def readable(self) -> bool:
        """Whether the file is YAML at all, so that what it says could be looked at."""
        return self.document.root is not None

    def place(self, path: str) -> Place:
        """Where a path of `therapy_to_judge` stands in the file, with its path there.

        A path that is not in the file is placed at the nearest parent that is. The steps are the
        keys of the file: ``basal[0].from``, ``fill.vials.morphine``.
        """
        return place_at(self.judged, location_of(path)) if self.judged else Place(path, 0, 0)

    def with_judgement(self, judged: Iterable[Finding]) -> tuple[Finding, ...]:
        """All findings on the file: these, and those that safety made of `therapy_to_judge`.

        The latter are put in their places. What safety says of a node that was left out is not
        said of the file, and is dropped; so is what the reading has said already.
        """
        known = {(finding.rule, finding.path) for finding in self.findings}
        located = (finding.located(*self.place(finding.path)) for finding in judged)
        added = (
            finding
            for finding in located
            if (finding.rule, finding.path) not in known and not self._left_out(finding.path)
        )
        return in_order((*self.findings, *added))

    def _left_out(self, path: str) -> bool:
        """Whether a path is of a node that was left out, in it, or of the one it belongs to."""
        return any(
            path == gone or path.startswith((f"{gone}.", f"{gone}[")) or path == _parent_of(gone)
            for gone in self.left_out
        )


def _parent_of(path: str) -> str:
    """The path one step up: a whole that lacks a part cannot be judged as a whole."""
    return path[: max(path.rfind("."), path.rfind("["), 0)]


def read_therapy(path: Path) -> TherapyReading:
    """The reading of a therapy file; never raises for what the file says or for its absence."""
    return reading_of(read_document(path))


def reading_of(document: Document) -> TherapyReading:
    """The reading of a document."""
    root = document.root
    if not isinstance(root, Keys):
        shapeless = () if root is None else (no_mapping(document),)
        return _reading(document, (*document.findings, *shapeless))
    kind, unkind = _kind_of(root)
    findings = [*document.findings, *(p.finding for p in unkind)]
    if kind is None:
        return _reading(document, findings)
    model, invalid = _validated(kind, root)
    disagreeing = tuple(kind.agreement(root))
    findings.extend(p.finding for p in (*reported(invalid, document.holes), *disagreeing))
    if model and not findings:
        return _reading(document, (), model.to_therapy(), root)
    left = None if unkind else _pruned(kind, root, (*invalid, *disagreeing))
    if left is None:
        return _reading(document, findings)
    model, tree, left_out = left
    gone = (*left_out, *document.holes, *(finding.path for finding in document.findings))
    return _reading(document, findings, _startable(model.to_therapy()), tree, gone)


def _reading(
    document: Document,
    findings: Iterable[Finding],
    judged: Therapy | None = None,
    tree: Keys | None = None,
    left_out: Iterable[str] = (),
) -> TherapyReading:
    findings = in_order(findings)
    therapy = None if findings else judged
    return TherapyReading(document.file, document, therapy, judged, findings, tuple(left_out), tree)


# --- the two kinds of therapy ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of therapy file: its model, its checks, and what a judge can do without.

    A ``*`` stands for any index or key. ``standins`` are values that no rule of safety objects
    to, put in the place of one that is wrong, so that it hides no judgement of the others.
    """

    word: str
    telling: frozenset[str]
    model: type[StimulationFile] | type[InfusionFile]
    agreement: Callable[[Keys], Iterator[Problem]]
    droppable: frozenset[tuple[str, ...]]
    standins: tuple[tuple[tuple[str, ...], str | None], ...]


_KINDS = (
    _Kind(
        word="stimulation",
        telling=frozenset({"programs", "start_with"}),
        model=StimulationFile,
        agreement=stimulation_problems,
        droppable=frozenset(
            {
                ("programs", "*"),
                ("programs", "*", "areas", "*"),
                ("programs", "*", "cycle"),
            }
        ),
        standins=(
            (("patient",), "UNKNOWN-0"),
            (("start_with",), "unknown"),
            (("programs", "*", "rate"), "50 Hz"),
            (("programs", "*", "ramp"), "60 s"),
            (("programs", "*", "areas", "*", "amplitude"), "0 mA"),
            (("programs", "*", "areas", "*", "pulse_width"), "20 us"),
            (("programs", "*", "areas", "*", "recharge"), "passive"),
        ),
    ),
    _Kind(
        word="infusion",
        telling=frozenset({"drugs", "fill", "basal", "patient_bolus", "catheter"}),
        model=InfusionFile,
        agreement=infusion_problems,
        # A drug may go, but not the first: the rates are its rates.
        droppable=frozenset(
            {
                ("timezone",),
                ("drugs", "+"),
                ("drugs", "*", "history"),
                ("drugs", "*", "limits"),
                ("drugs", "*", "limits", "*"),
                ("fill", "vials", "*"),
                ("fill", "withdrawn"),
                ("bridge",),
                ("basal", "*"),
                ("patient_bolus",),
            }
        ),
        standins=(
            (("patient",), "UNKNOWN-0"),
            (("fill", "at"), "1970-01-01T00:00Z"),
            (("fill", "vials"), None),
            (("catheter", "primed"), "false"),
        ),
    ),
)


def _kind_of(root: Keys) -> tuple[_Kind | None, tuple[Problem, ...]]:
    """The kind a file says it is; if it says none, the one that its keys show."""
    node = root.get("therapy")
    for kind in _KINDS:
        if isinstance(node, Text) and node.value == kind.word:
            return kind, ()
    keys = {entry.key for entry in root.entries}
    return next((kind for kind in _KINDS if kind.telling & keys), None), _therapy_problem(root)


def _therapy_problem(root: Keys) -> tuple[Problem, ...]:
    missing = root.get("therapy") is None
    message = "the key 'therapy' is missing" if missing else "this is no kind of therapy"
    return (
        problem(
            root,
            ("therapy",),
            "missing" if missing else "value",
            "FILE-06" if missing else "FILE-07",
            message,
            hint="write therapy: stimulation or therapy: infusion",
        ),
    )


def _validated(
    kind: _Kind, root: Node
) -> tuple[StimulationFile | InfusionFile | None, tuple[Problem, ...]]:
    model, problems = validate(kind.model, root)
    # The kind was settled before, and its own words say more than the model's.
    return model, tuple(p for p in problems if p.location != ("therapy",))


def _startable(therapy: Therapy) -> Therapy:
    """The same therapy, starting with a program that is still there."""
    if isinstance(therapy, InfusionTherapy):
        return therapy
    names = [program.name for program in therapy.programs]
    return therapy if therapy.start_with in names else replace(therapy, start_with=names[0])


# --- what is left to judge ---------------------------------------------------------------------

_MOST_ROUNDS = 6
"""Each round may empty a list, which then goes too; no path is deeper than this."""


def _pruned(
    kind: _Kind, root: Keys, problems: tuple[Problem, ...]
) -> tuple[StimulationFile | InfusionFile, Keys, tuple[str, ...]] | None:
    """What is left without all that is wrong, and the paths left out; ``None`` if too little."""
    tree, left_out = root, dict[str, None]()
    for _ in range(_MOST_ROUNDS):
        unwanted: set[Location] = set()
        for one in problems:
            if one.what == "between":
                continue
            standin = next((s for s in kind.standins if _matches(one.location, s[0])), None)
            if standin and node_at(tree, one.location[:-1]) is not None:
                place = place_at(tree, one.location)
                left_out[place.path] = None
                value = Text(standin[1], place) if standin[1] is not None else Keys((), place)
                changed = _with(tree, one.location, value)
                assert isinstance(changed, Keys)
                tree = changed
                continue
            location = _droppable(kind, one)
            if location is None:
                return None
            unwanted.add(location)
        for location in sorted(unwanted, key=str):
            left_out[place_at(tree, location).path] = None
        pruned = without(tree, unwanted)
        if not isinstance(pruned, Keys):
            return None
        tree = pruned
        model, problems = _validated(kind, tree)
        if model:
            return model, tree, tuple(left_out)
    return None


def _droppable(kind: _Kind, one: Problem) -> Location | None:
    """The smallest part around a problem that the rest can be judged without."""
    if one.what == "extra":
        return one.location
    for length in range(len(one.location), 0, -1):
        location = one.location[:length]
        if any(_matches(location, pattern) for pattern in kind.droppable):
            return location
    return None


def _matches(location: Location, pattern: tuple[str, ...]) -> bool:
    return len(location) == len(pattern) and all(
        part == "*" or (part == "+" and step != 0) or part == step
        for step, part in zip(location, pattern, strict=True)
    )


def _with(node: Node, location: Location, value: Node) -> Node:
    """The tree with another value at a location, whose parent is there."""
    if not location:
        return value
    step, rest = location[0], location[1:]
    if isinstance(node, Items) and isinstance(step, int):
        items = (_with(v, rest, value) if i == step else v for i, v in enumerate(node.items))
        return replace(node, items=tuple(items))
    assert isinstance(node, Keys)
    below = node.get(str(step))
    changed = _with(below, rest, value) if below is not None else value
    entry = node.entry(str(step)) or Entry(str(step), value.place, value)
    kept = tuple(other for other in node.entries if other.key != step)
    return replace(node, entries=(*kept, replace(entry, value=changed)))
