"""`status`, `stop`, `bolus`, `prime`, `amplitude`, …: requests to a device's owner."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from device_profiles.errors import (
    DeviceFault,
    LinkError,
    NeuraxisError,
    OwnerError,
    Refused,
    Uncertain,
    UsageError,
)
from device_profiles.notation import parse_current, parse_duration, parse_mass, write_volume
from device_profiles.quantities import NanoLitres
from firmware_bridge.clock import Clock
from firmware_bridge.link_counts import DROPPED
from hil.alarm_board import AlarmsRequest, highest_in_words
from hil.commands.options import (
    A_DAY,
    DeviceOption,
    Format,
    FormatOption,
    JournalOption,
    OverrideOption,
    ReasonOption,
    SecondOption,
    ValidForOption,
    reason_from,
)
from hil.commands.shell import (
    asks_a_person,
    built,
    device_url,
    errors,
    interruptible,
    notation,
    out,
    places,
    print_json,
    tell,
)
from hil.exit_codes import DONE, code_of, severest
from hil.interrupt import seen_to_its_end
from hil.keys import UNSEALED
from hil.live_view import TerminalDisplay
from hil.owner import find_owner, own, stop_without_owner
from hil.places import OwnerRecord
from hil.requests import (
    AmplitudeRequest,
    Answer,
    BolusRequest,
    ImpedanceRequest,
    PrimePlanRequest,
    PrimeRequest,
    Request,
    StatusRequest,
    StopRequest,
    SwitchRequest,
    ask_owner,
    findings_of,
    serve,
)
from hil.watch import Watch


def ask_device(
    request: Request,
    device: str | None,
    family: str | None,
    journal: Path | None,
    form: Format,
    show: Callable[[Answer], None] | None = None,
) -> None:
    """Sends a request to the running owner; with --device and no owner, becomes one briefly."""

    async def main(clock: Clock) -> int:
        answer = await _answer(request, device, family, journal, clock)
        return _told(answer, form, show)

    interruptible(form, main)


def _told(answer: Answer, form: Format, show: Callable[[Answer], None] | None = None) -> int:
    """Prints an answer; its exit code."""
    if form is Format.JSON:
        print_json({"code": answer.code, "text": answer.text, **answer.data})
    elif answer.code != DONE:
        tell(answer.text, findings_of(answer))
    else:
        out().print(Text(answer.text))
        if show is not None:
            show(answer)
    return answer.code


async def _stop_all(owners: Sequence[OwnerRecord], request: StopRequest) -> Answer:
    """Stops every device that is owned on this machine, all at once; the severest answer counts."""

    async def stop_one(owner: OwnerRecord) -> Answer:
        try:
            return await ask_owner(owner, request)
        except NeuraxisError as error:
            return Answer(code=code_of(error), text=str(error))

    answers = await asyncio.gather(*(stop_one(owner) for owner in owners))
    text = "; ".join(f"{o.serial}: {a.text}" for o, a in zip(owners, answers, strict=True))
    states = {o.serial: a.data.get("state") for o, a in zip(owners, answers, strict=True)}
    return Answer(
        code=severest(*(answer.code for answer in answers)), text=text, data={"states": states}
    )


async def _answer(
    request: Request,
    device: str | None,
    family: str | None,
    journal: Path | None,
    clock: Clock,
) -> Answer:
    url = None if device is None else device_url(device)
    try:
        where = places(journal)
    except UsageError as error:
        if not isinstance(request, StopRequest):
            raise
        raise _none_was_sent(error) from error
    try:
        if isinstance(request, StopRequest) and url is None and len(where.owners()) > 1:
            return await _stop_all(where.owners(), request)
        owner = find_owner(where, url, family)
    except Refused as error:
        if not isinstance(request, StopRequest):
            raise
        raise _none_was_sent(error) from error
    except OSError:
        if not isinstance(request, StopRequest):
            raise
        owner = None  # a state folder that cannot be used keeps nobody from stopping
    if owner is not None:
        return await ask_owner(owner, request)
    if url is None:
        what = f"{family} has an owner" if family else "owner is running"
        raise OwnerError(
            f"no {what} on this machine: start one with `neuraxis run`, or say which device is "
            "meant with --device URL (`neuraxis devices` lists what is connected)"
        )
    display = TerminalDisplay(errors(), as_json=False)
    if isinstance(request, StopRequest):
        try:
            return await seen_to_its_end(
                stop_without_owner(url, where, clock, request.depth, display.sound)
            )
        except (LinkError, DeviceFault, Refused) as error:
            raise _none_was_sent(error) from error
    async with own(url, where, clock, display.sound) as controller:
        if isinstance(request, StatusRequest | AlarmsRequest):
            # Nobody else watches it now: what its meters show is judged, and nothing is stopped.
            await Watch(controller, lambda _: None, acts=False).once()
        return await seen_to_its_end(serve(controller, request))


def _none_was_sent(error: NeuraxisError) -> Uncertain:
    return Uncertain(
        f"the stop could not be confirmed: none was sent, the device goes on as it was. {error}"
    )


def status(
    device: DeviceOption = None, form: FormatOption = Format.TEXT, journal: JournalOption = None
) -> None:
    """Show state, output, alarms, and what is not settled."""
    ask_device(StatusRequest(), device, None, journal, form, _show_status)


def _show_status(answer: Answer) -> None:
    console = out()
    data = answer.data
    rows = {
        "model": data["model"],
        "url": data["url"],
        "line": "sealed" if data["sealed"] else UNSEALED,
        "dropped frames": ", ".join(f"{data['link'][k]} {k}" for k in DROPPED if data["link"][k])
        or "none",
        "patient": data["patient"] or "none",
        **data["values"],
        **{f"bolus {one['id']:#x}": _bolus_row(one) for one in data["boluses"]},
        "alarms": ", ".join(data["alarms"]) or "none",
        "highest alarm": highest_in_words(data),
        "event loop": f"late by {data['loop']['latest_ms']} ms at most",
        "unsettled": ", ".join(f"{i['command']} {i['id']:#x}" for i in data["unsettled"]) or "none",
        "journal": f"LATCHED: {data['latched']}" if data["latched"] else "whole",
    }
    if data["mri"]:
        rows["magnetic field"] = f"prepared: {data['mri']}"
    if data["clock_change"]:
        rows["next clock change"] = data["clock_change"]
    for name, value in rows.items():
        console.print(Text(f"  {name:<24} {value}"))


def _bolus_row(one: dict[str, Any]) -> str:
    given, asked = NanoLitres(one["delivered_nL"]), NanoLitres(one["asked_nL"])
    return f"{one['state']}: {write_volume(given)} of {write_volume(asked)}"


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
    """Bring a device to its safe state.

    A stimulator goes to zero; a pump ends boluses and follows its drug's policy. Never refused by
    a limit or a journal. Without --device every owned device on this machine is stopped.
    """
    request = StopRequest(depth="flow" if flow else "policy")

    async def main(clock: Clock) -> int:
        if flow and not yes:
            await _require_yes_to_no_flow()
        return _told(await _answer(request, device, None, journal, clock), form)

    interruptible(form, main)


async def _require_yes_to_no_flow() -> None:
    errors().print(Text(WITHDRAWAL))
    try:
        is_confirmed = await asks_a_person("Halt the flow?")
    except asyncio.CancelledError:
        # An interruption's own code would promise the safe state.
        raise Uncertain(
            "interrupted before an answer: no stop was sent, the device goes on as it was"
        ) from None
    if not is_confirmed:
        raise Refused("not confirmed: the flow goes on")


WITHDRAWAL = (
    "Halting the flow withholds the drug. Abrupt withdrawal of baclofen can kill (high fever, "
    "altered mental state, muscle breakdown, organ failure); of an opioid or clonidine it makes a "
    "person ill. Without --flow, boluses end and the basal goes on."
)


def bolus(
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help='Of the first drug: "0.1 mg".')],
    over: Annotated[str, typer.Option("--over", metavar="TIME", help='How long: "10 min".')],
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Deliver one bolus on top of a pump's basal.

    Only on a verified program, and only if every window has room.
    """
    request = built(
        form,
        lambda: BolusRequest(
            dose=notation(parse_mass, amount, "AMOUNT"),
            over=notation(parse_duration, over, "--over"),
            reason=reason_from(override, reason, second, valid_for),
        ),
    )
    ask_device(request, device, "pump", journal, form)


def prime(
    over: Annotated[str, typer.Option("--over", metavar="TIME", help='How long: "1 h".')],
    yes: Annotated[bool, typer.Option("--yes", help="Confirm without asking.")] = False,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Fill a pump's tubing and catheter with drug, once for each fill.

    Shows what it will move and asks. For a new pump or catheter whose file says `primed: false`;
    a line that holds drug already is never primed.
    """
    plan = built(form, lambda: PrimePlanRequest(over=notation(parse_duration, over, "--over")))
    because = built(form, lambda: reason_from(override, reason, second, valid_for))

    async def main(clock: Clock) -> int:
        shown = await _answer(plan, device, "pump", journal, clock)
        if shown.code != DONE:
            return _told(shown, form)
        if not yes or form is Format.TEXT:
            errors().print(Text(shown.text))
        if not yes and not await asks_a_person("Prime it now?"):
            raise Refused("not confirmed: nothing was moved")
        request = PrimeRequest(
            volume=shown.data["volume_nL"],
            over=shown.data["over_ms"],
            fill_at=shown.data["fill_at_ms"],
            reason=because,
        )
        return _told(await _answer(request, device, "pump", journal, clock), form)

    interruptible(form, main)


def amplitude(
    value: Annotated[str, typer.Argument(metavar="VALUE", help='The new amplitude: "4.0 mA".')],
    area: Annotated[
        int | None, typer.Option("--area", help="Which area, from 1; needed if there are several.")
    ] = None,
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Change the amplitude of the running program.

    A raise is judged; lowering is never refused.
    """
    request = built(
        form,
        lambda: AmplitudeRequest(
            amplitude=notation(parse_current, value, "VALUE"),
            area=area,
            reason=reason_from(override, reason, second, valid_for),
        ),
    )
    ask_device(request, device, "stimulator", journal, form)


def switch(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="The program's name.")],
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Change to another program of the file.

    Ramps the running program to zero, then the other one up.
    """
    request = built(
        form,
        lambda: SwitchRequest(
            program=program, reason=reason_from(override, reason, second, valid_for)
        ),
    )
    ask_device(request, device, "stimulator", journal, form)


def impedance(
    override: OverrideOption = None,
    reason: ReasonOption = "",
    second: SecondOption = "",
    valid_for: ValidForOption = A_DAY,
    device: DeviceOption = None,
    form: FormatOption = Format.TEXT,
    journal: JournalOption = None,
) -> None:
    """Measure every contact's impedance.

    The output must be off. It drives pulses, so it is judged too.
    """
    request = built(
        form, lambda: ImpedanceRequest(reason=reason_from(override, reason, second, valid_for))
    )
    ask_device(request, device, "stimulator", journal, form, _show_impedances)


def _show_impedances(answer: Answer) -> None:
    for contact, ohms in answer.data["ohms"].items():
        out().print(Text(f"  {contact:<4} {ohms:>6} ohm"))
