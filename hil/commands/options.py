"""The options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from device_profiles.errors import UsageError
from device_profiles.notation import NotationError, parse_duration, write_duration
from device_profiles.quantities import DAY_MS
from hil.requests import Reason
from hil.user import user_name
from safety.commands import Override

DISCLAIMER = "neuraxis is a bench and research prototype, not a medical device."


class Format(StrEnum):
    """How a command answers."""

    TEXT = "text"
    JSON = "json"


FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A therapy file (YAML).")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="URL",
        help="serial:///dev/ttyUSB0, usb://1209:0001, tcp://HOST:PORT, sim://stimulator, …; "
        "?serial=S demands that serial number.",
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="text for people, json for programs.")
]
JournalOption = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="PATH",
        help="Default: one per serial number, in the user's state folder.",
    ),
]
FormularyOption = Annotated[
    Path | None,
    typer.Option("--formulary", metavar="FILE", help="A lab's own formulary, with sources."),
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--override", metavar="RULE", help="Pass a soft finding of this rule, e.g. SR-41."
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; recorded with your name.")
]
SecondOption = Annotated[
    str,
    typer.Option(
        "--second",
        metavar="USER",
        help="Who agrees with you, where one person is not enough: SR-12, SR-13, and the third "
        "time of a rule in a day.",
    ),
]
ValidForOption = Annotated[
    str,
    typer.Option(
        "--valid-for",
        metavar="TIME",
        help="How long the reason stands before somebody looks again, at most 168 h.",
    ),
]
A_DAY = write_duration(DAY_MS)


def override_from(
    rules: list[str] | None, reason: str, second: str = "", valid_for: str = A_DAY
) -> Override | None:
    """The override that the four options amount to; raises UsageError."""
    if not rules:
        if second.strip():
            raise UsageError("a second person agrees to an override: add --override RULE")
        return None
    if not reason.strip():
        raise UsageError("an override needs a reason: add --reason TEXT")
    try:
        time = parse_duration(valid_for)
    except NotationError as error:
        raise UsageError(f"--valid-for: {error}") from error
    user = user_name()
    return Override(tuple(rules), user, reason.strip(), second.strip() or None, time)


def reason_from(rules: list[str] | None, reason: str, second: str, valid_for: str) -> Reason | None:
    """The reason of a request, from the options that amount to one."""
    override = override_from(rules, reason, second, valid_for)
    if override is None:
        return None
    return Reason(
        rules=list(override.rules),
        user=override.user,
        reason=override.reason,
        second=override.second,
        valid_for=override.valid_for,
    )
