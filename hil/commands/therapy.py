"""`plan`, `apply` and `run`: a therapy file on its way to a device."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from device_profiles.errors import LinkError, Refused
from device_profiles.notation import parse_duration
from device_profiles.therapy import InfusionTherapy
from firmware_bridge.clock import Clock
from firmware_bridge.controller import Plan
from firmware_bridge.families.table import AnyController
from firmware_bridge.reconnect import Dialling, Ended, Reconnection, Reconnector, Waiting
from hil.check import Check
from hil.commands.files import readable
from hil.commands.options import (
    A_DAY,
    DISCLAIMER,
    DeviceOption,
    FileArgument,
    Format,
    FormatOption,
    FormularyOption,
    JournalOption,
    OverrideOption,
    ReasonOption,
    SecondOption,
    ValidForOption,
    override_from,
)
from hil.commands.shell import (
    asks_a_person,
    device_url,
    errors,
    interruptible,
    notation,
    out,
    places,
    print_json,
)
from hil.exit_codes import DONE, REFUSED
from hil.interrupt import seen_to_its_end
from hil.live_view import TerminalDisplay
from hil.monitor_process import watched_by
from hil.outside import OUTSIDE
from hil.owner import own
from hil.plan_view import next_clock_change, plan_as_json, plan_view
from hil.run import RunOptions, apply_plan, plan_for, require_admissible, run_therapy
from hil.telemetry import PublishedDisplay


def plan(
    file: FileArgument,
    device: Annotated[str, typer.Option("--device", metavar="URL", help="The device.")],
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
    formulary: FormularyOption = None,
) -> None:
    """Show what applying a file would change, and its digest.

    Old and new stand side by side; `apply --confirm` takes the digest for 10 minutes. Nothing is
    changed: the device is only asked.
    """
    checked = readable(file, formulary, form)

    async def main(clock: Clock) -> int:
        display = TerminalDisplay(errors(), as_json=False)
        async with own(device_url(device), places(journal), clock, display.sound) as controller:
            made = await plan_for(controller, checked)
        _show_plan(made, checked, form)
        return REFUSED if made.verdict != "accepted" else DONE

    interruptible(form, main)


def _show_plan(made: Plan, checked: Check, form: Format) -> None:
    if form is Format.JSON:
        print_json(plan_as_json(made))
        return
    console = out()
    console.print(plan_view(made))
    for finding in made.findings:
        console.print(Text(f"  {finding.rule} {finding.severity}: {finding.message}"))
    change = next_clock_change(getattr(checked.therapy, "timezone", None), made.made)
    if change is not None:
        console.print(Text(change))


def apply(
    file: FileArgument,
    device: Annotated[str, typer.Option("--device", metavar="URL", help="The device.")],
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="DIGEST", help="The digest of a plan.")
    ] = None,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
    formulary: FormularyOption = None,
) -> None:
    """Program a device with a file, and exit.

    A pump delivers on, a stimulator holds the program with its output off. Without --confirm
    the plan is shown and a person is asked.
    """
    checked = readable(file, formulary, form)

    async def main(clock: Clock) -> int:
        display = TerminalDisplay(errors(), as_json=False)
        passed = override_from(override, reason, second, valid_for)
        async with own(device_url(device), places(journal), clock, display.sound) as controller:
            digest = confirm
            if digest is None:
                made = await plan_for(controller, checked)
                if form is Format.TEXT:
                    _show_plan(made, checked, form)
                else:
                    errors().print(plan_view(made))
                require_admissible(made, passed)
                if not await _asks_a_person(made):
                    raise Refused("not confirmed: nothing was sent")
                digest = made.digest
            result = await seen_to_its_end(apply_plan(controller, checked, digest, passed))
            serial = controller.identity.serial
            path = places(journal).journal_path(serial)
        if form is Format.JSON:
            print_json(
                {"schema": "neuraxis.apply/1", "serial": serial, "outcome": result.outcome}
                | {"id": result.intent_id, "evidence": result.evidence, "journal": str(path)}
            )
        else:
            console = out()
            console.print(Text(f"{result.outcome}: {serial} programmed; {result.evidence}"))
            console.print(Text(f"journal: {path}"))
        return DONE

    interruptible(form, main)


async def _asks_a_person(_plan: Plan) -> bool:
    return await asks_a_person("Apply this plan?")


async def _is_confirmed(_plan: Plan) -> bool:
    return True


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
    from_zero: Annotated[
        bool,
        typer.Option(
            "--from-zero",
            help="Start at 0 mA, to be raised with `amplitude`. Needed after a magnet, an MRI mode "
            "or a restart in mid-run.",
        ),
    ] = False,
    reconnect: Annotated[
        str | None,
        typer.Option(
            "--reconnect",
            metavar="TIME",
            help="How long a pump whose line was lost is dialled again, such as '10 min'; longer "
            "waits each time, 60 dials an hour at most. Without it a lost line ends the run.",
        ),
    ] = None,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    telemetry: Annotated[
        str | None,
        typer.Option("--telemetry", metavar="URL", help="Publish to mqtt://HOST[:PORT]."),
    ] = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
    formulary: FormularyOption = None,
) -> None:
    """Take a file all the way and watch it live.

    Plan, confirm, apply, start, watch; the end is the device's safe state. Without --device the
    bundled simulator is started. The end (time, Ctrl-C, SIGTERM) leaves a stimulator at zero,
    and a pump on its basal with boluses closed.
    """
    checked = readable(file, formulary, form)

    async def main(clock: Clock) -> int:
        console, outside = out(), OUTSIDE.get()
        display = TerminalDisplay(console, as_json=form is Format.JSON)
        shown = PublishedDisplay(telemetry, display, clock)
        patience = None if reconnect is None else notation(parse_duration, reconnect, "--reconnect")
        seconds = None if duration is None else notation(parse_duration, duration, "--for")
        url = device_url(device or _simulator_for(checked))

        async def restore(controller: AnyController, lost: LinkError) -> None:
            assert patience is not None, "nobody asked for it"
            show = partial(_say_reconnection, shown.say)
            dialler = Reconnector(
                controller, lambda: outside.link(url, clock), patience, outside.dice(), show
            )
            await dialler.restore(lost)

        options = RunOptions(
            _is_confirmed if yes else _asks_a_person,
            seconds,
            override_from(override, reason, second, valid_for),
            from_zero,
            None if patience is None else restore,
        )
        where = places(journal)
        if form is Format.TEXT:
            console.print(Text(DISCLAIMER))
        try:
            async with (
                outside.monitor() as guard,
                own(url, where, clock, shown.sound) as controller,
                shown.publishing(controller),
                watched_by(guard, controller, url, where, shown.say),
            ):
                display.attach(controller)
                path = where.journal_path(controller.identity.serial)
                try:
                    await run_therapy(controller, checked, options, shown, guard)
                finally:
                    display.say(f"journal: {path}")
        finally:
            display.close()
        return DONE

    interruptible(form, main, "the device is being brought to its safe state")


def _say_reconnection(say: Callable[[str], None], now: Reconnection) -> None:
    match now:
        case Waiting(why, attempt):
            say(f"the line is lost ({why}); it is dialled again, attempt {attempt}")
        case Ended(why):
            say(f"nobody dials any more: {why}")
        case Dialling():
            pass


def _simulator_for(checked: Check) -> str:
    family = "pump" if isinstance(checked.therapy, InfusionTherapy) else "stimulator"
    return f"sim://{family}"
