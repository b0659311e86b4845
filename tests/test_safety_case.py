"""The safety case is generated whole, says what it does not know, and is found when it is stale."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from proof.evidence import Evidence, Planted
from safety_case import DOCUMENT, EVIDENCE, guards_in, item, main, prose, read_evidence, table
from traceability import REGISTER, RegisterError

REGISTER_TEXT = """\
requirements:
  SR-01: {text: A quantity has a unit., source: ISMP}
  SR-02: {text: Nothing rounds., open: nobody has looked}
hazards:
  H1: {situation: Too much, cause: mg for mcg, harm: death, severity: 5, requirements: [SR-01]}
vectors:
  V8.1: {text: A vector., requirements: [SR-01]}
faults:
  F1: {text: A fault., floor: judge, gap: only half of it}
  F2: {text: Another., floor: road, applies: false, because: there is no road}
"""
RULE = '''\
def judge_unit(text: str) -> None:
    """SR-01: a unit is there.

    A sentence about it. Protects from ``mg`` for mcg, and from
    nothing. ``text`` is read. Harm: a person types
    more. Longest denial: until the file is corrected. Way
    out: write it. Nothing more.
    """


def judge_more() -> None:
    """SR-01, SR-02: more."""


def _helper() -> None:
    """SR-01: part of it. Protects from x."""


def other() -> None:
    """Names SR-01 only. Protects from y."""
'''
TEST = """\
import pytest

@pytest.mark.{}("SR-01")
@pytest.mark.vector("V8.1")
@pytest.mark.fault("F1")
def test_it(): ...
"""
PROOFS = (
    Evidence(
        "solver",
        "SR-01 on every path",
        (),
        (Planted("no unit", True, "in 3 questions"), Planted("late", False, "", expected=False)),
        "anything that is no integer",
        12.4,
    ),
    Evidence(
        "search",
        "1,000 | states",
        ("seed 7: too much",),
        (Planted("no unit", False, ""),),
        "more than small limits",
        1_234.5,
        asked=1_000,
        refused=3,
        denial_p99_ms=90_000,
    ),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for file, text in (
        (REGISTER, REGISTER_TEXT),
        ("safety/rules.py", RULE),
        ("tests/test_it.py", TEST.format("requirement")),
    ):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path


def proved(project: Path) -> None:
    """Leaves behind what the methods of proof would."""
    (project / EVIDENCE).write_text(json.dumps([asdict(one) for one in PROOFS]), "utf-8")


def page(project: Path) -> str:
    assert main([], project) == 0
    return (project / DOCUMENT).read_text("utf-8")


def chapter(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# --- stale or not --------------------------------------------------------------------------------


def test_a_page_that_is_missing_or_stale_is_found_and_writing_it_again_helps(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"], project) == 1
    assert "is stale" in capsys.readouterr().out
    assert not (project / DOCUMENT).exists()
    page(project)
    assert main(["--check"], project) == 0
    (project / "safety/rules.py").write_text(RULE.replace("write it", "write it twice"), "utf-8")
    assert main(["--check"], project) == 1
    page(project)
    proved(project)
    assert main(["--check"], project) == 1


def test_a_line_more_in_the_code_makes_no_page_stale(project: Path) -> None:
    page(project)
    for file in ("safety/rules.py", "tests/test_it.py"):
        text = (project / file).read_text("utf-8")
        (project / file).write_text(f"# one line more\n\n{text}", "utf-8")
    assert main(["--check"], project) == 0


def test_what_cannot_be_read_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / EVIDENCE).write_text('[{"method": 5}]', "utf-8")
    with pytest.raises(RegisterError, match=r"evidence\.json"):
        read_evidence(project)
    assert main(["--check"], project) == 1
    assert EVIDENCE in capsys.readouterr().out


# --- what is told --------------------------------------------------------------------------------


def test_a_hazard_leads_to_requirement_rule_test_and_evidence(project: Path) -> None:
    proved(project)
    told = chapter(page(project), "Hazards")
    assert "### H1: Too much" in told
    assert "Cause: mg for mcg. Harm: death. Severity 5." in told
    assert (
        "| SR-01: A quantity has a unit. | `safety/rules.py:judge_unit`, "
        "`safety/rules.py:judge_more`, `safety/rules.py:_helper`, `safety/rules.py:other` "
        "| `test_it.py` 1 | V8.1, solver |"
    ) in told


def test_without_a_proof_the_page_says_so(project: Path) -> None:
    told = page(project)
    for title in ("Methods", "Planted bugs"):
        assert "has not been run on this tree" in chapter(told, title)


def test_each_method_stands_beside_what_it_does_not_show(project: Path) -> None:
    proved(project)
    told = chapter(page(project), "Methods")
    assert "| solver | SR-01 on every path | 0 | anything that is no integer | 12 s |" in told
    assert r"| search | 1,000 \| states | 1 | more than small limits | 1,234 s |" in told
    assert "- seed 7: too much" in told
    assert "| search | 1,000 | 3 | 1.5 min |" in told


def test_a_planted_bug_that_was_missed_stands_out(project: Path) -> None:
    proved(project)
    told = chapter(page(project), "Planted bugs")
    assert "2 bugs; of 2 that a method is meant to find, 1 were found." in " ".join(told.split())
    assert "| bug | solver | search |" in told
    assert "| no unit | in 3 questions | **missed** |" in told
    assert "| late | cannot see it |  |" in told


def test_open_entries_gaps_and_what_cannot_happen_are_told(project: Path) -> None:
    told = page(project)
    assert "- SR-02: nobody has looked." in chapter(told, "What is open")
    assert "- F1: only half of it." in chapter(told, "What is open")
    faults = chapter(told, "Faults that were tried")
    assert "| F1 | A fault. | `test_it.py` 1; not shown: only half of it |" in faults
    assert "| F2 | Another. | cannot happen here: there is no road |" in faults


def test_every_test_stands_by_name_and_no_line_number_does(project: Path) -> None:
    told = page(project)
    assert chapter(told, "The tests by name").count("- `tests/test_it.py::test_it`") == 3
    assert re.search(r"\.py:\d", told) is None


def test_the_page_says_first_what_it_is_not(project: Path) -> None:
    told = " ".join(chapter(page(project), "What this page is, and what it is not").split())
    assert "research prototype" in told
    assert "It is not a medical device" in told


# --- guards --------------------------------------------------------------------------------------


def test_a_guard_is_read_from_its_docstring_part_by_part(project: Path) -> None:
    guard, more = guards_in(project)
    assert (guard.file, guard.name, guard.requirements) == (
        "safety/rules.py",
        "judge_unit",
        ("SR-01",),
    )
    assert guard.what == "a unit is there."
    assert guard.protects == "from `mg` for mcg, and from nothing."
    assert guard.harm == "a person types more."
    assert guard.longest == "until the file is corrected."
    assert guard.way_out == "write it. Nothing more."
    assert (more.name, more.requirements) == ("judge_more", ("SR-01", "SR-02"))
    assert (more.protects, more.harm, more.longest, more.way_out) == ("", "", "", "")


def test_a_part_that_a_guard_does_not_tell_is_shown_as_such(project: Path) -> None:
    told = chapter(page(project), "Guards and the harm they can do")
    assert "- Protects from `mg` for mcg, and from nothing." in told
    assert told.count("not stated.") == 4


# --- how it is written ---------------------------------------------------------------------------


def test_a_cell_breaks_no_table() -> None:
    assert table(("a", "b"), [("x | y", "two\nlines")]) == [
        "| a | b |",
        "|---|---|",
        r"| x \| y | two lines |",
        "",
    ]


def test_prose_and_points_are_wrapped() -> None:
    text = "word " * 60
    assert all(len(line) <= 100 for line in (*prose(text), *item(text)))
    assert [line[:2] for line in item(text)] == ["- ", "  ", "  ", "  "]
