"""The monitor's eyes: frames and journal entries in, alarms out. No I/O, no clock, no way to act.

The same core judges in the owner's process, for its screens, and in the monitor's own, which can
stop. It decodes the frames by itself and folds the journal by itself. Times are handed in as
``now_ms`` of a clock that never goes back and goes on in the host's sleep, as the device does.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from device_profiles.profile import Profile, PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import (
    MicroAmps,
    Milliseconds,
    NanoLitres,
    NanoLitresPerDay,
)
from firmware_bridge.exchange import REPLY_TIMEOUT
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.itp.driver import PumpDriver
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.families.scs.driver import StimulatorDriver
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder
from firmware_bridge.protocol.messages import (
    Commit,
    MessageError,
    Open,
    ProgramRead,
    Renewal,
    SaysWho,
    Stage,
    TherapyRequest,
)
from safety.alarms import Alarm
from safety.events import Connected, DeviceIdentity, Event, Intended
from safety.granted import Granted, after
from safety.monitor import (
    alarms_of_device,
    judge_age,
    judge_open,
    judge_rise,
    judge_stimulator,
    verdict,
)
from safety.monitor_pump import observe
from safety.monitor_readings import PumpReading, StimulatorReading, Track
from safety.outputs import (
    BolusOutput,
    ImpedancePulses,
    Output,
    PrimeOutput,
    PumpProgram,
    Stimulation,
)
from safety.rules_windows import is_no_more_than

CATALOGUE = Catalogue((*scs.MESSAGES, *itp.MESSAGES))
STIMULATOR_POLL = Milliseconds(250)
STALE_STIMULATOR = Milliseconds(4 * STIMULATOR_POLL)
FALL_TIME = Milliseconds(1_500)
"""How long a lowered amplitude may still be seen: every fall ends within 1 s, and a poll."""
EARLIER_SESSIONS = Milliseconds(5_000)
"""For so long after the begin, replies to conversations before it may still arrive."""
SENT_KEPT = 64


@lru_cache(maxsize=8)
def _profile(model: str) -> Profile:
    return load_profile(model)


class MonitorCore:
    """What one device shows, held against what its journal grants."""

    def __init__(self) -> None:
        self.granted = Granted()
        self._watched_since: Milliseconds | None = None
        self.track = Track()
        self.boot: int | None = None
        self.reading: PumpReading | StimulatorReading | None = None
        self._trusted = True
        self._loaded = self._read_at = Milliseconds(0)
        self._origin = Milliseconds(0)
        self._opened: dict[int, Milliseconds] = {}
        self._granted_until: dict[Stimulation, Milliseconds] = {}
        self._ears = {True: FrameDecoder(), False: FrameDecoder()}
        self._sessions: set[int] = {0}
        self._asked: dict[tuple[int, int], Milliseconds] = {}
        """When each request that may still be answered left, by its session and sequence."""
        self._answered = 0
        self._staged: dict[int, bytes] = {}
        self._held: PumpProgram | None = None
        self._sent: list[int] = []
        self._lasting: tuple[Alarm, ...] = ()
        self._moments: list[Alarm] = []

    # --- the journal -------------------------------------------------------------------------

    def load(
        self,
        past: Iterable[Event],
        identity: DeviceIdentity,
        now_ms: Milliseconds,
        *,
        trusted: bool = True,
    ) -> None:
        """Takes in who the device is, and the journal's past unless that is not trusted.

        Without a journal nobody knows what is granted: what contradicts itself is judged still.
        """
        events = tuple(past)
        self._loaded = now_ms
        self._origin = max((event.at.slow for event in events), default=Milliseconds(0))
        self._trusted = trusted
        for event in events if trusted else ():
            # As if the newest were of this moment: it is no younger, and what fell then may fall.
            age = (self._origin - event.at.slow) // identity.speed
            self._note_granted(Milliseconds(now_ms - age))
            self._take(event, event.at.slow, now_ms)
        self.granted = replace(self.granted, identity=identity)

    def distrust(self) -> None:
        """The journal can no longer be read: from here on nobody knows what is granted."""
        self._trusted = False
        self.granted = Granted(self.granted.identity)

    def hear(self, event: Event, now_ms: Milliseconds) -> None:
        """Takes in a new entry; what was granted until this moment may still be falling."""
        self._note_granted(now_ms)
        self._take(event, self._at(now_ms), now_ms)

    def _take(self, event: Event, heard: Milliseconds, now_ms: Milliseconds) -> None:
        self.granted = after(self.granted, event, heard)
        if isinstance(event, Intended):
            self._opened[event.id] = now_ms
        if isinstance(event, Connected):
            self.boot = event.boot

    def _at(self, now_ms: Milliseconds) -> Milliseconds:
        """The monitor's own therapy time; it begins at the slow time of the journal's end."""
        return Milliseconds(self._origin + (now_ms - self._loaded) * self.granted.speed)

    def polled(self, on: bool, now_ms: Milliseconds) -> None:
        """Learns whether somebody polls the device, so that silence means something."""
        self._watched_since = now_ms if on else None

    # --- frames ------------------------------------------------------------------------------

    def tap(self, sent: bool, data: bytes, now_ms: Milliseconds) -> None:
        """Takes in bytes as they went over the line; what is no frame of ours is passed over."""
        for body in self._ears[sent].feed(data):
            try:
                envelope = CATALOGUE.decode(body)
                if sent:
                    self._left(envelope, now_ms)
                else:
                    self._arrived(envelope, now_ms)
            except MessageError:
                continue

    def _left(self, envelope: Envelope, now_ms: Milliseconds) -> None:
        message = envelope.message
        self._asked = {key: at for key, at in self._asked.items() if now_ms - at <= REPLY_TIMEOUT}
        self._asked[envelope.session, envelope.sequence] = now_ms
        self._sessions.add(envelope.session)
        if isinstance(message, Open):
            self._sessions.add(message.session)
        if isinstance(message, Stage):
            self._staged[message.slot] = message.program
        elif isinstance(message, TherapyRequest) and not isinstance(message, Renewal):
            self._judge_frame(message)

    def _judge_frame(self, message: TherapyRequest) -> None:
        """SR-10, SR-20, SR-54: a frame that could deliver, against the journal's intents.

        Protects from a way to the wire round the judge, and from a command that leaves twice.
        Harm: the device is stopped by its policy. Longest denial: until it is applied or started
        again. Way out: look, begin again.
        """
        intent_id = getattr(message, "id", 0)
        what = type(message).__name__
        if intent_id in self._sent:
            text = f"the frame of {intent_id:#x} ({what}) left a second time"
            self._moments.append(Alarm("sent-twice", "HIGH", "SR-20", text))
        self._sent = [*self._sent, intent_id][-SENT_KEPT:]
        intent = self.granted.intent(intent_id)
        if intent is None:
            if self._continues(message):
                return
            text = (
                f"a {what} with the id {intent_id:#x} left, and no entry of the journal asks for it"
            )
        elif not self._is_of(message, intent.outputs):
            text = f"a {what} left that asks for something else than its intent {intent_id:#x}"
        else:
            return
        self._moments.append(Alarm("delivery-without-intent", "HIGH", "SR-54", text))

    def _continues(self, message: TherapyRequest) -> bool:
        """Whether a commit goes on with no more than runs: that is let pass without a journal."""
        known = (*self.granted.pump_programs, *((self._held,) if self._held else ()))
        if not isinstance(message, Commit) or 0 not in self._staged:
            return False
        try:
            staged = PumpDriver().program_of(0, self._staged[0])
        except MessageError:
            return False
        return any(is_no_more_than(staged, one) for one in known)

    def _is_of(self, message: TherapyRequest, outputs: tuple[Output, ...]) -> bool:
        match message, outputs:
            case (itp.Bolus(), (BolusOutput() as bolus,)):
                return (message.volume, message.over) == (bolus.volume, bolus.over)
            case (itp.Prime(), (PrimeOutput() as prime,)):
                return (message.volume, message.over) == (prime.volume, prime.over)
            case (scs.Start() | scs.SetAmplitude(), (Stimulation() as wanted,)):
                return (message.slot, tuple(message.amplitudes)) == (
                    wanted.program.slot,
                    wanted.amplitudes,
                )
            case (scs.Measure(), (ImpedancePulses() as pulses,)):
                return message.current == pulses.current and message.pulses == pulses.pulses
            case (Commit(), _):
                return message.slots == len(outputs) and all(
                    self._staged_equals(slot, output) for slot, output in enumerate(outputs)
                )
            case _:
                return False

    def _staged_equals(self, slot: int, output: Output) -> bool:
        blob = self._staged.get(slot)
        if blob is None:
            return True  # it was staged before this monitor looked
        try:
            if isinstance(output, PumpProgram):
                return PumpDriver().program_of(slot, blob) == output
            profile = self.profile
            assert isinstance(profile, StimulatorProfile)
            return StimulatorDriver(profile).program_of(slot, blob) == output
        except MessageError:
            return False

    def _arrived(self, envelope: Envelope, now_ms: Milliseconds) -> None:
        if envelope.session not in self._sessions and now_ms - self._loaded > EARLIER_SESSIONS:
            text = f"the device answers a conversation {envelope.session:#x} that is not ours"
            self._moments.append(Alarm("foreign-frame", "HIGH", "SR-10", text))
            return
        message = envelope.message
        if isinstance(message, SaysWho) and not self._is_of_this_device(message):
            # Not what this device shows: its silence is told of, and who asked is told the rest.
            return
        if not self._is_awaited(envelope, now_ms):
            return
        match message:
            case ProgramRead() as read if read.program and isinstance(self.profile, PumpProfile):
                self._held = PumpDriver().program_of(read.slot, read.program)
            case itp.PumpStatus() as status:
                self._met(status.boot)
                self._look_at_pump(status, now_ms)
            case scs.StimulatorStatus() as status:
                self._met(status.boot)
                self._look_at_stimulator(status, now_ms)
            case _:
                return

    def _is_of_this_device(self, reply: SaysWho) -> bool:
        identity = self.granted.identity
        return identity is None or reply.serial == identity.serial

    def _is_awaited(self, envelope: Envelope, now_ms: Milliseconds) -> bool:
        """SR-30, SR-52: whether a reply is the first to a request that left a moment ago.

        Protects from a stop for what the device showed long ago: a frame that comes a second time,
        or late, or after a newer one. Harm: none, its owner takes no such reply either. Longest
        denial: until the next reading. Way out: none is needed.
        """
        asked = self._asked.pop((envelope.session, envelope.sequence), None)
        if asked is None or now_ms - asked > REPLY_TIMEOUT or envelope.sequence < self._answered:
            return False
        self._answered = envelope.sequence
        return True

    def _met(self, boot: int) -> None:
        if self.boot is not None and boot != self.boot:
            text = f"the device has started anew (start number {boot})"
            self._moments.append(Alarm("device-restarted", "MEDIUM", "SR-27", text))
        self.boot = boot

    # --- readings ----------------------------------------------------------------------------

    @property
    def profile(self) -> Profile | None:
        """The monitor's own reading of the profile; ``None`` until the device is known."""
        identity = self.granted.identity
        return None if identity is None else _profile(identity.model)

    def _look_at_pump(self, status: itp.PumpStatus, now_ms: Milliseconds) -> None:
        profile = self.profile
        if not isinstance(profile, PumpProfile):
            return
        reading = PumpReading(
            self._at(now_ms),
            Milliseconds(status.clock),
            status.state,
            NanoLitresPerDay(status.flow),
            NanoLitres(status.delivered),
            NanoLitres(status.reservoir),
            status.bolus_id,
            NanoLitres(status.line_left),
            status.patient_boluses,
            Milliseconds(status.fill_at),
            tuple(status.alarms),
        )
        self.track, found = observe(self.track, reading, self.granted, profile)
        if not self._trusted:
            found = tuple(alarm for alarm in found if alarm.code != "delivery-without-intent")
        policy = self.granted.program.stop_policy if self.granted.program else None
        self._lasting = (*found, *alarms_of_device(reading.alarms, policy))
        self.reading, self._read_at = reading, now_ms

    def _look_at_stimulator(self, status: scs.StimulatorStatus, now_ms: Milliseconds) -> None:
        profile = self.profile
        if not isinstance(profile, StimulatorProfile):
            return
        reading = StimulatorReading(
            status.state != "off",
            status.slot,
            tuple(MicroAmps(value) for value in status.amplitudes),
            tuple(status.alarms),
            Milliseconds(status.clock),
        )
        may_flow = self._may_flow(now_ms)
        found = judge_stimulator(may_flow, reading, profile)
        if isinstance(self.reading, StimulatorReading):
            self._moments += judge_rise(may_flow, self.reading, reading, profile)
        self._lasting = (*found, *alarms_of_device(reading.alarms))
        self.reading, self._read_at = reading, now_ms

    def _may_flow(self, now_ms: Milliseconds) -> tuple[Stimulation, ...]:
        """What is granted now, and what was until a moment ago and still falls."""
        self._note_granted(now_ms)
        border = now_ms - FALL_TIME
        self._granted_until = {s: at for s, at in self._granted_until.items() if at >= border}
        return tuple(self._granted_until)

    def _note_granted(self, now_ms: Milliseconds) -> None:
        for stimulation in self.granted.stimulations:
            self._granted_until[stimulation] = now_ms

    # --- the judgement -----------------------------------------------------------------------

    def judge(self, now_ms: Milliseconds) -> tuple[Alarm, ...]:
        """Every alarm that holds now, one for each code, the highest first.

        What happened only once is told only once.
        """
        moments, self._moments = self._moments, []
        ages = {
            intent.id: Milliseconds(now_ms - self._opened.get(intent.id, self._loaded))
            for intent in self.granted.open
        }
        stale: tuple[Alarm, ...] = ()
        if self._watched_since is not None:
            limit = STALE_STIMULATOR
            if isinstance(self.profile, PumpProfile):
                limit = Milliseconds(3 * self.profile.poll)
            since = max(self._read_at, self._watched_since)
            stale = judge_age(Milliseconds(now_ms - since), limit)
        opened = judge_open(self.granted, ages, self._at(now_ms)) if self._trusted else ()
        return verdict((*moments, *self._lasting, *opened, *stale))
