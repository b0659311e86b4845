"""What the documents promise a reader: links lead somewhere, commands parse, files are accepted."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from device_profiles.errors import UsageError
from device_profiles.notation import parse_current, parse_duration, parse_mass
from device_profiles.profile_file import profile_names
from firmware_bridge.links.url import parse_url
from firmware_bridge.simulator.families import machine_kind
from firmware_bridge.simulator.faults import FAULTS, parse_faults
from hil.app import app
from hil.check import check_file, wall_now

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLOORS = ("device_profiles", "safety", "firmware_bridge", "hil")


@dataclass(frozen=True)
class Block:
    """A fenced block: its document, the line of its fence, its language, its lines."""

    document: str
    line: int
    language: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def blocks_of(document: Path) -> Iterator[Block]:
    language, start, lines = "", 0, list[str]()
    for number, line in enumerate(document.read_text("utf-8").splitlines(), start=1):
        if not line.startswith("```"):
            lines.append(line)
        elif start:
            yield Block(name_of(document), start, language, tuple(lines))
            start = 0
        else:
            language, start, lines = line.removeprefix("```").strip(), number, []
    assert not start, f"{name_of(document)}:{start}: this block never ends"


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def without_blocks(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.M | re.S)


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(document))
    paths = [target.partition("#")[0] for target in targets]
    assert [path for path in paths if path and not (document.parent / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_address_on_the_web_is_named(document: Path) -> None:
    assert (
        re.findall(r"https?:/+\S+|--(?:extra-)?index-url|--find-links", document.read_text()) == []
    )


def test_every_file_that_the_architecture_names_exists() -> None:
    folder = ROOT
    missing = []
    for line in (ROOT / "docs/architecture.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            floor = re.fullmatch(r"## Floor \d, `(\w+)`", line)
            folder = ROOT / floor[1] if floor else ROOT
        elif line.startswith("|"):
            first = line.split("|")[1]
            missing += [
                f"{folder.name}/{name}"
                for name in re.findall(r"`([\w./]+)`", first)
                if not (folder / name).exists()
            ]
    assert missing == []


# --- commands ------------------------------------------------------------------------------------


def commands_of(block: Block) -> Iterator[list[str]]:
    """The `neuraxis` commands of a block: all lines of ``sh``, those after ``$`` of ``console``."""
    for line in block.lines:
        text = line if block.language == "sh" else line.removeprefix("$ ")
        if (block.language == "console" and text == line) or block.language not in (
            "sh",
            "console",
        ):
            continue
        words = shlex.split(text, comments=True)
        if words and words[0] == "neuraxis":
            end = next((i for i, word in enumerate(words) if word in ("|", "&", ">")), len(words))
            yield words[1:end]


COMMANDS = [(block, words) for block in BLOCKS for words in commands_of(block)]
PARSERS = {
    "device": parse_url,
    "duration": parse_duration,
    "over": parse_duration,
    "amount": parse_mass,
    "value": parse_current,
}
"""Parameters whose text has a grammar of its own."""


def parse_command(words: list[str]) -> dict[str, Any]:
    """The parameters of a command line, parsed and not run; raises what its parser raises."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("neuraxis", words)
    while hasattr(command, "commands"):
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    parameters: dict[str, Any] = context.params
    return parameters


@pytest.mark.parametrize(
    ("block", "words"), COMMANDS, ids=[f"{block}: {shlex.join(words)}" for block, words in COMMANDS]
)
def test_every_command_line_parses(block: Block, words: list[str]) -> None:
    for name, value in parse_command(words).items():
        if name in PARSERS and value is not None:
            PARSERS[name](value)


@pytest.mark.parametrize(
    "words", [["chekc", "FILE"], ["check"], ["check", "FILE", "--colour"], ["journal", "tell", "F"]]
)
def test_a_command_line_that_does_not_exist_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse_command(words)


def test_the_documents_show_every_command() -> None:
    shown = {words[0] for _, words in COMMANDS}
    command: Any = typer.main.get_command(app)
    assert shown >= set(command.commands) - {"schema", "switch", "impedance"} | {"run"}


def test_commands_stand_in_blocks_that_are_checked() -> None:
    command: Any = typer.main.get_command(app)
    start = re.compile(rf"(?:\$ )?neuraxis (?:{'|'.join(command.commands)})\b")
    unchecked = [
        f"{block}: {line}"
        for block in BLOCKS
        if block.language not in ("sh", "console")
        for line in block.lines
        if start.match(line)
    ]
    assert unchecked == []


# --- the two commands of the README --------------------------------------------------------------


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))


def test_the_readme_opens_with_two_commands_of_the_makefile() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^ {4}(\w+ \w+)$", text, flags=re.M)[:2] == ["make demo", "make test"]
    before = text.partition("    make demo")[0]
    assert "a bench and research prototype, not a medical device" in " ".join(before.split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_target_of_make_exists(document: Path) -> None:
    assert set(re.findall(r"`make ([a-z-]+)", document.read_text("utf-8"))) <= targets()


# --- files ---------------------------------------------------------------------------------------


def yaml_blocks(start: str) -> list[Any]:
    found = [b for b in BLOCKS if b.language == "yaml" and b.text.startswith(start)]
    assert found, f"no yaml block starts with {start!r}"
    return [pytest.param(block, id=str(block)) for block in found]


@pytest.mark.parametrize("block", yaml_blocks("therapy:"))
def test_every_therapy_file_is_accepted(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "therapy.yaml"
    path.write_text(block.text, "utf-8")
    check = check_file(path, None, wall_now())
    assert check.rendered() == ""
    assert check.verdict == "accepted"


@pytest.mark.parametrize("block", yaml_blocks("- {at:"))
def test_every_faults_file_is_read(block: Block) -> None:
    """By one of the devices at least."""
    refusals = []
    for family in ("stimulator", "pump"):
        try:
            parse_faults(block.text, str(block), family, machine_kind(family).requests.values())
        except UsageError as error:
            refusals.append(str(error))
    assert len(refusals) < 2, refusals


PYTHON = [pytest.param(block, id=str(block)) for block in BLOCKS if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON)
def test_every_python_block_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(FLOORS):
            module = importlib.import_module(node.module or "")
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


# --- faults --------------------------------------------------------------------------------------


def test_every_fault_of_the_simulator_is_described_to_technicians_in_its_own_words() -> None:
    document = (ROOT / "docs/users/technician.md").read_text("utf-8")
    section = document.partition("| fault | what the simulated device does | whose |\n")[2]
    rows = [row[2:-2].split(" | ") for row in section.partition("\n\n")[0].splitlines()[1:]]
    described = []
    for kind in FAULTS.values():
        whose = [kind.device or "both"]
        whose += ["one request"] * kind.per_request + ["one contact"] * kind.takes_contact
        described.append([f"`{kind.name}`", kind.text, ", ".join(whose)])
    assert rows == described


# --- profiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", profile_names())
def test_every_number_of_a_profile_is_described(profile: str) -> None:
    text = (ROOT / f"device_profiles/data/{profile}.yaml").read_text("utf-8")
    section, numbers = "", set()
    for line in text.splitlines():
        if opened := re.fullmatch(r"(\w+):", line):
            section = f"{opened[1]}."
        elif found := re.match(r'( *)(\w+): \{value: "?([^",]+)', line):
            numbers.add((f"{section if found[1] else ''}{found[2]}", found[3]))
    document = (ROOT / f"docs/profiles/{profile}.md").read_text("utf-8")
    described = document.partition("## States")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \| ([^|]+?) \|", described, flags=re.M)) == numbers
