"""Reads `docs/protocol.md`: its tables of fields and its hex vectors, in their regular form."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

PATH = Path(__file__).parents[2] / "docs" / "protocol.md"


@dataclass
class Section:
    """A message or a record: ``title`` as in the heading, field name to (type, unit)."""

    title: str
    fields: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Block:
    """A fenced block: its language, its lines, and the number of the line it begins on."""

    language: str
    lines: list[str]
    line: int

    def values(self) -> dict[str, str]:
        """The block as ``name: value`` lines."""
        return dict(line.split(": ", 1) for line in self.lines)


def sections() -> list[Section]:
    """All sections whose heading names a message (``0x20 Start · …``) or a ``record``."""
    found: list[Section] = []
    current: Section | None = None
    for line in PATH.read_text("utf-8").splitlines():
        if line.startswith("#"):
            current = None
            heading = re.fullmatch(r"### (0x[0-9A-F]{2} \w+ · .*|record \w+)", line)
            if heading:
                current = Section(heading[1])
                found.append(current)
        row = re.fullmatch(r"\| `(\w+)` \| (.+?) \| (.*?) \| (.+) \|", line)
        if row and current is not None:
            current.fields[row[1]] = (row[2], row[3])
    return found


def blocks(language: str) -> list[Block]:
    """All fenced blocks of a language, in order."""
    found: list[Block] = []
    current: Block | None = None
    for number, line in enumerate(PATH.read_text("utf-8").splitlines(), 1):
        if line.startswith("```"):
            if current is None:
                current = Block(line[3:], [], number)
            else:
                found.append(current)
                current = None
        elif current is not None:
            current.lines.append(line)
    return [block for block in found if block.language == language]


def from_diagnostic(text: str) -> Any:
    """A value in CBOR's diagnostic notation, as far as the document uses it."""

    def revive(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("\x00"):
            return bytes.fromhex(value[1:])
        if isinstance(value, list):
            return [revive(item) for item in value]
        if isinstance(value, dict):
            return {key: revive(item) for key, item in value.items()}
        return value

    return revive(json.loads(re.sub(r"h'([0-9a-f]*)'", r'"\\u0000\1"', text)))


def described_fields(cls: type[Any]) -> dict[str, str]:
    """The type and range of each field, in the document's words, from the code."""
    schema = TypeAdapter(cls).json_schema()
    definitions = schema.get("$defs", {})
    properties = schema.get("properties", {})
    return {name: _describe(part, definitions) for name, part in properties.items()}


def _describe(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in part:
        return f"record {part['$ref'].rsplit('/', 1)[1]}"
    if "anyOf" in part:
        return " or ".join(_describe(choice, definitions) for choice in part["anyOf"])
    if "enum" in part:
        return "one of " + ", ".join(f"`{value}`" for value in part["enum"])
    match part["type"]:
        case "integer":
            return f"integer, {part['minimum']} to {part['maximum']}"
        case "array":
            items = _describe(part["items"], definitions)
            low = part.get("minItems", 0)
            return f"array of {low} to {part['maxItems']}: {items}"
        case "string" if part.get("format") == "binary":
            low, high = part.get("minLength", 0), part["maxLength"]
            return f"{high} bytes" if low == high else f"{low} to {high} bytes"
        case "string":
            return f"text of {part.get('minLength', 0)} to {part['maxLength']} characters"
        case kind:
            return str(kind)
