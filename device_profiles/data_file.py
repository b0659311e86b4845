"""Files of facts (profiles, formularies): a wrong one is refused as a whole, with every reason."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel

from device_profiles.diagnostics import Finding
from device_profiles.document import Document
from device_profiles.errors import UsageError
from device_profiles.fields import Written
from device_profiles.notation import NotationError
from device_profiles.placed import Keys
from device_profiles.placed_models import FileModel, in_order, no_mapping, reported, validate
from device_profiles.rendering import render_findings

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


class DataFileError(UsageError):
    """A file of facts that cannot be used. The text shows every finding at its line."""

    def __init__(self, document: Document, findings: tuple[Finding, ...]) -> None:
        super().__init__(render_findings(findings, document.file, document.lines))
        self.findings = findings


def _parse_sentence(text: str) -> str:
    if len(text.split()) < 2:
        raise NotationError(
            "FILE-07",
            "a few words are expected here" if text else "the text is missing here",
            "say where the number comes from, so that a reader can look it up",
        )
    return text


Sentence = Annotated[str, Written(_parse_sentence, "a sentence", {"type": "string"})]


class Sourced(FileModel, Generic[Value]):
    """A fact and where it comes from; neither stands without the other."""

    value: Value
    source: Sentence


def read_facts(model: type[Model], document: Document) -> Model:
    """The facts in a document; raises `DataFileError` with every finding."""
    if document.root is None:
        raise DataFileError(document, document.findings)
    if not isinstance(document.root, Keys):
        raise DataFileError(document, in_order((*document.findings, no_mapping(document))))
    facts, problems = validate(model, document.root)
    shown = reported(problems, document.holes)
    findings = in_order((*document.findings, *(problem.finding for problem in shown)))
    if facts is None or findings:
        raise DataFileError(document, findings)
    return facts
