"""One conversation: who confirms what, what is repeated, what is looked at last."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, get_type_hints

import pytest
from road_bench import (
    SlowDisk,
    apply,
    bolus,
    envelopes,
    failure,
    flowing,
    frame,
    programs,
    rise,
    road,
    start,
    stimulator_profile,
    take_over,
)
from road_bench import both_lines as both_lines

from device_profiles.errors import DeviceFault, DeviceSilent, LinkLost, Refused, Uncertain
from device_profiles.quantities import Milliseconds, NanoLitres
from firmware_bridge.driver import Procedure
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.wire import (
    LowerAmplitude,
    Lowered,
    Measure,
    Renew,
    SetAmplitude,
    Start,
)
from firmware_bridge.families.stopping import stop_at_once
from firmware_bridge.families.table import CATALOGUE, AnyController, connect
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.blob import digest_of
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    AskEvent,
    AskOutcome,
    AskStatus,
    Commit,
    Done,
    Identify,
    Identity,
    LoggedEvent,
    Message,
    Open,
    Opened,
    OpenSealed,
    OutcomeOf,
    Prove,
    Renewal,
    Reply,
    Stage,
    Stop,
)
from firmware_bridge.protocol.messages import Refused as RefusedByDevice
from firmware_bridge.session import Session
from firmware_bridge.simulator.faults import PlannedFault
from safety.clearance import ClearanceError
from safety.commands import Ask, GiveBolus, StartStimulation
from safety.events import Intended
from safety.outputs import BolusOutput, Stimulation

THERAPY = (Stage, Commit, Start, SetAmplitude, Measure, Bolus)


def fault(name: str, request: str, count: int = 1) -> PlannedFault:
    return PlannedFault(name, request=request, count=count)


def therapies(controller: AnyController) -> list[Coroutine[Any, Any, object]]:
    """Everything that a device can be asked for, in an order that makes sense."""
    if isinstance(controller, PumpController):
        return [apply(controller), bolus(controller)]
    return [apply(controller), controller.measure(), begin(controller), more(controller)]


async def begin(controller: StimulatorController) -> None:
    await controller.start(controller.program_named("walking"))


async def more(controller: StimulatorController) -> None:
    await controller.set_amplitude(None, programs()[0].areas[0].ceiling)


# --- replies belong to requests ------------------------------------------------------------------


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F33")
@pytest.mark.fault("F34")
@pytest.mark.parametrize(
    ("name", "unsealed", "sealed"),
    [
        ("duplicate_reply", "duplicate", "replayed"),
        ("delay_reply", "late", "replayed"),
        ("corrupt_reply", "corrupt", "corrupt"),
        ("truncate_reply", "corrupt", "corrupt"),
    ],
)
async def test_a_reply_that_nobody_waits_for_is_counted_and_confirms_nothing(
    name: str, unsealed: str, sealed: str
) -> None:
    asked = {"duplicate_reply": 1, "truncate_reply": 3}  # half a frame spoils the one after it
    async with road("stimulator", [fault(name, "event")]) as bench:
        controller = await bench.stimulator()
        found = await controller.session.query(AskEvent(0), LoggedEvent)
        assert found.number == 1
        assert bench.link.count(AskEvent) == asked.get(name, 2)
        await rise(5)
        assert (await controller.sample()).state == "off"
        kind = sealed if controller.session.sealed else unsealed
        assert controller.session.counts.dropped == {kind: 1}


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F32")
async def test_a_late_reply_never_confirms_the_request_after_it() -> None:
    """The reply to the first commit comes while the second, which is lost, is awaited."""
    late = [fault("delay_reply", "commit"), fault("drop_request", "commit", 2)]
    async with road("stimulator", late) as bench:
        controller = await bench.stimulator()
        assert (await apply(controller)).settled_by_asking
        await rise(1.4)
        error = await failure(apply(controller))
        assert isinstance(error, DeviceFault | DeviceSilent)
        assert "never saw it" in str(error)
        # Sealed it is of a session whose keys are gone, so nobody can tell that it was ours.
        kind = "alien" if controller.session.sealed else "late"
        assert controller.session.counts.dropped == {kind: 1}
        assert bench.intents() == {1_001: "delivered", 1_002: "refused"}
        assert bench.device.done("commit") == 1


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F34")
@pytest.mark.parametrize("what", ["another session", "another sequence", "another id"])
async def test_a_confirmation_that_is_not_of_this_request_confirms_nothing(what: str) -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        link = bench.link

        def forge(request: Message) -> None:
            if isinstance(request, Commit):
                session, sequence, _ = link.sent[-1]
                session += what == "another session"
                sequence += what == "another sequence"
                asyncio.get_running_loop().call_soon(
                    link.says, session, sequence, Done(request.id + (what == "another id"))
                )

        link.swallow = lambda request: isinstance(request, Commit)
        link.after_write = forge
        error = await failure(apply(controller))
        assert isinstance(error, DeviceFault | DeviceSilent)
        assert "never saw it" in str(error)
        assert bench.intents() == {1_001: "refused"}
        assert controller.session.counts.alien == (what != "another id")


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F43")
async def test_our_own_frames_coming_back_are_no_replies() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link

        def echo(_: Message) -> None:
            assert link.receiver is not None
            asyncio.get_running_loop().call_soon(link.receiver.received, link.written[-1])

        link.swallow = lambda request: isinstance(request, Bolus)
        link.after_write = echo
        assert isinstance(await failure(bolus(controller)), DeviceFault | DeviceSilent)
        assert controller.session.counts.alien > 0
        assert bench.device.done("bolus of") == 0


@pytest.mark.requirement("SR-24")
@pytest.mark.fault("F42")
async def test_noise_between_two_frames_costs_nothing() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        assert bench.link.receiver is not None
        bench.link.receiver.received(b"\x00\x07noise\x00\xff" * 100)
        assert (await controller.sample()).state == "off"
        assert controller.session.counts.corrupt > 0


class Crumbs(Link):
    """A line that delivers byte by byte."""

    def __init__(self, inner: Link) -> None:
        self.url, self._inner = inner.url, inner
        self._receiver: Receiver | None = None

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.lost = receiver.lost
        await self._inner.open(self)

    def received(self, data: bytes) -> None:
        assert self._receiver is not None
        for byte in data:
            self._receiver.received(bytes([byte]))

    def write(self, data: bytes) -> None:
        self._inner.write(data)

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.fault("F42")
async def test_replies_in_single_bytes_are_read_also_of_several_requests_at_once() -> None:
    async with road("stimulator") as bench:
        bench.wrap = Crumbs
        controller = await bench.stimulator()
        samples = await asyncio.gather(*(controller.sample() for _ in range(5)))
        assert {sample.state for sample in samples} == {"off"}
        assert (await apply(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F34")
async def test_an_answer_about_another_id_settles_nothing() -> None:
    """A device that mixes up its answers must not turn a delivered dose into a refused one."""
    async with road("pump", [fault("drop_reply", "bolus")]) as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link

        def mixed_up(request: Message) -> None:
            if isinstance(request, AskOutcome):
                session, sequence, _ = link.sent[-1]
                link.says(session, sequence, OutcomeOf("ITP-0001", request.id + 1, "unknown", 0))

        link.swallow = lambda request: isinstance(request, AskOutcome)
        link.after_write = mixed_up
        await failure(bolus(controller))
        assert bench.device.done("bolus of") == 1
        assert bench.intents()[1_002] != "refused"


# --- what is repeated ----------------------------------------------------------------------------


async def test_a_query_is_asked_three_times_in_all_each_for_half_a_second() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        link, before = bench.link, bench.link.count(AskStatus)
        link.swallow = lambda request: link.count(AskStatus) < before + 3
        assert (await controller.sample()).state == "off"
        assert link.count(AskStatus) == before + 3
        link.swallow = lambda _: True
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeviceSilent, match="does not answer"):
            await controller.sample()
        assert link.count(AskStatus) == before + 6
        assert loop.time() - began == pytest.approx(1.5)
        assert controller.session.counts.timeouts == 5


@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F30")
@pytest.mark.fault("F53")
@pytest.mark.parametrize("lost", ["drop_request", "drop_reply"])
@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("stimulator", name) for name in ("stage", "commit", "measure", "start", "amplitude")),
        *(("pump", name) for name in ("stage", "commit", "bolus")),
    ],
)
async def test_no_therapy_is_ever_written_twice(family: str, name: str, lost: str) -> None:
    async with road(family, [fault(lost, name)]) as bench:
        controller = await bench.connect()
        for work in therapies(controller):
            assert isinstance(await failure(work), DeviceFault | DeviceSilent | Refused | None)
        intents = [intent.id for intent in bench.told(Intended)]
        assert intents
        assert {bench.device.frames_of(one) for one in intents} <= {0, 1}
        assert len(bench.told(Intended)) == len(set(intents))
        for kind in (Stage, Commit, Start, SetAmplitude, Measure, Bolus):
            written = [repr(one) for one in bench.link.requests if isinstance(one, kind)]
            assert len(written) == len(set(written))


# --- the last look -------------------------------------------------------------------------------


def _other_blob(blob: bytes, old: bytes, new: bytes) -> bytes:
    """A program with another value; one that does not hold the old value stays as it is."""
    return blob.replace(old, new, 1)


def _cbor(name: str, value: bytes) -> bytes:
    return bytes([0x60 + len(name)]) + name.encode() + value


LIES: dict[str, tuple[str, type[Message], Callable[[Any], Message]]] = {
    "a wider pulse": (
        "stimulator",
        Stage,
        lambda m: replace(
            m,
            program=_other_blob(
                m.program, _cbor("pulse_width", b"\x18\xd2"), _cbor("pulse_width", b"\x18\xdc")
            ),
        ),
    ),
    "a higher set amplitude": (
        "stimulator",
        Stage,
        lambda m: replace(
            m,
            program=_other_blob(
                m.program, _cbor("amplitude", b"\x19\x10\x68"), _cbor("amplitude", b"\x19\x10\xcc")
            ),
        ),
    ),
    "another place for a program": ("stimulator", Stage, lambda m: replace(m, slot=m.slot + 1)),
    "a commit of fewer programs": ("stimulator", Commit, lambda m: replace(m, slots=1)),
    "a commit of other programs": (
        "stimulator",
        Commit,
        lambda m: replace(m, digest=digest_of(b"other")),
    ),
    "a start at more": (
        "stimulator",
        Start,
        lambda m: replace(m, amplitudes=[m.amplitudes[0] + 100]),
    ),
    "a start at less": (
        "stimulator",
        Start,
        lambda m: replace(m, amplitudes=[m.amplitudes[0] - 100]),
    ),
    "a start of two areas": (
        "stimulator",
        Start,
        lambda m: replace(m, amplitudes=[*m.amplitudes, 0]),
    ),
    "a start of another program": ("stimulator", Start, lambda m: replace(m, slot=1)),
    "a start of other bytes": (
        "stimulator",
        Start,
        lambda m: replace(m, digest=digest_of(b"other")),
    ),
    "a longer lease": ("stimulator", Start, lambda m: replace(m, lease=m.lease + 1)),
    "more amplitude": (
        "stimulator",
        SetAmplitude,
        lambda m: replace(m, amplitudes=[m.amplitudes[0] + 100]),
    ),
    "amplitude elsewhere": ("stimulator", SetAmplitude, lambda m: replace(m, slot=1)),
    "amplitude of other bytes": (
        "stimulator",
        SetAmplitude,
        lambda m: replace(m, digest=digest_of(b"other")),
    ),
    "more test current": ("stimulator", Measure, lambda m: replace(m, current=m.current + 1)),
    "wider test pulses": (
        "stimulator",
        Measure,
        lambda m: replace(m, pulse_width=m.pulse_width + 10),
    ),
    "more test pulses": ("stimulator", Measure, lambda m: replace(m, pulses=m.pulses + 1)),
    "another message": (
        "stimulator",
        Measure,
        lambda m: Start(m.id, 0, digest_of(b"other"), [6_000], 10_000),
    ),
    "a higher basal": (
        "pump",
        Stage,
        lambda m: replace(
            m,
            program=_other_blob(
                m.program,
                _cbor("flow", b"\x1a\x00\x03\xa9\x80"),
                _cbor("flow", b"\x1a\x00\x03\xa9\x81"),
            ),
        ),
    ),
    "another place in a pump": ("pump", Stage, lambda m: replace(m, slot=1)),
    "a commit of another basal": (
        "pump",
        Commit,
        lambda m: replace(m, digest=digest_of(b"other")),
    ),
    "a commit of two": ("pump", Commit, lambda m: replace(m, slots=2)),
    "a larger bolus": ("pump", Bolus, lambda m: replace(m, volume=m.volume + 1)),
    "a quicker bolus": ("pump", Bolus, lambda m: replace(m, over=m.over - 1)),
    "a bolus under another id": ("pump", Bolus, lambda m: replace(m, id=m.id + 1)),
    "a commit under another id": ("stimulator", Commit, lambda m: replace(m, id=m.id + 1)),
    "a start under another id": ("stimulator", Start, lambda m: replace(m, id=m.id + 1)),
    "a program that is none": ("stimulator", Stage, lambda m: replace(m, program=b"\xa0")),
}


class LyingCatalogue(Catalogue):
    """A codec that writes something else than it was given."""

    def __init__(self, honest: Catalogue, kind: type[Message], lie: Callable[[Any], Message]):
        self._honest, self._kind, self._lie = honest, kind, lie

    def encode(self, envelope: Envelope) -> bytes:
        message = envelope.message
        if type(message) is self._kind:
            envelope = envelope._replace(message=self._lie(message))
        return self._honest.encode(envelope)

    def decode(self, body: bytes) -> Envelope:
        return self._honest.decode(body)


class LyingDriver:
    """A driver whose steps say something else than was judged."""

    def __init__(self, honest: Any, kind: type[Message], lie: Callable[[Any], Message]) -> None:
        self._honest, self._kind, self._lie = honest, kind, lie

    def procedure(self, intent: Intended) -> Procedure:
        honest = self._honest.procedure(intent)
        steps = tuple(
            replace(step, request=self._lie(step.request))
            if type(step.request) is self._kind
            else step
            for step in honest.steps
        )
        return Procedure(honest.intent_id, steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


@pytest.mark.requirement("SR-58")
@pytest.mark.requirement("SR-10")
@pytest.mark.parametrize("liar", ["driver", "codec"])
@pytest.mark.parametrize("lie", LIES)
async def test_what_the_last_look_does_not_find_in_the_bytes_is_not_written(
    lie: str, liar: str
) -> None:
    family, kind, change = LIES[lie]
    async with road(family) as bench:
        controller = await bench.connect()
        ahead, work = _up_to(controller, kind)
        for step in ahead:
            await step
        if liar == "driver":
            controller._driver = LyingDriver(controller._driver, kind, change)
        else:
            session = controller.session
            session._catalogue = LyingCatalogue(session._catalogue, kind, change)
        before = bench.link.count(kind)
        done = dict(bench.device.machine.firmware.memory.outcomes)
        with pytest.raises(ClearanceError, match="last look"):
            await work
        assert bench.link.count(kind) == before
        assert not any(isinstance(m, Start) for m in bench.link.requests if kind is Measure)
        assert bench.device.machine.firmware.memory.outcomes == done
        intent = max(bench.intents())
        assert bench.intents()[intent] == "open"
        await bench.connect()
        assert bench.intents()[intent] == "refused"


def _up_to(
    controller: AnyController, kind: type[Message]
) -> tuple[list[Coroutine[Any, Any, object]], Coroutine[Any, Any, object]]:
    """What comes before the first request of a kind, and the work that sends it."""
    order: list[tuple[type[Message], ...]] = (
        [(Stage, Commit), (Bolus,)]
        if isinstance(controller, PumpController)
        else [(Stage, Commit), (Measure,), (Start,), (SetAmplitude,)]
    )
    place = next(number for number, kinds in enumerate(order) if kind in kinds)
    steps = therapies(controller)
    for unused in steps[place + 1 :]:
        unused.close()
    return steps[:place], steps[place]


def still_good() -> None:
    """Why a clearance no longer holds: it does."""


# --- clearance -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F82")
@pytest.mark.fault("F93")
async def test_a_clearance_is_spent_once_and_serves_no_other_intent() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await controller.measure()
        program = controller.program_named("walking")
        command = StartStimulation(
            Stimulation(program, (program.areas[0].amplitude,)), stimulator_profile()
        )
        now = controller.now()
        clearance = await controller.gate.ask(Ask(now, 77, command, "BENCH-007", seen=now.fast))
        procedure = controller._driver.procedure(clearance.intent)
        session, driver = controller.session, controller._driver
        with pytest.raises(ClearanceError, match="another intent"):
            await session.execute(clearance, Procedure(78, procedure.steps), driver, still_good)
        assert bench.link.count(Start) == 0
        result = await session.execute(clearance, procedure, driver, still_good)
        assert result.outcome == "delivered"
        written = len(bench.link.written)
        with pytest.raises(ClearanceError, match="nothing more may be sent"):
            await session.execute(clearance, procedure, driver, still_good)
        assert len(bench.link.written) == written


@pytest.mark.requirement("SR-10")
async def test_a_procedure_with_one_step_too_many_stops_before_it() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        honest = controller._driver

        class Twice(LyingDriver):
            def procedure(self, intent: Intended) -> Procedure:
                once = honest.procedure(intent)
                return Procedure(once.intent_id, once.steps * 2)

        controller._driver = Twice(honest, Message, lambda message: message)
        with pytest.raises(ClearanceError):
            await bolus(controller)
        assert bench.link.count(Bolus) == 1
        assert bench.device.done("bolus of") == 1
        await bench.pump()
        assert bench.intents()[1_002] == "delivered"


def test_no_therapy_but_a_renewal_goes_by_the_road_of_renewals() -> None:
    """`Session.renew` takes a Renewal only; the type checker holds callers to it."""
    therapy = {Stage, Commit, Start, SetAmplitude, Measure, Bolus}
    assert {kind for kind in therapy if issubclass(kind, Renewal)} == set()
    assert issubclass(Renew, Renewal)
    assert get_type_hints(Session.renew)["request"] is Renewal


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F65")
@pytest.mark.fault("F69")
async def test_a_therapy_that_waited_too_long_after_it_was_judged_is_not_sent() -> None:
    """The windows were judged for a bolus that begins within seconds."""
    async with road("pump") as bench:
        bench.clock = disk = SlowDisk(bench.clock)
        controller = await bench.pump()
        await apply(controller)
        disk.seconds = 6
        waiting = asyncio.ensure_future(failure(bolus(controller)))
        await rise(1)
        disk.seconds = 0
        assert "it waited for more than 5000 ms" in str(await waiting)
        assert bench.link.count(Bolus) == 0
        assert bench.intents()[1_002] == "refused"
        assert (await bolus(controller)).outcome == "delivered"


async def test_without_a_live_output_there_is_nothing_to_renew() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        with pytest.raises(ClearanceError, match="lease"):
            await controller._renew()
        await apply(controller)
        await start(controller)
        await controller.make_safe("hold")
        with pytest.raises(ClearanceError, match="lease"):
            await controller._renew()


# --- stop overtakes ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
@pytest.mark.parametrize("family", ["stimulator", "pump"])
async def test_stop_overtakes_a_therapy_that_hangs(
    family: str,
) -> None:
    async with road(family) as bench:
        controller = await bench.connect()
        await apply(controller)
        if isinstance(controller, StimulatorController):
            await controller.measure()
        hanging = Start if family == "stimulator" else Bolus
        bench.link.swallow = lambda request: isinstance(request, hanging)
        written = asyncio.Event()

        def note(request: Message) -> None:
            if isinstance(request, hanging):
                written.set()

        bench.link.after_write = note
        task = asyncio.ensure_future(failure(_dose(controller)))
        await written.wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await controller.stop("hold")).safe
        assert loop.time() - began < 0.1
        assert bench.link.count(Stop) == 1
        assert not task.done()
        assert isinstance(await task, DeviceFault | DeviceSilent)
        assert (await controller.sample()).safe


async def _dose(controller: AnyController) -> None:
    if isinstance(controller, PumpController):
        await bolus(controller)
    else:
        await begin(controller)


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F85")
@pytest.mark.fault("F86")
async def test_stop_is_sent_while_the_disk_hangs_under_a_therapy() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        turn = controller.gate._turn
        await turn.acquire()  # as a commit holds it for as long as the disk takes
        stopping = asyncio.create_task(controller.stop("hold"))
        await rise(2)
        assert isinstance(bench.link.requests[-1], AskStatus)
        assert bench.link.count(Stop) == 1
        assert flowing(bench.truth.lines) == {}
        turn.release()
        assert (await stopping).safe


# --- the line breaks -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-21")
async def test_a_line_that_is_gone_before_the_write_leaves_nothing_in_doubt() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        output = BolusOutput(NanoLitres(5_000), Milliseconds(120_000))
        now, command = controller.now(), GiveBolus(output, controller.profile)
        clearance = await controller.gate.ask(Ask(now, 77, command, "BENCH-012", seen=now.fast))
        written = len(bench.link.written)
        bench.runner.inject("unplug")
        await asyncio.sleep(0)
        procedure = controller._driver.procedure(clearance.intent)
        result = await controller.session.execute(
            clearance, procedure, controller._driver, still_good
        )
        assert (result.outcome, type(result.error)) == ("refused", LinkLost)
        assert "Nothing of this step was sent" in result.evidence
        assert len(bench.link.written) == written


@pytest.mark.requirement("SR-21")
async def test_a_line_that_is_gone_before_any_request_is_a_link_error() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("unplug")
        await asyncio.sleep(0)
        written = len(bench.link.written)
        for work in therapies(controller):
            assert isinstance(await failure(work), LinkLost)
        assert len(bench.link.written) == written
        assert bench.intents() == {1_001: "delivered"}


async def test_a_line_that_is_lost_while_staging_changes_nothing_and_is_a_link_error() -> None:
    async with road("stimulator", [fault("unplug", "stage", 2)]) as bench:
        controller = await bench.stimulator()
        assert isinstance(await failure(apply(controller)), LinkLost)
        assert bench.intents() == {1_001: "refused"}
        assert bench.device.programs == []
        bench.heal()
        assert (await apply(await bench.stimulator())).outcome == "delivered"


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F46")
@pytest.mark.parametrize(
    ("family", "name"),
    [("stimulator", "commit"), ("stimulator", "measure"), ("stimulator", "start"),
     ("pump", "commit"), ("pump", "bolus")],
)  # fmt: skip
async def test_a_line_that_is_lost_after_the_write_is_uncertain_until_asked(
    family: str, name: str
) -> None:
    async with road(family, [fault("unplug", name)]) as bench:
        controller = await bench.connect()
        errors = [error for work in therapies(controller) if (error := await failure(work))]
        assert isinstance(errors[0], Uncertain)
        assert "connect again" in str(errors[0])
        assert ("uncertain", "MEDIUM") in bench.codes
        (doubt,) = [one for one, word in bench.intents().items() if word == "UNCERTAIN"]
        assert [intent.id for intent in controller.state.unsettled] == [doubt]
        bench.heal()
        controller = await bench.connect()
        assert controller.state.unsettled == ()
        assert bench.intents()[doubt] == "delivered"
        assert bench.device.frames_of(doubt) == 1


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F44")
async def test_a_write_that_fails_counts_as_written() -> None:
    """Part of a frame may be out before a write fails, so the stricter word holds."""
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link

        def fail(request: Message) -> None:
            if isinstance(request, Bolus):
                raise LinkLost("writing to it failed")

        link.before_write = fail
        assert isinstance(await failure(bolus(controller)), Uncertain)
        assert bench.intents()[1_002] == "UNCERTAIN"
        link.before_write = lambda _: None
        await bench.pump()
        assert bench.intents()[1_002] == "refused"


async def test_a_failed_write_leaves_no_waiter_behind() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()

        def fail(_: Message) -> None:
            raise LinkLost("writing to it failed")

        bench.link.before_write = fail
        assert isinstance(await failure(controller.sample()), LinkLost)
        assert controller.session._waiting == {}


# --- a caller that is cancelled ------------------------------------------------------------------


@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F70")
@pytest.mark.fault("F78")
@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("kind", [Commit, Measure, Start, SetAmplitude, Bolus])
async def test_a_caller_cancelled_between_write_and_reply_leaves_it_to_the_next_connection(
    kind: type[Message], arrives: bool
) -> None:
    family = "pump" if kind is Bolus else "stimulator"
    async with road(family) as bench:
        controller = await bench.connect()
        ahead, work = _up_to(controller, kind)
        for step in ahead:
            await step
        link = bench.link
        task = asyncio.ensure_future(work)
        link.after_write = lambda request: bool(isinstance(request, kind) and task.cancel())
        link.swallow = lambda request: isinstance(request, kind) and not arrives
        with pytest.raises(asyncio.CancelledError):
            await task
        intent = max(bench.intents())
        assert bench.intents()[intent] == "open"
        assert [one.id for one in controller.state.unsettled] == [intent]
        assert isinstance(await failure(_dose(controller)), Refused)
        await rise(1)
        await controller.close()
        await bench.connect()
        assert bench.intents()[intent] == ("delivered" if arrives else "refused")
        assert bench.device.frames_of(intent) == arrives


# --- who is there --------------------------------------------------------------------------------


class Scripted(Link):
    """A device that answers as a test says, and keeps what it heard."""

    def __init__(self, answer: Callable[[Envelope], Reply | None]) -> None:
        self.url = "scripted"
        self.heard: list[Envelope] = []
        self.closed = False
        self._answer = answer
        self._receiver: Receiver | None = None

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        for envelope in envelopes(data):
            self.heard.append(envelope)
            reply = self._answer(envelope)
            if reply is not None and self._receiver is not None:
                data = frame(envelope.session, envelope.sequence, reply)
                asyncio.get_running_loop().call_soon(self._receiver.received, data)

    async def close(self) -> None:
        self.closed = True


def who(**other: Any) -> Callable[[Envelope], Reply | None]:
    """A device that says who it is, opens sessions, and nothing else."""
    values: dict[str, Any] = {
        "protocol": PROTOCOL_VERSION, "family": "scs", "model": "scs-16", "serial": "S-1",
        "firmware": "1.0.0", "calibration": "c", "simulated": True, "speed": 1, "boot": 1,
    }  # fmt: skip

    def answer(envelope: Envelope) -> Reply | None:
        match envelope.message:
            case Identify():
                return Identity(**{**values, **other})
            case Open():
                return Opened("S-1")
        return None

    return answer


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F41")
@pytest.mark.fault("F47")
@pytest.mark.parametrize(
    ("identity", "serial", "error", "words"),
    [
        ({"protocol": 1}, None, DeviceFault, "speaks protocol 1, this host speaks 4"),
        ({"family": "drg"}, None, DeviceFault, "of the family 'drg'"),
        ({"serial": "S-2"}, "S-1", Refused, "S-2 answers, and S-1 was asked for"),
        ({"model": "itp-20"}, None, DeviceFault, "of a pump's model"),
    ],
)
async def test_a_device_that_is_not_the_right_one_hears_nothing_but_the_question_who_it_is(
    identity: dict[str, Any], serial: str | None, error: type[Exception], words: str
) -> None:
    async with road("stimulator") as bench:
        link = Scripted(who(**identity))
        with pytest.raises(error, match=words):
            await connect(link, serial, bench.settings())
        assert [type(one.message) for one in link.heard] == [Identify]
        assert link.closed
        assert bench.disk.data == b""


@pytest.mark.requirement("SR-25")
async def test_a_device_of_an_unknown_model_hears_nothing_but_the_question_who_it_is() -> None:
    async with road("stimulator") as bench:
        link = Scripted(who(model="scs-99"))
        with pytest.raises(DeviceFault, match=r"no device profile 'scs-99'.* Check its firmware"):
            await connect(link, None, bench.settings())
        assert [type(one.message) for one in link.heard] == [Identify]
        assert link.closed


@pytest.mark.requirement("SR-32")
async def test_a_device_that_will_not_say_who_it_is_is_sent_a_stop_all_the_same() -> None:
    def refuses(envelope: Envelope) -> Reply | None:
        return RefusedByDevice("bad-message", "what?")

    async with road("stimulator") as bench:
        link = Scripted(refuses)
        with pytest.raises(Uncertain, match=r"a stop .hold. was sent to whoever hears it"):
            await stop_at_once(link, None, "hold", bench.settings())
        assert [type(one.message) for one in link.heard] == [Identify, Stop]


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F47")
async def test_the_wrong_simulator_gets_no_frame_but_identify() -> None:
    async with road("pump") as bench:
        assert isinstance(await failure(bench.connect("ITP-9999")), Refused)
        assert bench.device.names() == ["identify"]


@pytest.mark.requirement("SR-25")
@pytest.mark.fault("F92")
async def test_a_real_device_that_says_its_time_is_scaled_is_refused() -> None:
    async with road("stimulator") as bench:
        link = Scripted(who(simulated=False, speed=60))
        with pytest.raises(DeviceFault, match="speed"):
            await connect(link, None, bench.settings())
        assert [type(one.message) for one in link.heard] == [Identify]


async def test_a_device_that_never_answers_is_asked_three_times_and_let_go() -> None:
    async with road("stimulator") as bench:
        link = Scripted(lambda _: None)
        with pytest.raises(DeviceSilent, match="does not answer"):
            await connect(link, None, bench.settings())
        assert [type(one.message) for one in link.heard] == [Identify] * 3
        assert link.closed


# --- settling ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F31")
@pytest.mark.fault("F37")
async def test_settling_asks_in_a_new_session_so_that_the_old_frame_can_no_longer_act() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link
        link.swallow = lambda request: isinstance(request, Bolus)
        error = await failure(bolus(controller))
        assert isinstance(error, DeviceFault | DeviceSilent)
        kinds = [type(request) for request in link.requests]
        place = kinds.index(Bolus)
        opens = [OpenSealed, Prove] if controller.session.sealed else [Open]
        assert kinds[place:] == [Bolus, Identify, *opens, AskOutcome]
        old, _, opened, *_, asked = link.sent[place:]
        assert isinstance(opened.message, Open | OpenSealed)
        assert asked.session == opened.message.session != old.session
        # The frame that was stuck in a buffer comes out at last.
        link.inner.write(link.written[place])
        await rise(1)
        assert bench.device.done("bolus of") == 0
        assert bench.device.outcome(1_002) == "refused"


@pytest.mark.fault("F49")
@pytest.mark.fault("F84")
async def test_a_conversation_that_another_program_took_over_says_so() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        take_over(bench, 99)
        error = await failure(apply(controller))
        assert isinstance(error, DeviceFault | DeviceSilent)
        assert "another program has opened one" in str(error)
        assert bench.intents() == {}
        assert (await controller.stop("hold")).safe


async def test_closing_tells_whoever_still_waits() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        bench.link.swallow = lambda _: True
        waiting = asyncio.ensure_future(failure(controller.sample()))
        await asyncio.sleep(0)
        await controller.session.close()
        assert isinstance(await waiting, LinkLost)


async def test_a_session_alone_identifies_and_opens() -> None:
    link = Scripted(who())
    session = Session(link, CATALOGUE, iter((5, 6)).__next__)
    assert (await session.connect()).serial == "S-1"
    await session.open()
    await session.open()
    await session.close()
    assert [(one.session, type(one.message)) for one in link.heard] == [
        (0, Identify),
        (0, Open),
        (5, Identify),
        (5, Open),
    ]


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize(
    ("answers", "frames", "last"),
    [
        (["done"], 1, "done"),
        (["wrong-session", "silence", "wrong-session", "done"], 4, "done"),
        (["wrong-state", "done"], 1, "wrong-state"),
        (["wrong-session"] * 10 + ["done"], 10, "wrong-session"),
        (["silence"] * 4 + ["wrong-session"] + ["silence"] * 6, 10, "wrong-session"),
        (["silence"] * 11, 10, None),
    ],
)
async def test_a_lowering_is_repeated_while_a_session_may_just_be_opened_anew_and_then_told(
    answers: list[str], frames: int, last: Any
) -> None:
    """Its first frames may carry a number that the device no longer knows."""
    words = iter(answers)

    def answer(envelope: Envelope) -> Reply | None:
        if not isinstance(envelope.message, LowerAmplitude):
            return who()(envelope)
        match next(words):
            case "done":
                return Lowered()
            case "wrong-session" | "wrong-state" as code:
                return RefusedByDevice(code, "a test")
        return None

    link = Scripted(answer)
    session = Session(link, CATALOGUE, lambda: 5)
    await session.connect()
    await session.open()
    if last is None:
        with pytest.raises(DeviceSilent):
            await session.lower(LowerAmplitude([0]))
    else:
        reply = await session.lower(LowerAmplitude([0]))
        assert reply == (Lowered() if last == "done" else RefusedByDevice(last, "a test"))
    assert sum(isinstance(one.message, LowerAmplitude) for one in link.heard) == frames
    await session.close()
