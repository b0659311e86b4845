"""The command `neuraxis`."""

import asyncio
import getpass
import json
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import platformdirs
import typer
from rich.console import Console
from rich.text import Text

from device_profiles.errors import NeuraxisError, OwnerError, Refused, UsageError
from device_profiles.notation import parse_current, parse_duration, parse_mass
from device_profiles.notation_grammar import NotationError
from device_profiles.schema import therapy_schema
from firmware_bridge.clock import RealClock
from firmware_bridge.controller import Plan
from firmware_bridge.links.discovery import discover
from firmware_bridge.links.url import DeviceUrl, parse_url
from firmware_bridge.simulator.faults import describe_faults
from firmware_bridge.simulator.ports import LISTEN_FORMS
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator
from hil.check import Check, check_file, finding_as_json, wall_now
from hil.exit_codes import (
    DONE,
    INTERNAL_ERROR,
    REFUSED,
    USAGE,
    code_of,
    code_of_findings,
    leaves,
)
from hil.interrupt import run_interruptible
from hil.journal_view import event_as_json, story
from hil.live_view import TerminalDisplay
from hil.owner import find_owner, own
from hil.places import Places
from hil.plan_view import next_clock_change, plan_as_json, plan_view
from hil.requests import (
    AmplitudeRequest,
    Answer,
    BolusRequest,
    ImpedanceRequest,
    Reason,
    Request,
    StatusRequest,
    StopRequest,
    SwitchRequest,
    ask_owner,
    serve,
)
from hil.run import RunOptions, apply_plan, plan_for, run_therapy
from safety.commands import Override
from safety.journal import parse, verify

DISCLAIMER = "neuraxis is a bench and research prototype, not a medical device."

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Drives spinal cord stimulators and intrathecal pumps on a bench: reads a therapy file, "
    "judges it, shows the plan, sends it, reads it back and watches it. " + DISCLAIMER,
    epilog="Exit codes: 0 done, 1 internal error, 2 usage or unreadable file, 3 refused by "
    "safety, 4 link or second owner, 5 device fault, 6 outcome uncertain or stop not confirmed, "
    "130/143 interrupted with the safe state confirmed.",
)
journal_app = typer.Typer(no_args_is_help=True, help="Read a journal.", rich_markup_mode=None)
app.add_typer(journal_app, name="journal")
schema_app = typer.Typer(
    no_args_is_help=True, help="JSON Schemas for editors.", rich_markup_mode=None
)
app.add_typer(schema_app, name="schema")


class Format(StrEnum):
    """How a command answers."""

    TEXT = "text"
    JSON = "json"


FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A therapy file (YAML).")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="URL",
        help="serial:///dev/ttyUSB0, usb://1209:0001, tcp://HOST:PORT, sim://stimulator, …; "
        "?serial=S demands that serial number.",
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="text for people, json for programs.")
]
JournalOption = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="PATH",
        help="Default: one per serial number, in the user's state folder.",
    ),
]
FormularyOption = Annotated[
    Path | None,
    typer.Option("--formulary", metavar="FILE", help="A lab's own formulary, with sources."),
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--override", metavar="RULE", help="Pass a soft finding of this rule, e.g. SR-41."
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; recorded with your name.")
]


# --- what every command does -----------------------------------------------------------------


def _places(journal: Path | None) -> Places:
    return Places(platformdirs.user_state_path("neuraxis"), journal)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _errors() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _fail(error: BaseException, form: Format) -> NoReturn:
    """Tells what went wrong, once, and ends with the exit code it amounts to."""
    code = code_of(error)
    known = [leaf for leaf in leaves(error) if isinstance(leaf, NeuraxisError)]
    if not known:
        raise error
    worst = min(known, key=lambda leaf: _rank(code_of(leaf)))
    _tell(str(worst), worst.findings if isinstance(worst, Refused) else (), code, form)
    raise typer.Exit(code)


def _rank(code: int) -> int:
    from hil.exit_codes import SEVERITY

    return SEVERITY.index(code)


def _tell(text: str, findings: Any, code: int, form: Format) -> None:
    if form is Format.JSON:
        _print_json(
            {"schema": "neuraxis.error/1", "code": code, "text": text}
            | {"findings": [finding_as_json(finding) for finding in findings]}
        )
    console = _errors()
    console.print(Text(f"neuraxis: {text}"))
    for finding in findings:
        limit = f" (limit {finding.limit}, {finding.source})" if finding.limit else ""
        console.print(Text(f"  {finding.rule} {finding.severity}: {finding.message}{limit}"))
        if finding.hint:
            console.print(Text(f"    hint: {finding.hint}"))


def _end(code: int) -> None:
    if code != DONE:
        raise typer.Exit(code)


def _guarded(form: Format, work: Callable[[], int]) -> None:
    """Runs a command's work; every error of ours becomes a sentence and an exit code."""
    try:
        code = work()
    except (NeuraxisError, BaseExceptionGroup) as error:
        _fail(error, form)
    _end(code)


def _interruptible(form: Format, main: Callable[[RealClock], Coroutine[Any, Any, int]]) -> None:
    console = _errors()

    async def with_clock() -> int:
        clock = RealClock()
        try:
            return await main(clock)
        finally:
            clock.close()

    _guarded(form, lambda: run_interruptible(with_clock(), lambda text: console.print(Text(text))))


def _notation(parse: Callable[[str], Any], text: str, what: str) -> Any:
    try:
        return parse(text)
    except NotationError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise UsageError(f"{what}: {error}{hint}") from error


def _override(rules: list[str] | None, reason: str) -> Override | None:
    if not rules:
        return None
    if not reason.strip():
        raise UsageError("an override needs a reason: add --reason TEXT")
    return Override(tuple(rules), getpass.getuser(), reason.strip())


def _reason(rules: list[str] | None, reason: str) -> Reason | None:
    override = _override(rules, reason)
    if override is None:
        return None
    return Reason(rules=list(override.rules), user=override.user, reason=override.reason)


# --- files -----------------------------------------------------------------------------------


@app.command()
def check(
    file: FileArgument,
    form: FormatOption = Format.TEXT,
    formulary: FormularyOption = None,
) -> None:
    """Read and judge a therapy file, without any device. Shows every finding at its line."""

    def work() -> int:
        checked = check_file(file, formulary, wall_now())
        if form is Format.JSON:
            _print_json(checked.as_json())
        else:
            _show_check(checked)
        return code_of_findings(checked.findings)

    _guarded(form, work)


def _show_check(checked: Check) -> None:
    console = _out()
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
    _print_json(therapy_schema())


def _readable(file: Path, formulary: Path | None, form: Format) -> Check:
    """A file that has no hard finding; otherwise its findings are told and the command ends."""
    checked = check_file(file, formulary, wall_now())
    hard = [finding for finding in checked.findings if finding.severity != "soft"]
    if hard or checked.command is None:
        code = code_of_findings(checked.findings) or USAGE
        if form is Format.JSON:
            _print_json(checked.as_json())
        _errors().print(Text(checked.rendered()))
        raise typer.Exit(code)
    return checked


# --- plan, apply, run ------------------------------------------------------------------------


def _url(device: str) -> DeviceUrl:
    return parse_url(device)


@app.command()
def plan(
    file: FileArgument,
    device: Annotated[str, typer.Option("--device", metavar="URL", help="The device.")],
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
    formulary: FormularyOption = None,
) -> None:
    """Show old and new side by side, with the digest that `apply --confirm` takes for 10 minutes.

    Nothing is changed: the device is only asked.
    """
    checked = _checked(file, formulary, form)

    async def main(clock: RealClock) -> int:
        display = TerminalDisplay(_out(), as_json=form is Format.JSON)
        async with own(_url(device), _places(journal), clock, display.sound) as controller:
            made = await plan_for(controller, checked)
        _show_plan(made, checked, form)
        return REFUSED if made.verdict != "accepted" else DONE

    _interruptible(form, main)


def _checked(file: Path, formulary: Path | None, form: Format) -> Check:
    try:
        return _readable(file, formulary, form)
    except NeuraxisError as error:
        _fail(error, form)


def _show_plan(made: Plan, checked: Check, form: Format) -> None:
    if form is Format.JSON:
        _print_json(plan_as_json(made))
        return
    console = _out()
    console.print(plan_view(made))
    for finding in made.findings:
        console.print(Text(f"  {finding.rule} {finding.severity}: {finding.message}"))
    change = next_clock_change(getattr(checked.therapy, "timezone", None), made.made)
    if change is not None:
        console.print(Text(change))


@app.command()
def apply(
    file: FileArgument,
    device: Annotated[str, typer.Option("--device", metavar="URL", help="The device.")],
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="DIGEST", help="The digest of a plan.")
    ] = None,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
    formulary: FormularyOption = None,
) -> None:
    """Program the device with a file and exit: a pump delivers on, a stimulator stays off.

    Without --confirm the plan is shown and a person is asked.
    """
    checked = _checked(file, formulary, form)

    async def main(clock: RealClock) -> int:
        display = TerminalDisplay(_out(), as_json=form is Format.JSON)
        passed = _override(override, reason)
        async with own(_url(device), _places(journal), clock, display.sound) as controller:
            digest = confirm
            if digest is None:
                made = await plan_for(controller, checked)
                _show_plan(made, checked, form)
                if made.verdict == "refused" or not await _asks_a_person(made):
                    raise Refused("not confirmed: nothing was sent", made.findings)
                digest = made.digest
            else:
                await plan_for(controller, checked)
            result = await apply_plan(controller, checked, digest, passed)
            serial = controller.identity.serial
            path = _places(journal).journal_path(serial)
        if form is Format.JSON:
            _print_json(
                {"schema": "neuraxis.apply/1", "serial": serial, "outcome": result.outcome}
                | {"id": result.intent_id, "evidence": result.evidence, "journal": str(path)}
            )
        else:
            console = _out()
            console.print(Text(f"{result.outcome}: {serial} programmed; {result.evidence}"))
            console.print(Text(f"journal: {path}"))
        return DONE

    _interruptible(form, main)


async def _asks_a_person(_plan: Plan) -> bool:
    """Asks on the terminal; anything but a clear yes, an ended input included, is a no."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def read() -> None:
        line = sys.stdin.readline()
        loop.call_soon_threadsafe(lambda: answer.done() or answer.set_result(line))

    print("Apply this plan? Type yes: ", end="", flush=True)
    # A thread of its own that may be left behind: nothing can interrupt a read of the terminal.
    threading.Thread(target=read, daemon=True).start()
    return (await answer).strip().lower() in ("y", "yes")


async def _is_confirmed(_plan: Plan) -> bool:
    return True


@app.command()
def run(
    file: FileArgument,
    device: DeviceOption = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="DURATION", help='How long, e.g. "10 min". Default: until Ctrl-C.'
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm the plan without asking.")] = False,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    telemetry: Annotated[
        str | None,
        typer.Option("--telemetry", metavar="URL", help="Publish to mqtt://HOST[:PORT]."),
    ] = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
    formulary: FormularyOption = None,
) -> None:
    """Plan, confirm, apply, start and watch live; ends in the device's safe state.

    Without --device the bundled simulator is started. The end (time, Ctrl-C, SIGTERM) leaves a
    stimulator at zero, and a pump on its basal with boluses closed.
    """
    checked = _checked(file, formulary, form)

    async def main(clock: RealClock) -> int:
        console = _out()
        display = TerminalDisplay(console, as_json=form is Format.JSON)
        seconds = None if duration is None else _notation(parse_duration, duration, "--for")
        options = RunOptions(
            _is_confirmed if yes else _asks_a_person, seconds, _override(override, reason)
        )
        places = _places(journal)
        if form is Format.TEXT:
            console.print(Text(DISCLAIMER))
        url = _url(device or _simulator_for(checked))
        try:
            async with own(url, places, clock, display.sound) as controller:
                display.attach(controller)
                path = places.journal_path(controller.identity.serial)
                try:
                    await run_therapy(controller, checked, options, display)
                finally:
                    display.say(f"journal: {path}")
        finally:
            display.close()
        return DONE

    _interruptible(form, main)


def _simulator_for(checked: Check) -> str:
    family = "pump" if hasattr(checked.therapy, "drugs") else "stimulator"
    return f"sim://{family}"


# --- requests to an owner --------------------------------------------------------------------


def _request(
    request: Request,
    device: str | None,
    family: str | None,
    journal: Path | None,
    form: Format,
    show: Callable[[Answer], None] | None = None,
) -> None:
    """Sends a request to the running owner; with --device and no owner, becomes one briefly."""

    async def main(clock: RealClock) -> int:
        url = None if device is None else _url(device)
        places = _places(journal)
        owner = find_owner(places, url, family)
        if owner is not None:
            answer = await ask_owner(owner, request)
        elif url is None:
            raise OwnerError(
                "no owner is running on this machine: start one with `neuraxis run`, or say which "
                "device is meant with --device URL"
            )
        else:
            display = TerminalDisplay(_out(), as_json=form is Format.JSON)
            async with own(url, places, clock, display.sound) as controller:
                answer = await serve(controller, request)
        if form is Format.JSON:
            _print_json({"code": answer.code, "text": answer.text, **answer.data})
        elif answer.code != DONE:
            _errors().print(Text(f"neuraxis: {answer.text}"))
        else:
            _out().print(Text(answer.text))
            if show is not None:
                show(answer)
        return answer.code

    _interruptible(form, main)


@app.command()
def status(
    device: DeviceOption = None, form: FormatOption = Format.TEXT, journal: JournalOption = None
) -> None:
    """How the device is: state, output, alarms, what is not settled."""
    _request(StatusRequest(), device, None, journal, form, _show_status)


def _show_status(answer: Answer) -> None:
    console = _out()
    data = answer.data
    rows = {
        "model": data["model"],
        "url": data["url"],
        "patient": data["patient"] or "none",
        **data["values"],
        "alarms": ", ".join(data["alarms"]) or "none",
        "unsettled": ", ".join(f"{i['command']} {i['id']:#x}" for i in data["unsettled"]) or "none",
        "journal": f"LATCHED: {data['latched']}" if data["latched"] else "whole",
    }
    for name, value in rows.items():
        console.print(Text(f"  {name:<24} {value}"))


@app.command()
def stop(
    flow: Annotated[
        bool, typer.Option("--flow", help="Halt a pump's whole flow: asked once more.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Answer the second question in advance.")
    ] = False,
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Bring the device to its safe state: a stimulator to zero; a pump ends boluses and follows
    its drug's policy. Never refused by a limit or a journal."""
    if flow and not yes:
        _errors().print(Text(WITHDRAWAL))
        print("Halt the flow? Type yes: ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            _errors().print(Text("neuraxis: not confirmed: the flow goes on"))
            raise typer.Exit(REFUSED)
    _request(StopRequest(depth="flow" if flow else "policy"), device, None, journal, form)


WITHDRAWAL = (
    "Halting the flow withholds the drug. Abrupt withdrawal of baclofen can kill (high fever, "
    "altered mental state, muscle breakdown, organ failure); of an opioid or clonidine it makes a "
    "person ill. Without --flow, boluses end and the basal goes on."
)


@app.command()
def bolus(
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help='Of the first drug: "0.1 mg".')],
    over: Annotated[str, typer.Option("--over", metavar="TIME", help='How long: "10 min".')],
    override: OverrideOption = None,
    reason: ReasonOption = "",
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Deliver one bolus on top of a pump's verified basal, if every window has room."""
    request = _built(
        form,
        lambda: BolusRequest(
            dose=_notation(parse_mass, amount, "AMOUNT"),
            over=_notation(parse_duration, over, "--over"),
            reason=_reason(override, reason),
        ),
    )
    _request(request, device, "pump", journal, form)


@app.command()
def amplitude(
    value: Annotated[str, typer.Argument(metavar="VALUE", help='The new amplitude: "4.0 mA".')],
    area: Annotated[
        int | None, typer.Option("--area", help="Which area, from 1; needed if there are several.")
    ] = None,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Change the amplitude of the running program; lowering is never refused."""
    request = _built(
        form,
        lambda: AmplitudeRequest(
            amplitude=_notation(parse_current, value, "VALUE"),
            area=area,
            reason=_reason(override, reason),
        ),
    )
    _request(request, device, "stimulator", journal, form)


@app.command()
def switch(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="The program's name.")],
    override: OverrideOption = None,
    reason: ReasonOption = "",
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Ramp the running program to zero, then another one of the file up."""
    request = _built(form, lambda: SwitchRequest(program=program, reason=_reason(override, reason)))
    _request(request, device, "stimulator", journal, form)


@app.command()
def impedance(
    override: OverrideOption = None,
    reason: ReasonOption = "",
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Measure every contact; the output must be off. It drives pulses, so it is judged too."""
    request = _built(form, lambda: ImpedanceRequest(reason=_reason(override, reason)))
    _request(request, device, "stimulator", journal, form, _show_impedances)


def _show_impedances(answer: Answer) -> None:
    for contact, ohms in answer.data["ohms"].items():
        _out().print(Text(f"  {contact:<4} {ohms:>6} ohm"))


def _built(form: Format, make: Callable[[], Request]) -> Request:
    try:
        return make()
    except NeuraxisError as error:
        _fail(error, form)


# --- devices, journal ------------------------------------------------------------------------


@app.command()
def devices(form: FormatOption = Format.TEXT) -> None:
    """List serial ports and USB devices with what they are; opens none of them."""

    def work() -> int:
        found = discover()
        owners = {owner.url: owner for owner in _places(None).owners()}
        if form is Format.JSON:
            _print_json(
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
        console = _out()
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

    _guarded(form, work)


@app.command(epilog=describe_faults())
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
    """Simulate a device until Ctrl-C: physics, firmware and faults, behind a port of its own.

    Prints one line of JSON when the device can be reached.
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

    _guarded(Format.TEXT, work)


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
            _print_json(
                {"schema": "neuraxis.journal/1", "path": str(path)}
                | {"entries": [event_as_json(number, event) for number, event in entries]}
                | {"problem": contents.problem, "torn_bytes": contents.torn}
            )
        else:
            for line in story(contents):
                print(line)
            if not contents.events and contents.problem is None:
                print("no entries")
        if contents.problem is not None:
            raise UsageError(f"{path}: {contents.problem}")
        return DONE

    _guarded(form, work)


@journal_app.command("verify")
def journal_verify(path: JournalArgument, form: FormatOption = Format.TEXT) -> None:
    """Check a journal's chain and its anchor: finds what was deleted, edited, inserted or cut."""

    def work() -> int:
        contents = parse(_journal_bytes(path))
        problem = verify(contents, _places(None).anchor_of(path).read())
        if form is Format.JSON:
            _print_json(
                {"schema": "neuraxis.verify/1", "path": str(path), "whole": problem is None}
                | {"entries": len(contents.events), "problem": problem}
                | {"torn_bytes": contents.torn}
            )
        elif problem is None:
            torn = (
                f"; {contents.torn} bytes of an entry that was never sent" if contents.torn else ""
            )
            print(f"{path}: whole, {len(contents.events)} entries{torn}")
        if problem is not None:
            raise Refused(f"{path}: {problem}")
        return DONE

    _guarded(form, work)


def main() -> None:
    """The entry point: runs the command line, and turns what nobody foresaw into exit code 1."""
    try:
        app()
    except Exception as error:  # the last resort: a sentence and the traceback, code 1
        _errors().print_exception()
        _errors().print(Text(f"neuraxis: internal error: {error}"))
        sys.exit(INTERNAL_ERROR)
