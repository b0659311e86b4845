"""A finding as a good compiler shows it: place, rule, sentence, the line, a caret, the limit."""

from collections.abc import Iterable, Sequence

from device_profiles.diagnostics import Finding

_WIDEST = 100
"""Characters of a source line that are shown; a longer line is cut around the caret."""


def render_finding(finding: Finding, file: str = "", lines: Sequence[str] = ()) -> str:
    """One finding as plain text of a few lines, safe for a terminal.

    ``lines`` are the lines of the file, without their ends; a finding without a place, or with
    one outside them, is shown without source line and caret.
    """
    place = ":".join(
        part
        for part in (
            file,
            str(finding.line) if finding.line else "",
            str(finding.column) if finding.line and finding.column else "",
        )
        if part
    )
    shown = [f"{place}: " if place else ""]
    shown[0] += f"{finding.rule} ({finding.severity}): {finding.message}"
    if finding.path:
        shown.append(f"  at {finding.path}")
    shown.extend(_source(finding, lines))
    if finding.value is not None:
        shown.append(f"  value {finding.value}")
    if finding.limit is not None:
        shown.append(f"  limit {finding.limit} ({finding.source})")
    if finding.hint is not None:
        shown.append(f"  hint: {finding.hint}")
    return "\n".join(printable(line) for line in shown)


def render_findings(findings: Iterable[Finding], file: str = "", lines: Sequence[str] = ()) -> str:
    """Findings one below the other, an empty line between them."""
    return "\n\n".join(render_finding(finding, file, lines) for finding in findings)


def _source(finding: Finding, lines: Sequence[str]) -> tuple[str, ...]:
    if not 1 <= finding.line <= len(lines):
        return ()
    line = lines[finding.line - 1]
    before = max(finding.column, 1) - 1
    underlined = 1
    if finding.value and line.startswith(finding.value, before):
        underlined = len(finding.value)
    start = max(0, before - _WIDEST // 2) if len(line) > _WIDEST else 0
    window = line[start : start + _WIDEST]
    number = str(finding.line)
    caret = " " * (before - start) + "^" * max(1, min(underlined, start + _WIDEST - before))
    return (f"  {number} | {window}", f"  {' ' * len(number)} | {caret}")


def printable(text: str) -> str:
    """A line in which every character takes its place and none commands the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
