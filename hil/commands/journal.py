"""`journal show`, `journal why` and `journal verify`: what happened on the bench, and why."""

import re
from pathlib import Path
from typing import Annotated

import typer

from device_profiles.errors import UsageError
from device_profiles.plain_file import not_plain
from hil.commands.group import Commands
from hil.commands.options import Format, FormatOption
from hil.commands.shell import guarded, out, places, print_json, tell
from hil.exit_codes import DONE, REFUSED, USAGE
from hil.journal_view import story
from hil.journal_why import Why, last_refusal, why, why_as_json, why_view
from safety.audit import audit
from safety.journal import Contents, JournalError, parse, read_chain, verify
from safety.journal_format import unsound

journal_app = Commands(help="Read a journal.")

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="A journal file.")]
_ID = re.compile(r"0x[0-9a-f]{1,16}|[0-9]{1,20}", re.ASCII | re.IGNORECASE)


def _bytes_of(path: Path) -> bytes:
    try:
        if (kind := not_plain(path)) is not None:
            raise UsageError(f"{path}: cannot be read: it is {kind}; name a journal file")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _id_from(text: str) -> int:
    if not _ID.fullmatch(text):
        raise UsageError(f"{text}: no id; write it as `journal show` does, for instance 0x3b3a")
    return int(text, 0) if text[:2].lower() == "0x" else int(text)


@journal_app.command("show")
def journal_show(
    path: PathArgument,
    only: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only the story of this command.")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Tell a journal as a story, one sentence for each entry."""

    def work() -> int:
        wanted = None if only is None else _id_from(only)
        contents = parse(_bytes_of(path))
        told = [one for one in story(contents.events) if wanted in (None, one.id)]
        if wanted is not None and not told:
            raise UsageError(f"{path}: no entry is about {wanted:#x}")
        if form is Format.JSON:
            print_json(
                {"schema": "neuraxis.journal/1", "path": str(path)}
                | {"entries": [one.as_json() for one in told]}
                | {"problem": contents.problem, "torn_bytes": contents.torn}
            )
        else:
            for one in told:
                print(one.line)
            if not told and contents.problem is None:
                print("no entries")
        return _ended(path, contents)

    guarded(form, work)


def _ended(path: Path, contents: Contents) -> int:
    """The exit code of a reading that goes as far as the entries can be trusted."""
    if contents.problem is None:
        return DONE
    tell(f"{path}: {contents.problem}")
    return USAGE


@journal_app.command("why")
def journal_why(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="Of a command, as `show` tells it. Default: the last refusal."
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="PATH", help="Default: every journal of this user."),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Say why a request was refused, or why it was granted: findings, windows, earlier doses."""

    def work() -> int:
        paths = (journal,) if journal is not None else places(None).journals()
        chains = {path: read_chain(_bytes_of(path)) for path in paths}
        intent_id = last_refusal(chains.values()) if wanted is None else _id_from(wanted)
        for path, chain in chains.items():
            contents = parse(chain.data)
            found = None if intent_id is None else why(contents.events, intent_id)
            if found is not None:
                _show_why(path, contents, found, form)
                return _ended(path, contents)
        what = "refused" if intent_id is None else f"asked for as {intent_id:#x}"
        where = str(journal) if journal is not None else "the journals of this user"
        raise UsageError(f"nothing was {what} in {where}")

    guarded(form, work)


def _show_why(path: Path, contents: Contents, found: Why, form: Format) -> None:
    if form is Format.JSON:
        print_json(
            {"schema": "neuraxis.why/1", "path": str(path)}
            | why_as_json(found)
            | {"problem": contents.problem}
        )
    else:
        out().print(why_view(found))


@journal_app.command("verify")
def journal_verify(path: PathArgument, form: FormatOption = Format.TEXT) -> None:
    """Check chain, anchor and sums: finds what was deleted, edited, inserted, reordered or cut."""

    def work() -> int:
        chain = read_chain(_bytes_of(path))
        try:
            problem = verify(chain, places(None).anchor_of(path).read())
        except JournalError as error:
            problem = unsound(chain) or str(error)
        problem = problem or audit(chain)
        if form is Format.JSON:
            print_json(
                {"schema": "neuraxis.verify/1", "path": str(path), "whole": problem is None}
                | {"entries": chain.count, "problem": problem}
                | {"torn_bytes": chain.torn}
            )
        elif problem is None:
            torn = f"; {chain.torn} bytes of an entry that was never sent" if chain.torn else ""
            print(f"{path}: whole, {chain.count} entries{torn}")
        if problem is None:
            return DONE
        tell(f"{path}: {problem}")
        return REFUSED

    guarded(form, work)
