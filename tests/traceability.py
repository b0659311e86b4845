"""Requirements that can be followed: the register against the code and the tests.

`python -m tests.traceability` reads `docs/requirements.yaml`, finds the rules in the code and the
markers on the tests, prints every place where the three do not agree, and ends with 1 if there is
one. Nothing is imported or collected: code and tests are read as text.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

ROOT = Path(__file__).resolve().parent.parent
REGISTER = "docs/requirements.yaml"
FLOORS = ("device_profiles", "safety", "firmware_bridge", "hil")

Kind = Literal["requirement", "vector", "fault"]
"""What a marker may name; each is the name of its marker, too."""
KINDS: tuple[Kind, ...] = get_args(Kind)
Floor = Literal["judge", "road", "files", "process", "people"]

REQUIREMENT = re.compile(r"\bSR-\d{2}\b")
_FORMS = {
    "requirements": re.compile(r"SR-(\d{2})"),
    "hazards": re.compile(r"H([1-9]\d*)"),
    "vectors": re.compile(r"V8\.([1-9]\d*)"),
    "faults": re.compile(r"F([1-9]\d*)"),
}
_WITHOUT_HOLES = ("hazards", "vectors", "faults")


class RegisterError(Exception):
    """The register cannot be read; the text says where and why."""


# --- the register --------------------------------------------------------------------------------


class Entry(BaseModel):
    """A requirement, a golden vector or a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    source: str | None = None
    floor: Floor | None = None
    requirements: tuple[str, ...] = ()
    applies: bool = True
    because: str | None = None
    open: str | None = None
    issue: Literal["later"] | None = None
    gap: str | None = None


class Hazard(BaseModel):
    """A situation that may harm a person, and the requirements that stand against it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    situation: str = Field(min_length=1)
    cause: str
    harm: str
    severity: int = Field(ge=1, le=5)
    requirements: tuple[str, ...]


class Register(BaseModel):
    """All of `docs/requirements.yaml`, in its order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirements: dict[str, Entry]
    hazards: dict[str, Hazard]
    vectors: dict[str, Entry]
    faults: dict[str, Entry]

    def of(self, kind: Kind) -> Mapping[str, Entry]:
        """The entries that a marker of this kind may name."""
        return {"requirement": self.requirements, "vector": self.vectors, "fault": self.faults}[
            kind
        ]


def read_register(root: Path = ROOT) -> Register:
    """The register below a root; raises RegisterError."""
    path = root / REGISTER
    try:
        return Register.model_validate(YAML(typ="safe").load(path.read_text("utf-8")))
    except (OSError, UnicodeError, YAMLError) as error:
        raise RegisterError(f"{REGISTER}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RegisterError(f"{REGISTER}: {place}: {first['msg']}") from error


# --- rules in the code ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A place in the code that names a requirement.

    ``name`` is empty for a module. ``said``: its docstring names it; else it only hands the
    requirement to a call, as a finding's rule or an alarm's.
    """

    file: str
    name: str
    said: bool
    requirement: str

    def __str__(self) -> str:
        return f"{self.file}:{self.name}" if self.name else self.file


_Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def rules_in(root: Path = ROOT) -> tuple[Rule, ...]:
    """Every place of the floors that names a requirement, each once."""
    found: dict[Rule, None] = {}
    for file, tree in _trees(root, *FLOORS):
        for rule in _rules_of(tree, file, ()):
            found[rule] = None
    return tuple(found)


def _rules_of(node: ast.AST, file: str, path: tuple[str, ...]) -> Iterator[Rule]:
    if isinstance(node, _SCOPES):
        if not isinstance(node, ast.Module):
            path = (*path, node.name)
        for requirement in REQUIREMENT.findall(ast.get_docstring(node) or ""):
            yield Rule(file, ".".join(path), True, requirement)
    elif isinstance(node, ast.Call):
        for value in (*node.args, *(keyword.value for keyword in node.keywords)):
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(text, str) and REQUIREMENT.fullmatch(text):
                yield Rule(file, ".".join(path), False, text)
    for child in ast.iter_child_nodes(node):
        yield from _rules_of(child, file, path)


# --- markers on the tests ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """One marker of one test; no evidence if the test is expected to fail or is skipped."""

    kind: Kind
    id: str
    file: str
    test: str
    evidence: bool = True

    @property
    def where(self) -> str:
        """The test as pytest writes it."""
        return f"{self.file}::{self.test}"


@dataclass(frozen=True, slots=True)
class _Named:
    kind: Kind
    id: str
    evidence: bool


_Aliases = dict[str, tuple[_Named, ...]]


def marks_in(root: Path = ROOT) -> tuple[Mark, ...]:
    """Every marker of the tests, in the order of the files, each once for a test."""
    found: dict[Mark, None] = {}
    for file, tree in _trees(root, "tests"):
        if not Path(file).name.startswith("test_"):
            continue
        for mark in _marks_of(tree, file, "", {}, ()):
            found[mark] = None
    return tuple(found)


def _marks_of(
    scope: ast.Module | ast.ClassDef,
    file: str,
    prefix: str,
    outer: _Aliases,
    inherited: tuple[_Named, ...],
) -> Iterator[Mark]:
    """The marks of a module's or class's tests, those of ``pytestmark`` among them.

    A name that a module gives to a marker, or to parameters that carry some, counts where a
    decorator uses it.
    """
    aliases = dict(outer)
    for statement in scope.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            named = tuple(_named(statement.value, aliases))
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                aliases[ast.unparse(target)] = named
    inherited = (*inherited, *aliases.pop("pytestmark", ()))
    for statement in scope.body:
        if not isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        own = [one for node in statement.decorator_list for one in _named(node, aliases)]
        if isinstance(statement, ast.ClassDef):
            within = (*inherited, *own)
            yield from _marks_of(statement, file, f"{prefix}{statement.name}::", aliases, within)
            continue
        excused = any(_excuses(node) for node in statement.decorator_list)
        wanted = [*inherited, *own] if statement.name.startswith("test") else own
        for one in wanted:
            evidence = one.evidence and not excused
            yield Mark(one.kind, one.id, file, f"{prefix}{statement.name}", evidence)


def _named(node: ast.AST, aliases: _Aliases, evidence: bool = True) -> Iterator[_Named]:
    """What an expression names by markers: itself, in its parts, and by other names."""
    if isinstance(node, ast.Call) and (kind := _marker(node.func)) in KINDS:
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            text = argument.value if isinstance(argument, ast.Constant) else None
            # What is computed cannot be followed: it is named as it is written, and found alien.
            written = text if isinstance(text, str) else ast.unparse(argument)
            yield _Named(kind, written, evidence)
        return
    if isinstance(node, ast.Name):
        for one in aliases.get(node.id, ()):
            yield _Named(one.kind, one.id, one.evidence and evidence)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("param"):
        marks = [keyword.value for keyword in node.keywords if keyword.arg == "marks"]
        evidence = evidence and not any(_excuses(one) for mark in marks for one in ast.walk(mark))
    for child in ast.iter_child_nodes(node):
        yield from _named(child, aliases, evidence)


def _marker(node: ast.AST) -> str | None:
    """The name of a marker of pytest: ``x`` of ``pytest.mark.x``."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("mark"):
        return node.attr
    return None


def _excuses(node: ast.AST) -> bool:
    """Whether a decorator lets its test fail or leaves it out."""
    return _marker(node.func if isinstance(node, ast.Call) else node) in ("xfail", "skip")


def _trees(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            yield file, ast.parse(path.read_text("utf-8"), file)


# --- the three together --------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """The register with the rules and the tests that name its entries."""

    register: Register
    rules: tuple[Rule, ...]
    marks: tuple[Mark, ...]

    @cached_property
    def _rules_by_id(self) -> Mapping[str, Sequence[Rule]]:
        found: dict[str, list[Rule]] = {}
        for rule in self.rules:
            found.setdefault(rule.requirement, []).append(rule)
        return found

    @cached_property
    def _marks_by_id(self) -> Mapping[tuple[Kind, str], Sequence[Mark]]:
        found: dict[tuple[Kind, str], list[Mark]] = {}
        for mark in self.marks:
            if mark.evidence and mark.test.rpartition("::")[2].startswith("test"):
                found.setdefault((mark.kind, mark.id), []).append(mark)
        return found

    def rules_of(self, requirement: str) -> Sequence[Rule]:
        """The places that name a requirement, the most telling ones.

        Those that say it before those that only hand it on, functions before their module.
        """
        named = self._rules_by_id.get(requirement, ())
        named = [rule for rule in named if rule.said] or named
        return [rule for rule in named if rule.name] or named

    def tests_of(self, kind: Kind, entry: str) -> Sequence[Mark]:
        """The tests that are evidence for an entry."""
        return self._marks_by_id.get((kind, entry), ())

    def problems(self) -> list[str]:
        """Every place where register, code and tests do not agree, as sentences."""
        return [*self._of_the_register(), *self._of_the_entries(), *self._of_the_tests()]

    def _of_the_register(self) -> Iterator[str]:
        register = self.register
        for name, form in _FORMS.items():
            ids = list(getattr(register, name))
            numbers = []
            for one in ids:
                matched = form.fullmatch(one)
                if matched is None:
                    yield f"{one} is no name for one of the {name}"
                else:
                    numbers.append(int(matched[1]))
            if name in _WITHOUT_HOLES and numbers != list(range(1, len(numbers) + 1)):
                yield f"the {name} are not numbered from 1 without a hole: one was left out"
        named: list[tuple[str, tuple[str, ...]]] = [
            (one, hazard.requirements) for one, hazard in register.hazards.items()
        ]
        named += [(one, e.requirements) for kind in KINDS for one, e in register.of(kind).items()]
        for one, requirements in named:
            for requirement in requirements:
                if requirement not in register.requirements:
                    yield f"{one} names {requirement}, which is no requirement of the register"
        for one, hazard in register.hazards.items():
            if not hazard.requirements:
                yield f"{one} names no requirement, so nothing stands against it"
        for kind in KINDS:
            for one, entry in register.of(kind).items():
                yield from _contradictions(kind, one, entry)

    def _of_the_entries(self) -> Iterator[str]:
        for kind in KINDS:
            for one, entry in self.register.of(kind).items():
                tests = self.tests_of(kind, one)
                if tests and not entry.applies:
                    yield (
                        f"{one} is said not to apply, and {tests[0].where} shows it: one is wrong"
                    )
                elif tests and entry.open is not None:
                    yield (
                        f"{one} is said to be open, and {tests[0].where} shows it: take the mark "
                        f"`open` away in {REGISTER}"
                    )
                elif entry.applies and entry.open is None:
                    yield from self._missing(kind, one)

    def _missing(self, kind: Kind, one: str) -> Iterator[str]:
        if not self.tests_of(kind, one):
            yield (
                f"{one} has no test: mark one that shows it with "
                f"@pytest.mark.{kind}({one!r}), or say in {REGISTER} why it is open"
            )
        if kind == "requirement" and not self.rules_of(one):
            yield f"{one} is named by no code: begin the docstring of its rule with `{one}: …`"

    def _of_the_tests(self) -> Iterator[str]:
        for mark in self.marks:
            if mark.id not in self.register.of(mark.kind):
                yield f"{mark.where} names the {mark.kind} {mark.id}, which the register has not"
            if not mark.test.rpartition("::")[2].startswith("test"):
                yield f"{mark.where} is marked with {mark.id} and is no test"

    def summary(self) -> str:
        """One sentence about the whole, and which entries are open."""
        register = self.register
        entries = {one: e for kind in KINDS for one, e in register.of(kind).items()}
        still_open = [one for one, entry in entries.items() if entry.open is not None]
        later = sum(entries[one].issue == "later" for one in still_open)
        outside = sum(not entry.applies for entry in entries.values())
        text = (
            f"{len(register.requirements)} requirements, {len(register.hazards)} hazards, "
            f"{len(register.vectors)} vectors, {len(register.faults)} faults; "
            f"{outside} cannot happen here, {len(still_open)} open"
        )
        if still_open:
            text += f" ({later} for later work): {', '.join(still_open)}"
        return text


def _contradictions(kind: Kind, one: str, entry: Entry) -> Iterator[str]:
    if kind == "fault" and entry.floor is None:
        yield f"{one} does not say on which floor it is met"
    if entry.applies == (entry.because is not None):
        yield f"{one}: `applies: false` needs `because`, and nothing else has it"
    if entry.open is not None and not entry.applies:
        yield f"{one} does not apply and is open: only one can be"
    if entry.issue is not None and entry.open is None:
        yield f"{one} belongs to later work and does not say what is open"


def read_trace(root: Path = ROOT) -> Trace:
    """Register, code and tests below a root; raises RegisterError."""
    return Trace(read_register(root), rules_in(root), marks_in(root))


def main(root: Path = ROOT) -> int:
    """Prints what does not hold; 1 if anything does not."""
    try:
        trace = read_trace(root)
    except RegisterError as error:
        print(error)
        return 1
    problems = trace.problems()
    for problem in problems:
        print(problem)
    print(trace.summary())
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
