"""`check` and `schema`: what a file says, without any device."""

from pathlib import Path

import typer
from rich.text import Text

from device_profiles.errors import NeuraxisError
from device_profiles.schema import therapy_schema
from hil.check import Check, check_file, wall_now
from hil.commands.group import Commands
from hil.commands.options import FileArgument, Format, FormatOption, FormularyOption
from hil.commands.shell import errors, fail, guarded, out, print_json
from hil.exit_codes import DONE, USAGE, code_of_findings

schema_app = Commands(help="JSON Schemas for editors.")


def check(
    file: FileArgument,
    form: FormatOption = Format.TEXT,
    formulary: FormularyOption = None,
) -> None:
    """Read and judge a therapy file, without any device. Shows every finding at its line."""

    def work() -> int:
        checked = check_file(file, formulary, wall_now())
        if form is Format.JSON:
            print_json(checked.as_json())
        else:
            _show_check(checked)
        return code_of_findings(checked.findings)

    guarded(form, work)


def _show_check(checked: Check) -> None:
    console = out()
    if checked.findings:
        console.print(Text(checked.rendered()))
        console.print()
    count = len(checked.findings)
    console.print(Text(f"{checked.reading.file}: {checked.verdict}, {count} finding(s)"))
    if checked.not_judged:
        console.print(Text(f"judged once a device answers: {', '.join(checked.not_judged)}"))


@schema_app.command("therapy")
def schema_therapy() -> None:
    """Print the JSON Schema of therapy files, for an editor."""

    def work() -> int:
        print_json(therapy_schema())
        return DONE

    guarded(Format.TEXT, work)


def readable(file: Path, formulary: Path | None, form: Format) -> Check:
    """A file that has no hard finding; otherwise its findings are told and the command ends."""
    try:
        checked = check_file(file, formulary, wall_now())
    except NeuraxisError as error:
        fail(error, form)
    hard = [finding for finding in checked.findings if finding.severity != "soft"]
    if not hard and checked.command is not None:
        return checked
    if form is Format.JSON:
        print_json(checked.as_json())
    errors().print(Text(checked.rendered()))
    raise typer.Exit(code_of_findings(checked.findings) or USAGE)
