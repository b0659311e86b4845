"""Bugs of the road, planted in the real one: the storm has to find each, from seed 1 on.

Each is one change, told in words. Where a redundant guard would hide it, the plant takes that out
too and says so.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from device_profiles.errors import NeuraxisError, Uncertain
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_MS
from firmware_bridge.controller import Controller
from firmware_bridge.driver import Sample, Step
from firmware_bridge.families import firmware as firmware_module
from firmware_bridge.families import table
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.scs import firmware as scs_firmware
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.known_device import KnownDevice
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.messages import (
    AskOutcome,
    AskStatus,
    Done,
    MessageError,
    OutcomeOf,
    Reply,
    Stop,
)
from firmware_bridge.session import Result, Session
from firmware_bridge.settings import Settings
from hil.monitor_core import MonitorCore
from hil.storm import stage
from hil.storm.monitor import StormMonitor
from hil.storm.plan import Family
from safety import fold, monitor
from safety.events import Connected, Settled
from safety.timeline import Timeline

SetAttr = Callable[[Any, str, Any], None]


@dataclass(frozen=True)
class RoadBug:
    """A bug, what it does in words, where it is planted, and in which storm it shows."""

    name: str
    text: str
    plant: Callable[[SetAttr], None]
    family: Family = "pump"


def put(target: object, name: str, value: object) -> Callable[[SetAttr], None]:
    """Another value for a name of a module or a class."""
    return lambda set_attribute: set_attribute(target, name, value)


def together(*plants: Callable[[SetAttr], None]) -> Callable[[SetAttr], None]:
    """Several plants, one after the other."""

    def plant(set_attribute: SetAttr) -> None:
        for one in plants:
            one(set_attribute)

    return plant


@contextmanager
def planted(bug: RoadBug) -> Iterator[None]:
    """The bug is in the road for as long as the context lasts."""
    patches: list[Any] = []

    def set_attribute(target: Any, name: str, value: Any) -> None:
        patch = mock.patch.object(target, name, value)
        patch.start()
        patches.append(patch)

    bug.plant(set_attribute)
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()


# --- a command on its way ------------------------------------------------------------------------

_execute, _carry_out, _exchange = Session.execute, Session._carry_out, Session._exchange
_controller_carry_out = Controller.carry_out


async def sends_again(
    self: Session, request: Any, last_look: Any = None, *, again: bool = False
) -> Reply | None:
    reply = await _exchange(self, request, last_look, again=again)
    if reply is None and last_look is not None:
        return await _exchange(self, request, last_look)
    return reply


async def asks_again(self: Any, *args: Any, **named: Any) -> Result:
    try:
        return await _controller_carry_out(self, *args, **named)
    except Uncertain:
        # The doubt is what would keep it back, and the state that was approved is another by now.
        self.gate._state = replace(self.gate._state, unsettled=())
        return await _controller_carry_out(self, *args, **{**named, "epoch": None})


async def takes_silence_for_no(self: Session, intent_id: int) -> Result:
    return Result("refused", "no answer: it cannot have arrived")


async def takes_status_for_ack(self: Session, intent_id: int) -> Result:
    try:
        status = await self.query(AskStatus(), Reply)
    except NeuraxisError as error:
        return Result("UNCERTAIN", str(error))
    if getattr(status, "flow", 0) > 0 or getattr(status, "state", "off") != "off":
        return Result("delivered", "the device shows that it delivers")
    return Result("refused", "the device shows nothing")


async def asks_in_the_old_session(self: Session, intent_id: int) -> OutcomeOf:
    return await self._ask(AskOutcome(intent_id), OutcomeOf)


def answers_without_closing(self: Any, command_id: int) -> None:
    """A device that still acts on an id after it was asked about it."""


def in_order(self: Session, data: bytes) -> None:
    for body in self._decoder.feed(data):
        try:
            message = self._catalogue.decode(body).message
        except MessageError:
            continue
        waiting = [one for one in self._waiting.values() if not one.reply.done()]
        if waiting and isinstance(message, Reply):
            waiting[0].reply.set_result(message)


def any_done(self: Done, other: object) -> bool:
    """Without the id in its reply a command could be proved by the reply to another one."""
    return isinstance(other, Done)


def any_session(self: Session, data: bytes) -> None:
    for body in self._decoder.feed(data):
        try:
            envelope = self._catalogue.decode(body)
        except MessageError:
            continue
        waiting, message = self._waiting.get(envelope.sequence), envelope.message
        if waiting is not None and not waiting.reply.done() and isinstance(message, Reply):
            waiting.reply.set_result(message)


async def any_reply_is_proof(self: Session, clearance: Any, step: Step, driver: Any) -> Result:
    result = await _carry_out(self, clearance, step, driver)
    if result.settled_by_asking and result.outcome == "refused" and result.count is None:
        return Result("delivered", "the device answered")
    return result


# --- stops ---------------------------------------------------------------------------------------

_make_safe = Controller.make_safe


async def make_safe_in_turn(self: Any, depth: Any) -> Sample:
    with self._row.place() as place:
        await place.turn()
    return await _make_safe(self, depth)


async def execute_regardless(
    self: Session, clearance: Any, procedure: Any, driver: Any, why_void: Any, *, live: bool = False
) -> Result:
    return await _execute(self, clearance, procedure, driver, lambda: None, live=live)


async def trusts_the_write(session: Session, sample_of: Any, depth: Any) -> Sample:
    session.end_live()
    session._lowerings += 1
    await session._exchange(Stop(depth))
    return Sample(0, 0, "held", safe=True, delivering=False, values={}, alarms=())  # type: ignore[arg-type]


async def make_safe_blindly(self: Any, depth: Any) -> Sample:
    sample = await trusts_the_write(self.session, None, depth)
    await self.note_stop(depth)
    return sample


_close = KnownDevice.close


async def close_with_a_stop(self: KnownDevice) -> None:
    if self.session.broken is None and self._gate is not None:
        with suppress(NeuraxisError):
            await self.session.lower(Stop("flow"))
    await _close(self)


# --- conversations -------------------------------------------------------------------------------


identified = table.identified


def takes_whoever_answers(link: Link, serial: str | None, settings: Settings) -> Any:
    return identified(link, None, settings)


def believes_anybody(self: Session, reply: Reply) -> None:
    """A host that takes a reply from whoever says it."""


_begin = PumpController.begin


async def begin_applies(self: PumpController) -> None:
    """A host that puts back by itself what ran before it died."""
    await _begin(self)
    program = self.state.last_verified
    if program is not None and self.state.held:
        command = stage.pump_command(100)
        with suppress(NeuraxisError):
            plan = await self.plan(command, stage.PATIENT)
            await self.apply(command, stage.PATIENT, plan.digest, stage.reason("A"))


# --- counting ------------------------------------------------------------------------------------

_connected, _settled = fold.connected, fold.settled


async def cancel_refunds(self: Any, command: Any, *args: Any, **named: Any) -> Result:
    before = {one.id for one in self.state.unsettled}
    try:
        return await _controller_carry_out(self, command, *args, **named)
    except asyncio.CancelledError:
        for intent in self.state.unsettled:
            if intent.id not in before:
                await self.gate.tell(Settled(self.now(), intent.id, "refused", "cancelled"))
        raise


def connected_forgets(state: Any, event: Connected) -> Any:
    return replace(_connected(state, event), reservations=())


def doubt_refunds(state: Any, event: Settled) -> Any:
    after = _settled(state, event)
    if event.outcome != "UNCERTAIN":
        return after
    return replace(
        after,
        unsettled=tuple(one for one in after.unsettled if one.id != event.id),
        reservations=tuple(one for one in after.reservations if one.id != event.id),
    )


def wall_time(self: Timeline, now: Any) -> Any:
    self._slow = max(self._slow, self._start + now.wall - self._begun.wall)
    return self._slow


# --- the lease -----------------------------------------------------------------------------------


_renew = StimulatorController._renew
BUSY_S = 2.5


async def renew_when_idle(self: StimulatorController) -> None:
    """Renewals give way to therapy, and for a while after it."""
    now, busy = asyncio.get_running_loop().time(), vars(self.session).get("busy_until", 0.0)
    if not self._row.is_empty:
        vars(self.session)["busy_until"] = now + BUSY_S
    elif now >= busy:
        await _renew(self)


async def execute_and_be_busy(self: Session, *args: Any, **named: Any) -> Result:
    vars(self)["busy_until"] = asyncio.get_running_loop().time() + BUSY_S
    return await _execute(self, *args, **named)


def lease_is_forgotten(self: Any) -> None:
    self._lease_end = None


# --- the monitor ---------------------------------------------------------------------------------


def stops_for_anything_high(alarms: Any) -> Any:
    return next((alarm for alarm in alarms if alarm.priority == "HIGH"), None)


def believes_any_frame(self: MonitorCore, envelope: Any, now_ms: Any) -> bool:
    return True


def sleeps_with_its_host(self: StormMonitor) -> Milliseconds:
    return Milliseconds(self._clock.monotonic_ns() // NS_PER_MS)


ROAD_BUGS: Mapping[str, RoadBug] = {
    bug.name: bug
    for bug in (
        RoadBug(
            "retry on time-out",
            "a frame whose reply is late is written a second time",
            put(Session, "_exchange", sends_again),
        ),
        RoadBug(
            "retry with a new id",
            "a request whose outcome is not known is asked for again by the program",
            put(Controller, "carry_out", asks_again),
        ),
        RoadBug(
            "silence taken for no",
            "a lost reply counts as a refusal; the device is not asked",
            put(Session, "_settle", takes_silence_for_no),
        ),
        RoadBug(
            "telemetry taken for an ack",
            "a status that shows flow proves the command",
            put(Session, "_settle", takes_status_for_ack),
        ),
        RoadBug(
            "reply matched by order",
            "the next reply answers the oldest question, whatever its number; a Done counts "
            "for any id",
            together(put(Session, "received", in_order), put(Done, "__eq__", any_done)),
        ),
        RoadBug(
            "old session accepted",
            "a reply counts whatever conversation it is of; a Done counts for any id",
            together(put(Session, "received", any_session), put(Done, "__eq__", any_done)),
        ),
        RoadBug(
            "asked in the old session",
            "what became of an id is asked without a new session, of a device that does not close "
            "ids it was asked about",
            together(
                put(Session, "outcome_of", asks_in_the_old_session),
                put(firmware_module.Firmware, "_close", answers_without_closing),
            ),
        ),
        RoadBug(
            "any answer is proof",
            "a device that never saw a command is believed to have carried it out",
            put(Session, "_carry_out", any_reply_is_proof),
        ),
        RoadBug(
            "STOP queued",
            "a stop waits for its turn behind therapy",
            put(Controller, "make_safe", make_safe_in_turn),
        ),
        RoadBug(
            "STOP voids nothing",
            "what was asked before a stop is sent after it",
            put(Session, "execute", execute_regardless),
        ),
        RoadBug(
            "STOP confirmed by its write",
            "a stop counts as confirmed without a look at the device",
            put(Controller, "make_safe", make_safe_blindly),
        ),
        RoadBug(
            "a lost host stops the flow",
            "a host that lets go of a pump halts it",
            put(KnownDevice, "close", close_with_a_stop),
        ),
        RoadBug(
            "reconnect without identity",
            "a new host takes charge of whatever device answers",
            put(table, "identified", takes_whoever_answers),
        ),
        RoadBug(
            "any device's word counts",
            "a reply is taken from whatever device says it",
            put(Session, "_another", believes_anybody),
        ),
        RoadBug(
            "a new host puts things back",
            "a host that takes charge applies what ran before a person stopped it",
            put(PumpController, "begin", begin_applies),
        ),
        RoadBug(
            "cancel loses the reservation",
            "a request that is cancelled counts as refused",
            put(Controller, "carry_out", cancel_refunds),
        ),
        RoadBug(
            "a new host forgets doses",
            "boluses given before a host took charge no longer count",
            put(fold, "connected", connected_forgets),
        ),
        RoadBug(
            "doubt refunds",
            "a bolus whose outcome is not known counts for nothing",
            put(fold, "settled", doubt_refunds),
        ),
        RoadBug(
            "lockouts follow the wall clock",
            "time that somebody sets on the host's clock has passed",
            put(Timeline, "slow", wall_time),
        ),
        RoadBug(
            "lease not renewed under load",
            "renewals give way to therapy, and for 2.5 s after it",
            together(
                put(StimulatorController, "_renew", renew_when_idle),
                put(Session, "execute", execute_and_be_busy),
            ),
            "stimulator",
        ),
        RoadBug(
            "an output outlives its host",
            "a device lets an output go on when its lease has ended",
            put(scs_firmware.StimulatorFirmware, "meet_deadline", lease_is_forgotten),
            "stimulator",
        ),
        RoadBug(
            "the monitor stops for too little",
            "a basal that fails is stopped for it, whatever its drug",
            put(monitor, "must_stop", stops_for_anything_high),
        ),
        RoadBug(
            "the monitor believes any frame",
            "a status that comes once more, or late, is taken for what the pump does now",
            put(MonitorCore, "_is_awaited", believes_any_frame),
        ),
        RoadBug(
            "the monitor sleeps with its host",
            "what a pump gave while the host slept counts as given in the moment after it",
            put(StormMonitor, "_now", sleeps_with_its_host),
        ),
    )
}
