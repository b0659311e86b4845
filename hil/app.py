"""The command `neuraxis`: puts the commands together."""

from importlib import metadata
from typing import Annotated

import typer

from firmware_bridge.simulator.faults import describe_faults
from hil.commands import alarms, bench, capture, device, files, journal, keys, mri, storm, therapy
from hil.commands.group import Commands
from hil.commands.options import DISCLAIMER

app = Commands(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Drives spinal cord stimulators and intrathecal pumps on a bench: reads a therapy file, "
    "judges it, shows the plan, sends it, reads it back and watches it. " + DISCLAIMER,
    epilog="Exit codes: 0 done, 1 internal error, 2 usage or unreadable file, 3 refused by "
    "safety, 4 link or second owner, 5 device fault, 6 outcome uncertain or stop not confirmed, "
    "130/143/129 interrupted with the safe state confirmed, or before a device was asked anything.",
)


def show_version(wanted: bool) -> None:
    """Prints the version and ends, before a command is looked for."""
    if wanted:
        print(f"neuraxis {metadata.version('neuraxis')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What stands before every command."""


for command in (
    files.check,
    therapy.plan,
    therapy.apply,
    therapy.run,
    device.status,
    device.stop,
    device.bolus,
    device.prime,
    device.amplitude,
    device.switch,
    device.impedance,
    alarms.alarms,
    alarms.acknowledge,
    alarms.pause,
    bench.devices,
    storm.storm,
    capture.replay,
):
    app.command()(command)
app.command(epilog="\b\n" + describe_faults())(bench.simulate)
app.add_typer(keys.keys_app, name="keys")
app.add_typer(journal.journal_app, name="journal")
app.add_typer(files.schema_app, name="schema")
app.add_typer(mri.mri_app, name="mri")
app.add_typer(capture.capture_app, name="capture")
