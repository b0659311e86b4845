"""What is wrong with a file or a command, where, against which limit, and what to do."""

from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["hard", "soft", "file"]
Verdict = Literal["accepted", "needs-reason", "refused"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One objection of a rule to one value.

    ``rule`` is ``SR-nn`` (a safety requirement) or ``FILE-nn`` (syntax, unknown keys,
    references). ``path`` names the value as ``programs[0].areas[0].amplitude``; ``value`` and
    ``limit`` are written in the grammar of the file; ``source`` is the layer the limit comes
    from: ``device``, ``formulary``, ``patient``, ``bench``, ``rule`` (a law of the field that no
    layer can move) or ``file``. ``line`` and ``column`` count from 1; both are 0 when the
    finding has no place in a file (a command, a device's answer).
    """

    rule: str
    severity: Severity
    path: str
    message: str
    value: str | None = None
    limit: str | None = None
    source: str = "rule"
    hint: str | None = None
    line: int = 0
    column: int = 0

    def located(self, path: str, line: int, column: int) -> "Finding":
        """The same finding at its place in a file."""
        return replace(self, path=path, line=line, column=column)


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """The verdict that a set of findings amounts to: the severest wins."""
    if any(finding.severity in ("hard", "file") for finding in findings):
        return "refused"
    return "needs-reason" if findings else "accepted"
