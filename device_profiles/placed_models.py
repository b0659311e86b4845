"""Pydantic models over placed text: every error comes back with its rule and its place."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from device_profiles.diagnostics import Finding
from device_profiles.document import Document
from device_profiles.fields import PLACED
from device_profiles.notation_grammar import shown
from device_profiles.placed import (
    Items,
    Keys,
    Location,
    Node,
    Place,
    Text,
    key_place_at,
    node_at,
    place_at,
    plain,
)

Model = TypeVar("Model", bound=BaseModel)


class FileModel(BaseModel):
    """The strictness of every file: unknown keys are refused, nothing is converted."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        model_title_generator=lambda model: model.__name__.removesuffix("Model"),
    )


@dataclass(frozen=True, slots=True)
class Mandatory:
    """Marks a field whose absence breaks a safety rule and not only the form of the file."""

    rule: str
    message: str
    source: str
    hint: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One objection to a tree: where in it, what, and what becomes of the node.

    ``what`` is ``value`` (the node is wrong), ``missing`` (it is not there), ``extra`` (it should
    not be there) or ``between`` (the node is right by itself, but not beside another one: it can
    still be judged).
    """

    location: Location
    what: Literal["value", "missing", "extra", "between"]
    finding: Finding


def problem(
    root: Node,
    location: Location,
    what: Literal["value", "missing", "extra", "between"],
    rule: str,
    message: str,
    *,
    hint: str | None = None,
    source: str | None = None,
    at_key: bool = False,
) -> Problem:
    """A problem at a location of a tree; ``at_key`` points at the key and not at its value."""
    at_key = at_key or what == "extra"
    place = key_place_at(root, location) if at_key else place_at(root, location)
    node = node_at(root, location)
    hard = rule.startswith("SR-")
    return Problem(
        location,
        what,
        Finding(
            rule=rule,
            severity="hard" if hard else "file",
            path=place.path,
            message=message,
            value=node.value[:64] if isinstance(node, Text) and not at_key else None,
            source=source or ("rule" if hard else "file"),
            hint=hint,
            line=place.line,
            column=place.column,
        ),
    )


def validate(model: type[Model], root: Node) -> tuple[Model | None, tuple[Problem, ...]]:
    """The model that a tree holds, or all that keeps it from being one."""
    try:
        return model.model_validate(plain(root)), ()
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        return None, tuple(_problem_of(details, model, root) for details in errors)


def reported(problems: Iterable[Problem], holes: frozenset[str]) -> tuple[Problem, ...]:
    """The problems worth showing: what was refused where it stood is not missing as well."""
    return tuple(p for p in problems if not (p.what == "missing" and p.finding.path in holes))


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings as a reader meets them, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda f: (f.line, f.column, f.path, f.rule)))


def no_mapping(document: Document) -> Finding:
    """The finding for a document that is a list or a lone text."""
    place = document.root.place if document.root else Place("", 1, 1)
    return Finding(
        rule="FILE-07",
        severity="file",
        path="",
        message="the file is no mapping of keys to values",
        source="file",
        hint="begin with keys, each followed by a colon and its value",
        line=place.line,
        column=place.column,
    )


_EXPECTED: Mapping[str, str] = {
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "list_type": "a list",
    "string_type": "a text",
}


def _problem_of(details: ErrorDetails, model: type[BaseModel], root: Node) -> Problem:
    location: Location = details["loc"]
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    if kind == PLACED:
        hint = context["hint"]
        return problem(root, location, "value", context["rule"], context["message"], hint=hint)
    if kind == "missing":
        return _missing(location, model, root)
    if kind == "extra_forbidden":
        return _unknown(location, model, root)
    if kind in _EXPECTED:
        found = _kind_of(node_at(root, location))
        message = f"{_EXPECTED[kind]} is expected here, not {found}"
        return problem(root, location, "value", "FILE-07", message)
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        few = kind == "too_short"
        message = (
            f"here stand at {'least' if few else 'most'} {bound}, not {context['actual_length']}"
        )
        return problem(root, location, "value", "FILE-09", message, at_key=True)
    return problem(root, location, "value", "FILE-07", details["msg"])


def _missing(location: Location, model: type[BaseModel], root: Node) -> Problem:
    key = str(location[-1])
    field = _fields_at(model, location[:-1]).get(key)
    for mark in field.metadata if field else ():
        if isinstance(mark, Mandatory):
            return problem(
                root,
                location,
                "missing",
                mark.rule,
                mark.message,
                hint=mark.hint,
                source=mark.source,
            )
    return problem(
        root,
        location,
        "missing",
        "FILE-06",
        f"the key {shown(key)} is missing",
        hint=f"add {key}: with its value",
    )


def _unknown(location: Location, model: type[BaseModel], root: Node) -> Problem:
    key = str(location[-1])
    known = list(_fields_at(model, location[:-1]))
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the keys here are {', '.join(known)}"
    if key[:1].isdigit():
        hint = "between braces a comma ends a value; a decimal point is a point"
    return problem(
        root, location, "extra", "FILE-05", f"the key {shown(key)} is unknown here", hint=hint
    )


def _kind_of(node: Node | None) -> str:
    match node:
        case Items():
            return "a list"
        case Keys():
            return "a mapping"
        case Text(value=""):
            return "nothing"
        case _:
            return "a text"


def _fields_at(model: type[BaseModel], location: Location) -> dict[str, FieldInfo]:
    """The fields, by their names in the file, of the model that reads a location."""
    annotation: Any = model
    for step in location:
        annotation = _bare(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found = _by_name(annotation).get(str(step))
            annotation = found.annotation if found else None
        else:
            arguments = get_args(annotation)
            annotation = arguments[-1] if arguments else None
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _by_name(annotation)
    return {}


def _bare(annotation: Any) -> Any:
    """An annotation without ``None`` beside it."""
    if get_origin(annotation) in (list, dict):
        return annotation
    inner = [part for part in get_args(annotation) if part is not NoneType]
    generic = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return inner[0] if inner and not generic else annotation


def _by_name(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}
