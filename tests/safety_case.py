"""The safety case: hazard, requirement, rule, test and evidence on one page, generated.

`python -m tests.safety_case` writes `docs/safety-case.md` from the register, the code, the markers
of the tests and `docs/evidence.json`; with ``--check`` it only says whether the page is stale. No
line number is in it, so that it changes only when what it tells of does.
"""

import argparse
import ast
import json
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

# Tests know each other by file name: pytest puts this folder on the path, `python -m` does not.
sys.path.append(str(Path(__file__).parent))

from proof.evidence import Evidence
from traceability import (
    FLOORS,
    REQUIREMENT,
    ROOT,
    Entry,
    Floor,
    Kind,
    RegisterError,
    Trace,
    read_trace,
)

DOCUMENT = "docs/safety-case.md"
EVIDENCE = "docs/evidence.json"
STORM = "docs/storm.json"

NOT_RUN = (
    "The target `prove` of the Makefile has not been run on this tree: there is no "
    f"`{EVIDENCE}`. This chapter shows what its methods found once it has."
)
FLOOR_TITLES: dict[Floor, str] = {
    "judge": "Met by the judge",
    "road": "Met on the road to the device",
    "files": "Met while reading files and requests",
    "process": "Met by processes, time and storage",
    "people": "Met between people",
}
INTRODUCTION = """\
# Safety case

This page is generated from [the register](requirements.yaml), the code, the tests and the record
of the proofs; `python -m tests.safety_case` writes it, and `make check` fails while it is stale.
Whoever wants to change it changes one of those.

## What this page is, and what it is not

neuraxis is a research prototype for a bench. It is not a medical device, has been assessed by
nobody, claims no conformity with any standard, and must not be connected to a person. This page
shows how far its own promises can be followed: from what could go wrong, to what is required
against it, to the rule in the code, to the tests that show it, to what was proved or searched.

What no figure on this page shows, whatever it says:

- that a list of hazards is complete. What nobody thought of is not in it.
- anything about hardware. Every device here is simulated, and the simulator was written by the
  same hands as the host.
- anything about plumbing, leaks, a catheter's place, or a vial that was filled wrongly.
- that limits are right for a patient. A missing limit refuses; a wrong one is obeyed.
- that Python, Linux and a USB line are in time. They are no real-time base.
- independence. Judge and monitor read the same profile, so an error in it deceives both.
- that a test which passes would fail if its rule were broken. The planted bugs below are the
  measure of that, as far as it goes.
"""


# --- what is read --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guard:
    """A rule that can deny something, as its docstring tells of it; parts it lacks are empty."""

    file: str
    name: str
    requirements: tuple[str, ...]
    what: str
    protects: str
    harm: str
    longest: str
    way_out: str


_PARTS = {
    "protects": re.compile(r"\bProtects (?=\S)"),
    "harm": re.compile(r"\bHarm: "),
    "longest": re.compile(r"\bLongest denial: "),
    "way_out": re.compile(r"\bWay out: "),
}
_HEAD = re.compile(r"((?:SR-\d{2}(?:, )?)+): ")
_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z`])")


def guards_in(root: Path = ROOT) -> tuple[Guard, ...]:
    """The guards of all floors, in the order of their files."""
    found = []
    for floor in FLOORS:
        for path in sorted((root / floor).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for node in ast.walk(ast.parse(path.read_text("utf-8"), file)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    guard = _guard(file, node.name, ast.get_docstring(node) or "")
                    found += [guard] if guard else []
    return tuple(found)


def _guard(file: str, name: str, docstring: str) -> Guard | None:
    """The guard in a docstring that begins with its requirements; helpers are part of theirs."""
    text = " ".join(docstring.replace("``", "`").split())
    head = _HEAD.match(text)
    if head is None or name.startswith("_"):
        return None
    starts = {key: found for key, form in _PARTS.items() if (found := form.search(text))}
    if not starts and not name.startswith("judge"):
        return None
    borders = sorted([one.start() for one in starts.values()] + [len(text)])

    def part(key: str) -> str:
        if key not in starts:
            return ""
        begin = starts[key].start()
        return text[starts[key].end() : borders[borders.index(begin) + 1]].strip()

    protects = _SENTENCE_END.split(part("protects"))[0]
    return Guard(
        file,
        name,
        tuple(REQUIREMENT.findall(head[1])),
        _SENTENCE_END.split(text[head.end() : borders[0]])[0].strip(),
        protects,
        part("harm"),
        part("longest"),
        part("way_out"),
    )


def read_evidence(root: Path = ROOT) -> tuple[Evidence, ...]:
    """What the methods of proof reported last; empty if they have not. Raises RegisterError."""
    path = root / EVIDENCE
    try:
        return TypeAdapter(tuple[Evidence, ...]).validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise RegisterError(f"{EVIDENCE}: cannot be read: {error}") from error


# --- how it is written ---------------------------------------------------------------------------


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [_row(headings), "|" + "---|" * len(headings), *map(_row, rows), ""]


def prose(text: str) -> list[str]:
    """A paragraph in lines of at most 100 characters, where its words allow."""
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    return [*lines, ""]


def item(text: str) -> list[str]:
    """A point of a list in lines of at most 100 characters, where its words allow."""
    return textwrap.wrap(
        f"- {text}", 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _sentence(text: str) -> str:
    """A text with a full stop behind it."""
    return f"{text.rstrip('.')}." if text else "not stated."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _files(trace: Trace, kind: Kind, one: str) -> str:
    """The files whose tests show an entry, with how many of each."""
    counts = Counter(mark.file.removeprefix("tests/") for mark in trace.tests_of(kind, one))
    return ", ".join(f"`{file}` {number}" for file, number in counts.items())


def _state(trace: Trace, kind: Kind, one: str, entry: Entry) -> str:
    """Where an entry stands: its tests, or why there are none."""
    if not entry.applies:
        return f"cannot happen here: {entry.because}"
    if entry.open is not None:
        return f"**open**{', for later work' if entry.issue else ''}: {entry.open}"
    text = _files(trace, kind, one) or "**no test**"
    return f"{text}; not shown: {entry.gap}" if entry.gap else text


def _rules(trace: Trace, requirement: str) -> str:
    return ", ".join(f"`{rule}`" for rule in dict.fromkeys(map(str, trace.rules_of(requirement))))


# --- chapters ------------------------------------------------------------------------------------


def _figures(trace: Trace, guards: Sequence[Guard]) -> Iterator[str]:
    yield "## In figures"
    yield ""
    rows = []
    titles: dict[Kind, str] = {
        "requirement": "requirements",
        "vector": "golden vectors",
        "fault": "faults to try",
    }
    for kind, title in titles.items():
        entries = trace.register.of(kind)
        still_open = sum(entry.open is not None for entry in entries.values())
        outside = sum(not entry.applies for entry in entries.values())
        tests = {mark.where for one in entries for mark in trace.tests_of(kind, one)}
        shown = len(entries) - still_open - outside
        figures = (len(entries), shown, still_open, outside, len(tests))
        rows.append((title, *map(str, figures)))
    yield from table(("", "in all", "with a test", "open", "cannot happen here", "tests"), rows)
    complete = sum(all((g.protects, g.harm, g.longest, g.way_out)) for g in guards)
    yield from prose(
        f"{len(trace.register.hazards)} hazards, each with its requirements. "
        f"{_count(len(guards), 'guard')}, {complete} of them with all four parts told: what it "
        "protects from, the harm it can do, its longest denial, the way out."
    )


def _methods(evidence: Sequence[Evidence]) -> Iterator[str]:
    yield "## Methods"
    yield ""
    if not evidence:
        yield from prose(NOT_RUN)
        return
    yield from prose(
        "Each method ran on the code that ships. Beside each figure stands what it does not show."
    )
    yield from table(
        ("method", "covered", "violations", "does not show", "took"),
        (
            (
                one.method,
                one.covered,
                f"{len(one.violations)}",
                one.not_shown,
                f"{one.seconds:,.0f} s",
            )
            for one in evidence
        ),
    )
    for one in evidence:
        if one.violations:
            yield f"Violations found by {one.method}:"
            yield ""
            for violation in one.violations:
                yield from item(violation)
            yield ""
    measured = [one for one in evidence if one.asked is not None]
    if measured:
        yield from prose(
            "A guard that refuses too much does harm, too. Where a method measured it, this is how "
            "many legitimate requests were refused, and how long the slowest hundredth of them "
            "was denied:"
        )
        yield from table(
            ("method", "legitimate requests", "refused", "denied for, 99 of 100 at most"),
            (
                (
                    one.method,
                    f"{one.asked:,}",
                    "not measured" if one.refused is None else f"{one.refused:,}",
                    "not measured"
                    if one.denial_p99_ms is None
                    else f"{one.denial_p99_ms / 60_000:,.1f} min",
                )
                for one in measured
            ),
        )


def _planted_bugs(evidence: Sequence[Evidence]) -> Iterator[str]:
    yield "## Planted bugs"
    yield ""
    if not evidence:
        yield from prose(NOT_RUN)
        return
    cells = {(p.bug, one.method): p for one in evidence for p in one.planted}
    bugs = dict.fromkeys(bug for bug, _ in cells)
    meant = [planted for planted in cells.values() if planted.expected]
    found = sum(planted.found for planted in meant)
    yield from prose(
        f"A method that finds none of the bugs planted for it proves nothing. {len(bugs)} bugs; of "
        f"{len(meant)} that a method is meant to find, {found} were found. Empty: not planted for "
        "this method."
    )

    def cell(bug: str, method: str) -> str:
        planted = cells.get((bug, method))
        if planted is None:
            return ""
        if planted.found:
            return planted.how_soon
        return "**missed**" if planted.expected else "cannot see it"

    methods = [one.method for one in evidence if one.planted]
    yield from table(
        ("bug", *methods), ((bug, *(cell(bug, method) for method in methods)) for bug in bugs)
    )


def _storm(root: Path) -> Iterator[str]:
    """What the storm is measured by: bugs of the road, and how many storms each took."""
    yield "## The storm"
    yield ""
    path = root / STORM
    if not path.exists():
        yield from prose(f"There is no `{STORM}`: `python -m tests.storm.hunt --write` makes it.")
        return
    record = json.loads(path.read_text("utf-8"))
    planted = record["planted"]
    found = sum(one["seed"] is not None for one in planted)
    yield from prose(
        "`neuraxis storm` runs the real controller, judge and journal against the simulator while "
        "line, disk, clocks, hosts and people misbehave, and judges the device's own truth. It is "
        f"measured by {len(planted)} bugs planted in the real road, of which {found} were found "
        f"within {record['most']:,} storms drawn from seed 1 on. What it shows of the real road is "
        "in `tests/storm`; it shows nothing about weather that no seed draws."
    )
    yield from table(
        ("bug of the road", "what it does", "device", "seeds until found", "seen as"),
        (
            (
                one["bug"],
                one["text"],
                one["device"],
                "**missed**" if one["seed"] is None else f"{one['seed']:,}",
                one["seen_as"],
            )
            for one in planted
        ),
    )


def _hazards(trace: Trace, evidence: Sequence[Evidence]) -> Iterator[str]:
    yield "## Hazards"
    yield ""
    yield from prose(
        "From each hazard to what is required against it, where the code keeps it, what shows it "
        "(files below `tests/`, each with its number of tests), and which golden vectors and "
        "methods bear on it. Severity is of 5. The tests stand by name at the end of this page."
    )
    for one, hazard in trace.register.hazards.items():
        yield f"### {one}: {hazard.situation}"
        yield ""
        yield f"Cause: {hazard.cause}. Harm: {hazard.harm}. Severity {hazard.severity}."
        yield ""
        yield from table(
            ("requirement", "rule", "tests", "evidence"),
            (_hazard_row(trace, evidence, requirement) for requirement in hazard.requirements),
        )


def _hazard_row(trace: Trace, evidence: Sequence[Evidence], requirement: str) -> Sequence[str]:
    entry = trace.register.requirements[requirement]
    vectors = [
        one for one, vector in trace.register.vectors.items() if requirement in vector.requirements
    ]
    methods = [
        one.method for one in evidence if requirement in REQUIREMENT.findall(f"{one.covered}")
    ]
    return (
        f"{requirement}: {entry.text}",
        _rules(trace, requirement) or "**none**",
        _state(trace, "requirement", requirement, entry),
        ", ".join([*vectors, *methods]) or "its tests alone",
    )


def _requirements(trace: Trace) -> Iterator[str]:
    yield "## Requirements"
    yield ""
    yield from table(
        ("", "what is required", "source", "rule", "tests"),
        (
            (
                one,
                entry.text,
                entry.source or "",
                _rules(trace, one),
                _state(trace, "requirement", one, entry),
            )
            for one, entry in trace.register.requirements.items()
        ),
    )


def _guards(guards: Sequence[Guard]) -> Iterator[str]:
    yield "## Guards and the harm they can do"
    yield ""
    yield from prose(
        "A guard against too much can do harm by too little. Each rule that can refuse says, in "
        "its docstring, what it protects from, what harm it can do, how long it can deny at most, "
        "and the way out."
    )
    file = ""
    for guard in guards:
        if guard.file != file:
            file = guard.file
            yield f"### `{file}`"
            yield ""
        requirements = ", ".join(guard.requirements)
        yield from prose(f"**`{guard.name}`** ({requirements}): {_sentence(guard.what)}")
        if guard.protects:
            yield from item(_sentence(f"Protects {guard.protects}"))
        else:
            yield from item("Protects from: not stated.")
        yield from item(f"Harm: {_sentence(guard.harm)}")
        yield from item(f"Longest denial: {_sentence(guard.longest)}")
        yield from item(f"Way out: {_sentence(guard.way_out)}")
        yield ""


def _vectors(trace: Trace) -> Iterator[str]:
    yield "## Golden vectors"
    yield ""
    yield from table(
        ("", "what is computed", "requirement", "tests"),
        (
            (one, entry.text, ", ".join(entry.requirements), _state(trace, "vector", one, entry))
            for one, entry in trace.register.vectors.items()
        ),
    )


def _faults(trace: Trace) -> Iterator[str]:
    yield "## Faults that were tried"
    yield ""
    for floor, title in FLOOR_TITLES.items():
        yield f"### {title}"
        yield ""
        yield from table(
            ("", "the fault, and what must come of it", "tests"),
            (
                (one, entry.text, _state(trace, "fault", one, entry))
                for one, entry in trace.register.faults.items()
                if entry.floor == floor
            ),
        )


def _open(trace: Trace) -> Iterator[str]:
    yield "## What is open"
    yield ""
    titles: dict[Kind, str] = {
        "requirement": "Requirements without a test",
        "vector": "Golden vectors without a test",
        "fault": "Faults that nobody tried",
    }
    for kind, title in titles.items():
        entries = trace.register.of(kind)
        lines = [
            line
            for one, entry in entries.items()
            if entry.open is not None
            for line in item(f"{one}: {entry.open}{' (later work)' if entry.issue else ''}.")
        ]
        if lines:
            yield f"{title}:"
            yield ""
            yield from lines
            yield ""
    gaps = [
        line
        for kind in titles
        for one, entry in trace.register.of(kind).items()
        if entry.gap
        for line in item(f"{one}: {entry.gap}.")
    ]
    if gaps:
        yield "Shown only in part:"
        yield ""
        yield from gaps
        yield ""


def _index(trace: Trace) -> Iterator[str]:
    yield "## The tests by name"
    yield ""
    for kind in ("requirement", "vector", "fault"):
        for one, entry in trace.register.of(kind).items():
            if tests := trace.tests_of(kind, one):
                yield from prose(f"**{one}**: {entry.text}")
                yield from (f"- `{mark.where}`" for mark in tests)
                yield ""


def render(
    trace: Trace, guards: Sequence[Guard], evidence: Sequence[Evidence], root: Path = ROOT
) -> str:
    """The whole page."""
    lines = [
        *INTRODUCTION.splitlines(),
        "",
        *_figures(trace, guards),
        *_methods(evidence),
        *_planted_bugs(evidence),
        *_storm(root),
        *_hazards(trace, evidence),
        *_requirements(trace),
        *_guards(guards),
        *_vectors(trace),
        *_faults(trace),
        *_open(trace),
        *_index(trace),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Writes the page, or with ``--check`` says whether it is stale; 1 if it is or cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tests.safety_case", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it is stale")
    only_check = parser.parse_args(arguments).check
    try:
        page = render(read_trace(root), guards_in(root), read_evidence(root), root)
    except RegisterError as error:
        print(error)
        return 1
    path = root / DOCUMENT
    if not only_check:
        path.write_text(page, "utf-8")
        return 0
    if path.exists() and path.read_text("utf-8") == page:
        return 0
    print(f"{DOCUMENT} is stale: run `python -m tests.safety_case`, read it, and keep it")
    return 1


if __name__ == "__main__":
    sys.exit(main())
