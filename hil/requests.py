"""What other terminals may ask of an owner, and how it answers: one line of JSON each way."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from device_profiles.diagnostics import Finding
from device_profiles.errors import (
    NeuraxisError,
    OwnerError,
    Refused,
    Uncertain,
    UsageError,
)
from device_profiles.notation import (
    write_concentration,
    write_duration,
    write_mass,
    write_volume,
)
from device_profiles.quantities import (
    DAY_MS,
    Femtograms,
    MicroAmps,
    Milliseconds,
    NanoLitres,
    mass_of,
)
from device_profiles.therapy import contact_name
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from firmware_bridge.mri import leave, prepare
from hil.alarm_board import (
    AlarmsRequest,
    LookRequest,
    PauseRequest,
    answer_about_board,
    board_as_json,
)
from hil.check import wall_now
from hil.exit_codes import DONE, LINK, code_of
from hil.places import OwnerRecord
from hil.plan_view import next_clock_change
from safety.commands import Override
from safety.outputs import PrimeOutput

MAX_LINE = 65_536
ANSWER_TIMEOUT_S = 30.0


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Reason(_Model):
    """A person's reason to pass soft findings."""

    rules: list[str]
    user: str
    reason: str
    second: str | None = None
    valid_for: Annotated[int, Field(gt=0)] = DAY_MS


class StatusRequest(_Model):
    """How is the device?"""

    request: Literal["status"] = "status"


class StopRequest(_Model):
    """Bring the device to its safe state."""

    request: Literal["stop"] = "stop"
    depth: Literal["hold", "policy", "flow"] = "policy"


class BolusRequest(_Model):
    """Deliver a dose of the first drug (fg) over a time (ms)."""

    request: Literal["bolus"] = "bolus"
    dose: Annotated[int, Field(gt=0)]
    over: Annotated[int, Field(gt=0)]
    reason: Reason | None = None


class PrimePlanRequest(_Model):
    """What would the one prime of the pump's fill move, over a time (ms)?"""

    request: Literal["prime-plan"] = "prime-plan"
    over: Annotated[int, Field(gt=0)]


class PrimeRequest(_Model):
    """Prime the line with exactly what a plan showed: nL over ms, for the fill of a date."""

    request: Literal["prime"] = "prime"
    volume: Annotated[int, Field(gt=0)]
    over: Annotated[int, Field(gt=0)]
    fill_at: int
    reason: Reason | None = None


class AmplitudeRequest(_Model):
    """Set an area's amplitude (uA); area from 1, or the only one."""

    request: Literal["amplitude"] = "amplitude"
    amplitude: Annotated[int, Field(ge=0)]
    area: int | None = None
    reason: Reason | None = None


class SwitchRequest(_Model):
    """Change to another program of the running stimulator."""

    request: Literal["switch"] = "switch"
    program: str
    reason: Reason | None = None


class ImpedanceRequest(_Model):
    """Measure the contacts."""

    request: Literal["impedance"] = "impedance"
    reason: Reason | None = None


class MriRequest(_Model):
    """Prepare the device for a magnetic field, or take it out of one."""

    request: Literal["mri"] = "mri"
    action: Literal["prepare", "leave"]
    user: str
    reason: Reason | None = None


Request = Annotated[
    StatusRequest
    | StopRequest
    | BolusRequest
    | PrimePlanRequest
    | PrimeRequest
    | AmplitudeRequest
    | SwitchRequest
    | ImpedanceRequest
    | MriRequest
    | AlarmsRequest
    | LookRequest
    | PauseRequest,
    Field(discriminator="request"),
]
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


class Answer(_Model):
    """What came of a request: the exit code it amounts to, a sentence, and the figures."""

    code: int
    text: str
    data: dict[str, Any] = {}


# --- the owner's side --------------------------------------------------------------------------


async def serve(controller: AnyController, request: Request) -> Answer:
    """Carries out a request; every refusal and failure becomes an answer."""
    try:
        return await _serve(controller, request)
    except NeuraxisError as error:
        findings = error.findings if isinstance(error, Refused) else ()
        return Answer(
            code=code_of(error),
            text=str(error),
            data={"findings": [asdict(finding) for finding in findings]},
        )


async def _serve(controller: AnyController, request: Request) -> Answer:
    begun = ""
    match request:
        case StatusRequest():
            return await _status(controller)
        case StopRequest():
            sample = await controller.stop(request.depth)
            return Answer(code=DONE, text=stopped_sentence(sample), data={"state": sample.state})
        case BolusRequest():
            pump = _pump(controller)
            result = await pump.bolus(
                Femtograms(request.dose), Milliseconds(request.over), _override(request.reason)
            )
            begun = f"{_over(write_mass(Femtograms(request.dose)), request.over)} has begun; "
        case PrimePlanRequest():
            return await _prime_plan(_pump(controller), Milliseconds(request.over))
        case PrimeRequest():
            prime = PrimeOutput(
                NanoLitres(request.volume),
                Milliseconds(request.over),
                Milliseconds(request.fill_at),
            )
            result = await _pump(controller).prime(prime, _override(request.reason))
            begun = f"{_over(write_volume(prime.volume), request.over)} has begun; "
        case AmplitudeRequest():
            stimulator = _stimulator(controller)
            result = await stimulator.set_amplitude(
                request.area, MicroAmps(request.amplitude), _override(request.reason)
            )
        case SwitchRequest():
            stimulator = _stimulator(controller)
            result = await stimulator.switch(request.program, _override(request.reason))
        case ImpedanceRequest():
            stimulator = _stimulator(controller)
            ohms = await stimulator.measure(_override(request.reason))
            table = {contact_name(number): value for number, value in enumerate(ohms, start=1)}
            return Answer(code=DONE, text=f"{len(ohms)} contacts measured", data={"ohms": table})
        case MriRequest():
            return await _mri(controller, request)
        case AlarmsRequest() | LookRequest() | PauseRequest():
            text, data = await answer_about_board(controller, request)
            return Answer(code=DONE, text=text, data=data)
    return Answer(
        code=DONE,
        text=f"{result.outcome}: {begun}{result.evidence}",
        data={"outcome": result.outcome, "id": result.intent_id},
    )


async def _prime_plan(pump: PumpController, over: Milliseconds) -> Answer:
    program, prime = await pump.prime_of_fill(over)
    doses = " with ".join(
        f"{write_mass(mass_of(prime.volume, drug.concentration))} of {drug.name} "
        f"({write_concentration(drug.concentration)})"
        for drug in program.drugs
    )
    return Answer(
        code=DONE,
        text=(
            f"{pump.identity.serial}: {write_volume(prime.volume)} over "
            f"{write_duration(prime.over)}, on top of the basal, into tubing "
            f"{write_volume(pump.profile.tubing)} and catheter {write_volume(program.catheter)}: "
            f"{doses}. What may be missing the basal brings. A fill is primed once. Into a line "
            "that holds drug already it would be an overdose of all of it."
        ),
        data={"volume_nL": prime.volume, "over_ms": prime.over, "fill_at_ms": prime.fill_at_ms},
    )


async def _mri(controller: AnyController, request: MriRequest) -> Answer:
    serial = controller.identity.serial
    if request.action == "prepare":
        prepared = await prepare(controller, request.user)
        return Answer(
            code=DONE,
            text=f"{serial} may go into the field; therapy is refused until it has left",
            data={"checklist": list(prepared.checklist), "restore": prepared.restore},
        )
    left = await leave(controller, request.user, _override(request.reason))
    return Answer(
        code=DONE,
        text=f"{serial} is out of the field",
        data={"notes": list(left.notes), "log": list(left.log)},
    )


async def _status(controller: AnyController) -> Answer:
    sample = await controller.sample()
    boluses = await _boluses(controller)
    state = controller.state
    return Answer(
        code=DONE,
        text=f"{controller.identity.serial} is {sample.state}",
        data=board_as_json(controller)
        | {
            "schema": "neuraxis.status/1",
            "serial": controller.identity.serial,
            "model": controller.identity.model,
            "url": controller.session.url,
            "sealed": controller.session.sealed,
            "patient": state.patient,
            "state": sample.state,
            "delivering": sample.delivering,
            "values": sample.values,
            "boluses": boluses,
            "alarms": list(sample.alarms),
            "unsettled": [
                {"id": intent.id, "command": intent.command} for intent in state.unsettled
            ],
            "latched": state.latched,
            "mri": state.mri.restore if state.mri is not None else None,
            "link": asdict(controller.session.counts),
            "loop": {"late_ms": controller.lag.last, "latest_ms": controller.lag.worst},
            "clock_change": next_clock_change(state.timezone, wall_now()),
        },
    )


async def _boluses(controller: AnyController) -> list[dict[str, Any]]:
    """Every bolus that had not ended when last heard of, by the pump's own count of it now."""
    if not isinstance(controller, PumpController):
        return []
    open_ones = [one for one in controller.state.reservations if not one.closed]
    counts = [(one, await controller.progress_of(one.id)) for one in open_ones]
    return [
        {"id": one.id, "state": now.state, "delivered_nL": now.delivered, "asked_nL": one.most}
        for one, now in counts
    ]


def _over(what: str, over: int) -> str:
    return f"{what} over {write_duration(Milliseconds(over))}"


def stopped_sentence(sample: Sample) -> str:
    """The safe state that was confirmed, in words."""
    words = {
        "off": "the stimulator's output is zero",
        "held": "boluses and button closed, the basal goes on as its drug's policy asks",
        "halted": "no flow",
        "empty-program": "nothing is programmed, nothing flows",
    }
    return f"stopped and confirmed: {words.get(sample.state, sample.state)}"


def _pump(controller: AnyController) -> PumpController:
    if not isinstance(controller, PumpController):
        raise UsageError(f"{controller.identity.serial} is a stimulator: it delivers no drug")
    return controller


def _stimulator(controller: AnyController) -> StimulatorController:
    if not isinstance(controller, StimulatorController):
        raise UsageError(f"{controller.identity.serial} is a pump: it has no electrodes")
    return controller


def _override(reason: Reason | None) -> Override | None:
    if reason is None:
        return None
    time = Milliseconds(reason.valid_for)
    return Override(tuple(reason.rules), reason.user, reason.reason, reason.second, time)


AT_ONCE = 100
"""Requests of other terminals that are served at once; only a stop is taken on top of them."""


class Door:
    """The owner's socket: requests of other terminals, one line each, judged like its own."""

    def __init__(
        self, controller: AnyController, requested: Callable[[str], None] = lambda line: None
    ) -> None:
        self._controller = controller
        self._requested = requested
        """Hears each request before it is served."""
        self._served = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection: one request, one answer."""
        try:
            line = await reader.readline()
            try:
                request = _REQUESTS.validate_json(line)
            except ValidationError as error:
                text = f"not a request this owner knows: {error.error_count()} errors"
                answer = Answer(code=code_of(UsageError()), text=text)
            else:
                self._requested(line.decode())
                answer = await self._serve(request)
            writer.write(answer.model_dump_json().encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            # The asker hung up or sent a line without end; what it asked for is in the journal.
            return
        finally:
            writer.close()

    async def _serve(self, request: Request) -> Answer:
        if self._served >= AT_ONCE and not isinstance(request, StopRequest):
            text = (
                f"{AT_ONCE} requests are being served already; nothing was asked of the device. "
                "Is a program asking in a loop? End it, then ask again; a stop is always taken"
            )
            return Answer(code=LINK, text=text)
        self._served += 1
        try:
            return await serve(self._controller, request)
        finally:
            self._served -= 1


def findings_of(answer: Answer) -> tuple[Finding, ...]:
    """The findings that an answer carries."""
    return tuple(Finding(**fields) for fields in answer.data.get("findings", ()))


# --- the asker's side --------------------------------------------------------------------------


async def ask_owner(owner: OwnerRecord, request: Request) -> Answer:
    """Asks a running owner; raises OwnerError when it is gone.

    Raises Uncertain when it took the request and never said what became of it, or was not waited
    for until it did; of a stop also when it was not sent any more.
    """
    sent = False
    asks_only = isinstance(request, StatusRequest | PrimePlanRequest | AlarmsRequest)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(owner.socket, limit=MAX_LINE)
            try:
                writer.write(request.model_dump_json().encode() + b"\n")
                sent = True
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
        return Answer.model_validate_json(line)
    except asyncio.CancelledError:
        if asks_only or not (sent or isinstance(request, StopRequest)):
            raise
        what = "was not asked any more: no stop was sent, the device goes on as it was"
        if sent:
            what = (
                "was asked, and its answer was not waited for; it is not known whether it was "
                "carried out: look at the device"
            )
        raise Uncertain(f"process {owner.pid}, which owns {owner.serial}, {what}") from None
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        what = f"process {owner.pid}, which owns {owner.serial}, does not answer: {error!r}"
        if sent and not asks_only:
            raise Uncertain(
                f"{what}; it is not known whether it was carried out: look at the device"
            ) from error
        raise OwnerError(what) from error
