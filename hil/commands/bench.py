"""`devices`, `simulate` and `journal`: what is on the bench, and what happened on it."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from device_profiles.errors import UsageError
from firmware_bridge.clock import RealClock
from firmware_bridge.links.discovery import discover
from firmware_bridge.simulator.ports import LISTEN_FORMS
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator
from hil.commands.options import Format, FormatOption
from hil.commands.shell import guarded, out, places, print_json, tell
from hil.exit_codes import DONE, REFUSED, USAGE
from hil.journal_view import event_as_json, story
from safety.journal import parse, verify

journal_app = typer.Typer(no_args_is_help=True, help="Read a journal.", rich_markup_mode=None)


def devices(form: FormatOption = Format.TEXT) -> None:
    """List serial ports, USB devices and owners.

    Opens none of them.
    """

    def work() -> int:
        found = discover()
        owners = {owner.url: owner for owner in places(None).owners()}
        if form is Format.JSON:
            print_json(
                {
                    "schema": "neuraxis.devices/1",
                    "devices": [asdict(device) for device in found.devices],
                    "owners": [
                        {"url": o.url, "serial": o.serial, "pid": o.pid} for o in owners.values()
                    ],
                    "notes": list(found.notes),
                }
            )
            return DONE
        console = out()
        for device in found.devices:
            console.print(Text(f"{device.url:<44} {device.description}"))
        if not found.devices:
            console.print(
                Text(
                    "no serial port and no USB device found; sim://stimulator and "
                    "sim://pump are always there"
                )
            )
        for owner in owners.values():
            console.print(Text(f"{owner.url:<44} owned by process {owner.pid}: {owner.serial}"))
        for note in found.notes:
            console.print(Text(f"note: {note}"))
        return DONE

    guarded(form, work)


def simulate(
    family: Annotated[
        str, typer.Argument(metavar="stimulator|pump", help="Which device to simulate.")
    ],
    listen: Annotated[str, typer.Option("--listen", metavar="PORT", help=LISTEN_FORMS)],
    serial_number: Annotated[
        str | None, typer.Option("--serial-number", metavar="S", help="Who it says it is.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="Memory that survives.")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="FILE", help="What physically happened, a JSON line each."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Its small differences.")] = 0,
    speed: Annotated[
        int, typer.Option("--speed", metavar="X", help="How many times faster its therapy runs.")
    ] = 1,
    faults: Annotated[
        Path | None, typer.Option("--faults", metavar="FILE", help="What goes wrong, and when.")
    ] = None,
) -> None:
    """Simulate a device until Ctrl-C.

    Physics, firmware and faults, behind a port of its own. Prints one line of JSON when the
    device can be reached.
    """

    async def main() -> None:
        clock = RealClock()
        options = SimulatorOptions(family, listen, serial_number, state, truth, seed, speed, faults)
        try:
            await run_simulator(options, clock, _announce)
        finally:
            clock.close()

    def work() -> int:
        asyncio.run(main())
        return DONE

    guarded(Format.TEXT, work)


def _announce(listening: Listening) -> None:
    print(json.dumps({"listening": listening.url, "serial": listening.serial}), flush=True)


JournalArgument = Annotated[Path, typer.Argument(metavar="PATH", help="A journal file.")]


def _journal_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


@journal_app.command("show")
def journal_show(path: JournalArgument, form: FormatOption = Format.TEXT) -> None:
    """Tell a journal as a story, one sentence for each entry."""

    def work() -> int:
        contents = parse(_journal_bytes(path))
        if form is Format.JSON:
            entries = enumerate(contents.events, start=1)
            print_json(
                {"schema": "neuraxis.journal/1", "path": str(path)}
                | {"entries": [event_as_json(number, event) for number, event in entries]}
                | {"problem": contents.problem, "torn_bytes": contents.torn}
            )
        else:
            for line in story(contents):
                print(line)
            if not contents.events and contents.problem is None:
                print("no entries")
        if contents.problem is None:
            return DONE
        tell(f"{path}: {contents.problem}")
        return USAGE

    guarded(form, work)


@journal_app.command("verify")
def journal_verify(path: JournalArgument, form: FormatOption = Format.TEXT) -> None:
    """Check a journal's chain and its anchor: finds what was deleted, edited, inserted or cut."""

    def work() -> int:
        contents = parse(_journal_bytes(path))
        problem = verify(contents, places(None).anchor_of(path).read())
        if form is Format.JSON:
            print_json(
                {"schema": "neuraxis.verify/1", "path": str(path), "whole": problem is None}
                | {"entries": len(contents.events), "problem": problem}
                | {"torn_bytes": contents.torn}
            )
        elif problem is None:
            torn = (
                f"; {contents.torn} bytes of an entry that was never sent" if contents.torn else ""
            )
            print(f"{path}: whole, {len(contents.events)} entries{torn}")
        if problem is None:
            return DONE
        tell(f"{path}: {problem}")
        return REFUSED

    guarded(form, work)
