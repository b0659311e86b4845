"""The checker of requirements finds what is planted for it, and takes what is right."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from traceability import (
    FLOORS,
    REGISTER,
    ROOT,
    Mark,
    RegisterError,
    main,
    marks_in,
    read_register,
    read_trace,
    rules_in,
)

SOUND = """\
requirements:
  SR-01: {text: A quantity has a unit.}
hazards:
  H1: {situation: s, cause: c, harm: h, severity: 5, requirements: [SR-01]}
vectors:
  V8.1: {text: A vector., requirements: [SR-01]}
faults:
  F1: {text: A fault., floor: judge}
"""
RULE = '"""Rules."""\n\n\ndef judge() -> None:\n    """SR-01: a unit."""\n'


def mark(kind: str, one: str) -> str:
    """A decorator; put together here, so that these tests are not taken for marked ones."""
    return f'@pytest.mark.{kind}("{one}")\n'


ALL = mark("requirement", "SR-01") + mark("vector", "V8.1") + mark("fault", "F1")
TEST = f"import pytest\n\n\n{ALL}def test_it() -> None:\n    pass\n"


class Project:
    """A small project in a folder, with a register, a rule and a test that agree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(REGISTER, SOUND)
        self.write("safety/rules.py", RULE)
        self.write("tests/test_it.py", TEST)

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def change(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text("utf-8")
        assert old in text
        self.write(file, text.replace(old, new))

    @property
    def problems(self) -> list[str]:
        return read_trace(self.root).problems()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_what_agrees_has_no_problem(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.problems == []
    assert main(project.root) == 0
    assert "1 requirements, 1 hazards, 1 vectors, 1 faults; 0 cannot" in capsys.readouterr().out


# --- planted in the tests ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "one"), [("requirement", "SR-01"), ("vector", "V8.1"), ("fault", "F1")]
)
def test_an_entry_without_a_test_is_found(
    project: Project, kind: str, one: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.change("tests/test_it.py", mark(kind, one), "")
    (problem,) = project.problems
    assert problem.startswith(f"{one} has no test")
    assert main(project.root) == 1
    assert problem in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "one"), [("requirement", "SR-99"), ("vector", "V8.2"), ("fault", "F2")]
)
def test_a_marker_that_names_nothing_living_is_found(project: Project, kind: str, one: str) -> None:
    project.change("tests/test_it.py", ALL, ALL + mark(kind, one))
    assert project.problems == [
        f"tests/test_it.py::test_it names the {kind} {one}, which the register has not"
    ]


def test_a_marker_whose_name_is_computed_is_found(project: Project) -> None:
    project.change("tests/test_it.py", ALL, ALL + "@pytest.mark.fault('F' + str(1))\n")
    assert "names the fault 'F' + str(1), which the register has not" in project.problems[0]


def test_a_marker_on_what_is_no_test_is_found_and_shows_nothing(project: Project) -> None:
    project.change("tests/test_it.py", "def test_it", "def helper")
    assert "tests/test_it.py::helper is marked with F1 and is no test" in project.problems
    assert any(one.startswith("F1 has no test") for one in project.problems)


@pytest.mark.parametrize(
    "excuse",
    ["@pytest.mark.xfail\n", '@pytest.mark.xfail(reason="later")\n', "@pytest.mark.skip\n"],
)
def test_a_test_that_may_fail_or_is_left_out_shows_nothing(project: Project, excuse: str) -> None:
    project.change("tests/test_it.py", ALL, excuse + ALL)
    assert [one[:16] for one in project.problems] == [
        "SR-01 has no tes",
        "V8.1 has no test",
        "F1 has no test: ",
    ]


# --- planted in the code -------------------------------------------------------------------------


def test_a_requirement_that_no_code_names_is_found(project: Project) -> None:
    project.change("safety/rules.py", "SR-01: a unit.", "A unit.")
    assert [one.partition(":")[0] for one in project.problems] == ["SR-01 is named by no code"]


# --- planted in the register ---------------------------------------------------------------------


def test_an_open_entry_passes_and_is_counted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.change("tests/test_it.py", mark("fault", "F1"), "")
    project.change(REGISTER, "floor: judge", "floor: judge, open: nobody tried, issue: later")
    assert project.problems == []
    assert main(project.root) == 0
    assert "1 open (1 for later work): F1" in capsys.readouterr().out


def test_an_open_requirement_needs_no_rule_either(project: Project) -> None:
    project.change(REGISTER, "has a unit.}", "has a unit., open: not yet}")
    project.change("tests/test_it.py", mark("requirement", "SR-01"), "")
    project.change("safety/rules.py", "SR-01: a unit.", "A unit.")
    assert project.problems == []


def test_what_cannot_happen_needs_no_test(project: Project) -> None:
    project.change("tests/test_it.py", mark("fault", "F1"), "")
    project.change(REGISTER, "floor: judge", "floor: judge, applies: false, because: no database")
    assert project.problems == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("floor: judge", "floor: judge, open: nobody tried", "F1 is said to be open, and tests/"),
        (
            "floor: judge",
            "floor: judge, applies: false, because: no database",
            "F1 is said not to apply, and tests/test_it.py::test_it shows it",
        ),
        ("floor: judge", "floor: judge, because: I say so", "F1: `applies: false` needs"),
        ("floor: judge", "floor: judge, issue: later", "F1 belongs to later work and does not"),
        (", floor: judge", "", "F1 does not say on which floor"),
        ("severity: 5, requirements: [SR-01]", "severity: 5, requirements: [SR-02]", "H1 names"),
        ("severity: 5, requirements: [SR-01]", "severity: 5, requirements: []", "H1 names no req"),
        ("A vector., requirements: [SR-01]", "A vector., requirements: [SR-7]", "V8.1 names SR-7"),
        ("  F1: {", "  F01: {", "F01 is no name for one of the faults"),
        ("  F1: {", "  F2: {text: x, floor: road}\n  F1: {", "the faults are not numbered from 1"),
    ],
)
def test_a_register_that_contradicts_itself_or_the_tests_is_found(
    project: Project, old: str, new: str, sentence: str
) -> None:
    project.change(REGISTER, old, new)
    assert any(one.startswith(sentence) for one in project.problems), project.problems


def test_what_cannot_happen_needs_a_reason_and_is_not_open_as_well(project: Project) -> None:
    project.change("tests/test_it.py", mark("fault", "F1"), "")
    project.change(REGISTER, "floor: judge", "floor: judge, applies: false, open: not yet")
    assert [one.partition(":")[0] for one in project.problems] == [
        "F1",
        "F1 does not apply and is open",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("text: A fault.", "text: A fault., colour: red", "faults.F1.colour"),
        ("text: A fault., ", "", "faults.F1.text"),
        ("floor: judge", "floor: cellar", "faults.F1.floor"),
        ("severity: 5", "severity: 6", "hazards.H1.severity"),
        ("  F1: {", "  F1: {text: x}\n  F1: {", "cannot be read"),
        ("vectors:", "vectors: [", "cannot be read"),
        ("hazards:", "horrors:", "hazards: Field required"),
    ],
)
def test_a_register_that_cannot_be_read_says_where(
    project: Project, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.change(REGISTER, old, new)
    with pytest.raises(RegisterError, match=re.escape(words)):
        read_register(project.root)
    assert main(project.root) == 1
    assert REGISTER in capsys.readouterr().out


# --- where a marker may stand --------------------------------------------------------------------

F1 = mark("fault", "F1").strip()
ON_F1 = F1.removeprefix("@")
FORMS = {
    "a decorator": (f"{F1}\ndef test_it(): ...", ["test_it"]),
    "several in one": (
        "@pytest.mark.fault('F1', 'F2')\ndef test_it(): ...",
        ["test_it", "test_it"],
    ),
    "a coroutine": (f"{F1}\nasync def test_it(): ...", ["test_it"]),
    "the module's own": (f"pytestmark = {ON_F1}\ndef test_it(): ...", ["test_it"]),
    "one of the module's": (
        f"pytestmark = [pytest.mark.real_clock, {ON_F1}]\ndef test_it(): ...",
        ["test_it"],
    ),
    "a parameter's": (
        f"@pytest.mark.parametrize('x', [pytest.param(1, marks={ON_F1})])\ndef test_it(x): ...",
        ["test_it"],
    ),
    "a named parameter's": (
        f"CASES = [pytest.param(1, marks=[{ON_F1}])]\n"
        "@pytest.mark.parametrize('x', CASES)\ndef test_it(x): ...\ndef test_other(): ...",
        ["test_it"],
    ),
    "by another name": (f"lost = {ON_F1}\n@lost\ndef test_it(): ...", ["test_it"]),
    "a class's": (
        f"{F1}\nclass TestAll:\n    def test_it(self): ...\n    def helper(self): ...",
        ["TestAll::test_it"],
    ),
    "within a class": (
        f"class TestAll:\n    pytestmark = {ON_F1}\n    def test_it(self): ...",
        ["TestAll::test_it"],
    ),
    "not a helper's": ("def helper(): ...\ndef test_it(): ...", []),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_marker_is_read_wherever_pytest_reads_it(project: Project, form: str) -> None:
    text, tests = FORMS[form]
    project.write("tests/test_it.py", f"import pytest\n{text}\n")
    assert [one.test for one in marks_in(project.root) if one.evidence] == tests


def test_a_parameter_that_may_fail_shows_nothing(project: Project) -> None:
    project.write(
        "tests/test_it.py",
        "import pytest\n"
        f"@pytest.mark.parametrize('x', [pytest.param(1, marks=[{ON_F1}, pytest.mark.xfail])])\n"
        "def test_it(x): ...\n",
    )
    assert marks_in(project.root) == (
        Mark("fault", "F1", "tests/test_it.py", "test_it", evidence=False),
    )


def test_only_files_of_tests_are_read_for_markers(project: Project) -> None:
    project.write("tests/bench.py", TEST)
    assert {one.file for one in marks_in(project.root)} == {"tests/test_it.py"}


# --- what counts as a rule -----------------------------------------------------------------------

NAMING = {
    '"""SR-02: a module."""': "safety/x.py",
    'class Rule:\n    """SR-02: a class."""': "safety/x.py:Rule",
    'class Rule:\n    def judge(self):\n        """Judges (SR-02)."""': "safety/x.py:Rule.judge",
    'async def judge():\n    """SR-02, SR-03: both."""': "safety/x.py:judge",
    'def judge():\n    return Finding("SR-02", "hard")': "safety/x.py:judge",
    'def judge():\n    return Finding(rule="SR-02")': "safety/x.py:judge",
}


@pytest.mark.parametrize("text", NAMING)
def test_a_docstring_or_a_finding_names_a_rule(project: Project, text: str) -> None:
    project.write("safety/x.py", text + "\n")
    assert NAMING[text] in {str(one) for one in rules_in(project.root)}


@pytest.mark.parametrize(
    "text", ["# SR-02", 'X = "SR-02"', 'say("SR-02 and more")', 'RULES = ("SR-02",)']
)
def test_a_comment_or_a_sentence_names_none(project: Project, text: str) -> None:
    project.write("safety/x.py", text + "\n")
    assert "safety/x.py" not in {one.file for one in rules_in(project.root)}


def test_the_most_telling_places_are_shown(project: Project) -> None:
    project.write("safety/a.py", '"""SR-01: a module."""\nfind("SR-01")\n')
    project.write("safety/b.py", 'def helper():\n    find("SR-01")\n')
    trace = read_trace(project.root)
    assert [str(one) for one in trace.rules_of("SR-01")] == ["safety/rules.py:judge"]


# --- a copy of this very project -----------------------------------------------------------------


@pytest.fixture(scope="module")
def copy_of_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """This project in a folder, and the problems that it has anyway."""
    root = tmp_path_factory.mktemp("project")
    for folder in (*FLOORS, "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "docs").mkdir()
    shutil.copy(ROOT / REGISTER, root / REGISTER)
    return root, set(read_trace(root).problems())


Harm = Callable[[Path], None]


def without(folder: str, pattern: str, by: str = "") -> Harm:
    """Replaces what a pattern matches in every file of a folder."""

    def harm(root: Path) -> None:
        for path in (root / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            path.write_text(re.sub(pattern, by, text), "utf-8")

    return harm


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (without("tests", r'@pytest\.mark\.requirement\("SR-49"\)\n'), "SR-49 has no test"),
        (without("tests", r'@pytest\.mark\.vector\("V8\.8"\)\n'), "V8.8 has no test"),
        (without("tests", r'@pytest\.mark\.fault\("F39"\)\n'), "F39 has no test"),
        (without("safety", r"SR-41"), "SR-41 is named by no code"),
        (without("tests", r'fault\("F39"\)', 'fault("F399")'), "tests/bridge/test_frames.py::"),
    ],
    ids=["requirement", "vector", "fault", "rule", "marker"],
)
def test_a_harm_to_a_copy_of_this_project_is_found(
    copy_of_all: tuple[Path, set[str]], tmp_path: Path, harm: Harm, sentence: str
) -> None:
    whole, before = copy_of_all
    root = tmp_path / "harmed"
    shutil.copytree(whole, root)
    harm(root)
    new = [one for one in read_trace(root).problems() if one not in before]
    assert new
    assert any(one.startswith(sentence) for one in new), new
