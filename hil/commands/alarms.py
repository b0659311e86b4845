"""`alarms`, `acknowledge`, `pause`: the board of a device, and what people say to it."""

from typing import Annotated

import typer

from device_profiles.errors import UsageError
from device_profiles.notation import parse_duration
from device_profiles.quantities import MINUTE_MS
from hil.alarm_board import AlarmsRequest, LookRequest, PauseRequest, lines_of_board
from hil.commands.device import ask_device
from hil.commands.options import DeviceOption, Format, FormatOption, JournalOption
from hil.commands.shell import built, notation, out
from hil.requests import Answer
from hil.user import user_name
from safety.alarms import LONGEST_PAUSE

UserOption = Annotated[
    str, typer.Option("--user", metavar="NAME", help="Who; your own name unless told.")
]


def _show(answer: Answer) -> None:
    for line in lines_of_board(answer.data):
        out().print(line)


def alarms(
    device: DeviceOption = None, form: FormatOption = Format.TEXT, journal: JournalOption = None
) -> None:
    """Show the board of alarms: what each says, since when, and what to do.

    HIGH ones, and those that tell of a moment, stay until a person has acknowledged them.
    """
    ask_device(AlarmsRequest(), device, None, journal, form, _show)


def acknowledge(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was found; recorded.")],
    user: UserOption = "",
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Say that you have looked at the device: what is over goes from the board.

    What still holds stays, silent. After a stall or an occlusion it opens boluses again.
    """
    request = built(form, lambda: LookRequest(user=user or user_name(), text=text.strip()))
    ask_device(request, device, None, journal, form, _show)


def pause(
    length: Annotated[
        str, typer.Option("--for", metavar="TIME", help="At most 10 min.")
    ] = "10 min",
    user: UserOption = "",
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Silence the alarms for up to 10 minutes; nothing is hidden.

    Ended by a new alarm, a lost line, a look, or a clock that was set back.
    """

    def request() -> PauseRequest:
        time = notation(parse_duration, length, "--for")
        if time > LONGEST_PAUSE:
            raise UsageError(f"--for: at most {LONGEST_PAUSE // MINUTE_MS} min, not {length}")
        return PauseRequest(user=user or user_name(), length=time)

    ask_device(built(form, request), device, None, journal, form, _show)
