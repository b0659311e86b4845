"""`capture record`, `show`, `diff`, and `replay`: a conversation with a device as a file."""

from collections.abc import Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from device_profiles.errors import UsageError
from device_profiles.notation import parse_duration
from device_profiles.rendering import printable
from firmware_bridge.key_file import key_of_text
from firmware_bridge.protocol.messages import PROTOCOL_VERSION
from hil.capture.conversation import (
    NS_PER_MS,
    Entry,
    Frame,
    around,
    conversation_of,
    line_of,
    words,
)
from hil.capture.diff import Compared, as_json, first_difference, told
from hil.capture.lines import Began, Ended
from hil.capture.reading import Capture, read_capture
from hil.capture.recording import TALKS, Recorded
from hil.capture.replay import Verdict
from hil.capture.replay import replay as play
from hil.capture.writing import CaptureWriter
from hil.commands.group import Commands
from hil.commands.options import Format, FormatOption
from hil.commands.shell import errors, guarded, notation, out, print_json
from hil.exit_codes import DONE, INTERNAL_ERROR
from hil.outside import OUTSIDE

DIFFERENT = 1
MOST_TEXT = 1 << 20
"""Bytes of an input file that a capture keeps."""
TORN = "the last line of {} is not whole: whoever recorded it was ended in mid-word"

capture_app = Commands(
    help="Record a conversation with a device, show it, compare two.",
)
CaptureArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A capture.")]


@capture_app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def record(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The capture; a new file.")],
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="Any command that talks to a device.")
    ],
) -> None:
    """Run a command, and write down all that it says to a device and hears.

    Both directions in hex with the time, what became of the line, the dice, the input files and
    the journal as it was, so that `neuraxis replay` can play it again. Never a key; but what was
    sealed stands there in clear: keep it as you keep the journal.
    """

    def work() -> int:
        if file.startswith("-"):
            raise UsageError(
                f"{file}: where the capture's FILE stands there is an option, and `capture record` "
                f"has none: write ./{file} if that is the name of the file"
            )
        began = _began(command)
        console = errors()
        writer = CaptureWriter(
            Path(file), began, lambda text: console.print(Text(f"neuraxis: {text}"))
        )
        outside = Recorded(OUTSIDE.get(), writer.add)
        token = OUTSIDE.set(outside)
        code = INTERNAL_ERROR
        try:
            code = _run(context, command)
        finally:
            OUTSIDE.reset(token)
            writer.add(Ended(ns=outside.now_ns(), code=code))
            writer.close()
        if not outside.links:
            console.print(
                Text(
                    f"{file}: no line was opened. Where a device has an owner, it is the owner "
                    "that talks to it: record the `neuraxis run` that owns it"
                )
            )
        return code

    guarded(Format.TEXT, work, acts=True)


def _began(command: Sequence[str]) -> Began:
    if command[0] not in TALKS:
        raise UsageError(
            f"{command[0]!r} is no command that talks to a device; those are: {', '.join(TALKS)}"
        )
    return Began(
        ns=OUTSIDE.get().now_ns(),
        version=metadata.version("neuraxis"),
        protocol=PROTOCOL_VERSION,
        wall_ms=OUTSIDE.get().wall_ms(),
        command=list(command),
        files=_texts(command),
    )


def _texts(command: Sequence[str]) -> dict[str, str]:
    """The input files of a command, by the names they were given; never a journal nor a key."""
    texts = {}
    for before, argument in pairwise(command):
        option, equals, value = argument.partition("=")
        name = value if equals and option.startswith("--") else argument
        if "--journal" in (before, option):
            continue
        try:
            path = Path(name)
            if not path.is_file() or path.stat().st_size > MOST_TEXT:
                continue
            data = path.read_bytes()
            text = data.decode("utf-8")
        except (OSError, ValueError):
            continue  # the command itself will say what is wrong with it
        if not _is_key(data):
            texts[name] = text
    return texts


def _is_key(data: bytes) -> bool:
    try:
        key_of_text(data, "")
    except UsageError:
        return False
    return True


def _run(context: typer.Context, arguments: Sequence[str]) -> int:
    """Runs a neuraxis command in this process; its exit code."""
    root = context.find_root().command
    try:
        root.main(list(arguments), prog_name="neuraxis")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE
    return DONE


@capture_app.command()
def show(file: CaptureArgument, form: FormatOption = Format.TEXT) -> None:
    """Show a conversation as people read it.

    Every frame with its number, the time since the recording began, and its direction: > to the
    device, < from it. What was damaged, unknown or not sealed by the device is marked.
    """

    def work() -> int:
        capture = read_capture(file)
        entries = conversation_of(capture)
        if form is Format.JSON:
            print_json(
                {"schema": "neuraxis.capture/1", "command": capture.began.command}
                | {"version": capture.began.version, "protocol": capture.began.protocol}
                | {"code": None if capture.ended is None else capture.ended.code}
                | {"torn": capture.torn, "entries": [_as_json(one) for one in entries]}
            )
            return DONE
        console = out()
        console.print(Text(printable(f"neuraxis {' '.join(capture.began.command)}")))
        for entry in entries:
            console.print(Text(line_of(entry)))
        console.print(Text(_end_of(capture)))
        _tell_oddities(capture)
        return DONE

    guarded(form, work)


def _as_json(entry: Entry) -> dict[str, object]:
    if not isinstance(entry, Frame):
        return {"ns": entry.ns, "link": entry.link, "event": entry.event, "text": entry.text}
    name = None if entry.envelope is None else type(entry.envelope.message).__name__
    return {
        "number": entry.number,
        "ns": entry.ns,
        "link": entry.link,
        "way": entry.way,
        "hex": entry.wire.hex(),
        "sealed": entry.is_sealed,
        "message": name,
        "says": words(entry),
        "problem": entry.problem or None,
    }


def _end_of(capture: Capture) -> str:
    if capture.ended is None:
        return "the recording breaks off here: the command was killed, or the capture ended early"
    return f"the command ended with exit code {capture.ended.code}"


def _tell_torn(capture: Capture) -> None:
    if capture.torn:
        errors().print(Text(TORN.format(capture.path)))


def _tell_oddities(capture: Capture) -> None:
    _tell_torn(capture)
    if capture.began.protocol != PROTOCOL_VERSION:
        errors().print(
            Text(
                f"{capture.path} was recorded in protocol {capture.began.protocol}, and this "
                f"version reads {PROTOCOL_VERSION}: what has changed in between is no message here"
            )
        )


@capture_app.command()
def diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="A capture.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    host: Annotated[
        bool, typer.Option("--host", help="Compare only what the host says, not the device.")
    ] = False,
    within: Annotated[
        str | None,
        typer.Option(
            "--within", metavar="TIME", help='Compare the times between frames too, e.g. "50 ms".'
        ),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Tell where two conversations first differ.

    Frame by frame by what they say. Session numbers, nonces, ids and serial numbers are mapped to
    each other; proofs, clocks and times are not compared. Exit code 0: the same; 1: they differ.
    """

    def work() -> int:
        time = None if within is None else notation(parse_duration, within, "--within")
        captures = read_capture(one), read_capture(other)
        first, second = conversation_of(captures[0]), conversation_of(captures[1])
        found = first_difference(first, second, Compared(host, time))
        if form is Format.JSON:
            print_json(as_json(found))
        else:
            for capture in captures:
                _tell_oddities(capture)
            lines = (
                ["the same"]
                if found is None
                else told(found, (str(one), str(other)), first, second)
            )
            for line in lines:
                out().print(Text(line))
        return DONE if found is None else DIFFERENT

    guarded(form, work)


def replay(
    context: typer.Context,
    file: CaptureArgument,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="Read this in place of the recorded input file of the same name.",
        ),
    ] = None,
    output: Annotated[
        bool, typer.Option("--output", help="Print what the replayed command says, too.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Run a recorded command once more against its capture, on virtual time.

    The recorded device answers; no line is opened and no journal of yours is touched. What this
    version's host writes is compared with the capture: exit code 0, the same to its end; 1, it
    differs, and it is said where first.
    """

    def work() -> int:
        capture = read_capture(file)
        verdict = play(capture, lambda arguments: _run(context, arguments), files or ())
        if form is Format.JSON:
            print_json(_verdict_as_json(verdict))
        else:
            _tell_torn(capture)
            _show_verdict(verdict, output)
        return DONE if verdict.departure is None else DIFFERENT

    guarded(form, work)


def _verdict_as_json(verdict: Verdict) -> dict[str, object]:
    found = verdict.departure
    number = found.entry.number if found is not None and isinstance(found.entry, Frame) else None
    departure = found and {
        "number": number,
        "ns": found.ns,
        "expected": found.expected,
        "came": found.came,
    }
    return {
        "schema": "neuraxis.replay/1",
        "same": found is None,
        "frames": verdict.matched,
        "swapped": verdict.swapped,
        "breaks_off": verdict.broke_off,
        "difference": departure,
        "said": verdict.said,
    }


def _show_verdict(verdict: Verdict, output: bool) -> None:
    console = out()
    if output:
        console.print(Text(verdict.said.rstrip("\n")))
    swapped = (
        f"; {verdict.swapped} queries or renewals came in another order, within 100 ms"
        if verdict.swapped
        else ""
    )
    found = verdict.departure
    if found is None:
        end = "where the recording breaks off" if verdict.broke_off else "the end"
        console.print(Text(f"the same to {end}: {verdict.matched} frames of the host{swapped}"))
        return
    place = f"frame {found.entry.number}, " if isinstance(found.entry, Frame) else ""
    console.print(Text(f"the first difference: {place}{found.ns / NS_PER_MS:.3f} ms"))
    console.print(Text(f"  recorded: {found.expected}"))
    console.print(Text(f"  replayed: {found.came}"))
    if found.entry in verdict.entries:
        for line in around(verdict.entries, found.entry):
            console.print(Text(line))
    console.print(Text(f"{verdict.matched} frames of the host were the same before{swapped}"))
    last = verdict.said.strip().splitlines()[-1:]
    if not output and last:
        console.print(Text(f"the replayed command said last: {last[0]}"))
