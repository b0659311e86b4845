"""The JSON Schema for editors: up to date, and true of the examples."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from device_profiles.document import read_document
from device_profiles.placed import Items, Keys, Node, Text
from device_profiles.schema import schema_text, therapy_schema

EXAMPLES = Path(__file__).parents[2] / "examples"


def as_an_editor_sees(node: Node) -> Any:
    """The document with YAML's own types, which an editor compares with the schema."""
    match node:
        case Keys():
            return {entry.key: as_an_editor_sees(entry.value) for entry in node.entries}
        case Items():
            return [as_an_editor_sees(item) for item in node.items]
        case Text():
            if node.value in ("true", "false"):
                return node.value == "true"
            return int(node.value) if re.fullmatch("[0-9]+", node.value) else node.value


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """As much of JSON Schema as this schema uses; an unknown keyword fails the test."""
    known = {
        *("$schema", "$defs", "$ref", "title", "description", "examples", "oneOf", "type"),
        *("const", "enum", "pattern", "maxLength", "minimum", "items", "minItems", "maxItems"),
        *("properties", "required", "additionalProperties", "propertyNames", "minProperties"),
    }
    assert set(schema) <= known
    if "$ref" in schema and not accepts(root["$defs"][schema["$ref"][8:]], value, root):
        return False
    if "oneOf" in schema and sum(accepts(s, value, root) for s in schema["oneOf"]) != 1:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    match schema.get("type"):
        case "string":
            return (
                isinstance(value, str)
                and re.search(schema.get("pattern", ""), value) is not None
                and len(value) <= schema.get("maxLength", len(value))
            )
        case "integer":
            return type(value) is int and value >= schema.get("minimum", value)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return (
                isinstance(value, list)
                and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
                and all(accepts(schema["items"], item, root) for item in value)
            )
        case "object":
            return isinstance(value, dict) and accepts_object(schema, value, root)
    return True


def accepts_object(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any]) -> bool:
    properties = schema.get("properties", {})
    others = schema["additionalProperties"]
    names = schema.get("propertyNames", {}).get("pattern", "")
    return (
        set(schema.get("required", ())) <= set(value)
        and len(value) >= schema.get("minProperties", 0)
        and all(re.search(names, key) for key in value)
        and all(
            accepts(properties[key], item, root)
            if key in properties
            else others is not False and accepts(others, item, root)
            for key, item in value.items()
        )
    )


def example(name: str) -> Any:
    root = read_document(EXAMPLES / name).root
    assert root is not None
    return as_an_editor_sees(root)


def test_the_file_that_ships_is_the_schema_of_the_models() -> None:
    shipped = files("device_profiles").joinpath("data", "therapy.schema.json")
    assert shipped.read_text(encoding="utf-8") == schema_text()


def test_the_schema_names_its_dialect() -> None:
    assert json.loads(schema_text())["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    "name", ["stimulation.yaml", "infusion.yaml", "bridge.yaml", "dangerous.yaml"]
)
def test_the_schema_accepts_the_examples(name: str) -> None:
    schema = therapy_schema()
    assert accepts(schema, example(name), schema)


@pytest.mark.parametrize(
    ("key", "value"),
    [("device", 5), ("patient", "Jane Doe"), ("surprise", "x"), ("programs", [])],
)
def test_the_schema_refuses_what_the_reader_refuses(key: str, value: object) -> None:
    schema = therapy_schema()
    assert not accepts(schema, {**example("stimulation.yaml"), key: value}, schema)


def test_the_schema_refuses_a_bare_number_and_a_misspelt_unit() -> None:
    schema = therapy_schema()
    for slip in (4, "4.2", "4.2 MA", "4,2 mA"):
        therapy = example("stimulation.yaml")
        therapy["programs"][0]["areas"][0]["amplitude"] = slip
        assert not accepts(schema, therapy, schema)
