"""A device as its host knows it: who it is, what its journal says, what it holds and shows.

Nothing here changes what a device delivers; `Controller` acts on it.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace

from device_profiles.errors import DeviceFault, LinkError, Refused
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import NS_PER_MS
from firmware_bridge.driver import Driver, Sample
from firmware_bridge.lag import LoopLag
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.messages import (
    AskStatus,
    Identity,
    MessageError,
    OutcomeOf,
    ProgramRead,
    Read,
    Reply,
)
from firmware_bridge.session import Result, Session, settlement
from firmware_bridge.settings import Settings
from safety.alarms import Alarm, sounding
from safety.commands import Instant
from safety.events import (
    Cleared,
    Connected,
    DeviceIdentity,
    Intended,
    Opened,
    Raised,
    Settled,
    Stopped,
    Unverified,
)
from safety.fold import ENDS_OUTPUT, FOUND_OFF, PROGRAMMING
from safety.gate import Gate
from safety.journal import SCHEMA, Journal
from safety.noticed import noticed
from safety.opening import open_journal
from safety.outputs import Output
from safety.state import State
from safety.timeline import Ending, HostReading, Seen, Timeline, slow_after_absence


class KnownDevice(ABC):
    """One device under one owner: `begin` takes charge of it, `close` lets it go."""

    def __init__(
        self, session: Session, identity: Identity, driver: Driver, settings: Settings
    ) -> None:
        self.session = session
        self.identity = _identity_of(identity)
        self._simulated = identity.simulated
        self._driver = driver
        self._settings = settings
        self._clock = settings.clock
        self._begun_ns = settings.clock.monotonic_ns()
        self._begun_with_sleep_ns = settings.clock.with_sleep_ns()
        self._timeline = Timeline(self._clocks(), Milliseconds(0), identity.speed)
        self._journal: Journal | None = None
        self._gate: Gate | None = None
        self._absent_since: Ending | None = None
        """Where the journal ended before this host, until its absence has been credited."""
        self._seen: Milliseconds | None = None
        self.lag = LoopLag()
        """How late the event loop was, as far as somebody watches."""

    # --- life --------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Opens the journal of this serial number and a session; asks after unsettled intents."""
        self.session.seal_with(self._settings.key_of(self.identity.serial))
        place = self._settings.journal_of(self.identity.serial)
        opened = await self._clock.offload(
            lambda: open_journal(place.disk, place.anchor, place.states)
        )
        self._journal = opened.journal
        self._absent_since = opened.end
        self._timeline.restart_at(opened.end.slow)
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
        if problem is None:
            # Anchored before the first intent: a host that died before its own left none.
            await self.gate.settle()
        for one in sounding(self.state.alarms, None, self.now()):
            self._settings.sound(one.alarm)  # no restart may silence what nobody has seen (SR-55)
        await self.join()

    async def rejoin(self, link: Link) -> None:
        """Goes on with this very device over a new link, after the one before was lost.

        It is asked who it is before anything else, then what became of what is not settled, and
        its program is read back. Raises LinkError; Refused when another device answers.
        """
        identity = _identity_of(await self.session.replace(link))
        if identity != self.identity:
            await self.session.close()
            raise Refused(
                f"{link.url}: {identity.serial} ({identity.model}, firmware {identity.firmware}, "
                f"calibration {identity.calibration}) answers where {self.identity.serial} "
                f"({self.identity.model}, firmware {self.identity.firmware}, calibration "
                f"{self.identity.calibration}) was: nothing was sent but the question who it is "
                "(SR-25). Connect again"
            )
        await self.join()

    async def join(self) -> None:
        """Opens a session, settles what is open and compares what the device holds."""
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

    @abstractmethod
    async def found(self, programs: tuple[Output, ...]) -> None:
        """Takes note of what the device was found to hold, where that matters to its family."""

    async def settle(self, intent: Intended) -> Result:
        """Asks the device what became of an intent, records it and returns it. Raises LinkError.

        A program that it says it has taken is read back and compared before it counts.
        """
        answer = await self.session.outcome_of(intent.id)
        if answer.state == "unknown" and intent.id not in self.state.ids:
            text = f"the device knows nothing of intent {intent.id:#x}, and may have forgotten it"
            await self._unverified(intent.id, text, await self._holds_something())
            return Result("UNCERTAIN", text)
        result = settlement(answer)
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
                # Else the next host would take a jump that this one saw for time that passed.
                await self._note_clocks(self._clocks())
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

    def time_with_sleep(self) -> Milliseconds:
        """Time since this controller was made, the host's sleep included, never scaled."""
        return Milliseconds((self._clock.with_sleep_ns() - self._begun_with_sleep_ns) // NS_PER_MS)

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

    # --- what it holds -----------------------------------------------------------------------

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

    async def _read_back_equals(self, outputs: tuple[Output, ...]) -> bool:
        return self.programs_in(await self.read_back()) == outputs

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

    @abstractmethod
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

    # --- what it shows -----------------------------------------------------------------------

    async def sample(self) -> Sample:
        """The device's state now; an output that it shows to be off counts as off.

        A device that has restarted since is met anew, so that what it cut short is known. What
        was started after the question is not ended by its answer: that may have been on its way
        while the start overtook it.
        """
        running = self.state.running if self._gate is not None else None
        sample = await self._look()
        if self._gate is not None:
            was_on = running is not None and self.state.running is running
            await self._take_in(sample, was_on=was_on, asked_for=False)
        return sample

    async def _take_in(self, sample: Sample, *, was_on: bool, asked_for: bool) -> None:
        """Takes down what counts as on and is off, with why, as far as the device tells.

        ``was_on``: what counts as on did so when the device was asked. ``asked_for``: a stop has
        just been confirmed, so it counts as the end unless the device says it had ended before.
        """
        ended = was_on and not sample.delivering
        if ended:
            await self._notice(sample)
        if sample.boot != self.state.boot:
            await self._meet(sample)
        elif ended and not (asked_for and ENDS_OUTPUT.isdisjoint(sample.alarms)):
            await self.gate.tell(Stopped(self.now(), FOUND_OFF, confirmed=True))

    async def _look(self) -> Sample:
        sample = self._driver.sample(await self.session.query(AskStatus(), Reply))
        clocks = self._clocks()
        self._timeline.device_showed(sample.clock, clocks)
        self._seen = self._timeline.fast(clocks)
        if self._gate is not None:
            await self._note_clocks(clocks)
        return sample

    async def _note_clocks(self, clocks: HostReading) -> None:
        for text in self._timeline.notice(clocks):
            await self.raise_alarm(Alarm("clock-jump", "LOW", "SR-15", text))

    async def _meet(self, found: Sample) -> None:
        """Takes note of the device as it is now, and of the time that passed without a host."""
        now = self.now()
        here = Seen(now.slow, now.wall, found.clock, found.boot)
        absent_since, self._absent_since = self._absent_since, None
        if absent_since is not None:
            self._timeline.restart_at(
                slow_after_absence(self.state.seen, absent_since, here, self.identity.speed)
            )
        await self.gate.tell(
            Connected(
                self.now(),
                self.identity,
                found.boot,
                found.delivering,
                found.clock,
                self.session.sealed,
            )
        )

    async def _notice(self, sample: Sample) -> None:
        """Raises what the device shows and nobody was told of, and ends what is over."""
        seen = noticed(self.state, sample.alarms)
        for alarm in seen.news:
            await self.raise_alarm(alarm)
        for code in seen.over:
            await self.gate.tell(Cleared(self.now(), code))


def _identity_of(identity: Identity) -> DeviceIdentity:
    return DeviceIdentity(
        identity.family,
        identity.model,
        identity.serial,
        identity.firmware,
        identity.calibration,
        identity.speed,
    )
