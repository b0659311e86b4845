"""`devices` and `simulate`: what is on the bench."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from device_profiles.errors import UsageError
from firmware_bridge.clock import RealClock
from firmware_bridge.key_file import read_key
from firmware_bridge.links.discovery import discover
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.simulator.ports import LISTEN_FORMS
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator
from hil.commands.options import Format, FormatOption
from hil.commands.shell import guarded, out, places, print_json
from hil.exit_codes import DONE


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
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Its key. Default: yours for it, or a new one."),
    ] = None,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Without a key, as a board in bring-up.")
    ] = False,
) -> None:
    """Simulate a device until Ctrl-C.

    Physics, firmware and faults, behind a port of its own. Prints one line of JSON when the
    device can be reached. Its key is kept in your store of keys, so that other commands reach it.
    """

    def keys(serial: str) -> DeviceKey | None:
        store = places(None).keys
        if unsealed:
            return None
        if key is not None:
            return store.keep(serial, read_key(key))
        return store.find(serial) or store.make(serial)

    async def main() -> None:
        clock = RealClock()
        options = SimulatorOptions(
            family, listen, serial_number, state, truth, seed, speed, faults, key_of=keys
        )
        try:
            await run_simulator(options, clock, _announce)
        finally:
            clock.close()

    def work() -> int:
        if unsealed and key is not None:
            raise UsageError("a device with --key is no --unsealed one")
        asyncio.run(main())
        return DONE

    guarded(Format.TEXT, work)


def _announce(listening: Listening) -> None:
    print(json.dumps(listening.as_json()), flush=True)
