"""`keys`: the secrets that this host shares with devices. No command ever shows one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from device_profiles.errors import UsageError
from firmware_bridge.key_file import read_key, write_key
from hil.commands.group import Commands
from hil.commands.options import Format, FormatOption
from hil.commands.shell import guarded, out, places, print_json
from hil.exit_codes import DONE

keys_app = Commands(
    help="Keys of devices, for sealed sessions. They are provisioned at the bench, never over "
    "the link, and never shown.",
)
SerialArgument = Annotated[str, typer.Argument(metavar="SERIAL", help="The serial number.")]


@keys_app.command("new")
def new(
    serial: SerialArgument,
    copy: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A copy, to be carried to the device."),
    ] = None,
) -> None:
    """Make a key for a device and keep it in this user's store."""

    def work() -> int:
        store = places(None).keys
        key = store.make(serial)
        if copy is not None:
            try:
                write_key(copy, key)
            except UsageError:
                store.remove(serial)  # no device has it, so none is to be asked with it
                raise
        out().print(Text(f"a new key for {serial} is in {store.path_of(serial)}"))
        if copy is not None:
            out().print(Text(f"its copy for the device is in {copy}: remove it when it is there"))
        return DONE

    guarded(Format.TEXT, work)


@keys_app.command("add")
def add(
    serial: SerialArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="64 hexadecimal digits, mode 600.")],
) -> None:
    """Keep the key of a device that has one already."""

    def work() -> int:
        store = places(None).keys
        store.keep(serial, read_key(file))
        out().print(Text(f"the key of {serial} is in {store.path_of(serial)}"))
        return DONE

    guarded(Format.TEXT, work)


@keys_app.command("list")
def show(form: FormatOption = Format.TEXT) -> None:
    """List the serial numbers that have a key."""

    def work() -> int:
        serials = places(None).keys.serials()
        if form is Format.JSON:
            print_json({"schema": "neuraxis.keys/1", "serials": list(serials)})
            return DONE
        for serial in serials:
            out().print(Text(serial))
        if not serials:
            out().print(Text("no keys yet: `neuraxis keys new SERIAL` makes one"))
        return DONE

    guarded(form, work)


@keys_app.command("remove")
def remove(serial: SerialArgument) -> None:
    """Forget the key of a device: nothing can be sent to it sealed any more."""

    def work() -> int:
        places(None).keys.remove(serial)
        out().print(Text(f"the key of {serial} is gone from this store; the device keeps its own"))
        return DONE

    guarded(Format.TEXT, work)
