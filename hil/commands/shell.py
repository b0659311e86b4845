"""What every command does: print, fail with the right exit code, end safely when interrupted."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from device_profiles.diagnostics import Finding
from device_profiles.errors import NeuraxisError, Refused, UsageError
from device_profiles.notation_grammar import NotationError
from firmware_bridge.links.url import DeviceUrl, parse_url
from hil.check import finding_as_json
from hil.commands.options import Format
from hil.exit_codes import DONE, SEVERITY, USAGE, code_of, leaves
from hil.keys import UNSEALED
from hil.outside import OUTSIDE, Main
from hil.places import Places
from hil.streams import output_is_lost

T = TypeVar("T")


def places(journal: Path | None) -> Places:
    """The user's state folder and keys."""
    return OUTSIDE.get().places(journal)


def device_url(text: str) -> DeviceUrl:
    """The URL that a person gave; where it asks for an unsealed line, that is said aloud."""
    url = parse_url(text)
    if url.unsealed:
        errors().print(Text(f"{url}: {UNSEALED}."))
    return url


def print_json(value: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_error(code: int, text: str, findings: Sequence[Finding] = ()) -> None:
    """What went wrong, for a program that reads standard output."""
    print_json(
        {"schema": "neuraxis.error/1", "code": code, "text": text}
        | {"findings": [finding_as_json(finding) for finding in findings]}
    )


def errors() -> Console:
    """Where sentences about what went wrong go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def out() -> Console:
    """Where answers go."""
    return Console(highlight=False, soft_wrap=True)


def fail(error: BaseException, form: Format) -> NoReturn:
    """Tells what went wrong, once, and ends with the exit code it amounts to."""
    code = code_of(error)
    known = [leaf for leaf in leaves(error) if isinstance(leaf, NeuraxisError)]
    if not known:
        raise error
    worst = min(known, key=lambda leaf: SEVERITY.index(code_of(leaf)))
    findings = worst.findings if isinstance(worst, Refused) else ()
    if form is Format.JSON:
        print_error(code, str(worst), findings)
    tell(str(worst), findings)
    raise typer.Exit(code)


def tell(text: str, findings: Sequence[Finding] = ()) -> None:
    """Says on standard error what went wrong, with every finding and what to do about it."""
    console = errors()
    console.print(Text(f"neuraxis: {text}"))
    for finding in findings:
        limit = f" (limit {finding.limit}, {finding.source})" if finding.limit else ""
        console.print(Text(f"  {finding.rule} {finding.severity}: {finding.message}{limit}"))
        if finding.hint:
            console.print(Text(f"    hint: {finding.hint}"))


def _end(code: int) -> None:
    if code != DONE:
        raise typer.Exit(code)


def guarded(form: Format, work: Callable[[], int], *, acts: bool = False) -> None:
    """Runs a command's work; every error of ours becomes a sentence and an exit code.

    ``acts``: what it did to a device counts, and stands where its answer could not be printed.
    """
    try:
        code = work()
        if code == DONE and not acts and output_is_lost():
            code = USAGE
    except (NeuraxisError, BaseExceptionGroup) as error:
        fail(error, form)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(UsageError(f"{where}{error.strerror or error}"), form)
    _end(code)


ASKED_ONCE = "what was asked of a device is seen to its end, and told"


def interruptible(form: Format, main: Main, ending: str = ASKED_ONCE) -> None:
    """Runs a command with the clock of its outside; a signal ends it through its own clean-up.

    ``ending``: what a signal makes it do, in words.
    """
    console = errors()

    def say(text: str) -> None:
        console.print(Text(f"{text}: {ending}"))

    guarded(form, lambda: OUTSIDE.get().run(main, say), acts=True)


async def asks_a_person(question: str) -> bool:
    """Asks on the terminal; anything but a clear yes, an ended input included, is a no."""
    print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
    return (await OUTSIDE.get().typed()).strip().lower() in ("y", "yes")


def notation(parse: Callable[[str], T], text: str, what: str) -> T:
    """A quantity given on the command line; raises UsageError."""
    try:
        return parse(text)
    except NotationError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise UsageError(f"{what}: {error}{hint}") from error


def built(form: Format, make: Callable[[], T]) -> T:
    """What ``make`` makes; what a person typed wrongly becomes a sentence and exit code 2."""
    try:
        return make()
    except NeuraxisError as error:
        fail(error, form)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        fail(UsageError(f"{place}: {first['msg'].lower()}"), form)
