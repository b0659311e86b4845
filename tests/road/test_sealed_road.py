"""The host on a sealed line: what it sends, what it believes, and what it says of an attack."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from road_bench import (
    KEY,
    NOON_MS,
    Road,
    apply,
    bolus,
    failure,
    flowing,
    frame,
    kept_alive,
    rise,
    road,
    start,
)

from device_profiles.errors import DeviceFault, DeviceSilent, LinkError, Uncertain, UsageError
from firmware_bridge import conversation
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.families.scs.wire import Renew
from firmware_bridge.families.stopping import stop_at_once
from firmware_bridge.families.table import CATALOGUE, connect
from firmware_bridge.links.base import Link, Receiver
from firmware_bridge.protocol.catalogue import (
    Envelope,
    SealedEnvelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    AskStatus,
    Challenged,
    Commit,
    Done,
    Identify,
    Identity,
    Message,
    OpenSealed,
    Prove,
    Read,
    Refused,
    Reply,
    Stage,
    Stop,
    StopDepth,
    Stopped,
)
from firmware_bridge.protocol.seal import MAX_COUNTER, DeviceKey, SealedLine, is_sealed
from firmware_bridge.session import Session
from firmware_bridge.simulator.faults import PlannedFault
from safety.clearance import ClearanceError

OTHER_KEY = DeviceKey(bytes(range(1, 33)))


class Between(Link):
    """Somebody between host and device, who may change, keep or make up any frame."""

    def __init__(self, inner: Link) -> None:
        self.url, self._inner = inner.url, inner
        self.to_device: Callable[[bytes], bytes | None] = lambda body: body
        self.to_host: Callable[[bytes], bytes | None] = lambda body: body
        self.heard: list[bytes] = []
        """Bodies of the device, as it said them."""
        self._receiver: Receiver | None = None
        self._requests, self._replies = FrameDecoder(), FrameDecoder()

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.lost = receiver.lost
        await self._inner.open(self)

    def received(self, data: bytes) -> None:
        for body in self._replies.feed(data):
            self.heard.append(body)
            if (now := self.to_host(body)) is not None:
                self.tell_host(now)

    def write(self, data: bytes) -> None:
        for body in self._requests.feed(data):
            if (now := self.to_device(body)) is not None:
                self._inner.write(encode_frame(now))

    def tell_host(self, body: bytes) -> None:
        assert self._receiver is not None
        self._receiver.received(encode_frame(body))

    def answer(self, request: bytes, message: Message) -> None:
        """Answers an unsealed request in the place of the device."""
        session, sequence, _ = CATALOGUE.decode(request)
        body = CATALOGUE.encode(Envelope(session, sequence, message))
        asyncio.get_running_loop().call_soon(self.tell_host, body)

    async def close(self) -> None:
        await self._inner.close()


def between(bench: Road) -> list[Between]:
    """Everybody who stands between from here on, the newest last."""
    those: list[Between] = []

    def wrap(link: Link) -> Link:
        those.append(Between(link))
        return those[-1]

    bench.wrap = wrap
    return those


def plain(body: bytes) -> Message | None:
    return None if is_sealed(body) else CATALOGUE.decode(body).message


# --- what leaves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["stimulator", "pump"])
async def test_all_that_leaves_is_sealed_but_the_handshake(family: str) -> None:
    async with road(family, sealed=True) as bench:
        controller = await bench.connect()
        await apply(controller)
        if family == "pump":
            await bolus(controller)  # type: ignore[arg-type]
        else:
            await start(controller)  # type: ignore[arg-type]
        assert (await controller.stop("hold")).safe
        unsealed = [one.message for one in bench.link.sent if not isinstance(one, SealedEnvelope)]
        assert [type(one) for one in unsealed] == [Identify, OpenSealed, Prove]
        sealed = [one for one in bench.link.sent if isinstance(one, SealedEnvelope)]
        assert {Stage, Commit, Stop, AskStatus, Read} <= {type(one.message) for one in sealed}
        counts = controller.session.counts
        assert (counts.forged, counts.replayed, counts.alien) == (0, 0, 0)
        assert bench.device.machine.firmware.conversation.counts.total == 0


async def test_the_last_look_unseals_the_very_bytes_that_are_about_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        await apply(controller)
        honest = SealedLine.seal

        def lying(self: SealedLine, body: bytes, counter: int | None = None) -> bytes:
            envelope = CATALOGUE.decode(body)
            if isinstance(envelope.message, Bolus):
                more = replace(envelope.message, volume=envelope.message.volume + 1)
                body = CATALOGUE.encode(envelope._replace(message=more))
            return honest(self, body, counter)

        monkeypatch.setattr(SealedLine, "seal", lying)
        with pytest.raises(ClearanceError, match="last look"):
            await bolus(controller)
        assert bench.link.count(Bolus) == 0


async def test_whoever_watches_the_line_hears_what_the_frames_say() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        heard: list[tuple[bool, Message]] = []

        def tap(sent: bool, data: bytes) -> None:
            for body in FrameDecoder().feed(data):
                heard.append((sent, CATALOGUE.decode(body).message))

        controller.session.taps.append(tap)
        await controller.sample()
        await apply(controller)
        kinds = {(sent, type(message)) for sent, message in heard}
        assert {(True, AskStatus), (True, Stage), (True, Commit), (False, Done)} <= kinds


async def test_the_key_is_in_no_journal_no_frame_and_no_error() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.link.swallow = lambda _: True
        errors = [repr(await failure(bolus(controller))), repr(vars(controller.session))]
        errors += [repr(bench.settings()), repr(bench.link.written), repr(bench.alarms)]
        for text in (*errors, repr(bytes(bench.disk.data))):
            assert KEY.secret.hex() not in text
            assert repr(KEY.secret)[2:-1] not in text
        assert KEY.secret not in b"".join(bench.link.written) + bytes(bench.disk.data)


async def test_asking_after_an_id_makes_new_keys() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        await apply(controller)
        before = bench.device.machine.firmware.conversation._line
        await controller.session.outcome_of(1_001)
        after = bench.device.machine.firmware.conversation._line
        assert before is not None
        assert after is not None
        assert before.session != after.session
        one, two = (line.seal(b"the same words", 99) for line in (before, after))
        assert one[-20:] != two[-20:]
        assert (await bolus(controller)).outcome == "delivered"


async def test_the_same_dice_give_the_same_bytes() -> None:
    async def said() -> list[bytes]:
        dice = iter(range(1, 1_000))
        async with road("pump", sealed=True, draw=lambda n: next(dice).to_bytes(n)) as bench:
            link = bench.new_link()
            session = Session(
                link, CATALOGUE, lambda: 5, KEY, lambda n: next(dice).to_bytes(n, "little")
            )
            await session.connect()
            await session.open()
            await session.query(Read(0), Message)  # type: ignore[type-var]
            await session.close()
            return link.written

    assert await said() == await said()


# --- who is there --------------------------------------------------------------------------------


async def test_a_device_with_another_key_is_asked_for_nothing() -> None:
    async with road("pump", sealed=True) as bench:
        bench.key = OTHER_KEY
        error = await failure(bench.connect())
        assert isinstance(error, DeviceFault)
        assert "does not prove that it holds that device's key" in str(error)
        assert bench.device.names() == ["identify", "open"]


async def test_a_board_without_a_key_is_not_spoken_to_unsealed_by_a_host_with_one() -> None:
    async with road("pump", sealed=False) as bench:
        bench.key = KEY
        error = await failure(bench.connect())
        assert isinstance(error, DeviceFault)
        assert "no-key" in str(error)
        assert "?unsealed=yes" in str(error)
        assert bench.device.names() == ["identify", "open"]


async def test_a_host_without_a_key_is_told_what_to_do() -> None:
    async with road("pump", sealed=True) as bench:
        bench.key = None
        error = await failure(bench.connect())
        assert isinstance(error, DeviceFault)
        assert "Leave ?unsealed=yes away" in str(error)


async def test_a_host_that_finds_no_key_sends_nothing_but_the_question_who_it_is() -> None:
    async with road("pump", sealed=True) as bench:

        def missing(serial: str) -> DeviceKey:
            raise UsageError(f"no key for {serial}")

        settings = replace(bench.settings(), key_of=missing)
        error = await failure(connect(bench.new_link(), None, settings))
        assert isinstance(error, UsageError)
        assert bench.device.names() == ["identify"]
        assert bench.disk.data == b""


async def test_a_stop_needs_no_key_of_the_host() -> None:
    async with road("pump", sealed=True) as bench:
        await apply(await bench.pump())

        def missing(serial: str) -> DeviceKey:
            raise UsageError(f"no key for {serial}")

        settings = replace(bench.settings(), key_of=missing)
        done = await stop_at_once(bench.new_link(), None, "flow", settings)
        assert (done.sample.state, done.sample.delivering) == ("halted", False)
        assert isinstance(done.failure, UsageError), "it could not be recorded"
        assert not done.is_known, "nor could the device prove who it is"


@pytest.mark.requirement("SR-25")
async def test_a_stop_that_a_device_with_another_key_confirms_is_not_confirmed() -> None:
    async with road("pump", sealed=True) as bench:
        await apply(await bench.pump())
        settings = replace(bench.settings(), key_of=lambda serial: OTHER_KEY)
        with pytest.raises(Uncertain, match="does not prove that it holds"):
            await stop_at_once(bench.new_link(), None, "hold", settings)
        assert "stop" in bench.device.names(), "it was sent all the same"


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F87")
@pytest.mark.parametrize(("asked", "sent"), [("hold", "hold"), ("flow", "policy")])
async def test_a_device_that_cannot_be_understood_is_sent_a_stop_all_the_same(
    asked: StopDepth, sent: StopDepth
) -> None:
    """Its transmitter is broken; it hears every word."""
    damaged = [
        *(PlannedFault("corrupt_reply", request="identify", count=count) for count in range(1, 9)),
        *(PlannedFault("corrupt_reply", request="stop", count=count) for count in range(1, 20)),
    ]
    async with road("stimulator", damaged) as bench:
        with pytest.raises(Uncertain, match="sent to whoever hears it") as caught:
            await stop_at_once(bench.new_link(), None, asked, bench.settings())
        stops = [one for one in bench.link.requests if isinstance(one, Stop)]
        assert {one.depth for one in stops} == {sent}
        assert len(stops) == 10
        assert "checksum" in str(caught.value), "and why it could not be understood"


async def test_a_peer_of_another_version_is_told_from_which_end_the_older_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with road("pump", sealed=True) as bench:
        for version, older in ((PROTOCOL_VERSION + 1, "device"), (PROTOCOL_VERSION - 1, "host")):
            monkeypatch.setattr(conversation, "PROTOCOL_VERSION", version)
            with pytest.raises(DeviceFault, match=f"Update the {older}"):
                await stop_at_once(bench.new_link(), None, "hold", bench.settings())
        assert "stop" not in bench.device.names()


async def test_a_stop_that_a_forger_confirms_is_not_confirmed() -> None:
    """He keeps the stop for himself and answers it, and the questions after it, unsealed."""
    async with road("pump", sealed=True) as bench:
        pump = await bench.pump()
        await apply(pump)
        await pump.close()
        those = between(bench)
        safe = (await _statuses(bench))[-1]

        def forge(body: bytes) -> bytes | None:
            request = plain(body)
            if isinstance(request, Stop):
                those[-1].answer(body, Stopped("ITP-0001"))
            elif isinstance(request, AskStatus):
                those[-1].answer(body, safe)
            else:
                return body
            return None

        def wrap(link: Link) -> Link:
            those.append(Between(link))
            return _with(those[-1], forge)

        bench.wrap = wrap
        with pytest.raises(Uncertain, match="somebody is on the line"):
            await stop_at_once(bench.new_link(), None, "flow", bench.settings())
        assert bench.link.count(Stop) == 1


async def _statuses(bench: Road) -> list[Reply]:
    """What the pump of another bench says once its flow has been halted."""
    async with road("pump", sealed=False) as other:
        pump = await other.pump()
        await apply(pump)
        await pump.stop("flow")
        return [await pump.session.query(AskStatus(), Reply)]


# --- somebody between ----------------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["no-key", "bad-message", "not-proved"])
async def test_nobody_talks_the_host_into_an_unsealed_session(lie: Any) -> None:
    async with road("pump", sealed=True) as bench:
        those = between(bench)

        def strip(body: bytes) -> bytes | None:
            if isinstance(plain(body), OpenSealed | Prove):
                those[-1].answer(body, Refused(lie, ""))
                return None
            return body

        bench.wrap = lambda link: those.append(Between(link)) or _with(those[-1], strip)  # type: ignore[func-returns-value]
        error = await failure(bench.connect())
        assert isinstance(error, DeviceFault)
        assert lie in str(error)
        assert all(isinstance(one, Identify | OpenSealed) for one in bench.link.requests)


def _with(one: Between, to_device: Callable[[bytes], bytes | None]) -> Between:
    one.to_device = to_device
    return one


async def test_an_identity_that_was_changed_on_the_way_is_found_out() -> None:
    """The line would show another speed, so that a second of therapy took an hour."""
    async with road("pump", sealed=True) as bench:
        those = between(bench)

        def change(body: bytes) -> bytes:
            envelope = CATALOGUE.decode(body)
            if isinstance(envelope.message, Identity):
                other = replace(envelope.message, speed=3_600)
                return CATALOGUE.encode(envelope._replace(message=other))
            return body

        def wrap(link: Link) -> Link:
            those.append(Between(link))
            those[-1].to_host = change
            return those[-1]

        bench.wrap = wrap
        error = await failure(bench.connect())
        assert isinstance(error, DeviceFault)
        assert "does not prove" in str(error)


async def test_an_old_sessions_answer_opens_no_new_one() -> None:
    async with road("pump", sealed=True) as bench:
        those = between(bench)
        await bench.pump()
        old = next(one for body in those[-1].heard if isinstance(one := plain(body), Challenged))

        def recorded(body: bytes) -> bytes | None:
            if isinstance(plain(body), OpenSealed):
                those[-1].answer(body, old)
                return None
            return body

        def wrap(link: Link) -> Link:
            those.append(Between(link))
            return _with(those[-1], recorded)

        bench.wrap = wrap
        error = await failure(bench.connect())
        assert isinstance(error, DeviceFault)
        assert "does not prove" in str(error)
        assert bench.link.count(Prove) == 0


async def test_an_unsealed_reply_confirms_nothing_and_is_told_of() -> None:
    async with road("pump", sealed=True) as bench:
        those = between(bench)
        controller = await bench.pump()
        await apply(controller)
        link = bench.link

        def forge(body: bytes) -> bytes | None:
            session, sequence, request = link.sent[-1]
            if isinstance(request, Bolus):
                for number in (0, session):
                    body = CATALOGUE.encode(Envelope(number, sequence, Done(request.id)))
                    asyncio.get_running_loop().call_soon(those[-1].tell_host, body)
                return None
            return body

        those[-1].to_device = forge
        error = await failure(bolus(controller))
        assert isinstance(error, DeviceFault | DeviceSilent)
        assert "never saw it" in str(error)
        assert bench.intents()[1_002] == "refused"
        assert controller.session.counts.forged == 2
        those[-1].to_device = lambda _: None
        assert "Dropped since this host connected: 2 forged" in str(
            await failure(controller.sample())
        )


async def test_a_frame_that_comes_back_to_the_host_is_no_reply() -> None:
    async with road("pump", sealed=True) as bench:
        those = between(bench)
        controller = await bench.pump()
        those[-1].to_device = lambda body: those[-1].tell_host(body)
        assert isinstance(await failure(controller.sample()), DeviceSilent)
        assert controller.session.counts.forged == 3


async def test_a_reply_that_comes_twice_is_counted_and_told_of() -> None:
    async with road("pump", sealed=True) as bench:
        those = between(bench)
        controller = await bench.pump()
        for body in those[-1].heard:
            those[-1].tell_host(body)
        counts = controller.session.counts
        sealed = sum(is_sealed(body) for body in those[-1].heard)
        assert (counts.replayed, counts.forged) == (sealed, 0)
        assert (await controller.sample()).state == "empty-program"


async def test_a_status_that_a_forger_makes_up_is_not_believed() -> None:
    """He says that the session is forgotten, then answers the question himself."""
    async with road("pump", sealed=True) as bench:
        those = between(bench)
        controller = await bench.pump()
        await apply(controller)
        status = next(body for body in those[-1].heard if is_sealed(body))

        def forge(body: bytes) -> bytes | None:
            session, sequence, request = bench.link.sent[-1]
            if isinstance(request, AskStatus):
                told = Refused("wrong-session", "")
                lie = CATALOGUE.encode(Envelope(session, sequence, told))
                asyncio.get_running_loop().call_soon(those[-1].tell_host, lie)
                asyncio.get_running_loop().call_soon(those[-1].tell_host, status)
                return None
            return body

        those[-1].to_device = forge
        assert await failure(controller.sample()) is not None
        assert not any(
            isinstance(one.message, AskStatus) and not isinstance(one, SealedEnvelope)
            for one in bench.link.sent
        )


# --- stop ----------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("lost", [OpenSealed, Prove])
@pytest.mark.parametrize("side", ["request", "reply"])
async def test_a_stop_works_while_a_handshake_hangs(lost: type[Message], side: str) -> None:
    async with road("stimulator", sealed=True) as bench:
        those = between(bench)
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        await rise(1)
        assert flowing(bench.truth.lines)

        def swallow(body: bytes) -> bytes | None:
            if isinstance(plain(body), lost):
                if side == "reply":
                    those[-1]._inner.write(encode_frame(body))
                    those[-1].to_host = lambda _: None
                return None
            those[-1].to_host = lambda reply: reply
            return body

        those[-1].to_device = swallow
        written = asyncio.Event()
        bench.link.after_write = lambda request: type(request) is lost and written.set()  # type: ignore[func-returns-value]
        opening = asyncio.ensure_future(failure(controller.session.open()))
        await written.wait()
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = await controller.session.lower(Stop("hold"))
        assert isinstance(reply, Stopped)
        assert loop.time() - began < 0.1
        await rise(1)
        assert flowing(bench.truth.lines) == {}
        assert isinstance(await opening, LinkError)


@pytest.mark.requirement("SR-32")
@pytest.mark.requirement("SR-27")
async def test_a_device_that_restarted_is_stopped_and_seen_and_asked_for_nothing_else() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        await apply(controller)
        bench.runner.inject("reset")
        assert (await controller.stop("hold")).state == "held"
        assert (await controller.sample()).state == "held"
        error = await failure(bolus(controller))
        assert isinstance(error, DeviceFault)
        assert "Connect again" in str(error)
        assert bench.device.done("bolus of") == 0
        controller = await bench.pump()
        assert (await apply(controller)).outcome == "delivered"
        assert (await bolus(controller)).outcome == "delivered"


@pytest.mark.requirement("SR-32")
async def test_a_used_up_counter_ends_therapy_and_not_the_stop() -> None:
    async with road("stimulator", sealed=True) as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        controller.session._sequence = MAX_COUNTER - 1
        await controller.sample()
        error = await failure(controller.sample())
        assert isinstance(error, DeviceFault)
        assert "used up" in str(error)
        reply = await controller.session.lower(Stop("hold"))
        assert isinstance(reply, Stopped)
        await rise(1)
        assert flowing(bench.truth.lines) == {}


async def test_an_output_lives_over_a_new_session_and_its_lease_goes_on() -> None:
    async with road("stimulator", sealed=True) as bench:
        controller = await bench.stimulator()
        await apply(controller)
        await start(controller)
        async with kept_alive(controller):
            await rise(2)
            await controller.session.open()
            await rise(5)
            assert flowing(bench.truth.lines)
        renewals = [one for one in bench.link.sent if isinstance(one.message, Renew)]
        assert len({one.session for one in renewals}) == 2


async def test_two_questions_after_ids_at_once_open_one_session_after_the_other() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        await apply(controller)
        answers = await asyncio.gather(
            *(controller.session.outcome_of(number) for number in (1_001, 5, 6)),
            return_exceptions=True,
        )
        assert not any(isinstance(one, LinkError) for one in answers)
        assert (await bolus(controller)).outcome == "delivered"


def test_frames_of_the_bench_are_those_of_the_product() -> None:
    """The spy's own frames are plain ones: a sealed road needs none of them."""
    assert not is_sealed(FrameDecoder().feed(frame(0, 1, Stop("hold")))[0])
    assert NOON_MS
