"""Placed text: a document as a tree in which every value knows where it stood in the file.

A node keeps the path it had in the file, also after a reader has taken other nodes out of the
tree; so a finding about a pruned tree still points at the right line.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

Location = tuple[str | int, ...]
"""Keys and indexes from the root of one tree to a node in it."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_<][A-Za-z0-9_<\-]*", re.ASCII)
_STEP = re.compile(r'\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([A-Za-z0-9_<][A-Za-z0-9_<\-]*)')


class Place(NamedTuple):
    """A path in the original file, with line and column from 1."""

    path: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar, exactly as written: no parser has guessed a type."""

    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple["Node", ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value; ``place`` is the key's."""

    key: str
    place: Place
    value: "Node"


@dataclass(frozen=True, slots=True)
class Keys:
    """A mapping: keys in the order of the file, each once."""

    entries: tuple[Entry, ...]
    place: Place

    def entry(self, key: str) -> Entry | None:
        """The entry of a key, or ``None``."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def get(self, key: str) -> "Node | None":
        """The value of a key, or ``None``."""
        entry = self.entry(key)
        return entry.value if entry else None


Node = Text | Items | Keys


def path_to_key(parent: str, key: str) -> str:
    """The path of a key under a parent's path; keys that are no plain words are quoted."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{parent}[{json.dumps(key)}]"
    return f"{parent}.{key}" if parent else key


def location_of(path: str) -> Location:
    """The steps of a path such as ``programs[0].areas[0].amplitude``."""
    steps: list[str | int] = []
    for index, quoted, key in _STEP.findall(path):
        steps.append(int(index) if index else str(json.loads(quoted)) if quoted else key)
    return tuple(steps)


def plain(node: Node) -> object:
    """The tree as dicts, lists and strings, for a model to read."""
    match node:
        case Text():
            return node.value
        case Items():
            return [plain(item) for item in node.items]
        case Keys():
            return {entry.key: plain(entry.value) for entry in node.entries}


def child(node: Node, step: str | int) -> Node | None:
    """The node one step down, or ``None``."""
    if isinstance(node, Keys) and isinstance(step, str):
        return node.get(step)
    if isinstance(node, Items) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None


def node_at(root: Node, location: Location) -> Node | None:
    """The node at a location, or ``None``."""
    node: Node | None = root
    for step in location:
        node = child(node, step) if node else None
    return node


def place_at(root: Node, location: Location) -> Place:
    """The place of a value; for one that is missing, its own path at its parent's position."""
    # A parent is shown by its key: the first key below it, where a block begins, says less.
    node, position, path = root, root.place, root.place.path
    for depth, step in enumerate(location):
        below = child(node, step)
        if below is None:
            for missing in location[depth:]:
                index = isinstance(missing, int)
                path = f"{path}[{missing}]" if index else path_to_key(path, str(missing))
            return Place(path, position.line, position.column)
        entry = node.entry(step) if isinstance(node, Keys) and isinstance(step, str) else None
        position = entry.place if entry else below.place
        node, path = below, below.place.path
    return node.place


def key_place_at(root: Node, location: Location) -> Place:
    """The place of a key itself, for a key that should not be there."""
    parent = node_at(root, location[:-1])
    entry = parent.entry(str(location[-1])) if isinstance(parent, Keys) else None
    return entry.place if entry else place_at(root, location)


def without(root: Node, unwanted: Collection[Location], here: Location = ()) -> Node:
    """The tree without the nodes at some locations; all others keep their places."""
    match root:
        case Text():
            return root
        case Items():
            return replace(
                root,
                items=tuple(
                    without(item, unwanted, (*here, index))
                    for index, item in enumerate(root.items)
                    if (*here, index) not in unwanted
                ),
            )
        case Keys():
            return replace(
                root,
                entries=tuple(
                    replace(entry, value=without(entry.value, unwanted, (*here, entry.key)))
                    for entry in root.entries
                    if (*here, entry.key) not in unwanted
                ),
            )
