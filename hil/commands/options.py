"""The options that several commands share."""

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from device_profiles.errors import UsageError
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


def override_from(rules: list[str] | None, reason: str) -> Override | None:
    """The override that ``--override`` and ``--reason`` amount to; raises UsageError."""
    if not rules:
        return None
    if not reason.strip():
        raise UsageError("an override needs a reason: add --reason TEXT")
    return Override(tuple(rules), getpass.getuser(), reason.strip())
