"""YAML 1.2 to a tree of placed text, from the events of the parser: nothing is loaded.

Any bytes give a tree, findings, or both; never an exception and never a hang. The codes:

=======  ==================================================================================
FILE-01  the file cannot be read: missing, no plain file, no permission, too large, not UTF-8,
         a byte order mark, empty
FILE-02  the text is no plain YAML: syntax, tabs, control characters, nesting too deep
FILE-03  a key stands twice in one mapping
FILE-04  a feature that these files do without: anchor, alias, merge key, tag, directive,
         second document
FILE-05  an unknown key, or one that does not belong here
FILE-06  a missing key
FILE-07  a wrong kind of value: a list for a mapping, an unknown word, a malformed name or date
FILE-08  a reference to something that does not exist
FILE-09  too many or too few entries
=======  ==================================================================================

FILE-01 to FILE-04 come from here; the readers of therapies, profiles and formularies give the
others (`placed_models.py`).
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from device_profiles.diagnostics import Finding
from device_profiles.notation_grammar import shown
from device_profiles.placed import Entry, Items, Keys, Node, Place, Text, path_to_key
from device_profiles.plain_file import not_plain

LARGEST_FILE = 1 << 20
DEEPEST_NESTING = 32
LONGEST_LINE = 4_000
MOST_NODES = 5_000
"""Far above any file of this field; these keep the time to read a hostile one bounded."""

_MOST_CHARACTER_FINDINGS = 20
_NEWLINE = re.compile(r"\r\n|\r|\n")
# Controls, separators that other tools take for line ends, and the invisible characters that
# make a line read differently from what it says.
_FORBIDDEN = re.compile(
    "[\x00-\x08\t\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A file as read: its lines for showing, its tree if it has one, and what is wrong.

    ``holes`` are paths of nodes that stood in the file and were left out of the tree (an alias,
    a merge key): they are refused once, and not reported as missing as well.
    """

    file: str
    lines: tuple[str, ...]
    root: Node | None
    findings: tuple[Finding, ...]
    holes: frozenset[str] = frozenset()


def read_document(path: Path) -> Document:
    """The document in a file; whatever prevents reading it is a FILE-01 finding."""
    name = str(path)
    try:
        if (kind := not_plain(path)) is not None:
            return _unread(name, f"{shown(name, 200)} is {kind}", "name a YAML file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return _unread(name, f"there is no file {shown(name, 200)}", "check the path")
    except PermissionError:
        message = f"the file {shown(name, 200)} may not be read"
        return _unread(name, message, "ask its owner for permission to read it")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return _unread(name, f"the file {shown(name, 200)} cannot be read: {reason}", None)
    return parse_document(name, content)


def parse_document(file: str, content: bytes) -> Document:
    """The document in some bytes; ``file`` is the name to show."""
    if len(content) > LARGEST_FILE:
        return _unread(file, "the file is larger than 1 MiB", "a therapy takes a few kilobytes")
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return _unread(
            file, "the file begins with a byte order mark", "save it as UTF-8 without a BOM", 1
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        preceding = _NEWLINE.split(before)
        return _unread(
            file,
            f"the file is not UTF-8: byte 0x{content[error.start]:02X} stands for no character",
            "save it as UTF-8",
            len(preceding),
            len(preceding[-1]) + 1,
        )
    lines: tuple[str, ...] = tuple(_NEWLINE.split(text))
    strange = tuple(_character_findings(lines))
    if strange:
        return Document(file, lines, None, strange)
    return _Builder(file, lines).build(text)


def _unread(file: str, message: str, hint: str | None, line: int = 1, column: int = 1) -> Document:
    finding = _refusal("FILE-01", Place("", line, column), message, hint)
    return Document(file, (), None, (finding,))


def _refusal(rule: str, place: Place, message: str, hint: str | None = None) -> Finding:
    return Finding(
        rule=rule,
        severity="file",
        path=place.path,
        message=message,
        source="file",
        hint=hint,
        line=place.line,
        column=place.column,
    )


def _character_findings(lines: tuple[str, ...]) -> Iterator[Finding]:
    """Findings on lines that are too long or hold a tab or an invisible character."""
    found = 0
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            place = Place("", number, LONGEST_LINE + 1)
            yield _refusal("FILE-02", place, f"the line is longer than {LONGEST_LINE:,} characters")
            return
        match = _FORBIDDEN.search(line)
        if match is None:
            continue
        place = Place("", number, match.start() + 1)
        if match[0] == "\t":
            yield _refusal("FILE-02", place, "a tab stands here", "indent and separate by spaces")
        else:
            yield _refusal(
                "FILE-02",
                place,
                f"the invisible character U+{ord(match[0]):04X} stands here",
                "delete it",
            )
        found += 1
        if found == _MOST_CHARACTER_FINDINGS:
            return


_START = Place("", 1, 1)


class _Stop(Exception):
    """The rest of the document is not worth reading; the reason is among the findings."""


_NO_NODE = object()


@dataclass(slots=True)
class _Builder:
    """Turns the events of one document into its tree, collecting what it refuses."""

    file: str
    lines: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    holes: set[str] = field(default_factory=set)
    nodes: int = 0
    last: Place = _START

    def build(self, text: str) -> Document:
        root: Node | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                root = self._document(text)
        except _Stop:
            root = None
        except MarkedYAMLError as error:
            self._syntax(error)
        # The parser is not ours, and it meets hostile text: whatever it raises means "no YAML".
        except Exception as error:
            reason = _sentence(str(error).splitlines()[0] if str(error) else type(error).__name__)
            self._refuse("FILE-02", self.last, f"this is not YAML: {reason}")
        return Document(self.file, self.lines, root, tuple(self.findings), frozenset(self.holes))

    def _document(self, text: str) -> Node | None:
        for number, line in enumerate(self.lines, 1):
            if line.startswith("%"):
                self._refuse(
                    "FILE-04", Place("", number, 1), "directives are not used here", "delete it"
                )
                raise _Stop
        events: Iterator[Event] = YAML(typ="safe", pure=True).parse(text)
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, StreamEndEvent):
                break
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents == 2:
                    self._refuse(
                        "FILE-04",
                        self._place("", event),
                        "a second document begins here",
                        "put each therapy into a file of its own",
                    )
                    raise _Stop
                built = self._node(next(events), events, "", 0)
                root = built if isinstance(built, Text | Items | Keys) else None
        if root is None and not self.findings:
            self._refuse("FILE-01", Place("", 1, 1), "the file is empty")
        if isinstance(root, Text) and not root.value and not self.findings:
            self._refuse("FILE-01", root.place, "the file is empty")
            return None
        return root

    def _node(self, event: Event, events: Iterator[Event], path: str, depth: int) -> object:
        """The node that an event begins, or `_NO_NODE` for what was refused."""
        place = self.last = self._place(path, event)
        self.nodes += 1
        if depth > DEEPEST_NESTING:
            self._refuse("FILE-02", place, "the nesting is deeper than any therapy needs")
            raise _Stop
        if self.nodes > MOST_NODES:
            self._refuse("FILE-02", place, f"the file holds more than {MOST_NODES:,} values")
            raise _Stop
        if isinstance(event, NodeEvent):
            self._refuse_decorations(event, place)
        if isinstance(event, AliasEvent):
            self.holes.add(path)
            return _NO_NODE
        if isinstance(event, ScalarEvent):
            return Text(str(event.value), place)
        if isinstance(event, SequenceStartEvent):
            return self._items(events, place, depth)
        if isinstance(event, MappingStartEvent):
            return self._keys(events, place, depth)
        raise _Stop

    def _items(self, events: Iterator[Event], place: Place, depth: int) -> Items:
        items: list[Node] = []
        index = 0
        while not isinstance(event := next(events), SequenceEndEvent):
            item = self._node(event, events, f"{place.path}[{index}]", depth + 1)
            if isinstance(item, Text | Items | Keys):
                items.append(item)
            index += 1
        return Items(tuple(items), place)

    def _keys(self, events: Iterator[Event], place: Place, depth: int) -> Keys:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            key_event = event
            key = self._node(key_event, events, place.path, depth + 1)
            name = key.value if isinstance(key, Text) else ""
            path = path_to_key(place.path, name)
            key_place = self._place(path, key_event)
            value = self._node(next(events), events, path, depth + 1)
            if not isinstance(key, Text):
                if key is not _NO_NODE:
                    self._refuse("FILE-02", key_place, "a key is a plain word")
                continue
            if name == "<<":
                self._refuse("FILE-04", key_place, "merge keys are not used here", "write it out")
                continue
            if name in entries:
                first = entries[name].place.line
                self._refuse(
                    "FILE-03",
                    key_place,
                    f"the key {shown(name)} stands here a second time, first on line {first}",
                    "keep one of the two",
                )
                continue
            if isinstance(value, Text) and not value.value:
                # The parser places an empty value at whatever comes next, lines below.
                value = replace(value, place=key_place)
            if isinstance(value, Text | Items | Keys):
                entries[name] = Entry(name, key_place, value)
        return Keys(tuple(entries.values()), place)

    def _refuse_decorations(self, event: NodeEvent, place: Place) -> None:
        if isinstance(event, AliasEvent):
            self._refuse("FILE-04", place, "aliases are not used here", "write the value out")
        elif event.anchor is not None:
            self._refuse("FILE-04", place, "anchors are not used here", "delete it")
        if getattr(event, "tag", None) is not None:
            self._refuse("FILE-04", place, "tags are not used here", "delete it")

    def _syntax(self, error: MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        place = Place("", mark.line + 1, mark.column + 1) if mark else self.last
        problem = _sentence(error.problem or error.context or "it cannot be understood")
        self._refuse("FILE-02", place, f"this is not YAML: {problem}", _SYNTAX_HINT)

    def _place(self, path: str, event: Event) -> Place:
        return Place(path, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, rule: str, place: Place, message: str, hint: str | None = None) -> None:
        self.findings.append(_refusal(rule, place, message, hint))


_SYNTAX_HINT = "check indentation, brackets and quotes here and on the line above"


def _sentence(text: str) -> str:
    """A parser's message in one line of bearable length, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)[:160]
