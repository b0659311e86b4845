"""The whole road for the floors above: plan, apply, carry out, stop.

A controller owns one device: its link, its session, its gate and its journal. What only one
family can do (start, amplitude, impedance; bolus) is in `families/*/controller.py`.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from device_profiles.diagnostics import Finding, Verdict, verdict_of
from device_profiles.errors import DeviceFault, LinkError, Uncertain
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.quantities import Milliseconds
from firmware_bridge.driver import Driver, Sample
from firmware_bridge.known_device import KnownDevice
from firmware_bridge.protocol.messages import (
    Identity,
    StopDepth,
)
from firmware_bridge.row import Row
from firmware_bridge.safe_state import bring_to_safe_state, why_unconfirmed
from firmware_bridge.session import Result, Session
from firmware_bridge.settings import Settings
from safety.alarms import Alarm, is_news
from safety.commands import Ask, Command, CommandKind, Override, ProgramPump, ProgramStimulator
from safety.events import Cleared, DeviceIdentity
from safety.events import Stopped as StoppedEvent
from safety.limits import PumpLimits
from safety.outputs import Output
from safety.plan import PLAN_LIFE, PlanContent, confirm, plan_digest
from safety.state import DELIVERY_SLACK, delivery_slack

NEEDS_FRESH_STATE: tuple[CommandKind, ...] = (
    "start-stimulation",
    "change-amplitude",
    "give-bolus",
    "prime",
)
"""Commands that are judged by what the device shows just now (SR-52)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an `apply` would do: the device's program, the new one, and every objection.

    ``old`` is ``None`` when the device holds something that is no program of ours.
    """

    identity: DeviceIdentity
    old: tuple[Output, ...] | None
    new: tuple[Output, ...]
    findings: tuple[Finding, ...]
    digest: str
    made: Milliseconds
    expires: Milliseconds
    sealed: bool
    """Whether the device has proved who it is and what it holds."""
    notes: tuple[str, ...] = ()
    """What a person should read beside old and new."""

    @property
    def verdict(self) -> Verdict:
        """accepted, needs-reason or refused."""
        return verdict_of(self.findings)


P = TypeVar("P", StimulatorProfile, PumpProfile)
C = TypeVar("C", ProgramStimulator, ProgramPump)


class Controller(KnownDevice, Generic[P, C]):
    """One device that its host acts on: plan, apply, therapy, stop."""

    def __init__(
        self, session: Session, identity: Identity, driver: Driver, profile: P, settings: Settings
    ) -> None:
        super().__init__(session, identity, driver, settings)
        self.profile: P = profile
        self.stopped = asyncio.Event()
        """Set once a person has stopped the device, from whichever terminal."""
        self._row = Row()
        """Whoever acts on the device stands here until what became of it is written down."""

    # --- plan and apply ----------------------------------------------------------------------

    @abstractmethod
    def outputs_of(self, command: C) -> tuple[Output, ...]:
        """The Outputs that a programming command asks for."""

    @abstractmethod
    def limits_of(self, command: C) -> PumpLimits | None:
        """The limits beyond the profile's that a programming command is judged by."""

    async def plan(self, command: C, patient: str) -> Plan:
        """What applying this command would change, and every objection; sends only queries."""
        content = self._content(command, patient, await self.read_back())
        command = await self.with_evidence(command)
        made = Milliseconds(self._clock.wall_ms() // 1_000 * 1_000)
        return Plan(
            self.identity,
            self.programs_in(content.read_back),
            content.outputs,
            self.gate.judge_once_stopped(Ask(self.now(), 1, command, patient)),
            plan_digest(content, made),
            made,
            Milliseconds(made + PLAN_LIFE),
            self.session.sealed,
            self.notes_of(command),
        )

    async def apply(
        self, command: C, patient: str, digest: str, override: Override | None = None
    ) -> Result:
        """Programs the device with exactly what was confirmed, reads it back and compares.

        A stimulator's output is off afterwards; a pump delivers. Raises Refused (a rule; a
        foreign or expired digest), DeviceFault (it refused, or the read back differs),
        Uncertain, LinkError.
        """
        stops = self.session.lowerings
        content = self._content(command, patient, await self.read_back())
        confirm(digest, content, Milliseconds(self._clock.wall_ms()))
        epoch = self.state.epoch
        if prepared := await self._prepare_programming():
            epoch = self.state.epoch  # its own stop is part of what was confirmed
        stops += prepared
        return await self.carry_out(
            await self.with_evidence(command),
            patient,
            override,
            stops=stops,
            epoch=epoch,
            proof=lambda: self._read_back_equals(content.outputs),
        )

    def notes_of(self, command: C) -> tuple[str, ...]:
        """What a person should read of a command beside its Outputs, in sentences."""
        return ()

    async def with_evidence(self, command: C) -> C:
        """The command with what the device says of itself just now, where rules ask for it."""
        return command

    async def _prepare_programming(self) -> int:
        """Lowers what a family must lower before its program may change; its count of stops."""
        return 0

    def _content(self, command: C, patient: str, read_back: tuple[bytes, ...]) -> PlanContent:
        return PlanContent(
            self.outputs_of(command),
            self.identity,
            read_back,
            self.limits_of(command),
            self.profile,
            patient,
            self.state.epoch,
            self.session.lowerings,
        )

    # --- therapy -----------------------------------------------------------------------------

    async def carry_out(
        self,
        command: Command,
        patient: str,
        override: Override | None = None,
        *,
        live: bool = False,
        stops: int | None = None,
        epoch: int | None = None,
        proof: Callable[[], Awaitable[bool]] | None = None,
    ) -> Result:
        """Judges, records, sends and settles one command, once all that stood before it is settled.

        ``stops`` is the session's count of lowerings when the person asked, now unless told: a
        stop or a lowering since then voids the command, and so does any change of state since the
        ``epoch`` in which it was approved. ``proof`` is a last question to the
        device that must be answered with yes. Raises Refused, DeviceFault, Uncertain, LinkError.
        A cancelled caller leaves the intent unsettled: it counts as delivered until the device
        has been asked.
        """
        stops = self.session.lowerings if stops is None else stops
        with self._row.place() as place:
            await place.turn()
            if command.kind in NEEDS_FRESH_STATE:
                await self._notice(await self.sample())
            ask = Ask(
                self.now(), self._settings.new_id(), command, patient, override, self._seen, epoch
            )
            clearance = await self.gate.ask(ask)
            procedure = self._driver.procedure(clearance.intent)

            def why_void() -> str | None:
                if self.session.lowerings != stops:
                    return "a stop or a lowering came in between (SR-32)"
                if self.now().fast - ask.at.fast > delivery_slack(self.state):
                    return (
                        f"it waited for more than {DELIVERY_SLACK} ms after it was judged (SR-14)"
                    )
                return None

            result = await self.session.execute(
                clearance, procedure, self._driver, why_void, live=live
            )
            if result.outcome == "delivered" and proof is not None:
                result = await self._proved(result, proof)
            await self._record(ask.id, result)
        if result.error is not None:
            raise result.error
        if result.outcome == "UNCERTAIN":
            raise Uncertain(
                f"UNCERTAIN: it is not known whether {command.kind} (id {ask.id:#x}) was carried "
                "out. It counts as delivered and a repeat is blocked until the device has been "
                "asked: connect again, for instance with `neuraxis status`. What happened: "
                f"{result.evidence}"
            )
        if result.outcome == "refused":
            raise DeviceFault(f"{self.identity.serial}: {command.kind}: {result.evidence}")
        return replace(result, intent_id=ask.id)

    # --- stop --------------------------------------------------------------------------------

    async def stop(self, depth: StopDepth) -> Sample:
        """Brings the device to its safe state for good; see `make_safe`."""
        self.stopped.set()
        return await self.make_safe(depth)

    async def make_safe(self, depth: StopDepth) -> Sample:
        """Brings the device to its safe state; returns once its status shows it.

        Needs no configuration, no journal and no session. Raises Uncertain, with a HIGH alarm,
        when the safe state cannot be confirmed.
        """
        with self._row.place():  # it waits for nobody; what is asked from here on waits for it
            try:
                sample = await bring_to_safe_state(self.session, self._driver.sample, depth)
            except Uncertain as error:
                await self.note_stop(depth, why_unconfirmed(error))
                alone = f" {self.by_itself}" if isinstance(error.__cause__, LinkError) else ""
                raise Uncertain(f"{error}{alone}") from error
            was_on = self.state.running is not None
            await self._take_in(sample, was_on=was_on, asked_for=True)
            await self.note_stop(depth)
            return sample

    by_itself = ""
    """What the device does by itself when its host is gone, in a sentence."""

    async def note_stop(self, depth: StopDepth, doubt: str | None = None) -> None:
        """Records a stop; one that is not confirmed, with a ``doubt``, is an alarm until one is."""
        confirmed = doubt is None
        await self.gate.tell(StoppedEvent(self.now(), depth, confirmed))
        text = f"{self.identity.serial}: a stop could not be confirmed: {doubt}"
        alarm = Alarm("stop-unconfirmed", "HIGH", "SR-32", text)
        if is_news(self.state.alarms, alarm) == confirmed:
            return
        if confirmed:
            await self.gate.tell(Cleared(self.now(), alarm.code))
        else:
            await self.raise_alarm(alarm)
