"""The whole road for the floors above: connect, plan, apply, stop, sample.

A controller owns one device: its link, its session, its gate and its journal. What only one
family can do (start, amplitude, impedance; bolus) is in `families/*/controller.py`.
"""

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from device_profiles.diagnostics import Finding, Verdict, verdict_of
from device_profiles.errors import DeviceFault, LinkError, Uncertain
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_MS, Clock
from firmware_bridge.driver import Driver, Sample
from firmware_bridge.protocol.messages import (
    AskStatus,
    Identity,
    MessageError,
    OutcomeOf,
    ProgramRead,
    Read,
    Reply,
    StopDepth,
)
from firmware_bridge.safe_state import bring_to_safe_state
from firmware_bridge.session import Result, Session, settlement
from safety.alarms import Alarm, sounding
from safety.commands import Command, CommandKind, Instant, Override, ProgramPump, ProgramStimulator
from safety.events import (
    Cleared,
    Connected,
    DeviceIdentity,
    Intended,
    Opened,
    Raised,
    Settled,
    Unverified,
)
from safety.events import Stopped as StoppedEvent
from safety.fold import ENDS_OUTPUT, FOUND_OFF, PROGRAMMING
from safety.gate import Gate
from safety.journal import SCHEMA, Anchor, Disk, Journal, StateFile
from safety.kernel import Ask
from safety.limits import PumpLimits
from safety.noticed import noticed
from safety.opening import open_journal
from safety.outputs import Output
from safety.plan import PLAN_LIFE, PlanContent, confirm, plan_digest
from safety.state import DELIVERY_SLACK, State, delivery_slack
from safety.timeline import HostReading, Seen, Timeline, slow_after_absence

NEEDS_FRESH_STATE: tuple[CommandKind, ...] = (
    "start-stimulation",
    "change-amplitude",
    "give-bolus",
    "prime",
)
"""Commands that are judged by what the device shows just now (SR-52)."""


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where the journal of a device is kept; without ``states`` it has no checkpoints."""

    disk: Disk
    anchor: Anchor
    states: StateFile | None = None


def random_id() -> int:
    """An intent's id: 63 random bits, so that no two of a device's life are alike."""
    return secrets.randbits(63) + 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What a controller is handed from outside.

    ``journal_of`` gives the place of a serial number's journal, once the device is identified;
    it may lock the serial number and raise OwnerError.
    """

    clock: Clock
    journal_of: Callable[[str], JournalPlace]
    sound: Callable[[Alarm], None]
    new_id: Callable[[], int] = random_id


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
    notes: tuple[str, ...] = ()
    """What a person should read beside old and new."""

    @property
    def verdict(self) -> Verdict:
        """accepted, needs-reason or refused."""
        return verdict_of(self.findings)


P = TypeVar("P", StimulatorProfile, PumpProfile)
C = TypeVar("C", ProgramStimulator, ProgramPump)


class Controller(ABC, Generic[P, C]):
    """One device under one owner: `begin` takes charge of it, `close` lets it go."""

    def __init__(
        self, session: Session, identity: Identity, driver: Driver, profile: P, settings: Settings
    ) -> None:
        self.session = session
        self.profile: P = profile
        self.identity = DeviceIdentity(
            identity.family,
            identity.model,
            identity.serial,
            identity.firmware,
            identity.calibration,
            identity.speed,
        )
        self._simulated = identity.simulated
        self._driver = driver
        self._settings = settings
        self._clock = settings.clock
        self._begun_ns = settings.clock.monotonic_ns()
        self._timeline = Timeline(self._clocks(), Milliseconds(0), identity.speed)
        self._journal: Journal | None = None
        self._gate: Gate | None = None
        self._seen: Milliseconds | None = None
        self.stopped = asyncio.Event()
        """Set once a person has stopped the device, from whichever terminal."""

    # --- life --------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Opens the journal of this serial number and a session; asks after unsettled intents."""
        place = self._settings.journal_of(self.identity.serial)
        opened = await self._clock.offload(
            lambda: open_journal(place.disk, place.anchor, place.states)
        )
        self._journal = opened.journal
        self._timeline.restart_at(opened.slow)
        self._gate = Gate(opened, self._clock, self._settings.sound)
        problem = opened.problem or self._why_foreign(opened.first)
        if problem is not None:
            await self.gate.distrust(f"the journal cannot be trusted: {problem}", self.now())
        elif opened.first is None:
            await self.gate.tell(
                Opened(
                    self.now(),
                    secrets.token_hex(8),
                    self.identity.serial,
                    SCHEMA,
                    self._simulated,
                )
            )
            await self.gate.settle()
        for one in sounding(self.state.alarms, None, self.now()):
            self._settings.sound(one.alarm)  # no restart may silence what nobody has seen (SR-55)
        await self.session.open()
        for intent in self.state.unsettled:
            await self.settle(intent)
        found = await self._look()
        if self.state.running is not None:
            await self._notice(found)
        await self._meet(found)
        verified, held = self.verified_outputs(), await self.read_back()
        programs = self.programs_in(held)
        is_news = bool(verified) or (bool(held) and not self.state.unknown_program)
        if is_news and programs != verified:
            await self._unverified(0, "on connecting, the device holds another program", bool(held))
        await self.found(programs or ())
        await self._notice(found)

    async def found(self, programs: tuple[Output, ...]) -> None:
        """Takes note of what the device was found to hold, where that matters to its family."""

    async def settle(self, intent: Intended) -> Result:
        """Asks the device what became of an intent, records it and returns it. Raises LinkError.

        A program that it says it has taken is read back and compared before it counts.
        """
        result = settlement(await self.session.outcome_of(intent.id))
        if result.outcome == "delivered" and intent.command in PROGRAMMING:
            result = await self._proved(result, lambda: self._read_back_equals(intent.outputs))
        await self._record(intent.id, result)
        return result

    @abstractmethod
    def verified_outputs(self) -> tuple[Output, ...]:
        """The programs that the judge knows to be in the device."""

    async def close(self) -> None:
        """Brings the journal to the disk and closes journal and link."""
        try:
            if self._gate is not None:
                await self._gate.settle()
        finally:
            if self._journal is not None:
                self._journal.close()
            await self.session.close()

    @property
    def gate(self) -> Gate:
        """The gate of this device; there is one once `begin` has run."""
        if self._gate is None:
            raise DeviceFault(f"{self.identity.serial} is identified but not taken charge of")
        return self._gate

    @property
    def state(self) -> State:
        """What the judge knows of this device."""
        return self.gate.state

    def link_time(self) -> Milliseconds:
        """Time since this controller was made, never scaled: for ages and time-outs."""
        return Milliseconds((self._clock.monotonic_ns() - self._begun_ns) // NS_PER_MS)

    def now(self) -> Instant:
        """This moment on the judge's three clocks; therapy runs at the device's own speed."""
        clocks = self._clocks()
        return Instant(self._timeline.slow(clocks), self._timeline.fast(clocks), clocks.wall)

    def _clocks(self) -> HostReading:
        return HostReading(
            Milliseconds(self._clock.monotonic_ns() // NS_PER_MS),
            Milliseconds(self._clock.with_sleep_ns() // NS_PER_MS),
            Milliseconds(self._clock.wall_ms()),
        )

    def _why_foreign(self, first: Opened | None) -> str | None:
        """Why a journal that is sound in itself is not this device's."""
        if first is None:
            return None
        if first.serial != self.identity.serial:
            return f"it belongs to {first.serial}, and this is {self.identity.serial}"
        if first.simulated != self._simulated:
            return "a simulator's journal never serves a real device, nor the other way round"
        return None

    # --- plan and apply ----------------------------------------------------------------------

    @abstractmethod
    def outputs_of(self, command: C) -> tuple[Output, ...]:
        """The Outputs that a programming command asks for."""

    @abstractmethod
    def limits_of(self, command: C) -> PumpLimits | None:
        """The limits beyond the profile's that a programming command is judged by."""

    async def read_back(self) -> tuple[bytes, ...]:
        """The active programs, byte for byte as the device holds them; slots in use only."""
        programs: list[bytes] = []
        for slot in range(self._driver.slots):
            read = await self.session.query(Read(slot), ProgramRead)
            if read.slot != slot:
                raise DeviceFault(f"asked for slot {slot}, the device answered slot {read.slot}")
            if read.program:
                programs.append(read.program)
        return tuple(programs)

    def programs_in(self, blobs: tuple[bytes, ...]) -> tuple[Output, ...] | None:
        """The programs that were read back; ``None`` if one of them is none of ours."""
        try:
            return tuple(self._driver.program_of(slot, blob) for slot, blob in enumerate(blobs))
        except MessageError:
            return None

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
        stops += await self._prepare_programming()
        return await self.carry_out(
            await self.with_evidence(command),
            patient,
            override,
            stops=stops,
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

    async def _read_back_equals(self, outputs: tuple[Output, ...]) -> bool:
        return self.programs_in(await self.read_back()) == outputs

    def _content(self, command: C, patient: str, read_back: tuple[bytes, ...]) -> PlanContent:
        return PlanContent(
            self.outputs_of(command),
            self.identity,
            read_back,
            self.limits_of(command),
            self.profile,
            patient,
            self.state.epoch,
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
        proof: Callable[[], Awaitable[bool]] | None = None,
    ) -> Result:
        """Judges, records, sends and settles one command.

        ``stops`` is the session's count of lowerings when the person asked, now unless told: a
        stop or a lowering since then voids the command. ``proof`` is a last question to the
        device that must be answered with yes. Raises Refused, DeviceFault, Uncertain, LinkError.
        A cancelled caller leaves the intent unsettled: it counts as delivered until the device
        has been asked.
        """
        stops = self.session.lowerings if stops is None else stops
        if command.kind in NEEDS_FRESH_STATE:
            await self._notice(await self.sample())
        ask = Ask(self.now(), self._settings.new_id(), command, patient, override, self._seen)
        clearance = await self.gate.ask(ask)
        procedure = self._driver.procedure(clearance.intent)

        def why_void() -> str | None:
            if self.session.lowerings != stops:
                return "a stop or a lowering came in between (SR-32)"
            if self.now().slow - ask.at.slow > delivery_slack(self.state):
                return f"it waited for more than {DELIVERY_SLACK} ms after it was judged (SR-14)"
            return None

        result = await self.session.execute(clearance, procedure, self._driver, why_void, live=live)
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

    async def _proved(self, result: Result, proof: Callable[[], Awaitable[bool]]) -> Result:
        try:
            if await proof():
                return replace(result, evidence=f"{result.evidence}; read back equal")
        except (LinkError, DeviceFault) as error:
            return Result("UNCERTAIN", f"it was committed, but reading it back failed: {error}")
        text = "the program read back differs from the one that was sent"
        fault = DeviceFault(f"{self.identity.serial}: {text} (SR-22); stop it and look at it")
        return Result("UNCERTAIN", text, error=fault)

    async def _record(self, intent_id: int, result: Result) -> None:
        if isinstance(result.error, DeviceFault):
            await self._unverified(intent_id, result.evidence, await self._holds_something())
            return
        await self.gate.tell(Settled(self.now(), intent_id, result.outcome, result.evidence))
        if result.count is not None:
            await self.counted(result.count)
        if result.outcome == "UNCERTAIN":
            text = f"it is not known whether intent {intent_id:#x} was carried out"
            await self.raise_alarm(Alarm("uncertain", "MEDIUM", "SR-21", text))

    async def counted(self, count: OutcomeOf) -> None:
        """Takes in the device's own count of what it delivered for an id."""

    async def _holds_something(self) -> bool:
        """Whether the device holds a program; one that cannot be asked is taken to."""
        try:
            return bool(await self.read_back())
        except (LinkError, DeviceFault):
            return True

    async def _unverified(self, intent_id: int, evidence: str, delivers: bool) -> None:
        await self.gate.tell(Unverified(self.now(), intent_id, evidence, delivers))
        text = f"{evidence}; no program counts as verified until one is applied"
        await self.raise_alarm(Alarm("program-differs", "HIGH", "SR-22", text))

    async def raise_alarm(self, alarm: Alarm) -> None:
        """Records an alarm and sounds it."""
        await self.gate.tell(Raised(self.now(), alarm))

    # --- stop and watch ----------------------------------------------------------------------

    async def sample(self) -> Sample:
        """The device's state now; an output that it shows to be off counts as off.

        A device that has restarted since is met anew, so that what it cut short is known.
        """
        sample = await self._look()
        if self._gate is not None:
            await self._take_in(sample, asked_for=False)
        return sample

    async def _take_in(self, sample: Sample, *, asked_for: bool) -> None:
        """Takes down what counts as on and is off, with why, as far as the device tells.

        ``asked_for``: a stop has just been confirmed, so it counts as the end unless the device
        says that it had ended before.
        """
        ended = self.state.running is not None and not sample.delivering
        if ended:
            await self._notice(sample)
        if sample.boot != self.state.boot:
            await self._meet(sample)
        elif ended and not (asked_for and ENDS_OUTPUT.isdisjoint(sample.alarms)):
            await self.gate.tell(StoppedEvent(self.now(), FOUND_OFF, confirmed=True))

    async def _look(self) -> Sample:
        sample = self._driver.sample(await self.session.query(AskStatus(), Reply))
        clocks = self._clocks()
        self._timeline.device_showed(sample.clock, clocks)
        self._seen = self._timeline.fast(clocks)
        if self._gate is not None:
            for text in self._timeline.notice(clocks):
                await self.raise_alarm(Alarm("clock-jump", "LOW", "SR-15", text))
        return sample

    async def _meet(self, found: Sample) -> None:
        """Takes note of the device as it is now, and of the time that passed without a host."""
        now = self.now()
        here = Seen(now.slow, now.wall, found.clock, found.boot)
        self._timeline.restart_at(
            slow_after_absence(self.state.seen, now.slow, here, self.identity.speed)
        )
        await self.gate.tell(
            Connected(self.now(), self.identity, found.boot, found.delivering, found.clock)
        )

    async def _notice(self, sample: Sample) -> None:
        """Raises what the device shows and nobody was told of, and ends what is over."""
        seen = noticed(self.state, sample.alarms)
        for alarm in seen.news:
            await self.raise_alarm(alarm)
        for code in seen.over:
            await self.gate.tell(Cleared(self.now(), code))

    async def stop(self, depth: StopDepth) -> Sample:
        """Brings the device to its safe state for good; see `make_safe`."""
        self.stopped.set()
        return await self.make_safe(depth)

    async def make_safe(self, depth: StopDepth) -> Sample:
        """Brings the device to its safe state; returns once its status shows it.

        Needs no configuration, no journal and no session. Raises Uncertain, with a HIGH alarm,
        when the safe state cannot be confirmed.
        """
        try:
            sample = await bring_to_safe_state(self.session, self._driver.sample, depth)
        except Uncertain as error:
            await self.note_stop(depth, confirmed=False)
            alone = f" {self.by_itself}" if isinstance(error.__cause__, LinkError) else ""
            raise Uncertain(f"{error}{alone}") from error
        await self._take_in(sample, asked_for=True)
        await self.note_stop(depth, confirmed=True)
        return sample

    by_itself = ""
    """What the device does by itself when its host is gone, in a sentence."""

    async def note_stop(self, depth: StopDepth, *, confirmed: bool) -> None:
        """Records a stop; one that is not confirmed is an alarm."""
        await self.gate.tell(StoppedEvent(self.now(), depth, confirmed))
        if not confirmed:
            text = f"{self.identity.serial}: a stop could not be confirmed"
            await self.raise_alarm(Alarm("stop-unconfirmed", "HIGH", "SR-32", text))
