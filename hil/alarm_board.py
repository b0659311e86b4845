"""The board of alarms for people: what other terminals may ask about it, and how it is shown."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.text import Text

from device_profiles.notation import write_duration
from device_profiles.quantities import Milliseconds
from firmware_bridge.families.table import AnyController
from hil.live_view import ALARM_STYLES
from safety.alarm_table import kind_of
from safety.alarms import LONGEST_PAUSE, ActiveAlarm, in_order, is_silent
from safety.events import Looked, Paused

A_NAME = Field(min_length=1, max_length=64)


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AlarmsRequest(_Model):
    """What is on the board?"""

    request: Literal["alarms"] = "alarms"


class LookRequest(_Model):
    """A person has looked at the device and says what was found."""

    request: Literal["look"] = "look"
    user: Annotated[str, A_NAME]
    text: Annotated[str, Field(min_length=1, max_length=500)]


class PauseRequest(_Model):
    """Silence for a while, ms."""

    request: Literal["pause"] = "pause"
    user: Annotated[str, A_NAME]
    length: Annotated[int, Field(gt=0, le=LONGEST_PAUSE)]


BoardRequest = AlarmsRequest | LookRequest | PauseRequest


async def answer_about_board(
    controller: AnyController, request: BoardRequest
) -> tuple[str, dict[str, Any]]:
    """SR-55: carries out a request about the board; a sentence, and the board as it is then.

    A look ends what is over and opens boluses again; a pause silences and hides nothing. Protects
    from alarms that go unseen. Harm: a look that was none takes a latched alarm away. Longest
    denial: 10 minutes of sound. Way out: any new alarm sounds at once.
    """
    now, serial = controller.now(), controller.identity.serial
    match request:
        case LookRequest():
            await controller.gate.tell(Looked(now, request.user, request.text))
            left = len(controller.state.alarms)
            text = f"noted: {request.user} has looked at {serial}; " + (
                f"{left} still hold" if left else "no alarm is left"
            )
        case PauseRequest():
            until = Milliseconds(now.wall + request.length)
            await controller.gate.tell(Paused(now, request.user, until))
            text = (
                f"silent for {write_duration(Milliseconds(request.length))} at most; a new alarm, "
                "a lost line and a look end it"
            )
        case AlarmsRequest():
            highest = next(iter(in_order(controller.state.alarms)), None)
            text = f"{serial}: no alarms"
            if highest is not None:
                text = f"{serial}: {len(controller.state.alarms)} on the board, highest first"
    return text, board_as_json(controller)


def board_as_json(controller: AnyController) -> dict[str, Any]:
    """The board for programs, highest first, and whether it is silenced."""
    state, now = controller.state, controller.now()
    pause = state.pause
    return {
        "schema": "neuraxis.alarms/1",
        "board": [_entry(one) for one in in_order(state.alarms)],
        "silent_until_ms": pause.until if pause and is_silent(pause, now) else None,
    }


def _entry(one: ActiveAlarm) -> dict[str, Any]:
    return {
        "priority": one.alarm.priority,
        "code": one.alarm.code,
        "requirement": one.alarm.requirement,
        "since_ms": one.since,
        "text": one.alarm.text,
        "do": kind_of(one.alarm.code).do,
        "over": one.over,
        "seen": one.seen,
    }


def lines_of_board(data: dict[str, Any]) -> list[Text]:
    """The board for people: for each alarm what it says and what to do."""
    lines = []
    for one in data["board"]:
        marks = ", ".join(
            word
            for word, holds in (
                ("over", one["over"]),
                ("seen", one["seen"]),
            )
            if holds
        )
        since = datetime.fromtimestamp(one["since_ms"] / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        head = Text(f" {one['priority']:<6} ", style=ALARM_STYLES[one["priority"]])
        head.append(
            f" {one['code']} ({one['requirement']}) since {since} UTC"
            + (f" [{marks}]" if marks else ""),
            style="default not bold on default",
        )
        lines += [head, Text(f"         {one['text']}"), Text(f"         do: {one['do']}")]
    if data["silent_until_ms"] is not None:
        until = datetime.fromtimestamp(data["silent_until_ms"] / 1_000, UTC).strftime("%H:%M:%S")
        lines.append(Text(f"  silenced until {until} UTC at the latest"))
    return lines


def highest_in_words(data: dict[str, Any]) -> str:
    """The highest alarm in one line, and how many more there are."""
    board = data["board"]
    if not board:
        return "none"
    first = board[0]
    more = f", and {len(board) - 1} more (`neuraxis alarms`)" if len(board) > 1 else ""
    over = ", over, not yet seen" if first["over"] else ""
    return f"{first['priority']} {first['code']}: {first['text']}{over}{more}"
