"""What a command's exit code says."""

from device_profiles.diagnostics import Finding
from device_profiles.errors import (
    DeviceFault,
    LinkError,
    NeuraxisError,
    Refused,
    Uncertain,
    UsageError,
)

DONE = 0
INTERNAL_ERROR = 1
USAGE = 2
REFUSED = 3
LINK = 4
DEVICE_FAULT = 5
UNCERTAIN = 6
HUNG_UP = 129
INTERRUPTED = 130
TERMINATED = 143

SEVERITY = (
    UNCERTAIN,
    DEVICE_FAULT,
    INTERNAL_ERROR,
    LINK,
    REFUSED,
    USAGE,
    TERMINATED,
    INTERRUPTED,
    HUNG_UP,
    DONE,
)
"""From the severest to the mildest; where several things happened, the severest is told."""

_CODES: tuple[tuple[type[NeuraxisError], int], ...] = (
    (UsageError, USAGE),
    (Refused, REFUSED),
    (LinkError, LINK),
    (DeviceFault, DEVICE_FAULT),
    (Uncertain, UNCERTAIN),
)


def severest(*codes: int) -> int:
    """The severest of several exit codes."""
    return min(codes, key=SEVERITY.index, default=DONE)


def code_of(error: BaseException) -> int:
    """The exit code of an exception; of a group, its severest."""
    if isinstance(error, BaseExceptionGroup):
        return severest(*(code_of(inner) for inner in error.exceptions))
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL_ERROR)


def leaves(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group, flat; of anything else, itself."""
    if isinstance(error, BaseExceptionGroup):
        return tuple(leaf for inner in error.exceptions for leaf in leaves(inner))
    return (error,)


def code_of_findings(findings: tuple[Finding, ...]) -> int:
    """The exit code of a judged file: an unreadable one is usage, a refused one is safety."""
    if any(finding.severity != "file" for finding in findings):
        return REFUSED
    return USAGE if findings else DONE
