"""Findings as a good compiler shows them."""

from device_profiles.diagnostics import Finding
from device_profiles.rendering import render_finding, render_findings

FINDING = Finding(
    rule="SR-40",
    severity="hard",
    path="programs[0].areas[0].amplitude",
    message="the amplitude is above this patient's ceiling",
    value="42 mA",
    limit="6 mA",
    source="patient",
    hint="lower the amplitude",
    line=2,
    column=12,
)
LINES = ("programs:", "amplitude: 42 mA  # slip")


def test_a_finding_shows_place_line_caret_limit_layer_and_hint() -> None:
    assert render_finding(FINDING, "therapy.yaml", LINES).splitlines() == [
        "therapy.yaml:2:12: SR-40 (hard): the amplitude is above this patient's ceiling",
        "  at programs[0].areas[0].amplitude",
        "  2 | amplitude: 42 mA  # slip",
        "    |            ^^^^^",
        "  value 42 mA",
        "  limit 6 mA (patient)",
        "  hint: lower the amplitude",
    ]


def test_a_finding_without_a_place_is_a_sentence() -> None:
    finding = Finding("SR-14", "hard", "", "the window is full")
    assert render_finding(finding) == "SR-14 (hard): the window is full"


def test_findings_stand_apart() -> None:
    assert render_findings([FINDING, FINDING], "f", LINES).count("\n\n") == 1


def test_a_long_line_is_cut_around_its_caret() -> None:
    line = "x" * 300 + "42 mA" + "y" * 300
    finding = Finding("SR-40", "hard", "a", "m", value="42 mA", line=1, column=301)
    source, caret = render_finding(finding, "f", (line,)).splitlines()[2:4]
    assert len(source) < 120
    assert source[caret.index("^") : caret.rindex("^") + 1] == "42 mA"


def test_a_place_outside_the_file_shows_no_line() -> None:
    finding = Finding("FILE-02", "file", "", "m", line=9, column=4)
    assert render_finding(finding, "f", LINES) == "f:9:4: FILE-02 (file): m"


def test_nothing_in_a_file_commands_the_terminal() -> None:
    finding = Finding("FILE-02", "file", "\x1b[2J", "m\x07", value="\x1b", line=1, column=1)
    shown = render_finding(finding, "f\x1b", ("\x1b[31m\tred",))
    assert all(char.isprintable() or char == "\n" for char in shown)
