"""`mri prepare` and `mri leave`: into a magnetic field and out of it again."""

from typing import Annotated

import typer
from rich.text import Text

from hil.commands.device import ask_device
from hil.commands.group import Commands
from hil.commands.options import (
    A_DAY,
    Format,
    FormatOption,
    JournalOption,
    OverrideOption,
    ReasonOption,
    reason_from,
)
from hil.commands.shell import built, out
from hil.requests import Answer, MriRequest
from hil.user import user_name

mri_app = Commands(
    help="Prepare a device for a magnetic field, and take it out of one.",
)

DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Its URL; a running owner of it is asked.")
]


@mri_app.command()
def prepare(
    device: DeviceArgument, form: FormatOption = Format.TEXT, journal: JournalOption = None
) -> None:
    """Bring a device into the state in which it may go into a field.

    A stimulator goes to zero; a pump ends boluses and keeps its basal. What a person has to do is
    said in sentences, how to come back is recorded. Until `mri leave` therapy is refused, a pump's
    verified basal excepted.
    """
    request = MriRequest(action="prepare", user=user_name())
    ask_device(request, device, None, journal, form, _show_checklist)


def _show_checklist(answer: Answer) -> None:
    for sentence in (*answer.data["checklist"], f"to come back: {answer.data['restore']}"):
        out().print(Text(f"  {sentence}"))


@mri_app.command()
def leave(
    device: DeviceArgument,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Look at a device that was in a field, and open therapy again.

    It must be the same device, recovered, and hold what it held; its log is shown. Refused with
    what is missing. Any host may do it, with another journal too.
    """
    request = built(
        form,
        lambda: MriRequest(
            action="leave", user=user_name(), reason=reason_from(override, reason, "", A_DAY)
        ),
    )
    ask_device(request, device, None, journal, form, _show_log)


def _show_log(answer: Answer) -> None:
    for sentence in answer.data["notes"]:
        out().print(Text(f"  {sentence}"))
    for entry in answer.data["log"] or ["nothing"]:
        out().print(Text(f"  log {entry}"))
